"""A store that a service has: read beside its work, changed through its runtime, over a socket beside the file."""

from __future__ import annotations

import json
import logging
import os
import socket
import stat
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
import trio

from spaceactors import Actor, MemoryStore, Runtime, SpaceOptions, SqliteStore, handler, open_runtime
from spaceactors.admin import (
    AdminError,
    AnswerQuestion,
    DiscardLetters,
    Export,
    ListLetters,
    ListQuestions,
    ListSpaces,
    Request,
    ResendLetters,
    ShowLetter,
    ShowSpace,
    Vacuum,
    Verify,
    open_store,
)
from spaceactors.admin import _client as client
from spaceactors.admin import _running as running
from spaceactors.admin import _server as server
from spaceactors.admin._requests import MAX_REQUEST, PROTOCOL, Row, encode_request
from spaceactors.stores._engine import LetterRow
from spaceactors.stores._sqlite import SqliteEngine
from tests.admin.shop import QUESTION, Clerk, Shop, Verdict, make_filled

T = TypeVar("T")
Service = Runtime[Actor]


async def in_thread(call: Callable[[], T]) -> T:
    return await trio.to_thread.run_sync(call, abandon_on_cancel=True)


async def ask(path: Path, request: Request) -> list[Row]:
    """What a command gets, in a thread of its own."""

    def command() -> list[Row]:
        with open_store(str(path)) as store:
            assert store.running
            return list(store.ask(request))

    return await in_thread(command)


async def names(path: Path, **wanted: Any) -> list[str]:
    return [f"{row['kind']}/{row['space']}" for row in await ask(path, ListSpaces(**wanted))]


# ---- reading


async def test_spaces_are_told_as_they_are_now(runtime: Service, path: Path) -> None:
    told = {row["space"]: row for row in await ask(path, ListSpaces("Shop"))}
    assert {name: row["status"] for name, row in told.items()} == {
        "ann": "live",
        "bob": "live",
        "cem": "suspended",
        "eve": "live",
    }
    assert (told["bob"]["restarts"], told["cem"]["pending"], told["ann"]["version"]) == (1, 1, 2)


async def test_spaces_are_chosen_by_what_they_are_doing_now(runtime: Service, path: Path) -> None:
    await runtime.space("bob", Shop).stop()
    while await names(path, status="stopped") != ["Shop/bob"]:  # as soon as it is written
        pass
    assert await names(path, status="live", limit=2) == ["Clerk/x", "Shop/ann"]
    assert await names(path, kind="Shop", status="live", after="ann") == ["Shop/eve"]


async def test_a_space_that_is_not_written_yet_is_listed_in_its_place(path: Path) -> None:
    entered, leave = trio.Event(), trio.Event()

    class Slow(Actor[int]):
        @handler
        async def wait(self) -> None:
            entered.set()
            await leave.wait()

        @handler
        async def add(self) -> None:
            self.state += 1

    async with open_runtime(Slow, store=SqliteStore(path)) as runtime, trio.open_nursery() as nursery:
        for name in ("a", "c"):
            await runtime.space(name).send(Slow.add)
        nursery.start_soon(runtime.space("b").ask, Slow.wait)
        await entered.wait()
        rows = [(row["space"], row["status"], row["pending"]) for row in await ask(path, ListSpaces())]
        assert [row for row in rows if row[0] == "b"] == [("b", "busy", 1)]
        assert [name for name, _, _ in rows] == ["a", "b", "c"]
        assert (await ask(path, ShowSpace("Slow", "b")))[0]["state"] is None
        leave.set()


async def test_live_spaces_and_stored_ones_come_in_one_order_over_pages(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Plain(Actor[int]):
        options = SpaceOptions(idle_timeout=None)

        @handler
        async def add(self) -> None:
            self.state += 1

    monkeypatch.setattr("spaceactors.admin._reading.PAGE", 7)
    async with open_runtime(Plain, store=SqliteStore(path)) as runtime:
        for n in range(40):
            await runtime.space(f"{n:02}").ask(Plain.add)
            if n % 3:
                await runtime.space(f"{n:02}").drain()
        assert await names(path) == [f"Plain/{n:02}" for n in range(40)]
        assert await names(path, limit=15) == [f"Plain/{n:02}" for n in range(15)]


async def test_everything_that_can_be_read_at_rest_can_be_read_of_a_service(runtime: Service, path: Path) -> None:
    assert [row["space"] for row in await ask(path, ListLetters())] == ["bob", "eve"]
    assert (await ask(path, ShowLetter("f-bob")))[0]["error"]["text"] == "bob"
    assert [row["id"] for row in await ask(path, ListQuestions())] == [QUESTION]
    assert (await ask(path, ShowSpace("Shop", "ann", 1)))[0]["recent"][0]["value"] == {"text": "mocha"}
    assert {row["type"] for row in await ask(path, Export())} >= {"space", "entry", "timer", "dead_letter"}
    assert await ask(path, Verify()) == []
    assert await ask(path, Vacuum()) == [{"done": True}]
    assert await runtime.space("x", Clerk).ask(Clerk.add) == 2  # and it still works


async def test_checks_wait_for_each_other_and_leave_readers_to_the_service(
    runtime: Service, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = most = 0
    begun, go_on = threading.Event(), threading.Event()

    def verify(_: SqliteEngine) -> list[str]:
        nonlocal together, most
        together += 1
        most = max(most, together)
        begun.set()
        go_on.wait(50)
        together -= 1
        return []

    monkeypatch.setattr(SqliteEngine, "verify", verify)
    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(ask, path, Verify())
        await in_thread(begun.wait)
        assert len(await names(path)) == 5  # meanwhile
        go_on.set()
    assert most == 1


async def test_what_is_not_there_is_said_so(runtime: Service, path: Path) -> None:
    for request in (ShowSpace("Shop", "zoe"), ShowLetter("99"), AnswerQuestion("no", "1")):
        with pytest.raises(AdminError, match="there is no"):
            await ask(path, request)


# ---- changing


async def test_letters_are_sent_again_and_run_at_once(runtime: Service, path: Path) -> None:
    Shop.broken = False
    rows = await ask(path, ResendLetters(("1", "f-eve", "9")))
    assert [(row["number"], row["done"]) for row in rows] == [(1, True), (2, True), (None, False)]
    bob = runtime.space("bob", Shop).with_options(message_id="f-bob")
    assert await bob.ask(Shop.fail, "tea", why="bob") == "tea"
    assert (await bob.state()).items == ("tea",)
    assert await ask(path, ListLetters()) == []


async def test_all_means_those_that_are_there_when_it_begins(
    runtime: Service, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Letters that fail again at once come back with higher numbers: they are not sent for ever."""
    monkeypatch.setattr("spaceactors.admin._reading.PAGE", 1)
    resend = running.RunningStore._resend

    async def resend_and_see_it_fail(self: running.RunningStore, row: LetterRow) -> str | None:
        problem = await resend(self, row)
        while len(await runtime.dead_letters.list()) < 2:
            await trio.lowlevel.checkpoint()
        return problem

    monkeypatch.setattr(running.RunningStore, "_resend", resend_and_see_it_fail)
    rows = await ask(path, ResendLetters(all=True))
    assert [row["number"] for row in rows] == [1, 2]
    while len(letters := await ask(path, ListLetters())) < 2:
        pass
    assert [row["number"] for row in letters] == [3, 4]


async def test_one_that_its_space_refuses_stays_a_letter_and_says_why(runtime: Service, path: Path) -> None:
    for _ in range(6):
        await ask(path, ResendLetters(("f-bob",)))
        while not await ask(path, ListLetters(space="bob")):
            pass
    (told,) = await ask(path, ResendLetters(("f-bob",)))
    assert not told["done"]
    assert "quarantine" in told["problem"]
    assert len(await ask(path, ListLetters(space="bob"))) == 1


async def test_one_whose_space_takes_nothing_stays_a_letter(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "PATIENCE", 0.05)

    class Full(Actor):
        options = SpaceOptions(mailbox_capacity=1, backoff=None)

        @handler
        async def fail(self) -> None:
            raise ValueError

        @handler
        async def wait(self) -> None:
            await trio.sleep_forever()

    async with open_runtime(Full, store=SqliteStore(path)) as runtime:
        one = runtime.space("one")
        await one.send(Full.fail)
        while not await runtime.dead_letters.list():
            await trio.lowlevel.checkpoint()
        await one.send(Full.wait)
        while (await one.info()).depth:
            await trio.lowlevel.checkpoint()
        await one.send(Full.wait)
        (told,) = await ask(path, ResendLetters(("1",)))
        assert "took nothing" in told["problem"]
        assert len(await runtime.dead_letters.list()) == 1
        await one.kill()


async def test_letters_of_kinds_that_do_not_run_here_can_be_discarded_only(path: Path) -> None:
    await make_filled(SqliteStore(path))
    async with open_runtime(Clerk, store=SqliteStore(path)):
        (told,) = await ask(path, ResendLetters(("1",)))
        assert "runs no spaces of the kind Shop" in told["problem"]
        assert [row["done"] for row in await ask(path, DiscardLetters(("1", "f-eve", "f-eve")))] == [True, True, False]
        assert await ask(path, ListLetters()) == []


async def test_H3_a_question_is_answered_once_and_its_turn_goes_on(runtime: Service, path: Path) -> None:
    (told,) = await ask(path, AnswerQuestion(QUESTION, '{"ok": true, "why": "hungry"}'))
    assert (told["space"], told["name"], told["done"]) == ("cem", "approve", True)
    cem = runtime.space("cem", Shop).with_options(message_id="o-1")
    assert await cem.ask(Shop.order, "cake") == "hungry"
    with pytest.raises(AdminError, match="no open question"):
        await ask(path, AnswerQuestion(QUESTION, '{"ok": true}'))


@pytest.mark.parametrize("text", ["5", '{"ok": true, "more": 1}', '"yes"', "{"])
async def test_an_answer_that_does_not_fit_is_refused_and_the_question_stays_open(
    runtime: Service, path: Path, text: str
) -> None:
    with pytest.raises(AdminError):
        await ask(path, AnswerQuestion(QUESTION, text))
    await runtime.suspensions.answer(QUESTION, Verdict(ok=True, why="later"))
    cem = runtime.space("cem", Shop).with_options(message_id="o-1")
    assert await cem.ask(Shop.order, "cake") == "later"


async def test_H6_a_question_of_a_space_that_left_memory_is_answered(path: Path) -> None:
    await make_filled(SqliteStore(path))
    async with open_runtime(Shop, store=SqliteStore(path)) as again:
        with pytest.raises(AdminError, match="5 is no Verdict"):
            await ask(path, AnswerQuestion(QUESTION, "5"))
        await ask(path, AnswerQuestion(QUESTION, '{"ok": false, "why": "late"}'))
        cem = again.space("cem").with_options(message_id="o-1")
        assert await cem.ask(Shop.order, "cake") == "late"


async def test_a_question_of_a_kind_that_does_not_run_here_is_answered_for_later(path: Path) -> None:
    await make_filled(SqliteStore(path))
    async with open_runtime(Clerk, store=SqliteStore(path)):
        assert [row["id"] for row in await ask(path, ListQuestions())] == [QUESTION]
        await ask(path, AnswerQuestion(QUESTION, '{"ok": true, "why": "kept"}'))
        assert await ask(path, ListQuestions()) == []
    async with open_runtime(Shop, store=SqliteStore(path)) as again:
        assert await again.space("cem").with_options(message_id="o-1").ask(Shop.order, "cake") == "kept"


# ---- the socket


def socket_of(path: Path) -> Path:
    return Path(server.socket_path(path))


async def test_only_the_owner_may_use_the_socket_and_it_goes_with_the_service(path: Path) -> None:
    async with open_runtime(Clerk, store=SqliteStore(path)):
        assert await names(path) == []
        assert stat.S_IMODE(socket_of(path).stat().st_mode) == 0o600
    assert not socket_of(path).exists()


async def test_a_socket_that_a_killed_service_left_is_no_hindrance(path: Path) -> None:
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(socket_of(path)))
    left.close()
    async with open_runtime(Clerk, store=SqliteStore(path)) as runtime:
        await runtime.space("a").ask(Clerk.add)
        assert await names(path) == ["Clerk/a"]
    socket_left = socket.socket(socket.AF_UNIX)
    socket_left.bind(str(socket_of(path)))
    socket_left.close()
    assert await in_thread(lambda: at_rest(path)) == ["a"]


def at_rest(path: Path) -> list[str]:
    with open_store(str(path)) as store:
        assert not store.running
        return [row["space"] for row in store.ask(ListSpaces())]


async def test_a_command_that_comes_a_moment_before_the_service_listens_waits_for_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_filled(SqliteStore(path))
    engine = SqliteEngine(path)
    engine.open()
    paused, listening = threading.Event(), threading.Event()

    def pause(_: float) -> None:
        paused.set()
        listening.wait(50)

    monkeypatch.setattr("spaceactors.admin._open.time.sleep", pause)
    async with trio.open_nursery() as nursery:

        async def command() -> None:
            assert len(await names(path)) == 5
            nursery.cancel_scope.cancel()

        nursery.start_soon(command)
        await in_thread(paused.wait)
        engine.close()
        async with open_runtime(Clerk, store=SqliteStore(path)):
            await trio.testing.wait_all_tasks_blocked()
            listening.set()
            await trio.sleep_forever()


async def test_a_file_that_is_no_socket_is_left_alone_and_the_service_works_without(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    socket_of(path).write_text("mine")
    async with open_runtime(Clerk, store=SqliteStore(path)) as runtime:
        assert await runtime.space("a").ask(Clerk.add) == 1
    assert socket_of(path).read_text() == "mine"
    assert "cannot reach this service" in caplog.text


async def test_a_path_that_is_too_long_for_a_socket_is_said_so_on_both_sides(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / ("d" * 60) / ("f" * 60)
    path.parent.mkdir()
    async with open_runtime(Clerk, store=SqliteStore(path)) as runtime:
        assert await runtime.space("a").ask(Clerk.add) == 1
        with pytest.raises(AdminError, match=r"has it open.*longer than a socket's may be"):
            await ask(path, ListSpaces())
    assert "longer than a socket's may be" in caplog.text
    assert await in_thread(lambda: at_rest(path)) == ["a"]


def test_where_there_are_no_unix_sockets_it_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "win32")
    assert server.unavailable("x") == "Windows has no Unix sockets"


def test_a_store_in_memory_needs_no_socket() -> None:
    async def main() -> None:
        async with open_runtime(Clerk, store=MemoryStore()):
            pass

    trio.run(main)


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[str]:
    """A path for a socket that is not too long, whatever pytest's folders are called."""
    path = f"/tmp/spaceactors-{os.getpid()}-sock"
    yield path
    Path(path).unlink(missing_ok=True)


async def conversation(path: str, *sent: bytes) -> list[dict[str, Any]]:
    """All that a peer hears which says something and then no more."""
    stream = await trio.open_unix_socket(path)
    async with stream:
        for one in sent:
            await stream.send_all(one)
        await stream.send_eof()
        heard = b"".join([chunk async for chunk in stream])
    return [json.loads(line) for line in heard.splitlines()]


async def serve(path: str, answers: server.Answers, nursery: trio.Nursery) -> None:
    await nursery.start(lambda task_status: server.listen(path, answers, task_status=task_status))


async def echo(request: Request) -> AsyncGenerator[Row]:
    if request == Verify():
        raise AdminError("not now")
    if request == Vacuum():
        raise ZeroDivisionError("a fault")
    yield {"asked": type(request).__name__}


async def test_a_peer_hears_a_greeting_and_an_answer_to_each_line(listening: str) -> None:
    async with trio.open_nursery() as nursery:
        await serve(listening, echo, nursery)
        two = encode_request(Export()) + encode_request(ListQuestions())
        assert await conversation(listening, two[:7], two[7:]) == [
            {"service": os.getpid(), "protocol": PROTOCOL},
            {"row": {"asked": "Export"}},
            {"end": True},
            {"row": {"asked": "ListQuestions"}},
            {"end": True},
        ]
        nursery.cancel_scope.cancel()


async def test_what_goes_wrong_is_an_answer_and_the_next_one_is_answered(
    listening: str, caplog: pytest.LogCaptureFixture
) -> None:
    lines = [b"nonsense\n", encode_request(Verify()), encode_request(Vacuum()), encode_request(Export())]
    with caplog.at_level(logging.CRITICAL):
        async with trio.open_nursery() as nursery:
            await serve(listening, echo, nursery)
            _, *told = await conversation(listening, *lines)
            nursery.cancel_scope.cancel()
    assert told == [
        {"error": "a request is one line with a JSON object"},
        {"error": "not now"},
        {"error": "the service could not answer: ZeroDivisionError: a fault"},
        {"row": {"asked": "Export"}},
        {"end": True},
    ]


async def test_a_request_without_an_end_is_cut_off(listening: str) -> None:
    async with trio.open_nursery() as nursery:
        await serve(listening, echo, nursery)
        async with await trio.open_unix_socket(listening) as stream:
            with pytest.raises(trio.BrokenResourceError):
                for _ in range(2 * MAX_REQUEST // 1000):
                    await stream.send_all(b"x" * 1000)
        nursery.cancel_scope.cancel()


async def test_a_peer_that_leaves_in_the_middle_ends_its_answer_only(listening: str) -> None:
    ended = trio.Event()

    async def endless(_: Request) -> AsyncGenerator[Row]:
        try:
            while True:
                yield {"text": "x" * 1000}
                await trio.lowlevel.checkpoint()
        finally:
            ended.set()

    async with trio.open_nursery() as nursery:
        await serve(listening, endless, nursery)
        async with await trio.open_unix_socket(listening) as stream:
            await stream.send_all(encode_request(Export()))
            await stream.receive_some(100)
        await ended.wait()
        stream = await trio.open_unix_socket(listening)
        assert b"service" in await stream.receive_some(100)
        await stream.aclose()
        nursery.cancel_scope.cancel()


async def test_a_slow_reader_holds_the_rows_back_instead_of_filling_memory(listening: str) -> None:
    made = 0

    async def many(_: Request) -> AsyncGenerator[Row]:
        nonlocal made
        while True:
            made += 1
            yield {"text": "x" * 1000}

    async with trio.open_nursery() as nursery:
        await serve(listening, many, nursery)
        stream = await trio.open_unix_socket(listening)
        await stream.send_all(encode_request(Export()))
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert 0 < made < 2000
        await stream.aclose()
        nursery.cancel_scope.cancel()


async def test_a_command_notices_a_service_whose_loop_stands_still(
    listening: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "PATIENCE", 0.05)
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(listening)
        deaf.listen()
        with pytest.raises(AdminError, match="stands still"):
            await in_thread(lambda: client.connect(listening))


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (b"", "ended in the middle"),
        (b'{"service": 1, "protocol"', "ended in the middle"),
        (b'{"service": 1, "protocol": 99}\n', "different versions"),
    ],
)
async def test_a_command_notices_who_is_no_service_of_its_version(listening: str, said: bytes, told: str) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(listening)
        listener.listen()

        def speak() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.sendall(said)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, speak)
            with pytest.raises(AdminError, match=told):
                await in_thread(lambda: client.connect(listening))


async def test_a_command_whose_service_ends_meanwhile_is_told_so(listening: str) -> None:
    begun = trio.Event()

    async def never(_: Request) -> AsyncGenerator[Row]:
        begun.set()
        await trio.sleep_forever()
        yield {}

    async def command() -> None:
        def wait() -> None:
            store = client.connect(listening)
            assert store is not None
            with pytest.raises(AdminError, match="ended in the middle"):
                list(store.ask(Export()))
            store.close()

        await in_thread(wait)

    async with trio.open_nursery() as commands, trio.open_nursery() as nursery:
        await serve(listening, never, nursery)
        commands.start_soon(command)
        await begun.wait()
        nursery.cancel_scope.cancel()
