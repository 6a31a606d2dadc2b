"""What is typed at a store, and a service that hears nobody."""

from __future__ import annotations

import os
import socket
import sqlite3
import threading
from pathlib import Path

import pytest
import trio

from spaceactors import RuntimeConfig, SqliteStore, open_runtime
from spaceactors.admin import AdminError, AnswerQuestion, ListQuestions, ResendLetters, Verify, open_store
from spaceactors.admin._client import connect
from spaceactors.cli._app import run_app
from spaceactors.stores import _sqlite
from tests.admin.shop import QUESTION, Shop, make_filled


@pytest.mark.parametrize("depth", [102, 400, 900])
def test_an_answer_that_no_turn_could_read_again_is_refused_and_the_question_stays_open(path: Path, depth: int) -> None:
    trio.run(make_filled, SqliteStore(path))
    with open_store(str(path)) as store:
        with pytest.raises(AdminError, match="nested too deeply"):
            list(store.ask(AnswerQuestion(QUESTION, "[" * depth + "]" * depth)))
        assert [row["id"] for row in store.ask(ListQuestions())] == [QUESTION]


def test_a_service_that_accepts_nobody_keeps_no_command_waiting(tmp_path: Path) -> None:
    """Its loop stands still, and so many have knocked that the system lets no more in."""
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(0)
        waiting: list[socket.socket] = []
        try:
            for _ in range(10):
                waiting.append(socket.socket(socket.AF_UNIX))
                waiting[-1].setblocking(False)
                if waiting[-1].connect_ex(path):
                    break
            else:
                pytest.skip("this system lets everybody in")
            with pytest.raises(AdminError, match="cannot be reached"):
                connect(path)
        finally:
            for one in waiting:
                one.close()


def test_names_of_others_do_nothing_to_the_terminal_also_in_errors(
    path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    trio.run(make_filled, SqliteStore(path))
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("UPDATE spaces SET kind = ? WHERE kind = 'Clerk'", ("\x1b[2J",))
    connection.close()
    assert run_app(["show", str(path), "Nope/x"]) == 2
    told = capfd.readouterr().err
    assert "\x1b" not in told
    assert "\\x1b[2J" in told


@pytest.mark.timeout(240)
async def test_a_service_that_ends_does_not_wait_for_a_check_of_its_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A check of a large file takes minutes; who stops the service has seconds."""
    began = threading.Event()

    def endless(connection: sqlite3.Connection) -> list[str]:
        began.set()
        connection.execute("WITH RECURSIVE n(x) AS (VALUES (1) UNION ALL SELECT x + 1 FROM n) SELECT max(x) FROM n")
        raise AssertionError("it has no end")

    def verify() -> None:
        with open_store(str(path)) as store, pytest.raises(AdminError, match="ended in the middle of its answer"):
            list(store.ask(Verify()))

    monkeypatch.setattr(_sqlite, "problems", endless)
    config = RuntimeConfig(drain_timeout=3600)  # nor until the drain is cut off
    async with trio.open_nursery() as nursery, open_runtime(Shop, store=SqliteStore(path), config=config) as runtime:
        await runtime.space("ann", Shop).ask(Shop.say, "latte")
        nursery.start_soon(trio.to_thread.run_sync, verify)
        await trio.to_thread.run_sync(began.wait)
        # The deadline is for the end of the block.
        nursery.cancel_scope.deadline = trio.current_time() + 100
    assert not nursery.cancel_scope.cancelled_caught


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only the superuser looks at others' files")
def test_the_owner_of_a_file_can_lock_it_after_the_superuser_has_looked_at_it(path: Path) -> None:
    trio.run(make_filled, SqliteStore(path))
    os.chown(path, 65534, 65534)
    lock = Path(f"{path}-lock")
    lock.unlink()
    with open_store(str(path)):
        pass
    assert lock.stat().st_uid == 65534


async def test_a_service_that_went_to_another_directory_is_found_beside_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = SqliteStore("shop.db")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)

    def is_running() -> bool:
        with open_store(str(tmp_path / "shop.db")) as found:
            return found.running

    async with open_runtime(Shop, store=store) as runtime:
        await runtime.space("ann", Shop).ask(Shop.say, "latte")
        assert await trio.to_thread.run_sync(is_running)
    assert not list(elsewhere.iterdir())


async def test_more_names_than_a_request_holds_are_refused_before_they_are_sent(path: Path) -> None:
    names = ("x" * 1000,) * 1100

    def resend() -> None:
        with open_store(str(path)) as store:
            with pytest.raises(AdminError, match="too much to ask at once"):
                list(store.ask(ResendLetters(names)))
            assert not list(store.ask(ListQuestions()))

    async with open_runtime(Shop, store=SqliteStore(path)) as runtime:
        await runtime.space("ann", Shop).ask(Shop.say, "latte")
        await trio.to_thread.run_sync(resend)
