"""Checks at the door.

Pure: no Trio, no clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from supervisors._lock_names import Claim, claims_of
from supervisors._spec import check_name


def names_in(what: str, names: object, example: str) -> tuple[str, ...]:
    """Return names that came as one text or several."""
    if isinstance(names, str):
        return (names,)
    given = tuple(cast("Iterable[object]", names)) if isinstance(names, Iterable) else (names,)
    for name in given:
        if not isinstance(name, str):
            raise TypeError(f"{what} must be names such as {example!r}, or several in a tuple, not {names!r}")
        check_name(f"a name in {what}", name)
    return cast("tuple[str, ...]", given)


def claims_for(resources: tuple[str, ...], shared: tuple[str, ...]) -> tuple[Claim, ...]:
    """Return what a task locks, checked and sorted; nothing is allowed."""
    return claims_of(resources, shared) if resources or shared else ()
