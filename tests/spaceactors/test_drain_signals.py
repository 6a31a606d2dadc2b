"""Signals of a real process (S12): the first drains, the second stops, the third kills."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="needs POSIX signals"),
]

# Three messages; each turn waits for a SIGUSR1, so that the test says when a turn ends.
PROGRAM = """
import signal
import trio
from spaceactors import Actor, MessageReturned, handler, open_runtime

class Slow(Actor):
    @handler
    async def work(self, number):
        try:
            with trio.open_signal_receiver(signal.SIGUSR1) as signals:
                print("began", number, flush=True)
                async for _ in signals:
                    break
            print("done", number, flush=True)
        finally:
            print("gone", number, flush=True)

async def ask_for_the_last(space):
    try:
        await space.ask(Slow.work, 2)
    except MessageReturned:
        print("2 came back", flush=True)

async def main():
    async with trio.open_nursery() as nursery, open_runtime(Slow, handle_signals=True) as runtime:
        for number in range(2):
            await runtime.space("a").send(Slow.work, number)
        nursery.start_soon(ask_for_the_last, runtime.space("a"))
        try:
            await trio.sleep_forever()
        finally:
            print("body gone", flush=True)
    report = runtime.report
    print("report", report.clean, report.cancelled, dict(report.left), flush=True)

trio.run(main)
"""


@contextmanager
def program():
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True, env=environment)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def expect(process, *lines):
    for line in lines:
        assert process.stdout.readline().rstrip() == line


@pytest.mark.parametrize("which", [signal.SIGTERM, signal.SIGINT])
def test_S12_the_first_signal_ends_the_body_and_finishes_what_was_accepted(which):
    with program() as process:
        expect(process, "began 0")
        process.send_signal(which)
        expect(process, "body gone")
        for number in range(3):
            process.send_signal(signal.SIGUSR1)
            expect(process, f"done {number}", f"gone {number}")
            if number < 2:
                expect(process, f"began {number + 1}")
        expect(process, "report True () {}")
        assert process.wait(100) == 0


def test_S12_the_second_signal_finishes_the_running_turn_and_returns_the_rest():
    with program() as process:
        expect(process, "began 0")
        process.send_signal(signal.SIGTERM)
        expect(process, "body gone")
        process.send_signal(signal.SIGINT)
        expect(process, "2 came back")
        process.send_signal(signal.SIGUSR1)
        expect(process, "done 0", "gone 0", "report False () {'a': 2}")
        assert process.wait(100) == 0


def test_S12_the_third_signal_cancels_the_running_turn_too():
    with program() as process:
        expect(process, "began 0")
        process.send_signal(signal.SIGTERM)
        expect(process, "body gone")
        process.send_signal(signal.SIGTERM)
        expect(process, "2 came back")
        process.send_signal(signal.SIGINT)
        expect(process, "gone 0", "report False ('a',) {'a': 3}")
        assert process.wait(100) == 0
