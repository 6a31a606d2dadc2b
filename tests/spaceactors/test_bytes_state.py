"""A turn whose new state has too many bytes is rolled back and its message fails; the actor lives."""

from __future__ import annotations

import pytest
from attrs import evolve, frozen

from spaceactors import (
    Actor,
    ActorCrashed,
    MemoryStore,
    MessageSettled,
    Outcome,
    RestartLimit,
    SpaceOptions,
    SqliteStore,
    StateTooLarge,
    handler,
)
from spaceactors._codec import Codec
from tests.spaceactors.scenes import opened, outcome_of
from tests.spaceactors.services import watching

pytestmark = pytest.mark.usefixtures("autojump_clock")


TRIES: list[int] = []


@frozen
class Book:
    text: str = ""
    read: int = 0


class Scribe(Actor[Book], kind="scribe"):
    # No crash is allowed: one would be a quarantine.
    options = SpaceOptions(max_state_bytes=1000, restart_limit=RestartLimit(0, 60.0))

    @handler
    async def write(self, text: str) -> int:
        self.history.append(text[:5])
        self.emit(len(text))
        self.state = evolve(self.state, text=self.state.text + text)
        return len(self.state.text)

    @handler
    async def read(self) -> str:
        return self.state.text

    @handler(max_attempts=3)
    async def persist(self, text: str) -> None:
        TRIES.append(1)
        self.state = evolve(self.state, text=text)

    @handler
    async def hand_on(self, text: str, other: str) -> None:
        await self.space(other).send(Scribe.write, "told")
        self.state = evolve(self.state, text=text)


@pytest.fixture(params=["memory", "checked memory", "sqlite"])
def store(request, tmp_path):
    if request.param == "sqlite":
        disk = SqliteStore(tmp_path / "books.db")
        disk.inline = True
        return disk
    return MemoryStore(check_encoding=request.param == "checked memory")


async def test_too_large_a_state_fails_the_message_and_not_the_actor(store):
    async with opened(Scribe, store=store) as runtime, watching(runtime, MessageSettled) as ends:
        scribe = runtime.space("a")
        assert await scribe.ask(Scribe.write, "x" * 500) == 500
        failed = await outcome_of(scribe.ask, Scribe.write, "y" * 600)
        assert isinstance(failed, ActorCrashed)
        cause = failed.__cause__
        assert isinstance(cause, StateTooLarge)
        assert cause.space == scribe
        assert "the new state of a has 1," in str(cause)
        assert "SpaceOptions(max_state_bytes=1,000) allows no more" in str(cause)
        # Rolled back, with everything; nobody has crashed.
        assert (await scribe.state()).text == "x" * 500
        assert await scribe.history.recent(5) == ["xxxxx"]
        assert await scribe.ask(Scribe.read) == "x" * 500
        assert await scribe.ask(Scribe.write, "z") == 501
        snapshot = await runtime.snapshot()
        assert (snapshot.restarts, snapshot.spaces[0].incarnation) == (0, 1)
        assert snapshot.ledger.outcomes[Outcome.FAILED] == 1
        assert snapshot.ledger.pending == 0
        [letter] = await runtime.dead_letters.list()
        assert letter.message.call == "write"
    assert [(one.outcome, type(one.error)) for one in ends] == [(Outcome.FAILED, StateTooLarge)]


async def test_it_is_tried_as_often_as_other_failures(store):
    async with opened(Scribe, store=store) as runtime:
        TRIES.clear()
        failed = await outcome_of(runtime.space("a").ask, Scribe.persist, "y" * 2000)
        assert isinstance(failed.__cause__, StateTooLarge)
        assert len(TRIES) == 3


async def test_what_the_turn_sent_stays_where_it_was(store):
    async with opened(Scribe, store=store) as runtime:
        assert isinstance(await outcome_of(runtime.space("a").ask, Scribe.hand_on, "y" * 2000, "b"), ActorCrashed)
        assert await runtime.space("b").state() == Book()
        assert (await runtime.snapshot()).ledger.accepted == 1


def size_of(state):
    from spaceactors._actor import kind_of

    return len(Codec([kind_of(Scribe)], None).encode_state(kind_of(Scribe), state))


async def test_the_bound_is_exact_and_counts_what_a_durable_store_writes(store):
    room = 1000 - size_of(Book("x" * 900)) + 900
    async with opened(Scribe, store=store) as runtime:
        assert await runtime.space("a").ask(Scribe.write, "x" * room) == room
        assert isinstance(await outcome_of(runtime.space("b").ask, Scribe.write, "x" * (room + 1)), ActorCrashed)


async def test_a_state_is_written_once_only(tmp_path, monkeypatch):
    """To know its size and to keep it are one work."""
    written = []
    real = Codec.encode_state
    monkeypatch.setattr(Codec, "encode_state", lambda *args: written.append(1) or real(*args))
    disk = SqliteStore(tmp_path / "books.db")
    disk.inline = True
    async with opened(Scribe, store=disk) as runtime:
        for _ in range(5):
            await runtime.space("a").ask(Scribe.write, "x")
        assert len(written) == 5
        await runtime.space("a").ask(Scribe.read)  # no new state: nothing to measure
        assert len(written) == 5
    async with opened(Scribe, store=disk) as runtime:
        assert await runtime.space("a").state() == Book("xxxxx")


async def test_without_the_option_nothing_is_measured(monkeypatch):
    class Free(Scribe, kind="free"):
        options = SpaceOptions()

    monkeypatch.setattr(Codec, "encode_state", None)
    async with opened(Free) as runtime:
        assert await runtime.space("a").ask(Free.write, "x" * 5000) == 5000
        assert "sizes" not in vars(runtime._hub)
