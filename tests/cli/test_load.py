"""What the command line names is found, or one sentence says why not."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from spaceactors import Actor, handler
from spaceactors.cli._load import UnusableArgument, load_actor, load_deps

SOURCE = """
from spaceactors import Actor, handler

VALUE = 3

class Clerk(Actor):
    @handler
    async def say(self, text: str) -> str:
        return text

class Mute(Actor):
    pass

class Needy(Actor):
    def __init__(self, db):
        self.db = db

    @handler
    async def say(self, text: str) -> str:
        return text
"""


@pytest.fixture(autouse=True)
def _a_place_with_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clerks.py").write_text(SOURCE)
    (tmp_path / "broken.py").write_text("1 / 0")
    (tmp_path / "leaving.py").write_text("raise SystemExit(3)")
    (tmp_path / "wrong.py").write_text("def")
    (tmp_path / "hungry.py").write_text("import no_such_library")
    (tmp_path / "uses.py").write_text("from clerks import Clerk")
    yield
    for name in set(sys.modules) - before:
        # What was loaded from elsewhere stays: whoever has its classes is to have the same as others.
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.mark.parametrize("target", ["clerks.py:Clerk", "./clerks.py:Clerk", "clerks:Clerk", "uses.py:Clerk"])
def test_an_actor_is_found_in_a_file_or_a_module(target: str) -> None:
    assert load_actor(target).__name__ == "Clerk"


def test_an_absolute_path_is_a_file_too(tmp_path: Path) -> None:
    assert load_actor(f"{tmp_path / 'clerks.py'}:Clerk").__name__ == "Clerk"


def test_the_same_file_is_loaded_once() -> None:
    assert load_actor("clerks.py:Clerk") is load_actor("./clerks.py:Clerk")


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("clerks.py", "a colon and a name"),
        (":Clerk", "a colon and a name"),
        ("clerks.py:", "a colon and a name"),
        ("nowhere.py:Clerk", "no such file"),
        ("nowhere:Clerk", "no such module"),
        ("clerks.py:Clark", "did you mean Clerk?"),
        ("clerks.py:Xyz", "its actors are Clerk, Mute, Needy"),
        ("clerks.py:VALUE", "is not an actor class"),
        ("clerks.py:Mute", "no method marked with @handler"),
        ("broken.py:Clerk", "cannot be imported: ZeroDivisionError"),
        ("broken:Clerk", "cannot be imported: ZeroDivisionError"),
        ("leaving.py:Clerk", "cannot be imported: SystemExit"),
        ("wrong.py:Clerk", "cannot be imported: SyntaxError"),
        ("hungry:Clerk", "cannot be imported: ModuleNotFoundError"),
    ],
)
def test_what_cannot_be_used_says_why(target: str, reason: str) -> None:
    with pytest.raises(UnusableArgument, match=f"(?s){reason.replace('?', '[?]')}"):
        load_actor(target)


class Plain(Actor):
    @handler
    async def say(self, text: str) -> str:
        return text


class Needy(Plain):
    def __init__(self, db: object) -> None:
        self.db = db


def test_dependencies_are_a_named_value() -> None:
    assert load_deps(Needy, "clerks.py:VALUE") == {"deps": 3}


def test_an_actor_without_dependencies_gets_none() -> None:
    assert load_deps(Plain, None) == {}


def test_missing_dependencies_are_asked_for() -> None:
    with pytest.raises(UnusableArgument, match="Needy takes 'db': tell it with --deps"):
        load_deps(Needy, None)


def test_dependencies_that_nobody_takes_are_refused() -> None:
    with pytest.raises(UnusableArgument, match="Plain takes no dependencies"):
        load_deps(Plain, "clerks.py:VALUE")
