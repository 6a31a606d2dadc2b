"""What a look makes of a turn that may have stalled. Pure: imports no Trio, reads no clock.

Progress is a new turn, or something that the turn has done since the last look. A turn that waits for somebody else is
not the one that stalls.
"""

from __future__ import annotations

from enum import Enum
from math import inf
from operator import is_
from typing import TYPE_CHECKING, final

from attrs import frozen

if TYPE_CHECKING:
    from spaceactors._message import Message

# A stall is told a quarter of `stalled_after` late at most; of one that was told, or of a wait, the next look comes
# when it has lasted a quarter longer.
LOOKS = 4
# Seconds between looks at least, however short `stalled_after` is.
SHORTEST = 0.01


@final
class Seen(Enum):
    """What a look makes of a turn."""

    QUIET = "quiet"
    STALLED = "stalled"
    WENT_ON = "went_on"


@final
class Waiting(Enum):
    """Whether a turn waits for somebody else; the end of a `NOTED` wait is told, that of a `SEEN` one is looked for."""

    NO = "no"
    NOTED = "noted"
    SEEN = "seen"


@final
@frozen(eq=False)
class Turn:
    """One try of one message (or hook) as a look sees it."""

    message: Message | None
    # Renewed with each stretch of turns, so also with each new try of a message, and with each hook.
    scope: object
    # How much it has done.
    done: tuple[int, ...]
    # What it has put in the place of something else: the state, the amounts of its counters.
    values: tuple[object, ...]

    def same_as(self, other: Turn | None) -> bool:
        """Tell whether it is the same try, and nothing was done in between.

        Users' values are compared as objects: their own `==` may be anything.
        """
        return (
            other is not None
            and self.message is other.message
            and self.scope is other.scope
            and self.done == other.done
            and len(self.values) == len(other.values)
            and all(map(is_, self.values, other.values))
        )


@final
@frozen(eq=False)
class Sight:
    """What is known of an open turn from the looks so far."""

    # None: it waited, and whatever it does next is progress.
    turn: Turn | None
    # Since when it has been seen without progress; it may have stood longer.
    since: float
    # When it is looked at next.
    look_at: float
    # The seconds after which its stall was last told; 0.0: it was not.
    told: float = 0.0
    # Since when it has been seen waiting for somebody else.
    waits_since: float | None = None


def pause(after: float) -> float:
    """Return how often turns are looked at that are told `after` so many seconds."""
    return max(after / LOOKS, SHORTEST)


def look(before: Sight | None, turn: Turn | None, now: float, waiting: Waiting, after: float) -> tuple[Sight, Seen]:
    """Decide what to make of an open turn. Pure.

    Args:
        before: what the earlier looks saw of its worker.
        turn: what the worker does now; of one that waits nobody needs to know.
        now: the time of the look.
        waiting: whether it waits for somebody else.
        after: the `stalled_after` of its space.

    """
    seen = Seen.WENT_ON if before is not None and before.told else Seen.QUIET
    if waiting is Waiting.NOTED:
        return Sight(None, now, inf), seen
    if waiting is Waiting.SEEN:
        since = now if before is None or before.waits_since is None else before.waits_since
        return Sight(None, now, now + max(pause(after), (now - since) / LOOKS), waits_since=since), seen
    if before is None or turn is None or not turn.same_as(before.turn):
        return Sight(turn, now, now + pause(after)), seen
    seconds = now - before.since
    # Told again when it has lasted twice as long: a stall of a day is told a dozen times.
    due = 2 * before.told or after
    if seconds >= due:
        return Sight(turn, before.since, now + max(pause(after), seconds / LOOKS), told=seconds), Seen.STALLED
    rest = max(pause(after), seconds / LOOKS) if before.told else pause(after)
    return Sight(turn, before.since, now + max(min(rest, due - seconds), SHORTEST), before.told), Seen.QUIET
