"""Hooks, pause, resume, delete, foreign handles: the turns without a message, and the calls that halt a space."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from spaceactors import (
    BadCall,
    MailboxFull,
    MessageDiscarded,
    Outcome,
    OutsideTurn,
    Reject,
    RestartLimit,
    SpaceStatus,
    WorkFailed,
    open_runtime,
)
from tests.spaceactors.lives import Boom, Doer, HookedDoer, World, gathering, holds_law_2, sleeping, with_options


async def assign(actor, what):
    actor.state = (*actor.state, what)


# ---- hooks


async def test_R30_on_start_runs_in_each_incarnation_before_its_first_message():
    world = World()
    async with open_runtime(HookedDoer, deps=world) as runtime:
        space = runtime.space("a")
        await space.send(Doer.note, "x")
        await space.send(Doer.crash)
        await space.ask(Doer.note, "y")
        assert world.take() == "start x start restart y"


async def test_R30_what_on_start_assigns_is_committed():
    world = World()
    world.on_start = lambda actor: assign(actor, "started")
    async with open_runtime(HookedDoer, deps=world) as runtime:
        await runtime.space("a").ask(Doer.note, "x")
        assert await runtime.space("a").state() == ("started", "x")


async def test_R30_what_a_failing_hook_assigned_is_gone():
    world = World()

    async def assign_and_fail(actor):
        await assign(actor, "started")
        if world.born["a"] == 1:
            raise Boom

    world.on_start = assign_and_fail
    async with open_runtime(HookedDoer, deps=world) as runtime:
        await runtime.space("a").ask(Doer.note, "x")
        assert await runtime.space("a").state() == ("started", "x")


async def test_R30_a_hook_that_fails_on_restart_is_a_crash_of_the_new_incarnation():
    world = World()

    async def fail_once(actor, failure):
        if failure.restarts == 1:
            raise Boom

    world.on_restart = fail_once
    async with open_runtime(HookedDoer, deps=world) as runtime:
        space = runtime.space("a")
        await space.send(Doer.crash)
        await space.ask(Doer.note, "x")
        assert world.take() == "start start restart start restart x"
        assert (await space.info()).restarts == 2


async def test_R30_a_failure_is_not_told_again_to_an_activation_that_begins_without_one():
    world = World()
    world.on_stop = sleeping(2)
    async with open_runtime(with_options(HookedDoer, idle_timeout=5), deps=world) as runtime:
        space = runtime.space("a")
        await space.send(Doer.crash)
        await space.ask(Doer.note, "x")
        world.take()
        await trio.sleep(6)
        await space.ask(Doer.note, "while it leaves")
        assert world.take() == "idle stop start while it leaves"


async def test_R30_a_hook_is_a_turn_without_a_message():
    world = World()
    seen = []

    async def look(actor):
        with pytest.raises(OutsideTurn):
            actor.message  # noqa: B018
        seen.append(actor.id)

    world.on_start = look
    async with open_runtime(HookedDoer, deps=world) as runtime:
        await runtime.space("a").ask(Doer.note, "x")
    assert seen == ["a"]


async def test_R30_what_hooks_send_leaves_with_their_commit():
    world = World()

    async def tell(actor):
        if actor.id == "a":
            await actor.space("b").send(Doer.note, "from a")
            assert await actor.space("b").state() == ()

    world.on_start = tell
    async with open_runtime(HookedDoer, deps=world) as runtime:
        await runtime.space("a").ask(Doer.note, "x")
        await wait_all_tasks_blocked()
        assert await runtime.space("b").state() == ("from a",)


@pytest.mark.parametrize(("how", "stops"), [("drain", True), ("stop", True), ("delete", True), ("kill", False)])
async def test_S17_on_stop_runs_at_an_orderly_end_only(how, stops):
    world = World()
    async with open_runtime(HookedDoer, deps=world) as runtime:
        space = runtime.space("a")
        await space.ask(Doer.note, "x")
        await getattr(space, how)()
        assert world.take() == ("start x stop" if stops else "start x")


async def test_S17_on_stop_does_not_run_for_an_actor_that_never_came_to_life():
    world = World()

    async def fail(actor):
        raise Boom

    world.on_start = fail
    async with open_runtime(with_options(HookedDoer, restart_limit=RestartLimit(0, 5)), deps=world) as runtime:
        await runtime.space("a").send(Doer.note, "x")
        await wait_all_tasks_blocked()
        await runtime.space("a").stop()
        assert world.take() == "start"


async def test_S17_on_stop_does_not_run_in_place_of_a_crashed_incarnation():
    world = World()
    async with open_runtime(with_options(HookedDoer, backoff=lambda _: 10), deps=world) as runtime:
        await runtime.space("a").send(Doer.crash)
        await wait_all_tasks_blocked()
        await runtime.space("a").stop()
        assert world.take() == "start"


async def test_S17_what_on_stop_assigns_is_committed():
    world = World()
    world.on_stop = lambda actor: assign(actor, "stopped")
    async with open_runtime(HookedDoer, deps=world) as runtime:
        await runtime.space("a").ask(Doer.note, "x")
        await runtime.space("a").stop()
        assert await runtime.space("a").state() == ("x", "stopped")


async def test_S18_a_failing_on_stop_stops_no_stopping_and_is_told():
    world = World()

    async def fail(actor):
        raise Boom

    world.on_stop = fail
    async with open_runtime(HookedDoer, deps=world) as runtime, gathering(runtime, WorkFailed) as seen:
        await runtime.space("a").ask(Doer.note, "x")
        await runtime.space("a").stop()
        assert (await runtime.space("a").info()).status is SpaceStatus.STOPPED
        await wait_all_tasks_blocked()
        assert [(event.space, type(event.error)) for event in seen] == [("a", Boom)]


async def test_S18_a_failing_on_stop_of_a_space_that_leaves_memory_is_told_and_the_space_leaves():
    world = World()

    async def fail(actor):
        raise Boom

    world.on_stop = fail
    kind = with_options(HookedDoer, idle_timeout=5)
    async with open_runtime(kind, deps=world) as runtime:
        await runtime.space("a").ask(Doer.note, "x")
        await trio.sleep(20)
        assert (await runtime.space("a").info()).status is SpaceStatus.PASSIVE


async def test_T5_on_idle_runs_before_on_stop_when_the_space_was_idle_long_enough():
    world = World()
    async with open_runtime(with_options(HookedDoer, idle_timeout=5), deps=world) as runtime:
        await runtime.space("a").ask(Doer.note, "x")
        await trio.sleep(4.9)
        assert world.take() == "start x"
        await trio.sleep(0.2)
        assert world.take() == "idle stop"
        assert (await runtime.space("a").info()).status is SpaceStatus.PASSIVE


async def test_T5_on_idle_may_send_the_space_a_message_which_keeps_it():
    world = World()

    async def again(actor):
        if world.trace.count("idle") == 1:
            await actor.handle.send(Doer.note, "more")

    world.on_idle = again
    async with open_runtime(with_options(HookedDoer, idle_timeout=5), deps=world) as runtime:
        await runtime.space("a").ask(Doer.note, "x")
        await trio.sleep(5.5)
        assert world.take() == "start x idle more"


async def test_R28_a_rejecting_hook_is_a_crash_like_any_other():
    world = World()

    async def refuse(actor):
        if world.born["a"] == 1:
            raise Reject

    world.on_start = refuse
    async with open_runtime(HookedDoer, deps=world) as runtime:
        await runtime.space("a").ask(Doer.note, "x")
        assert (await runtime.space("a").info()).restarts == 1


# ---- pause and resume


async def test_S24_a_paused_space_accepts_and_runs_nothing_until_it_is_resumed():
    world = World()
    async with open_runtime(HookedDoer, deps=world) as runtime:
        space = runtime.space("a")
        await space.ask(Doer.note, "x")
        await space.pause()
        await space.send(Doer.note, "y")
        await trio.sleep(100)
        assert world.take() == "start x"
        info = await space.info()
        assert (info.status, info.depth) == (SpaceStatus.PAUSED, 1)
        await space.resume()
        await wait_all_tasks_blocked()
        assert world.take() == "y"


async def test_S24_the_running_turn_of_a_space_that_is_paused_finishes():
    async with open_runtime(Doer, deps=World()) as runtime:
        space = runtime.space("a")
        await space.send(Doer.work, "x", 10)
        await space.send(Doer.note, "y")
        await wait_all_tasks_blocked()
        await space.pause()
        await trio.sleep(100)
        assert await space.state() == ("x",)


async def test_S24_a_paused_space_takes_as_many_as_its_mailbox_holds():
    async with open_runtime(with_options(mailbox_capacity=2), deps=World()) as runtime:
        space = runtime.space("a")
        await space.pause()
        await space.send(Doer.note, "x")
        await space.send(Doer.note, "y")
        with pytest.raises(MailboxFull):
            space.send_nowait(Doer.note, "z")
        await space.resume()
        await space.ask(Doer.note, "z")
        assert await space.state() == ("x", "y", "z")


async def test_S24_pausing_twice_is_pausing_once():
    async with open_runtime(Doer, deps=World()) as runtime:
        space = runtime.space("a")
        await space.pause()
        await space.pause()
        await space.send(Doer.note, "x")
        await space.resume()
        await wait_all_tasks_blocked()
        assert await space.state() == ("x",)


async def test_S24_resuming_what_is_not_paused_starts_nothing():
    async with open_runtime(Doer, deps=World()) as runtime:
        await runtime.space("a").resume()
        assert (await runtime.snapshot()).live == 0


async def test_S24_a_paused_space_does_not_leave_memory_when_idle():
    async with open_runtime(with_options(idle_timeout=1), deps=World()) as runtime:
        space = runtime.space("a")
        await space.ask(Doer.note, "x")
        await space.pause()
        await trio.sleep(10)
        assert (await space.info()).status is SpaceStatus.PAUSED


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_S24_stop_and_kill_end_a_paused_space_and_return_what_waits(how):
    async with open_runtime(Doer, deps=World()) as runtime:
        space = runtime.space("a")
        await space.pause()
        await space.send(Doer.note, "x")
        report = await getattr(space, how)()
        assert report.left == {"a": 1}
        await space.ask(Doer.note, "y")
        assert await space.state() == ("y",)


async def test_S14_a_drain_overrides_a_pause():
    async with open_runtime(Doer, deps=World()) as runtime:
        space = runtime.space("a")
        await space.pause()
        await space.send(Doer.note, "x")
        report = await space.drain()
        assert report.clean
        assert await space.state() == ("x",)


async def test_R22_pausing_in_a_backoff_holds_the_space_after_it_too():
    async with open_runtime(with_options(backoff=lambda _: 5.0), deps=World()) as runtime:
        space = runtime.space("a")
        await space.send(Doer.crash)
        await space.send(Doer.note, "x")
        await wait_all_tasks_blocked()
        await space.pause()
        await trio.sleep(10)
        assert await space.state() == ()
        await space.resume()
        await wait_all_tasks_blocked()
        assert await space.state() == ("x",)


# ---- delete


async def test_S24_delete_discards_what_waits_lets_the_turn_finish_and_removes_the_state():
    async with open_runtime(Doer, deps=World()) as runtime, trio.open_nursery() as nursery:
        space = runtime.space("a")
        await space.ask(Doer.note, "x")
        await space.send(Doer.work, "y", 5)
        await wait_all_tasks_blocked()

        async def ask():
            with pytest.raises(MessageDiscarded):
                await space.ask(Doer.note, "z")

        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        await space.delete()
        assert trio.current_time() == 5
        assert await space.state() == ()
        assert len(space.history) == 0
        outcomes = (await runtime.snapshot()).ledger.outcomes
        assert (outcomes[Outcome.HANDLED], outcomes[Outcome.DISCARDED]) == (2, 1)


async def test_S24_a_deleted_space_is_listed_no_more_and_begins_anew():
    async with open_runtime(Doer, deps=World()) as runtime:
        space = runtime.space("a")
        await space.ask(Doer.note, "x")
        await space.delete()
        assert await runtime.spaces(actor=Doer) == []
        await space.ask(Doer.note, "y")
        assert await space.state() == ("y",)


async def test_S24_delete_removes_a_space_that_is_not_live():
    async with open_runtime(Doer, deps=World()) as runtime:
        space = runtime.space("a")
        await space.ask(Doer.note, "x")
        await space.stop()
        await space.delete()
        assert await space.state() == ()
        assert (await space.info()).status is SpaceStatus.PASSIVE


async def test_S24_deleting_what_never_was_does_nothing():
    async with open_runtime(Doer, deps=World()) as runtime:
        await runtime.space("a").delete()
        assert await holds_law_2(runtime)


async def test_S24_delete_cancels_timers():
    async def set_timer(actor):
        actor.schedule("k", type(actor).note, "tick", after=5)

    async with open_runtime(Doer, deps=World()) as runtime:
        space = runtime.space("a")
        await space.ask(Doer.do, set_timer)
        await space.delete()
        await trio.sleep(10)
        assert await space.state() == ()


# ---- handles of another runtime


async def test_L14_a_turn_can_send_nothing_to_a_space_of_another_runtime():
    async with open_runtime(Doer, deps=World()) as here, open_runtime(Doer, deps=World()) as there:
        foreign = there.space("b")

        async def tell(actor):
            with pytest.raises(BadCall, match="another runtime"):
                await foreign.send(Doer.note, "x")
            with pytest.raises(BadCall, match="another runtime"):
                foreign.send_nowait(Doer.note, "x")
            with pytest.raises(BadCall, match="another runtime"):
                await foreign.ask(Doer.note, "x")
            return "told"

        assert await here.space("a").ask(Doer.do, tell) == "told"
        assert (await there.snapshot()).ledger.accepted == 0


async def test_L14_a_dead_letter_or_message_of_another_runtime_is_a_new_message_here():
    boom = []
    async with open_runtime(Doer, deps=World()) as there:
        await there.space("a").send(Doer.crash)
        await wait_all_tasks_blocked()
        boom.extend(await there.dead_letters.list())
    async with open_runtime(Doer, deps=World()) as here:
        message_id = await here.space("b").resend(boom[0].message)
        assert message_id == boom[0].message.id
        await wait_all_tasks_blocked()
        assert (await here.snapshot()).ledger.outcomes[Outcome.FAILED] == 1
