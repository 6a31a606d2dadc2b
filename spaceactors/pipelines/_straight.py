"""The straight way: a stream whose items need nothing but some functions called one after the other.

What costs nothing by hand must cost little here: so there is a loop for each case, and all else is done once in so many
items. No clock, no channel, no cancel scope.
"""

from __future__ import annotations

from enum import Enum
from itertools import islice
from typing import TYPE_CHECKING, Any, final

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

    Function = Callable[..., Any]
    Course = Callable[["Stretch", Iterator[Any], Sequence["Function"]], Awaitable[None]]

# Law 8: others run at least once in so many items.
AT_A_STRETCH = 64


@final
class Wait(Enum):
    """Whether what a function returns is to be awaited: known from how it is declared, or to be looked at each time."""

    ALWAYS = "always"
    NEVER = "never"
    PERHAPS = "perhaps"


@final
class Stretch:
    """Some items in a row: how many are done, and in which function one more is, or was when it failed."""

    __slots__ = ("at", "done", "is_over")

    def __init__(self) -> None:
        self.done = 0
        self.at: Function | None = None
        # Whether to take no further item.
        self.is_over = False

    @property
    def taken(self) -> int:
        """How many items were taken."""
        return self.done + (self.at is not None)


async def go_straight(
    values: Iterable[Any],
    functions: Sequence[Function],
    waits: Sequence[Wait],
    stretch: Stretch,
    count: Callable[[Stretch], object],
) -> None:
    """Take all items, call the functions for each, and count what was done after each stretch; it can be ended."""
    course = _course(set(waits))
    iterator = iter(values)
    is_open = True
    while is_open:
        stretch.done, stretch.at = 0, None
        try:
            await course(stretch, iterator, functions)
            is_open = stretch.done == AT_A_STRETCH and not stretch.is_over
        finally:
            count(stretch)
        await trio.lowlevel.checkpoint()


def _course(waits: set[Wait]) -> Course:
    if waits == {Wait.NEVER}:
        return _call_all
    return _await_all if waits == {Wait.ALWAYS} else _call_and_look


async def _call_all(stretch: Stretch, values: Iterator[Any], functions: Sequence[Function]) -> None:
    done, fn = 0, None
    try:
        for value in islice(values, AT_A_STRETCH):
            for fn in functions:
                value = fn(value)  # noqa: PLW2901  (one function's result is the next one's argument)
            done += 1
            fn = None
            if stretch.is_over:
                break
    finally:
        stretch.done, stretch.at = done, fn


async def _await_all(stretch: Stretch, values: Iterator[Any], functions: Sequence[Function]) -> None:
    done, fn = 0, None
    try:
        for value in islice(values, AT_A_STRETCH):
            for fn in functions:
                value = await fn(value)  # noqa: PLW2901
            done += 1
            fn = None
            if stretch.is_over:
                break
    finally:
        stretch.done, stretch.at = done, fn


async def _call_and_look(stretch: Stretch, values: Iterator[Any], functions: Sequence[Function]) -> None:
    done, fn = 0, None
    plain = set[type]()  # classes whose objects are surely nothing to await: asking each object costs more
    try:
        for value in islice(values, AT_A_STRETCH):
            for fn in functions:
                value = fn(value)  # noqa: PLW2901
                if value.__class__ not in plain:
                    value = await _settled(value, plain)  # noqa: PLW2901
            done += 1
            fn = None
            if stretch.is_over:
                break
    finally:
        stretch.done, stretch.at = done, fn


async def _settled(value: Any, plain: set[type]) -> Any:
    if hasattr(value, "__await__"):
        return await value
    plain.add(value.__class__)
    return value
