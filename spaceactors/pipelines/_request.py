"""One request through a pipeline: its stages at the same time where they may, one after the other where they must."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, final

import trio
from attrs import evolve

from spaceactors.pipelines._call import INLINE, Note, StageCall
from spaceactors.pipelines._context import ContextKind, ContextUnavailable, WorkerLost
from spaceactors.pipelines._ending import foremost, raise_as_it_is
from spaceactors.pipelines._options import OnError
from spaceactors.pipelines._results import PipelineResult, StageOutcome, StageResult, StageSkipped, reason
from spaceactors.pipelines._stage import StageKind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from spaceactors.pipelines._graph import Graph
    from spaceactors.pipelines._stage import Stage
    from spaceactors.pipelines._tally import Tally
    from spaceactors.pipelines._world import World

_THREAD = ContextKind.THREAD.value


@final
class Request:
    """One request: what its stages gave so far, and which can run next.

    A stage that could not run because its context failed makes the rest sequential: what runs goes on to its end, then
    that stage runs again, then what is left runs one stage at a time. It does so inside its first attempt, so that who
    records what stages give sees each of them once.
    """

    __slots__ = (
        *("_began", "_calls", "_failure", "_graph", "_infrastructure", "_missing", "_nursery", "_quiet"),
        *("_results", "_running", "_sequential", "_tally", "_values", "_world"),
    )

    def __init__(
        self, graph: Graph, calls: tuple[StageCall | None, ...], tally: Tally, world: World, value: Any
    ) -> None:
        self._graph = graph
        self._calls = calls
        self._tally = tally
        self._world = world
        self._values: list[Any] = [None] * len(graph.stages)
        self._values[0] = value
        # Of each stage: how many of its inputs have no result yet.
        self._missing = [len(needs) for needs in graph.upstream]
        self._results: dict[int, StageResult[Any]] = {}
        self._began = trio.current_time()
        # What the run ends with: the first error, unless a later one concerns the whole program.
        self._failure: BaseException | None = None
        self._infrastructure: ContextUnavailable | WorkerLost | None = None
        self._sequential = world.sequential
        self._nursery: trio.Nursery | None = None
        # How many stages run, and those whose context failed: they wait until none does.
        self._running = 0
        self._quiet = trio.lowlevel.ParkingLot()

    async def run(self) -> PipelineResult[Any]:
        """Run it to its end. Raises the error of the first stage that failed and is not to be skipped."""
        try:
            if self._world.step is None:
                await self._run_stages()
            else:
                # Steps in a turn's own task have an order, and which stages would run there is chance.
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._run_stages)
        finally:
            # Also if it is cancelled meanwhile: an error is never lost.
            self._raise_failure()
        seconds = trio.current_time() - self._began
        return PipelineResult(self._graph, self._results, seconds, self._sequential, self._infrastructure)

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            try:
                raise_as_it_is(failure)
            finally:
                del failure  # it leads back here through its traceback

    async def _run_stages(self) -> None:
        if not self._sequential:
            await self._run_at_once()
        if self._sequential and self._failure is None:
            await self._run_in_order()

    async def _run_at_once(self) -> None:
        ready = self._ready_after(0)
        if self._is_chain():
            await self._follow(ready)
            return
        async with trio.open_nursery() as self._nursery:
            await self._follow(ready)

    def _is_chain(self) -> bool:
        return all(len(takers) <= 1 for takers in self._graph.downstream)

    async def _follow(self, ready: list[int]) -> None:
        """Run stages that are ready, and those which that makes ready; the first of them here, others beside."""
        while ready and self._failure is None and not self._sequential:
            if self._nursery is not None:
                for other in ready[1:]:
                    self._nursery.start_soon(self._follow, [other])
            await self._attempt(ready[0])
            ready = self._ready_after(ready[0])

    async def _run_in_order(self) -> None:
        for number in self._graph.working:
            if number not in self._results and self._failure is None:
                await self._attempt(number)

    async def _attempt(self, number: int) -> None:
        try:
            await self._run_stage(number)
        except trio.Cancelled:
            raise
        except BaseException as error:  # kept as it is: a nursery would wrap it
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self._failure = foremost(self._failure, error)
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()

    def _ready_after(self, number: int) -> list[int]:
        """Return the stages that have waited for this one last."""
        ready: list[int] = []
        for other in self._graph.downstream[number]:
            self._missing[other] -= self._graph.upstream[other].count(number)
            if not self._missing[other]:
                ready.append(other)
        return ready

    def _call(self, number: int) -> StageCall:
        call = self._calls[number]
        assert call is not None  # noqa: S101  (only the source has none)
        return call

    # ---- one stage

    async def _run_stage(self, number: int) -> None:
        """Run one stage, and take note of what became of it."""
        call, needs = self._call(number), self._graph.upstream[number]
        began = trio.current_time()
        missing = self._skipped_among(needs)
        if missing is not None:
            self._skip(number, call, missing, began)
            return
        note = Note()
        self._enter()
        try:
            self._values[number] = await self._recorded(call, tuple(self._values[one] for one in needs), note)
        except Exception as error:
            if call.stage._rules.on_error is not OnError.SKIP or self._world.could_not_record(error):
                call.tally.failed += 1
                raise
            self._skip(number, call, error, began)
            return
        finally:
            self._leave()
            seconds = trio.current_time() - began
            call.tally.took(seconds)
        self._results[number] = StageResult(
            self._values[number], note.error, seconds, note.outcome, began - self._began
        )

    async def _recorded(self, call: StageCall, args: tuple[Any, ...], note: Note) -> Any:
        step = self._world.step
        if step is None or _records_inside(call.stage):
            return await self._called(call, args, note)
        return await step(f"{self._world.prefix}{call.stage.name}", partial(self._called, call, args, note))

    async def _called(self, call: StageCall, args: tuple[Any, ...], note: Note) -> Any:
        """Call it; if its context fails once more, when nothing else runs; if there is no such context, in a thread."""
        try:
            return await call(self._world_of(call.stage), args, note)
        except (ContextUnavailable, WorkerLost) as error:
            if call.context == INLINE:  # not of a context that is ours
                raise
            self._infrastructure, self._sequential = error, True
        await self._wait_alone()
        try:
            return await call(self._world_of(call.stage), args, note)
        except ContextUnavailable as error:
            if call.context == _THREAD:
                raise
            self._infrastructure = error
        return await call.within(_THREAD)(self._world_of(call.stage), args, note)

    def _world_of(self, stage: Stage[Any]) -> World:
        """Return what a stage is given; only those of a pipeline inside look at how, and what, is recorded."""
        world = self._world
        if stage.kind is not StageKind.NESTED:
            return world
        step = world.step if _records_inside(stage) else None
        return evolve(world, step=step, sequential=self._sequential)

    def _enter(self) -> None:
        self._running += 1
        self._tally.stage_began()

    def _leave(self) -> None:
        self._running -= 1
        self._tally.stage_ended()
        if not self._running:
            self._quiet.unpark()

    async def _wait_alone(self) -> None:
        """Wait until no other stage of the request runs, as one that does not run itself."""
        self._leave()
        try:
            while self._running:
                await self._quiet.park()
        finally:
            self._enter()

    def _skip(self, number: int, call: StageCall, why: BaseException, began: float) -> None:
        call.tally.skipped += 1
        seconds = trio.current_time() - began
        self._results[number] = StageResult(None, why, seconds, StageOutcome.SKIPPED, began - self._began)

    def _skipped_among(self, needs: Iterable[int]) -> StageSkipped | None:
        for one in needs:
            found = self._results.get(one)
            if found is not None and found.outcome is StageOutcome.SKIPPED:
                error = StageSkipped(f"stage {self._graph.stages[one].name!r}, which it needs, was skipped")
                error.__cause__ = reason(found.error)
                return error
        return None


def _records_inside(stage: Stage[Any]) -> bool:
    """Tell whether the stages of a pipeline inside are recorded, and not that pipeline as a whole.

    One that may be tried again, remembered or answered for is recorded as a whole: another try of the turn need not
    come to the same stages in it.
    """
    rules = stage._rules
    return stage.kind is StageKind.NESTED and rules.retry is None and rules.cache is None and stage._fallback is None
