"""`spaceactors bench`: many prompts over many spaces, in figures."""

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing, redirect_stdout
from typing import Annotated, Literal

import trio
from attrs import define, evolve
from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console

from spaceactors import HandlerInfo, handlers_of
from spaceactors.cli._bench_report import Measured, as_object, as_table
from spaceactors.cli._intake import Intake
from spaceactors.cli._lines import Call, LineCutter, Unfit
from spaceactors.cli._load import UnusableArgument, load_actor, load_deps, load_settings
from spaceactors.cli._prompts import MOST_BYTES, count_spaces, deal, read_prompts
from spaceactors.cli._session import Job, Session, run_session
from spaceactors.cli._statistics import Overlap
from spaceactors.cli._stores import AsJson, make_store, print_rows, print_table
from spaceactors.cli._streams import Source, open_source
from spaceactors.cli._talk import choose_handler

AtLeastOne = Parameter(validator=Number(gte=1))


@define
class Prompts:
    """All calls of a benchmark, as a run takes them."""

    prompts: Sequence[Call]
    spaces: int | None
    repeat: int
    read: int = 0

    @property
    def size(self) -> int:
        """How many calls there are."""
        return len(self.prompts) * self.repeat

    async def feed(self, intake: Intake) -> None:
        """Hand over one call after the other."""
        for call in deal(self.prompts, self.spaces, self.repeat):
            await intake.take(call)
            self.read += 1


def bench(
    target: str,
    /,
    *,
    prompts: Annotated[str, Parameter(name=["--prompts", "-p"], allow_leading_hyphen=True)],
    spaces: Annotated[int | None, AtLeastOne] = None,
    repeat: Annotated[int, AtLeastOne] = 1,
    in_flight: Annotated[int | None, Parameter(name=["--in-flight", "--concurrency"], validator=Number(gte=1))] = None,
    compare: Literal["one-lane"] | None = None,
    call: str | None = None,
    deps: str | None = None,
    store: str | None = None,
    config: str | None = None,
    json: AsJson = False,
) -> int:
    """Benchmark an actor: say many prompts to many spaces, and tell how fast the answers came.

    Ctrl-C finishes what was accepted and reports; a second one stops at once. The exit code is 0 if every prompt was
    handled, 1 if not, 2 if an argument cannot be used, 130 after Ctrl-C.

    Args:
        target: The actor as MODULE_OR_FILE:NAME, such as examples/coffee_shop.py:CoffeeShop.
        prompts: The file of prompts, one a line, or of calls as `run` reads them; - is standard input.
        spaces: Over how many spaces. Without it plain prompts go around 10, and calls to the spaces they name.
        repeat: Say all of them so many times.
        in_flight: At most so many calls have no answer at the same time. Without it as many as there are spaces.
        compare: With one-lane, say them one after another too, and tell how much faster it is in parallel.
        call: The handler that hears plain prompts. Without the option it is `say`, or the only one.
        deps: What the actor is given when it starts, as MODULE_OR_FILE:NAME of a value or of a function that opens it.
        store: Where the spaces are kept, as for `run`. Without it they are in memory.
        config: A TOML file with the bounds of the runtime and its limits, in the table [spaceactors].
        json: Print one JSON object, and show no progress.
    """
    console = Console(stderr=True, highlight=False)
    with redirect_stdout(sys.stderr):  # what the actor prints is no data
        actor = load_actor(target)
        handlers = handlers_of(actor)
        settings = load_settings(config)
        opened = load_deps(actor, deps)
        calls = _read(prompts, handlers, lambda: choose_handler(actor, dict(handlers), call))
        most = in_flight or count_spaces(calls, spaces, repeat)
        measured: list[Measured] = []
        for one_lane in [False, True] if compare else [False]:
            where = None if store is None else make_store(store)
            job = Job(actor, settings.config, one_lane, opened, most, store=where, limits=settings.limits)
            session = Session(job, Prompts(calls, spaces, repeat), sink=None)
            measured += [trio.run(_measure, session, None if json or not console.is_terminal else console)]
            if measured[-1].summary.interrupted:
                break
    if json:
        print_rows([as_object(measured)])
    else:
        print_table(as_table(measured))
    return max(one.summary.exit_code for one in measured)


def _read(path: str, handlers: Mapping[str, HandlerInfo], default: Callable[[], HandlerInfo]) -> list[Call]:
    try:
        with open_source(path, "--prompts") as source:
            return read_prompts(trio.run(_lines, source), handlers, default)
    except Unfit as problem:
        raise UnusableArgument(f"--prompts {path}: {problem}") from None


async def _lines(source: Source) -> list[tuple[int, bytes | None]]:
    cutter, lines = LineCutter(), list[tuple[int, bytes | None]]()
    async with aclosing(source.chunks()) as chunks:
        async for chunk in chunks:
            lines += cutter.feed(chunk)
            if source.read > MOST_BYTES:
                raise Unfit(f"it has more than {MOST_BYTES >> 20} MB, and is held in memory: use `spaceactors run`")
    return [*lines, *cutter.finish()]


async def _measure(session: Session, console: Console | None) -> Measured:
    summary = await run_session(session, console)
    overlap = session.intake.overlap if session.intake else Overlap()
    return Measured(
        evolve(summary, seconds=overlap.seconds),
        session.job.one_lane,
        session.job.in_flight,
        overlap.most,
        overlap.average,
        session.statistics.reasons,
    )
