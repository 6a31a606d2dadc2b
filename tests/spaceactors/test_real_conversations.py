"""Thousands of real conversations at once: each keeps its order, and the books are exact, whatever happens to them."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
import trio

from examples.coffee_shop import CoffeeShop
from spaceactors import (
    Actor,
    ActorCrashed,
    MailboxFull,
    MessageReturned,
    Outcome,
    Rejected,
    RestartLimit,
    RuntimeClosed,
    RuntimeConfig,
    SpaceOptions,
    handler,
    open_runtime,
)

ROOT = Path(__file__).resolve().parents[2]
OWN = ROOT / "examples" / "data" / "conversations.jsonl"
REAL = ROOT.parent / "shared" / "data" / "coffee-dialogs.jsonl"
MOST_SPACES = 2_500

pytestmark = pytest.mark.timeout(240)


@cache
def lines() -> tuple[tuple[str, str], ...]:
    """What customers say, as (conversation, text), in the order in which it was said."""
    if REAL.exists():
        rows = [json.loads(line) for line in REAL.read_text(encoding="utf-8").splitlines()]
        said = [(row["space"], row["text"]) for row in rows if row["speaker"] == "user"]
    else:
        rows = [json.loads(line) for line in OWN.read_text(encoding="utf-8").splitlines()]
        said = [(row["space"], row["args"][0]) for row in rows]
    chosen = set(list(dict.fromkeys(space for space, _ in said))[:MOST_SPACES])
    return tuple((space, text) for space, text in said if space in chosen)


def by_space() -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for space, text in lines():
        found[space].append(text)
    return found


class Crash(Exception):
    pass


class Recorder(Actor[tuple[str, ...]]):
    """Writes down what was said to it; crashes in every so manieth turn of the whole shop."""

    options = SpaceOptions(mailbox_capacity=4, backoff=None, restart_limit=RestartLimit(1000, 1.0))

    def __init__(self, shop: Shop) -> None:
        self.shop = shop

    @handler
    async def say(self, text: str) -> int:
        shop = self.shop
        shop.turns += 1
        crash = shop.crash_every and shop.turns % shop.crash_every == 0
        assert self.id not in shop.inside  # one at a time
        shop.inside.add(self.id)
        try:
            self.state = (*self.state, text)
            await trio.sleep(shop.seconds)
            if crash:
                shop.crashed[self.id].append(text)
                raise Crash(text)
        finally:
            shop.inside.discard(self.id)
        return len(self.state)


class Shop:
    def __init__(self, crash_every=0, seconds=0.0):
        self.crash_every = crash_every
        self.seconds = seconds
        self.turns = 0
        self.inside = set()
        self.crashed = defaultdict(list)


class Persistent(Recorder):
    """Tries a message again after a crash."""

    options = SpaceOptions(mailbox_capacity=4, backoff=None, restart_limit=RestartLimit(1000, 1.0), max_attempts=10)


async def say_all(runtime, actor, *, at_once=50):
    """Have many senders walk through all conversations; each conversation has one sender, so its order is known."""
    queues = [[] for _ in range(at_once)]
    for number, (space, texts) in enumerate(by_space().items()):
        queues[number % at_once].append((space, texts))

    async def customer(queue):
        # Sentence by sentence through all conversations of this sender, so that they run at the same time.
        for turn in range(max((len(texts) for _, texts in queue), default=0)):
            for space, texts in queue:
                if turn < len(texts):
                    await runtime.space(space).send(actor.say, texts[turn])

    async with trio.open_nursery() as nursery:
        for queue in queues:
            nursery.start_soon(customer, queue)


def exact(ledger, **expected):
    assert ledger.accepted == sum(ledger.outcomes.values()) + ledger.pending
    counted = {outcome.value: count for outcome, count in ledger.outcomes.items() if count}
    assert counted | ({"pending": ledger.pending} if ledger.pending else {}) == expected


def is_subsequence(part, whole):
    rest = iter(whole)
    return all(one in rest for one in part)


async def test_M1_each_of_thousands_of_conversations_keeps_its_order():
    shop = Shop()
    async with open_runtime(Recorder, deps=shop) as runtime:
        await say_all(runtime, Recorder)
        report = await runtime.drain()
        assert report.clean
        assert set(report.finished) == set(by_space())
        exact((await runtime.snapshot()).ledger, handled=len(lines()))
        for space, texts in by_space().items():
            assert await runtime.space(space).state() == tuple(texts)


async def test_M11_a_crash_in_every_seventh_turn_costs_those_messages_and_nothing_else():
    shop = Shop(crash_every=7)
    async with open_runtime(Recorder, deps=shop) as runtime:
        await say_all(runtime, Recorder)
        await runtime.drain()
        failed = sum(map(len, shop.crashed.values()))
        assert failed == len(lines()) // 7
        exact((await runtime.snapshot()).ledger, handled=len(lines()) - failed, failed=failed)
        for space, texts in by_space().items():
            kept = await runtime.space(space).state()
            assert Counter(texts) == Counter(kept) + Counter(shop.crashed[space])
            assert is_subsequence(kept, texts)


async def test_B11_with_tries_left_a_crash_in_every_seventh_turn_costs_nothing_and_changes_no_order():
    shop = Shop(crash_every=7)
    async with open_runtime(Persistent, deps=shop) as runtime:
        await say_all(runtime, Persistent)
        await runtime.drain()
        exact((await runtime.snapshot()).ledger, handled=len(lines()))
        for space, texts in by_space().items():
            assert await runtime.space(space).state() == tuple(texts)


async def test_S1_a_drain_in_the_middle_finishes_what_was_accepted_and_refuses_the_rest():
    shop = Shop(seconds=1.0)
    accepted = defaultdict(list)
    refused = 0
    async with open_runtime(Recorder, deps=shop) as runtime, trio.open_nursery() as nursery:

        async def customer(space, texts):
            nonlocal refused
            for number, text in enumerate(texts):
                try:
                    await runtime.space(space).send(Recorder.say, text)
                except RuntimeClosed:
                    refused += len(texts) - number
                    return
                accepted[space].append(text)
                await trio.sleep(0.7)

        for space, texts in by_space().items():
            nursery.start_soon(customer, space, texts)
        await trio.sleep(2)
        report = await runtime.drain()
        assert report.clean
        await trio.testing.wait_all_tasks_blocked()
        await trio.sleep(1)
        count = sum(map(len, accepted.values()))
        assert count + refused == len(lines())
        assert refused
        exact((await runtime.snapshot()).ledger, handled=count)
        for space, texts in accepted.items():
            assert await runtime.space(space).state() == tuple(texts)


async def test_S19_a_drain_with_a_short_deadline_returns_what_it_cannot_finish_and_tells_how_much():
    shop = Shop(seconds=1.0)
    async with open_runtime(Recorder, deps=shop) as runtime:
        count = 0
        for space, texts in by_space().items():
            for text in texts[:4]:
                try:
                    runtime.space(space).send_nowait(Recorder.say, text)
                except MailboxFull:
                    continue
                count += 1
        report = await runtime.drain(1.5)
        ledger = (await runtime.snapshot()).ledger
        returned = sum(report.left.values())
        exact(ledger, handled=count - returned, returned=returned)
        assert report.seconds == 1.5
        for space, texts in by_space().items():
            assert await runtime.space(space).state() == tuple(texts[:1])


async def test_T9_with_room_for_two_hundred_live_spaces_everything_is_handled_in_order():
    shop = Shop()
    most = 0
    async with open_runtime(Recorder, deps=shop, config=RuntimeConfig(max_live_spaces=200)) as runtime:
        done = False

        async def watch():
            nonlocal most
            while not done:
                most = max(most, len(runtime._hub.live))
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            await say_all(runtime, Recorder)
            done = True
        await runtime.drain()
        assert most <= 200
        exact((await runtime.snapshot()).ledger, handled=len(lines()))
        for space, texts in by_space().items():
            assert await runtime.space(space).state() == tuple(texts)


async def test_A2_every_customer_of_the_coffee_shop_gets_an_answer_to_every_sentence():
    answers: Counter[str] = Counter()

    async with open_runtime(CoffeeShop) as runtime:

        async def customer(space, texts):
            for text in texts:
                try:
                    assert await runtime.space(space).ask(CoffeeShop.say, text)
                    answers["handled"] += 1
                except Rejected as refused:
                    answers["rejected" if refused.reason else "refused without a reason"] += 1
                except (ActorCrashed, MessageReturned):
                    answers["lost"] += 1

        async with trio.open_nursery() as nursery:
            for space, texts in by_space().items():
                nursery.start_soon(customer, space, texts)
        exact((await runtime.snapshot()).ledger, **answers)
        assert sum(answers.values()) == len(lines())
        assert answers["lost"] == 0
        assert (await runtime.snapshot()).ledger.outcomes[Outcome.FAILED] == 0


def test_M1_the_conversations_are_many_and_of_several_sentences():
    """Else the tests above would say little."""
    assert len(by_space()) >= 10
    assert sum(len(texts) > 1 for texts in by_space().values()) > len(by_space()) / 2
    assert any(first != second for first, second in pairwise([space for space, _ in lines()]))
