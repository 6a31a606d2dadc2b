"""What a task says of itself, and what is told of it: progress, heartbeats, stalls, running instances, events."""

from __future__ import annotations

import math

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from spaceactors import Retry
from spaceactors.tasks import (
    OutsideTask,
    Task,
    TaskEnded,
    TaskProgressed,
    TaskQueued,
    TaskRetried,
    TasksProgress,
    TaskStalled,
    TaskStarted,
    confidence,
    evidence,
    heartbeat,
    open_task_manager,
    progress,
)
from supervisors import EventsMissed, Limit


async def steps(*shares, seconds=1.0):
    for share in shares:
        await trio.sleep(seconds)
        progress(share, f"{share:.0%}")
    await trio.sleep(seconds)


async def running(manager):
    await wait_all_tasks_blocked()
    return manager.status().running


async def listen(manager, seen, *, task_status):
    async with manager.events() as events:
        task_status.started()
        async for event in events:
            seen.append(event)


async def events_of(*tasks, **options):
    seen = []
    async with trio.open_nursery() as nursery, open_task_manager(**options) as manager:
        await nursery.start(listen, manager, seen)
        await manager.run(tasks)
    return seen


# ---- from inside


async def test_E6_progress_and_the_time_left_are_shown_while_a_task_runs(autojump_clock):
    async with open_task_manager() as manager, trio.open_nursery() as nursery:
        nursery.start_soon(manager.run, [Task(steps, 0.25, 0.5, 0.75, id="t")])
        (before,) = await running(manager)
        assert (before.progress, before.note, before.seconds_left) == (0.0, "", None)
        await trio.sleep(2.5)
        (task,) = manager.status().running
        assert (task.id, task.agent, task.progress, task.note) == ("t", "steps", 0.5, "50%")
        assert task.seconds_left == pytest.approx(1.5)
        assert task.last_heartbeat == pytest.approx(2.0)
        assert task.started_at == 0.0


async def test_E6_running_instances_show_what_they_hold_and_how_often_they_were_tried(autojump_clock):
    async def shaky():
        if manager.status().running[0].attempt == 1:
            raise ValueError
        await trio.sleep(1)

    needs = {"resources": "file:a", "shared": "dir:lib", "limits": "llm"}
    async with open_task_manager(limits=[Limit("llm", 1)]) as manager, trio.open_nursery() as nursery:
        nursery.start_soon(manager.run, [Task(shaky, retry=Retry(2), agent="reviewer", **needs)])
        (task,) = await running(manager)
        assert (task.agent, task.locks, task.shared, task.limits) == ("reviewer", ("file:a",), ("dir:lib",), ("llm",))
        assert task.attempt == 2
        assert manager.status().running_count == 1


async def test_a_task_that_is_tried_again_begins_anew_with_its_progress(autojump_clock):
    async def shaky():
        await trio.sleep(1)
        progress(0.5, "half")
        if manager.status().running[0].attempt == 1:
            raise ValueError

    async with open_task_manager() as manager, trio.open_nursery() as nursery:
        nursery.start_soon(manager.run, [Task(shaky, retry=Retry(2, wait=lambda _: 5.0))])
        await trio.sleep(2)
        (task,) = manager.status().running
        assert (task.progress, task.note, task.seconds_left) == (0.0, "", None)
        assert task.last_heartbeat == pytest.approx(1)


async def test_E6_the_time_left_of_a_second_try_has_nothing_of_the_first(autojump_clock):
    async def shaky():
        await trio.sleep(100)
        if manager.status().running[0].attempt == 1:
            raise ValueError
        progress(0.5)
        await trio.sleep(100)

    async with open_task_manager() as manager, trio.open_nursery() as nursery:
        nursery.start_soon(manager.run, [Task(shaky, retry=Retry(2, wait=lambda _: 700.0))])
        await trio.sleep(901)
        (task,) = manager.status().running
        assert task.seconds_left == pytest.approx(99)


async def test_E6_all_tasks_together_have_a_progress_and_an_end_in_sight(autojump_clock):
    async with open_task_manager(2) as manager, trio.open_nursery() as nursery:
        assert manager.progress() == TasksProgress(0.0, 0, 0, None)
        nursery.start_soon(manager.run, [Task(steps, 0.5, id=str(n)) for n in range(4)])
        await wait_all_tasks_blocked()
        assert manager.progress() == TasksProgress(0.0, 4, 0, None)
        await trio.sleep(1.5)
        assert manager.progress().done == pytest.approx(0.25)
        await trio.sleep(1)
        now = manager.progress()
        assert (now.done, now.total, now.ended) == (0.5, 4, 2)
        assert now.seconds_left == pytest.approx(2.5)
        await manager.wait_all()
        assert manager.progress() == TasksProgress(1.0, 4, 4, 0.0)
        await manager.run([Task(steps), Task(steps)])
        assert manager.progress().total == 2


async def test_E6_progress_works_in_a_thread_of_the_task():
    def work():
        progress(0.5, "in a thread")
        heartbeat()
        evidence("x")
        confidence(0.25)
        return trio.from_thread.run_sync(manager.status).running[0].note

    async with open_task_manager() as manager:
        (result,) = await manager.run([Task(trio.to_thread.run_sync, work)])
    assert result.value == "in a thread"
    assert (result.confidence, result.evidence) == (0.25, ("x",))


async def test_E6_progress_works_in_what_a_task_starts(autojump_clock):
    async def work():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(steps, 0.5)

    seen = await events_of(Task(work, id="t"))
    assert [event.task for event in seen if isinstance(event, TaskProgressed)] == ["t"]


@pytest.mark.parametrize("say", [lambda: progress(0.5), heartbeat, lambda: confidence(1), lambda: evidence("a")])
async def test_who_speaks_in_no_task_is_told_so(say):
    with pytest.raises(OutsideTask, match="call it in the function of a Task"):
        say()


async def test_who_speaks_after_its_task_has_ended_is_told_so(autojump_clock):
    said = []

    async def late(task_status=trio.TASK_STATUS_IGNORED):
        task_status.started()
        await trio.sleep(1)
        with pytest.raises(OutsideTask, match="after the end of its task"):
            heartbeat()
        said.append("told")

    async def leave_behind(nursery):
        await nursery.start(late)

    async with trio.open_nursery() as nursery, open_task_manager() as manager:
        # A nursery from outside: what runs there is not the task's, but has its context.
        await manager.run([Task(leave_behind, nursery)])
        await trio.sleep(2)
    assert said == ["told"]


@pytest.mark.parametrize("share", [-0.1, 1.1, math.inf])
def test_a_share_out_of_its_range_is_refused(share):
    for say in (progress, confidence):
        with pytest.raises(ValueError, match="must be from 0 to 1"):
            say(share)


@pytest.mark.parametrize("share", ["0.5", None, True, math.nan])
def test_a_share_that_is_no_number_is_refused(share):
    for say in (progress, confidence):
        with pytest.raises(TypeError, match="must be a number from 0 to 1"):
            say(share)


def test_a_note_that_is_no_text_is_refused():
    with pytest.raises(TypeError, match="note of a progress must be a text"):
        progress(0.5, 3)


# ---- silence


async def test_E6_a_task_that_says_nothing_is_told_as_stalled_once_and_goes_on(autojump_clock):
    async def silent():
        await trio.sleep(25)
        return "done"

    seen = []
    async with trio.open_nursery() as nursery, open_task_manager(stalled_after=10) as manager:
        await nursery.start(listen, manager, seen)
        nursery.start_soon(manager.run, [Task(silent, id="t")])
        await trio.sleep(9)
        assert not manager.status().running[0].stalled
        await trio.sleep(2)
        assert manager.status().running[0].stalled
        await manager.wait_all()
    stalls = [event for event in seen if isinstance(event, TaskStalled)]
    assert [(event.task, event.at, event.seconds) for event in stalls] == [("t", pytest.approx(10), pytest.approx(10))]
    assert seen[-1].result.value == "done"


async def test_E6_a_heartbeat_says_that_a_task_has_not_stalled(autojump_clock):
    async def beating():
        for _ in range(5):
            await trio.sleep(6)
            heartbeat()

    seen = await events_of(Task(beating), stalled_after=10)
    assert not any(isinstance(event, TaskStalled) for event in seen)


async def test_a_task_that_spoke_again_is_told_when_it_stalls_again(autojump_clock):
    async def twice():
        await trio.sleep(15)
        heartbeat()
        await trio.sleep(15)

    seen = await events_of(Task(twice), stalled_after=10)
    assert [event.at for event in seen if isinstance(event, TaskStalled)] == pytest.approx([10, 25])


async def test_a_second_try_that_says_nothing_is_told_too_after_a_first_that_has_stalled(autojump_clock):
    async def silent():
        await trio.sleep(15)
        raise ValueError

    seen = await events_of(Task(silent, retry=Retry(2)), stalled_after=10)
    assert [event.at for event in seen if isinstance(event, TaskStalled)] == pytest.approx([10, 25])


async def test_each_of_several_tasks_is_told_in_its_own_time(autojump_clock):
    async def late(seconds):
        await trio.sleep(seconds)
        heartbeat()
        await trio.sleep(12)

    seen = await events_of(Task(late, 3, id="a"), Task(late, 5, id="b"), Task(trio.sleep, 20, id="c"), stalled_after=10)
    stalls = [(event.task, event.at) for event in seen if isinstance(event, TaskStalled)]
    assert stalls == [("c", pytest.approx(10)), ("a", pytest.approx(13)), ("b", pytest.approx(15))]


async def test_nothing_is_told_as_stalled_where_that_is_switched_off(autojump_clock):
    seen = await events_of(Task(trio.sleep, 1e6), stalled_after=None)
    assert not any(isinstance(event, TaskStalled) for event in seen)


# ---- events


async def test_E6_events_tell_the_life_of_a_task(autojump_clock):
    async def work(tries):
        tries.append(1)
        await trio.sleep(1)
        if len(tries) == 1:
            raise ValueError("once")
        progress(0.5, "half")
        await trio.sleep(1)
        return "done"

    seen = await events_of(
        Task(work, [], id="t", agent="a", resources="x", retry=Retry(2, wait=lambda _: 3.0)),
        Task(trio.sleep, 1, id="u", resources="x"),
    )
    own = [event for event in seen if event.task == "t"]
    assert [(type(event), event.at) for event in own] == [
        (TaskQueued, 0),
        (TaskStarted, 0),
        (TaskRetried, pytest.approx(1)),
        (TaskProgressed, pytest.approx(5)),
        (TaskEnded, pytest.approx(6)),
    ]
    assert {event.agent for event in own} == {"a"}
    assert (own[2].attempt, own[2].delay, str(own[2].error)) == (1, 3.0, "once")
    assert (own[3].done, own[3].note, own[3].seconds_left) == (0.5, "half", pytest.approx(1))
    assert own[4].result.value == "done"
    assert [event.waited for event in seen if isinstance(event, TaskStarted)] == pytest.approx([0, 6])


async def test_a_slow_reader_is_told_how_much_it_missed(autojump_clock):
    async with open_task_manager() as manager, manager.events() as events:
        await manager.run([Task(trio.sleep, 0) for _ in range(500)])
        assert await anext(events) == EventsMissed(1500 - 1024)


# ---- figures


async def test_E9_metrics_are_counted_as_tasks_end(autojump_clock):
    async def fail():
        raise ValueError

    async with open_task_manager(1) as manager:
        await manager.run(
            [
                Task(trio.sleep, 2, agent="a"),
                Task(fail, agent="a"),
                Task(trio.sleep, 9, timeout=2, agent="b"),
            ]
        )
        metrics = manager.metrics()
    assert (metrics.overall.total, metrics.overall.per_second) == (3, pytest.approx(0.75))
    assert (metrics.agents["a"].succeeded, metrics.agents["a"].failed) == (1, 1)
    assert (metrics.agents["b"].timed_out, metrics.agents["b"].mean_waited) == (1, pytest.approx(2))


async def test_the_first_hundred_that_wait_are_shown_and_all_are_counted(autojump_clock):
    async with open_task_manager(2) as manager, trio.open_nursery() as nursery:
        nursery.start_soon(manager.run, [Task(trio.sleep, 1) for _ in range(150)])
        await wait_all_tasks_blocked()
        status = manager.status()
        assert (status.running_count, status.waiting_count, len(status.waiting)) == (2, 148, 100)
        assert [task.id for task in status.waiting[:2]] == ["sleep-3", "sleep-4"]
        assert repr(manager) == "<TaskManager 'tasks', 2 tasks run, 148 wait>"
