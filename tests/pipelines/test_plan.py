"""Where each stage runs: the rules as a table, and what holds for every pipeline there is."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spaceactors.pipelines import AffinityRule, Batch, Input, Pipeline, PipelineError, Producer, Sink, Stage, StageKind
from tests.pipelines.stage_jobs import add, async_double, count_all, double

number = Input(int)


def inner():
    return Pipeline("inner", number, Stage(double, number, name="inside"))


def step(*inputs, name="stage", fn=count_all, **options):
    return Stage(fn, *inputs, name=name, **options)


# ---- the rules, one by one: the stage `it` and the stage before it

first = partial(step, number, name="first")
TABLE = {
    "the first stage has nothing to be beside": (first(), AffinityRule.SOURCE),
    "a batch of what comes in": (Batch(number, 2), AffinityRule.SOURCE),
    "behind a producer": (step(Producer(list)), AffinityRule.SINGLE_UPSTREAM),
    "one input: beside it": (step(first()), AffinityRule.SINGLE_UPSTREAM),
    "one input, twice": (step(*[first()] * 2), AffinityRule.SEVERAL_UPSTREAM),
    "several inputs": (step(first(), step(number, name="other")), AffinityRule.SEVERAL_UPSTREAM),
    "one of them the pipeline's input": (step(first(), number), AffinityRule.SEVERAL_UPSTREAM),
    "a batch": (Batch(first(), 3), AffinityRule.BATCH_BOUNDARY),
    "behind a batch": (step(Batch(first(), 3)), AffinityRule.BATCH_BOUNDARY),
    "a context of its own": (step(first(), context="thread"), AffinityRule.EXPLICIT_CONTEXT),
    "inline by its own wish": (step(first(), context="inline"), AffinityRule.EXPLICIT_CONTEXT),
    "the same context as the one before": (
        step(first(context="thread"), context="thread"),
        AffinityRule.EXPLICIT_CONTEXT,
    ),
    "a nested pipeline": (Stage(inner(), first()), AffinityRule.NESTED_PIPELINE),
    "behind a nested pipeline": (step(Stage(inner(), first())), AffinityRule.NESTED_PIPELINE),
    "more at once than the one before": (step(first(), concurrency=2), AffinityRule.CONCURRENCY),
    "fewer at once": (step(first(concurrency=2)), AffinityRule.CONCURRENCY),
    "as many at once, in another order": (
        step(first(concurrency=2), concurrency=2, ordered=False),
        AffinityRule.CONCURRENCY,
    ),
    "as many at once, in the same order": (step(first(concurrency=2), concurrency=2), AffinityRule.SINGLE_UPSTREAM),
    "one at once, where order says nothing": (step(first(), ordered=False), AffinityRule.SINGLE_UPSTREAM),
    "async behind a thread": (step(first(context="thread"), fn=async_double), AffinityRule.OWN_LOOP),
    "async behind another context's neighbour": (
        step(step(first(context="thread"), name="beside"), fn=async_double),
        AffinityRule.OWN_LOOP,
    ),
    "async behind inline": (step(first(), fn=async_double), AffinityRule.SINGLE_UPSTREAM),
    "sync behind a thread": (step(first(context="thread")), AffinityRule.SINGLE_UPSTREAM),
    "a sink": (Sink(count_all, first()), AffinityRule.SINGLE_UPSTREAM),
}


def source_of(stage):
    while stage.inputs:
        stage = stage.inputs[0]
    return stage


@pytest.mark.parametrize(("stage", "rule"), TABLE.values(), ids=TABLE)
def test_D4_each_rule_decides_where_a_stage_runs(stage, rule):
    assert Pipeline("p", source_of(stage), stage).plan.rule_for(stage) is rule


@pytest.mark.parametrize(("stage", "rule"), TABLE.values(), ids=TABLE)
def test_D3_D4_only_a_single_upstream_makes_a_stage_run_beside_it(stage, rule):
    plan = Pipeline("p", source_of(stage), stage).plan
    is_colocated = rule is AffinityRule.SINGLE_UPSTREAM
    assert plan.affinity_for(stage) is (stage.inputs[0] if is_colocated else None)
    assert (stage in plan.colocated_stages(), stage in plan.independent_stages()) == (is_colocated, not is_colocated)


def test_D4_the_first_rule_that_applies_decides():
    batches = [Batch(first(name=name), 2) for name in "ab"]
    with pytest.raises(PipelineError):
        Pipeline("p", number, step(*batches))
    nested = Stage(inner(), Batch(first(), 2))
    assert Pipeline("p", number, nested).plan.rule_for(nested) is AffinityRule.BATCH_BOUNDARY


def test_every_rule_has_a_row():
    assert {rule for _, rule in TABLE.values()} == set(AffinityRule)


def test_D3_a_colocated_stage_runs_in_the_context_of_the_one_before_it_however_far_up():
    up = first(context="thread")
    middle = step(up, name="middle")
    last = step(middle, name="last")
    plan = Pipeline("p", number, last).plan
    assert [plan.context_for(stage) for stage in (up, middle, last)] == ["thread"] * 3


def test_D3_a_context_of_a_pool_is_known_by_its_name():
    up = first(context="parsing")
    assert Pipeline("p", number, up).plan.context_for(up) == "parsing"


def test_D3_what_forks_behind_one_stage_shares_its_place():
    up = first()
    left, right = step(up, name="left"), step(up, name="right")
    both = step(left, right, name="both")
    assert Pipeline("p", number, both).plan.groups() == ((up, left, right), (both,))


# ---- for people


def declared():
    heavy = Stage(double, number, name="parse", context="process", concurrency=2)
    beside = Stage(double, heavy, name='say "hi"', concurrency=2)
    some = Batch(beside, 3)
    both = Stage(count_all, some, name="count")
    return Pipeline("book", number, both)


def test_D3_the_plan_as_text_says_where_each_stage_runs_and_why():
    assert str(declared().plan).splitlines() == [
        "pipeline 'book': 3 places",
        "1. process, 2 at once",
        "   parse (the first) ← input",
        '   say "hi" (one input) ← parse',
        "2. inline",
        '   batch of say "hi" (a batch) ← say "hi"',
        "3. inline",
        '   count (a batch) ← batch of say "hi"',
    ]


def test_D3_one_place_is_no_places():
    assert str(Pipeline("p", number, first()).plan).startswith("pipeline 'p': 1 place\n")


def test_D3_the_plan_as_a_picture():
    assert declared().plan.mermaid().splitlines() == [
        "flowchart LR",
        '    s0(["input"])',
        '    subgraph g1["1: process"]',
        '        s1["parse"]',
        '        s2["say #quot;hi#quot;"]',
        "    end",
        '    s3[/"batch of say #quot;hi#quot;"/]',
        '    s4["count"]',
        "    s0 --> s1",
        "    s1 --> s2",
        "    s2 --> s3",
        "    s3 --> s4",
    ]


def test_D3_a_producer_a_nested_pipeline_and_a_sink_have_shapes_of_their_own():
    source = Producer(list, name="source")
    nested = Stage(inner(), source)
    lines = Pipeline("p", source, Sink(print, nested)).plan.mermaid().splitlines()
    assert lines[1:4] == ['    s0(["source"])', '    s1[["inner"]]', '    s2[("print")]']


def test_D3_an_arrow_is_drawn_once_for_a_result_that_is_taken_twice():
    twice = step(number, number)
    assert Pipeline("p", number, twice).plan.mermaid().count("s0 --> s1") == 1


# ---- for every pipeline


@st.composite
def pipelines(draw):
    """A random pipeline: steps of one or two inputs, batches where they fit, nested pipelines, contexts."""
    stages = [number]
    made_by = [number]  # which batch made the items of each
    for index in range(draw(st.integers(1, 9))):
        one = draw(st.integers(0, len(stages) - 1))
        kind = draw(st.sampled_from(["step", "step", "step", "async", "batch", "nested", "join"]))
        name = f"s{index}"
        options = {
            "context": draw(st.sampled_from([None, None, None, "inline", "thread", "pool"])),
            "concurrency": draw(st.sampled_from([1, 1, 2])),
            "ordered": draw(st.booleans()),
        }
        maker = made_by[one]
        if kind == "batch":
            stage = maker = Batch(stages[one], 2, name=name)
        elif kind == "nested":
            stage = Stage(inner(), stages[one], name=name)
        elif kind == "join":
            others = [place for place, made in enumerate(made_by) if made is maker]
            stage = Stage(add, stages[one], stages[draw(st.sampled_from(others))], name=name, **options)
        else:
            stage = Stage(async_double if kind == "async" else double, stages[one], name=name, **options)
        stages.append(stage)
        made_by.append(maker)
    return Pipeline("random", number, stages[-1], beside=stages[1:-1])


def working(pipeline):
    return pipeline._graph.stages[1:]


@given(pipelines())
def test_D3_D4_a_plan_never_colocates_across_a_boundary(pipeline):
    plan = pipeline.plan
    for stage in plan.colocated_stages():
        [before] = stage.inputs
        assert {stage.kind, before.kind}.isdisjoint({StageKind.BATCH, StageKind.NESTED, StageKind.INPUT})
        assert stage._rules.context is None
        assert stage._rules.concurrency == before._rules.concurrency


@given(pipelines())
def test_D3_each_colocated_stage_is_in_the_group_and_context_of_its_one_input(pipeline):
    plan = pipeline.plan
    group_of = {stage: number for number, group in enumerate(plan.groups()) for stage in group}
    for stage in plan.colocated_stages():
        [before] = stage.inputs
        assert plan.affinity_for(stage) is before
        assert group_of[stage] == group_of[before]
        assert plan.context_for(stage) == plan.context_for(before)


@given(pipelines())
def test_D3_groups_part_the_stages_and_begin_with_their_one_independent_stage(pipeline):
    plan = pipeline.plan
    groups = plan.groups()
    assert sorted(stage.name for group in groups for stage in group) == sorted(s.name for s in working(pipeline))
    assert [group[0] for group in groups] == list(plan.independent_stages())
    assert all(stage in plan.colocated_stages() for group in groups for stage in group[1:])


@given(pipelines())
def test_D3_levels_respect_edges_and_part_the_stages(pipeline):
    levels = pipeline.plan.levels()
    level_of = {stage: number for number, level in enumerate(levels) for stage in level}
    assert len(level_of) == sum(map(len, levels)) == len(working(pipeline))
    for stage, level in level_of.items():
        assert all(level_of.get(one, -1) < level for one in stage.inputs)


@given(pipelines())
def test_D3_a_stage_is_in_the_level_of_its_longest_way_from_the_input(pipeline):
    level_of = {stage: number for number, level in enumerate(pipeline.plan.levels()) for stage in level}
    for stage, level in level_of.items():
        assert level == 1 + max(level_of.get(one, -1) for one in stage.inputs)


@given(pipelines())
def test_D3_a_pipeline_needs_the_contexts_that_its_plan_names(pipeline):
    named = {pipeline.plan.context_for(stage) for stage in working(pipeline)}
    assert pipeline.contexts_needed() == named - {"inline"}


@given(pipelines())
def test_D3_text_and_picture_have_a_line_for_each_stage(pipeline):
    count = len(working(pipeline))
    assert sum(line.startswith("   ") for line in str(pipeline.plan).splitlines()) == count
    picture = pipeline.plan.mermaid()
    edges = {(one, stage) for stage in working(pipeline) for one in stage.inputs}
    assert picture.count(" --> ") == len(edges)
