"""A turn in progress: what it has done so far and will commit, and how code finds the turn that it runs in."""

from __future__ import annotations

from contextvars import ContextVar
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol, final

from spaceactors._errors import OutsideTurn

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Mapping, Sequence

    import trio

    from spaceactors._handle import SpaceHandle
    from spaceactors._hub import Hub
    from spaceactors._message import Message
    from spaceactors._space import Space
    from spaceactors._timers import Timer


_NONE: Mapping[Any, Any] = MappingProxyType({})


@final
class Cut(Enum):
    """Why a running turn was cancelled."""

    INTERRUPTED = "interrupted"
    ABANDONED = "abandoned"
    KILLED = "killed"


@final
class TurnRecord:
    """What a turn has done and nobody sees yet; made with the first such thing, so that a plain turn needs none.

    Each part is made with the first thing that goes into it: most turns do one or two of all these.
    """

    __slots__ = (
        *("asked", "begun", "counts", "emitted", "entries", "interrupted"),
        *("named", "outbox", "scopes", "timers", "visited"),
    )

    def __init__(self) -> None:
        self.entries: Sequence[Any] = ()
        # Messages to leave with the commit, with their targets.
        self.outbox: Sequence[tuple[SpaceHandle[Any], Message]] = ()
        self.emitted: Sequence[Any] = ()
        # Timers set (or, with None, cancelled), by key.
        self.timers: Mapping[str, Timer | None] = _NONE
        self.counts: Mapping[str, float] = _NONE
        # How often each call was asked: the count is part of the question's id.
        self.asked: Mapping[str, int] = _NONE
        # How often each step or question of a name came up in this try, and who ran pipelines of a name how often.
        self.named: Mapping[Hashable, int] = _NONE
        # How many steps and questions have begun in the turn's own task, and which came up.
        self.begun = 0
        self.visited: Collection[str] = ()
        # The open `until_interrupted()` blocks, and whether the interruption came.
        self.scopes: Sequence[trio.CancelScope] = ()
        self.interrupted = False

    def append(self, entry: object) -> None:
        """Note an entry of the history."""
        if isinstance(self.entries, list):
            self.entries.append(entry)
        else:
            self.entries = [entry]

    def post(self, target: SpaceHandle[Any], message: Message) -> None:
        """Note a message that leaves with the commit."""
        if isinstance(self.outbox, list):
            self.outbox.append((target, message))
        else:
            self.outbox = [(target, message)]

    def emit(self, event: object) -> None:
        """Note an event."""
        if isinstance(self.emitted, list):
            self.emitted.append(event)
        else:
            self.emitted = [event]

    def set_timer(self, key: str, timer: Timer | None) -> None:
        """Note a timer that is set, or cancelled."""
        if isinstance(self.timers, dict):
            self.timers[key] = timer
        else:
            self.timers = {key: timer}

    def count(self, name: str, amount: float) -> None:
        """Note an amount for a counter."""
        if isinstance(self.counts, dict):
            self.counts[name] = self.counts.get(name, 0) + amount
        else:
            self.counts = {name: amount}

    def ask_again(self, call: str) -> int:
        """Return how often this call was asked in this turn, this time included."""
        number = self.asked.get(call, 0) + 1
        if isinstance(self.asked, dict):
            self.asked[call] = number
        else:
            self.asked = {call: number}
        return number

    def name_again(self, name: Hashable) -> int:
        """Return how often a step or question of this name came up in this try, this time included."""
        number = self.named.get(name, 0) + 1
        if isinstance(self.named, dict):
            self.named[name] = number
        else:
            self.named = {name: number}
        return number

    def visit(self, key: str) -> None:
        """Note that a step or question came up."""
        if isinstance(self.visited, set):
            self.visited.add(key)
        else:
            self.visited = {key}


class Place(Protocol):
    """Where code of an actor runs: in a worker's turn, or in background work."""

    @property
    def space(self) -> Space:
        """The actor's space."""
        ...

    @property
    def background(self) -> bool:
        """Whether this is work beside the turns."""
        ...

    def in_turn(self) -> bool:
        """Whether the calling task belongs to a turn that is open."""
        ...


# Set once for each worker and each incarnation's background work; tasks started there inherit it.
here: ContextVar[Place | None] = ContextVar("spaceactors.here", default=None)


def descends(task: trio.lowlevel.Task, ancestor: trio.lowlevel.Task) -> bool:
    """Tell whether `task` is `ancestor` or was started in a nursery below it.

    A task that a handler started in somebody else's nursery inherits the handler's context but outlives the turn; its
    ancestors tell the two apart.
    """
    while task is not ancestor:
        nursery = task.parent_nursery
        if nursery is None:
            return False
        task = nursery.parent_task
    return True


def works_in(runtime: Hub, place: Place | None) -> bool:
    """Tell whether code that runs at `place` is work that this runtime has accepted: work of another is outside."""
    return place is not None and place.space.runtime is runtime and (place.background or place.in_turn())


def inside(space: Space) -> bool:
    """Tell whether the calling code runs in a turn of `space`."""
    place = here.get()
    return place is not None and place.space is space and place.in_turn()


def outside_turn(what: str, space: Space) -> OutsideTurn:
    """Return the error for something that only a turn may do."""
    return OutsideTurn(
        f"{what} belongs to a turn of {space.name}: use it inside a handler or hook, in the task of the turn or below;"
        " from outside or from background work send the space a message instead",
        space=space.handle,
    )
