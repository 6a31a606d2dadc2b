"""Virtual time for a part of a Trio run, and chance from a seed."""

from __future__ import annotations

import math
import random
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import trio
from trio.testing import MockClock

from supervisors.testing import seed_schedule

if TYPE_CHECKING:
    from collections.abc import Generator


@contextmanager
def virtual_time() -> Generator[None]:
    """Let time pass only when nothing else can happen, and then at once up to the next deadline.

    A run that has a `MockClock` keeps it. Any other run gets one for the block, which begins at the next whole second,
    so that sums of whole seconds are exact. Reaches into Trio's private parts, here and nowhere else.
    """
    runner = cast("Any", trio)._core._run.GLOBAL_RUN_CONTEXT.runner
    clock, threshold = runner.clock, runner.clock_autojump_threshold
    mine = clock if isinstance(clock, MockClock) else MockClock()
    if mine is not clock:
        mine.jump(math.ceil(clock.current_time()))
        runner.clock = mine
    mine.autojump_threshold = 0
    try:
        yield
    finally:
        mine.autojump_threshold = threshold
        runner.clock, runner.clock_autojump_threshold = clock, threshold


@contextmanager
def seeded(seed: int | None) -> Generator[None]:
    """Have the order of tasks and the `random` module follow from a seed; None leaves both to chance."""
    if seed is None:
        yield
        return
    before = random.getstate()
    random.seed(seed)
    try:
        with seed_schedule(seed):
            yield
    finally:
        random.setstate(before)
