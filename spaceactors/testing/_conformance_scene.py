"""Where a conformance case plays: runtimes one after the other on one place, and a clock that can be turned on."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar, final

import trio
from attrs import define, field
from trio.testing import MockClock, wait_all_tasks_blocked

from spaceactors._clock import TickClock
from spaceactors._config import RuntimeConfig
from spaceactors._runtime import Runtime, kinds_of, open_hub
from spaceactors.testing._conformance_world import World
from supervisors import Limits

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from spaceactors._port import Store

X = TypeVar("X", bound=BaseException)

# The wall clock when a case begins.
BEGIN = datetime(2030, 1, 1, tzinfo=UTC)

# Seconds of a real clock. The slowest case takes one second on a slow disk.
HANGING_AFTER = 40.0
# How long a case waits for what should happen at once: commits may be slow, never as slow.
HAPPENS_WITHIN = 15.0


@final
@define(eq=False)
class Scene:
    """One case's place, clock and world.

    Time goes as it does outside, because a store works in threads, for which a clock that jumps by itself does not
    wait. Whatever takes hours is skipped with `pass_time`.
    """

    make: Callable[[], Store]
    # The store of the life that is open, or of the next one.
    store: Store
    clock: MockClock
    # Cut off if the case waits for ever.
    guard: trio.CancelScope
    world: World = field(factory=World)
    # Whether `store` has had its life.
    _used: bool = False

    # ---- lives

    @asynccontextmanager
    async def open(self, *actors: type[Any], drain_timeout: float = 20.0) -> AsyncGenerator[Runtime[Any]]:
        """Open a runtime on the place, with a store made anew if it is a durable one; it ends with a drain."""
        runtime: Runtime[Any] | None = None
        with trio.CancelScope() as life:
            async with self._opened(actors, drain_timeout) as runtime:
                try:
                    yield runtime
                except BaseException:
                    # A turn that the case holds up would hold up its end too.
                    life.cancel()
                    raise
        report = None if runtime is None else runtime.report
        if report is not None:
            expect_between(0, report.seconds, HAPPENS_WITHIN, "the seconds that the runtime took to drain")

    @asynccontextmanager
    async def open_to_kill(self, *actors: type[Any]) -> AsyncGenerator[Runtime[Any]]:
        """Open a runtime that ends by a cancellation from outside: nobody has time to finish anything."""
        with trio.CancelScope() as life:
            async with self.open(*actors) as runtime:
                yield runtime
                life.cancel()
                await trio.lowlevel.checkpoint()

    @asynccontextmanager
    async def _opened(self, actors: tuple[type[Any], ...], drain_timeout: float) -> AsyncGenerator[Runtime[Any]]:
        if self._used and self.store.durable:
            self.store = self.make()
        self._used = True
        async with open_hub(
            Runtime[Any],
            kinds_of(actors, deps_given=True),
            self.world,
            store=self.store,
            limits=Limits(),
            config=RuntimeConfig(drain_timeout=drain_timeout),
            clock=self._wall_clock,
        ) as runtime:
            yield runtime

    def now(self) -> datetime:
        """Return the date."""
        return BEGIN + timedelta(seconds=trio.current_time())

    def _wall_clock(self) -> TickClock:
        return TickClock(wall=self.now)

    # ---- time

    async def pass_time(self, seconds: float) -> None:
        """Have so much time pass at once, when everything is at rest."""
        await self.rest()
        self.guard.deadline += seconds
        self.clock.jump(seconds)
        await self.rest()

    async def rest(self) -> None:
        """Wait until nothing moves: no task, and no thread for which one waits."""
        threads = trio.to_thread.current_default_thread_limiter()
        calm = 0
        while calm < 2:  # noqa: PLR2004 (a task may be about to begin its thread)
            await wait_all_tasks_blocked(0.002)
            calm = 0 if threads.borrowed_tokens else calm + 1

    async def until(self, happened: Callable[[], Awaitable[bool]], what: str) -> None:
        """Wait until something has happened, which may need a thread."""
        with soon():
            while not await happened():  # noqa: ASYNC110 (it asks a store, which may need a thread; nobody sets events)
                await trio.sleep(0.001)
            return
        raise AssertionError(f"in {HAPPENS_WITHIN:g} s it did not happen that {what}")

    async def until_seen(self, *texts: str) -> None:
        """Wait until the world has seen this much, in this order."""

        async def seen() -> bool:
            await trio.lowlevel.checkpoint()
            return len(self.world.seen) >= len(texts)

        await self.until(seen, f"the world saw {texts}; it saw {self.world.seen}")
        expect(tuple(self.world.seen), texts, "what the world saw")

    async def until_lines(self, clerk: Any, *lines: str) -> None:
        """Wait until a clerk's book has so many lines, and say what they should be."""

        async def written() -> bool:
            return len((await clerk.state()).lines) >= len(lines)

        await self.until(written, f"{clerk} wrote {lines}")
        await expect_lines(clerk, *lines)


def soon() -> trio.CancelScope:
    """Return a scope for waiting for what should happen at once, which ends the wait if it does not."""
    return trio.move_on_after(HAPPENS_WITHIN)


def expect(found: object, wanted: object, what: str) -> None:
    """Say what is wanted; raises `AssertionError` where something else was found."""
    if found != wanted:
        raise AssertionError(f"{what}: wanted {wanted!r}, found {found!r}")


def expect_that(holds: object, what: str) -> None:
    """Say what should hold; raises `AssertionError` where it does not."""
    if not holds:
        raise AssertionError(what)


def expect_between(least: float, found: float, most: float, what: str) -> None:
    """Say between what a number of seconds should be; raises `AssertionError` where it is not."""
    if not least <= found <= most:
        raise AssertionError(f"{what}: wanted {least:g} to {most:g}, found {found:g}")


async def expect_lines(clerk: Any, *lines: str) -> None:
    """Say what should be in a clerk's book now."""
    expect((await clerk.state()).lines, lines, f"the lines of {clerk}")


async def refused(wanted: type[X], call: Callable[..., Awaitable[Any]], *args: Any) -> X:
    """Return the error with which a call is refused; raises `AssertionError` where it is not."""
    try:
        found = await call(*args)
    except wanted as error:
        return error
    except Exception as error:
        raise AssertionError(f"wanted {wanted.__name__}, got {error!r}") from error
    raise AssertionError(f"wanted {wanted.__name__}, but the call returned {found!r}")
