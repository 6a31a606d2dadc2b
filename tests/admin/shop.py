"""A shop whose store has one of everything."""

from __future__ import annotations

from enum import Enum

import trio
from attrs import evolve, frozen

from spaceactors import (
    Actor,
    RestartLimit,
    Runtime,
    SpaceOptions,
    SpaceStatus,
    Store,
    handler,
    open_runtime,
)


class Mood(Enum):
    CALM = "calm"


@frozen
class Verdict:
    ok: bool
    why: str = ""


@frozen
class Order:
    items: tuple[str, ...] = ()
    mood: Mood = Mood.CALM


class Shop(Actor[Order]):
    # The limit counts crashes, not how fast they come.
    options = SpaceOptions(backoff=None, restart_limit=RestartLimit(5, 1e6))
    # Whether `fail` fails.
    broken = True

    @handler
    async def say(self, text: str) -> int:
        self.state = evolve(self.state, items=(*self.state.items, text))
        self.history.append({"text": text})
        self.emit({"said": text})
        self.count("said")
        return len(self.state.items)

    @handler
    async def fail(self, text: str, *, why: str = "no beans") -> str:
        if Shop.broken:
            raise ValueError(why)
        await self.say(text)
        return text

    @handler
    async def order(self, text: str) -> str:
        await self.step("weigh", weigh, text)
        verdict = await self.suspend("approve", {"text": text}, answer=Verdict)
        await self.say(f"{text}: {verdict.ok}")
        return verdict.why

    @handler
    async def remind(self) -> None:
        self.schedule("tick", Shop.say, "tick", after=3600)


class Clerk(Actor[int]):
    @handler
    async def add(self) -> int:
        self.state += 1
        return self.state


async def weigh(text: str) -> int:
    return len(text)


async def fill(runtime: Runtime[Actor]) -> None:
    """Say something, remind oneself, fail twice, wait for an answer."""
    ann = runtime.space("ann", Shop)
    await ann.ask(Shop.say, "latte")
    await ann.with_options(message_id="m-1").ask(Shop.say, "mocha")
    await ann.ask(Shop.remind)
    for name in ("bob", "eve"):
        await runtime.space(name, Shop).with_options(message_id=f"f-{name}").send(Shop.fail, "tea", why=name)
        while [letter.space.id for letter in await runtime.dead_letters.list()][-1:] != [name]:
            await trio.lowlevel.checkpoint()
        while (await runtime.space(name, Shop).info()).status is not SpaceStatus.LIVE:
            await trio.lowlevel.checkpoint()
    await runtime.space("cem", Shop).with_options(message_id="o-1").send(Shop.order, "cake")
    await runtime.space("x", Clerk).ask(Clerk.add)
    while not await runtime.suspensions.list():
        await runtime.space("x", Clerk).state()


QUESTION = "Shop/cem/o-1/approve/1"


async def make_filled(store: Store) -> None:
    """Have a store with one of everything in which no service runs."""
    Shop.broken = True
    async with open_runtime(Shop, Clerk, store=store) as runtime:
        await fill(runtime)
