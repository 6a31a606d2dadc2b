"""What a message's earlier tries have recorded: results of steps and answers, in the order of the program.

A handler that runs again begins at its beginning, and gets back what is recorded. That is right only while the program
asks for the same things: so for whatever ran in the turn's own task the place in the order is kept, and compared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio.lowlevel import current_task

from spaceactors._errors import StepChanged

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from spaceactors._message import Message
    from spaceactors._store import Recorded
    from spaceactors._worker import Worker

# The place of what runs beside the turn's own task: there the order is chance.
NOWHERE = -1


def begin(worker: Worker, message: Message, key: str) -> tuple[int, Recorded | None]:
    """Begin a step or a question: return its place in the program, and what is recorded of it.

    Raises:
        StepChanged: the program asks for something else than at this place the last time.

    """
    record, journal = worker.record, message.rare().journal
    record.visit(key)
    position = NOWHERE
    if current_task() is worker.task:
        position = record.begun
        record.begun += 1
    changed = mismatch(journal, key, position)
    if changed is not None:
        msg = f"the program of {worker.space.name} has changed since {message!r} began: {changed}"
        raise StepChanged(msg, space=worker.space.handle, message=message)
    return position, journal.get(key)


def mismatch(journal: Mapping[str, Recorded], key: str, position: int) -> str | None:
    """Say what is wrong with a step of this name at this place, or nothing. Pure."""
    if position == NOWHERE:
        return None
    found = journal.get(key)
    if found is not None and found.alone and found.position != position:
        return f"{shown(key)} was number {found.position + 1}, and is number {position + 1} now"
    other = next((name for name, one in journal.items() if one.alone and one.position == position), key)
    if other != key:
        return f"number {position + 1} was {shown(other)}, and is {shown(key)} now"
    return None


def unvisited(journal: Mapping[str, Recorded], visited: Collection[str]) -> tuple[str, ...]:
    """Return what is recorded and was not asked for: the program had it once. Pure."""
    return tuple(shown(name) for name in journal if name not in visited)


def shown(key: str) -> str:
    """Return how a step or a question is named to its user."""
    if key.startswith("?"):
        name, _, number = key[1:].rpartition("#")
        return f"the question {name!r}" if number == "1" else f"the question {name!r} (time {number})"
    return f"the step {key!r}"
