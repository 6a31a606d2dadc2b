"""One context: what runs in it, how errors come back, and how it closes; the same for every kind."""

from __future__ import annotations

import functools
import threading
import traceback
from contextlib import suppress

import outcome
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from spaceactors.pipelines._context import ContextClosed, ContextKind, ContextUnavailable
from spaceactors.pipelines._context_open import open_context
from spaceactors.pipelines._context_thread import _Loop
from supervisors import ChildSpec, open_supervisor
from tests.pipelines.context_jobs import (
    Gate,
    Odd,
    asked_to_drain,
    async_fail,
    async_square,
    colour,
    fail,
    fail_from,
    fail_oddly,
    later_square,
    my_colour,
    square,
)

pytestmark = pytest.mark.filterwarnings("ignore:interpreter contexts run in plain threads:RuntimeWarning")
every_kind = pytest.mark.parametrize("kind", list(ContextKind), ids=lambda kind: kind.value)
shared_memory = pytest.mark.parametrize("kind", ["inline", "thread"])


# ---- running


@every_kind
@pytest.mark.parametrize("job", [square, async_square, later_square, functools.partial(async_square)])
async def test_D1_each_kind_runs_sync_and_async_functions(kind, job):
    async with open_context(kind) as context:
        assert await context.run(job, 7) == 49


@every_kind
async def test_D1_a_kind_may_be_given_by_its_name(kind):
    async with open_context(kind.value) as context:
        assert context.kind in {kind, ContextKind.THREAD}


@every_kind
async def test_nothing_runs_for_who_is_cancelled_already(kind):
    ran = []
    async with open_context(kind) as context:
        with trio.CancelScope() as scope:
            scope.cancel()
            await context.run(ran.append, 1)
    assert scope.cancelled_caught
    assert ran == []


async def test_inline_runs_in_the_calling_task():
    async with open_context("inline") as context:
        assert await context.run(trio.lowlevel.current_task) is trio.lowlevel.current_task()


async def test_inline_calls_let_others_run():
    turns = []

    async def other():
        turns.append(len(turns))

    async with open_context("inline") as context, trio.open_nursery() as nursery:
        nursery.start_soon(other)
        for _ in range(2 * 64):  # who goes first after a checkpoint is drawn by lot
            await context.run(square, 2)
        assert turns == [0]


@pytest.mark.parametrize("job", [threading.get_ident, later_square])
async def test_a_thread_context_runs_elsewhere(job):
    async def where():
        return threading.get_ident()

    async with open_context("thread") as context:
        assert await context.run(where) != threading.get_ident()
        assert await context.run(threading.get_ident) != threading.get_ident()


@pytest.mark.parametrize("job", ["wait", "async_wait"])
async def test_a_context_runs_one_function_at_a_time_and_in_order(job):
    gate, order = Gate(), []

    async def one(number):
        await context.run(getattr(gate, job))
        order.append(number)

    async with open_context("thread") as context, trio.open_nursery() as nursery:
        for number in range(4):
            nursery.start_soon(one, number)
            await wait_all_tasks_blocked()
        gate.open()
    assert gate.most == 1
    assert order == [0, 1, 2, 3]


async def test_threads_of_contexts_are_not_counted_among_those_of_the_program():
    gate = Gate()
    limiter = trio.to_thread.current_default_thread_limiter()
    before, limiter.total_tokens = limiter.total_tokens, 1
    try:
        async with open_context("thread") as context, trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, gate.wait)
            await gate.until(1)
            with trio.fail_after(30):
                assert await context.run(square, 3) == 9
            gate.open()
    finally:
        limiter.total_tokens = before


# ---- context variables


@shared_memory
async def test_context_variables_travel_where_memory_is_shared(kind):
    async def look():
        return colour.get()

    token = colour.set("green")
    async with open_context(kind) as context:
        assert (await context.run(my_colour), await context.run(look)) == ("green", "green")
    colour.reset(token)


async def test_context_variables_do_not_travel_to_a_process():
    token = colour.set("green")
    async with open_context("process") as context:
        assert await context.run(my_colour) == "none"
    colour.reset(token)


async def test_what_a_thread_sets_stays_there():
    async def paint():
        colour.set("red")

    async with open_context("thread") as context:
        await context.run(colour.set, "red")
        await context.run(paint)
        assert colour.get() == "none"


async def test_the_loop_in_a_thread_knows_nothing_of_the_child_around_it():
    found = []

    async def child():
        async with open_context("thread") as thread, open_context("inline") as inline:
            await supervisor.drain_began.wait()
            found.extend([await inline.run(asked_to_drain), await thread.run(asked_to_drain)])

    async with open_supervisor([]) as opened:
        supervisor = _Watched(opened)
        await opened.start_child(ChildSpec("child", supervisor.listening, child, shutdown=30))
        supervisor.drain_began.set()
        await opened.drain()
    assert found == [True, False]


class _Watched:
    def __init__(self, supervisor):
        self.supervisor = supervisor
        self.drain_began = trio.Event()

    async def listening(self, child):
        from supervisors import wait_drain

        await wait_drain()
        await child()


# ---- errors


@every_kind
@pytest.mark.parametrize("job", [fail, async_fail])
@pytest.mark.parametrize("error", [ValueError("five"), OSError(2, "no such thing"), SystemExit(3), KeyboardInterrupt()])
async def test_D7_errors_come_back_bare_as_they_were_raised(kind, job, error):
    async with open_context(kind) as context:
        with pytest.raises(type(error)) as caught:
            await context.run(job, error)
    assert type(caught.value) is type(error)
    assert caught.value.args == error.args


@every_kind
@pytest.mark.parametrize("job", [fail, async_fail])
async def test_D7_the_traceback_shows_where_it_was_raised(kind, job):
    async with open_context(kind) as context:
        with pytest.raises(ValueError, match="five") as caught:
            await context.run(job, ValueError("five"))
    last = traceback.extract_tb(caught.value.__traceback__)[-1]
    assert (last.name, last.line) == (job.__name__, "raise error")


@every_kind
async def test_D7_causes_come_with_it(kind):
    async with open_context(kind) as context:
        with pytest.raises(ValueError, match="outer") as caught:
            await context.run(fail_from, "outer")
    assert isinstance(caught.value.__cause__, KeyError)


@every_kind
async def test_D7_errors_that_are_not_made_of_their_arguments_come_back_too(kind):
    async with open_context(kind) as context:
        with pytest.raises(Odd, match="1 and 2") as caught:
            await context.run(fail_oddly)
    assert caught.value.second == 2


@every_kind
async def test_D7_a_group_that_a_function_raises_is_not_taken_apart(kind):
    async with open_context(kind) as context:
        with pytest.raises(ExceptionGroup, match="two") as caught:
            await context.run(async_fail, ExceptionGroup("two", [ValueError("a"), ExceptionGroup("in", [KeyError(1)])]))
    assert [type(one) for one in caught.value.exceptions] == [ValueError, ExceptionGroup]


@every_kind
async def test_a_context_goes_on_after_an_error(kind):
    async with open_context(kind) as context:
        for job in (fail, async_fail):
            with pytest.raises(ValueError, match="five"):
                await context.run(job, ValueError("five"))
        assert await context.run(square, 4) == 16


async def test_a_thread_that_cannot_be_started_is_no_error_of_the_function(monkeypatch):
    def refuse(*_args, **_options):  # as the system does that has no more
        raise RuntimeError("can't start new thread")

    async with open_context("thread", name="reading") as context:
        monkeypatch.setattr("trio._core._thread_cache.ThreadCache.start_thread_soon", refuse)
        for job in (square, async_square):
            with pytest.raises(ContextUnavailable, match=r"'reading'.*can't start new thread.*smaller size"):
                await context.run(job, 3)
        monkeypatch.undo()
        assert await context.run(square, 3) == 9


# ---- cancelling


@shared_memory
async def test_a_cancelled_async_function_ends_before_its_caller_goes_on(kind):
    gate = Gate()
    async with open_context(kind) as context:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(context.run, gate.sleep)
                await gate.until(1)
                scope.cancel()
        assert scope.cancelled_caught
        assert (gate.running, gate.ended) == (0, 1)
        assert await context.run(square, 3) == 9


def test_a_loop_that_is_cancelled_before_it_begins_ends_at_once():
    loop = _Loop()
    loop.cancel()
    assert loop.run(trio.sleep_forever, ()) is None


def test_a_loop_that_is_cancelled_after_its_end_does_not_mind():
    loop = _Loop()
    assert loop.run(async_square, (3,)) == outcome.Value(9)
    loop.cancel()


async def test_an_async_function_in_a_thread_may_clean_up_when_it_is_cancelled():
    gate, cleaned = Gate(), []

    async def job():
        try:
            await gate.sleep()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(0.01)
            cleaned.append(threading.get_ident())

    async with open_context("thread") as context:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(context.run, job)
                await gate.until(1)
                scope.cancel()
    assert cleaned
    assert threading.get_ident() not in cleaned


@pytest.mark.parametrize("job", ["wait", "result"])
async def test_what_succeeds_although_it_was_cancelled_gives_its_result(job):
    gate = Gate()

    async def result():
        with suppress(trio.Cancelled):
            await gate.sleep()
        return "done"

    async with open_context("thread") as context:
        results = []

        async def call():
            results.append(await context.run(*((gate.wait, "done") if job == "wait" else (result,))))

        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(call)
                await gate.until(1)
                scope.cancel()
                gate.open()
    assert results == ["done"]


async def test_a_sync_function_in_a_thread_is_waited_for_when_its_caller_is_cancelled():
    gate, left = Gate(), trio.Event()

    async def call():
        with trio.CancelScope() as scope:
            scopes.append(scope)
            await context.run(gate.wait)
        left.set()

    scopes = []
    async with open_context("thread") as context, trio.open_nursery() as nursery:
        nursery.start_soon(call)
        await gate.until(1)
        scopes[0].cancel()
        await wait_all_tasks_blocked()
        assert not left.is_set()
        gate.open()
        await left.wait()
        assert gate.running == 0


async def test_a_sync_function_in_a_thread_may_look_whether_it_is_cancelled():
    gate = Gate()
    async with open_context("thread") as context:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(context.run, gate.look)
                await gate.until(1)
                scope.cancel()
    assert scope.cancelled_caught
    assert gate.ended == 1


async def test_who_is_cancelled_in_line_leaves_it():
    gate = Gate()
    async with open_context("thread") as context, trio.open_nursery() as nursery:
        nursery.start_soon(context.run, gate.wait)
        await gate.until(1)
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as waiting:
                waiting.start_soon(context.run, gate.wait)
                await wait_all_tasks_blocked()
                scope.cancel()
        gate.open()
    assert gate.ended == 1


# ---- closing


@every_kind
async def test_D1_a_joined_context_refuses_what_is_new(kind):
    async with open_context(kind, name="mine") as context:
        await context.run(square, 2)
        await context.join()
        with pytest.raises(ContextClosed, match="'mine' is closed"):
            await context.run(square, 2)


@every_kind
async def test_D1_a_terminated_context_refuses_what_is_new(kind):
    async with open_context(kind, name="mine") as context:
        await context.run(square, 2)
        context.terminate()
        with pytest.raises(ContextClosed, match="'mine' was terminated"):
            await context.run(square, 2)


async def test_joining_lets_finish_what_runs_and_what_waits():
    gate, results = Gate(), []

    async def call(value):
        results.append(await context.run(gate.wait, value))

    async with open_context("thread") as context, trio.open_nursery() as nursery:
        for value in range(3):
            nursery.start_soon(call, value)
            await wait_all_tasks_blocked()
        nursery.start_soon(context.join)
        await wait_all_tasks_blocked()
        assert results == []
        gate.open()
    assert results == [0, 1, 2]


@pytest.mark.parametrize("job", ["wait", "async_wait"])
async def test_the_end_of_the_block_lets_finish_what_others_run(job):
    gate, results = Gate(), []

    async def call(context):
        results.append(await context.run(getattr(gate, job), 1))

    async def open_later():
        await wait_all_tasks_blocked()
        gate.open()

    async with trio.open_nursery() as nursery:
        async with open_context("thread") as context:
            nursery.start_soon(call, context)
            await gate.until(1)
            nursery.start_soon(open_later)
        assert gate.running == 0
    assert results == [1]


@shared_memory
async def test_terminating_ends_async_functions_and_tells_their_callers(kind):
    gate, errors = Gate(), []

    async def call():
        try:
            await context.run(gate.sleep)
        except ContextClosed as error:
            errors.append(str(error))

    async with open_context(kind, name="mine") as context, trio.open_nursery() as nursery:
        nursery.start_soon(call)
        await gate.until(1)
        context.terminate()
        context.terminate()
    assert gate.running == 0
    assert errors == ["the context 'mine' was terminated: nothing runs in it any more"]


async def test_terminating_tells_who_waits_in_line_at_once():
    gate, errors = Gate(), []

    async def call():
        try:
            await context.run(gate.wait)
        except ContextClosed as error:
            errors.append(error)

    async with open_context("thread") as context, trio.open_nursery() as nursery:
        nursery.start_soon(call)
        await gate.until(1)
        nursery.start_soon(call)
        await wait_all_tasks_blocked()
        context.terminate()
        await wait_all_tasks_blocked()
        assert len(errors) == 1
        gate.open()
    assert gate.ended == 1


@pytest.mark.parametrize("end", ["fails", "is cancelled"])
async def test_D7_a_block_that_fails_or_is_cancelled_terminates(end):
    gate, errors = Gate(), []

    async def call(context):
        try:
            await context.run(gate.sleep)
        except ContextClosed as error:
            errors.append(error)

    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope, suppress(KeyError):
            async with open_context("thread") as context:
                nursery.start_soon(call, context)
                await gate.until(1)
                if end == "fails":
                    raise KeyError
                scope.cancel()
                await trio.sleep_forever()
        assert gate.running == 0
    assert len(errors) == 1


async def test_the_end_of_a_failed_block_waits_for_a_thread_that_cannot_be_ended():
    gate = Gate()

    async def call(context):
        with suppress(ContextClosed):
            await context.run(gate.wait)

    async with trio.open_nursery() as nursery:
        with suppress(KeyError):
            async with open_context("thread") as context:
                nursery.start_soon(call, context)
                await gate.until(1)
                threading.Timer(0.02, gate.open).start()
                raise KeyError
        assert gate.running == 0


async def test_joining_may_be_cancelled_and_the_block_still_ends():
    gate = Gate()
    async with open_context("thread") as context, trio.open_nursery() as nursery:
        nursery.start_soon(context.run, gate.wait)
        await gate.until(1)
        with trio.move_on_after(0.01) as scope:
            await context.join()
        assert scope.cancelled_caught
        gate.open()


async def test_a_kind_that_is_none_is_refused_with_their_names():
    with pytest.raises(ValueError, match="'inline', 'thread', 'process', 'interpreter', not 'fork'"):
        open_context("fork")
