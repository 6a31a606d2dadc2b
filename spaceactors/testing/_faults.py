"""Faults that a test puts where it wants them: a store that fails on command."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar, final

from attrs import define

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from spaceactors._actor import Actor
    from spaceactors._dead_letters import DeadLetter
    from spaceactors._handle import SpaceHandle
    from spaceactors._store import Commit, Row, Store

S = TypeVar("S")

POINTS = ("before_accept", "before_commit", "before_delete")


@final
class InjectedFault(Exception):
    """What fails at a point of `VirtualRuntime.fault` that was given no other error."""


@define(eq=False)
class _Fault:
    """One error that is to come up so many times."""

    error: BaseException | None
    times: int


@final
class FaultyStore:
    """A store that does what another one does, except where it was told to fail."""

    durable = False

    def __init__(self, inner: Store) -> None:
        self._inner = inner
        self._faults: dict[str, list[_Fault]] = {point: [] for point in POINTS}
        self.durable = inner.durable

    @contextmanager
    def fault(self, point: str, error: BaseException | None, times: int) -> Generator[None]:
        """Fail at a point, the next so many times inside the block."""
        if point not in self._faults:
            msg = f"there is no point {point!r} to fail at; there are: {', '.join(POINTS)}"
            raise ValueError(msg)
        if times < 1:
            msg = f"times must be at least 1, not {times!r}"
            raise ValueError(msg)
        armed = _Fault(error, times)
        self._faults[point].append(armed)
        try:
            yield
        finally:
            self._faults[point].remove(armed)

    def _reach(self, point: str) -> None:
        for armed in self._faults[point]:
            if armed.times:
                armed.times -= 1
                raise InjectedFault(point) if armed.error is None else armed.error

    def check(self, arguments: object) -> None:
        """Fail before a call is accepted, or refuse what the store could not write."""
        self._reach("before_accept")
        if self._inner.check is not None:
            self._inner.check(arguments)

    async def update(self, space: SpaceHandle[Actor[S]], change: Callable[[S], S], /) -> int:
        """Change a space's state from outside."""
        return await self._inner.update(space, change)

    async def commit(self, row: Row, commit: Commit, /) -> None:
        """Fail, or keep what a turn did; the hooks' turns never fail, so that a test can count the others."""
        if commit.message is not None:
            self._reach("before_commit")
        await self._inner.commit(row, commit)

    async def delete(self, kind: str, space_id: str, /) -> None:
        """Fail, or remove a space."""
        self._reach("before_delete")
        await self._inner.delete(kind, space_id)

    # ---- what never fails

    def find(self, kind: str, space_id: str, /) -> Row | None:
        """Return a space's row."""
        return self._inner.find(kind, space_id)

    def create(self, kind: str, space_id: str, state: object, group: str | None, /) -> Row:
        """Begin a space's row."""
        return self._inner.create(kind, space_id, state, group)

    def rows(self, kind: str, *, after: str = "", limit: int = 100) -> list[Row]:
        """Return rows of a kind."""
        return self._inner.rows(kind, after=after, limit=limit)

    def bury(self, letter: DeadLetter, /) -> int:
        """Keep a dead letter."""
        return self._inner.bury(letter)

    def letters(self, kind: str | None, limit: int, /) -> list[DeadLetter]:
        """Return dead letters."""
        return self._inner.letters(kind, limit)

    def buried(self, message_ids: Iterable[str], /) -> dict[int, DeadLetter]:
        """Return the dead letters of some messages."""
        return self._inner.buried(message_ids)

    def unbury(self, numbers: Iterable[int], /) -> list[DeadLetter]:
        """Take dead letters out."""
        return self._inner.unbury(numbers)
