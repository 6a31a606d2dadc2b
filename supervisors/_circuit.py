"""When calls to a service that fails are held back: the states of a circuit breaker and what moves it between them.

Pure: no Trio, no clock, no logging; time is an argument.
"""

from __future__ import annotations

from enum import Enum
from typing import assert_never, final

from attrs import evolve, frozen

from supervisors._record import Record


class CircuitState(Enum):
    """What a circuit breaker does with a call.

    `CLOSED`: it goes through. `OPEN`: it is refused. `HALF_OPEN`: a few go through, to see whether the service is back.
    """

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@final
@frozen
class CircuitRules:
    """The four numbers of a breaker; seconds."""

    failure_threshold: int
    success_threshold: int
    timeout: float
    half_open_max_calls: int


@final
@frozen
class Circuit:
    """A breaker at one moment."""

    state: CircuitState = CircuitState.CLOSED
    # Grows with each change of the state: a call that began in an earlier one says nothing about this one.
    generation: int = 0
    # In a row, while closed.
    failures: int = 0
    # Since it is half open.
    successes: int = 0
    # Calls under way, counted while half open only.
    calls: int = 0
    # When, if it is open, the next call may try.
    until: float = 0.0
    # What opened it last, as text: an error itself would keep alive all that its traceback knows.
    cause: str = ""


# ---- what happens to it


@final
class Asked(Record):
    """Somebody wants to call."""


@final
class Succeeded(Record):
    """A call that was let through in this generation returned."""

    generation: int


@final
class Failed(Record):
    """A call that was let through in this generation failed, in a way that counts."""

    generation: int
    cause: str


@final
class Ended(Record):
    """A call that was let through in this generation ended in a way that says nothing: cancelled, or not counted."""

    generation: int


@final
class Tripped(Record):
    """Somebody opens it by hand."""

    cause: str


@final
class WasReset(Record):
    """Somebody closes it by hand."""


CircuitEvent = Asked | Succeeded | Failed | Ended | Tripped | WasReset


def on_clock(rules: CircuitRules, circuit: Circuit, now: float) -> Circuit:
    """Return the breaker as it is for whoever has this clock.

    One run of Trio knows nothing of another one's time: what was opened in an earlier run would stay open for as long
    as the two clocks differ. So it is open for the timeout from now on, at most.
    """
    latest = now + rules.timeout
    return evolve(circuit, until=latest) if circuit.state is CircuitState.OPEN and circuit.until > latest else circuit


def state_at(circuit: Circuit, now: float) -> CircuitState:
    """Return the state as the next call will find it: what is open becomes half open by time alone."""
    if circuit.state is CircuitState.OPEN and now >= circuit.until:
        return CircuitState.HALF_OPEN
    return circuit.state


def admits(rules: CircuitRules, circuit: Circuit, now: float) -> bool:
    """Return whether a call that comes now may begin."""
    match state_at(circuit, now):
        case CircuitState.CLOSED:
            return True
        case CircuitState.OPEN:
            return False
        case CircuitState.HALF_OPEN:
            return circuit.state is CircuitState.OPEN or circuit.calls < rules.half_open_max_calls


def opens_at(rules: CircuitRules, circuit: Circuit, now: float) -> float:
    """Return when one that is refused now should come again.

    Behind trial calls nobody knows; if they fail, it will be the timeout from then on.
    """
    return circuit.until if circuit.state is CircuitState.OPEN else now + rules.timeout


def decide(rules: CircuitRules, circuit: Circuit, event: CircuitEvent, now: float) -> Circuit:
    """Return the breaker after an event.

    `Asked` lets a call begin and may be told only where `admits` says so. The end of a call of an older generation
    changes nothing.
    """
    match event:
        case Asked():
            return _begun(circuit, now)
        case Tripped(cause):
            return _opened(rules, circuit, now, cause)
        case WasReset():
            return _closed(circuit)
        case Succeeded(generation) | Failed(generation, _) | Ended(generation) if generation != circuit.generation:
            return circuit
        case Succeeded():
            return _succeeded(rules, circuit)
        case Failed(_, cause):
            return _failed(rules, circuit, now, cause)
        case Ended():
            return _freed(circuit)
        case _:
            assert_never(event)


def _begun(circuit: Circuit, now: float) -> Circuit:
    if circuit.state is CircuitState.CLOSED:
        return circuit
    if circuit.state is CircuitState.HALF_OPEN:
        return evolve(circuit, calls=circuit.calls + 1)
    assert now >= circuit.until, "asked although it is open"  # noqa: S101  # the caller's fault, not the user's
    return Circuit(CircuitState.HALF_OPEN, circuit.generation + 1, calls=1, cause=circuit.cause)


def _freed(circuit: Circuit) -> Circuit:
    return evolve(circuit, calls=circuit.calls - 1) if circuit.state is CircuitState.HALF_OPEN else circuit


def _succeeded(rules: CircuitRules, circuit: Circuit) -> Circuit:
    if circuit.state is CircuitState.CLOSED:
        return evolve(circuit, failures=0) if circuit.failures else circuit
    if circuit.successes + 1 >= rules.success_threshold:
        return _closed(circuit)
    return evolve(_freed(circuit), successes=circuit.successes + 1)


def _failed(rules: CircuitRules, circuit: Circuit, now: float, cause: str) -> Circuit:
    if circuit.state is CircuitState.CLOSED and circuit.failures + 1 < rules.failure_threshold:
        return evolve(circuit, failures=circuit.failures + 1)
    return _opened(rules, circuit, now, cause)


def _opened(rules: CircuitRules, circuit: Circuit, now: float, cause: str) -> Circuit:
    return Circuit(CircuitState.OPEN, circuit.generation + 1, until=now + rules.timeout, cause=cause)


def _closed(circuit: Circuit) -> Circuit:
    return Circuit(CircuitState.CLOSED, circuit.generation + 1)
