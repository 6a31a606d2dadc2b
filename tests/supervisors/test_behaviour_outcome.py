"""What comes out of `async with` (S23), line by line of its list, for supervisors and pools: the first match wins."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from supervisors import (
    AutoShutdown,
    ChildSpec,
    ChildStartError,
    OnLimit,
    Restart,
    RestartLimit,
    RestartLimitExceeded,
    open_pool,
    open_supervisor,
)

NEVER = RestartLimit(0, 5)
LISTENER = {"work_seconds": 50.0}


@asynccontextmanager
async def supervising(*children, limit=NEVER):
    async with open_supervisor([child.spec(shutdown=60) for child in children], limit=limit) as supervisor:
        yield supervisor


@asynccontextmanager
async def pooling(*children, limit=NEVER):
    async with open_pool(limit=limit, on_limit=OnLimit.ESCALATE) as pool:
        for child in children:
            await pool.start_child(child.run, name=child.name, shutdown=60)
        yield pool


@asynccontextmanager
async def nesting(*children, limit=NEVER):
    spec = ChildSpec.supervisor("inner", [child.spec(shutdown=60) for child in children], limit=limit)
    middle = ChildSpec.supervisor("middle", [spec], limit=NEVER)
    async with open_supervisor([middle], limit=NEVER) as supervisor:
        yield supervisor


@asynccontextmanager
async def embedding(*children, limit=NEVER):
    async def service(*, task_status):
        async with supervising(*children, limit=limit):
            task_status.started()
            await trio.sleep_forever()

    async with open_supervisor([ChildSpec("service", service, shutdown=60)], limit=NEVER) as supervisor:
        yield supervisor


every = pytest.mark.parametrize("keeping", [supervising, pooling, nesting, embedding])


class NoException(BaseException):
    """Neither a crash nor one of Python's own."""


# ---- (1) what is no Exception


@every
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, NoException])
async def test_S23_1_a_childs_interrupt_comes_out_as_raised_and_cuts_all_graces(keeping, kind, puppet):
    a, b = puppet("a"), puppet("b", **LISTENER)
    raised = kind()
    with pytest.raises(kind) as caught:
        async with keeping(a, b):
            await a.crashes(raised)
            await trio.sleep_forever()
    assert caught.value is raised
    assert trio.current_time() == 0


@every
async def test_S23_1_an_interrupt_in_the_body_comes_out_as_raised_and_cuts_all_graces(keeping, puppet):
    a, raised = puppet("a", **LISTENER), KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt) as caught:
        async with keeping(a):
            raise raised
    assert caught.value is raised
    assert trio.current_time() == 0


@pytest.mark.parametrize("keeping", [supervising, pooling])
async def test_S23_1_graces_are_cut_too_while_the_body_waits_for_the_end(keeping, puppet):
    a, b = puppet("a"), puppet("b", **LISTENER)
    with pytest.raises(KeyboardInterrupt):
        async with keeping(a, b) as keeper:
            a.tell(KeyboardInterrupt())
            await keeper.wait_closed()
    assert trio.current_time() == 0


@pytest.mark.parametrize("keeping", [supervising, pooling])
async def test_S23_1_an_interrupt_while_giving_up_wins_over_the_limit(keeping, puppet):
    raised = KeyboardInterrupt()
    a, b = puppet("a"), puppet("b", dying_error=raised)
    with pytest.raises(KeyboardInterrupt) as caught:
        async with keeping(a, b):
            await a.crashes()
            await trio.sleep_forever()
    assert caught.value is raised


async def test_S23_1_an_interrupt_of_a_child_that_starts_comes_out_as_raised(puppet):
    a, b = puppet("a"), puppet("b", fails=[KeyboardInterrupt("while starting")])
    with pytest.raises(KeyboardInterrupt, match="while starting"):
        async with supervising(a, b):
            pytest.fail("opened")
    assert a.alive == 0


async def test_S23_1_an_interrupt_still_stops_the_children_in_reverse(puppet, trace):
    a, b, c = puppet.cast("a b c", dying_seconds=0.5)
    with pytest.raises(KeyboardInterrupt):
        async with supervising(a, b, c):
            trace.clear()
            raise KeyboardInterrupt
    assert trace.take() == "-c -b -a"


# ---- (2) a child that could not be started


async def test_S23_2_a_failed_start_comes_out_bare(puppet, boom):
    error = boom()
    with pytest.raises(ChildStartError) as caught:
        async with supervising(puppet("a"), puppet("b", fails=[error])):
            pytest.fail("opened")
    assert caught.value.child == "b"
    assert caught.value.__cause__ is error


async def test_S23_2_it_hides_the_crash_of_an_earlier_child_meanwhile(puppet, boom):
    async def shaky(*, task_status):
        task_status.started()
        raise boom

    late = puppet("late", start_seconds=1.0, fails=[boom()])
    with pytest.raises(ChildStartError, match="late"):
        async with open_supervisor([ChildSpec("shaky", shaky), late.spec()], limit=NEVER):
            pytest.fail("opened")


# ---- (3) giving up


@pytest.mark.parametrize("keeping", [supervising, pooling, nesting])
async def test_S23_3_giving_up_comes_out_bare_with_its_cause(keeping, puppet):
    a, b = puppet.cast("a b")
    error = ArithmeticError()
    with pytest.raises(RestartLimitExceeded) as caught:
        async with keeping(a, b):
            await a.crashes(error)
            pytest.fail("the body goes on")
    chain, link = [], caught.value
    while link:
        chain.append(link)
        link = link.__cause__
    assert error in chain
    assert all(isinstance(link, RestartLimitExceeded) for link in chain[:-1])


async def test_S23_3_through_a_hundred_levels_it_still_comes_out_bare(puppet):
    a = puppet("a")
    spec = a.spec()
    for level in range(100):
        spec = ChildSpec.supervisor(f"level{level}", [spec], limit=NEVER)
    with pytest.raises(RestartLimitExceeded):
        async with open_supervisor([spec], limit=NEVER):
            await a.crashes()
            pytest.fail("the body goes on")


@pytest.mark.parametrize("keeping", [supervising, pooling, nesting])
async def test_S23_3_with_an_error_of_the_body_both_come_out_in_one_group(keeping, puppet, boom):
    a, error = puppet("a"), boom("of the body")
    with pytest.raises(ExceptionGroup) as caught:
        async with keeping(a):
            try:
                await a.crashes()
            finally:
                raise error
    kinds = [type(inside) for inside in caught.value.exceptions]
    assert sorted(kinds, key=str) == sorted([boom, RestartLimitExceeded], key=str)
    assert error in caught.value.exceptions


@pytest.mark.parametrize("keeping", [supervising, pooling])
async def test_S23_3_giving_up_gives_the_siblings_their_grace(keeping, puppet, trace):
    a, b = puppet("a"), puppet("b", work_seconds=4.0)
    with pytest.raises(RestartLimitExceeded):
        async with keeping(a, b):
            await a.crashes()
            await trio.sleep_forever()
    assert "=b" in trace
    assert trio.current_time() == pytest.approx(4)


async def test_S23_3_giving_up_wins_over_a_surrounding_cancellation(puppet):
    a, b = puppet("a"), puppet("b", work_seconds=4.0)
    with pytest.raises(RestartLimitExceeded), trio.move_on_after(1):
        async with supervising(a, b):
            await a.crashes()
            await trio.sleep_forever()
    assert trio.current_time() == pytest.approx(1)


async def test_S23_3_giving_up_wins_over_a_cancellation_that_the_body_felt_too(puppet):
    a = puppet("a")
    with pytest.raises(RestartLimitExceeded), trio.move_on_after(0.2):
        async with supervising(a):
            a.tell(ArithmeticError())
            with trio.CancelScope(shield=True):
                await trio.sleep(0.5)
            await trio.sleep_forever()


# ---- (4) the body's error


@every
async def test_S23_4_the_bodys_error_comes_out_bare_after_all_children_stopped(keeping, puppet, boom):
    a, error = puppet("a", dying_seconds=0.5), boom()
    with pytest.raises(boom) as caught:
        async with keeping(a):
            raise error
    assert caught.value is error
    assert a.alive == 0


@every
async def test_S23_4_a_group_raised_by_the_body_is_left_as_it_is(keeping, puppet, boom):
    group = ExceptionGroup("of the body", [boom(), boom()])
    with pytest.raises(ExceptionGroup) as caught:
        async with keeping(puppet("a")):
            raise group
    assert caught.value is group


async def test_S23_4_an_error_in_the_body_stops_the_children_with_their_graces(puppet, trace, boom):
    a, b = puppet.cast("a b", work_seconds=2.0)
    with pytest.raises(boom):
        async with supervising(a, b):
            trace.clear()
            raise boom
    assert trace.take() == "~b =b -b ~a =a -a"


async def test_S23_4_errors_of_stopping_children_hide_nothing(puppet, boom):
    error = boom("of the body")
    with pytest.raises(boom) as caught:
        async with supervising(puppet("a", dying_error=ArithmeticError())):
            raise error
    assert caught.value is error


# ---- (5) the surrounding cancellation


@every
async def test_S23_5_a_surrounding_cancellation_goes_on_outwards(keeping, puppet):
    with trio.move_on_after(3) as scope:
        async with keeping(puppet("a")):
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert trio.current_time() == pytest.approx(3)


async def test_S23_5_it_stops_the_children_in_order_and_without_grace(puppet, trace):
    a, b, c = puppet.cast("a b c", dying_seconds=0.5, **LISTENER)
    with trio.move_on_after(3):
        async with supervising(a, b, c):
            trace.clear()
            await trio.sleep_forever()
    assert [line for line in trace if line[0] != "~"] == ["-c", "-b", "-a"]
    assert trio.current_time() == pytest.approx(4.5)


async def test_S23_5_it_stops_a_nested_tree_in_order(puppet, trace):
    a, b, c, d = puppet.cast("a b c d", dying_seconds=0.25)
    sub = ChildSpec.supervisor("sub", [b.spec(), c.spec()])
    with trio.move_on_after(3):
        async with open_supervisor([a.spec(), sub, d.spec()]):
            trace.clear()
            await trio.sleep_forever()
    assert trace.take() == "-d -c -b -a"


async def test_S23_5_in_a_pool_it_stops_the_children_side_by_side(puppet):
    with trio.move_on_after(3):
        async with pooling(*puppet.cast("a b c", dying_seconds=0.5, **LISTENER)):
            await trio.sleep_forever()
    assert trio.current_time() == pytest.approx(3.5)


async def test_S23_5_a_cancellation_while_the_block_ends_cuts_the_graces(puppet):
    a, b = puppet.cast("a b", **LISTENER)
    with trio.move_on_after(3) as scope:
        async with supervising(a, b):
            pass
    assert trio.current_time() == pytest.approx(3)
    assert scope.cancel_called


async def test_S23_5_after_it_nothing_is_restarted(puppet):
    a, b = puppet("a"), puppet("b", dying_seconds=0.5)

    async def crash_the_other():
        a.tell(ArithmeticError())

    b.on_dying = crash_the_other
    with trio.move_on_after(3):
        async with supervising(a, b, limit=RestartLimit(9, 9)):
            await trio.sleep_forever()
    assert a.starts == 1


# ---- (6) nothing


@every
async def test_S23_6_leaving_normally_brings_nothing(keeping, puppet):
    async with keeping(puppet("a"), puppet("b", dying_error=ArithmeticError())):
        pass


@pytest.mark.parametrize("keeping", [supervising, pooling])
async def test_S23_6_a_drain_brings_nothing(keeping, puppet):
    async with keeping(puppet("a")) as keeper:
        await keeper.drain()


async def test_S23_6_an_auto_shutdown_cancels_the_body_and_brings_nothing(puppet):
    a = puppet("a")
    spec = a.spec(restart=Restart.TRANSIENT, significant=True)
    async with open_supervisor([spec], auto_shutdown=AutoShutdown.ANY_SIGNIFICANT):
        await a.ends()
        pytest.fail("the body goes on")
    assert trio.current_time() == 0


async def test_S23_6_a_drain_from_outside_cancels_the_body_and_brings_nothing(puppet, trace):
    async def service(*, task_status):
        async with supervising(puppet("a")):
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                trace.append("body cancelled")
        trace.append("went on")

    async with open_supervisor([ChildSpec("service", service)]):
        trace.clear()
    assert trace.take() == "body cancelled -a went on"


async def test_S23_6_the_cancelled_body_is_the_youngest_child(puppet, trace):
    a = puppet("a")
    spec = a.spec(restart=Restart.TRANSIENT, significant=True)
    b = puppet("b")
    async with open_supervisor([b.spec(), spec], auto_shutdown=AutoShutdown.ANY_SIGNIFICANT):
        trace.clear()
        try:
            await a.ends()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(0.5)
            trace.append("body gone")
    assert trace.take() == "-a body gone -b"


async def test_S23_6_a_body_that_gave_up_waiting_for_the_end_is_the_youngest_child_again(puppet, trace):
    a = puppet("a")
    spec = a.spec(restart=Restart.TRANSIENT, significant=True)
    b = puppet("b")
    async with open_supervisor([b.spec(), spec], auto_shutdown=AutoShutdown.ANY_SIGNIFICANT) as supervisor:
        with trio.move_on_after(1):
            await supervisor.wait_closed()
        trace.clear()
        try:
            await a.ends()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(0.5)
            trace.append("body gone")
    assert trace.take() == "-a body gone -b"


async def test_S23_6_a_body_that_waits_for_the_end_is_cancelled_after_it(puppet, trace):
    a = puppet("a")
    spec = a.spec(restart=Restart.TRANSIENT, significant=True)
    async with open_supervisor([spec], auto_shutdown=AutoShutdown.ANY_SIGNIFICANT) as supervisor:
        a.tell()
        report = await supervisor.wait_closed()
        trace.append(report.clean)
        await trio.sleep_forever()
    assert trace[-1] is True


async def test_S23_5_a_body_that_waits_for_the_end_can_be_cancelled_from_outside(puppet):
    with trio.move_on_after(3) as scope:
        async with supervising(puppet("a", **LISTENER)) as supervisor:
            await supervisor.wait_closed()
    assert scope.cancelled_caught
    assert trio.current_time() == pytest.approx(3)


async def test_S23_5_a_body_that_drains_can_be_cancelled_from_outside(puppet):
    with trio.move_on_after(3) as scope:
        async with supervising(puppet("a", **LISTENER)) as supervisor:
            await supervisor.drain()
    assert scope.cancelled_caught
    assert trio.current_time() == pytest.approx(3)


async def test_S23_6_errors_of_children_that_are_stopped_bring_nothing(puppet):
    cast = puppet.cast("a b", dying_error=ArithmeticError())
    async with supervising(*cast):
        await wait_all_tasks_blocked()
