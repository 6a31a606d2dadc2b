"""Faults that a test puts where it wants them: a store that fails on command."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar, final

from attrs import define

if TYPE_CHECKING:
    from collections.abc import Generator

    from spaceactors._port import Store
    from spaceactors._store import Commit, Row

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

    async def commit(self, row: Row, commit: Commit, /) -> None:
        """Fail, or keep what a turn did; the hooks' turns never fail, so that a test can count the others."""
        if commit.message is not None:
            self._reach("before_commit")
        await self._inner.commit(row, commit)

    def write_commit(self, row: Row, commit: Commit, /) -> Any:
        """Fail, or have a durable store keep what a turn did."""
        if commit.message is not None:
            self._reach("before_commit")
        return self._inner.write_commit(row, commit)  # type: ignore[attr-defined]

    async def delete(self, kind: str, space_id: str, /) -> None:
        """Fail, or remove a space."""
        self._reach("before_delete")
        await self._inner.delete(kind, space_id)

    def __getattr__(self, name: str) -> Any:
        # Everything else never fails.
        return getattr(self._inner, name)
