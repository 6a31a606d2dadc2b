"""What a durable store had of a space goes on: messages that wait, an open question, a quarantine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spaceactors import _door as door
from spaceactors import _outage as outage
from spaceactors import _outcomes as outcomes
from spaceactors._errors import ActorCrashed
from spaceactors._space import FAILED, Gate

if TYPE_CHECKING:
    from spaceactors._handle import SpaceHandle
    from spaceactors._hub import Hub
    from spaceactors._message import Message
    from spaceactors._port import DurablePort
    from spaceactors._space import Space
    from spaceactors._store import Found

# Messages looked at in one go when a runtime opens.
_PAGE = 1000


async def begin(runtime: Hub, durable: DurablePort) -> None:
    """Take up, in their order, all messages that an earlier process accepted and did not settle."""
    await durable.count_recoveries()
    sleeping = await durable.asleep()
    runtime.stored_pending += sleeping
    runtime.folded_accepted += sleeping
    after = 0
    while page := await durable.waiting(after, _PAGE):
        handles: dict[tuple[str, str], SpaceHandle[Any]] = {}
        for after, kind, space_id in page:  # noqa: B007 (the last number is where the next page begins)
            if (kind, space_id) not in runtime.live:
                handles[kind, space_id] = runtime.handle(runtime.by_name[kind], space_id)
        async with runtime.loading.held(handles.values()):
            for handle in handles.values():
                runtime.space_for(handle)


def take_up(space: Space) -> None:
    """Give a new activation what the store had of its space."""
    found, space.row.found = space.row.found, None
    if space.row.quarantined is not None:
        space.quarantined = True
        space.gate = Gate.QUARANTINED
        error = space.row.quarantined
        space.last_error = error
        if space.row.unreadable and found is not None and space.runtime.durable is not None:
            space.runtime.durable.note(space.row)  # kept, so that openings do not count against what cannot run
    _uncount(space, found)
    if found is not None:
        _take_up(space, found)


def _uncount(space: Space, found: Found | None) -> None:
    """Take out of the count what was counted with those that are in the store only: it is counted here now."""
    runtime = space.runtime
    counted = runtime.left_waiting.pop((space.kind.name, space.id), 0) + (0 if found is None else found.asleep)
    runtime.stored_pending -= counted
    runtime.folded_accepted -= counted


def _take_up(space: Space, found: Found) -> None:
    if found.asked is not None:
        space.accepted += 1
        space.runtime.suspensions.come_back(found.asked, space)
        message = found.asked.message
        if message.rare().identified:
            space.own_asked()[message.id] = message
    for message, error in found.unreadable:
        outage.unreadable(space.runtime, space.row, f"the message {message.id}", error)
        _fail(space, message, error)
    for message in found.messages:
        _accept_again(space, message)


def _accept_again(space: Space, message: Message) -> None:
    extra = message.rare()
    if extra.identified and (message.id in space.asked or outcomes.find_settled(space, message.id) is not None):
        outcomes.drop_row(space, message)  # the same message once more, which came in with a turn's commit
    elif extra.recoveries > space.options.max_recoveries:
        times = f"{extra.recoveries} processes died while it was at the head of its line"
        _fail(space, message, RuntimeError(f"{message!r} is not tried again: {times}"))
    else:
        accepted_at = message.at
        door.accept(space, message)
        message.at = accepted_at


def _fail(space: Space, message: Message, error: Exception) -> None:
    space.accepted += 1
    crashed = ActorCrashed(f"{space.name} failed at {message!r}: {error}", space=space.handle, message=message)
    crashed.__cause__ = error
    outcomes.settle(space, message, FAILED, error=crashed, letter=error)
