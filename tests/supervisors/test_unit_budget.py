"""The arithmetic of restarts: budgets and waits, without any child."""

from __future__ import annotations

import math
import pickle
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tenacity import wait_exponential, wait_fixed

from supervisors import Backoff, RestartLimit, exponential_backoff
from supervisors._backoff import delay_of
from supervisors._budget import Budget, GiveUp, Restarting, crashes_within, next_attempt

BOOM = ValueError("boom")
PLAIN = Backoff(exponential_backoff(1.0, 8.0, jitter=0.0), reset_after=10.0)


def crash(budget, *times):
    return [budget.after_crash(BOOM, now) for now in times]


def test_R17_the_edge_of_the_window_belongs_to_it():
    assert crashes_within((0.0, 1.0, 2.0), 5.0, 6.0) == (1.0, 2.0, 6.0)


def test_R17_one_more_than_the_limit_gives_up_with_its_history():
    *allowed, last = crash(Budget(RestartLimit(2, 5.0)), 0.0, 4.0, 5.0)
    assert [type(decision) for decision in allowed] == [Restarting, Restarting]
    assert last == GiveUp((0.0, 4.0, 5.0))


def test_R17_a_limit_of_zero_allows_nothing():
    assert crash(Budget(RestartLimit(0, 5.0)), 3.0) == [GiveUp((3.0,))]


def test_R17_a_restart_says_its_number_in_the_window():
    assert [decision.restarts for decision in crash(Budget(RestartLimit(3, 5.0)), 0, 1, 6.5)] == [1, 2, 1]


@given(
    gaps=st.lists(st.floats(0.0, 10.0), max_size=30),
    restarts=st.integers(0, 5),
    period=st.floats(0.5, 20.0),
)
def test_R17_R18_it_gives_up_exactly_when_the_window_holds_more_crashes_than_allowed(gaps, restarts, period):
    budget, now, answered = Budget(RestartLimit(restarts, period)), 0.0, []
    for gap in gaps:
        now += gap
        recent = [then for then in answered if now - then <= period]
        decision = budget.after_crash(BOOM, now)
        assert isinstance(decision, GiveUp) == (len(recent) >= restarts)
        if isinstance(decision, GiveUp):
            break
        answered.append(now)


@given(st.floats(5.001, 1e6))
def test_R18_crashes_wider_apart_than_the_window_never_exhaust_it(gap):
    budget = Budget(RestartLimit(1, 5.0))
    assert all(isinstance(decision, Restarting) for decision in crash(budget, *(n * gap for n in range(50))))


def test_B1_the_wait_doubles_with_each_attempt_in_a_row():
    budget, now, delays = Budget(RestartLimit(99, 60.0), PLAIN), 0.0, []
    for _ in range(5):
        decision = budget.after_crash(BOOM, now)
        delays.append(decision.delay)
        now += decision.delay
    assert delays == [1.0, 2.0, 4.0, 8.0, 8.0]


def test_B4_enough_quiet_since_the_start_begins_a_new_row():
    budget = Budget(RestartLimit(99, 60.0), PLAIN)
    first, second = crash(budget, 0.0, 11.0)  # up again at 1, quiet for 10
    assert (first.attempt, second.attempt) == (1, 1)


def test_B5_a_little_less_quiet_does_not():
    budget = Budget(RestartLimit(99, 60.0), PLAIN)
    assert [decision.attempt for decision in crash(budget, 0.0, 10.999)] == [1, 2]


def test_B5_waiting_out_a_backoff_is_no_quiet():
    backoff = Backoff(exponential_backoff(20.0, 20.0, jitter=0.0), reset_after=10.0)
    assert [decision.attempt for decision in crash(Budget(RestartLimit(99, 600.0), backoff), 0.0, 20.5)] == [1, 2]


def test_B5_a_start_that_took_long_is_no_quiet():
    budget = Budget(RestartLimit(99, 60.0), PLAIN)
    budget.after_crash(BOOM, 0.0)
    budget.started(50.0)
    assert budget.after_crash(BOOM, 51.0).attempt == 2


@pytest.mark.parametrize("backoff", [None, Backoff(wait_fixed(0))])
def test_B4_without_a_rule_of_its_own_the_limits_period_is_the_quiet(backoff):
    limit = RestartLimit(3, 7.0)
    assert next_attempt(4, 0.0, limit, backoff, 6.9) == 5
    assert next_attempt(4, 0.0, limit, backoff, 7.0) == 1


def test_B4_a_reset_forgets_everything():
    budget = Budget(RestartLimit(1, 60.0), PLAIN)
    crash(budget, 0.0, 1.0)
    budget.reset()
    assert budget == Budget(RestartLimit(1, 60.0), PLAIN)


@given(
    minimum=st.floats(0.001, 100),
    factor=st.floats(1, 1000),
    jitter=st.floats(0, 3),
    attempt=st.integers(0, 10**9),
    seed=st.integers(),
)
def test_B2_B3_B14_every_wait_lies_between_minimum_and_maximum(minimum, factor, jitter, attempt, seed):
    maximum = minimum * factor
    wait = exponential_backoff(minimum, maximum, jitter, random=random.Random(seed))
    delay = wait.delay(attempt)
    assert minimum * 0.999999 <= delay <= maximum * 1.000001


@given(st.integers(0, 10), st.floats(0.01, 2.0))
def test_B2_below_the_cap_the_jitter_adds_at_most_its_share(attempt, jitter):
    low, high = exponential_backoff(1.0, 1e9, jitter).bounds(attempt)
    assert (low, high) == (2.0**attempt, pytest.approx(2.0**attempt * (1 + jitter)))


def test_B3_at_the_cap_the_jitter_goes_below_it():
    low, high = exponential_backoff(1.0, 30.0, 0.5).bounds(50)
    assert (low, high) == (20.0, 30.0)


def test_B2_one_seed_gives_one_series():
    first, second = (exponential_backoff(random=random.Random(7)) for _ in range(2))
    assert [first.delay(n) for n in range(9)] == [second.delay(n) for n in range(9)]


def test_B13_without_a_seed_two_children_draw_different_waits():
    wait = exponential_backoff()
    assert len({wait.delay(9) for _ in range(50)}) > 40


def test_B2_a_backoff_can_be_pickled_and_printed():
    wait = exponential_backoff(2.0, 9.0, 0.25)
    assert pickle.loads(pickle.dumps(wait)) == wait
    assert repr(wait) == "ExponentialBackoff(minimum=2.0, maximum=9.0, jitter=0.25)"


@pytest.mark.parametrize("args", [(0, 1), (2, 1), (1, math.inf), (-1, 1), (1, 2, -0.1), (1, 2, math.inf)])
def test_B3_bounds_that_cannot_be_are_refused(args):
    with pytest.raises(ValueError, match="must be"):
        exponential_backoff(*args)


def test_B14_tenacitys_waits_take_huge_counts():
    assert delay_of(Backoff(wait_exponential(max=30)), 10**12, BOOM) == 30.0


@pytest.mark.parametrize(("outcome", "failed"), [(BOOM, True), (None, False)])
def test_B1_a_wait_sees_the_attempt_and_what_the_child_ended_with(outcome, failed):
    seen = []

    def wait(state):
        seen.append((state.attempt_number, state.outcome.failed, state.outcome.exception()))
        return 1.5

    assert delay_of(Backoff(wait), 3, outcome) == 1.5
    assert seen == [(3, failed, outcome)]


def test_B1_a_negative_wait_is_none():
    assert delay_of(Backoff(lambda _state: -2.0), 1, BOOM) == 0.0


@pytest.mark.parametrize("seconds", [math.nan, math.inf])
def test_B1_a_wait_without_an_end_is_refused(seconds):
    with pytest.raises(ValueError, match="finite"):
        delay_of(Backoff(lambda _state: seconds), 1, BOOM)


def test_B7_no_backoff_is_no_wait():
    assert delay_of(None, 5, BOOM) == 0.0
