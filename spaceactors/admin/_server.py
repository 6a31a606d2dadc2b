"""Where a running service listens for those who look after its store: a Unix socket beside the file.

A connection begins with a greeting of the service. Then, for each request (one JSON object a line), come lines with a
`row`, and last one with `end`, or with `error`. Only the file's owner may connect.
"""

from __future__ import annotations

import logging
import os
import socket
import stat
import sys
from contextlib import aclosing, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

import trio

from spaceactors._errors import StoreError
from spaceactors.admin._requests import MAX_REQUEST, PROTOCOL, AdminError, decode_request, encode_line

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator
    from typing import TypeAlias

    from spaceactors.admin._requests import Request, Row

    Answers: TypeAlias = Callable[[Request], AsyncGenerator[Row]]

logger = logging.getLogger("spaceactors")

# Bytes that an address of a Unix socket may have where it may have fewest, and its closing zero.
MAX_PATH = 103
# Small answers leave together in pieces of so many bytes.
_PIECE = 1 << 16
# Connections that may wait to be accepted.
_WAITING = 16


def socket_path(store: str | os.PathLike[str]) -> str:
    """Return where the service that has this file listens."""
    return f"{os.path.realpath(store)}-sock"


def too_long(path: str) -> bool:
    """Tell whether a socket cannot have this path."""
    return len(os.fsencode(path)) > MAX_PATH


def unavailable(path: str) -> str | None:
    """Return why nobody can listen here, in words that end a sentence; None: one can."""
    if sys.platform == "win32":
        return "Windows has no Unix sockets"
    if too_long(path):
        return f"the path {path} is longer than a socket's may be ({MAX_PATH} bytes): put the file where it is shorter"
    return None


async def listen(path: str, answers: Answers, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Answer requests until cancelled; where no socket can be made, say so in the log and return."""
    problem = unavailable(path)
    if problem is None:
        try:
            with _listener(path) as listener:
                task_status.started()
                await trio.serve_listeners(partial(_converse, answers=answers), [listener])
        except OSError as error:
            problem = f"{path}: {error.strerror or error}"
        except Exception as error:  # a fault of ours must not end the service
            logger.exception("the task that answers commands has failed")
            problem = repr(error)
    logger.warning("the `spaceactors` command cannot reach this service while it runs: %s", problem)
    task_status.started()


@contextmanager
def _listener(path: str) -> Generator[trio.SocketListener]:
    """Listen at a path. What an earlier process left there goes: whoever holds the store's lock owns this name too."""
    _remove(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(path)
        try:
            # Before anybody can connect.
            os.chmod(path, stat.S_IRUSR | stat.S_IWUSR)  # noqa: PTH101 (a path as text, as everywhere here)
            listening.listen(_WAITING)
            yield trio.SocketListener(trio.socket.from_stdlib_socket(listening))
        finally:
            _remove(path)


def _remove(path: str) -> None:
    with suppress(FileNotFoundError):
        if stat.S_ISSOCK(os.lstat(path).st_mode):
            os.unlink(path)  # noqa: PTH108 (as above)


# ---- one connection


async def _converse(stream: trio.SocketStream, answers: Answers) -> None:
    """Answer one request after the other, until the other end leaves."""
    async with stream:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await stream.send_all(encode_line({"service": os.getpid(), "protocol": PROTOCOL}))
            async with aclosing(_lines(stream)) as lines:
                async for line in lines:
                    await _answer(stream, line, answers)


async def _lines(stream: trio.SocketStream) -> AsyncGenerator[bytes]:
    """Yield lines as they come; a line that is too long ends it."""
    buffer = bytearray()
    async for chunk in stream:
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            yield bytes(buffer + end)
            buffer.clear()
        buffer += rest
        if len(buffer) > MAX_REQUEST:
            await stream.send_all(encode_line({"error": f"a request may have {MAX_REQUEST} bytes"}))
            return


async def _answer(stream: trio.SocketStream, line: bytes, answers: Answers) -> None:
    """Send the rows that answer a request, in pieces of some size."""
    told = bytearray()
    try:
        async with aclosing(answers(decode_request(line))) as rows:
            async for row in rows:
                told += encode_line({"row": row})
                if len(told) > _PIECE:
                    await stream.send_all(told)
                    told.clear()
        told += encode_line({"end": True})
    except (AdminError, StoreError) as problem:
        told += encode_line({"error": str(problem)})
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        raise
    except Exception as error:  # a fault of ours, or a row that nobody can read, must not end the service
        logger.exception("a request about the store has failed")
        told += encode_line({"error": f"the service could not answer: {type(error).__name__}: {error}"})
    await stream.send_all(told)
