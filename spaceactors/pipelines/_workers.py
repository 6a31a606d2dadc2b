"""Who works in a place of a stream: as many as it has items at once, in order or not; or one who gathers batches."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, final

import trio

from spaceactors.pipelines._at_once import at_once
from spaceactors.pipelines._stage import StageKind
from spaceactors.pipelines._straight import AT_A_STRETCH
from supervisors import draining

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from spaceactors.pipelines._items import Item
    from spaceactors.pipelines._place import Place

    Inbox = trio.MemoryReceiveChannel[Item]


async def run_place(place: Place) -> None:
    """Work on all that comes; ends when those before have."""
    draining()  # it finishes what is inside when it is asked to stop: those before it have been asked first
    inbox = place.flow.inboxes[place.members[0]][1]
    first = place.flow.graph.stages[place.members[0]]
    workers = first._rules.concurrency
    if first.kind is StageKind.BATCH:
        await _gather(place, inbox, *first._fn)
    elif workers == 1:
        await _work(place, inbox)
    elif first._rules.ordered:
        turns = Turns()
        await at_once([partial(_work_in_order, place, inbox, turns)] * workers)
    else:
        await at_once([partial(_work, place, inbox)] * workers)
    place.exits.close()


async def _work(place: Place, inbox: AsyncIterator[Item]) -> None:
    async for item in inbox:
        await place.exits.send(item, await place.work(item))


@final
class Turns:
    """Who comes when: results leave in the order in which their items were taken."""

    def __init__(self) -> None:
        self._taking = trio.Lock()
        self._taken = 0
        self._left = 0
        self._changed = trio.lowlevel.ParkingLot()

    async def take(self, inbox: Inbox) -> tuple[Item, int]:
        """Take the next item, and its number; one worker at a time, for Trio wakes those who wait in any order."""
        async with self._taking:
            item = await inbox.receive()
            number = self._taken
            self._taken += 1
            return item, number

    async def wait(self, number: int) -> None:
        """Wait until all before have left."""
        while self._left != number:
            await self._changed.park()

    def left(self) -> None:
        """Let the next one leave."""
        self._left += 1
        self._changed.unpark_all()


async def _work_in_order(place: Place, inbox: Inbox, turns: Turns) -> None:
    while True:
        try:
            item, number = await turns.take(inbox)
        except trio.EndOfChannel:
            return
        done = await place.work(item)
        await turns.wait(number)
        await place.exits.send(item, done)
        turns.left()


async def _gather(place: Place, inbox: Inbox, size: int, max_wait: float) -> None:
    """Make batches of what comes: when there are enough, or the first has waited long enough."""
    async for item in inbox:
        gathered = [item]
        with trio.move_on_after(max_wait):
            await _gather_more(inbox, gathered, size)
        await _send_batch(place, gathered)


async def _gather_more(inbox: Inbox, gathered: list[Item], size: int) -> None:
    try:
        while len(gathered) < size:
            if not len(gathered) % AT_A_STRETCH:
                await trio.lowlevel.cancel_shielded_checkpoint()
            try:
                # What is there already is in, however short the time.
                gathered.append(inbox.receive_nowait())
            except trio.WouldBlock:
                gathered.append(await inbox.receive())
    except trio.EndOfChannel:
        pass


async def _send_batch(place: Place, gathered: list[Item]) -> None:
    [number] = place.members
    [needed] = place.flow.graph.upstream[number]
    count = place.flow.count.stages[number]
    count.taken += len(gathered)
    count.done += len(gathered)
    values = tuple(item.values[needed] for item in gathered)
    batch = place.flow.item(number, values, sum(item.weight for item in gathered))
    await place.exits.send(batch, (number,))
