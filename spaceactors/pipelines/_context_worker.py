"""What runs in a worker that shares no memory with the caller: bytes in, bytes out, and no error of its own.

Interpreters load it as a module of its own, without the packages around it, which would take them most of their start:
so it imports nothing of ours, and answers in plain values.
"""

from __future__ import annotations

import pickle
import sys
import traceback
from contextlib import suppress
from enum import Enum
from importlib import import_module
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, final

if TYPE_CHECKING:
    from collections.abc import Awaitable


@final
class Outcome(Enum):
    """How a call went in the worker; the bytes beside it are the value, the error, or a text."""

    RETURNED = "returned"
    RAISED = "raised"
    NOT_UNDERSTOOD = "not understood"
    NO_RESULT = "no result"
    NO_ERROR = "no error"


def work(call: bytes) -> bytes:
    """Make a call and return how it went; whatever it raises is part of the answer."""
    outcome, payload = _answer(call)
    return pickle.dumps((outcome.value, payload), pickle.HIGHEST_PROTOCOL)


def work_with_main(call: bytes, prepared: dict[str, Any]) -> bytes:
    """Make a call that needs the caller's main module, where that was not loaded."""
    main = sys.modules["__main__"]
    try:
        _load_main(prepared)
        return work(call)
    finally:
        # The interpreter keeps names of its own there.
        sys.modules["__main__"] = main


def _load_main(prepared: dict[str, Any]) -> None:
    from multiprocessing.spawn import prepare

    # Until a program was loaded, multiprocessing has the interpreter's own main module under this name.
    loaded = sys.modules["__mp_main__"]
    if loaded is sys.modules["__main__"]:
        prepare(prepared)
    else:
        sys.modules["__main__"] = loaded


def _answer(call: bytes) -> tuple[Outcome, bytes]:
    try:
        fn, args = pickle.loads(call)  # noqa: S301 - written by our own caller
    except BaseException as error:  # importing the function's module runs any code
        return Outcome.NOT_UNDERSTOOD, _said(error)
    try:
        result = fn(*args)
        if isawaitable(result):
            result = _awaited(result)
    except BaseException as error:  # SystemExit too: it is the caller's to exit
        return _raised(error)
    try:
        return Outcome.RETURNED, pickle.dumps(result, pickle.HIGHEST_PROTOCOL)
    except BaseException as error:  # pickling runs methods of any class
        return Outcome.NO_RESULT, _said(error)


def _awaited(result: Awaitable[Any]) -> Any:
    import trio

    return trio.run(_await, result)


async def _await(result: Awaitable[Any]) -> Any:
    return await result


def _raised(error: BaseException) -> tuple[Outcome, bytes]:
    error.__traceback__ = _below_us(error)
    try:
        payload = _dumped(error)
        pickle.loads(payload)  # noqa: S301 - made here; some errors cannot be made again from their arguments
    except BaseException:  # pickling runs methods of any class
        return Outcome.NO_ERROR, "".join(traceback.format_exception(error)).encode(errors="replace")
    return Outcome.RAISED, payload


def _below_us(error: BaseException) -> Any:
    """Return the traceback without our own first frame."""
    return error.__traceback__ and error.__traceback__.tb_next


def _dumped(error: BaseException) -> bytes:
    try:
        install = import_module("tblib.pickling_support").install
    except ImportError:
        # Without it a traceback stays here, so it goes as text.
        with suppress(Exception):
            error.add_note("".join(traceback.format_exception(error)))
    else:
        install(error)
    return pickle.dumps(error, pickle.HIGHEST_PROTOCOL)


def _said(error: BaseException) -> bytes:
    # Not by str(), which may fail.
    return "".join(traceback.format_exception_only(error)).strip().encode(errors="replace")
