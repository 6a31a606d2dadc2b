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
    async def memory(self) -> int:
        """The greatest memory of this process so far, in kB."""
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    @handler
    async def wait_for(self, path: str) -> str:
        """Wait for what is written into a named pipe."""
        return await trio.Path(path).read_text()

    @handler
    async def announce(self, word: str) -> None:
        """Tell the test that the lines before this one were accepted."""
        sys.stderr.write(f"{word}\n")
        sys.stderr.flush()

    @handler
    async def hang(self) -> None:
        await trio.sleep_forever()


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
