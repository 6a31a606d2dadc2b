"""Opening a PostgreSQL database: the tables are made or brought up to date, and the opening gets its epoch.

All of it is one transaction under an advisory lock, so that several processes may open at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spaceactors._errors import StoreError
from spaceactors.stores import _schema as schema
from spaceactors.stores._postgres_sql import OPENINGS, WORDS, Texts, table_statements
from spaceactors.stores._schema import Type

if TYPE_CHECKING:
    from spaceactors.stores._postgres_link import Link

# The names of the schema's version and of the last epoch in the table `meta`.
_VERSION, _EPOCH = "version", "epoch"

_THERE = (
    "SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE n.nspname = current_schema() AND c.relname::text = ANY(%s)"
)


def take_epoch(link: Link, name: str, seconds: int) -> int:
    """Make the database ready, and return the epoch of a new opening; no statement takes longer than so many seconds.

    Raises:
        StoreError: the database cannot be used.

    """
    _refuse_unfit(link, name)
    with link.transaction():
        link.plain(f"SET LOCAL statement_timeout = '{seconds}s'")
        link.rows("SELECT pg_advisory_xact_lock(hashtextextended('spaceactors in ' || current_schema(), 0))")
        found = _version(link, name)
        if found is None:
            _create(link)
        else:
            _migrate(link, name, found)
        return _next_epoch(link)


def _refuse_unfit(link: Link, name: str) -> None:
    where, encoding = link.rows("SELECT current_schema(), current_setting('server_encoding')")[0]
    if where is None:
        raise StoreError(
            f"{name} has no schema to keep its tables in: create the one that search_path names (CREATE SCHEMA ...),"
            " or name another with options=-csearch_path=... in the dsn"
        )
    if encoding != "UTF8":
        raise StoreError(
            f"{name} keeps texts as {encoding}, which not every text fits: use a database made with ENCODING 'UTF8'"
        )


def _version(link: Link, name: str) -> int | None:
    """Return the version of our tables; None: there are none."""
    ours = [table.name for table in schema.TABLES] + ["openings"]
    there = {row[0] for row in link.rows(_THERE, Texts.of(ours))}
    if not there:
        return None
    version = link.rows("SELECT value FROM meta WHERE name = %s", _VERSION) if there.issuperset(ours) else []
    if version:
        return int(version[0][0])
    raise StoreError(
        f"{name} holds tables of something else by names that are needed here: {', '.join(sorted(there))};"
        " give the store a schema of its own: CREATE SCHEMA ..., and options=-csearch_path=... in the dsn"
    )


def _create(link: Link) -> None:
    for table in schema.TABLES:
        for statement in table_statements(table):
            link.plain(statement)
    link.plain(OPENINGS)
    link.execute(b"INSERT INTO meta (name, value) VALUES (%s, %s), (%s, 0)", (_VERSION, schema.VERSION, _EPOCH))


def _migrate(link: Link, name: str, found: int) -> None:
    """Bring the tables from an older version to ours, step by step."""
    if found > schema.VERSION:
        raise StoreError(
            f"{name} was written by a newer version of spaceactors (its tables have version {found}, this program"
            f" knows {schema.VERSION}): upgrade spaceactors"
        )
    words = {kind.value: WORDS[kind] for kind in Type}
    for version in range(found, schema.VERSION):
        for statement in schema.MIGRATIONS[version]:
            link.plain(statement.format(**words))
        link.execute(b"UPDATE meta SET value = %s WHERE name = %s", (version + 1, _VERSION))


def _next_epoch(link: Link) -> int:
    row = link.rows("UPDATE meta SET value = value + 1 WHERE name = %s RETURNING value", _EPOCH)[0]
    epoch = int(row[0])
    link.execute(b"INSERT INTO openings (epoch, batch) VALUES (%s, 0)", (epoch,))
    return epoch
