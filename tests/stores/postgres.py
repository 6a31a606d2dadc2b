"""A real PostgreSQL server for tests: killed and started again at will, gone at the end whatever happens."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import NoReturn

import pytest

from spaceactors.stores._engine import Engine

# Ends the server when the pipe closes, which it does with whoever started it, however that came to be. Unless it was
# told to keep the data, nobody is left to remove it.
KEEPER = """
home=$1; shift; exec 3<&0; "$@" </dev/null & server=$!
read word <&3; kill -INT $server; wait $server
[ "$word" = keep ] || rm -rf "$home"
"""

WAITED = 120.0  # seconds for a server to come or to go; a busy machine is no failure


def binaries() -> Path | None:
    """Where the server's programs are: of the package `pgserver`, or of this machine."""
    packaged = importlib.util.find_spec("pgserver")
    if packaged and packaged.origin:
        return Path(packaged.origin).parent / "pginstall" / "bin"
    here = shutil.which("postgres")
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    return Path(here).resolve().parent if here else debian[-1].parent if debian else None


def lacking(what: str) -> NoReturn:
    """Skip what needs a server; but where all must run, nothing is skipped unnoticed."""
    why = f"no PostgreSQL to test with: {what}"
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why, allow_module_level=True)


def tested() -> bool:
    """Whether there is a PostgreSQL to test with, or there must be one."""
    return bool(os.environ.get("CI") or (importlib.util.find_spec("psycopg") and binaries()))


def require_driver() -> ModuleType:
    if importlib.util.find_spec("psycopg") is None:
        lacking("pip install psycopg[binary]")
    if binaries() is None:
        lacking("pip install pgserver, or install PostgreSQL itself")
    import psycopg

    return psycopg


class Server:
    """One PostgreSQL server on a free port of this machine."""

    def __init__(self, home: Path, bin_: Path) -> None:
        self._home = home
        self._data = home / "data"
        self._bin = bin_
        self._names = count(1)
        self._keeper: subprocess.Popen[bytes] | None = None
        self._reserved = socket.socket()
        if sys.platform == "linux":
            # A socket that does not listen keeps a port for those who ask for it by number: while the server is down,
            # nobody is given it who would take any.
            self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._reserved.bind(("127.0.0.1", 0))
        self.port: int = self._reserved.getsockname()[1]
        if sys.platform != "linux":
            self._reserved.close()

    # PostgreSQL does not run as root.
    @property
    def _user(self) -> str | None:
        return "nobody" if os.name == "posix" and os.geteuid() == 0 else None

    def _run(self, program: str, *args: str) -> None:
        done = subprocess.run(
            (str(self._bin / program), *args), user=self._user, cwd=self._home, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr.decode(errors="replace")

    def make(self) -> None:
        if self._user:
            shutil.chown(self._home, self._user)
        self._run(
            "initdb", "-D", str(self._data), "-U", "tester", "-A", "trust", "-E", "UTF8", "--no-sync", "--locale=C"
        )

    def start(self, **settings: str) -> None:
        """Start it and wait until it answers."""
        assert self._keeper is None
        quick = {"shared_buffers": "32MB", "fsync": "off", "max_connections": "60", "unix_socket_directories": ""}
        options = [part for name, value in (quick | settings).items() for part in ("-c", f"{name}={value}")]
        with (self._home / "log").open("ab") as log:
            self._keeper = subprocess.Popen(
                (
                    "sh",
                    "-c",
                    KEEPER,
                    "sh",
                    str(self._home),
                    str(self._bin / "postgres"),
                    "-D",
                    str(self._data),
                    "-p",
                    str(self.port),
                    "-h",
                    "127.0.0.1",
                    *options,
                ),
                user=self._user,
                cwd=self._home,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
            )
        self._until(self._answers, "did not come up")

    def _until(self, what: object, failed: str) -> None:
        give_up = time.monotonic() + WAITED
        while not what():  # type: ignore[operator]
            assert time.monotonic() < give_up, f"the server {failed}: {(self._home / 'log').read_text()[-2000:]}"
            time.sleep(0.02)

    def _answers(self) -> bool:
        return (
            subprocess.run(
                (str(self._bin / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port), "-t", "1"), check=False
            ).returncode
            == 0
        )

    @property
    def up(self) -> bool:
        return self._keeper is not None

    @property
    def pid(self) -> int:
        return int((self._data / "postmaster.pid").read_text().splitlines()[0])

    def kill(self) -> None:
        """End it as a crash of the machine would: no process of it gets to say anything."""
        pid = self.pid
        os.kill(pid, signal.SIGSTOP)  # no more children while they are counted
        children = subprocess.run(("pgrep", "-P", str(pid)), capture_output=True, check=False).stdout.split()
        all_ = (pid, *map(int, children))
        for one in all_:
            with suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)
        self._gone()
        # A new server does not start while one of them still has the memory of the old one.
        self._until(lambda: not any(map(is_running, all_)), "has processes left")
        (self._data / "postmaster.pid").unlink(missing_ok=True)

    def stop(self) -> None:
        """End it in an orderly way, its connections too."""
        os.kill(self.pid, signal.SIGINT)
        self._gone()

    def restart(self) -> None:
        self.stop()
        self.start()

    def _gone(self) -> None:
        assert self._keeper is not None
        assert self._keeper.stdin is not None
        self._keeper.stdin.write(b"keep\n")
        self._keeper.stdin.close()
        self._keeper.wait(WAITED)
        self._keeper = None
        self._until(self._left, "did not go")

    def _left(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) != 0

    def remove(self) -> None:
        if self._keeper is not None:
            with suppress(FileNotFoundError, ProcessLookupError):
                self.kill()  # an orderly end first writes down what nobody will read
        if self._keeper is not None:
            assert self._keeper.stdin is not None
            self._keeper.stdin.close()  # it did not come up: its keeper ends it
            try:
                self._keeper.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(self._keeper.pid, signal.SIGKILL)
                self._keeper.wait()
        self._reserved.close()
        # Thousands of files, which are not waited for: a busy disk takes longer than a test may.
        gone = ("sh", "-c", 'rm -rf "$0" </dev/null >/dev/null 2>&1 &', str(self._home))
        subprocess.run(gone, check=False, start_new_session=True)

    def new_schema(self) -> str:
        """Make an empty schema, which is quicker than a database; return a dsn that leads there."""
        name = f"test_{next(self._names)}"
        with require_driver().connect(self.dsn(), autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {name}")
        return self.dsn(schema=name)

    def dsn(self, *, port: int | None = None, schema: str = "public", database: str = "postgres") -> str:
        where = f"127.0.0.1:{port or self.port}/{database}"
        return f"postgresql://tester:hush-hush@{where}?options=-csearch_path%3D{schema}"


def is_running(pid: int) -> bool:
    """Tell whether there is such a process that has not ended."""
    try:
        if Path("/proc/self/stat").exists():
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        os.kill(pid, 0)
    except (FileNotFoundError, ProcessLookupError):
        return False
    return True


@contextmanager
def running_server() -> Iterator[Server]:
    require_driver()
    bin_ = binaries()
    assert bin_ is not None
    server = Server(Path(tempfile.mkdtemp(prefix="spaceactors-pg-")), bin_)
    try:
        server.make()
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """One server for all tests of this process; who kills it starts it again."""
    with running_server() as server:
        yield server


@pytest.fixture
def dsn(postgres_server: Server) -> str:
    """Leads to a new, empty schema."""
    return postgres_server.new_schema()


@pytest.fixture
def make_postgres_engine(dsn: str) -> Iterator[Callable[..., Engine]]:
    """Makes engines of one new schema, and closes them."""
    from spaceactors.stores._postgres import PostgresEngine

    made: list[Engine] = []

    def make(where: str = dsn, **options: float) -> Engine:
        made.append(PostgresEngine(where, **options))
        return made[-1]

    yield make
    for engine in made:
        engine.close()
