"""Who waits for whom, as data: made when somebody asks, from what the runtime knows anyway."""

from __future__ import annotations

from enum import Enum
from itertools import chain
from typing import TYPE_CHECKING, final

from attrs import frozen

from spaceactors._pace import TURNS
from spaceactors._space import Source
from spaceactors._waits import reading

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from spaceactors._hub import Hub
    from spaceactors._message import Message
    from spaceactors._space import Space
    from spaceactors._worker import Worker


@final
class WaitKind(Enum):
    """What somebody waits for."""

    # The answer to a question, or the next item of a stream, of another space.
    ANSWER = "answer"
    # The end of another space, which the turn has asked for.
    END = "end"
    # A place in the mailbox of a space, or among the live spaces.
    PLACE = "place"
    # A token of a limit.
    TOKEN = "token"  # noqa: S105 (no password)
    # The lane that the space shares with others.
    LANE = "lane"
    # Somebody who reads what the turn streams, and is behind.
    READER = "reader"
    # An answer from outside to an open question.
    QUESTION = "question"
    # The store, which cannot write.
    STORE = "store"


_TEXTS = {
    WaitKind.ANSWER: "for an answer of {}",
    WaitKind.END: "for the end of {}",
    WaitKind.PLACE: "for a place in {}",
    WaitKind.TOKEN: "for a token of {}",
    WaitKind.LANE: "for the lane, which {} has",
    WaitKind.READER: "for {} to read on",
    WaitKind.QUESTION: "for an answer to the question {}",
    WaitKind.STORE: "for the store ({})",
}
_LIVE = "the live spaces"
_OUTSIDE = "somebody outside"


@final
@frozen
class WaitInfo:
    """One wait.

    `space` waits with the message `message_id` (a call of `call`; both None in hooks and background work); None stands
    for somebody outside. `target` names what `kind` says: a space, a limit, a question. `since` is in seconds of Trio's
    clock, None where nobody noted it; `position` is the place in the line, from 1, where there is one.
    """

    space: str | None
    message_id: str | None
    call: str | None
    kind: WaitKind
    target: str
    since: float | None = None
    position: int | None = None

    def __str__(self) -> str:
        who = _OUTSIDE if self.space is None else self.space
        call = "" if self.call is None else f" ({self.call})"
        place = "" if self.position is None else f", number {self.position} in line"
        return f"{who}{call} waits {_TEXTS[self.kind].format(self.target)}{place}"


@final
class Waits(tuple[WaitInfo, ...]):  # noqa: SLOT001 (a tuple has no slots; there is one of it)
    """All waits of a runtime `at` one moment (seconds of Trio's clock); `str()` of it has a line for each."""

    at: float

    def __str__(self) -> str:
        if not self:
            return "nobody waits"
        return "\n".join(str(one) if one.since is None else f"{one}, for {self.at - one.since:.1f} s" for one in self)


def take(runtime: Hub) -> Waits:
    """Collect who waits for whom; sync, so all of it belongs to one moment."""
    spaces = runtime.live.values()
    found = Waits(
        chain(
            *(_of_turn(worker) for space in spaces for worker in space.workers if worker.open),
            _tokens(runtime),
            _beginning(runtime),
            *(_of_space(space) for space in spaces),
            _outside(runtime),
        )
    )
    found.at = runtime.clock.exactly()
    return found


def _info(
    space: Space, message: Message | None, kind: WaitKind, target: str, since: float | None, position: int | None = None
) -> WaitInfo:
    message_id, call = (None, None) if message is None else (message.id, message.call)
    return WaitInfo(space.name, message_id, call, kind, target, since, position)


def _of_turn(worker: Worker) -> Iterator[WaitInfo]:
    """Tell what an open turn waits for."""
    space, message = worker.space, worker.message
    reader = None if message is None or message.extra is None else message.extra.reader
    for wait in worker.waits:
        if not wait.held_up or (wait.message is None and wait.space is reading(worker)):
            continue
        position = _position(wait.space, wait.message)
        asked = WaitKind.ANSWER if position is None else WaitKind.PLACE
        kind = asked if wait.message is not None else WaitKind.END
        yield _info(space, message, kind, wait.space.name, wait.since, position)
    if space.lane is not None and space.lane.awaited_by(worker):
        yield _info(space, message, WaitKind.LANE, _holders(space), None)
    if reader is not None and reader.behind:
        sender = None if message is None else message.sender
        name = _OUTSIDE if sender is None else space.runtime.name_of(space.runtime.by_name[sender.kind], sender.id)
        yield _info(space, message, WaitKind.READER, name, None)


def _position(target: Space, message: Message | None) -> int | None:
    """Return where a message stands in the line for a place, if it stands there."""
    line = enumerate(target.line or (), 1)
    return next((number for number, waiter in line if waiter.message is message), None)


def _tokens(runtime: Hub) -> Iterator[WaitInfo]:
    """Tell who waits for tokens, with the places in line of those whose limit keeps one in their name."""
    waits = runtime.stalls.token_waits
    lines = {name: runtime.limits.waiting(name) for name in dict.fromkeys(chain(*(wait.names for wait in waits)))}
    places = {(name, waiter.fair_key): waiter for name, line in reversed(lines.items()) for waiter in reversed(line)}
    for wait in waits:
        message = None if wait.worker is None else wait.worker.message
        # Several limits are taken one after the other: it stands in one line at a time.
        lined = next((name for name in sorted(wait.names) if (name, wait.space.name) in places), None)
        position = None if lined is None else places[lined, wait.space.name].position
        yield _info(wait.space, message, WaitKind.TOKEN, lined or ", ".join(wait.names), wait.since, position)


def _beginning(runtime: Hub) -> Iterator[WaitInfo]:
    """Tell which spaces wait for the token of their next turn."""
    if runtime.turns is None:
        return
    line = {waiter.fair_key: waiter for waiter in reversed(runtime.turns.waiters())}
    for space in runtime.live.values():
        waiter, following = line.get(space.name), space.mailbox[0] if space.mailbox else None
        # One that was given its token a moment ago is in line no more.
        if waiter is not None and any(worker.pace is not None and worker.pace.in_line for worker in space.workers):
            yield _info(space, following, WaitKind.TOKEN, TURNS, waiter.since, waiter.position)


def _of_space(space: Space) -> Iterator[WaitInfo]:
    """Tell what keeps the next turn of a space from beginning."""
    following = space.mailbox[0] if space.mailbox else None
    for target in space.held_by:
        yield _info(space, following, WaitKind.PLACE, target.name, space.progress_at)
    if space.asleep is not None:
        yield _info(space, space.asleep, WaitKind.QUESTION, _question(space), None)
    if space.waits_for_store:
        yield _info(space, following, WaitKind.STORE, type(space.runtime.store).__name__, None)
    if following is None:
        return
    if not (space.has_place or space.quarantined):
        yield _info(space, following, WaitKind.PLACE, _LIVE, following.at)
    holders = _holders(space) if space.lane is not None and space.can_run() else ""
    if holders:
        yield _info(space, following, WaitKind.LANE, holders, following.at)


def _question(space: Space) -> str:
    names = (one.shown.name for one in space.runtime.suspensions.open() if one.message is space.asleep)
    return next(names, "?")


def _holders(space: Space) -> str:
    """Name the spaces whose open turns have the lane of a space."""
    holders: Iterable[Worker] = () if space.lane is None else space.lane.holders
    return ", ".join(dict.fromkeys(worker.space.name for worker in holders if worker.space is not space))


def _outside(runtime: Hub) -> Iterator[WaitInfo]:
    """Tell who waits from outside for places."""
    for space in runtime.live.values():
        for position, waiter in enumerate(space.line or (), 1):
            if waiter.source is not Source.INSIDE:  # those are told as waits of their turns
                message = waiter.message
                kind = WaitKind.PLACE
                yield WaitInfo(None, message.id, message.call, kind, space.name, message.at, position)
    for position, message in enumerate(runtime.places.waiting(), 1):
        yield WaitInfo(None, message.id, message.call, WaitKind.PLACE, _LIVE, message.at, position)
