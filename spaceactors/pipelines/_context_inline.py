"""The inline context: whoever calls makes the call."""

from __future__ import annotations

from inspect import isawaitable
from typing import TYPE_CHECKING, Any, final

import trio

from spaceactors.pipelines._context import ContextKind
from spaceactors.pipelines._context_base import BaseContext

if TYPE_CHECKING:
    from collections.abc import Callable

# Others run at least once in so many calls.
_CALLS = 64


@final
class InlineContext(BaseContext):
    """Runs functions in the tasks that call it, as many at once as there are such tasks."""

    def __init__(self, name: str) -> None:
        super().__init__(ContextKind.INLINE, name)
        self._made = 0

    async def _run(self, fn: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        self._made += 1
        if self._made % _CALLS:
            await trio.lowlevel.checkpoint_if_cancelled()
        else:
            await trio.lowlevel.checkpoint()
        self.check_open()
        result = fn(*args)
        if not isawaitable(result):
            return result
        with self._accepted():
            return await result
