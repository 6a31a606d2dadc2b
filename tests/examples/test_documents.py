"""A folder of documents is looked through by threads and processes, and every paragraph comes out once."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from io import StringIO
from pathlib import Path
from random import Random
from typing import Any

import pytest

from examples.documents import BANDS, Findings, Paragraph, clean, files_in, pipeline_for, read, split, study
from spaceactors.pipelines import AffinityRule, ContextSpec, open_context_pool

ROOT = Path(__file__).resolve().parents[2]
TEXT = """# A title

One serial lane per conversation, many lanes at once, and nothing lost when something *breaks*: see [laws](laws.md).
Today people write a dict of locks.


One serial lane per conversation, many lanes at once, and nothing is lost when something *breaks*: see [laws](laws.md).
Today people write a dict of locks.

The end"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "texts"
    (place / "_build").mkdir(parents=True)
    (place / "one.md").write_text(TEXT, encoding="utf-8")
    (place / "two.txt").write_text("Another file\nof two lines", encoding="utf-8")
    (place / "picture.png").write_bytes(b"\0")
    (place / "_build" / "old.md").write_text(TEXT, encoding="utf-8")
    return place


async def looked_through(files: list[Path], *, inline: bool = False, size: int = 2) -> tuple[Findings, list[Any]]:
    """What is found in files, and the lines that were written; in processes only if it must be."""
    findings = Findings(StringIO())
    kind = ContextSpec("study", "inline" if inline else "process", size=None if inline else 2)
    async with open_context_pool(kind) as contexts:
        pipeline = pipeline_for(files, findings, workers=2, size=size)
        report = await pipeline.process(contexts=contexts)
    lines = [json.loads(line) for line in findings.file.getvalue().splitlines()]  # type: ignore[attr-defined]
    assert report.clean
    assert report.taken == report.delivered == len(lines)
    return findings, lines


def test_paragraphs_are_read_line_by_line_and_know_their_place(folder: Path) -> None:
    found = list(read(files_in([folder])))
    assert [(one.file, one.line) for one in found] == [
        ("texts/one.md", 1),
        ("texts/one.md", 3),
        ("texts/one.md", 7),
        ("texts/one.md", 10),
        ("texts/two.txt", 1),
    ]
    assert found[3].text == "The end"


@pytest.mark.parametrize("name", ["_build/old.md", "picture.png"])
def test_a_file_that_is_named_is_read_whatever_it_is_called(name: str, folder: Path) -> None:
    assert files_in([folder / name]) == [folder / name]


def test_marks_are_taken_out_and_words_are_left() -> None:
    words = split(clean(Paragraph("f", 1, "Don't *break* [the laws](laws.md), `x`."))).words
    assert words == ("don't", "break", "the", "laws", "x")


def test_paragraphs_that_differ_in_a_word_share_most_of_their_fingerprints() -> None:
    rng = Random(7)
    words = tuple(rng.choice("abcdefgh") * rng.randint(3, 9) for _ in range(80))
    one, other = (
        study((split(Paragraph("f", 1, " ".join(text))),))[0].fingerprint for text in (words, (*words[:-1], "new"))
    )
    assert len(set(one) & set(other)) > BANDS / 2


def test_paragraphs_are_alike_when_they_share_half_of_their_pieces_or_more() -> None:
    one, two, three = ("f", 1), ("f", 2), ("f", 3)
    findings = Findings(StringIO(), alike=Counter({(one, two): BANDS // 4, (one, three): BANDS // 4 - 1}))
    assert findings.pairs() == {(one, two): 0.5}


def test_C1_cleaning_runs_beside_reading_and_batches_and_processes_have_places_of_their_own(folder: Path) -> None:
    plan = pipeline_for([], Findings(StringIO()), workers=2, size=10).plan
    assert [[stage.name for stage in group] for group in plan.groups()] == [
        ["read", "clean", "split"],
        ["batch of split"],
        ["study"],
        ["write"],
    ]
    places = [(plan.context_for(group[0]), plan.rule_for(group[0])) for group in plan.groups()]
    assert places == [
        ("thread", AffinityRule.SOURCE),
        ("inline", AffinityRule.BATCH_BOUNDARY),
        ("study", AffinityRule.BATCH_BOUNDARY),
        ("inline", AffinityRule.EXPLICIT_CONTEXT),
    ]


async def test_C10_every_paragraph_comes_out_once_of_processes_too(folder: Path) -> None:
    findings, lines = await looked_through(files_in([folder]))
    assert [(one["file"], one["line"]) for one in lines] == [(one.file, one.line) for one in read(files_in([folder]))]
    assert list(findings.pairs()) == [(("texts/one.md", 3), ("texts/one.md", 7))]


async def test_what_processes_find_is_what_is_found_without_them(folder: Path) -> None:
    apart = await looked_through(files_in([folder]))
    here = await looked_through(files_in([folder]), inline=True)
    assert apart[1] == here[1]


def test_C3_and_C8_the_program_looks_through_a_folder_and_leaves_nothing_behind(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "found.jsonl"
    argv = (sys.executable, "examples/documents.py", str(folder), "--output", str(output), "--batch", "2")
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert len(output.read_text(encoding="utf-8").splitlines()) == 5
    told = done.stderr.splitlines()
    assert told[:2] == ["pipeline 'documents': 4 places", "1. thread"]
    assert any(line.startswith("5 taken, 5 delivered in ") for line in told)
    assert told[-2].endswith(" words in 5 paragraphs; pairs that are much alike: 1")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["nowhere"], "nowhere is not there"),
        (["--workers", "0"], "0 is none: write 1 or more"),
        (["--batch", "many"], "invalid whole value: 'many'"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_read(given: list[str], told: str) -> None:
    argv = (sys.executable, "examples/documents.py", *given)
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1].endswith(told)
