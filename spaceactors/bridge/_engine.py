"""The thread in which a bridge's runtime lives, and the way of calls into it.

A call is a task of its own on the Trio side and a future on the other. Nothing is polled: the future wakes its waiter.
"""

from __future__ import annotations

from concurrent.futures import Future
from contextlib import suppress
from math import inf
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any, Generic, TypeVar, final

import trio

from spaceactors import RuntimeClosed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from spaceactors import Runtime, SpaceHandle

R = TypeVar("R")

# What `next_of` gives at the end: StopAsyncIteration has a meaning of its own on its way through tasks.
END = object()


@final
class Call:
    """One call on its way."""

    def __init__(self, engine: Engine, run: Callable[[], Awaitable[Any]], timeout: float | None = None) -> None:
        self._engine = engine
        self._run = run
        self._timeout = timeout
        self._scope = trio.CancelScope()
        # Running from the beginning: a waiter that goes must not cancel it behind the task's back.
        self.future: Future[Any] = Future()
        self.future.set_running_or_notify_cancel()

    def cancel(self) -> None:
        """Cancel the task; from any thread, at any time."""
        self._engine.soon(self._scope.cancel)
        self.future.add_done_callback(self._let_go)

    def _let_go(self, future: Future[Any]) -> None:
        """Close a stream that opened in the moment in which nobody wanted it any more."""
        if future.exception() is None and isinstance(future.result(), Held):
            held: Held[Any] = future.result()
            self._engine.soon(held.let_go)

    def refuse(self) -> None:
        """Answer that nobody is there any more."""
        if not self.future.done():
            self.future.set_exception(_closed())

    async def task(self) -> None:
        """Be the call on the Trio side."""
        patience = trio.move_on_after(inf if self._timeout is None else self._timeout)
        try:
            with self._scope, patience:
                self.future.set_result(await self._run())
        except Exception as error:
            self.future.set_exception(error)
        if patience.cancelled_caught:
            msg = f"no answer within {self._timeout} s; what was accepted by then stays accepted"
            self.future.set_exception(TimeoutError(msg))
        self._engine.done(self)


@final
class Engine:
    """A thread that runs Trio with a runtime inside."""

    def __init__(self, runtime: AbstractAsyncContextManager[Runtime[Any]]) -> None:
        self._manager = runtime
        self._thread = Thread(target=self._live, name="spaceactors-bridge", daemon=True)
        self._token: trio.lowlevel.TrioToken | None = None
        # What is to run as soon as there is a Trio run.
        self._early: list[Callable[[], object]] = []
        self._nursery: trio.Nursery | None = None
        self._leave: trio.Event | None = None
        # Cancelled when there is no time for a drain.
        self._cut = trio.CancelScope()
        # Guards the calls on their way and whether there may be more: callers are in many threads.
        self._lock = Lock()
        self._calls: set[Call] = set()
        self._over = False
        # The runtime while and after it is open.
        self.runtime: Runtime[Any] | None = None
        # Why the runtime ended, if not because it was asked to.
        self.error: BaseException | None = None
        # Done when the runtime is open, or never will be; when the thread has nothing more to do.
        self.opened: Future[None] = Future()
        self.ended: Future[None] = Future()
        for future in (self.opened, self.ended):
            future.set_running_or_notify_cancel()

    # ---- from outside, in any thread

    def start(self) -> None:
        """Start the thread. Raises `RuntimeError` the second time."""
        if self._thread.ident is not None:
            msg = "a bridge is entered once: call open_bridge(...) again for another"
            raise RuntimeError(msg)
        self._thread.start()

    def leave(self, *, cut: bool = False) -> None:
        """Ask the runtime to drain, or (`cut`) to end without any grace."""
        self.soon(self._on_cut if cut else self._on_leave)

    def join(self) -> None:
        """Wait for the thread, which is at its end."""
        self._thread.join()

    def soon(self, run: Callable[[], object]) -> None:
        """Have something run in the Trio thread, if that still lives."""
        with self._lock:
            if self._token is None:
                self._early.append(run)
                return
        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(run)

    def submit(self, call: Call) -> None:
        """Start a call. Raises `RuntimeClosed`."""
        with self._lock:
            if self._over:
                raise _closed()
            self._calls.add(call)
        self.soon(lambda: self._start(call))

    def handle(self, space_id: str, actor: type[Any] | None, group: str | None) -> SpaceHandle[Any]:
        """Return the handle of a space: a value, which any thread may make."""
        if self.runtime is None:
            raise _closed()
        if actor is None:
            return self.runtime.space(space_id, group=group)
        return self.runtime.space(space_id, actor, group=group)

    def done(self, call: Call) -> None:
        """Forget a call that has its answer."""
        with self._lock:
            self._calls.discard(call)

    # ---- in the Trio thread

    def _start(self, call: Call) -> None:
        if self._nursery is not None:
            self._nursery.start_soon(call.task)

    def _on_leave(self) -> None:
        if self._leave is not None:
            self._leave.set()

    def _on_cut(self) -> None:
        self._cut.cancel()

    def _live(self) -> None:
        try:
            trio.run(self._main)
        except BaseException as error:
            self.error = self.error or error
        with self._lock:
            self._over = True
            left, self._calls = self._calls, set()
        for call in left:
            call.refuse()
        if not self.opened.done():
            self.opened.set_exception(self.error or _closed())
        self.ended.set_result(None)

    async def _main(self) -> None:
        self._leave = trio.Event()
        with self._lock:
            self._token = trio.lowlevel.current_trio_token()
        for run in self._early:
            run()
        # Around the runtime: calls on their way get their answers while it drains.
        async with trio.open_nursery() as calls:
            try:
                with self._cut:
                    async with self._manager as self.runtime:
                        self._nursery = calls
                        self.opened.set_result(None)
                        await self._leave.wait()
            except trio.Cancelled:
                raise
            except BaseException as error:
                self.error = error
            self._nursery = None
            calls.cancel_scope.cancel()

    async def hold(self, make: Callable[[], AbstractAsyncContextManager[AsyncIterator[R]]]) -> Held[R]:
        """Hold a stream or feed open in a task, until it is let go."""
        held = Held[R]()
        if self._nursery is None:
            raise _closed()
        await self._nursery.start(held.task, make)
        return held


@final
class Held(Generic[R]):
    """A stream or feed whose context a task holds open: contexts end in the task in which they began."""

    def __init__(self) -> None:
        self._items: AsyncIterator[R] | None = None
        self._leave = trio.Event()
        self._left = trio.Event()

    async def task(
        self,
        make: Callable[[], AbstractAsyncContextManager[AsyncIterator[R]]],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Be inside the context."""
        try:
            async with make() as self._items:
                task_status.started()
                await self._leave.wait()
        finally:
            self._left.set()

    async def next(self) -> Any:
        """Return the next item, or `END`."""
        if self._items is None:
            return END
        try:
            return await anext(self._items)
        except StopAsyncIteration:
            return END

    def let_go(self) -> None:
        """Have the context left."""
        self._leave.set()

    async def leave(self) -> None:
        """Leave the context."""
        self._leave.set()
        await self._left.wait()


def _closed() -> RuntimeClosed:
    return RuntimeClosed("the bridge is closed: its handles work inside the `with open_bridge(...)` block only")
