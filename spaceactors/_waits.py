"""Who waits for whom, and whether one more wait would close a ring.

Pure: walks over what is there and changes nothing. A space is waited for until its open turns are over; an open turn
waits for the spaces that it has asked; a space that holds its next turn back waits for the spaces over capacity.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from attrs import define

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from spaceactors._message import Message
    from spaceactors._space import Space
    from spaceactors._worker import Worker


@final
@define(eq=False)
class Wait:
    """One wait of a turn: for the answer to `message` from `space`, or (None) for the end of the space."""

    space: Space
    message: Message | None
    # Seconds of Trio's clock.
    since: float

    @property
    def streams(self) -> bool:
        """Whether it is for the items of a stream."""
        return self.message is not None and self.message.extra is not None and self.message.extra.reader is not None

    @property
    def on(self) -> bool:
        """Whether the answer is still to come: it may be there before the one who waits has run again."""
        if self.message is None:
            return True
        extra = self.message.extra
        if extra is not None and extra.reader is not None:
            return not extra.reader.over
        return self.message.waiter is not None

    @property
    def held_up(self) -> bool:
        """Whether the turn can do nothing else now: one that reads a stream does something with each item."""
        if not self.on or self.message is None or not self.streams:
            return self.on
        reader = None if self.message.extra is None else self.message.extra.reader
        in_line = any(waiter.message is self.message for waiter in self.space.line or ())
        return in_line or (reader is not None and reader.awaited)


def targets(worker: Worker) -> Iterator[Space]:
    """Return the spaces that an open turn waits for."""
    return (wait.space for wait in worker.waits if wait.on)


def reading(worker: Worker) -> Space | None:
    """Return the space whose open turn reads what this one streams: the stream ends at that turn's pace."""
    extra = None if worker.message is None else worker.message.extra
    if extra is None or extra.reader is None or extra.reader.left or extra.sender is None:
        return None
    return worker.space.runtime.live.get(extra.sender.key)


def blockers(space: Space, goal: Worker) -> list[Worker]:
    """Return the open turns that must end before a new message of `space` has its turn."""
    turns = [worker for worker in space.workers if worker.open]
    # In a lane there is one turn at a time, whatever the options say.
    at_once = 1 if space.lane is not None else space.options.concurrency
    if at_once == 1:
        return turns
    # Of several turns at once one that is free, or waits for nobody, is enough to go on.
    stuck = [turn for turn in turns if turn is goal or any(targets(turn))]
    return turns if len(stuck) >= at_once else []


def ring(target: Space, goal: Worker) -> tuple[Space, ...] | None:
    """Return the spaces from `target` to the one of the turn `goal`, if waiting for `target` would wait for `goal`."""
    seen: set[int] = set()
    trail: list[tuple[Space, tuple[Space, ...]]] = [(target, (target,))]
    while trail:
        space, path = trail.pop()
        if id(space) in seen:
            continue
        seen.add(id(space))
        turns = blockers(space, goal)
        if goal in turns:
            return path
        following = [further for worker in turns for further in (*targets(worker), reading(worker)) if further]
        trail.extend((further, (*path, further)) for further in (*following, *space.held_by))
    return None


def needed(worker: Worker) -> Collection[Space]:
    """Return the spaces whose turns an open turn needs for its answers, however long the chain, in a lasting order."""
    return behind(*targets(worker))


def behind(*first: Space) -> Collection[Space]:
    """Return these spaces, and those whose turns they need before a new message has its turn, in a lasting order."""
    found: dict[Space, None] = {}
    trail = list(first)
    while trail:
        space = trail.pop()
        if space in found:
            continue
        found[space] = None
        # Its next turn waits for its own open ones, and for those of its lane.
        turns = [turn for turn in space.workers if turn.open]
        if space.lane is not None:
            turns.extend(space.lane.holders)
        trail.extend(further for turn in turns for further in targets(turn))
        trail.extend(space.held_by)
    return found.keys()
