"""Sending and asking, each beside the same pattern on Trio's memory channels."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import trio
from trio.testing import wait_all_tasks_blocked

from spaceactors import Runtime, SpaceHandle, open_runtime

from ._measure import CAPACITY, MANY, Counter, Result, Tally, compare, open_readers, rate, read_down, read_one_of_many

BATCHES = 20
MESSAGES = 20_000
ASKS = 10_000
SPREAD = 1000


def countdown(n: int) -> range:
    """So many values, the last of them 0."""
    return range(n - 1, -1, -1)


async def in_batches(send_nowait: Callable[[int], object], tally: Tally) -> None:
    """Fill the mailbox, let it be worked off, again and again."""
    for _ in range(BATCHES):
        tally.expect(CAPACITY)
        for value in countdown(CAPACITY):
            send_nowait(value)
        await tally.done.wait()


async def send_nowait_ours() -> float:
    """Batches into one space."""
    tally = Tally()
    async with open_runtime(Counter, deps=tally) as runtime:
        space = runtime.space("one")
        await space.ask(Counter.down, 1)
        return await rate(BATCHES * CAPACITY, in_batches, partial(space.send_nowait, Counter.down), tally)


async def send_nowait_bare() -> float:
    """Batches into one channel."""
    tally = Tally()
    send, receive = trio.open_memory_channel[int](CAPACITY)
    async with open_readers() as nursery:
        nursery.start_soon(read_down, receive, tally)
        return await rate(BATCHES * CAPACITY, in_batches, send.send_nowait, tally)


def send_nowait() -> Result:
    """A send that does not wait, to a live space."""
    return compare("send_nowait to a live space", 4.0, send_nowait_ours, send_nowait_bare)


async def send_all_ours(space: SpaceHandle[Counter], tally: Tally) -> None:
    """Awaited sends, then the last one handled."""
    tally.expect(MESSAGES)
    for value in countdown(MESSAGES):
        await space.send(Counter.down, value)
    await tally.done.wait()


async def send_all_bare(channel: trio.MemorySendChannel[int], tally: Tally) -> None:
    """The same into a channel."""
    tally.expect(MESSAGES)
    for value in countdown(MESSAGES):
        await channel.send(value)
    await tally.done.wait()


async def send_ours() -> float:
    """Awaited sends to one space."""
    tally = Tally()
    async with open_runtime(Counter, deps=tally) as runtime:
        space = runtime.space("one")
        await space.ask(Counter.down, 1)
        return await rate(MESSAGES, send_all_ours, space, tally)


async def send_bare() -> float:
    """Awaited sends to one channel."""
    tally = Tally()
    send, receive = trio.open_memory_channel[int](CAPACITY)
    async with open_readers() as nursery:
        nursery.start_soon(read_down, receive, tally)
        return await rate(MESSAGES, send_all_bare, send, tally)


def send() -> Result:
    """An awaited send, to a live space."""
    return compare("awaited send to a live space", 4.0, send_ours, send_bare)


async def ask_all_ours(space: SpaceHandle[Counter]) -> None:
    """One question after the other."""
    for value in range(ASKS):
        await space.ask(Counter.down, value)


async def ask_ours() -> float:
    """Questions to one space."""
    async with open_runtime(Counter, deps=Tally()) as runtime:
        space = runtime.space("one")
        await space.ask(Counter.down, 1)
        return await rate(ASKS, ask_all_ours, space)


async def pong(questions: trio.MemoryReceiveChannel[int], answers: trio.MemorySendChannel[int], tally: Tally) -> None:
    """Answer whatever comes, as the actor does."""
    async for question in questions:
        if not question:
            tally.done.set()
        await answers.send(question)


async def ping(questions: trio.MemorySendChannel[int], answers: trio.MemoryReceiveChannel[int]) -> None:
    """Ask one question after the other."""
    for value in range(ASKS):
        await questions.send(value)
        await answers.receive()


async def ask_bare() -> float:
    """A ping-pong over two channels with one place each: without it, it would be slower."""
    questions_in, questions_out = trio.open_memory_channel[int](1)
    answers_in, answers_out = trio.open_memory_channel[int](1)
    async with open_readers() as nursery:
        nursery.start_soon(pong, questions_out, answers_in, Tally())
        return await rate(ASKS, ping, questions_in, answers_out)


def ask() -> Result:
    """A question with its answer."""
    return compare("ask, beside a ping-pong over two channels", 1.0, ask_ours, ask_bare)


async def start_all_ours(runtime: Runtime[Counter], tally: Tally) -> None:
    """A first message to each of many new names."""
    tally.expect(SPREAD)
    for number in range(SPREAD):
        runtime.space(f"space {number}").send_nowait(Counter.one_of_many, number)
    await tally.done.wait()


async def start_ours() -> float:
    """New spaces, until each has handled its first message."""
    tally = Tally()
    async with open_runtime(Counter, deps=tally, config=MANY) as runtime:
        return await rate(SPREAD, start_all_ours, runtime, tally)


async def start_all_bare(nursery: trio.Nursery, tally: Tally) -> None:
    """A new task with a new channel for each of many."""
    tally.expect(SPREAD)
    for number in range(SPREAD):
        send, receive = trio.open_memory_channel[int](CAPACITY)
        nursery.start_soon(read_one_of_many, receive, tally)
        send.send_nowait(number)
    await tally.done.wait()


async def start_bare() -> float:
    """New tasks, until each has read its first message."""
    async with open_readers() as nursery:
        return await rate(SPREAD, start_all_bare, nursery, Tally())


def start() -> Result:
    """Starting a space with its first message."""
    return compare("starting a space, beside a task with a channel", 0.5, start_ours, start_bare)


async def one_to_each(sends: list[Callable[[int], object]], tally: Tally) -> None:
    """One message to each of many, and wait for all; ten times."""
    for value in range(10):
        tally.expect(len(sends))
        for send_one in sends:
            send_one(value)
        await tally.done.wait()


async def each_ours() -> float:
    """One message to each of many live spaces."""
    tally = Tally()
    async with open_runtime(Counter, deps=tally, config=MANY) as runtime:
        await start_all_ours(runtime, tally)
        sends = [partial(runtime.space(f"space {number}").send_nowait, Counter.one_of_many) for number in range(SPREAD)]
        return await rate(10 * SPREAD, one_to_each, sends, tally)


async def each_bare() -> float:
    """One message to each of many channels, each with its reader."""
    tally = Tally()
    async with open_readers() as nursery:
        channels = [trio.open_memory_channel[int](CAPACITY) for _ in range(SPREAD)]
        for _, receive in channels:
            nursery.start_soon(read_one_of_many, receive, tally)
        await wait_all_tasks_blocked()
        return await rate(10 * SPREAD, one_to_each, [send.send_nowait for send, _ in channels], tally)


def each() -> Result:
    """One message to each of many."""
    return compare("one message to each of 1,000", 0.8, each_ours, each_bare)
