"""What a person writes becomes calls, and many of them are dealt over spaces."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spaceactors import HandlerInfo, handlers_of
from spaceactors.cli._lines import Call, LineCutter, Unfit
from spaceactors.cli._load import UnusableArgument
from spaceactors.cli._prompts import ANYWHERE, FEW, arguments_of, count_spaces, deal, read_prompts, text_of
from tests.cli.clerks import Clerk

HANDLERS = handlers_of(Clerk)


def say() -> HandlerInfo:
    return HANDLERS["say"]


def read(text: str | bytes) -> list[Call]:
    cutter = LineCutter()
    data = text if isinstance(text, bytes) else text.encode()
    return read_prompts([*cutter.feed(data), *cutter.finish()], HANDLERS, say)


def plain(count: int) -> list[Call]:
    return [Call(n, ANYWHERE, "say", (str(n),)) for n in range(count)]


def named(*spaces: str) -> list[Call]:
    return [Call(n, space, "say", ("hi",)) for n, space in enumerate(spaces)]


def spaces_of(calls: Iterable[Call]) -> list[str]:
    return [call.space for call in calls]


# ---- one


def test_a_text_loses_one_line_end() -> None:
    assert [text_of(read) for read in (b"a\n\n", b"a\r\n", b"\n", b"a\r")] == ["a\n", "a", "", "a"]


def test_the_mark_that_some_editors_put_first_is_no_text() -> None:
    assert text_of(b"\xef\xbb\xbfhi") == "hi"


@given(st.binary(max_size=20))
def test_whatever_comes_is_a_text_or_refused(read: bytes) -> None:
    with suppress(UnusableArgument):
        assert text_of(read).encode() in read


@given(st.text(max_size=20))
def test_whatever_is_given_as_arguments_is_taken_or_refused(written: str) -> None:
    with suppress(UnusableArgument):
        assert arguments_of(written).keys() <= {"args", "kwargs"}


# ---- a file of them


def test_each_line_is_a_prompt_and_empty_ones_are_none() -> None:
    assert [call.args for call in read("one\n\n  two \r\nthree")] == [("one",), ("two",), ("three",)]


def test_a_line_that_begins_with_a_brace_is_a_call_as_run_reads_it() -> None:
    (call, other) = read(json.dumps({"space": "ann", "call": "refuse"}) + "\nhi\n")
    assert (call.space, call.name, other.space, other.name) == ("ann", "refuse", ANYWHERE, "say")


def test_ids_are_left_out_for_what_is_said_again_is_done_again() -> None:
    (call,) = read(json.dumps({"space": "ann", "call": "say", "args": ["hi"], "id": "one"}))
    assert call.message_id is None


def test_no_handler_for_plain_prompts_is_needed_where_there_are_none() -> None:
    def none() -> HandlerInfo:
        raise UnusableArgument("which one?")

    line = json.dumps({"space": "ann", "call": "refuse"}).encode()
    assert len(read_prompts([(1, line)], HANDLERS, none)) == 1
    with pytest.raises(UnusableArgument, match="which one"):
        read_prompts([(1, b"hi")], HANDLERS, none)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"", "there is no prompt in it"),
        (b"\n \n", "there is no prompt in it"),
        (b"hi\n\x80\n", "line 2: this is no text in UTF-8"),
        (b"hi\n" + b"x" * (1 << 21), "line 2: it is longer than"),
        (b"{", "line 1: no JSON"),
        (b'{"space": "ann"}', "line 1: the field 'call' is missing"),
        (b'{"space": "ann", "call": "sing"}', "line 1: there is no handler 'sing'"),
    ],
    ids=range(7),
)
def test_what_is_no_prompt_is_refused_before_anything_is_said_with_its_line(text: bytes, told: str) -> None:
    with pytest.raises(Unfit, match=told):
        read(text)


# ---- dealt


def test_plain_prompts_go_around_the_spaces_and_on_where_they_were_when_repeated() -> None:
    assert spaces_of(deal(plain(3), 2, 2)) == ["bench-1", "bench-2", "bench-1", "bench-2", "bench-1", "bench-2"]
    assert len(set(spaces_of(deal(plain(25), None, 1)))) == FEW


def test_conversations_keep_their_spaces_and_their_order() -> None:
    assert spaces_of(deal(named("ann", "bob", "ann"), None, 2)) == ["ann", "bob", "ann"] * 2


def test_with_a_number_of_spaces_conversations_stay_whole() -> None:
    dealt = spaces_of(deal(named("ann", "bob", "ann", "cem", "bob"), 2, 1))
    assert dealt == ["bench-1", "bench-2", "bench-1", "bench-1", "bench-2"]


def test_calls_are_numbered_through() -> None:
    assert [call.line for call in deal(plain(2), 1, 2)] == [1, 2, 3, 4]


@given(
    st.lists(st.sampled_from([ANYWHERE, "ann", "bob", "bench-1"]), min_size=1, max_size=15),
    st.one_of(st.none(), st.integers(1, 12)),
    st.integers(1, 4),
)
def test_the_spaces_are_counted_without_dealing(names: list[str], spaces: int | None, repeat: int) -> None:
    prompts = named(*names)
    assert count_spaces(prompts, spaces, repeat) == len(set(spaces_of(deal(prompts, spaces, repeat))))
