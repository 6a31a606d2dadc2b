"""What the pipelines and routers have done that an actor's module names: for who talks to the actor."""

import sys
from typing import Any

from spaceactors import Actor
from spaceactors.cli._report import plural
from spaceactors.pipelines import Pipeline, Router


def figures_of(actor: type[Actor[Any]]) -> list[str]:
    """Lines about each router and each pipeline to which the module of the actor gives a name."""
    lines: list[str] = []
    for one in {id(thing): thing for thing in vars(sys.modules[actor.__module__]).values()}.values():
        if isinstance(one, Router):
            lines.extend(_routed(one))  # pyright: ignore[reportUnknownArgumentType]
        elif isinstance(one, Pipeline):
            lines.extend(f"{one.name}: {one.statistics()}".splitlines())
    return lines


def _routed(router: Router[Any, Any]) -> list[str]:
    lines: list[str] = []
    for route, one in router.statistics().items():
        by_default = f", {one.by_default} of them by default" if one.by_default else ""
        lines.append(f"{router.name} → {route}: {plural(one.chosen + one.by_default, 'request')}{by_default}")
    return lines
