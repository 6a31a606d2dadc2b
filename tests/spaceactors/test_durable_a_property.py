"""Laws 2 and 3 on a disk, whatever happens: random programs beside crashes, outages and a disk that takes its time.

A message that was accepted ends once: in the state, or in one event. What was refused leaves nothing. What was lost on
the way is not known to whoever called, and happened once or not at all.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from contextlib import suppress
from math import inf
from pathlib import Path

import pytest
import trio
from attrs import define, field, frozen
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spaceactors import (
    Actor,
    MessageSettled,
    NotAccepted,
    NotHandled,
    Overflow,
    Reject,
    RestartLimit,
    RuntimeClosed,
    SpaceOptions,
    SpaceQuarantined,
    StoreError,
    SuspensionClosed,
    WhenAbandoned,
    WhenBusy,
    WhenInterrupted,
    handler,
)
from spaceactors._snapshot import take
from supervisors.testing import seed_schedule
from tests.spaceactors.conftest import run_in_virtual_time
from tests.spaceactors.services import SlowDisk, service, watching

NAMES = "abc"


class Boom(Exception):
    pass


@define
class World:
    """What the program did outside of its stores."""

    # Steps that have returned to their turns; those among them that ran again.
    stepped: set[str] = field(factory=set)
    again: list[str] = field(factory=list)


class Anything(Actor[tuple[str, ...]]):
    """Does one thing of many; its state lists what was committed, and so does its history."""

    def __init__(self, world: World) -> None:
        self.world = world

    @handler
    async def work(self, tag: str, what: str, seconds: float, other: str) -> str:  # noqa: C901 (a list of misdeeds)
        match what:
            case "crash":
                await trio.sleep(seconds)
                raise Boom
            case "reject":
                raise Reject
            case "ask":
                await self.space(other).ask(Anything.work, f"{tag}?", "wait", seconds, other)
            case "send":
                for number in range(3):
                    await self.space(other).send(Anything.work, f"{tag}/{number}", "wait", seconds, other)
            case "suspend":
                await self.suspend("q", None, answer=str, timeout=2.0, default="no")
            case "step":
                await self.step("one", self.effect, tag)
                self.world.stepped.add(tag)
                await trio.sleep(seconds)
            case "timer":
                self.schedule(tag, Anything.work, f"{tag}@", "wait", 0.0, other, after=seconds)
            case "flaky":
                if self.message.attempt == 1:
                    raise Boom
            case _ if seconds:
                await trio.sleep(seconds)
        self.state = (*self.state, tag)
        self.history.append(tag)
        return tag

    async def effect(self, tag: str) -> str:
        if tag in self.world.stepped:
            self.world.again.append(tag)
        await trio.sleep(0.1)
        return tag


WORK = ["wait", "wait", "crash", "reject", "ask", "send", "suspend", "step", "timer", "flaky"]
VERBS = ["stop", "kill", "drain", "drain soon", "pause", "resume", "revive", "answer", "delete", "end", "end"]
WORLD = ["reopen", "full", "empty", "unreadable", "slow", "quick", "torn"]


@frozen
class Act:
    """One thing that somebody outside does."""

    at: float
    how: str
    name: str
    other: str
    what: str
    seconds: float
    # Seconds after which the caller is cancelled, seconds until it expires, and whether it has an id.
    patience: float | None
    expires: float | None
    named: bool


SECONDS = st.sampled_from([0.0, 0.0, 0.5, 1.0, 3.0])
ACTS = st.builds(
    Act,
    at=SECONDS,
    how=st.sampled_from(["send", "send", "send", "nowait", "nowait", "ask", "ask", *VERBS, *WORLD, "reopen", "empty"]),
    name=st.sampled_from(NAMES),
    other=st.sampled_from(NAMES),
    what=st.sampled_from(WORK),
    seconds=SECONDS,
    patience=st.sampled_from([None, None, 0.0, 0.5, 1.0]),
    expires=st.sampled_from([None, None, None, 0.5, 1.0]),
    named=st.booleans(),
)
OPTIONS = st.builds(
    SpaceOptions,
    mailbox_capacity=st.sampled_from([1, 2, 5]),
    overflow=st.sampled_from(Overflow),
    when_busy=st.sampled_from(WhenBusy),
    when_interrupted=st.sampled_from(WhenInterrupted),
    when_abandoned=st.sampled_from(WhenAbandoned),
    idle_timeout=st.sampled_from([None, 0.0, 0.5]),
    turn_timeout=st.sampled_from([None, 2.0]),
    restart_limit=st.sampled_from([RestartLimit(0, 1.0), RestartLimit(1, 1.0), RestartLimit(100, 1.0)]),
    backoff=st.sampled_from([None, lambda _: 1.0]),
    revive_after=st.sampled_from([None, 1.0]),
    max_attempts=st.sampled_from([1, 2]),
    max_recoveries=st.sampled_from([1, 100]),
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


@define
class Oracle:
    """What callers were told, and what events told."""

    # Tags by what their callers know of them.
    accepted: list[str] = field(factory=list)
    handled: list[str] = field(factory=list)
    refused: list[str] = field(factory=list)
    ended_otherwise: list[str] = field(factory=list)
    ids: dict[str, str] = field(factory=dict)
    settled: Counter[str] = field(factory=Counter)
    # Ids of dead letters, and tags of what may expire.
    letters: set[str] = field(factory=set)
    expiring: set[str] = field(factory=set)
    # Whether a space was deleted: then nobody knows what was in it, only that nobody is left waiting.
    deleted: bool = False

    def check(self, states: Counter[str]) -> None:
        doubled = [tag for tag, count in states.items() if count > 1]
        assert not doubled, f"twice: {doubled}"
        for tag in self.accepted:
            ends = states[tag] + self.settled[self.ids[tag]]
            if ends == 0 and (self.ids[tag] in self.letters or tag in self.expiring):
                continue  # it ended as a later service opened, when nobody could listen
            assert ends == 1, f"{tag} was accepted and has {ends} ends"
        assert not [tag for tag in self.handled if not states[tag]], "answered and lost"
        assert not [tag for tag in self.refused if states[tag]], "refused and done"
        assert not [tag for tag in self.ended_otherwise if states[tag]], "ended otherwise and done"


async def do(runtime, act, tag, oracle):  # noqa: C901 (a list of calls)
    """Do one act, and note what the caller was told."""
    space = runtime.space(act.name)
    if act.expires is not None:
        space = space.with_options(expires_after=act.expires)
        oracle.expiring.add(tag)
    if act.named:
        space = space.with_options(message_id=f"id-{tag}")
    args = (tag, act.what, act.seconds, act.other)
    with trio.CancelScope(deadline=inf if act.patience is None else trio.current_time() + act.patience):
        try:
            match act.how:
                case "send":
                    oracle.ids[tag] = await space.send(Anything.work, *args)
                    oracle.accepted.append(tag)
                case "nowait":
                    space.send_nowait(Anything.work, *args)
                case "ask":
                    assert await space.ask(Anything.work, *args) == tag
                    oracle.handled.append(tag)
                case "drain soon":
                    await space.drain(0.5)
                case "answer":
                    for one in await runtime.suspensions.list():
                        with suppress(SuspensionClosed):
                            await runtime.suspensions.answer(one.id, "yes")
                case _:
                    await getattr(space, act.how)()
        except (RuntimeClosed, SpaceQuarantined):
            pass  # nobody knows: what an asker waits for stays when a space is quarantined
        except NotAccepted:
            oracle.refused.append(tag)
        except NotHandled:
            oracle.ended_otherwise.append(tag)


async def change_world(runtime, disk, act, books):
    match act.how:
        case "reopen":
            books.runtime = None
            # What is on its way just then is written, or not.
            full, disk.full = disk.full, disk.torn
            unreadable, disk.unreadable = disk.unreadable, False
            await runtime.reopen()
            disk.full, disk.unreadable = full, unreadable
            books.runtime = runtime
        case "full":
            disk.full = True
        case "empty":
            disk.full = disk.unreadable = False
        case "unreadable":
            disk.unreadable = True
        case "slow":
            disk.seconds = 0.3
        case "quick":
            disk.seconds = 0.0
        case "torn":
            disk.torn = not disk.torn


async def come_to_rest(runtime, disk):
    """Heal everything, and see that all that was accepted ends."""
    disk.full = disk.unreadable = False
    disk.seconds = 0.0
    await runtime.advance(20)
    for _ in range(30):
        for name in NAMES:
            await runtime.space(name).resume()
            await runtime.space(name).revive()
        with suppress(StoreError):
            for one in await runtime.suspensions.list():
                with suppress(SuspensionClosed):
                    await runtime.suspensions.answer(one.id, "late")
        await runtime.advance(10)
        if not (await runtime.snapshot()).ledger.pending and not disk.waiting(("kind",), 0, 1):
            return
    raise AssertionError((await runtime.snapshot()).spaces)


async def one_life(acts, disk, kind, oracle, books, *, number, last, **how):
    """Run acts against a service, and let it come to rest, or cut it off by a deadline that is too short."""
    async with service(disk, kind, **how) as runtime, watching(runtime, MessageSettled) as settled:
        books.runtime = runtime
        async with trio.open_nursery() as calls:
            for place, act in enumerate(acts):
                await trio.sleep(act.at)
                if act.how in WORLD:
                    await change_world(runtime, disk, act, books)
                else:
                    calls.start_soon(do, runtime, act, f"t{number}-{place}", oracle)
            if last:
                await trio.sleep(5)
                await come_to_rest(runtime, disk)
                calls.cancel_scope.deadline = trio.current_time() + 1
            else:
                await runtime.drain(0.5)
                calls.cancel_scope.deadline = trio.current_time() + 10
        assert not calls.cancel_scope.cancelled_caught, "somebody waits for ever"
        if last and not oracle.deleted:
            found = Counter()
            for name in NAMES:
                state = await runtime.space(name).state()
                assert list(state) == list(await runtime.space(name).history.recent(1000))
                found.update(state)
            oracle.letters = {one.message.id for one in await runtime.dead_letters.list(limit=10_000)}
        await trio.testing.wait_all_tasks_blocked()
        books.runtime = None
    oracle.settled.update(one.message_id for one in settled)
    if last and not oracle.deleted:
        oracle.check(found)


def lives_of(acts):
    """Part acts into the lives of services, which end where an act says so."""
    lives = [[]]
    for act in acts:
        if act.how == "end":
            lives.append([])
        else:
            lives[-1].append(act)
    return lives


async def program(options, acts, books, disk, *, one_lane, bound, world):
    oracle = Oracle(deleted=any(act.how == "delete" for act in acts))

    class Kind(Anything, kind="kind"):
        pass

    Kind.options = options
    lives = lives_of(acts)
    how = {"deps": world, "one_lane": one_lane, "max_live": bound}
    for number, some in enumerate(lives):
        # A service begins with a disk that works.
        disk.full = disk.unreadable = False
        last = number == len(lives) - 1
        await one_life(some, disk, Kind, oracle, books, number=number, last=last, **how)
    assert not world.again, f"finished steps ran again: {world.again}"
    assert not books.wrong, books.wrong


def run_program(options, acts, seed, **how):
    books = Books()
    with tempfile.TemporaryDirectory() as folder, seed_schedule(seed):
        disk = SlowDisk(Path(folder) / "spaces.db")
        run_in_virtual_time(lambda: program(options, acts, books, disk, world=World(), **how), instruments=[books])


@pytest.mark.timeout(600)
@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(
    options=OPTIONS,
    acts=st.lists(ACTS, min_size=1, max_size=20),
    seed=st.integers(0, 2**32),
    one_lane=st.booleans(),
    bound=st.sampled_from([1, 2, 100]),
)
def test_M11_D1_D6_what_was_accepted_ends_once_over_crashes_and_outages(options, acts, seed, one_lane, bound):
    run_program(options, acts, seed, one_lane=one_lane, bound=bound)
