"""Locks over PostgreSQL: one holder at a time, as long as the lease lasts, and tokens that only rise."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import trio

from spaceactors._errors import StoreError
from supervisors import CapacityTimeout, LeaseExpired, LockPort, Locks
from tests.stores.postgres import Server, require_driver
from tests.stores.proxy import Cut, proxy_to

psycopg = require_driver()

from spaceactors.stores._locks import PostgresLocks  # noqa: E402 (needs the driver)

ROOT = Path(__file__).resolve().parents[2]

NAME = "order:7"

MakeLocks = Callable[[], PostgresLocks]


@pytest.fixture
def locks(dsn: str) -> Iterator[PostgresLocks]:
    made = PostgresLocks(dsn, patience=60.0)
    yield made
    made._table.close()


@pytest.fixture
def others(dsn: str) -> Iterator[PostgresLocks]:
    """As another process would have them."""
    made = PostgresLocks(dsn, patience=60.0)
    yield made
    made._table.close()


def stand_still(seconds: float) -> None:
    """As a process does that is stopped: nothing of it notices the time."""
    time.sleep(seconds)


def rows(dsn: str, statement: str = "SELECT name FROM spaceactors_locks ORDER BY name") -> list[tuple[object, ...]]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        return connection.execute(statement).fetchall()


async def test_a_lock_is_had_by_one_at_a_time(locks: PostgresLocks, others: PostgresLocks):
    async with locks.hold(NAME, ttl=30):
        with pytest.raises(CapacityTimeout, match="'order:7' was not to be had"):
            async with others.hold(NAME, ttl=30, timeout=0.05):
                pass
    async with others.hold(NAME, ttl=30, timeout=0):
        pass


async def test_two_tasks_of_one_process_exclude_each_other_too(locks: PostgresLocks):
    async with locks.hold(NAME, ttl=30):
        with pytest.raises(CapacityTimeout):
            async with locks.hold(NAME, ttl=30, timeout=0):
                pass


async def test_different_names_are_held_at_once(locks: PostgresLocks, others: PostgresLocks):
    async with locks.hold("a", ttl=30), others.hold("b", ttl=30, timeout=0):
        pass


async def test_who_waits_gets_it_when_it_is_released(locks: PostgresLocks, others: PostgresLocks):
    order: list[str] = []

    async def wait(task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        async with others.hold(NAME, ttl=30, timeout=10):
            order.append("second")

    async with trio.open_nursery() as nursery, locks.hold(NAME, ttl=30):
        await nursery.start(wait)
        await trio.sleep(0.05)
        order.append("first")
    assert order == ["first", "second"]


async def test_tokens_rise_from_holder_to_holder(locks: PostgresLocks, others: PostgresLocks):
    tokens: list[int] = []
    for _ in range(5):
        for one in (locks, others):
            async with one.hold(NAME, ttl=30) as lease:
                tokens.append(lease.token)
    assert tokens == sorted(set(tokens))


async def test_tokens_rise_over_a_crash_of_the_server(dsn: str, postgres_server: Server):
    async with PostgresLocks(dsn) as locks:
        async with locks.hold(NAME, ttl=30) as lease:
            before = lease.token
        postgres_server.kill()
        postgres_server.start()
        async with locks.hold(NAME, ttl=30) as lease:
            assert lease.token > before


async def test_a_lease_survives_a_restart_of_the_server(
    locks: PostgresLocks, others: PostgresLocks, postgres_server: Server
):
    async with locks.hold(NAME, ttl=30) as lease:
        postgres_server.restart()
        with pytest.raises(CapacityTimeout):
            async with others.hold(NAME, ttl=30, timeout=0):
                pass
        await lease.extend(30)


# ---- the end of a lease


async def test_a_block_that_outlasts_its_lease_is_cancelled_and_told(locks: PostgresLocks):
    with pytest.raises(LeaseExpired, match="extend"):
        async with locks.hold(NAME, ttl=0.2):
            await trio.sleep_forever()


async def test_another_has_the_lock_after_its_holder_died(locks: PostgresLocks, others: PostgresLocks):
    locks._table.take((NAME,), "one that died", 0.2)
    async with others.hold(NAME, ttl=30):
        pass


async def test_a_holder_that_stood_still_is_told_that_another_had_the_lock(locks: PostgresLocks, others: PostgresLocks):
    """Its block ended without waiting once, so that it could not be cancelled."""
    with pytest.raises(LeaseExpired):
        async with locks.hold(NAME, ttl=0.1):
            stand_still(0.15)
            others._table.take((NAME,), "another", 30.0)


async def test_a_holder_that_was_late_without_harm_is_not_disturbed(locks: PostgresLocks):
    async with locks.hold(NAME, ttl=0.1):
        stand_still(0.15)


async def test_what_the_block_raises_comes_out_and_the_lock_is_free(locks: PostgresLocks, others: PostgresLocks):
    with pytest.raises(ZeroDivisionError):
        async with locks.hold(NAME, ttl=30):
            raise ZeroDivisionError
    async with others.hold(NAME, ttl=30, timeout=0):
        pass


async def test_a_cancelled_block_gives_its_lock_back(locks: PostgresLocks, others: PostgresLocks):
    with trio.CancelScope() as scope:
        async with locks.hold(NAME, ttl=30):
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    async with others.hold(NAME, ttl=30, timeout=0):
        pass


async def test_nobody_is_left_holding_when_a_waiter_is_cancelled(locks: PostgresLocks, others: PostgresLocks, dsn: str):
    async with locks.hold(NAME, ttl=30):
        for _ in range(5):
            with trio.move_on_after(0.02):
                async with others.hold(NAME, ttl=30):
                    pass
    assert rows(dsn) == []


async def test_a_released_lease_leaves_no_row(locks: PostgresLocks, dsn: str):
    async with locks.hold("a", "b", ttl=30):
        assert rows(dsn) == [("a",), ("b",)]
    assert rows(dsn) == []


async def test_leases_of_the_dead_are_swept_away(locks: PostgresLocks, others: PostgresLocks, dsn: str):
    locks._table.take((NAME,), "one that died", 30.0)
    rows(dsn, "UPDATE spaceactors_locks SET expires_at = now() - interval '2 days' RETURNING name")
    async with others.hold("b", ttl=30):
        assert rows(dsn) == [("b",)]


# ---- extending


async def test_an_extended_lease_lasts_longer(locks: PostgresLocks, dsn: str):
    """Here, where its block is cancelled at its end, and in the database, which gives it to others then."""
    async with locks.hold(NAME, ttl=300) as lease:
        await lease.extend(900)
        assert 300 < lease.seconds_left <= 900
        ((left,),) = rows(dsn, "SELECT extract(epoch FROM expires_at - now())::float8 FROM spaceactors_locks")
        assert 300 < left <= 900  # type: ignore[operator]


async def test_a_lease_that_has_ended_cannot_be_extended(locks: PostgresLocks, others: PostgresLocks):
    with pytest.raises(LeaseExpired):
        async with locks.hold(NAME, ttl=0.1) as lease:
            stand_still(0.15)
            others._table.take((NAME,), "another", 30.0)
            with trio.CancelScope(shield=True), pytest.raises(LeaseExpired, match="had ended"):
                await lease.extend(30)
            await trio.sleep(1)


async def test_a_lease_can_be_made_shorter(locks: PostgresLocks):
    with pytest.raises(LeaseExpired):
        async with locks.hold(NAME, ttl=30) as lease:
            await lease.extend(0.1)
            await trio.sleep_forever()


# ---- several


async def test_several_are_taken_together_or_not_at_all(locks: PostgresLocks, others: PostgresLocks, dsn: str):
    async with locks.hold("b", ttl=30):
        with pytest.raises(CapacityTimeout, match="'a', 'b', 'c'"):
            async with others.hold("c", "a", "b", ttl=30, timeout=0):
                pass
        assert rows(dsn) == [("b",)]


async def test_a_name_given_twice_is_held_once(locks: PostgresLocks):
    async with locks.hold("b", "a", "b", ttl=30) as lease:
        assert lease.names == ("a", "b")


async def test_two_that_want_the_same_several_in_other_orders_both_get_them(
    locks: PostgresLocks, others: PostgresLocks
):
    async def take(one: PostgresLocks, names: list[str]) -> None:
        for _ in range(10):
            async with one.hold(*names, ttl=300):
                await trio.lowlevel.checkpoint()

    names = [f"n{n}" for n in range(8)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(take, locks, names)
        nursery.start_soon(take, others, names[::-1])


# ---- faults


async def test_a_lease_whose_answer_was_lost_is_had_and_not_waited_for(dsn: str, postgres_server: Server):
    """It is asked for again, in the name of the same holder."""
    with proxy_to(postgres_server.port) as proxy:
        async with PostgresLocks(dsn.replace(str(postgres_server.port), str(proxy.port))) as locks:
            async with locks.hold("warm", ttl=30):
                pass
            proxy.at_commit = Cut.AFTER
            async with locks.hold(NAME, ttl=30, timeout=2):
                assert proxy.happened.is_set()


async def test_a_database_that_is_not_there_is_a_store_error(postgres_server: Server):
    async with PostgresLocks(postgres_server.dsn(port=1)) as locks:
        with pytest.raises(StoreError, match=r"PostgresLocks\(127.0.0.1/postgres\) cannot connect"):
            async with locks.hold(NAME, ttl=30):
                pass


async def test_a_release_that_cannot_be_told_ends_the_block_all_the_same(dsn: str, postgres_server: Server):
    with proxy_to(postgres_server.port) as proxy:
        through = dsn.replace(str(postgres_server.port), str(proxy.port))
        async with PostgresLocks(through) as locks, locks.hold(NAME, ttl=30):
            proxy.down = True
            proxy.cut_all()


async def test_a_closed_one_says_so(dsn: str):
    async with PostgresLocks(dsn) as locks:
        pass
    with pytest.raises(StoreError, match="closed"):
        async with locks.hold(NAME, ttl=30):
            pass


@pytest.mark.parametrize(
    ("names", "options", "error"),
    [
        ([], {"ttl": 1}, TypeError),
        ([""], {"ttl": 1}, TypeError),
        ([7], {"ttl": 1}, TypeError),
        (["a"], {"ttl": 0}, ValueError),
        (["a"], {"ttl": -1}, ValueError),
        (["a"], {"ttl": float("inf")}, ValueError),
        (["a"], {"ttl": "1"}, TypeError),
        (["a"], {"ttl": 1, "timeout": -1}, ValueError),
        (["file:../a"], {"ttl": 1}, ValueError),
        (["dir:src"], {"ttl": 1}, ValueError),
    ],
)
async def test_what_makes_no_sense_is_refused_at_the_door(
    locks: PostgresLocks, names: list[str], options: dict[str, float], error: type[Exception]
):
    with pytest.raises(error):
        async with locks.hold(*names, **options):
            pass


# ---- as a port


@pytest.fixture(params=["memory", "postgres"])
def port(request: pytest.FixtureRequest) -> LockPort:
    if request.param == "memory":
        return Locks(grace=0)
    found: PostgresLocks = request.getfixturevalue("locks")
    return found


async def test_code_that_is_written_for_the_port_runs_with_either(port: LockPort):
    async with port.hold("file:./b", "a", ttl=30.0) as lease:
        assert lease.names == ("a", "file:b")
        assert 0 < lease.seconds_left <= 30
        with pytest.raises(CapacityTimeout):
            async with port.hold("file:b", ttl=30.0, timeout=0):
                pass
        await lease.extend(60.0)
        assert lease.seconds_left > 30
    with pytest.raises(LeaseExpired):
        async with port.hold("a", ttl=0.05) as later:
            assert later.token > lease.token
            await trio.sleep_forever()
    async with port.hold("a", ttl=30.0, timeout=0):
        pass
    with pytest.raises(LeaseExpired):
        await lease.extend(1.0)


async def test_a_directory_is_refused_where_it_would_cover_nothing(locks: PostgresLocks):
    with pytest.raises(ValueError, match="PostgresLocks knows no directories; lock files one by one"):
        async with locks.hold("dir:src", ttl=30):
            pass


# ---- many at once

WORKER = """
import json, random, sys, time
import psycopg, trio
from spaceactors.stores._locks import PostgresLocks
from supervisors import LeaseExpired

dsn, seed, names = sys.argv[1], int(sys.argv[2]), sys.argv[3].split()

def use(connection, name, token):
    # The guarded resource: takes a token only if it has seen no higher one.
    query = ("UPDATE guarded SET highest = %s, taken = taken || %s::bigint WHERE name = %s AND highest <= %s"
             " RETURNING name")
    return bool(connection.execute(query, (token, token, name, token)).fetchall())

async def work(locks, dice, told):
    with psycopg.connect(dsn, autocommit=True) as connection:
        for _ in range(12):
            wanted = dice.sample(names, dice.choice([1, 1, 2]))
            late = dice.random() < 0.25
            try:
                async with locks.hold(*wanted, ttl=0.08 if late else 200.0) as lease:
                    begin = time.monotonic()
                    if late:  # or almost: it stands still, and notices nothing
                        time.sleep(lease.seconds_left * dice.uniform(0.6, 1.2) + dice.choice([0.0, 0.07]))
                    else:
                        await trio.sleep(dice.uniform(0, 0.01))
                    accepted = [use(connection, name, lease.token) for name in wanted]
                    end = time.monotonic()
                    told.append((lease.token, begin, end, wanted, accepted, lease.seconds_left > 0))
            except LeaseExpired:
                pass

async def main():
    told = []
    async with PostgresLocks(dsn) as one, PostgresLocks(dsn) as two, trio.open_nursery() as nursery:
        for n in range(4):
            nursery.start_soon(work, (one, two)[n % 2], random.Random(seed * 10 + n), told)
    print(json.dumps(told))

trio.run(main)
"""


@pytest.mark.timeout(240)
def test_of_many_holders_the_guarded_resource_accepts_tokens_in_order_only(dsn: str):
    """Three processes with four tasks each; some stand still past the end of their lease and come too late."""
    names = ["red", "green", "blue"]
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE guarded (name text PRIMARY KEY, highest bigint, taken bigint[])")
        for name in names:
            connection.execute("INSERT INTO guarded VALUES (%s, 0, '{}')", (name,))
    command = [(sys.executable, "-c", WORKER, dsn, str(seed), " ".join(names)) for seed in range(3)]
    processes = [subprocess.Popen(one, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for one in command]
    answers = [process.communicate(timeout=200) for process in processes]
    assert all(process.returncode == 0 for process in processes), answers
    told = sorted(line for out, _ in answers for line in json.loads(out))
    tokens = [line[0] for line in told]
    assert len(tokens) == len(set(tokens)) == 3 * 4 * 12
    for name in names:
        own = [line for line in told if name in line[3]]
        # Who had the lock in time was accepted; nobody had it at the same time, and later tokens were given later.
        in_time = [line for line in own if line[5]]
        assert all(accepted for line in in_time for accepted in line[4])
        assert all(earlier[2] <= later[1] for earlier, later in pairwise(in_time))
        (taken,) = rows(dsn, f"SELECT taken FROM guarded WHERE name = '{name}'")[0]
        assert taken == sorted(taken)  # type: ignore[type-var]
    assert any(not line[5] for line in told)
