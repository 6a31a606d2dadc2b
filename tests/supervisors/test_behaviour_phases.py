"""Shutdown phases (S8 to S10): the steps of a service's end, in dependency order and under one deadline."""

from __future__ import annotations

import pytest
import trio

from supervisors import OnFailure, Phase, PhaseOutcome, open_supervisor, run_phases


@pytest.fixture
def step(trace):
    """`step("flush", seconds=2)` makes the work of a phase that takes so long."""

    def make(name, seconds=0.0, *, error=None, dying_seconds=0.0):
        async def run():
            trace.append(f"+{name}")
            try:
                await trio.sleep(seconds)
                if error:
                    raise error
            finally:
                with trio.CancelScope(shield=True):
                    await trio.sleep(dying_seconds)
                trace.append(f"-{name}")

        return run

    return make


@pytest.fixture
def phase(step):
    def make(name, seconds=0.0, after=(), *, error=None, timeout=5.0, on_failure=OnFailure.GO_ON):
        return Phase(name, step(name, seconds, error=error), after=after, timeout=timeout, on_failure=on_failure)

    return make


def outcomes(report):
    return {result.name: result.outcome for result in report.results}


def test_S8_a_phase_has_five_seconds_and_lets_the_rest_go_on_unless_said_otherwise(step):
    plain = Phase("a", step("a"))
    assert (plain.after, plain.timeout, plain.on_failure) == ((), 5.0, OnFailure.GO_ON)


async def test_S8_phases_run_in_dependency_order_whatever_their_order_in_the_list(phase, trace):
    report = await run_phases([phase("c", after=("b",)), phase("b", after=("a",)), phase("a")], timeout=60)
    assert trace.take() == "+a -a +b -b +c -c"
    assert report.clean


async def test_S8_phases_that_do_not_depend_on_each_other_run_at_the_same_time(phase):
    phases = [phase("a", 3), phase("b", 3), phase("c", 1, after=("a", "b"))]
    report = await run_phases(phases, timeout=60)
    assert trio.current_time() == pytest.approx(4)
    assert report.seconds == pytest.approx(4)


async def test_S8_a_phase_waits_for_all_that_it_comes_after(phase, trace):
    await run_phases([phase("a", 1), phase("b", 3), phase("c", after=("a", "b"))], timeout=60)
    assert trace[2:] == ["-a", "-b", "+c", "-c"]


@pytest.mark.parametrize("length", [1, 2, 5])
async def test_S8_a_cycle_is_refused_at_once_with_its_names(phase, trace, length):
    names = [f"step{n}" for n in range(length)]
    ring = [phase(name, after=(names[n - 1],)) for n, name in enumerate(names)]
    with pytest.raises(ValueError, match="step0") as caught:
        await run_phases([phase("free"), *ring], timeout=60)
    assert all(name in str(caught.value) for name in names)
    assert "free" not in str(caught.value)
    assert not trace


async def test_S8_an_unknown_name_is_refused_at_once(phase, trace):
    with pytest.raises(ValueError, match="ghost"):
        await run_phases([phase("a"), phase("b", after=("ghost",))], timeout=60)
    assert not trace


async def test_S8_a_name_used_twice_is_refused_at_once(phase, trace):
    with pytest.raises(ValueError, match="twin"):
        await run_phases([phase("twin"), phase("twin")], timeout=60)
    assert not trace


@pytest.mark.parametrize("wrong", [{"timeout": -1}, {"name": ""}, {"run": None}, {"after": "children"}])
def test_S8_a_phase_that_makes_no_sense_is_refused(step, wrong):
    options = {"name": "a", "run": step("a"), **wrong}
    with pytest.raises((TypeError, ValueError)):
        Phase(options.pop("name"), options.pop("run"), **options)


def test_S8_a_failure_rule_that_is_none_is_refused(step):
    with pytest.raises(TypeError, match="on_failure"):
        Phase("a", step("a"), on_failure="abort")


async def test_S9_a_phase_that_fails_lets_the_next_go_on(phase, trace, boom):
    error = boom()
    report = await run_phases([phase("a", error=error), phase("b", after=("a",))], timeout=60)
    assert "-b" in trace
    assert outcomes(report) == {"a": PhaseOutcome.FAILED, "b": PhaseOutcome.DONE}
    assert report.results[0].error is error
    assert not report.clean


async def test_S9_or_aborts_all_that_has_not_begun(phase, trace, boom):
    phases = [
        phase("a", 1, error=boom(), on_failure=OnFailure.ABORT),
        phase("beside", 3),
        phase("b", after=("a",)),
        phase("c", after=("b",)),
    ]
    report = await run_phases(phases, timeout=60)
    assert outcomes(report) == {
        "a": PhaseOutcome.FAILED,
        "beside": PhaseOutcome.DONE,
        "b": PhaseOutcome.SKIPPED,
        "c": PhaseOutcome.SKIPPED,
    }
    assert "+b" not in trace


@pytest.mark.parametrize("on_failure", list(OnFailure))
async def test_S9_a_phase_over_its_time_is_cancelled_and_counts_as_failed(phase, on_failure):
    phases = [phase("a", 100, timeout=2, on_failure=on_failure), phase("b", after=("a",))]
    report = await run_phases(phases, timeout=60)
    follows = PhaseOutcome.DONE if on_failure is OnFailure.GO_ON else PhaseOutcome.SKIPPED
    assert outcomes(report) == {"a": PhaseOutcome.TIMED_OUT, "b": follows}
    assert report.results[0].seconds == pytest.approx(2)
    assert trio.current_time() == pytest.approx(2)


async def test_S10_all_phases_have_one_overall_deadline(phase, trace):
    phases = [phase("a", 3), phase("b", 3, after=("a",)), phase("c", after=("b",))]
    report = await run_phases(phases, timeout=4)
    assert trio.current_time() == pytest.approx(4)
    assert outcomes(report) == {"a": PhaseOutcome.DONE, "b": PhaseOutcome.TIMED_OUT, "c": PhaseOutcome.SKIPPED}
    assert "+c" not in trace


async def test_S10_the_report_tells_each_phase_in_words(phase, boom):
    report = await run_phases([phase("flush", 1, error=boom("disk full")), phase("close")], timeout=60)
    text = str(report)
    assert all(word in text for word in ("flush", "failed", "disk full", "close", "done"))


# ---- in a supervisor's shutdown


async def test_S8_in_a_supervisor_phases_run_before_or_after_the_children_stop(phase, puppet, trace):
    phases = [phase("goodbye", after=("children",)), phase("announce"), phase("last", after=("goodbye",))]
    async with open_supervisor([puppet("a").spec()], phases=phases):
        trace.clear()
    assert trace.take() == "+announce -announce -a +goodbye -goodbye +last -last"


async def test_S8_a_supervisor_refuses_wrong_phases_before_anything_starts(phase, puppet, trace):
    with pytest.raises(ValueError, match="ghost"):
        async with open_supervisor([puppet("a").spec()], phases=[phase("b", after=("ghost",))]):
            pytest.fail("opened")
    assert not trace


async def test_S9_a_failed_phase_of_a_supervisor_shows_in_its_report(phase, puppet, boom):
    async with open_supervisor([puppet("a").spec()], phases=[phase("flush", error=boom())]) as supervisor:
        pass
    assert not supervisor.report.clean
    assert "flush" in str(supervisor.report)


async def test_S10_the_deadline_of_the_drain_holds_for_the_phases_too(phase, puppet):
    phases = [phase("slow", 50, timeout=60), phase("late", after=("children",))]
    async with open_supervisor([puppet("a").spec()], phases=phases) as supervisor:
        report = await supervisor.drain(timeout=5)
        assert trio.current_time() == pytest.approx(5)
    assert not report.clean


async def test_S10_a_surrounding_cancellation_cuts_the_phases(phase, puppet):
    with trio.move_on_after(1) as scope:
        async with open_supervisor([puppet("a").spec()], phases=[phase("slow", 50, timeout=60)]):
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert trio.current_time() == pytest.approx(1)
