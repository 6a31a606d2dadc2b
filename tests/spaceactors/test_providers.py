"""Three model providers and twenty spaces: five at once, five at once, and one that refuses; nobody is left unanswered.

This is what systems that pool threads by provider promise (n calls at once for each provider, in line; a local one
alone, refused at once; instances closed when idle), in terms of actors.
"""

from __future__ import annotations

from collections import Counter
from contextlib import asynccontextmanager

import pytest
import trio
from attrs import define, field

from spaceactors import (
    Actor,
    ActorCrashed,
    CapacityError,
    InstancePool,
    Limit,
    Outcome,
    Priority,
    RuntimeConfig,
    SpaceOptions,
    SpaceStatus,
    WhenFull,
    handler,
    open_runtime,
)
from supervisors import CapacityQueueFull, CapacityRefused, CapacityTimeout, CircuitBreaker, CircuitOpen, CircuitState
from supervisors.testing import seed_schedule
from tests.spaceactors.conftest import run_in_virtual_time

SPACES = 20
REMOTE = ("openai", "anthropic")
LIMITS = [Limit("openai", 5), Limit("anthropic", 5), Limit("ollama", 1, when_full=WhenFull.REFUSE)]


class Down(Exception):
    pass


@define
class Provider:
    """Answers after so many seconds, and remembers who asked it when, and how many did at once."""

    name: str
    seconds: float = 1.0
    now: int = 0
    peak: int = 0
    calls: list[tuple[float, str]] = field(factory=list)
    fails_until: float = 0.0

    async def complete(self, prompt):
        self.now += 1
        self.peak = max(self.peak, self.now)
        self.calls.append((trio.current_time(), prompt))
        try:
            await trio.sleep(self.seconds)
            if trio.current_time() <= self.fails_until:
                raise Down
            return f"{self.name}: {prompt}"
        finally:
            self.now -= 1


@define
class World:
    providers: dict[str, Provider] = field(
        factory=lambda: {name: Provider(name) for name in ("openai", "anthropic", "ollama")}
    )
    # When somebody was refused, and by what.
    refused: list[tuple[float, type[CapacityError]]] = field(factory=list)
    breaker: CircuitBreaker = field(
        factory=lambda: CircuitBreaker("anthropic", failure_threshold=3, success_threshold=1, timeout=10.0, counts=Down)
    )

    def __getitem__(self, name):
        return self.providers[name]


class Agent(Actor[tuple[str, ...]], kind="agent"):
    """Asks the local model if it is free, else the provider that it is told."""

    def __init__(self, world):
        self.world = world

    @handler
    async def answer(self, prompt, remote):
        try:
            async with self.limits.hold("ollama"):
                reply = await self.world["ollama"].complete(prompt)
        except CapacityRefused as refusal:
            self.world.refused.append((trio.current_time(), type(refusal)))
            async with self.limits.hold(remote):
                reply = await self.world[remote].complete(prompt)
        self.state = (*self.state, reply)
        return reply

    @handler(limit="openai")
    async def by_handler(self, prompt):
        return await self.world["openai"].complete(prompt)

    @handler
    async def by_step(self, prompt):
        return await self.step("ask", self.world["openai"].complete, prompt, limit="openai")

    @handler
    async def guarded(self, prompt):
        """Ask anthropic behind its breaker, or openai."""
        try:
            async with self.world.breaker:
                return await self.step("anthropic", self.world["anthropic"].complete, prompt, limit="anthropic")
        except (Down, CircuitOpen):
            return await self.step("openai", self.world["openai"].complete, prompt, limit="openai")

    @handler
    async def many(self, number):
        """Make so many calls at once in one turn."""
        async with trio.open_nursery() as nursery:
            for _ in range(number):
                nursery.start_soon(self.one)

    async def one(self):
        async with self.limits.hold("openai"):
            await self.world["openai"].complete(self.id)

    @handler
    async def crash(self):
        async with self.limits.hold("openai"):
            await trio.sleep(1)
            raise Down


async def ask_all(runtime, method, *args):
    """Have twenty spaces ask at once; return the replies, and when each came."""
    replies = dict[str, tuple[float, str]]()

    async def ask(number):
        user = f"user-{number}"
        rest = tuple(arg[number % len(arg)] for arg in args)
        reply = await runtime.space(user).ask(method, user, *rest)
        replies[user] = trio.current_time(), reply

    async with trio.open_nursery() as nursery:
        for number in range(SPACES):
            nursery.start_soon(ask, number)
    return replies


def free(runtime):
    """Nothing is held and nobody waits."""
    figures = runtime.limits.statistics()
    return not any(now.held or now.waiting for name, now in figures.items() if name != "spaces")


# ---- twenty at once


@pytest.mark.parametrize("seed", range(10))
def test_C1_five_at_once_five_at_once_and_one_that_refuses(seed):
    """Whatever the schedule: the peaks are the limits, the local one refuses all but one at once, all are answered."""

    async def main():
        world = World()
        async with open_runtime(Agent, deps=world, limits=LIMITS) as runtime:
            replies = await ask_all(runtime, Agent.answer, REMOTE)
            assert free(runtime)
            figures = runtime.limits.statistics()
            states = [await runtime.space(user).state() for user in replies]
            ledger = (await runtime.snapshot()).ledger
        # So many at once, and no more; never fewer than there might be: ten or nine calls of a second, five at a time.
        assert {name: provider.peak for name, provider in world.providers.items()} == {
            "openai": 5,
            "anthropic": 5,
            "ollama": 1,
        }
        assert trio.current_time() == 2.0
        # The local one refused at once, and once for each.
        assert world.refused == [(0.0, CapacityRefused)] * (SPACES - 1)
        assert (figures["ollama"].refused, figures["openai"].refused) == (SPACES - 1, 0)
        # Everybody has one answer, from where he was sent, and the books balance.
        assert set(replies) == {f"user-{number}" for number in range(SPACES)}
        by = Counter(reply.partition(":")[0] for _, reply in replies.values())
        assert by["ollama"] == 1
        assert sorted((by["openai"], by["anthropic"])) == [9, 10]
        assert states == [(reply,) for _, reply in replies.values()]
        assert (ledger.accepted, ledger.outcomes[Outcome.HANDLED], ledger.pending) == (SPACES, SPACES, 0)
        assert Counter(when for when, _ in replies.values()) == {1.0: 11, 2.0: 9}

    with seed_schedule(seed):
        run_in_virtual_time(main)


@pytest.mark.parametrize("method", [Agent.by_handler, Agent.by_step])
async def test_C1_a_limit_of_a_handler_and_of_a_step_pace_alike(method):
    world = World()
    async with open_runtime(Agent, deps=world, limits=LIMITS) as runtime:
        replies = await ask_all(runtime, method)
        assert free(runtime)
    assert world["openai"].peak == 5
    assert Counter(when for when, _ in replies.values()) == {1.0: 5, 2.0: 5, 3.0: 5, 4.0: 5}


async def test_C4_spaces_in_line_for_one_provider_hold_up_none_that_asks_another():
    """Two turns may run at once. Nine that wait for a token have lent theirs, so the second is there for who works."""
    world = World()
    limits = [Limit("openai", 1), Limit("anthropic", 1)]
    config = RuntimeConfig(max_turns=2)
    async with open_runtime(Agent, deps=world, limits=limits, config=config) as runtime, trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(runtime.space(f"user-{number}").ask, Agent.by_step, "hi")
        await trio.sleep(0.5)
        assert await runtime.space("other").ask(Agent.guarded, "hi") == "anthropic: hi"
        assert world["anthropic"].calls == [(0.5, "hi")]
    assert Counter(when for when, _ in world["openai"].calls) == {float(second): 1 for second in range(10)}


class Desk(Actor, kind="desk"):
    """One space with several workers."""

    options = SpaceOptions(concurrency=3)

    def __init__(self, world):
        self.world = world

    @handler(limit="openai")
    async def answer(self, prompt):
        return await self.world["openai"].complete(prompt)


async def test_one_space_may_have_several_workers_whose_turns_begin_in_order():
    world = World()
    async with open_runtime(Desk, deps=world, limits=LIMITS) as runtime:
        for number in range(7):
            await runtime.space("desk").send(Desk.answer, str(number))
    assert world["openai"].peak == 3
    # Those of one moment in any order: each takes its own way to its token.
    assert sorted(world["openai"].calls) == [(float(number // 3), str(number)) for number in range(7)]


# ---- the line


async def test_C2_the_line_is_served_as_it_is_shown_and_who_is_urgent_first():
    world = World()
    async with open_runtime(Agent, deps=world, limits=[Limit("openai", 1)]) as runtime, trio.open_nursery() as nursery:
        for number in range(6):
            priority = {3: Priority.LOW, 5: Priority.HIGH}.get(number, Priority.NORMAL)
            space = runtime.space(f"user-{number}").with_options(priority=priority)
            nursery.start_soon(space.ask, Agent.by_step, f"user-{number}")
            await trio.sleep(0.01)
        line = runtime.limits.waiting("openai")
        assert [waiter.fair_key for waiter in line] == ["user-5", "user-1", "user-2", "user-4", "user-3"]
        assert [waiter.position for waiter in line] == [1, 2, 3, 4, 5]
        waits = sorted((wait.position, wait.space, wait.target) for wait in runtime.waits())
        assert waits == [(waiter.position, waiter.fair_key, "openai") for waiter in line]
        await trio.sleep(10)
    assert [user for _, user in world["openai"].calls] == ["user-0", *(waiter.fair_key for waiter in line)]


async def test_C8_a_space_that_makes_a_hundred_calls_lets_the_others_have_theirs():
    world = World()
    async with open_runtime(Agent, deps=world, limits=[Limit("openai", 5)]) as runtime, trio.open_nursery() as nursery:
        nursery.start_soon(runtime.space("greedy").ask, Agent.many, 100)
        await trio.sleep(0.5)
        for number in range(8):
            nursery.start_soon(runtime.space(f"user-{number}").ask, Agent.by_step, f"user-{number}")
        await trio.sleep(3)
        others = [when for when, user in world["openai"].calls if user != "greedy"]
        # Keys take turns: of the ten tokens of the next two seconds eight are theirs.
        assert others == [1.0] * 4 + [2.0] * 4
    assert trio.current_time() == 22.0  # 108 calls, five at a time, none of them idle


async def test_a_bounded_line_refuses_by_name_and_a_wait_that_is_too_long_ends():
    limits = [Limit("openai", 1, max_waiting=2, wait_timeout=1.5)]
    # Who failed when, and why.
    failed = dict[str, tuple[float, type[BaseException]]]()

    async def ask(runtime, number):
        try:
            await runtime.space(f"user-{number}").ask(Agent.by_step, "hi")
        except ActorCrashed as error:
            failed[f"user-{number}"] = trio.current_time(), type(error.__cause__)

    async with open_runtime(Agent, deps=World(), limits=limits) as runtime:
        async with trio.open_nursery() as nursery:
            for number in range(4):
                nursery.start_soon(ask, runtime, number)
        # A failure of a limit is none of the actor's: it is neither restarted nor quarantined.
        assert [(await runtime.space(user).info()).status for user in failed] == [SpaceStatus.LIVE] * 2
        assert runtime.limits.statistics()["openai"].refused == 2
    assert sorted(failed.values(), key=str) == [(0.0, CapacityQueueFull), (1.5, CapacityTimeout)]


async def test_C3_a_call_that_crashes_gives_its_token_to_the_next_at_once():
    world = World()
    async with open_runtime(Agent, deps=world, limits=[Limit("openai", 1)]) as runtime, trio.open_nursery() as nursery:
        await runtime.space("bad").send(Agent.crash)
        await trio.sleep(0.5)
        nursery.start_soon(runtime.space("good").ask, Agent.by_step, "good")
        await trio.sleep(1)
        assert world["openai"].calls == [(1.0, "good")]


async def test_C5_more_tokens_go_to_who_waits_at_once():
    world = World()
    async with open_runtime(Agent, deps=world, limits=LIMITS) as runtime, trio.open_nursery() as nursery:
        nursery.start_soon(ask_all, runtime, Agent.by_step)
        await trio.sleep(0.5)
        runtime.limits.resize("openai", 8)
        await trio.sleep(0.01)
        assert [when for when, _ in world["openai"].calls] == [0.0] * 5 + [0.5] * 3
        await trio.sleep(10)
    assert world["openai"].peak == 8


# ---- a provider that is down


async def test_a_breaker_spares_twenty_spaces_the_wait_for_a_provider_that_is_down():
    world = World()
    world["anthropic"].fails_until = 10.0
    async with open_runtime(Agent, deps=world, limits=LIMITS) as runtime:
        first = await ask_all(runtime, Agent.guarded)
        assert {reply.partition(":")[0] for _, reply in first.values()} == {"openai"}
        assert world.breaker.state is CircuitState.OPEN
        tried = len(world["anthropic"].calls)
        began = trio.current_time()
        second = await ask_all(runtime, Agent.guarded)
        # Nobody asked it while it was held back, and nobody waited for it: twenty calls, five at a time.
        assert len(world["anthropic"].calls) == tried
        assert max(when for when, _ in second.values()) - began == 4.0
        await trio.sleep(20)
        third = await ask_all(runtime, Agent.guarded)
        assert "anthropic" in {reply.partition(":")[0] for _, reply in third.values()}
        assert world.breaker.state is CircuitState.CLOSED
        assert free(runtime)
    assert world["anthropic"].peak <= 5
    assert world["openai"].peak == 5


# ---- instances


@define
class Clients:
    """Opens connections to a provider, and closes them."""

    opened: int = 0
    closed: list[float] = field(factory=list)

    @asynccontextmanager
    async def connect(self):
        self.opened += 1
        number = self.opened
        try:
            yield number
        finally:
            self.closed.append(trio.current_time())


class Client(Actor, kind="client"):
    def __init__(self, pool):
        self.pool = pool

    @handler
    async def ask(self, prompt):
        async with self.pool.use(fair_key=self.id) as client:
            await trio.sleep(1)
            return f"{client}: {prompt}"


async def test_instances_are_shared_by_all_spaces_and_closed_after_idling():
    clients = Clients()

    def pool():
        return InstancePool(clients.connect, 5, idle_timeout=60.0, name="openai")

    async with open_runtime(Client, deps=pool) as runtime:
        replies = await ask_all(runtime, Client.ask)
        assert clients.opened == 5  # for twenty spaces
        assert Counter(reply.partition(":")[0] for _, reply in replies.values()) == dict.fromkeys("12345", 4)
        assert trio.current_time() == 4.0
        await trio.sleep(59)
        assert clients.closed == []
        await trio.sleep(2)
        assert clients.closed == [64.0] * 5  # a minute after the last call, while the runtime goes on
        assert await runtime.space("late").ask(Client.ask, "hi") == "6: hi"
    assert len(clients.closed) == clients.opened == 6


async def test_instances_that_are_used_again_stay_and_the_others_go():
    clients = Clients()
    async with open_runtime(Client, deps=lambda: InstancePool(clients.connect, 5, idle_timeout=60.0)) as runtime:
        await ask_all(runtime, Client.ask)
        for _ in range(10):
            await trio.sleep(20)
            await runtime.space("steady").ask(Client.ask, "hi")
        assert (clients.opened, len(clients.closed)) == (5, 4)
