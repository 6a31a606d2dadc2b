"""A turn in progress: what it has done so far and will commit, and how code finds the turn that it runs in."""

from __future__ import annotations

from contextvars import ContextVar
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol, final

import trio
from attrs import define, field

from spaceactors._errors import OutsideTurn

if TYPE_CHECKING:
    from spaceactors._handle import SpaceHandle
    from spaceactors._hub import Hub
    from spaceactors._message import Message
    from spaceactors._space import Space
    from spaceactors._timers import Timer


@final
class Cut(Enum):
    """Why a running turn was cancelled."""

    INTERRUPTED = "interrupted"
    ABANDONED = "abandoned"
    KILLED = "killed"


@final
@define(eq=False)
class TurnRecord:
    """What a turn has done and nobody sees yet; made with the first such thing, so that a plain turn needs none."""

    entries: list[Any] = field(factory=list[Any])
    # Messages to leave with the commit, with their targets.
    outbox: list[tuple[SpaceHandle[Any], Message]] = field(factory=list["tuple[SpaceHandle[Any], Message]"])
    emitted: list[Any] = field(factory=list[Any])
    # Timers set (or, with None, cancelled), by key.
    timers: dict[str, Timer | None] = field(factory=dict[str, "Timer | None"])
    counts: dict[str, float] = field(factory=dict[str, float])
    # How often each call was asked: the count is part of the question's id.
    asked: dict[str, int] = field(factory=dict[str, int])
    # How often each step or question of a name came up in this try.
    named: dict[str, int] = field(factory=dict[str, int])
    # The open `until_interrupted()` blocks, and whether the interruption came.
    scopes: list[trio.CancelScope] = field(factory=list[trio.CancelScope])
    interrupted: bool = False


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
