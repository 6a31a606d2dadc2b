"""What the durable benchmarks share: an actor with a state, files for it, and the same rows by `sqlite3` alone."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from attrs import frozen

from spaceactors import Actor, RuntimeConfig, SpaceOptions, SqliteStore, handler, open_runtime

from ._measure import RESULTS, Tally

SPACES = 1000
# What a message's call takes on disk, as `Guest.visit` with a number does.
BODY = bytes(41)


@frozen
class Seen:
    """The smallest state worth keeping."""

    count: int = 0
    last: int = 0


class Guest(Actor[Seen]):
    """Its turns are what is measured: next to nothing but what they keep."""

    options = SpaceOptions(mailbox_capacity=1000)

    def __init__(self, tally: Tally) -> None:
        """Share the tally with whoever measures."""
        self.tally = tally

    @handler
    async def visit(self, value: int) -> int:
        """Assign a state."""
        self.state = Seen(self.state.count + 1, value)
        self.tally.add()
        return value

    @handler
    async def say(self, text: str) -> int:
        """Do what a chat does in every turn: append an entry and read the last ones."""
        self.history.append(text)
        return len(await self.history.recent(10))

    @handler
    async def fill(self, n: int) -> int:
        """Make a long conversation."""
        for number in range(n):
            self.history.append(f"what was said as number {number}")
        return len(self.history)


def name_of(number: int) -> str:
    """The id of a space; in the order of the numbers, so that files are made quickly."""
    return f"guest {number:07}"


@contextmanager
def a_folder() -> Generator[Path]:
    """A folder on the project's own disk: a temporary one may lie in memory, where a commit costs nothing."""
    RESULTS.mkdir(exist_ok=True)
    with TemporaryDirectory(dir=RESULTS, prefix="store-") as folder:
        yield Path(folder)


async def make_store(path: Path, n: int) -> None:
    """Make a file in which `n` spaces are known: one that had a turn, and its copies."""
    async with open_runtime(Guest, deps=Tally(), store=SqliteStore(path)) as runtime:
        await runtime.space(name_of(0)).ask(Guest.visit, 0)
    with closing(sqlite3.connect(path)) as file:
        names = [column[1] for column in file.execute("PRAGMA table_info(spaces)")]
        columns = ", ".join(f'"{name}"' for name in names)
        copied = ", ".join("printf('guest %07d', n)" if name == "id" else f'"{name}"' for name in names)
        numbers = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < ?) SELECT n FROM c"
        if n > 1:
            file.execute(f"INSERT INTO spaces ({columns}) SELECT {copied} FROM spaces, ({numbers})", (n - 1,))  # noqa: S608
        file.commit()
        file.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def live(n: int) -> RuntimeConfig:
    """Settings for so many live spaces."""
    return RuntimeConfig(max_live_spaces=n)


class Bare:
    """The same file, written by `sqlite3` alone: no guards, no other rows, nobody beside it."""

    def __init__(self, path: Path) -> None:
        """Open a file that `make_store` made."""
        self.file = sqlite3.connect(path, isolation_level=None)
        self.file.execute("PRAGMA journal_mode = WAL")
        self.file.execute("PRAGMA synchronous = FULL")
        self.kind, self.state = self.file.execute("SELECT kind, state FROM spaces LIMIT 1").fetchone()
        self.number = 1 << 50

    def close(self) -> None:
        """Close the file."""
        self.file.close()

    def messages(self, ids: Sequence[str]) -> None:
        """One commit with a message to each, accepted and handled: three rows for each."""
        numbers = range(self.number, self.number + len(ids))
        self.number += len(ids)
        now = time.time()
        self.file.execute("BEGIN")
        self.file.executemany(
            "INSERT INTO mailbox (kind, id, number, message_id, body, at, expires_at, attempts, recoveries, asleep)"
            " VALUES (?, ?, ?, NULL, ?, ?, NULL, 0, 0, 0)",
            [(self.kind, one, number, BODY, now) for one, number in zip(ids, numbers, strict=True)],
        )
        self._states(ids)
        self.file.executemany("DELETE FROM mailbox WHERE number = ?", [(number,) for number in numbers])
        self.file.execute("COMMIT")

    def turn(self, one: str) -> None:
        """One commit with what a turn leaves of a lone ask: the space's new state."""
        self.file.execute("BEGIN")
        self._states([one])
        self.file.execute("COMMIT")

    def _states(self, ids: Sequence[str]) -> None:
        self.file.executemany(
            "UPDATE spaces SET state = ?, version = version + 1 WHERE kind = ? AND id = ?",
            [(self.state, self.kind, one) for one in ids],
        )


@contextmanager
def open_bare(path: Path) -> Generator[Bare]:
    """A bare file that is closed at the end."""
    with closing(Bare(path)) as bare:
        yield bare
