"""How long to wait before the next attempt.

Pure: no Trio, no clock; chance comes from the given random source.
"""

from __future__ import annotations

import math
import random as random_module
from random import Random
from typing import TYPE_CHECKING, final

from attrs import field, frozen

if TYPE_CHECKING:
    from tenacity import RetryCallState

    from supervisors._spec import Backoff

# Attempts count no further for the wait: every strategy is at its maximum long before, and powers only cost memory.
MOST_ATTEMPTS = 10_000


@final
@frozen
class ExponentialBackoff:
    """The delays of `exponential_backoff`, as a value that can be printed, compared and pickled."""

    minimum: float
    maximum: float
    jitter: float
    random: Random | None = field(default=None, repr=False, eq=False)

    def bounds(self, attempt: int) -> tuple[float, float]:
        """Return the least and the most seconds for an attempt, counted from 0."""
        try:
            base = min(math.ldexp(self.minimum, attempt), self.maximum)
        except OverflowError:
            base = self.maximum
        high = min(base * (1 + self.jitter), self.maximum)
        # At the cap the room for jitter is below it, or all who failed together would restart in step.
        low = max(min(base, high / (1 + self.jitter)), min(self.minimum, high))
        return low, high

    def delay(self, attempt: int) -> float:
        """Draw the seconds to wait for an attempt, counted from 0."""
        low, high = self.bounds(min(attempt, MOST_ATTEMPTS))
        uniform = random_module.uniform if self.random is None else self.random.uniform
        return uniform(low, high)

    def __call__(self, state: RetryCallState) -> float:
        """Draw the seconds to wait, as tenacity calls its wait strategies."""
        return self.delay(state.attempt_number - 1)


def exponential_backoff(
    minimum: float = 1.0,
    maximum: float = 30.0,
    jitter: float = 0.5,
    *,
    random: Random | None = None,
) -> ExponentialBackoff:
    """Wait `minimum`, then twice as long each time, up to `maximum` seconds.

    Each wait is drawn from a span of `jitter` (0.5: half as long again), so that a thousand children that failed
    together do not come back in step; never more than `maximum`. A `random` source of your own makes the draws
    repeatable. Raises `ValueError` unless `0 < minimum <= maximum` and `jitter >= 0`.
    """
    if not 0 < minimum <= maximum < math.inf:
        msg = f"minimum and maximum must be seconds with 0 < minimum <= maximum, not {minimum!r} and {maximum!r}"
        raise ValueError(msg)
    if not 0 <= jitter < math.inf:
        msg = f"jitter must be a share such as 0.5, 0 for none, not {jitter!r}"
        raise ValueError(msg)
    return ExponentialBackoff(minimum, maximum, jitter, random)


def delay_of(backoff: Backoff | None, attempt: int, error: BaseException | None) -> float:
    """Return the seconds to wait before the `attempt`-th restart in a row (from 1); None: it just returned."""
    if backoff is None:
        return 0.0
    if isinstance(backoff.wait, ExponentialBackoff):
        return backoff.wait.delay(attempt - 1)
    seconds = float(backoff.wait(_call_state(attempt, error)))
    if not math.isfinite(seconds):
        msg = f"the backoff's wait must give a finite number of seconds, not {seconds!r} (attempt {attempt})"
        raise ValueError(msg)
    return max(0.0, seconds)


def _call_state(attempt: int, error: BaseException | None) -> RetryCallState:
    # Imported late: tenacity costs 10 ms, and only programs that use its strategies need it.
    from tenacity import AsyncRetrying, RetryCallState

    state = RetryCallState(AsyncRetrying(), None, (), {})
    state.attempt_number = min(attempt, MOST_ATTEMPTS)
    if error is None:
        state.set_result(None)
    else:
        state.set_exception((type(error), error, error.__traceback__))
    return state
