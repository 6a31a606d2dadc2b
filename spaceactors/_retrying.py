"""Trying an async function again, by the rules of a `Retry`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from spaceactors._options import Retry


async def tried(once: Callable[[], Awaitable[Any]], retry: Retry | None) -> Any:
    """Call it as often as `retry` says; the last error comes out as it was raised."""
    if retry is None:
        return await once()
    from tenacity import (
        AsyncRetrying,
        retry_if_exception_type,
        stop_after_attempt,
        wait_none,
    )  # slow to import, and rarely used

    attempts = AsyncRetrying(
        stop=stop_after_attempt(retry.attempts),
        wait=wait_none() if retry.wait is None else retry.wait,
        retry=retry_if_exception_type(retry.on),
        sleep=trio.sleep,
        reraise=True,
    )
    return await attempts(once)
