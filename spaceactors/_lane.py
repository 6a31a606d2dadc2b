"""Lanes: the spaces of one concurrency group take turns one at a time, the earliest accepted message first.

A turn that waits for an answer lends the lane to the turns which that answer needs; when the answer is there, it goes
on before any turn that has not begun.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from itertools import count
from operator import itemgetter
from typing import TYPE_CHECKING, final

import trio

from spaceactors._waits import needed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from spaceactors._space import Space
    from spaceactors._worker import Worker

# Below this many entries that are out of date a line is not worth cleaning.
_FEW = 64


def look_at_lanes(spaces: Iterable[Space]) -> None:
    """Have the lanes of these spaces look again: turns began to wait for them, which may be what a lane is lent for."""
    for space in spaces:
        if space.lane is not None:
            space.lane.look()


@final
class Lane:
    """The lane of one group. All decisions are sync; only `enter` and `resume` wait."""

    __slots__ = ("__weakref__", "_arriving", "_granted", "_holders", "_numbers", "_outdated", "_ready", "_running")

    def __init__(self) -> None:
        # Spaces that can run, by the number of their next message; entries may be out of date.
        self._ready: list[tuple[int, int, Space]] = []
        self._numbers = count()
        # How many entries may be out of date, because their spaces were taken from the middle of the line.
        self._outdated = 0
        # A space that was given the lane and has not begun its turn yet.
        self._granted: Space | None = None
        # The open turns of the lane; all but the running one wait for answers.
        self._holders: list[Worker] = []
        self._running: Worker | None = None
        # Turns that wait for the lane to come back after an answer, and hooks that wait for it to be free.
        self._arriving: list[tuple[Worker, trio.lowlevel.Task]] = []

    @property
    def holders(self) -> Sequence[Worker]:
        """The lane's open turns: at most one runs, the others wait for answers."""
        return self._holders

    def awaited_by(self, worker: Worker) -> bool:
        """Tell whether an open turn waits for the lane to come to it, or back to it."""
        return any(entry[0] is worker for entry in self._arriving)

    def line_up(self, space: Space) -> None:
        """Put a space in line with its next message, unless it is there or has its turn."""
        number = space.next_number()
        if space.in_line != number and not space.open_turns:
            space.in_line = number
            heappush(self._ready, (number, next(self._numbers), space))

    def want(self, space: Space) -> bool:
        """Put a space in line for its next turn; tell whether it may begin at once."""
        if self._granted is not space:
            self.line_up(space)
            self.look()
        return self._granted is space

    def give_back(self, space: Space) -> None:
        """Pass the lane on: the space does not use it."""
        if self._granted is space:
            self._granted = None
            self.look()

    def begin(self, worker: Worker) -> None:
        """Begin the turn for which the lane was given."""
        self._granted = None
        self._running = worker
        self._holders.append(worker)

    async def enter(self, worker: Worker) -> None:
        """Begin a turn that no message asked for, as soon as the lane is there for it."""
        if self._granted is worker.space:
            self.begin(worker)
        else:
            await self._arrive(worker)

    def end(self, worker: Worker) -> None:
        """End a turn and pass the lane on."""
        if worker in self._holders:
            self._holders.remove(worker)
        if self._running is worker:
            self._running = None
        if worker.space.mailbox:
            self.line_up(worker.space)
        self.look()

    def lend(self, worker: Worker) -> None:
        """Lend the lane while a turn waits for an answer."""
        if self._running is worker:
            self._running = None
        self.look()

    async def resume(self, worker: Worker) -> None:
        """Take the lane back after an answer: when no other is waited for, and nobody else has the lane.

        While a turn reads a stream, the one that yields it needs the lane too: they share it until the stream is over.
        """
        shared = any(wait.on and wait.streams for wait in worker.waits)
        if worker in self._holders and self._running is not worker and not shared:
            await self._arrive(worker)

    async def _arrive(self, worker: Worker) -> None:
        """Wait until the lane is there for a turn.

        A cancellation that concerns only a part of the turn, such as a timeout around an ask, comes after that: what
        follows in the handler runs alone, as everything in a lane.
        """
        if self._running is None and self._granted is None and self._may_arrive(worker):
            self._let_arrive(worker)
            return
        entry = (worker, trio.lowlevel.current_task())
        self._arriving.append(entry)

        def abort(_: object) -> trio.lowlevel.Abort:
            if worker.scope is None or not worker.scope.cancel_called:
                return trio.lowlevel.Abort.FAILED
            self._arriving.remove(entry)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def let_go(self, worker: Worker) -> None:
        """Have a turn that was cancelled wait for the lane no longer: it only ends."""
        mine = [entry for entry in self._arriving if entry[0] is worker]
        for entry in mine:
            self._arriving.remove(entry)
            trio.lowlevel.reschedule(entry[1])

    def look(self) -> None:
        """Give a free lane to whoever comes first: turns that go on, before those that have not begun."""
        if self._running is not None or self._granted is not None:
            return
        for worker, _ in self._arriving:
            if self._may_arrive(worker):
                self._let_arrive(worker)
                return
        chosen = self._take_first() if self._lent() else None
        if chosen is not None:
            self._granted = chosen
            chosen.wake()

    def _lent(self) -> bool:
        """Tell whether all open turns wait; one whose answer is there goes on before any that has not begun."""
        return all(any(wait.on for wait in holder.waits) for holder in self._holders)

    def _may_arrive(self, worker: Worker) -> bool:
        if worker in self._holders:
            return not any(wait.on for wait in worker.waits)
        return self._lent() and (not self._holders or worker.space in self._wanted())

    def _let_arrive(self, worker: Worker) -> None:
        self._running = worker
        if worker not in self._holders:
            self._holders.append(worker)
        self.let_go(worker)

    def _wanted(self) -> Collection[Space]:
        """Return the spaces whose turns the open ones of this lane need."""
        return dict.fromkeys(space for holder in self._holders for space in needed(holder))

    def _take_first(self) -> Space | None:
        """Take the space with the earliest message out of the line; while turns wait, of those they need."""
        return self._take_needed() if self._holders else self._take_earliest()

    def _take_earliest(self) -> Space | None:
        while self._ready:
            number, _, space = heappop(self._ready)
            usable = self._usable(space, number)
            if number == space.in_line:
                space.in_line = None
            if usable:
                return space
        self._outdated = 0
        return None

    def _take_needed(self) -> Space | None:
        """Look at those who are needed, not at the line: many may stand there for one who is."""
        needed_here = [
            (space.in_line, space)
            for space in self._wanted()
            if space.lane is self and space.in_line is not None and self._usable(space, space.in_line)
        ]
        if not needed_here:
            return None
        _, chosen = min(needed_here, key=itemgetter(0))
        chosen.in_line = None
        self._outdated += 1
        if self._outdated > _FEW and 2 * self._outdated > len(self._ready):
            self._ready = [entry for entry in self._ready if entry[0] == entry[2].in_line]
            heapify(self._ready)
            self._outdated = 0
        return chosen

    def _usable(self, space: Space, number: int) -> bool:
        return number == space.in_line and number == space.next_number() and space.can_run()
