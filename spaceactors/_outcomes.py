"""How messages end: the count, the answer, the remembered id, the event."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from outcome import Error, Value
from trio.lowlevel import reschedule

from spaceactors._errors import ActorCrashed, MessageDiscarded, MessageExpired, MessageReturned, Rejected
from spaceactors._events import MessageSettled
from spaceactors._options import DiscardReason, Outcome
from spaceactors._space import DISCARDED, EXPIRED, HANDLED, OUTCOMES, RETURNED
from spaceactors._store import Known

if TYPE_CHECKING:
    from spaceactors._handle import SpaceHandle
    from spaceactors._message import Message
    from spaceactors._space import Space


def settle(
    space: Space,
    message: Message,
    outcome: int,
    *,
    reply: object = None,
    error: BaseException | None = None,
    why: DiscardReason | None = None,
) -> None:
    """End a message: count its outcome, tell who waits, tell the event."""
    space.outcomes[outcome] += 1
    extra = message.extra
    if extra is not None:
        forget_expiry(message)
        if extra.identified:
            _note_settled(space, message, OUTCOMES[outcome], reply if error is None else error)
        if extra.timer is not None:
            space.runtime.timers.ticked(space, extra.timer, message)
        if extra.reader is not None:
            extra.reader.close(error)
    answer(space, message, reply, error)
    if outcome != HANDLED:
        _tell(space, message, OUTCOMES[outcome], error, why)
    if space.runtime.draining:
        space.runtime.look_whether_quiet(space)


def answer(space: Space, message: Message, reply: object, error: BaseException | None) -> None:
    _wake(message, reply, error)
    if message.extra is not None and message.extra.joined:
        joined, message.extra.joined = message.extra.joined, []
        for other in joined:
            _wake(other, reply, None if error is None else copy_of(error, space, message))


def _wake(message: Message, reply: object, error: BaseException | None) -> None:
    task, message.waiter = message.waiter, None
    if task is not None:
        reschedule(task, Value(reply) if error is None else Error(error))


def tell_askers(space: Space, error: BaseException) -> None:
    """Answer all who wait for messages that stay pending."""
    for message in space.mailbox:
        answer(space, message, None, copy_of(error, space, message))
        if message.extra is not None and message.extra.reader is not None:
            message.extra.reader.give_up(copy_of(error, space, message))


def _tell(
    space: Space, message: Message, outcome: Outcome, error: BaseException | None, why: DiscardReason | None
) -> None:
    cause = error.__cause__ if isinstance(error, ActorCrashed) else error
    space.runtime.publish(MessageSettled, space, message.id, message.call, outcome, message.attempts, why, cause)


def discard(space: Space, message: Message, why: DiscardReason) -> None:
    """End a message by a rule that was asked for."""
    text = f"{message!r} was discarded ({why.value})"
    error = MessageDiscarded(text, why=why, space=space.handle, message=message)
    settle(space, message, DISCARDED, error=error, why=why)


def give_back(space: Space, message: Message, reason: BaseException | None = None) -> None:
    """Return a message to whoever sent it; one that a turn sent becomes a dead letter."""
    error = MessageReturned(f"{message!r} was returned: {space.name} ended first", space=space.handle, message=message)
    error.__cause__ = reason
    space.returned += 1
    settle(space, message, RETURNED, error=error)
    if reason is not None:
        space.runtime.bury(space, message, reason)


def return_at_once(space: Space, message: Message, reason: BaseException) -> None:
    """Count a message that a turn sent and this space refuses: it becomes a dead letter."""
    space.accepted += 1
    give_back(space, message, reason)


def expire(space: Space, message: Message) -> None:
    """End a message that was to begin earlier."""
    settle(space, message, EXPIRED, error=expired(message, space.handle))


def find_settled(space: Space, message_id: str) -> Known | None:
    """Return what is remembered of a settled id, if it is not too old."""
    known = space.row.known.get(message_id)
    if known is not None and space.clock.now - known.at > space.options.dedupe_window:
        del space.row.own_known()[message_id]
        return None
    return known


def _note_settled(space: Space, message: Message, outcome: Outcome, result: object) -> None:
    """Keep a settled id with its reply for a while, or free it."""
    if space.asked.get(message.id) is message:
        del space.own_asked()[message.id]
    if outcome not in (Outcome.HANDLED, Outcome.REJECTED):
        return
    if outcome is Outcome.REJECTED:
        result = Rejected(getattr(result, "reason", ""), space=space.handle, message=message)
    known = space.row.own_known()
    known[message.id] = Known(message, outcome, result, space.clock.now)
    while known and (len(known) > space.options.dedupe_limit or find_settled(space, next(iter(known))) is None):
        if len(known) > space.options.dedupe_limit:
            known.popitem(last=False)


def forget_expiry(message: Message) -> None:
    """Let a message's time no longer run out."""
    if message.extra is not None:
        message.extra.forget_expiry()


def expired(message: Message, handle: SpaceHandle[Any]) -> MessageExpired:
    """Return the error for a message that was to begin earlier."""
    return MessageExpired(f"{message!r} expired before its turn began", space=handle, message=message)


def copy_of(error: BaseException, space: Space, message: Message) -> BaseException:
    """Return an error for one more waiter: a traceback belongs to one task."""
    match error:
        case Rejected():
            copy: BaseException = Rejected(error.reason, space=space.handle, message=message)
        case MessageDiscarded():
            copy = MessageDiscarded(*error.args, why=error.why, space=space.handle, message=message)
        case _:
            copy = type(error)(*error.args, space=space.handle, message=message)  # type: ignore[call-arg]
    copy.__cause__ = error.__cause__
    return copy
