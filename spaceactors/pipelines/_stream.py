"""Streams: many items on their way through a pipeline at once, from one place to the next.

Each place is a supervised child with a bounded channel before it, so that nobody runs ahead of those behind. They are
started from the end to the source, and stopped from the source to the end: what was taken comes out.
"""

from __future__ import annotations

import math
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast, final
from weakref import WeakSet

import trio

from spaceactors.pipelines._ending import raise_as_it_is, with_failure
from spaceactors.pipelines._feeding import Feed, length
from spaceactors.pipelines._flow import Flow
from spaceactors.pipelines._options import PipelineError, check_count
from spaceactors.pipelines._pipeline import open_world
from spaceactors.pipelines._place import places_of
from spaceactors.pipelines._stage import StageKind
from spaceactors.pipelines._workers import run_place
from supervisors import ChildSpec, ChildStartError, Restart, RestartLimit, open_supervisor
from supervisors._block import without_cancellation
from supervisors._drain import current_signal

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable

    from spaceactors.pipelines._items import SkippedItem, StreamProgress, StreamReport
    from spaceactors.pipelines._pipeline import Pipeline
    from spaceactors.pipelines._place import Place
    from spaceactors.pipelines._world import World
    from supervisors import Supervisor, Tree

I_contra = TypeVar("I_contra", contravariant=True)
O_co = TypeVar("O_co", covariant=True)


@final
class StreamClosed(PipelineError):
    """The stream takes or gives nothing more: it was stopped, drained, or has failed; the text says which."""


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
        # The tasks that have read.
        self._readers = WeakSet[trio.lowlevel.Task]()
        # Set when it has ended, in whatever way; and whether all has come to its end then.
        self._over = trio.Event()
        self._is_done = False

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
        self._readers.add(trio.lowlevel.current_task())
        return self

    async def __anext__(self) -> O_co:
        """Wait for the next result.

        Raises:
            StreamClosed: results were dropped, because nobody had begun to read, or the stream has failed.

        """
        self._readers.add(trio.lowlevel.current_task())
        try:
            value, weight = await self._flow.results[1].receive()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None
        except trio.ClosedResourceError:
            failed = f"{self!r} has failed: what was inside is lost"
            dropped = f"{self!r} has dropped its results: read them inside its block, from before wait_done or drain"
            raise StreamClosed(dropped if self._flow.failure is None else failed) from self._flow.failure
        self._flow.count.read = (self._flow.count.read or 0) + weight
        return cast("O_co", value)

    async def _drop_unless_read(self) -> None:
        """Drop the results, unless another task reads them."""
        # One that was started just before begins in one of the next two passes of the scheduler.
        await trio.lowlevel.checkpoint()
        await trio.lowlevel.checkpoint()
        if not set(self._readers) - {trio.lowlevel.current_task()}:
            self._flow.results[1].close()

    async def wait_done(self) -> None:
        """Wait until all items of the source have come to their end.

        If no other task has begun to read the results, they are dropped. Raises `StreamClosed` if the stream is cut off
        before.
        """
        await self._drop_unless_read()
        await self._over.wait()
        if not self._is_done:
            msg = f"{self!r} was cut off: {self.report}"
            raise StreamClosed(msg) from self._flow.failure

    async def drain(self, timeout: float | None = None) -> StreamReport:
        """Take nothing more and finish what is inside; what is left after `timeout` seconds is cancelled.

        If no other task has begun to read the results, they are dropped. To read the rest of them here, call
        `stop_source` instead and go on reading.
        """
        await self._drop_unless_read()
        self.stop_source()
        assert self._supervisor is not None  # noqa: S101  (nobody else has the stream before it is open)
        await self._supervisor.drain(timeout)
        self._flow.close_exits()
        self._ended()
        return self.report

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
        count = self._flow.count
        return count.report(trio.current_time() if count.ended is None else count.ended)

    def tree(self) -> Tree:
        """Return its places as the supervised children that they are."""
        assert self._supervisor is not None  # noqa: S101
        return self._supervisor.tree()

    # ---- opening and closing

    def _opened(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._feed.begin()

    def _done(self) -> None:
        self._is_done = True
        self._ended()

    def _unread(self) -> None:
        """Have what is inside go on with nobody to read it."""
        self._flow.results[1].close()

    def _ended(self) -> None:
        self._flow.count.end(trio.current_time())
        self._over.set()

    def _closed(self) -> None:
        self._flow.close_all()
        self._ended()


def _specs(flow: Flow, feed: Feed, places: list[Place], stream: Stream[Any, Any]) -> list[ChildSpec]:
    """Return the children: the end of the stream first, for what is started last is stopped first."""
    at_work = set(places)

    def child(place: Place, run: Callable[[], Awaitable[None]]) -> ChildSpec:
        async def watched() -> None:
            try:
                await run()
            except BaseException as error:
                rest = without_cancellation(error)
                if isinstance(rest, Exception):
                    flow.fail(rest)
                raise
            at_work.discard(place)
            if not at_work:
                stream._done()

        # It ends by itself when those before it have, however long that takes.
        return ChildSpec(place.name, watched, restart=Restart.TRANSIENT, shutdown=math.inf)

    return [*(child(place, partial(run_place, place)) for place in reversed(places[1:])), child(places[0], feed.run)]


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
    _check_source(pipeline, source, graph.source.kind)
    async with open_world(pipeline, world) as opened:
        flow = Flow(graph, calls, pipeline.plan.numbered_groups(), opened, buffer)
        flow.count.total = length(source)
        places = places_of(flow, pipeline.plan.numbered_groups())
        door, items = trio.open_memory_channel[Any](0)
        sends = source is None and graph.source.kind is StageKind.INPUT
        feed = Feed(places[0], items if sends else source)
        stream: Stream[I_contra, O_co] = Stream(flow, feed, door if sends else None)
        error: BaseException | None = None
        try:
            async with _running(pipeline.name, stream, _specs(flow, feed, places, stream), flow):
                yield stream
        except BaseException as raised:
            error = raised
        finally:
            stream._closed()
        if isinstance(error, ChildStartError) and stream._supervisor is None:
            msg = f"pipeline {pipeline.name!r} was not opened: what is around it was asked to drain before"
            raise StreamClosed(msg) from error
        if flow.failure is not None:
            error = with_failure(error, flow.failure)
        if error is not None:
            raise_as_it_is(error)


def _check_source(pipeline: Pipeline[Any, Any], source: object, kind: StageKind) -> None:
    if source is None:
        return
    if kind is StageKind.PRODUCER:
        msg = f"pipeline {pipeline.name!r} has a producer of its own: open it without a source"
        raise PipelineError(msg)
    if not hasattr(source, "__aiter__") and not hasattr(source, "__iter__"):
        msg = (
            f"the source of pipeline {pipeline.name!r} must be something to iterate over, async or not, not {source!r}"
        )
        raise PipelineError(msg)


@asynccontextmanager
async def _running(name: str, stream: Stream[Any, Any], specs: list[ChildSpec], flow: Flow) -> AsyncGenerator[None]:
    signal = current_signal()
    with flow.scope, nullcontext() if signal is None else signal.watching(stream._feed.stop):
        async with open_supervisor(specs, name=name, limit=RestartLimit(0, 1.0)) as supervisor:
            stream._opened(supervisor)
            try:
                yield
            except BaseException as error:
                # Nobody waits for its results: what is inside is cut off, in order. A drain from outside cancels the
                # body too, and means what is inside to finish; whatever else cancels it, tells the supervisor itself.
                if without_cancellation(error) is not None:
                    flow.scope.cancel()
                raise
            finally:
                stream._unread()
