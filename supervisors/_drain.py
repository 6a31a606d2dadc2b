"""How a child learns that it should finish: `until_drain()`, `draining()`, `wait_drain()`."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, final

import trio

if TYPE_CHECKING:
    from collections.abc import Callable, Generator


@final
class DrainSignal:
    """The request to finish, as one incarnation of a child sees it.

    Whoever supervises makes one per incarnation and sets it as the current one for the code inside. Waiting costs no
    task, and a signal that nobody waits for costs five attributes.
    """

    __slots__ = ("_calls", "_listening", "_requested", "owner", "parent")

    def __init__(self, parent: DrainSignal | None = None, owner: object = None) -> None:
        # Who supervises the code inside; told apart by identity.
        self.owner = owner
        # The signal of the child around the supervisor that made this one: tells who runs inside whom.
        self.parent = parent
        self._requested = False
        # Whether the code inside means to finish by itself; who never listens gets no grace.
        self._listening = False
        # What to call at the request, in the order of registration (a dict, to take out of the middle).
        self._calls: dict[object, Callable[[], object]] | None = None

    @property
    def requested(self) -> bool:
        """Whether the drain was asked for."""
        return self._requested

    @property
    def listening(self) -> bool:
        """Whether the code inside looks for the request, and so deserves its grace."""
        return self._listening

    def listen(self) -> None:
        """Say that the code inside will finish when it is asked to."""
        self._listening = True

    def request(self) -> None:
        """Ask the code inside to finish; asking again changes nothing."""
        if self._requested:
            return
        self._requested = True
        calls, self._calls = self._calls, None
        for call in () if calls is None else calls.values():
            call()

    @contextmanager
    def calling(self, call: Callable[[], object], /) -> Generator[None]:
        """Have a sync function called at the request (at once if that was made already) while the block runs."""
        self.listen()
        with self.watching(call):
            yield

    @contextmanager
    def watching(self, call: Callable[[], object], /) -> Generator[None]:
        """As `calling`, without a promise to finish: it earns no grace."""
        if self._requested:
            call()
            yield
            return
        if self._calls is None:
            self._calls = {}
        key = object()
        self._calls[key] = call
        try:
            yield
        finally:
            if self._calls is not None:
                self._calls.pop(key, None)

    async def wait(self) -> None:
        """Wait for the request."""
        event = trio.Event()
        with self.calling(event.set):
            await event.wait()


_current: ContextVar[DrainSignal | None] = ContextVar("supervisors.drain", default=None)


def current_signal() -> DrainSignal | None:
    """Return the signal of the surrounding child, or None outside a supervised child."""
    return _current.get()


def set_current_signal(signal: DrainSignal | None) -> None:
    """Make `signal` the current one for the rest of this task, and for the tasks it starts from now on."""
    _current.set(signal)


@contextmanager
def draining_by(signal: DrainSignal | None) -> Generator[None]:
    """Make `signal` the current one inside the block."""
    token = _current.set(signal)
    try:
        yield
    finally:
        _current.reset(token)


@contextmanager
def until_drain() -> Generator[trio.CancelScope]:
    """Run the block until the surrounding child is asked to drain: a cancel scope that is cancelled then.

    For loops that can stop between two pieces of work. Outside a supervised child it never fires.
    """
    signal = current_signal()
    with trio.CancelScope() as scope:
        if signal is None:
            yield scope
        else:
            with signal.calling(scope.cancel):
                yield scope


def draining() -> bool:
    """Tell whether the surrounding child was asked to drain; outside a supervised child never."""
    signal = current_signal()
    if signal is None:
        return False
    signal.listen()
    return signal.requested


async def wait_drain() -> None:
    """Wait until the surrounding child is asked to drain; outside a supervised child for ever."""
    signal = current_signal()
    if signal is None:
        await trio.sleep_forever()
    else:
        await signal.wait()
