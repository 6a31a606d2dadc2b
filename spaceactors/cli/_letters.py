"""`spaceactors dead-letters`: what failed, why, and what becomes of it."""

from typing import Annotated

from cyclopts import App, Parameter
from cyclopts.validators import Number

from spaceactors.admin import DiscardLetters, ListLetters, ResendLetters, ShowLetter
from spaceactors.cli._load import UnusableArgument
from spaceactors.cli._report import plural
from spaceactors.cli._showing import letter_page, letters_table
from spaceactors.cli._stores import AsJson, Limit, Switch, asked, print_rows, print_table, say, show_list

letters = App(name="dead-letters", help="Look at messages that failed, send them again, or forget them.")


@letters.command(name="list")
def list_letters(
    store: str,
    /,
    *,
    kind: str | None = None,
    space: str | None = None,
    after: Annotated[int, Parameter(validator=Number(gte=0))] = 0,
    limit: Limit = 100,
    json: AsJson = False,
) -> int:
    """List dead letters, the oldest first.

    Args:
        store: The store: the path of a file, or a postgresql:// address.
        kind: Only those of this kind of actor.
        space: Only those of the space with this id.
        after: Only those behind this number.
        limit: At most so many.
        json: Write one JSON object a line.
    """
    request = ListLetters(kind, space, after, limit)
    show_list(store, request, letters_table, json=json, none="There are no dead letters.")
    return 0


@letters.command(name="show")
def show_letter(store: str, letter: str, /, *, json: AsJson = False) -> int:
    """Show all there is to know of a dead letter: arguments, error, traceback, tries.

    Args:
        store: The store: the path of a file, or a postgresql:// address.
        letter: The letter's number, or the id of its message.
        json: Write one JSON object a line.
    """
    with asked(store, ShowLetter(letter)) as rows:
        if json:
            print_rows(rows)
        else:
            for row in rows:
                print_table(letter_page(row))
    return 0


@letters.command
def resend(
    store: str,
    /,
    *which: str,
    all: Annotated[bool, Switch] = False,  # noqa: A002 (the option's name)
    kind: str | None = None,
    json: AsJson = False,
) -> int:
    """Send dead letters again: each becomes a message under its old id. The exit code is 1 if one was not.

    Args:
        store: The store: the path of a file, or a postgresql:// address.
        which: The letters' numbers, or the ids of their messages.
        all: Send all of them.
        kind: With --all: only those of this kind of actor.
        json: Write what became of each, one JSON object a line.
    """
    _check_choice(which, kind, all=all)
    return _tell(store, ResendLetters(which, all, kind), "sent again", json=json)


@letters.command
def discard(
    store: str,
    /,
    *which: str,
    all: Annotated[bool, Switch] = False,  # noqa: A002 (the option's name)
    kind: str | None = None,
    json: AsJson = False,
) -> int:
    """Forget dead letters. The exit code is 1 if one was not there.

    Args:
        store: The store: the path of a file, or a postgresql:// address.
        which: The letters' numbers, or the ids of their messages.
        all: Forget all of them.
        kind: With --all: only those of this kind of actor.
        json: Write what became of each, one JSON object a line.
    """
    _check_choice(which, kind, all=all)
    return _tell(store, DiscardLetters(which, all, kind), "discarded", json=json)


def _check_choice(which: tuple[str, ...], kind: str | None, *, all: bool) -> None:  # noqa: A002 (the option's name)
    if all and which:
        raise UnusableArgument("--all means every letter: leave it out, or the numbers and ids")
    if not all and not which:
        raise UnusableArgument("which letters? name numbers or message ids (dead-letters list shows them), or --all")
    if kind is not None and not all:
        raise UnusableArgument("--kind chooses among --all letters: add --all, or leave it out")


def _tell(store: str, request: ResendLetters | DiscardLetters, done: str, *, json: bool) -> int:
    """Say what became of the letters, those that stay one by one."""
    counts = {True: 0, False: 0}
    with asked(store, request) as rows:
        for row in rows:
            counts[row["done"]] += 1
            if json:
                print_rows([row])
            elif not row["done"]:
                say(f"{row['number'] or row['message_id']}: {row['problem']}")
    if not json:
        stay = f", {counts[False]:,} not" if counts[False] else ""
        print(f"{plural(counts[True], 'dead letter')} {done}{stay}")
    return 1 if counts[False] else 0
