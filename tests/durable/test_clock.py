"""Clocks that do not behave: they go on while nobody looks, and the wall clock jumps."""

from __future__ import annotations

import time
from datetime import datetime, timedelta

import pytest
import trio
from trio.testing import MockClock

from spaceactors import Actor, SpaceOptions, SpaceStatus, SqliteStore, _clock, handler, open_runtime

pytestmark = pytest.mark.timeout(240)


class HastyClock(trio.abc.Clock):
    """Goes on by a millisecond whenever it is read, so that no two looks within a tick agree."""

    def __init__(self):
        self.inner = MockClock(autojump_threshold=0)

    def start_clock(self):
        self.inner.start_clock()

    def current_time(self):
        self.inner.jump(0.001)
        return self.inner.current_time()

    def deadline_to_sleep_time(self, deadline):
        return max(deadline - self.inner.current_time(), 0.0) and 0.0


class Brief(Actor[int]):
    options = SpaceOptions(idle_timeout=0.05)

    @handler
    async def add(self) -> int:
        self.state = self.state + 1
        return self.state


def test_T5_a_space_goes_idle_by_a_clock_that_runs_on_within_a_tick():
    async def main():
        async with open_runtime(Brief) as runtime:
            alice = runtime.space("alice")
            for count in range(1, 40):
                assert await alice.ask(Brief.add) == count
                await trio.sleep(0.001 * count)
            await trio.sleep(1)
            assert (await alice.info()).status is SpaceStatus.PASSIVE

    trio.run(main, clock=HastyClock())


# ---- the wall clock jumps

HOUR = 3600.0


class Wall:
    """The wall clock, put forward or back by so many seconds."""

    def __init__(self):
        self.ahead = 0.0

    def time(self):
        return time.time() + self.ahead

    def now(self, zone):
        return datetime.now(zone) + timedelta(seconds=self.ahead)

    @staticmethod
    def fromtimestamp(seconds, zone):
        return datetime.fromtimestamp(seconds, zone)


@pytest.fixture
def wall(monkeypatch):
    jumping = Wall()
    monkeypatch.setattr(_clock, "time", jumping.time)
    monkeypatch.setattr(_clock, "datetime", jumping)
    return jumping


class Alarm(Actor[tuple[str, ...]]):
    options = SpaceOptions(idle_timeout=0.05)

    @handler
    async def set(self, after: float) -> None:
        self.schedule("once", Alarm.ring, "once", after=after)

    @handler
    async def repeat(self, every: float) -> None:
        self.schedule("often", Alarm.ring, "often", every=every)

    @handler
    async def ring(self, what: str) -> None:
        self.state = (*self.state, what)

    @handler
    async def add(self) -> int:
        self.state = (*self.state, "added")
        return len(self.state)


class Awake(Alarm):
    """Stays in memory, where timers go by Trio's clock; in the store they are due at a date."""

    options = SpaceOptions()


def service(tmp_path, actor=Alarm):
    return open_runtime(actor, store=SqliteStore(tmp_path / "alarms.db"))


async def rung(handle, count):
    with trio.fail_after(100):
        while len(await handle.state()) < count:  # noqa: ASYNC110 (nobody tells)
            await trio.sleep(0.01)
    await trio.sleep(0.2)
    return await handle.state()


@pytest.mark.parametrize(("actor", "jump"), [(Awake, HOUR), (Awake, -HOUR), (Alarm, HOUR)])
async def test_T10_a_timer_fires_once_although_the_wall_clock_jumps_while_it_waits(tmp_path, wall, actor, jump):
    async with service(tmp_path, actor) as runtime:
        alice = runtime.space("alice")
        await alice.ask(actor.set, 0.3)
        wall.ahead = jump
        assert await rung(alice, 1) == ("once",)
        wall.ahead = 0.0
        await trio.sleep(0.2)
        assert await alice.state() == ("once",)
    async with service(tmp_path, actor) as runtime:
        await trio.sleep(0.2)
        assert await runtime.space("alice").state() == ("once",)


async def test_T10_a_timer_that_a_jump_made_late_fires_once_at_the_next_opening(tmp_path, wall):
    async with service(tmp_path) as runtime:
        await runtime.space("alice").ask(Alarm.set, HOUR)
        await runtime.space("bob").ask(Alarm.repeat, 600.0)
    wall.ahead = 2 * HOUR
    async with service(tmp_path) as runtime:
        assert await rung(runtime.space("alice"), 1) == ("once",)
        # Twelve periods were missed: they are skipped. The next one is not over while this runs.
        assert await rung(runtime.space("bob"), 1) == ("often",)
    wall.ahead = 0.0
    async with service(tmp_path) as runtime:
        await trio.sleep(0.2)
        assert await runtime.space("alice").state() == ("once",)
        assert await runtime.space("alice").ask(Alarm.add) == 2


async def test_T10_a_timer_set_before_the_clock_was_put_back_fires_once_and_not_for_an_hour(tmp_path, wall):
    wall.ahead = HOUR
    async with service(tmp_path) as runtime:
        await runtime.space("alice").ask(Alarm.set, 0.1)
        await trio.sleep(0.01)
    wall.ahead = 0.0
    async with service(tmp_path) as runtime:
        await trio.sleep(0.3)
        assert await runtime.space("alice").state() in {(), ("once",)}
    wall.ahead = 2 * HOUR
    async with service(tmp_path) as runtime:
        assert await rung(runtime.space("alice"), 1) == ("once",)


@pytest.mark.parametrize("jump", [HOUR, -HOUR, -1000 * HOUR])
async def test_D3_message_ids_are_remembered_although_the_wall_clock_jumps(tmp_path, wall, jump):
    async with service(tmp_path) as runtime:
        assert await runtime.space("alice").with_options(message_id="one").ask(Alarm.add) == 1
    wall.ahead = jump
    for _ in range(2):
        async with service(tmp_path) as runtime:
            alice = runtime.space("alice")
            assert await alice.with_options(message_id="one").ask(Alarm.add) == 1
            assert await alice.state() == ("added",)


@pytest.mark.parametrize("jump", [HOUR, -HOUR, -1000 * HOUR])
async def test_M1_order_and_positions_go_on_although_the_wall_clock_jumps(tmp_path, wall, jump):
    async with service(tmp_path) as runtime:
        for _ in range(3):
            await runtime.space("alice").send(Alarm.add)
        wall.ahead = jump
        assert await runtime.space("alice").ask(Alarm.add) == 4
    async with service(tmp_path) as runtime:
        wall.ahead = 0.0
        assert await runtime.space("alice").ask(Alarm.add) == 5
        assert (await runtime.snapshot()).ledger.pending == 0
