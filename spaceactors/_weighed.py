"""A mailbox that knows how many bytes wait in it: only where `max_mailbox_bytes` wants to know."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from collections.abc import Callable

    from spaceactors._message import Message


@final
class Weighed(deque["Message"]):
    """Counts what comes in and what goes, by whatever way: so no way can be forgotten, and other mailboxes pay nothing.

    Only the calls that a space uses are counted; a test looks for others.
    """

    __slots__ = ("_weigh", "bytes", "most")

    def __init__(self, most: int, weigh: Callable[[Message], int]) -> None:
        super().__init__()
        # The bound, and what measures a call in bytes. Raises `TypeError` for one that cannot be written.
        self.most = most
        self._weigh = weigh
        self.bytes = 0

    def fits(self, message: Message) -> bool:
        """Tell whether a message has room; in an empty mailbox each has, or it would wait for ever."""
        return not self or self.bytes + self.weight(message) <= self.most

    @property
    def over(self) -> bool:
        """Whether more waits than the bound allows: turns have sent it."""
        return self.bytes > self.most

    def weight(self, message: Message) -> int:
        """Return the bytes of a message, measured once."""
        extra = message.rare()
        if not extra.size:
            # A tick in memory may have arguments that no store could write: nobody could be told, so it weighs nothing.
            with suppress(TypeError):
                extra.size = self._weigh(message)
        return extra.size

    def append(self, message: Message, /) -> None:
        """Put a message at the end."""
        self.bytes += self.weight(message)
        super().append(message)

    def appendleft(self, message: Message, /) -> None:
        """Put a message back at the head."""
        self.bytes += self.weight(message)
        super().appendleft(message)

    def popleft(self) -> Message:
        """Take the message at the head."""
        message = super().popleft()
        self.bytes -= message.rare().size
        return message

    def remove(self, message: Message, /) -> None:
        """Take a message out of the middle."""
        super().remove(message)
        self.bytes -= message.rare().size

    def clear(self) -> None:
        """Take all out."""
        super().clear()
        self.bytes = 0
