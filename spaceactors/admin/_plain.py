"""From stored bytes to what JSON can carry, without the classes whose values they are. Pure.

A program that looks after a store need not be able to import the actors: values of classes are told as their fields
with the name of the class, under keys that begin with `$`.
"""

from __future__ import annotations

import math
from base64 import b64encode
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from spaceactors import _codec_tags as tags
from spaceactors._codec_fields import UNSET, bare, split_shape
from spaceactors._codec_plain import dump, load

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Unreadable(Exception):
    """Bytes that are not what a store writes."""


def plain_value(data: bytes) -> Any:
    """Return a stored value. Raises `Unreadable`."""
    return _guarded(_told, _loaded(data))


def plain_state(data: bytes) -> Any:
    """Return a stored state; one of an older version of its class says which. Raises `Unreadable`."""
    match _loaded(data):
        case [tags.STATE, _, state]:
            return _guarded(_told, state)
        case _:
            raise Unreadable("these bytes are no state")


def plain_call(data: bytes) -> dict[str, Any]:
    """Return a stored call as fields. Raises `Unreadable`."""
    match _loaded(data):
        case [tags.CALL, call, version, args, kwargs, extra]:
            given = _guarded(_options, _guarded(_told, extra))
            named: Any = _guarded(_told, kwargs) or {}
            return {"call": call, "args": _guarded(_told, args), "kwargs": named, "state_version": version, **given}
        case _:
            raise Unreadable("these bytes are no call")


def _options(extra: Any) -> dict[str, Any]:
    """Return what a call was sent with: its id, and more if it has more."""
    if not extra:
        return {}
    if len(extra) == 1:
        return {"id": extra[0]}
    message_id, priority, correlation_id, headers, sender = extra
    told = {"id": message_id, "priority": priority, "correlation_id": correlation_id, "headers": headers}
    return {**told, "sender": "/".join(sender) if sender else None}


def plain_error(data: bytes) -> dict[str, Any]:
    """Return a stored error as fields. Raises `Unreadable`."""
    match _loaded(data):
        case [tags.FAILURE, _, str(name), text, traceback, causes]:
            return {"type": name, "text": text, "traceback": traceback, "causes": _guarded(_told, causes)}
        case _:
            raise Unreadable("these bytes are no error")


def pack_value(value: Any) -> bytes:
    """Return the bytes of a value of Python's own classes, as a store writes it."""
    return dump(_packed(value))


def _packed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _packed(one) for key, one in cast("dict[str, Any]", value).items()}
    if isinstance(value, list | tuple):
        tag = tags.LIST if isinstance(value, list) else tags.TUPLE
        return (tag, *map(_packed, cast("Sequence[Any]", value)))
    return value


def _loaded(data: bytes) -> Any:
    return _guarded(load, data)


def _guarded(call: Callable[[Any], Any], value: Any) -> Any:
    try:
        return call(value)
    except Unreadable:
        raise
    except Exception as error:  # what damaged bytes cause, a RecursionError among them
        raise Unreadable(f"{type(error).__name__}: {error}") from None


# ---- value by value


def _told(plain: Any) -> Any:
    if isinstance(plain, float):
        return plain if math.isfinite(plain) else {"$float": str(plain)}
    if isinstance(plain, bytes):
        return {"$bytes": b64encode(plain).decode()}
    if isinstance(plain, dict):
        return {str(key): _told(value) for key, value in cast("dict[object, Any]", plain).items()}
    if isinstance(plain, list):
        tag, *parts = cast("Sequence[Any]", plain)
        return _BY_TAG[tag](parts)
    return plain


def _each(parts: list[Any]) -> list[Any]:
    return [_told(part) for part in parts]


def _mapping(parts: list[Any]) -> Any:
    told = _each(parts)
    pairs = list(zip(told[::2], told[1::2], strict=True))
    if all(isinstance(key, str) for key, _ in pairs):
        return dict(pairs)
    return {"$pairs": [list(pair) for pair in pairs]}


def _object(parts: list[Any]) -> Any:
    shape, *values = parts
    name, labels = split_shape(shape)
    names = [bare(label) for label in labels if not label.startswith(UNSET)]
    return {"$type": name, **dict(zip(names, _each(values), strict=True))}


def _moment(parts: list[Any]) -> str:
    """Return a date and time; what the bare text does not say of its zone follows in brackets."""
    text, *rest = parts
    zone = rest[1:]
    if not zone:
        return str(text)
    return f"{text}[{zone[0] if zone[0] is not None else zone[2]}]"


_BY_TAG: dict[int, Callable[[list[Any]], Any]] = {
    **dict.fromkeys((tags.LIST, tags.TUPLE, tags.SET, tags.FROZENSET), _each),
    tags.DEQUE: lambda parts: _each(parts[1:]),
    **dict.fromkeys((tags.DICT, tags.ORDERED_DICT, tags.MAPPING_PROXY), _mapping),
    tags.OBJECT: _object,
    tags.ENUM: lambda parts: {"$type": parts[0], "$member": parts[1]},
    tags.FLAG: lambda parts: {"$type": parts[0], "$value": parts[1]},
    tags.ERROR: lambda parts: {"$type": parts[0], "$error": _each(parts[1:])},
    tags.HANDLE: lambda parts: {"$space": "/".join(parts)},
    tags.DATETIME: _moment,
    tags.TIME: _moment,
    tags.DATE: lambda parts: parts[0],
    tags.TIMEDELTA: lambda parts: {"$seconds": timedelta(*parts).total_seconds()},
    tags.DECIMAL: lambda parts: parts[0],
    tags.FRACTION: lambda parts: f"{parts[0]}/{parts[1]}",
    tags.UUID: lambda parts: str(UUID(bytes=parts[0])),
    tags.PATH: lambda parts: parts[1],
    tags.RANGE: lambda parts: {"$range": parts},
    tags.COMPLEX: lambda parts: {"$complex": _each(parts)},
    tags.BYTEARRAY: lambda parts: _told(parts[0]),
}
