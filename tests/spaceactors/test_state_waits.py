"""Steps that a second try does not run again, and turns that wait for an answer from outside."""

from __future__ import annotations

from functools import partial

import pytest
import trio

from spaceactors import (
    Actor,
    ActorCrashed,
    MessageDiscarded,
    MessageReturned,
    Outcome,
    OutsideTurn,
    RestartLimit,
    Retry,
    SpaceOptions,
    SpaceStatus,
    SuspensionClosed,
    SuspensionExpired,
    WhenBusy,
    handler,
)
from tests.spaceactors.scenes import opened, outcome_of, settled

pytestmark = pytest.mark.usefixtures("autojump_clock")

CALM = SpaceOptions(restart_limit=RestartLimit(1000, 1.0), backoff=None)


class Clerk(Actor[tuple[object, ...]], kind="clerk"):
    options = CALM

    async def work(self, name: str, failures: int = 0, seconds: float = 0.0) -> str:
        done.append(name)
        await trio.sleep(seconds)
        if done.count(name) <= failures:
            raise ValueError(name)
        return f"{name} {done.count(name)}"

    @handler(max_attempts=3)
    async def two_steps(self, crashes: int) -> tuple[object, ...]:
        first = await self.step("a", self.work, "a")
        second = await self.step("b", self.work, "b")
        again = await self.step("b", self.work, "b")
        if self.message.attempt <= crashes:
            raise ValueError
        return first, second, again

    @handler
    async def stubborn(self, retry: object, failures: int) -> object:
        return await self.step("a", self.work, "a", failures, retry=retry)

    @handler
    async def slow(self, seconds: float, timeout: float) -> object:
        return await self.step("a", self.work, "a", 0, seconds, timeout=timeout)

    @handler
    async def approve(self, what: str) -> tuple[str, object]:
        await self.step("before", self.work, "before")
        answer = await self.suspend("ok?", what, answer=str)
        self.state = (*self.state, answer)
        return what, answer

    @handler
    async def approve_soon(self, default: object = ...) -> object:
        if default is ...:
            return await self.suspend("ok?", None, answer=str, timeout=10.0)
        return await self.suspend("ok?", None, answer=str, timeout=10.0, default=default)

    @handler
    async def approve_twice(self) -> tuple[str, str]:
        return await self.suspend("ok?", 1, answer=str), await self.suspend("ok?", 2, answer=str)

    @handler
    async def note(self, text: object) -> None:
        self.state = (*self.state, text)

    @handler(when_busy=WhenBusy.INTERRUPT)
    async def interrupt(self) -> str:
        return "interrupted"


done: list[str] = []


@pytest.fixture(autouse=True)
def _forget():
    done.clear()


@pytest.mark.parametrize("crashes", [0, 1, 2])
async def test_finished_steps_do_not_run_again_in_a_second_try(crashes):
    async with opened(Clerk) as runtime:
        assert await runtime.space("x").ask(Clerk.two_steps, crashes) == ("a 1", "b 1", "b 2")
        assert done == ["a", "b", "b"]


async def test_another_message_has_steps_of_its_own():
    async with opened(Clerk) as runtime:
        await runtime.space("x").ask(Clerk.two_steps, 0)
        await runtime.space("x").ask(Clerk.two_steps, 0)
        assert done == ["a", "b", "b"] * 2


async def test_D5_a_failed_step_is_tried_again_by_its_own_policy():
    async with opened(Clerk) as runtime:
        assert await runtime.space("x").ask(Clerk.stubborn, Retry(3), 2) == "a 3"


@pytest.mark.parametrize(("retry", "tries"), [(None, 1), (Retry(3), 3), (Retry(3, on=KeyError), 1)])
async def test_D5_a_step_that_fails_for_good_raises_its_own_error(retry, tries):
    async with opened(Clerk) as runtime:
        error = await outcome_of(runtime.space("x").ask, Clerk.stubborn, retry, 99)
        assert isinstance(error.__cause__, ValueError)
        assert len(done) == tries


async def test_D5_a_step_waits_between_its_tries():
    async with opened(Clerk) as runtime:
        await runtime.space("x").ask(Clerk.stubborn, Retry(3, wait=lambda _: 5.0), 2)
        assert trio.current_time() == 10.0


async def test_a_step_that_takes_too_long_is_cancelled():
    async with opened(Clerk) as runtime:
        error = await outcome_of(runtime.space("x").ask, Clerk.slow, 100.0, 5.0)
        assert isinstance(error.__cause__, trio.TooSlowError)
        assert trio.current_time() == 5.0


async def test_a_hook_has_no_steps():
    class Hooked(Actor):
        options = CALM

        async def on_start(self) -> None:
            with pytest.raises(OutsideTurn, match="turn without a message"):
                await self.step("a", trio.lowlevel.checkpoint)

        @handler
        async def hello(self) -> str:
            return "hello"

    async with opened(Hooked) as runtime:
        assert await runtime.space("x").ask(Hooked.hello) == "hello"


# ---- suspensions


async def answers_of(nursery, call):
    """Start an ask; return the list into which its answer or error will come."""
    found = []

    async def ask():
        found.append(await outcome_of(call))

    nursery.start_soon(ask)
    await settled()
    return found


async def test_H2_the_turn_goes_on_with_the_answer_and_its_finished_steps():
    async with opened(Clerk) as runtime, trio.open_nursery() as nursery:
        found = await answers_of(nursery, partial(runtime.space("x").ask, Clerk.approve, "refund"))
        await trio.sleep(1000)
        (question,) = await runtime.suspensions.list()
        assert (question.name, question.question, question.space) == ("ok?", "refund", runtime.space("x"))
        await runtime.suspensions.answer(question.id, "yes")
        await settled()
        assert (found, done) == ([("refund", "yes")], ["before"])
        assert await runtime.suspensions.list() == []


async def test_H6_a_suspended_space_runs_nothing_and_keeps_its_messages():
    async with opened(Clerk) as runtime:
        space = runtime.space("x")
        await space.send(Clerk.approve, "a")
        await space.send(Clerk.note, "b")
        await settled()
        info = await space.info()
        ledger = (await runtime.snapshot()).ledger
        assert (info.status, info.depth, ledger.pending) == (SpaceStatus.SUSPENDED, 1, 2)


async def test_the_answered_turn_comes_before_what_waits():
    async with opened(Clerk) as runtime:
        space = runtime.space("x")
        await space.send(Clerk.approve, "a")
        await space.send(Clerk.note, "later")
        await settled()
        await runtime.suspensions.answer((await runtime.suspensions.list())[0].id, "yes")
        await settled()
        assert await space.state() == ("yes", "later")


async def test_H7_other_spaces_go_on():
    async with opened(Clerk) as runtime:
        await runtime.space("x").send(Clerk.approve, "a")
        await runtime.space("y").ask(Clerk.note, "b")
        assert await runtime.space("y").state() == ("b",)


async def test_H3_one_answer_wins_and_the_others_are_told():
    async with opened(Clerk) as runtime:
        await runtime.space("x").send(Clerk.approve, "a")
        await settled()
        (question,) = await runtime.suspensions.list()
        await runtime.suspensions.answer(question.id, "first")
        assert isinstance(await outcome_of(runtime.suspensions.answer, question.id, "second"), SuspensionClosed)
        await settled()
        assert await runtime.space("x").state() == ("first",)


async def test_H5_an_answer_to_a_question_that_never_was_is_refused():
    async with opened(Clerk) as runtime:
        assert isinstance(await outcome_of(runtime.suspensions.answer, "nobody/asked", 1), SuspensionClosed)


async def test_an_answer_of_another_type_is_refused_and_the_question_stays_open():
    async with opened(Clerk) as runtime:
        await runtime.space("x").send(Clerk.approve, "a")
        await settled()
        (question,) = await runtime.suspensions.list()
        assert isinstance(await outcome_of(runtime.suspensions.answer, question.id, 5), TypeError)
        assert len(await runtime.suspensions.list()) == 1


async def test_a_turn_may_ask_twice():
    async with opened(Clerk) as runtime, trio.open_nursery() as nursery:
        found = await answers_of(nursery, partial(runtime.space("x").ask, Clerk.approve_twice))
        for answer in ("one", "two"):
            (question,) = await runtime.suspensions.list()
            await runtime.suspensions.answer(question.id, answer)
            await settled()
        assert found == [("one", "two")]


async def test_H4_a_default_answers_when_the_time_is_over():
    async with opened(Clerk) as runtime:
        assert await runtime.space("x").ask(Clerk.approve_soon, "default") == "default"
        assert trio.current_time() == 10.0


async def test_H4_without_a_default_the_message_fails_and_the_actor_lives():
    async with opened(Clerk) as runtime:
        error = await outcome_of(runtime.space("x").ask, Clerk.approve_soon)
        assert isinstance(error, ActorCrashed)
        assert isinstance(error.__cause__, SuspensionExpired)
        assert (await runtime.space("x").info()).restarts == 0


async def test_H4_an_answer_in_time_stops_the_clock():
    async with opened(Clerk) as runtime, trio.open_nursery() as nursery:
        found = await answers_of(nursery, partial(runtime.space("x").ask, Clerk.approve_soon, "default"))
        (question,) = await runtime.suspensions.list()
        await trio.sleep(9)
        await runtime.suspensions.answer(question.id, "yes")
        await trio.sleep(100)
        assert found == ["yes"]


@pytest.mark.parametrize(
    ("end", "error", "outcome"),
    [
        ("drain", MessageReturned, Outcome.RETURNED),
        ("stop", MessageReturned, Outcome.RETURNED),
        ("kill", MessageReturned, Outcome.RETURNED),
        ("delete", MessageDiscarded, Outcome.DISCARDED),
        ("interrupt", MessageDiscarded, Outcome.DISCARDED),
    ],
)
async def test_H5_a_suspended_turn_ends_with_its_space_and_its_question_is_closed(end, error, outcome):
    async with opened(Clerk) as runtime, trio.open_nursery() as nursery:
        space = runtime.space("x")
        found = await answers_of(nursery, partial(space.ask, Clerk.approve, "a"))
        (question,) = await runtime.suspensions.list()
        await (space.ask(Clerk.interrupt) if end == "interrupt" else getattr(space, end)())
        await settled()
        assert [type(one) for one in found] == [error]
        assert (await runtime.snapshot()).ledger.outcomes[outcome] == 1
        assert isinstance(await outcome_of(runtime.suspensions.answer, question.id, "yes"), SuspensionClosed)


async def test_a_drain_of_the_runtime_is_not_held_up_by_an_open_question():
    async with opened(Clerk) as runtime:
        await runtime.space("x").send(Clerk.approve, "a")
        await settled()
        report = await runtime.drain(100)
        assert (report.seconds, report.left) == (0, {"x": 1})


async def test_law_3_what_a_suspended_try_did_is_not_seen():
    class Early(Actor[int]):
        @handler
        async def work(self) -> None:
            self.state += 1
            self.emit("did")
            await self.suspend("ok?", None, answer=str)

    async with opened(Early) as runtime:
        await runtime.space("x").send(Early.work)
        await settled()
        before = await runtime.space("x").state()
        await runtime.suspensions.answer((await runtime.suspensions.list())[0].id, "yes")
        await settled()
        assert (before, await runtime.space("x").state()) == (0, 1)


async def test_with_several_turns_at_once_every_question_is_asked_and_every_message_counted():
    class Wide(Actor):
        options = SpaceOptions(concurrency=3)

        @handler
        async def approve(self, number: int) -> tuple[int, str]:
            await trio.sleep(1)
            return number, await self.suspend("ok?", number, answer=str)

    async with opened(Wide) as runtime, trio.open_nursery() as nursery:
        found = [
            await answers_of(nursery, partial(runtime.space("x").ask, Wide.approve, number)) for number in range(5)
        ]
        await trio.sleep(10)
        for _ in range(5):
            ledger = (await runtime.snapshot()).ledger
            assert ledger.accepted == ledger.pending + sum(ledger.outcomes.values())
            (question,) = await runtime.suspensions.list()
            await runtime.suspensions.answer(question.id, f"to {question.question}")
            await trio.sleep(10)
        assert sorted(one[0] for one in found) == [(number, f"to {number}") for number in range(5)]


async def test_questions_are_listed_by_class_and_up_to_a_limit():
    class Other(Clerk, kind="other"):
        pass

    async with opened(Clerk, Other) as runtime:
        for number in range(3):
            await runtime.space(f"c{number}", Clerk).send(Clerk.approve, "a")
        await runtime.space("o", Other).send(Clerk.approve, "a")
        await settled()
        assert len(await runtime.suspensions.list()) == 4
        assert [one.space.id for one in await runtime.suspensions.list(actor=Other)] == ["o"]
        assert len(await runtime.suspensions.list(limit=2)) == 2
