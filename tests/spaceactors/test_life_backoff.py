"""Backoff of spaces (B1 to B15): how long a crashed actor waits, and what its messages do meanwhile."""

from __future__ import annotations

from random import Random

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from spaceactors import (
    ActorCrashed,
    Backoff,
    MailboxFull,
    MessageReturned,
    Outcome,
    Overflow,
    RestartLimit,
    SpaceCrashed,
    SpaceOptions,
    SpaceStarted,
    SpaceStatus,
    open_runtime,
)
from supervisors import exponential_backoff
from tests.spaceactors.lives import Boom, Doer, HookedDoer, World, gathering, holds_law_2, sleeping, with_options

OFTEN = RestartLimit(10_000, 1e6)


async def fail(*_):
    raise Boom


async def delays_of(kind, crashes):
    """Crash again and again, as soon as the actor is back, and return the waits that were told."""
    async with open_runtime(kind, deps=World()) as runtime, gathering(runtime, SpaceCrashed) as seen:
        for _ in range(crashes):
            with pytest.raises(ActorCrashed):
                await runtime.space("a").ask(Doer.crash)
        await wait_all_tasks_blocked()
    return [event.delay for event in seen]


async def test_B1_B3_waits_double_from_the_minimum_to_the_maximum_and_stay_there():
    kind = with_options(backoff=exponential_backoff(1, 10, jitter=0), restart_limit=OFTEN)
    assert await delays_of(kind, 7) == [1, 2, 4, 8, 10, 10, 10]


async def test_B1_the_actor_comes_back_exactly_after_its_wait():
    async with open_runtime(with_options(backoff=lambda _: 7.0), deps=World()) as runtime:
        space = runtime.space("a")
        await space.send(Doer.crash)
        await space.ask(Doer.note, "x")
        assert trio.current_time() == 7


async def test_B2_jitter_stays_within_its_bounds_and_follows_from_its_seed():
    def kind():
        return with_options(backoff=exponential_backoff(1, 8, jitter=0.5, random=Random(7)), restart_limit=OFTEN)

    once, again = await delays_of(kind(), 20), await delays_of(kind(), 20)
    assert once == again
    assert len(set(once)) == 20
    bounds = [exponential_backoff(1, 8, jitter=0.5).bounds(attempt) for attempt in range(20)]
    assert all(low <= delay <= high <= 8 for delay, (low, high) in zip(once, bounds, strict=True))


async def crash_and_be_quiet(space, seconds):
    with pytest.raises(ActorCrashed):
        await space.ask(Doer.crash)
    await space.ask(Doer.note, "back")
    await trio.sleep(seconds)


@pytest.mark.parametrize(("quiet", "delays"), [(30.0, [1, 1, 1]), (29.0, [1, 2, 4])])
async def test_B4_B5_enough_quiet_begins_a_new_row_of_waits_and_less_does_not(quiet, delays):
    backoff = Backoff(exponential_backoff(1, 100, jitter=0), reset_after=30)
    kind = with_options(backoff=backoff, restart_limit=OFTEN)
    async with open_runtime(kind, deps=World()) as runtime, gathering(runtime, SpaceCrashed) as seen:
        for _ in range(3):
            await crash_and_be_quiet(runtime.space("a"), quiet)
    assert [event.delay for event in seen] == delays


async def test_B5_waiting_out_a_backoff_is_no_quiet():
    backoff = Backoff(exponential_backoff(10, 1000, jitter=0), reset_after=30)
    kind = with_options(backoff=backoff, restart_limit=OFTEN)
    assert await delays_of(kind, 4) == [10, 20, 40, 80]


async def test_B5_a_slow_start_is_no_quiet():
    world = World()
    world.on_start = sleeping(20)
    backoff = Backoff(exponential_backoff(1, 100, jitter=0), reset_after=30)
    kind = with_options(HookedDoer, backoff=backoff, restart_limit=OFTEN)
    async with open_runtime(kind, deps=world) as runtime, gathering(runtime, SpaceCrashed) as seen:
        for _ in range(3):
            await crash_and_be_quiet(runtime.space("a"), 15)
    assert [event.delay for event in seen] == [1, 2, 4]


async def test_B6_over_the_limit_in_a_row_there_is_no_wait_any_more():
    kind = with_options(backoff=lambda _: 1.0, restart_limit=RestartLimit(2, 60))
    async with open_runtime(kind, deps=World()) as runtime:
        space = runtime.space("a")
        for _ in range(3):
            with pytest.raises(ActorCrashed):
                await space.ask(Doer.crash)
        await wait_all_tasks_blocked()
        assert (await space.info()).status is SpaceStatus.QUARANTINED
        assert trio.current_time() == 2


async def test_B7_B15_failed_starts_back_off_too_and_are_scheduled_again():
    world = World()
    times = []

    async def fail_three_times(actor):
        times.append(trio.current_time())
        if len(times) <= 3:
            raise Boom

    world.on_start = fail_three_times
    kind = with_options(HookedDoer, backoff=exponential_backoff(1, 100, jitter=0))
    async with open_runtime(kind, deps=world) as runtime:
        await runtime.space("a").ask(Doer.note, "x")
        assert times == [0, 1, 3, 7]


async def test_B8_messages_wait_through_a_backoff_up_to_capacity_and_overflow_is_visible():
    kind = with_options(backoff=lambda _: 10.0, mailbox_capacity=2)
    async with open_runtime(kind, deps=World()) as runtime:
        space = runtime.space("a")
        with pytest.raises(ActorCrashed):
            await space.ask(Doer.crash)
        await wait_all_tasks_blocked()
        space.send_nowait(Doer.note, "x")
        space.send_nowait(Doer.note, "y")
        with pytest.raises(MailboxFull):
            space.send_nowait(Doer.note, "z")
        await trio.sleep(11)
        assert await space.state() == ("x", "y")


async def test_B8_a_full_mailbox_makes_senders_wait_through_a_backoff():
    kind = with_options(backoff=lambda _: 10.0, mailbox_capacity=1)
    async with open_runtime(kind, deps=World()) as runtime:
        space = runtime.space("a")
        with pytest.raises(ActorCrashed):
            await space.ask(Doer.crash)
        await space.send(Doer.note, "x")
        assert trio.current_time() == 0
        await space.send(Doer.note, "y")
        assert trio.current_time() == 10


async def test_B8_overflow_rules_count_through_a_backoff():
    kind = with_options(backoff=lambda _: 10.0, mailbox_capacity=1, overflow=Overflow.DROP_OLDEST)
    async with open_runtime(kind, deps=World()) as runtime:
        space = runtime.space("a")
        with pytest.raises(ActorCrashed):
            await space.ask(Doer.crash)
        await wait_all_tasks_blocked()
        for what in "xyz":
            await space.send(Doer.note, what)
        await trio.sleep(11)
        assert await space.state() == ("z",)
        assert (await runtime.snapshot()).ledger.outcomes[Outcome.DISCARDED] == 2


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_B9_stop_and_kill_in_a_backoff_are_immediate_and_return_what_waits(how):
    world = World()
    async with open_runtime(with_options(backoff=lambda _: 10.0), deps=world) as runtime:
        space = runtime.space("a")
        with pytest.raises(ActorCrashed):
            await space.ask(Doer.crash)
        await wait_all_tasks_blocked()
        space.send_nowait(Doer.note, "x")
        report = await getattr(space, how)()
        assert report.left == {"a": 1}
        assert trio.current_time() == 0
        await trio.sleep(20)
        assert world.born == {"a": 1}


async def test_B9_an_asker_in_a_backoff_is_told_of_the_stop():
    async with (
        open_runtime(with_options(backoff=lambda _: 10.0), deps=World()) as runtime,
        trio.open_nursery() as nursery,
    ):
        space = runtime.space("a")
        with pytest.raises(ActorCrashed):
            await space.ask(Doer.crash)

        async def ask():
            with pytest.raises(MessageReturned):
                await space.ask(Doer.note, "x")
            assert trio.current_time() == 0

        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        await space.stop()


async def test_B9_a_drain_skips_the_wait_and_finishes_what_waits():
    world = World()
    async with open_runtime(with_options(backoff=lambda _: 10.0), deps=world) as runtime:
        space = runtime.space("a")
        with pytest.raises(ActorCrashed):
            await space.ask(Doer.crash)
        await wait_all_tasks_blocked()
        space.send_nowait(Doer.note, "x")
        report = await space.drain()
        assert report.clean
        assert await space.state() == ("x",)
        assert trio.current_time() == 0


async def test_B9_the_next_activation_after_a_stop_in_a_backoff_owes_no_wait():
    async with open_runtime(with_options(backoff=lambda _: 10.0), deps=World()) as runtime:
        space = runtime.space("a")
        with pytest.raises(ActorCrashed):
            await space.ask(Doer.crash)
        await space.stop()
        await space.ask(Doer.note, "x")
        assert trio.current_time() == 0
        assert (await space.info()).restarts == 0


async def test_B11_a_failure_in_the_backlog_keeps_the_rest_in_order():
    async with open_runtime(with_options(backoff=lambda _: 1.0), deps=World()) as runtime:
        space = runtime.space("a")
        for number in range(20):
            if number % 7 == 3:
                await space.send(Doer.crash)
            await space.send(Doer.note, number)
        await trio.sleep(10)
        assert await space.state() == tuple(range(20))
        assert await holds_law_2(runtime)


async def test_B11_a_message_that_is_tried_again_keeps_its_place_before_the_rest():
    world = World()

    async def fail_once(actor):
        if actor.message.attempt == 1:
            raise Boom
        actor.state = (*actor.state, "again")

    async with open_runtime(with_options(backoff=lambda _: 1.0, max_attempts=2), deps=world) as runtime:
        space = runtime.space("a")
        await space.send(Doer.do, fail_once)
        await space.send(Doer.note, "behind")
        await trio.sleep(5)
        assert await space.state() == ("again", "behind")


async def test_B12_the_backoffs_of_two_spaces_do_not_disturb_each_other():
    kind = with_options(backoff=exponential_backoff(1, 100, jitter=0), restart_limit=OFTEN)
    async with open_runtime(kind, deps=World()) as runtime, gathering(runtime, SpaceCrashed) as seen:
        a, b = runtime.space("a"), runtime.space("b")
        for _ in range(3):
            with pytest.raises(ActorCrashed):
                await a.ask(Doer.crash)
        with pytest.raises(ActorCrashed):
            await b.ask(Doer.crash)
        await wait_all_tasks_blocked()
        assert [event.delay for event in seen if event.space == "a"] == [1, 2, 4]
        assert [event.delay for event in seen if event.space == "b"] == [1]


async def test_B13_a_thousand_actors_that_fail_together_do_not_restart_in_step():
    kind = with_options(backoff=SpaceOptions().backoff)
    async with open_runtime(kind, deps=World()) as runtime, gathering(runtime, SpaceStarted) as seen:
        for number in range(1000):
            runtime.space(str(number)).send_nowait(Doer.crash)
        await trio.sleep(2)
        again = [event.at for event in seen if event.incarnation == 2]
        assert len(again) == 1000
        assert len(set(again)) > 900
        assert min(again) >= 1
        assert max(again) <= 1.5


async def test_B14_thousands_of_crashes_in_a_row_overflow_nothing():
    kind = with_options(backoff=exponential_backoff(1e-6, 1e-3, jitter=0), restart_limit=RestartLimit(10_000, 60))
    async with open_runtime(kind, deps=World()) as runtime:
        space = runtime.space("a")
        for _ in range(1500):
            with pytest.raises(ActorCrashed):
                await space.ask(Doer.crash)
        await space.ask(Doer.note, "x")
        assert (await space.info()).restarts == 1500


async def test_B10_a_revival_starts_at_once_whatever_wait_came_last():
    kind = with_options(backoff=lambda _: 10.0, restart_limit=RestartLimit(1, 60))
    async with open_runtime(kind, deps=World()) as runtime:
        space = runtime.space("a")
        await space.send(Doer.crash)
        await space.send(Doer.crash)
        await trio.sleep(11)
        await space.revive()
        await space.ask(Doer.note, "x")
        assert trio.current_time() == 11
