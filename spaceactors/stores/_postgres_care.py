"""Looking after a PostgreSQL database: whether its rows fit together, and giving back what they do not need."""

# ruff: noqa: S608 (SQL is put together from our own words)

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import psycopg

from spaceactors.stores._schema import LETTERS, OF_SPACES, SPACES, TABLES
from spaceactors.stores._tally import tally

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spaceactors.stores._engine import Tally
    from spaceactors.stores._postgres_link import Address

# At most so many sentences of each kind: one fault may break many rows.
_MOST = 20
# Whole tables are read and written here, on a connection of its own. Seconds.
_PATIENCE = 3600.0
_SETTINGS = {
    "statement_timeout": "1h",
    "enable_seqscan": "on",
    "enable_hashjoin": "on",
    "enable_mergejoin": "on",
    "default_transaction_isolation": "repeatable\\ read",
}

_COUNTED = "SELECT kind, id, count(*) AS kept, max(position) AS last FROM {} GROUP BY kind, id"
_NO_MESSAGE = "NOT EXISTS (SELECT FROM mailbox b WHERE b.kind = a.kind AND b.id = a.id AND b.number = a.number)"

# The sentence about a row that breaks a rule, and what finds such rows.
_RULES = {
    "space {} {!r} has numbers below zero (version {}, length {})": (
        "SELECT kind, id, version, length FROM spaces WHERE least(version, length, next_entry - 1, last_event) < 0"
    ),
    "space {} {!r} belongs to epoch {}, and the latest opening was {}": (
        "SELECT kind, id, epoch, value FROM spaces JOIN meta ON name = 'epoch' WHERE epoch > value"
    ),
    "space {} {!r} should have {} history entries and has {}": (
        f"SELECT kind, id, length, coalesce(kept, 0) FROM spaces LEFT JOIN ({_COUNTED.format('history')}) AS h"
        " USING (kind, id) WHERE length <> coalesce(kept, 0)"
    ),
    "space {} {!r} would write history entry {} next, and has entry {}": (
        f"SELECT kind, id, next_entry, last FROM spaces JOIN ({_COUNTED.format('history')}) AS h USING (kind, id)"
        " WHERE next_entry <= last"
    ),
    "space {} {!r} says that its last event is {}, and has event {}": (
        f"SELECT kind, id, last_event, last FROM spaces JOIN ({_COUNTED.format('events')}) AS e USING (kind, id)"
        " WHERE last_event < last"
    ),
    "space {} {!r} keeps a step of message {}, which is not there: {!r}": (
        f"SELECT kind, id, number, key FROM steps a WHERE {_NO_MESSAGE}"
    ),
    "space {} {!r} keeps a question of message {}, which is not there: {!r}": (
        f"SELECT kind, id, number, question_id FROM questions a WHERE {_NO_MESSAGE}"
    ),
    **{
        f"there is no space {{}} {{!r}}, but {{}} of its rows in {table.name}": (
            f"SELECT kind, id, count(*) FROM {table.name} a"
            " WHERE NOT EXISTS (SELECT FROM spaces b WHERE b.kind = a.kind AND b.id = a.id) GROUP BY kind, id"
        )
        # A dead letter may be of a space that never began.
        for table in OF_SPACES
        if table not in {SPACES, LETTERS}
    },
}


def verify(address: Address) -> Sequence[str]:
    """Return what is wrong with the rows, in sentences; all that is read is of one moment.

    Raises:
        StoreError: it cannot be read.

    """
    found: list[str] = []
    with closing(address.connect(**_SETTINGS)) as link:
        link.patience = _PATIENCE
        try:
            with link.transaction():
                for sentence, text in _RULES.items():
                    found += (sentence.format(*row) for row in link.rows(f"{text} LIMIT {_MOST}"))
        except (psycopg.errors.DataCorrupted, psycopg.errors.IndexCorrupted) as error:
            found.append(f"PostgreSQL could not check further: {error.diag.message_primary}")
        except psycopg.Error as error:
            raise address.error("cannot be checked", error) from error
    return found


def count_all(address: Address) -> Tally:
    """Return how much of everything there is, as of one moment.

    Raises:
        StoreError: it cannot be read.

    """
    with closing(address.connect(**_SETTINGS)) as link:
        link.patience = _PATIENCE
        try:
            with link.transaction():
                return tally(link.rows)
        except psycopg.Error as error:
            raise address.error("cannot be counted", error) from error


def vacuum(address: Address) -> None:
    """Make the space of rows that are gone usable again, and bring the planner's figures up to date.

    Raises:
        StoreError: it cannot be done now.

    """
    with closing(address.connect(**_SETTINGS)) as link:
        link.patience = _PATIENCE
        try:
            for name in [*(table.name for table in TABLES), "openings"]:
                link.execute(f"VACUUM (ANALYZE) {name}".encode())
        except psycopg.Error as error:
            raise address.error("cannot be vacuumed", error) from error
