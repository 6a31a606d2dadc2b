"""The subscribers of all spaces; a subscription outlives the activations of its space."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, final

import trio

from spaceactors._feed import Emitted, Feed, FeedReader
from spaceactors._turn import here, works_in

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from spaceactors._handle import SpaceHandle
    from spaceactors._hub import Hub
    from spaceactors._space import Space


@final
class Feeds:
    """Passes what actors emit to their subscribers."""

    __slots__ = ("_readers", "_runtime")

    def __init__(self, runtime: Hub) -> None:
        self._runtime = runtime
        # Subscribers by space; a space without any has no entry.
        self._readers: dict[tuple[str, str], list[FeedReader]] = {}

    def put(self, space: Space, value: object) -> None:
        """Give a committed event its position and pass it on."""
        if space.row.feed is None:
            space.row.feed = Feed(space.options.feed_size)
        self._pass_on(space, space.row.feed.add(value))

    def put_stored(self, space: Space, value: object, position: int) -> None:
        """Pass on a committed event that the store keeps under its position."""
        event = Emitted(value, position)
        for reader in self._readers.get((space.kind.name, space.id), ()):
            if position > reader.seen:
                reader.put(event)

    def begin_anew(self, space: Space) -> None:
        """Take note that the events of a deleted space are gone: positions begin at 1 again."""
        for reader in self._readers.get((space.kind.name, space.id), ()):
            reader.seen = 0

    def put_now(self, space: Space, value: object) -> None:
        """Pass an event on that has no position and is never replayed."""
        self._pass_on(space, Emitted(value, None))

    def _pass_on(self, space: Space, event: Emitted[Any]) -> None:
        for reader in self._readers.get((space.kind.name, space.id), ()):
            reader.put(event)

    def close(self) -> None:
        """End all subscriptions after what they have in their buffers."""
        for readers in self._readers.values():
            for reader in readers:
                reader.close()

    @asynccontextmanager
    async def subscribe(
        self, handle: SpaceHandle[Any], event: type[Any] | None, after: int | None
    ) -> AsyncGenerator[FeedReader]:
        """Read what a space emits, from now on or from behind a position."""
        _check_type(event)
        await trio.lowlevel.checkpoint()
        reader = FeedReader(event, self._runtime.by_name[handle.kind].options.feed_size)
        place = here.get()
        if place is not None and works_in(self._runtime, place) and not place.background:
            reader.pace = place.space.worker_of(place).pace
        self._readers.setdefault(handle.key, []).append(reader)
        try:
            if after is not None:
                # What comes while the store is read is in the buffer already.
                reader.begin_with(await self._runtime.store.replay(handle.kind, handle.id, after))
            if self._runtime.closed:
                reader.close()
            yield reader
        finally:
            readers = self._readers[handle.key]
            readers.remove(reader)
            if not readers:
                del self._readers[handle.key]


def _check_type(event: type[Any] | None) -> None:
    """Refuse here, with the subscriber, what would otherwise fail with the emitter. Raises `TypeError`."""
    try:
        isinstance(None, event or object)
    except TypeError:
        msg = f"subscribe({event!r}): events are chosen by a class, such as list (not list[int]), or a union of classes"
        raise TypeError(msg) from None
