"""Runs the README and the documentation as tests.

A `python` block is run, in one namespace per page. An `output` block is what the block before it must have printed.
Blocks of any other language (`console`, `text`) are read by people only. Programs on a page run on virtual time: where
a reader waits a second, the tests do not.
"""

from __future__ import annotations

import textwrap
from contextlib import redirect_stdout
from io import StringIO
from typing import TYPE_CHECKING
from unittest import mock

import trio
from sybil import Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.myst import CodeBlockParser, SkipParser
from trio.testing import MockClock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sybil import Example
    from trio.abc import Clock

real_run = trio.run

PRINTED = "what the last python block printed"


def run_on_virtual_time(main: Callable[..., Awaitable[object]], *args: object, clock: Clock | None = None) -> object:
    """What `trio.run` is on a page."""
    return real_run(main, *args, clock=clock or MockClock(autojump_threshold=0))


class PrintingEvaluator(PythonEvaluator):
    """Runs a block as the program that it shows, and remembers what it printed."""

    def __call__(self, example: Example) -> None:
        """Run the block."""
        example.namespace.setdefault("__name__", "__main__")
        printed = StringIO()
        with redirect_stdout(printed), mock.patch("trio.run", run_on_virtual_time):
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
