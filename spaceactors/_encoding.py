"""Whether a value could be written by a durable store: the check of `MemoryStore(check_encoding=True)`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from spaceactors._errors import BadCall

if TYPE_CHECKING:
    from collections.abc import Callable


def encoding_check() -> Callable[[object], None]:
    """Return a function that raises `BadCall` for a value which a durable store could not write; loads msgspec."""
    try:
        # Only who asks for the check needs the library.
        import_module("msgspec.msgpack")
        from spaceactors._codec import Codec
    except ModuleNotFoundError as error:
        msg = "MemoryStore(check_encoding=True) needs msgspec: pip install 'spaceactors[encoding]'"
        raise ModuleNotFoundError(msg, name=error.name) from error
    from spaceactors._handle import SpaceHandle

    codec = Codec((), lambda kind, space_id: SpaceHandle(None, None, kind, space_id))

    def check(value: object) -> None:
        try:
            codec.encode(value)
        except TypeError as error:
            msg = f"a durable store could not write {error}"
            raise BadCall(msg) from error

    return check
