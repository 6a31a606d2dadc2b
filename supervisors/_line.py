"""One limit at work: its tokens, and the line of those who wait for one.

The order of the line is `_fair`'s, the choice of a victim `_held`'s; here tokens are counted and tasks are parked.
Whatever comes free is handed out at once. So a token is free only when nobody waits, and nobody overtakes the line.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Protocol, final

import trio
from attrs import evolve
from trio.lowlevel import (
    Abort,
    cancel_shielded_checkpoint,
    checkpoint_if_cancelled,
    current_task,
    enable_ki_protection,
    reschedule,
    wait_task_rescheduled,
)

from supervisors._capacity import (
    REMEMBERED_WAITS,
    CapacityError,
    CapacityQueueFull,
    CapacityRefused,
    CapacityTimeout,
    Limit,
    LimitStatistics,
    Priority,
    Waiter,
    WhenFull,
    wait_times,
)
from supervisors._fair import FairQueue
from supervisors._held import Holder, Holders

if TYPE_CHECKING:
    from collections.abc import Collection, Sized

# Seconds of waiting that one step of priority is worth. Longer than a call to a service usually takes, so that
# priorities count; short enough that the background work of a service that is always busy gets on while one watches.
AGEING = 10.0


class Line(Protocol):
    """What `Limits` needs of a limit at work. Internal: for layers above that count tokens in a way of their own."""

    @property
    def limit(self) -> Limit:
        """Its name and rules, as they are now."""
        ...

    @property
    def waiting(self) -> Sized:
        """Who waits, to be counted without looking at them."""
        ...

    def take_nowait(self) -> bool:
        """Take a token if one is free."""
        ...

    def give_back(self) -> None:
        """Give back a token that was taken or waited for."""

    async def wait(self, priority: Priority, fair_key: str | None, *, first: bool = False) -> None:
        """Get a token by the limit's rules, as `Limits.hold` does."""

    def refuse(self, reason: str) -> CapacityRefused:
        """Count that somebody got no token, and return the error that tells why."""
        ...

    def resize(self, tokens: int) -> None:
        """Change how many tokens there are."""

    def waiters(self) -> tuple[Waiter, ...]:
        """Return who waits, who is next first."""
        ...

    def statistics(self) -> LimitStatistics:
        """Return the figures; in a Trio task."""
        ...


@final
class Request:
    """One place in a line."""

    __slots__ = ("fair_key", "holder", "priority", "since", "task")

    def __init__(self, priority: Priority, fair_key: str | None, holder: Holder | None) -> None:
        self.priority = priority
        self.fair_key = fair_key
        # From whom the token may be taken away again.
        self.holder = holder
        self.since = trio.current_time()
        self.task = current_task()


@final
class TokenLine:
    """The line of one limit, and how many tokens are held. Also the way in for a layer above that needs no block.

    Who waits here is parked in Trio itself: an event for each would be most of what it costs.
    """

    __slots__ = ("_holders", "_owed", "_queue", "_refused", "_taken_away", "_waits", "held", "limit", "waiting")

    def __init__(self, limit: Limit, ageing: float = AGEING) -> None:
        self.limit = limit
        self.held = 0
        self._queue = FairQueue[Request](ageing)
        self.waiting: Collection[Request] = self._queue.waiting
        self._refused = 0
        self._taken_away = 0
        # Seconds that the last acquisitions waited.
        self._waits = deque[float](maxlen=REMEMBERED_WAITS)
        self._holders = Holders[Request]() if limit.preemptible else None
        # Urgent ones who wait and have no victim, because what came free would have been nobody's after a shrink.
        self._owed = dict[Request, None]()

    # ---- getting a token

    @enable_ki_protection
    def take_nowait(self, holder: Holder | None = None) -> bool:
        """Take a token if one is free; then nobody waits, for what comes free is handed out at once."""
        if self.held >= self.limit.tokens:
            return False
        self._take(holder, 0.0)
        return True

    @enable_ki_protection
    async def wait(
        self, priority: Priority, fair_key: str | None, *, first: bool = False, holder: Holder | None = None
    ) -> None:
        """Get a token by the limit's rules: at once, or in turn.

        Args:
            priority: how urgent it is.
            fair_key: with whom it shares its turns.
            first: be served before everybody who did not say so. For work that goes on and lent its token while it
                waited for something else: it is neither refused nor sent away, however long the line is and it lasts.
            holder: from whom the token may be taken away again; None: from nobody.

        Raises:
            CapacityRefused, CapacityQueueFull, CapacityTimeout: by the limit's rules.

        """
        await checkpoint_if_cancelled()
        if self.take_nowait(holder):
            await cancel_shielded_checkpoint()
            return
        request = Request(priority, fair_key, holder)
        if first:
            self._queue.enter(request, first=True)
            await self._park(request)
        else:
            try:
                self._enter(request)
            except CapacityError:
                # Who asks again and again lets others run all the same.
                await cancel_shielded_checkpoint()
                raise
            await self._wait_turn(request)
        try:
            # Who was cancelled in the moment of its grant lets somebody else have it at once.
            await checkpoint_if_cancelled()
        except BaseException:
            self.give_back(holder)
            raise

    async def _wait_turn(self, request: Request) -> None:
        patience = self.limit.wait_timeout
        if patience is None:
            await self._park(request)
            return
        with trio.CancelScope(deadline=request.since + patience) as scope:
            await self._park(request)
        if scope.cancelled_caught:
            self._refused += 1
            msg = f"limit {self.limit.name!r}: no token came in {patience} s, {len(self.waiting)} others wait"
            raise CapacityTimeout(msg)

    async def _park(self, request: Request) -> None:
        # Once it is granted, Trio does not call this any more: nobody gets a token who has left.
        def leave(_: object) -> Abort:
            self._queue.leave(request)
            self._owed.pop(request, None)
            return Abort.SUCCEEDED

        await wait_task_rescheduled(leave)

    def _enter(self, request: Request) -> None:
        """Join the line, and have somebody less urgent end if that is the limit's rule."""
        limit, line = self.limit, len(self.waiting)
        victim = self._victim_of(request)
        if victim is None and limit.when_full is WhenFull.REFUSE:
            raise self.refuse("no token is free, and its rule is to refuse")
        if limit.max_waiting is not None and line >= limit.max_waiting:
            self._refused += 1
            msg = f"limit {limit.name!r}: {line} wait already, and no more may (max_waiting={limit.max_waiting})"
            raise CapacityQueueFull(msg)
        self._queue.enter(request)
        if victim is not None:
            self._take_away(victim, request)
        elif self._holders is not None and request.priority is Priority.URGENT and self.held > limit.tokens:
            self._owed[request] = None

    def _victim_of(self, request: Request) -> Holder | None:
        # After a shrink what one holder gives back is nobody's: taking it away would help nobody.
        if self._holders is None or request.priority is not Priority.URGENT or self.held > self.limit.tokens:
            return None
        return self._holders.next_victim(request.priority)

    def _take_away(self, victim: Holder, request: Request) -> None:
        if self._holders is not None:
            self._taken_away += 1
            self._holders.take_from(victim, request)
            victim.take_away(self.limit.name, request.priority)

    def _pay_owed(self) -> None:
        """Have holders end for those who are owed it, once what they give back is somebody's again."""
        while self._owed and self.held <= self.limit.tokens:
            request = next(iter(self._owed))
            del self._owed[request]
            victim = self._victim_of(request) if request in self.waiting else None
            if victim is not None:
                self._take_away(victim, request)

    def refuse(self, reason: str) -> CapacityRefused:
        """Count that somebody got no token, and return the error that tells why."""
        self._refused += 1
        return CapacityRefused(f"limit {self.limit.name!r}: {reason} ({self.held} of {self.limit.tokens} tokens held)")

    # ---- handing tokens out

    @enable_ki_protection
    def give_back(self, holder: Holder | None = None) -> None:
        """Give a token back. One that was taken away goes to whom it was taken for, any other to who is next."""
        # Here already, so that who calls this in another thread than Trio's fails before anything is changed.
        now = trio.current_time() if self.waiting else 0.0
        heir = None if holder is None or self._holders is None else self._holders.remove(holder)
        self.held -= 1
        if heir is not None and heir in self.waiting and self.held < self.limit.tokens:
            self._queue.leave(heir)
            self._grant(heir, now)
        elif self.waiting:
            if heir is not None and heir in self.waiting:
                self._owed[heir] = None
            self._hand_out(now)
            self._pay_owed()

    def _hand_out(self, now: float) -> None:
        while self.waiting and self.held < self.limit.tokens:
            self._grant(self._queue.serve(), now)

    def _grant(self, request: Request, now: float) -> None:
        self._take(request.holder, now - request.since)
        reschedule(request.task)

    def _take(self, holder: Holder | None, waited: float) -> None:
        self.held += 1
        self._waits.append(waited)
        if holder is not None and self._holders is not None:
            self._holders.add(holder)

    @enable_ki_protection
    def resize(self, tokens: int) -> None:
        """Change how many tokens there are: more are handed out at once; who holds one keeps it."""
        # The limit refuses what cannot be.
        limit = evolve(self.limit, tokens=tokens)
        now = trio.current_time() if self.waiting else 0.0
        self.limit = limit
        self._hand_out(now)
        self._pay_owed()

    # ---- looking

    def waiters(self) -> tuple[Waiter, ...]:
        """Return the line in the order in which it would be served if nobody else came."""
        return tuple(
            Waiter(self.limit.name, request.fair_key, request.priority, position, request.since)
            for position, request in enumerate(self._queue.in_order(), start=1)
        )

    def statistics(self) -> LimitStatistics:
        """Return the figures; in a Trio task."""
        oldest = self._queue.oldest()
        return LimitStatistics(
            self.limit.tokens,
            self.held,
            len(self.waiting),
            0.0 if oldest is None else trio.current_time() - oldest.since,
            self._refused,
            self._taken_away,
            wait_times(self._waits),
        )
