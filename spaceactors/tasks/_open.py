"""How a manager of tasks is opened and closed: a pool with a child for each task that runs."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, cast

from spaceactors._actor import TurnLimits
from spaceactors.tasks._manager import ManagerPlan, TaskManager
from supervisors import ChildSpec, Limits, Locks, Restart, open_pool
from supervisors._budget import Budget
from supervisors._children import Child
from supervisors._decide import Origin
from supervisors._drain import current_signal, draining_by
from supervisors._line import AGEING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
    from contextlib import AbstractAsyncContextManager

    from spaceactors.tasks._waves import ResourceRule
    from supervisors import Limit, Pool, RateLimit


def open_task_manager(
    max_concurrent: int = 10,
    *,
    locks: Locks | None = None,
    limits: Limits | Iterable[Limit | RateLimit] = (),
    resources: ResourceRule | None = None,
    max_waiting: int | None = None,
    ageing: float = AGEING,
    stalled_after: float | None = 60.0,
    name: str = "tasks",
) -> AbstractAsyncContextManager[TaskManager]:
    """Open a manager that runs tasks: at most so many at once, and never two that conflict.

    When you would want it: agents have many independent jobs, some of which touch the same files, and one that fails is
    no reason to stop the others.

        async with open_task_manager(10) as manager:
            results = await manager.run([Task(review, path, resources=f"file:{path}") for path in paths])

    A task gets a slot in the moment in which it can have everything else too: its locks, and the tokens of its limits.
    Of those that can start, the highest priority comes first, then who came first; a task that conflicts with one that
    comes before it waits for that one, so that nobody is overtaken for ever.

    Leaving the block waits for all tasks; an exception in it cancels them. When a child of a supervisor around it is
    asked to drain, the manager takes no more tasks and finishes those it has, within the grace of that child. Each
    task runs as a child of its own, in the context in which the manager was opened. Nothing is kept of tasks that have
    ended but figures: results belong to who called `run`.

    Args:
        max_concurrent: how many tasks run at once.
        locks: who else uses the same files; None: nobody.
        limits: limits and rates that tasks name in `limits=`; shared with others, or a list for this manager alone.
        resources: a rule for tasks that name no resources: a function of a task that returns names, or `Resources`.
        max_waiting: how many tasks may wait; more are refused with `TasksFull`. None: no bound.
        ageing: how many seconds longer a task has to wait than one that is a step of priority higher, to go first.
            `math.inf`: priorities always count.
        stalled_after: seconds after which a running task that says nothing (`progress`, `heartbeat`) is told as stalled
            and goes on; None: never.
        name: for errors and the tree.

    Raises:
        TypeError, ValueError: an option cannot be.

    """
    plan = ManagerPlan(
        name=name,
        max_concurrent=max_concurrent,
        locks=_locks_of(locks),
        limits=_limits_of(limits),
        rule=resources,
        max_waiting=max_waiting,
        ageing=ageing,
        stalled_after=stalled_after,
    )
    return _opened(plan)


def _locks_of(locks: object) -> Locks:
    if locks is None:
        return Locks()
    if not isinstance(locks, Locks):
        raise TypeError(f"locks must be Locks() that others use too, or None, not {locks!r}")
    return locks


def _limits_of(limits: object) -> Limits:
    if isinstance(limits, TurnLimits):
        raise TypeError(
            "self.limits are for the turn: have the function of a task hold them (async with self.limits.hold('llm')),"
            " or give the actor Limits(...) by deps= and those to the manager"
        )
    return limits if isinstance(limits, Limits) else Limits(cast("Iterable[Limit | RateLimit]", limits))


@asynccontextmanager
async def _opened(plan: ManagerPlan) -> AsyncGenerator[TaskManager]:
    signal = current_signal()
    async with AsyncExitStack() as stack:
        # The pool is not to stop its children when the drain begins: what was accepted is finished first.
        with draining_by(None):
            pool = await stack.enter_async_context(open_pool(name=plan.name))
        launch = partial(_launch, pool)
        manager = TaskManager(plan, launch)
        manager._floor.signal = signal
        if plan.stalled_after is not None:
            launch("watch", manager._stalls.run)
        try:
            manager._open()
            with nullcontext() if signal is None else signal.calling(manager._begin_drain):
                yield manager
                await manager._finish()
        finally:
            manager._close()
            manager._ledger.events.close()


def _launch(pool: Pool, name: str, run: Callable[..., Awaitable[object]], *args: object) -> None:
    """Start a child without waiting until it is ready, as `start_child` does: nobody needs to know that of a task."""
    # One that listens for the drain gets no grace: when the pool stops, the time for finishing is over.
    spec = ChildSpec(name, run, *args, restart=Restart.TEMPORARY, shutdown=0.0)
    child = Child(spec, Budget(pool._plan.limit, None))
    pool._children.add(child)
    pool._children.launch(child, Origin.FIRST)
