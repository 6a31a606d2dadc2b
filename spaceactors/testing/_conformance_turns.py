"""Conformance: a turn is kept whole or not at all, in its order, and visible when its asker has the answer."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

import trio

from spaceactors._errors import ActorCrashed, Rejected
from spaceactors._feed import Emitted
from spaceactors.testing._conformance_actors import Clerk, Counter, Question, Said, Teller, Tryer
from spaceactors.testing._conformance_looks import counters, outcomes
from spaceactors.testing._conformance_scene import expect, expect_lines, expect_that, refused

if TYPE_CHECKING:
    from spaceactors._handle import SpaceHandle
    from spaceactors._runtime import Runtime
    from spaceactors.testing._conformance_scene import Scene


def types_in(note: tuple[Any, ...]) -> list[str]:
    """Return the types in a note: `1 == True`, and a list is soon a tuple."""
    return [type(one).__name__ for one in (*note, *note[6])]


# One of everything that can be written, in one value.
NOTE: Any = (
    None,
    True,
    -(2**70),
    1.5,
    "text ✓",
    b"\x00bytes",
    ["list", ("tuple", {"of": ["a", "dict"]})],
    frozenset({1, 2}),
    datetime(2031, 5, 6, 7, 8, 9, 123456, tzinfo=UTC),
    date(2031, 5, 6),
    timedelta(hours=1, microseconds=1),
    Decimal("1.10"),
    UUID(int=7),
    Question("of a class", 1),
)


async def what_a_turn_did_is_there_when_its_answer_is(scene: Scene) -> None:
    """State, history, events, counters and sends of a turn are there as soon as its asker has the answer."""
    async with scene.open(Clerk) as runtime:
        ann = runtime.space("ann")
        expect(await ann.ask(Clerk.everything, "a"), "a", "the answer")
        await expect_lines(ann, "a")
        expect(await ann.history.recent(9), ["a"], "the history")
        expect(await counters(runtime, ann), {"everything": 1}, "the counters")
        async with ann.subscribe(after=0) as feed:
            expect(await anext(feed), Emitted(Said("a"), 1), "the event")
        await scene.until_lines(runtime.space("ann-other"), "sent with a")
        await scene.pass_time(61)
        await scene.until_lines(ann, "a", "tick of a")


async def _expect_nothing(scene: Scene, runtime: Runtime[Any], ann: SpaceHandle[Any]) -> None:
    await ann.ask(Clerk.say, "first")
    await scene.pass_time(61)
    await expect_lines(ann)
    expect(len(ann.history), 0, "the length of the history")
    expect(await counters(runtime, ann), {}, "the counters")
    async with ann.subscribe(after=0) as feed:
        expect(await anext(feed), Emitted(Said("first"), 1), "the first event")
    await expect_lines(runtime.space("ann-other"))


async def a_turn_that_crashes_leaves_nothing(scene: Scene) -> None:
    """A crash rolls back the state, the history, events, counters, timers and sends of its turn."""
    async with scene.open(Clerk) as runtime:
        ann = runtime.space("ann")
        error = await refused(ActorCrashed, ann.ask, Clerk.crash, "a")
        expect_that(isinstance(error.__cause__, ValueError), f"the cause is the ValueError, not {error.__cause__!r}")
        await _expect_nothing(scene, runtime, ann)


async def a_turn_that_rejects_leaves_nothing(scene: Scene) -> None:
    """A rejection rolls back its turn, and its reason reaches the asker."""
    async with scene.open(Clerk) as runtime:
        ann = runtime.space("ann")
        error = await refused(Rejected, ann.ask, Clerk.reject, "a")
        expect(error.reason, {"because": "a"}, "the reason")
        await _expect_nothing(scene, runtime, ann)


async def a_turn_that_is_tried_again_is_kept_once(scene: Scene) -> None:
    """Of a message that crashes twice and then gets through, one turn is kept."""
    scene.world.failures = 2
    async with scene.open(Tryer) as runtime:
        ann = runtime.space("ann")
        expect(await ann.ask(Tryer.stumble, "a"), 1, "the answer")
        await expect_lines(ann, "a")
        expect(await ann.history.recent(9), ["a"], "the history")
        expect(scene.world.seen, ["tried a"] * 3, "the tries")


async def messages_of_a_space_run_in_the_order_of_acceptance(scene: Scene) -> None:
    """Fifty messages that were sent one after the other run in this order, some awaited and some not."""
    texts = [f"line {number}" for number in range(50)]
    async with scene.open(Clerk) as runtime:
        ann = runtime.space("ann")
        for number, text in enumerate(texts):
            if number % 2:
                ann.send_nowait(Clerk.add, text)
            else:
                await ann.send(Clerk.add, text)
        expect(await ann.ask(Clerk.look), tuple(texts), "the answer that came last")
        await expect_lines(ann, *texts)


async def spaces_run_side_by_side(scene: Scene) -> None:
    """Two hundred asks of forty spaces, all at once, leave each space with its own."""
    async with scene.open(Counter) as runtime:
        async with trio.open_nursery() as nursery:
            for number in range(200):
                nursery.start_soon(runtime.space(f"c{number % 40}").ask, Counter.add, number)
        for number in range(40):
            wanted = sum(range(number, 200, 40))
            expect(await runtime.space(f"c{number}").state(), wanted, f"the sum of c{number}")


async def sends_of_turns_arrive_once_and_in_order(scene: Scene) -> None:
    """What turns send arrives once each, the sends of one turn in their order."""
    async with scene.open(Clerk) as runtime:
        ann, ben = runtime.space("ann"), runtime.space("ben")
        await ann.ask(Clerk.send_on, "ben", "1", "2", "3")
        await ann.ask(Clerk.send_on, "ben", "4", "5")
        await scene.until_lines(ben, "1", "2", "3", "4", "5")
        await scene.rest()
        await expect_lines(ben, "1", "2", "3", "4", "5")


async def a_stream_is_kept_at_its_end(scene: Scene) -> None:
    """The items of a stream come as they are made, its state with the commit."""
    scene.world.close_gate()
    async with scene.open(Clerk) as runtime:
        ann = runtime.space("ann")
        async with ann.stream(Clerk.talk, 2) as words:
            expect([await anext(words) for _ in range(2)], ["word 0", "word 1"], "the items")
            await expect_lines(ann)
            scene.world.open_gate()
            expect([word async for word in words], [], "the items after the last")
        await scene.until_lines(ann, "word 0", "word 1")


async def values_come_back_as_they_were(scene: Scene) -> None:
    """Arguments, answers, states and entries come back equal and of the same types, whatever they are made of."""
    async with scene.open(Clerk) as runtime:
        ann = runtime.space("ann")
        answer = await ann.ask(Clerk.keep, NOTE)
        [entry] = await ann.history.recent(1)
        for what, found in (("answer", answer), ("state", (await ann.state()).note), ("entry", entry)):
            expect(found, NOTE, f"the {what}")
            expect(types_in(found), types_in(NOTE), f"the types in the {what}")


async def a_handle_can_be_sent(scene: Scene) -> None:
    """A handle that travels as an argument can be called by whoever gets it."""
    async with scene.open(Clerk) as runtime:
        expect(await runtime.space("ann").ask(Clerk.introduce, runtime.space("ben")), 1, "the answer of the friend")
        await expect_lines(runtime.space("ben"), "greetings from ann")


async def the_books_balance(scene: Scene) -> None:
    """Accepted messages are handled, rejected, failed or pending, and each is counted once."""
    scene.world.close_gate()
    async with scene.open(Clerk) as runtime:
        ann = runtime.space("ann")
        await ann.ask(Clerk.add, "a")
        await refused(Rejected, ann.ask, Clerk.reject, "b")
        await refused(ActorCrashed, ann.ask, Clerk.crash, "c")
        for text in "def":
            await ann.send(Clerk.pass_gate, text)
        expect(await outcomes(runtime), {"handled": 1, "rejected": 1, "failed": 1}, "the outcomes")
        ledger = (await runtime.snapshot()).ledger
        expect((ledger.accepted, ledger.pending), (6, 3), "accepted and pending")
        scene.world.open_gate()


async def spaces_of_a_group_take_turns(scene: Scene) -> None:
    """Of the spaces of one group one runs at a time, in the order in which their messages were accepted."""
    scene.world.close_gate()
    async with scene.open(Teller) as runtime:
        for name in ("x1", "x2", "y1"):
            await runtime.space(name).send(Teller.pass_gate, name)
            await scene.rest()
        expect(scene.world.seen, ["begin x1 1", "begin y1 1"], "who runs")
        scene.world.open_gate()
        await scene.until_lines(runtime.space("x2"), "x2")
