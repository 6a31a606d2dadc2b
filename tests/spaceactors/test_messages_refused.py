"""M9, M10, M13 to M15, A1 to A3, A6, law 8: calls that are refused, calls that turns make, and who may run beside."""

from __future__ import annotations

import pytest
import trio

from spaceactors import (
    Actor,
    ActorCrashed,
    AskCycle,
    BadCall,
    CapacityError,
    MailboxFull,
    MessageReturned,
    NotAccepted,
    NotHandled,
    Outcome,
    Overflow,
    Priority,
    Rejected,
    RestartLimit,
    RuntimeClosed,
    SpaceDraining,
    SpaceError,
    SpaceOptions,
    SpaceQuarantined,
    SpaceStatus,
    SpaceStopped,
    UnknownSpaceKind,
    handler,
    open_runtime,
)
from tests.spaceactors.clerks import Boom, Clerk, clerk, open_office

# ---- M10: each refusal is its own error


async def refusal_of(office, space):
    with pytest.raises(NotAccepted) as waited:
        await space.send(Clerk.note, "no")
    with pytest.raises(NotAccepted) as asked:
        await space.ask(Clerk.note, "no")
    with pytest.raises(NotAccepted) as at_once:
        space.send_nowait(Clerk.note, "no")
    for caught in (waited, asked, at_once):
        assert (caught.value.space, caught.value.message.args) == (space, ("no",))
    assert type(waited.value) is type(asked.value) is type(at_once.value)
    return type(waited.value)


@pytest.mark.parametrize(
    ("verb", "error"), [("drain", SpaceDraining), ("stop", SpaceStopped), ("delete", SpaceStopped)]
)
async def test_M10_a_space_that_ends_refuses_with_the_error_of_its_end(verb, error):
    async with open_office() as office:
        await office.begin(office.space(), Clerk.note, "run", 5.0)
        office.nursery.start_soon(getattr(office.space(), verb))
        await office.settled()
        assert await refusal_of(office, office.space()) is error


async def test_M10_a_quarantined_space_refuses_with_space_quarantined():
    async with open_office(restart_limit=RestartLimit(0, 1.0)) as office:
        await office.begin(office.space(), Clerk.crash)
        assert await refusal_of(office, office.space()) is SpaceQuarantined


async def test_M10_a_closing_runtime_refuses_live_and_new_spaces_with_runtime_closed():
    async with open_office() as office:
        await office.begin(office.space(), Clerk.note, "run", 5.0)
        office.nursery.start_soon(office.runtime.drain)
        await office.settled()
        for name in "ab":
            assert await refusal_of(office, office.space(name)) is RuntimeClosed


async def test_M10_an_unknown_kind_is_its_own_error():
    class Other(Actor):
        pass

    async with open_office() as office:
        with pytest.raises(UnknownSpaceKind, match="Other"):
            office.runtime.space("a", Other)


@pytest.mark.parametrize("wrong", ["", None, 7])
async def test_M10_a_space_id_is_a_text_that_is_not_empty(wrong):
    async with open_office() as office:
        with pytest.raises(BadCall):
            office.runtime.space(wrong)


@pytest.mark.parametrize("verb", ["stop", "kill", "drain"])
async def test_M10_the_next_message_after_the_end_starts_anew_from_the_stored_state(verb):
    async with open_office() as office:
        space = office.space()
        await space.ask(Clerk.note, "1")
        await getattr(space, verb)()
        assert (await space.info()).status is (SpaceStatus.PASSIVE if verb == "drain" else SpaceStatus.STOPPED)
        await space.ask(Clerk.note, "2")
        assert await space.state() == ("1", "2")


# ---- bad calls


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((), {}), (("x", 1.0, "more"), {}), (("x",), {"wrong": 1}), (("x",), {"what": "y"}), ((), {"seconds": 1.0})],
)
@pytest.mark.parametrize("verb", ["send", "ask", "send_nowait"])
async def test_M10_arguments_that_do_not_fit_are_a_bad_call_in_the_sender(verb, args, kwargs):
    async with open_office() as office:
        space = office.space()
        await space.ask(Clerk.note, "warm")
        with pytest.raises(BadCall, match="note") as caught:
            if verb == "send_nowait":
                space.send_nowait(Clerk.note, *args, **kwargs)
            else:
                await getattr(space, verb)(Clerk.note, *args, **kwargs)
        assert isinstance(caught.value, TypeError)
        assert caught.value.space == space
        assert await office.ledger() == {"handled": 1}


async def test_M10_what_is_no_handler_is_a_bad_call_that_names_the_handlers():
    class Other(Actor):
        @handler
        async def note(self, what: str) -> None: ...

    async def note(what): ...

    async with open_office() as office:
        for method in (Clerk.on_start, Other.note, note, "note", None):
            with pytest.raises(BadCall, match=r"Tuned\.note"):
                await office.space().send(method, "x")
        assert await office.ledger() == {}


async def test_M10_an_ask_of_a_stream_and_a_stream_of_an_ask_are_bad_calls():
    async with open_office() as office:
        with pytest.raises(BadCall, match="stream"):
            await office.space().ask(Clerk.count_up, "x")
        with pytest.raises(BadCall, match="ask"):
            async with office.space().stream(Clerk.note, "x"):
                raise AssertionError
        assert await office.ledger() == {}


async def test_M10_keyword_arguments_and_defaults_fit_as_in_a_call():
    async with open_office() as office:
        assert await office.space().ask(Clerk.note, what="x") == "X"
        assert await office.space().ask(Clerk.note, "x", seconds=1.0) == "X"


async def test_M10_the_errors_form_two_families():
    assert issubclass(NotAccepted, SpaceError)
    assert issubclass(NotHandled, SpaceError)
    assert not issubclass(NotAccepted, NotHandled)
    assert NotAccepted(retry_after=2.0).retry_after == 2.0
    assert (NotAccepted().retry_after, NotAccepted().space, NotAccepted().message) == (None, None, None)


# ---- options


async def test_M1_options_travel_with_the_message_and_add_up():
    class Looks(Actor):
        @handler
        async def look(self) -> tuple:
            one = self.message
            return one.id, int(one.priority), one.correlation_id, dict(one.headers), one.call, one.attempt, one.sender

    async with open_runtime(Looks) as runtime:
        space = runtime.space("a").with_options(message_id="m", correlation_id="c").with_options(headers={"h": "1"})
        assert await space.ask(Looks.look) == ("m", int(Priority.NORMAL), "c", {"h": "1"}, "look", 1, None)
        assert space == runtime.space("a")
        assert hash(space) == hash(runtime.space("a"))


async def test_M1_what_a_turn_sends_names_its_sender_and_keeps_the_correlation():
    class Chain(Actor):
        @handler
        async def first(self) -> tuple:
            await self.space("c").send(Chain.note)
            return await self.space("b").ask(Chain.look)

        @handler
        async def look(self) -> tuple:
            return self.message.sender.id, self.message.correlation_id

        @handler
        async def note(self) -> None:
            noted.append(await self.look())

    noted = []
    async with open_runtime(Chain) as runtime:
        assert await runtime.space("a").with_options(correlation_id="7").ask(Chain.first) == ("a", "7")
        await trio.testing.wait_all_tasks_blocked()
        assert noted == [("a", "7")]


# ---- M9: a full mailbox of somebody else


async def test_M9_a_full_mailbox_of_the_target_never_crashes_the_sender():
    async with open_office(mailbox_capacity=2) as office:
        target = office.space("b")
        await office.begin(target, Clerk.note, "run", 1.0)
        await target.send(Clerk.note, "w0")
        await target.send(Clerk.note, "w1")
        await office.space("a").ask(Clerk.send_other, "b", "1", "2", "3", "4")
        assert (await office.space("a").info()).restarts == 0
        await trio.sleep(5)
        assert await target.state() == ("run", "w0", "w1", "1", "2")
        letters = await office.runtime.dead_letters.list()
        assert [letter.message.args for letter in letters] == [("3",), ("4",)]
        assert all(isinstance(letter.error, MailboxFull) for letter in letters)
        assert await office.ledger() == {"handled": 6, "returned": 2}


async def test_M9_the_sender_begins_no_new_turn_while_its_target_is_over_capacity():
    async with open_office(mailbox_capacity=2) as office:
        target, sender = office.space("b"), office.space("a")
        await office.begin(target, Clerk.note, "run", 5.0)
        await sender.send(Clerk.send_other, "b", "1", "2", "3")
        await sender.send(Clerk.note, "own")
        await trio.sleep(4)
        assert await sender.state() == ()
        await trio.sleep(2)
        assert await sender.state() == ("own",)


async def test_M9_a_refused_send_of_a_turn_is_a_dead_letter_and_the_turn_stands():
    async with open_office() as office:
        await office.begin(office.space("b"), Clerk.note, "run", 5.0)
        office.nursery.start_soon(office.space("b").stop)
        await office.settled()
        await office.space("a").ask(Clerk.send_other, "b", "1")
        assert await office.ledger() == {"handled": 1, "returned": 1, "pending": 1}
        (letter,) = await office.runtime.dead_letters.list()
        assert isinstance(letter.error, SpaceStopped)


# ---- M13, M14: rings


async def test_M13_an_ask_of_oneself_raises_at_once():
    async with open_office() as office:
        with trio.fail_after(1), pytest.raises(ActorCrashed) as caught:
            await office.space("a").ask(Clerk.ask_other, "a", "x")
        assert isinstance(caught.value.__cause__, AskCycle)
        assert "a → a" in str(caught.value.__cause__)
        assert (await office.space("a").info()).restarts == 0


async def test_M13_sends_of_turns_in_a_ring_of_full_mailboxes_do_not_stand_still():
    class Ring(Actor[int]):
        options = SpaceOptions(mailbox_capacity=1)

        @handler
        async def push(self, left: int) -> None:
            self.state += 1
            if left:
                other = self.space(str((int(self.id) + 1) % 3))
                await other.send(Ring.push, left - 1)

    async with open_runtime(Ring) as runtime:
        for name in "012":
            runtime.space(name).send_nowait(Ring.push, 30)
        with trio.fail_after(100):
            await trio.testing.wait_all_tasks_blocked()
        assert sum([await runtime.space(name).state() for name in "012"]) == 93


async def test_M14_a_ring_of_asks_is_named_at_once():
    class Ring(Actor):
        @handler
        async def go(self, *names: str) -> None:
            if names:
                await self.space(names[0]).ask(Ring.go, *names[1:])

    async with open_runtime(Ring) as runtime:
        with trio.fail_after(1), pytest.raises(ActorCrashed) as caught:
            await runtime.space("a").ask(Ring.go, "b", "c", "a")
        error = caught.value
        while isinstance(error, ActorCrashed):
            error = error.__cause__
        assert isinstance(error, AskCycle)
        assert "c → a → b → c" in str(error)


async def test_M14_a_ring_over_a_full_mailbox_is_named_at_once():
    async with open_office(mailbox_capacity=1) as office:
        a, b = office.space("a"), office.space("b")
        await office.begin(b, Clerk.note, "run", 1.0)
        office.asking(b, Clerk.ask_other, "a", "x", key="b")
        await office.settled()
        office.asking(a, Clerk.ask_other, "b", "y", key="a")  # waits for a place in b's mailbox
        with trio.fail_after(10):
            await trio.sleep(2)
        assert isinstance(office.answers["b"].__cause__, AskCycle)
        assert office.answers["a"] == "Y"


async def test_M14_two_that_ask_a_third_are_no_ring():
    async with open_office() as office:
        for name in "ab":
            office.asking(office.space(name), Clerk.ask_other, "c", "x", 1.0, key=name)
        await trio.sleep(3)
        assert office.answers == {"a": "X", "b": "X"}


async def test_M14_an_ask_inside_one_s_own_lane_works():
    async with open_office(one_lane=True) as office:
        assert await office.space("a").ask(Clerk.ask_other, "b", "x", 1.0) == "X"


# ---- M15, A1 to A3, A6


async def test_M15_a_thousand_askers_that_left_leave_nothing_behind():
    async with open_office(mailbox_capacity=2000) as office:
        await office.begin(office.space(), Clerk.note, "run", 1.0)
        for number in range(1000):
            office.asking(office.space(), Clerk.note, str(number)).cancel()
        await office.settled()
        assert (await office.ledger()).get("pending") in (1, 1001)
        await trio.sleep(2)
        assert (await office.ledger()).get("pending") is None
        assert office.answers == {}


@pytest.mark.parametrize("kind", ["crashed", "full", "rejected", "capacity"])
async def test_A1_an_error_of_a_call_that_leaves_a_handler_ends_the_message_and_not_the_actor(kind):
    class Calls(Actor[int]):
        options = SpaceOptions(backoff=None, mailbox_capacity=1, overflow=Overflow.REFUSE)

        @handler
        async def go(self) -> None:
            self.state += 1
            if kind == "capacity":
                raise CapacityError
            await self.space("b").ask(Calls.fail)

        @handler
        async def fail(self) -> None:
            raise Boom if kind == "crashed" else Rejected("no")

        @handler
        async def work(self) -> None:
            await trio.sleep(100)

    async with open_runtime(Calls) as runtime:
        if kind == "full":
            for _ in range(2):
                await runtime.space("b").send(Calls.work)
                await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(ActorCrashed) as caught:
            await runtime.space("a").ask(Calls.go)
        assert isinstance(caught.value.__cause__, SpaceError | CapacityError)
        assert (await runtime.space("a").info()).restarts == 0
        assert await runtime.space("a").state() == 0
        assert (await runtime.snapshot()).ledger.outcomes[Outcome.FAILED] >= 1
        await runtime.space("b").kill()


async def test_A2_a_thousand_spaces_that_ask_one_crashing_space_stay_alive():
    class Calls(Actor):
        options = SpaceOptions(mailbox_capacity=1000, restart_limit=RestartLimit(2, 60.0), backoff=None)

        @handler
        async def go(self) -> None:
            await self.space("bad").ask(Calls.fail)

        @handler
        async def fail(self) -> None:
            raise Boom

    async with open_runtime(Calls) as runtime:
        for number in range(1000):
            await runtime.space(str(number)).send(Calls.go)
        await trio.testing.wait_all_tasks_blocked()
        quarantined = await runtime.spaces(actor=Calls, status=SpaceStatus.QUARANTINED)
        assert [space.id for space in quarantined] == ["bad"]
        shot = await runtime.snapshot()
        assert sum(space.restarts for space in shot.spaces if space.id != "bad") == 0


async def test_A3_an_outage_that_throws_lists_quarantines_nobody():
    async with open_office(restart_limit=RestartLimit(0, 1.0)) as office:
        for number in range(50):
            with pytest.raises(Rejected):
                await office.space(str(number % 5)).ask(Clerk.throw)
        live = await office.runtime.spaces(actor=next(iter(office.runtime.kinds.values())), status=SpaceStatus.LIVE)
        assert len(live) == 5


async def test_A6_a_second_try_repeats_its_asks_under_the_same_ids():
    asked = []
    tries = []

    class Calls(Actor):
        options = SpaceOptions(backoff=None, max_attempts=3)

        @handler
        async def go(self) -> list:
            got = [await self.space("b").ask(Calls.note, name) for name in ("x", "x", "y")]
            tries.append(got)
            if len(tries) < 3:
                raise Boom
            return got

        @handler
        async def note(self, name: str) -> str:
            asked.append((name, self.message.id))
            return self.message.id

    async with open_runtime(Calls) as runtime:
        got = await runtime.space("a").ask(Calls.go)
        assert tries == [got] * 3
        assert [name for name, _ in asked] == ["x", "x", "y"]  # once each, though tried three times
        assert len(set(got)) == 3


# ---- resend, outside turns


async def test_O1_resend_keeps_the_id_and_the_arguments():
    async with open_office() as office:
        space = office.space()
        await office.begin(space, Clerk.note, "run", 5.0)
        office.asking(space, Clerk.note, "x")
        await office.settled()
        await space.kill()
        await office.settled()
        error = office.answers["x"]
        assert isinstance(error, MessageReturned)
        assert await space.resend(error.message) == error.message.id
        await office.settled()
        assert await space.state() == ("x",)


# ---- law 8


class Steps(trio.abc.Instrument):
    """Notes how far a count comes in one step of any task."""

    def __init__(self, count):
        self.count = count
        self.seen = 0
        self.longest = 0

    def after_task_step(self, task):
        now = self.count()
        self.longest = max(self.longest, now - self.seen)
        self.seen = now


async def test_M5_a_loop_of_sends_lets_others_run_at_least_once_in_64_calls():
    async with open_office(overflow=Overflow.DROP_NEWEST) as office:
        sent = []
        steps = Steps(lambda: len(sent))
        trio.lowlevel.add_instrument(steps)
        for number in range(1000):
            await office.space().send(Clerk.note, "x")
            sent.append(number)
        trio.lowlevel.remove_instrument(steps)
        assert 1 < steps.longest <= 64


async def test_M5_a_worker_lets_others_run_at_least_once_in_64_turns():
    async with open_office(mailbox_capacity=2000) as office:
        steps = Steps(lambda: len(office.diary))
        trio.lowlevel.add_instrument(steps)
        for number in range(1000):
            office.space().send_nowait(Clerk.note, str(number))
        await office.settled()
        trio.lowlevel.remove_instrument(steps)
        assert len(office.diary) == 1000
        assert 1 < steps.longest <= 64


@pytest.mark.parametrize(
    "call",
    [
        lambda runtime: runtime.space("a").send(Clerk.note, "x"),
        lambda runtime: runtime.space("a").ask(Clerk.note, "x"),
        lambda runtime: runtime.space("a").state(),
        lambda runtime: runtime.space("a").info(),
        lambda runtime: runtime.space("a").stop(),
        lambda runtime: runtime.space("a").drain(),
        lambda runtime: runtime.space("a").kill(),
        lambda runtime: runtime.space("a").delete(),
        lambda runtime: runtime.space("a").pause(),
        lambda runtime: runtime.space("a").resume(),
        lambda runtime: runtime.space("a").revive(),
        lambda runtime: runtime.space("a").history.recent(1),
        lambda runtime: runtime.space("a").history.read(),
        lambda runtime: runtime.snapshot(),
        lambda runtime: runtime.spaces(actor=next(iter(runtime.kinds.values()))),
        lambda runtime: runtime.revive(),
        lambda runtime: runtime.dead_letters.list(),
        lambda runtime: runtime.dead_letters.resend("x"),
        lambda runtime: runtime.dead_letters.discard("x"),
        lambda runtime: runtime.suspensions.list(),
        lambda runtime: runtime.suspensions.answer("x", 1),
    ],
)
async def test_M5_every_call_checks_for_cancellation(call):
    async with open_runtime(clerk(), deps=[]) as runtime:
        await runtime.space("a").ask(Clerk.note, "warm")
        with trio.CancelScope() as scope:
            scope.cancel()
            await call(runtime)
        assert scope.cancelled_caught
        assert await runtime.space("a").state() == ("warm",)
