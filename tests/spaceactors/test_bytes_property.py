"""What is counted in bytes is what waits, after anything that may happen to a mailbox, under any schedule."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spaceactors import (
    Actor,
    NotAccepted,
    NotHandled,
    Overflow,
    Reject,
    RestartLimit,
    SpaceOptions,
    SqliteStore,
    WhenBusy,
    handler,
)
from spaceactors._weighed import Weighed
from supervisors.testing import seed_schedule
from tests.spaceactors.conftest import run_in_virtual_time
from tests.spaceactors.scenes import opened, settled

NAMES = "ab"
MOST = 600
PATIENCE = {"mailbox_capacity": 6, "max_mailbox_bytes": MOST, "restart_limit": RestartLimit(50, 1.0)}


class Anything(Actor[int], kind="anything"):
    options = SpaceOptions(**PATIENCE, backoff=None)

    @handler(max_attempts=2)
    async def work(self, text: str, what: str) -> None:
        match what:
            case "crash":
                raise ValueError
            case "reject":
                raise Reject
            case "sleep":
                await trio.sleep(3)
            case "tell":
                for name in NAMES:
                    await self.space(name).send(type(self).work, text, "")
            case "ask":
                await self.space("b" if self.id == "a" else "a").ask(type(self).work, text, "")
            case "later":
                self.schedule("tick", type(self).work, text, "", after=2)
        self.state += 1

    @handler(when_busy=WhenBusy.LATEST)
    async def newest(self, text: str, what: str) -> None:
        self.state += 1

    @handler(when_busy=WhenBusy.INTERRUPT)
    async def at_once(self, text: str, what: str) -> None:
        self.state += 1


class Oldest(Anything, kind="oldest"):
    options = SpaceOptions(**PATIENCE, backoff=None, overflow=Overflow.DROP_OLDEST)


class Newest(Anything, kind="newest"):
    options = SpaceOptions(**PATIENCE, overflow=Overflow.DROP_NEWEST)


class Refusing(Anything, kind="refusing"):
    options = SpaceOptions(**PATIENCE, backoff=None, overflow=Overflow.REFUSE)


names = st.sampled_from(NAMES)
calls = st.tuples(
    st.sampled_from(["send", "send", "send", "nowait", "ask", "cancelled", "expiring", "identified"]),
    names,
    st.sampled_from(["work", "work", "work", "newest", "at_once"]),
    st.integers(0, 500),
    st.sampled_from(["", "", "crash", "reject", "sleep", "sleep", "tell", "ask", "later"]),
)
controls = st.tuples(st.sampled_from(["pause", "resume", "stop", "kill", "delete", "revive"]), names)
pauses = st.tuples(st.just("wait"), st.sampled_from([0.0, 0.5, 2.5, 10.0]))
programs = st.lists(st.one_of(calls, calls, calls, controls, pauses), max_size=25)


def check(runtime):
    for space in runtime._hub.live.values():
        assert isinstance(space.mailbox, Weighed)
        assert space.mailbox.bytes == sum(message.extra.size for message in space.mailbox)
        assert space.mailbox.bytes <= 2 * MOST + MOST  # what turns send, and one message in an empty mailbox


async def act(runtime, nursery, number, act):
    match act:
        case ("wait", seconds):
            await trio.sleep(seconds)
        case ("pause" | "resume" | "stop" | "kill" | "delete" | "revive" as verb, name):
            nursery.start_soon(getattr(runtime.space(name), verb))
        case (how, name, call, length, what):
            nursery.start_soon(make, runtime, how, name, (call, "x" * length, what), number)


async def make(runtime, how, name, call, number):
    space = runtime.space(name)
    verb = getattr(next(iter(runtime.kinds.values())), call[0])
    with suppress(NotAccepted, NotHandled):
        match how:
            case "nowait":
                space.send_nowait(verb, *call[1:])
            case "ask":
                await space.ask(verb, *call[1:])
            case "cancelled":
                with trio.move_on_after(1):
                    await space.ask(verb, *call[1:])
            case "expiring":
                await space.with_options(expires_after=1.5).send(verb, *call[1:])
            case "identified":
                await space.with_options(message_id=f"m{number % 3}").send(verb, *call[1:])
            case _:
                await space.send(verb, *call[1:])


async def run(cls, program, store):
    async with opened(cls, store=store) as runtime:
        async with trio.open_nursery() as nursery:
            for number, one in enumerate(program):
                await act(runtime, nursery, number, one)
                check(runtime)
                await settled()
                check(runtime)
            for name in NAMES:
                nursery.start_soon(runtime.space(name).resume)
            await trio.sleep(1000)
            check(runtime)
            nursery.cancel_scope.cancel()
        ledger = (await runtime.snapshot()).ledger
        assert ledger.accepted == sum(ledger.outcomes.values()) + ledger.pending
        for space in runtime._hub.live.values():
            assert space.quarantined or (space.mailbox.bytes, space.line) == (0, None)


@pytest.mark.parametrize("cls", [Anything, Oldest, Newest, Refusing])
@given(programs, st.integers(0, 2**32 - 1))
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_bytes_are_those_of_what_waits_whatever_happens(cls, program, seed):
    with seed_schedule(seed):
        run_in_virtual_time(lambda: run(cls, program, None))


@given(programs, st.integers(0, 2**32 - 1))
@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
def test_bytes_are_those_of_what_waits_on_a_disk_too(program, seed):
    with tempfile.TemporaryDirectory() as folder, seed_schedule(seed):
        disk = SqliteStore(Path(folder) / "any.db")
        disk.inline = True
        run_in_virtual_time(lambda: run(Anything, program, disk))
