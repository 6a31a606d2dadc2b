"""A pool of clients that many share: opened when they are needed, closed when they are not."""

from __future__ import annotations

import sys
from collections import deque
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from contextvars import copy_context
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Generic, TypeVar, cast, final

import trio
from trio.lowlevel import ParkingLot, enable_ki_protection

from supervisors._async_only import AsyncOnly
from supervisors._capacity import Limit, Priority
from supervisors._drain import current_signal
from supervisors._errors import SupervisorClosed
from supervisors._instance import Instance, InstanceStatistics, Stage, is_broken_by
from supervisors._limits import Limits
from supervisors._spec import check_name, check_run, check_seconds

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from types import TracebackType

    from supervisors._instance import Broken

T = TypeVar("T")

# What usually means that a connection is no good any more.
CONNECTION_ERRORS = (OSError, trio.BrokenResourceError, trio.ClosedResourceError)
# So many errors of instances are remembered, the latest.
ERRORS_KEPT = 16


@final
class _Use(AsyncOnly, AbstractAsyncContextManager[T, None], Generic[T]):
    """The way into a block that uses an instance, and out of it."""

    __slots__ = ("_hold", "_instance", "_pool")

    def __init__(self, pool: InstancePool[T], hold: AbstractAsyncContextManager[object]) -> None:
        self._pool = pool
        self._hold = hold
        self._instance: Instance[T] | None = None

    @enable_ki_protection
    async def __aenter__(self) -> T:
        await trio.lowlevel.checkpoint_if_cancelled()
        self._pool._check_open()
        await self._hold.__aenter__()
        try:
            self._instance = await self._pool._take()
        except BaseException:
            await self._hold.__aexit__(*sys.exc_info())
            raise
        client: T = self._instance.client
        return client

    @enable_ki_protection
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if self._instance is not None:
                self._pool._give_back(self._instance, error)
        finally:
            await self._hold.__aexit__(kind, error, traceback)


@final
class InstancePool(AsyncOnly, Generic[T]):
    """Clients that many tasks share, at most `size` at once, each used by one at a time.

    When you would want it: connections to a model provider, a device, a local model that fits into memory twice. An
    instance is opened when somebody needs one and none is idle; the one used last is used next, so that the others
    come to their idle timeout and are closed.

        async with InstancePool(connect, 5, idle_timeout=60.0) as pool:
            async with pool.use() as client:
                ...

    It may be the `deps=` of a runtime (`lambda: InstancePool(connect, 5)`) or a child (`ChildSpec.resource`). At the
    end of the block nothing new is used, uses that go on finish, and all instances are closed; if the block fails or
    is cancelled they are closed at once. What `close` raises then comes out in one `ExceptionGroup`, if nothing else
    does. Each instance lives in a task of its own, in the context in which the pool was opened.

    Args:
        factory: a function without arguments that gives an async context manager; the instance is what that yields.
        size: how many there may be at once, also counting those that are being closed.
        idle_timeout: seconds without a use after which an instance is closed; None: at the end of the pool.
        name: for errors and statistics.
        healthy: asked before an idle instance is used again; if it returns False or raises, another one is taken.
        broken: which errors of a block mean that its instance is not used again: an exception class, several in a
            tuple, or a function that gets the error (each one, of a group) and tells. `trio.Cancelled` counts only if
            it is among them: name it where a request that was cut off leaves the client in an unknown state.
        close_timeout: seconds that closing one may take; then it is cancelled.
        max_waiting: how many may stand in line; None: no bound.
        wait_timeout: seconds to stand in line; None: for ever.
        drain_with_child: whether to refuse new uses as soon as the surrounding child is asked to drain. By default
            they end with the block: work that was accepted before may still need a client.

    """

    def __init__(
        self,
        factory: Callable[[], AbstractAsyncContextManager[T]],
        size: int,
        *,
        idle_timeout: float | None = None,
        name: str = "instances",
        healthy: Callable[[T], Awaitable[bool]] | None = None,
        broken: Broken = CONNECTION_ERRORS,
        close_timeout: float = 5.0,
        max_waiting: int | None = None,
        wait_timeout: float | None = None,
        drain_with_child: bool = False,
    ) -> None:
        check_name("name", name)
        check_run(factory, "factory", "a function that gives an async context manager")
        if idle_timeout is not None:
            check_seconds("idle_timeout", idle_timeout)
        check_seconds("close_timeout", close_timeout)
        _check_size(size)
        _check_callables(healthy, broken)
        self._factory = factory
        self._size = size
        self._idle_timeout = inf if idle_timeout is None else idle_timeout
        self._name = name
        self._healthy = healthy
        self._broken = broken
        self._close_timeout = close_timeout
        self._drain_with_child = drain_with_child
        self._limits = Limits([Limit(name, size, max_waiting=max_waiting, wait_timeout=wait_timeout)])
        self._block: AbstractAsyncContextManager[InstancePool[T]] | None = None
        self._nursery: trio.Nursery | None = None
        self._draining = False
        # Whether the block is over: from here on errors in closing come out of it.
        self._closing = False
        # All that have not ended; of them those in use (or made ready for it), and the idle ones, used last last.
        self._there = dict[Instance[T], None]()
        self._busy = set[Instance[T]]()
        self._idle = dict[Instance[T], None]()
        # Who waits for something of this to change.
        self._changes = ParkingLot()
        self._errors = deque[BaseException](maxlen=ERRORS_KEPT)
        self._closing_errors = list[Exception]()
        # What concerns the whole program, from inside an instance.
        self._fatal: BaseException | None = None
        self._created = self._replaced = self._failed = self._close_failed = 0

    # ---- from outside

    def use(
        self, *, priority: Priority = Priority.NORMAL, fair_key: str | None = None
    ) -> AbstractAsyncContextManager[T]:
        """Use an instance while the block runs; waits its turn.

        Args:
            priority: who comes first in line; inside one, who came first.
            fair_key: whose use it is: inside one priority those with different keys take turns.

        Raises:
            CapacityTimeout: none was free within `wait_timeout`.
            CapacityQueueFull: `max_waiting` wait already.
            SupervisorClosed: the pool is draining, closed, or not open yet.
            Exception: whatever the factory raises, if a new one was needed.

        """
        return _Use(self, self._limits.hold(self._name, priority=priority, fair_key=fair_key))

    async def drain(self) -> None:
        """Refuse new uses, wait until those that go on have finished, and until all instances are closed.

        Who waits in line gets `SupervisorClosed`. An instance that cannot be closed is waited for at the end of the
        block only.
        """
        self._begin_drain()
        await trio.lowlevel.checkpoint()
        while self._busy or self._count():
            await self._wait_change()

    def statistics(self) -> InstanceStatistics:
        """Return the figures of now; call it in a Trio task."""
        return InstanceStatistics(
            size=self._size,
            open=len(self._there),
            in_use=len(self._busy),
            idle=sum(instance.usable for instance in self._idle),
            waiting=self._limits.statistics()[self._name].waiting,
            created=self._created,
            replaced=self._replaced,
            failed=self._failed,
            close_failed=self._close_failed,
        )

    @property
    def errors(self) -> tuple[BaseException, ...]:
        """The latest errors of instances that nobody got who asked: in closing, in checks, in ending by themselves."""
        return tuple(self._errors)

    async def __aenter__(self) -> InstancePool[T]:
        if self._block is not None:
            raise RuntimeError(f"the pool {self._name!r} was opened before: make another one")
        self._block = self._opened()
        return await self._block.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return None if self._block is None else await self._block.__aexit__(kind, error, traceback)

    # ---- the block

    @asynccontextmanager
    async def _opened(self) -> AsyncGenerator[InstancePool[T]]:
        error: BaseException | None = None
        self._context = copy_context()
        signal = current_signal() if self._drain_with_child else None
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                with nullcontext() if signal is None else signal.calling(self._begin_drain):
                    yield self
                    self._begin_drain()
                    while self._busy:
                        await self._wait_change()
            except BaseException as raised:
                error = raised
            with trio.CancelScope(shield=True):
                await self._close_all()
        self._nursery = None
        error = self._fatal or error
        self._fatal = None
        try:
            if error is not None:
                raise error
            if self._closing_errors:
                raise ExceptionGroup(f"instances of the pool {self._name!r} could not be closed", self._closing_errors)
        finally:
            del error

    async def _close_all(self) -> None:
        self._begin_drain()
        self._closing = True
        for instance in self._there:
            instance.close()
        while self._there:
            await self._changes.park()

    def _begin_drain(self) -> None:
        if self._draining:
            return
        self._draining = True
        for instance in tuple(self._there):
            if instance in self._idle or instance.stage is Stage.OPENING:
                instance.close()
        self._idle.clear()
        # Who waits in line is let go on, to find that the pool is closed.
        line = self._limits.statistics()[self._name]
        self._limits.resize(self._name, line.held + line.waiting)
        self._changes.unpark_all()

    def _check_open(self) -> None:
        if self._nursery is None and not self._draining:
            raise SupervisorClosed(f"the pool {self._name!r} is not open: use it inside its async with block")
        if self._draining:
            raise SupervisorClosed(f"the pool {self._name!r} is {'draining' if self._nursery else 'closed'}")

    # ---- taking one

    async def _take(self) -> Instance[T]:
        """Find an instance, or open one; who calls holds a token, so there is one, or will be soon."""
        while True:
            self._check_open()
            if self._idle:
                instance, _ = self._idle.popitem()
                if not instance.usable:
                    # Its time is over in this moment, and it has not run yet to close itself.
                    instance.close()
                elif await self._is_fit(instance):
                    return instance
            elif self._count() < self._size:
                return await self._open()
            else:
                await self._wait_change()

    async def _is_fit(self, instance: Instance[T]) -> bool:
        instance.expire_at(inf)
        self._busy.add(instance)
        if self._healthy is None:
            return True
        fit = False
        try:
            fit = bool(await self._healthy(instance.client)) and instance.usable
        except Exception as error:  # whatever is wrong, it is not the caller's
            self._errors.append(error)
        finally:
            # One whose check was cut off may be in the middle of something.
            if not fit or self._draining:
                self._drop(instance)
        return fit and not self._draining

    async def _open(self) -> Instance[T]:
        assert self._nursery is not None  # noqa: S101 - checked by who calls
        instance = Instance[T](self._close_timeout)
        self._there[instance] = None
        self._busy.add(instance)
        live: Callable[[Instance[T]], Awaitable[None]] = self._live
        start = partial(self._nursery.start_soon, name=f"{self._name}: an instance")
        self._context.run(start, live, instance)
        try:
            await instance.settled.wait()
        except BaseException:
            if isinstance(instance.error, Exception):
                self._errors.append(instance.error)
            self._put_back(instance)
            raise
        finally:
            self._created += instance.opened
        if instance.usable:
            return instance
        self._retire(instance)
        self._check_open()
        raise instance.error or SupervisorClosed(f"an instance of the pool {self._name!r} ended as it was opened")

    async def _live(self, instance: Instance[T]) -> None:
        await instance.live(self._factory)
        self._ended(instance)

    # ---- giving it back

    def _give_back(self, instance: Instance[T], error: BaseException | None) -> None:
        good = False
        try:
            good = error is None or not is_broken_by(error, self._broken)
        finally:
            if good:
                self._put_back(instance)
            else:
                self._drop(instance)

    def _put_back(self, instance: Instance[T]) -> None:
        if self._draining or not instance.usable:
            self._retire(instance)
            return
        self._busy.discard(instance)
        instance.expire_at(trio.current_time() + self._idle_timeout)
        self._idle[instance] = None
        self._changes.unpark_all()

    def _drop(self, instance: Instance[T]) -> None:
        # One that has ended by itself was counted then.
        self._replaced += instance.usable and not self._draining
        self._retire(instance)

    def _retire(self, instance: Instance[T]) -> None:
        self._busy.discard(instance)
        instance.close()
        self._changes.unpark_all()

    def _ended(self, instance: Instance[T]) -> None:
        """Count how an instance ended, and keep what it raised, if nobody gets it."""
        del self._there[instance]
        self._idle.pop(instance, None)
        self._changes.unpark_all()
        error = instance.error
        if error is not None and not isinstance(error, Exception):
            self._fatal = self._fatal or error
            self._begin_drain()
            if self._nursery is not None:
                self._nursery.cancel_scope.cancel()
        elif error is not None or instance.cut:
            self._count_failure(instance, error)

    def _count_failure(self, instance: Instance[T], error: Exception | None) -> None:
        if not instance.opened:
            self._failed += error is not None
            if instance in self._busy:
                return  # it is told to who asked
        elif instance.asked:
            self._close_failed += 1
            if error is not None and self._closing:
                self._closing_errors.append(error)
        else:
            self._replaced += 1
        if error is not None:
            self._errors.append(error)

    # ---- counting

    def _count(self) -> int:
        """Return how many places are taken: one that ignores even the cancellation of its closing has none."""
        now = trio.current_time()
        return sum(now < instance.given_up_at for instance in self._there)

    async def _wait_change(self) -> None:
        now = trio.current_time()
        given_up = (instance.given_up_at for instance in self._there)
        with trio.move_on_at(min((at for at in given_up if at > now), default=inf)):
            await self._changes.park()


def _check_size(size: object) -> None:
    if not isinstance(size, int) or isinstance(size, bool):
        raise TypeError(f"size must be a whole number such as 5, not {size!r}")
    if size < 1:
        raise ValueError(f"size must be 1 or more, not {size!r}")


def _check_callables(healthy: object, broken: object) -> None:
    if healthy is not None and not callable(healthy):
        raise TypeError(f"healthy must be an async function that gets the instance, or None, not {healthy!r}")
    if isinstance(broken, tuple):
        fits = all(map(_is_error_class, cast("tuple[object, ...]", broken)))
    else:
        fits = _is_error_class(broken) if isinstance(broken, type) else callable(broken)
    if not fits:
        raise TypeError(f"broken must be an exception class, several in a tuple, or a function, not {broken!r}")


def _is_error_class(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseException)
