"""Streams: items of a running turn, at the reader's pace."""

from __future__ import annotations

import pytest
import trio
import trio.lowlevel

from spaceactors import (
    Actor,
    ActorCrashed,
    BadCall,
    MessageDiscarded,
    MessageReturned,
    Outcome,
    Reject,
    Rejected,
    SpaceOptions,
    WhenAbandoned,
    WhenBusy,
    WhenInterrupted,
    handler,
)
from tests.spaceactors.scenes import opened, outcome_of, settled

pytestmark = pytest.mark.usefixtures("autojump_clock")


class Teller(Actor[int], kind="teller"):
    options = SpaceOptions(backoff=None)
    tries = 0

    @handler
    async def tell(self, number: int, seconds: float = 0.0):
        for item in range(number):
            self.state = item + 1
            yield item
            await trio.sleep(seconds)

    @handler(when_abandoned=WhenAbandoned.CANCEL)
    async def tell_only_you(self, number: int):
        for item in range(number):
            self.state = item + 1
            yield item
            await trio.sleep(1)

    @handler(max_attempts=3)
    async def crash_before(self):
        noted.append(self.message.attempt)
        if self.message.attempt < 3:
            raise ValueError
        yield "first"

    @handler(max_attempts=3)
    async def crash_after(self):
        noted.append(self.message.attempt)
        yield "first"
        raise ValueError

    @handler
    async def reject(self):
        yield "first"
        raise Reject("enough")

    @handler
    async def total(self) -> int:
        return self.state

    @handler(when_interrupted=WhenInterrupted.COMMIT)
    async def talk(self):
        said = []
        with self.until_interrupted():
            for word in range(1000):
                said.append(word)
                yield word
                await trio.sleep(1)
        self.state = len(said)

    @handler(when_busy=WhenBusy.INTERRUPT)
    async def interrupt(self) -> int:
        return self.state

    @handler
    async def retell(self, other: str) -> list[int]:
        async with self.space(other).stream(Teller.tell, 50) as items:
            return [item async for item in items]


noted: list[int] = []


@pytest.fixture(autouse=True)
def _forget():
    noted.clear()


async def read_all(space, *call):
    async with space.stream(*call) as items:
        return [item async for item in items]


async def outcomes(runtime):
    ledger = (await runtime.snapshot()).ledger
    return {outcome: number for outcome, number in ledger.outcomes.items() if number}


async def test_items_come_in_order_and_the_stream_ends_with_the_turn():
    async with opened(Teller) as runtime:
        assert await read_all(runtime.space("x"), Teller.tell, 100) == list(range(100))


async def test_an_item_is_there_while_the_turn_goes_on():
    async with opened(Teller) as runtime, runtime.space("x").stream(Teller.tell, 3, 10.0) as items:
        assert await anext(items) == 0
        assert trio.current_time() == 0


async def test_law_3_the_state_of_a_stream_commits_with_its_end():
    async with opened(Teller) as runtime:
        async with runtime.space("x").stream(Teller.tell, 3, 10.0) as items:
            await anext(items)
            assert await runtime.space("x").state() == 0
            assert [item async for item in items] == [1, 2]
        assert await runtime.space("x").state() == 3


async def test_a_slow_reader_holds_the_turn_back():
    made = []

    class Eager(Actor):
        @handler
        async def tell(self):
            for item in range(1000):
                made.append(item)
                yield item

    async with opened(Eager) as runtime, runtime.space("x").stream(Eager.tell) as items:
        await trio.sleep(100)
        ahead = len(made)
        for _ in range(10):
            await anext(items)
        await trio.sleep(100)
        assert ahead < 50
        assert len(made) == ahead + 10


async def test_a_stream_that_is_only_sent_runs_to_its_end():
    async with opened(Teller) as runtime:
        await runtime.space("x").send(Teller.tell, 1000)
        await trio.sleep(1)
        assert await runtime.space("x").state() == 1000


async def test_A5_a_reader_that_leaves_lets_the_turn_finish():
    async with opened(Teller) as runtime:
        async with runtime.space("x").stream(Teller.tell, 100, 1.0) as items:
            await anext(items)
        await trio.sleep(200)
        assert (await runtime.space("x").state(), await outcomes(runtime)) == (100, {Outcome.HANDLED: 1})


async def test_A5_a_reader_that_leaves_a_turn_that_waits_for_it_lets_it_finish():
    async with opened(Teller) as runtime:
        async with runtime.space("x").stream(Teller.tell, 100) as items:
            await trio.sleep(5)  # the buffer is full
            await anext(items)
        await trio.sleep(1)
        assert await runtime.space("x").state() == 100


async def test_A5_a_reader_that_leaves_cancels_the_turn_if_the_handler_says_so():
    async with opened(Teller) as runtime:
        async with runtime.space("x").stream(Teller.tell_only_you, 100) as items:
            await anext(items)
        await trio.sleep(5)
        assert (await runtime.space("x").state(), await outcomes(runtime)) == (0, {Outcome.DISCARDED: 1})


@pytest.mark.parametrize("call", [Teller.tell, Teller.tell_only_you])
async def test_A5_a_cancelled_reader_is_one_that_left(call):
    async with opened(Teller) as runtime:
        with trio.move_on_after(2.5):
            await read_all(runtime.space("x"), call, 100, *([1.0] if call is Teller.tell else []))
        await trio.sleep(200)
        expected = 100 if call is Teller.tell else 0
        assert await runtime.space("x").state() == expected


async def test_a_crash_before_the_first_item_is_tried_again():
    async with opened(Teller) as runtime:
        assert await read_all(runtime.space("x"), Teller.crash_before) == ["first"]
        assert noted == [1, 2, 3]


async def test_a_crash_after_the_first_item_is_not_tried_again():
    async with opened(Teller) as runtime:
        found = []
        with pytest.raises(ActorCrashed) as caught:
            async with runtime.space("x").stream(Teller.crash_after) as items:
                async for item in items:
                    found.append(item)  # noqa: PERF401 (it fails in between)
        assert (found, noted, type(caught.value.__cause__)) == (["first"], [1], ValueError)


async def test_a_rejection_comes_out_of_the_iteration_behind_the_items():
    async with opened(Teller) as runtime:
        found = []
        with pytest.raises(Rejected, match="enough"):
            async with runtime.space("x").stream(Teller.reject) as items:
                async for item in items:
                    found.append(item)  # noqa: PERF401 (it fails in between)
        assert found == ["first"]


async def test_kill_ends_a_stream_with_an_error():
    async with opened(Teller) as runtime, runtime.space("x").stream(Teller.tell, 100, 1.0) as items:
        await anext(items)
        await runtime.space("x").kill()
        assert isinstance(await outcome_of(anext, items), MessageReturned)


async def test_a_runtime_can_close_while_a_reader_does_not_read():
    async with opened(Teller) as runtime:
        async with runtime.space("x").stream(Teller.tell, 100) as items:
            await anext(items)
            report = await runtime.drain(5)
        assert report.cancelled == ("x",)


async def test_an_ask_of_a_streaming_handler_and_a_stream_of_a_plain_one_are_bad_calls():
    async with opened(Teller) as runtime:
        space = runtime.space("x")
        errors = [await outcome_of(space.ask, Teller.tell, 1), await outcome_of(read_all, space, Teller.total)]
        assert [type(one) for one in errors] == [BadCall, BadCall]
        assert (await runtime.snapshot()).ledger.accepted == 0


async def test_a_stream_takes_no_message_id():
    async with opened(Teller) as runtime:
        error = await outcome_of(read_all, runtime.space("x").with_options(message_id="m"), Teller.tell, 1)
        assert isinstance(error, BadCall)


async def test_a_stream_in_a_turn_is_read_to_its_end():
    async with opened(Teller) as runtime:
        assert await runtime.space("x").ask(Teller.retell, "y") == list(range(50))


async def test_M14_a_turn_that_streams_from_itself_is_a_ring():
    async with opened(Teller) as runtime:
        error = await outcome_of(runtime.space("x").ask, Teller.retell, "x")
        assert type(error.__cause__).__name__ == "AskCycle"


async def test_M14_an_ask_of_the_space_whose_stream_a_turn_is_reading_is_a_ring():
    class Curious(Actor):
        @handler
        async def tell(self):
            for item in range(100):
                yield item

        @handler
        async def hello(self) -> None:
            pass

        @handler
        async def listen(self) -> str:
            async with self.space("y").stream(Curious.tell) as items:
                await anext(items)
                await self.space("y").ask(Curious.hello)
            return "no"

    async with opened(Curious) as runtime:
        with trio.fail_after(10):
            error = await outcome_of(runtime.space("x").ask, Curious.listen)
        assert type(error.__cause__).__name__ == "AskCycle"


# ---- interruption


async def test_A4_an_interrupted_stream_keeps_its_half_answer():
    async with opened(Teller) as runtime:
        async with runtime.space("x").stream(Teller.talk) as items:
            for _ in range(3):
                await anext(items)
            asked = await runtime.space("x").ask(Teller.interrupt)
            rest = [item async for item in items]
        assert (asked, rest) == (3, [])
        assert await outcomes(runtime) == {Outcome.HANDLED: 2}


async def test_A4_an_interrupted_stream_whose_reader_is_behind_keeps_its_half_answer():
    class Eager(Actor[int]):
        @handler(when_interrupted=WhenInterrupted.COMMIT)
        async def talk(self):
            said = 0
            with self.until_interrupted():
                while True:
                    said += 1
                    yield said
                    await trio.lowlevel.checkpoint()
            self.state = said

        @handler(when_busy=WhenBusy.INTERRUPT)
        async def interrupt(self) -> int:
            return self.state

    async with opened(Eager) as runtime:
        async with runtime.space("x").stream(Eager.talk) as items:
            await trio.sleep(5)
            asked = await runtime.space("x").ask(Eager.interrupt)
            found = [item async for item in items]
        assert asked == len(found) > 5


async def test_A4_an_interrupted_stream_that_rolls_back_is_discarded():
    async with opened(Teller) as runtime, runtime.space("x").stream(Teller.tell, 100, 1.0) as items:
        await anext(items)
        assert await runtime.space("x").ask(Teller.interrupt) == 0
        assert isinstance(await outcome_of(read_rest, items), MessageDiscarded)


async def read_rest(items):
    return [item async for item in items]


async def test_A4_an_interruption_before_the_block_begins_it_cancelled():
    class Late(Actor[str]):
        @handler(when_interrupted=WhenInterrupted.COMMIT)
        async def talk(self) -> None:
            await trio.sleep(10)
            with self.until_interrupted() as scope:
                await trio.sleep(1000)
            self.state = f"{scope.cancelled_caught} at {trio.current_time()}"

        @handler(when_busy=WhenBusy.INTERRUPT)
        async def interrupt(self) -> str:
            return self.state

    async with opened(Late) as runtime:
        await runtime.space("x").send(Late.talk)
        await trio.sleep(5)
        assert await runtime.space("x").ask(Late.interrupt) == "True at 10.0"


async def test_a_timeout_of_the_handler_ends_a_stream():
    class Slow(Actor):
        @handler(timeout=3.5)
        async def tell(self):
            for item in range(100):
                yield item
                await trio.sleep(1)

    async with opened(Slow) as runtime:
        found = []
        with pytest.raises(ActorCrashed):
            async with runtime.space("x").stream(Slow.tell) as items:
                async for item in items:
                    found.append(item)  # noqa: PERF401 (it fails in between)
        assert found == [0, 1, 2, 3]


async def test_the_handlers_own_clean_up_runs_in_the_turn():
    class Tidy(Actor[str]):
        @handler
        async def tell(self):
            try:
                yield 1
                await trio.sleep(5)
            finally:
                self.state = "tidy"

    async with opened(Tidy) as runtime:
        async with runtime.space("x").stream(Tidy.tell) as items:
            await anext(items)
        await trio.sleep(10)
        assert await runtime.space("x").state() == "tidy"
        await settled()
