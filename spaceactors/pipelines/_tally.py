"""What a pipeline counts of its runs, in bounded memory.

Pure: no Trio; time is an argument.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

from attrs import define, field, frozen

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping


@final
@frozen
class StageStatistics:
    """What became of all calls of one stage.

    `calls` counts what it was asked for, `cached` what was remembered or shared, `retries` the tries after a first one
    that failed, `fallbacks` those that its fallback answered, `skipped` and `failed` those without a value; `seconds`
    is how long all of them took together, `slowest` the longest.
    """

    calls: int = 0
    failed: int = 0
    skipped: int = 0
    fallbacks: int = 0
    retries: int = 0
    cached: int = 0
    seconds: float = 0.0
    slowest: float = 0.0

    @property
    def average(self) -> float:
        """Seconds of a call, on average."""
        return self.seconds / self.calls if self.calls else 0.0


@final
@frozen
class PipelineStatistics:
    """What became of all runs of a pipeline, since the program began.

    `cancelled` are those that were cut off from outside. `average` is in seconds, of those that completed;
    `throughput` is how many of them a second there were while any ran. `at_once` is how many stages ran at the same
    time at most, `parallel_share` which share of all that ran did so at the same time as another of the same request.
    """

    total: int
    completed: int
    failed: int
    cancelled: int
    running: int
    average: float
    slowest: float
    throughput: float
    at_once: int
    parallel_share: float
    sequential: int
    stages: Mapping[str, StageStatistics]

    def __str__(self) -> str:
        """Return it in a few lines, for people."""
        lines = [
            (
                f"{counted(self.total, 'run')}: {self.completed} completed, {self.failed} failed, "
                f"{self.cancelled} cancelled, {self.running} running"
            ),
            (
                f"{self.average:.3f} s on average, {self.slowest:.3f} s at most, {self.throughput:.1f} a second; "
                f"{counted(self.at_once, 'stage')} at once, {self.parallel_share:.0%} beside another"
            ),
        ]
        lines.extend(f"  {name}: {_told(one)}" for name, one in self.stages.items())
        return "\n".join(lines)


def _told(one: StageStatistics) -> str:
    parts = {
        "failed": one.failed,
        "skipped": one.skipped,
        "by fallback": one.fallbacks,
        "cached": one.cached,
        "tried again": one.retries,
    }
    ends = [counted(one.calls, "call"), *(f"{count} {what}" for what, count in parts.items() if count)]
    return f"{', '.join(ends)}; {one.average:.3f} s on average"


def counted(count: int, what: str) -> str:
    """Return how many there are of something, in words."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


@final
@define
class StageTally:
    """The counters of one stage."""

    calls: int = 0
    failed: int = 0
    skipped: int = 0
    fallbacks: int = 0
    retries: int = 0
    cached: int = 0
    seconds: float = 0.0
    slowest: float = 0.0

    def took(self, seconds: float) -> None:
        """Count a call that has ended, however it did."""
        self.calls += 1
        self.seconds += seconds
        self.slowest = max(self.slowest, seconds)

    def statistics(self) -> StageStatistics:
        """Return the figures of now."""
        return StageStatistics(
            self.calls,
            self.failed,
            self.skipped,
            self.fallbacks,
            self.retries,
            self.cached,
            self.seconds,
            self.slowest,
        )


@final
@define
class Tally:
    """The counters of one pipeline."""

    stages: Mapping[str, StageTally]
    total: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    sequential: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    # Of each run of Trio, for their clocks have nothing in common: how many runs go on in it, and since when some do.
    going: dict[Hashable, tuple[int, float]] = field(factory=dict[Any, Any])
    # For how long some went on before.
    busy: float = 0.0
    # Stages that run now, and did at most.
    now: int = 0
    at_once: int = 0
    # Of those that ran in runs that completed: how many, and how many beside another.
    ran: int = 0
    beside: float = 0.0

    def began(self, loop: Hashable, now: float) -> None:
        """Count a run that begins."""
        self.total += 1
        running, since = self.going.get(loop, (0, now))
        self.going[loop] = (running + 1, since)

    def ended(self, loop: Hashable, now: float) -> None:
        """Count a run that is over."""
        running, since = self.going.pop(loop)
        if running > 1:
            self.going[loop] = (running - 1, since)
        else:
            self.busy += now - since

    def completed_in(self, seconds: float, ran: int, share: float, *, sequential: bool) -> None:
        """Count a run that has its value."""
        self.completed += 1
        self.sequential += sequential
        self.seconds += seconds
        self.slowest = max(self.slowest, seconds)
        self.ran += ran
        self.beside += share * ran

    def stage_began(self) -> None:
        """Count a stage that runs."""
        self.now += 1
        self.at_once = max(self.at_once, self.now)

    def stage_ended(self) -> None:
        """Count one that runs no more."""
        self.now -= 1

    def statistics(self, loop: Hashable = None, now: float = 0.0) -> PipelineStatistics:
        """Return the figures of now; of the spans that go on only that of the run of Trio counts that asks."""
        going = dict(self.going)
        busy = self.busy + (now - going[loop][1] if loop in going else 0.0)
        return PipelineStatistics(
            total=self.total,
            completed=self.completed,
            failed=self.failed,
            cancelled=self.cancelled,
            running=sum(running for running, _ in going.values()),
            average=self.seconds / self.completed if self.completed else 0.0,
            slowest=self.slowest,
            throughput=self.completed / busy if busy else 0.0,
            at_once=self.at_once,
            parallel_share=self.beside / self.ran if self.ran else 0.0,
            sequential=self.sequential,
            stages={name: self.stages[name].statistics() for name in self.stages},
        )
