"""Timers of a space: when the next tick is due, and whether a tick is still wanted."""

from __future__ import annotations

from math import floor
from typing import TYPE_CHECKING, Any, final

from attrs import define, frozen

if TYPE_CHECKING:
    from spaceactors._clock import TickClock
    from spaceactors._handlers import Handler
    from spaceactors._keeper import Alarm
    from spaceactors._message import Message


@final
@frozen
class Call:
    """What a timer sends."""

    handler: Handler
    args: tuple[Any, ...]


@final
@define(eq=False)
class Timer:
    """One timer of a space; it belongs to the space, not to an incarnation."""

    key: str
    call: Call
    # When the next tick is due, in seconds of `clock`.
    due: float
    # Seconds between ticks; None: one tick only.
    every: float | None
    # The clock of the runtime that set it; a store may outlive it.
    clock: TickClock
    # The turn that committed it has given it this alarm; None while a tick is on its way.
    alarm: Alarm | None = None
    # The tick on its way: waiting for a place, or in the mailbox.
    tick: Message | None = None
    # Replaced or cancelled: a tick that is still on its way is dropped.
    stale: bool = False

    def carry_over(self, clock: TickClock) -> None:
        """Go on in a new runtime, whose Trio may count its seconds from elsewhere."""
        self.due = clock.translated(self.due, self.clock)
        self.clock = clock
        self.tick = None


def next_due(due: float, every: float, now: float) -> float:
    """Return the first time after `now` on the timer's grid: missed periods are skipped, and nothing drifts.

    Pure.
    """
    if now < due:
        return due
    return due + every * (floor((now - due) / every) + 1)
