"""Writes docs/reference/behaviour.md: every rule by its id, and the tests that show it.

A test shows a rule when its name begins with the rule's id, `test_R17_…`, or with several, `test_R1_R2_…`. The texts of
the rules stand in `behaviour_rules.py`; nothing else is kept by hand, so the page cannot drift from the tests.

Tests of pipelines and of batches are named by the promised features that they show, and listed on the page of features.

    python tools/behaviour_table.py            write the page
    python tools/behaviour_table.py --missing  list the rules that no test shows
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

from behaviour_rules import GROUPS, PLANNED, RULES, SHOWN_ELSEWHERE

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "reference" / "behaviour.md"
IDS = re.compile(r"test_((?:[A-Z]\d+_)+)")
OF_FEATURES = re.compile(
    r"(?:pipelines|tasks)/|examples/test_(?:orchestrator|documents|ten_agents)$|project/test_benchmarks$"
)

HEAD = """\
# What holds, and which test shows it

Runtimes of this kind break in known ways. Each rule below is one of them, with the tests that fail when it is broken.
The [laws](../explanation/laws.md) say the same in nine sentences; this page is the small print. A rule marked *planned*
belongs to a part that is not built yet.

This page is written by `tools/behaviour_table.py` from the names of the tests.
"""


def ids_of(test: str) -> tuple[str, ...]:
    """`test_R1_R2_…` -> ("R1", "R2")."""
    match = IDS.match(test)
    return tuple(match[1].rstrip("_").split("_")) if match else ()


def tests_in(path: Path) -> list[str]:
    """The names of a file's test functions, in the order of the file."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return [
        node.name
        for node in nodes
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_")
    ]


def shown_by(folder: Path = ROOT / "tests") -> dict[str, list[str]]:
    """Rule id -> the tests that show it, each as `folder/file: name`."""
    found: dict[str, list[str]] = {}
    for path in sorted(folder.rglob("test_*.py")):
        where = path.relative_to(folder).with_suffix("").as_posix()
        if OF_FEATURES.match(where):
            continue
        for test in tests_in(path):
            for rule in ids_of(test):
                found.setdefault(rule, []).append(f"{where}: {test}")
    return found


def required() -> list[str]:
    """The rules that some test must show today."""
    return [rule for rule in RULES if rule not in PLANNED and rule not in SHOWN_ELSEWHERE]


def missing(found: dict[str, list[str]]) -> list[str]:
    """The rules that ought to be shown and are not."""
    return [rule for rule in required() if rule not in found]


def entry(rule: str, tests: list[str]) -> str:
    """One rule with its tests, as an item of a definition list."""
    if tests:
        shown = "\n".join(f": `{test}`" for test in tests)
    elif rule in SHOWN_ELSEWHERE:
        shown = f": {SHOWN_ELSEWHERE[rule]}"
    else:
        shown = ": *planned*"
    return f"**{rule}** {RULES[rule]}\n{shown}\n"


def page(found: dict[str, list[str]]) -> str:
    """The whole page."""
    parts = [HEAD]
    for letter, title in GROUPS.items():
        rules = [rule for rule in RULES if rule.rstrip("0123456789") == letter]
        parts.append(f"## {letter}: {title}\n")
        parts.extend(entry(rule, found.get(rule, [])) for rule in rules)
    return "\n".join(parts)


def main() -> None:
    """Write the page, or list what is missing."""
    found = shown_by()
    if "--missing" in sys.argv[1:]:
        print(*missing(found), sep="\n")
    else:
        PAGE.parent.mkdir(parents=True, exist_ok=True)
        PAGE.write_text(page(found), encoding="utf-8")


if __name__ == "__main__":
    main()
