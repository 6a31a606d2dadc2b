"""The items of one streamed answer, on their way from the turn to the reader.

The reader's pace is the turn's pace: a few items wait in between, then the turn waits. Its wait is never cancelled from
inside (a `yield` inside a handler's cancel scope must come back to the handler first); a cancellation wakes it instead,
and reaches the handler at its next checkpoint.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, final

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

    from spaceactors._pace import Pace

# Enough that turn and reader do not take turns at every item, little enough that an interruption is seen at once.
_AHEAD = 16


@final
class Reader:
    """The buffer of one stream."""

    __slots__ = (
        *("_error", "_items", "_on_leave", "_reading", "_taken", "_writing"),
        *("handed", "left", "over", "pace", "started"),
    )

    def __init__(self, on_leave: Callable[[], object]) -> None:
        self._items: deque[Any] = deque()
        # Why the stream ended, when it did not end well.
        self._error: BaseException | None = None
        self.over = False
        self._reading: trio.lowlevel.Task | None = None
        self._writing: trio.lowlevel.Task | None = None
        # The token of the turn that reads, lent while it waits for an item; None: none is needed.
        self.pace: Pace | None = None
        # Whether a task asks for the next item.
        self._taken = False
        self._on_leave = on_leave
        # Nobody reads any more: items are dropped.
        self.left = False
        # How many items were handed over.
        self.handed = 0
        # Something was handed over: the turn is not tried again.
        self.started = False

    # ---- the turn's side

    @property
    def nearly_full(self) -> bool:
        """Whether the turn will wait with its next item."""
        return len(self._items) >= _AHEAD - 1

    @property
    def behind(self) -> bool:
        """Whether the turn waits for the reader."""
        return self._writing is not None

    @property
    def read(self) -> int:
        """How many items the reader has taken."""
        return self.handed - len(self._items)

    @property
    def awaited(self) -> bool:
        """Whether the reader waits for the turn."""
        return self._reading is not None

    async def put(self, item: object) -> None:
        """Hand an item over, and wait while the reader is behind."""
        if self.left:
            await trio.lowlevel.checkpoint()
            return
        self.started = True
        self.handed += 1
        self._items.append(item)
        self._wake_reader()
        if len(self._items) < _AHEAD:
            await trio.lowlevel.cancel_shielded_checkpoint()
            return
        self._writing = task = trio.lowlevel.current_task()

        def abort(_: object) -> trio.lowlevel.Abort:
            # Woken, not cancelled: the handler sees the cancellation at its own next checkpoint.
            if self._writing is task:
                self._writing = None
                trio.lowlevel.reschedule(task)
            return trio.lowlevel.Abort.FAILED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def close(self, error: BaseException | None) -> None:
        """End the stream after the items that are on their way."""
        self.over = True
        self._error = error
        self._wake_reader()

    def give_up(self, error: BaseException) -> None:
        """End the stream while its message stays: when its turn comes, nobody reads what it yields."""
        self.close(error)
        self.left = True

    # ---- the reader's side

    def __aiter__(self) -> Reader:
        return self

    async def __anext__(self) -> Any:
        if self._taken:
            msg = "another task reads this stream already: read it in one task, which passes the items on"
            raise trio.BusyResourceError(msg)
        self._taken = True
        try:
            return await self._next()
        finally:
            self._taken = False

    async def _next(self) -> Any:
        await trio.lowlevel.checkpoint_if_cancelled()
        if not self._items and not self.over:
            if self.pace is not None:
                self.pace.lend()
            try:
                while not self._items and not self.over:
                    await self._wait()
            finally:
                if self.pace is not None:
                    await self.pace.resume()
        if self._items:
            item = self._items.popleft()
            self._wake_writer()
            await trio.lowlevel.cancel_shielded_checkpoint()
            return item
        await trio.lowlevel.cancel_shielded_checkpoint()
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        raise StopAsyncIteration

    def leave(self) -> None:
        """Read no more."""
        if not self.left:
            self.left = True
            self._items.clear()
            self._wake_writer()
            if not self.over:
                self._on_leave()

    async def _wait(self) -> None:
        self._reading = trio.lowlevel.current_task()

        def abort(_: object) -> trio.lowlevel.Abort:
            self._reading = None
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def _wake_reader(self) -> None:
        task, self._reading = self._reading, None
        if task is not None:
            trio.lowlevel.reschedule(task)

    def _wake_writer(self) -> None:
        task, self._writing = self._writing, None
        if task is not None:
            trio.lowlevel.reschedule(task)
