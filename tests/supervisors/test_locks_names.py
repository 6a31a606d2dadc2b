"""What locks are called, and which two exclude each other."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisors._lock_names import EXCLUDED, MARKS, Claim, claims_of, conflicts, marks_of, normalized, places

NAMES = st.one_of(
    st.sampled_from(["service:db", "a", "dir", "."]),
    st.builds(
        lambda kind, root, parts: f"{kind}:{root}{'/'.join(parts)}",
        st.sampled_from(["file", "dir"]),
        st.sampled_from(["", "/"]),
        st.lists(st.sampled_from("ab"), min_size=1, max_size=4),
    ),
    st.sampled_from(["dir:.", "dir:/"]),
)


@pytest.mark.parametrize(
    ("one", "other", "exclude"),
    [
        ("dir:src", "file:src/a.py", True),
        ("dir:src", "file:src/deep/er/a.py", True),
        ("dir:src", "dir:src/sub", True),
        ("dir:src", "dir:src", True),
        ("dir:src", "file:src", True),  # one place, whatever it is at the moment
        ("dir:src", "file:srcs/a.py", False),
        ("dir:src", "dir:lib", False),
        ("dir:src", "service:src", False),
        ("dir:src", "src/a.py", False),  # no path: a name that looks like one
        ("dir:.", "file:a", True),
        ("dir:.", "dir:a/b", True),
        ("dir:.", "file:/a", False),
        ("dir:/", "file:/a", True),
        ("dir:/", "dir:a", False),
        ("file:a", "file:a/b", False),  # nothing is below a file
        ("file:a", "dir:a/b", False),
        ("service:db", "service:db", True),
        ("service:db", "service:db2", False),
    ],
)
def test_a_directory_excludes_what_lies_below_it_and_any_other_name_itself(one, other, exclude):
    for first, second in ((one, other), (other, one)):
        assert conflicts(Claim(first), Claim(second)) is exclude
        assert conflicts(Claim(first, shared=True), Claim(second)) is exclude
        assert not conflicts(Claim(first, shared=True), Claim(second, shared=True))


@given(NAMES, NAMES, st.booleans(), st.booleans())
def test_two_claims_exclude_each_other_exactly_if_their_marks_do_at_some_place(one, other, shared, together):
    first, second = Claim(one, shared), Claim(other, together)
    marks, others = marks_of([first]), marks_of([second])
    meet = any(mark & others.get(place, 0) for place in marks for mark in EXCLUDED[marks[place]])
    assert meet is conflicts(first, second) is conflicts(second, first)


@given(NAMES, NAMES)
def test_a_directory_covers_what_the_operating_system_says_is_below_it(one, other):
    kind, _, path = one.partition(":")
    of, _, below = other.partition(":")
    if kind == "dir" and path and of in {"file", "dir"} and below:
        assert conflicts(Claim(one), Claim(other)) is (
            PurePosixPath(below).is_relative_to(path) or (of == "dir" and PurePosixPath(path).is_relative_to(below))
        )


def test_what_excludes_is_excluded():
    for one in MARKS:
        for other in MARKS:
            assert (one in EXCLUDED[other]) is (other in EXCLUDED[one])


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("dir:src/", "dir:src"),
        ("dir:./src//lib/.", "dir:src/lib"),
        ("file:./a", "file:a"),
        ("dir:./", "dir:."),
        ("dir://", "dir:/"),
        ("file:/a/./b", "file:/a/b"),
        ("file:a..b", "file:a..b"),
        ("service:a/../b", "service:a/../b"),
        ("order:7", "order:7"),
    ],
)
def test_a_path_has_one_spelling(written, meant):
    assert normalized(written) == normalized(meant) == meant


@pytest.mark.parametrize(
    ("name", "error", "told"),
    [
        ("dir:../a", ValueError, r"'\.\.' in its path"),
        ("file:a/..", ValueError, r"'\.\.' in its path"),
        ("dir:", ValueError, r"write 'dir:\.'"),
        ("file:", ValueError, "has no path"),
        ("file:a/", ValueError, "write 'dir:a/'"),
        ("file:/", ValueError, "is a directory"),
        ("file:.", ValueError, "is a directory"),
        ("", TypeError, "must be a text"),
        (7, TypeError, "must be a text"),
        ("a\0b", TypeError, "must be a text"),
    ],
)
def test_a_name_that_is_none_is_refused(name, error, told):
    with pytest.raises(error, match=told):
        normalized(name)


@given(NAMES)
def test_a_name_has_as_many_places_as_its_path_has_parts(name):
    kind, _, path = name.partition(":")
    parts = (
        1 + len([part for part in path.split("/") if part not in {"", "."}]) if kind in {"file", "dir"} and path else 1
    )
    assert len(places(name)) == len(set(places(name))) == parts


def test_who_wants_a_name_both_ways_wants_it_alone():
    assert claims_of(["b", "dir:x/"], ["dir:x", "a"]) == (Claim("a", shared=True), Claim("b"), Claim("dir:x"))
