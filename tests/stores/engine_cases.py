"""Rows to write in tests of the engines, with the values that a test does not care about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from attrs import define

from spaceactors.stores._engine import Engine, Key, Put, SpaceRow

if TYPE_CHECKING:
    from spaceactors.stores._engine import Row

KIND = "order"
A: Key = (KIND, "a")
B: Key = (KIND, "b")


def begins(key: Key, epoch: int, *, grp: str | None = None) -> Row:
    return Put.NEW_SPACE, (*key, grp, epoch)


def message(
    key: Key,
    number: int,
    *,
    epoch: int | None = None,
    message_id: str | None = None,
    body: bytes = b"hello",
    at: float = 100.25,
    expires_at: float | None = None,
    attempts: int = 0,
    recoveries: int = 0,
) -> Row:
    return Put.NEW_MESSAGE, (*key, number, message_id, body, at, expires_at, attempts, recoveries, epoch)


def saves(
    key: Key, epoch: int, version: int, new: int | None = None, *, state: bytes | None = b"state", **others: Any
) -> Row:
    values = (*key, epoch, version, version + 1 if new is None else new, state, *_others(**others))
    return Put.SAVE_SPACE, values


def marks(key: Key, epoch: int, version: int, new: int | None = None, **others: Any) -> Row:
    return Put.MARK_SPACE, (*key, epoch, version, version + 1 if new is None else new, *_others(**others))


def _others(
    *,
    length: int = 0,
    next_entry: int = 1,
    last_event: int = 0,
    counters: bytes | None = None,
    flags: int = 0,
    note: bytes | None = None,
) -> tuple[Any, ...]:
    return length, next_entry, last_event, counters, flags, note


def sleeps(key: Key, number: int, *, attempts: int = 0, asleep: int = 1) -> Row:
    return Put.MARK_MESSAGE, (*key, number, attempts, asleep)


def settles(key: Key, number: int) -> Row:
    return Put.DROP_MESSAGE, (*key, number)


def settles_plainly(key: Key, number: int) -> Row:
    return Put.DROP_PLAIN_MESSAGE, (*key, number)


def entry(key: Key, position: int, value: bytes = b"entry") -> Row:
    return Put.ADD_ENTRY, (*key, position, 100.0 + position, value)


def event(key: Key, position: int, value: bytes = b"event") -> Row:
    return Put.ADD_EVENT, (*key, position, value)


def timer(key: Key, name: str, due: float, *, every: float | None = None, body: bytes = b"ring") -> Row:
    return Put.SET_TIMER, (*key, name, due, every, body)


def known(key: Key, message_id: str, at: float = 100.0, body: bytes = b"reply") -> Row:
    return Put.ADD_KNOWN, (*key, message_id, at, body)


def step(key: Key, number: int, name: str, position: int = 1, body: bytes = b"result") -> Row:
    return Put.ADD_STEP, (*key, number, name, position, body)


def asks(question_id: str, key: Key, number: int, *, expires_at: float | None = None) -> Row:
    return Put.ASK, (question_id, *key, number, "approve", expires_at, b"question")


def buries(key: Key, message_id: str, *, at: float = 100.0) -> Row:
    return Put.BURY, (*key, message_id, 1, at, b"body", b"error")


@define
class Opened:
    """An open engine and its epoch."""

    engine: Engine
    epoch: int

    def keep(self, *writes: Sequence[Row]) -> None:
        """Write a batch, all of which must be taken."""
        assert list(self.engine.write(writes)) == [None] * len(writes)

    def begin(self, *keys: Key) -> None:
        self.keep(*([begins(key, self.epoch)] for key in keys))

    def space(self, key: Key = A) -> SpaceRow:
        found = self.engine.space(key)
        assert found is not None
        return found

    def numbers(self, key: Key = A) -> list[int]:
        """Return the numbers of the messages that wait."""
        return [row.number for row in self.engine.messages(key, 0, 10_000)]
