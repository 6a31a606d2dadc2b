"""A message: one call of one handler, on its way to its outcome."""

from __future__ import annotations

from itertools import count
from secrets import token_hex
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, final

from attrs import define, field, frozen

from supervisors import Priority

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from trio.lowlevel import Task

    from spaceactors._clock import TickClock
    from spaceactors._handle import SpaceHandle
    from spaceactors._handlers import Handler
    from spaceactors._keeper import Alarm
    from spaceactors._stream import Reader
    from spaceactors._timers import Timer

NO_KWARGS: Mapping[str, Any] = MappingProxyType({})
_numbers = count(1)
# Ids must not meet those that an earlier process left in a store.
_PREFIX = f"{token_hex(5)}-"


def new_id() -> str:
    """Return an id that no other message has."""
    return f"{_PREFIX}{next(_numbers)}"


@final
@frozen
class MessageOptions:
    """What `with_options` sets; shared by all messages that a handle sends."""

    message_id: str | None = None
    priority: Priority = Priority.NORMAL
    # Seconds from the call until the turn must have begun.
    expires_after: float | None = None
    correlation_id: str | None = None
    headers: Mapping[str, str] = field(factory=lambda: MappingProxyType({}))


DEFAULT_OPTIONS = MessageOptions()


@final
@define(eq=False)
class Extra:
    """What only some messages have: made when first needed, so that an ordinary message stays small."""

    # The space on whose behalf it was sent.
    sender: SpaceHandle[Any] | None = None
    # Where a stream's items go.
    reader: Reader | None = None
    # The timer whose tick this is.
    timer: Timer | None = None
    # Rings when the message expires.
    expiry: Alarm | None = None
    # Who asked with the same id, besides the first.
    more_waiters: list[Task] = field(factory=list["Task"])
    # Whether the id was given by the sender, and is remembered.
    identified: bool = False
    # Its place among all messages of its lane, by acceptance.
    number: int = 0
    # Results of finished steps and answers, by name: a second try does not run them again.
    journal: dict[str, Any] = field(factory=dict[str, Any])


@final
class Message:
    """One call of a handler, as its handler and the errors about it show it."""

    __slots__ = ("_clock", "_id", "args", "at", "attempts", "extra", "handler", "kwargs", "options", "waiter")

    def __init__(
        self,
        handler: Handler,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        options: MessageOptions,
        clock: TickClock,
        waiter: Task | None = None,
    ) -> None:
        # The handler that runs it.
        self.handler = handler
        # The arguments; handed over, never changed.
        self.args = args
        self.kwargs = kwargs
        # What it was sent with.
        self.options = options
        self._clock = clock
        self._id: str | None = None
        # When it was accepted, in seconds of Trio's clock (before that, when it was made).
        self.at = clock.now
        # Tries that were begun and count.
        self.attempts = 0
        # The task that waits for the answer.
        self.waiter = waiter
        self.extra: Extra | None = None

    @property
    def id(self) -> str:
        """The id given with `with_options(message_id=)`, or one made by the runtime."""
        if self._id is None:
            self._id = self.options.message_id or new_id()
        return self._id

    @property
    def call(self) -> str:
        """The handler's name."""
        return self.handler.name

    @property
    def priority(self) -> Priority:
        """Who goes first when turns are scarce; never the order inside a space."""
        return self.options.priority

    @property
    def attempt(self) -> int:
        """The number of this try, from 1."""
        return max(self.attempts, 1)

    @property
    def accepted_at(self) -> datetime:
        """When the message took its place in the mailbox."""
        return self._clock.date(self.at)

    @property
    def correlation_id(self) -> str | None:
        """What ties the messages of one request together; sends of a turn inherit it."""
        return self.options.correlation_id

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers given with `with_options(headers=)`."""
        return self.options.headers

    @property
    def sender(self) -> SpaceHandle[Any] | None:
        """The space whose actor sent it, or None."""
        return None if self.extra is None else self.extra.sender

    def __repr__(self) -> str:
        shown = ", ".join([*map(_short, self.args), *(f"{key}={_short(value)}" for key, value in self.kwargs.items())])
        return f"<Message {self.id} {self.call}({shown})>"

    # ---- for the runtime

    def rare(self) -> Extra:
        """Return what only some messages have, made now if need be."""
        if self.extra is None:
            self.extra = Extra()
        return self.extra

    def same_call(self, other: Message) -> bool:
        """Tell whether `other` is the same call with the same arguments."""
        return (
            self.handler.name == other.handler.name and self.args == other.args and self.kwargs == other.kwargs
        )


def _short(value: object, most: int = 60) -> str:
    """Show a value in a few characters: errors and log lines stay bounded."""
    text = repr(value)
    return text if len(text) <= most else f"{text[: most - 1]}…"
