"""What blocks say that are entered in the wrong way: `with` where it has to be `async with`, and the other way round.

Python says of such a slip which protocol is missing, but not what to write.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn


class AsyncOnly:
    """A block that is entered by `async with`."""

    __slots__ = ()

    if not TYPE_CHECKING:  # type checkers are to see the slip in the program

        def __enter__(self) -> NoReturn:
            """Say what to write."""
            raise TypeError("this block may wait: write `async with`, not `with`")

        def __exit__(self, *exc: object) -> None:
            """Be there, for Python looks for it before it enters."""


class SyncOnly:
    """A block that is entered by `with`, and never waits."""

    __slots__ = ()

    if not TYPE_CHECKING:

        async def __aenter__(self) -> NoReturn:
            """Say what to write."""
            raise TypeError("this block never waits: write `with`, not `async with`")

        async def __aexit__(self, *exc: object) -> None:
            """Be there, for Python looks for it before it enters."""
