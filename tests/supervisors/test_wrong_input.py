"""What somebody is told who writes limits, pools and locks down wrongly: what was wrong, and what to write instead."""

from __future__ import annotations

from contextlib import contextmanager
from enum import StrEnum

import pytest

from supervisors import AdaptiveLimit, CircuitBreaker, Gradient, InstancePool, Limit, Limits, Locks, RateLimit


class Name(StrEnum):
    OPENAI = "openai"
    RATE = "openai-rpm"


def some_limits():
    return Limits([Limit("openai", 5), RateLimit("openai-rpm", 60, per=60)])


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda: Limit("", 5), "must not be empty: write one such as"),
        (lambda: Limit("x", 5, preemptible="yes"), "preemptible of limit 'x' must be True or False"),
        (lambda: Limits(Limit("x", 5)), r"limits come in a list, such as \[Limit\('llm', 5\)\]"),
        (lambda: Limits(None), "limits come in a list"),
        (lambda: Limits({"x": 5}), r"a limit is a Limit such as Limit\('llm', 5\)"),
        (lambda: some_limits().hold(("openai",)), "one by one"),
        (lambda: some_limits().hold("openai", ["openai-rpm"]), "one by one"),
        (lambda: some_limits().hold(5), "name limits by strings"),
        (lambda: some_limits().hold(Limit("openai", 5)), "name limits by strings"),
        (lambda: some_limits().hold("opnai"), r"no limit 'opnai' \(there are: 'openai', 'openai-rpm'\)"),
        (lambda: AdaptiveLimit([Limit("openai", 5)], "openai"), "such as runtime.limits"),
        (lambda: AdaptiveLimit(some_limits(), "opnai"), "there is no limit 'opnai'"),
        (lambda: AdaptiveLimit(some_limits(), "openai-rpm"), "'openai-rpm' is a RateLimit"),
        (lambda: AdaptiveLimit(some_limits(), "openai", rule=Gradient), r"rule must be Gradient\(\)"),
        (lambda: AdaptiveLimit(some_limits(), "openai", rule="aimd"), r"rule must be Gradient\(\)"),
        (lambda: InstancePool(None, 5), "factory must be a function that gives an async context manager"),
        (lambda: InstancePool(returns(), 5), "factory .* without parentheses"),
        (lambda: Locks().hold({"file:a", "file:b"}), r"one by one: hold\('file:a', 'order:7'\)"),
    ],
)
def test_L2_the_error_says_what_to_write(wrong, told):
    with pytest.raises((TypeError, ValueError, LookupError), match=told):
        wrong()


async def in_limits():
    with some_limits().hold("openai"):
        pass


async def in_preemptible_limits():
    with Limits([Limit("x", 1, preemptible=True)]).hold("x"):
        pass


async def in_rate():
    with RateLimit("x", 1):
        pass


async def in_breaker():
    with CircuitBreaker("x"):
        pass


async def in_adaptive():
    with AdaptiveLimit(some_limits(), "openai").hold():
        pass


async def in_pool():
    with InstancePool(contextmanager(iter), 1):
        pass


async def in_use():
    with InstancePool(contextmanager(iter), 1).use():
        pass


async def in_locks():
    with Locks().hold("a"):
        pass


@pytest.mark.parametrize(
    "slip", [in_limits, in_preemptible_limits, in_rate, in_breaker, in_adaptive, in_pool, in_use, in_locks]
)
async def test_who_forgets_async_is_told_to_write_it(slip):
    with pytest.raises(TypeError, match="write `async with`, not `with`"):
        await slip()


async def async_for_limits():
    async with some_limits().hold_nowait("openai"):
        pass


async def async_for_locks():
    async with Locks().hold_nowait("a"):
        pass


@pytest.mark.parametrize("slip", [async_for_limits, async_for_locks])
async def test_who_writes_async_where_nothing_waits_is_told_to_leave_it_out(slip):
    with pytest.raises(TypeError, match="write `with`, not `async with`"):
        await slip()


async def returns():
    return 5


def yields():
    yield 5


async def yields_async():
    yield 5


@pytest.mark.parametrize("factory", [returns, yields, yields_async, contextmanager(yields), lambda: 5])
async def test_a_factory_that_gives_no_async_context_manager_is_told_so(factory):
    async with InstancePool(factory, 1) as pool:
        with pytest.raises(TypeError, match="write @asynccontextmanager above it"):
            async with pool.use():
                pytest.fail("there is nothing to use")


async def test_names_may_be_members_of_an_enum_of_texts():
    limits = some_limits()
    async with limits.hold(Name.OPENAI, Name.RATE):
        assert limits.statistics()["openai"].held == 1
