"""The choices a user makes, as frozen values that are checked where they are made."""

from __future__ import annotations

import math
from collections.abc import Iterable
from enum import Enum
from typing import TYPE_CHECKING, Any, cast, final

from attrs import field, frozen

from supervisors import Backoff, RestartLimit, Wait, exponential_backoff

if TYPE_CHECKING:
    from attrs import Attribute


@final
class WhenBusy(Enum):
    """What a message from outside does when the space has anything accepted and not settled."""

    ENQUEUE = "enqueue"
    REFUSE = "refuse"
    INTERRUPT = "interrupt"
    LATEST = "latest"


@final
class Overflow(Enum):
    """What a full mailbox does with one more message from outside."""

    WAIT = "wait"
    REFUSE = "refuse"
    DROP_OLDEST = "drop_oldest"
    DROP_NEWEST = "drop_newest"


@final
class WhenInterrupted(Enum):
    """How a running turn ends when an interrupting message arrives."""

    ROLL_BACK = "roll_back"
    COMMIT = "commit"


@final
class WhenAbandoned(Enum):
    """What becomes of a running turn whose asker or reader has left."""

    FINISH = "finish"
    CANCEL = "cancel"


@final
class Outcome(Enum):
    """How an accepted message ended; each ends in exactly one."""

    HANDLED = "handled"
    REJECTED = "rejected"
    FAILED = "failed"
    EXPIRED = "expired"
    DISCARDED = "discarded"
    RETURNED = "returned"


@final
class DiscardReason(Enum):
    """Why a message was discarded."""

    INTERRUPTED = "interrupted"
    SUPERSEDED = "superseded"
    OVERFLOW = "overflow"
    DELETED = "deleted"


@final
class SpaceStatus(Enum):
    """What a space is doing, as `info()` and listings show it."""

    LIVE = "live"
    BUSY = "busy"
    BACKING_OFF = "backing_off"
    SUSPENDED = "suspended"
    QUARANTINED = "quarantined"
    DRAINING = "draining"
    PAUSED = "paused"
    PASSIVE = "passive"
    STOPPED = "stopped"


@final
class LoadPart(Enum):
    """What the load of a runtime is measured by; the greatest of these is the load."""

    LAG = "lag"
    WAITING = "waiting"
    PENDING = "pending"
    CPU = "cpu"
    MEMORY = "memory"


def limit_names(limit: object) -> tuple[str, ...]:
    """Return the names of `limit=...`, which may be one or several."""
    if isinstance(limit, str):
        return (limit,)
    names = tuple(cast("Iterable[object]", limit)) if isinstance(limit, Iterable) else (limit,)
    if not all(isinstance(name, str) for name in names):
        msg = f"limit names limits of the runtime, such as limit='llm' or limit=('llm', 'gpu'), not {limit!r}"
        raise TypeError(msg)
    return cast("tuple[str, ...]", names)


def at_least(least: float, *, none: bool = False) -> Any:
    """Make a validator: a number not under `least`; `none` allows None as well."""

    def check(_: object, attribute: Attribute[Any], value: object) -> None:
        if none and value is None:
            return
        # Under `from __future__ import annotations` attrs keeps the text of the annotation.
        whole = str(attribute.type) in {"int", "int | None"}
        good = isinstance(value, int) if whole else isinstance(value, int | float)
        if not good or isinstance(value, bool) or math.isnan(value) or value < least:  # type: ignore[arg-type,operator]
            kind = "a whole number" if whole else "a number"
            msg = f"{attribute.name} must be {kind} of at least {least:g}{' or None' if none else ''}, not {value!r}"
            raise ValueError(msg)

    return check


def one_of(choices: type[Enum]) -> Any:
    """Make a validator: a member of `choices`."""

    def check(_: object, attribute: Attribute[Any], value: object) -> None:
        if not isinstance(value, choices):
            members = ", ".join(f"{choices.__name__}.{choice.name}" for choice in choices)
            msg = f"{attribute.name} must be one of {members}, not {value!r}"
            raise ValueError(msg)  # noqa: TRY004 (every refused option is a ValueError)

    return check


def _exceptions(_: object, attribute: Attribute[Any], value: Any) -> None:
    """Check a tuple of exception classes."""
    if not isinstance(value, tuple) or not all(map(_is_exception, cast("tuple[object, ...]", value))):
        msg = f"{attribute.name} must be a tuple of Exception classes, such as (ValueError,), not {value!r}"
        raise ValueError(msg)


def _is_exception(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Exception)


def _exception_tuple(value: Any) -> Any:
    """Take one exception class for a tuple of one."""
    return (value,) if isinstance(value, type) else value


def _wait(_: object, attribute: Attribute[Any], value: object) -> None:
    if value is not None and not callable(value) and not isinstance(value, Backoff):
        msg = f"{attribute.name} must be a tenacity wait object, a callable, a Backoff or None (at once), not {value!r}"
        raise ValueError(msg)


def _limit(_: object, attribute: Attribute[Any], value: object) -> None:
    if not isinstance(value, RestartLimit):
        msg = f"{attribute.name} must be a RestartLimit(restarts, period), not {value!r}"
        raise ValueError(msg)  # noqa: TRY004


@final
@frozen
class Retry:
    """How often a step is tried, which errors are tried again, and how long to wait between (None: not at all)."""

    attempts: int = field(default=3, validator=at_least(1))
    wait: Wait | None = field(default=None, validator=_wait)
    on: type[Exception] | tuple[type[Exception], ...] = field(
        default=(Exception,), converter=_exception_tuple, validator=_exceptions
    )


@final
@frozen
class SpaceOptions:
    """How the spaces of one actor class behave; times are in seconds.

    Set it as the class attribute `options`. Sizes: `mailbox_capacity` counts waiting messages, the running one
    apart; `dedupe_limit` remembered message ids; `feed_size` replayable events. `max_mailbox_bytes` bounds what
    waits in the mailbox by the bytes of the calls with their arguments, as a durable store would write them: over
    it `overflow` decides as it does over the capacity. `max_state_bytes` bounds the state in the same way: a turn
    whose new state is larger is rolled back, and its message fails with `StateTooLarge`; the actor lives
    (`Store.update` is not bounded, and a hook that fails is a crash, as ever). Both cost the writing of what they
    bound, in memory too. `turn_timeout` cancels a turn, which counts as a crash; `idle_timeout` is the quiet after
    which a space leaves memory (None: only when the bound on live spaces needs its place). `restart_limit` and
    `backoff` are the space's own budget; over it the space is quarantined, and revived by itself after
    `revive_after`. `throws` lists errors that reject a message instead of crashing the actor; `max_attempts` is how
    often a message is tried before it fails. `shutdown` is the grace of background work. `max_recoveries` is how
    many processes may die with a message at the head of its line, in a durable store, before it fails. A turn that
    has made no progress for `stalled_after` is told with its stack, by the event `TurnStalled` and the log, and
    goes on (math.inf: never).
    """

    mailbox_capacity: int = field(default=64, validator=at_least(1))
    overflow: Overflow = field(default=Overflow.WAIT, validator=one_of(Overflow))
    when_busy: WhenBusy = field(default=WhenBusy.ENQUEUE, validator=one_of(WhenBusy))
    when_interrupted: WhenInterrupted = field(default=WhenInterrupted.ROLL_BACK, validator=one_of(WhenInterrupted))
    when_abandoned: WhenAbandoned = field(default=WhenAbandoned.FINISH, validator=one_of(WhenAbandoned))
    concurrency: int = field(default=1, validator=at_least(1))
    idle_timeout: float | None = field(default=None, validator=at_least(0, none=True))
    turn_timeout: float | None = field(default=None, validator=at_least(0, none=True))
    stalled_after: float = field(default=30.0, validator=at_least(0))
    restart_limit: RestartLimit = field(default=RestartLimit(5, 60.0), validator=_limit)
    # One second is long enough for a dependency to come back from a reconnect, thirty keeps a person waiting no longer.
    backoff: Wait | Backoff | None = field(factory=lambda: exponential_backoff(1.0, 30.0), validator=_wait)
    throws: tuple[type[Exception], ...] = field(default=(), validator=_exceptions)
    revive_after: float | None = field(default=None, validator=at_least(0, none=True))
    max_attempts: int = field(default=1, validator=at_least(1))
    max_recoveries: int = field(default=3, validator=at_least(0))
    max_state_bytes: int | None = field(default=None, validator=at_least(1, none=True))
    max_mailbox_bytes: int | None = field(default=None, validator=at_least(1, none=True))
    dedupe_window: float = field(default=86_400.0, validator=at_least(0))
    dedupe_limit: int = field(default=1000, validator=at_least(0))
    max_history_entries: int | None = field(default=None, validator=at_least(1, none=True))
    feed_size: int = field(default=100, validator=at_least(1))
    shutdown: float = field(default=5.0, validator=at_least(0))
