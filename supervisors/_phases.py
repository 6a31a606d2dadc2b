"""Shutdown phases: named steps of a service's end, in dependency order, parallel where nothing forbids it."""

from __future__ import annotations

import math
from enum import Enum
from typing import TYPE_CHECKING, final

import trio
from attrs import define, field, frozen

from supervisors._spec import check_choice, check_name, check_run, check_seconds, check_timeout

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

# The phase, in a supervisor's shutdown, in which its children stop; others may come after it.
CHILDREN = "children"


class OnFailure(Enum):
    """What follows when a phase fails or is over its time.

    `GO_ON`: the next ones, as planned. `ABORT`: no phase that has not begun.
    """

    GO_ON = "go_on"
    ABORT = "abort"


class PhaseOutcome(Enum):
    """How a phase ended."""

    DONE = "done"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    SKIPPED = "skipped"


def _all_names(_instance: object, _attribute: object, names: tuple[object, ...]) -> None:
    for name in names:
        check_name("each name in after", name)


def _names(after: Iterable[str]) -> tuple[str, ...]:
    if isinstance(after, str):
        msg = f"after must be a tuple of names such as ({after!r},), not the string {after!r}"
        raise TypeError(msg)
    return tuple(after)


@final
@frozen
class Phase:
    """One step of a shutdown: `run` is called without arguments when all phases named in `after` are over.

    It gets `timeout` seconds. In `open_supervisor(phases=...)` phases run before the children stop, unless they come,
    directly or not, `after` "children".
    """

    name: str
    run: Callable[[], Awaitable[object]]
    after: tuple[str, ...] = field(default=(), converter=_names, validator=_all_names)
    timeout: float = 5.0
    on_failure: OnFailure = OnFailure.GO_ON

    def __attrs_post_init__(self) -> None:
        check_name("the name of a phase", self.name)
        check_seconds("timeout", self.timeout)
        check_choice("on_failure", OnFailure, self.on_failure)
        check_run(self.run)


@final
@frozen
class PhaseResult:
    """How one phase went, and how many seconds it took."""

    name: str
    outcome: PhaseOutcome
    seconds: float = 0.0
    error: BaseException | None = None


@final
@frozen
class PhasesReport:
    """How all phases went, in the order in which they were given; `clean` if every one was done."""

    results: tuple[PhaseResult, ...]
    seconds: float

    @property
    def clean(self) -> bool:
        """Whether every phase was done."""
        return all(result.outcome is PhaseOutcome.DONE for result in self.results)

    def __str__(self) -> str:
        lines = [f"{len(self.results)} phases in {self.seconds:.3f} s"]
        for result in self.results:
            why = "" if result.error is None else f" ({type(result.error).__name__}: {result.error})"
            lines.append(f"  {result.name}: {result.outcome.value} in {result.seconds:.3f} s{why}")
        return "\n".join(lines)


def check_phases(phases: tuple[Phase, ...], known: frozenset[str] = frozenset()) -> None:
    """Refuse names that are used twice, unknown, or in a ring; `known` are phases besides the given ones."""
    names = set(known)
    for phase in phases:
        if phase.name in names:
            msg = f"two phases are named {phase.name!r}: names must differ"
            raise ValueError(msg)
        names.add(phase.name)
    for phase in phases:
        if unknown := [name for name in phase.after if name not in names]:
            msg = f"phase {phase.name!r} comes after {', '.join(map(repr, unknown))}, which is no phase"
            raise ValueError(msg)
    _check_ring(phases, known)


def _check_ring(phases: tuple[Phase, ...], known: frozenset[str]) -> None:
    done = set(known)
    rest = list(phases)
    while rest:
        ready = [phase for phase in rest if done.issuperset(phase.after)]
        if not ready:
            msg = f"these phases wait for each other: {', '.join(repr(phase.name) for phase in rest)}"
            raise ValueError(msg)
        done.update(phase.name for phase in ready)
        rest = [phase for phase in rest if phase.name not in done]


@define(eq=False)
class _Run:
    """The phases of one shutdown, under way."""

    # When time is over for all of them, on Trio's clock.
    deadline: float
    over: dict[str, trio.Event]
    results: dict[str, PhaseResult] = field(factory=dict[str, PhaseResult])
    aborted: bool = False

    async def run(self, phase: Phase) -> None:
        for name in phase.after:
            if name in self.over:
                await self.over[name].wait()
        if not self.aborted and trio.current_time() < self.deadline:
            result = await _run_one(phase, self.deadline)
            self.results[phase.name] = result
            if result.outcome is not PhaseOutcome.DONE and phase.on_failure is OnFailure.ABORT:
                self.aborted = True
        self.over[phase.name].set()


async def _run_one(phase: Phase, deadline: float) -> PhaseResult:
    began = trio.current_time()
    error: Exception | None = None
    with trio.CancelScope(deadline=min(deadline, began + phase.timeout)) as scope:
        try:
            await phase.run()
        except Exception as raised:
            error = raised
    seconds = trio.current_time() - began
    if error is not None:
        return PhaseResult(phase.name, PhaseOutcome.FAILED, seconds, error)
    outcome = PhaseOutcome.TIMED_OUT if scope.cancelled_caught else PhaseOutcome.DONE
    return PhaseResult(phase.name, outcome, seconds)


async def run_phases(phases: Iterable[Phase], *, timeout: float | None = None) -> PhasesReport:
    """Run phases in dependency order, those that do not depend on each other at the same time.

    `timeout` seconds for all together: at that moment whatever runs is cancelled (timed out), the rest skipped.
    Failures are in the report. Raises `ValueError` at once for names used twice, unknown or in a ring.
    """
    phases = tuple(phases)
    check_timeout(timeout)
    check_phases(phases)
    return await _run_all(phases, math.inf if timeout is None else trio.current_time() + timeout)


async def _run_all(phases: tuple[Phase, ...], deadline: float) -> PhasesReport:
    began = trio.current_time()
    run = _Run(deadline, {phase.name: trio.Event() for phase in phases})
    async with trio.open_nursery() as nursery:
        for phase in phases:
            nursery.start_soon(run.run, phase)
    results = tuple(run.results.get(phase.name, PhaseResult(phase.name, PhaseOutcome.SKIPPED)) for phase in phases)
    return PhasesReport(results, trio.current_time() - began)


@final
class Shutdown:
    """The phases of a supervisor's shutdown, around the stopping of its children."""

    def __init__(self, phases: Iterable[Phase]) -> None:
        phases = tuple(phases)
        check_phases(phases, frozenset({CHILDREN}))
        self._after = _dependents(phases)
        self._before = tuple(phase for phase in phases if phase not in self._after)
        self._scope = trio.CancelScope()
        # The phases that were not done.
        self.undone: list[str] = []

    def cut(self) -> None:
        """End the phases that run, and run no more."""
        self._scope.cancel()

    async def run_before(self, deadline: float) -> None:
        """Run what comes before the children stop."""
        await self._run(self._before, deadline)

    async def run_after(self, deadline: float) -> None:
        """Run what comes after the children have stopped."""
        await self._run(self._after, deadline)

    async def _run(self, phases: tuple[Phase, ...], deadline: float) -> None:
        if not phases:
            return
        self._scope = trio.CancelScope(deadline=-math.inf if self._scope.cancel_called else math.inf)
        undone = {phase.name for phase in phases}
        with self._scope:
            report = await _run_all(phases, deadline)
            undone = {result.name for result in report.results if result.outcome is not PhaseOutcome.DONE}
        self.undone += (phase.name for phase in phases if phase.name in undone)


def _dependents(phases: tuple[Phase, ...]) -> tuple[Phase, ...]:
    names = {CHILDREN}
    for _ in phases:  # one more level of dependents each time, at the least
        names |= {phase.name for phase in phases if names.intersection(phase.after)}
    return tuple(phase for phase in phases if phase.name in names)
