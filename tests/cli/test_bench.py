"""`spaceactors bench`: many prompts over many spaces, in figures."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trio.testing

from spaceactors import handlers_of, open_runtime
from spaceactors.cli._bench import Prompts
from spaceactors.cli._bench_report import Measured, as_object, as_table, times_faster
from spaceactors.cli._intake import Intake
from spaceactors.cli._lines import Call
from spaceactors.cli._prompts import ANYWHERE
from spaceactors.cli._results import Result
from spaceactors.cli._statistics import Overlap, Statistics, summarize
from tests.cli.clerks import Clerk
from tests.cli.places import CLERK, CLERKS, spaceactors
from tests.cli.test_statistics import told_by

ROOT = Path(__file__).resolve().parents[2]

# A process takes its time on a busy machine; what ends by itself waits for nothing.
pytestmark = pytest.mark.timeout(240)


def prompts(count: int) -> str:
    return "".join(f"prompt {n}\n" for n in range(count))


def report(*arguments: str, given: str) -> dict[str, Any]:
    done = spaceactors("bench", CLERK, "--prompts", "-", "--json", *arguments, given=given)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


# ---- the command


def test_many_prompts_are_benchmarked() -> None:
    """The feature C6."""
    done = spaceactors("bench", CLERK, "--prompts", "-", given=prompts(30))
    lines = [line.split() for line in done.stdout.splitlines()]
    assert done.stdout.startswith("Clerk · 30 prompts to 10 spaces, at most 10 in flight\n")
    assert ["handled", "30"] in lines
    assert ["not", "handled", "0"] in lines
    assert (done.stderr, done.code) == ("", 0)


def test_the_report_for_programs_is_one_json_object() -> None:
    told = report("--spaces", "3", "--repeat", "2", given=prompts(6))
    assert (told["messages"], told["spaces"], told["in_flight"]) == (12, 3, 3)
    assert (told["outcomes"], told["failures"], told["reasons"]) == ({"handled": 12}, 0, {})
    assert told["milliseconds"].keys() == {"p50", "p95", "p99"}
    assert told["per_second"] > 0
    assert "one_lane" not in told


def test_prompts_are_read_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("hi\nho\n")
    done = spaceactors("bench", CLERK, "-p", str(tmp_path / "prompts.txt"), "--json")
    assert json.loads(done.stdout)["messages"] == 2


def test_a_file_of_calls_is_a_benchmark_too() -> None:
    told = spaceactors(
        "bench",
        "examples/coffee_shop.py:CoffeeShop",
        "--prompts",
        "examples/data/conversations.jsonl",
        "--json",
    )
    assert json.loads(told.stdout)["outcomes"] == {"handled": 198}


def test_no_more_calls_than_wanted_are_in_flight() -> None:
    assert report("--in-flight", "2", "--call", "nap", given=prompts(8))["at_once"]["most"] == 2
    assert report("--concurrency", "1", "--call", "nap", given=prompts(3))["at_once"]["most"] == 1


def test_what_fails_is_counted_and_said_and_so_is_the_exit_code() -> None:
    given = "hi\n" + '{"space": "a", "call": "refuse"}\n' * 3
    done = spaceactors("bench", CLERK, "--prompts", "-", given=given)
    assert "Not handled:\n  3 × rejected: closed\n" in done.stdout
    assert done.code == 1
    assert report(given=given)["reasons"] == {"rejected: closed": 3}


def test_parallel_is_compared_with_one_after_another() -> None:
    """The feature C9."""
    told = report("--spaces", "4", "--compare", "one-lane", "--call", "nap", given=prompts(8))
    assert (told["at_once"]["most"], told["one_lane"]["at_once"]["most"]) == (4, 1)
    assert told["one_lane"]["messages"] == 8
    assert 1.5 < told["times_faster"] <= 4.5  # 4 on a machine that does nothing else


def test_what_the_actor_prints_is_not_in_the_report() -> None:
    given = '{"space": "a", "call": "chatter"}\n'
    done = spaceactors("bench", CLERK, "--prompts", "-", "--json", given=given)
    assert json.loads(done.stdout)["messages"] == 1
    assert done.stderr == "by the way\n"


def test_on_a_store_the_spaces_stay(tmp_path: Path) -> None:
    store = str(tmp_path / "shop.db")
    report("--store", store, "--spaces", "3", given=prompts(6))
    assert json.loads(spaceactors("stats", store, "--json").stdout)["kinds"][0]["spaces"] == 3


def test_the_first_ctrl_c_finishes_what_was_accepted_and_reports(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "prompts").write_text(
        json.dumps({"space": "a", "call": "announce", "args": ["reached"]})
        + "\n"
        + json.dumps({"space": "b", "call": "wait_for", "args": [str(tmp_path / "pipe")]})
        + "\n"
    )
    options = ("--repeat", "1000", "--in-flight", "1", "--compare", "one-lane", "--json")
    command = (sys.executable, "-m", "spaceactors.cli", "bench", CLERK, "-p", str(tmp_path / "prompts"), *options)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stderr is not None
        assert process.stdout is not None
        with (tmp_path / "pipe").open("w") as end:  # its turn has begun, and waits
            process.send_signal(signal.SIGINT)
            end.write("done")
        told = json.loads(process.stdout.read())
        assert process.wait(timeout=200) == 130
    assert (told["interrupted"], told["messages"], told["failures"]) == (True, 2, 0)
    assert "one_lane" not in told


@pytest.mark.parametrize("json_", [(), ("--json",)])
def test_a_reader_that_leaves_ends_it_quietly(json_: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "prompts").write_text("hi\n")
    command = (sys.executable, "-m", "spaceactors.cli", "bench", CLERK, "-p", str(tmp_path / "prompts"), *json_)
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, cwd=ROOT, timeout=200, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize(
    ("arguments", "given", "told"),
    [
        (("--prompts", "/nowhere.txt"), b"", "--prompts /nowhere.txt: No such file"),
        (("--prompts", "/"), b"", "--prompts /: this is a directory"),
        (("--prompts", "-"), b"", "there is no prompt in it"),
        (("--prompts", "-"), b"hi\n\x80", "--prompts -: line 2: this is no text in UTF-8"),
        (("--prompts", "-", "--call", "refuse"), b"hi", "line 1: the arguments do not fit 'refuse'"),
        (("--prompts", "-", "--call", "sing"), b"hi", "--call sing: Clerk has the handlers"),
        (("--prompts", "-", "--deps", f"{CLERKS}:NAME"), b"hi", "Clerk takes no dependencies"),
    ],
)
def test_an_argument_that_cannot_be_used_is_said_in_one_line(
    arguments: tuple[str, ...], given: bytes, told: str
) -> None:
    complaint, code = spaceactors("bench", CLERK, *arguments, given=given).complaint
    assert told in complaint
    assert code == 2


# ---- what ran at once


async def test_lanes_at_work_at_once_are_counted_over_time(autojump_clock: trio.testing.MockClock) -> None:
    """The feature C5."""

    async def at_once(calls: list[Call], *, one_lane: bool = False) -> Overlap:
        results, _told = trio.open_memory_channel[Result](100)
        async with open_runtime(Clerk, one_lane=one_lane) as runtime, trio.open_nursery() as askers:
            intake = Intake(runtime, handlers_of(Clerk), askers, results, in_flight=10, one_lane=one_lane)
            await Prompts(calls, 2, 1).feed(intake)
            await intake.wait_answered()
        return intake.overlap

    nap = Call(1, ANYWHERE, "nap", ("hi",))
    two = await at_once([nap] * 3)  # two for 0.02 s, then one for 0.02 s
    assert (two.most, two.average, two.seconds) == (2, pytest.approx(1.5), pytest.approx(0.04))
    one = await at_once([nap] * 3, one_lane=True)
    assert (one.most, one.average, one.seconds) == (1, pytest.approx(1), pytest.approx(0.06))


def test_two_calls_to_one_lane_are_one_lane_at_work() -> None:
    overlap = Overlap()
    overlap.begin("a", 10.0)
    overlap.begin("a", 11.0)
    overlap.end("a", 12.0)
    overlap.begin("b", 13.0)
    overlap.end("a", 14.0)
    overlap.end("b", 15.0)
    assert (overlap.most, overlap.seconds, overlap.average) == (2, 5.0, pytest.approx(6 / 5))


def test_nothing_ran_at_once_where_nothing_ran() -> None:
    assert (Overlap().most, Overlap().seconds, Overlap().average) == (0, 0.0, 0.0)


# ---- the report


def measured(calls: int, seconds: float, *, one_lane: bool = False, interrupted: bool = False) -> Measured:
    statistics = Statistics()
    for _ in range(calls):
        statistics.count(Result("handled", seconds=0.002))
    summary = summarize(statistics, actor="Clerk", spaces=2, seconds=seconds, restarts=0, interrupted=interrupted)
    return Measured(summary, one_lane, 2, 2, 1.5, statistics.reasons)


def test_the_ratio_is_that_of_the_throughputs() -> None:
    assert times_faster([measured(10, 1.0), measured(10, 4.0, one_lane=True)]) == pytest.approx(4.0)


@pytest.mark.parametrize(
    "second", [[], [measured(3, 4.0, one_lane=True, interrupted=True)], [measured(0, 0.0, one_lane=True)]]
)
def test_there_is_no_ratio_to_what_was_not_measured_to_its_end(second: list[Measured]) -> None:
    assert times_faster([measured(10, 1.0), *second]) is None
    assert "times as fast" not in told_by(as_table([measured(10, 1.0), *second]))


def test_the_table_of_a_comparison_has_a_column_for_each() -> None:
    told = told_by(as_table([measured(10, 1.0), measured(10, 4.0, one_lane=True)])).splitlines()
    assert told[2].split() == ["in", "parallel", "one", "after", "another"]
    assert told[3].split() == ["throughput", "10.0", "per", "second", "2.5", "per", "second"]
    assert "In parallel it is 4 times as fast as one after another." in told


def test_an_interrupted_benchmark_says_so() -> None:
    assert "Interrupted" in told_by(as_table([measured(3, 1.0, interrupted=True)]))


def test_a_reason_is_kept_short_and_only_so_many_of_them() -> None:
    statistics = Statistics()
    for n in range(1000):
        statistics.count(Result("failed", error=f"{n} {'x' * 10_000}"))
    assert (len(statistics.reasons), max(map(len, statistics.reasons))) == (20, 200)
    summary = summarize(statistics, actor="Clerk", spaces=2, seconds=1.0, restarts=0)
    assert "  980 × for other reasons" in told_by(as_table([Measured(summary, False, 2, 2, 1.5, statistics.reasons)]))


def test_what_a_reason_would_do_to_a_terminal_is_not_done() -> None:
    statistics = Statistics()
    statistics.count(Result("failed", error="\x1b[31mred\nline"))
    summary = summarize(statistics, actor="Clerk", spaces=2, seconds=1.0, restarts=0)
    one = Measured(summary, False, 2, 2, 1.5, statistics.reasons)
    assert "  1 × failed: \\x1b[31mred line" in told_by(as_table([one]))
    assert as_object([one])["reasons"] == {"failed: \x1b[31mred\nline": 1}
