"""Functions for stages; processes import this module."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from pathlib import Path

import trio


def double(number):
    return 2 * number


async def async_double(number):
    await trio.lowlevel.checkpoint()
    return 2 * number


def later_double(number):
    """A plain function that gives something to await."""
    return async_double(number)


def add(one, other):
    return one + other


def count_all(*inputs):
    return len(inputs)


def die(_number):
    """End the process in which this runs, as a crash of the interpreter would."""
    os._exit(3)


def die_once(path):
    """End the process in which this runs the first time; return how many times it ran later."""
    mark = Path(path)
    with mark.open("a") as file:
        file.write("x")
    if len(mark.read_text()) == 1:
        os._exit(3)
    return len(mark.read_text())


def process_id(_value):
    return os.getpid()


def fail(_value):
    raise LookupError("not there")


async def nap(seconds):
    await trio.sleep(seconds)
    return seconds


def napping(seconds, name):
    """Return an async function of any arguments that takes so long and gives its name."""

    async def stage(*_args):
        await trio.sleep(seconds)
        return name

    stage.__name__ = name
    return stage


class LossyPool:
    """A pool of contexts in this task, of which some are lost or not to be had."""

    def __init__(self, failures):
        self._failures = failures
        self.failed = 0

    def kind_of(self, name):
        assert name in {"far", "thread"}

    @asynccontextmanager
    async def use(self, _name):
        await trio.lowlevel.checkpoint()
        if self._failures:
            self.failed += 1
            raise self._failures.pop()("not this time")
        yield self

    async def run(self, fn, *args):
        return await fn(*args)
