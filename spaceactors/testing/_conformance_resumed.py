"""Conformance of durable stores: what was accepted and not settled is settled in a later life, and once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from spaceactors._errors import ActorCrashed, BadCall
from spaceactors._feed import Emitted
from spaceactors.testing._conformance_actors import Clerk, Doomed, Said, Sleepy, Teller, Tryer
from spaceactors.testing._conformance_looks import letters, outcomes, replayed
from spaceactors.testing._conformance_scene import expect, expect_lines, expect_that, refused

if TYPE_CHECKING:
    from spaceactors._handle import SpaceHandle
    from spaceactors._runtime import Runtime
    from spaceactors.testing._conformance_scene import Scene


async def an_accepted_message_is_not_lost(scene: Scene) -> None:
    """A message whose `send` has returned is handled, though the process ends in the same moment."""
    async with scene.open_to_kill(Clerk) as runtime:
        await runtime.space("ann").send(Clerk.add, "a")
    async with scene.open(Clerk) as runtime:
        await scene.until_lines(runtime.space("ann"), "a")
        await scene.rest()
        await expect_lines(runtime.space("ann"), "a")


async def a_handled_message_stays_handled(scene: Scene) -> None:
    """A message that was handled does not run again in another life, whatever its turn did."""
    async with scene.open_to_kill(Clerk) as runtime:
        ann = runtime.space("ann")
        await ann.send(Clerk.add, "a")  # an assigned state and nothing else
        await ann.send(Clerk.add, "b")
        await scene.until_lines(ann, "a", "b")
        await ann.ask(Clerk.add, "c")  # what was to be kept before it is kept when this is
    async with scene.open(Clerk) as runtime:
        ann = runtime.space("ann")
        expect(await ann.ask(Clerk.add, "d"), 4, "the answer to a new message")
        await scene.rest()
        await expect_lines(ann, "a", "b", "c", "d")


async def messages_run_in_the_order_of_their_acceptance(scene: Scene) -> None:
    """Messages that wait at the end of a life run in the next in their order, before whatever comes then."""
    scene.world.close_gate()
    texts = [f"line {number}" for number in range(30)]
    async with scene.open_to_kill(Clerk) as runtime:
        ann = runtime.space("ann")
        await ann.send(Clerk.pass_gate, "first")
        for text in texts:
            await ann.send(Clerk.add, text)
    scene.world.open_gate()
    async with scene.open(Clerk) as runtime:
        ann = runtime.space("ann")
        expect(await ann.ask(Clerk.add, "last"), 32, "the answer to a new message")
        await expect_lines(ann, "first", *texts, "last")


async def a_group_runs_in_the_order_of_acceptance(scene: Scene) -> None:
    """Of the spaces of one group, the one whose next message was accepted first goes first, in the next life too."""
    scene.world.close_gate()
    order = ["x3", "x1", "x2", "x1", "x3"]
    async with scene.open_to_kill(Teller) as runtime:
        texts = [f"{number} of {name}" for number, name in enumerate(order)]
        for name, text in zip(order, texts, strict=True):
            await runtime.space(name).send(Teller.pass_gate, text)
        await scene.until_seen("begin 0 of x3 1")
    scene.world.seen.clear()
    scene.world.open_gate()
    async with scene.open(Teller):
        await scene.until_seen(*(told for text in texts for told in (f"begin {text} 1", f"end {text}")))


async def a_turn_that_was_cut_off_leaves_nothing_and_runs_again(scene: Scene) -> None:
    """A turn in which the process ended is rolled back whole, and its message runs again, once."""
    scene.world.close_gate()
    async with scene.open_to_kill(Clerk) as runtime:
        await runtime.space("ann").send(Clerk.everything_then_gate, "a")
        await scene.until_seen("did a")
    async with scene.open(Clerk) as runtime:
        ann = runtime.space("ann")
        await scene.until_seen("did a", "did a")
        await expect_lines(ann)
        expect(await ann.history.read(), [], "the history")
        scene.world.open_gate()
        await scene.until_lines(ann, "a")
        await scene.until_lines(runtime.space("ann-other"), "sent with a")
        expect([(one.position, one.value) for one in await ann.history.read()], [(1, "a")], "the history afterwards")
        expect(await replayed(ann, 1), [Emitted(Said("a"), 1)], "the events")
        await scene.pass_time(61)
        await scene.until_lines(ann, "a", "tick of a")


async def the_end_of_a_process_is_no_attempt(scene: Scene) -> None:
    """A message with one attempt runs again after its process ended, as its first attempt."""
    scene.world.close_gate()
    async with scene.open_to_kill(Clerk) as runtime:
        await runtime.space("ann").send(Clerk.pass_gate, "a")
        await scene.until_seen("begin a 1")
    scene.world.open_gate()
    async with scene.open(Clerk) as runtime:
        await scene.until_lines(runtime.space("ann"), "a")
        expect(scene.world.seen, ["begin a 1", "begin a 1", "end a"], "what the world saw")


async def the_end_of_a_process_is_no_attempt_wherever_it_comes(scene: Scene) -> None:
    """The same for messages to spaces that are live, whose turns may begin before the store has the message."""
    scene.world.close_gate()
    names = [f"c{number}" for number in range(8)]
    async with scene.open_to_kill(Clerk) as runtime:
        for name in names:
            await runtime.space(name).ask(Clerk.touch)
        async with trio.open_nursery() as nursery:
            for name in names:
                nursery.start_soon(runtime.space(name).send, Clerk.pass_gate, name)
    scene.world.open_gate()
    scene.world.seen.clear()
    async with scene.open(Clerk) as runtime:
        for name in names:
            await scene.until_lines(runtime.space(name), name)
        begun = {line for line in scene.world.seen if line.startswith("begin")}
        expect(begun, {f"begin {name} 1" for name in names}, "what began, and in which attempt")


async def the_end_of_a_process_after_a_step_is_no_attempt(scene: Scene) -> None:
    """The same for a message whose turn has recorded a step."""
    scene.world.close_gate()
    async with scene.open_to_kill(Clerk) as runtime:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_ask_in_vain, runtime.space("ann"), "a")
            await scene.until_seen("charged a", "begin a 1")
            nursery.cancel_scope.cancel()
        await scene.rest()
    scene.world.open_gate()
    async with scene.open(Clerk) as runtime:
        await scene.until_lines(runtime.space("ann"), "a")
        expect(scene.world.seen, ["charged a", "begin a 1", "begin a 1", "end a"], "what the world saw")


async def _ask_in_vain(space: SpaceHandle[Any], thing: str) -> None:
    await space.ask(Clerk.buy_and_tell, thing)


async def attempts_are_remembered(scene: Scene) -> None:
    """Attempts of an earlier life count: what failed twice has one more of three."""
    scene.world.failures = 2
    scene.world.close_gate()
    async with scene.open_to_kill(Tryer) as runtime:
        await runtime.space("ann").send(Tryer.stumble_to_gate, "a")
        await scene.until_seen("begin a 3")
        await scene.rest()
    scene.world.failures = 1
    async with scene.open(Tryer) as runtime:

        async def failed() -> bool:
            return bool(await runtime.dead_letters.list())

        await scene.until(failed, "the message failed")
        [letter] = await runtime.dead_letters.list()
        expect(letter.attempts, 3, "the attempts")


async def what_is_found_pending_counts_as_accepted(scene: Scene) -> None:
    """The books of a new life begin with what the earlier one left, and balance."""
    scene.world.close_gate()
    async with scene.open_to_kill(Clerk) as runtime:
        for text in "abc":
            await runtime.space("ann").send(Clerk.pass_gate, text)
    async with scene.open(Clerk) as runtime:
        await scene.until_seen("begin a 1", "begin a 1")
        ledger = (await runtime.snapshot()).ledger
        expect((ledger.accepted, ledger.pending), (3, 3), "accepted and pending")
        scene.world.open_gate()
        await scene.until_lines(runtime.space("ann"), *"abc")
        await scene.rest()
        expect(await outcomes(runtime), {"handled": 3}, "the outcomes")


async def sends_of_turns_arrive_once_over_lives(scene: Scene) -> None:
    """What a turn sent is accepted with its commit: it neither gets lost nor comes twice when the process ends."""
    scene.world.close_gate()
    async with scene.open_to_kill(Clerk) as runtime:
        await runtime.space("ann").ask(Clerk.send_to_gate, "ben", "1", "2", "3")
    scene.world.open_gate()
    for _ in range(2):
        async with scene.open(Clerk) as runtime:
            await scene.until_lines(runtime.space("ben"), "1", "2", "3")
            await scene.rest()
            await expect_lines(runtime.space("ben"), "1", "2", "3")


async def an_ask_of_a_turn_that_runs_again_is_the_same_ask(scene: Scene) -> None:
    """What a turn asked before its process ended it asks under the same id when it runs again: there is one turn."""
    scene.world.close_gate()
    async with scene.open_to_kill(Clerk) as runtime:
        await runtime.space("ann").send(Clerk.ask_on, "ben", "a")
        await scene.until_seen("ben has 1")
    scene.world.open_gate()
    async with scene.open(Clerk) as runtime:
        await scene.until_lines(runtime.space("ann"), "ben has 1")
        await expect_lines(runtime.space("ben"), "a")


async def a_handle_in_a_waiting_message_can_be_called(scene: Scene) -> None:
    """A handle that travelled as an argument is one of the next life's runtime when its message runs there."""
    scene.world.close_gate()
    async with scene.open_to_kill(Clerk) as runtime:
        await runtime.space("ann").send(Clerk.pass_gate, "a")
        await runtime.space("ann").send(Clerk.introduce, runtime.space("ben"))
    scene.world.open_gate()
    async with scene.open(Clerk) as runtime:
        await scene.until_lines(runtime.space("ben"), "greetings from ann")
        await expect_lines(runtime.space("ann"), "a")


async def options_of_a_message_are_kept(scene: Scene) -> None:
    """A message that is found pending has its id, headers, correlation id, sender and date still."""
    scene.world.close_gate()
    async with scene.open_to_kill(Clerk) as runtime:
        ann = runtime.space("ann").with_options(message_id="m", correlation_id="c", headers={"by": "me"})
        await ann.send(Clerk.pass_gate, "a")
        await ann.with_options(message_id="n").send(Clerk.crash, "b")
        accepted_by = scene.now()
    await scene.pass_time(3600)
    scene.world.open_gate()
    async with scene.open(Clerk) as runtime:

        async def failed() -> bool:
            return bool(await runtime.dead_letters.list())

        await scene.until(failed, "the second message failed")
        [letter] = await runtime.dead_letters.list()
        message = letter.message
        found = (message.id, message.correlation_id, dict(message.headers), message.args)
        expect(found, ("n", "c", {"by": "me"}, ("b",)), "id, correlation id, headers and arguments")
        expect_that(message.accepted_at <= accepted_by, f"it was accepted in its first life, not {message.accepted_at}")


async def who_asks_again_gets_the_answer_of_the_one_turn(scene: Scene) -> None:
    """The id of a message that was pending at the end of a life is known in the next, before and after its turn."""
    scene.world.close_gate()
    async with scene.open_to_kill(Clerk) as runtime:
        await runtime.space("ann").with_options(message_id="m").send(Clerk.pass_gate, "a")
    async with scene.open(Clerk) as runtime:
        ann = runtime.space("ann").with_options(message_id="m")
        answers: list[int] = []

        async def ask() -> None:
            answers.append(await ann.ask(Clerk.pass_gate, "a"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await scene.rest()
            await refused(BadCall, ann.send, Clerk.pass_gate, "b")
            scene.world.open_gate()
        expect(answers, [1], "the answers")
        expect(await ann.ask(Clerk.pass_gate, "a"), 1, "the answer after its end")
        await expect_lines(ann, "a")


async def what_a_drain_cannot_finish_stays_pending(scene: Scene) -> None:
    """At the drain's deadline messages stay where they are, are reported, and run in the next life."""
    scene.world.close_gate()
    async with scene.open(Clerk, drain_timeout=0.05) as runtime:
        ann = runtime.space("ann")
        for text in "ab":
            await ann.send(Clerk.pass_gate, text)
        await scene.until_seen("begin a 1")
        report = await runtime.drain(0.05)
        expect(sum(report.left.values()), 2, "the messages left")
        expect(await outcomes(runtime), {}, "the outcomes")
    scene.world.open_gate()
    async with scene.open(Clerk) as runtime:
        await scene.until_lines(runtime.space("ann"), *"ab")
        expect(await letters(runtime), [], "the dead letters")


async def a_message_that_always_ends_its_process_fails(scene: Scene) -> None:
    """After `max_recoveries` a message that is found at the head of its line again is a dead letter; the rest runs."""
    scene.world.close_gate()
    async with scene.open_to_kill(Doomed) as runtime:
        ann = runtime.space("ann")
        await ann.send(Doomed.pass_gate, "a")
        await ann.send(Doomed.add, "b")
        await scene.until_seen("begin a 1")
    async with scene.open_to_kill(Doomed):
        await scene.until_seen("begin a 1", "begin a 1")
    async with scene.open(Doomed) as runtime:
        await scene.until_lines(runtime.space("ann"), "b")
        [letter] = await runtime.dead_letters.list()
        expect((letter.message.call, letter.message.args), ("pass_gate", ("a",)), "the dead letter")
        expect(len(scene.world.seen), 2, "how often it began")


async def finished_steps_do_not_run_in_another_life(scene: Scene) -> None:
    """Steps that were recorded give back their results; the turn goes on behind them."""
    scene.world.close_gate()
    async with scene.open_to_kill(Clerk) as runtime:
        await runtime.space("ann").send(Clerk.buy, "a", "b")
        await scene.until_seen("charged a", "charged b", "charged all")
    scene.world.open_gate()
    async with scene.open(Clerk) as runtime:
        await scene.until_lines(runtime.space("ann"), "receipt for a", "receipt for b")
        await scene.until_seen("charged a", "charged b", "charged all", "charged all")


async def an_unfinished_step_runs_again(scene: Scene) -> None:
    """A step in which the process ended has no result: it runs again."""
    scene.world.close_gate()
    async with scene.open_to_kill(Clerk) as runtime:
        await runtime.space("ann").with_options(message_id="m").send(Clerk.buy_slowly, "a")
        await scene.until_seen("at the gate with a")
    scene.world.open_gate()
    async with scene.open(Clerk) as runtime:
        answer = await runtime.space("ann").with_options(message_id="m").ask(Clerk.buy_slowly, "a")
        expect(answer, "receipt for a", "the answer")
        await scene.until_seen("at the gate with a", "at the gate with a", "charged a")


async def a_failure_in_a_later_life_frees_the_id(scene: Scene) -> None:
    """A message that fails in its second life is a dead letter, and its id can be used again."""
    scene.world.close_gate()
    async with scene.open_to_kill(Clerk) as runtime:
        await runtime.space("ann").with_options(message_id="m").send(Clerk.stumble_to_gate, "a")
        await scene.until_seen("begin a 1")
    scene.world.failures = 1
    scene.world.open_gate()
    async with scene.open(Clerk) as runtime:
        ann = runtime.space("ann").with_options(message_id="m")

        async def failed() -> bool:
            return await letters(runtime) == ["m"]

        await scene.until(failed, "the message failed")
        expect(await ann.ask(Clerk.stumble_to_gate, "a"), 1, "the answer")


async def many_spaces_go_on_where_they_were(scene: Scene) -> None:
    """Forty spaces with three messages each, cut off anywhere, have handled each message once in the end."""
    names = [f"c{number:02}" for number in range(40)]

    async def finish(runtime: Runtime[Any]) -> None:
        for name in names:
            await scene.until_lines(runtime.space(name), *"abc")

    async with scene.open_to_kill(Sleepy) as runtime:
        for text in "abc":
            for name in names:
                await runtime.space(name).send(Sleepy.add, text)
    for _ in range(3):
        async with scene.open_to_kill(Sleepy):
            await trio.lowlevel.checkpoint()
    async with scene.open(Sleepy) as runtime:
        await finish(runtime)
        await scene.rest()
        await finish(runtime)


async def an_error_of_an_asker_is_not_kept(scene: Scene) -> None:
    """A message that failed before the process ended does not run again."""
    async with scene.open_to_kill(Clerk) as runtime:
        await refused(ActorCrashed, runtime.space("ann").ask, Clerk.crash, "a")
    async with scene.open(Clerk) as runtime:
        await scene.rest()
        await expect_lines(runtime.space("ann"))
        expect((await runtime.snapshot()).ledger.accepted, 0, "the accepted messages")
        expect(len(await letters(runtime)), 1, "the dead letters")
