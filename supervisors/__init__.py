"""Supervision trees, pools and draining for any Trio program."""

from supervisors._backoff import exponential_backoff
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

__all__ = [
    "AutoShutdown",
    "Backoff",
    "ChildNotStopped",
    "ChildSpec",
    "ChildStartError",
    "ChildStatus",
    "DrainReport",
    "DuplicateChild",
    "OnLimit",
    "PoolFull",
    "Restart",
    "RestartLimit",
    "RestartLimitExceeded",
    "Strategy",
    "SupervisorClosed",
    "SupervisorError",
    "UnknownChild",
    "Wait",
    "draining",
    "exponential_backoff",
    "until_drain",
    "value_of",
    "wait_drain",
]
