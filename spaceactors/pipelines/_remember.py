"""What a stage remembers: results by key, the one used longest ago going first, and none for too long.

Pure: no Trio; time is an argument. (A lock: programs may run Trio in several threads.)
"""

from __future__ import annotations

from collections import OrderedDict
from math import inf
from threading import Lock
from typing import TYPE_CHECKING, Any, final

from attrs import define, field

if TYPE_CHECKING:
    from collections.abc import Hashable


@final
@define
class Memory:
    """Results by key, in bounded number."""

    size: int
    ttl: float = inf
    # Until when each is good; used last last.
    _kept: OrderedDict[Hashable, tuple[float, Any]] = field(factory=OrderedDict[Any, Any])
    _lock: Lock = field(factory=Lock, repr=False)

    def __len__(self) -> int:
        """Return how many there are, good or not."""
        return len(self._kept)

    def find(self, key: Hashable, now: float) -> tuple[Any] | None:
        """Return what is remembered under a key, in a tuple, or None."""
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                return None
            # One from further ahead than it may be is of another run of Trio, with a clock of its own.
            if not now < found[0] <= now + self.ttl:
                del self._kept[key]
                return None
            self._kept.move_to_end(key)
            return (found[1],)

    def keep(self, key: Hashable, value: Any, now: float) -> None:
        """Remember a result."""
        with self._lock:
            self._kept[key] = (now + self.ttl, value)
            self._kept.move_to_end(key)
            while len(self._kept) > self.size:
                self._kept.popitem(last=False)
