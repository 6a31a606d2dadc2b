"""Significant children (W1 to W7): a supervisor that ends when the work it exists for has ended."""

from __future__ import annotations

import gc
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from supervisors import (
    AutoShutdown,
    ChildSpec,
    ChildStatus,
    Restart,
    RestartLimit,
    Strategy,
    open_supervisor,
)

ANY, ALL = AutoShutdown.ANY_SIGNIFICANT, AutoShutdown.ALL_SIGNIFICANT
BRIEF = {"restart": Restart.TRANSIENT, "significant": True}
FLEETING = {"restart": Restart.TEMPORARY, "significant": True}


@asynccontextmanager
async def stays_open(specs=(), **options):
    """A supervisor that must not end by itself: it would cancel the body silently, with the claims in it."""
    left = False
    async with open_supervisor(specs, **options) as supervisor:
        yield supervisor
        await wait_all_tasks_blocked()
        left = True
    assert left, "the supervisor has ended by itself"


@pytest.mark.parametrize("options", [BRIEF, FLEETING], ids=["transient", "temporary"])
async def test_W1_the_end_of_any_significant_child_ends_the_supervisor_in_order(puppet, trace, options):
    a, s, c = puppet.cast("a s c")
    specs = [a.spec(), s.spec(**options), c.spec()]
    async with open_supervisor(specs, auto_shutdown=ANY):
        trace.clear()
        await s.ends()
        pytest.fail("the body goes on")
    assert trace.take() == "-s -c -a"


async def test_W1_children_that_listen_have_their_grace(puppet, trace):
    a, s = puppet("a", work_seconds=3.0), puppet("s")
    async with open_supervisor([a.spec(), s.spec(**BRIEF)], auto_shutdown=ANY):
        await s.ends()
    assert "=a" in trace
    assert trio.current_time() == pytest.approx(3)


async def test_W1_the_crash_of_a_temporary_significant_child_counts_too(puppet):
    s = puppet("s")
    async with open_supervisor([s.spec(**FLEETING)], auto_shutdown=ANY):
        await s.crashes()
        pytest.fail("the body goes on")


async def test_W1_the_crash_of_a_transient_significant_child_only_restarts_it(puppet):
    s = puppet("s")
    async with stays_open([s.spec(**BRIEF)], auto_shutdown=ANY):
        await s.crashes()
        assert s.starts == 2


async def test_W1_the_end_of_another_child_does_nothing(puppet):
    a, s = puppet.cast("a s")
    specs = [a.spec(restart=Restart.TRANSIENT), s.spec(**BRIEF)]
    async with stays_open(specs, auto_shutdown=ANY):
        await a.ends()


async def test_W1_a_significant_child_added_later_counts(puppet):
    s = puppet("s")
    async with open_supervisor([], auto_shutdown=ANY) as supervisor:
        await supervisor.start_child(s.spec(**BRIEF))
        await s.ends()
        pytest.fail("the body goes on")


async def test_W1_wait_closed_has_the_report_of_an_auto_shutdown(puppet):
    s = puppet("s")
    async with open_supervisor([s.spec(**BRIEF)], auto_shutdown=ANY) as supervisor:
        s.tell()
        report = await supervisor.wait_closed()
    assert report is supervisor.report
    assert report.clean


async def test_W2_with_all_significant_the_last_one_ends_the_supervisor(puppet, trace):
    a, s, t = puppet.cast("a s t")
    specs = [a.spec(), s.spec(**BRIEF), t.spec(**FLEETING)]
    async with open_supervisor(specs, auto_shutdown=ALL) as supervisor:
        await s.ends()
        assert supervisor.report is None
        trace.append("one is not all")
        await t.ends()
        pytest.fail("the body goes on")
    assert "one is not all" in trace


@pytest.mark.parametrize("options", [BRIEF, FLEETING], ids=["transient", "temporary"])
@pytest.mark.parametrize("auto_shutdown", [ANY, ALL])
async def test_W3_a_requested_stop_does_not_end_the_supervisor(puppet, options, auto_shutdown):
    s = puppet("s")
    async with stays_open([s.spec(**options)], auto_shutdown=auto_shutdown) as supervisor:
        await supervisor.stop_child("s")


async def test_W3_a_child_that_finishes_after_being_asked_to_drain_was_stopped_on_request(puppet):
    s = puppet("s", work_seconds=1.0)
    async with stays_open([s.spec(**BRIEF)], auto_shutdown=ANY) as supervisor:
        await supervisor.stop_child("s")


@pytest.mark.parametrize("options", [BRIEF, FLEETING], ids=["transient", "temporary"])
@pytest.mark.parametrize("auto_shutdown", [ANY, ALL])
async def test_W4_a_child_stopped_because_of_a_sibling_does_not_end_the_supervisor(puppet, options, auto_shutdown):
    a, s = puppet.cast("a s")
    specs = [a.spec(), s.spec(**options)]
    async with stays_open(specs, strategy=Strategy.ONE_FOR_ALL, auto_shutdown=auto_shutdown):
        await a.crashes()
        assert a.starts == 2


def test_W5_a_significant_child_cannot_be_permanent():
    with pytest.raises(ValueError, match="significant"):
        ChildSpec("a", trio.sleep_forever, significant=True)


async def test_W5_a_significant_child_needs_an_auto_shutdown(puppet, trace):
    with pytest.raises(ValueError, match="auto_shutdown"):
        async with open_supervisor([puppet("a").spec(), puppet("s").spec(**BRIEF)]):
            pytest.fail("opened")
    assert not trace


async def test_W5_a_significant_child_added_later_needs_an_auto_shutdown(puppet, trace):
    async with open_supervisor([]) as supervisor:
        with pytest.raises(ValueError, match="auto_shutdown"):
            await supervisor.start_child(puppet("s").spec(**BRIEF))
        assert supervisor.children() == ()
    assert not trace


def test_W5_a_child_supervisor_refuses_it_where_it_is_written(puppet):
    with pytest.raises(ValueError, match="auto_shutdown"):
        ChildSpec.supervisor("sub", [puppet("s").spec(**BRIEF)])


async def test_W6_a_supervisor_that_ended_itself_ends_its_parent_if_it_is_significant(puppet):
    s = puppet("s")
    sub = ChildSpec.supervisor("sub", [s.spec(**BRIEF)], auto_shutdown=ANY, **BRIEF)
    async with open_supervisor([sub], auto_shutdown=ANY):
        await s.ends()
        pytest.fail("the body goes on")


async def test_W6_and_is_just_a_finished_child_if_it_is_not(puppet):
    s = puppet("s")
    sub = ChildSpec.supervisor("sub", [s.spec(**BRIEF)], auto_shutdown=ANY, restart=Restart.TRANSIENT)
    async with stays_open([sub]) as supervisor:
        await s.ends()
        assert supervisor.child("sub").status is ChildStatus.FINISHED


async def test_W6_and_is_restarted_if_it_is_permanent(puppet):
    s = puppet("s")
    sub = ChildSpec.supervisor("sub", [s.spec(**BRIEF)], auto_shutdown=ANY)
    async with stays_open([sub], limit=RestartLimit(9, 9)):
        await s.ends()
        assert s.starts == 2


async def test_W7_ten_thousand_significant_children_leave_no_watchers_behind():
    async def brief(*, task_status):
        task_status.started()

    async def come_and_go(supervisor, count):
        for _ in range(count):
            await supervisor.start_child(ChildSpec("brief", brief, **FLEETING))
            while supervisor.counts().specs > 1:
                await trio.lowlevel.checkpoint()
        await wait_all_tasks_blocked()
        gc.collect()
        return len(gc.get_objects()), trio.lowlevel.current_statistics().tasks_living

    stays = ChildSpec("stays", trio.sleep_forever, **FLEETING)
    async with open_supervisor([stays], auto_shutdown=ALL) as supervisor:
        objects, tasks = await come_and_go(supervisor, 1_000)
        more_objects, more_tasks = await come_and_go(supervisor, 9_000)
    assert more_tasks == tasks
    assert more_objects - objects < 500
