"""The store fails while a service runs: callers are told, nothing is half-written, and work goes on when it heals."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from spaceactors import (
    Actor,
    NotAccepted,
    Outcome,
    PostgresStore,
    SpaceOptions,
    SqliteStore,
    StoreError,
    handler,
    open_runtime,
)
from spaceactors.stores._sqlite import SqliteEngine
from tests.stores import postgres
from tests.stores.proxy import proxy_to

pytestmark = pytest.mark.timeout(240)

# Of these a few fill whatever free space the pages of a small file have.
LARGE = "x" * 20_000


class Worker(Actor[tuple[str, ...]]):
    options = SpaceOptions(idle_timeout=0.1)

    def __init__(self, gates: Gates) -> None:
        self.gates = gates

    @handler
    async def note(self, text: str) -> int:
        self.history.append(text)
        self.state = (*self.state, text)
        return len(self.state)

    @handler
    async def wait(self, text: str) -> None:
        self.gates.began.set()
        await self.gates.go_on.wait()
        await self.note(text)

    @handler
    async def work(self, text: str) -> str:
        self.gates.began.set()
        result = await self.step("work", self._effect, text)
        await self.note(text)
        return result

    async def _effect(self, text: str) -> str:
        self.gates.effects += 1
        await self.gates.go_on.wait()
        return text

    @handler
    async def remind(self) -> None:
        self.schedule("reminder", Worker.note, "reminded", after=0.1)


class Gates:
    """What turns and tests tell each other."""

    def __init__(self):
        self.began = trio.Event()
        self.go_on = trio.Event()
        self.effects = 0


class Locked:
    """A SQLite file that a foreign program has locked."""

    def __init__(self, directory):
        self.path = directory / "work.db"

    def new_store(self):
        return SqliteStore(self.path)

    @contextmanager
    def outage(self, _):
        stranger = sqlite3.connect(self.path, isolation_level=None)
        try:
            stranger.execute("BEGIN IMMEDIATE")
            yield
        finally:
            stranger.close()


class Full:
    """A SQLite file that may not grow."""

    def __init__(self, directory):
        self.path = directory / "work.db"

    def new_store(self):
        return SqliteStore(self.path)

    @contextmanager
    def outage(self, store):
        writer = store._engine._writer
        (pages,) = writer.execute("PRAGMA page_count").fetchone()
        writer.execute(f"PRAGMA max_page_count = {pages}").fetchone()
        yield
        writer.execute("PRAGMA max_page_count = 1000000").fetchone()


class Down:
    """A PostgreSQL server that cannot be reached."""

    def __init__(self, dsn, proxy):
        self.dsn = dsn
        self.proxy = proxy

    def new_store(self):
        return PostgresStore(self.dsn)

    @contextmanager
    def outage(self, _):
        self.proxy.down = True
        self.proxy.cut_all()
        yield
        self.proxy.down = False


@pytest.fixture(params=["locked", "full", *(["down"] if postgres.tested() else [])])
def place(request, tmp_path):
    if request.param != "down":
        yield {"locked": Locked, "full": Full}[request.param](tmp_path)
        return
    server = request.getfixturevalue("postgres_server")
    dsn = request.getfixturevalue("dsn")
    with proxy_to(server.port) as proxy:
        yield Down(dsn.replace(str(server.port), str(proxy.port)), proxy)


def service(store, gates=None):
    return open_runtime(Worker, deps=gates or Gates(), store=store)


async def until(holds, *args):
    with trio.fail_after(100):
        while not await holds(*args):  # noqa: ASYNC110 (nobody tells)
            await trio.sleep(0.01)


async def settled(runtime):
    return not (await runtime.snapshot()).ledger.pending


async def exact(place, expected):
    """Open the store once more: exactly this was noted, in this order."""
    store = place.new_store()
    async with service(store) as runtime:
        alice = runtime.space("alice")
        entries = await alice.history.read(limit=1000)
        assert await alice.state() == tuple(expected)
        assert [entry.value for entry in entries] == list(expected)
        assert [entry.position for entry in entries] == list(range(1, len(expected) + 1))
        assert not await runtime.dead_letters.list()
        assert not await trio.to_thread.run_sync(store._engine.verify)


async def test_D6_a_sender_is_told_and_may_send_again_when_it_heals(place):
    store = place.new_store()
    texts = [f"{number} {LARGE}" for number in range(4)]
    async with service(store) as runtime:
        alice = runtime.space("alice")
        await alice.ask(Worker.note, "first")
        refused = []

        async def send(number, text):
            with pytest.raises(StoreError) as error:
                await alice.with_options(message_id=str(number)).send(Worker.note, text)
            refused.append(error.value)

        with place.outage(store):
            async with trio.open_nursery() as senders:
                for number, text in enumerate(texts):
                    senders.start_soon(send, number, text)
            assert all(isinstance(error, NotAccepted) and str(error) for error in refused)
            await until(settled, runtime)
            assert (await runtime.snapshot()).ledger.accepted == 1
        for number, text in enumerate(texts):
            await persist(alice.with_options(message_id=str(number)).send, Worker.note, text)
        await until(settled, runtime)
        ledger = (await runtime.snapshot()).ledger
        assert ledger.accepted == ledger.outcomes[Outcome.HANDLED] == 5
    await exact(place, ["first", *texts])


async def persist(call, *args):
    """Call until the store is there again: it may take a moment to see that."""
    with trio.fail_after(100):
        while True:
            try:
                return await call(*args)
            except StoreError:
                await trio.sleep(0.05)


async def test_D6_an_asker_is_told_and_may_ask_again_when_it_heals(place):
    store = place.new_store()
    async with service(store) as runtime:
        alice = runtime.space("alice").with_options(message_id="one")
        with place.outage(store):
            if isinstance(place, Full):
                await fill(runtime)
            with pytest.raises(StoreError):
                await alice.ask(Worker.note, LARGE)
        assert await persist(alice.ask, Worker.note, LARGE) == 1
        assert await alice.ask(Worker.note, LARGE) == 1
    await exact(place, [LARGE])


async def fill(runtime):
    """Use up the free space of the pages there are."""
    with pytest.raises(StoreError):
        for _ in range(100):
            await runtime.space("filler").send(Worker.note, LARGE)


async def test_D6_a_turn_that_ends_in_the_outage_is_kept_when_it_heals(place):
    store, gates = place.new_store(), Gates()
    async with service(store, gates) as runtime:
        alice = runtime.space("alice")
        await alice.send(Worker.wait, LARGE)
        await alice.send(Worker.note, "behind")
        await gates.began.wait()
        with place.outage(store):
            if isinstance(place, Full):
                await fill(runtime)
            gates.go_on.set()
            await trio.sleep(0.2)
            ledger = (await runtime.snapshot()).ledger
            assert ledger.pending >= 2
        await until(settled, runtime)
        assert (await runtime.snapshot()).ledger.outcomes[Outcome.FAILED] == 0
    await exact(place, [LARGE, "behind"])


async def test_D6_a_step_that_ends_in_the_outage_has_run_once_when_it_heals(place):
    store, gates = place.new_store(), Gates()
    replies = []

    async def ask(handle):
        replies.append(await handle.ask(Worker.work, LARGE))

    async with service(store, gates) as runtime, trio.open_nursery() as nursery:
        nursery.start_soon(ask, runtime.space("alice"))
        await gates.began.wait()
        with place.outage(store):
            if isinstance(place, Full):
                await fill(runtime)
            gates.go_on.set()
            await trio.sleep(0.2)
            assert replies == []
    assert replies == [LARGE]
    assert gates.effects == 1
    await exact(place, [LARGE])


async def test_D6_T10_a_timer_that_is_due_in_the_outage_fires_once_when_it_heals(place):
    store = place.new_store()
    async with service(store) as runtime:
        alice = runtime.space("alice")
        await alice.ask(Worker.remind)
        with place.outage(store):
            await trio.sleep(0.4)

        async def reminded():
            try:
                return await alice.state() == ("reminded",)
            except StoreError:
                return False

        await until(reminded)
        await trio.sleep(0.3)
    await exact(place, ["reminded"])


async def test_D6_what_was_accepted_without_waiting_is_kept_when_it_heals(place):
    store = place.new_store()
    texts = [f"{number} {LARGE}" for number in range(3)]
    async with service(store) as runtime:
        alice = runtime.space("alice")
        await alice.ask(Worker.note, "first")
        with place.outage(store):
            for text in texts:
                alice.send_nowait(Worker.note, text)
            await trio.sleep(0.2)
        await until(settled, runtime)
    await exact(place, ["first", *texts])


# ---- files that are no good


async def refused(path):
    with pytest.raises(StoreError) as error:
        async with service(SqliteStore(path)):
            pytest.fail("the block was entered")
    return str(error.value)


async def test_D6_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "letter.txt"
    path.write_text("Dear all,\n" * 1000)
    assert str(path) in await refused(path)
    assert path.read_text() == "Dear all,\n" * 1000


async def test_D6_a_damaged_file_is_a_clear_error_and_no_crash(tmp_path):
    path = tmp_path / "work.db"
    async with service(SqliteStore(path)) as runtime:
        for number in range(50):
            await runtime.space(f"space-{number}").send(Worker.note, LARGE)
    bytes_ = bytearray(path.read_bytes())
    bytes_[4096:] = os.urandom(len(bytes_) - 4096)
    path.write_bytes(bytes_)
    assert str(path) in await refused(path)


NOBODY = 65534


@pytest.fixture
def plain_user(tmp_path):
    """A folder of somebody who may not write everything, as whom the test runs."""
    if os.name != "posix" or os.geteuid() != 0:
        yield tmp_path
        return
    with tempfile.TemporaryDirectory() as folder:
        os.chown(folder, NOBODY, NOBODY)
        os.seteuid(NOBODY)
        try:
            yield Path(folder)
        finally:
            os.seteuid(0)


async def test_D6_a_file_that_may_not_be_written_is_refused(plain_user):
    path = plain_user / "work.db"
    async with service(SqliteStore(path)) as runtime:
        await runtime.space("alice").ask(Worker.note, "first")
    path.chmod(0o400)
    assert "write" in await refused(path)


async def test_D6_work_goes_on_when_reading_fails_for_a_while(tmp_path, monkeypatch):
    path = tmp_path / "work.db"
    store = SqliteStore(path)
    async with service(store) as runtime:
        alice = runtime.space("alice")
        await alice.ask(Worker.note, "first")

        async def gone():
            return not (await runtime.snapshot()).live

        await until(gone)
        with monkeypatch.context() as patched:

            def broken(*_):
                raise StoreError("disk I/O error")

            patched.setattr(SqliteEngine, "load", broken)
            with pytest.raises(StoreError, match="I/O"):
                await alice.ask(Worker.note, "second")
            with pytest.raises(StoreError, match="I/O"):
                await alice.send(Worker.note, "second")
        assert await alice.ask(Worker.note, "second") == 2
