"""One life of the service in a kill run: customers who talk, clerks who answer, and watchers who write down faults."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import trio
from attrs import define, evolve, field, frozen

from spaceactors import (
    MessageSettled,
    NotHandled,
    Outcome,
    Rejected,
    Runtime,
    RuntimeConfig,
    SpaceCrashed,
    SpaceInQuarantine,
    StoreError,
    open_runtime,
)
from tests.durable.plan import Said, conversations
from tests.durable.points import reach
from tests.durable.shop import Customer, Kitchen, Tab, token
from tests.durable.site import Site

# So many customers talk at once.
AT_ONCE = 12
# Nothing in a life takes as long: whoever waits longer waits for ever.
STUCK_AFTER = 300.0
# How a process ends that could not reach its store when it began.
UNOPENED = 3


@frozen
class Acks:
    """What earlier lives have acknowledged."""

    # By message: the reply, the reason with "rejected", or None for one that was only sent.
    said: Mapping[str, tuple[str, Any]]
    # By question.
    answered: Mapping[str, str]
    # By space.
    touched: Mapping[str, list[str]]

    @classmethod
    def of(cls, site: Site) -> Acks:
        """Read them."""
        said: dict[str, tuple[str, Any]] = {}
        answered: dict[str, str] = {}
        touched: dict[str, list[str]] = {}
        for what, subject, *rest in site.acks.read():
            match what:
                case "answered":
                    answered[subject] = rest[0]
                case "touched":
                    touched.setdefault(subject, []).append(rest[0])
                case _:
                    if what != "sent" or subject not in said:
                        said[subject] = (what, *rest) if rest else (what, None)
        return cls(said, answered, touched)


@define
class Life:
    """What the tasks of one life share."""

    site: Site
    runtime: Runtime[Any]
    acks: Acks
    # Spaces that have at least one acknowledged message.
    begun: list[str] = field(factory=list)
    # What customers wait for now.
    waiting: dict[str, str] = field(factory=dict)

    def fault(self, text: str) -> None:
        """Write down what must not be."""
        self.site.faults.add(text)


async def persist(life: Life, call: Any) -> Any:
    """Call until the store is there; a refused call may be repeated."""
    while True:
        try:
            return await call()
        except StoreError as error:
            if not life.site.on_a_server:
                life.fault(f"the store failed: {error!r}")
            await trio.sleep(0.02)


async def outcome_of(life: Life, said: Said, *, asked: bool) -> tuple[str, Any]:
    """Send or ask what a customer says; return what is acknowledged."""
    life.waiting[said.key] = "ask" if asked else "send"
    try:
        return await _outcome_of(life, said, asked=asked)
    finally:
        del life.waiting[said.key]


async def _outcome_of(life: Life, said: Said, *, asked: bool) -> tuple[str, Any]:
    alice = life.runtime.space(said.space, Customer).with_options(message_id=said.key)
    if not asked:
        await persist(life, partial(alice.send, Customer.say, said.index, said.text))
        reach("accepted")
        return "sent", None
    try:
        reply = await persist(life, partial(alice.ask, Customer.say, said.index, said.text))
    except Rejected as refused:
        reply = ("rejected", refused.reason)
    except NotHandled as error:
        life.fault(f"{said.key} was not handled: {error!r}, because of {error.__cause__!r}")
        reply = ("lost", repr(error))
    else:
        reply = ("replied", reply)
    reach("replied")
    return reply


async def talk(life: Life, lines: tuple[Said, ...], *, repeat: bool) -> None:
    """Say what is not acknowledged yet; perhaps what was acknowledged last once more, and compare."""
    known = [said for said in lines if said.key in life.acks.said]
    if repeat and known:
        was = life.acks.said[known[-1].key]
        now = await outcome_of(life, known[-1], asked=True)
        if was[0] != "sent" and now != was:
            life.fault(f"{known[-1].key} was acknowledged with {was}, repeated it gets {now}")
    if known:
        life.begun.append(lines[0].space)
    for said in lines[len(known) :]:
        what, value = await outcome_of(life, said, asked=said.asked)
        life.site.acks.add(what, said.key, value)
        reach("noted")
    life.begun.append(lines[0].space)


async def all_talk(life: Life) -> None:
    """Have a dozen customers talk at a time, until all have."""
    chance = random.Random()
    waiting = iter(conversations(life.site.first, life.site.spaces).values())

    async def customer() -> None:
        for lines in waiting:
            await talk(life, lines, repeat=chance.random() < 0.2)

    async with trio.open_nursery() as nursery:
        for _ in range(AT_ONCE):
            nursery.start_soon(customer)


async def answer_all(life: Life) -> None:
    """Answer every question once; one that was answered must not come up again."""
    answered = dict(life.acks.answered)
    while True:
        for one in await persist(life, life.runtime.suspensions.list):
            if one.id in answered:
                life.fault(f"{one.id} was answered and asks again")
            value = token()
            await persist(life, partial(life.runtime.suspensions.answer, one.id, value))
            reach("answering")
            answered[one.id] = value
            life.site.acks.add("answered", one.id, value)
        await trio.sleep(0.003)


async def touch(life: Life, store: Any) -> None:
    """Change states from outside, now and then."""
    chance = random.Random()
    while True:
        await trio.sleep(chance.uniform(0.0, 0.02))
        if not life.begun:
            continue
        space, mark = chance.choice(life.begun), token()
        life.site.tries.add("touching", space, mark)
        await persist(life, partial(store.update, life.runtime.space(space, Customer), partial(_touched, mark=mark)))
        reach("touching")
        life.site.acks.add("touched", space, mark)


def _touched(tab: Tab, mark: str) -> Tab:
    return evolve(tab, touched=(*tab.touched, mark))


async def watch_ledger(life: Life) -> None:
    """Hold the ledger to its law."""
    while True:
        ledger = (await life.runtime.snapshot()).ledger
        if ledger.accepted != sum(ledger.outcomes.values()) + ledger.pending:
            life.fault(f"the ledger is wrong: {ledger}")
        await trio.sleep(0.005)


async def watch_events(life: Life) -> None:
    """See that no message ends but handled or rejected, and no actor crashes."""
    async with life.runtime.events() as events:
        async for event in events:
            lost = isinstance(event, MessageSettled) and event.outcome is not Outcome.REJECTED
            if lost or isinstance(event, SpaceCrashed | SpaceInQuarantine):
                life.fault(f"this must not happen: {event!r}")


async def wait_settled(life: Life) -> None:
    """Wait until nothing is pending."""
    while (await life.runtime.snapshot()).ledger.pending or await persist(life, life.runtime.suspensions.list):  # noqa: ASYNC110 (nobody tells)
        await trio.sleep(0.005)


@asynccontextmanager
async def opened(site: Site) -> AsyncIterator[tuple[Life, Any]]:
    """Open the service with its watchers."""
    store = site.open_store()
    config = RuntimeConfig(max_live_spaces=60)
    async with AsyncExitStack() as stack:
        opening = open_runtime(Customer, Kitchen, deps=site, store=store, config=config)
        try:
            runtime = await stack.enter_async_context(opening)
        except StoreError as error:
            raise SystemExit(UNOPENED) from error
        life = Life(site, runtime, Acks.of(site))
        async with trio.open_nursery() as watchers:
            for watch in (watch_ledger, watch_events, watch_patience, answer_all):
                watchers.start_soon(watch, life)
            yield life, store
            watchers.cancel_scope.cancel()


async def watch_patience(life: Life) -> None:
    """Say what is going on when it goes on for too long."""
    await trio.sleep(STUCK_AFTER)
    snapshot = await life.runtime.snapshot()
    busy = [one for one in snapshot.spaces if one.ledger.pending]
    questions = await life.runtime.suspensions.list()
    life.fault(
        f"not done after {STUCK_AFTER} s: waiting for {life.waiting}, pending in {busy}, questions {questions},"
        f" {snapshot.ledger}"
    )
    raise trio.TooSlowError


async def live(site: Site) -> None:
    """Live until everything is said and done, or killed."""
    async with opened(site) as (life, store):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(touch, life, store)
            await all_talk(life)
            nursery.cancel_scope.cancel()
        await wait_settled(life)
    report = life.runtime.report
    if report is not None and not report.clean:
        life.fault(f"the drain was not clean: {report}")
