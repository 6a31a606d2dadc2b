"""What the `async with` block of a supervisor or pool has in common: its body, its end, its report, its way out."""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast, final

import trio

from supervisors._decide import Stage, outcome_of
from supervisors._drain import current_signal
from supervisors._errors import ChildStartError, SupervisorClosed
from supervisors._events import Broadcast, ChildUnstoppable, DrainBegan, DrainEnded, EventsMissed, SupervisorEvent
from supervisors._running import PATIENCE, Running, Stopper
from supervisors._signals import watch_signals

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator
    from contextlib import AbstractAsyncContextManager

    from supervisors._drain import DrainSignal
    from supervisors._report import DrainReport

T = TypeVar("T")


def without_cancellation(error: BaseException | None) -> BaseException | None:
    """Return what an error is apart from cancellations, in however many groups; None if it is nothing else."""
    if isinstance(error, BaseExceptionGroup):
        return cast("BaseExceptionGroup[BaseException]", error).split(trio.Cancelled)[1]
    return None if isinstance(error, trio.Cancelled) else error


def is_fatal(error: BaseException | None) -> bool:
    """Tell whether an error concerns the whole program: a KeyboardInterrupt, a SystemExit, or a group with one."""
    rest = without_cancellation(error)
    return rest is not None and not isinstance(rest, Exception)


class Owner(Protocol):
    """What a block needs from the supervisor or pool that it serves."""

    def give_up_waiting(self) -> None:
        """Drop everything that is planned for later: restarts, rounds."""

    def opened(self) -> None:
        """Begin to handle what children do: all are ready."""

    async def stop_children(self, overall: trio.CancelScope) -> None:
        """Stop all children, in the owner's order, until `overall` is over; then cancel and return at once."""

    def cancel_children(self) -> None:
        """Cancel all children at this moment."""

    def cut(self) -> None:
        """Leave no time to whatever else is done at the end."""

    def make_report(self, seconds: float) -> DrainReport:
        """Say what became of the children that were there when the closing began."""
        ...


@final
class Block:
    """The life of one `async with` block."""

    def __init__(self, name: str, owner: Owner, *, on_stuck: Callable[[Running, float], None] | None = None) -> None:
        self.name = name
        self.stage = Stage.OPENING
        self.events: Broadcast[SupervisorEvent] = Broadcast()
        self.report: DrainReport | None = None
        self._owner = owner
        # Children get copies of the context in which the block was opened, whoever starts them later.
        self._context = copy_context()
        # The signal of the child in which this block was opened, if any.
        self.signal: DrainSignal | None = current_signal()
        around = None if self.signal is None else self.signal.owner
        pulse = around.stopper.pulse if isinstance(around, Block) else None
        self.stopper: Stopper = Stopper(self.start_soon, on_stuck or self._on_stuck, pulse)
        self._nursery: trio.Nursery | None = None
        self._body = trio.CancelScope()
        # Whose task the body is.
        self._task: trio.lowlevel.Task | None = None
        # Set when the children need not wait for the body: it has ended, or waits for them itself.
        self._body_gone = trio.Event()
        # Whether the body waits for the report: a reason to end reaches it only after the report.
        self._body_waits = False
        self._body_unwanted = False
        # Whether the body was reached: before, a failed start is the block's own.
        self._entered = False
        self._signals = trio.CancelScope()
        self._overall = trio.CancelScope(shield=True)
        self._closed = trio.Event()
        # What may come out of the block, see `outcome_of`.
        self._fatal: BaseException | None = None
        self._failed: BaseException | None = None
        self._gave_up: Exception | None = None
        self._body_error: BaseException | None = None

    # ---- what runs inside

    def start_soon(self, run: Callable[..., Awaitable[object]], *args: Any, name: str | None = None) -> None:
        """Start a task of this block, in the context of its opening."""
        if self._nursery is None:
            msg = f"{self.name!r} is not open: use it inside its async with block"
            raise SupervisorClosed(msg)
        self._context.run(partial(self._nursery.start_soon, run, *args, name=name))

    def publish(self, make: Callable[..., SupervisorEvent], *args: Any) -> None:
        """Tell an event, made from the supervisor's name, the time and the arguments, if anybody listens."""
        if self.events.listened:
            self.events.publish(make(self.name, trio.current_time(), *args))

    def _on_stuck(self, running: Running, seconds: float) -> None:
        self.publish(ChildUnstoppable, running.name, running.number, seconds)

    @property
    def closing(self) -> bool:
        """Whether nothing may start any more."""
        return self.stage in {Stage.CLOSING, Stage.CLOSED}

    def check_open(self) -> None:
        """Refuse new work once the end has begun."""
        if self.closing:
            msg = f"{self.name!r} is {self.stage.value}: it starts nothing any more"
            raise SupervisorClosed(msg)

    def check_not_closed(self) -> None:
        """Refuse calls after the end."""
        if self.stage is Stage.CLOSED:
            msg = f"{self.name!r} is closed"
            raise SupervisorClosed(msg)

    # ---- reasons to end

    def give_up(self, error: Exception) -> None:
        """End because a restart limit was exceeded."""
        if self._gave_up is None and not self.closing:
            self._gave_up = error
            self.begin_closing(cancel_body=True)

    def die(self, error: BaseException) -> None:
        """End at once because of an error that concerns the whole program."""
        self._fatal = self._fatal or error
        self.begin_closing(cancel_body=True)
        self.cut()

    def begin_closing(self, *, cancel_body: bool, deadline: float | None = None) -> None:
        """Begin to stop everything, once; a later call may bring the deadline forward."""
        if deadline is not None:
            self._overall.deadline = min(self._overall.deadline, deadline)
        if cancel_body:
            self._end_body()
        if self.closing:
            return
        self.stage = Stage.CLOSING
        self.publish(DrainBegan)
        self._owner.give_up_waiting()
        self.start_soon(self._close)

    def _end_body(self) -> None:
        self._body_unwanted = True
        if not self._body_waits:
            self._body.cancel()

    def cut(self) -> None:
        """End all graces: whatever is asked to stop is cancelled from now on."""
        self.stopper.cut()
        self._owner.cut()

    def _drain_from_outside(self) -> None:
        self.begin_closing(cancel_body=True)

    def _on_signal(self, count: int) -> None:
        self.begin_closing(cancel_body=True)
        if count > 1:
            self.cut()
        if count > 2:  # noqa: PLR2004 - the third kills
            self._owner.cancel_children()

    async def _close(self) -> None:
        began = trio.current_time()
        with trio.CancelScope(shield=True):
            await self._wait_body()
            await self._owner.stop_children(self._overall)
        self.report = self._owner.make_report(trio.current_time() - began)
        self.stage = Stage.CLOSED
        self._closed.set()
        self.publish(DrainEnded, self.report)

    async def _wait_body(self) -> None:
        # The body is the youngest child: it is gone first, unless it was not told to go.
        if self._body.cancel_called:
            with trio.CancelScope(deadline=min(trio.current_time() + PATIENCE, self._overall.deadline)):
                await self._body_gone.wait()

    # ---- calls

    async def drain(self, timeout: float | None) -> DrainReport:
        """Stop everything in order, within `timeout` seconds, and report."""
        deadline = None if timeout is None else trio.current_time() + timeout
        self.begin_closing(cancel_body=False, deadline=deadline)
        return await self.wait_closed()

    async def wait_closed(self) -> DrainReport:
        """Wait for the report."""
        caller = self.child_signal()
        if trio.lowlevel.current_task() is self._task:
            await self._wait_closed_in_body()
        elif caller is None:
            await self._closed.wait()
        else:
            with trio.CancelScope() as scope, caller.watching(scope.cancel):
                await self._closed.wait()
        if self.report is None:
            msg = f"{self.name!r} is draining and waits for this child, which therefore cannot wait for its report"
            raise SupervisorClosed(msg)
        return self.report

    async def _wait_closed_in_body(self) -> None:
        self._body_waits = True
        self._body_gone.set()
        try:
            await self._closed.wait()
        finally:
            self._body_waits = False
            if not self._closed.is_set():
                self._body_gone = trio.Event()
            if self._body_unwanted:
                self._body.cancel()

    def child_signal(self) -> DrainSignal | None:
        """Return the signal of the child of this block in which the caller runs, None for callers elsewhere."""
        signal = current_signal()
        while signal is not None and signal.owner is not self:
            signal = signal.parent
        return signal

    def listen(self) -> AbstractAsyncContextManager[AsyncIterator[SupervisorEvent | EventsMissed]]:
        """Read the events from now on."""
        return self.events.subscribe()

    # ---- the block itself

    async def _watch_signals(self, *, task_status: trio.TaskStatus[None]) -> None:
        with self._signals:
            await watch_signals(self._on_signal, task_status=task_status)

    def _opened(self) -> None:
        self._entered = True
        if self.stage is Stage.OPENING:
            self.stage = Stage.OPEN
        self._owner.opened()

    @asynccontextmanager
    async def hold(
        self, value: T, start: Callable[[], Awaitable[object]], *, handle_signals: bool = False
    ) -> AsyncGenerator[T]:
        """Be the block: `start()` what belongs to it, run the body with `value`, stop everything, and come out."""
        error: BaseException | None = None
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self._task = trio.lowlevel.current_task()
            try:
                with self._listening():
                    if handle_signals:
                        await nursery.start(self._watch_signals)
                    await start()
                    self._opened()
                    with self._body:
                        yield value
            except BaseException as raised:
                error = raised
            await self._finish(error)
            error = None
        await self._come_out()

    @contextmanager
    def _listening(self) -> Generator[None]:
        if self.signal is None:
            yield
        else:
            with self.signal.calling(self._drain_from_outside):
                yield

    async def _finish(self, error: BaseException | None) -> None:
        self._body_gone.set()
        self._take(error)
        self.begin_closing(cancel_body=False)
        if self._fatal is not None or (error is not None and without_cancellation(error) is None):
            self.cut()
        try:
            await self._closed.wait()
        except BaseException as raised:
            # Whatever comes now, the surrounding cancellation or Ctrl-C, there is no time left for graces.
            if not isinstance(raised, trio.Cancelled):
                self._fatal = self._fatal or raised
            self.cut()
            with trio.CancelScope(shield=True):
                await self._closed.wait()
        self._signals.cancel()

    def _take(self, error: BaseException | None) -> None:
        if is_fatal(error):
            self._fatal = self._fatal or error
        elif isinstance(error, ChildStartError) and not self._entered:
            self._failed = error
        else:
            self._body_error = error

    async def _come_out(self) -> None:
        self.events.close()
        error = outcome_of(self._fatal, self._failed, self._gave_up, self._body_error)
        self._fatal = self._failed = self._gave_up = self._body_error = None
        self._task = self._nursery = None
        try:
            if error is not None:
                raise error
            await trio.lowlevel.checkpoint_if_cancelled()
        finally:
            del error
