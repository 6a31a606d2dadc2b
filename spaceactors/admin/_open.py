"""From what a command is given to the store that it means: through the service that has it, or by opening it."""

from __future__ import annotations

import os
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, final

from spaceactors._errors import StoreError
from spaceactors.admin._changing import change
from spaceactors.admin._reading import read
from spaceactors.admin._requests import AdminError, AnswerQuestion, DiscardLetters, ResendLetters, Vacuum
from spaceactors.admin._server import socket_path, unavailable

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from spaceactors.admin._client import ServiceStore
    from spaceactors.admin._requests import Request, Row
    from spaceactors.stores._engine import Engine

# Seconds between the tries to reach a service, which has its file a moment before it listens.
PAUSES = (0.1, 0.2, 0.4)
# What every SQLite database begins with.
_MAGIC = b"SQLite format 3\0"


class StoreAccess(Protocol):
    """A store to look at and look after, whether a service runs on it or not."""

    # Whether a service answers.
    running: bool

    def ask(self, request: Request) -> Iterator[Row]:
        """Return what answers a request, row by row.

        Raises:
            AdminError: it cannot be done; also while the rows come.

        """
        ...


@final
class StandingStore:
    """A store that no service has open, or a database server's, which may have several owners."""

    running = False

    def __init__(self, engine: Engine, epoch: int) -> None:
        self._engine = engine
        self._epoch = epoch

    def ask(self, request: Request) -> Iterator[Row]:
        """Return what answers a request, row by row. Raises `AdminError`."""
        try:
            if isinstance(request, ResendLetters | DiscardLetters | AnswerQuestion | Vacuum):
                yield from change(self._engine, self._epoch, request)
            else:
                yield from read(self._engine, request)
        except StoreError as error:
            raise AdminError(str(error)) from error
        except (TypeError, UnicodeError) as error:  # SQLite takes any value in any column
            raise AdminError(f"a row cannot be read ({error}): see what `spaceactors verify` says") from error


@contextmanager
def open_store(target: str) -> Generator[StoreAccess]:
    """Open a store by its path or its `postgresql://` address, without ever making one.

    Raises:
        AdminError: there is no such store, or it cannot be opened now.

    """
    if is_address(target):
        engine = _postgres(target)
    else:
        _check_file(target)
        service = _service(target)
        if service is not None:
            with closing(service):
                yield service
            return
        engine = _sqlite(target)
    with _opened(engine) as store:
        yield store


def is_address(target: str) -> bool:
    """Tell whether a store is named by the address of a database server."""
    return target.startswith(("postgresql://", "postgres://"))


def _check_file(target: str) -> None:
    """Refuse what cannot be a store before anything is made beside it."""
    path = Path(target)
    if path.is_dir():
        raise AdminError(f"{target}: this is a directory; give the path of the store's file")
    try:
        with path.open("rb") as file:
            begin = file.read(len(_MAGIC))
    except FileNotFoundError:
        raise AdminError(f"{target}: there is no such file; a store is made by the service that uses it") from None
    except (OSError, ValueError) as error:
        raise AdminError(f"{target}: the file cannot be read: {error}") from None
    if begin != _MAGIC:
        raise AdminError(f"{target}: this is no store, nor any SQLite database")


def _service(target: str) -> ServiceStore | None:
    """Connect to the service that has a file; None: nobody has it. Raises `AdminError` if one has it and is silent."""
    path = socket_path(target)
    problem, holder = unavailable(path), None
    for pause in PAUSES:
        service = None if problem else _connected(path)
        holder = None if service else _holder(target)
        if service is not None or holder is None:
            return service
        if not problem:
            time.sleep(pause)
    silent = problem or f"nobody answers at {path}"
    raise AdminError(f"{holder}; commands cannot go through that process, for {silent}")


def _connected(path: str) -> ServiceStore | None:
    from spaceactors.admin._client import connect

    return connect(path)


def _holder(target: str) -> str | None:
    """Return who has a file open, as a sentence."""
    from spaceactors.stores._sqlite_file import FileLock

    lock = FileLock(f"SqliteStore({target})", os.path.realpath(target), visit=True)
    try:
        lock.take()
    except StoreError as error:
        return str(error)
    except OSError as error:
        raise AdminError(f"{target}: {error.strerror or error} ({error.filename})") from None
    lock.free()
    return None


def _sqlite(target: str) -> Engine:
    from spaceactors.stores._sqlite import SqliteEngine

    return SqliteEngine(target, visit=True)


def _postgres(target: str) -> Engine:
    try:
        from spaceactors.stores._postgres import PostgresEngine
        from spaceactors.stores._postgres_there import holds_store
    except ModuleNotFoundError as error:
        raise AdminError(f"{error.name} is needed for PostgreSQL: pip install 'spaceactors[postgres]'") from None
    try:
        engine = PostgresEngine(target, visit=True)
        there = holds_store(engine)
    except StoreError as error:
        raise AdminError(str(error)) from error
    if not there:
        raise AdminError(f"{engine.name} holds no store; the tables are made by the service that uses it")
    return engine


@contextmanager
def _opened(engine: Engine) -> Generator[StandingStore]:
    try:
        epoch = engine.open()
    except StoreError as error:
        raise AdminError(str(error)) from error
    with closing(engine):
        yield StandingStore(engine, epoch)
