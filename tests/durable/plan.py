"""What is to happen in a kill run, known before it begins: worker, driver and oracle read the same plan. Pure."""

from __future__ import annotations

import json
import random
from functools import cache
from hashlib import sha256
from pathlib import Path
from zlib import crc32

from attrs import frozen

ROOT = Path(__file__).resolve().parents[2]
OWN = ROOT / "examples" / "data" / "conversations.jsonl"
REAL = ROOT.parent / "shared" / "data" / "coffee-dialogs.jsonl"

# One kitchen serves about ten conversations.
SPACES_PER_KITCHEN = 10
# A ticking timer is cancelled after so many ticks.
TICKS = 3


@frozen
class Said:
    """What becomes of one line of a customer."""

    space: str
    index: int
    text: str
    # Sent by `ask`, else by `send`.
    asked: bool
    # Refused by the handler, after it has done all kinds of things that must not stay.
    rejected: bool
    # The turn takes a moment.
    lingers: bool
    # A step with an outside effect; a second one behind the question, if there is one.
    brews: bool
    # The turn asks the kitchen for a ticket.
    tickets: bool
    # The turn waits for an answer from outside.
    confirms: bool
    # The turn sends to the kitchen.
    orders: bool
    # The turn sets a timer that fires once.
    reminds: bool
    # The turn sets a timer that fires until it is cancelled.
    ticks: bool

    @property
    def key(self) -> str:
        """How the line is named everywhere: in effects, questions, tickets, and as message id."""
        return f"{self.space}:{self.index}"


def _said(space: str, index: int, text: str) -> Said:
    chance = random.Random(f"{space}:{index}")

    def one_in(count: int) -> bool:
        return chance.randrange(count) == 0

    return Said(
        space,
        index,
        text,
        asked=one_in(2),
        rejected=one_in(15),
        lingers=one_in(3),
        brews=one_in(3),
        tickets=one_in(5),
        confirms=one_in(10),
        orders=one_in(2),
        reminds=one_in(8),
        ticks=one_in(25),
    )


@cache
def all_lines() -> dict[str, list[str]]:
    """What each customer says, in order."""
    real = REAL.exists()
    found: dict[str, list[str]] = {}
    for line in (REAL if real else OWN).read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if not real or row["speaker"] == "user":
            found.setdefault(row["space"], []).append(row["text"] if real else row["args"][0])
    return found


@cache
def conversations(first: int, most: int) -> dict[str, tuple[Said, ...]]:
    """Return up to `most` conversations, from the number `first` on."""
    chosen = list(all_lines().items())
    start = first % len(chosen)
    chosen = [*chosen[start:], *chosen[:start]][:most]
    return {space: tuple(_said(space, index, text) for index, text in enumerate(texts)) for space, texts in chosen}


def kitchen_of(space: str, kitchens: int) -> str:
    """Return which kitchen serves a conversation."""
    return f"kitchen-{crc32(space.encode()) % kitchens}"


def digest(before: str, text: str) -> str:
    """Return the running digest of a conversation with one line more."""
    return sha256(f"{before}\n{text}".encode()).hexdigest()[:16]


def digest_of(lines: list[Said]) -> str:
    """Return the digest of lines in their order."""
    value = ""
    for line in lines:
        value = digest(value, line.text)
    return value
