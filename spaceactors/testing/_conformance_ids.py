"""Conformance: a message id that is known is the same message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from spaceactors._errors import ActorCrashed, BadCall, Rejected
from spaceactors.testing._conformance_actors import Clerk, Forgetful, Sleepy
from spaceactors.testing._conformance_scene import expect, expect_lines, refused

if TYPE_CHECKING:
    from spaceactors._runtime import Runtime
    from spaceactors.testing._conformance_scene import Scene


async def _accepted(runtime: Runtime[Any]) -> int:
    return (await runtime.snapshot()).ledger.accepted


async def the_same_id_twice_is_one_turn(scene: Scene) -> None:
    """The same call under the same id, once more after its end, gets the first's answer, and counts as nothing."""
    async with scene.open(Clerk) as runtime:
        ann = runtime.space("ann").with_options(message_id="m")
        expect(await ann.ask(Clerk.add, "a"), 1, "the first answer")
        await ann.send(Clerk.add, "a")
        expect(await ann.ask(Clerk.add, "a"), 1, "the second answer")
        await expect_lines(ann, "a")
        expect(await _accepted(runtime), 1, "the accepted messages")


async def the_same_id_while_the_first_is_pending_is_one_turn(scene: Scene) -> None:
    """Who calls the same while the first is not settled waits for the one answer."""
    scene.world.close_gate()
    answers: list[int] = []
    async with scene.open(Clerk) as runtime:
        ann = runtime.space("ann").with_options(message_id="m")

        async def ask() -> None:
            answers.append(await ann.ask(Clerk.pass_gate, "a"))

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(ask)
            await scene.until_seen("begin a 1")
            await scene.rest()
            scene.world.open_gate()
        expect(answers, [1, 1, 1], "the answers")
        await expect_lines(ann, "a")


async def another_call_under_a_known_id_is_refused(scene: Scene) -> None:
    """Another handler or other arguments under an id that is known are a `BadCall`, pending or settled."""
    scene.world.close_gate()
    async with scene.open(Clerk) as runtime:
        ann = runtime.space("ann").with_options(message_id="m")
        await ann.send(Clerk.pass_gate, "a")
        await refused(BadCall, ann.send, Clerk.pass_gate, "b")
        scene.world.open_gate()
        await ann.ask(Clerk.pass_gate, "a")
        await refused(BadCall, ann.send, Clerk.pass_gate, "b")
        await refused(BadCall, ann.ask, Clerk.add, "a")
        await expect_lines(ann, "a")
        expect(await _accepted(runtime), 1, "the accepted messages")


async def a_rejection_is_remembered(scene: Scene) -> None:
    """The same call under the id of a rejected message is rejected for the same reason, without a turn."""
    async with scene.open(Clerk) as runtime:
        ann = runtime.space("ann").with_options(message_id="m")
        for _ in range(2):
            error = await refused(Rejected, ann.ask, Clerk.reject, "a")
            expect(error.reason, {"because": "a"}, "the reason")
        expect(await _accepted(runtime), 1, "the accepted messages")


async def a_failure_frees_its_id(scene: Scene) -> None:
    """The id of a message that failed can be used again, and there is a turn."""
    scene.world.failures = 1
    async with scene.open(Clerk) as runtime:
        ann = runtime.space("ann").with_options(message_id="m")
        await refused(ActorCrashed, ann.ask, Clerk.stumble, "a")
        expect(await ann.ask(Clerk.stumble, "a"), 1, "the answer")
        expect(scene.world.seen, ["tried a", "tried a"], "the turns")


async def ids_belong_to_their_spaces(scene: Scene) -> None:
    """The same id in two spaces is two messages."""
    async with scene.open(Clerk) as runtime:
        for name in ("ann", "ben"):
            clerk = runtime.space(name).with_options(message_id="m")
            expect(await clerk.ask(Clerk.add, name), 1, "the answer")
            await expect_lines(clerk, name)


async def an_id_is_forgotten_after_its_time(scene: Scene) -> None:
    """`dedupe_window` seconds after its end, an id is new again; a moment before, it is not."""
    async with scene.open(Forgetful) as runtime:
        ann = runtime.space("ann").with_options(message_id="m")
        await ann.ask(Forgetful.add, "a")
        await scene.pass_time(3500)
        expect(await ann.ask(Forgetful.add, "a"), 1, "the answer inside the window")
        await scene.pass_time(200)
        expect(await ann.ask(Forgetful.add, "a"), 2, "the answer after it")


async def only_so_many_ids_are_remembered(scene: Scene) -> None:
    """`dedupe_limit` ids are kept; the longest known goes first."""
    async with scene.open(Forgetful) as runtime:
        ann = runtime.space("ann")
        for name in "abc":
            await ann.with_options(message_id=name).ask(Forgetful.add, name)
        expect(await ann.with_options(message_id="b").ask(Forgetful.add, "b"), 2, "the answer that is remembered")
        expect(await ann.with_options(message_id="a").ask(Forgetful.add, "a"), 4, "the answer of a new turn")


async def an_id_is_remembered_while_its_space_sleeps(scene: Scene) -> None:
    """Passivation and a stop do not forget ids."""
    async with scene.open(Sleepy) as runtime:
        ann = runtime.space("ann").with_options(message_id="m")
        await ann.ask(Sleepy.add, "a")
        await scene.pass_time(700)
        expect((await runtime.snapshot()).live, 0, "the live spaces after idle minutes")
        expect(await ann.ask(Sleepy.add, "a"), 1, "the answer after passivation")
        await ann.stop()
        expect(await ann.ask(Sleepy.add, "a"), 1, "the answer after a stop")
        await expect_lines(ann, "a")
