"""Functions at the same time, as if they were one: the first error ends them all, and comes out as it was raised."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from spaceactors.pipelines._ending import foremost, raise_as_it_is
from supervisors._block import without_cancellation

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable


async def at_once(functions: Iterable[Callable[[], Awaitable[object]]]) -> None:
    """Run them all to their ends. What a nursery would wrap in a group comes out bare."""
    failure: BaseException | None = None

    async def run(fn: Callable[[], Awaitable[object]]) -> None:
        nonlocal failure
        try:
            await fn()
        except BaseException as error:
            if without_cancellation(error) is None:
                raise
            failure = foremost(failure, error)
            nursery.cancel_scope.cancel()

    try:
        async with trio.open_nursery() as nursery:
            for fn in functions:
                nursery.start_soon(run, fn)
    finally:
        # Also if it is cancelled meanwhile: an error is never lost.
        if failure is not None:
            try:
                raise_as_it_is(failure)
            finally:
                failure = None  # it leads back here through its traceback
