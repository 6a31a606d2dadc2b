"""Looks through many documents: which of their paragraphs say nearly the same, and how much there is to each.

    python examples/documents.py
    python examples/documents.py notes/ letters/ --output paragraphs.jsonl --workers 4

A thread reads one paragraph after the other, cleans it and splits it into words. They are gathered into batches; a
batch goes to a process, which counts, compresses and makes fingerprints. What it found is written, one line of JSON for
each paragraph. Only what is on its way is in memory, and where writing is slow, reading waits. Takes a few seconds.
"""

import argparse
import json
import re
import sys
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TextIO

import trio
from attrs import asdict, define, field, frozen

from spaceactors.pipelines import (
    Batch,
    ContextSpec,
    Pipeline,
    Producer,
    Sink,
    Stage,
    StreamReport,
    open_context_pool,
    show_progress,
)

DOCS = Path(__file__).resolve().parent.parent / "docs"
TEXTS = {".md", ".rst", ".txt"}
MARKS = re.compile(r"\]\([^)]*\)|[^\w\s']")
SHINGLE = 4  # words
FEWEST_WORDS = 12  # what is shorter says too little to be compared
BANDS, ROWS = 32, 2  # two paragraphs share a number with the chance at which they share a piece, squared
ALIKE = 0.5
PRIME = (1 << 61) - 1
HASHES = [(pow(3, 2 * n + 1, PRIME), pow(5, n + 1, PRIME)) for n in range(BANDS * ROWS)]
LONGEST_SHOWN = 10


@frozen
class Paragraph:
    """A paragraph as it stands in its file."""

    file: str
    line: int
    text: str


@frozen
class Words:
    """The words of a paragraph."""

    file: str
    line: int
    words: tuple[str, ...]


@frozen
class Finding:
    """What was found out about a paragraph: `density` is how much is left of a byte when it is compressed."""

    file: str
    line: int
    words: int
    different: int
    density: float
    fingerprint: tuple[int, ...]


# ---- reading: in a thread, for files make it wait


def files_in(places: Iterable[Path]) -> list[Path]:
    """Return the files that are named, and the texts in folders that are; what begins with `_` or `.` is not ours."""
    found: list[Path] = []
    for place in places:
        inside = sorted(place.rglob("*")) if place.is_dir() else [place]
        found.extend(one for one in inside if one == place or (one.suffix in TEXTS and is_ours(one.relative_to(place))))
    return found


def is_ours(path: Path) -> bool:
    """Tell whether no part of a path is something that was built, or hidden."""
    return not any(part.startswith(("_", ".")) for part in path.parts)


def read(files: Sequence[Path]) -> Iterator[Paragraph]:
    """Read line by line; an empty line is the end of a paragraph."""
    for path in files:
        name = f"{path.parent.name}/{path.name}"
        with path.open(encoding="utf-8", errors="replace") as file:
            gathered: list[str] = []
            for number, line in enumerate(chain(file, [""]), start=1):
                if line.strip():
                    gathered.append(line)
                elif gathered:
                    yield Paragraph(name, number - len(gathered), "".join(gathered))
                    gathered = []


def clean(paragraph: Paragraph) -> Paragraph:
    """Leave nothing of a paragraph but its words."""
    return Paragraph(paragraph.file, paragraph.line, MARKS.sub(" ", paragraph.text).lower())


def split(paragraph: Paragraph) -> Words:
    """Split a paragraph into words."""
    return Words(paragraph.file, paragraph.line, tuple(paragraph.text.split()))


# ---- finding out: in processes, for it is nothing but work


def study(batch: tuple[Words, ...]) -> list[Finding]:
    """Find out all about some paragraphs."""
    return [study_one(one) for one in batch]


def study_one(paragraph: Words) -> Finding:
    """Count, compress, and make a fingerprint."""
    words = paragraph.words
    text = " ".join(words).encode()
    density = len(zlib.compress(text, 9)) / len(text) if text else 1.0
    return Finding(
        paragraph.file, paragraph.line, len(words), len(set(words)), round(density, 3), fingerprint_of(words)
    )


def fingerprint_of(words: Sequence[str]) -> tuple[int, ...]:
    """Return a number for each band: paragraphs that share much of their text share one, most likely (MinHash)."""
    if len(words) < FEWEST_WORDS:
        return ()
    pieces = {zlib.crc32(" ".join(words[n : n + SHINGLE]).encode()) for n in range(len(words) - SHINGLE + 1)}
    least = [min((a * piece + b) % PRIME for piece in pieces) for a, b in HASHES]
    return tuple(zlib.crc32(repr((n, least[n : n + ROWS])).encode()) for n in range(0, len(least), ROWS))


# ---- writing: here, where the file is open

Place = tuple[str, int]  # file and line


@define
class Findings:
    """What was found, written as it comes; in memory stays who shares a number with whom."""

    file: TextIO
    paragraphs: int = 0
    words: int = 0
    seen: defaultdict[int, list[Place]] = field(factory=lambda: defaultdict(list))
    # How many numbers two paragraphs share.
    alike: Counter[tuple[Place, Place]] = field(factory=Counter[tuple[Place, Place]])

    def write(self, batch: list[Finding]) -> None:
        """Write a line for each paragraph."""
        for one in batch:
            self.file.write(json.dumps(asdict(one)) + "\n")
            self.paragraphs += 1
            self.words += one.words
            self._compare(one)

    def _compare(self, one: Finding) -> None:
        place = (one.file, one.line)
        for number in one.fingerprint:
            self.alike.update((other, place) for other in self.seen[number])
            self.seen[number].append(place)

    def pairs(self) -> dict[tuple[Place, Place], float]:
        """Return the paragraphs that are much alike, and which share of their pieces they have in common, about."""
        likeness = {pair: (shared / BANDS) ** (1 / ROWS) for pair, shared in self.alike.most_common()}
        return {pair: share for pair, share in likeness.items() if share >= ALIKE}

    def __str__(self) -> str:
        """Return what there is to say of all of them."""
        pairs = self.pairs()
        lines = [f"{self.words} words in {self.paragraphs} paragraphs; pairs that are much alike: {len(pairs)}"]
        for ((file, line), (other, there)), share in list(pairs.items())[:LONGEST_SHOWN]:
            lines.append(f"  {share:>4.0%}  {file}:{line}  {other}:{there}")
        return "\n".join(lines)


# ---- all of it together


def pipeline_for(files: Sequence[Path], findings: Findings, *, workers: int, size: int) -> Pipeline[Paragraph, None]:
    """Return the way of a paragraph."""
    source = Producer(partial(read, files), context="thread")
    words = Stage(split, Stage(clean, source))
    found = Stage(study, Batch(words, size, max_wait=0.5), context="study", concurrency=workers)
    return Pipeline("documents", source, Sink(findings.write, found, context="inline"))


async def look_through(files: Sequence[Path], findings: Findings, *, workers: int, size: int) -> StreamReport:
    """Look through all files, and show how far it is."""
    pipeline = pipeline_for(files, findings, workers=workers, size=size)
    print(pipeline.plan, file=sys.stderr)
    async with (
        open_context_pool(ContextSpec("study", "process", size=workers)) as contexts,
        pipeline.open(contexts=contexts) as stream,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(show_progress, stream)
        await stream.wait_done()
    return stream.report


def whole(text: str) -> int:
    """Read a number from one."""
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is none: write 1 or more")
    return int(text)


def existing(text: str) -> Path:
    """Read the name of what is there."""
    if not Path(text).exists():
        raise argparse.ArgumentTypeError(f"{text} is not there")
    return Path(text)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("places", nargs="*", type=existing, default=[DOCS], help="files, and folders of texts")
    parser.add_argument("--output", type=Path, help="the file for the lines; without it, standard output")
    parser.add_argument("--workers", type=whole, default=2, help="how many processes there are (%(default)s)")
    parser.add_argument(
        "--batch", type=whole, default=50, help="how many paragraphs each is given at once (%(default)s)"
    )
    return parser.parse_args()


def main() -> None:
    """Look through what the command line names."""
    asked = arguments()
    with ExitStack() as stack:
        file = stack.enter_context(asked.output.open("w", encoding="utf-8")) if asked.output else sys.stdout
        findings = Findings(file)
        report = trio.run(
            partial(look_through, files_in(asked.places), findings, workers=asked.workers, size=asked.batch)
        )
    print(report, findings, sep="\n", file=sys.stderr)


if __name__ == "__main__":
    main()
