"""Idle spaces leave memory and come back with their next message; a bound on live spaces makes room."""

from __future__ import annotations

import pytest
import trio

from spaceactors import (
    Actor,
    MailboxFull,
    MessageExpired,
    Outcome,
    RestartLimit,
    RuntimeConfig,
    SpaceOptions,
    SpacePassivated,
    SpaceStatus,
    handler,
)
from tests.spaceactors.scenes import opened, outcome_of, settled

pytestmark = pytest.mark.usefixtures("autojump_clock")


class Guest(Actor[int], kind="guest"):
    options = SpaceOptions(idle_timeout=10.0, restart_limit=RestartLimit(100, 1.0), backoff=None)

    @handler
    async def hello(self, seconds: float = 0.0) -> int:
        await trio.sleep(seconds)
        self.state += 1
        return self.state


async def is_live(runtime, space_id="x"):
    return space_id in {one.id for one in (await runtime.snapshot()).spaces}


async def test_T5_a_space_leaves_memory_after_its_idle_time():
    async with opened(Guest) as runtime:
        await runtime.space("x").ask(Guest.hello)
        await trio.sleep(9.9)
        before = await is_live(runtime)
        await trio.sleep(0.2)
        assert (before, await is_live(runtime)) == (True, False)


async def test_T5_a_message_begins_the_idle_time_anew():
    async with opened(Guest) as runtime:
        guest = runtime.space("x")
        for _ in range(5):
            await guest.ask(Guest.hello)
            await trio.sleep(9)
            assert await is_live(runtime)
        await trio.sleep(1.1)
        assert not await is_live(runtime)


async def test_T5_the_idle_time_begins_when_the_last_turn_ends():
    async with opened(Guest) as runtime:
        await runtime.space("x").send(Guest.hello, 20.0)
        await trio.sleep(29.9)
        before = await is_live(runtime)
        await trio.sleep(0.2)
        assert (before, await is_live(runtime)) == (True, False)


@pytest.mark.parametrize("concurrency", [2, 3])
async def test_T5_with_several_turns_at_once_the_idle_time_begins_when_the_last_one_ends(concurrency):
    class Wide(Actor):
        options = SpaceOptions(idle_timeout=10.0, concurrency=concurrency)

        @handler
        async def hello(self, seconds: float) -> None:
            await trio.sleep(seconds)

    async with opened(Wide) as runtime:
        wide = runtime.space("x")
        await wide.ask(Wide.hello, 0.0)
        await trio.sleep(5)
        await wide.ask(Wide.hello, 0.0)
        await trio.sleep(9)
        early = await is_live(runtime)
        await wide.send(Wide.hello, 12.0)
        await trio.sleep(12 + 9.5)
        later = await is_live(runtime)
        await trio.sleep(1)
        assert (early, later, await is_live(runtime)) == (True, True, False)


async def test_T7_a_space_never_leaves_in_the_middle_of_a_turn():
    async with opened(Guest) as runtime:
        guest = runtime.space("x")
        reply = await guest.ask(Guest.hello, 100.0)
        assert (reply, await is_live(runtime)) == (1, True)


async def test_T7_a_paused_space_with_messages_stays():
    async with opened(Guest) as runtime:
        guest = runtime.space("x")
        await guest.ask(Guest.hello)
        await guest.pause()
        await guest.send(Guest.hello)
        await trio.sleep(100)
        assert (await guest.info()).depth == 1
        await guest.resume()
        await trio.sleep(1)
        assert await guest.state() == 2


async def test_T7_the_state_and_the_history_survive_passivation():
    class Diary(Actor[int]):
        options = SpaceOptions(idle_timeout=1.0)

        @handler
        async def write(self) -> int:
            self.state += 1
            self.history.append(self.state)
            return self.state

    async with opened(Diary) as runtime:
        diary = runtime.space("x")
        await diary.ask(Diary.write)
        await trio.sleep(5)
        status = (await diary.info()).status
        assert (status, await diary.state(), await diary.history.recent(9)) == (SpaceStatus.PASSIVE, 1, [1])
        assert await diary.ask(Diary.write) == 2


async def test_T7_the_next_activation_is_a_new_actor():
    class Scratch(Actor):
        options = SpaceOptions(idle_timeout=1.0)
        calls = 0

        @handler
        async def call(self) -> int:
            self.calls += 1
            return self.calls

    async with opened(Scratch) as runtime:
        space = runtime.space("x")
        await space.ask(Scratch.call)
        again = await space.ask(Scratch.call)
        await trio.sleep(5)
        assert (again, await space.ask(Scratch.call)) == (2, 1)


async def test_passivation_is_one_event():
    async with opened(Guest) as runtime, runtime.events() as events:
        await runtime.space("x").ask(Guest.hello)
        await trio.sleep(11)
        found = []
        with trio.move_on_after(1):
            async for event in events:
                found.append(event)  # noqa: PERF401 (what came before the time was over counts)
        assert [one.space for one in found if isinstance(one, SpacePassivated)] == ["x"]


# ---- hooks, and messages that come meanwhile


def made_slow(hook):
    class Slow(Actor[tuple[str, ...]], kind="slow"):
        options = SpaceOptions(idle_timeout=10.0)

        @handler
        async def hello(self) -> tuple[str, ...]:
            self.state = (*self.state, "hello")
            return self.state

    async def leave(self) -> None:
        await trio.sleep(5)
        self.state = (*self.state, hook)

    return type("Slow", (Slow,), {hook: leave})


@pytest.mark.parametrize("hook", ["on_idle", "on_stop"])
async def test_T7_a_hook_of_the_departure_commits(hook):
    slow = made_slow(hook)
    async with opened(slow) as runtime:
        await runtime.space("x").ask(slow.hello)
        await trio.sleep(20)
        assert await runtime.space("x").state() == ("hello", hook)
        assert not await is_live(runtime)


@pytest.mark.parametrize("hook", ["on_idle", "on_stop"])
@pytest.mark.parametrize("at", [10.1, 12.0, 15.0])
async def test_T8_M12_a_message_that_comes_during_passivation_is_handled_exactly_once(hook, at):
    slow = made_slow(hook)
    async with opened(slow) as runtime:
        space = runtime.space("x")
        await space.ask(slow.hello)
        await trio.sleep(at)
        assert await space.ask(slow.hello) == ("hello", hook, "hello")
        ledger = (await runtime.snapshot()).ledger
        assert (ledger.accepted, ledger.outcomes[Outcome.HANDLED], ledger.pending) == (2, 2, 0)


async def test_M12_messages_sent_around_the_moment_of_passivation_are_all_handled():
    async with opened(Guest) as runtime, trio.open_nursery() as nursery:
        guest = runtime.space("x")

        async def send_at(moment):
            await trio.sleep_until(moment)
            for _ in range(3):
                await guest.send(Guest.hello)
                await trio.lowlevel.checkpoint()

        await guest.ask(Guest.hello)
        start = trio.current_time()
        for number in range(1, 50):
            nursery.start_soon(send_at, start + 10.0 * number)
            nursery.start_soon(send_at, start + 10.0 * number)
        await trio.sleep(1000)
        assert await guest.state() == 1 + 49 * 6


async def test_T7_on_stop_that_fails_loses_nothing_and_the_space_comes_back():
    class Clumsy(Actor[int]):
        options = SpaceOptions(idle_timeout=1.0, backoff=None)

        @handler
        async def hello(self) -> int:
            self.state += 1
            return self.state

        async def on_stop(self) -> None:
            self.state = 99
            raise ValueError

    async with opened(Clumsy) as runtime:
        space = runtime.space("x")
        await space.ask(Clumsy.hello)
        await trio.sleep(1.5)
        assert await space.ask(Clumsy.hello) == 2


async def test_T7_background_work_that_listens_gets_its_grace_at_passivation():
    from supervisors import until_drain

    class Busy(Actor):
        options = SpaceOptions(idle_timeout=1.0, shutdown=5.0)

        @handler
        async def start(self) -> None:
            self.start_soon(self.work)

        async def work(self) -> None:
            with until_drain():
                await trio.sleep_forever()
            await trio.sleep(2)
            finished.append(trio.current_time())

    finished = []
    async with opened(Busy) as runtime:
        await runtime.space("x").ask(Busy.start)
        await trio.sleep(20)
        assert (finished, await is_live(runtime)) == ([3.0], False)


# ---- the bound on live spaces


class Short(Actor[int], kind="short"):
    @handler
    async def hello(self, seconds: float = 0.0) -> int:
        await trio.sleep(seconds)
        self.state += 1
        return self.state

    @handler
    async def ask_other(self, other: str, seconds: float = 0.0) -> int:
        return await self.space(other).ask(Short.hello, seconds)


def bound(places):
    return RuntimeConfig(max_live_spaces=places)


async def live_ids(runtime):
    return [one.id for one in (await runtime.snapshot()).spaces]


async def test_T9_the_longest_idle_space_goes_first():
    async with opened(Short, config=bound(3)) as runtime:
        for name in ("a", "b", "c", "a"):
            await runtime.space(name).ask(Short.hello)
            await trio.sleep(1)
        await runtime.space("d").ask(Short.hello)
        assert sorted(await live_ids(runtime)) == ["a", "c", "d"]


async def test_T9_two_thousand_five_hundred_spaces_live_in_two_hundred_places():
    async with opened(Short, config=bound(200)) as runtime:
        most = 0
        for round_ in range(2):
            for number in range(2500):
                assert await runtime.space(f"s{number}").ask(Short.hello) == round_ + 1
                if number % 100 == 0:
                    most = max(most, (await runtime.snapshot()).live)
        ledger = (await runtime.snapshot()).ledger
        assert most <= 200
        assert (ledger.accepted, ledger.outcomes[Outcome.HANDLED], ledger.pending) == (5000, 5000, 0)


async def test_T9_senders_wait_for_a_place_in_their_order():
    handled = []

    class Noted(Actor):
        @handler
        async def hello(self) -> None:
            handled.append(self.id)
            await trio.sleep(1)

    async with opened(Noted, config=bound(1)) as runtime, trio.open_nursery() as nursery:
        await runtime.space("first").send(Noted.hello)
        for name in "cabd":
            nursery.start_soon(runtime.space(name).send, Noted.hello)
            await settled()
        await trio.sleep(10)
        assert handled == ["first", "c", "a", "b", "d"]


async def test_T9_a_busy_runtime_makes_senders_wait_and_tells_those_who_cannot():
    async with opened(Short, config=bound(1)) as runtime:
        await runtime.space("a").send(Short.hello, 10.0)
        with trio.move_on_after(5) as waited:
            await runtime.space("b").send(Short.hello)
        error = None
        try:
            runtime.space("b").send_nowait(Short.hello)
        except MailboxFull as raised:
            error = raised
        assert waited.cancelled_caught
        assert error is not None
        assert (await runtime.snapshot()).ledger.accepted == 1


async def test_T9_M4_a_sender_that_left_the_line_for_a_place_leaves_no_message():
    async with opened(Short, config=bound(1)) as runtime:
        await runtime.space("a").send(Short.hello, 10.0)
        with trio.move_on_after(5):
            await runtime.space("b").ask(Short.hello)
        await trio.sleep(100)
        assert (await runtime.space("b").state(), (await runtime.snapshot()).ledger.accepted) == (0, 1)


@pytest.mark.parametrize("verb", ["send", "ask"])
async def test_T9_M17_a_message_expires_while_it_waits_for_a_place_among_the_live_spaces(verb):
    async with opened(Short, config=bound(1)) as runtime:
        await runtime.space("a").send(Short.hello, 10.0)
        other = runtime.space("b").with_options(expires_after=5.0)
        error = await outcome_of(getattr(other, verb), Short.hello)
        assert isinstance(error, MessageExpired)
        assert trio.current_time() == 5.0
        assert (await runtime.snapshot()).ledger.accepted == 1


async def test_T9_M17_the_time_of_a_message_runs_from_the_call_and_not_from_its_place():
    async with opened(Short, config=bound(1)) as runtime:
        await runtime.space("a").send(Short.hello, 10.0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(runtime.space("b").send, Short.hello, 20.0)  # has its place at 10, runs until 30
            await settled()
            error = await outcome_of(runtime.space("b").with_options(expires_after=15.0).ask, Short.hello)
        assert isinstance(error, MessageExpired)
        assert trio.current_time() == 15.0


async def test_T9_all_senders_for_one_space_are_let_in_with_its_activation():
    async with opened(Short, config=bound(1)) as runtime, trio.open_nursery() as nursery:
        await runtime.space("a").send(Short.hello, 10.0)
        replies = []

        async def ask():
            replies.append(await runtime.space("b").ask(Short.hello))

        for _ in range(3):
            nursery.start_soon(ask)
        await trio.sleep(20)
        assert sorted(replies) == [1, 2, 3]


async def test_T9_an_activation_that_an_open_turn_waits_for_is_not_held_back():
    async with opened(Short, config=bound(1)) as runtime:
        with trio.fail_after(100):
            assert await runtime.space("a").ask(Short.ask_other, "b") == 1


async def test_T9_what_a_turn_sent_waits_for_a_place_and_is_handled():
    class Sender(Actor[int]):
        @handler
        async def pass_on(self, names: tuple[str, ...]) -> None:
            for name in names:
                await self.space(name).send(Sender.hello)
            await trio.sleep(1)

        @handler
        async def hello(self) -> None:
            self.state += 1

    async with opened(Sender, config=bound(1)) as runtime:
        await runtime.space("a").ask(Sender.pass_on, ("b", "c", "d"))
        await trio.sleep(1)
        assert [await runtime.space(name).state() for name in "bcd"] == [1, 1, 1]
        assert (await runtime.snapshot()).live <= 1


async def test_T9_a_quarantined_space_takes_no_place():
    class Weak(Actor):
        options = SpaceOptions(restart_limit=RestartLimit(0, 60.0))

        @handler
        async def hello(self) -> str:
            return self.id

        @handler
        async def crash(self) -> None:
            raise ValueError

    async with opened(Weak, config=bound(1)) as runtime:
        await outcome_of(runtime.space("a").ask, Weak.crash)
        with trio.fail_after(10):
            assert await runtime.space("b").ask(Weak.hello) == "b"
        assert (await runtime.space("a").info()).status is SpaceStatus.QUARANTINED


async def test_T9_the_bound_holds_while_spaces_take_their_time_to_leave():
    class Slow(Actor[int]):
        @handler
        async def hello(self) -> None:
            running.add(self.id)
            most.append(len(running))
            await trio.sleep(1)
            running.discard(self.id)
            self.state += 1

        async def on_stop(self) -> None:
            await trio.sleep(3)

    running, most = set(), []
    async with opened(Slow, config=bound(2)) as runtime, trio.open_nursery() as nursery:
        for number in range(30):
            nursery.start_soon(runtime.space(f"s{number % 5}").send, Slow.hello)
            await trio.sleep(0.7)
        await trio.sleep(1000)
        assert max(most) <= 2
        assert sum([await runtime.space(f"s{number}").state() for number in range(5)]) == 30


async def test_T9_the_bound_is_kept_again_after_spaces_that_came_back_while_they_left():
    class Slow(Actor):
        @handler
        async def hello(self) -> str:
            return self.id

        async def on_stop(self) -> None:
            await trio.sleep(3)

    async with opened(Slow, config=bound(2)) as runtime, trio.open_nursery() as nursery:
        for name in ("a", "b"):
            await runtime.space(name).ask(Slow.hello)
        nursery.start_soon(runtime.space("c").ask, Slow.hello)  # the space that is longest idle begins to leave
        await trio.sleep(1)
        nursery.start_soon(runtime.space("a").ask, Slow.hello)  # and is wanted again
        await trio.sleep(100)
        for name in "defgh":
            await runtime.space(name).ask(Slow.hello)
        await trio.sleep(100)
        assert (await runtime.snapshot()).live <= 2
