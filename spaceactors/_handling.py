"""What stands before a turn and behind it: whether it is wanted, what its handler asks for, the long way to its end."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import trio

from spaceactors import _outcomes as outcomes
from spaceactors import _verdict as verdict
from spaceactors._acting import hold
from spaceactors._errors import StoreError
from spaceactors._options import DiscardReason
from spaceactors._settle import commit, look_again
from spaceactors._space import HANDLED
from spaceactors._store import EpochLost, VersionLost
from spaceactors._streaming import drive

if TYPE_CHECKING:
    from spaceactors._message import Message
    from spaceactors._space import Space
    from spaceactors._worker import Worker


def still_wanted(space: Space, message: Message) -> bool:
    """Tell whether a message that comes to its turn is still wanted: the tick of a replaced timer is not."""
    extra = message.extra
    if extra is None:
        return True
    late = extra.expiry is not None and extra.expiry.at <= space.clock.exactly()
    extra.forget_expiry()
    if late:
        # A handler that blocks the whole program keeps the alarm from ringing in time.
        outcomes.expire(space, message)
        return False
    if extra.timer is not None and extra.timer.stale:
        outcomes.discard(space, message, DiscardReason.SUPERSEDED)
        return False
    return True


async def call(worker: Worker, message: Message) -> Any:
    """Call a handler that asks for more than its arguments: limits, a timeout, a reader for its items."""
    handler = message.handler
    async with AsyncExitStack() as held:
        if handler.limit:
            await held.enter_async_context(hold(worker.space, handler.limit, message.priority))
        if handler.timeout is not None and worker.scope is not None:
            worker.scope.deadline = trio.current_time() + handler.timeout
        if handler.streams:
            return await drive(worker, message)
        return await handler.function(worker.space.actor, *message.args, **message.kwargs)


async def finish(worker: Worker, message: Message, reply: object) -> None:
    """Commit a turn whose handler has returned: from here on nothing cancels it."""
    worker.returned = True
    worker.end_timeout()
    try:
        await commit(worker, message, reply)
    except Exception as error:
        await not_kept(worker, message, error)
    else:
        worker.space.took(worker.began)
        outcomes.settle(worker.space, message, HANDLED, reply=reply)
        worker.close()


async def not_kept(worker: Worker, message: Message, error: Exception) -> None:
    """End a turn otherwise whose commit was refused."""
    match error:
        case VersionLost():
            await _overtaken(worker, message)
        case EpochLost():
            verdict.fenced(worker)
        case StoreError():
            verdict.unkept(worker, message, error)
        case _:
            verdict.failed(worker, message, error)


async def _overtaken(worker: Worker, message: Message) -> None:
    """Have the turn run again on what somebody else has written; later, if that cannot be read now."""
    try:
        await look_again(worker.space)
    except StoreError as error:
        verdict.unkept(worker, message, error)
    else:
        verdict.overtaken(worker, message)
