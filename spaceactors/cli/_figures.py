"""A store as a whole, for people: one column for each kind of actor, then how the service fares. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from spaceactors.cli._report import milliseconds, plural
from spaceactors.cli._showing import STYLES, printable, when

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import RenderableType

    from spaceactors.admin import Row

UNITS = ("bytes", "kB", "MB", "GB", "TB")
STEP = 1000
THREE_DIGITS = 100
MINUTE, HOUR, DAY = 60, 3600, 86400
ALL = "all"


def size(count: int) -> str:
    """A number of bytes as people read it."""
    amount, unit = float(count), 0
    while amount >= STEP and unit < len(UNITS) - 1:
        amount, unit = amount / STEP, unit + 1
    return f"{amount:,.{0 if amount >= THREE_DIGITS else 1}f} {UNITS[unit]}" if unit else plural(count, "byte")


def age(seconds: float | None) -> str:
    """How long something has lasted, roughly."""
    if seconds is None:
        return "–"
    for unit, name in ((DAY, "days"), (HOUR, "h"), (MINUTE, "min")):
        if seconds >= 2 * unit:
            return f"{seconds // unit:,.0f} {name}"
    return f"{seconds:,.0f} s"


def figures_page(row: Row) -> RenderableType:
    """A store as a whole."""
    kinds: list[Row] = row["kinds"]
    parts: list[RenderableType] = [_headline(row)]
    if kinds:
        parts += [Text(), _kinds(kinds, running="service" in row)]
    if "service" in row:
        parts += [Text(), *_service(row["service"])]
    return Group(*parts)


def _headline(row: Row) -> Text:
    kinds: list[Row] = row["kinds"]
    spaces = plural(sum(one["spaces"] for one in kinds), "space")
    of_kinds = f" of {plural(len(kinds), 'kind')}" if kinds else ""
    in_file = "" if row["file_bytes"] is None else f", {size(row['file_bytes'])} on the disk"
    return Text.assemble((f"{spaces}{of_kinds}", "bold"), in_file)


def _kinds(kinds: Sequence[Row], *, running: bool) -> Table:
    table = Table(box=None, padding=(0, 2), header_style="bold")
    table.add_column("")
    columns = [*kinds, _together(kinds)] if len(kinds) > 1 else kinds
    for one in columns:
        table.add_column(Text(printable(one["kind"])), justify="right")
    for name, style, tell in _lines(columns, running=running):
        table.add_row(Text(name, style), *(Text(tell(one), style) for one in columns))
    return table


def _lines(columns: Sequence[Row], *, running: bool) -> list[tuple[str, str, Callable[[Row], str]]]:
    """The lines of the table: name, style, and what they say of a kind."""

    def any_of(name: str) -> bool:
        return any(one[name] for one in columns)

    # A space that was passive when it was written may be at work in the service.
    hidden = {"passive"} if running else set[str]()
    statuses = [name for name in columns[0]["status"] if any(one["status"][name] for one in columns)]
    counters = sorted({name for one in columns for name in one["counters"]})
    return [
        ("spaces", "", lambda one: f"{one['spaces']:,}"),
        *((f"  {name}", STYLES.get(name, ""), _of("status", name)) for name in statuses if name not in hidden),
        ("bytes of their states", "", lambda one: f"{one['state_bytes']:,}"),
        ("history entries", "", lambda one: f"{one['history']:,}"),
        ("pending messages", "", lambda one: f"{one['pending']:,}"),
        *([("  wait for an answer", "", lambda one: f"{one['asleep']:,}")] if any_of("asleep") else []),
        *([("  oldest waits for", "", _oldest)] if any_of("oldest_pending_at") else []),
        ("open questions", "", lambda one: f"{one['questions']:,}"),
        ("timers", "", lambda one: f"{one['timers']:,}"),
        *([("  next", "", lambda one: when(one["next_timer_at"]))] if any_of("timers") else []),
        ("dead letters", "red" if any_of("dead_letters") else "", lambda one: f"{one['dead_letters']:,}"),
        *([("counters", "", lambda _: "")] if counters else []),
        *((f"  {printable(name)}", "", _of("counters", name)) for name in counters),
    ]


def _oldest(one: Row) -> str:
    return age(one["oldest_pending_seconds"])


def _of(group: str, name: str) -> Callable[[Row], str]:
    return lambda one: f"{one[group].get(name, 0):,}"


def _together(kinds: Sequence[Row]) -> Row:
    """All kinds, in the form of one."""

    def summed(group: str) -> dict[str, Any]:
        names = {name: None for one in kinds for name in one[group]}
        return {name: sum(one[group].get(name, 0) for one in kinds) for name in names}

    numbers = ("spaces", "history", "state_bytes", "pending", "asleep", "questions", "timers", "dead_letters")
    ages = [one["oldest_pending_seconds"] for one in kinds if one["oldest_pending_seconds"] is not None]
    return {
        "kind": ALL,
        **{name: sum(one[name] for one in kinds) for name in numbers},
        "status": summed("status"),
        "counters": summed("counters"),
        "oldest_pending_at": min((one["oldest_pending_at"] for one in kinds if one["oldest_pending_at"]), default=None),
        "oldest_pending_seconds": max(ages, default=None),
        "next_timer_at": min((one["next_timer_at"] for one in kinds if one["next_timer_at"]), default=None),
    }


# ---- the service


def _service(row: Row) -> list[RenderableType]:
    facts = Table.grid(padding=(0, 2))
    ends = ", ".join(f"{count:,} {outcome}" for outcome, count in row["outcomes"].items() if count)
    live = ", ".join(f"{count:,} {status}" for status, count in row["status"].items())
    for name, value in (
        ("messages", f"{row['accepted']:,} accepted: {ends}{', ' if ends else ''}{row['pending']:,} pending"),
        ("live spaces", f"{row['live']:,}{f': {live}' if live else ''}"),
        ("waited", _percentiles(row["milliseconds"]["waiting"])),
        ("took", _percentiles(row["milliseconds"]["handling"])),
        ("restarts", f"{row['restarts']:,}"),
        ("stalls", f"{row['stalls']:,}"),
        *((f"limit {one['name']}", _limit(one)) for one in row["limits"]),
    ):
        facts.add_row(Text(f"  {printable(name)}"), Text(value))
    return [Text("the service, since it began", "bold"), facts]


def _percentiles(told: Row) -> str:
    return "  ".join(f"{name} {milliseconds(value / 1000)}" for name, value in told.items())


def _limit(one: Row) -> str:
    waiting = f", {one['waiting']:,} waiting for {age(one['oldest_wait_seconds'])}" if one["waiting"] else ""
    refused = f", {one['refused']:,} refused" if one["refused"] else ""
    return f"{one['held']:,} of {one['tokens']:,} held{waiting}{refused}"
