"""Three model providers and twenty users, all of whom want an answer now. Takes ten seconds, and needs no provider.

    python examples/model_providers.py

The local model takes one call at a time and refuses the rest at once. Anthropic takes five, lets others stand in line
for a moment, and is down from the third second to the fifth, which a breaker notices. How much OpenAI can take nobody
knows: its limit finds out.
"""

from collections import Counter

import trio
from attrs import define, field, frozen

from spaceactors import (
    Actor,
    AdaptiveLimit,
    CapacityError,
    CircuitBreaker,
    Limit,
    Limits,
    Runtime,
    WhenFull,
    handler,
    open_runtime,
)

USERS = 20
SECONDS = 10


class ProviderDown(Exception):
    """The provider cannot be reached."""


@define
class Provider:
    """Plays a provider: `capacity` calls at once take `seconds` each, and more have to share. Down for a time."""

    name: str
    seconds: float
    capacity: int
    # From one moment to another, in seconds of Trio's clock.
    down: tuple[float, float] = (0.0, 0.0)
    going_on: int = 0
    # The most calls that there were at once, how many were answered, and how many found it down.
    peak: int = 0
    answered: int = 0
    failed: int = 0

    async def complete(self, prompt: str) -> str:
        """Answer a prompt."""
        self.going_on += 1
        self.peak = max(self.peak, self.going_on)
        try:
            await trio.sleep(self.seconds * max(1.0, self.going_on / self.capacity))
            if self.down[0] <= trio.current_time() < self.down[1]:
                self.failed += 1
                raise ProviderDown(self.name)
        finally:
            self.going_on -= 1
        self.answered += 1
        return f"{self.name}: {prompt}? Certainly."


@frozen
class World:
    """What the agents need from outside."""

    local: Provider
    anthropic: Provider
    openai: Provider
    breaker: CircuitBreaker
    measured: AdaptiveLimit

    @property
    def providers(self) -> tuple[Provider, ...]:
        """All three."""
        return self.local, self.anthropic, self.openai


class Agent(Actor[int]):
    """One user's agent. Its state is the number of answers."""

    def __init__(self, world: World) -> None:
        self.world = world

    @handler
    async def answer(self, prompt: str) -> str:
        """Ask who is cheapest first."""
        reply = await self.from_local(prompt) or await self.from_anthropic(prompt) or await self.from_openai(prompt)
        self.state += 1
        return reply

    async def from_local(self, prompt: str) -> str:
        """Ask the local model, if it is free at this moment."""
        try:
            async with self.limits.hold("local"):
                return await self.world.local.complete(prompt)
        except CapacityError:
            return ""

    async def from_anthropic(self, prompt: str) -> str:
        """Ask Anthropic, if the line is short and it is up."""
        try:
            async with self.limits.hold("anthropic"), self.world.breaker:
                return await self.world.anthropic.complete(prompt)
        except (CapacityError, ProviderDown):
            return ""

    async def from_openai(self, prompt: str) -> str:
        """Ask OpenAI, however long it takes; measured, so that the limit learns how much is too much."""
        async with self.limits.hold("openai"), self.world.measured.measure():
            return await self.world.openai.complete(prompt)


def make_world(began: float) -> tuple[World, Limits]:
    """Make the providers, and what holds calls to them back."""
    limits = Limits(
        [
            Limit("local", 1, when_full=WhenFull.REFUSE),
            Limit("anthropic", 5, max_waiting=10, wait_timeout=0.2),
            Limit("openai", 1),  # where it begins
        ]
    )
    world = World(
        local=Provider("local", 0.3, capacity=1),
        anthropic=Provider("anthropic", 0.2, capacity=5, down=(began + 3.0, began + 5.0)),
        openai=Provider("openai", 0.1, capacity=6),
        breaker=CircuitBreaker("anthropic", failure_threshold=3, success_threshold=2, timeout=0.5, counts=ProviderDown),
        measured=AdaptiveLimit(limits, "openai", ceiling=50, samples=10, window=0.2),
    )
    return world, limits


async def talk(runtime: Runtime[Agent], name: str, until: float) -> None:
    """Be a user who asks again as soon as there is an answer."""
    while trio.current_time() < until:
        await runtime.space(name).ask(Agent.answer, "shall I")


async def show(limits: Limits, world: World, began: float) -> None:
    """Print a line each second: tokens held, of how many, and how many wait."""
    print(f"{'second':>6}  {'local':<9} {'anthropic':<15} {'openai':<15} breaker")
    for second in range(1, SECONDS + 1):
        await trio.sleep_until(began + second - 0.05)
        cells = [f"{now.held}/{now.tokens}, {now.waiting} wait" for now in limits.statistics().values()]
        print(f"{second:>6}  {cells[0][:3]:<9} {cells[1]:<15} {cells[2]:<15} {world.breaker.state.value}")


def summary(limits: Limits, world: World) -> str:
    """Return what came of it, provider by provider."""
    lines = [f"{'provider':<10} {'answers':>8} {'at most':>8} {'failed':>8} {'refused':>8} {'waited (95 %)':>15}"]
    for provider in world.providers:
        now = limits.statistics()[provider.name]
        lines.append(
            f"{provider.name:<10} {provider.answered:>8} {provider.peak:>8} {provider.failed:>8} {now.refused:>8}"
            f" {now.waits.p95:>13.2f} s"
        )
    return "\n".join(lines)


@define
class Result:
    """What a run has shown."""

    world: World
    limits: Limits
    # How many answers each user got.
    answers: Counter[str] = field(factory=Counter[str])


async def main() -> Result:
    """Let twenty users talk for ten seconds."""
    began = trio.current_time()
    world, limits = make_world(began)
    result = Result(world, limits)
    async with open_runtime(Agent, deps=world, limits=limits) as runtime:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(show, limits, world, began)
            for number in range(USERS):
                nursery.start_soon(talk, runtime, f"user-{number}", began + SECONDS)
        for number in range(USERS):
            result.answers[f"user-{number}"] = await runtime.space(f"user-{number}").state()
    print(f"\n{summary(limits, world)}")
    fewest, most = min(result.answers.values()), max(result.answers.values())
    print(f"\n{USERS} users have {result.answers.total()} answers, each between {fewest} and {most}")
    return result


if __name__ == "__main__":
    trio.run(main)
