"""Limits on turns, lent tokens and quickly settled turns at moments that are easily forgotten."""

from __future__ import annotations

import pytest
import trio

from spaceactors import (
    Actor,
    ActorCrashed,
    AskCycle,
    Limit,
    MessageReturned,
    Preempted,
    Priority,
    RestartLimit,
    RuntimeConfig,
    SpaceOptions,
    TurnTimeout,
    WaitKind,
    handler,
)
from spaceactors import _life as life
from tests.spaceactors.scenes import opened, run_seeded, settled

ONE_TURN = RuntimeConfig(max_turns=1)


class Clerk(Actor[int], kind="clerk"):
    """Does what it is given to do."""

    options = SpaceOptions(backoff=None)

    @handler
    async def do(self, act):
        return await act(self)

    @handler
    async def talk(self, act):
        async for item in act(self):
            yield item


async def nap(clerk):
    await trio.sleep(1)


def forty(clerk):
    async def items():
        for item in range(40):
            yield item

    return items()


# ---- who waits for a lane has no token


@pytest.mark.parametrize("seed", range(6))
def test_a_turn_that_streams_into_its_own_lane_waits_for_the_lane_without_a_token(seed):
    async def read(clerk):
        async def ask(name):
            await clerk.space(name).ask(Clerk.do, nap)

        async with clerk.space("s").stream(Clerk.talk, forty) as items, trio.open_nursery() as nursery:
            await anext(items)
            await trio.sleep(0.1)
            nursery.start_soon(ask, "x")
            nursery.start_soon(ask, "y")  # it has the lane when "x" is done, and wants the token
            await trio.sleep(0.5)
            return [item async for item in items]

    async def main():
        async with opened(Clerk, one_lane=True, config=ONE_TURN) as runtime:
            with trio.fail_after(100):
                assert await runtime.space("r").ask(Clerk.do, read) == list(range(1, 40))
            await settled()
            statistics = runtime.limits.statistics()["turns"]
            assert (statistics.held, statistics.waiting) == (0, 0)

    run_seeded(main, seed)


async def test_a_turn_that_leaves_a_stream_waits_for_the_lane_without_a_token():
    async def items(clerk):
        yield 0
        async with clerk.limits.hold("scarce"):
            yield 1

    async def read_one(clerk):
        async with clerk.space("s").stream(Clerk.talk, items) as found:
            item = await anext(found)
            await trio.sleep(1)
        return item

    async with opened(Clerk, one_lane=True, config=ONE_TURN, limits=[Limit("scarce", 1)]) as runtime:

        async def hold():
            async with runtime.limits.hold("scarce"):
                await trio.sleep(3)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(hold)
            await trio.lowlevel.checkpoint()
            with trio.fail_after(100):
                assert await runtime.space("r").ask(Clerk.do, read_one) == 0


# ---- the tasks of one turn


async def test_C1_two_tasks_of_a_turn_wait_for_one_token_and_not_for_two():
    async def first(clerk):
        async with clerk.limits.hold("until 1"):
            await trio.sleep(1.5)
        async with clerk.limits.hold("until 3"):
            pass

    async def second(clerk):
        async with clerk.limits.hold("until 2"):
            pass

    async def both(clerk):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(first, clerk)
            nursery.start_soon(second, clerk)
        return trio.current_time()

    async def work(clerk):
        await trio.sleep(4.5)

    ends = {f"until {seconds}": seconds for seconds in (1, 2, 3)}
    async with opened(Clerk, config=ONE_TURN, limits=[Limit(name, 1) for name in ends]) as runtime:

        async def hold(name):
            async with runtime.limits.hold(name):
                await trio.sleep_until(ends[name])

        async with trio.open_nursery() as nursery:
            for name in ends:
                nursery.start_soon(hold, name)
            await settled()

            async def ask():
                with trio.fail_after(100):
                    assert await runtime.space("b").ask(Clerk.do, both) == 5

            nursery.start_soon(ask)
            await trio.sleep(0.5)
            await runtime.space("w").send(Clerk.do, work)  # it has the token when both tasks want to go on
        assert runtime.limits.statistics()["turns"].held == 0


# ---- time and urgency


class Impatient(Actor, kind="impatient"):
    options = SpaceOptions(backoff=None)

    @handler(timeout=5.0)
    async def hold(self):
        async with self.limits.hold("scarce"):
            await trio.sleep(1)


async def test_C3_a_turn_whose_time_runs_out_while_it_waits_to_go_on_ends_then():
    async def work(clerk):
        await trio.sleep(100)

    async with opened(Impatient, Clerk, config=ONE_TURN, limits=[Limit("scarce", 1)]) as runtime:

        async def hold():
            with pytest.raises(ActorCrashed) as caught:
                await runtime.space("i", Impatient).ask(Impatient.hold)
            assert isinstance(caught.value.__cause__, TurnTimeout)
            assert trio.current_time() == 5

        async with trio.open_nursery() as nursery, runtime.limits.hold("scarce"):
            nursery.start_soon(hold)
            await trio.sleep(0.5)
            await runtime.space("b", Clerk).send(Clerk.do, work)  # it has the token, which is lent, for long
            await trio.sleep(0.5)
        await runtime.space("b", Clerk).kill()


class Guarded(Actor, kind="guarded"):
    """Begins its life with something scarce."""

    options = SpaceOptions(backoff=None, restart_limit=RestartLimit(1, 60))

    async def on_start(self):
        async with self.limits.hold("scarce"):
            await trio.sleep(5)

    @handler
    async def greet(self):
        return trio.current_time()


async def test_C10_a_hook_whose_limit_is_taken_away_runs_again_and_no_crash_is_counted():
    async with opened(Guarded, Clerk, limits=[Limit("scarce", 1, preemptible=True)]) as runtime:
        guarded = runtime.space("g", Guarded)

        async def take():
            for _ in range(3):
                await trio.sleep(2)
                async with runtime.limits.hold("scarce", priority=Priority.URGENT):
                    await trio.sleep(1)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(take)
            assert await guarded.ask(Guarded.greet) == 9 + 5
        assert (await guarded.info()).restarts == 0


async def test_C10_a_hook_whose_limit_is_taken_away_is_killed_all_the_same():
    async with opened(Guarded, Clerk, limits=[Limit("scarce", 1, preemptible=True)]) as runtime:
        await runtime.space("g", Guarded).send(Guarded.greet)
        await trio.sleep(1)
        async with runtime.limits.hold("scarce", priority=Priority.URGENT):
            await trio.sleep(1)
            report = await runtime.space("g", Guarded).kill()
        assert report.left == {"guarded/g": 1}


class Taken(Actor, kind="taken"):
    """Begins its life with something that is taken away again and again, until it is let."""

    options = SpaceOptions(backoff=None)

    def __init__(self, world: dict) -> None:
        self.world = world

    async def on_start(self):
        self.world["tries"] += 1
        if self.id == "killed":
            await self.handle.kill()
        if not self.world["let"] and self.world["tries"] < 1000:
            raise Preempted("somebody else needs it")

    @handler
    async def greet(self):
        return "hello"


async def test_C10_a_hook_that_is_preempted_at_once_each_time_lets_others_run():
    world = {"tries": 0, "let": False}
    async with opened(Taken, deps=world) as runtime, trio.open_nursery() as nursery:
        nursery.start_soon(runtime.space("t").ask, Taken.greet)
        for _ in range(20):
            await trio.lowlevel.checkpoint()
        world["let"] = True
    assert 1 < world["tries"] < 100


async def test_C10_a_hook_that_is_preempted_and_killed_does_not_run_again():
    world = {"tries": 0, "let": False}
    async with opened(Taken, deps=world) as runtime:
        with pytest.raises(MessageReturned):
            await runtime.space("killed").ask(Taken.greet)
    assert world["tries"] == 1


# ---- rings of waits


class Several(Actor, kind="several"):
    """Two turns at once, but where it shares a lane."""

    options = SpaceOptions(concurrency=2, backoff=None)

    @handler
    async def ask_itself(self):
        return await self.space(self.id).ask(Several.greet)

    @handler
    async def greet(self):
        return "hello"


async def test_M13_an_ask_of_oneself_in_a_lane_is_a_ring_whatever_the_concurrency():
    async with opened(Several) as runtime:
        assert await runtime.space("a").ask(Several.ask_itself) == "hello"
    async with opened(Several, one_lane=True) as runtime:
        with trio.fail_after(100), pytest.raises(ActorCrashed) as caught:
            await runtime.space("a").ask(Several.ask_itself)
        assert isinstance(caught.value.__cause__, AskCycle)


async def test_O5_a_space_that_waits_for_the_token_of_its_next_turn_is_told_among_the_waits():
    async with opened(Clerk, config=ONE_TURN) as runtime:
        for name in "abc":
            await runtime.space(name).send(Clerk.do, nap)
            await trio.sleep(0.25)
        told = [(one.space, one.call, one.kind, one.target, one.since, one.position) for one in runtime.waits()]
        assert told == [
            ("b", "do", WaitKind.TOKEN, "turns", 0.25, 1),
            ("c", "do", WaitKind.TOKEN, "turns", 0.5, 2),
        ]
        assert str(runtime.waits()[1]) == "c (do) waits for a token of turns, number 2 in line"


class Leaving(Several, kind="leaving"):
    """Has something to clean up, so that it is asked to leave."""

    options = SpaceOptions(concurrency=2, backoff=None)

    async def on_stop(self):
        await trio.sleep(1)


@pytest.mark.parametrize("seed", range(4))
def test_T7_a_message_that_comes_as_its_space_is_asked_to_leave_may_need_a_second_turn_of_it(seed):
    async def main():
        async with opened(Leaving, config=RuntimeConfig(max_live_spaces=1)) as runtime:
            staying = runtime.space("a")
            await staying.ask(Leaving.greet)
            await settled()
            with trio.fail_after(100):
                async with trio.open_nursery() as nursery:
                    # Its place is wanted, and before it can look it is wanted itself.
                    nursery.start_soon(runtime.space("b").ask, Leaving.greet)
                    nursery.start_soon(staying.ask, Leaving.ask_itself)
            assert runtime.limits.statistics()["spaces"].held == 1

    run_seeded(main, seed)


async def test_T7_a_space_with_several_turns_leaves_when_it_has_done_what_came_as_it_was_asked_to_leave():
    async with opened(Leaving) as runtime:
        space = runtime.space("a")
        await space.ask(Leaving.greet)
        await settled()
        life.ask_to_passivate(runtime._hub.live["leaving", "a"])
        assert await space.ask(Leaving.ask_itself) == "hello"
        await trio.sleep(2)
        assert not runtime._hub.live
