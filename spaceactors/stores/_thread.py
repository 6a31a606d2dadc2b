"""One thread of its own for a database's writing connection, and how Trio's thread gives way to it.

A thread of the pool would do, but costs a third more of the way there and back. Giving way is needed because of
Python's global lock: a busy Trio thread drops it for a microsecond in each tick only, which a thread that wakes up
misses every time, so a service under load would never get anything written. While a call takes long, Trio's thread
therefore stands still for a moment now and then.
"""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar, cast, final

import outcome
import trio

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

# Seconds of a call before Trio's thread first gives way (a lone commit to a fast disk takes less), and at most between
# two times: the disk itself needs no lock, and a slow one is not to slow the service down.
FIRST_WAIT, LONGEST_WAIT = 0.0005, 0.008
# Seconds that it gives at most.
GIVEN = 0.0005


@final
class _Job:
    """One call on its way through the thread."""

    __slots__ = ("args", "call", "done", "gate", "result", "token")

    def __init__(self, call: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self.call = call
        self.args = args
        self.token = trio.lowlevel.current_trio_token()
        self.done = trio.Event()
        # Held until the call has ended: waiting for it is giving way.
        self.gate = threading.Lock()
        self.gate.acquire()
        self.result: outcome.Maybe[Any] | None = None

    def run(self) -> None:
        self.result = outcome.capture(self.call, *self.args)
        self.gate.release()
        self.token.run_sync_soon(self.done.set)


@final
class OwnThread:
    """A thread that makes one call after the other; started with the first."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    async def call(self, call: Callable[..., T], *args: Any) -> T:
        """Make a call in the thread and wait for it, whatever else is cancelled."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()
        job = _Job(call, args)
        self._jobs.put(job)
        with trio.CancelScope(shield=True):
            await self._wait(job)
        return cast("outcome.Maybe[T]", job.result).unwrap()

    @staticmethod
    async def _wait(job: _Job) -> None:
        patience = FIRST_WAIT
        while not job.done.is_set():
            with trio.move_on_after(patience):
                await job.done.wait()
                return
            if job.gate.acquire(timeout=GIVEN):
                job.gate.release()
            patience = min(2 * patience, LONGEST_WAIT)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job.run()
            del job  # its arguments are not to wait for the next one

    def stop(self) -> None:
        """End the thread after what it was given."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join()
            self._thread = None
