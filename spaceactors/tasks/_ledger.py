"""What a manager remembers and tells of its tasks: figures, how far all are, and events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

import trio

from spaceactors.tasks._eta import seconds_left
from spaceactors.tasks._events import TaskEnded, TaskEvent, TaskProgressed, TaskQueued, TaskRetried, TaskStarted
from spaceactors.tasks._figures import AllFigures, TasksProgress
from supervisors._events import Broadcast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from spaceactors.tasks._job import Job
    from spaceactors.tasks._task import TaskResult


@final
class Ledger:
    """The record of one manager's tasks."""

    def __init__(self) -> None:
        self.events: Broadcast[TaskEvent] = Broadcast()
        self.figures = AllFigures()
        # Since when there was always something to do, how much was handed over since, and how much of that has ended.
        self._began = 0.0
        self._total = 0
        self._ended = 0

    def publish(self, make: Callable[..., TaskEvent], job: Job, *args: Any) -> None:
        """Tell an event of a task, if anybody listens."""
        if self.events.listened:
            self.events.publish(make(job.id, job.agent, trio.current_time(), *args))

    def queued(self, job: Job, *, first: bool) -> None:
        """Note that a task was accepted; `first`: there was none before."""
        if first:
            self._began, self._total, self._ended = job.queued_at, 0, 0
        self._total += 1
        self.publish(TaskQueued, job)

    def started(self, job: Job) -> None:
        """Note that a task runs."""
        now = trio.current_time()
        job.begin(now)
        self.publish(TaskStarted, job, now - job.queued_at)

    def progressed(self, job: Job, done: float, note: str) -> None:
        """Note how far a task is."""
        now = trio.current_time()
        job.told(done, note, now)
        self.publish(TaskProgressed, job, done, note, job.seconds_left(now))

    def retried(self, job: Job, error: Exception, delay: float) -> None:
        """Note that a task is tried again."""
        job.done, job.note = 0.0, ""
        job.beat(trio.current_time())
        self.publish(TaskRetried, job, error, job.attempts, delay)

    def ended(self, job: Job, result: TaskResult[Any]) -> None:
        """Note how a task ended."""
        self._ended += 1
        self.figures.add(result)
        self.publish(TaskEnded, job, result)

    def progress(self, running: Iterable[Job]) -> TasksProgress:
        """Return how far all tasks are together."""
        if not self._total:
            return TasksProgress(0.0, 0, 0, None)
        now = trio.current_time()
        done = min(1.0, (self._ended + sum(job.done for job in running)) / self._total)
        return TasksProgress(done, self._total, self._ended, seconds_left(self._began, now, done, now))
