"""Tasks run: how many at once, their results and errors, tries and times, batches, and results as they come."""

from __future__ import annotations

import gc
from datetime import UTC, datetime
from functools import partial

import pytest
import trio
from attrs import define

from spaceactors import Retry
from spaceactors.tasks import Task, TaskStatus, TaskTimeout, confidence, evidence, open_task_manager
from supervisors import Priority, draining


class Boom(Exception):
    pass


@define
class Crowd:
    """Counts how many are in it at once."""

    now: int = 0
    peak: int = 0
    calls: int = 0

    async def work(self, seconds: float = 1.0) -> int:
        self.now += 1
        self.calls += 1
        self.peak = max(self.peak, self.now)
        try:
            await trio.sleep(seconds)
        finally:
            self.now -= 1
        return self.calls


async def after(seconds, value):
    await trio.sleep(seconds)
    return value


async def fail(error):
    await trio.lowlevel.checkpoint()
    raise error


async def one_of(manager, *args, **options):
    (result,) = await manager.run([Task(*args, **options)])
    return result


# ---- how many at once


async def test_E1_ten_tasks_run_at_once_unless_something_else_is_said(autojump_clock):
    crowd = Crowd()
    async with open_task_manager() as manager:
        results = await manager.run([Task(crowd.work) for _ in range(25)])
    assert crowd.peak == 10
    assert trio.current_time() == pytest.approx(3.0)
    assert len(results) == 25
    assert all(result.success for result in results)


async def test_E1_of_several_calls_at_once_no_more_run_than_of_one(autojump_clock):
    crowd = Crowd()
    async with open_task_manager(3) as manager, trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(manager.run, [Task(crowd.work) for _ in range(3)])
    assert crowd.peak == 3
    assert crowd.calls == 12


async def test_E10_several_tasks_of_one_agent_run_at_once(autojump_clock):
    crowd = Crowd()
    async with open_task_manager(5) as manager:
        await manager.run([Task(crowd.work, agent="reviewer") for _ in range(5)])
    assert crowd.peak == 5
    assert manager.metrics().agents["reviewer"].total == 5


async def test_E12_waiting_work_gets_faster_by_as_much_as_may_run_at_once(autojump_clock):
    """On virtual time; `benchmarks` shows it on the real clock."""

    async def seconds(limit):
        began = trio.current_time()
        async with open_task_manager(limit) as manager:
            await manager.run([Task(trio.sleep, 0.05) for _ in range(20)])
        return trio.current_time() - began

    took = {limit: await seconds(limit) for limit in (1, 2, 5, 10, 20)}
    assert {limit: took[1] / one for limit, one in took.items()} == pytest.approx({1: 1, 2: 2, 5: 5, 10: 10, 20: 20})


async def test_the_highest_priority_comes_first_and_then_who_came_first(autojump_clock):
    order = []

    async def note(name):
        order.append(name)
        await trio.sleep(1)

    async with open_task_manager(1) as manager:
        await manager.run(
            [
                Task(note, "first"),
                Task(note, "low", priority=Priority.LOW),
                Task(note, "second"),
                Task(note, "urgent", priority=Priority.URGENT),
            ]
        )
    assert order == ["urgent", "first", "second", "low"]


async def test_an_empty_batch_has_no_results(autojump_clock):
    async with open_task_manager() as manager:
        assert await manager.run([]) == []
        assert await manager.run_batches([], 3) == []
        async with manager.as_completed([]) as results:
            assert [result async for result in results] == []


# ---- results


async def test_E5_a_failure_touches_no_other_task_and_is_in_its_result(autojump_clock):
    boom = Boom("no")
    async with open_task_manager() as manager:
        good, bad, late = await manager.run([Task(after, 1, "a"), Task(fail, boom), Task(after, 2, "c")])
    assert (good.value, late.value) == ("a", "c")
    assert bad.status is TaskStatus.FAILED
    assert not bad.success
    assert bad.value is None
    assert bad.error is boom
    with pytest.raises(Boom):
        bad.unwrap()
    assert good.unwrap() == "a"


async def test_E5_results_come_in_the_order_of_the_tasks_whatever_ended_first(autojump_clock):
    async with open_task_manager(3) as manager:
        results = await manager.run([Task(after, 10 - n, n) for n in range(10)])
    assert [result.value for result in results] == list(range(10))


async def test_E5_a_result_has_its_times(autojump_clock):
    await trio.sleep(5)
    async with open_task_manager(1) as manager:
        first, second = await manager.run([Task(after, 2, None), Task(after, 3, None)])
    assert (first.queued_at, first.started_at, first.ended_at) == pytest.approx((5, 5, 7))
    assert (second.queued_at, second.started_at, second.ended_at) == pytest.approx((5, 7, 10))
    assert (second.waited, second.seconds) == pytest.approx((2, 3))


async def test_E5_times_have_dates_that_are_as_far_apart(autojump_clock):
    async with open_task_manager(1) as manager:
        now = datetime.now(UTC)
        result = await one_of(manager, after, 90, None)
    assert abs((manager.date_of(result.started_at) - now).total_seconds()) < 60
    assert (manager.date_of(result.ended_at) - manager.date_of(result.started_at)).total_seconds() == pytest.approx(90)


async def test_E5_a_task_says_how_sure_it_is_and_why(autojump_clock):
    async def review():
        evidence("src/a.py:3")
        confidence(0.4)
        await trio.sleep(1)
        confidence(0.9)
        evidence("src/b.py:7", {"line": 1})
        return "fine"

    async with open_task_manager() as manager:
        result = await one_of(manager, review)
        plain = await one_of(manager, after, 0, 1)
    assert result.confidence == 0.9
    assert result.evidence == ("src/a.py:3", "src/b.py:7", {"line": 1})
    assert (plain.confidence, plain.evidence) == (None, ())


async def test_E5_what_a_task_found_before_it_failed_is_not_lost(autojump_clock):
    async def review():
        evidence("src/a.py:3")
        raise Boom

    async with open_task_manager() as manager:
        result = await one_of(manager, review)
    assert result.evidence == ("src/a.py:3",)


async def test_a_group_of_one_error_is_that_error_and_a_group_of_two_is_a_group(autojump_clock):
    async def start(*errors):
        async with trio.open_nursery():
            raise ExceptionGroup("inner", errors)

    boom, other = Boom(1), Boom(2)
    async with open_task_manager() as manager:
        one, two = await manager.run([Task(start, boom), Task(start, boom, other)])
    assert one.error is boom
    assert isinstance(two.error, ExceptionGroup)
    assert two.error.message == "inner"
    assert two.error.exceptions == (boom, other)


async def test_a_function_that_is_not_async_is_told_what_to_write(autojump_clock):
    def double(n):
        return 2 * n

    async with open_task_manager() as manager:
        wrong = await one_of(manager, double, 2)
        right = await one_of(manager, trio.to_thread.run_sync, double, 2)
    assert isinstance(wrong.error, TypeError)
    assert "write Task(trio.to_thread.run_sync, double, ...)" in str(wrong.error)
    assert right.value == 4


async def test_ids_and_agents_are_made_up_from_the_function(autojump_clock):
    async with open_task_manager() as manager:
        results = await manager.run(
            [Task(after, 0, 1), Task(partial(after, 0), 1), Task(after, 0, 1, agent="x"), Task(after, 0, 1, id="mine")]
        )
    assert [result.id for result in results] == ["after-1", "after-2", "x-3", "mine"]
    assert [result.agent for result in results] == ["after", "after", "x", "after"]


async def test_an_id_that_is_made_up_is_no_other_tasks(autojump_clock):
    async with open_task_manager() as manager:
        results = await manager.run(
            [Task(after, 0, 1, id="after-1"), Task(after, 0, 1), Task(after, 0, 1, id="after-2")]
        )
    assert [result.id for result in results] == ["after-1", "after-3", "after-2"]


# ---- time and tries


async def test_a_task_that_runs_too_long_is_cancelled_and_says_so(autojump_clock):
    async with open_task_manager(1) as manager:
        results = await manager.run([Task(after, 3, 1, timeout=2.0), Task(after, 1, 2, timeout=2.0)])
    assert [result.status for result in results] == [TaskStatus.TIMED_OUT, TaskStatus.SUCCEEDED]
    assert isinstance(results[0].error, TaskTimeout)
    assert isinstance(results[0].error, TimeoutError)
    assert results[0].seconds == pytest.approx(2)
    with pytest.raises(TaskTimeout, match=r"'after-1' ran longer than its timeout, 2\.0 s"):
        results[0].unwrap()


async def test_a_timeout_of_the_function_itself_is_a_failure(autojump_clock):
    async def impatient():
        with trio.fail_after(1):
            await trio.sleep(2)

    async with open_task_manager() as manager:
        result = await one_of(manager, impatient, timeout=5)
    assert result.status is TaskStatus.FAILED
    assert isinstance(result.error, trio.TooSlowError)


async def test_who_fails_while_it_is_timed_out_has_failed(autojump_clock):
    async def stubborn():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            try:
                await trio.sleep_forever()
            finally:
                raise Boom

    async with open_task_manager() as manager:
        result = await one_of(manager, stubborn, timeout=1)
    assert isinstance(result.error, Boom)


async def test_a_task_is_tried_again_and_its_result_counts_the_tries(autojump_clock):
    tries = []

    async def shaky(good_at):
        tries.append(trio.current_time())
        if len(tries) < good_at:
            raise Boom(len(tries))
        return "done"

    async with open_task_manager() as manager:
        result = await one_of(manager, shaky, 3, retry=Retry(3, wait=lambda _: 2.0))
        assert (result.value, result.attempts) == ("done", 3)
        assert tries == pytest.approx([0, 2, 4])
        tries.clear()
        result = await one_of(manager, shaky, 3, retry=Retry(2))
        assert (str(result.error), result.attempts) == ("2", 2)


async def test_only_errors_that_are_named_are_tried_again_in_groups_too(autojump_clock):
    calls = []

    async def several(*errors):
        calls.append(1)
        raise ExceptionGroup("several", errors)

    async with open_task_manager() as manager:
        mixed = await one_of(manager, several, Boom(), ValueError(), retry=Retry(3, on=Boom))
        named = await one_of(manager, several, Boom(), Boom(), retry=Retry(3, on=Boom))
    assert (mixed.attempts, named.attempts) == (1, 3)


async def test_a_timeout_is_for_all_tries_together(autojump_clock):
    async with open_task_manager() as manager:
        result = await one_of(manager, fail, Boom(), retry=Retry(100, wait=lambda _: 1.0), timeout=3.5)
    assert result.status is TaskStatus.TIMED_OUT
    assert result.attempts == 4


# ---- batches, and results as they come


async def test_E8_a_batch_begins_when_all_of_the_one_before_have_ended(autojump_clock):
    async with open_task_manager(2) as manager:
        batches = await manager.run_batches((Task(after, n, n) for n in (3, 1, 2, 1, 1)), 2)
    assert [[result.value for result in batch] for batch in batches] == [[3, 1], [2, 1], [1]]
    assert [[result.started_at for result in batch] for batch in batches] == [
        pytest.approx([0, 0]),
        pytest.approx([3, 3]),
        pytest.approx([5]),
    ]


async def test_E8_tasks_are_taken_batch_by_batch(autojump_clock):
    taken = []

    def source():
        for n in range(4):
            taken.append((n, trio.current_time()))
            yield Task(trio.sleep, 1)

    async with open_task_manager() as manager:
        await manager.run_batches(source(), 2)
    assert taken == [(0, 0), (1, 0), (2, pytest.approx(1)), (3, pytest.approx(1))]


async def test_results_come_as_tasks_end(autojump_clock):
    async with open_task_manager() as manager, manager.as_completed([Task(after, n, n) for n in (3, 1, 2)]) as results:
        came = [(result.value, trio.current_time()) async for result in results]
    assert came == [(1, pytest.approx(1)), (2, pytest.approx(2)), (3, pytest.approx(3))]


async def test_who_leaves_before_the_last_result_cancels_the_rest(autojump_clock):
    ended = []

    async def work(n):
        try:
            await trio.sleep(n)
        finally:
            ended.append(n)

    async with open_task_manager(2) as manager:
        async with manager.as_completed([Task(work, n) for n in (1, 50, 60)]) as results:
            async for _ in results:
                break
        assert trio.current_time() == pytest.approx(1)
        assert sorted(ended) in ([1, 50], [1, 50, 60])
        assert await manager.wait_all(0)
        assert manager.metrics().overall.cancelled == 2


async def test_a_reader_that_was_cancelled_while_it_waited_may_go_on(autojump_clock):
    async with open_task_manager() as manager, manager.as_completed([Task(after, 5, "x")]) as results:
        with trio.move_on_after(1) as scope:
            await anext(results)
        assert scope.cancelled_caught
        assert (await anext(results)).value == "x"
        with pytest.raises(StopAsyncIteration):
            await anext(results)


async def test_tasks_run_in_the_context_in_which_the_manager_was_opened_and_hear_no_drain(autojump_clock):
    async def hear():
        return draining()

    async with open_task_manager() as manager:
        assert (await one_of(manager, hear)).value is False


async def test_the_number_of_objects_does_not_grow_with_the_number_of_tasks_that_have_ended(autojump_clock):
    async def nothing():
        await trio.lowlevel.checkpoint()

    async def objects_after(batches):
        for _ in range(batches):
            await manager.run([Task(nothing, resources=f"file:{n % 7}") for n in range(500)])
        gc.collect()
        return len(gc.get_objects())

    async with open_task_manager() as manager:
        before = await objects_after(1)
        assert await objects_after(10) - before < 100


async def test_tasks_that_have_ended_leave_nothing_behind(autojump_clock):
    async def nothing():
        pass

    async with open_task_manager() as manager:
        for _ in range(10):
            await manager.run([Task(nothing, resources=f"file:{n}") for n in range(100)])
        floor = manager._floor
        kept = [floor.jobs, floor.running, floor.in_line, floor.board._places, floor._ready._groups, floor._complete]
        assert [len(one) for one in kept] == [0] * 6
        assert manager.metrics().overall.succeeded == 1000
