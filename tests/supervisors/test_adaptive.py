"""An adaptive limit at work: what it measures, and what it leaves out."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest
import trio
from attrs import define, field
from trio.testing import wait_all_tasks_blocked

from supervisors import (
    AdaptiveLimit,
    AdaptiveSample,
    AdaptiveState,
    Aimd,
    CapacityRefused,
    Limit,
    Limits,
    Priority,
    UnknownLimit,
    WhenFull,
)


@define
class Recorder:
    """A rule that notes its samples, and sets the sizes that it was told."""

    sizes: list[int] = field(factory=list)
    samples: list[AdaptiveSample] = field(factory=list)

    def adapt(self, state: AdaptiveState, sample: AdaptiveSample, /) -> AdaptiveState:
        self.samples.append(sample)
        return state.sized(self.sizes.pop(0)) if self.sizes else state


def adaptive(rule, tokens=2, **options):
    limits = Limits([Limit("llm", tokens)])
    return limits, AdaptiveLimit(limits, "llm", rule=rule, **{"samples": 4, "window": 0.0, **options})


async def call(limit, seconds, error=None):
    async with limit.hold():
        await trio.sleep(seconds)
        if error:
            raise error


async def calls(limit, *seconds):
    for each in seconds:
        await call(limit, each)


async def test_it_measures_the_block_and_not_the_wait(autojump_clock):
    rule = Recorder()
    _, limit = adaptive(rule, tokens=2)
    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(call, limit, 3.0)
    [told] = rule.samples
    assert (told.seconds, told.calls, told.failed, told.size) == (pytest.approx(3.0), 4, 0, 2)
    assert told.in_use == 2


async def test_it_sets_the_size_that_the_rule_wants_and_those_who_wait_go_on(autojump_clock):
    limits, limit = adaptive(Recorder([5]), tokens=1)
    held = []
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(call, limit, 1.0)
        for _ in range(6):
            await trio.sleep(0.99)
            held.append(limits.statistics()["llm"].held)
    assert held == [1, 1, 1, 1, 5, 5]
    assert limit.state.tokens == limits.statistics()["llm"].tokens == 5


async def test_calls_that_began_at_another_size_tell_nothing(autojump_clock):
    rule = Recorder([3])
    _, limit = adaptive(rule, tokens=2)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(call, limit, 100.0)  # begins at 2, ends at 3
        await wait_all_tasks_blocked()
        await calls(limit, *[1.0] * 7)  # three of this window, and four that overtake the long one
        await calls(limit, *[50.0] * 3)
    await calls(limit, 50.0)
    assert [told.size for told in rule.samples] == [2, 3]
    assert [told.seconds for told in rule.samples] == [pytest.approx(1.0), pytest.approx(50.0)]


async def test_a_window_takes_the_first_that_begin_and_not_the_first_that_end(autojump_clock):
    rule = Recorder()
    _, limit = adaptive(rule, tokens=10, samples=10)
    async with trio.open_nursery() as nursery:
        for seconds in [1.0, 9.0] * 5:
            nursery.start_soon(call, limit, seconds)
        await trio.sleep(2)
        await calls(limit, 1, 1, 1, 1, 1)
    assert rule.samples[0].seconds == pytest.approx(3.0, rel=0.2)


async def test_failures_are_counted_and_come_out(autojump_clock):
    rule = Recorder()
    _, limit = adaptive(rule)
    await calls(limit, 1, 1)
    for _ in range(2):
        with pytest.raises(OSError, match="503"):
            await call(limit, 0.1, OSError("503"))
    [told] = rule.samples
    assert (told.calls, told.failed, told.seconds) == (4, 2, pytest.approx(1.0))


async def test_errors_that_do_not_count_tell_nothing(autojump_clock):
    rule = Recorder()
    _, limit = adaptive(rule, counts=OSError)
    for _ in range(2):
        with pytest.raises(ValueError, match="ours"):
            await call(limit, 0.1, ValueError("ours"))
    await calls(limit, 1, 1)
    [told] = rule.samples
    assert (told.calls, told.failed) == (2, 0)


async def test_a_window_of_which_most_tells_nothing_is_not_judged(autojump_clock):
    rule = Recorder()
    _, limit = adaptive(rule, counts=OSError)
    for _ in range(3):
        with pytest.raises(ValueError, match="ours"):
            await call(limit, 0.1, ValueError("ours"))
    await calls(limit, 1)
    assert rule.samples == []
    await calls(limit, 1, 1, 1, 1)
    assert len(rule.samples) == 1


async def test_a_call_cut_off_tells_something_only_if_it_was_slow_already(autojump_clock):
    rule = Recorder()
    _, limit = adaptive(rule)
    await calls(limit, 2, 2, 2, 2)
    for patience in (1.0, 8.0):
        with trio.move_on_after(patience):
            await call(limit, 100)
    await calls(limit, 8, 8)
    told = rule.samples[1]
    assert (told.calls, told.failed, told.seconds) == (3, 0, pytest.approx(8.0))


async def test_a_window_lasts_its_time(autojump_clock):
    rule = Recorder()
    _, limit = adaptive(rule, window=10.0)
    await calls(limit, *[1.0] * 9)
    assert rule.samples == []
    await calls(limit, 1.0)
    assert len(rule.samples) == 1


async def test_a_larger_limit_has_larger_windows(autojump_clock):
    rule = Recorder()
    _, limit = adaptive(rule, tokens=20)
    await calls(limit, *[1.0] * 19)
    assert rule.samples == []
    await calls(limit, 1.0)
    assert len(rule.samples) == 1


@pytest.mark.parametrize(("tokens", "first"), [(1, 5), (7, 7), (500, 50)])
async def test_the_first_size_is_that_of_the_limit_if_it_is_in_bounds(tokens, first, autojump_clock):
    limits, limit = adaptive(Recorder(), tokens=tokens, floor=5, ceiling=50)
    async with limit.hold():
        assert limits.statistics()["llm"].tokens == limit.state.tokens == first


async def test_it_waits_as_the_limit_does(autojump_clock):
    limits, limit = adaptive(Recorder(), tokens=1)

    async def urgent():
        async with limit.hold(priority=Priority.HIGH, fair_key="alice"):
            pass

    async with trio.open_nursery() as nursery, limit.hold():
        nursery.start_soon(urgent)
        await wait_all_tasks_blocked()
        [waiter] = limits.waiting("llm")
        assert (waiter.priority, waiter.fair_key) == (Priority.HIGH, "alice")
    assert limits.statistics()["llm"].held == 0


async def test_who_gets_no_token_is_not_measured(autojump_clock):
    rule = Recorder()
    limits = Limits([Limit("llm", 1, when_full=WhenFull.REFUSE)])
    limit = AdaptiveLimit(limits, "llm", rule=rule, samples=1, window=0.0)
    async with limits.hold("llm"):
        for _ in range(5):
            with pytest.raises(CapacityRefused):
                await call(limit, 1)
    assert rule.samples == []
    await call(limit, 1)
    assert rule.samples[0].in_use == 1


async def test_whatever_ends_a_block_gives_the_token_back(autojump_clock):
    def counts(error):
        raise RuntimeError("broken predicate")

    limits, limit = adaptive(Recorder(), counts=counts)
    with pytest.raises(RuntimeError, match="broken predicate"):
        await call(limit, 1, OSError())
    with trio.move_on_after(1):
        await call(limit, 100)
    assert limits.statistics()["llm"].held == 0


async def test_blocks_that_hold_the_limit_elsewhere_are_measured_too(autojump_clock):
    limits = Limits([Limit("llm", 4)])
    held, measured = (
        AdaptiveLimit(limits, "llm", floor=1, rule=Aimd(decrease=0.5), samples=4, window=0.0) for _ in range(2)
    )

    async def fail(*blocks):
        with pytest.raises(ZeroDivisionError):
            async with AsyncExitStack() as stack:
                for block in blocks:
                    await stack.enter_async_context(block)
                await trio.sleep(1)
                1 / 0  # noqa: B018

    for adaptive, blocks in (
        (held, lambda: [held.hold()]),
        (measured, lambda: [limits.hold("llm"), measured.measure()]),
    ):
        limits.resize("llm", 4)
        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(fail, *blocks())
        assert adaptive.state.tokens == limits.statistics()["llm"].tokens == 2
        assert limits.statistics()["llm"].held == 0


async def test_an_unknown_limit_is_its_own_error():
    with pytest.raises(UnknownLimit, match="lmm"):
        async with AdaptiveLimit(Limits([Limit("llm", 1)]), "lmm").hold():
            pass


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"name": ""}, ValueError),
        ({"floor": 0}, ValueError),
        ({"floor": 1.5}, TypeError),
        ({"floor": 10, "ceiling": 9}, ValueError),
        ({"samples": 0}, ValueError),
        ({"window": -1}, ValueError),
        ({"window": "1 s"}, TypeError),
        ({"counts": 5}, TypeError),
    ],
)
def test_an_adaptive_limit_that_cannot_be_is_refused(options, error):
    with pytest.raises(error, match="must"):
        AdaptiveLimit(Limits(), **{"name": "llm", **options})
