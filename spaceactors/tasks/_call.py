"""One call that handed over tasks, and the results that come back to it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar, final

import trio

if TYPE_CHECKING:
    from spaceactors.tasks._job import Job
    from spaceactors.tasks._task import TaskResult

T = TypeVar("T")


@final
class Call(Generic[T]):
    """Who waits for the results of some tasks; also the iterator over them, as they come."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        # How many have not ended, and the results that were not taken yet.
        self._left = 0
        self._come: deque[TaskResult[T]] = deque()
        self._news: trio.Event | None = None

    def add(self, job: Job) -> None:
        """Wait for one more."""
        self.jobs.append(job)
        self._left += 1

    def ended(self, result: TaskResult[T]) -> None:
        """Take a result."""
        self._left -= 1
        self._come.append(result)
        if self._news is not None:
            self._news.set()
            self._news = None

    async def results(self) -> list[TaskResult[T]]:
        """Wait for all, and return the results in the order in which the tasks were given."""
        await trio.lowlevel.checkpoint()
        while self._left:
            await self._wait_news()
        by_id = {result.id: result for result in self._come}
        return [by_id[job.id] for job in self.jobs]

    def __aiter__(self) -> Call[T]:
        return self

    async def __anext__(self) -> TaskResult[T]:
        # No async generator: a reader that was cancelled while it waited must be able to go on.
        await trio.lowlevel.checkpoint()
        while self._left and not self._come:
            await self._wait_news()
        if self._come:
            return self._come.popleft()
        raise StopAsyncIteration

    async def _wait_news(self) -> None:
        if self._news is None:
            self._news = trio.Event()
        await self._news.wait()
