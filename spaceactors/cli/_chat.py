"""`spaceactors chat`: talk to spaces by hand."""

import sys
from typing import Annotated, Any

import trio
from attrs import define, evolve, field
from cyclopts import Parameter
from rich.console import Console
from rich.text import Text

from spaceactors import Actor, HandlerInfo, Runtime, SpaceError, handlers_of
from spaceactors.cli._lines import LineCutter
from spaceactors.cli._load import load_actor, load_deps, load_settings
from spaceactors.cli._pipelines import figures_of
from spaceactors.cli._report import milliseconds, plural
from spaceactors.cli._results import HANDLED, Result, as_text, outcome_of, reason_of
from spaceactors.cli._session import Job, open_job
from spaceactors.cli._statistics import Statistics
from spaceactors.cli._stops import Stops
from spaceactors.cli._stores import make_store
from spaceactors.cli._streams import Source, open_source
from spaceactors.cli._talk import HELP, Mistake, Quit, Say, Show, Switch, choose_handler, understand

INTERRUPTED = 130


@define
class Talk:
    """A talk while it goes on."""

    runtime: Runtime[Any]
    actor: type[Actor[Any]]
    handler: HandlerInfo
    console: Console
    space: str
    statistics: Statistics = field(factory=Statistics)

    async def hear(self, typed: str) -> bool:
        """Do what was typed; False if that was the end."""
        match understand(typed):
            case Say(text):
                await self.say(text)
            case Switch(space):
                self.space = space
                self.note(f"you talk to {space} now")
            case Show.STATS:
                await self.show_stats()
            case Show.TREE:
                self.console.print(Text(str(self.runtime.tree())))
            case Show.HELP:
                self.note(HELP)
            case Mistake(hint):
                self.note(hint)
            case Quit.QUIT:
                return False
            case None:
                pass
        return True

    async def say(self, text: str) -> None:
        """Ask the space, and show what it answers as soon as it does."""
        began = trio.current_time()
        try:
            await self.show_reply(text)
            result = Result(HANDLED)
        except SpaceError as error:
            result = Result(outcome_of(error), error=reason_of(error))
            self.console.print(Text(f"{result.outcome}: {as_text(result.error)}", "red"))
        self.statistics.count(evolve(result, seconds=trio.current_time() - began))

    async def show_reply(self, text: str) -> None:
        """Show the reply, or the items of a stream as they come."""
        space = self.runtime.space(self.space)
        if not self.handler.streams:
            self.console.print(Text(as_text(await space.ask(self.handler.function, text))))
            return
        async with space.stream(self.handler.function, text) as items:
            async for item in items:
                self.console.print(Text(as_text(item)), end="")
        self.console.print()

    async def show_stats(self) -> None:
        """How many messages ended how, how long the answers took, and what the actor's pipelines did."""
        ledger = (await self.runtime.snapshot()).ledger
        ends = [f"{count} {outcome.name.lower()}" for outcome, count in ledger.outcomes.items() if count]
        self.note(f"{plural(ledger.accepted, 'message')} accepted: {', '.join([*ends, f'{ledger.pending} pending'])}")
        usual, slow = (milliseconds(self.statistics.durations.percentile(percent)) for percent in (50, 99))
        self.note(f"answers in p50 {usual}, p99 {slow}")
        for line in figures_of(self.actor):
            self.note(line)

    def note(self, text: str) -> None:
        """Say something that does not come from a space."""
        self.console.print(Text(text, "dim"))


def chat(
    target: str,
    /,
    *,
    space: str = "me",
    call: str | None = None,
    deps: str | None = None,
    store: str | None = None,
    config: str | None = None,
    one_lane: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Talk to an actor's spaces by hand. Type /help for the commands.

    Args:
        target: The actor as MODULE_OR_FILE:NAME, such as examples/coffee_shop.py:CoffeeShop.
        space: The space to begin with.
        call: The handler that hears what is typed; it takes one text. Without the option it is `say`, or the only one.
        deps: What the actor is given when it starts, as MODULE_OR_FILE:NAME of a value or of a function that opens it.
        store: Where the spaces are kept, as for `run`: the talk goes on where the last one ended.
        config: A TOML file with the bounds of the runtime and its limits, in the table [spaceactors].
        one_lane: Run one turn at a time in all spaces together.
    """
    actor = load_actor(target)
    where = None if store is None else make_store(store)
    settings = load_settings(config)
    opened = load_deps(actor, deps)
    job = Job(actor, settings.config, one_lane, opened, in_flight=1, store=where, limits=settings.limits)
    handler = choose_handler(actor, dict(handlers_of(actor)), call)
    with open_source("-") as source:
        return trio.run(talk, job, handler, source, space)


async def talk(job: Job, handler: HandlerInfo, source: Source, space: str) -> int:
    """Talk until the input ends, /quit or Ctrl-C; then finish what was accepted."""
    stops = Stops()
    console = Console(highlight=False, soft_wrap=True)
    async with trio.open_nursery() as helpers:
        await helpers.start(stops.watch)
        with stops.running:
            async with open_job(job) as runtime:
                with stops.reading:
                    await converse(Talk(runtime, job.actor, handler, console, space), source)
                report = await runtime.drain()
                console.print(Text(str(report), "dim"))
        helpers.cancel_scope.cancel()
    return INTERRUPTED if stops.asked else 0


async def converse(going: Talk, source: Source) -> None:
    """Take one typed line after the other."""
    prompts = sys.stdin.isatty() and going.console.is_terminal
    if prompts:
        going.note("Type /help for the commands.")
        going.console.print(Text(f"{going.space}> ", "bold"), end="")
    cutter = LineCutter()
    async for chunk in source.chunks():
        for _, line in cutter.feed(chunk):
            if not await going.hear((line or b"").decode("utf-8", "replace")):
                return
            if prompts:
                going.console.print(Text(f"{going.space}> ", "bold"), end="")
    for _, line in cutter.finish():
        await going.hear((line or b"").decode("utf-8", "replace"))
