"""How whole tables are read, page by page in the order of their keys: for exports, and for what is looked up by hand.

Pure: text only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spaceactors.stores import _schema as schema

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_TABLES = {table.name: table for table in schema.TABLES}


def scan_sql(name: str, after: Sequence[Any], limit: int, where: Mapping[str, Any], mark: str) -> tuple[str, list[Any]]:
    """Return the statement that reads rows of a table, in the order of its key, and its values.

    Args:
        name: the table.
        after: the key behind which to go on; empty for the beginning.
        limit: at most so many rows.
        where: columns that must have a value.
        mark: how the database writes a value's place.

    """
    table = _TABLES[name]
    key = ", ".join(f'"{column}"' for column in table.key)
    wheres = [f'"{column}" = {mark}' for column in where]
    if after:
        wheres.append(f"({key}) > ({', '.join([mark] * len(after))})")
    columns = ", ".join(f'"{column}"' for column in table.names)
    chosen = f" WHERE {' AND '.join(wheres)}" if wheres else ""
    sql = f"SELECT {columns} FROM {table.name}{chosen} ORDER BY {key} LIMIT {mark}"  # noqa: S608 (our own words)
    return sql, [*where.values(), *after, limit]
