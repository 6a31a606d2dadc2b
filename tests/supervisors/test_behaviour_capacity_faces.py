"""Limits from other sides: rates beside them, the sync face for layers above, lines of others, and what is refused."""

from __future__ import annotations

import signal
from functools import partial

import pytest
import trio
from attrs import evolve
from trio.testing import wait_all_tasks_blocked

from supervisors import (
    CapacityQueueFull,
    CapacityRefused,
    CapacityTimeout,
    Limit,
    Limits,
    LimitStatistics,
    Preempted,
    Priority,
    UnknownLimit,
    WaitTimes,
    WhenFull,
)
from supervisors._fair import FairQueue
from supervisors._rate import RateLimit

LOW, NORMAL, HIGH, URGENT = Priority


async def hold(limits, *names, seconds=0.0, done=None, **options):
    async with limits.hold(*names, **options):
        await trio.sleep(seconds)
    if done is not None:
        done.append(trio.current_time())


def held(limits):
    return {name: now.held for name, now in limits.statistics().items()}


# ---- rates beside limits


def openai():
    return Limits([Limit("openai", 5), RateLimit("openai-rpm", 2, per=60)])


async def test_one_hold_takes_a_token_and_a_permit():
    limits, done = openai(), []
    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(partial(hold, limits, "openai-rpm", "openai", done=done))
    assert done == pytest.approx([0.0, 0.0, 30.0, 60.0])
    assert held(limits) == {"openai": 0}


async def test_tokens_come_before_permits():
    # Whoever waits for a token would have spent its permit for nothing yet.
    rate = RateLimit("a", 1, per=60)
    limits = Limits([rate, Limit("b", 0)])
    with trio.move_on_after(1):
        await hold(limits, "a", "b")
    assert rate.available == 1


async def test_permits_are_taken_in_the_order_of_names():
    taken = []

    class Rate:
        def __init__(self, name):
            self.name = name

        async def take(self, n=1):
            taken.append(self.name)

        def take_nowait(self, n=1):
            taken.append(self.name)

        def resize(self, permits):
            taken.append(permits)

    limits = Limits(Rate(name) for name in "cab")
    await hold(limits, "b", "c", "a", "b")
    with limits.hold_nowait("c", "b"):
        pass
    assert "".join(taken) == "abcbc"


async def test_a_permit_is_spent_however_the_block_ends():
    rate = RateLimit("rpm", 2, per=60)
    limits = Limits([rate])
    with pytest.raises(ZeroDivisionError):
        async with limits.hold("rpm"):
            raise ZeroDivisionError
    assert rate.available == 1


async def test_who_waits_for_a_permit_and_leaves_gives_its_tokens_back():
    limits = openai()
    for _ in range(2):
        await hold(limits, "openai-rpm")
    with trio.move_on_after(1):
        await hold(limits, "openai", "openai-rpm")
    assert held(limits) == {"openai": 0}


async def test_so_does_who_is_refused_a_permit():
    limits = Limits([Limit("openai", 5), RateLimit("rpm", 1, per=60, max_waiting=0)])
    await hold(limits, "rpm")
    with pytest.raises(CapacityQueueFull):
        await hold(limits, "openai", "rpm")
    with pytest.raises(CapacityRefused), limits.hold_nowait("openai", "rpm"):
        pass
    assert held(limits) == {"openai": 0}


async def test_who_waits_for_a_permit_can_be_preempted():
    limits = Limits([Limit("gpu", 1, preemptible=True), RateLimit("rpm", 1, per=60)])
    await hold(limits, "rpm")
    async with trio.open_nursery() as nursery:

        async def victim():
            with pytest.raises(Preempted):
                await hold(limits, "gpu", "rpm", priority=LOW)

        nursery.start_soon(victim)
        await wait_all_tasks_blocked()
        await hold(limits, "gpu", priority=URGENT, seconds=1)
    assert trio.current_time() == 1.0


async def test_a_rate_is_resized_by_its_name_and_shows_no_line_and_no_tokens():
    rate = RateLimit("rpm", 1, per=60)
    limits = Limits([rate, Limit("openai", 5)])
    limits.resize("rpm", 4)
    assert rate.statistics().permits == 4
    assert limits.waiting("rpm") == ()
    assert list(limits.statistics()) == ["openai"]


async def test_a_rate_is_no_line():
    with pytest.raises(UnknownLimit, match="'rpm'"):
        Limits([RateLimit("rpm", 1)]).line("rpm")


# ---- without a block


async def test_a_token_can_be_taken_and_given_back_without_a_block():
    limits = Limits([Limit("turns", 1)])
    line = limits.line("turns")
    assert line.take_nowait()
    assert not line.take_nowait()
    assert held(limits) == {"turns": 1}
    line.give_back()
    await line.wait(NORMAL, None)
    assert held(limits) == {"turns": 1}
    line.give_back()


async def test_who_goes_on_is_served_before_whoever_waits():
    line, served = Limits([Limit("turns", 1)]).line("turns"), []

    async def turn(label, priority, *, first=False):
        await line.wait(priority, label, first=first)
        served.append(label)
        line.give_back()

    assert line.take_nowait()
    async with trio.open_nursery() as nursery:
        for label, priority, first in (("a", URGENT, False), ("b", LOW, True), ("c", NORMAL, False), ("d", HIGH, True)):
            nursery.start_soon(partial(turn, label, priority, first=first))
            await wait_all_tasks_blocked()
        assert [waiter.fair_key for waiter in line.waiters()] == ["b", "d", "a", "c"]
        assert len(line.waiting) == 4
        line.give_back()
    assert served == ["b", "d", "a", "c"]


@pytest.mark.parametrize("options", [{"max_waiting": 0}, {"wait_timeout": 1.0}, {"when_full": WhenFull.REFUSE}])
async def test_who_goes_on_is_not_sent_away(options):
    limits = Limits([Limit("turns", 1, **options)])
    line = limits.line("turns")
    assert line.take_nowait()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(line.wait, NORMAL, None, first=True))
        await trio.sleep(10)
        with pytest.raises((CapacityQueueFull, CapacityRefused, CapacityTimeout)):
            await line.wait(NORMAL, None)
        line.give_back()
    assert held(limits) == {"turns": 1}


async def test_waiting_is_a_checkpoint_also_when_a_token_is_free():
    line = Limits([Limit("turns", 1)]).line("turns")
    with trio.CancelScope() as scope:
        scope.cancel()
        await line.wait(NORMAL, None)
        raise AssertionError
    assert line.statistics().held == 0


# ---- joined


async def test_joined_limits_share_their_lines():
    mine = Limits([Limit("llm", 1), RateLimit("rpm", 5)])
    theirs = mine.joined(Limit("turns", 2))
    async with theirs.hold("llm", "turns", "rpm"):
        assert held(mine) == {"llm": 1}
        assert held(theirs) == {"llm": 1, "turns": 1}
        with pytest.raises(UnknownLimit, match="'llm', 'rpm'"):
            mine.hold("turns")
    mine.resize("llm", 7)
    assert theirs.statistics()["llm"].tokens == 7


@pytest.mark.parametrize("more", [Limit("llm", 2), Limit("rpm", 2), RateLimit("llm", 2)])
async def test_a_name_that_is_there_is_not_joined(more):
    limits = Limits([Limit("llm", 1), RateLimit("rpm", 5)])
    with pytest.raises(ValueError, match=f"two limits are named '{more.name}'"):
        limits.joined(more)


async def test_joined_limits_are_preemptible_too():
    limits = Limits([Limit("a", 1, preemptible=True)]).joined(Limit("b", 1, preemptible=True))
    async with trio.open_nursery() as nursery:

        async def victim():
            with pytest.raises(Preempted, match="'b'"):
                await hold(limits, "a", "b", seconds=100)

        nursery.start_soon(victim)
        await wait_all_tasks_blocked()
        await hold(limits, "b", priority=URGENT)


async def test_ageing_is_that_of_who_was_joined():
    limits = Limits(ageing=1.0).joined(Limit("a", 1))
    async with trio.open_nursery() as nursery, limits.hold("a"):
        nursery.start_soon(partial(hold, limits, "a", priority=LOW))
        await trio.sleep(1.5)
        nursery.start_soon(partial(hold, limits, "a", priority=NORMAL))
        await wait_all_tasks_blocked()
        assert [waiter.priority for waiter in limits.waiting("a")] == [LOW, NORMAL]


class Places:
    """A line that somebody else keeps, after their own fashion."""

    def __init__(self):
        self.limit = Limit("spaces", 1)
        self.waiting = ()
        self.held = 0

    def take_nowait(self):
        free = self.held < self.limit.tokens
        self.held += free
        return free

    def give_back(self):
        self.held -= 1

    async def wait(self, priority, fair_key, *, first=False):
        await trio.sleep_forever()

    def refuse(self, reason):
        return CapacityRefused(f"no place: {reason}")

    def resize(self, tokens):
        self.limit = evolve(self.limit, tokens=tokens)

    def waiters(self):
        return ("somebody",)

    def statistics(self):
        return LimitStatistics(self.limit.tokens, self.held, 0, 0.0, 0, 0)


async def test_a_line_of_somebody_else_is_a_limit_like_any_other():
    limits = Limits([Limit("llm", 1, preemptible=True)]).joined(Places())
    assert limits.waiting("spaces") == ("somebody",)
    limits.resize("spaces", 2)
    async with limits.hold("spaces", "llm"), limits.hold("spaces"):
        assert held(limits) == {"llm": 1, "spaces": 2}
        with pytest.raises(CapacityRefused, match="no place"), limits.hold_nowait("spaces"):
            pass
        with trio.move_on_after(5):
            await hold(limits, "spaces")
    assert held(limits) == {"llm": 0, "spaces": 0}
    with limits.hold_nowait("spaces"):
        assert held(limits) == {"llm": 0, "spaces": 1}


# ---- figures


async def test_statistics_tell_how_long_others_waited():
    limits = Limits([Limit("llm", 1)])
    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(partial(hold, limits, "llm", seconds=10))
            await wait_all_tasks_blocked()
    assert limits.statistics()["llm"].waits == WaitTimes(10.0, 30.0, 30.0)


async def test_only_the_last_thousand_waits_are_remembered():
    limits = Limits([Limit("llm", 1)])
    async with trio.open_nursery() as nursery, limits.hold("llm"):
        nursery.start_soon(hold, limits, "llm")
        await trio.sleep(10)
    for _ in range(9):
        with limits.hold_nowait("llm"):
            pass
    line = limits.line("llm")
    assert max(line._waits) == 10.0
    for _ in range(1000):
        with limits.hold_nowait("llm"):
            pass
    assert set(line._waits) == {0.0}
    assert len(line._waits) == 1000


async def test_all_who_got_no_token_are_counted_and_who_left_is_not():
    limits = Limits([Limit("llm", 1, max_waiting=1, wait_timeout=5.0)])
    async with trio.open_nursery() as nursery, limits.hold("llm"):
        with trio.move_on_after(1):
            await hold(limits, "llm")
        assert limits.statistics()["llm"].refused == 0
        with pytest.raises(CapacityRefused), limits.hold_nowait("llm"):
            pass

        async def waits_too_long():
            with pytest.raises(CapacityTimeout):
                await hold(limits, "llm")

        nursery.start_soon(waits_too_long)
        await wait_all_tasks_blocked()
        with pytest.raises(CapacityQueueFull):
            await hold(limits, "llm")
        await trio.sleep(6)
        now = limits.statistics()["llm"]
        assert (now.refused, now.held, now.waiting) == (3, 1, 0)


# ---- law 8, and Ctrl-C


async def idle(ran):
    while True:
        ran.append(True)
        await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("preemptible", [False, True])
async def test_holding_checks_for_cancellation_and_takes_nothing_then(preemptible):
    limits = Limits([Limit("llm", 1, preemptible=preemptible)])
    with trio.CancelScope() as scope:
        scope.cancel()
        async with limits.hold("llm"):
            raise AssertionError
    assert limits.statistics()["llm"] == LimitStatistics(1, 0, 0, 0.0, 0, 0)
    assert not limits.line("llm")._waits


@pytest.mark.parametrize("preemptible", [False, True])
@pytest.mark.parametrize("names", ["a", "ab"])
async def test_holding_lets_others_run(names, preemptible):
    limits, ran = Limits(Limit(name, 1, preemptible=preemptible) for name in names), []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(idle, ran)
        for _ in range(10):
            async with limits.hold(*names):
                pass
        nursery.cancel_scope.cancel()
    assert len(ran) >= 9


async def test_so_does_waiting_for_a_token_that_is_free():
    line, ran = Limits([Limit("turns", 1)]).line("turns"), []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(idle, ran)
        for _ in range(10):
            await line.wait(NORMAL, None)
            line.give_back()
        nursery.cancel_scope.cancel()
    assert len(ran) >= 9


@pytest.mark.parametrize("options", [{"when_full": WhenFull.REFUSE}, {"max_waiting": 0}])
async def test_so_does_being_refused(options):
    limits, ran = Limits([Limit("llm", 0, **options)]), []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(idle, ran)
        for _ in range(10):
            with pytest.raises((CapacityRefused, CapacityQueueFull)):
                await hold(limits, "llm")
        nursery.cancel_scope.cancel()
    assert len(ran) >= 9


async def test_who_is_cancelled_in_the_moment_of_its_grant_does_not_begin():
    limits, scope, begun = Limits([Limit("llm", 1)]), trio.CancelScope(), []

    async def waiter():
        with scope:
            async with limits.hold("llm"):
                begun.append(True)

    async with trio.open_nursery() as nursery:
        async with limits.hold("llm"):
            nursery.start_soon(waiter)
            await wait_all_tasks_blocked()
        scope.cancel()
    assert (begun, held(limits)) == ([], {"llm": 0})


async def test_a_cancellation_wins_over_a_wait_that_is_too_long_in_the_same_moment():
    limits = Limits([Limit("llm", 0, wait_timeout=5.0)])
    with trio.move_on_after(5) as scope:
        await hold(limits, "llm")
    assert scope.cancelled_caught


async def test_state_is_changed_where_ctrl_c_waits(monkeypatch):
    protected = []

    def spying(method):
        def spy(*args, **options):
            protected.append(trio.lowlevel.currently_ki_protected())
            return method(*args, **options)

        return spy

    for name in ("enter", "leave", "serve"):
        monkeypatch.setattr(FairQueue, name, spying(getattr(FairQueue, name)))
    limits = Limits([Limit("llm", 1, preemptible=True)])
    async with trio.open_nursery() as nursery:
        async with limits.hold("llm"):
            for _ in range(3):
                nursery.start_soon(hold, limits, "llm")
            with trio.move_on_after(1):
                await hold(limits, "llm")
        limits.resize("llm", 2)
        await wait_all_tasks_blocked()
        assert limits.line("llm").take_nowait()
        nursery.start_soon(hold, limits, "llm")
        assert limits.line("llm").take_nowait()
        await wait_all_tasks_blocked()
        limits.line("llm").give_back()
        nursery.start_soon(limits.line("llm").wait, NORMAL, None)
        nursery.start_soon(hold, limits, "llm")
        await wait_all_tasks_blocked()
        nursery.start_soon(limits.line("llm").wait, NORMAL, None)
        await wait_all_tasks_blocked()
        limits.line("llm").resize(3)
    assert len(protected) >= 7
    assert all(protected)


def test_ctrl_c_while_waiting_takes_nothing(in_virtual_time):
    limits = Limits([Limit("llm", 1)])

    async def main():
        with limits.hold_nowait("llm"):
            signal.raise_signal(signal.SIGINT)
            await hold(limits, "llm")

    with pytest.raises(KeyboardInterrupt):
        trio.run(main, restrict_keyboard_interrupt_to_checkpoints=True)

    async def look():
        assert limits.statistics()["llm"] == LimitStatistics(1, 0, 0, 0.0, 0, 0)

    in_virtual_time(look)


# ---- what cannot be


@pytest.mark.parametrize("what", [5, "llm", ("llm", 5), None, object()])
def test_what_is_no_limit_is_refused(what):
    with pytest.raises(TypeError, match="a limit is a Limit"):
        Limits([what])


def test_a_rate_and_a_limit_of_one_name_are_refused():
    with pytest.raises(ValueError, match="two limits are named 'a'"):
        Limits([Limit("a", 1), RateLimit("a", 1)])


@pytest.mark.parametrize(
    ("names", "options", "error", "text"),
    [
        ((), {}, ValueError, "name the limits"),
        ((["a", "b"],), {}, TypeError, "one by one"),
        (("a", ["b"]), {}, TypeError, "one by one"),
        (("x",), {}, UnknownLimit, "no limit 'x'"),
        (("a", "x"), {}, UnknownLimit, "no limit 'x'"),
        (("a",), {"priority": 3}, TypeError, "Priority.LOW"),
        (("a",), {"fair_key": 7}, TypeError, "fair_key must be"),
    ],
)
def test_what_cannot_be_held_is_refused_when_it_is_named(names, options, error, text):
    for limits in (Limits([Limit("a", 1), Limit("b", 1)]), Limits([Limit("a", 1), Limit("b", 1), RateLimit("r", 1)])):
        with pytest.raises(error, match=text):
            limits.hold(*names, **options)


@pytest.mark.parametrize("preemptible", [False, True])
async def test_a_hold_is_entered_once(preemptible):
    limits = Limits([Limit("a", 2, preemptible=preemptible)])
    one = limits.hold("a")
    async with one:
        with pytest.raises(RuntimeError, match="hold\\(\\) again"):
            await one.__aenter__()
    with pytest.raises(RuntimeError, match="hold\\(\\) again"):
        await one.__aenter__()
    two = limits.hold_nowait("a")
    with two, pytest.raises(RuntimeError, match="hold_nowait\\(\\) again"):
        two.__enter__()
    assert held(limits) == {"a": 0}
