"""The call of a task's function: its tries, its time, and how it ended."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, cast, final

import trio
from attrs import frozen
from trio.lowlevel import disable_ki_protection

from spaceactors.tasks._errors import TaskCancelled, TaskTimeout
from spaceactors.tasks._task import TaskStatus, agent_of
from supervisors._backoff import delay_of
from supervisors._failures import leaves_of
from supervisors._spec import backoff_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from spaceactors._options import Retry
    from spaceactors.tasks._job import Job
    from spaceactors.tasks._task import Task


@final
@frozen
class Outcome:
    """How a task ended."""

    status: TaskStatus
    value: Any = None
    error: Exception | None = None


def cancelled(why: str | None) -> Outcome:
    """Return the outcome of a task that was cancelled."""
    return Outcome(TaskStatus.CANCELLED, error=TaskCancelled(why or "its manager was closed before it had ended"))


def failed(error: Exception) -> Outcome:
    """Return the outcome of a task that raised."""
    return Outcome(TaskStatus.FAILED, error=unwrapped(error))


def unwrapped(error: Exception) -> Exception:
    """Return the only error in a group of one, however deep; any other error as it is."""
    if not isinstance(error, ExceptionGroup):
        return error
    group = cast("ExceptionGroup[Exception]", error)
    errors = list(group.exceptions)
    return unwrapped(errors[0]) if len(errors) == 1 else group


async def perform(job: Job, retried: Callable[[Job, Exception, float], object]) -> Outcome:
    """Call the function of a task, as often as it may be tried, and tell how it ended.

    A cancellation from outside comes out, and what concerns the whole program.
    """
    timeout = job.task.timeout
    try:
        if timeout is None:
            return Outcome(TaskStatus.SUCCEEDED, await _tried(job, retried))
        with trio.CancelScope(deadline=trio.current_time() + timeout):
            return Outcome(TaskStatus.SUCCEEDED, await _tried(job, retried))
    except Exception as error:
        return failed(error)
    return Outcome(TaskStatus.TIMED_OUT, error=TaskTimeout(f"task {job.id!r} ran longer than its timeout, {timeout} s"))


async def _tried(job: Job, retried: Callable[[Job, Exception, float], object]) -> Any:
    while True:
        job.begin_try(trio.current_time())
        try:
            return await _called(job.task)
        except Exception as error:
            retry = job.task.retry
            if retry is None or job.attempts >= retry.attempts or not _is_tried_again(error, retry):
                raise
            failure = unwrapped(error)
        delay = delay_of(None if retry.wait is None else backoff_of(retry.wait), job.attempts, failure)
        retried(job, failure, delay)
        del failure  # or it and this frame would keep each other
        await trio.sleep(delay)


def _is_tried_again(error: Exception, retry: Retry) -> bool:
    # Of a group each error has to be one after which another try makes sense.
    return all(isinstance(leaf, retry.on) for leaf in leaves_of(error))


@disable_ki_protection
async def _called(task: Task[Any]) -> Any:
    value = cast("object", task.fn(*task.args))
    if inspect.isawaitable(value):
        return await value
    name = agent_of(task.fn)
    raise TypeError(
        f"{name} is not async, so it kept everybody waiting while it ran: write"
        f" Task(trio.to_thread.run_sync, {name}, ...), which runs it in a thread"
    )
