"""What contexts have in common: the calls that they have accepted, one line for them, and two ways to close."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple, overload

import trio

from spaceactors.pipelines._context import ContextClosed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

    from spaceactors.pipelines._context import ContextKind

R = TypeVar("R")
Ts = TypeVarTuple("Ts")


class BaseContext(ABC):
    """A context of any kind."""

    def __init__(self, kind: ContextKind, name: str) -> None:
        self._kind = kind
        self._name = name
        # Why nothing new runs here.
        self._refusal: str | None = None
        # What ends each call; a call is here from its acceptance until nothing of it runs any more.
        self._scopes = set[trio.CancelScope]()
        self._none_left = trio.lowlevel.ParkingLot()
        self._stopping = trio.Lock()

    @property
    def kind(self) -> ContextKind:
        """What it is made of."""
        return self._kind

    @property
    def calls(self) -> int:
        """How many calls run or wait in line."""
        return len(self._scopes)

    @overload
    async def run(self, fn: Callable[[*Ts], Awaitable[R]], /, *args: *Ts) -> R: ...
    @overload
    async def run(self, fn: Callable[[*Ts], R], /, *args: *Ts) -> R: ...
    async def run(self, fn: Callable[[*Ts], Awaitable[R] | R], /, *args: *Ts) -> R:
        """Run a function; see `Context.run`."""
        result: R = await self._run(fn, args)
        return result

    @abstractmethod
    async def _run(self, fn: Callable[..., Any], args: tuple[Any, ...]) -> Any: ...

    async def join(self) -> None:
        """Refuse new calls, let those that were accepted finish, then give the worker back."""
        await trio.lowlevel.checkpoint_if_cancelled()
        self._refusal = self._refusal or "is closed"
        await self._wait_none()
        async with self._stopping:
            await self._stop()

    def terminate(self) -> None:
        """Refuse new calls, and end those that run or wait."""
        self._refusal = "was terminated"
        for scope in tuple(self._scopes):
            scope.cancel()
        self._kill()

    async def close(self) -> None:
        """Wait for the end of all calls whatever happens, and give the worker back."""
        with trio.CancelScope(shield=True):
            await self._wait_none()
            async with self._stopping:
                await self._stop()

    async def _wait_none(self) -> None:
        while self._scopes:
            await self._none_left.park()

    async def _stop(self) -> None:  # noqa: B027 - most have nothing to do
        """Give the worker back, if there is one; may be called again."""

    def _kill(self) -> None:  # noqa: B027 - most have nothing to do
        """End a worker in which nothing runs, where that can be done at once."""

    def check_open(self) -> None:
        """Refuse what is new if the context is closed."""
        if self._refusal is not None:
            raise self._closed()

    def _closed(self) -> ContextClosed:
        return ContextClosed(f"the context {self._name!r} {self._refusal}: nothing runs in it any more")

    @contextmanager
    def _accepted(self) -> Generator[None]:
        """Count a call while the block runs; terminating the context ends the block."""
        self.check_open()
        scope = trio.CancelScope()
        self._scopes.add(scope)
        try:
            with scope:
                yield
        finally:
            self._scopes.discard(scope)
            if not self._scopes:
                self._none_left.unpark_all()
        if scope.cancelled_caught:
            raise self._closed()


class WorkerContext(BaseContext):
    """A context with a worker, which makes one call after the other."""

    def __init__(self, kind: ContextKind, name: str) -> None:
        super().__init__(kind, name)
        self._turn = trio.Lock()

    async def _run(self, fn: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        await trio.lowlevel.checkpoint_if_cancelled()
        with self._accepted():
            async with self._turn:
                return await self._call(fn, args)

    @abstractmethod
    async def _call(self, fn: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        """Make a call; it is the only one now."""
