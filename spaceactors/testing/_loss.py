"""What a killed process loses, and what a new one finds in its store.

The memory store holds states, histories, timers, remembered ids, feeds and dead letters. A durable store would hold
messages that were accepted and not settled too, with their finished steps and open questions: these are carried
over here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

from attrs import define
from outcome import Error
from trio.lowlevel import reschedule

from spaceactors import _door as door
from spaceactors._errors import RuntimeClosed
from spaceactors._memory import MemoryStore
from spaceactors._space import Gate
from spaceactors._store import Row

if TYPE_CHECKING:
    from spaceactors._handle import SpaceHandle
    from spaceactors._hub import Hub
    from spaceactors._message import Message
    from spaceactors._port import Store
    from spaceactors._space import Space
    from spaceactors._suspensions import Asked

_KILLED = "the runtime was reopened, as after a kill: what it was doing for this caller is not known"


@final
@define(eq=False)
class Kept:
    """What goes on after the loss."""

    store: Store
    # In the order in which each space accepted them.
    messages: list[tuple[SpaceHandle[Any], Message]]
    # The open questions, whose messages sleep.
    asked: tuple[Asked, ...]


def lose(hub: Hub) -> Kept:
    """Take everything from the tasks of a runtime: whatever they still do on their way out changes nothing."""
    hub.closed = True
    kept = Kept(hub.store, [], hub.suspensions.lose())
    if hub.durable is not None:
        hub.durable.lose()
    else:
        hub.store = MemoryStore()
    hub.places.turn_away(RuntimeClosed, _KILLED)
    hub.suspensions.turn_away(RuntimeClosed, _KILLED)
    for space in hub.live.values():
        space.gate = Gate.CLOSING
        door.turn_away_line(space)
        space.row = Row(space.kind.name, space.id, space.row.state, space.row.version, stored=True)
        pending = _take_messages(space)
        for message in pending if space.asleep is None else [*pending, space.asleep]:
            _let_go(message, space)
        kept.messages += [(space.handle, one) for one in pending if one.extra is None or one.extra.timer is None]
    kept.messages.sort(key=lambda one: 0 if one[1].extra is None else one[1].extra.number)
    hub.feeds.close()
    return kept


def _take_messages(space: Space) -> list[Message]:
    """Take the messages out, those of running turns first; being killed with them is no try."""
    running = [worker.message for worker in space.workers if worker.message is not None]
    for worker in space.workers:
        worker.message = None
    for message in running:
        message.attempts -= 1
    waiting = list(space.mailbox)
    space.mailbox.clear()
    return [*running, *waiting]


def _let_go(message: Message, space: Space) -> None:
    """Tell all who wait for a message that nobody will answer them."""
    waiting = [message]
    extra = message.extra
    if extra is not None:
        waiting += extra.joined
        extra.joined = ()
        if extra.reader is not None:
            extra.reader.close(RuntimeClosed(_KILLED, space=space.handle, message=message))
            extra.reader = None
    for one in waiting:
        task, one.waiter = one.waiter, None
        if task is not None:
            reschedule(task, Error(RuntimeClosed(_KILLED, space=space.handle, message=message)))


def leave_all(hub: Hub) -> None:
    """Have handles look their spaces up anew, and nobody wait for an end that will not come."""
    for space in hub.live.values():
        space.leave()
        if space.over is not None:
            space.over.set()


def take_up(hub: Hub, kept: Kept) -> None:
    """Accept again what was accepted, in its order, and put to sleep what slept."""
    for asked in kept.asked:
        space = hub.space_for(asked.shown.space)
        space.accepted += 1
        if asked.message.extra is not None and asked.message.extra.identified:
            space.own_asked()[asked.message.id] = asked.message
        hub.suspensions.take_up(asked, space)
    for handle, message in kept.messages:
        space = hub.space_for(handle)
        accepted_at = message.at
        _set_expiry(hub, space, message)
        door.accept(space, message)
        message.at = accepted_at


def _set_expiry(hub: Hub, space: Space, message: Message) -> None:
    """Have a message expire when it would have: its time went on."""
    after = message.options.expires_after
    extra = message.extra
    if after is not None and extra is not None and extra.expiry is not None:
        extra.expiry = hub.keeper.set(message.at + after, lambda: door.expire_waiting(space, message))
