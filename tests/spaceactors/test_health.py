"""How a space fares, in one word: for monitors and alerts."""

from __future__ import annotations

from itertools import product

import pytest
import trio

from spaceactors import Actor, Backoff, Health, RestartLimit, SpaceOptions, SpaceStatus, handler, open_runtime
from spaceactors._snapshot import health_of


@pytest.mark.parametrize("status", [*SpaceStatus])
def test_the_first_that_is_true_counts(status):
    for ending, begun, crashed, stalled, waiting in product((False, True), repeat=5):
        health = health_of(status, ending=ending, begun=begun, crashed=crashed, stalled=stalled, waiting=waiting)
        if status is SpaceStatus.QUARANTINED:
            expected = Health.QUARANTINED
        elif ending:
            expected = Health.DRAINING
        elif status is SpaceStatus.SUSPENDED:
            expected = Health.HEALTHY
        elif not begun:
            expected = Health.RESTARTING if crashed else Health.STARTING
        elif stalled:
            expected = Health.STALLED
        else:
            expected = Health.BUSY if waiting else Health.HEALTHY
        assert health is expected


class Patient(Actor, kind="patient"):
    options = SpaceOptions(
        stalled_after=5.0, restart_limit=RestartLimit(1, 1000.0), backoff=Backoff(lambda _: 3.0), shutdown=50.0
    )

    async def on_start(self) -> None:
        await trio.sleep(1)

    @handler
    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)

    @handler
    async def crash(self) -> None:
        msg = "ouch"
        raise ValueError(msg)


async def health(runtime):
    (one,) = (await runtime.snapshot()).spaces
    return one.health


async def test_a_life_from_its_start_to_its_end(autojump_clock):
    async with open_runtime(Patient) as runtime:
        space = runtime.space("a")
        await space.send(Patient.sleep, 1.0)
        await trio.sleep(0.5)
        assert await health(runtime) is Health.STARTING
        await trio.sleep(1)
        assert await health(runtime) is Health.BUSY
        await trio.sleep(1)
        assert await health(runtime) is Health.HEALTHY
        await space.send(Patient.sleep, 30.0)
        await trio.sleep(15)
        assert await health(runtime) is Health.STALLED
        await trio.sleep(20)
        await space.send(Patient.crash)
        await trio.sleep(1)
        assert await health(runtime) is Health.RESTARTING
        await trio.sleep(10)
        assert await health(runtime) is Health.HEALTHY
        await space.send(Patient.sleep, 10.0)
        async with trio.open_nursery() as nursery:
            await trio.sleep(1)
            nursery.start_soon(space.drain)
            await trio.sleep(1)
            assert await health(runtime) is Health.DRAINING
        await space.send(Patient.crash)
        await space.send(Patient.crash)
        await trio.sleep(20)
        assert await health(runtime) is Health.QUARANTINED
        await space.revive()
