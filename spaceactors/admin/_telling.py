"""From the rows of a database to what people and programs read: plain fields, dates, decoded values. Pure."""

from __future__ import annotations

from base64 import b64decode
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from spaceactors._options import SpaceStatus
from spaceactors.admin._plain import Unreadable, plain_call, plain_error, plain_state, plain_value
from spaceactors.stores._engine import QUARANTINED, STOPPED
from spaceactors.stores._freeze import EXPIRED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from spaceactors.admin._requests import Row
    from spaceactors.stores._engine import (
        EntryRow,
        KnownRow,
        LetterRow,
        MessageRow,
        QuestionRow,
        SpaceRow,
        StepRow,
        TimerRow,
    )


def date(wall: float | None) -> str | None:
    """Return seconds since 1970 as people write it."""
    if wall is None:
        return None
    try:
        return datetime.fromtimestamp(wall, UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError, TypeError):  # further away than dates go, or no number at all
        return str(wall)


def readable(read: Callable[[bytes], Any], data: bytes | None) -> Any:
    """Return what bytes mean; what cannot be read is told as such, and stops nothing."""
    if data is None:
        return None
    try:
        return read(data)
    except Unreadable as problem:
        return {"$unreadable": str(problem)}


def stored_status(space: SpaceRow, *, asleep: bool) -> str:
    """Return the status of a space that is not in memory."""
    if space.flags & QUARANTINED:
        return SpaceStatus.QUARANTINED.value
    if asleep:
        return SpaceStatus.SUSPENDED.value
    return str((SpaceStatus.STOPPED if space.flags & STOPPED else SpaceStatus.PASSIVE).value)


def space_line(space: SpaceRow, pending: int, *, asleep: bool) -> Row:
    """Return a space as one of many."""
    return {
        "kind": space.kind,
        "space": space.id,
        "status": stored_status(space, asleep=asleep),
        "version": space.version,
        "pending": pending,
        "history": space.length,
        "group": space.grp,
    }


def space_page(
    space: SpaceRow,
    messages: Sequence[MessageRow],
    timers: Sequence[TimerRow],
    questions: Sequence[QuestionRow],
    entries: Sequence[EntryRow],
) -> Row:
    """Return everything about a space."""
    return {
        **space_line(space, len(messages), asleep=any(one.asleep for one in messages)),
        "state": readable(plain_state, space.state),
        "quarantined": readable(_error_line, space.note) if space.flags & QUARANTINED else None,
        "counters": readable(plain_value, space.counters) or {},
        "events": space.last_event,
        "messages": [message(one) for one in messages],
        "timers": [timer(one) for one in timers],
        "questions": [question(one) for one in questions],
        "recent": [entry(one) for one in entries],
    }


def _call_of(body: bytes) -> Row:
    """Return a stored call as fields; of one that cannot be read the reason."""
    told = readable(plain_call, body)
    unreadable = told.get("$unreadable")
    if unreadable is not None:
        return {"call": None, "args": [], "kwargs": {}, "unreadable": unreadable}
    return dict(told)


def _error_line(data: bytes) -> str:
    """Return an error in one line."""
    error = plain_error(data)
    return f"{error['type']}: {error['text']}" if error["text"] else str(error["type"])


def message(one: MessageRow) -> Row:
    """Return a message that waits."""
    call = _call_of(one.body)
    made_id = call.pop("id", None)
    return {
        "number": one.number,
        "message_id": one.message_id or made_id,
        **call,
        "accepted_at": date(one.at),
        "expires_at": date(one.expires_at),
        "attempts": one.attempts,
        "recoveries": one.recoveries,
        "asleep": bool(one.asleep),
    }


def timer(one: TimerRow) -> Row:
    """Return a timer."""
    call = _call_of(one.body)
    call.pop("id", None)
    return {"key": one.key, "due": date(one.due), "every": one.every, **call}


def question(one: QuestionRow) -> Row:
    """Return an open question."""
    told: Any = readable(plain_value, one.body)
    row = {
        "id": one.question_id,
        "kind": one.kind,
        "space": one.id,
        "name": one.name,
        "expires_at": date(one.expires_at),
    }
    if not isinstance(told, list):
        return {**row, "question": told, "answer": None}
    _, _, asked, default, answer = cast("Sequence[Any]", told)
    return {**row, "question": asked, "answer": answer, **({"default": default[0]} if default else {})}


def event(position: int, value: bytes) -> Row:
    """Return a kept event."""
    return {"position": position, "value": readable(plain_value, value)}


def exported_space(space: SpaceRow) -> Row:
    """Return what is kept of a space itself."""
    page = space_page(space, (), (), (), ())
    kept = ("group", "version", "state", "quarantined", "counters", "history", "events")
    return {name: page[name] for name in kept} | {"stopped": bool(space.flags & STOPPED)}


def entry(one: EntryRow) -> Row:
    """Return an entry of a history."""
    return {"position": one.position, "at": date(one.at), "value": readable(plain_value, one.value)}


def letter_line(one: LetterRow) -> Row:
    """Return a dead letter as one of many."""
    return {
        "number": one.number,
        "kind": one.kind,
        "space": one.id,
        "message_id": one.message_id,
        "call": _call_of(one.body)["call"],
        "attempts": one.attempts,
        "at": date(one.at),
        "error": readable(_error_line, one.error),
    }


def letter_page(one: LetterRow) -> Row:
    """Return everything about a dead letter."""
    call = _call_of(one.body)
    call.pop("id", None)
    return {**letter_line(one), **call, "error": readable(plain_error, one.error)}


# ---- the rows of an export, whose tables have more than lists show


def step(one: StepRow) -> Row:
    """Return the recorded result of a step, or an answer."""
    told = readable(plain_value, one.body)
    row = {"number": one.number, "key": one.key, "position": one.position}
    if not isinstance(told, list):
        return {**row, "result": told}
    _, how, value = cast("Sequence[Any]", told)
    return {**row, "expired": True} if how == EXPIRED else {**row, "result": value}


def known(one: KnownRow) -> Row:
    """Return a remembered id, with what its askers get."""
    told = readable(plain_value, one.body)
    row = {"message_id": one.message_id, "settled_at": date(one.at)}
    if not isinstance(told, list):
        return {**row, "reply": told}
    call, handled, result = cast("Sequence[Any]", told)
    row.update(_call_of(b64decode(call["$bytes"])))
    row.pop("id", None)
    return {**row, "outcome": "handled" if handled else "rejected", "reply" if handled else "reason": result}
