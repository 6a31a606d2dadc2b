"""The test kit itself: virtual time, seeds, faults, the death of the process, the check of encodings."""

from __future__ import annotations

import random
import sys
from datetime import UTC, datetime, timedelta

import pytest
import trio
from trio.testing import MockClock

from spaceactors import (
    Actor,
    ActorCrashed,
    BadCall,
    MemoryStore,
    MessageExpired,
    OutsideTurn,
    RuntimeClosed,
    SpaceHandle,
    SpaceOptions,
    StoreError,
    handler,
    open_runtime,
)
from spaceactors.testing import InjectedFault, open_test_runtime


class World:
    """What the diarist sees of the world, and the world of her."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.gate = trio.Event()


class Diary(Actor[tuple[str, ...]]):
    def __init__(self, world: World) -> None:
        self.world = world
        self.scratch = 0

    @handler
    async def write(self, text: str) -> int:
        self.state += (text,)
        self.history.append(text)
        self.scratch += 1
        return self.scratch

    @handler
    async def keep(self, text: object) -> None:
        """Take anything."""

    @handler
    async def wait(self, text: str) -> str:
        self.world.seen.append(f"begin {text} {self.message.attempt}")
        await self.world.gate.wait()
        self.state += (text,)
        return text

    @handler
    async def linger(self, text: str) -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(5)
            self.world.seen.append("gone")

    @handler
    async def stubborn(self) -> None:
        self.state += ("never",)
        if not self.world.seen:
            self.world.seen.append("dying")
            with trio.CancelScope(shield=True):
                await trio.sleep(5)

    @handler
    async def fail_late(self) -> None:
        if not self.world.seen:
            self.world.seen.append("dying")
            try:
                await trio.sleep_forever()
            finally:
                raise ValueError("clean-up failed")

    @handler
    async def remind(self, key: str, after: float) -> None:
        self.schedule(key, Diary.ring, key, after=after)

    @handler
    async def ring(self, key: str) -> None:
        for _ in range(20):
            await trio.lowlevel.checkpoint()
        self.state += (f"{key} at {trio.current_time():g}",)
        self.world.seen.append(f"{key} rang")

    @handler
    async def when(self) -> datetime:
        return self.message.accepted_at

    @handler
    async def work_beside(self) -> None:
        self.start_soon(self._beside)

    async def _beside(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            self.world.seen.append("work ended")

    @handler
    async def tell(self, text: str) -> None:
        self.emit(text)


# ---- time


async def test_a_day_passes_at_once_on_the_real_clock() -> None:
    began = trio.current_time()
    async with open_test_runtime(Diary, deps=World()) as runtime:
        at = trio.current_time()
        await runtime.advance(86_400)
        assert trio.current_time() == at + 86_400
    assert trio.current_time() - began < 60


async def test_virtual_time_begins_at_the_present_time() -> None:
    began = trio.current_time()
    async with open_test_runtime(Diary, deps=World()):
        assert 0 <= trio.current_time() - began < 60


async def test_the_runs_own_clock_comes_back() -> None:
    before = trio.lowlevel.current_clock()
    with pytest.raises(KeyError, match="from the test"):
        async with open_test_runtime(Diary, deps=World()):
            assert trio.lowlevel.current_clock() is not before
            raise KeyError("from the test")
    assert trio.lowlevel.current_clock() is before


def test_time_goes_by_itself_only_inside_the_block() -> None:
    async def main() -> None:
        async with open_test_runtime(Diary, deps=World()) as runtime:
            await runtime.advance(3600)
        with trio.move_on_after(0.001) as scope:
            await trio.sleep(3600)
        assert scope.cancelled_caught

    trio.run(main)


def test_a_clock_of_the_test_stays_and_gets_its_threshold_back() -> None:
    clock = MockClock(rate=0, autojump_threshold=7)

    async def main() -> None:
        async with open_test_runtime(Diary, deps=World()) as runtime:
            assert trio.lowlevel.current_clock() is clock
            await runtime.advance(10)
        assert (clock.autojump_threshold, clock.current_time()) == (7, 10)

    trio.run(main, clock=clock)


async def test_advance_goes_through_every_deadline_in_its_order() -> None:
    async with open_test_runtime(Diary, deps=World()) as runtime:
        diary, t = runtime.space("d"), trio.current_time()
        for key, after in (("c", 3), ("a", 1), ("b", 2), ("d", 4.5)):
            await diary.ask(Diary.remind, key, after)
        await runtime.advance(4)
        assert await diary.state() == (f"a at {t + 1:g}", f"b at {t + 2:g}", f"c at {t + 3:g}")


async def test_what_is_due_at_the_end_of_advance_has_happened() -> None:
    world = World()
    async with open_test_runtime(Diary, deps=world) as runtime:
        await runtime.space("d").ask(Diary.remind, "a", 3600)
        await runtime.advance(3599)
        assert world.seen == []
        await runtime.advance(1)
        assert world.seen == ["a rang"]


async def test_settle_lets_everything_happen_and_no_time_pass() -> None:
    async with open_test_runtime(Diary, deps=World()) as runtime:
        diary, t = runtime.space("d"), trio.current_time()
        await diary.ask(Diary.remind, "later", 1)
        for text in "abc":
            await diary.send(Diary.write, text)
        await runtime.settle()
        assert (await diary.state(), trio.current_time()) == (("a", "b", "c"), t)


async def test_time_cannot_go_back() -> None:
    async with open_test_runtime(Diary, deps=World()) as runtime:
        with pytest.raises(ValueError, match=r"non-negative|negative"):
            await runtime.advance(-1)


async def test_the_wall_clock_is_fixed_and_goes_with_trios_time() -> None:
    async with open_test_runtime(Diary, deps=World()) as runtime:
        await runtime.advance(90)
        assert await runtime.space("d").ask(Diary.when) == datetime(2030, 1, 1, tzinfo=UTC) + timedelta(seconds=90)


# ---- seeds


def order_of(seed: int | None) -> tuple[str, ...]:
    async def main() -> tuple[str, ...]:
        async with open_test_runtime(Diary, deps=World(), seed=seed) as runtime:
            diary = runtime.space("d")
            async with trio.open_nursery() as nursery:
                for number in range(20):
                    nursery.start_soon(diary.send, Diary.write, str(number))
            await runtime.settle()
            return (*await diary.state(), str(random.random()))

    return trio.run(main)


def test_the_same_seed_gives_the_same_run_and_another_seed_another() -> None:
    first = order_of(7)
    random.random()
    assert order_of(7) == first
    assert len({order_of(seed)[:-1] for seed in range(5)}) == 5


def test_chance_is_put_back_where_it_was() -> None:
    random.seed(1)
    before = random.getstate()
    order_of(7)
    assert random.getstate() == before


# ---- faults


async def test_a_commit_that_fails_keeps_nothing_and_tells_the_asker_why() -> None:
    async with open_test_runtime(Diary, deps=World()) as runtime:
        diary = runtime.space("d")
        with runtime.fault("before_commit"), pytest.raises(ActorCrashed) as crash:
            await diary.ask(Diary.write, "a")
        assert isinstance(crash.value.__cause__, InjectedFault)
        assert (await diary.state(), len(diary.history)) == ((), 0)


async def test_a_turn_that_changes_nothing_is_committed_too() -> None:
    async with open_test_runtime(Diary, deps=World()) as runtime:
        diary = runtime.space("d")
        await diary.ask(Diary.keep, 1)
        with runtime.fault("before_commit"), pytest.raises(ActorCrashed):
            await diary.ask(Diary.keep, 2)


async def test_a_fault_comes_as_often_as_it_was_told() -> None:
    async with open_test_runtime(Diary, deps=World()) as runtime:
        diary = runtime.space("d")
        with runtime.fault("before_commit", times=2):
            for _ in range(2):
                with pytest.raises(ActorCrashed):
                    await diary.ask(Diary.write, "a")
            await diary.ask(Diary.write, "b")
        assert await diary.state() == ("b",)


async def test_a_fault_ends_with_its_block() -> None:
    async with open_test_runtime(Diary, deps=World()) as runtime:
        with runtime.fault("before_commit", times=5):
            pass
        await runtime.space("d").ask(Diary.write, "a")


async def test_a_fault_raises_the_error_that_it_was_given() -> None:
    async with open_test_runtime(Diary, deps=World()) as runtime:
        diary = runtime.space("d")
        with runtime.fault("before_accept", StoreError("disk full")), pytest.raises(StoreError, match="disk full"):
            await diary.send(Diary.write, "a")
        assert (await runtime.snapshot()).ledger.accepted == 0


async def test_deletions_can_fail() -> None:
    async with open_test_runtime(Diary, deps=World()) as runtime:
        diary = runtime.space("d")
        await diary.ask(Diary.write, "a")
        with runtime.fault("before_delete"), pytest.raises(InjectedFault):
            await diary.stop()
            await diary.delete()
        assert await diary.state() == ("a",)


async def test_a_point_that_is_none_is_named_with_those_that_are() -> None:
    async with open_test_runtime(Diary, deps=World()) as runtime:
        with pytest.raises(ValueError, match=r"'at_noon'.*before_accept, before_commit"), runtime.fault("at_noon"):
            pass


async def test_a_fault_must_come_at_least_once() -> None:
    async with open_test_runtime(Diary, deps=World()) as runtime:
        with pytest.raises(ValueError, match="times"), runtime.fault("before_commit", times=0):
            pass


# ---- the death of the process


async def test_after_a_kill_the_state_and_the_history_are_there_and_scratch_is_gone() -> None:
    async with open_test_runtime(Diary, deps=World()) as runtime:
        diary = runtime.space("d")
        assert [await diary.ask(Diary.write, text) for text in "ab"] == [1, 2]
        await runtime.reopen()
        assert (await diary.state(), await diary.history.recent(9)) == (("a", "b"), ["a", "b"])
        assert await diary.ask(Diary.write, "c") == 1


class Crowd(Actor[int]):
    """Works in several tasks at once."""

    @handler
    async def work(self, seconds: float) -> int:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep, seconds)
            nursery.start_soon(trio.sleep, seconds)
        self.state += 1
        return self.state


def test_a_handler_with_a_nursery_is_cut_off_like_any_other() -> None:
    """Not as a task of pytest-trio, which would take the group of cancellations for its own."""

    async def main() -> int:
        async with open_test_runtime(Crowd) as runtime:
            crowd = runtime.space("c")
            await crowd.send(Crowd.work, 20.0)
            await runtime.settle()
            await runtime.reopen()
            return await crowd.ask(Crowd.work, 1.0)

    assert trio.run(main, clock=MockClock()) == 2


async def test_what_was_accepted_runs_in_its_order_and_being_killed_is_no_try() -> None:
    world = World()
    async with open_test_runtime(Diary, deps=world) as runtime:
        diary = runtime.space("d")
        await diary.send(Diary.wait, "first")
        for text in "bc":
            await diary.send(Diary.write, text)
        await runtime.settle()
        await runtime.reopen()
        world.gate.set()
        await runtime.settle()
        assert await diary.state() == ("first", "b", "c")
        assert world.seen == ["begin first 1", "begin first 1"]
        ledger = (await runtime.snapshot()).ledger
        assert ledger.accepted == sum(ledger.outcomes.values()) == 3


async def test_an_asker_of_the_dead_process_is_told() -> None:
    async with open_test_runtime(Diary, deps=World()) as runtime:
        diary = runtime.space("d")

        async def ask(text: str) -> None:
            with pytest.raises(RuntimeClosed, match="reopened"):
                await diary.ask(Diary.wait, text)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, "running")
            await runtime.settle()
            nursery.start_soon(ask, "waiting")
            await runtime.settle()
            await runtime.reopen()


async def test_senders_that_waited_for_a_place_are_told() -> None:
    class Narrow(Diary):
        options = SpaceOptions(mailbox_capacity=1)

    async with open_test_runtime(Narrow, deps=World()) as runtime:
        diary = runtime.space("d")

        async def send() -> None:
            with pytest.raises(RuntimeClosed):
                await diary.send(Diary.write, "third")

        await diary.send(Diary.wait, "first")
        await runtime.settle()
        await diary.send(Diary.write, "second")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            await runtime.settle()
            await runtime.reopen()


async def test_what_dies_changes_nothing_any_more() -> None:
    world = World()
    async with open_test_runtime(Diary, deps=world) as runtime:
        diary = runtime.space("d")
        await diary.send(Diary.stubborn)
        await runtime.settle()
        assert world.seen == ["dying"]
        await runtime.reopen()
        await runtime.settle()
        assert await diary.state() == ("never",)  # once: from the second run


async def test_what_fails_in_dying_leaves_no_dead_letter() -> None:
    world = World()
    async with open_test_runtime(Diary, deps=world) as runtime:
        await runtime.space("d").send(Diary.fail_late)
        await runtime.settle()
        assert world.seen == ["dying"]
        await runtime.reopen()
        await runtime.settle()
        assert await runtime.dead_letters.list() == []


async def test_R26_the_new_life_begins_after_the_old_one_has_ended() -> None:
    world = World()
    async with open_test_runtime(Diary, deps=world) as runtime:
        diary = runtime.space("d")
        await diary.ask(Diary.work_beside)
        await diary.send(Diary.linger, "x")
        await runtime.settle()
        await runtime.reopen()
        assert sorted(world.seen) == ["gone", "work ended"]


async def test_T10_timers_survive_a_kill_and_ring_once_and_on_time() -> None:
    async with open_test_runtime(Diary, deps=World()) as runtime:
        diary, t = runtime.space("d"), trio.current_time()
        await diary.ask(Diary.remind, "a", 10)
        await runtime.advance(4)
        await runtime.reopen()
        await runtime.advance(100)
        assert await diary.state() == (f"a at {t + 10:g}",)


async def test_T10_a_tick_that_waited_for_its_turn_at_the_kill_comes_once() -> None:
    world = World()
    async with open_test_runtime(Diary, deps=world) as runtime:
        diary = runtime.space("d")
        await diary.ask(Diary.remind, "a", 10)
        await diary.send(Diary.wait, "x")
        await runtime.advance(20)
        await runtime.reopen()
        world.gate.set()
        await runtime.advance(20)
        assert [one for one in world.seen if one.endswith("rang")] == ["a rang"]


async def test_an_id_that_was_answered_stays_answered() -> None:
    async with open_test_runtime(Diary, deps=World()) as runtime:
        diary = runtime.space("d").with_options(message_id="m")
        first = await diary.ask(Diary.write, "a")
        await runtime.reopen()
        assert await diary.ask(Diary.write, "a") == first
        assert await diary.state() == ("a",)


async def test_an_id_that_is_pending_stays_one_message() -> None:
    world = World()
    async with open_test_runtime(Diary, deps=world) as runtime:
        diary = runtime.space("d").with_options(message_id="m")
        await diary.send(Diary.wait, "a")
        await runtime.settle()
        await runtime.reopen()
        world.gate.set()
        assert await diary.ask(Diary.wait, "a") == "a"
        assert await diary.state() == ("a",)


async def test_the_time_of_a_message_that_may_expire_goes_on() -> None:
    world = World()
    async with open_test_runtime(Diary, deps=world) as runtime:
        diary = runtime.space("d")
        await diary.send(Diary.wait, "a")
        await runtime.settle()
        await diary.with_options(expires_after=10, message_id="m").send(Diary.write, "b")
        await runtime.advance(6)
        await runtime.reopen()
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                with pytest.raises(MessageExpired):
                    await diary.with_options(message_id="m").ask(Diary.write, "b")

            nursery.start_soon(ask)
            await runtime.advance(4)
        world.gate.set()
        await runtime.settle()
        assert await diary.state() == ("a",)


async def test_readers_of_a_feed_come_to_its_end_and_can_go_on_where_they_were() -> None:
    async with open_test_runtime(Diary, deps=World()) as runtime:
        diary = runtime.space("d")
        async with diary.subscribe(str) as feed:
            await diary.ask(Diary.tell, "a")
            await runtime.reopen()
            assert [one.value async for one in feed] == ["a"]  # type: ignore[union-attr]
        await diary.ask(Diary.tell, "b")
        async with diary.subscribe(str, after=1) as feed:
            assert (await anext(feed)).position == 2  # type: ignore[union-attr]


async def test_an_actor_cannot_reopen_its_own_runtime() -> None:
    class Suicidal(Actor):
        @handler
        async def die(self) -> None:
            await runtimes[0].reopen()

    runtimes = []
    async with open_test_runtime(Suicidal) as runtime:
        runtimes.append(runtime)
        with pytest.raises(ActorCrashed) as crash:
            await runtime.space("x").ask(Suicidal.die)
        assert isinstance(crash.value.__cause__, OutsideTurn)


async def test_a_runtime_that_is_closed_is_not_reopened() -> None:
    async with open_test_runtime(Diary, deps=World()) as runtime:
        await runtime.drain()
        with pytest.raises(RuntimeClosed):
            await runtime.reopen()


async def test_a_reopened_runtime_drains_like_any_other() -> None:
    async with open_test_runtime(Diary, deps=World()) as runtime:
        await runtime.space("d").ask(Diary.write, "a")
        await runtime.reopen()
        await runtime.space("d").send(Diary.write, "b")
    assert runtime.report is not None
    assert (runtime.report.clean, runtime.report.finished) == (True, ("d",))


# ---- encodings


async def test_an_argument_that_could_not_be_written_is_refused_at_the_door() -> None:
    async with open_test_runtime(Diary, deps=World(), store=MemoryStore(check_encoding=True)) as runtime:
        diary = runtime.space("d")
        with pytest.raises(BadCall, match=r"could not write .*World") as refused:
            await diary.send(Diary.keep, World())
        assert refused.value.space == diary
        assert (await runtime.snapshot()).ledger.accepted == 0


async def test_every_call_is_checked_without_the_kit_too() -> None:
    async with open_runtime(Diary, deps=World(), store=MemoryStore(check_encoding=True)) as runtime:
        diary = runtime.space("d")
        await diary.ask(Diary.keep, 1)
        with pytest.raises(BadCall):
            await diary.ask(Diary.keep, World())
        with pytest.raises(BadCall):
            diary.send_nowait(Diary.keep, World())


async def test_a_state_that_could_not_be_written_fails_its_turn() -> None:
    class Odd(Actor[object]):
        initial_state = int

        @handler
        async def become(self, odd: bool) -> None:
            self.state = World() if odd else 1

    async with open_test_runtime(Odd, store=MemoryStore(check_encoding=True)) as runtime:
        await runtime.space("d").ask(Odd.become, False)
        with pytest.raises(ActorCrashed) as crash:
            await runtime.space("d").ask(Odd.become, True)
        assert isinstance(crash.value.__cause__, BadCall)
        assert await runtime.space("d").state() == 1


async def test_handles_and_common_values_can_be_written() -> None:
    async with open_test_runtime(Diary, deps=World(), store=MemoryStore(check_encoding=True)) as runtime:
        diary: SpaceHandle[Diary] = runtime.space("d")
        for value in (diary, datetime(2030, 1, 1, tzinfo=UTC), {"a": (1, 2.5)}, frozenset({"x"}), b"x", None):
            await diary.ask(Diary.keep, value)


async def test_anything_goes_when_nothing_is_checked() -> None:
    async with open_test_runtime(Diary, deps=World()) as runtime:
        await runtime.space("d").ask(Diary.keep, World())


def test_the_check_says_which_library_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "msgspec.msgpack", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'spaceactors\[encoding\]'"):
        MemoryStore(check_encoding=True)
