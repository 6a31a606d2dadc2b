"""Sphinx's settings."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

with (Path(__file__).parent.parent / "pyproject.toml").open("rb") as pyproject:
    PROJECT = tomllib.load(pyproject)["project"]

project = "spaceactors"
author = "the spaceactors authors"
copyright = "2026, the spaceactors authors"
version = release = PROJECT["version"]

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinxcontrib_trio",
]
myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = f"spaceactors {version}"


SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")


def to_rst(_app: Any, _what: str, _name: str, _obj: Any, _options: Any, lines: list[str]) -> None:
    """Write a docstring as Sphinx reads it: ours have code in single backticks, or set in after an empty line."""
    rst, above, code = list[str](), "", False
    for line in lines:
        if line.startswith("```"):
            code = not code
            rst.extend(("::", "") if code else ("",))
        elif code:
            rst.append(f"    {line}")
        else:
            if line.startswith("    ") and rst and not rst[-1] and above and not above.startswith(" "):
                rst.extend(("::", ""))
            rst.append(SPAN.sub(r"``\1``", line))
        above = line or above
    lines[:] = rst


def setup(app: Any) -> None:
    """Come before the one who reads "Args:" and "Raises:"."""
    app.connect("autodoc-process-docstring", to_rst, priority=400)
