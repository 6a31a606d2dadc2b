"""What locks are called, what covers what, and which two exclude each other.

Pure: plain functions from texts to texts and numbers; no Trio, no clock.

Two claims exclude each other if both names are one, or one is a directory that covers the other; and not if both are
shared (`conflicts`). So that nobody has to look at all other locks for that, a claim leaves marks, as databases do with
tables and rows: one at its own place, and a lighter one at each directory above. Two claims exclude each other exactly
if their marks do at some place, and a claim has as many places as its path has parts.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

FILE, DIRECTORY = "file:", "dir:"

# The marks: something below is wanted; this one thing is wanted; this and all below is wanted. Each shared, or alone.
SHARED_BELOW, BELOW, SHARED_ONE, ONE, SHARED_TREE, TREE = MARKS = (1, 2, 4, 8, 16, 32)
# What each mark excludes. A file has nothing below it, so `ONE` and `BELOW` do not meet.
_EXCLUDED = {
    SHARED_BELOW: TREE,
    BELOW: SHARED_TREE | TREE,
    SHARED_ONE: ONE | TREE,
    ONE: SHARED_ONE | ONE | SHARED_TREE | TREE,
    SHARED_TREE: BELOW | ONE | TREE,
    TREE: SHARED_BELOW | BELOW | SHARED_ONE | ONE | SHARED_TREE | TREE,
}


class Claim(NamedTuple):
    """One name that somebody holds or wants, for itself or with others who share it."""

    name: str
    shared: bool = False


def _excluded_by(marks: int) -> tuple[int, ...]:
    either = 0
    for mark in MARKS:
        if mark & marks:
            either |= _EXCLUDED[mark]
    return tuple(mark for mark in MARKS if mark & either)


# For every sum of marks at one place: the single marks that it excludes there.
EXCLUDED = tuple(_excluded_by(marks) for marks in range(2 * TREE))


def normalized(name: object) -> str:
    """Return the one spelling of a lock's name.

    Paths (`file:`, `dir:`) lose what says nothing: `./`, double slashes, the last slash of a directory. A path from the
    root and one from the working directory are never compared, for only the caller knows where that is.

    Raises:
        TypeError: it is no text, or empty.
        ValueError: the path is none, or has `..` in it, or says that a file is a directory.

    """
    if not isinstance(name, str) or not name or "\0" in name:
        told = "the name of a lock must be a text that is not empty; name several one by one: hold('file:a', 'order:7')"
        raise TypeError(f"{told}, not {name!r}")
    for kind in (FILE, DIRECTORY):
        if name.startswith(kind):
            return kind + _normalized_path(name, name.removeprefix(kind))
    return name


def _normalized_path(name: str, path: str) -> str:
    if not path:
        raise ValueError(f"the lock {name!r} has no path: write 'dir:.' for all relative paths, 'dir:/' for all others")
    parts = [part for part in path.split("/") if part not in {"", "."}]
    if ".." in parts:
        raise ValueError(f"the lock {name!r} has '..' in its path, which means another place behind a link")
    if name.startswith(FILE) and path.rpartition("/")[2] in {"", "."}:
        raise ValueError(f"the lock {name!r} is a directory: write {DIRECTORY + path!r} for it and all that is below")
    return ("/" if path.startswith("/") else "") + ("/".join(parts)) or "."


def places(name: str) -> list[str]:
    """Return where a normalized name leaves marks: the directories above it from the root on, then its own place."""
    kind, colon, path = name.partition(":")
    if kind + colon not in {FILE, DIRECTORY}:
        return ["=" + name]
    place = "/" if path.startswith("/") else "."
    found = [place]
    place = place.rstrip("/")
    for part in path.lstrip("/").split("/"):
        if part not in {"", "."}:
            place = f"{place}/{part}"
            found.append(place)
    return found


def covers(one: str, other: str) -> bool:
    """Tell whether a normalized name is the other's, or a directory with the other in it."""
    if one == other:
        return True
    if not one.startswith(DIRECTORY) or not other.startswith((FILE, DIRECTORY)):
        return False
    above, path = one.removeprefix(DIRECTORY), other.partition(":")[2]
    if above == ".":
        return not path.startswith("/")
    return path == above or path.startswith(above.rstrip("/") + "/")


def conflicts(one: Claim, other: Claim) -> bool:
    """Tell whether two claims cannot be held by two at the same time."""
    if one.shared and other.shared:
        return False
    return covers(one.name, other.name) or covers(other.name, one.name)


def claims_of(names: Iterable[object], shared: Iterable[object]) -> tuple[Claim, ...]:
    """Check and sort what is asked for; who wants a name both ways wants it alone.

    Raises:
        TypeError: nothing is asked for, or something that is no name.
        ValueError: a path that is none.

    """
    if isinstance(shared, str) or not isinstance(shared, Iterable):
        raise TypeError(f"shared must be names in a tuple, such as shared=('service:db',), not {shared!r}")
    alone = {normalized(name) for name in names}
    together = {normalized(name) for name in shared}
    if not alone and not together:
        raise TypeError('hold() needs the name of at least one lock, such as hold("order:7") or hold(shared=("a",))')
    return tuple(Claim(name, name not in alone) for name in sorted(alone | together))


def marks_of(claims: Iterable[Claim]) -> Mapping[str, int]:
    """Return the marks that claims leave, together, at each place."""
    marks = dict[str, int]()
    for name, shared in claims:
        *above, own = places(name)
        for place in above:
            marks[place] = marks.get(place, 0) | (SHARED_BELOW if shared else BELOW)
        kind = (SHARED_TREE if shared else TREE) if name.startswith(DIRECTORY) else (SHARED_ONE if shared else ONE)
        marks[own] = marks.get(own, 0) | kind
    return marks
