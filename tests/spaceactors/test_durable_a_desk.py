"""The one writer: which writes go together, in which order, and that each is told once what became of it."""

from __future__ import annotations

from collections import Counter, deque
from itertools import pairwise

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from spaceactors import RestartLimit, StoreError
from spaceactors.stores._desk import Desk, Load, Write, take_group
from spaceactors.stores._engine import Put
from tests.spaceactors.clerks import Clerk, clerk
from tests.spaceactors.services import SlowDisk, ledger_of, open_caller, service

KEYS = [("k", name) for name in "abc"]


class Asked:
    """One thing that was put into the queue: a change of a space, something new, a deletion, a load."""

    def __init__(self, number, what, key, rows):
        self.what, self.key = what, key
        if what == "load":
            self.one = Load(key)
        elif what == "erase":
            self.one = Write([(Put.ERASE_SPACE, key)], key, insist=False)
        else:
            written = [(Put.ADD_ENTRY, (*key, number, part)) for part in range(rows)]
            self.one = Write(written, None if what == "new" else key, insist=False)


ASKED = st.lists(
    st.tuples(st.sampled_from(["change", "change", "new", "load", "erase"]), st.sampled_from(KEYS), st.integers(0, 3)),
    max_size=20,
)


def drained(queue, most):
    """All groups that a queue makes, one after the other."""
    groups = []
    while queue:
        before = len(queue)
        writes, loads = take_group(queue, most)
        assert len(queue) == before - len(writes) - len(loads)
        assert writes or loads, "a queue that is not empty makes a group"
        groups.append((writes, loads))
    return groups


@settings(max_examples=500)
@given(asked=ASKED, most=st.sampled_from([1, 2, 5, 4096]))
def test_groups_lose_nothing_double_nothing_and_keep_the_order_of_each_space(asked, most):
    all_asked = [Asked(number, *one) for number, one in enumerate(asked)]
    groups = drained(deque(one.one for one in all_asked), most)
    taken = [one for writes, loads in groups for one in (*writes, *loads)]
    assert Counter(map(id, taken)) == Counter(id(one.one) for one in all_asked)
    at = {id(one): number for number, (writes, loads) in enumerate(groups) for one in (*writes, *loads)}
    for key in KEYS:
        mine = [one for one in all_asked if one.one.key == key]
        for earlier, later in pairwise(mine):
            before, after = at[id(earlier.one)], at[id(later.one)]
            if earlier.what == "load":
                # What is written with a load comes before it: a later change would be read.
                assert before <= after
            elif later.what == "load":
                assert before <= after
            else:
                assert before < after, "two changes of one space in a group"
    for writes, loads in groups:
        assert len({one.key for one in writes if one.key}) == sum(one.key is not None for one in writes)
        if any(one.rows and one.rows[0][0] is Put.ERASE_SPACE for one in writes):
            assert (len(writes), loads) == (1, []), "a deletion goes alone"


@given(asked=ASKED)
def test_a_group_takes_its_writes_in_the_order_in_which_they_were_asked_for(asked):
    all_asked = [Asked(number, *one) for number, one in enumerate(asked)]
    order = {id(one.one): number for number, one in enumerate(all_asked)}
    for writes, _ in drained(deque(one.one for one in all_asked), 4096):
        numbers = [order[id(one)] for one in writes]
        assert numbers == sorted(numbers)


def test_a_group_ends_when_it_has_rows_enough():
    queue = deque(Asked(number, "new", KEYS[0], 3).one for number in range(10))
    writes, _ = take_group(queue, 6)
    assert (len(writes), len(queue)) == (2, 8)


def test_a_load_stays_behind_a_change_that_has_to_wait():
    queue = deque(Asked(number, what, KEYS[0], 1).one for number, what in enumerate(["change", "change", "load"]))
    writes, loads = take_group(queue)
    assert (len(writes), loads, len(queue)) == (1, [], 2)


def test_what_follows_a_deletion_stays_behind_it():
    asked = [Asked(number, what, KEYS[0], 1) for number, what in enumerate(["change", "erase", "change", "load"])]
    groups = drained(deque(one.one for one in asked), 4096)
    assert [len(writes) for writes, _ in groups] == [1, 1, 1]
    assert [len(loads) for _, loads in groups] == [0, 0, 1]


# ---- the desk at work


class Slate:
    """An engine that notes what it is given, and fails on command."""

    name = "slate"

    def __init__(self):
        self.groups = []
        self.full = False
        self.refused = {}

    def write(self, writes):
        if self.full:
            raise StoreError("full")
        self.groups.append([values[0] for rows in writes for _, values in rows])
        return [self.refused.get(rows[0][1][0]) if rows else None for rows in writes]

    def load(self, keys, epoch):
        self.groups.append([f"load {space_id}" for _, space_id in keys])
        return [None for _ in keys]

    def close(self):
        pass


def row(name):
    return [(Put.ADD_ENTRY, (name,))]


@pytest.fixture
async def slate():
    return Slate()


@pytest.fixture
async def desk(slate, nursery):
    desk = Desk(slate)
    desk.inline = True
    told = desk.told = []
    nursery.start_soon(desk.run, lambda error: told.append(str(error)), lambda: told.append("healed"))
    await trio.testing.wait_all_tasks_blocked()
    return desk


async def test_what_is_asked_for_in_one_moment_is_one_group(desk, slate):
    receipts = [desk.write(row(str(number)), None) for number in range(100)]
    for receipt in receipts:
        await receipt.wait()
    assert [len(group) for group in slate.groups] == [100]


async def test_a_refused_write_is_told_to_who_asked_for_it_and_to_nobody_else(desk, slate):
    slate.refused["x"] = ValueError("not this one")
    good, bad = desk.write(row("y"), None), desk.write(row("x"), None)
    with pytest.raises(ValueError, match="not this one"):
        await bad.wait()
    assert await good.wait() is None


async def test_D6_a_write_that_need_not_be_kept_fails_at_once_and_one_that_insists_comes_first_afterwards(desk, slate):
    slate.full = True
    easy, must = desk.write(row("easy"), None), desk.write(row("must"), None, insist=True)
    with pytest.raises(StoreError):
        await easy.wait()
    assert not must.done
    later = desk.write(row("later"), None, insist=True)
    slate.full = False
    await later.wait()
    assert slate.groups == [["must", "later"]]
    assert desk.told == ["full", "healed"]


async def test_D6_what_could_not_be_written_of_a_space_is_no_reason_to_read_it_older(desk, slate):
    slate.full = True
    must, load, other = desk.write(row("k"), ("k", "a"), insist=True), desk.load(("k", "a")), desk.load(("k", "b"))
    must.rows = [(Put.MARK_MESSAGE, ("k", "a", 1, 0, False))]
    with pytest.raises(StoreError):
        await load.wait()
    assert await other.wait() is None


async def test_flush_waits_for_the_last_write_and_says_whether_all_was_written(desk, slate):
    receipt = desk.write(row("x"), None)
    assert await desk.flush() is True
    assert receipt.done
    slate.full = True
    desk.write(row("y"), None, insist=True)
    assert await desk.flush() is False


async def test_what_is_asked_of_a_desk_that_has_given_up_fails_at_once(desk):
    waiting = desk.write(row("x"), None)
    desk.give_up(StoreError("over"))
    for receipt in (waiting, desk.write(row("y"), None), desk.load(("k", "a"))):
        with pytest.raises(StoreError, match="over"):
            await receipt.wait()


async def test_who_is_cancelled_while_waiting_takes_nothing_back_and_disturbs_nobody(desk, slate):
    receipt = desk.write(row("x"), None)
    with trio.move_on_after(0) as scope:
        await receipt.wait()
    assert scope.cancelled_caught
    await receipt.wait()
    assert slate.groups == [["x"]]


# ---- under a runtime


@pytest.fixture
def disk(tmp_path):
    return SlowDisk(tmp_path / "spaces.db")


async def test_a_hundred_spaces_that_are_sent_to_at_once_share_few_commits(disk):
    async with service(disk, clerk(), deps=[]) as runtime, open_caller() as call:
        disk.seconds = 0.1
        for number in range(100):
            call(number, runtime.space(str(number)).send, Clerk.note, "x")
        await runtime.advance(5)
        assert len(call.answers) == 100
        assert await ledger_of(runtime) == {"handled": 100}
        assert sum(disk.groups) >= 200
        assert len(disk.groups) <= 6


async def test_turns_of_many_spaces_share_commits_while_one_space_has_one_for_each(disk):
    async with service(disk, clerk(mailbox_capacity=1000), deps=[]) as runtime:
        disk.seconds = 0.1
        for _ in range(20):
            for name in "abcde":
                runtime.space(name).send_nowait(Clerk.note, "x")
        await runtime.advance(20)
        assert await ledger_of(runtime) == {"handled": 100}
        assert 20 <= len(disk.groups) <= 30


async def test_M12_no_wake_up_is_lost_between_two_groups(disk):
    """Each message comes in at another moment of a group's flight, and finds the writer at another place."""
    async with service(disk, clerk(mailbox_capacity=1000), deps=[]) as runtime:
        disk.seconds = 0.07
        for number in range(200):
            runtime.space("ab"[number % 2]).send_nowait(Clerk.note, str(number))
            await trio.sleep(0.01 * (number % 11))
        await runtime.advance(60)
        assert await runtime.space("a").state() == tuple(map(str, range(0, 200, 2)))
        assert await runtime.space("b").state() == tuple(map(str, range(1, 200, 2)))


async def test_D6_what_waits_behind_a_write_that_insists_is_told_of_the_outage_too(desk, slate):
    slate.full = True
    must, change, load = (
        desk.write(row("k"), ("k", "a"), insist=True),
        desk.write(row("k"), ("k", "a")),
        desk.load(("k", "a")),
    )
    too = desk.write(row("k"), ("k", "a"), insist=True)
    for receipt in (change, load):
        with trio.fail_after(1), pytest.raises(StoreError, match="full"):
            await receipt.wait()
    slate.full = False
    await too.wait()
    assert must.done
    assert slate.groups == [["k"], ["k"]]


async def test_D6_S19_a_delete_in_an_outage_fails_and_keeps_no_service_from_ending(disk):
    async with open_caller() as call:
        async with service(disk, clerk(restart_limit=RestartLimit(0, 60.0)), deps=[]) as runtime:
            space = runtime.space("a")
            await space.send(Clerk.crash, "x", 1.0)
            disk.full = True
            await runtime.advance(2)
            call("delete", space.delete)
            await runtime.advance(20)
            assert isinstance(call.answers["delete"], StoreError)
            with trio.fail_after(60):
                await runtime.drain(1.0)
        disk.full = False
