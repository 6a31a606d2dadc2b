"""Streams: many items on their way through a pipeline at once, from one place to the next.

Each place is a supervised child with a bounded channel before it, so that nobody runs ahead of those behind. They are
started from the end to the source, and stopped from the source to the end: what was taken comes out.
"""

from __future__ import annotations

import math
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast, final

import trio

from spaceactors.pipelines._feeding import Feed
from spaceactors.pipelines._flow import Flow
from spaceactors.pipelines._options import PipelineError, check_count
from spaceactors.pipelines._pipeline import open_world
from spaceactors.pipelines._place import Place, run_place
from spaceactors.pipelines._stage import StageKind
from supervisors import ChildSpec, Restart, RestartLimit, RestartLimitExceeded, open_supervisor

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable

    from spaceactors.pipelines._items import SkippedItem, StreamProgress, StreamReport
    from spaceactors.pipelines._pipeline import Pipeline
    from spaceactors.pipelines._world import World
    from supervisors import Supervisor, Tree

I_contra = TypeVar("I_contra", contravariant=True)
O_co = TypeVar("O_co", covariant=True)


class StreamClosed(PipelineError):
    """The stream takes nothing more: it was stopped, drained, or has failed."""


@final
class Stream(Generic[I_contra, O_co]):
    """A pipeline at work on many items: `async for` gives the results, in the order that its stages keep.

    Several tasks may read, and several may send. A reader that is slow holds back the stages, and they the source.
    """

    def __init__(self, flow: Flow, feed: Feed, door: trio.MemorySendChannel[Any] | None) -> None:
        self._flow = flow
        self._feed = feed
        # Into which `send` puts items; None: they come from a source.
        self._door = door
        self._supervisor: Supervisor | None = None
        self._has_readers = False
        # Set when all has come to its end; and when it has ended, in whatever way.
        self._done = trio.Event()
        self._over = trio.Event()
        self._report: StreamReport | None = None

    def __repr__(self) -> str:
        """Return the pipeline's name, and how far it is."""
        count = self._flow.count
        return f"<stream of {self._flow.graph.name!r}: {count.taken} taken, {count.delivered} delivered>"

    # ---- items in

    async def send(self, value: I_contra, /) -> None:
        """Give it an item; waits until it is taken. Cancelled before that, the item is not in the stream.

        Raises:
            StreamClosed: it takes nothing more.
            PipelineError: it has a source.

        """
        if self._door is None:
            msg = f"{self!r} has a source: open it without one to send items"
            raise PipelineError(msg)
        try:
            await self._door.send(value)
        except (trio.ClosedResourceError, trio.BrokenResourceError):
            msg = f"{self!r} takes nothing more: the item was not taken"
            raise StreamClosed(msg) from None

    def stop_source(self) -> None:
        """Take nothing more; what was taken goes on, and its results can be read to the end."""
        if self._door is not None:
            self._door.close()
        else:
            self._feed.stop()

    # ---- results out

    def __aiter__(self) -> Stream[I_contra, O_co]:
        """Read the results."""
        self._has_readers = True
        return self

    async def __anext__(self) -> O_co:
        """Wait for the next result."""
        try:
            return cast("O_co", await self._flow.results[1].receive())
        except trio.EndOfChannel:
            raise StopAsyncIteration from None

    async def wait_done(self) -> None:
        """Wait until all items of the source have come to their end. If nobody reads the results, they are dropped."""
        if not self._has_readers:
            self._flow.results[1].close()
        await self._done.wait()

    async def drain(self, timeout: float | None = None) -> StreamReport:
        """Take nothing more and finish what is inside; what is left after `timeout` seconds is cancelled.

        Results are dropped from now on, where nobody has begun to read.
        """
        if not self._has_readers:
            self._flow.results[1].close()
        self.stop_source()
        assert self._supervisor is not None  # noqa: S101  (nobody else has the stream before it is open)
        await self._supervisor.drain(timeout)
        return self._flow.count.report(trio.current_time())

    # ---- looking at it

    @property
    def is_over(self) -> bool:
        """Whether it has ended: all has come to its end, or it was cut off."""
        return self._over.is_set()

    async def wait_over(self) -> None:
        """Wait until it has ended, in whatever way; unlike `wait_done` it drops no results."""
        await self._over.wait()

    def progress(self) -> StreamProgress:
        """Return how far it is."""
        return self._flow.count.progress(self._flow.graph, self._flow.waiting(), trio.current_time())

    @property
    def name(self) -> str:
        """The pipeline's name."""
        return self._flow.graph.name

    @property
    def skipped(self) -> tuple[SkippedItem, ...]:
        """What was left out by a stage that may be skipped: the latest thousand. All are counted."""
        return tuple(self._flow.skipped)

    @property
    def report(self) -> StreamReport:
        """What became of its items; as far as they are, until it has ended."""
        return self._flow.count.report(trio.current_time()) if self._report is None else self._report

    def tree(self) -> Tree:
        """Return its places as the supervised children that they are."""
        assert self._supervisor is not None  # noqa: S101
        return self._supervisor.tree()

    # ---- opening and closing

    def _opened(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    def _left(self) -> None:
        """Have what is inside finish with nobody to read it."""
        self.stop_source()
        self._flow.results[1].close()

    def _closed(self) -> None:
        self._report = self._flow.count.report(trio.current_time())
        self._flow.close_all()
        self._over.set()


def _places(flow: Flow, groups: Iterable[tuple[int, ...]]) -> list[Place]:
    """Return the places in which stages run, the source's first."""
    places = [Place(flow, group) for group in groups]
    if flow.graph.source.kind is StageKind.INPUT:
        places.insert(0, Place(flow, (0,)))
    for channels in flow.inboxes.values():
        channels[0].close()  # only clones are left: a place ends when those before it have
    flow.results[0].close()
    return places


def _specs(flow: Flow, feed: Feed, places: list[Place], stream: Stream[Any, Any]) -> list[ChildSpec]:
    """Return the children: the end of the stream first, for what is started last is stopped first."""
    at_work = set(places)

    def child(place: Place, run: Callable[[], Awaitable[None]]) -> ChildSpec:
        async def watched() -> None:
            try:
                await run()
            except Exception as error:
                flow.fail(_bare(error))
                raise
            at_work.discard(place)
            if not at_work:
                stream._done.set()
                stream._over.set()

        # It ends by itself when those before it have, however long that takes.
        return ChildSpec(place.name, watched, restart=Restart.TRANSIENT, shutdown=math.inf)

    def working(place: Place) -> ChildSpec:
        rules = flow.graph.stages[place.members[0]]._rules
        return child(place, partial(run_place, place, rules.concurrency, ordered=rules.ordered))

    return [*map(working, reversed(places[1:])), child(places[0], feed.run)]


@asynccontextmanager
async def open_stream(
    pipeline: Pipeline[I_contra, O_co],
    source: Iterable[I_contra] | AsyncIterable[I_contra] | None,
    buffer: int,
    world: World,
) -> AsyncGenerator[Stream[I_contra, O_co]]:
    """Open a pipeline as a stream."""
    check_count("buffer", buffer)
    graph, calls = pipeline.parts()
    if source is not None and graph.source.kind is StageKind.PRODUCER:
        msg = f"pipeline {pipeline.name!r} has a producer of its own: open it without a source"
        raise PipelineError(msg)
    async with open_world(pipeline, world) as opened:
        flow = Flow(graph, calls, pipeline.plan.numbered_groups(), opened, buffer)
        door, items = trio.open_memory_channel[Any](0)
        sends = source is None and graph.source.kind is StageKind.INPUT
        places = _places(flow, pipeline.plan.numbered_groups())
        feed = Feed(places[0], items if sends else source)
        flow.count.total = _length(source)
        stream: Stream[I_contra, O_co] = Stream(flow, feed, door if sends else None)
        try:
            with trio.CancelScope() as scope:
                async with _running(pipeline.name, stream, _specs(flow, feed, places, stream), scope):
                    yield stream
        except BaseException as error:
            raised = _instead(error, flow.failure)
            if raised is error:
                raise
            raise raised from raised.__cause__
        finally:
            stream._closed()


@asynccontextmanager
async def _running(
    name: str, stream: Stream[Any, Any], specs: list[ChildSpec], scope: trio.CancelScope
) -> AsyncGenerator[None]:
    async with open_supervisor(specs, name=name, limit=RestartLimit(0, 1.0)) as supervisor:
        stream._opened(supervisor)
        try:
            yield
        except BaseException:
            # Nobody waits for its results: what is inside is cut off, in order.
            scope.cancel()
            raise
        finally:
            stream._left()


def _length(source: object) -> int | None:
    return len(cast("Any", source)) if hasattr(source, "__len__") else None


def _bare(error: Exception) -> Exception:
    """Return the one error that nurseries have wrapped, or the group if there are several."""
    match error:
        case ExceptionGroup(exceptions=[Exception() as one]):
            return _bare(one)
        case _:
            return error


def _instead(error: BaseException, failure: Exception | None) -> BaseException:
    """Return what a stream raises for what its supervisor did: the stage's own error instead of the limit's."""
    if failure is None:
        return error
    if isinstance(error, RestartLimitExceeded):
        return failure
    if not isinstance(error, BaseExceptionGroup):
        return error
    group = cast("BaseExceptionGroup[BaseException]", error)
    parts = [failure if isinstance(one, RestartLimitExceeded) else one for one in group.exceptions]
    return group if failure not in parts else group.derive(parts)
