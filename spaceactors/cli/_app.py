"""The commands, one module each, and what all of them share: texts for mistakes, and exit codes."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version

from cyclopts import App, CycloptsError

from spaceactors.admin import AdminError
from spaceactors.cli._ask import ask
from spaceactors.cli._bench import bench
from spaceactors.cli._care import export, vacuum, verify
from spaceactors.cli._chat import chat
from spaceactors.cli._letters import letters
from spaceactors.cli._load import UnusableArgument
from spaceactors.cli._questions import suspensions
from spaceactors.cli._run import run
from spaceactors.cli._showing import printable
from spaceactors.cli._spaces import show, spaces
from spaceactors.cli._stats import stats
from spaceactors.cli._streams import STANDARD_OUTPUT, OutputFailed

NOT_ALL = 1
UNUSABLE = 2
INTERRUPTED = 130


def make_app() -> App:
    """The command line with all its commands."""
    app = App(
        name="spaceactors",
        help="One serial lane per conversation: run an actor over input, talk to it by hand, look after its store.",
        version=lambda: version("spaceactors"),
        exit_on_error=False,
        result_action="return_value",
    )
    for command in (run, chat, ask, bench, stats, spaces, show, letters, suspensions, export, verify, vacuum):
        app.command(command)
    return app


def _call(arguments: list[str]) -> int:
    try:
        return make_app()(arguments) or 0
    except BaseExceptionGroup as group:
        error = _bare(group)
        raise error from error.__cause__


def _bare(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one exception that nurseries have wrapped, or the group if there are several."""
    match group.exceptions:
        case [BaseExceptionGroup() as inner]:
            return _bare(inner)
        case [error]:
            return error
        case _:
            return group


def run_app(arguments: list[str]) -> int:
    """Run one command and return the exit code."""
    try:
        return _call(arguments)
    except CycloptsError:  # it has said why
        return UNUSABLE
    except (UnusableArgument, AdminError) as problem:
        print(f"spaceactors: {printable(str(problem))}", file=sys.stderr)
        return UNUSABLE
    except KeyboardInterrupt:
        return INTERRUPTED
    except OutputFailed as problem:
        if isinstance(problem.__cause__, BrokenPipeError):  # the reader of our output has gone, and so may we
            os.dup2(os.open(os.devnull, os.O_WRONLY), STANDARD_OUTPUT)
        else:
            print(f"spaceactors: {problem}", file=sys.stderr)
        return NOT_ALL
