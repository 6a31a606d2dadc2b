"""What load is, whom it keeps out, and what is told to them.

Pure: no Trio, no clock, no measuring; what was measured comes as an argument. The measuring is in `_shedding.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping  # noqa: TC003 (attrs resolves them)
from math import ceil, isfinite
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, final

from attrs import field, frozen

from spaceactors._options import LoadPart, at_least
from spaceactors._probe import LoadProbe  # noqa: TC001 (attrs resolves it)
from supervisors import Priority

if TYPE_CHECKING:
    from attrs import Attribute

# At this load there is nothing left: a bound is reached.
FULL = 1.0
# Seconds after which a refused sender may try again: soon enough to be of use, late enough to be no part of the load.
LEAST_WAIT, MOST_WAIT = 0.1, 60.0
# By how much more turns may run at once, at one look, while others wait and nothing is strained.
_STEP = 1.25


def _share(_: object, attribute: Attribute[Any], value: object) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= FULL:
        msg = f"{attribute.name} must be a number above 0 and up to 1 (1 is all that there is), not {value!r}"
        raise ValueError(msg)


def _above_zero(_: object, attribute: Attribute[Any], value: object) -> None:
    if value is None and str(attribute.type).endswith("| None"):
        return
    if not isinstance(value, int | float) or isinstance(value, bool) or value <= 0 or not isfinite(value):
        none = " or None (not measured)" if str(attribute.type).endswith("| None") else ""
        msg = f"{attribute.name} must be a number above 0{none}, not {value!r}"
        raise ValueError(msg)


def _makes_probe(_: object, attribute: Attribute[Any], value: object) -> None:
    if value is not None and not callable(value):
        msg = f"{attribute.name} must be a function that makes a LoadProbe, or None (this process), not {value!r}"
        raise ValueError(msg)


@final
@frozen
class LoadOptions:
    """How the load of a runtime is measured, and when it keeps new conversations out.

    Each part of the load is a figure divided by its bound here; the load is the greatest of them. A bound of None
    leaves its part out. How many spaces may wait for a turn is `RuntimeConfig.max_waiting_turns`.

    Args:
        shed_above: over this load new LOW messages to spaces that are not live are refused with `Overloaded`, from 1.0
            on NORMAL ones too; HIGH and URGENT never.
        relax_below: that ends when the load was under this from one look to the next.
        interval: seconds between two looks at the clock, the processor and the memory. The line of those who wait is
            looked at for each message.
        max_lag: seconds that the loop may be late; measured by how late a sleep ends, smoothed over some looks.
        max_pending: messages that may wait in all mailboxes together; counted at each look, which takes a tenth of a
            microsecond for each live space.
        max_memory: bytes of memory that the process may have.
        max_cpu: processor seconds that the process may use in a second; one interpreter can use 1.0, its threads more.
        probe: makes what reads processor and memory, when the runtime opens; None: `ProcessProbe`.

    Raises:
        ValueError: a value is of a wrong type or out of its range.

    """

    shed_above: float = field(default=0.9, validator=_share)
    relax_below: float = field(default=0.7, validator=_share)
    interval: float = field(default=1.0, validator=_above_zero)
    max_lag: float | None = field(default=0.25, validator=_above_zero)
    max_pending: int | None = field(default=None, validator=at_least(1, none=True))
    max_memory: int | None = field(default=None, validator=at_least(1, none=True))
    max_cpu: float | None = field(default=None, validator=_above_zero)
    probe: Callable[[], LoadProbe] | None = field(default=None, validator=_makes_probe)

    def __attrs_post_init__(self) -> None:
        if self.relax_below > self.shed_above:
            msg = (
                f"relax_below must not be above shed_above ({self.shed_above:g}), not {self.relax_below:g}:"
                " what is shed over the one ends under the other"
            )
            raise ValueError(msg)


@final
@frozen
class LoadSample:
    """What was measured: `lag` in seconds, `cpu` in processor seconds a second, `memory` in bytes; None: not known.

    `waiting` counts the spaces that wait for a turn or for a place to be live, `pending` the messages that wait in
    mailboxes. `at` is the time of the last look in seconds of Trio's clock; `waiting` is as of now.
    """

    at: float
    lag: float | None = None
    waiting: int = 0
    pending: int | None = None
    cpu: float | None = None
    memory: int | None = None


@final
@frozen
class LoadLimits:
    """What each part of the load is divided by; None leaves a part out."""

    lag: float | None = None
    waiting: int | None = None
    pending: int | None = None
    cpu: float | None = None
    memory: int | None = None


@final
@frozen
class Load:
    """How loaded a runtime is: 0 is idle, from 1.0 on a bound is reached. `cause` is the part that is greatest."""

    value: float
    cause: LoadPart | None
    parts: Mapping[LoadPart, float]

    def __str__(self) -> str:
        return f"{self.value:.2f}" if self.cause is None else f"{self.value:.2f} ({self.cause.value})"


@final
@frozen
class LoadStatistics:
    """The load at one moment, and what it has cost: how many messages were refused by it, by priority."""

    load: Load
    sample: LoadSample
    shedding: bool
    refused: Mapping[Priority, int]


def limits_of(options: LoadOptions, max_turns: int | None, max_waiting_turns: int | None) -> LoadLimits:
    """Return the bounds of all parts; as many may wait as may run, if nothing else is said."""
    return LoadLimits(
        lag=options.max_lag,
        waiting=max_turns if max_waiting_turns is None else max_waiting_turns,
        pending=options.max_pending,
        cpu=options.max_cpu,
        memory=options.max_memory,
    )


def score(sample: LoadSample, limits: LoadLimits) -> Load:
    """Return the load of a sample: of the parts that are known and bounded, the greatest."""
    figures = (
        (LoadPart.LAG, sample.lag, limits.lag),
        (LoadPart.WAITING, sample.waiting, limits.waiting),
        (LoadPart.PENDING, sample.pending, limits.pending),
        (LoadPart.CPU, sample.cpu, limits.cpu),
        (LoadPart.MEMORY, sample.memory, limits.memory),
    )
    parts = {part: max(figure, 0) / most for part, figure, most in figures if figure is not None and most is not None}
    cause = max(parts, key=lambda part: parts[part], default=None)
    return Load(0.0 if cause is None else parts[cause], cause, MappingProxyType(parts))


def smoothed(before: float | None, measured: float) -> float:
    """Return the lag to count with: one late wake-up is half believed, the third in a row is."""
    return measured if before is None else (before + measured) / 2


def sheds(load: float, options: LoadOptions, *, already: bool) -> bool:
    """Decide whether load is shed, given whether it was `already`."""
    return load >= FULL or (load >= options.relax_below if already else load > options.shed_above)


def admits(load: float, priority: Priority, *, shedding: bool) -> bool:
    """Decide whether a message that would make one more space live comes in."""
    if priority >= Priority.HIGH:
        return True
    return load < FULL and not (shedding and priority is Priority.LOW)


def rate_of(at_once: int | None, seconds: float | None) -> float | None:
    """Return how many turns end in a second, if so many run at once and each takes so long; None: nobody knows."""
    return None if at_once is None or not seconds else at_once / seconds


def retry_after(waiting: int, rate: float | None, *, least: float = LEAST_WAIT) -> float:
    """Return after how many seconds those who wait now are likely to have had their turns.

    Where no rate is known it is `least`: the next look at what is measured.
    """
    if rate is None:
        return least
    return min(max(waiting / rate, least), MOST_WAIT) if rate > 0 else MOST_WAIT


def recommended(load: Load, present: int, options: LoadOptions) -> int:
    """Return how many turns should run at once, where `present` may now.

    Fewer where the machine is strained, by as much as brings the load back to `relax_below`. A quarter more where
    spaces wait and the machine is not strained; never so many more that it would be. Else as many as now.
    """
    queued = max((load.parts.get(part, 0.0) for part in (LoadPart.WAITING, LoadPart.PENDING)), default=0.0)
    strain = max((load.parts.get(part, 0.0) for part in (LoadPart.LAG, LoadPart.CPU, LoadPart.MEMORY)), default=0.0)
    if strain > options.shed_above:
        return max(1, int(present * options.relax_below / strain))
    if strain < options.relax_below and queued >= options.relax_below:
        step = min(_STEP, options.relax_below / strain) if strain else _STEP
        return max(1, ceil(present * step))
    return max(1, present)
