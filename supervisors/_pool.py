"""The pool: children that come and go, each with a restart budget of its own."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVarTuple, final

import trio
from attrs import Attribute, field, frozen

from supervisors._block import Block
from supervisors._budget import Budget, GiveUp, Restarting
from supervisors._children import Child, ChildCounts, ChildInfo, Children
from supervisors._decide import Again, Exit, ExitKind, Origin
from supervisors._errors import ChildNotStopped, PoolFull, RestartLimitExceeded
from supervisors._events import ChildQuarantined, ChildRestarting, ChildRevived, LimitExceeded
from supervisors._spec import (
    Backoff,
    ChildSpec,
    ChildStatus,
    OnLimit,
    Restart,
    RestartLimit,
    Wait,
    backoff_of,
    check_choice,
    check_limit,
    check_name,
    check_timeout,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from supervisors._events import EventsMissed, SupervisorEvent
    from supervisors._report import DrainReport
    from supervisors._running import Running
    from supervisors._tree import Branch, Tree

Ts = TypeVarTuple("Ts")


def _is_size(_plan: object, _attribute: Attribute[Any], value: object) -> None:
    if value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool):
        msg = f"max_children must be a whole number or None, not {value!r}"
        raise TypeError(msg)
    if value < 1:
        msg = f"max_children must be 1 or more, or None for no bound, not {value!r}"
        raise ValueError(msg)


@frozen
class _PoolPlan:
    """The rules of a pool."""

    name: str
    max_children: int | None = field(validator=_is_size)
    limit: RestartLimit
    backoff: Backoff | None
    on_limit: OnLimit

    def __attrs_post_init__(self) -> None:
        check_name("name", self.name)
        check_limit(self.limit)
        check_choice("on_limit", OnLimit, self.on_limit)


@final
class Pool:
    """An open pool: what `open_pool` yields."""

    def __init__(self, plan: _PoolPlan) -> None:
        self._plan = plan
        self._block = Block(plan.name, self)
        self._children = Children(self._block, self._ended)
        # How many names were made up so far.
        self._named = 0

    def __repr__(self) -> str:
        return f"<Pool {self._plan.name!r}, {self._block.stage.value}, {len(self._children.by_name)} children>"

    # ---- looking

    @property
    def report(self) -> DrainReport | None:
        """What the drain achieved; None until it has ended."""
        return self._block.report

    def child(self, name: str, /) -> ChildInfo:
        """Return what is known of one child. Raises `UnknownChild`, also for one that has ended and was forgotten."""
        return self._children.get(name).info()

    def children(self) -> tuple[ChildInfo, ...]:
        """Return what is known of all children, in start order."""
        return self._children.infos()

    def counts(self) -> ChildCounts:
        """Return how many children there are and run."""
        return self._children.counts()

    def tree(self) -> Tree:
        """Return this pool, its children, and theirs, as data; `str()` of it is a picture."""
        from supervisors._tree import grow

        return grow(self)

    def events(self) -> AbstractAsyncContextManager[AsyncIterator[SupervisorEvent | EventsMissed]]:
        """Read what happens from now on: `async with pool.events() as events: async for event in events`.

        A reader that is more than 1,024 events behind loses the oldest, and is told with `EventsMissed`.
        """
        return self._block.listen()

    def branch(self) -> Branch:
        """Return this level of the tree."""
        from supervisors._tree import Branch

        return Branch(self._plan.name, "pool", self._block.stage.value, self._children.infos())

    # ---- calls

    async def start_child(
        self,
        run: Callable[[*Ts], Awaitable[object]],
        /,
        *args: *Ts,
        name: str | None = None,
        restart: Restart = Restart.TRANSIENT,
        shutdown: float = 5.0,
    ) -> ChildInfo:
        """Start a child; returns when it is ready.

        Its place is held while it runs, backs off or is quarantined; once it is not to be restarted, the pool forgets
        it and its arguments. Raises `PoolFull` at once, `ChildStartError` (and leaves nothing) when it fails first or
        is stopped meanwhile, `DuplicateChild`, or `SupervisorClosed`.
        """
        spec = ChildSpec(self._new_name(run) if name is None else name, run, *args, restart=restart, shutdown=shutdown)
        self._block.check_open()
        self._children.check_free(spec.name)
        self._check_room()
        child = Child(spec, Budget(self._plan.limit, self._plan.backoff))
        self._children.add(child)
        await self._children.start(child, Origin.FIRST)
        return child.info()

    async def stop_child(self, name: str, /) -> None:
        """Stop a child and forget it; returns when it has ended, or is known to be unstoppable.

        Cancelling the call does not cancel the stopping. Raises `UnknownChild`, or `SupervisorClosed` after the end.
        """
        self._block.check_not_closed()
        child = self._children.get(name)
        await self._children.stop(child)
        if child.running is None:
            self._children.forget(child)

    async def revive_child(self, name: str, /) -> None:
        """Start a quarantined child again, with a fresh budget; returns when it is ready.

        Raises `ChildNotStopped` for one that is not quarantined, `ChildStartError` (and it stays quarantined) when it
        fails first, `UnknownChild`, or `SupervisorClosed`.
        """
        self._block.check_open()
        child = self._children.get(name)
        if child.status is not ChildStatus.QUARANTINED:
            msg = f"child {name!r} is {child.status.value}: only a quarantined child is revived"
            raise ChildNotStopped(msg)
        child.budget.reset()
        self._block.publish(ChildRevived, child.name, child.incarnation)
        await self._children.start(child, Origin.MANUAL)

    async def drain(self, timeout: float | None = None) -> DrainReport:
        """Stop all children at the same time, within `timeout` seconds, and report; the body goes on.

        At the deadline whoever still runs is cancelled, and the report comes even if something does not end. A second
        caller gets the same report, and may bring the deadline forward.
        """
        check_timeout(timeout)
        return await self._block.drain(timeout)

    async def wait_closed(self) -> DrainReport:
        """Wait until all children have been stopped, for whatever reason, and return the report."""
        return await self._block.wait_closed()

    def _new_name(self, run: object) -> str:
        stem = getattr(run, "__name__", type(run).__name__)
        while True:
            self._named += 1
            name = f"{stem}-{self._named}"
            if name not in self._children.by_name:
                return name

    def _check_room(self) -> None:
        most = self._plan.max_children
        if most is not None and len(self._children.by_name) >= most:
            msg = f"pool {self._plan.name!r} is full with {most} children: try again when one has left"
            raise PoolFull(msg)

    # ---- the end of an incarnation

    def _ended(self, child: Child, running: Running, exit_: Exit) -> None:
        verdict = child.verdict(exit_.kind, ready=running.ready)
        if exit_.kind is ExitKind.FATAL and exit_.error is not None:
            self._children.forget(child)
            self._block.die(exit_.error)
        elif self._block.closing:
            self._children.forget(child)
        elif child.origin is Origin.MANUAL and (child.abandoned or exit_.kind is ExitKind.FAILED_START):
            child.status = ChildStatus.QUARANTINED  # a revival that failed or was cancelled
        elif isinstance(verdict, Again):
            self._restart(child, exit_)
        else:
            self._children.forget(child)

    def _restart(self, child: Child, exit_: Exit) -> None:
        try:
            decision = child.budget.after_crash(exit_.error, trio.current_time())
        except Exception as broken:  # the wait strategy is the user's code
            self._children.forget(child)
            self._block.give_up(broken)
            return
        match decision:
            case Restarting(delay, attempt, restarts):
                self._block.publish(ChildRestarting, child.name, child.incarnation, delay, attempt, restarts)
                self._children.launch_after(child, delay)
            case GiveUp():
                self._over_limit(child, exit_, decision)

    def _over_limit(self, child: Child, exit_: Exit, decision: GiveUp) -> None:
        if self._plan.on_limit is OnLimit.QUARANTINE:
            child.status = ChildStatus.QUARANTINED
            self._block.publish(ChildQuarantined, child.name, child.incarnation, exit_.error, decision.history)
            return
        self._children.forget(child)
        self._block.publish(LimitExceeded, child.name, child.incarnation, exit_.error, decision.history)
        error = RestartLimitExceeded(self._plan.name, child.name, decision.history)
        error.__cause__ = exit_.error
        self._block.give_up(error)

    # ---- what the block asks for

    def hold(self) -> AbstractAsyncContextManager[Pool]:
        """Be open for one block."""
        return self._block.hold(self, trio.lowlevel.checkpoint)

    def opened(self) -> None:
        """Nothing has waited for this."""

    def give_up_waiting(self) -> None:
        """Drop all planned restarts."""
        self._children.give_up_waiting()

    async def stop_children(self, overall: trio.CancelScope) -> None:
        """Stop all children at the same time."""
        with overall:
            stopping = [self._children.ask(child) for child in tuple(self._children.by_name.values())]
            for running in stopping:
                if running is not None:
                    await running.wait_settled()
        self._children.cancel_all()
        await self._children.cancel_rest()

    def cancel_children(self) -> None:
        """Cancel all children at this moment."""
        self._children.cancel_all()

    def cut(self) -> None:
        """Nothing else is done at the end."""

    def make_report(self, seconds: float) -> DrainReport:
        """Say what became of the children."""
        return self._children.report(seconds)


@asynccontextmanager
async def _open(plan: _PoolPlan) -> AsyncGenerator[Pool]:
    # Made at entry, not at the call: the context of the block is the one in which it is entered.
    pool = Pool(plan)
    async with pool.hold():
        yield pool


def open_pool(
    *,
    name: str = "pool",
    max_children: int | None = None,
    limit: RestartLimit = RestartLimit(),
    backoff: Wait | Backoff | None = None,
    on_limit: OnLimit = OnLimit.QUARANTINE,
) -> AbstractAsyncContextManager[Pool]:
    """Open a pool for children that come and go: connections, jobs, sessions.

    Each child has a restart budget of its own; over it, a child is quarantined, or the whole pool gives up with
    `RestartLimitExceeded` (`on_limit`). All stop at the same time at the end. The block is cancelled when the pool
    gives up or is asked to drain by a supervisor around it; what comes out of it is told at `open_supervisor`.
    """
    plan = _PoolPlan(name, max_children, limit, backoff_of(backoff), on_limit)
    return _open(plan)
