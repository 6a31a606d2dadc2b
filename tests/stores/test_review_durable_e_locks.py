"""How long one waits for a lock."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.stores.postgres import require_driver

require_driver()

from spaceactors.stores import _locks  # noqa: E402 (needs the driver)


async def test_who_waits_for_a_lock_looks_again_at_the_end_of_the_time(
    dsn: str, monkeypatch: pytest.MonkeyPatch, mock_clock: MockClock
) -> None:
    """A lock that is free before the time is over is had, however long the sleeps between two looks have become."""
    monkeypatch.setattr(_locks, "FIRST_NAP", 30.0)
    had: list[tuple[str, ...]] = []
    looks = 0
    async with _locks.PostgresLocks(dsn) as locks, _locks.PostgresLocks(dsn) as others, trio.open_nursery() as nursery:
        take = locks._table.take

        def counted(*args: Any) -> Any:
            nonlocal looks
            looks += 1
            return take(*args)

        async def wait() -> None:
            async with locks.hold("a", ttl=300, timeout=1) as lease:
                had.append(lease.names)

        monkeypatch.setattr(locks._table, "take", counted)
        async with others.hold("a", ttl=300):
            nursery.start_soon(wait)
            while not looks or locks._table._turn.borrowed_tokens:
                await wait_all_tasks_blocked()
            await wait_all_tasks_blocked()  # it has seen that the lock is held, and sleeps
        mock_clock.jump(1)
    assert had == [("a",)]
    assert looks == 2
