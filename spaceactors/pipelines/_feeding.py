"""Where the items of a stream come from: one supervised child that takes them from their source, until told to stop."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from types import GeneratorType
from typing import TYPE_CHECKING, Any, cast, final

import trio

from spaceactors.pipelines._at_once import at_once
from spaceactors.pipelines._call import INLINE
from spaceactors.pipelines._options import PipelineError
from spaceactors.pipelines._stage import StageKind
from spaceactors.pipelines._straight import AT_A_STRETCH, Stretch
from supervisors._drain import current_signal

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        AsyncIterable,
        AsyncIterator,
        Awaitable,
        Callable,
        Generator,
        Iterable,
        Iterator,
    )

    from spaceactors.pipelines._place import Place

_END = object()


@final
class Feed:
    """The source of a stream, and the stages that run beside it."""

    def __init__(self, place: Place, source: Iterable[Any] | AsyncIterable[Any] | None) -> None:
        self._place = place
        self._flow = place.flow
        self._source = source
        self._stretch = Stretch()
        # What an async source waits in; cancelled to take nothing more from it.
        self._pulling = trio.CancelScope()
        self._may_begin = trio.Event()

    def begin(self) -> None:
        """Take from the source from now on: all that is behind it is there."""
        self._may_begin.set()

    def stop(self) -> None:
        """Take nothing more from the source; what was taken goes on."""
        self._stretch.end()
        self._pulling.cancel()
        if not self._may_begin.is_set():
            # It may never be started, nor all places behind it: those that are have to end all the same.
            self._flow.close_exits()
            self._may_begin.set()

    async def run(self) -> None:
        """Take from the source until it ends, or is stopped."""
        signal = current_signal()
        assert signal is not None  # noqa: S101  (it is a supervised child)
        with signal.calling(self.stop):
            await self._may_begin.wait()
            if not self._stretch.is_last:
                await self._run()
        self._place.exits.close()

    async def _run(self) -> None:
        stage = self._flow.graph.source
        source: Any = self._source
        if stage.kind is StageKind.PRODUCER:
            with self._in_source():
                source = stage._fn()
            self._flow.count.total = length(source)
        context = stage._rules.context or INLINE
        if hasattr(source, "__aiter__"):
            await self._take_async(partial(aiter, source))
        elif not hasattr(source, "__iter__"):
            msg = f"{stage!r} must give something to iterate over, async or not, not {source!r}"
            raise PipelineError(msg)
        elif context != INLINE:
            await self._take_async(partial(self._from_context, context, source))
        else:
            await self._take(source)

    @contextmanager
    def _in_source(self) -> Generator[None]:
        """Have what is raised in the block tell that it was the source."""
        try:
            yield
        except Exception as error:
            self._place.mark_source(error)
            raise

    # ---- a source that does not wait

    async def _take(self, source: Iterable[Any]) -> None:
        with self._in_source():
            iterator = iter(source)
        try:
            if self._place.is_straight:
                await self._place.run_straight(iterator, self._stretch)
            else:
                await self._take_all(iterator)
        except Exception as error:
            self._flow.fail(error)  # before what the source raises at its end
            raise
        finally:
            with self._in_source():
                self._end_of(iterator)()

    async def _take_all(self, iterator: Iterator[Any]) -> None:
        for taken, value in enumerate(self._told(iterator), start=1):
            self._flow.count.taken += 1
            await self._pass_on(value)
            if self._stretch.is_last:
                break
            if not taken % AT_A_STRETCH:
                await trio.lowlevel.checkpoint()

    def _told(self, iterator: Iterator[Any]) -> Iterator[Any]:
        with self._in_source():
            for value in iterator:  # noqa: UP028  (`yield from` would close it with this one)
                yield value

    async def _pass_on(self, value: Any) -> None:
        item = self._flow.item(0, value)
        done = await self._place.work(item) if self._place.working else ()
        await self._place.exits.send(item, (0, *done))

    def _end_of(self, iterator: Iterator[Any]) -> Callable[[], object]:
        """Return how to close what is iterated over: a generator, or what the pipeline's own producer opened."""
        ours = isinstance(iterator, GeneratorType) or self._flow.graph.source.kind is StageKind.PRODUCER
        return getattr(cast("Any", iterator), "close", _nothing) if ours else _nothing

    # ---- a source that waits

    async def _take_async(self, source: Callable[[], AsyncIterator[Any]]) -> None:
        """Take from an async source; it runs in a task of its own, so that a stop cuts off nothing but its waiting."""
        send, receive = trio.open_memory_channel[Any](0)
        await at_once([partial(self._pull, source, send), partial(self._receive, receive)])

    async def _receive(self, receive: trio.MemoryReceiveChannel[Any]) -> None:
        with receive:
            async for value in receive:
                await self._pass_on(value)

    async def _pull(self, source: Callable[[], AsyncIterator[Any]], send: trio.MemorySendChannel[Any]) -> None:
        with send, self._in_source(), self._pulling:
            await self._pull_all(source(), send)

    async def _pull_all(self, source: AsyncIterator[Any], send: trio.MemorySendChannel[Any]) -> None:
        if not hasattr(source, "aclose"):
            await self._pull_each(source, send)
            return
        try:
            await self._pull_each(source, send)
        finally:
            await _close(cast("AsyncGenerator[Any]", source))

    async def _pull_each(self, source: AsyncIterator[Any], send: trio.MemorySendChannel[Any]) -> None:
        async for value in source:
            self._flow.count.taken += 1
            # To stop taking must not lose what was taken.
            with trio.CancelScope(shield=True):
                try:
                    await send.send(value)
                except trio.BrokenResourceError:
                    return  # the other half was cut off
            if self._stretch.is_last:
                break

    async def _from_context(self, context: str, source: Iterable[Any]) -> AsyncGenerator[Any]:
        run_in = self._flow.world.run_in
        iterator = await run_in(context, iter, (source,))
        try:
            while True:
                # Nobody can end it in a thread, and what it gives in the end must not be lost.
                value = await _shielded(run_in, context, next, (iterator, _END))
                if value is _END:
                    return
                yield value
        finally:
            await _shielded(run_in, context, self._end_of(iterator), ())


async def _shielded(run_in: Callable[..., Awaitable[Any]], *args: Any) -> Any:
    with trio.CancelScope(shield=True):
        return await run_in(*args)
    raise AssertionError  # nobody cancels this scope


async def _close(source: AsyncGenerator[Any]) -> None:
    try:
        await source.aclose()
    except BaseExceptionGroup as group:
        # A nursery that is open across a yield wraps what tells the generator to end.
        rest = group.split(GeneratorExit)[1]
        if rest is not None:
            raise rest from rest.__cause__


def length(source: object) -> int | None:
    """Return how many items a source will give, if it knows."""
    return len(cast("Any", source)) if hasattr(source, "__len__") else None


def _nothing() -> None:
    pass
