"""What a store gives for something that it was asked to do and will do in its turn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from outcome import Error, Value
from trio.lowlevel import (
    Abort,
    cancel_shielded_checkpoint,
    checkpoint,
    current_task,
    reschedule,
    wait_task_rescheduled,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio.lowlevel import Task

T = TypeVar("T")


class Receipt(Generic[T]):
    """The promise of a store; kept or broken in the Trio thread, once."""

    # A message costs two of them: what has its usual value is the class's own, and there are no lists before there are
    # two who want to know.

    # Whether it is known what became of it.
    done = False
    # What it is about, for whoever is called.
    about: Any = None
    error: Exception | None = None
    value: T | None = None
    # Who wants to be called, and who waits: the first, and all others.
    _call: Callable[[Receipt[T]], object] | None = None
    _calls: tuple[Callable[[Receipt[T]], object], ...] = ()
    _task: Task | None = None
    _tasks: tuple[Task, ...] = ()

    def then(self, call: Callable[[Receipt[T]], object]) -> None:
        """Have `call` called when it is known, before those who wait go on; at once if it is known already."""
        if self.done:
            call(self)
        elif self._call is None:
            self._call = call
        else:
            self._calls = (*self._calls, call)

    def finish(self, value: T | None = None, error: Exception | None = None) -> None:
        """Tell all who want to know."""
        self.done = True
        if value is not None or error is not None:
            self.value, self.error = value, error
        call = self._call
        if call is not None:
            self._call = None
            call(self)
            for one in self._calls:
                one(self)
            self._calls = ()
        task = self._task
        if task is not None:
            self._task = None
            if error is None and value is None:
                reschedule(task)
            else:
                reschedule(task, self._outcome())
        if self._tasks:
            tasks, self._tasks = self._tasks, ()
            for task in tasks:
                reschedule(task, self._outcome())

    async def wait_known(self) -> T:
        """Wait until it is known, whatever is cancelled: cheaper than a shield. Raises what went wrong."""
        if self.done:
            await cancel_shielded_checkpoint()
            known: T = self._outcome().unwrap()
            return known
        self._enlist()
        result: T = await wait_task_rescheduled(_not_now)
        return result

    async def wait(self) -> T:
        """Wait until it is known; raises what went wrong. Who is cancelled does not know."""
        if self.done:
            await checkpoint()
            known: T = self._outcome().unwrap()
            return known
        if self._task is None:
            self._task = current_task()
            first: T = await wait_task_rescheduled(self.leave)
            return first
        task = self._enlist()

        def abort(_: object) -> Abort:
            self._tasks = tuple(one for one in self._tasks if one is not task)
            return Abort.SUCCEEDED

        result: T = await wait_task_rescheduled(abort)
        return result

    def enlist_first(self, task: Task) -> bool:
        """Note the first who waits, as `wait` does; tell whether it is: then it sleeps until it is woken, or leaves."""
        if self.done or self._task is not None:
            return False
        self._task = task
        return True

    def leave(self, _: object) -> Abort:
        """Forget the first who waits, who is cancelled."""
        # Whoever comes next is the first again; the others keep their places.
        self._task = None
        return Abort.SUCCEEDED

    def _enlist(self) -> Task:
        task = current_task()
        if self._task is None:
            self._task = task
        else:
            self._tasks = (*self._tasks, task)
        return task

    def _outcome(self) -> Any:
        return Value(self.value) if self.error is None else Error(another(self.error))


def _not_now(_: object) -> Abort:
    return Abort.FAILED


def another(error: Exception) -> Exception:
    """Return an error for one more task: a traceback belongs to one."""
    copy = type(error)(*error.args)
    copy.__cause__ = error.__cause__ or error
    return copy
