"""Where a life of the worker ends by its own hand: the n-th time that it passes a named point.

SIGKILL to oneself is delivered before the system call returns: nothing of the process runs any more.
"""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Callable
from typing import Any

from attrs import define

# Points that the worker and its actors pass, by what has just happened.
ACTING = (
    "turn begun",
    "effect made",
    "step returned",
    "kitchen asked",
    "question answered",
    "turn done",
    "kitchen turn done",
    "reminded",
    "accepted",
    "replied",
    "noted",
    "answering",
    "touching",
)
# Points inside the store: before and after a batch is written, before a statement of the database, after a space was
# loaded, after the recoveries were counted.
STORING = ("before batch", "after batch", "statement", "after load", "after recoveries", "after open")
POINTS = (*ACTING, *STORING)
# How often each is passed in a life of ordinary length: the number of passes is chosen up to this.
OFTEN = dict.fromkeys(POINTS, 12) | {
    "question answered": 3,
    "answering": 2,
    "touching": 3,
    "kitchen asked": 5,
    "reminded": 3,
    "before batch": 20,
    "after batch": 20,
    "statement": 200,
    "after load": 15,
    "after recoveries": 1,
    "after open": 1,
}


@define
class Plan:
    """The end that is planned for this life, if there is one."""

    point: str | None = None
    left: int = 0


_plan = Plan()


def die_at(point: str | None, count: int) -> None:
    """Plan to die at the `count`-th passing of a point, or (None) not at all."""
    _plan.point, _plan.left = point, count
    if point == "statement":
        _watch_statements()
    elif point in STORING:
        _watch_engines()


def reach(point: str) -> None:
    """Pass a point."""
    if point == _plan.point:
        _plan.left -= 1
        if _plan.left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)


def _watch_engines() -> None:
    """Have the engines pass their points. Only this process's classes are changed, and it lives for one life."""
    from spaceactors.stores._sqlite import SqliteEngine

    engines: list[Any] = [SqliteEngine]
    try:
        from spaceactors.stores._postgres import PostgresEngine
    except ImportError:
        pass
    else:
        engines.append(PostgresEngine)
    for engine in engines:
        engine.write = _between("before batch", engine.write, "after batch")
        engine.load = _between(None, engine.load, "after load")
        engine.count_recoveries = _between(None, engine.count_recoveries, "after recoveries")
        engine.open = _between(None, engine.open, "after open")


def _between(before: str | None, call: Callable[..., Any], after: str) -> Callable[..., Any]:
    def passing(*args: Any, **kwargs: Any) -> Any:
        if before is not None:
            reach(before)
        result = call(*args, **kwargs)
        reach(after)
        return result

    return passing


def _watch_statements() -> None:
    """Have each connection to a database pass a point before each statement, COMMIT too."""
    connect = sqlite3.connect

    def watched(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        connection = connect(*args, **kwargs)
        connection.set_trace_callback(lambda _: reach("statement"))
        return connection

    sqlite3.connect = watched  # type: ignore[assignment]
    try:
        import psycopg
    except ImportError:
        return
    for name in ("execute", "executemany"):
        setattr(psycopg.Cursor, name, _passing_first("statement", getattr(psycopg.Cursor, name)))
    psycopg.Connection.commit = _passing_first("statement", psycopg.Connection.commit)  # type: ignore[method-assign]


def _passing_first(point: str, call: Callable[..., Any]) -> Callable[..., Any]:
    def passing(*args: Any, **kwargs: Any) -> Any:
        reach(point)
        return call(*args, **kwargs)

    return passing
