"""What a stream is made of, as data: items on their way, and what is counted of them.

Pure: no Trio; time is an argument.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

from attrs import define, field, frozen

from spaceactors.pipelines._tally import StageTally

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spaceactors.pipelines._graph import Graph

# So many skipped items are remembered, the latest; they are counted all.
SKIPPED_KEPT = 1000


@final
class Item:
    """One item on its way: what the stages have given for it, and which wait for more."""

    __slots__ = ("gone", "missing", "values", "weight")

    def __init__(self, values: list[Any], missing: list[int], weight: int) -> None:
        # By number of the stage.
        self.values = values
        # Of each stage: from how many of its inputs there is nothing yet.
        self.missing = missing
        # How many items of the source it is: a batch is several.
        self.weight = weight
        # Whether it was skipped on the way to the output.
        self.gone = False


@final
@frozen
class SkippedItem:
    """An item that was left out, because a stage that may be skipped failed at it: where, why, and what it was given.

    `items` is how many items of the source it was: more than one for a batch.
    """

    stage: str
    error: BaseException
    args: tuple[Any, ...]
    items: int = 1


@final
@frozen
class StageProgress:
    """How far one stage of a stream is: items that it was given, that it is done with, and that it skipped.

    `waiting` is how many stand in front of the place in which it runs, if it is the first there; `retries` counts the
    tries after a first one that failed, `fallbacks` the items that its fallback answered, `cached` those whose result
    was remembered or shared.
    """

    taken: int
    done: int
    skipped: int
    waiting: int
    retries: int = 0
    fallbacks: int = 0
    cached: int = 0


@final
@frozen
class StreamProgress:
    """How far a stream is.

    `taken` came from the source, of `total` that there will be (None: nobody knows); `delivered` of them have come out
    at the end, `skipped` never will. `rate` is how many were finished a second, and `remaining` how many seconds it
    will take at that rate.
    """

    stages: Mapping[str, StageProgress]
    taken: int
    delivered: int
    skipped: int
    total: int | None
    seconds: float

    @property
    def finished(self) -> int:
        """How many are on their way no more."""
        return self.delivered + self.skipped

    @property
    def rate(self) -> float:
        """How many were finished a second."""
        return self.finished / self.seconds if self.seconds > 0 else 0.0

    @property
    def remaining(self) -> float | None:
        """How many seconds it will take at this rate; None: nobody knows."""
        if self.total is None or not self.rate:
            return None
        return max(0, self.total - self.finished) / self.rate


@final
@frozen
class StreamReport:
    """What became of the items of a stream that is over.

    `taken` came from the source; of them `delivered` went through to the end, of which `unread` were results that
    nobody read; `skipped` were left out by their stage's rule; `left` were inside when it was cut short.
    """

    taken: int
    delivered: int
    unread: int
    skipped: int
    left: int
    seconds: float

    @property
    def clean(self) -> bool:
        """Whether all that was taken came to its end."""
        return not self.left

    def __str__(self) -> str:
        """Return it in one line."""
        parts = {"unread": self.unread, "skipped": self.skipped, "left inside": self.left}
        more = "".join(f", {count} {what}" for what, count in parts.items() if count)
        return f"{self.taken} taken, {self.delivered} delivered{more} in {self.seconds:.3f} s"


@final
@define
class StageCount:
    """The counters of one stage of a stream."""

    taken: int = 0
    done: int = 0
    skipped: int = 0
    # Of its calls, as far as streams tell of them.
    tally: StageTally = field(factory=StageTally)

    def progress(self, waiting: int) -> StageProgress:
        """Return the figures of now."""
        tally = self.tally
        return StageProgress(self.taken, self.done, self.skipped, waiting, tally.retries, tally.fallbacks, tally.cached)


@final
@define
class StreamCount:
    """The counters of a stream."""

    stages: list[StageCount]
    began: float
    # When it was over.
    ended: float | None = None
    total: int | None = None
    taken: int = 0
    delivered: int = 0
    # Of those delivered, whose results were read; None: there is nothing to read.
    read: int | None = 0
    skipped: int = 0

    def end(self, now: float) -> None:
        """Take note that it is over, once."""
        if self.ended is None:
            self.ended = now

    def seconds(self, now: float) -> float:
        """Return how long it has taken, so far or in all."""
        return (now if self.ended is None else self.ended) - self.began

    def progress(self, graph: Graph, waiting: Mapping[int, int], now: float) -> StreamProgress:
        """Return the figures of now; `waiting` by number of the stage in front of which they stand."""
        stages = {
            graph.stages[number].name: one.progress(waiting.get(number, 0))
            for number, one in enumerate(self.stages)
            if number
        }
        return StreamProgress(stages, self.taken, self.delivered, self.skipped, self.total, self.seconds(now))

    def report(self, now: float) -> StreamReport:
        """Return what became of all items."""
        left = self.taken - self.delivered - self.skipped
        unread = 0 if self.read is None else self.delivered - self.read
        return StreamReport(self.taken, self.delivered, unread, self.skipped, left, self.seconds(now))
