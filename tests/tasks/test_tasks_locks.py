"""Tasks that conflict, also with others who use the same locks and limits: who waits, where, and for whom."""

from __future__ import annotations

import pytest
import trio
from attrs import define, field
from trio.testing import wait_all_tasks_blocked

from spaceactors.tasks import Resources, Task, TaskCycle, TaskStatus, WaitsFor, open_task_manager
from supervisors import (
    CapacityRefused,
    Limit,
    Limits,
    LockCycle,
    Locks,
    Preempted,
    Priority,
    RateLimit,
    UnknownLimit,
    WhenFull,
)


@define
class Log:
    """When tasks ran, by name."""

    spans: dict = field(factory=dict)

    async def work(self, name, seconds=1.0):
        began = trio.current_time()
        await trio.sleep(seconds)
        self.spans[name] = (round(began, 6), round(trio.current_time(), 6))
        return name


async def run_in(nursery, manager, *tasks):
    nursery.start_soon(manager.run, tasks)
    await wait_all_tasks_blocked()


def waiting(manager):
    return {task.id: (task.waits_for, task.behind) for task in manager.status().waiting}


# ---- among each other


async def test_E2_tasks_with_one_file_run_one_after_the_other_and_others_beside_them(autojump_clock):
    log = Log()
    async with open_task_manager() as manager:
        await manager.run(
            [
                Task(log.work, "a1", resources="file:a"),
                Task(log.work, "a2", resources="file:a"),
                Task(log.work, "b", resources="file:b"),
                Task(log.work, "free"),
            ]
        )
    assert log.spans == {"a1": (0, 1), "b": (0, 1), "free": (0, 1), "a2": (1, 2)}


async def test_E2_a_directory_covers_what_is_below_it_and_who_shares_runs_at_once(autojump_clock):
    log = Log()
    async with open_task_manager() as manager:
        await manager.run(
            [
                Task(log.work, "r1", shared="dir:src"),
                Task(log.work, "r2", shared="file:src/a.py"),
                Task(log.work, "w", resources="file:src/a.py", shared=["service:db"]),
                Task(log.work, "db", shared=["service:db"]),
            ]
        )
    assert log.spans == {"r1": (0, 1), "r2": (0, 1), "w": (1, 2), "db": (0, 1)}


async def test_E3_a_task_that_waits_for_another_keeps_no_slot_from_a_third(autojump_clock):
    """With a slot for each that only waits for its lock, `free` would come last."""
    log = Log()
    async with open_task_manager(2) as manager:
        await manager.run(
            [
                *(Task(log.work, n, resources="file:a") for n in range(4)),
                *(Task(log.work, f"free{n}") for n in range(4)),
            ]
        )
    assert trio.current_time() == pytest.approx(4)
    assert [log.spans[n] for n in range(4)] == [(0, 1), (1, 2), (2, 3), (3, 4)]


async def test_E4_a_rule_by_the_user_says_which_locks_a_task_needs(autojump_clock):
    log = Log()

    def rule(task):
        return Resources(f"file:{task.args[0][0]}", shared="dir:lib")

    async with open_task_manager(resources=rule) as manager:
        await manager.run(
            [Task(log.work, "a1"), Task(log.work, "a2"), Task(log.work, "b"), Task(log.work, "a3", resources="other")]
        )
    assert log.spans == {"a1": (0, 1), "a2": (1, 2), "b": (0, 1), "a3": (0, 1)}


async def test_who_runs_holds_its_locks_for_all_to_see(autojump_clock):
    locks = Locks()
    async with open_task_manager(locks=locks) as manager, trio.open_nursery() as nursery:
        await run_in(nursery, manager, Task(trio.sleep, 1, id="t", resources="file:a", shared="dir:lib"))
        (held,) = locks.held()
        assert (held.holder, held.names, held.shared) == ("t", ("dir:lib", "file:a"), ("dir:lib",))
    assert locks.held() == ()


# ---- with others who use the same locks


async def test_who_waits_for_others_waits_outside_of_a_slot(autojump_clock):
    locks, log = Locks(), Log()
    async with (
        open_task_manager(1, locks=locks) as manager,
        trio.open_nursery() as nursery,
        locks.hold("dir:src", holder="editor"),
    ):
        await run_in(nursery, manager, Task(log.work, "in src", id="s", resources="file:src/a"))
        assert waiting(manager) == {"s": (WaitsFor.LOCKS, ("editor",))}
        await run_in(nursery, manager, Task(log.work, "else", resources="file:lib/b"))
        await trio.sleep(3)
    assert log.spans == {"else": (0, 1), "in src": (3, 4)}


async def test_others_wait_for_a_task_in_their_turn(autojump_clock):
    locks, log = Locks(), Log()

    async def outsider(name):
        async with locks.hold("file:a", holder=name):
            await log.work(name)

    async with open_task_manager(locks=locks) as manager, trio.open_nursery() as nursery:
        nursery.start_soon(outsider, "first")
        await wait_all_tasks_blocked()
        await run_in(nursery, manager, Task(log.work, "task", resources="file:a"))
        nursery.start_soon(outsider, "last")
    assert log.spans == {"first": (0, 1), "task": (1, 2), "last": (2, 3)}


async def test_a_task_that_has_its_lock_in_turn_gets_the_next_slot(autojump_clock):
    locks, log = Locks(), Log()
    async with open_task_manager(1, locks=locks) as manager, trio.open_nursery() as nursery:
        async with locks.hold("x"):
            await run_in(nursery, manager, Task(log.work, "locked", id="l", resources="x"))
            await run_in(nursery, manager, *(Task(log.work, n, 0.9) for n in range(5)))
            await trio.sleep(0.5)
        await wait_all_tasks_blocked()
        assert waiting(manager)["l"] == (WaitsFor.SLOT, ())
        assert [held.holder for held in locks.held()] == ["l"]
    assert log.spans["locked"] == (0.9, 1.9)


async def test_a_task_does_not_keep_others_from_a_lock_while_there_is_no_slot_for_it(autojump_clock):
    locks, log = Locks(), Log()

    async def outsider():
        async with locks.hold("x"):
            await log.work("outsider")

    async with open_task_manager(1, locks=locks) as manager, trio.open_nursery() as nursery:
        async with locks.hold("x"):
            await run_in(nursery, manager, Task(log.work, "locked", resources="x"))
            await run_in(nursery, manager, Task(log.work, "long", 10))
        nursery.start_soon(outsider)
    assert log.spans == {"outsider": (1, 2), "long": (0, 10), "locked": (10, 11)}


async def test_who_gets_its_slot_in_the_moment_in_which_it_gives_up_waiting_for_it_comes_again(autojump_clock):
    locks, log = Locks(), Log()

    async def short():
        await trio.sleep(0.5)
        autojump_clock.jump(5)  # the slot is given away now, and by the next step the patience is over

    async with open_task_manager(1, locks=locks) as manager, trio.open_nursery() as nursery:
        async with locks.hold("x"):
            await run_in(nursery, manager, Task(log.work, "locked", id="l", resources="x"))
            await run_in(nursery, manager, Task(short))
        await wait_all_tasks_blocked()
        assert waiting(manager) == {"l": (WaitsFor.SLOT, ())}
    assert log.spans == {"locked": (5.5, 6.5)}
    assert manager.metrics().overall.succeeded == 2


async def test_of_two_that_are_given_slots_at_the_same_moment_the_urgent_one_goes_first(autojump_clock):
    for _ in range(10):  # whatever the order of the steps is
        log = Log()
        async with open_task_manager(2) as manager:
            began = trio.current_time()
            for name, priority in (("low", Priority.LOW), ("urgent", Priority.URGENT)):
                manager._door.hand_over([Task(log.work, name, resources="x", priority=priority)], "run")
        assert {name: start - began for name, (start, _) in log.spans.items()} == pytest.approx({"urgent": 0, "low": 1})


async def test_E11_a_task_that_takes_more_locks_inside_ends_though_the_next_has_them_and_no_slot(autojump_clock):
    """The ring: the task in the only slot wants a lock that one has that waits for the slot."""
    locks = Locks()
    order = []

    async def nested():
        await trio.sleep(1)
        async with locks.hold("x"):
            order.append("nested")

    async def simple():
        order.append("simple")

    async with open_task_manager(1, locks=locks) as manager, trio.open_nursery() as nursery, locks.hold("x"):
        await run_in(nursery, manager, Task(simple, id="s", resources="x"))
        await run_in(nursery, manager, Task(nested, id="n"))
        await trio.sleep(0.5)
    assert order == ["nested", "simple"]
    assert trio.current_time() == pytest.approx(1.5)


async def test_E11_tasks_that_want_the_same_several_in_any_order_all_end(autojump_clock):
    names = ["file:a", "file:b", "dir:c", "x"]
    log = Log()
    async with open_task_manager(4) as manager:
        results = await manager.run([Task(log.work, n, resources=names[n % 4 :] + names[: n % 4]) for n in range(12)])
    assert all(result.success for result in results)
    assert trio.current_time() == pytest.approx(12)


async def test_E11_status_shows_for_whom_each_task_waits(autojump_clock):
    async with open_task_manager(2) as manager, trio.open_nursery() as nursery:
        await run_in(
            nursery,
            manager,
            Task(trio.sleep, 1, id="a", resources="dir:src"),
            Task(trio.sleep, 1, id="b", resources="file:src/b"),
            Task(trio.sleep, 1, id="c", resources="dir:."),
            Task(trio.sleep, 1, id="d"),
            Task(trio.sleep, 1, id="e"),
        )
        assert waiting(manager) == {
            "b": (WaitsFor.TASKS, ("a",)),
            "c": (WaitsFor.TASKS, ("a", "b")),
            "e": (WaitsFor.SLOT, ()),
        }


async def test_E11_a_caller_that_holds_what_its_task_needs_is_told_the_ring(autojump_clock):
    locks = Locks()
    async with open_task_manager(locks=locks) as manager:
        async with locks.hold("dir:src"):
            with pytest.raises(
                TaskCycle, match="'t' needs the lock 'file:src/a', and who waits for it holds 'dir:src'"
            ):
                await manager.run([Task(trio.sleep, 1), Task(trio.sleep, 1, id="t", resources="file:src/a")])
            assert manager.status().waiting_count == manager.status().running_count == 0
            (result,) = await manager.run([Task(trio.sleep, 1, resources="file:lib/a")])
        assert result.success


async def test_E11_a_task_that_asks_for_what_it_has_is_told_the_ring_in_its_result(autojump_clock):
    locks = Locks()

    async def greedy():
        async with locks.hold("x"):
            pass

    async with open_task_manager(locks=locks) as manager:
        (result,) = await manager.run([Task(greedy, resources="x")])
    assert isinstance(result.error, LockCycle)


# ---- limits


async def test_a_task_holds_a_token_of_its_limit_while_it_runs(autojump_clock):
    log = Log()
    async with open_task_manager(limits=[Limit("llm", 2)]) as manager, trio.open_nursery() as nursery:
        await run_in(nursery, manager, *(Task(log.work, n, limits="llm") for n in range(4)))
        await run_in(nursery, manager, Task(log.work, "free"))
        assert {why for why, _ in waiting(manager).values()} == {WaitsFor.LIMITS}
        assert manager.status().running[0].limits == ("llm",)
    assert log.spans == {0: (0, 1), 1: (0, 1), "free": (0, 1), 2: (1, 2), 3: (1, 2)}


async def test_who_waits_for_a_token_waits_outside_of_a_slot_and_keeps_no_lock(autojump_clock):
    limits, locks, log = Limits([Limit("llm", 1)]), Locks(), Log()
    async with (
        open_task_manager(1, limits=limits, locks=locks) as manager,
        trio.open_nursery() as nursery,
        limits.hold("llm"),
    ):
        await run_in(nursery, manager, Task(log.work, "llm", resources="file:a", limits="llm"))
        assert locks.held() == ()
        await run_in(nursery, manager, *(Task(log.work, n) for n in range(3)))
        await trio.sleep(2.5)
    assert log.spans == {0: (0, 1), 1: (1, 2), 2: (2, 3), "llm": (3, 4)}


async def test_of_many_that_want_one_token_only_the_first_stands_in_line(autojump_clock):
    limits = Limits([Limit("llm", 1, max_waiting=2)])
    log = Log()
    async with open_task_manager(limits=limits) as manager, trio.open_nursery() as nursery, limits.hold("llm"):
        await run_in(nursery, manager, *(Task(log.work, n, limits="llm") for n in range(20)))
        assert [waiter.fair_key for waiter in limits.waiting("llm")] == ["work"]
    assert list(log.spans) == list(range(20))


async def test_an_urgent_task_stands_in_line_before_one_that_waits_there(autojump_clock):
    limits = Limits([Limit("llm", 1)])
    log = Log()
    async with open_task_manager(limits=limits) as manager, trio.open_nursery() as nursery, limits.hold("llm"):
        await run_in(nursery, manager, Task(log.work, "normal", limits="llm"))
        await run_in(nursery, manager, Task(log.work, "urgent", limits="llm", priority=Priority.URGENT))
    assert list(log.spans) == ["urgent", "normal"]


async def test_a_task_needs_several_limits_and_locks_and_has_them_at_once(autojump_clock):
    limits, locks, log = Limits([Limit("llm", 1), Limit("gpu", 1)]), Locks(), Log()
    async with open_task_manager(limits=limits, locks=locks) as manager, trio.open_nursery() as nursery:
        async with locks.hold("x"):
            await run_in(nursery, manager, Task(log.work, "all", resources="x", limits=["llm", "gpu"]))
            assert [line.held for line in limits.statistics().values()] == [0, 0]
            await trio.sleep(1)
        await trio.sleep(0.5)
        assert [line.held for line in limits.statistics().values()] == [1, 1]
        assert [held.names for held in locks.held()] == [("x",)]
    assert log.spans == {"all": (1, 2)}


async def test_a_lock_is_given_back_when_the_token_does_not_come_soon(autojump_clock):
    limits, locks, log = Limits([Limit("llm", 1)]), Locks(), Log()

    async def outsider():
        async with locks.hold("x"):
            await log.work("outsider")

    async with (
        open_task_manager(limits=limits, locks=locks) as manager,
        trio.open_nursery() as nursery,
        limits.hold("llm"),
    ):
        async with locks.hold("x"):
            await run_in(nursery, manager, Task(log.work, "task", id="t", resources="x", limits="llm"))
            assert waiting(manager) == {"t": (WaitsFor.LIMITS, ("llm",))}
        nursery.start_soon(outsider)
        await trio.sleep(5)
    assert log.spans == {"outsider": (0, 1), "task": (5, 6)}


async def test_E11_two_that_have_what_the_other_lacks_both_end_for_one_gives_up_first(autojump_clock):
    """The ring of two managers: if both gave up at the same moment, they would change places for ever."""
    limits, locks, log = Limits([Limit("llm", 1)]), Locks(), Log()
    async with (
        open_task_manager(limits=limits, locks=locks) as one,
        open_task_manager(limits=limits, locks=locks) as other,
        trio.open_nursery() as nursery,
        locks.hold("x", holder="me"),
    ):
        await run_in(nursery, one, Task(log.work, "first in line for the lock", id="a", resources="x", limits="llm"))
        async with limits.hold("llm"):
            await run_in(nursery, other, Task(log.work, "for the token", id="b", resources="x", limits="llm"))
            assert waiting(one) | waiting(other) == {
                "a": (WaitsFor.LOCKS, ("me",)),
                "b": (WaitsFor.LIMITS, ("llm",)),
            }
        nursery.cancel_scope.deadline = 60
    assert log.spans == {"first in line for the lock": (0.5, 1.5), "for the token": (1.5, 2.5)}


async def test_rates_pace_the_starts_of_tasks_and_a_permit_is_spent_once(autojump_clock):
    rate = RateLimit("rpm", 1, per=10)
    log = Log()
    async with open_task_manager(1, limits=[rate]) as manager:
        await manager.run([*(Task(log.work, n, limits="rpm") for n in range(3)), Task(log.work, "free", 2)])
    assert [began for began, _ in (log.spans[n] for n in range(3))] == pytest.approx([0, 10, 20], abs=2.1)
    assert log.spans["free"][0] < 2
    assert trio.current_time() == pytest.approx(21, abs=2)


async def test_a_limit_that_refuses_fails_the_task_by_its_rule(autojump_clock):
    limits = Limits([Limit("gpu", 1, when_full=WhenFull.REFUSE)])
    async with open_task_manager(limits=limits) as manager, limits.hold("gpu"):
        (result,) = await manager.run([Task(trio.sleep, 1, limits="gpu")])
    assert result.status is TaskStatus.FAILED
    assert isinstance(result.error, CapacityRefused)
    assert (result.started_at, result.attempts, result.seconds) == (None, 0, 0.0)


async def test_a_task_whose_token_is_taken_away_has_failed(autojump_clock):
    limits = Limits([Limit("gpu", 1, preemptible=True)])
    async with (
        open_task_manager(limits=limits) as manager,
        trio.open_nursery() as nursery,
        manager.as_completed([Task(trio.sleep, 9, limits="gpu")]) as results,
    ):
        await wait_all_tasks_blocked()
        async with limits.hold("gpu", priority=Priority.URGENT):
            nursery.cancel_scope.deadline = trio.current_time() + 1
        result = await anext(results)
    assert isinstance(result.error, Preempted)


async def test_a_limit_that_is_not_there_is_told_before_anything_is_accepted(autojump_clock):
    async with open_task_manager() as manager:
        with pytest.raises(UnknownLimit, match="there is no limit 'llm'"):
            await manager.run([Task(trio.sleep, 1), Task(trio.sleep, 1, limits="llm")])
        assert await manager.wait_all(0)
