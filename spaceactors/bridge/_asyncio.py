"""The asyncio side of the bridge. asyncio is imported when it is used: a program without it never loads it."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVarTuple, final, overload

from typing_extensions import TypeVar

from spaceactors import Actor, RuntimeClosed
from spaceactors.bridge._engine import END, Call, Engine, Held

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Mapping
    from contextlib import AbstractAsyncContextManager

    from spaceactors import DrainReport, Entry, Feed, HistoryReader, Priority, SpaceHandle, SpaceInfo

S = TypeVar("S", default=None)
R = TypeVar("R")
P = ParamSpec("P")
Ts = TypeVarTuple("Ts")
B = TypeVar("B", bound=Actor[Any])
A_co = TypeVar("A_co", bound=Actor[Any], covariant=True)


async def reply(engine: Engine, run: Callable[[], Awaitable[Any]]) -> Any:
    """Await a call; cancelling the wait cancels the call."""
    import asyncio

    call = Call(engine, run)
    engine.submit(call)
    try:
        return await asyncio.wrap_future(call.future)
    except asyncio.CancelledError:
        call.cancel()
        raise


@final
class _History:
    """The committed history of a space."""

    def __init__(self, engine: Engine, handle: SpaceHandle[Any]) -> None:
        self._engine = engine
        self._history = handle.history

    def __len__(self) -> int:
        return len(self._history)

    async def recent(self, n: int, /) -> list[Any]:
        """Return the values of the last `n` entries, oldest first."""
        values: list[Any] = await reply(self._engine, lambda: self._history.recent(n))
        return values

    async def read(self, *, after: int = 0, limit: int = 100) -> list[Entry]:
        """Return up to `limit` entries behind the position `after`, oldest first."""
        found: list[Entry] = await reply(self._engine, lambda: self._history.read(after=after, limit=limit))
        return found


@final
class AsyncioSpaceHandle(Generic[A_co]):
    """A space, for asyncio tasks: the calls of `SpaceHandle`. The loop goes on meanwhile; `asyncio.timeout` works.

    Each raises what the same call of `SpaceHandle` raises, and `RuntimeClosed` outside the bridge's block.
    """

    def __init__(self, engine: Engine, handle: SpaceHandle[Any]) -> None:
        self._engine = engine
        self._handle = handle

    @property
    def id(self) -> str:
        """The space's id."""
        return self._handle.id

    @overload
    async def send(
        self, method: Callable[[A_co, *Ts], Coroutine[Any, Any, object] | AsyncIterator[object]], /, *args: *Ts
    ) -> str: ...
    @overload
    async def send(
        self,
        method: Callable[Concatenate[A_co, P], Coroutine[Any, Any, object] | AsyncIterator[object]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> str: ...
    async def send(self, method: Callable[..., Any], /, *args: Any, **kwargs: Any) -> str:  # type: ignore[misc]
        """Send a message; return its id when it is accepted."""
        message_id: str = await reply(self._engine, lambda: self._handle.send(method, *args, **kwargs))
        return message_id

    @overload
    async def ask(self, method: Callable[[A_co, *Ts], Coroutine[Any, Any, R]], /, *args: *Ts) -> R: ...
    @overload
    async def ask(
        self, method: Callable[Concatenate[A_co, P], Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> R: ...
    async def ask(self, method: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:  # type: ignore[misc]
        """Send a message and wait for the handler's answer."""
        return await reply(self._engine, lambda: self._handle.ask(method, *args, **kwargs))

    def stream(
        self, method: Callable[Concatenate[A_co, P], AsyncIterator[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> AbstractAsyncContextManager[AsyncIterator[R]]:
        """Send a message and read the items that its handler yields: `async with alice.stream(...) as items`.

        The turn goes at the reader's pace; leaving the block early is as `WhenAbandoned` says.
        """
        return self._holding(lambda: self._handle.stream(method, *args, **kwargs))

    def subscribe(self, *, after: int | None = None) -> AbstractAsyncContextManager[Feed[Any]]:
        """Read what the actor emits, from now on, or from behind the position `after`."""
        return self._holding(lambda: self._handle.subscribe(after=after))

    @asynccontextmanager
    async def _holding(
        self, make: Callable[[], AbstractAsyncContextManager[AsyncIterator[R]]]
    ) -> AsyncGenerator[AsyncIterator[R]]:
        held: Held[R] = await reply(self._engine, lambda: self._engine.hold(make))
        items = self._items(held)
        try:
            yield items
        finally:
            with suppress(RuntimeClosed):  # it was left when the bridge closed
                await reply(self._engine, held.leave)
            await items.aclose()

    async def _items(self, held: Held[R]) -> AsyncGenerator[R]:
        while (item := await reply(self._engine, held.next)) is not END:
            yield item

    def with_options(
        self,
        *,
        message_id: str | None = None,
        priority: Priority | None = None,
        expires_after: float | None = None,
        correlation_id: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncioSpaceHandle[A_co]:
        """Return the same handle whose calls carry options, as those of `SpaceHandle`."""
        handle = self._handle.with_options(
            message_id=message_id,
            priority=priority,
            expires_after=expires_after,
            correlation_id=correlation_id,
            headers=headers,
        )
        return AsyncioSpaceHandle(self._engine, handle)

    async def state(self: AsyncioSpaceHandle[Actor[S]]) -> S:
        """Return the committed state; waits for no turn."""
        value: S = await reply(self._engine, self._handle.state)
        return value

    @property
    def history(self) -> HistoryReader:
        """The committed history."""
        return _History(self._engine, self._handle)

    async def info(self) -> SpaceInfo:
        """Return what the space is doing."""
        info: SpaceInfo = await reply(self._engine, self._handle.info)
        return info


@final
class AsyncioBridge(Generic[A_co]):
    """What `async with open_bridge(...)` lends: handles for the tasks of one asyncio loop."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def report(self) -> DrainReport | None:
        """What the drain achieved; None until the block has been left."""
        runtime = self._engine.runtime
        return None if runtime is None else runtime.report

    @overload
    def space(self, space_id: str, /, *, group: str | None = None) -> AsyncioSpaceHandle[A_co]: ...
    @overload
    def space(self, space_id: str, actor: type[B], /, *, group: str | None = None) -> AsyncioSpaceHandle[B]: ...
    def space(self, space_id: str, actor: type[Any] | None = None, /, *, group: str | None = None) -> Any:
        """Return the handle of a space; naming one starts nothing."""
        handle: AsyncioSpaceHandle[Any] = AsyncioSpaceHandle(self._engine, self._engine.handle(space_id, actor, group))
        return handle
