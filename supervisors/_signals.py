"""SIGTERM and SIGINT as a count: the first drains, the second stops, the third kills."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Callable


async def watch_signals(
    on_signal: Callable[[int], object],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Call `on_signal(1)`, `on_signal(2)`, ... for each SIGTERM or SIGINT; in the main thread only."""
    count = 0
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for _ in signals:
            count += 1
            on_signal(count)
