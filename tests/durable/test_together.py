"""What happens at the same moment in one service with a durable store: answers, departures, changes from outside."""

from __future__ import annotations

import pytest
import trio
from attrs import evolve, frozen

from spaceactors import (
    Actor,
    RuntimeClosed,
    RuntimeConfig,
    SpaceOptions,
    SqliteStore,
    handler,
    open_runtime,
)

pytestmark = pytest.mark.timeout(240)


@pytest.fixture
def store(tmp_path):
    return SqliteStore(tmp_path / "spaces.db")


async def until(holds):
    """Wait until something holds, for as long as a slow machine may need."""
    with trio.fail_after(100):
        while not await holds():  # noqa: ASYNC110 (nobody tells)
            await trio.sleep(0.001)


class Clerk(Actor[tuple[str, ...]]):
    """Asks a human in each turn, and is gone as soon as it waits."""

    options = SpaceOptions(idle_timeout=0.0)

    @handler
    async def decide(self, what: str) -> str:
        answer = await self.suspend("decide", what, answer=str)
        self.state = (*self.state, answer)
        return answer


async def all_gone(runtime):
    """Wait until no space is in memory."""

    async def gone():
        return not (await runtime.snapshot()).live

    await until(gone)


async def open_questions(runtime, count):
    async def asked():
        return len(await runtime.suspensions.list()) == count

    await until(asked)
    return await runtime.suspensions.list()


async def test_H6_an_asker_gets_his_answer_although_the_suspended_space_has_left_memory(store):
    replies = {}

    async def ask(handle, what):
        replies[what] = await handle.ask(Clerk.decide, what)

    async with open_runtime(Clerk, store=store) as runtime, trio.open_nursery() as nursery:
        bob = runtime.space("bob")
        nursery.start_soon(ask, bob, "now?")
        (question,) = await open_questions(runtime, 1)
        await all_gone(runtime)
        await runtime.suspensions.answer(question.id, "yes")
    assert replies == {"now?": "yes"}


async def test_H6_whoever_asks_under_the_same_id_meanwhile_gets_the_answer_too(store):
    replies = []

    async def ask(handle):
        replies.append(await handle.ask(Clerk.decide, "now?"))

    async with open_runtime(Clerk, store=store) as runtime, trio.open_nursery() as nursery:
        bob = runtime.space("bob").with_options(message_id="one")
        nursery.start_soon(ask, bob)
        await open_questions(runtime, 1)
        await all_gone(runtime)
        nursery.start_soon(ask, bob)
        (question,) = await open_questions(runtime, 1)
        await all_gone(runtime)
        await runtime.suspensions.answer(question.id, "yes")
    assert replies == ["yes", "yes"]


async def test_H2_answers_that_come_while_spaces_leave_memory_all_reach_their_turns(store):
    replies = {}

    async def ask(handle):
        replies[handle.id] = await handle.ask(Clerk.decide, handle.id)

    async with open_runtime(Clerk, store=store) as runtime, trio.open_nursery() as nursery:
        for number in range(40):
            nursery.start_soon(ask, runtime.space(f"space-{number}"))
        for question in await open_questions(runtime, 40):
            nursery.start_soon(runtime.suspensions.answer, question.id, f"yes, {question.space.id}")
    assert replies == {f"space-{number}": f"yes, space-{number}" for number in range(40)}
    ledger = (await runtime.snapshot()).ledger
    assert (ledger.accepted, ledger.pending) == (40, 0)


async def test_S19_who_waits_for_a_suspended_turn_is_told_when_the_service_ends(store):
    told = []

    async def ask(handle):
        with pytest.raises(RuntimeClosed) as refused:
            await handle.ask(Clerk.decide, "now?")
        told.append(refused.value)

    async with trio.open_nursery() as nursery, open_runtime(Clerk, store=store) as runtime:
        nursery.start_soon(ask, runtime.space("bob"))
        await open_questions(runtime, 1)
        await all_gone(runtime)
    assert [error.space.id for error in told] == ["bob"]


# ---- questions between actors


class Till(Actor[int]):
    @handler
    async def next_number(self) -> int:
        self.state = self.state + 1
        return self.state


class Waiter(Actor[int]):
    options = SpaceOptions(max_attempts=3, backoff=None)

    def __init__(self, tries: list[int]) -> None:
        self.tries = tries

    @handler
    async def order(self) -> int:
        number = await self.space("till", Till).ask(Till.next_number)
        self.tries.append(number)
        if len(self.tries) < 3:
            raise RuntimeError("dropped the plates")
        return number


async def test_A6_a_turn_that_is_tried_again_asks_under_the_same_id_on_disk_too(store):
    tries: list[int] = []
    async with open_runtime(Waiter, Till, deps=tries, store=store) as runtime:
        assert await runtime.space("wanda", Waiter).ask(Waiter.order) == 1
        assert tries == [1, 1, 1]
        assert await runtime.space("till", Till).state() == 1


# ---- changes from outside


@frozen
class Book:
    written: int = 0
    changed: int = 0


class Diary(Actor[Book]):
    @handler
    async def note(self, text: str) -> None:
        """Leave the state as it is."""
        self.history.append(text)
        self.emit(text)
        self.count("notes")

    @handler
    async def write(self, text: str) -> None:
        self.history.append(text)
        self.state = evolve(self.state, written=self.state.written + 1)


@pytest.mark.parametrize("call", [Diary.note, Diary.write])
async def test_D1_changes_from_outside_beside_turns_lose_nothing_of_either(store, call):
    async with open_runtime(Diary, store=store, config=RuntimeConfig(max_live_spaces=10)) as runtime:
        diary = runtime.space("diary")

        async def write(first):
            for number in range(first, first + 20):
                await diary.ask(call, str(number))

        async def change():
            for _ in range(60):
                await store.update(diary, lambda book: evolve(book, changed=book.changed + 1))

        async with trio.open_nursery() as nursery:
            for first in (0, 20, 40):
                nursery.start_soon(write, first)
            nursery.start_soon(change)
            nursery.start_soon(change)
        entries = await diary.history.read(limit=100)
        assert sorted(int(entry.value) for entry in entries) == list(range(60))
        assert [entry.position for entry in entries] == list(range(1, 61))
        assert len(diary.history) == 60
        assert await diary.state() == Book(written=60 if call is Diary.write else 0, changed=120)
