"""M18 and A4, A5: what a message meets at a busy space, and what becomes of the turn that runs there."""

from __future__ import annotations

import pytest
import trio

from spaceactors import (
    Actor,
    DiscardReason,
    MailboxFull,
    MessageDiscarded,
    Outcome,
    Overflow,
    SpaceBusy,
    SpaceOptions,
    SpaceStatus,
    WhenAbandoned,
    WhenBusy,
    WhenInterrupted,
    handler,
    open_runtime,
)
from tests.spaceactors.clerks import Clerk, open_office

# ---- WhenBusy


async def test_M18_enqueue_queues():
    async with open_office() as office:
        await office.begin(office.space(), Clerk.note, "1", 1.0)
        await office.space().send(Clerk.note, "2")
        await trio.sleep(2)
        assert office.diary == ["1", "2"]


@pytest.mark.parametrize("verb", ["send", "send_nowait", "ask", "stream"])
async def test_M18_refuse_raises_space_busy_with_the_message(verb):
    async with open_office(when_busy=WhenBusy.REFUSE) as office:
        space = office.space()
        await office.begin(space, Clerk.note, "1", 1.0)
        with pytest.raises(SpaceBusy) as caught:
            match verb:
                case "send_nowait":
                    space.send_nowait(Clerk.note, "2")
                case "stream":
                    async with space.stream(Clerk.count_up, "2"):
                        pass
                case _:
                    await getattr(space, verb)(Clerk.note, "2")
        assert (caught.value.space, caught.value.message.args[0]) == (space, "2")
        await trio.sleep(2)
        assert await space.ask(Clerk.note, "3") == "3"
        assert await office.ledger() == {"handled": 2}


async def test_M18_a_space_is_busy_while_anything_waits_though_nothing_runs():
    async with open_office(when_busy=WhenBusy.REFUSE) as office:
        await office.space().pause()
        await office.space().send(Clerk.note, "1")
        with pytest.raises(SpaceBusy):
            await office.space().send(Clerk.note, "2")


async def test_M18_a_space_is_busy_while_a_turn_is_suspended():
    async with open_office(when_busy=WhenBusy.REFUSE) as office:
        await office.begin(office.space(), Clerk.question, "x")
        with pytest.raises(SpaceBusy):
            await office.space().send(Clerk.note, "2")


async def test_M18_sends_of_turns_always_queue():
    async with open_office(when_busy=WhenBusy.REFUSE) as office:
        await office.space("a").ask(Clerk.send_other, "b", "1", "2", "3")
        await office.settled()
        assert await office.space("b").state() == ("1", "2", "3")


async def test_M18_asks_of_turns_queue_behind_a_busy_space():
    async with open_office(when_busy=WhenBusy.REFUSE) as office:
        await office.begin(office.space("b"), Clerk.note, "run", 1.0)
        assert await office.space("a").ask(Clerk.ask_other, "b", "x") == "X"


async def test_M18_a_timer_s_tick_does_not_interrupt():
    diary = []

    class Ticking(Actor):
        options = SpaceOptions(when_busy=WhenBusy.INTERRUPT)

        @handler
        async def begin(self) -> None:
            self.schedule("t", Ticking.tick, after=1.0)

        @handler
        async def tick(self) -> None:
            diary.append(("tick", trio.current_time()))

        @handler
        async def work(self) -> None:
            await trio.sleep(5)
            diary.append(("work", trio.current_time()))

    async with open_runtime(Ticking) as runtime:
        await runtime.space("a").ask(Ticking.begin)
        await runtime.space("a").ask(Ticking.work)
        await trio.testing.wait_all_tasks_blocked()
        assert diary == [("work", 5.0), ("tick", 5.0)]


async def test_M18_the_handler_s_own_rule_comes_before_the_space_s():
    class Mixed(Actor):
        options = SpaceOptions(when_busy=WhenBusy.REFUSE)

        @handler(when_busy=WhenBusy.INTERRUPT)
        async def stop_that(self) -> str:
            return "stopped"

        @handler(when_busy=WhenBusy.ENQUEUE)
        async def work(self, seconds: float) -> None:
            await trio.sleep(seconds)

    async with open_runtime(Mixed) as runtime:
        space = runtime.space("a")
        await space.send(Mixed.work, 10.0)
        await trio.testing.wait_all_tasks_blocked()
        await space.send(Mixed.work, 1.0)
        assert await space.ask(Mixed.stop_that) == "stopped"
        assert trio.current_time() == 1.0
        ledger = (await runtime.snapshot()).ledger
        assert (ledger.outcomes[Outcome.DISCARDED], ledger.outcomes[Outcome.HANDLED]) == (1, 2)


# ---- interruption


async def test_A4_roll_back_leaves_the_state_as_it_was():
    async with open_office(when_busy=WhenBusy.INTERRUPT) as office:
        office.asking(office.space(), Clerk.half, "long")
        await trio.sleep(1)
        await office.space().ask(Clerk.note, "next")
        await office.settled()
        assert office.answers["long"].why is DiscardReason.INTERRUPTED
        assert await office.space().state() == ("next",)


async def test_A4_commit_keeps_the_half_answer_and_its_asker_gets_it():
    async with open_office(when_busy=WhenBusy.INTERRUPT) as office:
        office.asking(office.space(), Clerk.half_kept, "long")
        await trio.sleep(1)
        await office.space().ask(Clerk.note, "next")
        await office.settled()
        assert office.answers["long"] == "long/2"
        assert await office.space().state() == ("long/2", "next")
        assert trio.current_time() == 1.0


async def test_A4_a_turn_interrupted_before_its_block_finds_the_block_cancelled():
    class Slow(Actor[str]):
        options = SpaceOptions(when_busy=WhenBusy.INTERRUPT, when_interrupted=WhenInterrupted.COMMIT)

        @handler
        async def work(self) -> None:
            await trio.sleep(2)  # outside the block: this part is always finished
            with self.until_interrupted() as scope:
                await trio.sleep(100)
            self.state = f"cut {scope.cancelled_caught}"

        @handler
        async def look(self) -> str:
            return self.state

    async with open_runtime(Slow) as runtime:
        await runtime.space("a").send(Slow.work)
        await trio.sleep(1)
        assert await runtime.space("a").ask(Slow.look) == "cut True"
        assert trio.current_time() == 2.0


async def test_A4_a_turn_that_has_returned_is_not_interrupted():
    """It has returned and its answer is on its way when the interrupting message comes."""
    async with open_office(when_busy=WhenBusy.INTERRUPT) as office:
        space = office.space()
        for number in range(20):
            office.asking(space, Clerk.note, f"x{number}")
            await trio.lowlevel.checkpoint()
            await space.ask(Clerk.note, "y")
        await office.settled()
        handled = sum(isinstance(answer, str) for answer in office.answers.values())
        assert (await office.ledger()).get("discarded", 0) == 20 - handled
        assert list(await space.state()).count("y") == 20


async def test_A4_an_interrupting_message_that_is_refused_interrupts_nobody():
    async with open_office(when_busy=WhenBusy.INTERRUPT, overflow=Overflow.REFUSE, mailbox_capacity=1) as office:
        space = office.space()
        await space.pause()
        await space.send(Clerk.note, "x", 5.0)
        await space.resume()
        await office.settled()
        assert office.diary == ["x"]
        await space.pause()
        office.asking(space, Clerk.half_kept, "y")  # interrupts x, and waits
        await office.settled()
        with pytest.raises(MailboxFull):
            await space.send(Clerk.note, "z")
        assert await office.ledger() == {"discarded": 1, "pending": 1}


async def test_A4_an_interrupting_message_that_is_dropped_interrupts_nobody():
    kind = {"overflow": Overflow.DROP_NEWEST, "mailbox_capacity": 1}

    class Mixed(Actor):
        options = SpaceOptions(**kind)

        @handler(when_busy=WhenBusy.INTERRUPT)
        async def stop_that(self) -> None:
            pass

        @handler
        async def work(self, seconds: float) -> str:
            await trio.sleep(seconds)
            return "done"

    async with open_runtime(Mixed) as runtime, trio.open_nursery() as nursery:
        space = runtime.space("a")
        answers = []

        async def ask():
            answers.append(await space.ask(Mixed.work, 5.0))

        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        await space.send(Mixed.work, 0.0)
        with pytest.raises(MessageDiscarded):
            await space.ask(Mixed.stop_that)
        await trio.sleep(6)
        assert answers == ["done"]


# ---- every combination ends with balanced books


@pytest.mark.parametrize("when_abandoned", WhenAbandoned)
@pytest.mark.parametrize("when_interrupted", WhenInterrupted)
@pytest.mark.parametrize("overflow", Overflow)
@pytest.mark.parametrize("when_busy", WhenBusy)
async def test_M18_each_combination_of_rules_gives_each_message_the_one_end_that_the_rules_name(
    when_busy, overflow, when_interrupted, when_abandoned
):
    """Three asks at a space with one place, the first of which is being handled; then the first asker leaves."""
    async with open_office(
        when_busy=when_busy,
        overflow=overflow,
        when_interrupted=when_interrupted,
        when_abandoned=when_abandoned,
        mailbox_capacity=1,
    ) as office:
        scopes = []
        for what in "123":
            scopes.append(office.asking(office.space(), Clerk.half, what, 10.0))
            await office.settled()
            await trio.sleep(1)
        scopes[0].cancel()
        await trio.sleep(40)
        ended = {
            what: (answer.why.value if isinstance(answer, MessageDiscarded) else type(answer).__name__)
            for what, answer in office.answers.items()
        }
        assert ended == expected(when_busy, overflow, when_interrupted, when_abandoned)
        assert (await office.ledger()).get("pending", 0) == 0
        for scope in scopes:
            scope.cancel()


def expected(when_busy, overflow, when_interrupted, when_abandoned):
    """What the three askers hear, told by the rules in words: the first leaves after three seconds unless answered."""
    match when_busy:
        case WhenBusy.REFUSE:
            return {"2": "SpaceBusy", "3": "SpaceBusy"}
        case WhenBusy.LATEST:
            return {"2": "superseded", "3": "str"}
        case WhenBusy.INTERRUPT:
            # Each message finds an empty mailbox: it ends the turn before it and begins.
            cut = "interrupted" if when_interrupted is WhenInterrupted.ROLL_BACK else "str"
            return {"1": cut, "2": cut, "3": "str"}
    match overflow:
        case Overflow.WAIT:
            return {"2": "str", "3": "str"}
        case Overflow.REFUSE:
            return {"2": "str", "3": "MailboxFull"}
        case Overflow.DROP_OLDEST:
            return {"2": "overflow", "3": "str"}
        case Overflow.DROP_NEWEST:
            return {"2": "str", "3": "overflow"}


# ---- A5: readers that leave


@pytest.mark.parametrize("when_abandoned", WhenAbandoned)
async def test_A5_a_reader_that_leaves_lets_the_turn_finish_or_cancels_it(when_abandoned):
    async with open_office(when_abandoned=when_abandoned) as office:
        async with office.space().stream(Clerk.count_up, "x", 5, 1.0) as items:
            assert await anext(items) == 0
        await trio.sleep(10)
        finished = when_abandoned is WhenAbandoned.FINISH
        assert await office.space().state() == (("x",) if finished else ())
        assert await office.ledger() == ({"handled": 1} if finished else {"discarded": 1})


async def test_A5_a_reader_that_stays_gets_all_items():
    async with open_office(when_abandoned=WhenAbandoned.CANCEL) as office:
        async with office.space().stream(Clerk.count_up, "x", 5, 1.0) as items:
            assert [item async for item in items] == [0, 1, 2, 3, 4]
        assert await office.ledger() == {"handled": 1}


async def test_A5_a_reader_that_leaves_before_the_turn_begins_leaves_the_message_in_its_place():
    async with open_office(when_abandoned=WhenAbandoned.CANCEL) as office:
        await office.begin(office.space(), Clerk.note, "run", 1.0)
        async with office.space().stream(Clerk.count_up, "x", 5):
            pass
        await trio.sleep(2)
        assert await office.space().state() == ("run", "x")


async def test_A5_an_abandoned_turn_frees_its_space_at_once():
    async with open_office(when_abandoned=WhenAbandoned.CANCEL) as office:
        with trio.move_on_after(2):
            await office.space().ask(Clerk.note, "x", 100.0)
        await office.settled()
        assert (await office.space().info()).status is SpaceStatus.LIVE
        assert await office.space().ask(Clerk.note, "y") == "Y"
        assert trio.current_time() == 2.0
