"""A message: one call of one handler, on its way to its outcome."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import count
from secrets import token_hex
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, final

from attrs import field, frozen

from supervisors import Priority

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from trio.lowlevel import Task

    from spaceactors._clock import TickClock
    from spaceactors._handle import SpaceHandle
    from spaceactors._handlers import Handler
    from spaceactors._keeper import Alarm
    from spaceactors._receipt import Receipt
    from spaceactors._store import Recorded
    from spaceactors._stream import Reader
    from spaceactors._timers import Timer

NO_KWARGS: Mapping[str, Any] = MappingProxyType({})
ids = count(1)
# Ids must not meet those that an earlier process left in a store.
ID_PREFIX = f"{token_hex(5)}-"


def new_id() -> str:
    """Return an id that no other message has."""
    return f"{ID_PREFIX}{next(ids)}"


@final
@frozen
class MessageOptions:
    """What `with_options` sets; shared by all messages that a handle sends."""

    message_id: str | None = None
    priority: Priority = Priority.NORMAL
    # Seconds from the call until the turn must have begun.
    expires_after: float | None = None
    correlation_id: str | None = None
    headers: Mapping[str, str] = NO_KWARGS
    # The runtime's clock, which turns moments into dates; every message of a handle finds it here.
    clock: TickClock | None = field(default=None, eq=False, repr=False)


@final
class Extra:
    """What only some messages have: made when first needed, so that an ordinary message stays small.

    What has its usual value is the class's own: to make one costs nothing for each field.
    """

    # Keyword arguments; most calls have none.
    kwargs: Mapping[str, Any] = NO_KWARGS
    # The space on whose behalf it was sent.
    sender: SpaceHandle[Any] | None = None
    # Where a stream's items go.
    reader: Reader | None = None
    # The timer whose tick this is.
    timer: Timer | None = None
    # Rings when the message expires.
    expiry: Alarm | None = None
    # The same call under the same id: its later askers get this message's answer.
    joined: Sequence[Message] = ()
    # Whether its own asker has left.
    left: bool = False
    # Whether the id was given by the sender, and is remembered.
    identified: bool = False
    # Tries that were begun and count.
    attempts: int = 0
    # Its place among all messages of its lane, by acceptance.
    number: int = 0
    # Results of finished steps and answers, by name: a second try does not run them again.
    journal: Mapping[str, Recorded] = NO_KWARGS

    # Bytes of the call with its arguments, where the mailbox is bounded in bytes; 0: not measured.
    size: int = 0

    # ---- only where the store is durable

    # The number of its row in the store; 0: it has none (an ask needs none before its turn does something lasting).
    row: int = 0
    # The number that its row has, or will have: given when it is accepted, so that it keeps its place after a restart.
    place: int = 0
    # The call as the store keeps it.
    packed: bytes = b""
    # The promise that it will be on the disk.
    landing: Receipt[None] | None = None
    # What carries it there: its row, or something that its turn writes.
    carrier: Receipt[None] | None = None
    # It has its outcome: what has not landed by now need not.
    ended: bool = False
    # It could not be written, and its sender knows: what its turn does is not kept.
    lost: bool = False
    # Whether it is kept although its row cannot be written now: nobody waits to be told (`send_nowait`).
    insist: bool = False
    # Tries that have ended and count: what runs when the process dies is no try.
    tried: int = 0
    # How many processes have died while it was at the head of its line.
    recoveries: int = 0

    def record(self, key: str, step: Recorded) -> None:
        """Note a finished step or an answer."""
        if isinstance(self.journal, dict):
            self.journal[key] = step
        else:
            self.journal = {key: step}

    def forget_expiry(self) -> None:
        """Have the message not expire any more."""
        if self.expiry is not None:
            self.expiry.cancel()
            self.expiry = None


@final
class Message:
    """One call of a handler, as its handler and the errors about it show it."""

    __slots__ = ("args", "at", "extra", "handler", "made_id", "options", "waiter")

    # No `__init__`: the hot path fills the slots itself, which saves a third of what a message costs. All others use
    # `new_message`.

    # The handler that runs it.
    handler: Handler
    # The positional arguments; handed over, never changed.
    args: tuple[Any, ...]
    # What it was sent with.
    options: MessageOptions
    # When it was accepted, in seconds of Trio's clock (before that, when it was made).
    at: float
    # The task that waits for the answer.
    waiter: Task | None
    # Made when somebody wants to know it.
    made_id: str | None
    extra: Extra | None

    @property
    def id(self) -> str:
        """The id given with `with_options(message_id=)`, or one made by the runtime."""
        if self.made_id is None:
            self.made_id = self.options.message_id or new_id()
        return self.made_id

    @property
    def call(self) -> str:
        """The handler's name."""
        return self.handler.name

    @property
    def kwargs(self) -> Mapping[str, object]:
        """The keyword arguments."""
        return NO_KWARGS if self.extra is None else self.extra.kwargs

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
        if self.options.clock is None:
            return datetime.fromtimestamp(self.at, UTC)
        return self.options.clock.date(self.at)

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
        shown = ", ".join([*map(short, self.args), *(f"{key}={short(value)}" for key, value in self.kwargs.items())])
        return f"<Message {self.id} {self.call}({shown})>"

    # ---- for the runtime

    def rare(self) -> Extra:
        """Return what only some messages have, made now if need be."""
        if self.extra is None:
            self.extra = Extra()
        return self.extra

    @property
    def attempts(self) -> int:
        """Tries that were begun and count; a first try that ends well is not counted."""
        return 0 if self.extra is None else self.extra.attempts

    @attempts.setter
    def attempts(self, tries: int) -> None:
        self.rare().attempts = tries

    def same_call(self, other: Message) -> bool:
        """Tell whether `other` is the same call with the same arguments."""
        return self.handler.name == other.handler.name and self.args == other.args and self.kwargs == other.kwargs


def new_message(
    handler: Handler, args: tuple[Any, ...], options: MessageOptions, at: float, waiter: Task | None = None
) -> Message:
    """Make a message."""
    message = Message()
    message.handler = handler
    message.args = args
    message.options = options
    message.at = at
    message.waiter = waiter
    message.made_id = None
    message.extra = None
    return message


def short(value: object, most: int = 60) -> str:
    """Show a value in a few characters: errors and log lines stay bounded, whatever a user's class says of itself."""
    try:
        text = repr(value)
    except Exception:
        text = f"<{type(value).__name__} that cannot be shown>"
    return text if len(text) <= most else f"{text[: most - 1]}…"
