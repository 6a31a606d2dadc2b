"""Brings spaces into memory whose rows only the store has, and keeps the order of those who wait for that.

A durable store answers after a while; until then messages stand in the line outside (`_places.py`), and come in
together, in their order, when the row is there.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, final

from spaceactors._errors import NotAccepted, StoreError
from spaceactors._receipt import Receipt, another
from spaceactors._store import EpochLost

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

    from spaceactors._handle import SpaceHandle
    from spaceactors._hub import Hub
    from spaceactors._space import Space
    from spaceactors._store import Row

# Seconds until a space is looked up again for messages of which nobody can be told that it failed.
_AGAIN = 0.5


@final
class FencedOff(StoreError):
    """A space belongs to a later opening of the store: this runtime has nothing more to say in it."""


def fenced_off(handle: SpaceHandle[Any]) -> FencedOff:
    """Return the error for what is asked of a space that was lost."""
    return FencedOff(f"{handle.id} is owned by a later opening of the store: this one has lost it", space=handle)


@final
class Loading:
    """The rows of a runtime that are on their way into memory."""

    __slots__ = ("_coming", "_runtime")

    def __init__(self, runtime: Hub) -> None:
        self._runtime = runtime
        self._coming: dict[tuple[str, str], Receipt[Row]] = {}

    def ready(self, handle: SpaceHandle[Any]) -> bool:
        """Tell whether a space can be made now; if not, its row is on its way from here on."""
        if self._here(handle.key):
            return True
        self._start(handle)
        return False

    def is_here(self, key: tuple[str, str]) -> bool:
        """Tell whether a space can be made now."""
        return self._here(key)

    def _here(self, key: tuple[str, str]) -> bool:
        runtime = self._runtime
        return runtime.durable is None or key in runtime.live or runtime.store.find(*key) is not None

    def _start(self, handle: SpaceHandle[Any]) -> Receipt[Row]:
        coming = self._coming.get(handle.key)
        if coming is None:
            assert self._runtime.durable is not None  # noqa: S101 (for the type checkers; `_here` is true without one)
            coming = self._coming[handle.key] = Receipt()
            self._runtime.durable.load(handle.kind, handle.id).then(lambda one: self._loaded(handle, one))
        return coming

    def _loaded(self, handle: SpaceHandle[Any], loaded: Receipt[Row]) -> None:
        coming = self._coming.pop(handle.key)
        error: Exception | None = None if loaded.error is None else self._told(handle, loaded.error)
        if error is None and loaded.value is None:
            try:
                self._runtime.begin_row(handle)
            except NotAccepted as refused:
                error = refused
        row = None if error is not None else self._runtime.store.find(*handle.key)
        if row is not None:
            row.pins += 1  # while those are told who wait
        coming.finish(row, error)
        if error is None:
            self._runtime.timers.loaded(row)
            self._runtime.places.loaded(handle)
        elif self._runtime.places.refuse(handle.key, error):
            self._runtime.keeper.set(self._runtime.clock.now + _AGAIN, lambda: self.ready(handle))
        if row is not None:
            self.unpin(row)

    def _told(self, handle: SpaceHandle[Any], error: Exception) -> Exception:
        return fenced_off(handle) if isinstance(error, EpochLost) else error

    def unpin(self, row: Row) -> None:
        """Take back a pin that `ensure` has set."""
        row.pins -= 1
        self.let_go(row)

    def let_go(self, row: Row) -> None:
        """Forget a row that nobody needs any more."""
        key, runtime = (row.kind, row.id), self._runtime
        if row.pins <= 0 and key not in runtime.live and runtime.durable is not None and not runtime.places.awaits(key):
            runtime.timers.let_go(row)
            runtime.durable.release(row)

    async def ensure(self, handle: SpaceHandle[Any]) -> Row:
        """Bring a space's row into memory and pin it there; whoever calls unpins it.

        Raises:
            StoreError: the store cannot be read now.
            BadCall: the space is new, and its class cannot say how it begins.

        """
        if self._here(handle.key):
            row = self._runtime.row_of(handle)
            row.pins += 1
            return row
        pinned: list[Row] = []
        wanted = True

        def pin(loaded: Receipt[Row]) -> None:
            # Now: when the task goes on that waits, nobody else may hold the row any more.
            if wanted and loaded.value is not None:
                loaded.value.pins += 1
                pinned.append(loaded.value)

        coming = self._start(handle)
        coming.then(pin)
        try:
            return await coming.wait()
        except BaseException as error:
            wanted = False
            for row in pinned:
                self.unpin(row)
            if isinstance(error, NotAccepted):
                raise another(error) from error.__cause__
            raise

    @asynccontextmanager
    async def held(self, handles: Iterable[SpaceHandle[Any]]) -> AsyncGenerator[dict[SpaceHandle[Any], Row]]:
        """Have the rows of these spaces in memory during the block."""
        rows: dict[SpaceHandle[Any], Row] = {}
        try:
            for handle in handles:
                rows[handle] = await self.ensure(handle)
            yield rows
        finally:
            for row in rows.values():
                self.unpin(row)

    async def wake(self, handle: SpaceHandle[Any]) -> Space:
        """Return the live space of a handle, brought back from the store if need be."""
        async with self.held([handle]):
            return self._runtime.space_waited_for(handle)
