"""A live space: its mailbox, its ledger, and everything that is known of its actor, in one state record.

All of it is sync: whoever calls reads and writes without an await in between. The worker (`_worker.py`) does the
waiting; what happens to the life of a space is in `_life.py`.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, final

from outcome import Error, Value
from trio.lowlevel import reschedule

from spaceactors._decide import Admission, Ending, Overload, admit_busy, admit_from_turn, admit_full
from spaceactors._errors import (
    ActorCrashed,
    BadCall,
    MailboxFull,
    MessageDiscarded,
    MessageExpired,
    MessageReturned,
    NotAccepted,
    Rejected,
    RuntimeClosed,
    SpaceBusy,
    SpaceDraining,
    SpaceError,
    SpaceQuarantined,
    SpaceStopped,
)
from spaceactors._events import MessageSettled
from spaceactors._message import new_id
from spaceactors._options import DiscardReason, Outcome, Overflow
from spaceactors._store import Known

if TYPE_CHECKING:
    from collections.abc import Mapping

    import trio
    from trio.lowlevel import Task

    from spaceactors._actor import Actor, Failure
    from spaceactors._handle import SpaceHandle
    from spaceactors._hub import Hub
    from spaceactors._keeper import Alarm
    from spaceactors._kind import Kind
    from spaceactors._lane import Lane
    from spaceactors._message import Message
    from spaceactors._store import Row
    from spaceactors._turn import Place
    from spaceactors._worker import Worker
    from supervisors._budget import Budget
    from supervisors._running import Running

_NO_MESSAGES: Mapping[str, Message] = MappingProxyType({})
OUTCOMES = tuple(Outcome)
HANDLED, REJECTED, FAILED, EXPIRED, DISCARDED, RETURNED = range(len(OUTCOMES))


@final
class Gate(Enum):
    """Why a space takes nothing new from outside; the value is the error its senders get."""

    DRAINING = SpaceDraining
    STOPPING = SpaceStopped
    QUARANTINED = SpaceQuarantined
    CLOSING = RuntimeClosed


_WORDS = {
    Gate.DRAINING: "is draining: it finishes what it has, and a moment later takes messages again",
    Gate.STOPPING: "is being stopped; a moment later it takes messages again",
    Gate.QUARANTINED: "is quarantined, because its actor crashed too often; `await handle.revive()` starts it again",
    Gate.CLOSING: "is in a runtime that is closing",
}


@final
class Source(Enum):
    """Where a message comes from, which decides whether gates and busy rules concern it."""

    OUTSIDE = "outside"
    # An ask of a turn; during a runtime's drain part of what was accepted.
    INSIDE = "inside"
    # A call of background work: no turn, but accepted work too.
    BACKGROUND = "background"
    # A send that leaves with its turn's commit.
    TURN = "turn"
    TIMER = "timer"


# The gates of spaces that still work: a runtime that closes lets accepted work go on.
_OPEN = (None, Gate.CLOSING)
# From where `WhenBusy` concerns a message.
_MINDING_BUSY = frozenset({Source.OUTSIDE, Source.BACKGROUND})


@final
class Space:
    """One activation of a space."""

    __slots__ = (
        "__weakref__",
        "_gate",
        "_handle",
        "accepted",
        "actor",
        "alarm",
        "asked",
        "asleep",
        "attention",
        "background",
        "backing_off",
        "budget",
        "calls",
        "capacity",
        "clock",
        "crowded",
        "ending",
        "failure",
        "finished",
        "gone",
        "has_place",
        "held_by",
        "holds",
        "id",
        "idle_alarm",
        "idle_at",
        "in_line",
        "incarnation",
        "kind",
        "lane",
        "last_error",
        "last_failure",
        "line",
        "looks_up",
        "mailbox",
        "options",
        "outcomes",
        "over",
        "parked",
        "passivating",
        "paused",
        "progress_at",
        "quarantined",
        "quick",
        "restarts",
        "returned",
        "row",
        "runtime",
        "stuck",
        "tag",
        "version",
        "workers",
        "working",
    )

    def __init__(  # noqa: PLR0915 (one record, each field explained where it is declared)
        self, runtime: Hub, kind: Kind, space_id: str, row: Row
    ) -> None:
        self.runtime = runtime
        self.kind = kind
        self.id = space_id
        self.row = row
        self.options = kind.options
        self.clock = runtime.clock
        self._handle: SpaceHandle[Any] | None = None

        # ---- the mailbox: waiting messages in acceptance order, and senders that wait for a place
        self.mailbox: deque[Message] = deque()
        self.capacity = kind.options.mailbox_capacity
        self.line: deque[tuple[Message, Task | None]] | None = None
        # Pending messages whose ids their senders gave.
        self.asked: Mapping[str, Message] = _NO_MESSAGES
        # Why nothing is taken from outside; None: everything is.
        self._gate: Gate | None = None
        # Whether an ordinary message needs nothing but a place: no gate, no lane, nothing durable, not gone.
        self.quick = runtime.plain
        # Whether anybody waits for a place here: senders from outside, or spaces whose turns have sent too much.
        self.crowded = False
        # What the ids of its ordinary messages begin with; the count of accepted messages ends them.
        self.tag = f"{new_id()}-"
        # The way from a method to its handler; the kind's own.
        self.calls = kind.calls

        # ---- the ledger: what was accepted, and what it ended in, in the order of `Outcome`
        self.accepted = 0
        self.outcomes = [0, 0, 0, 0, 0, 0]

        # ---- the workers: one task, or `concurrency` of them; those that are parked
        self.workers: list[Worker] = []
        self.parked: list[Task] = []
        # Whether a worker must look around before it takes the next message.
        self.attention = True

        # ---- the actor and its life
        self.actor: Actor[Any] | None = None
        # Counted from 1 in this activation.
        self.incarnation = 0
        self.restarts = 0
        self.last_error: BaseException | None = None
        # The crash that nobody has decided about yet, with the message it happened at.
        self.failure: tuple[BaseException, Message | None] | None = None
        # What the next incarnation is told of the crash before it.
        self.last_failure: Failure | None = None
        # Made with the first crash.
        self.budget: Budget | None = None
        self.backing_off = False
        self.quarantined = False
        # The message whose turn waits for an answer from outside.
        self.asleep: Message | None = None
        self.paused = False
        # Ends the backoff or the quarantine.
        self.alarm: Alarm | None = None
        # What `start_soon` started and still runs.
        self.background: tuple[Running, ...] = ()

        # ---- the turn's state: what the running turn sees, and the version on which it builds
        self.working = row.state
        self.version = row.version

        # ---- capacity: targets of the last turn that are over capacity, and spaces that wait for this one
        self.held_by: tuple[Space, ...] = ()
        self.holds: tuple[Space, ...] = ()

        # ---- the lane of its group, and the number under which it is in the lane's line
        self.lane: Lane | None = None
        self.in_line: int | None = None

        # ---- idleness and the end
        self.has_place = False
        self.idle_at = 0.0
        self.idle_alarm: Alarm | None = None
        # Whether its worker must look around before it parks: for an idle time, or an end that waits.
        self.looks_up = kind.options.idle_timeout is not None
        self.passivating = False
        self.ending: Ending | None = None
        # Whether the last turn ended, or was cut off, at the end.
        self.finished = True
        # Whether a cancelled turn would not end.
        self.stuck = False
        # How many messages the end gave back.
        self.returned = 0
        # Set when the activation is over; made by who waits.
        self.over: trio.Event | None = None
        # Out of the runtime: handles must look the space up anew.
        self.gone = False
        # When a turn last ended.
        self.progress_at = self.clock.now

    # ---- who it is

    @property
    def handle(self) -> SpaceHandle[Any]:
        """The handle under which everybody knows the space."""
        if self._handle is None:
            self._handle = self.runtime.handle(self.kind, self.id)
        return self._handle

    @property
    def name(self) -> str:
        """How errors and reports name the space."""
        return self.runtime.name_of(self.kind, self.id)

    # ---- what it is doing

    @property
    def open_turns(self) -> int:
        """How many turns are running, hooks included."""
        return sum(worker.open for worker in self.workers)

    @property
    def busy(self) -> bool:
        """Whether anything is accepted and not settled."""
        return (
            bool(self.mailbox) or self.asleep is not None or any(worker.message is not None for worker in self.workers)
        )

    @property
    def pending(self) -> int:
        """How many messages are accepted and not settled, counted where they are."""
        return (
            len(self.mailbox) + (self.asleep is not None) + sum(worker.message is not None for worker in self.workers)
        )

    @property
    def idle(self) -> bool:
        """Whether the space may leave memory: nothing to do, nothing to wait for, nothing uncommitted."""
        return not (
            self.mailbox
            or self.line
            or self.gate not in _OPEN
            or self.paused
            or self.failure
            or self.backing_off
            or self.asleep is not None
            or self.actor is None
            or self.open_turns
        )

    def idle_due(self) -> bool:
        """Tell whether the space has been idle as long as its options allow."""
        after = self.options.idle_timeout
        return after is not None and self.clock.now - self.idle_at >= after

    def worker_of(self, place: Place) -> Worker:
        """Return the worker that a place of this space is."""
        return next(worker for worker in self.workers if worker is place)

    def can_run(self) -> bool:
        """Tell whether a turn could begin now, its lane apart."""
        halted = bool(self.paused or self.held_by or self.backing_off) and not self.hurried
        stuck = self.gone or self.quarantined or self.asleep is not None or self.failure is not None
        return bool(self.workers) and not (halted or stuck or self.open_turns)

    @property
    def hurried(self) -> bool:
        """Whether a drain is on: backoffs are skipped, a pause is over."""
        return self.ending is Ending.DRAIN or self.runtime.draining

    def next_number(self) -> int:
        """Return the place of the next message among those of its lane."""
        return self.mailbox[0].rare().number if self.mailbox else 0

    # ---- its place among others

    @property
    def gate(self) -> Gate | None:
        """Why nothing is taken from outside; None: everything is."""
        return self._gate

    @gate.setter
    def gate(self, gate: Gate | None) -> None:
        self._gate = gate
        self._look_whether_quick()

    def join(self, lane: Lane) -> None:
        """Take turns in a lane that other spaces share."""
        self.lane = lane
        self._look_whether_quick()

    def leave(self) -> None:
        """Be out of the runtime for good."""
        self.gone = True
        self._look_whether_quick()

    def _look_whether_quick(self) -> None:
        self.quick = not (self._gate or self.lane or self.gone) and self.runtime.plain

    # ---- waking

    def wake(self) -> None:
        """Have the workers look around."""
        self.attention = True
        for task in self.parked:
            reschedule(task)
        self.parked.clear()

    # ---- the door

    def refusal(self, message: Message) -> NotAccepted:
        """Return the error for a message that meets the gate."""
        gate = self.gate or Gate.CLOSING
        text = f"{self.name} {_WORDS[gate]}"
        error: NotAccepted = gate.value(text, space=self.handle, message=message)
        return error

    def passes(self, source: Source) -> bool:
        """Tell whether the gate lets a message of this source in."""
        return self.gate is None or (source is not Source.OUTSIDE and self.gate is Gate.CLOSING)

    def offer(self, message: Message, source: Source, waiting: Task | None, *, may_wait: bool) -> bool:
        """Accept a message, or put it in the line for a place; tell whether it is accepted (or known) already.

        Args:
            message: the message; with an id that is known, it joins the earlier one.
            source: where it comes from.
            waiting: the task to wake when it gets its place (a `send`); None when its waiter waits for the answer.
            may_wait: whether it may stand in line for a place.

        Raises:
            NotAccepted: one of its kinds; nothing is counted then.

        """
        if self._joins(message):
            return True
        if not self.passes(source):
            raise self.refusal(message)
        admission = Admission.ACCEPT
        if source in _MINDING_BUSY and not message.handler.plain:
            admission = admit_busy(message.handler.when_busy, busy=self.busy)
        if admission is Admission.BUSY:
            msg = f"{self.name} is busy, and {message.call} is not to wait"
            raise SpaceBusy(msg, space=self.handle, message=message)
        if admission is Admission.LATEST:
            self._discard_waiting()
        # Nobody is there to be told that a tick was refused: it waits, and drops nothing of others.
        overflow = Overflow.WAIT if source is Source.TIMER else self.options.overflow
        full = admit_full(overflow, waiting=len(self.mailbox), capacity=self.capacity)
        accepted = self._take(message, full, waiting, may_wait=may_wait)
        self.runtime.disturb(self)
        if admission is Admission.INTERRUPT and accepted and full is not Admission.DROP_NEWEST:
            self.runtime.suspensions.interrupt(self)
            for worker in self.workers:
                worker.interrupt()
        return accepted

    def _take(self, message: Message, full: Admission, waiting: Task | None, *, may_wait: bool) -> bool:
        match full:
            case Admission.ACCEPT:
                self.accept(message)
            case Admission.DROP_OLDEST:
                oldest = self.mailbox.popleft()
                self.accept(message)
                self.discard(oldest, DiscardReason.OVERFLOW)
            case Admission.DROP_NEWEST:
                self.accepted += 1
                self.discard(message, DiscardReason.OVERFLOW)
            case Admission.LINE_UP if may_wait:
                if self.line is None:
                    self.line = deque()
                self.line.append((message, waiting))
                self.crowded = True
                self._watch_expiry(message)
                return False
            case _:
                raise self.full(message)
        return True

    def full(self, message: Message) -> MailboxFull:
        """Return the error for a message that finds no place."""
        msg = (
            f"the mailbox of {self.name} is full ({self.capacity} messages wait): `await handle.send(...)` waits for a"
            " place, SpaceOptions(mailbox_capacity=..., overflow=...) changes the rule"
        )
        return MailboxFull(msg, space=self.handle, message=message)

    def accept(self, message: Message) -> None:
        """Give a message its place in the mailbox: from here on it is in the ledger."""
        if not self.quick or message.handler.watched:
            message.rare()
        extra = message.extra
        if extra is not None:
            if self.lane is not None:
                extra.number = self.runtime.next_number()
            if extra.identified:
                self._own_asked()[message.id] = message
            if message.options.expires_after is not None:
                self._watch_expiry(message)
        message.at = self.clock.now
        self.take_quickly(message)
        if self.lane is not None:
            self.lane.line_up(self)

    def take_quickly(self, message: Message) -> None:
        """Accept an ordinary message of a quick space that has a place."""
        self.mailbox.append(message)
        self.accepted += 1
        if self.parked:
            reschedule(self.parked.pop())

    def accept_from_turn(self, message: Message) -> Overload:
        """Take what a turn has sent, over capacity if need be; whatever becomes of it, it is in the ledger."""
        verdict = admit_from_turn(waiting=len(self.mailbox), capacity=self.capacity)
        try:
            if self._joins(message):
                return Overload.ACCEPT
        except BadCall as error:
            self.return_at_once(message, error)
            return Overload.RETURN
        if verdict is Overload.RETURN:
            self.return_at_once(message, self.full(message))
        else:
            self.accept(message)
        return verdict

    def return_at_once(self, message: Message, reason: BaseException) -> None:
        """Count a message that a turn sent and this space refuses: it becomes a dead letter."""
        self.accepted += 1
        self.give_back(message, reason)

    def admit(self) -> None:
        """Let waiting senders in, in their order, as far as there are places."""
        line = self.line
        while line and len(self.mailbox) < self.capacity:
            self._let_in(*line.popleft())
        if not line:
            self.line = None

    def _let_in(self, message: Message, task: Task | None) -> None:
        """Give a waiting sender the place that came free; its id may have become known while it waited."""
        try:
            if self._joins(message):
                self._forget_expiry(message)
            else:
                self.accept(message)
        except BadCall as error:
            self._turn_away(message, task, error)
        else:
            if task is not None:
                reschedule(task)

    def place_freed(self) -> None:
        """Act on a place that became free: let senders in, let held senders go on."""
        if self.line is not None:
            self.admit()
        if self.holds and len(self.mailbox) <= self.capacity:
            self.release_senders()
        self.crowded = bool(self.line or self.holds)

    def release_senders(self) -> None:
        """Let the spaces that wait for this one to be within capacity begin their next turns."""
        holds, self.holds = self.holds, ()
        for sender in holds:
            if self in sender.held_by:
                sender.held_by = tuple(one for one in sender.held_by if one is not self)
                sender.wake()

    def leave_line(self, message: Message) -> bool:
        """Take a message out of the line for places; tell whether it was there."""
        for entry in self.line or ():
            if entry[0] is message:
                self.line.remove(entry)  # type: ignore[union-attr]
                self._forget_expiry(message)
                if not self.line:
                    self.line = None
                return True
        return False

    def turn_away_line(self) -> None:
        """Refuse all who wait for a place: the gate was closed."""
        line, self.line = self.line, None
        for message, task in line or ():
            self._turn_away(message, task, self.refusal(message))

    def _turn_away(self, message: Message, task: Task | None, error: SpaceError) -> None:
        """Tell a refusal to whoever waited with a message for a place."""
        self._forget_expiry(message)
        waiter = task or message.waiter
        if waiter is not None:
            message.waiter = None
            reschedule(waiter, Error(error))
        elif message.extra is not None and message.extra.timer is not None:
            self.runtime.timers.refused(self, message.extra.timer)

    # ---- the running of messages

    def put_back(self, message: Message) -> None:
        """Give a message its old place back, before all others."""
        self.mailbox.appendleft(message)

    # ---- ids

    def _joins(self, message: Message) -> bool:
        """Join the earlier message of the same id, if there is one."""
        if message.extra is None or not message.extra.identified:
            return False
        earlier = self.asked.get(message.id)
        known = None if earlier is not None else self._settled(message.id)
        if earlier is None and known is None:
            return False
        first = earlier or known.message  # type: ignore[union-attr]
        if not first.same_call(message):
            msg = f"the message id {message.id!r} was used for {first!r}; another call needs another id"
            raise BadCall(msg, space=self.handle, message=message)
        task = message.waiter
        if task is not None and earlier is not None:
            if self.gate is Gate.QUARANTINED:
                raise self.refusal(message)  # the earlier one stays, and nobody knows for how long
            earlier.rare().more_waiters.append(task)
        elif task is not None and known is not None:
            message.waiter = None
            rejected = known.outcome is Outcome.REJECTED
            reschedule(task, Error(_copy_of(known.result, self, message)) if rejected else Value(known.result))
        return True

    def _own_asked(self) -> dict[str, Message]:
        if not isinstance(self.asked, dict):
            self.asked = {}
        return self.asked

    def _settled(self, message_id: str) -> Known | None:
        """Return what is remembered of a settled id, if it is not too old."""
        known = self.row.known.get(message_id)
        if known is not None and self.clock.now - known.at > self.options.dedupe_window:
            del self.row.own_known()[message_id]
            return None
        return known

    def _note_settled(self, message: Message, outcome: Outcome, result: object) -> None:
        """Keep a settled id with its reply for a while, or free it."""
        if self.asked.get(message.id) is message:
            del self._own_asked()[message.id]
        if outcome not in (Outcome.HANDLED, Outcome.REJECTED):
            return
        if outcome is Outcome.REJECTED:
            result = Rejected(getattr(result, "reason", ""), space=self.handle, message=message)
        known = self.row.own_known()
        known[message.id] = Known(message, outcome, result, self.clock.now)
        while known and (len(known) > self.options.dedupe_limit or self._settled(next(iter(known))) is None):
            if len(known) > self.options.dedupe_limit:
                known.popitem(last=False)

    # ---- expiry

    def _watch_expiry(self, message: Message) -> None:
        after = message.options.expires_after
        if after is not None and message.rare().expiry is None and message.attempts == 0:
            alarm = self.runtime.keeper.set(message.at + after, lambda: self._expire(message))
            message.rare().expiry = alarm

    @staticmethod
    def _forget_expiry(message: Message) -> None:
        if message.extra is not None:
            message.extra.forget_expiry()

    def _expire(self, message: Message) -> None:
        waiters = [task for entry, task in self.line or () if entry is message]
        if self.leave_line(message):
            self._turn_away(message, waiters[0], expired(message, self.handle))
        elif message in self.mailbox:
            self.mailbox.remove(message)
            self.expire(message)
            self.place_freed()
            self.wake()

    def expire(self, message: Message) -> None:
        """End a message that was to begin earlier."""
        self.settle(message, EXPIRED, error=expired(message, self.handle))

    # ---- outcomes

    def took(self, began: float) -> None:
        """Note how long a turn took that ended in another scheduler tick than it began."""
        now = self.clock.now
        self.progress_at = now
        if now is not began:
            self.runtime.handling_times.note(now - began)

    def settle(
        self,
        message: Message,
        outcome: int,
        *,
        reply: object = None,
        error: BaseException | None = None,
        why: DiscardReason | None = None,
    ) -> None:
        """End a message: count its outcome, tell who waits, tell the event."""
        self.outcomes[outcome] += 1
        extra = message.extra
        if extra is not None:
            self._forget_expiry(message)
            if extra.identified:
                self._note_settled(message, OUTCOMES[outcome], reply if error is None else error)
            if extra.timer is not None:
                self.runtime.timers.ticked(self, extra.timer, message)
            if extra.reader is not None:
                extra.reader.close(error)
        self._answer(message, reply, error)
        if outcome != HANDLED:
            self._tell(message, OUTCOMES[outcome], error, why)
        if self.runtime.draining:
            self.runtime.look_whether_quiet(self)

    def _answer(self, message: Message, reply: object, error: BaseException | None) -> None:
        task, message.waiter = message.waiter, None
        if task is not None:
            reschedule(task, Value(reply) if error is None else Error(error))
        if message.extra is not None and message.extra.more_waiters:
            others, message.extra.more_waiters = message.extra.more_waiters, []
            for other in others:
                reschedule(other, Value(reply) if error is None else Error(_copy_of(error, self, message)))

    def tell_askers(self, error: BaseException) -> None:
        """Answer all who wait for messages that stay pending."""
        for message in self.mailbox:
            self._answer(message, None, _copy_of(error, self, message))
            if message.extra is not None and message.extra.reader is not None:
                message.extra.reader.close(_copy_of(error, self, message))

    def _tell(self, message: Message, outcome: Outcome, error: BaseException | None, why: DiscardReason | None) -> None:
        cause = error.__cause__ if isinstance(error, ActorCrashed) else error
        self.runtime.publish(MessageSettled, self, message.id, message.call, outcome, message.attempts, why, cause)

    def discard(self, message: Message, why: DiscardReason) -> None:
        """End a message by a rule that was asked for."""
        text = f"{message!r} was discarded ({why.value})"
        error = MessageDiscarded(text, why=why, space=self.handle, message=message)
        self.settle(message, DISCARDED, error=error, why=why)

    def give_back(self, message: Message, reason: BaseException | None = None) -> None:
        """Return a message to whoever sent it; one that a turn sent becomes a dead letter."""
        error = MessageReturned(
            f"{message!r} was returned: {self.name} ended first", space=self.handle, message=message
        )
        error.__cause__ = reason
        self.returned += 1
        self.settle(message, RETURNED, error=error)
        if reason is not None:
            self.runtime.bury(self, message, reason)

    def _discard_waiting(self) -> None:
        waiting = list(self.mailbox)
        self.mailbox.clear()
        for message in waiting:
            self.discard(message, DiscardReason.SUPERSEDED)
        if waiting:
            self.place_freed()


def expired(message: Message, handle: SpaceHandle[Any]) -> MessageExpired:
    """Return the error for a message that was to begin earlier."""
    return MessageExpired(f"{message!r} expired before its turn began", space=handle, message=message)


def _copy_of(error: BaseException, space: Space, message: Message) -> BaseException:
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
