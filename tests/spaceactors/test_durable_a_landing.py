"""How messages come onto a disk: what a caller may rely on when its call returns, and what stays if the disk fails."""

from __future__ import annotations

import pytest

from spaceactors import (
    BadCall,
    MailboxFull,
    MessageDiscarded,
    MessageSettled,
    Outcome,
    Overflow,
    RuntimeClosed,
    StoreError,
    WhenBusy,
)
from tests.spaceactors.clerks import Clerk, clerk
from tests.spaceactors.services import SlowDisk, ledger_of, open_caller, rows_of, service, watching


@pytest.fixture
def disk(tmp_path):
    return SlowDisk(tmp_path / "spaces.db")


@pytest.fixture
def diary():
    return []


async def known(runtime, name="a"):
    """Have a space live, and on the disk."""
    space = runtime.space(name)
    await space.ask(Clerk.note, "first")
    return space


# ---- when calls return


async def test_D1_a_send_returns_when_its_message_is_on_the_disk(disk, diary):
    async with service(disk, clerk(), deps=diary) as runtime, open_caller() as call:
        space = await known(runtime)
        await space.pause()
        disk.seconds = 1.0
        call("x", space.send, Clerk.note, "x")
        await runtime.advance(0.9)
        assert (call.answers, rows_of(runtime)) == ({}, [])
        await runtime.advance(0.2)
        assert [row.message_id for row in rows_of(runtime)] == [None]
        assert isinstance(call.answers["x"], str)


async def test_D1_a_send_that_has_returned_survives_a_kill_at_once(disk, diary):
    async with service(disk, clerk(), deps=diary) as runtime:
        await runtime.space("a").send(Clerk.note, "x", 100.0)
        await runtime.reopen()
        await runtime.advance(200)
        assert await runtime.space("a").state() == ("x",)


async def test_D1_an_ask_that_was_not_answered_leaves_nothing_after_a_kill(disk, diary):
    async with service(disk, clerk(), deps=diary) as runtime, open_caller() as call:
        space = await known(runtime)
        call("x", space.ask, Clerk.note, "x", 10.0)
        await runtime.advance(1)
        assert rows_of(runtime) == []
        await runtime.reopen()
        assert isinstance(call.answers["x"], RuntimeClosed)
        await runtime.advance(100)
        assert await runtime.space("a").state() == ("first",)


async def test_D1_an_answer_comes_only_when_its_turn_is_on_the_disk(disk, diary):
    async with service(disk, clerk(), deps=diary) as runtime, open_caller() as call:
        space = await known(runtime)
        disk.seconds = 1.0
        call("x", space.ask, Clerk.note, "x")
        await runtime.advance(0.9)
        assert not call.answers
        assert diary == ["first", "x"]
        assert await space.state() == ("first",)
        await runtime.advance(0.2)
        assert call.answers == {"x": "X"}
        assert await space.state() == ("first", "x")


async def test_D1_a_rejection_is_told_when_it_is_on_the_disk_and_so_is_a_failure(disk, diary):
    async with service(disk, clerk(), deps=diary) as runtime, open_caller() as call:
        space = (await known(runtime)).with_options(message_id="id")
        await known(runtime, "b")
        disk.seconds = 1.0
        call("no", space.ask, Clerk.refuse)
        call("boom", runtime.space("b").ask, Clerk.crash)
        await runtime.advance(0.9)
        assert not call.answers
        await runtime.advance(3.2)  # one of them may need a group for its loading, and one behind the other's
        assert {key: type(error).__name__ for key, error in call.answers.items()} == {
            "no": "Rejected",
            "boom": "ActorCrashed",
        }
        await runtime.reopen()
        disk.seconds = 0.0
        assert [letter.message.call for letter in await runtime.dead_letters.list()] == ["crash"]


async def test_D1_send_nowait_returns_at_once_and_is_on_the_disk_with_the_next_group(disk, diary):
    async with service(disk, clerk(), deps=diary) as runtime:
        space = await known(runtime)
        await space.pause()
        disk.seconds = 1.0
        space.send_nowait(Clerk.note, "x")
        assert (await space.info()).depth == 1
        assert rows_of(runtime) == []
        await runtime.advance(1.1)
        assert len(rows_of(runtime)) == 1


# ---- in which order


async def test_M1_what_one_task_sends_keeps_its_order_whichever_call_it_uses(disk, diary):
    async with service(disk, clerk(), deps=diary) as runtime, open_caller() as call:
        space = runtime.space("a")
        disk.seconds = 0.5
        space.send_nowait(Clerk.note, "1")
        space.send_nowait(Clerk.note, "2")
        call("3", space.ask, Clerk.note, "3")
        await runtime.settle()
        space.send_nowait(Clerk.note, "4")
        await space.send(Clerk.note, "5")
        space.send_nowait(Clerk.note, "6")
        assert await space.ask(Clerk.note, "7") == "7"
        assert await space.state() == tuple("1234567")
        assert diary == list("1234567")


async def test_M1_the_order_of_acceptance_survives_a_kill(disk, diary):
    async with service(disk, clerk(mailbox_capacity=100), deps=diary) as runtime, open_caller() as call:
        disk.seconds = 0.5
        for number in range(0, 30, 3):
            runtime.space("a").send_nowait(Clerk.note, f"{number:02}", 1.0)
            call(number, runtime.space("a").send, Clerk.note, f"{number + 1:02}", 1.0)
            await runtime.settle()
            runtime.space("a").send_nowait(Clerk.note, f"{number + 2:02}", 1.0)
        await runtime.advance(3.2)
        disk.seconds = 0.0
        await runtime.reopen()
        assert 0 < len(await runtime.space("a").state()) < 30
        await runtime.advance(100)
        assert await runtime.space("a").state() == tuple(f"{number:02}" for number in range(30))


async def test_M1_the_order_of_acceptance_holds_in_a_group_over_a_kill(disk, diary):
    async with service(disk, clerk(), deps=diary) as runtime:
        for name in "abcabc":
            await runtime.space(name, group="g").pause()
        for number, name in enumerate("abcabcbca"):
            await runtime.space(name, group="g").send(Clerk.note, str(number))
        await runtime.reopen()
        await runtime.settle()
        assert diary == list("012345678")


# ---- a disk that fails


async def test_D6_a_send_that_cannot_be_written_is_refused_and_leaves_nothing(disk, diary):
    async with service(disk, clerk(), deps=diary) as runtime:
        space = await known(runtime)
        await space.pause()
        before = await ledger_of(runtime)
        disk.full = True
        with pytest.raises(StoreError, match="disk is full") as caught:
            await space.send(Clerk.note, "x")
        assert (caught.value.space, caught.value.message.args) == (space, ("x",))
        assert (await ledger_of(runtime), (await space.info()).depth) == (before, 0)
        disk.full = False
        await space.resume()
        await runtime.advance(10)
        await runtime.reopen()
        await runtime.advance(10)
        assert (await space.state(), diary) == (("first",), ["first"])


async def test_D6_a_refused_send_gives_its_place_to_who_waits_for_one(disk, diary):
    async with service(disk, clerk(mailbox_capacity=1), deps=diary) as runtime, open_caller() as call:
        space = await known(runtime)
        await space.pause()
        disk.seconds = 1.0
        disk.full = True
        call("x", space.send, Clerk.note, "x")
        await runtime.settle()
        call("y", space.send, Clerk.note, "y")
        await runtime.advance(1.02)
        assert isinstance(call.answers["x"], StoreError)
        disk.seconds, disk.full = 0.0, False
        await runtime.advance(1)
        await space.resume()
        await runtime.settle()
        assert await space.state() == ("first", "y")
        assert await ledger_of(runtime) == {"handled": 2}


async def test_D6_the_turn_of_a_send_begins_when_its_row_is_there_and_not_if_it_is_refused(disk, diary):
    async with service(disk, clerk(), deps=diary) as runtime, open_caller() as call:
        space = await known(runtime)
        disk.seconds = 1.0
        call("x", space.send, Clerk.note, "x")
        await runtime.advance(0.9)
        assert diary == ["first"]
        await runtime.advance(2)
        disk.full = True
        call("y", space.send, Clerk.note, "y")
        await runtime.settle()
        call("z", space.ask, Clerk.note, "z")
        await runtime.advance(1.02)
        disk.seconds, disk.full = 0.0, False
        await runtime.advance(10)
        assert isinstance(call.answers["y"], StoreError)
        assert call.answers["z"] == "Z"
        assert diary == ["first", "x", "z"]
        assert await ledger_of(runtime) == {"handled": 3}


async def test_D6_who_has_joined_a_refused_send_by_its_id_is_told_too(disk, diary):
    async with service(disk, clerk(), deps=diary) as runtime, open_caller() as call:
        space = (await known(runtime)).with_options(message_id="id")
        await space.pause()
        disk.seconds, disk.full = 1.0, True
        call("send", space.send, Clerk.note, "x")
        await runtime.settle()
        call("ask", space.ask, Clerk.note, "x")
        call("again", space.send, Clerk.note, "x")
        await runtime.advance(1.1)
        assert {key: type(error) for key, error in call.answers.items()} == dict.fromkeys(
            ("send", "ask", "again"), StoreError
        )
        disk.seconds, disk.full = 0.0, False
        await space.resume()
        assert await space.ask(Clerk.note, "x") == "X"  # the id is free again
        assert await ledger_of(runtime) == {"handled": 2}


async def test_D6_send_nowait_insists_and_is_written_when_the_disk_heals(disk, diary):
    async with service(disk, clerk(), deps=diary) as runtime:
        space = await known(runtime)
        await space.pause()
        disk.full = True
        space.send_nowait(Clerk.note, "x")
        await runtime.advance(30)
        assert await ledger_of(runtime) == {"handled": 1, "pending": 1}
        disk.full = False
        await runtime.advance(10)
        assert len(rows_of(runtime)) == 1
        await runtime.reopen()
        await runtime.settle()
        assert await space.state() == ("first", "x")


async def test_D6_an_ask_that_cannot_be_kept_is_refused_and_leaves_nothing(disk, diary):
    async with service(disk, clerk(), deps=diary) as runtime:
        space = await known(runtime)
        disk.full = True
        with pytest.raises(StoreError, match="disk is full"):
            await space.ask(Clerk.note, "x")
        assert await ledger_of(runtime) == {"handled": 1}
        disk.full = False
        await runtime.advance(10)
        assert (await space.state(), (await space.info()).depth) == (("first",), 0)


async def test_a_send_that_waited_for_a_place_is_refused_like_any_other(disk, diary):
    async with service(disk, clerk(mailbox_capacity=1), deps=diary) as runtime, open_caller() as call:
        space = await known(runtime)
        await space.pause()
        await space.send(Clerk.note, "x")
        call("y", space.send, Clerk.note, "y")
        await runtime.settle()
        disk.full = True
        await space.resume()
        await runtime.settle()
        assert isinstance(call.answers["y"], StoreError) or "y" not in call.answers
        disk.full = False
        await runtime.advance(10)
        refused = isinstance(call.answers["y"], StoreError)
        assert await space.state() == (("first", "x") if refused else ("first", "x", "y"))


async def test_D6_the_first_send_to_a_space_is_refused_like_any_other(disk, diary):
    async with service(disk, clerk(), deps=diary) as runtime:
        disk.full = True
        with pytest.raises(StoreError, match="disk is full"):
            await runtime.space("new").send(Clerk.note, "x")
        assert await ledger_of(runtime) == {}
        disk.full = False
        await runtime.advance(10)
        assert await runtime.space("new").state() == ()
        assert await runtime.spaces(actor=next(iter(runtime.kinds.values()))) in ([], [runtime.space("new")])


# ---- who does not wait to the end


async def test_M4_a_cancelled_send_that_waits_for_the_disk_may_be_accepted_and_happens_once_by_its_id(disk, diary):
    async with service(disk, clerk(), deps=diary) as runtime, open_caller() as call:
        space = (await known(runtime)).with_options(message_id="id")
        disk.seconds = 1.0
        call("x", space.send, Clerk.note, "x", within=0.5)
        await runtime.advance(0.7)
        assert not call.answers
        assert await space.send(Clerk.note, "x") == "id"
        await runtime.advance(10)
        assert await space.state() == ("first", "x")
        assert await ledger_of(runtime) == {"handled": 2}


async def test_M4_a_cancelled_send_that_waits_for_a_place_is_not_on_the_disk(disk, diary):
    async with service(disk, clerk(mailbox_capacity=1), deps=diary) as runtime, open_caller() as call:
        space = await known(runtime)
        await space.pause()
        await space.send(Clerk.note, "x")
        call("y", space.send, Clerk.note, "y", within=1.0)
        await runtime.advance(2)
        assert len(rows_of(runtime)) == 1
        await space.resume()
        await runtime.settle()
        assert await space.state() == ("first", "x")


# ---- rules of a full or busy mailbox meet messages that are not written yet


@pytest.mark.parametrize("landed", [True, False])
async def test_M18_LATEST_discards_what_waits_whether_it_has_landed_or_not(disk, diary, landed):
    async with service(disk, clerk(when_busy=WhenBusy.LATEST), deps=diary) as runtime, open_caller() as call:
        space = await known(runtime)
        await space.pause()
        disk.seconds = 1.0
        call("old", space.send, Clerk.note, "old")
        await runtime.advance(2.0 if landed else 0.5)
        assert bool(rows_of(runtime)) is landed
        call("new", space.send, Clerk.note, "new")
        await runtime.advance(5)
        assert [isinstance(call.answers[key], str) for key in ("old", "new")] == [True, True]
        await runtime.reopen()
        await runtime.advance(5)
        assert await space.state() == ("first", "new")


@pytest.mark.parametrize("landed", [True, False])
async def test_M18_INTERRUPT_discards_a_running_turn_and_lets_what_has_yet_to_land_keep_its_place(disk, diary, landed):
    async with service(disk, clerk(when_busy=WhenBusy.INTERRUPT), deps=diary) as runtime, open_caller() as call:
        space = await known(runtime)
        disk.seconds = 1.0
        call("old", space.send, Clerk.note, "old", 100.0)
        await runtime.advance(2.0 if landed else 0.5)
        call("new", space.send, Clerk.note, "new")
        await runtime.advance(5)
        await runtime.reopen()
        await runtime.advance(200)
        assert await space.state() == (("first", "new") if landed else ("first", "old", "new"))


@pytest.mark.parametrize("landed", [True, False])
@pytest.mark.parametrize(("rule", "stays"), [(Overflow.DROP_OLDEST, "y"), (Overflow.DROP_NEWEST, "x")])
async def test_M7_a_full_mailbox_drops_by_its_rule_what_has_landed_and_what_has_not(disk, diary, rule, stays, landed):
    async with service(disk, clerk(mailbox_capacity=1, overflow=rule), deps=diary) as runtime, open_caller() as call:
        space = await known(runtime)
        await space.pause()
        disk.seconds = 1.0
        call("x", space.send, Clerk.note, "x")
        await runtime.advance(2.0 if landed else 0.5)
        call("y", space.send, Clerk.note, "y")
        call("z", space.with_options(message_id="z").ask, Clerk.note, stays)
        await runtime.advance(5)
        assert isinstance(call.answers["x"], str)
        assert isinstance(call.answers["y"], str)
        if rule is Overflow.DROP_NEWEST:
            assert isinstance(call.answers["z"], MessageDiscarded)
        assert (await space.info()).depth == 1
        disk.seconds = 0.0
        await space.resume()
        await runtime.settle()
        assert await space.state() == ("first", stays)
        assert rows_of(runtime) == []
        assert await ledger_of(runtime) == {"handled": 2, "discarded": 2}


# ---- expiry, encoding


async def test_M17_a_message_that_expires_on_its_way_to_the_disk_does_not_come_back(disk, diary):
    async with service(disk, clerk(), deps=diary) as runtime, open_caller() as call:
        space = await known(runtime)
        await space.pause()
        disk.seconds = 1.0
        async with runtime.events() as events:
            call("x", space.with_options(expires_after=0.5).send, Clerk.note, "x")
            await runtime.advance(5)
            told = await anext(events)
            assert isinstance(told, MessageSettled)
            assert told.outcome is Outcome.EXPIRED
        assert isinstance(call.answers["x"], str)
        assert rows_of(runtime) == []
        await runtime.reopen()
        await runtime.advance(10)
        assert await space.state() == ("first",)


async def test_a_call_that_cannot_be_written_is_a_bad_call_and_nothing_is_accepted(disk, diary):
    async with service(disk, clerk(), deps=diary) as runtime:
        space = runtime.space("a")
        for call in (space.send, space.ask):
            with pytest.raises(BadCall, match="note"):
                await call(Clerk.note, object())
        with pytest.raises(BadCall, match="note"):
            space.send_nowait(Clerk.note, object())
        assert await ledger_of(runtime) == {}
        assert disk.groups == []


async def test_M6_send_nowait_to_a_full_space_gives_the_message_back_before_it_is_written(disk, diary):
    async with service(disk, clerk(mailbox_capacity=1), deps=diary) as runtime:
        space = await known(runtime)
        await space.pause()
        space.send_nowait(Clerk.note, "x")
        with pytest.raises(MailboxFull):
            space.send_nowait(Clerk.note, "y")
        await runtime.settle()
        assert len(rows_of(runtime)) == 1


@pytest.mark.parametrize("landing", ["in flight", "behind another group"])
async def test_D6_M17_a_message_that_ends_before_its_row_is_refused_was_accepted_and_ended_once(disk, diary, landing):
    async with (
        service(disk, clerk(), deps=diary) as runtime,
        open_caller() as call,
        watching(runtime, MessageSettled) as settled,
    ):
        space = await known(runtime)
        await space.pause()
        disk.seconds, disk.full = 1.0, True
        if landing != "in flight":
            runtime.space("b").send_nowait(Clerk.note, "first group")
            await runtime.advance(0.2)
        call("x", space.with_options(expires_after=0.5).send, Clerk.note, "x")
        await runtime.advance(5)
        disk.seconds, disk.full = 0.0, False
        await runtime.advance(10)
        ends = (isinstance(call.answers["x"], str), [one.outcome.value for one in settled])
        assert ends in ((True, ["expired"]), (False, []))
        assert rows_of(runtime) == []
        words = await ledger_of(runtime)
        assert words.get("expired", 0) == len(settled)
