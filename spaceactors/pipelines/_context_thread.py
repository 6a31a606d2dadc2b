"""The thread context: blocking functions in a thread, async ones in an event loop of their own there."""

from __future__ import annotations

from contextlib import suppress
from contextvars import copy_context
from functools import partial
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, cast, final

import outcome
import trio
from trio.lowlevel import Abort, current_task, current_trio_token, reschedule, start_thread_soon, wait_task_rescheduled

from spaceactors._turn import here
from spaceactors.pipelines._context import ContextKind, ContextUnavailable
from spaceactors.pipelines._context_base import WorkerContext
from spaceactors.pipelines._functions import is_async
from supervisors._drain import set_current_signal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


@final
class ThreadContext(WorkerContext):
    """Runs functions in a thread: of Trio's own threads, which are lent, one that is free."""

    def __init__(self, name: str) -> None:
        super().__init__(ContextKind.THREAD, name)
        # Trio's own limiter bounds the threads of the whole program; ours are bounded by the pool.
        self._limiter = trio.CapacityLimiter(1)

    async def _call(self, fn: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        if is_async(fn):
            return await self._in_loop(fn, args)
        value = (await self._in_thread(fn, args)).unwrap()
        return await self._in_loop(_await, (value,)) if isawaitable(value) else value

    async def _in_thread(self, fn: Callable[..., Any], args: tuple[Any, ...]) -> outcome.Outcome[Any]:
        call: Callable[[], outcome.Outcome[Any]] = partial(outcome.capture, fn, *args)
        try:
            return await trio.to_thread.run_sync(call, thread_name=self._name, limiter=self._limiter)
        except RuntimeError as error:  # what the function raised is inside of the outcome
            raise _no_thread(self._name, error) from error

    async def _in_loop(self, fn: Callable[..., Awaitable[Any]], args: tuple[Any, ...]) -> Any:
        """Run an async function in a loop of its own; when the caller is cancelled, so is it, and is waited for."""
        loop = _Loop()
        task, token = current_task(), current_trio_token()
        cancelled: Callable[[], object] | None = None

        def deliver(result: outcome.Outcome[Any]) -> None:
            token.run_sync_soon(reschedule, task, outcome.Value(result))

        def abort(raise_cancel: Callable[[], object]) -> Abort:
            nonlocal cancelled
            cancelled = raise_cancel
            loop.cancel()
            return Abort.FAILED

        context = copy_context()
        context.run(_forget_the_loop)
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            start_thread_soon(lambda: context.run(loop.run, fn, args), deliver, self._name)
        except RuntimeError as error:
            raise _no_thread(self._name, error) from error
        result = cast("outcome.Outcome[outcome.Value[Any] | None]", await wait_task_rescheduled(abort)).unwrap()
        if result is None and cancelled is not None:
            cancelled()
        return cast("outcome.Value[Any]", result).value


@final
class _Loop:
    """An event loop for one async function, in whatever thread runs it."""

    def __init__(self) -> None:
        self._scope = trio.CancelScope()
        self._token: trio.lowlevel.TrioToken | None = None
        self._cancelled = False

    def run(self, fn: Callable[..., Awaitable[Any]], args: tuple[Any, ...]) -> outcome.Value[Any] | None:
        """Return what the function returns, or None if it was cancelled."""
        return trio.run(self._main, fn, args)

    async def _main(self, fn: Callable[..., Awaitable[Any]], args: tuple[Any, ...]) -> outcome.Value[Any] | None:
        self._token = current_trio_token()
        if self._cancelled:
            self._scope.cancel()
        with self._scope:
            return outcome.Value(await fn(*args))
        return None

    def cancel(self) -> None:
        """Cancel the function, from another thread."""
        self._cancelled = True
        # Either `_main` has set the token, or will see that it is cancelled.
        if self._token is not None:
            with suppress(trio.RunFinishedError):
                self._token.run_sync_soon(self._scope.cancel)


async def _await(result: Awaitable[Any]) -> Any:
    return await result


def _forget_the_loop() -> None:
    """Take out of a context what belongs to the loop of the caller."""
    set_current_signal(None)
    here.set(None)


def _no_thread(name: str, error: BaseException) -> ContextUnavailable:
    return ContextUnavailable(f"no thread could be started for the context {name!r} ({error}): give it a smaller size")
