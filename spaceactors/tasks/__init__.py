"""Batches of independent tasks for agents: so many at once, never two on the same files, and each with its own end.

    async with open_task_manager(10) as manager:
        results = await manager.run([Task(review, path, resources=f"file:{path}") for path in paths])

A task is an async function with its arguments and with what it locks while it runs. `run` returns a `TaskResult` for
each, whatever became of it. A task tells how it goes by `progress`, `heartbeat`, `confidence` and `evidence`.
"""

from spaceactors.tasks._current import confidence, evidence, heartbeat, progress
from spaceactors.tasks._errors import (
    DuplicateTask,
    OutsideTask,
    TaskCancelled,
    TaskCycle,
    TaskError,
    TasksClosed,
    TasksFull,
    TaskTimeout,
)
from spaceactors.tasks._events import (
    TaskEnded,
    TaskEvent,
    TaskProgressed,
    TaskQueued,
    TaskRetried,
    TaskStalled,
    TaskStarted,
)
from spaceactors.tasks._figures import (
    AgentMetrics,
    RunningTask,
    TaskMetrics,
    TasksProgress,
    TasksStatus,
    WaitingTask,
    WaitsFor,
)
from spaceactors.tasks._manager import TaskManager
from spaceactors.tasks._open import open_task_manager
from spaceactors.tasks._task import Resources, Task, TaskResult, TaskStatus
from spaceactors.tasks._waves import ResourceRule, TaskPlan, plan_of

__all__ = [
    "AgentMetrics",
    "DuplicateTask",
    "OutsideTask",
    "ResourceRule",
    "Resources",
    "RunningTask",
    "Task",
    "TaskCancelled",
    "TaskCycle",
    "TaskEnded",
    "TaskError",
    "TaskEvent",
    "TaskManager",
    "TaskMetrics",
    "TaskPlan",
    "TaskProgressed",
    "TaskQueued",
    "TaskResult",
    "TaskRetried",
    "TaskStalled",
    "TaskStarted",
    "TaskStatus",
    "TaskTimeout",
    "TasksClosed",
    "TasksFull",
    "TasksProgress",
    "TasksStatus",
    "WaitingTask",
    "WaitsFor",
    "confidence",
    "evidence",
    "heartbeat",
    "open_task_manager",
    "plan_of",
    "progress",
]
