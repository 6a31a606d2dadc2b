"""The table of outcomes, where a durable store makes a difference: what a life leaves to the next, and what it ends."""

from __future__ import annotations

import sqlite3

import pytest
import trio
from attrs import evolve

from spaceactors import (
    Actor,
    ActorCrashed,
    BadCall,
    MessageReturned,
    MessageSettled,
    RestartLimit,
    RuntimeClosed,
    SpaceOptions,
    SpaceQuarantined,
    WhenBusy,
    handler,
)
from tests.spaceactors.clerks import Clerk, clerk
from tests.spaceactors.services import SlowDisk, ledger_of, open_caller, rows_of, service, watching


@pytest.fixture
def disk(tmp_path):
    return SlowDisk(tmp_path / "spaces.db")


@pytest.fixture
def diary():
    return []


async def three(runtime, *, running=1000.0):
    """Have one message run for long, and two wait behind it."""
    space = runtime.space("a")
    await space.send(Clerk.note, "running", running)
    await space.send(Clerk.note, "waits")
    await space.send(Clerk.note, "waits too")
    await runtime.settle()
    return space


# ---- process death


async def test_D1_after_a_death_the_running_message_and_those_that_wait_are_pending_and_run_in_their_order(disk, diary):
    async with service(disk, clerk(), deps=diary) as runtime:
        space = await three(runtime, running=5.0)
        await runtime.reopen()
        assert await ledger_of(runtime) == {"pending": 3}
        await runtime.advance(10)
        assert await space.state() == ("running", "waits", "waits too")
        assert await ledger_of(runtime) == {"handled": 3}


async def test_a_death_counts_a_recovery_for_the_head_of_each_line_only(disk, diary):
    async with service(disk, clerk(), deps=diary) as runtime:
        await three(runtime)
        await runtime.space("b").pause()
        await runtime.space("b").send(Clerk.note, "halted")
        for deaths in (1, 2):
            await runtime.reopen()
            assert [row.recoveries for row in rows_of(runtime)] == [deaths, 0, 0]


async def test_D1_over_max_recoveries_the_head_of_the_line_fails_as_a_dead_letter_and_the_next_runs(disk, diary):
    async with service(disk, clerk(max_recoveries=2), deps=diary) as runtime:
        space = await three(runtime)
        await runtime.reopen()
        await runtime.reopen()
        await runtime.settle()
        assert diary == ["running"] * 3
        async with watching(runtime, MessageSettled) as settled:
            await runtime.reopen()
            await runtime.settle()
        assert diary == ["running"] * 3 + ["waits", "waits too"]
        assert [one.outcome.value for one in settled] == ["failed"]
        assert await ledger_of(runtime) == {"handled": 2, "failed": 1}
        (letter,) = await runtime.dead_letters.list()
        assert letter.message.args == ("running", 1000.0)
        assert "3 processes died" in str(letter.error)
        await runtime.reopen()
        await runtime.settle()
        assert await ledger_of(runtime) == {}
        assert await space.state() == ("waits", "waits too")


async def test_no_recovery_is_allowed_where_max_recoveries_is_zero(disk, diary):
    async with service(disk, clerk(max_recoveries=0), deps=diary) as runtime:
        await three(runtime)
        await runtime.reopen()
        await runtime.settle()
        assert diary == ["running", "waits", "waits too"]
        assert await ledger_of(runtime) == {"handled": 2, "failed": 1}


async def test_a_message_that_failed_by_recoveries_frees_its_id(disk, diary):
    async with service(disk, clerk(max_recoveries=0), deps=diary) as runtime:
        space = runtime.space("a").with_options(message_id="id")
        await space.send(Clerk.note, "x", 10.0)
        await runtime.settle()
        await runtime.reopen()
        await runtime.settle()
        assert await ledger_of(runtime) == {"failed": 1}
        assert await space.ask(Clerk.note, "another call") == "ANOTHER CALL"


async def test_attempts_of_a_crash_are_kept_over_a_death_which_is_none(disk, diary):
    class Stubborn(Clerk, kind="clerk"):
        options = evolve(Clerk.options, backoff=lambda _: 100.0)

        @handler(max_attempts=2)
        async def fail(self) -> None:
            self.diary.append(str(self.message.attempt))
            raise ValueError

    async with service(disk, Stubborn, deps=diary) as runtime:
        await runtime.space("a").send(Stubborn.fail)
        await runtime.settle()
        await runtime.reopen()
        await runtime.advance(200)
        assert diary == ["1", "2"]
        assert await ledger_of(runtime) == {"failed": 1}
        (letter,) = await runtime.dead_letters.list()
        assert letter.attempts == 2


async def test_a_row_that_cannot_be_decoded_fails_as_a_dead_letter_and_holds_nobody_up(disk, diary, tmp_path):
    async with service(disk, clerk(), deps=diary) as runtime:
        await three(runtime)
        await runtime.drain(0.0)
    with sqlite3.connect(tmp_path / "spaces.db") as file:
        file.execute("update mailbox set body = ? where number = (select min(number) from mailbox)", (b"\xc1",))
    file.close()
    async with service(disk, clerk(), deps=diary) as runtime:
        await runtime.settle()
        assert await runtime.space("a").state() == ("waits", "waits too")
        assert await ledger_of(runtime) == {"handled": 2, "failed": 1}
        assert len(await runtime.dead_letters.list()) == 1
    async with service(disk, clerk(), deps=diary) as runtime:
        await runtime.settle()
        assert await ledger_of(runtime) == {}  # no crash loop


async def test_D7_a_call_of_a_handler_that_is_gone_is_parked_with_its_reason(disk, diary):
    class Old(Clerk, kind="clerk"):
        @handler
        async def gone(self, what: str) -> None:
            await trio.sleep(1000)

    async with service(disk, Old, deps=diary) as runtime:
        await runtime.space("a").send(Old.gone, "x")
        await runtime.space("a").send(Clerk.note, "y")
        await runtime.settle()
        await runtime.drain(0.0)
    async with service(disk, clerk(), deps=diary) as runtime:
        await runtime.settle()
        assert await runtime.space("a").state() == ("y",)
        (letter,) = await runtime.dead_letters.list()
        assert "gone" in str(letter.error)
    async with service(disk, Old, deps=diary) as runtime:
        (letter,) = await runtime.dead_letters.list()
        assert (letter.message.call, letter.message.args) == ("gone", ("x",))


# ---- the runtime's drain


async def test_S19_what_the_drain_deadline_cuts_off_is_pending_and_who_waits_is_told(disk, diary):
    async with open_caller() as call:
        async with service(disk, clerk(), deps=diary) as runtime:
            space = await three(runtime)
            call("x", space.ask, Clerk.note, "asked")
            await runtime.settle()
            report = await runtime.drain(1.0)
            assert (report.clean, report.left) == (False, {"a": 4})
            assert await ledger_of(runtime) == {"pending": 4}
            assert isinstance(call.answers["x"], RuntimeClosed)
        diary.clear()
        async with service(disk, clerk(), deps=diary) as runtime:
            await runtime.advance(2000)
            assert diary == ["running", "waits", "waits too", "asked"]
            assert await ledger_of(runtime) == {"handled": 4}


async def test_S19_the_drain_of_a_runtime_leaves_a_suspended_turn_pending(disk, diary):
    async with open_caller() as call:
        async with service(disk, clerk(), deps=diary) as runtime:
            call("x", runtime.space("a").ask, Clerk.question, "q")
            await runtime.settle()
            report = await runtime.drain(10.0)
            assert (report.clean, await ledger_of(runtime)) == (True, {"pending": 1})
        assert isinstance(call.answers["x"], RuntimeClosed)
        async with service(disk, clerk(), deps=diary) as runtime:
            (one,) = await runtime.suspensions.list()
            await runtime.suspensions.answer(one.id, "yes")
            await runtime.settle()
            assert await runtime.space("a").state() == ("yes",)


async def test_S19_quarantined_messages_stay_pending_over_a_drain_and_a_next_life(disk, diary):
    kind = clerk(restart_limit=RestartLimit(0, 60.0))
    async with service(disk, kind, deps=diary) as runtime, open_caller() as call:
        space = runtime.space("a")
        await space.pause()
        await space.send(Clerk.crash)
        await space.send(Clerk.note, "x")
        call("asked", space.ask, Clerk.note, "y")
        await runtime.settle()
        await space.resume()
        await runtime.settle()
        assert isinstance(call.answers["asked"], SpaceQuarantined)
        assert await ledger_of(runtime) == {"failed": 1, "pending": 2}
        assert (await runtime.drain()).left == {}
    async with service(disk, kind, deps=diary) as runtime:
        space = runtime.space("a")
        assert await ledger_of(runtime) == {"pending": 2}
        with pytest.raises(SpaceQuarantined):
            await space.send(Clerk.note, "z")
        await space.revive()
        await runtime.settle()
        assert await space.state() == ("x", "y")
        assert await ledger_of(runtime) == {"handled": 2}


# ---- stop, kill, drain, delete of a space


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_S19_a_stop_and_a_kill_return_what_waits_and_it_does_not_come_back(disk, diary, how):
    async with service(disk, clerk(), deps=diary) as runtime, open_caller() as call:
        space = await three(runtime, running=5.0)
        call("asked", space.ask, Clerk.note, "asked")
        await runtime.settle()
        report = await getattr(space, how)()
        assert report.left == {"a": 3 if how == "stop" else 4}
        assert isinstance(call.answers["asked"], MessageReturned)
        assert rows_of(runtime) == []
        await runtime.reopen()
        await runtime.advance(10)
        assert await space.state() == (("running",) if how == "stop" else ())
        assert await ledger_of(runtime) == {}


@pytest.mark.parametrize("how", ["stop", "kill"])
@pytest.mark.parametrize("live", [True, False])
async def test_S19_a_stop_returns_a_suspended_turn_also_of_a_space_that_left_memory(disk, diary, how, live):
    async with service(disk, clerk(idle_timeout=None if live else 1.0), deps=diary) as runtime, open_caller() as call:
        space = runtime.space("a")
        call("asked", space.ask, Clerk.question, "q")
        await runtime.advance(5)
        assert (await runtime.snapshot()).live == live
        assert (await getattr(space, how)()).left == {"a": 1}
        assert isinstance(call.answers["asked"], MessageReturned)
        assert await runtime.suspensions.list() == []
        assert await ledger_of(runtime) == {"returned": 1}
        await runtime.reopen()
        await runtime.settle()
        assert await ledger_of(runtime) == {}


async def test_S1_the_drain_of_a_space_finishes_what_waits_and_leaves_what_is_suspended(disk, diary):
    async with service(disk, clerk(), deps=diary) as runtime:
        space = await three(runtime, running=5.0)
        await space.send(Clerk.question, "q")
        await space.send(Clerk.note, "behind")
        report = await space.drain()
        assert await space.state() == ("running", "waits", "waits too")
        assert report.left in ({}, {"a": 1})
        assert await ledger_of(runtime) == {"handled": 3, "pending": 2}
        await runtime.reopen()
        (one,) = await runtime.suspensions.list()
        await runtime.suspensions.answer(one.id, "yes")
        await runtime.settle()
        assert (await space.state())[3:] == ("yes", "behind")


async def test_a_deleted_space_has_nothing_left_and_its_id_begins_anew(disk, diary):
    async with service(disk, clerk(), deps=diary) as runtime, open_caller() as call:
        space = await three(runtime, running=5.0)
        call("asked", space.ask, Clerk.note, "asked")
        await runtime.settle()
        await space.delete()
        assert type(call.answers["asked"]).__name__ == "MessageDiscarded"
        assert rows_of(runtime) == []
        assert await space.state() == ()
        assert await space.ask(Clerk.note, "new") == "NEW"
        await runtime.reopen()
        await runtime.settle()
        assert await space.state() == ("new",)


# ---- expiry


async def test_M17_what_expired_while_the_service_was_down_does_not_run(disk, diary):
    async with service(disk, clerk(), deps=diary) as runtime:
        space = await three(runtime)
        await space.with_options(expires_after=50.0, message_id="id").send(Clerk.note, "late")
        await runtime.drain(0.0)
    diary.clear()
    await trio.sleep(100)
    async with service(disk, clerk(), deps=diary) as runtime:
        await runtime.advance(2000)
        assert diary == ["running", "waits", "waits too"]
        assert await ledger_of(runtime) == {"handled": 3, "expired": 1}
        assert await runtime.dead_letters.list() == []
        space = runtime.space("a").with_options(message_id="id")
        assert await space.ask(Clerk.note, "free") == "FREE"


async def test_M17_a_message_keeps_its_time_over_a_death(disk, diary):
    async with service(disk, clerk(), deps=diary) as runtime:
        space = await three(runtime, running=30.0)
        await space.with_options(expires_after=50.0).send(Clerk.note, "in time")
        await space.with_options(expires_after=40.0).send(Clerk.note, "late")
        await runtime.advance(15)
        await runtime.reopen()
        await runtime.advance(1000)
        assert await space.state() == ("running", "waits", "waits too", "in time")
        assert await ledger_of(runtime) == {"handled": 4, "expired": 1}


# ---- ids


async def test_D3_a_second_ask_of_a_pending_id_gets_its_answer_over_passivation_and_another_call_is_a_bad_call(
    disk, diary
):
    async with service(disk, clerk(idle_timeout=1.0), deps=diary) as runtime, open_caller() as call:
        space = runtime.space("a").with_options(message_id="id")
        call("one", space.ask, Clerk.question, "q")
        await runtime.advance(5)
        assert (await runtime.snapshot()).live == 0
        call("two", space.ask, Clerk.question, "q")
        await runtime.settle()
        with pytest.raises(BadCall):
            await space.ask(Clerk.question, "another")
        (one,) = await runtime.suspensions.list()
        await runtime.suspensions.answer(one.id, "yes")
        await runtime.advance(5)
        assert call.answers == {"one": "yes", "two": "yes"}
        assert await ledger_of(runtime) == {"handled": 1}


async def test_D3_after_a_death_a_pending_id_is_one_turn_and_a_known_one_gives_its_reply(disk, diary):
    async with service(disk, clerk(), deps=diary) as runtime, open_caller() as call:
        pending = runtime.space("a").with_options(message_id="pending")
        known = runtime.space("b").with_options(message_id="known")
        rejected = runtime.space("b").with_options(message_id="rejected")
        assert await known.ask(Clerk.note, "x") == "X"
        with pytest.raises(Exception, match="no"):
            await rejected.ask(Clerk.refuse, "no")
        await pending.send(Clerk.note, "y", 10.0)
        await runtime.settle()
        await runtime.reopen()
        await runtime.settle()
        diary.clear()
        call("again", pending.ask, Clerk.note, "y", 10.0)
        assert await pending.send(Clerk.note, "y", 10.0) == "pending"
        await runtime.advance(20)
        assert call.answers == {"again": "Y"}
        assert await known.ask(Clerk.note, "x") == "X"
        with pytest.raises(Exception, match="no"):
            await rejected.ask(Clerk.refuse, "no")
        assert await pending.state() == ("y",)
        assert diary == []  # the one turn of this life had begun before
        for space, other in ((pending, "z"), (known, "z"), (rejected, "z")):
            with pytest.raises(BadCall):
                await space.ask(Clerk.note, other)


async def test_D3_ids_are_forgotten_after_their_window_over_lives(disk, diary):
    kind = clerk(dedupe_window=100.0)
    async with service(disk, kind, deps=diary) as runtime:
        space = runtime.space("a").with_options(message_id="id")
        assert await space.ask(Clerk.note, "x") == "X"
        await runtime.advance(60)
        await runtime.reopen()
        assert await space.ask(Clerk.note, "x") == "X"
        assert diary == ["x"]
        await runtime.advance(50)
        assert await space.ask(Clerk.note, "another") == "ANOTHER"
        assert diary == ["x", "another"]


async def test_D3_no_more_ids_are_remembered_than_the_limit_over_lives(disk, diary):
    async with service(disk, clerk(dedupe_limit=3), deps=diary) as runtime:
        for number in range(5):
            await runtime.space("a").with_options(message_id=str(number)).ask(Clerk.note, str(number))
        await runtime.reopen()
        diary.clear()
        for number in (2, 3, 4):
            await runtime.space("a").with_options(message_id=str(number)).ask(Clerk.note, str(number))
        assert diary == []
        await runtime.space("a").with_options(message_id="1").ask(Clerk.note, "1")
        assert diary == ["1"]


# ---- timers


async def test_a_timer_on_a_full_mailbox_waits_and_others_go_on_and_it_fires_once_over_a_death(disk):
    class Ticking(Actor[tuple[str, ...]], kind="clerk"):
        options = SpaceOptions(mailbox_capacity=1, when_busy=WhenBusy.ENQUEUE)

        @handler
        async def begin(self) -> None:
            self.schedule("t", Ticking.note, "tick", after=5.0)

        @handler
        async def note(self, what: str, seconds: float = 0.0) -> None:
            await trio.sleep(seconds)
            self.state = (*self.state, what)

    async with service(disk, Ticking) as runtime:
        space = runtime.space("a")
        await space.ask(Ticking.begin)
        await runtime.space("b").ask(Ticking.begin)
        await space.send(Ticking.note, "busy", 20.0)
        await runtime.settle()
        await space.send(Ticking.note, "full")
        await runtime.advance(10)
        assert await runtime.space("b").state() == ("tick",)
        assert await ledger_of(runtime) == {"handled": 3, "pending": 2}  # the tick is not accepted yet
        await runtime.reopen()
        await runtime.advance(100)
        assert sorted(await space.state()) == ["busy", "full", "tick"]
        assert await ledger_of(runtime) == {"handled": 3}


# ---- dead letters


async def test_a_dead_letter_that_is_sent_again_is_a_new_message_and_the_old_one_stays_failed(disk, diary):
    async with service(disk, clerk(), deps=diary) as runtime, open_caller() as call:
        space = runtime.space("a").with_options(message_id="id")
        call("x", space.ask, Clerk.crash)
        await runtime.settle()
        assert isinstance(call.answers["x"], ActorCrashed)
        assert await runtime.dead_letters.resend("id") == 1
        await runtime.settle()
        assert await ledger_of(runtime) == {"failed": 2}
        assert len(await runtime.dead_letters.list()) == 1


# ---- the ledger over lives


async def test_O3_counters_are_of_one_life_and_what_is_found_pending_counts_as_accepted(disk, diary):
    async with service(disk, clerk(), deps=diary) as runtime:
        await runtime.space("b").ask(Clerk.note, "x")
        await runtime.space("c").send(Clerk.question, "q")
        await three(runtime)
        assert await ledger_of(runtime) == {"handled": 1, "pending": 4}
        await runtime.reopen()
        assert await ledger_of(runtime) == {"pending": 4}
        shot = await runtime.snapshot()
        assert shot.ledger.accepted == 4
        await runtime.reopen()
        assert (await runtime.snapshot()).ledger.accepted == 4


async def test_O3_the_ledger_balances_while_suspended_spaces_come_and_go(disk, diary):
    async with service(disk, clerk(idle_timeout=1.0), deps=diary) as runtime:
        for name in "abc":
            await runtime.space(name).send(Clerk.question, "q")
        for _ in range(3):
            await runtime.settle()
            assert await ledger_of(runtime) == {"pending": 3}
            await runtime.advance(5)
            assert (await runtime.snapshot()).live == 0
            assert await ledger_of(runtime) == {"pending": 3}
            await runtime.space("a").pause()
            assert await ledger_of(runtime) == {"pending": 3}
            await runtime.space("a").resume()
        await runtime.reopen()
        assert await ledger_of(runtime) == {"pending": 3}
        for one in await runtime.suspensions.list():
            await runtime.suspensions.answer(one.id, "yes")
        await runtime.advance(5)
        assert await ledger_of(runtime) == {"handled": 3}


async def test_O3_the_books_of_a_space_balance_while_it_takes_its_time_to_end(disk, diary):
    class Slow(Clerk, kind="clerk"):
        @handler
        async def linger(self) -> None:
            with trio.CancelScope(shield=True):
                await trio.sleep(5.0)

    async with service(disk, Slow, deps=diary) as runtime, open_caller() as call:
        space = runtime.space("a")
        await space.send(Slow.linger)
        await space.send(Clerk.note, "waits")
        call("report", runtime.drain, 1.0)
        await runtime.advance(2.0)
        assert await ledger_of(runtime) == {"pending": 2}
        assert (await runtime.snapshot()).live == 1
