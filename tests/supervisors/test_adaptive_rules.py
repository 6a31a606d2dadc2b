"""How a limit should be resized, without any call: windows of samples, and the two rules."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisors import AdaptiveSample, AdaptiveState, Aimd, Gradient
from supervisors._adapting import Trial, Window

CALM = {"ramping": False, "usual": 1.0}


def state(size, **fields):
    return AdaptiveState(float(size), 1, 200, **fields)


def sample(size, seconds=1.0, *, failed=0, in_use=None, doubt=1.0):
    return AdaptiveSample(seconds, 100, failed, size if in_use is None else in_use, size, doubt)


# ---- windows


def filled(wanted, *calls, in_use=1):
    window = Window(0.0, wanted)
    for seconds in calls:
        window = window.joined(in_use)
        window = window.broke() if seconds is None else window.succeeded(seconds)
    return window


def test_a_window_tells_the_typical_call():
    told = filled(4, 1.0, 1.0, 4.0, 4.0, in_use=3).sample(5)
    assert (told.seconds, told.calls, told.failed, told.in_use, told.size) == (pytest.approx(2.0), 4, 0, 3, 5)
    assert told.doubt == pytest.approx(math.sqrt(2))


def test_one_call_that_hung_does_not_outweigh_the_rest():
    assert filled(20, *[1.0] * 19, 60.0).sample(5).seconds < 1.3


def test_how_long_a_failed_call_took_tells_nothing():
    told = filled(4, 2.0, None, None, 2.0).sample(5)
    assert (told.seconds, told.calls, told.failed) == (pytest.approx(2.0), 4, 2)
    assert filled(2, None, None).sample(5).seconds is None


def test_calls_of_no_length_can_be_compared_too():
    assert filled(2, 0.0, 0.0).sample(1).seconds > 0


def overtaken(window, times):
    for _ in range(times):
        window = window.passed()
    return window


def test_a_window_is_over_when_all_have_ended_and_its_time_is_up():
    assert not filled(20, *[1.0] * 19).is_over(5.0, 1.0)
    assert filled(20, *[1.0] * 20).is_over(5.0, 1.0)
    assert not filled(20, *[1.0] * 20).is_over(0.5, 1.0)


def test_calls_that_tell_nothing_are_not_waited_for():
    window = filled(10, *[1.0] * 8)
    assert window.joined(1).told_nothing().joined(1).told_nothing().is_over(5.0, 1.0)


def test_calls_that_hang_are_not_waited_for_when_as_many_have_overtaken_them():
    window = filled(10, *[1.0] * 5)
    assert not overtaken(window, 9).is_over(50.0, 1.0)
    assert overtaken(window, 10).is_over(50.0, 1.0)


def test_the_last_tenth_is_not_waited_for_when_a_quarter_as_many_have_overtaken_it():
    assert not overtaken(filled(20, *[1.0] * 17), 19).is_over(50.0, 1.0)
    window = filled(20, *[1.0] * 18)
    assert not overtaken(window, 4).is_over(50.0, 1.0)
    assert overtaken(window, 5).is_over(50.0, 1.0)


def test_a_window_full_of_failures_is_over_at_once():
    assert not filled(20, *[None] * 10).is_over(0.0, 1.0)
    assert filled(20, *[None] * 11).is_over(0.0, 1.0)


# ---- both rules

RULES = [Aimd(latency_target=1.5), Gradient()]
SAMPLES = st.lists(
    st.tuples(st.one_of(st.none(), st.floats(1e-6, 1e4)), st.integers(0, 100), st.integers(0, 300), st.floats(1, 3)),
    max_size=200,
)


@pytest.mark.parametrize("rule", RULES)
@given(samples=SAMPLES, floor=st.integers(1, 20), span=st.integers(0, 200), first=st.integers(0, 300))
def test_the_size_stays_between_floor_and_ceiling(rule, samples, floor, span, first):
    now = AdaptiveState(0.0, floor, floor + span).sized(first)
    for seconds, failed, in_use, doubt in samples:
        told = AdaptiveSample(None if failed == 100 else seconds, 100, failed, in_use, now.tokens, doubt)
        now = rule.adapt(now, told)
        assert floor <= now.tokens <= floor + span
        assert math.isfinite(now.size)


@pytest.mark.parametrize("rule", RULES)
@given(st.integers(1, 200), st.floats(0, 0.74), st.booleans())
def test_it_does_not_grow_while_it_is_not_what_holds_calls_back(rule, size, share, ramping):
    before = state(size, ramping=ramping, usual=1.0)
    assert rule.adapt(before, sample(size, in_use=int(size * share))).size == size


@pytest.mark.parametrize("rule", RULES)
@given(st.integers(2, 200), st.integers(11, 100), st.one_of(st.none(), st.floats(0.1, 2.0)))
def test_failures_shrink_it(rule, size, failed, seconds):
    assert rule.adapt(state(size, **CALM), sample(size, seconds, failed=failed)).size == pytest.approx(
        max(1.0, size * 0.8)
    )


@pytest.mark.parametrize("rule", RULES)
def test_few_failures_are_no_overload(rule):
    assert rule.adapt(state(10, **CALM), sample(10, failed=10)).size > 10


@pytest.mark.parametrize("rule", RULES)
def test_it_shrinks_from_what_was_really_in_use(rule):
    assert rule.adapt(state(100, **CALM), sample(100, failed=50, in_use=10)).size == pytest.approx(8.0)


@pytest.mark.parametrize("rule", RULES)
def test_until_the_first_overload_it_doubles(rule):
    assert rule.adapt(state(8, usual=1.0), sample(8)).size == 16
    after = rule.adapt(state(16, usual=1.0), sample(16, failed=50))
    assert not after.ramping


# ---- Aimd


def test_aimd_grows_by_steps_and_shrinks_by_a_factor():
    rule = Aimd(increase=2, decrease=0.5, latency_target=1.5)
    assert rule.adapt(state(10, ramping=False), sample(10, 1.5)).size == 12
    assert rule.adapt(state(10, ramping=False), sample(10, 1.51)).size == 5


def test_aimd_without_a_target_looks_at_failures_only():
    assert Aimd().adapt(state(10, ramping=False), sample(10, 1e6)).size == 11
    assert Aimd().adapt(state(10, ramping=False), sample(10, None)).size == 11


def test_aimd_adds_nothing_in_the_first_window_after_an_overload():
    now, sizes = state(10, ramping=False), []
    for failed in (50, 50, 0, 0, 0):
        now = Aimd().adapt(now, sample(now.tokens, failed=failed))
        sizes.append(now.size)
    assert sizes == [pytest.approx(size) for size in (8.0, 6.4, 6.4, 7.4, 8.4)]


# ---- Gradient

WELL_KNOWN = {**CALM, "known": 100}


def test_gradient_shrinks_by_as_much_as_calls_are_slower_and_a_little_more():
    assert Gradient().adapt(state(40, **CALM), sample(40, 1.25)).size == round(40 / 1.25 / 1.05) == 30


def test_gradient_finds_out_that_its_usual_latency_is_too_long():
    now = state(20, **{**WELL_KNOWN, "usual": 1.2, "calm": -1})
    for _ in range(200):  # a provider of twenty at once, with no wait in a second
        now = Gradient().adapt(now, sample(now.tokens, max(1.0, now.tokens / 20), doubt=1.02))
    assert now.usual < 1.06


def test_gradient_smooths():
    assert Gradient(smoothing=0.5).adapt(state(40, **CALM), sample(40, 1.25)).size == 35


def test_gradient_takes_no_chance_for_a_queue():
    assert Gradient().adapt(state(20, **WELL_KNOWN), sample(20, 1.20, doubt=1.1)).size > 20
    assert Gradient().adapt(state(20, **WELL_KNOWN), sample(20, 1.25, doubt=1.1)).size < 20


def test_gradient_bears_more_while_it_knows_little_of_what_is_usual():
    assert Gradient().adapt(state(20, known=1, **CALM), sample(20, 1.25, doubt=1.1)).size > 20


def test_gradient_gives_up_no_more_than_half_at_once():
    assert Gradient().adapt(state(20, **WELL_KNOWN), sample(20, 2.4, doubt=1.5)).size == 10


@pytest.mark.parametrize("known", [1, 2])
def test_gradient_measures_once_more_before_its_first_windows_end_the_doubling(known):
    after = Gradient().adapt(state(4, usual=1.0, known=known), sample(4, 1.2))
    assert (after.size, after.ramping, after.known) == (4, True, known + 1)
    assert after.usual == pytest.approx(1 + 0.2 / (known + 1))


@pytest.mark.parametrize("before", [{"usual": 1.0, "known": 3}, {**CALM, "known": 1}])
def test_gradient_that_knows_enough_or_has_found_a_size_does_not(before):
    assert Gradient().adapt(state(4, **before), sample(4, 1.2)).size == 3


def test_gradient_takes_no_token_for_less_than_half_of_one():
    after = Gradient().adapt(state(4, usual=1.0, known=3), sample(4, 1.07))
    assert (after.size, after.calm, after.ramping) == (4, -1, True)
    assert Gradient().adapt(state(4, usual=1.0, known=3), sample(4, 1.12)).size == 3


def test_gradient_takes_what_one_token_more_does_for_no_jump():
    after = Gradient().adapt(state(3, **WELL_KNOWN), sample(3, 1.5))
    assert (after.size, after.trial) == (2, None)
    assert Gradient().adapt(state(3, **WELL_KNOWN), sample(3, 1.7)).trial is not None


@pytest.mark.parametrize(("size", "then"), [(2, 3), (4, 5), (6.5, 7.5), (8, 10), (16, 20), (100, 110)])
def test_gradient_takes_no_step_that_would_look_like_a_jump(size, then):
    assert Gradient().adapt(state(size, calm=40, **CALM), sample(int(size))).size == then


def test_gradient_learns_what_is_usual_as_an_average_of_the_windows_after_a_decrease():
    after = Gradient().adapt(state(20, calm=-1, known=4, **CALM), sample(20, 1.05))
    assert (after.usual, after.known) == (pytest.approx(1.01), 5)


def test_gradient_learns_little_from_windows_that_may_have_a_queue():
    for calm, seconds in ((1, 1.05), (-1, 1.3)):
        after = Gradient().adapt(state(20, calm=calm, known=4, **CALM), sample(20, seconds))
        assert (after.usual, after.known) == (pytest.approx(1 + (seconds - 1) / 100), 4)


def test_gradient_goes_on_learning_when_it_knows_much():
    after = Gradient(memory=10).adapt(state(20, calm=-1, known=10, **CALM), sample(20, 1.04))
    assert (after.usual, after.known) == (pytest.approx(1.004), 10)


def test_gradient_grows_faster_the_longer_it_is_calm():
    now, sizes = state(25, **CALM), []
    for _ in range(5):
        sizes.append(now.size)
        now = Gradient().adapt(now, sample(now.tokens))
    assert [later - earlier for earlier, later in pairwise(sizes)] == [0.5, 1.0, 1.5, 2.0]
    assert Gradient().adapt(state(25, calm=40, **CALM), sample(25)).size == 30  # at most the square root


def test_gradient_tries_half_the_size_now_and_then_and_comes_back():
    now = state(40, windows=49, **CALM)
    trying = Gradient().adapt(now, sample(40))
    assert (trying.tokens, trying.trial) == (20, Trial(40.0, 1.0, planned=True))
    back = Gradient().adapt(trying, sample(20))
    assert (back.tokens, back.trial, back.windows) == (40, None, 0)


def test_gradient_learns_in_a_trial_how_long_calls_take_now():
    trying = state(20, trial=Trial(40.0, 1.05, planned=True), **WELL_KNOWN)
    assert Gradient().adapt(trying, sample(20, 1.02)).usual == pytest.approx(1.006)
    assert Gradient().adapt(trying, sample(20, 0.8)).usual == pytest.approx(0.94)  # one window, off by chance
    for seconds in (0.7, 1.5):  # another latency altogether
        after = Gradient().adapt(trying, sample(20, seconds))
        assert (after.usual, after.known) == (seconds, 1)


def test_gradient_sees_a_queue_when_half_the_size_takes_away_most_of_what_it_could():
    trying = state(20, trial=Trial(40.0, 2.0, planned=True), **WELL_KNOWN)
    assert Gradient().adapt(trying, sample(20, 1.6)).tokens == 40
    assert Gradient().adapt(trying, sample(20, 1.4)).tokens == 10


def test_gradient_takes_a_trial_for_more_the_less_it_knew():
    after = Gradient().adapt(state(20, trial=Trial(40.0, 1.05, planned=True), **CALM), sample(20, 1.02))
    assert (after.usual, after.known) == (pytest.approx(1.01), 2)


def test_gradient_takes_what_is_left_of_a_queue_for_no_usual_latency():
    trying = state(20, trial=Trial(40.0, 2.0, planned=True), **WELL_KNOWN)
    after = Gradient().adapt(trying, sample(20, 1.2))
    assert (after.tokens, after.usual) == (10, 1.0)
    assert Gradient().adapt(trying, sample(20, 0.9)).usual == pytest.approx(0.97)


def test_gradient_that_began_far_too_high_halves_until_that_helps_no_more():
    now, sizes = state(160), []
    for _ in range(8):
        sizes.append(now.tokens)
        now = Gradient().adapt(now, sample(now.tokens, max(1.0, now.tokens / 10)))
    assert sizes[:6] == [160, 80, 40, 20, 10, 5]
    assert 9 <= sizes[6] <= 12
    assert now.usual == pytest.approx(1.0)


def test_gradient_sees_a_jump_that_is_a_queue():
    trying = Gradient().adapt(state(40, **CALM), sample(40, 2.0))
    assert (trying.tokens, trying.trial.planned) == (20, False)
    after = Gradient().adapt(trying, sample(20, 1.0))
    assert (after.usual, after.trial) == (pytest.approx(1.0, rel=0.01), None)
    assert 20 <= after.size < 22


def test_gradient_sees_a_jump_that_is_longer_calls():
    trying = Gradient().adapt(state(40, **CALM), sample(40, 2.0))
    after = Gradient().adapt(trying, sample(20, 2.0))
    assert (after.tokens, after.usual) == (40, 2.0)


def test_gradient_tries_again_whether_calls_are_longer_for_the_capacity_may_have_fallen_meanwhile():
    after = Gradient().adapt(state(6, trial=Trial(12.0, 1.5, planned=False), **WELL_KNOWN), sample(6, 1.5))
    assert (after.tokens, after.usual) == (12, 1.5)
    now = after.shrunk(6.0)  # the provider refused, and can do four
    now = Gradient().adapt(now, sample(6, 1.5))
    assert (now.tokens, now.trial.planned) == (3, True)
    now = Gradient().adapt(now, sample(3, 1.0))
    assert now.usual == 1.0
    assert now.tokens < 6


def test_gradient_that_shrinks_in_vain_asks_whether_there_is_a_queue():
    now = state(40, **WELL_KNOWN)
    for _ in range(4):
        now = Gradient().adapt(now, sample(now.tokens, 1.2))
    assert now.trial is not None
    back = Gradient().adapt(now, sample(now.tokens, 1.2))
    assert back.size == now.trial.back
    assert back.usual == pytest.approx(1.1, rel=0.01)  # what was known counts as one window


def test_gradient_follows_calls_that_become_shorter():
    now = state(40, **CALM)
    for _ in range(10):
        now = Gradient().adapt(now, sample(40, 0.5))
    assert now.usual < 0.53


def test_gradient_takes_what_the_floor_shows_for_usual():
    now = AdaptiveState(5.0, 5, 200, ramping=False, usual=1.0)
    for _ in range(12):
        now = Gradient().adapt(now, sample(now.tokens, 3.0))
    assert now.usual > 2.5


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: Aimd(increase=0), ValueError),
        (lambda: Aimd(increase="1"), TypeError),
        (lambda: Aimd(decrease=1.0), ValueError),
        (lambda: Aimd(decrease=0), ValueError),
        (lambda: Aimd(latency_target=0), ValueError),
        (lambda: Aimd(failures=1.1), ValueError),
        (lambda: Gradient(tolerance=1.0), ValueError),
        (lambda: Gradient(tolerance=float("nan")), TypeError),
        (lambda: Gradient(smoothing=0), ValueError),
        (lambda: Gradient(memory=0), ValueError),
        (lambda: Gradient(trial_every=1.5), TypeError),
        (lambda: Gradient(failures=-0.1), ValueError),
    ],
)
def test_a_rule_that_cannot_be_is_refused(make, error):
    with pytest.raises(error, match="must"):
        make()
