"""Stages: what is wrong with one is said where it is written, with its name and with what to write instead."""

from __future__ import annotations

from functools import partial, wraps

import pytest

from spaceactors import Retry
from spaceactors.pipelines import (
    Batch,
    Cache,
    Input,
    OnError,
    Pipeline,
    PipelineError,
    Producer,
    Sink,
    Stage,
    StageKind,
)
from spaceactors.pipelines._functions import Wait, wait_for
from tests.pipelines.stage_jobs import add, async_double, count_all, double

number = Input(int)


def refused(make, *, error=PipelineError):
    with pytest.raises(error) as caught:
        make()
    return str(caught.value)


# ---- names and kinds


def test_D5_each_kind_of_stage_knows_what_it_is():
    inner = Pipeline("inner", number, Stage(double, number))
    stages = [
        number,
        Producer(list),
        Stage(double, number),
        Batch(number, 3),
        Sink(print, number),
        Stage(inner, number),
    ]
    assert [stage.kind for stage in stages] == list(StageKind)


@pytest.mark.parametrize(
    ("stage", "name"),
    [
        (Stage(double, number), "double"),
        (Stage(double, number, name="twice"), "twice"),
        (Stage(partial(add, 1), number), "add"),
        (Stage(partial(partial(add), 1), number), "add"),
        (Stage(Pipeline("inner", number, Stage(double, number)), number), "inner"),
        (Batch(Stage(double, number), 2), "batch of double"),
        (Batch(number, 2, name="pairs"), "pairs"),
        (Input(int, name="question"), "question"),
        (Producer(range(3).__iter__, name="source"), "source"),
    ],
)
def test_a_stage_is_called_as_it_is_told_or_as_its_function_is(stage, name):
    assert stage.name == name


def test_an_object_that_can_be_called_gives_its_class_s_name():
    class Doubler:
        def __call__(self, value):
            return 2 * value

    assert Stage(Doubler(), number).name == "Doubler"


def test_a_stage_shows_its_name_and_kind():
    assert repr(Stage(double, number)) == "<stage 'double' (step)>"


@pytest.mark.parametrize("name", ["", 7, b"x"])
def test_a_name_that_is_no_text_is_refused(name):
    assert "name must be a text" in refused(lambda: Stage(double, number, name=name), error=TypeError)


# ---- inputs and arguments


def test_a_stage_without_an_input_is_refused():
    assert refused(lambda: Stage(double)) == ("stage 'double' has no input: name the stages whose results double takes")


def test_a_sink_without_an_input_is_refused():
    assert "stage 'print' has no input" in refused(lambda: Sink(print))


def test_an_input_that_is_no_stage_is_refused_and_a_constant_told_where_it_goes():
    assert refused(lambda: Stage(add, number, 3)) == (
        "stage 'add': its inputs must be stages, not 3; for a constant write functools.partial(add, ...)"
    )


def test_a_function_as_input_is_refused_without_talk_of_constants():
    message = refused(lambda: Stage(double, double))
    assert "stage 'double': its inputs must be stages, not <function" in message
    assert "constant" not in message


def test_a_pipeline_as_input_is_refused_and_told_how_it_becomes_a_stage():
    inner = Pipeline("inner", number, Stage(double, number))
    assert refused(lambda: Stage(double, inner)).endswith("; a pipeline is one as Stage(pipeline, ...)")


def test_a_batch_of_what_is_no_stage_is_refused():
    assert refused(lambda: Batch(double, 3)).startswith("stage 'batch': its inputs must be stages, not <function")


def test_what_is_no_function_is_refused():
    assert refused(lambda: Stage("double", number)) == "stage 'str': a function is wanted, or a Pipeline, not 'double'"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Stage(add, number), "stage 'add' has 1 inputs, and add takes (one, other)"),
        (lambda: Stage(double, number, number), "stage 'double' has 2 inputs, and double takes (number)"),
        (lambda: Producer(double), "stage 'double' has 0 inputs, and double takes (number)"),
        (
            lambda: Stage(double, number, fallback=add),
            "stage 'double' has 1 inputs, and the fallback of double takes (one, other)",
        ),
        (
            lambda: Stage(double, number, cache=Cache(key=add)),
            "stage 'double' has 1 inputs, and the key of the cache of double takes (one, other)",
        ),
    ],
    ids=["too few", "too many", "producer", "fallback", "key"],
)
def test_a_wrong_number_of_arguments_is_refused_with_the_signature(make, message):
    assert refused(make) == message


def test_a_function_that_takes_any_number_of_arguments_takes_each():
    assert Stage(count_all, number, number, number).inputs == (number,) * 3


def test_a_function_written_in_c_whose_signature_nobody_knows_is_taken_at_its_word():
    assert Stage(max, number, number).name == "max"


def test_a_fallback_that_is_no_function_is_refused():
    assert refused(lambda: Stage(double, number, fallback=0)) == (
        "stage 'double': fallback must be a function of the same arguments, not 0"
    )


# ---- contexts


def test_a_lambda_in_a_process_is_refused():
    message = refused(lambda: Stage(lambda value: value, number, name="same", context="process"))
    assert message.startswith("stage 'same': a lambda cannot be sent to a process")
    assert "write a function at the top level of a module" in message


def test_a_lambda_in_a_thread_is_fine():
    assert Stage(lambda value: value, number, context="thread").kind is StageKind.STEP


def test_a_colocated_function_that_cannot_go_to_its_neighbour_s_process_is_refused():
    heavy = Stage(double, number, context="process")
    light = Stage(lambda value: value, heavy, name="light")
    message = refused(lambda: Pipeline("both", number, light))
    assert message.startswith("stage 'light': a lambda cannot be sent to a process")
    assert message.endswith("it runs beside 'double' there, unless you give it context='inline'")


def test_such_a_function_told_to_run_inline_is_fine():
    heavy = Stage(double, number, context="process")
    light = Stage(lambda value: value, heavy, name="light", context="inline")
    assert Pipeline("both", number, light).plan.context_for(light) == "inline"


@pytest.mark.parametrize("context", ["thread", "parsing"])
def test_a_nested_pipeline_takes_no_context(context):
    inner = Pipeline("inner", number, Stage(double, number))
    assert refused(lambda: Stage(inner, number, context=context)) == (
        "stage 'inner' is a pipeline: give its own stages a context, and leave this one's out"
    )


def test_a_nested_pipeline_takes_one_input():
    inner = Pipeline("inner", number, Stage(double, number))
    assert refused(lambda: Stage(inner, number, number)) == (
        "stage 'inner' has 2 inputs, and a pipeline takes one: give it a tuple"
    )


def test_the_fallback_of_a_nested_pipeline_takes_the_same_arguments():
    inner = Pipeline("inner", number, Stage(double, number))
    assert "the fallback of inner takes" in refused(lambda: Stage(inner, number, fallback=add))


def test_a_nested_pipeline_with_a_producer_of_its_own_is_refused():
    source = Producer(list)
    inner = Pipeline("inner", source, Stage(double, source))
    assert refused(lambda: Pipeline("outer", number, Stage(inner, number))) == (
        "stage 'inner': a pipeline that begins with a producer cannot be a stage; give it an Input"
    )


def test_a_nested_pipeline_that_holds_the_limit_for_which_its_own_stages_wait_is_refused():
    """With one token it would wait for itself for ever."""
    inner = Pipeline("inner", number, Stage(double, number, limit=("cpu", "llm")))
    middle = Pipeline("middle", number, Stage(inner, number))
    assert refused(lambda: Pipeline("outer", number, Stage(middle, number, limit="llm"))) == (
        "stage 'middle' holds the limit 'llm' while those inside wait for it: name it there only"
    )


@pytest.mark.parametrize("context", ["process", "interpreter"])
def test_a_producer_runs_inline_or_in_a_thread(context):
    assert refused(lambda: Producer(list, context=context)) == (
        f"stage 'list': a producer runs inline or in a thread, not in {context!r}"
    )


# ---- options


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"context": 3}, TypeError, "context must be the name of one, such as 'thread' or 'process', not 3"),
        ({"context": ""}, TypeError, "context must be the name of one, such as 'thread' or 'process', not ''"),
        ({"concurrency": 0}, ValueError, "concurrency must be 1 or more, not 0"),
        ({"concurrency": 2.0}, TypeError, "concurrency must be a whole number such as 4, not 2.0"),
        ({"concurrency": True}, TypeError, "concurrency must be a whole number such as 4, not True"),
        ({"timeout": 0}, ValueError, "timeout must be more than 0 seconds and finite, or None for no bound, not 0"),
        ({"timeout": "1"}, TypeError, "timeout must be seconds such as 2.5, or None, not '1'"),
        ({"timeout": float("inf")}, ValueError, "timeout must be more than 0 seconds and finite"),
        ({"timeout": float("nan")}, ValueError, "timeout must be more than 0 seconds and finite"),
        ({"retry": 3}, TypeError, "retry must be a Retry such as Retry(3), or None, not 3"),
        ({"cache": 100}, TypeError, "cache must be a Cache such as Cache(size=1000), or None, not 100"),
        ({"on_error": "skip"}, TypeError, "on_error must be OnError.RAISE or OnError.SKIP, not 'skip'"),
        pytest.param({"on_error": double}, TypeError, "another function goes into fallback=", id="function"),
        ({"ordered": 1}, TypeError, "ordered must be True or False, not 1"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_an_option_that_is_wrong_is_told_what_to_be(options, error, message):
    assert message in refused(lambda: Stage(double, number, **options), error=error)


@pytest.mark.parametrize("limit", [3, ["llm", 3]])
def test_limits_are_named_by_texts(limit):
    refused(lambda: Stage(double, number, limit=limit), error=(TypeError, ValueError))


def test_all_options_together_are_fine():
    stage = Stage(
        async_double,
        number,
        name="twice",
        context="thread",
        concurrency=4,
        limit=["llm", "cpu"],
        retry=Retry(3),
        timeout=2.5,
        fallback=double,
        on_error=OnError.SKIP,
        ordered=False,
        cache=Cache(size=10, ttl=60.0, key=abs),
    )
    assert stage.name == "twice"


@pytest.mark.parametrize("make", [Stage, Sink])
def test_an_unknown_option_is_refused_by_name(make):
    assert "'retries'" in refused(lambda: make(double, number, retries=3), error=TypeError)


def test_an_unknown_option_of_a_sink_is_told_which_there_are():
    assert refused(lambda: Sink(print, number, retries=3), error=TypeError) == (
        "a sink has no option 'retries' (there are: name, context, concurrency, limit, retry, timeout, on_error, "
        "ordered, cache, fallback)"
    )


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"size": 0}, ValueError, "size must be 1 or more, not 0"),
        ({"size": 2.5}, TypeError, "size must be a whole number such as 4, not 2.5"),
        ({"ttl": 0}, ValueError, "ttl must be more than 0 seconds"),
        ({"ttl": "1"}, TypeError, "ttl must be seconds such as 2.5, or None, not '1'"),
        ({"key": "id"}, TypeError, "key must be a function of the stage's arguments"),
    ],
    ids=str,
)
def test_C10_a_cache_that_is_wrong_is_told_what_to_be(options, error, message):
    assert message in refused(lambda: Cache(**options), error=error)


@pytest.mark.parametrize(
    ("size", "max_wait", "error", "message"),
    [
        (0, None, ValueError, "size must be 1 or more, not 0"),
        (True, None, TypeError, "size must be a whole number such as 4, not True"),
        (3, -1, ValueError, "max_wait must be seconds such as 0.5, or None, not -1"),
        (3, "1", ValueError, "max_wait must be seconds such as 0.5, or None, not '1'"),
        (3, float("nan"), ValueError, "max_wait must be seconds such as 0.5, or None, not nan"),
    ],
)
def test_D5_a_batch_that_is_wrong_is_told_what_to_be(size, max_wait, error, message):
    assert refused(lambda: Batch(number, size, max_wait), error=error) == message


# ---- what functions say of themselves


class Later:
    def __await__(self):
        yield


async def coroutine(value: int) -> int:
    return value


def unannotated(value):
    return value


def number_or_none(value: int) -> int | None:
    return value


def list_of(value: int) -> list[int]:
    return [value]


def anything(value: int) -> object:
    return value


def later(value: int) -> Later:
    return Later()


def perhaps_later(value: int) -> int | Later:
    return value


def unreadable(value: int) -> Unknown:  # noqa: F821
    return value


def told(fn):
    @wraps(fn)
    def call(value):
        return fn(value)

    return call


class Asynchronous:
    told = told(coroutine)

    async def __call__(self, value):
        return value


@pytest.mark.parametrize(
    ("fn", "wait"),
    [
        (coroutine, Wait.ALWAYS),
        (partial(coroutine, 1), Wait.ALWAYS),
        (Asynchronous(), Wait.ALWAYS),
        (told(coroutine), Wait.PERHAPS),
        (partial(told(coroutine)), Wait.PERHAPS),
        (Asynchronous().told, Wait.PERHAPS),
        (number_or_none, Wait.NEVER),
        (list_of, Wait.NEVER),
        (unannotated, Wait.PERHAPS),
        (anything, Wait.PERHAPS),
        (later, Wait.PERHAPS),
        (perhaps_later, Wait.PERHAPS),
        (unreadable, Wait.PERHAPS),
        (len, Wait.PERHAPS),
        (Later, Wait.PERHAPS),
    ],
)
def test_whether_a_function_is_awaited_is_read_from_its_declaration(fn, wait):
    assert wait_for(fn) is wait
