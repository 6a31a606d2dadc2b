"""What the end of a run looks like: for people as a small table, for programs as one JSON object. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from spaceactors.cli._results import HANDLED

if TYPE_CHECKING:
    from rich.console import RenderableType

    from spaceactors.cli._statistics import Summary

BAR = 30  # characters for all messages


def as_table(summary: Summary) -> RenderableType:
    """The report for a terminal."""
    parts: list[RenderableType] = [_headline(summary), Text(), _outcomes(summary), Text(), _waits(summary)]
    return Group(Text(), *parts, *interruption(summary), Text())


def interruption(summary: Summary) -> list[RenderableType]:
    """What a report says of Ctrl-C."""
    if not summary.interrupted:
        return []
    told: list[RenderableType] = [Text("Interrupted: what was not read yet is not in these numbers.", "yellow")]
    return [Text(), *told, *([Text(summary.drain, "yellow")] if summary.drain else [])]


def as_json(summary: Summary) -> str:
    """The report for a program."""
    return json.dumps(as_row(summary))


def as_row(summary: Summary) -> dict[str, Any]:
    """The report as what JSON can carry."""
    return {
        "actor": summary.actor,
        "messages": summary.lines,
        "outcomes": dict(summary.outcomes),
        "spaces": summary.spaces,
        "seconds": round(summary.seconds, 3),
        "per_second": round(summary.throughput, 1),
        "milliseconds": {name: _rounded(value) for name, value in _percentiles(summary).items()},
        "restarts": summary.restarts,
        "interrupted": summary.interrupted,
        "drain": summary.drain,
    }


def milliseconds(seconds: float | None) -> str:
    """A duration as people read it."""
    return "–" if seconds is None else f"{seconds * 1000:,.3g} ms" if seconds < 1 else f"{seconds:,.2f} s"


def plural(count: int, noun: str) -> str:
    """`1 message`, `2 messages`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _headline(summary: Summary) -> Text:
    pace = f" in {summary.seconds:,.2f} s, {summary.throughput:,.0f} per second"
    counted = f"{plural(summary.lines, 'message')} to {plural(summary.spaces, 'space')}"
    return Text.assemble((summary.actor, "bold"), " · ", (counted, "bold"), pace)


def _outcomes(summary: Summary) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(min_width=10)
    table.add_column(justify="right", min_width=9)
    table.add_column()
    for outcome, count in summary.outcomes.items():
        style = "green" if outcome == HANDLED else "red"
        bar = "━" * max(1, round(BAR * count / summary.lines))
        table.add_row(Text(f"  {outcome}", style), f"{count:,}", Text(bar, style))
    return table


def _waits(summary: Summary) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(min_width=10)
    told = "   ".join(f"{name} {milliseconds(value)}" for name, value in _percentiles(summary).items())
    table.add_row("  answer in", told)
    table.add_row("  restarts", f"{summary.restarts:,}")
    return table


def _percentiles(summary: Summary) -> dict[str, float | None]:
    return {"p50": summary.p50, "p95": summary.p95, "p99": summary.p99}


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)
