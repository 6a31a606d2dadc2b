"""Stores to look at: filled by a service that has ended, or that still runs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import trio

from spaceactors import Actor, PostgresStore, Runtime, SqliteStore, open_runtime
from spaceactors.stores._engine import Engine
from spaceactors.stores._sqlite import SqliteEngine
from tests.admin.shop import Clerk, Shop, fill, make_filled
from tests.stores.postgres import dsn, make_postgres_engine, postgres_server

__all__ = ["dsn", "make_postgres_engine", "postgres_server"]  # fixtures


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shop.db"


@pytest.fixture
def sqlite_engine(path: Path) -> Iterator[Engine]:
    """The open engine of a filled file in which no service runs."""
    trio.run(make_filled, SqliteStore(path))
    engine = SqliteEngine(path)
    engine.open()
    yield engine
    engine.close()


@pytest.fixture
def postgres_engine(dsn: str, make_postgres_engine: Callable[[], Engine]) -> Engine:
    """The open engine of a filled database in which no service runs."""
    trio.run(make_filled, PostgresStore(dsn))
    engine = make_postgres_engine()
    engine.open()
    return engine


@pytest.fixture(params=["sqlite", "postgres"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """The open engine of a store in which no service runs."""
    found: Engine = request.getfixturevalue(f"{request.param}_engine")
    return found


@pytest.fixture
async def runtime(path: Path) -> AsyncIterator[Runtime[Actor]]:
    """A service that runs on a store."""
    Shop.broken = True
    async with open_runtime(Shop, Clerk, store=SqliteStore(path)) as runtime:
        await fill(runtime)
        yield runtime
