"""How tasks end before they are done: cancelled by id, by agent, by their caller, with their manager; and drains."""

from __future__ import annotations

import pytest
import trio
from trio.lowlevel import currently_ki_protected
from trio.testing import wait_all_tasks_blocked

from spaceactors import Retry
from spaceactors.tasks import Task, TaskCancelled, TaskCycle, TasksClosed, TaskStatus, open_task_manager
from supervisors import ChildSpec, Limit, Limits, Locks, draining, open_supervisor, until_drain, wait_drain


class Boom(Exception):
    pass


async def shielded(seconds):
    with trio.CancelScope(shield=True):
        await trio.sleep(seconds)


async def collect(manager, results, *tasks):
    results += await manager.run(tasks)


async def start(nursery, manager, *tasks):
    results = []
    nursery.start_soon(collect, manager, results, *tasks)
    await wait_all_tasks_blocked()
    return results


def statuses(results):
    return [result.status.value for result in results]


# ---- by name


async def test_E7_cancel_by_agent_ends_what_runs_and_what_waits_and_counts_it(autojump_clock):
    async with open_task_manager(2) as manager, trio.open_nursery() as nursery:
        results = await start(nursery, manager, *(Task(trio.sleep, 5, agent=agent) for agent in "abab"))
        assert await manager.cancel(agent_ids=["a"]) == 2
        assert trio.current_time() == 0
        await manager.wait_all()
        assert trio.current_time() == pytest.approx(5)
    assert statuses(results) == ["cancelled", "succeeded", "cancelled", "succeeded"]
    assert [result.started_at for result in results] == [0, 0, None, 0]
    assert all(isinstance(result.error, TaskCancelled) for result in results[::2])
    with pytest.raises(TaskCancelled, match=r"cancel\(\) was called"):
        results[0].unwrap()


async def test_E7_cancel_by_id_and_by_agent_together_cancels_both(autojump_clock):
    async with open_task_manager() as manager, trio.open_nursery() as nursery:
        await start(nursery, manager, *(Task(trio.sleep, 5, agent=agent, id=agent * 2) for agent in "abc"))
        assert await manager.cancel(agent_ids="a", task_ids=("bb", "nobody")) == 2
        assert [task.id for task in manager.status().running] == ["cc"]


async def test_E7_what_ended_in_another_way_meanwhile_was_not_cancelled(autojump_clock):
    async def stubborn():
        await shielded(2)
        return "done"

    async def broken():
        try:
            await trio.sleep_forever()
        finally:
            raise Boom

    async with open_task_manager() as manager, trio.open_nursery() as nursery:
        results = await start(nursery, manager, Task(stubborn), Task(broken), Task(trio.sleep, 9))
        assert await manager.cancel(agent_ids=["stubborn", "broken", "sleep"]) == 1
        assert trio.current_time() == pytest.approx(2)
    assert statuses(results) == ["succeeded", "failed", "cancelled"]


async def test_E7_a_cancelled_task_makes_room_for_those_behind_it(autojump_clock):
    async with open_task_manager(1) as manager, trio.open_nursery() as nursery:
        results = await start(
            nursery,
            manager,
            Task(trio.sleep, 50, id="a", resources="x"),
            Task(trio.sleep, 50, id="b", resources="x"),
            Task(trio.sleep, 1, id="c", resources="x"),
        )
        assert await manager.cancel(task_ids=["b", "a"]) == 2
    assert statuses(results) == ["cancelled", "cancelled", "succeeded"]
    assert trio.current_time() == pytest.approx(1)


async def test_E7_cancel_ends_tasks_that_stand_in_line_for_others(autojump_clock):
    locks, limits = Locks(), Limits([Limit("llm", 1)])
    async with (
        open_task_manager(locks=locks, limits=limits) as manager,
        trio.open_nursery() as nursery,
        locks.hold("x"),
        limits.hold("llm"),
    ):
        results = await start(
            nursery,
            manager,
            Task(trio.sleep, 1, resources="x"),
            Task(trio.sleep, 1, limits="llm"),
            Task(trio.sleep, 1, limits="llm"),
        )
        assert await manager.cancel(agent_ids="sleep") == 3
        assert locks.waiting() == ()
        assert limits.waiting("llm") == ()
    assert statuses(results) == ["cancelled"] * 3


async def test_E7_a_task_that_was_just_given_a_slot_can_be_cancelled(autojump_clock):
    called = []

    async def note():
        called.append(1)

    async with open_task_manager() as manager:
        call = manager._door.hand_over([Task(note, id="t")], "run")
        assert manager._floor.jobs["t"].in_slot
        assert await manager.cancel(task_ids="t") == 1
        assert [result.status async for result in call] == [TaskStatus.CANCELLED]
    assert called == []


async def test_E7_a_task_that_cancels_itself_in_a_shield_does_not_wait_for_its_own_end(autojump_clock):
    async def leave():
        with trio.CancelScope(shield=True):
            counts.append(await manager.cancel(agent_ids="a"))

    counts = []
    async with open_task_manager() as manager:
        with trio.fail_after(10):
            results = await manager.run([Task(leave, agent="a"), Task(trio.sleep, 60, agent="a")])
    assert counts == [1]
    assert statuses(results) == ["succeeded", "cancelled"]


async def test_E7_nothing_named_is_refused_for_it_might_mean_all_or_none():
    async with open_task_manager() as manager:
        with pytest.raises(TypeError, match="needs to know what"):
            await manager.cancel()
        with pytest.raises(TypeError, match="task_ids must be names"):
            await manager.cancel(task_ids=[3])


async def test_E7_wait_all_waits_for_all_and_no_longer_than_its_timeout(autojump_clock):
    async with open_task_manager(1) as manager, trio.open_nursery() as nursery:
        assert await manager.wait_all()
        await start(nursery, manager, Task(trio.sleep, 2), Task(trio.sleep, 2))
        assert not await manager.wait_all(3)
        assert trio.current_time() == pytest.approx(3)
        assert await manager.wait_all(3)
        assert trio.current_time() == pytest.approx(4)
        with pytest.raises(ValueError, match="timeout must be 0 seconds or more"):
            await manager.wait_all(-1)


# ---- by their caller


async def test_a_cancelled_caller_cancels_its_own_tasks_and_no_others(autojump_clock):
    ended = []

    async def work(name):
        try:
            await trio.sleep(5)
        finally:
            ended.append(name)

    async with open_task_manager(2) as manager, trio.open_nursery() as nursery:
        others = await start(nursery, manager, Task(work, "other"))
        with trio.move_on_after(1) as scope:
            await manager.run([Task(work, n) for n in range(5)])
        assert scope.cancelled_caught
        assert ended == [0]
        assert manager.status().waiting_count == 0
    assert statuses(others) == ["succeeded"]
    assert manager.metrics().overall.cancelled == 5


async def test_a_cancelled_caller_waits_for_its_tasks_so_that_none_is_an_orphan(autojump_clock):
    async with open_task_manager() as manager:
        with trio.move_on_after(1):
            await manager.run([Task(shielded, 7)])
        assert trio.current_time() == pytest.approx(7)
        assert await manager.wait_all(0)


async def test_run_in_a_task_of_the_same_manager_is_refused_for_it_might_wait_for_its_own_slot(autojump_clock):
    async def nested(how):
        async with open_task_manager() as inner:
            (result,) = await inner.run([Task(how)])
            return type(result.error)

    async def run():
        await manager.run([])

    async def batches():
        await manager.run_batches([], 1)

    async def coming():
        async with manager.as_completed([]):
            pass

    async with open_task_manager() as manager:
        hows = [run, batches, coming, manager.wait_all]
        direct = await manager.run([Task(how) for how in hows])
        deep = await manager.run([Task(nested, run), Task(nested, trio.lowlevel.checkpoint)])
    assert [type(result.error) for result in direct] == [TaskCycle] * 4
    assert [result.value for result in deep] == [TaskCycle, type(None)]


async def test_a_task_may_start_tasks_in_a_nursery_that_does_not_end_with_it(autojump_clock):
    order = []

    async def visit(number):
        await trio.sleep(1)
        order.append(number)
        if number < 4:
            nursery.start_soon(manager.run, [Task(visit, 2 * number), Task(visit, 2 * number + 1)])

    async with open_task_manager(1) as manager, trio.open_nursery() as nursery:
        nursery.start_soon(manager.run, [Task(visit, 1)])
    assert order == list(range(1, 8))


async def test_what_a_task_has_left_behind_may_wait_for_tasks_after_its_end(autojump_clock):
    results = []

    async def later():
        await trio.sleep(5)
        async with manager.as_completed([Task(trio.sleep, 1)]) as coming:
            results.extend([result async for result in coming])

    async def leave():
        nursery.start_soon(later)

    async with open_task_manager(1) as manager, trio.open_nursery() as nursery:
        await manager.run([Task(leave)])
    assert [result.success for result in results] == [True]


@pytest.mark.parametrize("abandon", [False, True])
async def test_run_is_refused_in_what_a_task_waits_for_in_a_nursery_or_a_thread(abandon):
    def in_thread():
        trio.from_thread.run(manager.run, [])

    async def by_thread():
        await trio.to_thread.run_sync(in_thread, abandon_on_cancel=abandon)

    async def by_nursery():
        async with trio.open_nursery() as own:
            own.start_soon(manager.run, [])

    async with open_task_manager() as manager:
        results = await manager.run([Task(by_thread), Task(by_nursery)])
    assert [type(result.error) for result in results] == [TaskCycle, TaskCycle]


# ---- with their manager


async def test_leaving_the_block_waits_for_what_runs_and_what_waits(autojump_clock):
    async with trio.open_nursery() as nursery:
        async with open_task_manager(1) as manager:
            results = await start(nursery, manager, Task(trio.sleep, 1), Task(trio.sleep, 1))
        assert trio.current_time() == pytest.approx(2)
    assert statuses(results) == ["succeeded"] * 2


async def test_an_error_in_the_block_cancels_all_tasks_and_their_callers_get_results(autojump_clock):
    async with trio.open_nursery() as nursery:
        with pytest.raises(Boom):
            async with open_task_manager(1) as manager:
                results = await start(nursery, manager, Task(trio.sleep, 9), Task(trio.sleep, 9))
                raise Boom
        assert trio.current_time() == 0
    assert statuses(results) == ["cancelled"] * 2
    assert [result.started_at for result in results] == [0, None]
    assert "manager was closed" in str(results[1].error)


async def test_a_cancellation_from_outside_ends_all_tasks(autojump_clock):
    ended = []

    async def work():
        try:
            await trio.sleep_forever()
        finally:
            ended.append(trio.current_time())

    with trio.move_on_after(1):
        async with open_task_manager(2) as manager:
            await manager.run([Task(work) for _ in range(5)])
    assert ended == pytest.approx([1, 1])


async def test_a_closed_manager_takes_nothing(autojump_clock):
    async with open_task_manager() as manager:
        pass
    with pytest.raises(TasksClosed):
        await manager.run([Task(trio.sleep, 1)])
    with pytest.raises(TasksClosed):
        async with manager.as_completed([Task(trio.sleep, 1)]):
            pass


async def test_a_manager_that_is_being_left_takes_nothing(autojump_clock):
    refused = []

    async def late(manager):
        await trio.sleep(1)
        with pytest.raises(TasksClosed):
            await manager.run([Task(trio.sleep, 1)])
        refused.append(1)

    async with trio.open_nursery() as nursery, open_task_manager() as manager:
        await start(nursery, manager, Task(trio.sleep, 3))
        nursery.start_soon(late, manager)
    assert refused == [1]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
async def test_what_concerns_the_whole_program_comes_out_of_the_block(error, autojump_clock):
    async def end():
        await trio.sleep(1)
        raise error

    results = []
    async with trio.open_nursery() as nursery:
        with pytest.raises(error):
            async with open_task_manager(2) as manager:
                nursery.start_soon(collect, manager, results, Task(end), Task(trio.sleep, 9), Task(trio.sleep, 9))
                await trio.sleep_forever()
    assert statuses(results) == ["cancelled"] * 3
    assert [result.started_at for result in results] == [0, 0, None]  # nothing is started any more
    assert trio.current_time() == pytest.approx(1)


async def test_ctrl_c_may_reach_the_function_of_a_task_and_nothing_that_keeps_count(autojump_clock):
    protected = []

    async def look():
        protected.append(currently_ki_protected())
        raise Boom

    def wait(_):
        protected.append(currently_ki_protected())
        return 0.0

    async with open_task_manager() as manager:
        await manager.run([Task(look, retry=Retry(2, wait=wait))])
        async with manager.as_completed([]):
            assert not currently_ki_protected()
    assert protected == [False, True, False]


async def test_a_reader_of_events_ends_with_the_manager(autojump_clock):
    async with trio.open_nursery() as nursery:
        ended = trio.Event()

        async def read(*, task_status):
            async with manager.events() as events:
                task_status.started()
                async for _ in events:
                    pass
            ended.set()

        async with open_task_manager() as manager:
            await nursery.start(read)
        await ended.wait()


# ---- drain


async def drained(body, *, grace, after):
    """Run `body` as a child of a supervisor that is drained after so many seconds; returns the report."""
    async with open_supervisor([ChildSpec("tasks", body, shutdown=grace)]) as service:
        await trio.sleep(after)
        return await service.drain()


async def test_a_drain_finishes_what_was_accepted_and_refuses_the_rest(autojump_clock):
    seen = []

    async def body():
        async with open_task_manager(1) as manager:
            seen.extend(await manager.run([Task(trio.sleep, 2) for _ in range(3)]))
            with pytest.raises(TasksClosed):
                await manager.run([Task(trio.sleep, 1)])

    report = await drained(body, grace=10, after=1)
    assert statuses(seen) == ["succeeded"] * 3
    assert report.clean
    assert trio.current_time() == pytest.approx(6)


async def test_a_manager_that_is_opened_after_the_drain_began_takes_nothing(autojump_clock):
    refused = []

    async def body():
        await wait_drain()
        async with open_task_manager() as manager:
            with pytest.raises(TasksClosed):
                await manager.run([Task(trio.sleep, 1)])
            refused.append(1)

    await drained(body, grace=10, after=1)
    assert refused == [1]


async def test_when_the_grace_of_the_drain_is_over_all_tasks_are_cancelled(autojump_clock):
    ended = []

    async def work():
        try:
            await trio.sleep(2)
        finally:
            ended.append(trio.current_time())

    async def body():
        async with open_task_manager(1) as manager:
            await manager.run([Task(work) for _ in range(5)])

    report = await drained(body, grace=3.5, after=1)
    assert not report.clean
    assert report.cancelled == ("tasks",)
    assert ended == pytest.approx([2, 4, 4.5])


async def test_a_manager_may_be_a_child_of_a_service_and_finishes_its_tasks_at_the_drain(autojump_clock):
    specs = [ChildSpec.resource("tasks", open_task_manager, 2, shutdown=10)]
    async with open_supervisor(specs) as service, trio.open_nursery() as nursery:
        manager = service.child("tasks").value
        results = await start(nursery, manager, *(Task(trio.sleep, 2) for _ in range(4)))
        report = await service.drain()
        assert report.clean
        with pytest.raises(TasksClosed):
            await manager.run([Task(trio.sleep, 1)])
    assert statuses(results) == ["succeeded"] * 4
    assert trio.current_time() == pytest.approx(4)


async def test_a_task_learns_of_the_drain_and_may_finish_sooner(autojump_clock):
    seen = []

    async def work():
        with until_drain():
            await trio.sleep(100)
        return draining()

    async def body():
        async with open_task_manager(1) as manager:
            seen.extend(await manager.run([Task(work)]))

    report = await drained(body, grace=10, after=1)
    assert seen[0].value is True
    assert report.clean
    assert trio.current_time() == pytest.approx(1)
