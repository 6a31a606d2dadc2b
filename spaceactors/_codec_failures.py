"""Errors as records: what a dead letter or a recorded reply keeps of an exception, whatever that is made of."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any, cast

from spaceactors._codec_errors import StoredError
from spaceactors._errors import SpaceError

if TYPE_CHECKING:
    from collections.abc import Iterator

# Enough to find the place, little enough to keep ten thousand of them.
MOST_TRACEBACK = 20_000
MOST_TEXT = 2_000
MOST_CAUSES = 10
TRACEBACK = "stored_traceback"


def parts_of_error(error: BaseException) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments and attributes of which an exception is made again; its causes and traceback are not."""
    base = _built_in(type(error))
    _, args, *rest = cast("tuple[Any, ...]", base.__reduce__(error))
    state = dict(rest[0] or {}) if rest else {}
    for cls in type(error).__mro__:
        names = [one.name for one in vars(cls).get("__attrs_attrs__", ())]
        state |= {name: getattr(error, name) for name in names if hasattr(error, name)}
    state.pop(TRACEBACK, None)
    if isinstance(error, SpaceError):
        state["_message"] = None  # who gets it has, or is, the message
    return args, state


def made_error(cls: type[Any], args: tuple[Any, ...], state: dict[str, Any]) -> BaseException:
    """Make an exception again without its own constructor, which may want other arguments than it gave its base."""
    base = _built_in(cls)
    error: BaseException = base.__new__(cls, *args)
    base.__init__(error, *args)
    for name, value in state.items():
        object.__setattr__(error, name, value)
    return error


def _built_in(cls: type[Any]) -> type[BaseException]:
    return next(base for base in cls.__mro__ if base.__module__ == "builtins")


def name_of_error(error: BaseException) -> str:
    """Return what the class of an error is called in messages."""
    cls = type(error)
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


def text_of(error: BaseException) -> str:
    """Return what an error says, in so many characters, whatever its `__str__` does."""
    if isinstance(error, StoredError):
        return error.text
    try:
        return str(error)[:MOST_TEXT]
    except Exception as other:
        return f"(its text cannot be shown: {type(other).__name__})"


def traceback_of(error: BaseException) -> str:
    """Return where an error was raised: the last part of it if it is long."""
    stored = getattr(error, TRACEBACK, "")
    if error.__traceback__ is None and isinstance(stored, str) and stored:
        return stored
    try:
        text = "".join(traceback.format_exception(error, limit=-100))
    except Exception as other:
        return f"(its traceback cannot be shown: {type(other).__name__})"
    return text if len(text) <= MOST_TRACEBACK else f"…{text[1 - MOST_TRACEBACK :]}"


def causes_of(error: BaseException) -> Iterator[BaseException]:
    """Yield what an error was raised from, the nearest first."""
    seen = {id(error)}
    for _ in range(MOST_CAUSES):
        before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if before is None or id(before) in seen:
            return
        seen.add(id(before))
        yield before
        error = before


def with_story(error: BaseException, where: str, causes: list[list[str]]) -> BaseException:
    """Give an error that was made again its traceback's text and its causes."""
    object.__setattr__(error, TRACEBACK, where)
    effect = error
    for name, text in causes:
        cause = StoredError(name, text)
        effect.__cause__, effect = cause, cause
    return error
