"""Locks at work: named resources in one process, held for a while, alone or together.

`_lock_names` says which names exclude each other, `_lock_table` whose turn it is; here is the waiting, and the end of
leases. Nothing runs beside the tasks that hold and wait: a lease whose block ignores its cancellation is taken away by
one of those who wait, who all have a scope with a deadline anyway.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, AbstractContextManager
from itertools import islice
from math import inf, isfinite
from typing import TYPE_CHECKING, cast, final

import trio
from trio.lowlevel import Abort, current_task, enable_ki_protection, reschedule, wait_task_rescheduled

from supervisors._async_only import AsyncOnly, SyncOnly
from supervisors._capacity import CapacityRefused, CapacityTimeout, LeaseExpired
from supervisors._lock_names import claims_of
from supervisors._lock_port import HeldLock, LockCycle, LockWaiter
from supervisors._lock_table import Ends, LockTable, Request
from supervisors._spec import check_name, check_seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import TracebackType

    from supervisors._lock_names import Claim
    from supervisors._lock_port import Lease

# How many others a waiter is shown to wait for: who wants to know more looks at those.
SHOWN = 30


def check_ttl(ttl: object) -> None:
    """Refuse a time to live that is no number, nothing or for ever."""
    check_seconds("ttl", ttl)
    if not ttl or not isfinite(cast("float", ttl)):
        raise ValueError(f"ttl must be more than 0 seconds and not for ever (who dies holds up others), not {ttl!r}")


@final
class _Asked(Request):
    """A request with what its task needs: its scope while it waits, its times, and then its lease."""

    __slots__ = ("alarm", "ends_at", "give_up", "holder", "parked", "scope", "since", "task", "token", "ttl")

    def __init__(self, claims: tuple[Claim, ...], holder: str | None, ttl: float | None) -> None:
        task = current_task()
        super().__init__(claims, task)
        self.task = task
        self.holder = holder or task.name
        # Since it waits, or has what it wanted.
        self.since = trio.current_time()
        self.ttl = inf if ttl is None else ttl
        self.ends_at = inf
        self.token = 0
        # While it waits: whether its task sleeps, when it stops, and what wakes it.
        self.parked = False
        self.give_up = inf
        self.alarm: trio.CancelScope | None = None
        # Ends the block with the lease.
        self.scope = trio.CancelScope()

    def unpark(self, _: object) -> Abort:
        # It may be granted between this and its next step: then nobody has to wake it any more.
        self.parked = False
        return Abort.SUCCEEDED

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.claims)

    @property
    def shared(self) -> tuple[str, ...]:
        return tuple(name for name, shared in self.claims if shared)


@final
class _HeldLease:
    """The lease of locks in memory."""

    __slots__ = ("_asked", "_locks")

    def __init__(self, locks: Locks, asked: _Asked) -> None:
        self._locks = locks
        self._asked = asked

    def __repr__(self) -> str:
        return f"<lease of {_quoted(self.names)}, token {self.token}>"

    @property
    def names(self) -> tuple[str, ...]:
        return self._asked.names

    @property
    def token(self) -> int:
        return self._asked.token

    @property
    def seconds_left(self) -> float:
        return max(0.0, self._asked.ends_at - trio.current_time()) if self._asked.held else 0.0

    @enable_ki_protection
    async def extend(self, ttl: float) -> None:
        check_ttl(ttl)
        await trio.lowlevel.checkpoint_if_cancelled()
        self._locks._extend(self._asked, ttl)
        await trio.lowlevel.cancel_shielded_checkpoint()


@final
class _Hold(AsyncOnly, AbstractAsyncContextManager["Lease", "bool | None"]):
    """The way into a block that holds locks, and out of it."""

    __slots__ = ("_asked", "_claims", "_holder", "_locks", "_timeout", "_ttl")

    def __init__(
        self, locks: Locks, claims: tuple[Claim, ...], holder: str | None, ttl: float | None, timeout: float | None
    ) -> None:
        self._locks = locks
        self._claims = claims
        self._holder = holder
        self._ttl = ttl
        self._timeout = timeout
        self._asked: _Asked | None = None

    @enable_ki_protection
    async def __aenter__(self) -> Lease:
        if self._asked is not None:
            raise RuntimeError("this hold() was entered before: call hold() again for each block")
        self._asked = asked = _Asked(self._claims, self._holder, self._ttl)
        await self._locks._acquire(asked, self._timeout)
        return _begin(self._locks, asked)

    @enable_ki_protection
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return _end(self._locks, self._asked, kind, error, traceback)


@final
class _HoldNow(SyncOnly, AbstractContextManager["Lease", "bool | None"]):
    """The same for who does not wait."""

    __slots__ = ("_asked", "_claims", "_holder", "_locks", "_ttl")

    def __init__(self, locks: Locks, claims: tuple[Claim, ...], holder: str | None, ttl: float | None) -> None:
        self._locks = locks
        self._claims = claims
        self._holder = holder
        self._ttl = ttl
        self._asked: _Asked | None = None

    @enable_ki_protection
    def __enter__(self) -> Lease:
        if self._asked is not None:
            raise RuntimeError("this hold_nowait() was entered before: call hold_nowait() again for each block")
        self._asked = asked = _Asked(self._claims, self._holder, self._ttl)
        self._locks._acquire_nowait(asked)
        return _begin(self._locks, asked)

    @enable_ki_protection
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return _end(self._locks, self._asked, kind, error, traceback)


def _begin(locks: Locks, asked: _Asked) -> Lease:
    if not asked.held:
        # The loop stood still from the grant until the lease was over, and others have the lock by now.
        raise LeaseExpired(f"the lock {_quoted(asked.names)} ended before the block began: ask for a longer ttl")
    asked.scope.deadline = asked.ends_at
    asked.scope.__enter__()
    return _HeldLease(locks, asked)


def _end(
    locks: Locks,
    asked: _Asked | None,
    kind: type[BaseException] | None,
    error: BaseException | None,
    traceback: TracebackType | None,
) -> bool | None:
    assert asked is not None  # noqa: S101 - Python enters before it leaves
    kept = asked.held
    try:
        asked.scope.__exit__(kind, error, traceback)
    finally:
        locks._leave(asked)
    if asked.scope.cancelled_caught or (error is None and not kept):
        told = f"the lock {_quoted(asked.names)} ended before the block did: ask for a longer ttl, or extend it"
        raise LeaseExpired(told) from None
    return False


@final
class Locks:
    """Named locks for all tasks of one process: files, directories, services, anything with a name.

    When you would want it: several agents work on one tree of files, or with one device, and some of it may be read by
    many but changed by one only. Names are texts. A name with `dir:` covers all paths below it: `dir:src` excludes
    `file:src/a.py` and `dir:src/lib` (never `file:/home/src`: relative and absolute paths are not compared). Any other
    name, such as `service:db` or `order:7`, is only itself.

    Who waits is served in the order of asking, except that nobody waits for those with whom it can share: a writer
    who waits holds up readers who come later.

    A lease with a `ttl` ends. Its block is cancelled then, and others get the locks when it has really ended; or, if it
    ignores its cancellation, `grace` seconds after the lease. From that moment two may believe that they hold the lock,
    and only `Lease.token` tells them apart.

    Args:
        grace: seconds that a block may take to end after its lease. 0: others never wait longer than the lease lasts,
            but may begin while the late block still cleans up. `math.inf`: never two at once, however long it takes.

    """

    def __init__(self, *, grace: float = 1.0) -> None:
        check_seconds("grace", grace)
        self._grace = grace
        self._table = LockTable()
        self._ends = Ends()
        # One sequence for all names, so that it rises for each of them.
        self._tokens = 0

    def hold(
        self,
        *names: str,
        shared: Iterable[str] = (),
        ttl: float | None = None,
        timeout: float | None = None,
        holder: str | None = None,
    ) -> AbstractAsyncContextManager[Lease, bool | None]:
        """Hold locks while the block runs, all of them or none; waits its turn.

        All are taken at the same moment, so that those who want several never wait for each other in a ring. A task
        that holds some already may ask for more; better ask for all at once.

        Args:
            names: what to hold alone.
            shared: what to hold together with others who share it.
            ttl: seconds after which the lease ends and the block is cancelled; None: when the block ends.
            timeout: seconds to wait; 0 tries once, None waits for ever.
            holder: who it is, for `held()`, `waiting()` and errors; the name of the task by default.

        Raises:
            CapacityTimeout: not to be had in time.
            LeaseExpired: the lease ended before the block did.
            LockCycle: it would have to wait for itself: for what this task holds, or for others who wait for that.
            TypeError, ValueError: for what is no name of a lock, or no time.

        """
        _check(ttl, holder)
        if timeout is not None:
            check_seconds("timeout", timeout)
        return _Hold(self, claims_of(names, shared), holder, ttl, timeout)

    def hold_nowait(
        self, *names: str, shared: Iterable[str] = (), ttl: float | None = None, holder: str | None = None
    ) -> AbstractContextManager[Lease, bool | None]:
        """Hold locks while the block runs, or raise `CapacityRefused` at once; a plain context manager.

        Everything else is as with `hold`; it has to be entered and left in one task.
        """
        _check(ttl, holder)
        return _HoldNow(self, claims_of(names, shared), holder, ttl)

    def held(self) -> tuple[HeldLock, ...]:
        """Return what is held, in the order in which it was got; call it in a Trio task."""
        now = trio.current_time()
        return tuple(
            HeldLock(asked.names, asked.shared, asked.holder, asked.token, asked.since, max(0.0, asked.ends_at - now))
            for asked in _ours(self._table.held)
        )

    def waiting(self) -> tuple[LockWaiter, ...]:
        """Return who waits, in the order in which they are served, and for whom: the wait graph."""
        return tuple(
            LockWaiter(asked.names, asked.shared, asked.holder, asked.since, self._waits_for(asked))
            for asked in _ours(self._table.in_line())
        )

    def _waits_for(self, asked: _Asked) -> tuple[str, ...]:
        names = dict.fromkeys(other.holder for other in islice(_ours(self._table.blockers(asked)), 2 * SHOWN))
        return tuple(names)[:SHOWN]

    # ---- getting

    async def _acquire(self, asked: _Asked, timeout: float | None) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._ask(asked):
            await trio.lowlevel.cancel_shielded_checkpoint()
            return
        # A single try never waits, so it cannot wait for itself.
        self._enter(asked, may_ring=timeout == 0)
        try:
            await self._wait(asked, timeout)
        except BaseException:
            self._leave(asked)
            raise

    def _acquire_nowait(self, asked: _Asked) -> None:
        if not self._ask(asked):
            raise CapacityRefused(f"the lock {_quoted(asked.names)} is not to be had now: {self._reason(asked)}")

    def _ask(self, asked: _Asked) -> bool:
        self._take_away_late()
        if not self._table.ask(asked):
            return False
        self._granted(asked)
        return True

    def _enter(self, asked: _Asked, *, may_ring: bool) -> None:
        ring = self._table.enter(asked, may_ring=may_ring)
        if ring:
            raise LockCycle(_told(tuple(_ours(ring))))

    async def _wait(self, asked: _Asked, timeout: float | None) -> None:
        asked.give_up = inf if timeout is None else asked.since + timeout
        while True:
            with trio.CancelScope(deadline=asked.give_up) as asked.alarm:
                self._set_alarm()
                asked.parked = True
                await wait_task_rescheduled(asked.unpark)
            if not asked.held:
                self._take_away_late()
            if asked.token:
                return  # granted; or even lost again by now, and in no line any more
            if trio.current_time() >= asked.give_up:
                told = f"the lock {_quoted(asked.names)} was not to be had within {timeout} s: {self._reason(asked)}"
                raise CapacityTimeout(told)

    def _granted(self, asked: _Asked) -> None:
        self._tokens += 1
        asked.token = self._tokens
        asked.since = trio.current_time()
        self._set_end(asked, asked.ttl)
        if asked.parked:
            asked.parked = False
            reschedule(asked.task)

    def _reason(self, asked: _Asked) -> str:
        for other in _ours(self._table.blockers(asked)):
            return f"{other.holder!r} {'holds' if other.held else 'waits before for'} {_quoted(other.names)}"
        return "it came free at this moment"

    # ---- giving back

    def _leave(self, asked: _Asked) -> None:
        for other in _ours(self._table.leave(asked)):
            self._granted(other)
        self._set_alarm()

    # ---- ends of leases

    def _set_end(self, asked: _Asked, ttl: float) -> None:
        asked.ends_at = trio.current_time() + ttl
        asked.over_at = asked.ends_at + self._grace
        self._ends.note(asked, self._table.held)

    def _extend(self, asked: _Asked, ttl: float) -> None:
        # A scope that was cancelled stays so, even if nobody has taken the lock yet.
        if not asked.held or asked.scope.cancel_called:
            asked.scope.cancel()
            raise LeaseExpired(f"the lock {_quoted(asked.names)} had ended before it was extended")
        self._set_end(asked, ttl)
        asked.scope.deadline = asked.ends_at
        self._set_alarm()

    def _take_away_late(self) -> None:
        """Take back leases that are over, and whose blocks have not ended in time."""
        now = trio.current_time()
        while self._ends.next() <= now:
            self._leave(cast("_Asked", self._ends.take()))

    def _set_alarm(self) -> None:
        """Have one of those who wait wake up when the next lease is over."""
        if not self._table.waiting:
            return
        first = cast("_Asked", next(iter(self._table.waiting)))
        # One that does not sleep yet will look itself before it does.
        if first.alarm is not None:
            first.alarm.deadline = min(first.give_up, self._ends.next())


def _check(ttl: float | None, holder: str | None) -> None:
    if ttl is not None:
        check_ttl(ttl)
    if holder is not None:
        check_name("holder", holder)


def _ours(requests: Iterable[Request]) -> Iterable[_Asked]:
    # The table knows less of them than is here.
    return cast("Iterable[_Asked]", requests)


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))


def _told(ring: Sequence[_Asked]) -> str:
    way = ", ".join(f"{one.holder!r} {'holds' if one.held else 'waits for'} {_quoted(one.names)}" for one in ring)
    return f"{ring[0].holder!r} would wait for ever: {way}; ask for all at once in one hold()"
