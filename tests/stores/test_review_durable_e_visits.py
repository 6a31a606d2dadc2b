"""What commands leave in a database."""

from __future__ import annotations

import trio

from tests.stores.postgres import require_driver

psycopg = require_driver()

from spaceactors import PostgresStore  # noqa: E402 (needs the driver)
from spaceactors.admin import DiscardLetters, ListSpaces, open_store  # noqa: E402
from tests.admin.shop import make_filled  # noqa: E402


def test_a_command_leaves_no_record_of_its_opening(dsn: str) -> None:
    """A monitor asks every minute for years: the database must not grow by that."""
    trio.run(make_filled, PostgresStore(dsn))
    for request in (ListSpaces(), DiscardLetters(("1",))):
        with open_store(dsn) as store:
            assert list(store.ask(request))
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT count(*) FROM openings").fetchall() == [(1,)]
