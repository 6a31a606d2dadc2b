"""Dead letters: messages that failed or were given back by their target, kept to be looked at and sent again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

import trio
from attrs import frozen

from spaceactors._errors import SpaceError

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

    async def resend(self, *message_ids: str) -> int:
        """Send dead letters again; return how many were.

        Each is a new message with the old id, so that ids which a handler made from it stay the same. One that its
        space refuses stays a dead letter.
        """
        await trio.lowlevel.checkpoint()
        sent = 0
        for letter in self._runtime.store.unbury(message_ids):
            try:
                await letter.space.resend(letter.message)
            except BaseException as error:
                self._runtime.store.bury(letter)
                if not isinstance(error, SpaceError):
                    raise
            else:
                sent += 1
        return sent

    async def discard(self, *message_ids: str) -> int:
        """Forget dead letters; return how many there were."""
        await trio.lowlevel.checkpoint()
        return len(self._runtime.store.unbury(message_ids))
