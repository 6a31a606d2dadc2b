"""Locks at work: waiting, leases and their ends, deadlocks told, and who is shown."""

from __future__ import annotations

from functools import partial
from math import inf

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from supervisors import CapacityRefused, CapacityTimeout, HeldLock, LeaseExpired, LockCycle, Locks, LockWaiter


async def hold(locks, order, label, *names, seconds=0.0, **options):
    async with locks.hold(*names, holder=label, **options):
        order.append(label)
        await trio.sleep(seconds)


async def in_line(nursery, *waiters):
    """Start them one after the other, so that they stand in this order."""
    for waiter in waiters:
        nursery.start_soon(waiter)
        await wait_all_tasks_blocked()


def empty(locks):
    return not (locks.held() or locks.waiting() or locks._table._places)


@pytest.fixture
def locks():
    return Locks()


# ---- holding and waiting


async def test_a_lock_is_had_by_one_at_a_time_and_then_by_the_next(locks, autojump_clock):
    order = []
    async with trio.open_nursery() as nursery:
        await in_line(nursery, *(partial(hold, locks, order, label, "x", seconds=1) for label in "abc"))
        assert order == ["a"]
    assert order == ["a", "b", "c"]
    assert trio.current_time() == pytest.approx(3.0)
    assert empty(locks)


async def test_those_who_share_hold_at_once_and_who_writes_holds_alone(locks, autojump_clock):
    order = []
    async with trio.open_nursery() as nursery:
        for label in "ab":
            await in_line(nursery, partial(hold, locks, order, label, shared=("dir:src",), seconds=1))
        await in_line(nursery, partial(hold, locks, order, "writer", "file:src/a.py", seconds=1))
        await in_line(nursery, partial(hold, locks, order, "late", shared=("file:src/a.py",), seconds=1))
        await in_line(nursery, partial(hold, locks, order, "else", "file:lib/b.py"))
        assert order == ["a", "b", "else"]
    assert order == ["a", "b", "else", "writer", "late"]
    assert trio.current_time() == pytest.approx(3.0)


async def test_several_are_held_together_and_shown_by_their_one_spelling(locks, autojump_clock):
    async with locks.hold("file:./a.txt", "dir:src/", shared=("service:db",), ttl=30.0) as lease:
        assert lease.names == ("dir:src", "file:a.txt", "service:db")
        assert lease.seconds_left == pytest.approx(30.0)
        assert "'dir:src'" in repr(lease)
        for taken in ("file:src/x", "file:a.txt", "service:db"):
            with pytest.raises(CapacityRefused), locks.hold_nowait(taken):
                pass
        with locks.hold_nowait(shared=["service:db"]):
            pass
    assert empty(locks)


async def test_a_wait_has_its_timeout_and_says_who_is_in_the_way(locks, autojump_clock):
    async def wait():
        with pytest.raises(CapacityTimeout, match=r"'x' was not to be had within 2\.5 s: 'alice' holds 'x'"):
            await hold(locks, [], "bob", "x", timeout=2.5)
        assert trio.current_time() == pytest.approx(2.5)

    async with locks.hold("x", holder="alice"), trio.open_nursery() as nursery:
        nursery.start_soon(wait)
    assert empty(locks)


async def test_a_timeout_of_0_tries_once(locks, autojump_clock):
    async with locks.hold("x", timeout=0):
        with pytest.raises(CapacityTimeout):
            async with locks.hold("x", timeout=0):
                pass
    assert trio.current_time() == 0
    assert empty(locks)


async def test_a_cancelled_waiter_leaves_no_trace_and_lets_those_behind_go_on(locks, autojump_clock):
    order = []
    async with trio.open_nursery() as nursery, locks.hold(shared=("x",)):
        with trio.move_on_after(1) as scope:
            await in_line(nursery, partial(hold, locks, order, "reader", shared=("y",)))
            async with trio.open_nursery() as inner:
                await in_line(inner, partial(hold, locks, order, "writer", "x"))
                nursery.start_soon(partial(hold, locks, order, "late", shared=("x",)))
                await wait_all_tasks_blocked()
                assert order == ["reader"]
        assert scope.cancelled_caught
        await wait_all_tasks_blocked()
        assert order == ["reader", "late"]
    assert empty(locks)


async def test_one_cancelled_in_the_moment_of_its_grant_gives_it_back(locks, autojump_clock):
    scope = trio.CancelScope()

    async def waiter():
        with scope:
            await hold(locks, [], "w", "x", seconds=inf)

    async with trio.open_nursery() as nursery:
        async with locks.hold("x"):
            await in_line(nursery, waiter)
        scope.cancel()
    assert empty(locks)


async def test_one_granted_in_the_moment_of_its_cancellation_gives_it_back(locks, autojump_clock):
    scope, order = trio.CancelScope(), []

    async def waiter():
        with scope:
            await hold(locks, order, "w", "x")

    async with trio.open_nursery() as nursery, locks.hold("x"):
        await in_line(nursery, waiter, partial(hold, locks, order, "next", "x"))
        scope.cancel()
    assert order == ["next"]
    assert empty(locks)


async def test_who_is_cancelled_already_gets_nothing(locks):
    with trio.CancelScope() as scope:
        scope.cancel()
        async with locks.hold("x"):
            pytest.fail("it was entered")
    assert scope.cancelled_caught
    assert empty(locks)


async def test_what_the_block_raises_comes_out_and_the_lock_is_free(locks, autojump_clock):
    with pytest.raises(ZeroDivisionError):
        async with locks.hold("x", ttl=1):
            raise ZeroDivisionError
    with pytest.raises(ZeroDivisionError), locks.hold_nowait("x"):
        raise ZeroDivisionError
    assert empty(locks)


async def test_nobody_overtakes_a_line_not_even_without_waiting(locks, autojump_clock):
    async with trio.open_nursery() as nursery, locks.hold(shared=("x",)):
        await in_line(nursery, partial(hold, locks, [], "w", "x"))
        nursery.start_soon(self_refused, locks)
        await wait_all_tasks_blocked()


async def self_refused(locks):
    with pytest.raises(CapacityRefused, match="'w' waits before for 'x'"), locks.hold_nowait(shared=("x",)):
        pass


# ---- leases


async def test_a_block_that_outlasts_its_lease_is_cancelled_and_told(locks, autojump_clock):
    with pytest.raises(LeaseExpired, match="'x' ended before the block did"):
        async with locks.hold("x", ttl=2):
            await trio.sleep_forever()
    with pytest.raises(LeaseExpired), locks.hold_nowait("x", ttl=2):
        await trio.sleep_forever()
    assert trio.current_time() == pytest.approx(4.0)
    assert empty(locks)


async def test_an_extended_lease_lasts_longer_and_can_be_made_shorter(locks, autojump_clock):
    with pytest.raises(LeaseExpired):
        async with locks.hold("x", ttl=1) as lease:
            await trio.sleep(0.5)
            await lease.extend(10)
            await trio.sleep(8)
            assert lease.seconds_left == pytest.approx(2.0)
            await lease.extend(0.25)
            await trio.sleep_forever()
    assert trio.current_time() == pytest.approx(8.75)


async def test_a_lease_without_end_can_be_given_one(locks, autojump_clock):
    with pytest.raises(LeaseExpired):
        async with locks.hold("x") as lease:
            assert lease.seconds_left == inf
            await lease.extend(1)
            await trio.sleep_forever()
    assert trio.current_time() == pytest.approx(1.0)


async def test_a_lease_that_has_ended_cannot_be_extended(locks, autojump_clock):
    with pytest.raises(LeaseExpired, match="ended before the block did"):
        async with locks.hold("x", ttl=1) as lease:
            with trio.CancelScope(shield=True):
                await trio.sleep(1.5)
                assert lease.seconds_left == 0
                with pytest.raises(LeaseExpired, match="had ended before it was extended"):
                    await lease.extend(10)
            await trio.sleep_forever()
    with pytest.raises(LeaseExpired, match="had ended"):
        await lease.extend(10)
    assert lease.seconds_left == 0


async def test_a_block_that_ends_by_itself_after_its_lease_is_told_only_if_it_lost_the_lock(autojump_clock):
    locks, order = Locks(grace=1), []

    async def late(seconds):
        async with locks.hold("x", ttl=1):
            with trio.CancelScope(shield=True):
                await trio.sleep(seconds)

    await late(1.9)  # nobody has taken it
    async with trio.open_nursery() as nursery:
        await in_line(nursery, partial(late, 1.9), partial(hold, locks, order, "b", "x"))
    async with trio.open_nursery() as nursery:
        await in_line(nursery, partial(quietly, late, 2.1), partial(hold, locks, order, "c", "x", seconds=5))
    assert order == ["b", "c"]


async def test_an_error_of_a_block_that_lost_its_lock_stands(locks, autojump_clock):
    with pytest.raises(ZeroDivisionError):
        async with locks.hold("x", ttl=1):
            try:
                await trio.sleep_forever()
            finally:
                raise ZeroDivisionError


async def test_an_error_stands_also_when_others_have_the_lock_by_then(autojump_clock):
    locks, order = Locks(grace=0), []

    async def fails():
        with pytest.raises(ZeroDivisionError):
            async with locks.hold("x", ttl=1):
                with trio.CancelScope(shield=True):
                    await trio.sleep(3)
                raise ZeroDivisionError

    async with trio.open_nursery() as nursery:
        await in_line(nursery, fails, partial(hold, locks, order, "b", "x"))
    assert order == ["b"]


async def test_a_lease_cannot_be_extended_after_its_block(locks, autojump_clock):
    async with locks.hold("x", ttl=9) as lease:
        pass
    with pytest.raises(LeaseExpired, match="had ended"):
        await lease.extend(10)
    assert lease.seconds_left == 0
    assert empty(locks)


async def test_an_outer_cancellation_wins_over_the_end_of_the_lease(locks, autojump_clock):
    with trio.move_on_after(1) as scope:
        async with locks.hold("x", ttl=1):
            await trio.sleep_forever()
    assert scope.cancelled_caught


async def test_the_next_gets_the_lock_when_the_cancelled_block_has_really_ended(autojump_clock):
    locks, order = Locks(grace=1), []

    async def cleans_up():
        with pytest.raises(LeaseExpired):
            async with locks.hold("x", ttl=1):
                try:
                    await trio.sleep_forever()
                finally:
                    with trio.CancelScope(shield=True):
                        await trio.sleep(0.5)
                    order.append("cleaned up")

    async with trio.open_nursery() as nursery:
        await in_line(nursery, cleans_up, partial(hold, locks, order, "next", "x"))
    assert order == ["cleaned up", "next"]
    assert trio.current_time() == pytest.approx(1.5)


@pytest.mark.parametrize(("grace", "begins"), [(0, 1.0), (2, 3.0), (inf, 10.0)])
async def test_a_block_that_ignores_its_end_loses_the_lock_after_the_grace(autojump_clock, grace, begins):
    locks, tokens, times = Locks(grace=grace), [], []

    async def hangs():
        with pytest.raises(LeaseExpired):
            async with locks.hold("x", ttl=1) as lease:
                with trio.CancelScope(shield=True):
                    await trio.sleep(10)
                tokens.append(lease.token)
                await trio.lowlevel.checkpoint()

    async def waits():
        async with locks.hold("x") as lease:
            times.append(trio.current_time())
            tokens.append(lease.token)

    async with trio.open_nursery() as nursery:
        await in_line(nursery, hangs, waits)
    assert times == [pytest.approx(begins)]
    # What the late one writes is told by its lower token.
    assert sorted(tokens) == [1, 2]
    assert tokens == ([2, 1] if grace < inf else [1, 2])
    assert empty(locks)


async def hang(locks, *names, ttl=1.0, seconds=20.0, extend=None):
    async with locks.hold(*names, ttl=ttl) as lease:
        if extend:
            await trio.sleep(ttl / 2)
            await lease.extend(extend)
        with trio.CancelScope(shield=True):
            await trio.sleep(seconds)


async def quietly(function, *args, **options):
    with pytest.raises(LeaseExpired):
        await function(*args, **options)


async def test_a_late_lease_is_taken_away_also_when_who_would_have_done_it_has_left(autojump_clock):
    locks, order = Locks(grace=0), []
    async with trio.open_nursery() as nursery:
        await in_line(nursery, partial(quietly, hang, locks, "x", ttl=5))
        with trio.move_on_after(1):
            async with trio.open_nursery() as inner:
                await in_line(inner, partial(hold, locks, order, "left", "x"))
                await in_line(nursery, partial(hold, locks, order, "stays", "x"))
        await trio.sleep(4.5)
        assert order == ["stays"]


async def test_who_waits_for_one_lease_takes_away_others_that_are_late_too(autojump_clock):
    """The first in line wakes for all: it waits for y, and x is late first."""
    locks, order = Locks(grace=0), []
    async with trio.open_nursery() as nursery:
        await in_line(nursery, partial(quietly, hang, locks, "x", ttl=2), partial(hold, locks, [], "y", "y", seconds=9))
        await in_line(nursery, *(partial(hold, locks, order, name, name) for name in "yx"))
        await trio.sleep(3)
        assert order == ["x"]
    assert order == ["x", "y"]


@pytest.mark.parametrize(("extend", "begins"), [(3, 3.5), (0.2, 0.7)])
async def test_those_who_wait_follow_the_end_of_a_lease_when_it_moves(autojump_clock, extend, begins):
    locks, order = Locks(grace=0), []
    async with trio.open_nursery() as nursery:
        await in_line(nursery, partial(quietly, hang, locks, "x", extend=extend), partial(hold, locks, order, "n", "x"))
        await trio.sleep(begins - 0.01)
        assert order == []
        await trio.sleep(0.02)
        assert order == ["n"]


async def test_a_lease_granted_to_one_who_waited_ends_too(autojump_clock):
    locks, order = Locks(grace=0), []
    async with trio.open_nursery() as nursery:
        await in_line(
            nursery,
            partial(hold, locks, order, "a", "x", seconds=1),
            partial(quietly, hang, locks, "x", ttl=2),
            partial(hold, locks, order, "c", "x"),
        )
        await trio.sleep(3.01)
        assert order == ["a", "c"]


async def test_who_comes_without_waiting_finds_a_late_lease_taken_away(autojump_clock):
    locks = Locks(grace=0)
    async with trio.open_nursery() as nursery:
        await in_line(nursery, partial(quietly, hang, locks, "x"))
        with pytest.raises(CapacityRefused, match="holds 'x'"), locks.hold_nowait("x"):
            pass
        await trio.sleep(1)
        with locks.hold_nowait("x"):
            pass


async def test_tokens_rise_with_each_grant_of_whatever_name(locks):
    tokens = []
    for _ in range(5):
        for names in (("a",), ("a", "b"), ("b",)):
            async with locks.hold(*names) as lease:
                tokens.append(lease.token)
    assert tokens == sorted(set(tokens))


# ---- who waits for whom


async def test_a_task_that_would_wait_for_itself_is_told_at_once(locks, autojump_clock):
    async with locks.hold("dir:src", holder="alice"):
        told = "'alice' would wait for ever: 'alice' waits for 'file:src/a', 'alice' holds 'dir:src'; "
        with pytest.raises(LockCycle, match=told):
            async with locks.hold("file:src/a", holder="alice"):
                pass
        with pytest.raises(LockCycle):
            async with locks.hold(shared=("dir:.",), timeout=5):
                pass
        assert locks.waiting() == ()
        with pytest.raises(CapacityRefused), locks.hold_nowait("dir:src/b"):
            pass
    assert empty(locks)


async def test_two_who_would_wait_for_each_other_are_told_at_once(locks, autojump_clock):
    order = []

    async def both(seconds, label, first, then):
        async with locks.hold(first, holder=label):
            await trio.sleep(seconds)
            try:
                await hold(locks, order, label, then)
            except LockCycle as error:
                order.append(str(error))

    async with trio.open_nursery() as nursery:
        await in_line(nursery, partial(both, 1, "A", "a", "b"), partial(both, 2, "B", "b", "a"))
    assert order[0].startswith("'B' would wait for ever: 'B' waits for 'a', 'A' waits for 'b', 'B' holds 'b'; ")
    assert order[1:] == ["A"]


async def test_who_waits_for_whom_is_shown(locks, autojump_clock):
    async with trio.open_nursery() as nursery:
        await in_line(
            nursery,
            partial(hold, locks, [], "alice", "file:src/a", shared=("service:db",), seconds=3, ttl=9),
            partial(hold, locks, [], "bob", "dir:src", seconds=1),
            partial(hold, locks, [], "carol", shared=("file:src/a",), seconds=1),
        )
        await trio.sleep(1)
        assert locks.held() == (HeldLock(("file:src/a", "service:db"), ("service:db",), "alice", 1, 0.0, 8.0),)
        assert locks.waiting() == (
            LockWaiter(("dir:src",), (), "bob", 0.0, ("alice",)),
            LockWaiter(("file:src/a",), ("file:src/a",), "carol", 0.0, ("alice", "bob")),
        )


async def test_a_holder_is_named_after_its_task_unless_it_says_who_it_is(locks):
    async with locks.hold("x"):
        assert locks.held()[0].holder == trio.lowlevel.current_task().name


async def test_what_is_shown_of_a_long_line_is_bounded(locks, autojump_clock):
    async with trio.open_nursery() as nursery:
        for number in range(100):
            nursery.start_soon(partial(hold, locks, [], str(number), "x", seconds=1))
        await wait_all_tasks_blocked()
        assert len(locks.waiting()) == 99
        assert max(len(waiter.waits_for) for waiter in locks.waiting()) == 30
        nursery.cancel_scope.cancel()


# ---- at the door


@pytest.mark.parametrize(
    ("names", "options", "error"),
    [
        ([], {}, TypeError),
        ([""], {}, TypeError),
        ([7], {}, TypeError),
        (["dir:.."], {}, ValueError),
        (["a"], {"shared": "b"}, TypeError),
        (["a"], {"shared": 7}, TypeError),
        (["a"], {"shared": (7,)}, TypeError),
        (["a"], {"ttl": 0}, ValueError),
        (["a"], {"ttl": -1}, ValueError),
        (["a"], {"ttl": inf}, ValueError),
        (["a"], {"ttl": "1"}, TypeError),
        (["a"], {"timeout": -1}, ValueError),
        (["a"], {"holder": ""}, ValueError),
        (["a"], {"holder": 7}, TypeError),
    ],
)
async def test_what_makes_no_sense_is_refused_at_the_door(locks, names, options, error):
    with pytest.raises(error):
        locks.hold(*names, **options)
    options.pop("timeout", None)
    if options or not names or names != ["a"]:
        with pytest.raises(error):
            locks.hold_nowait(*names, **options)


async def test_a_grace_that_is_none_is_refused():
    with pytest.raises(ValueError, match="grace"):
        Locks(grace=-1)


async def test_one_hold_is_for_one_block(locks):
    held, now = locks.hold("x"), locks.hold_nowait("y")
    async with held:
        pass
    with now:
        pass
    with pytest.raises(RuntimeError, match="call hold"):
        await held.__aenter__()
    with pytest.raises(RuntimeError, match="call hold_nowait"):
        now.__enter__()
    assert empty(locks)


async def test_an_extension_that_makes_no_sense_is_refused(locks, autojump_clock):
    async with locks.hold("x", ttl=1) as lease:
        with pytest.raises(ValueError, match="ttl"):
            await lease.extend(0)


async def test_every_await_is_a_checkpoint(locks, autojump_clock):
    with trio.testing.assert_checkpoints():
        hold = locks.hold("x", ttl=9)
        lease = await hold.__aenter__()
    with trio.testing.assert_checkpoints():
        await lease.extend(9)
    await hold.__aexit__(None, None, None)
