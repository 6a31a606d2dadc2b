"""Reads what the process uses: processor time and memory."""

from __future__ import annotations

import sys
from pathlib import Path
from time import perf_counter, process_time
from typing import TYPE_CHECKING, Protocol, final

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Callable

_STATM = Path("/proc/self/statm")


@final
@frozen
class LoadReading:
    """One look: `lag` in seconds, `cpu` in processor seconds a second since the last look, `memory` in bytes.

    None: not known.
    """

    lag: float | None = None
    cpu: float | None = None
    memory: int | None = None


class LoadProbe(Protocol):
    """What reads the figures of the machine for a `LoadManager`: a port, so that tests and containers can have theirs.

    Pass a function that makes one as `LoadOptions(probe=...)`.
    """

    def read(self, lag: float, /) -> LoadReading:
        """Return what is used now; must not wait.

        Args:
            lag: how many seconds late the loop was, as just measured; return it, or what you know better.

        """
        ...


@final
class ProcessProbe:
    """Reads this process's processor time and memory, with psutil if it is there (`spaceactors[load]`).

    Without psutil memory is what `/proc` tells (Linux), or else the most that the process ever had (Unix).
    """

    def __init__(self) -> None:
        self._memory = _memory_reader()
        self._looked = perf_counter()
        self._used = process_time()

    def read(self, lag: float, /) -> LoadReading:
        """Return what is used now."""
        now, used = perf_counter(), process_time()
        seconds, spent = now - self._looked, used - self._used
        self._looked, self._used = now, used
        return LoadReading(lag, spent / seconds if seconds > 0 else None, self._memory())


def _memory_reader() -> Callable[[], int | None]:
    """Return what reads the resident memory of this process, by the best means that there is."""
    try:
        import psutil  # type: ignore[import-untyped]
    except ModuleNotFoundError:
        return _resident if _STATM.exists() else _greatest
    process = psutil.Process()
    return lambda: int(process.memory_info().rss)


def _resident() -> int | None:
    """Read it from Linux's `/proc`."""
    import resource

    return int(_STATM.read_text(encoding="ascii").split()[1]) * resource.getpagesize()


def _greatest() -> int | None:
    """Return the most memory that this process ever had; None where there is no such figure."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(most) if sys.platform == "darwin" else int(most) * 1024
