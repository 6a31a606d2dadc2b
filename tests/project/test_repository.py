"""The repository holds what it should, and nothing of the machine it was written on."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tracked() -> list[Path]:
    """Every file under version control; from an archive without it, every file."""
    listing = subprocess.run(("git", "ls-files", "-z"), cwd=ROOT, check=False, capture_output=True, text=True)
    if listing.returncode:
        pytest.skip("not a git work tree")
    return [path for name in listing.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def texts(paths: list[Path]) -> dict[str, str]:
    here = Path(__file__).resolve()
    return {
        str(path.relative_to(ROOT)): path.read_text(encoding="utf-8", errors="ignore") for path in paths if path != here
    }


def matches(pattern: str, paths: list[Path]) -> list[str]:
    found = re.compile(pattern)
    return [f"{name}: {match[0]}" for name, text in texts(paths).items() for match in found.finditer(text)]


def test_no_path_of_a_machine_is_written_down(tracked: list[Path]) -> None:
    assert matches(r"(?<![\w.])/(?:root|work|Users)/[\w.]+|/home/[a-z]\w*/", tracked) == []


def test_no_registry_or_index_address_is_written_down(tracked: list[Path]) -> None:
    assert matches(r"files\.pythonhosted\.org|registry\.npmjs\.org|--(?:extra-)?index-url|--find-links", tracked) == []


def test_no_lock_file_is_tracked(tracked: list[Path]) -> None:
    names = {path.name for path in tracked}
    lock_files = {"uv.lock", "poetry.lock", "Pipfile.lock", "pdm.lock", "package-lock.json"}
    assert {name for name in names if name in lock_files or re.fullmatch(r"pylock.*\.toml", name)} == set()


def test_the_changelog_tells_of_this_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert re.search(rf"^## {re.escape(version)}\b", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)


def test_continuous_integration_runs_what_a_developer_runs() -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    assert script.read_text(encoding="utf-8").rstrip().endswith("exec make test")


@pytest.mark.parametrize("package", ["supervisors", "spaceactors"])
def test_both_packages_say_that_they_are_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()


def test_pinned_versions_cover_every_declared_library() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = [
        *project["dependencies"],
        *(name for extra in project["optional-dependencies"].values() for name in extra),
    ]
    wanted = {re.split(r"[^\w-]", requirement, maxsplit=1)[0].lower() for requirement in declared} - {"spaceactors"}
    pinned = {line.partition("==")[0] for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()}
    assert wanted - pinned == set()


@pytest.mark.parametrize("package", ["supervisors", "spaceactors"])
def test_no_module_is_longer_than_450_lines(package: str) -> None:
    sizes = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in (ROOT / package).rglob("*.py")}
    assert {name: size for name, size in sizes.items() if size > 450} == {}
