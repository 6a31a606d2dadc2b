"""Restart rules (R1 to R30): who is restarted, with whom, how often, and when no more."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from supervisors import (
    ChildNotStopped,
    ChildSpec,
    ChildStartError,
    ChildStatus,
    OnLimit,
    PoolFull,
    Restart,
    RestartLimit,
    RestartLimitExceeded,
    Strategy,
    UnknownChild,
    open_pool,
    open_supervisor,
    value_of,
)

GENEROUS = RestartLimit(1_000_000, 5.0)


@pytest.fixture(params=["supervisor", "pool"])
async def child_of(request, puppet):
    """Starts a puppet under either kind of supervisor: `keeper, child = await child_of(restart)`."""
    async with open_supervisor([], limit=GENEROUS) as supervisor, open_pool(limit=GENEROUS) as pool:

        async def start(restart):
            child = puppet("a")
            if request.param == "pool":
                await pool.start_child(child.run, name="a", restart=restart)
                return pool, child
            await supervisor.start_child(child.spec(restart=restart))
            return supervisor, child

        yield start


def assert_forgotten(keeper):
    with pytest.raises(UnknownChild):
        keeper.child("a")
    assert keeper.children() == ()


# ---- R1 to R9: kinds of children × kinds of ends


async def test_R1_a_permanent_child_that_returns_is_restarted(child_of):
    keeper, child = await child_of(Restart.PERMANENT)
    await child.ends()
    assert keeper.child("a").status is ChildStatus.RUNNING
    assert child.starts == 2


async def test_R2_a_permanent_child_stopped_on_request_stays_stopped(child_of):
    keeper, child = await child_of(Restart.PERMANENT)
    await keeper.stop_child("a")
    await trio.sleep(1000)
    assert (child.starts, child.alive) == (1, 0)


async def test_R3_a_permanent_child_that_crashes_is_restarted(child_of):
    keeper, child = await child_of(Restart.PERMANENT)
    await child.crashes()
    assert keeper.child("a").status is ChildStatus.RUNNING
    assert child.starts == 2


async def test_R4_a_transient_child_that_returns_is_not_restarted(child_of):
    _keeper, child = await child_of(Restart.TRANSIENT)
    await child.ends()
    await trio.sleep(1000)
    assert (child.starts, child.alive) == (1, 0)


async def test_R4_a_static_supervisor_keeps_a_finished_transient_child_in_its_list(puppet):
    async with open_supervisor([(a := puppet("a")).spec(restart=Restart.TRANSIENT)]) as supervisor:
        await a.ends()
        assert supervisor.child("a").status is ChildStatus.FINISHED


async def test_R4_a_pool_forgets_a_finished_transient_child(puppet):
    async with open_pool() as pool:
        await pool.start_child((a := puppet("a")).run, name="a")
        await a.ends()
        assert_forgotten(pool)


async def test_R5_a_transient_child_stopped_on_request_stays_stopped(child_of):
    keeper, child = await child_of(Restart.TRANSIENT)
    await keeper.stop_child("a")
    await trio.sleep(1000)
    assert (child.starts, child.alive) == (1, 0)


async def test_R6_a_transient_child_that_crashes_is_restarted(child_of):
    keeper, child = await child_of(Restart.TRANSIENT)
    await child.crashes()
    assert keeper.child("a").status is ChildStatus.RUNNING
    assert child.starts == 2


async def test_R7_a_temporary_child_that_returns_is_forgotten(child_of):
    keeper, child = await child_of(Restart.TEMPORARY)
    await child.ends()
    assert child.starts == 1
    assert_forgotten(keeper)


async def test_R8_a_temporary_child_stopped_on_request_is_forgotten(child_of):
    keeper, child = await child_of(Restart.TEMPORARY)
    await keeper.stop_child("a")
    assert child.starts == 1
    assert_forgotten(keeper)


async def test_R9_a_temporary_child_that_crashes_is_forgotten(child_of):
    keeper, child = await child_of(Restart.TEMPORARY)
    await child.crashes()
    assert child.starts == 1
    assert_forgotten(keeper)


async def test_R9_crashes_of_temporary_children_use_no_budget(puppet):
    keeper = puppet("keeper")
    async with open_supervisor([keeper.spec()], limit=RestartLimit(0, 5)) as supervisor:
        for n in range(3):
            child = puppet(f"t{n}")
            await supervisor.start_child(child.spec(restart=Restart.TEMPORARY))
            await child.crashes()
        assert keeper.starts == 1


async def test_R4_pool_children_are_transient_unless_said_otherwise(puppet):
    async with open_pool() as pool:
        info = await pool.start_child(puppet("a").run)
        assert info.spec.restart is Restart.TRANSIENT


# ---- R10 to R16: groups


async def test_R10_one_for_one_leaves_the_siblings_alone(puppet, trace):
    a, b, c = puppet.cast("a b c")
    async with open_supervisor([a.spec(), b.spec(), c.spec()]) as supervisor:
        before = supervisor.child("a"), supervisor.child("c")
        trace.clear()
        await b.crashes()
        assert trace.take() == "-b +b"
        assert (supervisor.child("a"), supervisor.child("c")) == before


@pytest.mark.parametrize("failing", ["a", "b", "c"])
async def test_R11_one_for_all_stops_the_others_in_reverse_and_starts_all_in_order(puppet, trace, failing):
    cast = {p.name: p for p in puppet.cast("a b c")}
    async with open_supervisor([p.spec() for p in cast.values()], strategy=Strategy.ONE_FOR_ALL):
        trace.clear()
        await cast[failing].crashes()
        stopped = [f"-{name}" for name in "cba" if name != failing]
        assert trace.take() == " ".join([f"-{failing}", *stopped, "+a", "+b", "+c"])


@pytest.mark.parametrize(
    ("failing", "expected"),
    [("a", "-a -d -c -b +a +b +c +d"), ("b", "-b -d -c +b +c +d"), ("d", "-d +d")],
    ids=["first", "middle", "last"],
)
async def test_R12_rest_for_one_takes_the_later_ones_with_it(puppet, trace, failing, expected):
    cast = {p.name: p for p in puppet.cast("a b c d")}
    async with open_supervisor([p.spec() for p in cast.values()], strategy=Strategy.REST_FOR_ONE):
        trace.clear()
        await cast[failing].crashes()
        assert trace.take() == expected


async def test_R12_a_group_round_starts_each_child_when_the_one_before_is_ready(puppet):
    a, b, c = puppet.cast("a b c")
    async with open_supervisor([p.spec() for p in (a, b, c)], strategy=Strategy.ONE_FOR_ALL):
        a.start_seconds = b.start_seconds = 2.0
        await c.crashes()
        await trio.sleep(10)
        assert [p.started_at[1] for p in (a, b, c)] == [pytest.approx(t) for t in (0.0, 2.0, 4.0)]


async def test_R13_one_for_all_stops_a_failed_round_and_starts_the_whole_group_again(puppet, trace, boom):
    a, b, c = puppet.cast("a b c")
    async with open_supervisor([p.spec() for p in (a, b, c)], strategy=Strategy.ONE_FOR_ALL):
        trace.clear()
        b.fails.append(boom())
        await a.crashes()
        assert trace.take() == "-a -c -b +a +b -b -a +a +b +c"


async def test_R13_rest_for_one_tries_again_from_the_child_that_failed_in_the_round(puppet, trace, boom):
    a, b, c = puppet.cast("a b c")
    async with open_supervisor([p.spec() for p in (a, b, c)], strategy=Strategy.REST_FOR_ONE):
        trace.clear()
        b.fails.append(boom())
        await a.crashes()
        assert trace.take() == "-a -c -b +a +b -b +b +c"


async def test_R13_a_sibling_that_crashes_while_the_round_goes_on_is_dealt_with_after_it(puppet, trace):
    a, b, c = puppet.cast("a b c")
    async with open_supervisor([p.spec() for p in (a, b, c)], strategy=Strategy.ONE_FOR_ALL):
        trace.clear()
        c.start_seconds = 5.0
        await b.crashes()
        assert trace.take() == "-b -c -a +a +b +c"
        c.start_seconds = 0.0
        await a.crashes()
        await trio.sleep(20)
        assert [p.alive for p in (a, b, c)] == [1, 1, 1]
        assert trace.count("+a") == trace.count("+b") == 1


@pytest.mark.parametrize("strategy", [Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE])
async def test_R14_a_temporary_sibling_taken_down_by_a_group_restart_does_not_come_back(puppet, trace, strategy):
    a, t, c = puppet.cast("a t c")
    specs = [a.spec(), t.spec(restart=Restart.TEMPORARY), c.spec()]
    async with open_supervisor(specs, strategy=strategy) as supervisor:
        trace.clear()
        await a.crashes()
        assert trace.take() == "-a -c -t +a +c"
        assert [info.name for info in supervisor.children()] == ["a", "c"]


async def test_R14_a_transient_sibling_taken_down_by_a_group_restart_comes_back(puppet, trace):
    a, t = puppet.cast("a t")
    specs = [a.spec(), t.spec(restart=Restart.TRANSIENT)]
    async with open_supervisor(specs, strategy=Strategy.ONE_FOR_ALL):
        trace.clear()
        await a.crashes()
        assert trace.take() == "-a -t +a +t"


async def test_R15_a_manually_stopped_child_comes_back_with_the_next_restart_of_its_group(puppet):
    a, b = puppet.cast("a b")
    async with open_supervisor([a.spec(), b.spec()], strategy=Strategy.ONE_FOR_ALL) as supervisor:
        await supervisor.stop_child("b")
        await a.crashes()
        assert supervisor.child("b").status is ChildStatus.RUNNING


async def test_R15_under_rest_for_one_only_when_it_comes_after_the_failed_child(puppet):
    a, b, c = puppet.cast("a b c")
    async with open_supervisor([p.spec() for p in (a, b, c)], strategy=Strategy.REST_FOR_ONE) as supervisor:
        await supervisor.stop_child("a")
        await supervisor.stop_child("c")
        await b.crashes()
        assert supervisor.child("a").status is ChildStatus.STOPPED
        assert supervisor.child("c").status is ChildStatus.RUNNING


async def test_R15_under_one_for_one_a_manually_stopped_child_stays_stopped(puppet):
    a, b = puppet.cast("a b")
    async with open_supervisor([a.spec(), b.spec()]) as supervisor:
        await supervisor.stop_child("b")
        await a.crashes()
        assert supervisor.child("b").status is ChildStatus.STOPPED


async def test_R16_children_added_at_run_time_are_gone_after_a_restart_of_their_supervisor(puppet):
    declared, added = puppet.cast("declared added")
    sub = ChildSpec.supervisor("sub", [declared.spec()], limit=RestartLimit(0, 5))
    async with open_supervisor([sub]) as outer:
        await outer.child("sub").value.start_child(added.spec())
        await declared.crashes()
        assert outer.child("sub").status is ChildStatus.RUNNING
        assert [info.name for info in outer.child("sub").value.children()] == ["declared"]
        assert (declared.alive, added.alive) == (1, 0)


async def test_R16_a_declared_child_deleted_at_run_time_is_back_after_a_restart_of_its_supervisor(puppet):
    a, b = puppet.cast("a b")
    sub = ChildSpec.supervisor("sub", [a.spec(), b.spec()], limit=RestartLimit(0, 5))
    async with open_supervisor([sub]) as outer:
        inner = outer.child("sub").value
        await inner.stop_child("b")
        inner.delete_child("b")
        await a.crashes()
        assert (a.alive, b.alive) == (1, 1)


# ---- R17 to R20: budgets


async def test_R17_a_limit_of_n_allows_n_restarts_and_gives_up_at_the_next(puppet):
    a = puppet("a")
    with pytest.raises(RestartLimitExceeded):
        async with open_supervisor([a.spec()], limit=RestartLimit(3, 5)):
            for _ in range(3):
                await a.crashes()
            assert (a.alive, a.starts) == (1, 4)
            await a.crashes()
            pytest.fail("the body goes on")
    assert a.starts == 4


async def test_R17_a_limit_of_nothing_gives_up_at_the_first_crash(puppet):
    a = puppet("a")
    with pytest.raises(RestartLimitExceeded):
        async with open_supervisor([a.spec()], limit=RestartLimit(0, 5)):
            await a.crashes()
    assert a.starts == 1


async def test_R17_the_edge_of_the_window_belongs_to_it(puppet):
    a = puppet("a")
    with pytest.raises(RestartLimitExceeded):
        async with open_supervisor([a.spec()], limit=RestartLimit(2, 8)):
            for pause in (4, 4, 0):
                await a.crashes()
                await trio.sleep(pause)
    assert trio.current_time() == pytest.approx(8)


async def test_R17_just_outside_the_window_does_not_count(puppet):
    a = puppet("a")
    async with open_supervisor([a.spec()], limit=RestartLimit(2, 8)):
        for pause in (4, 4.01, 0):
            await a.crashes()
            await trio.sleep(pause)
        assert a.starts == 4


async def test_R17_ends_of_permanent_children_count_like_crashes(puppet):
    a = puppet("a")
    with pytest.raises(RestartLimitExceeded):
        async with open_supervisor([a.spec()], limit=RestartLimit(1, 5)):
            await a.ends()
            await a.ends()
            pytest.fail("the body goes on")


async def test_R17_a_static_supervisor_has_one_budget_for_all_its_children(puppet):
    a, b = puppet.cast("a b")
    with pytest.raises(RestartLimitExceeded, match="b"):
        async with open_supervisor([a.spec(), b.spec()], limit=RestartLimit(1, 5)):
            await a.crashes()
            await b.crashes()
            pytest.fail("the body goes on")


async def test_R17_a_manual_restart_uses_no_budget(puppet):
    a = puppet("a")
    async with open_supervisor([a.spec()], limit=RestartLimit(0, 5)) as supervisor:
        for _ in range(5):
            await supervisor.stop_child("a")
            await supervisor.restart_child("a")
        assert a.alive == 1


async def test_R17_a_pool_child_is_quarantined_at_the_crash_after_its_last_restart(puppet):
    a = puppet("a")
    async with open_pool(limit=RestartLimit(2, 8)) as pool:
        await pool.start_child(a.run, name="a")
        for status in (ChildStatus.RUNNING, ChildStatus.RUNNING, ChildStatus.QUARANTINED):
            await a.crashes()
            assert pool.child("a").status is status
            await trio.sleep(4)
        assert a.starts == 3


async def test_R18_crashes_further_apart_than_the_window_never_use_up_the_budget(puppet):
    a, b = puppet.cast("a b")
    limit = RestartLimit(1, 5)
    async with open_supervisor([a.spec()], limit=limit), open_pool(limit=limit) as pool:
        await pool.start_child(b.run)
        for _ in range(50):
            await a.crashes()
            await b.crashes()
            await trio.sleep(5.01)
        assert a.starts == b.starts == 51


async def test_R19_failed_starts_count(puppet, boom):
    a = puppet("a")
    with pytest.raises(RestartLimitExceeded):
        async with open_supervisor([a.spec()], limit=RestartLimit(3, 5)):
            a.fails.extend(boom() for _ in range(100))
            await a.crashes()
            pytest.fail("the body goes on")
    assert a.starts == 4


async def test_R19_failed_starts_of_a_pool_child_count(puppet, boom):
    a = puppet("a")
    async with open_pool(limit=RestartLimit(3, 5)) as pool:
        await pool.start_child(a.run, name="a")
        a.fails.extend(boom() for _ in range(100))
        await a.crashes()
        assert pool.child("a").status is ChildStatus.QUARANTINED
        assert a.starts == 4


async def test_R19_one_restart_of_a_group_counts_once(puppet):
    cast = puppet.cast("a b c d e")
    specs = [p.spec() for p in cast]
    async with open_supervisor(specs, strategy=Strategy.ONE_FOR_ALL, limit=RestartLimit(2, 5)):
        await cast[2].crashes()
        await cast[4].crashes()
        assert [p.starts for p in cast] == [3] * 5


async def test_R19_a_failed_round_and_its_second_try_count_twice(puppet, boom):
    a, b = puppet.cast("a b")
    with pytest.raises(RestartLimitExceeded):
        async with open_supervisor([a.spec(), b.spec()], strategy=Strategy.ONE_FOR_ALL, limit=RestartLimit(2, 5)):
            b.fails.append(boom())
            await a.crashes()
            assert a.alive == b.alive == 1
            await a.crashes()
            pytest.fail("the body goes on")


async def test_R20_a_noisy_pool_child_uses_nobody_elses_budget(puppet):
    noisy, quiet = puppet.cast("noisy quiet")
    async with open_pool(limit=RestartLimit(1, 5)) as pool:
        await pool.start_child(noisy.run, name="noisy")
        await pool.start_child(quiet.run, name="quiet")
        await noisy.crashes()
        await noisy.crashes()
        await quiet.crashes()
        assert pool.child("noisy").status is ChildStatus.QUARANTINED
        assert pool.child("quiet").status is ChildStatus.RUNNING


async def test_R20_a_quarantined_child_is_kept_with_its_error_and_can_be_revived_with_a_new_budget(puppet):
    a = puppet("a")
    async with open_pool(limit=RestartLimit(1, 5)) as pool:
        await pool.start_child(a.run, name="a")
        await a.crashes()
        error = await a.crashes()
        assert pool.child("a").last_error is error
        await pool.revive_child("a")
        assert pool.child("a").status is ChildStatus.RUNNING
        await a.crashes()
        assert pool.child("a").status is ChildStatus.RUNNING


async def test_R20_a_revival_that_fails_leaves_the_child_quarantined(puppet, boom):
    a = puppet("a")
    async with open_pool(limit=RestartLimit(0, 5)) as pool:
        await pool.start_child(a.run, name="a")
        await a.crashes()
        a.fails.append(boom())
        with pytest.raises(ChildStartError):
            await pool.revive_child("a")
        assert pool.child("a").status is ChildStatus.QUARANTINED


async def test_R20_a_revival_that_is_cancelled_leaves_the_child_quarantined(puppet):
    a = puppet("a")
    async with open_pool(limit=RestartLimit(0, 5)) as pool:
        await pool.start_child(a.run, name="a")
        await a.crashes()
        a.start_seconds = 10.0
        with trio.move_on_after(1):
            await pool.revive_child("a")
        assert a.alive == 0
        assert pool.child("a").status is ChildStatus.QUARANTINED


async def test_R20_a_quarantined_child_holds_its_place_and_name(puppet):
    a, b = puppet.cast("a b")
    async with open_pool(limit=RestartLimit(0, 5), max_children=1) as pool:
        await pool.start_child(a.run, name="a")
        await a.crashes()
        with pytest.raises(PoolFull):
            await pool.start_child(b.run, name="b")


async def test_R20_a_child_that_is_not_quarantined_cannot_be_revived(puppet):
    a = puppet("a")
    async with open_pool() as pool:
        await pool.start_child(a.run, name="a")
        with pytest.raises(ChildNotStopped, match="a"):
            await pool.revive_child("a")


async def test_R20_a_quarantined_child_can_be_stopped_and_is_then_forgotten(puppet):
    a = puppet("a")
    async with open_pool(limit=RestartLimit(0, 5)) as pool:
        await pool.start_child(a.run, name="a")
        await a.crashes()
        await pool.stop_child("a")
        assert_forgotten(pool)


# ---- R21 to R25: in the middle of it


async def eager(*, task_status):
    """Becomes ready and crashes at once, each time."""
    task_status.started()
    raise ArithmeticError


async def test_R21_a_supervisor_can_be_left_inside_a_restart_loop():
    async with open_supervisor([ChildSpec("eager", eager)], limit=GENEROUS):
        for _ in range(20):
            await trio.lowlevel.checkpoint()
    assert trio.current_time() == 0


async def test_R21_a_child_can_be_stopped_inside_its_restart_loop():
    async with open_supervisor([ChildSpec("eager", eager)], limit=GENEROUS) as supervisor:
        await supervisor.stop_child("eager")
        assert supervisor.child("eager").status is ChildStatus.STOPPED


async def test_R21_a_supervisor_can_be_left_while_a_restart_hangs(puppet):
    a = puppet("a")
    async with open_supervisor([a.spec()]):
        a.start_seconds = 1000.0
        await a.crashes()
    assert trio.current_time() == 0


async def test_R21_a_supervisor_can_be_left_while_a_group_round_hangs(puppet):
    a, b, c = puppet.cast("a b c")
    async with open_supervisor([p.spec() for p in (a, b, c)], strategy=Strategy.ONE_FOR_ALL):
        b.start_seconds = 1000.0
        await a.crashes()
    assert trio.current_time() == 0
    assert c.starts == 1


async def test_R22_calls_are_answered_between_attempts(puppet):
    async with open_supervisor([ChildSpec("eager", eager)], limit=GENEROUS) as supervisor:
        await supervisor.start_child(puppet("b").spec())
        assert supervisor.child("b").status is ChildStatus.RUNNING
        assert supervisor.counts().specs == 2


async def test_R22_a_pool_answers_calls_between_attempts(puppet):
    async with open_pool(limit=GENEROUS) as pool:
        await pool.start_child(eager, name="eager")
        await pool.start_child(puppet("b").run, name="b")
        await pool.stop_child("eager")
        assert [info.name for info in pool.children()] == ["b"]


async def test_R22_under_a_group_strategy_start_child_waits_for_the_running_round(puppet, nursery):
    a, b, c = puppet.cast("a b c")
    async with open_supervisor([a.spec(), b.spec()], strategy=Strategy.ONE_FOR_ALL) as supervisor:
        b.start_seconds = 3.0
        await a.crashes()
        await supervisor.start_child(c.spec())
        assert c.started_at == [pytest.approx(3.0)]


async def test_R23_giving_up_names_the_child_the_crashes_and_the_cause(puppet):
    a = puppet("the-noisy-one")
    with pytest.raises(RestartLimitExceeded, match="the-noisy-one") as caught:
        async with open_supervisor([a.spec()], limit=RestartLimit(1, 5)):
            await a.crashes()
            await trio.sleep(2)
            error = ArithmeticError("one too many")
            await a.crashes(error)
    assert caught.value.__cause__ is error
    assert caught.value.child == "the-noisy-one"
    assert caught.value.history == (0.0, 2.0)


async def test_R23_a_pool_that_escalates_gives_up_with_its_child(puppet):
    a, b = puppet.cast("a b")
    with pytest.raises(RestartLimitExceeded, match="a") as caught:
        async with open_pool(limit=RestartLimit(1, 5), on_limit=OnLimit.ESCALATE) as pool:
            await pool.start_child(a.run, name="a")
            await pool.start_child(b.run, name="b")
            await a.crashes()
            error = ArithmeticError()
            await a.crashes(error)
            pytest.fail("the body goes on")
    assert caught.value.__cause__ is error
    assert b.alive == 0


async def test_R23_a_pool_that_quarantines_never_gives_up(puppet):
    a = puppet("a")
    async with open_pool(limit=RestartLimit(0, 5), on_limit=OnLimit.QUARANTINE) as pool:
        await pool.start_child(a.run, name="a")
        await a.crashes()
        await trio.sleep(100)
        assert pool.child("a").status is ChildStatus.QUARANTINED


async def test_R23_giving_up_cascades_through_all_levels_one_budget_after_the_other(puppet):
    a = puppet("a")
    inner = ChildSpec.supervisor("inner", [a.spec()], limit=RestartLimit(1, 60))
    middle = ChildSpec.supervisor("middle", [inner], limit=RestartLimit(1, 60))
    with pytest.raises(RestartLimitExceeded):
        async with open_supervisor([middle], limit=RestartLimit(1, 60)):
            for _ in range(8):
                await a.crashes()
            pytest.fail("the body goes on")
    assert a.starts == 8  # two lives at each of three levels


async def test_R23_giving_up_stops_the_siblings_in_reverse_first(puppet, trace):
    a, b, c = puppet.cast("a b c", dying_seconds=0.5)
    with pytest.raises(RestartLimitExceeded):
        async with open_supervisor([p.spec() for p in (a, b, c)], limit=RestartLimit(0, 5)):
            trace.clear()
            await b.crashes()
            await trio.sleep_forever()
    assert trace.take() == "-b -c -a"


@pytest.mark.parametrize("restart", [Restart.PERMANENT, Restart.TRANSIENT])
async def test_R24_a_parent_restarts_a_child_supervisor_that_hit_its_limit(puppet, restart):
    a, b = puppet.cast("a b")
    sub = ChildSpec.supervisor("sub", [a.spec(), b.spec()], limit=RestartLimit(0, 5), restart=restart)
    async with open_supervisor([sub]) as outer:
        await a.crashes()
        assert outer.child("sub").restarts == 1
        assert isinstance(outer.child("sub").last_error, RestartLimitExceeded)
        assert (a.starts, b.starts, a.alive, b.alive) == (2, 2, 1, 1)


async def test_R24_a_restarted_child_supervisor_has_a_fresh_budget(puppet):
    a = puppet("a")
    sub = ChildSpec.supervisor("sub", [a.spec()], limit=RestartLimit(1, 60))
    async with open_supervisor([sub], limit=RestartLimit(1, 60)) as outer:
        for _ in range(3):
            await a.crashes()
        assert outer.child("sub").restarts == 1
        assert a.alive == 1


async def test_R25_a_child_that_crashes_while_the_supervisor_stops_is_not_restarted(puppet, trace):
    a, b = puppet("a"), puppet("b", dying_seconds=0.5)

    async def crash_the_other():
        a.tell(ArithmeticError())
        await trio.sleep(0.1)

    b.on_dying = crash_the_other
    async with open_supervisor([a.spec(), b.spec()], limit=GENEROUS):
        trace.clear()
    assert trace.take() == "-a -b"


async def test_R25_an_error_in_the_clean_up_of_a_stopping_child_restarts_nothing(puppet, trace, boom):
    a, b = puppet("a"), puppet("b", dying_error=boom())
    async with open_supervisor([a.spec(), b.spec()], limit=GENEROUS):
        trace.clear()
    assert trace.take() == "-b -a"


async def test_R25_a_drain_ends_the_waiting_for_a_restart(puppet):
    a = puppet("a")
    async with open_supervisor([a.spec()], backoff=lambda _: 3.0) as supervisor:
        await a.crashes()
        await supervisor.drain()
        await trio.sleep(10)
    assert a.starts == 1


async def test_R25_a_pool_restarts_nothing_once_it_stops(puppet):
    a, b = puppet("a"), puppet("b", work_seconds=5.0)
    async with open_pool(limit=GENEROUS) as pool:
        await pool.start_child(a.run, name="a")
        await pool.start_child(b.run, name="b", shutdown=10)
        a.dying_error = ArithmeticError()
    assert a.starts == 1


@pytest.mark.parametrize("kept_by", ["supervisor", "pool"])
async def test_R25_a_child_that_crashes_while_the_body_is_still_leaving_is_not_restarted(puppet, kept_by):
    a = puppet("a")

    async def linger():
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await a.crashes()
                await trio.sleep(0.5)

    async def service(*, task_status):
        if kept_by == "supervisor":
            async with open_supervisor([a.spec()], limit=GENEROUS):
                task_status.started()
                await linger()
        else:
            async with open_pool(limit=GENEROUS) as pool:
                await pool.start_child(a.run, restart=Restart.PERMANENT)
                task_status.started()
                await linger()

    async with open_supervisor([ChildSpec("service", service, shutdown=10)]):
        pass
    assert a.starts == 1


# ---- R26 to R30: one incarnation after the other


@pytest.mark.parametrize("strategy", list(Strategy))
async def test_R26_the_next_incarnation_starts_when_the_clean_up_of_the_last_has_ended(puppet, strategy):
    a, b = puppet("a", dying_seconds=3.0), puppet("b")
    async with open_supervisor([a.spec(), b.spec()], strategy=strategy):
        await a.crashes()
        await trio.sleep(10)
        assert a.started_at == [0.0, pytest.approx(3.0)]


async def test_R26_a_sibling_in_a_group_round_has_cleaned_up_before_anything_starts_again(puppet):
    a, b = puppet("a"), puppet("b", dying_seconds=0.9)
    async with open_supervisor([a.spec(), b.spec()], strategy=Strategy.ONE_FOR_ALL):
        await a.crashes()
        await trio.sleep(10)
        assert a.started_at[1] == pytest.approx(0.9)


async def test_R26_even_an_unstoppable_sibling_never_runs_twice_at_once(puppet):
    a, b = puppet("a"), puppet("b", dying_seconds=30.0)
    async with open_supervisor([a.spec(), b.spec()], strategy=Strategy.ONE_FOR_ALL):
        await a.crashes()
        await trio.sleep(100)
        assert b.starts == 2
        assert b.started_at[1] >= 30.0


async def test_R26_a_pool_child_cleans_up_before_its_next_incarnation(puppet):
    a = puppet("a", dying_seconds=3.0)
    async with open_pool() as pool:
        await pool.start_child(a.run)
        await a.crashes()
        await trio.sleep(10)
        assert a.started_at == [0.0, pytest.approx(3.0)]


async def test_R27_what_a_crashed_child_had_started_is_gone_before_it_starts_again(trace):
    async def helper():
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(2)
            trace.append("helper gone")

    async def worker(*, task_status):
        trace.append("worker")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(helper)
            task_status.started()
            await trio.sleep(1)
            if len(trace) == 1:
                raise ArithmeticError
            await trio.sleep_forever()

    async with open_supervisor([ChildSpec("worker", worker)]):
        await trio.sleep(10)
        assert trace == ["worker", "helper gone", "worker"]


async def test_R27_the_children_of_a_crashed_child_supervisor_are_gone_before_it_starts_again(puppet, trace):
    a, b = puppet("a"), puppet("b", dying_seconds=0.5)
    sub = ChildSpec.supervisor("sub", [a.spec(), b.spec()], limit=RestartLimit(0, 5))
    async with open_supervisor([sub]):
        trace.clear()
        await a.crashes()
        await trio.sleep(1)
        assert trace.take() == "-a -b +a +b"


class NoException(BaseException):
    """Neither a crash nor one of Python's own."""


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, NoException])
async def test_R28_what_is_no_exception_is_no_crash(puppet, error):
    a = puppet("a")
    with pytest.raises(error):
        async with open_supervisor([a.spec()], limit=GENEROUS):
            await a.crashes(error())
    assert a.starts == 1


async def test_R28_a_cancellation_from_inside_a_child_is_a_normal_end(puppet):
    async def gives_up(*, task_status):
        task_status.started()
        with trio.CancelScope() as scope:
            scope.cancel()
            await trio.sleep_forever()

    async with open_supervisor([ChildSpec("a", gives_up, restart=Restart.TRANSIENT)]) as supervisor:
        await wait_all_tasks_blocked()
        info = supervisor.child("a")
        assert (info.status, info.last_error) == (ChildStatus.FINISHED, None)


async def test_R28_an_error_beside_a_cancellation_is_no_interrupt(boom):
    async def fails_in_its_clean_up():
        try:
            await trio.sleep_forever()
        finally:
            raise boom

    async def worker(*, task_status):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fails_in_its_clean_up)
            nursery.start_soon(trio.sleep_forever)
            task_status.started()

    async with open_supervisor([ChildSpec("worker", worker)]) as supervisor:
        await wait_all_tasks_blocked()
        await supervisor.stop_child("worker")
        assert supervisor.child("worker").status is ChildStatus.STOPPED
        assert isinstance(supervisor.child("worker").last_error, ExceptionGroup)


async def test_R28_a_child_cancelled_by_a_stop_has_no_error(puppet):
    async with open_supervisor([puppet("a").spec()]) as supervisor:
        await supervisor.stop_child("a")
        info = supervisor.child("a")
        assert (info.status, info.last_error) == (ChildStatus.STOPPED, None)


async def test_R29_a_group_of_errors_is_one_crash(puppet, boom):
    a = puppet("a")
    async with open_supervisor([a.spec()], limit=RestartLimit(1, 5)) as supervisor:
        group = ExceptionGroup("three", [boom(), boom(), boom()])
        await a.crashes(group)
        info = supervisor.child("a")
        assert (info.restarts, info.status) == (1, ChildStatus.RUNNING)
        assert info.last_error is group


async def test_R29_a_group_raised_by_a_childs_nursery_is_one_crash(boom):
    lives = []

    async def fails():
        raise boom

    async def worker(*, task_status):
        lives.append(trio.current_time())
        task_status.started()
        if len(lives) == 1:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(fails)
                nursery.start_soon(fails)
        await trio.sleep_forever()

    async with open_supervisor([ChildSpec("worker", worker)], limit=RestartLimit(1, 5)) as supervisor:
        await wait_all_tasks_blocked()
        assert len(lives) == 2
        assert isinstance(supervisor.child("worker").last_error, ExceptionGroup)


async def test_R30_each_incarnation_calls_the_function_anew_with_the_same_arguments(puppet):
    a = puppet("a")
    async with open_supervisor([a.spec("x", 7)]):
        await a.crashes()
        assert (a.starts, a.args) == (2, ("x", 7))


async def test_R30_each_incarnation_of_a_resource_is_opened_and_closed_anew(trace):
    class Db:
        pass

    @asynccontextmanager
    async def open_db():
        trace.append("open")
        try:
            yield Db()
        finally:
            trace.append("close")

    async with open_supervisor([ChildSpec.resource("db", open_db)]) as supervisor:
        first = supervisor.child("db").value
        await supervisor.stop_child("db")
        await supervisor.restart_child("db")
        assert supervisor.child("db").value is not first
    assert trace.take() == "open close open close"


async def test_R30_a_restarted_child_gets_the_present_value_of_its_sibling(puppet):
    a, b = puppet.cast("a b")
    async with open_supervisor([a.spec(), b.spec(value_of("a", int))], strategy=Strategy.REST_FOR_ONE):
        assert b.args == (1,)
        await a.crashes()
        assert b.args == (2,)
        await b.crashes()
        assert b.args == (2,)


async def test_R30_a_child_that_needs_the_value_of_a_stopped_sibling_cannot_be_started(puppet):
    a, b = puppet.cast("a b")
    async with open_supervisor([a.spec(), b.spec(value_of("a", int))]) as supervisor:
        await supervisor.stop_child("b")
        await supervisor.stop_child("a")
        with pytest.raises(ChildStartError, match="b"):
            await supervisor.restart_child("b")
        await supervisor.restart_child("a")
        await supervisor.restart_child("b")
        assert b.args == (2,)


async def test_R30_a_value_may_be_asked_for_by_a_parametrised_type(puppet):
    a, b = puppet.cast("a b")
    async with open_supervisor([a.spec(), b.spec(value_of("a", list[int]))]):
        assert b.args == (1,)
