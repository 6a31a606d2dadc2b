"""What locks look like from outside, whoever keeps them: the port, and what is told of holders and waiters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, final

from attrs import frozen

from supervisors._capacity import CapacityError

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager


class Lease(Protocol):
    """The right to something by name, for a while: what `hold` gives."""

    @property
    def names(self) -> tuple[str, ...]:
        """What is held, sorted."""
        ...

    @property
    def token(self) -> int:
        """The fencing token: higher than that of every earlier lease of each of the names.

        Send it with each write to what the lock guards, and have the write refused if a higher one was there: that
        keeps out a holder whose lease has ended without its noticing.
        """
        ...

    @property
    def seconds_left(self) -> float:
        """How long the lease lasts from now, unless it is extended."""
        ...

    async def extend(self, ttl: float) -> None:
        """Have the lease end so many seconds from now, sooner or later than it would have.

        Raises:
            LeaseExpired: it ended already.

        """


class LockPort(Protocol):
    """What code needs that locks names and does not care who keeps the locks: `Locks`, `PostgresLocks`, your own.

    Write your functions for this one, and hand them `Locks` in tests and in a program of one process, `PostgresLocks`
    in one of many. Shared locks and directories are no part of it: not everyone who can keep locks has them.
    """

    def hold(
        self, *names: str, ttl: float, timeout: float | None = None
    ) -> AbstractAsyncContextManager[Lease, bool | None]:
        """Hold locks while the block runs, all of them or none, for at most `ttl` seconds.

        Raises:
            CapacityTimeout: not to be had in `timeout` seconds (0 tries once, None waits for ever).
            LeaseExpired: the lease ended before the block did.

        """
        ...


@final
@frozen
class HeldLock:
    """Locks that are held: by whom, since when (seconds of Trio's clock), for how much longer (may be infinite).

    `names` are all of them, `shared` those that others may hold too. 0 seconds are left to a lease that has ended while
    its block has not.
    """

    names: tuple[str, ...]
    shared: tuple[str, ...]
    holder: str
    token: int
    since: float
    seconds_left: float


@final
@frozen
class LockWaiter:
    """Somebody who waits for locks, since when, and for whom: the holders, then those who were there before.

    `waits_for` names each of them once, at most thirty.
    """

    names: tuple[str, ...]
    shared: tuple[str, ...]
    holder: str
    since: float
    waits_for: tuple[str, ...]


class LockCycle(CapacityError, RuntimeError):
    """Somebody would wait for what it holds itself, over however many others: it would wait for ever."""
