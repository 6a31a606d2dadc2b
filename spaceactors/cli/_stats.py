"""`spaceactors stats`: a store as a whole, in figures."""

from spaceactors.admin import CountAll
from spaceactors.cli._care import size_of
from spaceactors.cli._figures import figures_page
from spaceactors.cli._stores import AsJson, asked, print_rows, print_table


def stats(store: str, /, *, json: AsJson = False) -> int:
    """Tell how much a store holds, kind by kind, and how the service fares that runs on it.

    Args:
        store: The store: the path of a file, or a postgresql:// address.
        json: Write one JSON object.
    """
    with asked(store, CountAll()) as rows:
        told = [{**row, "file_bytes": size_of(store)} for row in rows]
    if json:
        print_rows(told)
    else:
        for row in told:
            print_table(figures_page(row))
    return 0
