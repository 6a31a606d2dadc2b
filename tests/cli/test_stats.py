"""`spaceactors stats`: a store as a whole, in figures."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from spaceactors.cli._figures import age, figures_page, size
from tests.cli.places import ASKER, spaceactors
from tests.cli.test_statistics import told_by

ROOT = Path(__file__).resolve().parents[2]

# A process takes its time on a busy machine; what ends by itself waits for nothing.
pytestmark = pytest.mark.timeout(240)

Row = dict[str, Any]


def line(space: str, call: str, *args: object) -> str:
    return json.dumps({"space": space, "call": call, "args": args}) + "\n"


@pytest.fixture(scope="module")
def at_rest(tmp_path_factory: pytest.TempPathFactory) -> str:
    store = str(tmp_path_factory.mktemp("rest") / "shop.db")
    given = line("ann", "say", "hi") + line("ann", "say", "ho") + line("bob", "crash")
    assert spaceactors("run", ASKER, "--store", store, given=given).code == 1
    return store


def words(table: str) -> list[list[str]]:
    return [told.split() for told in table.splitlines()]


# ---- the command


def test_a_store_tells_how_much_it_holds(at_rest: str) -> None:
    """The feature C6."""
    done = spaceactors("stats", at_rest)
    assert done.stdout.startswith("2 spaces of 1 kind, ")
    told = words(done.stdout)
    for wanted in (["Asker"], ["spaces", "2"], ["passive", "2"], ["history", "entries", "2"], ["dead", "letters", "1"]):
        assert wanted in told
    assert (done.stderr, done.code) == ("", 0)


def test_the_figures_for_programs_are_one_json_object(at_rest: str) -> None:
    (told,) = spaceactors("stats", at_rest, "--json").stdout.splitlines()
    row = json.loads(told)
    assert [(one["kind"], one["spaces"], one["dead_letters"]) for one in row["kinds"]] == [("Asker", 2, 1)]
    assert row["file_bytes"] >= Path(at_rest).stat().st_size
    assert "service" not in row


def test_a_service_is_asked_how_it_fares_and_a_killed_one_leaves_a_store_to_look_at(tmp_path: Path) -> None:
    store = str(tmp_path / "shop.db")
    pipe = subprocess.PIPE
    command = (sys.executable, "-m", "spaceactors.cli", "run", ASKER, "--store", store)
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, cwd=ROOT) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(line("ann", "say", "hi"))
        process.stdin.flush()
        process.stdout.readline()
        told = words(spaceactors("stats", store).stdout)
        process.send_signal(signal.SIGKILL)
    assert ["messages", "1", "accepted:", "1", "handled,", "0", "pending"] in told
    assert ["live", "spaces", "1:", "1", "live"] in told
    assert ["limit", "spaces", "1", "of", "10,000", "held"] in told
    after = words(spaceactors("stats", store).stdout)
    assert ["spaces", "1"] in after
    assert not any(one[:2] == ["live", "spaces"] for one in after)


@pytest.mark.parametrize(
    ("store", "told"),
    [
        ("{none}", "there is no such file"),
        ("{text}", "this is no store"),
        ("/", "this is a directory"),
        ("postgresql://nobody@127.0.0.1:1/none", "cannot connect"),
    ],
)
def test_what_is_no_store_is_said_in_one_line(store: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("just a text\n")
    named = store.format(none=tmp_path / "none", text=tmp_path / "text")
    complaint, code = spaceactors("stats", named).complaint
    assert told in complaint
    assert code == 2
    assert not (tmp_path / "none").exists()


# ---- the page


def kind(name: str, **others: Any) -> Row:
    nothing = dict.fromkeys(
        ("spaces", "history", "state_bytes", "pending", "asleep", "questions", "timers", "dead_letters"), 0
    )
    none = dict.fromkeys(("oldest_pending_at", "oldest_pending_seconds", "next_timer_at"))
    return {"kind": name, **nothing, **none, "status": {"passive": 0, "stopped": 0}, "counters": {}, **others}


def page(*kinds: Row, **others: Any) -> str:
    return told_by(figures_page({"kinds": kinds, "file_bytes": None, **others}))


def test_several_kinds_are_added_up() -> None:
    told = words(
        page(
            kind("A", spaces=1, counters={"n": 1}, next_timer_at="2030-01-01T00:00:00.000+00:00", timers=1),
            kind("B", spaces=2, counters={"n": 2, "m": 1.5}, next_timer_at="2029-01-01T00:00:00.000+00:00", timers=1),
        )
    )
    assert told[0] == ["3", "spaces", "of", "2", "kinds"]
    for wanted in (["A", "B", "all"], ["spaces", "1", "2", "3"], ["n", "1", "2", "3"], ["m", "0", "1.5", "1.5"]):
        assert wanted in told
    (following,) = (one for one in told if one[:1] == ["next"])
    assert following[-3:] == ["2029-01-01", "00:00:00", "UTC"]


def test_the_age_of_all_is_that_of_the_oldest() -> None:
    told = page(
        kind("A", pending=1, oldest_pending_at="x", oldest_pending_seconds=7300.0),
        kind("B", pending=1, oldest_pending_at="y", oldest_pending_seconds=5.0),
        kind("C"),
    )
    assert ["oldest", "waits", "for", "2", "h", "5", "s", "–", "2", "h"] in words(told)


def test_what_is_nowhere_is_not_in_the_table() -> None:
    told = page(kind("A", status={"passive": 1, "stopped": 0}))
    assert not any(word in told for word in ("stopped", "counters", "oldest", "next", "all"))


def test_a_store_of_nothing_has_no_table() -> None:
    assert page() == "0 spaces\n"


def test_what_a_name_would_do_to_a_terminal_is_not_done() -> None:
    told = page(kind("\x1b[31mA", counters={"\x07n": 1}))
    assert "\\x1b[31mA" in told
    assert "\\x07n" in told


def test_while_a_service_runs_no_space_is_called_passive_that_may_be_live() -> None:
    service = {
        "accepted": 1,
        "outcomes": {"handled": 0, "failed": 1},
        "pending": 2,
        "live": 3,
        "status": {"busy": 3},
        "restarts": 4,
        "stalls": 5,
        "milliseconds": {"waiting": {"p50": 1500.0}, "handling": {"p50": 2.0}},
        "limits": [
            {"name": "gpu", "tokens": 1, "held": 1, "waiting": 2, "oldest_wait_seconds": 130.0, "refused": 3},
        ],
    }
    told = words(page(kind("A", status={"passive": 1, "stopped": 1}), service=service))
    assert ["passive", "1"] not in told
    assert ["stopped", "1"] in told
    for wanted in (
        "messages 1 accepted: 1 failed, 2 pending",
        "live spaces 3: 3 busy",
        "waited p50 1.50 s",
        "took p50 2 ms",
        "restarts 4",
        "stalls 5",
        "limit gpu 1 of 1 held, 2 waiting for 2 min, 3 refused",
    ):
        assert wanted.split() in told


@pytest.mark.parametrize(
    ("count", "told"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (328_114_176, "328 MB"),
        (10**16, "10,000 TB"),
    ],
)
def test_sizes_read_well(count: int, told: str) -> None:
    assert size(count) == told


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(None, "–"), (0.4, "0 s"), (119.0, "119 s"), (120.0, "2 min"), (7200.0, "2 h"), (86400.0 * 400, "400 days")],
)
def test_ages_read_well(seconds: float | None, told: str) -> None:
    assert age(seconds) == told
