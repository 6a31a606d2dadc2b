"""The graph of a pipeline: an order in which each stage comes after its inputs, or what is wrong and at which stage."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spaceactors.pipelines import Batch, Input, Pipeline, PipelineError, Producer, Sink, Stage
from spaceactors.pipelines._graph import Graph, grains, graph_of, ordered
from tests.pipelines.stage_jobs import add, count_all, double

number = Input(int)


def refused(make):
    with pytest.raises(PipelineError) as caught:
        make()
    return str(caught.value)


# ---- order


def test_C1_stages_come_after_their_inputs_and_the_source_first():
    first = Stage(double, number, name="first")
    second = Stage(double, first, name="second")
    both = Stage(add, second, first, name="both")
    graph = graph_of("g", number, both)
    assert graph.stages[0] is number
    assert [stage.name for stage in graph.stages[1:]] == ["first", "second", "both"]
    assert graph.upstream == ((), (0,), (1,), (2, 1))
    assert graph.downstream == ((1,), (2, 3), (3,), ())
    assert graph.output == 3


def test_a_stage_that_takes_one_result_twice_is_one_taker_of_it():
    both = Stage(add, number, number)
    graph = graph_of("g", number, both)
    assert graph.upstream[1] == (0, 0)
    assert graph.downstream[0] == (1,)


@given(st.data())
def test_any_declaration_has_an_order_in_which_inputs_come_first(data):
    size = data.draw(st.integers(1, 12))
    upstream = {one: data.draw(st.lists(st.integers(0, one - 1), max_size=3)) if one else [] for one in range(size)}
    mixed = data.draw(st.permutations(range(size)))
    order = ordered("p", {one: upstream[one] for one in mixed})
    place = {one: index for index, one in enumerate(order)}
    assert sorted(order) == list(range(size))
    assert all(place[one] < place[taker] for taker, needs in upstream.items() for one in needs)


def test_what_a_stage_needs_is_known_however_indirectly():
    first = Stage(double, number, name="first")
    second = Stage(double, first, name="second")
    other = Stage(double, number, name="other")
    graph = graph_of("g", number, second, [other])

    def named(numbers):
        return sorted(graph.stages[one].name for one in numbers)

    assert named(graph.needed_by(graph.number(second))) == ["first", "input", "second"]


def test_ten_thousand_stages_in_a_row_are_no_trouble():
    stage = number
    for index in range(10_000):
        stage = Stage(double, stage, name=f"s{index}")
    pipeline = Pipeline("long", number, stage)
    assert len(pipeline.plan.levels()) == 10_000
    assert [len(group) for group in pipeline.plan.groups()] == [10_000]
    assert len(str(pipeline.plan).splitlines()) == 10_002


def test_a_result_that_is_shared_by_all_two_thousand_levels_is_no_trouble():
    stage = number
    for index in range(2_000):
        stage = Stage(add, stage, stage, name=f"s{index}")
    assert len(graph_of("diamonds", number, stage).stages) == 2_001


# ---- what is wrong


def test_a_ring_is_named_stage_by_stage():
    message = refused(lambda: ordered("p", {"a": ["c"], "b": ["a"], "c": ["b"], "d": []}))
    assert message.startswith("pipeline 'p': stages wait for each other in a ring: ")
    ring = message.rpartition(": ")[2].split(" → ")
    assert ring[0] == ring[-1]
    assert set(ring) == {"a", "b", "c"}


def test_a_stage_that_needs_itself_is_a_ring():
    assert refused(lambda: ordered("p", {"a": ["a"]})).endswith("a → a")


def test_an_input_of_another_pipeline_is_refused_at_the_stage_that_takes_it():
    other = Input(str, name="other")
    assert refused(lambda: Pipeline("p", number, Stage(add, number, other))) == (
        "stage 'add' takes <stage 'other' (input)>, which is not what pipeline 'p' is given: <stage 'input' (input)>"
        "; declare it once, for the stages and the pipeline"
    )


def test_a_producer_inside_is_refused():
    source = Producer(list)
    assert "stage 'add' takes <stage 'list' (producer)>" in refused(
        lambda: Pipeline("p", number, Stage(add, number, source))
    )


def test_an_input_that_nobody_takes_is_refused():
    assert refused(lambda: Pipeline("p", number, Input(str, name="other"))) == (
        "pipeline 'p': nothing in it takes its input <stage 'input' (input)>"
    )


def test_a_pipeline_that_begins_with_a_step_is_refused():
    stage = Stage(double, number)
    assert refused(lambda: Pipeline("p", stage, stage)) == (
        "pipeline 'p' begins with an Input or a Producer, not with <stage 'double' (step)>"
    )


def test_a_pipeline_without_a_stage_is_refused():
    assert refused(lambda: Pipeline("p", number, number)) == "pipeline 'p' has no stage: its output is its input"


def test_two_stages_of_one_name_are_refused_with_the_remedy():
    both = Stage(add, Stage(double, number), Stage(double, number))
    assert refused(lambda: Pipeline("p", number, both)) == (
        "pipeline 'p' has two stages named 'double': give one of them a name="
    )


def test_a_stage_may_not_be_named_as_the_input_is():
    assert "two stages named 'input'" in refused(lambda: Pipeline("p", number, Stage(double, number, name="input")))


@pytest.mark.parametrize("name", ["", None, 7])
def test_a_pipeline_needs_a_name(name):
    with pytest.raises(TypeError, match="a pipeline's name must be a text"):
        Pipeline(name, number, Stage(double, number))


@pytest.mark.parametrize("where", range(3))
def test_a_pipeline_is_made_of_stages(where):
    parts = [number, Stage(double, number), Stage(double, number, name="beside")]
    parts[where] = double
    assert "is made of stages such as Input(str) and Stage(fn, ...), not of <function" in refused(
        lambda: Pipeline("p", *parts[:2], beside=parts[2:])
    )


def test_a_stage_alone_beside_is_refused_and_told_to_be_a_list():
    counted = Stage(double, number, name="counted")
    with pytest.raises(TypeError, match=r"beside must be a list of stages, such as \[counted\], not <stage 'counted'"):
        Pipeline("p", number, Stage(double, number), beside=counted)


def test_a_stage_of_another_pipeline_has_no_number_here():
    pipeline = Pipeline("p", number, Stage(double, number))
    assert refused(lambda: pipeline.plan.context_for(Stage(add, number, number))) == (
        "<stage 'add' (step)> is no stage of pipeline 'p' (its stages are 'input', 'double')"
    )


# ---- both sides of a batch


def test_single_items_and_batches_do_not_meet():
    batch = Batch(number, 3, name="some")
    one = Stage(double, number)
    assert refused(lambda: Pipeline("p", number, Stage(add, one, batch))) == (
        "stage 'add' takes 'double' and 'some', on different sides of a batch"
    )


def test_two_kinds_of_batches_do_not_meet():
    batches = [Batch(number, 3, name="threes"), Batch(number, 5, name="fives")]
    assert "on different sides of a batch" in refused(lambda: Pipeline("p", number, Stage(add, *batches)))


def test_what_comes_of_one_batch_meets_again():
    batch = Batch(number, 3)
    parts = [Stage(count_all, batch, name=name) for name in ("one", "other")]
    graph = graph_of("p", number, Sink(add, *parts))
    assert isinstance(graph, Graph)
    made = grains(graph)
    assert [graph.stages[made[graph.number(part)]] for part in parts] == [batch, batch]
