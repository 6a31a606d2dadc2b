"""Time left, and how tasks have gone: plain functions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spaceactors.tasks import TaskResult, TaskStatus
from spaceactors.tasks._eta import seconds_left
from spaceactors.tasks._figures import AllFigures
from supervisors import WaitTimes

TIME = st.floats(0.001, 1e6)


def test_E6_nobody_can_say_how_long_it_takes_before_anything_is_done():
    assert seconds_left(0.0, 5.0, 0.0, 5.0) is None
    assert seconds_left(5.0, 5.0, 0.5, 6.0) is None


def test_E6_nothing_is_left_when_all_is_done():
    assert seconds_left(0.0, 5.0, 1.0, 9.0) == 0.0


@given(TIME, st.floats(0.01, 0.99), st.floats(0, 0.4))
def test_E6_of_steady_work_the_time_left_is_right_between_two_words_too(total, done, ahead):
    at = total * done
    now = at + total * (1 - done) * ahead
    assert seconds_left(0.0, at, done, now) == pytest.approx(total - now)


@given(TIME, st.floats(0.01, 0.99), st.floats(0, 100), st.floats(0.001, 1))
def test_E6_without_a_word_the_time_left_never_jumps(at, done, silent, step):
    before = seconds_left(0.0, at, done, at * (1 + silent))
    after = seconds_left(0.0, at, done, at * (1 + silent + step))
    assert before is not None
    assert after is not None
    assert min(before, after) >= 0
    # It falls by no more than the time that goes by, and grows by no more than what half of the rest takes meanwhile.
    assert -at * step * (1 + 1e-6) <= after - before <= at * step * (1 / done) * (1 + 1e-6)


def test_E6_who_has_stalled_has_more_and_more_time_left():
    left = [seconds_left(0.0, 10.0, 0.5, now) for now in (10, 15, 20, 40, 80)]
    assert left == pytest.approx([10, 5, 20 / 3, 40 / 3, 80 / 3])


def result(agent="a", status=TaskStatus.SUCCEEDED, queued=0.0, started=1.0, ended=3.0):
    return TaskResult(agent, agent, status, None, None, None, (), queued, started, ended, 1)


def test_E9_metrics_are_overall_and_by_agent():
    figures = AllFigures()
    figures.add(result("a", ended=3.0))
    figures.add(result("a", TaskStatus.FAILED, ended=5.0))
    figures.add(result("b", TaskStatus.TIMED_OUT, started=3.0, ended=4.0))
    figures.add(result("b", TaskStatus.CANCELLED, started=None, ended=8.0))
    metrics = figures.metrics(10.0)
    overall = metrics.overall
    assert (overall.total, overall.succeeded, overall.failed, overall.cancelled, overall.timed_out) == (4, 1, 1, 1, 1)
    assert overall.mean_seconds == pytest.approx((2 + 4 + 1) / 3)
    assert overall.mean_waited == pytest.approx((1 + 1 + 3) / 3)
    assert overall.per_second == pytest.approx(0.4)
    assert overall.seconds == WaitTimes(2.0, 4.0, 4.0)
    assert {agent: figures.total for agent, figures in metrics.agents.items()} == {"a": 2, "b": 2}
    assert metrics.agents["b"].waited == WaitTimes(3.0, 3.0, 3.0)


def test_of_more_agents_than_are_kept_the_one_is_dropped_for_whom_nothing_ended_for_longest():
    figures = AllFigures(most_agents=2)
    for agent in "abac":
        figures.add(result(agent))
    assert [*figures.metrics(9.0).agents] == ["a", "c"]
    assert figures.metrics(9.0).overall.total == 4


def test_without_any_task_the_figures_are_zero():
    overall = AllFigures().metrics(5.0).overall
    assert (overall.total, overall.mean_seconds, overall.per_second, overall.waited) == (0, 0.0, 0.0, WaitTimes())
