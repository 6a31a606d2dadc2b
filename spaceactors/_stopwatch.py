"""Durations, collected in a bounded place. Pure."""

from __future__ import annotations

from math import log2
from typing import final

from attrs import define, field

# Buckets from a microsecond on, four to a doubling: a quantile is off by at most a fifth.
_LEAST = 1e-6
_PER_DOUBLING = 4
_BUCKETS = 160


@final
@define(eq=False)
class Stopwatch:
    """Collects durations in a bounded place."""

    count: int = 0
    total: float = 0.0
    greatest: float = 0.0
    buckets: list[int] = field(factory=lambda: [0] * _BUCKETS)

    def note(self, seconds: float) -> None:
        """Count one duration."""
        self.count += 1
        self.total += seconds
        if seconds > self.greatest:  # noqa: PLR1730 (`max` is a call, and every message of a durable space comes here)
            self.greatest = seconds
        number = int(log2(seconds / _LEAST) * _PER_DOUBLING) + 1 if seconds > _LEAST else 0
        self.buckets[number if number < _BUCKETS else _BUCKETS - 1] += 1

    def quantile(self, share: float) -> float:
        """Return the duration that `share` of all do not exceed."""
        rank, seen = share * self.count, 0
        for number, held in enumerate(self.buckets):
            seen += held
            if held and seen >= rank:
                return min(_LEAST * 2 ** (number / _PER_DOUBLING), self.greatest) if number else 0.0
        return 0.0
