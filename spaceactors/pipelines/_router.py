"""Routers: the right one of several pipelines for each request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar, cast, final

from attrs import define, frozen

from spaceactors.pipelines._call import called
from spaceactors.pipelines._functions import misfit_of
from spaceactors.pipelines._options import PipelineError
from spaceactors.pipelines._pipeline import Pipeline

if TYPE_CHECKING:
    from spaceactors.pipelines._context_pool import ContextPool
    from spaceactors.pipelines._results import PipelineResult
    from spaceactors.pipelines._tally import PipelineStatistics
    from spaceactors.pipelines._world import Step
    from supervisors import Limits

T = TypeVar("T")
I_contra = TypeVar("I_contra", contravariant=True)
O_co = TypeVar("O_co", covariant=True)

# Given a request, names a route; None: the default one.
Chooser: TypeAlias = Callable[[T], "str | Awaitable[str | None] | None"]


@final
class UnknownRoute(PipelineError, LookupError):
    """What was chosen is no route of this router, and there is no default one."""


@final
@frozen
class RouteStatistics:
    """What became of one route: how often it was chosen, taken by default, and what its pipeline did in all.

    `by_default` counts the requests for which nothing was chosen, or something that there is not, or whose chooser
    failed. The pipeline's figures are those of all its runs, by whatever way.
    """

    chosen: int
    by_default: int
    pipeline: PipelineStatistics


@define
class _Route:
    pipeline: Pipeline[Any, Any]
    chosen: int = 0
    by_default: int = 0


@final
class Router(Generic[I_contra, O_co]):
    """Several pipelines under names, and a function that chooses one of them for each request.

    When you would want it: short questions take a short way and hard ones a long one; or the way depends on who asks.
    The chooser may be a plain function, an async one, or a question to a space, such as
    `partial(desk.ask, Desk.choose)`.

        router = Router({"quick": quick, "deep": deep}, choose=by_length, default="quick")
        result = await router.run("why is the sky blue?")

    In a handler write `await self.run_pipeline(router, text)`: the choice is then a step of the turn too.

    Args:
        routes: the pipelines, by name.
        choose: given the request, returns the name of a route, or None for the default one.
        default: the route for requests for which nothing is chosen, something that there is not, or whose chooser
            failed; None: these are errors.
        name: what it is called in errors and steps.

    """

    def __init__(
        self,
        routes: Mapping[str, Pipeline[I_contra, O_co]],
        /,
        *,
        choose: Chooser[I_contra],
        default: str | None = None,
        name: str = "router",
    ) -> None:
        if not isinstance(cast("object", routes), Mapping) or not routes:
            msg = f"routes must be pipelines by name, such as {{'quick': quick, 'deep': deep}}, not {routes!r}"
            raise TypeError(msg)
        for route, pipeline in routes.items():
            if not isinstance(cast("object", route), str):
                msg = f"routes are named by texts, not by {route!r}"
                raise TypeError(msg)
            if not isinstance(cast("object", pipeline), Pipeline):
                msg = f"route {route!r} must be a Pipeline, not {pipeline!r}"
                raise TypeError(msg)
        if not callable(cast("object", choose)):
            msg = f"choose must be a function that names a route, not {choose!r}"
            raise TypeError(msg)
        taken = misfit_of(choose, 1)
        if taken is not None:
            msg = f"choose must be a function of the request, and {choose!r} takes {taken}"
            raise TypeError(msg)
        if default is not None and default not in routes:
            msg = f"the default {default!r} is no route: there are {_quoted(routes)}"
            raise ValueError(msg)
        self._routes = {route: _Route(pipeline) for route, pipeline in routes.items()}
        self._choose = choose
        self._default = default
        self._name = name

    def __repr__(self) -> str:
        """Return its name and its routes."""
        return f"<router {self._name!r}: {_quoted(self._routes)}>"

    @property
    def name(self) -> str:
        """What it is called."""
        return self._name

    @property
    def routes(self) -> Mapping[str, Pipeline[I_contra, O_co]]:
        """The pipelines, by name."""
        return {route: one.pipeline for route, one in self._routes.items()}

    def statistics(self) -> Mapping[str, RouteStatistics]:
        """Return what became of each route so far."""
        return {
            route: RouteStatistics(one.chosen, one.by_default, one.pipeline.statistics())
            for route, one in self._routes.items()
        }

    async def choose(self, value: I_contra, /) -> str:
        """Return the name of the route for a request, and count the choice.

        Raises:
            UnknownRoute: nothing was chosen that there is, and there is no default.
            Exception: what the chooser raised, if there is no default.

        """
        try:
            chosen = await called(self._choose, (value,))
        except Exception:
            if self._default is None:
                raise
            chosen = None
        route = self._routes.get(chosen) if isinstance(chosen, str) else None
        if route is not None:
            route.chosen += 1
            return cast("str", chosen)
        if self._default is None:
            msg = f"{chosen!r} is no route of {self._name!r}: there are {_quoted(self._routes)}; or give it a default"
            raise UnknownRoute(msg)
        self._routes[self._default].by_default += 1
        return self._default

    async def run(
        self,
        value: I_contra,
        /,
        *,
        sequential: bool = False,
        limits: Limits | None = None,
        contexts: ContextPool | None = None,
    ) -> PipelineResult[O_co]:
        """Run the pipeline that is chosen; `result.name` tells which. Arguments and errors as of `Pipeline.run`."""
        route = await self.choose(value)
        return await self._routes[route].pipeline.run(value, sequential=sequential, limits=limits, contexts=contexts)

    async def run_in_turn(
        self,
        value: I_contra,
        step: Step,
        name: str,
        /,
        *,
        limits: Limits | None = None,
        contexts: ContextPool | None = None,
    ) -> PipelineResult[O_co]:
        """Run what is chosen with each stage as a step. Internal: actors call it, by `self.run_pipeline(...)`."""

        async def choose() -> str:
            return await self.choose(value)

        # Recorded: a second try that chose otherwise would ask for other steps.
        route = await step(f"{name}/choose", choose)
        if route not in self._routes:
            msg = f"{route!r} was chosen by an earlier try, and is no route of {self._name!r} now: keep it"
            raise UnknownRoute(msg)
        pipeline, own = self._routes[route].pipeline, f"{name}/{route}"
        return await pipeline.run_in_turn(value, step, own, limits=limits, contexts=contexts)


def _quoted(names: Mapping[str, object]) -> str:
    return ", ".join(map(repr, names))
