"""Which values may be a state: only those that nobody can change behind the runtime's back.

Rolling back a turn means going on with the old value, so the old value must still be what it was.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, MutableMapping, MutableSequence, MutableSet
from datetime import date, datetime, time, timedelta
from enum import Enum
from types import GenericAlias, MappingProxyType, UnionType
from typing import Any, cast, get_args, get_origin

MUTABLE: tuple[type[Any], ...] = (list, dict, set, bytearray, deque, MutableMapping, MutableSequence, MutableSet)
_PLAIN: tuple[type[Any], ...] = (
    *(tuple, frozenset, str, bytes, int, float, complex, bool, type(None), Enum, range),
    *(date, datetime, time, timedelta, MappingProxyType, type),
)
# Named and not imported: together they cost more than this whole package's decisions.
_PLAIN_NAMES = frozenset(
    {
        ("decimal", "Decimal"),
        ("fractions", "Fraction"),
        ("pathlib", "PurePath"),
        ("uuid", "UUID"),
        ("pathlib._local", "PurePath"),
    }
)


def is_storable(text: str) -> bool:
    """Tell whether every database can keep a text as a name: no lone half of a surrogate pair, no NUL."""
    if text.isascii():
        return "\0" not in text
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def _is_plain(cls: type[Any]) -> bool:
    named = ((base.__module__, base.__qualname__) in _PLAIN_NAMES for base in cls.__mro__)
    return cls is object or issubclass(cls, _PLAIN) or any(named)


def is_frozen(cls: Any) -> bool | None:
    """Tell whether a class made by attrs, dataclasses, msgspec or pydantic is frozen; None for any other class."""
    if "__attrs_attrs__" in vars(cls) or hasattr(cls, "__attrs_attrs__"):
        return bool(cls.__setattr__.__name__ == "_frozen_setattrs")
    if hasattr(cls, "__dataclass_params__"):
        return bool(cls.__dataclass_params__.frozen)
    if hasattr(cls, "__struct_config__"):
        return bool(cls.__struct_config__.frozen)
    config: Any = getattr(cls, "model_config", None)
    if isinstance(config, Mapping) and hasattr(cls, "model_fields"):
        return bool(cast("Mapping[str, object]", config).get("frozen"))
    return None


def mutable_part(annotation: Any) -> Any:
    """Return the part of a state's annotation that is a mutable class, or None."""
    if annotation is Any:
        return None
    origin = get_origin(annotation)
    if origin is UnionType or str(origin) == "typing.Union":
        return next((part for part in map(mutable_part, get_args(annotation)) if part is not None), None)
    cls: Any = origin if isinstance(annotation, GenericAlias) or isinstance(origin, type) else annotation
    if not isinstance(cls, type):
        return None  # a type variable, Any, Literal: nothing to hold on to
    if issubclass(cls, MUTABLE):
        return cls
    frozen = is_frozen(cls)
    if frozen is None:
        frozen = _is_plain(cls)
    return None if frozen else cls
