"""The pure decisions about a space: each rule of the tables, and what holds for every combination."""

from __future__ import annotations

import ast
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spaceactors import CapacityError, MailboxFull, Overflow, Reject, SpaceError, WhenBusy, _decide
from spaceactors._decide import (
    Admission,
    Ending,
    Judgement,
    Overload,
    Step,
    admit_busy,
    admit_from_turn,
    admit_full,
    judge,
    next_step,
    only_leaf,
)

CALM = {
    "ending": None,
    "failed": False,
    "stuck": False,
    "blocked": False,
    "started": True,
    "hurried": False,
    "backing_off": False,
    "halted": False,
    "passivating": False,
    "waiting": False,
    "single": False,
}
FLAGS = [name for name in CALM if name != "ending"]
ANY = st.fixed_dictionaries({"ending": st.sampled_from([None, *Ending]), **{name: st.booleans() for name in FLAGS}})


def step(**changes):
    return next_step(**{**CALM, **changes})


# ---- what a worker does next


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, Step.WORK),
        ({"waiting": True}, Step.WORK),
        ({"started": False}, Step.START),
        ({"started": False, "waiting": True}, Step.START),
        ({"failed": True}, Step.RECOVER),
        ({"failed": True, "halted": True}, Step.RECOVER),
        ({"failed": True, "stuck": True}, Step.RECOVER),
        ({"stuck": True, "waiting": True}, Step.WAIT),
        ({"stuck": True, "hurried": True}, Step.WAIT),
        ({"blocked": True, "waiting": True}, Step.WAIT),
        ({"blocked": True, "hurried": True, "waiting": True}, Step.WAIT),
        ({"blocked": True, "failed": True}, Step.RECOVER),
        ({"ending": Ending.DRAIN, "blocked": True, "waiting": True}, Step.WAIT),
        ({"ending": Ending.STOP, "blocked": True, "waiting": True}, Step.END),
        ({"backing_off": True, "started": False, "waiting": True}, Step.WAIT),
        ({"backing_off": True, "started": False, "hurried": True}, Step.START),
        ({"halted": True, "waiting": True}, Step.WAIT),
        ({"halted": True, "hurried": True, "waiting": True}, Step.WORK),
        ({"halted": True, "started": False}, Step.WAIT),
        ({"halted": True, "started": False, "hurried": True}, Step.START),
        ({"passivating": True}, Step.PASSIVATE),
        ({"passivating": True, "waiting": True}, Step.WORK),
        ({"passivating": True, "stuck": True}, Step.WAIT),
        ({"single": True}, Step.WAIT),
        ({"single": True, "waiting": True}, Step.TURN),
        ({"ending": Ending.DRAIN, "waiting": True}, Step.WORK),
        ({"ending": Ending.DRAIN, "hurried": True, "halted": True, "waiting": True}, Step.WORK),
        ({"ending": Ending.DRAIN}, Step.END),
        ({"ending": Ending.DRAIN, "stuck": True, "waiting": True}, Step.END),
        ({"ending": Ending.DRAIN, "failed": True}, Step.RECOVER),
        ({"ending": Ending.STOP, "waiting": True}, Step.END),
        ({"ending": Ending.STOP, "failed": True}, Step.END),
        ({"ending": Ending.DELETE, "waiting": True}, Step.END),
        ({"ending": Ending.KILL, "waiting": True, "failed": True, "stuck": True}, Step.CUT),
    ],
)
def test_S2_a_worker_takes_the_first_step_that_the_table_names(changes, expected):
    assert step(**changes) is expected


@given(ANY)
def test_S3_a_kill_overrules_everything_else(state):
    assert next_step(**{**state, "ending": Ending.KILL}) is Step.CUT


@given(ANY)
def test_S3_nothing_is_cut_without_a_kill(state):
    assert (next_step(**state) is Step.CUT) == (state["ending"] is Ending.KILL)


@given(ANY)
def test_S2_an_end_begins_only_when_it_was_asked_for(state):
    if next_step(**state) is Step.END:
        assert state["ending"] in {Ending.DRAIN, Ending.STOP, Ending.DELETE}


@given(ANY)
def test_R26_no_turn_begins_without_a_started_actor_or_on_a_crashed_one(state):
    if next_step(**state) in {Step.WORK, Step.TURN, Step.PASSIVATE}:
        assert not state["failed"]
        assert state["started"] or next_step(**state) is Step.PASSIVATE


@given(ANY)
def test_R17_nothing_runs_while_a_space_is_stuck(state):
    if state["stuck"] and not state["failed"]:
        assert next_step(**state) in {Step.WAIT, Step.END, Step.CUT}


@given(ANY)
def test_S1_a_drain_ends_only_with_an_empty_mailbox_or_a_stuck_space(state):
    if state["ending"] is Ending.DRAIN and next_step(**state) is Step.END:
        assert state["stuck"] or not state["waiting"]


@given(ANY)
def test_T7_no_space_leaves_memory_with_waiting_messages(state):
    if next_step(**state) is Step.PASSIVATE:
        assert not state["waiting"]
        assert state["passivating"]


@given(ANY)
def test_B9_no_backoff_or_pause_holds_up_a_drain(state):
    if state["hurried"]:
        calm = {**state, "backing_off": False, "halted": False}
        assert next_step(**state) is next_step(**calm)


@given(ANY)
def test_M12_a_started_free_space_with_messages_works(state):
    halts = dict.fromkeys(("failed", "stuck", "blocked", "backing_off", "halted"), False)
    free = {**state, **halts, "ending": None}
    if state["started"] and state["waiting"]:
        assert next_step(**free) in {Step.WORK, Step.TURN}


def test_S24_a_later_ending_overrules_an_earlier_one():
    assert sorted(Ending) == [Ending.DRAIN, Ending.STOP, Ending.DELETE, Ending.KILL]


# ---- the door


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (WhenBusy.ENQUEUE, Admission.ACCEPT),
        (WhenBusy.REFUSE, Admission.BUSY),
        (WhenBusy.INTERRUPT, Admission.INTERRUPT),
        (WhenBusy.LATEST, Admission.LATEST),
    ],
)
def test_M18_a_busy_space_admits_by_its_rule_and_a_free_one_always(rule, expected):
    assert admit_busy(rule, busy=True) is expected
    assert admit_busy(rule, busy=False) is Admission.ACCEPT


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (Overflow.WAIT, Admission.LINE_UP),
        (Overflow.REFUSE, Admission.FULL),
        (Overflow.DROP_OLDEST, Admission.DROP_OLDEST),
        (Overflow.DROP_NEWEST, Admission.DROP_NEWEST),
    ],
)
@pytest.mark.parametrize("capacity", [1, 2, 64])
def test_M7_a_full_mailbox_admits_by_its_rule_and_one_with_a_place_always(rule, expected, capacity):
    assert admit_full(rule, waiting=capacity - 1, capacity=capacity) is Admission.ACCEPT
    # A message that is tried again may have brought it over capacity.
    for waiting in (capacity, capacity + 1):
        assert admit_full(rule, waiting=waiting, capacity=capacity) is expected


@pytest.mark.parametrize("capacity", [1, 2, 64])
def test_M9_a_turn_s_send_is_taken_over_capacity_up_to_twice_of_it(capacity):
    verdicts = [admit_from_turn(waiting=waiting, capacity=capacity) for waiting in range(3 * capacity)]
    assert verdicts == [
        *[Overload.ACCEPT] * capacity,
        *[Overload.HOLD_SENDER] * capacity,
        *[Overload.RETURN] * capacity,
    ]


# ---- how a turn ends that raised


class Oops(Exception):
    pass


class WorseOops(Oops):
    pass


OWN, LISTED, CALLED = ValueError(), Oops(), MailboxFull()


@pytest.mark.parametrize(
    ("error", "last_try", "earlier_try"),
    [
        (OWN, Judgement.CRASH_FAILED, Judgement.CRASH_AGAIN),
        (CALLED, Judgement.FAILED, Judgement.AGAIN),
        (SpaceError(), Judgement.FAILED, Judgement.AGAIN),
        (CapacityError(), Judgement.FAILED, Judgement.AGAIN),
        (Reject(), Judgement.REJECTED, Judgement.REJECTED),
        (LISTED, Judgement.REJECTED, Judgement.REJECTED),
        (WorseOops(), Judgement.REJECTED, Judgement.REJECTED),
        # A nursery in a handler wraps whatever is raised in it.
        (ExceptionGroup("", [Reject()]), Judgement.REJECTED, Judgement.REJECTED),
        (ExceptionGroup("", [ExceptionGroup("", [CALLED])]), Judgement.FAILED, Judgement.AGAIN),
        (ExceptionGroup("", [OWN]), Judgement.CRASH_FAILED, Judgement.CRASH_AGAIN),
        # Two errors are one crash, unless both come from calls.
        (ExceptionGroup("", [Reject(), OWN]), Judgement.CRASH_FAILED, Judgement.CRASH_AGAIN),
        (ExceptionGroup("", [CALLED, OWN]), Judgement.CRASH_FAILED, Judgement.CRASH_AGAIN),
        (ExceptionGroup("", [CALLED, Reject()]), Judgement.CRASH_FAILED, Judgement.CRASH_AGAIN),
        (ExceptionGroup("", [CALLED, CALLED]), Judgement.FAILED, Judgement.AGAIN),
        (ExceptionGroup("", [CALLED, ExceptionGroup("", [CALLED, CALLED])]), Judgement.FAILED, Judgement.AGAIN),
    ],
    ids=repr,
)
def test_A1_a_failure_is_judged_by_what_was_raised_and_by_the_tries_that_are_left(error, last_try, earlier_try):
    assert judge(error, (Oops,), attempts=1, most=1) is last_try
    assert judge(error, (Oops,), attempts=3, most=3) is last_try
    assert judge(error, (Oops,), attempts=1, most=2) is earlier_try
    assert judge(error, (Oops,), attempts=2, most=3) is earlier_try


def test_A3_what_is_not_listed_in_throws_crashes():
    assert judge(LISTED, (), attempts=1, most=1) is Judgement.CRASH_FAILED
    assert judge(LISTED, (WorseOops,), attempts=1, most=1) is Judgement.CRASH_FAILED


def test_A3_throws_comes_before_the_rule_for_calls():
    assert judge(CALLED, (MailboxFull,), attempts=1, most=2) is Judgement.REJECTED


@pytest.mark.parametrize(
    ("judgement", "crash", "again"),
    [
        (Judgement.REJECTED, False, False),
        (Judgement.AGAIN, False, True),
        (Judgement.FAILED, False, False),
        (Judgement.CRASH_AGAIN, True, True),
        (Judgement.CRASH_FAILED, True, False),
    ],
)
def test_R29_a_judgement_says_whether_the_actor_lives_and_the_message_comes_again(judgement, crash, again):
    assert (judgement.crash, judgement.again) == (crash, again)


def test_R29_the_leaf_of_groups_of_one_is_the_error_itself():
    error = ValueError()
    assert only_leaf(error) is error
    assert only_leaf(ExceptionGroup("", [ExceptionGroup("", [error])])) is error
    two = ExceptionGroup("", [error, error])
    assert only_leaf(ExceptionGroup("", [two])) is two


# ---- the file itself


def test_O6_the_decisions_are_shared_constants():
    for flags in product([False, True], repeat=len(FLAGS)):
        assert next_step(ending=None, **dict(zip(FLAGS, flags, strict=True))) in Step


def test_O6_the_decisions_import_no_clock_no_chance_no_log_and_no_trio():
    tree = ast.parse(Path(_decide.__file__).read_text(encoding="utf-8"))
    named = {
        alias.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    }
    named |= {(node.module or "").split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not named & {"trio", "time", "random", "logging", "datetime"}
