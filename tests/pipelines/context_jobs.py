"""Functions for contexts, and ways to see from outside what they do; processes import this module."""

from __future__ import annotations

import gc
import multiprocessing
import os
import threading
import time
from contextvars import ContextVar
from functools import partial
from pathlib import Path

import trio

from supervisors import draining

colour = ContextVar("colour", default="none")


class Odd(Exception):
    """Cannot be made again from its arguments."""

    def __init__(self, first, *, second):
        super().__init__(f"{first} and {second}")
        self.second = second


class Stubborn(Exception):
    """Cannot be pickled at all."""

    def __reduce__(self):
        raise TypeError("stubborn errors stay")


class Puzzle(Exception):
    """Can be pickled, and not be made again."""

    def __reduce__(self):
        return solve, ()


class Mute(Exception):
    """Can neither be pickled nor told."""

    def __reduce__(self):
        raise Mute

    def __str__(self):
        raise Mute


class Riddle:
    """Can be sent, and not be read."""

    def __reduce__(self):
        return solve, ()


def solve():
    raise ValueError("nobody knows")


def square(number):
    return number * number


async def async_square(number):
    await trio.lowlevel.checkpoint()
    return number * number


def later_square(number):
    """A sync function that gives something to await."""
    return async_square(number)


def fail(error):
    raise error


async def async_fail(error):
    await trio.lowlevel.checkpoint()
    raise error


def fail_oddly():
    raise Odd(1, second=2)


def fail_from(text):
    try:
        raise KeyError("inner")
    except KeyError as error:
        raise ValueError(text) from error


def fail_stubbornly():
    raise Stubborn("no way")


def fail_puzzlingly():
    raise Puzzle("no way")


def fail_mutely():
    raise Mute


class Trap:
    """Fails at being pickled, and the error cannot be told."""

    def __reduce__(self):
        raise Mute


def give_lock():
    return threading.Lock()


def my_pid():
    return os.getpid()


def my_colour():
    return colour.get()


async def asked_to_drain():
    return draining()


def tell_and_sleep(path):
    """Say which process this is, and sleep until killed."""
    tell(path)
    time.sleep(3600)


async def tell_and_sleep_async(path):
    tell(path)
    await trio.sleep_forever()


def tell(path):
    new = Path(f"{path}.new")
    new.write_text(str(os.getpid()))
    new.rename(path)


async def told(path):
    """Wait until a job has said which process it runs in."""
    with trio.fail_after(60):
        while not await trio.Path(path).exists():  # noqa: ASYNC110 - another process writes it
            await trio.sleep(0.002)
    return int(await trio.Path(path).read_text())


def exists(pid):
    import psutil  # not at the top: it refuses to load in interpreters

    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


async def gone(pid):
    """Wait until there is no such process."""
    with trio.fail_after(60):
        while exists(pid):  # noqa: ASYNC110 - it is not ours to wait for
            await trio.sleep(0.001)


def workers():
    """The processes that are left of ours; the tracker is Python's, and a database is other tests'."""
    import psutil

    def is_ours(one):
        try:
            return one.name().startswith("python") and "resource_tracker" not in " ".join(one.cmdline())
        except psutil.NoSuchProcess:
            return False

    multiprocessing.active_children()  # collects the dead
    return [one for one in psutil.Process().children(recursive=True) if is_ours(one)]


def files():
    """How many files are open that nobody has forgotten."""
    import psutil

    gc.collect()
    return psutil.Process().num_fds()


class Gate:
    """A job for threads that ends when it is told to, and can be seen."""

    def __init__(self):
        self.running = 0
        self.most = 0
        self.ended = 0
        self._lock = threading.Lock()
        self._open = threading.Event()

    def open(self):
        self._open.set()

    def _begin(self):
        with self._lock:
            self.running += 1
            self.most = max(self.most, self.running)

    def _end(self):
        with self._lock:
            self.running -= 1
            self.ended += 1

    def wait(self, value=None):
        self._begin()
        try:
            assert self._open.wait(60)
            return value
        finally:
            self._end()

    def look(self):
        """As `wait`, but looks whether it is cancelled."""
        self._begin()
        try:
            while not self._open.wait(0.001):
                trio.from_thread.check_cancelled()
        finally:
            self._end()

    async def async_wait(self, value=None):
        self._begin()
        try:
            while not self._open.is_set():  # noqa: ASYNC110 - another thread sets it
                await trio.sleep(0.001)
            return value
        finally:
            self._end()

    async def sleep(self):
        self._begin()
        try:
            await trio.sleep_forever()
        finally:
            self._end()

    async def until(self, running):
        with trio.fail_after(60):
            while self.running != running:  # noqa: ASYNC110 - threads change it
                await trio.sleep(0.001)


double = partial(pow, exp=2)
