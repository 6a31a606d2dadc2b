"""Durable spaces in one SQLite file."""

from __future__ import annotations

import os
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, final

from spaceactors._errors import StoreError
from spaceactors._store import EpochLost, VersionLost
from spaceactors.stores._batches import Missed, grouped, owners
from spaceactors.stores._engine import QUARANTINED
from spaceactors.stores._sqlite_check import problems
from spaceactors.stores._sqlite_file import (
    FileLock,
    connect,
    prepare,
    refuse_path,
    telling,
    told,
    transaction,
)
from spaceactors.stores._sqlite_load import load, spaces_of
from spaceactors.stores._sqlite_reads import Readers, Reading, marks
from spaceactors.stores._sqlite_statements import CLAIM, TEMPLATES, statements

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Sequence

    from spaceactors.stores._batches import Grouped
    from spaceactors.stores._engine import Key, Loaded, Row
    from spaceactors.stores._sqlite_statements import Template

# Kilobytes of pages that the writing connection keeps, whatever the size of the file.
_CACHE = 8000

# What a single write of a batch can be to blame for: a broken guard or rule, or a value that SQLite cannot keep.
_ITS_OWN_FAULT = (
    Missed,
    sqlite3.IntegrityError,
    sqlite3.ProgrammingError,
    sqlite3.InterfaceError,
    sqlite3.DataError,
    OverflowError,
    UnicodeError,
)


@final
class SqliteEngine(Reading):
    """The engine for one SQLite file: one connection writes, a few others read.

    Args:
        path: the file; it is made if there is none.
        synchronous: "FULL": a commit is on the disk when `write` returns. "NORMAL": it survives the end of the process
            at any moment, but the last commits may be lost when the computer itself loses power; nothing is torn.
        visit: it is opened for a moment only, so that others wait for its end.

    """

    def __init__(self, path: str | os.PathLike[str], *, synchronous: str = "FULL", visit: bool = False) -> None:
        if synchronous not in {"FULL", "NORMAL"}:
            raise ValueError(f'synchronous is {synchronous!r}; write "FULL" or "NORMAL"')
        given = os.fspath(path)
        self.name = f"SqliteStore({given})"
        self._given = given
        # One file under two names is still one file.
        self._path = os.path.realpath(given)
        self._synchronous = synchronous
        self._lock = FileLock(self.name, self._path, visit=visit)
        self._writer: sqlite3.Connection | None = None
        self._readers = Readers(self.name, self._path)

    def open(self) -> int:
        """Connect, refuse what is no database of ours, bring the schema up to date; return this opening's epoch."""
        if self._writer is not None:
            raise StoreError(f"{self.name}: it is open already")
        with telling(self.name):
            refuse_path(self.name, self._given)
            self._lock.take()
            try:
                return self._connected()
            except BaseException:
                self.close()
                raise

    def _connected(self) -> int:
        self._writer = connection = connect(self._path, cache=_CACHE)
        prepare(self.name, connection, self._synchronous)
        self._readers = Readers(self.name, self._path)
        with transaction(connection):
            connection.execute(
                "INSERT INTO meta VALUES ('epoch', 1) ON CONFLICT (name) DO UPDATE SET value = value + 1"
            )
            return int(connection.execute("SELECT value FROM meta WHERE name = 'epoch'").fetchone()[0])

    def close(self) -> None:
        """Close all connections; more than once does no harm."""
        self._readers.close()
        connection, self._writer = self._writer, None
        try:
            if connection is not None:
                with telling(self.name):
                    # The last to leave moves the log into the file.
                    connection.close()
        finally:
            self._lock.free()

    @contextmanager
    def _writing(self) -> Generator[sqlite3.Connection, None, None]:
        if self._writer is None:
            raise StoreError(f"{self.name}: it is closed; open it first")
        with telling(self.name):
            yield self._writer

    def write(self, writes: Sequence[Sequence[Row]], /) -> Sequence[Exception | None]:
        """Keep a batch in one transaction, and make it durable; see `Engine.write`."""
        with self._writing() as connection:
            try:
                with transaction(connection):
                    _put(connection, grouped(writes))
            except _ITS_OWN_FAULT:
                with transaction(connection):
                    return [self._tried(connection, write) for write in writes]
            return [None] * len(writes)

    def _tried(self, connection: sqlite3.Connection, write: Sequence[Row]) -> Exception | None:
        """Write what belongs together, or nothing of it."""
        connection.execute("SAVEPOINT one")
        blame = None
        try:
            _put(connection, grouped([write]))
        except _ITS_OWN_FAULT as error:
            connection.execute("ROLLBACK TO one")
            blame = self._blamed(connection, write, error)
        connection.execute("RELEASE one")
        return blame

    def _blamed(self, connection: sqlite3.Connection, write: Sequence[Row], error: Exception) -> Exception:
        """Return why a write was refused."""
        if not isinstance(error, Missed):
            return told(self.name, error)
        for key, epoch in owners(write):
            found = spaces_of(connection, [key])
            if found and found[0].epoch > epoch:
                return self._lost(key)
        return VersionLost(f"{self.name}: what was to be changed is not there any more, or was changed by others")

    def _lost(self, key: Key) -> EpochLost:
        return EpochLost(f"{self.name}: a later opening of the store has the space {key[0]} {key[1]!r}")

    def load(self, keys: Sequence[Key], epoch: int, /) -> Sequence[Loaded | None]:
        """Read spaces, and claim each for this epoch; None for one that there is not."""
        with self._writing() as connection:
            try:
                found = self._load(connection, list(dict.fromkeys(keys)), epoch)
            except TypeError as error:  # SQLite takes any value in any column
                raise StoreError(
                    f"{self.name}: a row holds a value of a wrong type ({error}): see what `spaceactors verify` says"
                ) from error
        return [found.get((kind, id_)) for kind, id_ in keys]

    def _load(self, connection: sqlite3.Connection, keys: list[Key], epoch: int) -> dict[Key, Loaded]:
        spaces = spaces_of(connection, keys)
        for space in spaces:
            if space.epoch > epoch:
                raise self._lost(space[:2])
        self._claim(connection, [(*space[:2], epoch) for space in spaces if space.epoch < epoch])
        claimed = [space._replace(epoch=epoch) for space in spaces]
        return {loaded.space[:2]: loaded for loaded in load(connection, claimed)}

    def _claim(self, connection: sqlite3.Connection, claims: Sequence[tuple[str, str, int]]) -> None:
        """Make spaces ours; needs no way to the disk: if the computer stops, a later opening has a later epoch."""
        if not claims:
            return
        connection.execute("PRAGMA synchronous = NORMAL")
        try:
            _put_rows(connection, CLAIM, claims)
        finally:
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")

    def count_recoveries(self, kinds: Collection[str], /) -> None:
        """Add one recovery to the first message of every space of these kinds; see `Engine.count_recoveries`."""
        sql = f"""
            UPDATE mailbox SET recoveries = recoveries + 1
            WHERE asleep = 0
            AND number IN (SELECT min(number) FROM mailbox WHERE kind IN ({marks(kinds)}) GROUP BY kind, id)
            AND NOT EXISTS (
                SELECT 1 FROM spaces AS s WHERE s.kind = mailbox.kind AND s.id = mailbox.id AND s.flags & ? != 0
            )"""  # noqa: S608 (places for values)
        with self._writing() as connection, transaction(connection):
            connection.execute(sql, (*kinds, QUARANTINED))

    def verify(self) -> Sequence[str]:
        """Check the file through and through; return what is wrong with it, in sentences."""
        with self._readers.borrow() as connection:
            return problems(connection)

    def vacuum(self) -> None:
        """Give unused space back to the disk. Not while batches are written."""
        with self._writing() as connection:
            connection.execute("VACUUM")
            connection.execute("PRAGMA optimize")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _put(connection: sqlite3.Connection, groups: Grouped) -> None:
    """Write the rows of a batch."""
    for put, rows in groups:
        for template in TEMPLATES[put]:
            _put_rows(connection, template, rows)


def _put_rows(connection: sqlite3.Connection, template: Template, rows: Sequence[Sequence[Any]]) -> None:
    met = 0
    for sql, values in statements(template, rows):
        met += connection.execute(sql, values).rowcount
    if template.guarded and met != len(rows):
        raise Missed
