"""Dead letters: messages that failed or were given back by their target, kept to be looked at and sent again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

import trio
from attrs import frozen
from trio.lowlevel import enable_ki_protection

from spaceactors._errors import OutsideTurn, SpaceError
from spaceactors._turn import here

if TYPE_CHECKING:
    from spaceactors._actor import Actor
    from spaceactors._handle import SpaceHandle
    from spaceactors._hub import Hub
    from spaceactors._message import Message


@final
@frozen
class DeadLetter:
    """One message that nobody handled, with the error that ended it and how often it was tried."""

    space: SpaceHandle[Any]
    message: Message
    error: BaseException
    attempts: int


@final
class DeadLetters:
    """The dead letters of a runtime: `runtime.dead_letters`."""

    __slots__ = ("_runtime",)

    def __init__(self, runtime: Hub) -> None:
        self._runtime = runtime

    async def list(self, *, actor: type[Actor[Any]] | None = None, limit: int = 100) -> list[DeadLetter]:
        """Return dead letters, the oldest first, of one actor class or of all."""
        await trio.lowlevel.checkpoint()
        kind = None if actor is None else self._runtime.kind_of(actor).name
        return self._runtime.store.letters(kind, limit)

    @enable_ki_protection
    async def resend(self, *message_ids: str) -> int:
        """Send dead letters again; return how many were.

        Each is a new message with the old id, so that ids which a handler made from it stay the same. One that its
        space refuses stays a dead letter, and so do those that are not yet sent when you cancel. Several letters of
        one id are all sent.

        Raises:
            OutsideTurn: called in a turn, whose sends leave with its commit: the letters would be lost with the turn.

        """
        _check_outside()
        await trio.lowlevel.checkpoint()
        store = self._runtime.store
        sent = 0
        for number, letter in store.buried(message_ids).items():
            try:
                await letter.space.resend(letter.message)
            except SpaceError:
                continue
            # Only now: until it is accepted, the letter is the message's one place.
            sent += len(store.unbury((number,)))
        return sent

    @enable_ki_protection
    async def discard(self, *message_ids: str) -> int:
        """Forget dead letters; return how many there were."""
        await trio.lowlevel.checkpoint()
        store = self._runtime.store
        return len(store.unbury(store.buried(message_ids)))


def _check_outside() -> None:
    place = here.get()
    if place is not None and place.in_turn():
        msg = (
            f"dead_letters.resend cannot be called in a turn of {place.space.name}: what a turn sends leaves with its"
            " commit; call it from outside, or from work that start_soon has started"
        )
        raise OutsideTurn(msg, space=place.space.handle)
