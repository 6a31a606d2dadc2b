"""One at a time for a space's own row: what is written of it is worked out from what is in memory.

A turn's commit and a change from outside both write where the history goes on. Worked out side by side, the later
would set it back to where the earlier began.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from spaceactors._store import Row


async def take(row: Row) -> None:
    """Wait, in the order of arrival, until nobody else writes the row."""
    if not row.held:
        row.held = True
        return
    mine = trio.Event()
    if row.line is None:
        row.line = deque()
    row.line.append(mine)
    try:
        await mine.wait()
    except BaseException:
        if mine.is_set():
            free(row)
        else:
            row.line.remove(mine)
        raise


def free(row: Row) -> None:
    """Let the next one write."""
    if row.line:
        row.line.popleft().set()
    else:
        row.held, row.line = False, None
