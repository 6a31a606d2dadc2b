"""One incarnation of a child, and the procedure that stops it."""

from __future__ import annotations

import inspect
import math
from functools import partial
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any, cast, final

import trio

from supervisors._decide import Exit, exit_of
from supervisors._drain import DrainSignal, set_current_signal
from supervisors._report import DrainReport

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

# A child that has not ended so many seconds after its cancel is unstoppable, and told again after as many.
PATIENCE = 1.0
# Scheduler passes without any progress after which something cancelled at a deadline is left behind, and passes in all.
PASSES = 50
MOST_PASSES = 10_000


def takes_task_status(run: Callable[..., object]) -> bool:
    """Tell whether an async function takes `task_status`, and so tells itself when it is ready."""
    function = run.__func__ if isinstance(run, MethodType) else run
    if isinstance(function, FunctionType) and not hasattr(function, "__wrapped__"):
        code = function.__code__
        return "task_status" in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    try:
        return "task_status" in inspect.signature(run).parameters and not _is_given(run)
    except (TypeError, ValueError):  # built in, without a signature
        return False


def _is_given(run: object) -> bool:
    return isinstance(run, partial) and "task_status" in cast("partial[object]", run).keywords


@final
class Running:
    """One incarnation while it runs: who is asked, cancelled and waited for.

    Identity tells incarnations apart. It serves as the `task_status` of the function that it runs.
    """

    __slots__ = (
        "__weakref__",
        "_bell",
        "_on_ready",
        "asked",
        "assumed",
        "cancel_at",
        "ended",
        "exit",
        "name",
        "number",
        "owed",
        "ready",
        "scope",
        "signal",
        "stuck",
        "value",
    )

    def __init__(
        self, parent: DrainSignal | None = None, owner: object = None, *, name: str = "", number: int = 1
    ) -> None:
        # Whose incarnation it is, and which.
        self.name = name
        self.number = number
        self.signal = DrainSignal(parent, owner)
        # Shielded: an outer cancellation reaches a child only through its supervisor, in order.
        self.scope = trio.CancelScope(shield=True)
        self.ready = False
        self.value: Any = None
        # Whether it is ready by definition, and has yet to reach its first checkpoint.
        self.assumed = False
        # Whether the event that tells of its start has still to be told.
        self.owed = False
        # Whether somebody wants it to end; how it ends is then no crash.
        self.asked = False
        # When it is cancelled; infinity while nobody wants that.
        self.cancel_at = math.inf
        # Cancelled, and overdue.
        self.stuck = False
        self.exit: Exit | None = None
        self.ended = False
        # Rings whenever something that one waits for has changed; made by who waits.
        self._bell: trio.Event | None = None
        self._on_ready: Callable[[], object] | None = None

    def started(self, value: object = None) -> None:
        """Say that the child is ready, as `task_status.started()`."""
        if self.ready:
            msg = "called 'started' twice on the same task status"
            raise RuntimeError(msg)
        self.ready = True
        self.value = value
        on_ready, self._on_ready = self._on_ready, None
        if on_ready is not None:
            on_ready()
        self.ring()

    def value_report(self) -> DrainReport | None:
        """Return the drain report of the value, if that is a supervisor or another thing that has one."""
        report = getattr(self.value, "report", None)
        return report if isinstance(report, DrainReport) else None

    async def run(
        self,
        run: Callable[..., Awaitable[object]],
        args: Callable[[], tuple[Any, ...]],
        on_ready: Callable[[], object],
    ) -> Exit:
        """Run the child's function to its end, and tell how it ended; `args` gives its arguments."""
        self._on_ready = on_ready
        set_current_signal(self.signal)
        error: BaseException | None = None
        try:
            with self.scope:
                await self._call(run, args())
        except BaseException as raised:
            error = raised
        try:
            return self._end(error)
        finally:
            del error  # or the frame and the error's traceback would keep each other

    async def _call(self, run: Callable[..., Awaitable[object]], args: tuple[Any, ...]) -> None:
        if takes_task_status(run):
            await run(*args, task_status=self)
            if not self.ready and not self.asked:
                msg = f"{run!r} returned without calling task_status.started()"
                raise RuntimeError(msg)
            return
        # Whoever waits for `ready` wakes in a later scheduler pass, when the function has reached its first checkpoint.
        # Trio clears `custom_sleep_data` when a task was rescheduled: still set at the end, there was no checkpoint.
        task = trio.lowlevel.current_task()
        self.assumed = True
        self.started()
        task.custom_sleep_data = self
        try:
            await run(*args)
        except BaseException:
            if task.custom_sleep_data is self:
                self.ready = False
            raise

    def _end(self, error: BaseException | None) -> Exit:
        self.exit = exit_of(
            error,
            ready=self.ready,
            asked=self.asked,
            cut=self.scope.cancelled_caught and self.signal.listening and self.ready,
        )
        self._on_ready = None
        return self.exit

    def end(self) -> None:
        """Tell those who wait, after the owner has taken note of the end."""
        self.ended = True
        self.ring()

    def ring(self) -> None:
        """Wake those who wait, to look again."""
        if self._bell is not None:
            self._bell.set()
            self._bell = None

    async def wait_until(self, holds: Callable[[Running], bool]) -> None:
        """Wait until something holds that becomes true with a ring."""
        while not holds(self):
            if self._bell is None:
                self._bell = trio.Event()
            await self._bell.wait()

    async def wait_ready(self) -> None:
        """Wait until it is ready or has ended."""
        # At least one pass: a function that is ready by definition has to reach its first checkpoint.
        await trio.lowlevel.checkpoint()
        await self.wait_until(_is_up_or_over)

    async def wait_ended(self) -> None:
        """Wait until it has ended."""
        await self.wait_until(_is_over)

    async def wait_settled(self) -> None:
        """Wait until it has ended or is known to be unstoppable."""
        await self.wait_until(_is_settled)


def _is_up_or_over(running: Running) -> bool:
    return running.ready or running.ended


def _is_over(running: Running) -> bool:
    return running.ended


def _is_settled(running: Running) -> bool:
    return running.ended or running.stuck


@final
class Pulse:
    """Counts the steps of stopping in a whole tree: a sign that what is below goes on ending."""

    __slots__ = ("beats",)

    def __init__(self) -> None:
        self.beats = 0


async def spin(running: Running, pulse: Pulse) -> None:
    """Let a cancelled incarnation end, as long as something happens, without letting time pass."""
    idle, beats = 0, pulse.beats
    for _ in range(MOST_PASSES):
        if running.ended or idle > PASSES:
            return
        await trio.lowlevel.checkpoint()
        idle = 0 if pulse.beats != beats else idle + 1
        beats = pulse.beats


@final
class Stopper:
    """Stops incarnations: asks, cancels when the grace is over, and tells each second of those that do not end.

    One task watches all that are being stopped, and lives while there are any.
    """

    def __init__(
        self,
        start_soon: Callable[[Callable[[], Awaitable[object]]], object],
        on_stuck: Callable[[Running, float], None],
        pulse: Pulse | None = None,
    ) -> None:
        self.pulse = Pulse() if pulse is None else pulse
        self._start_soon = start_soon
        self._on_stuck = on_stuck
        # Those being stopped, with the time when to look after them next.
        self._due: dict[Running, float] = {}
        # The watcher's sleep; None while there is no watcher.
        self._nap: trio.CancelScope | None = None
        # Whether graces are over for good.
        self._cut = False

    def stop(self, running: Running, grace: float) -> None:
        """Ask for an end and see to it; only who is ready and listens gets the grace, in seconds."""
        if running.ended:
            return
        running.asked = True
        running.signal.request()
        deserves = running.ready and running.signal.listening and not self._cut
        self._cancel_at(running, trio.current_time() + (grace if deserves else 0.0))

    def cancel(self, running: Running) -> None:
        """End it without any grace."""
        self.stop(running, 0.0)

    def cut(self) -> None:
        """Cancel all that are being stopped, and give no grace to later ones."""
        self._cut = True
        self.pulse.beats += 1
        for running in tuple(self._due):
            self.cancel(running)

    def ended(self, running: Running) -> None:
        """Take note that an incarnation has ended."""
        self.pulse.beats += 1
        if self._due.pop(running, None) is not None and not self._due and self._nap is not None:
            self._nap.cancel()

    def _cancel_at(self, running: Running, at: float) -> None:
        if at < running.cancel_at:
            running.cancel_at = at
            if at <= trio.current_time():
                running.scope.cancel()
            else:
                running.scope.deadline = at
            self._watch(running, at + PATIENCE)
        elif running not in self._due:
            self._watch(running, math.inf)

    def _watch(self, running: Running, due: float) -> None:
        self._due[running] = due
        if self._nap is None:
            self._nap = trio.CancelScope(deadline=due, shield=True)
            self._start_soon(self._look_after)
        else:
            self._nap.deadline = min(self._nap.deadline, due)

    async def _look_after(self) -> None:
        while self._due and self._nap is not None:
            with self._nap:
                await trio.sleep_forever()
            self._tell_overdue(trio.current_time())
            self._nap = trio.CancelScope(deadline=min(self._due.values(), default=math.inf), shield=True)
        self._nap = None

    def _tell_overdue(self, now: float) -> None:
        for running, due in tuple(self._due.items()):
            if due <= now:
                self._due[running] = due + PATIENCE
                running.stuck = True
                running.ring()
                self._on_stuck(running, now - running.cancel_at)
