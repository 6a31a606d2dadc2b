"""Functions at the same time, as if they were one: the first error ends them all, and comes out as it was raised."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from supervisors._block import without_cancellation

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable


async def at_once(functions: Iterable[Callable[[], Awaitable[object]]]) -> None:
    """Run them all to their ends. What a nursery would wrap in a group comes out bare."""
    failures: list[BaseException] = []

    async def run(fn: Callable[[], Awaitable[object]]) -> None:
        try:
            await fn()
        except BaseException as error:
            if without_cancellation(error) is None:
                raise
            failures.append(error)
            nursery.cancel_scope.cancel()

    try:
        async with trio.open_nursery() as nursery:
            for fn in functions:
                nursery.start_soon(run, fn)
    finally:
        # Also if it is cancelled meanwhile: an error is never lost.
        if failures:
            for other in failures[1:]:
                failures[0].add_note(f"another failed too: {type(other).__name__}: {other}")
            raise failures[0]
