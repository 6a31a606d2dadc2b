"""Four times more than the machine can do, for half a minute: what is accepted is quick, the rest gets an answer."""

from __future__ import annotations

from random import Random

import pytest
import trio
from attrs import define, field

from spaceactors import (
    Actor,
    LoadOptions,
    NotAccepted,
    Outcome,
    Overloaded,
    Priority,
    RuntimeConfig,
    SqliteStore,
    handler,
    open_runtime,
)
from tests.spaceactors.conftest import run_in_virtual_time

# Half a minute of a busy service takes its time where coverage is measured and others work too.
pytestmark = pytest.mark.timeout(600)

TURNS = 10
MEAN = 0.5  # seconds of a turn
CAPACITY = TURNS / MEAN  # turns in a second
DURATION = 30.0
RUNNING = 5  # conversations that go on all the time
PRIORITIES = [Priority.LOW] * 4 + [Priority.NORMAL] * 15 + [Priority.HIGH]


class Agent(Actor[int], kind="agent"):
    @handler
    async def answer(self, seconds: float) -> int:
        await trio.sleep(seconds)
        self.state += 1
        return self.state


@define
class Caller:
    """Those who call, and what came of it."""

    random: Random
    # Seconds until the answer, by priority; refusals; calls that were made.
    answered: dict[Priority, list[float]] = field(factory=lambda: {one: list[float]() for one in Priority})
    refused: list[Overloaded] = field(factory=list)
    calls: int = 0
    ongoing: list[float] = field(factory=list)

    async def call(self, runtime, number, priority):
        """Begin a conversation with one question."""
        self.calls += 1
        began, seconds = trio.current_time(), self.random.uniform(0.6, 1.4) * MEAN
        try:
            await runtime.space(f"new {number}").with_options(priority=priority).ask(Agent.answer, seconds)
        except Overloaded as refusal:
            assert trio.current_time() == began  # at once
            self.refused.append(refusal)
        else:
            self.answered[priority].append(trio.current_time() - began)

    async def go_on(self, runtime, number, until):
        """Have a conversation all the time; it was there before the storm."""
        space = runtime.space(f"old {number}")
        while trio.current_time() < until:
            began = trio.current_time()
            await space.ask(Agent.answer, MEAN)
            self.ongoing.append(trio.current_time() - began)
            await trio.sleep(self.random.uniform(1, 5))

    async def arrive(self, runtime, rate):
        """Begin so many conversations a second, at random moments."""
        until = trio.current_time() + DURATION
        number = 0
        async with trio.open_nursery() as nursery:
            for one in range(RUNNING):
                nursery.start_soon(self.go_on, runtime, one, until)
            await trio.sleep(0.1)
            while trio.current_time() < until:
                nursery.start_soon(self.call, runtime, number, self.random.choice(PRIORITIES))
                number += 1
                await trio.sleep(self.random.expovariate(rate))
                if number % 50 == 0:
                    await check_ledger(runtime)

    @property
    def times(self):
        return sorted(time for times in self.answered.values() for time in times)


async def check_ledger(runtime):
    ledger = (await runtime.snapshot()).ledger
    assert ledger.accepted == sum(ledger.outcomes.values()) + ledger.pending
    return ledger


def p95(times):
    return sorted(times)[int(len(times) * 0.95)]


def weather(load, seed, store=None):
    """Have so much more arrive than can be done; return the callers, the last ledger, and the load's statistics."""

    async def main():
        caller = Caller(Random(seed))
        config = RuntimeConfig(
            max_turns=TURNS, max_waiting_turns=5, load=LoadOptions(max_lag=None), drain_timeout=100.0
        )
        async with open_runtime(Agent, store=store, config=config) as runtime:
            await caller.arrive(runtime, load * CAPACITY)
            ledger = await check_ledger(runtime)
            statistics = runtime.load.statistics()
        return caller, ledger, statistics

    return run_in_virtual_time(main)


@pytest.mark.parametrize("seed", range(3))
def test_at_four_times_capacity_what_is_accepted_stays_quick_and_the_rest_gets_an_answer(seed):
    calm, _, quiet = weather(0.25, seed)
    storm, ledger, statistics = weather(4.0, seed)

    # Unloaded, nobody is refused.
    assert calm.refused == []
    assert sum(quiet.refused.values()) == 0

    # Everybody got an answer: a result, or a refusal that says when to come again.
    assert len(storm.times) + len(storm.refused) == storm.calls
    assert storm.calls > 0.9 * 4 * CAPACITY * DURATION
    assert all(0 < one.retry_after < 5 for one in storm.refused)
    assert all(one.message is not None for one in storm.refused)

    # What was accepted is as quick as ever, or nearly so: new conversations, and with those that went on.
    assert p95(storm.times) <= 2 * p95(calm.times)
    assert p95(storm.times + storm.ongoing) <= 2 * p95(calm.times + calm.ongoing)

    # The machine was not idle meanwhile.
    assert len(storm.times) + len(storm.ongoing) > 0.9 * CAPACITY * DURATION

    # Nothing is lost: accepted is what was answered, and nothing is left.
    assert ledger.pending == 0
    assert ledger.accepted == ledger.outcomes[Outcome.HANDLED] == len(storm.times) + len(storm.ongoing)
    assert sum(statistics.refused.values()) == len(storm.refused)

    # HIGH ones all came in, LOW ones fared worst.
    assert {one.message.priority for one in storm.refused} == {Priority.LOW, Priority.NORMAL}
    share = {
        one: len(storm.answered[one]) / (len(storm.answered[one]) + statistics.refused.get(one, 0))
        for one in (Priority.LOW, Priority.NORMAL, Priority.HIGH)
    }
    assert share[Priority.LOW] < share[Priority.NORMAL] < share[Priority.HIGH] == 1.0


def test_without_shedding_the_same_storm_makes_everybody_wait():
    """So it is the shedding that keeps the others quick."""

    async def main():
        caller = Caller(Random(0))
        async with open_runtime(Agent, config=RuntimeConfig(max_turns=TURNS)) as runtime:
            await caller.arrive(runtime, 4.0 * CAPACITY)
        return caller

    calm, _, _ = weather(0.25, 0)
    storm = run_in_virtual_time(main)
    assert storm.refused == []
    assert p95(storm.times) > 20 * p95(calm.times)


def test_on_a_disk_the_storm_leaves_no_row_of_what_was_refused(tmp_path):
    disk = SqliteStore(tmp_path / "agents.db")
    disk.inline = True
    storm, ledger, _ = weather(4.0, 7, disk)
    assert len(storm.times) + len(storm.refused) == storm.calls
    assert ledger.accepted == ledger.outcomes[Outcome.HANDLED] == len(storm.times) + len(storm.ongoing)

    async def spaces():
        async with open_runtime(Agent, store=disk) as runtime:
            return len(await runtime.spaces(actor=Agent, limit=10_000))

    assert run_in_virtual_time(spaces) == len(storm.times) + RUNNING


def test_who_comes_again_when_told_to_gets_through():
    """In a storm that passes, everybody who does as the refusals say is served in the end."""

    async def main():
        served, tries = [], []

        async def insist(runtime, number):
            space = runtime.space(f"guest {number}")
            for attempt in range(1000):
                try:
                    served.append(await space.ask(Agent.answer, MEAN))
                except NotAccepted as refusal:
                    await trio.sleep(refusal.retry_after)
                else:
                    tries.append(attempt)
                    return

        config = RuntimeConfig(max_turns=TURNS, max_waiting_turns=5, load=LoadOptions(max_lag=None))
        async with open_runtime(Agent, config=config) as runtime, trio.open_nursery() as nursery:
            for number in range(200):
                nursery.start_soon(insist, runtime, number)
        return served, max(tries), trio.current_time()

    served, most, seconds = run_in_virtual_time(main)
    assert served == [1] * 200
    assert most < 100
    assert seconds < 3 * 200 / CAPACITY


class Slow(Agent, kind="slow"):
    """Takes a while before it can answer."""

    async def on_start(self) -> None:
        await trio.sleep(0.2)


def test_those_who_are_still_in_their_start_hooks_are_counted():
    async def main():
        config = RuntimeConfig(max_turns=2, max_waiting_turns=3, load=LoadOptions(max_lag=None))
        answers = []

        async def call(runtime, number):
            try:
                answers.append(await runtime.space(f"{number}").ask(Agent.answer, MEAN))
            except Overloaded:
                answers.append(None)

        async with open_runtime(Slow, config=config) as runtime:
            async with trio.open_nursery() as nursery:
                for number in range(10):
                    nursery.start_soon(call, runtime, number)
                    await trio.sleep(0.01)
                assert answers == [None] * 5
            assert runtime.load.sample.waiting == 0
        assert sorted(answers, key=str) == [1] * 5 + [None] * 5

    run_in_virtual_time(main)


@pytest.mark.parametrize("on_disk", [False, True])
def test_a_burst_in_one_moment_is_cut_off_where_the_bound_is(on_disk, tmp_path):
    """Before any of their workers has run: those who have just come in are counted, too."""

    async def main():
        disk = SqliteStore(tmp_path / "agents.db") if on_disk else None
        if disk is not None:
            disk.inline = True
        config = RuntimeConfig(max_turns=TURNS, max_waiting_turns=5, load=LoadOptions(max_lag=None))
        caller = Caller(Random(0))
        async with open_runtime(Agent, store=disk, config=config) as runtime:
            for wave in range(3):
                async with trio.open_nursery() as nursery:
                    for number in range(40):
                        nursery.start_soon(caller.call, runtime, f"{wave} {number}", Priority.NORMAL)
                    await trio.sleep(0.01)
                    assert runtime.load.sample.waiting == 5
                    assert runtime.load.load.value == 1.0
                assert runtime.load.sample.waiting == 0
                assert (len(caller.times), len(caller.refused)) == (15 * (wave + 1), 25 * (wave + 1))

    run_in_virtual_time(main)
