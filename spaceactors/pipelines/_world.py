"""Where the stages of a run get what is scarce: tokens of limits, and places to run in."""

from __future__ import annotations

from contextlib import AsyncExitStack, nullcontext
from typing import TYPE_CHECKING, Any, TypeAlias, cast, final

from attrs import evolve, frozen

from spaceactors import _acting as acting
from spaceactors._turn import here
from supervisors import Limits

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from spaceactors.pipelines._context_pool import ContextPool


# Runs a piece of work under a name, or gives back what an earlier try of the same message recorded of it.
Step: TypeAlias = "Callable[[str, Callable[[], Awaitable[Any]]], Awaitable[Any]]"


@final
class Recorder:
    """Has what stages give recorded as steps, and knows which errors were those of recording, and not of a stage."""

    def __init__(self, step: Step) -> None:
        self._step = step
        self._failure: Exception | None = None

    async def __call__(self, name: str, work: Callable[[], Awaitable[Any]]) -> Any:
        raised: BaseException | None = None

        async def watched() -> Any:
            nonlocal raised
            try:
                return await work()
            except BaseException as error:
                raised = error
                raise

        try:
            return await self._step(name, watched)
        except Exception as error:
            if error is not raised:
                self._failure = error
            raise
        finally:
            raised = None  # it leads back here through its traceback

    def raised(self, error: Exception) -> bool:
        """Tell whether an error was that of recording."""
        return self._failure is error


@final
@frozen(eq=False)
class World:
    """What the stages of one run, or of one stream, are given by those around them."""

    # None: those of the runtime in whose turn it runs, if it runs in one.
    limits: Limits | None = None
    # Open; None where all stages run inline.
    contexts: ContextPool | None = None
    # How a durable turn records what its stages gave, and how the names of its records begin.
    step: Recorder | None = None
    prefix: str = ""
    # Whether requests run their stages one after the other.
    sequential: bool = False

    def inside(self, name: str) -> World:
        """Return it for the stages of a nested pipeline."""
        return evolve(self, prefix=f"{self.prefix}{name}/")

    def could_not_record(self, error: Exception) -> bool:
        """Tell whether an error is that of those who record, here or in a pipeline inside, and of no stage."""
        return self.step is not None and self.step.raised(error)

    def hold(self, names: tuple[str, ...]) -> AbstractAsyncContextManager[None]:
        """Hold limits; in a turn in the name of its space, lending the turn's own token meanwhile."""
        place = here.get()
        if place is not None and (place.background or place.in_turn()):
            return acting.hold(place.space, names, None, self.limits)
        return nullcontext() if self.limits is None else self.limits.hold(*names)

    def check_limits(self, names: frozenset[str]) -> None:
        """Look up limits, where there are any. Raises `UnknownLimit`, and `TypeError` for what are no limits."""
        if self.limits is not None and not isinstance(cast("object", self.limits), Limits):
            msg = f"limits must be a Limits such as Limits([Limit('llm', 3)]), or None, not {self.limits!r}"
            raise TypeError(msg)
        place = here.get()
        limits = self.limits
        if limits is None and place is not None and (place.background or place.in_turn()):
            limits = place.space.runtime.limits
        if limits is not None and names:
            limits.free(*names)  # refuses what it does not know

    async def run_in(self, context: str, fn: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        """Run a function in a context; a turn that waits for one lends its token meanwhile."""
        assert self.contexts is not None  # noqa: S101  (looked up before anything runs)
        async with AsyncExitStack() as held:
            async with acting.lending():
                place = await held.enter_async_context(self.contexts.use(context))
            return await place.run(fn, *args)
