"""The page of features names tests that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NAMED = re.findall(
    r"`([\w/]+): (test_\w+)`", (ROOT / "docs" / "explanation" / "features.md").read_text(encoding="utf-8")
)


ROWS = re.findall(
    r"^\| ([A-E]\d+) \|", (ROOT / "docs" / "explanation" / "features.md").read_text(encoding="utf-8"), re.MULTILINE
)


@pytest.mark.parametrize(("letter", "last"), [("C", 10), ("D", 9), ("E", 13)])
def test_every_promise_about_many_steps_of_work_has_a_row(letter: str, last: int) -> None:
    assert {f"{letter}{number}" for number in range(1, last + 1)} - set(ROWS) == set()


def test_there_are_tests_named() -> None:
    assert len(NAMED) > 20


@pytest.mark.parametrize(("module", "test"), NAMED)
def test_a_test_that_is_named_is_there(module: str, test: str) -> None:
    written = (ROOT / "tests" / f"{module}.py").read_text(encoding="utf-8")
    assert re.search(rf"^(async )?def {test}\(", written, re.MULTILINE)
