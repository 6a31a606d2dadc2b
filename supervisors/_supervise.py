"""The static supervisor: children in a fixed order, one restart limit for all of them."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, final

import trio

from supervisors._block import Block
from supervisors._budget import Budget, GiveUp, Restarting, crashes_within
from supervisors._children import Child, ChildCounts, ChildInfo, Children, start_error
from supervisors._decide import Exit, ExitKind, Forget, Keep, Origin, Stage, group_of, shuts_down, status_of
from supervisors._errors import ChildNotStopped, ChildStartError, DuplicateChild, RestartLimitExceeded
from supervisors._events import AutoShutdownBegan, ChildRestarting, LimitExceeded
from supervisors._round import Round
from supervisors._spec import (
    AutoShutdown,
    Backoff,
    ChildSpec,
    ChildStatus,
    Plan,
    RestartLimit,
    Strategy,
    Wait,
    backoff_of,
    check_significance,
    check_spec,
    check_timeout,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
    from contextlib import AbstractAsyncContextManager

    from supervisors._events import EventsMissed, SupervisorEvent
    from supervisors._phases import Phase, Shutdown
    from supervisors._report import DrainReport
    from supervisors._running import Running
    from supervisors._tree import Branch, Tree


@final
class Supervisor:
    """An open static supervisor: what `open_supervisor` yields."""

    def __init__(self, plan: Plan, phases: Shutdown | None) -> None:
        self._plan = plan
        self._phases = phases
        self._block = Block(plan.name, self)
        self._children = Children(self._block, self._ended)
        # The times of the restarts that still count against the limit.
        self._history: tuple[float, ...] = ()
        # Ends of ready children while the others are starting: handled when all are ready.
        self._early: list[tuple[Child, Exit]] = []
        # Declared children that have not been started yet: their names are taken.
        self._declared = {spec.name for spec in plan.children}
        # The restart of a group that is under way.
        self._round: Round | None = None

    def __repr__(self) -> str:
        return f"<Supervisor {self._plan.name!r}, {self._block.stage.value}, {len(self._children.by_name)} children>"

    # ---- looking

    @property
    def report(self) -> DrainReport | None:
        """What the drain achieved; None until it has ended."""
        return self._block.report

    def child(self, name: str, /) -> ChildInfo:
        """Return what is known of one child. Raises `UnknownChild`."""
        return self._children.get(name).info()

    def children(self) -> tuple[ChildInfo, ...]:
        """Return what is known of all children, in start order."""
        return self._children.infos()

    def counts(self) -> ChildCounts:
        """Return how many children there are and run."""
        return self._children.counts()

    def tree(self) -> Tree:
        """Return this supervisor, its children, and theirs, as data; `str()` of it is a picture."""
        from supervisors._tree import grow

        return grow(self)

    def events(self) -> AbstractAsyncContextManager[AsyncIterator[SupervisorEvent | EventsMissed]]:
        """Read what happens from now on: `async with supervisor.events() as events: async for event in events`.

        A reader that is more than 1,024 events behind loses the oldest, and is told with `EventsMissed`.
        """
        return self._block.listen()

    def branch(self) -> Branch:
        """Return this level of the tree."""
        from supervisors._tree import Branch

        return Branch(self._plan.name, "supervisor", self._block.stage.value, self._children.infos())

    # ---- calls

    async def start_child(self, spec: ChildSpec, /) -> ChildInfo:
        """Add a child and start it; returns when it is ready.

        It is the youngest child from then on. Raises `ChildStartError` (and leaves nothing) when it fails first or is
        stopped meanwhile, `DuplicateChild`, or `SupervisorClosed`. Waits for no other child, except that under a group
        strategy it comes after a group restart that is under way.
        """
        self._check_new(spec)
        await self._wait_round()
        self._check_new(spec)
        child = self._new_child(spec)
        await self._children.start(child, Origin.FIRST)
        return child.info()

    async def stop_child(self, name: str, /) -> None:
        """Stop a child; its spec stays, unless it is temporary, and it is not restarted by itself.

        Returns when it has ended, or is known to be unstoppable; stopping what does not run does nothing. Cancelling
        the call does not cancel the stopping. A later restart of its group starts it again. Raises `UnknownChild`, or
        `SupervisorClosed` after the end.
        """
        self._block.check_not_closed()
        await self._children.stop(self._children.get(name))

    async def restart_child(self, name: str, /) -> None:
        """Start a child that does not run, or skip the wait of one that backs off; returns when it is ready.

        Does not count against the limit. Raises `ChildNotStopped` when it runs, `ChildStartError` (and it stays,
        failed) when it fails first, `UnknownChild`, or `SupervisorClosed`.
        """
        self._block.check_open()
        child = self._children.get(name)
        if self._round is not None and self._round.skip_wait(child):
            await self._wait_restarted(child)
            return
        await self._wait_round()
        self._block.check_open()
        self._check_restartable(child)
        self._children.drop_nap(child)
        await self._children.start(child, Origin.MANUAL)

    def delete_child(self, name: str, /) -> None:
        """Forget a child that does not run. Raises `ChildNotStopped`, `UnknownChild`, or `SupervisorClosed`."""
        self._block.check_not_closed()
        self._children.delete(name)

    async def drain(self, timeout: float | None = None) -> DrainReport:
        """Stop all children in reverse order, within `timeout` seconds, and report; the body goes on.

        At the deadline whoever still runs is cancelled, and the report comes even if something does not end. A second
        caller gets the same report, and may bring the deadline forward. A child that calls this is stopped like the
        others: it gets `SupervisorClosed` when its turn comes.
        """
        check_timeout(timeout)
        return await self._block.drain(timeout)

    async def wait_closed(self) -> DrainReport:
        """Wait until all children have been stopped, for whatever reason, and return the report."""
        return await self._block.wait_closed()

    # ---- starting

    def _check_new(self, spec: ChildSpec) -> None:
        check_spec(spec)
        self._block.check_open()
        check_significance(spec, self._plan.auto_shutdown)
        if spec.name in self._declared:
            msg = f"{self._plan.name!r} is about to start its own child {spec.name!r}: take another name"
            raise DuplicateChild(msg)
        self._children.check_free(spec.name)

    def _new_child(self, spec: ChildSpec) -> Child:
        child = Child(spec, Budget(self._plan.limit, self._plan.backoff))
        self._children.add(child)
        return child

    async def _start_all(self) -> None:
        """Start the declared children, each when the one before is ready."""
        for spec in self._plan.children:
            if self._block.closing:
                raise ChildStartError(spec.name, f"{self._plan.name!r} was stopped while it started")
            self._declared.discard(spec.name)
            await self._children.start(self._new_child(spec), Origin.FIRST)
        if self._block.closing:
            raise ChildStartError(self._plan.name, "it was stopped while it started")

    def opened(self) -> None:
        """Handle the ends that came while children were starting."""
        early, self._early = self._early, []
        for child, exit_ in early:
            if self._block.closing or not child.wanted:
                self._put_down(child, exit_, ready=True)
            elif child.running is None and self._children.by_name.get(child.name) is child:
                self._settle(child, exit_, ready=True)

    def _check_restartable(self, child: Child) -> None:
        self._children.get(child.name)  # it may be gone since
        if child.running is not None:
            msg = f"cannot restart child {child.name!r} while it is {child.status.value}: stop it first"
            raise ChildNotStopped(msg)

    async def _wait_restarted(self, child: Child) -> None:
        await self._wait_round()
        if child.status in {ChildStatus.STOPPED, ChildStatus.FAILED}:
            raise start_error(child, None)

    async def _wait_round(self) -> None:
        while self._round is not None and not self._called_by_starting_child():
            await self._round.over.wait()

    def _called_by_starting_child(self) -> bool:
        # The round waits for that child: it cannot wait for the round.
        signal = self._block.child_signal()
        return any(
            child.running is not None and child.running.signal is signal and not child.running.ready
            for child in self._children.by_name.values()
        )

    # ---- the end of an incarnation

    def _ended(self, child: Child, running: Running, exit_: Exit) -> None:
        if exit_.kind is ExitKind.FATAL and exit_.error is not None:
            child.status = ChildStatus.FAILED
            self._block.die(exit_.error)
        elif self._block.closing:
            self._put_down(child, exit_, ready=running.ready)
        elif self._block.stage is Stage.OPENING and running.ready:
            self._early.append((child, exit_))
            child.status = status_of(child.verdict(exit_.kind, ready=True), exit_.kind)
        else:
            self._settle(child, exit_, ready=running.ready)

    def _put_down(self, child: Child, exit_: Exit, *, ready: bool) -> None:
        # Nothing restarts any more: only the spec's fate is left to decide.
        verdict = child.verdict(exit_.kind, ready=ready)
        if isinstance(verdict, Forget):
            self._children.forget(child)
        else:
            child.status = verdict.status if isinstance(verdict, Keep) else ChildStatus.STOPPED

    def _settle(self, child: Child, exit_: Exit, *, ready: bool) -> None:
        match child.verdict(exit_.kind, ready=ready):
            case Forget():
                self._children.forget(child)
                self._consider_shutdown(child, exit_)
            case Keep(status):
                child.status = ChildStatus.BACKING_OFF if self._comes_back(child) else status
                self._consider_shutdown(child, exit_)
            case _:
                self._restart(child, exit_)

    def _consider_shutdown(self, child: Child, exit_: Exit) -> None:
        others = (
            other.running is not None or other.status is ChildStatus.BACKING_OFF
            for other in self._children.by_name.values()
            if other.spec.significant and other is not child
        )
        rule = self._plan.auto_shutdown
        if shuts_down(rule, exit_.kind, significant=child.spec.significant, others_active=others):
            self._block.publish(AutoShutdownBegan, child.name, child.incarnation)
            self._block.begin_closing(cancel_body=True)

    def _comes_back(self, child: Child) -> bool:
        return self._round is not None and self._round.covers(child)

    def _restart(self, child: Child, exit_: Exit) -> None:
        if self._comes_back(child):
            child.status = ChildStatus.BACKING_OFF  # it counts once for the whole group
            return
        now = trio.current_time()
        crashes = crashes_within(self._history, self._plan.limit.period, now)
        if len(crashes) > self._plan.limit.restarts:
            self._give_up(child, exit_, GiveUp(crashes))
            return
        self._history = crashes
        try:
            decision = child.budget.retry(exit_.error, now, len(crashes))
        except Exception as broken:  # the wait strategy is the user's code
            child.status = ChildStatus.FAILED
            self._block.give_up(broken)
            return
        self._carry_out(child, decision)

    def _carry_out(self, child: Child, decision: Restarting) -> None:
        alone = self._plan.strategy is Strategy.ONE_FOR_ONE
        group = () if alone else group_of(self._plan.strategy, tuple(self._children.by_name), child.name)
        self._block.publish(
            ChildRestarting, child.name, child.incarnation, decision.delay, decision.attempt, decision.restarts, group
        )
        if alone:
            self._children.launch_after(child, decision.delay)
        else:
            self._restart_group(tuple(map(self._children.get, group)), decision.delay)

    def _give_up(self, child: Child, exit_: Exit, decision: GiveUp) -> None:
        child.status = ChildStatus.FAILED
        self._block.publish(LimitExceeded, child.name, child.incarnation, exit_.error, decision.history)
        error = RestartLimitExceeded(self._plan.name, child.name, decision.history)
        error.__cause__ = exit_.error
        self._block.give_up(error)

    # ---- groups

    def _restart_group(self, group: tuple[Child, ...], delay: float) -> None:
        if self._round is not None:
            self._round.begin_again(group, delay)
            return
        self._round = Round(self._children, group, delay)
        self._block.start_soon(self._run_round, self._round)

    async def _run_round(self, round_: Round) -> None:
        await round_.run()
        self._round = None
        round_.over.set()

    # ---- what the block asks for

    def hold(self, *, handle_signals: bool) -> AbstractAsyncContextManager[Supervisor]:
        """Be open for one block."""
        return self._block.hold(self, self._start_all, handle_signals=handle_signals)

    def give_up_waiting(self) -> None:
        """Drop all planned restarts."""
        if self._round is not None:
            self._round.cut()
        self._children.give_up_waiting()

    async def stop_children(self, overall: trio.CancelScope) -> None:
        """Stop the children in reverse start order, one after the other, between the phases."""
        with overall:
            if self._phases is not None:
                await self._run_phases(self._phases.run_before, overall)
            for child in reversed(tuple(self._children.by_name.values())):
                await self._children.stop(child)
        await self._children.cancel_rest()
        if self._phases is not None:
            await self._run_phases(self._phases.run_after, overall)

    async def _run_phases(self, run: Callable[[float], Awaitable[None]], overall: trio.CancelScope) -> None:
        try:
            await run(overall.deadline)
        except trio.Cancelled:
            raise
        except BaseException as error:  # no Exception: those are in the phases' results
            self._block.die(error)

    def cancel_children(self) -> None:
        """Cancel all children at this moment."""
        self._children.cancel_all()

    def make_report(self, seconds: float) -> DrainReport:
        """Say what became of the children and phases."""
        return self._children.report(seconds, () if self._phases is None else self._phases.undone)

    def cut(self) -> None:
        """Leave no time to the phases."""
        if self._phases is not None:
            self._phases.cut()


@asynccontextmanager
async def open_plan(
    plan: Plan, phases: Shutdown | None = None, *, handle_signals: bool = False
) -> AsyncGenerator[Supervisor]:
    """Open the supervisor that a plan describes."""
    # Made at entry, not at the call: the context of the children is the one in which the block is entered.
    supervisor = Supervisor(plan, phases)
    async with supervisor.hold(handle_signals=handle_signals):
        yield supervisor


def open_supervisor(
    children: Iterable[ChildSpec] = (),
    *,
    name: str = "supervisor",
    strategy: Strategy = Strategy.ONE_FOR_ONE,
    limit: RestartLimit = RestartLimit(),
    backoff: Wait | Backoff | None = None,
    auto_shutdown: AutoShutdown = AutoShutdown.NEVER,
    handle_signals: bool = False,
    phases: Iterable[Phase] = (),
) -> AbstractAsyncContextManager[Supervisor]:
    """Start children in order, keep them running by the rules, and stop them in reverse order.

    The block is entered when all children are ready, and is itself the youngest child: it is cancelled when the
    supervisor gives up, shuts itself down, or is asked to drain by a signal or by a supervisor around it; only a
    `wait_closed()` or `drain()` made by the block itself is let return first. `handle_signals`: the first SIGTERM or
    SIGINT drains, the second cuts all graces short, the third cancels everything at once; main thread only. `phases`
    run at shutdown, see `Phase`.

    Raises at once `TypeError` or `ValueError` for options that cannot be, `DuplicateChild` for a name used twice. Out
    of the block come, first match: a non-`Exception` (KeyboardInterrupt, SystemExit) as raised; `ChildStartError`;
    `RestartLimitExceeded`, in a group with the body's own error if there is one; the body's error; the surrounding
    cancellation; nothing.
    """
    plan = Plan(name, tuple(children), strategy, limit, backoff_of(backoff), auto_shutdown)
    return open_plan(plan, _shutdown(tuple(phases)), handle_signals=handle_signals)


def _shutdown(phases: tuple[Phase, ...]) -> Shutdown | None:
    if not phases:
        return None
    from supervisors._phases import Shutdown

    return Shutdown(phases)
