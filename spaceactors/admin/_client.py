"""The other end of a running service's socket: plain blocking code for commands."""

from __future__ import annotations

import json
import socket
from typing import IO, TYPE_CHECKING, Any, final

from spaceactors.admin._requests import MAX_REQUEST, PROTOCOL, AdminError, encode_request

if TYPE_CHECKING:
    from collections.abc import Iterator

    from spaceactors.admin._requests import Request, Row

# Seconds for the greeting, which a service sends at once; the system alone accepts for one whose loop stands still.
PATIENCE = 10.0


@final
class ServiceStore:
    """A store that a running service has."""

    running = True

    def __init__(self, connection: socket.socket, lines: IO[bytes]) -> None:
        self._connection = connection
        self._lines = lines

    def ask(self, request: Request) -> Iterator[Row]:
        """Return what answers a request, row by row. Raises `AdminError`."""
        line = encode_request(request)
        if len(line) > MAX_REQUEST:
            raise AdminError(f"this is too much to ask at once (more than {MAX_REQUEST:,} bytes): name fewer, or --all")
        try:
            self._connection.sendall(line)
            while "end" not in (told := self._next()):
                if "error" in told:
                    raise AdminError(str(told["error"]))
                yield told["row"]
        except OSError as error:
            raise AdminError(f"the connection to the running service broke: {error.strerror or error}") from None

    def _next(self) -> dict[str, Any]:
        line = self._lines.readline()
        if not line.endswith(b"\n"):
            raise AdminError("the running service ended in the middle of its answer")
        told: dict[str, Any] = json.loads(line)
        return told

    def greet(self) -> None:
        """Hear who is there. Raises `AdminError`."""
        try:
            greeting = self._next()
        except TimeoutError:
            raise AdminError(
                f"the service that has this store did not answer within {PATIENCE:.0f} seconds: its loop stands still"
            ) from None
        if greeting.get("protocol") != PROTOCOL:
            raise AdminError("the command and the running service are of different versions: use the service's own")
        self._connection.settimeout(None)

    def close(self) -> None:
        """Leave."""
        self._lines.close()
        self._connection.close()


def connect(path: str) -> ServiceStore | None:
    """Connect to the service that listens at a path; None: nobody does. Raises `AdminError`."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # The system stops accepting for a loop that stands still when enough have knocked: then this one is not let in.
    connection.settimeout(PATIENCE)
    try:
        connection.connect(path)
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        return None
    except OSError as error:
        connection.close()
        raise AdminError(
            f"{path}: the service that has this store cannot be reached: {error.strerror or error}"
        ) from None
    store = ServiceStore(connection, connection.makefile("rb"))
    try:
        store.greet()
    except BaseException:
        store.close()
        raise
    return store
