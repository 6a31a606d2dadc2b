"""The coffee shop understands what customers say, and keeps their orders apart."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import pytest
import trio

from examples.coffee_shop import DRINKS, WORDS, CoffeeShop, Item, Order, serve
from spaceactors import Rejected, open_runtime

ROOT = Path(__file__).resolve().parents[2]
OWN = ROOT / "examples" / "data" / "conversations.jsonl"
REAL = ROOT.parent / "shared" / "data" / "coffee-dialogs.jsonl"
PUZZLED = "I am sorry?"


def items(order: Order) -> str:
    return str(order).rpartition(":")[0]


def after(*said: str) -> Order:
    order = Order()
    for text in said:
        order, _ = serve(order, text)
    return order


def answers(*said: str) -> list[str]:
    order, heard = Order(), list[str]()
    for text in said:
        order, answer = serve(order, text)
        heard.append(answer)
    return heard


@pytest.mark.parametrize(
    ("said", "understood"),
    [
        ("A latte", "1 latte"),
        ("Two flat whites, please!", "2 flat whites"),
        ("I'll have 12 espressos", "12 espressos"),
        ("a large iced decaf mocha with oat milk and vanilla", "1 mocha (large, oat milk, iced, vanilla, decaf)"),
        ("Non-Fat cappuccino to go", "1 cappuccino (skim milk, to go)"),
        ("a small macchiato with oat milk and a medium mocha", "1 macchiato (small, oat milk), 1 mocha (medium)"),
        ("an oat milk cortado and almond milk latte", "1 cortado (oat milk), 1 latte (almond milk)"),
        ("a latte with soy milk, iced mocha", "1 latte (soy milk), 1 mocha (iced)"),
        ("two lattes, one decaf and the other one regular", "1 latte (decaf), 1 latte (regular)"),
        ("Two mochas. One with 2% and the other with almond", "1 mocha (2% milk), 1 mocha (almond milk)"),
        ("three teas, one with honey", "1 black tea (honey), 2 black teas"),
        ("a cortado with oat and another with skim milk", "1 cortado (oat milk), 1 cortado (skim milk)"),
        ("a coffee with two sugars and three pumps of caramel", "1 coffee (sugar, caramel)"),
        ("chai, matcha and earl grey", "1 chai latte, 1 matcha latte, 1 black tea"),
        ("I’d like a cappucino", "1 cappuccino"),
        ("a sandwich", ""),
    ],
)
def test_one_sentence_is_understood(said: str, understood: str) -> None:
    assert items(after(said)) == understood


@pytest.mark.parametrize(
    ("first", "correction", "understood"),
    [
        ("a latte", "make it two", "2 lattes"),
        ("twelve espressos", "no, make it ten", "10 espressos"),
        ("a latte with soy milk", "no, oat milk instead", "1 latte (oat milk)"),
        ("a latte and a mocha", "remove the latte", "1 mocha"),
        ("a latte and a mocha", "cancel the latte and the mocha", ""),
        ("a latte and a mocha", "make the latte iced", "1 mocha, 1 latte (iced)"),
        ("a latte with vanilla", "add caramel to my latte", "1 latte (vanilla, caramel)"),
        ("a latte with vanilla and sugar", "without sugar", "1 latte (vanilla)"),
        ("a large latte", "change the latte to a cortado", "1 cortado (large)"),
        ("a latte and a tea", "two coffees instead of the tea", "1 latte, 2 coffees"),
        ("a latte", "Can I get that as a decaf?", "1 latte (decaf)"),
        ("an iced latte", "the same for a friend", "1 latte (iced), 1 latte (iced)"),
        ("a latte", "a mocha too", "1 latte, 1 mocha"),
        ("a latte", "a mocha instead", "1 mocha"),
        ("a latte", "what milks do you have?", "1 latte"),
        ("a latte", "never mind", ""),
        ("a latte", "xyzzy", "1 latte"),
    ],
)
def test_the_next_sentence_changes_the_order(first: str, correction: str, understood: str) -> None:
    assert items(after(first, correction)) == understood


def test_an_order_is_read_back_and_confirmed_before_it_is_made() -> None:
    said = ("a latte", "that’s all", "yes")
    taken, read_back, made = answers(*said)
    assert taken == "1 latte: $4.20. Is that all?"
    assert read_back == "So that is 1 latte: $4.20. Shall I make it?"
    assert made.startswith("Thank you! Order 1 is ready")
    assert after(*said) == Order(number=2)


def test_a_change_after_the_reading_back_is_read_back_again() -> None:
    *_, changed, again, made = answers("a latte", "that's all", "make it iced", "yes", "yes")
    assert changed.endswith("Is that all?")
    assert again.endswith("Shall I make it?")
    assert made.startswith("Thank you!")


@pytest.mark.parametrize("said", ["ok, a latte", "Yes, and a latte", "fine. a latte"])
def test_a_yes_beside_something_new_confirms_nothing(said: str) -> None:
    for answer in (answers(said)[0], answers("a mocha", "that’s all", said)[2]):
        assert answer.endswith("Is that all?")


def test_the_next_order_starts_empty() -> None:
    assert items(after("a latte", "that's all", "yes", "a mocha")) == "1 mocha"


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What milks do you have?", "almond milk"),
        ("Can I see the menu?", "flat white"),
        ("what's in a cortado?", "half and half, $3.80"),
        ("Do you have honey?", "Yes, we have honey."),
        ("do you sell pizza?", "We have latte"),
        ("Hello!", "what would you like?"),
        ("Is this a bookshop", PUZZLED),
    ],
)
def test_questions_have_answers(question: str, answer: str) -> None:
    assert answer in answers(question)[0]


def test_every_drink_has_a_price_and_is_understood_by_its_name() -> None:
    assert set(DRINKS) == set(WORDS["drink"])
    assert [after(f"one {drink}").items for drink in DRINKS] == [(Item(drink),) for drink in DRINKS]


async def test_customers_keep_their_own_orders() -> None:
    async with open_runtime(CoffeeShop) as shop:
        async with trio.open_nursery() as counter:
            counter.start_soon(shop.space("ann").ask, CoffeeShop.say, "a latte")
            counter.start_soon(shop.space("bob").ask, CoffeeShop.say, "two teas")
        assert [items(await shop.space(name).state()) for name in ("ann", "bob")] == ["1 latte", "2 black teas"]


async def test_too_many_drinks_are_refused_and_the_order_stays() -> None:
    async with open_runtime(CoffeeShop) as shop:
        ann = shop.space("ann")
        await ann.ask(CoffeeShop.say, "a latte")
        with pytest.raises(Rejected, match="at most 20"):
            await ann.ask(CoffeeShop.say, "and 20 teas")
        assert items(await ann.state()) == "1 latte"


def test_there_are_forty_conversations_interleaved_as_at_a_counter() -> None:
    spaces = [json.loads(line)["space"] for line in OWN.read_text(encoding="utf-8").splitlines()]
    assert len(set(spaces)) == 40
    assert sum(a != b for a, b in pairwise(spaces)) > len(spaces) * 0.8


async def test_every_shipped_conversation_is_handled_from_hello_to_receipt() -> None:
    last = dict[str, str]()
    async with open_runtime(CoffeeShop) as shop:
        for line in OWN.read_text(encoding="utf-8").splitlines():
            call = json.loads(line)
            last[call["space"]] = await shop.space(call["space"]).ask(CoffeeShop.say, *call["args"])
    unfinished = {space for space, answer in last.items() if not answer.startswith("Thank you!")}
    assert unfinished == {"hana"}  # she takes the bus


@pytest.mark.timeout(240)
def test_the_shipped_conversations_run_from_the_command_line() -> None:
    command = (
        sys.executable,
        "-m",
        "spaceactors.cli",
        "run",
        "examples/coffee_shop.py:CoffeeShop",
        "--input",
        str(OWN),
    )
    done = subprocess.run(command, capture_output=True, cwd=ROOT, timeout=200, check=False)
    assert {json.loads(line)["outcome"] for line in done.stdout.splitlines()} == {"handled"}
    assert (done.returncode, b"to 40 spaces" in done.stderr) == (0, True)


@pytest.mark.skipif(not REAL.exists(), reason="the real conversations are not beside the repository")
def test_most_of_what_real_customers_say_is_understood() -> None:
    talks = defaultdict[str, list[str]](list)
    for line in REAL.read_text(encoding="utf-8").splitlines():
        turn = json.loads(line)
        if turn["speaker"] == "user":
            talks[turn["space"]].append(turn["text"])
    heard = [answer for said in talks.values() for answer in answers(*said)]
    puzzled = [answer for answer in heard if answer.startswith(PUZZLED)]
    assert len(puzzled) / len(heard) < 0.02
