"""What values and rows of others may do to the codec: attributes of any name, and bytes made to hurt."""

from __future__ import annotations

import msgspec.msgpack
import pytest

from spaceactors._codec import CannotDecode
from spaceactors._codec_tags import BYTEARRAY, FRACTION
from spaceactors._codec_values import MOST_SHAPES
from tests.spaceactors.codec_scenes import again, codec


@pytest.fixture
def models():
    pytest.importorskip("pydantic")
    from tests.spaceactors import codec_models

    return codec_models


@pytest.mark.parametrize("name", ["a,b", "f(x)", "(", ")", "%", "%2C", "%252C", "100 %, or (nearly)", ""])
def test_an_extra_attribute_may_have_any_name(models, name):
    """The names of a pydantic model's extra attributes come from outside: a comma in one must not lose the value."""
    value = models.Open(a=1, **{name: 2})
    assert again(value) == value
    assert again(value).model_extra == {name: 2}


def test_shapes_that_were_seen_once_are_not_remembered_for_ever(models):
    """Each set of extra names is another shape: values of a thousand users leave no thousand records."""
    one = codec()
    for n in range(MOST_SHAPES + 10):
        assert getattr(one.decode(one.encode(models.Open(a=1, **{f"x{n}": n}))), f"x{n}") == n
    assert 0 < len(one._values._makers) <= MOST_SHAPES


def test_stored_numbers_do_not_become_memory_or_time():
    """A few bytes in a damaged row ask for 10 GB, or for a number of a billion digits: they are refused at once."""
    for plain in ([BYTEARRAY, 10**10], [FRACTION, "1e999999999", None]):
        with pytest.raises(CannotDecode):
            codec().decode(msgspec.msgpack.encode(plain))
