"""`spaceactors run --config`: the bounds of the runtime and its limits come from a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.test_run import CLERK, line, rows, run

LIMITED = """
from spaceactors import Actor, handler

class Caller(Actor):
    @handler(limit="llm")
    async def say(self, text: str) -> str:
        return text
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "service.toml"


def test_the_bounds_of_a_run_come_from_a_file_and_options_overrule_it(config: Path) -> None:
    config.write_text("[spaceactors]\nmax_live_spaces = 1\n", encoding="utf-8")
    given = "".join(line(space, "visit") for space in "abab")
    options = ("--in-flight", "1", "--config", str(config))
    by_file, by_option = (
        [row["reply"] for row in rows(run(CLERK, *options, *more, given=given).stdout)]
        for more in ((), ("--max-live", "2"))
    )
    assert (by_file, by_option) == ([1, 1, 1, 1], [1, 1, 2, 2])


def test_limits_that_handlers_name_come_from_it_too(config: Path, tmp_path: Path) -> None:
    actor = tmp_path / "callers.py"
    actor.write_text(LIMITED, encoding="utf-8")
    config.write_text("[spaceactors.limits.llm]\ntokens = 2\n", encoding="utf-8")
    done = run(f"{actor}:Caller", "--config", str(config), given=line("a", "say", "hi"))
    assert ([row["reply"] for row in rows(done.stdout)], done.returncode) == (["hi"], 0)
    bare = run(f"{actor}:Caller", given=line("a", "say", "hi"))
    assert bare.returncode == 2
    assert b"no limit 'llm'" in bare.stderr
    assert b"Traceback" not in bare.stderr


def test_a_faulty_file_is_one_message_and_the_exit_code_of_a_wrong_argument(config: Path) -> None:
    config.write_text("[spaceactors]\nmax_turn = 5\ndrain_timeout = -1\n", encoding="utf-8")
    done = run(CLERK, "--config", str(config), given=line("a"))
    assert (done.returncode, done.stdout) == (2, b"")
    told = done.stderr.decode()
    assert "did you mean max_turns?" in told
    assert "drain_timeout must be a number of at least 0, not -1" in told
    assert "Traceback" not in told
