"""Backoff (B1 to B15, what concerns supervision): how long a crashed child waits before it starts again."""

from __future__ import annotations

import itertools
import math
import pickle
from random import Random

import pytest
import trio
from tenacity import wait_exponential, wait_fixed
from tenacity.wait import wait_chain
from trio.testing import wait_all_tasks_blocked

from supervisors import (
    Backoff,
    ChildSpec,
    ChildStartError,
    ChildStatus,
    RestartLimit,
    RestartLimitExceeded,
    Strategy,
    exponential_backoff,
    open_pool,
    open_supervisor,
)

PLENTY = RestartLimit(1_000_000, 1_000_000.0)
DOUBLING = wait_exponential(multiplier=1, max=30)
PLAIN = exponential_backoff(1.0, 30.0, jitter=0.0)


@pytest.fixture(params=["supervisor", "pool"])
async def crashing(request, puppet):
    """Starts a child with a backoff under either kind of supervisor: `keeper, child = await crashing(backoff)`."""
    close = trio.Event()
    async with trio.open_nursery() as nursery:

        async def keep(backoff, limit, *, task_status):
            keeper = open_supervisor if request.param == "supervisor" else open_pool
            async with keeper(limit=limit, backoff=backoff) as service:
                child = puppet("a")
                if request.param == "pool":
                    await service.start_child(child.run, name="a")
                else:
                    await service.start_child(child.spec())
                task_status.started((service, child))
                await close.wait()

        async def start(backoff, limit=PLENTY):
            return await nursery.start(keep, backoff, limit)

        yield start
        close.set()


async def delay_after_crash(child):
    """How long the child is down after one crash."""
    crashed = trio.current_time()
    child.tell(ArithmeticError())
    await child.starts_again()
    return child.started_at[-1] - crashed


async def delays(child, count):
    return [await delay_after_crash(child) for _ in range(count)]


def in_a_row(expected):
    return [pytest.approx(seconds) for seconds in expected]


@pytest.mark.parametrize("wait", [DOUBLING, PLAIN], ids=["tenacity", "ours"])
async def test_B1_B3_the_wait_doubles_up_to_its_maximum_and_stays_there(crashing, wait):
    _, child = await crashing(wait)
    assert await delays(child, 8) == in_a_row([1, 2, 4, 8, 16, 30, 30, 30])


async def test_B1_any_wait_of_tenacity_will_do(crashing):
    _, child = await crashing(wait_chain(*[wait_fixed(3), wait_fixed(5)]))
    assert await delays(child, 4) == in_a_row([3, 5, 5, 5])


async def test_B1_a_plain_function_sees_the_attempt_and_the_error(crashing, boom):
    seen = []

    def wait(state):
        seen.append((state.attempt_number, state.outcome.exception()))
        return 2.0

    _, child = await crashing(wait)
    first = await child.crashes()
    await trio.sleep(3)
    second = await child.crashes()
    assert seen == [(1, first), (2, second)]


async def test_B1_without_a_backoff_the_restart_comes_at_once(crashing):
    _, child = await crashing(None)
    assert await delays(child, 3) == in_a_row([0, 0, 0])


async def test_B1_a_group_waits_together_and_starts_together(puppet):
    a, b = puppet.cast("a b")
    async with open_supervisor([a.spec(), b.spec()], strategy=Strategy.ONE_FOR_ALL, backoff=lambda _: 3.0):
        await b.crashes()
        assert (a.alive, b.alive) == (0, 0)
        await trio.sleep(5)
        assert a.started_at[1] == b.started_at[1] == pytest.approx(3.0)


async def test_B1_while_it_waits_a_child_shows_as_backing_off(crashing):
    keeper, child = await crashing(lambda _: 10.0)
    await child.crashes()
    assert keeper.child("a").status is ChildStatus.BACKING_OFF
    await trio.sleep(11)
    assert keeper.child("a").status is ChildStatus.RUNNING


# ---- B2, B3, B14: our own waits


def spread(backoff, attempt, draws=300):
    return [backoff.delay(attempt) for _ in range(draws)]


@pytest.mark.parametrize("attempt", range(12))
def test_B2_B3_jitter_stays_within_its_share_and_below_the_maximum(attempt):
    drawn = spread(exponential_backoff(1.0, 30.0, jitter=0.5, random=Random(attempt)), attempt)
    base = min(2.0**attempt, 30.0)
    assert max(drawn) <= min(base * 1.5, 30.0)
    assert min(drawn) >= min(base, 30.0 / 1.5)
    assert max(drawn) - min(drawn) > base * 0.2


def test_B2_the_same_seed_draws_the_same_waits():
    first, second = (exponential_backoff(random=Random(7)) for _ in range(2))
    assert spread(first, 3) == spread(second, 3)


def test_B2_another_seed_draws_other_waits():
    first, second = (exponential_backoff(random=Random(seed)) for seed in (7, 8))
    assert spread(first, 3) != spread(second, 3)


async def test_B2_a_seeded_backoff_repeats_whole_histories(in_virtual_time, puppet):
    async def history():
        child = puppet("a")
        async with open_supervisor([child.spec()], limit=PLENTY, backoff=exponential_backoff(random=Random(3))):
            for _ in range(5):
                await child.crashes()
                await trio.sleep(40)
        return [time - trio.current_time() for time in child.started_at]

    assert await history() == pytest.approx(await history())


def test_B3_at_the_maximum_there_is_jitter_still():
    drawn = spread(exponential_backoff(1.0, 30.0, jitter=0.5, random=Random(1)), 50)
    assert max(drawn) <= 30.0
    assert len(set(drawn)) > 250


@pytest.mark.parametrize(
    "wrong", [{"minimum": 0}, {"minimum": -1}, {"minimum": 5, "maximum": 4}, {"jitter": -0.1}, {"maximum": math.inf}]
)
def test_B3_bounds_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match=r"minimum|maximum|jitter"):
        exponential_backoff(**wrong)


def test_B2_a_backoff_survives_pickling_and_prints_its_numbers():
    backoff = exponential_backoff(2.0, 20.0, jitter=0.25)
    assert pickle.loads(pickle.dumps(backoff)) == backoff
    assert "20.0" in repr(backoff)


@pytest.mark.parametrize("attempt", [1_000, 5_000, 10**6, 10**18])
def test_B14_huge_counts_do_not_overflow(attempt):
    assert exponential_backoff(1.0, 30.0, jitter=0.0).delay(attempt) == 30.0


@pytest.mark.parametrize("wait", [DOUBLING, PLAIN], ids=["tenacity", "ours"])
async def test_B14_beyond_the_powers_of_two_that_a_float_holds_the_wait_is_the_maximum(crashing, wait):
    _, child = await crashing(wait)
    for _ in range(1100):
        await child.crashes()
        await trio.sleep(31)
    assert await delay_after_crash(child) == pytest.approx(30)


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
async def test_B14_a_wait_that_gives_no_number_of_seconds_ends_in_an_error_and_not_in_silence(puppet, wrong):
    a = puppet("a")
    with pytest.raises(ValueError, match="seconds"):
        async with open_supervisor([a.spec()], backoff=lambda _: wrong):
            await a.crashes()
            await trio.sleep_forever()


async def test_B14_a_wait_that_raises_ends_the_supervisor_with_its_error(puppet):
    def wait(_state):
        raise ZeroDivisionError

    a = puppet("a")
    with pytest.raises(ZeroDivisionError):
        async with open_supervisor([a.spec()], backoff=wait):
            await a.crashes()
            await trio.sleep_forever()


async def test_B14_a_wait_that_raises_ends_the_pool_with_its_error(puppet):
    def wait(_state):
        raise ZeroDivisionError

    a = puppet("a")
    with pytest.raises(ZeroDivisionError):
        async with open_pool(backoff=wait) as pool:
            await pool.start_child(a.run, name="a")
            await a.crashes()
            await trio.sleep_forever()


# ---- B4 to B7: counting


async def test_B4_after_a_quiet_time_the_waits_begin_anew(crashing):
    _, child = await crashing(Backoff(DOUBLING, reset_after=100))
    assert await delays(child, 3) == in_a_row([1, 2, 4])
    await trio.sleep(150)
    assert await delays(child, 2) == in_a_row([1, 2])


async def test_B4_the_quiet_time_is_the_limits_period_if_not_said_otherwise(crashing):
    _, child = await crashing(DOUBLING, RestartLimit(1_000, 100.0))
    assert await delays(child, 2) == in_a_row([1, 2])
    await trio.sleep(150)
    assert await delays(child, 1) == in_a_row([1])


async def test_B5_before_that_they_go_on(crashing):
    _, child = await crashing(Backoff(DOUBLING, reset_after=100))
    expected = [1, 2, 4, 8]
    for seconds in expected:
        assert await delay_after_crash(child) == pytest.approx(seconds)
        await trio.sleep(90)


async def test_B5_the_time_spent_waiting_is_no_quiet_time(crashing):
    _, child = await crashing(Backoff(lambda state: 60.0 * state.attempt_number, reset_after=100))
    assert await delays(child, 4) == in_a_row([60, 120, 180, 240])


async def test_B5_the_time_spent_starting_is_no_quiet_time(crashing):
    _, child = await crashing(Backoff(DOUBLING, reset_after=100))
    assert await delays(child, 2) == in_a_row([1, 2])
    child.start_seconds = 90.0
    await child.crashes()
    await trio.sleep(4 + 90 + 20)
    assert await delays(child, 1) == in_a_row([8])


async def test_B5_a_crash_of_another_child_does_not_lengthen_ones_own_waits(puppet):
    a, b = puppet.cast("a b")
    async with open_supervisor([a.spec(), b.spec()], limit=PLENTY, backoff=DOUBLING):
        assert await delays(a, 3) == in_a_row([1, 2, 4])
        assert await delays(b, 2) == in_a_row([1, 2])


async def test_B6_the_limit_holds_with_a_backoff_too(puppet):
    a = puppet("a")
    with pytest.raises(RestartLimitExceeded):
        async with open_supervisor([a.spec()], limit=RestartLimit(3, 1000), backoff=DOUBLING):
            assert await delays(a, 3) == in_a_row([1, 2, 4])
            await a.crashes()
            pytest.fail("the body goes on")


async def test_B7_B15_failed_starts_back_off_too(crashing, boom):
    keeper, child = await crashing(DOUBLING)
    child.fails.extend([boom(), boom(), boom()])
    await child.crashes()
    await trio.sleep(1.5)
    assert keeper.child("a").status is ChildStatus.BACKING_OFF
    await trio.sleep(20)
    assert child.started_at == in_a_row([0, 1, 3, 7, 15])
    assert keeper.child("a").status is ChildStatus.RUNNING


async def test_B7_a_round_that_failed_backs_off_too(puppet, boom):
    a, b = puppet.cast("a b")
    async with open_supervisor([a.spec(), b.spec()], strategy=Strategy.ONE_FOR_ALL, limit=PLENTY, backoff=DOUBLING):
        b.fails.extend([boom(), boom()])
        await a.crashes()
        await trio.sleep(20)
        assert [a.alive, b.alive] == [1, 1]
        assert b.started_at[1] == pytest.approx(1.0)
        assert len(b.started_at) == 4
        assert b.started_at[2] > b.started_at[1]
        assert b.started_at[3] - b.started_at[2] >= 1.0


async def test_B15_a_delayed_restart_that_crashes_is_scheduled_again(crashing):
    keeper, child = await crashing(lambda _: 2.0)
    for _ in range(3):
        await child.crashes()
        assert keeper.child("a").status is ChildStatus.BACKING_OFF
        await trio.sleep(2.5)
        assert keeper.child("a").status is ChildStatus.RUNNING


# ---- B9 and B10: calls during the wait


async def test_B9_a_child_is_stopped_at_once_while_it_backs_off(crashing):
    keeper, child = await crashing(lambda _: 100.0)
    await child.crashes()
    await keeper.stop_child("a")
    assert trio.current_time() == 0
    await trio.sleep(200)
    assert child.starts == 1


async def test_B9_a_child_stopped_while_it_backs_off_shows_as_stopped(puppet):
    a = puppet("a")
    async with open_supervisor([a.spec()], backoff=lambda _: 100.0) as supervisor:
        await a.crashes()
        await supervisor.stop_child("a")
        assert supervisor.child("a").status is ChildStatus.STOPPED


@pytest.mark.parametrize("strategy", list(Strategy))
async def test_B9_a_supervisor_is_left_at_once_while_its_children_back_off(puppet, strategy):
    a, b = puppet.cast("a b")
    async with open_supervisor([a.spec(), b.spec()], strategy=strategy, backoff=lambda _: 100.0):
        await a.crashes()
    assert trio.current_time() == 0
    assert (a.starts, b.starts) == (1, 1)


async def test_B9_a_pool_is_left_at_once_while_its_children_back_off(puppet):
    a = puppet("a")
    async with open_pool(backoff=lambda _: 100.0) as pool:
        await pool.start_child(a.run)
        await a.crashes()
    assert (trio.current_time(), a.starts) == (0, 1)


async def test_B9_a_drain_does_not_wait_for_a_backoff(crashing):
    keeper, child = await crashing(lambda _: 100.0)
    await child.crashes()
    report = await keeper.drain()
    assert (trio.current_time(), report.seconds, child.starts) == (0, 0, 1)


async def test_B10_a_manual_restart_skips_the_wait(puppet):
    a = puppet("a")
    async with open_supervisor([a.spec()], backoff=lambda _: 100.0) as supervisor:
        await a.crashes()
        await supervisor.restart_child("a")
        assert a.started_at == [0.0, 0.0]
        assert supervisor.child("a").status is ChildStatus.RUNNING
        await trio.sleep(200)
        assert a.starts == 2


async def test_B10_a_manual_restart_leaves_nothing_waiting_behind(puppet):
    a = puppet("a")
    async with open_supervisor([a.spec()], backoff=lambda _: 100.0) as supervisor:
        await a.crashes()
        await supervisor.restart_child("a")
    assert trio.current_time() == 0


async def test_B10_a_manual_restart_of_one_of_a_group_skips_the_wait_of_the_group(puppet):
    a, b, c = puppet.cast("a b c")
    specs = [p.spec() for p in (a, b, c)]
    async with open_supervisor(specs, strategy=Strategy.ONE_FOR_ALL, backoff=lambda _: 100.0) as supervisor:
        await b.crashes()
        await supervisor.restart_child("a")
        await wait_all_tasks_blocked()
        assert [p.started_at for p in (a, b, c)] == [[0.0, 0.0]] * 3
        await trio.sleep(200)
        assert [p.starts for p in (a, b, c)] == [2, 2, 2]


async def test_B10_a_manual_restart_that_fails_leaves_no_second_one_behind(puppet, boom):
    a = puppet("a")
    async with open_supervisor([a.spec()], backoff=lambda _: 100.0) as supervisor:
        await a.crashes()
        a.fails.append(boom())
        with pytest.raises(ChildStartError):
            await supervisor.restart_child("a")
        assert supervisor.child("a").status is ChildStatus.FAILED
        await trio.sleep(500)
        assert a.starts == 2


# ---- B12 and B13: many at once


async def test_B12_two_children_wait_each_on_its_own(puppet):
    a, b = puppet.cast("a b")
    async with open_supervisor([a.spec(), b.spec()], limit=PLENTY, backoff=DOUBLING):
        await a.crashes()
        await trio.sleep(1.5)
        await a.crashes()
        await b.crashes()
        await trio.sleep(10)
        assert a.started_at == in_a_row([0, 1, 3.5])
        assert b.started_at == in_a_row([0, 2.5])


async def test_B12_a_parents_backoff_leaves_its_childrens_alone(puppet):
    a, b = puppet.cast("a b")
    sub = ChildSpec.supervisor("sub", [a.spec()], limit=RestartLimit(1, 60), backoff=wait_fixed(2))
    async with open_supervisor([sub, b.spec()], limit=PLENTY, backoff=wait_fixed(7)):
        await a.crashes()
        await b.crashes()
        await trio.sleep(2.5)
        await a.crashes()
        await trio.sleep(8)
        assert a.started_at == in_a_row([0, 2, 9.5])
        assert b.started_at == in_a_row([0, 7])
        await a.crashes()
        await trio.sleep(3)
        assert a.started_at[3] == pytest.approx(12.5)


async def test_B13_a_thousand_that_fail_together_do_not_come_back_in_step():
    failing, back = trio.Event(), []

    async def worker(*, task_status):
        if failing.is_set():
            back.append(trio.current_time())
        task_status.started()
        await failing.wait()
        if len(back) < 1000:
            raise ArithmeticError
        await trio.sleep_forever()

    backoff = exponential_backoff(8.0, 30.0, random=Random(5))
    async with open_pool(limit=PLENTY, backoff=backoff) as pool:
        for _ in range(1000):
            await pool.start_child(worker)
        failing.set()
        await trio.sleep(8)
        assert not back
        await trio.sleep(3.999)
    busiest = max(len(list(group)) for _, group in itertools.groupby(sorted(back), key=lambda time: time // 0.1))
    assert len(back) > 900
    assert busiest < 100
