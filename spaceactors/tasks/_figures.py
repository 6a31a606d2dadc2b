"""How tasks have gone, overall and by agent; and what a manager looks like at one moment.

Pure: no Trio, no clock; times come as arguments.

Of tasks that have ended nothing is kept but these: counts, sums, and how long the last ones took.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, final

from attrs import frozen

from spaceactors.tasks._task import TaskResult, TaskStatus
from supervisors._capacity import REMEMBERED_WAITS, wait_times

if TYPE_CHECKING:
    from collections.abc import Mapping

    from supervisors import Priority, WaitTimes

# Of so many agents figures are kept. For more, that of the agent is dropped for whom nothing has ended for longest.
MOST_AGENTS = 1000
# How long tasks of one agent took is remembered of so many: a percentile that one of them decides.
REMEMBERED_BY_AGENT = 100


@final
@frozen
class AgentMetrics:
    """How the tasks of one agent, or of all, have gone since the manager was opened.

    `total` have ended, in one of four ways. Of those that were started: the mean of the seconds that they ran and that
    they waited before, and of the last 1,000 (of one agent: 100) how long 50, 95 and 99 in a hundred took at most.
    `per_second`: how many have ended a second since the first was handed over.
    """

    total: int
    succeeded: int
    failed: int
    cancelled: int
    timed_out: int
    mean_seconds: float
    seconds: WaitTimes
    mean_waited: float
    waited: WaitTimes
    per_second: float


@final
@frozen
class TaskMetrics:
    """The figures of all tasks, and of each agent (the latest 1,000 agents)."""

    overall: AgentMetrics
    agents: Mapping[str, AgentMetrics]


@final
class Figures:
    """What is remembered of tasks that have ended."""

    def __init__(self, remembered: int = REMEMBERED_WAITS) -> None:
        self._ends = Counter[TaskStatus]()
        self._began: float | None = None
        # Of those that were started.
        self._started = 0
        self._ran = self._waited = 0.0
        self._last_ran = deque[float](maxlen=remembered)
        self._last_waited = deque[float](maxlen=remembered)

    def add(self, result: TaskResult[Any]) -> None:
        """Count one more."""
        self._ends[result.status] += 1
        self._began = result.queued_at if self._began is None else min(self._began, result.queued_at)
        if result.started_at is None:
            return
        self._started += 1
        self._ran += result.seconds
        self._waited += result.waited
        self._last_ran.append(result.seconds)
        self._last_waited.append(result.waited)

    def metrics(self, now: float) -> AgentMetrics:
        """Return the figures of now."""
        total = self._ends.total()
        time = 0.0 if self._began is None else now - self._began
        return AgentMetrics(
            total=total,
            succeeded=self._ends[TaskStatus.SUCCEEDED],
            failed=self._ends[TaskStatus.FAILED],
            cancelled=self._ends[TaskStatus.CANCELLED],
            timed_out=self._ends[TaskStatus.TIMED_OUT],
            mean_seconds=self._ran / max(1, self._started),
            seconds=wait_times(self._last_ran),
            mean_waited=self._waited / max(1, self._started),
            waited=wait_times(self._last_waited),
            per_second=total / time if time > 0 else 0.0,
        )


@final
class AllFigures:
    """The figures overall and by agent."""

    def __init__(self, most_agents: int = MOST_AGENTS) -> None:
        self._most = most_agents
        self._overall = Figures()
        # Whose task ended last is last.
        self._agents = OrderedDict[str, Figures]()

    def add(self, result: TaskResult[Any]) -> None:
        """Count one more."""
        self._overall.add(result)
        figures = self._agents.setdefault(result.agent, Figures(REMEMBERED_BY_AGENT))
        self._agents.move_to_end(result.agent)
        figures.add(result)
        if len(self._agents) > self._most:
            self._agents.popitem(last=False)

    def metrics(self, now: float) -> TaskMetrics:
        """Return the figures of now."""
        agents = {agent: figures.metrics(now) for agent, figures in self._agents.items()}
        return TaskMetrics(self._overall.metrics(now), MappingProxyType(agents))


@final
class WaitsFor(Enum):
    """What a task waits for that does not run.

    `TASKS`: tasks of its manager that conflict with it and come before it. `SLOT`: there are none free. `LOCKS`:
    somebody else holds them through the same `Locks`. `LIMITS`: a token or a permit.
    """

    TASKS = "tasks"
    SLOT = "slot"
    LOCKS = "locks"
    LIMITS = "limits"


@final
@frozen
class RunningTask:
    """One task that runs: how far it is by its own word, how long that will take, and what it holds.

    Times are seconds of Trio's clock. `last_heartbeat` is its last word, or its start; `stalled` tells that this was
    longer ago than the manager's `stalled_after`.
    """

    id: str
    agent: str
    started_at: float
    attempt: int
    progress: float
    note: str
    seconds_left: float | None
    last_heartbeat: float
    stalled: bool
    locks: tuple[str, ...]
    shared: tuple[str, ...]
    limits: tuple[str, ...]


@final
@frozen
class WaitingTask:
    """One task that waits: for what, and for whom (ids of tasks, holders of locks, names of limits; at most thirty)."""

    id: str
    agent: str
    priority: Priority
    queued_at: float
    waits_for: WaitsFor
    behind: tuple[str, ...]


@final
@frozen
class TasksStatus:
    """What a manager does at one moment: all that runs, and of what waits the first, who comes first first."""

    running: tuple[RunningTask, ...]
    waiting: tuple[WaitingTask, ...]
    running_count: int
    waiting_count: int


@final
@frozen
class TasksProgress:
    """How far all tasks are together since the manager was last idle: 0 to 1, and the seconds left (None: not known).

    `total` were handed over, `ended` have ended; one that runs counts with its own progress.
    """

    done: float
    total: int
    ended: int
    seconds_left: float | None
