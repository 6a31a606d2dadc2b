"""The plan of a batch, as data for people: which tasks can run at once, and which ever meet.

Pure: no Trio, no clock. While tasks run nobody waits for a wave to end: see `_plan.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast, final

from attrs import frozen

from spaceactors.tasks._checks import claims_for, names_in
from spaceactors.tasks._task import Resources, Task, tasks_in
from supervisors._lock_names import EXCLUDED, MARKS, Claim, marks_of

ResourceRule = Callable[[Task[Any]], "Resources | Iterable[str]"]


@final
@frozen
class TaskPlan:
    """Tasks in groups and waves.

    Tasks of two different groups never conflict, however many others are between them. Tasks of one wave do not
    conflict with each other, and each one conflicts with one of the wave before (or is in the first): if all took
    equally long and there were slots enough, these would run at once.
    """

    groups: tuple[tuple[Task[Any], ...], ...]
    waves: tuple[tuple[Task[Any], ...], ...]

    def __str__(self) -> str:
        lines = (
            f"wave {number}: {', '.join(task.id or task.agent for task in wave)}"
            for number, wave in enumerate(self.waves, start=1)
        )
        return "\n".join(lines)


def claims_by(task: Task[Any], rule: ResourceRule | None) -> tuple[Claim, ...]:
    """Return what a task locks: what it names, or what the rule says of one that names nothing."""
    if task.resources or task.shared or rule is None:
        return claims_for(task.resources, task.shared)
    said = cast("object", rule(task))
    if isinstance(said, Resources):
        return claims_for(said.names, said.shared)
    if isinstance(said, str) or not isinstance(said, Iterable):
        raise TypeError(f"the rule for resources must return names in a list, or Resources(...), not {said!r}")
    names = names_in("what the rule for resources returns", cast("object", said), "file:src/a.py")
    return claims_for(names, ())


def plan_of(tasks: Iterable[Task[Any]], *, resources: ResourceRule | None = None) -> TaskPlan:
    """Show which tasks conflict, before they run or without running them.

    Args:
        tasks: in the order in which they would be handed over; those of a higher priority come first.
        resources: the rule for tasks that name none, as of `open_task_manager`.

    Raises:
        TypeError, ValueError: something is no task, or what the rule returned is no name.

    """
    batch = sorted(tasks_in(tasks, "plan_of"), key=lambda task: -task.priority)
    waves, groups = _Waves(), _Groups()
    for number, task in enumerate(batch):
        marks = marks_of(claims_by(task, resources))
        waves.add(number, marks.items())
        groups.add(number, marks.items())
    return TaskPlan(*(tuple(tuple(batch[n] for n in one) for one in many) for many in (groups.all(), waves.waves)))


@final
class _Waves:
    """Puts each task into the wave after the last with which it conflicts."""

    def __init__(self) -> None:
        self.waves = list[list[int]]()
        # At a place and by a mark: up to which wave.
        self._last = dict[tuple[str, int], int]()

    def add(self, number: int, marks: Iterable[tuple[str, int]]) -> None:
        marks = tuple(marks)
        wave = max((self._last.get((key, mark), 0) for key, sum_ in marks for mark in EXCLUDED[sum_]), default=0)
        if wave == len(self.waves):
            self.waves.append([])
        self.waves[wave].append(number)
        for key, sum_ in marks:
            for mark in MARKS:
                if mark & sum_:
                    self._last[key, mark] = max(wave + 1, self._last.get((key, mark), 0))


@final
class _Groups:
    """Joins what conflicts; each group has one of its members as its root."""

    def __init__(self) -> None:
        self._above = list[int]()
        # At a place and by a mark: one of each group that has left it there.
        self._there = dict[tuple[str, int], list[int]]()

    def add(self, number: int, marks: Iterable[tuple[str, int]]) -> None:
        self._above.append(number)
        marks = tuple(marks)
        for key, sum_ in marks:
            for mark in EXCLUDED[sum_]:
                met = self._there.get((key, mark))
                if met:
                    for other in met:
                        self._above[self._root(other)] = self._root(number)
                    met[:] = [number]
        for key, sum_ in marks:
            for mark in MARKS:
                if mark & sum_:
                    self._there.setdefault((key, mark), []).append(number)

    def _root(self, number: int) -> int:
        while self._above[number] != number:
            self._above[number] = number = self._above[self._above[number]]
        return number

    def all(self) -> Iterable[list[int]]:
        groups = dict[int, list[int]]()
        for number in range(len(self._above)):
            groups.setdefault(self._root(number), []).append(number)
        return groups.values()
