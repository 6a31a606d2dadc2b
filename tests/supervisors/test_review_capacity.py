"""Limits, rates, breakers, pools and locks where they are used in ways that are easy to forget."""

from __future__ import annotations

import threading
import time
from contextlib import asynccontextmanager, suppress

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from supervisors import (
    AdaptiveLimit,
    CircuitBreaker,
    CircuitOpen,
    CircuitState,
    InstancePool,
    LeaseExpired,
    Limit,
    Limits,
    Locks,
    LoopWatch,
    RateLimit,
    SupervisorClosed,
    watch_loop,
)
from supervisors.testing import seed_schedule


def run(main):
    return trio.run(main, clock=MockClock(autojump_threshold=0))


# ---- one object in several runs of Trio, each with a clock of its own: what a module defines, in a program's tests


async def busy_until_ten(rate):
    for _ in range(10):
        await rate.take()
        await trio.sleep(1)


@pytest.mark.parametrize("earlier", [0, 1000])
def test_a_rate_that_an_earlier_run_used_is_not_in_debt_to_that_runs_clock(earlier):
    rate = RateLimit("rpm", 1, per=1.0)

    async def first():
        await trio.sleep(earlier)
        await busy_until_ten(rate)

    async def second():
        await rate.take()
        return trio.current_time()

    run(first)
    assert run(second) == 0.0
    assert run(second) == 0.0


def test_a_rate_is_as_strict_in_a_later_run():
    rate = RateLimit("rpm", 1, per=1.0)

    async def main():
        for _ in range(4):
            await rate.take()
        return trio.current_time()

    assert [run(main), run(main)] == [3.0, 3.0]


def test_a_rate_may_be_looked_at_and_changed_in_a_later_run():
    rate = RateLimit("rpm", 10, per=1.0)

    async def first():
        await trio.sleep(1000)
        rate.take_nowait(10)

    async def look():
        return rate.available, rate.statistics().available

    async def adjust():
        rate.adjust(3)
        return rate.available

    async def resize():
        rate.resize(4)
        return rate.available

    run(first)
    assert run(look) == (10, 10)
    run(first)
    assert run(adjust) == 7
    run(first)
    assert run(resize) == 4


def test_a_breaker_that_opened_in_an_earlier_run_is_open_for_its_timeout_at_most():
    breaker = CircuitBreaker("llm", timeout=5.0)

    async def first():
        await trio.sleep(1000)
        breaker.trip()

    async def second():
        began = breaker.state, breaker.retry_after
        await trio.sleep(3)
        later = breaker.retry_after
        with pytest.raises(CircuitOpen):
            await breaker.__aenter__()
        await trio.sleep(2)
        async with breaker:
            pass
        return began, later

    run(first)
    assert run(second) == ((CircuitState.OPEN, 5.0), 2.0)


def test_an_adaptive_limit_goes_on_measuring_in_a_later_run():
    limits = Limits([Limit("llm", 4)])

    class Grow:
        def adapt(self, state, _sample):
            return state.sized(state.size + 1)

    adaptive = AdaptiveLimit(limits, "llm", rule=Grow(), samples=1, window=1.0)

    async def first():
        await trio.sleep(1000)
        await calls()

    async def calls():
        for _ in range(10):
            async with adaptive.hold():
                await trio.sleep(1)
        return adaptive.state.tokens

    run(first)
    before = limits.line("llm").limit.tokens
    assert run(calls) > before > 4


# ---- pools of instances


@pytest.mark.parametrize("seed", range(6))
def test_who_finds_an_instance_that_has_just_idled_too_long_waits_for_its_closing_as_for_any(seed):
    opened = []

    @asynccontextmanager
    async def connect():
        opened.append(len(opened))
        try:
            yield opened[-1]
        finally:
            if len(opened) == 1:
                with trio.CancelScope(shield=True):
                    await trio.sleep(1000)  # ignores its cancellation

    async def main():
        async with InstancePool(connect, 1, idle_timeout=0, close_timeout=5) as pool, trio.open_nursery() as nursery:

            async def use():
                async with pool.use() as client:
                    return client, trio.current_time()

            async def wait():
                used.append(await use())

            used = []
            async with pool.use():
                nursery.start_soon(wait)
                await wait_all_tasks_blocked()
        return used

    with seed_schedule(seed):
        assert run(main) == [(1, 6.0)]


@pytest.mark.parametrize("seed", range(6))
def test_what_is_not_wanted_any_more_when_its_opening_would_begin_is_not_opened(seed):
    async def main():
        closed = []

        @asynccontextmanager
        async def connect():
            try:
                yield len(closed)
            finally:
                await trio.sleep(1)
                closed.append("in order")

        async def use():
            with suppress(SupervisorClosed):
                async with pool.use():
                    pass

        async with InstancePool(connect, 1) as pool, trio.open_nursery() as nursery:
            nursery.start_soon(use)
            while not pool.statistics().open:
                await trio.lowlevel.checkpoint()
            await pool.drain()
        figures = pool.statistics()
        assert closed == ["in order"] * figures.created
        assert (figures.replaced, figures.failed, figures.close_failed) == (0, 0, 0)

    with seed_schedule(seed):
        run(main)


@pytest.mark.parametrize("seed", range(6))
def test_what_opens_in_spite_of_its_cancellation_is_given_to_nobody(seed):
    @asynccontextmanager
    async def connect():
        with trio.CancelScope(shield=True):
            await trio.sleep(0.5)
        yield "a client"

    async def main():
        async def use():
            with pytest.raises(SupervisorClosed):
                async with pool.use():
                    pass

        async with InstancePool(connect, 1) as pool, trio.open_nursery() as nursery:
            nursery.start_soon(use)
            await wait_all_tasks_blocked()
            await pool.drain()

    with seed_schedule(seed):
        run(main)


# ---- threads


async def test_a_worker_thread_that_holds_a_limit_is_told_what_to_do_before_anything_is_held():
    limits = Limits([Limit("gpu", 1)])

    def work():
        with limits.hold_nowait("gpu"):
            pass

    with pytest.raises(RuntimeError, match="around the call of the thread"):
        await trio.to_thread.run_sync(work)
    assert limits.statistics()["gpu"].held == 0


async def test_a_size_changed_in_a_worker_thread_is_refused_and_loses_nobody_who_waits():
    limits = Limits([Limit("gpu", 0)])
    got = []

    async def wait():
        async with limits.hold("gpu"):
            got.append("a token")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        with pytest.raises(RuntimeError):
            await trio.to_thread.run_sync(limits.resize, "gpu", 1)
        assert limits.statistics()["gpu"].tokens == 0
        limits.resize("gpu", 1)
    assert got == ["a token"]


async def test_a_token_given_back_in_a_worker_thread_is_refused_and_loses_nobody_who_waits():
    limits = Limits([Limit("gpu", 1)])
    got = []

    async def wait():
        async with limits.hold("gpu"):
            got.append("a token")

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            line = limits.line("gpu")
            line.take_nowait()
            nursery.start_soon(wait)
            await wait_all_tasks_blocked()
            with pytest.raises(RuntimeError):
                await trio.to_thread.run_sync(line.give_back)
            line.give_back()
    assert got == ["a token"]


# ---- Ctrl-C


async def test_an_adaptive_hold_is_entered_and_left_where_ctrl_c_waits(monkeypatch):
    # Between the token and its being counted, Ctrl-C would lose the token for good.
    protected = []

    def spying(method):
        def spy(*args):
            protected.append(trio.lowlevel.currently_ki_protected())
            return method(*args)

        return spy

    for name in ("_began", "_ended"):
        monkeypatch.setattr(AdaptiveLimit, name, spying(getattr(AdaptiveLimit, name)))
    async with AdaptiveLimit(Limits([Limit("llm", 1)]), "llm").hold():
        assert not trio.lowlevel.currently_ki_protected()
    assert protected == [True, True]


# ---- the watch


async def test_a_watch_that_is_ending_blames_nobody_for_the_wait_for_its_thread(monkeypatch):
    told, looked = [], threading.Event()
    look = LoopWatch._look

    def late(watch):
        # The thread noticed a block, and gets on only when the loop waits for its end.
        watch._over.wait(60)
        looked.set()
        return look(watch)

    monkeypatch.setattr(LoopWatch, "_look", late)
    async with watch_loop(0.01, tell=told.append) as watch:
        time.sleep(0.2)  # noqa: ASYNC251  # blocking is what is watched
    assert told == []
    assert watch.statistics().blocks == looked.is_set()


# ---- locks


@pytest.mark.parametrize("line", [True, False])
def test_a_lease_that_is_lost_before_its_block_begins_is_told_and_waits_for_nothing(line):
    # The loop stands still between the grant and the first step of who got it, for longer than the lease lasts.
    clock = MockClock(autojump_threshold=0)
    left, ended = [], []

    async def main():
        locks = Locks()

        async def wants():
            with pytest.raises(LeaseExpired):
                async with locks.hold("x", ttl=1) as lease:
                    left.append(lease.seconds_left)
                    await trio.sleep_forever()
            ended.append(trio.current_time())

        async with trio.open_nursery() as nursery:
            if line:
                with locks.hold_nowait("x"):
                    nursery.start_soon(wants)
                    await wait_all_tasks_blocked()
            else:
                nursery.start_soon(wants)
                while not locks.held():
                    await trio.lowlevel.checkpoint()
            clock.jump(10)
            now = trio.current_time()
            with locks.hold_nowait("x"):
                await trio.sleep(60)
            assert ended == [now]
            nursery.cancel_scope.cancel()
        assert locks.held() == locks.waiting() == ()

    for seed in range(4):
        ended.clear()
        with seed_schedule(seed):
            trio.run(main, clock=clock)
    assert 0.0 not in left
