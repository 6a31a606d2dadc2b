"""Rates at work, on virtual time."""

from __future__ import annotations

import pickle

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from supervisors import CapacityQueueFull, CapacityRefused, CapacityTimeout, Limit, Limits, RateLimit
from supervisors.testing import seed_schedule


async def take(rate, n, served, name=None):
    await rate.take(n)
    served.append((trio.current_time(), name or n))


async def at_once(rate, *wishes):
    """Let them ask in this order, and return when each was served."""
    served = []
    async with trio.open_nursery() as nursery:
        for n in wishes:
            nursery.start_soon(take, rate, n, served)
            await wait_all_tasks_blocked()
    return served


async def test_a_burst_goes_at_once_and_the_rest_at_the_rate(autojump_clock):
    assert await at_once(RateLimit("rpm", 2, per=1.0), 1, 1, 1, 1, 1) == [(0, 1), (0, 1), (0.5, 1), (1.0, 1), (1.5, 1)]


async def test_a_burst_of_its_own_size(autojump_clock):
    assert await at_once(RateLimit("rpm", 60, per=60, burst=1), 1, 1, 1) == [(0, 1), (1, 1), (2, 1)]


async def test_permits_that_nobody_took_do_not_pile_up_over_the_burst(autojump_clock):
    rate = RateLimit("rpm", 10, burst=3)
    await trio.sleep(1000)
    assert rate.available == 3


async def test_a_large_request_is_not_starved_by_small_ones(autojump_clock):
    served = await at_once(RateLimit("tpm", 10, burst=10), 10, 10, 1, 1)
    assert served == [(0, 10), (1.0, 10), (1.1, 1), (1.2, 1)]


async def test_who_may_not_wait_is_told_when_to_come_again(autojump_clock):
    rate = RateLimit("tpm", 90_000, per=60)
    rate.take_nowait(90_000)
    with pytest.raises(CapacityRefused, match=r"rate 'tpm': 1200 .*90000 per 60 s.*try again in 0\.8 s") as refused:
        rate.take_nowait(1200)
    assert refused.value.retry_after == pytest.approx(0.8)
    await trio.sleep(refused.value.retry_after)
    rate.take_nowait(1200)


async def test_how_long_to_wait_survives_pickling(autojump_clock):
    rate = RateLimit("tpm", 1)
    rate.take_nowait()
    with pytest.raises(CapacityRefused) as refused:
        rate.take_nowait()
    assert pickle.loads(pickle.dumps(refused.value)).retry_after == 1.0


@given(st.integers(1, 999), st.floats(0.001, 1000), st.floats(0, 1e8))
def test_who_comes_again_when_told_is_served(permits, per, start):
    async def main():
        await trio.sleep(start)
        rate = RateLimit("rpm", permits, per=per, burst=1)
        rate.take_nowait()
        with pytest.raises(CapacityRefused) as refused:
            rate.take_nowait()
        await trio.sleep(refused.value.retry_after)
        rate.take_nowait()

    trio.run(main, clock=MockClock(autojump_threshold=0))


async def test_who_may_not_wait_overtakes_nobody(autojump_clock):
    rate, served = RateLimit("tpm", 10), []
    rate.take_nowait(5)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(take, rate, 10, served)
        await wait_all_tasks_blocked()
        with pytest.raises(CapacityRefused) as refused:
            rate.take_nowait(1)
        # Five are there, but the other wants ten first.
        assert refused.value.retry_after == pytest.approx(0.6)
    assert served == [(0.5, 10)]


async def test_who_comes_in_the_moment_of_anothers_turn_does_not_overtake_it(autojump_clock):
    rate, served = RateLimit("rpm", 1), []
    rate.take_nowait()

    async def late():
        await trio.sleep(1.0)
        await take(rate, 1, served, "late")

    for _ in range(20):
        served.clear()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(late)
            nursery.start_soon(take, rate, 1, served, "first")
        assert [name for _, name in served] == ["first", "late"]


async def test_those_who_were_due_while_the_loop_stood_still_are_served_before_one_who_comes_now(mock_clock):
    rate, served = RateLimit("tpm", 10), []
    rate.take_nowait(10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(take, rate, 3, served)
        await wait_all_tasks_blocked()
        mock_clock.jump(0.5)
        rate.take_nowait(2)
        with pytest.raises(CapacityRefused):
            rate.take_nowait(1)
    assert served == [(0.5, 3)]


async def test_a_block_takes_one(autojump_clock):
    rate = RateLimit("rpm", 1)
    async with rate:
        assert rate.available == 0
    assert rate.available == 0


async def test_what_a_block_raises_comes_out_of_it():
    with pytest.raises(ValueError, match="boom"):
        async with RateLimit("rpm", 1):
            raise ValueError("boom")


async def test_a_cancelled_waiter_spends_nothing_and_those_behind_move_up(autojump_clock):
    rate, served = RateLimit("tpm", 10), []
    rate.take_nowait(10)
    leaving = trio.CancelScope()

    async def leaver():
        with leaving:
            await take(rate, 10, served)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(leaver)
        await wait_all_tasks_blocked()
        nursery.start_soon(take, rate, 2, served)
        await trio.sleep(0.5)
        leaving.cancel()
        await wait_all_tasks_blocked()
        assert served == [(0.5, 2)]
    assert rate.waiting == 0
    assert rate.available == 3


async def test_who_is_cancelled_already_spends_nothing(autojump_clock):
    rate = RateLimit("rpm", 1)
    with trio.CancelScope() as scope:
        scope.cancel()
        await rate.take()
    assert scope.cancelled_caught
    assert rate.available == 1


async def test_one_who_is_cancelled_in_the_moment_of_its_turn_loses_nothing(autojump_clock):
    rate, served = RateLimit("rpm", 1), []
    rate.take_nowait()
    leaving = trio.CancelScope()

    async def leaver():
        with leaving:
            await take(rate, 1, served)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(leaver)
        await wait_all_tasks_blocked()
        await trio.sleep(0.5)
        leaving.cancel()
        rate.adjust(-1)  # serves it, although it is on its way out
    assert rate.available == 1
    assert served == []


async def test_a_line_of_bounded_length_refuses_one_more(autojump_clock):
    rate, served = RateLimit("rpm", 1, max_waiting=1), []
    rate.take_nowait()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(take, rate, 1, served)
        await wait_all_tasks_blocked()
        with pytest.raises(CapacityQueueFull, match="max_waiting=1") as refused:
            await rate.take()
        assert refused.value.retry_after == pytest.approx(2.0)
        assert rate.statistics().refused == 1
    assert served == [(1.0, 1)]


async def test_a_wait_has_its_timeout(autojump_clock):
    rate = RateLimit("rpm", 1, per=10, wait_timeout=2.5)
    rate.take_nowait()
    with pytest.raises(CapacityTimeout, match=r"2\.5 s") as late:
        await rate.take()
    assert trio.current_time() == 2.5
    assert late.value.retry_after == pytest.approx(7.5)
    assert rate.waiting == 0


async def test_those_behind_one_who_gave_up_move_up(autojump_clock):
    rate, served = RateLimit("tpm", 10, wait_timeout=0.5), []
    rate.take_nowait(10)
    async with trio.open_nursery() as nursery:

        async def patient():
            with pytest.raises(CapacityTimeout):
                await rate.take(10)

        nursery.start_soon(patient)
        await wait_all_tasks_blocked()
        await trio.sleep(0.25)
        nursery.start_soon(take, rate, 4, served)
    assert served == [(0.5, 4)]


async def test_permits_that_come_with_the_deadline_are_in_time(autojump_clock):
    rate = RateLimit("rpm", 1, wait_timeout=1.0)
    rate.take_nowait()
    await rate.take()
    assert trio.current_time() == 1.0


async def test_what_was_used_more_than_estimated_is_paid_off_first(autojump_clock):
    rate = RateLimit("tpm", 100)
    await rate.take(50)
    rate.adjust(150)
    assert rate.available == -100
    await rate.take(1)
    assert trio.current_time() == pytest.approx(1.01)


async def test_one_in_line_waits_longer_when_more_was_used(autojump_clock):
    rate, served = RateLimit("tpm", 100), []
    await rate.take(100)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(take, rate, 100, served)
        await trio.sleep(0.5)
        rate.adjust(100)
    assert served == [(2.0, 100)]


async def test_what_comes_back_serves_those_who_wait_at_once(autojump_clock):
    rate, served = RateLimit("tpm", 100), []
    await rate.take(100)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(take, rate, 60, served)
        await wait_all_tasks_blocked()
        rate.adjust(-60)
    assert served == [(0.0, 60)]


async def test_a_faster_rate_is_felt_by_those_who_wait(autojump_clock):
    rate, served = RateLimit("rpm", 1, per=60), []
    await rate.take()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(take, rate, 1, served)
        await trio.sleep(30)
        rate.resize(1, per=1)
    assert served == [(30.5, 1)]


async def test_a_slower_rate_is_felt_too(autojump_clock):
    rate, served = RateLimit("rpm", 1), []
    await rate.take()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(take, rate, 1, served)
        await trio.sleep(0.5)
        rate.resize(1, per=10)
    assert served == [(5.5, 1)]


async def test_one_who_waits_for_more_than_a_smaller_burst_is_served_all_the_same(autojump_clock):
    rate, served = RateLimit("tpm", 10), []
    await rate.take(10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(take, rate, 10, served)
        nursery.start_soon(take, rate, 1, served)
        await wait_all_tasks_blocked()
        rate.resize(10, burst=5)
    assert sorted(served) in ([(0.5, 10), (1.1, 1)], [(0.1, 1), (0.6, 10)])


async def test_a_burst_that_was_not_given_follows_the_permits(autojump_clock):
    rate = RateLimit("rpm", 5)
    rate.resize(2)
    assert rate.statistics().burst == 2
    given = RateLimit("rpm", 5, burst=4)
    given.resize(2)
    assert given.statistics().burst == 4


async def test_a_rate_tells_its_figures(autojump_clock):
    rate = RateLimit("rpm", 2)
    await rate.take(2)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(take, rate, 2, [])
        await trio.sleep(0.75)
        now = rate.statistics()
        assert (now.permits, now.per, now.burst, now.available, now.waiting, now.oldest_wait, now.refused) == (
            (2, 1.0, 2, 1, 1, 0.75, 0)
        )
        assert "1 waiting" in repr(rate)


async def test_a_limit_and_a_rate_are_held_together(autojump_clock):
    limits, began = Limits([Limit("openai", 2), RateLimit("openai-rpm", 1)]), []

    async def call():
        async with limits.hold("openai", "openai-rpm"):
            began.append(trio.current_time())
            await trio.sleep(2.5)

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(call)
    # By the rate one a second, by the limit two at a time.
    assert began == [0.0, 1.0, 2.5, 3.5]


def test_a_rate_may_be_made_before_there_is_a_clock():
    rate = RateLimit("rpm", 1)

    async def main():
        await rate.take()
        assert rate.available == 0

    trio.run(main)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"name": ""}, ValueError),
        ({"name": 5}, TypeError),
        ({"permits": 0}, ValueError),
        ({"permits": 1.5}, TypeError),
        ({"permits": True}, TypeError),
        ({"per": 0}, ValueError),
        ({"per": float("inf")}, ValueError),
        ({"per": "1 s"}, TypeError),
        ({"burst": 0}, ValueError),
        ({"burst": 0.5}, TypeError),
        ({"max_waiting": -1}, ValueError),
        ({"max_waiting": "x"}, TypeError),
        ({"wait_timeout": -1}, ValueError),
    ],
)
def test_a_rate_that_cannot_be_is_refused(options, error):
    with pytest.raises(error, match="must"):
        RateLimit(**{"name": "rpm", "permits": 5, **options})


@pytest.mark.parametrize(("n", "error"), [(0, ValueError), (-1, ValueError), (1.0, TypeError), (6, ValueError)])
async def test_a_request_that_cannot_be_served_is_refused(n, error):
    rate = RateLimit("rpm", 5)
    with pytest.raises(error, match="rate 'rpm'"):
        await rate.take(n)
    with pytest.raises(error, match="rate 'rpm'"):
        rate.take_nowait(n)
    assert rate.available == 5


async def test_an_adjustment_is_a_whole_number():
    with pytest.raises(TypeError, match="whole number"):
        RateLimit("rpm", 5).adjust(1.5)


TAKERS = st.lists(
    st.tuples(st.floats(0, 5), st.integers(1, 8), st.one_of(st.none(), st.floats(0, 3))), min_size=1, max_size=25
)


@given(TAKERS, st.integers(1, 20), st.sampled_from([0.25, 1.0, 3.0]), st.integers(0, 2**32))
def test_no_window_sees_too_much_and_nobody_starves(takers, permits, per, seed):
    asked, served, left = [], [], []

    async def taker(rate, name, start, n, patience):
        await trio.sleep(start)
        asked.append(name)
        with trio.move_on_after(float("inf") if patience is None else patience) as scope:
            await rate.take(n)
            served.append((trio.current_time(), n, name))
        if scope.cancelled_caught:
            left.append(name)

    async def main():
        rate = RateLimit("rpm", permits, per=per, burst=8)
        async with trio.open_nursery() as nursery:
            for name, (start, n, patience) in enumerate(takers):
                nursery.start_soon(taker, rate, name, start, n, patience)
        assert rate.waiting == 0
        # What was taken is what was served: who left has spent nothing.
        assert rate.available >= 8 - sum(n for _, n, _ in served)
        everything = 5 + sum(n for _, n, _ in takers) * per / permits
        assert trio.current_time() <= everything + 3
        await trio.sleep(1000)
        assert rate.available == 8

    with seed_schedule(seed):
        trio.run(main, clock=MockClock(autojump_threshold=0))
    assert sorted([name for _, _, name in served] + left) == list(range(len(takers)))
    for first, (began, _, _) in enumerate(served):
        total = 0
        for then, n, _ in served[first:]:
            total += n
            assert total <= 8 + (then - began) * permits / per + 1e-6
    # Nobody is served before one who asked earlier and stayed; Trio shuffles those of one moment.
    at = {name: then for then, _, name in served}
    times = [at[name] for name in asked if name in at]
    assert times == sorted(times)
