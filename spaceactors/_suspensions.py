"""Questions that turns ask the world outside, and their answers.

A turn that suspends ends its try; its message sleeps, holding nothing. When the answer is there the handler runs from
its beginning, and every finished step and answer is given back from the message's journal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast, final

import trio
from attrs import define, frozen
from trio.lowlevel import enable_ki_protection

from spaceactors import _outcomes as outcomes
from spaceactors._errors import OutsideTurn, SuspensionClosed, SuspensionExpired
from spaceactors._options import DiscardReason

if TYPE_CHECKING:
    from datetime import datetime

    from spaceactors._actor import Actor
    from spaceactors._handle import SpaceHandle
    from spaceactors._hub import Hub
    from spaceactors._keeper import Alarm
    from spaceactors._message import Message
    from spaceactors._space import Space
    from spaceactors._worker import Worker


@final
class Suspended(BaseException):
    """Ends a try of a turn that waits for an answer."""

    def __init__(self, asked: Asked) -> None:
        super().__init__(asked.shown.id)
        self.asked = asked


def part(error: BaseException | None) -> tuple[Suspended | None, BaseException | None]:
    """Part what a try has raised into its first question and everything else: tasks below a turn can ask at once."""
    if isinstance(error, Suspended):
        return error, None
    if not isinstance(error, BaseExceptionGroup):
        return None, error
    question: BaseException | None
    question, rest = cast("BaseExceptionGroup[BaseException]", error).split(Suspended)
    while isinstance(question, BaseExceptionGroup):
        question = cast("BaseExceptionGroup[BaseException]", question).exceptions[0]
    return cast("Suspended | None", question), rest


@final
@frozen
class Suspension:
    """An open question: answer it with `runtime.suspensions.answer(id, value)`."""

    id: str
    space: SpaceHandle[Any]
    name: str
    question: Any
    expires_at: datetime | None


@final
@define(eq=False)
class Asked:
    """An open question with what is needed to go on."""

    shown: Suspension
    space: Space
    message: Message
    # Under which name the journal keeps the answer.
    key: str
    # A class, or something like `list[str]`, which no value can be checked against.
    answer: Any
    timeout: float | None
    # What is answered when the time is over; a `SuspensionExpired` is raised.
    default: Any
    alarm: Alarm | None = None


@final
class Suspensions:
    """The open questions of a runtime: `runtime.suspensions`."""

    __slots__ = ("_open", "_runtime")

    def __init__(self, runtime: Hub) -> None:
        self._runtime = runtime
        self._open: dict[str, Asked] = {}

    async def list(self, *, actor: type[Actor[Any]] | None = None, limit: int = 100) -> list[Suspension]:
        """Return open questions, the oldest first, of one actor class or of all."""
        await trio.lowlevel.checkpoint()
        kind = None if actor is None else self._runtime.kind_of(actor).name
        chosen = [one.shown for one in self._open.values() if kind is None or one.shown.space.kind == kind]
        return chosen[:limit]

    @enable_ki_protection
    async def answer(self, suspension_id: str, value: object, /) -> None:
        """Answer a question, once; its turn goes on before anything else of its space.

        Raises:
            SuspensionClosed: it was answered already, expired, or was never asked.
            TypeError: the answer is not of the type that the question asked for.

        """
        await trio.lowlevel.checkpoint()
        asked = self._open.get(suspension_id)
        if asked is None:
            msg = f"there is no open question {suspension_id!r}: it was answered, expired, or was never asked"
            raise SuspensionClosed(msg)
        if isinstance(asked.answer, type) and not isinstance(value, asked.answer):
            msg = f"the answer to {asked.shown.name!r} must be a {asked.answer.__name__}, not {value!r}"
            raise TypeError(msg)
        self._resume(asked, value)

    # ---- for the turn

    def answer_or_suspend(
        self, worker: Worker, name: str, question: object, answer: Any, timeout: float | None, default: object
    ) -> Any:
        """Return the recorded answer, or end this try of the turn."""
        from spaceactors._acting import MISSING

        message, space = worker.message, worker.space
        if message is None or (message.extra is not None and message.extra.reader is not None):
            msg = f"{space.name} can suspend only in a handler that answers an `ask` or a `send`, not in a hook"
            raise OutsideTurn(msg, space=space.handle)
        number = worker.record.named[f"?{name}"] = worker.record.named.get(f"?{name}", 0) + 1
        key = f"?{name}#{number}"
        journal = message.rare().journal
        if key in journal:
            value = journal[key]
            if isinstance(value, SuspensionExpired):
                raise value
            return value
        if default is MISSING:
            default = SuspensionExpired(f"nobody answered {name!r} in time", space=space.handle, message=message)
        until = None if timeout is None else space.clock.date(space.clock.now + timeout)
        # A message id given by a sender belongs to one space only.
        suspension_id = f"{space.kind.name}/{space.id}/{message.id}/{name}/{number}"
        shown = Suspension(suspension_id, space.handle, name, question, until)
        raise Suspended(Asked(shown, space, message, key, answer, timeout, default))

    def suspended(self, message: Message, asked: Asked) -> None:
        """Put a message to sleep whose try has ended with a question."""
        message.attempts = max(message.attempts - 1, 0)
        message.rare()
        space = asked.space
        space.attention = True
        if space.asleep is not None:
            # Of several turns at once one waits for an answer; the others ask when they have their turn again.
            space.put_back(message)
            return
        space.asleep = message
        self._open[asked.shown.id] = asked
        if asked.timeout is not None:
            at = space.clock.now + asked.timeout
            asked.alarm = self._runtime.keeper.set(at, lambda: self._resume(asked, asked.default))

    def lose(self) -> tuple[Asked, ...]:
        """Return what is open, and forget it: whoever takes it up goes on with it."""
        asked, self._open = tuple(self._open.values()), {}
        return asked

    def take_up(self, asked: Asked, space: Space) -> None:
        """Go on with a question that was open in an earlier life of its space."""
        asked.space = space
        self._open[asked.shown.id] = asked
        if asked.alarm is not None:
            asked.alarm = self._runtime.keeper.set(asked.alarm.at, lambda: self._resume(asked, asked.default))

    def _resume(self, asked: Asked, value: object) -> None:
        self._close(asked)
        asked.message.rare().journal[asked.key] = value
        asked.space.asleep = None
        asked.space.put_back(asked.message)
        asked.space.wake()

    def _close(self, asked: Asked) -> None:
        del self._open[asked.shown.id]
        if asked.alarm is not None:
            asked.alarm.cancel()

    def _wake_up(self, space: Space) -> Message | None:
        """Close the question of a space, and return the message that asked it."""
        message, space.asleep = space.asleep, None
        for asked in [one for one in self._open.values() if one.message is message]:
            self._close(asked)
        return message

    def interrupt(self, space: Space) -> None:
        """Discard the suspended turn of a space that is interrupted."""
        if space.asleep is not None:
            message = self._wake_up(space)
            if message is not None:
                outcomes.discard(space, message, DiscardReason.INTERRUPTED)
            space.wake()

    def drop(self, space: Space) -> None:
        """Return the suspended turn of a space that ends."""
        if space.asleep is not None:
            message = self._wake_up(space)
            if message is not None:
                outcomes.give_back(space, message)
