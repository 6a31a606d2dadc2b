"""What one damaged row may do: its own space suffers, and says why; the service and all others go on."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

import pytest
import trio

from spaceactors import SpaceStatus, SqliteStore, open_runtime
from spaceactors.admin import AdminError, ListLetters, ListSpaces, ShowSpace, Verify, open_store
from tests.admin.shop import Clerk, Shop, make_filled

if TYPE_CHECKING:
    from pathlib import Path

JUNK = b"\xc1"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "shop.db"
    trio.run(make_filled, SqliteStore(path))
    return path


def damage(path: Path, sql: str, *values: Any) -> None:
    connection = sqlite3.connect(path)
    with connection:
        assert connection.execute(sql, values).rowcount >= 1
    connection.close()


async def status_of_ann(path: Path) -> SpaceStatus:
    """Use the other spaces, and tell how the damaged one is."""
    async with open_runtime(Shop, Clerk, store=SqliteStore(path)) as runtime:
        assert await runtime.space("x", Clerk).ask(Clerk.add) == 2
        assert len(await runtime.dead_letters.list()) == 2
        ann = runtime.space("ann", Shop)
        await ann.history.recent(1)
        return (await ann.info()).status


@pytest.mark.parametrize("column", ["counters", "flags", "length", "next_entry", "last_event"])
def test_D7_a_space_that_cannot_be_read_is_quarantined_alone(path: Path, column: str) -> None:
    damage(path, f"UPDATE spaces SET {column} = ? WHERE kind = 'Shop' AND id = 'ann'", JUNK)
    assert trio.run(status_of_ann, path) is SpaceStatus.QUARANTINED


def test_D7_a_reason_that_cannot_be_read_leaves_the_quarantine_as_it_was(path: Path) -> None:
    damage(path, "UPDATE spaces SET flags = 2, note = ? WHERE kind = 'Shop' AND id = 'ann'", JUNK)
    assert trio.run(status_of_ann, path) is SpaceStatus.QUARANTINED


@pytest.mark.parametrize(
    ("table", "column"),
    [("known", "at"), ("known", "body"), ("timers", "due"), ("timers", "body"), ("letters", "error")],
)
def test_D7_what_belongs_to_a_space_and_cannot_be_read_is_left_out(path: Path, table: str, column: str) -> None:
    damage(path, f"UPDATE {table} SET {column} = ?", JUNK)
    assert trio.run(status_of_ann, path) is SpaceStatus.PASSIVE


def test_verify_finds_values_of_a_wrong_type(path: Path) -> None:
    damage(path, "UPDATE timers SET due = 'soon'")
    with open_store(str(path)) as store:
        assert {"fault": "in timers, 1 values of due are no real"} in list(store.ask(Verify()))


def test_a_row_of_a_wrong_type_is_told_of_and_stops_no_command_but_its_own(path: Path) -> None:
    damage(path, "UPDATE spaces SET flags = ? WHERE kind = 'Shop' AND id = 'ann'", JUNK)
    with open_store(str(path)) as store:
        with pytest.raises(AdminError, match=r"a row cannot be read .* see what `spaceactors verify` says"):
            list(store.ask(ShowSpace("Shop", "ann")))
        assert len(list(store.ask(ListSpaces("Clerk")))) == 1
    damage(path, "UPDATE letters SET at = ?", JUNK)
    with open_store(str(path)) as store:
        assert len(list(store.ask(ListLetters()))) == 2
