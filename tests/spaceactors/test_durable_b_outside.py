"""States that are changed from outside: beside turns, beside each other, of spaces that are nowhere, on a bad disk."""

from __future__ import annotations

import pytest
import trio

from spaceactors import Actor, ConcurrentModification, SpaceOptions, StoreError, handler
from tests.spaceactors.disks import Disk, check_ledger, life, live

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def disk(tmp_path):
    return Disk(tmp_path / "spaces.db")


class Tally(Actor[int], kind="tally"):
    options = SpaceOptions(idle_timeout=0.0)

    @handler
    async def add(self, amount: int, seconds: float = 0.0) -> int:
        before = self.state
        await trio.sleep(seconds)
        self.state = before + amount
        self.history.append(amount)
        return self.state


def plus(amount):
    return lambda old: old + amount


async def test_updates_of_a_passive_space_count_versions_and_leave_nothing_in_memory(disk):
    async with life(disk, Tally) as runtime:
        space = runtime.space("a")
        await space.ask(Tally.add, 1)
        await runtime.settle()
        assert await runtime.store.version(space) == 1
        assert await runtime.store.update(space, plus(10)) == 2
        assert await runtime.store.update_if(space, 2, plus(100)) == 3
        assert await live(runtime) == 0
        assert runtime.store._rows == {}
        await runtime.reopen()
        assert (await space.state(), await runtime.store.version(space)) == (111, 3)


async def test_an_update_of_an_unknown_space_begins_it_on_the_disk(disk):
    async with life(disk, Tally) as runtime:
        assert await runtime.store.version(runtime.space("new")) == 0
        assert await runtime.store.update(runtime.space("new"), plus(5)) == 1
        await runtime.reopen()
        assert await runtime.space("new").state() == 5
        assert await runtime.space("new").ask(Tally.add, 1) == 6


async def test_a_change_that_fails_leaves_an_unknown_space_unknown(disk):
    def fail(old):
        raise ZeroDivisionError

    async with life(disk, Tally) as runtime:
        with pytest.raises(ZeroDivisionError):
            await runtime.store.update(runtime.space("new"), fail)
        assert await runtime.spaces(actor=Tally) == []
        assert runtime.store._rows == {}


async def test_D1_turns_and_updates_of_many_spaces_at_once_lose_nothing_of_each_other(disk):
    async with life(disk, Tally) as runtime:
        async with trio.open_nursery() as nursery:
            for number in range(40):
                space = runtime.space(f"{number % 4}")
                nursery.start_soon(space.ask, Tally.add, 1, number % 3 * 0.1)
                nursery.start_soon(runtime.store.update, space, plus(100))
                pair = {runtime.space("0"): plus(10_000), runtime.space("1"): plus(10_000)}
                if number % 10 == 0:
                    nursery.start_soon(runtime.store.update_many, pair)
        states = [await runtime.space(f"{number}").state() for number in range(4)]
        assert states == [41_010, 41_010, 1010, 1010]
        await runtime.reopen()
        assert [await runtime.space(f"{number}").state() for number in range(4)] == states
        assert len(await runtime.space("0").history.read()) == 10
        await check_ledger(runtime)


async def test_of_updates_of_one_version_at_once_one_is_made(disk):
    async with life(disk, Tally) as runtime:
        space = runtime.space("a")
        await space.ask(Tally.add, 1)
        told = []

        async def change(amount):
            try:
                told.append(await runtime.store.update_if(space, 1, plus(amount)))
            except ConcurrentModification:
                told.append("refused")

        async with trio.open_nursery() as nursery:
            for amount in range(10, 15):
                nursery.start_soon(change, amount)
        assert sorted(map(str, told)) == ["2", *["refused"] * 4]
        assert await runtime.store.version(space) == 2


async def test_many_updates_in_opposite_orders_do_not_wait_for_each_other(disk):
    async with life(disk, Tally) as runtime:
        names = [runtime.space(name) for name in "abcd"]
        async with trio.open_nursery() as nursery:
            for turn in range(8):
                order = names if turn % 2 else names[::-1]
                nursery.start_soon(runtime.store.update_many, dict.fromkeys(order, plus(1)))
        assert [await one.state() for one in names] == [8] * 4


async def test_D6_in_an_outage_none_of_several_updates_is_made_and_all_can_be_repeated(disk):
    async with life(disk, Tally) as runtime:
        here, away, new = (runtime.space(name) for name in ("here", "away", "new"))
        for one in (here, away):
            await one.ask(Tally.add, 1)
        await runtime.settle()
        changes = {one: plus(1) for one in (here, away, new)}
        disk.full = True
        with pytest.raises(StoreError, match="full"):
            await runtime.store.update_many(changes)
        disk.full = False
        assert [await one.state() for one in (here, away)] == [1, 1]
        assert await runtime.spaces(actor=Tally) == [away, here]
        versions = await runtime.store.update_many(changes)
        assert (versions[here], versions[away], versions[new]) == (2, 2, 1)
        assert [await one.state() for one in (here, away, new)] == [2, 2, 1]


async def test_D6_an_update_that_cannot_load_its_space_says_so_and_changes_nothing(disk):
    async with life(disk, Tally) as runtime:
        space = runtime.space("a")
        await space.ask(Tally.add, 1)
        await runtime.settle()
        disk.unreadable = True
        with pytest.raises(StoreError, match="cannot be read"):
            await runtime.store.update(space, plus(1))
        disk.unreadable = False
        assert await runtime.store.update(space, plus(1)) == 2


async def test_a_running_turn_runs_again_on_an_update_and_keeps_its_one_outcome(disk):
    async with life(disk, Tally) as runtime, trio.open_nursery() as nursery:
        space = runtime.space("a")
        replies = []

        async def ask():
            replies.append(await space.ask(Tally.add, 1, 10.0))

        nursery.start_soon(ask)
        await runtime.advance(5)
        await runtime.store.update(space, plus(100))
        await runtime.advance(30)
        assert replies == [101]
        assert len(await space.history.read()) == 1
        assert (await check_ledger(runtime)).accepted == 1


async def test_an_update_of_a_suspended_space_is_what_its_turn_goes_on_with(disk):
    class Asking(Tally, kind="tally"):
        @handler
        async def decide(self) -> int:
            amount = await self.suspend("how many", "?", answer=int)
            self.state += amount
            return self.state

    async with life(disk, Asking) as runtime:
        space = runtime.space("a")
        await space.send(Asking.decide)
        await runtime.settle()
        await runtime.store.update(space, plus(100))
        (question,) = await runtime.suspensions.list()
        await runtime.suspensions.answer(question.id, 7)
        await runtime.settle()
        assert await space.state() == 107


async def test_an_update_of_a_space_with_timers_leaves_them_running(disk):
    class Timed(Tally, kind="tally"):
        @handler
        async def later(self, seconds: float) -> None:
            self.schedule("x", Timed.add, 1, after=seconds)

    async with life(disk, Timed) as runtime:
        space = runtime.space("a")
        await space.ask(Timed.later, 10.0)
        await runtime.settle()
        await runtime.store.update(space, plus(100))
        await runtime.advance(20)
        assert await space.state() == 101
