"""Dead letters in bulk, chosen by actor and by space, in every store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from spaceactors import (
    Actor,
    ActorCrashed,
    MemoryStore,
    OutsideTurn,
    Runtime,
    SpaceOptions,
    SpaceStatus,
    SqliteStore,
    Store,
    handler,
    open_runtime,
)


class Shop(Actor[int]):
    options = SpaceOptions(backoff=None)
    broken = True

    @handler
    async def say(self) -> int:
        if Shop.broken:
            raise ValueError("no beans")
        self.state += 1
        return self.state

    @handler
    async def tidy(self, runtime: Callable[[], Runtime[Actor]]) -> None:
        await runtime().dead_letters.resend_all()


class Clerk(Shop, kind="clerk"):
    pass


MakeStore = Callable[[], Store]


@pytest.fixture(params=["memory", "sqlite"])
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> MakeStore:
    """Makes stores; those with a file always on the same one."""
    Shop.broken = True
    return MemoryStore if request.param == "memory" else lambda: SqliteStore(tmp_path / "shop.db")


async def fail(runtime: Runtime[Actor], actor: type[Shop], *names: str) -> None:
    """Leave a dead letter in each of these spaces, in this order."""
    for name in names:
        space = runtime.space(name, actor)
        before = len(await runtime.dead_letters.list(limit=1000))
        await space.send(actor.say)
        while len(await runtime.dead_letters.list(limit=1000)) == before:
            await trio.lowlevel.checkpoint()
        while (await space.info()).status is not SpaceStatus.LIVE:
            await trio.lowlevel.checkpoint()


async def whose(runtime: Runtime[Actor], **chosen: type[Actor] | str) -> list[str]:
    letters = await runtime.dead_letters.list(**chosen)  # type: ignore[arg-type]
    return [f"{letter.space.kind}/{letter.space.id}" for letter in letters]


async def test_they_are_listed_by_actor_and_by_space_the_oldest_first(make_store: MakeStore) -> None:
    async with open_runtime(Shop, Clerk, store=make_store()) as runtime:
        await fail(runtime, Shop, "b", "a")
        await fail(runtime, Clerk, "a")
        assert await whose(runtime) == ["Shop/b", "Shop/a", "clerk/a"]
        assert await whose(runtime, actor=Shop) == ["Shop/b", "Shop/a"]
        assert await whose(runtime, space="a") == ["Shop/a", "clerk/a"]
        assert await whose(runtime, actor=Clerk, space="b") == []


async def test_all_are_sent_again_and_run(make_store: MakeStore) -> None:
    async with open_runtime(Shop, Clerk, store=make_store()) as runtime:
        await fail(runtime, Shop, "a", "b")
        await fail(runtime, Clerk, "a")
        Shop.broken = False
        assert await runtime.dead_letters.resend_all(actor=Shop) == 2
        assert await whose(runtime) == ["clerk/a"]
        assert await runtime.space("a", Shop).ask(Shop.say) == 2
        assert await runtime.dead_letters.resend_all(space="b") == 0
        assert await runtime.dead_letters.resend_all() == 1
        assert await runtime.space("a", Clerk).ask(Clerk.say) == 2


async def test_those_that_fail_again_meanwhile_are_not_sent_for_ever(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spaceactors._dead_letters._PAGE", 2)
    async with open_runtime(Shop, Clerk, store=make_store()) as runtime:
        await fail(runtime, Shop, "a", "b", "c", "d", "e")
        assert await runtime.dead_letters.resend_all() == 5
        while len(await whose(runtime)) < 5:
            await trio.lowlevel.checkpoint()


async def test_all_are_discarded_page_by_page(make_store: MakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spaceactors._dead_letters._PAGE", 2)
    async with open_runtime(Shop, Clerk, store=make_store()) as runtime:
        await fail(runtime, Shop, "a", "b", "c", "d", "e")
        await fail(runtime, Clerk, "a")
        assert await runtime.dead_letters.discard_all(actor=Shop, space="c") == 1
        assert await runtime.dead_letters.discard_all(actor=Shop) == 4
        assert await whose(runtime) == ["clerk/a"]
        assert await runtime.dead_letters.discard_all() == 1
        assert await runtime.dead_letters.discard_all() == 0


async def test_letters_of_kinds_that_are_not_open_are_neither_shown_nor_an_end(tmp_path: Path) -> None:
    Shop.broken = True
    path = tmp_path / "shop.db"
    async with open_runtime(Shop, Clerk, store=SqliteStore(path)) as runtime:
        await fail(runtime, Shop, "a", "b", "c")
        await fail(runtime, Clerk, "z")
    async with open_runtime(Clerk, store=SqliteStore(path)) as runtime:
        assert [letter.space.id for letter in await runtime.dead_letters.list(limit=1)] == ["z"]
        assert await runtime.dead_letters.discard_all() == 1
    async with open_runtime(Shop, store=SqliteStore(path)) as runtime:
        assert len(await runtime.dead_letters.list()) == 3


async def test_sending_all_again_in_a_turn_is_refused() -> None:
    Shop.broken = False
    async with open_runtime(Shop, store=MemoryStore()) as runtime:
        with pytest.raises(ActorCrashed) as told:
            await runtime.space("a").ask(Shop.tidy, lambda: runtime)
        assert isinstance(told.value.__cause__, OutsideTurn)


async def test_who_is_cancelled_in_the_middle_has_sent_some_and_left_the_others(make_store: MakeStore) -> None:
    async with open_runtime(Shop, Clerk, store=make_store()) as runtime:
        await fail(runtime, Shop, "a", "b")
        with trio.CancelScope() as scope:
            scope.cancel()
            await runtime.dead_letters.resend_all()
        assert await whose(runtime) == ["Shop/a", "Shop/b"]
