"""Who waits for whom is told as data and as text, at any moment."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
import trio

from spaceactors import (
    Actor,
    Limit,
    RuntimeConfig,
    SpaceOptions,
    StoreError,
    WaitInfo,
    WaitKind,
    Waits,
    handler,
)
from spaceactors.testing import open_test_runtime
from tests.spaceactors.scenes import opened, outcome_of, settled


class Clerk(Actor[int], kind="clerk"):
    """Does what it is given to do; those of ids such as `a-1` share the lane `a`."""

    options = SpaceOptions(mailbox_capacity=2, backoff=None)

    @classmethod
    def group_of(cls, space_id: str, /) -> str | None:
        return space_id.split("-", maxsplit=1)[0] if "-" in space_id else None

    @handler
    async def do(self, act):
        return await act(self)

    @handler(limit="scarce")
    async def do_alone(self, act):
        return await act(self)

    @handler
    async def talk(self, number):
        for item in range(number):
            yield item


async def for_ever(clerk):
    await trio.sleep_forever()


async def nothing(clerk):
    pass


def asks(target, act):
    async def ask(clerk):
        return await clerk.space(target).ask(Clerk.do, act)

    return ask


@asynccontextmanager
async def office(**options):
    """Open a runtime; at the end all of its spaces are killed, and who waits for them is told so."""
    async with opened(Clerk, limits=[Limit("scarce", 1), Limit("wide", 9)], **options) as runtime:
        async with trio.open_nursery() as nursery:
            try:
                yield Scene(runtime, nursery)
            finally:
                nursery.cancel_scope.cancel()
        for space in tuple(runtime._hub.live.values()):
            await space.handle.kill()


class Scene:
    def __init__(self, runtime, nursery):
        self.runtime, self.nursery = runtime, nursery

    async def begin(self, space, act, method=Clerk.do):
        self.nursery.start_soon(outcome_of, self.runtime.space(space).ask, method, act)
        await settled()

    async def outside(self, call, *args):
        self.nursery.start_soon(outcome_of, call, *args)
        await settled()

    def waits(self):
        return [(one.space, one.call, one.kind, one.target) for one in self.runtime.waits()]


async def test_O5_nobody_waits_in_a_runtime_that_rests():
    async with office() as scene:
        await scene.runtime.space("a").ask(Clerk.do, nothing)
        assert scene.runtime.waits() == ()
        assert str(scene.runtime.waits()) == "nobody waits"


async def test_O5_a_turn_waits_for_the_answer_of_another_space():
    async with office() as scene:
        await trio.sleep(5)
        await scene.begin("a", asks("b", asks("c", for_ever)))
        await trio.sleep(2)
        waits = scene.runtime.waits()
        assert isinstance(waits, Waits)
        assert scene.waits() == [("a", "do", WaitKind.ANSWER, "b"), ("b", "do", WaitKind.ANSWER, "c")]
        assert [one.since for one in waits] == [5, 5]
        assert waits.at == 7
        assert str(waits) == ("a (do) waits for an answer of b, for 2.0 s\nb (do) waits for an answer of c, for 2.0 s")


async def test_O5_a_wait_that_is_over_is_not_told():
    async with office() as scene:
        release = trio.Event()

        async def wait(clerk):
            await release.wait()

        await scene.begin("a", asks("b", wait))
        assert len(scene.waits()) == 1
        release.set()
        await settled()
        assert scene.waits() == []


async def test_O5_each_of_several_questions_of_a_turn_is_told():
    async def ask_both(clerk):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(asks("b", for_ever), clerk)
            nursery.start_soon(asks("c", for_ever), clerk)

    async with office() as scene:
        await scene.begin("a", ask_both)
        assert {one[3] for one in scene.waits()} == {"b", "c"}


async def test_O5_turns_wait_for_tokens_with_their_places_in_line():
    async def hold_two(clerk):
        async with clerk.limits.hold("wide", "scarce"):
            await trio.sleep_forever()

    async with office() as scene:
        await scene.outside(hold, scene.runtime)
        await scene.begin("a", hold_two)
        await scene.begin("b", nothing, Clerk.do_alone)
        assert scene.waits() == [
            ("a", "do", WaitKind.TOKEN, "scarce"),
            ("b", "do_alone", WaitKind.TOKEN, "scarce"),
        ]
        assert [one.position for one in scene.runtime.waits()] == [1, 2]
        assert "b (do_alone) waits for a token of scarce, number 2 in line" in str(scene.runtime.waits())


async def hold(runtime):
    async with runtime.limits.hold("scarce"):
        await trio.sleep_forever()


async def test_O5_background_work_waits_for_tokens_without_a_message():
    async def start(clerk):
        clerk.start_soon(work, clerk)

    async def work(clerk):
        async with clerk.limits.hold("scarce"):
            pass

    async with office() as scene:
        await scene.outside(hold, scene.runtime)
        await scene.runtime.space("a").ask(Clerk.do, start)
        await settled()
        assert scene.waits() == [("a", None, WaitKind.TOKEN, "scarce")]


async def test_O5_turns_and_senders_wait_for_places_in_line():
    async with office() as scene:
        target = scene.runtime.space("b")
        for _ in range(3):  # one has its turn, two the places
            await target.send(Clerk.do, for_ever)
        await scene.outside(target.send, Clerk.do, nothing)
        await scene.begin("a", asks("b", nothing))
        assert scene.waits() == [
            ("a", "do", WaitKind.PLACE, "b"),
            (None, "do", WaitKind.PLACE, "b"),
        ]
        assert [one.position for one in scene.runtime.waits()] == [2, 1]
        assert "somebody outside (do) waits for a place in b, number 1 in line, for 0.0 s" in str(scene.runtime.waits())


async def test_O5_a_space_that_has_sent_too_much_waits_for_a_place():
    async def flood(clerk):
        for _ in range(3):
            await clerk.space("b").send(Clerk.do, nothing)

    async with office() as scene:
        await scene.runtime.space("b").send(Clerk.do, for_ever)
        await scene.runtime.space("a").ask(Clerk.do, flood)
        await scene.begin("a", nothing)
        assert scene.waits() == [("a", "do", WaitKind.PLACE, "b")]


async def test_O5_spaces_and_senders_wait_for_places_among_the_live():
    async with office(config=RuntimeConfig(max_live_spaces=1)) as scene:
        await scene.begin("a", for_ever)
        await scene.outside(scene.runtime.space("b").send, Clerk.do, nothing)
        assert scene.waits() == [(None, "do", WaitKind.PLACE, "the live spaces")]


async def test_O5_in_a_lane_the_next_waits_for_who_has_it():
    async with office() as scene:
        await scene.begin("a-1", for_ever)
        await scene.begin("a-2", nothing)
        assert scene.waits() == [("a-2", "do", WaitKind.LANE, "a-1")]


async def test_O5_a_lane_that_is_lent_is_had_by_all_whose_turns_are_open():
    async with office() as scene:
        await scene.begin("a-1", asks("x", asks("a-2", for_ever)))
        await scene.begin("a-3", nothing)
        assert scene.waits() == [
            ("a-1", "do", WaitKind.ANSWER, "x"),
            ("x", "do", WaitKind.ANSWER, "a-2"),
            ("a-3", "do", WaitKind.LANE, "a-1, a-2"),
        ]


async def test_O5_a_turn_waits_for_its_lane_to_come_back():
    async def ask_for_a_while(clerk):
        with trio.move_on_after(5):
            await asks("a-2", for_ever)(clerk)

    async with office() as scene:
        await scene.begin("a-1", asks("x", ask_for_a_while))
        await trio.sleep(6)
        assert scene.waits() == [("a-1", "do", WaitKind.LANE, "a-2")]


async def test_O5_a_space_that_a_turn_has_sent_to_waits_for_a_place_among_the_live():
    async def send_on(clerk):
        await clerk.space("b").send(Clerk.do, nothing)

    async with office(config=RuntimeConfig(max_live_spaces=1)) as scene:
        handle = scene.runtime.space("a")
        await handle.send(Clerk.do, send_on)
        await handle.send(Clerk.do, for_ever)
        await settled()
        assert scene.waits() == [("b", "do", WaitKind.PLACE, "the live spaces")]


async def test_O5_a_space_waits_for_a_store_that_cannot_write():
    class Plain(Actor[int], kind="plain"):
        @handler
        async def add(self):
            self.state += 1

    async with open_test_runtime(Plain) as runtime:
        with runtime.fault("before_commit", StoreError("the disk is full")):
            await runtime.space("a").send(Plain.add)
            await runtime.settle()
            (wait,) = runtime.waits()
            assert (wait.space, wait.call, wait.kind) == ("a", "add", WaitKind.STORE)


async def test_O5_a_stream_waits_for_its_reader_and_a_reader_for_the_stream():
    async def read_slowly(clerk):
        async with clerk.space("b").stream(Clerk.talk, 100) as items:
            await anext(items)
            await trio.sleep_forever()

    async def read_on(clerk):
        async with clerk.space("c").stream(Clerk.talk, 1) as items:
            async for _ in items:
                pass

    async with office() as scene:
        await scene.begin("a", read_slowly)
        assert scene.waits() == [("b", "talk", WaitKind.READER, "a")]
        await scene.runtime.space("c").send(Clerk.do, for_ever)
        await scene.begin("d", read_on)
        assert ("d", "do", WaitKind.ANSWER, "c") in scene.waits()


async def test_O5_a_turn_waits_for_an_answer_from_outside():
    async def doubt(clerk):
        return await clerk.suspend("sure", "sure?", answer=str)

    async with office() as scene:
        await scene.begin("a", doubt)
        assert scene.waits() == [("a", "do", WaitKind.QUESTION, "sure")]
        assert str(scene.runtime.waits()) == "a (do) waits for an answer to the question sure"


async def test_O5_a_turn_waits_for_the_end_of_another_space():
    async def drain_other(clerk):
        await clerk.space("b").drain()

    async with office() as scene:
        await scene.begin("b", for_ever)
        await scene.begin("a", drain_other)
        assert scene.waits() == [("a", "do", WaitKind.END, "b")]


@pytest.mark.parametrize("kind", list(WaitKind))
def test_O5_every_kind_has_a_text(kind):
    text = str(WaitInfo("a", "m-1", "do", kind, "the target"))
    assert text.startswith("a (do) waits for ")
    assert "the target" in text
