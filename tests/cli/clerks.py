"""Actors for the command to run."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import trio

from spaceactors import Actor, Reject, SpaceOptions, handler


class Clerk(Actor[int]):
    """Counts what it has done."""

    options = SpaceOptions(mailbox_capacity=4, backoff=None)
    turns = 0  # running now, in all spaces
    visits = 0  # of this incarnation

    @handler
    async def say(self, text: str) -> str:
        self.state += 1
        return f"{self.state} {text}"

    @handler
    async def slow(self, text: str) -> str:
        await trio.lowlevel.checkpoint()
        return await self.say(text)

    @handler
    async def refuse(self) -> None:
        raise Reject("closed")

    @handler
    async def crash(self) -> None:
        raise ValueError("boom")

    @handler
    async def spell(self, word: str) -> AsyncIterator[str]:
        for letter in word:
            yield letter

    @handler
    async def mixed(self) -> AsyncIterator[object]:
        for item in ("two ", "words", {"a": 1}, [2], "end\n"):
            yield item

    @handler
    async def halting(self, path: str) -> AsyncIterator[str]:
        yield "first "
        yield await trio.Path(path).read_text()

    @handler
    async def memory(self) -> int:
        """The greatest memory of this process so far, in kB."""
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    @handler
    async def wait_for(self, path: str) -> str:
        """Wait for what is written into a named pipe."""
        return await trio.Path(path).read_text()

    @handler
    async def visit(self) -> int:
        """How often this incarnation was visited."""
        self.visits += 1
        return self.visits

    @handler
    async def crowd(self) -> int:
        """How many turns ran together at most while this one did."""
        most = 0
        Clerk.turns += 1
        for _ in range(10):
            await trio.lowlevel.checkpoint()
            most = max(most, Clerk.turns)
        Clerk.turns -= 1
        return most

    @handler
    async def chatter(self) -> None:
        sys.stdout.write("by the way\n")

    @handler
    async def announce(self, word: str) -> None:
        """Tell the test that the lines before this one were accepted."""
        sys.stderr.write(f"{word}\n")
        sys.stderr.flush()

    @handler
    async def hang(self) -> None:
        await trio.sleep_forever()

    @handler
    async def hang_aloud(self) -> None:
        await self.announce("hanging")
        await trio.sleep_forever()

    @handler
    async def nap(self, text: str) -> str:
        await trio.sleep(0.02)
        return await self.say(text)


class Owner(Actor):
    """Needs something to begin with."""

    def __init__(self, name: str) -> None:
        self.name = name

    @handler
    async def say(self, text: str) -> str:
        return f"{self.name}: {text}"


NAME = "ann"


@asynccontextmanager
async def open_name() -> AsyncGenerator[str]:
    yield "bob"


@asynccontextmanager
async def open_nothing() -> AsyncGenerator[str]:
    raise ConnectionError("nobody there")
    yield ""


class Asker(Actor[int]):
    """Fails, asks and remembers, for those who look after its store."""

    options = SpaceOptions(backoff=None)

    @handler
    async def say(self, text: str) -> str:
        self.state += 1
        self.history.append(text)
        return f"{self.state} {text}"

    @handler
    async def crash(self) -> None:
        raise ValueError("boom")

    @handler
    async def order(self, text: str) -> str:
        allowed = await self.suspend("allow", {"what": text}, answer=bool)
        return f"{text}: {'yes' if allowed else 'no'}"
