"""Where functions run: the kinds of contexts, the port that each is, and what can go wrong in one.

Pure: no Trio, no thread, no process.
"""

from __future__ import annotations

import os
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, TypeVarTuple, final, overload

from attrs import Factory, field, frozen

from supervisors._spec import check_name, check_seconds

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from attrs import Attribute

R = TypeVar("R")
Ts = TypeVarTuple("Ts")

# As many threads as Trio itself lets run at once: they wait for the world most of the time.
THREADS = 40


@final
class ContextKind(Enum):
    """What a context is made of.

    `INLINE`: the task that calls. `THREAD`: a thread of this process; for what waits for the world by blocking calls.
    `PROCESS`: a process of its own; for work that needs a processor, or may have to be killed. `INTERPRETER`: a thread
    with a Python interpreter (and so a global lock) of its own, where Python has them; elsewhere a thread.
    """

    INLINE = "inline"
    THREAD = "thread"
    PROCESS = "process"
    INTERPRETER = "interpreter"


class ContextError(Exception):
    """A context failed, not the function that ran in it, or was to."""


@final
class ContextClosed(ContextError):
    """The context takes nothing new, or was terminated under the call: it is at its end."""


@final
class WorkerLost(ContextError):
    """The process died under the call. How far the function came is not known; the next call gets a new process."""


@final
class ContextUnavailable(ContextError):
    """A worker could not be started: what it needs is not installed, or the machine gives no more."""


@final
class NotSendable(ContextError, TypeError):
    """The function, an argument or the result cannot go to a process or back; the worker lives on."""


@final
class UnknownContext(ContextError, LookupError):
    """The pool has no context of that name."""


class Context(Protocol):
    """One place in which functions run, one at a time; in an inline one each runs in the task that calls it."""

    @property
    def kind(self) -> ContextKind:
        """What it is made of; `THREAD` for an interpreter where Python has none."""
        ...

    @overload
    async def run(self, fn: Callable[[*Ts], Awaitable[R]], /, *args: *Ts) -> R: ...
    @overload
    async def run(self, fn: Callable[[*Ts], R], /, *args: *Ts) -> R: ...
    async def run(self, fn: Callable[[*Ts], Awaitable[R] | R], /, *args: *Ts) -> R:
        """Run a function, sync or async, and return or raise what it does, with its own traceback; wait in line for it.

        An async function runs in the loop of the caller if the context is inline, else in a loop of its own there, on
        real time: objects that belong to the caller's loop (a space, a channel, an event) are of no use to it.

        Cancelled, it ends as soon as the kind allows, and returns when nothing of the call runs any more. An async
        function is cancelled inline and in a thread. A sync function in a thread goes on to its end, unless it looks
        with `trio.from_thread.check_cancelled()`; if it succeeds all the same, its result is returned. A process is
        killed, with what the function held open. Nothing can end an interpreter: it is waited for.

        Context variables of the caller can be read inline and in a thread. Nothing of them goes to a process or an
        interpreter. `supervisors.draining()` and its like tell nothing in a loop of its own.

        Raises:
            ContextClosed: the context is closed, or was terminated meanwhile.
            WorkerLost: the process died under the call.
            ContextUnavailable: no worker could be started.
            NotSendable: the function, an argument or the result cannot go to a process or back.
            BaseException: whatever the function raises, `SystemExit` and `KeyboardInterrupt` too.

        """
        ...

    async def join(self) -> None:
        """Refuse new calls, let those that were accepted finish, then give the worker back."""
        ...

    def terminate(self) -> None:
        """Refuse new calls and end those that run, now: their callers get `ContextClosed`.

        A process is killed. Async functions are cancelled inline and in a thread. A sync function in a thread can look
        with `check_cancelled`; if it does not, or runs in an interpreter, its caller and the end of the block wait.
        """
        ...


def _is_name(_spec: object, attribute: Attribute[Any], value: object) -> None:
    check_name(f"{attribute.name} of a context", value)


def _is_size(spec: ContextSpec, _attribute: Attribute[Any], value: object) -> None:
    if spec.kind is ContextKind.INLINE:
        if value is not None:
            msg = f"the inline context {spec.name!r} has no size: it is the task that calls; leave size out"
            raise ValueError(msg)
    elif not isinstance(value, int) or isinstance(value, bool):
        msg = f"size of the context {spec.name!r} must be a whole number such as 4, not {value!r}"
        raise TypeError(msg)
    elif value < 1:
        msg = f"size of the context {spec.name!r} must be 1 or more, not {value!r}"
        raise ValueError(msg)


def _is_time(_spec: object, attribute: Attribute[Any], value: object) -> None:
    if value is not None:
        check_seconds(attribute.name, value)


def kind_named(kind: ContextKind | str) -> ContextKind:
    """Return the kind of that name, or the kind itself."""
    if isinstance(kind, ContextKind):
        return kind
    try:
        return ContextKind(kind)
    except ValueError:
        names = ", ".join(repr(one.value) for one in ContextKind)
        msg = f"kind must be a ContextKind or one of {names}, not {kind!r}"
        raise ValueError(msg) from None


def processors() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _usual_size(spec: ContextSpec) -> int | None:
    match spec.kind:
        case ContextKind.INLINE:
            return None
        case ContextKind.THREAD:
            return THREADS
        case ContextKind.PROCESS | ContextKind.INTERPRETER:
            return processors()


@final
@frozen
class ContextSpec:
    """Contexts of a pool that share a name, for `open_context_pool`.

    Args:
        name: what stages call them by; one of the four kinds' names changes what that name means in this pool.
        kind: a `ContextKind`, or its name.
        size: how many there may be at once: as many as the machine has processors, but 40 threads. Inline has no bound.
        idle_timeout: seconds without a call after which one is closed; None: at the end of the pool.

    """

    name: str = field(validator=_is_name)
    kind: ContextKind = field(default=ContextKind.THREAD, converter=kind_named)
    size: int | None = field(default=Factory(_usual_size, takes_self=True), validator=_is_size, kw_only=True)
    idle_timeout: float | None = field(default=60.0, validator=_is_time, kw_only=True)


@final
@frozen
class ContextStatistics:
    """The contexts of one name at one moment, and what became of them since the pool was opened.

    Attributes:
        kind: what they are made of; `THREAD` for interpreters where Python has none.
        size: how many there may be at once; None: no bound.
        open: how many there are, those included that are being opened or closed.
        in_use: how many are in use; inline, where all use the same one, how many use it.
        idle: how many wait for the next use.
        waiting: how many wait in line for one.
        created: how many were opened.
        replaced: how many were not used again because their worker was lost or they were terminated.
        failed: how many could not be opened.

    """

    kind: ContextKind
    size: int | None
    open: int = 0
    in_use: int = 0
    idle: int = 0
    waiting: int = 0
    created: int = 0
    replaced: int = 0
    failed: int = 0
