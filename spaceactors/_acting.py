"""What an actor's methods do: each finds the open turn and notes there what is to leave with its commit."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from enum import Enum
from math import inf
from typing import TYPE_CHECKING, Any, final

import trio

from spaceactors import _journal as journal
from spaceactors._errors import BadCall, OutsideTurn
from spaceactors._history import History
from spaceactors._options import limit_names
from spaceactors._pace import TURNS, lent
from spaceactors._retrying import tried
from spaceactors._store import Recorded
from spaceactors._timers import Call, Timer
from spaceactors._turn import here, outside_turn
from spaceactors._values import MUTABLE
from supervisors import CapacityRefused, Priority
from supervisors._async_only import AsyncOnly

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime
    from types import TracebackType

    from spaceactors._message import Message
    from spaceactors._options import Retry
    from spaceactors._space import Space
    from spaceactors._turn import TurnRecord
    from spaceactors._worker import Worker
    from supervisors import Limits

Missing = Enum("Missing", ["MISSING"])
MISSING = Missing.MISSING


def worker(space: Space, what: str) -> Worker:
    """Return the worker in whose open turn the calling code runs. Raises `OutsideTurn`."""
    place = here.get()
    if place is None or place.space is not space or not place.in_turn():
        raise outside_turn(what, space)
    return space.worker_of(place)


def record(space: Space, what: str) -> TurnRecord:
    """Return the record of the open turn."""
    return worker(space, what).record


def assign(space: Space, value: Any) -> None:
    """Assign the state of the open turn."""
    turn = worker(space, "assigning self.state")
    if space.kind.stateless:
        msg = f"{space.kind.cls.__name__} has no state: write class {space.kind.cls.__name__}(Actor[YourState])"
        raise TypeError(msg)
    cls: Any = value.__class__
    if cls not in space.kind.sound and isinstance(value, MUTABLE):
        msg = f"a state must be immutable, a {type(value).__name__} is not: use a tuple, a frozenset or a frozen class"
        raise TypeError(msg)
    space.kind.sound.add(cls)  # asking whether something is a list costs more than all the rest here
    space.working = value
    turn.touched = True


def message(space: Space) -> Message:
    """Return the message of the open turn."""
    current = worker(space, "self.message").message
    if current is None:
        msg = f"a hook of {space.name} is a turn without a message"
        raise OutsideTurn(msg, space=space.handle)
    return current


def history(space: Space) -> History:
    """Return the history as turns use it."""
    return History(space)


def emit(space: Space, event: object, *, now: bool) -> None:
    """Emit an event with the commit, or at once."""
    turn = worker(space, "emit")
    noted = turn.record
    if now:
        space.runtime.feeds.put_now(space, event)
        space.runtime.stalls.progressed(turn)
    else:
        noted.emit(event)


def count(space: Space, name: str, amount: float) -> None:
    """Add to a counter with the commit."""
    record(space, "count").count(name, amount)


def start_soon(space: Space, fn: Callable[..., Awaitable[object]], args: tuple[Any, ...], name: str | None) -> None:
    """Start background work of the incarnation; from a turn or from other background work of the same space."""
    place = here.get()
    if place is None or place.space is not space or not (place.background or place.in_turn()):
        raise outside_turn("start_soon", space)
    space.runtime.background.start(space, fn, args, name)


def schedule(
    space: Space,
    key: str,
    method: Callable[..., Any],
    args: tuple[Any, ...],
    *,
    after: float | None,
    at: datetime | None,
    every: float | None,
) -> None:
    """Set a timer with the commit."""
    noted = record(space, "schedule")
    given = [name for name, value in (("after", after), ("at", at), ("every", every)) if value is not None]
    if len(given) != 1:
        msg = f"schedule({key!r}, ...) needs one of after=, at= and every=, not {', '.join(given) or 'none'}"
        raise TypeError(msg)
    # Said so that what is not a number is refused too: an alarm at no time would never let the keeper sleep.
    if (every is not None and not 0 < every < inf) or (after is not None and not 0 <= after < inf):
        least = "more than" if every is not None else "at least"
        msg = f"schedule({key!r}, ...): {given[0]} must be {least} 0 seconds, and a finite number"
        raise ValueError(msg)
    if at is not None and at.tzinfo is None:
        msg = f"schedule({key!r}, at=...): the date needs a time zone, such as datetime.now(UTC) has"
        raise ValueError(msg)
    handler = space.kind.handler(method)
    misfit = handler.misfit(args, {})
    if misfit is not None:
        raise BadCall(misfit, space=space.handle)
    delay = after if after is not None else every
    due = space.clock.moment(at) if at is not None else space.clock.now + (delay or 0.0)
    noted.set_timer(key, Timer(key, Call(handler, args), due, every, space.clock))


def cancel_schedule(space: Space, key: str) -> bool:
    """Cancel a timer with the commit."""
    noted = record(space, "cancel_schedule")
    there = noted.timers[key] is not None if key in noted.timers else key in space.row.timers
    noted.set_timer(key, None)
    return there


def _open_turn() -> Worker | None:
    """Return the worker in whose open turn the calling code runs, if it runs in one."""
    place = here.get()
    return place.space.worker_of(place) if place is not None and place.in_turn() else None


@asynccontextmanager
async def lending() -> AsyncGenerator[None]:
    """Lend the token of the turn in which the calling code runs, if it runs in one, while it waits for something."""
    async with lent(_open_turn()):
        yield


@asynccontextmanager
async def hold(
    space: Space, names: Sequence[str], priority: Priority | None, limits: Limits | None = None
) -> AsyncGenerator[None]:
    """Hold limits of the runtime, or those given, in the name of the space."""
    turn = _open_turn()
    if limits is None and turn is not None and turn.pace is not None and TURNS in names:
        # It would wait for the token that it needs to go on.
        raise CapacityRefused(f"the limit {TURNS!r} is held by each turn as it runs: a turn cannot hold it once more")
    if priority is None:
        current = None if turn is None else turn.message
        priority = Priority.NORMAL if current is None else current.priority
    limits = space.runtime.limits if limits is None else limits
    async with AsyncExitStack() as held:
        hold = limits.hold(*names, priority=priority, fair_key=space.name)
        async with lent(None if turn is None or limits.free(*names) else turn):
            with space.runtime.stalls.waiting(space, turn, names):
                await held.enter_async_context(hold)
        yield


@final
class TurnHold(AsyncOnly):
    """What `self.limits.hold(...)` gives: a block that says so when it is entered in the wrong way."""

    __slots__ = ("_block",)

    def __init__(self, block: AbstractAsyncContextManager[None]) -> None:
        self._block = block

    async def __aenter__(self) -> None:
        await self._block.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._block.__aexit__(kind, error, trace)


async def step(
    space: Space,
    name: str,
    fn: Callable[..., Awaitable[Any]],
    args: tuple[Any, ...],
    *,
    retry: Retry | None,
    limit: str | Sequence[str],
    timeout: float | None,
) -> Any:
    """Run a step, or give back what an earlier try of this message recorded."""
    turn = worker(space, "step")
    await trio.lowlevel.checkpoint_if_cancelled()
    current = turn.message
    if current is None:
        msg = f"a hook of {space.name} is a turn without a message, nothing is tried again: call the function itself"
        raise OutsideTurn(msg, space=space.handle)
    number = turn.record.name_again(name)
    key = name if number == 1 else f"{name}#{number}"
    position, recorded = journal.begin(turn, current, key)
    if recorded is not None:
        await trio.lowlevel.checkpoint()
        return recorded.value
    async with AsyncExitStack() as held:
        names = limit_names(limit)
        if names:
            await held.enter_async_context(hold(space, names, None))
        result = await _tried(fn, args, retry, timeout)
    done = Recorded(position, alone=position != journal.NOWHERE, value=result)
    durable = space.runtime.durable
    kept = None if durable is None else durable.record(space.row, current, key, done)
    # What is done is recorded first, whatever comes: another try of this process need not wait for the disk.
    current.rare().record(key, done)
    if kept is not None:
        await kept.wait()
    else:
        await trio.lowlevel.cancel_shielded_checkpoint()
    return result


def run_name(turn: Worker, name: str) -> str:
    """Return what a run of a pipeline is called in the journal: by the pipeline, and the how many-th of the turn it is.

    Raises:
        ValueError: another task of the turn has run it too: which of them is the first is chance, in each try anew.

    """
    number = turn.record.name_again(f"pipeline {name}")
    if turn.record.name_again((f"pipeline {name}", trio.lowlevel.current_task())) != number:
        msg = f"another task of this turn runs {name!r} too, and a second try could not tell the runs apart: give name="
        raise ValueError(msg)
    return name if number == 1 else f"{name}#{number}"


async def _tried(
    fn: Callable[..., Awaitable[Any]],
    args: tuple[Any, ...],
    retry: Retry | None,
    timeout: float | None,
) -> Any:
    async def once() -> Any:
        if timeout is None:
            return await fn(*args)
        with trio.fail_after(timeout):
            return await fn(*args)

    return await tried(once, retry)


async def suspend(
    space: Space,
    name: str,
    question: object,
    *,
    answer: type[Any],
    timeout: float | None,
    default: Any,
) -> Any:
    """Give back a recorded answer, or end this try until there is one."""
    turn = worker(space, "suspend")
    if timeout is not None and not 0 <= timeout < inf:
        msg = f"suspend({name!r}, ...): timeout must be at least 0 seconds and a finite number, or None for ever"
        raise ValueError(msg)
    recorded = space.runtime.suspensions.answer_or_suspend(turn, name, question, answer, timeout, default)
    await trio.lowlevel.checkpoint()
    return recorded
