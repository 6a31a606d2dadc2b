"""What a person types in `spaceactors chat`, as data. Pure."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

from attrs import frozen

from spaceactors.cli._load import UnusableArgument

if TYPE_CHECKING:
    from spaceactors import Actor, HandlerInfo

HELP = """\
/space NAME  talk to another space
/stats       messages so far, by outcome; what pipelines did
/tree        the runtime, its live spaces and how they are
/help        this text
/quit        finish what was accepted, and leave (so does Ctrl-D)
Anything else is said to the space; begin with // to say something that begins with /."""


class Show(Enum):
    """What can be looked at."""

    STATS = "stats"
    TREE = "tree"
    HELP = "help"


class Quit(Enum):
    """The end of the talk."""

    QUIT = "quit"


@frozen
class Say:
    """Something for the space."""

    text: str


@frozen
class Switch:
    """From now on another space is meant."""

    space: str


@frozen
class Mistake:
    """A command that there is not, and what to type instead."""

    hint: str


def understand(typed: str) -> Say | Switch | Show | Quit | Mistake | None:
    """What a typed line means; None for an empty one."""
    text = typed.strip()
    if not text.startswith("/"):
        return Say(text) if text else None
    if text.startswith("//"):
        return Say(text[1:])
    match text[1:].split(maxsplit=1):
        case ["space", name]:
            return Switch(name)
        case ["stats" | "tree" | "help" as what]:
            return Show(what)
        case ["quit"]:
            return Quit.QUIT
        case ["space"]:
            return Mistake("which one? type /space NAME")
        case _:
            return Mistake(f"there is no {text.split()[0]}: /help tells what there is")


def choose_handler(actor: type[Actor[Any]], handlers: dict[str, HandlerInfo], wanted: str | None) -> HandlerInfo:
    """The handler that hears what is typed: the one wanted, else `say`, else the only one."""
    names = ", ".join(sorted(handlers))
    if wanted is not None and wanted not in handlers:
        raise UnusableArgument(f"--call {wanted}: {actor.__name__} has the handlers {names}")
    if wanted is None and "say" not in handlers and len(handlers) > 1:
        raise UnusableArgument(f"{actor.__name__} has no handler `say`: choose one of {names} with --call NAME")
    return handlers[wanted or ("say" if "say" in handlers else names)]
