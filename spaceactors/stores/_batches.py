"""From the writes of a batch to what is done to each table: rows of a kind together, each row of a table once.

Pure: no database is known here. Both databases write whole groups with one statement, which looks at every row as it
was before; so what a batch does to the same row more than once is put together here first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from spaceactors.stores._engine import Put

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from spaceactors.stores._engine import Key, Row

    Values: TypeAlias = tuple[Any, ...]
    Grouped: TypeAlias = list[tuple[Put, list[Values]]]


class Missed(Exception):
    """A guard did not hold somewhere in the batch."""


# The places in the values of SAVE_SPACE and, but for the state, of MARK_SPACE.
_EPOCH, _VERSION, _NEW_VERSION, _STATE = 2, 3, 4, 5

# Of these only the last of a batch counts for a row, whose key is so many first values.
_LAST_COUNTS = {
    Put.MARK_MESSAGE: 3,
    Put.SET_TIMER: 3,
    Put.DROP_TIMER: 3,
    Put.ADD_KNOWN: 3,
    Put.DROP_KNOWN: 3,
    Put.TRIM_ENTRIES: 2,
    Put.TRIM_EVENTS: 2,
}
# Which of them are about the same rows.
_FAMILY = {Put.DROP_TIMER: Put.SET_TIMER, Put.DROP_KNOWN: Put.ADD_KNOWN}


# What comes most often, and is written as it is.
_APPENDED = (Put.NEW_MESSAGE, Put.DROP_PLAIN_MESSAGE)


def grouped(writes: Iterable[Iterable[Row]]) -> Grouped:
    """Return the rows of a batch by what is done, in the order in which it is to be done.

    Raises:
        Missed: two turns of a space do not follow on each other, so that one of them must miss its guard.

    """
    groups: dict[Put, list[Values]] = {put: [] for put in _APPENDED}
    spaces: dict[Values, Row] = {}
    last: dict[tuple[Put, Values], Row] = {}
    for write in writes:
        for row in write:
            put, values = row
            if put in _APPENDED:
                groups[put].append(values)
            elif put is Put.SAVE_SPACE or put is Put.MARK_SPACE:
                key = values[:2]
                earlier = spaces.get(key)
                spaces[key] = _chained(earlier, row) if earlier else row
            elif put in _LAST_COUNTS:
                last[_FAMILY.get(put, put), values[: _LAST_COUNTS[put]]] = row
            else:
                groups.setdefault(put, []).append(values)
    for put, values in (*spaces.values(), *last.values()):
        groups.setdefault(put, []).append(values)
    return sorted((put, values) for put, values in groups.items() if values)


def _chained(earlier: Row, later: Row) -> Row:
    """Return what two turns of one space do together."""
    (_, before), (put, after) = earlier, later
    if after[_EPOCH] != before[_EPOCH] or after[_VERSION] != before[_NEW_VERSION]:
        raise Missed
    state: Values = ()
    if put is Put.SAVE_SPACE:
        state = after[_STATE : _STATE + 1]
    elif earlier[0] is Put.SAVE_SPACE:
        state = before[_STATE : _STATE + 1]
    rest = after[_STATE + 1 :] if put is Put.SAVE_SPACE else after[_STATE:]
    return (
        Put.SAVE_SPACE if state else Put.MARK_SPACE,
        (*before[: _VERSION + 1], after[_NEW_VERSION], *state, *rest),
    )


def owners(write: Iterable[Row]) -> Iterator[tuple[Key, int]]:
    """Return the spaces that must be of an epoch for this write, with the epoch."""
    for put, values in write:
        if put in _EPOCH_AT and values[_EPOCH_AT[put]] is not None:
            yield (values[0], values[1]), values[_EPOCH_AT[put]]


def unguarded(writes: Iterable[Iterable[Row]]) -> list[Key]:
    """Return the spaces of which only the owner may write what is written here, without a guard that says so."""
    found: dict[Key, None] = {}
    for write in writes:
        rows = list(write)
        own = {values[:2] for put, values in rows if put is Put.SAVE_SPACE or put is Put.MARK_SPACE}
        for put, values in rows:
            at = _KEY_AT.get(put)
            if at is not None and values[at : at + 2] not in own:
                found[values[at], values[at + 1]] = None
    return list(found)


# Where the key of a space stands in the values of what only its owner writes.
_KEY_AT = {
    Put.MARK_MESSAGE: 0,
    Put.SET_TIMER: 0,
    Put.DROP_TIMER: 0,
    Put.ADD_KNOWN: 0,
    Put.DROP_KNOWN: 0,
    Put.ADD_STEP: 0,
    Put.ASK: 1,
    Put.DROP_MESSAGE: 0,
    Put.DROP_PLAIN_MESSAGE: 0,
}

# Where a guarding epoch stands in the values.
_EPOCH_AT = {Put.NEW_MESSAGE: 9, Put.SAVE_SPACE: _EPOCH, Put.MARK_SPACE: _EPOCH}
