"""Packing and unpacking: values to the plain structures that are written, and back; class by class, by exact class."""

from __future__ import annotations

from enum import Enum, Flag
from typing import TYPE_CHECKING, Any, TypeVar, cast, final

from spaceactors import _codec_tags as tags
from spaceactors._codec_errors import CannotDecode, Refused
from spaceactors._codec_failures import made_error, parts_of_error
from spaceactors._codec_fields import UNSET, FieldClass, bare, field_class, name_of, split_shape
from spaceactors._codec_plain import LEAF_PACKERS, LEAF_UNPACKERS, container_packers, container_unpackers
from spaceactors._codec_refusals import lives_in_a_run
from spaceactors._codec_tags import ATOMS, DEPTH, class_of
from spaceactors._handle import SpaceHandle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from spaceactors._codec_names import ClassNames
    from spaceactors._codec_plain import Packer, Unpacker


T = TypeVar("T")
U = TypeVar("U")

# Objects may have attributes of any name, and each set of names is another shape.
MOST_SHAPES = 1024


def remember(cache: dict[T, U], key: T, value: U) -> None:
    """Keep what was made for a shape; when there are too many, begin anew."""
    if len(cache) >= MOST_SHAPES:
        cache.clear()
    cache[key] = value


class _Packers(dict[type, "Packer"]):
    """Packers by exact class; a class seen for the first time is looked at."""

    def __init__(self, look: Callable[[type[Any]], Packer]) -> None:
        super().__init__()
        self._look = look

    def __missing__(self, cls: type[Any]) -> Packer:
        packer = self[cls] = self._look(cls)
        return packer


@final
class Values:
    """What is known of the classes of values that were written or read so far."""

    __slots__ = ("_fields", "_makers", "_names", "_unpackers", "packers")

    def __init__(self, names: ClassNames, bind: Callable[[str, str], SpaceHandle[Any]]) -> None:
        self._names = names
        # Classes with fields, by class.
        self._fields: dict[type[Any], FieldClass] = {}
        # What makes an object of its values, by the shape that heads them.
        self._makers: dict[str, Callable[[Sequence[Any]], Any]] = {}
        self.packers = _Packers(self._look)
        self.packers.update(LEAF_PACKERS | container_packers(self.packers))
        self.packers[SpaceHandle] = lambda handle, _: (tags.HANDLE, *handle.key)
        self._unpackers: dict[int, Unpacker] = {
            **LEAF_UNPACKERS,
            **container_unpackers(self.unpack_array),
            tags.OBJECT: self._unpack_object,
            tags.ENUM: self._unpack_enum,
            tags.FLAG: self._unpack_flag,
            tags.ERROR: self._unpack_error,
            tags.HANDLE: lambda plain: bind(plain[1], plain[2]),
        }

    # ---- packing

    def pack(self, value: Any) -> Any:
        """Return the plain form of a value; `Refused` or any other error if it has none."""
        return value if type(value) in ATOMS else self.packers[type(value)](value, DEPTH)

    def _look(self, cls: type[Any]) -> Packer:
        """Return how objects of a class are packed that comes for the first time."""
        if issubclass(cls, Enum):
            self._names.see(cls)
            return _enum_packer(cls)
        if issubclass(cls, BaseException):
            self._names.see(cls)
            return self._error_packer(cls)
        fields = None if lives_in_a_run(cls) else self.fields_of(cls)
        if fields is None:
            return _refuse
        self._names.see(cls)
        return self._object_packer(fields)

    def fields_of(self, cls: type[Any]) -> FieldClass | None:
        """Return what is known of a class with fields, None for another."""
        found = self._fields.get(cls)
        if found is None:
            found = field_class(cls)
            if found is not None:
                self._fields[cls] = found
        return found

    def _object_packer(self, known: FieldClass) -> Packer:
        packers, read_plain, plain_shape = self.packers, known.read_plain, known.shape(known.fields)

        def pack(value: Any, left: int) -> Any:
            values, shape = read_plain(value), plain_shape
            if values is None:
                found = known.read(value)
                shape, values = known.shape(found), _valued(found)
            if ATOMS.issuperset(map(type, values)):
                return (tags.OBJECT, shape, *values)
            if not left:
                raise Refused
            left -= 1
            return (
                tags.OBJECT,
                shape,
                *[one if type(one) in ATOMS else packers[type(one)](one, left) for one in values],
            )

        return pack

    def _error_packer(self, cls: type[Any]) -> Packer:
        name = name_of(cls)

        def pack(error: BaseException, left: int) -> Any:
            if not left:
                raise Refused
            args, state = parts_of_error(error)
            return (tags.ERROR, name, self.packers[tuple](args, left - 1), self.packers[dict](state, left - 1))

        return pack

    def parts(self, value: Any) -> list[tuple[str, Any]]:
        """Return what an object is made of, for whoever looks for the culprit in it; `KeyError` if nobody knows."""
        if isinstance(value, BaseException):
            args, state = parts_of_error(value)
            named = [(f".{name}", one) for name, one in state.items()]
            return [(f".args[{place}]", one) for place, one in enumerate(args)] + named
        cls = class_of(value)
        if cls in self._fields:
            return [(f".{bare(label)}", one) for label, one in self._fields[cls].read(value).items()]
        if self.packers[cls] is _refuse:
            raise KeyError(cls)
        return []

    # ---- unpacking

    def unpack_array(self, plain: Any) -> Any:
        """Return the value of a plain array or map."""
        sort = class_of(plain)
        if sort is list:
            return self._unpackers[plain[0]](plain)
        if sort is not dict:
            msg = f"a {sort.__name__} is nothing that is written"
            raise CannotDecode(msg)
        values: dict[Any, Any] = plain
        if not ATOMS.issuperset(map(type, values.values())):
            for key, value in values.items():
                if type(value) not in ATOMS:
                    values[key] = self.unpack_array(value)
        return values

    def unpack(self, plain: Any) -> Any:
        """Return the value of any plain form; of a damaged one comes `CannotDecode` or any other error."""
        return plain if type(plain) in ATOMS else self.unpack_array(plain)

    def unpack_each(self, values: list[Any]) -> list[Any]:
        """Return the values of plain forms."""
        if ATOMS.issuperset(map(type, values)):
            return values
        return [value if type(value) in ATOMS else self.unpack_array(value) for value in values]

    def _unpack_object(self, plain: list[Any]) -> Any:
        shape = plain[1]
        make = self._makers.get(shape) or self.maker(shape)
        return make(self.unpack_each(plain[2:]))

    def maker(self, shape: str) -> Callable[[Sequence[Any]], Any]:
        """Return what makes an object of the values that a shape heads. Raises `CannotDecode`."""
        name, labels = split_shape(shape)
        known = self.fields_of(self._names.find(name))
        if known is None:
            msg = f"{name} is no class with fields any more: keep it an attrs class, dataclass or the like"
            raise CannotDecode(msg)
        make = known.maker(labels)
        remember(self._makers, shape, make)
        return make

    def lenient(self, plain: Any) -> Any:
        """Unpack what an older program wrote: an object whose class is gone or has changed becomes a dict."""
        match plain:
            case {}:
                return {key: self.lenient(value) for key, value in plain.items()}
            case [tags.OBJECT, shape, *values]:
                return self._lenient_object(shape, [self.lenient(value) for value in values])
            case [tags.ENUM | tags.FLAG, _, member]:
                try:
                    return self.unpack_array(plain)
                except CannotDecode:
                    return member
            case [tag, *parts] if tag in _LENIENT:
                return _LENIENT[tag]([self.lenient(part) for part in parts])
            case _:
                return self.unpack(plain)

    def _lenient_object(self, shape: str, values: list[Any]) -> Any:
        try:
            return (self._makers.get(shape) or self.maker(shape))(values)
        except CannotDecode:
            return by_field(split_shape(shape)[1], values)

    def _class(self, name: str, base: type[Any]) -> type[Any]:
        cls = self._names.find(name)
        if not issubclass(cls, base):
            msg = f"{name} is no {base.__name__} any more"
            raise CannotDecode(msg)
        return cls

    def _unpack_enum(self, plain: list[Any]) -> Enum:
        cls: Any = self._class(plain[1], Enum)
        try:
            return cast("Enum", cls.__members__[plain[2]])
        except KeyError:
            msg = (
                f"{plain[1]} has no member {plain[2]} any more: keep the old name as an alias ({plain[2]} = its value)"
            )
            raise CannotDecode(msg) from None

    def _unpack_flag(self, plain: list[Any]) -> Flag:
        return cast("Flag", self._class(plain[1], Flag)(plain[2]))

    def _unpack_error(self, plain: list[Any]) -> BaseException:
        _, name, args, state = plain
        return made_error(self._class(name, BaseException), self.unpack_array(args), self.unpack_array(state))


def _set_or_list(values: list[Any]) -> Any:
    try:
        return set(values)
    except TypeError:  # an element has become a dict
        return values


def _frozen_or_tuple(values: list[Any]) -> Any:
    held = _set_or_list(values)
    return tuple(values) if held is values else frozenset(held)


def _dict(parts: list[Any]) -> dict[Any, Any]:
    return dict(zip(parts[::2], parts[1::2], strict=True))


# Containers that are taken apart for an upgrade.
_LENIENT: dict[int, Callable[[list[Any]], Any]] = {
    tags.LIST: list,
    tags.TUPLE: tuple,
    tags.SET: _set_or_list,
    tags.FROZENSET: _frozen_or_tuple,
    tags.DICT: _dict,
    tags.ORDERED_DICT: _dict,
    tags.MAPPING_PROXY: _dict,
}


def _refuse(value: object, _: int) -> Any:
    raise Refused(type(value))


def _enum_packer(cls: type[Enum]) -> Packer:
    name = name_of(cls)
    if issubclass(cls, Flag):
        return lambda member, _: (tags.FLAG, name, member._value_)
    return lambda member, _: (tags.ENUM, name, member._name_)


def _valued(found: Mapping[str, Any]) -> list[Any]:
    """Return the values that are written of those by label: a field that was never set has none."""
    return [value for label, value in found.items() if not label.startswith(UNSET)]


def by_field(labels: Iterable[str], values: Sequence[Any]) -> dict[str, Any]:
    """Return stored values by field, for an upgrade to work on."""
    valued = [label for label in labels if not label.startswith(UNSET)]
    return {bare(label): value for label, value in zip(valued, values, strict=True)}
