"""What a runtime is doing, as frozen data: the ledger, the spaces, the times."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 (attrs resolves it)
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, final

from attrs import frozen

from spaceactors._options import Outcome, SpaceStatus
from spaceactors._space import OUTCOMES
from spaceactors._stopwatch import Stopwatch
from supervisors import Tree

if TYPE_CHECKING:
    from spaceactors._hub import Hub
    from spaceactors._space import Space


@final
@frozen
class Ledger:
    """Law 2 in figures: `accepted == sum(outcomes.values()) + pending`, at every moment."""

    accepted: int
    outcomes: Mapping[Outcome, int]
    pending: int


@final
@frozen
class SpaceInfo:
    """What one space is doing; `depth` counts waiting messages, `restarts` those of this activation."""

    id: str
    kind: str
    status: SpaceStatus
    depth: int
    restarts: int
    last_error: BaseException | None


@final
class Health(Enum):
    """How a live space fares, for monitors and alerts: the first that is true, from the last to the first here.

    `STARTING`: its first actor is being made. `HEALTHY`: nothing to do, or nothing that could be done now. `BUSY`: it
    has messages to handle. `STALLED`: its turn makes no progress (`SpaceOptions.stalled_after`); look at
    `runtime.waits()` and at the stack that `TurnStalled` tells. `RESTARTING`: its actor has crashed and begins anew,
    perhaps after a backoff. `DRAINING`: its activation ends. `QUARANTINED`: it crashed too often, and waits for
    `revive()`.
    """

    STARTING = "starting"
    HEALTHY = "healthy"
    BUSY = "busy"
    STALLED = "stalled"
    RESTARTING = "restarting"
    DRAINING = "draining"
    QUARANTINED = "quarantined"


@final
@frozen
class SpaceFigures:
    """One live space in figures; times in seconds, `last_progress` since a turn last ended.

    `stalled` is for how long a turn has made no progress, if it is longer than `SpaceOptions.stalled_after`.
    """

    id: str
    kind: str
    status: SpaceStatus
    depth: int
    oldest_age: float
    last_progress: float
    restarts: int
    incarnation: int
    ledger: Ledger
    counters: Mapping[str, float]
    stalled: float | None = None
    health: Health = Health.HEALTHY


@final
@frozen
class Times:
    """How long something took: count, mean, greatest, and a quantile from buckets a quarter of a doubling wide."""

    count: int
    mean: float
    greatest: float
    p50: float
    p95: float
    p99: float


@final
@frozen
class Snapshot:
    """A runtime at one moment.

    `ledger` and `restarts` (of actors after crashes) are totals of the runtime's life; then the live spaces one by one,
    and how long messages waited for their turns (measured once in each scheduler tick and space) and were handled.
    `stalls` counts the turns that made no progress for as long as `SpaceOptions.stalled_after`.
    """

    ledger: Ledger
    restarts: int
    live: int
    spaces: tuple[SpaceFigures, ...]
    waiting: Times
    handling: Times
    stalls: int = 0


def times_of(watch: Stopwatch, quick: int) -> Times:
    """Return what a stopwatch has collected, with `quick` more durations that were shorter than a scheduler tick."""
    every = Stopwatch(watch.count + quick, watch.total, watch.greatest, [watch.buckets[0] + quick, *watch.buckets[1:]])
    mean = every.total / every.count if every.count else 0.0
    return Times(every.count, mean, every.greatest, every.quantile(0.5), every.quantile(0.95), every.quantile(0.99))


def status_of(space: Space) -> SpaceStatus:
    """Return what a live space is doing; the first that is true."""
    table = (
        (space.ending is not None, SpaceStatus.DRAINING),
        (space.quarantined, SpaceStatus.QUARANTINED),
        (space.asleep is not None, SpaceStatus.SUSPENDED),
        (space.backing_off or space.waits_for_store or space.failure is not None, SpaceStatus.BACKING_OFF),
        (space.paused, SpaceStatus.PAUSED),
        (space.busy, SpaceStatus.BUSY),
    )
    return next((status for holds, status in table if holds), SpaceStatus.LIVE)


def health_of(status: SpaceStatus, *, ending: bool, begun: bool, crashed: bool, stalled: bool, waiting: bool) -> Health:
    """Return how a space fares. Pure.

    Args:
        status: what it is doing.
        ending: whether its activation ends.
        begun: whether it has an actor.
        crashed: whether an actor of this activation has crashed.
        stalled: whether a turn makes no progress.
        waiting: whether anything is accepted and not settled that it could work on.

    """
    table = (
        (status is SpaceStatus.QUARANTINED, Health.QUARANTINED),
        (ending, Health.DRAINING),
        # A human is to act; without an actor it is in memory for the answer alone.
        (status is SpaceStatus.SUSPENDED, Health.HEALTHY),
        (crashed and not begun, Health.RESTARTING),
        (not begun, Health.STARTING),
        (stalled, Health.STALLED),
        (waiting, Health.BUSY),
    )
    return next((health for holds, health in table if holds), Health.HEALTHY)


def ledger_of(accepted: int, outcomes: list[int], pending: int) -> Ledger:
    """Return a ledger as data."""
    return Ledger(accepted, MappingProxyType(dict(zip(OUTCOMES, outcomes, strict=True))), pending)


def figures_of(space: Space, now: float) -> SpaceFigures:
    """Return a live space in figures."""
    oldest = min([message.at for message in space.mailbox], default=now)
    status, stalled = status_of(space), space.runtime.stalls.seconds(space)
    starting = not space.passivating and any(worker.in_hook for worker in space.workers)
    health = health_of(
        SpaceStatus.QUARANTINED if space.quarantined else status,
        ending=space.ending is not None,
        begun=not (space.actor is None or starting or space.backing_off or space.failure is not None),
        crashed=space.restarts > 0 or space.backing_off or space.failure is not None,
        stalled=stalled is not None,
        waiting=space.busy and not space.paused,
    )
    return SpaceFigures(
        id=space.id,
        kind=space.kind.name,
        status=status,
        depth=len(space.mailbox),
        oldest_age=now - oldest,
        last_progress=now - space.progress_at,
        restarts=space.restarts,
        incarnation=space.incarnation,
        ledger=ledger_of(space.accepted, space.outcomes, space.pending),
        counters=MappingProxyType(dict(space.row.counters)),
        stalled=stalled,
        health=health,
    )


def tree_of(hub: Hub, status: str) -> Tree:
    """Return a runtime as a tree: what runs in it, and below its spaces their background work."""
    spaces = tuple(_branch_of(space) for space in hub.live.values())
    parts = (Tree("store", type(hub.store).__name__, status), Tree("spaces", "pool", status, children=spaces))
    load = () if hub.load is None else (Tree("load", "worker", status),)
    return Tree("runtime", "runtime", status, children=(*parts, Tree("keeper", "worker", status), *load))


def _branch_of(space: Space) -> Tree:
    work = tuple(Tree(f"background {number}", "worker", "running") for number, _ in enumerate(space.background, 1))
    return Tree(space.name, "worker", status_of(space).value, space.restarts, max(space.incarnation, 1), work)


def ledger_now(runtime: Hub) -> Ledger:
    """Return the ledger of a runtime; sync, so all of it belongs to one moment."""
    spaces = list(runtime.live.values())
    accepted = runtime.folded_accepted + sum(space.accepted for space in spaces)
    outcomes = [sum(column) for column in zip(runtime.folded_outcomes, *(one.outcomes for one in spaces), strict=True)]
    pending = runtime.stored_pending + sum(space.pending for space in spaces)
    return ledger_of(accepted, outcomes, pending)


def take(runtime: Hub) -> Snapshot:
    """Take a snapshot; sync, so all of it belongs to one moment."""
    spaces = list(runtime.live.values())
    ledger = ledger_now(runtime)
    now = runtime.clock.exactly()
    settled = sum(ledger.outcomes.values())
    return Snapshot(
        ledger=ledger,
        restarts=runtime.restarts,
        live=len(spaces),
        spaces=tuple(figures_of(space, now) for space in spaces),
        waiting=times_of(runtime.waiting_times, max(settled - runtime.waiting_times.count, 0)),
        handling=times_of(runtime.handling_times, max(settled - runtime.handling_times.count, 0)),
        stalls=runtime.stalls.count,
    )
