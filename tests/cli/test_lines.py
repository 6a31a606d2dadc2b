"""Lines become calls, or say why they cannot."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from spaceactors import Actor, Priority, handler, handlers_of
from spaceactors.cli._lines import MAX_LINE_BYTES, Call, Invalid, LineCutter, identified, parse_line


class Clerk(Actor):
    @handler
    async def say(self, text: str, times: int = 1) -> str:
        return text * times

    @handler
    async def dictate(self, text: str) -> AsyncIterator[str]:
        yield text


HANDLERS = handlers_of(Clerk)


def parsed(**fields: object) -> Call | Invalid:
    return parse_line(7, json.dumps(fields).encode(), HANDLERS)


def test_a_line_with_all_fields_is_a_call() -> None:
    call = parsed(space="ann", call="say", args=["hi"], kwargs={"times": 2}, group="g", id="m", priority="high")
    assert call == Call(7, "ann", "say", ("hi",), {"times": 2}, "g", "m", Priority.HIGH)


def test_what_may_be_left_out_may_also_be_null() -> None:
    call = parsed(space="ann", call="say", args=["hi"], kwargs=None, group=None, id=None, priority=None)
    assert call == parsed(space="ann", call="say", args=["hi"]) == Call(7, "ann", "say", ("hi",))


def test_fields_that_nobody_asked_for_are_ignored() -> None:
    assert parsed(space="ann", call="say", args=["hi"], at="noon") == Call(7, "ann", "say", ("hi",))


@pytest.mark.parametrize("priority", ["urgent", "URGENT", 3])
def test_a_priority_is_a_name_or_a_number(priority: object) -> None:
    call = parsed(space="ann", call="say", args=["hi"], priority=priority)
    assert isinstance(call, Call)
    assert call.priority is Priority.URGENT


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", "the line is empty"),
        (b" \r", "the line is empty"),
        (b"hello", "no JSON"),
        (b'{"space": "ann"', "no JSON"),
        (b"\xff\xfe{}", "no JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[1]", "a line is a JSON object"),
        (None, "longer than"),
        (b"{}", "'space' is missing"),
        (b'{"space": "ann"}', "'call' is missing"),
        (b'{"space": "", "call": "say"}', "'space' must be a text that is not empty"),
        (b'{"space": 1, "call": "say"}', "'space' must be a text that is not empty, not 1"),
        (b'{"space": "ann", "call": ["say"]}', "'call' must be a text"),
        (b'{"space": "ann", "call": "shout"}', "no handler 'shout': there are dictate, say"),
        (b'{"space": "ann", "call": "say"}', "do not fit 'say'"),
        (b'{"space": "ann", "call": "say", "args": ["a", 1, 2]}', "do not fit 'say'"),
        (b'{"space": "ann", "call": "say", "kwargs": {"txt": "a"}}', "do not fit 'say'"),
        (b'{"space": "ann", "call": "say", "args": "a"}', "'args' must be a list"),
        (b'{"space": "ann", "call": "say", "kwargs": []}', "'kwargs' must be an object"),
        (b'{"space": "ann", "call": "say", "args": ["a"], "group": 1}', "'group' must be a text"),
        (b'{"space": "ann", "call": "say", "args": ["a"], "id": 1}', "'id' must be a text"),
        (b'{"space": "ann", "call": "say", "args": ["a"], "id": ""}', "'id' must be a text that is not empty"),
        (b'{"space": "ann", "call": "say", "args": ["a"], "priority": 9}', "no priority 9"),
        (b'{"space": "ann", "call": "say", "args": ["a"], "priority": "top"}', 'no priority "top"'),
        (b'{"space": "ann", "call": "say", "args": ["a"], "priority": true}', "'priority' must be"),
        (b'{"space": "ann", "call": "say", "args": ["a"], "priority": [1]}', "'priority' must be"),
        (b'{"space": "ann", "call": "dictate", "args": ["a"], "id": "m"}', "takes no 'id'"),
    ],
)
def test_what_is_no_call_says_why(line: bytes | None, reason: str) -> None:
    invalid = parse_line(7, line, HANDLERS)
    assert isinstance(invalid, Invalid)
    assert invalid.line == 7
    assert reason in invalid.reason


def test_an_invalid_line_tells_its_space_if_that_could_be_read() -> None:
    assert [getattr(parsed(space=space), "space", None) for space in ("ann", 3)] == ["ann", None]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
def test_lines_are_the_same_however_the_chunks_fall(size: int) -> None:
    text = "one\n\nthree ä\r\nlast".encode()
    cutter = LineCutter()
    lines = [line for start in range(0, len(text), size) for line in cutter.feed(text[start : start + size])]
    assert [*lines, *cutter.finish()] == [(1, b"one"), (2, b""), (3, "three ä\r".encode()), (4, b"last")]


def test_a_line_end_at_the_end_makes_no_empty_line() -> None:
    cutter = LineCutter()
    assert [*cutter.feed(b"one\n"), *cutter.finish()] == [(1, b"one")]


def test_a_line_without_end_is_not_kept_in_memory() -> None:
    cutter = LineCutter()
    for _ in range(20):
        assert list(cutter.feed(b"x" * (MAX_LINE_BYTES // 8))) == []
        assert len(cutter.rest) <= MAX_LINE_BYTES
    assert list(cutter.feed(b"x\nnext\n")) == [(1, None), (2, b"next")]


def test_a_last_line_that_is_too_long_is_told_too() -> None:
    cutter = LineCutter()
    assert [*cutter.feed(b"x" * (MAX_LINE_BYTES + 1)), *cutter.finish()] == [(1, None)]


def test_the_longest_line_that_fits_is_kept() -> None:
    cutter = LineCutter()
    [(number, line)] = cutter.feed(b"x" * MAX_LINE_BYTES + b"\n")
    assert (number, len(line or b"")) == (1, MAX_LINE_BYTES)


# ---- ids of lines


def named(fields: dict[str, object], number: int = 7, name: str = "in.jsonl") -> str | None:
    text = json.dumps(fields).encode()
    call = identified(parse_line(number, text, HANDLERS), text, name, HANDLERS)
    return call.message_id if isinstance(call, Call) else None


SAY: dict[str, object] = {"space": "ann", "call": "say", "args": ["hi"]}


def test_the_same_text_at_the_same_place_of_the_same_input_has_the_same_id() -> None:
    assert named(SAY) == named(dict(SAY)) is not None


def test_another_text_place_or_input_has_another_id() -> None:
    others = [named(SAY | {"args": ["ho"]}), named(SAY, number=8), named(SAY, name="other.jsonl")]
    assert len({named(SAY), *others}) == 4


def test_a_line_with_an_id_keeps_it_and_a_stream_gets_none() -> None:
    assert named(SAY | {"id": "mine"}) == "mine"
    assert named(SAY | {"call": "dictate"}) is None


def test_a_line_that_is_no_call_stays_one() -> None:
    assert named({"space": "ann"}) is None
