"""`spaceactors ask`: one prompt to one space, and the reply."""

import sys
from contextlib import aclosing, redirect_stdout
from math import inf
from typing import IO, Annotated, Any

import trio
from attrs import define, evolve
from cyclopts import Parameter
from cyclopts.validators import Number

from spaceactors import HandlerInfo, Runtime, SpaceError, handlers_of
from spaceactors.cli._intake import reply_to
from spaceactors.cli._lines import Call, Unfit, call_of
from spaceactors.cli._load import UnusableArgument, load_actor, load_deps, load_settings
from spaceactors.cli._prompts import LARGEST, arguments_of, takes_nothing, text_of
from spaceactors.cli._results import HANDLED, RETURNED, Result, as_text, encode_alone, outcome_of, reason_of
from spaceactors.cli._session import Job, open_job
from spaceactors.cli._stops import Stops
from spaceactors.cli._stores import AsJson, make_store, say
from spaceactors.cli._streams import open_sink, open_source, write
from spaceactors.cli._talk import choose_handler

INTERRUPTED = 130


def ask(
    target: str,
    text: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    /,
    *,
    space: str = "me",
    call: str | None = None,
    args: str | None = None,
    id: str | None = None,  # noqa: A002 (the option's name)
    deps: str | None = None,
    store: str | None = None,
    config: str | None = None,
    timeout: Annotated[float, Parameter(validator=Number(gt=0), show_default=False)] = inf,
    json: AsJson = False,
) -> int:
    """Ask an actor's space one thing, and print the reply alone; of a streaming handler each item as it comes.

    The exit code is 0 if it was handled, 1 if not (standard error says why), 2 if an argument cannot be used, 130 after
    Ctrl-C.

    Args:
        target: The actor as MODULE_OR_FILE:NAME, such as examples/coffee_shop.py:CoffeeShop.
        text: What is said to the space; - or nothing is what standard input has, without its last line end.
        space: The space that is asked.
        call: The handler that is called. Without the option it is `say`, or the only one.
        args: Its arguments in place of one text, as JSON: a list, or an object of named ones.
        id: The message's id: on a store, a known one is answered with the recorded reply.
        deps: What the actor is given when it starts, as MODULE_OR_FILE:NAME of a value or of a function that opens it.
        store: Where the spaces are kept, as for `run`.
        config: A TOML file with the bounds of the runtime and its limits, in the table [spaceactors].
        timeout: Seconds to wait for the reply.
        json: Print one JSON object: space, outcome, reply or error, milliseconds.
    """
    with redirect_stdout(sys.stderr):  # what the actor prints is no data
        actor = load_actor(target)
        handlers = handlers_of(actor)
        handler = choose_handler(actor, dict(handlers), call)
        settings = load_settings(config)
        opened = load_deps(actor, deps)
        if not space or id == "":
            raise UnusableArgument(f"{'--id' if space else '--space'} must not be empty")
        given = _given(handler, text, args)
        try:
            asked = call_of(1, {"space": space, "call": handler.name, "id": id, **given}, handlers)
        except Unfit as problem:
            raise UnusableArgument(str(problem)) from None
        where = None if store is None else make_store(store)
        job = Job(actor, settings.config, one_lane=False, deps=opened, in_flight=1, store=where, limits=settings.limits)
        with open_sink("-") as sink:
            return trio.run(ask_once, job, handler, asked, Printer(sink, json=json), timeout)


def _given(handler: HandlerInfo, text: str | None, args: str | None) -> dict[str, Any]:
    """What the handler is given: JSON, a text, or what standard input has."""
    if args is not None:
        if text is not None:
            raise UnusableArgument("--args takes the place of the text: leave one of them out")
        return arguments_of(args)
    if text not in {None, "-"}:
        return {"args": [text]}
    if text is None and takes_nothing(handler):
        return {}
    if text is None and sys.stdin is not None and sys.stdin.isatty():
        raise UnusableArgument("nothing is asked: write a text behind the actor, - for standard input, or --args JSON")
    return {"args": [text_of(trio.run(_read_standard_input))]}


async def _read_standard_input() -> bytes:
    read = bytearray()
    with open_source("-") as source:
        async with aclosing(source.chunks()) as chunks:
            async for chunk in chunks:
                read += chunk
                if len(read) > LARGEST:  # `text_of` says so; what never ends is not read to its end
                    break
    return bytes(read)


@define
class Printer:
    """Standard output, which has the reply alone."""

    sink: IO[bytes]
    json: bool
    within_line: bool = False  # the last text had no line end

    async def item(self, item: Any) -> None:
        """Print one item of a stream: texts as they are, anything else as a line of its own."""
        await (self._text(item) if isinstance(item, str) else self._line(as_text(item)))

    async def result(self, result: Result, *, streamed: bool) -> None:
        """Print what became of the call; of one that was handled and returned nothing, nothing."""
        if self.json:
            await write(self.sink, encode_alone(result))
            return
        if streamed and self.within_line:
            await self._text("\n")
        if result.outcome != HANDLED:
            say(f"{result.outcome}: {as_text(result.error)}")
        elif not streamed and result.reply is not None:
            await self._line(as_text(result.reply))

    async def _line(self, text: str) -> None:
        if self.within_line:
            await self._text("\n")
        await self._text(f"{text}\n")

    async def _text(self, text: str) -> None:
        # A lone surrogate cannot be written as UTF-8; its backslash form says what was there.
        await write(self.sink, text.encode("utf-8", "backslashreplace"))
        self.within_line = not text.endswith("\n") if text else self.within_line


async def ask_once(job: Job, handler: HandlerInfo, call: Call, printer: Printer, timeout: float) -> int:
    """Ask, print, and return the exit code. Ctrl-C ends it at once: a person waits."""
    stops, handled = Stops(), False
    async with trio.open_nursery() as helpers:
        await helpers.start(stops.watch)
        with stops.reading as everything:
            async with open_job(job) as runtime:
                result = await ask_within(timeout, runtime, handler, call, printer)
                handled = result is not None and result.outcome == HANDLED
                late = Result(RETURNED, call.space, error=f"no reply within {timeout:g} s", seconds=timeout)
                await printer.result(result or late, streamed=handler.streams)
                if result is None:
                    everything.cancel()  # who has no more patience does not wait for the turn's end either
        helpers.cancel_scope.cancel()
    return INTERRUPTED if stops.asked else 0 if handled else 1


async def ask_within(
    timeout: float, runtime: Runtime[Any], handler: HandlerInfo, call: Call, printer: Printer
) -> Result | None:
    """What became of a call; None: nothing in that time."""
    began = trio.current_time()
    with trio.move_on_after(timeout):
        try:
            reply = await reply_to(runtime, handler, call, None if printer.json else printer.item)
            result = Result(HANDLED, call.space, reply=reply)
        except SpaceError as error:
            result = Result(outcome_of(error), call.space, error=reason_of(error))
        return evolve(result, seconds=trio.current_time() - began)
    return None
