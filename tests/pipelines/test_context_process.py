"""Processes: killed when they have to be, replaced when they die, clear about what cannot be sent, gone at the end."""

from __future__ import annotations

import os
import random
import re
import signal
import struct
import subprocess
import sys
import textwrap
import threading
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import trio

from spaceactors.pipelines._context import (
    ContextClosed,
    ContextError,
    ContextKind,
    ContextUnavailable,
    NotSendable,
    WorkerLost,
)
from spaceactors.pipelines._context_open import open_context
from spaceactors.pipelines._context_send import misfit
from tests.pipelines.context_jobs import (
    Riddle,
    Trap,
    async_square,
    double,
    exists,
    fail_mutely,
    fail_puzzlingly,
    fail_stubbornly,
    files,
    give_lock,
    gone,
    my_pid,
    square,
    tell_and_sleep,
    tell_and_sleep_async,
    told,
    workers,
)

ROOT = Path(__file__).parents[2]
sleeping = pytest.mark.parametrize("job", [tell_and_sleep, tell_and_sleep_async])


@pytest.fixture(autouse=True)
def no_process_is_left():
    yield
    assert workers() == []


# ---- living


async def test_a_process_serves_one_call_after_the_other():
    async with open_context("process") as context:
        pids = {await context.run(my_pid) for _ in range(3)}
    assert len(pids) == 1
    assert os.getpid() not in pids


async def test_calls_at_the_same_time_share_the_one_process():
    pids = set()

    async def call():
        pids.add(await context.run(my_pid))

    async with open_context("process") as context, trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(call)
    assert len(pids) == 1


async def test_no_process_starts_before_the_first_call():
    async with open_context("process"):
        assert workers() == []


async def test_as_many_processes_run_at_once_as_there_are_contexts_whatever_the_machine_has(tmp_path):
    """trio-parallel's own limiter counts the processors."""
    there = (os.cpu_count() or 1) + 1
    async with trio.open_nursery() as nursery:
        for number in range(there):
            nursery.start_soon(in_context, tell_and_sleep, tmp_path / str(number))
        pids = {await told(tmp_path / str(number)) for number in range(there)}
        nursery.cancel_scope.cancel()
    assert len(pids) == there


async def in_context(job, *args):
    async with open_context("process") as context:
        return await context.run(job, *args)


# ---- cancelling


@sleeping
async def test_D1_a_cancelled_call_is_killed_before_its_caller_goes_on(job, tmp_path):
    async with open_context("process") as context:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(context.run, job, tmp_path / "pid")
                pid = await told(tmp_path / "pid")
                scope.cancel()
        assert scope.cancelled_caught
        assert not exists(pid)
        assert await context.run(my_pid) != pid


async def test_D1_terminating_kills_what_runs_and_tells_its_caller(tmp_path):
    errors = []

    async def call():
        try:
            await context.run(tell_and_sleep, tmp_path / "pid")
        except ContextClosed as error:
            errors.append(error)

    async with open_context("process") as context:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call)
            pid = await told(tmp_path / "pid")
            context.terminate()
        assert not exists(pid)
    assert len(errors) == 1


async def test_D1_terminating_kills_an_idle_process_at_once(caplog):
    async with open_context("process") as context:
        pid = await context.run(my_pid)
        context.terminate()
        await gone(pid)
    assert caplog.text == ""


async def test_D1_joining_ends_the_process():
    async with open_context("process") as context:
        pid = await context.run(my_pid)
        await context.join()
        assert not exists(pid)


async def test_a_process_that_does_not_end_by_itself_is_killed_at_the_end(monkeypatch, caplog):
    monkeypatch.setattr("spaceactors.pipelines._context_process.GRACE", 0.05)
    async with open_context("process", name="deaf") as context:
        await context.run(stay)
        pid = await context.run(my_pid)
    assert not exists(pid)
    assert "the idle process of the context 'deaf' had to be killed" in caplog.text


def stay():
    threading.Thread(target=threading.Event().wait).start()


# ---- dying


@pytest.mark.parametrize(
    ("job", "args", "how"),
    [
        (os._exit, (3,), "its exit code was 3"),
        (os.abort, (), "it was killed by SIGABRT"),
        (signal.raise_signal, (signal.SIGKILL,), r"it was killed by SIGKILL \(short of memory\?\)"),
        (signal.raise_signal, (signal.SIGSEGV,), "it was killed by SIGSEGV"),
        (signal.raise_signal, (40,), "it was killed by signal 40"),
    ],
)
async def test_D7_a_process_that_dies_is_a_lost_worker_to_its_caller_and_the_next_call_gets_another(job, args, how):
    async with open_context("process", name="parsing") as context:
        first = await context.run(my_pid)
        with pytest.raises(WorkerLost, match=f"process of the context 'parsing' died under .*: {how}; .*new process"):
            await context.run(job, *args)
        assert await context.run(my_pid) != first


async def test_a_process_that_dies_with_half_of_its_answer_sent_is_a_lost_worker():
    async with open_context("process") as context:
        with pytest.raises(WorkerLost, match="got end of file during message"):
            await context.run(die_answering)
        assert await context.run(square, 3) == 9


def die_answering():
    def send_half(connection, message):
        connection._send(struct.pack("!i", len(message)))
        connection._send(bytes(message[:10]))
        os.kill(os.getpid(), signal.SIGKILL)

    Connection._send_bytes = send_half


async def test_a_lost_worker_that_is_kept_as_an_error_keeps_no_file_open():
    async with open_context("process") as context:
        await context.run(square, 3)
        before, kept = files(), []
        for _ in range(3):
            with pytest.raises(WorkerLost) as caught:
                await context.run(os._exit, 3)
            kept.append(caught.value)
            await context.run(square, 3)
        assert files() == before


async def test_a_process_that_dies_between_two_calls_is_replaced_and_nobody_is_told(caplog):
    async with open_context("process") as context:
        pid = await context.run(my_pid)
        os.kill(pid, signal.SIGKILL)
        await gone(pid)
        assert await context.run(my_pid) != pid
    assert caplog.text == ""


async def test_ctrl_c_reaches_no_process(tmp_path):
    """The terminal sends it to all; the program itself decides what ends."""
    async with open_context("process") as context:
        pid = await context.run(my_pid)
        os.kill(pid, signal.SIGINT)
        assert await context.run(my_pid) == pid


# ---- starting


async def test_without_the_extra_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "trio_parallel", None)
    with pytest.raises(ContextUnavailable, match=r"pip install 'spaceactors\[process\]'"):
        async with open_context("process"):
            pass


async def test_a_process_that_the_system_refuses_is_unavailable_and_the_next_call_tries_again(monkeypatch):
    def refuse(*_args):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    async with open_context("process", name="parsing") as context:
        before = files()
        with monkeypatch.context() as patch:
            patch.setattr("multiprocessing.util.spawnv_passfds", refuse)
            with pytest.raises(ContextUnavailable, match=r"for the context 'parsing': BlockingIOError.*unavailable"):
                await context.run(square, 3)
        assert files() == before
        assert await context.run(square, 3) == 9


async def test_a_process_cannot_have_processes_of_its_own_and_says_so():
    async with open_context("process") as context:
        with pytest.raises(ContextUnavailable, match="daemonic processes are not allowed to have children"):
            await context.run(in_context, square, 3)


def test_a_program_that_starts_itself_again_is_told_how_to_begin(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent("""
        import os, trio
        from spaceactors.pipelines._context_open import open_context

        async def main():
            async with open_context("process") as context:
                await context.run(os.getpid)

        trio.run(main)
        """)
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(program)]
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True, timeout=60)
    assert "no process could be started" in done.stderr
    assert "has to begin under `if __name__ == '__main__':`" in done.stderr


# ---- sending


async def test_an_argument_that_cannot_be_sent_is_named_and_the_process_lives_on():
    async with open_context("process") as context:
        pid = await context.run(my_pid)
        with pytest.raises(NotSendable, match=r"argument 2 of pow, a lock, cannot be sent to a process .*plain data"):
            await context.run(pow, 1, threading.Lock())
        assert await context.run(my_pid) == pid


async def test_a_function_that_cannot_be_sent_is_named_and_the_process_lives_on():
    async with open_context("process") as context:
        pid = await context.run(my_pid)
        with pytest.raises(NotSendable, match=r"a lambda cannot be sent to a process .* top level of a module"):
            await context.run(lambda: 1)
        assert await context.run(my_pid) == pid


@pytest.mark.parametrize(
    ("job", "said"),
    [
        (give_lock, "the result of give_lock cannot be sent back from a process .*lock.*plain data"),
        (Riddle, "the result of Riddle was sent back and cannot be read .*nobody knows"),
    ],
)
async def test_a_result_that_cannot_be_sent_is_told_and_the_process_lives_on(job, said):
    async with open_context("process") as context:
        pid = await context.run(my_pid)
        with pytest.raises(NotSendable, match=said):
            await context.run(job)
        assert await context.run(my_pid) == pid


async def test_an_argument_that_cannot_be_read_there_is_told_and_the_process_lives_on():
    async with open_context("process") as context:
        pid = await context.run(my_pid)
        with pytest.raises(NotSendable, match=r"repr or an argument cannot be made again in a process \(ValueError"):
            await context.run(repr, Riddle())
        assert await context.run(my_pid) == pid


@pytest.mark.parametrize("job", [fail_stubbornly, fail_puzzlingly])
async def test_an_error_that_cannot_be_sent_is_told_with_its_traceback_and_the_process_lives_on(job):
    name = job.__name__
    async with open_context("process") as context:
        pid = await context.run(my_pid)
        with pytest.raises(NotSendable, match=rf"(?s)what {name} raised cannot be sent back .*in {name}.*no way"):
            await context.run(job)
        assert await context.run(my_pid) == pid


async def test_an_error_that_cannot_even_be_told_costs_no_process():
    async with open_context("process") as context:
        pid = await context.run(my_pid)
        for job, args in ((fail_mutely, ()), (Trap, ()), (repr, (Trap(),))):
            with pytest.raises(NotSendable, match=r"Mute: <exception str\(\) failed>"):
                await context.run(job, *args)
        assert await context.run(my_pid) == pid


async def test_what_cannot_be_sent_is_a_type_error_and_one_of_contexts():
    assert issubclass(NotSendable, TypeError)
    assert issubclass(NotSendable, ContextError)


def local():
    def inside(number):
        return number

    return inside


class Holder:
    def __init__(self, value=None):
        self.value = value

    def method(self, number):
        return number


@pytest.mark.parametrize("kind", ["process", "interpreter"])
@pytest.mark.parametrize(
    ("job", "said"),
    [
        (lambda number: number, r"a lambda cannot be sent to an? {kind} \(.*\): write a function at the top level"),
        (local(), r"local.<locals>.inside, which is defined inside a function, cannot be sent to an? {kind}"),
        (Holder(threading.Lock()).method, r"Holder.method cannot be sent to an? {kind} \(TypeError: cannot pickle"),
    ],
)
def test_a_misfit_is_told_with_what_to_write(kind, job, said):
    assert re.match(said.format(kind=kind), misfit(ContextKind(kind), job) or "")


@pytest.mark.parametrize("kind", ["process", "interpreter"])
@pytest.mark.parametrize("job", [square, async_square, double, len, Holder().method, Holder])
def test_what_can_be_sent_is_no_misfit(kind, job):
    assert misfit(ContextKind(kind), job) is None


@pytest.mark.parametrize("kind", ["inline", "thread"])
def test_where_nothing_is_sent_there_are_no_misfits(kind):
    assert misfit(ContextKind(kind), lambda number: number) is None


# ---- nothing is left


async def test_D7_a_block_that_fails_kills_what_runs(tmp_path):
    async def call(context):
        with suppress(ContextClosed):
            await context.run(tell_and_sleep, tmp_path / "pid")

    async with trio.open_nursery() as nursery:
        with suppress(KeyError):
            async with open_context("process") as context:
                nursery.start_soon(call, context)
                pid = await told(tmp_path / "pid")
                raise KeyError
        assert not exists(pid)


async def test_a_closed_context_that_somebody_keeps_keeps_no_file_open():
    async with open_context("process") as first:  # starts what stays for the whole program
        await first.run(square, 3)
    before = files()
    async with open_context("process") as kept:
        await kept.run(square, 3)
    assert files() == before


@pytest.mark.slow
async def test_D7_a_process_may_be_cut_off_at_any_moment():
    """Also while it starts, is greeted, gets its call, answers, or ends."""
    chance = random.Random(5)
    async with open_context("process") as context:
        await context.run(square, 3)
    before = files()
    for _ in range(25):
        with trio.move_on_after(chance.uniform(0, 0.25)):
            async with open_context("process") as context:
                for _ in range(chance.randrange(1, 40)):
                    assert await context.run(square, 3) == 9
        assert workers() == []
    assert files() == before


@pytest.mark.slow
async def test_D7_calls_cut_off_at_any_moment_leave_the_context_in_order():
    chance = random.Random(6)
    async with open_context("process") as context:
        for number in range(20):
            with trio.move_on_after(chance.choice([0, chance.uniform(0, 0.002), chance.uniform(0, 0.2)])):
                await context.run(bytes, 1_000_000)
            assert await context.run(square, number) == number * number
            assert len(workers()) == 1
