"""The interpreter context: a thread with an interpreter of its own, where Python has them; else a plain thread."""

from __future__ import annotations

import warnings
from functools import cache, partial
from importlib import import_module
from importlib.util import find_spec
from multiprocessing.spawn import get_preparation_data
from typing import TYPE_CHECKING, Any, Protocol, final

import trio

from spaceactors.pipelines import _context_worker
from spaceactors.pipelines._context import ContextKind, ContextUnavailable
from spaceactors.pipelines._context_base import WorkerContext
from spaceactors.pipelines._context_send import pack, unpack
from spaceactors.pipelines._context_thread import ThreadContext

if TYPE_CHECKING:
    from collections.abc import Callable

# How an interpreter finds the caller's program.
_PROGRAM = ("sys_path", "sys_argv", "init_main_from_name", "init_main_from_path")
# A new interpreter finds little but the standard library, so that the way to our own code comes as text.
_BEGIN = """
import sys
sys.path[:] = prepared["sys_path"]
worker = sys.modules.get(name)
if worker is None:
    from importlib.util import module_from_spec, spec_from_file_location
    found = spec_from_file_location(name, file)
    sys.modules[name] = worker = module_from_spec(found)
    found.loader.exec_module(worker)
answer = worker.work_with_main(call, prepared) if main else worker.work(call)
"""
_CALL = "(exec(begin, here), here['answer'])[1]"


class Interpreter(Protocol):
    """An interpreter, or the way to one."""

    async def call(self, fn: Callable[..., Any], /, *args: Any) -> Any:
        """Call a function of the standard library there, in a thread, and wait for it whatever is cancelled."""
        ...

    async def close(self) -> None:
        """Give it back."""
        ...


@final
class _Own:
    """An interpreter of `concurrent.interpreters`."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self._interpreter: Any = None
        # Trio's own limiter bounds the threads of the whole program; ours are bounded by the pool.
        self._limiter = trio.CapacityLimiter(1)

    async def call(self, fn: Callable[..., Any], /, *args: Any) -> Any:
        return await trio.to_thread.run_sync(self._call, fn, args, limiter=self._limiter)

    def _call(self, fn: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        if self._interpreter is None:
            self._interpreter = self._library.create()
        return self._interpreter.call(fn, *args)

    async def close(self) -> None:
        if self._interpreter is not None:
            await trio.to_thread.run_sync(self._interpreter.close, limiter=self._limiter)


@final
class _Lent:
    """One of anyio's interpreters: those that nobody uses stay for the next ones, until the program ends."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self._limiter = import_module("anyio").CapacityLimiter(1)

    async def call(self, fn: Callable[..., Any], /, *args: Any) -> Any:
        return await self._library.run_sync(fn, *args, limiter=self._limiter)

    async def close(self) -> None:
        """Leave it to anyio."""


def find_interpreters() -> Callable[[], Interpreter] | str:
    """Return what makes interpreters, or what is missing for them."""
    try:
        return partial(_Own, import_module("concurrent.interpreters"))
    except ImportError:
        pass
    if find_spec("_interpreters") is None:
        return "this Python has none: they came with Python 3.13"
    try:
        return partial(_Lent, import_module("anyio.to_interpreter"))
    except ImportError:
        return "before Python 3.14 they need anyio: pip install 'spaceactors[interpreter]'"


def interpreter_context(name: str) -> WorkerContext:
    """Make an interpreter context, or a thread context with one warning for the whole program."""
    found = find_interpreters()
    if isinstance(found, str):
        _warn(found)
        return ThreadContext(name)
    return InterpreterContext(name, found())


@cache
def _warn(missing: str) -> None:
    warnings.warn(f"interpreter contexts run in plain threads, under one lock: {missing}", RuntimeWarning, stacklevel=2)


@final
class InterpreterContext(WorkerContext):
    """Runs functions in an interpreter that shares nothing with others but the process."""

    def __init__(self, name: str, interpreter: Interpreter) -> None:
        super().__init__(ContextKind.INTERPRETER, name)
        self._interpreter = interpreter
        self._stopped = False

    async def _call(self, fn: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        given = _given(pack(self._kind, fn, args))
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            answer = await self._interpreter.call(eval, _CALL, given)
        except Exception as error:  # what the function raised is inside of the answer
            msg = f"the interpreter of the context {self._name!r} cannot be used ({error}): use a process context"
            raise ContextUnavailable(msg) from error
        return unpack(self._kind, fn, answer)

    async def _stop(self) -> None:
        if not self._stopped:
            self._stopped = True
            await self._interpreter.close()


def _given(call: bytes) -> dict[str, Any]:
    """Return what the text needs to make a call."""
    found = get_preparation_data("an interpreter")
    here: dict[str, Any] = {
        "name": "_spaceactors_worker",
        "file": _context_worker.__file__,
        "call": call,
        # Loading the program takes time, so it is done only for a call that needs it.
        "main": b"__main__" in call,
        "prepared": {key: found[key] for key in _PROGRAM if key in found},
    }
    return {"begin": _BEGIN, "here": here}
