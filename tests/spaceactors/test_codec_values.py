"""Every value comes back as it was, whatever the annotations say, and nothing of the user's runs on the way."""

from __future__ import annotations

import math
import pickle
from collections import OrderedDict, deque
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import MappingProxyType
from uuid import UUID
from zoneinfo import ZoneInfo

import hypothesis.strategies as st
import pytest
from hypothesis import given

from spaceactors import Rejected
from spaceactors._codec import CannotDecode, CannotEncode
from tests.spaceactors.codec_scenes import (
    Basket,
    Checked,
    Counter,
    FrozenOops,
    Hashed,
    Heir,
    Item,
    Late,
    Oops,
    Order,
    Point,
    Roomy,
    Status,
    Strict,
    again,
    codec,
    handle,
    sample_objects,
)

BERLIN = ZoneInfo("Europe/Berlin")
NAIVE = datetime(2024, 10, 27, 2, 30, 5, 6)  # noqa: DTZ001 (a date without a zone is a value too)
PLAIN = [
    *(None, True, False, 0, -1, 2**63, 2**64 - 1, 2**64, -(2**63) - 1, 1.5, -0.0, math.inf),
    *("", "a latte", "☕", "\ud800", "a\udfff☕", b"", b"\xff\0", 1 + 2j, range(1, 9, 2)),
    *(
        (),
        (1,),
        [],
        [1, "a", None],
        [(1,), [2]],
        set(),
        {1, "a", (2,)},
        frozenset({"a", "b"}),
        frozenset({frozenset()}),
    ),
    *({}, {"a": 1}, {"a": {"b": [1]}}, {1: 2}, {(1, 2): [3], None: 4}, {"\ud800": 2**70}, {"a": 1, 2: 3}),
    *(NAIVE, datetime(2030, 1, 2, tzinfo=UTC), date(2030, 1, 2), time(1, 2, 3, 4)),
    *(datetime(2030, 1, 2, tzinfo=timezone(timedelta(hours=2, seconds=1))), time(1, 2, tzinfo=UTC), time(1, fold=1)),
    *(NAIVE.replace(fold=1), datetime(2030, 1, 2, tzinfo=timezone(timedelta(hours=-3), "home"))),
    *(datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=BERLIN), time(1, 2, tzinfo=BERLIN), timedelta(-1, 2, 3)),
    *(Decimal("1.50"), Decimal("-Infinity"), Fraction(2**70, 3), UUID(int=5), Path("a/b"), Path("\udcff")),
    *(PurePosixPath("/x"), PureWindowsPath("c:\\x"), OrderedDict(b=1, a=[2]), MappingProxyType({"a": (1,)})),
    *(bytearray(b"x"), deque([1, (2,)]), deque([1], maxlen=3)),
]


@pytest.mark.parametrize("value", [*PLAIN, *sample_objects()], ids=lambda it: type(it).__name__)
def test_a_value_comes_back_as_it_was(value):
    back = again(value)
    assert type(back) is type(value)
    assert back == value
    assert typed(back) == typed(value)


@pytest.mark.parametrize("number", [2**20_000, -(2**20_000)], ids=["great", "small"])
def test_an_integer_may_have_more_digits_than_python_prints(number):
    assert again({"n": [number]}) == {"n": [number]}


def test_nan_comes_back_as_nan():
    assert math.isnan(again(math.nan))
    assert again(Decimal("sNaN")).is_snan()


def test_the_sign_of_zero_is_kept():
    assert math.copysign(1, again(-0.0)) == -1


def test_a_zone_comes_back_by_its_name_and_with_its_fold():
    moment = datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=BERLIN)
    assert again(moment).tzinfo is BERLIN
    assert again(moment).fold == 1
    assert again(datetime(2030, 1, 1, tzinfo=timezone(timedelta(0), "home"))).tzname() == "home"


@pytest.mark.parametrize("moment", [NAIVE.replace(fold=1), time(2, 30, fold=1), time(2, 30, fold=1, tzinfo=UTC)])
def test_the_fold_of_a_moment_without_a_zone_is_kept(moment):
    assert again(moment).fold == 1


def test_a_time_whose_zone_would_be_lost_is_refused():
    class Elsewhere(tzinfo):
        def utcoffset(self, _):
            return None

    with pytest.raises(CannotEncode):
        codec().encode(time(1, tzinfo=Elsewhere()))


def test_a_moment_in_a_zone_of_another_library_keeps_its_offset():
    class Elsewhere(tzinfo):
        def utcoffset(self, _):
            return timedelta(hours=5)

    assert again(datetime(2030, 1, 1, tzinfo=Elsewhere())).utcoffset() == timedelta(hours=5)


def test_a_deque_keeps_its_bound():
    assert again(deque([1], maxlen=3)).maxlen == 3


def test_a_handle_is_bound_by_the_reader():
    assert again((handle("barista", "alice"),)) == (handle("barista", "alice"),)


keys = st.one_of(st.none(), st.booleans(), st.integers(), st.text(), st.binary(), st.tuples(st.integers(), st.text()))
leaves = st.one_of(
    *(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.binary(), st.uuids(), st.timedeltas()),
    st.text(st.characters(exclude_categories=())),
    st.dates(),
    st.datetimes(timezones=st.none() | st.just(UTC) | st.just(BERLIN)),
    st.decimals(allow_nan=False),
    st.fractions(),
    st.builds(Item, st.text(), st.integers()),
    st.sampled_from(list(Status)),
)
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner),
        st.lists(inner).map(tuple),
        st.dictionaries(keys, inner),
        st.dictionaries(st.text(), inner),
        st.sets(keys),
        st.frozensets(keys),
        st.builds(Order, st.lists(inner).map(tuple), inner),
        st.builds(Point, inner, inner),
        st.builds(Basket, inner, st.lists(inner)),
    ),
    max_leaves=20,
)


def typed(value):
    """A value with the types of all its parts, since 1 == True and (1,) is no [1]."""
    match value:
        case dict():
            return dict, [(typed(key), typed(one)) for key, one in value.items()]
        case set() | frozenset():
            return type(value), sorted(map(repr, map(typed, value)))
        case list() | tuple():
            return type(value), [typed(one) for one in value]
        case Order():
            return Order, typed(value.items), typed(value._secret)
        case Basket():
            return Basket, typed(value.size), typed(value.things)
        case _:
            return type(value), value


@given(values)
def test_any_nesting_of_values_comes_back_type_by_type(value):
    assert typed(again(value)) == typed(value)


@given(values)
def test_a_call_writes_its_arguments_and_never_changes_them(value):
    before = pickle.dumps(value)
    codec().encode(value)
    assert pickle.dumps(value) == before


@given(st.binary(max_size=60))
def test_bytes_that_nobody_wrote_raise_nothing_but_cannot_decode(data):
    _read_damaged(data)


@given(values, st.data())
def test_damaged_bytes_raise_nothing_but_cannot_decode(value, data):
    written = bytearray(codec().encode(value))
    place = data.draw(st.integers(0, len(written) - 1))
    written[place] = data.draw(st.integers(0, 255))
    _read_damaged(bytes(written))
    _read_damaged(bytes(written[:place]))


def _read_damaged(data):
    with suppress(CannotDecode):
        codec().decode(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\x90",
        b"\x91\xc0",
        b"\x91\x91\x01",
        b"\x92\x06\xa1x",
        b"\x91" * 5000,
        b"\xd6\xff\0\0\0\0",
        b"\xd4\5x",
    ],
    ids=repr,
)
def test_a_broken_value_is_said_to_be_unreadable(data):
    with pytest.raises(CannotDecode, match="a stored value cannot be read: "):
        codec().decode(data)


def test_equal_sets_give_equal_bytes():
    """So that a stored call can be compared with another; the order of a set of texts differs between processes."""
    forwards, backwards = dict.fromkeys("abcdefgh"), dict.fromkeys("hgfedcba")
    assert codec().encode(set(forwards)) == codec().encode(set(backwards))
    for one, other in (((0, 8), (8, 0)), ((0, 8, (1,)), (8, 0, (1,)))):
        assert list({*one}) != list({*other})  # the order of arrival, where hashes meet
        assert codec().encode({*one}) == codec().encode({*other})


# ---- objects are made without their constructors


def test_no_validator_or_converter_runs_when_a_value_is_read():
    odd = Strict(1)
    odd.n, odd.words = -1, ["not", "a tuple"]
    back = again(odd)
    assert (back.n, back.words) == (-1, ["not", "a tuple"])


def test_no_post_init_runs_when_a_value_is_read():
    odd = Counter(1)
    odd.twice = 5
    assert again(odd).twice == 5
    wrong = Checked(1)
    wrong.a = -1
    assert again(wrong).a == -1


def test_a_field_that_was_never_set_is_not_set_afterwards():
    back = again(Late(1))
    assert back.x == 1
    assert not hasattr(back, "y")


def test_attributes_that_are_no_fields_are_kept():
    assert again(Basket(2)).made == "by hand"
    heir = Heir(3)
    object.__setattr__(heir, "own", (Item(),))
    assert again(heir).own == (Item(),)


def test_what_is_computed_and_cached_is_not_written_but_computed_again():
    roomy = Roomy(2)
    assert roomy.double == 4
    back = again(roomy)
    assert vars(back) == {"x": 2}
    assert back.double == 4


def test_a_class_that_remembers_its_hash_has_one_afterwards():
    assert hash(again(Hashed(3))) == hash(Hashed(3))


# ---- pydantic, which need not be installed


@pytest.fixture
def models():
    pydantic = pytest.importorskip("pydantic")
    from tests.spaceactors import codec_models

    assert pydantic.VERSION.startswith("2")
    return codec_models


def test_a_pydantic_model_comes_back_with_what_was_set_extra_and_private(models):
    guest = models.Guest(nick="ann", age=3, tags=[models.Tag(name="x")], colour="red")
    guest._seen = 4
    back = again(guest)
    assert back == guest
    assert type(back.tags[0]) is models.Tag
    assert (back.model_fields_set, back.model_extra, back._seen) == (
        {"name", "age", "tags", "colour"},
        {"colour": "red"},
        4,
    )


def test_a_pydantic_field_left_at_its_default_is_still_unset(models):
    assert again(models.Tag(name="x")).model_fields_set == {"name"}
    assert again(models.Tag(name="x", weight=1)).model_fields_set == {"name", "weight"}


def test_a_pydantic_validator_does_not_run_again(models):
    tag = models.Tag(name="x").model_copy(update={"weight": -1})
    assert again(tag).weight == -1


def test_extra_and_private_attributes_are_kept_where_there_are_only_such(models):
    assert again(models.Open(a=1, z=[2])).z == [2]
    held = models.Held(a=1)
    held._seen = 5
    assert again(held)._seen == 5


def test_a_frozen_and_a_root_model_come_back(models):
    for value in (models.Sealed(a=1), models.Names(["a", "b"])):
        assert again(value) == value


# ---- exceptions as values


@pytest.mark.parametrize(
    "error",
    [
        *(ValueError("a", 1), KeyError("x"), FileNotFoundError(2, "gone", "f"), ImportError("x", name="n", path="p")),
        *(UnicodeDecodeError("utf-8", b"x", 0, 1, "r"), StopIteration(3), ExceptionGroup("g", [ValueError(1)])),
        *(Oops("broken", code=3), Rejected("no", space=handle("k", "i"))),
    ],
    ids=repr,
)
def test_an_exception_comes_back_with_arguments_and_attributes(error):
    back = again(error)
    assert type(back) is type(error)
    assert (repr(back), str(back), vars(back)) == (repr(error), str(error), vars(error))
    assert getattr(back, "filename", None) == getattr(error, "filename", None)


def test_an_exception_keeps_its_notes():
    error = ValueError("x")
    error.add_note("in the kitchen")
    assert again(error).__notes__ == ["in the kitchen"]


def test_an_exception_made_by_attrs_keeps_its_fields():
    back = again(FrozenOops("x", (Item("a"),)))
    assert (back.what, back.items) == ("x", (Item("a"),))


def test_the_message_that_an_error_of_ours_is_about_is_not_written():
    assert again(Rejected("no", message=object())).message is None


# ---- bounds


def nested(levels):
    value = "bottom"
    for _ in range(levels):
        value = (value,)
    return value


def test_values_nest_a_hundred_levels_deep():
    assert again(nested(101)) == nested(101)
    with pytest.raises(CannotEncode, match=r"nested more than 100 levels deep; make it flat"):
        codec().encode(nested(102))


def test_even_a_value_deeper_than_the_stack_is_refused_and_no_recursion_error():
    with pytest.raises(CannotEncode, match="nested"):
        codec().encode(nested(100_000))


@pytest.mark.parametrize(
    "wrap",
    [
        *(lambda it: [it], lambda it: {"a": it}, lambda it: {1: it}, lambda it: frozenset({it})),
        *(Order, lambda it: Basket(1, it), Point, ValueError),
    ],
    ids=["list", "map", "dict", "frozenset", "attrs", "dataclass", "namedtuple", "error"],
)
def test_every_sort_of_container_counts_as_a_level(wrap):
    value = ()
    for _ in range(102):
        value = wrap(value)
    with pytest.raises(CannotEncode, match="nested"):
        codec().encode(value)


def test_an_error_at_the_last_level_is_refused():
    value = ValueError("x")
    for _ in range(100):
        value = (value,)
    with pytest.raises(CannotEncode):
        codec().encode(value)
