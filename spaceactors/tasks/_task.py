"""What is to be done, and what came of it: frozen values.

Pure: no Trio, no clock.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable
from enum import Enum
from typing import Any, Generic, TypeVar, TypeVarTuple, cast, final

from attrs import frozen

from spaceactors._options import Retry
from spaceactors.tasks._checks import claims_for, names_in
from supervisors import Priority
from supervisors._spec import check_choice, check_name, check_run, check_seconds

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
Ts = TypeVarTuple("Ts")


@final
class TaskStatus(Enum):
    """How a task ended; each ends in exactly one."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"


def agent_of(fn: object) -> str:
    """Return the name of a function, by which its tasks are counted if they name no agent."""
    inner = getattr(fn, "func", fn)  # of a partial
    return str(getattr(inner, "__name__", type(inner).__name__))


@final
@frozen(init=False, eq=False)
class Task(Generic[T_co]):
    """One piece of work for an agent: an async function and its arguments, and what it needs.

    Function and arguments come first, options by keyword: the shape of `nursery.start_soon`. A function that is not
    async blocks everybody while it runs: write `Task(trio.to_thread.run_sync, fn, ...)` for it.

        Task(review, "src/a.py", agent="reviewer", resources="file:src/a.py", shared="service:db", limits="llm")

    Args:
        fn: the async function. What it returns is the result's value; what it raises, the result's error.
        args: its arguments.
        agent: whose work it is, for cancelling and metrics; several tasks of one agent may run at once. The name of the
            function by default.
        id: what it is called among those that wait and run; made up from the agent if None.
        resources: what it locks for itself while it runs, by the names of `Locks`: `file:…`, `dir:…` (with all that is
            below), or any other text.
        shared: what it locks together with others who share it.
        limits: limits and rates of the manager of which it needs a token or a permit.
        timeout: seconds that it may run, all tries together; waiting does not count.
        priority: who comes first of those who wait; waiting makes up for it (see `open_task_manager(ageing=)`).
        retry: how often it is tried, after which errors. It keeps its locks and its slot between two tries.

    Raises:
        TypeError, ValueError: for an option that cannot be.

    """

    fn: Callable[..., Awaitable[T_co]]
    args: tuple[object, ...]
    agent: str
    id: str | None
    resources: tuple[str, ...]
    shared: tuple[str, ...]
    limits: tuple[str, ...]
    timeout: float | None
    priority: Priority
    retry: Retry | None

    def __init__(
        self,
        fn: Callable[[*Ts], Awaitable[T_co]],
        /,
        *args: *Ts,
        agent: str | None = None,
        id: str | None = None,  # noqa: A002 (the field's word)
        resources: str | Iterable[str] = (),
        shared: str | Iterable[str] = (),
        limits: str | Iterable[str] = (),
        timeout: float | None = None,
        priority: Priority = Priority.NORMAL,
        retry: Retry | None = None,
    ) -> None:
        _check_fn(fn)
        alone = names_in("resources", resources, "file:src/a.py")
        together = names_in("shared", shared, "service:db")
        claims_for(alone, together)
        _check_options(agent, id, timeout, priority, retry)
        needed = tuple(sorted(set(names_in("limits", limits, "llm"))))
        given = cast("tuple[object, ...]", args)
        name = agent_of(fn) if agent is None else agent
        init: Callable[..., None] = cast("Any", self).__attrs_init__
        init(fn, given, name, id, alone, together, needed, timeout, priority, retry)

    def __repr__(self) -> str:
        return f"<Task {self.id or agent_of(self.fn)!r} of {self.agent!r}>"


def _check_fn(fn: object) -> None:
    check_run(fn, "the function of a task")
    if inspect.isasyncgenfunction(fn):
        raise TypeError(f"a task has one result, and {agent_of(fn)} yields many: have it return them in a list")


def _check_options(agent: object, id_: object, timeout: object, priority: object, retry: object) -> None:
    for what, name in (("agent", agent), ("id", id_)):
        if name is not None:
            check_name(f"{what} of a task", name)
    if timeout is not None:
        check_seconds("timeout", timeout)
    check_choice("priority", Priority, priority)
    if retry is not None and not isinstance(retry, Retry):
        raise TypeError(f"retry must be a Retry such as Retry(3), or None, not {retry!r}")


def check_several(tasks: object, what: str) -> None:
    """Refuse what cannot be tasks to be taken one by one."""
    if isinstance(tasks, Task) or not isinstance(tasks, Iterable):
        raise TypeError(f"{what}() takes tasks in a list, such as {what}([Task(fn, ...)]), not {tasks!r}")


def tasks_in(tasks: Iterable[Task[T]], what: str) -> tuple[Task[T], ...]:
    """Return tasks that were given to `what`, checked."""
    check_several(tasks, what)
    batch = tuple(tasks)
    for task in batch:
        if not isinstance(cast("object", task), Task):
            raise TypeError(f"{what}() takes tasks such as Task(fn, ...), not {task!r}")
    return batch


@final
@frozen(init=False)
class Resources:
    """What a rule says that a task locks: names for itself, and others that it shares."""

    names: tuple[str, ...]
    shared: tuple[str, ...]

    def __init__(self, *names: str, shared: str | Iterable[str] = ()) -> None:
        alone = names_in("resources", names, "file:src/a.py")
        together = names_in("shared", shared, "service:db")
        claims_for(alone, together)
        init: Callable[..., None] = cast("Any", self).__attrs_init__
        init(alone, together)


@final
@frozen(eq=False)
class TaskResult(Generic[T_co]):
    """What came of one task.

    Times are seconds of Trio's clock (`TaskManager.date_of` gives their dates): when it was handed over, when it
    started (None: it never did), when it ended. `error` is None only for one that succeeded: it is what the function
    raised, `TaskTimeout`, or `TaskCancelled`. `confidence` and `evidence` are what the task said of itself, `attempts`
    how often its function was called.
    """

    id: str
    agent: str
    status: TaskStatus
    value: T_co | None
    error: Exception | None
    confidence: float | None
    evidence: tuple[object, ...]
    queued_at: float
    started_at: float | None
    ended_at: float
    attempts: int

    @property
    def success(self) -> bool:
        """Whether the function returned."""
        return self.status is TaskStatus.SUCCEEDED

    @property
    def waited(self) -> float:
        """For how many seconds it waited, until it started or ended."""
        return (self.ended_at if self.started_at is None else self.started_at) - self.queued_at

    @property
    def seconds(self) -> float:
        """For how many seconds it ran; 0.0 if it never started."""
        return 0.0 if self.started_at is None else self.ended_at - self.started_at

    def unwrap(self) -> T_co:
        """Return the value, or raise the error."""
        if self.error is not None:
            raise self.error
        return cast("T_co", self.value)
