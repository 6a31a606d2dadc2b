"""Places for live spaces, the line outside, and lanes, where several things happen at once."""

from __future__ import annotations

import trio
from trio.testing import wait_all_tasks_blocked

from spaceactors import Actor, RuntimeConfig, handler, open_runtime


class Clerk(Actor[int]):
    """Works for a while, asks others, and knows how many of its turns run at once."""

    running = 0
    most = 0

    @handler
    async def work(self, seconds):
        Clerk.running += 1
        Clerk.most = max(Clerk.most, Clerk.running)
        await trio.sleep(seconds)
        Clerk.running -= 1

    @handler
    async def ask_later(self, other, seconds):
        await trio.sleep(1)
        return await self.space(other).ask(Clerk.work, seconds)

    @handler
    async def ask_all(self, others):
        for other in others:
            await self.space(other).ask(Clerk.ping)

    @handler
    async def ping(self):
        return "pong"


async def test_S3_a_space_for_which_senders_wait_outside_has_one_activation_when_a_turn_asks_it(autojump_clock):
    """Whoever makes a space live lets those in who waited for it."""
    Clerk.running = Clerk.most = 0
    async with open_runtime(Clerk, config=RuntimeConfig(max_live_spaces=2)) as runtime:
        busy = [runtime.space("x"), runtime.space("y")]
        for space in busy:
            await space.send(Clerk.ask_later, "k", 10)
        await wait_all_tasks_blocked()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(runtime.space("k").send, Clerk.work, 10)
            await trio.sleep(2)
            assert not nursery.child_tasks
            for space in busy:
                await space.kill()
            await trio.sleep(40)
    assert Clerk.most == 1
