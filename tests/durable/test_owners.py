"""Two services on one store: of a space there is one owner, and the one that came before cannot write."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from spaceactors import Actor, PostgresStore, Reject, SpaceOptions, SqliteStore, StoreError, handler, open_runtime

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.timeout(240)


class Account(Actor[tuple[str, ...]]):
    options = SpaceOptions(max_recoveries=100)

    def __init__(self, gate: dict[str, trio.Event] | None) -> None:
        self.gate = gate or {}

    @handler
    async def book(self, what: str) -> tuple[str, ...]:
        """Book something; where there is a gate for it, when that is open."""
        self.state = (*self.state, what)
        self.history.append(what)
        if what in self.gate:
            self.gate[f"{what} began"].set()
            await self.gate[what].wait()
        return self.state

    @handler
    async def end(self, how: str) -> str:
        """Begin, wait where there is a gate, and end as told; where there is no gate, end well."""
        if how not in self.gate:
            self.state = (*self.state, how)
            return "well"
        self.gate[f"{how} began"].set()
        await self.gate[how].wait()
        match how:
            case "reject":
                raise Reject(how)
            case "crash":
                raise RuntimeError(how)
            case "step":
                return await self.step("one", self._effect)
            case "suspend":
                return await self.suspend("one", how, answer=str)
        raise AssertionError(how)

    async def _effect(self) -> str:
        return "an effect of the earlier owner"


def gate(what):
    return {what: trio.Event(), f"{what} began": trio.Event()}


def service(dsn, gates=None):
    return open_runtime(Account, deps=gates, store=PostgresStore(dsn))


async def values(handle):
    return [entry.value for entry in await handle.history.read()]


# ---- PostgreSQL: the later owner fences the earlier one off


async def test_D2_a_turn_of_the_earlier_owner_is_refused_and_runs_once_at_the_later(dsn):
    gates = gate("slow")
    refused = []

    async def ask(handle):
        with pytest.raises(StoreError, match="later opening") as error:
            await handle.ask(Account.book, "slow")
        refused.append(error.value)

    async with service(dsn, gates) as earlier, trio.open_nursery() as nursery:
        await earlier.space("alice").ask(Account.book, "first")
        nursery.start_soon(ask, earlier.space("alice").with_options(message_id="slow-1"))
        await gates["slow began"].wait()
        async with service(dsn) as later:
            alice = later.space("alice")
            assert await alice.ask(Account.book, "second") == ("first", "second")
            gates["slow"].set()
            with trio.fail_after(100):
                while not refused:  # noqa: ASYNC110 (nobody tells)
                    await trio.sleep(0.01)
            again = await alice.with_options(message_id="slow-1").ask(Account.book, "slow")
            assert again == ("first", "second", "slow")
            assert await values(alice) == ["first", "second", "slow"]
            assert not await later.dead_letters.list()


async def test_D2_what_was_accepted_by_the_earlier_owner_runs_once_at_the_later(dsn):
    gates = gate("slow")
    async with service(dsn, gates) as earlier:
        alice = earlier.space("alice")
        await alice.send(Account.book, "slow")
        await alice.send(Account.book, "behind")
        await gates["slow began"].wait()
        async with service(dsn) as later:
            with trio.fail_after(100):
                while await later.space("alice").state() != ("slow", "behind"):  # noqa: ASYNC110 (nobody tells)
                    await trio.sleep(0.01)
            gates["slow"].set()
            with pytest.raises(StoreError, match="later opening"):
                await alice.ask(Account.book, "late")
            assert await later.space("alice").ask(Account.book, "on time") == ("slow", "behind", "on time")
            assert await values(later.space("alice")) == ["slow", "behind", "on time"]


async def test_D2_a_send_to_the_earlier_owner_is_refused_once_the_later_has_the_space(dsn):
    async with service(dsn) as earlier, service(dsn) as later:
        await earlier.space("alice").ask(Account.book, "first")
        await later.space("alice").ask(Account.book, "second")
        with pytest.raises(StoreError, match="later opening"):
            await earlier.space("alice").send(Account.book, "third")
        assert await values(later.space("alice")) == ["first", "second"]


async def test_D2_each_service_owns_the_spaces_it_uses_and_disturbs_no_other(dsn):
    async with service(dsn) as one, service(dsn) as other:
        for number in range(20):
            await one.space(f"one-{number}").ask(Account.book, "a")
            await other.space(f"other-{number}").ask(Account.book, "b")
        for number in range(20):
            assert await one.space(f"one-{number}").ask(Account.book, "c") == ("a", "c")
            assert await other.space(f"other-{number}").ask(Account.book, "d") == ("b", "d")


async def test_D2_a_change_from_outside_by_the_earlier_owner_is_refused(dsn):
    store = PostgresStore(dsn)
    async with open_runtime(Account, deps=None, store=store) as earlier, service(dsn) as later:
        await earlier.space("alice").ask(Account.book, "first")
        await later.space("alice").ask(Account.book, "second")
        with pytest.raises(StoreError, match="later opening"):
            await store.update(earlier.space("alice"), lambda booked: (*booked, "from outside"))
        assert await later.space("alice").state() == ("first", "second")


@pytest.mark.parametrize("how", ["reject", "crash", "step", "suspend"])
async def test_D2_no_end_of_an_earlier_owners_turn_is_written_over_that_of_the_later(dsn, how):
    gates = gate(how)
    told = []

    async def ask(handle):
        try:
            await handle.ask(Account.end, how)
        except Exception as error:
            told.append(error)

    async with service(dsn, gates) as earlier, trio.open_nursery() as nursery:
        message_id = await earlier.space("alice").with_options(message_id="one").send(Account.end, how)
        await gates[f"{how} began"].wait()
        nursery.start_soon(ask, earlier.space("alice").with_options(message_id=message_id))
        async with service(dsn) as later:
            alice = later.space("alice")
            with trio.fail_after(100):
                while await alice.state() != (how,):  # noqa: ASYNC110 (nobody tells)
                    await trio.sleep(0.01)
            gates[how].set()
            with trio.fail_after(100):
                while not told:  # noqa: ASYNC110 (nobody tells)
                    await trio.sleep(0.01)
            assert isinstance(told[0], StoreError), told
            assert await alice.with_options(message_id=message_id).ask(Account.end, how) == "well"
            assert await alice.state() == (how,)
            assert not await later.dead_letters.list()
            assert not await later.suspensions.list()


# ---- SQLite: there is no second owner

HOLD = """
import sys, trio
from spaceactors import SqliteStore, open_runtime
from tests.durable.test_owners import Account

async def main():
    async with open_runtime(Account, deps=None, store=SqliteStore(sys.argv[1])) as runtime:
        await runtime.space("alice").ask(Account.book, "first")
        print("open", flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


@contextmanager
def holding(path):
    command = (sys.executable, "-c", HOLD, str(path))
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "open\n"
            yield process
        finally:
            process.kill()


async def test_D2_a_second_process_is_refused_the_file_and_gets_it_when_the_first_has_died(tmp_path):
    path = tmp_path / "accounts.db"
    with holding(path) as process:
        with pytest.raises(StoreError, match=str(process.pid)):
            async with open_runtime(Account, deps=None, store=SqliteStore(path)):
                pytest.fail("the block was entered")
        process.send_signal(signal.SIGKILL)
        process.wait()
        async with open_runtime(Account, deps=None, store=SqliteStore(path)) as runtime:
            assert await runtime.space("alice").ask(Account.book, "second") == ("first", "second")


async def test_D2_a_second_runtime_is_refused_the_file_and_the_first_goes_on(tmp_path):
    path = tmp_path / "accounts.db"
    async with open_runtime(Account, deps=None, store=SqliteStore(path)) as runtime:
        with pytest.raises(StoreError):
            async with open_runtime(Account, deps=None, store=SqliteStore(path)):
                pytest.fail("the block was entered")
        assert await runtime.space("alice").ask(Account.book, "first") == ("first",)
