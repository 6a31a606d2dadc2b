"""What pipelines give and cost: stages and processors at the same time, and the way from stage to stage."""

from __future__ import annotations

import resource
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from hashlib import sha256
from typing import Any

import trio

from spaceactors.pipelines import (
    ContextKind,
    ContextPool,
    ContextSpec,
    Input,
    Pipeline,
    Producer,
    Sink,
    Stage,
    open_context,
    open_context_pool,
)
from spaceactors.tasks import Task, open_task_manager

from ._measure import ROUNDS, Result, compare, once, rate

STAGE = 0.3  # seconds that each of three agents takes
CALL = 0.05  # seconds of a call to the world
CALLS, AT_ONCE = 20, 10
ITEMS = 400_000
BLOCK = bytes(1024)
HASHES = 150_000  # about a tenth of a second of a processor's time
PIECES = 16
MILLION = 1_000_000


# ---- stages at the same time


async def agent(question: str) -> str:
    """Take as long as an agent that asks a model."""
    await trio.sleep(STAGE)
    return question


async def join(one: str, two: str, three: str) -> tuple[str, str, str]:
    """Put together what three agents found."""
    return one, two, three


def three_agents() -> Pipeline[str, tuple[str, str, str]]:
    """Three stages that do not need each other."""
    question = Input(str)
    one, two, three = (Stage(agent, question, name=name) for name in ("memory", "retrieval", "metrics"))
    return Pipeline("agents", question, Stage(join, one, two, three))


async def agents_run(*, sequential: bool) -> float:
    """Requests a second."""
    return await rate(1, partial(three_agents().run, "trio", sequential=sequential))


def agents() -> Result:
    """Three agents of 0.3 s each, side by side, over the same ones after each other."""
    name = "3 independent stages of 0.3 s, over in sequence"
    return compare(name, 2.7, partial(agents_run, sequential=False), partial(agents_run, sequential=True))


# ---- batches of tasks


async def call() -> None:
    """Call the world."""
    await trio.sleep(CALL)


async def tasks_managed() -> float:
    """Calls a second, ten at once."""

    async def work() -> None:
        async with open_task_manager(max_concurrent=AT_ONCE) as manager:
            results = await manager.run([Task(call) for _ in range(CALLS)])
        if not all(result.success for result in results):
            raise RuntimeError(results)

    return await rate(CALLS, work)


async def tasks_by_hand() -> float:
    """Calls a second, one after the other."""

    async def work() -> None:
        for _ in range(CALLS):
            await call()

    return await rate(CALLS, work)


def batch() -> Result:
    """Twenty calls of 50 ms, ten at once, over one after the other."""
    return compare("20 tasks of 50 ms, 10 at once, over in sequence", 8, tasks_managed, tasks_by_hand)


# ---- processors at the same time


def hashes(_: int) -> bytes:
    """Keep a processor busy."""
    found = b""
    for _ in range(HASHES):
        found = sha256(BLOCK + found).digest()
    return found


async def hashed_in(pool: ContextPool, context: str) -> float:
    """Pieces a second."""
    number = Input(int)
    pipeline = Pipeline("hashes", number, Stage(hashes, number, context=context, concurrency=2))
    await pipeline.process(range(2), contexts=pool)  # the workers have started
    return await rate(PIECES, partial(pipeline.process, range(PIECES), contexts=pool))


async def cores() -> tuple[float, float]:
    """The rates with two processes and with one."""
    one = ContextSpec("one", ContextKind.PROCESS, size=1)
    two = ContextSpec("two", ContextKind.PROCESS, size=2)
    async with open_context_pool(one, two) as pool:
        return await hashed_in(pool, "two"), await hashed_in(pool, "one")


def processes() -> Result:
    """Work for the processor in two processes, over in one."""
    rounds = [trio.run(cores) for _ in range(ROUNDS)]
    two, single = max(pair[0] for pair in rounds), max(pair[1] for pair in rounds)
    detail = f"{two:.1f}/s : {single:.1f}/s"
    return Result("CPU work in 2 processes, over in 1", two / single, 1.7, at_least=True, detail=detail)


# ---- from stage to stage


async def first(value: int) -> int:
    """Do next to nothing."""
    return value + 1


async def second(value: int) -> int:
    """Do next to nothing."""
    return value + 1


async def third(value: int) -> int:
    """Do next to nothing."""
    return value + 1


def first_sync(value: int) -> int:
    """Do next to nothing, not async."""
    return value + 1


def second_sync(value: int) -> int:
    """Do next to nothing, not async."""
    return value + 1


def third_sync(value: int) -> int:
    """Do next to nothing, not async."""
    return value + 1


def chain(items: int, context: str | None, one: Any, two: Any, three: Any) -> Pipeline[Any, None]:
    """Three trivial stages, the last of which is the end."""

    def source() -> Iterator[int]:
        return iter(range(items))

    begin = Producer(source)
    middle = Stage(two, Stage(one, begin, context=context), context=context)
    return Pipeline("chain", begin, Sink(three, middle, context=context))


async def through(items: int, context: str | None, *functions: Any) -> float:
    """Items a second through the three stages."""
    pipeline: Pipeline[Any, None] = chain(items, context, *functions)
    return await rate(items, pipeline.process)


async def by_hand() -> float:
    """The same three calls without a pipeline."""

    async def work() -> None:
        for value in range(ITEMS):
            await third(await second(await first(value)))

    return await rate(ITEMS, work)


async def by_hand_sync() -> float:
    """The same three calls of functions that are not async."""

    async def work() -> None:
        for value in range(ITEMS):
            third_sync(second_sync(first_sync(value)))
        await trio.lowlevel.checkpoint()

    return await rate(ITEMS, work)


ASYNC = (first, second, third)
SYNC = (first_sync, second_sync, third_sync)


def colocated() -> Result:
    """Three trivial stages beside each other, over each in a place of its own."""
    independent = partial(through, ITEMS // 20, "inline", *ASYNC)
    return compare(
        "3 colocated stages, over 3 independent ones", 10, partial(through, ITEMS, None, *ASYNC), independent
    )


def hand() -> Result:
    """Three trivial stages beside each other, over calling the functions by hand."""
    return compare("3 colocated async stages, over calls by hand", 0.5, partial(through, ITEMS, None, *ASYNC), by_hand)


def hand_sync() -> Result:
    """The same with functions that are not async, which cost even less by hand."""
    ours = partial(through, ITEMS, None, *SYNC)
    return compare("3 colocated sync stages, over calls by hand", 0.5, ours, by_hand_sync)


# ---- creating contexts


def nothing() -> None:
    """Do nothing."""


async def created(kind: ContextKind) -> tuple[float, ContextKind]:
    """Seconds to open a context and run nothing in it, the best of many; and what it really was."""
    best, really = float("inf"), kind
    for _ in range(20):
        start = time.perf_counter()
        async with open_context(kind) as context:
            await context.run(nothing)
            best, really = min(best, time.perf_counter() - start), context.kind
    return best, really


def creating(kind: ContextKind, at_most: float) -> Result:
    """What it costs to have a context of a kind do its first call."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # told below
        seconds, really = trio.run(created, kind)
    detail = "" if really is kind else f"a {really.value}: this Python has nothing else"
    return Result(f"create a context: {kind.value}", seconds * 1e6, at_most, at_least=False, unit=" µs", detail=detail)


CREATING: dict[str, Callable[[], Result]] = {
    "create-inline": partial(creating, ContextKind.INLINE, 100),
    "create-thread": partial(creating, ContextKind.THREAD, 500),
    "create-process": partial(creating, ContextKind.PROCESS, 10_000),
    "create-interpreter": partial(creating, ContextKind.INTERPRETER, 10_000),
}


# ---- a million items


async def peak_after(items: int, context: str | None) -> int:
    """Kilobytes of memory at the peak, up to now."""
    await chain(items, context, *ASYNC).process()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def million() -> Result:
    """The memory that a million items need, over a tenth of them: in places of their own, and beside each other."""

    async def run() -> float:
        few = max([await peak_after(MILLION // 10, context) for context in ("inline", None)])
        many = max([await peak_after(MILLION, context) for context in ("inline", None)])
        return many / few

    return Result("memory of a stream: 1,000,000 items over 100,000", once(run), 1.05, at_least=False)
