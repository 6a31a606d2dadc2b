"""The decisions about a space: what to do next, whether to take a message, how a failure ends.

Pure: no Trio, no clock, no chance, no logging; everything that counts is an argument. What comes back are shared
constants, so that a decision costs no object.
"""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import TYPE_CHECKING, cast, final

from spaceactors._errors import Reject, SpaceError
from spaceactors._options import Overflow, WhenBusy
from supervisors import CapacityError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@final
class Ending(IntEnum):
    """How an activation is to end; a later member overrules an earlier one."""

    DRAIN = 1
    STOP = 2
    DELETE = 3
    KILL = 4


@final
class Step(Enum):
    """What a space's worker does next."""

    RECOVER = "the actor failed: restart it or give it up"
    START = "make the actor and begin its life"
    WORK = "handle what comes until something else wants attention"
    TURN = "handle one message and look again"
    WAIT = "park until somebody wakes it"
    PASSIVATE = "leave memory in good order; come back for the next message"
    END = "end in good order"
    CUT = "end at once"


def next_step(  # noqa: PLR0911 (a table of first matches, one line each)
    *,
    ending: Ending | None,
    failed: bool,
    stuck: bool,
    blocked: bool,
    started: bool,
    hurried: bool,
    backing_off: bool,
    halted: bool,
    passivating: bool,
    waiting: bool,
    single: bool,
) -> Step:
    """Decide what a worker does next.

    Args:
        ending: how the activation is to end, if it is.
        failed: the actor crashed and nobody has looked at it yet.
        stuck: quarantined or suspended: nothing runs until somebody from outside says so.
        blocked: the store cannot write: what a turn did could not be kept.
        started: there is an actor that has begun its life.
        hurried: a drain is on: backoffs are skipped and a pause is over.
        backing_off: the wait before the next incarnation is not over.
        halted: paused, or held back because a target of the last turn is over capacity.
        passivating: the space was asked to leave memory.
        waiting: there are messages in the mailbox.
        single: one turn at a time, looking again after each: a lane, or a space that is to leave; but not one that has
            several turns at once, of which one may need another.

    """
    if ending is Ending.KILL:
        return Step.CUT
    if ending is not None and (ending is not Ending.DRAIN or stuck or not (waiting or failed)):
        return Step.END
    if failed:
        return Step.RECOVER
    if stuck or blocked or (backing_off and not hurried):
        return Step.WAIT
    if passivating and not waiting:
        return Step.PASSIVATE
    if halted and not hurried:
        return Step.WAIT
    if not started:
        return Step.START
    if single:
        return Step.TURN if waiting else Step.WAIT
    return Step.WORK


@final
class Admission(Enum):
    """What becomes of a message at the door of a space that takes messages."""

    ACCEPT = "accept"
    LINE_UP = "wait for a place"
    FULL = "refuse: full"
    BUSY = "refuse: busy"
    DROP_NEWEST = "accept and discard it"
    DROP_OLDEST = "discard the oldest, then accept"
    INTERRUPT = "accept and end the running turn"
    LATEST = "discard what waits, then accept"


_WHEN_BUSY: Mapping[WhenBusy, Admission] = {
    WhenBusy.REFUSE: Admission.BUSY,
    WhenBusy.INTERRUPT: Admission.INTERRUPT,
    WhenBusy.LATEST: Admission.LATEST,
}
_WHEN_FULL: Mapping[Overflow, Admission] = {
    Overflow.WAIT: Admission.LINE_UP,
    Overflow.REFUSE: Admission.FULL,
    Overflow.DROP_OLDEST: Admission.DROP_OLDEST,
    Overflow.DROP_NEWEST: Admission.DROP_NEWEST,
}


def admit_busy(when_busy: WhenBusy, *, busy: bool) -> Admission:
    """Decide by what the space is doing; ACCEPT means: if there is a place."""
    return _WHEN_BUSY.get(when_busy, Admission.ACCEPT) if busy else Admission.ACCEPT


def admit_full(overflow: Overflow, *, waiting: int, capacity: int) -> Admission:
    """Decide by the places in the mailbox."""
    return Admission.ACCEPT if waiting < capacity else _WHEN_FULL[overflow]


@final
class Overload(Enum):
    """What becomes of a message that a turn has sent, at its target."""

    ACCEPT = "accept"
    HOLD_SENDER = "accept; the sender waits before its next turn"
    RETURN = "give it back"


def admit_from_turn(*, waiting: int, capacity: int) -> Overload:
    """Decide about a send of a turn: over capacity if need be, up to twice of it."""
    if waiting >= 2 * capacity:
        return Overload.RETURN
    return Overload.ACCEPT if waiting < capacity else Overload.HOLD_SENDER


@final
class Judgement(Enum):
    """How a turn that raised ends: for the message, and for the actor."""

    REJECTED = "the message is refused, the actor lives"
    AGAIN = "the message is tried again, the actor lives"
    FAILED = "the message fails, the actor lives"
    CRASH_AGAIN = "the message is tried again by the next incarnation"
    CRASH_FAILED = "the message fails, the actor crashes"

    @property
    def crash(self) -> bool:
        """Whether the actor's incarnation is over."""
        return self in (Judgement.CRASH_AGAIN, Judgement.CRASH_FAILED)

    @property
    def again(self) -> bool:
        """Whether the message goes back to its place."""
        return self in (Judgement.AGAIN, Judgement.CRASH_AGAIN)


def only_leaf(error: BaseException) -> BaseException:
    """Return the one exception inside groups of one: a nursery in a handler wraps whatever is raised in it."""
    parts: Sequence[BaseException] = (error,)
    while len(parts) == 1:
        error = parts[0]
        parts = cast("BaseExceptionGroup[BaseException]", error).exceptions if _is_group(error) else ()
    return error


def of_calls(error: BaseException) -> bool:
    """Tell whether an error comes from calls alone, one or several at once: no failure of the actor that made them."""
    leaf = only_leaf(error)
    if _is_group(leaf):
        return all(of_calls(one) for one in cast("BaseExceptionGroup[BaseException]", leaf).exceptions)
    return isinstance(leaf, SpaceError | CapacityError)


def _is_group(error: BaseException) -> bool:
    return isinstance(error, BaseExceptionGroup)


def judge(error: BaseException, throws: tuple[type[Exception], ...], *, attempts: int, most: int) -> Judgement:
    """Decide how a turn ends that raised `error` at the `attempts`-th of at most `most` tries.

    Errors of calls that the handler made (`SpaceError`, `CapacityError`) are not the actor's own failure.
    """
    leaf = only_leaf(error)
    if isinstance(leaf, (Reject, *throws)):
        return Judgement.REJECTED
    again = attempts < most
    if of_calls(error):
        return Judgement.AGAIN if again else Judgement.FAILED
    return Judgement.CRASH_AGAIN if again else Judgement.CRASH_FAILED
