"""Rates: so many permits per period, on Trio's clock, first come, first served."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import TYPE_CHECKING, TypeVar, final

import trio
from attrs import define, field, frozen
from trio.lowlevel import cancel_shielded_checkpoint, checkpoint_if_cancelled, current_clock, enable_ki_protection

from supervisors._async_only import AsyncOnly
from supervisors._bucket import Bucket
from supervisors._capacity import CapacityError, CapacityQueueFull, CapacityRefused, CapacityTimeout
from supervisors._checks import check_span, check_whole, is_whole
from supervisors._refusal import refusal
from supervisors._spec import check_name, check_seconds

if TYPE_CHECKING:
    from types import TracebackType

E = TypeVar("E", bound=CapacityError)


@final
@frozen
class RateStatistics:
    """One rate at one moment.

    `available` permits (below zero: debt); `oldest_wait` in seconds; `refused` since it was made, timeouts included.
    """

    permits: int
    per: float
    burst: int
    available: int
    waiting: int
    oldest_wait: float
    refused: int


@define(eq=False)
class _Waiter:
    """One place in the line."""

    n: int
    since: float
    # When it gives up.
    expires: float
    # When its permits are there, known of the one in front only.
    due: float = math.inf
    # Whether its permits were spent for it: from then on they have to be given back.
    granted: bool = False
    turn: trio.Event = field(factory=trio.Event)
    scope: trio.CancelScope = field(factory=trio.CancelScope)

    @property
    def wakes(self) -> float:
        return min(self.due, self.expires)

    def expect(self, due: float) -> None:
        self.due = due
        self.scope.deadline = self.wakes


@final
class RateLimit(AsyncOnly):
    """At most `permits` per `per` seconds, and up to `burst` at once after a quiet time.

    Take one where a provider counts requests or tokens per minute. It counts beginnings, where a `Limit` counts what is
    going on; a call may need both: `Limits([Limit("openai", 5), RateLimit("openai-rpm", 500, per=60)])`.

        tokens = RateLimit("openai-tpm", 90_000, per=60, burst=9_000)
        await tokens.take(estimate)                 # waits its turn
        answer = await ask(prompt)
        tokens.adjust(answer.tokens - estimate)     # what it really was

    In any `t` seconds at most `burst + permits * t / per` are taken (and what `adjust` gave back). Those who wait are
    served in the order in which they came, so that a large request is not starved by small ones. It serves one run of
    Trio at a time, and is full at the beginning of each.

    Args:
        name: shown in errors, and its name among `Limits`.
        permits: how many per period.
        per: the period in seconds.
        burst: how many at once at most; None: as many as `permits`.
        max_waiting: how many may wait (None: no bound); one more gets `CapacityQueueFull`.
        wait_timeout: how many seconds one waits (None: for ever) before `CapacityTimeout`.
    """

    def __init__(
        self,
        name: str,
        permits: int,
        *,
        per: float = 1.0,
        burst: int | None = None,
        max_waiting: int | None = None,
        wait_timeout: float | None = None,
    ) -> None:
        check_name("the name of a rate", name)
        self._name = name
        self._max_waiting = max_waiting
        self._wait_timeout = wait_timeout
        self._burst: int | None = burst
        self._measures = self._checked(permits, per, burst)
        if max_waiting is not None:
            check_whole(f"max_waiting of rate {name!r}", max_waiting, least=0)
        if wait_timeout is not None:
            check_seconds(f"wait_timeout of rate {name!r}", wait_timeout)
        # None until it is first used: a rate may be made before Trio runs, where there is no clock yet.
        self._bucket: Bucket | None = None
        # By whose time the bucket is filled: each run of Trio has a clock of its own, and they have no zero in common.
        self._clock: trio.abc.Clock | None = None
        # In the order in which they came; a plain dict is slow at its front once much was taken from there.
        self._line: OrderedDict[_Waiter, None] = OrderedDict()
        # The permits that those in line want.
        self._wanted = 0
        self._refused = 0

    def __repr__(self) -> str:
        permits, per, burst = self._measures
        return f"<RateLimit {self._name!r}, {permits} per {per:g} s, burst {burst}, {len(self._line)} waiting>"

    def _checked(self, permits: int, per: float, burst: int | None) -> tuple[int, float, int]:
        of = f"of rate {self._name!r}"
        check_whole(f"permits {of}", permits, least=1)
        span = check_span(f"per {of}", per)
        return permits, span, permits if burst is None else check_whole(f"burst {of}", burst, least=1)

    # ---- looking

    @property
    def name(self) -> str:
        """Its name."""
        return self._name

    @property
    def available(self) -> int:
        """How many permits are there now; below zero is debt. Ask it in a Trio task."""
        now = trio.current_time()
        return self._filled(now).level(now)

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return len(self._line)

    def statistics(self) -> RateStatistics:
        """Return the figures; call it in a Trio task."""
        now = trio.current_time()
        oldest = next((now - waiter.since for waiter in self._line), 0.0)
        return RateStatistics(*self._measures, self._filled(now).level(now), len(self._line), oldest, self._refused)

    # ---- taking

    @enable_ki_protection
    async def take(self, n: int = 1) -> None:
        """Take `n` permits; waits for them, and for its turn. Who is cancelled meanwhile has taken none.

        Raises `CapacityQueueFull` and `CapacityTimeout` by the rate's rules, `ValueError` if `n` is more than `burst`.
        """
        self._check_request(n)
        await checkpoint_if_cancelled()
        now = trio.current_time()
        if self._take_at(now, n):
            await cancel_shielded_checkpoint()
            return
        waiter = self._enter(now, n)
        try:
            await self._wait_turn(waiter)
        except BaseException:
            self._leave(waiter)
            raise

    @enable_ki_protection
    def take_nowait(self, n: int = 1) -> None:
        """Take `n` permits now, or raise `CapacityRefused`, whose `retry_after` says in how many seconds they come.

        It overtakes nobody: while others wait it is refused. Raises `ValueError` if `n` is more than `burst`.
        """
        self._check_request(n)
        now = trio.current_time()
        if not self._take_at(now, n):
            self._refused += 1
            raise self._refusal(CapacityRefused, now, n, f"{_permits(n)} not to be had now")

    async def __aenter__(self) -> None:
        """Take one permit: `async with rate: ...`."""
        await self.take()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the block; what was spent stays spent."""

    # ---- changing

    @enable_ki_protection
    def adjust(self, n: int) -> None:
        """Say that `n` permits more were used than were taken, or fewer if `n` is below zero.

        More may put the rate into debt: then nobody takes any until it is paid off. Fewer come back, up to `burst`.
        """
        if not is_whole(n):
            msg = f"adjust({n!r}): give a whole number, such as used - taken"
            raise TypeError(msg)
        now = trio.current_time()
        self._bucket = self._filled(now).adjusted(now, n)
        self._serve(now)

    @enable_ki_protection
    def resize(self, permits: int, *, per: float | None = None, burst: int | None = None) -> None:
        """Change the rate from now on; None leaves the period as it is, and the burst as it was given.

        A burst that was never given is `permits` again. What is there stays, as far as it fits; nothing is added.
        """
        given = self._burst if burst is None else burst
        measures = self._checked(permits, self._measures[1] if per is None else per, given)
        now = trio.current_time()
        self._bucket = self._filled(now).resized(now, *measures)
        self._measures, self._burst = measures, given
        self._serve(now)

    # ---- the line

    def _check_request(self, n: int) -> None:
        check_whole(f"the number of permits taken from rate {self._name!r}", n, least=1)
        if n > self._measures[2]:
            msg = f"rate {self._name!r}: {n} permits are never there at once: take fewer, or give it burst={n}"
            raise ValueError(msg)

    def _filled(self, now: float) -> Bucket:
        clock = current_clock()
        if self._bucket is None or self._clock is not clock:
            self._bucket, self._clock = Bucket(*self._measures, full_at=now), clock
        return self._bucket

    def _take_at(self, now: float, n: int) -> bool:
        if self._line:
            # Those in front may be due this very moment, and not have run yet.
            self._serve(now)
        if self._line or (after := self._filled(now).take(now, n)) is None:
            return False
        self._bucket = after
        return True

    def _enter(self, now: float, n: int) -> _Waiter:
        if self._max_waiting is not None and len(self._line) >= self._max_waiting:
            self._refused += 1
            why = f"{len(self._line)} wait already, and no more may (max_waiting={self._max_waiting})"
            raise self._refusal(CapacityQueueFull, now, n, why)
        waiter = _Waiter(n, now, now + (math.inf if self._wait_timeout is None else self._wait_timeout))
        self._line[waiter] = None
        self._wanted += n
        self._serve(now)
        return waiter

    async def _wait_turn(self, waiter: _Waiter) -> None:
        while not waiter.granted:
            waiter.scope = trio.CancelScope(deadline=waiter.wakes)
            with waiter.scope:
                await waiter.turn.wait()
            if not waiter.granted:
                self._wake(waiter, trio.current_time())

    def _wake(self, waiter: _Waiter, now: float) -> None:
        """The clock came first: either its permits are there now, or it has waited for too long."""
        self._serve(now)
        if waiter.granted or now < waiter.expires:
            return
        self._refused += 1
        self._remove(waiter)
        why = f"{_permits(waiter.n)} did not come in {self._wait_timeout:g} s, {len(self._line)} others wait"
        raise self._refusal(CapacityTimeout, now, waiter.n, why)

    def _serve(self, now: float) -> None:
        """Give those in front their permits, as far as these are there, and set the clock for the next."""
        bucket = self._filled(now)
        while self._line:
            waiter = next(iter(self._line))
            after = bucket.take(now, waiter.n)
            if after is None:
                waiter.expect(bucket.due(now, min(waiter.n, bucket.burst)))
                break
            bucket = after
            self._remove(waiter)
            waiter.granted = True
            waiter.turn.set()
        self._bucket = bucket

    def _leave(self, waiter: _Waiter) -> None:
        """Leave the line, or give back what was granted in the moment of leaving; those behind move up."""
        now = trio.current_time()
        if waiter.granted:
            self._bucket = self._filled(now).adjusted(now, -waiter.n)
        elif waiter in self._line:
            self._remove(waiter)
        self._serve(now)

    def _remove(self, waiter: _Waiter) -> None:
        del self._line[waiter]
        self._wanted -= waiter.n

    def _refusal(self, kind: type[E], now: float, n: int, why: str) -> E:
        """Return the error of a request for which there is no place in line now, but behind those who wait."""
        permits, per, _ = self._measures
        due = self._filled(now).due(now, self._wanted + n)
        return refusal(kind, f"rate {self._name!r}: {why} ({permits} per {per:g} s)", now, due)


def _permits(n: int) -> str:
    return "1 permit" if n == 1 else f"{n} permits"
