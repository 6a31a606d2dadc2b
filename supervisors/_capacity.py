"""What is said about what is scarce: limits, priorities, and how a request for capacity can fail.

Pure: data and checks only.
"""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import Any, final

from attrs import Attribute, field, frozen

from supervisors._spec import check_choice, check_name, check_seconds


class WhenFull(Enum):
    """What a limit does with a request when it has no token left.

    `WAIT`: it waits in line. `REFUSE`: it gets `CapacityRefused` at once.
    """

    WAIT = "wait"
    REFUSE = "refuse"


class Priority(IntEnum):
    """Who comes first in a line; inside one priority, who came first."""

    LOW = 0
    NORMAL = 1
    HIGH = 2
    URGENT = 3


def check_tokens(name: str, tokens: object) -> None:
    """Refuse a number of tokens that is no whole number or below zero."""
    if not isinstance(tokens, int) or isinstance(tokens, bool):
        msg = f"the tokens of limit {name!r} must be a whole number such as 5, not {tokens!r}"
        raise TypeError(msg)
    if tokens < 0:
        msg = f"the tokens of limit {name!r} must be 0 or more, not {tokens!r}"
        raise ValueError(msg)


def _is_line_length(limit: Limit, _attribute: Attribute[Any], value: object) -> None:
    if value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool):
        msg = f"max_waiting of limit {limit.name!r} must be a whole number or None, not {value!r}"
        raise TypeError(msg)
    if value < 0:
        msg = f"max_waiting of limit {limit.name!r} must be 0 or more, not {value!r}"
        raise ValueError(msg)


@final
@frozen
class Limit:
    """So many tokens of something scarce, under a name.

    `max_waiting` bounds the line (None: no bound), `wait_timeout` the seconds in it (None: for ever).
    """

    name: str
    tokens: int
    max_waiting: int | None = field(default=None, validator=_is_line_length)
    wait_timeout: float | None = None
    when_full: WhenFull = WhenFull.WAIT
    preemptible: bool = False

    def __attrs_post_init__(self) -> None:
        check_name("the name of a limit", self.name)
        check_tokens(self.name, self.tokens)
        check_choice("when_full", WhenFull, self.when_full)
        if self.wait_timeout is not None:
            check_seconds("wait_timeout", self.wait_timeout)


@final
@frozen
class Waiter:
    """One request in a limit's line: at which `position` (1 is next), since when (seconds of Trio's clock)."""

    limit: str
    fair_key: str | None
    priority: Priority
    position: int
    since: float


@final
@frozen
class LimitStatistics:
    """One limit at one moment; `oldest_wait` in seconds, `refused` and `preempted` since it was made."""

    tokens: int
    held: int
    waiting: int
    oldest_wait: float
    refused: int
    preempted: int


class CapacityError(Exception):
    """Base class of what can go wrong with limits; the work itself was not begun or was taken away."""


class CapacityRefused(CapacityError):
    """No token is free, and nobody may wait for one: try again later."""


class CapacityQueueFull(CapacityError):
    """The line is as long as it may be: try again later."""


class CapacityTimeout(CapacityError, TimeoutError):
    """No token came in the time that a request may wait."""


class Preempted(CapacityError):
    """The token was taken away for a more urgent request."""


class LeaseExpired(CapacityError):
    """The token was held for longer than allowed."""


class UnknownLimit(CapacityError, LookupError):
    """No limit of that name is there."""


class CircuitOpen(CapacityError):
    """Calls to a failing service are held back for a while."""
