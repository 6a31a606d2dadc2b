"""Who holds which locks, and who waits for them: one record, all of it sync.

No Trio, no clock: who asks is any value, and who may go on is returned to the caller, who wakes them.

A request is granted when nothing that is held excludes it, and nobody who waits before it; all of its names at once. So
readers do not overtake a writer who waits, and nobody holds some of its locks while it waits for the others.

There is one exception. Who already holds something may need a lock for which others wait who wait for that: to queue
behind them would be to wait for oneself. It goes before the first of them. Where that does not help either, `enter`
tells the ring.
"""

from __future__ import annotations

from collections import OrderedDict
from heapq import heapify, heappop, heappush, merge
from math import inf
from operator import attrgetter
from typing import TYPE_CHECKING, final

from supervisors._lock_names import EXCLUDED, MARKS, marks_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from supervisors._lock_names import Claim

# The heap of ends may have so many entries of the past, and as many again as there are leases.
STALE_ENDS = 64

_by_rank = attrgetter("rank")


class Request:
    """Locks that somebody wants, waits for or holds."""

    __slots__ = ("claims", "held", "marks", "over_at", "owner", "rank")

    def __init__(self, claims: tuple[Claim, ...], owner: object) -> None:
        self.claims = claims
        # At which places it leaves which marks.
        self.marks: Mapping[str, int] = marks_of(claims)
        # Whose it is: one owner waits for one thing at a time.
        self.owner = owner
        # Its place in all lines: the lower comes first. The second number is for those who were let in before others.
        self.rank: tuple[int, int] = (0, 0)
        self.held = False
        # When others may have it whatever its holder does.
        self.over_at = inf


@final
class _Line:
    """Those who wait at one place with one mark."""

    __slots__ = ("early", "usual")

    def __init__(self) -> None:
        # In the order in which they came. Not a dict, in which to look for the first gets slow once many have left.
        self.usual = OrderedDict[Request, None]()
        # Those let in before others; there are seldom any.
        self.early = list[Request]()

    def first(self) -> Request:
        first = next(iter(self.usual)) if self.usual else self.early[0]
        return min(first, *self.early, key=_by_rank) if self.early else first

    def in_order(self) -> Iterator[Request]:
        return merge(self.early, self.usual, key=_by_rank) if self.early else iter(self.usual)

    def add(self, request: Request) -> None:
        if request.rank[1]:
            self.early.append(request)
            self.early.sort(key=_by_rank)
        else:
            self.usual[request] = None

    def remove(self, request: Request) -> None:
        if request.rank[1]:
            self.early.remove(request)
        else:
            del self.usual[request]

    def __bool__(self) -> bool:
        return bool(self.usual or self.early)


@final
class _Place:
    """What is held and waited for at one place, by mark; none of it empty."""

    __slots__ = ("held", "lines")

    def __init__(self) -> None:
        self.held = dict[int, dict[Request, None]]()
        self.lines = dict[int, _Line]()

    def add(self, request: Request, marks: int) -> None:
        for mark in MARKS:
            if not mark & marks:
                continue
            if request.held:
                self.held.setdefault(mark, {})[request] = None
            else:
                self.lines.setdefault(mark, _Line()).add(request)

    def remove(self, request: Request, marks: int) -> None:
        for mark in MARKS:
            if not mark & marks:
                continue
            if request.held:
                del self.held[mark][request]
                if not self.held[mark]:
                    del self.held[mark]
            else:
                self.lines[mark].remove(request)
                if not self.lines[mark]:
                    del self.lines[mark]

    def keeps_out(self, request: Request, marks: int) -> bool:
        """Tell whether marks are excluded here by what is held, or by who waits before the request."""
        for mark in EXCLUDED[marks]:
            if mark in self.held or (mark in self.lines and self.lines[mark].first().rank < request.rank):
                return True
        return False


@final
class LockTable:
    """All locks of one kind of locking."""

    def __init__(self) -> None:
        self.waiting = OrderedDict[Request, None]()
        self.held = OrderedDict[Request, None]()
        self._places = dict[str, _Place]()
        self._came = 0
        self._let_in = 0
        # How many requests of an owner are held, and which one waits.
        self._holding = dict[object, int]()
        self._waits = dict[object, Request]()

    # ---- changing

    def ask(self, request: Request) -> bool:
        """Grant a new request if it can be had now; if not, nothing has changed."""
        self._came += 1
        request.rank = (self._came, 0)
        if not self._free(request):
            first = self._first_that_waits_for(request)
            if first is None:
                return False
            self._let_in += 1
            request.rank = (first.rank[0], -self._let_in)
            if not self._free(request):
                return False
        self._add(request, held=True)
        return True

    def enter(self, request: Request, *, may_ring: bool = False) -> tuple[Request, ...]:
        """Let a request that was not granted wait.

        Args:
            request: what `ask` did not grant.
            may_ring: do not look for rings, for it does not wait for long.

        Returns:
            Nothing; or if it would wait for itself, in which case it does not wait: the ring of those who wait for each
            other, from the request on to what its owner holds or waits for.

        """
        self._add(request, held=False)
        ring = self._chain(request) if request.owner in self._holding and not may_ring else ()
        if ring:
            self.leave(request)
        return ring

    def leave(self, request: Request) -> list[Request]:
        """Take a request out, held or waiting; returns those who got their locks by that. Once it is out, nothing."""
        if request not in (self.held if request.held else self.waiting):
            return []
        self._remove(request)
        request.held = False
        granted = [other for other in self._next_to(request) if self._free(other)]
        for other in granted:
            self._remove(other)
            self._add(other, held=True)
        return granted

    def _add(self, request: Request, *, held: bool) -> None:
        request.held = held
        for key, marks in request.marks.items():
            place = self._places.get(key)
            if place is None:
                place = self._places[key] = _Place()
            place.add(request, marks)
        if held:
            self.held[request] = None
            self._holding[request.owner] = self._holding.get(request.owner, 0) + 1
        else:
            self.waiting[request] = None
            self._waits[request.owner] = request

    def _remove(self, request: Request) -> None:
        for key, marks in request.marks.items():
            place = self._places[key]
            place.remove(request, marks)
            if not place.held and not place.lines:
                del self._places[key]
        if request.held:
            del self.held[request]
            self._holding[request.owner] -= 1
            if not self._holding[request.owner]:
                del self._holding[request.owner]
        else:
            del self.waiting[request]
            del self._waits[request.owner]

    # ---- deciding

    def _free(self, request: Request) -> bool:
        """Tell whether nothing is in a request's way."""
        for key, marks in request.marks.items():
            place = self._places.get(key)
            if place is not None and place.keeps_out(request, marks):
                return False
        return True

    def _next_to(self, gone: Request) -> Iterable[Request]:
        """Return all who may have waited for a request that is gone; those in vain at the same place are left out.

        To grant one of them is no hindrance for another: it was in the way of those behind it already.
        """
        found = set[Request]()
        for key, marks in gone.marks.items():
            place = self._places.get(key)
            if place is None:
                continue
            for mark in EXCLUDED[marks]:
                if mark in place.lines:
                    found.update(_hopeful(place, mark))
        return sorted(found, key=_by_rank)

    # ---- who waits for whom

    def in_line(self) -> list[Request]:
        """Return all who wait, who came first first, but for those who were let in before others."""
        return sorted(self.waiting, key=_by_rank)

    def blockers(self, request: Request) -> Iterator[Request]:
        """Return all that are in a request's way: those who hold, then those who wait before it; some of them twice."""
        for key, mark in self._excluded(request):
            yield from self._places[key].held.get(mark, ())
        for key, mark in self._excluded(request):
            yield from self._before(request, key, mark)

    def _excluded(self, request: Request) -> Iterator[tuple[str, int]]:
        return ((key, mark) for key, marks in request.marks.items() if key in self._places for mark in EXCLUDED[marks])

    def _before(self, request: Request, key: str, mark: int) -> Iterator[Request]:
        line = self._places[key].lines.get(mark)
        for other in () if line is None else line.in_order():
            if other.rank >= request.rank:
                return
            yield other

    def _first_that_waits_for(self, request: Request) -> Request | None:
        """Find the first in a request's way who waits, over however many others, for the request's owner."""
        if request.owner not in self._holding or not self._chain(request):
            return None
        others = {other for other in self.blockers(request) if not other.held}
        return next((other for other in sorted(others, key=_by_rank) if self._chain(other, request.owner)), None)

    def _chain(self, request: Request, owner: object = None) -> tuple[Request, ...]:
        """Find a way from a request that waits, over those it waits for, to something of an owner (its own)."""
        owner = request.owner if owner is None else owner
        came_from: dict[Request, Request | None] = {request: None}
        seen = dict[tuple[str, int], tuple[int, int]]()
        todo = [request]
        while todo:
            waiter = todo.pop()
            for other in self._unseen(waiter, seen):
                if other.owner == owner:
                    return (*_way(waiter, came_from), other)
                # Who holds something keeps it for as long as it waits itself.
                following = self._waits.get(other.owner) if other.held else other
                if following is not None and following not in came_from:
                    came_from[following] = waiter
                    todo.append(following)
        return ()

    def _unseen(self, waiter: Request, seen: dict[tuple[str, int], tuple[int, int]]) -> Iterator[Request]:
        """Return what is in a waiter's way, but for what was returned before: `seen` says up to which rank."""
        for spot in self._excluded(waiter):
            key, mark = spot
            if spot not in seen:
                yield from self._places[key].held.get(mark, ())
            elif seen[spot] >= waiter.rank:
                continue
            yield from self._before(waiter, key, mark)
            seen[spot] = waiter.rank


def _way(last: Request, came_from: Mapping[Request, Request | None]) -> tuple[Request, ...]:
    way = [last]
    while (before := came_from[way[-1]]) is not None:
        way.append(before)
    return tuple(reversed(way))


def _hopeful(place: _Place, mark: int) -> Iterator[Request]:
    """Return who waits with a mark and is not kept out here; whoever is behind one who is, is kept out too."""
    for request in place.lines[mark].in_order():
        if place.keeps_out(request, mark):
            return
        yield request


@final
class Ends:
    """When leases are over, the next first."""

    def __init__(self) -> None:
        self._heap = list[tuple[float, int, Request]]()
        self._count = 0

    def note(self, request: Request, held: Collection[Request]) -> None:
        """Remember the end of a lease, which may have moved; `held` are all leases of now."""
        if request.over_at == inf:
            return
        self._count += 1
        heappush(self._heap, (request.over_at, self._count, request))
        if len(self._heap) > 2 * len(held) + STALE_ENDS:
            self._heap = [(one.over_at, n, one) for n, one in enumerate(held) if one.over_at < inf]
            heapify(self._heap)

    def next(self) -> float:
        """Return when the next lease is over; infinity if none ever is."""
        while self._heap:
            at, _, request = self._heap[0]
            if request.held and request.over_at == at:
                return at
            heappop(self._heap)
        return inf

    def take(self) -> Request:
        """Return the lease that is over next, and forget it."""
        return heappop(self._heap)[2]
