"""How a refusal says when to come again.

Pure: no Trio, no clock; time is an argument.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from supervisors._capacity import CapacityError

E = TypeVar("E", bound="CapacityError")


def seconds_until(now: float, then: float) -> float:
    """Return how long to sleep at `now` so as to wake at `then` or later.

    The plain difference may be rounded down: its sleeper wakes a hair too early, is refused, and sleeps for nothing.
    """
    after = max(0.0, then - now)
    while now + after < then:
        after += math.ulp(max(now, after))
    return after


def refusal(kind: type[E], text: str, now: float, then: float) -> E:
    """Return an error of that kind which tells, in its text and as `retry_after`, in how many seconds `then` is."""
    after = seconds_until(now, then)
    error = kind(f"{text}; try again in {after:.3g} s")
    error.retry_after = after
    return error
