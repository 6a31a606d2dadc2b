"""Urgent requests take tokens away: from whom, when the token comes free, and how the holder's block ends."""

from __future__ import annotations

import math
from functools import partial

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from supervisors import (
    CapacityQueueFull,
    CapacityRefused,
    CapacityTimeout,
    Limit,
    Limits,
    Preempted,
    Priority,
    WhenFull,
)

LOW, NORMAL, HIGH, URGENT = Priority


class Desk:
    """Limits, and who holds and how it ended."""

    def __init__(self, *limits):
        self.limits = Limits(limits or [Limit("llm", 1, preemptible=True)])
        self.inside = []
        self.ended = {}

    def now(self, name="llm"):
        return self.limits.statistics()[name]

    async def work(self, label, *names, priority=NORMAL, seconds=math.inf, dying=0.0):
        try:
            async with self.limits.hold(*(names or ("llm",)), priority=priority):
                self.inside.append(label)
                try:
                    await trio.sleep(seconds)
                finally:
                    with trio.CancelScope(shield=True):
                        await trio.sleep(dying)
                    self.inside.remove(label)
        except Exception as error:
            self.ended[label] = error
        else:
            self.ended[label] = None

    async def comes(self, nursery, label, *names, **options):
        nursery.start_soon(partial(self.work, label, *names, **options))
        await wait_all_tasks_blocked()


def preempted(desk):
    return [label for label, error in desk.ended.items() if isinstance(error, Preempted)]


# ---- whose token it is


async def test_the_lowest_priority_goes_first_and_there_who_came_last(nursery):
    desk = Desk(Limit("llm", 4, preemptible=True))
    for label, priority in (("normal", NORMAL), ("low 1", LOW), ("low 2", LOW), ("high", HIGH)):
        await desk.comes(nursery, label, priority=priority)
    for number in range(4):
        await desk.comes(nursery, f"urgent {number}", priority=URGENT)
    assert preempted(desk) == ["low 2", "low 1", "normal", "high"]
    assert desk.now().preempted == 4


async def test_who_was_granted_last_counts_and_not_who_came_last(nursery):
    desk = Desk(Limit("llm", 2, preemptible=True))
    await desk.comes(nursery, "short", seconds=1)
    await desk.comes(nursery, "long")
    await desk.comes(nursery, "waited")
    await trio.sleep(1.5)
    assert desk.inside == ["long", "waited"]
    await desk.comes(nursery, "urgent", priority=URGENT)
    assert preempted(desk) == ["waited"]


async def test_the_urgent_are_not_preempted(nursery):
    desk = Desk()
    await desk.comes(nursery, "first", priority=URGENT)
    await desk.comes(nursery, "second", priority=URGENT)
    assert (desk.inside, desk.now().waiting, desk.now().preempted) == (["first"], 1, 0)


@pytest.mark.parametrize("priority", [LOW, NORMAL, HIGH])
async def test_nobody_else_preempts(nursery, priority):
    desk = Desk()
    await desk.comes(nursery, "low", priority=LOW)
    await desk.comes(nursery, "other", priority=priority)
    assert desk.inside == ["low"]


async def test_a_limit_that_is_not_preemptible_lets_the_urgent_wait(nursery):
    desk = Desk(Limit("llm", 1))
    await desk.comes(nursery, "low", priority=LOW)
    await desk.comes(nursery, "urgent", priority=URGENT)
    assert desk.inside == ["low"]


async def test_a_token_that_is_free_is_taken_first(nursery):
    desk = Desk(Limit("llm", 2, preemptible=True))
    await desk.comes(nursery, "low", priority=LOW)
    await desk.comes(nursery, "urgent", priority=URGENT)
    assert desk.inside == ["low", "urgent"]


async def test_who_holds_without_waiting_is_never_preempted(nursery):
    desk = Desk()
    with desk.limits.hold_nowait("llm"):
        await desk.comes(nursery, "urgent", priority=URGENT)
        await trio.sleep(1)
        assert desk.now().preempted == 0
    await wait_all_tasks_blocked()
    assert desk.inside == ["urgent"]


async def test_nor_is_who_took_a_token_without_a_block(nursery):
    desk = Desk()
    line = desk.limits.line("llm")
    await line.wait(LOW, None)
    await desk.comes(nursery, "urgent", priority=URGENT)
    assert desk.now().preempted == 0
    line.give_back()
    await wait_all_tasks_blocked()
    assert desk.inside == ["urgent"]


async def test_an_urgent_one_without_a_block_preempts_too(nursery):
    desk = Desk()
    await desk.comes(nursery, "low", priority=LOW)
    await desk.limits.line("llm").wait(URGENT, None)
    await wait_all_tasks_blocked()
    assert preempted(desk) == ["low"]
    desk.limits.line("llm").give_back()


async def test_who_was_granted_and_has_not_run_yet_can_be_a_victim(nursery):
    desk = Desk()
    async with desk.limits.hold("llm", priority=URGENT):
        await desk.comes(nursery, "low", priority=LOW)
    nursery.start_soon(partial(desk.work, "urgent", priority=URGENT))
    await wait_all_tasks_blocked()
    assert desk.inside == ["urgent"]
    assert preempted(desk) == ["low"]


# ---- one victim for one request


async def test_each_urgent_request_has_one_victim_however_long_that_takes(nursery):
    desk = Desk(Limit("llm", 3, preemptible=True))
    for label in "abc":
        await desk.comes(nursery, label, dying=10)
    await desk.comes(nursery, "urgent 1", priority=URGENT)
    await desk.comes(nursery, "urgent 2", priority=URGENT)
    await trio.sleep(5)
    assert (desk.now().preempted, desk.now().held, desk.now().waiting) == (2, 3, 2)
    await trio.sleep(5.5)
    assert sorted(desk.inside) == ["a", "urgent 1", "urgent 2"]
    assert sorted(preempted(desk)) == ["b", "c"]


async def test_the_token_is_free_when_the_block_has_really_ended(nursery):
    desk = Desk()
    await desk.comes(nursery, "low", priority=LOW, dying=3)
    nursery.start_soon(partial(desk.work, "urgent", priority=URGENT))
    await trio.sleep(2.9)
    assert (desk.inside, desk.now().held) == (["low"], 1)
    await trio.sleep(0.2)
    assert (desk.inside, desk.now().held) == (["urgent"], 1)


async def test_a_token_goes_to_whom_it_was_taken_for_whoever_waits_longer(nursery):
    desk = Desk(Limit("llm", 1, preemptible=True))
    desk.limits = Limits([Limit("llm", 1, preemptible=True)], ageing=1.0)
    await desk.comes(nursery, "holds")
    await desk.comes(nursery, "old", priority=LOW)
    await trio.sleep(100)
    await desk.comes(nursery, "urgent", priority=URGENT)
    assert desk.inside == ["urgent"]
    assert [waiter.priority for waiter in desk.limits.waiting("llm")] == [LOW]


async def test_an_urgent_one_who_leaves_leaves_its_victims_token_to_who_is_next(nursery):
    desk = Desk()
    await desk.comes(nursery, "victim", dying=5)
    await desk.comes(nursery, "next")
    with trio.move_on_after(1):
        await desk.work("urgent", priority=URGENT)
    assert desk.inside == ["victim"]
    await trio.sleep(5)
    assert preempted(desk) == ["victim"]
    assert desk.inside == ["next"]


async def test_an_urgent_one_who_was_served_otherwise_leaves_it_too(nursery):
    desk = Desk(Limit("llm", 2, preemptible=True))
    await desk.comes(nursery, "short", seconds=2)
    await desk.comes(nursery, "victim", dying=5)
    await desk.comes(nursery, "urgent", priority=URGENT)
    await desk.comes(nursery, "next")
    await trio.sleep(2.5)
    assert desk.inside == ["victim", "urgent"]
    await trio.sleep(3)
    assert desk.inside == ["urgent", "next"]
    assert desk.now().preempted == 1


async def test_no_token_is_taken_away_that_would_come_to_nobody(nursery):
    desk = Desk(Limit("llm", 2, preemptible=True))
    await desk.comes(nursery, "a")
    await desk.comes(nursery, "b")
    desk.limits.resize("llm", 1)
    await desk.comes(nursery, "urgent", priority=URGENT)
    assert desk.now().preempted == 0


async def test_a_victims_token_that_a_shrink_took_is_handed_to_nobody(nursery):
    desk = Desk(Limit("llm", 2, preemptible=True))
    await desk.comes(nursery, "a", seconds=10, priority=URGENT)
    await desk.comes(nursery, "b", dying=5)
    await desk.comes(nursery, "urgent", priority=URGENT)
    desk.limits.resize("llm", 1)
    await trio.sleep(6)
    assert (desk.inside, desk.now().held) == (["a"], 1)
    await trio.sleep(5)
    assert desk.inside == ["urgent"]


async def test_an_urgent_one_whose_victims_token_a_shrink_took_takes_another(nursery):
    desk = Desk(Limit("llm", 2, preemptible=True))
    await desk.comes(nursery, "a")
    await desk.comes(nursery, "b", dying=5)
    await desk.comes(nursery, "urgent", priority=URGENT)
    desk.limits.resize("llm", 1)
    await trio.sleep(4)
    assert (desk.inside, desk.now().preempted) == (["a", "b"], 1)
    await trio.sleep(2)
    assert (desk.inside, preempted(desk)) == (["urgent"], ["b", "a"])


async def test_an_urgent_one_who_came_after_a_shrink_takes_a_token_as_soon_as_that_helps(nursery):
    desk = Desk(Limit("llm", 3, preemptible=True))
    await desk.comes(nursery, "a", seconds=10)
    await desk.comes(nursery, "b")
    await desk.comes(nursery, "c")
    desk.limits.resize("llm", 2)
    for label in ("first", "second", "third"):
        await desk.comes(nursery, label, priority=URGENT)
    await trio.sleep(9)
    assert desk.now().preempted == 0
    await trio.sleep(2)
    assert (set(desk.inside), set(preempted(desk))) == ({"first", "second"}, {"b", "c"})
    assert desk.now().waiting == 1


async def test_so_it_does_when_the_limit_grows_again(nursery):
    desk = Desk(Limit("llm", 2, preemptible=True))
    await desk.comes(nursery, "a")
    await desk.comes(nursery, "b")
    desk.limits.resize("llm", 0)
    await desk.comes(nursery, "urgent", priority=URGENT)
    desk.limits.resize("llm", 1)
    await wait_all_tasks_blocked()
    assert desk.now().preempted == 0
    desk.limits.resize("llm", 2)
    await wait_all_tasks_blocked()
    assert desk.inside == ["a", "urgent"]


async def test_nothing_is_taken_away_for_an_urgent_one_who_has_left(nursery):
    desk = Desk(Limit("llm", 2, preemptible=True))
    await desk.comes(nursery, "a", seconds=10)
    await desk.comes(nursery, "b")
    desk.limits.resize("llm", 1)
    with trio.move_on_after(5):
        await desk.work("urgent", priority=URGENT)
    assert not desk.limits.line("llm")._owed  # nor is anything kept of it
    await trio.sleep(10)
    assert (desk.inside, desk.now().preempted) == (["b"], 0)


# ---- how the block ends


async def test_what_says_so_names_the_limit_and_both_priorities(nursery):
    desk = Desk()
    await desk.comes(nursery, "victim", priority=HIGH)
    await desk.comes(nursery, "urgent", priority=URGENT)
    assert str(desk.ended["victim"]) == "limit 'llm': URGENT work took the token of this HIGH work"


async def test_a_block_that_ends_by_itself_in_spite_of_it_stands(nursery):
    desk, results = Desk(), []

    async def holder():
        async with desk.limits.hold("llm"):
            with trio.CancelScope(shield=True):
                await trio.sleep(2)
            results.append("done")

    nursery.start_soon(holder)
    await wait_all_tasks_blocked()
    await desk.work("urgent", priority=URGENT, seconds=1)
    assert results == ["done"]
    assert trio.current_time() == 3.0
    assert desk.now().held == 0


async def test_a_blocks_own_error_stands():
    desk = Desk()

    async def holder():
        with pytest.raises(ZeroDivisionError):
            async with desk.limits.hold("llm"):
                try:
                    await trio.sleep_forever()
                except trio.Cancelled:
                    raise ZeroDivisionError from None

    async with trio.open_nursery() as nursery:
        nursery.start_soon(holder)
        await wait_all_tasks_blocked()
        await desk.work("urgent", priority=URGENT, seconds=1)
    assert desk.now().held == 0


async def test_an_error_among_cancellations_stands():
    desk = Desk()

    async def fails():
        try:
            await trio.sleep_forever()
        finally:
            raise ZeroDivisionError

    async def holder():
        with pytest.raises(ExceptionGroup) as caught:
            async with desk.limits.hold("llm"), trio.open_nursery() as nursery:
                nursery.start_soon(fails)
                nursery.start_soon(trio.sleep_forever)
        assert [type(error) for error in caught.value.exceptions] == [ZeroDivisionError]

    async with trio.open_nursery() as nursery:
        nursery.start_soon(holder)
        await wait_all_tasks_blocked()
        await desk.work("urgent", priority=URGENT, seconds=1)
    assert desk.now().held == 0


async def test_a_cancellation_from_outside_wins():
    desk, seen = Desk(), []

    async def holder(scope):
        with scope:
            try:
                await desk.limits.hold("llm").__aenter__()
                raise AssertionError("it got in")
            except Preempted:
                seen.append("preempted")

    async def outer(scope):
        with scope:
            try:
                async with desk.limits.hold("llm"):
                    await trio.sleep_forever()
            except BaseException as error:
                seen.append(type(error))
                raise

    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope()
        nursery.start_soon(outer, scope)
        await wait_all_tasks_blocked()
        nursery.start_soon(partial(desk.work, "urgent", priority=URGENT, seconds=1))
        scope.cancel()
        await wait_all_tasks_blocked()
        assert seen == [trio.Cancelled]
        assert scope.cancelled_caught
    assert desk.now().held == 0


async def test_who_is_cancelled_from_outside_after_it_was_preempted_is_cancelled():
    desk, seen = Desk(), []
    scope = trio.CancelScope()

    async def holder():
        with scope:
            try:
                async with desk.limits.hold("llm"):
                    try:
                        await trio.sleep_forever()
                    finally:
                        with trio.CancelScope(shield=True):
                            await trio.sleep(2)
                        await trio.lowlevel.checkpoint()
            except BaseException as error:
                seen.append(type(error))
                raise

    async with trio.open_nursery() as nursery:
        nursery.start_soon(holder)
        await wait_all_tasks_blocked()
        nursery.start_soon(partial(desk.work, "urgent", priority=URGENT, seconds=1))
        await trio.sleep(1)
        scope.cancel()
    assert seen == [trio.Cancelled]
    assert desk.ended == {"urgent": None}


# ---- several limits


async def test_a_holder_that_still_waits_for_a_later_limit_is_preempted_out_of_its_line(nursery):
    desk = Desk(Limit("a", 1, preemptible=True), Limit("b", 1))
    await desk.comes(nursery, "keeps b", "b")
    await desk.comes(nursery, "victim", "a", "b")
    await desk.comes(nursery, "urgent", "a", priority=URGENT)
    assert desk.inside == ["keeps b", "urgent"]
    assert preempted(desk) == ["victim"]
    assert "'a'" in str(desk.ended["victim"])
    assert desk.limits.waiting("b") == ()


async def test_all_tokens_of_a_preempted_holder_come_back(nursery):
    desk = Desk(*(Limit(name, 1, preemptible=name == "b") for name in "abc"))
    await desk.comes(nursery, "victim", "a", "b", "c")
    await desk.comes(nursery, "waits for a", "a")
    await desk.comes(nursery, "waits for c", "c")
    await desk.comes(nursery, "urgent", "b", priority=URGENT)
    assert sorted(desk.inside) == ["urgent", "waits for a", "waits for c"]


async def test_one_block_can_lose_two_tokens_and_is_told_of_the_first(nursery):
    desk = Desk(Limit("a", 1, preemptible=True), Limit("b", 1, preemptible=True))
    await desk.comes(nursery, "victim", "a", "b", dying=1)
    await desk.comes(nursery, "urgent b", "b", priority=URGENT)
    await desk.comes(nursery, "urgent a", "a", priority=URGENT)
    await trio.sleep(2)
    assert sorted(desk.inside) == ["urgent a", "urgent b"]
    assert "'b'" in str(desk.ended["victim"])
    assert desk.now("a").preempted == desk.now("b").preempted == 1


async def test_an_urgent_one_takes_tokens_of_several_limits(nursery):
    desk = Desk(Limit("a", 1, preemptible=True), Limit("b", 1, preemptible=True))
    await desk.comes(nursery, "one", "a")
    await desk.comes(nursery, "two", "b")
    await desk.comes(nursery, "urgent", "a", "b", priority=URGENT)
    assert preempted(desk) == ["one", "two"]
    assert desk.inside == ["urgent"]


async def test_the_moment_of_a_hold_leaves_nothing_behind(nursery):
    desk = Desk()
    await desk.comes(nursery, "victim")
    await desk.comes(nursery, "urgent", priority=URGENT, seconds=1)
    await trio.sleep(2)
    holders = desk.limits.line("llm")._holders
    assert not holders._victims
    assert not any(holders._by_priority)


# ---- with the other rules of a limit


def refusing(tokens=1, **options):
    return Limit("llm", tokens, when_full=WhenFull.REFUSE, preemptible=True, **options)


async def test_where_others_are_refused_an_urgent_one_waits_for_its_victim(nursery):
    desk = Desk(refusing())
    await desk.comes(nursery, "low", priority=LOW, dying=3)
    await desk.comes(nursery, "refused")
    await desk.comes(nursery, "urgent", priority=URGENT)
    assert isinstance(desk.ended["refused"], CapacityRefused)
    await trio.sleep(3.5)
    assert desk.inside == ["urgent"]


async def test_and_is_refused_if_there_is_none(nursery):
    desk = Desk(refusing())
    await desk.comes(nursery, "urgent", priority=URGENT)
    await desk.comes(nursery, "too many", priority=URGENT)
    assert isinstance(desk.ended["too many"], CapacityRefused)
    assert desk.now().refused == 1


async def test_an_urgent_one_for_whom_the_line_is_full_takes_nothing_away(nursery):
    desk = Desk(Limit("llm", 1, preemptible=True, max_waiting=1))
    await desk.comes(nursery, "low", priority=LOW)
    await desk.comes(nursery, "waits", priority=LOW)
    await desk.comes(nursery, "urgent", priority=URGENT)
    assert isinstance(desk.ended["urgent"], CapacityQueueFull)
    assert (desk.inside, desk.now().preempted) == (["low"], 0)


async def test_an_urgent_one_waits_for_its_victim_no_longer_than_it_may(nursery):
    desk = Desk(Limit("llm", 1, preemptible=True, wait_timeout=1.0))
    await desk.comes(nursery, "low", priority=LOW, dying=3)
    await desk.work("urgent", priority=URGENT)
    assert isinstance(desk.ended["urgent"], CapacityTimeout)
    assert trio.current_time() == 1.0
