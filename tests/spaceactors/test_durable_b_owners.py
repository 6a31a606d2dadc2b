"""A space that a later opening owns, and a disk that takes nothing: what this runtime finds out, and whom it tells."""

from __future__ import annotations

import pytest
import trio

from spaceactors import (
    Actor,
    ActorCrashed,
    Outcome,
    SpaceLost,
    SpaceOptions,
    StoreError,
    StoreFailing,
    StoreHealed,
    handler,
)
from tests.spaceactors.disks import Disk, check_ledger, life, live, seen

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def disk(tmp_path):
    return Disk(tmp_path / "spaces.db")


class Account(Actor[tuple[str, ...]], kind="account"):
    options = SpaceOptions(backoff=None)

    def __init__(self, gate: trio.Event | None) -> None:
        self.gate = gate

    @handler
    async def book(self, what: str) -> tuple[str, ...]:
        if self.gate is not None:
            await self.gate.wait()
        self.state = (*self.state, what)
        return self.state

    @handler
    async def charge(self, what: str) -> str:
        return await self.step("charge", self.do, what)

    async def do(self, what: str) -> str:
        return what

    @handler
    async def decide(self) -> str:
        return await self.suspend("ok", "?", answer=str)

    @handler
    async def hurry(self) -> str:
        return await self.suspend("ok", "?", answer=str, timeout=10.0, default="late")

    @handler
    async def tell(self, name: str, what: str) -> None:
        self.state = (*self.state, f"told {name}")
        await self.space(name).send(Account.book, what)

    @handler
    async def fail(self) -> None:
        raise ValueError


async def outcome(call, *args, into):
    try:
        into.append(await call(*args))
    except Exception as error:
        into.append(error)


async def test_D2_a_commit_that_finds_the_space_lost_ends_it_and_tells_whoever_waits(disk):
    gate = trio.Event()
    async with life(disk, Account, deps=gate) as runtime, runtime.events() as events, trio.open_nursery() as nursery:
        told = []
        space = runtime.space("a")
        nursery.start_soon(lambda: outcome(space.ask, Account.book, "x", into=told))
        await runtime.settle()
        nursery.start_soon(lambda: outcome(space.ask, Account.book, "y", into=told))
        await space.send(Account.book, "z")
        await runtime.settle()
        disk.stolen.add("a")
        gate.set()
        lost = await seen(events, SpaceLost)
        assert (lost.space, lost.left) == ("a", 2)
        await runtime.settle()
        assert [type(one) for one in told] == [StoreError, StoreError]
        assert all("later opening" in str(one) for one in told)
        assert await live(runtime) == 0
        ledger = await check_ledger(runtime)
        assert (ledger.accepted, ledger.pending) == (0, 0)


@pytest.mark.parametrize("here", [True, False])
async def test_D2_a_send_to_a_lost_space_is_refused(disk, here):
    async with life(disk, Account, deps=None) as runtime:
        space = runtime.space("a")
        await space.ask(Account.book, "x")
        if not here:
            await space.drain()
        disk.stolen.add("a")
        with pytest.raises(StoreError, match="later opening"):
            await space.send(Account.book, "y")
        await runtime.settle()
        assert (await check_ledger(runtime)).pending == 0


@pytest.mark.parametrize("here", [True, False])
async def test_D2_a_send_of_a_turn_to_a_lost_space_is_a_dead_letter_or_goes_on_there(disk, here):
    async with life(disk, Account, deps=None) as runtime:
        await runtime.space("b").ask(Account.book, "x")
        if not here:
            await runtime.space("b").drain()
        disk.stolen.add("b")
        await runtime.space("a").ask(Account.tell, "b", "hello")
        await runtime.settle()
        assert await runtime.space("a").state() == ("told b",)
        letters = [one.message.args for one in await runtime.dead_letters.list()]
        assert letters == ([] if here else [("hello",)])
        ledger = await check_ledger(runtime)
        assert ledger.pending == 0


async def test_D2_a_first_step_that_finds_the_space_lost_ends_its_turn(disk):
    async with life(disk, Account, deps=None) as runtime:
        await runtime.space("a").ask(Account.book, "x")
        disk.stolen.add("a")
        with pytest.raises(StoreError, match="later opening"):
            await runtime.space("a").ask(Account.charge, "y")
        await runtime.settle()
        assert await live(runtime) == 0
        assert (await check_ledger(runtime)).pending == 0


@pytest.mark.parametrize("passive", [True, False])
async def test_D2_H5_an_answer_to_a_question_of_a_lost_space_is_refused(disk, passive):
    """Its owner has the question now: taken here, the answer would reach nobody."""
    async with life(disk, Account, deps=None) as runtime, trio.open_nursery() as nursery:
        told = []
        nursery.start_soon(lambda: outcome(runtime.space("a").ask, Account.decide, into=told))
        await runtime.settle()
        (question,) = await runtime.suspensions.list()
        if passive:
            await runtime.space("a").drain()
        disk.stolen.add("a")
        with pytest.raises(StoreError, match="later opening"):
            await runtime.suspensions.answer(question.id, "yes")
        await runtime.settle()
        assert len(told) == 1
        assert isinstance(told[0], Exception)
        assert await live(runtime) == 0
        await check_ledger(runtime)
        disk.stolen.clear()
        assert [one.id for one in await runtime.suspensions.list()] == [question.id]


async def test_D2_the_expiry_of_a_question_of_a_lost_space_is_left_to_its_owner(disk):
    async with life(disk, Account, deps=None) as runtime:
        await runtime.space("a").send(Account.hurry)
        await runtime.settle()
        disk.stolen.add("a")
        await runtime.advance(100)
        assert await live(runtime) == 0
        disk.stolen.clear()
        assert len(await runtime.suspensions.list()) == 1
        await check_ledger(runtime)


async def test_D2_an_update_of_a_lost_space_is_refused(disk):
    async with life(disk, Account, deps=None) as runtime:
        space = runtime.space("a")
        await space.ask(Account.book, "x")
        disk.stolen.add("a")
        with pytest.raises(StoreError, match="later opening"):
            await runtime.store.update(space, lambda old: (*old, "y"))


# ---- a disk that takes nothing


async def test_D6_what_failed_in_an_outage_does_not_run_again_when_its_space_comes_back(disk):
    """Its end is not on the disk yet: what is read there meanwhile is older than what is known here."""

    class Quick(Account, kind="account"):
        options = SpaceOptions(idle_timeout=0.0, throws=(ValueError,))

    gate = trio.Event()
    async with life(disk, Quick, deps=gate) as runtime, trio.open_nursery() as nursery:
        space = runtime.space("a")
        nursery.start_soon(lambda: outcome(space.ask, Account.book, "x", into=[]))
        await space.send(Account.fail)
        await runtime.settle()
        disk.full = True
        gate.set()
        await runtime.advance(1)
        for _ in range(3):
            await outcome(space.ask, Account.book, "y", into=[])
            await runtime.advance(1)
        disk.full = False
        await runtime.advance(20)
        ledger = await check_ledger(runtime)
        assert ledger.outcomes[Outcome.REJECTED] == 1
        assert ledger.pending == 0


async def test_D6_H2_a_question_of_an_outage_is_still_before_what_comes_later(disk):
    class Quick(Account, kind="account"):
        options = SpaceOptions(idle_timeout=0.0)

    async with life(disk, Quick, deps=None) as runtime, trio.open_nursery() as nursery:
        space = runtime.space("a")
        await space.ask(Account.book, "before")
        disk.full = True
        told, later = [], []
        nursery.start_soon(lambda: outcome(space.ask, Account.decide, into=told))
        await runtime.advance(1)
        nursery.start_soon(lambda: outcome(space.ask, Account.book, "later", into=later))
        await runtime.advance(1)
        disk.full = False
        await runtime.advance(20)
        (question,) = await runtime.suspensions.list()
        await runtime.suspensions.answer(question.id, "yes")
        await runtime.settle()
        assert told == ["yes"]
        assert (await check_ledger(runtime)).pending == 0
        assert isinstance(later[0], StoreError)


async def test_D6_an_outage_is_over_when_something_was_written_and_not_before(disk):
    async with life(disk, Account, deps=None) as runtime, runtime.events() as events:
        await runtime.space("a").ask(Account.book, "x")
        disk.full = True
        with pytest.raises(StoreError, match="full"):
            await runtime.space("b").send(Account.book, "x")
        await seen(events, StoreFailing)
        await runtime.space("a").drain()
        await runtime.advance(10)
        told = []

        async def listen():
            told.append(await seen(events, StoreHealed))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            await runtime.settle()
            assert told == []
            disk.full = False
            await runtime.space("b").send(Account.book, "x")
        assert len(told) == 1


async def test_a_fault_of_the_engine_ends_the_runtime_with_it_and_leaves_nobody_waiting(disk):
    def broken(writes):
        raise ZeroDivisionError

    told = []
    with pytest.raises(ZeroDivisionError):
        async with life(disk, Account, deps=None) as runtime, trio.open_nursery() as nursery:
            await runtime.space("a").ask(Account.book, "x")
            disk.write = broken
            nursery.start_soon(lambda: outcome(runtime.space("a").ask, Account.book, "y", into=told))
            nursery.start_soon(lambda: outcome(runtime.space("b").ask, Account.decide, into=told))
    assert len(told) <= 2


async def test_A1_a_store_error_that_a_turn_gets_from_another_space_crashes_nobody(disk):
    class Caller(Account, kind="caller"):
        @handler
        async def call(self) -> None:
            await self.space("b", Account).ask(Account.book, "x")

    async with life(disk, Account, Caller, deps=None) as runtime:
        await runtime.space("b", Account).ask(Account.book, "x")
        await runtime.space("b", Account).drain()
        disk.stolen.add("b")
        with pytest.raises(ActorCrashed) as error:
            await runtime.space("a", Caller).ask(Caller.call)
        assert isinstance(error.value.__cause__, StoreError)
        assert (await runtime.space("a", Caller).info()).restarts == 0
