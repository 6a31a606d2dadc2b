"""Timers on a disk: they outlive the process and the memory, and fire once, late rather than never."""

from __future__ import annotations

import random
from datetime import timedelta
from itertools import pairwise

import pytest
import trio
from attrs import frozen

from spaceactors import Actor, Rejected, SpaceOptions, SpaceStatus, SuspensionExpired, handler
from supervisors import RestartLimit
from tests.spaceactors.disks import START, Disk, check_ledger, life, live

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def disk(tmp_path):
    return Disk(tmp_path / "spaces.db")


@frozen
class Ticks:
    at: tuple[tuple[str, float], ...] = ()


class Alarmed(Actor[Ticks]):
    """Notes which of its timers fired when."""

    options = SpaceOptions(idle_timeout=0.0, restart_limit=RestartLimit(0, 60.0), backoff=None)

    @handler
    async def after(self, key: str, seconds: float) -> None:
        self.schedule(key, Alarmed.tick, key, after=seconds)

    @handler
    async def at(self, key: str, seconds: float) -> None:
        self.schedule(key, Alarmed.tick, key, at=START + timedelta(seconds=seconds))

    @handler
    async def every(self, key: str, seconds: float) -> None:
        self.schedule(key, Alarmed.tick, key, every=seconds)

    @handler
    async def cancel(self, key: str) -> bool:
        return self.cancel_schedule(key)

    @handler
    async def tick(self, key: str) -> None:
        self.state = Ticks((*self.state.at, (key, trio.current_time())))

    @handler
    async def crash(self) -> None:
        raise RuntimeError

    @handler
    async def nothing(self) -> None:
        pass


async def ticks(runtime, name="a"):
    return list((await runtime.space(name).state()).at)


SETTERS = {"after": Alarmed.after, "at": Alarmed.at}


@pytest.mark.parametrize("how", SETTERS)
async def test_T3_T10_a_timer_brings_a_space_back_that_left_memory(disk, how):
    async with life(disk, Alarmed) as runtime:
        await runtime.space("a").ask(SETTERS[how], "x", 10.0)
        await runtime.settle()
        assert await live(runtime) == 0
        await runtime.advance(9.9)
        assert await ticks(runtime) == []
        await runtime.advance(100)
        assert await ticks(runtime) == [("x", 10.0)]
        assert await live(runtime) == 0
        await check_ledger(runtime)


@pytest.mark.parametrize("how", SETTERS)
async def test_T10_a_timer_that_came_due_hours_ago_fires_once(disk, how):
    async with life(disk, Alarmed) as runtime:
        await runtime.space("a").ask(SETTERS[how], "x", 10.0)
    await trio.sleep(7200)
    for _ in range(2):
        async with life(disk, Alarmed) as runtime:
            await runtime.advance(100)
            assert await ticks(runtime) == [("x", 7200.0)]


async def test_T10_a_kill_between_passivation_and_tick_costs_no_tick(disk):
    async with life(disk, Alarmed) as runtime:
        await runtime.space("a").ask(Alarmed.after, "x", 10.0)
        await runtime.advance(5)
        await runtime.reopen()
        await runtime.advance(4)
        assert await ticks(runtime) == []
        await runtime.advance(1)
        assert await ticks(runtime) == [("x", 10.0)]
        await runtime.reopen()
        await runtime.advance(50)
        assert await ticks(runtime) == [("x", 10.0)]


async def test_T10_periods_go_on_by_their_grid_while_the_space_comes_and_goes(disk):
    async with life(disk, Alarmed) as runtime:
        await runtime.space("a").ask(Alarmed.every, "x", 10.0)
        await runtime.advance(35)
        assert await live(runtime) == 0
        assert await ticks(runtime) == [("x", 10.0), ("x", 20.0), ("x", 30.0)]
    await trio.sleep(60)
    async with life(disk, Alarmed) as runtime:
        await runtime.settle()
        assert (await ticks(runtime))[3:] == [("x", 95.0)]
        await runtime.advance(10)
        assert (await ticks(runtime))[4:] == [("x", 100.0)]


async def test_T1_T3_a_replaced_or_cancelled_timer_of_a_passive_space_never_fires(disk):
    async with life(disk, Alarmed) as runtime:
        space = runtime.space("a")
        await space.ask(Alarmed.after, "gone", 10.0)
        await space.ask(Alarmed.after, "again", 10.0)
        await runtime.settle()
        assert await live(runtime) == 0
        assert await space.ask(Alarmed.cancel, "gone")
        await space.ask(Alarmed.after, "again", 20.0)
        await runtime.settle()
        await runtime.reopen()
        await runtime.advance(100)
        assert await ticks(runtime) == [("again", 20.0)]


async def test_T2_a_tick_that_waits_for_its_turn_is_dropped_when_its_timer_is_cancelled_meanwhile(disk):
    class Slow(Alarmed, kind="Alarmed"):
        @handler
        async def slow(self, seconds: float) -> None:
            await trio.sleep(seconds)
            self.cancel_schedule("x")

    async with life(disk, Slow) as runtime:
        space = runtime.space("a")
        await space.ask(Alarmed.after, "x", 10.0)
        await space.ask(Slow.slow, 20.0)
        await runtime.settle()
        await runtime.reopen()
        await runtime.advance(100)
        assert await ticks(runtime) == []
        await check_ledger(runtime)


async def test_T3_a_turn_that_fails_sets_no_timer_and_cancels_none(disk):
    class Failing(Alarmed, kind="Alarmed"):
        @handler(throws=(KeyError,))
        async def change(self) -> None:
            self.schedule("y", Alarmed.tick, "y", after=1.0)
            self.cancel_schedule("x")
            raise KeyError

    async with life(disk, Failing) as runtime:
        await runtime.space("a").ask(Alarmed.after, "x", 10.0)
        with pytest.raises(Rejected):
            await runtime.space("a").ask(Failing.change)
        await runtime.reopen()
        await runtime.advance(50)
        assert await ticks(runtime) == [("x", 10.0)]


class Staying(Alarmed, kind="Alarmed"):
    options = SpaceOptions(restart_limit=RestartLimit(0, 60.0), backoff=None)


@pytest.mark.parametrize("actor", [Alarmed, Staying])
@pytest.mark.parametrize("reopened", [False, True])
async def test_T3_a_timer_of_a_quarantined_space_fires_when_it_is_revived(disk, reopened, actor):
    async with life(disk, actor) as runtime:
        space = runtime.space("a")
        await space.ask(Alarmed.after, "x", 10.0)
        await space.ask(Alarmed.every, "y", 30.0)
        with pytest.raises(Exception, match="failed"):
            await space.ask(Alarmed.crash)
        await runtime.settle()
        if reopened:
            await runtime.reopen()
        await runtime.advance(50)
        assert await ticks(runtime) == []
        assert (await space.info()).status is SpaceStatus.QUARANTINED
        await space.revive()
        await runtime.settle()
        assert sorted(await ticks(runtime)) == [("x", 50.0), ("y", 50.0)]
        await runtime.advance(10)
        assert ("y", 60.0) in await ticks(runtime)
        await check_ledger(runtime)


@pytest.mark.parametrize("passive", [False, True])
async def test_T4_a_deleted_space_has_no_timers_and_begins_without(disk, passive):
    """Also where the space leaves memory in the moment of its deletion: which task comes first is chance."""
    async with life(disk, Alarmed) as runtime:
        for name in "abcdefgh":
            space = runtime.space(name)
            await space.ask(Alarmed.after, "x", 10.0)
            if passive:
                await runtime.settle()
            await space.delete()
            await space.ask(Alarmed.nothing)
        await runtime.advance(20)
        await runtime.reopen()
        await runtime.advance(20)
        assert [await ticks(runtime, name) for name in "abcdefgh"] == [[]] * 8


async def test_T9_many_timers_due_at_once_all_fire_though_few_spaces_may_live(disk):
    async with life(disk, Alarmed, max_live=7) as runtime:
        for number in range(60):
            await runtime.space(f"{number}").ask(Alarmed.after, "x", 10.0 + number / 60)
        await runtime.advance(30)
        fired = [len(await ticks(runtime, f"{number}")) for number in range(60)]
        assert fired == [1] * 60
        assert await live(runtime) <= 7
        await check_ledger(runtime)


async def test_T10_more_spaces_than_are_looked_at_in_one_go_come_due_while_nothing_runs(disk, monkeypatch):
    monkeypatch.setattr("spaceactors._ticking._AT_ONCE", 10)
    async with life(disk, Alarmed) as runtime:
        for number in range(35):
            await runtime.space(f"{number}").ask(Alarmed.after, "x", 10.0)
    await trio.sleep(100)
    async with life(disk, Alarmed) as runtime:
        await runtime.advance(60)
        fired = [await ticks(runtime, f"{number}") for number in range(35)]
        assert [len(one) for one in fired] == [1] * 35
        assert max(when for ((_, when),) in fired) < 101.0


async def test_T10_spaces_that_cannot_be_had_do_not_hold_up_the_timers_of_others(disk):
    async with life(disk, Alarmed) as runtime:
        for name in ("a", "b", "c"):
            await runtime.space(name).ask(Alarmed.after, "x", 10.0)
        await runtime.settle()
        assert await live(runtime) == 0
        disk.stolen = {"a", "b"}
        await runtime.advance(20)
        assert await ticks(runtime, "c") == [("x", 10.0)]


async def test_T10_nor_do_more_of_them_than_are_looked_at_in_one_go(disk, monkeypatch):
    monkeypatch.setattr("spaceactors._ticking._AT_ONCE", 3)
    async with life(disk, Alarmed) as runtime:
        for number in range(10):
            await runtime.space(f"{number}").ask(Alarmed.after, "x", 10.0 + number)
        await runtime.settle()
        disk.stolen = {f"{number}" for number in range(8)}
        await runtime.advance(60)
        assert [len(await ticks(runtime, name)) for name in "89"] == [1, 1]


async def test_T10_an_outage_of_the_store_delays_timers_and_loses_none(disk):
    async with life(disk, Alarmed) as runtime:
        for name in ("a", "b"):
            await runtime.space(name).ask(Alarmed.after, "x", 10.0)
        await runtime.settle()
        disk.unreadable = disk.full = True
        await runtime.advance(30)
        disk.unreadable = disk.full = False
        await runtime.advance(30)
        assert [len(await ticks(runtime, name)) for name in ("a", "b")] == [1, 1]
        await check_ledger(runtime)


@pytest.mark.parametrize("seed", range(5))
async def test_T10_timers_at_odd_moments_fire_once_each_whatever_the_rounding(disk, seed):
    chance = random.Random(seed)
    await trio.sleep(chance.random() * 1000)
    began = trio.current_time()
    async with life(disk, Alarmed) as runtime:
        due = {}
        for number in range(40):
            await trio.sleep(chance.random() / 7)
            seconds = chance.random() * 20
            await runtime.space(f"{number}").ask(Alarmed.after, "x", seconds)
            due[f"{number}"] = trio.current_time() + seconds
        await runtime.advance(began + 60 - trio.current_time())
        for name, at in due.items():
            assert [round(when - at, 3) for _, when in await ticks(runtime, name)] == [0.0]
        assert disk.loads == 2 * len(due)  # a space that is due is brought back once


@pytest.mark.parametrize("jump", [-5000.0, -5.0, 5.0, 5000.0])
@pytest.mark.parametrize("passive", [False, True])
async def test_T10_whatever_the_wall_clock_does_a_timer_fires_once(disk, jump, passive):
    class Awake(Alarmed, kind="Alarmed"):
        options = SpaceOptions(idle_timeout=0.0 if passive else None)

    async with life(disk, Awake) as runtime:
        await runtime.space("a").ask(Alarmed.after, "x", 10.0)
        await runtime.settle()
        assert await live(runtime) == (not passive)
        runtime._hub.clock.jumped = jump
        await runtime.advance(20_000)
        fired = await ticks(runtime)
        assert len(fired) == 1
        assert fired[0][1] <= 10.0 + abs(jump)


async def test_T10_a_clock_set_forwards_while_nothing_ran_makes_a_timer_early_by_as_much(disk):
    async with life(disk, Alarmed) as runtime:
        await runtime.space("a").ask(Alarmed.at, "x", 100.0)
    async with life(disk, Alarmed, ahead=60.0) as runtime:
        await runtime.advance(39)
        assert await ticks(runtime) == []
        await runtime.advance(1)
        assert await ticks(runtime) == [("x", 40.0)]


async def test_T10_a_clock_set_back_while_nothing_ran_makes_periods_go_on_by_its_date(disk):
    async with life(disk, Alarmed) as runtime:
        await runtime.space("a").ask(Alarmed.every, "x", 10.0)
        await runtime.advance(25)
    async with life(disk, Alarmed, ahead=-100.0) as runtime:
        await runtime.advance(200)
        later = [when for _, when in await ticks(runtime)][2:]
        assert later[0] == 130.0
        assert [second - first for first, second in pairwise(later)] == [10.0] * (len(later) - 1)


class Asking(Actor[tuple[str, ...]]):
    options = SpaceOptions(idle_timeout=0.0)

    @handler
    async def decide(self, seconds: float) -> str:
        try:
            answer = await self.suspend("go", "go?", answer=str, timeout=seconds)
        except SuspensionExpired:
            answer = "nobody"
        self.state = (*self.state, f"{answer} at {trio.current_time()}")
        return answer


async def test_H4_questions_of_more_spaces_than_may_live_expire_in_time(disk):
    async with life(disk, Asking, max_live=5) as runtime:
        for number in range(30):
            await runtime.space(f"{number}").send(Asking.decide, 10.0)
        await runtime.settle()
        assert len(await runtime.suspensions.list()) == 30
        await runtime.advance(20)
        assert await runtime.suspensions.list() == []
        states = [await runtime.space(f"{number}").state() for number in range(30)]
        assert states == [("nobody at 10.0",)] * 30
        ledger = await check_ledger(runtime)
        assert ledger.pending == 0


async def test_T5_a_space_that_leaves_in_the_moment_of_its_tick_gets_it(disk):
    """`idle_timeout` and timer at the same moment: whichever comes first, the tick is handled once."""

    class Both(Alarmed, kind="Alarmed"):
        options = SpaceOptions(idle_timeout=10.0)

    async with life(disk, Both) as runtime:
        for number in range(20):
            await runtime.space(f"{number}").ask(Alarmed.after, "x", 10.0)
        await runtime.advance(30)
        assert [await ticks(runtime, f"{number}") for number in range(20)] == [[("x", 10.0)]] * 20
        assert await live(runtime) == 0
