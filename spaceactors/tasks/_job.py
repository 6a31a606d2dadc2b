"""One accepted task: all that its manager knows of it until it has ended."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, final

import trio

from spaceactors.tasks._eta import seconds_left
from spaceactors.tasks._figures import RunningTask, WaitsFor
from spaceactors.tasks._plan import Entry
from spaceactors.tasks._task import TaskResult, TaskStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from spaceactors.tasks._task import Task
    from supervisors._lock_names import Claim


@final
class Stage(Enum):
    """Where a task is on its way."""

    WAITING = "waiting"  # nothing of it runs
    STARTING = "starting"  # it has a slot, and takes what it needs besides, without waiting for it
    IN_LINE = "in_line"  # it has no slot, and stands in line for what others hold
    RUNNING = "running"
    ENDED = "ended"


@final
class Job(Entry):
    """A task with its place in the plan, its state, and what it has told of itself."""

    __slots__ = (
        "agent",
        "attempts",
        "beat_at",
        "confidence",
        "done",
        "done_at",
        "evidence",
        "gone",
        "id",
        "in_slot",
        "lacks",
        "note",
        "on_end",
        "permits",
        "queued_at",
        "scope",
        "slot",
        "stage",
        "stalled",
        "started_at",
        "status",
        "task",
        "tokens",
        "tried_at",
        "why_cancelled",
    )

    def __init__(
        self,
        task: Task[Any],
        id_: str,
        claims: tuple[Claim, ...],
        number: int,
        on_end: Callable[[TaskResult[Any]], object],
    ) -> None:
        super().__init__(claims, task.priority, number, task.limits)
        self.task = task
        self.id = id_
        self.agent = task.agent
        # Gives the result to whose it is.
        self.on_end = on_end
        # What it needs of its limits: tokens for as long as it runs, permits until it has got them.
        self.tokens: tuple[str, ...] = ()
        self.permits: tuple[str, ...] = ()
        self.stage = Stage.WAITING
        # What it stands in line for, or did last.
        self.lacks = WaitsFor.SLOT
        # Whether it has one of the slots, and what wakes it when it is given one that it waits for.
        self.in_slot = False
        self.slot: trio.Event | None = None
        # Ends it from outside; made when it is first needed.
        self.scope: trio.CancelScope | None = None
        self.why_cancelled: str | None = None
        self.queued_at = trio.current_time()
        self.started_at: float | None = None
        self.attempts = 0
        # When its latest try began.
        self.tried_at: float | None = None
        # What it has told: how far it is, when it said so, and when it said anything.
        self.done, self.note = 0.0, ""
        self.done_at = self.beat_at = self.queued_at
        self.stalled = False
        self.confidence: float | None = None
        self.evidence = list[object]()
        # How it ended, and what tells those who wait for that.
        self.status: TaskStatus | None = None
        self.gone: trio.Event | None = None

    @property
    def alone(self) -> tuple[str, ...]:
        return tuple(name for name, shared in self.claims if not shared)

    @property
    def shared(self) -> tuple[str, ...]:
        return tuple(name for name, shared in self.claims if shared)

    def begin(self, now: float) -> None:
        """Note that its function is about to be called."""
        self.stage = Stage.RUNNING
        self.started_at = self.beat_at = self.done_at = now

    def begin_try(self, now: float) -> None:
        """Note that its function is called once more."""
        self.attempts += 1
        self.tried_at = now

    def told(self, done: float, note: str, now: float) -> None:
        """Note how far it is."""
        self.done, self.done_at, self.note = done, now, note
        self.beat(now)

    def beat(self, now: float) -> None:
        """Note that it lives."""
        self.beat_at = now
        self.stalled = False

    def seconds_left(self, now: float) -> float | None:
        """Return how long it will take by its own word."""
        return None if self.tried_at is None else seconds_left(self.tried_at, self.done_at, self.done, now)

    def end(self, status: TaskStatus, value: Any, error: Exception | None, now: float) -> TaskResult[Any]:
        """Note how it ended. The result is not kept: it belongs to the caller."""
        self.stage = Stage.ENDED
        self.status = status
        return TaskResult(
            id=self.id,
            agent=self.agent,
            status=status,
            value=value,
            error=error,
            confidence=self.confidence,
            evidence=tuple(self.evidence),
            queued_at=self.queued_at,
            started_at=self.started_at,
            ended_at=now,
            attempts=self.attempts,
        )

    def shown(self, now: float, *, stalled: bool) -> RunningTask:
        """Return what is shown of it while it runs."""
        return RunningTask(
            id=self.id,
            agent=self.agent,
            started_at=now if self.started_at is None else self.started_at,
            attempt=self.attempts,
            progress=self.done,
            note=self.note,
            seconds_left=self.seconds_left(now),
            last_heartbeat=self.beat_at,
            stalled=stalled,
            locks=self.alone,
            shared=self.shared,
            limits=self.tokens,
        )
