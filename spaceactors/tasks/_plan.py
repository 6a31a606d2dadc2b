"""Which of the tasks that wait may start: those that conflict with none that runs, and none that waits before them.

Pure: no Trio, no clock; times are numbers that come as arguments.

A task leaves marks at the places that its locks have to do with (`supervisors._lock_names`), and two tasks conflict
exactly if their marks exclude each other at some place. So each question costs as much as a task has places, however
many tasks wait: nobody is compared with everybody.

Who waits before whom is told by a rank: the priority, made up for by waiting. Whoever is behind a conflicting one of
a better rank stays behind, whether that one can start now or not: nobody is overtaken for ever by small ones.
"""

from __future__ import annotations

from collections import OrderedDict
from heapq import heappop, heappush, merge
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, final

from supervisors import Priority
from supervisors._fair import precedence
from supervisors._lock_names import EXCLUDED, MARKS, marks_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from supervisors._lock_names import Claim


class Rank(NamedTuple):
    """Where one stands in all lines; the lowest comes first."""

    precedence: tuple[float, int]
    number: int


class Entry:
    """One task, as far as planning goes."""

    __slots__ = ("claims", "group", "held", "marks", "number", "priority", "rank", "ready")

    def __init__(self, claims: tuple[Claim, ...], priority: Priority, number: int, group: tuple[str, ...] = ()) -> None:
        self.claims = claims
        self.marks: Mapping[str, int] = marks_of(claims)
        self.priority = priority
        # In which order they came; no two have one.
        self.number = number
        # What it needs besides: those of one group stand in one line for it.
        self.group = group
        self.rank = Rank((0.0, 0), number)
        # Whether its locks are its own now.
        self.held = False
        # Whether it is among those who may start, as far as was known when it was last looked at.
        self.ready = False

    def enter_line(self, now: float, ageing: float) -> None:
        """Take its place among those that came before and that will come."""
        self.rank = Rank(precedence(self.priority, now, ageing), self.number)


def _rank(entry: Entry) -> Rank:
    return entry.rank


@final
class _Line:
    """Those that wait at one place with one mark; of one priority they are in the order in which they came."""

    __slots__ = ("by_priority",)

    def __init__(self) -> None:
        self.by_priority = dict[Priority, OrderedDict[Entry, None]]()

    def add(self, entry: Entry) -> None:
        self.by_priority.setdefault(entry.priority, OrderedDict())[entry] = None

    def remove(self, entry: Entry) -> None:
        line = self.by_priority[entry.priority]
        del line[entry]
        if not line:
            del self.by_priority[entry.priority]

    def first(self) -> Entry:
        heads = [next(iter(line)) for line in self.by_priority.values()]
        return heads[0] if len(heads) == 1 else min(heads, key=_rank)

    def in_order(self) -> Iterator[Entry]:
        return merge(*self.by_priority.values(), key=_rank)


@final
class _Place:
    """What is held and waited for at one place, by mark; none of it empty."""

    __slots__ = ("held", "lines")

    def __init__(self) -> None:
        self.held = dict[int, dict[Entry, None]]()
        self.lines = dict[int, _Line]()

    def add(self, entry: Entry, marks: int) -> None:
        for mark in MARKS:
            if mark & marks and entry.held:
                self.held.setdefault(mark, {})[entry] = None
            elif mark & marks:
                self.lines.setdefault(mark, _Line()).add(entry)

    def remove(self, entry: Entry, marks: int) -> None:
        for mark in MARKS:
            if mark & marks and entry.held:
                del self.held[mark][entry]
                if not self.held[mark]:
                    del self.held[mark]
            elif mark & marks:
                self.lines[mark].remove(entry)
                if not self.lines[mark].by_priority:
                    del self.lines[mark]

    def keeps_out(self, entry: Entry, marks: int) -> bool:
        return any(
            mark in self.held or (mark in self.lines and self.lines[mark].first().rank < entry.rank)
            for mark in EXCLUDED[marks]
        )

    def hopeful(self, mark: int) -> Iterator[Entry]:
        """Return who waits with a mark and is not kept out here: whoever is behind one who is, is kept out too."""
        for entry in self.lines[mark].in_order() if mark in self.lines else ():
            if self.keeps_out(entry, mark):
                return
            yield entry


@final
class Board:
    """Who has which locks of one manager, and who waits for them."""

    def __init__(self) -> None:
        self._places = dict[str, _Place]()

    def enter(self, entry: Entry) -> None:
        """Let one wait."""
        self._add(entry)

    def start(self, entry: Entry) -> None:
        """Have one that waits hold its locks from now on; it is free."""
        self._remove(entry)
        entry.held = True
        self._add(entry)

    def leave(self, entry: Entry) -> list[Entry]:
        """Take one out, running or waiting; returns those that nothing is in the way of any more."""
        self._remove(entry)
        entry.held = entry.ready = False
        found = {
            other: None
            for key, marks in entry.marks.items()
            if key in self._places
            for mark in EXCLUDED[marks]
            for other in self._places[key].hopeful(mark)
        }
        return [other for other in found if self.is_free(other)]

    def is_free(self, entry: Entry) -> bool:
        """Tell whether nothing is in the way of one that waits."""
        for key, marks in entry.marks.items():
            place = self._places.get(key)
            if place is not None and place.keeps_out(entry, marks):
                return False
        return True

    def in_the_way(self, entry: Entry, most: int) -> list[Entry]:
        """Return whom one waits for, those that run first; `most` of them."""
        return list(dict.fromkeys(islice(self._blockers(entry), 2 * most)))[:most]

    def _blockers(self, entry: Entry) -> Iterator[Entry]:
        at = [(self._places[key], mark) for key, marks in entry.marks.items() for mark in EXCLUDED[marks]]
        for place, mark in at:
            yield from place.held.get(mark, ())
        for place, mark in at:
            for other in place.lines[mark].in_order() if mark in place.lines else ():
                if other.rank >= entry.rank:
                    break
                yield other

    def _add(self, entry: Entry) -> None:
        for key, marks in entry.marks.items():
            place = self._places.get(key)
            if place is None:
                place = self._places[key] = _Place()
            place.add(entry, marks)

    def _remove(self, entry: Entry) -> None:
        for key, marks in entry.marks.items():
            place = self._places[key]
            place.remove(entry, marks)
            if not place.held and not place.lines:
                del self._places[key]


@final
class Ready:
    """Those that may start once there is a slot for them, the best rank first.

    One that was put here may be kept out again, by one of a better rank that came later; so it is looked at again when
    it is taken. What is then kept out is dropped: it comes back when what keeps it out has left.
    """

    def __init__(self, board: Board) -> None:
        self._board = board
        self._groups = dict[tuple[str, ...], list[tuple[Rank, Entry]]]()

    def put(self, entry: Entry) -> None:
        """Have one start when its turn comes."""
        if not entry.ready:
            entry.ready = True
            heappush(self._groups.setdefault(entry.group, []), (entry.rank, entry))

    def take(self, lines: Mapping[tuple[str, ...], Iterable[Entry]]) -> Entry | None:
        """Take the next one, if there is one; `lines` are those of each group that stand in line for what it needs.

        Whoever of that group has a worse rank would only stand behind them: it is left here.
        """
        heads = [head for group in tuple(self._groups) if (head := self._head(group, lines.get(group, ())))]
        first = min(heads, key=_rank, default=None)
        if first is not None:
            self._drop(first.group)
        return first

    def _head(self, group: tuple[str, ...], line: Iterable[Entry]) -> Entry | None:
        heap = self._groups[group]
        while heap:
            entry = heap[0][1]
            if entry.ready and self._board.is_free(entry):
                return None if any(other.rank < entry.rank for other in line) else entry
            self._drop(group)
        return None

    def _drop(self, group: tuple[str, ...]) -> None:
        heap = self._groups[group]
        heappop(heap)[1].ready = False
        if not heap:
            del self._groups[group]
