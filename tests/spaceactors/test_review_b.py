"""Turns and life where two things happen at once: questions, cuts, lost versions, hooks, several turns at a time."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from spaceactors import (
    Actor,
    ActorCrashed,
    ConcurrentModification,
    MemoryStore,
    Outcome,
    RestartLimit,
    SpaceError,
    SpaceOptions,
    SpaceStatus,
    TurnTimeout,
    WhenAbandoned,
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


# ---- failures of calls


class Fan(Actor):
    """Asks another space twice at once, and has no crash to spare."""

    options = SpaceOptions(restart_limit=RestartLimit(0, 60))

    @handler
    async def out(self):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.space("b", Sleeper).ask, Sleeper.work, 50)
            nursery.start_soon(self.space("b", Sleeper).ask, Sleeper.work, 50)


class Sleeper(Actor):
    """Works for some seconds."""

    @handler
    async def work(self, seconds):
        await trio.sleep(seconds)
        return trio.current_time()


async def test_A1_several_calls_that_fail_at_once_end_the_message_and_not_the_actor():
    async with open_runtime(Fan, Sleeper) as runtime:
        a, b = runtime.space("a", Fan), runtime.space("b", Sleeper)
        await b.send(Sleeper.work, 50)
        await a.send(Fan.out)
        await trio.sleep(1)
        await b.stop()
        await wait_all_tasks_blocked()
        assert (await a.info()).status is SpaceStatus.LIVE
        assert (await runtime.snapshot()).ledger.outcomes[Outcome.FAILED] == 1


# ---- a space that is halted


async def test_a_paused_space_that_has_not_begun_runs_no_hook_until_it_is_resumed():
    started = []

    class Late(Actor):
        async def on_start(self):
            started.append(trio.current_time())

    async with open_runtime(Late) as runtime:
        space = runtime.space("a")
        await space.pause()
        await trio.sleep(5)
        assert started == []
        await space.resume()
        await wait_all_tasks_blocked()
        assert started == [5]


# ---- streams


class Talker(Actor[int]):
    """Streams, changes its state in between, and has something to clean up."""

    @handler
    async def talk(self):
        yield 1
        await trio.sleep(1)
        self.state += 1
        yield 2

    @handler
    async def talk_for_ever(self):
        try:
            while True:
                yield 1
        finally:
            await trio.sleep(500)


async def test_a_stream_whose_version_is_lost_is_not_told_twice():
    store = MemoryStore()
    async with open_runtime(Talker, store=store) as runtime:
        space, items = runtime.space("a"), []
        with pytest.raises(ActorCrashed) as caught:
            async with space.stream(Talker.talk) as stream:
                async for item in stream:
                    items.append(item)
                    if item == 1:
                        await store.update(space, lambda _: 10)
        assert items == [1, 2]
        assert isinstance(caught.value.__cause__, ConcurrentModification)
        info = await space.info()
        assert (await space.state(), info.status, info.restarts) == (10, SpaceStatus.LIVE, 0)


async def test_S3_kill_does_not_wait_for_what_a_stream_cleans_up():
    async with open_runtime(Talker) as runtime:
        space = runtime.space("a")
        await space.send(Talker.talk_for_ever)
        for _ in range(20):
            await trio.lowlevel.checkpoint()
        began = trio.current_time()
        await space.kill()
        assert trio.current_time() == began


# ---- several turns at once


class Crew(Actor):
    """Has several turns at once; the first is the leader's."""

    options = SpaceOptions(concurrency=4, when_abandoned=WhenAbandoned.CANCEL)

    @handler
    async def work(self, seconds):
        await trio.sleep(seconds)
        return trio.current_time()

    @handler(max_attempts=2)
    async def flaky(self):
        if self.message.attempt == 1:
            raise SpaceError("once")
        return trio.current_time()


async def test_an_abandoned_turn_beside_a_long_one_holds_nobody_up():
    async with open_runtime(Crew) as runtime:
        space = runtime.space("a")
        await space.send(Crew.work, 100)
        with trio.move_on_after(1):
            await space.ask(Crew.work, 50)
        assert await space.ask(Crew.work, 1) == 2


async def test_a_second_try_beside_a_long_turn_is_not_held_up():
    async with open_runtime(Crew) as runtime:
        space = runtime.space("a")
        await space.send(Crew.work, 100)
        await wait_all_tasks_blocked()
        assert await space.ask(Crew.flaky) == 0


async def test_a_pause_that_is_over_holds_nobody_up_beside_a_long_turn():
    async with open_runtime(Crew) as runtime:
        space = runtime.space("a")
        await space.send(Crew.work, 100)
        await wait_all_tasks_blocked()
        await space.pause()
        await space.resume()
        assert await space.ask(Crew.work, 1) == 1


async def test_no_turn_runs_beside_a_start_hook_whatever_wakes_the_space():
    begun = []

    class Slow(Actor):
        options = SpaceOptions(concurrency=3)

        async def on_start(self):
            await trio.sleep(10)

        @handler
        async def note(self):
            begun.append(trio.current_time())

    async with open_runtime(Slow) as runtime:
        space = runtime.space("a")
        await space.send(Slow.note)
        await trio.sleep(1)
        await space.pause()
        await space.resume()
        await space.ask(Slow.note)
        assert begun == [10, 10]


# ---- hooks are turns


class Opener(Actor[int]):
    """Takes a second to begin, and counts what it began."""

    async def on_start(self):
        self.start_soon(trio.sleep_forever)
        await trio.sleep(1)
        self.state += 1
        self.history.append("started")

    @handler
    async def read(self):
        return self.state


async def test_R30_a_hook_whose_version_is_lost_runs_again_on_what_is_there_now():
    store = MemoryStore()
    async with open_runtime(Opener, store=store) as runtime:
        space = runtime.space("a")
        space.send_nowait(Opener.read)
        await trio.sleep(0.5)
        await store.update(space, lambda _: 10)
        assert await space.ask(Opener.read) == 11
        assert await space.history.recent(9) == ["started"]
        assert str(runtime.tree()).count("background") == 1
        await space.kill()


async def test_R30_turn_timeout_holds_for_hooks_and_says_so():
    class Stuck(Actor):
        options = SpaceOptions(turn_timeout=5, backoff=None, restart_limit=RestartLimit(1, 60))

        async def on_start(self):
            await trio.sleep_forever()

    async with open_runtime(Stuck) as runtime:
        space = runtime.space("a")
        await space.pause()
        await space.resume()
        await trio.sleep(20)
        info = await space.info()
        assert info.status is SpaceStatus.QUARANTINED
        assert isinstance(info.last_error, TurnTimeout)
        assert "5 s" in str(info.last_error)
        assert "SpaceOptions(turn_timeout=...)" in str(info.last_error)


async def test_the_error_of_a_turn_that_took_too_long_names_its_seconds_and_the_option():
    class Late(Actor):
        options = SpaceOptions(turn_timeout=2.5, backoff=None)

        @handler
        async def work(self):
            await trio.sleep_forever()

    async with open_runtime(Late) as runtime:
        with pytest.raises(ActorCrashed, match=r"2\.5 s.*@handler\(timeout=...\)") as caught:
            await runtime.space("a").ask(Late.work)
        assert isinstance(caught.value.__cause__, TurnTimeout)
