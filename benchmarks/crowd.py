"""What many live spaces cost: those that are busy, in time, and those that are idle, in memory and time."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import trio
from trio.testing import wait_all_tasks_blocked

from spaceactors import Runtime, open_runtime

from ._measure import CAPACITY, MANY, ROUNDS, Counter, Result, Tally, open_readers, rate, read_down, read_one_of_many
from .messages import BATCHES, in_batches

CROWDS = (1, 1000, 100_000)
IDLE = 10_000  # enough for the interpreter's own growth to vanish in the average


async def populate(runtime: Runtime[Counter], tally: Tally, wanted: range) -> None:
    """Make these spaces live: each has handled one message."""
    for start in range(0, len(wanted), CAPACITY):
        some = wanted[start : start + CAPACITY]
        tally.expect(len(some))
        for number in some:
            runtime.space(f"space {number}").send_nowait(Counter.one_of_many, number)
        await tally.done.wait()
    await wait_all_tasks_blocked()


@asynccontextmanager
async def open_crowd(n: int) -> AsyncGenerator[Runtime[Counter]]:
    """A runtime with `n` idle live spaces."""
    tally = Tally()
    async with open_runtime(Counter, deps=tally, config=MANY) as runtime:
        await populate(runtime, tally, range(n))
        yield runtime


async def beside_bare(send_nowait: Callable[[int], object], tally: Tally) -> float:
    """How many times as fast as a bare channel; rounds of both in turns, since the crowd's own filling takes long."""
    bare_tally, rounds = Tally(), list[tuple[float, float]]()
    send, receive = trio.open_memory_channel[int](CAPACITY)
    async with open_readers() as nursery:
        nursery.start_soon(read_down, receive, bare_tally)
        for _ in range(ROUNDS):
            bare = await rate(BATCHES * CAPACITY, in_batches, send.send_nowait, bare_tally)
            rounds.append((bare, await rate(BATCHES * CAPACITY, in_batches, send_nowait, tally)))
    return max(ours for _, ours in rounds) / max(bare for bare, _ in rounds)


async def busy_ratios() -> list[float]:
    """One busy space beside a bare channel in each crowd; the crowds grow, so that the largest is filled once."""
    tally, live = Tally(), 0
    ratios: list[float] = []
    async with open_runtime(Counter, deps=tally, config=MANY) as runtime:
        send_nowait = partial(runtime.space("space 0").send_nowait, Counter.down)
        for crowd in CROWDS:
            await populate(runtime, tally, range(live, crowd))
            live = crowd
            gc.collect()
            ratios.append(await beside_bare(send_nowait, tally))
    return ratios


def busy() -> Result:
    """How much of its speed one busy space keeps in a crowd."""
    ratios = trio.run(busy_ratios)
    detail = ", ".join(f"{ratio:.2f} × bare with {crowd:,}" for crowd, ratio in zip(CROWDS, ratios, strict=True))
    return Result(
        "one busy space among 1 to 100,000 live", min(ratios) / max(ratios), 0.75, at_least=True, detail=detail
    )


def resident() -> int:
    """Bytes of memory that this process occupies."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def memory_ours() -> float:
    """Bytes for each idle live space."""
    async with open_crowd(100):  # what is allocated once for all
        pass
    before = resident()
    async with open_crowd(IDLE):
        return (resident() - before) / IDLE


async def memory_bare() -> float:
    """Bytes for each idle task with its channel."""
    before = resident()
    async with open_readers() as nursery:
        channels = [trio.open_memory_channel[int](CAPACITY) for _ in range(IDLE)]
        for _, receive in channels:
            nursery.start_soon(read_one_of_many, receive, Tally())
        await wait_all_tasks_blocked()
        return (resident() - before) / IDLE


def in_fresh_process(side: str) -> float:
    """Measure one side where nothing has been allocated before."""
    command = (sys.executable, "-m", __name__, side)
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def memory() -> Result:
    """What an idle live space occupies."""
    ours, bare = in_fresh_process("ours"), in_fresh_process("bare")
    detail = f"{ours / bare:.1f} × a task with a channel ({bare / 1000:.1f} kB)"
    return Result("memory of an idle live space", ours / 1000, 7.0, at_least=False, unit=" kB", detail=detail)


async def processor_time() -> float:
    """Milliseconds of processor time that a real second costs."""
    start = time.process_time()
    await trio.sleep(1)
    return (time.process_time() - start) * 1000


async def idle_times() -> tuple[float, float]:
    """Best of five for 100,000 idle spaces, and for a program that only sleeps."""
    bare = min([await processor_time() for _ in range(ROUNDS)])
    async with open_crowd(CROWDS[-1]):
        gc.collect()
        ours = min([await processor_time() for _ in range(ROUNDS)])
    return ours, bare


def idle() -> Result:
    """Processor time of a crowd that does nothing."""
    ours, bare = trio.run(idle_times)
    detail = f"{ours:.2f} ms in a second, {bare:.2f} ms without them"
    return Result(
        "processor time of 100,000 idle spaces", ours - bare, 1.0, at_least=False, unit=" ms/s", detail=detail
    )


if __name__ == "__main__":
    sys.stdout.write(str(trio.run({"ours": memory_ours, "bare": memory_bare}[sys.argv[1]])))
