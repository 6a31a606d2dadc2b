"""What the tests of messages share: an actor that works for as long as it is told, and ways to look at the ledger."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from attrs import define, evolve, field
from trio.testing import wait_all_tasks_blocked

from spaceactors import Actor, Reject, RestartLimit, SpaceOptions, WhenInterrupted, handler, open_runtime


class Boom(Exception):
    """What an actor dies of."""


class Oops(Exception):
    """What `throws` lists."""


class Clerk(Actor[tuple[str, ...]]):
    """Works for as many seconds as a message says. The state lists what was committed, the diary what was begun."""

    options = SpaceOptions(backoff=None, restart_limit=RestartLimit(1000, 1.0), throws=(Oops,))

    def __init__(self, diary: list[str]) -> None:
        self.diary = diary

    @handler
    async def note(self, what: str, seconds: float = 0.0) -> str:
        self.diary.append(what)
        if seconds:
            await trio.sleep(seconds)
        self.state = (*self.state, what)
        return what.upper()

    @handler
    async def jot(self, what: str) -> str:
        """Takes just what it is given: the call for which the runtime has its quick ways."""
        self.diary.append(what)
        self.state = (*self.state, what)
        return self.message.id

    @handler
    async def crash(self, what: str = "crash", seconds: float = 0.0) -> None:
        self.diary.append(what)
        self.state = (*self.state, what)
        await trio.sleep(seconds)
        raise Boom(what)

    @handler
    async def refuse(self, what: str = "no") -> None:
        self.diary.append(what)
        self.state = (*self.state, what)
        raise Reject(what)

    @handler
    async def throw(self, what: str = "oops") -> None:
        self.diary.append(what)
        raise Oops(what)

    @handler
    async def count_up(self, what: str, n: int = 3, seconds: float = 0.0) -> AsyncIterator[int]:
        self.diary.append(what)
        for number in range(n):
            if seconds:
                await trio.sleep(seconds)
            yield number
        self.state = (*self.state, what)

    @handler
    async def half(self, what: str, seconds: float = 100.0) -> str:
        """A long answer whose first half is kept when it is interrupted."""
        self.diary.append(what)
        with self.until_interrupted() as scope:
            await trio.sleep(seconds)
        self.state = (*self.state, f"{what}/2" if scope.cancelled_caught else what)
        return self.state[-1]

    @handler(when_interrupted=WhenInterrupted.COMMIT)
    async def half_kept(self, what: str, seconds: float = 100.0) -> str:
        return await self.half(what, seconds)

    @handler
    async def question(self, what: str) -> str:
        self.diary.append(what)
        answer = await self.suspend("really", what, answer=str)
        self.state = (*self.state, answer)
        return answer

    @handler
    async def ask_other(self, other: str, what: str, seconds: float = 0.0) -> str:
        self.diary.append(f"ask {other} {what}")
        return await self.space(other).ask(Clerk.note, what, seconds)

    @handler
    async def send_other(self, other: str, *what: str) -> None:
        self.diary.append(f"send {other}")
        for one in what:
            await self.space(other).send(Clerk.note, one)

    @handler
    async def send_named(self, other: str, message_id: str, what: str) -> None:
        await self.space(other).with_options(message_id=message_id).send(Clerk.note, what)

    @handler
    async def own_id(self) -> str:
        return self.message.id


def clerk(**changes):
    """A kind of clerk with other options."""

    class Tuned(Clerk, kind="clerk"):
        options = evolve(Clerk.options, **changes)

    return Tuned


@define
class Office:
    """A runtime of clerks with its diary."""

    runtime: object
    diary: list[str]
    nursery: trio.Nursery
    answers: dict[str, object] = field(factory=dict)

    def space(self, name="a", **options):
        return self.runtime.space(name, **options)

    async def begin(self, space, method, *args):
        """Send, and see the turn begin."""
        message_id = await space.send(method, *args)
        await wait_all_tasks_blocked()
        return message_id

    def asking(self, space, method, *args, key=None):
        """Ask in a task of its own; what came of it is in `answers`, by the key (or the first argument)."""
        key = key or args[0]
        scope = trio.CancelScope()

        async def ask():
            with scope:
                try:
                    self.answers[key] = await space.ask(method, *args)
                except Exception as error:
                    self.answers[key] = error

        self.nursery.start_soon(ask)
        return scope

    async def settled(self):
        """See everything come to rest that needs no time."""
        await wait_all_tasks_blocked()

    async def ledger(self):
        """The total ledger in words, of what is not zero; it must balance, as that of every live space."""
        shot = await self.runtime.snapshot()
        for one in (shot.ledger, *(space.ledger for space in shot.spaces)):
            assert one.accepted == sum(one.outcomes.values()) + one.pending
        words = {outcome.value: count for outcome, count in shot.ledger.outcomes.items() if count}
        if shot.ledger.pending:
            words["pending"] = shot.ledger.pending
        return words


@asynccontextmanager
async def open_office(*, config=None, one_lane=False, **options):
    """Open a runtime of clerks with these options; at the end what waits there is cut off, and the ledger balances."""
    diary: list[str] = []
    async with trio.open_nursery() as nursery:
        async with open_runtime(clerk(**options), deps=diary, config=config, one_lane=one_lane) as runtime:
            office = Office(runtime, diary, nursery)
            yield office
            for space in await runtime.spaces(actor=next(iter(runtime.kinds.values()))):
                await space.kill()
            await office.ledger()
        nursery.cancel_scope.cancel()
