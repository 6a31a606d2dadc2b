"""What can go wrong for the sender of a message, in two families: it was not accepted, or it was and has no reply."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

if TYPE_CHECKING:
    from spaceactors._handle import SpaceHandle
    from spaceactors._message import Message
    from spaceactors._options import DiscardReason


class Reject(Exception):
    """Raise it in a handler to refuse a message: the turn is rolled back, the asker gets `Rejected`, the actor lives.

    Args:
        reason: any value; the asker reads it as `Rejected.reason`.
    """

    def __init__(self, reason: object = "", /) -> None:
        super().__init__(reason)
        self.reason = reason


class SpaceError(Exception):
    """Base class of what a call to a space can raise; `space` is the handle, `message` the message it is about."""

    def __init__(self, *args: object, space: SpaceHandle[Any] | None = None, message: Message | None = None) -> None:
        super().__init__(*args)
        self._space = space
        self._message = message

    @property
    def space(self) -> SpaceHandle[Any] | None:
        """The space that was called."""
        return self._space

    @property
    def message(self) -> Message | None:
        """The message, given back; `handle.resend(message)` tries it again."""
        return self._message


class NotAccepted(SpaceError):
    """The message is not in the ledger: sending it again is safe.

    `retry_after` says, where it is known, after how many seconds that may help.
    """

    def __init__(
        self,
        *args: object,
        space: SpaceHandle[Any] | None = None,
        message: Message | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(*args, space=space, message=message)
        self._retry_after = retry_after

    @property
    def retry_after(self) -> float | None:
        """Seconds after which another try may succeed, if that is known."""
        return self._retry_after


@final
class MailboxFull(NotAccepted):
    """The mailbox has no place (or the runtime none for one more live space): wait with `send`, or slow down."""


@final
class SpaceBusy(NotAccepted):
    """The space has something to do and its `WhenBusy` refuses more."""


@final
class SpaceDraining(NotAccepted):
    """The space finishes what it has and takes nothing new; a moment later it starts anew."""


@final
class SpaceStopped(NotAccepted):
    """The space is being stopped; a moment later it starts anew."""


@final
class SpaceQuarantined(NotAccepted):
    """The actor crashed over its budget. Its messages are kept; `handle.revive()` starts it again."""


@final
class Overloaded(NotAccepted):
    """The runtime sheds load: try again after `retry_after` seconds."""


class StoreError(NotAccepted):
    """The store cannot take it now; nothing was written half."""


@final
class RuntimeClosed(NotAccepted):
    """The runtime drains or is closed: send to another one."""


@final
class BadCall(NotAccepted, TypeError):
    """The sender's mistake: such a call cannot be made. The text says what to write instead."""


@final
class UnknownSpaceKind(NotAccepted, LookupError):
    """No actor class of that kind was given to `open_runtime`."""


@final
class AskCycle(NotAccepted):
    """Waiting here would wait for ever: the target waits, over the spaces named, for this very turn."""


class NotHandled(SpaceError):
    """The message was accepted and has its outcome; there is no reply. One class per outcome."""


@final
class Rejected(NotHandled):
    """The handler refused the message with `Reject(reason)`, or with an exception listed in `throws`."""

    def __init__(
        self, reason: object = "", *, space: SpaceHandle[Any] | None = None, message: Message | None = None
    ) -> None:
        super().__init__(reason, space=space, message=message)
        self._reason = reason

    @property
    def reason(self) -> Any:
        """What the handler gave as its reason; for `throws`, the exception itself."""
        return self._reason


@final
class ActorCrashed(NotHandled):
    """The handler failed at this message as often as it may; `__cause__` is what it raised."""


@final
class MessageExpired(NotHandled):
    """`expires_after` was over before the turn began."""


@final
class MessageDiscarded(NotHandled):
    """A rule that was asked for threw the message away; `why` names it."""

    def __init__(
        self,
        *args: object,
        why: DiscardReason,
        space: SpaceHandle[Any] | None = None,
        message: Message | None = None,
    ) -> None:
        super().__init__(*args, space=space, message=message)
        self._why = why

    @property
    def why(self) -> DiscardReason:
        """The rule that discarded it."""
        return self._why


@final
class MessageReturned(NotHandled):
    """The space or the runtime ended before the message had its turn, or cut the turn off: it is given back."""


@final
class OutsideTurn(SpaceError):
    """An actor's state, history, timers or the like were changed outside the turn they belong to."""


@final
class TurnTimeout(Exception):
    """A turn took longer than it may; the cause of the `ActorCrashed` that its asker gets."""


@final
class StateTooLarge(SpaceError):
    """A turn's new state is larger than `SpaceOptions.max_state_bytes`: the turn is rolled back, its message fails."""


@final
class SuspensionExpired(SpaceError):
    """Nobody answered in time, and there is no default."""


@final
class SuspensionClosed(SpaceError, LookupError):
    """The question was answered already, expired, or was never asked."""


@final
class ConcurrentModification(SpaceError):
    """The state was changed by somebody else in between."""


@final
class StepChanged(SpaceError):
    """The program asks for another step, or question, than it did in an earlier try of the same message."""
