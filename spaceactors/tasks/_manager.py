"""The manager of tasks: what `open_task_manager` yields."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import islice
from math import inf
from time import time
from typing import TYPE_CHECKING, Any, TypeVar, final

import trio
from attrs import frozen
from trio.lowlevel import enable_ki_protection

from spaceactors.tasks._checks import names_in
from spaceactors.tasks._current import voices
from spaceactors.tasks._door import Door
from spaceactors.tasks._floor import Floor
from spaceactors.tasks._ledger import Ledger
from spaceactors.tasks._looking import look
from spaceactors.tasks._stalls import StallWatch
from spaceactors.tasks._task import TaskStatus, check_several
from supervisors._checks import check_whole
from supervisors._spec import check_name, check_seconds, check_timeout

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
    from contextlib import AbstractAsyncContextManager

    from spaceactors.tasks._call import Call
    from spaceactors.tasks._events import TaskEvent
    from spaceactors.tasks._figures import TaskMetrics, TasksProgress, TasksStatus
    from spaceactors.tasks._task import Task, TaskResult
    from spaceactors.tasks._waves import ResourceRule
    from supervisors import EventsMissed, Limits, Locks

T = TypeVar("T")


@final
@frozen
class ManagerPlan:
    """The rules of a manager, checked."""

    name: str
    max_concurrent: int
    locks: Locks
    limits: Limits
    rule: ResourceRule | None
    max_waiting: int | None
    ageing: float
    stalled_after: float | None

    def __attrs_post_init__(self) -> None:
        check_name("name", self.name)
        check_whole("max_concurrent", self.max_concurrent, least=1)
        if self.max_waiting is not None:
            check_whole("max_waiting", self.max_waiting, least=0)
        check_seconds("ageing", self.ageing)
        if self.stalled_after is not None:
            check_seconds("stalled_after", self.stalled_after)
        if self.rule is not None and not callable(self.rule):
            raise TypeError(f"resources must be a function that gets a task and returns names, not {self.rule!r}")


@final
class TaskManager:
    """Runs tasks, so many at once, and none beside one that it conflicts with: what `open_task_manager` yields."""

    def __init__(self, plan: ManagerPlan, launch: Callable[..., object]) -> None:
        self._plan = plan
        self._ledger = Ledger()
        self._floor = Floor(plan.max_concurrent, plan.ageing, plan.locks, plan.limits, self._ledger, launch)
        silent = inf if plan.stalled_after is None else plan.stalled_after
        self._stalls = self._floor.stalls = StallWatch(silent, self._floor.running, self._ledger)
        self._door = Door(self._floor, plan.locks, plan.limits, plan.rule, plan.max_waiting, plan.max_concurrent)
        # By how much the wall clock was ahead of Trio's when this was made.
        self._ahead = time() - trio.current_time()

    def __repr__(self) -> str:
        running, all_ = len(self._floor.running), len(self._floor.jobs)
        return f"<TaskManager {self._plan.name!r}, {running} tasks run, {all_ - running} wait>"

    # ---- running

    @enable_ki_protection
    async def run(self, tasks: Iterable[Task[T]]) -> list[TaskResult[T]]:
        """Run tasks, and return their results in the same order when all have ended.

        What a task raises is in its result, and comes out of here never. All are accepted together, or none. If the
        call is cancelled its tasks are too; it ends when they have ended.

        Raises:
            TasksClosed: the manager takes no tasks any more.
            TasksFull: so many do not fit beside those that wait.
            DuplicateTask: an id is that of another task which has not ended.
            TaskCycle: the caller is a task of this manager, or holds a lock that one of these needs.
            UnknownLimit: the manager has no limit of a name.
            TypeError, ValueError: something is no task, or what the rule for resources returned is no name.

        """
        call = self._door.hand_over(tasks, "run")
        try:
            return await call.results()
        finally:
            await self._take_back(call)

    @asynccontextmanager
    @enable_ki_protection
    async def as_completed(self, tasks: Iterable[Task[T]]) -> AsyncGenerator[AsyncIterator[TaskResult[T]]]:
        """Run tasks, and give their results as they come.

            async with manager.as_completed(tasks) as results:
                async for result in results:
                    ...

        Who leaves the block before the last result cancels the tasks that have not ended. Raises what `run` raises.
        """
        call = self._door.hand_over(tasks, "as_completed")
        try:
            yield call
        finally:
            await self._take_back(call)

    async def run_batches(self, tasks: Iterable[Task[T]], size: int, /) -> list[list[TaskResult[T]]]:
        """Run so many tasks at a time, each batch when all of the one before have ended; returns results by batch.

        The tasks are taken from the iterable batch by batch. Raises what `run` raises; the batches before have run.
        """
        check_several(tasks, "run_batches")
        check_whole("the size of a batch", size, least=1)
        self._door.check_may_wait("run_batches")
        coming = iter(tasks)
        results = list[list["TaskResult[T]"]]()
        while batch := list(islice(coming, size)):
            results.append(await self.run(batch))
        await trio.lowlevel.checkpoint()
        return results

    async def _take_back(self, call: Call[Any]) -> None:
        """End what a call has left behind, and wait for that, whatever comes."""
        left = [job for job in call.jobs if job.status is None]
        if left:
            self._floor.cancel(left, "the call that handed it over has ended")
            with trio.CancelScope(shield=True):
                await self._floor.wait_ended(left)

    async def cancel(self, *, agent_ids: str | Iterable[str] = (), task_ids: str | Iterable[str] = ()) -> int:
        """Cancel all tasks of some agents, and some tasks by id, and wait until they (but for the caller) have ended.

        Returns:
            How many were really cancelled, while they waited or ran, as their results say. One that ends in another
            way meanwhile does not count, nor does an id that no task has any more.

        Raises:
            TypeError: nothing is named.

        """
        agents, ids = set(names_in("agent_ids", agent_ids, "reviewer")), set(names_in("task_ids", task_ids, "review-1"))
        if not agents and not ids:
            raise TypeError('cancel() needs to know what: cancel(agent_ids="reviewer"), or cancel(task_ids=["a", "b"])')
        wanted = [job for job in self._floor.jobs.values() if job.agent in agents or job.id in ids]
        self._floor.cancel(wanted, "cancel() was called")
        # A task that cancels itself, and shields that, would wait for its own end.
        own = {voice.job for voice in voices() if voice.waits_for_caller()}
        await self._floor.wait_ended([job for job in wanted if job not in own])
        return sum(job.status is TaskStatus.CANCELLED for job in wanted)

    async def wait_all(self, timeout: float | None = None) -> bool:
        """Wait until no task waits or runs; returns False if that takes longer than `timeout` seconds."""
        check_timeout(timeout)
        self._door.check_may_wait("wait_all")
        with trio.move_on_after(inf if timeout is None else timeout):
            await self._floor.wait_idle()
        return not self._floor.jobs

    # ---- looking

    def status(self) -> TasksStatus:
        """Return what runs, and of what waits the first hundred, with for whom they wait."""
        now = trio.current_time()
        stalled = {job.id: self._stalls.is_stalled(job, now) for job in self._floor.running}
        return look(self._floor, self._plan.locks, stalled)

    def progress(self) -> TasksProgress:
        """Return how far all tasks are together, since there last was none."""
        return self._ledger.progress(self._floor.running)

    def metrics(self) -> TaskMetrics:
        """Return the figures of tasks that have ended, overall and by agent."""
        return self._ledger.figures.metrics(trio.current_time())

    def events(self) -> AbstractAsyncContextManager[AsyncIterator[TaskEvent | EventsMissed]]:
        """Read what happens from now on: `async with manager.events() as events: async for event in events`.

        A reader that is more than 1,024 events behind loses the oldest, and is told with `EventsMissed`.
        """
        return self._ledger.events.subscribe()

    def date_of(self, at: float, /) -> datetime:
        """Return the date of a moment of Trio's clock, such as the times in a result.

        By one reading of the wall clock, when the manager was opened: dates are as far apart as the moments are.
        """
        return datetime.fromtimestamp(at + self._ahead, UTC)

    # ---- its life

    def _open(self) -> None:
        self._door.open = True

    def _begin_drain(self) -> None:
        """Take no tasks any more; those that were accepted go on."""
        self._door.open = False

    async def _finish(self) -> None:
        self._begin_drain()
        await self._floor.wait_idle()

    def _close(self) -> None:
        self._begin_drain()
        self._floor.close("its manager was closed before it had started")
