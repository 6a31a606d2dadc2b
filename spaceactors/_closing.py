"""How a runtime opens and ends: its block, its signals, and the drain.

Refuse new work from outside; finish what was accepted and what that sends; at the deadline cancel; report.
"""

from __future__ import annotations

from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, final

import trio

from spaceactors import _door as door
from spaceactors import _life as life
from spaceactors import _outage as outage
from spaceactors import _recovery as recovery
from spaceactors._decide import Ending, only_leaf
from spaceactors._errors import RuntimeClosed
from spaceactors._events import RuntimeDrained, RuntimeDraining
from spaceactors._hub import is_quiet
from spaceactors._space import Gate
from supervisors import DrainReport
from supervisors._block import Block
from supervisors._running import PASSES
from supervisors._signals import watch_signals

if TYPE_CHECKING:
    from spaceactors._hub import Hub
    from spaceactors._port import DurablePort
    from supervisors._running import Running


# Seconds that a store has, once everything is done, to write the last of it.
_FLUSH = 5.0


_KEPT = "it is kept in the store, and goes on when the service runs again"


@final
class Closing:
    """Owns the block of a runtime: what a supervisor is to its children, this is to the spaces."""

    def __init__(self, hub: Hub, *, handle_signals: bool) -> None:
        self._hub = hub
        self._handle_signals = handle_signals
        self.block = Block("runtime", self, on_stuck=self._on_stuck)
        hub.block = self.block
        # Ends the tasks that are there as long as the runtime is; and whether they all have ended.
        self._service = trio.CancelScope()
        self._over = trio.Event()
        # Whether the store was opened, and is to be closed.
        self._has_store = False
        # Why the opening came to nothing.
        self._unopened: BaseException | None = None

    # ---- the opening

    async def start(self) -> None:
        """Start what a runtime consists of."""
        started = trio.Event()
        if self._hub.durable is not None:
            await self._hub.durable.open(self._hub)
            self._has_store = True
        self._begin()
        self.block.start_soon(self._host, started, name="spaces")
        await started.wait()
        if self._unopened is not None:
            self.cut()
            raise self._unopened

    def _begin(self) -> None:
        self._service = trio.CancelScope()
        self._over = trio.Event()
        self._unopened = None

    async def close_store(self) -> None:
        """Close the store: at the very end, so that what is in it can be looked at after a drain."""
        if self._has_store and self._hub.durable is not None:
            self._has_store = False
            await self._hub.durable.close()

    async def lose(self) -> None:
        """Cancel every task of the spaces, and wait until they have ended: what tests take for a killed process."""
        hub = self._hub
        work = [running for space in hub.live.values() for running in space.background]
        for running in work:
            self.block.stopper.cancel(running)
        if hub.nursery is not None:
            hub.nursery.cancel_scope.cancel()
        for running in work:
            await running.wait_ended()
        await self._over.wait()

    async def _host(self, started: trio.Event) -> None:
        """Hold the tasks of all spaces, out of reach of surrounding cancellations: the end has an order."""
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as spaces:
                self._hub.nursery = spaces
                spaces.start_soon(self._serve, started)
        self._over.set()

    async def _serve(self, started: trio.Event) -> None:
        trio.lowlevel.add_instrument(self._hub.clock)
        try:
            with self._service:
                async with trio.open_nursery() as services:
                    services.start_soon(self._hub.keeper.run)
                    if self._hub.load is not None:
                        services.start_soon(self._hub.load.run)
                    if self._handle_signals:
                        await services.start(partial(watch_signals, self._on_signal))
                    await self._begin_with_store(services)
                    started.set()
        except Exception as error:
            # A fault of ours must come out, and not cancel the workers behind the back of the end's order.
            if started.is_set():
                self.block.die(only_leaf(error))
            else:
                self._unopened = only_leaf(error)
        finally:
            if self._hub.durable is not None:
                self._hub.durable.stop()
            started.set()
            trio.lowlevel.remove_instrument(self._hub.clock)

    async def _begin_with_store(self, services: trio.Nursery) -> None:
        """Go on with what an earlier runtime left in the store."""
        hub, durable = self._hub, self._hub.durable
        if durable is None:
            await hub.timers.take_up()
            return
        services.start_soon(durable.run, partial(outage.failing, hub), partial(outage.healed, hub))
        await recovery.begin(hub, durable)
        services.start_soon(hub.timers.watch, durable)

    def opened(self) -> None:
        """Nothing waits for the opening."""

    # ---- reasons to end

    def _on_signal(self, count: int) -> None:
        self.block.begin_closing(cancel_body=True)
        if count == 2:  # noqa: PLR2004 (the second stops)
            self._end_all(Ending.STOP)
        elif count > 2:  # noqa: PLR2004 (the third kills)
            self._end_all(Ending.KILL)

    def give_up_waiting(self) -> None:
        """Refuse what comes from outside, skip backoffs, end pauses, ask background work to finish."""
        hub = self._hub
        hub.draining = True
        if hub.events.listened:
            hub.events.publish(RuntimeDraining(hub.clock.now))
        hub.places.turn_away(RuntimeClosed, "the runtime is closing: it takes nothing new")
        for space in tuple(hub.live.values()):
            space.gate = space.gate or Gate.CLOSING
            door.turn_away_line(space)
            hub.background.ask_to_finish(space)
            if not is_quiet(space):
                hub.restless.add(space)
            if space.backing_off:
                life.end_backoff(space)
            space.wake()

    def stop(self) -> None:
        """End all spaces by STOP: the body of the block has failed, and nobody is there for what waits."""
        self.block.begin_closing(cancel_body=False)
        self._end_all(Ending.STOP)

    def cut(self) -> None:
        """Leave no time: a surrounding cancellation, or an error that concerns the whole program."""
        self._end_all(Ending.KILL)

    def cancel_children(self) -> None:
        """Cancel what runs."""
        self._end_all(Ending.KILL)

    def _end_all(self, ending: Ending) -> None:
        for space in tuple(self._hub.live.values()):
            if space.ending is None or space.ending < ending:
                life.begin_end(space, ending, by_runtime=True)

    # ---- the drain

    async def stop_children(self, overall: trio.CancelScope) -> None:
        """Drain all spaces until `overall` is over; then cancel what runs, and return at once."""
        if overall.deadline == inf:
            overall.deadline = trio.current_time() + self._hub.config.drain_timeout
        with overall:
            await self._wait_quiet()
            await self._clean_up()
            self._end_all(Ending.DRAIN)
            await self._wait_gone()
        self._hub.places.give_up("the runtime has closed before the store brought the space")
        if self._hub.live:
            self._end_all(Ending.KILL)
            await self._spin()
        if self._hub.durable is not None:
            await self._flush(self._hub.durable)
        self._hub.suspensions.turn_away(RuntimeClosed, _KEPT)
        self._hub.closed = True
        self._hub.feeds.close()
        self._hub.log.close()
        if self._hub.live:
            self.block.start_soon(self._outlast)
        else:
            self._service.cancel()

    async def _flush(self, durable: DurablePort) -> None:
        """Have the store write what it was given; one that cannot write keeps nobody from closing."""
        with trio.move_on_after(_FLUSH, shield=True):
            await durable.flush()

    async def _outlast(self) -> None:
        """Go on telling, after the report, of what does not end."""
        with trio.CancelScope(shield=True):
            await self._wait_gone()
        self._service.cancel()

    async def _wait_quiet(self) -> None:
        """Wait until nothing that was accepted is left to do."""
        hub = self._hub
        while hub.restless or hub.places.lined_up:
            hub.quiet = trio.Event()
            await hub.quiet.wait()

    async def _clean_up(self) -> None:
        """Run the hooks that clean up, while those whom they may send to are alive."""
        hub = self._hub
        cleaned: set[tuple[str, str]] = set()
        while True:
            cleaning = [
                space
                for key, space in hub.live.items()
                if "on_stop" in space.kind.hooks and space.idle and key not in cleaned
            ]
            if not cleaning:
                return
            # Once each: two spaces that tell each other of their ends would bring each other back for ever.
            cleaned.update((space.kind.name, space.id) for space in cleaning)
            for space in cleaning:
                life.ask_to_passivate(space)
                hub.disturb(space)
            await self._wait_quiet()

    async def _wait_gone(self) -> None:
        for space in tuple(self._hub.live.values()):
            while not space.gone:
                if space.over is None or space.over.is_set():
                    space.over = trio.Event()
                await space.over.wait()

    async def _spin(self) -> None:
        """Let what was cancelled end without letting time pass."""
        for _ in range(PASSES):
            if not self._hub.live:
                return
            await trio.lowlevel.checkpoint()

    def make_report(self, seconds: float) -> DrainReport:
        """Say what became of the spaces."""
        hub = self._hub
        stuck = {space.name: space.pending for space in hub.live.values()}
        left = dict(hub.left)
        for name, pending in stuck.items():
            if pending:
                left[name] = left.get(name, 0) + pending
        cancelled = tuple(name for name, well in hub.ended.items() if not well and name not in stuck)
        report = DrainReport(
            clean=not (cancelled or left or stuck),
            finished=tuple(name for name, well in hub.ended.items() if well and name not in stuck),
            cancelled=cancelled,
            left=left,
            unstoppable=tuple(stuck),
            seconds=seconds,
        )
        if hub.events.listened:
            hub.events.publish(RuntimeDrained(hub.clock.now, report))
        return report

    @staticmethod
    def _on_stuck(running: Running, seconds: float) -> None:
        space: Any = running.signal.owner
        life.told_stuck(space, seconds)
