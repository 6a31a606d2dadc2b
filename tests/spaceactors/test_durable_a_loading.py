"""Spaces on their way from the disk into memory: who waits for one keeps his place, and may leave or be refused."""

from __future__ import annotations

from contextlib import suppress

import pytest
import trio

from spaceactors import (
    Actor,
    BadCall,
    MailboxFull,
    MessageExpired,
    Overflow,
    RuntimeClosed,
    StoreError,
    WhenBusy,
    handler,
)
from tests.spaceactors.clerks import Clerk, clerk
from tests.spaceactors.services import SlowDisk, ledger_of, open_caller, rows_of, service


@pytest.fixture
def disk(tmp_path):
    return SlowDisk(tmp_path / "spaces.db")


@pytest.fixture
def diary():
    return []


async def unloaded(disk, runtime, *, names="a"):
    """Have spaces on the disk that are not in memory, and the disk take a second for each group."""
    for name in names:
        await runtime.space(name).ask(Clerk.note, "before")
    await runtime.reopen()
    disk.seconds = 1.0
    disk.loads = 0
    return runtime.space(names[0])


# ---- order


async def test_M1_many_tasks_that_ask_one_unloaded_space_are_answered_in_their_order_after_one_load(disk, diary):
    async with service(disk, clerk(mailbox_capacity=100), deps=diary) as runtime, open_caller() as call:
        space = await unloaded(disk, runtime)
        diary.clear()
        for number in range(50):
            call(number, space.ask, Clerk.note, f"{number:02}")
            await runtime.settle()
        await runtime.advance(0.5)
        assert (call.answers, (await runtime.snapshot()).live) == ({}, 0)
        await runtime.advance(100)
        assert diary == [f"{number:02}" for number in range(50)]
        assert disk.loads == 1
        assert len(call.answers) == 50


async def test_M1_M3_over_its_capacity_an_unloaded_space_lets_senders_in_by_their_order(disk, diary):
    async with service(disk, clerk(mailbox_capacity=2), deps=diary) as runtime, open_caller() as call:
        space = await unloaded(disk, runtime)
        for number in range(9):
            call(number, space.send, Clerk.note, str(number))
            await runtime.settle()
        disk.seconds = 0.0
        await runtime.advance(5)
        assert await space.state() == ("before", *map(str, range(9)))
        assert len(call.answers) == 9


async def test_M1_what_was_pending_comes_before_what_is_sent_while_it_loads(disk, diary):
    async with service(disk, clerk(idle_timeout=1.0), deps=diary) as runtime, open_caller() as call:
        space = runtime.space("a")
        await space.send(Clerk.question, "q")
        await runtime.advance(5)
        assert (await runtime.snapshot()).live == 0
        call("new", space.ask, Clerk.note, "new")
        await runtime.settle()
        (one,) = await runtime.suspensions.list()
        await runtime.suspensions.answer(one.id, "yes")
        await runtime.advance(5)
        assert await space.state() == ("yes", "new")


async def test_one_slow_space_holds_up_no_other_that_is_in_memory_only_for_a_group(disk, diary):
    async with service(disk, clerk(), deps=diary) as runtime, open_caller() as call:
        await unloaded(disk, runtime, names="abcdef")
        for name in "abcdef":
            call(name, runtime.space(name).ask, Clerk.note, "x")
        await runtime.advance(2.1)
        assert call.answers == dict.fromkeys("abcdef", "X")  # one group loads them all, one keeps their turns
        assert disk.loads == 6


# ---- leaving


async def test_M4_whoever_is_cancelled_while_a_space_loads_leaves_no_message(disk, diary):
    async with service(disk, clerk(), deps=diary) as runtime, open_caller() as call:
        space = await unloaded(disk, runtime)
        call("x", space.ask, Clerk.note, "x", within=0.5)
        call("y", space.send, Clerk.note, "y", within=0.5)
        call("z", space.send, Clerk.note, "z")
        await runtime.advance(5)
        assert list(call.answers) == ["z"]
        assert await space.state() == ("before", "z")
        assert await ledger_of(runtime) == {"handled": 1}


async def test_M4_a_space_for_which_nobody_waits_any_more_is_not_kept_in_memory(disk, diary):
    async with service(disk, clerk(), deps=diary) as runtime, open_caller() as call:
        space = await unloaded(disk, runtime)
        call("x", space.ask, Clerk.note, "x", within=0.5)
        await runtime.advance(5)
        assert (await runtime.snapshot()).live == 0
        assert runtime.store._rows == {}


async def test_M17_a_message_expires_while_its_space_loads(disk, diary):
    async with service(disk, clerk(), deps=diary) as runtime, open_caller() as call:
        space = (await unloaded(disk, runtime)).with_options(expires_after=0.5)
        call("ask", space.ask, Clerk.note, "x")
        call("send", space.send, Clerk.note, "y")
        await runtime.advance(0.6)
        assert {key: type(error) for key, error in call.answers.items()} == dict.fromkeys(
            ("ask", "send"), MessageExpired
        )
        await runtime.advance(5)
        assert await space.state() == ("before",)
        assert await ledger_of(runtime) == {}


async def test_M17_a_message_keeps_its_time_when_its_space_has_come(disk, diary):
    async with service(disk, clerk(), deps=diary) as runtime, open_caller() as call:
        space = await unloaded(disk, runtime)
        call("long", space.ask, Clerk.note, "long", 20.0)
        await runtime.settle()
        call("late", space.with_options(expires_after=5.0).ask, Clerk.note, "late")
        await runtime.advance(5.5)
        assert isinstance(call.answers["late"], MessageExpired)
        assert await ledger_of(runtime) == {"expired": 1, "pending": 1}


async def test_S14_a_drain_refuses_whoever_waits_for_a_space_that_loads(disk, diary):
    async with service(disk, clerk(), deps=diary) as runtime, open_caller() as call:
        space = await unloaded(disk, runtime)
        call("ask", space.ask, Clerk.note, "x")
        call("send", space.send, Clerk.note, "y")
        await runtime.advance(0.5)
        report = await runtime.drain()
        assert report.clean
        assert {type(error) for error in call.answers.values()} == {RuntimeClosed}
    async with service(disk, clerk(), deps=diary) as runtime:
        assert await runtime.space("a").state() == ("before",)


# ---- send_nowait


async def test_M6_send_nowait_to_an_unloaded_space_takes_places_up_to_its_capacity(disk, diary):
    async with service(disk, clerk(mailbox_capacity=3), deps=diary) as runtime:
        space = await unloaded(disk, runtime)
        for what in "123":
            space.send_nowait(Clerk.note, what)
        with pytest.raises(MailboxFull) as caught:
            space.send_nowait(Clerk.note, "4")
        assert caught.value.message.args == ("4",)
        await runtime.advance(20)
        assert await space.state() == ("before", "1", "2", "3")
        assert await ledger_of(runtime) == {"handled": 3}


async def test_D6_send_nowait_to_a_space_that_cannot_be_read_now_waits_until_it_can(disk, diary):
    async with service(disk, clerk(), deps=diary) as runtime:
        space = await unloaded(disk, runtime)
        disk.unreadable = True
        space.send_nowait(Clerk.note, "x")
        await runtime.advance(30)
        disk.unreadable = False
        await runtime.advance(30)
        assert await space.state() == ("before", "x")
        assert await ledger_of(runtime) == {"handled": 1}


async def test_D6_a_drain_keeps_what_send_nowait_took_before_it(disk, diary):
    async with service(disk, clerk(), deps=diary) as runtime:
        space = await unloaded(disk, runtime)
        space.send_nowait(Clerk.note, "x")
        await runtime.drain()
        assert await ledger_of(runtime) in ({"handled": 1}, {"pending": 1})
    disk.seconds = 0.0
    async with service(disk, clerk(), deps=diary) as runtime:
        await runtime.settle()
        assert await runtime.space("a").state() == ("before", "x")


# ---- what cannot be loaded


async def test_D6_who_waits_for_a_space_that_cannot_be_read_gets_an_error_and_it_heals(disk, diary):
    async with service(disk, clerk(), deps=diary) as runtime, open_caller() as call:
        space = await unloaded(disk, runtime)
        disk.unreadable = True
        call("ask", space.ask, Clerk.note, "x")
        call("send", space.send, Clerk.note, "y")
        call("stop", space.stop)
        call("pause", space.pause)
        await runtime.advance(5)
        assert {key: type(error) for key, error in call.answers.items()} == dict.fromkeys(
            ("ask", "send", "stop", "pause"), StoreError
        )
        assert len({id(error) for error in call.answers.values()}) == 4, "an error each: tracebacks belong to one task"
        assert call.answers["ask"].space == space
        assert call.answers["ask"].message.args == ("x",)
        disk.unreadable = False
        assert await space.ask(Clerk.note, "z") == "Z"
        assert await ledger_of(runtime) == {"handled": 1}


class Picky(Actor[int], kind="clerk"):
    """Cannot say how some spaces begin."""

    @classmethod
    def group_of(cls, space_id: str) -> str | None:
        if space_id.startswith("bad group"):
            raise ValueError(space_id)
        return None

    def initial_state(self) -> int:
        if self.id.startswith("bad state"):
            raise ValueError(self.id)
        return 0

    @handler
    async def note(self, *, of: str = "") -> None:
        if of:
            await self.space(of).send(Picky.note)
        self.state += 1

    @handler
    async def ask_of(self, other: str) -> None:
        await self.space(other).ask(Picky.note)


@pytest.mark.parametrize("name", ["bad state", "bad group"])
async def test_a_class_that_cannot_begin_a_space_makes_a_bad_call_of_every_call(disk, name):
    async with service(disk, Picky) as runtime:
        space = runtime.space(name)
        for call in (space.send, space.ask):
            with pytest.raises(BadCall, match=name):
                await call(Picky.note)
        with pytest.raises(BadCall, match=name):
            await space.pause()
        assert await ledger_of(runtime) == {}
        assert (await runtime.snapshot()).live == 0
        assert await runtime.space("good").ask(Picky.note) is None


@pytest.mark.parametrize("name", ["bad state", "bad group"])
async def test_a_send_nowait_to_a_space_that_cannot_begin_is_forgotten_and_blocks_nobody(disk, name):
    async with service(disk, Picky, max_live=1) as runtime:
        with suppress(BadCall):
            runtime.space(name).send_nowait(Picky.note)
        await runtime.advance(10)
        assert await runtime.space("good").ask(Picky.note) is None
        words = await ledger_of(runtime)
        assert "pending" not in words


async def test_A1_a_turn_that_sends_to_a_space_that_cannot_begin_ends_and_the_actor_goes_on(disk):
    async with service(disk, Picky) as runtime, open_caller() as call:
        space = runtime.space("a")
        call("x", lambda: space.ask(Picky.note, of="bad state"))
        await runtime.advance(10)
        assert "x" in call.answers
        assert await space.ask(Picky.note) is None
        assert (await space.info()).restarts == 0
        assert "pending" not in await ledger_of(runtime)


# ---- the bound on live spaces


async def test_T9_the_bound_holds_for_spaces_that_come_from_the_disk(disk, diary):
    names = [f"s{number:02}" for number in range(20)]
    async with service(disk, clerk(), deps=diary, max_live=3) as runtime, open_caller() as call:
        for name in names:
            await runtime.space(name).ask(Clerk.note, "before")
        await runtime.reopen()
        for name in names:
            call(name, runtime.space(name).ask, Clerk.note, "x", 1.0)
        most = 0
        for _ in range(80):
            await runtime.advance(0.25)
            most = max(most, (await runtime.snapshot()).live)
        assert most == 3
        assert call.answers == dict.fromkeys(names, "X")
        assert len(runtime.store._rows) <= 3


async def test_T9_pending_messages_of_more_spaces_than_may_live_are_all_handled_after_a_death(disk, diary):
    names = [f"s{number:02}" for number in range(20)]
    async with service(disk, clerk(), deps=diary) as runtime:
        for name in names:
            await runtime.space(name).send(Clerk.note, name, 100.0)
        await runtime.settle()
        await runtime.drain(0.0)
    diary.clear()
    async with service(disk, clerk(), deps=diary, max_live=2) as runtime:
        assert await ledger_of(runtime) == {"pending": 20}
        await runtime.advance(2000)
        assert await ledger_of(runtime) == {"handled": 20}
        assert sorted(diary) == names


@pytest.mark.parametrize("durable_target", ["in memory", "on disk"])
async def test_T9_a_turn_that_asks_another_space_is_not_held_back_by_the_bound(disk, diary, durable_target):
    async with service(disk, clerk(), deps=diary, max_live=1) as runtime:
        if durable_target == "on disk":
            await runtime.space("b").ask(Clerk.note, "before")
            await runtime.reopen()
        assert await runtime.space("a").ask(Clerk.ask_other, "b", "x") == "X"


async def test_T9_M13_a_turn_that_sends_over_the_capacity_of_a_space_without_a_place_does_not_stand_still(disk, diary):
    async with service(disk, clerk(mailbox_capacity=1), deps=diary, max_live=1) as runtime:
        await runtime.space("a").ask(Clerk.send_other, "b", "1", "2")
        await runtime.advance(5)
        assert await runtime.space("b").state() == ("1", "2")
        assert await runtime.space("a").ask(Clerk.note, "x") == "X"


async def test_M12_messages_that_meet_a_space_on_its_way_out_are_handled_once(disk, diary):
    async with (
        service(disk, clerk(idle_timeout=0.0, mailbox_capacity=1000), deps=diary) as runtime,
        open_caller() as call,
    ):
        disk.seconds = 0.03
        space = runtime.space("a")
        for number in range(100):
            call(number, space.ask if number % 2 else space.send, Clerk.note, str(number))
            await trio.sleep(0.01 * (number % 13))
        await runtime.advance(60)
        assert len(call.answers) == 100
        assert [int(one) for one in await space.state()] == list(range(100))
        assert disk.loads > 10


# ---- options that look at what is there


async def test_M18_a_space_that_comes_with_pending_messages_is_busy(disk, diary):
    async with service(disk, clerk(when_busy=WhenBusy.REFUSE, idle_timeout=1.0), deps=diary) as runtime:
        space = runtime.space("a")
        await space.send(Clerk.question, "q")
        await runtime.advance(5)
        assert (await runtime.snapshot()).live == 0
        with pytest.raises(Exception, match="busy"):
            await space.send(Clerk.note, "x")
        (one,) = await runtime.suspensions.list()
        await runtime.suspensions.answer(one.id, "yes")
        await runtime.settle()
        await space.send(Clerk.note, "x")
        await runtime.settle()
        assert rows_of(runtime) == []


async def test_M7_drop_newest_at_an_unloaded_space_that_is_full_with_what_came_meanwhile(disk, diary):
    kind = clerk(mailbox_capacity=2, overflow=Overflow.DROP_NEWEST)
    async with service(disk, kind, deps=diary) as runtime, open_caller() as call:
        space = await unloaded(disk, runtime)
        for number in range(4):
            call(number, space.send, Clerk.note, str(number))
            await runtime.settle()
        await runtime.advance(20)
        assert sorted(call.answers) == [0, 1, 2, 3]
        assert await space.state() == ("before", "0", "1")
        assert await ledger_of(runtime) == {"handled": 2, "discarded": 2}


async def test_M4_a_loaded_space_without_a_place_is_not_kept_in_memory_when_nobody_waits_any_more(disk, diary):
    async with service(disk, clerk(), deps=diary, max_live=1) as runtime, open_caller() as call:
        await runtime.space("b").ask(Clerk.note, "before")
        await runtime.reopen()
        call("busy", runtime.space("a").ask, Clerk.note, "busy", 10.0)
        await runtime.settle()
        call("x", runtime.space("b").ask, Clerk.note, "x", within=1.0)
        await runtime.advance(0.5)
        assert len(runtime.store._rows) == 2
        await runtime.advance(1)
        assert [key for _, key in runtime.store._rows] == ["a"]
