"""What must be in the store when all is done, whatever died in between; read through the public API."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import trio
from attrs import frozen

from spaceactors import Entry
from tests.durable.plan import TICKS, Said, conversations, digest_of, kitchen_of
from tests.durable.shop import Customer, Heard, Kitchen, Tab
from tests.durable.site import Site
from tests.durable.worker import Acks, Life, opened, outcome_of, wait_settled

# A timer that was due while nothing ran fires at the opening: late, but within so many seconds, on any machine. So long
# an event that is to be there may take too.
TIMERS_WITHIN = 120.0


@frozen
class Expected:
    """What a conversation must have left behind."""

    heard: tuple[Said, ...]
    reminded: Counter[int]
    ticked: Counter[int]

    @classmethod
    def of(cls, lines: Sequence[Said]) -> Expected:
        """Work it out from the plan."""
        heard = tuple(said for said in lines if not said.rejected)
        return cls(
            heard,
            Counter(said.index for said in heard if said.reminds),
            Counter({said.index: TICKS for said in heard if said.ticks}),
        )


def differences(what: str, found: Any, expected: Any) -> list[str]:
    """Say how two values differ, if they do. Pure."""
    return [] if found == expected else [f"{what}: found {found!r}, expected {expected!r}"]


def faults_of_tab(space: str, tab: Tab, lines: Sequence[Said]) -> list[str]:
    """Check the state of a conversation. Pure."""
    expected = Expected.of(lines)
    heard = expected.heard
    return [
        *differences(f"{space} count", tab.count, len(heard)),
        *differences(f"{space} digest", tab.digest, digest_of(list(heard))),
        *differences(f"{space} brewed", len(tab.brewed), sum(said.brews * (1 + said.confirms) for said in heard)),
        *differences(f"{space} tickets", len(tab.tickets), sum(said.tickets for said in heard)),
        *differences(f"{space} answers", len(tab.answers), sum(said.confirms for said in heard)),
        *differences(f"{space} reminded", Counter(tab.reminded), expected.reminded),
        *differences(f"{space} ticked", Counter(tab.ticked), expected.ticked),
        *differences(f"{space} touched twice", len(tab.touched), len(set(tab.touched))),
    ]


def faults_of_history(space: str, entries: Sequence[Entry], lines: Sequence[Said]) -> list[str]:
    """Check a history: every line once, in order, at positions without a gap. Pure."""
    heard = Expected.of(lines).heard
    return [
        *differences(f"{space} history", [one.value for one in entries], [f"{one.index} {one.text}" for one in heard]),
        *differences(f"{space} positions", [one.position for one in entries], list(range(1, len(entries) + 1))),
    ]


def faults_of_effects(effects: Iterable[Sequence[str]], tabs: Iterable[Tab]) -> list[str]:
    """Check what steps did: at least once each; never again once one has returned, and always with one result. Pure."""
    made: dict[str, list[str]] = {}
    returned: dict[str, str] = {}
    faults: list[str] = []
    for sign, key, effect in effects:
        if sign == "+":
            made.setdefault(key, []).append(effect)
            if key in returned:
                faults.append(f"the step of {key} ran again after it had returned")
            continue
        if effect not in made.get(key, ()):
            faults.append(f"the step of {key} returned {effect}, which it never made")
        if returned.setdefault(key, effect) != effect:
            faults.append(f"the step of {key} returned {returned[key]} and then {effect}")
    kept = Counter(effect for tab in tabs for effect in tab.brewed)
    return [*faults, *differences("results of steps in the states", kept, Counter(returned.values()))]


def faults_of_kitchen(name: str, entries: Sequence[Any], board: Any, lines: Iterable[Said], kitchens: int) -> list[str]:
    """Check that a kitchen got each order and each question for a ticket once. Pure."""
    mine = [one for one in lines if not one.rejected and kitchen_of(one.space, kitchens) == name]
    orders = Counter(f"order {one.key}" for one in mine if one.orders)
    tickets = Counter(f"ticket {one.key}" for one in mine if one.tickets)
    return [
        *differences(f"{name} history", Counter(entries), orders + tickets),
        *differences(f"{name} board", (board.orders, board.tickets), (orders.total(), tickets.total())),
    ]


def faults_of_tickets(tabs: Iterable[tuple[str, Tab]], kitchens: int) -> list[str]:
    """Check that the tickets of a kitchen are the numbers from 1 on, each once. Pure."""
    by_kitchen: dict[str, list[int]] = {}
    for space, tab in tabs:
        by_kitchen.setdefault(kitchen_of(space, kitchens), []).extend(tab.tickets)
    return [
        fault
        for name, numbers in by_kitchen.items()
        for fault in differences(f"{name} tickets", sorted(numbers), list(range(1, len(numbers) + 1)))
    ]


def faults_of_acks(acks: Acks, tried: Iterable[Sequence[str]], tabs: dict[str, Tab]) -> list[str]:
    """Check that whatever was acknowledged is there, and nothing is there that nobody tried. Pure."""
    given = {value for tab in tabs.values() for value in tab.answers}
    marks = {space: set(tab.touched) for space, tab in tabs.items()}
    begun = {(space, mark) for _, space, mark in tried}
    lost = [f"the answer to {name} was lost" for name, value in acks.answered.items() if value not in given]
    lost += [
        f"the change {mark} of {space} was lost"
        for space, every in acks.touched.items()
        for mark in every
        if mark not in marks[space]
    ]
    lost += [
        f"nobody made the change {mark} of {space}"
        for space, every in marks.items()
        for mark in every
        if (space, mark) not in begun
    ]
    return lost


async def all_entries(handle: Any) -> list[Entry]:
    """Read a history page by page."""
    found: list[Entry] = []
    while page := await handle.history.read(after=len(found), limit=7):
        found += page
    return found


async def faults_of_feed(handle: Any, heard: Sequence[Said]) -> list[str]:
    """Check the events of a conversation: replayed from the first on, each once."""
    found: list[Any] = []
    with trio.move_on_after(TIMERS_WITHIN):
        async with handle.subscribe(Heard, after=0) as feed:
            while len(found) < len(heard):
                found.append(await anext(feed))
    got = [(getattr(one, "position", one), getattr(one, "value", one)) for one in found]
    return differences(
        f"{handle.id} events", got, [(position, Heard(one.index)) for position, one in enumerate(heard, 1)]
    )


async def faults_of_repeats(life: Life, lines: Sequence[Said]) -> list[str]:
    """Say everything once more under its old id: the old replies come back."""
    faults: list[str] = []
    for said in lines:
        was = life.acks.said.get(said.key, ("never acknowledged", None))
        now = await outcome_of(life, said, asked=True)
        if was[0] == "sent":
            was = ("rejected", f"not {said.key}") if said.rejected else ("replied", now[1])
        faults += differences(f"{said.key} said again", now, was)
    return faults


async def wait_timers(life: Life) -> None:
    """Wait until the last timers have fired."""
    with trio.move_on_after(TIMERS_WITHIN):
        for space, lines in conversations(life.site.first, life.site.spaces).items():
            expected = Expected.of(lines)
            wanted = expected.reminded.total() + expected.ticked.total()
            handle = life.runtime.space(space, Customer)
            while len((tab := await handle.state()).reminded) + len(tab.ticked) < wanted:  # noqa: ASYNC110 (nobody tells)
                await trio.sleep(0.01)


async def faults_of_spaces(life: Life) -> list[str]:
    """Check all spaces, histories and states."""
    site, runtime = life.site, life.runtime
    plan = conversations(site.first, site.spaces)
    tabs: dict[str, Tab] = {}
    faults: list[str] = []
    for space, lines in plan.items():
        handle = runtime.space(space, Customer)
        tabs[space] = await handle.state()
        faults += faults_of_tab(space, tabs[space], lines)
        faults += faults_of_history(space, await all_entries(handle), lines)
        faults += await faults_of_feed(handle, Expected.of(lines).heard)
    said = [one for lines in plan.values() for one in lines]
    for name in {kitchen_of(space, site.kitchens) for space in plan}:
        kitchen = runtime.space(name, Kitchen)
        entries = [one.value for one in await all_entries(kitchen)]
        faults += faults_of_kitchen(name, entries, await kitchen.state(), said, site.kitchens)
    faults += faults_of_effects(site.effects.read(), tabs.values())
    faults += faults_of_tickets(tabs.items(), site.kitchens)
    faults += faults_of_acks(life.acks, site.tries.read(), tabs)
    return faults


async def judge(site: Site) -> list[str]:
    """Open the store once more, and return all that is wrong."""
    async with opened(site) as (life, _):
        await wait_settled(life)
        await wait_timers(life)
        faults = await faults_of_spaces(life)
        for lines in conversations(site.first, site.spaces).values():
            faults += await faults_of_repeats(life, lines)
        faults += [f"after the repeats: {fault}" for fault in await faults_of_spaces(life)]
        faults += [f"dead letter: {letter!r}" for letter in await life.runtime.dead_letters.list()]
        faults += [f"open question: {one!r}" for one in await life.runtime.suspensions.list()]
    return [*(text for (text,) in site.faults.read()), *faults]
