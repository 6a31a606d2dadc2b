"""Named locks that several processes share over PostgreSQL: leases with an end, and tokens that fence off the late.

A lease is a row with an expiry. No lock of the database is held meanwhile: a connection that breaks, or a process that
dies, loses nothing but time. And no lease by itself keeps out a holder that was stopped and comes back too late: that
is what tokens are for. Whoever guards the resource refuses a token lower than the highest it has seen.

Who waits asks again after short sleeps, with jitter and up to a quarter of a second, instead of listening for
notifications: those need a connection and a thread in every process, get lost with it, and would not tell of a lease
that just ran out. To ask is one look at an index.
"""

from __future__ import annotations

import random
from contextlib import asynccontextmanager, suppress
from math import inf
from typing import TYPE_CHECKING, Any, TypeVar, final
from uuid import uuid4

import psycopg
import trio

from spaceactors._errors import StoreError
from spaceactors.stores._postgres_link import Address, Link, lost
from spaceactors.stores._postgres_sql import Texts
from supervisors import CapacityTimeout, LeaseExpired
from supervisors._lock_names import DIRECTORY, claims_of
from supervisors._locks import check_ttl
from supervisors._spec import check_seconds

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from spaceactors.stores._postgres_sql import Sending
    from supervisors import Lease

T = TypeVar("T")

# Seconds before a second look, and at most between two.
FIRST_NAP, LONGEST_NAP = 0.01, 0.25

# Tokens are drawn from one sequence for all names: a row may go when its lease ends, and no token comes again.
_TABLES = (
    "SELECT pg_advisory_xact_lock(hashtextextended('locks of spaceactors in ' || current_schema(), 0))",
    "CREATE SEQUENCE IF NOT EXISTS spaceactors_lock_tokens AS bigint",
    """CREATE TABLE IF NOT EXISTS spaceactors_locks (
        name text COLLATE "C" PRIMARY KEY, token bigint NOT NULL, holder text NOT NULL, expires_at timestamptz NOT NULL
    )""",
    # Of holders that died, and names that nobody has asked for since.
    "DELETE FROM spaceactors_locks WHERE expires_at < clock_timestamp() - interval '1 day'",
)
# Until the transaction ends nobody else takes or extends a lease of these names: the token drawn then is the highest of
# each, and nobody extends what another has just taken. In one order, so that two who want several never wait in a ring.
_ALONE = """
    SELECT pg_advisory_xact_lock(key) FROM (
        SELECT DISTINCT hashtextextended(current_schema() || ' lock ' || name, 0) AS key FROM unnest(%s) AS n(name)
        ORDER BY key
    ) AS keys
"""
# All or none; a lease of the same holder is one whose answer was lost.
_TAKE = """
    INSERT INTO spaceactors_locks (name, token, holder, expires_at)
    SELECT n.name, t.token, %s, clock_timestamp() + make_interval(secs => %s)
    FROM unnest(%s) AS n(name), (SELECT nextval('spaceactors_lock_tokens') AS token) AS t
    WHERE NOT EXISTS (
        SELECT FROM spaceactors_locks WHERE name = ANY(%s) AND holder <> %s AND expires_at > clock_timestamp()
    )
    ON CONFLICT (name) DO UPDATE
    SET token = excluded.token, holder = excluded.holder, expires_at = excluded.expires_at
    RETURNING token
"""
_SECONDS_LEFT = """
    SELECT extract(epoch FROM max(expires_at) - clock_timestamp())::float8
    FROM spaceactors_locks WHERE name = ANY(%s)
"""
_EXTEND = """
    UPDATE spaceactors_locks SET expires_at = clock_timestamp() + make_interval(secs => %s)
    WHERE name = ANY(%s) AND token = %s AND expires_at > clock_timestamp()
"""
_RELEASE = "DELETE FROM spaceactors_locks WHERE name = ANY(%s) AND token = %s"


@final
class PostgresLease:
    """The right to something by name, for a while; made by `PostgresLocks.hold`, told at `supervisors.Lease`."""

    def __init__(self, table: _Table, names: tuple[str, ...], token: int, scope: trio.CancelScope) -> None:
        self._table = table
        self._names = names
        self._token = token
        self._scope = scope

    @property
    def names(self) -> tuple[str, ...]:
        """What is held."""
        return self._names

    @property
    def token(self) -> int:
        """The fencing token: higher than that of every earlier lease of each of the names, for ever.

        Send it with each write to what the lock guards, and have the write refused if a higher one was there.
        """
        return self._token

    @property
    def seconds_left(self) -> float:
        """How long the lease lasts from now, unless it is extended."""
        return max(0.0, self._scope.deadline - trio.current_time())

    async def extend(self, ttl: float) -> None:
        """Have the lease end so many seconds from now.

        Args:
            ttl: seconds from now, more or fewer than are left.

        Raises:
            LeaseExpired: it ended already; the block is cancelled.
            StoreError: the database cannot be asked; the lease ends when it would have.

        """
        check_ttl(ttl)
        begin = trio.current_time()
        if not await self._table.call(self._table.extend, self._names, self._token, ttl):
            self._scope.cancel()
            raise LeaseExpired(_told(self._names, "had ended before it was extended"))
        self._scope.deadline = begin + ttl


@final
class PostgresLocks:
    """Named locks for all processes that use one database.

    When you would want it: one of many services may charge an order, rebuild an index, talk to a device. A lock ends by
    itself (`ttl`), so that a holder who dies holds up nobody for long; use `Lease.token` to keep out one who comes back
    late.

    It is a `LockPort`, as `supervisors.Locks` for one process is: code that is written for that port runs with either.
    A `file:` path has one spelling here too; a name with `dir:` is refused, for it would not cover what is below it.

    Args:
        dsn: as for `PostgresStore`. The locks are kept in a table of the first schema of its `search_path`, made when
            it is needed. All that share locks must name the same schema.
        patience: seconds after which a server that gives no answer is taken to be gone.

    Raises:
        StoreError: the dsn cannot be read.

    """

    def __init__(self, dsn: str, *, patience: float = 5.0) -> None:
        self._table = _Table(Address(dsn, "PostgresLocks", patience))

    async def __aenter__(self) -> PostgresLocks:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connection. Leases that are held end by their `ttl`."""
        with trio.CancelScope(shield=True):
            await self._table.call(self._table.close)

    @asynccontextmanager
    async def hold(self, *names: str, ttl: float, timeout: float | None = None) -> AsyncGenerator[Lease, None]:
        """Hold locks while the block runs, all of them or none.

        The block is cancelled when the lease ends (reckoned from before it was asked for, so never later than the
        database does), unless it was extended.

        Args:
            names: what to hold. Several are taken together when all are free, so that nobody waits in a ring; who wants
                one of them alone may come first.
            ttl: seconds after which the database gives the lease to others. Longer than the block should take, as short
                as others may wait for one who died.
            timeout: seconds to wait; 0 tries once, None waits for ever.

        Raises:
            CapacityTimeout: not to be had in time.
            LeaseExpired: the lease ended before the block did.
            ValueError: a directory, or a path that is none.
            StoreError: the database cannot be asked now.

        """
        wanted = _checked(names)
        check_ttl(ttl)
        if timeout is not None:
            check_seconds("timeout", timeout)
        token, deadline = await self._take(wanted, ttl, timeout)
        scope = trio.CancelScope(deadline=deadline)
        held = False
        try:
            with scope:
                yield PostgresLease(self._table, wanted, token, scope)
        finally:
            held = await self._give_back(wanted, token)
        if scope.cancelled_caught or not (held or trio.current_time() < scope.deadline):
            raise LeaseExpired(_told(wanted, "ended before the block did: ask for a longer ttl, or extend it"))

    async def _take(self, names: tuple[str, ...], ttl: float, timeout: float | None) -> tuple[int, float]:
        """Wait for a lease; return its token, and when it ends on Trio's clock."""
        holder = uuid4().hex
        give_up = trio.current_time() + (inf if timeout is None else timeout)
        nap = FIRST_NAP
        while True:
            begin = trio.current_time()
            token, left = await self._table.call(self._table.take, names, holder, ttl)
            if token is not None:
                return token, begin + ttl
            # Not in step with others who wait for the same.
            pause = min(random.uniform(nap / 2, nap), max(left, FIRST_NAP))
            now = trio.current_time()
            if now >= give_up:
                raise CapacityTimeout(_told(names, f"was not to be had within {timeout:g} s"))
            # The last look is at the end of the time that was given, not before it.
            await trio.sleep(min(pause, give_up - now))
            nap = min(2 * nap, LONGEST_NAP)

    async def _give_back(self, names: tuple[str, ...], token: int) -> bool:
        """End a lease; tell whether it was still held."""
        held = False
        # If the database cannot be told, the lease ends by itself.
        with trio.CancelScope(shield=True), suppress(StoreError):
            held = await self._table.call(self._table.release, names, token)
        return held


def _checked(names: Sequence[object]) -> tuple[str, ...]:
    wanted = tuple(name for name, _ in claims_of(names, ()))
    for name in wanted:
        if name.startswith(DIRECTORY):
            told = f"the lock {name!r} would not cover what lies below it: PostgresLocks knows no directories"
            raise ValueError(f"{told}; lock files one by one, or use a name such as 'tree:src' that all agree on")
    return wanted


def _told(names: tuple[str, ...], what: str) -> str:
    return f"the lock {', '.join(map(repr, names))} {what}"


@final
class _Table:
    """The leases in the database: one connection, used by one worker thread at a time."""

    def __init__(self, address: Address) -> None:
        self._address = address
        # In their order, so that no one waits for a connection behind later ones.
        self._turn = trio.CapacityLimiter(1)
        self._link: Link | None = None
        self._made = False
        self._closed = False

    async def call(self, function: Callable[..., T], *args: Any) -> T:
        """Call one of the functions below in a worker thread."""
        return await trio.to_thread.run_sync(function, *args, limiter=self._turn)

    def take(self, names: tuple[str, ...], holder: str, ttl: float) -> tuple[int | None, float]:
        """Take leases of all names or of none; return the token, and the seconds that others have left."""
        texts = Texts.of(names)
        taken, left = self._run(
            (_ALONE, (texts,)), (_TAKE, (holder, float(ttl), texts, texts, holder)), (_SECONDS_LEFT, (texts,))
        )[1:]
        return (taken[0][0], 0.0) if taken else (None, left[0][0] or 0.0)

    def extend(self, names: tuple[str, ...], token: int, ttl: float) -> bool:
        """Move the end of leases; tell whether all of them were held."""
        texts = Texts.of(names)
        extended = (f"{_EXTEND} RETURNING name", (float(ttl), texts, token))
        return len(self._run((_ALONE, (texts,)), extended)[1]) == len(names)

    def release(self, names: tuple[str, ...], token: int) -> bool:
        """End leases; tell whether all of them were held."""
        return len(self._run((f"{_RELEASE} RETURNING name", (Texts.of(names), token)))[0]) == len(names)

    def _run(self, *sendings: Sending) -> list[list[tuple[Any, ...]]]:
        """Run a transaction, which may be run again if its end is not known; return the rows of each statement."""
        fresh = self._link is None or self._link.closed
        try:
            return self._try(sendings)
        except psycopg.Error as error:
            if fresh or not (self._link is None or self._link.closed):
                raise self._address.error("cannot be asked", error) from error
        try:
            return self._try(sendings)
        except psycopg.Error as error:
            raise self._address.error("cannot be asked", error) from error

    def _try(self, sendings: Sequence[Sending]) -> list[list[tuple[Any, ...]]]:
        link = self._connected()
        try:
            # In one go: nobody waits for a process that stands still in the middle.
            cursors = link.flight([("BEGIN", ()), *sendings, ("COMMIT", ())])[1:-1]
        except BaseException as error:
            if lost(link, error) or not self._rolled_back(link):
                link.close()
            raise
        return [cursor.fetchall() for cursor in cursors]

    def _rolled_back(self, link: Link) -> bool:
        with suppress(psycopg.Error):
            link.plain("ROLLBACK")
            return True
        return False

    def _connected(self) -> Link:
        if self._closed:
            raise StoreError(f"{self._address.name} is closed")
        if self._link is None or self._link.closed:
            self._link = self._address.connect()
        if not self._made:
            with self._link.transaction():
                for statement in _TABLES:
                    self._link.plain(statement)
            self._made = True
        return self._link

    def close(self) -> None:
        """Close the connection."""
        self._closed = True
        if self._link is not None:
            self._link.close()
