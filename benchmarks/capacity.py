"""What limits cost: a token that is free beside Trio's own limiter, and one of many who wait beside one of few."""

from __future__ import annotations

import time

import trio
from trio.testing import wait_all_tasks_blocked

from supervisors import Limit, Limits

from ._measure import ROUNDS, Result, compare, once, rate

HOLDS = 20_000
FEW = 100
MANY = 100_000
KEYS = 1000  # so many spaces share the long line


async def hold_ours() -> float:
    """Take a free token and give it back."""
    limits = Limits([Limit("x", 1)])

    async def work() -> None:
        for _ in range(HOLDS):
            async with limits.hold("x"):
                pass

    return await rate(HOLDS, work)


async def hold_bare() -> float:
    """The bare counterpart."""
    limiter = trio.CapacityLimiter(1)

    async def work() -> None:
        for _ in range(HOLDS):
            async with limiter:
                pass

    return await rate(HOLDS, work)


def hold() -> Result:
    """An acquisition that waits for nobody; a cost of twice the limiter's is half its rate."""
    return compare("hold a limit that is free", 0.5, hold_ours, hold_bare)


async def serve_line(waiting: int, rounds: int) -> float:
    """How many of a line are served in a second, from its first to its last; those who were served leave at once."""
    limits, seconds = Limits([Limit("x", 1)]), 0.0

    async def wait(number: int) -> None:
        async with limits.hold("x", fair_key=str(number % KEYS)):
            pass

    for _ in range(rounds):
        async with trio.open_nursery() as nursery, limits.hold("x"):
            for number in range(waiting):
                nursery.start_soon(wait, number)
            await wait_all_tasks_blocked()
            start = time.perf_counter()
        seconds += time.perf_counter() - start
    return waiting * rounds / seconds


async def serve_few() -> float:
    """Short lines, as many as are one after the other in the long one's tenth part."""
    return await serve_line(FEW, MANY // FEW // 10)


async def serve_many() -> float:
    """One long line."""
    return await serve_line(MANY, 1)


def line() -> Result:
    """What a long line costs each who waits in it."""
    few, many = max(once(serve_few) for _ in range(ROUNDS)), max(once(serve_many) for _ in range(2))
    detail = f"{many:,.0f}/s : {few:,.0f}/s"
    return Result("serve 100,000 who wait, beside 100", many / few, 0.3, at_least=True, detail=detail)
