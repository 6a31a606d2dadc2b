"""Limits on turns, lent tokens and quickly settled turns at moments that are easily forgotten."""

from __future__ import annotations

import pytest
import trio

from spaceactors import Actor, Limit, RuntimeConfig, SpaceOptions, handler
from tests.spaceactors.scenes import opened, run_seeded

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
