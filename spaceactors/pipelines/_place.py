"""A place in which stages of a stream run: one supervised child, with as many workers as it works on items at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

import trio

from spaceactors.pipelines._call import INLINE, Note, called
from spaceactors.pipelines._flow import Exits
from spaceactors.pipelines._options import OnError
from spaceactors.pipelines._stage import StageKind
from spaceactors.pipelines._straight import Stretch, Wait, go_straight
from supervisors import draining

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from spaceactors.pipelines._call import StageCall
    from spaceactors.pipelines._flow import Flow
    from spaceactors.pipelines._items import Item


@final
class Place:
    """What the stages of one place do with an item, and where it goes then."""

    def __init__(self, flow: Flow, members: tuple[int, ...]) -> None:
        self.flow = flow
        self.members = members
        self.exits = Exits(flow, members)
        # Without the source, which nobody calls.
        self.working = tuple(number for number in members if number)
        self._beside = {number: flow.beside(number) for number in members}
        self._is_chain = all(len(takers) <= 1 for takers in self._beside.values())
        self._steps = self._straight_steps()
        self._chain = self._sent_whole()

    @property
    def name(self) -> str:
        """What it is called in the tree."""
        return " → ".join(self.flow.graph.stages[number].name for number in self.members)

    def _calls(self) -> list[StageCall]:
        return [call for number in self.working if (call := self.flow.calls[number]) is not None]

    def _straight_steps(self) -> tuple[tuple[int, Callable[..., Any], Wait], ...] | None:
        """Return the functions to call one after the other, if that is all there is to do, and how."""
        calls = self._calls()
        if not self._is_chain or not all(call.bare and call.context == INLINE for call in calls):
            return None
        numbered = zip(self.working, calls, strict=True)
        return tuple((number, call.stage._fn, call.stage._wait) for number, call in numbered)

    def _sent_whole(self) -> tuple[tuple[Callable[..., Any], str], ...] | None:
        """Return the functions that go to another context together, so that what is between them stays there."""
        calls = self._calls()
        if len(calls) < 2 or calls[0].context == INLINE or not self._is_chain:  # noqa: PLR2004
            return None
        if not all(call.bare and call.stage._wait is not Wait.ALWAYS for call in calls):
            return None
        return tuple((call.stage._fn, call.where) for call in calls)

    # ---- working on items

    async def work(self, item: Item) -> list[int]:
        """Do what is to be done here with an item; return the stages that have a result for it."""
        if self._steps is not None:
            await self._go_straight(item, self._steps)
            return [*self.working]
        if self._chain is not None:
            await self._go_whole(item, self._chain)
            return [*self.working]
        done: list[int] = []
        await self._follow(self.working[0], item, done)
        return sorted(done)

    async def _go_straight(self, item: Item, steps: tuple[tuple[int, Callable[..., Any], Wait], ...]) -> None:
        self._count(taken=1)
        args = self.flow.args(self.working[0], item) if self.working else ()
        for number, fn, wait in steps:
            try:
                args = (await fn(*args) if wait is Wait.ALWAYS else await called(fn, args),)
            except Exception as error:
                self.mark((number,), error)
                raise
            item.values[number] = args[0]
        self._count(done=1)

    async def _go_whole(self, item: Item, chain: tuple[tuple[Callable[..., Any], str], ...]) -> None:
        self._count(taken=1)
        call = self._calls()[0]
        args = self.flow.args(self.working[0], item)
        values = await self.flow.world.run_in(call.context, run_chain, (chain, args, self._wanted()))
        for number, value in zip(self.working, values, strict=True):
            item.values[number] = value
        self._count(done=1)

    def _wanted(self) -> tuple[bool, ...]:
        """Return which results of a chain somebody elsewhere takes; the others need not come back."""
        output = self.flow.graph.output
        return tuple(bool(self.flow.next_of(number)) or number == output for number in self.working)

    async def _follow(self, number: int, item: Item, done: list[int]) -> None:
        """Run a stage, and those beside it that take its result: at the same time, if they are several."""
        while await self._attempt(number, item):
            done.append(number)
            beside = self._beside[number]
            if len(beside) != 1:
                await self._follow_all(beside, item, done)
                return
            number = beside[0]

    async def _follow_all(self, numbers: tuple[int, ...], item: Item, done: list[int]) -> None:
        if not numbers:
            return
        async with trio.open_nursery() as nursery:
            for number in numbers:
                nursery.start_soon(self._follow_or_fail, number, item, done, nursery)
        if self.flow.failure is not None:
            raise self.flow.failure

    async def _follow_or_fail(self, number: int, item: Item, done: list[int], nursery: trio.Nursery) -> None:
        try:
            await self._follow(number, item, done)
        except Exception as error:
            self.flow.fail(error)
            nursery.cancel_scope.cancel()

    async def _attempt(self, number: int, item: Item) -> bool:
        """Run one stage for an item; tell whether it has a result."""
        flow = self.flow
        call = flow.calls[number]
        assert call is not None  # noqa: S101  (only the source has none)
        count = flow.count.stages[number]
        count.taken += 1
        try:
            item.values[number] = await call(flow.world, flow.args(number, item), Note())
        except Exception as error:
            if call.stage._rules.on_error is not OnError.SKIP:
                raise
            flow.skip(number, item, error)
            return False
        count.done += 1
        return True

    def _count(self, *, taken: int = 0, done: int = 0) -> None:
        for number in self.working:
            count = self.flow.count.stages[number]
            count.taken += taken
            count.done += done

    def mark(self, numbers: Sequence[int], error: Exception) -> None:
        """Have an error tell in which stage it was raised: in one of these, or in the source."""
        calls = [call for number in numbers if (call := self.flow.calls[number]) is not None]
        for call in calls:
            call.mark(error)
        if not calls:
            error.add_note(f"in the source of pipeline {self.flow.graph.name!r}")

    # ---- the straight way: all of a stream in one place

    @property
    def is_straight(self) -> bool:
        """Whether items need nothing but the functions called one after the other, and nobody behind takes them."""
        return self._steps is not None and self.exits.is_end

    async def run_straight(self, values: Iterable[Any], stretch: Stretch) -> None:
        """Take items and call the functions for each."""
        steps = self._steps or ()
        functions = [fn for _, fn, _ in steps]
        try:
            await go_straight(values, functions, [wait for _, _, wait in steps], stretch, self._count_stretch)
        except Exception as error:
            numbers = [number for number, fn, _ in steps if fn is stretch.at]
            self.mark(numbers, error)
            raise

    def _count_stretch(self, stretch: Stretch) -> None:
        self._count(taken=stretch.taken, done=stretch.done)
        self.flow.count.taken += stretch.taken
        self.flow.count.delivered += stretch.done


def run_chain(
    chain: tuple[tuple[Callable[..., Any], str], ...], args: tuple[Any, ...], wanted: tuple[bool, ...]
) -> list[Any]:
    """Call functions one after the other; it runs in another thread or process, and sends back what is wanted."""
    values: list[Any] = []
    for (fn, where), is_wanted in zip(chain, wanted, strict=True):
        try:
            args = (fn(*args),)
        except Exception as error:
            error.add_note(where)
            raise
        values.append(args[0] if is_wanted else None)
    return values


async def run_place(place: Place, workers: int, *, ordered: bool) -> None:
    """Work on all that comes; ends when those before have."""
    draining()  # it finishes what is inside when it is asked to stop: those before it have been asked first
    inbox = place.flow.inboxes[place.members[0]][1]
    try:
        if place.flow.graph.stages[place.members[0]].kind is StageKind.BATCH:
            await _gather(place, inbox)
        elif workers == 1:
            async for item in inbox:
                await place.exits.send(item, await place.work(item))
        else:
            await _share(place, inbox, workers, Turns() if ordered else None)
    finally:
        inbox.close()
        place.exits.close()


@final
class Turns:
    """Who comes when: results leave in the order in which their items were taken."""

    def __init__(self) -> None:
        self._taking = trio.Lock()
        self._taken = 0
        self._left = 0
        self._changed = trio.lowlevel.ParkingLot()

    async def take(self, inbox: trio.MemoryReceiveChannel[Item]) -> tuple[Item, int]:
        """Take the next item, and its number; one worker at a time, for Trio wakes those who wait in any order."""
        async with self._taking:
            item = await inbox.receive()
            number = self._taken
            self._taken += 1
            return item, number

    async def leave(self, number: int) -> None:
        """Wait until all before have left."""
        while self._left != number:
            await self._changed.park()

    def left(self) -> None:
        """Let the next one leave."""
        self._left += 1
        self._changed.unpark_all()


async def _share(place: Place, inbox: trio.MemoryReceiveChannel[Item], workers: int, turns: Turns | None) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(workers):
            nursery.start_soon(_in_any_order if turns is None else _in_order, place, inbox, turns)


async def _in_any_order(place: Place, inbox: trio.MemoryReceiveChannel[Item], _turns: Turns | None) -> None:
    while True:
        try:
            item = await inbox.receive()
        except trio.EndOfChannel:
            return
        await place.exits.send(item, await place.work(item))


async def _in_order(place: Place, inbox: trio.MemoryReceiveChannel[Item], turns: Turns | None) -> None:
    assert turns is not None  # noqa: S101
    while True:
        try:
            item, number = await turns.take(inbox)
        except trio.EndOfChannel:
            return
        done = await place.work(item)
        await turns.leave(number)
        await place.exits.send(item, done)
        turns.left()


async def _gather(place: Place, inbox: trio.MemoryReceiveChannel[Item]) -> None:
    """Make batches of what comes: when there are enough, or the first has waited long enough."""
    [number] = place.members
    size, max_wait = place.flow.graph.stages[number]._fn
    is_open = True
    while is_open:
        try:
            gathered = [await inbox.receive()]
        except trio.EndOfChannel:
            return
        with trio.move_on_after(max_wait):
            while len(gathered) < size:
                try:
                    gathered.append(await inbox.receive())
                except trio.EndOfChannel:
                    is_open = False
                    break
        await _send_batch(place, number, gathered)


async def _send_batch(place: Place, number: int, gathered: list[Item]) -> None:
    [needed] = place.flow.graph.upstream[number]
    count = place.flow.count.stages[number]
    count.taken += len(gathered)
    count.done += len(gathered)
    values = tuple(item.values[needed] for item in gathered)
    batch = place.flow.item(number, values, sum(item.weight for item in gathered))
    await place.exits.send(batch, (number,))
