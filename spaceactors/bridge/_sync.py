"""The blocking side of the bridge: handles for threads."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVarTuple, final, overload

import trio
from typing_extensions import TypeVar

from spaceactors import Actor, RuntimeClosed
from spaceactors.bridge._engine import END, Call, Engine, Held

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterator, Mapping
    from contextlib import AbstractAsyncContextManager, AbstractContextManager

    from spaceactors import DrainReport, Emitted, Entry, Gap, Priority, SpaceHandle, SpaceInfo

S = TypeVar("S", default=None)
R = TypeVar("R")
P = ParamSpec("P")
Ts = TypeVarTuple("Ts")
B = TypeVar("B", bound=Actor[Any])
A_co = TypeVar("A_co", bound=Actor[Any], covariant=True)


def refuse_in_trio() -> None:
    """Raise `RuntimeError` where blocking would stop a Trio run."""
    if trio.lowlevel.in_trio_run():
        msg = (
            "the blocking side of the bridge would stop this Trio run: open a runtime in it with open_runtime(...), or"
            " make the call in a thread: trio.to_thread.run_sync(handle.ask, ...)"
        )
        raise RuntimeError(msg)


def wait(engine: Engine, run: Callable[[], Awaitable[Any]], timeout: float | None) -> Any:
    """Block the thread until a call is answered; whatever else raises here (Ctrl-C) cancels the call."""
    refuse_in_trio()
    call = Call(engine, run, timeout)
    try:
        # Ctrl-C may come as soon as the call is on its way, before anybody waits.
        engine.submit(call)
        return call.future.result()
    except BaseException:
        call.cancel()
        raise


@final
class SyncHistoryReader:
    """The committed history of a space."""

    def __init__(self, engine: Engine, handle: SpaceHandle[Any], timeout: float | None) -> None:
        self._engine = engine
        self._history = handle.history
        self._timeout = timeout

    def __len__(self) -> int:
        return len(self._history)

    def recent(self, n: int, /) -> list[Any]:
        """Return the values of the last `n` entries, oldest first."""
        values: list[Any] = wait(self._engine, lambda: self._history.recent(n), self._timeout)
        return values

    def read(self, *, after: int = 0, limit: int = 100) -> list[Entry]:
        """Return up to `limit` entries behind the position `after`, oldest first."""
        found: list[Entry] = wait(self._engine, lambda: self._history.read(after=after, limit=limit), self._timeout)
        return found


@final
class SyncSpaceHandle(Generic[A_co]):
    """A space, for threads: the calls of `SpaceHandle`, blocking. Any thread may use it, and several at once.

    Each raises what the same call of `SpaceHandle` raises, `TimeoutError` after `with_options(timeout=)`,
    `RuntimeClosed` outside the bridge's block, and `RuntimeError` in a Trio task.
    """

    def __init__(self, engine: Engine, handle: SpaceHandle[Any], timeout: float | None = None) -> None:
        self._engine = engine
        self._handle = handle
        self._timeout = timeout

    @property
    def id(self) -> str:
        """The space's id."""
        return self._handle.id

    def _wait(self, run: Callable[[], Awaitable[Any]]) -> Any:
        return wait(self._engine, run, self._timeout)

    @overload
    def send(
        self, method: Callable[[A_co, *Ts], Coroutine[Any, Any, object] | AsyncIterator[object]], /, *args: *Ts
    ) -> str: ...
    @overload
    def send(
        self,
        method: Callable[Concatenate[A_co, P], Coroutine[Any, Any, object] | AsyncIterator[object]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> str: ...
    def send(self, method: Callable[..., Any], /, *args: Any, **kwargs: Any) -> str:  # type: ignore[misc]
        """Send a message; return its id when it is accepted."""
        message_id: str = self._wait(lambda: self._handle.send(method, *args, **kwargs))
        return message_id

    @overload
    def ask(self, method: Callable[[A_co, *Ts], Coroutine[Any, Any, R]], /, *args: *Ts) -> R: ...
    @overload
    def ask(
        self, method: Callable[Concatenate[A_co, P], Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> R: ...
    def ask(self, method: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:  # type: ignore[misc]
        """Send a message and wait for the handler's answer."""
        return self._wait(lambda: self._handle.ask(method, *args, **kwargs))

    def stream(
        self, method: Callable[Concatenate[A_co, P], AsyncIterator[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> AbstractContextManager[Iterator[R]]:
        """Send a message and read the items that its handler yields: `with alice.stream(...) as items`.

        The turn goes at the reader's pace; leaving the block early is as `WhenAbandoned` says.
        """
        return self._holding(lambda: self._handle.stream(method, *args, **kwargs))

    def subscribe(self, *, after: int | None = None) -> AbstractContextManager[Iterator[Emitted[Any] | Gap]]:
        """Read what the actor emits, from now on, or from behind the position `after`."""
        return self._holding(lambda: self._handle.subscribe(after=after))

    @contextmanager
    def _holding(self, make: Callable[[], AbstractAsyncContextManager[AsyncIterator[R]]]) -> Generator[Iterator[R]]:
        held: Held[R] = self._wait(lambda: self._engine.hold(make))
        try:
            yield self._items(held)
        finally:
            with suppress(RuntimeClosed):  # it was left when the bridge closed
                wait(self._engine, held.leave, None)

    def _items(self, held: Held[R]) -> Iterator[R]:
        while (item := self._wait(held.next)) is not END:
            yield item

    def with_options(
        self,
        *,
        timeout: float | None = None,
        message_id: str | None = None,
        priority: Priority | None = None,
        expires_after: float | None = None,
        correlation_id: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> SyncSpaceHandle[A_co]:
        """Return the same handle whose calls carry options; those of `SpaceHandle`, and one more.

        Args:
            timeout: seconds that each call, and each item of a stream, may block; over it, `TimeoutError`.
            message_id: the message's identity.
            priority: who goes first when turns are scarce.
            expires_after: seconds from the call until the turn must have begun.
            correlation_id: what ties the messages of one request together.
            headers: anything that is to travel with the message.

        """
        if timeout is not None and not timeout >= 0:
            msg = f"timeout must be at least 0 seconds, not {timeout!r}"
            raise ValueError(msg)
        handle = self._handle.with_options(
            message_id=message_id,
            priority=priority,
            expires_after=expires_after,
            correlation_id=correlation_id,
            headers=headers,
        )
        return SyncSpaceHandle(self._engine, handle, self._timeout if timeout is None else timeout)

    def state(self: SyncSpaceHandle[Actor[S]]) -> S:
        """Return the committed state; waits for no turn."""
        value: S = self._wait(self._handle.state)
        return value

    @property
    def history(self) -> SyncHistoryReader:
        """The committed history."""
        return SyncHistoryReader(self._engine, self._handle, self._timeout)

    def info(self) -> SpaceInfo:
        """Return what the space is doing."""
        info: SpaceInfo = self._wait(self._handle.info)
        return info


@final
class SyncBridge(Generic[A_co]):
    """What `with open_bridge(...)` lends: blocking handles for any thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def report(self) -> DrainReport | None:
        """What the drain achieved; None until the block has been left."""
        runtime = self._engine.runtime
        return None if runtime is None else runtime.report

    @overload
    def space(self, space_id: str, /, *, group: str | None = None) -> SyncSpaceHandle[A_co]: ...
    @overload
    def space(self, space_id: str, actor: type[B], /, *, group: str | None = None) -> SyncSpaceHandle[B]: ...
    def space(self, space_id: str, actor: type[Any] | None = None, /, *, group: str | None = None) -> Any:
        """Return the handle of a space; naming one starts nothing."""
        handle: SyncSpaceHandle[Any] = SyncSpaceHandle(self._engine, self._engine.handle(space_id, actor, group))
        return handle
