"""What comes out of a request or a stream that has failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from spaceactors.pipelines._call import note_once
from supervisors import RestartLimitExceeded
from supervisors._block import is_fatal, without_cancellation

if TYPE_CHECKING:
    from typing import NoReturn


def foremost(first: BaseException | None, error: BaseException) -> BaseException:
    """Return which of two errors comes out: the first, with a note of the other, unless that concerns the program."""
    if first is None:
        return error
    if is_fatal(error) and not is_fatal(first):
        return without_cancellation(error) or error
    note_once(first, f"something else failed too: {type(error).__name__}: {error}")
    return first


def with_failure(error: BaseException | None, failure: Exception) -> BaseException:
    """Return what comes out of a stream that has failed, and whose supervisor raised something, or nothing.

    The failure instead of the supervisor's word for it; together with the body's own error, if there is one.
    """
    if isinstance(error, RestartLimitExceeded) or without_cancellation(error) is None:
        return failure
    assert error is not None  # noqa: S101
    if is_fatal(error):
        return error
    others: list[Any] = [error]
    if isinstance(error, ExceptionGroup):
        group = cast("ExceptionGroup[Exception]", error)
        parts = [one for one in group.exceptions if not isinstance(one, RestartLimitExceeded)]
        others = parts if len(parts) < len(group.exceptions) else others
    return BaseExceptionGroup("a stream failed, and so did the block that opened it", [failure, *others])


def raise_as_it_is(error: BaseException) -> NoReturn:
    """Raise an error without a word of what happened since, such as the cancellation that it brought about."""
    context = error.__context__
    try:
        raise error
    finally:
        error.__context__ = context
        del error, context
