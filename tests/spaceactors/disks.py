"""Durable stores for tests: a disk that fails on command, one life after the other on it, a wall clock that jumps."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import trio

from spaceactors import RuntimeConfig, StoreError
from spaceactors._clock import TickClock
from spaceactors._runtime import NOTHING, kinds_of, open_hub
from spaceactors._store import EpochLost
from spaceactors.stores._durable import DurableStore
from spaceactors.stores._engine import Put
from spaceactors.stores._sqlite import SqliteEngine
from spaceactors.testing import VirtualRuntime
from spaceactors.testing._faults import FaultyStore
from spaceactors.testing._limits import unbounded_limits

GUARDED = frozenset({Put.SAVE_SPACE, Put.MARK_SPACE})
START = datetime(2030, 1, 1, tzinfo=UTC)


class Disk:
    """An engine that does what SQLite's does, except where a test wants otherwise."""

    def __init__(self, path):
        self._inner = SqliteEngine(path, synchronous="NORMAL")
        self.name = "the disk"
        # Whether nothing can be written; whether no space can be brought into memory.
        self.full = self.unreadable = False
        # How many of the next writes fail; what happens while something is written, once.
        self.fail_next = 0
        self.meanwhile = None
        # Ids of spaces that a later opening owns, as their next write or load finds out.
        self.stolen = set()
        # How often spaces were brought into memory.
        self.loads = 0

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def write(self, writes):
        if self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            meanwhile()
        if self.full or self.fail_next:
            self.fail_next = max(self.fail_next - 1, 0)
            raise StoreError("the disk is full")
        lost = [self._is_stolen(rows) for rows in writes]
        kept = iter(self._inner.write([rows for rows, gone in zip(writes, lost, strict=True) if not gone]))
        return [EpochLost() if gone else next(kept) for gone in lost]

    def _is_stolen(self, rows):
        """Tell whether a row guards by the owner's epoch, as a database would."""
        return any(
            (put in GUARDED or (put is Put.NEW_MESSAGE and values[-1] is not None)) and values[1] in self.stolen
            for put, values in rows
        )

    def load(self, keys, epoch):
        if self.unreadable:
            raise StoreError("the disk cannot be read")
        if any(space_id in self.stolen for _, space_id in keys):
            raise EpochLost
        self.loads += len(keys)
        return self._inner.load(keys, epoch)


class Wall(TickClock):
    """A wall clock that goes with Trio's time, and jumps when it is told to."""

    jumped = 0.0

    def __init__(self, ahead=0.0):
        super().__init__(wall=lambda: START + timedelta(seconds=trio.current_time()))
        self.jumped = ahead

    def date(self, at):
        return super().date(at) + timedelta(seconds=self.jumped)

    def wall(self, at):
        return super().wall(at) + self.jumped


@asynccontextmanager
async def life(disk, *actors, deps=NOTHING, max_live=10_000, ahead=0.0):
    """Open a runtime on a disk; its wall clock is `ahead` seconds ahead of Trio's time."""
    store = DurableStore(disk)
    store.inline = True
    faulty = FaultyStore(store)
    async with open_hub(
        lambda hub, closing: VirtualRuntime(hub, closing, faulty),
        kinds_of(actors, deps_given=deps is not NOTHING),
        None if deps is NOTHING else deps,
        store=faulty,
        limits=unbounded_limits(),
        config=RuntimeConfig(max_live_spaces=max_live),
        clock=lambda: Wall(ahead),
    ) as runtime:
        runtime.store = store
        yield runtime


async def live(runtime):
    """How many spaces are in memory."""
    return (await runtime.snapshot()).live


async def check_ledger(runtime):
    """Hold law 2: what was accepted has one outcome, or is pending."""
    ledger = (await runtime.snapshot()).ledger
    assert ledger.accepted == sum(ledger.outcomes.values()) + ledger.pending, ledger
    return ledger


async def seen(events, kind):
    """Read events until one of this class has come."""
    async for event in events:
        if isinstance(event, kind):
            return event
    raise AssertionError(kind)
