"""C: tokens of limits. What is random is in `test_limits_property`, the order alone in `test_limits_order`."""

from __future__ import annotations

import math
from functools import partial

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from supervisors import (
    CapacityRefused,
    Limit,
    Limits,
    Preempted,
    Priority,
    Restart,
    RestartLimit,
    open_pool,
)

SECOND = 1.0


class Shop:
    """One limit, and who was served in which order."""

    def __init__(self, limits, name="llm"):
        self.limits = limits
        self.name = name
        self.served = []

    @property
    def now(self):
        return self.limits.statistics()[self.name]

    async def customer(self, label, seconds=SECOND, **options):
        async with self.limits.hold(self.name, **options):
            self.served.append(label)
            await trio.sleep(seconds)

    async def enters(self, nursery, label, seconds=SECOND, **options):
        """A customer comes, and is as far as it gets when this returns."""
        nursery.start_soon(partial(self.customer, label, seconds, **options))
        await wait_all_tasks_blocked()


def shop(tokens=1, **options):
    return Shop(Limits([Limit("llm", tokens, **options)]))


# ---- C1


async def test_C1_no_more_than_the_tokens_are_held_and_no_fewer_while_somebody_waits():
    one = shop(3)
    async with trio.open_nursery() as nursery:
        for number in range(10):
            await one.enters(nursery, number)
        for _ in range(3):
            assert (one.now.held, one.now.tokens) == (3, 3)
            await trio.sleep(SECOND)
            await wait_all_tasks_blocked()
        assert (one.now.held, one.now.waiting) == (1, 0)
    assert trio.current_time() == pytest.approx(4 * SECOND)


async def test_C1_a_token_is_granted_in_the_moment_in_which_it_comes_free():
    # Whoever comes between the return of a token and the next step of who waited for it finds none.
    one = shop(1)
    async with trio.open_nursery() as nursery:
        async with one.limits.hold("llm"):
            await one.enters(nursery, "waited")
        with pytest.raises(CapacityRefused, match="1 of 1"), one.limits.hold_nowait("llm"):
            pass
        assert one.now.held == 1


# ---- C2, C8


async def test_C2_within_a_priority_spaces_take_turns():
    one = shop(1)
    async with trio.open_nursery() as nursery:
        await one.enters(nursery, "holds")
        for space in "aaabbc":
            await one.enters(nursery, space, fair_key=space)
        assert [waiter.fair_key for waiter in one.limits.waiting("llm")] == list("abcaba")
    assert one.served == ["holds", *"abcaba"]


async def test_C8_who_asks_for_a_thousand_does_not_keep_others_from_theirs():
    one = shop(1)
    async with trio.open_nursery() as nursery:
        await one.enters(nursery, "holds")
        for _ in range(1000):
            nursery.start_soon(partial(one.customer, "greedy", fair_key="greedy"))
        await wait_all_tasks_blocked()
        await one.enters(nursery, "modest", fair_key="modest")
        await trio.sleep(2.5 * SECOND)
        assert one.served == ["holds", "greedy", "modest"]
        nursery.cancel_scope.cancel()


async def test_C8_who_comes_back_at_once_every_time_does_not_overtake():
    one = shop(1)

    async def comes_back():
        while True:
            await one.customer("greedy", fair_key="greedy", priority=Priority.URGENT)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(comes_back)
        await wait_all_tasks_blocked()
        for label in ("x", "y"):
            await one.enters(nursery, label, fair_key=label, priority=Priority.URGENT)
        await trio.sleep(3.5 * SECOND)
        assert one.served == ["greedy", "x", "y", "greedy"]
        nursery.cancel_scope.cancel()


# ---- C3


async def test_C3_a_holder_that_crashes_gives_its_tokens_back():
    limits = Limits([Limit("a", 1), Limit("b", 1)])
    with pytest.raises(ZeroDivisionError):
        async with limits.hold("a", "b"):
            raise ZeroDivisionError
    assert {now.held for now in limits.statistics().values()} == {0}


async def test_C3_a_holder_that_is_killed_gives_its_token_to_who_waits():
    one = shop(1)

    async def child(label):
        await one.customer(label, math.inf)

    async with open_pool() as pool:
        await pool.start_child(child, "first", name="first")
        await pool.start_child(child, "second", name="second")
        await wait_all_tasks_blocked()
        assert one.served == ["first"]
        await pool.stop_child("first")
        await wait_all_tasks_blocked()
        assert one.served == ["first", "second"]
        await pool.stop_child("second")
    assert one.now.held == 0


async def test_C3_a_child_that_crashes_with_a_token_again_and_again_costs_none():
    one = shop(1)

    async def child():
        async with one.limits.hold("llm"):
            await trio.lowlevel.checkpoint()
            raise ZeroDivisionError

    async with open_pool(limit=RestartLimit(5, 60.0)) as pool:
        await pool.start_child(child, name="child", restart=Restart.PERMANENT)
        await wait_all_tasks_blocked()
        assert pool.child("child").restarts == 5
        assert (one.now.held, one.now.waiting) == (0, 0)


async def test_C3_a_waiter_that_is_killed_is_out_of_the_line_in_that_moment():
    one, scope = shop(1), trio.CancelScope()

    async def waiter():
        with scope:
            await one.customer("killed")

    async with trio.open_nursery() as nursery, one.limits.hold("llm"):
        nursery.start_soon(waiter)
        await wait_all_tasks_blocked()
        await one.enters(nursery, "behind")
        scope.cancel()
        assert one.now.waiting == 1
    assert one.served == ["behind"]


# ---- C5


async def test_C5_more_tokens_let_so_many_of_those_who_wait_go_on_at_once():
    one = shop(1)
    async with trio.open_nursery() as nursery:
        for number in range(5):
            await one.enters(nursery, number)
        one.limits.resize("llm", 3)
        assert (one.now.held, one.now.waiting) == (3, 2)
        await wait_all_tasks_blocked()
        assert sorted(one.served) == [0, 1, 2]


async def test_C5_fewer_tokens_take_none_away_and_give_none_out():
    one = shop(3)
    async with trio.open_nursery() as nursery:
        for number in range(3):
            await one.enters(nursery, number, 1 + number)
        await one.enters(nursery, "waits")
        one.limits.resize("llm", 1)
        held = []
        for _ in range(3):
            held.append(one.now.held)
            await trio.sleep(1.001)
            await wait_all_tasks_blocked()
        assert held == [3, 2, 1]
        assert one.served == [0, 1, 2, "waits"]


async def test_C5_with_no_token_nobody_is_let_in_until_there_are_some():
    one = shop(1)
    one.limits.resize("llm", 0)
    async with trio.open_nursery() as nursery:
        await one.enters(nursery, "a")
        await trio.sleep(1000)
        assert one.served == []
        one.limits.resize("llm", 1)
        await wait_all_tasks_blocked()
        assert one.served == ["a"]


@pytest.mark.parametrize(("tokens", "error"), [(-1, ValueError), (1.0, TypeError), (True, TypeError), ("2", TypeError)])
async def test_C5_a_size_that_cannot_be_changes_nothing(tokens, error):
    one = shop(2)
    with pytest.raises(error, match="tokens of limit 'llm' must be"):
        one.limits.resize("llm", tokens)
    assert one.now.tokens == 2


# ---- C7


async def test_C7_holders_of_several_limits_do_not_wait_for_each_other_in_a_ring():
    limits = Limits(Limit(name, 1) for name in "abc")

    async def several(*names):
        async with limits.hold(*names):
            await trio.sleep(1)

    async with trio.open_nursery() as nursery:
        for names in ("abc", "cba", "bca", "cab", "ba", "ac", "cb"):
            nursery.start_soon(several, *names)
    assert trio.current_time() == pytest.approx(7.0)  # each two share a limit here: one after the other


async def test_C7_what_is_held_while_waiting_for_a_later_limit_is_given_back_by_who_is_cancelled():
    limits = Limits([Limit("a", 1), Limit("b", 0)])
    with trio.move_on_after(1):
        async with limits.hold("b", "a"):
            raise AssertionError("there is no b")
    assert limits.statistics()["a"].held == 0
    assert limits.waiting("b") == ()


async def test_C7_a_limit_that_is_named_twice_is_held_once():
    one = shop(1)
    async with one.limits.hold("llm", "llm"):
        assert one.now.held == 1
    assert one.now.held == 0


# ---- C9


async def served_while_busy(one, priority):
    """Someone of that priority comes each half second, twice as often as anybody is served; a LOW one came before."""
    async with trio.open_nursery() as nursery:
        await one.enters(nursery, "first")
        await one.enters(nursery, "low", priority=Priority.LOW)
        for number in range(100):
            await one.enters(nursery, number, priority=priority, fair_key=str(number))
            await trio.sleep(SECOND / 2)
        nursery.cancel_scope.cancel()
        return list(one.served)


@pytest.mark.parametrize("priority", [Priority.NORMAL, Priority.HIGH, Priority.URGENT])
async def test_C9_low_priority_moves_however_busy_the_higher_ones_are(priority):
    ageing = 5.0
    served = await served_while_busy(Shop(Limits([Limit("llm", 1)], ageing=ageing)), priority)
    # Those go before it who came within its handicap; two of them come in a second.
    assert served.index("low") == pytest.approx(2 * ageing * priority + 1, abs=1)


async def test_C9_without_ageing_low_priority_waits_until_nobody_else_does():
    served = await served_while_busy(Shop(Limits([Limit("llm", 1)], ageing=math.inf)), Priority.NORMAL)
    assert len(served) >= 50
    assert "low" not in served


async def test_C9_the_line_is_shown_in_the_order_in_which_it_is_served():
    one = Shop(Limits([Limit("llm", 1)], ageing=2.0))
    async with trio.open_nursery() as nursery:
        await one.enters(nursery, "holds", 7.5)
        for label, priority in enumerate((0, 1, 0, 2, 3, 0, 1)):
            await one.enters(nursery, label, priority=Priority(priority), fair_key=str(label % 2))
            await trio.sleep(1)
        beforehand = one.limits.waiting("llm")
        await trio.sleep(50)
    assert [waiter.position for waiter in beforehand] == [1, 2, 3, 4, 5, 6, 7]
    by_since = {waiter.since: label for label, waiter in enumerate(sorted(beforehand, key=lambda one: one.since))}
    assert one.served[1:] == [by_since[waiter.since] for waiter in beforehand]
    assert one.served[1:] != sorted(one.served[1:])


@pytest.mark.parametrize("ageing", [-1.0, math.nan, "10", None])
def test_C9_an_ageing_that_is_no_time_is_refused(ageing):
    with pytest.raises((TypeError, ValueError), match="ageing must be"):
        Limits([], ageing=ageing)


# ---- C10, as far as limits do it


async def test_C10_a_preempted_holder_ends_and_its_token_goes_to_the_urgent_one():
    one, ended = shop(1, preemptible=True), []

    async def low():
        with pytest.raises(Preempted, match=r"'llm'.*URGENT.*LOW"):
            await one.customer("low", math.inf, priority=Priority.LOW)
        ended.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(low)
        await trio.sleep(5)
        await one.customer("urgent", priority=Priority.URGENT)
    assert (one.served, ended) == (["low", "urgent"], [5.0])
    assert (one.now.held, one.now.preempted) == (0, 1)
