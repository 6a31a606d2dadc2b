"""The tables of what a supervisor does next."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisors import AutoShutdown, ChildStatus, Restart, Strategy
from supervisors._decide import (
    AFTER_EXIT,
    AGAIN,
    FORGET,
    KEEP_FAILED,
    KEEP_FINISHED,
    KEEP_STOPPED,
    Exit,
    ExitKind,
    Origin,
    after_exit,
    exit_of,
    group_of,
    outcome_of,
    shuts_down,
)

BOOM = ValueError("boom")
PERMANENT, TRANSIENT, TEMPORARY = Restart.PERMANENT, Restart.TRANSIENT, Restart.TEMPORARY
FINISHED, CRASHED, STOPPED = ExitKind.FINISHED, ExitKind.CRASHED, ExitKind.STOPPED


@pytest.mark.parametrize(
    ("restart", "kind", "verdict"),
    [
        (PERMANENT, FINISHED, AGAIN),
        (PERMANENT, STOPPED, KEEP_STOPPED),
        (PERMANENT, CRASHED, AGAIN),
        (TRANSIENT, FINISHED, KEEP_FINISHED),
        (TRANSIENT, STOPPED, KEEP_STOPPED),
        (TRANSIENT, CRASHED, AGAIN),
        (TEMPORARY, FINISHED, FORGET),
        (TEMPORARY, STOPPED, FORGET),
        (TEMPORARY, CRASHED, FORGET),
    ],
)
@pytest.mark.parametrize("origin", list(Origin))
def test_R1_R2_R3_R4_R5_R6_R7_R8_R9_the_kind_of_child_and_its_end_decide(restart, kind, verdict, origin):
    assert after_exit(restart, origin, kind) == verdict


@pytest.mark.parametrize(
    ("origin", "verdict"),
    [(Origin.FIRST, FORGET), (Origin.MANUAL, KEEP_FAILED), (Origin.AUTOMATIC, AGAIN)],
)
def test_R19_a_failed_start_is_tried_again_only_by_the_supervisor_itself(origin, verdict):
    assert after_exit(PERMANENT, origin, ExitKind.FAILED_START) == verdict


@pytest.mark.parametrize("origin", list(Origin))
def test_R19_a_temporary_child_goes_with_its_failed_start(origin):
    assert after_exit(TEMPORARY, origin, ExitKind.FAILED_START) == FORGET


def test_L12_a_new_child_stopped_before_it_was_ready_leaves_nothing():
    assert after_exit(PERMANENT, Origin.FIRST, STOPPED, ready=False) == FORGET


def test_S17_a_known_child_stopped_before_it_was_ready_stays():
    assert after_exit(PERMANENT, Origin.MANUAL, STOPPED, ready=False) == KEEP_STOPPED


@pytest.mark.parametrize("restart", list(Restart))
def test_R28_what_concerns_the_program_restarts_nothing(restart):
    assert after_exit(restart, Origin.AUTOMATIC, ExitKind.FATAL) != AGAIN


def test_R1_the_table_has_every_cell():
    assert set(AFTER_EXIT) == set(itertools.product(Restart, (FINISHED, CRASHED, STOPPED)))


@pytest.mark.parametrize(
    ("error", "ready", "asked", "kind"),
    [
        (None, True, False, FINISHED),
        (BOOM, True, False, CRASHED),
        (BOOM, False, False, ExitKind.FAILED_START),
        (BOOM, True, True, STOPPED),
        (None, True, True, STOPPED),
        (BOOM, False, True, STOPPED),
        (KeyboardInterrupt(), True, False, ExitKind.FATAL),
        (SystemExit(1), True, True, ExitKind.FATAL),
        (BaseExceptionGroup("", [KeyboardInterrupt(), BOOM]), True, False, ExitKind.FATAL),
    ],
)
def test_R28_S18_how_it_ended_follows_from_the_error_and_the_moment(error, ready, asked, kind):
    assert exit_of(error, ready=ready, asked=asked, cut=False).kind is kind


def test_R29_a_group_of_errors_is_one_crash():
    group = ExceptionGroup("", [BOOM, BOOM])
    assert exit_of(group, ready=True, asked=False, cut=False) == Exit(CRASHED, group)


NEVER, ANY, ALL = AutoShutdown.NEVER, AutoShutdown.ANY_SIGNIFICANT, AutoShutdown.ALL_SIGNIFICANT


@pytest.mark.parametrize(
    ("rule", "others", "down"),
    [
        (NEVER, [], False),
        (ANY, [True], True),
        (ANY, [], True),
        (ALL, [True, False], False),
        (ALL, [False], True),
        (ALL, [], True),
    ],
)
@pytest.mark.parametrize("kind", [FINISHED, CRASHED])
def test_W1_W2_significant_children_take_the_supervisor_with_them_by_its_rule(rule, others, down, kind):
    assert shuts_down(rule, kind, significant=True, others_active=others) is down


@pytest.mark.parametrize("kind", [STOPPED, ExitKind.FAILED_START])
@pytest.mark.parametrize("rule", list(AutoShutdown))
def test_W3_W4_a_child_that_was_stopped_takes_nobody_with_it(rule, kind):
    assert shuts_down(rule, kind, significant=True, others_active=[]) is False


def test_W1_other_children_take_nobody_with_them():
    assert shuts_down(ANY, FINISHED, significant=False, others_active=[]) is False


@pytest.mark.parametrize(
    ("strategy", "group"),
    [(Strategy.ONE_FOR_ONE, ("b",)), (Strategy.ONE_FOR_ALL, ("a", "b", "c")), (Strategy.REST_FOR_ONE, ("b", "c"))],
)
def test_R10_R11_R12_who_restarts_with_a_failed_child(strategy, group):
    assert group_of(strategy, ("a", "b", "c"), "b") == group


@given(st.sampled_from(Strategy), st.lists(st.text(), min_size=1, unique=True), st.data())
def test_R11_R12_a_group_is_an_unbroken_end_of_the_line_or_the_child_alone(strategy, names, data):
    failed = data.draw(st.sampled_from(names))
    group = group_of(strategy, names, failed)
    assert failed in group
    assert group == (failed,) or list(group) == names[-len(group) :]


KI, START, LIMIT, BODY = KeyboardInterrupt(), ValueError("start"), ValueError("limit"), ValueError("body")


@pytest.mark.parametrize(
    ("fatal", "start", "limit", "body", "out"),
    [
        (KI, START, LIMIT, BODY, KI),
        (None, START, LIMIT, BODY, START),
        (None, None, LIMIT, None, LIMIT),
        (None, None, LIMIT, KI, LIMIT),
        (None, None, None, BODY, BODY),
        (None, None, None, None, None),
    ],
)
def test_S23_the_first_of_the_six_comes_out(fatal, start, limit, body, out):
    assert outcome_of(fatal, start, limit, body) is out


def test_S23_only_the_limit_and_the_bodys_error_come_as_a_group():
    group = outcome_of(None, None, LIMIT, BODY)
    assert isinstance(group, ExceptionGroup)
    assert group.exceptions == (LIMIT, BODY)


def test_L10_every_kept_child_has_a_status_that_says_so():
    kept = {verdict.status for verdict in (KEEP_STOPPED, KEEP_FINISHED, KEEP_FAILED)}
    assert kept == {ChildStatus.STOPPED, ChildStatus.FINISHED, ChildStatus.FAILED}
