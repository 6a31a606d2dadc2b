"""`spaceactors run`, as a real process on real files."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
CLERK = f"{Path(__file__).with_name('clerks.py')}:Clerk"
OWNER = f"{Path(__file__).with_name('clerks.py')}:Owner"
NAME = str(Path(__file__).with_name("clerks.py"))
COMMAND = (sys.executable, "-m", "spaceactors.cli")

# Processes take their time on a busy machine; what ends by itself waits for nothing.
pytestmark = pytest.mark.timeout(240)

Row = dict[str, Any]


def line(space: str, call: str = "say", *args: object, **more: object) -> str:
    return json.dumps({"space": space, "call": call, "args": args, **more}) + "\n"


REACHED = line("bob", "announce", "reached")


def run(*arguments: str, given: str | bytes = "") -> subprocess.CompletedProcess[bytes]:
    data = given.encode() if isinstance(given, str) else given
    return subprocess.run(
        (*COMMAND, "run", *arguments), input=data, capture_output=True, cwd=ROOT, timeout=200, check=False
    )


def rows(output: bytes) -> list[Row]:
    return [json.loads(one) for one in output.splitlines()]


def outcomes(output: bytes) -> list[str]:
    return sorted(row["outcome"] for row in rows(output))


@contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    pipe = subprocess.PIPE
    process = subprocess.Popen((*COMMAND, "run", *arguments), stdin=pipe, stdout=pipe, stderr=pipe, cwd=ROOT)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def feed(process: subprocess.Popen[bytes], lines: Iterable[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("".join(lines).encode())
    process.stdin.flush()


def heard(process: subprocess.Popen[bytes], word: bytes) -> bool:
    """Wait until the process has said something on standard error."""
    assert process.stderr is not None
    return any(word in said for said in process.stderr)


def finished(process: subprocess.Popen[bytes]) -> tuple[list[Row], str, int]:
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    code = process.wait(timeout=200)  # with its input still open
    return rows(process.stdout.read()), process.stderr.read().decode(), code


# ---- answers ---------------------------------------------------------------------------------------------------------
def test_each_line_is_answered_by_one_line_and_nothing_else_is_on_standard_output() -> None:
    done = run(CLERK, given=line("ann", "say", "hi") + line("bob", "say", text="ho", args=[], kwargs={"text": "ho"}))
    assert sorted((row["space"], row["position"], row["outcome"], row["reply"]) for row in rows(done.stdout)) == [
        ("ann", 0, "handled", "1 hi"),
        ("bob", 0, "handled", "1 ho"),
    ]
    assert all(row["milliseconds"] >= 0 for row in rows(done.stdout))
    assert b"2 messages to 2 spaces" in done.stderr
    assert done.returncode == 0


def test_files_are_read_and_written(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text(line("ann", "say", "hi"))
    done = run(CLERK, "--input", str(tmp_path / "in.jsonl"), "--output", str(tmp_path / "out.jsonl"))
    assert done.stdout == b""
    assert rows((tmp_path / "out.jsonl").read_bytes())[0]["reply"] == "1 hi"


def test_a_dash_is_standard_input_and_output() -> None:
    done = run(CLERK, "--input", "-", "--output", "-", given=line("ann", "say", "hi"))
    assert rows(done.stdout)[0]["reply"] == "1 hi"


def test_a_directory_is_no_input(tmp_path: Path) -> None:
    done = run(CLERK, "--input", str(tmp_path))
    assert b"this is a directory" in done.stderr
    assert (done.stderr.count(b"\n"), done.returncode) == (1, 2)


def test_an_empty_input_is_a_finished_run() -> None:
    done = run(CLERK, given="")
    assert (done.stdout, done.returncode) == (b"", 0)


def test_every_outcome_has_its_word_and_the_exit_code_tells() -> None:
    given = line("ann", "refuse") + line("bob", "crash") + line("bob", "say", "hi")
    done = run(CLERK, given=given)
    assert {(row["outcome"], row.get("error")) for row in rows(done.stdout)} == {
        ("rejected", "closed"),
        ("failed", "ValueError: boom"),
        ("handled", None),
    }
    assert done.returncode == 1
    assert b"restarts   1" in done.stderr


def test_the_items_of_a_stream_are_the_reply() -> None:
    assert rows(run(CLERK, given=line("ann", "spell", "abc")).stdout)[0]["reply"] == ["a", "b", "c"]


def test_the_same_id_twice_is_one_message() -> None:
    done = run(CLERK, given=line("ann", "say", "hi", id="m") * 2)
    assert [row["reply"] for row in rows(done.stdout)] == ["1 hi", "1 hi"]


def test_group_and_priority_are_passed_on() -> None:
    done = run(
        CLERK, given=line("ann", "say", "hi", group="g", priority="high") + line("ann", "say", "ho", group="other")
    )
    assert [(row["outcome"], row.get("line")) for row in rows(done.stdout)] == [("handled", None), ("invalid", 2)]


def test_what_an_actor_prints_is_kept_apart_from_the_data() -> None:
    done = run(CLERK, given=line("ann", "chatter"))
    assert outcomes(done.stdout) == ["handled"]
    assert b"by the way" in done.stderr


def test_restarts_are_counted_also_when_there_are_more_than_events_can_tell() -> None:
    given = "".join(line(f"s{n}", "crash") for n in range(1500))
    done = run(CLERK, "--in-flight", "1500", given=given)
    assert b"1,500" in done.stderr.partition(b"restarts")[2]


def test_the_last_line_needs_no_line_end() -> None:
    assert (
        rows(run(CLERK, given=line("ann").strip() + "\n" + line("ann", "say", "hi").strip()).stdout)[-1]["reply"]
        == "1 hi"
    )


def test_one_lane_runs_one_turn_at_a_time() -> None:
    given = "".join(line(space, "crowd") for space in "abc" * 3)
    together, alone = (
        max(row["reply"] for row in rows(run(CLERK, *lane, given=given).stdout)) for lane in ((), ("--one-lane",))
    )
    assert (together, alone) == (3, 1)


def test_max_live_bounds_the_spaces_that_are_live() -> None:
    given = "".join(line(space, "visit") for space in "abab")
    all_stay, one_stays = (
        [row["reply"] for row in rows(run(CLERK, "--in-flight", "1", *live, given=given).stdout)]
        for live in ((), ("--max-live", "1"))
    )
    assert (all_stay, one_stays) == ([1, 1, 2, 2], [1, 1, 1, 1])


# ---- order -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("options", [(), ("--one-lane",), ("--max-live", "2"), ("--in-flight", "3")])
def test_M1_each_space_handles_its_lines_in_their_order(options: tuple[str, ...]) -> None:
    chance = random.Random(5)
    calls = [(chance.choice("abcdefg"), chance.choice(["say", "slow"]), str(n)) for n in range(600)]
    done = run(CLERK, *options, given="".join(line(*call) for call in calls))
    told = defaultdict[str, list[tuple[int, str]]](list)
    for row in rows(done.stdout):
        told[row["space"]].append((row["position"], row["reply"]))
    for space, replies in told.items():
        texts = [text for name, _, text in calls if name == space]
        assert replies == [(n, f"{n + 1} {text}") for n, text in enumerate(texts)]
    assert done.returncode == 0


def test_a_space_that_hangs_does_not_stop_the_others() -> None:
    with started(CLERK) as process:
        assert process.stdout is not None
        feed(process, [line("ann", "hang"), *(line("ann", "say", "hi") for _ in range(50)), line("bob", "say", "hi")])
        assert json.loads(process.stdout.readline())["space"] == "bob"


def test_answers_come_while_the_input_is_still_open() -> None:
    with started(CLERK) as process:
        assert process.stdout is not None
        for n in (1, 2, 3):
            feed(process, [line("ann", "say", "hi")])
            assert json.loads(process.stdout.readline())["reply"] == f"{n} hi"


# ---- invalid lines ---------------------------------------------------------------------------------------------------
def test_invalid_lines_are_told_with_number_and_reason_and_the_run_goes_on() -> None:
    given = (
        "nonsense\n" + line("ann", "say", "hi") + line("ann", "shout") + "\n" + line("ann") + line("ann", "say", "ho")
    )
    done = run(CLERK, given=given)
    invalid = {row["line"]: row["error"] for row in rows(done.stdout) if row["outcome"] == "invalid"}
    assert sorted(invalid) == [1, 3, 4, 5]
    assert "no JSON" in invalid[1]
    assert "no handler 'shout'" in invalid[3]
    assert "do not fit" in invalid[5]
    assert [row["reply"] for row in rows(done.stdout) if row["outcome"] == "handled"] == ["1 hi", "2 ho"]
    assert done.returncode == 1


def test_bytes_that_are_no_text_are_an_invalid_line() -> None:
    done = run(CLERK, given=b"\xff\xfe\xfa\n" + line("ann", "say", "hi").encode())
    assert outcomes(done.stdout) == ["handled", "invalid"]


# ---- arguments -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((), b"TARGET"),
        (("nowhere.py:Clerk",), b"no such file"),
        ((CLERK, "--input", "nowhere.jsonl"), b"--input nowhere.jsonl: No such file"),
        ((CLERK, "--output", "nowhere/out.jsonl"), b"--output nowhere/out.jsonl: No such file"),
        ((CLERK, "--max-live", "0"), b"--max-live"),
        ((CLERK, "--in-flight", "0"), b"--in-flight"),
        ((CLERK, "--frobnicate"), b"--frobnicate"),
        ((OWNER,), b"Owner takes 'name': tell it with --deps"),
        ((CLERK, "--deps", f"{NAME}:NAME"), b"takes no dependencies"),
        ((OWNER, "--deps", f"{NAME}:open_nothing"), b"nobody there"),
    ],
)
def test_unusable_arguments_end_with_2_and_say_why(arguments: tuple[str, ...], reason: bytes) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, b"")
    assert reason in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(("deps", "reply"), [("NAME", "ann: hi"), ("open_name", "bob: hi")])
def test_dependencies_are_a_value_or_are_opened(deps: str, reply: str) -> None:
    done = run(OWNER, "--deps", f"{NAME}:{deps}", given=line("a", "say", "hi"))
    assert rows(done.stdout)[0]["reply"] == reply


def test_the_report_is_json_if_asked_for() -> None:
    done = run(CLERK, "--json", given=line("ann", "say", "hi"))
    report = json.loads(done.stderr)
    assert (report["messages"], report["outcomes"], report["spaces"]) == (1, {"handled": 1}, 1)


@pytest.mark.parametrize("library", ["rich", "cyclopts"])
def test_a_missing_library_is_one_clear_line(library: str) -> None:
    code = f"import sys; sys.modules[{library!r}] = None; from spaceactors.cli import main; main()"
    done = subprocess.run((sys.executable, "-c", code), capture_output=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)
    assert b"pip install 'spaceactors[cli]'" in done.stderr


# ---- stopping --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_S1_the_first_signal_finishes_what_was_accepted(number: signal.Signals, tmp_path: Path) -> None:
    there = tmp_path / "there"
    os.mkfifo(there)
    with started(CLERK) as process:
        feed(
            process,
            [line("ann", "wait_for", str(there)), line("ann", "say", "one"), line("ann", "say", "two"), REACHED],
        )
        assert heard(process, b"reached")
        process.send_signal(number)
        there.write_text("there")
        told, report, code = finished(process)
    handled = [(row["position"], row["outcome"]) for row in told if row["space"] == "ann"]
    assert handled == [(0, "handled"), (1, "handled"), (2, "handled")]
    assert "Interrupted" in report
    assert code == 130


def test_S12_the_second_signal_returns_what_is_left() -> None:
    with started(CLERK) as process:
        feed(process, [line("ann", "hang"), line("ann", "say", "one"), REACHED])
        assert heard(process, b"reached")
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        told, report, code = finished(process)
    assert [row["outcome"] for row in told if row["space"] == "ann"] == ["returned", "returned"]
    assert "returned" in report
    assert code == 130


def test_S19_what_the_deadline_of_the_drain_cuts_off_is_returned() -> None:
    with started(CLERK, "--drain-timeout", "0.05") as process:
        feed(process, [line("ann", "hang"), line("ann", "say", "one"), REACHED])
        assert heard(process, b"reached")
        process.send_signal(signal.SIGINT)
        told, _, code = finished(process)
    assert [row["outcome"] for row in told if row["space"] == "ann"] == ["returned", "returned"]
    assert code == 130


def test_a_reader_that_goes_away_ends_the_run_quietly() -> None:
    with started(CLERK) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        feed(process, [line("ann", "say", "hi")])
        process.stdout.readline()
        process.stdout.close()
        feed(process, [line("ann", "say", "hi")])
        assert process.wait(timeout=200) == 1
        assert process.stderr.read() == b""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")  # noqa: PTH110
def test_an_output_that_is_full_is_told() -> None:
    done = run(CLERK, "--output", "/dev/full", given=line("ann", "say", "hi"))
    assert done.returncode == 1
    assert b"the output cannot be written: No space left" in done.stderr


# ---- memory ----------------------------------------------------------------------------------------------------------
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_memory_does_not_grow_with_the_input() -> None:
    """Lines come through a pipe, far more of them than may be in flight; the same few spaces answer."""
    pad = "x" * 200
    with started(CLERK) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        memory = list[int]()
        for _ in range(4):
            for n in range(10):
                feed(process, (line(f"s{i % 20}", "say", pad) for i in range(n * 1000, (n + 1) * 1000)))
                for _ in range(1000):
                    process.stdout.readline()
            feed(process, [line("s0", "memory")])
            memory.append(json.loads(process.stdout.readline())["reply"])
    assert memory[-1] - memory[0] < 4000


# ---- terminal --------------------------------------------------------------------------------------------------------
def test_on_a_terminal_progress_is_shown_on_standard_error_only(tmp_path: Path) -> None:
    pty = pytest.importorskip("pty", reason="needs a terminal of its own")
    ours, theirs = pty.openpty()
    there = tmp_path / "there"
    os.mkfifo(there)
    pipe = subprocess.PIPE
    arguments = (*COMMAND, "run", CLERK)
    with subprocess.Popen(
        arguments, stdin=pipe, stdout=pipe, stderr=theirs, cwd=ROOT, start_new_session=True
    ) as process:
        os.close(theirs)
        feed(process, [line("bob", "say", "hi"), line("ann", "wait_for", str(there))])
        said = b""
        while b"1 message" not in said:
            said += os.read(ours, 1000)
        there.write_text("there")
        output, _ = process.communicate(timeout=200)
    os.close(ours)
    assert outcomes(output) == ["handled", "handled"]
