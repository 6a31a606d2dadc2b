"""Drain, stop and kill of one space (S1 to S20): what finishes, what comes back, and what the report says."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from spaceactors import (
    Actor,
    ActorCrashed,
    AskCycle,
    MessageReturned,
    RestartLimit,
    SpaceDraining,
    SpaceEnded,
    SpaceError,
    SpaceOptions,
    SpaceStarted,
    SpaceStatus,
    SpaceStopped,
    SpaceUnstoppable,
    handler,
    open_runtime,
)
from supervisors import draining, until_drain
from tests.spaceactors.lives import Boom, Doer, HookedDoer, World, gathering, holds_law_2, sleeping, with_options


def seconds(expected):
    """The virtual time, as far as the clock's arithmetic allows."""
    return trio.current_time() == pytest.approx(expected)


async def outcomes(runtime):
    found = (await runtime.snapshot()).ledger.outcomes
    return {outcome.name: number for outcome, number in found.items() if number}


# ---- S1: drain


async def test_S1_a_drain_finishes_the_thousand_messages_that_wait_and_ends():
    async with open_runtime(with_options(mailbox_capacity=1000), deps=World()) as runtime:
        space = runtime.space("a")
        for number in range(1000):
            space.send_nowait(Doer.note, number)
        report = await space.drain()
        assert await space.state() == tuple(range(1000))
        assert (report.clean, report.finished, dict(report.left)) == (True, ("a",), {})


async def test_S1_a_draining_space_refuses_what_is_new():
    async with open_runtime(Doer, deps=World()) as runtime, trio.open_nursery() as nursery:
        space = runtime.space("a")
        await space.send(Doer.work, "x", 5)
        nursery.start_soon(space.drain)
        await wait_all_tasks_blocked()
        assert (await space.info()).status is SpaceStatus.DRAINING
        for refused in (space.send, space.ask):
            with pytest.raises(SpaceDraining):
                await refused(Doer.note, "y")
        with pytest.raises(SpaceDraining):
            space.send_nowait(Doer.note, "y")


async def test_S1_who_waits_for_a_place_is_refused_when_the_drain_begins():
    async with open_runtime(with_options(mailbox_capacity=1), deps=World()) as runtime, trio.open_nursery() as nursery:
        space = runtime.space("a")
        await space.send(Doer.work, "x", 5)
        await wait_all_tasks_blocked()
        await space.send(Doer.note, "y")

        async def wait_for_a_place():
            with pytest.raises(SpaceDraining) as caught:
                await space.send(Doer.note, "z")
            assert caught.value.message.args == ("z",)
            assert seconds(0)

        nursery.start_soon(wait_for_a_place)
        await wait_all_tasks_blocked()
        await space.drain()
        assert await space.state() == ("x", "y")


async def test_S1_the_next_message_after_a_drain_begins_a_new_activation_from_the_state():
    world = World()
    async with open_runtime(Doer, deps=world) as runtime:
        space = runtime.space("a")
        await space.ask(Doer.note, "x")
        await space.drain()
        assert (await space.info()).status is SpaceStatus.PASSIVE
        await space.ask(Doer.note, "y")
        assert await space.state() == ("x", "y")
        assert world.born == {"a": 2}


async def test_S1_a_crash_in_a_drain_does_not_end_it():
    async with open_runtime(with_options(backoff=lambda _: 10.0), deps=World()) as runtime:
        space = runtime.space("a")
        await space.send(Doer.note, "x")
        await space.send(Doer.crash)
        await space.send(Doer.note, "y")
        report = await space.drain()
        assert report.clean
        assert await space.state() == ("x", "y")
        assert seconds(0)


async def test_S1_a_space_that_is_quarantined_in_its_drain_returns_the_rest():
    async with open_runtime(with_options(restart_limit=RestartLimit(0, 5)), deps=World()) as runtime:
        space = runtime.space("a")
        await space.send(Doer.crash)
        await space.send(Doer.note, "y")
        report = await space.drain()
        assert (report.clean, dict(report.left)) == (False, {"a": 1})
        assert await outcomes(runtime) == {"FAILED": 1, "RETURNED": 1}


async def test_S1_what_a_drained_turn_sends_to_its_own_space_still_runs():
    async def again(actor):
        await actor.handle.send(Doer.note, "more")

    async with open_runtime(Doer, deps=World()) as runtime:
        space = runtime.space("a")
        await space.send(Doer.do, again)
        report = await space.drain()
        assert report.clean
        assert await space.state() == ("more",)


async def test_S1_draining_what_is_not_live_reports_at_once_and_starts_nothing():
    async with open_runtime(Doer, deps=World()) as runtime:
        report = await runtime.space("a").drain()
        assert report.clean
        assert (await runtime.snapshot()).live == 0


# ---- S10, S4: the deadline


async def test_S10_at_the_deadline_the_turn_is_cancelled_and_it_and_the_rest_are_returned():
    async with open_runtime(Doer, deps=World()) as runtime:
        space = runtime.space("a")
        await space.send(Doer.note, "x")
        await space.send(Doer.work, "long", 100)
        await space.send(Doer.note, "y")
        report = await space.drain(timeout=3)
        assert seconds(3)
        assert (report.clean, report.cancelled, dict(report.left)) == (False, ("a",), {"a": 2})
        assert report.seconds == pytest.approx(3)
        assert await outcomes(runtime) == {"HANDLED": 1, "RETURNED": 2}
        assert await space.state() == ("x",)


async def test_S10_a_deadline_of_zero_seconds_is_kept():
    async with open_runtime(Doer, deps=World()) as runtime:
        space = runtime.space("a")
        await space.send(Doer.work, "long", 100)
        await wait_all_tasks_blocked()
        report = await space.drain(timeout=0)
        assert seconds(0)
        assert dict(report.left) == {"a": 1}


async def shielded(actor, seconds):
    with trio.CancelScope(shield=True):
        await trio.sleep(seconds)


async def test_S5_the_report_comes_at_the_deadline_even_if_the_turn_hides_behind_a_shield():
    async with open_runtime(Doer, deps=World()) as runtime:
        space = runtime.space("a")
        await space.send(Doer.do, shielded, 50)
        await wait_all_tasks_blocked()
        report = await space.drain(timeout=3)
        assert seconds(3)
        assert report.unstoppable == ("a",)
        assert not report.clean


async def test_S5_a_killed_turn_that_does_not_end_is_told_each_second_and_waited_for_no_longer_than_one():
    async with open_runtime(Doer, deps=World()) as runtime, gathering(runtime, SpaceUnstoppable) as seen:
        space = runtime.space("a")
        await space.send(Doer.do, shielded, 3.5)
        await wait_all_tasks_blocked()
        report = await space.kill()
        assert seconds(1)
        assert report.unstoppable == ("a",)
        await trio.sleep(5)
        assert [event.seconds for event in seen] == [1, 2, 3]


async def test_S5_O1_an_unstoppable_turn_that_is_killed_twice_is_told_once_a_second():
    async with open_runtime(Doer, deps=World()) as runtime, gathering(runtime, SpaceUnstoppable) as seen:
        space = runtime.space("a")
        await space.send(Doer.do, shielded, 3.5)
        await wait_all_tasks_blocked()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(space.kill)
            nursery.start_soon(space.kill)
        await trio.sleep(5)
        assert [event.seconds for event in seen] == [1, 2, 3]


async def test_S5_while_an_unstoppable_turn_runs_its_space_takes_nothing_and_afterwards_it_does():
    async with open_runtime(Doer, deps=World()) as runtime:
        space = runtime.space("a")
        await space.send(Doer.do, shielded, 5)
        await wait_all_tasks_blocked()
        await space.kill()
        with pytest.raises(SpaceStopped):
            await space.send(Doer.note, "x")
        await trio.sleep(5)
        await space.ask(Doer.note, "y")
        assert await space.state() == ("y",)
        assert await holds_law_2(runtime)


# ---- S2, S3, S19: stop and kill


async def test_S2_S19_stop_finishes_the_running_turn_and_returns_the_rest():
    async with open_runtime(Doer, deps=World()) as runtime:
        space = runtime.space("a")
        await space.send(Doer.work, "x", 5)
        for what in "yz":
            await space.send(Doer.note, what)
        await wait_all_tasks_blocked()
        report = await space.stop()
        assert seconds(5)
        assert (report.clean, report.finished, dict(report.left)) == (False, ("a",), {"a": 2})
        assert await space.state() == ("x",)
        assert await outcomes(runtime) == {"HANDLED": 1, "RETURNED": 2}


async def test_S2_the_waiting_are_returned_when_the_stop_begins_not_when_the_turn_ends():
    async with open_runtime(Doer, deps=World()) as runtime, trio.open_nursery() as nursery:
        space = runtime.space("a")
        await space.send(Doer.work, "x", 5)
        await wait_all_tasks_blocked()

        async def ask():
            with pytest.raises(MessageReturned):
                await space.ask(Doer.note, "y")
            assert seconds(0)

        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        await space.stop()


async def test_S2_a_stopping_space_refuses_with_space_stopped():
    async with open_runtime(Doer, deps=World()) as runtime, trio.open_nursery() as nursery:
        space = runtime.space("a")
        await space.send(Doer.work, "x", 5)
        await wait_all_tasks_blocked()
        nursery.start_soon(space.stop)
        await wait_all_tasks_blocked()
        with pytest.raises(SpaceStopped):
            await space.send(Doer.note, "y")


async def test_S2_a_stopped_space_says_so_until_its_next_message():
    async with open_runtime(Doer, deps=World()) as runtime:
        space = runtime.space("a")
        await space.ask(Doer.note, "x")
        await space.stop()
        assert (await space.info()).status is SpaceStatus.STOPPED
        await space.ask(Doer.note, "y")
        assert (await space.info()).status is SpaceStatus.LIVE


async def test_S3_S19_kill_cancels_the_running_turn_and_returns_it_with_the_rest():
    world = World()
    async with open_runtime(Doer, deps=world) as runtime:
        space = runtime.space("a")
        await space.send(Doer.work, "x", 5)
        await space.send(Doer.note, "y")
        await wait_all_tasks_blocked()
        report = await space.kill()
        assert seconds(0)
        assert (report.cancelled, dict(report.left)) == (("a",), {"a": 2})
        assert world.take() == "+x -x"
        assert await space.state() == ()
        assert await outcomes(runtime) == {"RETURNED": 2}


async def test_S3_the_asker_of_a_killed_turn_is_told_that_it_came_back():
    async with open_runtime(Doer, deps=World()) as runtime, trio.open_nursery() as nursery:
        space = runtime.space("a")

        async def ask():
            with pytest.raises(MessageReturned):
                await space.ask(Doer.work, "x", 5)

        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        await space.kill()


async def test_S3_a_killed_turn_that_fails_on_its_way_out_is_returned_all_the_same():
    async def fail_when_cancelled(actor):
        try:
            await trio.sleep_forever()
        finally:
            raise Boom

    async with open_runtime(Doer, deps=World()) as runtime:
        space = runtime.space("a")
        await space.send(Doer.do, fail_when_cancelled)
        await wait_all_tasks_blocked()
        report = await space.kill()
        assert dict(report.left) == {"a": 1}
        assert await outcomes(runtime) == {"RETURNED": 1}


async def test_S3_a_turn_that_has_returned_is_not_undone_by_a_kill():
    async def return_all_the_same(actor):
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            actor.state = (*actor.state, "late")

    async with open_runtime(Doer, deps=World()) as runtime:
        space = runtime.space("a")
        await space.send(Doer.do, return_all_the_same)
        await wait_all_tasks_blocked()
        await space.kill()
        done = await outcomes(runtime)
        assert (done == {"HANDLED": 1}) == (await space.state() == ("late",))
        assert await holds_law_2(runtime)


async def test_S19_what_was_returned_is_never_reported_handled():
    async with open_runtime(with_options(mailbox_capacity=100), deps=World()) as runtime:
        space = runtime.space("a")
        for number in range(50):
            space.send_nowait(Doer.work, number, 1)
        report = await space.drain(timeout=10.5)
        done = await space.state()
        assert done == tuple(range(10))
        assert report.left["a"] == 40
        assert await outcomes(runtime) == {"HANDLED": 10, "RETURNED": 40}


# ---- S13: background work


async def begin(actor, fn, *args):
    actor.start_soon(fn, *args)


async def test_S13_a_drain_gives_background_work_its_seconds_whether_it_listens_or_not():
    world = World()

    async def beside():
        await trio.sleep(4)
        world.note("done")

    async with open_runtime(with_options(shutdown=5), deps=world) as runtime:
        space = runtime.space("a")
        await space.ask(Doer.do, begin, beside)
        report = await space.drain()
        assert seconds(4)
        assert report.clean
        assert world.take() == "done"


async def test_S13_background_work_that_takes_longer_than_its_seconds_is_cut_off_and_the_report_says_so():
    async with open_runtime(with_options(shutdown=5), deps=World()) as runtime:
        space = runtime.space("a")
        await space.ask(Doer.do, begin, trio.sleep, 100)
        report = await space.drain()
        assert seconds(5)
        assert (report.clean, report.cancelled) == (False, ("a",))


async def test_S13_background_work_learns_of_the_drain():
    world = World()

    async def beside():
        with until_drain():
            await trio.sleep_forever()
        assert draining()
        world.note("asked")

    async with open_runtime(Doer, deps=world) as runtime:
        space = runtime.space("a")
        await space.ask(Doer.do, begin, beside)
        await wait_all_tasks_blocked()
        report = await space.drain()
        assert world.take() == "asked"
        assert report.clean


async def test_S13_S4_a_stop_gives_its_seconds_only_to_background_work_that_listens():
    world = World()

    async def listens():
        with until_drain():
            await trio.sleep_forever()
        await trio.sleep(2)
        world.note("listened")

    async def plain():
        await trio.sleep(3)
        world.note("never")

    async with open_runtime(Doer, deps=world) as runtime:
        a, b = runtime.space("a"), runtime.space("b")
        await a.ask(Doer.do, begin, listens)
        await b.ask(Doer.do, begin, plain)
        await wait_all_tasks_blocked()
        await a.stop()
        assert seconds(2)
        await b.stop()
        assert seconds(2)
        assert world.take() == "listened"


async def test_S13_a_kill_cancels_background_work_at_once():
    async def listens():
        with until_drain():
            await trio.sleep_forever()
        await trio.sleep(2)

    async with open_runtime(Doer, deps=World()) as runtime:
        space = runtime.space("a")
        await space.ask(Doer.do, begin, listens)
        await wait_all_tasks_blocked()
        await space.kill()
        assert seconds(0)


async def test_S13_background_work_that_does_not_end_is_told_and_holds_the_report_back_one_second_only():
    async with open_runtime(Doer, deps=World()) as runtime, gathering(runtime, SpaceUnstoppable) as seen:
        space = runtime.space("a")
        await space.ask(Doer.do, begin, shielded, None, 5.5)
        await wait_all_tasks_blocked()
        report = await space.kill()
        assert seconds(1)
        assert report.unstoppable == ("a",)
        await trio.sleep(10)
        assert len(seen) >= 4
        await space.ask(Doer.note, "x")


# ---- S14: timers


async def every_second(actor):
    actor.schedule("k", Doer.note, "tick", every=1)


async def test_S14_timers_are_kept_by_a_drain_and_tick_in_the_next_activation():
    async with open_runtime(Doer, deps=World()) as runtime:
        space = runtime.space("a")
        await space.ask(Doer.do, every_second)
        await trio.sleep(1.5)
        await space.drain()
        await trio.sleep(2)
        assert len(await space.state()) == 3


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_S14_timers_are_cancelled_by_stop_and_kill(how):
    async with open_runtime(Doer, deps=World()) as runtime:
        space = runtime.space("a")
        await space.ask(Doer.do, every_second)
        await getattr(space, how)()
        await trio.sleep(10)
        assert await space.state() == ()


async def test_S14_a_timer_that_is_due_while_its_space_drains_ticks_later():
    async with open_runtime(Doer, deps=World()) as runtime:
        space = runtime.space("a")
        await space.ask(Doer.do, every_second)
        await space.send(Doer.work, "x", 4.5)
        await wait_all_tasks_blocked()
        async with runtime.events() as events:
            await space.drain()
            await trio.sleep(2)
            told = [type(await anext(events)) for _ in range(2)]
        assert told == [SpaceEnded, SpaceStarted]
        assert "tick" in await space.state()


# ---- S15: a draining parent


async def test_S15_an_actor_that_asks_a_draining_space_gets_an_error_and_no_deadlock():
    async def ask_parent(actor):
        try:
            await actor.space("parent").ask(Doer.note, "x")
        except SpaceError as error:
            return type(error).__name__

    async with open_runtime(Doer, deps=World()) as runtime, trio.open_nursery() as nursery:
        parent = runtime.space("parent")
        await parent.send(Doer.work, "long", 5)
        nursery.start_soon(parent.drain)
        await wait_all_tasks_blocked()
        assert await runtime.space("child").ask(Doer.do, ask_parent) == "SpaceDraining"


async def test_S15_a_turn_that_drains_a_space_which_asks_it_is_refused_the_ring():
    async def drain_child(actor):
        try:
            await actor.space("child").drain()
        except AskCycle:
            return "cycle"
        return "drained"

    async def ask_parent(actor):
        await trio.sleep(1)
        try:
            return await actor.space("parent").ask(Doer.note, "x")
        except AskCycle:
            return "cycle"

    results = []

    async def run(space, fn):
        results.append(await space.ask(Doer.do, fn))

    with trio.fail_after(100):
        async with open_runtime(Doer, deps=World()) as runtime, trio.open_nursery() as nursery:
            nursery.start_soon(run, runtime.space("child"), ask_parent)
            nursery.start_soon(run, runtime.space("parent"), drain_child)
    assert "cycle" in results


# ---- S16, S17: stops at odd moments


async def test_S16_an_actor_may_stop_itself_in_its_start_hook():
    world = World()
    reports = []

    async def stop(actor):
        if not reports:
            reports.append(await actor.handle.stop())

    world.on_start = stop
    async with open_runtime(HookedDoer, deps=world) as runtime:
        space = runtime.space("a")
        await space.send(Doer.note, "x")
        await wait_all_tasks_blocked()
        assert (await space.info()).status is SpaceStatus.STOPPED
        assert await outcomes(runtime) == {"RETURNED": 1}
        await space.ask(Doer.note, "y")
        assert world.take() == "start stop start y"


async def test_S16_an_actor_that_stops_itself_gets_its_report_in_the_turn_and_ends_after_it():
    async def stop(actor):
        report = await actor.handle.stop()
        actor.state = ("last words",)
        return report

    async with open_runtime(Doer, deps=World()) as runtime:
        space = runtime.space("a")
        report = await space.ask(Doer.do, stop)
        await wait_all_tasks_blocked()
        assert not report.left
        assert await space.state() == ("last words",)
        assert (await space.info()).status is SpaceStatus.STOPPED


async def test_S16_an_actor_may_kill_itself():
    async def kill(actor):
        await actor.handle.kill()
        await trio.sleep_forever()

    async with open_runtime(Doer, deps=World()) as runtime:
        space = runtime.space("a")
        with pytest.raises(MessageReturned):
            await space.ask(Doer.do, kill)
        assert await outcomes(runtime) == {"RETURNED": 1}


async def test_S17_a_stop_while_the_actor_starts_lets_the_hook_finish_and_returns_the_message():
    world = World()
    world.on_start = sleeping(3)
    async with open_runtime(HookedDoer, deps=world) as runtime:
        space = runtime.space("a")
        await space.send(Doer.note, "x")
        await wait_all_tasks_blocked()
        report = await space.stop()
        assert seconds(3)
        assert dict(report.left) == {"a": 1}
        assert world.take() == "start stop"


async def test_S17_a_kill_while_the_actor_starts_cuts_the_hook():
    world = World()
    world.on_start = sleeping(3)
    async with open_runtime(HookedDoer, deps=world) as runtime:
        space = runtime.space("a")
        await space.send(Doer.note, "x")
        await wait_all_tasks_blocked()
        await space.kill()
        assert seconds(0)
        assert world.take() == "start"
        assert await outcomes(runtime) == {"RETURNED": 1}


@pytest.mark.parametrize("how", ["stop", "drain", "kill"])
async def test_S17_an_end_while_the_space_leaves_memory_waits_for_it_and_runs_on_stop_once(how):
    world = World()
    world.on_stop = sleeping(3)
    async with open_runtime(with_options(HookedDoer, idle_timeout=5), deps=world) as runtime:
        space = runtime.space("a")
        await space.ask(Doer.note, "x")
        await trio.sleep(6)
        assert world.take() == "start x idle stop"
        await getattr(space, how)()
        assert (await runtime.snapshot()).live == 0
        assert world.take() == ""


async def test_S17_a_stop_of_a_drain_overrules_it():
    async with open_runtime(Doer, deps=World()) as runtime, trio.open_nursery() as nursery:
        space = runtime.space("a")
        await space.send(Doer.work, "x", 5)
        await space.send(Doer.work, "y", 5)
        reports = []

        async def drain():
            reports.append(await space.drain())

        await wait_all_tasks_blocked()
        nursery.start_soon(drain)
        await trio.sleep(1)
        await space.stop()
        assert seconds(5)
        await wait_all_tasks_blocked()
        assert dict(reports[0].left) == {"a": 1}


async def test_S17_a_kill_cuts_the_grace_that_a_stop_has_given():
    async def listens():
        with until_drain():
            await trio.sleep_forever()
        await trio.sleep(4)

    async with open_runtime(Doer, deps=World()) as runtime, trio.open_nursery() as nursery:
        space = runtime.space("a")
        await space.ask(Doer.do, begin, listens)
        await wait_all_tasks_blocked()
        nursery.start_soon(space.stop)
        await trio.sleep(1)
        await space.kill()
        assert seconds(1)


async def test_S24_a_weaker_end_does_not_overrule_a_stronger_one():
    async with open_runtime(Doer, deps=World()) as runtime:
        space = runtime.space("a")
        await space.ask(Doer.do, every_second)
        await space.send(Doer.do, shielded, 0.5)
        await wait_all_tasks_blocked()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(space.kill)
            await wait_all_tasks_blocked()
            nursery.start_soon(space.drain)
        await trio.sleep(5)
        assert (await space.info()).status is SpaceStatus.STOPPED
        assert await space.state() == ()


# ---- S18


async def test_S18_the_crash_of_the_last_turn_is_told_to_its_asker_and_stops_no_stopping():
    async def die_later(actor):
        await trio.sleep(1)
        raise Boom

    async with open_runtime(Doer, deps=World()) as runtime, trio.open_nursery() as nursery:
        space = runtime.space("a")

        async def ask():
            with pytest.raises(ActorCrashed) as caught:
                await space.ask(Doer.do, die_later)
            assert isinstance(caught.value.__cause__, Boom)

        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        await space.stop()
        assert (await space.info()).status is SpaceStatus.STOPPED
        assert await outcomes(runtime) == {"FAILED": 1}


async def test_S18_an_on_stop_that_fails_makes_the_report_unclean():
    world = World()

    async def fail(actor):
        raise Boom

    world.on_stop = fail
    async with open_runtime(HookedDoer, deps=world) as runtime:
        space = runtime.space("a")
        await space.ask(Doer.note, "x")
        report = await space.drain()
        assert (report.clean, report.cancelled) == (False, ("a",))


# ---- S20


async def test_S20_on_stop_may_send_to_living_siblings():
    world = World()

    async def tell(actor):
        if actor.id == "a":
            await actor.space("b").send(Doer.note, "from a")

    world.on_stop = tell
    async with open_runtime(HookedDoer, deps=world) as runtime:
        a, b = runtime.space("a"), runtime.space("b")
        await a.ask(Doer.note, "x")
        await a.stop()
        await wait_all_tasks_blocked()
        assert await b.state() == ("from a",)


async def test_S20_on_stop_may_ask_living_siblings():
    world = World()
    answers = []

    async def ask(actor):
        if actor.id == "a":
            answers.append(await actor.space("b").ask(Doer.work, "y", 1))

    world.on_stop = ask
    async with open_runtime(HookedDoer, deps=world) as runtime:
        a = runtime.space("a")
        await a.ask(Doer.note, "x")
        await a.drain()
        assert answers == ["y"]


# ---- several turns at once


async def test_S2_stop_finishes_all_running_turns_of_a_space_with_several():
    class Many(Actor):
        options = SpaceOptions(concurrency=3)

        @handler
        async def work(self, seconds):
            await trio.sleep(seconds)
            return seconds

    async with open_runtime(Many) as runtime:
        space = runtime.space("a")
        for _ in range(5):
            await space.send(Many.work, 5)
        await wait_all_tasks_blocked()
        report = await space.stop()
        assert seconds(5)
        assert dict(report.left) == {"a": 2}
        assert await outcomes(runtime) == {"HANDLED": 3, "RETURNED": 2}
