"""Why a value cannot be written, where in it the culprit is, and what to use instead: the slow second look."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterator, Mapping
from functools import partial
from types import BuiltinFunctionType, FunctionType, MappingProxyType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from spaceactors._codec_errors import CannotEncode
from spaceactors._codec_tags import ATOMS, DEPTH, class_of
from spaceactors._message import short

if TYPE_CHECKING:
    # An object of a known class -> what it is made of, with how one writes the way to each.
    Parts: TypeAlias = Callable[[Any], list[tuple[str, Any]]]

_KEPT_ELSEWHERE = "keep it with the dependencies (deps=) and pass what names it"
# By module and class, since none of these is worth an import.
_BY_NAME: dict[tuple[str, str], tuple[str, str]] = {
    ("_socket", "socket"): ("a socket", _KEPT_ELSEWHERE),
    ("trio._socket", "_SocketType"): ("a socket", _KEPT_ELSEWHERE),
    ("trio.abc", "AsyncResource"): ("a stream or channel", _KEPT_ELSEWHERE),
    ("_io", "_IOBase"): ("an open file", "pass its path, or what is in it as bytes"),
    ("_thread", "lock"): ("a lock", "one turn runs at a time and needs none"),
    ("_thread", "RLock"): ("a lock", "one turn runs at a time and needs none"),
    ("trio", "Lock"): ("a lock", "one turn runs at a time and needs none"),
    ("trio", "Event"): ("an event", "ask for an answer, or emit and subscribe"),
    ("spaceactors._actor", "Actor"): ("an actor", "pass its handle (self.handle)"),
    ("spaceactors._message", "Message"): ("a message", "pass its id and its arguments"),
}
_SUBCLASSED = (str, bytes, int, float, list, dict, tuple, set, frozenset)
_FUNCTIONS = (FunctionType, BuiltinFunctionType, MethodType, partial)
_WHAT_IT_GIVES = "pass a tuple of what it gives"
_BY_CLASS: tuple[tuple[Any, tuple[str, str]], ...] = (
    (type, ("the class {name}", "pass its name")),
    (_FUNCTIONS, ("a function", "pass the values that it works on, and have the handler call it")),
    (Generator, ("a generator", _WHAT_IT_GIVES)),
    (AsyncGenerator, ("an async generator", _WHAT_IT_GIVES)),
    (Coroutine, ("a coroutine", "await it and pass its result")),
    (ModuleType, ("a module", "pass its name")),
    (memoryview, ("a memoryview", "pass bytes(value)")),
    (_SUBCLASSED, ("{a}, a subclass of {base},", "pass {base}(value), or hold it in a field of a frozen class")),
    (Iterator, ("{a}", _WHAT_IT_GIVES)),
)
_ANY = ("{a}", "make it a frozen attrs class, a dataclass or a named tuple, or pass what is in it")


def refusal(value: Any, what: str, parts_of: Parts | None, error: BaseException) -> CannotEncode:
    """Return the error for a value that could not be packed.

    Args:
        value: the value.
        what: what to call it.
        parts_of: what an object of a class that can be written is made of; it raises `KeyError` for others.
        error: what came of packing it.

    """
    try:
        text = _look(value, what, parts_of, ())
    except RecursionError:
        text = f"{what}: it is nested too deeply to be written"
    except Exception as other:
        error, text = other, None
    return CannotEncode(text or _unexplained(value, what, error))


def _unexplained(value: object, path: str, error: BaseException) -> str:
    reason = str(error) if isinstance(error, CannotEncode) else f"{type(error).__name__}: {short(error, 200)}"
    return f"{_end(path)}: {short(value)} cannot be written: {reason}"


def _look(value: Any, path: str, parts_of: Any, above: tuple[int, ...]) -> str | None:
    """Return what is wrong with the first culprit in a value, None if there is none."""
    if type(value) in ATOMS:
        return None
    if id(value) in above:
        return f"{_end(path)}: it contains itself; write a tree, with names for what comes twice"
    if len(above) > DEPTH:
        return f"{_end(path)}: it is nested more than {DEPTH} levels deep; make it flat, or write it as one text"
    parts = _elements(value)
    if parts is None:
        try:
            parts = parts_of(value)
        except KeyError:
            thing, instead = advice(value)
            return f"{_end(path)}: {thing} cannot be written; {instead}"
        except RecursionError:
            raise
        except Exception as problem:
            return _unexplained(value, path, problem)
    above = (*above, id(value))
    found = (_look(part, path + step, parts_of, above) for step, part in parts)
    return next((text for text in found if text is not None), None)


def _end(path: str, most: int = 200) -> str:
    return path if len(path) <= most else f"…{path[-most:]}"


def _elements(value: Any) -> list[tuple[str, Any]] | None:
    if type(value) in {list, tuple, deque}:
        return [(f"[{place}]", one) for place, one in enumerate(value)]
    if type(value) in {dict, OrderedDict, MappingProxyType}:
        pairs = cast("Mapping[Any, Any]", value).items()
        keys = [(f" (the key {short(key)})", key) for key, _ in pairs]
        return keys + [(f"[{short(key)}]", one) for key, one in pairs]
    if type(value) in {set, frozenset}:
        return [(f" (the element {short(one)})", one) for one in value]
    return None


def lives_in_a_run(cls: type[Any]) -> bool:
    """Tell whether objects of a class mean something only while this program runs, though their fields are known."""
    return any(
        base.__module__.partition(".")[0] == "trio" or (base.__module__, base.__name__) in _BY_NAME
        for base in cls.__mro__
    )


def advice(value: Any) -> tuple[str, str]:
    """Return what a value is that cannot be written, and what to use instead."""
    cls = class_of(value)
    named = next((_BY_NAME[it] for base in cls.__mro__ if (it := (base.__module__, base.__name__)) in _BY_NAME), None)
    if named is not None:
        return named
    if lives_in_a_run(cls):
        return _a(cls), _KEPT_ELSEWHERE
    held: Any = value
    thing, instead = next((text for sorts, text in _BY_CLASS if isinstance(value, sorts)), _ANY)
    extended = next((base.__name__ for base in _SUBCLASSED if isinstance(value, base)), "")
    words = {"a": _a(cls), "name": getattr(held, "__qualname__", ""), "base": extended}
    return thing.format(**words), instead.format(**words)


def _a(cls: type[Any]) -> str:
    return f"{'an' if cls.__qualname__[:1].lower() in 'aeiou' else 'a'} {cls.__qualname__}"
