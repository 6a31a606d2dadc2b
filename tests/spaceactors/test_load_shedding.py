"""A runtime under load keeps new conversations out, with an answer, and lets running ones go on."""

from __future__ import annotations

import gc
import logging

import pytest
import trio
from attrs import define
from trio.testing import MockClock

from spaceactors import (
    Actor,
    LoadManager,
    LoadOptions,
    LoadPart,
    LoadReading,
    MessagesShed,
    Outcome,
    Overloaded,
    Priority,
    ProcessProbe,
    RuntimeConfig,
    SheddingBegan,
    SheddingEnded,
    SqliteStore,
    handler,
    open_runtime,
)
from tests.spaceactors.scenes import opened, outcome_of, settled

pytestmark = pytest.mark.usefixtures("autojump_clock")


@define
class Machine:
    """Says what a test wants of the machine; made and read by the runtime."""

    cpu: float | None = 0.0
    memory: int | None = None
    lag: float | None = None
    error: Exception | None = None
    looks: int = 0

    def __call__(self):
        return self

    def read(self, lag, /):
        self.looks += 1
        if self.error is not None:
            raise self.error
        return LoadReading(lag if self.lag is None else self.lag, self.cpu, self.memory)


class Clerk(Actor[int], kind="clerk"):
    @handler
    async def work(self, seconds: float = 0.0) -> int:
        await trio.sleep(seconds)
        self.state += 1
        return self.state

    @handler
    async def pass_on(self, other: str) -> None:
        low = self.space(other).with_options(priority=Priority.LOW)
        await low.send(Clerk.work)

    @handler
    async def ask_on(self, other: str) -> int:
        return await self.space(other).with_options(priority=Priority.LOW).ask(Clerk.work)

    @handler
    async def later(self, seconds: float) -> None:
        self.schedule("later", Clerk.work, after=seconds)

    @handler
    async def beside(self, other: str) -> None:
        self.start_soon(self._send, other)

    async def _send(self, other: str) -> None:
        await self.space(other).with_options(priority=Priority.LOW).send(Clerk.work)


@pytest.fixture
def machine():
    return Machine()


def config(machine, **options):
    options = {"max_cpu": 1.0, "max_lag": None} | options
    return RuntimeConfig(load=LoadOptions(probe=machine, **options))


def asking(runtime, name, priority=Priority.LOW):
    return outcome_of(runtime.space(name).with_options(priority=priority).ask, Clerk.work)


async def look(machine):
    """Let the runtime look at the machine."""
    looks = machine.looks
    while machine.looks == looks:  # noqa: ASYNC110 (there is no event: the machine is only read)
        await trio.sleep(0.25)
    await settled()


# ---- who is refused


async def test_new_low_conversations_are_refused_over_the_threshold_and_running_ones_go_on(machine):
    async with opened(Clerk, config=config(machine)) as runtime:
        assert await asking(runtime, "old") == 1
        machine.cpu = 0.95
        await look(machine)
        refused = await asking(runtime, "new")
        assert isinstance(refused, Overloaded)
        assert await asking(runtime, "old") == 2  # live, so its conversation goes on
        assert await asking(runtime, "new", Priority.NORMAL) == 1
        assert await asking(runtime, "new") == 2  # live by now


async def test_what_was_refused_is_not_in_the_ledger_and_comes_back_with_the_error(machine):
    async with opened(Clerk, config=config(machine)) as runtime:
        machine.cpu = 0.95
        await look(machine)
        low = runtime.space("new").with_options(priority=Priority.LOW)
        for call in (low.send, low.ask):
            refused = await outcome_of(call, Clerk.work)
            assert isinstance(refused, Overloaded)
            assert (refused.space, refused.message.call) == (low, "work")
        with pytest.raises(Overloaded):
            low.send_nowait(Clerk.work)
        assert (await runtime.snapshot()).ledger.accepted == 0
        assert (await runtime.snapshot()).live == 0
        machine.cpu = 0.0
        await look(machine)
        await low.resend(refused.message)
        assert (await runtime.snapshot()).ledger.accepted == 1


@pytest.mark.parametrize(
    ("cpu", "answers"),
    [(0.5, [1, 1, 1, 1]), (0.95, [None, 1, 1, 1]), (1.0, [None, None, 1, 1]), (7.0, [None, None, 1, 1])],
)
async def test_the_fuller_the_fewer_come_in_and_urgent_ones_always(machine, cpu, answers):
    async with opened(Clerk, config=config(machine)) as runtime:
        machine.cpu = cpu
        await look(machine)
        found = [await asking(runtime, one.name, one) for one in Priority]
        assert [None if isinstance(one, Overloaded) else one for one in found] == answers
        assert [runtime.load.should_throttle(one) for one in Priority] == [one is None for one in answers]
        assert runtime.load.should_throttle() is (answers[0] is None)


async def test_shedding_goes_on_until_the_load_is_under_the_lower_threshold(machine):
    async with opened(Clerk, config=config(machine)) as runtime:
        course = []
        for number, cpu in enumerate((0.8, 0.95, 0.8, 0.7, 0.6, 0.8)):
            machine.cpu = cpu
            await look(machine)
            course.append(isinstance(await asking(runtime, str(number)), Overloaded))
        assert course == [False, True, True, True, False, False]


async def test_what_turns_timers_and_background_work_send_always_comes_in(machine):
    async with opened(Clerk, config=config(machine)) as runtime:
        await runtime.space("old").ask(Clerk.work)
        await runtime.space("timed").ask(Clerk.later, 100)
        machine.cpu = 5.0
        await look(machine)
        old = runtime.space("old")
        for number, verb in enumerate((Clerk.pass_on, Clerk.ask_on, Clerk.beside)):
            await old.ask(verb, f"new{number}")
            await settled()
            assert await runtime.space(f"new{number}").state() == 1, verb
        await trio.sleep(101)
        assert await runtime.space("timed").state() == 1


async def test_a_space_that_left_memory_begins_a_new_conversation(machine):
    bound = RuntimeConfig(max_live_spaces=1, load=LoadOptions(probe=machine, max_cpu=1.0))
    async with opened(Clerk, config=bound) as runtime:
        assert await asking(runtime, "first") == 1
        assert await asking(runtime, "second") == 1  # takes the only place
        machine.cpu = 0.95
        await look(machine)
        assert isinstance(await asking(runtime, "first"), Overloaded)
        assert await asking(runtime, "second") == 2


async def test_a_durable_store_has_no_row_of_what_was_refused(machine, tmp_path):
    store = SqliteStore(tmp_path / "clerks.db")
    store.inline = True
    async with opened(Clerk, store=store, config=config(machine)) as runtime:
        assert await asking(runtime, "old") == 1
        machine.cpu = 0.95
        await look(machine)
        low = runtime.space("new").with_options(priority=Priority.LOW, message_id="m1")
        for _ in range(2):
            assert isinstance(await outcome_of(low.send, Clerk.work), Overloaded)
        assert [one.id for one in await runtime.spaces(actor=Clerk)] == ["old"]
        assert store._engine.messages(("clerk", "new"), 0, 10) == []
        machine.cpu = 0.0
        await look(machine)
        assert await low.ask(Clerk.work) == 1  # under the same id


# ---- the line of those who wait


async def test_a_burst_is_cut_off_at_once_and_not_at_the_next_look(machine):
    """Three places, two in line: the line is full, whatever the machine was at the last look."""
    bounds = RuntimeConfig(
        max_live_spaces=3, max_turns=3, max_waiting_turns=2, load=LoadOptions(probe=machine, interval=1000.0)
    )
    async with opened(Clerk, config=bounds) as runtime, trio.open_nursery() as nursery:
        answers = {}

        async def ask(number):
            answers[number] = await outcome_of(runtime.space(f"s{number}").ask, Clerk.work, 10.0)

        for number in range(9):
            nursery.start_soon(ask, number)
            await settled()
        assert sorted(answers) == [5, 6, 7, 8]
        assert all(isinstance(one, Overloaded) for one in answers.values())
        assert runtime.load.sample.waiting == 2
        load = runtime.load.load
        assert (load.value, load.cause) == (1.0, LoadPart.WAITING)
        await trio.sleep(20.1)
        assert [answers[number] for number in range(5)] == [1, 1, 1, 1, 1]
        assert runtime.load.load.value == 0
        assert await runtime.space("late").ask(Clerk.work) == 1
        assert machine.looks == 0


async def test_a_line_that_was_long_since_the_last_look_keeps_low_ones_out_until_the_next(machine):
    """It is longer and shorter all the time: a moment without a line is no end of the storm."""
    bounds = RuntimeConfig(
        max_live_spaces=1, max_turns=1, max_waiting_turns=2, load=LoadOptions(probe=machine, interval=10.0)
    )
    async with opened(Clerk, config=bounds) as runtime, trio.open_nursery() as nursery:
        await trio.sleep(5)
        for name in "abc":
            nursery.start_soon(runtime.space(name).ask, Clerk.work, 1.0)
            await settled()
        assert isinstance(await asking(runtime, "d"), Overloaded)
        await trio.sleep(4)  # nobody waits any more
        assert runtime.load.load.value == 0
        assert isinstance(await asking(runtime, "d"), Overloaded)
        await trio.sleep(2)  # the look at 10 s knows of the line that there was
        assert isinstance(await asking(runtime, "d"), Overloaded)
        await trio.sleep(10)
        assert await asking(runtime, "d") == 1


async def test_retry_after_is_when_those_who_wait_now_are_likely_to_be_done(machine):
    bounds = RuntimeConfig(max_live_spaces=2, max_turns=2, max_waiting_turns=8, load=LoadOptions(probe=machine))
    async with opened(Clerk, config=bounds) as runtime, trio.open_nursery() as nursery:
        nursery.start_soon(runtime.space("a").ask, Clerk.work, 5.0)
        await trio.sleep(6.5)  # turns take five seconds, and two run at once
        for number in range(10):
            nursery.start_soon(runtime.space(f"s{number}").ask, Clerk.work, 5.0)
            await settled()
        with pytest.raises(Overloaded) as refused:
            await runtime.space("new").ask(Clerk.work, 5.0)
        assert refused.value.retry_after == pytest.approx(8 / (2 / 5.0))
        assert "20.0 s" in str(refused.value)
        await trio.sleep(refused.value.retry_after)
        assert await runtime.space("new").ask(Clerk.work, 5.0) == 1


async def test_who_is_refused_by_what_is_measured_waits_for_the_next_measurement(machine):
    async with opened(Clerk, config=config(machine, interval=4.0)) as runtime:
        machine.cpu = 2.0
        await look(machine)
        assert (await asking(runtime, "new")).retry_after == 4.0


# ---- what is measured


async def test_nothing_is_watched_where_nobody_asks_for_it():
    async with opened(Clerk) as runtime:
        with pytest.raises(RuntimeError, match=r"RuntimeConfig\(load=LoadOptions\(\)\)"):
            _ = runtime.load


async def test_lag_is_how_late_a_sleep_ends_smoothed(autojump_clock: MockClock):
    class Hog(Actor, kind="hog"):
        @handler
        async def compute(self, seconds: float) -> None:
            autojump_clock.jump(seconds)  # time passes, and nothing else runs

    bounds = RuntimeConfig(load=LoadOptions(max_lag=1.0, interval=1.0, probe=Machine(cpu=None)))
    async with opened(Hog, config=bounds) as runtime:
        hog = runtime.space("hog")
        await hog.send(Hog.compute, 0.0)
        await trio.sleep(1.5)
        assert runtime.load.sample.lag == 0
        for lag in (0.75, 1.125):  # half of what is measured, then half of what was, and half of what is
            await hog.ask(Hog.compute, 2.0)
            await settled()
            assert runtime.load.sample.lag == pytest.approx(lag)
            await trio.sleep(0.5)
        assert runtime.load.load.cause is LoadPart.LAG
        assert isinstance(await outcome_of(runtime.space("new").ask, Hog.compute, 0.0), Overloaded)
        await trio.sleep(3)
        assert runtime.load.sample.lag < 0.2


async def test_pending_messages_and_memory_are_parts_of_the_load(machine):
    async with opened(Clerk, config=config(machine, max_pending=4, max_memory=1000)) as runtime:
        for _ in range(4):
            await runtime.space("a").send(Clerk.work, 100.0)
        machine.memory = 500
        await look(machine)
        assert runtime.load.load.parts == {LoadPart.PENDING: 0.75, LoadPart.MEMORY: 0.5, LoadPart.CPU: 0.0}
        await runtime.space("a").send(Clerk.work, 100.0)
        await look(machine)
        assert runtime.load.sample.pending == 4
        assert isinstance(await asking(runtime, "b", Priority.NORMAL), Overloaded)


async def test_a_probe_that_fails_is_told_and_leaves_its_parts_out(machine, caplog):
    async with opened(Clerk, config=config(machine, max_lag=1.0)) as runtime:
        machine.error = OSError("no such file")
        with caplog.at_level(logging.WARNING, logger="spaceactors"):
            await look(machine)
        assert "the load cannot be read: OSError('no such file')" in caplog.text
        assert runtime.load.load.parts == {LoadPart.LAG: 0.0}
        machine.error, machine.cpu = None, 0.3
        await look(machine)
        assert runtime.load.load.parts[LoadPart.CPU] == 0.3


def test_the_probe_of_the_process_reads_something_sensible():
    probe = ProcessProbe()
    sum(range(100_000))
    reading = probe.read(0.25)
    assert reading.lag == 0.25
    assert reading.cpu > 0
    assert 1_000_000 < reading.memory < 1e12


@pytest.mark.parametrize("missing", [["psutil"], ["psutil", "/proc"]])
def test_without_psutil_memory_is_read_by_other_means(missing, monkeypatch, tmp_path):
    import sys

    from spaceactors import _probe

    expected = ProcessProbe().read(0.0).memory
    monkeypatch.setitem(sys.modules, "psutil", None)
    if "/proc" in missing:
        monkeypatch.setattr(_probe, "_STATM", tmp_path / "none")
    memory = ProcessProbe().read(0.0).memory
    assert expected / 3 < memory < expected * 10  # the peak, where there is nothing else


# ---- what is told


async def test_refusals_are_counted_and_told_once_a_look(machine, caplog):
    caplog.set_level(logging.WARNING, logger="spaceactors")
    async with opened(Clerk, config=config(machine)) as runtime, runtime.events() as events:
        machine.cpu = 1.25
        await look(machine)
        for number in range(30):
            await asking(runtime, f"low{number}")
        for number in range(5):
            await asking(runtime, f"normal{number}", Priority.NORMAL)
        statistics = runtime.load.statistics()
        assert dict(statistics.refused) == {Priority.LOW: 30, Priority.NORMAL: 5}
        assert (statistics.shedding, statistics.load.value) == (True, 1.25)
        await look(machine)
        await look(machine)
        machine.cpu = 0.0
        await look(machine)
        told = [await anext(events) for _ in range(3)]
        assert [type(one) for one in told] == [SheddingBegan, MessagesShed, SheddingEnded]
        assert (told[0].load, told[0].cause) == (1.25, LoadPart.CPU)
        assert (told[1].refused, told[2].refused, told[2].seconds) == (35, 35, 3.0)
        assert caplog.messages == ["load is shed: it is 1.25 (cpu)"]


async def test_more_or_fewer_turns_are_recommended_than_there_are(machine):
    async with opened(Clerk, config=config(machine)) as runtime:
        assert isinstance(runtime.load, LoadManager)
        assert runtime.load.recommended_concurrency(40) == 40
        machine.cpu = 2.0
        await look(machine)
        assert runtime.load.recommended_concurrency(40) == 14
        assert runtime.load.recommended_concurrency() == 1


async def test_watching_the_load_is_a_part_of_the_tree_and_ends_with_the_runtime(machine):
    async with open_runtime(Clerk, config=config(machine)) as runtime:
        await look(machine)
        assert [one.name for one in runtime.tree().children] == ["store", "spaces", "keeper", "load"]
        await runtime.drain()
        looks = machine.looks
    await trio.sleep(100)
    assert machine.looks == looks


async def test_refusing_leaves_no_growth(machine):
    async with opened(Clerk, config=config(machine)) as runtime:
        machine.cpu = 2.0
        await look(machine)
        for number in range(100):
            await asking(runtime, f"a{number}")
        gc.collect()
        before = len(gc.get_objects())
        for number in range(1000):
            await asking(runtime, f"b{number}")
        gc.collect()
        assert len(gc.get_objects()) - before < 300
        assert (await runtime.snapshot()).ledger.outcomes[Outcome.HANDLED] == 0
