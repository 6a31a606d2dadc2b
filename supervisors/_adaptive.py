"""Limits that find their own size: calls are timed, windows of them judged by a rule, and the limit resized."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, final

import trio
from trio.lowlevel import enable_ki_protection

from supervisors._adapting import AdaptiveState, Gradient, Window
from supervisors._async_only import AsyncOnly
from supervisors._capacity import Priority, UnknownLimit
from supervisors._checks import check_whole
from supervisors._failures import failure_test
from supervisors._limits import Limits
from supervisors._spec import check_name, check_seconds

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

    from supervisors._adapting import AdaptiveRule
    from supervisors._failures import Counts

# A window of a larger limit than this needs no more calls to be judged.
ENOUGH_CALLS = 100


def _check_limit(limits: object, name: str) -> None:
    if not isinstance(limits, Limits):
        msg = f"the first argument is the Limits that {name!r} is one of, such as runtime.limits, not {limits!r}"
        raise TypeError(msg)
    limits.waiting(name)  # raises UnknownLimit
    try:
        limits.line(name)
    except UnknownLimit:
        msg = f"{name!r} is a RateLimit, which says itself how much is allowed: an adaptive limit needs a Limit"
        raise TypeError(msg) from None


def _check_rule(rule: object) -> None:
    if rule is not None and (isinstance(rule, type) or not callable(getattr(rule, "adapt", None))):
        msg = f"rule must be Gradient(), Aimd(...), or an object with a method adapt(state, sample), not {rule!r}"
        raise TypeError(msg)


@final
class AdaptiveLimit:
    """Lets one limit of `Limits` find its own size, for a service whose capacity nobody knows.

        limits = Limits([Limit("openai", 10)])              # where it starts
        openai = AdaptiveLimit(limits, "openai", floor=1, ceiling=200, rule=Gradient())

        async with openai.hold():
            answer = await ask(prompt)

    It measures how long each block lasts and whether it failed, and asks its rule after each window of calls. A call
    that began before the last change of the size says nothing about the present one, and is left out. While fewer
    tokens are in use than there are, the size does not grow.

    A call that is cancelled is left out as well, unless it had lasted longer than usual already: else a timeout set
    around the block would hide an overload. The same holds for errors that do not count.

    The size belongs to it: what `Limits.resize` sets is overridden by the next change. Whoever holds the limit without
    it is not measured, unless inside `measure`.

    Args:
        limits: where the limit is.
        name: the name of the limit; its tokens are the first size.
        floor: the smallest size.
        ceiling: the largest size.
        rule: `Gradient()` (the default), `Aimd(...)`, or a rule of your own.
        counts: which errors are failures: an exception class, several, or a function of the exception, as for
            `CircuitBreaker`.
        samples: how many calls a window has at least; it has as many as the limit has tokens, if that is more (up to
            100).
        window: how many seconds a window lasts at least.
    """

    def __init__(
        self,
        limits: Limits,
        name: str,
        *,
        floor: int = 1,
        ceiling: int = 200,
        rule: AdaptiveRule | None = None,
        counts: Counts = Exception,
        samples: int = 20,
        window: float = 1.0,
    ) -> None:
        check_name("the name of a limit", name)
        of = f"of the adaptive limit {name!r}"
        check_whole(f"floor {of}", floor, least=1)
        check_whole(f"ceiling {of}", ceiling, least=floor)
        check_whole(f"samples {of}", samples, least=1)
        check_seconds(f"window {of}", window)
        self._limits = limits
        self._name = name
        self._rule = Gradient() if rule is None else rule
        self._is_failure = failure_test(f"counts {of}", counts)
        _check_limit(limits, name)
        _check_rule(rule)
        self._samples = samples
        self._seconds = window
        # The tokens before its first use are those of the limit, whose statistics need Trio's clock.
        self._state: AdaptiveState | None = None
        self._floor, self._ceiling = floor, ceiling
        self._window = Window(0.0, samples)
        # Which window it is, counted from 0.
        self._windows = 0
        # How long a typical call of the last window took.
        self._typical: float | None = None
        self._in_use = 0

    def __repr__(self) -> str:
        return f"<AdaptiveLimit {self._name!r}, {self._in_use} in use, from {self._floor} to {self._ceiling}>"

    @property
    def name(self) -> str:
        """The name of the limit."""
        return self._name

    @property
    def state(self) -> AdaptiveState:
        """Where its rule stands, `state.tokens` being the present size. Ask it in a Trio task."""
        if self._state is None:
            self._state = self._begin(trio.current_time())
        return self._state

    def hold(
        self, *, priority: Priority = Priority.NORMAL, fair_key: str | None = None
    ) -> AbstractAsyncContextManager[None]:
        """Hold one token during the block, which should be the call and nothing else; waits its turn.

        Waiting is not measured. Raises what `Limits.hold` raises.
        """
        return _Hold(self, self._limits.hold(self._name, priority=priority, fair_key=fair_key))

    def measure(self) -> AbstractAsyncContextManager[None]:
        """Measure the block, which holds a token already: for what holds limits in a way of its own, such as actors.

        Write `async with self.limits.hold("openai"), openai.measure(): ...`.
        """
        return _Hold(self, nullcontext())

    def _begin(self, now: float) -> AdaptiveState:
        tokens = self._limits.statistics()[self._name].tokens
        state = AdaptiveState(float(tokens), self._floor, self._ceiling).sized(tokens)
        self._open_window(state, now)
        if state.tokens != tokens:
            self._limits.resize(self._name, state.tokens)
        return state

    def _open_window(self, state: AdaptiveState, now: float) -> None:
        self._window = Window(now, max(self._samples, min(state.tokens, ENOUGH_CALLS)))
        self._windows += 1

    def _began(self, now: float) -> tuple[int, bool]:
        """Note that a block began; return in which window, and whether it is one of those that count there."""
        if now < self._window.began:
            # An earlier run of Trio opened it, by a clock of its own.
            self._open_window(self.state, now)
        self._in_use += 1
        counts = not self._window.is_complete
        if counts:
            self._window = self._window.joined(self._in_use)
        return self._windows, counts

    @enable_ki_protection
    def _ended(self, ticket: tuple[int, bool], seconds: float, error: BaseException | None) -> None:
        """Note that a block ended, which had got this ticket when it began, and lasted so many seconds."""
        self._in_use -= 1
        window, counts = ticket
        if window != self._windows:
            return
        self._window = self._heard(seconds, error) if counts else self._window.passed()
        now = trio.current_time()
        if self._window.is_over(now, self._seconds):
            self._judge(self.state, now)

    def _heard(self, seconds: float, error: BaseException | None) -> Window:
        if error is None:
            return self._window.succeeded(seconds)
        if self._is_failure(error):
            return self._window.broke()
        # Cut off: it would have lasted longer still.
        is_long = self._typical is not None and seconds > self._typical
        return self._window.succeeded(seconds) if is_long else self._window.told_nothing()

    def _judge(self, state: AdaptiveState, now: float) -> None:
        sample = self._window.sample(state.tokens)
        if sample.calls >= self._window.void:
            self._typical = self._typical if sample.seconds is None else sample.seconds
            self._state = self._rule.adapt(state, sample)
        self._open_window(self.state, now)
        if self.state.tokens != state.tokens:
            self._limits.resize(self._name, self.state.tokens)


@final
class _Hold(AsyncOnly):
    """One block of an adaptive limit."""

    __slots__ = ("_began", "_hold", "_owner", "_ticket")

    def __init__(self, owner: AdaptiveLimit, hold: AbstractAsyncContextManager[None]) -> None:
        self._owner = owner
        self._hold = hold
        self._began = 0.0
        self._ticket = (0, False)

    @enable_ki_protection
    async def __aenter__(self) -> None:
        # The first use brings the limit between floor and ceiling.
        _ = self._owner.state
        await self._hold.__aenter__()
        self._began = trio.current_time()
        self._ticket = self._owner._began(self._began)

    @enable_ki_protection
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        try:
            # Before the token is given back, so that a size which shrinks now is not overrun first.
            self._owner._ended(self._ticket, trio.current_time() - self._began, error)
        except BaseException as failed:
            await self._hold.__aexit__(type(failed), failed, failed.__traceback__)
            raise
        return await self._hold.__aexit__(kind, error, trace)
