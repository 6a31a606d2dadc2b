"""Every rule of the behaviour page is shown by a test, and the page is up to date."""

from __future__ import annotations

import behaviour_table
import pytest
from behaviour_rules import GROUPS, RULES


@pytest.fixture(scope="module")
def found() -> dict[str, list[str]]:
    return behaviour_table.shown_by()


def test_the_page_is_up_to_date(found: dict[str, list[str]]) -> None:
    up_to_date = behaviour_table.PAGE.read_text(encoding="utf-8") == behaviour_table.page(found)
    assert up_to_date, "tests have come or gone: run `python tools/behaviour_table.py` and commit the page"


def test_every_rule_that_is_built_has_a_test(found: dict[str, list[str]]) -> None:
    assert behaviour_table.missing(found) == []


def test_no_test_names_a_rule_that_does_not_exist(found: dict[str, list[str]]) -> None:
    assert {rule: tests for rule, tests in found.items() if rule not in RULES} == {}


def test_ids_are_read_from_the_name_of_a_test() -> None:
    assert behaviour_table.ids_of("test_R1_R2_the_rest") == ("R1", "R2")
    assert behaviour_table.ids_of("test_S3X_no_id") == ()
    assert behaviour_table.ids_of("test_plain") == ()


def test_the_rules_of_each_group_are_numbered_without_a_gap() -> None:
    for letter in GROUPS:
        numbers = [int(rule[len(letter) :]) for rule in RULES if rule.rstrip("0123456789") == letter]
        assert numbers == list(range(1, len(numbers) + 1))
