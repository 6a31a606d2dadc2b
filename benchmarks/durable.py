"""What it costs to keep everything: each figure beside the same rows written by `sqlite3` alone.

Both sides write with `synchronous=FULL`. These run on all cores: a store writes in a thread of its own, and what
threads do to each other shows on two cores only.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median

import trio

from spaceactors import Runtime, SpaceHandle, SqliteStore, open_runtime

from ._measure import ROUNDS, Result, Tally, rate
from ._stores import SPACES, Bare, Guest, a_folder, live, make_store, name_of, open_bare

BATCH = 256
# To each of the spaces.
VISITS = 10
# As many tasks send as messages are in a batch of the other side, when each waits for its message to be kept.
PATIENT, EAGER = BATCH, 8
# Of what is measured one by one.
TIMES = 500

Send = Callable[[SpaceHandle[Guest], int], Awaitable[object]]


async def send_patiently(space: SpaceHandle[Guest], value: int) -> None:
    """Wait until the message is kept."""
    await space.send(Guest.visit, value)


async def send_eagerly(space: SpaceHandle[Guest], value: int) -> None:
    """Wait for nothing."""
    space.send_nowait(Guest.visit, value)


async def visit_all(runtime: Runtime[Guest], tally: Tally, send: Send, senders: int) -> None:
    """Several messages to each space, by so many senders; ends when the last turn is on disk."""
    spaces = [runtime.space(name_of(number)) for number in range(SPACES)]
    tally.expect(VISITS * SPACES)

    async def send_share(share: list[SpaceHandle[Guest]]) -> None:
        for value in range(VISITS):
            for space in share:
                await send(space, value)
            await trio.lowlevel.checkpoint()  # others run in between, as they do in a service

    async with trio.open_nursery() as nursery:
        for first in range(senders):
            nursery.start_soon(send_share, spaces[first::senders])
    await tally.done.wait()
    tally.expect(1)
    await spaces[0].ask(Guest.visit, 0)  # what was to be kept before it is kept when this is


async def visits(path: Path, send: Send, senders: int) -> float:
    """How many messages are accepted, handled and kept in a second, when all spaces are live."""
    tally = Tally()
    async with open_runtime(Guest, deps=tally, store=SqliteStore(path), config=live(2 * SPACES)) as runtime:
        await visit_all(runtime, tally, send_eagerly, EAGER)
        return await rate(VISITS * SPACES, visit_all, runtime, tally, send, senders)


def visits_bare(bare: Bare) -> float:
    """The same rows in batches, by nobody else."""
    ids = [name_of(number) for number in range(SPACES)] * VISITS
    start = time.perf_counter()
    for first in range(0, len(ids), BATCH):
        bare.messages(ids[first : first + BATCH])
    return len(ids) / (time.perf_counter() - start)


def beside_bare(name: str, send: Send, senders: int) -> Result:
    """The best of five rounds of both, in turns, each on a file of its own."""
    with a_folder() as folder:
        for file in ("ours.db", "bare.db"):
            trio.run(make_store, folder / file, SPACES)
        with open_bare(folder / "bare.db") as bare:
            rounds = [(visits_bare(bare), trio.run(visits, folder / "ours.db", send, senders)) for _ in range(ROUNDS)]
    bare_rate, our_rate = max(pair[0] for pair in rounds), max(pair[1] for pair in rounds)
    return Result(name, our_rate / bare_rate, 0.15, at_least=True, detail=f"{our_rate:,.0f}/s : {bare_rate:,.0f}/s")


def send() -> Result:
    """Many senders, each of whom waits until its message is on disk."""
    return beside_bare("durable send and turn, beside bare sqlite3", send_patiently, PATIENT)


def send_nowait() -> Result:
    """A few senders who do not wait."""
    return beside_bare("durable send_nowait and turn, beside bare sqlite3", send_eagerly, EAGER)


async def visits_in_company(path: Path) -> tuple[float, float]:
    """The rate alone, and beside a task that always has something to do."""
    tally = Tally()

    async def work() -> None:
        while True:
            sum(range(5000))
            await trio.lowlevel.checkpoint()

    async with open_runtime(Guest, deps=tally, store=SqliteStore(path), config=live(2 * SPACES)) as runtime:
        await visit_all(runtime, tally, send_eagerly, EAGER)
        alone = await rate(VISITS * SPACES, visit_all, runtime, tally, send_patiently, PATIENT)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(work)
            busy = await rate(VISITS * SPACES, visit_all, runtime, tally, send_patiently, PATIENT)
            nursery.cancel_scope.cancel()
        return alone, busy


def busy() -> Result:
    """Whether the writing thread gets on while Trio's never rests: without care for it, it starves."""
    with a_folder() as folder:
        trio.run(make_store, folder / "ours.db", SPACES)
        rounds = [trio.run(visits_in_company, folder / "ours.db") for _ in range(ROUNDS)]
    alone, beside = max(pair[0] for pair in rounds), max(pair[1] for pair in rounds)
    detail = f"{beside:,.0f}/s : {alone:,.0f}/s"
    return Result("durable send beside a busy task, and alone", beside / alone, 0.3, at_least=True, detail=detail)


async def timed(call: Awaitable[object]) -> float:
    """How many seconds it takes."""
    start = time.perf_counter()
    await call
    return time.perf_counter() - start


async def ask_times(path: Path, bare: Bare) -> tuple[float, float]:
    """Seconds of a lone ask and of a bare commit, by turns."""
    ours, theirs = list[float](), list[float]()

    async def commit() -> None:
        bare.turn(name_of(0))

    async with open_runtime(Guest, deps=Tally(), store=SqliteStore(path)) as runtime:
        space = runtime.space(name_of(0))
        for value in range(TIMES):
            ours.append(await timed(space.ask(Guest.visit, value)))
            theirs.append(await timed(commit()))
    return median(ours), median(theirs)


def ask() -> Result:
    """How long the only asker waits."""
    with a_folder() as folder:
        for file in ("ours.db", "bare.db"):
            trio.run(make_store, folder / file, SPACES)
        with open_bare(folder / "bare.db") as bare:
            ours, theirs = trio.run(ask_times, folder / "ours.db", bare)
    detail = f"{ours * 1e6:.0f} µs : {theirs * 1e6:.0f} µs, medians"
    return Result("a lone durable ask, beside one bare commit", ours / theirs, 3, at_least=False, detail=detail)


ENTRIES = 100_000


async def say_times(path: Path) -> tuple[float, float]:
    """Seconds of a turn in a long conversation and in one that is nearly empty."""
    async with open_runtime(Guest, deps=Tally(), store=SqliteStore(path)) as runtime:
        for _ in range(10):
            await runtime.space("long").ask(Guest.fill, ENTRIES // 10)
    long, short = list[float](), list[float]()
    async with open_runtime(Guest, deps=Tally(), store=SqliteStore(path)) as runtime:
        pairs = ((long, runtime.space("long")), (short, runtime.space("short")))
        for _ in range(TIMES):
            for times, space in pairs:
                times.append(await timed(space.ask(Guest.say, "what a guest says")))
    return median(long), median(short)


def conversation() -> Result:
    """Whether a turn costs more when much has been said before."""
    with a_folder() as folder:
        long, short = trio.run(say_times, folder / "ours.db")
    detail = f"{long * 1e6:.0f} µs : {short * 1e6:.0f} µs, medians"
    return Result(f"a turn after {ENTRIES:,} entries, and at first", long / short, 1.2, at_least=False, detail=detail)
