"""What goes to a worker that shares no memory, and what comes back: bytes, and errors that say what cannot be sent.

Pure: pickling only.
"""

from __future__ import annotations

import pickle
from functools import partial
from traceback import format_exception_only
from typing import TYPE_CHECKING, Any, cast

from spaceactors.pipelines._context import ContextKind, NotSendable
from spaceactors.pipelines._context_worker import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

# The kinds that share no memory with the caller.
_APART = frozenset({ContextKind.PROCESS, ContextKind.INTERPRETER})
_ADVICE = "write a function at the top level of a module, and give it what it needs as arguments"
_IMPORTED = {
    ContextKind.PROCESS: "the modules that they come from have to be importable there, as from a file or a package",
    ContextKind.INTERPRETER: "the modules that they come from have to be importable there; if not, use a process",
}


def name_of(fn: object) -> str:
    """Return what a function is called in texts."""
    if isinstance(fn, partial):
        return name_of(fn.func)
    name = getattr(fn, "__qualname__", None)
    return name if isinstance(name, str) else f"a {type(fn).__qualname__}"


def misfit(kind: ContextKind, fn: Callable[..., Any]) -> str | None:
    """Say why a function cannot run in contexts of a kind, and what to write instead; None: it can.

    It is pickled for that, as it would be for a call. Where Python has no interpreters, nothing would be sent; the
    answer is the same, so that a program that is right here is right everywhere.
    """
    return _why_not(fn, kind) if kind in _APART else None


def _why_not(fn: Callable[..., Any], kind: ContextKind) -> str | None:
    try:
        pickle.dumps(fn, pickle.HIGHEST_PROTOCOL)
    except Exception as error:  # pickling runs methods of any class
        return f"{_described(fn)} cannot be sent to {_place(kind)} ({_said(error)}): {_ADVICE}"
    return None


def _described(fn: object) -> str:
    name = name_of(fn)
    if name.endswith("<lambda>"):
        return "a lambda"
    if "<locals>" in name:
        return f"{name}, which is defined inside a function,"
    return name


def _place(kind: ContextKind) -> str:
    return "a process" if kind is ContextKind.PROCESS else "an interpreter"


def _said(error: BaseException) -> str:
    # Not by str(), which may fail.
    return "".join(format_exception_only(error)).strip()


def pack(kind: ContextKind, fn: Callable[..., Any], args: tuple[Any, ...]) -> bytes:
    """Return a call as bytes.

    Raises:
        NotSendable: the function or an argument cannot be sent.

    """
    try:
        return pickle.dumps((fn, args), pickle.HIGHEST_PROTOCOL)
    except Exception as error:  # pickling runs methods of any class
        raise NotSendable(_why_no_call(kind, fn, args) or _said(error)) from error


def _why_no_call(kind: ContextKind, fn: Callable[..., Any], args: tuple[Any, ...]) -> str | None:
    wrong = _why_not(fn, kind)
    if wrong is not None:
        return wrong
    for number, value in enumerate(args, 1):
        try:
            pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
        except Exception as error:  # pickling runs methods of any class
            what = f"argument {number} of {name_of(fn)}, a {type(value).__qualname__}, cannot be sent to {_place(kind)}"
            return f"{what} ({_said(error)}): pass plain data, and open files and connections in the function"
    return None


def unpack(kind: ContextKind, fn: Callable[..., Any], answer: bytes) -> Any:
    """Return or raise what a worker answered.

    Raises:
        NotSendable: the call was not understood there, or the result cannot be sent back.
        BaseException: what the function raised.

    """
    outcome, payload = cast("tuple[str, bytes]", pickle.loads(answer))  # noqa: S301 - written by our own worker
    name, place = name_of(fn), _place(kind)
    match Outcome(outcome):
        case Outcome.RETURNED:
            return _loaded(payload, f"the result of {name}")
        case Outcome.RAISED:
            error = cast("BaseException", _loaded(payload, f"what {name} raised"))
            try:
                raise error
            finally:
                del error
        case Outcome.NOT_UNDERSTOOD:
            msg = f"{name} or an argument cannot be made again in {place} ({payload.decode()}): {_IMPORTED[kind]}"
            raise NotSendable(msg)
        case Outcome.NO_RESULT:
            msg = f"the result of {name} cannot be sent back from {place} ({payload.decode()}): return plain data"
            raise NotSendable(msg)
        case Outcome.NO_ERROR:
            msg = f"what {name} raised cannot be sent back from {place}; there it was:\n{payload.decode()}"
            raise NotSendable(msg)


def _loaded(payload: bytes, what: str) -> Any:
    try:
        return pickle.loads(payload)  # noqa: S301 - written by our own worker
    except Exception as error:  # unpickling runs code of any class
        msg = f"{what} was sent back and cannot be read ({_said(error)}): return plain data"
        raise NotSendable(msg) from error
