"""Restart budgets: may it be restarted, and after how long.

Pure: no Trio, no clock, no logging; time is an argument, chance lies in the wait strategy.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, final

from attrs import define, frozen

from supervisors._backoff import delay_of

if TYPE_CHECKING:
    from supervisors._spec import Backoff, RestartLimit


@final
@frozen
class Restarting:
    """Restart after `delay` seconds: the `attempt`-th in a row, the `restarts`-th inside the window (both from 1)."""

    delay: float
    attempt: int
    restarts: int


@final
@frozen
class GiveUp:
    """Restart it no more; `history` are the times of the crashes inside the window, this one included."""

    history: tuple[float, ...]


def crashes_within(history: tuple[float, ...], period: float, now: float) -> tuple[float, ...]:
    """Return the crashes of the last `period` seconds, its edge included, and this one."""
    return (*(then for then in history if now - then <= period), now)


def next_attempt(attempts: int, quiet_since: float, limit: RestartLimit, backoff: Backoff | None, now: float) -> int:
    """Return the number, from 1, of the next restart in a row; after enough quiet a new row begins."""
    reset_after = limit.period if backoff is None or backoff.reset_after is None else backoff.reset_after
    return 1 if now - quiet_since >= reset_after else attempts + 1


@final
@define
class Budget:
    """One child's own restart budget.

    Small, and empty until the first crash: there may be one for each of a hundred thousand children.
    """

    limit: RestartLimit
    backoff: Backoff | None = None
    # The crashes that were answered by a restart, oldest first, as far as they still count.
    history: tuple[float, ...] = ()
    # Restarts in a row, without quiet between them.
    attempts: int = 0
    last_crash: float = -math.inf
    # When the present incarnation began, or is due to: waiting out a backoff is no quiet.
    quiet_since: float = -math.inf

    def after_crash(self, error: BaseException | None, now: float) -> Restarting | GiveUp:
        """Decide about a crash at `now`, and remember it."""
        crashes = crashes_within(self.history, self.limit.period, now)
        if len(crashes) > self.limit.restarts:
            self.last_crash = now
            return GiveUp(crashes)
        restarting = self.retry(error, now, len(crashes))
        self.history = crashes
        return restarting

    def retry(self, error: BaseException | None, now: float, restarts: int) -> Restarting:
        """Decide about the wait only, where somebody else has counted the restarts of the window."""
        self.last_crash = now
        attempt = next_attempt(self.attempts, self.quiet_since, self.limit, self.backoff, now)
        delay = delay_of(self.backoff, attempt, error)
        self.attempts, self.quiet_since = attempt, now + delay
        return Restarting(delay, attempt, restarts)

    def started(self, now: float) -> None:
        """Say when the new incarnation began: quiet is counted from then."""
        self.quiet_since = now

    def reset(self) -> None:
        """Forget all crashes."""
        self.history, self.attempts, self.last_crash, self.quiet_since = (), 0, -math.inf, -math.inf
