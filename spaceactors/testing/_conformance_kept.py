"""Conformance of durable stores: what was kept is there when the place is opened again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spaceactors._errors import ActorCrashed, BadCall, MessageReturned, Rejected, SpaceQuarantined
from spaceactors._feed import Gap
from spaceactors._options import SpaceStatus
from spaceactors.testing._conformance_actors import Book, Brief, Clerk, Counter, Forgetful, Fragile, Sleepy, Tryer
from spaceactors.testing._conformance_looks import (
    DECIDED,
    FORM,
    PAID,
    YES,
    counters,
    known,
    letters,
    replayed,
    said,
    the_question,
    writing,
)
from spaceactors.testing._conformance_scene import expect, expect_lines, expect_that, refused
from spaceactors.testing._conformance_turns import NOTE, types_in

if TYPE_CHECKING:
    from spaceactors.testing._conformance_scene import Scene


async def what_turns_have_kept_is_there(scene: Scene) -> None:
    """State, version, history, counters and events are as they were, and go on from there."""
    async with scene.open_to_kill(Clerk) as runtime:
        ann = runtime.space("ann")
        await ann.ask(Clerk.add, "a")
        await ann.ask(Clerk.log, "x", "y")
        await ann.ask(Clerk.say, "1", "2")
        await ann.ask(Clerk.tally, "cups", 2.5)
    async with scene.open(Clerk) as runtime:
        ann = runtime.space("ann")
        await expect_lines(ann, "a")
        expect(await scene.store.version(ann), 1, "the version")
        expect([(one.position, one.value) for one in await ann.history.read()], [(1, "x"), (2, "y")], "the history")
        expect(await replayed(ann, 2), said(1, 2), "the events")
        expect(await ann.ask(Clerk.add, "b"), 2, "the answer")
        expect(await ann.ask(Clerk.log, "z"), (3, ["y", "z"], [1, 2, 3]), "the history after one more")
        await ann.ask(Clerk.say, "3")
        expect(await replayed(ann, 3), said(1, 2, 3), "the events after one more")
        await ann.ask(Clerk.tally, "cups", 1)
        expect(await counters(runtime, ann), {"cups": 3.5}, "the counters")


async def values_come_back_from_another_life(scene: Scene) -> None:
    """States, entries and remembered answers come back equal and of the same types."""
    async with scene.open_to_kill(Clerk) as runtime:
        await runtime.space("ann").with_options(message_id="m").ask(Clerk.keep, NOTE)
    async with scene.open(Clerk) as runtime:
        ann = runtime.space("ann").with_options(message_id="m")
        [entry] = await ann.history.recent(1)
        answer = await ann.ask(Clerk.keep, NOTE)
        for what, found in (("state", (await ann.state()).note), ("entry", entry), ("answer", answer)):
            expect(found, NOTE, f"the {what}")
            expect(types_in(found), types_in(NOTE), f"the types in the {what}")


async def large_values_come_back(scene: Scene) -> None:
    """A million characters are a value like any other."""
    text = "0123456789✓" * 100_000
    async with scene.open_to_kill(Clerk) as runtime:
        await runtime.space("ann").with_options(message_id="m").ask(Clerk.keep, text)
    async with scene.open(Clerk) as runtime:
        ann = runtime.space("ann").with_options(message_id="m")
        found = ((await ann.state()).note, *await ann.history.recent(1), await ann.ask(Clerk.keep, text))
        expect_that(found == (text, text, text), "state, entry and answer are as they were")


async def lost_events_are_a_gap_in_the_next_life(scene: Scene) -> None:
    """Of more events than `feed_size` the newest come back, and who asks for more is told how many are gone."""
    async with scene.open_to_kill(Clerk) as runtime:
        for number in range(1, 9):
            await runtime.space("ann").ask(Clerk.say, str(number))
    async with scene.open(Clerk) as runtime:
        ann = runtime.space("ann")
        expect(await replayed(ann, 6), [Gap(3), *said(4, 5, 6, 7, 8)], "the events after none")
        await ann.ask(Clerk.say, "9")
        expect(await replayed(ann, 6), [Gap(4), *said(5, 6, 7, 8, 9)], "the events after one more")


async def entries_keep_their_dates(scene: Scene) -> None:
    """An entry has the date of its turn, not that of the reopening."""
    async with scene.open_to_kill(Clerk) as runtime:
        ann = runtime.space("ann")
        await ann.ask(Clerk.log, "a")
        [before] = await ann.history.read()
    await scene.pass_time(86_400)
    async with scene.open(Clerk) as runtime:
        [after] = await runtime.space("ann").history.read()
        expect(after, before, "the entry")


async def known_spaces_are_listed(scene: Scene) -> None:
    """All spaces are known after a reopening, none is live, and the stopped ones are stopped still."""
    async with scene.open_to_kill(Clerk, Counter) as runtime:
        for name in "cab":
            await runtime.space(name, Clerk).ask(Clerk.add, name)
        await runtime.space("b", Clerk).stop()
        await runtime.space("d", Counter).ask(Counter.add, 1)
    async with scene.open(Clerk, Counter) as runtime:
        expect(await known(runtime, Clerk), ["a", "b", "c"], "the ids")
        expect(await known(runtime, Clerk, after="a", limit=1), ["b"], "a page of ids")
        expect(await known(runtime, Clerk, status=SpaceStatus.STOPPED), ["b"], "the stopped spaces")
        expect(await known(runtime, Counter), ["d"], "the ids of the other kind")
        expect((await runtime.snapshot()).live, 0, "the live spaces")


async def a_space_exists_from_its_first_message(scene: Scene) -> None:
    """A space whose turns changed nothing is known all the same."""
    async with scene.open_to_kill(Clerk) as runtime:
        for name in "ba":
            await runtime.space(name).ask(Clerk.touch)
    async with scene.open(Clerk) as runtime:
        expect(await known(runtime, Clerk), ["a", "b"], "the ids")


async def the_group_is_fixed_for_ever(scene: Scene) -> None:
    """The group of a space's first message counts in its next life too."""
    async with scene.open_to_kill(Clerk) as runtime:
        await runtime.space("ann", group="g").ask(Clerk.touch)
    async with scene.open(Clerk) as runtime:
        await refused(BadCall, runtime.space("ann", group="h").ask, Clerk.touch)
        await runtime.space("ann", group="g").ask(Clerk.touch)


async def trimmed_entries_stay_away(scene: Scene) -> None:
    """Only the newest entries come back where only these are kept; positions go on."""
    async with scene.open_to_kill(Brief) as runtime:
        for number in range(1, 6):
            await runtime.space("ann").ask(Brief.log, number)
    async with scene.open(Brief) as runtime:
        ann = runtime.space("ann")
        expect([(one.position, one.value) for one in await ann.history.read()], [(3, 3), (4, 4), (5, 5)], "the entries")
        expect(len(ann.history), 3, "the length")
        expect((await ann.ask(Brief.log, 6))[2], [3, 4, 5, 6], "the positions in the next turn")
        expect([one.position for one in await ann.history.read()], [4, 5, 6], "the positions after it")


async def ids_are_remembered(scene: Scene) -> None:
    """The same id gets the recorded answer or rejection, without a turn; another call under it is refused."""
    async with scene.open_to_kill(Clerk) as runtime:
        ann = runtime.space("ann")
        await ann.with_options(message_id="m").ask(Clerk.add, "a")
        await refused(Rejected, ann.with_options(message_id="r").ask, Clerk.reject, "b")
    async with scene.open(Clerk) as runtime:
        ann = runtime.space("ann")
        expect(await ann.with_options(message_id="m").ask(Clerk.add, "a"), 1, "the answer")
        error = await refused(Rejected, ann.with_options(message_id="r").ask, Clerk.reject, "b")
        expect(error.reason, {"because": "b"}, "the reason")
        await refused(BadCall, ann.with_options(message_id="m").ask, Clerk.add, "b")
        await refused(BadCall, ann.with_options(message_id="m").send, Clerk.crash, "a")
        await expect_lines(ann, "a")
        expect((await runtime.snapshot()).ledger.accepted, 0, "the accepted messages")


async def only_so_many_ids_come_back(scene: Scene) -> None:
    """With a `dedupe_limit` of two, the two ids that were settled last are known in the next life, and no other."""
    async with scene.open_to_kill(Forgetful) as runtime:
        for name in "abcd":
            await runtime.space("ann").with_options(message_id=name).ask(Forgetful.add, name)
    async with scene.open(Forgetful) as runtime:
        ann = runtime.space("ann")
        found = [await ann.with_options(message_id=name).ask(Forgetful.add, name) for name in "dcb"]
        expect(found, [4, 3, 5], "the answers, two remembered and one new")


async def ids_of_turns_that_change_nothing_are_remembered(scene: Scene) -> None:
    """A turn that leaves nothing but its answer has its id remembered too, be it the space's first."""
    async with scene.open_to_kill(Clerk) as runtime:
        await runtime.space("ann").with_options(message_id="m").ask(Clerk.look)
    async with scene.open(Clerk) as runtime:
        ann = runtime.space("ann")
        await ann.ask(Clerk.add, "a")
        expect(await ann.with_options(message_id="m").ask(Clerk.look), (), "the remembered answer")
        await refused(BadCall, ann.with_options(message_id="m").ask, Clerk.touch)


async def ids_of_sends_are_remembered(scene: Scene) -> None:
    """A `send` under an id that was handled in an earlier life returns the id and is nothing new."""
    async with scene.open_to_kill(Clerk) as runtime:
        ann = runtime.space("ann").with_options(message_id="m")
        await ann.send(Clerk.add, "a")
        await scene.until_lines(ann, "a")
    async with scene.open(Clerk) as runtime:
        ann = runtime.space("ann").with_options(message_id="m")
        expect(await ann.send(Clerk.add, "a"), "m", "the id")
        await scene.rest()
        await expect_lines(ann, "a")


async def dead_letters_are_kept(scene: Scene) -> None:
    """Dead letters come back with message, error and attempts, in their order, and can be sent again or discarded."""
    scene.world.failures = 3
    async with scene.open_to_kill(Clerk, Tryer) as runtime:
        await refused(ActorCrashed, runtime.space("t", Tryer).with_options(message_id="1").ask, Tryer.stumble, "a")
        for number in "23":
            space = runtime.space("c", Clerk).with_options(message_id=number, headers={"by": "me"})
            await refused(ActorCrashed, space.ask, Clerk.crash, number)
    async with scene.open_to_kill(Clerk, Tryer) as runtime:
        expect(await letters(runtime), ["1", "2", "3"], "the letters")
        expect(await letters(runtime, actor=Clerk), ["2", "3"], "those of one class")
        first, second, _ = await runtime.dead_letters.list()
        found = (first.space, first.message.call, first.message.args, first.attempts)
        expect(found, (runtime.space("t", Tryer), "stumble", ("a",), 3), "space, call, arguments and attempts")
        expect_that("away" in str(first.error), f"the error says what happened, not {first.error!r}")
        expect_that(isinstance(first.error, ConnectionError), f"the error is of its class, not {first.error!r}")
        expect(dict(second.message.headers), {"by": "me"}, "the headers")
        expect(await runtime.dead_letters.resend("1"), 1, "the letters sent")
        expect(await runtime.dead_letters.discard("2"), 1, "the letters discarded")
        await scene.until_lines(runtime.space("t", Tryer), "a")
    async with scene.open(Clerk, Tryer) as runtime:
        expect(await letters(runtime), ["3"], "the letters left")
        await expect_lines(runtime.space("t", Tryer), "a")


async def a_deleted_space_stays_deleted(scene: Scene) -> None:
    """Nothing of a deleted space comes back."""
    async with scene.open_to_kill(Clerk) as runtime:
        ann = runtime.space("ann")
        await ann.with_options(message_id="m").ask(Clerk.everything, "a")
        await refused(ActorCrashed, ann.ask, Clerk.crash, "b")
        await ann.delete()
    async with scene.open(Clerk) as runtime:
        ann = runtime.space("ann")
        expect(await known(runtime, Clerk), ["ann-other"], "the known spaces")
        expect((await ann.state(), len(await ann.history.read())), (Book(), 0), "state and entries")
        expect(await letters(runtime), [], "the dead letters")
        await scene.pass_time(100)
        expect(await ann.with_options(message_id="m").ask(Clerk.add, "c"), 1, "the answer to the same id")
        expect(await scene.store.version(ann), 1, "the version")


async def a_returned_message_stays_returned(scene: Scene) -> None:
    """What a stop gave back to its sender does not run in a later life."""
    scene.world.close_gate()
    async with scene.open_to_kill(Clerk) as runtime:
        ann = runtime.space("ann")
        await ann.send(Clerk.pass_gate, "a")
        await ann.send(Clerk.add, "b")
        await scene.until_seen("begin a 1")
        await ann.kill()
    scene.world.open_gate()
    async with scene.open(Clerk) as runtime:
        ann = runtime.space("ann")
        expect(await ann.ask(Clerk.add, "c"), 1, "the answer")
        await expect_lines(ann, "c")
        for letter in await runtime.dead_letters.list():
            expect_that(isinstance(letter.error, MessageReturned), f"only what was returned is a letter: {letter}")


async def updates_from_outside_are_kept(scene: Scene) -> None:
    """States and versions of all three kinds of updates come back."""
    async with scene.open_to_kill(Clerk) as runtime:
        ann, ben = runtime.space("ann"), runtime.space("ben")
        await scene.store.update(ann, writing("a"))
        await scene.store.update_if(ann, 1, writing("b"))
        await scene.store.update_many({ann: writing("c"), ben: writing("c")})
    async with scene.open(Clerk) as runtime:
        ann, ben = runtime.space("ann"), runtime.space("ben")
        await expect_lines(ann, "a", "b", "c")
        await expect_lines(ben, "c")
        expect([await scene.store.version(one) for one in (ann, ben)], [3, 1], "the versions")
        expect(await ann.ask(Clerk.add, "d"), 4, "the actor's answer")


async def a_quarantine_is_kept(scene: Scene) -> None:
    """A quarantined space is quarantined in its next life, with its messages; revived, it runs them, and stays well."""
    scene.world.close_gate()
    async with scene.open_to_kill(Fragile) as runtime:
        ann = runtime.space("ann")
        await ann.send(Fragile.pass_gate, "a")
        await ann.send(Fragile.crash, "b")
        await ann.send(Fragile.add, "c")
        scene.world.open_gate()

        async def quarantined() -> bool:
            return (await ann.info()).status is SpaceStatus.QUARANTINED

        await scene.until(quarantined, "the space is quarantined")
        await scene.rest()
    async with scene.open_to_kill(Fragile) as runtime:
        ann = runtime.space("ann")
        await scene.rest()
        expect(await known(runtime, Fragile, status=SpaceStatus.QUARANTINED), ["ann"], "the quarantined spaces")
        expect((await ann.info()).status, SpaceStatus.QUARANTINED, "the status")
        await refused(SpaceQuarantined, ann.send, Fragile.add, "d")
        await expect_lines(ann, "a")
        await ann.revive()
        await scene.until_lines(ann, "a", "c")
    async with scene.open(Fragile) as runtime:
        expect(await runtime.space("ann").ask(Fragile.add, "e"), 3, "the answer in the life after")


async def a_space_leaves_memory_and_comes_back(scene: Scene) -> None:
    """After its idle time a space is live no more, and its next message finds everything as it was."""
    async with scene.open(Sleepy) as runtime:
        ann = runtime.space("ann")
        await ann.with_options(message_id="m").ask(Sleepy.add, "a")
        await ann.ask(Sleepy.log, "x")
        await ann.ask(Sleepy.say, "1")
        await ann.ask(Sleepy.tally, "cups", 1)
        await ann.ask(Sleepy.remind, "k", "rang", 3600)
        for _ in range(3):
            await scene.pass_time(700)
            expect((await runtime.snapshot()).live, 0, "the live spaces after idle minutes")
            await expect_lines(ann, "a")
            expect(await ann.history.recent(9), ["x"], "the history")
            expect(await ann.with_options(message_id="m").ask(Sleepy.add, "a"), 1, "the answer to the same id")
            await ann.ask(Sleepy.touch)
            expect(await counters(runtime, ann), {"cups": 1}, "the counters")
            expect(await replayed(ann, 1), said(1), "the events")
        await scene.pass_time(3600)
        await scene.until_lines(ann, "a", "rang")


async def a_suspended_space_leaves_memory(scene: Scene) -> None:
    """After its idle time a suspended space is live no more; its question stays, and the answer brings it back."""
    async with scene.open(Sleepy) as runtime:
        ann = runtime.space("ann")
        await ann.send(Sleepy.approve, "a")
        asked = await the_question(scene, runtime)
        await scene.pass_time(700)
        expect((await runtime.snapshot()).live, 0, "the live spaces after idle minutes")
        expect((await the_question(scene, runtime)).id, asked.id, "the open question")
        await runtime.suspensions.answer(asked.id, YES)
        await scene.until_lines(ann, "a approved by eve")
        expect(scene.world.seen, [FORM, DECIDED, PAID], "what was done")


async def opening_and_closing_changes_nothing(scene: Scene) -> None:
    """A place that is opened and closed, whatever the end, is as it was."""
    async with scene.open(Clerk) as runtime:
        ann = runtime.space("ann")
        await ann.ask(Clerk.everything, "a")
        await ann.send(Clerk.approve, "b")
        asked = await the_question(scene, runtime)
    for number in range(3):
        async with scene.open_to_kill(Clerk) if number % 2 else scene.open(Clerk):
            pass
    async with scene.open(Clerk) as runtime:
        ann = runtime.space("ann")
        await expect_lines(ann, "a")
        expect(await ann.history.recent(9), ["a"], "the history")
        expect([one.id for one in await runtime.suspensions.list()], [asked.id], "the open questions")
        await scene.pass_time(61)
        await runtime.suspensions.answer(asked.id, YES)
        await scene.until_lines(ann, "a", "b approved by eve", "tick of a")
