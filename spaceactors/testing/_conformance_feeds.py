"""Conformance: what actors emit has positions and can be replayed, as far as it is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spaceactors._feed import Emitted, Gap
from spaceactors.testing._conformance_actors import Clerk, Said, Shouted, Sleepy
from spaceactors.testing._conformance_looks import replayed, said
from spaceactors.testing._conformance_scene import expect

if TYPE_CHECKING:
    from spaceactors.testing._conformance_scene import Scene


async def a_late_subscriber_reads_what_it_missed_and_goes_on(scene: Scene) -> None:
    """`subscribe(after=)` gives the events behind a position, then those to come, each once."""
    async with scene.open(Clerk) as runtime:
        ann = runtime.space("ann")
        await ann.ask(Clerk.say, "1", "2")
        await ann.ask(Clerk.say, "3")
        async with ann.subscribe(after=1) as feed:
            expect([await anext(feed) for _ in range(2)], said(2, 3), "the replayed events")
            await ann.ask(Clerk.say, "4")
            expect(await anext(feed), said(4)[0], "the next event")
        expect(await replayed(ann, 4), said(1, 2, 3, 4), "all events")


async def a_subscriber_without_a_position_reads_what_comes(scene: Scene) -> None:
    """`subscribe()` gives no earlier events."""
    async with scene.open(Clerk) as runtime:
        ann = runtime.space("ann")
        await ann.ask(Clerk.say, "1")
        async with ann.subscribe() as feed:
            await ann.ask(Clerk.say, "2")
            expect(await anext(feed), said(2)[0], "the first event")


async def what_is_gone_is_a_gap(scene: Scene) -> None:
    """Of more events than `feed_size` the oldest go; who asks for them is told how many."""
    async with scene.open(Clerk) as runtime:
        ann = runtime.space("ann")
        for number in range(1, 9):
            await ann.ask(Clerk.say, str(number))
        expect(await replayed(ann, 6), [Gap(3), *said(4, 5, 6, 7, 8)], "the events after none")
        expect(await replayed(ann, 2, after=6), said(7, 8), "the events after six")


async def events_can_be_chosen_by_their_class(scene: Scene) -> None:
    """`subscribe(Type)` leaves other events out, replayed or new."""
    async with scene.open(Clerk) as runtime:
        ann = runtime.space("ann")
        await ann.ask(Clerk.say, "1")
        await ann.ask(Clerk.shout, "a")
        async with ann.subscribe(Said, after=0) as feed:
            await ann.ask(Clerk.shout, "b")
            await ann.ask(Clerk.say, "4")
            expect([await anext(feed) for _ in range(2)], said(1, 4), "the events")


async def what_is_emitted_at_once_is_not_kept(scene: Scene) -> None:
    """`emit(now=True)` reaches who listens, has no position, and is never replayed."""
    async with scene.open(Clerk) as runtime:
        ann = runtime.space("ann")
        async with ann.subscribe() as feed:
            await ann.ask(Clerk.shout, "a")
            wanted = [Emitted(Shouted("a now"), None), Emitted(Shouted("a"), 1)]
            expect([await anext(feed) for _ in range(2)], wanted, "the events")
        expect(await replayed(ann, 1), wanted[1:], "the replayed event")


async def positions_go_on_after_passivation(scene: Scene) -> None:
    """A space that left memory has its events still, and the next has the next position."""
    async with scene.open(Sleepy) as runtime:
        ann = runtime.space("ann")
        await ann.ask(Sleepy.say, "1", "2")
        await scene.pass_time(700)
        expect((await runtime.snapshot()).live, 0, "the live spaces after idle minutes")
        expect(await replayed(ann, 2), said(1, 2), "the events")
        await ann.ask(Sleepy.say, "3")
        expect(await replayed(ann, 3), said(1, 2, 3), "the events after one more")
