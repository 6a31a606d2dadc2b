"""Classes whose values the tests of the codec write, and a codec to write them with."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable
from functools import cached_property
from typing import Any, NamedTuple

import attrs
import msgspec

from spaceactors import Actor
from spaceactors._actor import kind_of
from spaceactors._codec import Codec
from spaceactors._handle import SpaceHandle


def handle(kind: str, space_id: str) -> SpaceHandle[Any]:
    return SpaceHandle(None, None, kind, space_id)


def codec(*actors: type[Actor[Any]]) -> Codec:
    return Codec([kind_of(actor) for actor in actors], handle)


def again(value: object) -> Any:
    """What comes back of a value in another process: a codec that has seen nothing reads it."""
    return codec().decode(codec().encode(value))


def _refuse(*_: object) -> None:
    raise AssertionError("no constructor, converter or validator may run")


class Status(enum.Enum):
    OPEN = "open"
    SHUT = "shut"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Colour(enum.StrEnum):
    RED = "red"


class Right(enum.Flag):
    READ = 1
    WRITE = 2


@attrs.frozen
class Item:
    name: str = ""
    size: int = 1


@attrs.frozen
class Order:
    items: tuple[Item, ...] = ()
    _secret: int = 7
    note: str | None = attrs.field(default=None, kw_only=True)


@attrs.define
class Counter:
    n: int = 0
    twice: int = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.twice = 2 * self.n


@attrs.frozen(cache_hash=True)
class Hashed:
    x: int = 0


@attrs.frozen(slots=False)
class Roomy:
    x: int = 0

    @cached_property
    def double(self) -> int:
        return 2 * self.x


class Heir(Roomy):
    """Not decorated itself."""


@attrs.define
class Late:
    """Has a field that nobody set."""

    x: int
    y: int = attrs.field(init=False)


@attrs.frozen
class Nothing:
    """Has no fields."""


def must_be_positive(_: object, __: object, value: int) -> None:
    if value < 0:
        _refuse()


@attrs.define(on_setattr=attrs.setters.NO_OP)
class Strict:
    n: int = attrs.field(validator=must_be_positive)
    words: tuple[str, ...] = attrs.field(default=(), converter=tuple)


@dataclasses.dataclass
class Basket:
    size: int
    things: list[object] = dataclasses.field(default_factory=list)
    total: int = dataclasses.field(init=False, default=0)

    def __post_init__(self) -> None:
        self.made = "by hand"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Slotted:
    a: int
    b: str = "b"


class Point(NamedTuple):
    x: int
    y: int = 0


class Struct(msgspec.Struct, frozen=True, kw_only=True):
    a: int
    b: tuple[Item, ...] = ()


class Checked(msgspec.Struct):
    a: int

    def __post_init__(self) -> None:
        if self.a < 0:
            _refuse()


class Oops(Exception):
    def __init__(self, what: str, *, code: int) -> None:
        super().__init__(f"{what} ({code})")
        self.code = code


@attrs.frozen(auto_exc=True)
class FrozenOops(Exception):
    what: str
    items: tuple[Item, ...] = ()


def sample_objects() -> Iterable[object]:
    return (
        *(Status.OPEN, Level.HIGH, Colour.RED, Right.READ, Right.READ | Right.WRITE, Right(0)),
        *(Item(), Order((Item("a"), Item("b", 2)), 3, note="x"), Counter(4), Hashed(3), Roomy(2), Heir(3), Nothing()),
        *(Strict(3, ["a"]), Basket(2, [Item()]), Slotted(a=1), Point(1, 2), Struct(a=1, b=(Item(),)), Checked(2)),
    )
