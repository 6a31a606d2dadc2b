"""Calls that several ask for at the same time are made once; what they gave is remembered."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from math import inf
from typing import TYPE_CHECKING, Any, final

import trio

from spaceactors import _acting as acting
from spaceactors.pipelines._options import PipelineError
from spaceactors.pipelines._remember import Memory

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Hashable, Iterable
    from types import TracebackType

    from spaceactors.pipelines._options import Cache


# The calls inside of which code runs, as far as it is a part of them.
_within: ContextVar[tuple[Flight, ...]] = ContextVar("spaceactors_flights", default=())


@final
class Flight:
    """One call that goes on, and all who wait for it."""

    __slots__ = ("_around", "_leader", "done", "error", "trace", "value", "waits_for")

    def __init__(self) -> None:
        self.done = trio.Event()
        # Who makes it; and the nurseries in which what that task started does not belong to the call.
        self._leader = trio.lowlevel.current_task()
        self._around = tuple(self._leader.child_nurseries)
        # How it ended; neither: who made it was cancelled.
        self.value: tuple[Any] | None = None
        self.error: Exception | None = None
        # Where the error was raised: each who raises it again would make its traceback longer.
        self.trace: TracebackType | None = None
        # Other calls, for which parts of it wait.
        self.waits_for: list[Flight] = []

    def needs(self, task: trio.lowlevel.Task) -> bool:
        """Tell whether a task is a part of the call: who makes it, or one below."""
        while task is not self._leader:
            nursery = task.parent_nursery
            if nursery is None or nursery in self._around:
                return False
            task = nursery.parent_task
        return True

    def leads_to(self, others: Iterable[Flight]) -> bool:
        """Tell whether it is one of some calls, or waits for one of them, through however many others."""
        found = set[Flight]()
        left: list[Flight] = [self]
        while left:
            one = left.pop()
            if one not in found:
                found.add(one)
                left.extend(one.waits_for)
        return not found.isdisjoint(others)


@final
class Flights:
    """What one stage remembers, and which of its calls go on."""

    __slots__ = ("_going", "_key", "_memory", "_name")

    def __init__(self, name: str, cache: Cache) -> None:
        self._name = name
        self._key = cache.key
        self._memory = Memory(cache.size, inf if cache.ttl is None else cache.ttl)
        # Of each run of Trio its own: programs may have several, in threads, and those cannot wait for each other.
        self._going: dict[Hashable, Flight] = {}

    async def get(self, args: tuple[Any, ...], call: Callable[[], Awaitable[Any]]) -> tuple[Any, bool]:
        """Return what the call gives, or gave before to the same arguments; and whether it was made by another."""
        key = self._key_of(args)
        here = (trio.lowlevel.current_trio_token(), key)
        while True:
            known = self._memory.find(key, trio.current_time())
            if known is not None:
                return known[0], True
            flight = self._going.get(here)
            if flight is None:
                return await self._lead(here, key, call), False
            with self._waiting(flight):
                async with acting.lending():
                    await flight.done.wait()
            if flight.error is not None:
                raise flight.error.with_traceback(flight.trace)
            if flight.value is not None:
                return flight.value[0], True

    async def _lead(self, here: Hashable, key: Hashable, call: Callable[[], Awaitable[Any]]) -> Any:
        flight = self._going[here] = Flight()
        # What a call started elsewhere outlives it, and is not to keep all that led there.
        outside = _within.set((*(one for one in _within.get() if not one.done.is_set()), flight))
        try:
            value = await call()
            flight.value = (value,)
            self._memory.keep(key, value, trio.current_time())
        except Exception as error:
            flight.error, flight.trace = error, error.__traceback__
            raise
        finally:
            _within.reset(outside)
            del self._going[here]
            flight.done.set()
        return value

    @contextmanager
    def _waiting(self, flight: Flight) -> Generator[None]:
        """Refuse to wait for a call of which this is a part, or which waits for one: it would wait for itself."""
        task = trio.lowlevel.current_task()
        parts_of = [one for one in _within.get() if one.needs(task)]
        if flight.needs(task) or flight.leads_to(parts_of):
            msg = f"stage {self._name!r} needs, to be remembered, what it is just working out: it asks for itself"
            raise PipelineError(msg)
        for one in parts_of:
            one.waits_for.append(flight)
        try:
            yield
        finally:
            for one in parts_of:
                one.waits_for.remove(flight)

    def _key_of(self, args: tuple[Any, ...]) -> Hashable:
        key: Hashable = args if self._key is None else self._key(*args)
        try:
            hash(key)
        except TypeError as error:
            remedy = (
                "give Cache(key=...) a function whose result is"
                if self._key is None
                else "have the key function return something that is"
            )
            msg = f"stage {self._name!r} cannot be remembered by what is not hashable ({error}): {remedy}"
            raise PipelineError(msg) from None
        return key
