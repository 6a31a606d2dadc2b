"""The conformance kit, run on every store of ours, and on stores with planted faults, which it must find."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from unittest import SkipTest

import pytest
import trio

from spaceactors import MemoryStore, SqliteStore
from spaceactors.stores._durable import DurableStore
from spaceactors.stores._engine import Put
from spaceactors.testing import StoreCase, store_conformance
from tests.stores.faults import FAULTS, FaultyEngine

CASES = store_conformance()

# ---- our stores


@pytest.mark.parametrize("case", [case for case in CASES if not case.durable], ids=str)
def test_D8_the_memory_store_passes_the_kit(case):
    case.run(MemoryStore)


@pytest.mark.parametrize("case", [case for case in CASES if not case.durable], ids=str)
def test_D8_the_memory_store_passes_the_kit_when_it_checks_encodings(case):
    case.run(lambda: MemoryStore(check_encoding=True))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_D8_the_sqlite_store_passes_the_kit(case, tmp_path):
    case.run(lambda: SqliteStore(tmp_path / "spaces.db"))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_D8_the_postgres_store_passes_the_kit(case, dsn):
    from spaceactors import PostgresStore

    case.run(lambda: PostgresStore(dsn))


# ---- the kit finds faults


@pytest.mark.parametrize(("fault", "names"), FAULTS.items(), ids=[*FAULTS])
def test_a_store_with_a_fault_does_not_pass_the_kit(fault, names, tmp_path, monkeypatch):
    """Each planted fault is found by each case that claims the opposite."""
    monkeypatch.setattr("spaceactors.testing._conformance_scene.HAPPENS_WITHIN", 0.7)
    monkeypatch.setattr("spaceactors.testing._conformance_scene.HANGING_AFTER", 5.0)
    by_name = {case.name: case for case in CASES}
    for number, name in enumerate(names):
        # The kit's own AssertionError, or what the runtime makes of the fault.
        with pytest.raises(Exception):  # noqa: B017, PT011
            by_name[name].run(lambda place=tmp_path / f"{number}.db": DurableStore(FaultyEngine(place, fault)))


def test_the_kit_misses_every_kind_of_row_that_is_not_written():
    """There is a planted fault for each kind."""
    assert {f"forgets {put.name}" for put in Put} - {*FAULTS} == set()


# ---- the kit itself


def test_cases_have_names_of_their_own_and_say_what_they_claim():
    assert [name for name, times in Counter(case.name for case in CASES).items() if times > 1] == []
    assert [case.name for case in CASES if not case.claim.split("\n")[0].endswith(".")] == []
    assert {str(case) for case in CASES} == {case.name for case in CASES}


def test_a_case_about_what_outlives_the_process_is_skipped_for_a_store_that_does_not():
    case = next(case for case in CASES if case.durable)
    with pytest.raises(SkipTest, match="MemoryStore does not outlive its process"):
        case.run(MemoryStore)


def test_what_a_case_finds_comes_out_as_an_assertion_that_says_both():
    async def play(scene):
        from spaceactors.testing._conformance_scene import expect

        expect(1, 2, "the number")

    with pytest.raises(AssertionError, match="the number: wanted 2, found 1"):
        StoreCase("a_case", "One is two.", False, play).run(MemoryStore)


def test_a_case_that_waits_for_ever_fails(monkeypatch):
    monkeypatch.setattr("spaceactors.testing._conformance_scene.HANGING_AFTER", 0.05)

    async def play(scene):
        await trio.sleep_forever()

    with pytest.raises(AssertionError, match="something waits for ever"):
        StoreCase("a_case", "It ends.", False, play).run(MemoryStore)


def test_hours_in_a_case_take_no_time():
    async def play(scene):
        before = trio.current_time(), scene.now()
        await scene.pass_time(86_400)
        assert trio.current_time() - before[0] >= 86_400
        assert (scene.now() - before[1]).total_seconds() >= 86_400

    StoreCase("a_case", "A day passes.", False, play).run(MemoryStore)


WITHOUT_PYTEST = """
import sys
sys.modules["pytest"] = sys.modules["_pytest"] = None
from spaceactors import MemoryStore
from spaceactors.testing import store_conformance
store_conformance()[0].run(MemoryStore)
"""


def test_the_kit_needs_no_pytest():
    subprocess.run([sys.executable, "-c", WITHOUT_PYTEST], check=True)
