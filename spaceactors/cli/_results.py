"""From what became of a call to its line of output. Pure."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any, cast

import attrs

from spaceactors import (
    ActorCrashed,
    BadCall,
    MessageDiscarded,
    MessageExpired,
    MessageReturned,
    NotHandled,
    Outcome,
    Rejected,
    SpaceError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

HANDLED = Outcome.HANDLED.name.lower()
INVALID = "invalid"  # the line was no call, or the runtime said that it cannot be one
RETURNED = Outcome.RETURNED.name.lower()
REFUSED = "refused"  # the call was fine, but its space did not accept it
OUTCOME_OF: dict[type[NotHandled], Outcome] = {
    Rejected: Outcome.REJECTED,
    ActorCrashed: Outcome.FAILED,
    MessageExpired: Outcome.EXPIRED,
    MessageDiscarded: Outcome.DISCARDED,
    MessageReturned: Outcome.RETURNED,
}
OUTCOMES = (*(outcome.name.lower() for outcome in Outcome), REFUSED, INVALID)


@attrs.frozen
class Result:
    """What became of one line. `seconds` is from handing it over to the answer."""

    outcome: str
    space: str | None = None
    position: int | None = None  # among the messages of its space, from 0
    reply: Any = None
    error: Any = None
    seconds: float | None = None
    line: int | None = None  # told for invalid lines only: the others are found by space and position


def outcome_of(error: SpaceError) -> str:
    """The word for what the asker was told instead of a reply."""
    match error:
        case NotHandled():
            return OUTCOME_OF[type(error)].name.lower()
        case BadCall():
            return INVALID
        case _:
            return REFUSED


def reason_of(error: SpaceError) -> Any:
    """What to tell about it: the reason given by the handler, the exception that crashed it, or the refusal."""
    match error:
        case Rejected(reason=Exception() as reason):
            return told(reason)
        case Rejected():
            return error.reason
        case ActorCrashed(__cause__=Exception() as cause):
            return told(cause)
        case BadCall():
            return str(error)
        case _:
            return told(error)


def encode(result: Result) -> bytes:
    """One line of output."""
    row: dict[str, Any] = {"space": result.space, "position": result.position, "outcome": result.outcome}
    if result.line is not None:
        row["line"] = result.line
    return _line(row | _end(result))


def encode_alone(result: Result) -> bytes:
    """The same of a call that is no line of many."""
    return _line({"space": result.space, "outcome": result.outcome} | _end(result))


def _end(result: Result) -> dict[str, Any]:
    told = {"reply": result.reply} if result.outcome == HANDLED else {"error": result.error}
    return told | {"milliseconds": None if result.seconds is None else round(result.seconds * 1000, 3)}


def _line(row: dict[str, Any]) -> bytes:
    # A lone surrogate cannot be written as UTF-8, but its backslash form is the very escape that JSON has for it.
    return (_json(row) + "\n").encode("utf-8", "backslashreplace")


def as_text(value: Any) -> str:
    """A reply as a person reads it: a text as it is, anything else as JSON."""
    if isinstance(value, str):
        return value
    try:
        return _dumps(value)
    except Exception:
        return _text(value)


def told(error: BaseException) -> str:
    """An exception in one line."""
    name, text = type(error).__name__, _text(error)
    return f"{name}: {text}" if text else name


def _text(value: object) -> str:
    try:
        return str(value)
    except Exception:  # even that is the user's code
        return f"<{type(value).__name__}>"


def _json(row: dict[str, Any]) -> str:
    try:
        return _dumps(row)
    except Exception:  # keys that are no texts, not a number, a ring, a class that does not let itself be read
        return _dumps(
            {key: value if isinstance(value, str | int | None) else _text(value) for key, value in row.items()}
        )


def _dumps(row: object) -> str:
    return json.dumps(row, ensure_ascii=False, allow_nan=False, default=_plain)


def _plain(value: object) -> object:
    """What JSON can take in the place of `value`; called for values that it cannot."""
    kind = type(value)
    if attrs.has(kind):
        return {field.name: getattr(value, field.name) for field in attrs.fields(kind)}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, set | frozenset):
        return list(cast("Iterable[Any]", value))
    return _text(value)
