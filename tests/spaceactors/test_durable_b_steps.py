"""Steps on a disk: what is finished is recorded, and given back to every later try of the same program."""

from __future__ import annotations

import pytest
import trio

from spaceactors import (
    Actor,
    ActorCrashed,
    BadCall,
    Outcome,
    Rejected,
    Retry,
    SpaceOptions,
    SpaceStatus,
    StepChanged,
    StepsUnused,
    StoreFailing,
    handler,
)
from tests.spaceactors.disks import Disk, check_ledger, life, seen

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def disk(tmp_path):
    return Disk(tmp_path / "spaces.db")


class World:
    """What steps change outside, and where they are held up."""

    def __init__(self):
        self.done = []
        self.failing = {}
        self.hold = None

    async def do(self, what):
        self.done.append(what)
        await trio.lowlevel.checkpoint()
        if self.failing.get(what, 0):
            self.failing[what] -= 1
            raise OSError(what)
        return what.upper()

    async def wait(self):
        """Wait until the test lets go on, if it wants to hold anybody up here."""
        if self.hold is not None:
            await self.hold.wait()


@pytest.fixture
def world():
    return World()


class Worker(Actor[tuple[str, ...]], kind="worker"):
    """Does three things one after another, the last being held up."""

    options = SpaceOptions(backoff=None)

    def __init__(self, world: World) -> None:
        self.world = world

    @handler(max_attempts=3)
    async def work(self) -> str:
        done = [await self.step("a", self.world.do, "a"), await self.step("b", self.world.do, "b")]
        await self.world.wait()
        done.append(await self.step("c", self.world.do, "c"))
        self.state = (*self.state, *done)
        return "".join(done)


async def begin(disk, world, actor=Worker, method=Worker.work):
    """Run a turn in an earlier life until it is held up."""
    world.hold = trio.Event()
    async with life(disk, actor, deps=world) as runtime:
        await runtime.space("x").send(method)
        await runtime.settle()
        await runtime.drain(0)
    world.hold = None


async def go_on(disk, world, actor):
    """Run the turn to its end in the next life; return the state and the ledger."""
    async with life(disk, actor, deps=world) as runtime:
        await runtime.settle()
        ledger = await check_ledger(runtime)
        return await runtime.space("x").state(), ledger, [one.error for one in await runtime.dead_letters.list()]


async def test_D4_steps_of_an_earlier_life_are_not_run_again(disk, world):
    await begin(disk, world)
    state, _, _ = await go_on(disk, world, Worker)
    assert state == ("A", "B", "C")
    assert world.done == ["a", "b", "c"]


async def test_D4_steps_survive_two_kills_and_a_crash_of_the_actor(disk, world):
    world.hold = trio.Event()
    world.failing["c"] = 1
    async with life(disk, Worker, deps=world) as runtime:
        await runtime.space("x").send(Worker.work)
        await runtime.settle()
        await runtime.reopen()
        await runtime.settle()
        await runtime.reopen()
        world.hold.set()
        await runtime.settle()
        assert await runtime.space("x").state() == ("A", "B", "C")
        assert world.done == ["a", "b", "c", "c"]
        await check_ledger(runtime)


async def test_D4_an_ask_whose_asker_died_goes_on_behind_its_first_step(disk, world):
    """An `ask` is not on the disk before its turn; its first step puts it there."""
    world.hold = trio.Event()
    async with life(disk, Worker, deps=world) as runtime, trio.open_nursery() as nursery:

        async def ask():
            with pytest.raises(Exception, match="reopened"):
                await runtime.space("x").ask(Worker.work)

        nursery.start_soon(ask)
        await runtime.settle()
        await runtime.reopen()
        world.hold.set()
        await runtime.settle()
        assert await runtime.space("x").state() == ("A", "B", "C")
        assert world.done == ["a", "b", "c"]


async def test_D5_a_step_is_tried_again_by_its_own_policy_and_recorded_once(disk, world):
    class Trying(Worker, kind="worker"):
        @handler
        async def retry(self) -> str:
            return await self.step("r", self.world.do, "r", retry=Retry(3, on=OSError))

    world.failing["r"] = 2
    async with life(disk, Trying, deps=world) as runtime:
        assert await runtime.space("x").ask(Trying.retry) == "R"
        assert world.done == ["r"] * 3
        world.failing["r"] = 3
        with pytest.raises(ActorCrashed) as error:
            await runtime.space("y").ask(Trying.retry)
        assert isinstance(error.value.__cause__, OSError)


async def test_D5_a_step_that_takes_too_long_is_no_recorded_step(disk, world):
    class Slow(Worker, kind="worker"):
        @handler(max_attempts=2)
        async def slow(self) -> int:
            return await self.step("s", self.sleep, timeout=1.0)

        async def sleep(self) -> int:
            self.world.done.append("s")
            await trio.sleep(5.0 if len(self.world.done) == 1 else 0.5)
            return len(self.world.done)

    async with life(disk, Slow, deps=world) as runtime:
        assert await runtime.space("x").ask(Slow.slow) == 2


async def test_D4_the_same_name_again_is_another_step(disk, world):
    class Twice(Worker, kind="worker"):
        @handler
        async def twice(self) -> None:
            first = await self.step("s", self.world.do, "first")
            second = await self.step("s", self.world.do, "second")
            await self.world.wait()
            self.state = (first, second)

    await begin(disk, world, Twice, Twice.twice)
    state, _, _ = await go_on(disk, world, Twice)
    assert state == ("FIRST", "SECOND")
    assert world.done == ["first", "second"]


# ---- a program that has changed meanwhile


class Renamed(Worker, kind="worker"):
    @handler
    async def work(self) -> str:
        return await self.step("a", self.world.do, "a") + await self.step("beta", self.world.do, "b")


class Moved(Worker, kind="worker"):
    @handler
    async def work(self) -> str:
        return await self.step("b", self.world.do, "b") + await self.step("a", self.world.do, "a")


class Inserted(Worker, kind="worker"):
    @handler
    async def work(self) -> str:
        done = [await self.step(name, self.world.do, name) for name in ("a", "new", "b")]
        return "".join(done)


class FirstGone(Worker, kind="worker"):
    @handler
    async def work(self) -> str:
        return await self.step("b", self.world.do, "b")


@pytest.mark.parametrize("changed", [Renamed, Moved, Inserted, FirstGone])
async def test_D7_a_changed_program_is_not_mixed_up_with_what_the_old_one_recorded(disk, world, changed):
    await begin(disk, world)
    state, ledger, (error,) = await go_on(disk, world, changed)
    assert isinstance(error, StepChanged)
    assert "program" in str(error)
    assert state == ()
    assert ledger.outcomes[Outcome.FAILED] == 1
    assert world.done == ["a", "b"]


@pytest.mark.parametrize("changed", [Moved, FirstGone])
async def test_D7_the_error_says_which_step_was_where(disk, world, changed):
    await begin(disk, world)
    _, _, (error,) = await go_on(disk, world, changed)
    assert "the step 'b' was number 2, and is number 1 now" in str(error)


class AtOnce(Worker, kind="worker"):
    @handler
    async def work(self) -> None:
        found = {}

        async def one(name):
            found[name] = await self.step(name, self.world.do, name)

        async with trio.open_nursery() as nursery:
            for name in "cba":
                nursery.start_soon(one, name)
        self.state = tuple(found[name] for name in "abc")


async def test_D7_steps_that_are_run_side_by_side_now_get_what_they_had_one_after_another(disk, world):
    await begin(disk, world)
    state, _, letters = await go_on(disk, world, AtOnce)
    assert (state, letters) == (("A", "B", "C"), [])
    assert world.done == ["a", "b", "c"]


async def test_D7_a_changed_program_fails_its_message_and_not_its_actor(disk, world):
    await begin(disk, world)
    async with life(disk, Renamed, deps=world) as runtime:
        await runtime.settle()
        info = await runtime.space("x").info()
        assert (info.status, info.restarts) == (SpaceStatus.LIVE, 0)


class Longer(Worker, kind="worker"):
    @handler
    async def work(self) -> None:
        done = [await self.step(name, self.world.do, name) for name in ("a", "b", "new", "c", "last")]
        self.state = tuple(done)


async def test_D7_new_steps_behind_those_that_are_recorded_are_no_change_of_these(disk, world):
    await begin(disk, world)
    state, _, letters = await go_on(disk, world, Longer)
    assert (state, letters) == (("A", "B", "NEW", "C", "LAST"), [])
    assert world.done == ["a", "b", "new", "c", "last"]


class LastGone(Worker, kind="worker"):
    @handler
    async def work(self) -> None:
        self.state = (await self.step("a", self.world.do, "a"),)


async def test_D7_a_recorded_step_for_which_nobody_asks_is_told(disk, world):
    await begin(disk, world)
    world.hold = trio.Event()

    class Late(LastGone, kind="worker"):
        async def on_start(self) -> None:
            await self.world.wait()

    async with life(disk, Late, deps=world) as runtime, runtime.events() as events:
        await runtime.settle()
        world.hold.set()
        event = await seen(events, StepsUnused)
        assert (event.space, event.call, event.steps) == ("x", "work", ("the step 'b'",))
        assert await runtime.space("x").state() == ("A",)


class Beside(Worker, kind="worker"):
    """Does three things at once, in an order that is chance, and one before and after."""

    @handler(max_attempts=4)
    async def work(self) -> None:
        await self.step("before", self.world.do, "before")
        found = {}

        async def one(name, wait):
            await trio.sleep(wait)
            found[name] = await self.step(name, self.world.do, name)

        waits = [3, 1, 2] if len(self.world.done) < 3 else [1, 2, 3]
        async with trio.open_nursery() as nursery:
            for name, wait in zip("xyz", waits, strict=True):
                nursery.start_soon(one, name, wait)
        await self.step("after", self.world.do, "after")
        await self.world.wait()
        self.state = tuple(found[name] for name in "xyz")


@pytest.mark.parametrize("cut_after", [0.5, 1.5, 2.5, 3.5])
async def test_D4_steps_side_by_side_are_no_change_of_the_program(disk, world, cut_after):
    world.hold = trio.Event()
    async with life(disk, Beside, deps=world) as runtime:
        await runtime.space("x").send(Beside.work)
        await runtime.advance(cut_after)
        await runtime.reopen()
        world.hold.set()
        await runtime.advance(10)
        assert await runtime.space("x").state() == ("X", "Y", "Z")
        assert sorted(world.done) == ["after", "before", "x", "y", "z"]
        assert await runtime.dead_letters.list() == []


class Turned(Beside, kind="worker"):
    @handler
    async def work(self) -> None:
        await self.step("after", self.world.do, "after")


async def test_D7_a_change_around_steps_side_by_side_is_noticed(disk, world):
    world.hold = trio.Event()
    async with life(disk, Beside, deps=world) as runtime:
        await runtime.space("x").send(Beside.work)
        await runtime.advance(10)
        await runtime.drain(0)
    _, _, (error,) = await go_on(disk, world, Turned)
    assert isinstance(error, StepChanged)


# ---- the disk


async def test_D6_a_step_that_ended_in_an_outage_waits_for_the_disk_and_is_not_run_again(disk, world):
    async with life(disk, Worker, deps=world) as runtime, runtime.events() as events:
        await runtime.space("x").send(Worker.work)
        disk.full = True
        await seen(events, StoreFailing)
        await runtime.advance(60)
        disk.full = False
        await runtime.advance(10)
        assert await runtime.space("x").state() == ("A", "B", "C")
        assert world.done == ["a", "b", "c"]


async def test_D6_a_turn_whose_time_ran_out_while_its_step_waited_for_the_disk_does_not_run_it_again(disk, world):
    class Hasty(Worker, kind="worker"):
        @handler(timeout=2.0, max_attempts=5)
        async def hasty(self) -> None:
            await self.step("a", self.world.do, "a")
            self.state = ("done",)

    async with life(disk, Hasty, deps=world) as runtime:
        space = runtime.space("x")
        await space.send(Hasty.hasty)
        disk.full = True
        await runtime.advance(3)
        disk.full = False
        await runtime.advance(10)
        assert await space.state() == ("done",)
        assert world.done == ["a"]
        await check_ledger(runtime)


class Odd:
    """Something that no store can write."""


async def test_a_result_that_cannot_be_written_fails_the_turn_and_says_of_which_step(disk, world):
    class Strange(Worker, kind="worker"):
        @handler
        async def strange(self) -> None:
            await self.step("odd", self.make)

        async def make(self) -> Odd:
            return Odd()

    async with life(disk, Strange, deps=world) as runtime:
        with pytest.raises(ActorCrashed, match="odd") as error:
            await runtime.space("x").ask(Strange.strange)
        assert isinstance(error.value.__cause__, BadCall | TypeError)
        assert (await runtime.space("x").info()).restarts <= 1


async def test_D4_steps_of_a_rejected_message_do_not_come_back_under_its_id(disk, world):
    class Refusing(Worker, kind="worker"):
        options = SpaceOptions(throws=(KeyError,), dedupe_window=1.0)

        @handler
        async def refuse(self) -> None:
            await self.step("a", self.world.do, "a")
            raise KeyError

    async with life(disk, Refusing, deps=world) as runtime:
        space = runtime.space("x").with_options(message_id="one")
        with pytest.raises(Rejected):
            await space.ask(Refusing.refuse)
        with pytest.raises(Rejected):
            await space.ask(Refusing.refuse)
        assert world.done == ["a"]
        await runtime.advance(2)
        with pytest.raises(Rejected):
            await space.ask(Refusing.refuse)
        assert world.done == ["a", "a"]
