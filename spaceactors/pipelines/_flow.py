"""How items go from place to place in a stream: where each goes next, and what waits where."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, final

import trio

from spaceactors.pipelines._items import SKIPPED_KEPT, Item, SkippedItem, StageCount, StreamCount
from spaceactors.pipelines._stage import StageKind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from spaceactors.pipelines._call import StageCall
    from spaceactors.pipelines._graph import Graph
    from spaceactors.pipelines._world import World

    Channel = tuple[trio.MemorySendChannel[Item], trio.MemoryReceiveChannel[Item]]
    # Results, each with how many items of the source it stands for.
    Results = tuple[trio.MemorySendChannel[tuple[Any, int]], trio.MemoryReceiveChannel[tuple[Any, int]]]


@final
class Flow:
    """The state of one stream: its channels, its counters, and why it ended."""

    def __init__(
        self,
        graph: Graph,
        calls: tuple[StageCall | None, ...],
        groups: tuple[tuple[int, ...], ...],
        world: World,
        buffer: int,
    ) -> None:
        self.graph = graph
        self.world = world
        self.count = StreamCount([StageCount() for _ in graph.stages], trio.current_time())
        counts = self.count.stages
        self.calls = tuple(call and call.apart(count.tally) for call, count in zip(calls, counts, strict=True))
        self.failure: Exception | None = None
        # Around all that runs: once something has failed, the rest is cut off.
        self.scope = trio.CancelScope()
        self.skipped = deque[SkippedItem](maxlen=SKIPPED_KEPT)
        # In front of each place, by the first stage there. Who sends to one has a clone, so that it ends with the last.
        self.inboxes: dict[int, Channel] = {
            group[0]: trio.open_memory_channel[Item](buffer) for group in groups if group[0]
        }
        self._place_of = {number: group[0] for group in groups for number in group}
        self.ends_in_sink = graph.stages[graph.output].kind is StageKind.SINK
        if self.ends_in_sink:
            self.count.read = None
        # Of all places.
        self.exits: list[Exits] = []
        self.results: Results = trio.open_memory_channel[tuple[Any, int]](buffer)
        self._needed = graph.needed_by(graph.output)
        self._missing = [len(set(needs)) for needs in graph.upstream]

    def next_of(self, number: int) -> tuple[int, ...]:
        """Return the stages in other places that take a stage's results."""
        own = self._place_of.get(number, 0)
        return tuple(one for one in self.graph.downstream[number] if self._place_of[one] != own)

    def beside(self, number: int) -> tuple[int, ...]:
        """Return the stages in the same place that take a stage's results."""
        own = self._place_of.get(number, 0)
        return tuple(one for one in self.graph.downstream[number] if self._place_of[one] == own)

    def item(self, number: int, value: Any, weight: int = 1) -> Item:
        """Make an item of what the source, or a batch, has given."""
        values: list[Any] = [None] * len(self.graph.stages)
        values[number] = value
        return Item(values, self._missing.copy(), weight)

    def args(self, number: int, item: Item) -> tuple[Any, ...]:
        """Return what a stage is called with."""
        return tuple([item.values[one] for one in self.graph.upstream[number]])

    def skip(self, number: int, item: Item, error: BaseException) -> None:
        """Take note that a stage was skipped for an item."""
        self.count.stages[number].skipped += 1
        name = self.graph.stages[number].name
        self.skipped.append(SkippedItem(name, error, self.args(number, item), item.weight))
        if number in self._needed and not item.gone:
            item.gone = True
            self.count.skipped += item.weight

    def fail(self, error: Exception) -> None:
        """Remember the first reason why the stream ends, and cut off what is inside; note the others at it."""
        if self.failure is None:
            self.failure = error
            self.scope.cancel()
        elif self.failure is not error:
            self.failure.add_note(f"something else failed too: {type(error).__name__}: {error}")

    def waiting(self) -> dict[int, int]:
        """Return how many items wait in front of each place, by its first stage."""
        return {number: inbox[1].statistics().current_buffer_used for number, inbox in self.inboxes.items()}

    def close_exits(self) -> None:
        """Have nothing more go from any place to another, or out: nobody gives any more."""
        for exits in self.exits:
            exits.close()

    def close_all(self) -> None:
        """Let nothing more in or out."""
        self.close_exits()
        for _, receive in self.inboxes.values():
            receive.close()
        self.results[1].close()


@final
class Exits:
    """The ways out of one place: from each of its stages to those elsewhere that take its results."""

    def __init__(self, flow: Flow, members: Iterable[int]) -> None:
        flow.exits.append(self)
        self._flow = flow
        self._output = flow.graph.output
        self._targets = {number: flow.next_of(number) for number in members}
        heads = {head for targets in self._targets.values() for head in targets}
        self._channels = {head: flow.inboxes[head][0].clone() for head in heads}
        delivers = self._output in self._targets and not flow.ends_in_sink
        self._results = flow.results[0].clone() if delivers else None

    @property
    def is_end(self) -> bool:
        """Whether nothing leaves this place: what is done here is done, and counts at most."""
        return not self._channels and self._results is None

    async def send(self, item: Item, done: Iterable[int]) -> None:
        """Send an item on, with what some stages of this place have given for it."""
        for number in done:
            for head in self._targets[number]:
                item.missing[head] -= 1
                if not item.missing[head]:
                    await self._channels[head].send(item)
            if number == self._output:
                await self._deliver(item)

    async def _deliver(self, item: Item) -> None:
        """Give the result of an item to who reads, or to nobody."""
        self._flow.count.delivered += item.weight
        if self._results is None:
            return
        with suppress(trio.BrokenResourceError):  # nobody reads any more
            await self._results.send((item.values[self._output], item.weight))

    def close(self) -> None:
        """Tell those behind that nothing more comes from here: only if all that came is done.

        Who is cut off says nothing, so that nobody takes that for the end, and makes a batch of what there is.
        """
        for channel in self._channels.values():
            channel.close()
        if self._results is not None:
            self._results.close()
