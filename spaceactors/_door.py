"""The door of a space: who comes in, who waits in line for a place, who is refused, whose time runs out waiting."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from outcome import Error, Value
from trio.lowlevel import reschedule

from spaceactors import _landing as landing
from spaceactors import _outcomes as outcomes
from spaceactors._decide import Admission, Overload, admit_busy, admit_from_turn, admit_full
from spaceactors._errors import BadCall, MailboxFull, NotAccepted, SpaceBusy, SpaceError, StoreError
from spaceactors._options import DiscardReason, Outcome, Overflow
from spaceactors._space import Gate, Source, Waiter

if TYPE_CHECKING:
    from trio.lowlevel import Task

    from spaceactors._message import Message
    from spaceactors._space import Space
    from spaceactors._store import Known


_WORDS = {
    Gate.DRAINING: "is draining: it finishes what it has, and a moment later takes messages again",
    Gate.STOPPING: "is being stopped; a moment later it takes messages again",
    Gate.QUARANTINED: "is quarantined, because its actor crashed too often; `await handle.revive()` starts it again",
    Gate.CLOSING: "is in a runtime that is closing",
}

# From where `WhenBusy` concerns a message.
_MINDING_BUSY = frozenset({Source.OUTSIDE, Source.BACKGROUND})


def refusal(space: Space, message: Message) -> NotAccepted:
    """Return the error for a message that meets the gate."""
    gate = space.gate or Gate.CLOSING
    text = f"{space.name} {_WORDS[gate]}"
    if gate is Gate.QUARANTINED and space.row.unreadable:
        text = f"{space.name} is quarantined, because its state cannot be read: {space.row.quarantined}"
    error: NotAccepted = gate.value(text, space=space.handle, message=message)
    error.__cause__ = space.row.quarantined
    return error


def passes(space: Space, source: Source) -> bool:
    """Tell whether the gate lets a message of this source in."""
    return space.gate is None or (source is not Source.OUTSIDE and space.gate is Gate.CLOSING)


def offer(space: Space, message: Message, source: Source, waiting: Task | None, *, may_wait: bool) -> bool:
    """Accept a message, or put it in the line for a place; tell whether it is accepted (or known) already.

    Args:
        space: whose door.
        message: the message; with an id that is known, it joins the earlier one.
        source: where it comes from.
        waiting: the task to wake when it gets its place (a `send`); None when its waiter waits for the answer.
        may_wait: whether it may stand in line for a place.

    Raises:
        NotAccepted: one of its kinds; nothing is counted then.

    """
    if _joins(space, message):
        return True
    if not passes(space, source):
        raise refusal(space, message)
    admission = Admission.ACCEPT
    if source in _MINDING_BUSY and not message.handler.plain:
        admission = admit_busy(message.handler.when_busy, busy=space.busy)
    if admission is Admission.BUSY:
        msg = f"{space.name} is busy, and {message.call} is not to wait: its when_busy is WhenBusy.REFUSE"
        raise SpaceBusy(msg, space=space.handle, message=message)
    if admission is Admission.LATEST:
        _discard_waiting(space)
    # Nobody is there to be told that a tick was refused: it waits, and drops nothing of others.
    overflow = Overflow.WAIT if source is Source.TIMER else space.options.overflow
    full = admit_full(overflow, waiting=_waiting(space, message, overflow), capacity=space.capacity)
    if full is Admission.ACCEPT:
        accept(space, message)
        accepted = True
    else:
        accepted = _take(space, Waiter(message, waiting, source), full, may_wait=may_wait)
    space.runtime.disturb(space)
    if admission is Admission.INTERRUPT and accepted and full is not Admission.DROP_NEWEST:
        space.runtime.suspensions.interrupt(space)
        for worker in space.workers:
            worker.interrupt()
    return accepted


def _waiting(space: Space, message: Message, overflow: Overflow) -> int:
    """Return how many messages wait; as many as may, if they leave too few bytes for this one."""
    weighed, waiting = space.weighed, len(space.mailbox)
    if weighed is None:
        return waiting
    # A small one does not overtake a large one that stands in line.
    overtakes = overflow is Overflow.WAIT and space.line is not None
    return max(waiting, space.capacity) if overtakes or not weighed.fits(message) else waiting


def _take(space: Space, waiter: Waiter, full: Admission, *, may_wait: bool) -> bool:
    message = waiter.message
    match full:
        case Admission.DROP_OLDEST:
            dropped = [space.mailbox.popleft()]
            while space.weighed is not None and not space.weighed.fits(message):
                dropped.append(space.mailbox.popleft())
            accept(space, message)
            for oldest in dropped:
                outcomes.discard(space, oldest, DiscardReason.OVERFLOW)
        case Admission.DROP_NEWEST:
            space.accepted += 1
            outcomes.discard(space, message, DiscardReason.OVERFLOW)
        case Admission.LINE_UP if may_wait:
            if space.line is None:
                space.line = deque()
            space.line.append(waiter)
            space.crowded = True
            _watch_expiry(space, message)
            return False
        case _:
            raise mailbox_full(space, message)
    return True


def mailbox_full(space: Space, message: Message) -> MailboxFull:
    """Return the error for a message that finds no place."""
    weighed = space.weighed
    if weighed is None or len(space.mailbox) >= space.capacity:
        full, option = f"{space.capacity} messages wait", "mailbox_capacity"
    else:
        full = f"{weighed.bytes:,} of {weighed.most:,} bytes wait, and this message has {weighed.weight(message):,}"
        option = "max_mailbox_bytes"
    msg = (
        f"the mailbox of {space.name} is full ({full}): `await handle.send(...)` waits for a"
        f" place, SpaceOptions({option}=..., overflow=...) changes the rule"
    )
    return MailboxFull(msg, space=space.handle, message=message)


def accept(space: Space, message: Message) -> None:
    """Give a message its place in the mailbox: from here on it is in the ledger."""
    if not space.quick or message.handler.watched:
        message.rare()
    extra = message.extra
    if extra is not None:
        if space.lane is not None and not extra.number:
            extra.number = space.runtime.next_number()
        if extra.identified:
            space.own_asked()[message.id] = message
        if message.options.expires_after is not None:
            _watch_expiry(space, message)
    message.at = space.clock.now
    if extra is not None and space.runtime.durable is not None:
        landing.accepted(space, message, extra)
        if extra.landing is not None and space.lane is None:
            space.mailbox.append(message)
            space.accepted += 1
            return
    space.take_quickly(message)
    if space.lane is not None:
        space.lane.line_up(space)


def accept_from_turn(space: Space, message: Message) -> Overload:
    """Take what a turn has sent, over capacity if need be; whatever becomes of it, it is in the ledger."""
    verdict = _admit_from_turn(space, message)
    try:
        if _joins(space, message):
            outcomes.drop_row(space, message)
            return Overload.ACCEPT
    except BadCall as error:
        outcomes.return_at_once(space, message, error)
        return Overload.RETURN
    if verdict is Overload.RETURN:
        outcomes.return_at_once(space, message, mailbox_full(space, message))
    else:
        accept(space, message)
    return verdict


def _admit_from_turn(space: Space, message: Message) -> Overload:
    """Decide by messages, and by bytes where these are bounded: the stricter of the two."""
    weighed = space.weighed
    verdict = admit_from_turn(waiting=len(space.mailbox), capacity=space.capacity)
    if weighed is None or verdict is Overload.RETURN:
        return verdict
    by_bytes = admit_from_turn(waiting=weighed.bytes + weighed.weight(message) - 1, capacity=weighed.most)
    return verdict if by_bytes is Overload.ACCEPT else by_bytes


def admit(space: Space) -> None:
    """Let waiting senders in, in their order, as far as there are places."""
    line, weighed = space.line, space.weighed
    while line and len(space.mailbox) < space.capacity and (weighed is None or weighed.fits(line[0].message)):
        _let_in(space, line.popleft())
    if not line:
        space.line = None


def _let_in(space: Space, waiter: Waiter) -> None:
    """Give a waiting sender the place that came free; its id may have become known while it waited."""
    message, task = waiter.message, waiter.task
    try:
        if _joins(space, message):
            outcomes.forget_expiry(message)
        else:
            accept(space, message)
    except BadCall as error:
        turn_away(space, message, task, error)
    else:
        if task is not None:
            reschedule(task)


def place_freed(space: Space) -> None:
    """Act on a place that became free: let senders in, let held senders go on."""
    if space.line is not None:
        admit(space)
    if space.holds and len(space.mailbox) <= space.capacity and not (space.weighed is not None and space.weighed.over):
        release_senders(space)
    space.crowded = bool(space.line or space.holds)


def release_senders(space: Space) -> None:
    """Let the spaces that wait for this one to be within capacity begin their next turns."""
    holds, space.holds = space.holds, ()
    for sender in holds:
        if space in sender.held_by:
            sender.held_by = tuple(one for one in sender.held_by if one is not space)
            sender.wake()


def leave_line(space: Space, message: Message) -> bool:
    """Take a message out of the line for places; tell whether it was there."""
    for entry in space.line or ():
        if entry.message is message:
            space.line.remove(entry)  # type: ignore[union-attr]
            outcomes.forget_expiry(message)
            if not space.line:
                space.line = None
            return True
    return False


def turn_away_line(space: Space) -> None:
    """Refuse those who wait for a place and whom the gate, closed by now, does not let pass."""
    line = space.line or ()
    space.line = deque(one for one in line if passes(space, one.source)) or None
    for one in line:
        if not passes(space, one.source):
            turn_away(space, one.message, one.task, refusal(space, one.message))


def turn_away(space: Space, message: Message, task: Task | None, error: SpaceError) -> None:
    """Tell a refusal to whoever waited with a message for a place."""
    outcomes.forget_expiry(message)
    waiter = task or message.waiter
    if waiter is not None:
        message.waiter = None
        reschedule(waiter, Error(error))
    elif message.extra is not None and message.extra.timer is not None:
        space.runtime.timers.refused(message.extra.timer)


def _joins(space: Space, message: Message) -> bool:
    """Join the earlier message of the same id, if there is one."""
    if message.extra is None or not message.extra.identified:
        return False
    earlier = space.asked.get(message.id)
    known = None if earlier is not None else _settled(space, message)
    if earlier is None and known is None:
        return False
    first = earlier or (None if known is None else known.message)
    if first is not None:
        _check_same_call(space, first, message)
    task = message.waiter
    if task is not None and earlier is not None:
        if space.gate is Gate.QUARANTINED:
            raise refusal(space, message)  # the earlier one stays, and nobody knows for how long
        first_of_id = earlier.rare()
        first_of_id.joined = (*first_of_id.joined, message)
    elif earlier is not None and space.runtime.durable is not None:
        # A `send` returns when its message is on the disk, which an ask of this id need not be yet.
        message.rare().landing = landing.on_its_way(space, earlier, earlier.rare())
    elif task is not None and known is not None:
        message.waiter = None
        if known.outcome is Outcome.REJECTED:
            reschedule(task, Error(outcomes.rejected(known.result, space, message)))
        else:
            reschedule(task, Value(known.result))
    return True


def _settled(space: Space, message: Message) -> Known | None:
    """Return what is remembered of a message's id. Raises `StoreError` if it cannot be read."""
    known = outcomes.find_settled(space, message.id)
    if known is not None and known.packed is not None and space.runtime.durable is not None:
        try:
            space.runtime.durable.read_known(space.row, known)
        except Exception as error:
            msg = f"what is stored of the message id {message.id!r} cannot be read: {error}"
            raise StoreError(msg, space=space.handle, message=message) from error
    return known


def _check_same_call(space: Space, first: Message, message: Message) -> None:
    msg = f"the message id {message.id!r} was used for {first!r}; another call needs another id"
    try:
        same = first.same_call(message)
    except Exception as error:  # a user's class; an array's == has no one truth value
        msg = f"{msg}, and whether this is another cannot be told: comparing the arguments raised {error!r}"
        raise BadCall(msg, space=space.handle, message=message) from error
    if not same:
        raise BadCall(msg, space=space.handle, message=message)


def _discard_waiting(space: Space) -> None:
    waiting = list(space.mailbox)
    space.mailbox.clear()
    for message in waiting:
        outcomes.discard(space, message, DiscardReason.SUPERSEDED)
    if waiting:
        place_freed(space)


def _watch_expiry(space: Space, message: Message) -> None:
    after = message.options.expires_after
    if after is not None and message.rare().expiry is None and message.attempts == 0:
        alarm = space.runtime.keeper.set(message.at + after, lambda: expire_waiting(space, message))
        message.rare().expiry = alarm


def expire_waiting(space: Space, message: Message) -> None:
    waiters = [one.task for one in space.line or () if one.message is message]
    if leave_line(space, message):
        turn_away(space, message, waiters[0], outcomes.expired(message, space.handle))
    elif message in space.mailbox:
        space.mailbox.remove(message)
        outcomes.expire(space, message)
        place_freed(space)
        space.wake()
