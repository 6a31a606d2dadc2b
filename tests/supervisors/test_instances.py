"""The instance pool: opened when needed, used last first, closed when idle, broken, drained; and nothing left over."""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from functools import partial
from math import inf

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from supervisors import (
    CapacityQueueFull,
    CapacityTimeout,
    ChildSpec,
    InstancePool,
    Priority,
    SupervisorClosed,
    draining,
    open_supervisor,
    until_drain,
    value_of,
)
from supervisors.testing import seed_schedule


class Crash(Exception):
    pass


class Client:
    def __init__(self, number):
        self.number = number
        self.healthy = True
        self.dies = trio.Event()


class Maker:
    """Makes clients and counts them; each one holds a nursery open, as clients do."""

    def __init__(self, *, open_seconds=0.0, close_seconds=0.0, shielded=False, fails=(), close_error=None):
        self.open_seconds = open_seconds
        self.close_seconds = close_seconds
        self.shielded = shielded
        self.fails = list(fails)
        self.close_error = close_error
        self.made = 0
        self.alive = 0
        self.most = 0
        self.closed = []
        self.cut = []

    @asynccontextmanager
    async def __call__(self):
        self.made += 1
        client = Client(self.made)
        self.alive += 1
        self.most = max(self.most, self.alive)
        opened = False
        try:
            with trio.CancelScope():
                await trio.sleep(self.open_seconds)
                if self.fails:
                    raise self.fails.pop(0)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self.live, client)
                    opened = True
                    yield client
                    nursery.cancel_scope.cancel()
        finally:
            try:
                if opened:
                    with trio.CancelScope(shield=self.shielded):
                        await trio.sleep(self.close_seconds)
                    self.closed.append(client.number)
            except trio.Cancelled:
                self.cut.append(client.number)
                raise
            finally:
                self.alive -= 1
            if self.close_error:
                raise self.close_error

    async def live(self, client):
        await client.dies.wait()
        raise Crash


async def use(pool, order=None, *, seconds=1.0, label=None, **options):
    async with pool.use(**options) as client:
        if order is not None:
            order.append(client.number if label is None else label)
        await trio.sleep(seconds)
        return client


# ---- opening and sharing


async def test_instances_are_opened_when_needed_up_to_the_size_and_then_shared(autojump_clock):
    maker, order = Maker(), []
    async with InstancePool(maker, 2) as pool:
        assert maker.made == 0
        async with trio.open_nursery() as nursery:
            for _ in range(6):
                nursery.start_soon(use, pool, order)
        assert trio.current_time() == pytest.approx(3.0)
        assert pool.statistics().created == maker.made == 2
        assert (pool.statistics().idle, pool.statistics().in_use, pool.statistics().open) == (2, 0, 2)
    assert sorted(order) == [1, 1, 1, 2, 2, 2]
    assert sorted(maker.closed) == [1, 2]


async def test_the_one_used_last_is_used_next(autojump_clock):
    order = []
    async with InstancePool(Maker(), 3) as pool:
        async with trio.open_nursery() as nursery:
            for seconds in (1, 3, 2):
                nursery.start_soon(partial(use, pool, order, seconds=seconds))
                await wait_all_tasks_blocked()
        order.clear()
        async with pool.use() as first, pool.use() as second, pool.use() as third:
            assert [first.number, second.number, third.number] == [2, 3, 1]


async def test_an_instance_is_closed_after_idling_and_not_while_it_is_in_use(autojump_clock):
    maker = Maker()
    async with InstancePool(maker, 2, idle_timeout=10) as pool:
        async with pool.use(), pool.use():
            await trio.sleep(50)
            assert maker.closed == []
        await trio.sleep(9)
        await use(pool, seconds=5)
        assert len(maker.closed) == 1
        await trio.sleep(9)
        assert pool.statistics().idle == 1
        await trio.sleep(2)
        assert maker.alive == pool.statistics().open == pool.statistics().idle == len(pool._idle) == 0
        assert await use(pool)
        assert maker.made == 3


async def test_an_instance_that_may_not_idle_is_used_once(autojump_clock):
    async with InstancePool(Maker(), 1, idle_timeout=0) as pool:
        assert [(await use(pool, seconds=0)).number for _ in range(3)] == [1, 2, 3]


async def test_who_waits_is_served_by_priority_and_then_in_order(autojump_clock):
    order = []
    async with InstancePool(Maker(), 1) as pool, trio.open_nursery() as nursery:
        for label, priority in (("0", 1), ("a", 0), ("b", 2), ("c", 2), ("d", 1)):
            nursery.start_soon(partial(use, pool, order, label=label, priority=Priority(priority)))
            await wait_all_tasks_blocked()
        assert pool.statistics().waiting == 4
    assert order == ["0", "b", "c", "d", "a"]


async def test_the_line_has_its_length_and_its_patience(autojump_clock):
    async with InstancePool(Maker(), 1, max_waiting=1, wait_timeout=2) as pool, trio.open_nursery() as nursery:

        async def in_vain():
            with pytest.raises(CapacityTimeout):
                await use(pool)

        nursery.start_soon(partial(use, pool, seconds=5))
        await wait_all_tasks_blocked()
        nursery.start_soon(in_vain)
        await wait_all_tasks_blocked()
        with pytest.raises(CapacityQueueFull):
            await use(pool)
    assert trio.current_time() == pytest.approx(5.0)


async def test_an_instance_lives_in_the_context_of_the_pool_and_in_a_task_of_its_own(autojump_clock):
    seen, who = [], ContextVar("who", default="nobody")

    @asynccontextmanager
    async def factory():
        seen.append((who.get(), trio.lowlevel.current_task()))
        yield Client(1)
        seen.append((who.get(), trio.lowlevel.current_task()))

    who.set("pool")
    async with InstancePool(factory, 1) as pool:
        who.set("user")
        await use(pool)
    assert [name for name, _ in seen] == ["pool", "pool"]
    assert seen[0][1] is seen[1][1] is not trio.lowlevel.current_task()


# ---- faults


async def test_a_factory_that_fails_tells_who_asked_and_its_place_is_free_again(autojump_clock):
    error = Crash()
    async with InstancePool(Maker(fails=[error], open_seconds=1), 1) as pool:
        with pytest.raises(Crash) as caught:
            await use(pool)
        assert caught.value is error
        assert await use(pool)
        assert (pool.statistics().failed, pool.statistics().created, pool.errors) == (1, 1, ())


async def test_a_factory_that_gives_no_context_manager_tells_who_asked():
    async with InstancePool(lambda: 7, 1) as pool:
        with pytest.raises(TypeError, match="give an async context manager"):
            await use(pool)


@pytest.mark.parametrize(
    ("broken", "error", "again"),
    [
        (Crash, Crash(), False),
        ((KeyError, Crash), Crash(), False),
        (KeyError, Crash(), True),
        (lambda error: "no" in str(error), Crash("no"), False),
        (lambda error: "no" in str(error), Crash("yes"), True),
        (lambda error: isinstance(error, Crash), ExceptionGroup("g", [KeyError(), Crash()]), False),
        (Crash, ExceptionGroup("g", [KeyError(), ExceptionGroup("h", [Crash()])]), False),
        ((), Crash(), True),
    ],
)
async def test_one_that_was_broken_in_use_is_closed_and_replaced(autojump_clock, broken, error, again):
    maker = Maker()
    async with InstancePool(maker, 1, broken=broken) as pool:
        with pytest.raises(type(error)):
            async with pool.use():
                raise error
        assert (await use(pool)).number == (1 if again else 2)
        assert pool.statistics().replaced == (not again)
        assert maker.most == 1


async def test_a_lost_connection_means_broken_by_default_and_an_error_of_the_user_does_not(autojump_clock):
    async with InstancePool(Maker(), 1) as pool:
        for error, number in ((ValueError(), 1), (ConnectionResetError(), 2), (trio.BrokenResourceError(), 3)):
            with pytest.raises(type(error)):
                async with pool.use():
                    raise error
            assert (await use(pool)).number == number


async def test_a_use_that_was_cut_off_breaks_its_instance_only_if_that_was_said(autojump_clock):
    for broken, number in (((), 1), (trio.Cancelled, 2)):
        async with InstancePool(Maker(), 1, broken=broken) as pool:
            with trio.move_on_after(1):
                await use(pool, seconds=inf)
            assert (await use(pool)).number == number


async def test_a_rule_that_fails_leaves_no_instance_behind(autojump_clock):
    maker = Maker()
    async with InstancePool(maker, 1, broken=lambda error: 1 / 0) as pool:
        with pytest.raises(ZeroDivisionError):
            async with pool.use():
                raise Crash
        assert (await use(pool)).number == 2


async def test_one_that_is_not_healthy_is_not_used_again(autojump_clock):
    checked = []

    async def healthy(client):
        await trio.sleep(0.1)
        checked.append(client.number)
        if client.number == 2:
            raise Crash
        return client.healthy

    async with InstancePool(Maker(), 1, healthy=healthy) as pool:
        client = await use(pool)
        assert checked == []  # a new one is not asked
        assert await use(pool) is client
        client.healthy = False
        assert (await use(pool)).number == 2
        assert (await use(pool)).number == 3
        assert checked == [1, 1, 2]
        assert pool.statistics().replaced == 2
        assert [type(error) for error in pool.errors] == [Crash]


async def test_one_whose_check_was_cut_off_is_not_used_again(autojump_clock):
    async def healthy(client):
        await trio.sleep(client.number == 1 and inf)
        return True

    async with InstancePool(Maker(), 1, healthy=healthy) as pool:
        await use(pool)
        with trio.move_on_after(1):
            await use(pool)
        assert (await use(pool)).number == 2


async def test_one_that_dies_by_itself_is_replaced(autojump_clock):
    maker = Maker()
    async with InstancePool(maker, 1) as pool:
        async with pool.use() as client:
            client.dies.set()
            await trio.sleep(1)
        second = await use(pool)
        assert second.number == 2
        second.dies.set()
        await trio.sleep(1)
        assert pool.statistics().open == pool.statistics().idle == 0
        assert (await use(pool)).number == 3
        assert pool.statistics().replaced == 2
        assert len(pool.errors) == 2
    assert maker.most == 1


async def test_a_place_is_free_only_when_the_instance_before_is_closed(autojump_clock):
    maker = Maker(close_seconds=3)
    async with InstancePool(maker, 1, broken=Crash) as pool:
        with pytest.raises(Crash):
            async with pool.use():
                raise Crash
        assert (await use(pool, seconds=0)).number == 2
        assert trio.current_time() == pytest.approx(3.0)
    assert maker.most == 1


async def test_who_waits_for_a_closing_takes_what_comes_free_before(autojump_clock):
    maker = Maker(close_seconds=3)
    async with InstancePool(maker, 2, broken=Crash) as pool, trio.open_nursery() as nursery:
        nursery.start_soon(use, pool)
        await wait_all_tasks_blocked()
        with pytest.raises(Crash):
            async with pool.use():
                raise Crash
        assert (await use(pool, seconds=0)).number == 1
        assert trio.current_time() == pytest.approx(1.0)


async def test_one_that_dies_in_use_and_is_broken_is_replaced_once(autojump_clock):
    async with InstancePool(Maker(), 1, broken=KeyError) as pool:
        with pytest.raises(KeyError):
            async with pool.use() as client:
                client.dies.set()
                await trio.sleep(1)
                raise KeyError
        assert pool.statistics().replaced == 1


async def test_a_closing_that_hangs_is_cancelled_and_its_place_free(autojump_clock):
    maker = Maker(close_seconds=inf)
    async with InstancePool(maker, 1, broken=Crash, close_timeout=2) as pool:
        with pytest.raises(Crash):
            async with pool.use():
                raise Crash
        await use(pool, seconds=0)
        assert trio.current_time() == pytest.approx(2.0)
        assert pool.statistics().close_failed == 1
    assert trio.current_time() == pytest.approx(4.0)
    assert (maker.cut, maker.alive) == ([1, 2], 0)


async def test_a_closing_that_ignores_its_cancellation_keeps_its_place_for_a_second_more(autojump_clock):
    maker = Maker(close_seconds=20, shielded=True)
    async with InstancePool(maker, 1, broken=Crash, close_timeout=2) as pool:
        with pytest.raises(Crash):
            async with pool.use():
                raise Crash
        await use(pool, seconds=0)
        assert trio.current_time() == pytest.approx(3.0)
        await pool.drain()
        assert trio.current_time() == pytest.approx(6.0)
    # Nothing outlives the block.
    assert trio.current_time() == pytest.approx(23.0)
    assert maker.alive == 0


async def test_an_error_in_closing_one_does_not_stop_others_and_comes_out_at_the_end(autojump_clock):
    maker = Maker(close_error=Crash())
    with pytest.raises(ExceptionGroup, match="pool 'llm' could not be closed") as caught:
        async with InstancePool(maker, 3, name="llm") as pool, trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(use, pool)
    assert caught.value.exceptions == (maker.close_error,) * 3
    assert maker.alive == 0
    assert pool.statistics().close_failed == 3


async def test_an_error_in_closing_an_idle_one_is_kept_and_counted(autojump_clock):
    maker = Maker(close_error=Crash())
    async with InstancePool(maker, 1, idle_timeout=1) as pool:
        await use(pool)
        await trio.sleep(5)
        assert pool.errors == (maker.close_error,)
        assert pool.statistics().close_failed == 1


async def test_the_error_of_the_block_stands_over_those_of_closing(autojump_clock):
    with pytest.raises(KeyError):
        async with InstancePool(Maker(close_error=Crash()), 1) as pool:
            await use(pool)
            raise KeyError


async def test_what_concerns_the_whole_program_comes_out_bare(autojump_clock):
    maker = Maker(fails=[KeyboardInterrupt()])
    with pytest.raises(KeyboardInterrupt):
        async with InstancePool(maker, 1) as pool:
            await use(pool)
    assert maker.alive == 0


async def test_what_concerns_the_whole_program_ends_the_block_at_once(autojump_clock):
    @asynccontextmanager
    async def factory():
        yield Client(1)
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        async with InstancePool(factory, 1, idle_timeout=1) as pool:
            await use(pool)
            await trio.sleep_forever()
    assert trio.current_time() == pytest.approx(2.0)


# ---- being cancelled


async def test_an_error_comes_out_bare_also_under_a_cancellation(autojump_clock):
    with trio.CancelScope() as scope, pytest.raises(KeyError):
        async with InstancePool(Maker(close_seconds=1), 1) as pool:
            await use(pool)
            scope.cancel()
            raise KeyError
    assert not scope.cancelled_caught


async def test_an_opening_that_ignores_its_cancellation_keeps_its_place_for_a_second(autojump_clock):
    opened = []

    @asynccontextmanager
    async def factory():
        opened.append(trio.current_time())
        with trio.CancelScope(shield=True):
            await trio.sleep(20 if len(opened) == 1 else 0)
        yield Client(len(opened))

    async with InstancePool(factory, 1) as pool:
        with trio.move_on_after(1):
            await use(pool)
        await use(pool)
        assert opened == [0.0, pytest.approx(2.0)]


async def test_who_is_cancelled_while_its_instance_opens_leaves_none_behind(autojump_clock):
    maker = Maker(open_seconds=5)
    async with InstancePool(maker, 1) as pool:
        with trio.move_on_after(1):
            await use(pool)
        await wait_all_tasks_blocked()
        assert maker.alive == pool.statistics().open == pool.statistics().in_use == 0
        await use(pool, seconds=0)
        assert trio.current_time() == pytest.approx(6.0)


async def test_who_is_cancelled_in_line_leaves_it(autojump_clock):
    async with InstancePool(Maker(), 1) as pool, trio.open_nursery() as nursery:
        nursery.start_soon(partial(use, pool, seconds=5))
        await wait_all_tasks_blocked()
        with trio.move_on_after(1):
            await use(pool)
        assert pool.statistics().waiting == 0


async def test_a_block_that_is_cancelled_still_closes_in_order(autojump_clock):
    maker = Maker(close_seconds=1)
    with trio.move_on_after(3) as scope:
        async with InstancePool(maker, 1) as pool:
            await use(pool, seconds=inf)
    assert scope.cancelled_caught
    assert (maker.closed, maker.cut, maker.alive) == ([1], [], 0)


async def test_a_block_that_is_cancelled_and_cannot_close_is_bounded(autojump_clock):
    maker = Maker(close_seconds=inf)
    with trio.move_on_after(3):
        async with InstancePool(maker, 2, close_timeout=2) as pool, trio.open_nursery() as nursery:
            nursery.start_soon(use, pool)
            nursery.start_soon(partial(use, pool, seconds=inf))
    assert trio.current_time() == pytest.approx(5.0)
    assert maker.alive == 0


# ---- draining


async def test_drain_lets_uses_finish_refuses_new_ones_and_closes_all(autojump_clock):
    maker, log = Maker(close_seconds=1), []

    async def refused(pool, **options):
        with pytest.raises(SupervisorClosed, match="pool 'llm' is draining"):
            await use(pool)
        log.append(trio.current_time())

    async with InstancePool(maker, 1, name="llm") as pool:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(use, pool, seconds=5))
            await wait_all_tasks_blocked()
            nursery.start_soon(refused, pool)
            await trio.sleep(1)
            nursery.start_soon(pool.drain)
            await wait_all_tasks_blocked()
            await refused(pool)
        assert trio.current_time() == pytest.approx(6.0)
        assert log == [1.0, 1.0]
        assert maker.alive == 0
        await pool.drain()
        await refused(pool)


async def test_drain_gives_up_what_is_being_opened_and_idle_ones_at_once(autojump_clock):
    maker = Maker()
    async with InstancePool(maker, 2) as pool, trio.open_nursery() as nursery:
        await use(pool)
        maker.open_seconds = 9

        async def refused():
            with pytest.raises(SupervisorClosed):
                async with pool.use(), pool.use():
                    pytest.fail("it was opened")

        nursery.start_soon(refused)
        await trio.sleep(1)
        await pool.drain()
        assert trio.current_time() == pytest.approx(2.0)
        assert maker.alive == 0


async def test_drain_waits_for_a_use_whose_instance_died(autojump_clock):
    async with InstancePool(Maker(), 1) as pool, trio.open_nursery() as nursery:

        async def outlives():
            async with pool.use() as client:
                client.dies.set()
                await trio.sleep(5)

        nursery.start_soon(outlives)
        await trio.sleep(1)
        await pool.drain()
        assert trio.current_time() == pytest.approx(5.0)


async def test_drain_ends_who_waits_for_a_check(autojump_clock):
    async def healthy(client):
        await trio.sleep(5)
        return True

    maker = Maker()
    async with InstancePool(maker, 1, healthy=healthy) as pool, trio.open_nursery() as nursery:
        await use(pool)

        async def refused():
            with pytest.raises(SupervisorClosed):
                await use(pool)

        nursery.start_soon(refused)
        await trio.sleep(1)
        await pool.drain()
        assert trio.current_time() == pytest.approx(6.0)
        assert maker.alive == 0


async def test_the_end_of_the_block_waits_for_uses_of_other_tasks(autojump_clock):
    maker, order = Maker(), []
    async with trio.open_nursery() as nursery:
        async with InstancePool(maker, 1) as pool:
            nursery.start_soon(partial(use, pool, order, seconds=5))
            await wait_all_tasks_blocked()
        assert trio.current_time() == pytest.approx(5.0)
    assert maker.closed == [1]


async def test_a_block_that_fails_does_not_wait_for_others(autojump_clock):
    maker = Maker()
    async with trio.open_nursery() as nursery:
        with pytest.raises(Crash):
            async with InstancePool(maker, 1) as pool:
                nursery.start_soon(partial(use, pool, seconds=5))
                await wait_all_tasks_blocked()
                raise Crash
        assert trio.current_time() == 0
        assert maker.alive == 0


async def test_a_pool_as_a_child_closes_after_those_that_use_it(autojump_clock):
    maker, log = Maker(), []

    async def worker(pool):
        with until_drain():
            await trio.sleep_forever()
        assert draining()
        client = await use(pool)  # what was accepted may still need one
        log.append((client.number, maker.alive))

    specs = [ChildSpec.resource("llm", InstancePool, maker, 1), ChildSpec("w", worker, value_of("llm", InstancePool))]
    async with open_supervisor(specs) as service:
        await service.drain()
    assert log == [(1, 1)]
    assert maker.alive == 0


@pytest.mark.parametrize("with_child", [False, True])
async def test_a_pool_inside_a_child_refuses_at_its_drain_only_if_that_was_said(autojump_clock, with_child):
    log = []

    async def worker():
        async with InstancePool(Maker(), 1, drain_with_child=with_child) as pool:
            async with pool.use():
                with until_drain():
                    await trio.sleep_forever()
            try:
                await use(pool)
                log.append("used")
            except SupervisorClosed:
                log.append("refused")

    async with open_supervisor([ChildSpec("w", worker)]) as service:
        await wait_all_tasks_blocked()
        await service.drain()
    assert log == ["refused" if with_child else "used"]


# ---- at the door


@pytest.mark.parametrize(
    ("args", "options", "error", "told"),
    [
        ((7, 1), {}, TypeError, "factory must be a function that gives an async context manager"),
        ((Maker, 0), {}, ValueError, "size must be 1 or more"),
        ((Maker, 1.5), {}, TypeError, "size must be a whole number"),
        ((Maker, True), {}, TypeError, "size"),
        ((Maker, 1), {"idle_timeout": -1}, ValueError, "idle_timeout"),
        ((Maker, 1), {"close_timeout": "1"}, TypeError, "close_timeout"),
        ((Maker, 1), {"name": ""}, ValueError, "name"),
        ((Maker, 1), {"healthy": True}, TypeError, "healthy must be"),
        ((Maker, 1), {"broken": int}, TypeError, "broken must be"),
        ((Maker, 1), {"broken": (Crash, 7)}, TypeError, "broken must be"),
        ((Maker, 1), {"broken": None}, TypeError, "broken must be"),
        ((Maker, 1), {"max_waiting": -1}, ValueError, "max_waiting"),
        ((Maker, 1), {"wait_timeout": -1}, ValueError, "wait_timeout"),
    ],
)
def test_what_makes_no_sense_is_refused_at_the_door(args, options, error, told):
    with pytest.raises(error, match=told):
        InstancePool(*args, **options)


async def test_a_pool_is_used_inside_its_block_and_opened_once():
    pool = InstancePool(Maker(), 1)
    with pytest.raises(SupervisorClosed, match="not open"):
        await use(pool)
    async with pool:
        pass
    with pytest.raises(SupervisorClosed, match="closed"):
        await use(pool)
    with pytest.raises(RuntimeError, match="opened before"):
        async with pool:
            pass


# ---- whatever happens

USES = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.5, 1.0, 2.0]),  # when
        st.sampled_from([0.0, 0.5, 1.0, 3.0]),  # for how long
        st.sampled_from([None, None, 0.0, 0.5, 1.0, 2.0]),  # cancelled after
        st.sampled_from(["use", "use", "break", "fail", "die", "sick"]),
    ),
    max_size=12,
)


@contextmanager
def only_crashes():
    try:
        yield
    except ExceptionGroup as error:
        if error.split(Crash)[1] is not None:
            raise


@settings(max_examples=150)
@given(
    USES,
    st.integers(1, 3),
    st.sampled_from([None, 0.0, 1.0]),
    st.sampled_from([0.0, 0.5]),
    st.sampled_from([0.0, 0.5, 9.0]),
    st.sampled_from([None, 1.0, 3.0]),
    st.integers(0, 2**32),
)
def test_never_more_than_the_size_each_used_by_one_and_nothing_is_left(
    uses, size, idle, open_seconds, close_seconds, drain_at, seed
):
    maker, in_use, failures = Maker(open_seconds=open_seconds, close_seconds=close_seconds), set(), []
    figures = []

    async def healthy(client):
        await trio.sleep(0.25)
        return client.healthy

    async def one(pool, at, seconds, patience, how):
        await trio.sleep(at)
        if how == "fail":
            maker.fails.append(KeyError())
        try:
            with trio.move_on_after(inf if patience is None else patience):
                async with pool.use() as client:
                    assert client not in in_use
                    in_use.add(client)
                    try:
                        await trio.sleep(seconds)
                        client.healthy = how != "sick"
                        if how == "die":
                            client.dies.set()
                        if how == "break":
                            raise Crash
                    finally:
                        in_use.remove(client)
        except (Crash, KeyError, SupervisorClosed) as error:
            failures.append(error)

    async def main():
        # One that dies just before the end raises from its closing.
        with trio.fail_after(500), only_crashes():
            async with InstancePool(
                maker, size, idle_timeout=idle, healthy=healthy, broken=Crash, close_timeout=2
            ) as pool:
                async with trio.open_nursery() as nursery:
                    for act in uses:
                        nursery.start_soon(one, pool, *act)
                    if drain_at is not None:
                        await trio.sleep(drain_at)
                        await pool.drain()
                        assert maker.alive == 0
                figures.append(pool.statistics())
        assert figures[0].in_use == figures[0].waiting == 0
        assert pool.statistics().open == pool.statistics().idle == 0

    with seed_schedule(seed):
        trio.run(main, clock=MockClock(autojump_threshold=0))
    assert (maker.alive, in_use) == (0, set())
    assert maker.most <= size
