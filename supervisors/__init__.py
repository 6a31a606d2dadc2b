"""Supervision trees, pools and draining for any Trio program.

`open_supervisor` runs a fixed set of children (`ChildSpec`), restarts those that crash and stops all in reverse order;
`open_pool` does the same for children that come and go, each with a restart budget of its own. Children learn with
`until_drain`, `draining` and `wait_drain` that they should finish. `supervisors.testing` has children for tests.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from supervisors._backoff import exponential_backoff
from supervisors._capacity import (
    CapacityError,
    CapacityQueueFull,
    CapacityRefused,
    CapacityTimeout,
    CircuitOpen,
    LeaseExpired,
    Limit,
    LimitStatistics,
    Preempted,
    Priority,
    UnknownLimit,
    Waiter,
    WaitTimes,
    WhenFull,
)
from supervisors._children import ChildCounts, ChildInfo
from supervisors._drain import draining, until_drain, wait_drain
from supervisors._errors import (
    ChildNotStopped,
    ChildStartError,
    DuplicateChild,
    PoolFull,
    RestartLimitExceeded,
    SupervisorClosed,
    SupervisorError,
    UnknownChild,
)
from supervisors._events import (
    AutoShutdownBegan,
    ChildCrashed,
    ChildEvent,
    ChildFinished,
    ChildQuarantined,
    ChildRestarting,
    ChildRevived,
    ChildStarted,
    ChildStopped,
    ChildUnstoppable,
    DrainBegan,
    DrainEnded,
    EventsMissed,
    LimitExceeded,
    SupervisorEvent,
)
from supervisors._pool import Pool, open_pool
from supervisors._report import DrainReport
from supervisors._spec import (
    AutoShutdown,
    Backoff,
    ChildSpec,
    ChildStatus,
    OnLimit,
    Restart,
    RestartLimit,
    Strategy,
    Wait,
    value_of,
)
from supervisors._supervise import Supervisor, open_supervisor

if TYPE_CHECKING:
    from supervisors._adapting import AdaptiveRule, AdaptiveSample, AdaptiveState, Aimd, Gradient
    from supervisors._adaptive import AdaptiveLimit
    from supervisors._breaker import CircuitBreaker, CircuitChanged
    from supervisors._circuit import CircuitState
    from supervisors._instance import InstanceStatistics
    from supervisors._instances import InstancePool
    from supervisors._limits import Limits
    from supervisors._lock_port import HeldLock, Lease, LockCycle, LockPort, LockWaiter
    from supervisors._locks import Locks
    from supervisors._phases import OnFailure, Phase, PhaseOutcome, PhaseResult, PhasesReport, run_phases
    from supervisors._rate import RateLimit, RateStatistics
    from supervisors._tree import Tree
    from supervisors._watch import LoopBlocked, LoopFree, LoopStatistics, LoopWatch, watch_loop

__all__ = [
    "AdaptiveLimit",
    "AdaptiveRule",
    "AdaptiveSample",
    "AdaptiveState",
    "Aimd",
    "AutoShutdown",
    "AutoShutdownBegan",
    "Backoff",
    "CapacityError",
    "CapacityQueueFull",
    "CapacityRefused",
    "CapacityTimeout",
    "ChildCounts",
    "ChildCrashed",
    "ChildEvent",
    "ChildFinished",
    "ChildInfo",
    "ChildNotStopped",
    "ChildQuarantined",
    "ChildRestarting",
    "ChildRevived",
    "ChildSpec",
    "ChildStartError",
    "ChildStarted",
    "ChildStatus",
    "ChildStopped",
    "ChildUnstoppable",
    "CircuitBreaker",
    "CircuitChanged",
    "CircuitOpen",
    "CircuitState",
    "DrainBegan",
    "DrainEnded",
    "DrainReport",
    "DuplicateChild",
    "EventsMissed",
    "Gradient",
    "HeldLock",
    "InstancePool",
    "InstanceStatistics",
    "Lease",
    "LeaseExpired",
    "Limit",
    "LimitExceeded",
    "LimitStatistics",
    "Limits",
    "LockCycle",
    "LockPort",
    "LockWaiter",
    "Locks",
    "LoopBlocked",
    "LoopFree",
    "LoopStatistics",
    "LoopWatch",
    "OnFailure",
    "OnLimit",
    "Phase",
    "PhaseOutcome",
    "PhaseResult",
    "PhasesReport",
    "Pool",
    "PoolFull",
    "Preempted",
    "Priority",
    "RateLimit",
    "RateStatistics",
    "Restart",
    "RestartLimit",
    "RestartLimitExceeded",
    "Strategy",
    "Supervisor",
    "SupervisorClosed",
    "SupervisorError",
    "SupervisorEvent",
    "Tree",
    "UnknownChild",
    "UnknownLimit",
    "Wait",
    "WaitTimes",
    "Waiter",
    "WhenFull",
    "draining",
    "exponential_backoff",
    "open_pool",
    "open_supervisor",
    "run_phases",
    "until_drain",
    "value_of",
    "wait_drain",
    "watch_loop",
]

# Loaded when they are first asked for: most programs need none of them, and each class costs a third of a millisecond.
_LATE = {
    "AdaptiveLimit": "_adaptive",
    "AdaptiveRule": "_adapting",
    "AdaptiveSample": "_adapting",
    "AdaptiveState": "_adapting",
    "Aimd": "_adapting",
    "CircuitBreaker": "_breaker",
    "CircuitChanged": "_breaker",
    "CircuitState": "_circuit",
    "Gradient": "_adapting",
    "HeldLock": "_lock_port",
    "InstancePool": "_instances",
    "InstanceStatistics": "_instance",
    "Lease": "_lock_port",
    "Limits": "_limits",
    "LockCycle": "_lock_port",
    "LockPort": "_lock_port",
    "LockWaiter": "_lock_port",
    "Locks": "_locks",
    "LoopBlocked": "_watch",
    "LoopFree": "_watch",
    "LoopStatistics": "_watch",
    "LoopWatch": "_watch",
    "OnFailure": "_phases",
    "Phase": "_phases",
    "PhaseOutcome": "_phases",
    "PhaseResult": "_phases",
    "PhasesReport": "_phases",
    "RateLimit": "_rate",
    "RateStatistics": "_rate",
    "Tree": "_tree",
    "run_phases": "_phases",
    "watch_loop": "_watch",
}


def __getattr__(name: str) -> object:
    if name not in _LATE:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    value: object = getattr(import_module(f"{__name__}.{_LATE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    # With what is loaded late, for help(), completion and the reference.
    return sorted({*globals(), *__all__})
