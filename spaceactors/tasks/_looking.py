"""What a manager looks like at one moment. Sync, and bounded: of what waits the first are shown."""

from __future__ import annotations

from heapq import nsmallest
from typing import TYPE_CHECKING, cast

import trio

from spaceactors.tasks._figures import TasksStatus, WaitingTask, WaitsFor
from spaceactors.tasks._job import Job, Stage

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from spaceactors.tasks._floor import Floor
    from supervisors import Locks

# How many of those that wait are shown, and for how many each is shown to wait.
SHOWN_WAITING = 100
SHOWN_BEHIND = 30


def look(floor: Floor, locks: Locks, is_stalled: Mapping[str, bool]) -> TasksStatus:
    """Return what runs and what waits for what."""
    now = trio.current_time()
    waiting = [job for job in floor.jobs.values() if job not in floor.running]
    first = nsmallest(SHOWN_WAITING, waiting, key=lambda job: job.rank)
    others = _lock_holders(locks, first)
    return TasksStatus(
        running=tuple(job.shown(now, stalled=is_stalled[job.id]) for job in floor.running),
        waiting=tuple(_waiting(floor, job, others.get(job.id, ())) for job in first),
        running_count=len(floor.running),
        waiting_count=len(waiting),
    )


def _lock_holders(locks: Locks, jobs: Iterable[Job]) -> dict[str, tuple[str, ...]]:
    if not any(job.stage is Stage.IN_LINE and job.lacks is WaitsFor.LOCKS for job in jobs):
        return {}
    return {waiter.holder: waiter.waits_for for waiter in locks.waiting()}


def _waiting(floor: Floor, job: Job, holders: tuple[str, ...]) -> WaitingTask:
    why, behind = _reason(floor, job, holders)
    return WaitingTask(job.id, job.agent, job.priority, job.queued_at, why, behind)


def _reason(floor: Floor, job: Job, holders: tuple[str, ...]) -> tuple[WaitsFor, tuple[str, ...]]:
    if job.stage is Stage.IN_LINE:
        return job.lacks, {WaitsFor.LOCKS: holders, WaitsFor.LIMITS: job.group}.get(job.lacks, ())
    behind = tuple(cast("Job", other).id for other in floor.board.in_the_way(job, SHOWN_BEHIND))
    if behind:
        return WaitsFor.TASKS, behind
    return (WaitsFor.LIMITS, job.group) if job.group in floor.in_line else (WaitsFor.SLOT, ())
