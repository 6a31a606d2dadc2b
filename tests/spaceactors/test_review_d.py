"""Stores, dead letters, timers, feeds and control calls at their edges: nothing is lost, nobody else is harmed."""

from __future__ import annotations

from math import inf, nan

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from spaceactors import (
    Actor,
    ActorCrashed,
    MemoryStore,
    NotAccepted,
    OutsideTurn,
    RestartLimit,
    SpaceOptions,
    SpaceStatus,
    handler,
    open_runtime,
)


class Bell(Actor[int], kind="bell"):
    """Rings when its timer says so, and fails when it is told to."""

    options = SpaceOptions(backoff=None, restart_limit=RestartLimit(0, 60.0))

    def __init__(self, rung: list[float]) -> None:
        self.rung = rung

    @handler
    async def set(self, after: float | None = None, every: float | None = None) -> None:
        self.schedule("bell", Bell.ring, after=after, every=every)

    @handler
    async def ring(self) -> None:
        self.rung.append(trio.current_time())

    @handler
    async def count_up(self) -> int:
        self.state += 1
        self.emit(self.state)
        return self.state

    @handler
    async def wait_for(self, timeout: float) -> object:
        return await self.suspend("question", None, answer=str, timeout=timeout, default="none")

    @handler
    async def fail(self) -> None:
        raise ValueError


# ---- what is refused where it is written


async def test_a_subscription_by_what_is_no_class_is_refused_and_harms_no_emitter():
    async with open_runtime(Bell, deps=[]) as runtime:
        bell = runtime.space("b")
        with pytest.raises(TypeError, match=r"list\[int\].*by a class"):
            async with bell.subscribe(list[int]):
                pytest.fail("nobody can read such a feed")
        assert await bell.ask(Bell.count_up) == 1


@pytest.mark.parametrize(
    "timer", [{"after": nan}, {"after": inf}, {"after": -1.0}, {"every": nan}, {"every": inf}, {"every": 0.0}]
)
async def test_a_timer_at_no_time_is_refused(timer):
    refused = []

    class Scheduler(Actor):
        @handler
        async def go(self) -> None:
            with pytest.raises(ValueError, match="finite number") as error:
                self.schedule("k", Scheduler.go, **timer)
            refused.append(error.value)

    async with open_runtime(Scheduler) as runtime:
        await runtime.space("s").ask(Scheduler.go)
    assert len(refused) == 1


@pytest.mark.parametrize("timeout", [nan, inf, -1.0])
async def test_a_question_with_a_timeout_that_is_no_time_is_refused(timeout):
    async with open_runtime(Bell, deps=[]) as runtime:
        bell = runtime.space("b")
        with pytest.raises(ActorCrashed) as crash:
            await bell.ask(Bell.wait_for, timeout)
        assert isinstance(crash.value.__cause__, ValueError)
        assert not await runtime.suspensions.list()


def test_a_mixin_may_not_hide_what_the_runtime_needs():
    class Loud:
        def emit(self, *events: object) -> None: ...

    with pytest.raises(TypeError, match=r"hides Actor\.emit"):

        class _Speaker(Loud, Actor): ...


def test_a_mixin_behind_actor_hides_nothing_and_is_welcome():
    class Loud:
        def emit(self, *events: object) -> None: ...

    class Speaker(Actor, Loud): ...

    assert Speaker.emit is Actor.emit


# ---- dead letters


class Faller(Actor, kind="faller"):
    """Fails whenever it is told to, with a mailbox for one."""

    options = SpaceOptions(backoff=None, restart_limit=RestartLimit(99, 1.0), mailbox_capacity=1)

    @handler
    async def fail(self) -> None:
        raise ValueError

    @handler
    async def pass_by(self) -> None: ...

    @handler
    async def work(self, seconds: float) -> None:
        await trio.sleep(seconds)


async def test_O2_letters_of_two_spaces_under_one_message_id_are_both_kept():
    async with open_runtime(Faller) as runtime:
        for name in "ab":
            await runtime.space(name).with_options(message_id="m").send(Faller.fail)
        await wait_all_tasks_blocked()
        assert {one.space.id for one in await runtime.dead_letters.list()} == {"a", "b"}


async def test_O2_a_letter_that_is_sent_again_and_fails_again_is_a_letter_again():
    async with open_runtime(Faller) as runtime:
        message_id = await runtime.space("a").send(Faller.fail)
        await wait_all_tasks_blocked()
        assert await runtime.dead_letters.resend(message_id) == 1
        await wait_all_tasks_blocked()
        assert [one.message.id for one in await runtime.dead_letters.list()] == [message_id]


async def test_O2_a_letter_that_fails_again_before_its_sender_wakes_is_kept():
    async with open_runtime(Faller) as runtime:
        faller = runtime.space("a")
        message_id = await faller.send(Faller.fail)
        await wait_all_tasks_blocked()
        faller.send_nowait(Faller.work, 9.0)
        await wait_all_tasks_blocked()
        faller.send_nowait(Faller.pass_by)
        assert await runtime.dead_letters.resend(message_id) == 1
        await wait_all_tasks_blocked()
        assert [one.message.id for one in await runtime.dead_letters.list()] == [message_id]


async def test_O2_discarding_an_id_forgets_all_letters_of_it():
    async with open_runtime(Faller) as runtime:
        for name in "ab":
            await runtime.space(name).with_options(message_id="m").send(Faller.fail)
        await wait_all_tasks_blocked()
        assert await runtime.dead_letters.discard("m") == 2
        assert await runtime.dead_letters.list() == []


async def test_O2_a_resend_that_is_cancelled_keeps_what_it_has_not_sent():
    async with open_runtime(Faller) as runtime:
        faller = runtime.space("a")
        ids = []
        for _ in range(3):
            ids.append(await faller.send(Faller.fail))
            await wait_all_tasks_blocked()
        faller.send_nowait(Faller.work, 9.0)
        await wait_all_tasks_blocked()
        faller.send_nowait(Faller.work, 9.0)
        with trio.move_on_after(1.0):
            await runtime.dead_letters.resend(*ids)
        assert [one.message.id for one in await runtime.dead_letters.list()] == ids


async def test_O2_a_turn_cannot_send_letters_again_and_lose_them_with_itself():
    class Clerk(Actor):
        def __init__(self, office: list) -> None:
            self.office = office

        @handler
        async def again(self, message_id: str) -> None:
            await self.office[0].dead_letters.resend(message_id)

    office = []
    async with open_runtime(Faller, Clerk, deps=office) as runtime:
        office.append(runtime)
        message_id = await runtime.space("a", Faller).send(Faller.fail)
        await wait_all_tasks_blocked()
        with pytest.raises(ActorCrashed) as crash:
            await runtime.space("c", Clerk).ask(Clerk.again, message_id)
        assert isinstance(crash.value.__cause__, OutsideTurn)
        assert message_id in [one.message.id for one in await runtime.dead_letters.list()]


# ---- timers


async def test_T3_a_tick_that_a_quarantine_kept_back_comes_after_a_drain_of_the_space():
    rung = []
    async with open_runtime(Bell, deps=rung) as runtime:
        bell = runtime.space("b")
        await bell.ask(Bell.set, 5.0)
        await bell.send(Bell.fail)
        await trio.sleep(10)
        assert rung == []
        await bell.drain()
        await trio.sleep(1)
        assert rung == [10.0]


async def test_T3_a_tick_that_is_due_while_its_space_ends_comes_right_after():
    rung = []

    class Slow(Bell, kind="slow"):
        async def on_stop(self) -> None:
            await trio.sleep(2.5)

    async with open_runtime(Slow, deps=rung) as runtime:
        bell = runtime.space("b")
        await bell.ask(Bell.set, 2.0)
        await bell.drain()
        await trio.sleep(1)
        assert rung == [2.5]


def test_T3_a_timer_in_a_store_that_outlives_the_trio_run_is_due_when_it_was_due():
    store, rung = MemoryStore(), []

    async def set_late() -> None:
        await trio.sleep(1000)
        async with open_runtime(Bell, deps=rung, store=store) as runtime:
            await runtime.space("b").ask(Bell.set, 10.0)
            await trio.sleep(4)

    async def wait() -> None:
        async with open_runtime(Bell, deps=rung, store=store):
            await trio.sleep(7)

    for main in (set_late, wait):
        trio.run(main, clock=MockClock(autojump_threshold=0))
    assert rung == [6.0]


async def test_T3_a_timer_in_a_store_that_outlives_its_runtime_keeps_its_time():
    store, rung = MemoryStore(), []
    async with open_runtime(Bell, deps=rung, store=store) as runtime:
        await runtime.space("b").ask(Bell.set, 0.1)
    await trio.sleep(0.07)
    async with open_runtime(Bell, deps=rung, store=store) as runtime:
        assert [timer.due for row in await store.rows("bell") for timer in row.timers.values()] == [pytest.approx(0.1)]


# ---- control calls


async def test_a_deletion_that_a_kill_overrules_still_removes_the_space():
    class Lingering(Bell, kind="lingering"):
        async def on_stop(self) -> None:
            await trio.sleep(5)

    async with open_runtime(Lingering, deps=[]) as runtime:
        bell = runtime.space("b")
        await bell.ask(Bell.count_up)

        async def count_as_soon_as_possible() -> None:
            while True:
                try:
                    await bell.ask(Bell.count_up)
                except NotAccepted:
                    await trio.lowlevel.checkpoint()
                else:
                    return

        async with trio.open_nursery() as nursery:
            nursery.start_soon(bell.delete)
            await trio.sleep(1)
            nursery.start_soon(bell.kill)
            nursery.start_soon(count_as_soon_as_possible)
        assert await bell.state() == 1


async def test_S3_an_actor_that_drains_itself_within_a_time_is_cut_off_at_its_end():
    class Weary(Actor):
        @handler
        async def go(self) -> None:
            await self.handle.drain(2)
            await trio.sleep(100)

    async with open_runtime(Weary) as runtime:
        weary = runtime.space("w")
        await weary.send(Weary.go)
        await trio.sleep(1.9)
        assert (await weary.info()).status is SpaceStatus.DRAINING
        await trio.sleep(0.2)
        assert (await weary.info()).status is SpaceStatus.STOPPED


# ---- listings


async def test_a_listing_of_many_spaces_lets_others_run_and_misses_none():
    class Quiet(Actor):
        @handler
        async def hello(self) -> None: ...

    names = [f"{number:04}" for number in range(2500)]
    async with open_runtime(Quiet) as runtime:
        for name in names:
            runtime.space(name).send_nowait(Quiet.hello)
        await wait_all_tasks_blocked()
        passes = 0

        async def count_passes() -> None:
            nonlocal passes
            while True:
                passes += 1
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(count_passes)
            await trio.lowlevel.checkpoint()
            passes = 0
            assert await runtime.spaces(actor=Quiet, status=SpaceStatus.BUSY) == []
            assert passes >= 5
            assert [one.id for one in await runtime.spaces(actor=Quiet, limit=9999)] == names
            assert [one.id for one in await runtime.spaces(actor=Quiet, limit=2, after="0600")] == ["0601", "0602"]
            assert await runtime.spaces(actor=Quiet, limit=0) == []
            nursery.cancel_scope.cancel()


async def test_listings_follow_spaces_that_come_and_go():
    async with open_runtime(Bell, deps=[]) as runtime:
        for name in "ca":
            await runtime.space(name).ask(Bell.count_up)
        assert [one.id for one in await runtime.spaces(actor=Bell)] == ["a", "c"]
        await runtime.space("b").ask(Bell.count_up)
        assert [one.id for one in await runtime.spaces(actor=Bell)] == ["a", "b", "c"]
        await runtime.space("a").delete()
        assert [one.id for one in await runtime.spaces(actor=Bell)] == ["b", "c"]
