"""C6: what restarts keeps its place."""

from __future__ import annotations

import pytest
import trio

from spaceactors import Actor, Backoff, Health, RestartLimit, RuntimeConfig, SpaceOptions, handler, open_runtime
from supervisors import ChildStatus, PoolFull, open_pool


async def test_C6_a_pool_child_holds_its_place_while_it_waits_to_be_restarted(autojump_clock):
    incarnations = []

    async def crashes_once() -> None:
        incarnations.append(trio.current_time())
        if len(incarnations) == 1:
            await trio.sleep(1)
            raise ValueError
        await trio.sleep_forever()

    async with open_pool(max_children=1, limit=RestartLimit(3, 100.0), backoff=lambda _: 10.0) as pool:
        await pool.start_child(crashes_once, name="a")
        await trio.sleep(5)
        assert pool.child("a").status is ChildStatus.BACKING_OFF
        with pytest.raises(PoolFull):
            await pool.start_child(trio.sleep_forever, name="b")
        await trio.sleep(10)
        assert pool.child("a").status is ChildStatus.RUNNING
        with pytest.raises(PoolFull):
            await pool.start_child(trio.sleep_forever, name="b")
        await pool.stop_child("a")
        await pool.start_child(trio.sleep_forever, name="b")
    assert len(incarnations) == 2


class Shaky(Actor, kind="shaky"):
    options = SpaceOptions(restart_limit=RestartLimit(3, 100.0), backoff=Backoff(lambda _: 10.0))

    @handler
    async def crash(self) -> None:
        raise ValueError

    @handler
    async def greet(self) -> str:
        return "hello"


async def test_C6_a_space_holds_its_place_while_it_waits_to_be_restarted(autojump_clock):
    config = RuntimeConfig(max_live_spaces=1)
    async with open_runtime(Shaky, config=config) as runtime, trio.open_nursery() as nursery:
        await runtime.space("a").send(Shaky.crash)
        await trio.sleep(1)
        (one,) = (await runtime.snapshot()).spaces
        assert one.health is Health.RESTARTING
        waited = []

        async def ask() -> None:
            begin = trio.current_time()
            assert await runtime.space("b").ask(Shaky.greet) == "hello"
            waited.append(trio.current_time() - begin)

        nursery.start_soon(ask)
        await trio.sleep(1)
        figures = runtime.limits.statistics()["spaces"]
        assert (figures.held, figures.waiting) == (1, 1)
        assert [one.fair_key for one in runtime.limits.waiting("spaces")] == ["b"]
        await trio.sleep(20)
        assert waited == [pytest.approx(9.0, abs=0.5)]
