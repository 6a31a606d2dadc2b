"""The arithmetic of rates, against fractions that know no rounding."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisors._bucket import Bucket
from supervisors._refusal import seconds_until

MEASURES = st.tuples(
    st.integers(1, 1000), st.sampled_from([0.1, 1 / 3, 0.5, 1.0, 7.0, 60.0, 3600.0]), st.integers(1, 500)
)
STARTS = st.sampled_from([0.0, 0.1, 12345.678, 3e7, 1e9])  # 1e9 seconds are thirty years
PAUSES = st.one_of(st.just(0.0), st.floats(0.0, 2.0), st.floats(0.0, 500.0))


class Exact:
    """The same bucket in fractions: a level that rises and is capped."""

    def __init__(self, permits, per, burst, now):
        self.rate, self.burst, self.level, self.at = Fraction(permits) / Fraction(per), burst, Fraction(burst), now

    def look(self, now):
        self.level = min(Fraction(self.burst), self.level + (Fraction(now) - Fraction(self.at)) * self.rate)
        self.at = now
        return self.level

    def resize(self, permits, per, burst):
        self.rate, self.burst = Fraction(permits) / Fraction(per), burst
        self.level = min(self.level, Fraction(burst))


def slack(bucket, now):
    """Permits that pass in the few rounding errors of a time as large as `now`: the clock itself knows no better."""
    return 8 * math.ulp(now + 1.0) * bucket.permits / bucket.per + 1e-6


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("take"), st.integers(1, 600)),
        st.tuples(st.just("adjust"), st.integers(-50, 50)),
        st.tuples(st.just("resize"), MEASURES),
    ),
    max_size=40,
)


@given(MEASURES, STARTS, STEPS, st.lists(PAUSES, min_size=40, max_size=40))
def test_a_bucket_gives_what_an_exact_one_gives(measures, now, steps, pauses):
    bucket, exact = Bucket(*measures, full_at=now), Exact(*measures, now)
    for (step, argument), pause in zip(steps, pauses, strict=False):
        now += pause
        level = exact.look(now)
        assert abs(bucket.level(now) - level) <= 1 + slack(bucket, now)
        if step == "resize":
            bucket = bucket.resized(now, *argument)
            exact.resize(*argument)
        elif step == "adjust":
            bucket = bucket.adjusted(now, argument)
            exact.level = min(Fraction(exact.burst), level - argument)
        else:
            n = min(argument, bucket.burst)
            after = bucket.take(now, n)
            if abs(level - n) > slack(bucket, now):
                assert (after is not None) == (level > n)
            if after is not None:
                bucket, exact.level = after, level - n


@given(MEASURES, STARTS, st.lists(st.tuples(PAUSES, st.integers(1, 500)), max_size=60))
def test_no_window_sees_more_than_the_burst_and_what_came_in(measures, now, wishes):
    permits, per, burst = measures
    bucket, taken = Bucket(*measures, full_at=now), []
    for pause, n in wishes:
        now += pause
        if (after := bucket.take(now, min(n, burst))) is not None:
            bucket = after
            taken.append((now, min(n, burst)))
    sums = [0, *accumulate(n for _, n in taken)]
    for first, (began, _) in enumerate(taken):
        for last in range(first, len(taken)):
            came_in = (taken[last][0] - began) * permits / per
            assert sums[last + 1] - sums[first] <= burst + came_in + slack(bucket, now)


@given(MEASURES, STARTS, st.lists(st.integers(1, 500), min_size=1, max_size=30))
def test_permits_are_there_at_the_moment_that_was_promised_and_not_before(measures, now, wishes):
    bucket = Bucket(*measures, full_at=now)
    for wish in wishes:
        n = min(wish, bucket.burst)
        due = bucket.due(now, n)
        if due > now:
            assert bucket.take(math.nextafter(due, -math.inf), n) is None
            now = due
        taken = bucket.take(now, n)
        assert taken is not None
        assert bucket.level(now) >= n
        bucket = taken


@pytest.mark.parametrize("start", [0.0, 1e9])
@pytest.mark.parametrize(("permits", "per"), [(3, 0.1), (7, 1.0), (500, 60.0)])
def test_a_hundred_thousand_permits_later_the_rate_is_the_same(permits, per, start):
    now, bucket = start, Bucket(permits, per, permits, full_at=start)
    count = 100_000
    for _ in range(count):
        now = max(now, bucket.due(now, 1))
        bucket = bucket.take(now, 1)
        assert bucket is not None
    exact = Fraction(start) + (count - permits) * Fraction(per) / permits
    assert abs(Fraction(now) - exact) <= 2 * math.ulp(now)


def test_who_waited_for_more_than_a_smaller_bucket_holds_goes_into_debt():
    bucket = Bucket(10, 1.0, 10, full_at=0.0).resized(0.0, 10, 1.0, 4)
    after = bucket.take(0.0, 10)
    assert after is not None
    assert after.level(0.0) == -6
    assert after.due(0.0, 1) == pytest.approx(0.7)


def test_a_larger_bucket_is_not_fuller_for_it():
    assert Bucket(10, 1.0, 10, full_at=0.0).resized(5.0, 10, 1.0, 100).level(5.0) == 10


def test_more_cannot_come_back_than_fits():
    bucket = Bucket(1, 1.0, 5, full_at=0.0).take(0.0, 2)
    assert bucket is not None
    assert bucket.adjusted(0.0, -100).level(0.0) == 5


@given(st.floats(0.0, 1e9), st.floats(0.0, 1e5))
def test_who_sleeps_until_then_wakes_no_hair_too_early(now, wait):
    then = now + wait
    assert now + seconds_until(now, then) >= then
    assert seconds_until(now, then) == pytest.approx(then - now, abs=1e-6)


def test_a_difference_that_is_rounded_down_is_made_up_for():
    now, then = 0.5, 2.0**52 + 1
    assert now + (then - now) < then
    assert now + seconds_until(now, then) >= then


def test_what_is_past_needs_no_sleep():
    assert seconds_until(5.0, 3.0) == 0.0
