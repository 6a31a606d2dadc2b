"""Values to bytes and back: what durable stores keep of states, messages, entries and errors.

A value is *packed* into plain structures by our own rules (`_codec_tags` says which), and those are written as
MessagePack. It comes back exactly as it was, whatever the annotations say. Nothing is imported, and no constructor of a
user's class runs, when bytes are read.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast, final

from spaceactors import _codec_tags as tags
from spaceactors._actor import Actor
from spaceactors._codec_errors import CannotDecode, CannotEncode, StoredError
from spaceactors._codec_failures import MOST_TRACEBACK, causes_of, name_of_error, text_of, traceback_of, with_story
from spaceactors._codec_fields import name_of, split_shape
from spaceactors._codec_json import from_json
from spaceactors._codec_names import ClassNames, parts_of, resolved
from spaceactors._codec_plain import dump, load
from spaceactors._codec_refusals import refusal
from spaceactors._codec_tags import ATOMS, DEPTH
from spaceactors._codec_values import Values, by_field, remember
from spaceactors._kind import state_type

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from spaceactors._codec_fields import FieldClass
    from spaceactors._handle import SpaceHandle
    from spaceactors._handlers import Handler
    from spaceactors._kind import Kind

__all__ = ["CannotDecode", "CannotEncode", "Codec", "StoredError", "from_json"]


@final
class Codec:
    """Writes and reads the values of one runtime.

    Args:
        kinds: the actors whose states and calls are written; what their annotations name can be read.
        bind: makes a handle of a kind and an id.

    """

    __slots__ = ("_names", "_packers", "_targets", "_values")

    def __init__(self, kinds: Iterable[Kind], bind: Callable[[str, str], SpaceHandle[Any]]) -> None:
        kinds = tuple(kinds)
        self._names = ClassNames([kind.cls for kind in kinds], lambda: _annotations(kinds))
        self._values = Values(self._names, bind)
        self._packers = self._values.packers
        # What makes a kind's state, by the kind's name and the shape that heads the values.
        self._targets: dict[tuple[str, str], Callable[[Sequence[Any]], Any]] = {}

    # ---- values

    def encode(self, value: object, what: str = "value") -> bytes:
        """Return the bytes of a value; `what` is what errors call it. Raises `CannotEncode`."""
        try:
            cls = type(value)
            return dump(value if cls in ATOMS else self._packers[cls](value, DEPTH))
        except Exception as error:
            raise self._refusal(value, what, error) from None

    def decode(self, data: bytes) -> Any:
        """Return the value of bytes. Raises `CannotDecode`."""
        try:
            plain = load(data)
            return plain if type(plain) in ATOMS else self._values.unpack_array(plain)
        except Exception as error:
            raise _damaged(error) from error

    def _refusal(self, value: object, what: str, error: BaseException) -> CannotEncode:
        return refusal(value, what, self._values.parts, error)

    # ---- states

    def encode_state(self, kind: Kind, state: object) -> bytes:
        """Return the bytes of a state, with the version of its class. Raises `CannotEncode`."""
        try:
            return dump((tags.STATE, _version(kind), self._values.pack(state)))
        except Exception as error:
            raise self._refusal(state, f"the state of {kind.name}", error) from None

    def decode_state(self, kind: Kind, data: bytes) -> Any:
        """Return a state, brought up to date by the actor's `upgrade_state` if it is older. Raises `CannotDecode`."""
        try:
            tag, version, plain = load(data)
            _expect(tag, tags.STATE)
            if _is_older(kind, version):
                old = self._fields_of(plain)
                return self._state_of_fields(kind, kind.cls.upgrade_state(old, version))
            return self._state(kind, plain)
        except Exception as error:
            raise _damaged(error, f"the stored state of {kind.name}") from error

    def _state(self, kind: Kind, plain: Any) -> Any:
        if not tags.is_tagged(plain, tags.OBJECT):
            return self._values.unpack(plain)
        _, shape, *values = plain
        make = self._targets.get((kind.name, shape))
        if make is None:
            make = self._state_maker(kind, shape)
            remember(self._targets, (kind.name, shape), make)
        return make(self._values.unpack_each(values))

    def _state_maker(self, kind: Kind, shape: str) -> Callable[[Sequence[Any]], Any]:
        name, labels = split_shape(shape)
        today = self._state_classes(kind)
        found = self._names.find_or_none(name)
        # One class that has no heirs cannot be mistaken: it is the stored one under a new name.
        if len(today) == 1 and not today[0].has_heirs and found is not today[0].cls:
            return today[0].maker(labels)
        return self._values.maker(shape)

    def _state_classes(self, kind: Kind) -> list[FieldClass]:
        annotation = state_type(kind.cls, Actor)
        found = [self._values.fields_of(one) for one in (annotation, *parts_of(annotation)) if isinstance(one, type)]
        return [one for one in found if one is not None]

    def _state_of_fields(self, kind: Kind, fields: Any) -> Any:
        if not isinstance(fields, dict):
            msg = f"{kind.cls.__name__}.upgrade_state must return a dict of fields, not {fields!r:.100}"
            raise CannotDecode(msg)
        values = cast("dict[str, Any]", fields)
        today = self._state_classes(kind)
        if values.keys() == {"value"} and not any("value" in one.fields for one in today):
            return values["value"]
        if not today:
            msg = f"{kind.cls.__name__}.upgrade_state must return {{'value': the state}}: its state has no fields"
            raise CannotDecode(msg)
        problems: list[CannotDecode] = []
        for one in today:
            try:
                return one.maker(tuple(values))(list(values.values()))
            except CannotDecode as problem:
                problems.append(problem)
        raise problems[0]

    def _fields_of(self, plain: Any) -> dict[str, Any]:
        """Return the fields of an older state as far as today's classes can say what they are."""
        if tags.is_tagged(plain, tags.OBJECT):
            _, shape, *values = plain
            return by_field(split_shape(shape)[1], [self._values.lenient(value) for value in values])
        return {"value": self._values.lenient(plain)}

    # ---- calls

    def encode_call(
        self, kind: Kind, handler: Handler, args: tuple[Any, ...], kwargs: Mapping[str, Any], extra: object = None
    ) -> bytes:
        """Return the bytes of a call; `extra` is any value that goes with it. Raises `CannotEncode`."""
        try:
            pack = self._packers[tuple]
            called = self._values.pack({**kwargs}) if kwargs else None
            version: int = kind.cls.__spaceactors_version__
            return dump((tags.CALL, handler.name, version, pack(args, DEPTH), called, self._values.pack(extra)))
        except Exception as error:
            for what, value in (("args", args), ("kwargs", {**kwargs}), ("extra", extra)):
                self.encode(value, what)
            raise self._refusal(args, "args", error) from None

    def decode_call(self, kind: Kind, data: bytes) -> tuple[Handler, tuple[Any, ...], dict[str, Any], Any]:
        """Return a call's handler, arguments and extra, brought up to date by `upgrade_call`. Raises `CannotDecode`."""
        try:
            tag, name, version, plain_args, plain_kwargs, plain_extra = load(data)
            _expect(tag, tags.CALL)
            older = _is_older(kind, version)
            read = self._values.lenient if older else self._values.unpack
            args: tuple[Any, ...] = read(plain_args)
            kwargs: dict[str, Any] = read(plain_kwargs) or {}
            if older:
                name, args, kwargs = kind.cls.upgrade_call(name, args, kwargs, version)
            handler = _fitting(kind, name, args, kwargs)
            if older:
                args, kwargs = self._converted(handler, args, kwargs)
            return handler, args, kwargs, self._values.unpack(plain_extra)
        except Exception as error:
            raise _damaged(error, f"a stored message of {kind.name}") from error

    @staticmethod
    def names_in_call(data: bytes) -> tuple[str | None, str | None]:
        """Return the name of a call and the first part of its extra, None for what cannot be read: for parked ones."""
        with suppress(Exception):
            match load(data):
                case [tags.CALL, str(name), _, _, _, [tags.TUPLE, str(first), *_]]:
                    return name, first
                case [tags.CALL, str(name), *_]:
                    return name, None
                case _:
                    pass
        return None, None

    def _converted(
        self, handler: Handler, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Make objects of plain dicts where the handler says of which class: what is left of older classes."""
        bound = handler.signature.bind(None, *args, **kwargs)
        written = {name: one.annotation for name, one in handler.signature.parameters.items()}
        hints = resolved(written, handler.function.__module__, {})
        for name, value in bound.arguments.items():
            wanted = hints.get(name)
            known = self._values.fields_of(wanted) if type(value) is dict and isinstance(wanted, type) else None
            if known is not None:
                fields = cast("dict[str, Any]", value)
                bound.arguments[name] = known.maker(tuple(fields))(list(fields.values()))
        return bound.args[1:], bound.kwargs

    # ---- classes

    def name_of(self, cls: object) -> str:
        """Return the name by which `find_class` knows a class, in this process and the next; "" for what is none."""
        if not isinstance(cls, type):
            return ""
        self._names.see(cls)
        return name_of(cls)

    def find_class(self, name: str) -> type[Any] | None:
        """Return the class of a name that `name_of` gave, None if this program has none."""
        return self._names.find_or_none(name)

    # ---- errors

    def encode_error(self, error: BaseException) -> bytes:
        """Return the bytes of an error; of one that cannot be written as it is, its name, text and traceback."""
        whole: Any = None
        try:
            whole = self._values.pack(error)
            if len(dump(whole)) > MOST_TRACEBACK:
                whole = None
        except Exception:
            whole = None
        causes = [(tags.LIST, name_of_error(one), text_of(one)) for one in causes_of(error)]
        name = error.type_name if isinstance(error, StoredError) else name_of_error(error)
        return dump((tags.FAILURE, whole, name, text_of(error), traceback_of(error), (tags.LIST, *causes)))

    def decode_error(self, data: bytes) -> BaseException:
        """Return an error like the one stored, with its `stored_traceback`; a `StoredError` if its class is gone.

        Raises `CannotDecode` where no error was stored.
        """
        try:
            tag, whole, name, text, where, causes = load(data)
            _expect(tag, tags.FAILURE)
            causes = [cause[1:] for cause in causes[1:]]
            return with_story(self._error(whole) or StoredError(name, text), where, causes)
        except Exception as error:
            raise _damaged(error, "a stored error") from error

    def _error(self, whole: Any) -> BaseException | None:
        try:
            found = self._values.unpack_array(whole) if whole is not None else None
        except Exception:
            return None
        return found if isinstance(found, BaseException) else None


def _annotations(kinds: Iterable[Kind]) -> Iterable[Any]:
    for kind in kinds:
        yield state_type(kind.cls, Actor)
        for handler in kind.handlers.values():
            written = getattr(handler.function, "__annotations__", {})
            yield from resolved(written, handler.function.__module__, vars(kind.cls)).values()
            yield from handler.throws


def _version(kind: Kind) -> int:
    version: int = kind.cls.__spaceactors_version__
    return version


def _is_older(kind: Kind, version: int) -> bool:
    """Tell whether an older program wrote it. Raises `CannotDecode` if it was a newer one."""
    today = _version(kind)
    if version > today:
        msg = f"it was written by version {version} of {kind.cls.__name__}, this is version {today}: run the newer one"
        raise CannotDecode(msg)
    return version < today


def _fitting(kind: Kind, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Handler:
    """Return the handler of a stored call. Raises `CannotDecode`."""
    handler = kind.by_name.get(name)
    if handler is None:
        msg = (
            f"{kind.cls.__name__} has no handler {name!r} any more: keep the old name with @handler(name={name!r}), or"
            " raise its state_version and write `upgrade_call`"
        )
        raise CannotDecode(msg)
    if kwargs or not handler.least <= len(args) <= handler.most:
        problem = handler.misfit(args, kwargs)
        if problem is not None:
            msg = f"its arguments do not fit {kind.cls.__name__}.{problem}; raise state_version, write `upgrade_call`"
            raise CannotDecode(msg)
    return handler


def _damaged(error: Exception, what: str = "a stored value") -> CannotDecode:
    if type(error) is CannotDecode:
        return CannotDecode(f"{what} cannot be read: {error}")
    return CannotDecode(f"{what} cannot be read: {type(error).__name__}: {str(error)[:200]}")


def _expect(tag: object, wanted: int) -> None:
    if tag != wanted:
        msg = f"it begins with {tag!r:.20} and not with {wanted}: it is something else"
        raise CannotDecode(msg)
