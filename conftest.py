"""Runs the README and the documentation as tests.

A `python` block is run, in one namespace and one empty folder per page. An `output` block is what the block before it
must have printed. Blocks of any other language (`console`, `text`) are read by people only. Programs on a page run on
virtual time: where a reader waits a second, the tests do not. Only those with a file, with threads or with processes
run on the real clock, because a virtual one does not wait for these.
"""

from __future__ import annotations

import sys
import textwrap
from contextlib import chdir, contextmanager, redirect_stdout
from functools import partial
from io import StringIO
from typing import TYPE_CHECKING, Any, cast
from unittest import mock

import trio
from sybil import Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.myst import CodeBlockParser, SkipParser
from trio.testing import MockClock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

    from sybil import Example
    from trio.abc import Clock

real_run = trio.run

PRINTED = "what the last python block printed"
FOLDER = "where the programs of the page leave their files"
REACHED = "the line of the last block that was run"
OUTSIDE = ("SqliteStore(", "open_context")
FACTORY = "tmp_path_factory"
# When a virtual clock begins: anywhere but at zero, as Trio's own does, so that a page shows how long something took
# and not what the clock said. Two pages still show the latter.
BEGINS = 12345.0
AT_ZERO = ("limit-provider-calls.md", "survive-overload.md")


def run_on_virtual_time(
    begins: float, main: Callable[..., Awaitable[object]], *args: object, clock: Clock | None = None
) -> object:
    """What `trio.run` is on a page."""
    if clock is None:
        clock = MockClock(autojump_threshold=0)
        clock.jump(begins)
    return real_run(main, *args, clock=clock)


def catch_up(example: Example) -> None:
    """Have exactly what comes before it on the page be run: workers share the blocks of a page out among themselves."""
    namespace = example.namespace
    if namespace.get(REACHED, 0) >= example.line:
        for name in namespace.keys() - {FACTORY}:
            del namespace[name]
    for earlier in example.document.examples():
        if namespace.get(REACHED, 0) < earlier.line < example.line:
            earlier.evaluate()
    namespace[REACHED] = example.line


class Page:
    """A page as a module: its names are those of the page's blocks."""

    # Processes that a page starts find no program there to import: functions of the page cannot run in them.
    __spec__ = None

    def __init__(self, namespace: dict[str, Any]) -> None:
        self.__dict__ = namespace


@contextmanager
def as_program(namespace: dict[str, Any]) -> Generator[None]:
    """Have the page be the program that runs: stores look for its classes there."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = cast("Any", Page(namespace))
    try:
        yield
    finally:
        sys.modules["__main__"] = main


class PrintingEvaluator(PythonEvaluator):
    """Runs a block as the program that it shows, and remembers what it printed."""

    def __call__(self, example: Example) -> None:
        """Run the block."""
        catch_up(example)
        namespace = example.namespace
        namespace.setdefault("__name__", "__main__")
        if FOLDER not in namespace:
            namespace[FOLDER] = namespace[FACTORY].mktemp("page")
        begins = 0.0 if example.path.endswith(AT_ZERO) else BEGINS
        on_virtual_time = partial(run_on_virtual_time, begins)
        run = real_run if any(mark in example.parsed for mark in OUTSIDE) else on_virtual_time
        printed = StringIO()
        with (
            as_program(namespace),
            chdir(namespace[FOLDER]),
            redirect_stdout(printed),
            mock.patch("trio.run", run),
        ):
            super().__call__(example)
        namespace[PRINTED] = printed.getvalue()


def compare(example: Example) -> None:
    """Compare an output block with what was printed."""
    catch_up(example)
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
    fixtures=[FACTORY],
).pytest()
