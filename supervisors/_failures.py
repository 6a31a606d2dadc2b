"""Which errors of a call say that the service behind it is in trouble.

Pure: no Trio, no clock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias, cast

from supervisors._capacity import CapacityError

Counts: TypeAlias = type[Exception] | tuple[type[Exception], ...] | Callable[[Exception], bool]


def told(error: BaseException) -> str:
    """Return an error as one line of text."""
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def failure_test(what: str, counts: Counts) -> Callable[[BaseException], bool]:
    """Return the function that says whether what ended a block was a failure of the service."""
    classes = cast("tuple[object, ...]", counts if isinstance(counts, tuple) else (counts,))
    if classes and all(isinstance(kind, type) and issubclass(kind, Exception) for kind in classes):
        named = cast("tuple[type[Exception], ...]", classes)
        return lambda error: any(_is_named(leaf, named) for leaf in leaves_of(error))
    if not isinstance(counts, type | tuple) and callable(counts):
        return lambda error: any(counts(leaf) for leaf in leaves_of(error))
    msg = f"{what} must be an exception class, several in a tuple, or a function of an exception, not {counts!r}"
    raise TypeError(msg)


def leaves_of(error: BaseException) -> list[Exception]:
    """Return the errors in a group, however deep, or the error itself; what is no `Exception` is left out."""
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return [leaf for part in group.exceptions for leaf in leaves_of(part)]
    return [error] if isinstance(error, Exception) else []


def _is_named(error: Exception, classes: tuple[type[Exception], ...]) -> bool:
    # Being kept waiting by limits of our own says nothing about the service, unless the user says it does.
    narrow = tuple(kind for kind in classes if issubclass(kind, CapacityError))
    return isinstance(error, narrow if isinstance(error, CapacityError) else classes)
