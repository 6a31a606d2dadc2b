"""Calls that several ask for at the same time are made once; what they gave is remembered."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any, final

import trio

from spaceactors import _acting as acting
from spaceactors.pipelines._options import PipelineError
from spaceactors.pipelines._remember import Memory

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable
    from types import TracebackType

    from spaceactors.pipelines._options import Cache


@final
class Flight:
    """One call that goes on, and all who wait for it."""

    __slots__ = ("_around", "_leader", "done", "error", "trace", "value")

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

    def needs(self, task: trio.lowlevel.Task) -> bool:
        """Tell whether a task is a part of the call: who makes it, or one below."""
        while task is not self._leader:
            nursery = task.parent_nursery
            if nursery is None or nursery in self._around:
                return False
            task = nursery.parent_task
        return True


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
            self._check_outside(flight)
            async with acting.lending():
                await flight.done.wait()
            if flight.error is not None:
                raise flight.error.with_traceback(flight.trace)
            if flight.value is not None:
                return flight.value[0], True

    async def _lead(self, here: Hashable, key: Hashable, call: Callable[[], Awaitable[Any]]) -> Any:
        flight = self._going[here] = Flight()
        try:
            value = await call()
            flight.value = (value,)
            self._memory.keep(key, value, trio.current_time())
        except Exception as error:
            flight.error, flight.trace = error, error.__traceback__
            raise
        finally:
            del self._going[here]
            flight.done.set()
        return value

    def _check_outside(self, flight: Flight) -> None:
        """Refuse to wait for a call of which this is a part: it would wait for itself."""
        if flight.needs(trio.lowlevel.current_task()):
            msg = f"stage {self._name!r} needs, to be remembered, what it is just working out: it asks for itself"
            raise PipelineError(msg)

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
