"""Limits at work: tokens held, lines of those who wait."""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, final

import trio
from attrs import define, evolve, field

from supervisors._capacity import (
    CapacityQueueFull,
    CapacityRefused,
    CapacityTimeout,
    Limit,
    LimitStatistics,
    Priority,
    UnknownLimit,
    Waiter,
    WhenFull,
    check_tokens,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Iterable, Mapping


@define(eq=False)
class _Request:
    """One place in one line."""

    priority: Priority
    fair_key: str | None
    since: float
    # Whether its token was taken for it: from then on it has to be given back.
    granted: bool = False
    turn: trio.Event = field(factory=trio.Event)


@define(eq=False)
class _Line:
    """One limit with its tokens and its line; all of it is sync."""

    limit: Limit
    held: int = 0
    refused: int = 0
    # In the order in which they get tokens: by priority, then as they came.
    waiting: list[_Request] = field(factory=list[_Request])

    def take_nowait(self) -> bool:
        """Take a token if one is free; then nobody waits, for what comes free is handed out at once."""
        if self.held >= self.limit.tokens:
            return False
        self.held += 1
        return True

    def give_back(self) -> None:
        self.held -= 1
        self.hand_out()

    def hand_out(self) -> None:
        """Give what is free to those at the head of the line."""
        while self.waiting and self.held < self.limit.tokens:
            request = self.waiting.pop(0)
            self.held += 1
            request.granted = True
            request.turn.set()

    def enter(self, request: _Request) -> None:
        """Join the line, behind those of the same priority."""
        self._check_room()
        ahead = sum(other.priority >= request.priority for other in self.waiting)
        self.waiting.insert(ahead, request)

    def leave(self, request: _Request) -> None:
        """Leave the line, or give back the token that was just granted."""
        if request.granted:
            self.give_back()
        else:
            self.waiting.remove(request)

    def refuse(self, reason: str) -> CapacityRefused:
        self.refused += 1
        return CapacityRefused(f"limit {self.limit.name!r}: {reason} ({self.held} of {self.limit.tokens} tokens held)")

    def _check_room(self) -> None:
        most = self.limit.max_waiting
        if most is not None and len(self.waiting) >= most:
            self.refused += 1
            msg = f"limit {self.limit.name!r}: {len(self.waiting)} wait already, and no more may (max_waiting={most})"
            raise CapacityQueueFull(msg)

    def statistics(self, now: float) -> LimitStatistics:
        oldest = max((now - request.since for request in self.waiting), default=0.0)
        return LimitStatistics(self.limit.tokens, self.held, len(self.waiting), oldest, self.refused, preempted=0)

    def waiters(self) -> tuple[Waiter, ...]:
        return tuple(
            Waiter(self.limit.name, request.fair_key, request.priority, position, request.since)
            for position, request in enumerate(self.waiting, start=1)
        )


@final
class Limits:
    """Several limits by name: what a program shares among all that it does at the same time.

    Tokens go to the highest priority first and, inside one priority, to who came first; nobody overtakes a line. Who
    holds several limits takes them in one order, so that holders cannot wait for each other in a ring. `fair_key` only
    shows in `waiting()` so far.
    """

    def __init__(self, limits: Iterable[Limit] = (), /) -> None:
        self._lines: dict[str, _Line] = {}
        for limit in limits:
            if limit.name in self._lines:
                msg = f"two limits are named {limit.name!r}: names must differ"
                raise ValueError(msg)
            self._lines[limit.name] = _Line(limit)

    @asynccontextmanager
    async def hold(
        self, *names: str, priority: Priority = Priority.NORMAL, fair_key: str | None = None
    ) -> AsyncGenerator[None]:
        """Hold one token of each limit during the block; waits its turn.

        Raises `CapacityRefused`, `CapacityQueueFull`, `CapacityTimeout` by the limit's rules, `UnknownLimit`; nothing
        is held then.
        """
        held = list[_Line]()
        try:
            for line in self._in_order(names):
                await _take(line, _Request(priority, fair_key, trio.current_time()))
                held.append(line)
            yield
        finally:
            for line in reversed(held):
                line.give_back()

    @contextmanager
    def hold_nowait(self, *names: str) -> Generator[None]:
        """Hold one token of each limit during the block, or raise `CapacityRefused` at once; `UnknownLimit`."""
        held = list[_Line]()
        try:
            for line in self._in_order(names):
                if not line.take_nowait():
                    raise line.refuse("no token is free")
                held.append(line)
            yield
        finally:
            for line in reversed(held):
                line.give_back()

    def resize(self, name: str, tokens: int, /) -> None:
        """Change how many tokens there are; who holds one keeps it. Raises `UnknownLimit`."""
        line = self._line(name)
        check_tokens(name, tokens)
        line.limit = evolve(line.limit, tokens=tokens)
        line.hand_out()

    def waiting(self, name: str, /) -> tuple[Waiter, ...]:
        """Return the line of a limit, who is next first. Raises `UnknownLimit`."""
        return self._line(name).waiters()

    def statistics(self) -> Mapping[str, LimitStatistics]:
        """Return the figures of all limits; call it in a Trio task."""
        now = trio.current_time()
        return MappingProxyType({name: line.statistics(now) for name, line in self._lines.items()})

    def _line(self, name: str) -> _Line:
        try:
            return self._lines[name]
        except KeyError:
            known = ", ".join(map(repr, self._lines)) or "none"
            msg = f"there is no limit {name!r} (there are: {known})"
            raise UnknownLimit(msg) from None

    def _in_order(self, names: tuple[str, ...]) -> list[_Line]:
        if not names:
            msg = "name the limits to hold, such as hold('llm')"
            raise ValueError(msg)
        return [self._line(name) for name in sorted(set(names))]


async def _take(line: _Line, request: _Request) -> None:
    if line.take_nowait():
        try:
            await trio.lowlevel.checkpoint()
        except BaseException:
            line.give_back()
            raise
        return
    if line.limit.when_full is WhenFull.REFUSE:
        await trio.lowlevel.checkpoint_if_cancelled()
        raise line.refuse("no token is free, and its rule is to refuse")
    line.enter(request)
    try:
        await _wait_turn(line, request)
    except BaseException:
        line.leave(request)
        raise


async def _wait_turn(line: _Line, request: _Request) -> None:
    patience = line.limit.wait_timeout
    with trio.CancelScope() as scope:
        if patience is not None:
            scope.deadline = request.since + patience
        await request.turn.wait()
    if not request.granted:
        line.refused += 1
        msg = f"limit {line.limit.name!r}: no token came in {patience} s, {len(line.waiting) - 1} others wait"
        raise CapacityTimeout(msg)
