"""A store as a whole, in figures: at rest in both databases, and through the service that has it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from spaceactors import Actor, Limit, Outcome, Runtime, RuntimeConfig, SqliteStore, open_runtime
from spaceactors._options import SpaceStatus
from spaceactors._snapshot import Ledger, Times
from spaceactors.admin import CountAll, ListSpaces, Row, open_store
from spaceactors.admin import _running as running
from spaceactors.admin._figures import Counted, service_figures, store_figures
from spaceactors.admin._open import StandingStore
from spaceactors.admin._plain import pack_value
from spaceactors.stores._engine import QUARANTINED, STOPPED, Engine, Put, Tally
from spaceactors.stores._sqlite import SqliteEngine
from tests.admin.shop import Clerk

T = TypeVar("T")
Service = Runtime[Actor]

# The first opening was the service's.
EPOCH = 2
NOTHING = Tally((), (), (), (), (), ())


def kinds(row: Row) -> dict[str, Row]:
    return {one["kind"]: one for one in row["kinds"]}


# ---- at rest


def counted(engine: Engine) -> Row:
    (row,) = StandingStore(engine, EPOCH).ask(CountAll())
    return row


def test_a_store_is_counted_kind_by_kind(engine: Engine) -> None:
    """The feature C6."""
    shop, clerk = kinds(counted(engine))["Shop"], kinds(counted(engine))["Clerk"]
    assert shop["status"] == {"passive": 3, "suspended": 1, "quarantined": 0, "stopped": 0}
    numbers = ("spaces", "history", "pending", "asleep", "questions", "timers", "dead_letters")
    assert [shop[name] for name in numbers] == [4, 2, 1, 1, 1, 1, 2]
    assert [clerk[name] for name in numbers] == [1, 0, 0, 0, 0, 0, 0]
    assert shop["counters"] == {"said": 2}
    assert (shop["state_bytes"] > clerk["state_bytes"] > 0, clerk["counters"]) == (True, {})


def test_the_oldest_pending_message_is_told_and_one_that_waits_for_an_answer_is_none(engine: Engine) -> None:
    assert kinds(counted(engine))["Shop"]["oldest_pending_at"] is None
    for number, at in ((900, 1e9), (901, 2e9)):
        engine.write([[(Put.NEW_MESSAGE, ("Shop", "bob", number, None, b"", at, None, 0, 0, None))]])
    shop = kinds(counted(engine))["Shop"]
    assert (shop["pending"], shop["asleep"]) == (3, 1)
    assert shop["oldest_pending_at"].startswith("2001-09-09T01:46:40")
    assert shop["oldest_pending_seconds"] > 7e8


def test_the_next_timer_is_told(engine: Engine) -> None:
    engine.write([[(Put.SET_TIMER, ("Shop", "ann", "soon", 1e9, None, b""))]])
    shop = kinds(counted(engine))["Shop"]
    assert (shop["timers"], shop["next_timer_at"][:4]) == (2, "2001")


def test_the_figures_agree_with_the_listing(engine: Engine) -> None:
    for number, flags in enumerate((0, STOPPED, QUARANTINED, QUARANTINED | STOPPED)):
        for sleeps in (False, True):
            key = ("Odd", f"{number}{sleeps}")
            engine.write([[(Put.NEW_SPACE, (*key, None, 1))]])
            engine.write([[(Put.MARK_SPACE, (*key, 1, 0, 0, 0, 1, 0, None, flags, None))]])
            message = number * 2 + sleeps + 1000
            engine.write([[(Put.NEW_MESSAGE, (*key, message, None, b"", 1.0, None, 0, 0, None))]])
            engine.write([[(Put.MARK_MESSAGE, (*key, message, 0, sleeps))]])
    listed = [row["status"] for row in StandingStore(engine, EPOCH).ask(ListSpaces("Odd"))]
    assert kinds(counted(engine))["Odd"]["status"] == {name: listed.count(name) for name in STATUSES}


STATUSES = ("passive", "suspended", "quarantined", "stopped")


def test_counters_are_summed_over_pages(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spaceactors.admin._reading.PAGE_OF_COUNTERS", 2)
    for kind, name, counters in (("A", "x", {"n": 1}), ("A", "y", {"n": 1}), ("A", "z", {"n": 1, "m": 0.5})):
        engine.write([[(Put.NEW_SPACE, (kind, name, None, 1))]])
        engine.write([[(Put.MARK_SPACE, (kind, name, 1, 0, 0, 0, 1, 0, pack_value(counters), 0, None))]])
    told = kinds(counted(engine))
    assert told["A"]["counters"] == {"m": 0.5, "n": 3}
    assert told["Shop"]["counters"] == {"said": 2}


def test_the_bytes_of_states_are_summed_and_a_space_without_one_has_none(engine: Engine) -> None:
    for name, state in (("x", b"12345"), ("y", b"123"), ("z", None)):
        engine.write([[(Put.NEW_SPACE, ("A", name, None, 1))]])
        if state is not None:
            engine.write([[(Put.SAVE_SPACE, ("A", name, 1, 0, 1, state, 4, 5, 0, None, 0, None))]])
    told = kinds(counted(engine))["A"]
    assert (told["spaces"], told["state_bytes"], told["history"]) == (3, 8, 8)


def test_letters_of_a_kind_without_spaces_are_counted(engine: Engine) -> None:
    engine.write([[(Put.BURY, ("Gone", "one", "m", 1, 1.0, b"", b""))]])
    gone = kinds(counted(engine))["Gone"]
    assert (gone["spaces"], gone["dead_letters"]) == (0, 1)


def test_an_empty_store_is_counted_too(tmp_path: Path) -> None:
    engine = SqliteEngine(tmp_path / "empty.db")
    engine.open()
    engine.close()
    with open_store(str(tmp_path / "empty.db")) as store:
        (row,) = store.ask(CountAll())
    assert row["kinds"] == []


def test_all_counts_are_of_one_moment(sqlite_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message and its space are written between two of the statements."""

    def slowly(rows: Callable[[str], Any]) -> Tally:
        spaces = rows("SELECT kind, flags, 1, 0, 0 FROM spaces WHERE kind = 'New'")
        sqlite_engine.write(
            [
                [
                    (Put.NEW_SPACE, ("New", "one", None, 1)),
                    (Put.NEW_MESSAGE, ("New", "one", 999, None, b"", 1.0, None, 0, 0, None)),
                ]
            ]
        )
        messages = rows("SELECT kind, 1, 0, NULL FROM mailbox WHERE kind = 'New'")
        return NOTHING._replace(spaces=spaces, messages=messages)

    monkeypatch.setattr("spaceactors.stores._sqlite_reads.tally", slowly)
    assert sqlite_engine.tally() == NOTHING._replace(spaces=[], messages=[])
    assert sqlite_engine.space(("New", "one")) is not None


def test_counting_leaves_the_store_as_it_was(engine: Engine) -> None:
    counted(engine)
    engine.write([[(Put.NEW_SPACE, ("More", "one", None, 1))]])
    assert kinds(counted(engine))["More"]["spaces"] == 1


# ---- the pure part


def test_damaged_counters_are_left_out() -> None:
    totals = Counted()
    for damaged in (b"", b"\xff", pack_value([1]), pack_value({"n": "x"}), pack_value({"n": None})):
        totals.add("A", damaged)
    totals.add("A", pack_value({"n": 2}), spaces=3)
    assert totals.kinds["A"]["n"] == 6


@given(st.binary(max_size=30))
def test_whatever_counters_are_nothing_breaks(data: bytes) -> None:
    Counted().add("A", data)


def test_kinds_come_in_their_order_from_wherever_they_are_known() -> None:
    tally = NOTHING._replace(letters=[("c", 1)], timers=[("a", 1, 5.0)], questions=[("b", 1)])
    assert list(kinds(store_figures(tally, {}, 10.0))) == ["a", "b", "c"]


def test_a_message_from_the_future_is_not_of_a_negative_age() -> None:
    tally = NOTHING._replace(messages=[("a", 1, 0, 20.0)])
    assert kinds(store_figures(tally, {}, 10.0))["a"]["oldest_pending_seconds"] == 0


def test_a_service_tells_its_times_in_milliseconds() -> None:
    times = Times(1, 0.5, 0.5, 0.001, 0.0025, 0.5)
    ledger = Ledger(3, {Outcome.HANDLED: 2}, 1)
    row = service_figures(ledger, {SpaceStatus.BUSY: 4}, times, times, {}, restarts=5, stalls=6)
    assert row["milliseconds"]["waiting"] == {"p50": 1.0, "p95": 2.5, "p99": 500.0}
    assert (row["accepted"], row["outcomes"], row["pending"]) == (3, {"handled": 2}, 1)
    assert (row["live"], row["status"], row["restarts"], row["stalls"]) == (4, {"busy": 4}, 5, 6)


# ---- through the service


async def ask(path: Path) -> Row:
    def command() -> Row:
        with open_store(str(path)) as store:
            assert store.running
            (row,) = store.ask(CountAll())
            return row

    return await trio.to_thread.run_sync(command, abandon_on_cancel=True)


async def test_a_service_tells_what_is_stored_and_how_it_fares(runtime: Service, path: Path) -> None:
    row = await ask(path)
    shop, service = kinds(row)["Shop"], row["service"]
    assert (shop["spaces"], shop["dead_letters"], shop["counters"]) == (4, 2, {"said": 2})
    ledger = (await runtime.snapshot()).ledger
    told = {outcome.name.lower(): count for outcome, count in ledger.outcomes.items()}
    assert (service["accepted"], service["outcomes"], service["pending"]) == (ledger.accepted, told, ledger.pending)
    assert (service["live"], service["status"]) == (5, {"live": 4, "suspended": 1})
    assert service["restarts"] == 2
    assert service["milliseconds"]["handling"]["p99"] > 0


async def test_limits_are_told_with_the_runtimes_own(path: Path) -> None:
    config = RuntimeConfig(max_turns=3, max_live_spaces=7)
    opened = open_runtime(Clerk, store=SqliteStore(path), limits=[Limit("gpu", 2)], config=config)
    async with opened as runtime, runtime.limits.hold("gpu"):
        limits = {one["name"]: one for one in (await ask(path))["service"]["limits"]}
    assert {name: (one["tokens"], one["held"]) for name, one in limits.items()} == {
        "gpu": (2, 1),
        "spaces": (7, 0),
        "turns": (3, 0),
    }


async def test_a_count_that_nobody_waits_for_does_not_hold_up_the_end_of_the_service(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    entered, leave = threading.Event(), threading.Event()

    def slow(_: SqliteEngine) -> Tally:
        entered.set()
        leave.wait()
        return NOTHING

    monkeypatch.setattr(SqliteEngine, "tally", slow)
    async with open_runtime(Clerk, store=SqliteStore(path)) as runtime, trio.open_nursery() as nursery:
        rows = running.RunningStore(runtime._hub).ask(CountAll())
        nursery.start_soon(anext, rows)
        await trio.to_thread.run_sync(entered.wait)
        nursery.cancel_scope.cancel()
    leave.set()
    assert caplog.records == []


async def test_others_run_while_many_live_spaces_are_looked_at(
    path: Path, monkeypatch: pytest.MonkeyPatch, runtime: Service
) -> None:
    monkeypatch.setattr(running, "AT_A_STRETCH", 1)
    rounds = 0

    async def run() -> None:
        nonlocal rounds
        while True:
            await trio.lowlevel.checkpoint()
            rounds += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        before = rounds
        await running.RunningStore(runtime._hub)._figures()
        assert rounds - before >= 3  # in another order than we
        nursery.cancel_scope.cancel()
