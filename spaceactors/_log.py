"""What the runtime writes to the standard log: few lines, bounded ones, and no flood.

Dead letters, crashes and quarantines are visible without any setting. A burst is cut after a few lines and summed up.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, final

from spaceactors._events import (
    SpaceCrashed,
    SpaceInQuarantine,
    SpaceLost,
    SpaceUnstoppable,
    StepsUnused,
    TurnStalled,
    TurnWentOn,
    WorkFailed,
)
from spaceactors._message import short

if TYPE_CHECKING:
    from spaceactors._clock import TickClock
    from spaceactors._events import SpaceEvent
    from spaceactors._keeper import Keeper
    from spaceactors._message import Message
    from spaceactors._space import Space

logger = logging.getLogger("spaceactors")

# Ten lines of one sort show what is going on; a summary each ten seconds shows how long.
LINES = 10
PERIOD = 10.0

_SORTS: dict[type[SpaceEvent], tuple[int, str]] = {
    SpaceCrashed: (logging.WARNING, "%s crashed and starts again in %.1f s: %s"),
    SpaceInQuarantine: (logging.ERROR, "%s crashed too often and is quarantined: %s"),
    SpaceUnstoppable: (logging.ERROR, "%s was cancelled %.0f s ago and does not end"),
    TurnStalled: (logging.WARNING, "%s: %s has made no progress for %.0f s\n%s"),
    TurnWentOn: (logging.WARNING, "%s: %s goes on after %.0f s without progress"),
    WorkFailed: (logging.WARNING, "%s: %s"),
    StepsUnused: (logging.WARNING, "%s: the program has changed: %s has no use for %s"),
    SpaceLost: (logging.ERROR, "%s is owned by another process now; messages that go on there: %d"),
}
_LONGEST = 300


@final
class Log:
    """Writes log lines, at most ten of a sort in ten seconds."""

    __slots__ = ("_clock", "_counts", "_keeper")

    def __init__(self, keeper: Keeper, clock: TickClock) -> None:
        self._keeper = keeper
        self._clock = clock
        # Lines of each sort (level and text) in the present period.
        self._counts: dict[tuple[int, str], int] = {}

    def dead_letter(self, name: str, message: Message, error: BaseException) -> None:
        """Tell of a message that nobody handled."""
        self._write(
            logging.WARNING, "dead letter of %s: %s after %s", name, short(message, _LONGEST), short(error, _LONGEST)
        )

    def store_failing(self, error: BaseException) -> None:
        """Tell that the store cannot write."""
        self._write(logging.ERROR, "the store cannot write: %s", short(error, _LONGEST))

    def shedding(self, load: str) -> None:
        """Tell that load is shed."""
        self._write(logging.WARNING, "load is shed: it is %s", load)

    def load_unread(self, error: BaseException) -> None:
        """Tell that processor and memory cannot be read."""
        self._write(logging.WARNING, "the load cannot be read: %s", short(error, _LONGEST))

    def unreadable(self, name: str, what: str, error: BaseException) -> None:
        """Tell that something in the store cannot be read."""
        self._write(logging.ERROR, "%s: %s cannot be read and is set aside: %s", name, what, short(error, _LONGEST))

    def tell(self, event: type[SpaceEvent], space: Space, values: tuple[Any, ...]) -> None:
        """Tell of an event, if it is of a sort that belongs into the log."""
        sort = _SORTS.get(event)
        if sort is None:
            return
        level, text = sort
        match event:
            case _ if event is SpaceCrashed:
                self._write(level, text, space.name, values[2], short(values[0], _LONGEST))
            case _ if event in {SpaceUnstoppable, SpaceLost}:
                self._write(level, text, space.name, values[0])
            case _ if event is TurnStalled:
                self._write(level, text, space.name, values[1] or "a hook", values[2], "\n".join(values[3]))
            case _ if event is TurnWentOn:
                self._write(level, text, space.name, values[1] or "a hook", values[2])
            case _ if event is StepsUnused:
                self._write(level, text, space.name, values[1], ", ".join(values[2]))
            case _:
                self._write(level, text, space.name, short(values[0], _LONGEST))

    def close(self) -> None:
        """Sum up what was cut: there is no later."""
        for level, text in tuple(self._counts):
            self._sum_up(level, text)

    def _write(self, level: int, text: str, *values: object) -> None:
        seen = self._counts.get((level, text), 0)
        self._counts[level, text] = seen + 1
        if seen == 0:
            self._keeper.set(self._clock.now + PERIOD, lambda: self._sum_up(level, text))
        if seen < LINES:
            logger.log(level, text, *values)

    def _sum_up(self, level: int, text: str) -> None:
        more = self._counts.pop((level, text), 0) - LINES
        if more > 0:
            sort = text.replace("%s", "…").replace("%.1f", "…").replace("%.0f", "…").replace("%d", "…")
            logger.log(level, "%d more like %r in %.0f s", more, sort, PERIOD)
