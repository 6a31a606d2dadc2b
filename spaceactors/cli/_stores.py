"""What the commands about a store share: opening it, writing rows out, saying what there is to say."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console

from spaceactors.admin import is_address, open_store
from spaceactors.cli._load import UnusableArgument
from spaceactors.cli._showing import as_line, printable
from spaceactors.cli._streams import STANDARD_OUTPUT, OutputFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from rich.console import RenderableType

    from spaceactors import Store
    from spaceactors.admin import Request, Row

Switch = Parameter(negative=())
AsJson = Annotated[bool, Parameter(name="--json", negative=())]
Limit = Annotated[int, Parameter(validator=Number(gte=1))]


@contextmanager
def asked(store: str, request: Request) -> Generator[Iterator[Row]]:
    """Open a store, ask it, and give the rows as they come."""
    with open_store(store) as opened:
        yield opened.ask(request)


def print_rows(rows: Iterable[Row]) -> int:
    """Print rows as lines of JSON as they come; return how many there were."""
    count = 0
    try:
        with open(STANDARD_OUTPUT, "wb", closefd=False) as sink:
            for count, row in enumerate(rows, 1):  # noqa: B007 (it is returned)
                sink.write(as_line(row))
    except OSError as error:
        raise OutputFailed(f"the output cannot be written: {error.strerror}") from error
    return count


def print_table(table: RenderableType) -> None:
    """Print something for people; where there is no terminal, as wide as it needs."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 10_000
    console.print(table, soft_wrap=True)


def show_list(
    store: str, request: Any, table: Callable[[Iterable[Row]], RenderableType], *, json: bool, none: str
) -> None:
    """Show a list as lines or as a table, and say how to go on where it was cut."""
    last: list[Row] = []

    def passing(rows: Iterable[Row]) -> Iterator[Row]:
        for row in rows:
            last[:] = [row]
            yield row

    with asked(store, request) as rows:
        if json:
            count = print_rows(passing(rows))
        else:
            found = list(passing(rows))
            count = len(found)
            if found:
                print_table(table(found))
            else:
                say(none)
    if count == request.limit:
        say(f"only the first {count:,} are shown: --limit shows more{_how_to_go_on(request, last[0])}")


def _how_to_go_on(request: Any, last: Row) -> str:
    if not hasattr(request, "after"):
        return ""
    return f", --after {last['number'] if 'number' in last else last['space']} goes on behind them"


def say(text: str) -> None:
    """Say something that is no data."""
    print(printable(text), file=sys.stderr)


def make_store(target: str) -> Store:
    """Return the store that an actor is to run on: a file, made if there is none, or a PostgreSQL database."""
    import spaceactors

    try:
        if is_address(target):
            return spaceactors.PostgresStore(target)
        return spaceactors.SqliteStore(target)
    except ModuleNotFoundError as error:
        raise UnusableArgument(f"--store: {error.name} is needed: pip install 'spaceactors[postgres]'") from None
    except (spaceactors.StoreError, ValueError) as error:
        raise UnusableArgument(f"--store: {error}") from None
