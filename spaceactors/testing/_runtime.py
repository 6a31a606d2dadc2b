"""The runtime of a test."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast, final, overload

import trio
from trio.testing import wait_all_tasks_blocked
from typing_extensions import TypeVar

from spaceactors._actor import Actor
from spaceactors._clock import TickClock
from spaceactors._config import RuntimeConfig
from spaceactors._errors import OutsideTurn, RuntimeClosed
from spaceactors._memory import MemoryStore
from spaceactors._runtime import NOTHING, Runtime, kinds_of, open_hub
from spaceactors._turn import here
from spaceactors.testing._clock import seeded, virtual_time
from spaceactors.testing._faults import FaultyStore
from spaceactors.testing._limits import unbounded_limits
from spaceactors.testing._loss import leave_all, lose, take_up

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from contextlib import AbstractAsyncContextManager, AbstractContextManager

    from spaceactors._closing import Closing
    from spaceactors._hub import Hub
    from spaceactors._port import Store
    from spaceactors._runtime import Dep

D = TypeVar("D")
A = TypeVar("A", bound=Actor[Any])
A_co = TypeVar("A_co", bound=Actor[Any], covariant=True)

# The wall clock when a test begins; from there it goes with Trio's time.
BEGIN = datetime(2030, 1, 1, tzinfo=UTC)


@final
class VirtualRuntime(Runtime[A_co]):
    """A runtime on virtual time: what `open_test_runtime` yields. Whatever waits for time, takes none."""

    def __init__(self, hub: Hub, closing: Closing, store: FaultyStore) -> None:
        super().__init__(hub, closing)
        self._store = store

    async def settle(self) -> None:
        """Wait until nothing can happen any more without time passing."""
        await wait_all_tasks_blocked()

    async def advance(self, seconds: float, /) -> None:
        """Let time pass, deadline by deadline, and wait until what is due at its end has happened too.

        Raises:
            ValueError: `seconds` is negative.

        """
        await trio.sleep(seconds)
        await self.settle()

    def fault(
        self, point: str, /, error: BaseException | None = None, *, times: int = 1
    ) -> AbstractContextManager[None]:
        """Make the store fail at a point, the next `times` times inside the block.

        Args:
            point: `before_accept` (a call through a handle is refused at the door), `before_commit` (what the
                turn of a message did cannot be kept: nothing of it is), `before_delete`.
            error: what is raised; an `InjectedFault` by default.
            times: how often.

        Raises:
            ValueError: there is no such point.

        """
        return self._store.fault(point, error, times)

    async def reopen(self) -> None:
        """Lose everything but the store, as after a kill, and begin anew; this object and all handles stay valid.

        There: states, histories, feeds, timers, remembered ids and dead letters; messages that were accepted and not
        settled, with the results of their steps; open questions. A message that was running runs again, and no try is
        counted. Gone: incarnations, background work, pauses, quarantines, budgets, the counters of the ledger. Whoever
        waited for an answer gets `RuntimeClosed`. Dependencies stay as they are: they are the world outside.
        """
        if here.get() is not None:
            msg = "reopen() is the test's to call: an actor cannot outlive its own end"
            raise OutsideTurn(msg)
        if self._closing.block.closing:
            msg = "the runtime is closing: it cannot be reopened"
            raise RuntimeClosed(msg)
        kept = lose(self._hub)
        await self._closing.lose()
        await self._closing.close_store()
        leave_all(self._hub)
        self._hub.store = kept.store
        self._hub.begin()
        await self._closing.start()
        if not kept.store.durable:
            take_up(self._hub, kept)


@overload
def open_test_runtime(
    actor: Callable[[], A], /, *, store: Store | None = None, seed: int | None = None
) -> AbstractAsyncContextManager[VirtualRuntime[A]]: ...
@overload
def open_test_runtime(
    actor: Callable[[D], A], /, *, deps: Dep[D], store: Store | None = None, seed: int | None = None
) -> AbstractAsyncContextManager[VirtualRuntime[A]]: ...
def open_test_runtime(
    actor: Any, /, *, deps: Any = NOTHING, store: Store | None = None, seed: int | None = None
) -> AbstractAsyncContextManager[VirtualRuntime[Any]]:
    """Open a runtime for a test of your actor.

    Write `async with open_test_runtime(Barista) as runtime: ...`. Inside the block the Trio run is on virtual time,
    whatever clock it has: time passes only when every task waits (also for a thread). The wall clock begins at
    2030-01-01 UTC. Limits that actors name are there, and have no bounds.

    Args:
        actor: the actor class.
        deps: as for `open_runtime`.
        store: as for `open_runtime`; `MemoryStore(check_encoding=True)` also refuses what could not be written to disk.
        seed: fixes the order of tasks and the `random` module during the block; the same seed gives the same run.

    Raises:
        TypeError: at once, for something that is no actor class, or dependencies that are missing.

    """
    kinds = kinds_of([actor], deps_given=deps is not NOTHING)
    faulty = FaultyStore(MemoryStore() if store is None else store)
    if store is not None and store.durable:
        # No time is to pass while something is written: a virtual clock would run ahead of the disk.
        store.inline = True  # type: ignore[attr-defined]

    @asynccontextmanager
    async def opened() -> AsyncGenerator[VirtualRuntime[Any]]:
        with virtual_time(), seeded(seed):
            async with open_hub(
                lambda hub, closing: VirtualRuntime[Any](hub, closing, faulty),
                kinds,
                None if deps is NOTHING else deps,
                store=cast("Any", faulty),  # whatever it lacks it passes on to the store behind it
                limits=unbounded_limits(),
                config=RuntimeConfig(),
                clock=lambda: TickClock(wall=lambda: BEGIN),
            ) as runtime:
                yield runtime

    return opened()
