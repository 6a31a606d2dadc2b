"""From the rows of a database back to what a runtime works with. No waiting."""

from __future__ import annotations

from collections import OrderedDict
from math import inf
from operator import index
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast, final

from attrs import evolve

from spaceactors import _outage as outage
from spaceactors._codec_errors import CannotDecode
from spaceactors._codec_plain import load
from spaceactors._dead_letters import DeadLetter
from spaceactors._errors import SuspensionExpired
from spaceactors._message import NO_KWARGS, new_message
from spaceactors._options import Outcome
from spaceactors._store import Entry, Found, Known, Numbered, Recorded, Row
from spaceactors._suspensions import Asked, JsonAnswer, Suspension
from spaceactors._timers import Call, Timer
from spaceactors.stores._engine import PARKED, QUARANTINED, STOPPED
from spaceactors.stores._freeze import EXPIRED, JSON
from supervisors import Priority

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from spaceactors._codec import Codec
    from spaceactors._handlers import Handler
    from spaceactors._hub import Hub
    from spaceactors._kind import Kind
    from spaceactors._message import Message
    from spaceactors.stores._engine import (
        EntryRow,
        KnownRow,
        LetterRow,
        Loaded,
        MessageRow,
        QuestionRow,
        SpaceRow,
        StepRow,
        TimerRow,
    )


# More than any number of a message.
_EARLIER = 1 << 62


class _Unreadable:
    """Stands for the handler of a message that cannot be read."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.function = self

    def __call__(self, *_: object) -> None:
        msg = f"{self.name} cannot be run: its message cannot be read"
        raise TypeError(msg)


@final
class Thawer:
    """Makes rows of memory, messages and questions, for one runtime."""

    def __init__(self, codec: Codec, hub: Hub) -> None:
        self._codec = codec
        self._hub = hub

    def _kind(self, name: str) -> Kind:
        return self._hub.by_name[name]

    def date(self, wall: float) -> datetime:
        """Return the date of so many seconds since 1970."""
        return self._hub.clock.date_of(wall)

    # ---- spaces

    def row(self, space: SpaceRow) -> Row:
        """Return a row without what is waiting in it."""
        row = Row(space.kind, space.id, None, version=space.version, group=space.grp, stored=True)
        try:
            self._read_rest(row, space)
        except Exception as error:
            row.quarantined, row.unreadable = error, True
            return row
        self.read_state(row, space)
        return row

    def _read_rest(self, row: Row, space: SpaceRow) -> None:
        # `index`, because SQLite takes any value in any column.
        row.length, row.next_position, row.last_event = map(index, (space.length, space.next_entry, space.last_event))
        row.stopped = bool(space.flags & STOPPED)
        if space.counters is not None:
            row.counters = self._codec.decode(space.counters)
        if space.flags & QUARANTINED and not space.flags & PARKED:
            row.quarantined = self._error(space.note) if space.note else RuntimeError("not told")

    def _error(self, body: bytes) -> BaseException:
        """Return a stored error, or what is wrong with it: what it belongs to is more than its reason."""
        try:
            return self._codec.decode_error(body)
        except CannotDecode as error:
            return error

    def read_state(self, row: Row, space: SpaceRow) -> None:
        """Read the state; one that cannot be read quarantines the space, until a program comes that can."""
        try:
            if space.state is None:
                row.state = self._kind(row.kind).first_state(row.id)
            else:
                row.state = self._codec.decode_state(self._kind(row.kind), space.state)
        except Exception as error:
            row.quarantined, row.unreadable = error, True

    def loaded(self, loaded: Loaded) -> Row:
        """Return a row with everything that belongs into memory."""
        row = self.row(loaded.space)
        clock = self._hub.clock
        for one in loaded.timers:
            try:
                row.own_timers()[one.key] = self.timer(row, one)
            except Exception as error:
                outage.unreadable(self._hub, row, f"the timer {one.key!r}", error)
        for known in loaded.known:
            try:
                row.own_known()[known.message_id] = self.known(known)
            except Exception as error:
                outage.unreadable(self._hub, row, f"what is remembered of {known.message_id!r}", error)
        if loaded.messages:
            row.found = self._found(loaded)
        if isinstance(row.known, OrderedDict):
            window = self._kind(row.kind).options.dedupe_window
            for message_id in [name for name, one in row.known.items() if clock.now - one.at > window]:
                del row.own_known()[message_id]
        return row

    def _found(self, loaded: Loaded) -> Found:
        found = Found()
        steps: dict[int, list[StepRow]] = {}
        for step in loaded.steps:
            steps.setdefault(step.number, []).append(step)
        questions = {one.number: one for one in loaded.questions}
        for one in loaded.messages:
            found.asleep += one.asleep
            try:
                message = self.message(one, steps.get(one.number, ()))
                asked = self._asked(message, questions[one.number]) if one.asleep and one.number in questions else None
            except Exception as error:
                found.unreadable.append((self.unreadable(one.body, one.number, one.message_id), error))
                continue
            if asked is None:
                found.messages.append(message)
            else:
                found.asked = asked
        return found

    # ---- messages

    def message(self, one: MessageRow, steps: Sequence[StepRow]) -> Message:
        """Return an accepted message. Raises `CannotDecode`."""
        clock = self._hub.clock
        message = self.call(one.kind, one.body)
        message.at = clock.moment_of(one.at)
        extra = message.rare()
        extra.row, extra.recoveries = one.number, one.recoveries
        extra.attempts = extra.tried = one.attempts
        # In a lane it comes before everything that this process accepts, and in its order.
        extra.number = one.number - _EARLIER
        if one.message_id is not None:
            extra.identified = True
        if one.expires_at is not None:
            message.options = evolve(message.options, expires_after=one.expires_at - one.at)
        for step in steps:
            extra.record(step.key, self.recorded(step))
        return message

    def call(self, kind: str, body: bytes) -> Message:
        """Return the message of a stored call. Raises `CannotDecode`."""
        handler, args, kwargs, more = self._codec.decode_call(self._kind(kind), body)
        options = self._hub.options
        sender = None
        if len(more) > 1:
            _, priority, correlation_id, headers, sender = more
            options = evolve(
                options,
                priority=Priority(priority),
                correlation_id=correlation_id,
                headers=MappingProxyType(headers) if headers else NO_KWARGS,
            )
        message = new_message(handler, args, options, self._hub.clock.now)
        message.made_id = more[0] if more else None
        extra = message.rare()
        extra.packed = body
        if kwargs:
            extra.kwargs = kwargs
        if sender is not None and sender[0] in self._hub.by_name:
            extra.sender = self._hub.handle(self._kind(sender[0]), sender[1])
        return message

    def unreadable(self, body: bytes, number: int, message_id: str | None) -> Message:
        """Return a message of which only the bytes are known."""
        try:
            name = str(load(body)[1])
        except Exception:
            name = "(unreadable)"
        message = new_message(cast("Handler", _Unreadable(name)), (body,), self._hub.options, self._hub.clock.now)
        message.made_id = message_id or f"row-{number}"
        extra = message.rare()
        extra.row, extra.packed = number, body
        return message

    # ---- ids

    def known(self, one: KnownRow) -> Known:
        """Return a remembered id, to be read when somebody comes with it."""
        return Known(None, Outcome.HANDLED, None, self._hub.clock.moment_of(one.at), one.body)

    def read_known(self, kind: str, known: Known) -> None:
        """Read what is remembered of an id. Raises `CannotDecode`."""
        packed, handled, result = self._codec.decode(cast("bytes", known.packed))
        known.message = self.call(kind, packed)
        known.outcome = Outcome.HANDLED if handled else Outcome.REJECTED
        known.result = result
        known.packed = None

    # ---- steps and questions

    def recorded(self, step: StepRow) -> Recorded:
        """Return a recorded step or answer."""
        alone, how, value = self._codec.decode(step.body)
        if how == EXPIRED:
            value = SuspensionExpired("nobody answered in time")
        elif how == JSON:
            value = JsonAnswer(value)
        return Recorded(step.position, alone, value)

    def _asked(self, message: Message, one: QuestionRow) -> Asked:
        key, position, question, default, named = self._codec.decode(one.body)
        space = self._hub.handle(self._kind(one.kind), one.id)
        expires_at = None if one.expires_at is None else self.date(one.expires_at)
        shown = Suspension(one.question_id, space, one.name, question, expires_at)
        answer = (None if named is None else self._codec.find_class(named)) or object
        until = inf if one.expires_at is None else self._hub.clock.moment_of(one.expires_at)
        return Asked(shown, message, key, position, answer, default, until=until)

    def suspension(self, one: QuestionRow) -> Suspension:
        """Return an open question as its users see it."""
        try:
            _, _, question, _, _ = self._codec.decode(one.body)
        except Exception as error:
            question = f"(it cannot be read: {error})"
        space = self._hub.handle(self._kind(one.kind), one.id)
        expires_at = None if one.expires_at is None else self.date(one.expires_at)
        return Suspension(one.question_id, space, one.name, question, expires_at)

    # ---- timers, history, dead letters

    def value(self, body: bytes) -> object:
        """Return a stored value."""
        return self._codec.decode(body)

    def timer(self, row: Row, one: TimerRow) -> Timer:
        """Return a timer. Raises `CannotDecode`."""
        handler, args, _, _ = self._codec.decode_call(self._kind(row.kind), one.body)
        clock = self._hub.clock
        return Timer(one.key, Call(handler, args), clock.moment_of(one.due), one.every, clock)

    def entry(self, one: EntryRow) -> Entry:
        """Return an entry of a history."""
        return Entry(one.position, self.date(one.at), self._codec.decode(one.value))

    def letter(self, one: LetterRow) -> Numbered:
        """Return a dead letter."""
        try:
            message = self.call(one.kind, one.body)
        except Exception:
            message = self.unreadable(one.body, 0, one.message_id)
        message.made_id = one.message_id
        message.at = self._hub.clock.moment_of(one.at)
        extra = message.rare()
        extra.row, extra.attempts = 0, one.attempts
        space: Any = self._hub.handle(self._kind(one.kind), one.id)
        return Numbered(one.number, DeadLetter(space, message, self._error(one.error), one.attempts))
