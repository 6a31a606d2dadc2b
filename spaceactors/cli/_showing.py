"""What is told of a store, as lines of JSON for programs and as tables for people. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

from rich.console import Group
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import RenderableType

    from spaceactors.admin import Row

# Characters of a value in a table; `show` has all of it.
SHORT = 60
STYLES = {
    "quarantined": "red",
    "backing_off": "yellow",
    "suspended": "yellow",
    "stopped": "dim",
    "passive": "dim",
    "busy": "green",
    "live": "green",
}


def as_line(row: Row) -> bytes:
    """Return a row as one line of JSON."""
    # A lone surrogate cannot be written as UTF-8, but its backslash form is the very escape that JSON has for it.
    return (json.dumps(row, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")


def in_words(value: Any) -> str:
    """Return a value that a store keeps as a person reads it: `Order(items=['latte'], number=1)`."""
    if isinstance(value, list):
        return f"[{', '.join(map(in_words, cast('Sequence[Any]', value)))}]"
    if not isinstance(value, dict):
        return repr(value)
    fields = cast("dict[str, Any]", value)
    match [*fields]:
        case ["$type", "$member" | "$value"]:
            cls, member = fields.values()
            return f"{_bare(cls)}.{member}" if "$member" in fields else f"{_bare(cls)}({member})"
        case ["$type", *_]:
            told = ", ".join(f"{name}={in_words(one)}" for name, one in fields.items() if name != "$type")
            return f"{_bare(fields['$type'])}({told})"
        case ["$pairs"]:
            return "{" + ", ".join(f"{in_words(key)}: {in_words(one)}" for key, one in fields["$pairs"]) + "}"
        case [name] if name.startswith("$"):
            return f"<{name[1:]} {fields[name]}>"
        case _:
            return "{" + ", ".join(f"{key!r}: {in_words(one)}" for key, one in fields.items()) + "}"


def _bare(cls: str) -> str:
    return cls.rpartition(":")[2]


def printable(text: str) -> str:
    """Return a text without what would do something to a terminal: it may come from anybody."""
    return "".join(one if one.isprintable() or one in "\n\t" else ascii(one)[1:-1] for one in text)


def short(text: str, most: int = SHORT) -> str:
    """Return the beginning of a text, in one line."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def when(moment: str | None) -> str:
    """Return a date as a person reads it."""
    if moment is None:
        return "–"
    return f"{moment[:19].replace('T', ' ')} UTC" if moment.endswith("+00:00") else moment


def call_of(row: Row) -> str:
    """Return a call as it is written in a program."""
    if row.get("call") is None:
        return f"({row.get('unreadable', 'cannot be read')})"
    named = (f"{name}={in_words(value)}" for name, value in row["kwargs"].items())
    return f"{row['call']}({', '.join([*map(in_words, row['args']), *named])})"


# ---- lists


def _table(*columns: str, right: Iterable[str] = ()) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return table


def spaces_table(rows: Iterable[Row]) -> Table:
    """Return spaces as a table."""
    table = _table("space", "status", "version", "pending", "history", "group", right=("version", "pending", "history"))
    for row in rows:
        table.add_row(
            _text(_name(row)),
            _status(row["status"]),
            f"{row['version']:,}",
            f"{row['pending']:,}",
            f"{row['history']:,}",
            _text(row["group"] or ""),
        )
    return table


def letters_table(rows: Iterable[Row]) -> Table:
    """Return dead letters as a table."""
    table = _table("number", "space", "call", "tries", "when", "error", right=("number", "tries"))
    for row in rows:
        cells = (row["call"] or "(cannot be read)", str(row["attempts"]), when(row["at"]), short(_error(row["error"])))
        table.add_row(str(row["number"]), _text(_name(row)), *map(_text, cells))
    return table


def questions_table(rows: Iterable[Row]) -> Table:
    """Return open questions as a table; their ids whole, since they are typed in again."""
    table = _table("question", "asks", "answer", "expires")
    for row in rows:
        expires = when(row["expires_at"]) if row["expires_at"] else "never"
        asks = short(in_words(row["question"]))
        table.add_row(*map(_text, (row["id"], asks, _class_of(row["answer"]), expires)))
    return table


def _class_of(answer: Any) -> str:
    return _bare(answer) if isinstance(answer, str) else ""


def _name(row: Row) -> str:
    return f"{row['kind']}/{row['space']}"


def _text(text: str, style: str = "") -> Text:
    return Text(printable(text), style)


def _status(status: str) -> Text:
    return _text(status, STYLES.get(status, ""))


def _error(error: Any) -> str:
    return error if isinstance(error, str) else in_words(error)


# ---- one thing


def space_page(row: Row) -> RenderableType:
    """Return everything about a space."""
    facts = Table.grid(padding=(0, 2))
    head = Text.assemble(_text(_name(row), "bold"), "  ", _status(row["status"]))
    state = "(its class's first)" if row["state"] is None else in_words(row["state"])
    for name, value in (
        ("state", state),
        ("version", f"{row['version']:,}"),
        ("group", row["group"]),
        ("quarantined", row["quarantined"]),
        ("restarts", row.get("restarts")),
        ("counters", ", ".join(f"{name} {value:,g}" for name, value in row["counters"].items())),
        ("pending", row["pending"]),
        ("history", f"{row['history']:,} entries" if row["history"] else None),
    ):
        if value not in {None, "", 0}:
            facts.add_row(_text(name, "dim"), _text(str(value)))
    lists = [
        *_section("messages", [_message(one) for one in row["messages"]]),
        *_section("timers", [_timer(one) for one in row["timers"]]),
        *_section("open questions", [f"{one['id']}: {in_words(one['question'])}" for one in row["questions"]]),
        *_section("recent history", [f"{one['position']} {in_words(one['value'])}" for one in row["recent"]]),
    ]
    return Group(head, facts, *lists)


def _section(title: str, lines: list[str]) -> list[RenderableType]:
    return [Text(), _text(title, "bold"), *(_text(f"  {line}") for line in lines)] if lines else []


def _message(one: Row) -> str:
    state = "waits for an answer" if one["asleep"] else f"waits since {when(one['accepted_at'])}"
    return f"{call_of(one)}  {state}"


def _timer(one: Row) -> str:
    every = f", then every {one['every']:g} s" if one["every"] else ""
    return f"{one['key']}: {call_of(one)} at {when(one['due'])}{every}"


def letter_page(row: Row) -> RenderableType:
    """Return everything about a dead letter."""
    facts = Table.grid(padding=(0, 2))
    error: dict[str, Any] = row["error"]
    if "type" not in error:
        error = {"type": in_words(error), "text": "", "traceback": None}
    line = f"{error['type']}: {error['text']}" if error["text"] else error["type"]
    headers = in_words(row["headers"]) if row.get("headers") else None
    for name, value in (
        ("call", call_of(row)),
        ("message", row["message_id"]),
        ("when", when(row["at"])),
        ("tries", row["attempts"]),
        ("sender", row.get("sender")),
        ("correlation", row.get("correlation_id")),
        ("headers", headers),
        ("error", line),
    ):
        if value is not None:
            facts.add_row(_text(name, "dim"), _text(str(value)))
    head = Text.assemble(("dead letter ", "bold"), (str(row["number"]), "bold"), f"  {printable(_name(row))}")
    return Group(head, facts, *([Text(), _text(error["traceback"].rstrip())] if error["traceback"] else []))
