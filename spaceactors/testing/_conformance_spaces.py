"""Conformance: which spaces there are, what their first message fixed, and how they go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spaceactors._errors import ActorCrashed, BadCall, SpaceQuarantined
from spaceactors._feed import Emitted
from spaceactors._options import SpaceStatus
from spaceactors.testing._conformance_actors import Book, Clerk, Counter, Fragile, Said, Teller
from spaceactors.testing._conformance_looks import known
from spaceactors.testing._conformance_scene import expect, expect_lines, expect_that, refused

if TYPE_CHECKING:
    from spaceactors.testing._conformance_scene import Scene


async def an_unknown_space_has_its_first_state(scene: Scene) -> None:
    """A space without messages has the class's first state, no history, and is on no list; looking begins nothing."""
    async with scene.open(Clerk) as runtime:
        ann = runtime.space("ann")
        expect(await ann.state(), Book(), "the state")
        history = (len(ann.history), len(await ann.history.recent(3)), len(await ann.history.read()))
        expect(history, (0, 0, 0), "entries of the history, recent, and read")
        async with ann.subscribe(after=0):
            pass
        expect(await known(runtime, Clerk), [], "the known spaces")
        expect((await runtime.snapshot()).live, 0, "the live spaces")


async def a_known_space_is_read_without_being_live(scene: Scene) -> None:
    """State and history of a space can be read when its activation is over, and that starts none."""
    async with scene.open(Clerk) as runtime:
        ann = runtime.space("ann")
        await ann.ask(Clerk.everything, "a")
        await ann.stop()
        await runtime.space("ann-other").stop()
        await expect_lines(ann, "a")
        expect(await ann.history.recent(9), ["a"], "the history")
        expect((await runtime.snapshot()).live, 0, "the live spaces")


async def the_next_activation_goes_on_from_the_stored_state(scene: Scene) -> None:
    """After a stop the next message finds state, history, events and positions as they were."""
    async with scene.open(Clerk) as runtime:
        ann = runtime.space("ann")
        await ann.ask(Clerk.everything, "a")
        await ann.stop()
        expect(await ann.ask(Clerk.add, "b"), 2, "the answer")
        expect(await ann.ask(Clerk.log, "c"), (2, ["a", "c"], [1, 2]), "the history")
        await ann.ask(Clerk.say, "d")
        async with ann.subscribe(after=1) as feed:
            expect(await anext(feed), Emitted(Said("d"), 2), "the second event")


async def spaces_are_listed_by_pages(scene: Scene) -> None:
    """Pages show every space of a kind once, in the order of ids, and no other kind's."""
    names = [" ", "B", "a", "a b", "a/b", "b", "z", "é", "%", "_", "'", "日本"]
    async with scene.open(Clerk, Counter) as runtime:
        for name in names:
            await runtime.space(name, Clerk).ask(Clerk.touch)
        await runtime.space("aa", Counter).ask(Counter.add, 1)
        found = await known(runtime, Clerk, limit=5)
        while page := await known(runtime, Clerk, after=found[-1], limit=5):
            found += page
        expect(found, sorted(names), "the ids")
        expect(await known(runtime, Counter), ["aa"], "those of the other kind")


async def a_stopped_space_is_listed_as_stopped(scene: Scene) -> None:
    """Spaces can be listed by what they are doing."""
    async with scene.open(Clerk) as runtime:
        for name in ("ann", "ben"):
            await runtime.space(name).ask(Clerk.touch)
        await runtime.space("ann").stop()
        expect(await known(runtime, Clerk, status=SpaceStatus.STOPPED), ["ann"], "the stopped spaces")
        expect(await known(runtime, Clerk, status=SpaceStatus.LIVE), ["ben"], "the live spaces")
        expect((await runtime.space("ann").info()).status, SpaceStatus.STOPPED, "the status of the stopped one")


async def names_are_taken_to_the_letter(scene: Scene) -> None:
    """Ids that differ in case, blanks or accents are different spaces; long ones and odd ones are welcome."""
    names = ["ann", "Ann", "ann ", " ann", "añn", "an\u0303n", "x" * 900, "a\nb", "🙂", "\\", '"; --']
    async with scene.open(Clerk) as runtime:
        for number, name in enumerate(names):
            expect(await runtime.space(name).ask(Clerk.add, str(number)), 1, f"the first answer of {name!r}")
        for number, name in enumerate(names):
            await expect_lines(runtime.space(name), str(number))


async def a_deleted_space_is_as_if_it_had_never_been(scene: Scene) -> None:
    """Deletion takes state, history, events, counters, timers, ids and dead letters; the next message begins anew."""
    async with scene.open(Clerk) as runtime:
        ann = runtime.space("ann")
        await ann.with_options(message_id="m").ask(Clerk.everything, "a")
        await refused(ActorCrashed, ann.ask, Clerk.crash, "b")
        await ann.delete()
        expect(await ann.state(), Book(), "the state")
        expect((len(ann.history), len(await ann.history.read())), (0, 0), "entries of the history, and read")
        expect(await runtime.dead_letters.list(), [], "the dead letters")
        expect(await known(runtime, Clerk), ["ann-other"], "the known spaces")
        expect(await ann.with_options(message_id="m").ask(Clerk.add, "c"), 1, "the answer to the same id")
        expect(await ann.ask(Clerk.log, "d"), (1, ["d"], [1]), "the history after it")
        await ann.ask(Clerk.say, "e")
        async with ann.subscribe(after=0) as feed:
            expect(await anext(feed), Emitted(Said("e"), 1), "the first event")
        await scene.pass_time(100)
        await expect_lines(ann, "c")


async def deleting_leaves_the_neighbours_alone(scene: Scene) -> None:
    """Only the space of that kind and id goes."""
    async with scene.open(Clerk, Counter) as runtime:
        for name in ("ann", "ann2", "an"):
            await runtime.space(name, Clerk).ask(Clerk.log, name)
        await runtime.space("ann", Counter).ask(Counter.add, 7)
        await runtime.space("ann", Clerk).delete()
        expect(await known(runtime, Clerk), ["an", "ann2"], "the spaces left")
        expect(await runtime.space("ann2", Clerk).history.recent(9), ["ann2"], "the neighbour's history")
        expect(await runtime.space("ann", Counter).state(), 7, "the state of the other kind")


async def an_unknown_space_can_be_deleted(scene: Scene) -> None:
    """Deleting what is not there does nothing."""
    async with scene.open(Clerk) as runtime:
        await runtime.space("ann").delete()
        expect(await runtime.space("ann").ask(Clerk.add, "a"), 1, "the answer")


async def the_first_message_fixes_the_group(scene: Scene) -> None:
    """A handle with another group than the space's is refused, also when the space is not live."""
    async with scene.open(Clerk) as runtime:
        await runtime.space("ann", group="g").ask(Clerk.add, "a")
        await refused(BadCall, runtime.space("ann", group="h").ask, Clerk.add, "b")
        await runtime.space("ann").stop()
        await refused(BadCall, runtime.space("ann", group="h").ask, Clerk.add, "b")
        expect(await runtime.space("ann", group="g").ask(Clerk.add, "c"), 2, "the answer in the right group")
        expect(await runtime.space("ann").ask(Clerk.add, "d"), 3, "the answer without a group")


async def the_class_may_fix_the_group(scene: Scene) -> None:
    """Without a group at the handle the class's `group_of` counts."""
    async with scene.open(Teller) as runtime:
        await runtime.space("x1").ask(Teller.touch)
        await refused(BadCall, runtime.space("x1", group="y").ask, Teller.touch)
        await runtime.space("x1", group="x").ask(Teller.touch)


async def a_quarantined_space_keeps_its_messages(scene: Scene) -> None:
    """Over its budget a space takes nothing new, keeps what waits, and goes on when it is revived."""
    scene.world.close_gate()
    async with scene.open(Fragile) as runtime:
        ann = runtime.space("ann")
        await ann.send(Fragile.pass_gate, "a")
        await ann.send(Fragile.crash, "b")
        await ann.send(Fragile.add, "c")
        scene.world.open_gate()

        async def quarantined() -> bool:
            return (await ann.info()).status is SpaceStatus.QUARANTINED

        await scene.until(quarantined, "the space is quarantined")
        info = await ann.info()
        expect_that(isinstance(info.last_error, ValueError), f"the last error is the crash, not {info.last_error!r}")
        await refused(SpaceQuarantined, ann.send, Fragile.add, "d")
        await expect_lines(ann, "a")
        await ann.revive()
        await scene.until_lines(ann, "a", "c")
