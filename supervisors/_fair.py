"""The order in which those who wait for one limit are served. Pure: no Trio, no clock.

Inside a priority those with different fair keys take turns, who came first comes first inside a key. Between the heads
of the priorities the rule is `precedence`.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from math import inf
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar, final

from supervisors._capacity import Priority

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class Queued(Protocol):
    """What has to be known of who waits."""

    @property
    def priority(self) -> Priority:
        """How urgent it is."""
        ...

    @property
    def fair_key(self) -> str | None:
        """With whom it shares its turns; None is a key like any other."""
        ...

    @property
    def since(self) -> float:
        """When it came, in seconds of any clock."""
        ...


W = TypeVar("W", bound=Queued)


def precedence(priority: Priority, since: float, ageing: float) -> tuple[float, int]:
    """Return by what the heads of the priorities are compared: the smallest goes first.

    Each step of priority is worth `ageing` seconds of waiting; who has waited just so much longer ties, and then the
    higher priority goes first. Everybody ages alike, so what time it is does not matter: an order once true stays so.
    """
    if ageing == inf:
        return -float(priority), 0
    return since - priority * ageing, -priority


def choose(heads: Iterable[W], ageing: float) -> W:
    """Return who is served of the first in each priority."""
    return min(heads, key=lambda head: precedence(head.priority, head.since, ageing))


@final
class FairQueue(Generic[W]):
    """All who wait for one limit. Entering, leaving and serving cost the same however many they are."""

    __slots__ = ("_ageing", "_first", "_rotations", "waiting")

    def __init__(self, ageing: float) -> None:
        self._ageing = ageing
        # In the order in which they came. Ordered dicts throughout: the first of a plain dict is slow to find once many
        # before it have been deleted.
        self.waiting = OrderedDict[W, None]()
        # Who comes before everybody else.
        self._first = OrderedDict[W, None]()
        # Per priority: whose turn it is among the keys, and per key who waits. No key is empty.
        self._rotations = tuple(OrderedDict[str | None, OrderedDict[W, None]]() for _ in Priority)

    def enter(self, who: W, *, first: bool = False) -> None:
        """Join the line; `first`: behind those who came so too, and before all others."""
        self.waiting[who] = None
        if first:
            self._first[who] = None
            return
        rotation = self._rotations[who.priority]
        members = rotation.get(who.fair_key)
        if members is None:
            members = rotation[who.fair_key] = OrderedDict[W, None]()
        members[who] = None

    def leave(self, who: W) -> None:
        """Leave from wherever it stands; those behind move up."""
        del self.waiting[who]
        if who in self._first:
            del self._first[who]
            return
        rotation = self._rotations[who.priority]
        members = rotation[who.fair_key]
        del members[who]
        if not members:
            del rotation[who.fair_key]

    def serve(self) -> W:
        """Take the next one out of the line, which must not be empty."""
        if self._first:
            who, _ = self._first.popitem(last=False)
            del self.waiting[who]
            return who
        heads = [_head(rotation) for rotation in self._rotations if rotation]
        who = heads[0] if len(heads) == 1 else choose(heads, self._ageing)
        # Its key has had its turn: the others come first. (If it was the key's last, the key goes.)
        self._rotations[who.priority].move_to_end(who.fair_key)
        self.leave(who)
        return who

    def in_order(self) -> Iterator[W]:
        """Return all as they would be served if nobody else came."""
        yield from self._first
        rests = [_taking_turns(rotation.values()) for rotation in self._rotations]
        heads = [next(rest, None) for rest in rests]
        while there := [head for head in heads if head is not None]:
            who = choose(there, self._ageing)
            yield who
            heads[who.priority] = next(rests[who.priority], None)

    def oldest(self) -> W | None:
        """Return who came first of all who wait."""
        return next(iter(self.waiting), None)


def _head(rotation: OrderedDict[str | None, OrderedDict[W, None]]) -> W:
    return next(iter(next(iter(rotation.values()))))


def _taking_turns(groups: Iterable[Iterable[W]]) -> Iterator[W]:
    """Return one of each group in turns, until all groups are through."""
    turns = deque(map(iter, groups))
    while turns:
        group = turns.popleft()
        for one in group:
            yield one
            turns.append(group)
            break
