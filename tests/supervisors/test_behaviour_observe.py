"""What a tree tells about itself (O1, O6): events, one per happening, and the tree as data and as a picture."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from supervisors import (
    AutoShutdown,
    AutoShutdownBegan,
    ChildCrashed,
    ChildFinished,
    ChildQuarantined,
    ChildRestarting,
    ChildRevived,
    ChildSpec,
    ChildStarted,
    ChildStopped,
    DrainBegan,
    DrainEnded,
    LimitExceeded,
    OnLimit,
    Restart,
    RestartLimit,
    RestartLimitExceeded,
    Strategy,
    open_pool,
    open_supervisor,
)


async def told(events):
    """What was told since the last look."""
    heard = []
    with trio.move_on_after(0.001):
        async for event in events:
            heard.append(event)  # noqa: PERF401  the deadline cuts it off
    return heard


def kinds(heard):
    return [(type(event).__name__, getattr(event, "child", None)) for event in heard]


# ---- O1: events


async def test_O1_a_crash_its_restart_and_the_new_start_are_one_event_each(puppet):
    a = puppet("a")
    async with (
        open_supervisor([a.spec()], name="top", backoff=lambda _: 2.0) as supervisor,
        supervisor.events() as events,
    ):
        error = await a.crashes()
        await trio.sleep(3)
        crashed, restarting, started = await told(events)
    assert crashed == ChildCrashed("top", 0.0, "a", 1, error, starting=False)
    assert isinstance(restarting, ChildRestarting)
    assert (restarting.at, restarting.child, restarting.incarnation) == (0.0, "a", 1)
    assert (restarting.delay, restarting.attempt, restarting.restarts) == (2.0, 1, 1)
    assert started == ChildStarted("top", 2.0, "a", 2)


async def test_O1_events_come_in_the_order_in_which_things_happened():
    async def eager(*, task_status):
        task_status.started()
        raise ArithmeticError

    limit = RestartLimit(2, 5)
    async with open_pool(limit=limit) as pool, pool.events() as events:
        await pool.start_child(eager, name="a")
        await wait_all_tasks_blocked()
        heard = await told(events)
    assert [(type(event).__name__, event.incarnation) for event in heard] == [
        ("ChildStarted", 1),
        ("ChildCrashed", 1),
        ("ChildRestarting", 1),
        ("ChildStarted", 2),
        ("ChildCrashed", 2),
        ("ChildRestarting", 2),
        ("ChildStarted", 3),
        ("ChildCrashed", 3),
        ("ChildQuarantined", 3),
    ]


async def test_O1_a_group_restart_names_the_group(puppet):
    a, b, c = puppet.cast("a b c")
    specs = [p.spec() for p in (a, b, c)]
    async with open_supervisor(specs, strategy=Strategy.REST_FOR_ONE) as supervisor, supervisor.events() as events:
        await b.crashes()
        heard = await told(events)
    (restarting,) = [event for event in heard if isinstance(event, ChildRestarting)]
    assert "c" in restarting.group
    assert "a" not in restarting.group
    assert kinds(heard) == [
        ("ChildCrashed", "b"),
        ("ChildRestarting", "b"),
        ("ChildStopped", "c"),
        ("ChildStarted", "b"),
        ("ChildStarted", "c"),
    ]


async def test_O1_a_failed_start_is_a_crash_while_starting(puppet, boom):
    a = puppet("a")
    async with open_supervisor([a.spec()]) as supervisor, supervisor.events() as events:
        error = boom()
        a.fails.append(error)
        await a.crashes()
        heard = [event for event in await told(events) if isinstance(event, ChildCrashed)]
    assert [(event.error is error, event.starting) for event in heard] == [(False, False), (True, True)]


async def test_O1_an_end_and_a_stop_are_told_apart(puppet):
    a, b = puppet.cast("a b")
    specs = [p.spec(restart=Restart.TRANSIENT) for p in (a, b)]
    async with open_supervisor(specs) as supervisor, supervisor.events() as events:
        await a.ends()
        await supervisor.stop_child("b")
        finished, stopped = await told(events)
    assert isinstance(finished, ChildFinished)
    assert isinstance(stopped, ChildStopped)
    assert (finished.child, stopped.child, stopped.error) == ("a", "b", None)


async def test_O1_an_error_while_being_stopped_goes_with_the_stop(puppet, boom):
    error = boom()
    async with open_supervisor([puppet("a", dying_error=error).spec()]) as supervisor, supervisor.events() as events:
        await supervisor.stop_child("a")
        (stopped,) = await told(events)
    assert isinstance(stopped, ChildStopped)
    assert stopped.error is error


async def test_O1_a_quarantine_and_a_revival_are_one_event_each(puppet):
    a = puppet("a")
    async with open_pool(limit=RestartLimit(0, 5), name="crowd") as pool:
        await pool.start_child(a.run, name="a")
        async with pool.events() as events:
            error = await a.crashes()
            await pool.revive_child("a")
            heard = await told(events)
    assert kinds(heard) == [
        ("ChildCrashed", "a"),
        ("ChildQuarantined", "a"),
        ("ChildRevived", "a"),
        ("ChildStarted", "a"),
    ]
    quarantined = heard[1]
    assert isinstance(quarantined, ChildQuarantined)
    assert (quarantined.supervisor, quarantined.error, quarantined.history) == ("crowd", error, (0.0,))
    assert isinstance(heard[2], ChildRevived)


async def test_O1_a_drain_is_told_with_its_report(puppet):
    async with open_supervisor([puppet("a").spec()]) as supervisor, supervisor.events() as events:
        report = await supervisor.drain()
        heard = await told(events)
    assert [type(event) for event in heard] == [DrainBegan, ChildStopped, DrainEnded]
    assert heard[-1].report is report


async def test_O1_an_auto_shutdown_names_the_child_that_caused_it(puppet):
    a = puppet("a")
    heard = []

    async def listen(supervisor, *, task_status):
        async with supervisor.events() as events:
            task_status.started()
            async for event in events:
                heard.append(event)  # noqa: PERF401  it must be seen as it comes

    async with trio.open_nursery() as nursery:
        spec = a.spec(restart=Restart.TRANSIENT, significant=True)
        async with open_supervisor([spec], auto_shutdown=AutoShutdown.ANY_SIGNIFICANT) as supervisor:
            await nursery.start(listen, supervisor)
            await a.ends()
    began = [event for event in heard if isinstance(event, AutoShutdownBegan)]
    assert [event.child for event in began] == ["a"]


@pytest.mark.parametrize("kept_by", ["supervisor", "pool"])
async def test_O1_giving_up_is_told_with_cause_and_history_and_ends_the_events(puppet, kept_by):
    a, heard, error = puppet("a"), [], ArithmeticError()

    async def listen(keeper, *, task_status):
        async with keeper.events() as events:
            task_status.started()
            async for event in events:
                heard.append(event)  # noqa: PERF401  it must be seen as it comes

    limit = RestartLimit(1, 5)
    async with trio.open_nursery() as nursery:
        with pytest.raises(RestartLimitExceeded):
            if kept_by == "supervisor":
                async with open_supervisor([a.spec()], limit=limit) as supervisor:
                    await nursery.start(listen, supervisor)
                    await a.crashes()
                    await a.crashes(error)
            else:
                async with open_pool(limit=limit, on_limit=OnLimit.ESCALATE) as pool:
                    await nursery.start(listen, pool)
                    await pool.start_child(a.run, name="a")
                    await a.crashes()
                    await a.crashes(error)
    (exceeded,) = [event for event in heard if isinstance(event, LimitExceeded)]
    assert (exceeded.child, exceeded.error, exceeded.history) == ("a", error, (0.0, 0.0))


async def test_O1_events_are_frozen(puppet):
    async with open_supervisor([puppet("a").spec()]) as supervisor, supervisor.events() as events:
        await supervisor.stop_child("a")
        (event,) = await told(events)
        with pytest.raises(AttributeError):
            event.child = "b"


async def test_O1_each_reader_hears_everything_from_its_beginning_on(puppet):
    async with open_supervisor([p.spec() for p in puppet.cast("a b")]) as supervisor, supervisor.events() as first:
        await supervisor.stop_child("a")
        async with supervisor.events() as second:
            await supervisor.stop_child("b")
            assert kinds(await told(second)) == [("ChildStopped", "b")]
        assert kinds(await told(first)) == [("ChildStopped", "a"), ("ChildStopped", "b")]


async def test_O1_a_reader_that_waited_in_vain_can_go_on_reading(puppet):
    async with open_supervisor([puppet("a").spec()]) as supervisor, supervisor.events() as events:
        assert await told(events) == []
        await supervisor.stop_child("a")
        assert kinds(await told(events)) == [("ChildStopped", "a")]


async def test_O1_reading_holds_up_nobody_who_stops(puppet):
    async with trio.open_nursery() as nursery:
        async with open_supervisor([puppet("a").spec()]) as supervisor:

            async def never_reads(*, task_status):
                async with supervisor.events():
                    task_status.started()
                    await trio.sleep(100)

            await nursery.start(never_reads)
        assert trio.current_time() == 0
        nursery.cancel_scope.cancel()


# ---- O6: the tree


async def test_O6_the_tree_is_data_with_its_children_in_order(puppet):
    a, b, c = puppet.cast("a b c")
    sub = ChildSpec.supervisor("sub", [b.spec(), c.spec()])
    async with open_supervisor([a.spec(), sub], name="top") as supervisor:
        tree = supervisor.tree()
    assert tree.name == "top"
    assert [child.name for child in tree.children] == ["a", "sub"]
    assert [child.name for child in tree.children[1].children] == ["b", "c"]
    with pytest.raises(AttributeError):
        tree.name = "other"


async def test_O6_the_tree_tells_status_restarts_and_incarnation(puppet):
    a, b = puppet.cast("a b")
    async with open_supervisor([a.spec(), b.spec()]) as supervisor:
        await a.crashes()
        await supervisor.stop_child("b")
        left, right = supervisor.tree().children
    assert (left.status, left.restarts, left.incarnation) == ("running", 1, 2)
    assert (right.status, right.restarts) == ("stopped", 0)


async def test_O6_the_picture_has_a_line_for_each_with_box_characters(puppet):
    a, b, c = puppet.cast("a b c")
    sub = ChildSpec.supervisor("sub", [b.spec()])
    async with open_supervisor([a.spec(), sub, c.spec()], name="top") as supervisor:
        await a.crashes()
        lines = str(supervisor.tree()).splitlines()
    assert len(lines) == 5
    assert lines[0].startswith("top")
    assert lines[1].startswith("├─ a")
    assert lines[2].startswith("├─ sub")
    assert lines[3].startswith("│  └─ b")
    assert lines[4].startswith("└─ c")
    assert "running" in lines[1]
    assert "1" in lines[1]


async def test_O6_a_pool_has_a_tree_too(puppet):
    a = puppet("a")
    async with open_pool(name="crowd") as pool:
        await pool.start_child(a.run, name="a")
        tree = pool.tree()
        assert (tree.name, [child.name for child in tree.children]) == ("crowd", ["a"])
        assert "└─ a" in str(tree)


async def test_O6_embedded_supervisors_and_pools_hang_where_their_value_says(puppet):
    from contextlib import asynccontextmanager

    @asynccontextmanager
    async def open_crowd():
        async with open_pool(name="inside") as pool:
            await pool.start_child(puppet("member").run, name="member")
            yield pool

    async with open_supervisor([ChildSpec.resource("crowd", open_crowd)]) as supervisor:
        (crowd,) = supervisor.tree().children
        assert (crowd.name, [child.name for child in crowd.children]) == ("crowd", ["member"])


async def test_O6_a_tree_is_a_picture_of_its_moment(puppet):
    a = puppet("a")
    async with open_supervisor([a.spec()]) as supervisor:
        before = supervisor.tree()
        await supervisor.stop_child("a")
        await wait_all_tasks_blocked()
        assert before.children[0].status == "running"
        assert supervisor.tree().children[0].status == "stopped"
