"""What halts a space while it lives: quarantine, a pause, a store that cannot write. All sync."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spaceactors import _door as door
from spaceactors import _landing as landing
from spaceactors import _outcomes as outcomes
from spaceactors._errors import SpaceQuarantined
from spaceactors._events import SpacePaused, SpaceResumed, SpaceRevived
from spaceactors._space import Gate

if TYPE_CHECKING:
    from spaceactors._space import Space

# Seconds until a turn that the store could not keep is tried again, if nothing tells earlier that it can write.
STORE_PAUSE = 1.0

# ---- quarantine


def quarantine(space: Space, error: BaseException) -> None:
    """Run nothing any more until somebody revives the space; what waits stays, who waits is told."""
    space.quarantined = True
    space.gate = space.gate or Gate.QUARANTINED
    keep_quarantine(space, error)
    door.turn_away_line(space)
    refused = SpaceQuarantined(f"{space.name} was quarantined: its actor crashed too often", space=space.handle)
    refused.__cause__ = error
    outcomes.tell_askers(space, refused)
    door.release_senders(space)
    space.runtime.places.leave(space)
    after = space.options.revive_after
    if after is not None:
        space.alarm = space.runtime.keeper.set(space.clock.now + after, lambda: revive(space))
    space.runtime.look_whether_quiet(space)


def keep_quarantine(space: Space, error: BaseException | None) -> None:
    """Have a durable store keep that a space is quarantined, or (None) is not any more."""
    durable = space.runtime.durable
    if durable is None:
        return
    space.row.quarantined = error
    durable.note(space.row)
    for message in space.mailbox if error is not None else ():
        extra = message.rare()
        if (
            extra.timer is None
        ):  # of a tick the store has the timer, until its turn ends: with a row it would come twice
            extra.insist = extra.insist or extra.landing is None  # nobody waits for it any more
            landing.land(space, message, extra)


def revive(space: Space) -> bool:
    """Start a quarantined space again with a fresh budget; tell whether it was one."""
    if not space.quarantined or space.row.unreadable:
        return False
    keep_quarantine(space, None)
    if space.alarm is not None:
        space.alarm.cancel()
        space.alarm = None
    space.quarantined = False
    if space.gate is Gate.QUARANTINED:
        space.gate = Gate.CLOSING if space.runtime.draining else None
    space.budget = None
    space.last_failure = None
    space.runtime.places.take_over_bound(space)
    space.runtime.publish(SpaceRevived, space)
    space.runtime.timers.retry(space)
    space.runtime.disturb(space)
    space.wake()
    return True


# ---- a store that cannot write


def wait_for_store(space: Space) -> None:
    """Run nothing until the store can write again, or a while is over."""
    if not space.waits_for_store:
        space.waits_for_store = True
        space.runtime.keeper.set(space.clock.now + STORE_PAUSE, lambda: end_store_wait(space))


def end_store_wait(space: Space) -> None:
    """Have a space go on that waited for the store."""
    space.waits_for_store = False
    space.wake()


# ---- pause


def pause(space: Space) -> None:
    """Accept and run nothing until `resume`."""
    if not space.paused:
        space.paused = True
        space.runtime.publish(SpacePaused, space)
        space.wake()


def resume(space: Space) -> None:
    """Run again."""
    if space.paused:
        space.paused = False
        space.runtime.publish(SpaceResumed, space)
        space.wake()
