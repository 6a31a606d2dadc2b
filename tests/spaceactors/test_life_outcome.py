"""What comes out of `async with open_runtime(...)` (S23): one case per line of the list, and who is told."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from spaceactors import Actor, MessageReturned, Outcome, SpaceError, handler, open_runtime
from supervisors import ChildSpec, ChildStartError, RestartLimit, RestartLimitExceeded, open_supervisor
from tests.spaceactors.lives import Boom, Doer, HookedDoer, World, holds_law_2, with_options


def seconds(expected):
    """The virtual time, as far as the clock's arithmetic allows."""
    return trio.current_time() == pytest.approx(expected)


async def die_of(actor, error):
    raise error


# ---- (1) what concerns the whole program


@pytest.mark.parametrize("fatal", [KeyboardInterrupt, SystemExit, GeneratorExit])
async def test_S23_what_is_no_exception_comes_out_of_the_body_as_raised_and_leaves_no_time(fatal):
    error = fatal()
    with pytest.raises(fatal) as caught:
        async with open_runtime(Doer, deps=World()) as runtime:
            await runtime.space("a").send(Doer.work, "x", 20)
            await wait_all_tasks_blocked()
            raise error
    assert caught.value is error
    assert seconds(0)
    assert runtime.report.cancelled == ("a",)


async def test_S23_what_is_no_exception_in_a_turn_goes_before_the_bodys_own_error():
    error = SystemExit(3)
    with pytest.raises(SystemExit) as caught:
        async with open_runtime(Doer, deps=World()) as runtime:
            try:
                await runtime.space("a").ask(Doer.do, die_of, error)
            finally:
                raise Boom
    assert caught.value is error


async def test_S23_a_fatal_error_cancels_the_other_spaces_and_returns_what_they_had():
    world = World()
    with pytest.raises(SystemExit):
        async with open_runtime(HookedDoer, deps=world) as runtime:
            await runtime.space("b").send(Doer.work, "x", 100)
            await runtime.space("b").send(Doer.note, "y")
            await wait_all_tasks_blocked()
            await runtime.space("a").send(Doer.do, die_of, SystemExit())
            await trio.sleep_forever()
    assert seconds(0)
    assert "stop" not in world.trace
    ledger = (await runtime.snapshot()).ledger
    assert (ledger.outcomes[Outcome.RETURNED], ledger.pending) == (3, 0)
    assert await holds_law_2(runtime)


# ---- (2) what fails before the body


async def test_S23_dependencies_that_cannot_be_opened_fail_as_raised_and_the_body_never_runs():
    boom = Boom()

    @asynccontextmanager
    async def opening():
        raise boom
        yield

    with pytest.raises(Boom) as caught:
        async with open_runtime(Doer, deps=opening):
            pytest.fail("the body ran")
    assert caught.value is boom


async def test_S23_dependencies_that_fail_to_close_fail_after_the_drain():
    world = World()

    @asynccontextmanager
    async def opening():
        yield world
        raise Boom

    with pytest.raises(Boom):
        async with open_runtime(Doer, deps=opening) as runtime:
            await runtime.space("a").send(Doer.work, "x", 1)
    assert runtime.report.clean
    assert await runtime.space("a").state() == ("x",)


async def test_S23_a_failed_start_inside_the_body_is_the_bodys_own_error():
    async def fail(*, task_status):
        raise Boom

    with pytest.raises(ChildStartError) as caught:
        async with open_runtime(Doer, deps=World()), open_supervisor([ChildSpec("c", fail)]):
            pytest.fail("the body ran")
    assert isinstance(caught.value.__cause__, Boom)


# ---- (3) a limit exceeded


async def test_S23_a_supervisor_inside_the_body_that_gives_up_comes_out_bare_and_the_spaces_finish():
    async def fail(*, task_status):
        task_status.started()
        await trio.sleep(1)
        raise Boom

    with pytest.raises(RestartLimitExceeded):
        async with (
            open_runtime(Doer, deps=World()) as runtime,
            open_supervisor([ChildSpec("c", fail)], limit=RestartLimit(0, 5)),
        ):
            await runtime.space("a").send(Doer.work, "x", 5)
            await trio.sleep_forever()
    assert runtime.report is not None


async def test_S23_a_space_over_its_budget_is_no_reason_for_a_runtime_to_end():
    async with open_runtime(with_options(restart_limit=RestartLimit(0, 5)), deps=World()) as runtime:
        await runtime.space("a").send(Doer.crash)
        await trio.sleep(100)
        await runtime.space("b").ask(Doer.note, "x")


# ---- (4) the body's error


async def test_S23_the_bodys_error_comes_out_bare_with_its_identity():
    boom = Boom()
    with pytest.raises(Boom) as caught:
        async with open_runtime(Doer, deps=World()) as runtime:
            await runtime.space("a").send(Doer.note, "x")
            raise boom
    assert caught.value is boom
    assert runtime.report is not None


async def test_S23_a_group_that_the_body_raises_stays_that_group():
    group = ExceptionGroup("mine", [Boom(), Boom()])
    with pytest.raises(ExceptionGroup) as caught:
        async with open_runtime(Doer, deps=World()):
            raise group
    assert caught.value is group


async def test_S23_a_crash_that_the_body_does_not_catch_is_its_error():
    with pytest.raises(SpaceError) as caught:
        async with open_runtime(Doer, deps=World()) as runtime:
            await runtime.space("a").ask(Doer.crash)
    assert isinstance(caught.value.__cause__, Boom)


async def test_S23_after_the_bodys_error_the_running_turn_finishes():
    with pytest.raises(Boom):
        async with open_runtime(Doer, deps=World()) as runtime:
            await runtime.space("a").send(Doer.work, "x", 3)
            await wait_all_tasks_blocked()
            raise Boom
    assert await runtime.space("a").state() == ("x",)


# ---- (5) the surrounding cancellation


async def test_S23_a_surrounding_cancellation_leaves_no_time_and_comes_out_as_a_cancellation():
    world = World()
    with trio.move_on_after(2) as scope:
        async with open_runtime(HookedDoer, deps=world) as runtime:
            await runtime.space("a").send(Doer.work, "x", 100)
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert seconds(2)
    assert runtime.report.cancelled == ("a",)
    assert dict(runtime.report.left) == {"a": 1}
    assert world.take() == "start +x -x"


async def test_S23_a_cancellation_while_the_block_ends_cuts_the_drain_short():
    with trio.move_on_after(2) as scope:
        async with open_runtime(Doer, deps=World()) as runtime:
            await runtime.space("a").send(Doer.work, "x", 100)
    assert scope.cancelled_caught
    assert seconds(2)
    assert runtime.report.cancelled == ("a",)


async def test_S23_a_cancelled_block_leaves_no_asker_without_an_answer():
    told = []

    async def ask(space):
        try:
            await space.ask(Doer.work, "x", 100)
        except MessageReturned:
            told.append("returned")

    async with trio.open_nursery() as nursery:
        with trio.move_on_after(2):
            async with open_runtime(Doer, deps=World()) as runtime:
                nursery.start_soon(ask, runtime.space("a"))
                await trio.sleep_forever()
    assert told == ["returned"]


async def test_S23_cancelled_before_it_opens_the_body_does_not_run():
    with trio.CancelScope() as scope:
        scope.cancel()
        async with open_runtime(Doer, deps=World()):
            await trio.lowlevel.checkpoint()
            pytest.fail("the body went on")
    assert scope.cancelled_caught


# ---- (6) nothing


async def test_S23_after_a_drain_in_the_body_nothing_comes_out_and_the_body_goes_on():
    went_on = False
    async with open_runtime(Doer, deps=World()) as runtime:
        await runtime.drain()
        await trio.sleep(5)
        went_on = True
    assert went_on
    assert seconds(5)


async def test_S23_asked_to_drain_from_outside_the_body_is_cancelled_and_that_stays_inside():
    bodies = []

    async def serve(*, task_status):
        async with open_runtime(Doer, deps=World()) as runtime:
            bodies.append("in")
            task_status.started(runtime)
            try:
                await trio.sleep_forever()
            finally:
                bodies.append("out")
        bodies.append("after")

    async with open_supervisor([ChildSpec("spaces", serve)]) as service:
        await service.child("spaces").value.space("a").send(Doer.work, "x", 1)
    assert bodies == ["in", "out", "after"]
    assert service.report.clean


async def test_S23_a_body_that_fails_stops_the_spaces_finishing_the_running_turns_only():
    finished = []

    class Slow(Actor):
        @handler
        async def work(self, number):
            await trio.sleep(1)
            finished.append(number)

    with pytest.raises(ValueError, match="boom"):
        async with open_runtime(Slow) as runtime:
            for number in range(3):
                await runtime.space("a").send(Slow.work, number)
            await trio.sleep(0.5)
            raise ValueError("boom")
    assert (finished, trio.current_time()) == ([0], 1.0)
    assert runtime.report is not None
    assert dict(runtime.report.left) == {"a": 2}
