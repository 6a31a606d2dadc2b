"""The pool of contexts: bounded, shared by name, healed, counted, and gone at the end of its block."""

from __future__ import annotations

import os
import random
import sys
import threading
from contextlib import suppress
from math import inf

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from spaceactors.pipelines._context import (
    ContextClosed,
    ContextKind,
    ContextSpec,
    ContextUnavailable,
    NotSendable,
    UnknownContext,
    WorkerLost,
    processors,
)
from spaceactors.pipelines._context_pool import open_context_pool
from supervisors import ChildSpec, draining, open_supervisor, until_drain
from tests.pipelines.context_jobs import (
    Gate,
    async_square,
    exists,
    files,
    gone,
    my_pid,
    square,
    tell_and_sleep,
    told,
    workers,
)

pytestmark = pytest.mark.filterwarnings("ignore:interpreter contexts run in plain threads:RuntimeWarning")
KINDS = [kind.value for kind in ContextKind]


# ---- names


@pytest.mark.parametrize("name", KINDS)
async def test_D2_the_four_kinds_are_there_under_their_own_names(name):
    async with open_context_pool() as contexts:
        assert contexts.kind_of(name) is ContextKind(name)
        assert await contexts.run(name, square, 3) == 9
        assert await contexts.run(name, async_square, 3) == 9


async def test_D2_a_spec_adds_a_name():
    async with open_context_pool(ContextSpec("parsing", "process", size=2)) as contexts:
        assert contexts.kind_of("parsing") is ContextKind.PROCESS
        assert contexts.statistics()["parsing"].size == 2
        assert contexts.names == (*KINDS, "parsing")


async def test_D2_a_spec_may_change_what_a_kind_s_name_means():
    async with open_context_pool(ContextSpec("process", "thread", size=3)) as contexts:
        assert contexts.kind_of("process") is ContextKind.THREAD
        assert await contexts.run("process", my_pid) == os.getpid()


@pytest.mark.parametrize("ask", ["run", "use", "kind_of"])
async def test_an_unknown_name_is_refused_with_those_that_are_known(ask):
    async with open_context_pool(ContextSpec("parsing")) as contexts:
        with pytest.raises(UnknownContext, match=r"'gpu'.*'inline', 'thread', .*'parsing'; .*ContextSpec\('gpu'"):
            if ask == "run":
                await contexts.run("gpu", square, 3)
            else:
                getattr(contexts, ask)("gpu")


def test_an_unknown_name_is_a_lookup_error():
    assert issubclass(UnknownContext, LookupError)


async def test_two_contexts_of_one_name_are_refused():
    with pytest.raises(ValueError, match="two contexts are named 'a'"):
        open_context_pool(ContextSpec("a"), ContextSpec("a", "process"))


def test_what_is_no_spec_is_refused():
    with pytest.raises(TypeError, match=r"a context is a ContextSpec such as .* not 'process'"):
        open_context_pool("process")


# ---- specs


@pytest.mark.parametrize(
    ("kind", "size"), [("inline", None), ("thread", 40), ("process", processors()), ("interpreter", processors())]
)
def test_how_many_there_may_be_unless_it_is_said(kind, size):
    assert ContextSpec("a", kind).size == size


@pytest.mark.parametrize(
    ("arguments", "options", "error", "said"),
    [
        (("",), {}, ValueError, "name of a context must not be empty"),
        ((3,), {}, TypeError, "name of a context must be a string"),
        (("a", "fork"), {}, ValueError, "kind must be a ContextKind or one of 'inline', .* not 'fork'"),
        (("a",), {"size": 0}, ValueError, "size of the context 'a' must be 1 or more, not 0"),
        (("a",), {"size": 2.0}, TypeError, "size of the context 'a' must be a whole number such as 4, not 2.0"),
        (("a",), {"size": True}, TypeError, "size of the context 'a' must be a whole number"),
        (("a",), {"size": None}, TypeError, "size of the context 'a' must be a whole number"),
        (("a", "inline"), {"size": 3}, ValueError, "the inline context 'a' has no size"),
        (("a",), {"idle_timeout": -1}, ValueError, "idle_timeout must be 0 seconds or more"),
        (("a",), {"idle_timeout": "1"}, TypeError, "idle_timeout must be seconds"),
    ],
)
def test_a_spec_says_what_is_wrong_with_it(arguments, options, error, said):
    with pytest.raises(error, match=said):
        ContextSpec(*arguments, **options)


def test_a_spec_is_a_value():
    assert ContextSpec("a", "process", size=2) == ContextSpec("a", ContextKind.PROCESS, size=2)


# ---- sharing


async def test_D2_no_more_run_at_once_than_the_size_says_and_the_others_wait_their_turn():
    gate = Gate()
    async with open_context_pool(ContextSpec("few", size=2)) as contexts, trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(contexts.run, "few", gate.wait)
        await gate.until(2)
        await wait_all_tasks_blocked()
        found = contexts.statistics()["few"]
        assert (found.size, found.open, found.in_use, found.idle, found.waiting) == (2, 2, 2, 0, 3)
        gate.open()
    assert gate.most == 2
    assert gate.ended == 5


async def test_D2_idle_contexts_are_used_again():
    async with open_context_pool() as contexts:
        pids = {await contexts.run("process", my_pid) for _ in range(3)}
        found = contexts.statistics()["process"]
    assert len(pids) == 1
    assert (found.created, found.idle, found.in_use, found.replaced) == (1, 1, 0, 0)


async def test_D2_a_context_in_use_is_nobody_else_s():
    spec = ContextSpec("two", "process", size=2)
    async with open_context_pool(spec) as contexts, contexts.use("two") as one, contexts.use("two") as other:
        assert one is not other
        assert await one.run(my_pid) != await other.run(my_pid)


async def test_D2_inline_is_one_for_all_and_never_waits():
    async with open_context_pool() as contexts:
        async with contexts.use("inline") as one, contexts.use("inline") as other:
            assert one is other
            found = contexts.statistics()["inline"]
            assert (found.size, found.open, found.in_use, found.created) == (None, 1, 2, 1)
        assert contexts.statistics()["inline"].in_use == 0


async def test_D2_idle_contexts_are_closed_after_their_time():
    async with open_context_pool(ContextSpec("short", "process", idle_timeout=0.05)) as contexts:
        pid = await contexts.run("short", my_pid)
        with trio.fail_after(30):
            while contexts.statistics()["short"].open:  # noqa: ASYNC110 - time changes it
                await trio.sleep(0.001)
        assert not exists(pid)
        assert await contexts.run("short", my_pid) != pid
        assert contexts.statistics()["short"].created == 2


async def test_statistics_say_what_is_there_for_every_name():
    async with open_context_pool(ContextSpec("parsing")) as contexts:
        found = contexts.statistics()
    assert list(found) == [*KINDS, "parsing"]
    assert all(one.open == (one.kind is ContextKind.INLINE) for one in found.values())


# ---- healing


async def test_D7_a_lost_worker_is_told_to_its_caller_and_replaced_for_the_next():
    async with open_context_pool() as contexts:
        first = await contexts.run("process", my_pid)
        with pytest.raises(WorkerLost, match="the context 'process' died under _exit"):
            await contexts.run("process", os._exit, 3)
        assert await contexts.run("process", my_pid) != first
        found = contexts.statistics()["process"]
    assert (found.created, found.replaced, found.failed) == (2, 1, 0)


async def test_a_cancelled_call_costs_a_process_and_nobody_else_notices(tmp_path):
    async with open_context_pool(ContextSpec("one", "process", size=1)) as contexts:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(contexts.run, "one", tell_and_sleep, tmp_path / "pid")
                pid = await told(tmp_path / "pid")
                scope.cancel()
        assert not exists(pid)
        assert await contexts.run("one", square, 3) == 9
        found = contexts.statistics()["one"]
    assert (found.in_use, found.idle, found.replaced) == (0, 1, 0)


async def test_what_cannot_be_sent_costs_no_worker():
    async with open_context_pool() as contexts:
        first = await contexts.run("process", my_pid)
        with pytest.raises(NotSendable):
            await contexts.run("process", square, threading.Lock())
        assert await contexts.run("process", my_pid) == first
        assert contexts.statistics()["process"].replaced == 0


async def test_an_error_of_a_function_costs_no_worker():
    async with open_context_pool() as contexts:
        first = await contexts.run("process", my_pid)
        with pytest.raises(TypeError, match="unsupported operand"):
            await contexts.run("process", pow, "a", 2)
        assert await contexts.run("process", my_pid) == first


async def test_what_cannot_be_made_is_told_and_counted(monkeypatch):
    monkeypatch.setitem(sys.modules, "trio_parallel", None)
    async with open_context_pool() as contexts:
        with pytest.raises(ContextUnavailable, match=r"spaceactors\[process\]"):
            await contexts.run("process", square, 3)
        assert contexts.statistics()["process"].failed == 1
        assert await contexts.run("thread", square, 3) == 9


# ---- the end


async def test_D2_joining_all_lets_finish_what_runs_and_refuses_what_waits_or_is_new():
    gate, results, refused = Gate(), [], []

    async def call(value):
        try:
            results.append(await contexts.run("one", gate.wait, value))
        except ContextClosed as error:
            refused.append((value, str(error)))

    async with open_context_pool(ContextSpec("one", size=1)) as contexts, trio.open_nursery() as nursery:
        nursery.start_soon(call, 1)
        await gate.until(1)
        nursery.start_soon(call, 2)
        await wait_all_tasks_blocked()
        nursery.start_soon(contexts.join_all)
        await wait_all_tasks_blocked()
        for name in ("one", *KINDS):
            with pytest.raises(ContextClosed, match=f"{name!r} is at the end of its pool"):
                await contexts.run(name, square, 3)
        gate.open()
    assert results == [1]
    assert refused == [(2, "the context 'one' is at the end of its pool: nothing new runs in it")]


async def test_D2_joining_all_gives_all_workers_back():
    async with open_context_pool() as contexts:
        pid = await contexts.run("process", my_pid)
        await contexts.run("thread", square, 3)
        await contexts.join_all()
        assert not exists(pid)
        assert all(one.open == 0 for name, one in contexts.statistics().items() if name != "inline")


@pytest.mark.parametrize("name", ["inline", "thread"])
async def test_D2_terminating_all_ends_what_can_be_ended_and_tells_the_callers(name):
    gate, errors = Gate(), []

    async def call():
        try:
            await contexts.run(name, gate.sleep)
        except ContextClosed as error:
            errors.append(error)

    async with open_context_pool() as contexts, trio.open_nursery() as nursery:
        nursery.start_soon(call)
        nursery.start_soon(call)
        await gate.until(2)
        contexts.terminate_all()
        with pytest.raises(ContextClosed):
            await contexts.run(name, square, 3)
    assert gate.running == 0
    assert len(errors) == 2


async def test_D2_terminating_all_kills_processes_busy_and_idle(tmp_path):
    async def call():
        with pytest.raises(ContextClosed):
            await contexts.run("process", tell_and_sleep, tmp_path / "pid")

    async with open_context_pool(ContextSpec("other", "process")) as contexts, trio.open_nursery() as nursery:
        idle = await contexts.run("other", my_pid)
        nursery.start_soon(call)
        busy = await told(tmp_path / "pid")
        contexts.terminate_all()
        await gone(idle)
        await gone(busy)


async def test_terminating_all_refuses_who_waits_in_line_before_the_one_that_runs_has_ended():
    gate, refused = Gate(), []

    async def call():
        try:
            await contexts.run("one", gate.wait)
        except ContextClosed as error:
            refused.append(error)

    async with open_context_pool(ContextSpec("one", size=1)) as contexts, trio.open_nursery() as nursery:
        nursery.start_soon(call)
        await gate.until(1)
        nursery.start_soon(call)
        await wait_all_tasks_blocked()
        contexts.terminate_all()
        await wait_all_tasks_blocked()
        assert len(refused) == 1
        gate.open()


@pytest.mark.parametrize("name", ["inline", "thread"])
async def test_the_end_of_the_block_lets_uses_finish_with_all_their_calls(name):
    results, inside = [], trio.Event()

    async def use(contexts):
        async with contexts.use(name) as context:
            inside.set()
            await trio.sleep(0.02)
            results.append(await context.run(square, 3))

    async with trio.open_nursery() as nursery:
        async with open_context_pool() as contexts:
            nursery.start_soon(use, contexts)
            await inside.wait()
        assert results == [9]


@pytest.mark.parametrize("end", ["fails", "is cancelled"])
async def test_D7_a_block_that_fails_or_is_cancelled_leaves_nothing(end, tmp_path):
    gate = Gate()

    async def call(contexts, name, *args):
        with suppress(ContextClosed):
            await contexts.run(name, *args)

    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope, suppress(KeyError):
            async with open_context_pool() as contexts:
                nursery.start_soon(call, contexts, "process", tell_and_sleep, tmp_path / "pid")
                nursery.start_soon(call, contexts, "thread", gate.sleep)
                nursery.start_soon(call, contexts, "thread", gate.look)
                nursery.start_soon(call, contexts, "inline", gate.sleep)
                pid = await told(tmp_path / "pid")
                await gate.until(3)
                if end == "fails":
                    raise KeyError
                scope.cancel()
                await trio.sleep_forever()
        assert gate.running == 0
        assert not exists(pid)
        assert workers() == []


async def test_an_error_of_the_block_comes_out_bare():
    with pytest.raises(KeyError, match="mine"):
        async with open_context_pool() as contexts:
            await contexts.run("thread", square, 3)
            raise KeyError("mine")


async def test_a_pool_in_a_child_that_is_asked_to_drain_lets_finish_what_it_accepted():
    gate, results, begun = Gate(), [], trio.Event()

    async def child():
        async with open_context_pool() as contexts, trio.open_nursery() as nursery:
            nursery.start_soon(call, contexts)
            await gate.until(1)
            begun.set()
            with until_drain():
                await trio.sleep_forever()
            assert draining()
            # What was accepted before may still need a context.
            results.append(await contexts.run("thread", square, 3))

    async def call(contexts):
        results.append(await contexts.run("thread", gate.wait, "finished"))

    async with open_supervisor([]) as supervisor, trio.open_nursery() as nursery:
        await supervisor.start_child(ChildSpec("child", child, shutdown=inf))
        await begun.wait()
        nursery.start_soon(supervisor.drain)
        with trio.fail_after(30):
            while not results:  # noqa: ASYNC110 - the child has no event to give
                await trio.sleep(0.001)
        gate.open()
    assert results == [9, "finished"]


@pytest.mark.slow
async def test_D7_fifty_pools_later_no_file_is_open_and_no_process_left():
    async def cycle():
        async with open_context_pool() as contexts:
            for name in KINDS[:3]:
                assert await contexts.run(name, square, 3) == 9

    await cycle()
    before = files()
    for _ in range(50):
        await cycle()
    assert files() == before
    assert workers() == []


# ---- at every moment


@pytest.mark.slow
async def test_D7_a_pool_may_be_cut_off_at_any_moment():
    chance, wrong = random.Random(7), []

    async def call(contexts, number):
        name = chance.choice(["process", "process", "thread", "inline"])
        try:
            if await contexts.run(name, chance.choice([square, async_square]), number) != number * number:
                wrong.append(name)
        except ContextClosed:
            pass

    for _ in range(20):
        with trio.move_on_after(chance.uniform(0, 0.4)):
            async with trio.open_nursery() as nursery, open_context_pool() as contexts:
                for number in range(30):
                    nursery.start_soon(call, contexts, number)
                    await trio.sleep(chance.uniform(0, 0.01))
        assert workers() == []
    assert wrong == []


class Ledger:
    """What became of calls, and how many functions of theirs run."""

    def __init__(self):
        self.running = 0
        self.ends = {"returned": 0, "raised": 0, "cancelled": 0, "closed": 0}
        self._lock = threading.Lock()

    def job(self, seconds, error):
        with self._lock:
            self.running += 1
        try:
            threading.Event().wait(seconds)
            if error:
                raise KeyError("mine")
        finally:
            with self._lock:
                self.running -= 1

    async def async_job(self, seconds, error):
        self.running += 1
        try:
            await trio.sleep(seconds)
            if error:
                raise KeyError("mine")
        finally:
            self.running -= 1

    async def call(self, contexts, plan):
        name, is_async, seconds, error, patience = plan
        how = "cancelled"
        with trio.move_on_after(patience):
            try:
                await contexts.run(name, self.async_job if is_async else self.job, seconds, error)
                how = "returned"
            except KeyError:
                how = "raised"
            except ContextClosed:
                how = "closed"
        self.ends[how] += 1


moments = st.sampled_from([0.0, 0.0005, 0.001, 0.002, 0.004])
plans = st.tuples(st.sampled_from(["few", "inline"]), st.booleans(), moments, st.booleans(), moments | st.just(inf))


@pytest.mark.slow
@settings(max_examples=60)
@given(
    calls=st.lists(plans, min_size=1, max_size=12),
    size=st.integers(1, 3),
    end=st.sampled_from(["leave", "join", "terminate", "cancel", "fail"]),
    at=moments,
)
def test_D7_each_call_ends_in_one_way_and_nothing_runs_after_the_block(calls, size, end, at):
    ledger = Ledger()

    async def main():
        async with trio.open_nursery() as nursery:
            with trio.CancelScope() as scope, suppress(ZeroDivisionError):
                async with open_context_pool(ContextSpec("few", size=size)) as contexts:
                    for plan in calls:
                        nursery.start_soon(ledger.call, contexts, plan)
                    await trio.sleep(at)
                    if end == "join":
                        await contexts.join_all()
                    elif end == "terminate":
                        contexts.terminate_all()
                    elif end == "cancel":
                        scope.cancel()
                        await trio.sleep_forever()
                    elif end == "fail":
                        raise ZeroDivisionError
            assert ledger.running == 0
            found = contexts.statistics()["few"]
            assert (found.open, found.in_use, found.idle, found.waiting) == (0, 0, 0, 0)
            assert found.created <= size + found.replaced

    trio.run(main)
    assert sum(ledger.ends.values()) == len(calls)
