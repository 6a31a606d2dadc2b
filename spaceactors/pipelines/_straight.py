"""The straight way: a stream whose items need nothing but some functions called one after the other.

What costs nothing by hand must cost little here: so there is a loop for each case, and all else is done once in so many
items. No clock, no channel, no cancel scope.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any, final

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    Function = Callable[..., Any]
    Course = Callable[["Stretch", Iterator[Any], Sequence[Any]], Awaitable[None]]

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

    __slots__ = ("at", "done", "limit")

    def __init__(self) -> None:
        # After how many the stretch ends; 0: no further item is to be taken.
        self.limit = AT_A_STRETCH
        self.done = 0
        # Which of the functions; None: between two items.
        self.at: int | None = None

    @property
    def is_last(self) -> bool:
        """Whether no further item is to be taken."""
        return not self.limit

    def end(self) -> None:
        """Take no further item."""
        self.limit = 0


async def go_straight(
    values: Iterator[Any],
    functions: Sequence[Function],
    waits: Sequence[Wait],
    stretch: Stretch,
    count: Callable[[Stretch], object],
) -> None:
    """Take all items, call the functions for each, and count what was done after each stretch; it can be ended."""
    course, prepared = _course(functions, set(waits))
    is_open = True
    while is_open and not stretch.is_last:
        stretch.done, stretch.at = 0, None
        try:
            await course(stretch, values, prepared)
            is_open = stretch.done == AT_A_STRETCH
        finally:
            count(stretch)
        await trio.lowlevel.checkpoint()


def _course(functions: Sequence[Function], waits: set[Wait]) -> tuple[Course, Sequence[Any]]:
    if len(waits) != 1 or Wait.PERHAPS in waits:
        return _call_and_look, functions
    unrolled = (*functions[:4], *[None] * (4 - len(functions)), tuple(enumerate(functions[4:], start=4)))
    return (_call_all if waits == {Wait.NEVER} else _await_all), unrolled


async def _call_all(stretch: Stretch, values: Iterator[Any], functions: Sequence[Any]) -> None:
    """Call functions that are not async: up to four, and a sequence of numbered ones.

    Those four are called by a line each, which CPython specialises: a loop over functions takes twice as long.
    """
    first, second, third, fourth, rest = functions
    done, at = 0, None
    try:
        for value in values:
            at = 0
            result = first(value)
            if second is not None:
                at = 1
                result = second(result)
                if third is not None:
                    at = 2
                    result = third(result)
                    if fourth is not None:
                        at = 3
                        result = fourth(result)
                        if rest:
                            for at, fn in rest:  # noqa: B007  (told in the end)
                                result = fn(result)
            done += 1
            at = None
            if done >= stretch.limit:
                break
    finally:
        stretch.done, stretch.at = done, at


async def _await_all(stretch: Stretch, values: Iterator[Any], functions: Sequence[Any]) -> None:
    """Call functions that are async, in the same way."""
    first, second, third, fourth, rest = functions
    done, at = 0, None
    try:
        for value in values:
            at = 0
            result = await first(value)
            if second is not None:
                at = 1
                result = await second(result)
                if third is not None:
                    at = 2
                    result = await third(result)
                    if fourth is not None:
                        at = 3
                        result = await fourth(result)
                        if rest:
                            for at, fn in rest:  # noqa: B007  (told in the end)
                                result = await fn(result)
            done += 1
            at = None
            if done >= stretch.limit:
                break
    finally:
        stretch.done, stretch.at = done, at


async def _call_and_look(stretch: Stretch, values: Iterator[Any], functions: Sequence[Function]) -> None:
    done, at = 0, None
    plain = set[type]()  # classes whose objects are surely nothing to await: asking each object costs more
    try:
        for value in values:
            at = 0
            for fn in functions:
                value = fn(value)  # noqa: PLW2901
                if value.__class__ not in plain:
                    value = await _settled(value, plain)  # noqa: PLW2901
                at += 1  # noqa: SIM113  (made anew for each item, that would cost more than the call)
            done += 1
            at = None
            if done >= stretch.limit:
                break
    finally:
        stretch.done, stretch.at = done, at


async def _settled(value: Any, plain: set[type]) -> Any:
    if hasattr(value, "__await__"):
        return await value
    plain.add(value.__class__)
    return value
