"""What only the PostgreSQL engine does: schemas, several openings at once, whole batches, plain errors."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from spaceactors._errors import StoreError
from spaceactors._store import EpochLost
from spaceactors.stores import _schema as schema
from spaceactors.stores._engine import Engine, Loaded
from tests.stores.engine_cases import KIND, A, B, Opened, begins, entry, known, message, saves, settles, timer
from tests.stores.postgres import Server, require_driver

psycopg = require_driver()

from spaceactors.stores._postgres import PostgresEngine  # noqa: E402 (needs the driver)
from spaceactors.stores._postgres_sql import Bytes, Integers, Reals, Texts  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]

MakeEngine = Callable[..., Engine]


def run_sql(dsn: str, *statements: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def asked(dsn: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        return connection.execute(statement).fetchall()


# ---- where the tables are


def test_two_stores_share_a_database_in_schemas_of_their_own(make_postgres_engine: MakeEngine, postgres_server: Server):
    engines = [make_postgres_engine(postgres_server.new_schema()) for _ in range(2)]
    first, second = (Opened(engine, engine.open()) for engine in engines)
    first.begin(A)
    assert second.engine.space(A) is None


def test_a_schema_that_is_not_there_is_asked_for(make_postgres_engine: MakeEngine, postgres_server: Server):
    with pytest.raises(StoreError, match="CREATE SCHEMA"):
        make_postgres_engine(postgres_server.dsn(schema="nowhere")).open()


def test_tables_of_somebody_else_are_left_alone(make_postgres_engine: MakeEngine, dsn: str):
    run_sql(dsn, "CREATE TABLE events (mine text)", "INSERT INTO events VALUES ('precious')")
    with pytest.raises(StoreError, match=r"something else.*events.*search_path"):
        make_postgres_engine().open()
    assert asked(dsn, "SELECT mine FROM events") == [("precious",)]


def test_a_database_that_cannot_hold_every_text_is_refused(make_postgres_engine: MakeEngine, postgres_server: Server):
    run_sql(postgres_server.dsn(), "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    try:
        with pytest.raises(StoreError, match="UTF8"):
            make_postgres_engine(postgres_server.dsn(database="latin")).open()
    finally:
        run_sql(postgres_server.dsn(), "DROP DATABASE latin WITH (FORCE)")


def test_texts_are_compared_by_their_characters_whatever_the_database_does(make_postgres_engine: MakeEngine, dsn: str):
    make_postgres_engine().open()
    others = (
        "SELECT attname FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid"
        " JOIN pg_collation ON pg_collation.oid = attcollation"
        " WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r' AND collname <> 'C'"
    )
    assert asked(dsn, others) == []


# ---- versions of the schema


def test_a_newer_schema_is_refused_and_left_alone(make_postgres_engine: MakeEngine, dsn: str):
    make_postgres_engine().open()
    run_sql(dsn, f"UPDATE meta SET value = {schema.VERSION + 1} WHERE name = 'version'")
    with pytest.raises(StoreError, match="newer version of spaceactors"):
        make_postgres_engine().open()
    assert asked(dsn, "SELECT value FROM meta WHERE name = 'epoch'") == [(1,)]


def test_an_older_schema_is_brought_up_to_date(
    make_postgres_engine: MakeEngine, dsn: str, monkeypatch: pytest.MonkeyPatch
):
    """The version of today plays the older one."""
    engine = make_postgres_engine()
    Opened(engine, engine.open()).begin(A)
    monkeypatch.setattr(schema, "VERSION", schema.VERSION + 2)
    steps = {
        schema.VERSION - 2: (
            "ALTER TABLE spaces ADD COLUMN colour {text}",
            "ALTER TABLE spaces ADD COLUMN size {real}",
        ),
        schema.VERSION - 1: ("UPDATE spaces SET colour = 'red'",),
    }
    monkeypatch.setattr(schema, "MIGRATIONS", schema.MIGRATIONS | steps)
    later = make_postgres_engine()
    later.open()
    assert asked(dsn, "SELECT id, colour FROM spaces") == [("a", "red")]
    assert asked(dsn, "SELECT value FROM meta WHERE name = 'version'") == [(schema.VERSION,)]
    assert later.space(A) is not None


def test_a_migration_that_fails_leaves_everything_as_it_was(
    make_postgres_engine: MakeEngine, dsn: str, monkeypatch: pytest.MonkeyPatch
):
    make_postgres_engine().open()
    steps = {schema.VERSION: ("ALTER TABLE spaces ADD COLUMN colour {text}", "UPDATE nothing SET at_all = 1")}
    with monkeypatch.context() as patch:
        patch.setattr(schema, "VERSION", schema.VERSION + 1)
        patch.setattr(schema, "MIGRATIONS", schema.MIGRATIONS | steps)
        with pytest.raises(StoreError, match="cannot be opened"):
            make_postgres_engine().open()
    engine = make_postgres_engine()
    Opened(engine, engine.open()).begin(A)
    columns = "SELECT count(*) FROM information_schema.columns WHERE table_schema = current_schema()"
    assert asked(dsn, f"{columns} AND column_name = 'colour'") == [(0,)]


OPENING = """
import sys
from spaceactors.stores._postgres import PostgresEngine
engine = PostgresEngine(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
print(engine.open())
engine.close()
"""


@pytest.mark.timeout(240)
def test_processes_that_open_at_once_do_not_collide(dsn: str):
    command = (sys.executable, "-c", OPENING, dsn)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    processes = [subprocess.Popen(command, cwd=ROOT, text=True, **pipes) for _ in range(3)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [process.communicate(timeout=200) for process in processes]
    assert sorted(out.strip() for out, _ in answers) == ["1", "2", "3"], answers


# ---- two owners


def test_D2_an_earlier_opening_keeps_nothing_of_a_space_that_a_later_one_has_loaded(make_postgres_engine: MakeEngine):
    stale, new = (Opened(engine, engine.open()) for engine in (make_postgres_engine(), make_postgres_engine()))
    stale.begin(A, B)
    new.engine.load([A], new.epoch)
    turn = [saves(A, stale.epoch, 0), entry(A, 1), timer(A, "t", 1.0), message(B, 7)]
    (error,) = stale.engine.write([turn])
    assert isinstance(error, EpochLost)
    assert (new.engine.recent(A, 9), new.engine.timers(A), new.numbers(B)) == ([], [], [])


@pytest.mark.timeout(240)
def test_D2_a_message_of_an_earlier_opening_comes_before_the_load_or_not_at_all(
    make_postgres_engine: MakeEngine, dsn: str
):
    """A load waits for the message that the earlier opening is just putting there, and finds it."""
    patient = dsn + "%20-cstatement_timeout%3D200s"
    stale, new = (
        Opened(engine, engine.open()) for engine in [make_postgres_engine(patient, patience=200.0) for _ in range(2)]
    )
    stale.begin(A)
    run_sql(
        dsn,
        "CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM pg_advisory_xact_lock(7); RETURN NULL; END $$",
        "CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON mailbox DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION linger()",
    )
    answers: list[object] = []
    found: list[Loaded | None] = []
    turn = [message(A, 1, epoch=stale.epoch)]
    sending = threading.Thread(target=lambda: answers.extend(stale.engine.write([turn])), daemon=True)
    loading = threading.Thread(target=lambda: found.extend(new.engine.load([A], new.epoch)), daemon=True)
    with psycopg.connect(dsn, autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(7)")  # until this connection ends
        for number, thread in enumerate((sending, loading), 1):
            thread.start()
            while len(asked(dsn, "SELECT FROM pg_stat_activity WHERE cardinality(pg_blocking_pids(pid)) > 0")) < number:
                assert thread.is_alive()
    sending.join()
    loading.join()
    (loaded,) = found
    assert loaded is not None
    assert answers == [None]
    assert [row.number for row in loaded.messages] == [1]


# ---- whole batches


def test_no_table_is_read_through_however_it_has_grown(make_postgres_engine: MakeEngine, dsn: str):
    """Plans made while the tables were empty still go by their keys."""
    engine = make_postgres_engine(dsn + "&application_name=grown")
    opened = Opened(engine, engine.open())
    for start in range(0, 1200, 300):
        keys = [(KIND, f"{n:05}") for n in range(start, start + 300)]
        opened.keep(*([begins(key, 1), message(key, n, epoch=1)] for n, key in enumerate(keys, start + 1)))
        opened.keep(
            *(
                [saves(key, 1, 0), entry(key, 1), timer(key, "t", 1.0), known(key, "m"), settles(key, n)]
                for n, key in enumerate(keys, start + 1)
            )
        )
        engine.load(keys, 1)
    engine.count_recoveries([KIND])
    engine.close()
    wait_gone(dsn, "grown")  # a session tells what it has read when it ends
    seen = "SELECT relname FROM pg_stat_user_tables WHERE schemaname = current_schema() AND seq_tup_read > 1000"
    assert asked(dsn, seen) == []
    rows = "SELECT n_tup_ins FROM pg_stat_user_tables WHERE schemaname = current_schema() AND relname = 'history'"
    assert asked(dsn, rows) == [(1200,)]


def test_a_batch_takes_as_many_statements_whatever_its_size(make_postgres_engine: MakeEngine, dsn: str):
    """Counted by triggers, which fire once for each statement."""
    engine = make_postgres_engine()
    opened = Opened(engine, engine.open())
    run_sql(
        dsn,
        "CREATE TABLE fired (what text)",
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN INSERT INTO fired VALUES (TG_TABLE_NAME); RETURN NULL; END $$",
        *(
            f"CREATE TRIGGER noted AFTER INSERT OR UPDATE OR DELETE ON {name}"
            " FOR EACH STATEMENT EXECUTE FUNCTION note()"
            for name in ("spaces", "history", "mailbox")
        ),
    )

    def statements(size: int) -> int:
        keys = [(KIND, f"{size}-{n}") for n in range(size)]
        numbers = range(size * 1000, size * 1000 + size)
        opened.keep(*([begins(key, 1), message(key, n)] for key, n in zip(keys, numbers, strict=True)))
        run_sql(dsn, "TRUNCATE fired")
        opened.keep(*([saves(key, 1, 0), entry(key, 1), settles(key, n)] for key, n in zip(keys, numbers, strict=True)))
        (count,) = asked(dsn, "SELECT count(*) FROM fired")
        return int(str(count[0]))

    assert statements(1) == statements(256) == 3


@pytest.mark.parametrize(
    ("array", "values", "name"),
    [
        (Texts, ["", "a'b\\\"{},", "é日\U0001f600", None], "text"),
        (Integers, [0, -1, 2**63 - 1, -(2**63), None, True], "bigint"),
        (Reals, [0.0, -1.5, 1e308, float("inf"), None], "double precision"),
        (Bytes, [b"", b"\x00\xff'\\", None, bytes(range(256))], "bytea"),
        (Texts, [], "text"),
        (Bytes, [None], "bytea"),
    ],
)
def test_arrays_arrive_as_they_were_given(dsn: str, array: type[Texts], values: list[object], name: str):
    from spaceactors.stores._postgres_link import Address

    link = Address(dsn, "Test", 5.0).connect()
    try:
        rows = link.rows(
            "SELECT x, pg_typeof(x)::text FROM unnest(%s) WITH ORDINALITY AS n(x, i) ORDER BY i", array.of(values)
        )
    finally:
        link.close()
    assert rows == [(value, name) for value in values]


def test_a_text_with_a_zero_in_it_is_refused_alone(make_postgres_engine: MakeEngine):
    """PostgreSQL keeps no such texts."""
    engine = make_postgres_engine()
    opened = Opened(engine, engine.open())
    errors = engine.write([[begins((KIND, "a\0b"), 1)], [begins(B, 1)]])
    assert [type(error) for error in errors] == [StoreError, type(None)]
    assert opened.space(B).id == "b"


@pytest.mark.parametrize("name", ["\ud800", "a\0b"])
def test_a_space_by_a_name_that_cannot_be_kept_is_an_error(make_postgres_engine: MakeEngine, name: str):
    engine = make_postgres_engine()
    opened = Opened(engine, engine.open())
    for call in (
        lambda: engine.space((KIND, name)),
        lambda: engine.load([(KIND, name)], opened.epoch),
        lambda: engine.waiting([name], 0, 9),
        lambda: engine.letters_of([name]),
    ):
        with pytest.raises(StoreError):
            call()
    opened.begin(A)
    assert opened.space().id == "a"


def test_an_id_too_long_for_an_index_is_refused_alone(make_postgres_engine: MakeEngine):
    engine = make_postgres_engine()
    opened = Opened(engine, engine.open())
    import random

    long = "".join(chr(random.Random(n).randrange(0x4E00, 0x9FFF)) for n in range(4000))
    errors = engine.write([[begins((KIND, long), 1)], [begins(B, 1)]])
    assert [type(error) for error in errors] == [StoreError, type(None)]
    assert opened.space(B).id == "b"


# ---- what is said


def test_a_password_is_never_shown(make_postgres_engine: MakeEngine, postgres_server: Server):
    engine = make_postgres_engine(postgres_server.dsn(port=1))
    with pytest.raises(StoreError) as caught:
        engine.open()
    told: list[str] = [engine.name]
    error: BaseException | None = caught.value
    while error is not None:
        told += [str(error), repr(error)]
        error = error.__cause__ or error.__context__
    assert "hush-hush" not in "".join(told)
    assert "127.0.0.1/postgres" in told[1]


def test_a_dsn_that_cannot_be_read_is_refused_without_repeating_it():
    with pytest.raises(StoreError, match="postgresql://user:password@host") as caught:
        PostgresEngine("postgresql//me:hush-hush@host/db")
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("dsn", "advice"),
    [
        ({"database": "nowhere"}, "nowhere.*the dsn right"),
        ({"port": 1}, "see whether the server is up"),
    ],
)
def test_what_helps_is_said(postgres_server: Server, dsn: dict[str, object], advice: str):
    with pytest.raises(StoreError, match=advice):
        PostgresEngine(postgres_server.dsn(**dsn)).open()


def test_a_database_that_was_replaced_is_noticed(make_postgres_engine: MakeEngine, dsn: str):
    engine = make_postgres_engine()
    opened = Opened(engine, engine.open())
    run_sql(dsn, "DELETE FROM openings")
    with pytest.raises(StoreError, match="open the store again"):
        opened.begin(A)
    assert engine.space(A) is None


def test_no_connection_is_left_open(make_postgres_engine: MakeEngine, dsn: str):
    """Readers, the writer, and those of a check and of a vacuum."""
    engine = make_postgres_engine(dsn + "&application_name=left_open")
    opened = Opened(engine, engine.open())
    opened.begin(A)
    opened.space()
    engine.verify()
    engine.vacuum()
    engine.close()
    wait_gone(dsn, "left_open")


def wait_gone(dsn: str, application: str) -> None:
    """Wait until the server has no connections of this name."""
    while asked(dsn, f"SELECT 1 FROM pg_stat_activity WHERE application_name = '{application}'"):
        time.sleep(0.01)
