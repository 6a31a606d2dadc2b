"""The children of a supervisor or pool: their records, and how one is started, stopped and shown."""

from __future__ import annotations

from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, final

import trio
from attrs import define, field, frozen

from supervisors._decide import FORGET, Exit, ExitKind, Forget, Keep, Origin, after_exit
from supervisors._errors import ChildNotStopped, ChildStartError, DuplicateChild, UnknownChild
from supervisors._events import ChildCrashed, ChildFinished, ChildStarted, ChildStopped
from supervisors._report import DrainReport
from supervisors._running import Running, spin
from supervisors._runs import run_plan
from supervisors._spec import ChildSpec, ChildStatus, ValueOf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from supervisors._block import Block
    from supervisors._budget import Budget
    from supervisors._decide import Again

LONGEST_PATH = 200


@final
@frozen
class ChildInfo:
    """One child at one moment.

    `value` is what it passed to `started()`, `restarts` how often its supervisor has restarted it, `incarnation` counts
    every start from 1, `last_error` is what its last failed incarnation raised.
    """

    name: str
    status: ChildStatus
    value: Any
    restarts: int
    incarnation: int
    last_error: BaseException | None
    spec: ChildSpec


@final
@frozen
class ChildCounts:
    """How many children there are: known (`specs`), running now (`active`), and by kind."""

    specs: int
    active: int
    supervisors: int
    workers: int


@final
@define(eq=False)
class Child:
    """One child as its supervisor sees it, over all its incarnations."""

    spec: ChildSpec
    budget: Budget
    status: ChildStatus = ChildStatus.STARTING
    # The present incarnation; None while there is none.
    running: Running | None = None
    origin: Origin = Origin.FIRST
    incarnation: int = 0
    restarts: int = 0
    last_error: BaseException | None = None
    # Whether it shall run: a requested stop ends that, a start or a group restart brings it back.
    wanted: bool = True
    # Whether the call that started it was cancelled: then it leaves nothing behind.
    abandoned: bool = False
    # The wait before a restart; None while it does not back off.
    nap: trio.CancelScope | None = None

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def value(self) -> Any:
        """What the present incarnation passed to `started()`."""
        return self.running.value if self.running is not None and self.running.ready else None

    def info(self) -> ChildInfo:
        return ChildInfo(
            self.name, self.status, self.value, self.restarts, self.incarnation, self.last_error, self.spec
        )

    def verdict(self, kind: ExitKind, *, ready: bool) -> Forget | Keep | Again:
        """Decide what becomes of it after an incarnation has ended."""
        if self.abandoned and self.origin is Origin.FIRST:
            return FORGET
        return after_exit(self.spec.restart, self.origin, kind, ready=ready)


def start_error(child: Child, exit_: Exit | None) -> ChildStartError:
    """Say why a child did not become ready, with the cause chained."""
    error = None if exit_ is None else exit_.error
    why = "it was stopped while it started" if error is None else f"{type(error).__name__}: {error}"
    failure = ChildStartError(child.name, why)
    failure.__cause__ = error
    return failure


@final
@define(eq=False)
class Children:
    """All children of one supervisor or pool, in start order."""

    block: Block
    # Decides what follows from the end of an incarnation.
    on_end: Callable[[Child, Running, Exit], None]
    by_name: dict[str, Child] = field(factory=dict[str, Child])
    # Those that ran when the closing began, for the report.
    closing: tuple[tuple[str, Running], ...] = ()

    # ---- looking

    def get(self, name: str) -> Child:
        try:
            return self.by_name[name]
        except KeyError:
            known = ", ".join(map(repr, islice(self.by_name, 10))) or "none"
            msg = f"{self.block.name!r} has no child {name!r} (it has: {known})"
            raise UnknownChild(msg) from None

    def infos(self) -> tuple[ChildInfo, ...]:
        return tuple(child.info() for child in self.by_name.values())

    def counts(self) -> ChildCounts:
        children = self.by_name.values()
        supervisors = sum(child.spec.run is run_plan for child in children)
        active = sum(child.running is not None for child in children)
        return ChildCounts(len(children), active, supervisors, len(children) - supervisors)

    # ---- coming and going

    def check_free(self, name: str) -> None:
        if name in self.by_name:
            msg = f"{self.block.name!r} has a child {name!r} already: delete it first, or take another name"
            raise DuplicateChild(msg)

    def add(self, child: Child) -> None:
        self.check_free(child.name)
        self.by_name[child.name] = child

    def forget(self, child: Child) -> None:
        if self.by_name.get(child.name) is child:
            del self.by_name[child.name]

    def delete(self, name: str) -> None:
        child = self.get(name)
        self.check_stopped(child, "delete")
        self.forget(child)

    def check_stopped(self, child: Child, what: str) -> None:
        if child.running is not None or child.status is ChildStatus.BACKING_OFF:
            msg = f"cannot {what} child {child.name!r} while it is {child.status.value}: stop it first"
            raise ChildNotStopped(msg)

    # ---- starting

    def launch(self, child: Child, origin: Origin) -> Running:
        """Start a new incarnation, without waiting for it."""
        child.nap = None
        child.origin = origin
        child.wanted = True
        child.abandoned = False
        child.incarnation += 1
        child.restarts += origin is Origin.AUTOMATIC
        child.status = ChildStatus.STARTING
        child.running = running = Running(self.block.signal, self.block, name=child.name, number=child.incarnation)
        self.block.start_soon(self._live, child, running, name=f"{self.block.name}/{child.name}")
        return running

    async def start(self, child: Child, origin: Origin) -> None:
        """Start an incarnation and wait until it is ready."""
        running = self.launch(child, origin)
        try:
            await running.wait_ready()
        except BaseException:
            child.abandoned = True
            await self._abort(child, origin)
            raise
        if not running.ready:
            raise start_error(child, running.exit)

    async def _abort(self, child: Child, origin: Origin) -> None:
        # It may have become ready, and even have crashed and be restarting, since the call was cancelled.
        child.wanted = False
        running = self.ask(child)
        if running is not None:
            self.block.stopper.cancel(running)
            with trio.CancelScope(shield=True):
                await running.wait_settled()
        elif origin is Origin.FIRST:
            self.forget(child)

    async def _live(self, child: Child, running: Running) -> None:
        exit_ = await running.run(
            child.spec.run, partial(self._arguments, child.spec), partial(self._ready, child, running)
        )
        self.block.stopper.ended(running)
        child.running = None
        if exit_.error is not None:
            child.last_error = exit_.error
        self._tell_end(running, exit_)
        self.on_end(child, running, exit_)
        running.end()

    def _arguments(self, spec: ChildSpec) -> tuple[Any, ...]:
        return tuple(self._value(arg) if isinstance(arg, ValueOf) else arg for arg in spec.args)

    def _value(self, wanted: ValueOf) -> Any:
        sibling = self.by_name.get(wanted.child)
        if sibling is None or sibling.running is None or not sibling.running.ready:
            state = "there is none" if sibling is None else f"it is {sibling.status.value}"
            raise ChildStartError(wanted.child, f"its value is needed by a sibling, but {state}")
        return sibling.value

    def _ready(self, child: Child, running: Running) -> None:
        if not running.asked:
            child.status = ChildStatus.RUNNING
        child.budget.started(trio.current_time())
        if self.block.events.listened:
            running.owed = True
            if running.assumed:
                self.block.start_soon(self._tell_ready_later, running)
            else:
                self._tell_ready(running)

    async def _tell_ready_later(self, running: Running) -> None:
        # One pass later it is known whether the function has reached its first checkpoint.
        self._tell_ready(running)

    def _tell_ready(self, running: Running) -> None:
        if running.ready and running.owed:
            running.owed = False
            self.block.publish(ChildStarted, running.name, running.number)

    def _tell_end(self, running: Running, exit_: Exit) -> None:
        publish, name, number = self.block.publish, running.name, running.number
        self._tell_ready(running)
        match exit_.kind:
            case ExitKind.FINISHED:
                publish(ChildFinished, name, number)
            case ExitKind.STOPPED:
                publish(ChildStopped, name, number, exit_.error)
            case _:
                publish(ChildCrashed, name, number, exit_.error, exit_.kind is ExitKind.FAILED_START)

    # ---- restarting later

    def launch_after(self, child: Child, delay: float) -> None:
        """Restart a child after `delay` seconds; it is backing off until then."""
        if delay <= 0:
            self.launch(child, Origin.AUTOMATIC)
            return
        child.status = ChildStatus.BACKING_OFF
        child.nap = trio.CancelScope(shield=True)
        self.block.start_soon(self._nap, child, child.nap, delay)

    async def _nap(self, child: Child, nap: trio.CancelScope, delay: float) -> None:
        with nap:
            await trio.sleep(delay)
        if child.nap is nap and not self.block.closing:
            self.launch(child, Origin.AUTOMATIC)

    def drop_nap(self, child: Child) -> None:
        """Restart it no more by itself."""
        if child.nap is not None:
            child.nap.cancel()
            child.nap = None

    # ---- stopping

    def ask(self, child: Child) -> Running | None:
        """Begin to stop a child; returns what to wait for."""
        self.drop_nap(child)
        if child.running is None:
            if child.status is ChildStatus.BACKING_OFF:
                child.status = ChildStatus.STOPPED
            return None
        child.status = ChildStatus.STOPPING
        self.block.stopper.stop(child.running, child.spec.shutdown)
        return child.running

    async def stop(self, child: Child) -> None:
        """Stop a child, and wait until it has ended or is known not to."""
        child.wanted = False
        running = self.ask(child)
        if running is None:
            await trio.lowlevel.checkpoint()
        else:
            await running.wait_settled()

    def give_up_waiting(self) -> None:
        """Drop all planned restarts, and remember who runs, for the report."""
        self.closing = tuple(
            (child.name, child.running) for child in self.by_name.values() if child.running is not None
        )
        for child in tuple(self.by_name.values()):
            if child.running is None:
                self.ask(child)

    async def cancel_rest(self) -> None:
        """Cancel, youngest first, whoever still runs at the end of the time for stopping."""
        for _, running in reversed(self.closing):
            if not running.ended and not running.stuck:
                self.block.stopper.cancel(running)
                await spin(running, self.block.stopper.pulse)

    def cancel_all(self) -> None:
        """Cancel all at this moment."""
        for child in tuple(self.by_name.values()):
            if child.running is not None:
                self.block.stopper.cancel(child.running)

    def report(self, seconds: float, undone: Iterable[str] = ()) -> DrainReport:
        """Say what became of those that ran when the closing began; `undone` was cut off besides."""
        return fold(self.closing, seconds, undone)


def fold(closing: Iterable[tuple[str, Running]], seconds: float, undone: Iterable[str]) -> DrainReport:
    """Make one report of how incarnations ended, with the reports of supervisors and runtimes among them."""
    finished, cancelled, unstoppable, left = list[str](), list(undone), list[str](), dict[str, int]()
    for name, running in closing:
        exit_ = running.exit
        inner = running.value_report()
        if inner is not None:
            cancelled += [_path(name, child) for child in inner.cancelled]
            left |= {_path(name, child): count for child, count in inner.left.items()}
            unstoppable += [_path(name, child) for child in inner.unstoppable]
        if exit_ is None:
            unstoppable.append(name)
        elif exit_.error is None and (not exit_.cut or (inner is not None and not inner.clean)):
            finished.append(name)  # or its own report has told what was cut off
        else:
            cancelled.append(name)
    clean = not (cancelled or left or unstoppable)
    return DrainReport(clean, tuple(finished), tuple(cancelled), left, tuple(unstoppable), seconds)


def _path(name: str, child: str) -> str:
    # Bounded, for trees may be thousands of levels deep: the end of a long path says most.
    path = f"{name}/{child}"
    return path if len(path) <= LONGEST_PATH else f"…{path[1 - LONGEST_PATH :]}"
