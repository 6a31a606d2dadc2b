"""The turn of a streaming handler: its items go to the reader, at the reader's pace."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from trio.lowlevel import checkpoint

from spaceactors._pace import lent
from spaceactors._waits import Wait, reading

if TYPE_CHECKING:
    from spaceactors._message import Message
    from spaceactors._stream import Reader
    from spaceactors._worker import Worker


async def drive(worker: Worker, message: Message) -> None:
    """Run a streaming handler, and hand each item to the reader, if there is one."""
    reader = None if message.extra is None else message.extra.reader
    items = message.handler.function(worker.space.actor, *message.args, **message.kwargs)
    async with aclosing(items):
        async for item in items:
            if reader is None:
                worker.space.runtime.stalls.progressed(worker)
                await checkpoint()
            else:
                await _hand_over(worker, reader, item)


async def _hand_over(worker: Worker, reader: Reader, item: object) -> None:
    """Pass an item on; while a turn that reads is behind, it may need this lane to come on."""
    space = worker.space
    behind = reading(worker) if space.lane is not None and reader.nearly_full else None
    if space.lane is None or behind is None:
        async with lent(worker if reader.nearly_full else None):
            await reader.put(item)
        return
    wait = Wait(behind, None, space.clock.now)
    worker.waits.append(wait)
    space.lane.lend(worker)
    # The token comes back last: held while it waits for the lane, it would be missing to who has that.
    async with lent(worker):
        try:
            await reader.put(item)
        finally:
            worker.waits.remove(wait)
            await space.lane.resume(worker)
