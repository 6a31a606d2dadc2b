"""An orchestrator of agents: side by side where they may be, chosen by the question, each on its own feet."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import define, evolve
from trio.testing import MockClock

from examples import orchestrator
from examples.orchestrator import ASKED, Archive, Desk, Metrics, Model, Orchestrator, Question, deep_way, make_desk
from spaceactors import SpaceOptions
from spaceactors.pipelines import PipelineResult, Router, StageOutcome
from spaceactors.testing import open_test_runtime
from supervisors import CircuitState

ROOT = Path(__file__).resolve().parents[2]
QUESTION = Question("how much is a latte with oat milk?", ("hello", "is there oat milk?"))


def desk_with(*broken: int) -> Desk:
    """Agents, and the calls that their archive does not answer."""
    model, metrics, archive = Model(), Metrics(), Archive(broken=frozenset(broken))
    return evolve(make_desk(), archive=archive, model=model, metrics=metrics, deep=deep_way(archive, model, metrics))


@define
class Forgetful(Model):
    """Fails once."""

    failed: bool = False

    async def reason(self, *found: Any) -> str:
        if not self.failed:
            self.failed = True
            raise ConnectionError
        return await Model.reason(self, *found)


class Stubborn(Orchestrator):
    """Tries each message twice."""

    options = SpaceOptions(max_attempts=2)


def ends(result: PipelineResult[str]) -> dict[str, str]:
    return {name: one.outcome.value for name, one in result.stages().items()}


async def test_C1_independent_agents_run_at_the_same_time_and_reasoning_after_them(autojump_clock: MockClock) -> None:
    desk = desk_with()
    result = await desk.deep.run(QUESTION)
    began = {name: round(one.began, 9) for name, one in result.stages().items()}
    assert began == {"memory": 0.0, "retrieval": 0.0, "prices": 0.0, "metrics": 0.0, "reasoning": 0.12}
    assert desk.deep.statistics().at_once == 4


async def test_the_answer_has_something_of_each_agent(autojump_clock: MockClock) -> None:
    answer = (await desk_with().deep.run(QUESTION)).value
    assert answer.startswith("Latte is $4.20. grace said “Matcha latte with oat milk please”; ")
    assert answer.endswith(" You asked before: “is there oat milk?”.")


@pytest.mark.parametrize(
    ("text", "way"),
    [
        ("hello", "quick"),
        ("Good morning!", "quick"),
        ("thank you very much", "quick"),
        ("latte", "quick"),
        ("how much is a latte?", "deep"),
        ("hi there, how much is a latte?", "deep"),
        ("?? !!", "deep"),
        ("", "deep"),
    ],
)
async def test_C2_the_way_is_chosen_by_the_question(text: str, way: str, autojump_clock: MockClock) -> None:
    assert (await make_desk().router.run(Question(text))).name == way


async def test_C4_an_agent_that_fails_does_not_stop_the_others(autojump_clock: MockClock) -> None:
    result = await desk_with().deep.run(Question("?? !!"))
    assert ends(result) == {
        "memory": "done",
        "retrieval": "done",
        "prices": "done",
        "metrics": "skipped",
        "reasoning": "done",
    }
    assert result.value == "Nobody said anything about that."


async def test_C4_another_agent_answers_for_one_that_has_failed_in_all_its_tries(autojump_clock: MockClock) -> None:
    result = await desk_with(1, 2, 3).deep.run(QUESTION)
    assert ends(result) | {"retrieval": "fallback"} == ends(result)
    assert "Matcha latte with oat milk please" in result.value


async def test_C4_sequential_gives_the_same_answer(autojump_clock: MockClock) -> None:
    both = [await desk_with().deep.run(QUESTION, sequential=sequential) for sequential in (False, True)]
    assert both[0].value == both[1].value
    assert [round(one.seconds, 9) for one in both] == [0.24, 0.35]


async def test_C7_a_call_that_failed_is_tried_again_a_moment_later(autojump_clock: MockClock) -> None:
    desk = desk_with(1)
    result = await desk.deep.run(QUESTION)
    assert ends(result)["retrieval"] == "done"
    assert (desk.archive.calls, desk.deep.statistics().stages["retrieval"].retries) == (2, 1)
    assert result.seconds > 2 * 0.12 + 0.12


async def test_C7_the_breaker_spares_a_service_that_is_down(autojump_clock: MockClock) -> None:
    desk = desk_with(*range(1, 100))
    for number in range(8):
        assert ends(await desk.deep.run(Question(f"latte {number:c<5}")))["retrieval"] == "fallback"
    assert desk.archive.calls == 3 + 7, "three that fail, and then one each tenth of a second, and not 24"
    assert desk.archive.breaker.state is not CircuitState.CLOSED


async def test_C10_the_same_question_at_the_same_time_is_searched_for_once(autojump_clock: MockClock) -> None:
    desk = desk_with()
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(desk.deep.run, QUESTION)
    assert (desk.archive.calls, desk.deep.statistics().stages["retrieval"].cached) == (1, 4)


async def test_C10_what_was_found_is_remembered_for_a_minute(autojump_clock: MockClock) -> None:
    desk = desk_with()
    await desk.deep.run(QUESTION)
    result = await desk.deep.run(QUESTION)
    assert ends(result)["retrieval"] == StageOutcome.CACHED.value
    await trio.sleep(60)
    await desk.deep.run(QUESTION)
    assert desk.archive.calls == 2


async def test_no_more_than_three_are_with_the_model_at_once(autojump_clock: MockClock) -> None:
    desk, began = desk_with(), trio.current_time()
    async with trio.open_nursery() as nursery:
        for number in range(9):
            nursery.start_soon(desk.deep.run, Question(f"latte {number}"))
        await trio.sleep(0.13)
        now = desk.model.limits.statistics()["llm"]
    assert (now.held, now.waiting) == (3, 6)
    assert round(trio.current_time() - began, 6) == round(0.12 + 3 * 0.12, 6)


async def test_C8_a_user_is_remembered_and_the_service_is_drained_clean() -> None:
    async with open_test_runtime(Orchestrator, deps=make_desk()) as runtime:
        ann = runtime.space("ann")
        assert await ann.ask(Orchestrator.say, "hello") == "Hello! Ask me what our customers say."
        await ann.ask(Orchestrator.say, "is there oat milk?")
        answer = await ann.ask(Orchestrator.say, "how much is a latte with oat milk?")
        assert answer.endswith(" You asked before: “is there oat milk?”.")
        assert "You asked before" not in await runtime.space("bob").ask(Orchestrator.say, "is there oat milk?")
        assert (await runtime.drain()).clean


async def test_a_second_try_of_a_message_repeats_no_agent_that_had_done_its_work() -> None:
    archive, model, metrics = Archive(), Forgetful(), Metrics()
    deep = deep_way(archive, model, metrics)
    router = Router({"deep": deep}, choose=lambda _: "deep")
    desk = evolve(make_desk(), archive=archive, model=model, metrics=metrics, deep=deep, router=router)
    async with open_test_runtime(Stubborn, deps=desk) as runtime:
        answer = await runtime.space("ann").ask(Stubborn.say, "how much is a mocha?")
    assert answer.startswith("Mocha is $4.60.")
    assert metrics.words == {"mocha": 1}


async def test_C5_and_C9_many_users_at_once_are_served_as_the_figures_say(
    autojump_clock: MockClock, capsys: pytest.CaptureFixture[str]
) -> None:
    slow, fast = await orchestrator.main()
    assert slow.worked <= slow.seconds, "one agent at a time"
    _check(slow.seconds, fast)
    shown = capsys.readouterr().out
    for user, texts in ASKED.items():
        assert re.findall(rf"^{user}: (.*)$", shown, re.MULTILINE) == texts
    assert re.search(r"^quick: 4 runs: 4 completed, 0 failed, 0 cancelled, 0 running$", shown, re.MULTILINE)
    assert re.search(r"^deep: 15 runs: 15 completed, 0 failed, 0 cancelled, 0 running$", shown, re.MULTILINE)
    way = r"^([\d.]+) s on average, .*; (\d+) stages at once, (\d+)% beside another\n  memory"
    found = re.search(way, shown, re.MULTILINE)
    assert found is not None
    assert float(found[1]) < 2.0
    assert int(found[3]) > 60


def _check(sequential: float, fast: orchestrator.Figures) -> None:
    assert fast.throughput > 10
    assert fast.slowest < 2.0
    assert fast.worked / fast.seconds > 3
    assert sequential / fast.seconds > 3


def test_C9_the_program_measures_the_same_on_the_real_clock() -> None:
    argv = (sys.executable, "examples/orchestrator.py")
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")
    rows = dict(re.findall(r"^([a-z ,]+?)  .* ([\d.]+)$", done.stdout, re.MULTILINE))
    assert rows["questions"] == "19"
    assert float(rows["questions a second"]) > 10
    assert float(rows["slowest answer, seconds"]) < 2
    times = re.search(r"^At once is ([\d.]+) times as fast", done.stdout, re.MULTILINE)
    assert times is not None
    assert float(times[1]) > 3


def test_C6_the_command_line_talks_to_it() -> None:
    argv = (sys.executable, "-m", "spaceactors.cli", "chat", "examples/orchestrator.py:Orchestrator")
    typed = "hello\nhow much is a mocha?\n/stats\n"
    done = subprocess.run(argv, input=typed, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")
    hello, mocha, *told = done.stdout.splitlines()
    assert hello == "Hello! Ask me what our customers say."
    assert mocha.startswith("Mocha is $4.60. farid said")
    assert [line.split(" completed")[0] for line in told if " completed" in line] == [
        "quick: 1 run: 1",
        "deep: 1 run: 1",
    ]
