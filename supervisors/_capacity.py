"""What is said about what is scarce: limits, priorities, and how a request for capacity can fail.

Pure: data and checks only.
"""

from __future__ import annotations

from enum import Enum, IntEnum
from math import ceil
from typing import TYPE_CHECKING, Any, cast, final

from attrs import Attribute, field, frozen

from supervisors._spec import check_choice, check_name, check_seconds

if TYPE_CHECKING:
    from collections.abc import Collection

# Of so many acquisitions the waits are remembered, per limit: enough for a 99th percentile that ten of them decide.
REMEMBERED_WAITS = 1000


class WhenFull(Enum):
    """What a limit does with a request when it has no token left.

    `WAIT`: it waits in line. `REFUSE`: it gets `CapacityRefused` at once.
    """

    WAIT = "wait"
    REFUSE = "refuse"


class Priority(IntEnum):
    """Who comes first in a line; inside one priority, those with different fair keys take turns.

    Waiting makes up for it: see `Limits(ageing=)`.
    """

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

    When you would want it: a provider that allows five calls at once, a device for one, a bound on what runs at all.

    Args:
        name: what `hold` calls it.
        tokens: how many may hold it at once; 0 lets nobody in until it is resized.
        max_waiting: how long its line may get (None: no bound); one more gets `CapacityQueueFull`.
        wait_timeout: seconds that a request may wait in the line (None: for ever); then it gets `CapacityTimeout`.
        when_full: what becomes of a request when no token is free.
        preemptible: a request of priority URGENT that finds no token takes one away from a holder below URGENT, of the
            lowest priority, and there from the one who got it last; that holder's block is cancelled and ends with
            `Preempted`. With `WhenFull.REFUSE` it is refused only if there is no such holder.

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
        if not isinstance(cast("object", self.preemptible), bool):
            msg = f"preemptible of limit {self.name!r} must be True or False, not {self.preemptible!r}"
            raise TypeError(msg)
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
class WaitTimes:
    """How long the last 1,000 acquisitions of a limit waited: so many seconds or less, for 50, 95 and 99 in a hundred.

    Those who got their token at once count as 0.0; those who were refused or left do not count.
    """

    p50: float = 0.0
    p95: float = 0.0
    p99: float = 0.0


def wait_times(seconds: Collection[float]) -> WaitTimes:
    """Sum up waits; each percentile is one of them (the nearest rank), so that nothing is shown that never was."""
    if not seconds:
        return WaitTimes()
    ordered = sorted(seconds)
    count = len(ordered)
    return WaitTimes(*(ordered[ceil(percent * count / 100) - 1] for percent in (50, 95, 99)))


@final
@frozen
class LimitStatistics:
    """One limit at one moment.

    `oldest_wait` in seconds; since the limit was made, `refused` counts who got no token (refused, the line full, too
    long in it) and `preempted` whose token was taken away; `waits` are those of the last acquisitions.
    """

    tokens: int
    held: int
    waiting: int
    oldest_wait: float
    refused: int
    preempted: int
    waits: WaitTimes = WaitTimes()


class CapacityError(Exception):
    """Base class of what can go wrong with limits, rates, breakers and locks: the work did not begin, or was cut short.

    `retry_after`: in how many seconds it makes sense to try again, where that is known (rates, breakers); else None.
    """

    retry_after: float | None = None


class CapacityRefused(CapacityError):
    """What is wanted (a token, permits, a lock) is not there now, and this request does not wait: try again later."""


class CapacityQueueFull(CapacityError):
    """The line is as long as it may be: try again later."""


class CapacityTimeout(CapacityError, TimeoutError):
    """What was waited for (a token, permits, a lock) did not come in the time that a request may wait."""


class Preempted(CapacityError):
    """The token was taken away for a more urgent request."""


class LeaseExpired(CapacityError):
    """The lease of a lock ended before the block that held it."""


class UnknownLimit(CapacityError, LookupError):
    """No limit and no rate of that name is there."""


class CircuitOpen(CapacityError):
    """Calls to a failing service are held back for a while."""
