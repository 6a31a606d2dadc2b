"""Many spaces: costs grow with their number and no faster, and what is over leaves nothing behind."""

from __future__ import annotations

import gc
import time
import weakref

import pytest
import trio

from spaceactors import Actor, Outcome, Reject, RestartLimit, RuntimeConfig, SpaceOptions, handler
from tests.spaceactors.scenes import opened, outcome_of, settled

pytestmark = pytest.mark.usefixtures("autojump_clock")


class Guest(Actor[int], kind="guest"):
    options = SpaceOptions(idle_timeout=10.0, restart_limit=RestartLimit(10, 1.0), backoff=None)

    @handler
    async def hello(self, *things: object) -> int:
        self.state += 1
        return self.state

    @handler
    async def look(self, *things: object) -> None:
        pass

    @handler
    async def reject(self, *things: object) -> None:
        raise Reject("no")

    @handler
    async def tell(self, *things: object):
        yield 1

    @handler
    async def later(self, thing: object) -> None:
        self.schedule("later", Guest.look, thing, after=1.0)


def live_objects():
    gc.collect()
    return len(gc.get_objects())


async def visit(runtime, numbers):
    for number in numbers:
        await runtime.space(f"s{number}").ask(Guest.hello)


@pytest.mark.timeout(2400)
@pytest.mark.slow
async def test_P2_a_hundred_thousand_short_lived_spaces_leave_no_growth():
    """Those of each round are deleted; what is left after many rounds is what was left after one."""
    async with opened(Guest, config=RuntimeConfig(max_live_spaces=100)) as runtime:
        after = []
        for round_ in range(21):
            for number in range(round_ * 5000, (round_ + 1) * 5000):
                space = runtime.space(f"s{number}")
                await space.ask(Guest.hello)
                await space.delete()
            if round_ in (0, 20):
                after.append(live_objects())
        ledger = (await runtime.snapshot()).ledger
        assert ledger.outcomes[Outcome.HANDLED] == 105_000
        assert after[1] - after[0] < 500


@pytest.mark.slow
async def test_P2_passive_spaces_leave_only_their_rows():
    """A row is what is kept of a space in memory: a few objects, and no task, mailbox or actor."""
    async with opened(Guest) as runtime:
        await visit(runtime, range(100))
        before = live_objects()
        await visit(runtime, range(100, 5100))
        await trio.sleep(100)
        assert (await runtime.snapshot()).live == 0
        assert (live_objects() - before) / 5000 < 8


async def check_growth(seconds, few, most):
    """Do few and ten times as many, and compare the processor time.

    Other programs can only add to it: the least of three counts, and the more are given as many tries.
    """
    await seconds(100)
    small = min([await seconds(few) for _ in range(3)])
    large = []
    while not large or large[-1] >= most * small:
        assert len(large) < 3, (small, large)
        large.append(await seconds(10 * few))


@pytest.mark.slow
async def test_P1_ten_times_the_spaces_cost_about_ten_times():
    async def seconds(number):
        async with opened(Guest) as runtime:
            began = time.process_time()
            await visit(runtime, range(number))
            await visit(runtime, range(number))
            return time.process_time() - began

    await check_growth(seconds, 500, 30)


@pytest.mark.slow
async def test_P1_ten_times_the_spaces_in_one_lane_cost_about_ten_times():
    async def seconds(number):
        async with opened(Guest, one_lane=True) as runtime:
            began = time.process_time()
            for _ in range(2):
                for one in range(number):
                    await runtime.space(f"s{one}").send(Guest.hello)
            await trio.sleep(1)
            assert (await runtime.snapshot()).ledger.pending == 0
            return time.process_time() - began

    await check_growth(seconds, 300, 40)


@pytest.mark.slow
async def test_P1_ten_times_the_spaces_that_wait_for_a_place_cost_about_ten_times():
    async def seconds(number):
        async with opened(Guest, config=RuntimeConfig(max_live_spaces=50)) as runtime:
            began = time.process_time()
            async with trio.open_nursery() as nursery:
                for one in range(number):
                    nursery.start_soon(runtime.space(f"s{one}").ask, Guest.hello)
            return time.process_time() - began

    await check_growth(seconds, 300, 40)


class Thing:
    """An argument that can be watched."""


@pytest.mark.parametrize("way", ["send", "ask", "reject", "stream", "with a state", "timer", "many"])
@pytest.mark.parametrize("one_lane", [False, True])
async def test_P3_the_arguments_of_a_settled_message_are_not_retained(way, one_lane):
    async with opened(Guest, one_lane=one_lane) as runtime:
        space = runtime.space("x")
        await settled()
        thing = Thing()
        watched = weakref.ref(thing)
        match way:
            case "send":
                await space.send(Guest.look, thing)
            case "ask":
                await space.ask(Guest.look, thing)
            case "reject":
                await outcome_of(space.ask, Guest.reject, thing)
            case "stream":
                async with space.stream(Guest.tell, thing) as items:
                    assert [item async for item in items] == [1]
            case "with a state":
                await space.ask(Guest.hello, thing)
            case "timer":
                await space.ask(Guest.later, thing)
            case "many":
                for _ in range(5):
                    await space.send(Guest.look, thing)
        del thing
        if way == "stream":
            del items
        await trio.sleep(2)
        gc.collect()
        assert watched() is None


async def test_P3_a_reply_is_not_retained():
    class Giver(Actor):
        @handler
        async def give(self) -> object:
            return Thing()

    async with opened(Giver) as runtime:
        watched = weakref.ref(await runtime.space("x").ask(Giver.give))
        await settled()
        gc.collect()
        assert watched() is None


async def test_P3_a_deleted_space_is_forgotten_as_a_whole():
    class Holder(Actor[int]):
        @handler
        async def hold(self, thing: object) -> None:
            self.thing = thing

    async with opened(Holder) as runtime:
        thing = Thing()
        watched = weakref.ref(thing)
        await runtime.space("x").ask(Holder.hold, thing)
        del thing
        await runtime.space("x").delete()
        gc.collect()
        assert watched() is None
