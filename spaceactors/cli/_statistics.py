"""What a run counts, in bounded memory. Pure: time comes as an argument."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from attrs import define, field, frozen

from spaceactors.cli._results import HANDLED, OUTCOMES, Result, as_text

if TYPE_CHECKING:
    from collections.abc import Mapping

SMALLEST = 1e-6  # seconds; anything faster counts as this
LARGEST = 1e6  # seconds; anything slower counts as this
MOST_REASONS = 20  # different texts that are kept
LONGEST_REASON = 200  # characters of one
STEP = 1.02  # each bucket is 2 % wider than the one before: a percentile is wrong by 1 % at most


@define
class Histogram:
    """How often which duration was seen: at most 1,400 numbers, however many durations there were."""

    counts: Counter[int] = field(factory=Counter[int])
    shortest: float = math.inf
    longest: float = 0.0

    def add(self, seconds: float) -> None:
        """Count one duration."""
        self.counts[math.floor(math.log(min(max(seconds, SMALLEST), LARGEST) / SMALLEST, STEP))] += 1
        self.shortest, self.longest = min(self.shortest, seconds), max(self.longest, seconds)

    def percentile(self, percent: float) -> float | None:
        """The duration in seconds that so many percent did not exceed; None if there was none at all."""
        rank = math.ceil(self.counts.total() * percent / 100)
        seen = 0
        for bucket in sorted(self.counts):
            seen += self.counts[bucket]
            if seen >= rank:
                middle = SMALLEST * math.pow(STEP, bucket + 0.5)
                return min(max(middle, self.shortest), self.longest)
        return None


@define
class Overlap:
    """How many lanes were at work at the same moments; a lane is at work while a call to it has no answer."""

    calls: Counter[object] = field(factory=Counter[object])  # without an answer now, by lane
    most: int = 0
    lane_seconds: float = 0.0
    began: float | None = None  # the first call
    last: float = 0.0  # the newest beginning or end

    def begin(self, lane: object, now: float) -> None:
        """A call begins."""
        self._pass(now)
        self.calls[lane] += 1
        self.most = max(self.most, len(self.calls))

    def end(self, lane: object, now: float) -> None:
        """A call has its answer."""
        self._pass(now)
        self.calls[lane] -= 1
        if not self.calls[lane]:
            del self.calls[lane]

    def _pass(self, now: float) -> None:
        if self.began is None:
            self.began = self.last = now
        self.lane_seconds += len(self.calls) * (now - self.last)
        self.last = now

    @property
    def seconds(self) -> float:
        """From the first call to the last answer."""
        return 0.0 if self.began is None else self.last - self.began

    @property
    def average(self) -> float:
        """How many lanes were at work on average."""
        return self.lane_seconds / self.seconds if self.seconds > 0 else float(self.most)


@define
class Statistics:
    """What a run has seen so far."""

    outcomes: Counter[str] = field(factory=Counter[str])
    durations: Histogram = field(factory=Histogram)
    reasons: Counter[str] = field(factory=Counter[str])  # why calls were not handled: the first different ones

    def count(self, result: Result) -> None:
        """Count what became of one line."""
        self.outcomes[result.outcome] += 1
        if result.outcome != HANDLED:
            reason = f"{result.outcome}: {as_text(result.error)}"[:LONGEST_REASON]
            if reason in self.reasons or len(self.reasons) < MOST_REASONS:
                self.reasons[reason] += 1
        if result.seconds is not None:
            self.durations.add(result.seconds)


@frozen
class Summary:
    """What a run reports in the end."""

    actor: str
    outcomes: Mapping[str, int]
    spaces: int
    seconds: float
    p50: float | None
    p95: float | None
    p99: float | None
    restarts: int
    interrupted: bool = False
    drain: str | None = None  # what the runtime's own report says, if the run was interrupted

    @property
    def lines(self) -> int:
        """How many lines were answered."""
        return sum(self.outcomes.values())

    @property
    def throughput(self) -> float:
        """Lines per second."""
        return self.lines / self.seconds if self.seconds > 0 else 0.0

    @property
    def exit_code(self) -> int:
        """What the process tells its caller."""
        if self.interrupted:
            return 130
        return 0 if self.outcomes.get(HANDLED, 0) == self.lines else 1


def summarize(
    statistics: Statistics,
    *,
    actor: str,
    spaces: int,
    seconds: float,
    restarts: int,
    interrupted: bool = False,
    drain: str | None = None,
) -> Summary:
    """The report of a run that took so many seconds."""
    p50, p95, p99 = (statistics.durations.percentile(percent) for percent in (50, 95, 99))
    outcomes = {outcome: statistics.outcomes[outcome] for outcome in OUTCOMES if statistics.outcomes[outcome]}
    return Summary(actor, outcomes, spaces, seconds, p50, p95, p99, restarts, interrupted, drain)
