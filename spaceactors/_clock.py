"""The time as of this scheduler tick.

Reading Trio's clock costs a tenth of a whole turn, and within one tick nobody can tell the difference, so the clock is
read once a tick (libuv does the same) and every message accepted in that tick carries the same float object.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from time import time
from typing import TYPE_CHECKING, final

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

# What is told of a time that is further away than dates go.
_FURTHEST = datetime.max.replace(tzinfo=UTC)


@final
class TickClock(trio.abc.Instrument):
    """Trio's time, refreshed at the beginning of each tick; and the wall clock, where a date is wanted."""

    __slots__ = ("_ahead", "_read", "_wall_base", "_wall_tick", "now")

    def __init__(self, *, wall: Callable[[], datetime] | None = None) -> None:
        self._read = trio.lowlevel.current_clock().current_time
        # The present tick's time in seconds of Trio's clock.
        self.now = self._read()
        # A wall clock given from outside stands still; it is moved on by Trio's time (tests).
        # How far the wall clock is ahead of Trio's, as of the tick for which that was found out.
        self._wall_tick: float | None = None
        self._ahead = 0.0
        self._wall_base = None if wall is None else (wall(), self.now)

    def after_io_wait(self, timeout: float) -> None:  # noqa: ARG002 (Trio's signature)
        """Begin a tick."""
        self.now = self._read()

    def exactly(self) -> float:
        """Return Trio's time now, for durations inside one tick."""
        return self._read()

    def date(self, at: float) -> datetime:
        """Return the date of a moment of Trio's clock."""
        base, then = self._wall_base or (datetime.now(UTC), self._read())
        try:
            return base + timedelta(seconds=at - then)
        except OverflowError:
            return _FURTHEST

    def wall(self, at: float) -> float:
        """Return the seconds since 1970 of a moment of Trio's clock: what outlives the process is kept so."""
        if self._wall_base is not None:
            base, then = self._wall_base
            return base.timestamp() + at - then
        if self._wall_tick is not self.now:
            self._wall_tick, self._ahead = self.now, time() - self._read()
        return at + self._ahead

    def date_of(self, wall: float) -> datetime:
        """Return the date of so many seconds since 1970."""
        try:
            return datetime.fromtimestamp(wall, UTC)
        except (ValueError, OverflowError, OSError):
            return _FURTHEST

    def moment_of(self, wall: float) -> float:
        """Return the moment of Trio's clock at so many seconds since 1970."""
        return wall - self.wall(0.0)

    def moment(self, date: datetime) -> float:
        """Return the moment of Trio's clock at which it is `date`."""
        return self.now + (date - self.date(self.now)).total_seconds()

    def translated(self, at: float, other: TickClock) -> float:
        """Return the moment that is as far from now as `at` is on another clock, perhaps of an earlier Trio run."""
        return self.now + (at - other.exactly())
