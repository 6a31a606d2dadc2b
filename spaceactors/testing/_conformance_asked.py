"""Conformance of durable stores: questions are open until they are answered, in whatever life that is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spaceactors._errors import SuspensionClosed
from spaceactors.testing._conformance_actors import Clerk, Question
from spaceactors.testing._conformance_looks import DECIDED, FORM, PAID, YES, the_question
from spaceactors.testing._conformance_scene import expect, expect_lines, refused

if TYPE_CHECKING:
    from spaceactors.testing._conformance_scene import Scene


async def _ask_and_end(scene: Scene, text: str = "a") -> str:
    """Have a question asked, and end the life."""
    async with scene.open_to_kill(Clerk) as runtime:
        await runtime.space("ann").with_options(message_id="m").send(Clerk.approve, text)
        return (await the_question(scene, runtime)).id


async def an_open_question_is_open_in_the_next_life(scene: Scene) -> None:
    """A question survives with id and content; answered, its turn goes on, and no finished step runs again."""
    asked = await _ask_and_end(scene)
    await scene.pass_time(5 * 86_400)
    async with scene.open(Clerk) as runtime:
        ann = runtime.space("ann").with_options(message_id="m")
        [found] = await runtime.suspensions.list()
        wanted = (asked, ann, "approve", Question("a", 900), None)
        expect((found.id, found.space, found.name, found.question, found.expires_at), wanted, "the question")
        expect([one.id for one in await runtime.suspensions.list(actor=Clerk)], [asked], "those of the class")
        await runtime.suspensions.answer(asked, YES)
        expect(await ann.ask(Clerk.approve, "a"), "receipt for a", "the answer of the turn")
        await expect_lines(ann, "a approved by eve")
        expect(scene.world.seen, [FORM, DECIDED, PAID], "what was done")
        expect(await runtime.suspensions.list(), [], "the open questions")


async def what_waits_behind_a_question_goes_on_waiting(scene: Scene) -> None:
    """In a later life a suspended turn still comes before what its space accepted after it; others go on."""
    asked = await _ask_and_end(scene)
    async with scene.open_to_kill(Clerk) as runtime:
        await runtime.space("ann").send(Clerk.add, "b")
        expect(await runtime.space("ben").ask(Clerk.add, "c"), 1, "the answer of another space")
        await scene.rest()
        await expect_lines(runtime.space("ann"))
    async with scene.open(Clerk) as runtime:
        await scene.rest()
        await expect_lines(runtime.space("ann"))
        await runtime.suspensions.answer(asked, YES)
        await scene.until_lines(runtime.space("ann"), "a approved by eve", "b")


async def a_question_of_an_earlier_life_is_answered_once(scene: Scene) -> None:
    """A question that was answered in an earlier life is closed, also to the answer that won."""
    asked = await _ask_and_end(scene)
    async with scene.open_to_kill(Clerk) as runtime:
        await runtime.suspensions.answer(asked, YES)
        await refused(SuspensionClosed, runtime.suspensions.answer, asked, YES)
        await scene.until_lines(runtime.space("ann"), "a approved by eve")
    async with scene.open(Clerk) as runtime:
        await refused(SuspensionClosed, runtime.suspensions.answer, asked, YES)
        expect(await runtime.suspensions.list(), [], "the open questions")


async def an_answer_is_kept_when_it_was_taken(scene: Scene) -> None:
    """An answer whose call returned counts, though the process ends before the turn has."""
    asked = await _ask_and_end(scene)
    scene.world.close_gate()
    async with scene.open_to_kill(Clerk) as runtime:
        await runtime.suspensions.answer(asked, YES)
        await scene.until_seen(FORM, DECIDED)
    async with scene.open(Clerk) as runtime:
        await scene.until_seen(FORM, DECIDED, DECIDED)
        expect(await runtime.suspensions.list(), [], "the open questions")
        scene.world.open_gate()
        await scene.until_lines(runtime.space("ann"), "a approved by eve")
        expect(scene.world.seen, [FORM, DECIDED, DECIDED, PAID], "what was done")


async def a_vanished_question_cannot_be_answered(scene: Scene) -> None:
    """A question goes with its space, in whatever life that is deleted."""
    asked = await _ask_and_end(scene)
    async with scene.open_to_kill(Clerk) as runtime:
        await runtime.space("ann").delete()
        await refused(SuspensionClosed, runtime.suspensions.answer, asked, YES)
    async with scene.open(Clerk) as runtime:
        await refused(SuspensionClosed, runtime.suspensions.answer, asked, YES)
        expect(await runtime.suspensions.list(), [], "the open questions")


async def a_drain_leaves_questions_open(scene: Scene) -> None:
    """An orderly end does not wait for answers, and keeps the questions."""
    async with scene.open(Clerk) as runtime:
        await runtime.space("ann").send(Clerk.approve, "a")
        asked = await the_question(scene, runtime)
    async with scene.open(Clerk) as runtime:
        expect([one.id for one in await runtime.suspensions.list()], [asked.id], "the open questions")
        await runtime.suspensions.answer(asked.id, YES)
        await scene.until_lines(runtime.space("ann"), "a approved by eve")
