"""The timers of all spaces: their alarms, and the way of a tick into its mailbox."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any, final

import trio

from spaceactors import _door as door
from spaceactors._errors import BadCall, NotAccepted
from spaceactors._loading import FencedOff
from spaceactors._message import new_message
from spaceactors._space import Source
from spaceactors._timers import Timer, next_due

if TYPE_CHECKING:
    from spaceactors._handle import SpaceHandle
    from spaceactors._hub import Hub
    from spaceactors._message import Message
    from spaceactors._port import DurablePort
    from spaceactors._space import Space
    from spaceactors._store import Row

# Rows looked at in one go when a runtime opens.
_PAGE = 10_000
# Spaces brought into memory in one go because something is due, and seconds until a store that failed is asked again.
_AT_ONCE = 1000
_AGAIN = 1.0
# Seconds until the next look where more was due than is brought into memory in one go.
_SOON = 0.1
# A moment that went to the store and back is another by a fraction of a microsecond: so much early counts as due.
_ROUNDING = 1e-5


@final
class Ticking:
    """Keeps the timers of a runtime's spaces; a timer belongs to the row, whether the space is live or not."""

    __slots__ = ("_look", "_look_at", "_passed_over", "_runtime")

    def __init__(self, runtime: Hub) -> None:
        self._runtime = runtime
        # When the store is looked at next, and what wakes the task that does.
        self._look_at = inf
        self._look = trio.CancelScope()
        # How many of the spaces that were due at the last look needed no waking, or could not be woken.
        self._passed_over = 0

    async def take_up(self) -> None:
        """Go on with the timers that an earlier runtime left in the store: late rather than never."""
        for kind in self._runtime.by_name:
            rows = await self._runtime.store.rows(kind, limit=_PAGE)
            while rows:
                for row in rows:
                    for timer in row.timers.values():
                        timer.carry_over(self._runtime.clock)
                        self._arm(row, timer)
                rows = await self._runtime.store.rows(kind, after=rows[-1].id, limit=_PAGE)

    # ---- where a store keeps the timers of spaces that are not in memory

    async def watch(self, durable: DurablePort) -> None:
        """Bring spaces into memory in which something is due; in those that are there, alarms ring."""
        while True:
            # What leaves memory meanwhile says here when it is due.
            self._look_at = inf
            try:
                due = await self._look_around(durable)
            except NotAccepted:
                due = self._runtime.clock.exactly() + _AGAIN
            self._look_at = min(self._look_at, due)
            self._look = trio.CancelScope(deadline=self._look_at)
            with self._look:
                await trio.sleep_forever()

    async def _look_around(self, durable: DurablePort) -> float:
        """Wake the spaces in which something is due; return when to look again."""
        until = self._runtime.clock.exactly() + _ROUNDING
        most = _AT_ONCE + self._passed_over
        found = await durable.due(until, most)
        self._passed_over = 0
        for kind, space_id in found:
            try:
                woken = await self._wake_due(self._runtime.handle(self._runtime.by_name[kind], space_id))
            except (FencedOff, BadCall):
                woken = False  # another process owns it, or it is gone: others wait behind it
            self._passed_over += not woken
        if len(found) == most:
            return self._runtime.clock.exactly() + _SOON
        due = await durable.next_due(until)
        return inf if due is None else due

    async def _wake_due(self, handle: SpaceHandle[Any]) -> bool:
        """Bring a space into memory in which something is due; tell whether it was not there already."""
        runtime = self._runtime
        if handle.key in runtime.live or runtime.draining:
            return False
        async with runtime.loading.held([handle]) as rows:
            row = rows[handle]
            if row.found is not None and row.found.asked is not None:
                runtime.space_for(handle)
            for timer in tuple(row.timers.values()):
                if timer.due <= runtime.clock.exactly() + _ROUNDING and timer.alarm is not None:
                    timer.alarm.cancel()
                    self._ring(row, timer)
        return True

    def loaded(self, row: Row | None) -> None:
        """Set the alarms of a space that has come into memory."""
        if row is not None:
            for timer in row.timers.values():
                self._arm(row, timer)

    def let_go(self, row: Row) -> None:
        """Forget the alarms of a space that leaves memory: the store is looked at when they are due."""
        dues = [timer.due for timer in row.timers.values()]
        for timer in row.timers.values():
            if timer.alarm is not None:
                timer.alarm.cancel()
        self.look_at(min(dues, default=inf))

    def look_at(self, due: float) -> None:
        """Have the store looked at when something is due."""
        if due < self._look_at:
            self._look_at = self._look.deadline = due

    # ---- timers of spaces in memory

    def replace(self, row: Row, key: str, timer: Timer | None) -> None:
        """Put a committed timer in the place of the earlier one of that key; None: only cancel that."""
        earlier = row.own_timers().pop(key, None) if row.timers else None
        if earlier is not None:
            self._drop(row, earlier)
        if timer is not None:
            row.own_timers()[key] = timer
            self._arm(row, timer)

    def cancel_all(self, row: Row) -> None:
        """Cancel the timers of a space that was stopped."""
        for key in tuple(row.timers):
            self.replace(row, key, None)
            if self._runtime.durable is not None:
                self._runtime.durable.set_timer(row, key, None)

    def _drop(self, row: Row, timer: Timer) -> None:
        timer.stale = True
        if timer.alarm is not None:
            timer.alarm.cancel()
        space = self._runtime.live.get((row.kind, row.id))
        if space is not None and timer.tick is not None:
            door.leave_line(space, timer.tick)

    def _arm(self, row: Row, timer: Timer) -> None:
        timer.alarm = self._runtime.keeper.set(timer.due, lambda: self._ring(row, timer))

    def _ring(self, row: Row, timer: Timer) -> None:
        """Send a tick that is due; while the space is quarantined or ends, the timer waits."""
        timer.alarm = None
        runtime = self._runtime
        if timer.stale or runtime.draining:
            return
        space = runtime.space_for(runtime.handle(runtime.by_name[row.kind], row.id))
        message = new_message(timer.call.handler, timer.call.args, runtime.options, runtime.clock.now)
        message.rare().timer = timer
        timer.tick = message
        try:
            door.offer(space, message, Source.TIMER, None, may_wait=True)
        except NotAccepted:
            timer.tick = None

    def refused(self, timer: Timer) -> None:
        """Take note that a tick lost its place in the line."""
        timer.tick = None

    def left(self, row: Row) -> None:
        """Go on with the ticks that an activation kept back until its end: the next one takes them."""
        for timer in row.timers.values():
            if timer.alarm is None and timer.tick is None:
                self._arm(row, timer)

    def retry(self, space: Space) -> None:
        """Send the ticks that a quarantine kept back."""
        for timer in tuple(space.row.timers.values()):
            if timer.alarm is None and timer.tick is None:
                self._ring(space.row, timer)

    def ticked(self, space: Space, timer: Timer, message: Message) -> None:
        """Take note of a tick's end: the next one is due on the grid, or the timer is over."""
        if timer.stale or timer.tick is not message:
            return
        timer.tick = None
        if timer.every is None:
            space.row.own_timers().pop(timer.key, None)
            return
        timer.due = next_due(timer.due, timer.every, self._runtime.clock.now)
        self._arm(space.row, timer)
