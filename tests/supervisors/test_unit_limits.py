"""Limits: tokens, lines, and who is next."""

from __future__ import annotations

from functools import partial

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from supervisors import (
    CapacityQueueFull,
    CapacityRefused,
    CapacityTimeout,
    Limit,
    Limits,
    LimitStatistics,
    Priority,
    UnknownLimit,
    WhenFull,
)


async def hold(limits, name, order, label, **options):
    async with limits.hold(name, **options):
        order.append(label)


async def test_no_more_than_the_tokens_are_held(autojump_clock):
    limits, most = Limits([Limit("llm", 3)]), 0

    async def work():
        nonlocal most
        async with limits.hold("llm"):
            most = max(most, limits.statistics()["llm"].held)
            await trio.sleep(1)

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(work)
    assert most == 3
    assert trio.current_time() == pytest.approx(4.0)


async def test_who_came_first_is_next_inside_one_priority(autojump_clock):
    limits, order = Limits([Limit("llm", 1)]), []
    async with trio.open_nursery() as nursery, limits.hold("llm"):
        for label in "abc":
            nursery.start_soon(hold, limits, "llm", order, label)
            await wait_all_tasks_blocked()
    assert order == ["a", "b", "c"]


async def test_a_higher_priority_comes_first(autojump_clock):
    limits, order = Limits([Limit("llm", 1)]), []
    async with trio.open_nursery() as nursery, limits.hold("llm"):
        for priority in (Priority.LOW, Priority.URGENT, Priority.NORMAL, Priority.URGENT):
            label = f"{priority.name} {len(limits.waiting('llm'))}"
            nursery.start_soon(partial(hold, limits, "llm", order, label, priority=priority))
            await wait_all_tasks_blocked()
        assert [waiter.position for waiter in limits.waiting("llm")] == [1, 2, 3, 4]
    assert order == ["URGENT 1", "URGENT 3", "NORMAL 2", "LOW 0"]


async def test_nobody_overtakes_a_line(autojump_clock):
    limits, order = Limits([Limit("llm", 1)]), []
    async with trio.open_nursery() as nursery:
        async with limits.hold("llm"):
            nursery.start_soon(hold, limits, "llm", order, "waits")
            await wait_all_tasks_blocked()
        with pytest.raises(CapacityRefused), limits.hold_nowait("llm"):
            pass


async def test_a_cancelled_waiter_leaves_no_hole_and_takes_no_token(autojump_clock):
    limits, order = Limits([Limit("llm", 1)]), []
    async with trio.open_nursery() as nursery, limits.hold("llm"):
        with trio.move_on_after(1):
            await hold(limits, "llm", order, "left")
        nursery.start_soon(hold, limits, "llm", order, "stayed")
        await wait_all_tasks_blocked()
    assert order == ["stayed"]
    assert limits.statistics()["llm"].held == 0


async def test_a_waiter_cancelled_in_the_moment_of_its_grant_gives_the_token_back(autojump_clock):
    limits, order = Limits([Limit("llm", 1)]), []
    scope = trio.CancelScope()

    async def waiter():
        with scope:
            await hold(limits, "llm", order, "x")
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        async with limits.hold("llm"):
            nursery.start_soon(waiter)
            await wait_all_tasks_blocked()
        scope.cancel()
    assert limits.statistics()["llm"].held == 0


async def test_a_crashed_holder_gives_its_token_back():
    limits = Limits([Limit("llm", 1)])
    with pytest.raises(ValueError, match="boom"):
        async with limits.hold("llm"):
            raise ValueError("boom")
    assert limits.statistics()["llm"].held == 0


async def test_a_line_of_bounded_length_refuses_one_more(autojump_clock):
    limits, order = Limits([Limit("llm", 1, max_waiting=1)]), []
    async with trio.open_nursery() as nursery, limits.hold("llm"):
        nursery.start_soon(hold, limits, "llm", order, "a")
        await wait_all_tasks_blocked()
        with pytest.raises(CapacityQueueFull, match="max_waiting=1"):
            await hold(limits, "llm", order, "b")
    assert order == ["a"]


async def test_a_wait_has_its_timeout(autojump_clock):
    limits, order = Limits([Limit("llm", 1, wait_timeout=2.5)]), []
    async with limits.hold("llm"):
        with pytest.raises(CapacityTimeout, match=r"2\.5 s"):
            await hold(limits, "llm", order, "x")
    assert trio.current_time() == pytest.approx(2.5)
    assert limits.waiting("llm") == ()


async def test_a_limit_that_refuses_does_so_at_once():
    limits = Limits([Limit("gpu", 1, when_full=WhenFull.REFUSE)])
    async with limits.hold("gpu"):
        with pytest.raises(CapacityRefused, match="1 of 1"):
            await hold(limits, "gpu", [], "x")
    assert limits.statistics()["gpu"].refused == 1


async def test_what_was_taken_is_given_back_when_a_later_limit_refuses():
    limits = Limits([Limit("a", 1), Limit("b", 0, when_full=WhenFull.REFUSE)])
    with pytest.raises(CapacityRefused):
        async with limits.hold("a", "b"):
            pass
    with pytest.raises(CapacityRefused), limits.hold_nowait("a", "b"):
        pass
    assert limits.statistics()["a"].held == 0


async def test_several_limits_in_any_order_cannot_deadlock(autojump_clock):
    limits = Limits([Limit("a", 1), Limit("b", 1)])

    async def both(*names):
        async with limits.hold(*names):
            await trio.sleep(1)

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(both, "a", "b")
            nursery.start_soon(both, "b", "a")


async def test_more_tokens_let_those_who_wait_go_on(autojump_clock):
    limits, order = Limits([Limit("llm", 1)]), []
    async with trio.open_nursery() as nursery, limits.hold("llm"):
        nursery.start_soon(hold, limits, "llm", order, "a")
        await wait_all_tasks_blocked()
        limits.resize("llm", 2)
        await wait_all_tasks_blocked()
        assert order == ["a"]


async def test_fewer_tokens_take_none_away(autojump_clock):
    limits, order = Limits([Limit("llm", 2)]), []
    async with trio.open_nursery() as nursery:
        async with limits.hold("llm"), limits.hold("llm"):
            limits.resize("llm", 1)
            assert limits.statistics()["llm"].held == 2
            nursery.start_soon(hold, limits, "llm", order, "a")
            await wait_all_tasks_blocked()
        assert order == []
    assert order == ["a"]


async def test_statistics_tell_the_oldest_wait(autojump_clock):
    limits = Limits([Limit("llm", 1)])
    async with trio.open_nursery() as nursery, limits.hold("llm"):
        nursery.start_soon(hold, limits, "llm", [], "a")
        await trio.sleep(3)
        now = limits.statistics()["llm"]
        assert now == LimitStatistics(1, 1, 1, pytest.approx(3.0), 0, 0)


async def test_an_unknown_limit_is_its_own_error():
    limits = Limits([Limit("llm", 1)])
    with pytest.raises(UnknownLimit, match="'llm'"):
        async with limits.hold("lmm"):
            pass
    with pytest.raises(UnknownLimit):
        limits.resize("lmm", 2)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"name": "", "tokens": 1}, ValueError),
        ({"name": 1, "tokens": 1}, TypeError),
        ({"name": "a", "tokens": -1}, ValueError),
        ({"name": "a", "tokens": 1.5}, TypeError),
        ({"name": "a", "tokens": 1, "max_waiting": -1}, ValueError),
        ({"name": "a", "tokens": 1, "max_waiting": "x"}, TypeError),
        ({"name": "a", "tokens": 1, "wait_timeout": -1}, ValueError),
        ({"name": "a", "tokens": 1, "when_full": "wait"}, TypeError),
    ],
)
def test_a_limit_that_cannot_be_is_refused(options, error):
    with pytest.raises(error, match="must"):
        Limit(**options)


def test_two_limits_of_one_name_are_refused():
    with pytest.raises(ValueError, match="two limits"):
        Limits([Limit("a", 1), Limit("a", 2)])


@given(
    st.lists(st.tuples(st.sampled_from(["hold", "cancel", "resize"]), st.integers(0, 3), st.floats(0, 3)), max_size=25)
)
def test_tokens_come_back_whatever_happens_and_are_never_exceeded(steps):
    async def main():
        limits = Limits([Limit("x", 2)])
        most = 2

        async def use(seconds, patience):
            with trio.move_on_after(patience):
                async with limits.hold("x", priority=Priority(int(seconds) % 4)):
                    assert limits.statistics()["x"].held <= most
                    await trio.sleep(seconds)

        async with trio.open_nursery() as nursery:
            for step, count, seconds in steps:
                if step == "resize":
                    most = max(most, count)
                    limits.resize("x", count)
                else:
                    nursery.start_soon(use, seconds, 1.0 if step == "cancel" else 50.0)
                await trio.sleep(seconds / 4)
            limits.resize("x", 1)
        assert limits.statistics()["x"].held == 0
        assert limits.waiting("x") == ()

    trio.run(main, clock=MockClock(autojump_threshold=0))
