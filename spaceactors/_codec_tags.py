"""The written form: plain MessagePack, in which every array begins with one of these numbers.

None, booleans, numbers, texts, bytes and maps with text keys stand for themselves. Everything else is an array that
says in its first place what it is. The numbers are in people's files: never change one, never use one again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeGuard

if TYPE_CHECKING:
    from collections.abc import Callable

# Then the plain form: a value with numbers or texts that MessagePack has no room for, hardened (`_codec_plain`).
HARD: Final = 0
LIST: Final = 1
TUPLE: Final = 2
# Then keys and values in turn.
DICT: Final = 3
SET: Final = 4
FROZENSET: Final = 5
# Then "module:qualname(label,label)" and the values: see `_codec_fields`.
OBJECT: Final = 6
# Then "module:qualname" and the name of the member.
ENUM: Final = 7
# Then "module:qualname" and the value.
FLAG: Final = 8
# Then "module:qualname", the arguments, the attributes.
ERROR: Final = 9
# Then kind and id.
HANDLE: Final = 10
# Inside HARD only. Then bytes, little-endian and signed; bytes, with surrogates; keys and values.
BIG_INT: Final = 11
ODD_TEXT: Final = 12
ODD_MAP: Final = 13
# Then the ISO text; or that and the fold; or these and the zone; or these, None, the offset in microseconds, the name.
DATETIME: Final = 14
TIME: Final = 15
# Then the ISO text.
DATE: Final = 16
# Then days, seconds, microseconds.
TIMEDELTA: Final = 17
DECIMAL: Final = 18
FRACTION: Final = 19
UUID: Final = 20
# Then the class and the text.
PATH: Final = 21
RANGE: Final = 22
COMPLEX: Final = 23
# as DICT
ORDERED_DICT: Final = 24
MAPPING_PROXY: Final = 25
BYTEARRAY: Final = 26
# Then the greatest length or None, and the items.
DEQUE: Final = 27
# Envelopes. Then version and state; name, version, args, kwargs, extra; error, class, text, traceback, causes.
STATE: Final = 64
CALL: Final = 65
FAILURE: Final = 66

# What stands for itself, alone and as an element.
ATOMS: Final[frozenset[type]] = frozenset({type(None), bool, int, float, str, bytes})
STR_ONLY: Final[frozenset[type]] = frozenset({str})

# Levels of containers in containers. Far from what the interpreter's stack holds, wherever the codec is called from.
DEPTH: Final = 100

# `type`, as the type checkers should see it: what it says of a value of unknown type is not unknown too.
class_of: Callable[[object], type[Any]] = type


def is_tagged(plain: Any, tag: int) -> TypeGuard[list[Any]]:
    """Tell whether a plain value is an array of this sort."""
    parts = plain
    return type(plain) is list and bool(parts) and parts[0] == tag
