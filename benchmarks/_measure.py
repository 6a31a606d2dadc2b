"""How all benchmarks measure: best of five rounds, ours and bare Trio in turns, so that both meet the same machine."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio
from attrs import define, field, frozen

from spaceactors import Actor, RuntimeConfig, SpaceOptions, handler

ROUNDS = 5
RESULTS = Path(__file__).parent / "results"
CAPACITY = 1000
MANY = RuntimeConfig(max_live_spaces=1_000_000)

Run = Callable[[], Awaitable[float]]


@define
class Tally:
    """How whoever measures learns that the last message was handled: the cheapest way, and on both sides the same."""

    left: int = 0
    done: trio.Event = field(factory=trio.Event)

    def expect(self, n: int) -> None:
        """Wait from now on for so many."""
        self.left = n
        self.done = trio.Event()

    def add(self) -> None:
        """One more was handled."""
        self.left -= 1
        if not self.left:
            self.done.set()


class Counter(Actor):
    """The smallest actor there is; its handlers do what the bare readers do."""

    options = SpaceOptions(mailbox_capacity=CAPACITY)

    def __init__(self, tally: Tally) -> None:
        """Share the tally with whoever measures."""
        self.tally = tally

    @handler
    async def down(self, value: int) -> int:
        """Take one message of a countdown."""
        if not value:
            self.tally.done.set()
        return value

    @handler
    async def one_of_many(self, value: int) -> int:
        """Take one message of many that come in any order."""
        self.tally.add()
        return value


async def read_down(channel: trio.MemoryReceiveChannel[int], tally: Tally) -> None:
    """The bare counterpart of `Counter.down`: a task that reads a channel."""
    async for value in channel:
        if not value:
            tally.done.set()


async def read_one_of_many(channel: trio.MemoryReceiveChannel[int], tally: Tally) -> None:
    """The bare counterpart of `Counter.one_of_many`."""
    async for _ in channel:
        tally.add()


@asynccontextmanager
async def open_readers() -> AsyncGenerator[trio.Nursery]:
    """A nursery whose tasks end with the block."""
    async with trio.open_nursery() as nursery:
        yield nursery
        nursery.cancel_scope.cancel()


@frozen
class Result:
    """One line of the table. `value` is judged against `target`: a ratio, or the figure itself in `unit`."""

    name: str
    value: float
    target: float
    at_least: bool
    unit: str = "×"
    detail: str = ""

    @property
    def reached(self) -> bool:
        """Whether the target is met."""
        return self.value >= self.target if self.at_least else self.value <= self.target


def pin() -> None:
    """Stay on one core, where the platform can: two cores would hide what waking a task costs."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def once(run: Run) -> float:
    """One round in a fresh event loop, with a clean heap."""
    gc.collect()
    return trio.run(run)


def compare(name: str, target: float, ours: Run, bare: Run) -> Result:
    """The best rate of ours over the best rate of bare Trio."""
    rounds = [(once(bare), once(ours)) for _ in range(ROUNDS)]
    bare_rate, our_rate = max(pair[0] for pair in rounds), max(pair[1] for pair in rounds)
    return Result(name, our_rate / bare_rate, target, at_least=True, detail=f"{our_rate:,.0f}/s : {bare_rate:,.0f}/s")


async def rate(n: int, work: Callable[..., Awaitable[Any]], *args: Any) -> float:
    """How many of `n` pieces of work are done in a second."""
    start = time.perf_counter()
    await work(*args)
    return n / (time.perf_counter() - start)
