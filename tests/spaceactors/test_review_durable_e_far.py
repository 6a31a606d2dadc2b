"""Times that are further away than dates go."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

import trio

from spaceactors import Actor, MemoryStore, SqliteStore, Store, Suspension, handler, open_runtime

if TYPE_CHECKING:
    from pathlib import Path


class Patient(Actor[int]):
    @handler
    async def ask(self) -> int:
        return await self.suspend("when", "any time?", answer=int, timeout=1e12)


async def found_open(store: Store, *, ask: bool) -> Suspension:
    async with open_runtime(Patient, store=store) as runtime:
        if ask:
            await runtime.space("ann").send(Patient.ask)
        with trio.fail_after(50):
            while not (found := await runtime.suspensions.list()):
                await trio.lowlevel.checkpoint()
        return found[0]


FURTHEST = datetime.max.replace(tzinfo=UTC)


def test_a_question_may_stay_open_for_longer_than_dates_can_say() -> None:
    """Thirty thousand years is how some write "for ever"; the turn must not crash at it."""
    assert trio.run(partial(found_open, MemoryStore(), ask=True)).expires_at == FURTHEST


def test_such_a_question_is_found_again_in_a_file(tmp_path: Path) -> None:
    for ask in (True, False):
        store = SqliteStore(tmp_path / "s.db")
        assert trio.run(partial(found_open, store, ask=ask)).expires_at == FURTHEST
