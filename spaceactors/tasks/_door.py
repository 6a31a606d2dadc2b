"""What is checked before tasks are accepted: all of a call, or none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, final

import trio

from spaceactors.tasks._call import Call
from spaceactors.tasks._current import voices
from spaceactors.tasks._errors import DuplicateTask, TaskCycle, TasksClosed, TasksFull
from spaceactors.tasks._job import Job
from spaceactors.tasks._task import tasks_in
from spaceactors.tasks._waves import claims_by
from supervisors._lock_names import conflicts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from spaceactors.tasks._floor import Floor
    from spaceactors.tasks._task import Task
    from spaceactors.tasks._waves import ResourceRule
    from supervisors import Limits, Locks
    from supervisors._lock_names import Claim

T = TypeVar("T")


@final
class Door:
    """The way into one manager."""

    def __init__(
        self, floor: Floor, locks: Locks, limits: Limits, rule: ResourceRule | None, max_waiting: int | None, slots: int
    ) -> None:
        self.open = False
        self._floor = floor
        self._locks = locks
        self._limits = limits
        self._rule = rule
        self._max_waiting = max_waiting
        self._slots = slots
        # How many came so far, which is also the number of the latest; and how many ids were made up.
        self._came = 0
        self._named = 0

    def check_may_wait(self, what: str) -> None:
        """Refuse a task of this manager: it would wait in a slot for others that may need one."""
        for voice in voices():
            if voice.manager is self._floor and voice.waits_for_caller():
                raise TaskCycle(
                    f"{what}() was called in a task of the same manager, which keeps its slot while it waits for others"
                    " that need one: open a manager of its own for them, or start the call in a nursery that does not"
                    " end with the task"
                )

    def hand_over(self, tasks: Iterable[Task[T]], what: str) -> Call[T]:
        """Accept tasks, all or none."""
        self.check_may_wait(what)
        if not self.open:
            raise TasksClosed(f"{what}() was called while the manager is draining, closed or not open yet")
        batch = tasks_in(tasks, what)
        call = Call[T]()
        taken = {task.id for task in batch if task.id is not None}
        for task in batch:
            call.add(self._job(task, taken, call))
        self._check_ids(batch)
        self._check_room(len(batch))
        self._check_caller(call.jobs)
        self._floor.accept(call.jobs)
        return call

    def _job(self, task: Task[T], taken: set[str], call: Call[T]) -> Job:
        self._came += 1
        id_ = self._new_id(task.agent, taken) if task.id is None else task.id
        job = Job(task, id_, claims_by(task, self._rule), self._came, call.ended)
        if task.limits:
            lines, rates = self._limits._in_order(task.limits)
            job.tokens = tuple(line.limit.name for line in lines)
            job.permits = tuple(rate.name for rate in rates)
        return job

    def _new_id(self, agent: str, taken: set[str]) -> str:
        while True:
            self._named += 1
            id_ = f"{agent}-{self._named}"
            if id_ not in taken and id_ not in self._floor.jobs:
                taken.add(id_)
                return id_

    def _check_ids(self, batch: tuple[Task[Any], ...]) -> None:
        seen = set[str]()
        for task in batch:
            if task.id is None:
                continue
            if task.id in seen or task.id in self._floor.jobs:
                where = "is in this call twice" if task.id in seen else "waits or runs already"
                raise DuplicateTask(f"a task {task.id!r} {where}: give it another id, or none to have one made up")
            seen.add(task.id)

    def _check_room(self, coming: int) -> None:
        if self._max_waiting is None:
            return
        waiting, room = self._floor.waiting, self._max_waiting + self._slots - len(self._floor.jobs)
        if coming > room:
            raise TasksFull(
                f"{waiting} tasks wait, and {coming} more do not fit (max_waiting={self._max_waiting}): try again"
                " later, or hand over fewer at a time, such as by run_batches()"
            )

    def _check_caller(self, jobs: list[Job]) -> None:
        """Refuse tasks that need what the caller holds while it waits for them."""
        table, caller = self._locks._table, trio.lowlevel.current_task()
        if caller not in table._holding:
            return
        held = [claim for request in table.held if request.owner is caller for claim in request.claims]
        for job in jobs:
            met = _first_conflict(job.claims, held)
            if met is not None:
                raise TaskCycle(
                    f"task {job.id!r} needs the lock {met[0].name!r}, and who waits for it holds {met[1].name!r}: leave"
                    " that hold() before, or do the work in it"
                )


def _first_conflict(claims: Iterable[Claim], held: Iterable[Claim]) -> tuple[Claim, Claim] | None:
    return next(((one, other) for one in claims for other in held if conflicts(one, other)), None)
