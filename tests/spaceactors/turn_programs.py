"""Random programs for turns, and who watches that never more of them run than may."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import asynccontextmanager, suppress
from functools import partial

import trio
from hypothesis import strategies as st

from spaceactors import (
    Actor,
    CapacityError,
    Limit,
    Limits,
    MemoryStore,
    NotAccepted,
    NotHandled,
    Priority,
    Reject,
    RestartLimit,
    Runtime,
    RuntimeConfig,
    SpaceOptions,
    SuspensionClosed,
    TurnTimeout,
    WhenAbandoned,
    WhenBusy,
    WhenInterrupted,
    handler,
)
from spaceactors._clock import TickClock
from spaceactors._runtime import kinds_of, open_hub
from spaceactors._snapshot import take
from supervisors import RateLimit
from supervisors.testing import seed_schedule
from tests.spaceactors.conftest import run_in_virtual_time
from tests.spaceactors.disks import Wall

NAMES = ("a-1", "a-2", "b-1", "c")


class Boom(Exception):
    pass


class Floor:
    """Knows which turns run code that does not wait, and in which spaces."""

    def __init__(self):
        self.running = {}
        # How many handlers have returned.
        self.handled = 0
        # Whether spaces leave memory while they wait for an answer.
        self.forgets = False
        # Names of steps that were finished, by message; those that ran again after that.
        self.stepped = set()
        self.repeated = []
        # How often each step came up in the last try of each message.
        self.counts = {}

    @asynccontextmanager
    async def working(self, turn):
        """A turn does something for which it needs a token; one that was cancelled meanwhile only ends."""
        await trio.lowlevel.checkpoint_if_cancelled()
        if turn is None:  # one of several tasks of it
            yield
            return
        self.running[turn] = self.running.get(turn, 0) + 1
        try:
            yield
        finally:
            self.running[turn] -= 1
            if not self.running[turn]:
                del self.running[turn]


class Plain(Actor, kind="player"):
    """Runs programs, given as JSON so that every store can keep them; two at once, for it has no state."""

    # It never crashes: a crash of one turn waits for the others of its space, which may wait for that space.
    options = SpaceOptions(mailbox_capacity=5, concurrency=2, throws=(TurnTimeout, ExceptionGroup, Boom))

    def __init__(self, floor: Floor) -> None:
        self.floor = floor

    def note(self):
        """Keep something, in those that have a state."""

    async def run(self, program, *, counted=True):
        turn = (self.id, self.message.id)
        for verb, *args in program:
            if verb in {"work", "spin"}:
                async with self.floor.working(turn if counted else None):
                    await trio.sleep(args[0] if args else 0)
            else:
                await getattr(self, f"do_{verb}")(turn, counted, *args)

    async def do_ask(self, turn, counted, target, called):
        with suppress(NotAccepted, NotHandled):
            await self.space(target).ask(HANDLERS[called[0]], json.dumps(called[1]))

    async def do_ask_within(self, turn, counted, seconds, target, program):
        with trio.move_on_after(seconds):
            await self.do_ask(turn, counted, target, ("play", program))

    async def do_both(self, turn, counted, one, other):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(self.run, one, counted=False))
            nursery.start_soon(partial(self.run, other, counted=False))

    async def do_stream(self, turn, counted, target, number, program):
        with suppress(NotAccepted, NotHandled):
            async with self.space(target).stream(Plain.talk, 20, json.dumps(program)) as items:
                async for item in items:
                    if item >= number:
                        break
                    if item % 4 == 0:
                        await self.run(program, counted=counted)

    async def do_follow(self, turn, counted, target, seconds):
        """Read what another space emits, for a while."""
        with trio.move_on_after(seconds):
            async with self.space(target).subscribe(int) as events:
                await anext(events)

    async def do_emit(self, turn, counted):
        self.emit(1, now=True)

    async def do_hold(self, turn, counted, names, program):
        async with self.limits.hold(*names):
            await self.run(program, counted=counted)

    async def do_step(self, turn, counted, name, limit, program):
        # Steps of one name are told apart by their count in one try.
        counts = self.floor.counts[self.message.id]
        counts[name] += 1
        key = (self.message.id, name, counts[name])

        async def step():
            if key in self.floor.stepped:
                self.floor.repeated.append(key)
            await self.run(program, counted=counted)
            return 1

        await self.step(name, step, limit=limit)
        self.floor.stepped.add(key)

    async def do_suspend(self, turn, counted):
        if self.floor.forgets and self.message.sender is not None:
            return  # a space that leaves memory with its question comes back as one that nobody waits for
        await self.suspend("q", None, answer=str, timeout=2.0, default="no")

    async def do_until(self, turn, counted, program):
        with self.until_interrupted():
            await self.run(program, counted=counted)

    async def do_end(self, turn, counted, how, target):
        with suppress(NotAccepted, NotHandled):
            await getattr(self.space(target), how)()

    async def do_send(self, turn, counted, target, program):
        await self.space(target).send(Plain.play, json.dumps(program))

    async def do_crash(self, turn, counted):
        raise Boom

    async def do_reject(self, turn, counted):
        raise Reject

    async def played(self, program):
        self.floor.counts[self.message.id] = Counter()
        await self.run(json.loads(program))
        self.note()
        self.floor.handled += 1
        return self.id

    @handler(max_attempts=2)
    async def play(self, program: str) -> str:
        return await self.played(program)

    @handler(limit="soft")
    async def play_held(self, program: str) -> str:
        return await self.played(program)

    @handler(timeout=1.5, limit=("hard", "soft"))
    async def play_timed(self, program: str) -> str:
        return await self.played(program)

    @handler(when_busy=WhenBusy.INTERRUPT, when_interrupted=WhenInterrupted.ROLL_BACK)
    async def play_now(self, program: str) -> str:
        return await self.played(program)

    @handler(when_busy=WhenBusy.INTERRUPT, when_interrupted=WhenInterrupted.COMMIT, timeout=4.0)
    async def play_half(self, program: str) -> str:
        return await self.played(program)

    @handler(when_busy=WhenBusy.LATEST, when_abandoned=WhenAbandoned.CANCEL)
    async def play_latest(self, program: str) -> str:
        return await self.played(program)

    @handler(when_busy=WhenBusy.REFUSE)
    async def play_alone(self, program: str) -> str:
        return await self.played(program)

    @handler(when_abandoned=WhenAbandoned.CANCEL)
    async def talk(self, number: int, program: str):
        self.floor.counts[self.message.id] = Counter()
        for item in range(number):
            if item % 8 == 0:
                await self.run(json.loads(program), counted=True)
            yield item
        self.note()


class Player(Plain, Actor[int], kind="player"):
    """One at a time, and each ends with a new state."""

    options = SpaceOptions(restart_limit=RestartLimit(1000, 1.0), backoff=None, mailbox_capacity=5)

    def note(self):
        self.state += 1


class Grouped(Player, kind="player"):
    """Those of ids such as `a-1` share the lane `a`; who rests leaves soon."""

    options = SpaceOptions(restart_limit=RestartLimit(1000, 1.0), backoff=None, mailbox_capacity=5, idle_timeout=0.5)

    @classmethod
    def group_of(cls, space_id: str, /) -> str | None:
        return space_id.split("-", maxsplit=1)[0] if "-" in space_id else None


HANDLERS = {
    name: getattr(Plain, name)
    for name in ("play", "play_held", "play_timed", "play_now", "play_half", "play_latest", "play_alone")
}

SECONDS = st.sampled_from([0.0, 0.0, 0.25, 0.5, 1.0])
PAUSES = st.sampled_from([0.0, 0.0, 0.0, 0.25, 0.5])
TARGETS = st.sampled_from(NAMES)
LIMITS = st.sampled_from([["soft"], ["hard"], ["hard", "soft"], ["rate"], ["rate", "soft"]])
# (Mapped, so that Hypothesis takes it for one kind of verb among others.)
LEAVES = st.one_of(
    *[st.tuples(st.just("work"), SECONDS)] * 5,
    st.tuples(st.just("spin")),
    st.tuples(st.just("emit")),
    st.tuples(st.sampled_from(["emit", "emit", "crash", "reject"])),
    st.tuples(st.just("send"), TARGETS, st.just([["work", 0.25]])),
).map(tuple)
LEAF_PROGRAMS = st.lists(LEAVES, min_size=1, max_size=3)


def calls(programs):
    """A handler with a program: who holds limits waits for nobody, so that none of those wait for each other."""
    free = st.tuples(st.sampled_from(["play", "play", "play_now", "play_half", "play_latest", "play_alone"]), programs)
    return st.one_of(free, free, st.tuples(st.sampled_from(["play_held", "play_timed"]), LEAF_PROGRAMS))


def grown(verbs, *, reads_on):
    """Programs of one storey more."""
    programs = st.lists(verbs, min_size=1, max_size=4)
    return st.one_of(
        LEAVES,
        st.tuples(st.just("ask"), TARGETS, calls(programs)),
        st.tuples(st.just("ask"), TARGETS, calls(programs)),
        st.tuples(st.just("ask_within"), SECONDS, TARGETS, programs),
        st.tuples(st.just("both"), programs, programs),
        st.tuples(st.just("stream"), TARGETS, st.sampled_from([0, 3, 30]), programs if reads_on else LEAF_PROGRAMS),
        st.tuples(st.just("follow"), TARGETS, SECONDS),
        st.tuples(st.just("hold"), LIMITS, LEAF_PROGRAMS),
        st.tuples(st.just("step"), st.sampled_from("xy"), st.sampled_from([[], ["soft"], ["hard"]]), LEAF_PROGRAMS),
        st.tuples(st.just("suspend")),
        st.tuples(st.just("until"), programs),
        # Who waits for the end of a space of several turns, one of which waits for him, is not told so.
        st.tuples(st.just("end"), st.sampled_from(["stop", "kill", "drain"] if reads_on else ["kill"]), TARGETS),
    ).map(tuple)


DEEDS = st.one_of(
    st.tuples(st.sampled_from(["stop", "kill", "drain", "pause", "resume", "delete"]), TARGETS),
    st.tuples(st.just("resize"), st.sampled_from(["turns", "turns", "spaces", "soft"]), st.integers(1, 3)),
    st.tuples(st.just("urgent"), SECONDS),
    st.tuples(st.just("answer")),
).map(tuple)


def acts(*, reads_on=True):
    """What is done from outside, each after so many seconds; `reads_on`: who reads a stream may wait for others."""
    verbs = grown(grown(LEAVES, reads_on=reads_on), reads_on=reads_on)
    asked = st.tuples(
        st.sampled_from(["send", "nowait", "ask", "ask", "stream"]),
        TARGETS,
        calls(st.lists(verbs, min_size=1, max_size=5)),
        st.sampled_from([None, None, None, 0.0, 0.5, 2.0]),  # seconds until who asks is gone
        st.sampled_from([None, None, None, 0.5]),  # seconds until it expires
        st.sampled_from([Priority.LOW, Priority.NORMAL, Priority.NORMAL, Priority.URGENT]),
    )
    return st.lists(st.tuples(PAUSES, st.one_of(asked, asked, asked, DEEDS)), min_size=3, max_size=15)


class Watch(trio.abc.Instrument):
    """Looks between any two steps of any task."""

    def __init__(self, floor):
        self.runtime = None
        self.floor = floor
        self.wrong = []
        self._held = 0

    def after_task_step(self, task):
        if self.runtime is None or self.wrong:
            return
        line = self.runtime._hub.turns
        if line.held > line.limit.tokens and line.held > self._held:
            self.wrong.append(f"{line.held} tokens of {line.limit.tokens} are held")
        if line.waiting and line.held < line.limit.tokens:
            self.wrong.append("a token is free, and somebody waits")
        if len(self.floor.running) > line.held:
            self.wrong.append(f"{line.held} tokens are held while these run: {sorted(self.floor.running)}")
        self._held = line.held
        shot = take(self.runtime._hub)
        for ledger in (shot.ledger, *(one.ledger for one in shot.spaces)):
            if ledger.accepted != sum(ledger.outcomes.values()) + ledger.pending or ledger.pending < 0:
                self.wrong.append(ledger)


async def call(runtime, how, name, called, patience, expires, priority):
    method, program = called
    space = runtime.space(name).with_options(priority=priority, expires_after=expires)
    text = json.dumps(program)
    with trio.move_on_after(float("inf") if patience is None else patience), suppress(NotAccepted, NotHandled):
        match how:
            case "send":
                await space.send(HANDLERS[method], text)
            case "nowait":
                space.send_nowait(HANDLERS[method], text)
            case "ask":
                await space.ask(HANDLERS[method], text)
            case "stream":
                async with space.stream(Plain.talk, 20, text) as items:
                    async for item in items:
                        if item % 7 == 0:
                            await trio.sleep(0.5)


async def deed(runtime, what, *args):
    with suppress(NotAccepted, SuspensionClosed):
        match what:
            case "resize":
                runtime.limits.resize(*args)
            case "urgent":
                with suppress(CapacityError):
                    async with runtime.limits.hold("soft", priority=Priority.URGENT):
                        await trio.sleep(args[0])
            case "answer":
                for one in await runtime.suspensions.list():
                    await runtime.suspensions.answer(one.id, "yes")
            case _:
                await getattr(runtime.space(args[0]), what)()


async def do(runtime, act):
    if act[0] in {"send", "nowait", "ask", "stream"}:
        await call(runtime, *act)
    else:
        await deed(runtime, *act)


async def perform(runtime, acts, floor, watch):
    """Run the acts, and see that everything comes to an end, soon, with nothing held."""
    watch.runtime = runtime
    async with trio.open_nursery() as nursery:
        for after, act in acts:
            await trio.sleep(after)
            nursery.start_soon(do, runtime, act)
        await trio.sleep(5)
        runtime.limits.resize("turns", 1)
        for name in NAMES:
            await runtime.space(name).resume()
    report = await runtime.drain(10_000.0)
    assert not watch.wrong, watch.wrong[0]
    assert report.unstoppable == ()
    assert report.seconds < 1_000, "something waited for ever"
    statistics = runtime.limits.statistics()
    for name in ("turns", "soft", "hard"):
        assert (statistics[name].held, statistics[name].waiting) == (0, 0), name
    ledger = (await runtime.snapshot()).ledger
    assert ledger.accepted == sum(ledger.outcomes.values()) + ledger.pending
    assert not floor.running
    return ledger


@asynccontextmanager
async def open_all(kind, *, deps, limits, config, one_lane=False, store=None):
    """Open a runtime, on a disk whose wall clock goes by virtual time if there is one."""
    kinds, clock = kinds_of([kind], deps_given=True), TickClock if store is None else Wall
    store = MemoryStore() if store is None else store
    async with open_hub(
        Runtime, kinds, deps, store=store, limits=Limits(limits), config=config, one_lane=one_lane, clock=clock
    ) as runtime:
        yield runtime


def config(turns, spaces=10_000):
    return RuntimeConfig(max_turns=turns, max_live_spaces=spaces)


def run_watched(main, floor, seed):
    """Run an async function on virtual time under a schedule, with somebody who looks between any two steps."""
    watch = Watch(floor)
    with seed_schedule(seed):
        return run_in_virtual_time(lambda: main(watch), instruments=[watch])


def limits():
    """A limit that urgent work takes away, one that nobody does, and a rate."""
    return [Limit("soft", 1, preemptible=True), Limit("hard", 1), RateLimit("rate", 3, per=1.0)]
