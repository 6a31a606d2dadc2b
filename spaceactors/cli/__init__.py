"""The `spaceactors` command. Its libraries (the `cli` extra) load when it runs, never with `import spaceactors`."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line, and leave the process with its exit code."""
    try:
        from spaceactors.cli._app import run_app
    except ModuleNotFoundError as error:
        library = str(error.name).partition(".")[0]
        if library not in {"cyclopts", "rich"}:
            raise
        print(f"spaceactors: the command line needs {library}: pip install 'spaceactors[cli]'", file=sys.stderr)
        sys.exit(2)
    sys.exit(run_app(sys.argv[1:]))
