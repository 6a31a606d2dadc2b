"""C10: a turn whose limit is needed more elsewhere is rolled back and runs again later, and it is nobody's fault."""

from __future__ import annotations

import gc
from contextlib import asynccontextmanager

import pytest
import trio

from spaceactors import (
    Actor,
    ActorCrashed,
    DeadLetter,
    Limit,
    MessageRetried,
    MessageSettled,
    Outcome,
    Priority,
    RestartLimit,
    RuntimeConfig,
    SpaceCrashed,
    SpaceOptions,
    SpaceStatus,
    handler,
)
from supervisors import Preempted
from tests.spaceactors.scenes import opened, outcome_of, settled
from tests.spaceactors.services import SlowDisk, SlowStore, watching


class Render(Actor[int], kind="render"):
    """Works for seconds on something scarce, and leaves traces of every kind before."""

    options = SpaceOptions(restart_limit=RestartLimit(0, 1.0), backoff=None)

    def __init__(self, diary: list[str]) -> None:
        self.diary = diary

    async def leave_traces(self):
        self.diary.append(f"{self.id} begins {self.message.attempt}")
        self.state += 1
        self.history.append(f"try {self.message.attempt}")
        self.emit("working")
        self.count("tries", 1)
        self.schedule("later", Render.note, "tick", after=1000)
        await self.space("log").send(Render.note, self.id)

    @handler
    async def block(self, seconds: float) -> int:
        await self.leave_traces()
        async with self.limits.hold("gpu"):
            await trio.sleep(seconds)
        return self.state

    @handler
    async def nursery(self, seconds: float) -> int:
        await self.leave_traces()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.held, seconds)
        return self.state

    async def held(self, seconds):
        async with self.limits.hold("gpu"):
            await trio.sleep(seconds)

    @handler(limit="gpu")
    async def all_of_it(self, seconds: float) -> int:
        await self.leave_traces()
        await trio.sleep(seconds)
        return self.state

    @handler
    async def a_step(self, seconds: float) -> int:
        await self.leave_traces()
        await self.step("first", self.effect, "first")
        await self.step("second", self.effect, "second", seconds, limit="gpu")
        return self.state

    async def effect(self, name: str, seconds: float = 0.0) -> None:
        self.diary.append(name)
        await trio.sleep(seconds)

    @handler
    async def answered(self, seconds: float) -> str:
        answer = await self.suspend("q", "sure?", answer=str)
        async with self.limits.hold("gpu"):
            await trio.sleep(seconds)
        return answer

    @handler
    async def catches(self, seconds: float) -> str:
        try:
            async with self.limits.hold("gpu"):
                await trio.sleep(seconds)
        except Preempted as error:
            self.state += 1
            return str(error)
        return "not preempted"

    @handler(limit="gpu")
    async def items(self, before: int, seconds: float):
        self.diary.append("items")
        for number in range(before):
            yield number
        await trio.sleep(seconds)
        yield before

    @handler
    async def asks(self, target: str, seconds: float) -> int:
        return await self.space(target).ask(Render.block, seconds)

    @handler(limit="gpu", max_attempts=2)
    async def flaky(self, seconds: float) -> int:
        """Fails in the try that counts as the first."""
        self.diary.append(f"attempt {self.message.attempt}")
        await trio.sleep(seconds)
        if self.message.attempt == 1:
            raise ValueError
        return self.message.attempt

    @handler
    async def note(self, text: str) -> None:
        self.diary.append(f"note {text}")


FAULTS = (SpaceCrashed, MessageRetried, MessageSettled)


@pytest.fixture(params=["memory", "disk"])
def store(request, tmp_path):
    """Both kinds of store; None is the one in memory."""
    yield None if request.param == "memory" else SlowStore(SlowDisk(tmp_path / "spaces.db"))
    gc.collect()


@asynccontextmanager
async def scene(diary, *, store=None, turns=None, tokens=1):
    limits = [Limit("gpu", tokens, preemptible=True)]
    async with (
        opened(Render, deps=diary, limits=limits, store=store, config=RuntimeConfig(max_turns=turns)) as runtime,
        trio.open_nursery() as nursery,
    ):
        yield runtime, nursery
        nursery.cancel_scope.cancel()


def asking(runtime, nursery, answers, name, method, *args):
    async def ask():
        answers[name] = await outcome_of(runtime.space(name).ask, method, *args)

    nursery.start_soon(ask)


async def preempt(runtime, name="urgent", seconds=1.0):
    return await runtime.space(name).with_options(priority=Priority.URGENT).ask(Render.block, seconds)


def without_notes(diary):
    return [line for line in diary if not line.startswith(("note", "urgent"))]


@pytest.mark.parametrize("turns", [None, 1, 2])
@pytest.mark.parametrize("method", [Render.block, Render.nursery, Render.all_of_it, Render.a_step])
async def test_C10_a_preempted_turn_is_rolled_back_and_runs_again_later(store, turns, method):
    diary, answers = [], {}
    async with (
        scene(diary, store=store, turns=turns) as (runtime, nursery),
        watching(runtime, *FAULTS) as faults,
    ):
        slow = runtime.space("slow")
        async with slow.subscribe() as feed:
            asking(runtime, nursery, answers, "slow", method, 10.0)
            if turns == 1:
                # The token of `turns` is not the one that can be taken away.
                await trio.sleep(0.5)
                runtime.limits.resize("turns", 2)
            await trio.sleep(5)
            await preempt(runtime)
            await trio.sleep(5)
            assert answers == {}
            assert (await slow.state(), await slow.history.read()) == (0, [])
            await trio.sleep(10)
            assert answers == {"slow": 1}
            assert await slow.state() == 1
            assert [entry.value for entry in await slow.history.read()] == ["try 1"]
            assert (await anext(feed)).position == 1
        [figures] = [one for one in (await runtime.snapshot()).spaces if one.id == "slow"]
        assert figures.counters == {"tries": 1}
        assert faults == []
        assert without_notes(diary)[:1] * 2 == [line for line in diary if line.startswith("slow begins")]
        assert diary.count("note slow") == 1
        if method is Render.a_step:
            assert (diary.count("first"), diary.count("second")) == (1, 2)
        ledger = (await runtime.snapshot()).ledger
        assert (ledger.outcomes[Outcome.HANDLED], ledger.outcomes[Outcome.FAILED]) == (4, 0)
        assert await runtime.dead_letters.list() == []
        assert runtime.limits.statistics()["gpu"].held == 0
        assert runtime.limits.statistics()["gpu"].preempted == 1


async def test_C10_a_turn_that_is_preempted_again_and_again_is_no_fault_of_its_actor(store):
    """Its space would be quarantined by its first crash."""
    diary, answers = [], {}
    async with scene(diary, store=store) as (runtime, nursery), watching(runtime, *FAULTS) as faults:
        asking(runtime, nursery, answers, "slow", Render.all_of_it, 10.0)
        for _ in range(7):
            await trio.sleep(5)
            await preempt(runtime)
        await trio.sleep(20)
        assert answers == {"slow": 1}
        assert faults == []
        [figures] = [one for one in (await runtime.snapshot()).spaces if one.id == "slow"]
        assert (figures.restarts, figures.incarnation) == (0, 1)
        assert figures.status is not SpaceStatus.QUARANTINED


async def test_C10_no_attempt_is_counted():
    diary, answers = [], {}

    class Patient(Render, kind="render"):
        options = SpaceOptions(restart_limit=RestartLimit(5, 1.0), backoff=None)

    limits = [Limit("gpu", 1, preemptible=True)]
    async with opened(Patient, deps=diary, limits=limits) as runtime, trio.open_nursery() as nursery:
        asking(runtime, nursery, answers, "slow", Render.flaky, 10.0)
        for _ in range(3):
            await trio.sleep(5)
            await preempt(runtime)
    assert answers == {"slow": 2}
    assert diary.count("attempt 1") == 4
    assert diary.count("attempt 2") == 1


async def test_C10_who_asked_in_a_turn_waits_through_it_and_asks_once(store):
    diary, answers = [], {}
    async with scene(diary, store=store, turns=2) as (runtime, nursery):
        asking(runtime, nursery, answers, "asker", Render.asks, "slow", 10.0)
        await trio.sleep(5)
        await preempt(runtime)
        await trio.sleep(20)
        assert answers == {"asker": 1}
        assert diary.count("slow begins 1") == 2


async def test_C10_a_preempted_turn_keeps_its_place_in_its_space():
    diary, answers = [], {}
    async with scene(diary) as (runtime, nursery):
        asking(runtime, nursery, answers, "slow", Render.block, 10.0)
        await settled()
        await runtime.space("slow").send(Render.note, "after it")
        await trio.sleep(5)
        await preempt(runtime)
        await trio.sleep(20)
        assert [line for line in diary if line.startswith(("slow", "note after"))] == [
            "slow begins 1",
            "slow begins 1",
            "note after it",
        ]


async def test_C10_the_answer_to_a_question_is_asked_for_once(store):
    diary, answers = [], {}
    async with scene(diary, store=store) as (runtime, nursery):
        asking(runtime, nursery, answers, "slow", Render.answered, 10.0)
        await trio.sleep(1)
        [question] = await runtime.suspensions.list()
        await runtime.suspensions.answer(question.id, "yes")
        await trio.sleep(5)
        await preempt(runtime)
        await trio.sleep(20)
        assert await runtime.suspensions.list() == []
        assert answers == {"slow": "yes"}


async def test_C10_a_stream_that_has_handed_items_over_fails_instead(store):
    diary, answers, got = [], {}, []

    async def read(runtime):
        try:
            async with runtime.space("slow").stream(Render.items, 2, 10.0) as items:
                async for item in items:
                    got.append(item)  # noqa: PERF401 (what came before the error counts)
        except ActorCrashed as error:
            answers["cause"] = error.__cause__

    async with scene(diary, store=store) as (runtime, nursery), watching(runtime, *FAULTS) as faults:
        nursery.start_soon(read, runtime)
        await trio.sleep(5)
        await preempt(runtime)
        await trio.sleep(20)
        assert got == [0, 1]
        assert isinstance(answers["cause"], Preempted)
        # The message has failed, and the actor lives.
        assert [type(fault) for fault in faults] == [MessageSettled]
        assert (await runtime.space("slow").info()).restarts == 0
        assert [type(letter) for letter in await runtime.dead_letters.list()] == [DeadLetter]
    assert diary.count("items") == 1


async def test_C10_a_stream_that_has_handed_nothing_over_begins_again(store):
    diary, got = [], []

    async def read(runtime):
        async with runtime.space("slow").stream(Render.items, 0, 10.0) as items:
            async for item in items:
                got.append(item)  # noqa: PERF401 (looked at meanwhile)

    async with scene(diary, store=store) as (runtime, nursery):
        nursery.start_soon(read, runtime)
        await trio.sleep(5)
        await preempt(runtime)
        await trio.sleep(20)
        assert got == [0]
    assert diary.count("items") == 2


async def test_C10_a_handler_that_catches_it_goes_on(store):
    answers = {}
    async with scene([], store=store) as (runtime, nursery):
        asking(runtime, nursery, answers, "slow", Render.catches, 10.0)
        await trio.sleep(5)
        await preempt(runtime)
        await settled()
        assert answers == {"slow": "limit 'gpu': URGENT work took the token of this NORMAL work"}
        assert await runtime.space("slow").state() == 1


async def test_C10_an_urgent_turn_takes_no_token_of_another_urgent_one():
    diary, answers = [], {}
    async with scene(diary) as (runtime, nursery):

        async def ask():
            answers["first"] = await preempt(runtime, "first", 10.0)

        nursery.start_soon(ask)
        await trio.sleep(5)
        await preempt(runtime, "second")
        assert trio.current_time() == 11
        assert answers == {"first": 1}
    assert diary.count("first begins 1") == 1


async def test_C10_a_turn_that_is_killed_as_it_is_preempted_ends_as_killed():
    diary, answers = [], {}
    async with scene(diary) as (runtime, nursery):
        asking(runtime, nursery, answers, "slow", Render.block, 10.0)
        await trio.sleep(5)
        asking(runtime, nursery, answers, "urgent", Render.note, "x")
        urgent = runtime.space("urgent").with_options(priority=Priority.URGENT)
        await urgent.send(Render.block, 1.0)
        await runtime.space("slow").kill()
        await trio.sleep(20)
        assert type(answers["slow"]).__name__ == "MessageReturned"
        assert diary.count("slow begins 1") == 1
        assert runtime.limits.statistics()["gpu"].held == 0


async def test_C10_who_waits_for_its_turn_with_what_it_holds_lets_go_of_it_in_the_end():
    """The holder has got its limit, and waits for the token of its turn: the urgent one comes after that."""
    diary, answers = [], {}

    async with scene(diary, turns=1) as (runtime, nursery):
        async with runtime.limits.hold("gpu", priority=Priority.URGENT):
            asking(runtime, nursery, answers, "slow", Render.block, 10.0)
            await trio.sleep(1)
            asking(runtime, nursery, answers, "busy", Render.flaky, 0.0)  # waits for the limit as well
            asking(runtime, nursery, answers, "walker", Render.note, "in between")
            await settled()
        with trio.fail_after(60):
            await preempt(runtime)
            await trio.sleep(30)
        assert answers["slow"] == 1
        assert runtime.limits.statistics()["turns"].held == 0
