"""What several conformance cases look at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import evolve

from spaceactors._feed import Emitted
from spaceactors.testing._conformance_actors import Said, Verdict
from spaceactors.testing._conformance_scene import expect, soon

if TYPE_CHECKING:
    from collections.abc import Callable

    from spaceactors._handle import SpaceHandle
    from spaceactors._runtime import Runtime
    from spaceactors._suspensions import Suspension
    from spaceactors.testing._conformance_actors import Book
    from spaceactors.testing._conformance_scene import Scene

YES = Verdict(good=True, by="eve")

# What the world sees of `Clerk.approve("a")`.
FORM, DECIDED, PAID = "charged form of a", "decided", "charged a"


async def replayed(clerk: SpaceHandle[Any], number: int, *, after: int = 0) -> list[Any]:
    """Return so many events from behind a position; fewer if no more come."""
    found: list[Any] = []
    async with clerk.subscribe(after=after) as feed:
        with soon():
            while len(found) < number:
                found.append(await anext(feed))
    return found


def said(*positions: int) -> list[Any]:
    """Return the events of these positions, in a space where the text of each event is its position."""
    return [Emitted(Said(str(position)), position) for position in positions]


async def known(runtime: Runtime[Any], actor: type[Any], **choice: Any) -> list[str]:
    """Return the ids of known spaces."""
    return [one.id for one in await runtime.spaces(actor=actor, **choice)]


async def letters(runtime: Runtime[Any], **choice: Any) -> list[str]:
    """Return the message ids of the dead letters."""
    return [one.message.id for one in await runtime.dead_letters.list(**choice)]


async def counters(runtime: Runtime[Any], clerk: SpaceHandle[Any]) -> dict[str, float]:
    """Return the counters of a live space."""
    figures = (await runtime.snapshot()).spaces
    return {name: value for one in figures if one.id == clerk.id for name, value in one.counters.items()}


async def outcomes(runtime: Runtime[Any]) -> dict[str, int]:
    """Return how many messages had which outcome, of those that came up."""
    ledger = (await runtime.snapshot()).ledger
    total = sum(ledger.outcomes.values()) + ledger.pending
    expect(ledger.accepted, total, "the accepted messages, which are all that ended or are pending")
    return {outcome.value: number for outcome, number in ledger.outcomes.items() if number}


async def the_question(scene: Scene, runtime: Runtime[Any]) -> Suspension:
    """Wait until a question is open, and return it."""

    async def asked() -> bool:
        return bool(await runtime.suspensions.list())

    await scene.until(asked, "a question is open")
    [question] = await runtime.suspensions.list()
    return question


def writing(text: str) -> Callable[[Book], Book]:
    """Return a change from outside that writes a line."""
    return lambda book: evolve(book, lines=(*book.lines, text))
