"""The states of a circuit breaker, without any call: by examples, and against a model that keeps its own books."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    opens_at,
    state_at,
)

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN
RULES = CircuitRules(failure_threshold=3, success_threshold=2, timeout=10.0, half_open_max_calls=1)


def after(circuit, *events, now=0.0, rules=RULES):
    for event in events:
        circuit = decide(rules, circuit, event(circuit.generation) if isinstance(event, type) else event, now)
    return circuit


def failed(generation):
    return Failed(generation, "boom")


def fail(circuit, times=1, now=0.0):
    for _ in range(times):
        circuit = decide(RULES, circuit, Failed(circuit.generation, "boom"), now)
    return circuit


def half_open(now=10.0):
    return decide(RULES, fail(Circuit(), 3), Asked(), now)


def test_failures_in_a_row_open_it():
    assert fail(Circuit(), 2).state is CLOSED
    opened = fail(Circuit(), 3, now=5.0)
    assert (opened.state, opened.until, opened.cause) == (OPEN, 15.0, "boom")


def test_a_success_begins_the_row_anew():
    assert fail(after(fail(Circuit(), 2), Succeeded), 2).state is CLOSED


def test_what_says_nothing_leaves_the_row_as_it_is():
    assert fail(after(fail(Circuit(), 2), Ended)).state is OPEN


def test_while_open_nobody_may_begin_and_then_one_may():
    opened = fail(Circuit(), 3)
    assert not admits(RULES, opened, 9.99)
    assert admits(RULES, opened, 10.0)
    assert (state_at(opened, 9.99), state_at(opened, 10.0)) == (OPEN, HALF_OPEN)


def test_trial_calls_are_bounded():
    trying = half_open()
    assert not admits(RULES, trying, 1000.0)
    assert opens_at(RULES, trying, 1000.0) == 1010.0
    assert admits(RULES, after(trying, Succeeded), 10.0)
    assert admits(RULES, after(trying, Ended), 10.0)


def test_successes_close_it_and_all_is_forgotten():
    closed = after(after(half_open(), Succeeded, Asked()), Succeeded)
    assert (closed.state, closed.failures, closed.successes, closed.calls) == (CLOSED, 0, 0, 0)


def test_one_failure_opens_it_again_for_the_whole_time():
    again = fail(half_open(12.0), now=13.0)
    assert (again.state, again.until) == (OPEN, 23.0)
    assert fail(after(half_open(), Succeeded, Asked()), now=13.0).state is OPEN


@pytest.mark.parametrize("late", [Succeeded(0), Failed(0, "late"), Ended(0)])
def test_a_late_end_of_an_older_call_changes_nothing(late):
    for circuit in (fail(Circuit(), 3), half_open(), after(half_open(), Succeeded)):
        assert decide(RULES, circuit, late, 11.0) == circuit


def test_a_late_end_from_an_earlier_half_open_time_changes_nothing():
    first = half_open()
    second = decide(RULES, fail(first, now=11.0), Asked(), 30.0)
    for late in (Succeeded(first.generation), Failed(first.generation, ""), Ended(first.generation)):
        assert decide(RULES, second, late, 31.0) == second


def test_by_hand_it_opens_and_closes_from_any_state():
    for circuit in (Circuit(), fail(Circuit(), 3), half_open()):
        tripped = decide(RULES, circuit, Tripped("maintenance"), 20.0)
        assert (tripped.state, tripped.until, tripped.cause) == (OPEN, 30.0, "maintenance")
        assert decide(RULES, circuit, WasReset(), 20.0).state is CLOSED
        assert decide(RULES, tripped, Succeeded(circuit.generation), 20.0) == tripped


class Model:
    """A breaker that remembers each call, instead of counting them."""

    def __init__(self, rules):
        self.rules, self.state, self.opened, self.row, self.good, self.running, self.cause = (
            rules,
            CLOSED,
            0.0,
            [],
            [],
            set(),
            "",
        )

    def enter(self, state):
        self.state, self.row, self.good, self.running = state, [], [], set()

    def may_begin(self, now):
        if self.state is OPEN:
            return now >= self.opened + self.rules.timeout
        return self.state is CLOSED or len(self.running) < self.rules.half_open_max_calls

    def begin(self, call):
        if self.state is OPEN:
            self.enter(HALF_OPEN)
        self.running.add(call)

    def trip(self, now):
        self.enter(OPEN)
        self.opened = now

    def end(self, call, how, now):
        if call not in self.running:
            return
        self.running.remove(call)
        match how, self.state:
            case ("ok", CircuitState.CLOSED):
                self.row.clear()
            case ("ok", _):
                self.good.append(call)
                if len(self.good) == self.rules.success_threshold:
                    self.enter(CLOSED)
            case ("failed", state):
                self.row.append(call)
                if state is HALF_OPEN or len(self.row) == self.rules.failure_threshold:
                    self.trip(now)


HOWS = st.sampled_from(["ok", "failed", "nothing"])
STEPS = st.lists(
    st.one_of(
        st.just(("begin", 0, "")),
        st.tuples(st.just("end"), st.integers(0, 8), HOWS),
        st.tuples(st.just("wait"), st.integers(1, 12), st.just("")),
        st.sampled_from([("trip", 0, ""), ("reset", 0, "")]),
    ),
    max_size=80,
)
SOME_RULES = st.builds(
    CircuitRules, st.integers(1, 3), st.integers(1, 3), st.sampled_from([1.0, 5.0, 10.0]), st.integers(1, 3)
)


@given(SOME_RULES, STEPS)
def test_it_does_what_one_does_that_remembers_each_call(rules, steps):
    circuit, model, now, calls, begun = Circuit(), Model(rules), 0.0, [], 0
    for step, number, how in steps:
        if step == "wait":
            now += number
        elif step == "trip":
            circuit = decide(rules, circuit, Tripped("x"), now)
            model.trip(now)
        elif step == "reset":
            circuit = decide(rules, circuit, WasReset(), now)
            model.enter(CLOSED)
        elif step == "begin":
            assert admits(rules, circuit, now) == model.may_begin(now)
            if model.may_begin(now):
                circuit = decide(rules, circuit, Asked(), now)
                begun += 1
                model.begin(begun)
                calls.append((begun, circuit.generation))
            else:
                assert opens_at(rules, circuit, now) > now
        elif calls:
            call, generation = calls.pop(number % len(calls))
            event = {"ok": Succeeded(generation), "failed": Failed(generation, "x"), "nothing": Ended(generation)}[how]
            circuit = decide(rules, circuit, event, now)
            model.end(call, how, now)
        assert circuit.state is model.state
        if circuit.state is HALF_OPEN:
            assert circuit.calls == len(model.running) <= rules.half_open_max_calls
