"""From bytes to calls. Pure: no clock, no file, no Trio; what cannot be a call becomes an `Invalid` that says why."""

from __future__ import annotations

import inspect
import json
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any, cast

from attrs import Factory, define, evolve, field, frozen

from spaceactors import Priority

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from spaceactors import HandlerInfo

MAX_LINE_BYTES = 1 << 20  # a line is held in memory as a whole, so it must have an end
EXAMPLE = '{"space": "alice", "call": "say", "args": ["hello"]}'
OPTIONAL: dict[str, tuple[Any, str]] = {  # what may be left out: its type, and how to say that
    "args": (list, "a list"),
    "kwargs": (dict, "an object"),
    "group": (str, "a text"),
    "id": (str, "a text"),
    "priority": ((str, int), "a name or a number"),
}


@frozen
class Call:
    """One line that can be sent: which space, which handler, with what."""

    line: int
    space: str
    name: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = Factory(dict[str, Any])
    group: str | None = None
    message_id: str | None = None
    priority: Priority | None = None


@frozen
class Invalid:
    """One line that cannot be sent, and why; `space` if it could be read."""

    line: int
    reason: str
    space: str | None = None


class Unfit(Exception):
    """What is wrong with a line."""


@define
class LineCutter:
    """Cuts chunks of bytes, however they fall, into numbered lines. A line that is too long comes as `None`."""

    number: int = 0  # of the last line given out
    rest: bytearray = field(factory=bytearray)  # the beginning of a line whose end is still to come
    skipping: bool = False  # this line is too long: what comes before its end is thrown away

    def feed(self, chunk: bytes) -> Iterator[tuple[int, bytes | None]]:
        """The lines that this chunk completes."""
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            yield self._complete(end)
        self._keep(rest)

    def finish(self) -> Iterator[tuple[int, bytes | None]]:
        """The last line, if it has no line end."""
        if self.rest or self.skipping:
            yield self._complete(b"")

    def _keep(self, part: bytes) -> None:
        if len(self.rest) + len(part) > MAX_LINE_BYTES:
            self.skipping = True
            self.rest.clear()
        elif not self.skipping:
            self.rest += part

    def _complete(self, end: bytes) -> tuple[int, bytes | None]:
        self._keep(end)
        line = None if self.skipping else bytes(self.rest)
        self.number, self.skipping = self.number + 1, False
        self.rest.clear()
        return self.number, line


def parse_line(number: int, line: bytes | None, handlers: Mapping[str, HandlerInfo]) -> Call | Invalid:
    """What a line says. `handlers` are those of the actor: calls and arguments are checked against them."""
    fields: dict[str, Any] = {}
    try:
        fields = _fields_of(line)
        return call_of(number, fields, handlers)
    except Unfit as problem:
        space = fields.get("space")
        return Invalid(number, str(problem), space if isinstance(space, str) else None)


def identified(line: Call | Invalid, text: bytes, name: str, handlers: Mapping[str, HandlerInfo]) -> Call | Invalid:
    """A line with an id, if it has none and can have one: the same only for the same text at the same place.

    `name` is that of the input.
    """
    if isinstance(line, Invalid) or line.message_id is not None or handlers[line.name].streams:
        return line
    return evolve(line, message_id=f"{name}:{line.line}:{sha256(text).hexdigest()[:12]}")


def _fields_of(line: bytes | None) -> dict[str, Any]:
    if line is None:
        raise Unfit(f"the line is longer than {MAX_LINE_BYTES} bytes")
    if not line.strip():
        raise Unfit("the line is empty")
    try:
        fields: Any = json.loads(line)
    except RecursionError:
        raise Unfit("no JSON that can be read: nested too deeply") from None
    except ValueError as error:
        raise Unfit(f"no JSON: {error}") from None
    if not isinstance(fields, dict):
        raise Unfit(f"a line is a JSON object such as {EXAMPLE}")
    return cast("dict[str, Any]", fields)


def call_of(number: int, fields: dict[str, Any], handlers: Mapping[str, HandlerInfo]) -> Call:
    """The call that these fields make. Raises `Unfit`."""
    space, name = _required(fields, "space"), _required(fields, "call")
    given = {key: _optional(fields, key) for key in OPTIONAL}
    call = Call(
        number,
        space,
        name,
        tuple(given["args"] or ()),
        given["kwargs"] or {},
        given["group"],
        given["id"],
        _priority(given["priority"]),
    )
    _check_against(call, handlers)
    return call


def _required(fields: dict[str, Any], key: str) -> str:
    if key not in fields:
        raise Unfit(f"the field {key!r} is missing: a line looks like {EXAMPLE}")
    value = fields[key]
    if not isinstance(value, str) or not value:
        raise Unfit(f"the field {key!r} must be a text that is not empty, not {_shown(value)}")
    return value


def _optional(fields: dict[str, Any], key: str) -> Any:
    kind, wanted = OPTIONAL[key]
    value = fields.get(key)
    if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
        raise Unfit(f"the field {key!r} must be {wanted}, not {_shown(value)}")
    if key == "id" and not value and value is not None:
        raise Unfit("the field 'id' must be a text that is not empty: leave it out for a new message")
    return value


def _priority(value: str | int | None) -> Priority | None:
    for priority in Priority:
        if value is not None and value in {priority.value, priority.name.lower(), priority.name}:
            return priority
    if value is None:
        return None
    names = ", ".join(priority.name.lower() for priority in Priority)
    raise Unfit(f"there is no priority {_shown(value)}: there are {names}, or 0 to {max(Priority).value}")


def _check_against(call: Call, handlers: Mapping[str, HandlerInfo]) -> None:
    handler = handlers.get(call.name)
    if handler is None:
        raise Unfit(f"there is no handler {call.name!r}: there are {', '.join(sorted(handlers)) or 'none'}")
    if handler.streams and call.message_id is not None:
        raise Unfit(f"the handler {call.name!r} streams: such a call takes no 'id'")
    try:
        signature_of(handler.function).bind(None, *call.args, **call.kwargs)
    except TypeError as error:
        raise Unfit(f"the arguments do not fit {call.name!r}: {error}") from None


@cache  # reading it costs more than all the rest of a line
def signature_of(function: Callable[..., Any]) -> inspect.Signature:
    """The signature of a handler's function, the actor first."""
    return inspect.signature(function)


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."  # noqa: PLR2004 (about half a line)
