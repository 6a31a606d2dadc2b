"""Turns and life where two things happen at once: questions, cuts, lost versions, hooks, several turns at a time."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from spaceactors import (
    Actor,
    ActorCrashed,
    Outcome,
    SpaceOptions,
    WhenBusy,
    handler,
    open_runtime,
)


class Asker(Actor[int]):
    """Asks the world outside, from below the handler's own task too."""

    options = SpaceOptions(backoff=None)

    @handler
    async def both(self):
        answers = []

        async def ask(name):
            answers.append(await self.suspend(name, "?", answer=str))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, "a")
            nursery.start_soon(ask, "b")
        return sorted(answers)

    @handler
    async def beside_a_failure(self):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._fail_on_the_way_out)
            await trio.lowlevel.checkpoint()
            await self.suspend("a", "?", answer=str)

    async def _fail_on_the_way_out(self):
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("clean-up")

    @handler
    async def after(self, event):
        await event.wait()
        return await self.suspend("a", "?", answer=str)

    @handler(when_busy=WhenBusy.INTERRUPT)
    async def now(self):
        return "now"


async def test_H2_two_questions_asked_at_once_are_answered_one_after_the_other():
    async with open_runtime(Asker) as runtime, trio.open_nursery() as nursery:
        replies = []

        async def ask():
            replies.append(await runtime.space("a").ask(Asker.both))

        nursery.start_soon(ask)
        for value in ("one", "two"):
            await wait_all_tasks_blocked()
            (question,) = await runtime.suspensions.list()
            await runtime.suspensions.answer(question.id, value)
        await wait_all_tasks_blocked()
        assert replies == [["one", "two"]]


async def test_a_failure_beside_a_question_fails_the_turn_and_asks_nothing():
    async with open_runtime(Asker) as runtime:
        with pytest.raises(ActorCrashed, match="clean-up"):
            await runtime.space("a").ask(Asker.beside_a_failure)
        assert await runtime.suspensions.list() == []
        assert await runtime.space("a").ask(Asker.now) == "now"


async def test_an_interruption_holds_though_the_turn_asks_a_question_in_the_same_moment():
    async with open_runtime(Asker) as runtime:
        space = runtime.space("a")
        event = trio.Event()
        space.send_nowait(Asker.after, event)
        await wait_all_tasks_blocked()
        event.set()
        assert await space.ask(Asker.now) == "now"
        assert (await runtime.snapshot()).ledger.outcomes[Outcome.DISCARDED] == 1
