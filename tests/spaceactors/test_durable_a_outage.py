"""A store that cannot write for a while: what was accepted waits for it, and nothing is counted against anybody."""

from __future__ import annotations

import pytest
import trio

from spaceactors import (
    Actor,
    MessageSettled,
    RestartLimit,
    RuntimeClosed,
    SpaceOptions,
    StoreError,
    StoreFailing,
    StoreHealed,
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


class Tried(Actor[tuple[int, ...]], kind="clerk"):
    """Notes the number of the try that was kept."""

    options = SpaceOptions(restart_limit=RestartLimit(0, 60.0))

    @handler
    async def note(self) -> None:
        self.state = (*self.state, self.message.attempt)

    @handler(max_attempts=2)
    async def twice(self) -> None:
        self.state = (*self.state, self.message.attempt)

    @handler
    async def send_to(self, other: str) -> None:
        await self.space(other).send(Tried.note)
        self.state = (*self.state, 0)


@pytest.mark.parametrize("method", [Tried.note, Tried.twice])
async def test_D6_a_turn_that_could_not_be_kept_is_tried_again_and_counts_no_attempt(disk, method):
    async with service(disk, Tried) as runtime:
        space = runtime.space("a")
        await space.pause()
        await space.send(method)
        disk.full = True
        await space.resume()
        await runtime.advance(60)
        assert await ledger_of(runtime) == {"pending": 1}
        assert (await space.info()).restarts == 0
        disk.full = False
        await runtime.advance(10)
        assert await space.state() == (1,)
        assert await ledger_of(runtime) == {"handled": 1}
        assert await runtime.dead_letters.list() == []


async def test_D6_what_a_turn_sends_leaves_once_however_often_its_commit_failed(disk):
    async with service(disk, Tried) as runtime:
        space = runtime.space("a")
        await space.pause()
        await space.send(Tried.send_to, "b")
        disk.full = True
        await space.resume()
        await runtime.advance(60)
        assert await runtime.space("b").state() == ()
        disk.full = False
        await runtime.advance(10)
        assert await runtime.space("b").state() == (1,)
        assert await ledger_of(runtime) == {"handled": 2}


async def test_D6_the_order_of_what_waits_is_the_same_after_an_outage(disk, diary):
    async with service(disk, clerk(), deps=diary) as runtime:
        space = runtime.space("a")
        await space.pause()
        for what in "123":
            await space.send(Clerk.note, what)
        disk.full = True
        await space.resume()
        space.send_nowait(Clerk.note, "4")
        await runtime.advance(30)
        space.send_nowait(Clerk.note, "5")
        disk.full = False
        await runtime.advance(30)
        assert await space.state() == tuple("12345")


async def test_O1_an_outage_and_its_end_are_one_event_each(disk, diary):
    async with service(disk, clerk(), deps=diary) as runtime, watching(runtime, StoreFailing, StoreHealed) as seen:
        space = runtime.space("a")
        began = trio.current_time()
        for _ in range(2):
            disk.full = True
            space.send_nowait(Clerk.note, "x")
            for _ in range(5):
                with pytest.raises(StoreError):
                    await space.send(Clerk.note, "y")
                await runtime.advance(1)
            disk.full = False
            await runtime.advance(10)
        assert [type(one) for one in seen] == [StoreFailing, StoreHealed, StoreFailing, StoreHealed]
        assert seen[0].at - began < 1
        assert 5 <= seen[1].at - began <= 15


async def test_D6_a_service_that_only_waits_finds_out_by_itself_that_the_store_writes_again(disk, diary):
    async with service(disk, clerk(), deps=diary) as runtime:
        disk.full = True
        runtime.space("a").send_nowait(Clerk.note, "x")
        await runtime.advance(1000)
        disk.full = False
        before = trio.current_time()
        while not await runtime.space("a").state():
            await runtime.advance(0.5)
        assert trio.current_time() - before <= 6


async def test_D6_the_disk_is_not_asked_without_pause_while_it_fails(disk, diary):
    async with service(disk, clerk(), deps=diary) as runtime:
        disk.full = True
        runtime.space("a").send_nowait(Clerk.note, "x")
        await runtime.advance(100)
        assert 5 < disk.refused < 60


async def test_A1_one_space_that_waits_for_the_store_holds_up_no_reading_of_another(disk, diary):
    async with service(disk, clerk(), deps=diary) as runtime:
        await runtime.space("b").ask(Clerk.note, "x")
        disk.full = True
        runtime.space("a").send_nowait(Clerk.note, "x")
        await runtime.advance(1)
        assert await runtime.space("b").state() == ("x",)
        assert [one.id for one in await runtime.spaces(actor=next(iter(runtime.kinds.values())))] != []


async def test_D6_a_failure_during_an_outage_is_told_when_it_can_be_kept_and_kept_once(disk, diary):
    async with service(disk, clerk(), deps=diary) as runtime, open_caller() as call:
        space = runtime.space("a")
        disk.full = True
        call("x", space.ask, Clerk.crash)
        await runtime.advance(30)
        assert not call.answers
        disk.full = False
        await runtime.advance(10)
        assert type(call.answers["x"]).__name__ == "ActorCrashed"
        assert len(await runtime.dead_letters.list()) == 1
        assert await ledger_of(runtime) == {"failed": 1}


async def test_a_space_does_not_come_back_older_than_it_left_memory(disk, diary):
    """What could not be written of it yet is nothing that a load may overlook."""
    async with service(disk, clerk(idle_timeout=0.0), deps=diary) as runtime, open_caller() as call:
        space = runtime.space("a")
        await space.ask(Clerk.note, "x")
        await space.pause()
        await space.with_options(expires_after=1.0).send(Clerk.note, "gone")
        disk.full = True
        await runtime.advance(2)
        await space.resume()
        await runtime.advance(5)
        with pytest.raises(StoreError):
            await space.send(Clerk.note, "y")
        call("again", space.ask, Clerk.note, "z")
        await runtime.advance(30)
        disk.full = False
        await runtime.advance(30)
        assert "gone" not in diary
        words = await ledger_of(runtime)
        assert words.pop("expired") == 1
        assert "pending" not in words


# ---- the end, during an outage


async def test_D6_S19_a_drain_during_an_outage_ends_in_its_time_and_leaves_what_it_could_not_keep(disk, diary):
    async with service(disk, clerk(), deps=diary, drain_timeout=10.0) as runtime:
        space = runtime.space("a")
        await space.pause()
        await space.send(Clerk.note, "x")
        disk.full = True
        await space.resume()
        await runtime.advance(1)
        began = trio.current_time()
        report = await runtime.drain()
        assert trio.current_time() - began <= 20
        assert (report.clean, report.left) == (False, {"a": 1})
    disk.full = False
    async with service(disk, clerk(), deps=diary) as runtime:
        await runtime.advance(200)
        assert await runtime.space("a").state() == ("x",)


async def test_D6_a_drain_that_begins_in_an_outage_finishes_when_that_ends(disk, diary):
    async with service(disk, clerk(), deps=diary, drain_timeout=60.0) as runtime, open_caller() as call:
        space = runtime.space("a")
        await space.pause()
        await space.send(Clerk.note, "x")
        disk.full = True
        await space.resume()
        call("report", runtime.drain)
        await runtime.advance(20)
        assert not call.answers
        disk.full = False
        await runtime.advance(10)
        assert call.answers["report"].clean
    async with service(disk, clerk(), deps=diary) as runtime:
        assert await runtime.space("a").state() == ("x",)


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_D6_S19_a_stop_during_an_outage_returns_what_waits_once_that_is_over(disk, diary, how):
    async with service(disk, clerk(), deps=diary) as runtime, open_caller() as call:
        space = runtime.space("a")
        await space.ask(Clerk.note, "first")
        await space.pause()
        await space.send(Clerk.note, "x")
        disk.full = True
        call(how, getattr(space, how))
        await runtime.advance(30)
        disk.full = False
        await runtime.advance(30)
        assert call.answers[how].left == {"a": 1}
        assert rows_of(runtime) == []
        assert await ledger_of(runtime) == {"handled": 1, "returned": 1}
        await runtime.reopen()
        await runtime.advance(10)
        assert await space.state() == ("first",)


async def test_D6_an_outcome_that_was_never_written_is_none_and_its_message_goes_on_in_the_next_life(disk, diary):
    async with open_caller() as call:
        async with (
            service(disk, clerk(), deps=diary, drain_timeout=5.0) as runtime,
            watching(runtime, MessageSettled) as settled,
        ):
            space = runtime.space("a").with_options(message_id="id")
            await space.pause()
            await space.send(Clerk.crash)
            call("x", space.ask, Clerk.crash)
            disk.full = True
            await space.resume()
            await runtime.advance(3)
            await runtime.drain()
        assert isinstance(call.answers["x"], RuntimeClosed)
        assert settled == []
        assert await ledger_of(runtime) == {"pending": 1}
        disk.full = False
        async with service(disk, clerk(), deps=diary) as runtime:
            await runtime.advance(10)
            assert await ledger_of(runtime) == {"failed": 1}
            assert len(await runtime.dead_letters.list()) == 1


async def test_D6_a_runtime_that_cannot_read_its_store_does_not_open(disk, diary):
    async with service(disk, clerk(), deps=diary) as runtime:
        await runtime.space("a").send(Clerk.note, "x", 100.0)
        await runtime.drain(0.0)
    disk.unreadable = True
    with pytest.raises(StoreError, match="cannot be read"):
        async with service(disk, clerk(), deps=diary):
            raise AssertionError
    disk.unreadable = False
    async with service(disk, clerk(), deps=diary) as runtime:
        await runtime.advance(200)
        assert await runtime.space("a").state() == ("x",)


async def test_D6_spaces_that_wait_for_the_store_go_on_as_soon_as_anything_can_be_written(disk, diary):
    async with service(disk, clerk(), deps=diary) as runtime:
        space = runtime.space("a")
        await runtime.space("b").ask(Clerk.note, "known")
        await space.pause()
        await space.send(Clerk.note, "x")
        disk.full = True
        await space.resume()
        await runtime.advance(0.01)
        disk.full = False
        await runtime.space("b").send(Clerk.note, "y")
        await runtime.settle()
        assert await space.state() == ("x",)
