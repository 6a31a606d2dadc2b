"""Limits for tests: every name is known, and there is enough for all."""

from __future__ import annotations

from typing import final

from supervisors import Limit, Limits
from supervisors._limits import _Line

_ENOUGH = 1_000_000_000


@final
class _Lines(dict[str, _Line]):
    """Lines that come into being when they are named."""

    def __missing__(self, name: str) -> _Line:
        line = self[name] = _Line(Limit(name, _ENOUGH))
        return line


def unbounded_limits() -> Limits:
    """Return limits that nobody ever waits for: what actors name is there."""
    limits = Limits()
    limits._lines = _Lines()
    return limits
