"""The SQLite engine and its file: who may open it, what it says when something is wrong, and that it goes on."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from spaceactors._errors import StoreError
from spaceactors.stores import _schema as schema
from spaceactors.stores._engine import Put
from spaceactors.stores._sqlite import SqliteEngine
from spaceactors.stores._sqlite_file import APPLICATION, migrate
from spaceactors.stores._sqlite_load import _parts_sql, _spaces_sql
from spaceactors.stores._sqlite_statements import CLAIM, TEMPLATES, statements, table_sql
from tests.stores.engine_cases import KIND, A, B, Opened, begins, entry, marks, message, saves, settles

ROOT = Path(__file__).parents[2]
BIG = b"x" * 100_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spaces.db"


@pytest.fixture
def opened(make_sqlite_engine: Callable[[], SqliteEngine]) -> Opened:
    engine = make_sqlite_engine()
    return Opened(engine, engine.open())


def writer(opened: Opened) -> sqlite3.Connection:
    assert isinstance(opened.engine, SqliteEngine)
    assert opened.engine._writer is not None
    return opened.engine._writer


def refusal(path: Path | str) -> str:
    """Return why a store cannot be opened there."""
    engine = SqliteEngine(path)
    with pytest.raises(StoreError) as caught:
        engine.open()
    assert str(path) in str(caught.value)
    return str(caught.value)


def executed(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    for sql in statements:
        connection.execute(sql)
    connection.close()


# ---- what cannot be a store


def test_D6_a_directory_is_refused(tmp_path: Path):
    assert "is a directory" in refusal(tmp_path)


def test_D6_a_file_in_a_missing_directory_is_refused(tmp_path: Path):
    assert f"no directory {tmp_path / 'none'}" in refusal(tmp_path / "none" / "spaces.db")
    assert list(tmp_path.iterdir()) == []


def test_D6_a_file_that_is_no_database_is_refused_and_left_as_it_is(path: Path):
    path.write_text("my shopping list\n" * 1000)
    assert "no SQLite database" in refusal(path)
    assert path.read_text() == "my shopping list\n" * 1000


def test_D6_a_database_of_another_program_is_refused_and_left_as_it_is(path: Path):
    executed(path, "CREATE TABLE friends (name)")
    before = path.read_bytes()
    assert "another program" in refusal(path)
    assert path.read_bytes() == before


def test_D6_a_database_with_another_application_id_is_refused(path: Path):
    executed(path, "PRAGMA application_id = 77")
    assert "another program" in refusal(path)


def test_D6_a_store_of_a_newer_version_is_refused_and_left_as_it_is(
    path: Path, make_sqlite_engine: Callable[[], SqliteEngine]
):
    engine = make_sqlite_engine()
    engine.open()
    engine.close()
    executed(path, f"PRAGMA user_version = {schema.VERSION + 1}")
    before = path.read_bytes()
    assert "newer version" in refusal(path)
    assert "upgrade" in refusal(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("path", [":memory:", "", "file:x.db?mode=memory"])
def test_a_store_in_memory_is_refused(path: str):
    with pytest.raises(StoreError, match=r"MemoryStore\(\)"):
        SqliteEngine(path).open()


def test_an_unknown_synchronous_is_refused():
    with pytest.raises(ValueError, match='"FULL" or "NORMAL"'):
        SqliteEngine("x.db", synchronous="OFF")


def test_D6_a_damaged_file_is_refused(path: Path):
    keep_some(path)
    with path.open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * 3000)
    assert "damaged" in refusal(path)


def test_an_empty_file_becomes_a_store(path: Path, make_sqlite_engine: Callable[[], SqliteEngine]):
    path.touch()
    assert make_sqlite_engine().open() == 1


def test_a_refused_file_is_free_for_others(path: Path, make_sqlite_engine: Callable[[], SqliteEngine]):
    path.write_text("no database" * 100)
    engine = make_sqlite_engine()
    with pytest.raises(StoreError):
        engine.open()
    path.unlink()
    assert make_sqlite_engine().open() == 1


def test_opening_twice_is_refused(opened: Opened):
    with pytest.raises(StoreError, match="open already"):
        opened.engine.open()
    opened.begin(A)


# ---- rights


@contextmanager
def as_nobody() -> Iterator[None]:
    """Do without the rights of root, to whom no file is read-only."""
    if os.geteuid() == 0:
        os.seteuid(65534)
        try:
            yield
        finally:
            os.seteuid(0)
    else:
        yield


@pytest.fixture
def open_tmp_path(tmp_path: Path) -> Iterator[Path]:
    """A directory that everybody may reach."""
    before = {folder: folder.stat().st_mode for folder in (tmp_path, *tmp_path.parents)}
    closed = [folder for folder, mode in before.items() if mode & 0o111 != 0o111]
    for folder in closed:
        folder.chmod(before[folder] | 0o111)
    tmp_path.chmod(0o777)
    yield tmp_path
    for folder in closed:
        folder.chmod(before[folder])


def test_D6_a_file_that_may_only_be_read_is_refused(open_tmp_path: Path):
    path = open_tmp_path / "spaces.db"
    keep_some(path)
    path.chmod(0o444)
    with as_nobody():
        assert "may not read and write the file" in refusal(path)


def test_D6_a_directory_that_may_only_be_read_is_refused(open_tmp_path: Path):
    open_tmp_path.chmod(0o555)
    with as_nobody():
        assert f"may not write in {open_tmp_path}" in refusal(open_tmp_path / "spaces.db")


def test_D6_a_lock_file_that_may_only_be_read_is_refused(open_tmp_path: Path):
    lock = open_tmp_path / "spaces.db-lock"
    lock.touch()
    lock.chmod(0o444)
    with as_nobody():
        assert "spaces.db-lock" in refusal(open_tmp_path / "spaces.db")


# ---- one owner

OPEN_AND_WAIT = """
import sys
from spaceactors.stores._sqlite import SqliteEngine
engine = SqliteEngine(sys.argv[1])
print(engine.open(), flush=True)
{then}
sys.stdin.read()
"""


@contextmanager
def another_process(path: Path, then: str = "") -> Iterator[subprocess.Popen[str]]:
    """Run a process that has the store open, and has done something more."""
    program = OPEN_AND_WAIT.format(then=then)
    command = [sys.executable, "-c", program, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield process
        finally:
            process.kill()


def test_D2_a_second_process_is_refused_by_name_and_told_what_to_do(path: Path):
    with another_process(path) as process:
        assert f"process {process.pid} has it open; end that process" in refusal(path)


def test_D2_a_second_store_in_this_process_is_refused(path: Path, opened: Opened):
    assert "this process has it open already" in refusal(path)
    opened.begin(A)


def test_the_lock_file_names_only_the_process_that_has_it(path: Path, make_sqlite_engine: Callable[[], SqliteEngine]):
    lock = Path(f"{path}-lock")
    lock.write_text("99999999999\n")
    make_sqlite_engine().open()
    assert lock.read_text() == f"{os.getpid()}\n"


def test_D2_a_file_is_one_store_under_all_its_names(tmp_path: Path, path: Path, opened: Opened):
    (tmp_path / "other.db").symlink_to(path)
    assert "this process has it open already" in refusal(tmp_path / "other.db")


def test_D1_D2_kill_9_frees_the_file_and_keeps_what_was_written(
    path: Path, make_sqlite_engine: Callable[[], SqliteEngine]
):
    then = "from tests.stores.engine_cases import *; engine.write([[begins(A, 1), message(A, 1)]]); print(flush=True)"
    with another_process(path, then) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.wait()
        engine = make_sqlite_engine()
        epoch = engine.open()
    assert epoch == 2
    assert [row.number for row in engine.messages(A, 0, 9)] == [1]
    assert list(engine.verify()) == []


def test_a_closed_store_can_be_opened_by_another_process(path: Path, opened: Opened):
    opened.engine.close()
    with another_process(path) as process:
        assert process.poll() is None
        assert f"process {process.pid}" in refusal(path)


# ---- the shape changes


def changed(monkeypatch: pytest.MonkeyPatch, *migrations: tuple[str, ...]) -> None:
    """Pretend to be a later version of this program."""
    for older, migration in enumerate(migrations, schema.VERSION):
        monkeypatch.setitem(schema.MIGRATIONS, older, migration)
    monkeypatch.setattr(schema, "VERSION", schema.VERSION + len(migrations))


def shape(path: Path) -> tuple[int, list[str]]:
    connection = sqlite3.connect(path)
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    columns = [row[1] for row in connection.execute("PRAGMA table_info(spaces)")]
    connection.close()
    return version, [name for name in columns if name not in schema.SPACES.names]


def test_an_older_store_is_brought_up_to_date_by_itself(
    path: Path, make_sqlite_engine: Callable[[], SqliteEngine], monkeypatch: pytest.MonkeyPatch
):
    keep_some(path)
    changed(
        monkeypatch,
        ("ALTER TABLE spaces ADD COLUMN mood {text}", "UPDATE spaces SET mood = 'good'"),
        ("ALTER TABLE spaces ADD COLUMN weight {real}",),
    )
    engine = make_sqlite_engine()
    engine.open()
    assert [row.id for row in engine.spaces(KIND, "", 9)] == ["a"]
    engine.close()
    assert shape(path) == (schema.VERSION, ["mood", "weight"])


def test_a_migration_that_fails_leaves_the_version_before_it(
    path: Path, make_sqlite_engine: Callable[[], SqliteEngine], monkeypatch: pytest.MonkeyPatch
):
    keep_some(path)
    before = schema.VERSION
    changed(
        monkeypatch,
        ("ALTER TABLE spaces ADD COLUMN mood {text}",),
        ("ALTER TABLE spaces ADD COLUMN weight {real}", "ALTER TABLE none ADD COLUMN x {text}"),
    )
    with pytest.raises(StoreError, match="no such table"):
        make_sqlite_engine().open()
    assert shape(path) == (before + 1, ["mood"])


def test_every_older_version_has_its_migration():
    assert sorted(schema.MIGRATIONS) == list(range(1, schema.VERSION))


def columns_and_indexes(connection: sqlite3.Connection) -> dict[str, set[tuple[object, ...]]]:
    found: dict[str, set[tuple[object, ...]]] = {}
    for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        columns = connection.execute("SELECT name, type, [notnull], pk FROM pragma_table_info(?)", (table,))
        indexes = connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = ?", (table,)
        )
        found[table] = {*columns.fetchall(), *indexes.fetchall()}
    return found


def test_a_migrated_store_has_the_shape_of_a_new_one():
    """Whoever changes the tables and forgets the migration, or the other way round, is told here."""
    new, old = (sqlite3.connect(":memory:", isolation_level=None) for _ in range(2))
    for table in schema.TABLES:
        for sql in table_sql(table):
            new.execute(sql)
    old.executescript((Path(__file__).parent / "shape_1.sql").read_text())
    old.execute("PRAGMA user_version = 1")
    migrate(old, schema.MIGRATIONS, schema.VERSION)
    assert columns_and_indexes(old) == columns_and_indexes(new)
    new.close()
    old.close()


# ---- faults while it runs


def keep_some(path: Path) -> None:
    """Make a store with a space, a message and some history."""
    engine = SqliteEngine(path)
    opened = Opened(engine, engine.open())
    opened.begin(A)
    opened.keep(
        [message(A, 1)], [saves(A, opened.epoch, 0, length=50, next_entry=51), *(entry(A, n) for n in range(1, 51))]
    )
    engine.close()


def failing(opened: Opened, match: str, *, value: bytes = BIG) -> None:
    """Write a turn, which must fail as a whole."""
    turn = [saves(A, opened.epoch, 0, state=value, length=1, next_entry=2), entry(A, 1, value), settles(A, 1)]
    with pytest.raises(StoreError, match=match) as caught:
        opened.engine.write([turn, [message(A, 2)]])
    assert "spaces.db" in str(caught.value)
    assert not writer(opened).in_transaction


def untouched(opened: Opened) -> bool:
    return (opened.space().version, opened.numbers(), len(opened.engine.recent(A, 9))) == (0, [1], 0)


def works(opened: Opened) -> None:
    """Write the turn that failed."""
    turn = [saves(A, opened.epoch, 0, length=1, next_entry=2), entry(A, 1, BIG), settles(A, 1)]
    opened.keep(turn, [message(A, 2)])
    assert (opened.space().version, opened.numbers()) == (1, [2])
    assert list(opened.engine.verify()) == []


@pytest.fixture
def running(opened: Opened) -> Opened:
    """A store with a space and a message."""
    opened.begin(A)
    opened.keep([message(A, 1)])
    return opened


def test_D6_a_full_file_is_told_nothing_is_half_written_and_work_goes_on(running: Opened):
    pages = writer(running).execute("PRAGMA page_count").fetchone()[0]
    writer(running).execute(f"PRAGMA max_page_count = {pages + 3}")
    failing(running, "disk is full")
    assert untouched(running)
    writer(running).execute("PRAGMA max_page_count = 1000000")
    works(running)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of half a megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root can mount a disk")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "none", disk], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("a disk cannot be mounted here")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_D6_a_full_disk_is_told_nothing_is_half_written_and_work_goes_on(small_disk: Path):
    engine = SqliteEngine(small_disk / "spaces.db")
    opened = Opened(engine, engine.open())
    try:
        opened.begin(A)
        opened.keep([message(A, 1)])
        filler = small_disk / "filler"
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
        failing(opened, "disk is full")
        assert untouched(opened)
        filler.unlink()
        works(opened)
    finally:
        engine.close()


def test_D6_a_disk_that_cannot_be_written_is_told_and_work_goes_on(running: Opened, path: Path):
    """The system refuses to write beyond a size of files: for SQLite an I/O error like any other."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (Path(f"{path}-wal").stat().st_size + 10_000, before[1]))
    try:
        failing(running, "could not be read or written")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert untouched(running)
    works(running)


def test_D6_a_file_locked_by_another_program_is_told_and_work_goes_on(running: Opened, path: Path):
    writer(running).execute("PRAGMA busy_timeout = 20")
    browser = sqlite3.connect(path, isolation_level=None)
    browser.execute("BEGIN IMMEDIATE")
    failing(running, "another program holds a lock")
    browser.execute("ROLLBACK")
    browser.close()
    assert untouched(running)
    works(running)


def test_D6_a_file_that_became_read_only_is_told_and_work_goes_on(running: Opened):
    writer(running).execute("PRAGMA query_only = 1")
    failing(running, "may only be read")
    writer(running).execute("PRAGMA query_only = 0")
    assert untouched(running)
    works(running)


def test_D6_an_error_in_the_middle_of_single_writes_keeps_nothing_of_the_batch(running: Opened):
    pages = writer(running).execute("PRAGMA page_count").fetchone()[0]
    writer(running).execute(f"PRAGMA max_page_count = {pages + 3}")
    with pytest.raises(StoreError, match="disk is full"):
        running.engine.write([[message(A, 2)], [saves(A, running.epoch, 7)], [message(A, 3, body=BIG)]])
    assert untouched(running)
    writer(running).execute("PRAGMA max_page_count = 1000000")
    works(running)


def damage(path: Path, table: str) -> None:
    """Overwrite the first page of a table."""
    connection = sqlite3.connect(path)
    (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    connection.close()
    with path.open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xa5" * size)


def test_D6_a_damaged_page_is_told_and_what_is_whole_goes_on(
    path: Path, make_sqlite_engine: Callable[[], SqliteEngine]
):
    keep_some(path)
    damage(path, "history")
    engine = make_sqlite_engine()
    opened = Opened(engine, engine.open())
    with pytest.raises(StoreError, match="damaged"):
        engine.recent(A, 9)
    with pytest.raises(StoreError, match="damaged"):
        engine.write([[entry(A, 51)]])
    opened.keep([message(A, 2)])
    assert opened.numbers() == [1, 2]


def test_verify_finds_a_damaged_page(path: Path, make_sqlite_engine: Callable[[], SqliteEngine]):
    keep_some(path)
    damage(path, "history")
    engine = make_sqlite_engine()
    engine.open()
    assert any("SQLite" in problem for problem in engine.verify())


def test_D6_a_name_that_the_database_cannot_keep_is_told(opened: Opened):
    for call in (opened.engine.space, lambda key: opened.engine.load([key], opened.epoch)):
        with pytest.raises(StoreError):
            call((KIND, "\ud800"))


def test_an_error_names_the_store_and_never_shows_values(running: Opened):
    (error,) = running.engine.write([[message(A, 1, body=b"secret")]])
    assert "SqliteStore(" in str(error)
    assert "secret" not in str(error)


# ---- how it uses SQLite


def pragma(connection: sqlite3.Connection, name: str) -> object:
    return connection.execute(f"PRAGMA {name}").fetchone()[0]


@pytest.mark.parametrize(("synchronous", "level"), [("FULL", 2), ("NORMAL", 1)])
def test_commits_go_to_the_disk_as_asked_also_after_spaces_were_claimed(path: Path, synchronous: str, level: int):
    engine = SqliteEngine(path, synchronous=synchronous)
    opened = Opened(engine, engine.open())
    opened.begin(A)
    assert pragma(writer(opened), "synchronous") == level
    for epoch in range(1, 4):
        engine.load([A], opened.epoch + epoch)
        assert pragma(writer(opened), "synchronous") == level
    engine.close()


def test_reading_connections_can_neither_write_nor_move_the_log(opened: Opened):
    assert isinstance(opened.engine, SqliteEngine)
    with opened.engine._readers.borrow() as reader:
        assert (pragma(reader, "query_only"), pragma(reader, "wal_autocheckpoint")) == (1, 0)


def test_memory_for_pages_is_bounded(opened: Opened):
    assert isinstance(opened.engine, SqliteEngine)
    with opened.engine._readers.borrow() as reader:
        sizes = [
            [pragma(connection, name) for name in ("cache_size", "mmap_size")]
            for connection in (writer(opened), reader)
        ]
    assert sizes == [[-8000, 0], [-1000, 0]]


def test_closing_leaves_one_whole_file_and_the_lock(tmp_path: Path, opened: Opened):
    opened.begin(A)
    opened.space()
    opened.engine.close()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["spaces.db", "spaces.db-lock"]


def test_the_file_says_whose_it_is(opened: Opened):
    assert pragma(writer(opened), "application_id") == APPLICATION
    assert pragma(writer(opened), "user_version") == schema.VERSION


def test_vacuum_makes_the_file_smaller(path: Path, opened: Opened):
    opened.begin(A)
    opened.keep([entry(A, n, BIG) for n in range(1, 20)])
    opened.engine.vacuum()
    before = path.stat().st_size
    opened.keep([(Put.TRIM_ENTRIES, (*A, 19))])
    opened.engine.vacuum()
    assert path.stat().st_size < before / 10


def test_a_name_with_odd_characters_is_a_file(tmp_path: Path):
    path = tmp_path / "a b?c#d%20é.db"
    engine = SqliteEngine(path)
    engine.open()
    engine.close()
    assert path.is_file()


def traced(opened: Opened, call: Callable[[], object]) -> list[str]:
    """Return the statements that a call executes on the writing connection."""
    found: list[str] = []
    writer(opened).set_trace_callback(found.append)
    call()
    writer(opened).set_trace_callback(None)
    return found


@pytest.mark.parametrize("size", [1, 2, 200, 256])
def test_a_batch_costs_a_handful_of_statements_whatever_its_size(opened: Opened, size: int):
    keys = [(KIND, str(n)) for n in range(size)]
    opened.keep(*([begins(key, opened.epoch), message(key, n, epoch=opened.epoch)] for n, key in enumerate(keys)))
    sends = [[begins((KIND, f"{n}+"), opened.epoch), message((KIND, f"{n}+"), 1000 + n, epoch=1)] for n in range(size)]
    assert len(traced(opened, lambda: opened.keep([message(keys[0], 5000, epoch=1)], *sends[1:]))) <= 4
    turns = [[saves(key, opened.epoch, 0), entry(key, 1), settles(key, n)] for n, key in enumerate(keys)]
    assert len(traced(opened, lambda: opened.keep(*turns))) <= 7


def test_a_space_that_is_ours_is_loaded_without_writing(opened: Opened):
    opened.begin(A)
    found = traced(opened, lambda: opened.engine.load([A, B], opened.epoch))
    assert [sql.split()[0] for sql in found] == ["WITH", "WITH"]


def test_claiming_a_space_does_not_wait_for_the_disk(opened: Opened):
    opened.begin(A)
    found = traced(opened, lambda: opened.engine.load([A], opened.epoch + 1))
    assert [sql.split()[0] for sql in found] == ["WITH", "PRAGMA", "UPDATE", "PRAGMA", "WITH"]
    assert found[1].endswith("NORMAL")


def test_many_spaces_are_loaded_with_as_many_statements_as_one(opened: Opened):
    keys = [(KIND, str(n)) for n in range(256)]
    opened.begin(*keys)
    assert len(traced(opened, lambda: opened.engine.load(keys, opened.epoch))) == 2


@pytest.mark.parametrize("analysed", [False, True])
def test_no_load_looks_at_every_row_of_a_table(opened: Opened, analysed: bool):
    if analysed:
        fill(opened)
        writer(opened).execute("ANALYZE")
    for sql in (_spaces_sql(4), _parts_sql(4)):
        plan = [row[3] for row in writer(opened).execute(f"EXPLAIN QUERY PLAN {sql}", [None] * 8)]
        assert [line for line in plan if line.startswith("SCAN t")] == []
        assert sum("SEARCH t" in line for line in plan) in {1, 5}


def read_plan(opened: Opened, read: Callable[[SqliteEngine], object]) -> list[str]:
    """Return how SQLite answers a reading call."""
    assert isinstance(opened.engine, SqliteEngine)
    asked: list[str] = []
    with opened.engine._readers.borrow() as reader:
        reader.set_trace_callback(asked.append)
    read(opened.engine)
    with opened.engine._readers.borrow() as reader:
        reader.set_trace_callback(None)
        assert asked
        return [row[3] for sql in asked for row in reader.execute(f"EXPLAIN QUERY PLAN {sql}")]


@pytest.mark.parametrize(
    "read",
    [
        lambda engine: engine.waiting([KIND, "till"], 0, 10),
        lambda engine: engine.spaces(KIND, "a", 10),
        lambda engine: engine.messages(A, 0, 10),
        lambda engine: engine.entries(A, 0, 10),
        lambda engine: engine.recent(A, 10),
        lambda engine: engine.events(A, 0),
        lambda engine: engine.next_due([KIND, "till"], 0.0),
        lambda engine: engine.question("q"),
        lambda engine: engine.letters(KIND, "a", 0, 10),
        lambda engine: engine.letters(None, None, 0, 10),
        lambda engine: engine.asleep([KIND]),
    ],
)
def test_a_page_is_read_without_looking_at_or_sorting_all(opened: Opened, read: Callable[[SqliteEngine], object]):
    tables = [table.name for table in schema.TABLES]
    bad = [
        line
        for line in read_plan(opened, read)
        if "TEMP B-TREE" in line or (line.startswith("SCAN") and line.split()[1] in {*tables, "t", "q"})
    ]
    assert bad == []


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("analysed", [False, True])
def test_no_write_looks_at_every_row_of_a_table(opened: Opened, rows: int, analysed: bool):
    """A batch must not become slower with what is kept, also not after statistics were gathered."""
    if analysed:
        fill(opened)
        writer(opened).execute("ANALYZE")
    for put, templates in (*TEMPLATES.items(), (None, [CLAIM])):
        for template in templates:
            for sql, values in statements(template, [tuple(range(template.width))] * rows):
                plan = [row[3] for row in writer(opened).execute(f"EXPLAIN QUERY PLAN {sql}", values)]
                scans = [
                    line for line in plan if line.startswith("SCAN ") and any(t.name in line for t in schema.TABLES)
                ]
                assert scans == [], put


def fill(opened: Opened) -> None:
    keys = [(KIND, f"{n:05}") for n in range(2000)]
    opened.keep(*([begins(key, opened.epoch), message(key, n, epoch=opened.epoch)] for n, key in enumerate(keys)))
    opened.keep(*([marks(key, opened.epoch, 0, length=1, next_entry=2), entry(key, 1)] for key in keys))
