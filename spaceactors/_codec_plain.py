"""How values of the built-in and standard classes are written, container by container and leaf by leaf."""

from __future__ import annotations

from collections import OrderedDict, deque
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from operator import index
from pathlib import Path, PosixPath, PurePosixPath, PureWindowsPath, WindowsPath
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias, cast
from uuid import UUID

import msgspec.msgpack

from spaceactors import _codec_tags as tags
from spaceactors._codec_errors import Refused
from spaceactors._codec_tags import ATOMS, STR_ONLY, class_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    # (value, levels left) -> its plain form.
    Packer: TypeAlias = Callable[[Any, int], Any]
    # A plain array, or a map -> its value.
    Unpacker: TypeAlias = Callable[[list[Any]], Any]

ENCODE: Callable[[object], bytes] = msgspec.msgpack.Encoder().encode
DECODE: Callable[[bytes], Any] = msgspec.msgpack.Decoder().decode

_LEAST, _MOST = -(2**63), 2**64 - 1


# ---- whole values


def dump(plain: object) -> bytes:
    """Return the bytes of a plain value."""
    try:
        return ENCODE(plain)
    except (OverflowError, UnicodeEncodeError):
        return ENCODE((tags.HARD, harden(plain)))


def load(data: bytes) -> Any:
    """Return the plain value of bytes; what comes of damaged ones may be any exception."""
    plain = DECODE(data)
    return soften(plain[1]) if tags.is_tagged(plain, tags.HARD) else plain


def harden(plain: Any) -> Any:
    """Replace what MessagePack cannot write: huge integers, and texts with lone surrogates."""
    sort = class_of(plain)
    harder = _HARDER.get(sort)
    return plain if harder is None else harder(plain)


def _harden_int(number: int) -> Any:
    if _LEAST <= number <= _MOST:
        return number
    return (tags.BIG_INT, number.to_bytes(number.bit_length() // 8 + 1, "little", signed=True))


def _harden_text(text: str) -> Any:
    return (tags.ODD_TEXT, text.encode("utf-8", "surrogatepass")) if _is_odd(text) else text


def _harden_map(values: dict[str, Any]) -> Any:
    if any(map(_is_odd, values)):
        return (tags.ODD_MAP, *(harden(part) for pair in values.items() for part in pair))
    return {key: harden(value) for key, value in values.items()}


def _harden_array(parts: Iterable[Any]) -> Any:
    return [harden(part) for part in parts]


_HARDER: dict[type[Any], Callable[[Any], Any]] = {
    int: _harden_int,
    str: _harden_text,
    dict: _harden_map,
    list: _harden_array,
    tuple: _harden_array,
}


def soften(plain: Any) -> Any:
    """Undo `harden`."""
    sort = class_of(plain)
    if sort is dict:
        return _soften_map(plain)
    return _soften_array(plain) if sort is list else plain


def _soften_map(values: dict[Any, Any]) -> dict[Any, Any]:
    return {key: soften(value) for key, value in values.items()}


def _soften_array(parts: list[Any]) -> Any:
    match parts[0]:
        case tags.BIG_INT:
            return int.from_bytes(parts[1], "little", signed=True)
        case tags.ODD_TEXT:
            return parts[1].decode("utf-8", "surrogatepass")
        case tags.ODD_MAP:
            return _pairs([soften(part) for part in parts[1:]])
        case _:
            return [soften(part) for part in parts]


def _is_odd(text: str) -> bool:
    return not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text)


def _pairs(parts: list[Any]) -> dict[Any, Any]:
    return dict(zip(parts[::2], parts[1::2], strict=True))


# ---- containers


def container_packers(packers: Mapping[type, Packer]) -> dict[type, Packer]:
    """Return the packers of containers, whose elements are packed by `packers`."""

    def each(values: Iterable[Any], left: int) -> list[Any]:
        if not left:
            raise Refused
        left -= 1
        return [value if type(value) in ATOMS else packers[type(value)](value, left) for value in values]

    def pack_sequence(tag: int) -> Packer:
        return lambda values, left: (
            (tag, *values) if ATOMS.issuperset(map(type, values)) else (tag, *each(values, left))
        )

    def pack_dict(values: dict[Any, Any], left: int) -> Any:
        if not STR_ONLY.issuperset(map(type, values)):
            return (tags.DICT, *each((part for pair in values.items() for part in pair), left))
        if ATOMS.issuperset(map(type, values.values())):
            return values
        return dict(zip(values, each(values.values(), left), strict=True))

    def pack_pairs(tag: int) -> Packer:
        return lambda values, left: (tag, *each((part for pair in values.items() for part in pair), left))

    def pack_set(tag: int) -> Packer:
        return lambda values, left: (tag, *_in_order(each(values, left)))

    return {
        list: pack_sequence(tags.LIST),
        tuple: pack_sequence(tags.TUPLE),
        dict: pack_dict,
        set: pack_set(tags.SET),
        frozenset: pack_set(tags.FROZENSET),
        OrderedDict: pack_pairs(tags.ORDERED_DICT),
        MappingProxyType: pack_pairs(tags.MAPPING_PROXY),
        deque: lambda values, left: (tags.DEQUE, values.maxlen, *each(values, left)),
    }


def _in_order(plain: list[Any]) -> list[Any]:
    """Put a set's elements in an order that is the same in every process: equal sets of texts give equal bytes."""
    return sorted(plain) if STR_ONLY.issuperset(map(type, plain)) else sorted(plain, key=dump)


def container_unpackers(unpack: Callable[[Any], Any]) -> dict[int, Unpacker]:
    """Return the unpackers of containers, whose elements are unpacked by `unpack`."""

    def unpack_list(plain: list[Any]) -> list[Any]:
        del plain[0]
        if ATOMS.issuperset(map(type, plain)):
            return plain
        return [value if type(value) in ATOMS else unpack(value) for value in plain]

    def unpack_deque(plain: list[Any]) -> deque[Any]:
        most, *values = unpack_list(plain)
        return deque(values, most)

    return {
        tags.LIST: unpack_list,
        tags.TUPLE: lambda plain: tuple(unpack_list(plain)),
        tags.DICT: lambda plain: _pairs(unpack_list(plain)),
        tags.SET: lambda plain: set(unpack_list(plain)),
        tags.FROZENSET: lambda plain: frozenset(unpack_list(plain)),
        tags.ORDERED_DICT: lambda plain: OrderedDict(_pairs(unpack_list(plain))),
        tags.MAPPING_PROXY: lambda plain: MappingProxyType(_pairs(unpack_list(plain))),
        tags.DEQUE: unpack_deque,
    }


# ---- leaves


def _pack_moment(tag: int) -> Packer:
    def pack(value: datetime | time, _: int) -> Any:
        zone = value.tzinfo
        key = getattr(zone, "key", None) if type(zone).__module__.startswith("zoneinfo") else None
        if key is not None:
            return (tag, value.replace(tzinfo=None).isoformat(), value.fold, key)
        named: Any = cast("Any", zone).__getinitargs__() if type(zone) is timezone else ()
        if len(named) == 2:  # noqa: PLR2004 (an offset and a name)
            return (tag, value.replace(tzinfo=None).isoformat(), value.fold, None, named[0] // _MICROSECOND, named[1])
        if zone is not None and value.utcoffset() is None:
            raise Refused  # it would come back without its zone
        return (tag, value.isoformat(), 1) if value.fold else (tag, value.isoformat())

    return pack


_MICROSECOND = timedelta(microseconds=1)


def _unpack_moment(cls: type[datetime | time]) -> Unpacker:
    def unpack(plain: list[Any]) -> datetime | time:
        value = cls.fromisoformat(plain[1])
        if len(plain) == 2:  # noqa: PLR2004 (a tag and a text)
            return value
        return value.replace(fold=plain[2], tzinfo=_zone(plain[3:]) if plain[3:] else value.tzinfo)

    return unpack


def _zone(plain: list[Any]) -> Any:
    if plain[0] is None:
        _, offset, name = plain
        return timezone(offset * _MICROSECOND, name)
    from zoneinfo import ZoneInfo  # few programs have one

    return ZoneInfo(plain[0])


_PATHS = {cls.__name__: cls for cls in (PurePosixPath, PureWindowsPath)}


def _unpack_path(plain: list[Any]) -> Any:
    # A path of the other system's file system is one of this one's.
    return _PATHS.get(plain[1], Path)(plain[2])


def _pack_path(value: Any, _: int) -> Any:
    return (tags.PATH, type(value).__name__, str(value))


LEAF_PACKERS: dict[type, Packer] = {
    datetime: _pack_moment(tags.DATETIME),
    time: _pack_moment(tags.TIME),
    date: lambda value, _: (tags.DATE, value.isoformat()),
    timedelta: lambda value, _: (tags.TIMEDELTA, value.days, value.seconds, value.microseconds),
    Decimal: lambda value, _: (tags.DECIMAL, str(value)),
    Fraction: lambda value, _: (tags.FRACTION, value.numerator, value.denominator),
    UUID: lambda value, _: (tags.UUID, value.bytes),
    **dict.fromkeys((PurePosixPath, PureWindowsPath, PosixPath, WindowsPath), _pack_path),
    range: lambda value, _: (tags.RANGE, value.start, value.stop, value.step),
    complex: lambda value, _: (tags.COMPLEX, value.real, value.imag),
    bytearray: lambda value, _: (tags.BYTEARRAY, bytes(value)),
}

LEAF_UNPACKERS: dict[int, Unpacker] = {
    tags.DATETIME: _unpack_moment(datetime),
    tags.TIME: _unpack_moment(time),
    tags.DATE: lambda plain: date.fromisoformat(plain[1]),
    tags.TIMEDELTA: lambda plain: timedelta(plain[1], plain[2], plain[3]),
    tags.DECIMAL: lambda plain: Decimal(plain[1]),
    tags.FRACTION: lambda plain: Fraction(index(plain[1]), index(plain[2])),
    tags.UUID: lambda plain: UUID(bytes=plain[1]),
    tags.PATH: _unpack_path,
    tags.RANGE: lambda plain: range(plain[1], plain[2], plain[3]),
    tags.COMPLEX: lambda plain: complex(plain[1], plain[2]),
    # Not of what is stored as it is: of a number, `bytearray` makes so many bytes.
    tags.BYTEARRAY: lambda plain: bytearray(memoryview(plain[1])),
}
