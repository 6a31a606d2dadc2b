"""What the tests of states, timers, lanes and streams share: a guarded runtime, and a run under a schedule."""

from __future__ import annotations

from contextlib import asynccontextmanager

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from spaceactors import Gap, open_runtime
from supervisors.testing import seed_schedule

# Virtual seconds: nothing here waits as long, so whoever does waits for ever.
HANGING_AFTER = 1e7


@asynccontextmanager
async def opened(*actors, **options):
    """Open a runtime in which waiting for ever is an error."""
    with trio.fail_after(HANGING_AFTER):
        async with open_runtime(*actors, **options) as runtime:
            yield runtime


def run_seeded(main, seed):
    """Run an async function on virtual time, under the schedule that follows from a seed."""
    with seed_schedule(seed):
        return trio.run(main, clock=MockClock(autojump_threshold=0))


async def settled():
    """Let everything happen that happens without the clock."""
    await wait_all_tasks_blocked()


async def outcome_of(call, *args):
    """Return what an async call returns or raises."""
    try:
        return await call(*args)
    except Exception as error:
        return error


async def take(feed, number):
    """Read so many events of a feed, as (value, position), or the count of a gap."""
    found = []
    for _ in range(number):
        event = await anext(feed)
        found.append(event.missed if isinstance(event, Gap) else (event.value, event.position))
    return found
