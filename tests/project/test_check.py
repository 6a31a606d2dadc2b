"""`make test` ends with one line that counts everything that failed."""

from __future__ import annotations

import check
import pytest


@pytest.mark.parametrize(
    ("closing", "sections", "tests_ok", "last"),
    [
        ("1 failed, 41 passed in 3.21s", [], False, "41 passed, 1 failed"),
        ("41 passed, 2 skipped, 2 errors in 3.21s", [], False, "41 passed, 2 failed"),
        ("41 passed in 3.21s", ["lint", "docs"], True, "41 passed, 2 failed"),
        ("1 failed, 41 passed in 3.21s", ["lint"], False, "41 passed, 2 failed"),
        ("41 passed in 3.21s", [], False, "41 passed, 1 failed"),  # coverage is below its gate
        ("", [], False, "0 passed, 1 failed"),  # pytest did not come up
    ],
)
def test_whatever_failed_is_counted_in_the_last_line(closing, sections, tests_ok, last):
    assert check.summary(closing, sections, tests_ok=tests_ok) == last


def test_pyright_may_be_missing_on_a_developers_machine_but_not_under_ci(monkeypatch):
    pyright = next(section for section in check.SECTIONS if section.command == ("pyright",))
    monkeypatch.setattr(check, "pyright_missing", lambda: True)
    monkeypatch.delenv("CI", raising=False)
    assert check.may_skip(pyright)
    monkeypatch.setenv("CI", "true")
    assert not check.may_skip(pyright)
