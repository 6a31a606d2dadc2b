"""From the counts of a database to what people and programs read of a store as a whole. Pure."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, cast, final

from attrs import define, field

from spaceactors._options import SpaceStatus
from spaceactors.admin._plain import plain_value
from spaceactors.admin._telling import date, readable
from spaceactors.stores._engine import QUARANTINED, STOPPED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spaceactors._snapshot import Ledger, Times
    from spaceactors.admin._requests import Row
    from spaceactors.stores._engine import Tally
    from supervisors import LimitStatistics

# In the order in which they are told; a space in memory is what it was when it was last written.
STATUSES = (SpaceStatus.PASSIVE, SpaceStatus.SUSPENDED, SpaceStatus.QUARANTINED, SpaceStatus.STOPPED)


@final
@define
class Counted:
    """The counters of spaces, summed up kind by kind."""

    kinds: dict[str, Counter[str]] = field(factory=dict[str, Counter[str]])

    def add(self, kind: str, counters: bytes, spaces: int = 1) -> None:
        """Add those of so many spaces; what cannot be read is left out."""
        told = readable(plain_value, counters)
        if not isinstance(told, dict):
            return
        its = self.kinds.setdefault(kind, Counter())
        for name, amount in cast("dict[str, Any]", told).items():
            if isinstance(amount, int | float):
                its[name] += amount * spaces  # type: ignore[assignment] # a counter may count halves


def store_figures(tally: Tally, counters: Mapping[str, Mapping[str, float]], now: float) -> Row:
    """Return what a store holds, kind by kind; `now` in seconds since 1970."""
    kinds = sorted({row[0] for table in tally for row in table})
    messages = {kind: rest for kind, *rest in tally.messages}
    timers = {kind: rest for kind, *rest in tally.timers}
    letters, questions = dict(tally.letters), dict(tally.questions)
    rows: list[Row] = []
    for kind in kinds:
        pending, asleep, oldest = messages.get(kind, (0, 0, None))
        due, next_due = timers.get(kind, (0, None))
        rows.append(
            {
                "kind": kind,
                **_spaces(kind, tally),
                "pending": pending,
                "asleep": asleep,
                "oldest_pending_at": date(oldest),
                "oldest_pending_seconds": None if oldest is None else round(max(now - oldest, 0.0), 3),
                "questions": questions.get(kind, 0),
                "timers": due,
                "next_timer_at": date(next_due),
                "dead_letters": letters.get(kind, 0),
                "counters": dict(sorted(counters.get(kind, {}).items())),
            }
        )
    return {"at": date(now), "kinds": rows}


def _spaces(kind: str, tally: Tally) -> Row:
    """Return how many spaces of a kind there are, by status, with how much they hold."""
    statuses: Counter[SpaceStatus] = Counter()
    asleep = {flags: spaces for its, flags, spaces in tally.asleep if its == kind}
    mine = [rest for its, *rest in tally.spaces if its == kind]
    for flags, spaces, _, _ in mine:
        quarantined, sleeping = bool(flags & QUARANTINED), asleep.get(flags, 0)
        awake = SpaceStatus.STOPPED if flags & STOPPED else SpaceStatus.PASSIVE
        statuses[SpaceStatus.QUARANTINED if quarantined else SpaceStatus.SUSPENDED] += sleeping
        statuses[SpaceStatus.QUARANTINED if quarantined else awake] += spaces - sleeping
    return {
        "spaces": statuses.total(),
        "status": {status.value: statuses[status] for status in STATUSES},
        "history": sum(entries for _, _, entries, _ in mine),
        "state_bytes": sum(size for _, _, _, size in mine),
    }


def service_figures(
    ledger: Ledger,
    statuses: Mapping[SpaceStatus, int],
    waiting: Times,
    handling: Times,
    limits: Mapping[str, LimitStatistics],
    *,
    restarts: int,
    stalls: int,
) -> Row:
    """Return how a running service fares since it began."""
    return {
        "accepted": ledger.accepted,
        "outcomes": {outcome.name.lower(): count for outcome, count in ledger.outcomes.items()},
        "pending": ledger.pending,
        "live": sum(statuses.values()),
        "status": {status.value: count for status, count in statuses.items()},
        "restarts": restarts,
        "stalls": stalls,
        "milliseconds": {"waiting": _percentiles(waiting), "handling": _percentiles(handling)},
        "limits": [_limit(name, figures) for name, figures in limits.items()],
    }


def _percentiles(times: Times) -> Row:
    return {name: round(getattr(times, name) * 1000, 3) for name in ("p50", "p95", "p99")}


def _limit(name: str, figures: LimitStatistics) -> Row:
    return {
        "name": name,
        "tokens": figures.tokens,
        "held": figures.held,
        "waiting": figures.waiting,
        "oldest_wait_seconds": round(figures.oldest_wait, 3),
        "refused": figures.refused,
    }
