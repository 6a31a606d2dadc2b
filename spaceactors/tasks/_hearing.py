"""How a running task is heard."""

from __future__ import annotations

from typing import TYPE_CHECKING, final
from weakref import ref

import trio
from trio.lowlevel import current_root_task, current_task

from spaceactors.tasks._job import Stage

if TYPE_CHECKING:
    from spaceactors.tasks._current import Voice
    from spaceactors.tasks._floor import Floor
    from spaceactors.tasks._job import Job
    from spaceactors.tasks._ledger import Ledger


@final
class Hearing:
    """What is called by `progress()` and its like in one task."""

    __slots__ = ("_ledger", "_runs_in", "around", "job", "manager")

    def __init__(self, manager: Floor, around: Voice | None, job: Job, ledger: Ledger) -> None:
        self.manager = manager
        self.around = around
        self.job = job
        self._ledger = ledger
        # A weak one: the Trio task has this in its context.
        self._runs_in = ref(current_task())

    @property
    def ended(self) -> bool:
        return self.job.stage is Stage.ENDED

    def waits_for_caller(self) -> bool:
        runs_in = self._runs_in()
        if self.ended or runs_in is None:
            return False
        callers = _nested(current_task())
        # Of what is called in a thread, or beside the main task, one cannot see who waits for it.
        return runs_in in callers or callers[-1] is not _nested(runs_in)[-1]

    def progress(self, done: float, note: str) -> None:
        self._look_again()
        self._ledger.progressed(self.job, done, note)

    def heartbeat(self) -> None:
        self._look_again()
        self.job.beat(trio.current_time())

    def confidence(self, share: float) -> None:
        self.job.confidence = share

    def evidence(self, items: tuple[object, ...]) -> None:
        self.job.evidence += items

    def _look_again(self) -> None:
        if self.job.stalled and self.manager.stalls is not None:
            self.manager.stalls.look_again()


def _nested(task: trio.lowlevel.Task) -> list[trio.lowlevel.Task]:
    """Return a Trio task and those that wait for it in nurseries, but not the one around the whole program."""
    found, root = [task], current_root_task()
    while (nursery := found[-1].parent_nursery) is not None and nursery.parent_task is not root:
        found.append(nursery.parent_task)
    return found
