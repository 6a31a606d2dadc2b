"""Results come in the order of the items where that is asked for, whatever the stages do; or else as they are done."""

from __future__ import annotations

import pytest
import trio

from spaceactors.pipelines import Batch, Input, OnError, Pipeline, Producer, Sink, Stage

number = Input(int)
LATE_FIRST = [5, 4, 3, 2, 1, 0]


async def sleep(value: int) -> int:
    await trio.sleep(value)
    return value


async def same(value: int) -> int:
    return value


async def join(one: int, other: int) -> tuple[int, int]:
    return one, other


async def test_several_at_once_keep_the_order_of_the_items(autojump_clock):
    pipeline = Pipeline("p", number, Stage(sleep, number, concurrency=6))
    async with pipeline.open(LATE_FIRST) as stream:
        assert [result async for result in stream] == LATE_FIRST
    assert trio.current_time() == 5


async def test_several_at_once_give_what_is_done_first_where_no_order_is_asked_for(autojump_clock):
    pipeline = Pipeline("p", number, Stage(sleep, number, concurrency=6, ordered=False))
    async with pipeline.open(LATE_FIRST) as stream:
        assert [result async for result in stream] == LATE_FIRST[::-1]
    assert trio.current_time() == 5


@pytest.mark.parametrize("ordered", [True, False])
async def test_no_more_than_the_concurrency_at_once_and_no_fewer(ordered, autojump_clock):
    running = most = 0

    async def work(value: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await trio.sleep(1)
        running -= 1
        return value

    pipeline = Pipeline("p", number, Stage(work, number, concurrency=3, ordered=ordered))
    await pipeline.process(range(9))
    assert most == 3
    assert trio.current_time() == 3


async def test_stages_beside_each_other_in_one_place_work_on_several_items_at_once_too(autojump_clock):
    first = Stage(sleep, number, concurrency=3)
    second = Stage(sleep, first, name="second", concurrency=3)
    pipeline = Pipeline("p", number, second)
    assert len(pipeline.plan.groups()) == 1
    async with pipeline.open([3, 2, 1]) as stream:
        assert [result async for result in stream] == [3, 2, 1]
    assert trio.current_time() == 6


async def test_an_ordered_stage_holds_back_at_most_as_many_as_it_has_at_once(autojump_clock):
    begun = []

    async def work(value: int) -> int:
        begun.append(value)
        await trio.sleep(100 if value == 0 else 0)
        return value

    pipeline = Pipeline("p", number, Stage(work, number, concurrency=3))
    async with pipeline.open(range(20)) as stream:
        await trio.sleep(50)
        assert begun == [0, 1, 2]
        assert [result async for result in stream] == list(range(20))


async def test_what_was_skipped_leaves_no_hole_in_the_order(autojump_clock):
    async def odd(value: int) -> int:
        await trio.sleep(value)
        if value % 2 == 0:
            raise ValueError(value)
        return value

    pipeline = Pipeline("p", number, Stage(odd, number, concurrency=4, on_error=OnError.SKIP))
    async with pipeline.open(LATE_FIRST) as stream:
        assert [result async for result in stream] == [5, 3, 1]


async def test_the_order_holds_over_a_join_of_branches_of_different_speed(autojump_clock):
    async def upside_down(value: int) -> int:
        await trio.sleep(5 - value)
        return value

    slow = Stage(sleep, number, concurrency=4)
    other = Stage(upside_down, number, concurrency=3)
    pipeline = Pipeline("p", number, Stage(join, slow, other, concurrency=2))
    async with pipeline.open(LATE_FIRST, buffer=1) as stream:
        assert [result async for result in stream] == [(value, value) for value in LATE_FIRST]


async def test_a_join_takes_what_belongs_together_where_no_order_is_kept(autojump_clock):
    slow = Stage(sleep, number, concurrency=4, ordered=False)
    quick = Stage(same, number)
    pipeline = Pipeline("p", number, Stage(join, slow, quick))
    async with pipeline.open(LATE_FIRST) as stream:
        assert sorted([result async for result in stream]) == [(value, value) for value in range(6)]


async def test_a_stage_may_take_the_input_beside_what_was_made_of_it_or_the_same_twice(autojump_clock):
    twice = Stage(join, number, number, name="twice")

    async def all_of(value: int, pair: tuple[int, int]) -> tuple[int, tuple[int, int]]:
        return value, pair

    pipeline = Pipeline("p", number, Stage(all_of, number, twice))
    async with pipeline.open([1, 2]) as stream:
        assert [result async for result in stream] == [(1, (1, 1)), (2, (2, 2))]


async def test_the_order_holds_into_batches_and_through_them(autojump_clock):
    async def total(values: tuple[int, ...]) -> tuple[int, ...]:
        await trio.sleep(10 - sum(values))
        return values

    batch = Batch(Stage(sleep, number, concurrency=3), 2)
    pipeline = Pipeline("p", number, Stage(total, batch, concurrency=3))
    async with pipeline.open(LATE_FIRST) as stream:
        assert [result async for result in stream] == [(5, 4), (3, 2), (1, 0)]


async def test_the_order_holds_through_a_nested_pipeline(autojump_clock):
    inner = Pipeline("inner", number, Stage(sleep, number))
    pipeline = Pipeline("p", number, Stage(inner, number, concurrency=6))
    async with pipeline.open(LATE_FIRST) as stream:
        assert [result async for result in stream] == LATE_FIRST
    assert trio.current_time() == 5


async def test_fan_out_in_one_place_runs_the_branches_at_the_same_time(autojump_clock):
    numbers = Producer(lambda: [1, 2], name="numbers")
    base = Stage(same, numbers)
    one, two = Stage(sleep, base, name="one"), Stage(sleep, base, name="two")
    pipeline = Pipeline("p", numbers, Stage(join, one, two))
    assert [len(group) for group in pipeline.plan.groups()] == [4, 1]
    async with pipeline.open() as stream:
        assert [result async for result in stream] == [(1, 1), (2, 2)]
    assert trio.current_time() == 3


async def test_a_sink_gets_the_items_in_order(autojump_clock):
    seen = []
    pipeline = Pipeline("p", number, Sink(seen.append, Stage(sleep, number, concurrency=4)))
    await pipeline.process(LATE_FIRST)
    assert seen == LATE_FIRST


async def test_workers_that_are_free_at_the_same_moment_take_items_in_order(autojump_clock):
    async def every_other_pair(value: int) -> int:
        await trio.sleep(1)
        if value // 2 % 2 == 0:  # both workers skip, and take the next ones, in one pass of the scheduler
            raise ValueError(value)
        return value

    stage = Stage(every_other_pair, number, concurrency=2, on_error=OnError.SKIP)
    async with Pipeline("p", number, stage).open(range(100)) as stream:
        assert [result async for result in stream] == [value for value in range(100) if value // 2 % 2]
