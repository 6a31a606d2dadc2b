"""What is told of a store, for people and for programs."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console, RenderableType

from spaceactors.cli._showing import (
    as_line,
    call_of,
    in_words,
    letter_page,
    letters_table,
    printable,
    questions_table,
    short,
    space_page,
    spaces_table,
    when,
)

LETTER = {
    "number": 7,
    "kind": "Shop",
    "space": "ann",
    "message_id": "m-1",
    "call": "say",
    "args": ["tea"],
    "kwargs": {"hot": True},
    "attempts": 2,
    "at": "2026-11-20T12:00:00.250+00:00",
    "error": {"type": "ValueError", "text": "no\nbeans", "traceback": "Traceback ...\n", "causes": []},
}
SPACE = {
    "kind": "Shop",
    "space": "ann",
    "status": "quarantined",
    "version": 1234,
    "pending": 1,
    "history": 2,
    "group": "g",
    "state": {"$type": "shop:Order", "items": ["tea"]},
    "quarantined": "ValueError: no",
    "counters": {"said": 2},
    "messages": [{"call": None, "unreadable": "odd bytes", "asleep": False, "accepted_at": None}],
    "timers": [{"key": "tick", "call": "say", "args": [], "kwargs": {}, "due": None, "every": 5.0}],
    "questions": [{"id": "q", "question": {"what": 1}}],
    "recent": [{"position": 2, "value": "hi"}],
}


def shown(what: RenderableType) -> str:
    console = Console(file=StringIO(), width=200)
    console.print(what)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (None, "None"),
        ("a", "'a'"),
        ([1, ["b"]], "[1, ['b']]"),
        ({}, "{}"),
        ({"a": 1, "b": [2]}, "{'a': 1, 'b': [2]}"),
        ({"$type": "m:Order", "items": ["a"], "n": 1}, "Order(items=['a'], n=1)"),
        ({"$type": "m:Empty"}, "Empty()"),
        ({"$type": "m:Color", "$member": "RED"}, "Color.RED"),
        ({"$type": "m:Side", "$value": 3}, "Side(3)"),
        ({"$pairs": [[1, "a"]]}, "{1: 'a'}"),
        ({"$seconds": 1.5}, "<seconds 1.5>"),
        ({"$unreadable": "odd"}, "<unreadable odd>"),
    ],
)
def test_values_are_shown_as_a_program_writes_them(value: object, told: str) -> None:
    assert in_words(value) == told


def test_a_call_is_shown_with_its_arguments() -> None:
    assert call_of(LETTER) == "say('tea', hot=True)"
    assert call_of({"call": None, "unreadable": "odd"}) == "(odd)"


def test_a_long_text_is_cut_into_one_line() -> None:
    assert short("a\n b", 9) == "a b"
    assert short("x" * 99, 5) == "xxxx…"


def test_dates_are_shown_to_the_second() -> None:
    assert when("2026-11-20T12:00:00.250+00:00") == "2026-11-20 12:00:00 UTC"
    assert when("1e+300") == "1e+300"
    assert when(None) == "–"


def test_a_line_of_json_is_utf_8_also_of_odd_texts() -> None:
    assert as_line({"a": "é\ud800\n"}) == '{"a": "é\\ud800\\n"}\n'.encode()


def test_lists_have_what_is_needed_to_go_on() -> None:
    letters = shown(letters_table([LETTER | {"error": "ValueError: no\nbeans"}]))
    assert "ValueError: no beans" in letters
    assert "2026-11-20 12:00:00 UTC" in letters
    assert "1,234" in shown(spaces_table([SPACE]))
    question = {"id": "Shop/ann/1/q/1", "question": {"a": 1}, "answer": "m:Verdict", "expires_at": None}
    assert shown(questions_table([question])).split()[-5:] == ["Shop/ann/1/q/1", "{'a':", "1}", "Verdict", "never"]


def test_markup_in_users_texts_is_only_text() -> None:
    """A space called `[red]` is shown as such, and not in red."""
    odd = "[red]x[/red]"
    assert odd in shown(spaces_table([SPACE | {"space": odd, "group": odd}]))
    assert odd in shown(letters_table([LETTER | {"call": odd, "error": odd}]))
    assert odd in shown(space_page(SPACE | {"space": odd}))
    assert odd in shown(letter_page(LETTER | {"message_id": odd}))


def test_what_would_do_something_to_a_terminal_is_shown_instead() -> None:
    odd = "\x1b[31mx\x07\x9b"
    seen = "\\x1b[31mx\\x07\\x9b"
    assert printable(odd + "é\n\t\ud800") == seen + "é\n\t\\ud800"
    question = {"id": odd, "question": odd, "answer": odd, "expires_at": None}
    odd_space = SPACE | {"space": odd, "group": odd, "quarantined": odd, "questions": [question]}
    odd_letter = LETTER | {"space": odd, "message_id": odd, "error": {"type": odd, "text": odd, "traceback": odd}}
    for page in (
        spaces_table([odd_space]),
        letters_table([LETTER | {"call": odd, "space": odd, "error": odd}]),
        questions_table([question]),
        space_page(odd_space),
        letter_page(odd_letter),
    ):
        told = shown(page)
        assert "\x1b" not in told
        assert seen in told


def test_a_space_is_shown_with_what_it_has_and_without_what_it_has_not() -> None:
    told = shown(space_page(SPACE))
    for part in ("Order(items=['tea'])", "ValueError: no", "said 2", "(odd bytes)", "then every 5 s", "q: {'what': 1}"):
        assert part in told
    bare = {**SPACE, "state": None, "quarantined": None, "counters": {}, "messages": [], "timers": []}
    told = shown(space_page({**bare, "questions": [], "recent": [], "group": None}))
    assert "its class's first" in told
    assert not any(word in told for word in ("quarantined:", "counters", "messages", "timers", "questions", "group"))


def test_a_letter_is_shown_with_its_traceback_or_without_an_error_that_cannot_be_read() -> None:
    assert "Traceback ..." in shown(letter_page(LETTER))
    assert "<unreadable odd>" in shown(letter_page(LETTER | {"error": {"$unreadable": "odd"}}))
