"""The timers of all spaces: their alarms, and the way of a tick into its mailbox."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from spaceactors import _door as door
from spaceactors._errors import NotAccepted
from spaceactors._message import new_message
from spaceactors._space import Source
from spaceactors._timers import Timer, next_due

if TYPE_CHECKING:
    from spaceactors._hub import Hub
    from spaceactors._message import Message
    from spaceactors._space import Space
    from spaceactors._store import Row

# Rows looked at in one go when a runtime opens.
_PAGE = 10_000


@final
class Ticking:
    """Keeps the timers of a runtime's spaces; a timer belongs to the row, whether the space is live or not."""

    __slots__ = ("_runtime",)

    def __init__(self, runtime: Hub) -> None:
        self._runtime = runtime

    def take_up(self) -> None:
        """Go on with the timers that an earlier runtime left in the store: late rather than never."""
        for kind in self._runtime.by_name:
            rows = self._runtime.store.rows(kind, limit=_PAGE)
            while rows:
                for row in rows:
                    for timer in row.timers.values():
                        timer.carry_over(self._runtime.clock)
                        self._arm(row, timer)
                rows = self._runtime.store.rows(kind, after=rows[-1].id, limit=_PAGE)

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
