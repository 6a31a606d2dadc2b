"""Calls are taken no faster than they are answered."""

from __future__ import annotations

import trio
import trio.testing

from spaceactors import Actor, handler, handlers_of, open_runtime
from spaceactors.cli._intake import Intake
from spaceactors.cli._lines import Call, Invalid
from spaceactors.cli._results import Result


class Door(Actor):
    """Answers when it is opened."""

    opened = trio.Event()

    @handler
    async def knock(self) -> str:
        await self.opened.wait()
        return "come in"

    @handler
    async def ring(self) -> str:
        return "hello"


async def test_the_reader_waits_while_too_many_calls_have_no_answer(autojump_clock: trio.testing.MockClock) -> None:
    Door.opened = trio.Event()
    results, told = trio.open_memory_channel[Result](10)
    async with open_runtime(Door) as runtime, trio.open_nursery() as askers:
        intake = Intake(runtime, handlers_of(Door), askers, results, in_flight=2)
        await intake.take(Call(1, "front", "knock"))
        await intake.take(Call(2, "front", "ring"))
        with trio.move_on_after(60) as patience:
            await intake.take(Call(3, "back", "ring"))
        assert patience.cancelled_caught
        Door.opened.set()
        await intake.take(Call(3, "back", "ring"))
        await intake.wait_answered()
    seen = [told.receive_nowait() for _ in range(3)]
    assert [result.position for result in seen if result.space == "front"] == [0, 1]


async def test_nothing_waits_for_an_answer_when_all_are_told(autojump_clock: trio.testing.MockClock) -> None:
    Door.opened = trio.Event()
    results, told = trio.open_memory_channel[Result](10)
    async with open_runtime(Door) as runtime, trio.open_nursery() as askers:
        intake = Intake(runtime, handlers_of(Door), askers, results, in_flight=5)
        await intake.take(Call(1, "front", "knock"))
        with trio.move_on_after(60) as patience:
            await intake.wait_answered()
        assert patience.cancelled_caught
        Door.opened.set()
        await intake.wait_answered()
        assert told.receive_nowait().reply == "come in"


async def test_an_invalid_line_takes_no_place_and_no_position() -> None:
    results, told = trio.open_memory_channel[Result](10)
    async with open_runtime(Door) as runtime, trio.open_nursery() as askers:
        intake = Intake(runtime, handlers_of(Door), askers, results, in_flight=1)
        await intake.take(Invalid(1, "no JSON", "front"))
        await intake.take(Call(2, "front", "ring"))
        await intake.wait_answered()
    seen = [told.receive_nowait() for _ in range(2)]
    assert [(result.outcome, result.position, result.line) for result in seen] == [
        ("invalid", None, 1),
        ("handled", 0, None),
    ]
