"""The command in this process, which is quicker than one of its own: with files in the place of its three streams."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from pathlib import Path
from tempfile import TemporaryFile

import pytest
from attrs import frozen

from spaceactors.cli._app import run_app

CLERKS = Path(__file__).with_name("clerks.py")
CLERK, OWNER, ASKER = (f"{CLERKS}:{name}" for name in ("Clerk", "Owner", "Asker"))


@frozen
class Done:
    """What a command wrote, and how it ended."""

    stdout: str
    stderr: str
    code: int

    @property
    def complaint(self) -> tuple[str, int]:
        """What it says of an argument that cannot be used: one line, and nothing on standard output."""
        assert (self.stdout, self.stderr.count("\n")) == ("", 1)
        return self.stderr.strip(), self.code


def spaceactors(*arguments: str, given: str | bytes = b"") -> Done:
    """Run a command on what is given to its standard input."""
    with TemporaryFile() as source, TemporaryFile() as out, TemporaryFile() as err, ExitStack() as undo:
        source.write(given.encode() if isinstance(given, str) else given)
        source.seek(0)
        for descriptor, file in enumerate((source, out, err)):
            kept = os.dup(descriptor)
            undo.callback(os.close, kept)
            undo.callback(os.dup2, kept, descriptor)
            os.dup2(file.fileno(), descriptor)
        patch = undo.enter_context(pytest.MonkeyPatch.context())
        stdin, stdout, stderr = (
            undo.enter_context(open(descriptor, mode, closefd=False)) for descriptor, mode in enumerate("rww")
        )
        patch.setattr(sys, "stdin", stdin)
        with redirect_stdout(stdout), redirect_stderr(stderr):
            code = run_app([*arguments])
        stdout.flush()
        stderr.flush()
        out.seek(0)
        err.seek(0)
        return Done(out.read().decode(), err.read().decode(), code)
