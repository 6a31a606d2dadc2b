"""Where bytes come from and go to. Files block, so each chunk is read and written in a worker thread."""

from __future__ import annotations

import os
import stat
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import trio
from attrs import define

from spaceactors.cli._load import UnusableArgument

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

CHUNK = 1 << 16
STANDARD_OUTPUT = 1  # its number: `sys.stdout` is for what the user's code prints


class OutputFailed(Exception):
    """The output cannot be written any more."""


@define
class Source:
    """An open input. `size` is in bytes, if it can be known; `read` tells how much of it was read."""

    descriptor: int
    size: int | None
    read: int = 0

    async def chunks(self) -> AsyncGenerator[bytes]:
        """Whatever is there, as soon as it is there."""
        # os.read and not a buffered file: a thread left behind in a buffered read holds a lock at interpreter shutdown.
        while chunk := await trio.to_thread.run_sync(os.read, self.descriptor, CHUNK, abandon_on_cancel=True):
            self.read += len(chunk)
            yield chunk


@contextmanager
def open_source(path: str, option: str = "--input") -> Generator[Source]:
    """The file to read from; `-` is standard input."""
    if path == "-":
        if sys.stdin is None:  # what a shell's <&- leaves
            raise UnusableArgument("standard input is closed")
        yield Source(sys.stdin.fileno(), _size_of(sys.stdin.fileno()))
        return
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    except OSError as error:
        raise UnusableArgument(f"{option} {path}: {error.strerror}") from None
    try:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise UnusableArgument(f"{option} {path}: this is a directory")
        yield Source(descriptor, _size_of(descriptor))
    finally:
        os.close(descriptor)


@contextmanager
def open_sink(path: str) -> Generator[IO[bytes]]:
    """The file to write to; `-` is standard output."""
    if path == "-":
        # Not `sys.stdout.buffer`: with PYTHONUNBUFFERED that is a raw file, whose `write` may write a part only.
        try:
            sink = open(STANDARD_OUTPUT, "wb", closefd=False)  # noqa: SIM115 (each write is flushed)
        except OSError as error:  # what a shell's >&- leaves
            raise OutputFailed(f"the output cannot be written: {error.strerror}") from error
        yield sink
        return
    try:
        sink = Path(path).open("wb")  # noqa: SIM115 (closed below: only the opening may be the user's mistake)
    except OSError as error:
        raise UnusableArgument(f"--output {path}: {error.strerror}") from None
    with sink:
        yield sink


async def write(sink: IO[bytes], data: bytes) -> None:
    """Write it, and let the reader at the other end see it now."""

    def write_and_flush() -> None:
        sink.write(data)
        sink.flush()

    try:
        await trio.to_thread.run_sync(write_and_flush)
    except OSError as error:
        raise OutputFailed(f"the output cannot be written: {error.strerror}") from error


def _size_of(descriptor: int) -> int | None:
    status = os.fstat(descriptor)
    return status.st_size if stat.S_ISREG(status.st_mode) else None
