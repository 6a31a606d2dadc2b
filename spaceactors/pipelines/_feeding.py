"""Where the items of a stream come from: one supervised child that takes them from their source, until told to stop."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any, cast, final

import trio

from spaceactors.pipelines._call import INLINE
from spaceactors.pipelines._options import PipelineError
from spaceactors.pipelines._stage import StageKind
from spaceactors.pipelines._straight import AT_A_STRETCH, Stretch
from supervisors._drain import current_signal

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable

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

    def stop(self) -> None:
        """Take nothing more from the source; what was taken goes on."""
        self._stretch.is_over = True
        self._pulling.cancel()

    async def run(self) -> None:
        """Take from the source until it ends, or is stopped."""
        signal = current_signal()
        assert signal is not None  # noqa: S101  (it is a supervised child)
        try:
            with signal.calling(self.stop):
                await self._run()
        finally:
            self._place.exits.close()

    async def _run(self) -> None:
        stage = self._flow.graph.source
        is_producer = stage.kind is StageKind.PRODUCER
        source = stage._fn() if is_producer else self._source
        context = self._flow.calls_context(stage)
        if hasattr(source, "__aiter__"):
            await self._take_async(cast("AsyncIterable[Any]", source))
        elif not hasattr(source, "__iter__"):
            msg = f"{stage!r} must give something to iterate over, async or not, not {source!r}"
            raise PipelineError(msg)
        elif context != INLINE:
            await self._take_async(self._from_context(context, cast("Iterable[Any]", source)))
        elif self._place.is_straight and is_producer:
            await self._place.run_straight(cast("Iterable[Any]", source), self._stretch)
        else:
            await self._take(cast("Iterable[Any]", source))

    async def _take(self, source: Iterable[Any]) -> None:
        for taken, value in enumerate(source, start=1):
            await self._pass_on(value)
            if self._stretch.is_over:
                break
            if not taken % AT_A_STRETCH:
                await trio.lowlevel.checkpoint()

    async def _pass_on(self, value: Any) -> None:
        item = self._flow.take(value)
        done = await self._place.work(item) if self._place.working else ()
        await self._place.exits.send(item, (0, *done))

    async def _take_async(self, source: AsyncIterable[Any]) -> None:
        """Take from an async source; it runs in a task of its own, so that a stop cuts off nothing but its waiting."""
        send, receive = trio.open_memory_channel[Any](0)
        failure: list[Exception] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._pull, aiter(source), send, failure)
            async with receive:
                async for value in receive:
                    await self._pass_on(value)
        if failure:
            raise failure[0]

    async def _pull(
        self, source: AsyncIterator[Any], send: trio.MemorySendChannel[Any], failure: list[Exception]
    ) -> None:
        async with send:
            try:
                with self._pulling:
                    await self._pull_all(source, send)
            except trio.BrokenResourceError:
                pass  # the stream was cut off
            except Exception as error:
                self._place.mark((), error)
                failure.append(error)

    async def _pull_all(self, source: AsyncIterator[Any], send: trio.MemorySendChannel[Any]) -> None:
        if not hasattr(source, "aclose"):
            async for value in source:
                await _hand_over(send, value)
            return
        async with aclosing(cast("AsyncGenerator[Any]", source)):
            async for value in source:
                await _hand_over(send, value)

    async def _from_context(self, context: str, source: Iterable[Any]) -> AsyncGenerator[Any]:
        world = self._flow.world
        iterator = await world.run_in(context, iter, (source,))
        while (value := await world.run_in(context, next, (iterator, _END))) is not _END:
            yield value


async def _hand_over(send: trio.MemorySendChannel[Any], value: Any) -> None:
    """Hand over what was taken: to stop taking must not lose it."""
    with trio.CancelScope(shield=True):
        await send.send(value)
