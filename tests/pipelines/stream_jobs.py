"""Functions for streams in processes, which import this module."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path


class Odd(Exception):
    pass


async def async_square(number: int) -> int:
    return number * number


def increment(number: int) -> int:
    return number + 1


def double(number: int) -> int:
    return number * 2


def square(number):
    """Tells not what it returns, and returns no awaitable."""
    return number * number


def later_double(number):
    """A sync function that gives something to await, without saying so."""
    return async_double(number)


async def async_double(number):
    return number * 2


def odd_only(number: int) -> int:
    if number % 2 == 0:
        raise Odd(number)
    return number


def whereabouts(number: int) -> tuple[int, int]:
    return os.getpid(), threading.get_ident()


def where_too(place: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    return place, (os.getpid(), threading.get_ident())


def unsendable(number: int) -> object:
    """Gives what cannot leave the process."""
    return threading.Lock()


def is_lock(lock: object) -> bool:
    return hasattr(lock, "acquire")


def die_at_three(number: int) -> int:
    if number == 3:
        os._exit(7)
    return number


def die_once(path: str) -> int:
    """End the process the first time; return how many times it ran in all."""
    with Path(path).open("a") as file:
        file.write("x")
    runs = len(Path(path).read_text())
    if runs == 1:
        os._exit(7)
    return runs


def nap(number: int) -> int:
    time.sleep(0.01)
    return number


def first_line(path: str) -> str:
    with Path(path).open() as file:
        return file.readline().strip()
