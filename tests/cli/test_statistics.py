"""A run counts in bounded memory and reports honest percentiles."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console, RenderableType

from spaceactors.cli._report import as_json, as_table, milliseconds, plural
from spaceactors.cli._results import Result
from spaceactors.cli._statistics import Histogram, Statistics, Summary, summarize


def histogram(*durations: float) -> Histogram:
    made = Histogram()
    for seconds in durations:
        made.add(seconds)
    return made


@given(st.lists(st.floats(1e-6, 1e5), min_size=1, max_size=200), st.sampled_from([1, 50, 95, 99, 100]))
def test_a_percentile_is_within_one_percent_of_the_true_one(durations: list[float], percent: int) -> None:
    true = sorted(durations)[math.ceil(len(durations) * percent / 100) - 1]
    assert histogram(*durations).percentile(percent) == pytest.approx(true, rel=0.0101)


def test_a_percentile_of_nothing_is_nothing() -> None:
    assert histogram().percentile(50) is None


@pytest.mark.parametrize("seconds", [0.0, 1e-9, 1e9])
def test_a_duration_outside_the_scale_is_counted(seconds: float) -> None:
    assert histogram(seconds).percentile(50) == pytest.approx(seconds)


def test_a_million_different_durations_need_few_buckets() -> None:
    made = Histogram()
    for n in range(100_000):
        made.add(1e-7 * 1.0003**n)
    assert len(made.counts) < 1500


def summary(**outcomes: int) -> Summary:
    statistics = Statistics()
    for outcome, count in outcomes.items():
        for _ in range(count):
            statistics.count(Result(outcome, seconds=0.002))
    return summarize(statistics, actor="Clerk", spaces=2, seconds=4.0, restarts=1)


def test_only_outcomes_that_occurred_are_reported() -> None:
    assert summary(handled=2, invalid=1).outcomes == {"handled": 2, "invalid": 1}


def test_invalid_lines_have_no_duration() -> None:
    statistics = Statistics()
    statistics.count(Result("invalid", error="no JSON", line=1))
    assert statistics.durations.percentile(50) is None


def test_throughput_is_lines_per_second() -> None:
    assert summary(handled=7, failed=1).throughput == 2.0


@pytest.mark.parametrize(
    ("outcomes", "code"), [({}, 0), ({"handled": 3}, 0), ({"handled": 3, "rejected": 1}, 1), ({"invalid": 1}, 1)]
)
def test_the_exit_code_tells_whether_all_lines_were_handled(outcomes: dict[str, int], code: int) -> None:
    assert summary(**outcomes).exit_code == code


def test_the_exit_code_of_an_interrupted_run_is_130() -> None:
    interrupted = summarize(Statistics(), actor="Clerk", spaces=0, seconds=1.0, restarts=0, interrupted=True)
    assert interrupted.exit_code == 130


def told_by(report: RenderableType) -> str:
    """What a report looks like, without the spaces at the ends of its lines."""
    console = Console(width=200, color_system=None)
    with console.capture() as captured:
        console.print(report)
    return "".join(f"{line.rstrip()}\n" for line in captured.get().splitlines())


def table(report: Summary) -> str:
    return told_by(as_table(report))


def test_the_table_tells_all_that_the_report_promises() -> None:
    told = table(summary(handled=2, rejected=1))
    for part in (
        "Clerk",
        "3 messages to 2 spaces",
        "handled",
        "rejected",
        "p50 2 ms",
        "p95",
        "p99",
        "restarts",
        "4.00 s",
    ):
        assert part in told


def test_a_run_without_lines_has_a_table_too() -> None:
    assert "0 messages" in table(summary())


def test_the_table_of_an_interrupted_run_tells_what_was_returned() -> None:
    report = summarize(
        Statistics(), actor="Clerk", spaces=0, seconds=1.0, restarts=0, interrupted=True, drain="3 returned"
    )
    assert "Interrupted" in table(report)
    assert "3 returned" in table(report)


def test_the_report_for_programs_is_json() -> None:
    report = json.loads(as_json(summary(handled=2)))
    assert report["outcomes"] == {"handled": 2}
    assert report["milliseconds"] == {"p50": 2.0, "p95": 2.0, "p99": 2.0}
    assert (report["spaces"], report["restarts"], report["per_second"]) == (2, 1, 0.5)


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "–"), (0.00042, "0.42 ms"), (0.0123, "12.3 ms"), (0.5, "500 ms"), (75.0, "75.00 s")]
)
def test_durations_read_well(seconds: float | None, text: str) -> None:
    assert milliseconds(seconds) == text


def test_one_is_not_plural() -> None:
    assert [plural(1, "space"), plural(1200, "space")] == ["1 space", "1,200 spaces"]
