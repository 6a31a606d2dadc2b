"""What a runtime shows of itself while it works."""

from __future__ import annotations

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from spaceactors import Actor, Outcome, RestartLimit, SpaceOptions, SpaceStatus, handler
from spaceactors._snapshot import Stopwatch, times_of
from tests.spaceactors.scenes import opened, outcome_of, settled

pytestmark = pytest.mark.usefixtures("autojump_clock")


class Clerk(Actor, kind="clerk"):
    options = SpaceOptions(restart_limit=RestartLimit(2, 60.0), backoff=None)

    @handler
    async def work(self, seconds: float) -> None:
        self.count("jobs")
        self.count("seconds", seconds)
        await trio.sleep(seconds)

    @handler
    async def crash(self) -> None:
        raise ValueError

    @handler
    async def background(self, seconds: float) -> None:
        self.start_soon(trio.sleep, seconds)

    @handler
    async def pass_on(self, seconds: float) -> None:
        await self.space("other").ask(Clerk.work, seconds)


async def figures(runtime, space_id="x"):
    return next(one for one in (await runtime.snapshot()).spaces if one.id == space_id)


async def test_O3_depth_and_age_of_what_waits():
    async with opened(Clerk) as runtime:
        space = runtime.space("x")
        await space.send(Clerk.work, 100.0)
        await trio.sleep(10)
        await space.send(Clerk.work, 0.0)
        await trio.sleep(5)
        await space.send(Clerk.work, 0.0)
        await trio.sleep(2)
        found = await figures(runtime)
        assert (found.depth, found.oldest_age, found.status) == (2, 7.0, SpaceStatus.BUSY)
        assert (await space.info()).depth == 2


async def test_O3_the_time_since_a_turn_last_ended():
    async with opened(Clerk) as runtime:
        await runtime.space("x").ask(Clerk.work, 5.0)
        await trio.sleep(30)
        assert (await figures(runtime)).last_progress == 30.0


async def test_O3_restarts_and_incarnations():
    async with opened(Clerk) as runtime:
        for _ in range(2):
            await outcome_of(runtime.space("x").ask, Clerk.crash)
        await runtime.space("x").ask(Clerk.work, 0.0)
        found = await figures(runtime)
        assert (found.restarts, found.incarnation) == (2, 3)


async def test_O3_counters_that_turns_have_counted():
    async with opened(Clerk) as runtime:
        await runtime.space("x").ask(Clerk.work, 2.0)
        await runtime.space("x").ask(Clerk.work, 3.0)
        assert (await figures(runtime)).counters == {"jobs": 2, "seconds": 5.0}


async def test_O3_how_long_messages_waited_and_turns_took():
    async with opened(Clerk) as runtime:
        for _ in range(3):
            await runtime.space("x").send(Clerk.work, 10.0)
        await trio.sleep(100)
        snapshot = await runtime.snapshot()
        waiting, handling = snapshot.waiting, snapshot.handling
        assert (waiting.count, waiting.mean, waiting.greatest) == (3, 10.0, 20.0)
        assert (handling.count, handling.mean, handling.greatest) == (3, 10.0, 10.0)


async def test_law_2_the_total_is_the_sum_of_the_spaces_also_after_some_have_left():
    async with opened(Clerk) as runtime:
        for name in "abc":
            await runtime.space(name).ask(Clerk.work, 0.0)
        await runtime.space("a").stop()
        snapshot = await runtime.snapshot()
        assert (snapshot.live, snapshot.ledger.accepted, snapshot.ledger.outcomes[Outcome.HANDLED]) == (2, 3, 3)


async def test_a_snapshot_stands_still():
    async with opened(Clerk) as runtime:
        await runtime.space("x").ask(Clerk.work, 0.0)
        snapshot = await runtime.snapshot()
        await runtime.space("x").ask(Clerk.work, 0.0)
        assert (snapshot.ledger.accepted, snapshot.spaces[0].ledger.accepted) == (1, 1)
        assert snapshot.spaces[0].counters == {"jobs": 1, "seconds": 0.0}


@pytest.mark.parametrize(
    ("what", "status"),
    [
        ("nothing", SpaceStatus.PASSIVE),
        ("live", SpaceStatus.LIVE),
        ("busy", SpaceStatus.BUSY),
        ("paused", SpaceStatus.PAUSED),
        ("quarantined", SpaceStatus.QUARANTINED),
        ("stopped", SpaceStatus.STOPPED),
        ("drained", SpaceStatus.PASSIVE),
        ("draining", SpaceStatus.DRAINING),
    ],
)
async def test_L10_a_space_says_what_it_is_doing(what, status):
    async with opened(Clerk) as runtime, trio.open_nursery() as nursery:
        space = runtime.space("x")
        if what not in ("nothing", "busy", "draining"):
            await space.ask(Clerk.work, 0.0)
        match what:
            case "busy":
                await space.send(Clerk.work, 10.0)
            case "paused":
                await space.pause()
            case "quarantined":
                for _ in range(3):
                    await outcome_of(space.ask, Clerk.crash)
            case "stopped":
                await space.stop()
            case "drained":
                await space.drain()
            case "draining":
                await space.send(Clerk.work, 10.0)
                nursery.start_soon(space.drain)
        await settled()
        assert (await space.info()).status is status


async def test_L10_spaces_are_listed_in_the_order_of_their_ids_page_by_page():
    async with opened(Clerk) as runtime:
        for name in "dbace":
            await runtime.space(name).ask(Clerk.work, 0.0)
        first = await runtime.spaces(actor=Clerk, limit=2)
        then = await runtime.spaces(actor=Clerk, after=first[-1].id, limit=2)
        assert [one.id for one in (*first, *then)] == ["a", "b", "c", "d"]


async def test_L10_spaces_are_listed_by_status():
    async with opened(Clerk) as runtime:
        for name in "abc":
            await runtime.space(name).ask(Clerk.work, 0.0)
        await runtime.space("b").stop()
        assert [one.id for one in await runtime.spaces(actor=Clerk, status=SpaceStatus.STOPPED)] == ["b"]
        assert [one.id for one in await runtime.spaces(actor=Clerk, status=SpaceStatus.LIVE, limit=1)] == ["a"]


async def test_O6_the_tree_is_data():
    async with opened(Clerk) as runtime:
        await runtime.space("x").ask(Clerk.background, 50.0)
        await runtime.space("y").send(Clerk.work, 50.0)
        await settled()
        tree = runtime.tree()
        spaces = {one.name: one for one in tree.children}["spaces"]
        shown = [(one.name, one.status, len(one.children)) for one in spaces.children]
        assert shown == [
            ("x", "live", 1),
            ("y", "busy", 0),
        ]


# ---- the stopwatch


@given(values=st.lists(st.floats(1e-5, 1e4), min_size=1, max_size=60), share=st.sampled_from([0.5, 0.95, 0.99]))
def test_a_quantile_is_at_most_a_fifth_off(values, share):
    watch = Stopwatch()
    for value in values:
        watch.note(value)
    exact = sorted(values)[max(0, -int(-share * len(values) // 1) - 1)]
    assert exact / 1.2 <= watch.quantile(share) <= exact * 1.2


def test_an_empty_stopwatch_shows_zeros():
    found = times_of(Stopwatch(), 0)
    assert (found.count, found.mean, found.greatest, found.p50, found.p99) == (0, 0.0, 0.0, 0.0, 0.0)


def test_durations_under_a_tick_count_as_nothing():
    watch = Stopwatch()
    watch.note(10.0)
    found = times_of(watch, 9)
    assert (found.count, found.mean, found.greatest, found.p50) == (10, 1.0, 10.0, 0.0)
