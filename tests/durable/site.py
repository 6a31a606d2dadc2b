"""The directory of a kill run: the store, and files of lines that outlive a killed process.

What a process has given to the kernel by `write` is there after its death, so nothing here is synced. Only a line that
crosses a page of the file can be torn; a torn line counts as not written, which is always right for a note that is
made after the fact, and for one made before it too, because such an act is repeated.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attrs import define, field


@define
class Notes:
    """A file of JSON lines that is only appended to."""

    path: Path
    _fd: int | None = None

    def add(self, *values: Any) -> None:
        """Append a line; it is kept when this returns."""
        if self._fd is None:
            self._fd = os.open(self.path, os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o600)
            os.write(self._fd, b"\n")  # ends a line that an earlier life has left torn
        os.write(self._fd, json.dumps(values).encode() + b"\n")

    def read(self) -> list[list[Any]]:
        """Return all whole lines."""
        return list(self._lines())

    def size(self) -> int:
        """Return how many bytes there are."""
        return self.path.stat().st_size if self.path.exists() else 0

    def _lines(self) -> Iterator[list[Any]]:
        if not self.path.exists():
            return
        for line in self.path.read_bytes().splitlines():
            try:
                value = json.loads(line) if line else None
            except ValueError:
                continue
            if value is not None:
                yield value


@define
class Site:
    """One kill run: where its files are, and how large it is."""

    directory: Path
    # A path's name in the directory, or the address of a database.
    store: str
    first: int = 0
    spaces: int = 100
    # What was acknowledged to the customers: ("sent", key), ("replied", key, reply), ("rejected", key, reason),
    # ("answered", question, answer), ("touched", space, token).
    acks: Notes = field(init=False)
    # What steps did in the world: ("+", key, token) by the step's function, ("=", key, token) when the step returned.
    effects: Notes = field(init=False)
    # What was begun and may or may not have happened: ("touching", space, token).
    tries: Notes = field(init=False)
    # What a life saw that must not be.
    faults: Notes = field(init=False)

    def __attrs_post_init__(self) -> None:
        for name in ("acks", "effects", "tries", "faults"):
            setattr(self, name, Notes(self.directory / f"{name}.jsonl"))

    @property
    def kitchens(self) -> int:
        """How many kitchens there are."""
        return max(self.spaces // 10, 1)

    @property
    def on_a_server(self) -> bool:
        """Whether the store may be out of reach for a while."""
        return self.store.startswith("postgresql:")

    def open_store(self) -> Any:
        """Return the store, not yet open."""
        if self.on_a_server:
            from spaceactors import PostgresStore

            return PostgresStore(self.store)
        if self.store == "memory":
            from spaceactors import MemoryStore

            return MemoryStore(check_encoding=True)
        from spaceactors import SqliteStore

        return SqliteStore(self.directory / self.store)
