"""`spaceactors export`, `verify` and `vacuum`: a store as a whole."""

import os
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from spaceactors.admin import Export, Vacuum, Verify, is_address, open_store
from spaceactors.cli._load import UnusableArgument
from spaceactors.cli._report import plural
from spaceactors.cli._showing import as_line, printable
from spaceactors.cli._stores import AsJson, asked, print_rows, say
from spaceactors.cli._streams import OutputFailed, open_sink

Output = Annotated[str, Parameter(name=["--output", "-o"], allow_leading_hyphen=True)]


def export(store: str, /, *, output: Output = "-") -> int:
    """Write everything that a store keeps, one JSON object a line. Memory stays small, however much there is.

    Args:
        store: The store: the path of a file, or a postgresql:// address.
        output: The file to write; - is standard output.
    """
    with open_store(store) as opened:  # before the output, which is not made for a store that is not there
        _refuse_the_store(store, output)
        count = 0
        try:
            with open_sink(output) as sink:
                for row in opened.ask(Export()):
                    sink.write(as_line(row))
                    count += 1
                sink.flush()
        except OSError as error:
            raise OutputFailed(f"the output cannot be written: {error.strerror}") from error
    if output != "-":
        say(f"{plural(count, 'row')} written to {output}")
    return 0


def _refuse_the_store(store: str, output: str) -> None:
    if not is_address(store) and Path(output).exists() and Path(output).samefile(store):
        raise UnusableArgument(f"--output {output}: this is the store itself")


def verify(store: str, /, *, json: AsJson = False) -> int:
    """Check a store through and through. The exit code is 1 if something is wrong with it.

    Args:
        store: The store: the path of a file, or a postgresql:// address.
        json: Write what is wrong as one JSON object a line.
    """
    with asked(store, Verify()) as rows:
        if json:
            return 1 if print_rows(rows) else 0
        faults = [row["fault"] for row in rows]
    for fault in faults:
        print(printable(fault))
    print(f"{plural(len(faults), 'fault')} found" if faults else "no fault found")
    return 1 if faults else 0


def vacuum(store: str, /) -> int:
    """Give unused space back to the disk. A running service writes nothing meanwhile.

    Args:
        store: The store: the path of a file, or a postgresql:// address.
    """
    before = size_of(store)
    with asked(store, Vacuum()) as rows:
        for _ in rows:
            pass
    after = size_of(store)
    told = f": it had {before:,} bytes and has {after:,}" if before is not None else ""
    print(f"the store is vacuumed{told}")
    return 0


def size_of(store: str) -> int | None:
    """Return how much a store's file has, with what SQLite keeps beside it; None for a database server's."""
    if is_address(store):
        return None
    files = (store, f"{store}-wal")
    return sum(os.stat(one).st_size for one in files if os.path.exists(one))  # noqa: PTH110, PTH116 (paths as texts)
