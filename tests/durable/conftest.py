"""A PostgreSQL server for the tests here that need one."""

from tests.stores.postgres import dsn, postgres_server

__all__ = ["dsn", "postgres_server"]  # fixtures
