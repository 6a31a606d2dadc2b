"""Whether a value could be written by a durable store: the check of `MemoryStore(check_encoding=True)`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from spaceactors._errors import BadCall
from spaceactors._handle import SpaceHandle

if TYPE_CHECKING:
    from collections.abc import Callable


def _as_plain(value: Any) -> object:
    """Say how a value is written that MessagePack does not know."""
    if isinstance(value, SpaceHandle):
        return value.key
    msg = f"a {type(value).__name__} cannot be written"
    raise TypeError(msg)


def encoding_check() -> Callable[[object], None]:
    """Return a function that raises `BadCall` for a value which MessagePack cannot write; loads msgspec."""
    try:
        # Only who asks for the check needs the library.
        encode: Callable[..., bytes] = import_module("msgspec.msgpack").encode
    except ModuleNotFoundError as error:
        msg = "MemoryStore(check_encoding=True) needs msgspec: pip install 'spaceactors[encoding]'"
        raise ModuleNotFoundError(msg, name=error.name) from error

    def check(value: object) -> None:
        try:
            encode(value, enc_hook=_as_plain)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            msg = (
                f"a durable store could not write {value!r:.200}: {error}; use numbers, texts, bytes, dates, enums,"
                " tuples, dicts, and frozen classes of these"
            )
            raise BadCall(msg) from error

    return check
