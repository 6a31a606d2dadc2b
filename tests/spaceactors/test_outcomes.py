"""Which event gives which outcome (law 2): one test for each cell of the table that can be in memory.

A message is in one of four places: in line for a place, waiting in the mailbox, in its turn, or suspended.
"""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from spaceactors import (
    Actor,
    ActorCrashed,
    BadCall,
    DiscardReason,
    MailboxFull,
    MemoryStore,
    MessageDiscarded,
    MessageExpired,
    MessageReturned,
    MessageSettled,
    Outcome,
    Overflow,
    Rejected,
    RestartLimit,
    RuntimeClosed,
    RuntimeConfig,
    SpaceBusy,
    SpaceDraining,
    SpaceOptions,
    SpaceQuarantined,
    SpaceStatus,
    SpaceStopped,
    SuspensionClosed,
    TurnTimeout,
    WhenAbandoned,
    WhenBusy,
    WorkFailed,
    handler,
    open_runtime,
)
from tests.spaceactors.clerks import Boom, Clerk, open_office


async def in_line(office, *, seconds=10.0, **options):
    """Have an ask wait for a place behind a running and a waiting message."""
    space = office.space()
    await office.begin(space, Clerk.note, "run", seconds)
    await space.send(Clerk.note, "w0")
    scope = office.asking(space.with_options(**options) if options else space, Clerk.note, "x")
    await office.settled()
    return scope


async def waiting(office, *, seconds=10.0, **options):
    """Have an ask wait in the mailbox behind a running message."""
    space = office.space()
    await office.begin(space, Clerk.note, "run", seconds)
    scope = office.asking(space.with_options(**options) if options else space, Clerk.note, "x")
    await office.settled()
    return scope


async def running(office, seconds=10.0):
    scope = office.asking(office.space(), Clerk.note, "x", seconds)
    await office.settled()
    return scope


async def suspended(office):
    """Have an ask suspended, and another one wait behind it."""
    scope = office.asking(office.space(), Clerk.question, "x")
    await office.settled()
    assert (await office.space().info()).status is SpaceStatus.SUSPENDED
    return scope


async def the_question(office):
    (one,) = await office.runtime.suspensions.list()
    return one


# ---- the sender or asker is cancelled


async def test_M4_an_asker_cancelled_in_line_is_gone_and_not_counted():
    async with open_office(mailbox_capacity=1) as office:
        (await in_line(office)).cancel()
        await office.settled()
        assert await office.ledger() == {"pending": 2}


async def test_M15_a_waiting_message_whose_asker_is_cancelled_stays_and_is_handled():
    async with open_office() as office:
        (await waiting(office)).cancel()
        await trio.sleep(11)
        assert office.answers == {}
        assert await office.ledger() == {"handled": 2}


async def test_M15_a_running_turn_whose_asker_is_cancelled_finishes():
    async with open_office() as office:
        (await running(office)).cancel()
        await trio.sleep(11)
        assert office.answers == {}
        assert await office.ledger() == {"handled": 1}
        assert await office.space().state() == ("x",)


async def test_M15_a_running_turn_whose_asker_is_cancelled_is_discarded_under_when_abandoned_cancel():
    async with open_office(when_abandoned=WhenAbandoned.CANCEL) as office:
        (await running(office)).cancel()
        await office.settled()
        assert await office.ledger() == {"discarded": 1}
        assert await office.space().state() == ()


async def test_M15_a_waiting_message_whose_asker_is_cancelled_stays_under_when_abandoned_cancel_too():
    async with open_office(when_abandoned=WhenAbandoned.CANCEL) as office:
        (await waiting(office)).cancel()
        await trio.sleep(11)
        assert await office.ledger() == {"handled": 2}


async def test_M15_a_suspended_turn_whose_asker_is_cancelled_stays_and_resumes():
    async with open_office(when_abandoned=WhenAbandoned.CANCEL) as office:
        (await suspended(office)).cancel()
        await office.settled()
        assert await office.ledger() == {"pending": 1}
        await office.runtime.suspensions.answer((await the_question(office)).id, "yes")
        await office.settled()
        assert await office.ledger() == {"handled": 1}


# ---- expiry


async def test_M17_a_message_that_expires_in_line_raises_and_is_not_counted():
    async with open_office(mailbox_capacity=1) as office:
        await in_line(office, expires_after=3.0)
        await trio.sleep(3)
        await office.settled()
        assert isinstance(office.answers["x"], MessageExpired)
        assert await office.ledger() == {"pending": 2}


async def test_M17_a_send_that_expires_in_line_raises_at_that_moment():
    async with open_office(mailbox_capacity=1) as office:
        space = office.space()
        await office.begin(space, Clerk.note, "run", 10.0)
        await space.send(Clerk.note, "w0")
        with pytest.raises(MessageExpired) as caught:
            await space.with_options(expires_after=3.0).send(Clerk.note, "x")
        assert trio.current_time() == 3.0
        assert (caught.value.space, caught.value.message.args) == (space, ("x",))


async def test_M17_a_message_that_expires_in_line_for_a_live_space_raises_and_is_not_counted():
    async with open_office(config=RuntimeConfig(max_live_spaces=1)) as office:
        await office.begin(office.space("a"), Clerk.note, "run", 10.0)
        with pytest.raises(MessageExpired):
            await office.space("b").with_options(expires_after=3.0).send(Clerk.note, "x")
        assert trio.current_time() == 3.0
        await trio.sleep(10)
        assert await office.ledger() == {"handled": 1}


async def test_M17_the_seconds_count_from_the_call_not_from_the_acceptance():
    async with open_office(mailbox_capacity=1) as office:
        await in_line(office, expires_after=3.0, seconds=2.0)
        await office.space().pause()
        await trio.sleep(3)
        await office.settled()
        assert isinstance(office.answers["x"], MessageExpired)


async def test_M17_the_seconds_count_from_the_call_for_a_space_that_had_to_wait_for_its_place():
    async with open_office(config=RuntimeConfig(max_live_spaces=1)) as office:
        await office.begin(office.space("a"), Clerk.note, "run", 2.0)
        office.asking(office.space("b"), Clerk.note, "first", 2.0)
        await office.settled()
        office.asking(office.space("b").with_options(expires_after=3.0), Clerk.note, "x")
        await trio.sleep(3)
        await office.settled()
        assert isinstance(office.answers["x"], MessageExpired)


async def test_M17_a_waiting_message_expires_at_its_moment_frees_its_place_and_tells_its_asker():
    async with open_office(mailbox_capacity=1) as office:
        await waiting(office, expires_after=3.0)
        await trio.sleep(2.5)
        assert office.answers == {}
        with pytest.raises(MailboxFull):
            office.space().send_nowait(Clerk.note, "y")
        await trio.sleep(0.5)
        await office.settled()
        assert isinstance(office.answers["x"], MessageExpired)
        office.space().send_nowait(Clerk.note, "y")
        assert await office.ledger() == {"expired": 1, "pending": 2}


async def test_M17_who_is_in_line_gets_the_place_of_a_message_that_expires():
    async with open_office(mailbox_capacity=1) as office:
        await waiting(office, expires_after=3.0)
        await office.space().send(Clerk.note, "y")
        assert trio.current_time() == 3.0
        assert await office.ledger() == {"expired": 1, "pending": 2}


async def test_M17_a_running_turn_does_not_expire():
    async with open_office() as office:
        assert await office.space().with_options(expires_after=1.0).ask(Clerk.note, "x", 5.0) == "X"


async def test_M17_a_message_tried_again_does_not_expire():
    async with open_office(max_attempts=2, backoff=lambda _: 5.0) as office:
        with pytest.raises(ActorCrashed):
            await office.space().with_options(expires_after=1.0).ask(Clerk.crash, "x")
        assert office.diary == ["x", "x"]


async def test_M17_a_suspended_turn_does_not_expire():
    async with open_office() as office:
        office.asking(office.space().with_options(expires_after=1.0), Clerk.question, "x")
        await trio.sleep(5)
        await office.runtime.suspensions.answer((await the_question(office)).id, "yes")
        await office.settled()
        assert office.answers == {"x": "yes"}


async def test_M17_a_message_that_was_over_while_a_handler_blocked_the_loop_expires():
    """Nobody could look at the clock in between, but its turn must not begin."""
    clock = trio.lowlevel.current_clock()
    assert isinstance(clock, MockClock)
    diary = []

    class Blocking(Actor):
        @handler
        async def block(self) -> None:
            clock.jump(10.0)

        @handler
        async def late(self) -> None:
            diary.append("late")

    async with open_runtime(Blocking) as runtime:
        space = runtime.space("a")
        space.send_nowait(Blocking.block)
        with pytest.raises(MessageExpired):
            await space.with_options(expires_after=5.0).ask(Blocking.late)
        assert diary == []
        assert (await runtime.snapshot()).ledger.outcomes[Outcome.EXPIRED] == 1


@pytest.mark.parametrize("wrong", [-1.0, float("nan")])
async def test_M17_expires_after_must_be_a_number_of_seconds(wrong):
    async with open_office() as office:
        with pytest.raises(ValueError, match="expires_after"):
            office.space().with_options(expires_after=wrong)


# ---- refused at the door


async def test_M10_what_is_refused_is_not_counted():
    async with open_office(mailbox_capacity=1, overflow=Overflow.REFUSE, when_busy=WhenBusy.REFUSE) as office:
        space = office.space()
        await office.begin(space, Clerk.note, "run", 10.0)
        with pytest.raises(SpaceBusy):
            await space.send(Clerk.note, "busy")
        with pytest.raises(BadCall):
            await space.send(Clerk.note)
        assert await office.ledger() == {"pending": 1}


async def test_M10_a_duplicate_id_is_not_counted():
    async with open_office() as office:
        for _ in range(3):
            await office.space().with_options(message_id="m").send(Clerk.note, "x")
        await office.settled()
        assert await office.ledger() == {"handled": 1}


# ---- DROP_OLDEST, LATEST, INTERRUPT


async def test_M7_drop_oldest_touches_neither_the_running_nor_the_suspended_turn():
    async with open_office(mailbox_capacity=1, overflow=Overflow.DROP_OLDEST) as office:
        await suspended(office)
        for what in ("1", "2"):
            await office.space().send(Clerk.note, what)
        assert await office.ledger() == {"discarded": 1, "pending": 2}
        await office.runtime.suspensions.answer((await the_question(office)).id, "yes")
        await office.settled()
        assert office.diary == ["x", "x", "2"]


async def test_M18_latest_discards_what_waits_and_nothing_else():
    async with open_office(when_busy=WhenBusy.LATEST) as office:
        await suspended(office)
        office.asking(office.space(), Clerk.note, "1")
        await office.settled()
        office.asking(office.space(), Clerk.note, "2")
        await office.settled()
        assert office.answers["1"].why is DiscardReason.SUPERSEDED
        assert await office.ledger() == {"discarded": 1, "pending": 2}
        await office.runtime.suspensions.answer((await the_question(office)).id, "yes")
        await office.settled()
        assert office.answers["x"] == "yes"
        assert office.answers["2"] == "2"


async def test_M18_latest_leaves_the_running_turn_alone():
    async with open_office(when_busy=WhenBusy.LATEST) as office:
        await running(office, 5.0)
        for what in "123":
            await office.space().send(Clerk.note, what)
        await trio.sleep(6)
        assert office.diary == ["x", "3"]
        assert await office.ledger() == {"handled": 2, "discarded": 2}


async def test_M18_interrupt_discards_the_running_turn_and_waiting_messages_keep_their_places():
    async with open_office(when_busy=WhenBusy.INTERRUPT) as office:
        space = office.space()
        await running(office)
        await space.send(Clerk.note, "1", 1.0)
        await office.settled()
        assert isinstance(office.answers["x"], MessageDiscarded)
        assert office.answers["x"].why is DiscardReason.INTERRUPTED
        assert office.diary == ["x", "1"]


async def test_M18_interrupt_discards_the_suspended_turn_and_closes_its_question():
    async with open_office(when_busy=WhenBusy.INTERRUPT) as office:
        await suspended(office)
        question = await the_question(office)
        assert await office.space().ask(Clerk.note, "1") == "1"
        assert office.answers["x"].why is DiscardReason.INTERRUPTED
        with pytest.raises(SuspensionClosed):
            await office.runtime.suspensions.answer(question.id, "yes")
        assert await office.ledger() == {"handled": 1, "discarded": 1}


async def test_M18_interrupt_leaves_a_turn_alone_that_commits():
    async with open_office(when_busy=WhenBusy.INTERRUPT) as office:
        office.asking(office.space(), Clerk.half_kept, "x")
        await office.settled()
        assert await office.space().ask(Clerk.note, "1") == "1"
        await office.settled()
        assert office.answers == {"x": "x/2"}
        assert await office.ledger() == {"handled": 2}


# ---- the handler's own end


async def test_M1_a_turn_that_returns_is_handled():
    async with open_office() as office:
        assert await office.space().ask(Clerk.note, "x") == "X"
        assert await office.ledger() == {"handled": 1}


@pytest.mark.parametrize(("method", "reason"), [(Clerk.refuse, "no"), (Clerk.throw, None)])
async def test_A3_a_turn_that_rejects_is_rejected_and_rolled_back(method, reason):
    async with open_office() as office:
        with pytest.raises(Rejected) as caught:
            await office.space().ask(method)
        assert reason in (None, caught.value.reason)
        assert (caught.value.space, caught.value.message.call) == (office.space(), method.__name__)
        assert await office.ledger() == {"rejected": 1}
        assert await office.space().state() == ()
        assert (await office.space().info()).restarts == 0


async def test_A3_what_throws_lists_is_the_reason_itself():
    async with open_office() as office:
        with pytest.raises(Rejected) as caught:
            await office.space().ask(Clerk.throw, "oops")
        assert isinstance(caught.value.reason, Exception)
        assert caught.value.__cause__ is caught.value.reason


@pytest.mark.parametrize("attempts", [1, 2, 4])
async def test_R17_a_crash_puts_the_message_back_until_no_try_is_left(attempts):
    async with open_office(max_attempts=attempts) as office:
        with pytest.raises(ActorCrashed) as caught:
            await office.space().ask(Clerk.crash, "x")
        assert office.diary == ["x"] * attempts
        assert isinstance(caught.value.__cause__, Boom)
        assert caught.value.message.attempt == attempts
        assert await office.ledger() == {"failed": 1}
        (letter,) = await office.runtime.dead_letters.list()
        assert (letter.space, letter.attempts) == (office.space(), attempts)
        assert isinstance(letter.error, Boom)


async def test_B11_a_message_tried_again_keeps_its_place():
    async with open_office(max_attempts=2) as office:
        await office.begin(office.space(), Clerk.crash, "x", 1.0)
        await office.space().send(Clerk.note, "next")
        await trio.sleep(3)
        assert office.diary == ["x", "x", "next"]


async def test_A1_a_turn_timeout_is_a_crash_with_the_timeout_as_cause():
    async with open_office(turn_timeout=2.0) as office:
        with pytest.raises(ActorCrashed) as caught:
            await office.space().ask(Clerk.note, "x", 5.0)
        assert trio.current_time() == 2.0
        assert isinstance(caught.value.__cause__, TurnTimeout)
        assert await office.ledger() == {"failed": 1}
        assert (await office.space().info()).restarts == 1


async def test_A1_a_resumed_turn_that_crashes_fails_like_any_other():
    class Asks(Actor):
        options = SpaceOptions(backoff=None)

        @handler
        async def question(self) -> None:
            await self.suspend("q", None, answer=str)
            raise Boom

    async with open_runtime(Asks) as runtime, trio.open_nursery() as nursery:
        answers = []

        async def ask():
            with pytest.raises(ActorCrashed) as caught:
                await runtime.space("a").ask(Asks.question)
            answers.append(caught.value)

        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        (one,) = await runtime.suspensions.list()
        await runtime.suspensions.answer(one.id, "yes")
        await trio.testing.wait_all_tasks_blocked()
        assert len(answers) == 1
        assert (await runtime.snapshot()).ledger.outcomes[Outcome.FAILED] == 1


# ---- a lost version


@pytest.mark.parametrize("options", [{}, {"message_id": "m"}])
async def test_D2_a_turn_that_lost_the_version_runs_again_and_no_attempt_is_counted(options):
    store = MemoryStore()
    tries = []

    class Slow(Actor[tuple[str, ...]]):
        @handler
        async def work(self, what: str) -> None:
            tries.append(self.message.attempt)
            await trio.sleep(5)
            self.state = (*self.state, what)

    async with open_runtime(Slow, store=store) as runtime, trio.open_nursery() as nursery:
        space = runtime.space("a")
        nursery.start_soon(space.with_options(**options).ask, Slow.work, "x")
        await trio.sleep(1)
        await store.update(space, lambda state: (*state, "outside"))
        await trio.sleep(10)
        assert await space.state() == ("outside", "x")
        assert tries == [1, 1]
        assert (await runtime.snapshot()).ledger.outcomes[Outcome.HANDLED] == 1


# ---- quarantine


async def test_R17_quarantine_tells_the_line_and_the_waiting_askers_and_keeps_what_waits():
    async with open_office(mailbox_capacity=1, restart_limit=RestartLimit(0, 1.0)) as office:
        space = office.space()
        office.asking(space, Clerk.crash, "crash", 1.0)
        await office.settled()
        office.asking(space, Clerk.note, "waits")
        await office.settled()
        office.asking(space, Clerk.note, "in line")
        await trio.sleep(2)
        assert isinstance(office.answers["crash"], ActorCrashed)
        assert isinstance(office.answers["waits"], SpaceQuarantined) or office.answers["waits"] is None
        assert isinstance(office.answers["in line"], SpaceQuarantined)
        assert office.answers["in line"].message.args == ("in line",)


async def test_R17_a_message_that_waits_in_quarantine_is_pending_and_its_asker_knows():
    async with open_office(restart_limit=RestartLimit(0, 1.0)) as office:
        space = office.space()
        await office.begin(space, Clerk.crash, "crash", 1.0)
        office.asking(space, Clerk.note, "waits")
        await trio.sleep(2)
        error = office.answers["waits"]
        assert isinstance(error, SpaceQuarantined)
        assert (error.space, error.message.args) == (space, ("waits",))
        assert await office.ledger() == {"failed": 1, "pending": 1}
        await space.revive()
        await office.settled()
        assert await office.ledger() == {"failed": 1, "handled": 1}


# ---- drain


async def test_S1_a_drain_refuses_who_is_in_line_runs_what_waits_and_finishes_the_turn():
    async with open_office(mailbox_capacity=1) as office:
        await in_line(office)
        report = await office.space().drain()
        assert isinstance(office.answers["x"], SpaceDraining)
        assert office.diary == ["run", "w0"]
        assert await office.ledger() == {"handled": 2}
        assert report.clean


async def test_S1_a_drain_returns_the_suspended_turn():
    async with open_office() as office:
        await suspended(office)
        report = await office.space().drain()
        await office.settled()
        assert isinstance(office.answers["x"], MessageReturned)
        assert (report.clean, report.left) == (False, {"a": 1})
        assert await office.ledger() == {"returned": 1}
        assert await office.runtime.suspensions.list() == []


async def test_S14_a_drain_of_the_runtime_refuses_who_is_in_line_with_runtime_closed():
    async with open_office(mailbox_capacity=1) as office:
        await in_line(office)
        report = await office.runtime.drain()
        assert isinstance(office.answers["x"], RuntimeClosed)
        assert report.clean
        assert office.diary == ["run", "w0"]


async def test_S19_the_deadline_of_the_runtime_cancels_the_turn_and_returns_all():
    async with open_office() as office:
        await waiting(office)
        report = await office.runtime.drain(3.0)
        await office.settled()
        assert trio.current_time() == 3.0
        assert isinstance(office.answers["x"], MessageReturned)
        assert (report.cancelled, report.left) == (("a",), {"a": 2})
        assert await office.ledger() == {"returned": 2}


async def test_S19_the_deadline_of_a_space_s_drain_does_the_same():
    async with open_office() as office:
        await waiting(office)
        report = await office.space().drain(3.0)
        await office.settled()
        assert isinstance(office.answers["x"], MessageReturned)
        assert (report.cancelled, report.left) == (("a",), {"a": 2})
        assert await office.ledger() == {"returned": 2}


async def test_S19_a_drain_of_the_runtime_returns_the_suspended_turn_without_waiting():
    async with open_office() as office:
        await suspended(office)
        report = await office.runtime.drain()
        await office.settled()
        assert trio.current_time() == 0.0
        assert isinstance(office.answers["x"], MessageReturned)
        assert report.left == {"a": 1}


# ---- stop and kill


async def test_S2_stop_refuses_the_line_returns_what_waits_and_finishes_the_turn():
    async with open_office(mailbox_capacity=1) as office:
        await in_line(office)
        report = await office.space().stop()
        assert isinstance(office.answers["x"], SpaceStopped)
        assert report.left == {"a": 1}
        assert await office.ledger() == {"handled": 1, "returned": 1}
        assert (await office.space().info()).status is SpaceStatus.STOPPED


async def test_S3_kill_cancels_the_turn_and_returns_it():
    async with open_office() as office:
        await running(office)
        report = await office.space().kill()
        await office.settled()
        error = office.answers["x"]
        assert isinstance(error, MessageReturned)
        assert (error.space, error.message.args) == (office.space(), ("x", 10.0))
        assert report.left == {"a": 1}
        assert await office.space().state() == ()


@pytest.mark.parametrize("verb", ["stop", "kill"])
async def test_S2_stop_and_kill_return_the_suspended_turn(verb):
    async with open_office() as office:
        await suspended(office)
        await getattr(office.space(), verb)()
        await office.settled()
        assert isinstance(office.answers["x"], MessageReturned)
        assert await office.ledger() == {"returned": 1}


async def test_S24_delete_discards_what_waits_and_says_why():
    async with open_office() as office:
        await waiting(office, seconds=1.0)
        await office.space().delete()
        await office.settled()
        assert office.answers["x"].why is DiscardReason.DELETED
        assert await office.ledger() == {"handled": 1, "discarded": 1}
        assert await office.space().state() == ()


@pytest.mark.parametrize("verb", ["kill", "interrupt", "abandon"])
async def test_S18_a_turn_that_raises_on_its_way_out_of_a_cancellation_ends_as_the_cancellation_says(verb):
    """What its clean-up raises is told in an event; it is no crash."""

    class Clumsy(Actor):
        options = SpaceOptions(
            when_busy=WhenBusy.INTERRUPT if verb == "interrupt" else WhenBusy.ENQUEUE,
            when_abandoned=WhenAbandoned.CANCEL,
            backoff=None,
        )

        @handler
        async def stumble(self) -> None:
            try:
                await trio.sleep_forever()
            finally:
                raise Boom

        @handler
        async def fine(self) -> str:
            return "fine"

    async with open_runtime(Clumsy) as runtime, trio.open_nursery() as nursery:
        space = runtime.space("a")
        answers = []

        async def ask():
            try:
                await space.ask(Clumsy.stumble)
            except (MessageReturned, MessageDiscarded, ActorCrashed) as error:
                answers.append(type(error))

        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        async with runtime.events() as events:
            if verb == "kill":
                await space.kill()
            elif verb == "interrupt":
                assert await space.ask(Clumsy.fine) == "fine"
            else:
                nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                await trio.testing.wait_all_tasks_blocked()
                told = [await anext(events) for _ in range(2)]
                outcomes = (await runtime.snapshot()).ledger.outcomes
                restarts = (await space.info()).restarts
        expected = Outcome.RETURNED if verb == "kill" else Outcome.DISCARDED
        assert outcomes[expected] == 1
        assert outcomes[Outcome.FAILED] == 0
        assert restarts == 0
        assert {type(one) for one in told} == {MessageSettled, WorkFailed}


# ---- sent again


async def test_O1_a_dead_letter_sent_again_is_a_new_message_and_the_old_one_stays_failed():
    async with open_office() as office:
        message_id = await office.begin(office.space(), Clerk.crash, "x")
        assert await office.runtime.dead_letters.resend(message_id) == 1
        await office.settled()
        assert office.diary == ["x", "x"]
        assert await office.ledger() == {"failed": 2}
        (letter,) = await office.runtime.dead_letters.list()
        assert letter.message.id == message_id


async def test_O1_dead_letters_of_one_kind_and_a_few_at_a_time_the_oldest_first():
    async with open_office() as office:
        ids = [await office.begin(office.space(), Clerk.crash, str(number)) for number in range(4)]
        letters = await office.runtime.dead_letters.list(limit=3)
        assert [letter.message.id for letter in letters] == ids[:3]
        assert await office.runtime.dead_letters.discard(ids[0], "unknown", ids[1]) == 2
        assert [letter.message.id for letter in await office.runtime.dead_letters.list()] == ids[2:]
        assert await office.runtime.dead_letters.resend("unknown") == 0


async def test_O1_a_dead_letter_that_its_space_refuses_stays_one():
    async with open_office(restart_limit=RestartLimit(0, 1.0)) as office:
        message_id = await office.begin(office.space(), Clerk.crash, "x")
        assert await office.runtime.dead_letters.resend(message_id) == 0
        assert [letter.message.id for letter in await office.runtime.dead_letters.list()] == [message_id]


@pytest.mark.parametrize(
    ("outcome", "act"),
    [
        (Outcome.REJECTED, lambda space: space.send(Clerk.refuse)),
        (Outcome.FAILED, lambda space: space.send(Clerk.crash)),
        (Outcome.HANDLED, lambda space: space.send(Clerk.note, "x")),
    ],
)
async def test_O1_each_end_but_handled_is_one_event(outcome, act):
    async with open_office() as office, office.runtime.events() as events:
        message_id = await act(office.space())
        await office.settled()
        settled = []
        with trio.move_on_after(1):
            async for event in events:
                settled += [event] if isinstance(event, MessageSettled) else []
        told = [(event.message_id, event.outcome, event.attempts) for event in settled]
        assert told == ([] if outcome is Outcome.HANDLED else [(message_id, outcome, 1)])


# ---- timers


async def test_T3_a_tick_waits_for_its_place_on_a_full_mailbox_and_other_timers_go_on():
    ticks = []

    class Ticking(Actor):
        options = SpaceOptions(mailbox_capacity=1)

        @handler
        async def begin(self) -> None:
            self.schedule("t", Ticking.tick, after=1.0)

        @handler
        async def tick(self) -> None:
            ticks.append((self.id, trio.current_time()))

        @handler
        async def work(self, seconds: float) -> None:
            await trio.sleep(seconds)

    async with open_runtime(Ticking) as runtime:
        for name in "ab":
            await runtime.space(name).ask(Ticking.begin)
        await runtime.space("a").send(Ticking.work, 5.0)
        await trio.testing.wait_all_tasks_blocked()
        await runtime.space("a").send(Ticking.work, 2.0)
        await trio.sleep(3)
        assert ticks == [("b", 1.0)]
        ledger = (await runtime.snapshot()).ledger
        assert (ledger.accepted, ledger.pending) == (5, 2)
        await trio.sleep(10)
        assert ticks == [("b", 1.0), ("a", 7.0)]
