"""The one writer of a durable store: gathers what is to be written, and writes it group by group in a worker thread.

While one group is on its way to the disk the next gathers, so that a busy service pays for one commit what a quiet one
pays for a single message. What is taken into a group, and in which order, is decided without waiting (`take_group`).
"""

from __future__ import annotations

from collections import deque
from math import inf
from typing import TYPE_CHECKING, Any, TypeVar, final

import trio

from spaceactors._errors import StoreError
from spaceactors._receipt import Receipt
from spaceactors._store import EpochLost
from spaceactors.stores._engine import Put
from spaceactors.stores._thread import OwnThread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from spaceactors.stores._engine import Engine, Key, Loaded, Row

T = TypeVar("T")

# As many rows fit into one transaction before its time is felt by those who wait.
MOST_ROWS = 4096
# Seconds before the next try when nothing can be written, and at most.
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 5.0


class Write(Receipt[None]):
    """Rows that are kept together or not at all, and the promise to do so."""

    def __init__(self, rows: Sequence[Row], key: Key | None, *, insist: bool) -> None:
        self.rows = rows
        # The space whose own row, or whose rows of one name, it changes: one such write of a space in a group, so that
        # rows of a kind can be written together. None: it only adds what is new.
        self.key = key
        # Whether it is tried until it can be kept.
        self.insist = insist

    def ready(self) -> bool:
        """Tell, as it comes into a group, whether there is still something to write."""
        return True


@final
class Load(Receipt["Loaded"]):
    """A space to be read, after all that was to be written of it, and the promise to do so."""

    def __init__(self, key: Key) -> None:
        self.key = key


def take_group(queue: deque[Write | Load], most: int = MOST_ROWS) -> tuple[list[Write], list[Load]]:
    """Take the next group out of the queue: in its order, but of each space one change only.

    What changes a space that is in the group already stays, and so does all that comes after it for that space.
    A deletion goes alone. No waiting.
    """
    writes: list[Write] = []
    loads: list[Load] = []
    left: list[Write | Load] = []
    changed: set[Key] = set()
    blocked: set[Key] = set()
    rows = 0
    while queue and rows < most:
        one = queue.popleft()
        key = one.key
        if isinstance(one, Load):
            (left if key in blocked else loads).append(one)
            continue
        if key is not None:
            if key in changed or key in blocked:
                blocked.add(key)
                left.append(one)
                continue
            if one.rows and one.rows[0][0] is Put.ERASE_SPACE:
                if writes or loads or left:
                    left.append(one)
                    break
                return [one], []
            changed.add(key)
        if one.ready():
            rows += len(one.rows)
            writes.append(one)
    queue.extendleft(reversed(left))
    return writes, loads


def without_stale(
    writes: Sequence[Write], loads: Sequence[Load], found: Sequence[Loaded | Exception | None], error: StoreError
) -> Sequence[Loaded | Exception | None]:
    """Return what was loaded, but the error for spaces of which something failed and is still to be written. Pure.

    What the database has of these is older than what this process knows: messages would come back that have ended.
    """
    stale = {
        values[1:3] if put is Put.ASK else values[:2] for write in writes if write.insist for put, values in write.rows
    }
    return [error if load.key in stale else one for load, one in zip(loads, found, strict=True)]


def part_stuck(queue: deque[Write | Load], keys: set[Key | None]) -> tuple[deque[Write | Load], list[Write | Load]]:
    """Part what waits behind a write that failed and will be tried again, and could be told so now. No waiting.

    It would not even be tried before that one is written, and whoever asked for it would wait through the outage.
    """
    stuck = [
        one for one in queue if one.key is not None and one.key in keys and (isinstance(one, Load) or not one.insist)
    ]
    told = set(map(id, stuck))
    return deque(one for one in queue if id(one) not in told), stuck


@final
class Desk:
    """Takes writes and loads, and has an engine carry them out."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.epoch = 0
        # Whether the engine is called in the Trio thread itself: then no time passes meanwhile (tests).
        self.inline = False
        self._queue: deque[Write | Load] = deque()
        self._waiting: trio.Event | None = None
        # Set when there is nothing left to write, or it cannot be written.
        self._idle: trio.Event | None = None
        self._busy = False
        # How long to pause before the next try; 0: the last group was kept.
        self._pause = 0.0
        # Why nothing is done any more, if it is over.
        self._lost: StoreError | None = None
        self._thread = OwnThread(f"writer of {engine.name}")
        # A limiter of its own: a service that fills Trio's default one with its own calls stops no reading.
        self._reading = trio.CapacityLimiter(4)

    # ---- what is asked for

    def write(self, rows: Sequence[Row], key: Key | None, *, insist: bool = False) -> Receipt[None]:
        """Have rows written in their turn."""
        write = Write(rows, key, insist=insist)
        self._put(write)
        return write

    def put(self, write: Write) -> None:
        """Have a write in its turn that was made elsewhere."""
        self._put(write)

    def load(self, key: Key) -> Receipt[Loaded]:
        """Have a space read in its turn."""
        load = Load(key)
        self._put(load)
        return load

    def _put(self, one: Write | Load) -> None:
        if self._lost is not None:
            one.finish(error=self._lost)
            return
        self._queue.append(one)
        if self._waiting is not None:
            self._waiting.set()

    async def read(self, call: Callable[..., T], *args: Any) -> T:
        """Call a reading function of the engine, beside what is written."""
        if self.inline:
            await trio.lowlevel.checkpoint()
            return call(*args)
        return await trio.to_thread.run_sync(call, *args, limiter=self._reading)

    async def alone(self, call: Callable[..., T], *args: Any) -> T:
        """Call a function of the engine while nothing is written; nothing that is cancelled cuts it short."""
        if self.inline:
            await trio.lowlevel.cancel_shielded_checkpoint()
            return call(*args)
        return await self._thread.call(call, *args)

    # ---- the writer

    async def run(self, failing: Callable[[StoreError], None], healed: Callable[[], None]) -> None:
        """Write for ever; say when that begins to fail, and when it works again."""
        while True:
            if not self._queue:
                await self._rest()
            writes, loads = take_group(self._queue)
            if not (writes or loads):
                continue
            try:
                await self._serve(writes, loads, failing, healed)
            except BaseException as error:
                # Cancelled, or a fault of ours: those who wait behind a shield must hear of it, or nothing would end.
                text = f"{self._engine.name}: the writer has ended, and whether it was written is not known"
                group: list[Write | Load] = [*writes, *loads]
                for one in group:
                    if not one.done:
                        one.finish(error=StoreError(f"{text}: {error!r}"))
                raise
            if self._pause:
                await self._rest(self._pause)

    async def _serve(
        self,
        writes: list[Write],
        loads: list[Load],
        failing: Callable[[StoreError], None],
        healed: Callable[[], None],
    ) -> None:
        """Carry out one group, and tell all who wait for it."""
        self._busy = True
        kept, found = await self.alone(self._carry_out, writes, loads)
        self._busy = False
        if isinstance(kept, StoreError):
            self._failed(writes, kept, failing)
            found = without_stale(writes, loads, found, kept)
        else:
            self._kept(writes, kept, healed)
        for load, one in zip(loads, found, strict=True):
            if isinstance(one, Exception):
                load.finish(error=one)
            else:
                load.finish(one)

    async def _rest(self, most: float = inf) -> None:
        """Wait for something to do, or so many seconds."""
        if self._idle is not None:
            self._idle.set()
        self._waiting = trio.Event()
        with trio.move_on_after(most):
            await self._waiting.wait()
        self._waiting = None

    def _carry_out(
        self, writes: list[Write], loads: list[Load]
    ) -> tuple[Sequence[Exception | None] | StoreError, Sequence[Loaded | Exception | None]]:
        """Write and load; runs in the writer's thread."""
        kept: Sequence[Exception | None] | StoreError = ()
        if writes:
            try:
                some = any(one.rows for one in writes)
                kept = self._engine.write([one.rows for one in writes]) if some else [None] * len(writes)
            except StoreError as error:
                kept = error
        return kept, self._load([one.key for one in loads])

    def _load(self, keys: list[Key]) -> Sequence[Loaded | Exception | None]:
        if not keys:
            return ()
        try:
            return self._engine.load(keys, self.epoch)
        except EpochLost as error:
            return [error] if len(keys) == 1 else [one for key in keys for one in self._load([key])]
        except StoreError as error:
            return [error] * len(keys)

    def _kept(self, writes: list[Write], kept: Sequence[Exception | None], healed: Callable[[], None]) -> None:
        if self._pause and any(one.rows for one in writes):
            self._pause = 0.0
            healed()
        for write, error in zip(writes, kept, strict=True):
            write.finish(error=error)

    def _failed(self, writes: list[Write], error: StoreError, failing: Callable[[StoreError], None]) -> None:
        """Tell those who wait; what must be kept stays in its place."""
        if not self._pause:
            failing(error)
        self._pause = min(max(2 * self._pause, FIRST_PAUSE), LONGEST_PAUSE)
        must = [one for one in writes if one.insist]
        self._queue, stuck = part_stuck(self._queue, {one.key for one in must})
        self._queue.extendleft(reversed(must))
        for one in (*(one for one in writes if not one.insist), *stuck):
            one.finish(error=error)

    # ---- the end

    async def flush(self) -> bool:
        """Wait until nothing is left to write, or it turns out that it cannot be written; tell which."""
        while (self._queue or self._busy) and not self._pause:
            self._idle = trio.Event()
            await self._idle.wait()
        self._idle = None
        return not self._queue

    async def close(self) -> None:
        """Close the engine, and end the thread."""
        with trio.CancelScope(shield=True):
            await self.alone(self._engine.close)
        self._thread.stop()

    def give_up(self, error: StoreError) -> None:
        """Break what was promised and not done, and what is asked for from now on."""
        self._lost = error
        queue, self._queue = self._queue, deque()
        for one in queue:
            one.finish(error=error)
