"""The circuit breaker at work: calls that begin and end, in many tasks at once."""

from __future__ import annotations

import inspect
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, final

import trio
from attrs import define
from trio.lowlevel import Task, current_task, enable_ki_protection

from supervisors._async_only import AsyncOnly
from supervisors._capacity import CircuitOpen
from supervisors._checks import check_span, check_whole
from supervisors._circuit import (
    Asked,
    Circuit,
    CircuitRules,
    CircuitState,
    Ended,
    Failed,
    Succeeded,
    Tripped,
    WasReset,
    admits,
    decide,
    on_clock,
    opens_at,
    state_at,
)
from supervisors._events import Broadcast
from supervisors._failures import failure_test, told
from supervisors._record import Record
from supervisors._refusal import refusal, seconds_until
from supervisors._spec import check_name

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

    from supervisors._circuit import CircuitEvent
    from supervisors._events import EventsMissed
    from supervisors._failures import Counts


P = ParamSpec("P")
T = TypeVar("T")


@final
class CircuitChanged(Record):
    """A breaker went from one state to another at a time (seconds of Trio's clock); `cause` is what opened it."""

    breaker: str
    at: float
    before: CircuitState
    after: CircuitState
    cause: str


# The generation of what is only a part of a call: no circuit ever has it, so its end is not heard.
PART = -1


@define(eq=False)
class _Call:
    """A call that was let through, and how many blocks of one task are inside it."""

    generation: int
    depth: int = 1


@final
class CircuitBreaker(AsyncOnly):
    """Holds calls to a service back for a while after it has failed again and again.

    While a service is down each call to it waits for a timeout and holds its tokens for that long; a breaker answers
    at once instead, and gives the service time to get up.

        breaker = CircuitBreaker("anthropic", timeout=30.0, counts=(ConnectionError, trio.TooSlowError))

        async with breaker:
            answer = await ask_anthropic(prompt)

        @breaker
        async def ask_anthropic(prompt: str) -> str: ...

    Closed, it lets all calls through; `failure_threshold` failures in a row open it. Open, it refuses with
    `CircuitOpen`, whose `retry_after` tells the seconds to go. After `timeout` seconds it is half open: at most
    `half_open_max_calls` at once go through. `success_threshold` successes close it, one failure opens it again.

    A call that is cancelled, and an error that does not count, are neither failure nor success: they say nothing about
    the service. What a call says that began before the last change of the state is not heard. One breaker serves any
    number of tasks; a block inside a block of the same breaker in the same task is a part of it, and only the end of
    the outer one counts. In a child task it is a call of its own, but where the breaker would refuse it only because
    the outer one is the trial: then it is a part of that.

    Args:
        name: shown in errors and events.
        failure_threshold: failures in a row that open it.
        success_threshold: successes while half open that close it.
        timeout: seconds that it stays open. A trial call that hangs keeps it half open: bound it, as with
            `trio.fail_after` inside the block.
        half_open_max_calls: how many calls at once try whether the service is back.
        counts: what is a failure: an exception class, several, or a function of the exception. An exception group
            counts if something in it does. Errors of our own limits (`CapacityError`) are no failure of the service:
            they count only where their class is named, or where a function says so.
    """

    def __init__(
        self,
        name: str,
        *,
        failure_threshold: int = 5,
        success_threshold: int = 2,
        timeout: float = 30.0,
        half_open_max_calls: int = 1,
        counts: Counts = Exception,
    ) -> None:
        check_name("the name of a breaker", name)
        of = f"of breaker {name!r}"
        self._name = name
        self._rules = CircuitRules(
            check_whole(f"failure_threshold {of}", failure_threshold, least=1),
            check_whole(f"success_threshold {of}", success_threshold, least=1),
            check_span(f"timeout {of}", timeout),
            check_whole(f"half_open_max_calls {of}", half_open_max_calls, least=1),
        )
        self._is_failure = failure_test(f"counts {of}", counts)
        self._circuit = Circuit()
        # A context manager that many tasks share is not told, at an exit, to which entry it belongs; the task knows.
        self._calls: dict[Task, _Call] = {}
        self._changes: Broadcast[CircuitChanged] = Broadcast()

    def __repr__(self) -> str:
        return f"<CircuitBreaker {self._name!r}, {self._circuit.state.value}>"

    # ---- looking

    @property
    def name(self) -> str:
        """Its name."""
        return self._name

    @property
    def state(self) -> CircuitState:
        """Its state, as the next call will find it. Ask it in a Trio task."""
        return state_at(self._circuit, self._now())

    @property
    def retry_after(self) -> float:
        """Seconds until a call may be let through, 0.0 if one is now. Ask it in a Trio task."""
        now = self._now()
        if admits(self._rules, self._circuit, now):
            return 0.0
        return seconds_until(now, opens_at(self._rules, self._circuit, now))

    def events(self) -> AbstractAsyncContextManager[AsyncIterator[CircuitChanged | EventsMissed]]:
        """Read the changes of the state from now on, as `Supervisor.events` reads those of a tree."""
        return self._changes.subscribe()

    # ---- by hand

    @enable_ki_protection
    def trip(self, cause: str = "opened by hand") -> None:
        """Open it now, as if the service had failed; from now on its timeout runs."""
        self._hear(Tripped(cause), trio.current_time())

    @enable_ki_protection
    def reset(self) -> None:
        """Close it now and forget all failures."""
        self._hear(WasReset(), trio.current_time())

    # ---- calls

    def __call__(self, fn: Callable[P, Coroutine[Any, Any, T]], /) -> Callable[P, Coroutine[Any, Any, T]]:
        """Return an async function that makes each of its calls through the breaker: `@breaker`."""
        if not inspect.iscoroutinefunction(fn):
            msg = (
                f"a breaker goes around an async function, not {fn!r}; around other things write `async with breaker:`"
            )
            raise TypeError(msg)

        @wraps(fn)
        async def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
            async with self:
                return await fn(*args, **kwargs)

        return guarded

    @enable_ki_protection
    async def __aenter__(self) -> None:
        """Begin a call. Raises `CircuitOpen` if it may not begin now."""
        await trio.lowlevel.checkpoint()
        task = current_task()
        if (outer := self._calls.get(task)) is not None:
            outer.depth += 1
            return
        now = self._now()
        if admits(self._rules, self._circuit, now):
            self._hear(Asked(), now)
            self._calls[task] = _Call(self._circuit.generation)
        elif self._is_part_of_trial(task):
            self._calls[task] = _Call(PART)
        else:
            raise self._refusal(now)

    @enable_ki_protection
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the call, by a success, a failure or neither."""
        task = current_task()
        if task not in self._calls and self._calls:
            # An async generator that was left open is closed by another task than the one that ran it.
            task = next(reversed(self._calls))
        call = self._calls.get(task)
        if call is None:
            return
        call.depth -= 1
        if call.depth:
            return
        del self._calls[task]
        outcome: CircuitEvent = Ended(call.generation)
        try:
            # What counts is the user's function, which may raise: then the call has ended all the same.
            outcome = self._outcome(call.generation, error)
        finally:
            self._hear(outcome, trio.current_time())

    def _is_part_of_trial(self, task: Task) -> bool:
        """Tell whether a task runs inside a trial call: if that was refused its own calls, no trial could succeed."""
        nursery = task.parent_nursery
        while nursery is not None:
            call = self._calls.get(nursery.parent_task)
            if call is not None and call.generation == self._circuit.generation:
                return self._circuit.state is CircuitState.HALF_OPEN
            nursery = nursery.parent_task.parent_nursery
        return False

    def _outcome(self, generation: int, error: BaseException | None) -> CircuitEvent:
        if error is None:
            return Succeeded(generation)
        return Failed(generation, told(error)) if self._is_failure(error) else Ended(generation)

    def _now(self) -> float:
        """Return the time, by which the breaker can be asked from then on."""
        now = trio.current_time()
        self._circuit = on_clock(self._rules, self._circuit, now)
        return now

    def _hear(self, event: CircuitEvent, now: float) -> None:
        before, self._circuit = self._circuit, decide(self._rules, self._circuit, event, now)
        if self._circuit.state is not before.state and self._changes.listened:
            change = CircuitChanged(self._name, now, before.state, self._circuit.state, self._circuit.cause)
            self._changes.publish(change)

    def _refusal(self, now: float) -> CircuitOpen:
        circuit = self._circuit
        state = "is open" if circuit.state is CircuitState.OPEN else "is half open and its trial calls are under way"
        text = f"breaker {self._name!r} {state}, after {circuit.cause}"
        return refusal(CircuitOpen, text, now, opens_at(self._rules, circuit, now))
