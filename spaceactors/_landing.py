"""How messages get onto the disk of a durable store: when their rows are written, and who waits for that.

A `send` lands: its row is written, and its sender and its turn wait for that. An `ask` need not, because its asker is
in this process: it is written with the first thing of its turn that lasts, or with its turn's commit as settled.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from trio.lowlevel import checkpoint_if_cancelled, current_task, reschedule, wait_task_rescheduled

from spaceactors import _door as door
from spaceactors import _outcomes as outcomes
from spaceactors._errors import StoreError
from spaceactors._store import EpochLost

if TYPE_CHECKING:
    from spaceactors._handle import SpaceHandle
    from spaceactors._message import Extra, Message
    from spaceactors._receipt import Receipt
    from spaceactors._space import Space


def accepted(space: Space, message: Message, extra: Extra) -> None:
    """Have a message land that has taken its place, if nobody of this process waits for its answer."""
    if extra.row:
        return
    if space.runtime.durable is not None:
        space.runtime.durable.number(message)
    asked = message.waiter is not None or extra.reader is not None or extra.timer is not None
    if not asked:
        land(space, message, extra)


def land(space: Space, message: Message, extra: Extra) -> None:
    """Have a message land."""
    durable = space.runtime.durable
    if durable is None or extra.row or extra.landing is not None:
        return
    extra.landing = durable.accept(space.row, message, insist=extra.insist)
    if space.on_landed is None:
        space.on_landed = partial(_landed, space)
    extra.landing.then(space.on_landed)


def on_its_way(space: Space, message: Message, extra: Extra) -> Receipt[None] | None:
    """Have a message land, and return what carries it onto the disk, which may be a step; None: it is there."""
    land(space, message, extra)
    carrier = extra.carrier
    return extra.landing or (None if carrier is None or carrier.done else carrier)


def _landed(space: Space, receipt: Receipt[None]) -> None:
    message: Message = receipt.about
    extra = message.rare()
    if receipt.error is None:
        extra.landing = None
        space.row.stored = True
        # Woken now, and not when it was accepted: then its worker could only have waited for this.
        if space.parked and space.mailbox:
            reschedule(space.parked.pop())
        return
    extra.row = 0
    if extra.insist:
        extra.landing = None
        return
    # Whoever sent it is told that it was not accepted, by the receipt; and so is who has joined it.
    _free_id(space, message, extra)
    outcomes.turn_away(space.handle, message, StoreError, str(receipt.error))
    if message in space.mailbox:
        space.mailbox.remove(message)
        _forget(space, message, extra)
        door.place_freed(space)
        space.wake()
        return
    extra.lost = True  # its worker waits for it, and is told as well


async def began(space: Space, message: Message, extra: Extra) -> bool:
    """Wait, before its turn, until a message has landed that has to; tell whether it has."""
    while extra.landing is not None and not extra.lost:
        try:
            await extra.landing.wait()
        except (StoreError, EpochLost):
            break
    return not is_lost(space, message)


def is_lost(space: Space, message: Message) -> bool:
    """Tell whether a message whose turn ends was not accepted after all; then it is out of the ledger."""
    extra = message.extra
    if extra is None or not extra.lost:
        return False
    extra.lost = False
    _forget(space, message, extra)
    return True


def _forget(space: Space, message: Message, extra: Extra) -> None:
    """Take a message out of the ledger that was not accepted after all."""
    space.accepted -= 1
    extra.forget_expiry()
    _free_id(space, message, extra)


def _free_id(space: Space, message: Message, extra: Extra) -> None:
    if extra.identified and space.asked.get(message.id) is message:
        del space.own_asked()[message.id]


async def wait_landed(handle: SpaceHandle[Any], message: Message) -> None:
    """Wait, as a sender, until the message is on the disk. Raises `StoreError`: it was not accepted."""
    landing = None if message.extra is None else message.extra.landing
    if landing is None:
        await checkpoint_if_cancelled()
        return
    try:
        if landing.enlist_first(current_task()):
            await wait_task_rescheduled(landing.leave)
        else:
            await landing.wait()
    except Exception as error:
        raise not_kept(handle, message, error) from error


def not_kept(handle: SpaceHandle[Any], message: Message | None, error: Exception) -> StoreError:
    """Return the error for a message that the store did not take."""
    text = str(error) or f"{handle.id} is owned by a later opening of the store"
    return StoreError(text, space=handle, message=message)
