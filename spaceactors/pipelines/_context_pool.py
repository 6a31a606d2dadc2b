"""Contexts that many share by name: a bounded number of each, made when they are needed, gone at the end."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, TypeVarTuple, final, overload

import trio

from spaceactors.pipelines._context import (
    ContextClosed,
    ContextKind,
    ContextSpec,
    ContextStatistics,
    ContextUnavailable,
    UnknownContext,
    WorkerLost,
)
from spaceactors.pipelines._context_base import BaseContext
from spaceactors.pipelines._context_inline import InlineContext
from spaceactors.pipelines._context_open import opened
from supervisors._errors import SupervisorClosed
from supervisors._instances import InstancePool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
    from contextlib import AbstractAsyncContextManager

    from spaceactors.pipelines._context import Context

R = TypeVar("R")
Ts = TypeVarTuple("Ts")

# Seconds that closing one may take before it is terminated; longer than an idle process has to end by itself.
_CLOSING = 10.0


class _Shelf(Protocol):
    """The contexts of one name."""

    spec: ContextSpec

    def block(self) -> AbstractAsyncContextManager[object]:
        """Return the block in which they can be used."""
        ...

    def use(self) -> AbstractAsyncContextManager[BaseContext]:
        """Use one; wait for it if all are in use."""
        ...

    async def join(self) -> None:
        """Refuse new uses, and wait for those that go on."""
        ...

    def terminate(self) -> None:
        """Refuse new uses, and end those that go on."""
        ...

    def statistics(self) -> ContextStatistics:
        """Return the figures of now."""
        ...


@final
class _Inline:
    """One context for all, that costs nothing."""

    def __init__(self, spec: ContextSpec) -> None:
        self.spec = spec
        self._context = InlineContext(spec.name)
        # Uses that go on may call to their end, others do not begin.
        self._uses = 0
        self._at_end = False
        self._unused = trio.lowlevel.ParkingLot()

    @asynccontextmanager
    async def block(self) -> AsyncGenerator[None]:
        try:
            yield
        finally:
            await self._context.close()

    @asynccontextmanager
    async def use(self) -> AsyncGenerator[BaseContext]:
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._at_end:
            raise _at_end(self.spec)
        self._uses += 1
        try:
            yield self._context
        finally:
            self._uses -= 1
            if not self._uses:
                self._unused.unpark_all()

    async def join(self) -> None:
        self._at_end = True
        while self._uses:
            await self._unused.park()

    def terminate(self) -> None:
        self._at_end = True
        self._context.terminate()

    def statistics(self) -> ContextStatistics:
        return ContextStatistics(ContextKind.INLINE, None, open=1, in_use=self._uses, created=1)


@final
class _Shared:
    """As many contexts as are needed at once, up to a size."""

    def __init__(self, spec: ContextSpec, size: int) -> None:
        self.spec = spec
        # What they really are, once there was one.
        self._kind = spec.kind
        self._there = set[BaseContext]()
        self._instances = InstancePool[BaseContext](
            self._opened,
            size,
            idle_timeout=spec.idle_timeout,
            name=f"context {spec.name}",
            broken=(ContextClosed, ContextUnavailable, WorkerLost),
            close_timeout=_CLOSING,
        )

    @asynccontextmanager
    async def _opened(self) -> AsyncGenerator[BaseContext]:
        context: BaseContext | None = None
        try:
            async with opened(self.spec.kind, self.spec.name) as context:
                self._kind = context.kind
                self._there.add(context)
                yield context
        finally:
            if context is not None:
                self._there.discard(context)

    def block(self) -> AbstractAsyncContextManager[object]:
        return self._instances

    @asynccontextmanager
    async def use(self) -> AsyncGenerator[BaseContext]:
        async with AsyncExitStack() as stack:
            try:
                context = await stack.enter_async_context(self._instances.use())
            except SupervisorClosed as error:
                raise _at_end(self.spec) from error
            yield context

    async def join(self) -> None:
        await self._instances.drain()

    def terminate(self) -> None:
        self._instances._begin_drain()
        for context in tuple(self._there):
            context.terminate()

    def statistics(self) -> ContextStatistics:
        found = self._instances.statistics()
        return ContextStatistics(
            self._kind,
            found.size,
            found.open,
            found.in_use,
            found.idle,
            found.waiting,
            found.created,
            found.replaced,
            found.failed,
        )


def _at_end(spec: ContextSpec) -> ContextClosed:
    return ContextClosed(f"the context {spec.name!r} is at the end of its pool: nothing new runs in it")


@final
class ContextPool:
    """An open pool of contexts: what `open_context_pool` yields."""

    def __init__(self, shelves: Mapping[str, _Shelf]) -> None:
        self._shelves = shelves

    def __repr__(self) -> str:
        return f"<ContextPool {', '.join(self._shelves)}>"

    @property
    def names(self) -> tuple[str, ...]:
        """The names by which contexts can be used."""
        return tuple(self._shelves)

    def kind_of(self, name: str, /) -> ContextKind:
        """Return what contexts of a name are meant to be made of. Raises `UnknownContext`."""
        return self._shelf(name).spec.kind

    def use(self, name: str, /) -> AbstractAsyncContextManager[Context]:
        """Use a context while the block runs; nobody else does meanwhile, unless it is inline. Waits its turn.

        Raises:
            UnknownContext: there are no contexts of that name.
            ContextClosed: the pool is at its end, or is being joined.
            ContextUnavailable: a new one was needed and could not be made.

        """
        return self._shelf(name).use()

    @overload
    async def run(self, name: str, fn: Callable[[*Ts], Awaitable[R]], /, *args: *Ts) -> R: ...
    @overload
    async def run(self, name: str, fn: Callable[[*Ts], R], /, *args: *Ts) -> R: ...
    async def run(self, name: str, fn: Callable[[*Ts], Awaitable[R] | R], /, *args: *Ts) -> R:
        """Run one function in a context of a name; see `use`, and `Context.run`."""
        async with self._shelf(name).use() as context:
            result: Any = await context.run(fn, *args)
        found: R = result
        return found

    async def join_all(self) -> None:
        """Refuse new uses, wait until those that go on have finished, and give all workers back.

        Who waits in line gets `ContextClosed`.
        """
        async with trio.open_nursery() as nursery:
            for shelf in self._shelves.values():
                nursery.start_soon(shelf.join)

    def terminate_all(self) -> None:
        """Refuse new uses and end all calls now, as `Context.terminate` does; who waits in line gets `ContextClosed`.

        The end of the block waits for what cannot be ended.
        """
        for shelf in self._shelves.values():
            shelf.terminate()

    def statistics(self) -> Mapping[str, ContextStatistics]:
        """Return the figures of now, by name; call it in a Trio task."""
        return MappingProxyType({name: shelf.statistics() for name, shelf in self._shelves.items()})

    def _shelf(self, name: str) -> _Shelf:
        try:
            return self._shelves[name]
        except (KeyError, TypeError):
            known = ", ".join(map(repr, self._shelves))
            msg = f"no context is named {name!r}: there are {known}; name others as ContextSpec({name!r}, ...)"
            raise UnknownContext(msg) from None


def open_context_pool(*specs: ContextSpec) -> AbstractAsyncContextManager[ContextPool]:
    """Open a pool of contexts that stages and others share by name.

    The four kinds are there under their own names ("inline", "thread", "process", "interpreter"); a spec adds a name,
    or says how many there are to be of one of these. Workers start with the first use and end after `idle_timeout`
    without one; a lost one is replaced.

        async with open_context_pool(ContextSpec("parsing", "process", size=2)) as contexts:
            pages = await contexts.run("parsing", parse, path)

    At the end of the block nothing new is used, uses that go on finish, and who waits in line gets `ContextClosed`. If
    the block fails or is cancelled, all are terminated. Either way no thread of it is busy, and no process of it is
    left, after the block. (Python's own resource tracker, which starts with the first process, ends with the program.)

    Args:
        *specs: names other than the four kinds', or other sizes for these.

    """
    named = {kind.value: ContextSpec(kind.value, kind) for kind in ContextKind}
    for spec in specs:
        _check_spec(spec, specs)
        named[spec.name] = spec
    return _open(named)


def _check_spec(spec: object, specs: tuple[ContextSpec, ...]) -> None:
    if not isinstance(spec, ContextSpec):
        msg = f"a context is a ContextSpec such as ContextSpec('parsing', 'process', size=2), not {spec!r}"
        raise TypeError(msg)
    if sum(spec.name == other.name for other in specs) > 1:
        msg = f"two contexts are named {spec.name!r}: names must differ inside one pool"
        raise ValueError(msg)


@asynccontextmanager
async def _open(specs: Mapping[str, ContextSpec]) -> AsyncGenerator[ContextPool]:
    shelves = {name: _Inline(spec) if spec.size is None else _Shared(spec, spec.size) for name, spec in specs.items()}
    pool = ContextPool(shelves)
    async with AsyncExitStack() as stack:
        for shelf in shelves.values():
            await stack.enter_async_context(shelf.block())
        try:
            yield pool
            await pool.join_all()
        except BaseException:
            pool.terminate_all()
            raise
