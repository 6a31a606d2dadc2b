"""`SqliteStore`: everything in one file, with no server."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal, final

import trio

from spaceactors.stores._durable import DurableStore
from spaceactors.stores._sqlite import SqliteEngine

if TYPE_CHECKING:
    from collections.abc import Callable
    from os import PathLike

    from spaceactors._errors import StoreError


@final
class SqliteStore(DurableStore):
    """Keeps spaces in one SQLite file: what was accepted outlives the process, and whatever ends it.

    You would want it for a service on one machine. The file is made if it is not there; one process at a time has it.

    Args:
        path: the file; its directory must be there.
        synchronous: "FULL" waits until each group of commits is on the disk; with "NORMAL" the last moments before a
            loss of power may be lost, though not before a crash of the process, and nothing is ever half-written.

    Raises:
        ValueError: `synchronous` is neither.
        StoreError: (when a runtime opens it) the file is no database of this library, is damaged, was written by a
            newer version, cannot be written, or is open elsewhere.

    """

    def __init__(self, path: str | PathLike[str], /, *, synchronous: Literal["FULL", "NORMAL"] = "FULL") -> None:
        super().__init__(SqliteEngine(path, synchronous=synchronous))
        # As the engine has it: the program may go to another directory before it opens the store.
        self._path = os.path.realpath(path)

    async def run(self, failing: Callable[[StoreError], None], healed: Callable[[], None], /) -> None:
        """Write what there is to write, and answer commands: nobody else can open the file meanwhile."""
        from spaceactors.admin import serve_admin  # what looks after stores, only where one is open

        async with trio.open_nursery() as nursery:
            if not self.inline:
                nursery.start_soon(serve_admin, self._home(), self._path)
            await super().run(failing, healed)
