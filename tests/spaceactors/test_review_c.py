"""The door, questions and streams where calls meet a closing gate, one another, or a reader that is no longer there."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from spaceactors import (
    Actor,
    AskCycle,
    BadCall,
    MemoryStore,
    NotAccepted,
    RestartLimit,
    RuntimeClosed,
    RuntimeConfig,
    SpaceBusy,
    SpaceOptions,
    SpaceQuarantined,
    WhenAbandoned,
    WhenBusy,
    handler,
    open_runtime,
)


class Narrow(Actor):
    """Has one place, and takes its time."""

    options = SpaceOptions(mailbox_capacity=1)

    @handler
    async def slow(self):
        await trio.sleep(1)
        return "done"


class Caller(Actor):
    """Calls the narrow one, from a turn and from background work."""

    def __init__(self, seen):
        self.seen = seen

    @handler
    async def ask(self):
        return await self.space("narrow", Narrow).ask(Narrow.slow)

    @handler
    async def begin(self):
        self.start_soon(self.work)

    async def work(self):
        self.seen.append(await self.space("narrow", Narrow).ask(Narrow.slow))


async def fill(runtime):
    """Have the narrow space work, and its only place be taken."""
    narrow = runtime.space("narrow", Narrow)
    narrow.send_nowait(Narrow.slow)
    await wait_all_tasks_blocked()
    narrow.send_nowait(Narrow.slow)


async def test_S14_an_ask_of_a_turn_in_line_for_a_place_survives_the_drain():
    """What an accepted turn has asked is part of what the drain finishes."""
    seen = []
    async with open_runtime(Narrow, Caller, deps=seen) as runtime:
        await fill(runtime)

        async def ask():
            seen.append(await runtime.space("caller", Caller).ask(Caller.ask))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await wait_all_tasks_blocked()
            report = await runtime.drain()
    assert (seen, report.clean) == (["done"], True)


async def test_S14_a_call_of_background_work_in_line_for_a_place_survives_the_drain():
    """Background work is accepted work too."""
    seen = []
    async with open_runtime(Narrow, Caller, deps=seen) as runtime:
        await fill(runtime)
        await runtime.space("caller", Caller).ask(Caller.begin)
        await wait_all_tasks_blocked()
        report = await runtime.drain()
    assert (seen, report.clean) == (["done"], True)


async def test_S14_a_sender_from_outside_in_line_for_a_place_is_refused_by_the_drain():
    """A drain takes nothing new."""
    async with open_runtime(Narrow) as runtime:
        await fill(runtime)
        refused = []

        async def send():
            with pytest.raises(RuntimeClosed):
                await runtime.space("narrow", Narrow).send(Narrow.slow)
            refused.append(trio.current_time())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            await wait_all_tasks_blocked()
            now = trio.current_time()
            await runtime.drain()
    assert refused == [now]


class Neighbour(Actor):
    """Works beside its turns on spaces of another runtime."""

    def __init__(self, elsewhere):
        self.elsewhere = elsewhere

    @handler
    async def begin(self):
        self.start_soon(self.work)

    async def work(self):
        try:
            while True:
                await self.elsewhere.space(next(self.elsewhere.names)).send(Narrow.slow)
                await trio.sleep(0.9)
        except NotAccepted as error:
            self.elsewhere.refused = error


class Elsewhere:
    """Another runtime, and what it refused."""

    refused = None

    def __init__(self, runtime, names):
        self.space = runtime.space
        self.names = iter(names)


@pytest.mark.parametrize("names", [["live"] * 99, [f"new-{number}" for number in range(99)]], ids=["live", "new"])
async def test_S14_a_draining_runtime_takes_nothing_from_background_work_of_another_runtime(names):
    """Only work that a runtime itself has accepted passes its closed door, else its drain need not end."""
    async with open_runtime(Narrow, config=RuntimeConfig(drain_timeout=50)) as draining:
        elsewhere = Elsewhere(draining, names)
        async with open_runtime(Neighbour, deps=elsewhere) as other:
            await other.space("a").ask(Neighbour.begin)
            await trio.sleep(0.5)
            report = await draining.drain()
            await trio.sleep(1)
            await other.space("a").kill()
    assert isinstance(elsewhere.refused, RuntimeClosed)
    assert (report.clean, len(report.finished)) == (True, 1)


class Pair(Actor):
    """Asks a message that somebody sent before, and is asked back."""

    @handler
    async def join(self):
        return await self.space("b").with_options(message_id="m").ask(Pair.slow)

    @handler
    async def slow(self):
        await trio.sleep(1)

    @handler
    async def back(self):
        return await self.space("a").ask(Pair.pong)

    @handler
    async def pong(self):
        return "pong"

    @handler
    async def round(self):
        return await self.space("b").ask(Pair.back)


async def test_M14_an_asker_that_joined_and_is_answered_closes_no_ring():
    """A question asked in the moment of the answer waits for nobody who waits for it."""
    async with open_runtime(Pair) as runtime:
        runtime.space("b").with_options(message_id="m").send_nowait(Pair.slow)
        runtime.space("a").send_nowait(Pair.join)
        await wait_all_tasks_blocked()
        assert await runtime.space("b").ask(Pair.back) == "pong"


async def test_M13_a_ring_of_questions_says_what_to_write_instead():
    """Who closes a ring wants to know the ways out."""
    async with open_runtime(Pair) as runtime:
        with pytest.raises(Exception, match="failed at") as caught:
            await runtime.space("a").ask(Pair.round)
        cause = caught.value
        while not isinstance(cause, AskCycle):
            cause = cause.__cause__
        assert "use `send`, or ask from background work" in str(cause)


class Wanted(Actor):
    """Works as long as somebody wants the answer."""

    options = SpaceOptions(when_abandoned=WhenAbandoned.CANCEL)

    @handler
    async def work(self):
        await trio.sleep(100)
        return "done"


async def ask_for(seconds, space):
    with trio.move_on_after(seconds):
        return await space.ask(Wanted.work)
    return "left"


async def test_a_turn_ends_when_the_last_of_several_askers_leaves():
    """Under one id they all want the same answer; none of them is left."""
    async with open_runtime(Wanted) as runtime:
        space = runtime.space("w").with_options(message_id="m")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask_for, 5, space)
            await wait_all_tasks_blocked()
            nursery.start_soon(ask_for, 9, space)
        await wait_all_tasks_blocked()
        assert (await runtime.snapshot()).ledger.pending == 0
        assert trio.current_time() == pytest.approx(9)


async def test_a_turn_goes_on_while_one_of_several_askers_waits():
    """It does not matter which of them leaves first."""
    async with open_runtime(Wanted) as runtime:
        space = runtime.space("w").with_options(message_id="m")
        async with trio.open_nursery() as nursery:
            for seconds in (5, 9):
                nursery.start_soon(ask_for, seconds, space)
                await wait_all_tasks_blocked()
            assert await ask_for(1000, space) == "done"


async def test_a_message_that_was_sent_goes_on_when_an_asker_that_joined_leaves():
    """Nobody who sends waits for an answer, so nobody has left."""
    async with open_runtime(Wanted) as runtime:
        space = runtime.space("w").with_options(message_id="m")
        await space.send(Wanted.work)
        assert await ask_for(5, space) == "left"
        assert await ask_for(1000, space) == "done"
        assert trio.current_time() == pytest.approx(100)


class Teller(Actor):
    """Streams, after a crash that nobody survives."""

    options = SpaceOptions(restart_limit=RestartLimit(0, 60))

    @handler
    async def crash(self):
        await trio.sleep(1)
        raise ValueError

    @handler
    async def tell(self):
        for number in range(40):
            yield number

    @handler
    async def slowly(self):
        for number in range(4):
            await trio.sleep(1)
            yield number
        self.emit("over")

    @handler
    async def ping(self):
        return "pong"


async def test_a_stream_that_a_quarantine_ended_holds_no_turn_up_after_the_revival():
    """Its reader was told, and reads no more: the turn runs for nobody, and to its end."""
    async with open_runtime(Teller) as runtime:
        space = runtime.space("t")
        await space.send(Teller.crash)
        async with space.stream(Teller.tell) as items:
            with pytest.raises(SpaceQuarantined):
                await anext(items)
            await space.revive()
            with trio.fail_after(10):
                assert await space.ask(Teller.ping) == "pong"
            assert [item async for item in items] == []


async def test_a_second_task_that_reads_a_stream_is_refused():
    """Two readers would each miss what the other takes."""
    async with open_runtime(Teller) as runtime, runtime.space("t").stream(Teller.slowly) as items:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(anext, items)
            await wait_all_tasks_blocked()
            with pytest.raises(trio.BusyResourceError, match="another task reads this stream"):
                await anext(items)
        assert await anext(items) == 1


async def test_a_second_task_that_reads_a_feed_is_refused():
    """A feed has one reader, a space any number of feeds."""
    async with open_runtime(Teller) as runtime, runtime.space("t").subscribe() as feed, trio.open_nursery() as nursery:
        nursery.start_soon(anext, feed)
        await wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError, match="another task reads this feed"):
            await anext(feed)
        await runtime.space("t").send(Teller.slowly)


class Unshowable:
    """An argument that cannot be shown."""

    def __repr__(self):
        raise ValueError


class Doubtful:
    """An argument whose equality has no truth value, as an array's."""

    __hash__ = None

    def __eq__(self, other):
        return Doubtful()

    def __bool__(self):
        raise ValueError


def undecorated():
    """Make a handler that has another name than its attribute will have."""

    @handler
    async def inner(self):
        return "inner"

    return inner


class Plain(Actor):
    """Takes anything."""

    options = SpaceOptions(when_busy=WhenBusy.REFUSE)
    found = undecorated()

    @handler
    async def pass_on(self):
        return await self.space("b").ask(Plain.take, Unshowable())

    @handler
    async def take(self, value):
        return type(value).__name__

    @handler
    async def wait(self):
        await trio.sleep(1)

    @handler
    async def step_in_cancelled_scope(self):
        done = []

        async def act():
            done.append("act")

        with trio.CancelScope() as scope:
            scope.cancel()
            await self.step("act", act)
        return scope.cancelled_caught, done

    @handler
    async def steps(self):
        async def act():
            return None

        for _ in range(100):
            await self.step("act", act)


async def test_A6_a_turn_asks_with_arguments_that_cannot_be_shown():
    """What a question is called must not depend on a user's `__repr__`."""
    async with open_runtime(Plain) as runtime:
        assert await runtime.space("a").ask(Plain.pass_on) == "Unshowable"


async def test_a_handler_is_found_by_what_it_is_whatever_its_name():
    """A decorator may leave a function its own name."""
    async with open_runtime(Plain) as runtime:
        assert await runtime.space("a").ask(Plain.found) == "inner"


async def test_a_known_id_whose_arguments_cannot_be_compared_is_a_bad_call():
    """Whether it is the same call cannot be told; that is no failure of the space."""
    async with open_runtime(Plain) as runtime:
        space = runtime.space("a").with_options(message_id="m")
        await space.ask(Plain.take, Doubtful())
        with pytest.raises(BadCall, match="cannot be told"):
            await space.ask(Plain.take, Doubtful())


async def test_M18_a_refusal_of_a_busy_space_names_the_rule():
    """Who is refused wants to know by what."""
    async with open_runtime(Plain) as runtime:
        runtime.space("a").send_nowait(Plain.wait)
        with pytest.raises(SpaceBusy, match=r"WhenBusy\.REFUSE"):
            runtime.space("a").send_nowait(Plain.wait)


async def test_M17_the_time_to_expire_runs_from_the_call_and_not_from_the_tick(autojump_clock):
    """What computed for long in the same tick takes nothing of it."""
    async with open_runtime(Plain) as runtime:
        space = runtime.space("a").with_options(expires_after=1)
        autojump_clock.jump(5)
        assert await space.ask(Plain.take, 1) == "int"


async def test_a_step_in_a_cancelled_scope_runs_nothing():
    """A step sees a cancellation, though its function never waits."""
    async with open_runtime(Plain) as runtime:
        assert await runtime.space("a").ask(Plain.step_in_cancelled_scope) == (True, [])


async def test_steps_that_never_wait_let_others_run():
    """Each step is a place where others get their turn."""
    passes = 0
    async with open_runtime(Plain) as runtime, trio.open_nursery() as nursery:

        async def count():
            nonlocal passes
            while True:
                passes += 1
                await trio.lowlevel.checkpoint()

        nursery.start_soon(count)
        await runtime.space("a").ask(Plain.steps)
        nursery.cancel_scope.cancel()
    assert passes >= 100


async def test_deleting_what_is_not_live_sees_a_cancellation():
    """Every async call is a checkpoint."""
    async with open_runtime(Plain) as runtime:
        with trio.CancelScope() as scope:
            scope.cancel()
            await runtime.space("nobody").delete()
    assert scope.cancelled_caught


class Probe(Actor):
    """Tells whether Ctrl-C could come in the middle of where it is asked."""

    seen: dict[str, bool] = {}  # noqa: RUF012 (what the class saw)

    @classmethod
    def group_of(cls, space_id):
        cls.seen[space_id] = trio.lowlevel.currently_ki_protected()

    @handler
    async def one(self):
        yield 1


async def test_opening_a_stream_and_control_calls_are_out_of_reach_of_ctrl_c():
    """A message is not half accepted, and a space not half begun."""
    Probe.seen.clear()
    async with open_runtime(Probe) as runtime:
        async with runtime.space("stream").stream(Probe.one):
            inside = trio.lowlevel.currently_ki_protected()
        await runtime.space("pause").pause()
        await runtime.space("pause").kill()
    assert (Probe.seen, inside) == ({"stream": True, "pause": True}, False)


async def test_changing_a_state_from_outside_is_out_of_reach_of_ctrl_c():
    """A state and its version change together."""
    seen = []

    def change(state):
        seen.append(trio.lowlevel.currently_ki_protected())
        return state

    store = MemoryStore()
    async with open_runtime(Probe, store=store) as runtime:
        await store.update(runtime.space("s"), change)
    assert seen == [True]
