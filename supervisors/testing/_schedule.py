"""Trio's scheduler from a seed."""

from __future__ import annotations

import random
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import trio

if TYPE_CHECKING:
    from collections.abc import Generator


@contextmanager
def seed_schedule(seed: int) -> Generator[None]:
    """Make Trio run ready tasks in an order that follows from `seed`, in all `trio.run` calls inside the block.

    Trio shuffles what is ready at the same moment; with a seed from a property-based test each example runs a schedule
    of its own, and a failing one can be run again. Reaches into Trio's private parts, here and nowhere else.
    """
    run = cast("Any", trio)._core._run
    before = run._r, run._ALLOW_DETERMINISTIC_SCHEDULING
    run._r, run._ALLOW_DETERMINISTIC_SCHEDULING = random.Random(seed), True
    try:
        yield
    finally:
        run._r, run._ALLOW_DETERMINISTIC_SCHEDULING = before
