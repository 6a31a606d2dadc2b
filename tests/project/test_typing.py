"""Both type checkers accept the right uses and refuse the wrong ones, line by line."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OURS = ROOT / "tests" / "typing" / "api.py"
CONTRACT = ROOT.parent / "shared" / "contract" / "type_tests.py"
MARK = re.compile(r"#\s*E\b")

pytestmark = [pytest.mark.typing, pytest.mark.timeout(1200)]


def run(command: tuple[str, ...], folder: Path) -> str:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("COV")}  # their code is not ours
    environment = {**plain, "MYPYPATH": str(ROOT), "NO_COLOR": "1"}
    full = (sys.executable, "-m", *command)
    done = subprocess.run(full, cwd=folder, env=environment, check=False, capture_output=True, text=True)
    assert done.stdout, done.stderr
    return done.stdout


def mypy(file: Path) -> dict[int, str]:
    """Line -> what mypy says about it."""
    settings = ("--strict", "--python-version=3.11", f"--cache-dir={file.parent / 'cache'}", "--no-pretty")
    output = run(("mypy", *settings, "--config-file=", "--show-error-codes", file.name), file.parent)
    found = re.findall(rf"^{re.escape(file.name)}:(\d+): error: (.*)$", output, re.MULTILINE)
    assert re.search(r"^(Found|Success)", output, re.MULTILINE), output
    return {int(line): text for line, text in found}


def pyright(file: Path) -> dict[int, str]:
    """Line -> what pyright says about it."""
    settings = {
        "typeCheckingMode": "strict",
        "reportUnusedVariable": False,  # a value that is bound and not read is no wrong use of ours
        "pythonVersion": "3.11",
        "extraPaths": [str(ROOT)],
        "include": [file.name],
    }
    (file.parent / "pyrightconfig.json").write_text(json.dumps(settings))
    try:
        output = run(("pyright", "--outputjson", f"--pythonpath={sys.executable}"), file.parent)
        found = json.loads(output)["generalDiagnostics"]
    except (AssertionError, ValueError):
        if os.environ.get("CI"):
            raise
        pytest.skip("pyright cannot be fetched here")
    return {one["range"]["start"]["line"] + 1: one["message"] for one in found if one["severity"] == "error"}


def module_exists(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.is_dir() or any(path.with_suffix(suffix).exists() for suffix in (".py", ".pyi"))


def without_missing_modules(text: str) -> str:
    """Take out what needs one of our modules that is not yet built; every other line keeps its number.

    That is the import, each parameter whose type comes from it, and each statement that mentions any of these names.
    """
    tree, lines = ast.parse(text), text.splitlines()
    missing = [
        node
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        and (node.module or "").startswith("spaceactors.")
        and not module_exists(node.module or "")
    ]
    lost = {alias.asname or alias.name for node in missing for alias in node.names}

    def mentions(node: ast.AST, names: set[str]) -> bool:
        return any(isinstance(part, ast.Name) and part.id in names for part in ast.walk(node))

    def blank(node: ast.stmt, instead: str = "") -> None:
        lines[node.lineno - 1 : (node.end_lineno or 0)] = [instead] + [""] * ((node.end_lineno or 0) - node.lineno)

    for node in missing:
        blank(node)
    for function in (node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))):
        gone = [argument for argument in function.args.args if argument.annotation and mentions(argument, lost)]
        for argument in gone:
            line = lines[argument.lineno - 1]
            before = line[: argument.col_offset].rstrip().removesuffix(",")
            lines[argument.lineno - 1] = before + line[argument.end_col_offset or 0 :]
        names = lost | {argument.arg for argument in gone}
        cut = [statement for statement in function.body if mentions(statement, names)]
        for statement in cut:
            blank(statement, "    ..." if cut == function.body else "")
    return "\n".join(lines) + "\n"


def verdict(check: Callable[[Path], dict[int, str]], source: str, folder: Path) -> dict[str, dict[int, str]]:
    """What a checker gets wrong about a file of marked uses: nothing, if all is well."""
    file = folder / "uses.py"
    file.write_text(source)
    marked = {number: line.strip() for number, line in enumerate(source.splitlines(), 1) if MARK.search(line)}
    refused = check(file)
    return {
        "accepted, but marked E": {line: marked[line] for line in sorted(marked.keys() - refused.keys())},
        "refused, but not marked": {line: refused[line] for line in sorted(refused.keys() - marked.keys())},
    }


RIGHT: dict[str, dict[int, str]] = {"accepted, but marked E": {}, "refused, but not marked": {}}
checkers = pytest.mark.parametrize("check", [mypy, pyright], ids=["mypy", "pyright"])


@checkers
def test_each_right_use_is_accepted_and_each_wrong_one_refused(
    check: Callable[[Path], dict[int, str]], tmp_path: Path
) -> None:
    assert verdict(check, OURS.read_text(encoding="utf-8"), tmp_path) == RIGHT


@checkers
@pytest.mark.skipif(not CONTRACT.exists(), reason="the contract's own uses are not beside this repository")
def test_the_contract_is_accepted_and_refused_as_it_says(
    check: Callable[[Path], dict[int, str]], tmp_path: Path
) -> None:
    source = without_missing_modules(CONTRACT.read_text(encoding="utf-8"))
    assert verdict(check, source, tmp_path) == RIGHT


def test_what_needs_a_missing_module_is_taken_out_and_nothing_else() -> None:
    before = """\
from spaceactors.not_there import Lost, lose
def both(kept: int, lost: Lost) -> None:
    print(kept)
    lost.ask()
def all_lost() -> None:
    with lose() as x:
        print(x)
"""
    after = """\

def both(kept: int) -> None:
    print(kept)

def all_lost() -> None:
    ...

"""
    assert without_missing_modules(before) == after
