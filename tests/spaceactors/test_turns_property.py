"""C1 for turns: whatever they do, never more run than may, and none waits for ever."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.spaceactors.services import SlowDisk, SlowStore
from tests.spaceactors.turn_programs import (
    Floor,
    Grouped,
    Plain,
    Player,
    acts,
    config,
    limits,
    open_all,
    perform,
    run_watched,
)

COMMON = {"seed": st.integers(0, 2**32), "turns": st.integers(1, 3)}
PLACES = st.sampled_from([1, 2, 10_000])


def run(kind, floor, todo, seed, turns, spaces=10_000, *, one_lane=False, store=None):
    floor.forgets = store is not None

    async def main(watch):
        async with open_all(
            kind, deps=floor, limits=limits(), config=config(turns, spaces), one_lane=one_lane, store=store
        ) as runtime:
            ledger = await perform(runtime, todo, floor, watch)
        assert store is not None or ledger.pending == 0

    run_watched(main, floor, seed)
    assert not floor.repeated


@pytest.mark.timeout(600)
@settings(max_examples=200, suppress_health_check=list(HealthCheck))
@given(**COMMON, todo=acts(), kind=st.sampled_from([Player, Grouped]), spaces=PLACES)
def test_C1_never_more_turns_run_than_may_and_none_waits_for_ever(todo, seed, turns, kind, spaces):
    run(kind, Floor(), todo, seed, turns, spaces)


@pytest.mark.timeout(600)
@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(**COMMON, todo=acts(reads_on=False), spaces=PLACES)
def test_C1_never_more_turns_run_than_may_where_a_space_runs_several(todo, seed, turns, spaces):
    run(Plain, Floor(), todo, seed, turns, spaces)


@pytest.mark.timeout(600)
@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(**COMMON, todo=acts())
def test_C1_never_more_turns_run_than_may_in_one_lane(todo, seed, turns):
    run(Player, Floor(), todo, seed, turns, one_lane=True)


@pytest.mark.timeout(600)
@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(
    **COMMON,
    todo=acts(),
    kind=st.sampled_from([Player, Grouped]),
    spaces=PLACES,
    one_lane=st.booleans(),
    slow=st.sampled_from([0.0, 0.1]),
)
def test_C1_never_more_turns_run_than_may_on_a_disk(todo, seed, turns, kind, spaces, one_lane, slow):
    with tempfile.TemporaryDirectory() as folder:
        disk = SlowDisk(Path(folder, "spaces.db"))
        disk.seconds = slow
        run(kind, Floor(), todo, seed, turns, spaces, one_lane=one_lane, store=SlowStore(disk))
