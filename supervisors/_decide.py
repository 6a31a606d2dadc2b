"""What a supervisor does next, as tables.

Pure: imports no Trio, reads no clock, draws no chance, logs nothing.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, final

from attrs import frozen

from supervisors._spec import AutoShutdown, ChildStatus, Restart, Strategy

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class ExitKind(Enum):
    """How an incarnation ended."""

    FINISHED = "finished"  # returned by itself
    CRASHED = "crashed"  # raised by itself
    FAILED_START = "failed start"  # ended before it was ready
    STOPPED = "stopped"  # ended after it was asked or cancelled, in whatever way
    FATAL = "fatal"  # KeyboardInterrupt and its like: no crash, it concerns the whole program


class Origin(Enum):
    """Why an incarnation was started."""

    FIRST = "first"  # a new child
    MANUAL = "manual"  # restart_child
    AUTOMATIC = "automatic"  # the supervisor's own decision


@final
@frozen
class Exit:
    """The end of an incarnation; `cut` means cancelled while it was finishing."""

    kind: ExitKind
    error: BaseException | None = None
    cut: bool = False


FINISHED = Exit(ExitKind.FINISHED)


def exit_of(error: BaseException | None, *, ready: bool, asked: bool, cut: bool) -> Exit:
    """Tell from what an incarnation raised, and from where it was in its life, how it ended."""
    if error is not None and not isinstance(error, Exception):
        return Exit(ExitKind.FATAL, error)
    if asked:
        return Exit(ExitKind.STOPPED, error, cut)
    if not ready:
        return Exit(ExitKind.FAILED_START, error)
    return FINISHED if error is None else Exit(ExitKind.CRASHED, error)


@final
@frozen
class Forget:
    """The child is not to be restarted, and its spec goes."""


@final
@frozen
class Keep:
    """The child is not to be restarted; its spec stays."""

    status: ChildStatus


@final
@frozen
class Again:
    """The child is to be restarted, if the limit allows."""


FORGET = Forget()
AGAIN = Again()
KEEP_STOPPED = Keep(ChildStatus.STOPPED)
KEEP_FINISHED = Keep(ChildStatus.FINISHED)
KEEP_FAILED = Keep(ChildStatus.FAILED)

AFTER_EXIT: dict[tuple[Restart, ExitKind], Forget | Keep | Again] = {
    (Restart.PERMANENT, ExitKind.FINISHED): AGAIN,
    (Restart.PERMANENT, ExitKind.CRASHED): AGAIN,
    (Restart.PERMANENT, ExitKind.STOPPED): KEEP_STOPPED,
    (Restart.TRANSIENT, ExitKind.FINISHED): KEEP_FINISHED,
    (Restart.TRANSIENT, ExitKind.CRASHED): AGAIN,
    (Restart.TRANSIENT, ExitKind.STOPPED): KEEP_STOPPED,
    (Restart.TEMPORARY, ExitKind.FINISHED): FORGET,
    (Restart.TEMPORARY, ExitKind.CRASHED): FORGET,
    (Restart.TEMPORARY, ExitKind.STOPPED): FORGET,
}

# A start that fails is told to whoever asked for it; only the supervisor's own attempts go on.
AFTER_FAILED_START: dict[Origin, Forget | Keep | Again] = {
    Origin.FIRST: FORGET,
    Origin.MANUAL: KEEP_FAILED,
    Origin.AUTOMATIC: AGAIN,
}


def after_exit(restart: Restart, origin: Origin, kind: ExitKind, *, ready: bool = True) -> Forget | Keep | Again:
    """Decide what becomes of a child that ended."""
    match kind:
        case ExitKind.FATAL:
            return FORGET if restart is Restart.TEMPORARY else KEEP_FAILED
        case ExitKind.FAILED_START:
            verdict = AFTER_FAILED_START[origin]
            return FORGET if restart is Restart.TEMPORARY else verdict
        case ExitKind.STOPPED if origin is Origin.FIRST and not ready:
            return FORGET
        case _:
            return AFTER_EXIT[restart, kind]


def status_of(verdict: Forget | Keep | Again, kind: ExitKind) -> ChildStatus:
    """Show a child that has ended, while what follows has still to be done."""
    match verdict:
        case Keep(status):
            return status
        case Again():
            return ChildStatus.BACKING_OFF
        case Forget():
            return ChildStatus.FINISHED if kind is ExitKind.FINISHED else ChildStatus.FAILED


def shuts_down(rule: AutoShutdown, kind: ExitKind, *, significant: bool, others_active: Iterable[bool]) -> bool:
    """Decide whether a child that ended for good takes the supervisor with it.

    `others_active` says of each other significant child whether it runs or will.
    """
    if not significant or kind not in {ExitKind.FINISHED, ExitKind.CRASHED}:
        return False
    match rule:
        case AutoShutdown.NEVER:
            return False
        case AutoShutdown.ANY_SIGNIFICANT:
            return True
        case AutoShutdown.ALL_SIGNIFICANT:
            return not any(others_active)


def group_of(strategy: Strategy, children: Sequence[str], failed: str) -> tuple[str, ...]:
    """Return who restarts with `failed`, itself included, in start order."""
    match strategy:
        case Strategy.ONE_FOR_ONE:
            return (failed,)
        case Strategy.ONE_FOR_ALL:
            return tuple(children)
        case Strategy.REST_FOR_ONE:
            return tuple(children[children.index(failed) :])


class Stage(Enum):
    """Where a supervisor or pool is in its life."""

    OPENING = "opening"
    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


def outcome_of(
    fatal: BaseException | None,
    failed: BaseException | None,
    gave_up: Exception | None,
    body: BaseException | None,
) -> BaseException | None:
    """Choose what comes out of `async with`: the first that there is, in the order of the arguments.

    `failed` is the failed start, `body` what the body raised, the surrounding cancellation included.
    """
    if fatal is not None:
        return fatal
    if failed is not None:
        return failed
    if gave_up is not None and isinstance(body, Exception):
        return ExceptionGroup("the supervisor gave up, and the body of its block failed too", [gave_up, body])
    return gave_up if gave_up is not None else body
