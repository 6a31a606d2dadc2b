"""A coffee shop that takes orders in plain words: each customer is a space, and the order is its state."""

import re
import tomllib
from pathlib import Path

from attrs import evolve, frozen

from spaceactors import Actor, Reject, handler

Word = tuple[str, str]  # what it is about, and our name for it: ("milk", "oat milk")
MENU = tomllib.loads((Path(__file__).parent / "data" / "menu.toml").read_text(encoding="utf-8"))
DRINKS: dict[str, tuple[int, str]] = MENU["drinks"]
WORDS: dict[str, dict[str, list[str]]] = MENU["words"]
SPOKEN = {way.lower(): (kind, name) for kind in WORDS for name, ways in WORDS[kind].items() for way in (name, *ways)}
HEARD = re.compile(rf"(?<!\w)({'|'.join(sorted(map(re.escape, SPOKEN), key=len, reverse=True))}|\d{{1,3}})'?s?(?!\w)")
OPTIONS = {"size", "shots", "heat", "beans", "milk", "extras"}


@frozen
class Item:
    """One line of an order; of options any number of extras, and one of each other kind."""

    drink: str
    count: int = 1
    options: frozenset[Word] = frozenset()

    def __str__(self) -> str:
        names = ", ".join(name for _, name in sorted(self.options, reverse=True))
        return f"{self.count} {self.drink}{'s' * (self.count > 1)}{f' ({names})' * bool(names)}"


@frozen
class Order:
    """What a customer wants so far; once it has been read back, a yes confirms it."""

    items: tuple[Item, ...] = ()
    read_back: bool = False
    number: int = 1

    def __str__(self) -> str:
        dollars = sum(item.count * DRINKS[item.drink][0] for item in self.items) / 100
        return f"{', '.join(map(str, self.items))}: ${dollars:.2f}"


def listen(text: str) -> list[list[Word]]:
    """The words that we know, sentence by sentence."""
    plain = text.lower().replace("’", "'").replace("-", " ").replace(",", " , ")
    return [[SPOKEN.get(word, ("count", word)) for word in HEARD.findall(part)] for part in re.split(r"[.?!]+", plain)]


def take(items: tuple[Item, ...], sentence: list[Word]) -> tuple[Item, ...]:
    """The order after one more sentence, which is cut into parts of one drink at most."""
    verb, part = "swap" if "instead" in dict(sentence) else "add", list[Word]()
    for about, name in sentence:
        if about in {"count", "verb", "next"} or (about in {"and", "drink"} and "drink" in dict(part)):
            items, part = change(items, part, verb), []
        verb = name if about == "verb" else verb
        part.append((about, name))
    return change(items, part, verb)


def change(items: tuple[Item, ...], part: list[Word], verb: str) -> tuple[Item, ...]:
    """One part tells a new drink, or how to change one: the drink that it names, else the last one."""
    said, options = dict(part), frozenset(word for word in part if word[0] in OPTIONS)
    drink, count = said.get("drink"), 0 if "measure" in said else int(said.get("count", 0))  # two pumps: no two drinks
    if drink and verb == "remove":
        return tuple(item for item in items if item.drink != drink)
    if drink and "known" in said and any(item.drink == drink for item in items):
        items = tuple(sorted(items, key=lambda item: item.drink == drink))
    elif drink and verb == "swap" and items:
        items = (*items[:-1], evolve(items[-1], drink=drink))
    elif drink or (items and said.get("next") == "another"):
        items, count = (*items, Item(drink, count or 1) if drink else evolve(items[-1], count=1)), 0
    if not items:
        return items
    *others, last = items
    rivals = frozenset(one for one in last.options if one[0] in said and one[0] != "extras")
    chosen = last.options - options if verb == "remove" else last.options - rivals | options
    changed = evolve(last, count=count or last.count, options=chosen)
    split = verb == "add" and 0 < count < last.count  # "two mochas, one with oat milk"
    return (*others, changed, evolve(last, count=last.count - count)) if split else (*others, changed)


def serve(order: Order, text: str) -> tuple[Order, str]:
    """The order after what the customer said, and what the barista answers."""
    items, said = order.items, set[str]()
    for sentence in listen(text):
        said |= (words := dict(sentence)).keys()
        if "ask" in words:
            return evolve(order, items=items, read_back=False), answer(sentence)
        items = () if "cancel" in words else take(items, sentence)
    if "yes" in said and order.read_back and items == order.items:
        return Order(number=order.number + 1), f"Thank you! Order {order.number} is ready in a few minutes. {order}."
    agreed = bool(items) and ("done" in said or ("yes" in said and items == order.items))
    now = evolve(order, items=items, read_back=agreed)
    if items and (agreed or items != order.items):
        return now, f"So that is {now}. Shall I make it?" if agreed else f"{now}. Is that all?"
    return now, "Sure, what would you like?" if said & {"hello", "yes", "no", "cancel"} else f"I am sorry? {answer([])}"


def answer(question: list[Word]) -> str:
    """What we have to say about the first thing in a question that we know, else the menu."""
    about, name = next((word for word in question if word[0] in {"drink", "subject"} | OPTIONS), ("subject", "drink"))
    if about == "drink":
        return f"{name.capitalize()}: {DRINKS[name][1]}, ${DRINKS[name][0] / 100:.2f}."
    return f"We have {', '.join(WORDS[name])}. What would you like?" if about == "subject" else f"Yes, we have {name}."


class CoffeeShop(Actor[Order]):
    """A barista for each customer."""

    @handler
    async def say(self, text: str) -> str:
        """Take the order one sentence further."""
        self.state, reply = serve(self.state, text)
        if sum(item.count for item in self.state.items) > MENU["most_drinks"]:
            raise Reject(f"We make at most {MENU['most_drinks']} drinks at a time.")  # and the order is as before
        return reply
