"""`spaceactors ask`: one prompt, one reply, and nothing else on standard output."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.places import CLERK, CLERKS, OWNER, spaceactors

ROOT = Path(__file__).resolve().parents[2]

# A process takes its time on a busy machine; what ends by itself waits for nothing.
pytestmark = pytest.mark.timeout(240)


# ---- the reply


def test_one_prompt_is_tested_and_its_reply_is_all_that_is_on_standard_output() -> None:
    """The feature C6."""
    done = spaceactors("ask", CLERK, "hi")
    assert (done.stdout, done.stderr, done.code) == ("1 hi\n", "", 0)


@pytest.mark.parametrize("dash", [("-",), ()])
@pytest.mark.parametrize(("given", "heard"), [("hi", "hi"), ("hi\n", "hi"), ("hi\r\n", "hi"), ("a\nb\n\n", "a\nb\n")])
def test_the_text_may_come_from_standard_input_and_loses_its_last_line_end(
    dash: tuple[str, ...], given: str, heard: str
) -> None:
    assert spaceactors("ask", CLERK, *dash, given=given).stdout == f"1 {heard}\n"


def test_a_text_may_begin_with_a_hyphen() -> None:
    assert spaceactors("ask", CLERK, "-5 degrees").stdout == "1 -5 degrees\n"


def test_options_may_stand_in_the_place_of_the_text() -> None:
    assert spaceactors("ask", CLERK, "--space", "ann", "--args", '["hi"]').stdout == "1 hi\n"


@pytest.mark.parametrize("args", ['["hi"]', '{"text": "hi"}'])
def test_arguments_may_be_given_as_json(args: str) -> None:
    assert spaceactors("ask", CLERK, "--args", args).stdout == "1 hi\n"


def test_a_handler_without_parameters_needs_no_text_and_waits_for_no_input() -> None:
    assert spaceactors("ask", CLERK, "--call", "visit", given=b"\xff").stdout == "1\n"


def test_a_handler_that_returns_nothing_prints_nothing() -> None:
    done = spaceactors("ask", CLERK, "--call", "chatter")
    assert (done.stdout, done.code) == ("", 0)


def test_what_the_actor_prints_is_not_on_standard_output() -> None:
    assert "by the way" in spaceactors("ask", CLERK, "--call", "chatter").stderr


def test_the_reply_is_one_json_object_if_wanted() -> None:
    row = json.loads(spaceactors("ask", CLERK, "hi", "--space", "ann", "--json").stdout)
    assert row.pop("milliseconds") > 0
    assert row == {"space": "ann", "outcome": "handled", "reply": "1 hi"}


def test_dependencies_are_opened() -> None:
    assert spaceactors("ask", OWNER, "hi", "--deps", f"{CLERKS}:open_name").stdout == "bob: hi\n"


# ---- streams


def test_the_items_of_a_stream_that_are_texts_are_printed_as_they_are() -> None:
    assert spaceactors("ask", CLERK, "abc", "--call", "spell").stdout == "abc\n"


def test_items_that_are_no_texts_are_a_line_each_and_begin_their_own() -> None:
    told = spaceactors("ask", CLERK, "--call", "mixed").stdout
    assert told == 'two words\n{"a": 1}\n[2]\nend\n'


def test_the_items_of_a_stream_are_a_list_in_json() -> None:
    assert json.loads(spaceactors("ask", CLERK, "ab", "--call", "spell", "--json").stdout)["reply"] == ["a", "b"]


def test_an_item_is_printed_before_the_next_is_made(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    command = (sys.executable, "-m", "spaceactors.cli", "ask", CLERK, str(tmp_path / "pipe"), "--call", "halting")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        assert os.read(process.stdout.fileno(), 100) == b"first "
        (tmp_path / "pipe").write_text("second")
        assert process.stdout.read() == b"second\n"
        assert process.wait(timeout=200) == 0


# ---- no reply


@pytest.mark.parametrize(("call", "told"), [("refuse", "rejected: closed\n"), ("crash", "failed: ValueError: boom\n")])
def test_why_it_was_not_handled_is_on_standard_error(call: str, told: str) -> None:
    done = spaceactors("ask", CLERK, "--call", call)
    assert (done.stdout, done.code) == ("", 1)
    assert done.stderr.endswith(told)


def test_why_it_was_not_handled_is_in_the_json_object() -> None:
    done = spaceactors("ask", CLERK, "--call", "refuse", "--json")
    row = json.loads(done.stdout)
    assert (row["outcome"], row["error"], done.stderr, done.code) == ("rejected", "closed", "", 1)


def test_a_reply_is_waited_for_no_longer_than_the_timeout_and_neither_is_the_turn() -> None:
    began = time.monotonic()
    done = spaceactors("ask", CLERK, "--call", "hang", "--timeout", "0.05")
    assert time.monotonic() - began < 25  # a drain would take 30 s
    assert (done.stdout, done.stderr, done.code) == ("", "returned: no reply within 0.05 s\n", 1)
    row = json.loads(spaceactors("ask", CLERK, "--call", "hang", "--timeout", "0.05", "--json").stdout)
    assert (row["outcome"], row["error"]) == ("returned", "no reply within 0.05 s")


def test_ctrl_c_ends_it_at_once() -> None:
    command = (sys.executable, "-m", "spaceactors.cli", "ask", CLERK, "--call", "hang_aloud")
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, cwd=ROOT) as process:
        assert process.stderr is not None
        assert process.stdout is not None
        assert process.stderr.readline() == b"hanging\n"
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=200) == 130
        assert time.monotonic() - began < 25  # a drain would take 30 s
        assert (process.stdout.read(), process.stderr.read()) == (b"", b"")


# ---- on a store


def test_the_talk_goes_on_and_a_known_id_is_answered_from_the_record(tmp_path: Path) -> None:
    store = ("--store", str(tmp_path / "shop.db"))
    told = [spaceactors("ask", CLERK, text, *store, *id_).stdout for text, id_ in TALK]
    assert told == ["1 hi\n", "1 hi\n", "2 ho\n"]


TALK: list[tuple[str, tuple[str, ...]]] = [("hi", ("--id", "one")), ("hi", ("--id", "one")), ("ho", ())]


# ---- mistakes


@pytest.mark.parametrize(
    ("arguments", "given", "told"),
    [
        ((), b"", "there is nothing on standard input"),
        (("-",), b"a\xff", "standard input: this is no text in UTF-8 (byte 2 is 0xff)"),
        ((), b"x" * ((1 << 20) + 1), "standard input has more than the 1,048,576 bytes"),
        (("hi", "--args", "[]"), b"", "leave one of them out"),
        (("--args", "{"), b"", "--args is no JSON"),
        (("--args", "[" * 100_000), b"", "--args is no JSON"),
        (("--args", "3"), b"", "--args must be a list"),
        (("--args", "[1, 2]"), b"", "the arguments do not fit 'say': too many"),
        (("hi", "--call", "sing"), b"", "--call sing: Clerk has the handlers"),
        (("hi", "--call", "spell", "--id", "x"), b"", "the handler 'spell' streams"),
        (("hi", "--id", ""), b"", "--id must not be empty"),
        (("hi", "--space", ""), b"", "--space must not be empty"),
        (("hi", "--deps", f"{CLERKS}:NAME"), b"", "Clerk takes no dependencies"),
        (("hi", "--store", "/nowhere/shop.db"), b"", "there is no directory /nowhere"),
        (("hi", "--config", "/nowhere.toml"), b"", "--config /nowhere.toml"),
    ],
    ids=lambda one: "-".join(one)[:30] if isinstance(one, tuple) else "",
)
def test_an_argument_that_cannot_be_used_is_said_in_one_line(
    arguments: tuple[str, ...], given: bytes, told: str
) -> None:
    complaint, code = spaceactors("ask", CLERK, *arguments, given=given).complaint
    assert told in complaint
    assert code == 2


def test_an_actor_that_is_not_there_is_said_in_one_line() -> None:
    complaint, code = spaceactors("ask", f"{CLERKS}:Clark", "hi").complaint
    assert "did you mean Clerk?" in complaint
    assert code == 2


@pytest.mark.parametrize("call", ["say", "spell"])
def test_a_reader_that_leaves_ends_it_quietly(call: str) -> None:
    command = (sys.executable, "-m", "spaceactors.cli", "ask", CLERK, "abc", "--call", call)
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, cwd=ROOT, timeout=200, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.skipif(os.name != "posix", reason="needs a shell")
@pytest.mark.parametrize(
    ("closed", "told", "code"), [("<&-", "standard input is closed", 2), (">&-", "the output cannot be written", 1)]
)
def test_a_stream_that_is_closed_is_said_in_one_line(closed: str, told: str, code: int) -> None:
    command = f"{sys.executable} -m spaceactors.cli ask {CLERK} {'-' if '<' in closed else 'hi'} {closed}"
    done = subprocess.run(("sh", "-c", command), capture_output=True, text=True, cwd=ROOT, timeout=200, check=False)
    assert told in done.stderr
    assert (done.stderr.count("\n"), done.returncode) == (1, code)
