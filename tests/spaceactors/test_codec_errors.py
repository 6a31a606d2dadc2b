"""Errors that are kept: of the same class where that can be made again, and readable in any case."""

from __future__ import annotations

import pytest

from spaceactors import ActorCrashed
from spaceactors._codec import CannotDecode, StoredError
from spaceactors._codec_failures import MOST_TRACEBACK
from spaceactors._codec_plain import load
from tests.spaceactors.codec_scenes import Oops, again, codec, handle


class Mute(Exception):
    def __str__(self):
        raise ZeroDivisionError


def raised(error, cause=None):
    try:
        raise error from cause
    except BaseException as caught:
        return caught


def kept(error):
    return codec().decode_error(codec().encode_error(error))


@pytest.mark.parametrize(
    "error", [ValueError("x", 1), Oops("bad", code=2), KeyboardInterrupt(), FileNotFoundError(2, "x")], ids=repr
)
def test_an_error_is_of_its_class_again(error):
    back = kept(raised(error))
    assert type(back) is type(error)
    assert (back.args, str(back)) == (error.args, str(error))


def test_an_error_tells_where_it_was_raised():
    assert "in raised" in kept(raised(Oops("bad", code=2))).stored_traceback


def test_the_traceback_is_kept_when_an_error_is_stored_again():
    once = kept(raised(ValueError("x")))
    twice = kept(once)
    assert twice.stored_traceback == once.stored_traceback


def test_a_traceback_is_bounded_and_ends_with_the_error():
    where = kept(raised(ValueError("x" * 50_000 + "end"))).stored_traceback
    assert len(where) <= MOST_TRACEBACK
    assert where.endswith("end\n")


def test_an_error_that_cannot_be_written_keeps_its_name_and_text():
    back = kept(raised(ValueError("no", object)))
    assert type(back) is StoredError
    assert (back.type_name, back.text) == ("ValueError", "('no', <class 'object'>)")
    assert str(back) == "ValueError: ('no', <class 'object'>)"
    assert "in raised" in back.stored_traceback


def test_an_error_whose_class_is_gone_keeps_its_name_and_text():
    class Gone(Exception):
        pass

    back = kept(Gone("away"))
    assert type(back) is StoredError
    assert back.type_name.endswith("Gone")
    assert back.text == "away"


def test_a_stored_error_is_stored_as_what_it_was():
    once = kept(ValueError(object))
    assert (kept(once).type_name, kept(once).text) == (once.type_name, once.text)


def test_the_name_of_an_error_that_was_stored_twice_can_be_read_without_classes():
    once = kept(raised(ValueError(object)))
    data = codec().encode_error(once)
    assert load(data)[2:4] == ["ValueError", once.text]
    assert data.count(b"in raised") == 1  # the traceback is written once, and no second time as an attribute


def test_a_stored_error_can_be_a_value_too():
    back = again(StoredError("Oops", "x"))
    assert (back.type_name, back.text, back.stored_traceback) == ("Oops", "x", "")


def test_an_error_with_much_in_it_keeps_its_text_only():
    back = kept(ValueError(b"x" * 100_000))
    assert type(back) is StoredError
    assert len(back.text) <= 2000


def test_an_error_that_cannot_be_shown_is_kept_all_the_same():
    assert type(kept(raised(Mute(object)))) is StoredError


def test_causes_are_kept_as_texts():
    back = kept(raised(ValueError("outer"), raised(KeyError("inner"), OSError("innermost"))))
    assert [str(back.__cause__), str(back.__cause__.__cause__)] == ["KeyError: 'inner'", "OSError: innermost"]


def test_a_ring_of_causes_ends():
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first
    back = kept(first)
    assert str(back.__cause__) == "ValueError: b"
    assert back.__cause__.__cause__ is None


def test_an_error_of_ours_keeps_its_space():
    assert kept(ActorCrashed("x", space=handle("k", "i"))).space == handle("k", "i")


@pytest.mark.parametrize("data", [b"", b"\xc0", codec().encode((1, 2))])
def test_bytes_of_no_error_are_refused(data):
    with pytest.raises(CannotDecode, match="a stored error cannot be read"):
        codec().decode_error(data)
