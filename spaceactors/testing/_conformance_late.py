"""Conformance of durable stores: what came due while nobody was there happens late, and once."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from spaceactors._errors import Rejected, SuspensionClosed, SuspensionExpired
from spaceactors.testing._conformance_actors import Clerk, Forgetful, Verdict
from spaceactors.testing._conformance_looks import FORM, letters, outcomes, the_question
from spaceactors.testing._conformance_scene import expect, expect_lines, expect_that, refused

if TYPE_CHECKING:
    from spaceactors.testing._conformance_scene import Scene

_DAY = 86_400.0


async def a_timer_that_came_due_meanwhile_fires_once(scene: Scene) -> None:
    """A timer whose time passed while nothing ran fires at the reopening, and never again."""
    async with scene.open_to_kill(Clerk) as runtime:
        await runtime.space("ann").ask(Clerk.remind, "k", "rang", 3600)
    await scene.pass_time(_DAY)
    for _ in range(3):
        async with scene.open_to_kill(Clerk) as runtime:
            await scene.until_lines(runtime.space("ann"), "rang")
            await scene.pass_time(_DAY)
            await expect_lines(runtime.space("ann"), "rang")


async def a_timer_that_is_due_later_fires_in_time(scene: Scene) -> None:
    """A timer whose time has not come at the reopening fires when it comes, by the wall clock."""
    async with scene.open_to_kill(Clerk) as runtime:
        ann = runtime.space("ann")
        await ann.ask(Clerk.remind, "k", "rang", 3600)
        await ann.ask(Clerk.remind_at, "d", "at its date", scene.now() + timedelta(days=1))
    await scene.pass_time(1800)
    async with scene.open(Clerk) as runtime:
        ann = runtime.space("ann")
        await scene.pass_time(1700)
        await expect_lines(ann)
        await scene.pass_time(101)
        await scene.until_lines(ann, "rang")
        await scene.pass_time(_DAY - 3600)
        await scene.until_lines(ann, "rang", "at its date")


async def a_repeated_timer_skips_what_it_missed(scene: Scene) -> None:
    """Of the periods that passed while nothing ran it fires for one, and goes on by its grid."""
    async with scene.open_to_kill(Clerk) as runtime:
        await runtime.space("ann").ask(Clerk.remind_every, "k", "rang", 3600)
    await scene.pass_time(4 * 3600 + 1800)
    async with scene.open_to_kill(Clerk) as runtime:
        ann = runtime.space("ann")
        await scene.until_lines(ann, "rang")
        await scene.pass_time(1700)
        await expect_lines(ann, "rang")
        await scene.pass_time(200)
        await scene.until_lines(ann, "rang", "rang")
    async with scene.open(Clerk) as runtime:
        ann = runtime.space("ann")
        await scene.rest()
        await expect_lines(ann, "rang", "rang")
        await scene.pass_time(3600)
        await scene.until_lines(ann, "rang", "rang", "rang")


async def replaced_and_cancelled_timers_do_not_come_back(scene: Scene) -> None:
    """Only the last timer of a key is there after a reopening, and no cancelled one."""
    async with scene.open_to_kill(Clerk) as runtime:
        ann = runtime.space("ann")
        await ann.ask(Clerk.remind_every, "k", "earlier", 60)
        await ann.ask(Clerk.remind, "k", "later", 3600)
        await ann.ask(Clerk.remind, "c", "cancelled", 60)
        await ann.ask(Clerk.forget, "c")
    await scene.pass_time(600)
    async with scene.open(Clerk) as runtime:
        ann = runtime.space("ann")
        await scene.rest()
        await expect_lines(ann)
        expect_that(not await ann.ask(Clerk.forget, "c"), "the cancelled timer is not there to be cancelled")
        await scene.pass_time(3600)
        await scene.until_lines(ann, "later")


async def a_timer_of_a_stopped_space_does_not_come_back(scene: Scene) -> None:
    """What a stop cancelled stays cancelled."""
    async with scene.open_to_kill(Clerk) as runtime:
        ann = runtime.space("ann")
        await ann.ask(Clerk.remind, "k", "rang", 3600)
        await ann.stop()
    await scene.pass_time(_DAY)
    async with scene.open(Clerk) as runtime:
        await scene.rest()
        await expect_lines(runtime.space("ann"))


async def a_tick_that_was_cut_off_runs_again(scene: Scene) -> None:
    """A tick in whose turn the process ended is handled in the next life, once."""
    scene.world.close_gate()
    async with scene.open_to_kill(Clerk) as runtime:
        await runtime.space("ann").ask(Clerk.remind_of_gate, "k", "a", 60)
        await scene.pass_time(61)
        await scene.until_seen("begin a 1")
    scene.world.open_gate()
    for _ in range(2):
        async with scene.open(Clerk) as runtime:
            await scene.until_lines(runtime.space("ann"), "a")
            await scene.pass_time(_DAY)
            await expect_lines(runtime.space("ann"), "a")


async def a_question_that_ended_meanwhile_has_its_default(scene: Scene) -> None:
    """A question whose time passed while nothing ran is answered by its default at the reopening."""
    async with scene.open_to_kill(Clerk) as runtime:
        await runtime.space("ann").with_options(message_id="m").send(Clerk.approve_or_not, "a", 3600.0)
        asked = await the_question(scene, runtime)
    await scene.pass_time(_DAY)
    async with scene.open(Clerk) as runtime:
        ann = runtime.space("ann").with_options(message_id="m")
        error = await refused(Rejected, ann.ask, Clerk.approve_or_not, "a", 3600.0)
        expect(error.reason, "refused by nobody", "the reason")
        late = Verdict(good=True, by="late")
        await refused(SuspensionClosed, runtime.suspensions.answer, asked.id, late)
        expect(scene.world.seen, [FORM], "what was charged")


async def a_question_that_ends_later_keeps_its_time(scene: Scene) -> None:
    """The time of a question is by the wall clock: a reopening does not begin it anew."""
    async with scene.open_to_kill(Clerk) as runtime:
        await runtime.space("ann").send(Clerk.approve, "a", 3600.0)
        asked = await the_question(scene, runtime)
    await scene.pass_time(1800)
    async with scene.open(Clerk) as runtime:
        [found] = await runtime.suspensions.list()
        expect((found.id, found.expires_at), (asked.id, asked.expires_at), "the question and its end")
        await scene.pass_time(1700)
        expect(len(await runtime.suspensions.list()), 1, "the open questions before its end")
        await scene.pass_time(101)

        async def failed() -> bool:
            return bool(await runtime.dead_letters.list())

        await scene.until(failed, "the message failed")
        [letter] = await runtime.dead_letters.list()
        expect_that(isinstance(letter.error, SuspensionExpired), f"the error is the silence, not {letter.error!r}")


async def a_message_that_expired_meanwhile_does_not_run(scene: Scene) -> None:
    """`expires_after` goes on while nothing runs; what has time left runs."""
    scene.world.close_gate()
    async with scene.open_to_kill(Clerk) as runtime:
        ann = runtime.space("ann")
        await ann.send(Clerk.pass_gate, "first")
        await ann.with_options(expires_after=3600).send(Clerk.add, "too late")
        await ann.with_options(expires_after=2 * _DAY).send(Clerk.add, "in time")
        await scene.until_seen("begin first 1")
    await scene.pass_time(_DAY)
    scene.world.open_gate()
    async with scene.open(Clerk) as runtime:
        await scene.until_lines(runtime.space("ann"), "first", "in time")
        await scene.rest()
        expect(await outcomes(runtime), {"handled": 2, "expired": 1}, "the outcomes")
        expect(await letters(runtime), [], "the dead letters")


async def ids_are_forgotten_in_time(scene: Scene) -> None:
    """`dedupe_window` goes on while nothing runs."""
    async with scene.open_to_kill(Forgetful) as runtime:
        await runtime.space("ann").with_options(message_id="m").ask(Forgetful.add, "a")
    await scene.pass_time(3500)
    async with scene.open_to_kill(Forgetful) as runtime:
        answer = await runtime.space("ann").with_options(message_id="m").ask(Forgetful.add, "a")
        expect(answer, 1, "the answer inside the window")
    await scene.pass_time(200)
    async with scene.open(Forgetful) as runtime:
        answer = await runtime.space("ann").with_options(message_id="m").ask(Forgetful.add, "a")
        expect(answer, 2, "the answer after it")
