"""Lanes: the spaces of one concurrency group take turns one at a time, the earliest accepted message first.

A turn that waits for an answer lends the lane to the turns which that answer needs; when the answer is there, it goes
on before any turn that has not begun.
"""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, final

import trio

from spaceactors._waits import needed

if TYPE_CHECKING:
    from spaceactors._space import Space
    from spaceactors._worker import Worker


@final
class Lane:
    """The lane of one group. All decisions are sync; only `resume` waits."""

    __slots__ = ("__weakref__", "_granted", "_holders", "_numbers", "_ready", "_resuming", "_running")

    def __init__(self) -> None:
        # Spaces that can run, by the number of their next message; entries may be out of date.
        self._ready: list[tuple[int, int, Space]] = []
        self._numbers = count()
        # A space that was given the lane and has not begun its turn yet.
        self._granted: Space | None = None
        # The open turns of the lane; all but the running one wait for answers.
        self._holders: list[Worker] = []
        self._running: Worker | None = None
        # Turns whose answer is there, waiting for the lane to come back.
        self._resuming: deque[tuple[Worker, trio.lowlevel.Task]] = deque()

    def want(self, space: Space) -> bool:
        """Put a space in line for its next turn; tell whether it may begin at once."""
        if self._granted is not space:
            number = space.next_number()
            if space.in_line != number:
                space.in_line = number
                heappush(self._ready, (number, next(self._numbers), space))
            self._pump()
        return self._granted is space

    def has(self, space: Space) -> bool:
        """Tell whether the lane waits for this space to begin its turn."""
        return self._granted is space

    def give_back(self, space: Space) -> None:
        """Pass the lane on: the space does not use it."""
        if self._granted is space:
            self._granted = None
            self._pump()

    def begin(self, worker: Worker) -> None:
        """Begin the turn for which the lane was given."""
        self._granted = None
        self._running = worker
        self._holders.append(worker)

    def end(self, worker: Worker) -> None:
        """End a turn and pass the lane on."""
        if worker in self._holders:
            self._holders.remove(worker)
        if self._running is worker:
            self._running = None
        self._pump()

    def lend(self, worker: Worker) -> None:
        """Lend the lane while a turn waits for an answer."""
        if self._running is worker:
            self._running = None
        self._pump()

    async def resume(self, worker: Worker) -> None:
        """Take the lane back after the answer: at once if nobody else has it."""
        if self._running is worker or worker not in self._holders:
            return
        if self._running is None and self._granted is None:
            self._running = worker
            return
        entry = (worker, trio.lowlevel.current_task())
        self._resuming.append(entry)

        def abort(_: object) -> trio.lowlevel.Abort:
            self._resuming.remove(entry)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def _pump(self) -> None:
        """Give a free lane to whoever comes first."""
        if self._running is not None or self._granted is not None:
            return
        if self._resuming:
            worker, task = self._resuming.popleft()
            self._running = worker
            trio.lowlevel.reschedule(task)
            return
        chosen = self._take_first()
        if chosen is not None:
            self._granted = chosen
            chosen.wake()

    def _take_first(self) -> Space | None:
        """Take the space with the earliest message out of the line; while turns wait, of those they need."""
        wanted = {space for holder in self._holders for space in needed(holder)} if self._holders else None
        if wanted is not None and not wanted:
            return None
        passed: list[tuple[int, int, Space]] = []
        chosen: Space | None = None
        while self._ready and chosen is None:
            entry = heappop(self._ready)
            number, _, space = entry
            usable = number == space.in_line and number == space.next_number() and space.can_run()
            if usable and wanted is not None and space not in wanted:
                passed.append(entry)
                continue
            if number == space.in_line:
                space.in_line = None
            chosen = space if usable else None
        for entry in passed:
            heappush(self._ready, entry)
        return chosen
