"""Classes with fields: how an object of each sort is read, and made again without its constructor.

What was stored was valid when it was stored: no `__init__`, converter, validator or `__post_init__` runs again.

A stored object says which of its attributes it has, as *labels*: a field's name alone; `~x`, a field that was never
set; `+x`, an attribute that is no field; for pydantic `?x`, a field left at its default, `-x`, a private attribute.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from operator import attrgetter
from typing import Any, TypeAlias, cast, final

import attrs
import msgspec
from attrs import frozen

from spaceactors._codec_errors import CannotDecode

Reader: TypeAlias = Callable[[Any], dict[str, Any]]
Maker: TypeAlias = Callable[[dict[str, Any]], Any]
Default: TypeAlias = Callable[[Any], Any]

UNSET, EXTRA, LEFT_OUT, PRIVATE = "~", "+", "?", "-"
_MARKS = UNSET + EXTRA + LEFT_OUT + PRIVATE
# What parts a shape: attributes that are no fields may be called anything, a pydantic model's extra ones by anybody.
_ESCAPED = {ord(","): "%2C", ord("("): "%28", ord("%"): "%25"}
_BUILT_IN = (str, bytes, int, float, list, dict, tuple, set, frozenset, type, BaseException)
_set = object.__setattr__


@final
@frozen
class FieldClass:
    """A class with fields, looked at once."""

    cls: type[Any]
    fields: tuple[str, ...]
    # What a field that was not stored gets, from the unfinished object (or, where there is none yet, its fields).
    defaults: Mapping[str, Default]
    # The values of all fields in order; None where the object has other labels than just its fields.
    read_plain: Callable[[Any], Sequence[Any] | None]
    # All there is to store, by label.
    read: Reader
    # From values by label, checked to fit.
    make: Maker
    # From the values of all fields in order, where that can be had faster.
    make_plain: Callable[[Sequence[Any]], Any] | None = None

    @property
    def name(self) -> str:
        """The name under which its objects are stored."""
        return name_of(self.cls)

    @property
    def has_heirs(self) -> bool:
        """Whether an object of this class may be one of a class that extends it."""
        return any(vars(heir).get("__post_init__") is not _do_nothing for heir in self.cls.__subclasses__())

    def shape(self, labels: Iterable[str]) -> str:
        """Return the text that heads the values of an object."""
        return f"{self.name}({','.join([one.translate(_ESCAPED) if one[0] == EXTRA else one for one in labels])})"

    def maker(self, labels: tuple[str, ...]) -> Callable[[Sequence[Any]], Any]:
        """Return what makes an object from the values under these labels. Raises `CannotDecode`."""
        if labels == self.fields and self.make_plain is not None:
            return self.make_plain
        self.check(labels)
        valued = tuple(label for label in labels if not label.startswith(UNSET))
        unset = {label: None for label in labels if label.startswith(UNSET)}
        return lambda values: self.make(dict(zip(valued, values, strict=True)) | unset)

    def check(self, labels: Iterable[str]) -> None:
        """Refuse labels that do not fit the class as it is today. Raises `CannotDecode`."""
        stored = {bare(label) for label in labels if label[0] not in EXTRA + PRIVATE}
        unknown = sorted(stored - set(self.fields))
        missing = [name for name in self.fields if name not in stored and name not in self.defaults]
        if unknown or missing:
            what = [f"{', '.join(unknown)} stored, which it has not"] if unknown else []
            what += [f"no {', '.join(missing)} stored, and no default"] if missing else []
            msg = (
                f"the fields of {self.name} have changed: {'; '.join(what)}. Give new fields a default; for any other"
                " change of a state raise the actor's state_version and write `upgrade_state`, for arguments"
                " `upgrade_call`"
            )
            raise CannotDecode(msg)


def name_of(cls: type[Any]) -> str:
    """Return the name by which a class is found again."""
    return f"{cls.__module__}:{cls.__qualname__}"


def bare(label: str) -> str:
    """Return the attribute that a label is about."""
    return label[1:] if label[0] in _MARKS else label


def split_shape(shape: str) -> tuple[str, tuple[str, ...]]:
    """Return the class name and the labels that head an object's values."""
    name, _, labels = shape.removesuffix(")").rpartition("(")
    return name, tuple(map(_unescaped, labels.split(","))) if labels else ()


def _unescaped(label: str) -> str:
    if label[0] != EXTRA or "%" not in label:
        return label
    # The escape of % itself comes last, so that it makes no new ones.
    for code, text in _ESCAPED.items():
        label = label.replace(text, chr(code))
    return label


def field_class(cls: type[Any]) -> FieldClass | None:
    """Look at a class; None if it is not of a sort whose fields are known."""
    if issubclass(cls, tuple) and isinstance(getattr(cast("Any", cls), "_fields", None), tuple):
        return _named_tuple(cast("type[Any]", cls))
    if issubclass(cls, _BUILT_IN):
        return None
    if hasattr(cls, "__attrs_attrs__"):
        return _attrs_class(cls)
    if hasattr(cls, "__dataclass_fields__"):
        return _dataclass(cls)
    if issubclass(cls, msgspec.Struct):
        return _struct(cls)
    if hasattr(cls, "__pydantic_fields_set__") and isinstance(getattr(cls, "model_fields", None), Mapping):
        return _model(cls)
    return None


def field_annotations(cls: type[Any]) -> dict[str, Any]:
    """Return what a class's fields are said to be, as written: maybe as texts."""
    if hasattr(cls, "__attrs_attrs__"):
        return {one.name: one.type for one in cls.__attrs_attrs__}
    if hasattr(cls, "__dataclass_fields__"):
        return {one.name: one.type for one in dataclasses.fields(cls)}
    if isinstance(models := getattr(cls, "model_fields", None), Mapping):
        return {name: one.annotation for name, one in cast("Mapping[str, Any]", models).items()}
    return {name: kind for base in reversed(cls.__mro__) for name, kind in _annotations(base).items()}


def _annotations(cls: type[Any]) -> dict[str, Any]:
    return dict(vars(cls).get("__annotations__", {}))


# ---- reading and making ordinary objects


def _tuple_getter(names: tuple[str, ...]) -> Callable[[Any], Sequence[Any]]:
    match names:
        case ():
            return lambda _: ()
        case (one,):
            get = attrgetter(one)
            return lambda value: (get(value),)
        case _:
            return attrgetter(*names)


def _plain_reader(cls: type[Any], names: tuple[str, ...]) -> Callable[[Any], Sequence[Any] | None]:
    get = _tuple_getter(names)
    if cls.__dictoffset__ == 0:

        def read_slots(value: Any) -> Sequence[Any] | None:
            try:
                return get(value)
            except AttributeError:
                return None

        return read_slots
    known = _known(cls, names)

    def read(value: Any) -> Sequence[Any] | None:
        try:
            return get(value) if value.__dict__.keys() <= known else None
        except AttributeError:
            return None

    return read


def _known(cls: type[Any], names: Iterable[str]) -> frozenset[str]:
    """Return the attributes that need no label: fields, and what is computed again when it is missing."""
    cached = (name for base in cls.__mro__ for name, it in vars(base).items() if isinstance(it, cached_property))
    return frozenset((*names, *cached))


def _reader(cls: type[Any], names: tuple[str, ...]) -> Reader:
    known = _known(cls, names)

    def read(value: Any) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name in names:
            try:
                found[name] = getattr(value, name)
            except AttributeError:
                found[UNSET + name] = None
        extras = getattr(value, "__dict__", {})
        return found | {EXTRA + name: it for name, it in extras.items() if name not in known}

    return read


def _object_class(
    cls: type[Any], names: tuple[str, ...], defaults: dict[str, Default], also: Mapping[str, Any]
) -> FieldClass:
    """Describe a class whose objects are made empty and filled; `also` is what they have besides their fields."""
    new = object.__new__
    always = tuple(also.items())

    def make(values: dict[str, Any]) -> Any:
        it = new(cls)
        for label, value in values.items():
            if label[0] != UNSET:
                _set(it, bare(label), value)
        for name in names:
            if name not in values and UNSET + name not in values:
                _set(it, name, defaults[name](it))
        for name, value in always:
            _set(it, name, value)
        return it

    def make_plain(values: Sequence[Any]) -> Any:
        it = new(cls)
        for name, value in zip(names, values, strict=True):
            _set(it, name, value)
        for name, value in always:
            _set(it, name, value)
        return it

    return FieldClass(cls, names, defaults, _plain_reader(cls, names), _reader(cls, names), make, make_plain)


# ---- the sorts


def _constant(value: Any) -> Default:
    return lambda _: value


def _ignoring(factory: Callable[[], Any]) -> Default:
    return lambda _: factory()


def _attrs_class(cls: type[Any]) -> FieldClass:
    defaults: dict[str, Default] = {}
    for one in cls.__attrs_attrs__:
        made: Any = one.default
        if type(made) is attrs.Factory:
            defaults[one.name] = made.factory if made.takes_self else _ignoring(made.factory)
        elif one.default is not attrs.NOTHING:
            defaults[one.name] = _constant(one.default)
    hashing = getattr(getattr(cls.__hash__, "__code__", None), "co_names", ())
    also = {"_attrs_cached_hash": None} if "_attrs_cached_hash" in hashing else {}
    return _object_class(cls, tuple(one.name for one in cls.__attrs_attrs__), defaults, also)


def _dataclass(cls: type[Any]) -> FieldClass:
    defaults: dict[str, Default] = {}
    for one in dataclasses.fields(cls):
        if one.default is not dataclasses.MISSING:
            defaults[one.name] = _constant(one.default)
        elif one.default_factory is not dataclasses.MISSING:
            defaults[one.name] = _ignoring(one.default_factory)
    return _object_class(cls, tuple(one.name for one in dataclasses.fields(cls)), defaults, {})


def _named_tuple(cls: type[Any]) -> FieldClass:
    names: tuple[str, ...] = cls._fields
    given: dict[str, Any] = getattr(cls, "_field_defaults", {})
    new = cast("Callable[..., Any]", tuple.__new__)  # pyright: ignore[reportUnknownMemberType]

    def make(values: dict[str, Any]) -> Any:
        return new(cls, [values[name] if name in values else given[name] for name in names])

    def make_plain(values: Sequence[Any]) -> Any:
        if len(values) != len(names):
            msg = f"{name_of(cls)} has {len(names)} fields, {len(values)} were stored"
            raise CannotDecode(msg)
        return new(cls, values)

    defaults = {name: _constant(value) for name, value in given.items()}
    return FieldClass(cls, names, defaults, tuple, lambda it: dict(zip(names, it, strict=True)), make, make_plain)


def _struct(cls: type[msgspec.Struct]) -> FieldClass:
    names = cls.__struct_fields__
    build = _struct_maker(cls)

    def made_at_once(name: str) -> Default:
        return lambda values: getattr(build(values), name)

    defaults = {one.name: made_at_once(one.name) for one in msgspec.structs.fields(cls) if not one.required}

    def make(values: dict[str, Any]) -> Any:
        it = build({label: value for label, value in values.items() if label[0] not in EXTRA})
        for label, value in values.items():
            if label[0] == EXTRA:
                it.__dict__[bare(label)] = value
        return it

    def make_plain(values: Sequence[Any]) -> Any:
        return build(dict(zip(names, values, strict=True)))

    return FieldClass(cls, names, defaults, _plain_reader(cls, names), _reader(cls, names), make, make_plain)


def _do_nothing(_: object) -> None:
    pass


def _struct_maker(cls: type[msgspec.Struct]) -> Maker:
    """Return what makes a struct of its fields; one with a `__post_init__` is made as its twin that has none."""
    if not hasattr(cls, "__post_init__"):
        return lambda values: cls(**values)
    twin = msgspec.defstruct(cls.__name__, [], bases=(cls,), namespace={"__post_init__": _do_nothing})
    become = object.__dict__["__class__"].__set__

    def make(values: dict[str, Any]) -> Any:
        it = twin(**values)
        become(it, cls)
        return it

    return make


def _model(cls: type[Any]) -> FieldClass:
    """Describe a pydantic model, known by its attributes: the library need not be there."""
    infos: Mapping[str, Any] = cls.model_fields
    names = tuple(infos)

    def made(info: Any) -> Default:
        if getattr(info, "default_factory_takes_validated_data", False):
            return lambda values: info.get_default(call_default_factory=True, validated_data=values)
        return lambda _: info.get_default(call_default_factory=True)

    defaults = {name: made(info) for name, info in infos.items() if not info.is_required()}

    def read_plain(value: Any) -> Sequence[Any] | None:
        held = value.__dict__
        whole = value.__pydantic_fields_set__ >= infos.keys() and held.keys() >= infos.keys()
        if not whole or value.__pydantic_extra__ or value.__pydantic_private__:
            return None
        return [held[name] for name in names]

    def read(value: Any) -> dict[str, Any]:
        held, given = value.__dict__, value.__pydantic_fields_set__
        found: dict[str, Any] = {}
        for name in names:
            mark = UNSET if name not in held else "" if name in given else LEFT_OUT
            found[mark + name] = held.get(name)
        extra: dict[str, Any] = value.__pydantic_extra__ or {}
        private: dict[str, Any] = value.__pydantic_private__ or {}
        found |= {EXTRA + name: it for name, it in extra.items()}
        return found | {PRIVATE + name: it for name, it in private.items()}

    def make(values: dict[str, Any]) -> Any:
        return _made_model(cls, values, names, defaults)

    return FieldClass(cls, names, defaults, read_plain, read, make)


def _made_model(cls: Any, values: dict[str, Any], names: tuple[str, ...], defaults: Mapping[str, Default]) -> Any:
    it = cls.__new__(cls)
    held = {bare(label): value for label, value in values.items() if label[0] not in UNSET + EXTRA + PRIVATE}
    for name in names:
        if name not in held and UNSET + name not in values:
            held[name] = defaults[name](held)
    extra = {label[1:]: value for label, value in values.items() if label[0] == EXTRA}
    private = {label[1:]: value for label, value in values.items() if label[0] == PRIVATE}
    given = {label for label in values if label[0] not in _MARKS} | extra.keys()
    _set(it, "__dict__", {name: held[name] for name in names if name in held})
    _set(it, "__pydantic_fields_set__", given)
    _set(it, "__pydantic_extra__", extra if extra or cls.model_config.get("extra") == "allow" else None)
    _set(it, "__pydantic_private__", private if private or cls.__private_attributes__ else None)
    return it
