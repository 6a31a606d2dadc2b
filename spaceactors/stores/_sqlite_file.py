"""The file of a SQLite store: who may open it, whether it is ours, and what its errors mean."""

from __future__ import annotations

import errno
import os
import sqlite3
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING

from spaceactors._errors import StoreError
from spaceactors.stores import _schema as schema
from spaceactors.stores._sqlite_statements import MOST_STATEMENTS, WORDS, table_sql

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

# "spac" in ASCII: tells our files from those of other programs.
APPLICATION = 0x73706163

# Seconds to wait for a visit to end, and between two looks whether it has.
PATIENCE, _PAUSE = 5.0, 0.02
# What a visitor's number is followed by in the lock file.
VISIT = " visits"

# Seconds to wait for a program that reads the file with a tool of its own.
BUSY = 2.0

# What SQLite says, by its primary error code: what happened, and what to do.
_MEANINGS = {
    sqlite3.SQLITE_FULL: ("the disk is full", "free some space; the store goes on by itself then"),
    sqlite3.SQLITE_IOERR: (
        "the disk could not be read or written",
        "look at the disk and its cables, mounts and quotas",
    ),
    sqlite3.SQLITE_READONLY: (
        "the file may only be read",
        "give this process the right to write the file and its folder",
    ),
    sqlite3.SQLITE_BUSY: (
        "another program holds a lock on the file",
        "close the other program, often a database browser",
    ),
    sqlite3.SQLITE_LOCKED: ("the file is locked", "close the other program, often a database browser"),
    sqlite3.SQLITE_CORRUPT: (
        "the file is damaged",
        "see what `spaceactors verify` says, and go back to a copy that was made before",
    ),
    sqlite3.SQLITE_NOTADB: ("the file is no SQLite database", "give the path of a store, or of a file to be made"),
    sqlite3.SQLITE_CANTOPEN: ("the file cannot be opened", "look at the rights of the file and of its folder"),
    sqlite3.SQLITE_NOMEM: ("there is not enough memory", "give the process more"),
}


def told(name: str, error: Exception) -> StoreError:
    """Return the error that says what SQLite's means for this store."""
    if isinstance(error, OSError):
        return StoreError(
            f"{name}: {error.strerror or error} ({error.filename}); look at the rights of file and folder"
        )
    code = getattr(error, "sqlite_errorcode", None)
    happened, todo = _MEANINGS.get((code or 0) & 0xFF, (str(error), ""))
    shown = getattr(error, "sqlite_errorname", None) or type(error).__name__
    what = f"{happened} ({shown}: {error})" if todo else f"{happened} ({shown})"
    return StoreError(f"{name}: {what}; {todo}" if todo else f"{name}: {what}")


@contextmanager
def telling(name: str) -> Generator[None, None, None]:
    """Raise what SQLite and the system raise here, also about values that no database takes, as `StoreError`s."""
    try:
        yield
    except (sqlite3.Error, OSError, OverflowError, UnicodeError) as error:
        raise told(name, error) from error


def refuse_path(name: str, path: str) -> None:
    """Refuse what cannot be the path of a store, before anything is made beside it."""
    if path in {"", ":memory:"} or path.startswith("file:"):
        raise StoreError(f"{name}: give the path of a file; for spaces in memory write MemoryStore()")
    folder = Path(path).parent
    if Path(path).is_dir():
        raise StoreError(
            f"{name}: this is a directory; give the path of a file in it, such as {Path(path, 'spaces.db')}"
        )
    if not folder.is_dir():
        raise StoreError(f"{name}: there is no directory {folder}; make it first")
    if Path(path).exists() and not _may(path, os.R_OK | os.W_OK):
        raise StoreError(f"{name}: this process may not read and write the file; give it the right to")
    if not _may(folder, os.W_OK | os.X_OK):
        raise StoreError(
            f"{name}: this process may not write in {folder}, where SQLite keeps a log; give it the right to"
        )


def _may(path: Path | str, what: int) -> bool:
    """Return whether the process has these rights now, also where it changed its user."""
    return os.access(path, what, effective_ids=os.access in os.supports_effective_ids)


class FileLock:
    """Keeps every other process, and every other store of this one, from opening the file.

    It is held on a file beside it, so that SQLite's own locks stay untouched; the system frees it when the process
    ends, however that is. The file stays: taking it away could free a lock that somebody has just got.

    A `visit` is short (a command that looks at the file): whoever comes meanwhile waits for its end instead of being
    refused at once.
    """

    def __init__(self, name: str, path: str, *, visit: bool = False) -> None:
        self._name = name
        self._store = path
        self._path = f"{path}-lock"
        self._sign = f"{os.getpid()}{VISIT if visit else ''}\n".encode()
        self._file: int | None = None

    def take(self) -> None:
        """Take it, or raise `StoreError` that names its holder."""
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o644)
        give_up = monotonic() + PATIENCE
        try:
            _give_to_owner(file, self._store)
            while not _free(file):
                holder = os.pread(file, 40, 0).decode("ascii", "replace").strip() if hasattr(os, "pread") else ""
                if not holder.endswith(VISIT) or monotonic() > give_up:
                    raise StoreError(self._refusal(holder.removesuffix(VISIT)))
                sleep(_PAUSE)
        except BaseException:
            os.close(file)
            raise
        os.ftruncate(file, 0)
        os.write(file, self._sign)
        self._file = file

    def _refusal(self, holder: str) -> str:
        if holder == str(os.getpid()):
            return f"{self._name}: this process has it open already; use the store that there is, or close it first"
        who = f"process {holder}" if holder else "another process"
        return f"{self._name}: {who} has it open; end that process, or use another file (a store has one owner)"

    def free(self) -> None:
        """Free it."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)


def _give_to_owner(file: int, store: str) -> None:
    """Let the store's owner lock it too, where the superuser looked at it first; SQLite does so with its own files."""
    if sys.platform != "win32" and os.geteuid() == 0:
        with suppress(OSError):
            owner = Path(store).stat()
            os.fchown(file, owner.st_uid, owner.st_gid)


def _free(file: int) -> bool:
    """Lock a file, and tell whether nobody had it."""
    try:
        _lock(file)
    except OSError as error:
        if error.errno not in {errno.EAGAIN, errno.EACCES, errno.EDEADLK}:
            raise
        return False
    return True


if sys.platform == "win32":
    import msvcrt

    def _lock(file: int) -> None:
        # Windows keeps others from reading what is locked: a byte behind the number of the process.
        os.lseek(file, 1 << 20, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        os.lseek(file, 0, os.SEEK_SET)

else:
    import fcntl

    def _lock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def connect(path: str, *, cache: int, reading: bool = False) -> sqlite3.Connection:
    """Return a connection in autocommit mode, with at most `cache` kilobytes of pages in memory."""
    mode = "rw" if reading else "rwc"
    connection = sqlite3.connect(
        f"{Path(path).as_uri()}?mode={mode}",
        uri=True,
        timeout=BUSY,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=MOST_STATEMENTS,
    )
    try:
        connection.execute(f"PRAGMA cache_size = -{cache}")
        connection.execute("PRAGMA mmap_size = 0")
        if reading:
            # Only the writing connection may move the log into the file.
            connection.execute("PRAGMA wal_autocheckpoint = 0")
            connection.execute("PRAGMA query_only = 1")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def prepare(name: str, connection: sqlite3.Connection, synchronous: str) -> None:
    """Refuse a file that is not ours, and bring ours up to date."""
    application, version, tables = _looked_at(connection)
    if application not in {0, APPLICATION} or (application == 0 and (version or tables)):
        raise StoreError(
            f"{name}: the file is a database of another program; give the path of a store, or of a new file"
        )
    if version > schema.VERSION:
        raise StoreError(
            f"{name}: the file was written by a newer version (its shape is {version}, this program knows"
            f" {schema.VERSION}): upgrade spaceactors, or take another file"
        )
    mode = str(connection.execute("PRAGMA journal_mode = WAL").fetchone()[0])
    if mode != "wal":
        raise StoreError(f"{name}: SQLite cannot keep a log here (its mode is {mode}); use a file on a local disk")
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    # A log that grew in a rush is cut to this many bytes afterwards.
    connection.execute("PRAGMA journal_size_limit = 67108864")
    if application == 0:
        _create(connection)
    else:
        migrate(connection, schema.MIGRATIONS, schema.VERSION)


def _looked_at(connection: sqlite3.Connection) -> tuple[int, int, int]:
    """Return whose database it is, its version, and how many tables it has."""
    application = int(connection.execute("PRAGMA application_id").fetchone()[0])
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    return application, version, int(connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])


def _create(connection: sqlite3.Connection) -> None:
    with transaction(connection):
        for table in schema.TABLES:
            for sql in table_sql(table):
                connection.execute(sql)
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
        connection.execute(f"PRAGMA user_version = {schema.VERSION}")


def migrate(connection: sqlite3.Connection, migrations: Mapping[int, tuple[str, ...]], to: int) -> None:
    """Bring an older shape up to date, each version in a transaction of its own."""
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    words = {type_.value: word for type_, word in WORDS.items()}
    for older in range(version, to):
        with transaction(connection):
            for sql in migrations[older]:
                connection.execute(sql.format_map(words))
            connection.execute(f"PRAGMA user_version = {older + 1}")


@contextmanager
def transaction(connection: sqlite3.Connection) -> Generator[None, None, None]:
    """Commit what is done in the block, or nothing of it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        roll_back(connection)
        raise


def roll_back(connection: sqlite3.Connection) -> None:
    """Make the connection usable again; after some errors SQLite has rolled back by itself."""
    if connection.in_transaction:
        # What cannot be rolled back on a broken disk is rolled back by the next who opens the file.
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
