"""Conformance: what failed is a dead letter until somebody sends it again or discards it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spaceactors._errors import ActorCrashed, Rejected
from spaceactors.testing._conformance_actors import Clerk, Tryer
from spaceactors.testing._conformance_looks import letters
from spaceactors.testing._conformance_scene import expect, expect_lines, expect_that, refused

if TYPE_CHECKING:
    from spaceactors._runtime import Runtime
    from spaceactors.testing._conformance_scene import Scene


async def _fail(runtime: Runtime[Any], *names: str, actor: type[Clerk] = Clerk) -> None:
    for name in names:
        clerk = runtime.space(name, actor).with_options(message_id=f"m-{name}", correlation_id=f"c-{name}")
        await refused(ActorCrashed, clerk.ask, Clerk.crash, name)


async def a_failed_message_is_a_dead_letter(scene: Scene) -> None:
    """A message that failed is kept with its space, call, options, attempts and error; a rejected one is not."""
    async with scene.open(Tryer) as runtime:
        ann = runtime.space("ann")
        await refused(Rejected, ann.ask, Tryer.reject, "r")
        await _fail(runtime, "ann", actor=Tryer)
        [letter] = await runtime.dead_letters.list()
        expect((letter.space, letter.attempts), (ann, 3), "space and attempts")
        message = letter.message
        found = (message.id, message.call, message.args, message.correlation_id)
        expect(found, ("m-ann", "crash", ("ann",), "c-ann"), "id, call, arguments and correlation id")
        expect_that(isinstance(letter.error, ValueError), f"the error is the ValueError, not {letter.error!r}")
        expect(letter.error.args, ("ann",), "the arguments of the error")


async def dead_letters_are_listed_oldest_first(scene: Scene) -> None:
    """The list has the oldest first, of one class if asked for, and no more than the limit."""
    async with scene.open(Clerk, Tryer) as runtime:
        await _fail(runtime, "c", "a")
        await _fail(runtime, "d", actor=Tryer)
        await _fail(runtime, "b")
        expect(await letters(runtime), ["m-c", "m-a", "m-d", "m-b"], "all")
        expect(await letters(runtime, limit=2), ["m-c", "m-a"], "two")
        expect(await letters(runtime, actor=Clerk), ["m-c", "m-a", "m-b"], "those of one class")


async def a_dead_letter_can_be_sent_again(scene: Scene) -> None:
    """`resend` makes a message of a letter, with its id, and tells how many; the letter is gone."""
    scene.world.failures = 1
    async with scene.open(Clerk) as runtime:
        ann = runtime.space("ann")
        await refused(ActorCrashed, ann.with_options(message_id="m").ask, Clerk.stumble, "a")
        expect(await runtime.dead_letters.resend("m", "unknown"), 1, "the letters sent")
        await scene.until_lines(ann, "a")
        expect(await letters(runtime), [], "the letters left")
        expect(await ann.with_options(message_id="m").ask(Clerk.stumble, "a"), 1, "the answer to the same id")


async def a_letter_that_fails_again_is_a_letter_again(scene: Scene) -> None:
    """What is sent again and fails again is one letter, not none and not two."""
    async with scene.open(Clerk) as runtime:
        await _fail(runtime, "ann")
        expect(await runtime.dead_letters.resend("m-ann"), 1, "the letters sent")
        await runtime.space("ann").ask(Clerk.touch)
        expect(await letters(runtime), ["m-ann"], "the letters")


async def a_dead_letter_can_be_discarded(scene: Scene) -> None:
    """`discard` forgets letters, and tells how many there were."""
    async with scene.open(Clerk) as runtime:
        await _fail(runtime, "ann", "ben", "col")
        expect(await runtime.dead_letters.discard("m-ann", "m-col", "unknown"), 2, "the letters discarded")
        expect(await letters(runtime), ["m-ben"], "the letters left")
        expect(await runtime.dead_letters.resend("m-ann"), 0, "the letters sent")
        await expect_lines(runtime.space("ann"))


async def letters_of_one_id_in_two_spaces_are_two(scene: Scene) -> None:
    """Two spaces may have failed at the same message id."""
    async with scene.open(Clerk) as runtime:
        for name in ("ann", "ben"):
            await refused(ActorCrashed, runtime.space(name).with_options(message_id="m").ask, Clerk.crash, name)
        expect([one.space.id for one in await runtime.dead_letters.list()], ["ann", "ben"], "whose letters")
        expect(await runtime.dead_letters.discard("m"), 2, "the letters discarded")
