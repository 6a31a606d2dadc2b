"""What cannot be written is refused with one error, which says where it is and what to write instead."""

from __future__ import annotations

import io
import socket
import threading
from collections import Counter, defaultdict
from functools import partial
from pathlib import Path

import attrs
import pytest
import trio

from spaceactors import Actor, BadCall, MemoryStore
from spaceactors._codec import CannotEncode, StoredError
from tests.spaceactors.codec_scenes import Basket, Item, Order, Point, Status, codec


class Words(list):
    """A subclass that nobody can make again."""


class Name(str):
    __slots__ = ()


class Plain:
    """A class whose fields nobody knows."""


class Cook(Actor):
    pass


class Sly:
    """Looks like a class with fields until somebody reads them."""

    __attrs_attrs__ = attrs.fields(Item)

    @property
    def name(self):
        raise ZeroDivisionError

    size = 1


def generator():
    yield 1


async def coroutine():
    pass


async def stream():
    yield 1


ELSEWHERE = "keep it with the dependencies (deps=) and pass what names it"
GIVES = "pass a tuple of what it gives"
FROZEN = "make it a frozen attrs class, a dataclass or a named tuple, or pass what is in it"
COPY = "pass dict(value), or hold it in a field of a frozen class"
NO_LOCK = "one turn runs at a time and needs none"
CALL = "pass the values that it works on, and have the handler call it"
TEXTS = [
    (socket.socket, f"a socket cannot be written; {ELSEWHERE}"),
    (lambda: trio.open_memory_channel(0)[0], f"a stream or channel cannot be written; {ELSEWHERE}"),
    (
        lambda: Path(__file__).open(encoding="utf-8"),  # noqa: SIM115 (the test closes it)
        "an open file cannot be written; pass its path, or what is in it as bytes",
    ),
    (io.BytesIO, "an open file cannot be written; pass its path, or what is in it as bytes"),
    (threading.Lock, f"a lock cannot be written; {NO_LOCK}"),
    (threading.RLock, f"a lock cannot be written; {NO_LOCK}"),
    (trio.Lock, f"a lock cannot be written; {NO_LOCK}"),
    (lambda: trio.CapacityLimiter(1), f"a CapacityLimiter cannot be written; {ELSEWHERE}"),
    (trio.CancelScope, f"a CancelScope cannot be written; {ELSEWHERE}"),
    (trio.Event, "an event cannot be written; ask for an answer, or emit and subscribe"),
    (lambda: Cook.__new__(Cook), "an actor cannot be written; pass its handle (self.handle)"),
    (lambda: Item, "the class Item cannot be written; pass its name"),
    (lambda: Status, "the class Status cannot be written; pass its name"),
    (lambda: print, f"a function cannot be written; {CALL}"),
    (lambda: lambda: 0, f"a function cannot be written; {CALL}"),
    (lambda: partial(print), f"a function cannot be written; {CALL}"),
    (lambda: Item().__hash__, f"a function cannot be written; {CALL}"),
    (generator, f"a generator cannot be written; {GIVES}"),
    (stream, f"an async generator cannot be written; {GIVES}"),
    (lambda: iter([1]), f"a list_iterator cannot be written; {GIVES}"),
    (lambda: threading, "a module cannot be written; pass its name"),
    (lambda: memoryview(b"x"), "a memoryview cannot be written; pass bytes(value)"),
    (
        lambda: Words("ab"),
        "a Words, a subclass of list, cannot be written; pass list(value), or hold it in a field of a frozen class",
    ),
    (
        lambda: Name("ab"),
        "a Name, a subclass of str, cannot be written; pass str(value), or hold it in a field of a frozen class",
    ),
    (lambda: defaultdict(list), f"a defaultdict, a subclass of dict, cannot be written; {COPY}"),
    (lambda: Counter("a"), f"a Counter, a subclass of dict, cannot be written; {COPY}"),
    (Plain, f"a Plain cannot be written; {FROZEN}"),
    (object, f"an object cannot be written; {FROZEN}"),
]


@pytest.mark.parametrize(("make", "text"), TEXTS, ids=[text.partition(" cannot")[0] for _, text in TEXTS])
def test_the_error_says_what_it_is_and_what_to_use_instead(make, text):
    value = make()
    with pytest.raises(CannotEncode) as refused:
        codec().encode(value, "args[0]")
    assert str(refused.value) == f"args[0]: {text}"
    if hasattr(value, "close"):
        value.close()


def test_a_coroutine_is_to_be_awaited_first():
    waiting = coroutine()
    with pytest.raises(CannotEncode, match="a coroutine cannot be written; await it and pass its result"):
        codec().encode(waiting)
    waiting.close()


@pytest.mark.parametrize(
    ("wrap", "path"),
    [
        (lambda it: [1, it], "value[1]"),
        (lambda it: (it,), "value[0]"),
        (lambda it: {"a": {"b": it}}, "value['a']['b']"),
        (lambda it: {1: it}, "value[1]"),
        (lambda it: {it: 1}, "value (the key <"),
        (lambda it: frozenset({it}), "value (the element <"),
        (lambda it: Order((Item(), Item(it))), "value.items[1].name"),
        (lambda it: Order((), it), "value._secret"),
        (lambda it: Point(1, it), "value.y"),
        (lambda it: Basket(1, [it]), "value.things[0]"),
        (lambda it: ValueError("x", it), "value.args[1]"),
    ],
)
def test_the_error_says_where_in_the_value_it_is(wrap, path):
    with pytest.raises(CannotEncode) as refused:
        codec().encode(wrap(Plain()))
    assert str(refused.value).startswith(path)
    assert "a Plain cannot be written" in str(refused.value)


async def test_a_socket_of_trio_is_a_socket_too():
    with trio.socket.socket() as made, pytest.raises(CannotEncode, match="a socket cannot be written"):
        codec().encode(made)


def test_attributes_of_an_exception_are_named():
    error = ValueError("x")
    error.seat = Plain()
    with pytest.raises(CannotEncode, match=r"^value\.seat: a Plain"):
        codec().encode(error)


def test_a_value_that_contains_itself_is_refused():
    ring = []
    ring.append(("x", ring))
    with pytest.raises(CannotEncode, match=r"^value\[0\]\[1\]: it contains itself"):
        codec().encode(ring)


def test_what_comes_twice_is_no_ring():
    twice = [1]
    assert codec().decode(codec().encode([twice, twice])) == [[1], [1]]


def test_a_long_way_to_the_culprit_is_shortened():
    value = Plain()
    for _ in range(60):
        value = {"a long name": value}
    with pytest.raises(CannotEncode) as refused:
        codec().encode(value)
    assert len(str(refused.value)) < 400


def test_a_class_that_fails_while_it_is_read_is_refused_with_its_error():
    with pytest.raises(CannotEncode, match="cannot be written: ZeroDivisionError"):
        codec().encode(Sly())


def test_an_error_is_a_type_error():
    assert issubclass(CannotEncode, TypeError)


# ---- MemoryStore(check_encoding=True)


def test_the_check_of_the_memory_store_refuses_what_the_codec_refuses():
    check = MemoryStore(check_encoding=True).check
    with pytest.raises(BadCall, match=r"a durable store could not write .*\[1\]: a Plain cannot be written") as refused:
        check(("x", Plain()))
    assert isinstance(refused.value.__cause__, CannotEncode)


def test_the_check_of_the_memory_store_takes_what_the_codec_takes():
    check = MemoryStore(check_encoding=True).check
    check((Order((Item(),)), {1: {2}}, 2**70, StoredError("x", "y")))


def test_a_value_inside_another_that_fails_while_it_is_read_is_named():
    with pytest.raises(
        CannotEncode, match=r"^value\.things\[0\]: <.*Sly object.* cannot be written: ZeroDivisionError"
    ):
        codec().encode(Basket(1, [Sly()]))
