"""Places for live spaces, the line outside, and lanes, where several things happen at once."""

from __future__ import annotations

import gc
import time
import weakref

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from spaceactors import (
    Actor,
    ActorCrashed,
    BadCall,
    MailboxFull,
    RuntimeConfig,
    SpaceOptions,
    SpaceStatus,
    handler,
    open_runtime,
)


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


async def test_T9_a_space_for_which_senders_wait_outside_has_one_activation_when_a_turn_asks_it(autojump_clock):
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


async def _live(runtime):
    return (await runtime.snapshot()).live


async def test_T9_spaces_that_an_open_turn_needed_over_the_bound_leave_when_they_are_idle(autojump_clock):
    """The bound is left for as long as a turn needs it, not for good."""
    async with open_runtime(Clerk, config=RuntimeConfig(max_live_spaces=2)) as runtime:
        await runtime.space("x").ask(Clerk.ask_all, [f"s{number}" for number in range(300)])
        await trio.sleep(1)
        assert await _live(runtime) <= 2


async def test_T9_a_newcomer_finds_a_place_after_many_were_live_over_the_bound(autojump_clock):
    """However many spaces leave for it, they leave one after the other."""
    async with open_runtime(Clerk, config=RuntimeConfig(max_live_spaces=2)) as runtime:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(runtime.space("x").ask, Clerk.ask_all, [f"s{number}" for number in range(1500)])
            await wait_all_tasks_blocked()
            assert await runtime.space("new").ask(Clerk.ping) == "pong"
        await trio.sleep(1)
        assert await _live(runtime) <= 2


async def test_T9_a_refused_sender_is_let_in_once_a_space_came_to_rest(autojump_clock):
    """That nothing was idle is known until something comes to rest."""
    async with open_runtime(Clerk, config=RuntimeConfig(max_live_spaces=1)) as runtime:
        await runtime.space("x").send(Clerk.work, 2)
        await trio.sleep(1)
        for _ in range(2):
            with pytest.raises(MailboxFull):
                runtime.space("new").send_nowait(Clerk.ping)
        await trio.sleep(2)
        runtime.space("new").send_nowait(Clerk.ping)
        assert (await runtime.space("x").info()).status is SpaceStatus.PASSIVE


class Picky(Actor[int]):
    """Has no place in any group for some ids."""

    @classmethod
    def group_of(cls, space_id, /):
        if space_id == "bad":
            raise ValueError("no group for it")

    @handler
    async def work(self, seconds):
        await trio.sleep(seconds)

    @handler
    async def post(self, *others):
        self.state += 1
        for other in others:
            await self.space(other).send(Picky.work, 0)


async def test_L13_a_class_that_cannot_begin_a_space_tells_the_sender_that_would_wait_for_it(autojump_clock):
    """Not whoever makes the place free."""
    async with open_runtime(Picky, config=RuntimeConfig(max_live_spaces=1)) as runtime:
        await runtime.space("x").send(Picky.work, 1)
        began = trio.current_time()
        with pytest.raises(BadCall, match="no group for it") as caught:
            await runtime.space("bad").send(Picky.work, 1)
        assert isinstance(caught.value.__cause__, ValueError)
        assert trio.current_time() == began
        await runtime.space("x").ask(Picky.work, 1)


async def test_L13_a_turn_that_sends_to_a_space_that_cannot_begin_has_done_nothing(autojump_clock):
    """What is wrong with a target comes out at the send, not between the commit and what it makes visible."""
    async with open_runtime(Picky) as runtime:
        with pytest.raises(ActorCrashed, match="no group for it"):
            await runtime.space("x").ask(Picky.post, "good", "bad")
        assert await runtime.space("x").state() == 0
        assert (await runtime.snapshot()).ledger.accepted == 1


async def test_M10_who_waited_for_a_space_with_another_group_than_it_has_is_refused(autojump_clock):
    """The first message fixes the group, whether it came in at once or waited for a place."""
    async with open_runtime(Clerk, config=RuntimeConfig(max_live_spaces=1)) as runtime:
        await runtime.space("x").send(Clerk.work, 1)
        refused = []

        async def ask(group):
            try:
                await runtime.space("a", group=group).ask(Clerk.ping)
            except BadCall as error:
                refused.append((group, str(error)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, "one")
            await wait_all_tasks_blocked()
            nursery.start_soon(ask, "two")
        assert refused == [("two", "a belongs to the group 'one' since its first message, not to 'two'")]


async def test_M4_whoever_leaves_the_line_outside_leaves_the_others_in_their_order(autojump_clock):
    """A sender that gives up leaves no message behind."""
    done = []

    class Listed(Actor[int]):
        @handler
        async def note(self, name):
            done.append(name)

    async with open_runtime(Clerk, Listed, config=RuntimeConfig(max_live_spaces=1)) as runtime:
        await runtime.space("x", Clerk).send(Clerk.work, 2)
        async with trio.open_nursery() as nursery:

            async def send(name, patience):
                with trio.move_on_after(patience):
                    await runtime.space("a", Listed).send(Listed.note, name)

            for name, patience in (("1", 1), ("2", 9), ("3", 1), ("4", 9)):
                nursery.start_soon(send, name, patience)
                await wait_all_tasks_blocked()
        await runtime.drain()
    assert done == ["2", "4"]


async def test_P3_the_actor_of_a_space_that_left_is_not_kept_by_a_handle(autojump_clock):
    """A handle is only a name."""

    class Heavy(Actor[int]):
        @handler
        async def itself(self):
            return weakref.ref(self)

    async with open_runtime(Heavy, config=RuntimeConfig(max_live_spaces=1)) as runtime:
        first = runtime.space("first")
        actor = await first.ask(Heavy.itself)
        for _ in range(2):
            await runtime.space("second").ask(Heavy.itself)
        await trio.sleep(1)
        gc.collect()
        assert actor() is None


async def test_M13_a_sender_held_back_by_a_full_target_does_not_leave_for_another(autojump_clock):
    """In its next activation it would know nothing of what it is held back for."""

    class Flood(Actor[int]):
        options = SpaceOptions(mailbox_capacity=1)

        @handler
        async def flood(self):
            for _ in range(2):
                await self.space("t").send(Flood.slow)

        @handler
        async def slow(self):
            await trio.sleep(100)

        @handler
        async def now(self):
            return trio.current_time()

    async with open_runtime(Flood, config=RuntimeConfig(max_live_spaces=2)) as runtime:
        held, begun = runtime.space("a"), trio.current_time()
        await runtime.space("t").send(Flood.slow)
        await wait_all_tasks_blocked()
        await held.ask(Flood.flood)
        with trio.move_on_after(10) as tried:
            await runtime.space("x").ask(Flood.now)
        assert tried.cancelled_caught
        assert await held.ask(Flood.now) - begun >= 100
        await runtime.drain(0)


async def _seconds_of_asks(waiting):
    """Have turns of one lane ask each one thing, while so many wait, and return the seconds of work of each."""
    async with open_runtime(Clerk, one_lane=True) as runtime:
        for number in range(waiting):
            runtime.space(f"s{number}").send_nowait(Clerk.ask_all, [f"t{number % 10}"])
        began = time.process_time()
        await runtime.drain()
        return (time.process_time() - began) / waiting


async def test_P1_an_ask_in_a_lane_costs_the_same_however_many_wait_there(autojump_clock):
    """The lane looks at those whom the asking turn needs, not at all who stand in line."""
    await _seconds_of_asks(150)
    few = min([await _seconds_of_asks(150) for _ in range(3)])
    assert min([await _seconds_of_asks(1500) for _ in range(2)]) < 5 * few


async def test_M1_of_several_that_a_turn_needs_the_earliest_accepted_comes_first_in_a_lane(autojump_clock):
    """Whoever else waits in the lane comes after them."""
    order = []

    class Singer(Actor[int]):
        @handler
        async def lead(self, *others):
            async with trio.open_nursery() as nursery:
                for other in others:
                    nursery.start_soon(self.space(other).ask, Singer.sing)
                    await wait_all_tasks_blocked()  # the first of them sings already

        @handler
        async def sing(self):
            order.append(self.id)
            await trio.sleep(1)

    async with open_runtime(Singer, one_lane=True) as runtime:
        runtime.space("lead").send_nowait(Singer.lead, "b", "c", "a")
        runtime.space("z").send_nowait(Singer.sing)
        runtime.space("a").send_nowait(Singer.sing)
        await runtime.drain()
    assert order == ["b", "a", "c", "a", "z"]


async def test_L13_who_waits_for_a_space_that_cannot_begin_any_more_is_told(autojump_clock):
    """It was deleted while they waited, and its class has changed its mind."""
    full = []

    class Moody(Actor[int]):
        @classmethod
        def group_of(cls, space_id, /):
            if space_id in full:
                raise ValueError("full now")

        @handler
        async def work(self, seconds):
            await trio.sleep(seconds)

    async with open_runtime(Moody, config=RuntimeConfig(max_live_spaces=1)) as runtime:
        await runtime.space("x").send(Moody.work, 1)
        async with trio.open_nursery() as nursery:

            async def wait_for_it():
                with pytest.raises(BadCall, match="full now"):
                    await runtime.space("y").ask(Moody.work, 0)

            nursery.start_soon(wait_for_it)
            await wait_all_tasks_blocked()
            full.append("y")
            await runtime.space("y").delete()
        await runtime.space("z").ask(Moody.work, 0)


async def test_T9_a_space_killed_before_it_had_a_place_takes_none(autojump_clock):
    """Nobody waits for a place that was kept for it."""
    async with open_runtime(Picky, config=RuntimeConfig(max_live_spaces=1)) as runtime:
        runtime.space("x").send_nowait(Picky.post, "y")
        runtime.space("x").send_nowait(Picky.work, 5)
        await wait_all_tasks_blocked()
        await runtime.space("y").kill()
        with trio.fail_after(10):
            await runtime.space("z").ask(Picky.work, 0)
