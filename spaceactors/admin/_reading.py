"""What can be read of a store, from its engine; blocking, page by page, so that memory stays bounded.

A service that runs has the same done in a worker thread: readers see what is committed while more is written.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from spaceactors.admin import _telling as telling
from spaceactors.admin._figures import Counted, store_figures
from spaceactors.admin._requests import (
    AdminError,
    CountAll,
    Export,
    ListLetters,
    ListQuestions,
    ListSpaces,
    ShowLetter,
    ShowSpace,
    Verify,
)
from spaceactors.stores import _schema as schema
from spaceactors.stores._engine import (
    EntryRow,
    KnownRow,
    LetterRow,
    MessageRow,
    QuestionRow,
    SpaceRow,
    StepRow,
    TimerRow,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import TypeAlias

    from spaceactors.admin._requests import Row
    from spaceactors.stores._engine import Engine, Key

    Reading: TypeAlias = ListSpaces | ShowSpace | ListLetters | ShowLetter | ListQuestions | CountAll | Export | Verify

# Rows that are read at once.
PAGE = 256
# They are short.
PAGE_OF_COUNTERS = 4096


def read(engine: Engine, request: Reading) -> Iterator[Row]:
    """Return what is asked for, row by row. Raises `AdminError` and `StoreError`."""
    match request:
        case ListSpaces():
            return _spaces(engine, request)
        case ShowSpace():
            return iter((space_page(engine, request),))
        case ListLetters():
            return (telling.letter_line(one) for one in letters(engine, request))
        case ShowLetter():
            return (telling.letter_page(one) for one in _named(engine, request.which))
        case ListQuestions():
            return (telling.question(one) for one in engine.questions(request.kind, request.limit))
        case CountAll():
            return iter((figures(engine),))
        case Export():
            return export(engine)
        case Verify():
            return ({"fault": fault} for fault in engine.verify())


# ---- spaces


def kinds_to_list(engine: Engine, request: ListSpaces) -> list[str]:
    """Return which kinds a listing goes through. Raises `AdminError` where `after` could mean several spaces."""
    kinds = sorted(kind for kind, _ in engine.kinds()) if request.kind is None else [request.kind]
    if request.after and len(kinds) > 1:
        raise AdminError(f"an id to go on behind belongs to one kind: name it, one of {', '.join(kinds)}")
    return kinds


def _spaces(engine: Engine, request: ListSpaces) -> Iterator[Row]:
    left = request.limit
    for kind in kinds_to_list(engine, request):
        for space in _spaces_of(engine, kind, request.after):
            if left == 0:
                return
            row = _space_line(engine, space)
            if request.status in {None, row["status"]}:
                left -= 1
                yield row


def _spaces_of(engine: Engine, kind: str, after: str) -> Iterator[SpaceRow]:
    while page := engine.spaces(kind, after, PAGE):
        yield from page
        after = page[-1].id


def space_lines(engine: Engine, kind: str, after: str) -> list[Row]:
    """Return a page of spaces of a kind behind an id."""
    return [_space_line(engine, space) for space in engine.spaces(kind, after, PAGE)]


def _space_line(engine: Engine, space: SpaceRow) -> Row:
    pending, asleep = 0, False
    for one in messages_of(engine, (space.kind, space.id)):
        pending, asleep = pending + 1, asleep or bool(one.asleep)
    return telling.space_line(space, pending, asleep=asleep)


def messages_of(engine: Engine, key: Key) -> Iterator[MessageRow]:
    """Return the messages of a space."""
    after = -1
    while page := engine.messages(key, after, PAGE):
        yield from page
        after = page[-1].number
        if len(page) < PAGE:
            return


def space_page(engine: Engine, request: ShowSpace, unwritten: SpaceRow | None = None) -> Row:
    """Return everything about a space; `unwritten`: its row if there is none. Raises `AdminError`."""
    key = (request.kind, request.space)
    space = engine.space(key) or unwritten
    if space is None:
        raise AdminError(f"there is no space {request.kind}/{request.space}{_kinds_there(engine, request.kind)}")
    found = engine.scan("questions", (), PAGE, {"kind": request.kind, "id": request.space})
    questions = [QuestionRow(*row[1:]) for row in found]
    return telling.space_page(
        space,
        list(messages_of(engine, key)),
        engine.timers(key),
        questions,
        engine.recent(key, request.recent) if request.recent else (),
    )


def _kinds_there(engine: Engine, kind: str) -> str:
    kinds = sorted(name for name, _ in engine.kinds())
    return "" if kind in kinds else f": the store has spaces of {', '.join(kinds) or 'no kind'}"


# ---- dead letters


def letters(engine: Engine, request: ListLetters) -> Iterator[LetterRow]:
    """Return dead letters behind a number, at most `limit`."""
    after, left = request.after, request.limit
    while left and (page := engine.letters(request.kind, request.space, after, min(left, PAGE))):
        yield from page
        after, left = page[-1].number, left - len(page)


def find_letters(engine: Engine, which: str) -> Sequence[LetterRow]:
    """Return the dead letter of a number, or else those of a message id."""
    if which.isdecimal() and len(which) < 19:  # noqa: PLR2004 (longer numbers a database does not give)
        number = int(which)
        page = engine.letters(None, None, number - 1, 1)
        if page and page[0].number == number:
            return page
    return engine.letters_of((which,))


def _named(engine: Engine, which: str) -> Sequence[LetterRow]:
    found = find_letters(engine, which)
    if not found:
        raise AdminError(f"there is no dead letter {which}: name one by its number or its message id")
    return found


# ---- figures


def figures(engine: Engine) -> Row:
    """Return how much of everything there is."""
    counted, after = Counted(), None
    while page := engine.counters(after, PAGE_OF_COUNTERS):
        for (kind, counters), spaces in Counter((kind, counters) for kind, _, counters in page).items():
            counted.add(kind, counters, spaces)
        after = page[-1][:2]
    return store_figures(engine.tally(), counted.kinds, time.time())


# ---- everything

_TELL: dict[str, Callable[[Sequence[Any]], Row]] = {
    "spaces": lambda row: telling.exported_space(SpaceRow(*row)),
    "mailbox": lambda row: telling.message(MessageRow(*row)),
    "history": lambda row: telling.entry(EntryRow(*row[2:])),
    "events": lambda row: telling.event(*row[2:]),
    "timers": lambda row: telling.timer(TimerRow(*row[2:])),
    "known": lambda row: telling.known(KnownRow(*row[2:])),
    "steps": lambda row: telling.step(StepRow(*row[2:])),
    "questions": lambda row: telling.question(QuestionRow(*row[1:])),
    "letters": lambda row: telling.letter_page(LetterRow(*row)),
}
# What a row of a table is called.
_NAMES = {
    "spaces": "space",
    "mailbox": "message",
    "history": "entry",
    "events": "event",
    "timers": "timer",
    "known": "known",
    "steps": "step",
    "questions": "question",
    "letters": "dead_letter",
}


def export(engine: Engine) -> Iterator[Row]:
    """Return all rows of all tables, table by table; each says what it is and of which space."""
    for table in schema.OF_SPACES:
        tell, name = _TELL[table.name], _NAMES[table.name]
        kind, space = table.names.index("kind"), table.names.index("id")
        for row in _scan(engine, table):
            yield {"type": name, "kind": row[kind], "space": row[space], **tell(row)}


def _scan(engine: Engine, table: schema.Table) -> Iterator[Sequence[Any]]:
    places = [table.names.index(name) for name in table.key]
    after: tuple[Any, ...] = ()
    while page := engine.scan(table.name, after, PAGE, {}):
        yield from page
        after = tuple(page[-1][place] for place in places)
