"""What can be asked of a store, as frozen values, and their form on the wire: one JSON object a line. Pure."""

from __future__ import annotations

import json
from typing import Any, TypeAlias, cast, final

import attrs
from attrs import field, frozen
from attrs.validators import deep_iterable, ge, instance_of, optional

from spaceactors._options import SpaceStatus

# Raised when a request or a row changes its shape: both ends are told when they are of different versions.
PROTOCOL = 1
# The most bytes of a request: ids and an answer.
MAX_REQUEST = 1 << 20

# What is told of one thing: what JSON can carry.
Row: TypeAlias = dict[str, Any]


class AdminError(Exception):
    """What was asked of a store cannot be done; the text says why, in one sentence, and what to do instead."""


def _text() -> Any:
    return field(validator=instance_of(str))


def _maybe(*, default: str | None = None) -> Any:
    return field(default=default, validator=optional(instance_of(str)))


def _number(default: int) -> Any:
    return field(default=default, validator=[instance_of(int), ge(0)])


def _texts() -> Any:
    def as_tuple(value: Any) -> Any:
        return (*value,) if isinstance(value, list) else value

    return field(default=(), converter=as_tuple, validator=deep_iterable(instance_of(str), instance_of(tuple)))


def _flag() -> Any:
    return field(default=False, validator=instance_of(bool))


def _status(_: object, __: object, value: str | None) -> None:
    names = [status.value for status in SpaceStatus]
    if value is not None and value not in names:
        msg = f"there is no status {value!r}: there are {', '.join(names)}"
        raise ValueError(msg)


@final
@frozen
class ListSpaces:
    """The spaces of one kind, or of all, in the order of kinds and ids."""

    kind: str | None = _maybe()
    status: str | None = field(default=None, validator=[optional(instance_of(str)), _status])
    # Behind this id; for one kind.
    after: str = field(default="", validator=instance_of(str))
    limit: int = _number(100)


@final
@frozen
class ShowSpace:
    """Everything about one space; of its history the last `recent` entries."""

    kind: str = _text()
    space: str = _text()
    recent: int = _number(10)


@final
@frozen
class ListLetters:
    """Dead letters behind a number, the oldest first."""

    kind: str | None = _maybe()
    space: str | None = _maybe()
    after: int = _number(0)
    limit: int = _number(100)


@final
@frozen
class ShowLetter:
    """Everything about the dead letters of a number or a message id."""

    which: str = _text()


@final
@frozen
class ResendLetters:
    """Dead letters become messages again: those named by number or message id, or all (of a kind)."""

    which: tuple[str, ...] = _texts()
    all: bool = _flag()
    kind: str | None = _maybe()


@final
@frozen
class DiscardLetters:
    """Dead letters are forgotten: those named by number or message id, or all (of a kind)."""

    which: tuple[str, ...] = _texts()
    all: bool = _flag()
    kind: str | None = _maybe()


@final
@frozen
class ListQuestions:
    """Open questions, the oldest first."""

    kind: str | None = _maybe()
    limit: int = _number(100)


@final
@frozen
class AnswerQuestion:
    """The answer to an open question, as a text of JSON."""

    question: str = _text()
    answer: str = _text()


@final
@frozen
class CountAll:
    """How much of everything there is, kind by kind, and how the service fares, if one runs: one row."""


@final
@frozen
class Export:
    """All rows of all tables."""


@final
@frozen
class Verify:
    """What is wrong with the store, one row for each fault."""


@final
@frozen
class Vacuum:
    """Unused space goes back to the disk."""


Request: TypeAlias = (
    ListSpaces
    | ShowSpace
    | ListLetters
    | ShowLetter
    | ResendLetters
    | DiscardLetters
    | ListQuestions
    | AnswerQuestion
    | CountAll
    | Export
    | Verify
    | Vacuum
)

_CLASSES: dict[str, type[Any]] = {
    "spaces": ListSpaces,
    "show": ShowSpace,
    "letters": ListLetters,
    "letter": ShowLetter,
    "resend": ResendLetters,
    "discard": DiscardLetters,
    "questions": ListQuestions,
    "answer": AnswerQuestion,
    "count": CountAll,
    "export": Export,
    "verify": Verify,
    "vacuum": Vacuum,
}
_NAMES = {cls: name for name, cls in _CLASSES.items()}


def encode_request(request: Request) -> bytes:
    """Return a request as a line."""
    return encode_line({"protocol": PROTOCOL, "do": _NAMES[type(request)], **attrs.asdict(request)})


def decode_request(line: bytes) -> Request:
    """Return the request that a line is. Raises `AdminError`."""
    try:
        fields: Any = json.loads(line)
    except (ValueError, RecursionError):
        raise AdminError("a request is one line with a JSON object") from None
    if not isinstance(fields, dict):
        raise AdminError("a request is one line with a JSON object")
    given = cast("dict[str, Any]", fields)
    if given.pop("protocol", None) != PROTOCOL:
        raise AdminError("the command and the running service are of different versions: use the service's own")
    cls = _CLASSES.get(str(given.pop("do", None)))
    if cls is None:
        raise AdminError(f"a request says what to do: {', '.join(_CLASSES)}")
    try:
        return cast("Request", cls(**given))
    except (TypeError, ValueError) as error:
        raise AdminError(f"the request cannot be understood: {error}") from None


def encode_line(value: Row) -> bytes:
    """Return a row as a line of JSON, in ASCII: a lone surrogate in a text has no other form."""
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"
