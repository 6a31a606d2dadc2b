"""Timers belong to the space: set with a commit, replaced by key, never lost, never twice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from spaceactors import (
    Actor,
    MemoryStore,
    Outcome,
    Overflow,
    RestartLimit,
    RuntimeConfig,
    SpaceOptions,
    SpaceStatus,
    handler,
)
from spaceactors._timers import next_due
from tests.spaceactors.scenes import opened, outcome_of

pytestmark = pytest.mark.usefixtures("autojump_clock")

Ticks = tuple[tuple[str, float], ...]


class Clock(Actor[Ticks], kind="clock"):
    """Notes each tick with its time."""

    options = SpaceOptions(restart_limit=RestartLimit(100, 1.0), backoff=None)

    @handler
    async def tick(self, word: str = "tick") -> None:
        self.state = (*self.state, (word, trio.current_time()))

    @handler
    async def after(self, key: str, seconds: float, word: str = "tick") -> None:
        self.schedule(key, Clock.tick, word, after=seconds)

    @handler
    async def every(self, key: str, seconds: float) -> None:
        self.schedule(key, Clock.tick, every=seconds)

    @handler
    async def cancel(self, key: str) -> bool:
        return self.cancel_schedule(key)

    @handler
    async def crash(self) -> None:
        raise ValueError

    @handler
    async def slow_tick(self) -> None:
        await trio.sleep(25)
        self.state = (*self.state, ("slow", trio.current_time()))

    @handler
    async def every_slow(self) -> None:
        self.schedule("slow", Clock.slow_tick, every=10.0)

    @handler
    async def work(self, seconds: float) -> None:
        await trio.sleep(seconds)


def times(state):
    return [at for _, at in state]


async def test_a_timer_sends_its_message_once_after_so_many_seconds():
    async with opened(Clock) as runtime:
        clock = runtime.space("x")
        await clock.ask(Clock.after, "a", 5.0, "ring")
        await trio.sleep(100)
        assert await clock.state() == (("ring", 5.0),)


async def test_a_timer_at_a_date_that_is_over_fires_at_once():
    class Late(Actor[int]):
        @handler
        async def start(self) -> None:
            self.schedule("a", Late.tick, at=datetime.now(UTC) - timedelta(days=1))

        @handler
        async def tick(self) -> None:
            self.state += 1

    async with opened(Late) as runtime:
        await runtime.space("x").ask(Late.start)
        await trio.sleep(0.001)
        assert await runtime.space("x").state() == 1


async def test_a_timer_at_a_date_fires_at_that_date():
    class Dated(Actor[float]):
        @handler
        async def start(self) -> None:
            self.schedule("a", Dated.tick, at=datetime.now(UTC) + timedelta(hours=1))

        @handler
        async def tick(self) -> None:
            self.state = trio.current_time()

    async with opened(Dated) as runtime:
        await runtime.space("x").ask(Dated.start)
        await trio.sleep(7200)
        assert await runtime.space("x").state() == pytest.approx(3600, abs=5)


async def test_every_ticks_on_a_grid_that_does_not_drift():
    async with opened(Clock) as runtime:
        clock = runtime.space("x")
        await clock.ask(Clock.every, "a", 10.0)
        await trio.sleep(35)
        assert times(await clock.state()) == [10.0, 20.0, 30.0]


async def test_every_keeps_one_tick_on_its_way_and_skips_the_missed_ones():
    async with opened(Clock) as runtime:
        clock = runtime.space("x")
        await clock.ask(Clock.every_slow)
        await trio.sleep(99)
        # begun at 10, 40 and 70, each 25 seconds long
        assert times(await clock.state()) == [35.0, 65.0, 95.0]


async def test_T1_the_same_key_replaces():
    async with opened(Clock) as runtime:
        clock = runtime.space("x")
        await clock.ask(Clock.after, "a", 5.0, "old")
        await clock.ask(Clock.after, "a", 8.0, "new")
        await trio.sleep(100)
        assert await clock.state() == (("new", 8.0),)


async def test_T1_other_keys_stand_beside():
    async with opened(Clock) as runtime:
        clock = runtime.space("x")
        await clock.ask(Clock.after, "a", 5.0, "a")
        await clock.ask(Clock.after, "b", 5.0, "b")
        await trio.sleep(100)
        assert await clock.state() == (("a", 5.0), ("b", 5.0))


async def test_T1_the_last_of_two_in_one_turn_counts():
    class Twice(Clock, kind="twice"):
        @handler
        async def start(self) -> None:
            self.schedule("a", Clock.tick, "old", after=1.0)
            self.schedule("a", Clock.tick, "new", after=2.0)

    async with opened(Twice) as runtime:
        await runtime.space("x").ask(Twice.start)
        await trio.sleep(100)
        assert await runtime.space("x").state() == (("new", 2.0),)


async def test_T2_a_tick_that_waits_in_the_mailbox_is_dropped_when_its_timer_is_replaced():
    async with opened(Clock) as runtime:
        clock = runtime.space("x")
        await clock.ask(Clock.after, "a", 5.0, "old")
        await clock.send(Clock.work, 10.0)  # the tick comes meanwhile, behind the next message
        await clock.send(Clock.after, "a", 20.0, "new")
        await trio.sleep(100)
        assert await clock.state() == (("new", 30.0),)


async def test_T2_a_dropped_tick_is_discarded_in_the_ledger():
    async with opened(Clock) as runtime:
        clock = runtime.space("x")
        await clock.ask(Clock.after, "a", 5.0, "old")
        await clock.send(Clock.work, 10.0)
        await clock.send(Clock.cancel, "a")
        await trio.sleep(100)
        ledger = (await runtime.snapshot()).ledger
        assert ledger.outcomes[Outcome.DISCARDED] == 1
        assert ledger.accepted == sum(ledger.outcomes.values()) == 4


@pytest.mark.parametrize("at", [1.0, 6.0])
async def test_T2_T3_a_cancelled_timer_never_fires(at):
    async with opened(Clock) as runtime:
        clock = runtime.space("x")
        await clock.ask(Clock.every, "a", 5.0)
        await trio.sleep(at)
        assert await clock.ask(Clock.cancel, "a") is True
        before = await clock.state()
        await trio.sleep(100)
        assert await clock.state() == before


async def test_T3_cancelling_what_is_not_there_says_so():
    async with opened(Clock) as runtime:
        clock = runtime.space("x")
        await clock.ask(Clock.after, "a", 5.0)
        await trio.sleep(6)
        assert await clock.ask(Clock.cancel, "a") is False


async def test_T3_timers_survive_a_crash():
    async with opened(Clock) as runtime:
        clock = runtime.space("x")
        await clock.ask(Clock.after, "a", 5.0)
        await outcome_of(clock.ask, Clock.crash)
        await trio.sleep(10)
        assert times(await clock.state()) == [5.0]


async def test_T3_a_timer_wakes_a_passive_space():
    class Idle(Clock, kind="idle"):
        options = SpaceOptions(idle_timeout=1.0)

    async with opened(Idle) as runtime:
        clock = runtime.space("x")
        await clock.ask(Clock.after, "a", 50.0)
        await trio.sleep(40)
        status = (await clock.info()).status
        await trio.sleep(10.5)
        assert (status, times(await clock.state())) == (SpaceStatus.PASSIVE, [50.0])


async def test_T3_a_timer_survives_a_drain_of_its_space():
    async with opened(Clock) as runtime:
        clock = runtime.space("x")
        await clock.ask(Clock.after, "a", 50.0)
        await clock.drain()
        await trio.sleep(100)
        assert times(await clock.state()) == [50.0]


async def test_T3_a_timer_of_a_turn_that_did_not_commit_never_fires():
    class Shy(Clock, kind="shy"):
        options = Clock.options

        @handler
        async def start(self) -> None:
            self.schedule("a", Clock.tick, after=1.0)
            raise ValueError

    async with opened(Shy) as runtime:
        await outcome_of(runtime.space("x").ask, Shy.start)
        await trio.sleep(10)
        assert await runtime.space("x").state() == ()


async def test_T3_cancelling_in_a_turn_that_did_not_commit_cancels_nothing():
    class Fickle(Clock, kind="fickle"):
        options = Clock.options

        @handler
        async def give_up(self) -> None:
            self.cancel_schedule("a")
            raise ValueError

    async with opened(Fickle) as runtime:
        clock = runtime.space("x")
        await clock.ask(Clock.after, "a", 5.0)
        await outcome_of(clock.ask, Fickle.give_up)
        await trio.sleep(10)
        assert times(await clock.state()) == [5.0]


@pytest.mark.parametrize("end", ["stop", "kill", "delete"])
async def test_T4_stop_kill_and_delete_cancel_the_timers(end):
    async with opened(Clock) as runtime:
        clock = runtime.space("x")
        await clock.ask(Clock.after, "a", 5.0)
        await clock.ask(Clock.every, "b", 5.0)
        await getattr(clock, end)()
        await trio.sleep(100)
        assert await clock.state() == ()
        assert (await runtime.snapshot()).live == 0


async def test_T6_a_tick_may_set_its_own_timer_again():
    class Slower(Actor[Ticks]):
        @handler
        async def tick(self, seconds: float) -> None:
            self.state = (*self.state, ("tick", trio.current_time()))
            self.schedule("a", Slower.tick, seconds * 2, after=seconds)

    async with opened(Slower) as runtime:
        await runtime.space("x").ask(Slower.tick, 1.0)
        await trio.sleep(10)
        assert times(await runtime.space("x").state()) == [0.0, 1.0, 3.0, 7.0]


async def test_T6_a_repeating_timer_can_be_cancelled_by_its_own_tick():
    class Thrice(Actor[int]):
        @handler
        async def start(self) -> None:
            self.schedule("a", Thrice.tick, every=1.0)

        @handler
        async def tick(self) -> None:
            self.state += 1
            if self.state == 3:
                self.cancel_schedule("a")

    async with opened(Thrice) as runtime:
        await runtime.space("x").ask(Thrice.start)
        await trio.sleep(10)
        assert await runtime.space("x").state() == 3


@pytest.mark.parametrize("overflow", list(Overflow))
async def test_T3_a_tick_that_finds_the_mailbox_full_waits_for_a_place(overflow):
    class Full(Clock, kind="full"):
        options = SpaceOptions(mailbox_capacity=1, overflow=overflow)

    async with opened(Full) as runtime:
        clock = runtime.space("x")
        await clock.ask(Clock.after, "a", 5.0)
        await clock.send(Clock.work, 10.0)
        await trio.sleep(1)
        await clock.send(Clock.tick, "sent")  # fills the only place
        await trio.sleep(100)
        assert await clock.state() == (("sent", 10.0), ("tick", 10.0))


async def test_T3_a_tick_that_waits_for_a_place_holds_up_no_other_space():
    class Full(Clock, kind="full"):
        options = SpaceOptions(mailbox_capacity=1)

    async with opened(Full) as runtime:
        full, other = runtime.space("x"), runtime.space("y")
        for one in (full, other):
            await one.ask(Clock.after, "a", 5.0)
        await full.send(Clock.work, 50.0)
        await trio.sleep(1)
        await full.send(Clock.tick, "sent")
        await trio.sleep(10)
        assert times(await other.state()) == [5.0]


async def test_T3_a_tick_that_waits_for_a_place_is_dropped_when_it_is_replaced():
    class Full(Clock, kind="full"):
        options = SpaceOptions(mailbox_capacity=1)

    async with opened(Full) as runtime:
        clock = runtime.space("x")
        await clock.ask(Clock.after, "a", 5.0, "old")
        await clock.send(Clock.work, 10.0)
        await trio.sleep(1)
        await clock.send(Clock.cancel, "a")
        await trio.sleep(100)
        assert await clock.state() == ()


async def test_T3_a_timer_of_a_quarantined_space_waits_for_its_revival():
    class Weak(Clock, kind="weak"):
        options = SpaceOptions(restart_limit=RestartLimit(0, 60.0), backoff=None)

    async with opened(Weak) as runtime:
        clock = runtime.space("x")
        await clock.ask(Clock.after, "a", 5.0)
        await outcome_of(clock.ask, Clock.crash)
        await trio.sleep(10)
        assert await clock.state() == ()
        await clock.revive()
        await trio.sleep(10)
        assert times(await clock.state()) == [10.0]


async def test_T3_a_repeating_timer_goes_on_after_a_tick_that_crashed():
    class Shaky(Actor[int]):
        options = SpaceOptions(restart_limit=RestartLimit(100, 1.0), backoff=None)

        @handler
        async def start(self) -> None:
            self.schedule("a", Shaky.tick, every=1.0)

        @handler
        async def tick(self) -> None:
            if trio.current_time() < 2:
                raise ValueError
            self.state += 1

    async with opened(Shaky) as runtime:
        await runtime.space("x").ask(Shaky.start)
        await trio.sleep(4.5)
        assert await runtime.space("x").state() == 3


async def test_T3_a_timer_may_be_set_by_a_hook():
    class Early(Clock, kind="early"):
        async def on_start(self) -> None:
            self.schedule("a", Clock.tick, after=2.0)

    async with opened(Early) as runtime:
        await runtime.space("x").ask(Clock.work, 0.0)
        await trio.sleep(10)
        assert times(await runtime.space("x").state()) == [2.0]


async def test_T3_a_due_timer_waits_for_a_place_among_the_live_spaces():
    async with opened(Clock, config=RuntimeConfig(max_live_spaces=1)) as runtime:
        first, second = runtime.space("first"), runtime.space("second")
        await first.ask(Clock.after, "a", 5.0)
        await second.send(Clock.work, 20.0)
        await trio.sleep(100)
        assert times(await first.state()) == [20.0]


async def test_T10_timers_in_memory_are_kept_with_the_store_and_fire_late_rather_than_never():
    store = MemoryStore()
    async with opened(Clock, store=store) as runtime:
        await runtime.space("x").ask(Clock.after, "late", 5.0, "late")
        await runtime.space("x").ask(Clock.after, "on time", 50.0, "on time")
    await trio.sleep(20)
    async with opened(Clock, store=store) as runtime:
        await trio.sleep(100)
        assert await runtime.space("x").state() == (("late", 20.0), ("on time", 50.0))


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({}, TypeError, "needs one of after=, at= and every=, not none"),
        ({"after": 1.0, "every": 1.0}, TypeError, "not after, every"),
        ({"after": -1.0}, ValueError, "after must be at least 0"),
        ({"every": 0.0}, ValueError, "every must be more than 0"),
        ({"at": datetime(2030, 1, 1)}, ValueError, "needs a time zone"),  # noqa: DTZ001
    ],
)
async def test_a_schedule_that_cannot_be_is_refused_where_it_is_written(options, error, text):
    class Wrong(Clock, kind="wrong"):
        @handler(throws=(TypeError, ValueError))
        async def start(self) -> str:
            with pytest.raises(error) as caught:
                self.schedule("a", Clock.tick, **options)
            return str(caught.value)

    async with opened(Wrong) as runtime:
        assert text in await runtime.space("x").ask(Wrong.start)


async def test_a_schedule_whose_arguments_do_not_fit_is_refused_where_it_is_written():
    class Wrong(Clock, kind="wrong"):
        @handler
        async def start(self) -> str:
            with pytest.raises(TypeError) as caught:
                self.schedule("a", Clock.tick, 1, 2, 3, after=1.0)
            return str(caught.value)

    async with opened(Wrong) as runtime:
        assert "too many positional arguments" in await runtime.space("x").ask(Wrong.start)


# ---- the pure rule


@pytest.mark.parametrize(
    ("due", "every", "now", "expected"),
    [(10.0, 10.0, 10.0, 20.0), (10.0, 10.0, 12.0, 20.0), (10.0, 10.0, 35.0, 40.0), (10.0, 10.0, 5.0, 10.0)],
)
def test_the_next_tick_is_the_first_on_the_grid_that_is_not_over(due, every, now, expected):
    assert next_due(due, every, now) == expected


@given(due=st.integers(0, 1000), every=st.integers(1, 50), late=st.integers(0, 10_000))
def test_the_next_tick_is_on_the_grid_and_at_most_one_period_away(due, every, late):
    now = due + late
    found = next_due(due, every, now)
    assert now < found <= now + every
    assert (found - due) % every == 0
