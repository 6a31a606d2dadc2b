"""Programs as users would write them, kept beside the repository: they run as they are."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ROOT.parent / "shared" / "contract" / "programs"

pytestmark = [
    pytest.mark.skipif(not PROGRAMS.is_dir(), reason="the users' programs are not beside the repository"),
    pytest.mark.timeout(600),  # several processes one after the other, on a machine that may be busy
]

RUN = "import {0}, trio; trio.run({0}.main)"
# Plays a person who looks until there is something to approve, and then the power that fails.
RUN_UNTIL_ASKED = """
import os, signal, p2_refund, trio
async def look(runtime, who):
    while not await runtime.suspensions.list(actor=p2_refund.Refund):
        await trio.lowlevel.checkpoint()
    os.kill(os.getpid(), signal.SIGKILL)
p2_refund.approve_all = look
trio.run(p2_refund.main)
"""
# Plays three providers, each of which takes seven seconds for an answer, on virtual time.
RUN_PROVIDERS = """
import p6_limits, trio
from collections import Counter
from supervisors import CircuitBreaker
from trio.testing import MockClock
calls = Counter()
def provider(name):
    async def complete(prompt):
        calls[name, trio.current_time()] += 1
        await trio.sleep(7)
        return name
    return complete
async def main():
    names = ("openai", "anthropic", "ollama")
    await p6_limits.main(p6_limits.Providers(*map(provider, names), CircuitBreaker("anthropic")))
    print(sorted((*call, times) for call, times in calls.items()))
    print(trio.current_time())
trio.run(main, clock=MockClock(autojump_threshold=0))
"""


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a folder, with the programs to be imported."""
    paths = os.pathsep.join((str(ROOT), str(PROGRAMS)))
    environment = os.environ | {"PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}
    command = (sys.executable, *arguments)
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=200, check=False
    )


def test_D1_H1_the_refund_is_asked_for_by_one_process_and_paid_by_the_next(tmp_path: Path) -> None:
    killed = run(tmp_path, "-c", RUN_UNTIL_ASKED)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    paid = run(tmp_path, "-c", RUN.format("p2_refund"))
    assert (paid.stdout, paid.returncode) == ("r-77\n", 0), paid.stderr


def test_D3_the_refund_that_was_paid_has_the_same_receipt_in_the_next_process(tmp_path: Path) -> None:
    run(tmp_path, "-c", RUN_UNTIL_ASKED)
    first, second = (run(tmp_path, "-c", RUN.format("p2_refund")) for _ in range(2))
    assert [first.stdout, second.stdout] == ["r-77\n"] * 2, second.stderr


def test_the_chat_room_shows_what_was_posted(tmp_path: Path) -> None:
    shown = run(tmp_path, "-c", RUN.format("p3_room"))
    assert (shown.stdout, shown.returncode) == ("ann: hello\n", 0), shown.stderr


def test_the_users_own_tests_pass(tmp_path: Path) -> None:
    program = str(PROGRAMS / "p8_test.py")
    options = ("-q", "--timeout=150", "-p", "no:cacheprovider", "-W", "error", f"--rootdir={tmp_path}")
    done = run(tmp_path, "-m", "pytest", *options, program)
    assert (done.returncode, "4 passed" in done.stdout) == (0, True), done.stdout


def test_three_providers_three_limits_and_twenty_spaces(tmp_path: Path) -> None:
    """One call at the local one, which refuses the others at once; nineteen at the next, five at a time."""
    shown = run(tmp_path, "-W", "error", "-c", RUN_PROVIDERS)
    assert shown.returncode == 0, shown.stderr
    *table, calls, seconds = shown.stdout.splitlines()
    assert [line for line in table if "held" in line] == [
        "openai     0/5 held, 0 waiting, oldest 0.0 s",
        "anthropic  5/5 held, 14 waiting, oldest 1.0 s",
        "ollama     1/1 held, 0 waiting, oldest 0.0 s",
        "spaces     20/10000 held, 0 waiting, oldest 0.0 s",
    ]
    line = [line.split() for line in table if "held" not in line]
    assert [position for position, _, _ in line] == ["1.", "2.", "3."]
    # Unless it was among the first, the one of high priority is next.
    assert [priority for _, _, priority in line][1:] == ["NORMAL", "NORMAL"]
    assert (line[0][2] == "HIGH") == (line[0][1] == "user-0")
    waves = [("anthropic", 0.0, 5), ("anthropic", 7.0, 5), ("anthropic", 14.0, 5), ("anthropic", 21.0, 4)]
    assert (calls, seconds) == (str([*waves, ("ollama", 0.0, 1)]), "28.0")


def test_C1_memory_and_retrieval_side_by_side_and_reasoning_after_both(tmp_path: Path) -> None:
    shown = run(tmp_path, "-W", "error", "-c", RUN.format("p7_pipeline"))
    assert shown.returncode == 0, shown.stderr
    answer, seconds, error, first, *stages, reply = shown.stdout.splitlines()
    assert (answer, reply) == ("trio: 1 memories, 1 passages",) * 2
    assert float(seconds) < 2
    assert error == "None"
    assert first.startswith("pipeline 'answer': ")
    assert sorted(line.split(" in ")[0] for line in stages) == ["  reason: done", "  recall: done", "  retrieve: done"]
