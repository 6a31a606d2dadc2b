"""What goes wrong between a service and its PostgreSQL: the answer to a write is true, and work goes on afterwards."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import TypeVar

import pytest

from spaceactors._errors import StoreError
from spaceactors.stores._engine import Engine
from tests.stores.engine_cases import KIND, A, B, Opened, begins, entry, message, saves, settles
from tests.stores.postgres import Server, require_driver
from tests.stores.proxy import Cut, Proxy, proxy_to

psycopg = require_driver()

T = TypeVar("T")
MakeEngine = Callable[..., Engine]

# Nothing here is to be over by itself: whoever waits for what does not come is stopped by this.
pytestmark = pytest.mark.timeout(240)
PATIENT: dict[str, float] = {"patience": 60.0, "doubt_timeout": 120.0}
FOR_EVER = 3600.0


@pytest.fixture
def proxy(postgres_server: Server) -> Iterator[Proxy]:
    with proxy_to(postgres_server.port) as proxy:
        yield proxy


@pytest.fixture
def through(make_postgres_engine: MakeEngine, dsn: str, postgres_server: Server, proxy: Proxy) -> Opened:
    """An engine that reaches its server through the proxy, with a space A."""
    where = dsn.replace(str(postgres_server.port), str(proxy.port))
    engine = make_postgres_engine(where, **PATIENT)
    opened = Opened(engine, engine.open())
    opened.begin(A)
    return opened


@pytest.fixture
def behind(make_postgres_engine: MakeEngine, dsn: str) -> Engine:
    """Another engine that sees the same rows without the proxy."""
    engine = make_postgres_engine(dsn)
    engine.open()
    return engine


def numbers(engine: Engine) -> list[int]:
    return [row.number for row in engine.messages(A, 0, 10_000)]


# ---- a connection cut in the middle of a commit


def test_D6_a_commit_whose_answer_is_lost_counts_as_kept(through: Opened, proxy: Proxy, behind: Engine):
    proxy.at_commit = Cut.AFTER
    through.keep([message(A, 1)])
    assert proxy.happened.is_set()
    assert numbers(behind) == [1]


def test_D6_a_commit_that_never_reached_the_server_is_an_error_and_nothing_was_kept(
    through: Opened, proxy: Proxy, behind: Engine
):
    proxy.at_commit = Cut.BEFORE
    with pytest.raises(StoreError, match="nothing was kept"):
        through.engine.write([[message(A, 1)]])
    assert proxy.happened.is_set()
    assert numbers(behind) == []
    through.keep([message(A, 1)])


def test_D6_a_server_that_does_not_notice_the_cut_holds_nothing_up(
    make_postgres_engine: MakeEngine, dsn: str, postgres_server: Server, proxy: Proxy, behind: Engine
):
    """Its transaction still has the rows locked, and never ends by itself: it is ended, not waited for."""
    where = dsn.replace(str(postgres_server.port), str(proxy.port))
    engine = make_postgres_engine(where + "%20-cidle_in_transaction_session_timeout%3D0", **PATIENT)
    through = Opened(engine, engine.open())
    through.begin(A)
    proxy.at_commit = Cut.BEFORE_UNNOTICED
    with pytest.raises(StoreError, match="nothing was kept"):
        through.engine.write([[saves(A, through.epoch, 0)]])
    through.keep([saves(A, through.epoch, 0)])
    assert behind.space(A) == through.space()


def test_D6_a_cut_during_a_long_commit_is_answered_with_what_became_of_it(
    through: Opened, proxy: Proxy, behind: Engine, dsn: str
):
    """Whoever looked for the row at once would not see it yet, and be wrong."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN PERFORM pg_sleep(0.5); RETURN NULL; END $$"
        )
        connection.execute(
            "CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON mailbox DEFERRABLE INITIALLY DEFERRED"
            " FOR EACH ROW EXECUTE FUNCTION linger()"
        )
    proxy.at_commit = Cut.DURING
    try:
        through.keep([message(A, 1)])
        kept = [1]
    except StoreError:
        kept = []
    assert proxy.happened.is_set()
    time.sleep(0.8)  # what was still going on at the server would be there now
    assert numbers(behind) == kept


def test_D6_a_commit_that_waits_for_a_standby_is_kept_though_its_connection_is_ended(
    through: Opened, proxy: Proxy, behind: Engine, postgres_server: Server
):
    """It is on the server's disk already, and nobody sees it yet; no way back leads from there."""

    def standby(name: str) -> None:
        with psycopg.connect(postgres_server.dsn(), autocommit=True) as connection:
            connection.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{name}'")
            connection.execute("SELECT pg_reload_conf()")

    standby("one_that_never_comes")
    coming = threading.Timer(0.5, standby, [""])
    proxy.then = coming.start
    proxy.at_commit = Cut.DURING
    try:
        through.keep([message(A, 1)])
    finally:
        coming.join()
    assert proxy.happened.is_set()
    assert numbers(behind) == [1]


def test_D6_a_write_says_the_truth_wherever_the_connection_is_cut(through: Opened, proxy: Proxy, behind: Engine):
    """Cut after any number of bytes: the rows are there if it was said so, and only then."""
    kept: list[int] = []
    untrue: list[int] = []
    for number, size in enumerate(range(0, 3000, 90), 1):
        proxy.bytes_left = size
        try:
            through.keep([message(A, number), entry(A, number)])
            kept.append(number)
        except StoreError:
            pass
        proxy.bytes_left = None
        if numbers(behind) != kept:
            untrue.append(size)
            kept = numbers(behind)
    assert untrue == []
    assert len(kept) > 5
    assert [row.position for row in behind.entries(A, 0, 999)] == kept


def test_D6_a_write_says_the_truth_whenever_the_connection_is_cut(through: Opened, proxy: Proxy, behind: Engine):
    """Cut at any moment: on the way there, at work, on the way back."""
    dice = random.Random(7)
    # Follows how long a write takes, so that on any machine about half of the cuts come while it goes on. If it
    # followed what was kept, it could end at nothing: a cut before the first byte harms nobody.
    reach = 0.004  # seconds
    kept: list[int] = []
    untrue: list[int] = []
    for number in range(1, 81):
        cutting = threading.Timer(dice.uniform(0, reach), proxy.cut_all)
        cutting.start()
        try:
            through.keep([message(A, number), entry(A, number)])
            kept.append(number)
            came_in_time = cutting.finished.is_set()
        except StoreError:
            came_in_time = True
        reach *= 1.5 if came_in_time else 1 / 1.5
        cutting.join()
        if numbers(behind) != kept:
            untrue.append(number)
            kept = numbers(behind)
    assert untrue == []
    assert 10 < len(kept) < 80
    assert [row.position for row in behind.entries(A, 0, 999)] == kept


def test_D6_recoveries_are_counted_once_though_the_answer_is_lost(through: Opened, proxy: Proxy):
    through.keep([message(A, 1)])
    proxy.at_commit = Cut.AFTER
    through.engine.count_recoveries([KIND])
    assert [row.recoveries for row in through.engine.messages(A, 0, 9)] == [1]


def test_a_load_is_simply_done_again_when_the_connection_is_cut(through: Opened, proxy: Proxy):
    through.keep([message(A, 1)])
    proxy.at_commit = Cut.AFTER
    (loaded,) = through.engine.load([A], through.epoch)
    assert proxy.happened.is_set()
    assert loaded is not None
    assert [row.number for row in loaded.messages] == [1]


# ---- a commit of which nothing can be found out in time


@pytest.fixture
def doubtful(make_postgres_engine: MakeEngine, dsn: str, postgres_server: Server, proxy: Proxy) -> Opened:
    """An engine that looks into an interrupted commit for a moment only, and finds the server gone then."""

    def go_down() -> None:
        proxy.down = True

    proxy.then = go_down
    where = dsn.replace(str(postgres_server.port), str(proxy.port))
    engine = make_postgres_engine(where, doubt_timeout=0.2)
    opened = Opened(engine, engine.open())
    opened.begin(A)
    return opened


def test_D6_a_commit_that_cannot_be_looked_up_in_time_is_an_error(doubtful: Opened, proxy: Proxy):
    proxy.at_commit = Cut.AFTER
    with pytest.raises(StoreError, match="cannot ask whether it was kept"):
        doubtful.engine.write([[message(A, 1)]])


def test_D6_work_goes_on_when_a_doubtful_commit_turns_out_not_to_be_kept(doubtful: Opened, proxy: Proxy):
    proxy.at_commit = Cut.BEFORE
    with pytest.raises(StoreError):
        doubtful.engine.write([[message(A, 1)]])
    proxy.down = False
    doubtful.keep([message(A, 1)])


def test_D6_an_opening_that_was_told_wrong_writes_no_more(doubtful: Opened, proxy: Proxy):
    """It took as not kept what was kept: only a new opening sees what is there."""
    proxy.at_commit = Cut.AFTER
    with pytest.raises(StoreError):
        doubtful.engine.write([[message(A, 1)]])
    proxy.down = False
    for _ in range(2):
        with pytest.raises(StoreError, match="open the store again"):
            doubtful.engine.write([[message(A, 2)]])
    doubtful.engine.close()
    doubtful.engine.open()
    assert doubtful.numbers() == [1]


# ---- a server that goes and comes


@pytest.fixture
def own_server(postgres_server: Server) -> Iterator[Server]:
    """The server, which is up again for the next test."""
    yield postgres_server
    if not postgres_server.up:
        postgres_server.start()


def test_D6_work_goes_on_after_a_restart_of_the_server(make_postgres_engine: MakeEngine, own_server: Server):
    engine = make_postgres_engine()
    opened = Opened(engine, engine.open())
    opened.begin(A)
    assert opened.numbers() == []
    own_server.restart()
    opened.keep([message(A, 1)])
    assert opened.numbers() == [1]


def test_D6_what_was_kept_is_there_after_a_crash_of_the_server(make_postgres_engine: MakeEngine, own_server: Server):
    engine = make_postgres_engine()
    opened = Opened(engine, engine.open())
    opened.begin(A)
    opened.keep([message(A, 1)])
    own_server.kill()
    own_server.start()
    opened.keep([message(A, 2)])
    assert opened.numbers() == [1, 2]


def test_D6_without_a_server_reads_and_writes_fail_at_once_and_heal(
    make_postgres_engine: MakeEngine, own_server: Server
):
    engine = make_postgres_engine(patience=FOR_EVER, doubt_timeout=FOR_EVER)
    opened = Opened(engine, engine.open())
    opened.begin(A)
    own_server.stop()
    for call in (lambda: engine.write([[message(A, 1)]]), lambda: engine.load([A], 1), lambda: engine.space(A)):
        with pytest.raises(StoreError, match="see whether the server is up"):
            call()
    own_server.start()
    opened.keep([message(A, 1)])
    assert opened.numbers() == [1]


def test_D6_connections_ended_at_the_server_are_replaced(
    make_postgres_engine: MakeEngine, dsn: str, postgres_server: Server
):
    engine = make_postgres_engine()
    opened = Opened(engine, engine.open())
    opened.begin(A)
    for number in range(1, 4):
        with psycopg.connect(dsn) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE pid <> pg_backend_pid() AND application_name = 'spaceactors'"
            )
        opened.keep([message(A, number)])
        assert opened.numbers() == list(range(1, number + 1))


# ---- a server that is slow


def test_a_slow_server_holds_up_only_who_calls_it(through: Opened, proxy: Proxy, behind: Engine):
    proxy.open.clear()
    done: list[object] = []
    writing = threading.Thread(target=lambda: done.extend(through.engine.write([[message(A, 1)]])), daemon=True)
    writing.start()
    assert numbers(behind) == []
    time.sleep(0.3)
    assert numbers(behind) == []
    assert done == []
    proxy.open.set()
    writing.join()
    assert done == [None]
    assert numbers(behind) == [1]


def test_D6_a_server_that_never_answers_is_given_up(
    make_postgres_engine: MakeEngine, dsn: str, postgres_server: Server, proxy: Proxy
):
    """Reading and writing, on connections that stand and on new ones."""
    where = dsn.replace(str(postgres_server.port), str(proxy.port))
    engine = make_postgres_engine(where + "&connect_timeout=2", patience=0.3)
    epoch = persist(engine.open)
    persist(lambda: engine.write([[begins(A, epoch)]]))
    assert persist(lambda: numbers(engine)) == []
    assert engine._link.patience == 0.3
    proxy.open.clear()
    answers: list[str] = []

    def fails(call: Callable[[], object]) -> None:
        with pytest.raises(StoreError) as caught:
            call()
        answers.append(str(caught.value))

    calls = (lambda: engine.space(A), lambda: engine.write([[message(A, 1)]]))
    at_once(*(partial(fails, call) for call in calls))
    assert len(answers) == 2
    proxy.open.set()
    assert persist(lambda: engine.write([[message(A, 1)]])) == [None]


def persist(call: Callable[[], T]) -> T:
    """Call until it is done in time, however impatient the engine is, and slow the machine."""
    while True:
        with suppress(StoreError):
            return call()


def at_once(*calls: Callable[[], object]) -> None:
    """Make calls in threads of their own, and wait for all; those that never end do not outlive the test's run."""
    threads = [threading.Thread(target=call, daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_D6_a_lock_of_somebody_else_is_waited_for_as_long_as_the_dsn_says(make_postgres_engine: MakeEngine, dsn: str):
    """The server gives up, after its time; the engine itself would wait for ever."""
    engine = make_postgres_engine(dsn + "%20-cstatement_timeout%3D1s", patience=FOR_EVER)
    opened = Opened(engine, engine.open())
    opened.begin(A, B)
    assert engine._link.rows("SHOW statement_timeout") == [("1s",)]
    with psycopg.connect(dsn) as other:
        other.execute("SELECT FROM spaces WHERE id = 'a' FOR UPDATE")
        with pytest.raises(StoreError, match="statement timeout"):
            engine.write([[saves(A, opened.epoch, 0)], [saves(B, opened.epoch, 0)]])
        assert opened.space(B).version == 0
    opened.keep([saves(A, opened.epoch, 0)], [saves(B, opened.epoch, 0)])


def test_D6_a_server_that_only_reads_is_an_error_until_it_writes_again(make_postgres_engine: MakeEngine, dsn: str):
    engine = make_postgres_engine()
    opened = Opened(engine, engine.open())
    end_others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'spaceactors'"
    with psycopg.connect(dsn, autocommit=True) as other:
        other.execute("ALTER ROLE tester SET default_transaction_read_only = on")
        try:
            other.execute(end_others)
            with pytest.raises(StoreError, match="does not write"):
                engine.write([[begins(A, opened.epoch)]])
        finally:
            other.execute("ALTER ROLE tester RESET default_transaction_read_only")
        other.execute(end_others)
    opened.begin(A)


def test_D6_a_full_disk_at_the_server_is_an_error_until_there_is_room(make_postgres_engine: MakeEngine, dsn: str):
    """A trigger answers as the server does then: with its code for a full disk."""
    engine = make_postgres_engine()
    opened = Opened(engine, engine.open())
    opened.begin(A, B)
    with psycopg.connect(dsn, autocommit=True) as other:
        other.execute(
            "CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE 'could not extend file' USING ERRCODE = 'disk_full'; END $$"
        )
        other.execute("CREATE TRIGGER no_room BEFORE INSERT ON history FOR EACH ROW EXECUTE FUNCTION no_room()")
        with pytest.raises(StoreError, match="make room at the server"):
            engine.write([[saves(A, opened.epoch, 0), entry(A, 1)], [saves(B, opened.epoch, 0)]])
        assert (opened.space(A).version, opened.space(B).version) == (0, 0)
        other.execute("DROP TRIGGER no_room ON history")
    opened.keep([saves(A, opened.epoch, 0), entry(A, 1)], [saves(B, opened.epoch, 0)])


def test_two_openings_that_want_the_same_rows_at_once_both_go_on(make_postgres_engine: MakeEngine):
    """A transaction that PostgreSQL ends for the sake of another is tried again."""
    engines = [make_postgres_engine() for _ in range(3)]
    epochs = [engine.open() for engine in engines]
    keys = [(KIND, str(n)) for n in range(20)]
    engines[0].write([[begins(key, epochs[0])] for key in keys])
    faults: list[BaseException] = []

    def load(engine: Engine, epoch: int, order: int) -> None:
        try:
            for _ in range(15):
                engine.load(keys[::order], max(epochs))
                own = [(key, epoch * 1000 + n) for n, key in enumerate(keys[::order])]
                engine.write([[message(key, number, epoch=max(epochs))] for key, number in own])
                engine.write([[settles(key, number)] for key, number in own])
        except BaseException as error:
            faults.append(error)

    at_once(*(partial(load, *each) for each in zip(engines, epochs, (1, -1, 1), strict=True)))
    assert faults == []
