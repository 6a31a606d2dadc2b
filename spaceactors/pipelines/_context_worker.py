"""What runs in a worker that shares no memory with the caller: bytes in, bytes out, and no error of its own.

It imports as little as it can: a new worker pays for it.
"""

from __future__ import annotations

import pickle
import sys
import traceback
from contextlib import suppress
from enum import Enum
from importlib import import_module
from inspect import isawaitable
from multiprocessing.spawn import prepare
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


Answer = tuple[Outcome, bytes]


def work(call: bytes) -> bytes:
    """Make a call and return how it went; whatever it raises is part of the answer."""
    return pickle.dumps(_answer(call), pickle.HIGHEST_PROTOCOL)


def work_prepared(call: bytes, prepared: dict[str, Any]) -> bytes:
    """Make a call where the caller's program was not loaded: functions of its main module are found, too."""
    main = sys.modules["__main__"]
    try:
        _load_main(prepared)
        return work(call)
    finally:
        # The interpreter itself keeps its own names there.
        sys.modules["__main__"] = main


def _load_main(prepared: dict[str, Any]) -> None:
    loaded = sys.modules.get("__mp_main__")
    if loaded is None:
        prepare(prepared)
    else:
        sys.modules["__main__"] = loaded


def _answer(call: bytes) -> Answer:
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


def _raised(error: BaseException) -> Answer:
    error.__traceback__ = _below_us(error)
    try:
        payload = _dumped(error)
        pickle.loads(payload)  # noqa: S301 - made here; some errors cannot be made again from their arguments
    except BaseException:  # pickling runs methods of any class
        return Outcome.NO_ERROR, "".join(traceback.format_exception(error)).encode()
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
    return f"{type(error).__name__}: {error}".encode(errors="replace")
