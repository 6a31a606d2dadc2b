"""What can be asked of a store, on its way through a socket."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spaceactors import admin
from spaceactors.admin import AdminError, DiscardLetters, ListLetters, ListSpaces, ResendLetters, ShowSpace
from spaceactors.admin._requests import PROTOCOL, decode_request, encode_request

EACH = [
    ListSpaces("Shop", "passive", "a", 5),
    ShowSpace("Shop", "a\nb\ud800", 3),
    ListLetters(None, "x", 7, 1),
    admin.ShowLetter("5"),
    ResendLetters(("1", "x"), all=False, kind=None),
    DiscardLetters((), all=True, kind="Shop"),
    admin.ListQuestions("Shop", 2),
    admin.AnswerQuestion("q", '{"a": 1}'),
    admin.CountAll(),
    admin.Export(),
    admin.Verify(),
    admin.Vacuum(),
]


@pytest.mark.parametrize("request_", EACH, ids=lambda one: type(one).__name__)
def test_each_request_comes_out_of_its_line_as_it_went_in(request_: admin.Request) -> None:
    line = encode_request(request_)
    assert line.count(b"\n") == 1
    assert decode_request(line) == request_


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"nonsense", "one line with a JSON object"),
        (b"[1]", "one line with a JSON object"),
        (b"[" * 100_000, "one line with a JSON object"),
        (b"{}", "different versions"),
        (json.dumps({"protocol": PROTOCOL + 1, "do": "export"}).encode(), "different versions"),
        (json.dumps({"protocol": PROTOCOL}).encode(), "says what to do"),
        (json.dumps({"protocol": PROTOCOL, "do": ["export"]}).encode(), "says what to do"),
        (json.dumps({"protocol": PROTOCOL, "do": "export", "more": 1}).encode(), "cannot be understood"),
        (json.dumps({"protocol": PROTOCOL, "do": "spaces", "limit": -1}).encode(), "cannot be understood"),
        (json.dumps({"protocol": PROTOCOL, "do": "spaces", "status": "odd"}).encode(), "no status 'odd'"),
        (json.dumps({"protocol": PROTOCOL, "do": "resend", "which": [1]}).encode(), "cannot be understood"),
        (json.dumps({"protocol": PROTOCOL, "do": "resend", "which": "abc"}).encode(), "cannot be understood"),
    ],
)
def test_what_is_no_request_is_refused_with_the_reason(line: bytes, told: str) -> None:
    with pytest.raises(AdminError, match=told):
        decode_request(line)


@given(st.binary(max_size=80))
def test_whatever_comes_is_a_request_or_refused(line: bytes) -> None:
    with pytest.raises(AdminError):
        decode_request(line)
