"""How much of everything a store keeps, counted by the database: nothing is loaded, however much there is.

Pure: text only, in SQL that both databases read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spaceactors.stores._engine import Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# A statement for each field of `Tally`. The casts are for PostgreSQL, whose sums are no integers.
_STATEMENTS = {
    "spaces": """
        SELECT kind, flags, count(*), CAST(sum(length) AS bigint), CAST(coalesce(sum(length(state)), 0) AS bigint)
        FROM spaces GROUP BY kind, flags""",
    "asleep": """
        SELECT s.kind, s.flags, count(*) FROM (SELECT DISTINCT kind, id FROM mailbox WHERE asleep = 1) AS m
        JOIN spaces AS s ON s.kind = m.kind AND s.id = m.id GROUP BY s.kind, s.flags""",
    "messages": """
        SELECT kind, count(*), CAST(sum(asleep) AS bigint), min(CASE WHEN asleep = 0 THEN at END)
        FROM mailbox GROUP BY kind""",
    "letters": "SELECT kind, count(*) FROM letters GROUP BY kind",
    "questions": "SELECT kind, count(*) FROM questions GROUP BY kind",
    "timers": "SELECT kind, count(*), min(due) FROM timers GROUP BY kind",
}


def tally(rows: Callable[[str], Sequence[Any]]) -> Tally:
    """Return the counts; `rows` asks the database, each time of the same moment."""
    return Tally(**{name: [tuple(row) for row in rows(statement)] for name, statement in _STATEMENTS.items()})


def counters_sql(after: tuple[str, str] | None, limit: int, mark: str) -> tuple[str, list[Any]]:
    """Return the statement that reads the counters of spaces that have some, in the order of kinds and ids."""
    behind = "" if after is None else f" AND (kind, id) > ({mark}, {mark})"
    sql = f"SELECT kind, id, counters FROM spaces WHERE counters IS NOT NULL{behind} ORDER BY kind, id LIMIT {mark}"  # noqa: S608 (our own words)
    return sql, [*(after or ()), limit]
