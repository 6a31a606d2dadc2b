"""The small parts by themselves: drain signals, events, incarnations, trees, reports, the fakes."""

from __future__ import annotations

import functools
import gc
import weakref

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from supervisors import (
    ChildSpec,
    ChildStatus,
    DrainReport,
    EventsMissed,
    RestartLimit,
    Tree,
    draining,
    open_pool,
    open_supervisor,
    until_drain,
    value_of,
    wait_drain,
)
from supervisors._block import is_fatal, without_cancellation
from supervisors._children import LONGEST_PATH
from supervisors._decide import ExitKind
from supervisors._drain import DrainSignal, current_signal, draining_by
from supervisors._events import Broadcast
from supervisors._running import Running, Stopper, takes_task_status
from supervisors.testing import Fake, Trace, seed_schedule

# ---- drain signals


async def test_S21_a_signal_listens_once_somebody_looks():
    signal = DrainSignal()
    with draining_by(signal):
        assert current_signal() is signal
        assert not signal.listening
        assert not draining()
        assert signal.listening


async def test_S4_until_drain_ends_its_block_at_the_request():
    signal = DrainSignal()
    with draining_by(signal), until_drain() as scope:
        signal.request()
        await trio.sleep_forever()
    assert scope.cancelled_caught


async def test_S4_until_drain_entered_after_the_request_ends_at_once():
    signal = DrainSignal()
    signal.request()
    with draining_by(signal), until_drain():
        await trio.sleep_forever()


async def test_S4_outside_a_supervised_child_nothing_ever_fires(autojump_clock):
    with trio.move_on_after(5) as scope, until_drain():
        await wait_drain()
    assert scope.cancelled_caught
    assert not draining()


async def test_S4_who_waits_for_the_drain_is_woken_and_leaves_nothing_behind():
    signal = DrainSignal()
    with trio.move_on_after(0):
        await signal.wait()
    assert not signal._calls
    async with trio.open_nursery() as nursery:
        nursery.start_soon(signal.wait)
        await wait_all_tasks_blocked()
        signal.request()
        signal.request()


def test_S4_watching_earns_no_grace():
    signal, calls = DrainSignal(), []
    with signal.watching(lambda: calls.append(1)):
        signal.request()
    assert (calls, signal.listening) == ([1], False)


# ---- events


async def test_P5_a_slow_reader_loses_the_oldest_and_is_told_how_many():
    events = Broadcast(capacity=3)
    async with events.subscribe() as reader:
        for n in range(5):
            events.publish(n)
        events.close()
        assert [event async for event in reader] == [EventsMissed(2), 2, 3, 4]


async def test_O1_a_reader_can_be_cancelled_and_read_on():
    events = Broadcast()
    async with events.subscribe() as reader:
        with trio.move_on_after(0):
            await anext(reader)
        events.publish("x")
        assert await anext(reader) == "x"


async def test_O1_nobody_listens_before_and_after_a_subscription():
    events = Broadcast()
    assert not events.listened
    async with events.subscribe():
        assert events.listened
    assert not events.listened


async def test_O1_a_reader_that_comes_after_the_end_reads_nothing():
    events = Broadcast()
    events.close()
    async with events.subscribe() as reader:
        assert [event async for event in reader] == []


# ---- what an incarnation takes


async def plain(x):
    await trio.sleep_forever()


async def with_status(*, task_status=trio.TASK_STATUS_IGNORED):
    task_status.started()


class Callable:
    async def __call__(self, *, task_status):
        task_status.started()

    async def method(self, *, task_status):
        task_status.started()


@functools.wraps(with_status)
async def wrapping(*args, **kwargs):
    await with_status(*args, **kwargs)


@pytest.mark.parametrize(
    ("run", "takes"),
    [
        (plain, False),
        (with_status, True),
        (Callable(), True),
        (Callable().method, True),
        (wrapping, True),
        (functools.partial(with_status), True),
        (functools.partial(with_status, task_status=trio.TASK_STATUS_IGNORED), False),
        (functools.partial(plain, 1), False),
        (dict.fromkeys, False),
        (trio.sleep, False),
    ],
)
def test_L7_who_takes_task_status_is_known_from_the_function(run, takes):
    assert takes_task_status(run) is takes


async def run_alone(run):
    running = Running()
    return await running.run(run, tuple, lambda: None)


@pytest.mark.parametrize("seed", range(10))
async def test_L7_an_error_before_the_first_checkpoint_is_a_failed_start_and_after_it_a_crash(seed):
    async def early():
        raise ValueError("early")

    async def late():
        await trio.lowlevel.checkpoint()
        raise ValueError("late")

    with seed_schedule(seed):
        assert (await run_alone(early)).kind is ExitKind.FAILED_START
        assert (await run_alone(late)).kind is ExitKind.CRASHED


async def test_L7_returning_without_started_is_a_failed_start():
    async def forgets(*, task_status):
        await trio.lowlevel.checkpoint()

    exit_ = await run_alone(forgets)
    assert exit_.kind is ExitKind.FAILED_START
    assert "task_status.started()" in str(exit_.error)


async def test_L7_started_twice_is_refused():
    async def twice(*, task_status):
        task_status.started()
        task_status.started()

    exit_ = await run_alone(twice)
    assert exit_.kind is ExitKind.CRASHED
    assert "twice" in str(exit_.error)


async def test_P3_an_ended_incarnation_keeps_no_arguments():
    class Big:
        pass

    async def use(big):
        await trio.lowlevel.checkpoint()

    big = Big()
    gone = weakref.ref(big)
    running = Running()
    await running.run(use, (big,).__iter__, lambda: None)
    del big
    gc.collect()
    assert gone() is None
    assert running.exit is not None


# ---- the stopping


async def stubborn(seconds):
    try:
        await trio.sleep_forever()
    finally:
        with trio.CancelScope(shield=True):
            await trio.sleep(seconds)


async def test_S5_what_does_not_end_is_told_each_second_until_it_does(autojump_clock):
    told = []
    async with trio.open_nursery() as nursery:
        stopper = Stopper(nursery.start_soon, lambda _running, seconds: told.append((trio.current_time(), seconds)))
        running = Running()

        async def live():
            await running.run(stubborn, lambda: (3.5,), lambda: None)
            stopper.ended(running)
            running.end()

        nursery.start_soon(live)
        await running.wait_ready()
        stopper.stop(running, 5.0)
        await running.wait_settled()
        assert (trio.current_time(), running.ended) == (1.0, False)
        await running.wait_ended()
    assert told == [(1.0, 1.0), (2.0, 2.0), (3.0, 3.0)]


async def test_S12_the_end_of_all_graces_reaches_those_that_are_finishing(autojump_clock):
    async def finishing():
        await wait_drain()
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        stopper = Stopper(nursery.start_soon, lambda _running, _seconds: None)
        running = Running()

        async def live():
            await running.run(finishing, tuple, lambda: None)
            stopper.ended(running)
            running.end()

        nursery.start_soon(live)
        await wait_all_tasks_blocked()
        stopper.stop(running, float("inf"))
        await trio.sleep(7)
        assert not running.ended
        stopper.cut()
        await running.wait_ended()
        assert trio.current_time() == 7.0


# ---- errors


def test_R28_a_group_with_an_interrupt_concerns_the_program():
    assert is_fatal(BaseExceptionGroup("", [KeyboardInterrupt(), ValueError()]))
    assert not is_fatal(ExceptionGroup("", [ValueError()]))


async def test_S23_a_cancellation_in_groups_is_a_cancellation_and_nothing_else():
    cancelled = None
    with trio.CancelScope() as scope:
        scope.cancel()
        try:
            await trio.sleep_forever()
        except trio.Cancelled as error:
            cancelled = error
    group = BaseExceptionGroup("", [cancelled, BaseExceptionGroup("", [cancelled])])
    assert without_cancellation(group) is None
    assert not is_fatal(group)
    boom = ValueError()
    assert without_cancellation(BaseExceptionGroup("", [cancelled, boom])).exceptions == (boom,)


# ---- specs


async def nothing(*args):
    await trio.sleep_forever()


def test_L2_a_value_of_a_sibling_that_comes_later_is_refused():
    with pytest.raises(ValueError, match="no earlier sibling"):
        open_supervisor([ChildSpec("a", nothing, value_of("b", int)), ChildSpec("b", nothing)])


def test_L2_a_call_instead_of_a_function_is_refused_and_says_so():
    with pytest.raises(TypeError, match="without parentheses"):
        ChildSpec("a", nothing())


def test_L1_a_deep_spec_prints_one_level():
    spec = ChildSpec("leaf", nothing)
    for _ in range(5000):
        spec = ChildSpec.supervisor("s", [spec])
    assert len(repr(spec)) < 1000


def test_L1_specs_infos_and_reports_cannot_be_changed():
    for value, field in [
        (ChildSpec("a", nothing), "name"),
        (RestartLimit(), "restarts"),
        (DrainReport(clean=True), "clean"),
    ]:
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(value, field, 1)
    with pytest.raises(TypeError):
        DrainReport(clean=True, left={"a": 1}).left["a"] = 2


# ---- trees and reports


def test_O6_the_picture_shows_status_restarts_and_incarnation():
    leaf = Tree("web", "worker", "running", restarts=2, incarnation=3)
    cache = Tree("cache", "supervisor", "running", children=(Tree("lru", "worker", "backing_off", 1, 2),))
    assert str(Tree("top", "supervisor", "open", children=(cache, leaf))).splitlines() == [
        "top (supervisor): open",
        "├─ cache (supervisor): running",
        "│  └─ lru: backing_off, 1 restart, incarnation 2",
        "└─ web: running, 2 restarts, incarnation 3",
    ]


async def test_O6_a_pool_inside_a_supervisor_is_part_of_the_tree():
    children = [ChildSpec.resource("pool", open_pool), ChildSpec("late", nothing)]
    async with open_supervisor(children, name="top") as supervisor:
        await supervisor.child("pool").value.start_child(nothing, name="a")
        assert str(supervisor.tree()).splitlines()[1:3] == ["├─ pool (pool): running", "│  └─ a: running"]


def test_S4_a_report_reads_as_text():
    report = DrainReport(False, ("a",), ("b",), {"c": 3}, ("d",), 1.5)
    text = str(report)
    assert "1.500 s, not clean: 1 finished" in text
    assert all(part in text for part in ("cancelled: b", "left: c (3)", "still running: d"))


async def test_S10_what_a_nested_supervisor_had_to_cut_off_is_in_the_outer_report(autojump_clock):
    slow = Fake("slow", listens=True, drain_delay=60.0)
    inner = ChildSpec.supervisor("inner", [ChildSpec("slow", slow.run, shutdown=2.0)])
    async with open_supervisor([inner]) as supervisor:
        pass
    assert supervisor.report == DrainReport(False, ("inner",), ("inner/slow",), {}, (), 2.0)


async def test_P5_names_in_a_report_are_bounded(autojump_clock):
    slow = Fake("slow", listens=True, drain_delay=60.0)
    spec = ChildSpec("slow", slow.run, shutdown=2.0)
    for _ in range(100):
        spec = ChildSpec.supervisor("level", [spec])
    async with open_supervisor([spec]) as supervisor:
        pass
    (name,) = supervisor.report.cancelled
    assert len(name) == LONGEST_PATH
    assert name.endswith("level/slow")


# ---- the fakes


async def test_S4_a_fake_child_tells_its_life_in_the_trace(autojump_clock):
    trace = Trace()
    db, web = Fake("db", trace), Fake("web", trace, listens=True, drain_delay=2.0)
    async with open_supervisor([ChildSpec("db", db.run), ChildSpec("web", web.run)]) as supervisor:
        db.crash()
        await trio.sleep(1)
        assert supervisor.child("db").restarts == 1
    assert trace.of("started") == ["db", "web", "db"]
    assert trace.steps[-4:] == [("asked", "web"), ("ended", "web"), ("cancelled", "db"), ("ended", "db")]


async def test_R19_a_fake_child_can_fail_its_first_starts(autojump_clock):
    fake = Fake("a", failing_starts=2)
    async with open_pool(limit=RestartLimit(5, 60)) as pool:
        with pytest.raises(Exception, match="did not start"):
            await pool.start_child(fake.run)
        assert pool.children() == ()


async def test_S4_a_fake_child_can_finish_and_withstand(autojump_clock):
    fake, tough = Fake("a"), Fake("b", stop_delay=3.0)
    async with open_pool() as pool:
        await pool.start_child(fake.run, name="a")
        info = await pool.start_child(tough.run, name="b")
        assert (info.value, info.status) == (1, ChildStatus.RUNNING)
        fake.finish()
        await wait_all_tasks_blocked()
        assert [child.name for child in pool.children()] == ["b"]
        report = await pool.drain()
        assert report.unstoppable == ("b",)
    assert trio.current_time() == 3.0


async def race():
    order = []
    async with trio.open_nursery() as nursery:
        for n in range(20):
            nursery.start_soon(_note, order, n)
    return order


async def _note(order, n):
    await trio.lowlevel.checkpoint()
    order.append(n)


def test_P1_one_seed_gives_one_schedule_and_others_give_others():
    def run(seed):
        with seed_schedule(seed):
            return tuple(trio.run(race))

    assert run(3) == run(3)
    assert len({run(seed) for seed in range(10)}) > 5
