"""What can be changed in a store in which no service runs: letters are sent again or forgotten, questions answered.

Each change is one transaction, and what it needs is looked up as it is then: a row that is gone meanwhile refuses it.
"""

from __future__ import annotations

import json
import time
from bisect import bisect_left
from itertools import count, takewhile
from typing import TYPE_CHECKING, Any, cast

from spaceactors._codec_tags import DEPTH
from spaceactors._store import VersionLost
from spaceactors.admin._plain import pack_value, plain_value
from spaceactors.admin._reading import find_letters, letters
from spaceactors.admin._requests import AdminError, AnswerQuestion, DiscardLetters, ListLetters, ResendLetters, Vacuum
from spaceactors.stores._engine import QUARANTINED, Put
from spaceactors.stores._freeze import _COUNT_BITS as COUNT_BITS
from spaceactors.stores._freeze import JSON

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import TypeAlias

    from spaceactors.admin._requests import Row
    from spaceactors.stores._engine import Engine, LetterRow, QuestionRow
    from spaceactors.stores._engine import Row as Written

    Change: TypeAlias = ResendLetters | DiscardLetters | AnswerQuestion | Vacuum

_ALL = 1 << 62
# What became of a letter that somebody else was quicker with.
GONE = "it is no dead letter any more"


def change(engine: Engine, epoch: int, request: Change) -> Iterator[Row]:
    """Do what is asked for, and tell what became of each. Raises `AdminError` and `StoreError`."""
    match request:
        case ResendLetters():
            numbers = count((epoch << COUNT_BITS) + 1)
            return _each(engine, request, lambda letter: _resend(engine, letter, epoch, numbers))
        case DiscardLetters():
            return _each(engine, request, lambda letter: _discard(engine, letter))
        case AnswerQuestion():
            return iter((answer_question(engine, request),))
        case Vacuum():
            engine.vacuum()
            return iter(({"done": True},))


def chosen(engine: Engine, request: ResendLetters | DiscardLetters) -> Iterator[LetterRow | str]:
    """Return the letters that are meant, and the names of which there is none."""
    if request.all:
        # Up to what is there now: a letter that fails again at once comes back with a higher number.
        last = last_letter(engine)
        yield from takewhile(lambda one: one.number <= last, letters(engine, ListLetters(request.kind, None, 0, _ALL)))
    for which in request.which:
        yield from find_letters(engine, which) or (which,)


def last_letter(engine: Engine) -> int:
    """Return the highest number of a dead letter, or 0; found by halving, without reading them all."""

    def more_behind(number: int) -> bool:
        return bool(engine.letters(None, None, number, 1))

    if not more_behind(0):
        return 0
    high = next(1 << bits for bits in range(63) if not more_behind(1 << bits))
    return bisect_left(range(high), 1, key=lambda number: not more_behind(number))


def told(letter: LetterRow, problem: str | None) -> Row:
    """Return what became of a letter."""
    row = {"number": letter.number, "kind": letter.kind, "space": letter.id, "message_id": letter.message_id}
    return {**row, "done": problem is None, **({"problem": problem} if problem else {})}


def not_found(which: str) -> Row:
    """Return that there is no such letter."""
    return {"number": None, "message_id": which, "done": False, "problem": f"there is no dead letter {which}"}


def _each(
    engine: Engine, request: ResendLetters | DiscardLetters, do: Callable[[LetterRow], str | None]
) -> Iterator[Row]:
    for letter in chosen(engine, request):
        yield not_found(letter) if isinstance(letter, str) else told(letter, do(letter))


def _resend(engine: Engine, letter: LetterRow, epoch: int, numbers: Iterator[int]) -> str | None:
    """Make a letter a message again, under its old id; return why not, if not."""
    key = (letter.kind, letter.id)
    space = engine.space(key)
    if space is not None and space.flags & QUARANTINED:
        return f"{letter.kind}/{letter.id} is in quarantine: revive it first"
    rows: list[Written] = [(Put.UNBURY, (letter.number,))]
    if not _is_there(engine, letter):
        body = (letter.message_id, letter.body, time.time(), None, 0, 0, None)
        group = None if space is None else space.grp
        rows = [
            (Put.NEW_SPACE, (*key, group, epoch)),
            (Put.NEW_MESSAGE, (*key, next(numbers), *body)),
            *rows,
        ]
    return _kept(engine, rows, GONE)


def _is_there(engine: Engine, letter: LetterRow) -> bool:
    """Tell whether the same message waits already, or was handled: an id stands for one message."""
    one = {"kind": letter.kind, "id": letter.id, "message_id": letter.message_id}
    return any(engine.scan(table, (), 1, one) for table in ("mailbox", "known"))


def _discard(engine: Engine, letter: LetterRow) -> str | None:
    return _kept(engine, [(Put.UNBURY, (letter.number,))], GONE)


def answer_question(engine: Engine, request: AnswerQuestion) -> Row:
    """Record an answer for the turn that resumes: what JSON says, which that turn reads as what it asked for."""
    value = check_json(request.answer)
    question = engine.question(request.question)
    if question is None:
        raise AdminError(no_question(request.question))
    key, position = plain_value(question.body)[:2]
    own = (question.kind, question.id, question.number)
    attempts = next((one.attempts for one in engine.messages(own[:2], own[2] - 1, 1) if one.number == own[2]), 0)
    rows: list[Written] = [
        (Put.ADD_STEP, (*own, key, position, pack_value((True, JSON, value)))),
        (Put.CLOSE_QUESTION, (question.question_id,)),
        (Put.MARK_MESSAGE, (*own, attempts, False)),
    ]
    problem = _kept(engine, rows, no_question(request.question))
    if problem is not None:
        raise AdminError(problem)
    return answered(question)


def answered(question: QuestionRow) -> Row:
    """Return that a question is answered."""
    row = {"id": question.question_id, "kind": question.kind, "space": question.id, "name": question.name}
    return {**row, "done": True}


def no_question(question: str) -> str:
    """Return the text for a question that is not open."""
    return f"there is no open question {question}: it was answered, expired, or was never asked"


def check_json(text: str) -> Any:
    """Return what a text of JSON says. Raises `AdminError`."""
    try:
        value = json.loads(text)
        _check_depth(value)
    except RecursionError:
        raise AdminError("the answer is no JSON that can be read: nested too deeply") from None
    except ValueError as error:
        raise AdminError(
            f"""the answer is no JSON ({error}): write a text as '"yes"', or true, 5, {{"ok": true}}"""
        ) from None
    else:
        return value


def _check_depth(value: Any, left: int = DEPTH) -> None:
    """Refuse what a store could keep, but no turn read again. Raises `RecursionError`."""
    if left < 0:
        raise RecursionError
    parts: Any = [*cast("dict[str, Any]", value).values()] if isinstance(value, dict) else value
    for part in cast("list[Any]", parts) if isinstance(parts, list) else ():  # type: ignore[redundant-cast]
        _check_depth(part, left - 1)


def _kept(engine: Engine, rows: Sequence[Written], lost: str) -> str | None:
    (error,) = engine.write([rows])
    if isinstance(error, VersionLost):
        return lost
    if error is not None:
        raise error
    return None
