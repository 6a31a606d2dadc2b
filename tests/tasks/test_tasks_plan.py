"""What may start, by the plan: rules one by one, and against a plain model that compares everybody with everybody."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spaceactors.tasks import Resources, Task, plan_of
from spaceactors.tasks._plan import Board, Entry, Ready
from supervisors import Priority
from supervisors._lock_names import claims_of, conflicts

NAMES = ["dir:.", "dir:a", "dir:a/b", "file:a/b/c", "file:a/d", "file:e", "x", "y"]
WANTS = st.dictionaries(st.sampled_from(NAMES), st.booleans(), max_size=3)


async def work() -> None:
    pass


def claims(wants):
    if not wants:
        return ()
    return claims_of(
        [name for name, shared in wants.items() if not shared], [name for name, shared in wants.items() if shared]
    )


def meet(one, other):
    return any(conflicts(a, b) for a in one.claims for b in other.claims)


def entry(number, *names, shared=(), priority=Priority.NORMAL, at=0.0, ageing=10.0, group=()):
    made = Entry(claims_of(names, shared) if names or shared else (), priority, number, group)
    made.enter_line(at, ageing)
    return made


def on(board, *entries):
    for one in entries:
        board.enter(one)
    return entries


# ---- one rule each


def test_E3_who_conflicts_with_nobody_is_free():
    board = Board()
    a, b, c = on(board, entry(1, "file:a"), entry(2, "file:b"), entry(3))
    assert [*map(board.is_free, (a, b, c))] == [True, True, True]


def test_E3_who_comes_later_waits_for_whom_it_conflicts_with():
    board = Board()
    first, second = on(board, entry(1, "dir:src"), entry(2, "file:src/a.py"))
    assert board.is_free(first)
    assert not board.is_free(second)
    assert board.in_the_way(second, 30) == [first]
    board.start(first)
    assert not board.is_free(second)
    assert board.leave(first) == [second]


def test_those_who_share_are_free_at_once_and_who_wants_it_alone_is_not_overtaken_by_later_ones():
    board = Board()
    a, b, writer, late = on(
        board, entry(1, shared=("x",)), entry(2, shared=("x",)), entry(3, "x"), entry(4, shared=("x",))
    )
    assert [*map(board.is_free, (a, b, writer, late))] == [True, True, False, False]
    board.start(a)
    board.start(b)
    assert board.leave(a) == []
    assert board.leave(b) == [writer]


def test_a_higher_priority_goes_before_whoever_came_earlier():
    board = Board()
    low, high = on(board, entry(1, "x"), entry(2, "x", priority=Priority.HIGH))
    assert board.is_free(high)
    assert not board.is_free(low)


def test_waiting_makes_up_for_priority_so_that_nobody_waits_for_ever():
    board = Board()
    old, new = on(board, entry(1, "x", at=0.0), entry(2, "x", priority=Priority.HIGH, at=10.1))
    assert board.is_free(old)
    assert not board.is_free(new)


def test_without_ageing_priorities_always_count():
    board = Board()
    ageing = float("inf")
    old = entry(1, "x", at=0.0, ageing=ageing)
    new = entry(2, "x", priority=Priority.HIGH, at=1e9, ageing=ageing)
    on(board, old, new)
    assert board.is_free(new)
    assert not board.is_free(old)


def test_who_is_cancelled_while_it_waits_is_in_nobodys_way_any_more():
    board = Board()
    runs, waits, behind = on(board, entry(1, "file:a"), entry(2, "dir:."), entry(3, "file:b"))
    board.start(runs)
    assert not board.is_free(behind)
    assert board.leave(waits) == [behind]


def test_nothing_is_left_of_who_has_left():
    board = Board()
    for one in on(board, entry(1, "dir:a"), entry(2, "file:a/b", shared=("z",)), entry(3, "x")):
        board.leave(one)
    assert board._places == {}


def test_of_those_who_may_start_the_best_rank_is_first():
    board = Board()
    ready = Ready(board)
    entries = on(board, entry(1), entry(2, priority=Priority.LOW), entry(3, priority=Priority.URGENT), entry(4))
    for one in entries:
        ready.put(one)
    assert [ready.take({}).number for _ in entries] == [3, 1, 4, 2]
    assert ready.take({}) is None


def test_who_is_kept_out_by_one_that_came_later_is_dropped_and_comes_back_with_its_end():
    board = Board()
    ready = Ready(board)
    (low,) = on(board, entry(1, "x"))
    ready.put(low)
    (high,) = on(board, entry(2, "x", priority=Priority.HIGH))
    assert ready.take({}) is None
    board.start(high)
    assert board.leave(high) == [low]
    ready.put(low)
    assert ready.take({}) is low


def test_who_has_left_is_not_taken():
    board = Board()
    ready = Ready(board)
    (gone,) = on(board, entry(1))
    ready.put(gone)
    board.leave(gone)
    assert ready.take({}) is None


def test_who_would_only_stand_behind_one_of_its_group_is_left_where_it_is():
    board = Board()
    ready = Ready(board)
    in_line, behind, other = on(board, entry(1, group=("llm",)), entry(2, group=("llm",)), entry(3))
    urgent = on(board, entry(4, group=("llm",), priority=Priority.URGENT))[0]
    for one in (behind, other, urgent):
        ready.put(one)
    lines = {("llm",): [in_line]}
    assert [ready.take(lines), ready.take(lines), ready.take(lines)] == [urgent, other, None]
    assert ready.take({}) is behind


# ---- against a model


@given(st.lists(st.tuples(WANTS, st.sampled_from(Priority), st.booleans()), max_size=20), st.randoms())
def test_E3_who_is_free_is_who_meets_nobody_that_runs_or_waits_before_it(program, chance):
    """Tasks come, start and leave in random order; after each step everybody is compared with everybody."""
    board, waiting, running, expected_free = Board(), [], [], set()
    for number, (wants, priority, leaves_waiting) in enumerate(program):
        one = Entry(claims(wants), priority, number)
        one.enter_line(float(number), 3.0)
        board.enter(one)
        waiting.append(one)
        free = [one for one in waiting if board.is_free(one)]
        model = {
            one
            for one in waiting
            if not any(meet(one, other) for other in running)
            and not any(meet(one, other) for other in waiting if other.rank < one.rank)
        }
        assert set(free) == model
        for one in waiting:
            blockers = set(board.in_the_way(one, 100))
            assert blockers == {o for o in running if meet(one, o)} | {
                o for o in waiting if o.rank < one.rank and meet(one, o)
            }
        expected_free = model
        if free and chance.random() < 0.5:
            chosen = chance.choice(free)
            board.start(chosen)
            waiting.remove(chosen)
            running.append(chosen)
            expected_free = {one for one in waiting if board.is_free(one)}
        where = waiting if leaves_waiting else running
        if where and chance.random() < 0.5:
            gone = chance.choice(where)
            where.remove(gone)
            freed = board.leave(gone)
            now_free = {one for one in waiting if board.is_free(one)}
            assert now_free - expected_free <= set(freed) <= now_free
    for one in waiting + running:
        board.leave(one)
    assert board._places == {}


@pytest.mark.parametrize("names", [["x"], ["dir:a", "file:a/b"], NAMES], ids=["one", "nested", "many"])
def test_E3_ten_thousand_that_wait_cost_no_more_each_than_a_hundred(names):
    """Counted in looks at places, not in seconds: how many lines are asked for their first until all have left."""
    asked = Counter()

    def cost(count):
        from spaceactors.tasks import _plan

        real = _plan._Line.first

        def first(self):
            asked[count] += 1
            return real(self)

        _plan._Line.first = first
        try:
            board, chance = Board(), random.Random(1)
            ready = Ready(board)
            entries = [entry(n, chance.choice(names), at=float(n)) for n in range(count)]
            for one in on(board, *entries):
                if board.is_free(one):
                    ready.put(one)
            done = 0
            while (one := ready.take({})) is not None:
                board.start(one)
                for freed in board.leave(one):
                    ready.put(freed)
                done += 1
            assert done == count
        finally:
            _plan._Line.first = real
        return asked[count] / count

    assert cost(10_000) < 2 * cost(100) + 1


# ---- the plan for people


def tasks_of(program):
    return [
        Task(
            work,
            id=str(n),
            resources=[name for name, shared in wants.items() if not shared],
            shared=[name for name, shared in wants.items() if shared],
            priority=priority,
        )
        for n, (wants, priority) in enumerate(program)
    ]


@given(st.lists(st.tuples(WANTS, st.sampled_from(Priority)), max_size=25))
def test_E3_no_two_of_one_wave_conflict_and_no_two_groups_meet(program):
    tasks = tasks_of(program)
    plan = plan_of(tasks)
    held = {task.id: claims(program[int(task.id)][0]) for task in tasks}

    def conflict(one, other):
        return any(conflicts(a, b) for a in held[one.id] for b in held[other.id])

    for many in (plan.waves, plan.groups):
        assert sorted((task for one in many for task in one), key=id) == sorted(tasks, key=id)
    for wave in plan.waves:
        assert not any(conflict(a, b) for a in wave for b in wave if a is not b)
    for before, wave in zip(plan.waves, plan.waves[1:], strict=False):
        assert all(any(conflict(task, other) for other in before) for task in wave)
    for n, group in enumerate(plan.groups):
        assert not any(conflict(a, b) for other in plan.groups[n + 1 :] for a in group for b in other)
        reached, todo = {group[0]}, [group[0]]
        while todo:
            one = todo.pop()
            new = [other for other in group if other not in reached and conflict(one, other)]
            reached.update(new)
            todo += new
        assert reached == set(group)


def test_E3_a_plan_reads_as_waves_of_names():
    plan = plan_of(
        [Task(work, id="a", resources="x"), Task(work, id="b", resources="x"), Task(work, id="c", resources="y")]
    )
    assert str(plan) == "wave 1: a, c\nwave 2: b"
    assert [[task.id for task in group] for group in plan.groups] == [["a", "b"], ["c"]]


def test_a_plan_puts_a_higher_priority_into_an_earlier_wave():
    plan = plan_of([Task(work, id="a", resources="x"), Task(work, id="b", resources="x", priority=Priority.HIGH)])
    assert [[task.id for task in wave] for wave in plan.waves] == [["b"], ["a"]]


def test_a_task_comes_behind_all_that_share_what_it_wants_alone_not_only_behind_the_last_of_them():
    plan = plan_of(
        [
            Task(work, id="a", resources="y"),
            Task(work, id="late reader", resources="y", shared="x"),
            Task(work, id="reader", shared="x"),
            Task(work, id="writer", resources="x"),
        ]
    )
    assert str(plan) == "wave 1: a, reader\nwave 2: late reader\nwave 3: writer"


def test_E4_a_rule_says_what_tasks_need_that_name_nothing():
    tasks = [Task(work, id="a", agent="writer"), Task(work, id="b", agent="writer"), Task(work, id="c", resources="c")]
    assert len(plan_of(tasks, resources=lambda task: [f"service:{task.agent}"]).waves) == 2
    assert len(plan_of(tasks, resources=lambda task: Resources(shared=f"service:{task.agent}")).waves) == 1
    assert len(plan_of(tasks, resources=lambda _: ()).waves) == 1


def test_E4_a_rule_that_returns_no_names_is_told_so():
    with pytest.raises(TypeError, match="must return names in a list"):
        plan_of([Task(work)], resources=lambda _: "file:a")
    with pytest.raises(TypeError, match="what the rule for resources returns must be names"):
        plan_of([Task(work)], resources=lambda _: [3])


@pytest.mark.parametrize("tasks", [Task(work), 3, [work]], ids=["task", "number", "function"])
def test_a_plan_takes_tasks_in_a_list(tasks):
    with pytest.raises(TypeError, match=r"plan_of\(\) takes tasks"):
        plan_of(tasks)
