"""Conformance of durable stores: other kinds, other versions of a class, other owners."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from spaceactors._errors import BadCall, NotHandled, SpaceError, StoreError
from spaceactors.testing._conformance_actors import Clerk, Counter, Filer, Folder, OldFiler, Tryer
from spaceactors.testing._conformance_looks import letters
from spaceactors.testing._conformance_scene import expect, expect_lines, expect_that, refused

if TYPE_CHECKING:
    from spaceactors.testing._conformance_scene import Scene


async def what_cannot_be_written_is_refused(scene: Scene) -> None:
    """Arguments that the store could not write are a `BadCall` in the sender; nothing is accepted."""
    async with scene.open(Clerk) as runtime:
        ann = runtime.space("ann")
        await refused(BadCall, ann.ask, Clerk.keep, object())
        await refused(BadCall, ann.send, Clerk.keep, [open])
        expect(await ann.ask(Clerk.add, "a"), 1, "the answer to a good call")
        expect((await runtime.snapshot()).ledger.accepted, 1, "the accepted messages")


async def a_turn_whose_state_cannot_be_written_fails(scene: Scene) -> None:
    """A state, entry, event or remembered answer that the store could not write fails its turn; the space goes on."""
    async with scene.open(Clerk) as runtime:
        ann = runtime.space("ann")
        await ann.ask(Clerk.add, "a")
        for where in ("state", "history", "event", "answer"):
            await refused(NotHandled, ann.with_options(message_id=where).ask, Clerk.spoil, where)
        expect(await ann.ask(Clerk.add, "b"), 2, "the answer to a good call")
        await expect_lines(ann, "a", "b")
        expect(len(ann.history), 0, "the length of the history")
    async with scene.open(Clerk) as runtime:
        await expect_lines(runtime.space("ann"), "a", "b")


async def kinds_that_are_not_opened_are_left_alone(scene: Scene) -> None:
    """A runtime of other classes touches nothing of a kind that it does not know, and that goes on later."""
    scene.world.close_gate()
    async with scene.open_to_kill(Clerk, Counter) as runtime:
        ann = runtime.space("ann", Clerk)
        await ann.ask(Clerk.remind, "k", "rang", 3600)
        await ann.send(Clerk.pass_gate, "a")
        await ann.send(Clerk.add, "b")
        await runtime.space("ann", Counter).ask(Counter.add, 1)
    scene.world.open_gate()
    for number in (2, 3, 4, 5, 6):
        async with scene.open(Counter) as runtime:
            expect(await runtime.space("ann").ask(Counter.add, 1), number, "the sum")
            await scene.pass_time(3600)
            expect((await runtime.snapshot()).ledger.accepted, 1, "the accepted messages")
    async with scene.open(Clerk) as runtime:

        async def all_there() -> bool:
            return bool({*(await runtime.space("ann").state()).lines} == {"a", "b", "rang"})

        await scene.until(all_there, "the messages and the timer of the other kind ran, each once")


async def a_state_of_an_older_class_is_brought_up_to_date(scene: Scene) -> None:
    """The state that an older version of a class wrote goes through its `upgrade_state`, seen or used."""
    async with scene.open_to_kill(OldFiler) as runtime:
        for name in ("tax", "rent"):
            await runtime.space("ann").ask(OldFiler.file, name)
    async with scene.open_to_kill(Filer) as runtime:
        ann = runtime.space("ann")
        expect(await ann.state(), Folder(("tax", "rent")), "the state")
        expect(await ann.ask(Filer.file, "car"), ("tax", "rent", "car"), "the answer")
    async with scene.open(Filer) as runtime:
        expect(await runtime.space("ann").state(), Folder(("tax", "rent", "car")), "the state afterwards")


async def a_message_that_nobody_understands_is_parked(scene: Scene) -> None:
    """A message for a handler that is no more is a dead letter with the reason; what waits behind it runs."""
    scene.world.close_gate()
    async with scene.open_to_kill(OldFiler) as runtime:
        ann = runtime.space("ann")
        await ann.with_options(message_id="m").send(OldFiler.shred, "tax")
        await ann.send(OldFiler.file, "rent")
    async with scene.open_to_kill(Filer) as runtime:
        ann = runtime.space("ann")

        async def filed() -> bool:
            return bool(await ann.state() == Folder(("rent",)))

        await scene.until(filed, "the message behind it was handled")
        [letter] = await runtime.dead_letters.list()
        expect(letter.message.id, "m", "the id of the dead letter")
        expect_that("shred" in str(letter.error), f"the reason names the handler: {letter.error!r}")
    async with scene.open(Filer) as runtime:
        expect(await letters(runtime), ["m"], "the dead letters in the next life")
        expect(await runtime.dead_letters.discard("m"), 1, "the letters discarded")


async def a_state_of_a_newer_class_is_left_alone(scene: Scene) -> None:
    """A class that is older than a stored state cannot use the space, says so, and spoils nothing."""
    async with scene.open_to_kill(Filer) as runtime:
        await runtime.space("ann").ask(Filer.file, "tax")
    async with scene.open_to_kill(OldFiler) as runtime:
        error = await refused(SpaceError, runtime.space("ann").ask, OldFiler.file, "rent")
        texts = " ".join(str(one) for one in (error, error.__cause__))
        expect_that("version" in texts, f"the error tells of the version: {texts}")
        expect(await runtime.space("ben").ask(OldFiler.file, "x"), "x", "the answer of another space")
        await scene.rest()
    async with scene.open(Filer) as runtime:
        expect(await runtime.space("ann").state(), Folder(("tax",)), "the state")


async def of_two_owners_the_older_cannot_write(scene: Scene) -> None:
    """A second opening of a place that is open is refused with a `StoreError`, or takes over: no turn is kept twice."""
    scene.world.close_gate()
    async with scene.open_to_kill(Tryer) as older:
        ann = older.space("ann")
        expect(await ann.ask(Tryer.add, "a"), 1, "the first answer")
        await ann.send(Tryer.pass_gate, "b")
        await scene.until_seen("begin b 1")
        try:
            async with scene.open_to_kill(Tryer) as newer:
                heir = newer.space("ann")
                await scene.until_seen("begin b 1", "begin b 1")
                scene.world.open_gate()
                await scene.until_lines(heir, "a", "b")
                expect(await heir.ask(Tryer.add, "c"), 3, "the answer of the newer")
                await refused(SpaceError, _within_time(ann), Tryer.add, "d")
                await expect_lines(heir, "a", "b", "c")
        except StoreError:
            scene.world.open_gate()
            await scene.until_lines(ann, "a", "b")
            expect(await ann.ask(Tryer.add, "c"), 3, "the answer of the one owner")
    async with scene.open(Tryer) as runtime:
        await scene.rest()
        await expect_lines(runtime.space("ann"), "a", "b", "c")
        expect(await letters(runtime), [], "the dead letters")


def _within_time(space: Any) -> Any:
    """Return an ask that fails, instead of waiting for ever, if nobody answers."""

    async def ask(method: Any, *args: Any) -> object:
        with trio.fail_after(10):
            return await space.ask(method, *args)

    return ask
