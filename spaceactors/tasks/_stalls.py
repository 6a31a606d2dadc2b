"""Tasks of which nothing was heard for long: told once, and left to go on."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, final

import trio

from spaceactors.tasks._events import TaskStalled

if TYPE_CHECKING:
    from collections.abc import Collection

    from spaceactors.tasks._job import Job
    from spaceactors.tasks._ledger import Ledger


@final
class StallWatch:
    """Looks at the tasks that run, when the first of them is due."""

    def __init__(self, stalled_after: float, running: Collection[Job], ledger: Ledger) -> None:
        self._after = stalled_after
        self._running = running
        self._ledger = ledger
        # Set when there is something to look at again; None unless it sleeps without an end.
        self._woken: trio.Event | None = None

    def is_stalled(self, job: Job, now: float) -> bool:
        """Tell whether a running task has been silent for too long."""
        return now - job.beat_at >= self._after

    def look_again(self) -> None:
        """Take note that a task began, or spoke again; it is due after all others, and matters if there are none."""
        if self._woken is not None:
            self._woken.set()

    async def run(self) -> None:
        """Watch until it is cancelled."""
        while True:
            due = self._tell(trio.current_time())
            if due < inf:
                await trio.sleep_until(due)
                continue
            self._woken = trio.Event()
            await self._woken.wait()
            self._woken = None

    def _tell(self, now: float) -> float:
        due = inf
        for job in self._running:
            if self.is_stalled(job, now):
                if not job.stalled:
                    job.stalled = True
                    self._ledger.publish(TaskStalled, job, now - job.beat_at)
            else:
                due = min(due, job.beat_at + self._after)
        return due
