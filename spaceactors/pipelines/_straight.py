"""The straight way: a stream whose items need nothing but some functions called one after the other.

What costs nothing by hand must cost little here: so there is a loop for each case, and all else is done once in so many
items. No clock, no channel, no cancel scope.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, final

import trio

from spaceactors.pipelines._functions import Wait

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    Function = Callable[..., Any]
    Course = Callable[
        [Iterator[Any], Sequence[Function], "Stretch", Callable[[int], object], Callable[[], Awaitable[None]]],
        Awaitable[None],
    ]

# Law 8: others run at least once in so many items.
AT_A_STRETCH = 64


@final
class Stretch:
    """How far a course goes, and in which function it was when it failed."""

    __slots__ = ("at", "limit")

    def __init__(self) -> None:
        # After how many items others run; 0: no further item is to be taken.
        self.limit = AT_A_STRETCH
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
    count: Callable[[int], object],
) -> None:
    """Take all items, call the functions for each, and count what is done before others run; it can be ended."""
    if not stretch.is_last:
        await _course(functions, set(waits))(values, functions, stretch, count, trio.lowlevel.checkpoint)
    await trio.lowlevel.checkpoint()


def _course(functions: Sequence[Function], waits: set[Wait]) -> Course:
    if waits == {Wait.NEVER}:
        return _unrolled(len(functions), "")
    return _unrolled(len(functions), "await ") if waits == {Wait.ALWAYS} else _call_and_look


_LOOP = """\
async def course(values, functions, stretch, count, checkpoint):
    {names}, = functions
    done = 0
    try:
        for value in values:
{calls}
            done += 1
            if done >= stretch.limit:
                count(done)
                done = 0
                await checkpoint()
                if not stretch.limit:
                    break
    except BaseException as error:
        stretch.at = place_of(error)
        raise
    finally:
        count(done)
"""
# The line of the first call.
_FIRST = 6


@cache
def _unrolled(count: int, wait: str) -> Course:
    """Write the loop for so many functions of one kind, each called by a line of its own.

    CPython specialises such lines: a loop over the functions takes twice as long. And the line of an error tells in
    which of them it was raised, so that nothing has to be noted meanwhile.
    """

    def place_of(error: BaseException) -> int | None:
        trace = error.__traceback__
        place = -1 if trace is None else trace.tb_lineno - _FIRST
        return place if 0 <= place < count else None

    calls = "\n".join(f"            value = {wait}f{number}(value)" for number in range(count))
    names = ", ".join(f"f{number}" for number in range(count))
    namespace: dict[str, Any] = {"place_of": place_of}
    exec(_LOOP.format(names=names, calls=calls), namespace)  # noqa: S102  (nothing of a user's goes into the text)
    course: Course = namespace["course"]
    return course


async def _call_and_look(
    values: Iterator[Any],
    functions: Sequence[Function],
    stretch: Stretch,
    count: Callable[[int], object],
    checkpoint: Callable[[], Awaitable[None]],
) -> None:
    """Call functions of which some are async, or may be; the same loop by hand."""
    done, at = 0, None
    plain = set[type]()  # classes whose objects are surely nothing to await: asking each object costs more
    try:
        for value in values:
            at = 0
            for fn in functions:
                value = fn(value)  # noqa: PLW2901  (one function's result is the next one's argument)
                if value.__class__ not in plain:
                    value = await _settled(value, plain)  # noqa: PLW2901
                at += 1  # noqa: SIM113  (made anew for each item, that would cost more than the call)
            done += 1
            at = None
            if done >= stretch.limit:
                count(done)
                done = 0
                await checkpoint()
                if stretch.is_last:
                    break
    finally:
        stretch.at = at
        count(done)


async def _settled(value: Any, plain: set[type]) -> Any:
    if hasattr(value, "__await__"):
        return await value
    plain.add(value.__class__)
    return value
