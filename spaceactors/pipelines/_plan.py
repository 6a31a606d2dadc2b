"""The plan of a pipeline: which stages run beside each other in one place, and which in a place of their own.

Pure: no Trio, no clock; it looks at declarations only.

A stage that runs beside the one before it costs a call; one with a place of its own costs a channel, and works while
the others do. Five rules say which it is, and a sixth and seventh keep what the first would take away.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, final

from attrs import field, frozen

from spaceactors.pipelines._context import ContextKind
from spaceactors.pipelines._functions import Wait
from spaceactors.pipelines._stage import StageKind
from spaceactors.pipelines._tally import counted

if TYPE_CHECKING:
    from spaceactors.pipelines._graph import Graph
    from spaceactors.pipelines._stage import Stage

INLINE = ContextKind.INLINE.value


@final
class AffinityRule(Enum):
    """Why a stage runs where it does; the first that applies decides.

    Those of several inputs, at a batch, with a context of their own, and nested pipelines (as well as what follows one)
    have a place of their own, and so has the first one. So has a stage that works on another number of items at once,
    or in another order, than the one before it; and an async function behind another context, for what it awaits
    belongs to the program's own event loop. All others run beside their one input.
    """

    SOURCE = "the first"
    SEVERAL_UPSTREAM = "several inputs"
    BATCH_BOUNDARY = "a batch"
    EXPLICIT_CONTEXT = "a context of its own"
    NESTED_PIPELINE = "a nested pipeline"
    CONCURRENCY = "another concurrency"
    OWN_LOOP = "async, behind another context"
    SINGLE_UPSTREAM = "one input"


@final
@frozen(eq=False)
class ExecutionPlan:
    """Where each stage of a pipeline runs, as data; `print(plan)` tells it, `plan.mermaid()` draws it."""

    _graph: Graph
    _rules: tuple[AffinityRule, ...] = field(init=False)
    # For each stage the first of its group; and in which context it runs.
    _heads: tuple[int, ...] = field(init=False)
    _contexts: tuple[str, ...] = field(init=False)

    def __attrs_post_init__(self) -> None:
        """Decide it, once for all."""
        graph = self._graph
        rules: list[AffinityRule] = []
        heads: list[int] = []
        contexts: list[str] = []
        for number, stage in enumerate(graph.stages):
            rule = _rule(graph, number, contexts)
            beside = graph.upstream[number][0] if rule is AffinityRule.SINGLE_UPSTREAM else None
            rules.append(rule)
            heads.append(number if beside is None else heads[beside])
            contexts.append(stage._rules.context or (INLINE if beside is None else contexts[beside]))
        object.__setattr__(self, "_rules", tuple(rules))
        object.__setattr__(self, "_heads", tuple(heads))
        object.__setattr__(self, "_contexts", tuple(contexts))

    def context_for(self, stage: Stage[Any], /) -> str:
        """Return the name of the context in which a stage runs. Raises `PipelineError` for a stage of another one."""
        return self._contexts[self._graph.number(stage)]

    def affinity_for(self, stage: Stage[Any], /) -> Stage[Any] | None:
        """Return the stage beside which it runs; None if it is independent."""
        number = self._graph.number(stage)
        beside = self._rules[number] is AffinityRule.SINGLE_UPSTREAM
        return self._graph.stages[self._graph.upstream[number][0]] if beside else None

    def rule_for(self, stage: Stage[Any], /) -> AffinityRule:
        """Return why it runs there."""
        return self._rules[self._graph.number(stage)]

    def independent_stages(self) -> tuple[Stage[Any], ...]:
        """Return the stages that have a place of their own."""
        return tuple(stage for stage in self._working() if self.affinity_for(stage) is None)

    def colocated_stages(self) -> tuple[Stage[Any], ...]:
        """Return the stages that run beside the one before them."""
        return tuple(stage for stage in self._working() if self.affinity_for(stage) is not None)

    def groups(self) -> tuple[tuple[Stage[Any], ...], ...]:
        """Return the stages by the place in which they run, in the order in which items come by."""
        return tuple(tuple(self._graph.stages[number] for number in group) for group in self.numbered_groups())

    def numbered_groups(self) -> tuple[tuple[int, ...], ...]:
        """Return the groups as numbers of stages. Internal: the graph is numbered so."""
        found: dict[int, list[int]] = {}
        for number, head in enumerate(self._heads):
            found.setdefault(head, []).append(number)
        if self._graph.source.kind is StageKind.INPUT:
            del found[0]
        return tuple(map(tuple, found.values()))

    def levels(self) -> tuple[tuple[Stage[Any], ...], ...]:
        """Return the stages by their distance from the source: those of one level never need each other."""
        depths: list[int] = []
        for needs in self._graph.upstream:
            depths.append(1 + max((depths[one] for one in needs), default=-1))
        levels: list[list[Stage[Any]]] = [[] for _ in range(max(depths) + 1)]
        for depth, stage in zip(depths, self._graph.stages, strict=True):
            levels[depth].append(stage)
        return tuple(tuple(level) for level in levels if level[0].kind is not StageKind.INPUT)

    def mermaid(self) -> str:
        """Return a picture of the plan in Mermaid's language.

        There is a box around the stages that run beside each other, and around one that does not run inline.
        """
        graph = self._graph
        lines = ["flowchart LR"]
        if graph.source.kind is StageKind.INPUT:
            lines.append(f"    {_node(graph, 0)}")
        for place, group in enumerate(self.numbered_groups(), start=1):
            nodes = [f"    {_node(graph, number)}" for number in group]
            context = self.context_for(graph.stages[group[0]])
            if len(group) > 1 or context != INLINE:
                title = _shown(f"{place}: {context}")
                nodes = [f'    subgraph g{place}["{title}"]', *("    " + node for node in nodes), "    end"]
            lines.extend(nodes)
        lines.extend(
            f"    s{one} --> s{number}" for number in graph.working for one in dict.fromkeys(graph.upstream[number])
        )
        return "\n".join(lines)

    def __str__(self) -> str:
        """Return it as a table of groups: where each stage runs, and why."""
        lines = [f"pipeline {self._graph.name!r}: {counted(len(self.groups()), 'place')}"]
        for place, group in enumerate(self.numbered_groups(), start=1):
            first = self._graph.stages[group[0]]
            at_once = f", {first._rules.concurrency} at once" if first._rules.concurrency > 1 else ""
            lines.append(f"{place}. {self._contexts[group[0]]}{at_once}")
            lines.extend(f"   {self._line(number)}" for number in group)
        return "\n".join(lines)

    def _line(self, number: int) -> str:
        graph = self._graph
        needs = ", ".join(graph.stages[one].name for one in graph.upstream[number])
        return f"{graph.stages[number].name} ({self._rules[number].value})" + (f" ← {needs}" if needs else "")

    def _working(self) -> tuple[Stage[Any], ...]:
        stages = self._graph.stages
        return stages[1:] if stages[0].kind is StageKind.INPUT else stages


def _rule(graph: Graph, number: int, contexts: list[str]) -> AffinityRule:
    """Return the rule for a stage, whose inputs have been decided."""
    stage, needs = graph.stages[number], graph.upstream[number]
    if len(needs) > 1:
        return AffinityRule.SEVERAL_UPSTREAM
    before = graph.stages[needs[0]] if needs else None
    if before is None or before.kind is StageKind.INPUT:
        return AffinityRule.SOURCE
    if StageKind.BATCH in {stage.kind, before.kind}:
        return AffinityRule.BATCH_BOUNDARY
    if stage._rules.context is not None:
        return AffinityRule.EXPLICIT_CONTEXT
    if StageKind.NESTED in {stage.kind, before.kind}:
        return AffinityRule.NESTED_PIPELINE
    if not _same_pace(before, stage):
        return AffinityRule.CONCURRENCY
    if stage._wait is Wait.ALWAYS and contexts[graph.number(before)] != INLINE:
        return AffinityRule.OWN_LOOP
    return AffinityRule.SINGLE_UPSTREAM


def _same_pace(before: Stage[Any], stage: Stage[Any]) -> bool:
    """Tell whether two stages work on as many items at once, and keep their order alike."""
    one, other = before._rules, stage._rules
    if one.concurrency != other.concurrency:
        return False
    return one.concurrency == 1 or one.ordered is other.ordered


_SHAPES = {
    StageKind.INPUT: ("([", "])"),
    StageKind.PRODUCER: ("([", "])"),
    StageKind.BATCH: ("[/", "/]"),
    StageKind.NESTED: ("[[", "]]"),
    StageKind.SINK: ("[(", ")]"),
}


def _node(graph: Graph, number: int) -> str:
    stage = graph.stages[number]
    left, right = _SHAPES.get(stage.kind, ("[", "]"))
    return f's{number}{left}"{_shown(stage.name)}"{right}'


def _shown(text: str) -> str:
    return text.replace('"', "#quot;")
