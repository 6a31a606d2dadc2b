"""One run, from the first line read to the report: the async shell around lines, intake, statistics and report."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import IO, TYPE_CHECKING, Any, Protocol

import trio
from attrs import define, field, frozen

from spaceactors import DrainReport, RuntimeConfig, handlers_of, open_runtime
from spaceactors.cli._intake import Intake
from spaceactors.cli._lines import LineCutter, identified, parse_line
from spaceactors.cli._load import UnusableArgument
from spaceactors.cli._progress import show_progress
from spaceactors.cli._results import Result, encode, told
from spaceactors.cli._statistics import Statistics, Summary, summarize
from spaceactors.cli._stops import Stops
from spaceactors.cli._streams import OutputFailed, Source, write

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from rich.console import Console

    from spaceactors import Actor, HandlerInfo, Limit, Runtime, Store
    from spaceactors.cli._lines import Call, Invalid

RESULTS_WAITING = 100  # for the writer: enough to write many at once, few enough to hold askers back behind a slow disk


@frozen
class Job:
    """What to run: an actor and how to open its runtime."""

    actor: type[Actor[Any]]
    config: RuntimeConfig
    one_lane: bool
    deps: Mapping[str, Any]  # the keyword argument `deps`, or nothing
    in_flight: int  # calls without an answer after which the reader waits
    store: Store | None = None  # where the spaces are kept; None: in memory
    limits: tuple[Limit, ...] = ()  # what the actor's handlers may name


class Feed(Protocol):
    """Where calls come from; `size` says how much of it there is, if that is known, and `read` how much was taken."""

    @property
    def size(self) -> int | None: ...
    @property
    def read(self) -> int: ...

    async def feed(self, intake: Intake) -> None:
        """Hand over one call after the other, no faster than they are taken."""


@define
class Session:
    """A run while it goes on."""

    job: Job
    source: Feed
    sink: IO[bytes] | None  # None: what became of each call is counted, and not written
    stops: Stops = field(factory=Stops)
    statistics: Statistics = field(factory=Statistics)
    intake: Intake | None = None  # as soon as the runtime is open
    report: DrainReport | None = None  # what the runtime says about its end
    problem: OutputFailed | None = None  # from then on nothing is written, and everything stops
    restarts: int = 0  # told by the runtime when it has ended

    @property
    def spaces(self) -> int:
        """How many spaces have had a call."""
        return len(self.intake.spaces) if self.intake else 0

    def give_up(self, problem: OutputFailed) -> None:
        """Stop everything: the run has become useless."""
        self.problem = problem
        self.stops.reading.cancel()
        self.stops.running.cancel()


async def run_session(session: Session, console: Console | None) -> Summary:
    """Run it to its end; `console` is where progress is shown."""
    began = trio.current_time()
    async with trio.open_nursery() as helpers:
        await helpers.start(session.stops.watch)
        if console is not None:
            helpers.start_soon(show_progress, session, console)
        async with trio.open_nursery() as writers:
            results, written = trio.open_memory_channel[Result](RESULTS_WAITING)
            writers.start_soon(write_results, session, written)
            async with results:
                await serve(session, results)
        helpers.cancel_scope.cancel()
    if session.problem is not None:
        raise session.problem
    return summarize(
        session.statistics,
        actor=session.job.actor.__name__,
        spaces=session.spaces,
        seconds=trio.current_time() - began,
        restarts=session.restarts,
        interrupted=session.stops.asked > 0,
        drain=str(session.report) if session.stops.asked and session.report else None,
    )


@asynccontextmanager
async def open_job(job: Job) -> AsyncGenerator[Runtime[Any]]:
    """Open the runtime; what goes wrong there (with the dependencies, mostly) is the command line's mistake."""
    async with AsyncExitStack() as opened:
        try:
            runtime = open_runtime(
                job.actor, store=job.store, limits=job.limits, config=job.config, one_lane=job.one_lane, **job.deps
            )
            running = await opened.enter_async_context(runtime)
        except Exception as error:
            raise UnusableArgument(f"the runtime cannot be opened: {told(error)}") from error
        yield running


async def serve(session: Session, results: trio.MemorySendChannel[Result]) -> None:
    """Open the runtime, hand it all lines, and wait until everyone who asked has heard the answer.

    The first signal ends the reading; leaving the runtime then finishes what was accepted. The second cuts that short.
    """
    job = session.job
    async with trio.open_nursery() as askers:
        with session.stops.running:
            async with open_job(job) as runtime:
                handlers = handlers_of(job.actor)
                session.intake = Intake(runtime, handlers, askers, results, job.in_flight, one_lane=job.one_lane)
                with session.stops.reading:
                    await session.source.feed(session.intake)
                    await session.intake.wait_answered()
        if session.intake is not None:
            session.report = session.intake.runtime.report
            session.restarts = (await session.intake.runtime.snapshot()).restarts


@define
class Lines:
    """Calls as the lines of an input; with `once`, which is the input's name, each of them is handled once."""

    source: Source
    once: str | None = None

    @property
    def size(self) -> int | None:
        """The bytes of the input."""
        return self.source.size

    @property
    def read(self) -> int:
        """The bytes that were read."""
        return self.source.read

    async def feed(self, intake: Intake) -> None:
        """Hand over one line after the other."""
        cutter = LineCutter()
        async for chunk in self.source.chunks():
            for number, line in cutter.feed(chunk):
                await intake.take(self._parsed(number, line, intake.handlers))
        for number, line in cutter.finish():
            await intake.take(self._parsed(number, line, intake.handlers))

    def _parsed(self, number: int, line: bytes | None, handlers: Mapping[str, HandlerInfo]) -> Call | Invalid:
        parsed = parse_line(number, line, handlers)
        return parsed if self.once is None else identified(parsed, line or b"", self.once, handlers)


async def write_results(session: Session, written: trio.MemoryReceiveChannel[Result]) -> None:
    """Count and write what became of each line, as many at a time as there are."""
    async for first in written:
        batch = [first, *_waiting(written)]
        for result in batch:
            session.statistics.count(result)
        if session.sink is not None and session.problem is None:
            try:
                await write(session.sink, b"".join(map(encode, batch)))
            except OutputFailed as error:
                session.give_up(error)


def _waiting(written: trio.MemoryReceiveChannel[Result]) -> list[Result]:
    found: list[Result] = []
    for _ in range(RESULTS_WAITING):
        try:
            found.append(written.receive_nowait())
        except (trio.WouldBlock, trio.EndOfChannel):
            break
    return found
