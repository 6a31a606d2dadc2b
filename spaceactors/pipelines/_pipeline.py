"""Pipelines: what a user declares once, and runs for each request, or opens as a stream."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast, final

import trio
from attrs import evolve

from spaceactors.pipelines._call import StageCall
from spaceactors.pipelines._context import ContextKind, UnknownContext
from spaceactors.pipelines._context_send import misfit
from spaceactors.pipelines._graph import graph_of
from spaceactors.pipelines._options import PipelineError
from spaceactors.pipelines._plan import ExecutionPlan
from spaceactors.pipelines._request import Request
from spaceactors.pipelines._stage import KINDS, Stage, StageKind
from spaceactors.pipelines._tally import StageTally, Tally
from spaceactors.pipelines._world import Recorder, World
from supervisors._block import without_cancellation

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Iterable
    from contextlib import AbstractAsyncContextManager

    from spaceactors.pipelines._context_pool import ContextPool
    from spaceactors.pipelines._graph import Graph
    from spaceactors.pipelines._items import StreamReport
    from spaceactors.pipelines._results import PipelineResult
    from spaceactors.pipelines._stream import Stream
    from spaceactors.pipelines._tally import PipelineStatistics
    from spaceactors.pipelines._world import Step
    from supervisors import Limits

I_contra = TypeVar("I_contra", contravariant=True)
O_co = TypeVar("O_co", covariant=True)


@final
class Pipeline(Generic[I_contra, O_co]):
    """Stages as one thing: run for one request after the other, or opened as a stream of items.

    When you would want it: an answer that takes several steps, of which some may run at the same time; or many items
    that go through the same steps. It is declared once, such as at the top of a module, and holds nothing open.

        question = Input(str)
        memories = Stage(recall, question, timeout=2)
        passages = Stage(retrieve, question, context="thread", retry=Retry(3), fallback=cached)
        reply = Stage(reason, question, memories, passages, limit="llm")
        answer = Pipeline("answer", question, reply)

        result = await answer.run("trio")

    In a handler write `await self.run_pipeline(answer, text)`: each stage is then a step of the turn.

    Args:
        name: what it is called in errors, statistics and steps.
        input: the `Input` or `Producer` with which it begins.
        output: the stage whose result is the pipeline's.
        beside: stages that run too although nobody takes their results, such as one that counts.

    Raises:
        PipelineError: the stages do not fit together; the text names the one that does not.

    """

    __slots__ = ("_calls", "_contexts", "_graph", "_limits", "_plan", "_tally")

    def __init__(
        self,
        name: str,
        input: Stage[I_contra],  # noqa: A002  (the word of the field)
        output: Stage[O_co],
        /,
        *,
        beside: Iterable[Stage[Any]] = (),
    ) -> None:
        if not isinstance(cast("object", name), str) or not name:
            msg = f"a pipeline's name must be a text that is not empty, not {name!r}"
            raise TypeError(msg)
        if isinstance(cast("object", beside), Stage):
            msg = f"beside must be a list of stages, such as [{cast('Any', beside).name}], not {beside!r}"
            raise TypeError(msg)
        beside = tuple(beside)
        for stage in (input, output, *beside):
            if not isinstance(cast("object", stage), Stage):
                msg = f"pipeline {name!r} is made of stages such as Input(str) and Stage(fn, ...), not of {stage!r}"
                raise PipelineError(msg)
        self._graph = graph_of(name, input, output, beside)
        self._plan = ExecutionPlan(self._graph)
        self._tally = Tally({stage.name: StageTally() for stage in self._graph.stages[1:]})
        _check_nested(self._graph)
        _check_contexts(self._graph, self._plan)
        nested = [stage._fn for stage in self._graph.stages if stage.kind is StageKind.NESTED]
        own = frozenset(map(self._plan.context_for, self._graph.stages)) - {ContextKind.INLINE.value}
        self._contexts = own.union(*(one.contexts_needed() for one in nested))
        held = frozenset(name for stage in self._graph.stages for name in stage._rules.limits)
        self._limits = held.union(*(one.limits_needed() for one in nested))
        # The source is called by nobody; so that numbers fit, it has a place all the same.
        self._calls = tuple(
            None
            if not number
            else StageCall(name, stage, self._plan.context_for(stage), self._tally.stages[stage.name])
            for number, stage in enumerate(self._graph.stages)
        )

    def __repr__(self) -> str:
        """Return its name and how many stages it has."""
        return f"<pipeline {self.name!r}, {len(self._graph.working)} stages>"

    @property
    def name(self) -> str:
        """What it is called."""
        return self._graph.name

    @property
    def plan(self) -> ExecutionPlan:
        """Where each stage runs, and why there."""
        return self._plan

    def statistics(self) -> PipelineStatistics:
        """Return what became of all its runs so far. Streams have figures of their own."""
        if not trio.lowlevel.in_trio_run():
            return self._tally.statistics()
        return self._tally.statistics(trio.lowlevel.current_trio_token(), trio.current_time())

    # ---- one request

    async def run(
        self,
        value: I_contra,
        /,
        *,
        sequential: bool = False,
        limits: Limits | None = None,
        contexts: ContextPool | None = None,
    ) -> PipelineResult[O_co]:
        """Run it for one request: stages that do not need each other at the same time.

        Where a context fails (a process died, a thread could not be started), what runs goes on to its end, and the
        rest runs one stage after the other, the one whose context failed once more; if its context is not to be had
        then either, in a thread. `result.infrastructure` tells. A stage's own `retry` and `fallback` come before that.

        Args:
            value: what the input stands for.
            sequential: run one stage at a time, in the order of the plan.
            limits: those that stages may name; None: those of the runtime in whose turn or background work it runs.
                Elsewhere nobody paces it.
            contexts: the pool that has the contexts which stages name; None: one is opened for this run if a stage
                needs one of the four kinds. A process that is started anew each time costs more than a pool.

        Raises:
            PipelineError: a stage names a context that there is not.
            UnknownLimit: a stage names a limit that there is not.
            Exception: what a stage raised, if all its tries and its fallback failed, and it is not to be skipped; a
                note says in which stage. The others are cancelled.

        """
        await trio.lowlevel.checkpoint()
        return await self._run(value, World(limits=limits, contexts=contexts, sequential=sequential))

    async def run_in_turn(
        self,
        value: I_contra,
        step: Step,
        name: str,
        /,
        *,
        limits: Limits | None = None,
        contexts: ContextPool | None = None,
    ) -> PipelineResult[O_co]:
        """Run it with each stage as a step. Internal: actors call it, by `self.run_pipeline(...)`."""
        recorder = Recorder(step)
        return await self._run(value, World(limits=limits, contexts=contexts, step=recorder, prefix=f"{name}/"))

    async def run_stages(self, value: I_contra, world: World, /) -> PipelineResult[O_co]:
        """Run it as a stage of another pipeline. Internal."""
        tally, loop = self._tally, trio.lowlevel.current_trio_token()
        tally.began(loop, trio.current_time())
        try:
            result = await Request(self._graph, self._calls, tally, world, value).run()
        except BaseException as error:
            if without_cancellation(error) is None:
                tally.cancelled += 1
            else:
                tally.failed += 1
            raise
        finally:
            tally.ended(loop, trio.current_time())
        share = result.parallel_share
        tally.completed_in(result.seconds, len(self._graph.working), share, sequential=result.sequential)
        return result

    async def _run(self, value: I_contra, world: World) -> PipelineResult[O_co]:
        async with open_world(self, world) as opened:
            return await self.run_stages(value, opened)

    # ---- many items

    def open(
        self,
        source: Iterable[I_contra] | AsyncIterable[I_contra] | None = None,
        /,
        *,
        buffer: int = 16,
        limits: Limits | None = None,
        contexts: ContextPool | None = None,
    ) -> AbstractAsyncContextManager[Stream[I_contra, O_co]]:
        """Open it as a stream: items go in as fast as they come out, and many are on their way at once.

            async with answer.open(questions) as answers:
                async for one in answers:
                    ...

        Leaving the block takes nothing more from the source, finishes what is inside, and leaves its results unread;
        `process` is for streams of whose results nobody wants to hear. If the surrounding supervised child is asked to
        drain, so is the stream. It ends with the error of the first stage that failed and is not to be skipped.

        Args:
            source: the items; None: `stream.send(item)` gives them, or the pipeline's own `Producer` does. A generator
                is closed when the stream takes nothing more, and so is what is async and can be closed, such as a
                channel (give it a clone to keep yours); any other iterator can be gone on with.
            buffer: so many items wait in front of each place in which stages run, and behind the last.
            limits: as of `run`.
            contexts: as of `run`.

        """
        from spaceactors.pipelines._stream import open_stream

        return open_stream(self, source, buffer, World(limits=limits, contexts=contexts))

    async def process(
        self,
        source: Iterable[I_contra] | AsyncIterable[I_contra] | None = None,
        /,
        *,
        buffer: int = 16,
        limits: Limits | None = None,
        contexts: ContextPool | None = None,
    ) -> StreamReport:
        """Send all items of the source through, to a `Sink` or to nobody, and say how many. Arguments as of `open`."""
        if source is None and self._graph.source.kind is StageKind.INPUT:
            msg = f"process of pipeline {self.name!r} needs a source, for nobody else gives it items; or a Producer"
            raise PipelineError(msg)
        async with self.open(source, buffer=buffer, limits=limits, contexts=contexts) as stream:
            await stream.wait_done()
        return stream.report

    def parts(self) -> tuple[Graph, tuple[StageCall | None, ...]]:
        """Return the graph, and how its stages are called. Internal: streams are made of them."""
        return self._graph, self._calls

    def contexts_needed(self) -> frozenset[str]:
        """Return the names of the contexts in which its stages run, nested ones too, but for the inline one."""
        return self._contexts

    def limits_needed(self) -> frozenset[str]:
        """Return the names of the limits that its stages hold, nested ones too."""
        return self._limits


@asynccontextmanager
async def open_world(pipeline: Pipeline[Any, Any], world: World) -> AsyncGenerator[World]:
    """Look up all limits and contexts before anything runs; open a pool where one is needed and none given."""
    world.check_limits(pipeline.limits_needed())
    if world.contexts is not None and not hasattr(world.contexts, "kind_of"):
        msg = f"contexts must be an open pool, as of `async with open_context_pool() as pool`, not {world.contexts!r}"
        raise TypeError(msg)
    needed = pipeline.contexts_needed()
    if not needed:
        yield world
        return
    if world.contexts is not None:
        _check_known(pipeline, needed, world.contexts)
        yield world
        return
    from spaceactors.pipelines._context_pool import open_context_pool

    unknown = sorted(needed - KINDS.keys())
    if unknown:
        msg = (
            f"pipeline {pipeline.name!r} needs the context {unknown[0]!r}: open a pool that has it, and give contexts="
        )
        raise PipelineError(msg)
    async with open_context_pool() as pool:
        yield evolve(world, contexts=pool)


def _check_known(pipeline: Pipeline[Any, Any], needed: frozenset[str], pool: ContextPool) -> None:
    for name in sorted(needed):
        try:
            pool.kind_of(name)
        except UnknownContext as error:
            msg = f"pipeline {pipeline.name!r}: {error}"
            raise PipelineError(msg) from error


def _check_nested(graph: Graph) -> None:
    for stage in graph.stages:
        if stage.kind is not StageKind.NESTED:
            continue
        if stage._fn.parts()[0].source.kind is StageKind.PRODUCER:
            msg = f"stage {stage.name!r}: a pipeline that begins with a producer cannot be a stage; give it an Input"
            raise PipelineError(msg)
        both = stage._fn.limits_needed().intersection(stage._rules.limits)
        if both:
            msg = (
                f"stage {stage.name!r} holds the limit {min(both)!r} while those inside wait for it: name it there only"
            )
            raise PipelineError(msg)


def _check_contexts(graph: Graph, plan: ExecutionPlan) -> None:
    """Refuse functions that run beside one in another context, and cannot go there."""
    for stage in plan.colocated_stages():
        context = plan.context_for(stage)
        kind = KINDS.get(context)
        wrong = None if kind is None or stage.kind is StageKind.NESTED else misfit(kind, stage._fn)
        if wrong is not None:
            beside = graph.stages[graph.upstream[graph.number(stage)][0]].name
            how = f"it runs beside {beside!r} there, unless you give it context='inline'"
            msg = f"stage {stage.name!r}: {wrong}; {how}"
            raise PipelineError(msg)
