"""The arithmetic of rates: how many permits there are at which moment.

Pure: no Trio, no clock; time is an argument.
"""

from __future__ import annotations

import math
from typing import final

from attrs import evolve, field, frozen


@final
@frozen
class Bucket:
    """A bucket that holds up to `burst` permits and gains `permits` each `per` seconds.

    It keeps no level: a level that is written down again at each use gathers rounding errors, and after a year of them
    the rate is another one. It keeps when it was last full, and the whole number of permits that were spent since; each
    question is answered from these two with one multiplication.
    """

    permits: int
    per: float
    burst: int
    # When it was last known to be full, in seconds of the clock that the callers use.
    full_at: float
    # Taken since then; below zero only just after permits came back.
    spent: int = field(default=0)

    def _reached(self, permits: int) -> float:
        """Return when the level is, or was, exactly so high."""
        return self.full_at + (self.spent + permits - self.burst) * self.per / self.permits

    def settled(self, now: float) -> Bucket:
        """Return the same bucket as seen at `now`: what would run over is lost."""
        return evolve(self, full_at=now, spent=0) if now >= self._reached(self.burst) else self

    def due(self, now: float, n: int) -> float:
        """Return when, if nobody else takes any, `n` permits are there; `now` or earlier if they are now.

        `n` may be more than the bucket holds: then it is when so many have come in, for those who stand in line.
        """
        return self.settled(now)._reached(n)

    def take(self, now: float, n: int) -> Bucket | None:
        """Return the bucket without `n` permits, or None if they are not there yet.

        Who asks for more than a full bucket holds (it was made smaller while he waited) goes into debt from a full one.
        """
        bucket = self.settled(now)
        if now < bucket._reached(min(n, self.burst)):
            return None
        return evolve(bucket, spent=bucket.spent + n)

    def adjusted(self, now: float, n: int) -> Bucket:
        """Return the bucket with `n` permits fewer, or more if `n` is below zero; fewer may mean debt."""
        bucket = self.settled(now)
        return evolve(bucket, spent=bucket.spent + n).settled(now)

    def level(self, now: float) -> int:
        """Return how many whole permits are there; below zero is debt."""
        bucket = self.settled(now)
        level = bucket.burst - bucket.spent + math.floor((now - bucket.full_at) * bucket.permits / bucket.per)
        # `due` is what is promised: a level that it contradicts by a rounding error is off by one.
        if now >= bucket._reached(level + 1):
            return min(level + 1, bucket.burst)
        return level if now >= bucket._reached(level) else level - 1

    def resized(self, now: float, permits: int, per: float, burst: int) -> Bucket:
        """Return a bucket of other measures with what was in this one, as far as it fits; no permit is given away."""
        bucket = self.settled(now)
        level = bucket.burst - bucket.spent + (now - bucket.full_at) * bucket.permits / bucket.per
        missing = max(0.0, burst - level)
        spent = math.ceil(missing)
        return Bucket(permits, per, burst, now - (spent - missing) * per / permits, spent)
