"""Stop, drain, shutdown (S4 to S24, what concerns supervision): in which order, how long, and what is told then."""

from __future__ import annotations

import itertools
import math
import signal

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from supervisors import (
    ChildSpec,
    ChildStartError,
    ChildStatus,
    DrainReport,
    Restart,
    RestartLimit,
    Strategy,
    SupervisorClosed,
    SupervisorError,
    UnknownChild,
    draining,
    open_pool,
    open_supervisor,
    until_drain,
    wait_drain,
)

FOREVER = 10_000.0


def seconds(expected):
    """The virtual time, as far as the clock's arithmetic allows."""
    return trio.current_time() == pytest.approx(expected)


# ---- until_drain, draining, wait_drain


async def test_S4_outside_a_supervised_child_nothing_ever_asks_to_drain():
    assert not draining()
    with trio.move_on_after(100) as waiting:
        await wait_drain()
    with trio.move_on_after(100) as working, until_drain() as scope:
        await trio.sleep_forever()
    assert waiting.cancelled_caught
    assert working.cancelled_caught
    assert not scope.cancel_called


async def test_S4_until_drain_ends_its_block_and_only_that(puppet, trace):
    a = puppet("a", work_seconds=2.0)
    async with open_supervisor([a.spec()]):
        trace.clear()
    assert trace.take() == "~a =a -a"


async def test_S4_until_drain_entered_after_the_request_ends_at_once(trace):
    async def late():
        await wait_drain()
        with until_drain():
            await trio.sleep_forever()
        trace.append(f"draining {draining()}")

    async with open_supervisor([ChildSpec("late", late)]):
        await wait_all_tasks_blocked()
    assert trace == ["draining True"]


async def test_S4_wait_drain_and_draining_tell_of_the_request(trace):
    async def waiter(*, task_status):
        trace.append(draining())
        task_status.started()
        await wait_drain()
        trace.append(draining())

    async with open_supervisor([ChildSpec("waiter", waiter)]):
        pass
    assert trace == [False, True]


async def test_S4_a_new_incarnation_is_not_draining(puppet):
    a = puppet("a", work_seconds=1.0)
    async with open_supervisor([a.spec()]) as supervisor:
        await supervisor.stop_child("a")
        await supervisor.restart_child("a")
        await trio.sleep(10)
        assert a.alive == 1


async def test_S4_tasks_that_a_child_starts_see_its_drain(trace):
    async def helper():
        with until_drain():
            await trio.sleep_forever()
        await trio.sleep(1)
        trace.append("helper done")

    async def child(*, task_status):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(helper)
            task_status.started()

    async with open_supervisor([ChildSpec("child", child)]):
        await wait_all_tasks_blocked()
    assert trace == ["helper done"]


async def test_S4_all_of_a_childs_tasks_hear_of_its_drain(trace):
    async def waits():
        await wait_drain()
        trace.append("waits")

    async def loops():
        with until_drain():
            await trio.sleep_forever()
        trace.append("loops")

    async def child(*, task_status):
        async with trio.open_nursery() as nursery:
            for listener in (waits, loops, waits, loops):
                nursery.start_soon(listener)
            task_status.started()

    async with open_supervisor([ChildSpec("child", child)]):
        await wait_all_tasks_blocked()
    assert sorted(trace) == ["loops", "loops", "waits", "waits"]


# ---- S4 to S7: graces


async def test_S4_each_child_has_its_own_grace_and_is_then_cancelled(puppet):
    a, b = puppet.cast("a b", work_seconds=FOREVER)
    async with open_supervisor([a.spec(shutdown=3), b.spec(shutdown=7)]) as supervisor:
        pass
    assert seconds(10)
    assert set(supervisor.report.cancelled) == {"a", "b"}
    assert not supervisor.report.clean


async def test_S4_a_child_that_finishes_within_its_grace_is_not_cut(puppet, trace):
    a = puppet("a", work_seconds=2.9)
    async with open_supervisor([a.spec(shutdown=3)]) as supervisor:
        pass
    assert trace.take() == "+a ~a =a -a"
    assert (supervisor.report.clean, supervisor.report.finished) == (True, ("a",))


async def test_S4_an_endless_grace_waits_as_long_as_it_takes(puppet, trace):
    a = puppet("a", work_seconds=FOREVER)
    async with open_supervisor([a.spec(shutdown=math.inf)]):
        pass
    assert seconds(FOREVER)
    assert "=a" in trace


async def test_S4_no_grace_cancels_at_once(puppet, trace):
    a = puppet("a", work_seconds=5.0)
    async with open_supervisor([a.spec(shutdown=0)]):
        pass
    assert seconds(0)
    assert "=a" not in trace


async def test_S4_stop_child_gives_the_grace_too(puppet, trace):
    a, b = puppet.cast("a b", work_seconds=2.0)
    async with open_supervisor([a.spec()]) as supervisor, open_pool() as pool:
        await pool.start_child(b.run, name="b")
        await supervisor.stop_child("a")
        assert seconds(2)
        await pool.stop_child("b")
        assert seconds(4)
    assert "=a" in trace
    assert "=b" in trace


async def test_S4_in_a_group_restart_siblings_that_listen_have_their_grace(puppet, trace):
    a, b = puppet("a"), puppet("b", work_seconds=2.0)
    async with open_supervisor([a.spec(), b.spec()], strategy=Strategy.ONE_FOR_ALL):
        trace.clear()
        await a.crashes()
        await trio.sleep(3)
        assert trace.take() == "-a ~b =b -b +a +b"
        assert a.started_at[1] == pytest.approx(2)


async def test_S5_a_shielded_child_is_reported_and_its_siblings_go_on_stopping(puppet, trace):
    stuck = puppet("stuck", dying_seconds=30.0)
    gone = []

    async def note():
        gone.append(trio.current_time())

    early = puppet("early", on_dying=note)
    async with open_supervisor([early.spec(), stuck.spec(), puppet("late").spec()]) as supervisor:
        report = await supervisor.drain()
        assert seconds(1)
        assert report.unstoppable == ("stuck",)
        assert not report.clean
        assert gone == [pytest.approx(1)]
    assert seconds(30)
    assert trace[-1] == "-stuck"


async def test_S5_the_end_of_the_block_waits_for_an_unstoppable_child(puppet):
    a = puppet("a", dying_seconds=30.0)
    async with open_supervisor([a.spec()]) as supervisor:
        pass
    assert seconds(30)
    assert supervisor.report.unstoppable == ("a",)


async def test_S5_an_unstoppable_child_is_told_of_each_second(puppet):
    from supervisors import ChildUnstoppable

    a = puppet("a", dying_seconds=4.5)
    async with open_supervisor([a.spec()]) as supervisor, supervisor.events() as events:
        await supervisor.drain()
        told = []
        with trio.move_on_after(10):
            async for event in events:
                if isinstance(event, ChildUnstoppable):
                    told.append((event.child, event.seconds, trio.current_time()))  # noqa: PERF401  as above
    assert told == [("a", pytest.approx(n), pytest.approx(n)) for n in (1, 2, 3, 4)]


async def test_S5_a_child_that_dies_within_a_second_is_not_unstoppable(puppet):
    a = puppet("a", dying_seconds=0.9)
    async with open_supervisor([a.spec()]) as supervisor:
        pass
    assert supervisor.report.unstoppable == ()


async def test_S5_after_its_grace_a_shielded_child_has_one_second(puppet):
    a = puppet("a", work_seconds=FOREVER, dying_seconds=60.0)
    async with open_supervisor([a.spec(shutdown=5)]) as supervisor:
        report = await supervisor.drain()
        assert seconds(6)
    assert report.unstoppable == ("a",)


async def test_S6_pool_children_stop_side_by_side_under_one_deadline(puppet, trace):
    one, two, stuck = (
        puppet("one", work_seconds=1.0),
        puppet("two", work_seconds=1.0),
        puppet("stuck", work_seconds=99.0),
    )
    async with open_pool() as pool:
        for child in (one, two, stuck):
            await pool.start_child(child.run, name=child.name, shutdown=2)
        report = await pool.drain()
    assert seconds(2)
    assert set(report.finished) == {"one", "two"}
    assert report.cancelled == ("stuck",)


async def test_S6_a_stuck_pool_child_holds_up_nobody(puppet):
    stuck, other = puppet("stuck", dying_seconds=30.0), puppet("other", work_seconds=3.0)
    async with open_pool() as pool:
        for child in (stuck, other):
            await pool.start_child(child.run, name=child.name)
        report = await pool.drain()
        assert seconds(3)
        assert report.unstoppable == ("stuck",)
        assert report.finished == ("other",)
    assert seconds(30)


async def test_S7_static_children_stop_in_reverse_one_after_the_other(puppet, trace):
    async with open_supervisor([p.spec() for p in puppet.cast("a b c", work_seconds=1.0)]):
        trace.clear()
    assert trace.take() == "~c =c -c ~b =b -b ~a =a -a"
    assert seconds(3)


async def test_S7_a_pool_in_a_tree_stops_at_its_place(puppet, trace):
    from contextlib import asynccontextmanager

    a, b, inside = puppet("a"), puppet("b"), puppet("inside", work_seconds=1.0)

    @asynccontextmanager
    async def open_workers():
        async with open_pool() as pool:
            await pool.start_child(inside.run)
            yield pool

    specs = [a.spec(), ChildSpec.resource("pool", open_workers), b.spec()]
    async with open_supervisor(specs):
        trace.clear()
    assert trace.take() == "-b ~inside =inside -inside -a"


# ---- S10 and S11: one overall deadline, one report


async def test_S10_the_deadline_of_a_drain_overrules_the_graces(puppet, trace):
    a, b, c = puppet.cast("a b c", work_seconds=4.0)
    async with open_supervisor([p.spec(shutdown=60) for p in (a, b, c)]) as supervisor:
        report = await supervisor.drain(timeout=6)
        assert seconds(6)
    assert report.finished == ("c",)
    assert set(report.cancelled) == {"a", "b"}
    assert report.seconds == pytest.approx(6)


async def test_S10_the_deadline_of_a_pools_drain_overrules_the_graces(puppet):
    a, b = puppet("a", work_seconds=1.0), puppet("b", work_seconds=100.0)
    async with open_pool() as pool:
        for child in (a, b):
            await pool.start_child(child.run, name=child.name, shutdown=60)
        report = await pool.drain(timeout=6)
        assert seconds(6)
    assert (report.finished, report.cancelled) == (("a",), ("b",))


async def test_S10_the_report_comes_at_the_deadline_even_if_something_will_not_stop(puppet):
    a = puppet("a", work_seconds=FOREVER, dying_seconds=60.0)
    async with open_supervisor([a.spec(shutdown=math.inf)]) as supervisor:
        report = await supervisor.drain(timeout=5)
        assert seconds(5)
        assert report.unstoppable == ("a",)
    assert seconds(65)


async def test_S10_the_deadline_reaches_down_into_nested_supervisors(puppet):
    a, b = puppet.cast("a b", work_seconds=FOREVER)
    sub = ChildSpec.supervisor("sub", [a.spec(shutdown=100), b.spec(shutdown=100)])
    async with open_supervisor([sub]) as supervisor:
        report = await supervisor.drain(timeout=5)
        assert seconds(5)
        assert not report.clean
    assert seconds(5)


async def test_S10_a_drain_without_a_deadline_waits_for_the_graces(puppet):
    a = puppet("a", work_seconds=50.0)
    async with open_supervisor([a.spec(shutdown=60)]) as supervisor:
        report = await supervisor.drain()
    assert (report.clean, report.seconds) == (True, pytest.approx(50))


async def test_S10_a_deadline_that_makes_no_sense_is_refused(puppet):
    async with open_supervisor([puppet("a").spec()]) as supervisor:
        for wrong in (-1, math.nan, "5"):
            with pytest.raises((TypeError, ValueError), match="timeout"):
                await supervisor.drain(wrong)
        assert supervisor.child("a").status is ChildStatus.RUNNING


async def test_S10_without_any_time_a_drain_cancels_at_once(puppet):
    a, b = puppet.cast("a b", work_seconds=4.0)
    async with open_supervisor([a.spec(), b.spec()]) as supervisor:
        report = await supervisor.drain(timeout=0)
    assert seconds(0)
    assert set(report.cancelled) == {"a", "b"}


async def test_S10_a_second_caller_may_bring_the_deadline_forward_but_not_back(puppet, nursery):
    a = puppet("a", work_seconds=FOREVER)
    async with open_supervisor([a.spec(shutdown=FOREVER)]) as supervisor:
        nursery.start_soon(supervisor.drain, 50)
        await trio.sleep(1)
        nursery.start_soon(supervisor.drain, 100)
        await supervisor.drain(timeout=4)
        assert seconds(5)


async def test_S10_at_the_deadline_a_deep_tree_that_can_stop_has_stopped(puppet):
    a = puppet("a", work_seconds=FOREVER)
    spec = a.spec(shutdown=100)
    for level in range(30):
        spec = ChildSpec.supervisor(f"level{level}", [spec])
    async with open_supervisor([spec]) as supervisor:
        report = await supervisor.drain(timeout=5)
        assert seconds(5)
        assert report.unstoppable == ()
        assert a.alive == 0


@pytest.mark.parametrize("opened", [open_supervisor, open_pool])
async def test_S11_a_second_caller_waits_for_the_same_report(puppet, nursery, opened):
    a, reports = puppet("a", work_seconds=3.0), []

    async def drain(keeper, wait):
        await trio.sleep(wait)
        reports.append((await keeper.drain(), trio.current_time()))

    async with opened() as keeper:
        await (keeper.start_child(a.spec()) if opened is open_supervisor else keeper.start_child(a.run))
        nursery.start_soon(drain, keeper, 0)
        nursery.start_soon(drain, keeper, 1)
        await trio.sleep(10)
        reports.append((await keeper.drain(), trio.current_time()))
    assert [time for _, time in reports] == [pytest.approx(3), pytest.approx(3), pytest.approx(10)]
    assert reports[0][0] is reports[1][0] is reports[2][0]
    assert a.starts == 1


async def test_S11_there_is_no_report_before_the_end_and_the_same_for_ever_after(puppet):
    async with open_supervisor([puppet("a").spec()]) as supervisor:
        assert supervisor.report is None
        report = await supervisor.drain()
        assert supervisor.report is report
    assert supervisor.report is report
    assert await supervisor.wait_closed() is report


async def test_S11_leaving_the_block_makes_a_report_too(puppet):
    async with open_supervisor([puppet("a").spec(), puppet("b", work_seconds=2.0).spec()]) as supervisor:
        pass
    report = supervisor.report
    assert isinstance(report, DrainReport)
    assert (report.clean, set(report.finished), report.seconds) == (True, {"a", "b"}, pytest.approx(2))


async def test_S11_cancelling_a_caller_of_drain_does_not_end_the_drain(puppet, trace):
    a = puppet("a", work_seconds=3.0)
    async with open_supervisor([a.spec()]) as supervisor:
        with trio.move_on_after(1):
            await supervisor.drain()
        assert seconds(1)
        await trio.sleep(5)
        assert trace.take() == "+a ~a =a -a"
        assert supervisor.report is not None


async def test_S11_the_body_goes_on_after_its_own_drain(puppet):
    async with open_supervisor([puppet("a").spec()]) as supervisor:
        await supervisor.drain()
        await trio.sleep(5)
    assert seconds(5)


async def test_S11_wait_closed_in_another_task_ends_with_the_supervisor(puppet, nursery):
    got = []

    async def watch(supervisor):
        got.append((await supervisor.wait_closed(), trio.current_time()))

    async with open_supervisor([puppet("a", work_seconds=2.0).spec()]) as supervisor:
        nursery.start_soon(watch, supervisor)
        await trio.sleep(1)
        assert not got
    await wait_all_tasks_blocked()
    assert got == [(supervisor.report, pytest.approx(3))]


async def test_S11_a_report_reads_like_a_sentence(puppet):
    a, b = puppet("a", work_seconds=FOREVER), puppet("b")
    async with open_supervisor([a.spec(shutdown=2), b.spec()]) as supervisor:
        pass
    text = str(supervisor.report)
    assert "a" in text
    assert "2.0" in text
    assert "not clean" in text


# ---- S12: signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
async def test_S12_the_first_signal_drains(puppet, trace, number):
    a = puppet("a", work_seconds=3.0)
    async with open_supervisor([a.spec(shutdown=10)], handle_signals=True) as supervisor:
        signal.raise_signal(number)
        await trio.sleep_forever()
    assert trace.take() == "+a ~a =a -a"
    assert supervisor.report.clean


async def test_S12_the_body_may_wait_for_the_report_of_a_drain_by_signal(puppet):
    a = puppet("a", work_seconds=3.0)
    async with open_supervisor([a.spec(shutdown=10)], handle_signals=True) as supervisor:
        signal.raise_signal(signal.SIGTERM)
        report = await supervisor.wait_closed()
    assert report.clean
    assert report is supervisor.report
    assert seconds(3)


async def test_S12_the_first_signal_cancels_the_body_before_any_child_ends(puppet, trace):
    a = puppet("a")
    async with open_supervisor([a.spec()], handle_signals=True):
        trace.clear()
        signal.raise_signal(signal.SIGTERM)
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(0.5)
            trace.append("body gone")
    assert trace.take() == "body gone -a"


async def signalled_at(*times):
    for time in times:
        await trio.sleep_until(time)
        signal.raise_signal(signal.SIGTERM)


async def test_S12_the_second_signal_cuts_the_graces(puppet, nursery, trace):
    a, b = puppet.cast("a b", work_seconds=50.0, dying_seconds=0.5)
    async with open_supervisor([a.spec(shutdown=60), b.spec(shutdown=60)], handle_signals=True) as supervisor:
        nursery.start_soon(signalled_at, 1, 3)
        await supervisor.wait_closed()
    assert seconds(4)
    assert trace.take() == "+a +b ~b -b -a"
    assert set(supervisor.report.cancelled) == {"a", "b"}


async def test_S12_the_third_signal_cancels_everything_at_once(puppet, nursery):
    a, b = puppet.cast("a b", work_seconds=50.0, dying_seconds=0.8)
    async with open_supervisor([a.spec(shutdown=60), b.spec(shutdown=60)], handle_signals=True) as supervisor:
        nursery.start_soon(signalled_at, 1, 3, 3.1)
        await supervisor.wait_closed()
    assert seconds(3.9)


async def test_S12_without_handle_signals_they_are_not_ours(puppet):
    async with open_supervisor([puppet("a").spec()]):
        with trio.open_signal_receiver(signal.SIGTERM) as received:
            signal.raise_signal(signal.SIGTERM)
            async for number in received:
                assert number == signal.SIGTERM
                break


async def test_S12_afterwards_the_handlers_are_as_before(puppet):
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    async with open_supervisor([puppet("a").spec()], handle_signals=True):
        assert signal.getsignal(signal.SIGTERM) is not before[0]
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


# ---- S15 and S20: children that talk while everything ends


async def test_S15_a_child_that_asks_its_draining_parent_gets_an_answer_or_an_error(puppet, trace):
    async with open_supervisor([puppet("other").spec()]) as supervisor:

        async def curious(*, task_status):
            task_status.started()
            with until_drain():
                await trio.sleep_forever()
            trace.append([info.name for info in supervisor.children()])
            with pytest.raises(SupervisorClosed):
                await supervisor.start_child(puppet("new").spec())
            trace.append("refused")

        await supervisor.start_child(ChildSpec("curious", curious))
        trace.clear()
    assert trace[:2] == [["other", "curious"], "refused"]
    assert seconds(0)


async def test_S15_two_children_that_stop_each_other_while_all_ends_do_not_wait_for_ever():
    async with open_supervisor([]) as supervisor:

        async def stops(other, *, task_status):
            task_status.started()
            with until_drain():
                await trio.sleep_forever()
            await supervisor.stop_child(other)

        await supervisor.start_child(ChildSpec("a", stops, "b", shutdown=5))
        await supervisor.start_child(ChildSpec("b", stops, "a", shutdown=5))
    assert trio.current_time() <= 11


async def test_S15_in_a_pool_two_children_that_stop_each_other_do_not_wait_for_ever():
    async with open_pool() as pool:

        async def stops(other, *, task_status):
            task_status.started()
            with until_drain():
                await trio.sleep_forever()
            try:
                await pool.stop_child(other)
            except SupervisorError:
                return

        await pool.start_child(stops, "b", name="a", shutdown=5)
        await pool.start_child(stops, "a", name="b", shutdown=5)
    assert trio.current_time() <= 6


@pytest.mark.parametrize("listening", [True, False])
@pytest.mark.parametrize("opened", [open_supervisor, open_pool])
async def test_S15_a_child_may_drain_its_own_supervisor(opened, listening):
    async with opened() as keeper:

        async def suicidal(*, task_status):
            task_status.started()
            if listening:
                draining()
            await keeper.drain()

        start = keeper.start_child
        await (start(ChildSpec("a", suicidal)) if opened is open_supervisor else start(suicidal, name="a"))
        await keeper.drain()
        assert trio.current_time() <= 5
    assert keeper.children() == () or opened is open_supervisor


async def test_S15_a_child_that_waits_for_the_end_of_its_own_supervisor_is_told_when_its_turn_comes(trace):
    async with open_supervisor([]) as supervisor:

        async def listener(*, task_status):
            draining()
            task_status.started()
            with pytest.raises(SupervisorClosed):
                await supervisor.wait_closed()
            trace.append("told")
            await trio.sleep(1)
            trace.append("finished")

        await supervisor.start_child(ChildSpec("a", listener))
        await wait_all_tasks_blocked()
    assert trace == ["told", "finished"]
    assert seconds(1)


async def test_S15_a_child_may_stop_itself(puppet):
    async with open_supervisor([]) as supervisor:

        async def suicidal(*, task_status):
            task_status.started()
            await supervisor.stop_child("a")

        await supervisor.start_child(ChildSpec("a", suicidal))
        await trio.sleep(10)
        assert supervisor.child("a").status is ChildStatus.STOPPED


async def test_S16_a_child_that_stops_itself_before_it_is_ready_has_not_started():
    async with open_supervisor([]) as supervisor:

        async def suicidal(*, task_status):
            await supervisor.stop_child("a")
            task_status.started()

        with pytest.raises(ChildStartError, match="a"):
            await supervisor.start_child(ChildSpec("a", suicidal))
        assert supervisor.children() == ()


async def test_S20_while_a_child_cleans_up_its_elder_siblings_live(puppet, trace):
    a, b = puppet("a"), puppet("b")

    async def look():
        trace.append(f"a alive: {a.alive}")

    b.on_dying = look
    async with open_supervisor([a.spec(), b.spec()]):
        trace.clear()
    assert trace == ["a alive: 1", "-b", "-a"]


# ---- S17 and S18


async def test_S17_a_supervisor_can_be_left_while_a_child_starts(puppet, nursery, trace):
    a, told = puppet("a", start_seconds=1000.0), []

    async def start(supervisor):
        try:
            await supervisor.start_child(a.spec())
        except ChildStartError as error:
            told.append(error.child)

    async with open_supervisor([]) as supervisor:
        nursery.start_soon(start, supervisor)
        await trio.sleep(1)
    await wait_all_tasks_blocked()
    assert seconds(1)
    assert told == ["a"]


async def test_S17_a_child_can_be_stopped_while_it_is_restarted(puppet):
    a = puppet("a")
    async with open_supervisor([a.spec()]) as supervisor:
        a.start_seconds = 1000.0
        await a.crashes()
        assert supervisor.child("a").status is ChildStatus.STARTING
        await supervisor.stop_child("a")
        assert supervisor.child("a").status is ChildStatus.STOPPED
        assert seconds(0)


async def test_S17_a_pool_child_can_be_stopped_while_it_is_restarted(puppet):
    a = puppet("a")
    async with open_pool() as pool:
        await pool.start_child(a.run, name="a")
        a.start_seconds = 1000.0
        await a.crashes()
        await pool.stop_child("a")
        assert seconds(0)
        assert pool.children() == ()


async def test_S17_stopping_a_child_cuts_a_group_round_short(puppet, nursery):
    a, b, c = puppet.cast("a b c")
    async with open_supervisor([p.spec() for p in (a, b, c)], strategy=Strategy.ONE_FOR_ALL) as supervisor:
        b.start_seconds = 1000.0
        await a.crashes()
        await supervisor.stop_child("b")
        assert trio.current_time() < 10
        await wait_all_tasks_blocked()
        assert supervisor.child("b").status is ChildStatus.STOPPED
        assert (a.alive, b.alive) == (1, 0)


async def test_S17_a_child_supervisor_can_be_stopped_while_it_comes_up_again(puppet):
    a, b = puppet.cast("a b")
    sub = ChildSpec.supervisor("sub", [a.spec(), b.spec()], limit=RestartLimit(0, 5))
    async with open_supervisor([sub]) as supervisor:
        b.start_seconds = 1000.0
        await a.crashes()
        assert (a.starts, b.starts) == (2, 2)
        await supervisor.stop_child("sub")
        assert seconds(0)
        assert (a.alive, b.alive) == (0, 0)
        assert supervisor.child("sub").status is ChildStatus.STOPPED


async def test_S17_an_embedded_supervisor_drained_while_its_children_start_ends_its_child(puppet):
    a, b = puppet("a"), puppet("b", start_seconds=3.0)

    async def service():
        async with open_supervisor([a.spec(), b.spec()]):
            pytest.fail("entered")

    async with open_supervisor([ChildSpec("service", service, shutdown=10)]):
        await trio.sleep(1)
        assert (a.alive, b.alive) == (1, 1)
    assert trio.current_time() <= 4
    assert (a.alive, b.alive) == (0, 0)


async def test_S17_a_child_being_started_by_hand_again_can_be_stopped(puppet, nursery):
    a, told = puppet("a"), []

    async def restart(supervisor):
        try:
            await supervisor.restart_child("a")
        except ChildStartError:
            told.append(trio.current_time())

    async with open_supervisor([a.spec()]) as supervisor:
        await supervisor.stop_child("a")
        a.start_seconds = 1000.0
        nursery.start_soon(restart, supervisor)
        await trio.sleep(1)
        await supervisor.stop_child("a")
        await wait_all_tasks_blocked()
        assert told == [pytest.approx(1)]
        assert supervisor.child("a").status is not ChildStatus.RUNNING


async def test_S18_the_error_of_a_failed_child_is_kept_as_it_was(puppet):
    a = puppet("a")
    async with open_supervisor([a.spec()], backoff=lambda _: 9.0) as supervisor:
        error = await a.crashes()
        assert supervisor.child("a").last_error is error


async def test_S18_an_error_while_being_stopped_is_kept_and_stops_nothing(puppet, boom):
    error = boom("in the clean-up")
    a, b = puppet("a"), puppet("b", dying_error=error)
    async with open_supervisor([a.spec(), b.spec()]) as supervisor:
        await supervisor.drain()
        assert (a.alive, b.alive) == (0, 0)
        assert supervisor.child("b").last_error is error


# ---- S21 and S22: who listens


async def test_S21_ten_children_that_do_not_listen_leave_at_once(puppet):
    cast = puppet.cast("a b c d e f g h i j")
    async with open_supervisor([p.spec(shutdown=5) for p in cast]) as supervisor:
        pass
    assert seconds(0)
    assert supervisor.report.clean


@pytest.mark.parametrize("listen", [draining, until_drain], ids=["draining", "until_drain"])
async def test_S21_having_listened_once_is_enough_for_the_grace(listen):
    async def child(*, task_status):
        if listen is draining:
            draining()
        else:
            with until_drain():
                pass
        task_status.started()
        await trio.sleep_forever()

    async with open_supervisor([ChildSpec("a", child, shutdown=5)]):
        pass
    assert seconds(5)


async def test_S21_listening_in_an_earlier_incarnation_does_not_count():
    lives = []

    async def child(*, task_status):
        lives.append(1)
        if len(lives) == 1:
            draining()
        task_status.started()
        if len(lives) == 1:
            raise ArithmeticError
        await trio.sleep_forever()

    async with open_supervisor([ChildSpec("a", child, shutdown=5)]):
        await wait_all_tasks_blocked()
        assert len(lives) == 2
    assert seconds(0)


def embedding(*puppets):
    async def service(*, task_status):
        async with open_supervisor([p.spec(shutdown=60) for p in puppets]):
            task_status.started()
            await trio.sleep_forever()

    return service


async def test_S22_an_embedded_supervisor_stops_in_order_within_its_grace(puppet, trace):
    a, b = puppet.cast("a b", work_seconds=2.0)
    async with open_supervisor([ChildSpec("service", embedding(a, b), shutdown=10)]) as supervisor:
        trace.clear()
    assert trace.take() == "~b =b -b ~a =a -a"
    assert seconds(4)
    assert supervisor.report.clean


async def test_S22_at_the_end_of_its_grace_the_rest_is_cancelled_in_order(puppet, trace):
    a, b = puppet.cast("a b", work_seconds=2.0)
    async with open_supervisor([ChildSpec("service", embedding(a, b), shutdown=3)]) as supervisor:
        trace.clear()
    assert trace.take() == "~b =b -b ~a -a"
    assert seconds(3)
    assert supervisor.report.cancelled == ("service",)


async def test_S22_an_embedded_pool_drains_with_its_child(puppet, trace):
    a = puppet("a", work_seconds=2.0)

    async def service(*, task_status):
        async with open_pool() as pool:
            await pool.start_child(a.run)
            task_status.started()
            await trio.sleep_forever()

    async with open_supervisor([ChildSpec("service", service, shutdown=10)]):
        trace.clear()
    assert trace.take() == "~a =a -a"


async def test_S22_a_child_supervisor_of_a_spec_drains_its_children(puppet, trace):
    a, b = puppet.cast("a b", work_seconds=20.0)
    sub = ChildSpec.supervisor("sub", [a.spec(shutdown=30), b.spec(shutdown=30)])
    async with open_supervisor([sub]) as supervisor:
        trace.clear()
    assert trace.take() == "~b =b -b ~a =a -a"
    assert supervisor.report.clean


async def test_S22_an_embedded_supervisor_that_drained_ends_its_child_normally(puppet, trace):
    async def service(*, task_status):
        async with open_supervisor([puppet("a").spec()]):
            task_status.started()
            await trio.sleep_forever()
        trace.append("service ended")

    async with open_supervisor([ChildSpec("service", service, shutdown=10)]):
        trace.clear()
    assert trace.take() == "-a service ended"


# ---- S24: everything at once


def three_of(*names):
    return sorted(set(itertools.permutations(names, 3)))


def calls(keeper, log):
    async def stop():
        await keeper.stop_child("a")

    async def drain():
        await keeper.drain()

    async def revive():
        await keeper.revive_child("a")

    async def restart():
        await keeper.restart_child("a")

    async def delete():
        keeper.delete_child("a")

    async def guarded(call):
        try:
            await call()
        except SupervisorError as error:
            log.append((call.__name__, type(error)))
        else:
            log.append((call.__name__, None))

    return {call.__name__: lambda call=call: guarded(call) for call in (stop, drain, revive, restart, delete)}


@pytest.mark.parametrize("order", three_of("stop", "drain", "revive", "stop", "revive"))
@pytest.mark.parametrize("state", ["running", "quarantined", "backing off"])
async def test_S24_stopping_draining_and_reviving_at_once_ends_well_in_any_order(puppet, nursery, order, state):
    a, log = puppet("a", dying_seconds=0.3), []
    limit = RestartLimit(0, 5) if state == "quarantined" else RestartLimit(9, 5)
    async with open_pool(limit=limit, backoff=lambda _: 50.0) as pool:
        await pool.start_child(a.run, name="a")
        if state != "running":
            await a.crashes()
            await trio.sleep(1)
        for name in order:
            nursery.start_soon(calls(pool, log)[name])
        await trio.sleep(5)
        assert len(log) == 3
    assert a.alive == 0
    assert all(error is None for name, error in log if name == "drain")


@pytest.mark.parametrize("order", three_of("stop", "drain", "restart", "delete", "stop"))
async def test_S24_stopping_draining_restarting_and_deleting_at_once_ends_well_in_any_order(puppet, nursery, order):
    a, log = puppet("a", dying_seconds=0.3), []
    async with open_supervisor([a.spec()]) as supervisor:
        for name in order:
            nursery.start_soon(calls(supervisor, log)[name])
        await trio.sleep(5)
        assert len(log) == 3
    assert a.alive == 0
    assert all(error is None for name, error in log if name == "drain")


async def test_S24_a_temporary_child_stopped_twice_at_once_is_gone_for_both(puppet, nursery):
    a, log = puppet("a", dying_seconds=0.3), []
    async with open_supervisor([a.spec(restart=Restart.TEMPORARY)]) as supervisor:
        nursery.start_soon(calls(supervisor, log)["stop"])
        nursery.start_soon(calls(supervisor, log)["stop"])
        await trio.sleep(5)
        assert log == [("stop", None)] * 2
        with pytest.raises(UnknownChild):
            supervisor.child("a")
