"""The circuit breaker at work, on virtual time and in many tasks."""

from __future__ import annotations

import contextlib
import gc
import inspect
import pickle

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from supervisors import (
    CapacityRefused,
    CapacityTimeout,
    CircuitBreaker,
    CircuitChanged,
    CircuitOpen,
    CircuitState,
    Limit,
    Limits,
)
from supervisors.testing import seed_schedule

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN


async def call(breaker, error=None, seconds=0.0):
    async with breaker:
        await trio.sleep(seconds)
        if error:
            raise error


async def fail(breaker, times=1, error=None):
    for _ in range(times):
        failure = error or OSError("no route")
        with pytest.raises(type(failure)):
            await call(breaker, failure)


async def opened(**options):
    breaker = CircuitBreaker("anthropic", failure_threshold=2, timeout=10.0, **options)
    await fail(breaker, 2)
    return breaker


async def test_after_failures_in_a_row_calls_are_refused_at_once(autojump_clock):
    breaker = CircuitBreaker("anthropic")
    await fail(breaker, 4)
    assert breaker.state is CLOSED
    await fail(breaker)
    assert breaker.state is OPEN
    await trio.sleep(10)
    with pytest.raises(CircuitOpen, match=r"'anthropic' is open.*OSError: no route.*try again in 20 s") as refused:
        await call(breaker)
    assert refused.value.retry_after == breaker.retry_after == 20.0
    assert pickle.loads(pickle.dumps(refused.value)).retry_after == 20.0


async def test_refusing_is_no_failure_and_does_not_hold_it_open(autojump_clock):
    breaker = await opened()
    await trio.sleep(9.0)
    with pytest.raises(CircuitOpen):
        await call(breaker)
    await trio.sleep(1.0)
    await call(breaker)
    assert breaker.state is HALF_OPEN


async def test_who_sleeps_as_long_as_told_is_let_through(autojump_clock):
    breaker = await opened()
    await trio.sleep(0.1)
    await trio.sleep(breaker.retry_after)
    assert breaker.retry_after == 0.0
    await call(breaker)


async def test_successes_close_it(autojump_clock):
    breaker = await opened()
    await trio.sleep(10)
    await call(breaker)
    assert breaker.state is HALF_OPEN
    await call(breaker)
    assert breaker.state is CLOSED


async def test_one_failed_trial_opens_it_again(autojump_clock):
    breaker = await opened()
    await trio.sleep(10)
    await fail(breaker)
    assert (breaker.state, breaker.retry_after) == (OPEN, 10.0)


async def test_only_so_many_trial_calls_run_at_once(autojump_clock):
    breaker = await opened(half_open_max_calls=2)
    await trio.sleep(10)
    refused = []

    async def attempt():
        try:
            await call(breaker, seconds=1)
        except CircuitOpen as error:
            refused.append(error)

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(attempt)
    assert len(refused) == 3
    assert all("half open" in str(error) and error.retry_after == 10.0 for error in refused)
    assert breaker.state is CLOSED


async def test_a_cancelled_trial_makes_place_for_the_next(autojump_clock):
    breaker = await opened()
    await trio.sleep(10)
    with trio.move_on_after(1):
        await call(breaker, seconds=100)
    assert breaker.state is HALF_OPEN
    await call(breaker)
    await call(breaker)
    assert breaker.state is CLOSED


async def test_who_is_cancelled_on_the_way_in_takes_no_place(autojump_clock):
    breaker = await opened()
    await trio.sleep(10)
    with trio.CancelScope() as scope:
        scope.cancel()
        await call(breaker)
    assert scope.cancelled_caught
    assert breaker.retry_after == 0.0


async def test_entering_is_a_checkpoint(autojump_clock):
    breaker = CircuitBreaker("x")
    with trio.testing.assert_checkpoints():
        async with breaker:
            pass
    with trio.CancelScope() as scope:
        scope.cancel()
        async with breaker:
            pytest.fail("a cancelled call began")


async def test_a_function_is_not_asked_about_cancellation_and_ctrl_c(autojump_clock):
    asked = []
    breaker = CircuitBreaker("x", failure_threshold=1, counts=lambda error: not asked.append(error))
    with trio.move_on_after(1):
        await call(breaker, seconds=100)
    with pytest.raises(KeyboardInterrupt):
        await call(breaker, KeyboardInterrupt())
    assert (asked, breaker.state) == ([], CLOSED)


async def test_cancelled_calls_are_no_failures(autojump_clock):
    breaker = CircuitBreaker("x", failure_threshold=1)
    with trio.move_on_after(1):
        await call(breaker, seconds=100)
    assert breaker.state is CLOSED


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(), ValueError("not counted")])
async def test_what_does_not_count_is_neither_failure_nor_success(error, autojump_clock):
    breaker = CircuitBreaker("x", failure_threshold=2, counts=OSError)
    await fail(breaker)
    await fail(breaker, error=error)
    assert breaker.state is CLOSED
    await fail(breaker)  # still the second in a row
    assert breaker.state is OPEN
    await trio.sleep(30)
    await fail(breaker, error=error)
    assert breaker.state is HALF_OPEN
    await call(breaker)


@pytest.mark.parametrize(
    ("counts", "error", "is_failure"),
    [
        (Exception, OSError(), True),
        (OSError, ConnectionError(), True),
        ((OSError, trio.TooSlowError), trio.TooSlowError(), True),
        ((OSError, trio.TooSlowError), ValueError(), False),
        (lambda error: "503" in str(error), RuntimeError("503"), True),
        (lambda error: "503" in str(error), RuntimeError("404"), False),
        (OSError, ExceptionGroup("", [ValueError(), ExceptionGroup("", [OSError()])]), True),
        (OSError, ExceptionGroup("", [ValueError()]), False),
        (lambda error: isinstance(error, OSError), ExceptionGroup("", [OSError()]), True),
        (OSError, BaseExceptionGroup("", [KeyboardInterrupt(), OSError()]), True),
        (Exception, CapacityRefused("our own limit"), False),
        (Exception, CircuitOpen("of another"), False),
        ((OSError, CapacityTimeout), CapacityTimeout("named"), True),
        ((OSError, CapacityTimeout), CapacityRefused("not named"), False),
        (lambda error: True, CapacityRefused("as the function says"), True),
    ],
)
async def test_what_counts_is_said_by_classes_or_a_function(counts, error, is_failure):
    breaker = CircuitBreaker("x", failure_threshold=1, counts=counts)
    with pytest.raises(BaseException) as raised:  # noqa: PT011  # the very object is compared
        await call(breaker, error)
    assert raised.value is error
    assert (breaker.state is OPEN) == is_failure


async def test_a_timeout_of_our_own_limit_is_no_failure_of_the_service(autojump_clock):
    limits, breaker = Limits([Limit("llm", 1, wait_timeout=1.0)]), CircuitBreaker("x", failure_threshold=1)
    async with limits.hold("llm"):
        with pytest.raises(CapacityTimeout):
            async with breaker, limits.hold("llm"):
                pass
    assert breaker.state is CLOSED


async def test_a_function_that_raises_loses_no_place(autojump_clock):
    def counts(error):
        raise RuntimeError("broken predicate")

    breaker = CircuitBreaker("x", timeout=10.0, counts=counts)
    breaker.trip()
    await trio.sleep(10)
    for _ in range(3):
        with pytest.raises(RuntimeError, match="broken predicate"):
            await call(breaker, OSError())
    await call(breaker)


async def test_late_results_do_not_confuse_a_new_state(autojump_clock):
    breaker = CircuitBreaker("x", failure_threshold=2, timeout=5.0)

    async def late(error, seconds):
        with contextlib.suppress(OSError):
            await call(breaker, error, seconds)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(late, None, 6)  # a success of the first closed time, in the half-open time
        nursery.start_soon(late, OSError(), 7)  # a failure of it
        await fail(breaker, 2)
        await trio.sleep(5)
        nursery.start_soon(late, None, 4)  # the trial
        await trio.sleep(1.5)
        assert (breaker.state, breaker.retry_after) == (HALF_OPEN, 5.0)  # its place is still taken
        await trio.sleep(1)
        assert breaker.state is HALF_OPEN
    assert breaker.state is HALF_OPEN
    await call(breaker)
    assert breaker.state is CLOSED


async def test_many_tasks_share_one(autojump_clock):
    breaker = CircuitBreaker("x", failure_threshold=3)
    async with trio.open_nursery() as nursery:
        for n in range(50):
            nursery.start_soon(call, breaker, None, n % 7)
    assert breaker.state is CLOSED
    assert not breaker._calls


async def test_a_block_inside_a_block_is_part_of_it(autojump_clock):
    breaker = CircuitBreaker("x", failure_threshold=2)
    with pytest.raises(ConnectionError):
        async with breaker, breaker:
            raise ConnectionError
    assert breaker.state is CLOSED  # one failure, not two
    await fail(breaker)
    await trio.sleep(30)
    async with breaker, breaker:  # one trial
        pass
    assert breaker.state is HALF_OPEN
    async with breaker:
        with contextlib.suppress(OSError):
            await fail(breaker)
    assert breaker.state is CLOSED  # the outer one succeeded
    assert not breaker._calls


async def test_a_block_in_a_child_task_is_a_call_of_its_own(autojump_clock):
    breaker = CircuitBreaker("x", failure_threshold=1)
    async with breaker:
        with contextlib.suppress(ExceptionGroup):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(fail, breaker)
        assert breaker.state is OPEN
        with pytest.raises(ExceptionGroup) as refused:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(call, breaker)
    assert [type(error) for error in refused.value.exceptions] == [CircuitOpen]


async def test_a_trial_may_do_its_calls_in_child_tasks(autojump_clock):
    breaker = await opened()
    await trio.sleep(10)
    for state in (HALF_OPEN, CLOSED):
        async with breaker, trio.open_nursery() as nursery, trio.open_nursery() as inner:
            nursery.start_soon(call, breaker)
            inner.start_soon(call, breaker)
            with pytest.raises(ExceptionGroup) as failed:
                async with trio.open_nursery() as innermost:
                    innermost.start_soon(call, breaker, OSError())  # what the trial makes of it counts
            assert [type(error) for error in failed.value.exceptions] == [OSError]
        assert breaker.state is state
    assert not breaker._calls


async def test_so_may_the_child_tasks_of_its_child_tasks(autojump_clock):
    breaker = await opened()
    await trio.sleep(10)

    async def child():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call, breaker)

    async with breaker, trio.open_nursery() as nursery:
        nursery.start_soon(child)
    assert breaker.retry_after == 0.0


async def test_the_child_task_of_a_call_from_before_is_part_of_no_trial(autojump_clock):
    breaker = CircuitBreaker("x", timeout=10.0)
    async with trio.open_nursery() as nursery, breaker:
        breaker.trip()
        await trio.sleep(10)
        nursery.start_soon(call, breaker, None, 5)
        await wait_all_tasks_blocked()
        with pytest.raises(ExceptionGroup) as refused:
            async with trio.open_nursery() as children:
                children.start_soon(call, breaker)
    assert [type(error) for error in refused.value.exceptions] == [CircuitOpen]


async def test_a_trial_that_fails_in_a_child_task_opens_it_again(autojump_clock):
    breaker = await opened()
    await trio.sleep(10)
    with pytest.raises(ExceptionGroup):
        async with breaker, trio.open_nursery() as nursery:
            nursery.start_soon(call, breaker, OSError())
    assert breaker.state is OPEN


async def test_no_other_call_comes_in_with_a_trial(autojump_clock):
    breaker = await opened()
    await trio.sleep(10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(call, breaker, None, 5)
        await trio.sleep(1)
        with pytest.raises(CircuitOpen):
            await call(breaker)


async def test_two_breakers_do_not_mix(autojump_clock):
    first, second = CircuitBreaker("1", failure_threshold=1), CircuitBreaker("2", failure_threshold=1)
    async with first:
        with contextlib.suppress(OSError):
            async with second:
                raise OSError
    assert (first.state, second.state) == (CLOSED, OPEN)


async def test_a_generator_that_is_left_open_frees_its_place(autojump_clock):
    breaker = await opened()
    await trio.sleep(10)

    async def chunks():
        async with breaker:
            yield 1
            yield 2

    stream = chunks()
    async with trio.open_nursery() as nursery:

        async def reads_one():
            await anext(stream)

        nursery.start_soon(reads_one)
    assert breaker.retry_after == 10.0
    await stream.aclose()  # by another task than the one that read
    assert breaker.retry_after == 0.0
    assert not breaker._calls


async def test_a_task_that_dies_leaves_nothing_behind(autojump_clock):
    breaker = CircuitBreaker("x", counts=OSError)

    async def dies():
        async with breaker:
            await trio.sleep(1)
            raise ValueError

    with pytest.raises(ExceptionGroup) as died:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(dies)
            nursery.start_soon(call, breaker, None, 100)
    assert [type(error) for error in died.value.exceptions] == [ValueError]
    gc.collect()
    assert not breaker._calls


async def test_it_goes_around_an_async_function(autojump_clock):
    breaker = CircuitBreaker("x", failure_threshold=1)

    @breaker
    async def half(of: int, *, error: Exception | None = None) -> float:
        """Halve it."""
        if error:
            raise error
        return of / 2

    assert await half(5) == 2.5
    assert (half.__name__, half.__doc__) == ("half", "Halve it.")
    assert inspect.iscoroutinefunction(half)
    with pytest.raises(ConnectionError):
        await half(1, error=ConnectionError())
    with pytest.raises(CircuitOpen):
        await half(1)


@pytest.mark.parametrize("thing", [len, 5, lambda: None])
def test_it_goes_around_nothing_else(thing):
    with pytest.raises(TypeError, match="async function"):
        CircuitBreaker("x")(thing)


async def test_by_hand(autojump_clock):
    breaker = CircuitBreaker("x")
    breaker.trip("maintenance until noon")
    with pytest.raises(CircuitOpen, match="maintenance until noon"):
        await call(breaker)
    breaker.reset()
    await call(breaker)
    await fail(breaker, 4)
    breaker.reset()
    await fail(breaker, 4)
    assert breaker.state is CLOSED


async def test_changes_can_be_read(autojump_clock):
    breaker = CircuitBreaker("x", failure_threshold=1, success_threshold=1, timeout=10.0)
    async with breaker.events() as changes:
        await fail(breaker)
        await trio.sleep(12)
        await call(breaker)
        read = [await anext(changes) for _ in range(3)]
    assert read == [
        CircuitChanged("x", 0.0, CLOSED, OPEN, "OSError: no route"),
        CircuitChanged("x", 12.0, OPEN, HALF_OPEN, "OSError: no route"),
        CircuitChanged("x", 12.0, HALF_OPEN, CLOSED, ""),
    ]
    assert "closed" in repr(breaker)


async def test_an_error_is_not_kept_alive():
    breaker = CircuitBreaker("x", failure_threshold=1)

    class Heavy(Exception):
        pass

    with contextlib.suppress(Heavy):
        await call(breaker, Heavy())
    gc.collect()
    assert [thing for thing in gc.get_objects() if isinstance(thing, Heavy)] == []


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"name": ""}, ValueError),
        ({"failure_threshold": 0}, ValueError),
        ({"failure_threshold": 1.5}, TypeError),
        ({"success_threshold": 0}, ValueError),
        ({"timeout": 0}, ValueError),
        ({"timeout": "30"}, TypeError),
        ({"half_open_max_calls": 0}, ValueError),
        ({"counts": 5}, TypeError),
        ({"counts": ()}, TypeError),
        ({"counts": KeyboardInterrupt}, TypeError),
        ({"counts": (OSError, 5)}, TypeError),
    ],
)
def test_a_breaker_that_cannot_be_is_refused(options, error):
    with pytest.raises(error, match="must"):
        CircuitBreaker(**{"name": "x", **options})


CALLS = st.lists(
    st.tuples(st.floats(0, 20), st.floats(0, 6), st.sampled_from(["ok", "failed", "ignored", "cancelled"])), max_size=30
)


@given(CALLS, st.integers(1, 3), st.integers(1, 3), st.integers(0, 2**32))
def test_whatever_happens_trials_are_bounded_and_it_closes_again(calls, failures, trials, seed):
    async def main():
        breaker = CircuitBreaker(
            "x", failure_threshold=failures, timeout=2.0, half_open_max_calls=trials, counts=OSError
        )
        running = []

        async def one(start, seconds, how):
            await trio.sleep(start)
            error = {"failed": OSError(), "ignored": ValueError()}.get(how)
            with (
                trio.move_on_after(seconds / 2 if how == "cancelled" else 100),
                contextlib.suppress(OSError, ValueError, CircuitOpen),
            ):
                was_open = breaker.state is OPEN
                async with breaker:
                    generation = breaker._circuit.generation
                    running.append(generation)
                    try:
                        if breaker.state is HALF_OPEN:
                            assert running.count(generation) <= trials
                        await trio.sleep(seconds)
                        if error:
                            raise error
                    finally:
                        running.remove(generation)
                assert not was_open

        async with trio.open_nursery() as nursery:
            for arguments in calls:
                nursery.start_soon(one, *arguments)
        await wait_all_tasks_blocked()
        assert not breaker._calls
        await trio.sleep(2.0)
        for _ in range(2):
            await call(breaker)
        assert breaker.state is CLOSED

    with seed_schedule(seed):
        trio.run(main, clock=MockClock(autojump_threshold=0))
