"""What a million known spaces cost: to open their store, and in memory while ten thousand of them are live."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import trio

from spaceactors import SqliteStore, open_runtime

from ._measure import ROUNDS, Result, Tally
from ._stores import Guest, a_folder, live, make_store, name_of
from .crowd import resident

KNOWN = 1_000_000
LIVE = 10_000


async def seconds_to_open(path: Path) -> float:
    """How long it takes from nothing to the first reply."""
    start = time.perf_counter()
    async with open_runtime(Guest, deps=Tally(), store=SqliteStore(path)) as runtime:
        await runtime.space(name_of(KNOWN // 2)).ask(Guest.visit, 1)
        return time.perf_counter() - start


async def bytes_when_live(path: Path, known: int) -> float:
    """Memory of this process when so many of the known spaces, evenly spread, are live."""
    tally = Tally()
    async with open_runtime(Guest, deps=tally, store=SqliteStore(path), config=live(LIVE)) as runtime:
        for first in range(0, known, known // 10):
            names = [name_of(number) for number in range(first, first + known // 10, known // LIVE)]
            tally.expect(len(names))
            for name in names:
                runtime.space(name).send_nowait(Guest.visit, 1)
            await tally.done.wait()
        await runtime.space(name_of(0)).ask(Guest.visit, 2)  # what was to be kept before it is kept when this is
        return resident()


def in_fresh_process(what: str, *arguments: object) -> float:
    """Measure where nothing has been allocated before."""
    command = (sys.executable, "-m", __name__, what, *map(str, arguments))
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def opening() -> Result:
    """Whether opening a store costs something for each space in it."""
    with a_folder() as folder:
        trio.run(make_store, folder / "many.db", KNOWN)
        seconds = min(in_fresh_process("open", folder / "many.db") for _ in range(ROUNDS))
    detail = f"{seconds * 1000:.0f} ms until the first reply, in a new process"
    return Result("opening a store with a million spaces", seconds, 1, at_least=False, unit=" s", detail=detail)


def memory() -> Result:
    """Whether what is known but not live takes memory."""
    sizes = list[float]()
    with a_folder() as folder:
        for known in (LIVE, KNOWN):
            path = folder / f"{known}.db"
            trio.run(make_store, path, known)
            sizes.append(in_fresh_process("memory", path, known))
    few, many = sizes
    detail = f"{many / 1e6:.0f} MB with a million known, {few / 1e6:.0f} MB with 10,000"
    return Result("memory of 10,000 live among a million known", many / few, 1.3, at_least=False, detail=detail)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["open", path]:
            sys.stdout.write(str(trio.run(seconds_to_open, Path(path))))
        case ["memory", path, known]:
            sys.stdout.write(str(trio.run(bytes_when_live, Path(path), int(known))))
        case other:
            sys.exit(f"There is no such measurement: {other}.")
