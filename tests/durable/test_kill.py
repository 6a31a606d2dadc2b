"""A real process is killed two hundred times under real conversations; then nothing is lost and nothing is doubled."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
import trio

from spaceactors import Actor, Entry, SpaceOptions, SqliteStore, handler, open_runtime
from tests.durable import oracle
from tests.durable.plan import Said, conversations, digest_of
from tests.durable.shop import Board, Tab
from tests.durable.worker import Acks
from tests.stores.postgres import require_driver

ROOT = Path(__file__).resolve().parents[2]
KILLS = 200


def kill(kills, directory, *more):
    command = (sys.executable, "-m", "tests.durable.kill_run", "--kills", str(kills), "--keep", str(directory), *more)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=1100)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{kills} kills" in done.stdout
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_D1_D4_H1_T10_two_hundred_kills_lose_nothing_and_double_nothing(tmp_path):
    kill(KILLS, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_D1_D6_nor_do_kills_of_the_service_and_of_its_postgresql(tmp_path):
    require_driver()
    assert " 0 outages" not in kill(25, tmp_path, "--postgres", "--spaces", "120", "--seed", "1")


# ---- a message that kills its process


class Bomb(Actor[tuple[str, ...]]):
    options = SpaceOptions(max_recoveries=2)

    @handler
    async def add(self, text: str) -> None:
        self.state = (*self.state, text)

    @handler
    async def explode(self) -> None:
        signal.raise_signal(signal.SIGKILL)


PROGRAM = """
import sys, trio
from spaceactors import SqliteStore, open_runtime
from tests.durable.test_kill import Bomb

async def main(path, first):
    async with open_runtime(Bomb, store=SqliteStore(path)) as runtime:
        if first:
            await runtime.space("other").send(Bomb.add, "one")
            bob = runtime.space("bob")
            bob.send_nowait(Bomb.add, "before")
            bob.send_nowait(Bomb.explode)
            await bob.send(Bomb.add, "behind")
        await trio.sleep_forever()

trio.run(main, sys.argv[1], sys.argv[2] == "first")
"""


async def look(path):
    async with open_runtime(Bomb, store=SqliteStore(path)) as runtime:
        bob = runtime.space("bob")
        with trio.fail_after(100):
            while (await runtime.snapshot()).ledger.pending:  # noqa: ASYNC110 (nobody tells)
                await trio.sleep(0.01)
        letters = await runtime.dead_letters.list()
        return await bob.state(), await runtime.space("other").state(), letters


@pytest.mark.timeout(240)
def test_D1_a_message_that_kills_its_process_each_time_fails_after_its_recoveries_and_holds_nobody_up(tmp_path):
    path = tmp_path / "bombs.db"
    for number in range(3):
        command = (sys.executable, "-c", PROGRAM, str(path), "first" if number == 0 else "again")
        done = subprocess.run(command, cwd=ROOT, check=False, timeout=200, capture_output=True, text=True)
        assert done.returncode == -signal.SIGKILL, done.stderr
    bob, other, letters = trio.run(look, path)
    assert bob == ("before", "behind")
    assert other == ("one",)
    assert [(letter.space.id, letter.message.call) for letter in letters] == [("bob", "explode")]
    assert "3 processes died" in str(letters[0].error)


# ---- what the oracle would notice

SPACE, LINES = next(
    (space, lines)
    for space, lines in conversations(0, 250).items()
    if sum(not said.rejected for said in lines) >= 2 and any(said.ticks or said.reminds for said in lines)
)
HEARD = [said for said in LINES if not said.rejected]


def exact_tab(**changes):
    """The state of the conversation when all went well, but for the changes."""
    exact = {
        "count": len(HEARD),
        "digest": digest_of(HEARD),
        "brewed": tuple(f"b{n}" for n in range(sum(said.brews * (1 + said.confirms) for said in HEARD))),
        "tickets": tuple(range(sum(said.tickets for said in HEARD))),
        "answers": tuple(f"a{n}" for n in range(sum(said.confirms for said in HEARD))),
        "reminded": tuple(said.index for said in HEARD if said.reminds),
        "ticked": tuple(said.index for said in HEARD if said.ticks for _ in range(3)),
    }
    return Tab(**(exact | changes))


def entries(*values):
    return [Entry(position, datetime.now(UTC), value) for position, value in enumerate(values, 1)]


def test_the_oracle_finds_nothing_wrong_with_what_is_right():
    assert oracle.faults_of_tab(SPACE, exact_tab(), LINES) == []
    assert oracle.faults_of_history(SPACE, entries(*(f"{s.index} {s.text}" for s in HEARD)), LINES) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"count": len(HEARD) + 1},
        {"digest": digest_of(HEARD[::-1])},
        {"brewed": ("one", "too", "many", "of", "them")},
        {"tickets": (1, 2, 3, 4, 5, 6)},
        {"answers": ("a", "b", "c", "d", "e")},
        {"reminded": (0, 0, 0)},
        {"ticked": (0,)},
        {"touched": ("twice", "twice")},
    ],
)
def test_the_oracle_notices_a_state_that_is_not_exact(changes):
    assert oracle.faults_of_tab(SPACE, exact_tab(**changes), LINES)


def test_the_oracle_notices_an_entry_that_is_lost_or_doubled_or_out_of_order():
    right = [f"{said.index} {said.text}" for said in HEARD]
    for wrong in (right[1:], [*right, right[-1]], right[::-1]):
        assert oracle.faults_of_history(SPACE, entries(*wrong), LINES)


@pytest.mark.parametrize(
    ("effects", "brewed", "wrong"),
    [
        ([("+", "k", "1"), ("=", "k", "1")], ("1",), None),
        ([("+", "k", "1"), ("+", "k", "2"), ("=", "k", "2"), ("=", "k", "2")], ("2",), None),
        ([("+", "k", "1"), ("=", "k", "1"), ("+", "k", "2")], ("1",), "ran again"),
        ([("+", "k", "1"), ("+", "k", "2"), ("=", "k", "1"), ("=", "k", "2")], ("1",), "and then"),
        ([("+", "k", "1"), ("=", "k", "3")], ("3",), "never made"),
        ([("+", "k", "1"), ("=", "k", "1")], (), "results"),
        ([("+", "k", "1"), ("=", "k", "1")], ("1", "1"), "results"),
    ],
)
def test_D4_the_oracle_notices_a_step_that_ran_again_after_it_had_returned(effects, brewed, wrong):
    faults = oracle.faults_of_effects(effects, [Tab(brewed=brewed)])
    assert wrong in faults[0] if wrong else not faults


def test_the_oracle_notices_a_kitchen_with_an_order_too_few_or_too_many():
    said = partial(Said, text="", asked=True, rejected=False, lingers=False, brews=False, confirms=False)
    lines = [said(space="a", index=0, tickets=True, orders=True, reminds=False, ticks=False)]
    right = ["order a:0", "ticket a:0"]
    assert not oracle.faults_of_kitchen("kitchen-0", right, Board(1, 1), lines, 1)
    for wrong, board in ((right[1:], Board(0, 1)), ([*right, right[1]], Board(1, 2)), (right, Board(2, 1))):
        assert oracle.faults_of_kitchen("kitchen-0", wrong, board, lines, 1)


@pytest.mark.parametrize("tickets", [((1, 2), (2,)), ((1,), (3,))])
def test_the_oracle_notices_a_ticket_that_was_given_twice_or_lost(tickets):
    tabs = [(str(number), Tab(tickets=those)) for number, those in enumerate(tickets)]
    assert oracle.faults_of_tickets(tabs, 1)


def test_the_oracle_notices_what_was_acknowledged_and_lost_and_what_nobody_did():
    tabs = {"a": Tab(answers=("yes",), touched=("m",))}
    acks = Acks({}, {"q": "yes"}, {"a": ["m"]})
    assert not oracle.faults_of_acks(acks, [("touching", "a", "m")], tabs)
    assert oracle.faults_of_acks(acks, [], tabs)
    assert oracle.faults_of_acks(Acks({}, {"q": "no"}, {}), [("touching", "a", "m")], tabs)
    assert oracle.faults_of_acks(
        Acks({}, {}, {"a": ["m", "n"]}), [("touching", "a", "m"), ("touching", "a", "n")], tabs
    )


def test_the_conversations_do_everything_that_can_be_interrupted():
    """Else the kill run would say little."""
    said = [one for lines in conversations(0, 250).values() for one in lines]
    done = Counter(
        name
        for one in said
        for name in ("asked", "rejected", "brews", "tickets", "confirms", "orders", "reminds", "ticks")
        if getattr(one, name)
    )
    assert len(done) == 8
    assert min(done.values()) >= 5
