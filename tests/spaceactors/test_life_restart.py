"""Restart, quarantine, revival (R17 to R30, as they concern spaces): what a crash costs, and whom."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from spaceactors import (
    ActorCrashed,
    Outcome,
    RestartLimit,
    SpaceQuarantined,
    SpaceStatus,
    open_runtime,
)
from tests.spaceactors.lives import Boom, Doer, HookedDoer, World, holds_law_2, sleeping, with_options


async def crash(space, times=1):
    for _ in range(times):
        with pytest.raises(ActorCrashed):
            await space.ask(Doer.crash)


async def status(space):
    return (await space.info()).status


# ---- R17, R18: the budget


@pytest.mark.parametrize("restarts", [0, 1, 3])
async def test_R17_a_limit_of_n_allows_n_restarts_and_quarantines_at_the_next_crash(restarts):
    async with open_runtime(with_options(restart_limit=RestartLimit(restarts, 5)), deps=World()) as runtime:
        space = runtime.space("a")
        await crash(space, restarts)
        await wait_all_tasks_blocked()
        assert await status(space) is SpaceStatus.LIVE or restarts == 0
        assert (await space.info()).restarts == restarts
        await crash(space)
        await wait_all_tasks_blocked()
        assert await status(space) is SpaceStatus.QUARANTINED


@pytest.mark.parametrize(("apart", "quarantined"), [(5.0, True), (5.01, False)])
async def test_R17_the_edge_of_the_window_counts(apart, quarantined):
    async with open_runtime(with_options(restart_limit=RestartLimit(1, 5)), deps=World()) as runtime:
        space = runtime.space("a")
        await crash(space)
        await trio.sleep(apart)
        await crash(space)
        await wait_all_tasks_blocked()
        assert (await status(space) is SpaceStatus.QUARANTINED) is quarantined


async def test_R18_crashes_wider_apart_than_the_window_never_exhaust_the_budget():
    async with open_runtime(with_options(restart_limit=RestartLimit(1, 5)), deps=World()) as runtime:
        space = runtime.space("a")
        for _ in range(20):
            await crash(space)
            await trio.sleep(5.1)
        assert (await space.info()).restarts == 20
        assert await status(space) is SpaceStatus.LIVE


# ---- R19: failed starts


async def test_R19_failed_starts_count_against_the_budget():
    world = World()

    async def fail(actor):
        raise Boom

    world.on_start = fail
    async with open_runtime(with_options(HookedDoer, restart_limit=RestartLimit(2, 5)), deps=world) as runtime:
        space = runtime.space("a")
        await space.send(Doer.note, "x")
        await wait_all_tasks_blocked()
        assert world.take() == "start start start"
        assert await status(space) is SpaceStatus.QUARANTINED


async def test_R19_an_init_that_raises_is_a_crash_of_the_actor_and_of_nobody_else():
    world = World()

    class Unborn(Doer):
        def __init__(self, world):
            super().__init__(world)
            if self.id == "a":
                raise Boom

    async with open_runtime(with_options(Unborn, restart_limit=RestartLimit(2, 5)), deps=world) as runtime:
        await runtime.space("a").send(Doer.note, "x")
        assert await runtime.space("b").ask(Doer.work, "y", 1) == "y"
        assert world.born["a"] == 3
        assert await status(runtime.space("a")) is SpaceStatus.QUARANTINED
        assert isinstance((await runtime.space("a").info()).last_error, Boom)


async def test_L13_an_asker_of_a_space_whose_actor_cannot_be_made_is_told():
    world = World()

    async def fail(actor):
        raise Boom

    world.on_start = fail
    async with open_runtime(with_options(HookedDoer, restart_limit=RestartLimit(0, 5)), deps=world) as runtime:
        with pytest.raises(SpaceQuarantined) as caught:
            await runtime.space("a").ask(Doer.work, "x", 1)
        assert isinstance(caught.value.__cause__, Boom)
        assert caught.value.space == runtime.space("a")


async def test_L13_an_actor_that_could_not_be_made_leaves_nothing_behind_after_the_end():
    world = World()
    world.on_start = sleeping(-1)
    async with open_runtime(with_options(HookedDoer, restart_limit=RestartLimit(0, 5)), deps=world) as runtime:
        await runtime.space("a").send(Doer.note, "x")
        await wait_all_tasks_blocked()
        report = await runtime.space("a").stop()
        assert report.left == {"a": 1}
        assert (await runtime.snapshot()).live == 0


# ---- R20: a budget each


async def test_R20_one_space_over_its_budget_costs_its_neighbours_nothing():
    async with open_runtime(with_options(restart_limit=RestartLimit(1, 60)), deps=World()) as runtime:
        noisy, quiet = runtime.space("noisy"), runtime.space("quiet")
        await crash(quiet)
        await crash(noisy, 2)
        await wait_all_tasks_blocked()
        assert await status(noisy) is SpaceStatus.QUARANTINED
        assert await quiet.ask(Doer.work, "x", 1) == "x"
        assert (await quiet.info()).restarts == 1


async def test_R20_an_unhandled_crash_reaches_neither_the_sender_nor_the_runtime():
    async with open_runtime(with_options(restart_limit=RestartLimit(0, 60)), deps=World()) as runtime:
        for number in range(50):
            await runtime.space(f"s{number}").send(Doer.crash)
        await trio.sleep(1)
        assert (await runtime.snapshot()).ledger.outcomes[Outcome.FAILED] == 50


# ---- quarantine and revival


async def quarantine(space):
    await crash(space)
    await wait_all_tasks_blocked()


async def test_R17_a_quarantined_space_refuses_new_messages_and_keeps_those_it_has():
    world = World()
    async with open_runtime(with_options(restart_limit=RestartLimit(0, 60)), deps=world) as runtime:
        space = runtime.space("a")
        space.send_nowait(Doer.crash)
        space.send_nowait(Doer.note, "kept")
        await wait_all_tasks_blocked()
        with pytest.raises(SpaceQuarantined):
            await space.send(Doer.note, "x")
        with pytest.raises(SpaceQuarantined):
            space.send_nowait(Doer.note, "x")
        with pytest.raises(SpaceQuarantined):
            await space.ask(Doer.note, "x")
        assert (await space.info()).depth == 1
        assert (await runtime.snapshot()).ledger.pending == 1
        assert world.trace == []
        await space.revive()
        await wait_all_tasks_blocked()
        assert await space.state() == ("kept",)


async def test_R17_the_asker_of_a_waiting_message_hears_of_the_quarantine_at_once_and_the_message_stays():
    async with open_runtime(with_options(restart_limit=RestartLimit(0, 60)), deps=World()) as runtime:
        space = runtime.space("a")
        space.send_nowait(Doer.crash)
        with pytest.raises(SpaceQuarantined) as caught:
            await space.ask(Doer.note, "kept")
        assert trio.current_time() == 0
        assert isinstance(caught.value.__cause__, Boom)
        await space.revive()
        await wait_all_tasks_blocked()
        assert await space.state() == ("kept",)


async def test_R17_who_waits_for_a_place_hears_of_the_quarantine_and_is_not_counted():
    kind = with_options(restart_limit=RestartLimit(0, 60), mailbox_capacity=1)
    async with open_runtime(kind, deps=World()) as runtime:
        space = runtime.space("a")

        async def die_later(actor):
            await trio.sleep(1)
            raise Boom

        await space.send(Doer.do, die_later)
        await wait_all_tasks_blocked()
        await space.send(Doer.note, "waits")
        with pytest.raises(SpaceQuarantined):
            await space.send(Doer.note, "no place")
        assert (await runtime.snapshot()).ledger.accepted == 2


async def test_R17_a_revived_space_has_a_fresh_budget():
    async with open_runtime(with_options(restart_limit=RestartLimit(2, 60)), deps=World()) as runtime:
        space = runtime.space("a")
        await crash(space, 3)
        await wait_all_tasks_blocked()
        await space.revive()
        await crash(space, 2)
        await wait_all_tasks_blocked()
        assert await status(space) is SpaceStatus.LIVE
        await quarantine(space)
        assert await status(space) is SpaceStatus.QUARANTINED


async def test_R17_revive_of_a_space_that_is_not_quarantined_changes_nothing():
    world = World()
    async with open_runtime(Doer, deps=world) as runtime:
        space = runtime.space("a")
        await space.revive()
        assert (await runtime.snapshot()).live == 0
        await space.ask(Doer.work, "x", 1)
        await space.revive()
        assert world.born == {"a": 1}
        assert (await space.info()).restarts == 0


async def test_R17_the_runtime_revives_all_or_those_of_one_class_and_counts_them():
    class Other(with_options(restart_limit=RestartLimit(0, 60)), kind="other"):
        pass

    kind = with_options(restart_limit=RestartLimit(0, 60))
    async with open_runtime(kind, Other, deps=World()) as runtime:
        spaces = [runtime.space("a", kind), runtime.space("b", kind), runtime.space("c", Other)]
        for space in spaces:
            await quarantine(space)
        assert await runtime.revive(actor=Other) == 1
        assert [await status(space) for space in spaces[:2]] == [SpaceStatus.QUARANTINED] * 2
        assert await runtime.revive() == 2
        assert await runtime.revive() == 0


async def test_R17_a_space_revives_itself_after_revive_after_seconds():
    kind = with_options(restart_limit=RestartLimit(0, 60), revive_after=10)
    async with open_runtime(kind, deps=World()) as runtime:
        space = runtime.space("a")
        await quarantine(space)
        await trio.sleep(9.9)
        assert await status(space) is SpaceStatus.QUARANTINED
        await trio.sleep(0.2)
        assert await status(space) is SpaceStatus.LIVE
        await space.ask(Doer.note, "x")


async def test_R17_revived_by_hand_a_later_quarantine_lasts_its_full_time():
    kind = with_options(restart_limit=RestartLimit(0, 60), revive_after=10)
    async with open_runtime(kind, deps=World()) as runtime:
        space = runtime.space("a")
        await quarantine(space)
        await trio.sleep(5)
        await space.revive()
        await quarantine(space)
        await trio.sleep(9.9)
        assert await status(space) is SpaceStatus.QUARANTINED
        await trio.sleep(0.2)
        assert await status(space) is SpaceStatus.LIVE


async def test_R17_a_stopped_quarantine_returns_what_it_kept_and_the_next_message_starts_afresh():
    world = World()
    async with open_runtime(with_options(restart_limit=RestartLimit(0, 60)), deps=world) as runtime:
        space = runtime.space("a")
        space.send_nowait(Doer.crash)
        space.send_nowait(Doer.note, "kept")
        await wait_all_tasks_blocked()
        report = await space.stop()
        assert report.left == {"a": 1}
        await space.ask(Doer.note, "anew")
        assert await space.state() == ("anew",)
        assert await holds_law_2(runtime)


async def test_R17_quarantined_spaces_take_no_place_of_the_bound():
    from spaceactors import RuntimeConfig

    kind = with_options(restart_limit=RestartLimit(0, 60))
    async with open_runtime(kind, deps=World(), config=RuntimeConfig(max_live_spaces=1)) as runtime:
        await quarantine(runtime.space("a"))
        assert await runtime.space("b").ask(Doer.work, "x", 1) == "x"
        assert await status(runtime.space("a")) is SpaceStatus.QUARANTINED
        await runtime.space("a").revive()
        assert await runtime.space("a").ask(Doer.work, "y", 1) == "y"


async def test_R17_a_space_listing_finds_the_quarantined():
    kind = with_options(restart_limit=RestartLimit(0, 60))
    async with open_runtime(kind, deps=World()) as runtime:
        await quarantine(runtime.space("a"))
        await runtime.space("b").ask(Doer.note, "x")
        found = await runtime.spaces(actor=kind, status=SpaceStatus.QUARANTINED)
        assert [space.id for space in found] == ["a"]


# ---- R21, R22, R25


async def test_R21_a_space_can_be_stopped_inside_a_restart_loop():
    world = World()

    async def fail(actor):
        await trio.sleep(0.1)
        raise Boom

    world.on_start = fail
    kind = with_options(HookedDoer, restart_limit=RestartLimit(1000, 1))
    async with open_runtime(kind, deps=world) as runtime:
        space = runtime.space("a")
        await space.send(Doer.note, "x")
        await trio.sleep(5.05)
        report = await space.stop()
        assert report.left == {"a": 1}
        world.take()
        await trio.sleep(5)
        assert world.take() == ""


async def test_R22_a_crashing_space_answers_questions_about_itself_between_its_tries():
    kind = with_options(backoff=lambda _: 10.0)
    async with open_runtime(kind, deps=World()) as runtime:
        space = runtime.space("a")
        await space.ask(Doer.note, "x")
        await crash(space)
        await wait_all_tasks_blocked()
        info = await space.info()
        assert await space.state() == ("x",)
        assert trio.current_time() == 0
        assert (info.status, info.restarts) == (SpaceStatus.BACKING_OFF, 1)
        assert isinstance(info.last_error, Boom)


async def test_R25_nothing_is_restarted_once_a_stop_began():
    world = World()

    async def die_later(actor):
        await trio.sleep(1)
        raise Boom

    async with open_runtime(HookedDoer, deps=world) as runtime:
        space = runtime.space("a")
        await space.send(Doer.do, die_later)
        await wait_all_tasks_blocked()
        await space.stop()
        assert world.take() == "start"
        assert (await runtime.snapshot()).ledger.outcomes[Outcome.FAILED] == 1


# ---- R26, R27: the old one ends first


async def test_R26_a_new_incarnation_begins_after_the_handlers_clean_up_ended():
    world = World()

    async def slow_to_die(actor):
        try:
            raise Boom
        finally:
            await trio.sleep(3)
            actor.world.note("cleaned")

    async with open_runtime(HookedDoer, deps=world) as runtime:
        space = runtime.space("a")
        await space.send(Doer.do, slow_to_die)
        await space.ask(Doer.note, "next")
        assert world.take() == "start cleaned start restart next"


async def test_R27_background_work_of_a_crashed_actor_is_stopped_and_awaited_first():
    world = World()

    async def beside():
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(2)
            world.note("beside gone")

    async def begin(actor):
        actor.start_soon(beside)

    async with open_runtime(HookedDoer, deps=world) as runtime:
        space = runtime.space("a")
        await space.ask(Doer.do, begin)
        await wait_all_tasks_blocked()
        await space.send(Doer.crash)
        await space.ask(Doer.note, "next")
        assert world.take() == "start beside gone start restart next"


async def test_R27_the_new_incarnation_has_none_of_the_old_ones_background_work():
    running = []

    async def beside():
        running.append(1)
        try:
            await trio.sleep_forever()
        finally:
            running.pop()

    async def begin(actor):
        actor.start_soon(beside)

    async with open_runtime(Doer, deps=World()) as runtime:
        space = runtime.space("a")
        await space.ask(Doer.do, begin)
        await wait_all_tasks_blocked()
        assert running == [1]
        await crash(space)
        await space.ask(Doer.note, "next")
        assert running == []


async def test_R27_background_work_that_crashes_is_a_crash_of_the_actor():
    async def beside():
        await trio.sleep(1)
        raise Boom

    async def begin(actor):
        actor.start_soon(beside)

    world = World()
    async with open_runtime(HookedDoer, deps=world) as runtime:
        space = runtime.space("a")
        await space.ask(Doer.do, begin)
        await trio.sleep(2)
        info = await space.info()
        assert info.restarts == 1
        assert isinstance(info.last_error, Boom)
        assert world.take() == "start start restart"


async def test_R27_a_message_that_runs_while_background_work_crashes_finishes_first():
    async def beside():
        await trio.sleep(1)
        raise Boom

    async def begin(actor):
        actor.start_soon(beside)

    world = World()
    async with open_runtime(HookedDoer, deps=world) as runtime:
        space = runtime.space("a")
        await space.ask(Doer.do, begin)
        assert await space.ask(Doer.work, "x", 2) == "x"
        await space.ask(Doer.note, "y")
        assert world.take() == "start +x -x start restart y"


# ---- R28, R29: what is a crash


@pytest.mark.parametrize("fatal", [KeyboardInterrupt, SystemExit])
async def test_R28_keyboard_interrupt_and_system_exit_of_a_handler_end_the_runtime_as_raised(fatal):
    async def die(actor):
        raise fatal

    world = World()
    with pytest.raises(fatal):
        async with open_runtime(HookedDoer, deps=world) as runtime:
            await runtime.space("a").send(Doer.do, die)
            await trio.sleep_forever()
    assert world.take() == "start"


@pytest.mark.parametrize("fatal", [KeyboardInterrupt, SystemExit])
async def test_R28_the_same_from_background_work(fatal):
    async def beside():
        await trio.sleep(1)
        raise fatal

    async def begin(actor):
        actor.start_soon(beside)

    with pytest.raises(fatal):
        async with open_runtime(HookedDoer, deps=World()) as runtime:
            await runtime.space("a").send(Doer.do, begin)
            await trio.sleep_forever()


@pytest.mark.parametrize("hook", ["on_start", "on_stop"])
async def test_R28_the_same_from_a_hook(hook):
    async def die(actor):
        raise SystemExit

    world = World()
    setattr(world, hook, die)
    with pytest.raises(SystemExit):
        async with open_runtime(HookedDoer, deps=world) as runtime:
            await runtime.space("a").send(Doer.note, "x")
            await trio.sleep(1)


async def test_R28_a_handler_that_is_killed_has_not_crashed():
    world = World()
    async with open_runtime(Doer, deps=world) as runtime:
        space = runtime.space("a")
        await space.send(Doer.work, "x", 10)
        await wait_all_tasks_blocked()
        await space.kill()
        ledger = (await runtime.snapshot()).ledger
        assert (ledger.outcomes[Outcome.FAILED], ledger.outcomes[Outcome.RETURNED]) == (0, 1)


async def test_R28_an_asker_of_a_turn_that_ends_the_program_is_not_left_without_an_answer():
    async def die(actor):
        await trio.sleep(1)
        raise SystemExit

    seen = []

    async def asking(space):
        try:
            await space.ask(Doer.do, die)
        except BaseException as error:
            seen.append(type(error).__name__)
            raise

    with pytest.raises(BaseException) as caught:  # noqa: PT011 (a group or not)
        async with trio.open_nursery() as nursery, open_runtime(Doer, deps=World()) as runtime:
            nursery.start_soon(asking, runtime.space("a"))
            await trio.sleep_forever()
    assert len(seen) == 1
    assert isinstance(caught.value, BaseExceptionGroup)


async def test_R29_an_exception_group_is_one_crash_and_shows_its_parts():
    async def die(actor):
        raise ExceptionGroup("two", [Boom(1), Boom(2)])

    async with open_runtime(with_options(restart_limit=RestartLimit(1, 5)), deps=World()) as runtime:
        space = runtime.space("a")
        with pytest.raises(ActorCrashed) as caught:
            await space.ask(Doer.do, die)
        assert isinstance(caught.value.__cause__, ExceptionGroup)
        await space.ask(Doer.note, "x")
        assert (await space.info()).restarts == 1


# ---- R30: no state leaks


async def test_R30_the_actor_is_made_anew_and_its_scratch_is_gone():
    world = World()

    async def mark(actor):
        actor.scratch = "mine"

    async def look(actor):
        return actor.scratch

    async with open_runtime(Doer, deps=world) as runtime:
        space = runtime.space("a")
        await space.ask(Doer.do, mark)
        assert await space.ask(Doer.do, look) == "mine"
        await crash(space)
        assert await space.ask(Doer.do, look) is None
        assert world.born == {"a": 2}


async def test_R30_what_the_crashed_turn_assigned_is_gone_and_what_was_committed_stays():
    async with open_runtime(Doer, deps=World()) as runtime:
        space = runtime.space("a")
        await space.ask(Doer.note, "x")
        await crash(space)
        await space.ask(Doer.note, "y")
        assert await space.state() == ("x", "y")


async def test_R30_the_failure_is_told_once_to_the_incarnation_after_it():
    world = World()
    failures = []

    async def told(actor, failure):
        failures.append(failure)

    world.on_restart = told
    boom = Boom()
    async with open_runtime(HookedDoer, deps=world) as runtime:
        space = runtime.space("a")
        with pytest.raises(ActorCrashed):
            await space.ask(Doer.crash, boom)
        await space.ask(Doer.note, "x")
        (failure,) = failures
        assert failure.error is boom
        assert failure.message.call == "crash"
        assert failure.restarts == 1
        assert world.take() == "start start restart x"
        await space.stop()
        await space.ask(Doer.note, "y")
        assert world.take() == "stop start y"


async def test_R30_the_message_of_a_crash_runs_again_only_if_it_may():
    world = World()
    tries = []

    async def fail_twice(actor):
        tries.append(actor.message.attempt)
        if len(tries) < 3:
            raise Boom
        return "at last"

    async with open_runtime(with_options(max_attempts=3), deps=world) as runtime:
        assert await runtime.space("a").ask(Doer.do, fail_twice) == "at last"
        assert tries == [1, 2, 3]
        assert world.born == {"a": 3}


async def test_R23_a_quarantine_is_an_error_of_its_own():
    kind = with_options(restart_limit=RestartLimit(0, 60))
    async with open_runtime(kind, deps=World()) as runtime:
        space = runtime.space("a")
        with pytest.raises(ActorCrashed):
            await space.ask(Doer.crash)
        with pytest.raises(SpaceQuarantined, match="revive"):
            await space.ask(Doer.note, "x")


async def test_R17_on_restart_is_not_called_after_a_revival():
    world = World()
    async with open_runtime(with_options(HookedDoer, restart_limit=RestartLimit(0, 60)), deps=world) as runtime:
        space = runtime.space("a")
        await quarantine(space)
        await space.revive()
        await wait_all_tasks_blocked()
        assert world.take() == "start start"
