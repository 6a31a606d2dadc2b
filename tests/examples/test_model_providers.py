"""Twenty users get their answers from three providers, whatever these do; the program shows it in numbers."""

from __future__ import annotations

import re

import pytest
import trio
from trio.testing import MockClock

from examples import model_providers
from examples.model_providers import SECONDS, USERS, Result
from supervisors.testing import seed_schedule

# Whatever the order of tasks is.
pytestmark = pytest.mark.parametrize("seed", range(3))


def run(seed: int) -> Result:
    """Run the program on virtual time, with one order of tasks."""
    with seed_schedule(seed):
        return trio.run(model_providers.main, clock=MockClock(autojump_threshold=0))


def test_C1_no_provider_has_more_calls_than_it_is_to_have(seed: int) -> None:
    done = run(seed)
    local, anthropic, openai = done.world.providers
    assert (local.peak, anthropic.peak) == (1, 5)
    assert openai.peak <= 50
    held = {name: now.held for name, now in done.limits.statistics().items()}
    assert held == {"local": 0, "anthropic": 0, "openai": 0}


def test_every_question_is_answered_once_and_nobody_is_left_behind(seed: int) -> None:
    done = run(seed)
    assert len(done.answers) == USERS
    assert done.answers.total() == sum(provider.answered for provider in done.world.providers)
    assert min(done.answers.values()) > max(done.answers.values()) / 2


def test_the_breaker_spares_most_of_the_calls_to_a_provider_that_is_down(seed: int) -> None:
    """Two seconds of five calls at a time would be fifty. Those under way fail, and a few that try."""
    done = run(seed)
    assert 3 <= done.world.anthropic.failed <= 12
    assert "closed" in repr(done.world.breaker)


def test_the_limit_that_nobody_set_finds_a_size_that_serves(seed: int) -> None:
    """It begins with one token, which would be a hundred calls in ten seconds."""
    done = run(seed)
    assert done.world.openai.answered > 200
    assert done.limits.statistics()["openai"].waits.p95 < 1.0


def test_the_table_has_a_line_for_each_second_and_each_provider(seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    run(seed)
    shown = capsys.readouterr().out
    assert re.findall(r"^ +(\d+)  [01]/1 ", shown, re.MULTILINE) == [str(second + 1) for second in range(SECONDS)]
    assert re.search(r"^ +4  .* (open|half_open)$", shown, re.MULTILINE)
    assert re.search(r"^ +10  .* closed$", shown, re.MULTILINE)
    assert re.findall(r"^(\w+) +\d+ +\d+ +\d+ +\d+ +\d\.\d\d s$", shown, re.MULTILINE) == [
        "local",
        "anthropic",
        "openai",
    ]
    assert re.search(r"^20 users have \d+ answers, each between \d+ and \d+$", shown, re.MULTILINE)
