"""A loop that synchronous code blocks, told in the words of a runtime: whose turn it is."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, final

import trio

from spaceactors._events import LoopWasBlocked
from spaceactors._log import logger
from spaceactors._turn import here
from supervisors._watch import LoopBlocked, LoopFree, open_watch

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from trio.lowlevel import Task

    from spaceactors._hub import Hub
    from spaceactors._space import Space
    from supervisors._watch import LoopWatch

# The runtime's own frames, which only pass a handler's call on.
_MACHINERY = frozenset({"spaceactors"})


def watching(hub: Hub, threshold: float) -> AbstractAsyncContextManager[LoopWatch]:
    """Watch the loop of a runtime; the threshold is in seconds of real time."""
    return open_watch(_Teller(hub).tell, threshold, None, _MACHINERY)


@final
class _Teller:
    """Tells of blocks: the log while they last, from the watching thread; the event when the loop goes on."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._token = trio.lowlevel.current_trio_token()
        # The block that lasts, and whose it is.
        self._present: tuple[LoopBlocked, Space | None, str | None] | None = None

    def tell(self, task: Task | None, report: LoopBlocked | LoopFree) -> None:
        """Tell of the beginning of a block, or of its end."""
        if isinstance(report, LoopBlocked):
            space, call = _whose(task)
            self._present = report, space, call
            where = f"{report.file}:{report.line} in {report.function}"
            stack = "\n".join(report.stack)
            text = "%s blocks the event loop since %.2f s: %s\n%s"
            logger.error(text, _named(space, call, report.task), report.seconds, where, stack)
        elif self._present is not None:
            (begun, space, call), self._present = self._present, None
            logger.warning("%s has blocked the event loop for %.2f s", _named(space, call, begun.task), report.seconds)
            with suppress(trio.RunFinishedError):  # then nobody is left to read it
                self._token.run_sync_soon(self._publish, space, call, begun, report.seconds)

    def _publish(self, space: Space | None, call: str | None, block: LoopBlocked, seconds: float) -> None:
        if not self._hub.events.listened:
            return
        kind, name = (None, None) if space is None else (space.kind.name, space.id)
        place = (block.file, block.line, block.function, block.stack)
        self._hub.events.publish(LoopWasBlocked(self._hub.clock.now, kind, name, call, block.task, seconds, *place))


def _whose(task: Task | None) -> tuple[Space | None, str | None]:
    """Return the space in whose work a task is, and the call if it is a turn."""
    place = None if task is None else task.context.get(here)
    if place is None:
        return None, None
    worker = None if place.background else place.space.worker_of(place)
    message = None if worker is None else worker.message
    return place.space, None if message is None else message.call


def _named(space: Space | None, call: str | None, task: str | None) -> str:
    if space is None:
        return f"the task {task!r}" if task is not None else "something that is no task"
    return f"{space.name} ({call})" if call is not None else space.name
