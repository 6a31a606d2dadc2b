"""Group restarts at their edges: what happens to a round while it runs."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from supervisors import (
    Backoff,
    ChildSpec,
    ChildStatus,
    RestartLimit,
    Strategy,
    draining,
    exponential_backoff,
    open_supervisor,
)
from supervisors._backoff import MOST_ATTEMPTS, delay_of
from supervisors.testing import Fake, Trace

PLENTY = RestartLimit(100, 1000.0)
TWO_SECONDS = exponential_backoff(2.0, 2.0, jitter=0.0)


def cast(names, trace):
    return [Fake(name, trace) for name in names]


def group(fakes, strategy, **options):
    specs = [ChildSpec(fake.name, fake.run) for fake in fakes]
    return open_supervisor(specs, strategy=strategy, limit=PLENTY, **options)


async def test_R12_R13_an_earlier_sibling_that_crashes_while_the_rest_waits_takes_the_round_over(autojump_clock):
    a, b, c = fakes = cast("abc", trace := Trace())
    async with group(fakes, Strategy.REST_FOR_ONE, backoff=TWO_SECONDS) as supervisor:
        c.crash()
        await trio.sleep(1)
        a.crash()
        await trio.sleep(1.5)
        assert supervisor.child("c").status is ChildStatus.BACKING_OFF
        await trio.sleep(1)
        assert trace.of("started") == ["a", "b", "c", "a", "b", "c"]
    assert (a.starts, b.starts, c.starts) == (2, 2, 2)


async def test_R12_R13_a_later_sibling_that_crashed_first_still_comes_back_with_the_earlier_one(autojump_clock):
    a, b, _c = fakes = cast("abc", trace := Trace())
    async with group(fakes, Strategy.REST_FOR_ONE, backoff=TWO_SECONDS):
        a.crash()
        b.crash()
        await trio.sleep(5)
        assert trace.of("started") == ["a", "b", "c", "a", "b", "c"]


@pytest.mark.parametrize("strategy", [Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE])
async def test_R13_after_a_failed_start_the_next_sibling_is_not_even_begun(autojump_clock, strategy):
    a, b, c = fakes = cast("abc", Trace())
    async with group(fakes, strategy, backoff=TWO_SECONDS):
        b.start_delay, b.failing_starts = 0.5, 2  # its second start fails
        a.crash()
        await trio.sleep(3)
        assert (b.starts, c.starts) == (2, 1)
        await trio.sleep(3)
        assert c.starts == 2


async def test_R13_after_a_crash_in_the_moment_of_readiness_the_next_sibling_is_not_even_begun(autojump_clock):
    starts = 0

    async def flaky(*, task_status):
        nonlocal starts
        starts += 1
        await trio.sleep(0.5)  # so that the round sleeps when it is woken and cut in one moment
        task_status.started()
        if starts == 2:
            raise ValueError("at once")
        await trio.sleep_forever()

    a, c = cast("ac", Trace())
    specs = [ChildSpec("a", a.run), ChildSpec("flaky", flaky), ChildSpec("c", c.run)]
    async with open_supervisor(specs, strategy=Strategy.ONE_FOR_ALL, limit=PLENTY, backoff=TWO_SECONDS):
        a.crash()
        await trio.sleep(3)
        assert (starts, c.starts) == (2, 1)


@pytest.mark.parametrize("strategy", [Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE])
async def test_L9_a_child_that_starts_a_sibling_before_it_is_ready_does_not_wait_for_its_own_round(
    autojump_clock, strategy
):
    box, starts = [], 0

    async def mother(*, task_status):
        nonlocal starts
        starts += 1
        if starts == 2:
            await box[0].start_child(ChildSpec("daughter", trio.sleep_forever))
        task_status.started()
        if starts == 1:
            await trio.sleep(1)
            raise ValueError("again")
        await trio.sleep_forever()

    async with open_supervisor([ChildSpec("mother", mother)], strategy=strategy, limit=PLENTY) as supervisor:
        box.append(supervisor)
        with trio.fail_after(10):
            await trio.sleep(2)
            await supervisor.start_child(ChildSpec("later", trio.sleep_forever))
        assert [child.status for child in supervisor.children()] == [ChildStatus.RUNNING] * 3


async def test_R15_S17_a_child_stopped_while_its_round_starts_the_ones_before_stays_stopped(autojump_clock):
    a, b, c = fakes = cast("abc", Trace())
    async with group(fakes, Strategy.ONE_FOR_ALL) as supervisor:
        b.start_delay = 5.0
        a.crash()
        await trio.sleep(1)
        await supervisor.stop_child("c")
        await trio.sleep(9)
        assert (supervisor.child("c").status, c.starts) == (ChildStatus.STOPPED, 1)
        assert supervisor.child("b").status is ChildStatus.RUNNING
        c_again, a_again = c.starts + 1, a.starts + 1
        a.crash()
        await trio.sleep(9)
        assert (c.starts, a.starts) == (c_again, a_again)
    assert b.starts == 3


async def test_S17_S21_a_child_that_listens_before_it_is_ready_has_no_grace(autojump_clock):
    async def slow(*, task_status):
        draining()
        await trio.sleep(100)
        task_status.started()

    async with open_supervisor() as supervisor, trio.open_nursery() as nursery:
        nursery.start_soon(_start_and_expect_a_stop, supervisor, ChildSpec("slow", slow, shutdown=50.0))
        await wait_all_tasks_blocked()
        await supervisor.stop_child("slow")
        assert trio.current_time() == 0.0


async def _start_and_expect_a_stop(supervisor, spec):
    with pytest.raises(Exception, match="stopped while it started"):
        await supervisor.start_child(spec)


def test_B14_a_wait_is_not_asked_about_more_attempts_than_make_a_difference():
    assert delay_of(Backoff(lambda state: state.attempt_number), 10**12, ValueError()) == MOST_ATTEMPTS
