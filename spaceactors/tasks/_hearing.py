"""How a running task is heard."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import trio

from spaceactors.tasks._job import Stage

if TYPE_CHECKING:
    from spaceactors.tasks._current import Voice
    from spaceactors.tasks._floor import Floor
    from spaceactors.tasks._job import Job
    from spaceactors.tasks._ledger import Ledger


@final
class Hearing:
    """What is called by `progress()` and its like in one task."""

    __slots__ = ("_job", "_ledger", "around", "manager")

    def __init__(self, manager: Floor, around: Voice | None, job: Job, ledger: Ledger) -> None:
        self.manager = manager
        self.around = around
        self._job = job
        self._ledger = ledger

    @property
    def ended(self) -> bool:
        return self._job.stage is Stage.ENDED

    def progress(self, done: float, note: str) -> None:
        self._look_again()
        self._ledger.progressed(self._job, done, note)

    def heartbeat(self) -> None:
        self._look_again()
        self._job.beat(trio.current_time())

    def confidence(self, share: float) -> None:
        self._job.confidence = share

    def evidence(self, items: tuple[object, ...]) -> None:
        self._job.evidence += items

    def _look_again(self) -> None:
        if self._job.stalled and self.manager.stalls is not None:
            self.manager.stalls.look_again()
