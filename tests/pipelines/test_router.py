"""The right pipeline for each request: FEATURES C2."""

from __future__ import annotations

from functools import partial

import pytest

from spaceactors import Actor, handler, open_runtime
from spaceactors.pipelines import Input, Pipeline, PipelineError, Router, Stage, UnknownRoute
from tests.pipelines.stage_jobs import fail

question = Input(str)


def pipeline(name, fn=None):
    return Pipeline(name, question, Stage((lambda text: f"{name}: {text}") if fn is None else fn, question, name="say"))


def by_length(text):
    return "quick" if len(text) < 10 else "deep"


async def later_by_length(text):
    return by_length(text)


def routed(choose=by_length, **options):
    return Router({"quick": pipeline("short"), "deep": pipeline("long")}, choose=choose, **options)


LONG = "why is the sky blue?"


@pytest.mark.parametrize("choose", [by_length, later_by_length, partial(later_by_length)])
async def test_C2_each_request_takes_the_way_that_is_chosen_for_it(choose):
    router = routed(choose)
    assert (await router.run("hi")).value == "short: hi"
    assert (await router.run(LONG)).value == f"long: {LONG}"


async def test_C2_the_result_tells_which_way_it_took():
    assert (await routed().run("hi")).name == "short"


async def test_C2_choosing_alone_runs_nothing():
    router = routed()
    assert await router.choose("hi") == "quick"
    assert router.routes["quick"].statistics().total == 0


class Desk(Actor[int]):
    @handler
    async def choose(self, text: str) -> str:
        self.state += 1
        return by_length(text)


async def test_C2_a_space_may_choose(autojump_clock):
    async with open_runtime(Desk) as runtime:
        desk = runtime.space("front")
        router = routed(partial(desk.ask, Desk.choose))
        assert (await router.run("hi")).name == "short"
        assert await desk.state() == 1


@pytest.mark.parametrize("chosen", [None, "", "slow", 7, ["quick"]])
async def test_C2_what_is_no_route_takes_the_default_one(chosen):
    router = routed(lambda _text: chosen, default="deep")
    assert (await router.run("hi")).name == "long"


async def test_C2_a_chooser_that_fails_takes_the_default_one():
    assert (await routed(fail, default="deep").run("hi")).name == "long"


async def test_C2_a_chooser_that_fails_is_an_error_where_there_is_no_default():
    with pytest.raises(LookupError, match="not there"):
        await routed(fail).run("hi")


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
async def test_C2_what_concerns_the_whole_program_is_no_reason_for_the_default(error):
    def stop(_text):
        raise error

    with pytest.raises(error):
        await routed(stop, default="deep").run("hi")


async def test_C2_an_unknown_route_is_refused_with_those_there_are():
    with pytest.raises(UnknownRoute) as caught:
        await routed(lambda _text: "slow").run("hi")
    assert str(caught.value) == "'slow' is no route of 'router': there are 'quick', 'deep'; or give it a default"
    assert isinstance(caught.value, PipelineError)
    assert isinstance(caught.value, LookupError)


async def test_C2_an_error_of_the_chosen_pipeline_is_not_the_chooser_s():
    broken = Router({"only": pipeline("p", fail)}, choose=lambda _text: "only", default="only")
    with pytest.raises(LookupError):
        await broken.run("hi")
    assert broken.statistics()["only"].by_default == 0


async def test_C2_C5_statistics_are_kept_by_route():
    router = routed(lambda text: {"q": "quick", "d": "deep"}.get(text[0]), default="deep")
    for text in ("quick", "quick", "deep", "else"):
        await router.run(text)
    figures = router.statistics()
    assert [(figures[route].chosen, figures[route].by_default) for route in ("quick", "deep")] == [(2, 0), (1, 1)]
    assert [figures[route].pipeline.completed for route in ("quick", "deep")] == [2, 2]


async def test_C2_the_options_of_a_run_reach_the_chosen_pipeline():
    assert (await routed().run("hi", sequential=True)).sequential


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Router({}, choose=by_length), TypeError, "routes must be pipelines by name"),
        (lambda: Router([pipeline("p")], choose=by_length), TypeError, "routes must be pipelines by name"),
        (lambda: Router({"p": by_length}, choose=by_length), TypeError, "route 'p' must be a Pipeline, not <function"),
        (lambda: Router({7: pipeline("p")}, choose=by_length), TypeError, "routes are named by texts, not by 7"),
        (lambda: routed("quick"), TypeError, "choose must be a function that names a route, not 'quick'"),
        (lambda: routed(lambda: "quick"), TypeError, "choose must be a function of the request, and <function"),
        (lambda: routed(default="slow"), ValueError, "the default 'slow' is no route: there are 'quick', 'deep'"),
    ],
)
def test_C2_a_router_that_is_wrong_is_told_what_to_be(make, error, message):
    with pytest.raises(error) as caught:
        make()
    assert message in str(caught.value)


def test_C2_a_router_shows_its_name_and_routes():
    router = routed(name="ways")
    assert (router.name, repr(router)) == ("ways", "<router 'ways': 'quick', 'deep'>")
