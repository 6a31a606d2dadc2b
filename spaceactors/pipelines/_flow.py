"""How items go from place to place in a stream: where each goes next, and what waits where."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, final

import trio

from spaceactors.pipelines._call import INLINE
from spaceactors.pipelines._items import SKIPPED_KEPT, Item, SkippedItem, StageCount, StreamCount
from spaceactors.pipelines._stage import StageKind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from spaceactors.pipelines._call import StageCall
    from spaceactors.pipelines._graph import Graph
    from spaceactors.pipelines._stage import Stage
    from spaceactors.pipelines._world import World

    Channel = tuple[trio.MemorySendChannel[Item], trio.MemoryReceiveChannel[Item]]


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
        self.calls = calls
        self.world = world
        self.count = StreamCount(tuple(StageCount() for _ in graph.stages), trio.current_time())
        self.failure: Exception | None = None
        self.skipped = deque[SkippedItem](maxlen=SKIPPED_KEPT)
        # In front of each place, by the first stage there. Who sends to one has a clone, so that it ends with the last.
        self.inboxes: dict[int, Channel] = {
            group[0]: trio.open_memory_channel[Item](buffer) for group in groups if group[0]
        }
        self._place_of = {number: group[0] for group in groups for number in group}
        self.ends_in_sink = graph.stages[graph.output].kind is StageKind.SINK
        self.results: tuple[trio.MemorySendChannel[Any], trio.MemoryReceiveChannel[Any]]
        self.results = trio.open_memory_channel[Any](buffer)
        self._needed = graph.needed_by(graph.output)
        self._missing = [len(set(needs)) for needs in graph.upstream]

    def calls_context(self, stage: Stage[Any]) -> str:
        """Return in which context the source is iterated over."""
        return stage._rules.context or INLINE

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

    def take(self, value: Any) -> Item:
        """Make an item of what the source has given, and count it."""
        self.count.taken += 1
        return self.item(0, value)

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
        """Remember why the stream ends: the first reason."""
        if self.failure is None:
            self.failure = error

    def waiting(self) -> dict[int, int]:
        """Return how many items wait in front of each place, by its first stage."""
        return {number: inbox[1].statistics().current_buffer_used for number, inbox in self.inboxes.items()}

    def close_all(self) -> None:
        """Let nothing more in or out."""
        for channels in (*self.inboxes.values(), self.results):
            for channel in channels:
                channel.close()


@final
class Exits:
    """The ways out of one place: from each of its stages to those elsewhere that take its results."""

    def __init__(self, flow: Flow, members: Iterable[int]) -> None:
        self._flow = flow
        self._targets = {number: flow.next_of(number) for number in members}
        heads = {head for targets in self._targets.values() for head in targets}
        self._channels = {head: flow.inboxes[head][0].clone() for head in heads}
        delivers = flow.graph.output in self._targets and not flow.ends_in_sink
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
            if number == self._flow.graph.output:
                await self._deliver(item)

    async def _deliver(self, item: Item) -> None:
        """Give the result of an item to who reads, or to nobody."""
        count = self._flow.count
        count.delivered += item.weight
        if self._results is None:
            return
        try:
            await self._results.send(item.values[self._flow.graph.output])
        except trio.BrokenResourceError:
            count.unread += item.weight

    def close(self) -> None:
        """Tell those behind that nothing more comes from here."""
        for channel in self._channels.values():
            channel.close()
        if self._results is not None:
            self._results.close()
