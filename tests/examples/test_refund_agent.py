"""The refund agent moves money once, whenever its process is killed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
import trio
from attrs import define

from examples.refund_agent import DAYS, Case, Provider, ProviderDown, Refunds, Sale, Shop, Verdict, World
from spaceactors import ActorCrashed, MemoryStore, SpaceHandle, SuspensionClosed
from spaceactors.testing import VirtualRuntime, open_test_runtime

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = Path(__file__).with_name("refund_killed.py")

# Up to eight processes one after the other, on a machine that may be busy.
pytestmark = pytest.mark.timeout(600)


@define
class Machine:
    """Where the agent runs: its files, and its processes one after the other."""

    folder: Path

    def run(self, *command: str, kill: str = "never") -> subprocess.CompletedProcess[str]:
        argv = (sys.executable, str(PROGRAM), kill, str(self.folder / "log"), *command, "--folder", str(self.folder))
        done = subprocess.run(argv, capture_output=True, text=True, timeout=200, check=False)
        assert done.returncode == (0 if kill == "never" else -signal.SIGKILL), done.stderr
        return done

    def says(self, *command: str) -> str:
        return self.run(*command).stdout

    def moved(self) -> list[int]:
        """What the provider moved, in cents, each time it did."""
        books = self.folder / "provider.jsonl"
        lines = books.read_text(encoding="utf-8").splitlines() if books.exists() else []
        return [moved for line in lines if (moved := json.loads(line)["moved"])]

    def called(self) -> Counter[str]:
        """How often the functions of the steps ran, over all processes."""
        return Counter((self.folder / "log").read_text(encoding="utf-8").splitlines())


def spaceactors(*command: str) -> str:
    """What the command prints."""
    argv = (sys.executable, "-m", "spaceactors.cli", *command)
    done = subprocess.run(argv, capture_output=True, text=True, timeout=200, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


ASKS = "order 250, $250.00: approve or refuse?\n"
PAID = "order 250: paid back, receipt R1\n"


@pytest.mark.slow
def test_a_refund_that_nobody_kills_is_asked_for_and_paid(machine: Machine) -> None:
    assert machine.says("start", "250") == ASKS
    assert machine.says("status") == ASKS
    assert machine.says("approve", "250", "--by", "ann") == PAID
    assert machine.says("start", "250") == PAID
    assert machine.says("approve", "250") == f"nobody asks about order 250\n{PAID}"
    assert (machine.moved(), machine.called()) == ([25_000], Counter(find=1, pay=1))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("moment", "found"),
    # Once the message is on the disk its turn begins, beside its sender.
    [("sent", {1, 2}), ("find done", {2}), ("find recorded", {1}), ("suspend called", {1}), ("told", {1})],
)
def test_D1_D4_H1_a_kill_before_the_answer_loses_nothing(machine: Machine, moment: str, found: set[int]) -> None:
    """The message is there, its recorded step does not run again, and its question is asked."""
    machine.run("start", "250", kill=moment)
    assert machine.says("status") == ASKS
    assert machine.says("approve", "250") == PAID
    assert (machine.moved(), machine.called()["pay"]) == ([25_000], 1)
    assert machine.called()["find"] in found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("moment", "paid"),
    [("answered", 1), ("pay called", 2), ("pay done", 2), ("pay recorded", 1), ("told", 1)],
)
def test_D1_D4_H2_a_kill_after_the_answer_moves_money_once(machine: Machine, moment: str, paid: int) -> None:
    """The answer counts, the look-up is not repeated, and a payment that was not recorded is repeated under its key."""
    machine.run("start", "250")
    machine.run("approve", "250", kill=moment)
    assert machine.says("status") == PAID
    assert (machine.moved(), machine.called()) == ([25_000], Counter(find=1, pay=paid))


@pytest.mark.slow
def test_D1_D3_a_process_that_is_killed_in_every_way_pays_once(machine: Machine) -> None:
    for moment in ("find done", "suspend called", "told"):
        machine.run("start", "250", kill=moment)
    for moment in ("answered", "pay called", "pay done", "pay recorded"):
        machine.run("approve", "250", kill=moment)
    assert machine.says("start", "250") == PAID
    assert machine.moved() == [25_000]


@pytest.mark.slow
def test_H2_a_refusal_moves_nothing(machine: Machine) -> None:
    machine.run("start", "250")
    machine.run("refuse", "250", "--by", "bob", kill="answered")
    assert machine.says("status") == "order 250: refused by bob\n"
    assert machine.moved() == []


@pytest.mark.slow
def test_H1_a_person_answers_by_the_command_line_while_nothing_runs(machine: Machine) -> None:
    machine.run("start", "250")
    store = str(machine.folder / "refunds.db")
    [asked] = [json.loads(line) for line in spaceactors("suspensions", "list", store, "--json").splitlines()]
    spaceactors("suspensions", "answer", store, asked["id"], '{"ok": false, "by": "carol"}')
    assert machine.says("status") == "order 250: refused by carol\n"


# ---- the same on virtual time


class Bank(Provider):
    """A provider that is down so many times before it pays."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.keys: list[str] = []

    async def pay_back(self, sale: Sale, key: str) -> str:
        self.keys.append(key)
        if len(self.keys) <= self.failures:
            raise ProviderDown
        return f"R-{sale.order}"


def refunds(bank: Bank) -> AbstractAsyncContextManager[VirtualRuntime[Refunds]]:
    """A runtime of refunds, whose store would refuse what a disk could not keep."""
    return open_test_runtime(Refunds, deps=World(Shop(), bank), store=MemoryStore(check_encoding=True))


async def question_about(runtime: VirtualRuntime[Refunds], case: SpaceHandle[Refunds]) -> str:
    """Ask for a refund, and return the question that is open then."""
    await case.send(Refunds.refund, case.id)
    await runtime.settle()
    [asked] = await runtime.suspensions.list(actor=Refunds)
    assert asked.question == Sale("250", 25_000)
    return asked.id


async def test_a_small_refund_needs_nobody() -> None:
    async with refunds(bank := Bank()) as runtime:
        assert await runtime.space("99").ask(Refunds.refund, "99") == "paid back, receipt R-99"
        assert len(bank.keys) == 1


async def test_D4_the_payment_is_recorded_before_the_commit_that_fails() -> None:
    async with refunds(bank := Bank()) as runtime:
        case = runtime.space("250").with_options(message_id="m")
        asked = await question_about(runtime, case)
        await runtime.reopen()
        with runtime.fault("before_commit"):
            await runtime.suspensions.answer(asked, Verdict(ok=True, by="ann"))
            assert await case.ask(Refunds.refund, "250") == "paid back, receipt R-250"
        assert await case.state() == Case("paid back, receipt R-250")
        assert bank.keys == ["m/pay"]


async def test_D5_a_provider_that_is_down_is_tried_again_under_the_same_key() -> None:
    async with refunds(bank := Bank(failures=4)) as runtime:
        await runtime.space("99").with_options(message_id="m").ask(Refunds.refund, "99")
        assert bank.keys == ["m/pay"] * 5


async def test_D5_a_provider_that_stays_down_makes_the_refund_a_dead_letter_which_can_be_sent_again() -> None:
    async with refunds(bank := Bank(failures=15)) as runtime:
        case = runtime.space("99").with_options(message_id="m")
        with pytest.raises(ActorCrashed):
            await case.ask(Refunds.refund, "99")
        assert await runtime.dead_letters.resend("m") == 1
        assert await case.ask(Refunds.refund, "99") == "paid back, receipt R-99"
        assert bank.keys == ["m/pay"] * 16


async def test_H4_nobody_answers_for_three_days() -> None:
    async with refunds(bank := Bank()) as runtime:
        case = runtime.space("250").with_options(message_id="m")
        await question_about(runtime, case)
        await runtime.advance(3 * DAYS)
        assert await case.ask(Refunds.refund, "250") == "refused by nobody in three days"
        assert bank.keys == []


async def test_H3_of_two_answers_one_counts() -> None:
    async with refunds(bank := Bank()) as runtime:
        case = runtime.space("250").with_options(message_id="m")
        asked = await question_about(runtime, case)
        await runtime.suspensions.answer(asked, Verdict(ok=False, by="bob"))
        with pytest.raises(SuspensionClosed):
            await runtime.suspensions.answer(asked, Verdict(ok=True, by="ann"))
        assert await case.ask(Refunds.refund, "250") == "refused by bob"
        assert bank.keys == []


async def test_a_drain_does_not_wait_for_a_turn_that_suspends_while_it_is_on() -> None:
    async with refunds(Bank()) as runtime:
        began = trio.current_time()
        await runtime.space("250").send(Refunds.refund, "250")
        await runtime.drain()
        assert trio.current_time() == began
