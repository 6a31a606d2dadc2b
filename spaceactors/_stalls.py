"""Turns that make no progress: noticed, told with their stacks, and left alone.

A worker that begins to work puts itself on a list, once for many turns, and the list is looked at now and then: who
rests is taken off it, and idle spaces cost nothing. What a look makes of a turn is decided in `_stall_rule.py`.
"""

from __future__ import annotations

from itertools import islice
from math import inf
from typing import TYPE_CHECKING, Any, final

from spaceactors._events import TurnStalled, TurnWentOn
from spaceactors._stall_rule import SHORTEST, Seen, Sight, Turn, Waiting, look, pause

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from types import FrameType

    from trio.lowlevel import Task

    from spaceactors._hub import Hub
    from spaceactors._keeper import Alarm
    from spaceactors._space import Space
    from spaceactors._worker import Worker

# So many workers are looked at in one go, which takes about a millisecond; the next ones after the shortest pause.
_AT_ONCE = 500
# Lines of a task's stack that are told, and how many tasks of a turn: its own and the deepest ones.
_LINES = 20
_TASKS = 4
# Whose frames are the same at the top of every turn's stack.
_WORKER = frozenset({"contextlib", "spaceactors", "trio"})


# ---- what a turn is doing


def turn_of(worker: Worker) -> Turn:
    """Return what there is to see of an open turn."""
    space, message, record = worker.space, worker.message, worker.maybe_record
    done: list[int] = []
    values: list[object] = [space.working]
    if record is not None:
        sized = (record.entries, record.outbox, record.emitted, record.timers)
        done += (record.begun, *map(len, sized))
        done += (sum(record.asked.values()), sum(record.named.values()))
        values += record.counts.values()
    if message is not None and message.extra is not None:
        reader = message.extra.reader
        done += (len(message.extra.journal), 0 if reader is None else reader.handed)
    done += (reader.read for reader in _read_by(worker))
    return Turn(message, worker.scope, tuple(done), tuple(values))


def _read_by(worker: Worker) -> Iterator[Any]:
    """Return the streams that a turn reads."""
    for wait in worker.waits:
        if wait.message is not None and wait.message.extra is not None and wait.message.extra.reader is not None:
            yield wait.message.extra.reader


def waits(worker: Worker) -> Waiting:
    """Tell whether an open turn waits for somebody else: an answer, its lane, its reader, or the store."""
    if worker.returned:
        return Waiting.SEEN  # it is being committed, which is the store's to do
    for wait in worker.waits:
        if wait.message is None or wait.streams:
            if wait.held_up:
                return Waiting.SEEN
        elif wait.on:
            return Waiting.NOTED
    lane = worker.space.lane
    own = None if worker.message is None or worker.message.extra is None else worker.message.extra.reader
    seen = (lane is not None and lane.awaited_by(worker)) or (own is not None and own.behind)
    return Waiting.SEEN if seen else Waiting.NO


# ---- stacks


def stack_of(task: Task) -> tuple[str, ...]:
    """Return where a turn stands, as lines of text: its own task, and the deepest of those that it has started."""
    from supervisors._watch import stack_lines  # what formats stacks is loaded with the first need

    path = _to_deepest(task)
    lines: list[str] = []
    for one in path if len(path) <= _TASKS else (path[0], *path[1 - _TASKS :]):
        if one is not task:
            lines.append(f"  in the task {one.name!r}, which it has started:")
        lines += stack_lines(_own(list(one.iter_await_frames())), _LINES)
    return tuple(lines)


def _to_deepest(task: Task) -> list[Task]:
    """Return the tasks from a turn's own down to the deepest that runs below it; of several, the first by name."""
    parents: dict[Task, Task | None] = {task: None}
    level: list[Task] = [task]
    deepest = task
    while level:
        deepest = min(level, key=lambda one: one.name)
        below = [(child, one) for one in level for nursery in one.child_nurseries for child in nursery.child_tasks]
        parents.update(below)
        level = [child for child, _ in below]
    path: list[Task] = []
    one: Task | None = deepest
    while one is not None:
        path.append(one)
        one = parents[one]
    return path[::-1]


def _own(stack: Sequence[tuple[FrameType, int]]) -> Sequence[tuple[FrameType, int]]:
    """Leave out what is the same in every stack: the worker's part at the top, and Trio's below its first call."""
    packages = [str(frame.f_globals.get("__name__", "")).partition(".")[0] for frame, _ in stack]
    first = next((number for number, package in enumerate(packages) if package not in _WORKER), 0)
    last = len(stack)
    while last > first + 1 and packages[last - 1] == packages[last - 2] == "trio":
        last -= 1
    return stack[first:last]


# ---- the shell


@final
class TokenWait:
    """A wait of a turn, or of background work, for the tokens of limits; used as `with`."""

    __slots__ = ("_stalls", "names", "since", "space", "worker")

    def __init__(self, stalls: Stalls, space: Space, worker: Worker | None, names: Sequence[str]) -> None:
        self._stalls = stalls
        self.space = space
        # None: background work.
        self.worker = worker
        self.names = names
        self.since = space.clock.now

    def __enter__(self) -> None:
        self._stalls.token_waits[self] = None

    def __exit__(self, *_: object) -> None:
        del self._stalls.token_waits[self]
        if self.worker is not None:
            self._stalls.progressed(self.worker)


@final
class Stalls:
    """Looks at the open turns of a runtime."""

    __slots__ = (
        *("_alarm", "_alarm_at", "_awake", "_fresh", "_looked_at", "_next", "_pause", "_runtime", "_todo"),
        *("count", "token_waits"),
    )

    def __init__(self, runtime: Hub) -> None:
        self._runtime = runtime
        self._pause = min((pause(kind.options.stalled_after) for kind in runtime.by_name.values()), default=inf)
        # Workers that may have an open turn, with what was seen of them; who rests is taken out by the next look.
        self._awake: dict[Worker, Sight | None] = {}
        # The next look; None: nobody is awake.
        self._alarm: Alarm | None = None
        self._alarm_at = inf
        # When the last look around began, those of it who are still to be looked at, and when the next one is due.
        self._looked_at = -inf
        self._todo: Iterator[Worker] = iter(())
        self._next = inf
        # Whether anybody was noted since that one began: then the next one is due soon.
        self._fresh = False
        # How many stalls there were.
        self.count = 0
        # Who waits for tokens, in the order in which they came.
        self.token_waits: dict[TokenWait, None] = {}

    # ---- what is told to it

    def note(self, worker: Worker) -> None:
        """Look after a worker that begins to work, until it rests."""
        worker.noted = True
        space = worker.space
        if space.options.stalled_after < inf:
            self._awake[worker] = None
            self._fresh = True
            # Nearly always a look is due soon anyway: a new space pays no more than this.
            soon = space.clock.now + self._pause
            if soon < self._alarm_at:
                self._look_by(soon)

    def leave(self, worker: Worker) -> None:
        """Forget a worker whose space leaves memory."""
        self._awake.pop(worker, None)

    def progressed(self, worker: Worker) -> None:
        """Take note of progress that a look would not see: something that a turn has waited for is there."""
        sight = self._awake.get(worker)
        if sight is None:
            return
        now = self._runtime.clock.now
        at = now + pause(worker.space.options.stalled_after)
        self._awake[worker] = Sight(sight.turn, now, at)
        self._look_by(at)
        if sight.told:
            self._tell(Seen.WENT_ON, worker, sight, now)

    def waiting(self, space: Space, worker: Worker | None, names: Sequence[str]) -> TokenWait:
        """Note, for a `with` block, that somebody waits for the tokens of limits."""
        return TokenWait(self, space, worker, names)

    # ---- what is asked of it

    def seconds(self, space: Space) -> float | None:
        """Return for how long a turn of a space has been stalled; None: none is, as of the last look."""
        sights = (self._awake.get(worker) for worker in space.workers)
        since = min((sight.since for sight in sights if sight is not None and sight.told), default=None)
        return None if since is None else self._runtime.clock.exactly() - since

    # ---- looking

    def _look_by(self, at: float) -> None:
        """Have a look around at the time `at`, but no more often than needed: one costs a moment for each turn."""
        self._next = min(self._next, at)
        at = max(at, self._looked_at + self._pause)
        if at < self._alarm_at:
            self._set(at)

    def _set(self, at: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm, self._alarm_at = self._runtime.keeper.set(at, self._look), at

    def _look(self) -> None:
        """Look at some of those who are awake."""
        now = self._runtime.clock.exactly()
        self._alarm, self._alarm_at = None, inf
        batch = list(islice(self._todo, _AT_ONCE))
        if not batch:
            self._looked_at, self._next, self._fresh = now, inf, False
            self._todo = iter(list(self._awake))
            batch = list(islice(self._todo, _AT_ONCE))
        held_up = {wait.worker for wait in self.token_waits}
        for worker in batch:
            self._look_at(worker, now, held_up)
        if len(batch) == _AT_ONCE:
            self._set(now + SHORTEST)
            return
        if self._fresh:
            self._next = min(self._next, now + self._pause)
        if self._next < inf:
            self._look_by(self._next)

    def _look_at(self, worker: Worker, now: float, held_up: Collection[Worker | None]) -> None:
        if worker not in self._awake:
            return  # it left while others were looked at
        sight = self._awake[worker]
        if not worker.open:
            worker.noted = False
            del self._awake[worker]
            if sight is not None and sight.told:
                self._tell(Seen.WENT_ON, worker, sight, now)
            return
        before, seen = sight, Seen.QUIET
        if sight is None or sight.look_at <= now:
            waiting = Waiting.NOTED if worker in held_up else waits(worker)
            turn = turn_of(worker) if waiting is Waiting.NO else None
            sight, seen = look(before, turn, now, waiting, worker.space.options.stalled_after)
            self._awake[worker] = sight
        self._next = min(self._next, sight.look_at)
        if seen is Seen.STALLED:
            self.count += before is not None and not before.told
            self._tell(seen, worker, sight, now)
        elif seen is Seen.WENT_ON and before is not None:
            self._tell(seen, worker, before, now)

    def _tell(self, seen: Seen, worker: Worker, sight: Sight, now: float) -> None:
        message = None if sight.turn is None else sight.turn.message
        what = (None, None) if message is None else (message.id, message.call)
        if seen is Seen.WENT_ON:
            self._runtime.publish(TurnWentOn, worker.space, *what, now - sight.since)
        else:
            self._runtime.publish(TurnStalled, worker.space, *what, now - sight.since, stack_of(worker.task))
