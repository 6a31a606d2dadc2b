"""What `SqliteStore` and `PostgresStore` have in common: the port's calls over a desk, an engine and a codec."""

from __future__ import annotations

from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from trio.lowlevel import enable_ki_protection

from spaceactors._errors import ConcurrentModification, StoreError
from spaceactors._receipt import Receipt
from spaceactors._store import EpochLost, Row, VersionLost
from spaceactors.stores._desk import Desk
from spaceactors.stores._engine import Put
from spaceactors.stores._freeze import Freezer, length_after, summed
from spaceactors.stores._holding import free, take
from spaceactors.stores._land import Landing
from spaceactors.stores._reading import Reading
from spaceactors.stores._thaw import Thawer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from spaceactors._actor import Actor
    from spaceactors._dead_letters import DeadLetter
    from spaceactors._handle import SpaceHandle
    from spaceactors._hub import Hub
    from spaceactors._message import Message
    from spaceactors._store import Commit, Known, Recorded, Settled
    from spaceactors._suspensions import Asked
    from spaceactors._timers import Timer
    from spaceactors.stores._engine import Engine, Loaded
    from spaceactors.stores._engine import Row as Written

S = TypeVar("S")


class DurableStore(Reading):
    """Keeps spaces in a database, through an engine that knows how.

    One runtime at a time has it open. All methods are for the runtime, except `update`, `update_if`, `update_many` and
    `version`.
    """

    durable = True
    check = None

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._freeze: Freezer
        # Whether the database is called in the Trio thread itself, so that no time passes meanwhile (tests).
        self.inline = False

    def __repr__(self) -> str:
        return self._engine.name

    # ---- life

    async def open(self, hub: Hub, /) -> None:
        """Connect, and get ready for the spaces of this runtime."""
        if self._hub is not None:
            msg = f"{self._engine.name} is open in another runtime: give each runtime a store of its own"
            raise StoreError(msg)
        from spaceactors._codec import Codec  # it loads msgspec, which only who stores needs

        self._desk = Desk(self._engine)
        self._desk.inline = self.inline
        self._desk.epoch = epoch = await self._desk.alone(self._engine.open)
        self._hub = hub
        codec = Codec(hub.by_name.values(), lambda kind, space_id: hub.handle(hub.by_name[kind], space_id))
        self._freeze = Freezer(codec, hub.clock, hub.by_name, epoch)
        self._thaw = Thawer(codec, hub)

    async def run(self, failing: Callable[[StoreError], None], healed: Callable[[], None], /) -> None:
        """Write what there is to write."""
        await self._desk.run(failing, healed)

    async def flush(self) -> bool:
        """Wait until everything is written, or cannot be."""
        return await self._desk.flush()

    def stop(self) -> None:
        """Write nothing more."""
        self._desk.give_up(StoreError(f"{self._engine.name}: the runtime has ended, and writes nothing more"))

    async def close(self) -> None:
        """Disconnect."""
        self._hub = None
        self._rows.clear()
        await self._desk.close()

    def lose(self) -> None:
        """Forget everything that is not written."""
        self._desk.give_up(StoreError("the store was lost, as with a killed process"))
        self._rows.clear()
        self._hub = None

    # ---- rows in memory

    def find(self, kind: str, space_id: str, /) -> Row | None:
        """Return a row that is in memory."""
        return self._rows.get((kind, space_id))

    def create(self, kind: str, space_id: str, state: object, group: str | None, /) -> Row:
        """Begin a row in memory; the database gets it with the first thing to keep."""
        row = self._rows[kind, space_id] = Row(kind, space_id, state, group=group)
        return row

    def load(self, kind: str, space_id: str, /) -> Receipt[Row]:
        """Bring a row into memory."""
        found: Receipt[Row] = Receipt()

        def loaded(receipt: Receipt[Loaded]) -> None:
            if receipt.error is not None:
                found.finish(error=receipt.error)
                return
            row = None if receipt.value is None else self._thaw.loaded(receipt.value)
            if row is not None:
                self._rows[kind, space_id] = row
            found.finish(row)

        self._desk.load((kind, space_id)).then(loaded)
        return found

    def release(self, row: Row, /) -> None:
        """Forget a row."""
        if self._rows.get((row.kind, row.id)) is row:
            del self._rows[row.kind, row.id]

    async def refresh(self, row: Row, /) -> None:
        """Read state and version again."""
        await take(row)
        try:
            await self._read_again(row)
        finally:
            self.free(row)

    async def _read_again(self, row: Row) -> None:
        space = await self._desk.read(self._engine.space, (row.kind, row.id))
        if space is None:
            msg = f"{row.id} was deleted by another process"
            raise StoreError(msg)
        row.version, row.length = space.version, space.length
        row.next_position, row.last_event = space.next_entry, space.last_event
        self._thaw.read_state(row, space)

    # ---- turns

    async def commit(self, row: Row, commit: Commit, /) -> None:
        """Keep what a turn did."""
        kept = self.write_commit(row, commit)
        if kept is not None:
            await kept.wait_known()
            self.committed(row, commit)

    def write_commit(self, row: Row, commit: Commit, /) -> Receipt[None] | None:
        """Have a commit written."""
        if row.version != commit.version:
            raise VersionLost
        extra = None if commit.message is None else commit.message.extra
        if extra is not None and extra.lost:
            msg = f"{commit.message!r} could not be written, and its sender knows: what its turn did is not kept"
            raise StoreError(msg)
        written = self._freeze.commit(row, commit)
        if not written and (extra is None or extra.landing is None):
            return None
        write = self._desk.write(written, (row.kind, row.id))
        if extra is not None:
            extra.carrier = write
        return write

    def committed(self, row: Row, commit: Commit, /) -> None:
        """Take over into memory what a commit has written."""
        row.stored = True
        if commit.changed:
            row.state, row.version = commit.state, commit.version + 1
        if commit.plain:
            return
        if commit.entries:
            row.length = length_after(row, commit)
            row.next_position += len(commit.entries)
        if commit.emitted:
            row.last_event += len(commit.emitted)
        if commit.counts:
            row.counters = summed(row.counters, commit.counts)
        for target, _ in commit.outbox:
            target.stored = True

    def note(self, row: Row, /) -> None:
        """Keep whether a space is stopped or quarantined."""
        if self._rows.get((row.kind, row.id)) is not row:
            return  # deleted meanwhile
        if row.held:
            row.note_due = True
            return
        # Refused only where another process has changed the space meanwhile: what it wrote is newer.
        self._desk.write(self._freeze.note(row), (row.kind, row.id), insist=True)

    async def take(self, row: Row, /) -> None:
        """Wait until nobody else writes the row itself."""
        await take(row)

    def free(self, row: Row, /) -> None:
        """End the writing of a row; the note that has come meanwhile follows."""
        if row.line is None and not row.note_due:
            row.held = False
            return
        free(row)
        if row.note_due:
            row.note_due = False
            self.note(row)

    async def delete(self, kind: str, space_id: str, /) -> None:
        """Remove all that is kept of a space."""
        row = self._rows.pop((kind, space_id), None)
        if row is not None:
            row.stored = False
        await self._desk.write([(Put.ERASE_SPACE, (kind, space_id))], (kind, space_id)).wait()

    # ---- messages

    def pack(self, message: Message, kind: str, /) -> None:
        """Prepare a message to be written."""
        message.rare().packed = self._freeze.call(message, kind)

    def number(self, message: Message, /) -> None:
        """Give a message its place."""
        self._freeze.number(message.rare())

    def accept(self, row: Row, message: Message, /, *, insist: bool = False) -> Receipt[None]:
        """Write a message that has taken its place; whoever asks for it notes what became of it."""
        landing = Landing(self._desk, self._freeze, row, message, insist=insist)
        self._desk.put(landing)
        return landing

    def _add(self, row: Row, rows: list[Written], message: Message) -> Receipt[None]:
        """Write, in the end, rows of a message, with its own if it had none."""
        receipt = self._desk.write(rows, None, insist=True)
        number = message.rare().row
        _carry(message, receipt)

        def added(receipt: Receipt[None]) -> None:
            if receipt.error is None:
                row.stored = True
            elif message.rare().row == number:
                message.rare().row = 0

        receipt.then(added)
        return receipt

    def put_back(self, row: Row, message: Message, /) -> None:
        """Keep how often a message was tried."""
        if message.extra is not None and message.extra.row:
            self._desk.write(self._freeze.put_back(row, message), (row.kind, row.id), insist=True)

    def settle(self, row: Row, message: Message, settled: Settled, /) -> Receipt[None] | None:
        """Keep the outcome of a message."""
        rows = self._freeze.settled(row, message, settled)
        if not rows:
            return None
        receipt = self._desk.write(rows, (row.kind, row.id), insist=True)
        _carry(message, receipt)
        receipt.then(lambda one: setattr(row, "stored", row.stored or one.error is None))
        return receipt

    async def settled_down(self, row: Row, /) -> None:
        """Wait until what was asked for so far of a space is written; return also if it cannot be now."""
        with suppress(StoreError):
            await self._desk.write((), (row.kind, row.id)).wait()

    def read_known(self, row: Row, known: Known, /) -> None:
        """Read what is remembered of an id."""
        self._thaw.read_known(row.kind, known)

    def record(self, row: Row, message: Message, key: str, step: Recorded, /) -> Receipt[None]:
        """Keep the result of a step."""
        return self._add(row, self._freeze.step(row, message, key, step), message)

    # ---- questions

    def ask(self, row: Row, asked: Asked, /) -> Receipt[None]:
        """Keep an open question."""
        receipt = self._desk.write(self._freeze.question(row, asked), (row.kind, row.id), insist=True)
        _carry(asked.message, receipt)
        receipt.then(lambda one: setattr(row, "stored", row.stored or one.error is None))
        return receipt

    async def answer(self, row: Row, asked: Asked, step: Recorded, /) -> None:
        """Keep an answer, if the space is ours still: else its owner would not know that the question is closed."""
        await take(row)
        try:
            written = [*self._freeze.answer(row, asked, step), *self._freeze.note(row)]
            await self._desk.write(written, (row.kind, row.id)).wait()
        finally:
            self.free(row)

    # ---- timers

    def set_timer(self, row: Row, key: str, timer: Timer | None, /) -> None:
        """Keep a timer that no commit told."""
        self._desk.write([self._freeze.timer(row, key, timer)], (row.kind, row.id), insist=True)

    async def count_recoveries(self) -> None:
        """Add a recovery to the message at the head of each line."""
        await self._desk.alone(self._engine.count_recoveries, tuple(self._home().by_name))

    # ---- dead letters

    def bury(self, letter: DeadLetter, /) -> int:
        """Do nothing: a letter is written with its message's outcome."""
        del letter
        return 0

    async def unbury(self, numbers: Iterable[int], /) -> int:
        """Take dead letters out."""
        receipts = [self._desk.write([(Put.UNBURY, (number,))], None) for number in numbers]
        taken = 0
        for receipt in receipts:
            try:
                await receipt.wait()
            except VersionLost:
                continue
            taken += 1
        return taken

    # ---- states, from outside

    async def update(self, space: SpaceHandle[Actor[S]], change: Callable[[S], S], /) -> int:
        """Change a space's committed state from outside; return the new version."""
        return (await self._change({space: change}, None))[space]

    async def update_if(self, space: SpaceHandle[Actor[S]], version: int, change: Callable[[S], S], /) -> int:
        """Change a space's state if it still has that version; return the new one."""
        return (await self._change({space: change}, version))[space]

    async def update_many(
        self, changes: Mapping[SpaceHandle[Actor[S]], Callable[[S], S]], /
    ) -> Mapping[SpaceHandle[Actor[S]], int]:
        """Change the states of several spaces, all or none; return their new versions."""
        return await self._change(changes, None)

    @enable_ki_protection
    async def _change(
        self, changes: Mapping[SpaceHandle[Any], Callable[[Any], Any]], version: int | None
    ) -> dict[SpaceHandle[Any], int]:
        hub = self._home()
        async with hub.loading.held(changes) as rows, AsyncExitStack() as stack:
            for row in sorted(rows.values(), key=lambda one: (one.kind, one.id)):
                await take(row)
                stack.callback(self.free, row)
            while True:
                new = {handle: _changed(handle, row, version, changes[handle]) for handle, row in rows.items()}
                read = {handle: row.version for handle, row in rows.items()}
                written = [one for handle, row in rows.items() for one in self._freeze.state(row, new[handle])]
                try:
                    await self._desk.write(written, next(iter(rows)).key if len(rows) == 1 else None).wait_known()
                except VersionLost:
                    for row in rows.values():
                        await self._read_again(row)
                    continue
                except EpochLost as error:
                    names = ", ".join(handle.id for handle in rows)
                    msg = f"{names}: owned by a later opening of the store; this one has lost it"
                    raise StoreError(msg) from error
                for handle, row in rows.items():
                    row.state, row.version, row.stored = new[handle], read[handle] + 1, True
                    handle._state_replaced()
                return {handle: row.version for handle, row in rows.items()}


def _carry(message: Message, receipt: Receipt[None]) -> None:
    """Have a message land with what is written in the end; its own row, if that is on its way, must be kept too."""
    extra = message.extra
    if extra is not None:
        extra.carrier = receipt
        if isinstance(extra.landing, Landing):
            extra.landing.insist = True


def _changed(handle: SpaceHandle[Any], row: Row, version: int | None, change: Callable[[Any], Any]) -> Any:
    if row.unreadable:
        msg = f"the state of {handle.id} cannot be read: {row.quarantined}"
        raise StoreError(msg, space=handle)
    if version is not None and row.version != version:
        msg = f"the state of {handle.id} has version {row.version}, not {version}: somebody changed it meanwhile"
        raise ConcurrentModification(msg, space=handle)
    return change(row.state)
