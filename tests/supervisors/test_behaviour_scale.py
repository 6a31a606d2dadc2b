"""Scale and memory (P1 to P5, what concerns supervision): what grows with what, and what does not grow."""

from __future__ import annotations

import gc
import time
import tracemalloc
import weakref

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from supervisors import (
    ChildSpec,
    OnLimit,
    Restart,
    RestartLimit,
    RestartLimitExceeded,
    Strategy,
    open_pool,
    open_supervisor,
)


class Payload:
    """Something that can be watched for being forgotten."""


def processor_seconds(in_virtual_time, work):
    def once():
        gc.collect()
        began = time.process_time()
        in_virtual_time(work)
        return time.process_time() - began

    return min(once() for _ in range(3))


def in_a_tree(count):
    async def work():
        async with open_supervisor([ChildSpec(f"c{n}", trio.sleep_forever) for n in range(count)]):
            pass

    return work


def in_a_growing_tree(count):
    async def work():
        async with open_supervisor([]) as supervisor:
            for n in range(count):
                await supervisor.start_child(ChildSpec(f"c{n}", trio.sleep_forever))
            for n in range(count):
                await supervisor.stop_child(f"c{n}")
                supervisor.delete_child(f"c{n}")

    return work


def in_a_pool(count):
    async def work():
        async with open_pool() as pool:
            for n in range(count):
                await pool.start_child(trio.sleep_forever, name=f"c{n}")
            for n in range(count):
                await pool.stop_child(f"c{n}")

    return work


def crashing_in_a_group(count):
    async def work():
        fail = trio.Event()

        async def crash():
            await fail.wait()
            if supervisor.child("crash").restarts < 1:
                raise ArithmeticError
            await trio.sleep_forever()

        others = [ChildSpec(f"c{n}", trio.sleep_forever) for n in range(count)]
        specs = [ChildSpec("crash", crash), *others]
        async with open_supervisor(specs, strategy=Strategy.ONE_FOR_ALL) as supervisor:
            fail.set()
            await wait_all_tasks_blocked()

    return work


@pytest.mark.parametrize("work", [in_a_tree, in_a_growing_tree, in_a_pool, crashing_in_a_group])
def test_P1_ten_times_the_children_cost_about_ten_times_as_much(in_virtual_time, work):
    few, many = (processor_seconds(in_virtual_time, work(count)) for count in (150, 1500))
    assert many < 25 * few  # ten, and room for a noisy machine; squares would cost a hundred


async def test_P2_short_lived_pool_children_leave_no_growth():
    async def brief(_payload):
        await trio.lowlevel.checkpoint()

    async def come_and_go(pool, count):
        for _ in range(count):
            await pool.start_child(brief, Payload())
        await wait_all_tasks_blocked()
        gc.collect()
        return len(gc.get_objects())

    async with open_pool() as pool:
        before = await come_and_go(pool, 1_000)
        after = await come_and_go(pool, 10_000)
        assert pool.children() == ()
    assert after - before < 500


async def test_P2_a_child_that_crashes_for_ever_leaves_no_growth(puppet):
    a, b = puppet.cast("a b")
    limit = RestartLimit(5, 10.0)

    async def crash(count):
        for _ in range(count):
            await a.crashes()
            await b.crashes()
            await trio.sleep(11)
            a.started_at.clear()
            b.started_at.clear()
            a.trace.clear()
        gc.collect()
        return len(gc.get_objects())

    async with open_supervisor([a.spec()], limit=limit), open_pool(limit=limit) as pool:
        await pool.start_child(b.run)
        before = await crash(100)
        after = await crash(1_000)
    assert after - before < 200


@pytest.mark.parametrize("end", ["returns", "crashes", "is stopped", "fails to start"])
async def test_P3_the_arguments_of_a_finished_pool_child_are_forgotten(puppet, end, boom):
    from supervisors import ChildStartError

    payload = Payload()
    watched = weakref.ref(payload)
    go = trio.Event()

    async def child(_payload, *, task_status):
        if end == "fails to start":
            raise boom
        task_status.started()
        await go.wait()
        if end == "crashes":
            raise boom
        if end == "is stopped":
            await trio.sleep_forever()

    async with open_pool() as pool:
        try:
            await pool.start_child(child, payload, name="a", restart=Restart.TEMPORARY)
        except ChildStartError:
            assert end == "fails to start"
        del payload
        go.set()
        if end == "is stopped":
            await pool.stop_child("a")
        await wait_all_tasks_blocked()
        gc.collect()
        assert watched() is None


async def test_P3_the_arguments_and_value_of_a_finished_temporary_child_are_forgotten():
    payload = Payload()
    watched = weakref.ref(payload)

    async def child(given, *, task_status):
        task_status.started(given)

    async with open_supervisor([]) as supervisor:
        await supervisor.start_child(ChildSpec("a", child, payload, restart=Restart.TEMPORARY))
        del payload
        await wait_all_tasks_blocked()
        gc.collect()
        assert watched() is None


async def test_P3_the_value_of_a_finished_child_is_forgotten():
    watched = []

    async def child(*, task_status):
        value = Payload()
        watched.append(weakref.ref(value))
        task_status.started(value)
        del value
        await trio.sleep(1)

    async with open_supervisor([ChildSpec("a", child, restart=Restart.TRANSIENT)]):
        assert watched[0]() is not None
        await trio.sleep(2)
        gc.collect()
        assert watched[0]() is None


def chain(depth, leaf, **options):
    spec = leaf
    for _ in range(depth):
        spec = ChildSpec.supervisor("level", [spec], **options)
    return spec


DEPTH = 10_000


@pytest.mark.timeout(900)
async def test_P4_a_tree_ten_thousand_deep_starts_and_stops(puppet):
    a = puppet("a", work_seconds=2.0)
    async with open_supervisor([chain(DEPTH, a.spec())]) as supervisor:
        assert a.alive == 1
    assert a.alive == 0
    assert trio.current_time() == pytest.approx(2)
    assert supervisor.report.clean


async def test_P4_the_picture_of_a_deep_tree_can_be_drawn(puppet):
    async with open_supervisor([chain(2_000, puppet("a").spec())]) as supervisor:
        assert len(str(supervisor.tree()).splitlines()) == 2_002


async def test_P4_a_deep_tree_is_cancelled_from_outside(puppet):
    a = puppet("a", dying_seconds=0.5)
    with trio.move_on_after(1) as scope:
        async with open_supervisor([chain(2_000, a.spec())]):
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert trio.current_time() == pytest.approx(1.5)


async def test_P4_a_cancelled_deep_tree_needs_memory_for_each_level_once(puppet):
    a = puppet("a", work_seconds=50.0)
    tracemalloc.start()
    try:
        with trio.move_on_after(1):
            async with open_supervisor([chain(400, a.spec())]):
                await trio.sleep_forever()
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 30e6  # some 20 kB for each level; copies of copies would take 70 MB at this depth already


async def test_P4_a_deep_tree_gives_up_from_the_bottom_to_the_top(puppet):
    a = puppet("a")
    never = RestartLimit(0, 5)
    with pytest.raises(RestartLimitExceeded):
        async with open_supervisor([chain(2_000, a.spec(), limit=never)], limit=never):
            await a.crashes()
            await trio.sleep_forever()


async def test_P5_a_slow_reader_of_events_holds_a_bounded_number_and_learns_what_it_missed(puppet):
    from supervisors import EventsMissed

    a = puppet("a")
    limit = RestartLimit(1_000_000, 5.0)
    async with open_supervisor([a.spec()], limit=limit) as supervisor, supervisor.events() as events:
        for _ in range(2_000):
            await a.crashes()
            await trio.sleep(10)
        read = []
        with trio.move_on_after(1):
            async for event in events:
                read.append(event)  # noqa: PERF401  the deadline cuts it off
    missed = sum(event.missed for event in read if isinstance(event, EventsMissed))
    assert len(read) <= 1_100
    assert isinstance(read[0], EventsMissed)
    assert missed + len(read) - 1 >= 2_000 * 3


async def test_P5_the_history_of_a_quarantine_is_bounded_by_the_limit(puppet):
    a = puppet("a")
    with pytest.raises(RestartLimitExceeded) as caught:
        async with open_pool(limit=RestartLimit(3, 100.0), on_limit=OnLimit.ESCALATE) as pool:
            await pool.start_child(a.run, name="a")
            for _ in range(20):
                await a.crashes()
                await trio.sleep(30)
    assert len(caught.value.history) == 4
