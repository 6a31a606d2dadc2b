"""Life cycle and specs (L1 to L13): what a child spec is, how a tree comes up, and what calls answer when."""

from __future__ import annotations

import math
import pickle
from contextlib import asynccontextmanager
from functools import partial, wraps

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from supervisors import (
    AutoShutdown,
    ChildNotStopped,
    ChildSpec,
    ChildStartError,
    ChildStatus,
    DuplicateChild,
    PoolFull,
    Restart,
    RestartLimit,
    RestartLimitExceeded,
    Strategy,
    SupervisorClosed,
    UnknownChild,
    open_pool,
    open_supervisor,
    value_of,
)


async def idle():
    await trio.sleep_forever()


def causes(error):
    while error:
        yield error
        error = error.__cause__


# ---- L1 to L4: specs


def test_L1_a_spec_shows_its_defaults():
    spec = ChildSpec("a", idle)
    assert (spec.name, spec.run, spec.args) == ("a", idle, ())
    assert (spec.restart, spec.shutdown, spec.significant) == (Restart.PERMANENT, 5.0, False)


def test_L1_a_spec_shows_what_it_was_given():
    spec = ChildSpec("a", trio.sleep, 3, restart=Restart.TEMPORARY, shutdown=1, significant=True)
    assert (spec.run, spec.args) == (trio.sleep, (3,))
    assert (spec.restart, spec.shutdown, spec.significant) == (Restart.TEMPORARY, 1, True)


def test_L1_a_child_supervisor_has_no_deadline_of_its_own():
    assert ChildSpec.supervisor("sub", []).shutdown == math.inf


def test_L1_a_restart_limit_defaults_to_three_in_five_seconds():
    assert RestartLimit() == RestartLimit(3, 5.0)


def test_L1_a_spec_cannot_be_changed():
    spec = ChildSpec("a", idle)
    with pytest.raises(AttributeError):
        spec.name = "b"


def test_L1_a_limit_survives_pickling():
    assert pickle.loads(pickle.dumps(RestartLimit(7, 2.0))) == RestartLimit(7, 2.0)


BAD_FIELDS = {
    "name": [lambda: ChildSpec("", idle), lambda: ChildSpec(7, idle)],
    "run": [lambda: ChildSpec("a", "idle"), lambda: ChildSpec("a", None)],
    "restart": [lambda: ChildSpec("a", idle, restart="permanent"), lambda: ChildSpec("a", idle, restart=True)],
    "shutdown": [
        lambda: ChildSpec("a", idle, shutdown=-1),
        lambda: ChildSpec("a", idle, shutdown=math.nan),
        lambda: ChildSpec("a", idle, shutdown="5"),
    ],
    "significant": [lambda: ChildSpec("a", idle, restart=Restart.TEMPORARY, significant="yes")],
    "restarts": [lambda: RestartLimit(restarts=-1), lambda: RestartLimit(restarts=2.5), lambda: RestartLimit("3")],
    "period": [lambda: RestartLimit(period=0), lambda: RestartLimit(period=-1), lambda: RestartLimit(period=math.nan)],
    "strategy": [lambda: ChildSpec.supervisor("sub", [], strategy="one_for_all")],
    "limit": [lambda: ChildSpec.supervisor("sub", [], limit=3)],
    "backoff": [lambda: ChildSpec.supervisor("sub", [], backoff="slowly")],
    "auto_shutdown": [lambda: ChildSpec.supervisor("sub", [], auto_shutdown=True)],
}


@pytest.mark.parametrize(
    ("field", "make"),
    [
        pytest.param(field, make, id=f"{field}{n}")
        for field, makes in BAD_FIELDS.items()
        for n, make in enumerate(makes)
    ],
)
def test_L2_a_bad_field_is_refused_by_name_where_it_was_written(field, make):
    with pytest.raises((TypeError, ValueError), match=field):
        make()


def test_L2_a_coroutine_instead_of_its_function_is_refused():
    started = idle()
    with pytest.raises(TypeError, match="run"):
        ChildSpec("a", started)
    started.close()


@pytest.mark.parametrize(
    ("field", "options"),
    [
        ("strategy", {"strategy": "one_for_all"}),
        ("limit", {"limit": (3, 5)}),
        ("backoff", {"backoff": 5}),
        ("auto_shutdown", {"auto_shutdown": "never"}),
        ("name", {"name": ""}),
    ],
)
async def test_L2_open_supervisor_names_the_bad_option(field, options):
    with pytest.raises((TypeError, ValueError), match=field):
        async with open_supervisor([], **options):
            pytest.fail("opened")


@pytest.mark.parametrize(
    ("field", "options"),
    [("max_children", {"max_children": -1}), ("limit", {"limit": 3}), ("on_limit", {"on_limit": "escalate"})],
)
async def test_L2_open_pool_names_the_bad_option(field, options):
    with pytest.raises((TypeError, ValueError), match=field):
        async with open_pool(**options):
            pytest.fail("opened")


async def test_L2_something_else_than_a_spec_is_refused_before_anything_starts(puppet, trace):
    a = puppet("a")
    with pytest.raises(TypeError, match="ChildSpec"):
        async with open_supervisor([a.spec(), idle]):
            pytest.fail("opened")
    assert not trace


@pytest.mark.parametrize("asked", ["later", "nobody"])
async def test_L2_a_value_can_only_be_asked_of_an_earlier_sibling(puppet, trace, asked):
    first, asking, later = puppet.cast("first asking later")
    with pytest.raises(ValueError, match=asked):
        async with open_supervisor([first.spec(), asking.spec(value_of(asked, int)), later.spec()]):
            pytest.fail("opened")
    assert not trace


def test_L3_an_unknown_key_is_refused():
    with pytest.raises(TypeError, match="colour"):
        ChildSpec("a", idle, colour="red")


def test_L3_an_unknown_key_of_a_child_supervisor_is_refused():
    with pytest.raises(TypeError, match="colour"):
        ChildSpec.supervisor("sub", [], colour="red")


async def test_L4_two_children_of_one_name_are_refused_before_anything_starts(puppet, trace):
    with pytest.raises(DuplicateChild, match="twin"):
        async with open_supervisor([puppet("a").spec(), puppet("twin").spec(), puppet("twin").spec()]):
            pytest.fail("opened")
    assert not trace


async def test_L4_a_taken_name_is_refused_at_run_time_and_the_first_lives_on(puppet):
    a, again = puppet("a"), puppet("a")
    async with open_supervisor([a.spec()]) as supervisor:
        with pytest.raises(DuplicateChild, match="a"):
            await supervisor.start_child(again.spec())
        assert (a.alive, again.starts) == (1, 0)


async def test_L4_the_name_of_a_stopped_child_is_still_taken(puppet):
    a, again = puppet("a"), puppet("a")
    async with open_supervisor([a.spec()]) as supervisor:
        await supervisor.stop_child("a")
        with pytest.raises(DuplicateChild):
            await supervisor.start_child(again.spec())


async def test_L4_a_pool_refuses_a_taken_name(puppet):
    a, again = puppet("a"), puppet("a")
    async with open_pool() as pool:
        await pool.start_child(a.run, name="a")
        with pytest.raises(DuplicateChild):
            await pool.start_child(again.run, name="a")


async def test_L4_a_pool_names_its_children_when_nobody_else_does(puppet):
    async with open_pool() as pool:
        names = {(await pool.start_child(p.run)).name for p in puppet.cast("a b c")}
        assert len(names) == 3
        assert names == {info.name for info in pool.children()}


# ---- L5 to L7: coming up


async def test_L5_children_start_in_order_and_stop_in_reverse(puppet, trace):
    async with open_supervisor([p.spec() for p in puppet.cast("delta alpha echo bravo charlie")]):
        assert trace.take() == "+delta +alpha +echo +bravo +charlie"
    assert trace.take() == "-charlie -bravo -echo -alpha -delta"


async def test_L5_each_child_is_gone_before_the_next_is_stopped(puppet, trace):
    cast = puppet.cast("delta alpha echo bravo charlie", dying_seconds=0.5)
    async with open_supervisor([p.spec() for p in cast]):
        trace.clear()
    assert trace.take() == "-charlie -bravo -echo -alpha -delta"
    assert trio.current_time() == pytest.approx(2.5)


async def test_L5_children_added_later_stop_first(puppet, trace):
    async with open_supervisor([p.spec() for p in puppet.cast("b a")]) as supervisor:
        await supervisor.start_child(puppet("c").spec())
        assert [info.name for info in supervisor.children()] == ["b", "a", "c"]
        trace.clear()
    assert trace.take() == "-c -a -b"


async def test_L5_a_nested_tree_starts_depth_first_and_stops_the_other_way_round(puppet, trace):
    a, b, c, d = puppet.cast("a b c d")
    specs = [a.spec(), ChildSpec.supervisor("sub", [b.spec(), c.spec()]), d.spec()]
    async with open_supervisor(specs):
        assert trace.take() == "+a +b +c +d"
    assert trace.take() == "-d -c -b -a"


async def test_L6_when_the_third_fails_to_start_the_first_two_stop_in_reverse(puppet, trace, boom):
    cast = puppet.cast("a b c d", dying_seconds=0.5)
    cast[2].fails.append(boom())
    with pytest.raises(ChildStartError):
        async with open_supervisor([p.spec() for p in cast]):
            pytest.fail("opened")
    assert trace.take() == "+a +b +c -c -b -a"


async def test_L6_a_start_error_names_the_child_and_keeps_its_cause(puppet, boom):
    a, error = puppet("the-broken-one"), boom("no disk")
    a.fails.append(error)
    with pytest.raises(ChildStartError, match="the-broken-one") as caught:
        async with open_supervisor([a.spec()]):
            pytest.fail("opened")
    assert caught.value.__cause__ is error


async def test_L6_the_cause_chain_goes_down_through_nested_supervisors(puppet, boom):
    a, error = puppet("a"), boom()
    a.fails.append(error)
    inner = ChildSpec.supervisor("inner", [a.spec()])
    with pytest.raises(ChildStartError, match="outer") as caught:
        async with open_supervisor([ChildSpec.supervisor("outer", [inner])]):
            pytest.fail("opened")
    assert error in causes(caught.value)


async def test_L6_a_failed_first_start_is_not_tried_again(puppet, boom):
    a = puppet("a", fails=[boom()])
    with pytest.raises(ChildStartError):
        async with open_supervisor([a.spec()], limit=RestartLimit(10, 10)):
            pytest.fail("opened")
    assert a.starts == 1


async def test_L7_the_supervisor_is_ready_when_all_its_children_are(puppet):
    async with open_supervisor([puppet("a", start_seconds=3.0).spec(), puppet("b", start_seconds=2.0).spec()]):
        assert trio.current_time() == pytest.approx(5.0)


async def test_L7_a_child_starts_when_the_one_before_is_ready(puppet):
    a, b = puppet("a", start_seconds=3.0), puppet("b")
    async with open_supervisor([a.spec(), b.spec()]):
        assert b.started_at == [pytest.approx(3.0)]


async def test_L7_a_child_without_task_status_is_ready_at_its_first_checkpoint():
    seen = []

    async def plain():
        seen.append("before")
        await trio.sleep(1)
        seen.append("after")
        await trio.sleep_forever()

    async with open_supervisor([ChildSpec("plain", plain)]) as supervisor:
        assert seen == ["before"]
        assert trio.current_time() == 0
        assert supervisor.child("plain").status is ChildStatus.RUNNING


async def test_L7_a_child_that_raises_before_its_first_checkpoint_has_not_started(boom):
    async def broken():
        raise boom("at once")

    with pytest.raises(ChildStartError, match="plain"):
        async with open_supervisor([ChildSpec("plain", broken)]):
            pytest.fail("opened")


async def test_L7_a_child_that_returns_without_saying_started_has_not_started():
    async def forgetful(*, task_status):
        await trio.sleep(1)

    with pytest.raises(ChildStartError, match=r"forgetful.*task_status\.started"):
        async with open_supervisor([ChildSpec("forgetful", forgetful)]):
            pytest.fail("opened")


async def test_L7_exits_of_ready_children_wait_until_all_are_ready(trace, puppet):
    async def hasty(*, task_status):
        trace.append("+hasty")
        task_status.started()

    slow = puppet("slow", start_seconds=4.0)
    specs = [ChildSpec("hasty", hasty, restart=Restart.TRANSIENT), slow.spec()]
    async with open_supervisor(specs, strategy=Strategy.ONE_FOR_ALL, auto_shutdown=AutoShutdown.NEVER) as supervisor:
        assert trio.current_time() == pytest.approx(4.0)
        assert trace.take() == "+hasty +slow"
        await wait_all_tasks_blocked()
        assert supervisor.child("hasty").status is ChildStatus.FINISHED


async def test_L7_a_child_that_crashes_while_later_ones_start_is_restarted_when_they_have(trace, puppet, boom):
    async def shaky(*, task_status):
        trace.append("+shaky")
        task_status.started()
        if trio.current_time() < 1:
            raise boom
        await trio.sleep_forever()

    slow = puppet("slow", start_seconds=4.0)
    async with open_supervisor([ChildSpec("shaky", shaky), slow.spec()]):
        await wait_all_tasks_blocked()
        assert trace.take() == "+shaky +slow +shaky"


class Startable:
    async def __call__(self, name, *, task_status):
        await trio.sleep(1)
        task_status.started(name)
        await trio.sleep_forever()

    async def method(self, name, *, task_status):
        await self(name, task_status=task_status)


def decorated(function):
    @wraps(function)
    async def wrapper(*args, **kwargs):
        await function(*args, **kwargs)

    return wrapper


READY_AFTER_A_SECOND = {
    "object": Startable(),
    "method": Startable().method,
    "partial": partial(Startable().method),
    "decorated": decorated(Startable().method),
}


@pytest.mark.parametrize("run", READY_AFTER_A_SECOND.values(), ids=READY_AFTER_A_SECOND)
async def test_L7_whatever_can_be_called_with_task_status_says_itself_when_it_is_ready(run):
    async with open_supervisor([ChildSpec("a", run, "x")]) as supervisor:
        assert trio.current_time() == pytest.approx(1)
        assert supervisor.child("a").value == "x"


async def test_L7_saying_started_twice_is_the_childs_own_fault():
    async def twice(*, task_status):
        task_status.started()
        task_status.started()

    with pytest.raises(RestartLimitExceeded) as caught:
        async with open_supervisor([ChildSpec("twice", twice)], limit=RestartLimit(1, 5)):
            await trio.sleep_forever()
    assert isinstance(caught.value.__cause__, RuntimeError)


async def test_L7_the_value_given_at_started_is_the_childs(puppet):
    async with open_supervisor([puppet("a").spec()]) as supervisor:
        assert supervisor.child("a").value == 1


async def test_L7_a_resource_is_ready_when_it_is_open_and_its_value_is_what_it_yields(trace):
    @asynccontextmanager
    async def open_db(dsn):
        await trio.sleep(2)
        trace.append("open")
        yield f"db at {dsn}"
        trace.append("closed")

    async def consume(db, *, task_status):
        trace.append(db)
        task_status.started()
        try:
            await trio.sleep_forever()
        finally:
            trace.append("consumer gone")

    specs = [ChildSpec.resource("db", open_db, "here"), ChildSpec("consumer", consume, value_of("db", str))]
    async with open_supervisor(specs) as supervisor:
        assert supervisor.child("db").value == "db at here"
    assert trace == ["open", "db at here", "consumer gone", "closed"]


async def test_L7_a_child_added_later_can_use_the_value_of_an_earlier_one(puppet):
    a, b = puppet.cast("a b")
    async with open_supervisor([a.spec()]) as supervisor:
        await supervisor.start_child(b.spec(value_of("a", int)))
        assert b.args == (1,)


async def test_L7_children_see_the_context_in_which_the_supervisor_was_opened():
    import contextvars

    who = contextvars.ContextVar("who", default="nobody")
    seen = []

    async def look(*, task_status):
        seen.append(who.get())
        task_status.started()
        await trio.sleep_forever()

    who.set("opener")
    async with open_supervisor([ChildSpec("first", look)]) as supervisor, open_pool() as pool:
        who.set("caller")
        await supervisor.start_child(ChildSpec("second", look))
        await pool.start_child(look)
    assert seen == ["opener"] * 3


async def test_L7_what_a_child_sets_in_its_context_is_its_own():
    import contextvars

    who = contextvars.ContextVar("who", default="nobody")
    seen = []

    async def mark(name, *, task_status):
        seen.append(who.get())
        who.set(name)
        task_status.started()
        await trio.sleep_forever()

    async with open_supervisor([ChildSpec("a", mark, "a"), ChildSpec("b", mark, "b")]):
        assert seen == ["nobody", "nobody"]
        assert who.get() == "nobody"


# ---- L8: calls and their order


async def test_L8_stopping_twice_is_the_same_as_once(puppet):
    a = puppet("a")
    async with open_supervisor([a.spec()]) as supervisor:
        await supervisor.stop_child("a")
        await supervisor.stop_child("a")
        assert supervisor.child("a").status is ChildStatus.STOPPED


async def test_L8_two_at_once_who_stop_a_child_both_wait_for_its_end(puppet, nursery):
    a = puppet("a", dying_seconds=0.5)
    ended = []

    async def stop(supervisor):
        await supervisor.stop_child("a")
        ended.append((trio.current_time(), a.alive))

    async with open_supervisor([a.spec()]) as supervisor:
        nursery.start_soon(stop, supervisor)
        nursery.start_soon(stop, supervisor)
        await trio.sleep(1)
        assert ended == [(pytest.approx(0.5), 0)] * 2


async def test_L8_cancelling_stop_child_ends_the_waiting_and_not_the_stopping(puppet):
    a = puppet("a", dying_seconds=0.8)
    async with open_supervisor([a.spec()]) as supervisor:
        with trio.move_on_after(0.2):
            await supervisor.stop_child("a")
        assert trio.current_time() == pytest.approx(0.2)
        assert supervisor.child("a").status is ChildStatus.STOPPING
        await trio.sleep(1)
        assert supervisor.child("a").status is ChildStatus.STOPPED


async def test_L8_a_stopped_child_keeps_its_spec_and_can_be_restarted(puppet):
    a = puppet("a")
    async with open_supervisor([a.spec()]) as supervisor:
        await supervisor.stop_child("a")
        await supervisor.restart_child("a")
        assert supervisor.child("a").status is ChildStatus.RUNNING
        assert a.starts == 2


async def test_L8_a_running_child_can_be_neither_deleted_nor_restarted(puppet):
    a = puppet("a")
    async with open_supervisor([a.spec()]) as supervisor:
        with pytest.raises(ChildNotStopped, match="a"):
            supervisor.delete_child("a")
        with pytest.raises(ChildNotStopped, match="a"):
            await supervisor.restart_child("a")
        assert a.starts == a.alive == 1


async def test_L8_a_deleted_child_is_unknown_and_its_name_free(puppet):
    a = puppet("a")
    async with open_supervisor([a.spec()]) as supervisor:
        await supervisor.stop_child("a")
        supervisor.delete_child("a")
        with pytest.raises(UnknownChild, match="a"):
            supervisor.child("a")
        await supervisor.start_child(a.spec())
        assert supervisor.child("a").status is ChildStatus.RUNNING


async def test_L8_a_finished_child_can_be_restarted_and_deleted(puppet):
    a = puppet("a")
    async with open_supervisor([a.spec(restart=Restart.TRANSIENT)]) as supervisor:
        await a.ends()
        await supervisor.restart_child("a")
        await a.ends()
        supervisor.delete_child("a")
        assert supervisor.children() == ()


async def test_L8_a_failed_restart_leaves_the_spec_failed_and_tells_the_caller(puppet, boom):
    a = puppet("a")
    async with open_supervisor([a.spec()]) as supervisor:
        await supervisor.stop_child("a")
        error = boom()
        a.fails.append(error)
        with pytest.raises(ChildStartError) as caught:
            await supervisor.restart_child("a")
        assert caught.value.__cause__ is error
        assert supervisor.child("a").status is ChildStatus.FAILED
        await supervisor.restart_child("a")
        assert supervisor.child("a").status is ChildStatus.RUNNING


@pytest.mark.parametrize("call", ["stop_child", "restart_child", "delete_child", "child"])
async def test_L8_an_unknown_name_is_its_own_error(call):
    async with open_supervisor([]) as supervisor:
        with pytest.raises(UnknownChild, match="ghost"):
            result = getattr(supervisor, call)("ghost")
            await result


@pytest.mark.parametrize("call", ["stop_child", "revive_child", "child"])
async def test_L8_a_name_unknown_to_a_pool_is_its_own_error(call):
    async with open_pool() as pool:
        with pytest.raises(UnknownChild, match="ghost"):
            result = getattr(pool, call)("ghost")
            await result


async def test_L8_a_pool_forgets_a_child_that_was_stopped(puppet):
    async with open_pool() as pool:
        await pool.start_child(puppet("a").run, name="a")
        await pool.stop_child("a")
        assert pool.children() == ()


# ---- L9: closed supervisors, and calls that wait for nobody else


async def test_L9_calls_to_a_closed_supervisor_fail_at_once(puppet):
    async with open_supervisor([puppet("a").spec()]) as supervisor:
        pass
    with pytest.raises(SupervisorClosed):
        await supervisor.start_child(puppet("b").spec())
    with pytest.raises(SupervisorClosed):
        await supervisor.restart_child("a")


async def test_L9_a_closed_pool_starts_nothing(puppet):
    async with open_pool() as pool:
        pass
    with pytest.raises(SupervisorClosed):
        await pool.start_child(puppet("b").run)


async def test_L9_a_draining_supervisor_starts_nothing(puppet, nursery):
    a, b = puppet("a", work_seconds=2.0), puppet("b")
    async with open_supervisor([a.spec()]) as supervisor:
        nursery.start_soon(supervisor.drain)
        await trio.sleep(1)
        with pytest.raises(SupervisorClosed):
            await supervisor.start_child(b.spec())
        assert trio.current_time() == pytest.approx(1)


async def test_L9_a_call_waits_for_no_other_childs_slow_start(puppet, nursery):
    slow, fast, old = puppet("slow", start_seconds=100.0), puppet("fast"), puppet("old")
    async with open_supervisor([old.spec()]) as supervisor:
        nursery.start_soon(supervisor.start_child, slow.spec())
        await wait_all_tasks_blocked()
        await supervisor.start_child(fast.spec())
        await supervisor.stop_child("old")
        await supervisor.restart_child("old")
        assert trio.current_time() == 0
        await supervisor.stop_child("old")
        nursery.cancel_scope.cancel()


async def test_L9_a_call_waits_for_no_other_childs_slow_death(puppet, nursery):
    slow = puppet("slow", dying_seconds=0.9)
    async with open_supervisor([slow.spec()]) as supervisor:
        nursery.start_soon(supervisor.stop_child, "slow")
        await wait_all_tasks_blocked()
        await supervisor.start_child(puppet("fast").spec())
        assert trio.current_time() == 0


async def test_L9_a_call_waits_for_no_other_childs_backoff(puppet):
    a = puppet("a")
    async with open_supervisor([a.spec()], backoff=lambda _: 100.0) as supervisor:
        await a.crashes()
        await supervisor.start_child(puppet("b").spec())
        assert supervisor.child("a").status is ChildStatus.BACKING_OFF
        assert trio.current_time() == 0


async def test_L9_a_child_that_starts_a_sibling_before_it_is_ready_does_not_wait_for_itself(puppet):
    sibling = puppet("sibling")
    box = []

    async def elder(*, task_status):
        await box[0].start_child(sibling.spec())
        task_status.started()
        await trio.sleep_forever()

    async with open_supervisor([]) as supervisor:
        box.append(supervisor)
        await supervisor.start_child(ChildSpec("elder", elder))
        assert trio.current_time() == 0
        assert {info.status for info in supervisor.children()} == {ChildStatus.RUNNING}


async def test_L9_in_a_pool_too_a_child_may_start_another_before_it_is_ready(puppet):
    async with open_pool() as pool:

        async def elder(*, task_status):
            await pool.start_child(puppet("younger").run, name="younger")
            task_status.started()
            await trio.sleep_forever()

        await pool.start_child(elder, name="elder")
        assert pool.counts().active == 2


# ---- L10 and L11: looking


async def test_L10_the_listing_shows_what_each_child_is_doing(puppet, nursery, boom):
    running, waiting, leaving, stopped, finished, broken, starting = puppet.cast(
        "run wait leave stop finish break start"
    )
    leaving.dying_seconds = 0.9
    transient = finished.spec(restart=Restart.TRANSIENT)
    specs = [running.spec(), waiting.spec(), leaving.spec(), stopped.spec(), transient, broken.spec()]
    async with open_supervisor(specs, backoff=lambda _: 50.0) as supervisor:
        await waiting.crashes()
        nursery.start_soon(supervisor.stop_child, "leave")
        await supervisor.stop_child("stop")
        await finished.ends()
        await supervisor.stop_child("break")
        broken.fails.append(boom())
        with pytest.raises(ChildStartError):
            await supervisor.restart_child("break")
        starting.start_seconds = 0.5
        nursery.start_soon(supervisor.start_child, starting.spec())
        await wait_all_tasks_blocked()
        assert {info.name: info.status for info in supervisor.children()} == {
            "run": ChildStatus.RUNNING,
            "wait": ChildStatus.BACKING_OFF,
            "leave": ChildStatus.STOPPING,
            "stop": ChildStatus.STOPPED,
            "finish": ChildStatus.FINISHED,
            "break": ChildStatus.FAILED,
            "start": ChildStatus.STARTING,
        }
        await trio.sleep(0.6)


async def test_L10_during_a_group_restart_those_who_wait_for_it_show_as_backing_off(puppet):
    a, b, c = puppet("a"), puppet("b", dying_seconds=0.9), puppet("c")
    specs = [p.spec() for p in (a, b, c)]
    async with open_supervisor(specs, strategy=Strategy.ONE_FOR_ALL) as supervisor:
        await a.crashes()
        statuses = [info.status for info in supervisor.children()]
        assert statuses == [ChildStatus.BACKING_OFF, ChildStatus.STOPPING, ChildStatus.BACKING_OFF]
        with pytest.raises(ChildNotStopped, match="c"):
            supervisor.delete_child("c")
        await trio.sleep(1)
        assert {info.status for info in supervisor.children()} == {ChildStatus.RUNNING}


async def test_L10_a_pool_child_over_its_budget_shows_as_quarantined(puppet):
    a = puppet("a")
    async with open_pool(limit=RestartLimit(0, 5)) as pool:
        await pool.start_child(a.run, name="a")
        await a.crashes()
        assert pool.child("a").status is ChildStatus.QUARANTINED


async def test_L10_an_info_tells_incarnation_restarts_and_the_last_error(puppet):
    a = puppet("a")
    async with open_supervisor([a.spec()]) as supervisor:
        first = supervisor.child("a")
        error = await a.crashes()
        second = supervisor.child("a")
    assert (first.restarts, first.last_error) == (0, None)
    assert (second.restarts, second.last_error) == (1, error)
    assert second.incarnation == first.incarnation + 1
    assert (first.value, second.value) == (1, 2)


async def test_L10_an_info_is_a_frozen_picture(puppet):
    async with open_supervisor([puppet("a").spec()]) as supervisor:
        info = supervisor.child("a")
        with pytest.raises(AttributeError):
            info.status = ChildStatus.STOPPED
        await supervisor.stop_child("a")
        assert info.status is ChildStatus.RUNNING


async def test_L10_a_child_that_is_not_running_has_no_value(puppet):
    async with open_supervisor([puppet("a").spec()]) as supervisor:
        await supervisor.stop_child("a")
        assert supervisor.child("a").value is None


async def test_L11_counts_tell_specs_active_supervisors_and_workers(puppet):
    specs = [puppet("a").spec(), puppet("b").spec(), ChildSpec.supervisor("sub", [puppet("c").spec()])]
    async with open_supervisor(specs) as supervisor:
        await supervisor.stop_child("b")
        counts = supervisor.counts()
    assert (counts.specs, counts.active, counts.supervisors, counts.workers) == (3, 2, 1, 2)


async def test_L11_counts_are_right_at_two_thousand_children_of_which_some_restart(boom):
    failing = trio.Event()

    async def worker(number):
        if number % 4 == 0:
            await failing.wait()
            raise boom
        await trio.sleep_forever()

    specs = [ChildSpec(f"w{n}", worker, n) for n in range(2000)]
    async with open_supervisor(specs, backoff=lambda _: 10.0, limit=RestartLimit(1000, 60)) as supervisor:
        assert (supervisor.counts().specs, supervisor.counts().active) == (2000, 2000)
        failing.set()
        await wait_all_tasks_blocked()
        statuses = [info.status for info in supervisor.children()]
        assert statuses.count(ChildStatus.BACKING_OFF) == 500
        assert (supervisor.counts().specs, supervisor.counts().active) == (2000, 1500)
        failing = trio.Event()
        await trio.sleep(11)
        assert (supervisor.counts().specs, supervisor.counts().active) == (2000, 2000)


async def test_L11_a_pool_counts_two_thousand_children():
    async with open_pool() as pool:
        for _ in range(2000):
            await pool.start_child(idle)
        counts = pool.counts()
        assert (counts.specs, counts.active, counts.workers) == (2000, 2000, 2000)
        assert len(pool.children()) == 2000


# ---- L12 and L13: starts that come to nothing


async def test_L12_cancelling_start_child_leaves_nothing_half_registered(puppet):
    a = puppet("a", start_seconds=10.0, dying_seconds=0.5)
    async with open_supervisor([]) as supervisor:
        with trio.move_on_after(1) as scope:
            await supervisor.start_child(a.spec())
        assert scope.cancelled_caught
        assert supervisor.children() == ()
        assert a.alive == 0
        a.start_seconds = 0.0
        await supervisor.start_child(a.spec())
        assert supervisor.child("a").status is ChildStatus.RUNNING


async def test_L12_cancelling_a_pools_start_child_leaves_its_place_free(puppet):
    a, b = puppet("a", start_seconds=10.0), puppet("b")
    async with open_pool(max_children=1) as pool:
        with trio.move_on_after(1) as scope:
            await pool.start_child(a.run, name="a")
        assert scope.cancelled_caught
        assert (pool.children(), a.alive) == ((), 0)
        await pool.start_child(b.run, name="b")


async def test_L12_a_caller_cancelled_beforehand_starts_nothing(puppet):
    a = puppet("a", start_seconds=1.0)
    async with open_supervisor([]) as supervisor:
        with trio.CancelScope() as scope:
            scope.cancel()
            await supervisor.start_child(a.spec())
        assert scope.cancelled_caught
        assert supervisor.children() == ()


async def test_L12_cancelling_the_opening_stops_what_is_up_in_reverse(puppet, trace):
    a, b, c = puppet("a"), puppet("b"), puppet("c", start_seconds=10.0)
    with trio.move_on_after(1):
        async with open_supervisor([a.spec(), b.spec(), c.spec()]):
            pytest.fail("opened")
    assert trace.take() == "+a +b +c -c -b -a"


async def test_L13_a_failed_start_child_leaves_no_zombie_and_tells_the_caller(puppet, boom):
    a, error = puppet("a"), boom()
    a.fails.append(error)
    async with open_supervisor([]) as supervisor:
        with pytest.raises(ChildStartError, match="a") as caught:
            await supervisor.start_child(a.spec())
        assert caught.value.__cause__ is error
        assert supervisor.children() == ()
        await supervisor.start_child(a.spec())


async def test_L13_a_failed_start_in_a_pool_leaves_no_zombie_and_tells_the_caller(puppet, boom):
    a, error = puppet("a"), boom()
    a.fails.append(error)
    async with open_pool(max_children=1) as pool:
        with pytest.raises(ChildStartError, match="a") as caught:
            await pool.start_child(a.run, name="a")
        assert caught.value.__cause__ is error
        assert (pool.children(), a.starts) == ((), 1)
        await pool.start_child(a.run, name="a")


async def test_L13_a_function_that_fails_before_it_is_a_coroutine_is_a_failed_start(boom):
    def broken():
        raise boom("not even a coroutine")

    async with open_supervisor([]) as supervisor:
        with pytest.raises(ChildStartError, match="broken"):
            await supervisor.start_child(ChildSpec("broken", broken))
        assert supervisor.children() == ()


async def test_L13_a_resource_that_cannot_be_opened_is_a_failed_start(boom):
    @asynccontextmanager
    async def open_db():
        raise boom("no such host")
        yield

    with pytest.raises(ChildStartError, match="db") as caught:
        async with open_supervisor([ChildSpec.resource("db", open_db)]):
            pytest.fail("opened")
    assert "no such host" in [str(error) for error in causes(caught.value)]


async def test_L13_stopping_a_child_that_starts_tells_who_started_it(puppet, nursery):
    a, told = puppet("a", start_seconds=10.0), []

    async def start(supervisor):
        with pytest.raises(ChildStartError, match="a"):
            await supervisor.start_child(a.spec())
        told.append(trio.current_time())

    async with open_supervisor([]) as supervisor:
        nursery.start_soon(start, supervisor)
        await trio.sleep(1)
        await supervisor.stop_child("a")
        await wait_all_tasks_blocked()
        assert told == [pytest.approx(1)]


async def test_L13_closing_the_supervisor_tells_who_is_starting_a_child(puppet, nursery):
    a, told = puppet("a", start_seconds=10.0), []

    async def start(supervisor):
        with pytest.raises(ChildStartError, match="a"):
            await supervisor.start_child(a.spec())
        told.append(trio.current_time())

    async with open_supervisor([]) as supervisor:
        nursery.start_soon(start, supervisor)
        await trio.sleep(1)
    await wait_all_tasks_blocked()
    assert told == [pytest.approx(1)]


# ---- the pool's places


async def test_L2_a_full_pool_says_so_and_takes_the_next_when_a_place_is_free(puppet):
    a, b, c = puppet.cast("a b c")
    async with open_pool(max_children=2) as pool:
        await pool.start_child(a.run, name="a")
        await pool.start_child(b.run, name="b")
        with pytest.raises(PoolFull, match="2"):
            await pool.start_child(c.run, name="c")
        await a.ends()
        await pool.start_child(c.run, name="c")
        assert {info.name for info in pool.children()} == {"b", "c"}
