"""The graph of a pipeline: which stages belong to it, in an order in which each comes after its inputs.

Pure: no Trio, no clock; it builds a frozen value, or says what is wrong and at which stage.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any, TypeVar, final

from attrs import frozen

from spaceactors.pipelines._options import PipelineError
from spaceactors.pipelines._stage import StageKind

if TYPE_CHECKING:
    from spaceactors.pipelines._stage import Stage

N = TypeVar("N", bound=Hashable)

_SOURCES = (StageKind.INPUT, StageKind.PRODUCER)


@final
@frozen(eq=False)
class Graph:
    """The stages of a pipeline by number; the source has number 0, and numbers rise from inputs to what takes them."""

    name: str
    stages: tuple[Stage[Any], ...]
    numbers: Mapping[Stage[Any], int]
    # For each stage: whose results it takes (in the order of its arguments), and who takes its own.
    upstream: tuple[tuple[int, ...], ...]
    downstream: tuple[tuple[int, ...], ...]
    # The stage whose result is the pipeline's, and those beside it whose results nobody takes.
    output: int
    ends: tuple[int, ...]

    @property
    def source(self) -> Stage[Any]:
        """The input, or the producer."""
        return self.stages[0]

    @property
    def working(self) -> range:
        """The numbers of all stages but the source."""
        return range(1, len(self.stages))

    def number(self, stage: Stage[Any]) -> int:
        """Return the number of a stage. Raises `PipelineError` for one of another pipeline."""
        number = self.numbers.get(stage)
        if number is None:
            msg = f"{stage!r} is no stage of pipeline {self.name!r} (its stages are {_quoted(self.stages)})"
            raise PipelineError(msg)
        return number

    def needed_by(self, number: int) -> frozenset[int]:
        """Return all stages whose results this one needs, however indirectly, and itself."""
        return _reached(number, self.upstream)


def graph_of(name: str, source: Stage[Any], output: Stage[Any], beside: Iterable[Stage[Any]] = ()) -> Graph:
    """Build the graph of a pipeline.

    Raises:
        PipelineError: stages wait for each other in a ring; one needs an input that is not the pipeline's; two have one
            name; items meet that cannot; the output does not need the input.

    """
    ends = (output, *beside)
    wanted = _wanted(ends)
    _check_sources(name, source, wanted)
    stages = (source, *(stage for stage in ordered(name, wanted) if stage is not source))
    _check_names(name, stages)
    numbers = {stage: number for number, stage in enumerate(stages)}
    upstream = tuple(tuple(numbers[one] for one in wanted[stage]) for stage in stages)
    graph = Graph(
        name, stages, numbers, upstream, _turned(upstream), numbers[output], tuple(numbers[stage] for stage in ends)
    )
    _check_grains(graph)
    return graph


def ordered(name: str, upstream: Mapping[N, Sequence[N]]) -> tuple[N, ...]:
    """Return all nodes so that each comes after those that it needs. Raises `PipelineError` for a ring."""
    try:
        return tuple(TopologicalSorter(upstream).static_order())
    except CycleError as error:
        ring: list[Any] = error.args[1]
        way = " → ".join(str(getattr(one, "name", one)) for one in ring)
        msg = f"pipeline {name!r}: stages wait for each other in a ring: {way}"
        raise PipelineError(msg) from None


def grains(graph: Graph) -> tuple[int, ...]:
    """Return for each stage the number of the stage that made its items: the source, or the nearest batch above."""
    found: list[int] = []
    for number, stage in enumerate(graph.stages):
        needs = graph.upstream[number]
        found.append(number if stage.kind is StageKind.BATCH or not needs else found[needs[0]])
    return tuple(found)


def _wanted(ends: Sequence[Stage[Any]]) -> dict[Stage[Any], tuple[Stage[Any], ...]]:
    """Return all that the ends need, each with its inputs."""
    found: dict[Stage[Any], tuple[Stage[Any], ...]] = {}
    left = list(reversed(ends))
    while left:
        stage = left.pop()
        if stage not in found:
            found[stage] = stage.inputs
            left.extend(reversed(stage.inputs))
    return found


def _turned(upstream: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], ...]:
    """Return for each stage who takes its result."""
    takers: list[list[int]] = [[] for _ in upstream]
    for number, needs in enumerate(upstream):
        for one in dict.fromkeys(needs):
            takers[one].append(number)
    return tuple(map(tuple, takers))


def _reached(number: int, edges: Sequence[Sequence[int]]) -> frozenset[int]:
    found: set[int] = set()
    left = [number]
    while left:
        one = left.pop()
        if one not in found:
            found.add(one)
            left.extend(edges[one])
    return frozenset(found)


def _check_sources(name: str, source: Stage[Any], wanted: Mapping[Stage[Any], Sequence[Stage[Any]]]) -> None:
    if source.kind not in _SOURCES:
        msg = f"pipeline {name!r} begins with an Input or a Producer, not with {source!r}"
        raise PipelineError(msg)
    for stage, inputs in wanted.items():
        for one in inputs:
            if one.kind in _SOURCES and one is not source:
                msg = f"stage {stage.name!r} takes {one!r}, which is not what pipeline {name!r} is given: {source!r}"
                raise PipelineError(f"{msg}; declare it once, for the stages and the pipeline")
    if source not in wanted:
        msg = f"pipeline {name!r}: nothing in it takes its input {source!r}"
        raise PipelineError(msg)
    if len(wanted) == 1:
        msg = f"pipeline {name!r} has no stage: its output is its input"
        raise PipelineError(msg)


def _check_names(name: str, stages: Sequence[Stage[Any]]) -> None:
    seen: set[str] = set()
    for stage in stages:
        if stage.name in seen:
            msg = f"pipeline {name!r} has two stages named {stage.name!r}: give one of them a name="
            raise PipelineError(msg)
        seen.add(stage.name)


def _check_grains(graph: Graph) -> None:
    """Refuse a stage that takes single items and batches, or two kinds of batches: which belong to each other?"""
    made_by = grains(graph)
    for number in graph.working:
        if len({made_by[one] for one in graph.upstream[number]}) > 1:
            inputs = " and ".join(f"{graph.stages[one].name!r}" for one in graph.upstream[number])
            msg = f"stage {graph.stages[number].name!r} takes {inputs}, on different sides of a batch"
            raise PipelineError(msg)


def _quoted(stages: Iterable[Stage[Any]]) -> str:
    return ", ".join(repr(stage.name) for stage in stages)
