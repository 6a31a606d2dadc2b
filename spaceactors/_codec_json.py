"""From JSON to values of the classes that are wanted: answers that people type.

Unlike what was stored, this comes from outside: constructors run, with their converters and validators.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import PurePath
from typing import Any, Literal, Union, get_args, get_origin
from uuid import UUID

from spaceactors._codec_fields import field_annotations, field_class
from spaceactors._codec_names import resolved
from spaceactors._codec_tags import class_of

_FROM_TEXT: dict[type[Any], Callable[[str], Any]] = {
    datetime: datetime.fromisoformat,
    date: date.fromisoformat,
    time: time.fromisoformat,
    Decimal: Decimal,
    Fraction: Fraction,
    UUID: UUID,
    bytes: str.encode,
}
# Which numbers are as good, by the class that is wanted; True is none of them.
_NUMBERS: dict[type[Any], tuple[type[Any], ...]] = {
    float: (int,),
    timedelta: (int, float),
    Decimal: (int,),
    Fraction: (int,),
}
_UNIONS = (Union, types.UnionType)


def from_json(value: object, wanted: Any) -> Any:
    """Return what a JSON value means where `wanted` is expected: a class, or an annotation such as `Order | None`.

    Raises `TypeError` if it does not fit; the text says what would.
    """
    origin: Any = get_origin(wanted)
    parts = get_args(wanted)
    if origin in _UNIONS:
        return _one_of(value, wanted, parts)
    if origin is Literal and value in parts:
        return value
    if wanted is Any or wanted is object or wanted is type(value) or wanted is value is None:
        return value
    cls: Any = origin or wanted
    if not isinstance(cls, type):
        raise TypeError(_misfit(value, wanted))
    try:
        return _of_class(value, cls, parts)
    except TypeError:
        raise
    except Exception as error:
        raise TypeError(f"{_misfit(value, wanted)}: {error}") from error


def _misfit(value: object, wanted: Any) -> str:
    return f"{value!r:.100} is no {wanted.__qualname__ if isinstance(wanted, type) else wanted}"


def _one_of(value: Any, wanted: Any, parts: Sequence[Any]) -> Any:
    if type(value) in parts:
        return value
    for part in parts:
        try:
            return from_json(value, part)
        except TypeError:
            continue
    raise TypeError(_misfit(value, wanted))


def _of_class(value: Any, cls: type[Any], parts: tuple[Any, ...]) -> Any:
    if issubclass(cls, Enum):
        return cls[value] if isinstance(value, str) and value in cls.__members__ else cls(value)
    sort = class_of(value)
    if sort in _NUMBERS.get(cls, ()):
        return timedelta(seconds=value) if cls is timedelta else cls(value)
    if sort is str and (cls in _FROM_TEXT or issubclass(cls, PurePath)):
        return _FROM_TEXT.get(cls, cls)(value)
    if sort is list:
        return _of_list(value, cls, parts)
    if sort is dict:
        return _of_dict(value, cls, parts)
    raise TypeError(_misfit(value, cls))


_FROM_LIST: dict[Any, Any] = {list: list, tuple: tuple, set: set, frozenset: frozenset, Sequence: tuple}


def _of_list(value: list[Any], cls: Any, parts: tuple[Any, ...]) -> Any:
    names = getattr(cls, "_fields", None)
    if names is not None:
        return _of_dict(dict(zip(names, value, strict=True)), cls, parts)
    made = _FROM_LIST.get(cls)
    if made is None:
        raise TypeError(_misfit(value, cls))
    if cls is tuple and parts and Ellipsis not in parts:
        return tuple(from_json(one, part) for one, part in zip(value, parts, strict=True))
    part = parts[0] if parts else Any
    return made(from_json(one, part) for one in value)


def _of_dict(value: dict[str, Any], cls: type[Any], parts: tuple[Any, ...]) -> Any:
    if cls in {dict, Mapping}:
        key, part = parts or (Any, Any)
        return {from_json(name, key): from_json(one, part) for name, one in value.items()}
    if field_class(cls) is None:
        raise TypeError(_misfit(value, cls))
    if hasattr(cls, "model_validate"):
        return cls.model_validate(value)
    hints = resolved(field_annotations(cls), cls.__module__, vars(cls))
    names = _names_in_json(cls)
    unknown = sorted(value.keys() - names.keys())
    if unknown:
        raise TypeError(f"{cls.__qualname__} has no {', '.join(unknown)}: it has {', '.join(names)}")
    return cls(**{name: from_json(one, hints.get(names[name], Any)) for name, one in value.items()})


def _names_in_json(cls: type[Any]) -> dict[str, str]:
    """Return the fields that a constructor takes, by what it calls them."""
    if hasattr(cls, "__attrs_attrs__"):
        return {one.alias: one.name for one in cls.__attrs_attrs__ if one.init}
    if hasattr(cls, "__dataclass_fields__"):
        return {one.name: one.name for one in dataclasses.fields(cls) if one.init}
    names: Sequence[str] = getattr(cls, "__struct_fields__", None) or cls._fields
    return {name: name for name in names}
