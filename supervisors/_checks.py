"""Checks of numbers at the door.

Pure: no Trio, no clock.
"""

from __future__ import annotations

import math

from supervisors._spec import check_seconds


def is_whole(value: object) -> bool:
    """Return whether it is a whole number; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def check_whole(what: str, value: object, *, least: int) -> int:
    """Refuse what is no whole number, or too small a one."""
    if not isinstance(value, int) or isinstance(value, bool):
        msg = f"{what} must be a whole number such as {max(least, 5)}, not {value!r}"
        raise TypeError(msg)
    if value < least:
        msg = f"{what} must be {least} or more, not {value!r}"
        raise ValueError(msg)
    return value


def check_span(what: str, value: float) -> float:
    """Refuse a span of time that is not above zero and below infinity."""
    check_seconds(what, value)
    if not 0 < value < math.inf:
        msg = f"{what} must be more than 0 seconds and not infinite, not {value!r}"
        raise ValueError(msg)
    return float(value)
