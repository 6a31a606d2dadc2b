"""Conformance: steps run once, and turns wait for answers from outside."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from spaceactors._errors import ActorCrashed, Rejected, SuspensionClosed, SuspensionExpired
from spaceactors._options import SpaceStatus
from spaceactors.testing._conformance_actors import Clerk, Question, Tryer, Verdict
from spaceactors.testing._conformance_looks import DECIDED, FORM, PAID, YES, the_question
from spaceactors.testing._conformance_scene import expect, expect_between, expect_lines, expect_that, refused

if TYPE_CHECKING:
    from spaceactors.testing._conformance_scene import Scene


async def finished_steps_do_not_run_again(scene: Scene) -> None:
    """When a turn is tried again, finished steps give back their results."""
    async with scene.open(Tryer) as runtime:
        ann = runtime.space("ann")
        scene.world.close_gate()
        await ann.send(Tryer.buy, "a", "b")
        await scene.until_seen("charged a", "charged b", "charged all")
        # A lost version has the turn run again.
        await scene.store.update(ann, lambda book: book)
        scene.world.open_gate()
        await scene.until_lines(ann, "receipt for a", "receipt for b")
        await scene.until_seen("charged a", "charged b", "charged all", "charged all")


async def a_step_that_fails_is_tried_as_often_as_it_says(scene: Scene) -> None:
    """`retry=` tries a step again within its turn."""
    scene.world.failures = 2
    async with scene.open(Clerk) as runtime:
        ann = runtime.space("ann")
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:

                async def time_passes() -> None:
                    while True:
                        await trio.sleep(0.01)
                        scene.clock.jump(1)
                        scene.guard.deadline += 1

                nursery.start_soon(time_passes)
                expect(await ann.ask(Clerk.buy_patiently, "a"), "receipt for a", "the answer")
                scope.cancel()
        expect(scene.world.seen, ["charged a"], "what was done")


async def a_question_is_listed_and_answered(scene: Scene) -> None:
    """A turn that suspends shows its question; with the answer it goes on, and no finished step runs again."""
    async with scene.open(Clerk) as runtime:
        ann = runtime.space("ann")
        answers: list[str] = []

        async def ask() -> None:
            answers.append(await ann.ask(Clerk.approve, "a"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            asked = await the_question(scene, runtime)
            found = (asked.space, asked.name, asked.question, asked.expires_at)
            expect(found, (ann, "approve", Question("a", 900), None), "space, name, question and end")
            expect((await ann.info()).status, SpaceStatus.SUSPENDED, "the status")
            await runtime.suspensions.answer(asked.id, YES)
        expect(answers, ["receipt for a"], "the answer of the turn")
        await expect_lines(ann, "a approved by eve")
        expect(scene.world.seen, [FORM, DECIDED, PAID], "what was done")
        expect(await runtime.suspensions.list(), [], "the open questions")


async def a_question_is_answered_once(scene: Scene) -> None:
    """One answer wins; whoever comes later, or answers what was never asked, is told."""
    async with scene.open(Clerk) as runtime:
        await runtime.space("ann").send(Clerk.approve, "a")
        asked = await the_question(scene, runtime)
        refusals: list[BaseException] = []

        async def answer(by: str) -> None:
            try:
                await runtime.suspensions.answer(asked.id, Verdict(good=True, by=by))
            except SuspensionClosed as error:
                refusals.append(error)

        async with trio.open_nursery() as nursery:
            for name in ("eve", "fay", "gus"):
                nursery.start_soon(answer, name)
        expect(len(refusals), 2, "the refused answers")
        await refused(SuspensionClosed, runtime.suspensions.answer, asked.id, YES)
        await refused(SuspensionClosed, runtime.suspensions.answer, "never asked", YES)
        await runtime.space("ann").ask(Clerk.touch)
        expect(len((await runtime.space("ann").state()).lines), 1, "the number of lines")


async def an_answer_of_another_type_is_refused(scene: Scene) -> None:
    """An answer must be of the type that was asked for; the question stays open."""
    async with scene.open(Clerk) as runtime:
        await runtime.space("ann").send(Clerk.approve, "a")
        asked = await the_question(scene, runtime)
        await refused(TypeError, runtime.suspensions.answer, asked.id, "yes")
        expect([one.id for one in await runtime.suspensions.list()], [asked.id], "the open questions")
        await runtime.suspensions.answer(asked.id, YES)
        await scene.until_lines(runtime.space("ann"), "a approved by eve")


async def silence_is_answered_by_the_default(scene: Scene) -> None:
    """When the time of a question is over, its default is the answer; nobody can answer any more."""
    async with scene.open(Clerk) as runtime:
        ann = runtime.space("ann").with_options(message_id="m")
        await ann.send(Clerk.approve_or_not, "a", 3600.0)
        asked = await the_question(scene, runtime)
        left = (asked.expires_at - scene.now()).total_seconds() if asked.expires_at else 0.0
        expect_between(3500, left, 3600, "the seconds until the question ends")
        await scene.pass_time(3500)
        expect([one.id for one in await runtime.suspensions.list()], [asked.id], "the open questions before")
        await scene.pass_time(101)
        error = await refused(Rejected, ann.ask, Clerk.approve_or_not, "a", 3600.0)
        expect(error.reason, "refused by nobody", "the reason")
        await refused(SuspensionClosed, runtime.suspensions.answer, asked.id, YES)
        expect(scene.world.seen, [FORM], "what was done")


async def silence_without_a_default_fails_the_turn(scene: Scene) -> None:
    """When the time of a question is over and there is no default, the turn gets `SuspensionExpired`."""
    async with scene.open(Clerk) as runtime:
        ann = runtime.space("ann")
        await ann.send(Clerk.approve, "a", 3600.0)
        await the_question(scene, runtime)
        await scene.pass_time(3601)

        async def failed() -> bool:
            return bool(await runtime.dead_letters.list())

        await scene.until(failed, "the message failed")
        [letter] = await runtime.dead_letters.list()
        expect_that(isinstance(letter.error, SuspensionExpired), f"the error is the silence, not {letter.error!r}")


async def other_spaces_go_on_while_one_waits_for_an_answer(scene: Scene) -> None:
    """A suspended turn holds up its own space only, and what waits there comes after it."""
    async with scene.open(Clerk) as runtime:
        ann, ben = runtime.space("ann"), runtime.space("ben")
        await ann.send(Clerk.approve, "a")
        await ann.send(Clerk.add, "b")
        asked = await the_question(scene, runtime)
        expect(await ben.ask(Clerk.add, "c"), 1, "the answer of another space")
        await expect_lines(ann)
        await runtime.suspensions.answer(asked.id, YES)
        await scene.until_lines(ann, "a approved by eve", "b")


async def deleting_a_space_closes_its_question(scene: Scene) -> None:
    """An answer to a question that vanished with its space is refused."""
    async with scene.open(Clerk) as runtime:
        await runtime.space("ann").send(Clerk.approve, "a")
        asked = await the_question(scene, runtime)
        await runtime.space("ann").delete()
        await refused(SuspensionClosed, runtime.suspensions.answer, asked.id, YES)
        expect(await runtime.suspensions.list(), [], "the open questions")


async def a_crash_after_the_answer_keeps_the_answer(scene: Scene) -> None:
    """A turn that is tried again after its answer came does not ask again."""
    async with scene.open(Tryer) as runtime:
        ann = runtime.space("ann")
        await ann.send(Tryer.approve, "a")
        asked = await the_question(scene, runtime)
        scene.world.failures = 2
        await runtime.suspensions.answer(asked.id, YES)
        await scene.until_lines(ann, "a approved by eve")
        expect(scene.world.seen, [FORM, DECIDED, DECIDED, DECIDED, PAID], "what was done")
        await refused(SuspensionClosed, runtime.suspensions.answer, asked.id, YES)


async def a_failed_turn_forgets_its_steps(scene: Scene) -> None:
    """The steps of a message that failed are not those of the next message."""
    async with scene.open(Clerk) as runtime:
        ann = runtime.space("ann")
        scene.world.failures = 1
        await refused(ActorCrashed, ann.ask, Clerk.buy, "a")
        for _ in range(2):
            expect(await ann.ask(Clerk.buy, "a"), ("receipt for a",), "the answer")
        expect(scene.world.seen, ["charged a", "charged all"] * 2, "what was done")
