"""What can happen to a connection on its way: a proxy that cuts, delays or swallows what goes through it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import Enum, auto

COMMIT = b"COMMIT"


class Cut(Enum):
    """What happens when a client commits; once, then the proxy lets everything through again."""

    # The server never hears of it, and sees its client go.
    BEFORE = auto()
    # The server never hears of it, and does not notice that its client is gone.
    BEFORE_UNNOTICED = auto()
    # The server commits; its answer does not arrive.
    AFTER = auto()
    # The server is told to commit, and the client is cut off before it did.
    DURING = auto()


class Proxy:
    """Passes connections on to a server on this machine."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []
        # The servers whose answers are kept back, until they have committed.
        self._answers_kept_back: set[socket.socket] = set()
        # Set once what `at_commit` asked for has happened.
        self.happened = threading.Event()
        self.at_commit: Cut | None = None
        # Called at the cut, before the client notices it.
        self.then: Callable[[], object] = lambda: None
        # All connections are cut when so many bytes have come from clients; None: never.
        self.bytes_left: int | None = None
        self._bytes_lock = threading.Lock()
        # Cleared: what comes is kept back. New connections too.
        self.open = threading.Event()
        self.open.set()
        # Whether new connections are refused.
        self.down = False
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self.down:
                    client.close()
                    continue
                self._connect(client)

    def _connect(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self._target))
        except OSError:
            client.close()
            return
        for one in (client, server):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as both ends do: else answers wait for 40 ms
        self._sockets += [client, server]
        if self.down:  # since it was accepted: who cut all did not see it
            self.cut_all()
        for way in (self._to_server, self._to_client):
            threading.Thread(target=way, args=(client, server), daemon=True).start()

    def _to_server(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                self.open.wait()
                if self._is_used_up(len(data)):
                    self.cut_all()
                if COMMIT in data and self.at_commit:
                    cut, self.at_commit = self.at_commit, None
                    if cut is Cut.AFTER:
                        self._answers_kept_back.add(server)
                    else:
                        self._cut(cut, client, server, data)
                        return
                server.sendall(data)
        _shut(server)

    def _is_used_up(self, size: int) -> bool:
        with self._bytes_lock:
            if self.bytes_left is None:
                return False
            self.bytes_left -= size
            used_up = self.bytes_left < 0
            if used_up:
                self.bytes_left = None
            return used_up

    def _cut(self, cut: Cut, client: socket.socket, server: socket.socket, data: bytes = b"") -> None:
        if cut is Cut.BEFORE:
            _shut(server)
        if cut is Cut.DURING:
            server.sendall(data)
        self.then()
        self.happened.set()
        _shut(client)

    def _to_client(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                self.open.wait()
                if server in self._answers_kept_back:
                    if COMMIT in data:
                        self._cut(Cut.AFTER, client, server)
                        return
                    continue
                client.sendall(data)
        _shut(client)

    def cut_all(self) -> None:
        """Cut all connections, on both sides."""
        for one in self._sockets:
            _shut(one)

    def close(self) -> None:
        self.open.set()
        _shut(self._listener)
        self._listener.close()
        self.cut_all()
        for one in self._sockets:
            one.close()


def _shut(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)


@contextmanager
def proxy_to(port: int) -> Iterator[Proxy]:
    proxy = Proxy(port)
    try:
        yield proxy
    finally:
        proxy.close()
