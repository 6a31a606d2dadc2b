"""What can go wrong with tasks and their manager, one flat class per fault."""

from __future__ import annotations


class TaskError(Exception):
    """Base class of what this package raises, and of the errors that it puts into results itself."""


class TasksClosed(TaskError):
    """The manager is draining, closed or not open yet: it takes no task. Nothing of this call was accepted."""


class TasksFull(TaskError):
    """So many tasks wait already that not all of this call have a place. None was accepted: try again later."""


class DuplicateTask(TaskError, ValueError):
    """A task of this id waits or runs already: take another id, or leave it out and have one made."""


class TaskCycle(TaskError, RuntimeError):
    """Whoever calls would wait for itself, for ever.

    A task that waits for others of its own manager holds its slot, which they may need; and a caller that holds a lock
    keeps its own tasks from it.
    """


class OutsideTask(TaskError, RuntimeError):
    """`progress()` and its like speak of the task in which they are called, and this was called in none."""


class TaskCancelled(TaskError):
    """The error in the result of a task that was cancelled, waiting or running."""


class TaskTimeout(TaskError, TimeoutError):
    """The error in the result of a task that ran longer than its timeout."""
