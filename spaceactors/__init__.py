"""One serial lane per conversation, thousands of lanes at once, and nothing lost when something breaks.

Write an actor class, open a runtime, send messages through handles:

    class Barista(Actor[Order]):
        @handler
        async def say(self, text: str) -> str: ...

    async with open_runtime(Barista) as runtime:
        reply = await runtime.space("alice").ask(Barista.say, "a latte")
"""

from importlib import import_module
from typing import TYPE_CHECKING

from spaceactors._actor import Actor, Failure, TurnLimits, handlers_of
from spaceactors._config import RuntimeConfig
from spaceactors._dead_letters import DeadLetter, DeadLetters
from spaceactors._errors import (
    ActorCrashed,
    AskCycle,
    BadCall,
    ConcurrentModification,
    MailboxFull,
    MessageDiscarded,
    MessageExpired,
    MessageReturned,
    NotAccepted,
    NotHandled,
    OutsideTurn,
    Overloaded,
    Reject,
    Rejected,
    RuntimeClosed,
    SpaceBusy,
    SpaceDraining,
    SpaceError,
    SpaceQuarantined,
    SpaceStopped,
    StateTooLarge,
    StepChanged,
    StoreError,
    SuspensionClosed,
    SuspensionExpired,
    TurnTimeout,
    UnknownSpaceKind,
)
from spaceactors._events import (
    DeadLettersDropped,
    LoopWasBlocked,
    MessageRetried,
    MessageSettled,
    MessagesShed,
    RowUnreadable,
    RuntimeDrained,
    RuntimeDraining,
    RuntimeEvent,
    SheddingBegan,
    SheddingEnded,
    SpaceCrashed,
    SpaceEnded,
    SpaceEvent,
    SpaceInQuarantine,
    SpaceLost,
    SpacePassivated,
    SpacePaused,
    SpaceResumed,
    SpaceRevived,
    SpaceStarted,
    SpaceUnstoppable,
    StepsUnused,
    StoreFailing,
    StoreHealed,
    TurnStalled,
    TurnWentOn,
    WorkFailed,
)
from spaceactors._feed import Emitted, Gap
from spaceactors._handle import Feed, SpaceHandle
from spaceactors._handlers import HandlerInfo, handler
from spaceactors._history import History, HistoryReader
from spaceactors._memory import MemoryStore
from spaceactors._message import Message
from spaceactors._options import (
    DiscardReason,
    LoadPart,
    Outcome,
    Overflow,
    Retry,
    SpaceOptions,
    SpaceStatus,
    WhenAbandoned,
    WhenBusy,
    WhenInterrupted,
)
from spaceactors._port import Store
from spaceactors._runtime import Dep, Runtime, open_runtime
from spaceactors._store import Entry
from spaceactors._suspensions import Suspension, Suspensions
from supervisors import (
    Backoff,
    CapacityError,
    CapacityQueueFull,
    CapacityRefused,
    CapacityTimeout,
    CircuitOpen,
    DrainReport,
    EventsMissed,
    LeaseExpired,
    Limit,
    Limits,
    Preempted,
    Priority,
    RestartLimit,
    UnknownLimit,
    WhenFull,
)

if TYPE_CHECKING:
    from spaceactors._load import Load, LoadOptions, LoadSample, LoadStatistics
    from spaceactors._probe import LoadProbe, LoadReading, ProcessProbe
    from spaceactors._settings import ConfigError, Settings
    from spaceactors._shedding import LoadManager
    from spaceactors._snapshot import Health, Ledger, Snapshot, SpaceFigures, SpaceInfo, Times
    from spaceactors._waiting import WaitInfo, WaitKind, Waits
    from spaceactors.stores._locks import PostgresLocks
    from spaceactors.stores.postgres import PostgresStore
    from spaceactors.stores.sqlite import SqliteStore
    from supervisors import (
        AdaptiveLimit,
        Aimd,
        CircuitBreaker,
        Gradient,
        InstancePool,
        Lease,
        LockCycle,
        LockPort,
        Locks,
        RateLimit,
    )

__all__ = [
    "Actor",
    "ActorCrashed",
    "AdaptiveLimit",
    "Aimd",
    "AskCycle",
    "Backoff",
    "BadCall",
    "CapacityError",
    "CapacityQueueFull",
    "CapacityRefused",
    "CapacityTimeout",
    "CircuitBreaker",
    "CircuitOpen",
    "ConcurrentModification",
    "ConfigError",
    "DeadLetter",
    "DeadLetters",
    "DeadLettersDropped",
    "Dep",
    "DiscardReason",
    "DrainReport",
    "Emitted",
    "Entry",
    "EventsMissed",
    "Failure",
    "Feed",
    "Gap",
    "Gradient",
    "HandlerInfo",
    "Health",
    "History",
    "HistoryReader",
    "InstancePool",
    "Lease",
    "LeaseExpired",
    "Ledger",
    "Limit",
    "Limits",
    "Load",
    "LoadManager",
    "LoadOptions",
    "LoadPart",
    "LoadProbe",
    "LoadReading",
    "LoadSample",
    "LoadStatistics",
    "LockCycle",
    "LockPort",
    "Locks",
    "LoopWasBlocked",
    "MailboxFull",
    "MemoryStore",
    "Message",
    "MessageDiscarded",
    "MessageExpired",
    "MessageRetried",
    "MessageReturned",
    "MessageSettled",
    "MessagesShed",
    "NotAccepted",
    "NotHandled",
    "Outcome",
    "OutsideTurn",
    "Overflow",
    "Overloaded",
    "PostgresLocks",
    "PostgresStore",
    "Preempted",
    "Priority",
    "ProcessProbe",
    "RateLimit",
    "Reject",
    "Rejected",
    "RestartLimit",
    "Retry",
    "RowUnreadable",
    "Runtime",
    "RuntimeClosed",
    "RuntimeConfig",
    "RuntimeDrained",
    "RuntimeDraining",
    "RuntimeEvent",
    "Settings",
    "SheddingBegan",
    "SheddingEnded",
    "Snapshot",
    "SpaceBusy",
    "SpaceCrashed",
    "SpaceDraining",
    "SpaceEnded",
    "SpaceError",
    "SpaceEvent",
    "SpaceFigures",
    "SpaceHandle",
    "SpaceInQuarantine",
    "SpaceInfo",
    "SpaceLost",
    "SpaceOptions",
    "SpacePassivated",
    "SpacePaused",
    "SpaceQuarantined",
    "SpaceResumed",
    "SpaceRevived",
    "SpaceStarted",
    "SpaceStatus",
    "SpaceStopped",
    "SpaceUnstoppable",
    "SqliteStore",
    "StateTooLarge",
    "StepChanged",
    "StepsUnused",
    "Store",
    "StoreError",
    "StoreFailing",
    "StoreHealed",
    "Suspension",
    "SuspensionClosed",
    "SuspensionExpired",
    "Suspensions",
    "Times",
    "TurnLimits",
    "TurnStalled",
    "TurnTimeout",
    "TurnWentOn",
    "UnknownLimit",
    "UnknownSpaceKind",
    "WaitInfo",
    "WaitKind",
    "Waits",
    "WhenAbandoned",
    "WhenBusy",
    "WhenFull",
    "WhenInterrupted",
    "WorkFailed",
    "handler",
    "handlers_of",
    "open_runtime",
]

# Figures are made by few programs, and cost a tenth of the import: loaded with the first use.
_LATE = {
    **dict.fromkeys(("Load", "LoadOptions", "LoadSample", "LoadStatistics"), "_load"),
    **dict.fromkeys(("LoadProbe", "LoadReading", "ProcessProbe"), "_probe"),
    **dict.fromkeys(("ConfigError", "Settings"), "_settings"),
    "LoadManager": "_shedding",
    **dict.fromkeys(("Health", "Ledger", "Snapshot", "SpaceFigures", "SpaceInfo", "Times"), "_snapshot"),
    **dict.fromkeys(("WaitInfo", "WaitKind", "Waits"), "_waiting"),
    # A driver loads when its store is wanted.
    "PostgresLocks": "stores._locks",
    "PostgresStore": "stores.postgres",
    "SqliteStore": "stores.sqlite",
}
# Of the layer below, loaded there with the first use.
_BELOW = {
    "AdaptiveLimit",
    "Aimd",
    "CircuitBreaker",
    "Gradient",
    "InstancePool",
    "Lease",
    "LockCycle",
    "LockPort",
    "Locks",
    "RateLimit",
}


def __getattr__(name: str) -> object:
    if name not in _LATE and name not in _BELOW:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    module = "supervisors" if name in _BELOW else f"{__name__}.{_LATE[name]}"
    value: object = getattr(import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    # With what is loaded late, for help(), completion and the reference.
    return sorted({*globals(), *__all__})
