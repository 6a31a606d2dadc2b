"""A loop that stands is noticed from outside it, told with the guilty task and line, and left as it is."""

from __future__ import annotations

import logging
import math
import sys
import threading

import pytest
import trio
from trio.testing import MockClock

from supervisors import ChildSpec, LoopBlocked, LoopFree, LoopWatch, open_supervisor, watch_loop
from supervisors._watch import QUIET, Place, _outwards, guilty, may_tell, stack_lines

# Real seconds. Long enough that a slow machine needs no less, and nobody waits for as long when all is well.
PATIENCE = 60
# A slow machine may make a block of what comes before in the same tick: then that is told, and what follows is not.
# Real seconds until the next try.
TRY = 2


class Blockade:
    """Code that stands until it has been told of; what a slow machine makes of other code is not looked at."""

    def __init__(self):
        self.blocked = []
        self.freed = []
        self._release = threading.Event()
        self._told_free = threading.Event()
        self.threads = set()

    def tell(self, report):
        self.threads.add(threading.current_thread())
        if report.function != "stand":
            return
        if isinstance(report, LoopBlocked):
            self.blocked.append(report)
            self._release.set()
        else:
            self.freed.append(report)
            self._told_free.set()

    def stand(self):
        return self._release.wait(TRY)  # the line to blame

    async def block(self):
        """Stand, in another tick if need be; without a checkpoint if not."""
        while not self.stand():
            for _ in range(3):  # the loop shows that it lives
                await trio.lowlevel.checkpoint()

    async def over(self):
        await trio.to_thread.run_sync(self._told_free.wait, PATIENCE)


@pytest.fixture
def blockade(monkeypatch):
    # Blocks that a slow machine brings about must not use up what may be told.
    monkeypatch.setattr("supervisors._watch.QUIET", 0.0)
    return Blockade()


def watchers():
    return [thread for thread in threading.enumerate() if thread.name == "watch_loop"]


async def culprit(blockade):
    await blockade.block()


# ---- what is told


async def test_a_block_is_told_while_it_lasts_with_task_and_line(blockade):
    async with watch_loop(0.01, tell=blockade.tell), trio.open_nursery() as nursery:
        nursery.start_soon(culprit, blockade, name="the culprit")
    (report,) = blockade.blocked
    assert report.task == "the culprit"
    assert report.file == __file__
    assert report.function == "stand"
    assert report.seconds >= 0.01
    text = "\n".join(report.stack)
    assert "in culprit" in text
    assert "the line to blame" in text  # not the lines inside threading, where it stands
    assert "unrolled_run" not in text  # nor those of the loop below the task


async def test_its_end_is_told_with_the_whole_time(blockade):
    async with watch_loop(0.01, tell=blockade.tell):
        await blockade.block()
        await blockade.over()
    (begun,), (ended,) = blockade.blocked, blockade.freed
    assert isinstance(ended, LoopFree)
    assert ended.seconds >= begun.seconds
    assert (ended.task, ended.file, ended.line) == (begun.task, begun.file, begun.line)


async def test_the_end_of_a_block_is_told_also_when_the_watch_ends_with_it(blockade):
    async with watch_loop(0.01, tell=blockade.tell):
        await blockade.block()
    assert len(blockade.freed) == 1


async def test_a_task_deep_inside_is_found_among_many(blockade):
    async def nest(depth):
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(trio.sleep_forever)
            nursery.start_soon(*((nest, depth - 1) if depth else (deepest,)))
            await done.wait()
            nursery.cancel_scope.cancel()

    async def deepest():
        await trio.lowlevel.checkpoint()
        await blockade.block()
        done.set()

    done = trio.Event()
    async with watch_loop(0.01, tell=blockade.tell):
        await nest(5)
    assert "deepest" in blockade.blocked[0].task


async def test_what_is_not_a_task_is_told_too(blockade):
    class Slow(trio.abc.Instrument):
        def before_io_wait(self, timeout):
            if blockade.stand():
                trio.lowlevel.remove_instrument(self)

    async with watch_loop(0.01, tell=blockade.tell):
        trio.lowlevel.add_instrument(Slow())
        await blockade.over()
    assert blockade.blocked[0].task is None
    assert blockade.blocked[0].function == "stand"


async def test_each_block_is_told_once_and_counted(blockade):
    other = Blockade()

    def tell(report):
        blockade.tell(report) if not blockade.freed else other.tell(report)

    async with watch_loop(0.01, tell=tell) as watch:
        await blockade.block()
        await blockade.over()
        await other.block()
        await other.over()
        figures = watch.statistics()
    assert [len(one) for one in (blockade.blocked, blockade.freed, other.blocked, other.freed)] == [1] * 4
    assert figures.blocks >= 2
    assert figures.seconds >= blockade.freed[0].seconds + other.freed[0].seconds
    assert figures.longest >= max(blockade.freed[0].seconds, other.freed[0].seconds)


async def test_a_failing_tell_stops_no_watching(blockade, caplog):
    def tell(report):
        blockade.tell(report)
        raise RuntimeError("tell is broken")

    async with watch_loop(0.01, tell=tell):
        await blockade.block()
        await blockade.over()
    assert len(blockade.freed) == 1
    assert "tell is broken" in caplog.text


async def test_by_default_blocks_go_to_the_log(blockade, caplog):
    class Seen(logging.Handler):
        def emit(self, record):
            if "in stand" in record.getMessage():
                blockade._release.set()

    handler = Seen()
    logging.getLogger("supervisors").addHandler(handler)
    try:
        async with watch_loop(0.01):
            await blockade.block()
    finally:
        logging.getLogger("supervisors").removeHandler(handler)
    assert f"{__file__}:" in caplog.text
    assert "in stand" in caplog.text
    assert "the event loop goes on" in caplog.text


# ---- the thread


async def test_the_thread_ends_with_the_block(blockade):
    async with watch_loop(0.01, 1e6, tell=blockade.tell):  # asleep for long
        assert len(watchers()) == 1
        assert not watchers()[0].daemon
    assert watchers() == []


async def test_the_end_does_not_wait_for_a_sign_of_life_that_is_under_way(blockade):
    for _ in range(20):
        async with watch_loop(1e6, tell=blockade.tell):
            pass  # the loop has had no time to answer
    assert watchers() == []


async def test_the_thread_ends_when_the_block_is_cancelled_or_raises(blockade):
    with trio.move_on_after(0.01):
        async with watch_loop(1.0, tell=blockade.tell):
            await trio.sleep_forever()
    assert watchers() == []
    with pytest.raises(KeyError):
        async with watch_loop(1.0, tell=blockade.tell):
            raise KeyError
    assert watchers() == []


async def test_who_is_telling_is_waited_for_without_blocking_the_loop():
    telling, go_on = threading.Event(), threading.Event()
    told = []

    def tell(report):
        if not telling.is_set():
            telling.set()
            told.append(go_on.wait(PATIENCE))

    async def free_it():
        await trio.sleep(0.05)
        go_on.set()

    async with trio.open_nursery() as nursery:
        async with watch_loop(0.01, tell=tell):
            assert telling.wait(PATIENCE)
            nursery.start_soon(free_it)
        assert told == [True]
    assert watchers() == []


async def test_reports_come_from_the_watching_thread(blockade):
    async with watch_loop(0.01, tell=blockade.tell):
        await blockade.block()
    assert {thread.name for thread in blockade.threads} == {"watch_loop"}


def test_a_virtual_clock_does_not_run_ahead(blockade):
    async def main():
        async with watch_loop(0.01, tell=blockade.tell):
            await blockade.block()
            await trio.sleep(5)
        return trio.current_time()

    assert trio.run(main, clock=MockClock(autojump_threshold=0)) == 5.0
    assert len(blockade.blocked) == 1


def test_a_run_that_dies_ends_the_thread(blockade, monkeypatch):
    async def never(watch):
        pass

    async def main():
        async with watch_loop(0.01, tell=blockade.tell):
            pass

    broken = []
    monkeypatch.setattr(threading, "excepthook", broken.append)
    monkeypatch.setattr(LoopWatch, "_end", never)  # as if the block had not been left
    trio.run(main)
    for thread in watchers():
        thread.join(PATIENCE)
    assert watchers() == []
    assert broken == []


async def test_it_is_a_child_like_any_other(blockade):
    def watch():
        return watch_loop(0.01, tell=blockade.tell)

    async with open_supervisor([ChildSpec.resource("watch", watch)]):
        await blockade.block()
    assert len(blockade.blocked) == 1
    assert watchers() == []
    async with open_supervisor([ChildSpec.resource("watch", watch_loop, 30.0, 60.0)]) as tree:
        assert len(watchers()) == 1
        assert tree.child("watch").status.value == "running"


# ---- the door


@pytest.mark.parametrize("wrong", [0, -1, math.inf, math.nan, "1", True])
def test_a_time_that_is_none_is_refused_at_the_door(wrong):
    with pytest.raises((TypeError, ValueError), match="threshold must be"):
        watch_loop(wrong)
    with pytest.raises((TypeError, ValueError), match="interval must be"):
        watch_loop(1.0, wrong)


def test_what_cannot_be_told_to_is_refused_at_the_door():
    with pytest.raises(TypeError, match="tell must be a function"):
        watch_loop(tell="log")


# ---- the choices


def at(file, package="app", line=1):
    return Place(file, line, "f", package)


@pytest.mark.parametrize(
    ("stack", "blamed"),
    [
        ([at("/app/a.py")], "/app/a.py"),
        ([at("/lib/time.py", "time"), at("/app/a.py"), at("/app/b.py")], "/app/a.py"),
        ([at("/src/trio/x.py", "trio"), at("/src/supervisors/y.py", "supervisors"), at("/app/b.py")], "/app/b.py"),
        ([at("<frozen importlib._bootstrap>", "importlib"), at("/app/b.py")], "/app/b.py"),
        ([at("/lib/a.py", "a"), at("/src/trio/x.py", "trio")], "/lib/a.py"),  # nobody's own code: where it stands
    ],
)
def test_the_innermost_line_of_the_programs_own_code_is_blamed(stack, blamed):
    assert guilty(stack, frozenset({"trio", "supervisors"}), ("/lib/",)).file == blamed


def test_nobody_is_blamed_for_an_empty_stack():
    assert guilty([], frozenset(), ()) is None


def test_blocks_close_together_are_told_once():
    assert may_tell(100.0, None)
    assert not may_tell(100.0, 100.0 - QUIET / 2)
    assert may_tell(100.0, 100.0 - QUIET)


async def test_untold_blocks_are_counted_in_the_next_report(blockade, monkeypatch):
    tell_them, untold = False, []

    def may_tell(now, told_at):
        if not tell_them:
            blockade._release.set()
        return tell_them

    def tell(report):
        blockade.tell(report)
        if isinstance(report, LoopBlocked):
            untold.append(report.untold)

    monkeypatch.setattr("supervisors._watch.may_tell", may_tell)
    async with watch_loop(0.01, tell=tell) as watch:
        await blockade.block()
        while watch.statistics().blocks < 1:  # noqa: ASYNC110 (figures of a thread wake no task)
            await trio.sleep(0.001)
        assert (blockade.blocked, blockade.freed) == ([], [])
        tell_them = True
        blockade._release.clear()
        await blockade.block()
        await blockade.over()
    assert sum(untold) >= 1


def test_of_a_long_stack_the_innermost_lines_are_kept():
    def dive(depth):
        return dive(depth - 1) if depth else list(_outwards(sys._getframe()))

    frames = dive(100)
    lines = stack_lines([(frame, frame.f_lineno) for frame in reversed(frames)], most=10)
    assert lines[0] == f"  … {len(frames) - 10} more"
    assert "_getframe" in lines[2]  # the same line each time, folded into one with its number
    assert lines[-1].endswith("more times]")
