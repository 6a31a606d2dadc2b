"""Opening one context of any kind."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from spaceactors.pipelines._context import ContextKind, kind_named
from spaceactors.pipelines._context_inline import InlineContext
from spaceactors.pipelines._context_interpreter import interpreter_context
from spaceactors.pipelines._context_process import ProcessContext
from spaceactors.pipelines._context_thread import ThreadContext

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from contextlib import AbstractAsyncContextManager

    from spaceactors.pipelines._context import Context
    from spaceactors.pipelines._context_base import BaseContext


def open_context(kind: ContextKind | str, /, *, name: str | None = None) -> AbstractAsyncContextManager[Context]:
    """Open one context; its worker starts with the first call.

    When you would want it: to have one function run elsewhere. Many share contexts in an `open_context_pool`.

        async with open_context("process") as context:
            total = await context.run(count_words, text)

    At the end of the block it is joined: what was accepted finishes. If the block fails or is cancelled it is
    terminated. Either way nothing of it runs any more after the block.

    Args:
        kind: a `ContextKind` or its name.
        name: for errors; the kind's name if it is left out.

    Raises:
        ContextUnavailable: what the kind needs is not installed.

    """
    found = kind_named(kind)
    return opened(found, found.value if name is None else name)


@asynccontextmanager
async def opened(kind: ContextKind, name: str) -> AsyncGenerator[BaseContext]:
    """As `open_context`, with all that a pool needs to know."""
    context = _made(kind, name)
    try:
        yield context
        await context.join()
    except BaseException:
        context.terminate()
        raise
    finally:
        await context.close()


def _made(kind: ContextKind, name: str) -> BaseContext:
    match kind:
        case ContextKind.INLINE:
            return InlineContext(name)
        case ContextKind.THREAD:
            return ThreadContext(name)
        case ContextKind.PROCESS:
            return ProcessContext(name)
        case ContextKind.INTERPRETER:
            return interpreter_context(name)
