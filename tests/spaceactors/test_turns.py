"""The limit `turns`: who gets a turn when turns are scarce, and when a turn lends its token."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from functools import partial

import pytest
import trio

from spaceactors import (
    Actor,
    ActorCrashed,
    AskCycle,
    Limit,
    MessageDiscarded,
    MessageExpired,
    NotHandled,
    Outcome,
    Priority,
    Reject,
    RuntimeConfig,
    SpaceBusy,
    SpaceOptions,
    SpaceStatus,
    TurnTimeout,
    WaitKind,
    WhenBusy,
    WhenInterrupted,
    handler,
)
from supervisors import RateLimit
from tests.spaceactors.scenes import opened, outcome_of, run_seeded, settled
from tests.spaceactors.services import SlowDisk, SlowStore


class Clerk(Actor[int], kind="clerk"):
    """Does what it is given to do; those of ids such as `a-1` share the lane `a`."""

    options = SpaceOptions(backoff=None, mailbox_capacity=100)

    @classmethod
    def group_of(cls, space_id: str, /) -> str | None:
        return space_id.split("-", maxsplit=1)[0] if "-" in space_id else None

    @handler
    async def do(self, act):
        return await act(self)

    @handler(timeout=5.0)
    async def do_in_time(self, act):
        return await act(self)

    @handler(limit="scarce")
    async def do_held(self, act):
        return await act(self)

    @handler(when_busy=WhenBusy.LATEST)
    async def do_latest(self, act):
        return await act(self)

    @handler(when_busy=WhenBusy.REFUSE)
    async def do_alone(self, act):
        return await act(self)

    @handler(when_busy=WhenBusy.INTERRUPT)
    async def do_now(self, act):
        return await act(self)

    @handler(when_interrupted=WhenInterrupted.COMMIT)
    async def do_half(self, act):
        return await act(self)

    @handler
    async def talk(self, number):
        for item in range(number):
            yield item


class Several(Actor, kind="several"):
    """Runs two turns at once, each as long as it is told."""

    options = SpaceOptions(concurrency=2, mailbox_capacity=100)

    @handler
    async def do(self, act):
        return await act(self)


def works(seconds, trace=None, name=None):
    async def work(clerk):
        if trace is not None:
            trace.append(clerk.id if name is None else name)
        await trio.sleep(seconds)
        return clerk.id

    return work


def asks(target, act, *, within=float("inf"), then=None):
    async def ask(clerk):
        with trio.move_on_after(within), suppress(NotHandled):
            await clerk.space(target).ask(Clerk.do, act)
        return None if then is None else await then(clerk)

    return ask


def open_scarce(*actors, turns=1, limits=None, **options):
    limits = [Limit("scarce", 1)] if limits is None else limits
    config = RuntimeConfig(max_turns=turns, max_live_spaces=options.pop("spaces", 10_000))
    return opened(*(actors or (Clerk,)), limits=limits, config=config, **options)


def turns_of(runtime):
    figures = runtime.limits.statistics()["turns"]
    return figures.held, figures.waiting


async def hold_turn(runtime, nursery, seconds=100.0, name="holder", act=None):
    """Have a space take the only token."""
    nursery.start_soon(outcome_of, runtime.space(name).ask, Clerk.do, act or works(seconds))
    await settled()
    assert turns_of(runtime)[0] >= 1


# ---- how many, and in which order


async def test_C1_so_many_turns_run_at_once_and_no_more():
    running, most = 0, 0

    async def work(clerk):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await trio.sleep(1)
        running -= 1

    async with open_scarce(turns=3) as runtime:
        for number in range(10):
            await runtime.space(f"s{number}").send(Clerk.do, work)
        await settled()
        assert turns_of(runtime) == (3, 7)
        await trio.sleep(3.5)
        assert turns_of(runtime) == (1, 0)
        report = await runtime.drain()
        assert turns_of(runtime) == (0, 0)
    assert (most, report.clean) == (3, True)
    assert report.seconds == pytest.approx(0.5)


async def test_C1_a_space_that_runs_several_turns_takes_a_token_for_each():
    async with open_scarce(Several, turns=3) as runtime:
        for name in "ab":
            for _ in range(4):
                await runtime.space(name).send(Several.do, works(1))
        await settled()
        assert turns_of(runtime) == (3, 1)
        assert (await runtime.drain()).seconds == pytest.approx(3)
        assert turns_of(runtime) == (0, 0)


async def test_C5_more_tokens_are_used_at_once_and_fewer_take_none_away():
    async with open_scarce(turns=3) as runtime:
        for number in range(8):
            await runtime.space(f"s{number}").send(Clerk.do, works(1))
        await settled()
        runtime.limits.resize("turns", 5)
        await settled()
        assert turns_of(runtime) == (5, 3)
        runtime.limits.resize("turns", 1)
        await settled()
        assert turns_of(runtime) == (5, 3)
        await trio.sleep(1.5)
        assert turns_of(runtime) == (1, 2)
        await trio.sleep(3)
        assert turns_of(runtime) == (0, 0)


async def test_C8_one_space_with_a_thousand_messages_does_not_starve_the_rest():
    trace = []
    async with open_scarce(Clerk) as runtime:
        greedy = runtime.space("greedy")
        for _ in range(100):
            greedy.send_nowait(Clerk.do, works(1, trace))
        await trio.sleep(0.5)
        for name in ("one", "two"):
            await runtime.space(name).send(Clerk.do, works(1, trace))
        await trio.sleep(4)
        # The greedy one that was in line first, then the others, then it again.
        assert {"one", "two"} <= set(trace[1:4])
        await runtime.space("greedy").kill()


async def test_C2_spaces_with_the_same_load_take_turns():
    trace = []
    async with open_scarce() as runtime, trio.open_nursery() as nursery:
        await hold_turn(runtime, nursery, 1)
        for name in "abc":
            for _ in range(4):
                await runtime.space(name).send(Clerk.do, works(1, trace))
        await runtime.drain()
    assert sorted(trace[:3]) == sorted(trace[3:6]) == sorted(trace[6:9]) == ["a", "b", "c"]


async def test_the_priority_of_the_message_decides_who_gets_a_turn():
    trace = []
    async with open_scarce() as runtime, trio.open_nursery() as nursery:
        await hold_turn(runtime, nursery, 1)
        for name, priority in (("low", Priority.LOW), ("normal", Priority.NORMAL), ("urgent", Priority.URGENT)):
            await runtime.space(name).with_options(priority=priority).send(Clerk.do, works(1, trace))
            await settled()
        await runtime.drain()
    assert trace == ["urgent", "normal", "low"]


async def test_the_order_inside_a_space_stays_whatever_the_priorities():
    trace = []
    async with open_scarce() as runtime, trio.open_nursery() as nursery:
        await hold_turn(runtime, nursery, 1)
        for number, priority in enumerate((Priority.LOW, Priority.URGENT, Priority.NORMAL)):
            await runtime.space("a").with_options(priority=priority).send(Clerk.do, works(1, trace, number))
        await runtime.space("b").send(Clerk.do, works(1, trace, "b"))
        await runtime.drain()
    assert trace == ["b", 0, 1, 2]


async def test_C9_who_has_little_priority_gets_its_turn_in_the_end():
    trace = []
    async with open_scarce() as runtime:
        for name in ("a", "b", "c"):
            for _ in range(40):
                await runtime.space(name).with_options(priority=Priority.HIGH).send(Clerk.do, works(1))
        await runtime.space("late").with_options(priority=Priority.LOW).send(Clerk.do, works(1, trace))
        await trio.sleep(60)
        assert trace == ["late"]
        await runtime.drain(1000)


async def test_C9_what_happens_in_a_space_that_waits_for_a_turn_does_not_send_it_to_the_end_of_the_line():
    """Each message that expires has the worker look around."""
    trace = []
    async with open_scarce() as runtime:
        busy = [runtime.space(name) for name in ("a", "b", "c")]
        for _ in range(60):
            for one in busy:
                one.send_nowait(Clerk.do, works(1))
        patient = runtime.space("patient")
        await patient.send(Clerk.do, works(1, trace))
        for number in range(50):
            await patient.with_options(expires_after=0.4 + number / 2).send(Clerk.do, works(1))
        await trio.sleep(20)
        assert trace == ["patient"]
        for one in busy:
            await one.kill()


async def test_C9_a_pause_that_is_over_at_once_does_not_age_backwards():
    trace = []
    async with open_scarce() as runtime, trio.open_nursery() as nursery:
        await hold_turn(runtime, nursery, 2)
        await runtime.space("a").send(Clerk.do, works(1, trace))
        await settled()
        assert [waiter.fair_key for waiter in runtime.limits.waiting("turns")] == ["a"]
        await runtime.space("a").pause()
        await settled()
        assert runtime.limits.waiting("turns") == ()
        await runtime.space("a").resume()
        await runtime.drain()
    assert trace == ["a"]


async def test_the_first_message_at_the_moment_decides_how_urgent_a_space_is():
    """LATEST throws away what waited, and with that how urgent it was."""
    trace = []
    async with open_scarce() as runtime, trio.open_nursery() as nursery:
        await hold_turn(runtime, nursery, 1)
        await runtime.space("a").with_options(priority=Priority.LOW).send(Clerk.do_latest, works(1, trace))
        await settled()
        await runtime.space("b").send(Clerk.do, works(1, trace))
        await settled()
        await runtime.space("a").with_options(priority=Priority.URGENT).send(Clerk.do_latest, works(1, trace, "new"))
        await runtime.drain()
    assert trace == ["new", "b"]


# ---- waits lend the token


async def test_an_ask_lends_the_token_to_those_who_answer_however_long_the_chain():
    async with open_scarce() as runtime:
        act = works(1)
        for name in "edcba":
            act = asks(name, act, then=works(0.1))
        await runtime.space("start").ask(Clerk.do, act)
        assert turns_of(runtime) == (0, 0)


@pytest.mark.parametrize("how", ["handled", "rejected", "crashed"])
async def test_a_turn_that_goes_on_comes_before_those_that_have_not_begun(how):
    trace = []

    async def end(clerk):
        await works(1, trace)(clerk)
        if how == "rejected":
            raise Reject
        if how == "crashed":
            raise ValueError

    async with open_scarce() as runtime, trio.open_nursery() as nursery:
        asked = asks("b", end, then=works(1, trace, "a goes on"))
        nursery.start_soon(runtime.space("a").ask, Clerk.do, asked)
        await settled()
        for name in "cde":
            await runtime.space(name).with_options(priority=Priority.URGENT).send(Clerk.do, works(1, trace))
        await runtime.drain()
    assert trace[:2] == ["b", "a goes on"]
    assert sorted(trace[2:]) == ["c", "d", "e"]


async def test_asks_in_a_nursery_lend_the_token_until_the_last_has_its_answer():
    async def ask_both(clerk):
        async with trio.open_nursery() as nursery:
            for name in "bc":
                nursery.start_soon(clerk.space(name).ask, Clerk.do, works(1))
        assert turns_of(runtime) == (1, 0)

    async with open_scarce() as runtime:
        await runtime.space("a").ask(Clerk.do, ask_both)
        assert turns_of(runtime) == (0, 0)


async def test_a_timeout_around_an_ask_lets_the_turn_go_on_with_a_token():
    seen = []

    async def then(clerk):
        seen.append((trio.current_time(), turns_of(runtime)))

    async with open_scarce() as runtime:
        await runtime.space("a").ask(Clerk.do, asks("b", works(5), within=1, then=then))
    assert seen == [(5.0, (1, 0))]


async def test_the_target_of_an_ask_may_leave_memory_while_the_turn_waits_for_its_token():
    """With one place for all, whoever rests leaves at once."""

    async def read(clerk):
        async with clerk.space("c").stream(Clerk.talk, 20) as items:
            async for _ in items:
                await clerk.space("b").ask(Clerk.do, works(0.1))

    async with open_scarce(spaces=1) as runtime:
        await runtime.space("a").ask(Clerk.do, read)
        assert turns_of(runtime) == (0, 0)


@pytest.mark.parametrize("number", [3, 40])
@pytest.mark.parametrize("names", ["abc", ("x-1", "x-2", "x-3")])
async def test_a_stream_lends_the_token_both_ways(number, names):
    """Who reads waits for items, who yields waits for the reader, and the reader asks a third one for each item."""
    reader, talker, third = names
    read = []

    async def reads(clerk):
        async with clerk.space(talker).stream(Clerk.talk, number) as items:
            async for item in items:
                await clerk.space(third).ask(Clerk.do, works(0.1))
                read.append(item)

    async with open_scarce() as runtime:
        await runtime.space(reader).ask(Clerk.do, reads)
        await settled()
        assert turns_of(runtime) == (0, 0)
    assert read == list(range(number))


@pytest.mark.parametrize("turns", [None, 1, 2])
@pytest.mark.parametrize("seed", range(5))
def test_a_reader_that_leaves_early_lets_the_turn_that_streams_end_before_it_takes_its_lane_back(turns, seed):
    """Another task of the reader's turn has asked the same space, whose next turn waits for the end of the stream."""
    reader, talker = "x-1", "x-2"

    async def read(clerk):
        async with clerk.space(talker).stream(Clerk.talk, 40) as items:
            async for item in items:
                if item == 2:
                    await trio.sleep(1)  # the turn that streams is ahead by all that it may
                    break

    async def both(clerk):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read, clerk)
            nursery.start_soon(ask, clerk)
        return "both"

    async def ask(clerk):
        await trio.lowlevel.checkpoint()
        with suppress(AskCycle):  # the turn that streams may have begun
            assert await clerk.space(talker).ask(Clerk.do, works(1)) == talker

    async def main():
        async with open_scarce(turns=turns) as runtime:
            with trio.fail_after(100):
                assert await runtime.space(reader).ask(Clerk.do, both) == "both"

    run_seeded(main, seed)


async def test_a_streaming_turn_behind_a_slow_reader_outside_lends_its_token():
    async with open_scarce() as runtime:
        async with runtime.space("a").stream(Clerk.talk, 40) as items:
            await settled()
            assert turns_of(runtime) == (0, 0)
            assert await runtime.space("b").ask(Clerk.do, works(1)) == "b"
            assert [item async for item in items] == list(range(40))
        await settled()
        assert turns_of(runtime) == (0, 0)


async def test_a_turn_that_waits_for_another_limit_lends_its_token():
    async with (
        open_scarce(limits=[Limit("scarce", 1)]) as runtime,
        runtime.limits.hold("scarce"),
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(outcome_of, runtime.space("a").ask, Clerk.do_held, works(1))
        await settled()
        assert turns_of(runtime) == (0, 0)
        assert await runtime.space("b").ask(Clerk.do, works(1)) == "b"
        await runtime.space("a").kill()


async def test_a_turn_keeps_its_token_where_the_other_limit_is_free():
    trace = []

    async def hold(clerk):
        trace.append(clerk.id)
        async with clerk.limits.hold("scarce"):
            trace.append(clerk.id)

    async with open_scarce(limits=[Limit("scarce", 1)]) as runtime, trio.open_nursery() as nursery:
        await hold_turn(runtime, nursery, 1)
        for name in "ab":
            await runtime.space(name).send(Clerk.do, hold)
        await runtime.drain()
    assert trace in (["a", "a", "b", "b"], ["b", "b", "a", "a"])


async def test_C7_limits_and_turns_in_any_order_cannot_deadlock():
    async def hold(clerk):
        async with clerk.limits.hold("scarce", "rate"):
            await trio.sleep(0.1)
        await clerk.step("once", partial(trio.sleep, 0.1), limit="scarce")

    async with open_scarce(limits=[Limit("scarce", 1), RateLimit("rate", 1, per=0.2)]) as runtime:
        for name in "abcd":
            await runtime.space(name).send(Clerk.do, hold)
            await runtime.space(name).send(Clerk.do_held, works(0.1))
        assert (await runtime.drain(1000)).clean
        assert turns_of(runtime) == (0, 0)


async def test_H6_a_suspended_turn_holds_no_token_and_goes_on_when_it_is_answered():
    async def suspend(clerk):
        return await clerk.suspend("q", None, answer=str)

    async with open_scarce() as runtime, trio.open_nursery() as nursery:
        answers = []

        async def ask():
            answers.append(await runtime.space("a").ask(Clerk.do, suspend))

        nursery.start_soon(ask)
        await settled()
        assert turns_of(runtime) == (0, 0)
        assert await runtime.space("b").ask(Clerk.do, works(1)) == "b"
        [question] = await runtime.suspensions.list()
        await runtime.suspensions.answer(question.id, "yes")
        await settled()
        assert answers == ["yes"]
        assert turns_of(runtime) == (0, 0)


async def test_a_turn_that_waits_for_the_end_of_another_space_lends_its_token():
    async def drain(clerk):
        await clerk.space("b").drain()
        return "drained"

    async with open_scarce() as runtime, trio.open_nursery() as nursery:
        await hold_turn(runtime, nursery, 1)
        for _ in range(3):
            await runtime.space("b").send(Clerk.do, works(1))
        assert await runtime.space("a").ask(Clerk.do, drain) == "drained"


@pytest.mark.parametrize("how", ["draining", "full"])
async def test_a_turn_streams_from_a_space_that_is_draining_or_full(how):
    """It must not keep its token while it waits for a place: those before it need that."""

    class Narrow(Clerk, kind="narrow"):
        options = SpaceOptions(mailbox_capacity=1)

    async def reads(clerk):
        async with clerk.space("b").stream(Narrow.talk, 3) as items:
            return [item async for item in items]

    async with open_scarce(Narrow) as runtime, trio.open_nursery() as nursery:
        await hold_turn(runtime, nursery, 1)
        nursery.start_soon(runtime.space("a").send, Narrow.do, works(0))
        await settled()
        nursery.start_soon(outcome_of, runtime.space("b").send, Narrow.do, works(1))
        nursery.start_soon(outcome_of, runtime.space("b").send, Narrow.do, works(1))
        await settled()
        if how == "draining":
            nursery.start_soon(runtime.space("b").drain)
        answer = await outcome_of(runtime.space("a").ask, Narrow.do, reads)
        assert answer == [0, 1, 2] or isinstance(answer, ActorCrashed)
        assert how == "draining" or answer == [0, 1, 2]


async def test_a_turn_that_reads_what_another_emits_lends_its_token():
    async def follow(clerk):
        async with clerk.space("b").subscribe(str) as events:
            return (await anext(events)).value

    async def tell(clerk):
        clerk.emit("news")

    async with open_scarce() as runtime, trio.open_nursery() as nursery:
        answers = []

        async def ask():
            answers.append(await runtime.space("a").ask(Clerk.do, follow))

        nursery.start_soon(ask)
        await settled()
        with trio.fail_after(100):
            await runtime.space("b").ask(Clerk.do, tell)
        await settled()
        assert answers == ["news"]


async def test_a_turn_that_asks_in_a_ring_is_told_so_and_keeps_its_token():
    async def back(clerk):
        with pytest.raises(AskCycle):
            await clerk.space("a").ask(Clerk.do, works(1))
        assert turns_of(runtime) == (1, 0)
        return "told"

    async def ask(clerk):
        return await clerk.space("b").ask(Clerk.do, back)

    async with open_scarce() as runtime:
        assert await runtime.space("a").ask(Clerk.do, ask) == "told"


async def test_hooks_run_without_a_token_and_may_ask():
    class Greeter(Clerk, kind="greeter"):
        async def on_start(self):
            if self.id == "a":
                await self.space("b").ask(Clerk.do, works(1))

    async with open_scarce(Greeter) as runtime:
        assert await runtime.space("a").ask(Greeter.do, works(1)) == "a"
        assert turns_of(runtime) == (0, 0)


# ---- how turns end


@pytest.mark.parametrize("how", ["crash", "kill", "interrupt", "timeout"])
@pytest.mark.parametrize("name", ["a", "x-1"])
async def test_C3_a_turn_that_ends_badly_gives_its_token_back_at_once(how, name):
    async def crash(clerk):
        await trio.sleep(5)
        raise ValueError

    method = Clerk.do_in_time if how == "timeout" else Clerk.do
    async with open_scarce() as runtime, trio.open_nursery() as nursery:
        a = runtime.space(name)
        nursery.start_soon(outcome_of, a.ask, method, crash if how == "crash" else works(100))
        await settled()
        await runtime.space("b").send(Clerk.do, works(0))
        await trio.sleep(1)
        match how:
            case "kill":
                await a.kill()
            case "interrupt":
                nursery.start_soon(outcome_of, a.ask, Clerk.do_now, works(0))
            case _:
                await trio.sleep(4)
        await settled()
        assert turns_of(runtime) == (0, 0)
        assert (await runtime.snapshot()).ledger.outcomes[Outcome.HANDLED] == 1 + (how == "interrupt")


@pytest.mark.parametrize("how", ["kill", "interrupt", "timeout"])
async def test_C3_a_turn_that_ends_while_it_waits_for_its_token_ends_at_once(how):
    """It has had its answer and would go on, but another one has the token."""
    method = {"timeout": Clerk.do_in_time}.get(how, Clerk.do)
    async with open_scarce() as runtime, trio.open_nursery() as nursery:
        answers = []

        async def ask():
            answers.append(await outcome_of(runtime.space("a").ask, method, asks("b", works(100), within=1)))
            answers.append(trio.current_time())

        nursery.start_soon(ask)
        await trio.sleep(2)
        assert turns_of(runtime) == (1, 1)
        match how:
            case "kill":
                await runtime.space("a").kill()
            case "interrupt":
                await runtime.space("a").send(Clerk.do_now, works(0))
            case "timeout":
                await trio.sleep(3)
        await settled()
        assert answers[1] == (5.0 if how == "timeout" else 2.0)
        if how == "timeout":
            assert isinstance(answers[0].__cause__, TurnTimeout)
        assert turns_of(runtime) == (1, how == "interrupt")
        await runtime.space("b").kill()


async def test_C4_waiting_for_a_turn_does_not_count_to_its_timeout():
    async with open_scarce() as runtime, trio.open_nursery() as nursery:
        await hold_turn(runtime, nursery, 50)
        assert await runtime.space("a").ask(Clerk.do_in_time, works(4)) == "a"
        assert trio.current_time() == 54


async def test_C4_waiting_for_a_turn_is_no_stalled_turn():
    class Quick(Clerk, kind="quick"):
        options = SpaceOptions(stalled_after=5.0)

    noted = []

    async with open_scarce(Quick) as runtime, trio.open_nursery() as nursery:

        async def read(events):
            async for event in events:
                if type(event).__name__ == "TurnStalled":
                    noted.append(event.space)  # noqa: PERF401 (read while it goes on)

        async with runtime.events() as events:
            nursery.start_soon(read, events)
            # The holder stalls, and nobody else: neither who waits for its first turn nor who waits to go on.
            nursery.start_soon(runtime.space("a").ask, Quick.do, asks("holder", works(40), within=1))
            nursery.start_soon(runtime.space("b").ask, Quick.do, works(1))
            await trio.sleep(60)
            nursery.cancel_scope.cancel()
    assert {getattr(one, "id", one) for one in noted} <= {"holder"}
    assert noted


async def test_O5_a_turn_that_waits_for_its_token_to_go_on_is_told():
    async with open_scarce() as runtime, trio.open_nursery() as nursery:
        nursery.start_soon(outcome_of, runtime.space("a").ask, Clerk.do, asks("b", works(10), within=1))
        await trio.sleep(2)
        [wait] = [one for one in runtime.waits() if one.kind is WaitKind.TOKEN]
        assert (wait.space, wait.target, wait.since, wait.position) == ("a", "turns", 1.0, 1)
        assert str(wait) == "a (do) waits for a token of turns, number 1 in line"
        await trio.sleep(10)
        assert not [one for one in runtime.waits() if one.kind is WaitKind.TOKEN]


@pytest.mark.parametrize("how", ["stop", "kill", "delete", "pause"])
@pytest.mark.parametrize("lane", [False, True])
async def test_a_space_that_waits_for_a_token_is_ended_or_paused_at_once(how, lane):
    name = "x-1" if lane else "a"
    async with open_scarce() as runtime, trio.open_nursery() as nursery:
        await hold_turn(runtime, nursery)
        space = runtime.space(name)
        await space.send(Clerk.do, works(0))
        await settled()
        assert turns_of(runtime) == (1, 1)
        await getattr(space, how)()
        await settled()
        assert trio.current_time() == 0
        assert turns_of(runtime) == (1, 0)
        if how == "pause":
            assert (await space.info()).status is SpaceStatus.PAUSED
            await space.resume()
            await settled()
            assert turns_of(runtime) == (1, 1)
            await space.kill()
        await runtime.space("holder").kill()
        assert turns_of(runtime) == (0, 0)


async def test_a_space_that_waits_for_a_token_drains_as_soon_as_it_gets_one():
    async with open_scarce() as runtime, trio.open_nursery() as nursery:
        await hold_turn(runtime, nursery, 3)
        await runtime.space("a").send(Clerk.do, works(1))
        await runtime.space("a").drain()
        assert trio.current_time() == 4
    assert runtime.report.clean


async def test_a_drain_that_runs_out_of_time_ends_those_who_wait_for_tokens():
    async with open_scarce() as runtime:
        for name in "abc":
            await runtime.space(name).send(Clerk.do, works(100))
        report = await runtime.drain(5)
        assert turns_of(runtime) == (0, 0)
    assert report.seconds == 5
    assert report.left == {"a": 1, "b": 1, "c": 1}
    assert not report.unstoppable


async def test_M17_a_message_expires_while_its_space_waits_for_a_token():
    async with open_scarce() as runtime, trio.open_nursery() as nursery:
        await hold_turn(runtime, nursery)
        with pytest.raises(MessageExpired):
            await runtime.space("a").with_options(expires_after=2).ask(Clerk.do, works(0))
        assert trio.current_time() == 2
        await settled()
        assert turns_of(runtime) == (1, 0)
        await runtime.space("holder").kill()


async def test_M18_the_rules_for_a_busy_space_count_for_one_that_waits_for_its_token():
    trace = []
    async with open_scarce() as runtime, trio.open_nursery() as nursery:
        await hold_turn(runtime, nursery, 1)
        a = runtime.space("a")
        answers = []

        async def ask():
            answers.append(await outcome_of(a.ask, Clerk.do, works(0, trace, "first")))

        nursery.start_soon(ask)
        await settled()
        with pytest.raises(SpaceBusy):
            a.send_nowait(Clerk.do_alone, works(0))
        a.send_nowait(Clerk.do_now, works(0, trace, "now"))
        await settled()
        assert answers == []  # nothing ran that could be interrupted
        a.send_nowait(Clerk.do_latest, works(0, trace, "latest"))
        await settled()
        assert isinstance(answers[0], MessageDiscarded)
        await runtime.drain()
    assert trace == ["latest"]


async def test_an_interruption_that_commits_comes_through_to_a_turn_that_waits_for_its_token():
    async def half(clerk):
        with clerk.until_interrupted():
            await clerk.space("b").ask(Clerk.do, works(10))
        clerk.state = 7
        return "half"

    async with open_scarce() as runtime, trio.open_nursery() as nursery:
        answers = []

        async def ask():
            answers.append(await runtime.space("a").ask(Clerk.do_half, half))

        nursery.start_soon(ask)
        await settled()
        await runtime.space("a").send(Clerk.do_now, works(0))
        await runtime.drain()
        assert answers == ["half"]
        assert turns_of(runtime) == (0, 0)


async def test_a_space_that_is_killed_while_two_of_its_workers_wait_leaves_nothing_in_line():
    async with open_scarce(Clerk, Several) as runtime, trio.open_nursery() as nursery:
        nursery.start_soon(outcome_of, runtime.space("h", Clerk).ask, Clerk.do, works(100))
        await settled()
        space = runtime.space("s", Several)
        for _ in range(3):
            space.send_nowait(Several.do, works(1))
        await settled()
        assert turns_of(runtime) == (1, 2)
        await space.kill()
        await settled()
        assert turns_of(runtime) == (1, 0)
        await runtime.space("h", Clerk).kill()


class Ticks(trio.abc.Instrument):
    """Counts how often everybody else has had a chance to run."""

    count = 0

    def before_io_wait(self, timeout):
        self.count += 1


async def test_law_8_a_worker_whose_tokens_are_there_at_once_lets_others_run():
    ticks, seen = Ticks(), Counter()

    async def note(clerk):
        seen[ticks.count] += 1

    async with open_scarce() as runtime:
        space = runtime.space("a")
        for _ in range(100):
            space.send_nowait(Clerk.do, note)
        trio.lowlevel.add_instrument(ticks)
        await runtime.drain()
        trio.lowlevel.remove_instrument(ticks)
    assert seen.total() == 100
    assert max(seen.values()) <= 64


@pytest.mark.parametrize("seed", range(20))
def test_C3_a_token_that_is_granted_as_its_space_is_killed_goes_to_somebody_else(seed):
    async def main():
        async with open_scarce() as runtime:
            await runtime.space("holder").send(Clerk.do, works(1))
            await settled()
            for name in "ab":
                await runtime.space(name).send(Clerk.do, works(1))
            async with trio.open_nursery() as nursery:
                await trio.sleep(1)
                nursery.start_soon(runtime.space("a").kill)
                nursery.start_soon(runtime.space("b").pause)
            await trio.sleep(3)
            await runtime.space("b").resume()
            assert (await runtime.drain()).seconds <= 1
            assert turns_of(runtime) == (0, 0)

    run_seeded(main, seed)


# ---- where a token could be lost, or kept from who needs it


async def test_a_turn_that_goes_on_after_waiting_for_a_limit_comes_before_those_that_have_not_begun():
    trace = []

    async def hold(clerk):
        async with clerk.limits.hold("scarce"):
            trace.append("a goes on")

    async with open_scarce() as runtime, trio.open_nursery() as nursery:
        async with runtime.limits.hold("scarce"):
            await runtime.space("a").send(Clerk.do, hold)
            await settled()
            await hold_turn(runtime, nursery, 1)
            for name in "bc":
                await runtime.space(name).with_options(priority=Priority.URGENT).send(Clerk.do, works(1, trace))
        await runtime.drain()
    assert trace[0] == "a goes on"
    assert sorted(trace[1:]) == ["b", "c"]


async def test_C5_the_token_of_a_turn_that_answers_is_nobodys_after_a_shrink():
    async with open_scarce(turns=2) as runtime, trio.open_nursery() as nursery:
        nursery.start_soon(runtime.space("a").ask, Clerk.do, asks("b", works(1), then=works(1)))
        await runtime.space("c").send(Clerk.do, works(5))
        await settled()
        runtime.limits.resize("turns", 1)
        await trio.sleep(2)
        assert turns_of(runtime) == (1, 1)
        await runtime.drain()
        assert trio.current_time() == 6


async def test_a_turn_of_a_lane_gets_no_token_before_its_lane():
    """The lane is kept for one that was asked in vain and has no token: who has the token must not wait for that."""
    middle = asks("x-2", works(1), within=1)

    async def ask(clerk):
        await trio.sleep(0.5)
        await middle(clerk)

    async with open_scarce() as runtime, trio.open_nursery() as nursery:
        nursery.start_soon(runtime.space("x-1").ask, Clerk.do, asks("between", ask, then=works(1)))
        await trio.sleep(0.1)
        await runtime.space("other").send(Clerk.do, works(10))
        with trio.fail_after(100):
            assert (await runtime.drain(200)).seconds < 100
        assert turns_of(runtime) == (0, 0)


@pytest.mark.parametrize("seed", range(20))
def test_C7_a_token_that_is_passed_on_as_another_task_of_the_turn_begins_to_wait_is_given_back(seed):
    async def both(clerk):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(clerk.space("b").ask, Clerk.do, works(1))
            await trio.sleep(1)
            await clerk.space("c").ask(Clerk.do, works(1))
        return "both"

    async def main():
        async with open_scarce() as runtime:
            with trio.fail_after(100):
                assert await runtime.space("a").ask(Clerk.do, both) == "both"
            await settled()
            assert turns_of(runtime) == (0, 0)

    run_seeded(main, seed)


async def test_C3_a_token_that_comes_for_a_turn_of_which_another_task_waits_by_then_goes_on():
    async def both(clerk):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(asks("b", works(10), within=1), clerk))
            await trio.sleep(2)
            await clerk.space("c").ask(Clerk.do, works(1))
        return "both"

    async with open_scarce() as runtime:
        with trio.fail_after(100):
            assert await runtime.space("a").ask(Clerk.do, both) == "both"
        await settled()
        assert turns_of(runtime) == (0, 0)


@pytest.mark.parametrize("how", ["kill", "interrupt", "timeout"])
async def test_C3_a_turn_that_ends_while_it_waits_for_an_answer_ends_at_once(how):
    """It needs no token for that, and he whom it has asked has the only one."""
    method = {"timeout": Clerk.do_in_time}.get(how, Clerk.do)
    async with open_scarce() as runtime, trio.open_nursery() as nursery:
        ended = []

        async def ask():
            await outcome_of(runtime.space("a").ask, method, asks("b", works(100)))
            ended.append(trio.current_time())

        nursery.start_soon(ask)
        await trio.sleep(5)
        if how == "kill":
            await runtime.space("a").kill()
        elif how == "interrupt":
            await runtime.space("a").send(Clerk.do_now, works(0))
        await settled()
        assert ended == [5.0]
        await runtime.space("b").kill()


async def test_a_turn_that_is_being_written_has_given_its_token_back(tmp_path):
    class Scribe(Actor[int], kind="scribe"):
        @handler
        async def write(self, what: int) -> float:
            self.state += what
            return trio.current_time()

    disk = SlowDisk(tmp_path / "spaces.db")
    async with open_scarce(Scribe, store=SlowStore(disk)) as runtime:
        for name in "ab":
            await runtime.space(name).ask(Scribe.write, 1)
        began = []

        async def ask(name):
            began.append(await runtime.space(name).ask(Scribe.write, 1))

        disk.seconds = 5.0
        async with trio.open_nursery() as nursery:
            for name in "ab":
                nursery.start_soon(ask, name)
        # Both turns are over when the first of them is written.
        assert began[0] == began[1]
        assert turns_of(runtime) == (0, 0)


async def test_a_streaming_turn_keeps_its_token_as_long_as_its_reader_is_not_behind():
    trace = []

    class Speaker(Clerk, kind="speaker"):
        @handler
        async def speak(self, number):
            for item in range(number):
                yield item
                await trio.sleep(1)
            trace.append("spoken")

    async with open_scarce(Speaker) as runtime:
        async with runtime.space("a").stream(Speaker.speak, 5) as items:
            await settled()
            await runtime.space("b").send(Speaker.do, works(0, trace))
            assert [item async for item in items] == list(range(5))
        await runtime.drain()
    assert trace == ["spoken", "b"]


async def test_background_work_follows_another_space_without_a_token():
    heard = []

    class Listener(Clerk, kind="listener"):
        async def listen(self):
            async with self.space("b").subscribe(str) as events:
                heard.append((await anext(events)).value)

        @handler
        async def begin(self):
            self.start_soon(self.listen)

    async def tell(clerk):
        clerk.emit("news")

    async with open_scarce(Listener) as runtime:
        await runtime.space("a").ask(Listener.begin)
        await settled()
        assert turns_of(runtime) == (0, 0)
        await runtime.space("b").ask(Listener.do, tell)
        await settled()
        assert turns_of(runtime) == (0, 0)
    assert heard == ["news"]
