"""Whether a PostgreSQL database holds a store, without making one of it."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import psycopg

from spaceactors.stores._postgres_open import _version

if TYPE_CHECKING:
    from spaceactors.stores._postgres import PostgresEngine


def holds_store(engine: PostgresEngine) -> bool:
    """Tell whether the database of an engine has our tables.

    Raises:
        StoreError: it cannot be told.

    """
    with closing(engine._address.connect()) as link:
        try:
            return _version(link, engine.name) is not None
        except psycopg.Error as error:
            raise engine._address.error("cannot be read", error) from error
