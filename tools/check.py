"""Everything that guards the project, one section after the other; `make test` is this.

All sections run even when an early one fails, so that one run tells all. The tests come last: what is printed last is
pytest's closing line, or one of the same form which also counts the sections that failed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COUNT = re.compile(r"(\d+) (passed|failed|error)")


@dataclass(frozen=True)
class Section:
    """One tool and what it guards."""

    title: str
    command: tuple[str, ...]


SECTIONS = (
    Section("format: ruff format", ("ruff", "format", "--check", ".")),
    Section("lint: ruff check", ("ruff", "check", ".")),
    Section("types: mypy --strict", ("mypy",)),
    Section("types: pyright strict", ("pyright",)),
    Section("docs: sphinx -W", ("sphinx", "-W", "--keep-going", "-q", "docs", "docs/_build/html")),
)
TESTS = Section(
    "tests, examples of the documentation, coverage",
    ("pytest", "--numprocesses=2", "--dist=worksteal", "-q", "--no-header", "--cov", "--cov-report=term"),
)


def say(text: str) -> None:
    """Print at once: the tools below write to the same place."""
    print(text, flush=True)


def run(section: Section) -> bool:
    """Run one tool and say how it went."""
    say(f"\n=== {section.title}")
    started = time.monotonic()
    done = subprocess.run((sys.executable, "-m", *section.command), cwd=ROOT, check=False)
    say(f"--- {'ok' if done.returncode == 0 else 'FAILED'} in {time.monotonic() - started:.1f} s")
    return done.returncode == 0


def pyright_missing() -> bool:
    """Pyright fetches itself from npm's registry the first time; without a network it cannot."""
    probe = (sys.executable, "-m", "pyright", "--version")
    return subprocess.run(probe, cwd=ROOT, check=False, capture_output=True).returncode != 0


def may_skip(section: Section) -> bool:
    """Whether this tool is not to be had here, which only a developer's machine may shrug off."""
    return section.command[0] == "pyright" and not os.environ.get("CI") and pyright_missing()


def run_tests() -> tuple[bool, str]:
    """Run pytest, pass on all it prints, and remember its closing line."""
    say(f"\n=== {TESTS.title}")
    closing = ""
    with subprocess.Popen(
        (sys.executable, "-m", *TESTS.command), cwd=ROOT, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as pytest:
        assert pytest.stdout is not None  # noqa: S101  (asked for above; mypy cannot know)
        for line in pytest.stdout:
            print(line, end="", flush=True)
            closing = line if COUNT.search(line) else closing
    return pytest.returncode == 0, closing


def summary(closing: str, failed_sections: list[str], *, tests_ok: bool) -> str:
    """The last line when something failed: pytest's counts, with each failed section counted as one failure."""
    counts = {word: int(number) for number, word in COUNT.findall(closing)}
    failed = counts.get("failed", 0) + counts.get("error", 0) + len(failed_sections)
    if not tests_ok and not counts.get("failed") and not counts.get("error"):
        failed += 1  # coverage below its gate, or pytest could not start
    return f"{counts.get('passed', 0)} passed, {failed} failed"


def main() -> int:
    """Run all; 0 when all is well."""
    failed: list[str] = []
    for section in SECTIONS:
        if may_skip(section):
            say(f"\n=== {section.title}\n--- skipped: pyright cannot be fetched here (under CI=true: a failure)")
        elif not run(section):
            failed.append(section.title)
    tests_ok, closing = run_tests()
    if not failed and tests_ok:
        return 0
    say(f"\nfailed: {'; '.join(failed + ([] if tests_ok else [TESTS.title]))}")
    say(summary(closing, failed, tests_ok=tests_ok))
    return 1


if __name__ == "__main__":
    sys.exit(main())
