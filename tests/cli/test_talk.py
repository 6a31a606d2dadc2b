"""What is typed in a chat means one thing."""

from __future__ import annotations

import pytest

from spaceactors import Actor, handler, handlers_of
from spaceactors.cli._load import UnusableArgument
from spaceactors.cli._talk import Mistake, Quit, Say, Show, Switch, choose_handler, understand


class Parrot(Actor):
    @handler
    async def repeat(self, text: str) -> str:
        return text


class Clerk(Parrot):
    @handler
    async def say(self, text: str) -> str:
        return text


class Double(Parrot):
    @handler
    async def shout(self, text: str) -> str:
        return text.upper()


@pytest.mark.parametrize(
    ("typed", "meaning"),
    [
        ("a latte\n", Say("a latte")),
        ("  ", None),
        ("", None),
        ("/space bob", Switch("bob")),
        ("/space  bob the builder ", Switch("bob the builder")),
        ("/stats", Show.STATS),
        ("/tree", Show.TREE),
        ("/help", Show.HELP),
        ("/quit", Quit.QUIT),
        ("//home", Say("/home")),
    ],
)
def test_what_is_typed_is_understood(typed: str, meaning: object) -> None:
    assert understand(typed) == meaning


@pytest.mark.parametrize(("typed", "hint"), [("/space", "/space NAME"), ("/stat", "no /stat"), ("/", "no /")])
def test_a_mistake_says_what_to_type_instead(typed: str, hint: str) -> None:
    meaning = understand(typed)
    assert isinstance(meaning, Mistake)
    assert hint in meaning.hint


@pytest.mark.parametrize(
    ("actor", "wanted", "chosen"),
    [(Clerk, None, "say"), (Parrot, None, "repeat"), (Clerk, "repeat", "repeat"), (Double, "shout", "shout")],
)
def test_the_handler_that_listens(actor: type[Actor], wanted: str | None, chosen: str) -> None:
    assert choose_handler(actor, dict(handlers_of(actor)), wanted).name == chosen


def test_a_choice_between_handlers_is_asked_for() -> None:
    with pytest.raises(UnusableArgument, match="repeat, shout with --call"):
        choose_handler(Double, dict(handlers_of(Double)), None)


def test_a_handler_that_is_not_there_is_told() -> None:
    with pytest.raises(UnusableArgument, match="--call sing: Clerk has the handlers repeat, say"):
        choose_handler(Clerk, dict(handlers_of(Clerk)), "sing")
