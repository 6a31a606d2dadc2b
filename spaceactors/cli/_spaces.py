"""`spaceactors spaces` and `spaceactors show`: what a store knows of its conversations."""

from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from spaceactors.admin import ListSpaces, ShowSpace
from spaceactors.cli._load import UnusableArgument
from spaceactors.cli._showing import space_page, spaces_table
from spaceactors.cli._stores import AsJson, Limit, asked, print_rows, print_table, show_list


def spaces(
    store: str,
    /,
    *,
    kind: str | None = None,
    status: str | None = None,
    after: str = "",
    limit: Limit = 100,
    json: AsJson = False,
) -> int:
    """List spaces in the order of their kinds and ids. While the service runs, as they are in it now.

    Args:
        store: The store: the path of a file, or a postgresql:// address.
        kind: Only those of this kind of actor.
        status: Only those that are passive, suspended, quarantined, stopped; in a service also live, busy and the like.
        after: Only those behind this id.
        limit: At most so many.
        json: Write one JSON object a line.
    """
    try:
        request = ListSpaces(kind, status, after, limit)
    except ValueError as problem:
        raise UnusableArgument(f"--status: {problem}") from None
    show_list(store, request, spaces_table, json=json, none="There are no such spaces.")
    return 0


def show(
    store: str,
    space: str,
    /,
    *,
    history: Annotated[int, Parameter(validator=Number(gte=0))] = 10,
    json: AsJson = False,
) -> int:
    """Show a space: its state, what waits in it, its timers and questions, and its last history entries.

    Args:
        store: The store: the path of a file, or a postgresql:// address.
        space: The space as KIND/ID, as `spaceactors spaces` lists it.
        history: So many entries of the history.
        json: Write one JSON object.
    """
    kind, slash, space_id = space.partition("/")
    if not slash or not kind or not space_id:
        raise UnusableArgument(f"{space}: a space is named KIND/ID, as `spaceactors spaces` lists it")
    with asked(store, ShowSpace(kind, space_id, history)) as rows:
        if json:
            print_rows(rows)
        else:
            for row in rows:
                print_table(space_page(row))
    return 0
