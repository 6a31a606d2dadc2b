"""The runtime's own limits, `spaces` and `turns`, beside those that the user has named."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, final

from spaceactors._pace import TURNS
from supervisors import CapacityRefused, Limit, LimitStatistics, Priority, UnknownLimit, Waiter, WaitTimes
from supervisors._capacity import check_tokens
from supervisors._line import TokenLine

if TYPE_CHECKING:
    from collections.abc import Sized

    from spaceactors._places import Places
    from supervisors import Limits

SPACES = "spaces"


def refuse_own_names(limits: Limits) -> None:
    """Raise `ValueError` if the user's limits have a name of the runtime's own."""
    for name, key in ((SPACES, "max_live_spaces"), (TURNS, "max_turns")):
        with suppress(UnknownLimit):
            limits.waiting(name)
            msg = (
                f"the limit {name!r} is the runtime's own: give yours another name, or set RuntimeConfig({key}=...) if"
                " that is what you mean"
            )
            raise ValueError(msg)


def turns_line(tokens: int | None) -> TokenLine | None:
    """Return the limit on turns that run at once, if there is a bound."""
    return None if tokens is None else TokenLine(Limit(TURNS, tokens))


def with_own(limits: Limits, places: Places, turns: TokenLine | None) -> Limits:
    """Return the user's limits with the runtime's own beside them."""
    return limits.joined(SpacesLine(places), *(() if turns is None else (turns,)))


@final
class SpacesLine:
    """The bound on live spaces, as a limit: to be looked at and resized. Spaces take their places themselves."""

    __slots__ = ("_places",)

    def __init__(self, places: Places) -> None:
        self._places = places

    @property
    def limit(self) -> Limit:
        """The bound as it is now."""
        return Limit(SPACES, self._places.bound)

    @property
    def waiting(self) -> Sized:
        """The spaces that wait for a place."""
        return self.waiters()

    def take_nowait(self) -> bool:
        """Refuse: a place belongs to a space."""
        raise self.refuse("")

    def give_back(self) -> None:
        """Do nothing: nobody has one."""

    async def wait(self, priority: Priority, fair_key: str | None, *, first: bool = False) -> None:
        """Refuse: a place belongs to a space."""
        del priority, fair_key, first
        raise self.refuse("")

    def refuse(self, reason: str) -> CapacityRefused:
        """Return the error for somebody who wants to hold a place."""
        del reason
        return CapacityRefused("the limit 'spaces' is held by live spaces alone: look at it, or resize it")

    def resize(self, tokens: int) -> None:
        """Change how many spaces may be live: idle ones leave, and no running one is ended."""
        check_tokens(SPACES, tokens)
        self._places.resize(tokens)

    def waiters(self) -> tuple[Waiter, ...]:
        """Return the spaces that wait for a place, who is next first."""
        return tuple(
            Waiter(SPACES, name, Priority.NORMAL, position, since)
            for position, (name, since) in enumerate(self._places.in_line(), start=1)
        )

    def statistics(self) -> LimitStatistics:
        """Return the figures."""
        in_line = self._places.in_line()
        oldest = max((self._places.now - since for _, since in in_line), default=0.0)
        return LimitStatistics(self._places.bound, self._places.taken, len(in_line), oldest, 0, 0, WaitTimes())
