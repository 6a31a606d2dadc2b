"""The end of a turn: one commit to the store, and then everything that it did becomes visible together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from spaceactors._decide import Overload
from spaceactors._lane import look_at_lanes
from spaceactors._store import Commit, Entry
from spaceactors._waits import behind, targets

if TYPE_CHECKING:
    from spaceactors._message import Message
    from spaceactors._space import Space
    from spaceactors._turn import TurnRecord
    from spaceactors._worker import Worker

_NOTHING: dict[str, float] = {}


async def commit(worker: Worker, message: Message | None) -> None:
    """Commit an open turn whose handler has returned. Raises `VersionLost`, or what the store raises."""
    space, record = worker.space, worker.maybe_record
    store = space.runtime.store
    made = _commit_of(space, record, message)
    if store.durable:
        with trio.CancelScope(shield=True):
            await store.commit(space.row, made)
    else:
        await store.commit(space.row, made)
    if record is not None:
        _publish(space, record)


def _commit_of(space: Space, record: TurnRecord | None, message: Message | None) -> Commit:
    row = space.row
    entries: list[Entry] = []
    if record is not None and record.entries:
        at = space.clock.date(space.clock.now)
        entries = [Entry(row.next_position + number, at, value) for number, value in enumerate(record.entries)]
    return Commit(
        version=space.version,
        state=space.working,
        changed=space.working is not row.state,
        message=message,
        entries=entries,
        timers={} if record is None else record.timers,
        counts=_NOTHING if record is None else record.counts,
        max_entries=space.options.max_history_entries,
    )


def _publish(space: Space, record: TurnRecord) -> None:
    """Make visible what the turn did, in the order in which it can be seen to matter."""
    runtime = space.runtime
    for key, timer in record.timers.items():
        runtime.timers.replace(space.row, key, timer)
    for event in record.emitted:
        runtime.feeds.put(space, event)
    for target, sent in record.outbox:
        live, verdict = runtime.deliver(target, sent, space)
        if verdict is Overload.HOLD_SENDER:
            hold(space, live)


def hold(sender: Space, target: Space) -> None:
    """Have a sender begin no turn while its target is over capacity, unless that would close a ring of such waits."""
    if target is sender or target in sender.held_by or _waits_for(target, sender):
        return
    sender.held_by = (*sender.held_by, target)
    target.holds = (*target.holds, sender)
    target.crowded = True
    sender.attention = True
    if sender.runtime.has_lanes:
        look_at_lanes(behind(target))


def _waits_for(space: Space, goal: Space) -> bool:
    """Tell whether `space` waits for `goal`, over whatever chain of held senders and asks."""
    seen: set[Space] = set()
    trail = [space]
    while trail:
        one = trail.pop()
        if one is goal:
            return True
        if one not in seen:
            seen.add(one)
            trail.extend(one.held_by)
            trail.extend(further for worker in one.workers if worker.open for further in targets(worker))
    return False
