"""M11: law 2 under whatever happens. Random programs over seeded schedules; the books must balance at every tick."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from math import inf

import pytest
import trio
from attrs import frozen
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spaceactors import (
    Actor,
    MessageSettled,
    NotAccepted,
    NotHandled,
    Outcome,
    Overflow,
    Reject,
    RestartLimit,
    RuntimeConfig,
    SpaceOptions,
    SuspensionClosed,
    WhenAbandoned,
    WhenBusy,
    WhenInterrupted,
    handler,
    open_runtime,
)
from spaceactors._snapshot import take
from supervisors.testing import seed_schedule
from tests.spaceactors.conftest import run_in_virtual_time

NAMES = "abc"


class Boom(Exception):
    pass


class Anything(Actor[int]):
    """Does one thing of many; notes which messages were begun and handled."""

    def __init__(self, handled: Counter[str]) -> None:
        self.handled = handled

    @handler
    async def work(self, what: str, seconds: float, other: str) -> str:  # noqa: C901 (a list of misdeeds)
        message_id = self.message.id
        self.state += 1
        match what:
            case "crash":
                await trio.sleep(seconds)
                raise Boom
            case "reject":
                raise Reject
            case "ask":
                await self.space(other).ask(Anything.work, "wait", seconds, other)
            case "send":
                for _ in range(3):
                    await self.space(other).send(Anything.work, "wait", seconds, other)
            case "suspend":
                await self.suspend("q", None, answer=str, timeout=2.0, default="no")
            case "until":
                with self.until_interrupted():
                    await trio.sleep(seconds)
            case "background":
                self.start_soon(trio.sleep, seconds)
            case "dirty exit":
                try:
                    await trio.sleep(seconds)
                except trio.Cancelled as error:
                    raise Boom from error
            case _ if seconds:
                await trio.sleep(seconds)
        self.handled[message_id] += 1
        return message_id


WORK = ["wait", "wait", "crash", "reject", "ask", "send", "suspend", "until", "background", "dirty exit"]
VERBS = ["stop", "kill", "drain", "drain soon", "pause", "resume", "revive", "delete", "answer", "letters"]


@frozen
class Act:
    """One thing that somebody outside does."""

    at: float
    how: str
    name: str
    other: str
    what: str
    seconds: float
    # Seconds after which the caller is cancelled, seconds until it expires, and an id, each if given.
    patience: float | None
    expires: float | None
    message_id: str | None


SECONDS = st.sampled_from([0.0, 0.0, 0.5, 1.0, 3.0])
ACTS = st.builds(
    Act,
    at=SECONDS,
    how=st.sampled_from(["send", "send", "nowait", "ask", "ask", *VERBS]),
    name=st.sampled_from(NAMES),
    other=st.sampled_from(NAMES),
    what=st.sampled_from(WORK),
    seconds=SECONDS,
    patience=st.sampled_from([None, None, 0.0, 0.5, 1.0]),
    expires=st.sampled_from([None, None, None, 0.5, 1.0]),
    message_id=st.sampled_from([None, None, None, "one", "two"]),
)
OPTIONS = st.builds(
    SpaceOptions,
    mailbox_capacity=st.sampled_from([1, 2, 5]),
    overflow=st.sampled_from(Overflow),
    when_busy=st.sampled_from(WhenBusy),
    when_interrupted=st.sampled_from(WhenInterrupted),
    when_abandoned=st.sampled_from(WhenAbandoned),
    concurrency=st.just(1),
    idle_timeout=st.sampled_from([None, 0.5]),
    turn_timeout=st.sampled_from([None, 2.0]),
    restart_limit=st.sampled_from([RestartLimit(0, 1.0), RestartLimit(1, 1.0), RestartLimit(100, 1.0)]),
    backoff=st.sampled_from([None, lambda _: 1.0]),
    revive_after=st.sampled_from([None, 1.0]),
    max_attempts=st.sampled_from([1, 2]),
)


class Books(trio.abc.Instrument):
    """Checks the ledgers between any two steps of any task."""

    def __init__(self) -> None:
        self.runtime = None
        self.wrong: list[object] = []

    def after_task_step(self, task) -> None:
        if self.runtime is None or self.wrong:
            return
        shot = take(self.runtime._hub)
        for ledger in (shot.ledger, *(one.ledger for one in shot.spaces)):
            if ledger.accepted != sum(ledger.outcomes.values()) + ledger.pending or ledger.pending < 0:
                self.wrong.append(ledger)


async def do(runtime, act, answers):  # noqa: C901 (a list of calls)
    """Do one act, and note whether who waited for an answer got one."""
    space = runtime.space(act.name)
    if act.expires is not None:
        space = space.with_options(expires_after=act.expires)
    if act.message_id is not None:
        space = space.with_options(message_id=act.message_id)
    args = (act.what, act.seconds, act.other)
    with trio.CancelScope(deadline=inf if act.patience is None else trio.current_time() + act.patience) as scope:
        with suppress(NotAccepted, NotHandled, SuspensionClosed):
            match act.how:
                case "send":
                    await space.send(Anything.work, *args)
                case "nowait":
                    space.send_nowait(Anything.work, *args)
                case "ask":
                    await space.ask(Anything.work, *args)
                case "drain soon":
                    await space.drain(0.5)
                case "answer":
                    for one in await runtime.suspensions.list():
                        await runtime.suspensions.answer(one.id, "yes")
                case "letters":
                    letters = await runtime.dead_letters.list()
                    await runtime.dead_letters.resend(*(letter.message.id for letter in letters))
                case _:
                    await getattr(space, act.how)()
        answers.append("answered")
    if scope.cancelled_caught:
        answers.append("cancelled")


async def program(options, acts, books, *, one_lane, bound, end):
    """Run the acts against a runtime, let it end in one of three ways, and look at the books."""
    settled: Counter[str] = Counter()
    handled: Counter[str] = Counter()
    answers: list[str] = []

    class Kind(Anything, kind="kind"):
        pass

    Kind.options = options

    async def read(events):
        async for event in events:
            if isinstance(event, MessageSettled):
                settled[event.outcome] += 1

    config = RuntimeConfig(max_live_spaces=bound, drain_timeout=20.0)
    async with trio.open_nursery() as outer:
        async with open_runtime(Kind, deps=handled, one_lane=one_lane, config=config) as runtime:
            books.runtime = runtime
            events = runtime.events()
            outer.start_soon(read, await events.__aenter__())
            async with trio.open_nursery() as nursery:
                for act in acts:
                    await trio.sleep(act.at)
                    nursery.start_soon(do, runtime, act, answers)
                await trio.sleep(5)
                report = await runtime.drain(0.5 if end == "deadline" else None)
            await trio.testing.wait_all_tasks_blocked()
            ledger = (await runtime.snapshot()).ledger
            await events.__aexit__(None, None, None)
        outer.cancel_scope.cancel()
    assert not books.wrong, books.wrong
    assert len(answers) == len(acts)
    assert ledger.pending == sum(report.left.get(name, 0) for name in report.unstoppable)
    assert report.unstoppable == ()
    assert ledger.accepted == sum(ledger.outcomes.values())
    # Each end but "handled" is one event, and what was handled is what has returned.
    others = {outcome: count for outcome, count in ledger.outcomes.items() if count and outcome is not Outcome.HANDLED}
    assert others == dict(settled)
    assert ledger.outcomes[Outcome.HANDLED] == handled.total()


def run_program(options, acts, seed, **how):
    books = Books()
    with seed_schedule(seed):
        run_in_virtual_time(lambda: program(options, acts, books, **how), instruments=[books])


@pytest.mark.timeout(600)
@settings(max_examples=300, suppress_health_check=list(HealthCheck))
@given(
    options=OPTIONS,
    acts=st.lists(ACTS, min_size=1, max_size=20),
    seed=st.integers(0, 2**32),
    one_lane=st.booleans(),
    bound=st.sampled_from([1, 2, 100]),
    end=st.sampled_from(["drain", "deadline"]),
)
def test_M11_the_books_balance_at_every_tick_and_nobody_is_left_without_an_answer(
    options, acts, seed, one_lane, bound, end
):
    run_program(options, acts, seed, one_lane=one_lane, bound=bound, end=end)
