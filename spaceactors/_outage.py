"""What is told when a store cannot write, can again, or has something that cannot be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spaceactors import _halts as halts
from spaceactors._events import RowUnreadable, StoreFailing, StoreHealed

if TYPE_CHECKING:
    from spaceactors._hub import Hub
    from spaceactors._store import Row


def failing(runtime: Hub, error: BaseException) -> None:
    """Tell that the store cannot write."""
    runtime.log.store_failing(error)
    if runtime.events.listened:
        runtime.events.publish(StoreFailing(runtime.clock.now, error))


def healed(runtime: Hub) -> None:
    """Tell that the store writes again, and have those go on who wait for it."""
    if runtime.events.listened:
        runtime.events.publish(StoreHealed(runtime.clock.now))
    for space in tuple(runtime.live.values()):
        if space.waits_for_store:
            halts.end_store_wait(space)


def unreadable(runtime: Hub, row: Row, what: str, error: BaseException) -> None:
    """Tell that something which the store has of a space cannot be read."""
    runtime.log.unreadable(row.id, what, error)
    if runtime.events.listened:
        runtime.events.publish(RowUnreadable(runtime.clock.now, row.kind, row.id, 0, what, error))
