"""The durable store's rows in PostgreSQL.

One connection writes, a few others read. A batch is one transaction of two round trips: its statements, sent together,
and its commit. Each batch also writes its number into the row of its opening, so that a commit of which no answer came
can be looked up afterwards: nobody has to guess whether it was kept.
"""

# ruff: noqa: S608 (SQL is put together from our own words)

from __future__ import annotations

import random
import struct
import threading
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar, final

import psycopg
from psycopg import errors

from spaceactors._errors import StoreError
from spaceactors._store import EpochLost, VersionLost
from spaceactors.stores._batches import Missed, grouped, owners, unguarded
from spaceactors.stores._engine import QUARANTINED
from spaceactors.stores._postgres_care import count_all, vacuum, verify
from spaceactors.stores._postgres_link import Address, Link, lost
from spaceactors.stores._postgres_open import take_epoch
from spaceactors.stores._postgres_reads import Readers, Reads, loaded, loading, names_of
from spaceactors.stores._postgres_sql import Texts, sendings

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from psycopg import Cursor
    from psycopg.rows import TupleRow

    from spaceactors.stores._engine import Key, Loaded, Row, Tally
    from spaceactors.stores._postgres_sql import Sending

T = TypeVar("T")

# Tries of a transaction that met another's.
TRIES = 4
# Seconds that one statement may take while the tables are made or changed, or others do so.
OPENING = 60
# Seconds before the second try to find out about a commit, and at most between two.
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0

# Two transactions that wanted the same rows: one of them may simply try again.
_CONFLICTS = (errors.SerializationFailure, errors.DeadlockDetected)
# What a row can be the reason of; anything else concerns the whole batch.
_ROW_FAULTS = (errors.IntegrityError, errors.DataError, errors.CardinalityViolation, errors.ProgramLimitExceeded)
# What a value that the database cannot hold raises when it is encoded.
_UNFIT = (ValueError, TypeError, OverflowError, struct.error)

_BEGIN: Sending = ("BEGIN", ())
_NUMBER = "UPDATE openings SET batch = %s WHERE epoch = %s"
# Those of some spaces that belong to a later opening; none of the others can be claimed until the commit.
_LOST = (
    "WITH held AS MATERIALIZED ("
    "SELECT s.epoch FROM spaces s JOIN unnest(%s, %s) AS n(kind, id) USING (kind, id) FOR SHARE OF s"
    ") SELECT 1 FROM held WHERE epoch > %s"
)
_CLAIM = (
    "UPDATE spaces t SET epoch = %s FROM unnest(%s, %s) AS n(kind, id)"
    " WHERE t.kind = n.kind AND t.id = n.id AND t.epoch < %s"
)
# It waits for what an earlier owner is just writing. Each statement of READ COMMITTED sees what was committed when it
# began, so that those behind this one see all of that.
#
# A claim needs no way to the disk: if the server forgets it in a crash, the next write misses its guard, and the space
# is loaded and claimed anew.
_CLAIM_LAZILY: Sending = ("SET LOCAL synchronous_commit = off", ())
_COUNT_RECOVERIES = f"""
    UPDATE mailbox t SET recoveries = t.recoveries + 1 FROM (
        SELECT DISTINCT ON (kind, id) number FROM mailbox WHERE kind = ANY(%s) ORDER BY kind, id, number
    ) AS first
    WHERE t.number = first.number AND t.asleep = 0 AND NOT EXISTS (
        SELECT FROM spaces s WHERE s.kind = t.kind AND s.id = t.id AND s.flags & {int(QUARANTINED)} <> 0
    )
"""
# The predecessor of a connection may still be at work, or wait in an open transaction for a client that is gone.
_END_PREDECESSOR = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = %s AND backend_start = %s"
# Locked, so that the answer waits for a commit that is still going on.
_LAST_BATCH = "SELECT batch FROM openings WHERE epoch = %s FOR UPDATE"


@final
class PostgresEngine(Reads):
    """Rows in a PostgreSQL database.

    Args:
        dsn: where it is, as libpq reads it: "postgresql://user:password@host/database" or "host=... dbname=...". The
            tables are kept in the first schema of its `search_path`. A pooler on the way must give each connection a
            session of its own at the server. Times of the server's and of the connection
            (`statement_timeout` in `options`, `connect_timeout`, `tcp_user_timeout`, ...) are taken from it where it
            names them.
        patience: seconds after which a server that gives no answer is taken to be gone.
        doubt_timeout: seconds to find out, after a commit was interrupted, whether it was kept.
        visit: it is opened for a moment only, and leaves no record of its opening.

    """

    def __init__(self, dsn: str, *, patience: float = 15.0, doubt_timeout: float = 30.0, visit: bool = False) -> None:
        self._address = Address(dsn, "PostgresStore", patience)
        self._doubt_timeout = doubt_timeout
        self._visit = visit
        self.name = self._address.name
        self._readers = Readers(self._address)
        # The writing connection, and the process at the server that served the last one.
        self._link: Link | None = None
        self._backend: tuple[int, Any] | None = None
        # Of this opening; and the number of the last batch that was tried.
        self._epoch = 0
        self._batch = 0
        # The batch of which nobody knows whether it was kept; what is written waits until it is known.
        self._doubt: int | None = None
        # Why this opening can write no more.
        self._ended: str | None = "is not open"
        self._closing = threading.Event()

    def open(self) -> int:
        """Connect, bring the tables up to date, and take an epoch."""
        link = self._address.connect()
        link.patience = OPENING + self._address.patience
        try:
            self._epoch = take_epoch(link, self.name, OPENING)
        except BaseException as error:
            link.close()
            if isinstance(error, psycopg.Error):
                raise self._address.error("cannot be opened", error) from error
            raise
        link.patience = self._address.patience
        self._link, self._backend = link, link.backend
        self._batch, self._ended, self._doubt = 0, None, None
        self._closing.clear()
        self._readers = Readers(self._address)
        return self._epoch

    def close(self) -> None:
        """Close all connections."""
        self._ended = "is closed"
        self._closing.set()
        self._readers.close()
        if self._link is not None:
            # Commands may come every minute for years.
            if self._visit and not self._link.closed:
                with suppress(psycopg.Error):
                    self._link.execute(b"DELETE FROM openings WHERE epoch = %s", (self._epoch,))
            self._link.close()

    # ---- writing

    def write(self, writes: Sequence[Sequence[Row]], /) -> Sequence[Exception | None]:
        """Keep a batch in one transaction; if something in it is refused, each write for itself in one."""
        try:
            expected = _expected(writes, self._epoch)
            return self._transact([sending for sending, _ in expected], _Together(writes, [n for _, n in expected]))
        except (Missed, *_ROW_FAULTS, *_UNFIT):
            return self._transact([], _OneByOne(writes, self._address, self._epoch))

    def load(self, keys: Sequence[Key], epoch: int, /) -> Sequence[Loaded | None]:
        """Read spaces, and claim them."""
        names = names_of(keys)

        def found(_: Link, cursors: Sequence[Cursor[TupleRow]]) -> Sequence[Loaded | None]:
            spaces = loaded(keys, [cursor.fetchall() for cursor in cursors[2:]])
            for one in spaces:
                if one is not None and one.space.epoch > epoch:
                    raise EpochLost(f"{one.space.kind} {one.space.id!r} belongs to a later opening of {self.name}")
            return spaces

        claim: Sending = (_CLAIM, (epoch, *names, epoch))
        try:
            return self._transact([_CLAIM_LAZILY, claim, *loading(names)], found, numbered=False)
        except _ROW_FAULTS as error:
            raise self._address.error("cannot look for such a name", error) from error

    def count_recoveries(self, kinds: Collection[str], /) -> None:
        """Add one recovery to the first message of every space of these kinds."""
        self._transact([(_COUNT_RECOVERIES, (Texts.of([*kinds]),))], _nothing)

    def _transact(
        self,
        sendings: Sequence[Sending],
        then: Callable[[Link, Sequence[Cursor[TupleRow]]], T],
        *,
        numbered: bool = True,
    ) -> T:
        """Send statements in a transaction, let `then` judge the answers, and commit.

        A connection that was lost while nothing was done is replaced once. What a row is the reason of comes out as it
        is.
        """
        tries = 0
        while True:
            tries += 1
            link, fresh = self._writer()
            try:
                result = self._attempt(link, sendings, then, numbered=numbered)
                self._commit(link, numbered=numbered)
                return result
            except psycopg.Error as error:
                if isinstance(error, _ROW_FAULTS):
                    raise
                again = not fresh if link.closed else isinstance(error, _CONFLICTS)
                if not again or tries == TRIES:
                    raise self._address.error("cannot write or load", error) from error

    def _attempt(
        self,
        link: Link,
        sendings: Sequence[Sending],
        then: Callable[[Link, Sequence[Cursor[TupleRow]]], T],
        *,
        numbered: bool,
    ) -> T:
        self._batch += numbered
        number: list[Sending] = [(_NUMBER, (self._batch, self._epoch))] * numbered
        try:
            _, *cursors = link.flight([_BEGIN, *number, *sendings])
            if numbered:
                self._refuse_unknown(cursors.pop(0))
            return then(link, cursors)
        except BaseException as error:
            self._roll_back(link, error)
            raise

    def _refuse_unknown(self, numbered: Cursor[TupleRow]) -> None:
        if numbered.rowcount != 1:
            self._ended = "was replaced by another database while it was open: open the store again"
            raise StoreError(f"{self.name} {self._ended}")

    def _roll_back(self, link: Link, error: BaseException) -> None:
        if lost(link, error):
            link.close()
            return
        try:
            link.plain("ROLLBACK")
        except psycopg.Error:
            link.close()

    def _commit(self, link: Link, *, numbered: bool) -> None:
        try:
            done = link.plain("COMMIT")
        except psycopg.Error as error:
            if not lost(link, error):
                raise
            link.close()
            if not numbered:
                raise
            if not self._was_kept(error):
                raise self._address.error("lost the connection before the commit; nothing was kept", error) from error
            return
        if done != "COMMIT":
            raise StoreError(f"{self.name} rolled back instead of committing; nothing was kept")

    # ---- the writing connection

    def _writer(self) -> tuple[Link, bool]:
        """Return the writing connection, and whether it was made just now."""
        self._refuse_ended()
        link = self._link
        if link is not None and not link.closed:
            return link, False
        return self._reconnect()[0], True

    def _refuse_ended(self) -> None:
        if self._ended is not None:
            raise StoreError(f"{self.name} {self._ended}")

    def _reconnect(self) -> tuple[Link, int]:
        """Make a writing connection; return it, and the number of the last batch that was kept."""
        link = self._address.connect()
        try:
            if self._backend is not None:
                link.rows(_END_PREDECESSOR, *self._backend)
            found = link.rows(_LAST_BATCH, self._epoch)
        except psycopg.Error as error:
            link.close()
            raise self._address.error("cannot go on", error) from error
        self._link, self._backend = link, link.backend
        kept: int = found[0][0] if found else -1
        self._settle_doubt(kept)
        return link, kept

    def _settle_doubt(self, kept: int) -> None:
        if self._doubt is None:
            return
        if kept == self._doubt:
            # Whoever wrote it was told that it was not kept, and may have gone on from there.
            self._ended = "kept a batch of which it could not say so in time: open the store again"
            raise StoreError(f"{self.name} {self._ended}")
        self._doubt = None

    def _was_kept(self, error: psycopg.Error) -> bool:
        """Find out whether the last batch was kept, as soon as the server can be asked."""
        deadline = monotonic() + self._doubt_timeout
        pause = FIRST_PAUSE
        while True:
            with suppress(StoreError):
                return self._reconnect()[1] == self._batch
            # Not in step with others that lost the same server.
            nap = pause * random.uniform(0.5, 1.0)
            if monotonic() + nap > deadline or self._closing.wait(nap):
                break
            pause = min(2 * pause, LONGEST_PAUSE)
        self._doubt = self._batch
        what = "lost the connection in a commit, and cannot ask whether it was kept"
        raise self._address.error(what, error) from error

    # ---- care

    def tally(self) -> Tally:
        """Return how much of everything there is, as of one moment."""
        self._refuse_ended()
        return count_all(self._address)

    def verify(self) -> Sequence[str]:
        """Check the rows against each other."""
        self._refuse_ended()
        return verify(self._address)

    def vacuum(self) -> None:
        """Give unused space back, and bring the planner's figures up to date."""
        self._refuse_ended()
        vacuum(self._address)


def _nothing(_: Link, _cursors: Sequence[Cursor[TupleRow]]) -> None:
    pass


@final
class _Together:
    """Judges a batch that was written as a whole: every guard must have held."""

    def __init__(self, writes: Sequence[object], expected: Sequence[int]) -> None:
        self._writes = writes
        self._expected = expected

    def __call__(self, _: Link, cursors: Sequence[Cursor[TupleRow]]) -> Sequence[Exception | None]:
        if any(cursor.rowcount != n for cursor, n in zip(cursors, self._expected, strict=True) if n >= 0):
            raise Missed
        return [None] * len(self._writes)


@final
class _OneByOne:
    """Writes each write of a batch for itself, so that what is refused harms no other."""

    def __init__(self, writes: Sequence[Sequence[Row]], address: Address, epoch: int) -> None:
        self._writes = writes
        self._address = address
        self._epoch = epoch

    def __call__(self, link: Link, _: Sequence[Cursor[TupleRow]]) -> Sequence[Exception | None]:
        return [self._one(link, write) for write in self._writes]

    def _one(self, link: Link, write: Sequence[Row]) -> Exception | None:
        try:
            expected = _expected([write], self._epoch)
        except _UNFIT as error:
            return StoreError(f"{self._address.name} cannot keep such a value: {error}")
        except Missed:
            return _refusal(link, write, self._epoch)
        link.plain("SAVEPOINT one")
        try:
            cursors = link.flight([sending for sending, _ in expected])
            _Together([write], [n for _, n in expected])(link, cursors)
        except Missed:
            link.plain("ROLLBACK TO one")
            return _refusal(link, write, self._epoch)
        except _ROW_FAULTS as error:
            link.plain("ROLLBACK TO one")
            # What a later owner has written stands in the way of the same from an earlier one.
            refusal = _refusal(link, write, self._epoch)
            return refusal if isinstance(refusal, EpochLost) else self._address.error("cannot keep a row", error)
        link.plain("RELEASE one")
        return None


def _expected(writes: Sequence[Sequence[Row]], epoch: int) -> list[tuple[Sending, int]]:
    """Return what writes a batch, each with how many rows it must touch; -1: any number. Raises `Missed`."""
    keys = unguarded(writes)
    owned: list[tuple[Sending, int]] = [((_LOST, (*names_of(keys), epoch)), 0)] if keys else []
    return [*owned, *(one for put, rows in grouped(writes) for one in sendings(put, rows))]


def _refusal(link: Link, write: Sequence[Row], epoch: int) -> Exception:
    """Return why a guard of this write did not hold."""
    guards = [*owners(write), *((key, epoch) for key in unguarded([write]))]
    for key, needed in guards:
        found = link.rows("SELECT epoch FROM spaces WHERE kind = %s AND id = %s", *key)
        if found and found[0][0] > needed:
            return EpochLost(f"{key[0]} {key[1]!r} belongs to a later opening of the store")
    return VersionLost("what was to be changed is not there any more, or was changed by others")
