"""What happens to tasks, as frozen values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

from supervisors._record import Record

if TYPE_CHECKING:
    from spaceactors.tasks._task import TaskResult


class TaskEvent(Record):
    """Base class of the events of one task: its id, whose it is, and when it was (seconds of Trio's clock)."""

    task: str
    agent: str
    at: float


@final
class TaskQueued(TaskEvent):
    """A task was accepted; from now on it waits."""


@final
class TaskStarted(TaskEvent):
    """A task has its locks, its tokens and a slot, and its function is called; it has `waited` so many seconds."""

    waited: float


@final
class TaskProgressed(TaskEvent):
    """A task told how far it is: the share `done`, a note, and how many seconds are left by that (None: not known)."""

    done: float
    note: str
    seconds_left: float | None


@final
class TaskRetried(TaskEvent):
    """A task's `attempt`-th try failed (counted from 1), and it is tried again after `delay` seconds."""

    error: Exception
    attempt: int
    delay: float


@final
class TaskStalled(TaskEvent):
    """A task has told nothing of itself for so many seconds, and goes on; told once until its next word."""

    seconds: float


@final
class TaskEnded(TaskEvent):
    """A task has ended, or was cancelled while it waited."""

    result: TaskResult[Any]
