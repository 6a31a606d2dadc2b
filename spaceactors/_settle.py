"""The end of a turn: one commit to the store, and then everything that it did becomes visible together."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import trio

from spaceactors import _outcomes as outcomes
from spaceactors._decide import Overload
from spaceactors._events import StepsUnused
from spaceactors._journal import unvisited
from spaceactors._lane import look_at_lanes
from spaceactors._loading import FencedOff
from spaceactors._store import Commit, Entry
from spaceactors._waits import behind, targets

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from spaceactors._handle import SpaceHandle
    from spaceactors._message import Extra, Message
    from spaceactors._port import DurablePort
    from spaceactors._space import Space
    from spaceactors._store import Row
    from spaceactors._turn import TurnRecord
    from spaceactors._worker import Worker

_NOTHING: Mapping[str, Any] = MappingProxyType({})


async def commit(worker: Worker, message: Message | None, reply: object = None) -> None:
    """Commit an open turn whose handler has returned. Raises `VersionLost`, or what the store raises."""
    space, record = worker.space, worker.maybe_record
    durable = space.runtime.durable
    if durable is None:
        await space.runtime.store.commit(space.row, commit_of(space, record, message))
        if record is not None:
            publish(space, record)
        return
    made = commit_to_keep(space, record, message, reply)
    if record is not None and record.outbox:
        await _with_targets(space, durable, record, made)
    else:
        await _keep(space, durable, made)
        if record is not None:
            publish(space, record)
    if message is not None and message.extra is not None and message.extra.journal:
        _tell_unused(space, message, message.extra, () if record is None else record.visited)


def commit_to_keep(space: Space, record: TurnRecord | None, message: Message | None, reply: object) -> Commit:
    """Return what a durable store is to keep of a turn, but for what it sends."""
    made = commit_of(space, record, message)
    made.reply = reply
    options = space.options
    made.dedupe_limit, made.dedupe_window = options.dedupe_limit, options.dedupe_window
    if record is not None:
        made.emitted = record.emitted
        made.feed_size = options.feed_size
    return made


def _tell_unused(space: Space, message: Message, extra: Extra, visited: Collection[str]) -> None:
    """Tell which recorded steps of a handled message its program has not asked for."""
    unused = unvisited(extra.journal, visited)
    if unused:
        space.runtime.publish(StepsUnused, space, message.id, message.call, unused)


async def _keep(space: Space, durable: DurablePort, made: Commit) -> None:
    """Have a durable store keep a commit; from here on nothing cancels it."""
    row = space.row
    if row.held:
        with trio.CancelScope(shield=True):
            await durable.take(row)
        made.entries = [Entry(row.next_position + number, one.at, one.value) for number, one in enumerate(made.entries)]
    else:
        row.held = True
    try:
        kept = durable.write_commit(row, made)
        if kept is not None:
            await kept.wait_known()
            durable.committed(row, made)
    finally:
        durable.free(row)


async def _with_targets(space: Space, durable: DurablePort, record: TurnRecord, made: Commit) -> None:
    """Commit a turn that has sent something: where that goes is brought into memory first.

    What goes to a space that another process owns by now becomes a dead letter with this commit.
    """
    loading, now = space.runtime.loading, space.clock.now
    rows: dict[SpaceHandle[Any], Row] = {}
    lost: dict[SpaceHandle[Any], FencedOff] = {}
    with trio.CancelScope(shield=True):
        try:
            for target in dict.fromkeys(target for target, _ in record.outbox):
                try:
                    rows[target] = await loading.ensure(target)
                except FencedOff as error:
                    lost[target] = error
            for _, sent in record.outbox:
                sent.at = now
            made.outbox = [(rows[target], sent) for target, sent in record.outbox if target in rows]
            made.returned = [(target, sent, lost[target]) for target, sent in record.outbox if target in lost]
            record.outbox = [(target, sent) for target, sent in record.outbox if target in rows]
            await _keep(space, durable, made)
            for target, sent, reason in made.returned:
                outcomes.returned_elsewhere(space.runtime, target, sent, reason)
            publish(space, record)
        finally:
            for row in rows.values():
                loading.unpin(row)


async def look_again(space: Space) -> None:
    """Take over what somebody else has written of a space, in this process or in another."""
    durable, row = space.runtime.durable, space.row
    if durable is not None and row.version == space.version:
        with trio.CancelScope(shield=True):
            await durable.refresh(row)
    space.working, space.version = row.state, row.version


def commit_of(space: Space, record: TurnRecord | None, message: Message | None) -> Commit:
    row = space.row
    made = Commit(space.version, space.working, message, changed=space.working is not row.state)
    if made.changed and space.options.max_state_bytes is not None:
        made.packed_state = space.runtime.sizes.state(space, space.working)
    if record is None:
        return made
    if record.entries:
        at = space.clock.date(space.clock.now)
        made.entries = [Entry(row.next_position + number, at, value) for number, value in enumerate(record.entries)]
        made.max_entries = space.options.max_history_entries
    made.timers = record.timers
    made.counts = record.counts
    return made


def publish(space: Space, record: TurnRecord) -> None:
    """Make visible what the turn did, in the order in which it can be seen to matter."""
    runtime = space.runtime
    for key, timer in record.timers.items():
        runtime.timers.replace(space.row, key, timer)
    last = space.row.last_event - len(record.emitted)
    for number, event in enumerate(record.emitted, 1):
        if runtime.durable is None:
            runtime.feeds.put(space, event)
        else:
            runtime.feeds.put_stored(space, event, last + number)
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
    if not (target.has_place or target.quarantined):
        sender.runtime.places.take_over_bound(target)  # the sender keeps its own place until the target has worked
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
