"""Interpreters: real ones where Python has them; elsewhere a thread, with one warning, and the protocol on its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import textwrap
import threading
from pathlib import Path

import pytest
import trio

from spaceactors.pipelines import _context_interpreter
from spaceactors.pipelines._context import ContextKind, ContextUnavailable, NotSendable
from spaceactors.pipelines._context_interpreter import InterpreterContext, find_interpreters
from spaceactors.pipelines._context_open import open_context
from spaceactors.pipelines._context_pool import open_context_pool
from tests.pipelines.context_jobs import Odd, async_square, colour, fail_oddly, my_colour, my_pid, square

ROOT = Path(__file__).parents[2]
there = not isinstance(find_interpreters(), str)
real = pytest.mark.skipif(not there, reason="this Python has no interpreters, or anyio is missing")
without = pytest.mark.skipif(there, reason="this Python has interpreters")


@pytest.fixture
def unwarned():
    """As in a new program."""
    _context_interpreter._warn.cache_clear()
    yield
    _context_interpreter._warn.cache_clear()


class SameProcess:
    """An interpreter that is none: makes the calls here."""

    def __init__(self, error=None):
        self.error = error
        self.closed = 0

    async def call(self, fn, /, *args):
        if self.error:
            raise self.error
        return await trio.to_thread.run_sync(fn, *args)

    async def close(self):
        self.closed += 1


# ---- where there is none


@without
async def test_D1_without_interpreters_a_thread_is_used_with_one_warning(unwarned):
    with pytest.warns(RuntimeWarning, match=r"run in plain threads, under one lock: .*3\.13") as warned:
        await use_interpreters()
    assert len(warned) == 1


async def use_interpreters():
    for _ in range(3):
        async with open_context("interpreter") as context:
            assert context.kind is ContextKind.THREAD
            assert await context.run(threading.get_ident) != threading.get_ident()
    async with open_context_pool() as contexts:
        await contexts.run("interpreter", square, 3)
        found = contexts.statistics()["interpreter"]
        assert (found.kind, contexts.kind_of("interpreter")) == (ContextKind.THREAD, ContextKind.INTERPRETER)


def test_before_python_3_14_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "concurrent.interpreters", None)
    monkeypatch.setitem(sys.modules, "anyio.to_interpreter", None)
    monkeypatch.setattr(_context_interpreter, "find_spec", lambda name: name)
    assert find_interpreters() == "before Python 3.14 they need anyio: pip install 'spaceactors[interpreter]'"


# ---- the protocol, on any Python


async def test_a_call_goes_there_and_back_as_bytes():
    context = InterpreterContext("fake", SameProcess())
    assert context.kind is ContextKind.INTERPRETER
    assert await context.run(square, 3) == 9
    assert await context.run(async_square, 3) == 9


async def test_errors_come_back_from_there():
    with pytest.raises(Odd, match="1 and 2"):
        await InterpreterContext("fake", SameProcess()).run(fail_oddly)


async def test_without_tblib_the_traceback_comes_as_a_note(monkeypatch):
    monkeypatch.setitem(sys.modules, "tblib.pickling_support", None)
    with pytest.raises(ZeroDivisionError) as caught:
        await InterpreterContext("fake", SameProcess()).run(divmod, 1, 0)
    assert caught.value.__notes__ == ["ZeroDivisionError: integer division or modulo by zero\n"]


async def test_what_cannot_be_sent_there_is_told():
    with pytest.raises(NotSendable, match="a lambda cannot be sent to an interpreter"):
        await InterpreterContext("fake", SameProcess()).run(lambda: 1)


async def test_an_interpreter_that_cannot_be_used_is_unavailable():
    context = InterpreterContext("fake", SameProcess(ImportError("no")))
    with pytest.raises(ContextUnavailable, match=r"of the context 'fake' cannot be used \(no\): use a process context"):
        await context.run(square, 3)


async def test_an_interpreter_is_given_back_once():
    interpreter = SameProcess()
    context = InterpreterContext("fake", interpreter)
    await context.run(square, 3)
    await context.join()
    await context.close()
    assert interpreter.closed == 1


# ---- real ones


@real
async def test_D1_an_interpreter_shares_the_process_and_nothing_else():
    token = colour.set("green")
    async with open_context("interpreter") as context:
        assert context.kind is ContextKind.INTERPRETER
        assert await context.run(my_pid) == os.getpid()
        assert await context.run(my_colour) == "none"
    colour.reset(token)


@real
async def test_an_interpreter_loads_of_this_library_only_what_the_function_needs():
    program = """
        import trio
        from spaceactors.pipelines._context_open import open_context

        async def main():
            async with open_context("interpreter") as context:
                import names
                print(await context.run(names.loaded))

        if __name__ == "__main__":
            trio.run(main)
    """
    names = """
        import sys

        def loaded():
            return [name for name in sys.modules if name.startswith(("spaceactors", "trio"))]
    """
    assert ran(program, names=names) == "[]\n"


@real
async def test_functions_of_the_program_itself_are_found_there():
    program = """
        import trio
        from spaceactors.pipelines._context_open import open_context

        def square(number):
            return number * number

        async def main():
            async with open_context("interpreter") as context:
                print(await context.run(square, 3), await context.run(square, 4))

        if __name__ == "__main__":
            trio.run(main)
        else:
            print("loaded", flush=True)
    """
    assert sorted(ran(program).split()) == ["16", "9", "loaded"]


def ran(program, **modules):
    with tempfile.TemporaryDirectory() as folder:
        for name, text in {"program": program, **modules}.items():
            Path(folder, f"{name}.py").write_text(textwrap.dedent(text), encoding="utf-8")
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        command = [sys.executable, str(Path(folder, "program.py"))]
        return subprocess.run(
            command, env=environment, check=True, stdout=subprocess.PIPE, text=True, timeout=60
        ).stdout
