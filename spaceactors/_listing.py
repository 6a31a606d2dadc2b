"""What a runtime shows of its spaces, live or not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from spaceactors import _halts as halts
from spaceactors._options import SpaceStatus

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spaceactors._handle import SpaceHandle
    from spaceactors._hub import Hub
    from spaceactors._kind import Kind
    from spaceactors._snapshot import SpaceInfo
    from spaceactors._space import Space
    from spaceactors._store import Row

# Rows looked at between two checkpoints.
_PAGE = 500
# More open questions than people can answer.
_ALL = 1_000_000


async def info(runtime: Hub, handle: SpaceHandle[Any]) -> SpaceInfo:
    """Return what a space is doing, live or not."""
    from spaceactors._snapshot import SpaceInfo, status_of  # figures, imported with the first wish for them

    space = runtime.live.get(handle.key)
    if space is not None:
        last = space.last_error
        return SpaceInfo(handle.id, handle.kind, status_of(space), len(space.mailbox), space.restarts, last)
    row = await runtime.store.peek(handle.kind, handle.id)
    return SpaceInfo(handle.id, handle.kind, _status(None, row), 0, 0, None if row is None else row.quarantined)


def _status(space: Space | None, row: Row | None) -> SpaceStatus:
    from spaceactors._snapshot import status_of  # as above

    if space is not None:
        return status_of(space)
    if row is None:
        return SpaceStatus.PASSIVE
    if row.quarantined is not None:
        return SpaceStatus.QUARANTINED
    if row.asleep:
        return SpaceStatus.SUSPENDED
    return SpaceStatus.STOPPED if row.stopped else SpaceStatus.PASSIVE


async def known(
    runtime: Hub, kind: Kind, status: SpaceStatus | None, after: str, limit: int
) -> Mapping[str, SpaceStatus]:
    """Return known spaces of a kind behind the id `after`, in the order of their ids, with what they are doing."""
    if status is SpaceStatus.SUSPENDED and runtime.durable is not None:
        asked = {one.space.id for one in await runtime.durable.questions(kind.name, _ALL)}
        return dict.fromkeys(sorted(one for one in asked if one > after)[:limit], status)
    found: dict[str, SpaceStatus] = {}
    while len(found) < limit:
        rows = {row.id: row for row in await runtime.store.rows(kind.name, after=after, limit=_PAGE)}
        last = max(rows) if len(rows) == _PAGE else None
        for space_id in _with_live(runtime, kind, rows, after, last):
            its = _status(runtime.live.get((kind.name, space_id)), rows.get(space_id))
            if status in (None, its):
                found[space_id] = its
            if len(found) == limit:
                break
        if last is None:
            break
        after = last
        await trio.lowlevel.checkpoint()
    return found


def _with_live(runtime: Hub, kind: Kind, rows: Mapping[str, Row], after: str, last: str | None) -> list[str]:
    """Return the ids of a page with those that are live and that the store does not have yet."""
    if runtime.durable is None:
        return list(rows)
    new = {one for its, one in runtime.live if its == kind.name and after < one and (last is None or one <= last)}
    return sorted({*rows, *new})


async def revive_all(runtime: Hub, kind: Kind | None) -> int:
    """Revive all quarantined spaces, of one kind or of all; return how many there were."""
    revived = sum(halts.revive(space) for space in tuple(runtime.live.values()) if kind in (None, space.kind))
    if runtime.durable is None:
        return revived
    for one in runtime.by_name.values() if kind is None else (kind,):
        for space_id in await known(runtime, one, SpaceStatus.QUARANTINED, "", 1_000_000):
            revived += halts.revive(await runtime.loading.wake(runtime.handle(one, space_id)))
    return revived
