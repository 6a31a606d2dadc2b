"""Checks of the numbers that adaptive rules are made of.

Pure: data and checks only.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from attrs import Attribute


def _number(attribute: Attribute[Any], value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        msg = f"{attribute.name} must be a number, not {value!r}"
        raise TypeError(msg)
    return value


def _refuse(attribute: Attribute[Any], value: object, range_: str) -> None:
    msg = f"{attribute.name} must be {range_}, not {value!r}"
    raise ValueError(msg)


def is_growth(_rule: object, attribute: Attribute[Any], value: object) -> None:
    """Above zero."""
    if _number(attribute, value) <= 0:
        _refuse(attribute, value, "more than 0")


def is_shrink(_rule: object, attribute: Attribute[Any], value: object) -> None:
    """Between zero and one."""
    if not 0 < _number(attribute, value) < 1:
        _refuse(attribute, value, "more than 0 and less than 1, such as 0.8")


def is_share(_rule: object, attribute: Attribute[Any], value: object) -> None:
    """From zero to one."""
    if not 0 <= _number(attribute, value) <= 1:
        _refuse(attribute, value, "from 0 to 1, such as 0.1")


def is_above_one(_rule: object, attribute: Attribute[Any], value: object) -> None:
    """Above one."""
    if _number(attribute, value) <= 1:
        _refuse(attribute, value, "more than 1, such as 1.1")


def is_target(_rule: object, attribute: Attribute[Any], value: object) -> None:
    """Seconds above zero, or None."""
    if value is not None and _number(attribute, value) <= 0:
        _refuse(attribute, value, "more than 0 seconds, or None")


def is_windows(_rule: object, attribute: Attribute[Any], value: object) -> None:
    """A whole number from one."""
    if not isinstance(value, int) or isinstance(value, bool):
        msg = f"{attribute.name} must be a whole number of windows such as 50, not {value!r}"
        raise TypeError(msg)
    if value < 1:
        _refuse(attribute, value, "1 or more")
