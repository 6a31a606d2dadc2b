"""One request through a pipeline: its stages at the same time where they may, one after the other where they must."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, final

import trio

from spaceactors.pipelines._call import Note, StageCall
from spaceactors.pipelines._context import ContextUnavailable, WorkerLost
from spaceactors.pipelines._options import OnError
from spaceactors.pipelines._results import PipelineResult, StageOutcome, StageResult, StageSkipped

if TYPE_CHECKING:
    from collections.abc import Iterable

    from spaceactors.pipelines._graph import Graph
    from spaceactors.pipelines._tally import Tally
    from spaceactors.pipelines._world import World


@final
class Request:
    """One request: what its stages gave so far, and which can run next.

    A stage that could not run because its context failed makes the rest sequential: what runs goes on to its end, then
    what is left runs one stage at a time, that one again first of all.
    """

    __slots__ = (
        *("_began", "_calls", "_failure", "_graph", "_infrastructure", "_missing", "_nursery"),
        *("_results", "_sequential", "_tally", "_values", "_world"),
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
        self._failure: Exception | None = None
        self._infrastructure: ContextUnavailable | WorkerLost | None = None
        self._sequential = False
        self._nursery: trio.Nursery | None = None

    async def run(self) -> PipelineResult[Any]:
        """Run it to its end. Raises the error of the first stage that failed and is not to be skipped."""
        self._sequential = self._world.sequential
        if self._world.step is None:
            await self._run_stages()
        else:
            # Steps in a turn's own task have an order, and which stages would run there is chance.
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._run_stages)
        if self._failure is not None:
            raise self._failure
        seconds = trio.current_time() - self._began
        return PipelineResult(self._graph, self._results, seconds, self._sequential, self._infrastructure)

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

    async def _attempt(self, number: int) -> None:
        try:
            await self._run_stage(number)
        except (ContextUnavailable, WorkerLost) as error:
            self._infrastructure, self._sequential = error, True
        except Exception as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        if self._failure is None:
            self._failure = error
            if self._nursery is not None:
                self._nursery.cancel_scope.cancel()
        else:
            self._failure.add_note(f"another stage failed too: {type(error).__name__}: {error}")

    async def _run_in_order(self) -> None:
        for number in self._graph.working:
            if number in self._results:
                continue
            try:
                await self._run_stage(number)
            except ContextUnavailable as error:
                # There is no such place to be had: a thread of our own is all that is left.
                self._infrastructure = error
                await self._try_in_thread(number)
            except Exception as error:
                self._fail(error)
            if self._failure is not None:
                return

    async def _try_in_thread(self, number: int) -> None:
        call = self._call(number)
        try:
            await self._run_stage(number, StageCall(self._graph.name, call.stage, "thread", call.tally))
        except Exception as error:
            self._fail(error)

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

    async def _run_stage(self, number: int, call: StageCall | None = None) -> None:
        """Run one stage, and take note of what it gave."""
        call = self._call(number) if call is None else call
        needs = self._graph.upstream[number]
        missing = self._skipped_among(needs)
        if missing is not None:
            self._skip(number, call, missing, trio.current_time())
            return
        began = trio.current_time()
        note = Note()
        self._tally.stage_began()
        try:
            self._values[number] = await self._recorded(call, tuple(self._values[one] for one in needs), note)
        except Exception as error:
            self._failed(number, call, error, note, began)
            return
        finally:
            self._tally.stage_ended()
            seconds = trio.current_time() - began
            call.tally.took(seconds)
        self._results[number] = StageResult(
            self._values[number], note.error, seconds, note.outcome, began - self._began
        )

    async def _recorded(self, call: StageCall, args: tuple[Any, ...], note: Note) -> Any:
        work = partial(call, self._world, args, note)
        step = self._world.step
        # A pipeline inside records its own stages.
        if step is None or hasattr(call.stage._fn, "run_stages"):
            return await work()
        return await step(f"{self._world.prefix}{call.stage.name}", work)

    def _failed(self, number: int, call: StageCall, error: Exception, note: Note, began: float) -> None:
        """Skip a stage that failed, if it may be skipped; raise its error if not."""
        may_skip = call.stage._rules.on_error is OnError.SKIP and note.failed is error
        if not may_skip:
            call.tally.failed += 1
            raise error
        self._skip(number, call, error, began)

    def _skip(self, number: int, call: StageCall, why: BaseException, began: float) -> None:
        call.tally.skipped += 1
        seconds = trio.current_time() - began
        self._results[number] = StageResult(None, why, seconds, StageOutcome.SKIPPED, began - self._began)

    def _skipped_among(self, needs: Iterable[int]) -> StageSkipped | None:
        for one in needs:
            found = self._results.get(one)
            if found is not None and found.outcome is StageOutcome.SKIPPED:
                error = StageSkipped(f"stage {self._graph.stages[one].name!r}, which it needs, was skipped")
                error.__cause__ = found.error
                return error
        return None
