"""Kill the service again and again, until every conversation is over; then see whether anything was lost or doubled.

    python -m tests.durable.kill_run --kills 200
    python -m tests.durable.kill_run --kills 40 --postgres

Every life is a process of its own, forked from this one, which never runs Trio itself: what is imported is imported
once, and a life begins in milliseconds. Half of the lives are killed by a clock, half by their own hand at a named
point (`points.py`). The work comes in rounds, each in a directory with a new store, until the kills are done.
"""

from __future__ import annotations

import argparse
import ctypes
import faulthandler
import json
import os
import pkgutil
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import trio
from attrs import define, field

import spaceactors
from tests.durable.oracle import judge
from tests.durable.plan import conversations
from tests.durable.points import OFTEN, POINTS, die_at
from tests.durable.site import Site
from tests.durable.worker import STUCK_AFTER, UNOPENED, live

# The longest that a life runs before the clock kills it, in seconds: a few dozen messages. Where lives are killed
# before they have done anything they run for longer, so that on a slow machine too about half of them have.
LONGEST = 0.2
LONGER = 1.2
# So long a process may take that should have ended by itself.
PATIENCE = STUCK_AFTER + 60
# PR_SET_PDEATHSIG of Linux.
DIE_WITH_PARENT = 1
# So many kills in one round: more would leave too little work for each life.
KILLS_PER_ROUND = 50


@define
class Tally:
    """What a run has done and found."""

    # By what killed: "clock", or the name of a point.
    kills: Counter[str] = field(factory=Counter)
    # How often the database's server was killed while a life went on.
    outages: int = 0
    lives: int = 0
    rounds: int = 0
    messages: int = 0
    faults: list[str] = field(factory=list)
    seconds: float = 0.0
    # The longest that the next life runs.
    longest: float = LONGEST

    def as_text(self) -> str:
        """Say it in a few lines."""
        by_point = ", ".join(f"{name} {count}" for name, count in sorted(self.kills.items()))
        return (
            f"{self.kills.total()} kills in {self.lives} lives and {self.rounds} rounds, {self.outages} outages,"
            f" {self.messages} messages, {self.seconds:.1f} s: {len(self.faults)} faults\n{by_point}"
        )


def start(call: Callable[[], Any], log: Path) -> int:
    """Run a call in a forked process; what it prints goes to a file."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)  # a life is not to outlive its driver
        os.closerange(3, 256)  # what this process holds open is not the life's to hold
        with log.open("a", buffering=1) as output:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
            faulthandler.dump_traceback_later(PATIENCE - 5, file=output)
            try:
                call()
                code = 0
            except SystemExit as asked:
                code = int(str(asked))
                traceback.print_exc(file=output)
            except BaseException:  # everything: nothing may leave a forked process but through its exit
                traceback.print_exc(file=output)
    finally:
        os._exit(code)


def wait_ended(pid: int, within: float) -> int | None:
    """Return how a process ended (as `os.waitstatus_to_exitcode` says it), or None if it still runs."""
    until = time.monotonic() + within
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= until:
            return None
        time.sleep(0.001)


def kill(pid: int) -> int:
    """Kill a process, and return how it ended."""
    os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def one_life(site: Site, point: str | None, count: int) -> None:
    """Live, up to a point."""
    die_at(point, count)
    trio.run(live, site)


def one_judgement(site: Site) -> None:
    """Judge, and write down what is wrong."""
    faults = trio.run(judge, site)
    (site.directory / "verdict.json").write_text(json.dumps(faults))


def let_live(site: Site, tally: Tally, chance: random.Random, server: Any = None) -> bool:
    """Have a life begin, and end it; return whether it came to its own end first."""
    if server is not None and chance.random() < 0.2:
        return let_outlive(site, tally, chance, server)
    done_before = site.acks.size()
    point = chance.choice(POINTS) if chance.random() < 0.5 else None
    count = 1 + int(chance.random() ** 2 * OFTEN[point]) if point else 0
    pid = start(partial(one_life, site, point, count), site.directory / "log.txt")
    tally.lives += 1
    within = tally.longest if point else chance.uniform(0.0, tally.longest)
    code = wait_ended(pid, within)
    if code is None:
        point, code = None, kill(pid)
        worked = site.acks.size() > done_before
        tally.longest = max(LONGEST, tally.longest / LONGER if worked else tally.longest * LONGER)
    return ended(site, tally, code, point)


def let_outlive(site: Site, tally: Tally, chance: random.Random, server: Any) -> bool:
    """Have the database's server die and come back in the middle of a life, and then the life end."""
    pid = start(partial(one_life, site, None, 0), site.directory / "log.txt")
    tally.lives += 1
    time.sleep(chance.uniform(0.0, tally.longest))
    server.kill()
    server.start()
    tally.outages += 1
    code = wait_ended(pid, chance.uniform(0.0, 2 * tally.longest))
    return ended(site, tally, kill(pid) if code is None else code, None)


def ended(site: Site, tally: Tally, code: int, point: str | None) -> bool:
    """Count how a life has ended; return whether it was by itself."""
    if code == -signal.SIGKILL:
        tally.kills[point or "clock"] += 1
        return False
    if code == UNOPENED and site.on_a_server:
        return False
    if code:
        tally.faults.append(f"a life ended with {code}: {tail(site)}")
    return True


def tail(site: Site) -> str:
    """Return the end of what the lives have printed."""
    log = site.directory / "log.txt"
    return log.read_text(errors="replace")[-6000:] if log.exists() else ""


def finish(site: Site, tally: Tally) -> None:
    """Let the work be done to its end, unkilled, and judge it."""
    for call in (one_life, one_judgement):
        arguments = (site, None, 0) if call is one_life else (site,)
        pid = start(partial(call, *arguments), site.directory / "log.txt")
        tally.lives += 1
        code = wait_ended(pid, PATIENCE)
        if code is None:
            kill(pid)
        if code != 0:
            tally.faults += [text for (text,) in site.faults.read()]
            tally.faults.append(f"{call.__name__} ended with {code}: {tail(site)}")
            return
    tally.faults += json.loads((site.directory / "verdict.json").read_text())


def one_round(site: Site, kills: int, tally: Tally, chance: random.Random, server: Any = None) -> None:
    """Kill so many times, or until the work is done; then finish and judge."""
    until = tally.kills.total() + kills
    while tally.kills.total() < until and not tally.faults:
        if let_live(site, tally, chance, server):
            break
    if not tally.faults:
        finish(site, tally)
    tally.rounds += 1
    tally.messages += sum(map(len, conversations(site.first, site.spaces).values()))


def load_all() -> None:
    """Import what a life needs, so that it begins with its work."""
    for _, name, _ in pkgutil.walk_packages(spaceactors.__path__, "spaceactors."):
        if not name.startswith("spaceactors.cli"):
            import_module(name)


def run(
    kills: int,
    seed: int,
    directory: Path,
    *,
    spaces: int = 250,
    server: Any = None,
) -> Tally:
    """Kill so many times; stop at the first round that shows a fault."""
    load_all()
    chance, tally, began = random.Random(seed), Tally(), time.monotonic()
    while tally.kills.total() < kills and not tally.faults:
        number = tally.rounds
        place = directory / f"round-{number}"
        place.mkdir()
        site = Site(place, "shop.db" if server is None else server.new_schema(), number * spaces, spaces)
        one_round(site, min(kills - tally.kills.total(), KILLS_PER_ROUND), tally, chance, server)
    tally.seconds = time.monotonic() - began
    return tally


def server_for(*, postgres: bool) -> AbstractContextManager[Any]:
    """Have a server run, if one is wanted."""
    if not postgres:
        return nullcontext()
    from tests.stores.postgres import running_server

    return running_server()


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument(
        "--seed", type=int, default=None, help="makes the choice of deaths repeatable, not their moments"
    )
    parser.add_argument("--spaces", type=int, default=250, help="conversations in a round")
    parser.add_argument("--postgres", action="store_true", help="on a server of its own, which is killed too")
    parser.add_argument("--keep", type=Path, default=None, help="an empty directory to leave everything in")
    chosen = parser.parse_args()
    seed = random.randrange(2**32) if chosen.seed is None else chosen.seed
    sys.stdout.write(f"seed {seed}\n")
    with tempfile.TemporaryDirectory() as directory, server_for(postgres=chosen.postgres) as server:
        tally = run(chosen.kills, seed, chosen.keep or Path(directory), spaces=chosen.spaces, server=server)
    sys.stdout.write("\n- ".join([tally.as_text(), *tally.faults[:20]]) + "\n")
    return 1 if tally.faults else 0


if __name__ == "__main__":
    sys.exit(main())
