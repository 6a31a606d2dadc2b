"""Stored bytes as what JSON can carry."""

from __future__ import annotations

import json
from collections import OrderedDict, deque
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Flag
from fractions import Fraction
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st

from spaceactors._actor import kind_of
from spaceactors._codec import Codec
from spaceactors._codec_plain import dump
from spaceactors._codec_tags import CALL, DATETIME, DICT, HARD, LIST, OBJECT, STATE
from spaceactors._codec_tags import UUID as UUID_
from spaceactors._handle import SpaceHandle
from spaceactors.admin._plain import Unreadable, pack_value, plain_call, plain_error, plain_state, plain_value
from tests.admin.shop import Mood, Order, Shop

HERE = "tests.admin.shop"


class Side(Flag):
    LEFT = 1
    RIGHT = 2


def bind(kind: str, space_id: str) -> SpaceHandle[Any]:
    return SpaceHandle(None, None, kind, space_id)


CODEC = Codec([kind_of(Shop)], bind)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (None, None),
        ("text", "text"),
        (2**80, 2**80),
        (float("nan"), {"$float": "nan"}),
        (float("-inf"), {"$float": "-inf"}),
        (b"\x00\xff", {"$bytes": "AP8="}),
        (bytearray(b"a"), {"$bytes": "YQ=="}),
        ([1, (2, [3])], [1, [2, [3]]]),
        (deque([1, 2], 5), [1, 2]),
        (frozenset({"a"}), ["a"]),
        ({"a": {"b": (1,)}}, {"a": {"b": [1]}}),
        (OrderedDict(a=1), {"a": 1}),
        (MappingProxyType({"a": 1}), {"a": 1}),
        ({1: "a", (2,): "b"}, {"$pairs": [[1, "a"], [[2], "b"]]}),
        (datetime(2026, 1, 2, 3, tzinfo=UTC), "2026-01-02T03:00:00+00:00"),
        (datetime(2026, 1, 2, 3, tzinfo=ZoneInfo("Europe/Berlin")), "2026-01-02T03:00:00[Europe/Berlin]"),
        (date(2026, 1, 2), "2026-01-02"),
        (time(3, 4), "03:04:00"),
        (timedelta(minutes=1.5), {"$seconds": 90.0}),
        (Decimal("1.10"), "1.10"),
        (Fraction(1, 3), "1/3"),
        (UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        (PurePosixPath("a/b"), "a/b"),
        (range(1, 5, 2), {"$range": [1, 5, 2]}),
        (1 + 2j, {"$complex": [1.0, 2.0]}),
        (bind("Shop", "ann"), {"$space": "Shop/ann"}),
        (
            Order(("tea",)),
            {"$type": f"{HERE}:Order", "items": ["tea"], "mood": {"$type": f"{HERE}:Mood", "$member": "CALM"}},
        ),
        (Mood.CALM, {"$type": f"{HERE}:Mood", "$member": "CALM"}),
        (Side.LEFT | Side.RIGHT, {"$type": f"{__name__}:Side", "$value": 3}),
        (KeyError("k"), {"$type": "builtins:KeyError", "$error": [["k"], {}]}),
        ("lone \ud800", "lone \ud800"),
    ],
    ids=lambda one: type(one).__name__,
)
def test_each_sort_of_value_has_a_form_in_json(value: object, told: object) -> None:
    assert plain_value(CODEC.encode(value)) == told
    json.dumps(told, allow_nan=False)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(PLAIN)
def test_what_json_says_is_told_as_it_is_and_can_be_written_as_the_codec_writes_it(value: object) -> None:
    assert plain_value(CODEC.encode(value)) == value
    assert CODEC.decode(pack_value(value)) == value


@given(st.binary(max_size=60))
def test_bytes_of_something_else_are_unreadable_and_nothing_worse(data: bytes) -> None:
    for read in (plain_value, plain_state, plain_call, plain_error):
        try:
            read(data)
        except Unreadable:
            continue


@pytest.mark.parametrize(
    "plain",
    [[999], [], [OBJECT], [OBJECT, 5], [DATETIME], [DICT, 1], [LIST, [999]], [HARD, [999]], [UUID_, b"x"]],
)
def test_a_damaged_value_is_unreadable_and_nothing_worse(plain: object) -> None:
    for data in (dump(plain), dump((STATE, 1, plain)), dump((CALL, "say", 1, plain, plain, plain))):
        for read in (plain_value, plain_state, plain_call, plain_error):
            with pytest.raises(Unreadable):
                read(data)


def test_fields_that_were_never_set_are_left_out_and_attributes_that_are_no_fields_are_told() -> None:
    @define(slots=False)
    class Loose:
        first: int
        second: int = field(init=False)

    loose = Loose(1)
    loose.third = 3  # type: ignore[attr-defined]
    told = plain_value(CODEC.encode(loose))
    assert {name: value for name, value in told.items() if name != "$type"} == {"first": 1, "third": 3}


def test_a_state_is_told_without_its_envelope() -> None:
    assert plain_state(CODEC.encode_state(kind_of(Shop), Order(("a",))))["items"] == ["a"]


def test_a_state_is_no_call_and_a_call_no_error() -> None:
    state = CODEC.encode_state(kind_of(Shop), Order())
    for read in (plain_call, plain_error):
        with pytest.raises(Unreadable, match="are no"):
            read(state)
    with pytest.raises(Unreadable, match="are no state"):
        plain_state(CODEC.encode(5))


def test_a_call_is_told_with_its_arguments_and_options() -> None:
    handler = kind_of(Shop).by_name["fail"]
    short = CODEC.encode_call(kind_of(Shop), handler, ("tea",), {"why": "x"}, ("id-1",))
    assert plain_call(short) == {
        "call": "fail",
        "args": ["tea"],
        "kwargs": {"why": "x"},
        "state_version": 1,
        "id": "id-1",
    }
    long = CODEC.encode_call(kind_of(Shop), handler, (), {}, ("id-1", 3, "c", {"h": "1"}, ("Shop", "ann")))
    assert plain_call(long) | {"args": [], "kwargs": {}} == {
        "call": "fail",
        "args": [],
        "kwargs": {},
        "state_version": 1,
        "id": "id-1",
        "priority": 3,
        "correlation_id": "c",
        "headers": {"h": "1"},
        "sender": "Shop/ann",
    }


def test_an_error_is_told_with_its_traceback_and_causes() -> None:
    try:
        try:
            raise KeyError("inner")
        except KeyError as error:
            raise ValueError("outer") from error
    except ValueError as error:
        told = plain_error(CODEC.encode_error(error))
    assert (told["type"], told["text"]) == ("ValueError", "outer")
    assert 'raise ValueError("outer")' in told["traceback"]
    assert told["causes"] == [["KeyError", "'inner'"]]
