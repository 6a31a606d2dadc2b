"""What all tests of spaces share: virtual time without asking for it, and a guard against hanging."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

HERE = Path(__file__).parent
HANGING_AFTER = 1e7  # virtual seconds: nothing here waits as long, so whoever does waits for ever


def run_in_virtual_time(main, *, clock=None, instruments=()):
    async def guarded():
        with trio.fail_after(HANGING_AFTER):
            return await main()

    return trio.run(guarded, clock=clock or MockClock(autojump_threshold=0), instruments=instruments)


def pytest_collection_modifyitems(items):
    """Each async test runs on its own virtual clock from 0.0; 120 real seconds mean a loop or a shielded hang."""
    for item in items:
        if item.path.parent != HERE or not inspect.iscoroutinefunction(getattr(item, "obj", None)):
            continue
        if not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(120))
        mark = item.get_closest_marker("trio")
        if mark is None or "run" not in mark.kwargs:
            item.add_marker(pytest.mark.trio(run=run_in_virtual_time), append=False)
