"""Limits by name: what a program shares among all that it does at the same time.

`_line` is one limit at work, `_hold` the blocks that hold tokens; here names are looked up.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy
from types import MappingProxyType
from typing import TYPE_CHECKING, cast, final

from trio.lowlevel import enable_ki_protection

from supervisors._capacity import Limit, LimitStatistics, Priority, UnknownLimit, Waiter
from supervisors._hold import Hold, HoldNow, Rate, YieldingHold
from supervisors._line import AGEING, Line, TokenLine
from supervisors._spec import check_choice, check_seconds

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractAsyncContextManager, AbstractContextManager

_Line = TokenLine

# By what lines and rates are known, of whatever class they are.
_LINE = ("take_nowait", "give_back", "wait", "waiters", "resize")
_RATE = ("take", "take_nowait", "resize")


@final
class Limits:
    """Named limits, and rates beside them: hold several at once, in any order, from any task.

    Who is served: the highest priority first; inside one priority those with different `fair_key`s take turns, so that
    one who asks for a thousand tokens does not keep the others from theirs; inside one key who came first. Nobody
    overtakes a line: a token that comes free is handed out at once. And nobody waits for ever: `ageing` seconds of
    waiting are worth a step of priority, whatever the priority.

    Who holds several limits takes them one after the other in one order, so that holders cannot wait for each other in
    a ring. (Two holds inside each other can: name all in one.)

    They belong to the tasks of one run of Trio at a time. For work in a thread hold them around its call.

        limits = Limits([Limit("openai", 5), RateLimit("openai-rpm", 500, per=60)])
        async with limits.hold("openai", "openai-rpm", priority=Priority.HIGH, fair_key="alice"):
            ...

    Args:
        limits: each a `Limit`, or a `RateLimit`. No two of one name.
        ageing: how many seconds longer a request has to wait than one that is a step of priority higher, to go first.
            `math.inf`: priorities always count; 0: they count only between those who came at the same moment.

    Raises:
        ValueError: two limits have one name.
        TypeError: something is no limit.

    """

    def __init__(self, limits: Iterable[Limit | Rate] = (), /, *, ageing: float = AGEING) -> None:
        check_seconds("ageing", ageing)
        self._ageing = ageing
        self._lines: Mapping[str, Line] = {}
        self._rates: Mapping[str, Rate] = {}
        # Which limits have holders from whom tokens may be taken: seldom any.
        self._preemptible = frozenset[str]()
        self._add(limits)

    def _add(self, limits: Iterable[Limit | Rate | Line]) -> None:
        lines, rates = copy(cast("dict[str, Line]", self._lines)), dict(self._rates)
        if not isinstance(cast("object", limits), Iterable):
            msg = f"limits come in a list, such as [Limit('llm', 5)], not {limits!r}"
            raise TypeError(msg)
        for one in limits:
            if isinstance(one, Limit):
                _check_new(one.name, lines, rates)
                lines[one.name] = TokenLine(one, self._ageing)
            elif _has(one, _LINE):
                line = cast("Line", one)
                _check_new(line.limit.name, lines, rates)
                lines[line.limit.name] = line
            elif _has(one, _RATE):
                rate = cast("Rate", one)
                _check_new(rate.name, lines, rates)
                rates[rate.name] = rate
            else:
                msg = f"a limit is a Limit such as Limit('llm', 5), or a RateLimit, not {one!r}"
                raise TypeError(msg)
        self._lines, self._rates = lines, rates
        own = (line for line in lines.values() if isinstance(line, TokenLine))
        self._preemptible = frozenset(line.limit.name for line in own if line.limit.preemptible)

    def joined(self, *more: Limit | Rate | Line) -> Limits:
        """Return limits that are these, shared, and some more. Internal: for layers above with limits of their own.

        A `Line` is taken over as it is. Raises `ValueError` for a name that is there already.
        """
        joined = Limits(ageing=self._ageing)
        joined._lines, joined._rates = self._lines, self._rates
        joined._add(more)
        return joined

    # ---- holding

    def hold(
        self, *names: str, priority: Priority = Priority.NORMAL, fair_key: str | None = None
    ) -> AbstractAsyncContextManager[None]:
        """Hold one token of each limit while the block runs, and spend one permit of each rate; waits its turn.

        Tokens first, then permits. A permit is spent when it is taken, and does not come back however the block ends.
        Inside a block that holds a `preemptible` limit, do not ask for that limit again: an urgent request may take
        the token of the block that it is in.

        Args:
            names: limits and rates, in any order; one that is named twice counts once.
            priority: how urgent it is.
            fair_key: in whose name it is: those of one priority take turns.

        Raises:
            CapacityRefused, CapacityQueueFull, CapacityTimeout: by the limits' rules. Nothing is held then.
            Preempted: somebody urgent took the token of a `preemptible` limit, and the block was cancelled because of
                that. (A block that ended by itself ends as it would have; a cancellation from outside stays one.)
            UnknownLimit: no limit has that name.

        """
        if priority.__class__ is not Priority or (fair_key is not None and fair_key.__class__ is not str):
            _check_request(priority, fair_key)
        lines, rates = self._in_order(names)
        if self._preemptible and priority is not Priority.URGENT and not self._preemptible.isdisjoint(names):
            return YieldingHold(lines, rates, priority, fair_key)
        return Hold(lines, rates, priority, fair_key)

    def hold_nowait(self, *names: str) -> AbstractContextManager[None]:
        """Hold one token of each limit while the block runs, or raise `CapacityRefused` at once; `UnknownLimit`.

        Spends one permit of each rate too. Nobody takes these tokens away, be the limit `preemptible` or not.
        """
        return HoldNow(*self._in_order(names))

    # ---- changing and looking

    @enable_ki_protection
    def resize(self, name: str, tokens: int, /) -> None:
        """Change how many tokens there are, or how many permits a rate has in its period.

        More tokens go to those who wait at once. Fewer take none away: who holds one keeps it, and nobody gets one
        until less are held than there are; with 0 nobody ever does. Raises `UnknownLimit`.
        """
        if name in self._rates:
            self._rates[name].resize(tokens)
        else:
            self._line(name).resize(tokens)

    def waiting(self, name: str, /) -> tuple[Waiter, ...]:
        """Return the line of a limit, in the order in which it will be served if nobody else comes.

        Positions stay right however long it takes, for all age alike. Of a rate nobody is shown: see its own
        `statistics()`. Raises `UnknownLimit`.
        """
        return () if name in self._rates else self._line(name).waiters()

    def statistics(self) -> Mapping[str, LimitStatistics]:
        """Return the figures of all limits; call it in a Trio task. Rates have figures of their own."""
        return MappingProxyType({name: line.statistics() for name, line in self._lines.items()})

    def line(self, name: str, /) -> Line:
        """Return a limit at work. Internal: for layers above that take and give back tokens without a block."""
        return self._line(name)

    def free(self, *names: str) -> bool:
        """Tell whether a hold would have its tokens at once. Internal: for layers above that lend theirs meanwhile."""
        lines, rates = self._in_order(names)
        return not rates and all(isinstance(line, TokenLine) and line.held < line.limit.tokens for line in lines)

    # ---- names

    def _line(self, name: str) -> Line:
        try:
            return self._lines[name]
        except (KeyError, TypeError):
            pass
        if not isinstance(cast("object", name), str):
            msg = f"name limits by strings, one by one, such as hold('llm', 'gpu'), not {name!r}"
            raise TypeError(msg)
        known = ", ".join(map(repr, (*self._lines, *self._rates))) or "none"
        msg = f"there is no limit {name!r} (there are: {known})"
        raise UnknownLimit(msg)

    def _in_order(self, names: tuple[str, ...]) -> tuple[tuple[Line, ...], tuple[Rate, ...]]:
        """Return the limits in the order in which everybody takes them, and the rates."""
        if len(names) == 1 and not self._rates:
            return (self._line(names[0]),), ()
        if not names:
            msg = "name the limits to hold, such as hold('llm')"
            raise ValueError(msg)
        for name in names:
            if not isinstance(cast("object", name), str) or name not in self._rates:
                self._line(name)
        ordered = sorted(set(names))
        lines = tuple(self._lines[name] for name in ordered if name not in self._rates)
        return lines, tuple(self._rates[name] for name in ordered if name in self._rates)


def _check_new(name: str, lines: Mapping[str, Line], rates: Mapping[str, Rate]) -> None:
    if name in lines or name in rates:
        msg = f"two limits are named {name!r}: names must differ"
        raise ValueError(msg)


def _has(one: object, methods: tuple[str, ...]) -> bool:
    return all(hasattr(one, method) for method in methods)


def _check_request(priority: object, fair_key: object) -> None:
    check_choice("priority", Priority, priority)
    if fair_key is not None and not isinstance(fair_key, str):
        msg = f"fair_key must be a string such as 'alice', or None, not {fair_key!r}"
        raise TypeError(msg)
