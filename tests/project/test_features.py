"""The page of features names tests that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NAMED = re.findall(
    r"`([\w/]+): (test_\w+)`", (ROOT / "docs" / "explanation" / "features.md").read_text(encoding="utf-8")
)


def test_there_are_tests_named() -> None:
    assert len(NAMED) > 20


@pytest.mark.parametrize(("module", "test"), NAMED)
def test_a_test_that_is_named_is_there(module: str, test: str) -> None:
    written = (ROOT / "tests" / f"{module}.py").read_text(encoding="utf-8")
    assert re.search(rf"^(async )?def {test}\(", written, re.MULTILINE)
