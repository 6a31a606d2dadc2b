"""Who holds the tokens of a limit that urgent requests may take away, and from whom they take one. Pure: no Trio.

Only those are known here from whom a token may be taken.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar, final

from supervisors._capacity import Priority

if TYPE_CHECKING:
    from collections.abc import Hashable


class Holder(Protocol):
    """One who holds a token that may be taken away."""

    @property
    def priority(self) -> Priority:
        """How urgent it is."""
        ...

    def take_away(self, limit: str, by: Priority) -> None:
        """End its block soon; its token comes back when that has really ended."""


W = TypeVar("W", bound="Hashable")


@final
class Holders(Generic[W]):
    """The holders of one limit. All of it costs the same however many they are. `W`: those who wait."""

    __slots__ = ("_by_priority", "_victims")

    def __init__(self) -> None:
        # In the order in which they got their tokens.
        self._by_priority = tuple(OrderedDict[Holder, None]() for _ in Priority)
        # Whose blocks are ending, and for whom.
        self._victims = dict[Holder, W]()

    def add(self, holder: Holder) -> None:
        """It has got a token."""
        self._by_priority[holder.priority][holder] = None

    def next_victim(self, by: Priority) -> Holder | None:
        """Return from whom somebody as urgent takes a token.

        That is one of the lowest priority, for whom it means least; and there the one who got it last, whose work has
        cost least so far. None: all are as urgent, or are ending already.
        """
        for holders in self._by_priority[:by]:
            if holders:
                return next(reversed(holders))
        return None

    def take_from(self, holder: Holder, for_whom: W) -> None:
        """Its token is meant for somebody from now on; nobody else chooses it."""
        del self._by_priority[holder.priority][holder]
        self._victims[holder] = for_whom

    def remove(self, holder: Holder) -> W | None:
        """It gives its token back: return for whom that was taken from it, None if for nobody."""
        self._by_priority[holder.priority].pop(holder, None)
        return self._victims.pop(holder, None)
