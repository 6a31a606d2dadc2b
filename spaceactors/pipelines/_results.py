"""What comes out of a pipeline: of each stage its value, its error, its time.

Pure: no Trio, no clock.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast, final

from attrs import field, frozen

from spaceactors.pipelines._options import PipelineError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from spaceactors.pipelines._graph import Graph
    from spaceactors.pipelines._stage import Stage

O = TypeVar("O")  # noqa: E741  (beside I, for output and input)
O_co = TypeVar("O_co", covariant=True)


class StageSkipped(PipelineError):
    """There is no value, because a stage that was to be skipped on errors failed. Its error is the cause."""


@final
class StageOutcome(Enum):
    """How a stage ended: it has a value of its own, its fallback's or a remembered one, or none."""

    DONE = "done"
    FALLBACK = "fallback"
    CACHED = "cached"
    SKIPPED = "skipped"


@final
@frozen
class StageResult(Generic[O_co]):
    """What became of one stage: its value (None without one), the error that it ended with, and how long it took.

    `seconds` counts from its start to its end, waits for limits and further tries included; `began` is when that was,
    in seconds after the run's start. With the outcome FALLBACK, `error` is why the fallback was needed; with SKIPPED,
    why there is no value: its own error, or a `StageSkipped` where something before it has none.
    """

    value: O_co
    error: BaseException | None
    seconds: float
    outcome: StageOutcome = StageOutcome.DONE
    began: float = 0.0


@final
@frozen(eq=False)
class PipelineResult(Generic[O_co]):
    """What became of one request: `result.value`, and `result[stage]` for each stage; `print(result)` tells all.

    `sequential` says whether its stages ran one after the other; `infrastructure` is the error because of which they
    did so without being asked to.
    """

    _graph: Graph = field(repr=False)
    _stages: Mapping[int, StageResult[Any]] = field(repr=False)
    seconds: float
    sequential: bool = False
    infrastructure: BaseException | None = None

    @property
    def value(self) -> O_co:
        """What the last stage gave. Raises `StageSkipped` if it was skipped, with the reason as cause."""
        found = self._stages[self._graph.output]
        if found.outcome is StageOutcome.SKIPPED:
            name = self._graph.stages[self._graph.output].name
            msg = f"pipeline {self._graph.name!r} has no value, for stage {name!r} was skipped"
            raise StageSkipped(msg) from reason(found.error)
        return cast("O_co", found.value)

    @property
    def name(self) -> str:
        """The pipeline's name."""
        return self._graph.name

    @property
    def parallel_share(self) -> float:
        """Which share of the stages ran at the same time as another one, from 0 to 1."""
        spans = [(one.began, one.began + one.seconds) for one in self._stages.values()]
        return overlapping(spans) / len(spans)

    def stages(self) -> Mapping[str, StageResult[Any]]:
        """Return what became of each stage, by name."""
        return {self._graph.stages[number].name: self._stages[number] for number in sorted(self._stages)}

    def __getitem__(self, stage: Stage[O], /) -> StageResult[O]:
        """Return what became of a stage. Raises `PipelineError` for one of another pipeline, or the input."""
        number = self._graph.number(stage)
        if number not in self._stages:
            msg = f"{stage!r} is what pipeline {self._graph.name!r} was given: only what runs has a result"
            raise PipelineError(msg)
        return cast("StageResult[O]", self._stages[number])

    def __str__(self) -> str:
        """Return a line for the request, and one for each stage."""
        way = ", in sequence" if self.sequential else ""
        lines = [f"pipeline {self._graph.name!r}: {self.seconds:.3f} s{way}"]
        lines.extend(f"  {name}: {_told(one)}" for name, one in self.stages().items())
        return "\n".join(lines)


def overlapping(spans: Iterable[tuple[float, float]]) -> int:
    """Return how many of some spans of time have a moment in common with another one of them."""
    ordered = sorted(span for span in spans if span[1] > span[0])
    shared = [False] * len(ordered)
    last = None  # the one that ends last so far
    for index, (began, _) in enumerate(ordered):
        if last is not None and began < ordered[last][1]:
            shared[index] = shared[last] = True
        if last is None or ordered[index][1] > ordered[last][1]:
            last = index
    return sum(shared)


def reason(error: BaseException | None) -> BaseException | None:
    """Return why the first of the stages without a value has none."""
    while isinstance(error, StageSkipped) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _told(one: StageResult[Any]) -> str:
    text = f"{one.outcome.value} in {one.seconds:.3f} s"
    return text if one.error is None else f"{text} ({type(one.error).__name__}: {one.error})"
