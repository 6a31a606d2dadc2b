"""Programs that have changed since the disk was written: what is brought up to date, parked, or revived by a fix."""

from __future__ import annotations

import pytest
import trio
from attrs import frozen

from spaceactors import Actor, Outcome, SpaceOptions, SpaceQuarantined, SpaceStatus, StoreError, handler
from tests.spaceactors.disks import Disk, check_ledger, life

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def disk(tmp_path):
    return Disk(tmp_path / "spaces.db")


@frozen
class Order1:
    items: tuple[str, ...] = ()
    paid: bool = False


@frozen
class Order2:
    items: tuple[str, ...] = ()
    paid_cents: int = 0


class First(Actor[Order1], kind="order"):
    @handler
    async def add(self, item: str) -> None:
        await trio.sleep(10)
        self.state = Order1((*self.state.items, item), paid=True)

    @handler
    async def note(self, item: str) -> None:
        self.state = Order1((*self.state.items, item), paid=True)
        self.schedule("later", First.add, "timer", after=100.0)


class Second(Actor[Order2], kind="order", state_version=2):
    @handler
    async def insert(self, item: str, count: int) -> None:
        self.state = Order2((*self.state.items, *[item] * count), self.state.paid_cents)

    @classmethod
    def upgrade_state(cls, old, version, /):
        assert version == 1
        return {"items": old["items"], "paid_cents": 100 if old["paid"] else 0}

    @classmethod
    def upgrade_call(cls, call, args, kwargs, version, /):
        assert version == 1
        return ("insert", (*args, 2), kwargs) if call == "add" else (call, args, kwargs)


class Broken(Second, kind="order", state_version=2):
    @classmethod
    def upgrade_state(cls, old, version, /):
        raise KeyError("discount")


class Forgetful(Second, kind="order", state_version=2):
    """Knows nothing of the calls of old."""

    @classmethod
    def upgrade_call(cls, call, args, kwargs, version, /):
        return call, args, kwargs


class Old(First, kind="order", state_version=1):
    options = SpaceOptions(idle_timeout=0.0)


async def written(disk):
    """Have a first program leave a state, two messages that wait, and a timer."""
    async with life(disk, First) as runtime:
        space = runtime.space("a")
        await space.ask(First.note, "x")
        await space.send(First.add, "y")
        await space.send(First.add, "z")
        await runtime.drain(0)


async def test_D7_state_messages_and_timers_of_an_older_program_are_those_of_today(disk):
    await written(disk)
    async with life(disk, Second) as runtime:
        await runtime.settle()
        assert await runtime.space("a").state() == Order2(("x", "y", "y", "z", "z"), 100)
        await runtime.advance(200)
        assert (await runtime.space("a").state()).items[5:] == ("timer", "timer")
        ledger = await check_ledger(runtime)
        assert (ledger.outcomes[Outcome.HANDLED], ledger.pending) == (3, 0)


async def test_D7_a_state_that_was_brought_up_to_date_is_written_with_the_next_turn_and_read_as_it_is(disk):
    await written(disk)
    async with life(disk, Second) as runtime:
        await runtime.settle()
        await runtime.reopen()
        assert await runtime.space("a").state() == Order2(("x", "y", "y", "z", "z"), 100)


async def test_D7_a_state_that_cannot_be_brought_up_to_date_parks_its_space_and_says_why(disk):
    await written(disk)
    async with life(disk, Broken) as runtime:
        await runtime.advance(1000)
        space = runtime.space("a")
        assert (await space.info()).status is SpaceStatus.QUARANTINED
        with pytest.raises(SpaceQuarantined, match="discount"):
            await space.send(Second.insert, "new", 1)
        with pytest.raises(StoreError, match="discount"):
            await runtime.store.update(space, lambda old: old)
        await space.revive()
        assert (await space.info()).status is SpaceStatus.QUARANTINED
        ledger = await check_ledger(runtime)
        assert (ledger.pending, sum(ledger.outcomes.values())) == (2, 0)
        assert await runtime.dead_letters.list() == []
        await runtime.space("b").ask(Second.insert, "fine", 1)


@pytest.mark.parametrize("times", [1, 6])
async def test_D7_a_fixed_program_goes_on_where_a_broken_one_was_parked(disk, times):
    """However often the broken one was started: what never ran has not killed its process."""
    await written(disk)
    for _ in range(times):
        async with life(disk, Broken) as runtime:
            await runtime.advance(30)
    async with life(disk, Second) as runtime:
        await runtime.settle()
        assert (await runtime.space("a").info()).status is SpaceStatus.LIVE
        await runtime.advance(200)
        items = (await runtime.space("a").state()).items
        assert sorted(items) == ["timer", "timer", "x", "y", "y", "z", "z"]
        assert (await check_ledger(runtime)).pending == 0


async def test_D7_a_message_that_today_nobody_understands_is_a_dead_letter_that_a_fixed_program_can_send_again(disk):
    await written(disk)
    async with life(disk, Forgetful) as runtime:
        await runtime.settle()
        letters = await runtime.dead_letters.list()
        assert [one.message.call for one in letters] == ["add", "add"]
        assert (await check_ledger(runtime)).outcomes[Outcome.FAILED] == 2
        assert (await runtime.space("a").info()).restarts == 0
    async with life(disk, Second) as runtime:
        assert await runtime.dead_letters.resend_all() == 2
        await runtime.settle()
        assert (await runtime.space("a").state()).items == ("x", "y", "y", "z", "z")
        assert await runtime.dead_letters.list() == []


async def test_D7_an_older_program_cannot_use_what_a_newer_wrote_and_spoils_nothing(disk):
    async with life(disk, Second) as runtime:
        await runtime.space("a").ask(Second.insert, "x", 1)
    async with life(disk, Old) as runtime:
        with pytest.raises(SpaceQuarantined):
            await runtime.space("a").ask(First.note, "y")
    async with life(disk, Second) as runtime:
        assert await runtime.space("a").state() == Order2(("x",), 0)


async def test_D7_a_remembered_answer_of_an_older_program_is_given_to_its_asker(disk):
    async with life(disk, First) as runtime:
        await runtime.space("a").with_options(message_id="one").ask(First.add, "x")

    async with life(disk, Second) as runtime:
        assert await runtime.space("a").with_options(message_id="one").ask(Second.insert, "x", 2) is None
        assert (await runtime.space("a").state()).items == ("x",)
