"""Children that do what a test tells them, and write down what happens to them."""

from __future__ import annotations

from typing import final

import trio
from attrs import define, field

from supervisors._drain import until_drain


class Crash(Exception):
    """What a fake child raises when it is told to crash, unless it is given something else."""


@final
@define
class Trace:
    """What happened, in order: (what, who) pairs such as ("started", "db")."""

    steps: list[tuple[str, str]] = field(factory=list[tuple[str, str]])

    def note(self, what: str, who: str) -> None:
        """Write down one step."""
        self.steps.append((what, who))

    def of(self, what: str) -> list[str]:
        """Return who did `what`, in order."""
        return [who for step, who in self.steps if step == what]


@final
@define(eq=False)
class Fake:
    """A child for tests: pass its `run` to a ChildSpec, then tell it what to do.

    `start_delay`: seconds until it is ready. `failing_starts`: how many starts fail first. `listens`: whether it
    finishes when it is asked to drain, after `drain_delay` seconds. `stop_delay`: seconds for which it withstands a
    cancel. It writes "starting", "started", "asked", "cancelled", "ended" into `trace`.
    """

    name: str
    trace: Trace = field(factory=Trace)
    start_delay: float = 0.0
    failing_starts: int = 0
    listens: bool = False
    drain_delay: float = 0.0
    stop_delay: float = 0.0
    # How often it was started.
    starts: int = field(default=0, init=False)
    _order: trio.Event = field(factory=trio.Event, init=False)
    _error: BaseException | None = field(default=None, init=False)

    def crash(self, error: BaseException | None = None) -> None:
        """Make the present incarnation raise, at its next moment."""
        self._error = Crash(self.name) if error is None else error
        self._order.set()

    def finish(self) -> None:
        """Make the present incarnation return, at its next moment."""
        self._error = None
        self._order.set()

    async def run(self, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED) -> None:
        """Be the child; its value is the number of its start."""
        self.starts += 1
        self._order = trio.Event()
        self.trace.note("starting", self.name)
        try:
            await trio.sleep(self.start_delay)
            if self.starts <= self.failing_starts:
                raise Crash(self.name)
            task_status.started(self.starts)
            self.trace.note("started", self.name)
            await self._live()
        except trio.Cancelled:
            self.trace.note("cancelled", self.name)
            await self._withstand()
            raise
        finally:
            self.trace.note("ended", self.name)

    async def _live(self) -> None:
        if self.listens:
            await self._live_until_drain()
        else:
            await self._order.wait()
        if self._order.is_set() and self._error is not None:
            raise self._error

    async def _live_until_drain(self) -> None:
        with until_drain() as scope:
            await self._order.wait()
        if scope.cancelled_caught:
            self.trace.note("asked", self.name)
            await trio.sleep(self.drain_delay)

    async def _withstand(self) -> None:
        if self.stop_delay > 0:
            with trio.CancelScope(shield=True):
                await trio.sleep(self.stop_delay)
