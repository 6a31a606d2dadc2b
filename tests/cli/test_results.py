"""What became of a call is one line of JSON, whatever the reply is."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
from attrs import frozen

from spaceactors import (
    ActorCrashed,
    BadCall,
    MailboxFull,
    MessageDiscarded,
    MessageExpired,
    MessageReturned,
    Outcome,
    Rejected,
    SpaceError,
)
from spaceactors.cli._results import OUTCOME_OF, Result, as_text, encode, outcome_of, reason_of


@frozen
class Point:
    x: int
    inner: object = None


@dataclasses.dataclass
class Pair:
    a: object
    b: object


class Shy:
    def __str__(self) -> str:
        raise RuntimeError("leave me alone")


def row(result: Result) -> dict[str, object]:
    line = encode(result)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    return json.loads(line)


def test_a_handled_call_tells_space_position_reply_and_milliseconds() -> None:
    assert row(Result("handled", "ann", 3, reply="hi", seconds=0.0012345)) == {
        "space": "ann",
        "position": 3,
        "outcome": "handled",
        "reply": "hi",
        "milliseconds": 1.234,
    }


def test_a_call_that_was_not_handled_tells_the_error() -> None:
    told = row(Result("failed", "ann", 0, error="ValueError: no", seconds=0.5))
    assert (told["error"], "reply" in told) == ("ValueError: no", False)


def test_an_invalid_line_tells_its_number() -> None:
    assert row(Result("invalid", error="no JSON", line=12))["line"] == 12


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (None, None),
        ({"a": [1, 2.5, True]}, {"a": [1, 2.5, True]}),
        ((1, 2), [1, 2]),
        (frozenset({1}), [1]),
        (Point(1, Point(2)), {"x": 1, "inner": {"x": 2, "inner": None}}),
        (Pair(1, [Point(1)]), {"a": 1, "b": [{"x": 1, "inner": None}]}),
        (Point, str(Point)),
        (Pair, str(Pair)),
        (Shy(), "<Shy>"),
        (Point.__new__(Point), "<Point>"),
        (1 + 2j, "(1+2j)"),
        (math.inf, "inf"),
        ({(1, 2): 3}, "{(1, 2): 3}"),
        ("two\nlines  \x00", "two\nlines  \x00"),
        ("ä \ud800 🥐", "ä \ud800 🥐"),
    ],
)
def test_any_reply_becomes_json(reply: object, told: object) -> None:
    assert row(Result("handled", "ann", 0, reply=reply))["reply"] == told


def test_a_reply_that_contains_itself_becomes_text() -> None:
    ring: list[object] = []
    ring.append(ring)
    assert row(Result("handled", "ann", 0, reply=ring))["reply"] == "[[...]]"


def crashed(cause: BaseException) -> ActorCrashed:
    error = ActorCrashed("the actor crashed")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "outcome", "reason"),
    [
        (Rejected("closed"), "rejected", "closed"),
        (Rejected({"code": 3}), "rejected", {"code": 3}),
        (Rejected(KeyError("x")), "rejected", "KeyError: 'x'"),
        (crashed(ValueError("no")), "failed", "ValueError: no"),
        (crashed(ValueError()), "failed", "ValueError"),
        (MessageExpired("late"), "expired", "MessageExpired: late"),
        (MessageReturned("stopped"), "returned", "MessageReturned: stopped"),
        (MailboxFull("full"), "refused", "MailboxFull: full"),
        (BadCall("such a call cannot be made"), "invalid", "such a call cannot be made"),
    ],
)
def test_what_an_asker_was_told_becomes_outcome_and_reason(error: SpaceError, outcome: str, reason: object) -> None:
    assert (outcome_of(error), reason_of(error)) == (outcome, reason)


def test_every_outcome_of_an_accepted_message_has_its_word() -> None:
    assert {*OUTCOME_OF.values(), Outcome.HANDLED} == set(Outcome)
    assert MessageDiscarded in OUTCOME_OF


@pytest.mark.parametrize(("value", "text"), [("a", "a"), ([1], "[1]"), (Point(1), '{"x": 1, "inner": null}')])
def test_a_person_reads_texts_as_they_are(value: object, text: str) -> None:
    assert as_text(value) == text
