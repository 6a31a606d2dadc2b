"""Ten agents work on one tree of files, and none spoils what another does; the program shows it in numbers."""

from __future__ import annotations

import re

import pytest
import trio
from trio.testing import MockClock

from examples import ten_agents
from examples.ten_agents import AGENTS, AT_ONCE, FILES, Result
from spaceactors.tasks import TaskStatus
from supervisors.testing import seed_schedule

# Whatever the order of tasks is.
pytestmark = pytest.mark.parametrize("seed", range(3))


def run(seed: int) -> Result:
    """Run the program on virtual time, with one order of tasks."""
    with seed_schedule(seed):
        return trio.run(ten_agents.main, clock=MockClock(autojump_threshold=0))


def test_E2_no_two_agents_are_at_work_on_one_file_at_the_same_time(seed: int) -> None:
    done = run(seed)
    assert done.shop.spoilt == []
    assert done.shop.changed_by == {}
    assert done.shop.changes.total() == 3 * len(AGENTS) + len(FILES)


def test_E1_many_work_at_once_and_no_more_than_may(seed: int) -> None:
    done = run(seed)
    assert AT_ONCE // 2 < done.shop.peak <= AT_ONCE
    one_after_the_other = sum(result.seconds for result in done.results)
    assert done.seconds < one_after_the_other / 2
    assert done.limits.statistics()["model"].held == 0


def test_E5_a_failure_and_a_timeout_touch_nobody_else(seed: int) -> None:
    done = run(seed)
    ended = {result.id: result.status for result in done.results}
    assert ended.pop("hal: look") is TaskStatus.FAILED
    assert ended.pop("gus: dream") is TaskStatus.TIMED_OUT
    assert set(ended.values()) == {TaskStatus.SUCCEEDED}
    asked = next(result for result in done.results if result.id == "jon: ask")
    assert (asked.attempts, asked.value) == (2, "an idea")


def test_E5_results_say_how_sure_an_agent_is_and_why(seed: int) -> None:
    done = run(seed)
    review = next(result for result in done.results if result.id == "bob: review")
    assert review.value == "3 files of src/core/ read"
    assert review.confidence == 0.9
    assert review.evidence == tuple(file for file in FILES if file.startswith("src/core/"))


def test_E3_the_plan_has_the_task_for_the_whole_directory_in_a_wave_of_its_own_behind_the_rest(seed: int) -> None:
    plan = run(seed).plan
    assert [task.id for task in plan.waves[-1]] == ["ida: tidy"]
    assert sum(map(len, plan.waves)) == 4 * len(AGENTS) + 4


def test_what_is_printed_shows_progress_and_the_figures_of_each_agent(seed: int, capsys: pytest.CaptureFixture) -> None:
    done = run(seed)
    shown = capsys.readouterr().out
    percents = [int(percent) for percent in re.findall(r"^ +\d+\.\d +(\d+)% ", shown, re.MULTILINE)]
    assert percents == sorted(percents)
    assert len(percents) >= 4
    assert re.findall(r"^(\w+) +\d+ +\d+ +\d+ +\d+ +\d+\.\d\d s +\d+\.\d\d s$", shown, re.MULTILINE) == list(AGENTS)
    assert "hal: look: failed, FileNotFoundError('src/cli')" in shown
    assert shown.rstrip().endswith(f"at most {done.shop.peak} at once, 0 files spoilt")
