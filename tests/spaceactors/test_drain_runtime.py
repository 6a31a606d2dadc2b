"""Drain of a whole runtime (S1 to S22): order, deadline, report, and that nothing runs afterwards."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from spaceactors import (
    AskCycle,
    MessageReturned,
    Outcome,
    RestartLimit,
    RuntimeClosed,
    RuntimeConfig,
    RuntimeDrained,
    RuntimeDraining,
    SpaceQuarantined,
    SpaceStatus,
    SpaceUnstoppable,
    open_runtime,
)
from supervisors import ChildSpec, draining, open_supervisor, until_drain
from supervisors.testing import seed_schedule
from tests.spaceactors.lives import Boom, Doer, HookedDoer, World, gathering, holds_law_2, sleeping, with_options


def seconds(expected):
    """The virtual time, as far as the clock's arithmetic allows."""
    return trio.current_time() == pytest.approx(expected)


async def outcomes(runtime):
    found = (await runtime.snapshot()).ledger.outcomes
    return {outcome.name: number for outcome, number in found.items() if number}


async def begin(actor, fn, *args):
    actor.start_soon(fn, *args)


async def shielded(actor, seconds):
    with trio.CancelScope(shield=True):
        await trio.sleep(seconds)


# ---- S1: what finishes


async def test_S1_leaving_the_block_finishes_what_was_accepted():
    async with open_runtime(Doer, deps=World()) as runtime:
        for name in "abc":
            for number in range(10):
                await runtime.space(name).send(Doer.work, number, 1)
    assert seconds(10)
    assert runtime.report.clean
    assert sorted(runtime.report.finished) == ["a", "b", "c"]
    assert (await outcomes(runtime)) == {"HANDLED": 30}


async def test_S1_an_empty_runtime_drains_at_once():
    async with open_runtime(Doer, deps=World()) as runtime:
        assert runtime.report is None
    assert runtime.report.clean
    assert (runtime.report.finished, runtime.report.seconds) == ((), 0)


async def test_S1_a_draining_runtime_refuses_what_comes_from_outside():
    async with open_runtime(Doer, deps=World()) as runtime, trio.open_nursery() as nursery:
        space = runtime.space("a")
        await space.send(Doer.work, "x", 5)
        nursery.start_soon(runtime.drain)
        await wait_all_tasks_blocked()
        for refused in (space, runtime.space("never live")):
            for send in (refused.send, refused.ask):
                with pytest.raises(RuntimeClosed):
                    await send(Doer.note, "y")
            with pytest.raises(RuntimeClosed):
                refused.send_nowait(Doer.note, "y")


async def test_S1_a_closed_runtime_refuses_everything_and_counts_nothing():
    async with open_runtime(Doer, deps=World()) as runtime:
        await runtime.space("a").ask(Doer.note, "x")
    for space in (runtime.space("a"), runtime.space("b")):
        for send in (space.send, space.ask):
            with pytest.raises(RuntimeClosed):
                await send(Doer.note, "y")
    assert (await runtime.snapshot()).ledger.accepted == 1
    assert await runtime.space("a").state() == ("x",)


async def test_S1_who_waits_for_a_place_is_refused_when_the_drain_begins():
    async with open_runtime(with_options(mailbox_capacity=1), deps=World()) as runtime, trio.open_nursery() as nursery:
        space = runtime.space("a")
        await space.send(Doer.work, "x", 5)
        await wait_all_tasks_blocked()
        await space.send(Doer.note, "y")

        async def wait_for_a_place():
            with pytest.raises(RuntimeClosed):
                await space.send(Doer.note, "z")

        nursery.start_soon(wait_for_a_place)
        await wait_all_tasks_blocked()
        await runtime.drain()
    assert await space.state() == ("x", "y")


async def test_S1_who_waits_for_a_live_space_is_refused_when_the_drain_begins():
    config = RuntimeConfig(max_live_spaces=1)
    async with open_runtime(Doer, deps=World(), config=config) as runtime, trio.open_nursery() as nursery:
        await runtime.space("a").send(Doer.work, "x", 5)

        async def wait_for_a_place():
            with pytest.raises(RuntimeClosed):
                await runtime.space("b").send(Doer.note, "z")

        nursery.start_soon(wait_for_a_place)
        await wait_all_tasks_blocked()
        await runtime.drain()


async def test_S14_what_accepted_work_sends_still_runs_through_long_chains():
    async def pass_on(actor, left):
        await trio.sleep(1)
        if left:
            await actor.space(f"s{left}").send(Doer.do, pass_on, left - 1)

    async with open_runtime(Doer, deps=World()) as runtime:
        await runtime.space("first").send(Doer.do, pass_on, 10)
    assert seconds(11)
    assert runtime.report.clean
    assert len(runtime.report.finished) == 11
    assert await outcomes(runtime) == {"HANDLED": 11}


async def test_S14_what_accepted_work_asks_is_answered_even_by_spaces_that_are_not_live():
    async def ask(actor):
        await trio.sleep(1)
        return await actor.space("new").ask(Doer.work, "y", 1)

    answers = []

    async def asking(space):
        answers.append(await space.ask(Doer.do, ask))

    async with trio.open_nursery() as nursery, open_runtime(Doer, deps=World()) as runtime:
        nursery.start_soon(asking, runtime.space("a"))
        await wait_all_tasks_blocked()
    await wait_all_tasks_blocked()
    assert answers == ["y"]


async def test_S14_timers_do_not_tick_in_a_drain_and_do_not_hold_it_up():
    async def every_second(actor):
        actor.schedule("k", Doer.note, "tick", every=1)

    async with open_runtime(Doer, deps=World()) as runtime:
        await runtime.space("a").ask(Doer.do, every_second)
        await runtime.space("a").send(Doer.work, "x", 5)
    assert seconds(5)
    assert await runtime.space("a").state() == ("x",)


async def test_S14_a_timer_set_in_a_drain_does_not_tick():
    async def after_one(actor):
        actor.schedule("k", Doer.note, "tick", after=0)

    async with open_runtime(Doer, deps=World()) as runtime:
        await runtime.space("b").send(Doer.work, "long", 5)
        await runtime.space("a").send(Doer.do, after_one)
    assert await runtime.space("a").state() == ()
    assert runtime.report.clean


async def test_S13_the_drain_of_a_runtime_waits_for_background_work():
    world = World()

    async def beside():
        await trio.sleep(3)
        world.note("done")

    async with open_runtime(Doer, deps=world) as runtime:
        await runtime.space("a").ask(Doer.do, begin, beside)
    assert seconds(3)
    assert world.take() == "done"
    assert runtime.report.clean


async def test_S13_what_background_work_sends_in_a_drain_still_runs():
    async def beside(there):
        with until_drain():
            await trio.sleep_forever()
        await trio.sleep(1)
        await there.send(Doer.work, "y", 2)

    async with open_runtime(Doer, deps=World()) as runtime:
        await runtime.space("a").ask(Doer.do, begin, beside, runtime.space("b"))
    assert seconds(3)
    assert await runtime.space("b").state() == ("y",)
    assert runtime.report.clean


async def test_S13_background_work_cut_off_by_its_own_seconds_makes_the_report_unclean():
    async with open_runtime(with_options(shutdown=2), deps=World()) as runtime:
        await runtime.space("a").ask(Doer.do, begin, trio.sleep, 100)
    assert seconds(2)
    assert (runtime.report.clean, runtime.report.cancelled) == (False, ("a",))


async def test_S13_background_work_begun_in_a_drain_gets_its_seconds_too():
    async def begin_later(actor):
        await trio.sleep(1)
        actor.start_soon(trio.sleep, 100)

    async with open_runtime(with_options(shutdown=2), deps=World()) as runtime:
        await runtime.space("a").send(Doer.do, begin_later)
    assert seconds(3)


# ---- law 7: what does not hold a drain up


async def test_S1_a_quarantined_space_does_not_hold_a_drain_up_and_returns_what_it_kept():
    async with open_runtime(with_options(restart_limit=RestartLimit(0, 5)), deps=World()) as runtime:
        await runtime.space("a").send(Doer.crash)
        await runtime.space("a").send(Doer.note, "x")
        await trio.sleep(1)
    assert seconds(1)
    assert dict(runtime.report.left) == {"a": 1}
    assert await outcomes(runtime) == {"FAILED": 1, "RETURNED": 1}


async def test_S1_a_backoff_is_skipped_in_a_drain():
    async with open_runtime(with_options(backoff=lambda _: 100.0), deps=World()) as runtime:
        await runtime.space("a").send(Doer.crash)
        await runtime.space("a").send(Doer.note, "x")
        await wait_all_tasks_blocked()
    assert seconds(0)
    assert await runtime.space("a").state() == ("x",)
    assert runtime.report.clean


async def test_S1_a_crash_in_a_drain_owes_no_backoff():
    async with open_runtime(with_options(backoff=lambda _: 100.0), deps=World()) as runtime:
        for name in "ab":
            await runtime.space(name).send(Doer.work, "x", 1)
            await runtime.space(name).send(Doer.crash)
            await runtime.space(name).send(Doer.note, "y")
    assert seconds(1)
    assert await runtime.space("a").state() == ("x", "y")


async def test_S1_a_pause_is_over_in_a_drain():
    async with open_runtime(Doer, deps=World()) as runtime:
        await runtime.space("a").pause()
        await runtime.space("a").send(Doer.note, "x")
    assert await runtime.space("a").state() == ("x",)


async def test_S1_a_suspended_turn_is_returned_and_holds_nothing_up():
    async def suspend(actor):
        return await actor.suspend("q", "well?", answer=str)

    async with open_runtime(Doer, deps=World()) as runtime, trio.open_nursery() as nursery:
        space = runtime.space("a")

        async def ask():
            with pytest.raises(MessageReturned):
                await space.ask(Doer.do, suspend)

        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        assert (await space.info()).status is SpaceStatus.SUSPENDED
        report = await runtime.drain()
        assert dict(report.left) == {"a": 1}
        assert seconds(0)


async def test_S14_a_space_that_is_revived_in_a_drain_finishes_what_it_kept_and_takes_nothing_new():
    async def pass_on(actor):
        await trio.sleep(10)
        await actor.space("b").send(Doer.work, "passed on", 1)

    async with open_runtime(with_options(restart_limit=RestartLimit(0, 5)), deps=World()) as runtime:
        space = runtime.space("a")
        await space.send(Doer.crash)
        await space.send(Doer.do, pass_on)
        await runtime.space("b").send(Doer.work, "long", 5)
        await wait_all_tasks_blocked()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(runtime.drain)
            await wait_all_tasks_blocked()
            await space.revive()
            with pytest.raises(RuntimeClosed):
                await space.send(Doer.note, "x")
        assert seconds(11)
    assert await runtime.space("b").state() == ("long", "passed on")
    assert runtime.report.clean


async def test_S14_calls_on_a_closed_runtime_start_nothing():
    async with open_runtime(Doer, deps=World()) as runtime:
        space = runtime.space("a")
        await space.ask(Doer.note, "x")
    with pytest.raises(RuntimeClosed):
        await space.pause()
    await space.resume()
    await space.revive()
    assert (await space.stop()).clean
    assert (await space.drain()).clean
    assert (await space.kill()).clean
    assert (await runtime.snapshot()).live == 0
    await space.delete()
    assert await space.state() == ()


# ---- S10, S5, S19: the deadline


async def test_S10_the_runtimes_own_deadline_is_drain_timeout():
    async with open_runtime(Doer, deps=World(), config=RuntimeConfig(drain_timeout=7)) as runtime:
        await runtime.space("a").send(Doer.work, "x", 100)
    assert seconds(7)
    assert runtime.report.seconds == pytest.approx(7)


async def test_S19_what_the_deadline_cuts_off_and_what_waits_is_returned():
    async with open_runtime(Doer, deps=World()) as runtime:
        await runtime.space("a").send(Doer.work, "x", 100)
        await runtime.space("a").send(Doer.note, "y")
        await runtime.space("b").send(Doer.work, "z", 2)
        report = await runtime.drain(timeout=3)
        assert seconds(3)
    assert report is runtime.report
    assert (report.clean, report.finished, report.cancelled) == (False, ("b",), ("a",))
    assert dict(report.left) == {"a": 2}
    assert await outcomes(runtime) == {"HANDLED": 1, "RETURNED": 2}
    assert await runtime.space("a").state() == ()


async def test_S10_the_deadline_holds_for_chains_without_end():
    async def pass_on(actor):
        await actor.handle.send(Doer.do, pass_on)
        await trio.sleep(1)

    async with open_runtime(Doer, deps=World()) as runtime:
        await runtime.space("a").send(Doer.do, pass_on)
        await runtime.drain(timeout=3.5)
        assert seconds(3.5)
    assert dict(runtime.report.left) == {"a": 1}
    assert await holds_law_2(runtime)


async def test_S10_background_work_gets_no_more_time_than_the_runtime_has():
    async with open_runtime(with_options(shutdown=100), deps=World()) as runtime:
        await runtime.space("a").ask(Doer.do, begin, trio.sleep, 100)
        await runtime.drain(timeout=3)
        assert seconds(3)
    assert runtime.report.cancelled == ("a",)


async def test_S10_a_hook_that_cleans_up_gets_no_more_time_than_the_runtime_has():
    world = World()
    world.on_stop = sleeping(100)
    async with open_runtime(HookedDoer, deps=world) as runtime:
        await runtime.space("a").ask(Doer.note, "x")
        await runtime.drain(timeout=3)
        assert seconds(3)
    assert runtime.report.cancelled == ("a",)


async def test_S5_the_report_comes_at_the_deadline_names_what_will_not_stop_and_only_the_block_waits_for_it():
    async with open_runtime(Doer, deps=World()) as runtime:
        await runtime.space("a").send(Doer.do, shielded, 10)
        await runtime.space("b").send(Doer.note, "x")
        await wait_all_tasks_blocked()
        report = await runtime.drain(timeout=2)
        assert seconds(2)
        assert (report.unstoppable, dict(report.left), report.finished) == (("a",), {"a": 1}, ("b",))
        assert not report.clean
    assert seconds(10)


async def test_S5_a_space_that_does_not_end_is_told_each_second_until_the_block_ends():
    told = []
    async with open_runtime(Doer, deps=World()) as runtime, gathering(runtime, SpaceUnstoppable) as seen:
        await runtime.space("a").send(Doer.do, shielded, 5.5)
        await wait_all_tasks_blocked()
        await runtime.drain(timeout=1)
        await trio.sleep(10)
        told = [event.seconds for event in seen]
    assert told == pytest.approx([1, 2, 3, 4])


async def test_S10_a_shorter_deadline_of_a_second_caller_counts():
    async with open_runtime(Doer, deps=World()) as runtime, trio.open_nursery() as nursery:
        await runtime.space("a").send(Doer.work, "x", 100)
        nursery.start_soon(runtime.drain, 20)
        await trio.sleep(1)
        await runtime.drain(timeout=2)
        assert seconds(3)


# ---- S11


async def test_S11_all_callers_get_the_same_report_and_the_drain_runs_once():
    reports = []
    async with open_runtime(Doer, deps=World()) as runtime, gathering(runtime, RuntimeDraining, RuntimeDrained) as seen:
        async with trio.open_nursery() as nursery:
            await runtime.space("a").send(Doer.work, "x", 3)

            async def drain():
                reports.append(await runtime.drain())

            async def wait():
                reports.append(await runtime.wait_closed())

            for call in (drain, wait, drain):
                nursery.start_soon(call)
        reports.append(await runtime.drain())
        await wait_all_tasks_blocked()
        assert [type(event) for event in seen] == [RuntimeDraining, RuntimeDrained]
    assert all(report is runtime.report for report in reports)
    assert len(reports) == 4


async def test_S11_who_gives_up_waiting_for_the_report_does_not_stop_the_drain():
    async with open_runtime(Doer, deps=World()) as runtime:
        await runtime.space("a").send(Doer.work, "x", 3)
        with trio.move_on_after(1):
            await runtime.drain()
        with pytest.raises(RuntimeClosed):
            await runtime.space("a").send(Doer.note, "y")
        report = await runtime.wait_closed()
        assert report.clean
        assert seconds(3)


# ---- S15: from inside


async def test_S15_a_turn_cannot_wait_for_the_runtimes_end_and_is_told_so_at_once():
    async def drain(actor, runtime):
        with pytest.raises(Exception, match="turn") as caught:
            await runtime.drain()
        return type(caught.value).__name__

    async with open_runtime(Doer, deps=World()) as runtime:
        await runtime.space("a").ask(Doer.do, drain, runtime)


async def test_S15_two_spaces_that_ask_each_other_in_a_drain_do_not_stand_still():
    async def ask_other(actor, other):
        await trio.sleep(1)
        try:
            return await actor.space(other).ask(Doer.note, "x")
        except AskCycle:
            return None

    async with open_runtime(Doer, deps=World()) as runtime:
        await runtime.space("a").send(Doer.do, ask_other, "b")
        await runtime.space("b").send(Doer.do, ask_other, "a")
    assert seconds(1)
    assert runtime.report.clean


# ---- S20: clean-up may send


async def test_S20_on_stop_in_a_runtimes_drain_may_send_and_ask():
    world = World()
    answers = []

    async def tell(actor):
        if actor.id in "ab":
            await actor.space("c").send(Doer.note, f"from {actor.id}")
            answers.append(await actor.space("d").ask(Doer.work, "y", 0))

    world.on_stop = tell
    async with open_runtime(HookedDoer, deps=world) as runtime:
        for name in "abcd":
            await runtime.space(name).ask(Doer.note, "x")
    assert sorted((await runtime.space("c").state())[1:]) == ["from a", "from b"]
    assert answers == ["y", "y"]
    assert runtime.report.clean


async def test_S20_every_space_cleans_up_once_more_only_if_it_came_back_to_life():
    world = World()

    async def tell(actor):
        if actor.id == "a":
            await actor.space("new").send(Doer.note, "x")

    world.on_stop = tell
    async with open_runtime(HookedDoer, deps=world) as runtime:
        await runtime.space("a").ask(Doer.note, "x")
    assert world.trace.count("stop") == 2
    assert world.trace.count("start") == 2
    assert sorted(runtime.report.finished) == ["a", "new"]


async def test_S20_spaces_that_tell_each_other_of_their_ends_do_not_bring_each_other_back_for_ever():
    world = World()

    async def tell(actor):
        await actor.space("b" if actor.id == "a" else "a").send(Doer.note, "bye")

    world.on_stop = tell
    async with open_runtime(HookedDoer, deps=world) as runtime:
        for name in "ab":
            await runtime.space(name).ask(Doer.note, "x")
    assert seconds(0)
    for name in "ab":
        assert (await runtime.space(name).state())[:2] == ("x", "bye")
    assert world.trace.count("stop") <= 4
    assert await holds_law_2(runtime)


@pytest.mark.parametrize("seed", range(8))
def test_S20_on_stop_finds_the_sibling_that_it_asks_alive_under_any_schedule(seed):
    assert ask_the_last(seed) == (["y"] * 6, True)


def ask_the_last(seed):
    """Six spaces ask a seventh as they end, in one schedule; the seventh has a hook of its own."""
    answers, reports = [], []

    async def main():
        world = World()

        async def ask(actor):
            if actor.id != "last":
                answers.append(await actor.space("last").ask(Doer.work, "y", 0))

        world.on_stop = ask
        async with open_runtime(HookedDoer, deps=world) as runtime:
            for name in ["last", *"abcdef"]:
                await runtime.space(name).ask(Doer.note, "x")
        reports.append(runtime.report)

    with seed_schedule(seed):
        trio.run(main, clock=MockClock(autojump_threshold=0))
    return answers, reports[0].clean


async def test_S14_accepted_work_gets_the_places_it_needs_in_a_drain():
    async def pass_on(actor, left):
        if left:
            await actor.space(f"s{left}").send(Doer.do, pass_on, left - 1)

    config = RuntimeConfig(max_live_spaces=1)
    async with open_runtime(Doer, deps=World(), config=config) as runtime:
        await runtime.space("first").send(Doer.do, pass_on, 5)
    assert seconds(0)
    assert runtime.report.clean


# ---- law 4: no orphans


async def test_S1_nothing_runs_after_the_block():
    world = World()
    before = trio.lowlevel.current_statistics().tasks_living
    async with open_runtime(HookedDoer, deps=world) as runtime:
        for number in range(20):
            space = runtime.space(f"s{number}")
            await space.send(Doer.do, begin, trio.sleep_forever)
            await space.send(Doer.work, "x", 50)
        await runtime.drain(timeout=3)
    assert trio.lowlevel.current_statistics().tasks_living == before
    assert (await runtime.snapshot()).live == 0


async def test_S1_dependencies_close_after_the_drain():
    world = World()

    @asynccontextmanager
    async def opening():
        world.note("opened")
        yield world
        world.note("closed")

    async with open_runtime(Doer, deps=opening) as runtime:
        await runtime.space("a").send(Doer.work, "x", 1)
    assert world.take() == "opened +x -x closed"


# ---- determinism


def drained_with(seed):
    """The report of one busy drain, under one schedule."""
    found = []

    async def busy():
        world = World()
        config = RuntimeConfig(max_live_spaces=8)
        kind = with_options(HookedDoer, backoff=lambda _: 0.3, restart_limit=RestartLimit(1, 60), mailbox_capacity=4)
        async with open_runtime(kind, deps=world, config=config) as runtime, trio.open_nursery() as nursery:

            async def feed(name):
                for number in range(6):
                    if number % 4 == 3 and name in "bdf":
                        await runtime.space(name).send(Doer.crash)
                    await runtime.space(name).send(Doer.work, number, 0.5)

            async def quietly(name):
                with suppress(RuntimeClosed, SpaceQuarantined):
                    await feed(name)

            for name in "abcdefghijkl":
                nursery.start_soon(quietly, name)
            await trio.sleep(1.2)
            report = await runtime.drain(timeout=1.1)
            ledger = (await runtime.snapshot()).ledger
            states = {name: await runtime.space(name).state() for name in "abcdefghijkl"}
        found.append((report, ledger.accepted, dict(ledger.outcomes), states))

    with seed_schedule(seed):
        trio.run(busy, clock=MockClock(autojump_threshold=0))
    return found[0]


@pytest.mark.parametrize("seed", range(5))
def test_S1_the_same_input_clock_and_schedule_give_the_same_report_space_by_space(seed):
    assert drained_with(seed) == drained_with(seed)


# ---- S22: inside a supervisor


async def test_S22_a_runtime_as_a_resource_drains_in_its_place_and_its_report_is_found():
    world = World()
    runtimes = []

    async def use(*, task_status):
        task_status.started()
        try:
            with until_drain():
                await trio.sleep_forever()
            await trio.sleep(1)
            await runtimes[0].space("a").send(Doer.work, "late", 2)
        finally:
            world.note("user gone")

    specs = [
        ChildSpec.resource("spaces", lambda: open_runtime(Doer, deps=world), shutdown=30),
        ChildSpec("user", use, shutdown=10),
    ]
    async with open_supervisor(specs) as service:
        runtimes.append(service.child("spaces").value)
        await runtimes[0].space("a").send(Doer.work, "x", 1)
    assert world.take() == "+x -x user gone +late -late" or world.take() == ""
    assert runtimes[0].report.clean
    assert await runtimes[0].space("a").state() == ("x", "late")
    assert service.report.clean
    assert seconds(3)


async def test_S22_the_grace_of_the_resource_bounds_the_drain():
    runtimes = []
    specs = [ChildSpec.resource("spaces", lambda: open_runtime(Doer, deps=World()), shutdown=4)]
    async with open_supervisor(specs) as service:
        runtimes.append(service.child("spaces").value)
        await runtimes[0].space("a").send(Doer.work, "x", 100)
        await wait_all_tasks_blocked()
    assert seconds(4)
    assert runtimes[0].report.cancelled == ("a",)
    assert not service.report.clean


async def test_S22_a_runtime_whose_supervisor_drains_refuses_new_work_at_once():
    async with (
        open_supervisor(
            [ChildSpec.resource("spaces", lambda: open_runtime(Doer, deps=World()), shutdown=10)]
        ) as service,
        trio.open_nursery() as nursery,
    ):
        runtime = service.child("spaces").value
        await runtime.space("a").send(Doer.work, "x", 5)
        await wait_all_tasks_blocked()
        nursery.start_soon(service.drain)
        await wait_all_tasks_blocked()
        with pytest.raises(RuntimeClosed):
            await runtime.space("a").send(Doer.note, "y")


async def test_S22_a_turn_does_not_take_the_drain_around_its_runtime_for_its_own():
    asked = []

    async def look(actor):
        await trio.sleep(2)
        asked.append(draining())
        with until_drain():
            await trio.sleep(1)
            asked.append("finished")

    async with open_supervisor(
        [ChildSpec.resource("spaces", lambda: open_runtime(Doer, deps=World()), shutdown=10)]
    ) as service:
        await service.child("spaces").value.space("a").send(Doer.do, look)
        await wait_all_tasks_blocked()
    assert asked == [False, "finished"]


async def test_S22_a_runtime_that_ends_by_an_error_is_restarted_by_its_supervisor():
    world = World()

    async def die(actor):
        raise Boom

    opened = []

    @asynccontextmanager
    async def opening():
        async with open_runtime(Doer, deps=world) as runtime:
            opened.append(runtime)
            yield runtime

    async with open_supervisor([ChildSpec.resource("spaces", opening)]) as service:
        await service.child("spaces").value.space("a").send(Doer.do, die)
        await wait_all_tasks_blocked()
        assert len(opened) == 1
        await service.stop_child("spaces")
        await service.restart_child("spaces")
        assert len(opened) == 2
        await service.child("spaces").value.space("a").ask(Doer.note, "x")


async def test_S19_law_2_holds_after_every_end():
    for timeout in (0, 0.5, 1.5, 100):
        async with open_runtime(with_options(mailbox_capacity=3), deps=World()) as runtime:
            for name in "abc":
                for number in range(4):
                    with trio.move_on_after(0.2):
                        await runtime.space(name).send(Doer.work, number, 0.4)
            await runtime.drain(timeout=timeout)
            assert await holds_law_2(runtime)
            ledger = (await runtime.snapshot()).ledger
            assert ledger.pending == 0
            assert (
                runtime.report.left.get("a", 0) + runtime.report.left.get("b", 0) + runtime.report.left.get("c", 0)
                == ledger.outcomes[Outcome.RETURNED]
            )
