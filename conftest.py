"""Runs the README and the documentation as tests.

A `python` block is run, in one namespace per page. An `output` block is what the block before it must have printed.
Blocks of any other language (`console`, `text`) are read by people only.
"""

from __future__ import annotations

import textwrap
from contextlib import redirect_stdout
from io import StringIO
from typing import TYPE_CHECKING

from sybil import Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.myst import CodeBlockParser, SkipParser

if TYPE_CHECKING:
    from sybil import Example

PRINTED = "what the last python block printed"


class PrintingEvaluator(PythonEvaluator):
    """Runs a block as a program of its own would run, and remembers what it printed."""

    def __call__(self, example: Example) -> None:
        """Run the block."""
        example.namespace.setdefault("__name__", "documentation")
        printed = StringIO()
        with redirect_stdout(printed):
            super().__call__(example)
        example.namespace[PRINTED] = printed.getvalue()


def compare(example: Example) -> None:
    """Compare an output block with what was printed."""
    expected, printed = (textwrap.dedent(text).strip() for text in (example.parsed, example.namespace[PRINTED]))
    if printed != expected:
        raise AssertionError(f"the page shows\n{expected}\n\nbut this was printed\n{printed}")


pytest_collect_file = Sybil(
    parsers=[
        CodeBlockParser(language="python", evaluator=PrintingEvaluator()),
        CodeBlockParser(language="output", evaluator=compare),
        SkipParser(),
    ],
    patterns=["README.md", "docs/*.md", "docs/**/*.md"],
).pytest()
