"""Which runtimes are open, and which one code belongs to that was given none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from spaceactors._turn import here

if TYPE_CHECKING:
    from spaceactors._hub import Hub

# The runtimes that are open in this Trio run: an unpickled handle is bound by the only one.
open_hubs: trio.lowlevel.RunVar[tuple[Hub, ...]] = trio.lowlevel.RunVar("spaceactors.open_hubs", ())


def runtime_here() -> Hub | None:
    """Return the runtime whose actor is calling, or the only one that is open."""
    place = here.get()
    if place is not None:
        return place.space.runtime
    hubs = open_hubs.get()
    return hubs[0] if len(hubs) == 1 else None
