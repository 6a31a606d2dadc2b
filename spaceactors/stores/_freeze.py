"""From what a runtime wants to keep to the rows of its database. No waiting; the clock is read by name only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

from spaceactors._errors import BadCall, SuspensionExpired
from spaceactors._message import short
from spaceactors._options import Outcome
from spaceactors._suspensions import JsonAnswer
from spaceactors._timers import Timer, next_due
from spaceactors._values import is_storable
from spaceactors.stores._engine import PARKED, QUARANTINED, STOPPED, Put
from supervisors import Priority

if TYPE_CHECKING:
    from collections.abc import Iterable

    from spaceactors._clock import TickClock
    from spaceactors._codec import Codec
    from spaceactors._kind import Kind
    from spaceactors._message import Extra, Message
    from spaceactors._store import Commit, Recorded, Row, Settled
    from spaceactors._suspensions import Asked
    from spaceactors.stores._engine import Row as Written

# Numbers of messages rise with the openings: so many bits count the messages of one.
_COUNT_BITS = 36

# How an answer is kept: as it was given, as the text of JSON (from the command line), or that nobody answered.
GIVEN, JSON, EXPIRED = 0, 1, 2


@final
class Freezer:
    """Makes rows, for one opening of a store."""

    def __init__(self, codec: Codec, clock: TickClock, kinds: dict[str, Kind], epoch: int) -> None:
        self._codec = codec
        self._clock = clock
        self._kinds = kinds
        self._epoch = epoch
        self._last = epoch << _COUNT_BITS

    # ---- messages

    def call(self, message: Message, kind: str) -> bytes:
        """Return what is kept of a call. Raises `BadCall`."""
        options, extra = message.options, message.extra or message.rare()
        if extra.identified and not is_storable(message.id):
            msg = _unstorable("a message id", message.id)
            raise BadCall(msg)
        sender = None if extra.sender is None else extra.sender.key
        more: tuple[Any, ...] = (message.id,)
        if options.priority is not Priority.NORMAL or options.correlation_id or options.headers or sender:
            more = (message.id, int(options.priority), options.correlation_id, dict(options.headers), sender)
        try:
            return self._codec.encode_call(self._kinds[kind], message.handler, message.args, extra.kwargs, more)
        except TypeError as error:
            msg = f"{message.call}: {error}"
            raise BadCall(msg) from error

    def number(self, extra: Extra) -> None:
        """Give a message its place, if it has none."""
        if not extra.place:
            self._last += 1
            extra.place = self._last

    def message(self, row: Row, message: Message, *, guarded: bool = True) -> list[Written]:
        """Return the rows of a message that takes its place, and of its space if that is new."""
        extra = message.rare()
        self.number(extra)
        extra.row = extra.place
        expires_at = None if extra.expiry is None else self._clock.wall(extra.expiry.at)
        message_id = message.id if extra.identified else None
        packed = extra.packed or self.call(message, row.kind)
        at = self._clock.wall(message.at)
        epoch = self._epoch if guarded else None
        values = (
            *(row.kind, row.id, extra.row, message_id, packed, at, expires_at),
            *(extra.tried, extra.recoveries, epoch),
        )
        return [*self.space(row), (Put.NEW_MESSAGE, values)]

    def space(self, row: Row) -> list[Written]:
        """Return the row of a space that the database does not have yet."""
        return [] if row.stored else [(Put.NEW_SPACE, (row.kind, row.id, row.group, self._epoch))]

    # ---- turns

    def commit(self, row: Row, commit: Commit) -> list[Written]:
        """Return the rows of a commit; none: there is nothing lasting in it."""
        key = (row.kind, row.id)
        extra = None if commit.message is None else commit.message.extra
        if commit.plain and row.stored and extra is not None and extra.row:
            settled = (Put.DROP_PLAIN_MESSAGE, (*key, extra.row))
            return [self._saved(row, commit), settled] if commit.changed else [settled]
        rows = self._own(row, commit)
        rows += [
            (Put.ADD_ENTRY, (*key, one.position, one.at.timestamp(), self._codec.encode(one.value, "a history entry")))
            for one in commit.entries
        ]
        over = row.next_position + len(commit.entries) - 1 - (commit.max_entries or 0)
        if commit.entries and commit.max_entries is not None and over > 0:
            rows.append((Put.TRIM_ENTRIES, (*key, over)))
        rows += self._events(row, commit)
        for name, timer in commit.timers.items():
            rows.append(self.timer(row, name, timer))
        if commit.message is not None:
            rows += self._acknowledged(row, commit, commit.message)
        for target, sent in commit.outbox:
            rows += self.message(target, sent, guarded=False)
        if commit.message is not None and not row.stored and not any(one[0] is Put.NEW_SPACE for one in rows):
            rows = [*self.space(row), *rows]  # a space is there from its first accepted message
        for handle, sent, error in commit.returned:
            rows.append(self._letter(handle.kind, handle.id, sent, error))
        return rows

    def _own(self, row: Row, commit: Commit) -> list[Written]:
        if commit.changed:
            return [*self.space(row), self._saved(row, commit)]
        if commit.entries or commit.emitted or commit.counts or commit.timers:
            values = (row.kind, row.id, self._epoch, commit.version, commit.version, *self._after(row, commit))
            return [*self.space(row), (Put.MARK_SPACE, values)]
        return []

    def _saved(self, row: Row, commit: Commit) -> Written:
        """Return the row of a space with a new state."""
        state = commit.packed_state or self._codec.encode_state(self._kinds[row.kind], commit.state)
        after = self._after(row, None if commit.plain else commit)
        return (Put.SAVE_SPACE, (row.kind, row.id, self._epoch, commit.version, commit.version + 1, state, *after))

    def _after(self, row: Row, commit: Commit | None) -> tuple[Any, ...]:
        """Return what stands behind version and state in the row of a space, as it is after a commit."""
        quarantined = row.quarantined
        if commit is None and not (row.counters or row.stopped or row.unreadable or quarantined is not None):
            return (row.length, row.next_position, row.last_event, None, 0, None)
        added = 0 if commit is None else len(commit.entries)
        events = 0 if commit is None else len(commit.emitted)
        length = length_after(row, commit)
        counters = row.counters if commit is None or not commit.counts else summed(row.counters, commit.counts)
        flags = (STOPPED if row.stopped else 0) | (QUARANTINED if quarantined is not None else 0)
        flags |= PARKED if row.unreadable else 0
        return (
            length,
            row.next_position + added,
            row.last_event + events,
            self._codec.encode(dict(counters)) if counters else None,
            flags,
            None if quarantined is None else self._codec.encode_error(quarantined),
        )

    def _events(self, row: Row, commit: Commit) -> list[Written]:
        if not commit.emitted:
            return []
        key, last = (row.kind, row.id), row.last_event
        rows: list[Written] = [
            (Put.ADD_EVENT, (*key, last + number, self._codec.encode(event, "an event")))
            for number, event in enumerate(commit.emitted, 1)
        ]
        over = last + len(commit.emitted) - commit.feed_size
        return [*rows, (Put.TRIM_EVENTS, (*key, over))] if over > 0 else rows

    def _acknowledged(self, row: Row, commit: Commit, message: Message) -> list[Written]:
        extra = message.extra
        if extra is None:
            return []
        rows = self._dropped(row, extra)
        if extra.identified:
            stale = stale_ids(row, commit.dedupe_limit, commit.dedupe_window, self._clock.now)
            rows += self.known(row, message, Outcome.HANDLED, commit.reply, stale)
        return [*rows, *self.ticked(row, message, frozenset(commit.timers))]

    @staticmethod
    def _dropped(row: Row, extra: Extra) -> list[Written]:
        return [(Put.DROP_MESSAGE, (row.kind, row.id, extra.row))] if extra.row else []

    # ---- ids

    def known(
        self, row: Row, message: Message, outcome: Outcome, result: object, stale: Iterable[str]
    ) -> list[Written]:
        """Return the rows of an id that is remembered, and of those that are not any more."""
        key = (row.kind, row.id)
        packed = message.rare().packed or self.call(message, row.kind)
        try:
            body = self._codec.encode((packed, outcome is Outcome.HANDLED, result), "the reply")
        except TypeError:
            if outcome is Outcome.HANDLED:
                raise
            # The turn is over, and nobody is left who could be told that a reason cannot be kept: its text is.
            body = self._codec.encode((packed, False, short(result, 300)), "the reason")
        dropped: list[Written] = [(Put.DROP_KNOWN, (*key, one)) for one in stale if one != message.id]
        return [*dropped, (Put.ADD_KNOWN, (*key, message.id, self._clock.wall(self._clock.now), body))]

    # ---- outcomes that no commit tells

    def settled(self, row: Row, message: Message, settled: Settled) -> list[Written]:
        """Return the rows of an outcome; none: there is nothing to keep."""
        extra = message.extra
        rows = self.space(row)
        if extra is not None:
            rows += self._dropped(row, extra)
            if extra.identified and settled.rejected is not None:
                rows += [*self.space(row), *self.known(row, message, Outcome.REJECTED, settled.rejected.reason, ())]
            rows += self.ticked(row, message, frozenset())
        if settled.letter is not None:
            rows.append(self._letter(row.kind, row.id, message, settled.letter))
        return rows

    def _letter(self, kind: str, space_id: str, message: Message, error: BaseException) -> Written:
        body = message.rare().packed or self.call(message, kind)
        at = self._clock.wall(message.at)
        values = (kind, space_id, message.id, message.attempts, at, body, self._codec.encode_error(error))
        return (Put.BURY, values)

    def put_back(self, row: Row, message: Message, *, asleep: bool = False) -> list[Written]:
        """Return the row that says how often a message was tried, and whether it sleeps."""
        extra = message.rare()
        return [(Put.MARK_MESSAGE, (row.kind, row.id, extra.row, extra.tried, asleep))]

    # ---- steps and questions

    def step(self, row: Row, message: Message, key: str, step: Recorded) -> list[Written]:
        """Return the rows of a finished step, and of its message if that has none."""
        # First what may fail: the message has its number only if the rows are written.
        _check_name("the name of a step", key)
        body = self._codec.encode((step.alone, GIVEN, step.value), f"the result of the step {key!r}")
        rows = self._landed(row, message)
        return [*rows, self._step(row, message, key, step, body)]

    def answer(self, row: Row, asked: Asked, step: Recorded) -> list[Written]:
        """Return the rows of an answer: the question is closed, its message sleeps no more."""
        how, value = GIVEN, step.value
        if isinstance(value, SuspensionExpired):
            how, value = EXPIRED, None
        elif isinstance(value, JsonAnswer):
            how, value = JSON, value.value
        body = self._codec.encode((step.alone, how, value), f"the answer to {asked.shown.name!r}")
        return [
            self._step(row, asked.message, asked.key, step, body),
            (Put.CLOSE_QUESTION, (asked.shown.id,)),
            *self.put_back(row, asked.message),
        ]

    def _step(self, row: Row, message: Message, key: str, step: Recorded, body: bytes) -> Written:
        return (Put.ADD_STEP, (row.kind, row.id, message.rare().row, key, step.position, body))

    def _landed(self, row: Row, message: Message) -> list[Written]:
        """Return the rows of a message that has none, such as an ask before its first step."""
        if message.rare().row:
            return []
        return [*self.message(row, message), *self.ticked(row, message, frozenset())]

    def question(self, row: Row, asked: Asked) -> list[Written]:
        """Return the rows of an open question, and of its message that goes to sleep."""
        shown = asked.shown
        _check_name("the name of a question", shown.name)
        expires_at = None if shown.expires_at is None else shown.expires_at.timestamp()
        named = self._codec.name_of(asked.answer) if isinstance(asked.answer, type) else None
        body = self._codec.encode((asked.key, asked.position, shown.question, asked.default, named), "the question")
        rows = self._landed(row, asked.message)
        values = (shown.id, row.kind, row.id, asked.message.rare().row, shown.name, expires_at, body)
        return [*rows, *self.put_back(row, asked.message, asleep=True), (Put.ASK, values)]

    # ---- timers

    def timer(self, row: Row, name: str, timer: Timer | None) -> Written:
        """Return the row of a timer that is set, or (None) cancelled."""
        _check_name("the key of a timer", name)
        if timer is None:
            return (Put.DROP_TIMER, (row.kind, row.id, name))
        body = self._codec.encode_call(self._kinds[row.kind], timer.call.handler, timer.call.args, {}, ())
        return (Put.SET_TIMER, (row.kind, row.id, name, self._clock.wall(timer.due), timer.every, body))

    def ticked(self, row: Row, message: Message, replaced: frozenset[str]) -> list[Written]:
        """Return the row of a timer whose tick has ended: when the next one is due, or that it is over."""
        timer = None if message.extra is None else message.extra.timer
        if timer is None or timer.stale or timer.key in replaced:
            return []
        if timer.every is None:
            return [(Put.DROP_TIMER, (row.kind, row.id, timer.key))]
        due = next_due(timer.due, timer.every, self._clock.now)
        later = Timer(timer.key, timer.call, due, timer.every, timer.clock)
        return [self.timer(row, timer.key, later)]

    # ---- a space without a turn

    def note(self, row: Row) -> list[Written]:
        """Return the row that says whether a space is stopped or quarantined."""
        values = (row.kind, row.id, self._epoch, row.version, row.version, *self._after(row, None))
        return [*self.space(row), (Put.MARK_SPACE, values)]

    def state(self, row: Row, state: object) -> list[Written]:
        """Return the row of a state that was written from outside."""
        frozen = self._codec.encode_state(self._kinds[row.kind], state)
        values = (row.kind, row.id, self._epoch, row.version, row.version + 1, frozen, *self._after(row, None))
        return [*self.space(row), (Put.SAVE_SPACE, values)]


def _check_name(what: str, name: str) -> None:
    """Refuse now what no database takes: from there it would look like a disk that cannot write, and never heal."""
    if not is_storable(name):
        raise ValueError(_unstorable(what, name))


def _unstorable(what: str, name: str) -> str:
    return f"{what} must be a text that UTF-8 can write, without NUL, not {name!r}"


def length_after(row: Row, commit: Commit | None) -> int:
    """Return how many entries a history has after a commit."""
    if commit is None:
        return row.length
    length = row.length + len(commit.entries)
    return length if commit.max_entries is None or not commit.entries else min(length, commit.max_entries)


def summed(counters: Any, counts: Any) -> dict[str, float]:
    """Return counters after a commit."""
    return {**counters, **{name: counters.get(name, 0) + amount for name, amount in counts.items()}}


def stale_ids(row: Row, limit: int, window: float, now: float) -> list[str]:
    """Return ids that are forgotten when one more is remembered: too old, or too many; the longest known is first."""
    over = len(row.known) + 1 - limit
    found: list[str] = []
    for message_id, known in row.known.items():
        if len(found) >= over and now - known.at <= window:
            break
        found.append(message_id)
    return found
