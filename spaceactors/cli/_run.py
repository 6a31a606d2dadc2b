"""`spaceactors run`: a file of calls in, a file of answers out."""

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import trio
from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console

from spaceactors.cli._load import load_actor, load_deps, load_settings
from spaceactors.cli._report import as_json, as_table
from spaceactors.cli._session import Job, Lines, Session, run_session
from spaceactors.cli._stores import make_store
from spaceactors.cli._streams import open_sink, open_source

Switch = Parameter(negative=())
AtLeastOne = Parameter(validator=Number(gte=1))


def run(
    target: str,
    /,
    *,
    input: Annotated[str, Parameter(name=["--input", "-i"], allow_leading_hyphen=True)] = "-",  # noqa: A002 (the option's name)
    output: Annotated[str, Parameter(name=["--output", "-o"], allow_leading_hyphen=True)] = "-",
    json: Annotated[bool, Switch] = False,
    deps: str | None = None,
    store: str | None = None,
    once: Annotated[bool, Switch] = False,
    config: str | None = None,
    max_live: Annotated[int | None, AtLeastOne] = None,
    one_lane: Annotated[bool, Switch] = False,
    in_flight: Annotated[int, AtLeastOne] = 1000,
    drain_timeout: Annotated[float | None, Parameter(validator=Number(gte=0))] = None,
) -> int:
    """Run an actor over calls, one JSON object a line, and write what became of each, one JSON object a line.

    A call is {"space": "alice", "call": "say", "args": ["hello"]}; "kwargs", "group", "id" and "priority" may be added.

    The first Ctrl-C (or SIGTERM) finishes what was accepted, the second stops at once. The exit code is 0 if every line
    was handled, 1 if not, 2 if an argument cannot be used, 130 after Ctrl-C.

    Args:
        target: The actor as MODULE_OR_FILE:NAME, such as examples/coffee_shop.py:CoffeeShop.
        input: The file of calls; - is standard input.
        output: The file of answers; - is standard output.
        json: Write the report as JSON too, and show no progress.
        deps: What the actor is given when it starts, as MODULE_OR_FILE:NAME of a value or of a function that opens it.
        store: Where the spaces are kept: the path of a file, made if there is none, or a postgresql:// address. Without
            it they are in memory, and gone at the end.
        once: Handle each line once, however often the run is repeated on its store: a line without an id gets one made
            of the input's name, the line's number and text. One that was handled is answered with the recorded reply.
        config: A TOML file with the bounds of the runtime and its limits, in the table [spaceactors].
        max_live: Keep at most so many spaces live (10000, or as the file says); those that were idle longest go first.
        one_lane: Run one turn at a time in all spaces together.
        in_flight: Read no further while so many calls have no answer.
        drain_timeout: Seconds that accepted calls may take to finish after Ctrl-C (30, or what the file says).
    """
    with redirect_stdout(sys.stderr):  # what the actor prints is no data
        actor = load_actor(target)
        settings = load_settings(config, max_live_spaces=max_live, drain_timeout=drain_timeout)
        where = None if store is None else make_store(store)
        job = Job(
            actor,
            settings.config,
            one_lane,
            load_deps(actor, deps),
            in_flight,
            store=where,
            limits=settings.limits,
        )
        console = Console(stderr=True, highlight=False)
        with open_source(input) as source, open_sink(output) as sink:
            lines = Lines(source, Path(input).name if once else None)
            quiet = json or not console.is_terminal or sink.isatty()
            summary = trio.run(run_session, Session(job, lines, sink), None if quiet else console)
    if json:
        print(as_json(summary), file=sys.stderr)
    else:
        console.print(as_table(summary))
    return summary.exit_code
