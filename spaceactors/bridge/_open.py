"""How a bridge is opened and left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, final, overload

from typing_extensions import TypeVar

from spaceactors import Actor, open_runtime
from spaceactors.bridge._asyncio import AsyncioBridge
from spaceactors.bridge._engine import Engine
from spaceactors.bridge._sync import SyncBridge, refuse_in_trio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractAsyncContextManager

    from spaceactors import Dep, Limit, Limits, RateLimit, Runtime, RuntimeConfig, Store

D = TypeVar("D")
A = TypeVar("A", bound=Actor[Any])
A_co = TypeVar("A_co", bound=Actor[Any], covariant=True)


@final
class OpenBridge(Generic[A_co]):
    """What `open_bridge` returns: enter it once, with `with` or with `async with`."""

    def __init__(self, runtime: AbstractAsyncContextManager[Runtime[Any]]) -> None:
        self._engine = Engine(runtime)

    # ---- for threads

    def __enter__(self) -> SyncBridge[A_co]:
        refuse_in_trio()
        self._engine.start()
        try:
            self._engine.opened.result()
        except BaseException:
            self._end(cut=True)
            raise
        return SyncBridge(self._engine)

    def __exit__(self, *exc: object) -> None:
        self._end(cut=_leaves_no_time(exc[1]))
        self._raise_error(exc[1])

    def _end(self, *, cut: bool) -> None:
        self._engine.leave(cut=cut)
        try:
            self._engine.ended.result()
        except BaseException:  # a second Ctrl-C: no more graces, but nothing stays behind
            self._engine.leave(cut=True)
            self._engine.ended.result()
            raise
        finally:
            self._engine.join()

    # ---- for asyncio

    async def __aenter__(self) -> AsyncioBridge[A_co]:
        import asyncio

        self._engine.start()
        try:
            await asyncio.wrap_future(self._engine.opened)
        except BaseException:
            await self._end_async(cut=True)
            raise
        return AsyncioBridge(self._engine)

    async def __aexit__(self, *exc: object) -> None:
        await self._end_async(cut=_leaves_no_time(exc[1]))
        self._raise_error(exc[1])

    async def _end_async(self, *, cut: bool) -> None:
        import asyncio

        self._engine.leave(cut=cut)
        ended = asyncio.wrap_future(self._engine.ended)
        cancelled: BaseException | None = None
        while not ended.done():
            try:
                await asyncio.shield(ended)
            except asyncio.CancelledError as error:  # no more graces, but nothing stays behind
                cancelled = error
                self._engine.leave(cut=True)
        self._engine.join()
        if cancelled is not None:
            raise cancelled

    def _raise_error(self, body: object) -> None:
        """Raise why the runtime ended by itself, unless the block has a reason of its own."""
        error = self._engine.error
        if error is not None and body is None:
            raise error


def _leaves_no_time(error: object) -> bool:
    return error is not None and not isinstance(error, Exception)


class _Nothing:
    """The mark for dependencies that were not given."""


_NOTHING = _Nothing()


@overload
def open_bridge(
    actor: Callable[[], A],
    /,
    *,
    store: Store | None = None,
    limits: Limits | Iterable[Limit | RateLimit] = (),
    config: RuntimeConfig | None = None,
) -> OpenBridge[A]: ...
@overload
def open_bridge(
    actor: Callable[[D], A],
    /,
    *,
    deps: Dep[D],
    store: Store | None = None,
    limits: Limits | Iterable[Limit | RateLimit] = (),
    config: RuntimeConfig | None = None,
) -> OpenBridge[A]: ...
@overload
def open_bridge(
    actor: Callable[[D], Actor[Any]] | Callable[[], Actor[Any]],
    other: Callable[[D], Actor[Any]] | Callable[[], Actor[Any]],
    /,
    *more: Callable[[D], Actor[Any]] | Callable[[], Actor[Any]],
    deps: Dep[D] = ...,
    store: Store | None = None,
    limits: Limits | Iterable[Limit | RateLimit] = (),
    config: RuntimeConfig | None = None,
) -> OpenBridge[Actor[Any]]: ...
def open_bridge(
    *actors: Any,
    deps: Any = _NOTHING,
    store: Store | None = None,
    limits: Limits | Iterable[Limit | RateLimit] = (),
    config: RuntimeConfig | None = None,
) -> OpenBridge[Any]:
    """Open a runtime in a thread of its own, for a program that runs on threads or on asyncio.

    Write `with open_bridge(Barista) as bridge` for handles that block, `async with open_bridge(Barista) as bridge` for
    handles to await in an asyncio loop. Leaving the block drains the runtime; Ctrl-C or a cancellation leave it no
    time.

    Args:
        *actors: the actor classes.
        deps: as for `open_runtime`; opened and closed in the runtime's thread.
        store: as for `open_runtime`.
        limits: as for `open_runtime`.
        config: as for `open_runtime`.

    Raises:
        TypeError: at once, as `open_runtime`; what fails while dependencies open comes out where the block is entered.

    """
    given: dict[str, Any] = {} if deps is _NOTHING else {"deps": deps}
    open_any: Any = open_runtime
    return OpenBridge(open_any(*actors, store=store, limits=limits, config=config, **given))
