"""The engines to test: each case on the engine's interface runs on all of them.

An engine joins by a name in `ENGINES` and a fixture `make_<name>_engine`, which gives a function: every call returns a
new engine, not yet open, on the same database of this test, and the fixture closes them all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from spaceactors.stores._engine import Engine
from spaceactors.stores._sqlite import SqliteEngine
from tests.stores.engine_cases import Opened
from tests.stores.postgres import dsn, make_postgres_engine, postgres_server, tested

__all__ = ["dsn", "make_postgres_engine", "postgres_server"]  # fixtures

ENGINES = ["sqlite", *(["postgres"] if tested() else [])]


@pytest.fixture(params=ENGINES)
def make_engine(request: pytest.FixtureRequest) -> Callable[[], Engine]:
    return request.getfixturevalue(f"make_{request.param}_engine")


@pytest.fixture
def make_sqlite_engine(tmp_path: Path) -> Iterator[Callable[[], SqliteEngine]]:
    made: list[SqliteEngine] = []

    def make() -> SqliteEngine:
        made.append(SqliteEngine(tmp_path / "spaces.db"))
        return made[-1]

    yield make
    for engine in made:
        engine.close()


@pytest.fixture
def engine(make_engine: Callable[[], Engine]) -> Opened:
    """An open engine of a new database."""
    made = make_engine()
    return Opened(made, made.open())
