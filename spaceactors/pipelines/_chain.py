"""Functions that go to another context together, so that what is between them need not come back."""

from __future__ import annotations

from inspect import isawaitable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


def run_chain(
    chain: tuple[tuple[Callable[..., Any], str], ...], args: tuple[Any, ...], wanted: tuple[bool, ...]
) -> list[Any]:
    """Call functions one after the other, and return what is wanted of their results; errors tell whose they are."""
    values: list[Any] = []
    for (fn, where), is_wanted in zip(chain, wanted, strict=True):
        try:
            value = fn(*args)
            if isawaitable(value):  # of a function that did not say so
                value = _awaited(value)
        except Exception as error:
            error.add_note(where)
            raise
        values.append(value if is_wanted else None)
        args = (value,)
    return values


def _awaited(result: Awaitable[Any]) -> Any:
    import trio

    return trio.run(_await, result)


async def _await(result: Awaitable[Any]) -> Any:
    return await result
