"""One stage called once: a fallback around what is remembered, around tries, each under limits and a timeout."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, final

import trio

from spaceactors._retrying import tried
from spaceactors.pipelines._context import ContextKind
from spaceactors.pipelines._flights import Flights
from spaceactors.pipelines._results import StageOutcome
from spaceactors.pipelines._stage import StageKind

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from spaceactors.pipelines._stage import Stage
    from spaceactors.pipelines._tally import StageTally
    from spaceactors.pipelines._world import World

INLINE = ContextKind.INLINE.value


@final
class Note:
    """What is worth knowing of a call besides its value."""

    __slots__ = ("error", "outcome")

    def __init__(self) -> None:
        self.outcome = StageOutcome.DONE
        # Why the fallback was needed.
        self.error: BaseException | None = None


@final
class StageCall:
    """A stage of one pipeline, ready to be called."""

    __slots__ = ("_flights", "_pipeline", "context", "stage", "tally", "where")

    def __init__(self, pipeline: str, stage: Stage[Any], context: str, tally: StageTally) -> None:
        self.stage = stage
        self.context = context
        self.tally = tally
        self._pipeline = pipeline
        self.where = f"in stage {stage.name!r} of pipeline {pipeline!r}"
        cache = stage._rules.cache
        self._flights = None if cache is None else Flights(stage.name, cache)

    @property
    def bare(self) -> bool:
        """Whether nothing but its function is to be called."""
        stage = self.stage
        is_function = stage.kind in {StageKind.STEP, StageKind.SINK}
        return is_function and stage._rules.plain and stage._fallback is None

    async def __call__(self, world: World, args: tuple[Any, ...], note: Note) -> Any:
        """Call it; what it raises is told where it was raised."""
        try:
            return await self._or_fallback(world, args, note)
        except Exception as error:
            self.mark(error)
            raise

    def mark(self, error: BaseException) -> None:
        """Have an error tell in which stage it was raised."""
        note_once(error, self.where)

    def within(self, context: str) -> StageCall:
        """Return the call for another context; what the stage remembers is the same."""
        return self._again(context, self.tally)

    def apart(self, tally: StageTally) -> StageCall:
        """Return the call for a stream, which counts for itself; what the stage remembers is the same."""
        return self._again(self.context, tally)

    def _again(self, context: str, tally: StageTally) -> StageCall:
        other = StageCall(self._pipeline, self.stage, context, tally)
        other._flights = self._flights
        return other

    async def _or_fallback(self, world: World, args: tuple[Any, ...], note: Note) -> Any:
        fallback = self.stage._fallback
        try:
            return await self._remembered(world, args, note)
        except Exception as error:
            if fallback is None:
                raise
            value = await called(fallback, args)
            note.outcome, note.error = StageOutcome.FALLBACK, error
            self.tally.fallbacks += 1
            return value

    async def _remembered(self, world: World, args: tuple[Any, ...], note: Note) -> Any:
        if self._flights is None:
            return await self._tried(world, args)
        value, known = await self._flights.get(args, partial(self._tried, world, args))
        if known:
            note.outcome = StageOutcome.CACHED
            self.tally.cached += 1
        return value

    async def _tried(self, world: World, args: tuple[Any, ...]) -> Any:
        retry = self.stage._rules.retry
        if retry is None:
            return await self._once(world, args)
        tries = 0

        async def once() -> Any:
            nonlocal tries
            tries += 1
            self.tally.retries += tries > 1
            return await self._once(world, args)

        return await tried(once, retry)

    async def _once(self, world: World, args: tuple[Any, ...]) -> Any:
        limits = self.stage._rules.limits
        if not limits:
            return await self._timed(world, args)
        async with world.hold(limits):
            return await self._timed(world, args)

    async def _timed(self, world: World, args: tuple[Any, ...]) -> Any:
        timeout = self.stage._rules.timeout
        if timeout is None:
            return await self._in_place(world, args)
        with trio.fail_after(timeout):
            return await self._in_place(world, args)

    async def _in_place(self, world: World, args: tuple[Any, ...]) -> Any:
        stage = self.stage
        if stage.kind is StageKind.NESTED:
            return (await stage._fn.run_stages(args[0], world.inside(stage.name))).value
        if stage.kind is StageKind.BATCH:
            return (args[0],)
        if self.context == INLINE:
            return await called(stage._fn, args)
        return await world.run_in(self.context, stage._fn, args)


def note_once(error: BaseException, note: str) -> None:
    """Add a note to an error, unless it is there: many may wait for one error, and some are raised again and again."""
    if note not in getattr(error, "__notes__", ()):
        error.add_note(note)


async def called(fn: Callable[..., Awaitable[Any] | Any], args: tuple[Any, ...]) -> Any:
    """Call a function that may be async or not."""
    value = fn(*args)
    return await value if hasattr(value, "__await__") else value
