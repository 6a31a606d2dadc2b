"""What a benchmark has found: for people as a table, for programs as one JSON object. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import frozen
from rich.console import Group
from rich.table import Table
from rich.text import Text

from spaceactors.cli._report import as_row, interruption, milliseconds, plural
from spaceactors.cli._results import HANDLED
from spaceactors.cli._showing import printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import RenderableType

    from spaceactors.cli._statistics import Summary

TENTHS_BELOW = 100  # calls per second
PARALLEL, ONE_LANE = "in parallel", "one after another"


@frozen
class Measured:
    """One pass over all prompts; the summary's seconds are from the first call to the last answer."""

    summary: Summary
    one_lane: bool
    in_flight: int
    most_at_once: int  # lanes at work at the same moment
    average_at_once: float
    reasons: Mapping[str, int]  # why calls were not handled

    @property
    def failures(self) -> int:
        """How many calls were not handled."""
        return self.summary.lines - self.summary.outcomes.get(HANDLED, 0)


def times_faster(measured: Sequence[Measured]) -> float | None:
    """How many times as many calls a second the first pass answered as the second; None: there is no second."""
    match measured:
        case [parallel, sequential] if sequential.summary.throughput > 0 and not sequential.summary.interrupted:
            return parallel.summary.throughput / sequential.summary.throughput
        case _:
            return None


# ---- for programs


def as_object(measured: Sequence[Measured]) -> dict[str, Any]:
    """The report for a program; what was done one after another is beside it, under `one_lane`."""
    first, *others = [_fields(one) for one in measured]
    ratio = times_faster(measured)
    compared = {"one_lane": others[0], "times_faster": ratio and round(ratio, 2)} if others else {}
    return first | compared


def _fields(one: Measured) -> dict[str, Any]:
    return as_row(one.summary) | {
        "in_flight": one.in_flight,
        "at_once": {"most": one.most_at_once, "average": round(one.average_at_once, 2)},
        "failures": one.failures,
        "reasons": dict(one.reasons),
    }


# ---- for people


def as_table(measured: Sequence[Measured]) -> RenderableType:
    """The report for a terminal."""
    first = measured[0]
    pace = f", at most {first.in_flight:,} in flight"
    counted = f"{plural(first.summary.lines, 'prompt')} to {plural(first.summary.spaces, 'space')}"
    head = Text.assemble((first.summary.actor, "bold"), " · ", (counted, "bold"), pace)
    ratio = times_faster(measured)
    parts: list[RenderableType] = [head, Text(), _figures(measured)]
    if ratio is not None:
        parts += [Text(), Text(f"In parallel it is {ratio:,.3g} times as fast as one after another.", "bold")]
    for one in measured:
        parts += _reasons(one, named=len(measured) > 1)
        parts += interruption(one.summary)
    return Group(*parts)


def _figures(measured: Sequence[Measured]) -> Table:
    table = Table(box=None, padding=(0, 2), header_style="dim", show_header=len(measured) > 1)
    table.add_column("")
    for one in measured:
        table.add_column(ONE_LANE if one.one_lane else PARALLEL, justify="right")
    rows = [_column(one) for one in measured]
    for name, *values in zip(rows[0], *(row.values() for row in rows), strict=True):
        table.add_row(name, *(value if isinstance(value, Text) else Text(value) for value in values))
    return table


def _column(one: Measured) -> dict[str, str | Text]:
    summary = one.summary
    return {
        "throughput": f"{summary.throughput:,.{0 if summary.throughput >= TENTHS_BELOW else 1}f} per second",
        "took": milliseconds(summary.seconds),
        "answer in p50": milliseconds(summary.p50),
        "answer in p95": milliseconds(summary.p95),
        "answer in p99": milliseconds(summary.p99),
        "spaces at work at once": f"{one.average_at_once:,.1f} on average, {one.most_at_once:,} at most",
        "handled": f"{summary.outcomes.get(HANDLED, 0):,}",
        "not handled": Text(f"{one.failures:,}", "red" if one.failures else ""),
        "restarts": f"{summary.restarts:,}",
    }


def _reasons(one: Measured, *, named: bool) -> list[RenderableType]:
    if not one.reasons:
        return []
    title = f"Not handled{' one after another' if named and one.one_lane else ' in parallel' if named else ''}:"
    told = sorted(one.reasons.items(), key=lambda reason: -reason[1])
    lines = [Text(f"  {count:,} × {printable(' '.join(reason.split()))}") for reason, count in told]
    more = one.failures - sum(one.reasons.values())
    return [Text(), Text(title, "red"), *lines, *([Text(f"  {more:,} × for other reasons")] if more else [])]
