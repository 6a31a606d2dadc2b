"""What is refused before anything is accepted, with what to write instead."""

from __future__ import annotations

import math

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from spaceactors import Actor, Retry, handler, open_runtime
from spaceactors.tasks import DuplicateTask, Resources, Task, TasksFull, open_task_manager
from supervisors import Locks


async def work():
    pass


async def generate():
    yield 1


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"agent": ""}, ValueError, "agent of a task must not be empty"),
        ({"agent": 3}, TypeError, "agent of a task must be a string"),
        ({"id": 3}, TypeError, "id of a task must be a string"),
        ({"resources": [3]}, TypeError, "resources must be names such as 'file:src/a.py'"),
        ({"resources": 3}, TypeError, "resources must be names"),
        ({"resources": "file:a/../b"}, ValueError, "has '..' in its path"),
        ({"shared": [None]}, TypeError, "shared must be names"),
        ({"limits": 5}, TypeError, "limits must be names such as 'llm'"),
        ({"limits": [""]}, ValueError, "a name in limits must not be empty"),
        ({"timeout": -1}, ValueError, "timeout must be 0 seconds or more"),
        ({"timeout": "1"}, TypeError, "timeout must be seconds"),
        ({"priority": 1}, TypeError, "priority must be one of Priority.LOW"),
        ({"retry": 3}, TypeError, r"retry must be a Retry such as Retry\(3\)"),
    ],
)
def test_a_task_refuses_what_cannot_be(options, error, told):
    with pytest.raises(error, match=told):
        Task(work, **options)


def test_a_task_needs_the_function_and_no_call_of_it():
    with pytest.raises(TypeError, match="write work without parentheses"):
        Task(work())
    with pytest.raises(TypeError, match="the function of a task must be an async function"):
        Task("work")
    with pytest.raises(TypeError, match="generate yields many: have it return them in a list"):
        Task(generate)


def test_a_task_shows_its_name_and_is_frozen():
    task = Task(work, id="t", agent="a", retry=Retry(2))
    assert repr(task) == "<Task 't' of 'a'>"
    assert repr(Task(work)) == "<Task 'work' of 'work'>"
    with pytest.raises(AttributeError):
        task.id = "u"


def test_resources_of_a_rule_are_checked_where_they_are_made():
    assert Resources("a", shared="b") == Resources("a", shared=["b"])
    with pytest.raises(ValueError, match="has no path"):
        Resources("file:")
    with pytest.raises(TypeError, match="shared must be names"):
        Resources(shared=[1])


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"max_concurrent": 0}, ValueError, "max_concurrent must be 1 or more"),
        ({"max_concurrent": 2.5}, TypeError, "max_concurrent must be a whole number"),
        ({"max_waiting": -1}, ValueError, "max_waiting must be 0 or more"),
        ({"ageing": -1}, ValueError, "ageing must be 0 seconds or more"),
        ({"stalled_after": "x"}, TypeError, "stalled_after must be seconds"),
        ({"locks": [Locks()]}, TypeError, r"locks must be Locks\(\)"),
        ({"limits": [5]}, TypeError, "a limit is a Limit such as"),
        ({"resources": "file:a"}, TypeError, "resources must be a function that gets a task"),
        ({"name": ""}, ValueError, "name must not be empty"),
    ],
)
def test_a_manager_refuses_what_cannot_be_where_it_is_called(options, error, told):
    with pytest.raises(error, match=told):
        open_task_manager(**options)


@pytest.mark.parametrize("what", [Task(work), 5, [work], [Task(work), None]], ids=["task", "number", "fn", "none"])
async def test_run_takes_tasks_in_a_list(what):
    async with open_task_manager() as manager:
        with pytest.raises(TypeError, match=r"run\(\) takes tasks"):
            await manager.run(what)
        with pytest.raises(TypeError, match=r"as_completed\(\) takes tasks"):
            async with manager.as_completed(what):
                pass
        with pytest.raises(TypeError, match=r"run(_batches)?\(\) takes tasks"):
            await manager.run_batches(what, 2)
        assert await manager.wait_all(0)


async def test_the_limits_of_a_turn_are_no_limits_for_a_manager_and_the_error_says_what_is():
    class Boss(Actor):
        @handler
        async def go(self) -> str:
            try:
                open_task_manager(limits=self.limits)
            except TypeError as error:
                return str(error)
            return ""

    async with open_runtime(Boss) as runtime:
        assert "by deps=" in await runtime.space("boss").ask(Boss.go)


async def test_a_batch_has_at_least_one_task():
    async with open_task_manager() as manager:
        with pytest.raises(ValueError, match="the size of a batch must be 1 or more"):
            await manager.run_batches([Task(work)], 0)


async def test_an_id_of_a_task_that_has_not_ended_is_refused_and_nothing_of_the_call_is_accepted(autojump_clock):
    async with open_task_manager(1) as manager, trio.open_nursery() as nursery:
        nursery.start_soon(manager.run, [Task(trio.sleep, 1, id="a"), Task(trio.sleep, 1, id="b")])
        await wait_all_tasks_blocked()
        for id_ in "ab":
            with pytest.raises(DuplicateTask, match=f"a task '{id_}' waits or runs already"):
                await manager.run([Task(work), Task(work, id=id_)])
        with pytest.raises(DuplicateTask, match="a task 'c' is in this call twice"):
            await manager.run([Task(work, id="c"), Task(work, id="c")])
        assert manager.metrics().overall.total == 0
        await manager.wait_all()
        (result,) = await manager.run([Task(work, id="a")])
        assert result.id == "a"


async def test_more_than_may_wait_are_refused_and_none_of_them_is_accepted(autojump_clock):
    async with open_task_manager(2, max_waiting=3) as manager, trio.open_nursery() as nursery:
        with pytest.raises(TasksFull, match=r"0 tasks wait, and 6 more do not fit \(max_waiting=3\)"):
            await manager.run([Task(work)] * 6)
        nursery.start_soon(manager.run, [Task(trio.sleep, 1) for _ in range(4)])
        await wait_all_tasks_blocked()
        with pytest.raises(TasksFull, match="2 tasks wait, and 2 more"):
            await manager.run([Task(work)] * 2)
        assert len(await manager.run([Task(work)])) == 1
        assert len(await manager.run([Task(work)] * 5)) == 5


async def test_a_task_is_a_value_that_may_be_run_again(autojump_clock):
    task = Task(work)
    async with open_task_manager() as manager:
        results = await manager.run([task, task, task])
    assert [result.id for result in results] == ["work-1", "work-2", "work-3"]


async def test_a_silence_of_for_ever_never_stalls(autojump_clock):
    async with open_task_manager(stalled_after=math.inf) as manager:
        (result,) = await manager.run([Task(trio.sleep, 1e5)])
    assert result.success
