"""One request through a pipeline: what runs beside what, what an error does, and what is left when it is over."""

from __future__ import annotations

import gc
import threading
import weakref
from contextlib import suppress
from functools import partial

import pytest
import trio
from hypothesis import example, given
from hypothesis import strategies as st
from tenacity import wait_fixed

from spaceactors import (
    Actor,
    ActorCrashed,
    Limit,
    Limits,
    Preempted,
    Priority,
    Retry,
    UnknownLimit,
    handler,
    open_runtime,
)
from spaceactors.pipelines import (
    Batch,
    ContextSpec,
    ContextUnavailable,
    Input,
    OnError,
    Pipeline,
    PipelineError,
    Producer,
    Sink,
    Stage,
    StageOutcome,
    StageSkipped,
    WorkerLost,
    open_context_pool,
)
from spaceactors.pipelines._results import overlapping
from tests.pipelines.stage_jobs import (
    LossyPool,
    add,
    async_double,
    count_all,
    die,
    die_once,
    double,
    fail,
    later_double,
    nap,
    napping,
    process_id,
)

pytestmark = pytest.mark.timeout(120)

number = Input(int)
NAPS = ("a", "b", "c")


def step(fn, *inputs, name="step", **options):
    return Stage(fn, *inputs, name=name, **options)


def side_by_side(**options):
    """Three stages of 0.3 s that need nothing of each other, and one that needs all."""
    stages = [Stage(napping(0.3, name), number, **options) for name in NAPS]
    return stages, Pipeline("three", number, Stage(count_all, *stages, name="all"))


class Journal(list):
    """What ran, in order; `said(name)` makes a function that tells its name and gives its first argument."""

    def said(self, name, *, wait=0.0, error=None):
        async def stage(value, *_others):
            self.append(name)
            await trio.sleep(wait)
            if error is not None:
                raise error
            return value

        stage.__name__ = name
        return stage


@pytest.fixture
def journal():
    return Journal()


# ---- beside each other, or one after the other


async def test_C1_three_independent_stages_take_the_time_of_one(autojump_clock):
    stages, pipeline = side_by_side()
    result = await pipeline.run(1)
    assert result.seconds == pytest.approx(0.3)
    assert [result[stage].began for stage in stages] == [0.0] * 3
    assert result.value == 3


async def test_C1_dependent_stages_run_one_after_the_other(autojump_clock):
    first = Stage(napping(0.3, "first"), number)
    second = Stage(napping(0.3, "second"), first)
    result = await Pipeline("two", number, second).run(1)
    assert result.seconds == pytest.approx(0.6)
    assert result[second].began == pytest.approx(0.3)


async def test_C1_a_stage_begins_when_the_last_of_its_inputs_is_there(autojump_clock):
    stages = [Stage(napping(wait, f"s{wait}"), number) for wait in (0.1, 0.5, 0.2)]
    last = Stage(count_all, *stages, name="last")
    result = await Pipeline("p", number, last).run(1)
    assert result[last].began == pytest.approx(0.5)


async def test_C1_two_ways_of_different_length_do_not_wait_for_each_other(autojump_clock):
    long = step(napping(0.2, "x"), step(napping(0.2, "x"), number, name="long 1"), name="long 2")
    short = step(napping(0.1, "x"), step(napping(0.1, "x"), number, name="short 1"), name="short 2")
    result = await Pipeline("p", number, step(count_all, long, short)).run(1)
    assert result[short].began == pytest.approx(0.1)
    assert result.seconds == pytest.approx(0.4)


async def test_C4_sequential_takes_the_time_of_all(autojump_clock):
    _, pipeline = side_by_side()
    result = await pipeline.run(1, sequential=True)
    assert result.seconds == pytest.approx(0.9)
    assert (result.sequential, result.infrastructure, result.parallel_share) == (True, None, 0.0)


async def test_sequential_runs_pipelines_inside_in_sequence_too(autojump_clock):
    _, inner = side_by_side()
    result = await Pipeline("outer", number, Stage(inner, number)).run(1, sequential=True)
    assert result.seconds == pytest.approx(0.9)


@pytest.mark.parametrize("sequential", [False, True])
async def test_arguments_come_in_the_order_of_the_inputs(sequential):
    left, right = step(lambda value: f"left {value}", number, name="l"), step(lambda value: value, number, name="r")
    whole = step(lambda *args: args, right, number, left)
    assert (await Pipeline("p", number, whole).run(7, sequential=sequential)).value == (7, 7, "left 7")


@pytest.mark.parametrize("sequential", [False, True])
async def test_a_result_may_be_taken_twice(sequential):
    whole = Stage(add, *[Stage(double, number)] * 2)
    pipeline = Pipeline("p", number, whole, beside=[step(add, number, number, name="beside")])
    assert (await pipeline.run(4, sequential=sequential)).value == 16


async def test_async_and_sync_functions_and_those_that_give_something_to_await():
    functions = [double, async_double, later_double, partial(add, 4)]
    stages = [step(fn, number, name=str(place)) for place, fn in enumerate(functions)]
    result = await Pipeline("p", number, step(lambda *args: args, *stages)).run(4)
    assert result.value == (8, 8, 8, 8)


async def test_a_run_of_a_single_request_makes_batches_of_one():
    whole = step(len, Batch(step(double, number, name="double"), 10, 60.0))
    assert (await Pipeline("p", number, whole).run(4)).value == 1


async def test_a_sink_gives_what_its_function_does():
    seen = []
    assert (await Pipeline("p", number, Sink(seen.append, number)).run(4)).value is None
    assert seen == [4]


async def test_beside_runs_too_and_its_result_is_kept(journal):
    main, beside = Stage(journal.said("main"), number), Stage(journal.said("beside"), number)
    result = await Pipeline("p", number, main, beside=[beside]).run(4)
    assert sorted(journal) == ["beside", "main"]
    assert result[beside].value == 4


async def test_a_run_that_was_cancelled_before_runs_nothing(journal):
    pipeline = Pipeline("p", number, Stage(journal.said("x"), number))
    with trio.CancelScope() as scope:
        scope.cancel()
        await pipeline.run(1)
    assert scope.cancelled_caught
    assert journal == []


async def test_a_run_of_sync_functions_lets_others_run():
    pipeline = Pipeline("p", number, Stage(double, number))
    turns = []

    async def other():
        turns.append(1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        for _ in range(50):
            await pipeline.run(1)
        assert turns == [1]


# ---- results


async def test_results_are_found_by_stage_and_by_name(autojump_clock):
    stages, pipeline = side_by_side()
    result = await pipeline.run(1)
    assert result[stages[1]] is result.stages()["b"]
    assert [*result.stages()] == ["a", "b", "c", "all"]
    found = result[stages[1]]
    assert (found.value, found.error, found.outcome) == ("b", None, StageOutcome.DONE)
    assert found.seconds == pytest.approx(0.3)
    assert result.name == "three"


async def test_the_input_and_stages_of_others_have_no_result_here():
    pipeline = Pipeline("p", number, Stage(double, number))
    result = await pipeline.run(1)
    with pytest.raises(PipelineError, match="is what pipeline 'p' was given: only what runs has a result"):
        result[number]
    with pytest.raises(PipelineError, match="is no stage of pipeline 'p'"):
        result[Stage(double, number)]


async def test_a_result_as_text_has_a_line_for_each_stage(autojump_clock):
    broken = Stage(fail, number, on_error=OnError.SKIP)
    slow = Stage(nap, number)
    result = await Pipeline("p", number, slow, beside=[broken]).run(1.5)
    lines = str(result).splitlines()
    assert lines[0] == "pipeline 'p': 1.500 s"
    assert set(lines[1:]) == {"  nap: done in 1.500 s", "  fail: skipped in 0.000 s (LookupError: not there)"}


async def test_a_sequential_result_says_so_in_its_text():
    result = await Pipeline("p", number, Stage(double, number)).run(1, sequential=True)
    assert str(result).splitlines()[0].endswith(" s, in sequence")


async def test_C5_the_parallel_share_is_that_of_stages_beside_another(autojump_clock):
    _, pipeline = side_by_side()
    assert (await pipeline.run(1)).parallel_share == 3 / 4


spans = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)).map(lambda one: (one[0], sum(one))), max_size=8)


@given(spans)
@example([(0, 9), (1, 2), (3, 4)])  # the last one shares its moments with the first alone
def test_C5_overlapping_spans_are_those_that_share_a_moment_with_another(spans):
    def share(one, other):
        return max(one[0], other[0]) < min(one[1], other[1])

    expected = sum(
        any(share(one, other) for index, other in enumerate(spans) if index != own) for own, one in enumerate(spans)
    )
    assert overlapping(spans) == expected


async def test_two_requests_at_once_have_results_of_their_own(autojump_clock):
    pipeline = Pipeline("p", number, step(double, step(nap, number, name="nap")))
    found = {}

    async def ask(value):
        found[value] = (await pipeline.run(value)).value

    async with trio.open_nursery() as nursery:
        for value in range(10):
            nursery.start_soon(ask, value)
    assert found == {value: 2 * value for value in range(10)}


# ---- errors


@pytest.mark.parametrize("sequential", [False, True])
async def test_D7_a_failing_stage_comes_out_as_it_was_raised_with_a_note(sequential):
    error = LookupError("not there")

    def broken(_value):
        raise error

    stages = [step(broken, number, name="broken"), step(double, number, name="whole")]
    pipeline = Pipeline("p", number, step(count_all, *stages, name="last"))
    with pytest.raises(LookupError) as caught:
        await pipeline.run(1, sequential=sequential)
    assert caught.value is error
    assert error.__notes__ == ["in stage 'broken' of pipeline 'p'"]


async def test_D7_the_traceback_leads_to_the_stage_s_own_line():
    with pytest.raises(LookupError) as caught:
        await Pipeline("p", number, Stage(fail, number)).run(1)
    assert caught.traceback[-1].name == "fail"


async def test_a_failing_stage_cancels_the_others_and_runs_nothing_after_it(autojump_clock, journal):
    broken = Stage(journal.said("broken", wait=1, error=LookupError()), number)
    slow = Stage(journal.said("slow", wait=60), number)
    pipeline = Pipeline("p", number, Stage(journal.said("after"), broken, slow))
    with pytest.raises(LookupError) as caught:
        await pipeline.run(1)
    assert sorted(journal) == ["broken", "slow"]
    assert trio.current_time() == pytest.approx(1)
    assert caught.value.__notes__ == ["in stage 'broken' of pipeline 'p'"]  # to be cancelled is no failure


async def test_an_error_of_pipelines_inside_names_each_stage_on_the_way():
    inner = Pipeline("inner", number, Stage(fail, number))
    with pytest.raises(LookupError) as caught:
        await Pipeline("outer", number, Stage(inner, number, name="nested")).run(1)
    assert caught.value.__notes__ == [
        "in stage 'fail' of pipeline 'inner'",
        "in stage 'nested' of pipeline 'outer'",
    ]


async def test_an_error_that_is_raised_again_and_again_does_not_gather_notes():
    error = LookupError("always this one")

    def broken(_value):
        raise error

    stages = [step(broken, number, name=name) for name in NAPS]
    pipeline = Pipeline("p", number, step(count_all, *stages))
    for _ in range(5):
        with pytest.raises(LookupError):
            await pipeline.run(1)
    assert len(error.__notes__) <= len(NAPS)


async def test_an_error_with_which_another_fails_again_and_again_does_not_gather_notes(autojump_clock):
    error = LookupError("always this one")

    async def broken(_value):
        await trio.sleep(1)
        raise error

    async def untidy(_value):
        try:
            await trio.sleep_forever()
        finally:
            raise OSError("could not close")

    pipeline = Pipeline("p", number, Stage(broken, number), beside=[Stage(untidy, number)])
    for _ in range(5):
        with pytest.raises(LookupError):
            await pipeline.run(1)
    assert len(error.__notes__) == 2


async def test_nothing_of_a_run_that_failed_is_kept_until_the_next_collection(autojump_clock):
    class Large:
        pass

    made = []

    def large(_value):
        value = Large()
        made.append(weakref.ref(value))
        return value

    pipeline = Pipeline("p", number, step(fail, Stage(large, number), name="fail"))
    gc.collect()
    gc.disable()
    try:
        with suppress(LookupError):
            await pipeline.run(1)
        await trio.lowlevel.checkpoint()
        assert [one() for one in made] == [None]
    finally:
        gc.enable()


async def test_what_others_raise_as_they_are_cancelled_is_noted_at_the_first_error(autojump_clock):
    async def untidy(_value):
        try:
            await trio.sleep_forever()
        finally:
            raise OSError("could not close")

    broken = Stage(napping(1, "x"), number, name="slow")
    pipeline = Pipeline("p", number, step(fail, broken, name="fail"), beside=[Stage(untidy, number)])
    with pytest.raises(LookupError) as caught:
        await pipeline.run(1)
    assert "something else failed too: OSError: could not close" in caught.value.__notes__


async def test_a_group_that_a_cancelled_stage_raises_does_not_hide_the_first_error(autojump_clock):
    """A stage with a nursery of its own that is cancelled and fails gives a group with its cancellation in it."""

    async def untidy():
        try:
            await trio.sleep_forever()
        finally:
            raise OSError("could not close")

    async def with_nursery(_value):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(untidy)
            nursery.start_soon(trio.sleep_forever)

    slow = Stage(napping(1, "x"), number, name="slow")
    pipeline = Pipeline("p", number, step(fail, slow, name="fail"), beside=[Stage(with_nursery, number)])
    with pytest.raises(LookupError):
        await pipeline.run(1)


async def test_a_group_that_a_stage_raises_comes_out_as_it_is():
    group = ExceptionGroup("two", [LookupError(), OSError()])

    def broken(_value):
        raise group

    with pytest.raises(ExceptionGroup) as caught:
        await Pipeline("p", number, step(count_all, step(broken, number, name="b"), number)).run(1)
    assert caught.value is group


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("sequential", [False, True])
async def test_what_concerns_the_whole_program_passes_bare(error, sequential):
    def stop(_value):
        raise error

    stopping = Stage(stop, number, on_error=OnError.SKIP, fallback=double, retry=Retry(3))
    pipeline = Pipeline("p", number, step(count_all, stopping, number), beside=[Stage(nap, number)])
    with pytest.raises(error):
        await pipeline.run(0, sequential=sequential)
    assert pipeline.statistics().failed == 1


async def test_what_concerns_the_whole_program_goes_before_an_earlier_error(autojump_clock):
    async def stop(_value):
        try:
            await trio.sleep_forever()
        finally:
            raise KeyboardInterrupt

    slow = Stage(napping(1, "x"), number, name="slow")
    pipeline = Pipeline("p", number, step(fail, slow, name="fail"), beside=[Stage(stop, number)])
    with pytest.raises(KeyboardInterrupt):
        await pipeline.run(1)


async def test_what_concerns_the_whole_program_comes_out_without_the_cancellation_that_brought_it_about(autojump_clock):
    """A stage with a nursery of its own gives a group, with the cancellation of the run in it."""

    async def stop():
        try:
            await trio.sleep_forever()
        finally:
            raise KeyboardInterrupt

    async def with_nursery(_value):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stop)
            nursery.start_soon(trio.sleep_forever)

    slow = Stage(napping(1, "x"), number, name="slow")
    pipeline = Pipeline("p", number, step(fail, slow, name="fail"), beside=[Stage(with_nursery, number)])
    with pytest.raises(BaseExceptionGroup) as caught:
        await pipeline.run(1)
    assert caught.value.split(trio.Cancelled)[0] is None


@pytest.mark.parametrize("error", [LookupError, SystemExit])
async def test_an_error_is_not_lost_to_a_cancellation_that_comes_while_others_end(autojump_clock, error):
    async def stop(_value):
        await trio.sleep(1)
        raise error

    async def slow_to_end(_value):
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(2)

    pipeline = Pipeline("p", number, Stage(stop, number), beside=[Stage(slow_to_end, number)])
    with pytest.raises(error) as caught, trio.move_on_after(2):
        await pipeline.run(1)
    assert caught.value.__context__ is None
    assert (pipeline.statistics().failed, pipeline.statistics().cancelled) == (1, 0)


@pytest.mark.parametrize("sequential", [False, True])
async def test_a_cancellation_from_outside_leaves_nothing_running(autojump_clock, sequential):
    ended = []

    async def patient(_value):
        try:
            await trio.sleep_forever()
        finally:
            ended.append(1)

    stages = [step(patient, number, name=name) for name in NAPS]
    pipeline = Pipeline("p", number, step(count_all, *stages))
    with trio.move_on_after(1) as scope:
        await pipeline.run(1, sequential=sequential)
    assert scope.cancelled_caught
    assert len(ended) == (1 if sequential else 3)
    assert pipeline.statistics().running == 0
    assert pipeline.statistics().cancelled == 1


# ---- skipping


def skipping(journal):
    """A stage that fails and may be skipped, two in a row that need it, one that does not."""
    broken = Stage(journal.said("broken", error=LookupError("not there")), number, on_error=OnError.SKIP)
    needs = Stage(journal.said("needs"), broken)
    needs_too = Stage(journal.said("needs too"), needs, number)
    other = Stage(journal.said("other", wait=1), number)
    return broken, needs, needs_too, other, Pipeline("p", number, needs_too, beside=[other])


@pytest.mark.parametrize("sequential", [False, True])
async def test_C4_a_skipped_stage_takes_with_it_what_needs_it_and_nothing_else(autojump_clock, journal, sequential):
    broken, needs, needs_too, other, pipeline = skipping(journal)
    result = await pipeline.run(4, sequential=sequential)
    assert sorted(journal) == ["broken", "other"]
    assert [result[one].outcome for one in (broken, needs, needs_too)] == [StageOutcome.SKIPPED] * 3
    assert (result[other].outcome, result[other].value) == (StageOutcome.DONE, 4)


async def test_C4_the_record_of_a_skipped_stage_has_its_error(autojump_clock, journal):
    broken, *_, pipeline = skipping(journal)
    result = await pipeline.run(4)
    assert isinstance(result[broken].error, LookupError)
    assert (result[broken].value, result[broken].error.__notes__) == (None, ["in stage 'broken' of pipeline 'p'"])


async def test_C4_what_needed_it_says_so_with_the_error_as_cause(autojump_clock, journal):
    broken, needs, needs_too, _, pipeline = skipping(journal)
    result = await pipeline.run(4)
    for stage, text in [(needs, "stage 'broken', which it needs"), (needs_too, "stage 'needs', which it needs")]:
        assert isinstance(result[stage].error, StageSkipped)
        assert str(result[stage].error) == f"{text}, was skipped"
        assert result[stage].error.__cause__ is result[broken].error


async def test_C4_the_value_of_a_run_whose_last_stage_was_skipped_raises(autojump_clock, journal):
    broken, *_, pipeline = skipping(journal)
    result = await pipeline.run(4)
    with pytest.raises(StageSkipped, match="pipeline 'p' has no value, for stage 'needs too' was skipped") as caught:
        _ = result.value
    assert caught.value.__cause__ is result[broken].error


async def test_C4_a_pipeline_inside_whose_last_stage_was_skipped_fails_its_stage(autojump_clock, journal):
    *_, inner = skipping(journal)
    nested = Stage(inner, number)
    with pytest.raises(StageSkipped) as caught:
        await Pipeline("outer", number, nested).run(4)
    assert isinstance(caught.value.__cause__, LookupError)


async def test_C4_a_nested_pipeline_that_fails_may_be_skipped():
    inner = Pipeline("inner", number, Stage(fail, number))
    nested = Stage(inner, number, on_error=OnError.SKIP)
    result = await Pipeline("outer", number, step(double, number), beside=[nested]).run(4)
    assert (result.value, result[nested].outcome) == (8, StageOutcome.SKIPPED)


async def test_C4_a_thousand_stages_in_a_row_run_and_are_skipped_without_recursion():
    stage = first = Stage(fail, number, on_error=OnError.SKIP)
    for index in range(1_000):
        stage = Stage(double, stage, name=f"s{index}")
    result = await Pipeline("p", number, stage).run(1)
    assert result[stage].error.__cause__ is result[first].error
    with pytest.raises(StageSkipped):
        _ = result.value


async def test_a_thousand_stages_side_by_side_and_in_a_row_run(autojump_clock):
    ways = [Stage(nap, number, name=f"way {index}") for index in range(1_000)]
    stage = Stage(count_all, *ways, name="all")
    for index in range(1_000):
        stage = Stage(double, stage, name=f"s{index}")
    result = await Pipeline("p", number, stage).run(1)
    assert (result.value, result.seconds) == (1_000 * 2**1_000, pytest.approx(1))


async def test_D5_a_pipeline_that_begins_with_a_producer_runs_for_an_item_too():
    source = Producer(list)
    assert (await Pipeline("p", source, Stage(double, source)).run(4)).value == 8


# ---- fallbacks, tries, timeouts


async def test_C4_a_fallback_answers_for_a_stage_that_failed():
    stage = Stage(fail, number, fallback=async_double)
    result = await Pipeline("p", number, stage).run(4)
    assert (result.value, result[stage].outcome) == (8, StageOutcome.FALLBACK)
    assert isinstance(result[stage].error, LookupError)


async def test_C4_a_fallback_that_fails_ends_the_run_with_its_error_and_the_first_as_context():
    def broken(_value):
        raise OSError("offline")

    with pytest.raises(OSError, match="offline") as caught:
        await Pipeline("p", number, Stage(fail, number, fallback=broken)).run(4)
    assert isinstance(caught.value.__context__, LookupError)
    assert caught.value.__notes__ == ["in stage 'fail' of pipeline 'p'"]


async def test_C5_only_a_fallback_that_answers_is_counted():
    pipeline = Pipeline("p", number, Stage(fail, number, fallback=fail))
    with pytest.raises(LookupError):
        await pipeline.run(4)
    figures = pipeline.statistics().stages["fail"]
    assert (figures.failed, figures.fallbacks) == (1, 0)


async def test_C4_a_stage_whose_fallback_fails_may_be_skipped_too():
    stage = Stage(fail, number, fallback=fail, on_error=OnError.SKIP)
    result = await Pipeline("p", number, step(double, number), beside=[stage]).run(4)
    assert result[stage].outcome is StageOutcome.SKIPPED


async def test_C7_a_stage_is_tried_again_with_waits_on_virtual_time(autojump_clock):
    tries = []

    def flaky(value):
        tries.append(trio.current_time())
        if len(tries) < 3:
            raise OSError
        return value

    stage = Stage(flaky, number, retry=Retry(3, wait=wait_fixed(10)))
    pipeline = Pipeline("p", number, stage)
    result = await pipeline.run(4)
    assert tries == pytest.approx([0, 10, 20])
    assert (result.value, result[stage].seconds) == (4, pytest.approx(20))
    assert pipeline.statistics().stages["flaky"].retries == 2


async def test_C7_the_last_error_comes_out_when_all_tries_have_failed():
    pipeline = Pipeline("p", number, Stage(fail, number, retry=Retry(3)))
    with pytest.raises(LookupError):
        await pipeline.run(4)
    assert pipeline.statistics().stages["fail"].retries == 2


async def test_C7_only_the_errors_named_are_tried_again():
    pipeline = Pipeline("p", number, Stage(fail, number, retry=Retry(3, on=(OSError,))))
    with pytest.raises(LookupError):
        await pipeline.run(4)
    assert pipeline.statistics().stages["fail"].retries == 0


async def test_C7_the_fallback_is_asked_after_the_last_try(journal):
    stage = Stage(journal.said("try", error=OSError()), number, retry=Retry(3), fallback=journal.said("fallback"))
    await Pipeline("p", number, stage).run(4)
    assert journal == ["try"] * 3 + ["fallback"]


async def test_a_try_that_takes_too_long_fails(autojump_clock):
    stage = Stage(nap, number, timeout=2)
    with pytest.raises(trio.TooSlowError) as caught:
        await Pipeline("p", number, stage).run(3)
    assert trio.current_time() == pytest.approx(2)
    assert caught.value.__notes__ == ["in stage 'nap' of pipeline 'p'"]


async def test_each_try_has_the_whole_timeout(autojump_clock):
    with pytest.raises(trio.TooSlowError):
        await Pipeline("p", number, Stage(nap, number, timeout=2, retry=Retry(3))).run(3)
    assert trio.current_time() == pytest.approx(6)


async def test_the_fallback_has_no_timeout(autojump_clock):
    result = await Pipeline("p", number, Stage(nap, number, timeout=2, fallback=nap)).run(3)
    assert result.value == 3


# ---- limits


def busy(limits_held):
    """A stage that notes how many of its kind run at once."""
    running = []

    async def stage(value):
        running.append(value)
        limits_held.append(len(running))
        await trio.sleep(1)
        running.remove(value)
        return value

    return stage


async def run_many(pipeline, count, **options):
    async with trio.open_nursery() as nursery:
        for value in range(count):
            nursery.start_soon(partial(pipeline.run, value, **options))


async def test_limits_that_are_given_pace_a_stage(autojump_clock):
    seen = []
    pipeline = Pipeline("p", number, Stage(busy(seen), number, limit="llm"))
    await run_many(pipeline, 6, limits=Limits([Limit("llm", 2)]))
    assert max(seen) == 2
    assert trio.current_time() == pytest.approx(3)


async def test_the_wait_for_limits_does_not_count_against_the_timeout(autojump_clock):
    pipeline = Pipeline("p", number, Stage(busy([]), number, limit="llm", timeout=1.5))
    await run_many(pipeline, 4, limits=Limits([Limit("llm", 1)]))
    assert trio.current_time() == pytest.approx(4)


async def test_a_limit_is_given_back_between_tries(autojump_clock):
    def flaky(_value):
        raise OSError

    limits = Limits([Limit("llm", 1)])
    broken = Stage(flaky, number, limit="llm", retry=Retry(2, wait=wait_fixed(10)), on_error=OnError.SKIP)
    other = Stage(napping(1, "other"), Stage(napping(1, "before"), number), limit="llm")
    result = await Pipeline("p", number, other, beside=[broken]).run(1, limits=limits)
    assert result[other].began + result[other].seconds == pytest.approx(2)


@pytest.mark.parametrize(("retry", "outcome"), [(None, Preempted), (Retry(2), 2)])
async def test_a_stage_whose_token_somebody_urgent_takes_fails_and_may_be_tried_again(autojump_clock, retry, outcome):
    limits, found = Limits([Limit("gpu", 1, preemptible=True)]), []
    stages = [Stage(nap, number, limit="gpu", retry=retry), Stage(napping(1, "other"), number)]
    pipeline = Pipeline("p", number, Stage(count_all, *stages))

    async def run():
        try:
            found.append((await pipeline.run(5, limits=limits)).value)
        except Preempted:
            found.append(Preempted)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await trio.sleep(2)
        async with limits.hold("gpu", priority=Priority.URGENT):
            await trio.sleep(1)
    assert found == [outcome]


async def test_without_limits_nobody_paces_it(autojump_clock):
    seen = []
    await run_many(Pipeline("p", number, Stage(busy(seen), number, limit="llm")), 6)
    assert max(seen) == 6


@pytest.mark.parametrize("options", [{}, {"on_error": OnError.SKIP}, {"fallback": double}])
async def test_an_unknown_limit_is_refused_before_anything_runs(journal, options):
    last = Stage(double, Stage(journal.said("first"), number), limit="lmm", **options)
    with pytest.raises(UnknownLimit, match="there is no limit 'lmm'"):
        await Pipeline("p", number, last).run(1, limits=Limits([Limit("llm", 1)]))
    assert journal == []


async def test_what_are_no_limits_is_refused(journal):
    with pytest.raises(TypeError, match="limits must be a Limits such as"):
        await Pipeline("p", number, Stage(journal.said("first"), number)).run(1, limits=[Limit("llm", 1)])
    assert journal == []


async def test_an_unknown_limit_of_a_pipeline_inside_is_refused_too(journal):
    inner = Pipeline("inner", number, Stage(double, number, limit="lmm"))
    pipeline = Pipeline("p", number, Stage(inner, Stage(journal.said("first"), number)))
    with pytest.raises(UnknownLimit):
        await pipeline.run(1, limits=Limits([Limit("llm", 1)]))
    assert journal == []


class Clerk(Actor):
    def __init__(self, work: list) -> None:
        self.pipeline, self.done = work

    @handler
    async def in_turn(self, value: int) -> int:
        return (await self.pipeline.run(value)).value

    @handler
    async def beside(self, value: int) -> None:
        self.start_soon(self.work, value)

    async def work(self, value: int) -> None:
        self.done.append((await self.pipeline.run(value)).value)


async def test_in_a_turn_the_runtime_s_limits_pace_it(autojump_clock):
    seen = []
    pipeline = Pipeline("p", number, Stage(busy(seen), number, limit="llm"))
    limits = [Limit("llm", 2)]
    async with open_runtime(Clerk, deps=[pipeline, []], limits=limits) as runtime, trio.open_nursery() as nursery:
        for value in range(6):
            nursery.start_soon(runtime.space(str(value)).ask, Clerk.in_turn, value)
    assert max(seen) == 2


async def test_in_background_work_the_runtime_s_limits_pace_it(autojump_clock):
    seen, done = [], []
    pipeline = Pipeline("p", number, Stage(busy(seen), number, limit="llm"))
    async with open_runtime(Clerk, deps=[pipeline, done], limits=[Limit("llm", 2)]) as runtime:
        for value in range(6):
            await runtime.space(str(value)).send(Clerk.beside, value)
        await trio.sleep(10)
    assert (sorted(done), max(seen)) == ([*range(6)], 2)


async def test_in_a_turn_an_unknown_limit_is_refused_before_anything_runs(autojump_clock, journal):
    pipeline = Pipeline("p", number, Stage(double, Stage(journal.said("first"), number), limit="lmm"))
    async with open_runtime(Clerk, deps=[pipeline, []]) as runtime:
        with pytest.raises(ActorCrashed) as caught:
            await runtime.space("a").ask(Clerk.in_turn, 1)
    assert isinstance(caught.value.__cause__, UnknownLimit)
    assert journal == []


# ---- pipelines inside


async def test_D5_a_pipeline_is_a_stage_of_another(autojump_clock):
    _, inner = side_by_side()
    nested = Stage(inner, number)
    result = await Pipeline("outer", number, step(double, nested)).run(1)
    assert (result.value, result.seconds) == (6, pytest.approx(0.3))
    assert result[nested].value == 3
    assert inner.statistics().completed == 1


async def test_a_nested_pipeline_has_a_fallback_tries_and_a_timeout_as_a_whole(autojump_clock):
    inner = Pipeline("inner", number, Stage(nap, number))
    nested = Stage(inner, number, timeout=1, retry=Retry(2), fallback=double)
    result = await Pipeline("outer", number, nested).run(5)
    assert (result.value, trio.current_time()) == (10, pytest.approx(2))
    assert inner.statistics().cancelled == 2


# ---- contexts


async def test_D1_a_stage_runs_in_the_context_that_it_names():
    own = Stage(lambda _value: threading.get_ident(), number, name="inline")
    other = Stage(lambda _value: threading.get_ident(), number, name="thread", context="thread")
    result = await Pipeline("p", number, step(count_all, own, other)).run(1)
    assert result[own].value == threading.get_ident() != result[other].value


async def test_D7_an_error_from_a_thread_comes_out_bare_with_its_traceback():
    with pytest.raises(LookupError) as caught:
        await Pipeline("p", number, Stage(fail, number, context="thread")).run(1)
    assert caught.traceback[-1].name == "fail"


async def test_an_unknown_context_is_refused_before_anything_runs(journal):
    last = Stage(double, Stage(journal.said("first"), number), context="parsing")
    pipeline = Pipeline("p", number, last)
    with pytest.raises(PipelineError, match="needs the context 'parsing': open a pool that has it, and give contexts="):
        await pipeline.run(1)
    async with open_context_pool() as contexts:
        with pytest.raises(PipelineError, match="pipeline 'p': no context is named 'parsing'"):
            await pipeline.run(1, contexts=contexts)
    assert journal == []


async def test_what_is_no_open_pool_is_refused(journal):
    pipeline = Pipeline("p", number, Stage(journal.said("first"), number))
    for contexts in (open_context_pool(), ContextSpec("parsing"), "thread"):
        with pytest.raises(TypeError, match="contexts must be an open pool, as of `async with open_context_pool"):
            await pipeline.run(1, contexts=contexts)
    assert journal == []


async def test_a_pool_that_is_given_is_used_by_name():
    stage = Stage(double, number, context="parsing")
    async with open_context_pool(ContextSpec("parsing", "thread", size=1)) as contexts:
        result = await Pipeline("p", number, stage).run(4, contexts=contexts)
        assert (result.value, contexts.statistics()["parsing"].created) == (8, 1)


async def test_contexts_of_pipelines_inside_are_looked_up_too(journal):
    inner = Pipeline("inner", number, Stage(double, number, context="parsing"))
    with pytest.raises(PipelineError, match="needs the context 'parsing'"):
        await Pipeline("p", number, Stage(inner, Stage(journal.said("first"), number))).run(1)
    assert journal == []


@pytest.mark.slow
async def test_C4_D7_a_process_that_dies_makes_the_rest_sequential_and_runs_once_more(tmp_path, journal):
    done = Stage(journal.said("done"), number)
    dying = Stage(die_once, done, context="process")
    after = [Stage(journal.said(name), dying) for name in ("one", "other")]
    pipeline = Pipeline("p", number, Stage(count_all, *after, name="all"))
    result = await pipeline.run(tmp_path / "mark")
    assert result[dying].value == 2
    assert isinstance(result.infrastructure, WorkerLost)
    assert result.sequential
    assert journal == ["done", "one", "other"]  # none of them twice


@pytest.mark.slow
async def test_C4_a_process_that_dies_again_fails_the_run():
    dying = Stage(die, number, context="process")
    with pytest.raises(WorkerLost) as caught:
        await Pipeline("p", number, step(count_all, dying, number)).run(1)
    assert caught.value.__notes__ == ["in stage 'die' of pipeline 'p'"]


@pytest.mark.slow
@pytest.mark.parametrize("sequential", [False, True])
async def test_C4_a_stage_that_may_be_skipped_runs_once_more_before_it_is(tmp_path, sequential):
    stages = [
        Stage(die_once, number, context="process", on_error=OnError.SKIP),
        Stage(die, number, context="process", on_error=OnError.SKIP),
    ]
    result = await Pipeline("p", number, stages[0], beside=stages[1:]).run(tmp_path / "mark", sequential=sequential)
    assert [result[stage].outcome for stage in stages] == [StageOutcome.DONE, StageOutcome.SKIPPED]
    assert isinstance(result[stages[1]].error, WorkerLost)


async def test_C4_what_runs_when_a_context_fails_goes_on_to_its_end_first(autojump_clock):
    tries = []

    async def noted(_value):
        tries.append(trio.current_time())

    lost = Stage(noted, Stage(napping(0.5, "first"), number), context="far")
    slow = Stage(napping(5, "slow"), number)
    after = [Stage(napping(1, name), slow) for name in NAPS]
    both = Stage(count_all, lost, *after, name="both")
    result = await Pipeline("p", number, both).run(1, contexts=LossyPool([WorkerLost]))
    assert tries == [5.0]
    assert [result[stage].began for stage in after] == [5.0, 6.0, 7.0]  # and what is left one after the other


async def test_C4_after_a_context_failed_pipelines_inside_run_in_sequence_too(autojump_clock):
    _, inner = side_by_side()
    nested = Stage(inner, Stage(nap, number, context="far"))
    result = await Pipeline("outer", number, nested).run(1, contexts=LossyPool([WorkerLost]))
    assert result[nested].seconds == pytest.approx(0.9)


async def test_C4_an_error_while_a_stage_waits_to_run_again_ends_that_wait(autojump_clock, journal):
    lost = Stage(journal.said("lost"), Stage(napping(0.5, "first"), number), context="far")
    broken = Stage(journal.said("broken", wait=1, error=LookupError()), number)
    slow = Stage(journal.said("slow", wait=60), number)
    pipeline = Pipeline("p", number, Stage(count_all, lost, broken, slow))
    with pytest.raises(LookupError):
        await pipeline.run(1, contexts=LossyPool([WorkerLost]))
    assert (sorted(journal), trio.current_time()) == (["broken", "slow"], 1.0)


@pytest.mark.slow
async def test_C4_a_fallback_goes_before_another_try_of_a_lost_process():
    stage = Stage(die, number, context="process", fallback=double)
    result = await Pipeline("p", number, stage).run(4)
    assert (result.value, result.sequential) == (8, False)
    assert isinstance(result[stage].error, WorkerLost)


class Barren:
    """A pool that has a name for processes and no way to start any, as on a machine that is full."""

    def __init__(self, inner, *names):
        self._inner = inner
        self._names = names
        self.refused = 0

    def kind_of(self, name):
        return self._inner.kind_of(name)

    def use(self, name):
        if name in self._names:
            self.refused += 1
            raise ContextUnavailable(f"no {name} can be started")
        return self._inner.use(name)


async def test_C4_where_a_context_is_not_to_be_had_a_thread_is():
    stage = Stage(process_id, number, context="process")
    async with open_context_pool() as contexts:
        barren = Barren(contexts, "process")
        result = await Pipeline("p", number, stage).run(1, contexts=barren)
        assert contexts.statistics()["thread"].created == 1
    assert isinstance(result.infrastructure, ContextUnavailable)
    assert (barren.refused, result.sequential) == (2, True)


async def test_C4_where_not_even_a_thread_is_to_be_had_the_run_fails():
    async with open_context_pool() as contexts:
        for own, tries in [("process", 3), ("thread", 2)]:
            stage = Stage(process_id, number, context=own)
            barren = Barren(contexts, "process", "thread")
            with pytest.raises(ContextUnavailable):
                await Pipeline("p", number, stage).run(1, contexts=barren)
            assert barren.refused == tries


async def test_a_context_that_a_function_of_its_own_uses_and_loses_is_that_function_s_error(journal):
    stage = Stage(journal.said("own", error=WorkerLost("not the pipeline's")), number)
    with pytest.raises(WorkerLost):
        await Pipeline("p", number, step(count_all, stage, number)).run(1)
    assert journal == ["own"]


async def test_stages_whose_contexts_fail_at_once_run_again_one_after_the_other():
    stages = [step(process_id, number, name=name, context="process") for name in NAPS]
    async with open_context_pool() as contexts:
        result = await Pipeline("p", number, step(count_all, *stages)).run(1, contexts=Barren(contexts, "process"))
        assert contexts.statistics()["thread"].created == 1  # one was enough for all
    assert result.value == 3


async def test_a_cancellation_while_a_stage_waits_to_run_again_leaves_nothing(autojump_clock):
    lost = Stage(process_id, Stage(napping(0.5, "first"), number), context="far")
    pipeline = Pipeline("p", number, lost, beside=[Stage(napping(60, "slow"), number)])
    with trio.move_on_after(1) as scope:
        await pipeline.run(1, contexts=LossyPool([WorkerLost]))
    assert scope.cancelled_caught
    assert (pipeline.statistics().cancelled, pipeline._tally.now) == (1, 0)


# ---- several runs of Trio


def test_a_pipeline_serves_one_run_of_trio_after_the_other():
    _, pipeline = side_by_side()
    for _ in range(2):
        assert trio.run(pipeline.run, 1, clock=trio.testing.MockClock(autojump_threshold=0)).value == 3
    assert pipeline.statistics().completed == 2
    assert pipeline.statistics().throughput == pytest.approx(1 / 0.3)


def test_a_pipeline_serves_runs_of_trio_in_two_threads_at_once():
    meet = threading.Barrier(2)

    async def wait(value):
        await trio.to_thread.run_sync(meet.wait)
        return value

    pipeline = Pipeline("p", number, step(count_all, Stage(wait, number), number))
    found = []
    threads = [threading.Thread(target=lambda: found.append(trio.run(pipeline.run, 1).value)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    figures = pipeline.statistics()
    assert found == [2, 2]
    assert (figures.completed, figures.running) == (2, 0)
    assert figures.throughput > 0.01  # the clocks of two runs of Trio differ by days
