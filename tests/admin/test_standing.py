"""A store in which no service runs: what is read of it, and what can be changed."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import trio

from spaceactors import (
    Actor,
    PostgresStore,
    RuntimeConfig,
    SpaceOptions,
    SqliteStore,
    StoreError,
    handler,
    open_runtime,
)
from spaceactors.admin import (
    AdminError,
    AnswerQuestion,
    DiscardLetters,
    Export,
    ListLetters,
    ListQuestions,
    ListSpaces,
    ResendLetters,
    ShowLetter,
    ShowSpace,
    StoreAccess,
    Vacuum,
    Verify,
    open_store,
)
from spaceactors.admin._changing import last_letter
from spaceactors.admin._open import StandingStore
from spaceactors.stores._engine import QUARANTINED, Engine, Put
from spaceactors.stores._sqlite import SqliteEngine
from tests.admin.shop import QUESTION, Clerk, Shop, Verdict, fill, make_filled

# The first opening was the service's.
EPOCH = 2


@pytest.fixture
def store(engine: Engine) -> StandingStore:
    return StandingStore(engine, EPOCH)


def names(store: StoreAccess, **wanted: Any) -> list[str]:
    return [f"{row['kind']}/{row['space']}" for row in store.ask(ListSpaces(**wanted))]


# ---- reading


def test_spaces_are_listed_in_the_order_of_kinds_and_ids(store: StandingStore) -> None:
    assert names(store) == ["Clerk/x", "Shop/ann", "Shop/bob", "Shop/cem", "Shop/eve"]


def test_spaces_are_chosen_by_kind_status_and_place(store: StandingStore) -> None:
    assert names(store, kind="Shop") == ["Shop/ann", "Shop/bob", "Shop/cem", "Shop/eve"]
    assert names(store, kind="Shop", after="bob") == ["Shop/cem", "Shop/eve"]
    assert names(store, kind="Shop", status="passive", limit=2) == ["Shop/ann", "Shop/bob"]
    assert names(store, status="suspended") == ["Shop/cem"]
    assert names(store, kind="None") == []


def test_a_listing_goes_on_over_pages(engine: Engine) -> None:
    engine.write([[(Put.NEW_SPACE, ("Many", f"{n:04}", None, 1))] for n in range(600)])
    assert len(names(StandingStore(engine, EPOCH), kind="Many", limit=1000)) == 600
    assert names(StandingStore(engine, EPOCH), kind="Many", after="0254", limit=4)[-1] == "Many/0258"


def test_letters_and_messages_are_read_over_pages(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spaceactors.admin._reading.PAGE", 2)
    rows = [(Put.NEW_MESSAGE, ("Shop", "bob", n, None, b"", 1.0, None, 0, 0, None)) for n in range(1, 6)]
    engine.write([[row] for row in rows])
    engine.write([[(Put.BURY, ("Shop", "bob", f"m{n}", 1, 1.0, b"", b""))] for n in range(3)])
    store = StandingStore(engine, EPOCH)
    assert next(store.ask(ListSpaces("Shop", after="ann")))["pending"] == 5
    assert [row["number"] for row in store.ask(ListLetters())] == [1, 2, 3, 4, 5]
    assert [row["number"] for row in store.ask(ListLetters(limit=3))] == [1, 2, 3]


def test_an_id_to_go_on_behind_must_say_of_which_kind(store: StandingStore) -> None:
    with pytest.raises(AdminError, match="one of Clerk, Shop"):
        names(store, after="ann")


@pytest.mark.parametrize(("flags", "status"), [(QUARANTINED, "quarantined"), (1, "stopped"), (0, "passive")])
def test_the_status_of_a_space_is_told_from_what_is_kept(engine: Engine, flags: int, status: str) -> None:
    engine.write([[(Put.NEW_SPACE, ("Odd", "one", None, 1))]])
    engine.write([[(Put.MARK_SPACE, ("Odd", "one", 1, 0, 0, 0, 1, 0, None, flags, None))]])
    assert [row["status"] for row in StandingStore(engine, EPOCH).ask(ListSpaces("Odd"))] == [status]


def test_a_space_is_shown_with_all_that_it_has(store: StandingStore) -> None:
    (ann,) = store.ask(ShowSpace("Shop", "ann", 1))
    assert ann["state"]["items"] == ["latte", "mocha"]
    assert (ann["version"], ann["history"], ann["events"], ann["counters"]) == (2, 2, 2, {"said": 2})
    assert [one["value"] for one in ann["recent"]] == [{"text": "mocha"}]
    assert [(one["key"], one["call"], one["args"]) for one in ann["timers"]] == [("tick", "say", ["tick"])]
    (cem,) = store.ask(ShowSpace("Shop", "cem", 0))
    assert cem["recent"] == []
    assert [(one["message_id"], one["call"], one["asleep"]) for one in cem["messages"]] == [("o-1", "order", True)]
    assert [(one["id"], one["question"]) for one in cem["questions"]] == [(QUESTION, {"text": "cake"})]


def test_a_space_that_is_not_there_is_said_so_and_a_kind_too(store: StandingStore) -> None:
    with pytest.raises(AdminError, match=r"no space Shop/zoe$"):
        list(store.ask(ShowSpace("Shop", "zoe")))
    with pytest.raises(AdminError, match="has spaces of Clerk, Shop"):
        list(store.ask(ShowSpace("Stop", "ann")))


def test_letters_are_listed_with_filters(store: StandingStore) -> None:
    def numbers(**wanted: Any) -> list[tuple[int, str]]:
        return [(row["number"], row["space"]) for row in store.ask(ListLetters(**wanted))]

    assert numbers() == [(1, "bob"), (2, "eve")]
    assert numbers(limit=1) == [(1, "bob")]
    assert numbers(after=1) == [(2, "eve")]
    assert numbers(space="eve") == [(2, "eve")]
    assert numbers(kind="Clerk") == []


@pytest.mark.parametrize("which", ["2", "f-eve"])
def test_a_letter_is_shown_by_its_number_or_its_message(store: StandingStore, which: str) -> None:
    (letter,) = store.ask(ShowLetter(which))
    assert (letter["call"], letter["args"], letter["kwargs"]) == ("fail", ["tea"], {"why": "eve"})
    assert (letter["attempts"], letter["error"]["type"], letter["error"]["text"]) == (1, "ValueError", "eve")
    assert "raise ValueError(why)" in letter["error"]["traceback"]


@pytest.mark.parametrize("which", ["3", "0", "-1", "9" * 40, "", "f-ann", "²"])
def test_a_letter_that_is_not_there_is_said_so(store: StandingStore, which: str) -> None:
    with pytest.raises(AdminError, match="there is no dead letter"):
        list(store.ask(ShowLetter(which)))


def test_a_message_id_that_looks_like_a_number_is_found_where_no_number_is(engine: Engine) -> None:
    (row,) = engine.letters(None, None, 1, 1)
    engine.write([[(Put.BURY, (row.kind, row.id, "77", 1, row.at, row.body, row.error))]])
    (letter,) = StandingStore(engine, EPOCH).ask(ShowLetter("77"))
    assert (letter["number"], letter["message_id"]) == (3, "77")


def test_open_questions_are_listed_with_what_they_want(store: StandingStore) -> None:
    (row,) = store.ask(ListQuestions())
    assert (row["id"], row["name"], row["question"]) == (QUESTION, "approve", {"text": "cake"})
    assert row["answer"] == f"{Verdict.__module__}:Verdict"
    assert list(store.ask(ListQuestions("Clerk"))) == []


def test_what_cannot_be_read_is_shown_as_such_and_stops_nothing(engine: Engine) -> None:
    engine.write([[(Put.ADD_ENTRY, ("Shop", "ann", 3, 1e300, b"\xc1"))]])
    engine.write([[(Put.BURY, ("Shop", "ann", "m", 1, 1.0, b"\xc1", b""))]])
    store = StandingStore(engine, EPOCH)
    assert "$unreadable" in next(store.ask(ShowSpace("Shop", "ann", 1)))["recent"][0]["value"]
    assert next(store.ask(ShowLetter("m")))["call"] is None
    assert [row["call"] for row in store.ask(ListLetters())] == ["fail", "fail", None]
    assert len(list(store.ask(Export()))) > 10


# ---- everything


def test_an_export_has_every_row_of_every_table(engine: Engine) -> None:
    rows = list(StandingStore(engine, EPOCH).ask(Export()))
    counted = {name: sum(row["type"] == name for row in rows) for name in {row["type"] for row in rows}}
    assert counted == {
        "space": 5,
        "message": 1,
        "entry": 2,
        "event": 2,
        "timer": 1,
        "known": 1,
        "step": 1,
        "question": 1,
        "dead_letter": 2,
    }
    assert all({"kind", "space"} <= row.keys() for row in rows)
    assert next(row["result"] for row in rows if row["type"] == "step") == 4
    known = next(row for row in rows if row["type"] == "known")
    assert (known["message_id"], known["call"], known["outcome"], known["reply"]) == ("m-1", "say", "handled", 2)
    json.dumps(rows, allow_nan=False)


def test_an_export_holds_a_page_in_memory_however_much_there_is(engine: Engine) -> None:
    value = b"\xa0" + bytes(1000)
    for part in range(40):
        engine.write([[(Put.ADD_EVENT, ("Big", str(part), n, value)) for n in range(200)]])
    tracemalloc.start()
    try:
        count = sum(1 for _ in StandingStore(engine, EPOCH).ask(Export()))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count > 8000
    assert peak < 4_000_000  # all of it is 8 MB as bytes alone


def test_a_sound_store_has_no_faults_and_a_broken_one_is_told_of(engine: Engine) -> None:
    store = StandingStore(engine, EPOCH)
    assert list(store.ask(Verify())) == []
    engine.write([[(Put.ADD_ENTRY, ("Shop", "bob", 9, 1.0, b"\xc0"))]])
    assert next("'bob'" in row["fault"] for row in store.ask(Verify()))


def test_vacuum_can_be_had_of_each_database(store: StandingStore) -> None:
    assert list(store.ask(Vacuum())) == [{"done": True}]


def test_vacuum_gives_space_back_to_the_disk(sqlite_engine: Engine, path: Path) -> None:
    engine = sqlite_engine
    engine.write([[(Put.ADD_EVENT, ("Big", "x", n, bytes(1000))) for n in range(1000)]])
    engine.write([[(Put.ERASE_SPACE, ("Big", "x"))]])
    before = path.stat().st_size + Path(f"{path}-wal").stat().st_size
    assert list(StandingStore(engine, EPOCH).ask(Vacuum())) == [{"done": True}]
    assert path.stat().st_size < before / 4


# ---- changing


def done(rows: Any) -> list[tuple[Any, bool]]:
    return [(row["number"], row["done"]) for row in rows]


def test_letters_that_are_sent_again_run_when_a_service_comes(path: Path) -> None:
    trio.run(make_filled, SqliteStore(path))
    with open_store(str(path)) as store:
        assert done(store.ask(ResendLetters(("1", "f-eve")))) == [(1, True), (2, True)]
        assert list(store.ask(ListLetters())) == []
        assert list(store.ask(Verify())) == []
        assert next(store.ask(ShowSpace("Shop", "bob")))["pending"] == 1

    async def look() -> list[tuple[str, ...]]:
        Shop.broken = False
        async with open_runtime(Shop, Clerk, store=SqliteStore(path)) as runtime:
            handles = [runtime.space(name, Shop).with_options(message_id=f"f-{name}") for name in ("bob", "eve")]
            # The same message: its asker gets the reply of the turn that ran.
            return [(await one.ask(Shop.fail, "tea", why=one.id), *(await one.state()).items) for one in handles]

    assert trio.run(look) == [("tea", "tea"), ("tea", "tea")]


def test_all_letters_of_a_kind_are_sent_again(store: StandingStore) -> None:
    assert done(store.ask(ResendLetters(all=True, kind="Clerk"))) == []
    assert done(store.ask(ResendLetters(all=True, kind="Shop"))) == [(1, True), (2, True)]


def test_what_is_not_there_is_told_and_the_others_are_done(store: StandingStore) -> None:
    rows = list(store.ask(ResendLetters(("9", "1", "nope", "1"))))
    assert done(rows) == [(None, False), (1, True), (None, False), (None, False)]
    assert "no dead letter nope" in rows[2]["problem"]


def test_a_letter_of_a_quarantined_space_stays(engine: Engine) -> None:
    row = engine.space(("Shop", "bob"))
    assert row is not None
    values = (row.length, row.next_entry, row.last_event, None, QUARANTINED, None)
    engine.write([[(Put.MARK_SPACE, ("Shop", "bob", row.epoch, row.version, row.version, *values))]])
    (told,) = StandingStore(engine, EPOCH).ask(ResendLetters(("1",)))
    assert "quarantine" in told["problem"]
    assert last_letter(engine) == 2
    assert engine.messages(("Shop", "bob"), 0, 9) == []


@pytest.mark.parametrize("table", ["waiting", "known"])
def test_D3_a_message_that_is_there_already_is_not_put_there_twice(engine: Engine, table: str) -> None:
    if table == "waiting":
        engine.write([[(Put.NEW_MESSAGE, ("Shop", "bob", 1 << 60, "f-bob", b"", 1.0, None, 0, 0, None))]])
    else:
        engine.write([[(Put.ADD_KNOWN, ("Shop", "bob", "f-bob", 1.0, b""))]])
    before = len(engine.messages(("Shop", "bob"), 0, 9))
    assert done(StandingStore(engine, EPOCH).ask(ResendLetters(("1",)))) == [(1, True)]
    assert len(engine.messages(("Shop", "bob"), 0, 9)) == before


def test_a_letter_of_a_space_that_is_not_there_begins_it(engine: Engine) -> None:
    (row,) = engine.letters(None, None, 0, 1)
    engine.write([[(Put.BURY, ("Shop", "new", "m", 1, row.at, row.body, row.error))]])
    store = StandingStore(engine, EPOCH)
    assert done(store.ask(ResendLetters(("m",)))) == [(3, True)]
    assert list(store.ask(Verify())) == []


def test_numbers_of_messages_are_those_of_this_opening(engine: Engine) -> None:
    list(StandingStore(engine, EPOCH).ask(ResendLetters(all=True)))
    numbers = [engine.messages(("Shop", name), 0, 9)[0].number for name in ("bob", "eve")]
    assert numbers == [(EPOCH << 36) + 1, (EPOCH << 36) + 2]


def test_letters_are_discarded_by_name_or_all(store: StandingStore) -> None:
    assert done(store.ask(DiscardLetters(("f-bob", "8")))) == [(1, True), (None, False)]
    assert done(store.ask(DiscardLetters(all=True))) == [(2, True)]
    assert list(store.ask(ListLetters())) == []


@pytest.mark.parametrize("count", [0, 1, 2, 3, 100])
def test_the_last_letter_is_found_without_reading_them_all(engine: Engine, count: int) -> None:
    list(StandingStore(engine, EPOCH).ask(DiscardLetters(all=True)))
    engine.write([[(Put.BURY, ("K", "i", "m", 1, 1.0, b"", b""))] for _ in range(count)])
    assert last_letter(engine) == (count + 2 if count else 0)


def test_H1_an_answer_is_there_when_the_turn_resumes(path: Path) -> None:
    """D4: the step before the question does not run again."""
    trio.run(make_filled, SqliteStore(path))
    with open_store(str(path)) as store:
        (told,) = store.ask(AnswerQuestion(QUESTION, '{"ok": true, "why": "hungry"}'))
        assert (told["space"], told["name"]) == ("cem", "approve")
        assert list(store.ask(ListQuestions())) == []
        assert names(store, status="suspended") == []
        with pytest.raises(AdminError, match="no open question"):  # H3
            list(store.ask(AnswerQuestion(QUESTION, "false")))
        assert list(store.ask(Verify())) == []

    async def look() -> tuple[str, tuple[str, ...]]:
        async with open_runtime(Shop, Clerk, store=SqliteStore(path)) as runtime:
            cem = runtime.space("cem", Shop)
            reply = await cem.with_options(message_id="o-1").ask(Shop.order, "cake")
            return reply, (await cem.state()).items

    assert trio.run(look) == ("hungry", ("cake: True",))


@pytest.mark.parametrize("text", ["", "{", "yes", "[" * 100_000, "'a'"])
def test_an_answer_that_is_no_json_is_refused_and_the_question_stays_open(store: StandingStore, text: str) -> None:
    with pytest.raises(AdminError, match="no JSON"):
        list(store.ask(AnswerQuestion(QUESTION, text)))
    assert len(list(store.ask(ListQuestions()))) == 1


def test_H5_an_answer_to_no_question_is_refused(store: StandingStore) -> None:
    with pytest.raises(AdminError, match="never asked"):
        list(store.ask(AnswerQuestion("Shop/cem/x/y/1", "1")))


# ---- opening


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (None, "there is no such file"),
        (b"", "no store"),
        (b"SQLite", "no store"),
        (b"just a text\n" * 100, "no store"),
        (b"SQLite format 3\0" + b"x" * 5000, "SqliteStore"),
    ],
)
def test_what_is_no_store_is_refused_and_left_as_it_was(path: Path, made: bytes | None, told: str) -> None:
    if made is not None:
        path.write_bytes(made)
    with pytest.raises(AdminError, match=told), open_store(str(path)):
        pass
    assert (path.read_bytes() if path.exists() else None) == made
    assert [one.name for one in path.parent.iterdir() if one.name not in {path.name, f"{path.name}-lock"}] == []


def test_a_directory_is_no_store(path: Path) -> None:
    with pytest.raises(AdminError, match="this is a directory"), open_store(str(path.parent)):
        pass


@pytest.mark.usefixtures("sqlite_engine")
def test_a_store_that_is_open_elsewhere_and_cannot_be_reached_is_said_so(path: Path) -> None:
    with pytest.raises(AdminError, match=r"has it open.*nobody answers at .*-sock"), open_store(str(path)):
        pass


def test_a_service_that_comes_while_a_command_looks_waits_for_its_end(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trio.run(make_filled, SqliteStore(path))
    visit = open_store(str(path))
    visit.__enter__()
    # The pause between two looks of the one who waits.
    monkeypatch.setattr("spaceactors.stores._sqlite_file.sleep", lambda _: visit.__exit__(None, None, None))
    engine = SqliteEngine(path)
    assert engine.open() == 3
    engine.close()


def test_a_visit_that_does_not_end_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trio.run(make_filled, SqliteStore(path))
    monkeypatch.setattr("spaceactors.stores._sqlite_file.PATIENCE", 0.0)
    with open_store(str(path)), pytest.raises(StoreError, match="has it open"):
        SqliteEngine(path).open()


def test_a_database_without_a_store_is_refused_and_left_as_it_was(dsn: str) -> None:
    for _ in range(2):
        with pytest.raises(AdminError, match="holds no store") as told, open_store(dsn):
            pass
        assert "hush" not in str(told.value)


def test_a_database_that_is_not_there_is_said_so_without_the_password() -> None:
    with pytest.raises(AdminError, match=r"cannot connect") as told, open_store("postgresql://u:hush@127.0.0.1:1/x"):
        pass
    assert "hush" not in str(told.value)


def test_a_database_is_opened_by_its_address_also_while_a_service_runs(dsn: str) -> None:
    async def main() -> None:
        Shop.broken = True
        async with open_runtime(Shop, Clerk, store=PostgresStore(dsn)) as runtime:
            await fill(runtime)
            assert await trio.to_thread.run_sync(look) == ["Clerk/x", "Shop/ann", "Shop/bob", "Shop/cem", "Shop/eve"]
            # The service goes on: looking claims nothing.
            assert await runtime.space("ann", Shop).ask(Shop.say, "tea") == 3

    def look() -> list[str]:
        with open_store(dsn) as store:
            assert not store.running
            assert done(store.ask(DiscardLetters(("1",)))) == [(1, True)]
            return names(store)

    trio.run(main)


def test_a_service_on_postgresql_finds_letters_and_answers_when_it_loads_their_spaces(dsn: str) -> None:
    def command() -> None:
        with open_store(dsn) as store:
            assert done(store.ask(ResendLetters(("f-bob",)))) == [(1, True)]
            assert next(store.ask(AnswerQuestion(QUESTION, '{"ok": true, "why": "asked"}')))["done"]

    async def main() -> None:
        Shop.broken = True
        async with open_runtime(Shop, Clerk, store=PostgresStore(dsn)) as runtime:
            await fill(runtime)
            await trio.to_thread.run_sync(command)
            Shop.broken = False
            bob, cem = (runtime.space(name, Shop) for name in ("bob", "cem"))
            for one in (bob, cem):
                await one.drain()
            assert await bob.ask(Shop.say, "more") == 2  # behind the letter
            assert await cem.with_options(message_id="o-1").ask(Shop.order, "cake") == "asked"

    trio.run(main)


def test_a_store_is_free_again_after_a_command(path: Path) -> None:
    trio.run(make_filled, SqliteStore(path))
    for _ in range(2):
        with open_store(str(path)) as store:
            assert not store.running
            assert len(names(store)) == 5


def test_more_spaces_than_live_at_once_are_listed(path: Path) -> None:
    class Plain(Actor[int]):
        options = SpaceOptions(idle_timeout=None)

        @handler
        async def add(self) -> None:
            self.state += 1

    async def fill() -> None:
        config = RuntimeConfig(max_live_spaces=1000)
        async with open_runtime(Plain, store=SqliteStore(path, synchronous="NORMAL"), config=config) as runtime:
            for n in range(1500):
                await runtime.space(f"{n:05}").send(Plain.add)

    trio.run(fill)
    with open_store(str(path)) as store:
        assert names(store, limit=2000) == [f"Plain/{n:05}" for n in range(1500)]
