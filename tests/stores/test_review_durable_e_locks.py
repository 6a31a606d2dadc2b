"""How long one waits for a lock."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from supervisors import CapacityTimeout
from tests.stores.postgres import require_driver

require_driver()

from spaceactors.stores import _locks  # noqa: E402 (needs the driver)

if TYPE_CHECKING:
    from spaceactors.stores._locks import Lease


async def test_who_waits_for_a_lock_looks_again_at_the_end_of_the_time(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock that is free before the time is over is had, however long the sleeps between two looks have become."""
    monkeypatch.setattr(_locks, "FIRST_NAP", 30.0)
    async with _locks.PostgresLocks(dsn) as locks, _locks.PostgresLocks(dsn) as others, trio.open_nursery() as nursery:
        nursery.cancel_scope.deadline = trio.current_time() + 20

        async def hold_shortly(task_status: trio.TaskStatus[Lease]) -> None:
            async with others.hold("a", ttl=30) as lease:
                task_status.started(lease)
                with pytest.raises(CapacityTimeout):
                    async with locks.hold("a", ttl=30, timeout=0):
                        pass

        await nursery.start(hold_shortly)
        async with locks.hold("a", ttl=30, timeout=1) as lease:
            assert lease.names == ("a",)
    assert not nursery.cancel_scope.cancelled_caught
