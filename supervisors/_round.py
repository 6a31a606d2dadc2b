"""The restart of a group of siblings: stop in reverse, wait, start in order, and again if one fails meanwhile."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, final

import trio

from supervisors._decide import Origin
from supervisors._spec import ChildStatus

if TYPE_CHECKING:
    from supervisors._children import Child, Children


class _Step(Enum):
    STOPPING = "stopping"
    WAITING = "waiting"
    STARTING = "starting"


@final
class Round:
    """One group restart; what fails while it runs makes it begin again instead of beginning another."""

    def __init__(self, children: Children, group: tuple[Child, ...], delay: float) -> None:
        self.over = trio.Event()
        self._children = children
        # Who restarts, in start order.
        self._group = group
        self._delay = delay
        self._step = _Step.STOPPING
        # Whether it is to begin (again).
        self._again = True
        self._scope = trio.CancelScope(shield=True)
        self._nap = trio.CancelScope()
        self._promise()

    def covers(self, child: Child) -> bool:
        """Tell whether a child that ended now is started by this round anyway."""
        return self._step is _Step.STOPPING and child.wanted and child in self._group

    def begin_again(self, group: tuple[Child, ...], delay: float) -> None:
        """Restart `group` instead: that of a child that this round does not cover."""
        # Groups end with the youngest child, and while this one is down only an elder sibling can fail:
        # whoever is not up is in the new group too.
        self._group = group
        self._delay = delay
        self._again = True
        self._step = _Step.STOPPING
        self._promise()
        self._scope.cancel()

    def _promise(self) -> None:
        # From now on all of the group come back, also those that had been stopped.
        for child in self._group:
            child.wanted = True
            if child.running is None:
                child.status = ChildStatus.BACKING_OFF

    def skip_wait(self, child: Child) -> bool:
        """End the backoff of the group for the sake of one of its children; tells whether there was one."""
        waits = self._step is _Step.WAITING and child.wanted and child in self._group
        if waits:
            self._nap.cancel()
        return waits

    def cut(self) -> None:
        """End the round where it is."""
        self._again = False
        self._scope.cancel()

    async def run(self) -> None:
        """Restart the group, until nobody fails meanwhile."""
        while self._again:
            self._again = False
            with trio.CancelScope(shield=True) as self._scope:
                await self._stop()
                await self._wait()
                await self._start()

    async def _stop(self) -> None:
        self._step = _Step.STOPPING
        stopping = [child.running for child in self._group if child.running is not None]
        for child in reversed(self._group):
            if child.running is not None:
                self._children.ask(child)
                await child.running.wait_settled()
        for running in stopping:
            await running.wait_ended()  # also what was unstoppable: there are never two incarnations

    async def _wait(self) -> None:
        self._step = _Step.WAITING
        if self._delay > 0:
            with trio.CancelScope() as self._nap:
                await trio.sleep(self._delay)

    async def _start(self) -> None:
        self._step = _Step.STARTING
        for child in self._present():
            if self._again or self._children.block.closing:
                return
            if child.wanted and child.running is None:
                await self._children.launch(child, Origin.AUTOMATIC).wait_ready()

    def _present(self) -> tuple[Child, ...]:
        # Temporary children went when they were stopped; others may have been deleted since.
        return tuple(child for child in self._group if child.wanted and self._children.by_name.get(child.name) is child)
