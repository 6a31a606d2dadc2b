"""The task by which a runtime answers those who look after its store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from spaceactors.admin._server import listen, socket_path

if TYPE_CHECKING:
    from os import PathLike

    from spaceactors._hub import Hub


async def serve_admin(
    hub: Hub, path: str | PathLike[str], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Answer the `spaceactors` command while a runtime has the store; runs until cancelled.

    Where no socket can be made (Windows, a path that is too long), the log says so, and it returns: the service itself
    needs none.

    Args:
        hub: the inside of the runtime; its store must be a durable one.
        path: the store's file; the socket is beside it, `<path>-sock`, for the file's owner only.
        task_status: for `nursery.start`: it has begun to listen.

    """
    from spaceactors.admin._running import RunningStore  # it reads stored values, for which msgspec is loaded

    await listen(socket_path(path), RunningStore(hub).ask, task_status=task_status)
