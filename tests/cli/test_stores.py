"""Commands about a store, as real processes: on a file at rest, and through the service that has it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import pytest
from attrs import frozen

from spaceactors.cli._app import run_app

ROOT = Path(__file__).resolve().parents[2]
ASKER = f"{Path(__file__).with_name('clerks.py')}:Asker"
COMMAND = (sys.executable, "-m", "spaceactors.cli")

# Processes take their time on a busy machine; what ends by itself waits for nothing.
pytestmark = pytest.mark.timeout(240)

LINES = [("ann", "say", "hi"), ("ann", "say", "ho"), ("bob", "crash"), ("eve", "crash")]

Row = dict[str, Any]


@frozen
class Done:
    """What a command wrote, and how it ended."""

    stdout: str
    stderr: str
    returncode: int


def spaceactors(*arguments: str, given: str | None = None) -> Done:
    """Run a command: in a process of its own if it runs actors, else in this one, which is quicker."""
    done = in_process(*arguments, given=given or "") if arguments[0] in {"run", "chat"} else in_place(*arguments)
    assert "Traceback" not in done.stderr
    return done


def in_process(*arguments: str, given: str = "") -> Done:
    done = subprocess.run(
        (*COMMAND, *arguments), input=given, capture_output=True, text=True, cwd=ROOT, timeout=200, check=False
    )
    return Done(done.stdout, done.stderr, done.returncode)


def in_place(*arguments: str) -> Done:
    with TemporaryFile("w+") as out, TemporaryFile("w+") as err, ExitStack() as undo:
        for descriptor, file in ((1, out), (2, err)):
            kept = os.dup(descriptor)
            undo.callback(os.close, kept)
            undo.callback(os.dup2, kept, descriptor)
            os.dup2(file.fileno(), descriptor)
        with (
            open(1, "w", closefd=False) as stdout,
            open(2, "w", closefd=False) as stderr,
            redirect_stdout(stdout),
            redirect_stderr(stderr),
        ):
            code = run_app([*arguments])
        out.seek(0)
        err.seek(0)
        return Done(out.read(), err.read(), code)


def rows(*arguments: str) -> list[Row]:
    done = spaceactors(*arguments)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def line(space: str, call: str, *args: object) -> str:
    return json.dumps({"space": space, "call": call, "args": args, "id": f"{space}-{call}-{args}"}) + "\n"


@contextmanager
def service(store: str, calls: Iterable[tuple[Any, ...]]) -> Iterator[subprocess.Popen[str]]:
    """A service that has answered these calls, and then waits for one that nobody answers."""
    arguments = (*COMMAND, "run", ASKER, "--store", store)
    pipe = subprocess.PIPE
    process = subprocess.Popen(arguments, stdin=pipe, stdout=pipe, stderr=pipe, text=True, cwd=ROOT)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        calls = list(calls)
        process.stdin.write("".join(line(*call) for call in calls))
        process.stdin.flush()
        for _ in calls:
            assert process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.communicate()


def ask_for_cake(process: subprocess.Popen[str], store: str) -> str:
    """Have a turn ask; return the id of its question."""
    assert process.stdin is not None
    process.stdin.write(line("cem", "order", "cake"))
    process.stdin.flush()
    give_up = time.monotonic() + 200
    while not (found := rows("suspensions", "list", store, "--json")):
        assert time.monotonic() < give_up
    question: str = found[0]["id"]
    return question


@pytest.fixture(scope="module")
def at_rest(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store that nobody changes."""
    store = str(tmp_path_factory.mktemp("rest") / "shop.db")
    given = "".join(line(*call) for call in LINES)
    assert spaceactors("run", ASKER, "--store", store, given=given).returncode == 1
    return store


@pytest.fixture
def store(tmp_path: Path, at_rest: str) -> str:
    """A store of this test."""
    copy = tmp_path / "shop.db"
    copy.write_bytes(Path(at_rest).read_bytes())
    return str(copy)


# ---- at rest


def test_it_is_a_command_of_its_own(at_rest: str) -> None:
    assert in_process("spaces", at_rest) == in_place("spaces", at_rest)


def test_spaces_are_listed_for_people_and_for_programs(at_rest: str) -> None:
    done = spaceactors("spaces", at_rest)
    assert done.stdout.splitlines()[0].split() == ["space", "status", "version", "pending", "history", "group"]
    listed = [line.split()[:2] for line in done.stdout.splitlines()[1:]]
    assert listed == [["Asker/ann", "passive"], ["Asker/bob", "passive"], ["Asker/eve", "passive"]]
    assert done.stderr == ""
    (row,) = rows("spaces", at_rest, "--json", "--limit", "1")
    assert (row["space"], row["version"], row["history"]) == ("ann", 2, 2)


def test_a_space_is_shown(at_rest: str) -> None:
    told = spaceactors("show", at_rest, "Asker/ann", "--history", "1").stdout
    assert "Asker/ann  passive" in told
    assert "2 'ho'" in told
    assert "1 'hi'" not in told
    (row,) = rows("show", at_rest, "Asker/ann", "--json")
    assert [entry["value"] for entry in row["recent"]] == ["hi", "ho"]


def test_letters_are_listed_and_shown(at_rest: str) -> None:
    told = spaceactors("dead-letters", "list", at_rest, "--limit", "1")
    assert ("Asker/bob" in told.stdout) != ("Asker/eve" in told.stdout)
    assert "--after 1" in told.stderr
    assert [row["space"] for row in rows("dead-letters", "list", at_rest, "--json", "--space", "eve")] == ["eve"]
    shown = spaceactors("dead-letters", "show", at_rest, "2").stdout
    assert "dead letter 2  Asker/" in shown
    assert 'raise ValueError("boom")' in shown


def test_letters_are_sent_again_and_run_with_the_next_service(store: str) -> None:
    done = spaceactors("dead-letters", "resend", store, "1", "17")
    assert (done.stdout, done.returncode) == ("1 dead letter sent again, 1 not\n", 1)
    assert "17: there is no dead letter 17" in done.stderr
    assert sum(row["pending"] for row in rows("spaces", store, "--json")) == 1
    with service(store, [("ann", "say", "more")]):
        give_up = time.monotonic() + 200
        while [row["number"] for row in rows("dead-letters", "list", store, "--json")] != [2, 3]:
            assert time.monotonic() < give_up


def test_letters_are_discarded(store: str) -> None:
    assert rows("dead-letters", "discard", store, "--all", "--json")[0]["done"]
    done = spaceactors("dead-letters", "list", store)
    assert (done.stdout, done.stderr) == ("", "There are no dead letters.\n")


def test_an_export_is_lines_of_json(at_rest: str, tmp_path: Path) -> None:
    told = rows("export", at_rest)
    assert {row["type"] for row in told} == {"space", "entry", "known", "dead_letter"}
    done = spaceactors("export", at_rest, "--output", str(tmp_path / "out.jsonl"))
    assert (done.stdout, done.returncode) == ("", 0)
    assert (tmp_path / "out.jsonl").read_text().count("\n") == len(told)


def test_an_export_does_not_overwrite_the_store(store: str) -> None:
    done = spaceactors("export", store, "-o", store)
    assert (done.returncode, "this is the store itself" in done.stderr) == (2, True)
    assert rows("spaces", store, "--json")


def test_verify_and_vacuum_say_what_they_found_and_did(store: str) -> None:
    done = spaceactors("verify", store)
    assert (done.stdout, done.returncode) == ("no fault found\n", 0)
    assert spaceactors("verify", store, "--json").stdout == ""
    assert spaceactors("vacuum", store).stdout.startswith("the store is vacuumed: it had ")


def test_a_fault_is_told_and_the_exit_code_says_so(store: str) -> None:
    import sqlite3

    with sqlite3.connect(store) as connection:
        connection.execute("DELETE FROM history WHERE position = 1")
    connection.close()
    done = spaceactors("verify", store)
    assert "should have 2 history entries and has 1" in done.stdout
    assert done.stdout.endswith("1 fault found\n")
    assert done.returncode == 1
    json_ = spaceactors("verify", store, "--json")
    assert (len(json_.stdout.splitlines()), json_.returncode) == (1, 1)


# ---- through the service


def test_a_running_service_is_looked_into_and_looked_after(tmp_path: Path) -> None:
    store = str(tmp_path / "shop.db")
    with service(store, LINES) as process:
        question = ask_for_cake(process, store)
        told = {row["space"]: row["status"] for row in rows("spaces", store, "--json")}
        assert told["cem"] == "suspended"
        assert told["ann"] == "live"
        assert spaceactors("show", store, "Asker/cem").stdout.count("cake") == 3  # message, question, its id
        assert spaceactors("verify", store).stdout == "no fault found\n"
        assert rows("dead-letters", "discard", store, "2", "--json")[0]["done"]
        assert spaceactors("dead-letters", "resend", store, "1").returncode == 0
        assert {row["type"] for row in rows("export", store)} >= {"space", "message", "question"}
        assert spaceactors("vacuum", store).returncode == 0
        refused = spaceactors("suspensions", "answer", store, question, '"yes"')
        assert (refused.returncode, refused.stdout) == (2, "")
        done = spaceactors("suspensions", "answer", store, question, "true")
        assert done.stdout == "Asker/cem: allow is answered\n"
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["reply"] == "cake: yes"
        again = spaceactors("suspensions", "answer", store, question, "true")
        assert (again.returncode, "no open question" in again.stderr) == (2, True)


def test_H1_a_question_of_a_killed_service_is_answered_at_rest_and_its_turn_goes_on(tmp_path: Path) -> None:
    store = str(tmp_path / "shop.db")
    with service(store, LINES) as process:
        question = ask_for_cake(process, store)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert "cem" in spaceactors("suspensions", "list", store).stdout
    assert spaceactors("suspensions", "answer", store, question, "false").returncode == 0
    done = spaceactors("run", ASKER, "--store", store, given=line("cem", "order", "cake"))
    assert json.loads(done.stdout)["reply"] == "cake: no"


# ---- mistakes


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("spaces", "{none}"), "there is no such file"),
        (("export", "{none}", "-o", "{none}.out"), "there is no such file"),
        (("spaces", "{text}"), "this is no store"),
        (("spaces", "."), "this is a directory"),
        (("spaces", "{store}", "--status", "odd"), "there is no status 'odd'"),
        (("show", "{store}", "ann"), "a space is named KIND/ID"),
        (("show", "{store}", "Asker/"), "a space is named KIND/ID"),
        (("show", "{store}", "Asker/zoe"), "there is no space Asker/zoe"),
        (("show", "{store}", "Axer/ann"), "has spaces of Asker"),
        (("dead-letters", "show", "{store}", "77"), "there is no dead letter 77"),
        (("dead-letters", "resend", "{store}"), "or --all"),
        (("dead-letters", "discard", "{store}", "1", "--all"), "--all means every letter"),
        (("dead-letters", "discard", "{store}", "1", "--kind", "Asker"), "--kind chooses among --all"),
        (("suspensions", "answer", "{store}", "q", "{{"), "the answer is no JSON"),
        (("suspensions", "answer", "{store}", "q", "-5"), "there is no open question q"),
        (("spaces", "postgresql://nobody@127.0.0.1:1/none"), "cannot connect"),
        (("run", ASKER, "--store", "{text}"), "cannot be opened"),
        (("run", ASKER, "--store", "{none}/in/a/folder"), "there is no directory"),
        (("chat", ASKER, "--store", "."), "this is a directory"),
    ],
    ids=lambda one: "-".join(one[:2]).strip("{}") if isinstance(one, tuple) else "",
)
def test_a_mistake_is_one_sentence_on_standard_error(
    arguments: tuple[str, ...], told: str, at_rest: str, tmp_path: Path
) -> None:
    (tmp_path / "text").write_text("just a text\n")
    places = {"none": str(tmp_path / "none"), "text": str(tmp_path / "text"), "store": at_rest}
    done = spaceactors(*(one.format(**places) for one in arguments))
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "none").exists()
    assert not (tmp_path / "none.out").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_an_output_that_cannot_be_written_is_said_so(at_rest: str) -> None:
    done = spaceactors("export", at_rest, "-o", "/dev/full")
    assert (done.returncode, "cannot be written" in done.stderr) == (1, True)


def test_a_reader_that_leaves_ends_an_export_quietly(at_rest: str) -> None:
    command = (*COMMAND, "export", at_rest)
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, cwd=ROOT, timeout=200, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, b"")


# ---- running on a store


def test_state_outlives_the_run(tmp_path: Path) -> None:
    store = str(tmp_path / "shop.db")
    replies = [
        json.loads(spaceactors("run", ASKER, "--store", store, given=json.dumps(call) + "\n").stdout)["reply"]
        for call in [{"space": "ann", "call": "say", "args": ["hi"]}] * 3
    ]
    assert replies == ["1 hi", "2 hi", "3 hi"]


def test_D3_with_once_a_run_can_be_repeated(tmp_path: Path) -> None:
    """What was handled is answered from the record; what is new, and what has changed, is handled."""
    store, source = str(tmp_path / "shop.db"), tmp_path / "in.jsonl"

    def replies(*texts: str) -> list[str]:
        source.write_text("".join(json.dumps({"space": "a", "call": "say", "args": [text]}) + "\n" for text in texts))
        done = spaceactors("run", ASKER, "--input", str(source), "--store", store, "--once")
        assert done.returncode == 0
        return [json.loads(line)["reply"] for line in done.stdout.splitlines()]

    assert replies("x", "x") == ["1 x", "2 x"]
    assert replies("x", "x", "y") == ["1 x", "2 x", "3 y"]
    assert replies("x", "changed") == ["1 x", "4 changed"]


def test_D1_a_run_that_was_killed_is_finished_by_repeating_it(tmp_path: Path) -> None:
    store, source = str(tmp_path / "shop.db"), tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps({"space": "a", "call": "say", "args": [n]}) + "\n" for n in range(400)))
    arguments = ("run", ASKER, "--input", str(source), "--store", store, "--once")
    with subprocess.Popen((*COMMAND, *arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline()  # it is at work
        process.kill()
    done = spaceactors(*arguments)
    assert [json.loads(line)["reply"] for line in done.stdout.splitlines()] == [f"{n + 1} {n}" for n in range(400)]
    (row,) = rows("spaces", store, "--json")
    assert (row["version"], row["history"]) == (400, 400)


def test_a_talk_goes_on_where_the_last_one_ended(tmp_path: Path) -> None:
    store = str(tmp_path / "shop.db")
    first, second = (spaceactors("chat", ASKER, "--store", store, given="hi\n/quit\n").stdout for _ in range(2))
    assert (first.splitlines()[0], second.splitlines()[0]) == ("1 hi", "2 hi")


def test_a_second_run_on_a_store_is_refused(tmp_path: Path) -> None:
    store = str(tmp_path / "shop.db")
    with service(store, [("ann", "say", "hi")]):
        done = spaceactors("run", ASKER, "--store", store)
        assert (done.returncode, "has it open" in done.stderr) == (2, True)
