"""Watching the loop: somebody's synchronous code that blocks it is noticed from a thread, and told with task and line.

The loop pays nothing at each step: the thread asks it now and then for a sign of life, and looks at its stack only when
none comes in time. All times here are real ones, whatever clock the Trio run has: real code stands in real time.
"""

from __future__ import annotations

import logging
import math
import sys
import threading
import traceback
from contextlib import asynccontextmanager
from enum import Enum
from functools import cache
from sysconfig import get_path
from time import perf_counter
from typing import TYPE_CHECKING, final

import trio
from attrs import frozen

from supervisors._record import Record
from supervisors._spec import check_seconds

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
    from contextlib import AbstractAsyncContextManager
    from types import FrameType

logger = logging.getLogger("supervisors")

# A loop that is blocked a hundred times a second is told of once a second: reading the stack and writing it down must
# not become the next thing that slows the program.
QUIET = 1.0
# What a blocked task calls below its own code: the line to blame is above it.
_MACHINERY = frozenset({"contextlib", "outcome", "supervisors", "trio"})
# Lines of a stack that are kept: the innermost.
_DEEPEST = 40


@final
class LoopBlocked(Record):
    """The loop has stood for `seconds` and stands still.

    `task` is the name of the task whose step does not end (None: the loop itself, or the whole process, did not get
    on). `file`, `line` and `function` say where the innermost line of the program's own code is, `stack` how it got
    there, innermost last. `untold` blocks before it were only counted, because they came too soon after one another.
    """

    task: str | None
    seconds: float
    file: str
    line: int
    function: str
    stack: tuple[str, ...]
    untold: int = 0


@final
class LoopFree(Record):
    """The loop goes on: it stood for `seconds` in all, at the place that `LoopBlocked` told."""

    task: str | None
    seconds: float
    file: str
    line: int
    function: str


@final
@frozen
class LoopStatistics:
    """How the loop got on: `blocks` times over the threshold, for `seconds` in all, `longest` at a time.

    `lag` is how long its latest sign of life took; all in seconds of real time.
    """

    blocks: int
    seconds: float
    longest: float
    lag: float


@frozen
class Place:
    """Where a program is: one line of a stack."""

    file: str
    line: int
    function: str
    # The module's top package, or "" if it has none.
    package: str


def guilty(places: Sequence[Place], machinery: frozenset[str], libraries: Sequence[str]) -> Place | None:
    """Return the place to blame: the innermost one of the program's own code, or else the innermost. Pure.

    Args:
        places: a stack, innermost first.
        machinery: packages that only pass calls on.
        libraries: the folders of installed and standard modules.

    """
    own = (
        place
        for place in places
        if place.package not in machinery and not place.file.startswith(("<frozen ", *libraries))
    )
    return next(own, places[0] if places else None)


def may_tell(now: float, told_at: float | None) -> bool:
    """Tell whether it is time to tell of a block again. Pure."""
    return told_at is None or now - told_at >= QUIET


@frozen
class Sight:
    """What was seen of a blocked loop."""

    task: trio.lowlevel.Task | None
    place: Place
    stack: tuple[str, ...]


class _Life(Enum):
    """What the thread got after it had asked for a sign of life."""

    SIGN = "sign"
    NONE = "none"
    END = "end"


@final
class LoopWatch:
    """A loop that is being watched: what `watch_loop` yields."""

    def __init__(
        self,
        tell: Callable[[trio.lowlevel.Task | None, LoopBlocked | LoopFree], object],
        threshold: float,
        interval: float,
        machinery: frozenset[str] = frozenset(),
    ) -> None:
        self._tell = tell
        self._threshold = threshold
        self._interval = interval
        self._machinery = machinery | _MACHINERY
        self._token = trio.lowlevel.current_trio_token()
        self._root = trio.lowlevel.current_root_task()
        self._loop_thread = threading.get_ident()
        # Belongs to the watching thread while it runs, as all figures do.
        self._figures = LoopStatistics(0, 0.0, 0.0, 0.0)
        self._told_at: float | None = None
        self._untold = 0
        # Set by the loop: a sign of life, or the end.
        self._poke = threading.Event()
        self._alive = False
        self._over = threading.Event()
        # No daemon: nothing of it runs when the block has ended.
        self._thread = threading.Thread(target=self._watch, name="watch_loop", daemon=False)

    def __repr__(self) -> str:
        return f"<LoopWatch, threshold {self._threshold:g} s, {self._figures.blocks} blocks>"

    def statistics(self) -> LoopStatistics:
        """Return how the loop got on so far; may be called from any thread."""
        return self._figures

    # ---- in the loop

    def _begin(self) -> None:
        """Start the thread."""
        self._thread.start()

    async def _end(self) -> None:
        """End the thread and wait for it."""
        if self._thread.ident is None:
            return  # it could not be started
        self._over.set()
        self._poke.set()
        # It ends at once, unless it is telling just now. As long as is not called blocking here, the loop waits itself:
        # a virtual clock would run ahead while a task waits for a thread.
        self._thread.join(self._threshold)
        if self._thread.is_alive():
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(self._thread.join, limiter=trio.CapacityLimiter(1))

    def _sign(self) -> None:
        self._alive = True
        self._poke.set()

    # ---- in the thread

    def _watch(self) -> None:
        while not self._over.is_set():
            asked = perf_counter()
            life = self._ask()
            if life is _Life.END:
                return
            if life is _Life.NONE:
                self._blocked(asked)
            else:
                self._note(perf_counter() - asked, blocked=False)
            self._over.wait(self._interval)

    def _ask(self) -> _Life:
        """Ask the loop for a sign of life, and wait for it as long as it may take."""
        self._alive = False
        self._poke.clear()
        if self._over.is_set():
            return _Life.END  # the end may have poked before the line above
        try:
            self._token.run_sync_soon(self._sign)
        except trio.RunFinishedError:
            return _Life.END
        if self._poke.wait(self._threshold):
            return _Life.SIGN if self._alive else _Life.END
        return _Life.NONE

    def _blocked(self, asked: float) -> None:
        """Tell of a block, and again when it is over."""
        now = perf_counter()
        sight = None
        if may_tell(now, self._told_at):
            sight = self._look()
        if sight is None:
            self._untold += 1
        else:
            self._told_at = now
            place, name = sight.place, None if sight.task is None else sight.task.name
            report = LoopBlocked(
                name, now - asked, place.file, place.line, place.function, sight.stack, untold=self._untold
            )
            self._untold = 0
            self._say(sight.task, report)
        self._poke.wait()
        seconds = perf_counter() - asked
        self._note(seconds, blocked=True)
        if sight is not None:
            place, name = sight.place, None if sight.task is None else sight.task.name
            self._say(sight.task, LoopFree(name, seconds, place.file, place.line, place.function))

    def _note(self, seconds: float, *, blocked: bool) -> None:
        was = self._figures
        if blocked:
            self._figures = LoopStatistics(
                was.blocks + 1, was.seconds + seconds, max(was.longest, seconds), lag=seconds
            )
        else:
            self._figures = LoopStatistics(was.blocks, was.seconds, was.longest, lag=seconds)

    def _say(self, task: trio.lowlevel.Task | None, report: LoopBlocked | LoopFree) -> None:
        try:
            self._tell(task, report)
        except Exception:
            logger.exception("%r could not be told", report)

    def _look(self) -> Sight | None:
        """Look at the loop's stack; None: it came free before, or the watch is at its end."""
        innermost = sys._current_frames().get(self._loop_thread)
        # In its last moments the loop waits for this thread: that is nobody's fault.
        if innermost is None or self._alive or self._over.is_set():
            return None
        frames = list(_outwards(innermost))
        task, depth = _task_of(self._root, frames)
        frames = frames[:depth]  # the loop's own frames, outside the task's, are the same for everybody
        place = guilty([_place(frame) for frame in frames], self._machinery, _library_folders())
        if place is None:
            return None
        return Sight(task, place, stack_lines([(frame, frame.f_lineno) for frame in reversed(frames)]))


def stack_lines(stack: Sequence[tuple[FrameType, int]], most: int = _DEEPEST) -> tuple[str, ...]:
    """Return a stack as lines of text, innermost last; of a long one the innermost part."""
    entries = traceback.StackSummary.extract(iter(stack[-most:]))
    lines = [line for entry in entries.format() for line in entry.rstrip("\n").split("\n")]
    return (*([f"  … {len(stack) - most} more"] if len(stack) > most else ()), *lines)


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _place(frame: FrameType) -> Place:
    module = frame.f_globals.get("__name__")
    package = module.partition(".")[0] if isinstance(module, str) else ""
    return Place(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name, package)


def _task_of(root: trio.lowlevel.Task | None, frames: Sequence[FrameType]) -> tuple[trio.lowlevel.Task | None, int]:
    """Return the task that runs these frames, of all that there are, and how many of them are its own."""
    depths: dict[object, int] = {frame: depth for depth, frame in enumerate(frames, 1)}
    trail = [] if root is None else [root]
    try:
        while trail:
            task = trail.pop()
            depth = depths.get(getattr(task.coro, "cr_frame", None))
            if depth is not None:
                return task, depth
            for nursery in task.child_nurseries:
                trail.extend(nursery.child_tasks)
    except RuntimeError:
        pass  # the loop came free and changed what is walked over here
    return None, len(frames)


@cache
def _library_folders() -> tuple[str, ...]:
    found = (get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib"))
    return tuple(path.rstrip("/\\") + ("\\" if "\\" in path else "/") for path in dict.fromkeys(found) if path)


# ---- opening


def _log(_task: trio.lowlevel.Task | None, report: LoopBlocked | LoopFree) -> None:
    who = report.task or "nobody's task"
    where = f"{report.file}:{report.line} in {report.function}"
    if isinstance(report, LoopFree):
        logger.warning("the event loop goes on: it stood for %.2f s in %s at %s", report.seconds, who, where)
        return
    stack = "\n".join(report.stack)
    logger.warning("the event loop stands since %.2f s in %s at %s\n%s", report.seconds, who, where, stack)


def check_watch(threshold: object, interval: object, tell: object) -> None:
    """Refuse times that are none, and what cannot be called."""
    if tell is not None and not callable(tell):
        msg = f"tell must be a function that takes a LoopBlocked or LoopFree, not {tell!r}"
        raise TypeError(msg)
    for what, value in (("threshold", threshold), ("interval", threshold if interval is None else interval)):
        check_seconds(what, value)
        if value in {0, math.inf}:
            msg = f"{what} must be more than 0 seconds and finite, such as 0.1, not {value!r}"
            raise ValueError(msg)


@asynccontextmanager
async def open_watch(
    tell: Callable[[trio.lowlevel.Task | None, LoopBlocked | LoopFree], object],
    threshold: float,
    interval: float | None,
    machinery: frozenset[str] = frozenset(),
) -> AsyncGenerator[LoopWatch]:
    """Watch the loop; who tells also gets the guilty task."""
    await trio.lowlevel.checkpoint()
    watch = LoopWatch(tell, threshold, threshold if interval is None else interval, machinery)
    try:
        watch._begin()
        yield watch
    finally:
        await watch._end()


def watch_loop(
    threshold: float = 0.1,
    interval: float | None = None,
    *,
    tell: Callable[[LoopBlocked | LoopFree], object] | None = None,
) -> AbstractAsyncContextManager[LoopWatch]:
    """Watch the loop for synchronous code that blocks it, and tell which task and which line it is.

    You want it wherever others write the code that your loop runs: one call that waits for a disk, a lock or a long
    computation makes all tasks wait, and without a thread nobody is left to say so. Write
    `async with watch_loop() as watch: ...`, or put it into a tree: `ChildSpec.resource("watch", watch_loop)`.

    The thread asks the loop for a sign of life each `interval` seconds; nothing is hooked into the steps of tasks. A
    block is told once as it is noticed and once when it is over, blocks less than a second apart only the first time;
    `watch.statistics()` counts them all. The thread ends with the block.

    Args:
        threshold: seconds of real time without a sign of life that count as a block.
        interval: seconds between signs of life, by default the threshold: what blocks for as long as both together is
            certain to be noticed.
        tell: called in the watching thread with each `LoopBlocked`, while the loop stands, and then `LoopFree`; by
            default they go to the log `supervisors` as warnings.

    Raises:
        TypeError: a time is no number, or `tell` cannot be called.
        ValueError: a time is not more than 0 and finite.

    """
    check_watch(threshold, interval, tell)
    return open_watch(_log if tell is None else lambda _task, report: tell(report), threshold, interval)
