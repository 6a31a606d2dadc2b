"""The reference shows every public name, as a page and not as the text of one."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from types import ModuleType

import pytest

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference"
PAGES = {
    "supervisors": "supervisors.md",
    "supervisors.testing": "supervisors.md",
    "spaceactors": "spaceactors.md",
    "spaceactors.testing": "spaceactors.md",
    "spaceactors.bridge": "spaceactors.md",
    "spaceactors.pipelines": "spaceactors.md",
    "spaceactors.tasks": "spaceactors.md",
}


@pytest.fixture(params=PAGES)
def module(request: pytest.FixtureRequest) -> ModuleType:
    return importlib.import_module(request.param)


def page_of(module: ModuleType) -> str:
    return (REFERENCE / PAGES[module.__name__]).read_text(encoding="utf-8")


def own_docstring(thing: object) -> str | None:
    """What Sphinx would show; what has none is left out by it."""
    return thing.__doc__ if callable(thing) and not hasattr(thing, "__args__") else None


def test_every_public_name_is_in_the_reference(module: ModuleType) -> None:
    """Sphinx finds what `dir` shows and what has a docstring; the rest is on the page by hand."""
    page = page_of(module)
    [options] = re.findall(rf"\.\. automodule:: {module.__name__}\n((?:   :.*\n)+)", page)
    left_out = set(re.findall(r"\w+", "".join(re.findall(":exclude-members: (.*)", options))))
    by_sphinx = {name for name in dir(module) if own_docstring(getattr(module, name))} - left_out
    by_hand = set(re.findall(r"py:data:: (\w+)", page)) | set(re.findall(r"\{py:obj\}`(\w+) <", page))
    assert set(module.__all__) - by_sphinx - by_hand == set()
    assert left_out <= by_hand


def test_what_is_shown_elsewhere_is_linked_to_where_it_is() -> None:
    """A name of the layer below is described once."""
    below = importlib.import_module("supervisors")
    linked = re.findall(r"\{py:obj\}`(\w+) <supervisors\.(\w+)>`", page_of(importlib.import_module("spaceactors")))
    assert linked
    assert [name for name, there in linked if name != there or name not in below.__all__] == []


@pytest.mark.parametrize("page", sorted(REFERENCE.glob("*.md")), ids=lambda page: page.name)
def test_no_page_hands_reStructuredText_to_a_reader_of_Markdown(page: Path) -> None:
    """A bare `{automodule}` is rendered as text; `{eval-rst}` around it makes a page."""
    assert not re.search(r"```\{auto", page.read_text(encoding="utf-8"))


def test_names_that_load_late_are_shown_by_dir(module: ModuleType) -> None:
    assert set(module.__all__) <= set(dir(module))
