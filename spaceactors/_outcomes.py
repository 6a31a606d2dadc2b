"""How messages end: the count, the answer, the remembered id, the event."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from outcome import Error, Value
from trio.lowlevel import reschedule

from spaceactors._errors import (
    ActorCrashed,
    MessageDiscarded,
    MessageExpired,
    MessageReturned,
    Rejected,
    RuntimeClosed,
    SpaceError,
    StoreError,
)
from spaceactors._events import MessageSettled
from spaceactors._options import DiscardReason, Outcome
from spaceactors._pace import answered
from spaceactors._space import DISCARDED, EXPIRED, HANDLED, OUTCOMES, RETURNED
from spaceactors._store import EpochLost, Known, Settled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spaceactors._handle import SpaceHandle
    from spaceactors._hub import Hub
    from spaceactors._message import Extra, Message
    from spaceactors._port import DurablePort
    from spaceactors._receipt import Receipt
    from spaceactors._space import Space


def settle(
    space: Space,
    message: Message,
    outcome: int,
    *,
    reply: object = None,
    error: BaseException | None = None,
    why: DiscardReason | None = None,
    letter: BaseException | None = None,
) -> None:
    """End a message: count its outcome, keep it, tell who waits, tell the event.

    Args:
        space: where it was accepted.
        message: the message.
        outcome: in what it ends, as an index of `OUTCOMES`.
        reply: what its asker gets, if it was handled.
        error: what its asker gets otherwise.
        why: the reason of a discard.
        letter: why it becomes a dead letter, if it does.

    """
    extra = message.extra
    if extra is not None:
        if extra.lost:
            _refused_meanwhile(space, message, extra)
            return
        extra.ended = True
        extra.forget_expiry()
    space.outcomes[outcome] += 1
    if extra is not None:
        if space.runtime.durable is not None and outcome != HANDLED:
            _settle_durably(space.runtime.durable, space, message, outcome, error, why, letter)
            return
        if extra.identified or extra.timer is not None:
            _note_end(space, message, extra, outcome, reply if error is None else error)
        if extra.reader is not None:
            extra.reader.close(error)
    answer(space, message, reply, error)
    if outcome != HANDLED:
        _tell(space, message, OUTCOMES[outcome], error, why)
    if space.runtime.draining:
        space.runtime.look_whether_quiet(space)
    if letter is not None:
        space.runtime.bury(space, message, letter)


def _refused_meanwhile(space: Space, message: Message, extra: Extra) -> None:
    """Forget a message that could not be written while its turn ran: its sender was told that it was not accepted."""
    extra.lost = False
    space.accepted -= 1
    if extra.identified and space.asked.get(message.id) is message:
        del space.own_asked()[message.id]


def _note_end(space: Space, message: Message, extra: Extra, outcome: int, result: object) -> None:
    if extra.identified:
        _note_settled(space, message, OUTCOMES[outcome], result)
    if extra.timer is not None:
        space.runtime.timers.ticked(space, extra.timer, message)


def _settle_durably(
    durable: DurablePort,
    space: Space,
    message: Message,
    outcome: int,
    error: BaseException | None,
    why: DiscardReason | None,
    letter: BaseException | None,
) -> None:
    """End a message in memory, and tell who waits when the store has it too."""
    extra = message.rare()
    settled = Settled(OUTCOMES[outcome], error if isinstance(error, Rejected) else None, letter)
    kept = durable.settle(space.row, message, settled)
    _note_end(space, message, extra, outcome, error)

    def tell(receipt: Receipt[None] | None = None) -> None:
        if receipt is not None and isinstance(receipt.error, EpochLost):
            _fenced(space, message, outcome)
            return
        if receipt is not None and isinstance(receipt.error, StoreError) and extra.row:
            _left_after_all(space, message, outcome)
            return
        if extra.reader is not None:
            extra.reader.close(error)
        answer(space, message, None, error)
        _tell(space, message, OUTCOMES[outcome], error, why)

    if kept is None:
        tell()
    else:
        kept.then(tell)
    if space.runtime.draining:
        space.runtime.look_whether_quiet(space)
    if letter is not None:
        space.runtime.bury(space, message, letter)


def _left_after_all(space: Space, message: Message, outcome: int) -> None:
    """Take an outcome back that could not be written before the end: the store has the message as pending."""
    runtime = space.runtime
    counted = runtime.folded_outcomes if space.gone else space.outcomes
    counted[outcome] -= 1
    runtime.stored_pending += 1
    if not space.gone:
        space.accepted -= 1
        runtime.folded_accepted += 1
    _let_go(space, message, f"{message!r} is kept in the store, and handled when the service runs again")


def _fenced(space: Space, message: Message, outcome: int) -> None:
    """Take an outcome back that the store refused: a later opening owns the space, and tells it there."""
    from spaceactors import _life as life  # which needs this module

    space.outcomes[outcome] -= 1
    abandon(space, message, f"{space.name} is owned by a later opening of the store")
    life.lose(space)


def drop_row(space: Space, message: Message) -> None:
    """Have the store forget a message that turned out to be the same as an earlier one."""
    durable = space.runtime.durable
    if durable is not None and message.extra is not None and message.extra.row:
        durable.settle(space.row, message, Settled(Outcome.HANDLED))
        message.extra.row = 0


def leave_pending(space: Space, message: Message) -> None:
    """Leave a message to a later process: it is pending in the store, and whoever waits here is told so."""
    extra, runtime = message.rare(), space.runtime
    forget_expiry(message)
    # What is landing already lands, or its sender is told that it was not accepted, and may send it again.
    if runtime.durable is not None and not extra.row and extra.landing is None and extra.timer is None:
        runtime.durable.accept(space.row, message, insist=True)
    # Out of the space's books at once: it may take a while to end.
    space.accepted -= 1
    runtime.folded_accepted += 1
    runtime.stored_pending += 1
    if space.asleep is not message:
        key = (space.kind.name, space.id)
        runtime.left_waiting[key] = runtime.left_waiting.get(key, 0) + 1
        if runtime.durable is not None and (extra.row or extra.timer is None):
            space.row.own_found().messages.append(message)
    space.left += space.asleep is not message and not space.quarantined
    _let_go(space, message, f"{message!r} is kept in the store, and handled when the service runs again")
    extra.reader, extra.attempts = None, extra.tried


def abandon(space: Space, message: Message, text: str) -> None:
    """Let go of a message that is another's now, and whose outcome is told there."""
    forget_expiry(message)
    space.accepted -= 1
    _let_go(space, message, text, StoreError)


def refuse_after_all(space: Space, message: Message, error: StoreError) -> None:
    """Take a message back out of the ledger whose turn could not be kept, and which was never written."""
    forget_expiry(message)
    space.accepted -= 1
    if message.extra is not None and message.extra.identified and space.asked.get(message.id) is message:
        del space.own_asked()[message.id]
    _let_go(space, message, str(error), StoreError)


def _let_go(space: Space, message: Message, text: str, kind: type[SpaceError] = RuntimeClosed) -> None:
    error = kind(text, space=space.handle, message=message)
    if message.extra is not None and message.extra.reader is not None:
        message.extra.reader.give_up(error)
    answer(space, message, None, error)


def is_awaited(message: Message) -> bool:
    """Tell whether somebody waits for the answer to a message."""
    return message.waiter is not None or (message.extra is not None and bool(message.extra.joined))


def turn_away(handle: SpaceHandle[Any], message: Message, kind: type[SpaceError], text: str) -> None:
    """Answer all who wait for a message that is in the store only."""
    joined: Sequence[Message] = ()
    if message.extra is not None:
        joined, message.extra.joined = message.extra.joined, ()
    for one in (message, *joined):
        _wake(one, None, kind(text, space=handle, message=one))


def answer(space: Space, message: Message, reply: object, error: BaseException | None) -> None:
    if space.runtime.turns is not None:
        answered(space, message)
    _wake(message, reply, error)
    if message.extra is not None and message.extra.joined:
        joined, message.extra.joined = message.extra.joined, ()
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
    settle(space, message, RETURNED, error=error, letter=reason)


def return_at_once(space: Space, message: Message, reason: BaseException) -> None:
    """Count a message that a turn sent and this space refuses: it becomes a dead letter."""
    space.accepted += 1
    give_back(space, message, reason)


def returned_elsewhere(runtime: Hub, handle: SpaceHandle[Any], message: Message, reason: BaseException) -> None:
    """Count a message that a turn sent to a space which another process owns: its commit made it a dead letter."""
    runtime.folded_accepted += 1
    runtime.folded_outcomes[RETURNED] += 1
    runtime.log.dead_letter(handle.id, message, reason)
    if runtime.events.listened:
        values = (message.id, message.call, Outcome.RETURNED, 0, None, reason)
        runtime.events.publish(MessageSettled(runtime.clock.now, handle.kind, handle.id, 0, *values))


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
        result = getattr(result, "reason", "")
    known = space.row.own_known()
    known[message.id] = Known(message, outcome, result, space.clock.now)
    while known and (len(known) > space.options.dedupe_limit or find_settled(space, next(iter(known))) is None):
        if len(known) > space.options.dedupe_limit:
            known.popitem(last=False)


def rejected(reason: object, space: Space, message: Message) -> Rejected:
    """Return the error for somebody who comes with the id of a message that was rejected."""
    return Rejected(reason, space=space.handle, message=message)


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
