"""`PostgresStore`: everything in a PostgreSQL database."""

from __future__ import annotations

from typing import final

from spaceactors.stores._durable import DurableStore
from spaceactors.stores._postgres import PostgresEngine


@final
class PostgresStore(DurableStore):
    """Keeps spaces in PostgreSQL: for services that have one, or whose machine may be lost.

    Several processes may have it open. Each space belongs to the one that opened the store last of those that used it;
    the others find out with their next write, which is refused.

    Args:
        dsn: where the database is, such as `postgresql://user@host/name`. The tables are made if they are not there.

    Raises:
        ModuleNotFoundError: the driver is missing: `pip install 'spaceactors[postgres]'`.
        StoreError: (when a runtime opens it) the database cannot be reached, or was written by a newer version.

    """

    def __init__(self, dsn: str, /) -> None:
        super().__init__(PostgresEngine(dsn))
