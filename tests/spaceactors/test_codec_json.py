"""Answers in JSON become objects of the class that was asked for, through its constructor."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

import pytest

from spaceactors._codec import from_json
from tests.spaceactors.codec_scenes import Basket, Colour, Item, Level, Order, Point, Slotted, Status, Strict, Struct


@pytest.mark.parametrize(
    ("value", "wanted", "meant"),
    [
        *(
            (True, bool, True),
            (3, int, 3),
            (3, float, 3.0),
            ("x", str, "x"),
            (None, None, None),
            ({"a": 1}, dict, {"a": 1}),
        ),
        *(
            ([1], Any, [1]),
            ([1], object, [1]),
            (None, int | None, None),
            ("2030-01-02", date | str, "2030-01-02"),
            (3, float | None, 3.0),
        ),
        *(
            ("open", Status, Status.OPEN),
            ("OPEN", Status, Status.OPEN),
            (2, Level, Level.HIGH),
            ("red", Colour, Colour.RED),
        ),
        *(
            ("yes", Literal["yes", "no"], "yes"),
            ([1, 2], tuple[int, ...], (1, 2)),
            ([1, "a"], tuple[int, str], (1, "a")),
        ),
        *(
            (["a"], list[str], ["a"]),
            (["a"], set[str], {"a"}),
            (["a"], frozenset, frozenset("a")),
            ([1], Sequence[int], (1,)),
        ),
        *(
            ({"a": 1}, dict[str, float], {"a": 1.0}),
            ("2030-01-02", date, date(2030, 1, 2)),
            (1.5, timedelta, timedelta(0, 1.5)),
        ),
        *(("2030-01-02T00:00:00Z", datetime, datetime(2030, 1, 2, tzinfo=UTC)), ("1.50", Decimal, Decimal("1.50"))),
        *((2, Decimal, Decimal(2)), ("1/3", Fraction, Fraction(1, 3)), ("a/b", Path, Path("a/b")), ("x", bytes, b"x")),
        (str(UUID(int=5)), UUID, UUID(int=5)),
        ({"name": "a", "size": 2}, Item, Item("a", 2)),
        ({"items": [{"name": "a"}], "secret": 1, "note": "n"}, Order, Order((Item("a"),), 1, note="n")),
        ({"name": "a"}, Order | Item, Item("a")),
        ({"n": 1, "words": ["a"]}, Strict, Strict(1, ("a",))),
        ({"size": 1}, Basket, Basket(1)),
        ({"a": 1}, Slotted, Slotted(a=1)),
        ({"x": 1}, Point, Point(1)),
        ([1, 2], Point, Point(1, 2)),
        ({"a": 1, "b": [{"name": "x"}]}, Struct, Struct(a=1, b=(Item("x"),))),
    ],
)
def test_a_json_value_means_what_is_asked_for(value, wanted, meant):
    found = from_json(value, wanted)
    assert type(found) is type(meant)
    assert found == meant


@pytest.mark.parametrize(
    ("value", "wanted", "text"),
    [
        ("x", int, "'x' is no int"),
        (True, float, "True is no float"),
        (1, str, "1 is no str"),
        (None, Item, "None is no Item"),
        ("maybe", Literal["yes"], "'maybe' is no typing.Literal"),
        ("maybe", Status, "'maybe' is no Status: 'maybe' is not a valid Status"),
        ("x", Decimal, "'x' is no Decimal"),
        (["x"], list[int], "'x' is no int"),
        ([1], tuple[int, int], "is no tuple"),
        ({"nome": "a"}, Item, "Item has no nome: it has name, size"),
        ({"x": 1}, int | Item, r"\{'x': 1\} is no int \| "),
        ([1], Item, r"\[1\] is no Item"),
        ({}, Path, r"\{\} is no "),
        ({}, Slotted, "missing 1 required"),
    ],
)
def test_what_does_not_fit_is_a_type_error_that_says_so(value, wanted, text):
    with pytest.raises(TypeError, match=text):
        from_json(value, wanted)


def test_a_pydantic_model_validates_what_it_gets():
    pytest.importorskip("pydantic")
    from tests.spaceactors.codec_models import Guest, Tag

    assert from_json({"nick": "ann", "tags": [{"name": "x"}]}, Guest) == Guest(nick="ann", tags=[Tag(name="x")])
    with pytest.raises(TypeError, match="weight"):
        from_json({"name": "x", "weight": -1}, Tag)
