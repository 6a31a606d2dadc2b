"""The calls that end, pause and revive a space; all are idempotent and may run at the same time, in any order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

import trio
from trio.lowlevel import enable_ki_protection

from spaceactors import _asking as asking
from spaceactors import _halts as halts
from spaceactors import _life as life
from spaceactors._decide import Ending
from spaceactors._receipt import another
from spaceactors._turn import here
from supervisors import DrainReport
from supervisors._running import PASSES

if TYPE_CHECKING:
    from spaceactors._handle import SpaceHandle
    from spaceactors._space import Space


@final
class Control:
    """One such call on one space."""

    __slots__ = ("_began", "_handle", "_runtime")

    def __init__(self, handle: SpaceHandle[Any]) -> None:
        self._handle = handle
        self._runtime = handle.runtime
        self._began = self._runtime.clock.exactly()

    @property
    def _space(self) -> Space | None:
        return self._runtime.live.get(self._handle.key)

    async def _woken(self) -> Space | None:
        """Return the live space, brought back from a store if something there waits or is set aside."""
        runtime, handle = self._runtime, self._handle
        if self._space is None and runtime.durable is not None and not runtime.closed:
            async with runtime.loading.held([handle]) as rows:
                row = rows[handle]
                if row.quarantined is not None or row.found is not None:
                    return runtime.space_waited_for(handle)
        return self._space

    @enable_ki_protection
    async def stop(self) -> DrainReport:
        """End by STOP."""
        return await self._end(Ending.STOP)

    @enable_ki_protection
    async def kill(self) -> DrainReport:
        """End by KILL."""
        return await self._end(Ending.KILL)

    @enable_ki_protection
    async def delete(self) -> None:
        """End by DELETE; what is not live is only removed."""
        if self._runtime.durable is not None:
            await self._delete_stored()
            return
        space = self._space
        if space is not None:
            await self._end(Ending.DELETE)
        else:
            await trio.lowlevel.checkpoint()
        await self._runtime.remove(self._handle)

    async def _delete_stored(self) -> None:
        """Bring the space into memory and end it there: who comes meanwhile finds the door closed, then a new space."""
        await trio.lowlevel.checkpoint()
        space = self._space or await self._runtime.loading.wake(self._handle)
        await self._end_live(space, Ending.DELETE)
        if space.undeleted is not None:
            raise another(space.undeleted)

    @enable_ki_protection
    async def drain(self, timeout: float | None) -> DrainReport:
        """End by DRAIN, and when the time is over by KILL."""
        if timeout is None:
            return await self._end(Ending.DRAIN)
        space = self._space
        with trio.move_on_after(timeout):
            report = await self._end(Ending.DRAIN)
            if space is not None and not space.gone and _is_own(space):
                self._runtime.keeper.set(self._began + timeout, lambda: _cut_off(space))
            return report
        if space is None or space.gone:
            return self._report(space)
        life.begin_end(space, Ending.KILL)
        await _see_end(space)
        return self._report(space)

    async def _end(self, ending: Ending) -> DrainReport:
        await trio.lowlevel.checkpoint()
        space = await self._woken()
        return self._report(None) if space is None else await self._end_live(space, ending)

    async def _end_live(self, space: Space, ending: Ending) -> DrainReport:
        """End an activation; no time has passed since it was live."""
        place = here.get()
        in_turn = place is not None and place.in_turn()
        if place is not None and in_turn and place.space is not space:
            worker = place.space.worker_of(place)
            async with asking.waiting(self._handle, worker, space, None):
                life.begin_end(space, ending)
                await self._wait_over(space)
            return self._report(space)
        life.begin_end(space, ending)
        if not _is_own(space):
            # An actor that ends itself cannot wait for it: the end comes after its turn.
            await self._wait_over(space)
        return self._report(space)

    @staticmethod
    async def _wait_over(space: Space) -> None:
        while not (space.gone or space.stuck):
            if space.over is None:
                space.over = trio.Event()
            await space.over.wait()
        durable = space.runtime.durable
        if durable is not None and space.gone and not space.runtime.closed:
            await durable.settled_down(space.row)

    def _report(self, space: Space | None) -> DrainReport:
        seconds = self._runtime.clock.exactly() - self._began
        if space is None:
            return DrainReport(clean=True, seconds=seconds)
        name = space.name
        # What an actor that ends itself has still to do is no loss; what hangs at a deadline is.
        left = space.returned + (space.pending if space.stuck else 0)
        return DrainReport(
            clean=space.finished and not left and not space.stuck,
            finished=(name,) if space.gone and space.finished else (),
            cancelled=() if space.finished else (name,),
            left={name: left} if left else {},
            unstoppable=(name,) if space.stuck and not space.gone else (),
            seconds=seconds,
        )

    # ---- pause and revival

    @enable_ki_protection
    async def pause(self) -> None:
        """Begin the activation if need be, and halt it."""
        await trio.lowlevel.checkpoint()
        if self._space is None:
            self._runtime.check_open(self._handle)
        async with self._runtime.loading.held([self._handle]):
            halts.pause(self._runtime.space_for(self._handle))

    @enable_ki_protection
    async def resume(self) -> None:
        """Let a halted activation go on."""
        await trio.lowlevel.checkpoint()
        space = self._space
        if space is not None:
            halts.resume(space)

    @enable_ki_protection
    async def revive(self) -> None:
        """Start a quarantined activation again."""
        await trio.lowlevel.checkpoint()
        space = await self._woken()
        if space is not None:
            halts.revive(space)


def _is_own(space: Space) -> bool:
    """Tell whether the calling code is the space's own actor."""
    place = here.get()
    return place is not None and place.space is space


def _cut_off(space: Space) -> None:
    """Kill what its own time for a drain was too short for."""
    if not space.gone:
        life.begin_end(space, Ending.KILL)


async def _see_end(space: Space) -> None:
    """Give what was cancelled some scheduler passes to end, not seconds: the time is over."""
    for _ in range(PASSES):
        if space.gone:
            return
        await trio.lowlevel.checkpoint()
    space.stuck = not space.gone
