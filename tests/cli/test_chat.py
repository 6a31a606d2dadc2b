"""`spaceactors chat`, as a real process: through pipes, and on a terminal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_run_config import LIMITED

pty = pytest.importorskip("pty", reason="needs a terminal of its own")

ROOT = Path(__file__).resolve().parents[2]
CLERK = f"{Path(__file__).with_name('clerks.py')}:Clerk"
COMMAND = (sys.executable, "-m", "spaceactors.cli", "chat", CLERK)

# Processes take their time on a busy machine; what ends by itself waits for nothing.
pytestmark = pytest.mark.timeout(240)


def chat(typed: str, *options: str) -> tuple[list[str], int]:
    done = subprocess.run(
        (*COMMAND, *options), input=typed, capture_output=True, text=True, cwd=ROOT, timeout=200, check=False
    )
    assert "Traceback" not in done.stderr
    return done.stdout.splitlines(), done.returncode


def test_what_is_typed_is_said_and_answered() -> None:
    told, code = chat("hi\nho\n/quit\n")
    assert told[:2] == ["1 hi", "2 ho"]
    assert code == 0


def test_another_space_has_its_own_state() -> None:
    told, _ = chat("hi\n/space bob\nhi\n/space me\nhi\n")
    assert told[:5] == ["1 hi", "you talk to bob now", "1 hi", "you talk to me now", "2 hi"]


def test_stats_count_the_messages() -> None:
    told, _ = chat("hi\nho\n/stats\n")
    assert told[2] == "2 messages accepted: 2 handled, 0 pending"
    assert told[3].startswith("answers in p50 ")


def test_stats_tell_what_the_pipelines_did_to_which_the_module_gives_names() -> None:
    """The feature C6, with C5's figures."""
    command = (*COMMAND[:-1], "examples/orchestrator.py:Orchestrator")
    typed = "hello\nwho takes honey?\n/stats\n"
    done = subprocess.run(command, input=typed, capture_output=True, text=True, cwd=ROOT, timeout=200, check=False)
    told = done.stdout.splitlines()
    assert [line for line in told if line.startswith("way →")] == ["way → quick: 1 request", "way → deep: 1 request"]
    assert [line for line in told if line.startswith("deep: 1 run")]
    assert [line for line in told if line.lstrip().startswith("retrieval: 1 call")]
    assert (done.stderr, done.returncode) == ("", 0)


def test_limits_that_handlers_name_come_from_a_file(tmp_path: Path) -> None:
    actor, config = tmp_path / "callers.py", tmp_path / "service.toml"
    actor.write_text(LIMITED, encoding="utf-8")
    config.write_text("[spaceactors.limits.llm]\ntokens = 2\n", encoding="utf-8")
    command = (*COMMAND[:-1], f"{actor}:Caller", "--config", str(config))
    done = subprocess.run(command, input="hi\n", capture_output=True, text=True, cwd=ROOT, timeout=200, check=False)
    assert (done.stdout.splitlines()[0], done.returncode) == ("hi", 0), done.stderr


def test_the_tree_shows_the_spaces() -> None:
    told, _ = chat("hi\n/space bob\nhi\n/tree\n")
    assert {line.lstrip("│├└─ ") for line in told} >= {"bob: live", "me: live"}


def test_help_and_mistakes_are_told_without_saying_anything() -> None:
    told, _ = chat("/help\n/foo\n/stats\n")
    assert told[0].startswith("/space NAME")
    assert "there is no /foo: /help tells what there is" in told
    assert any(line.startswith("0 messages accepted") for line in told)


def test_a_refusal_is_told_and_the_talk_goes_on() -> None:
    told, code = chat("x\n", "--call", "crash")
    assert told[0].startswith("invalid:")
    assert code == 0


def test_a_stream_is_shown_as_it_comes() -> None:
    assert chat("abc\n", "--call", "spell")[0][0] == "abc"


@pytest.mark.parametrize("option", [("--call", "sing"), ("--deps", "clerks.py:NAME")])
def test_unusable_arguments_end_with_2(option: tuple[str, ...]) -> None:
    assert chat("", *option) == ([], 2)


def test_the_last_line_needs_no_line_end() -> None:
    assert chat("hi")[0][0] == "1 hi"


def test_on_a_terminal_there_is_a_prompt_with_the_name_of_the_space() -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        COMMAND, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE, cwd=ROOT, start_new_session=True
    ) as process:
        os.close(theirs)
        said = until(ours, b"me> ")
        os.write(ours, b"hi\n")
        said += until(ours, b"1 hi")
        os.write(ours, b"/space bob\n")
        said += until(ours, b"bob> ")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=200) == 130
    os.close(ours)
    assert b"/help" in said


def until(descriptor: int, word: bytes) -> bytes:
    said = b""
    while word not in said:
        said += os.read(descriptor, 1000)
    return said
