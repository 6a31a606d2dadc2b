"""Everything that happens at a certain time: one task, one heap, nothing polled.

Timers, expiries, idle spaces, backoffs and revivals each set an alarm; the keeper sleeps until the earliest.
"""

from __future__ import annotations

from heapq import heappop, heappush
from itertools import count
from math import inf
from typing import TYPE_CHECKING, final

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

    from spaceactors._clock import TickClock

# Below this many cancelled alarms the heap is not worth cleaning.
_FEW = 64


@final
class Alarm:
    """One call at one time; cancelling it costs nothing, the heap forgets it later."""

    __slots__ = ("_keeper", "at", "call")

    def __init__(self, keeper: Keeper, at: float, call: Callable[[], object]) -> None:
        self._keeper = keeper
        # Seconds of Trio's clock.
        self.at = at
        # None once it rang or was cancelled.
        self.call: Callable[[], object] | None = call

    def cancel(self) -> None:
        """Do not ring."""
        if self.call is not None:
            self.call = None
            self._keeper.forget()


@final
class Keeper:
    """The alarms of a runtime and the task that rings them."""

    __slots__ = ("_clock", "_dead", "_heap", "_numbers", "_wake", "_waking_at")

    def __init__(self, clock: TickClock) -> None:
        self._clock = clock
        self._heap: list[tuple[float, int, Alarm]] = []
        # Alarms of one moment ring in the order in which they were set.
        self._numbers = count()
        # Cancelled alarms that still lie in the heap.
        self._dead = 0
        # Cancelled to make the sleeping task look at the heap again.
        self._wake = trio.CancelScope()
        self._waking_at = inf

    def set(self, at: float, call: Callable[[], object]) -> Alarm:
        """Have `call` called at the time `at`; a time that is over means the next tick."""
        alarm = Alarm(self, at, call)
        heappush(self._heap, (at, next(self._numbers), alarm))
        if at < self._waking_at:
            self._waking_at = at
            self._wake.cancel()
        return alarm

    def forget(self) -> None:
        """Note that an alarm in the heap was cancelled; clean up when most are."""
        self._dead += 1
        if self._dead > _FEW and self._dead > len(self._heap) // 2:
            self._heap = [entry for entry in self._heap if entry[2].call is not None]
            self._heap.sort()
            self._dead = 0

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Ring the alarms for ever."""
        while True:
            self._ring_due()
            self._waking_at = self._heap[0][0] if self._heap else inf
            with trio.CancelScope(deadline=self._waking_at) as self._wake:
                await trio.sleep_forever()

    def _ring_due(self) -> None:
        now = self._clock.exactly()
        while self._heap and self._heap[0][0] <= now:
            alarm = heappop(self._heap)[2]
            call, alarm.call = alarm.call, None
            if call is None:
                self._dead -= 1
            else:
                call()
