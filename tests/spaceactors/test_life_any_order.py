"""Stop, drain, kill, delete, revive, pause and resume at once, twice, in any order (S24), under any schedule."""

from __future__ import annotations

from contextlib import suppress

import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from spaceactors import Outcome, RestartLimit, SpaceError, SpaceStatus, open_runtime
from supervisors.testing import seed_schedule
from tests.spaceactors.lives import Boom, Doer, HookedDoer, World, holds_law_2, with_options

CALLS = ("stop", "drain", "kill", "delete", "revive", "pause", "resume")
ENDS = {"stop", "drain", "kill", "delete"}
# What is done to the space: a call, or a message; and after how many tenths of a second.
STEPS = st.tuples(st.sampled_from([*CALLS, *CALLS, "send", "ask", "work", "crash", "patient drain"]), st.integers(0, 8))


def kind_for(budget):
    return with_options(
        HookedDoer, restart_limit=RestartLimit(budget, 60), backoff=lambda _: 0.25, mailbox_capacity=3, idle_timeout=0.7
    )


class Player:
    """Plays one list of steps against one space, and keeps what each call gave."""

    def __init__(self, space):
        self.space = space
        self.over = 0
        self.asked = 0
        self.answered = 0

    async def play(self, what, tenths):
        await trio.sleep(tenths / 10)
        try:
            with suppress(SpaceError):
                await self._do(what)
        finally:
            self.over += 1

    async def _do(self, what):
        space = self.space
        match what:
            case "send":
                await space.send(Doer.note, "x")
            case "work":
                await space.send(Doer.work, "x", 0.35)
            case "crash":
                await space.send(Doer.crash, Boom())
            case "ask":
                self.asked += 1
                try:
                    await space.ask(Doer.work, "x", 0.15)
                finally:
                    self.answered += 1
            case "patient drain":
                await space.drain(timeout=0.2)
            case call:
                await getattr(space, call)()


async def play_all(steps, budget, seen):
    world = World()
    async with open_runtime(kind_for(budget), deps=world) as runtime:
        space = runtime.space("a")
        player = Player(space)
        async with trio.open_nursery() as nursery:
            for step in steps:
                nursery.start_soon(player.play, *step)
            for _ in range(30):
                await trio.sleep(0.05)
                assert await holds_law_2(runtime)
            # What a pause or a quarantine holds back goes on when it is told to.
            await space.resume()
            await space.revive()
            await trio.sleep(5)
            await space.revive()
        assert player.over == len(steps)
        assert player.asked == player.answered
        await space.stop()
        assert (await space.info()).status in {SpaceStatus.STOPPED, SpaceStatus.PASSIVE}
        assert await space.ask(Doer.work, "alive", 0.1) == "alive"
        report = await space.stop()
        assert report.clean
        assert (await runtime.snapshot()).live == 0
        assert await holds_law_2(runtime)
    ledger = (await runtime.snapshot()).ledger
    assert ledger.pending == 0
    seen.append((ledger.accepted, dict(ledger.outcomes), tuple(world.trace)))


def run(steps, budget, seed):
    seen = []

    async def guarded():
        with trio.fail_after(1e6):
            await play_all(steps, budget, seen)
        # Law 4: only this task and Trio's own are left.
        assert trio.lowlevel.current_statistics().tasks_living <= 4

    with seed_schedule(seed):
        trio.run(guarded, clock=MockClock(autojump_threshold=0))
    return seen[0]


@settings(max_examples=120)
@given(steps=st.lists(STEPS, min_size=1, max_size=14), budget=st.integers(0, 3), seed=st.integers(0, 2**32))
def test_S24_M11_calls_in_any_order_end_lose_nothing_and_leave_the_space_usable(steps, budget, seed):
    run(steps, budget, seed)


@settings(max_examples=15)
@given(steps=st.lists(STEPS, min_size=3, max_size=10), seed=st.integers(0, 2**32))
def test_S24_the_same_calls_under_the_same_schedule_give_the_same_ledger_and_trace(steps, seed):
    assert run(steps, 2, seed) == run(steps, 2, seed)


@settings(max_examples=40)
@given(
    ends=st.lists(st.sampled_from(sorted(ENDS)), min_size=2, max_size=6),
    load=st.integers(0, 4),
    seed=st.integers(0, 2**32),
)
def test_S24_all_who_end_a_space_at_the_same_moment_get_their_report(ends, load, seed):
    reports = []

    async def main():
        async with open_runtime(with_options(mailbox_capacity=10), deps=World()) as runtime:
            space = runtime.space("a")
            for number in range(load):
                await space.send(Doer.work, number, 1)
            await wait_all_tasks_blocked()

            async def end(how):
                reports.append(await getattr(space, how)())

            async with trio.open_nursery() as nursery:
                for how in ends:
                    nursery.start_soon(end, how)
            assert (await runtime.snapshot()).live == 0
            ledger = (await runtime.snapshot()).ledger
            returned = ledger.outcomes[Outcome.RETURNED]
            told = [report for report in reports if report is not None]
            assert all(sum(report.left.values()) == returned for report in told)
            assert await holds_law_2(runtime)

    with seed_schedule(seed):
        trio.run(main, clock=MockClock(autojump_threshold=0))
    assert len(reports) == len(ends)


@settings(max_examples=40)
@given(
    load=st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from(["note", "work", "crash"])), max_size=20),
    after=st.integers(0, 12),
    timeout=st.integers(0, 12),
    seed=st.integers(0, 2**32),
)
def test_S19_S24_a_runtime_drained_at_any_moment_accounts_for_every_message(load, after, timeout, seed):
    async def main():
        kind = with_options(HookedDoer, restart_limit=RestartLimit(1, 60), backoff=lambda _: 0.25, mailbox_capacity=2)
        async with open_runtime(kind, deps=World()) as runtime, trio.open_nursery() as nursery:

            async def send(name, what):
                method, args = {
                    "note": (Doer.note, ("x",)),
                    "work": (Doer.work, ("x", 0.3)),
                    "crash": (Doer.crash, ()),
                }[what]
                with suppress(SpaceError):
                    await runtime.space(name).send(method, *args)

            for name, what in load:
                nursery.start_soon(send, name, what)
            await trio.sleep(after / 10)
            before = trio.current_time()
            report = await runtime.drain(timeout=timeout / 10)
            assert trio.current_time() - before <= timeout / 10 + 1e-6
            ledger = (await runtime.snapshot()).ledger
            assert ledger.pending == 0
            assert ledger.accepted == sum(ledger.outcomes.values())
            assert sum(report.left.values()) == ledger.outcomes[Outcome.RETURNED]

    with seed_schedule(seed):
        trio.run(main, clock=MockClock(autojump_threshold=0))
