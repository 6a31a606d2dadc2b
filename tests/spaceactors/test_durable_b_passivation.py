"""Spaces that leave memory and come back from the disk: with all that is theirs, and nothing of an incarnation."""

from __future__ import annotations

import pytest
import trio

from spaceactors import (
    Actor,
    ActorCrashed,
    Emitted,
    Gap,
    Outcome,
    SpaceOptions,
    SpaceQuarantined,
    SpaceStatus,
    handler,
)
from supervisors import RestartLimit
from tests.spaceactors.disks import Disk, check_ledger, life, live

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def disk(tmp_path):
    return Disk(tmp_path / "spaces.db")


class Diary(Actor[tuple[str, ...]], kind="diary"):
    """Leaves memory at once; notes its hooks in its state."""

    options = SpaceOptions(
        idle_timeout=0.0, feed_size=3, max_history_entries=5, restart_limit=RestartLimit(0, 60.0), backoff=None
    )

    def __init__(self) -> None:
        self.scratch = 0

    @handler
    async def note(self, what: str) -> int:
        self.state = (*self.state, what)
        self.history.append(what)
        self.emit(what)
        self.count("notes")
        self.scratch += 1
        return self.scratch

    @handler
    async def nothing(self) -> None:
        pass

    @handler
    async def crash(self) -> None:
        raise RuntimeError("broken")

    @handler
    async def wait(self, seconds: float) -> None:
        await trio.sleep(seconds)


async def test_T7_each_activation_begins_with_the_kept_state_and_a_new_incarnation(disk):
    async with life(disk, Diary) as runtime:
        for number in range(4):
            assert await runtime.space("a").ask(Diary.note, str(number)) == 1
            await runtime.settle()
            assert await live(runtime) == 0
            assert runtime.store._rows == {}
        assert await runtime.space("a").state() == ("0", "1", "2", "3")
        ledger = await check_ledger(runtime)
        assert ledger.outcomes[Outcome.HANDLED] == 4


async def test_T8_messages_that_come_while_a_space_leaves_are_each_handled_once_and_in_order(disk):
    async with life(disk, Diary) as runtime:
        space = runtime.space("a")
        for number in range(60):
            await space.send(Diary.note, str(number))
            for _ in range(number % 7):
                await trio.lowlevel.checkpoint()
        await runtime.settle()
        assert await space.state() == tuple(str(number) for number in range(60))
        assert (await check_ledger(runtime)).outcomes[Outcome.HANDLED] == 60


class Hooked(Diary, kind="hooked"):
    async def on_start(self) -> None:
        self.state = (*self.state, "start")

    async def on_idle(self) -> None:
        self.state = (*self.state, "idle")

    async def on_stop(self) -> None:
        self.state = (*self.state, "stop")


async def test_T7_what_the_hooks_of_a_departure_commit_is_there_in_the_next_activation(disk):
    async with life(disk, Hooked) as runtime:
        await runtime.space("a").ask(Hooked.note, "x")
        await runtime.settle()
        assert await live(runtime) == 0
        once = ("start", "x", "idle", "stop")
        assert await runtime.space("a").state() == once
        await runtime.reopen()
        await runtime.space("a").ask(Hooked.note, "y")
        await runtime.settle()
        assert await runtime.space("a").state() == (*once, "start", "y", "idle", "stop")


async def test_D6_a_departure_whose_hooks_cannot_commit_waits_for_the_disk(disk):
    async with life(disk, Hooked) as runtime:
        await runtime.space("a").ask(Hooked.wait, 1.0)
        disk.full = True
        await runtime.advance(20)
        disk.full = False
        await runtime.advance(20)
        assert await runtime.space("a").state() == ("start", "idle", "stop")
        assert await live(runtime) == 0


async def test_a_space_that_comes_back_sends_from_its_hook_once(disk):
    class Telling(Diary, kind="telling"):
        async def on_stop(self) -> None:
            if self.id == "a":
                await self.space("b").send(Telling.note, "a left")

    async with life(disk, Telling) as runtime:
        await runtime.space("a").ask(Telling.note, "x")
        await runtime.settle()
        assert await runtime.space("b").state() == ("a left",)
        assert await live(runtime) == 0


# ---- feeds


async def collect(feed, number):
    found = []
    for _ in range(number):
        one = await anext(feed)
        found.append(one.missed if isinstance(one, Gap) else (one.value, one.position))
    return found


async def test_positions_of_a_feed_go_on_over_departures_and_lives(disk):
    async with life(disk, Diary) as runtime:
        space = runtime.space("a")
        await space.ask(Diary.note, "one")
        await runtime.settle()
        await space.ask(Diary.note, "two")
        await runtime.reopen()
        async with space.subscribe(after=0) as feed:
            await space.ask(Diary.note, "three")
            assert await collect(feed, 3) == [("one", 1), ("two", 2), ("three", 3)]


async def test_a_reader_who_was_away_for_longer_than_the_feed_is_told_how_many_are_gone(disk):
    async with life(disk, Diary) as runtime:
        for number in range(1, 9):
            await runtime.space("a").ask(Diary.note, str(number))
            await runtime.settle()
        await runtime.reopen()
        async with runtime.space("a").subscribe(after=2) as feed:
            assert await collect(feed, 4) == [3, ("6", 6), ("7", 7), ("8", 8)]
        async with runtime.space("a").subscribe(after=8) as feed:
            await runtime.space("a").ask(Diary.note, "9")
            assert await anext(feed) == Emitted("9", 9)


async def test_a_reader_begins_while_events_come_and_misses_none(disk):
    async with life(disk, Diary) as runtime, trio.open_nursery() as nursery:
        space = runtime.space("a")
        await space.ask(Diary.note, "1")
        found = []

        async def read():
            async with space.subscribe(str, after=0) as feed:
                found.extend(await collect(feed, 3))

        nursery.start_soon(read)
        for number in range(2, 4):
            await space.ask(Diary.note, str(number))
        await runtime.settle()
        assert found == [(str(number), number) for number in range(1, 4)]


async def test_who_reads_on_over_a_deletion_reads_the_events_of_the_new_space(disk):
    async with life(disk, Diary) as runtime:
        space = runtime.space("a")
        for number in range(1, 4):
            await space.ask(Diary.note, str(number))
        async with space.subscribe(after=2) as feed:
            await space.delete()
            await space.ask(Diary.note, "new")
            assert await collect(feed, 2) == [("3", 3), ("new", 1)]


async def test_an_event_of_a_turn_that_could_not_be_kept_is_nobodys(disk):
    async with life(disk, Diary) as runtime:
        space = runtime.space("a")
        await space.ask(Diary.note, "1")
        async with space.subscribe(after=0) as feed:
            disk.full = True
            with pytest.raises(Exception, match="full"):
                await space.ask(Diary.note, "lost")
            disk.full = False
            await space.ask(Diary.note, "2")
            assert await collect(feed, 2) == [("1", 1), ("2", 2)]


# ---- history


async def test_pages_of_a_trimmed_history_begin_with_what_is_kept_over_lives(disk):
    async with life(disk, Diary) as runtime:
        history = runtime.space("a").history
        for number in range(1, 13):
            await runtime.space("a").ask(Diary.note, str(number))
            if number % 4 == 0:
                await runtime.reopen()
        assert len(history) == 5
        page = await history.read(limit=2)
        assert [(one.position, one.value) for one in page] == [(8, "8"), (9, "9")]
        page = await history.read(after=page[-1].position, limit=100)
        assert [(one.position, one.value) for one in page] == [(10, "10"), (11, "11"), (12, "12")]
        assert await history.read(after=12) == []
        assert await history.recent(3) == ["10", "11", "12"]
        assert await history.recent(0) == []


async def test_an_entry_of_a_turn_that_could_not_be_kept_takes_no_position(disk):
    async with life(disk, Diary) as runtime:
        space = runtime.space("a")
        await space.ask(Diary.note, "1")
        disk.full = True
        with pytest.raises(Exception, match="full"):
            await space.ask(Diary.note, "lost")
        disk.full = False
        await space.ask(Diary.note, "2")
        assert [(one.position, one.value) for one in await space.history.read()] == [(1, "1"), (2, "2")]


# ---- quarantine


async def in_quarantine(runtime, name="a"):
    with pytest.raises(ActorCrashed):
        await runtime.space(name).ask(Diary.crash)
    await runtime.settle()
    assert (await runtime.space(name).info()).status is SpaceStatus.QUARANTINED


async def test_a_quarantine_is_the_spaces_over_lives_with_its_reason(disk):
    async with life(disk, Diary) as runtime:
        await runtime.space("a").ask(Diary.note, "x")
        await in_quarantine(runtime)
        for _ in range(2):
            await runtime.reopen()
            with pytest.raises(SpaceQuarantined) as error:
                await runtime.space("a").ask(Diary.note, "y")
            assert "broken" in str(error.value.__cause__)
        await runtime.space("a").revive()
        assert await runtime.space("a").ask(Diary.note, "z") == 1
        await runtime.reopen()
        assert await runtime.space("a").ask(Diary.note, "zz") == 1
        assert await runtime.space("a").state() == ("x", "z", "zz")


async def test_all_quarantined_spaces_can_be_revived_wherever_they_are(disk):
    async with life(disk, Diary) as runtime:
        for name in "abc":
            await in_quarantine(runtime, name)
        await runtime.reopen()
        assert (await runtime.space("a").info()).status is SpaceStatus.QUARANTINED
        with pytest.raises(SpaceQuarantined):
            await runtime.space("b").send(Diary.nothing)
        assert await runtime.revive() == 3
        for name in "abc":
            assert await runtime.space(name).ask(Diary.note, "x") == 1
        assert await runtime.revive() == 0


async def test_what_waits_in_a_quarantined_space_runs_when_it_is_revived_in_a_later_life(disk):
    async with life(disk, Diary) as runtime:
        space = runtime.space("a")
        await space.send(Diary.wait, 1.0)
        await space.send(Diary.crash)
        await space.send(Diary.note, "behind")
        await runtime.advance(2)
        assert (await check_ledger(runtime)).pending == 1
        await runtime.reopen()
        await runtime.settle()
        assert await space.state() == ()
        assert (await check_ledger(runtime)).pending == 1
        await space.revive()
        await runtime.settle()
        assert await space.state() == ("behind",)
        assert (await check_ledger(runtime)).pending == 0


async def test_a_quarantine_that_could_not_be_written_is_written_when_the_disk_is_back(disk):
    async with life(disk, Diary) as runtime, trio.open_nursery() as nursery:
        space = runtime.space("a")
        await space.ask(Diary.note, "x")
        await space.send(Diary.wait, 1.0)
        await space.send(Diary.crash)
        await trio.sleep(0.9)
        disk.full = True
        nursery.start_soon(runtime.advance, 10)
        await trio.sleep(10)
        disk.full = False
        await runtime.advance(20)
        assert (await space.info()).status is SpaceStatus.QUARANTINED
        await runtime.reopen()
        assert (await space.info()).status is SpaceStatus.QUARANTINED
        await check_ledger(runtime)


# ---- many


async def test_P6_of_many_known_spaces_only_the_live_ones_are_in_memory(disk):
    class Staying(Diary, kind="diary"):
        options = SpaceOptions(idle_timeout=None)

    async with life(disk, Staying, max_live=50) as runtime:
        most = 0
        for number in range(2000):
            await runtime.space(f"{number:04}").ask(Diary.note, "x")
            most = max(most, len(runtime.store._rows), await live(runtime))
        assert most <= 51
        assert len(await runtime.spaces(actor=Staying, limit=5000)) == 2000
        assert await runtime.space("0007").ask(Diary.note, "y") == 1
        assert await runtime.space("0007").state() == ("x", "y")
        loads = disk.loads
    async with life(disk, Staying, max_live=50) as runtime:
        assert (disk.loads, len(runtime.store._rows)) == (loads, 0)
