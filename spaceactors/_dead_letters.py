"""Dead letters: messages that failed or were given back by their target, kept to be looked at and sent again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

import trio
from attrs import frozen
from trio.lowlevel import enable_ki_protection

from spaceactors._errors import OutsideTurn, SpaceError
from spaceactors._turn import here

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from spaceactors._actor import Actor
    from spaceactors._handle import SpaceHandle
    from spaceactors._hub import Hub
    from spaceactors._message import Message
    from spaceactors._store import Numbered


# Letters sent or forgotten in one go.
_PAGE = 100


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

    async def list(
        self, *, actor: type[Actor[Any]] | None = None, space: str | None = None, limit: int = 100
    ) -> list[DeadLetter]:
        """Return dead letters, the oldest first: of one actor class, of the space of one id, or of all."""
        return [one.letter for one in await self.numbered(actor=actor, space=space, limit=limit)]

    async def numbered(
        self, *, actor: type[Actor[Any]] | None = None, space: str | None = None, after: int = 0, limit: int = 100
    ) -> Sequence[Numbered]:
        """Return dead letters with the numbers under which the store has them, behind the number `after`."""
        await trio.lowlevel.checkpoint()
        kind = None if actor is None else self._runtime.kind_of(actor).name
        return await self._runtime.store.letters(kind, space, after, limit)

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
        return await self._resend(await self._runtime.store.buried(message_ids))

    async def _resend(self, letters: Iterable[Numbered]) -> int:
        sent = 0
        for one in letters:
            try:
                await one.letter.space.resend(one.letter.message)
            except SpaceError:
                continue
            # Only now: until it is accepted, the letter is the message's one place.
            sent += await self._runtime.store.unbury((one.number,))
        return sent

    @enable_ki_protection
    async def resend_all(self, *, actor: type[Actor[Any]] | None = None, space: str | None = None) -> int:
        """Send all dead letters again that there are now, of one class or space or of all; return how many were sent.

        Raises:
            OutsideTurn: as `resend`.

        """
        _check_outside()
        return await self._for_all(actor, space, self._resend)

    @enable_ki_protection
    async def discard(self, *message_ids: str) -> int:
        """Forget dead letters; return how many there were."""
        await trio.lowlevel.checkpoint()
        return await self._discard(await self._runtime.store.buried(message_ids))

    async def _discard(self, letters: Iterable[Numbered]) -> int:
        return await self._runtime.store.unbury([one.number for one in letters])

    @enable_ki_protection
    async def discard_all(self, *, actor: type[Actor[Any]] | None = None, space: str | None = None) -> int:
        """Forget all dead letters that there are now, of one class or space or of all; return how many there were."""
        return await self._for_all(actor, space, self._discard)

    async def _for_all(
        self,
        actor: type[Actor[Any]] | None,
        space: str | None,
        do: Callable[[Iterable[Numbered]], Awaitable[int]],
    ) -> int:
        """Do something with all that are there now; what is added meanwhile has higher numbers."""
        last = after = done = 0
        while page := await self.numbered(actor=actor, space=space, after=last, limit=_PAGE):
            last = page[-1].number
        while after < last:
            page = await self.numbered(actor=actor, space=space, after=after, limit=_PAGE)
            after = page[-1].number if page else last
            done += await do([one for one in page if one.number <= last])
        return done


def _check_outside() -> None:
    place = here.get()
    if place is not None and place.in_turn():
        msg = (
            f"dead_letters.resend cannot be called in a turn of {place.space.name}: what a turn sends leaves with its"
            " commit; call it from outside, or from work that start_soon has started"
        )
        raise OutsideTurn(msg, space=place.space.handle)
