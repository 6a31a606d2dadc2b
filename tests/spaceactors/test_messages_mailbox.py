"""The mailbox (M1 to M8, M12, M16): order, places, waiting senders, and who is told what."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from spaceactors import (
    DiscardReason,
    MailboxFull,
    MessageDiscarded,
    MessageSettled,
    Outcome,
    Overflow,
    RuntimeConfig,
    SpaceDraining,
    SpaceStatus,
    SpaceStopped,
)
from tests.spaceactors.clerks import Clerk, open_office


async def fill(office, space, *, capacity=2, seconds=10.0):
    """Have a turn run and every place taken."""
    await office.begin(space, Clerk.note, "run", seconds)
    for number in range(capacity):
        await space.send(Clerk.note, f"w{number}")


async def test_M1_messages_of_one_sender_are_handled_in_the_order_of_their_sends():
    async with open_office(mailbox_capacity=200) as office:
        for number in range(150):
            await office.space().send(Clerk.note, str(number))
        await office.settled()
        assert await office.space().state() == tuple(map(str, range(150)))


async def test_M1_messages_of_many_senders_are_handled_in_the_order_of_acceptance():
    async with open_office(mailbox_capacity=3) as office:
        accepted = []

        async def sender(name):
            for number in range(20):
                await office.space().send(Clerk.note, f"{name}{number}", 0.1)
                accepted.append(f"{name}{number}")

        async with trio.open_nursery() as nursery:
            for name in "abcde":
                nursery.start_soon(sender, name)
        await office.space().drain()
        assert list(await office.space().state()) == office.diary
        for name in "abcde":
            assert [one for one in office.diary if one[0] == name] == [f"{name}{number}" for number in range(20)]


async def test_M1_nowait_and_waiting_sends_and_asks_share_one_order():
    async with open_office() as office:
        space = office.space()
        await space.send(Clerk.note, "1", 1.0)
        space.send_nowait(Clerk.note, "2")
        office.asking(space, Clerk.note, "3")
        await office.settled()
        space.send_nowait(Clerk.note, "4")
        await trio.sleep(2)
        assert await space.state() == ("1", "2", "3", "4")


@pytest.mark.parametrize("capacity", [1, 2, 7])
async def test_M2_a_mailbox_takes_exactly_its_capacity_beside_the_running_turn(capacity):
    async with open_office(mailbox_capacity=capacity) as office:
        space = office.space()
        await fill(office, space, capacity=capacity)
        with pytest.raises(MailboxFull):
            space.send_nowait(Clerk.note, "one too many")
        assert (await space.info()).depth == capacity
        assert await office.ledger() == {"pending": capacity + 1}


@pytest.mark.parametrize("verb", ["send", "ask", "send_nowait"])
@pytest.mark.parametrize("capacity", [1, 3])
async def test_M2_an_ordinary_call_through_a_handle_in_use_keeps_to_the_capacity_too(verb, capacity):
    """Such calls have a quick way in."""
    async with open_office(mailbox_capacity=capacity) as office:
        space = office.space()
        await space.ask(Clerk.jot, "warm")
        await office.begin(space, Clerk.note, "run", 10.0)
        for number in range(capacity):
            await space.send(Clerk.jot, str(number))
        with trio.move_on_after(1) as scope, pytest.raises(MailboxFull) if verb == "send_nowait" else nullcontext():
            if verb == "send_nowait":
                space.send_nowait(Clerk.jot, "one too many")
            else:
                await getattr(space, verb)(Clerk.jot, "one too many")
        assert scope.cancelled_caught == (verb != "send_nowait")
        assert await office.ledger() == {"handled": 1, "pending": capacity + 1}
        await trio.sleep(10)
        assert "one too many" not in office.diary


@pytest.mark.parametrize("overflow", [Overflow.REFUSE, Overflow.DROP_OLDEST, Overflow.DROP_NEWEST])
async def test_M7_an_ordinary_call_through_a_handle_in_use_meets_the_overflow_rule(overflow):
    async with open_office(mailbox_capacity=1, overflow=overflow) as office:
        space = office.space()
        await space.ask(Clerk.jot, "warm")
        await office.begin(space, Clerk.note, "run", 10.0)
        await space.send(Clerk.jot, "1")
        with pytest.raises(MailboxFull) if overflow is Overflow.REFUSE else nullcontext():
            await space.send(Clerk.jot, "2")
        await trio.sleep(11)
        last = "2" if overflow is Overflow.DROP_OLDEST else "1"
        assert office.diary == ["warm", "run", last]


async def test_M1_the_ids_that_sends_return_are_those_that_the_handlers_see_and_all_differ():
    async with open_office(idle_timeout=1.0) as office:
        space = office.space()
        seen = []
        for _ in range(3):  # activations
            for _ in range(5):
                seen += [await space.ask(Clerk.jot, "x")]
            await trio.sleep(5)
        for space in (office.space("a"), office.space("b")):
            sent = [await space.send(Clerk.jot, "x"), space.send_nowait(Clerk.jot, "x")]
            sent += [await space.send(Clerk.note, "x")]
            assert await space.ask(Clerk.jot, "x") not in sent
            seen += sent
        assert len(set(seen)) == len(seen) == 21


@pytest.mark.parametrize("verb", ["stop", "drain", "kill"])
async def test_M10_an_ordinary_call_through_a_handle_in_use_is_refused_while_the_space_ends(verb):
    async with open_office() as office:
        space = office.space()
        await space.ask(Clerk.jot, "warm")
        await office.begin(space, Clerk.note, "run", 5.0)
        office.nursery.start_soon(getattr(space, verb))
        if verb == "kill":
            await trio.lowlevel.checkpoint()
        else:
            await office.settled()
            for call in (space.send, space.ask):
                with pytest.raises((SpaceStopped, SpaceDraining)):
                    await call(Clerk.jot, "no")
            with pytest.raises((SpaceStopped, SpaceDraining)):
                space.send_nowait(Clerk.jot, "no")
        await trio.sleep(6)
        await space.ask(Clerk.jot, "again")
        assert office.diary == ["warm", "run", "again"]


async def test_M2_a_place_is_free_as_soon_as_the_next_turn_begins():
    async with open_office(mailbox_capacity=1) as office:
        space = office.space()
        await fill(office, space, capacity=1)
        await trio.sleep(10)
        await office.settled()
        space.send_nowait(Clerk.note, "fits")
        await office.settled()
        assert office.diary == ["run", "w0", "fits"]


async def test_M2_the_capacity_goes_on_counting_while_a_crashed_actor_backs_off():
    async with open_office(mailbox_capacity=2, backoff=lambda _: 5.0) as office:
        space = office.space()
        await office.begin(space, Clerk.crash)
        assert (await space.info()).status is SpaceStatus.BACKING_OFF
        space.send_nowait(Clerk.note, "1")
        space.send_nowait(Clerk.note, "2")
        with pytest.raises(MailboxFull):
            space.send_nowait(Clerk.note, "3")


async def test_M3_waiting_senders_get_their_places_in_the_order_in_which_they_came():
    async with open_office(mailbox_capacity=1) as office:
        space = office.space()
        await fill(office, space, capacity=1, seconds=1.0)
        for name in "abcd":
            office.asking(space, Clerk.note, name, 1.0)
            await wait_all_tasks_blocked()
        await trio.sleep(10)
        assert office.diary == ["run", "w0", *"abcd"]


async def test_M3_a_send_that_came_later_does_not_overtake_one_that_waits():
    async with open_office(mailbox_capacity=1) as office:
        space = office.space()
        await fill(office, space, capacity=1, seconds=1.0)
        office.asking(space, Clerk.note, "waits", 5.0)
        await trio.sleep(1.0)  # w0 is handled at this moment, and "waits" takes the place and begins
        await office.settled()
        await space.send(Clerk.note, "later")
        assert office.diary == ["run", "w0", "waits"]


async def test_M4_a_sender_cancelled_in_line_leaves_no_message_and_no_hole():
    async with open_office(mailbox_capacity=1) as office:
        space = office.space()
        await fill(office, space, capacity=1, seconds=1.0)
        scopes = []
        for name in "abc":
            scopes.append(office.asking(space, Clerk.note, name))
            await wait_all_tasks_blocked()
        scopes[1].cancel()
        await trio.sleep(2)
        assert office.diary == ["run", "w0", "a", "c"]
        assert await office.ledger() == {"handled": 4}


async def test_M4_a_cancelled_sender_is_not_handed_the_place_that_is_freed_in_the_same_moment():
    async with open_office(mailbox_capacity=1) as office:
        space = office.space()
        await fill(office, space, capacity=1, seconds=1.0)
        outcomes = []

        async def send():
            with trio.move_on_after(1.0):  # the very moment at which the place is freed
                await space.send(Clerk.note, "late")
                outcomes.append("accepted")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
        await office.settled()
        assert ("late" in office.diary) == (outcomes == ["accepted"])
        space.send_nowait(Clerk.note, "after")  # the place is free, whichever it was


async def test_M5_a_send_under_a_deadline_gives_up_in_time_and_counts_nothing():
    async with open_office(mailbox_capacity=1) as office:
        space = office.space()
        await fill(office, space, capacity=1)
        with pytest.raises(trio.TooSlowError), trio.fail_after(3):
            await space.send(Clerk.note, "late")
        assert trio.current_time() == 3.0
        assert await office.ledger() == {"pending": 2}


async def test_M5_a_cancelled_scope_cancels_a_send_even_where_there_is_a_place():
    async with open_office() as office:
        with trio.CancelScope() as scope:
            scope.cancel()
            await office.space().send(Clerk.note, "never")
        assert scope.cancelled_caught
        assert await office.ledger() == {}


async def test_M6_send_nowait_gives_the_message_back_in_the_error():
    async with open_office(mailbox_capacity=1) as office:
        space = office.space()
        await fill(office, space, capacity=1)
        with pytest.raises(MailboxFull) as caught:
            space.send_nowait(Clerk.note, "back", seconds=1.5)
        error = caught.value
        assert (error.space, error.message.call) == (space, "note")
        assert (error.message.args, dict(error.message.kwargs)) == (("back",), {"seconds": 1.5})


async def test_M6_a_message_that_came_back_can_be_sent_again_under_its_id():
    async with open_office(mailbox_capacity=1) as office:
        space = office.space()
        await fill(office, space, capacity=1)
        with pytest.raises(MailboxFull) as caught:
            space.send_nowait(Clerk.note, "back")
        assert await space.resend(caught.value.message) == caught.value.message.id
        await office.settled()
        assert office.diary == ["run", "w0", "back"]


async def test_M6_send_nowait_raises_where_there_is_no_place_for_one_more_live_space():
    async with open_office(config=RuntimeConfig(max_live_spaces=1)) as office:
        await office.begin(office.space("a"), Clerk.note, "run", 10.0)
        with pytest.raises(MailboxFull) as caught:
            office.space("b").send_nowait(Clerk.note, "no place")
        assert caught.value.space == office.space("b")
        assert caught.value.message.args == ("no place",)
        assert await office.ledger() == {"pending": 1}


# ---- M7: overflow rules


async def test_M7_refuse_raises_mailbox_full_in_a_waiting_send_too():
    async with open_office(mailbox_capacity=1, overflow=Overflow.REFUSE) as office:
        space = office.space()
        await fill(office, space, capacity=1)
        with pytest.raises(MailboxFull):
            await space.send(Clerk.note, "x")
        with pytest.raises(MailboxFull):
            await space.ask(Clerk.note, "x")
        assert await office.ledger() == {"pending": 2}


@pytest.mark.parametrize("nowait", [False, True])
async def test_M7_drop_newest_accepts_and_discards_and_the_send_returns(nowait):
    async with open_office(mailbox_capacity=1, overflow=Overflow.DROP_NEWEST) as office:
        space = office.space()
        await fill(office, space, capacity=1)
        if nowait:
            space.send_nowait(Clerk.note, "x")
        else:
            await space.send(Clerk.note, "x")
        assert await office.ledger() == {"discarded": 1, "pending": 2}
        assert (await space.info()).depth == 1


async def test_M7_drop_newest_raises_in_an_ask():
    async with open_office(mailbox_capacity=1, overflow=Overflow.DROP_NEWEST) as office:
        space = office.space()
        await fill(office, space, capacity=1)
        with pytest.raises(MessageDiscarded) as caught:
            await space.ask(Clerk.note, "x")
        assert caught.value.why is DiscardReason.OVERFLOW
        assert (caught.value.space, caught.value.message.args) == (space, ("x",))


async def test_M7_drop_oldest_discards_the_oldest_and_tells_its_asker():
    async with open_office(mailbox_capacity=2, overflow=Overflow.DROP_OLDEST) as office:
        space = office.space()
        await office.begin(space, Clerk.note, "run", 10.0)
        office.asking(space, Clerk.note, "oldest")
        await office.settled()
        await space.send(Clerk.note, "middle")
        await space.send(Clerk.note, "newest")
        await office.settled()
        error = office.answers["oldest"]
        assert isinstance(error, MessageDiscarded)
        assert error.why is DiscardReason.OVERFLOW
        assert await office.ledger() == {"discarded": 1, "pending": 3}
        await trio.sleep(11)
        assert office.diary == ["run", "middle", "newest"]


@pytest.mark.parametrize("overflow", [Overflow.DROP_OLDEST, Overflow.DROP_NEWEST])
async def test_M7_each_drop_is_one_event_with_id_and_reason(overflow):
    async with open_office(mailbox_capacity=1, overflow=overflow) as office:
        space = office.space()
        await office.begin(space, Clerk.note, "run", 10.0)
        async with office.runtime.events() as events:
            first = await space.send(Clerk.note, "first")
            second = await space.send(Clerk.note, "second")
            told = await anext(events)
        assert isinstance(told, MessageSettled)
        dropped = first if overflow is Overflow.DROP_OLDEST else second
        assert (told.message_id, told.call, told.space) == (dropped, "note", "a")
        assert (told.outcome, told.why) == (Outcome.DISCARDED, DiscardReason.OVERFLOW)


# ---- M8: control overtakes


@pytest.mark.parametrize("verb", ["stop", "kill"])
async def test_M8_stop_and_kill_overtake_a_full_mailbox(verb):
    async with open_office(mailbox_capacity=2) as office:
        space = office.space()
        await fill(office, space)
        await getattr(space, verb)()
        assert trio.current_time() == (10.0 if verb == "stop" else 0.0)
        assert office.diary == ["run"]
        assert await office.ledger() == ({"handled": 1, "returned": 2} if verb == "stop" else {"returned": 3})


async def test_M8_pause_and_resume_overtake_a_full_mailbox():
    async with open_office(mailbox_capacity=2) as office:
        space = office.space()
        await fill(office, space, seconds=1.0)
        await space.pause()
        await trio.sleep(5)
        assert office.diary == ["run"]
        await space.resume()
        await office.settled()
        assert office.diary == ["run", "w0", "w1"]


async def test_M8_senders_in_line_for_a_full_mailbox_are_told_of_the_stop():
    async with open_office(mailbox_capacity=1) as office:
        space = office.space()
        await fill(office, space, capacity=1)
        office.asking(space, Clerk.note, "in line")
        await office.settled()
        office.nursery.start_soon(space.stop)
        await office.settled()
        assert isinstance(office.answers["in line"], SpaceStopped)
        assert office.answers["in line"].message.args == ("in line",)


async def test_M8_info_and_state_do_not_wait_for_a_full_mailbox():
    async with open_office(mailbox_capacity=1) as office:
        space = office.space()
        await fill(office, space, capacity=1)
        assert (await space.info()).status is SpaceStatus.BUSY
        assert await space.state() == ()
        assert trio.current_time() == 0.0


# ---- M12: no lost wake-ups


async def test_M12_a_message_accepted_when_the_idle_time_ends_is_handled():
    async with open_office(idle_timeout=5.0) as office:
        space = office.space()
        for _ in range(20):
            assert await space.ask(Clerk.note, "x") == "X"
            await trio.sleep(5.0)
        assert await office.ledger() == {"handled": 20}


@pytest.mark.parametrize("passes", range(8))
async def test_M12_a_message_accepted_while_the_space_leaves_memory_is_handled_by_the_next_activation(passes):
    async with open_office(idle_timeout=5.0) as office:
        space = office.space()
        await space.ask(Clerk.note, "first")
        with trio.fail_after(100):
            await trio.sleep(5.0)
            for _ in range(passes):
                await trio.lowlevel.checkpoint()
            assert await space.ask(Clerk.note, "second") == "SECOND"
        assert await space.state() == ("first", "second")


async def test_M12_two_spaces_that_push_each_other_out_handle_everything():
    async with open_office(config=RuntimeConfig(max_live_spaces=1)) as office:
        for number in range(30):
            assert await office.space("ab"[number % 2]).ask(Clerk.note, str(number)) == str(number)
        assert await office.ledger() == {"handled": 30}


# ---- M16: a receive that is cut off


async def test_M16_a_cancelled_turn_takes_nothing_but_its_own_message_with_it():
    async with open_office(mailbox_capacity=10) as office:
        space = office.space()
        await fill(office, space, capacity=3, seconds=1.0)
        report = await space.kill()
        assert report.left == {"a": 4}
        assert await office.ledger() == {"returned": 4}


async def test_M16_the_message_whose_try_is_cut_off_by_a_timeout_keeps_its_place_for_the_next_try():
    async with open_office(turn_timeout=1.0, max_attempts=2) as office:
        space = office.space()
        await office.begin(space, Clerk.note, "slow", 5.0)
        await space.send(Clerk.note, "next")
        await trio.sleep(3)
        assert office.diary == ["slow", "slow", "next"]
