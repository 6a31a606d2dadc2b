"""Questions on a disk: they outlive the process and the memory, are answered once, and keep nobody else waiting."""

from __future__ import annotations

from functools import partial

import pytest
import trio
from attrs import frozen

from spaceactors import (
    Actor,
    MessageDiscarded,
    MessageReturned,
    Outcome,
    RuntimeClosed,
    SpaceOptions,
    SpaceStatus,
    StoreError,
    SuspensionClosed,
    SuspensionExpired,
    WhenBusy,
    handler,
)
from spaceactors._decide import Ending
from spaceactors._life import ask_to_passivate, begin_end
from spaceactors._suspensions import JsonAnswer
from spaceactors.stores._engine import Put
from tests.spaceactors.disks import Disk, check_ledger, life, live

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def disk(tmp_path):
    return Disk(tmp_path / "spaces.db")


@frozen
class Verdict:
    yes: bool
    why: str = ""


class Clerk(Actor[tuple[str, ...]], kind="clerk"):
    """Asks a human; leaves memory as soon as it may."""

    options = SpaceOptions(idle_timeout=0.0, throws=(SuspensionExpired,))

    @handler
    async def decide(self, what: str) -> str:
        verdict = await self.suspend("verdict", what, answer=Verdict)
        self.state = (*self.state, f"{what}: {verdict.yes}")
        return "yes" if verdict.yes else "no"

    @handler
    async def hurry(self, what: str, seconds: float) -> str:
        verdict = await self.suspend("verdict", what, answer=Verdict, timeout=seconds, default=Verdict(yes=False))
        self.state = (*self.state, f"{what}: {verdict.yes}")
        return "yes" if verdict.yes else "no"

    @handler
    async def expire(self, what: str, seconds: float) -> str:
        return (await self.suspend("verdict", what, answer=Verdict, timeout=seconds)).why

    @handler
    async def note(self, what: str) -> None:
        self.state = (*self.state, what)

    @handler(when_busy=WhenBusy.INTERRUPT)
    async def now(self, what: str) -> None:
        self.state = (*self.state, what)

    @handler(when_busy=WhenBusy.LATEST)
    async def latest(self, what: str) -> None:
        self.state = (*self.state, what)

    @handler(when_busy=WhenBusy.REFUSE)
    async def if_free(self) -> None:
        pass


YES, NO = Verdict(yes=True), Verdict(yes=False)


async def the_question(runtime):
    (question,) = await runtime.suspensions.list()
    return question


async def outcome(call, *args, into):
    """Note what a call returns or raises."""
    try:
        into.append(await call(*args))
    except Exception as error:
        into.append(error)


async def rows(runtime):
    return len(runtime.store._rows)


# ---- asleep and out of memory


async def test_H6_a_suspended_space_is_in_memory_with_nothing(disk):
    async with life(disk, Clerk) as runtime:
        for number in range(10):
            await runtime.space(f"{number}").send(Clerk.decide, "go")
        await runtime.settle()
        assert await live(runtime) == 0
        assert runtime.store._rows == {}
        assert (await check_ledger(runtime)).pending == 10
        assert (await runtime.space("3").info()).status is SpaceStatus.SUSPENDED


async def test_H6_a_suspended_turn_holds_no_token(disk):
    class Limited(Clerk, kind="clerk"):
        @handler(limit="one")
        async def limited(self) -> bool:
            return (await self.suspend("verdict", "?", answer=Verdict)).yes

    async with life(disk, Limited) as runtime:
        await runtime.space("a").send(Limited.limited)
        await runtime.settle()
        with trio.fail_after(1):
            async with runtime.limits.hold("one"):
                pass


async def test_H7_what_waits_behind_a_question_waits_in_order_over_lives(disk):
    async with life(disk, Clerk) as runtime:
        space = runtime.space("a")
        await space.send(Clerk.decide, "go")
        await space.send(Clerk.note, "one")
        await runtime.settle()
        await runtime.reopen()
        await space.send(Clerk.note, "two")
        await runtime.reopen()
        await runtime.space("b").ask(Clerk.note, "other")
        await space.send(Clerk.note, "three")
        await runtime.settle()
        assert await space.state() == ()
        await runtime.suspensions.answer((await the_question(runtime)).id, YES)
        await runtime.settle()
        assert await space.state() == ("go: True", "one", "two", "three")
        ledger = await check_ledger(runtime)
        assert ledger.pending == 0


async def test_H6_a_message_that_comes_to_a_passive_suspended_space_waits_behind_the_question(disk):
    async with life(disk, Clerk) as runtime:
        space = runtime.space("a")
        await space.send(Clerk.decide, "go")
        await runtime.settle()
        assert await live(runtime) == 0
        await space.send(Clerk.note, "later")
        await runtime.settle()
        assert await space.state() == ()
        assert (await check_ledger(runtime)).pending == 2
        await runtime.suspensions.answer((await the_question(runtime)).id, NO)
        await runtime.settle()
        assert await space.state() == ("go: False", "later")
        assert (await check_ledger(runtime)).pending == 0
        assert await live(runtime) == 0


async def test_M18_refuse_counts_a_passive_suspended_space_as_busy(disk):
    async with life(disk, Clerk) as runtime:
        await runtime.space("a").send(Clerk.decide, "go")
        await runtime.settle()
        with pytest.raises(Exception, match="busy"):
            await runtime.space("a").send(Clerk.if_free)


# ---- ends of a sleeping turn


async def suspended_with_asker(runtime, nursery, *, passive):
    """Have somebody ask what is then suspended; return the list in which the outcome will be."""
    told = []
    nursery.start_soon(lambda: outcome(runtime.space("a").ask, Clerk.decide, "go", into=told))
    await runtime.settle()
    assert await live(runtime) == 0
    if not passive:
        await runtime._hub.loading.wake(runtime.space("a"))
        assert await live(runtime) == 1
    return told


@pytest.mark.parametrize("passive", [True, False])
@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_H5_stop_and_kill_return_a_sleeping_turn_wherever_it_is(disk, passive, how):
    async with life(disk, Clerk) as runtime, trio.open_nursery() as nursery:
        told = await suspended_with_asker(runtime, nursery, passive=passive)
        question = await the_question(runtime)
        report = await getattr(runtime.space("a"), how)()
        assert report.left == {"a": 1}
        await runtime.settle()
        assert isinstance(told[0], MessageReturned)
        with pytest.raises(SuspensionClosed):
            await runtime.suspensions.answer(question.id, YES)
        ledger = await check_ledger(runtime)
        assert (ledger.outcomes[Outcome.RETURNED], ledger.pending) == (1, 0)
        await runtime.reopen()
        assert await runtime.suspensions.list() == []
        assert (await check_ledger(runtime)).pending == 0


@pytest.mark.parametrize("passive", [True, False])
async def test_H5_a_deletion_discards_a_sleeping_turn_wherever_it_is(disk, passive):
    async with life(disk, Clerk) as runtime, trio.open_nursery() as nursery:
        told = await suspended_with_asker(runtime, nursery, passive=passive)
        question = await the_question(runtime)
        await runtime.space("a").delete()
        await runtime.settle()
        assert isinstance(told[0], MessageDiscarded)
        with pytest.raises(SuspensionClosed):
            await runtime.suspensions.answer(question.id, YES)
        assert (await check_ledger(runtime)).pending == 0


@pytest.mark.parametrize("passive", [True, False])
async def test_A4_an_interruption_discards_a_sleeping_turn_wherever_it_is(disk, passive):
    async with life(disk, Clerk) as runtime, trio.open_nursery() as nursery:
        told = await suspended_with_asker(runtime, nursery, passive=passive)
        question = await the_question(runtime)
        await runtime.space("a").ask(Clerk.now, "now")
        assert isinstance(told[0], MessageDiscarded)
        with pytest.raises(SuspensionClosed):
            await runtime.suspensions.answer(question.id, YES)
        await runtime.settle()
        assert await runtime.space("a").state() == ("now",)
        await runtime.reopen()
        assert await runtime.suspensions.list() == []
        assert (await check_ledger(runtime)).pending == 0


async def test_M18_latest_discards_what_waits_and_not_the_sleeping_turn(disk):
    async with life(disk, Clerk) as runtime:
        space = runtime.space("a")
        await space.send(Clerk.decide, "go")
        await runtime.settle()
        await space.send(Clerk.latest, "one")
        await space.send(Clerk.latest, "two")
        await runtime.suspensions.answer((await the_question(runtime)).id, YES)
        await runtime.settle()
        assert await space.state() == ("go: True", "two")


@pytest.mark.parametrize("passive", [True, False])
async def test_S19_a_drain_of_its_space_leaves_a_sleeping_turn_pending_and_tells_its_asker(disk, passive):
    async with life(disk, Clerk) as runtime, trio.open_nursery() as nursery:
        told = await suspended_with_asker(runtime, nursery, passive=passive)
        await runtime.space("a").drain()
        await runtime.settle()
        if not passive:
            assert isinstance(told[0], RuntimeClosed)
        assert (await check_ledger(runtime)).pending == 1
        await runtime.suspensions.answer((await the_question(runtime)).id, YES)
        await runtime.settle()
        assert await runtime.space("a").state() == ("go: True",)
        ledger = await check_ledger(runtime)
        assert (ledger.accepted, ledger.pending) == (1, 0)


async def test_S19_a_drain_of_its_space_leaves_what_waits_behind_the_question_too_each_counted_once(disk):
    async with life(disk, Clerk) as runtime:
        space = runtime.space("a")
        await space.send(Clerk.decide, "go")
        await space.send(Clerk.note, "one")
        await space.send(Clerk.note, "two")
        await runtime.settle()
        report = await space.drain(1.0)
        assert not report.unstoppable
        ledger = await check_ledger(runtime)
        assert (ledger.accepted, ledger.pending) == (3, 3)
        await space.send(Clerk.note, "three")
        await runtime.settle()
        ledger = await check_ledger(runtime)
        assert (ledger.accepted, ledger.pending) == (4, 4)
        await runtime.suspensions.answer((await the_question(runtime)).id, YES)
        await runtime.settle()
        assert await space.state() == ("go: True", "one", "two", "three")
        ledger = await check_ledger(runtime)
        assert (ledger.accepted, ledger.pending) == (4, 0)


@pytest.mark.parametrize("behind", [0, 2])
async def test_S19_a_drain_of_the_runtime_leaves_questions_and_what_waits_there(disk, behind):
    async with life(disk, Clerk) as runtime:
        await runtime.space("a").send(Clerk.decide, "go")
        for number in range(behind):
            await runtime.space("a").send(Clerk.note, str(number))
        await runtime.settle()
        await runtime.drain()
        ledger = await check_ledger(runtime)
        assert ledger.pending == 1 + behind
    async with life(disk, Clerk) as runtime:
        await runtime.settle()
        ledger = await check_ledger(runtime)
        assert (ledger.accepted, ledger.pending) == (1 + behind, 1 + behind)
        await runtime.suspensions.answer((await the_question(runtime)).id, YES)
        await runtime.settle()
        assert await runtime.space("a").state() == ("go: True", *(str(number) for number in range(behind)))


# ---- answers


async def test_H3_of_a_ring_of_answers_one_wins_and_its_turn_gets_it(disk):
    async with life(disk, Clerk) as runtime, trio.open_nursery() as nursery:
        await runtime.space("a").send(Clerk.decide, "go")
        await runtime.settle()
        question = await the_question(runtime)
        told = {}

        async def answer(number):
            try:
                await runtime.suspensions.answer(question.id, Verdict(yes=bool(number % 2)))
                told[number] = True
            except SuspensionClosed:
                told[number] = False

        for number in range(8):
            nursery.start_soon(answer, number)
        await runtime.settle()
        (winner,) = [number for number, won in told.items() if won]
        assert len(told) == 8
        assert await runtime.space("a").state() == (f"go: {bool(winner % 2)}",)
        assert (await check_ledger(runtime)).outcomes[Outcome.HANDLED] == 1


@pytest.mark.parametrize("later", range(6))
@pytest.mark.parametrize("end", ["stop", "kill", "delete", "drain"])
async def test_H3_an_answer_beside_the_end_of_the_space_is_taken_or_refused_and_never_lost(disk, end, later):
    async with life(disk, Clerk) as runtime, trio.open_nursery() as nursery:
        space = runtime.space("a")
        asked, answered = [], []
        nursery.start_soon(lambda: outcome(space.ask, Clerk.decide, "go", into=asked))
        await runtime.settle()
        question = await the_question(runtime)

        async def end_it():
            for _ in range(later):
                await trio.lowlevel.checkpoint()
            await getattr(space, end)()

        nursery.start_soon(end_it)
        nursery.start_soon(lambda: outcome(runtime.suspensions.answer, question.id, YES, into=answered))
        await runtime.advance(5)
        ledger = await check_ledger(runtime)
        state = await space.state()
        if end == "drain":
            assert (answered, state) == ([None], ("go: True",))
            assert asked == ["yes"] or isinstance(asked[0], RuntimeClosed)  # the drain was over before the answer came
        elif answered != [None]:
            assert isinstance(answered[0], SuspensionClosed)
            assert state == ()
        assert end == "delete" or ledger.outcomes[Outcome.HANDLED] == len(state)
        assert (len(asked), ledger.pending) == (1, 0)


async def test_H3_when_an_answer_cannot_be_kept_the_next_one_wins_wherever_the_space_is_by_then(disk):
    async with life(disk, Clerk) as runtime:
        for name in "abcdefgh":
            await runtime.space(name).send(Clerk.decide, "go")
            await runtime.settle()
            question = await the_question(runtime)
            disk.fail_next = 1
            told = []
            async with trio.open_nursery() as nursery:
                for _ in range(2):
                    nursery.start_soon(partial(outcome, runtime.suspensions.answer, question.id, YES, into=told))
            assert {type(one) for one in told} == {StoreError, type(None)}
            await runtime.settle()
            assert await runtime.space(name).state() == ("go: True",)


async def test_H5_an_answer_whose_turn_is_returned_while_it_is_written_is_refused(disk):
    class Staying(Clerk, kind="clerk"):
        options = SpaceOptions()

    async with life(disk, Staying) as runtime, trio.open_nursery() as nursery:
        told = []
        nursery.start_soon(partial(outcome, runtime.space("a").ask, Clerk.decide, "go", into=told))
        await runtime.settle()
        question = await the_question(runtime)
        space = runtime._hub.live["clerk", "a"]
        disk.meanwhile = lambda: begin_end(space, Ending.STOP)
        with pytest.raises(SuspensionClosed):
            await runtime.suspensions.answer(question.id, YES)
        await runtime.settle()
        assert isinstance(told[0], MessageReturned)
        assert await runtime.space("a").state() == ()


async def test_H2_a_space_does_not_leave_memory_while_its_answer_is_written(disk):
    async with life(disk, Clerk) as runtime:
        for name in "abcdefgh":
            await runtime.space(name).send(Clerk.decide, "go")
            await runtime.settle()
            question = await the_question(runtime)
            await runtime._hub.loading.wake(runtime.space(name))
            disk.meanwhile = partial(ask_to_passivate, runtime._hub.live["clerk", name])
            await runtime.suspensions.answer(question.id, YES)
            await runtime.settle()
            assert await runtime.space(name).state() == ("go: True",)


async def test_S14_an_answer_to_a_space_that_is_not_in_memory_is_refused_once_the_service_drains(disk):
    class Busy(Clerk, kind="clerk"):
        @handler
        async def work(self, seconds: float) -> None:
            await trio.sleep(seconds)

    async with life(disk, Busy) as runtime:
        async with trio.open_nursery() as nursery:
            await runtime.space("a").send(Clerk.decide, "go")
            await runtime.settle()
            question = await the_question(runtime)
            await runtime.space("b").send(Busy.work, 20.0)
            await runtime.advance(1)
            nursery.start_soon(runtime.drain)
            await runtime.advance(1)
            with pytest.raises(RuntimeClosed):
                await runtime.suspensions.answer(question.id, YES)
        assert runtime.report.clean
    async with life(disk, Busy) as runtime:
        await runtime.suspensions.answer(question.id, NO)
        await runtime.settle()
        assert await runtime.space("a").state() == ("go: False",)


async def test_H4_an_answer_in_the_moment_of_the_expiry_is_the_answer_or_is_refused(disk):
    async with life(disk, Clerk) as runtime:
        for number in range(10):
            space = runtime.space(f"{number}")
            await space.send(Clerk.hurry, "go", 10.0)
            await runtime.settle()
            question = await the_question(runtime)
            await trio.sleep(10.0)
            for _ in range(number):
                await trio.lowlevel.checkpoint()
            told = []
            await outcome(runtime.suspensions.answer, question.id, YES, into=told)
            await runtime.settle()
            assert await space.state() == (f"go: {told[0] is None}",)
            assert told[0] is None or isinstance(told[0], SuspensionClosed)


@pytest.mark.parametrize("how", ["default", "expiry"])
async def test_H4_a_question_whose_time_is_over_for_hours_ends_at_the_opening(disk, how):
    async with life(disk, Clerk) as runtime:
        if how == "default":
            await runtime.space("a").send(Clerk.hurry, "go", 60.0)
        else:
            await runtime.space("a").send(Clerk.expire, "go", 60.0)
        await runtime.settle()
    await trio.sleep(7200)
    async with life(disk, Clerk) as runtime:
        await runtime.settle()
        assert await runtime.suspensions.list() == []
        ledger = await check_ledger(runtime)
        assert ledger.outcomes[Outcome.HANDLED if how == "default" else Outcome.REJECTED] == 1
        assert await runtime.space("a").state() == (("go: False",) if how == "default" else ())


async def test_H4_a_default_that_cannot_be_written_is_written_when_the_disk_is_back(disk):
    async with life(disk, Clerk) as runtime:
        await runtime.space("a").send(Clerk.hurry, "go", 10.0)
        await runtime.settle()
        await runtime.advance(5)
        disk.full = True
        await runtime.advance(60)
        assert await runtime.space("a").state() == ()
        disk.full = False
        await runtime.advance(10)
        assert await runtime.space("a").state() == ("go: False",)
        await check_ledger(runtime)


async def test_H2_an_answer_that_cannot_be_kept_is_refused_and_the_question_stays_open(disk):
    async with life(disk, Clerk) as runtime:
        await runtime.space("a").send(Clerk.decide, "go")
        await runtime.settle()
        question = await the_question(runtime)
        disk.full = True
        with pytest.raises(StoreError, match="full"):
            await runtime.suspensions.answer(question.id, YES)
        disk.full = False
        await runtime.settle()
        assert await runtime.space("a").state() == ()
        await runtime.suspensions.answer(question.id, NO)
        await runtime.settle()
        assert await runtime.space("a").state() == ("go: False",)


@pytest.mark.parametrize("when", ["before", "meanwhile"])
async def test_H2_an_answer_is_taken_though_another_process_has_changed_the_state(disk, when):
    """The question is open all the time: that the state has another version by now closes nothing."""

    def another_process():
        (row,) = disk._inner.spaces("clerk", "", 9)
        version = row.version
        values = ("clerk", "a", row.epoch, version, version + 1, row.state, *row[6:])
        assert disk._inner.write([[(Put.SAVE_SPACE, values)]]) == [None]

    async with life(disk, Clerk) as runtime:
        await runtime.space("a").ask(Clerk.note, "before")
        await runtime.space("a").send(Clerk.decide, "go")
        await runtime.settle()
        question = await the_question(runtime)
        if when == "before":
            another_process()
        else:
            disk.meanwhile = another_process
        await runtime.suspensions.answer(question.id, YES)
        await runtime.settle()
        assert await runtime.space("a").state() == ("before", "go: True")
        assert await runtime.suspensions.list() == []
        with pytest.raises(SuspensionClosed):
            await runtime.suspensions.answer(question.id, NO)


async def test_H1_a_question_that_was_asked_in_an_outage_is_kept_when_the_disk_is_back(disk):
    async with life(disk, Clerk) as runtime:
        await runtime.space("a").ask(Clerk.note, "before")
        async with trio.open_nursery() as nursery:
            told = []
            disk.full = True
            nursery.start_soon(lambda: outcome(runtime.space("a").ask, Clerk.decide, "go", into=told))
            await runtime.advance(5)
            disk.full = False
            await runtime.advance(10)
            question = await the_question(runtime)
            await runtime.suspensions.answer(question.id, YES)
            await runtime.settle()
            assert told == ["yes"]


@pytest.mark.parametrize("wrong", ["yes", True, None, 1, ("yes",)])
async def test_H2_an_answer_of_another_type_is_refused_in_every_life(disk, wrong):
    async with life(disk, Clerk) as runtime:
        await runtime.space("a").send(Clerk.decide, "go")
        await runtime.settle()
        for _ in range(2):
            with pytest.raises(TypeError, match="Verdict"):
                await runtime.suspensions.answer((await the_question(runtime)).id, wrong)
            await runtime.reopen()
        assert (await check_ledger(runtime)).pending == 1


async def test_an_answer_given_as_json_becomes_what_the_turn_asked_for_over_lives(disk):
    async with life(disk, Clerk) as runtime:
        await runtime.space("a").send(Clerk.decide, "go")
        await runtime.settle()
        await runtime.suspensions.answer((await the_question(runtime)).id, JsonAnswer({"yes": True}))
        await runtime.reopen()
        await runtime.settle()
        assert await runtime.space("a").state() == ("go: True",)


async def test_H1_the_expiry_of_a_question_is_part_of_it_over_lives(disk):
    async with life(disk, Clerk) as runtime:
        await runtime.space("a").send(Clerk.hurry, "go", 100.0)
        await runtime.settle()
        before = await the_question(runtime)
        await runtime.advance(50)
        await runtime.reopen()
        assert await the_question(runtime) == before
        await runtime.advance(49)
        assert await runtime.space("a").state() == ()
        await runtime.advance(2)
        assert await runtime.space("a").state() == ("go: False",)


# ---- who waits


async def test_H6_every_asker_under_one_id_gets_the_answer_over_passivation(disk):
    async with life(disk, Clerk) as runtime, trio.open_nursery() as nursery:
        told = []
        space = runtime.space("a").with_options(message_id="one")
        for _ in range(3):
            nursery.start_soon(lambda: outcome(space.ask, Clerk.decide, "go", into=told))
            await runtime.settle()
            assert await live(runtime) == 0
        await runtime.suspensions.answer((await the_question(runtime)).id, YES)
        await runtime.settle()
        assert told == ["yes"] * 3
        assert await space.ask(Clerk.decide, "go") == "yes"
        ledger = await check_ledger(runtime)
        assert ledger.accepted == 1


async def test_H6_an_asker_who_left_meanwhile_disturbs_nobody(disk):
    async with life(disk, Clerk) as runtime:
        with trio.move_on_after(5):
            await runtime.space("a").ask(Clerk.decide, "go")
        assert await live(runtime) == 0
        await runtime.suspensions.answer((await the_question(runtime)).id, YES)
        await runtime.settle()
        assert await runtime.space("a").state() == ("go: True",)
        await check_ledger(runtime)


class Boss(Actor[tuple[str, ...]], kind="boss"):
    options = SpaceOptions(idle_timeout=0.0)

    @handler
    async def delegate(self, what: str) -> str:
        answer = await self.space("a", Clerk).ask(Clerk.decide, what)
        self.state = (*self.state, answer)
        return answer


async def test_H6_a_turn_that_asks_a_suspended_space_gets_its_answer(disk):
    async with life(disk, Clerk, Boss) as runtime:
        await runtime.space("boss", Boss).send(Boss.delegate, "go")
        await runtime.settle()
        assert await live(runtime) == 1
        await runtime.suspensions.answer((await the_question(runtime)).id, YES)
        await runtime.settle()
        assert await runtime.space("boss", Boss).state() == ("yes",)
        assert await live(runtime) == 0


async def test_A6_H1_a_turn_that_asked_a_suspended_space_asks_the_same_in_the_next_life(disk):
    async with life(disk, Clerk, Boss) as runtime:
        await runtime.space("boss", Boss).send(Boss.delegate, "go")
        await runtime.settle()
        await runtime.reopen()
        await runtime.settle()
        await runtime.suspensions.answer((await the_question(runtime)).id, YES)
        await runtime.settle()
        assert await runtime.space("boss", Boss).state() == ("yes",)
        assert await runtime.space("a", Clerk).state() == ("go: True",)
        assert (await check_ledger(runtime)).pending == 0


# ---- several questions


class Chain(Actor[tuple[str, ...]], kind="chain"):
    options = SpaceOptions(idle_timeout=0.0)

    def __init__(self, done: list[str]) -> None:
        self.done = done

    @handler
    async def chain(self, names: tuple[str, ...]) -> None:
        answers = []
        for name in names:
            await self.step(f"before {name}", self.do, name)
            answers.append(await self.suspend("next", name, answer=str))
        self.state = tuple(answers)

    async def do(self, name: str) -> None:
        self.done.append(name)


async def test_H1_D4_questions_one_after_another_each_in_another_life(disk):
    done = []
    async with life(disk, Chain, deps=done) as runtime:
        await runtime.space("a").send(Chain.chain, ("x", "y", "z"))
        for name in "xyz":
            await runtime.settle()
            question = await the_question(runtime)
            assert question.question == name
            await runtime.reopen()
            await runtime.suspensions.answer(question.id, name * 2)
            with pytest.raises(SuspensionClosed):
                await runtime.suspensions.answer(question.id, "again")
        await runtime.settle()
        assert await runtime.space("a").state() == ("xx", "yy", "zz")
        assert done == ["x", "y", "z"]


async def test_H2_the_same_question_of_the_next_message_is_another_question(disk):
    async with life(disk, Clerk) as runtime:
        for number in range(3):
            await runtime.space("a").send(Clerk.decide, str(number))
        seen = set()
        for number in range(3):
            await runtime.settle()
            question = await the_question(runtime)
            assert question.question == str(number)
            seen.add(question.id)
            await runtime.suspensions.answer(question.id, YES)
        assert len(seen) == 3


# ---- programs and questions that have changed


class Blunt(Actor[tuple[str, ...]], kind="clerk"):
    options = SpaceOptions(backoff=None)

    @handler
    async def decide(self, what: str) -> str:
        self.state = (*self.state, what)
        return what


async def test_D7_a_program_that_asks_no_more_takes_the_answer_and_goes_on(disk):
    async with life(disk, Clerk) as runtime:
        await runtime.space("a").send(Clerk.decide, "go")
        await runtime.settle()
    async with life(disk, Blunt) as runtime:
        await runtime.settle()
        await runtime.suspensions.answer((await the_question(runtime)).id, YES)
        await runtime.settle()
        assert await runtime.space("a").state() == ("go",)


@frozen
class Question:
    text: str


class Wordy(Actor[tuple[str, ...]], kind="clerk"):
    options = SpaceOptions(idle_timeout=0.0)

    @handler
    async def decide(self, what: str) -> str:
        answer = await self.suspend("verdict", Question(what), answer=str)
        self.state = (*self.state, answer)
        return answer


async def test_D7_a_question_that_cannot_be_read_hides_no_other_and_ends_as_failed(disk, monkeypatch):
    async with life(disk, Wordy) as runtime:
        await runtime.space("a").send(Wordy.decide, "one")
        await runtime.settle()
    monkeypatch.delitem(globals(), "Question")
    async with life(disk, Blunt2) as runtime:
        await runtime.space("b").send(Blunt2.decide, "two")
        await runtime.settle()
        questions = await runtime.suspensions.list()
        assert "two" in [one.question for one in questions]
        await runtime.space("a").send(Blunt2.note, "hello")
        await runtime.settle()
        assert await runtime.space("a").state() == ("hello",)
        ledger = await check_ledger(runtime)
        assert ledger.outcomes[Outcome.FAILED] == 1
        assert ledger.pending == 1


class Blunt2(Actor[tuple[str, ...]], kind="clerk"):
    options = SpaceOptions(idle_timeout=0.0)

    @handler
    async def decide(self, what: str) -> str:
        return await self.suspend("verdict", what, answer=str)

    @handler
    async def note(self, what: str) -> None:
        self.state = (*self.state, what)
