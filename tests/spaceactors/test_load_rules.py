"""What load is and whom it keeps out: pure rules, as tables and properties."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spaceactors import LoadOptions, LoadPart, LoadSample, Priority
from spaceactors._load import (
    LEAST_WAIT,
    MOST_WAIT,
    LoadLimits,
    admits,
    limits_of,
    rate_of,
    recommended,
    retry_after,
    score,
    sheds,
    smoothed,
)

LIMITS = LoadLimits(lag=0.5, waiting=10, pending=100, cpu=2.0, memory=1000)
OPTIONS = LoadOptions(shed_above=0.9, relax_below=0.7)
loads = st.floats(0, 3)
figures = st.builds(
    LoadSample,
    at=st.just(0.0),
    lag=st.floats(0, 2),
    waiting=st.integers(0, 50),
    pending=st.integers(0, 500),
    cpu=st.floats(0, 5),
    memory=st.integers(0, 5000),
)


@pytest.mark.parametrize(
    ("sample", "value", "cause"),
    [
        (LoadSample(0), 0.0, LoadPart.WAITING),
        (LoadSample(0, lag=0.25), 0.5, LoadPart.LAG),
        (LoadSample(0, lag=0.25, waiting=6), 0.6, LoadPart.WAITING),
        (LoadSample(0, lag=0.25, waiting=6, pending=150), 1.5, LoadPart.PENDING),
        (LoadSample(0, cpu=1.0, memory=400), 0.5, LoadPart.CPU),
        (LoadSample(0, cpu=1.0, memory=800), 0.8, LoadPart.MEMORY),
    ],
)
def test_the_load_is_its_greatest_part_and_says_which(sample, value, cause):
    load = score(sample, LIMITS)
    assert (load.value, load.cause) == (pytest.approx(value), cause)


def test_a_part_that_is_not_bounded_or_not_known_is_left_out():
    assert score(LoadSample(0, lag=9.0, waiting=99, memory=99), LoadLimits()).parts == {}
    assert score(LoadSample(0), LoadLimits(memory=5, cpu=1.0)).parts == {}
    assert score(LoadSample(0, memory=10), LoadLimits(memory=5)).parts == {LoadPart.MEMORY: 2.0}
    idle = score(LoadSample(0), LoadLimits())
    assert (idle.value, idle.cause, str(idle)) == (0.0, None, "0.00")
    assert str(score(LoadSample(0, waiting=5), LIMITS)) == "0.50 (waiting)"


@given(figures, figures)
def test_more_of_anything_never_makes_less_load(one, other):
    both = LoadSample(
        0.0, max(one.lag, other.lag), max(one.waiting, other.waiting), max(one.pending, other.pending),
        max(one.cpu, other.cpu), max(one.memory, other.memory),
    )  # fmt: skip
    assert score(both, LIMITS).value == max(score(one, LIMITS).value, score(other, LIMITS).value)


@pytest.mark.parametrize(
    ("config", "waiting"), [((None, None), None), ((20, None), 20), ((20, 5), 5), ((20, 500), 500)]
)
def test_as_many_may_wait_as_run_if_nothing_else_is_said(config, waiting):
    assert limits_of(OPTIONS, *config).waiting == waiting


@pytest.mark.parametrize(
    ("load", "shedding", "admitted"),
    [
        (0.0, False, "LOW NORMAL HIGH URGENT"),
        (0.99, False, "LOW NORMAL HIGH URGENT"),
        (0.71, True, "NORMAL HIGH URGENT"),
        (0.99, True, "NORMAL HIGH URGENT"),
        (1.0, True, "HIGH URGENT"),
        (1.0, False, "HIGH URGENT"),
        (50.0, True, "HIGH URGENT"),
    ],
)
def test_low_is_refused_first_then_normal_and_what_is_more_urgent_never(load, shedding, admitted):
    assert " ".join(one.name for one in Priority if admits(load, one, shedding=shedding)) == admitted


@given(loads, loads, st.booleans())
def test_who_is_admitted_at_a_load_is_admitted_at_less(one, other, shedding):
    less, more = sorted([one, other])
    for priority in Priority:
        assert admits(less, priority, shedding=shedding) or not admits(more, priority, shedding=shedding)


def test_shedding_begins_over_one_threshold_and_ends_under_the_other():
    shedding, course = False, []
    for load in (0.0, 0.8, 0.9, 0.91, 0.8, 0.7, 0.69, 0.8, 0.9, 1.0, 0.71, 0.0):
        shedding = sheds(load, OPTIONS, already=shedding)
        course.append(shedding)
    assert course == [False, False, False, True, True, True, False, False, False, True, True, False]


def test_at_a_full_load_it_is_shed_whatever_the_threshold():
    everything = LoadOptions(shed_above=1.0, relax_below=1.0)
    assert sheds(1.0, everything, already=False)
    assert not sheds(0.99, everything, already=True)


def test_one_late_wake_up_is_half_believed():
    assert smoothed(None, 0.4) == 0.4
    assert smoothed(0.0, 0.4) == 0.2
    assert smoothed(smoothed(smoothed(0.0, 0.4), 0.4), 0.4) == pytest.approx(0.35)
    assert smoothed(0.4, 0.0) == 0.2


@pytest.mark.parametrize(
    ("waiting", "rate", "seconds"),
    [(20, 10.0, 2.0), (0, 10.0, LEAST_WAIT), (1, 1000.0, LEAST_WAIT), (10_000, 1.0, MOST_WAIT), (1, 0.0, MOST_WAIT)],
)
def test_who_is_refused_may_come_again_when_those_who_wait_now_are_done(waiting, rate, seconds):
    assert retry_after(waiting, rate) == seconds


def test_without_a_rate_the_next_look_is_waited_for():
    assert retry_after(1000, None, least=2.5) == 2.5
    assert retry_after(0, 10.0, least=2.5) == 2.5


def test_the_rate_is_how_many_turns_end_in_a_second():
    assert rate_of(20, 0.5) == 40
    assert rate_of(20, None) is None
    assert rate_of(None, 0.5) is None


@pytest.mark.parametrize(
    ("sample", "turns"),
    [
        (LoadSample(0), 100),  # nothing waits: as many as now
        (LoadSample(0, waiting=6), 100),  # some wait, not too many
        (LoadSample(0, waiting=7), 125),  # many wait, and nothing is strained
        (LoadSample(0, pending=100), 125),
        (LoadSample(0, waiting=10, cpu=1.2), 117),  # a quarter more would strain the processor
        (LoadSample(0, waiting=10, cpu=1.4), 100),  # it is strained as it is
        (LoadSample(0, waiting=10, lag=0.5), 70),  # strained too much: what brings it back to 0.7
        (LoadSample(0, lag=1.0), 35),
        (LoadSample(0, memory=100_000), 1),  # never none
    ],
)
def test_fewer_turns_are_recommended_under_strain_and_more_where_spaces_wait(sample, turns):
    assert recommended(score(sample, LIMITS), 100, OPTIONS) == turns


@given(figures, st.integers(1, 1000))
def test_strain_never_makes_more_turns_and_a_queue_alone_never_fewer(sample, present):
    load = score(sample, LIMITS)
    strain = max(load.parts[part] for part in (LoadPart.LAG, LoadPart.CPU, LoadPart.MEMORY))
    turns = recommended(load, present, OPTIONS)
    assert turns >= 1
    if strain >= 0.7:
        assert turns <= present
    if strain <= 0.9:
        assert turns >= present
