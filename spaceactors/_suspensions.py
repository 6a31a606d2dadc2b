"""Questions that turns ask the world outside, and their answers.

A turn that suspends ends its try; its message sleeps, holding nothing. When the answer is there the handler runs from
its beginning, and every finished step and answer is given back from the message's journal.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any, cast, final

import trio
from attrs import define, frozen
from trio.lowlevel import enable_ki_protection

from spaceactors import _journal as journal
from spaceactors import _landing as landing
from spaceactors import _life as life
from spaceactors import _outcomes as outcomes
from spaceactors._errors import OutsideTurn, StoreError, SuspensionClosed, SuspensionExpired
from spaceactors._loading import fenced_off
from spaceactors._options import DiscardReason
from spaceactors._store import EpochLost, Recorded, VersionLost

if TYPE_CHECKING:
    from datetime import datetime

    from spaceactors._actor import Actor
    from spaceactors._errors import SpaceError
    from spaceactors._handle import SpaceHandle
    from spaceactors._hub import Hub
    from spaceactors._keeper import Alarm
    from spaceactors._message import Message
    from spaceactors._port import DurablePort
    from spaceactors._space import Space
    from spaceactors._worker import Worker


# Seconds until an expiry that cannot be written is tried again.
_AGAIN = 1.0


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
@frozen
class JsonAnswer:
    """An answer that was given as JSON, where the class of the answer was not at hand."""

    value: Any


@final
@define(eq=False)
class Asked:
    """An open question with what is needed to go on."""

    shown: Suspension
    message: Message
    # Under which name, and where, the journal keeps the answer.
    key: str
    position: int
    # A class, or something like `list[str]`, which no value can be checked against.
    answer: Any
    # What is answered when the time is over; None: it expires.
    default: tuple[Any] | None
    # The live space; set when it sleeps there.
    space: Space | None = None
    # When it expires, in seconds of Trio's clock; inf: never.
    until: float = inf
    # Set when the answer that is being written is there, or cannot be.
    answering: trio.Event | None = None
    alarm: Alarm | None = None


@final
class Suspensions:
    """The open questions of a runtime: `runtime.suspensions`."""

    __slots__ = ("_away", "_open", "_runtime")

    def __init__(self, runtime: Hub) -> None:
        self._runtime = runtime
        self._open: dict[str, Asked] = {}
        # Suspended messages whose spaces have left memory, where somebody here still waits for the answer: kind and id.
        self._away: dict[tuple[str, str], Message] = {}

    async def list(self, *, actor: type[Actor[Any]] | None = None, limit: int = 100) -> list[Suspension]:
        """Return open questions, the oldest first, of one actor class or of all."""
        await trio.lowlevel.checkpoint()
        kind = None if actor is None else self._runtime.kind_of(actor).name
        if self._runtime.durable is not None:
            return await self._runtime.durable.questions(kind, limit)
        chosen = [one.shown for one in self._open.values() if kind is None or one.shown.space.kind == kind]
        return chosen[:limit]

    def open(self) -> tuple[Asked, ...]:
        """Return the questions that are open in this process, the oldest first."""
        return tuple(self._open.values())

    @enable_ki_protection
    async def answer(self, suspension_id: str, value: object, /) -> None:
        """Answer a question, once; its turn goes on before anything else of its space.

        Raises:
            SuspensionClosed: it was answered already, expired, or was never asked.
            TypeError: the answer is not of the type that the question asked for.
            StoreError: it cannot be kept now; the question is still open.

        """
        await trio.lowlevel.checkpoint()
        while True:
            asked = self._open.get(suspension_id) or await self._found(suspension_id)
            if asked is None:
                raise _closed(suspension_id)
            if isinstance(asked.answer, type) and not isinstance(value, (asked.answer, JsonAnswer)):
                msg = f"the answer to {asked.shown.name!r} must be a {asked.answer.__name__}, not {value!r}"
                raise TypeError(msg)
            if await self._answered(asked, value):
                return

    async def _found(self, suspension_id: str) -> Asked | None:
        """Bring the space of a question into memory, with the question."""
        durable, runtime = self._runtime.durable, self._runtime
        key = None if durable is None else await durable.question(suspension_id)
        if key is not None and key not in runtime.live:
            handle = runtime.handle(runtime.by_name[key[0]], key[1])
            runtime.check_open(handle)
            await runtime.loading.wake(handle)
        return self._open.get(suspension_id)

    async def _answered(self, asked: Asked, value: object) -> bool:
        """Keep the answer, and have the turn go on with it; tell whether the question was still the one."""
        durable, space = self._runtime.durable, asked.space
        step = Recorded(asked.position, alone=True, value=value)
        if durable is not None and space is not None:
            while asked.answering is not None:
                await asked.answering.wait()  # one answer wins, if it can be kept
            if self._open.get(asked.shown.id) is not asked:
                return False
            asked.answering = trio.Event()
            space.answering += 1  # it stays in memory meanwhile: who else would tell its turn?
            try:
                with trio.CancelScope(shield=True):
                    await durable.answer(space.row, asked, step)
            except VersionLost:
                if await self._is_closed(durable, asked, space):
                    raise _closed(asked.shown.id) from None
                return False
            except EpochLost:
                life.lose(space)
                raise fenced_off(asked.shown.space) from None
            finally:
                asked.answering.set()
                asked.answering = None
                space.answering -= 1
                space.wake()
        if self._open.get(asked.shown.id) is asked:
            self._resume(asked, step)
        elif space is not None and not space.keeps:
            raise _closed(asked.shown.id)  # its turn was ended while the answer was written
        return True

    async def _is_closed(self, durable: DurablePort, asked: Asked, space: Space) -> bool:
        """Tell why an answer was refused: the question is closed, or another process has changed the state meanwhile.

        Then that is read, and the answer can be written again.
        """
        with trio.CancelScope(shield=True):
            if await durable.question(asked.shown.id) is not None:
                await durable.refresh(space.row)
                return False
        return True

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
        number = worker.record.name_again(f"?{name}")
        key = f"?{name}#{number}"
        position, recorded = journal.begin(worker, message, key)
        if recorded is not None:
            return _as_asked(recorded.value, answer, space, message)
        until = inf if timeout is None else space.clock.now + timeout
        expires_at = None if timeout is None else space.clock.date(until)
        # A message id given by a sender belongs to one space only.
        suspension_id = f"{space.kind.name}/{space.id}/{message.id}/{name}/{number}"
        shown = Suspension(suspension_id, space.handle, name, question, expires_at)
        otherwise = None if default is MISSING else (default,)
        raise Suspended(Asked(shown, message, key, position, answer, otherwise, space, until))

    def suspended(self, message: Message, asked: Asked) -> None:
        """Put a message to sleep whose try has ended with a question; raises what keeps that from being stored."""
        space = asked.space
        if space is None or landing.is_lost(space, message):
            return
        if space.asleep is None and self._runtime.durable is not None:
            self._runtime.durable.ask(space.row, asked).then(lambda one: self._refused(asked, one.error))
        message.attempts = max(message.attempts - 1, 0)
        space.attention = True
        if space.asleep is not None:
            # Of several turns at once one waits for an answer; the others ask when they have their turn again.
            space.put_back(message)
            return
        self.take_up(asked, space)

    def _refused(self, asked: Asked, error: Exception | None) -> None:
        """Let go of a message whose question the store refused: a later opening owns its space, and asks there."""
        space, message = asked.space, asked.message
        if space is None or not isinstance(error, EpochLost):
            return
        text = f"{space.name} is owned by a later opening of the store"
        if self._open.get(asked.shown.id) is asked:
            self._close(asked)
            space.asleep = None
            outcomes.abandon(space, message, text)
            life.lose(space)
        elif self._away.get(space.handle.key) is message:
            del self._away[space.handle.key]
            outcomes.turn_away(space.handle, message, StoreError, text)

    def lose(self) -> tuple[Asked, ...]:
        """Return what is open, and forget it: whoever takes it up goes on with it."""
        asked, self._open = tuple(self._open.values()), {}
        return asked

    def come_back(self, asked: Asked, space: Space) -> None:
        """Have a message that sleeps in the store sleep in memory again, with all who wait for it."""
        away = self._away.pop((space.kind.name, space.id), None)
        if away is not None and away.rare().row == asked.message.rare().row:
            away.rare().journal = asked.message.rare().journal
            asked.message = away
        self.take_up(asked, space)

    def take_up(self, asked: Asked, space: Space) -> None:
        """Have a message of a space sleep until its question is answered, or expires."""
        asked.space = space
        space.asleep = asked.message
        self._open[asked.shown.id] = asked
        if asked.until < inf:
            asked.alarm = self._runtime.keeper.set(asked.until, lambda: self._expire(asked))

    def leave(self, space: Space) -> None:
        """Forget the question of a space that leaves memory: the store has it."""
        if space.asleep is not None and outcomes.is_awaited(space.asleep):
            self._away[space.kind.name, space.id] = space.asleep
        for asked in [one for one in self._open.values() if one.space is space]:
            self._close(asked)
            self._leave_in_row(space, asked)
            self._runtime.timers.look_at(asked.until)

    @staticmethod
    def _leave_in_row(space: Space, asked: Asked) -> None:
        """Have the next activation find a question although the row is not read again, because somebody holds it."""
        found = space.row.own_found()
        found.asked, found.asleep = asked, found.asleep + 1

    def turn_away(self, error: type[SpaceError], text: str) -> None:
        """Tell all who wait for messages that are in the store only that no answer will come here."""
        away, self._away = self._away, {}
        for (kind, space_id), message in away.items():
            outcomes.turn_away(self._runtime.handle(self._runtime.by_name[kind], space_id), message, error, text)

    def _expire(self, asked: Asked) -> None:
        asked.alarm = None
        name, space = asked.shown.name, asked.space
        if space is None or space.gone:
            return
        gone = SuspensionExpired(f"nobody answered {name!r} in time", space=space.handle, message=asked.message)
        value = gone if asked.default is None else asked.default[0]
        if self._runtime.durable is None:
            self._resume(asked, Recorded(asked.position, alone=True, value=value))
        elif self._runtime.nursery is not None:
            self._runtime.nursery.start_soon(self._expire_durably, asked, value)

    async def _expire_durably(self, asked: Asked, value: object) -> None:
        try:
            await self._answered(asked, value)
        except SuspensionClosed:
            return  # somebody answered in the last moment
        except StoreError:
            # In memory or out of it: a space that leaves now is not brought back before that.
            asked.until = self._runtime.clock.now + _AGAIN
            if self._open.get(asked.shown.id) is asked:
                asked.alarm = self._runtime.keeper.set(asked.until, lambda: self._expire(asked))

    def _resume(self, asked: Asked, step: Recorded) -> None:
        self._close(asked)
        asked.message.rare().record(asked.key, step)
        space = asked.space
        if space is not None:
            space.asleep = None
            space.put_back(asked.message)
            space.wake()

    def _close(self, asked: Asked) -> None:
        self._open.pop(asked.shown.id, None)
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
        """Return the suspended turn of a space that ends, or leave it in the store."""
        message = space.asleep
        if message is not None:
            life.end_unhandled(space, message)
            for asked in self._open.values() if space.keeps and not space.fenced else ():
                if asked.message is message:
                    self._leave_in_row(space, asked)
            self._wake_up(space)


def _closed(suspension_id: str) -> SuspensionClosed:
    msg = f"there is no open question {suspension_id!r}: it was answered, expired, or was never asked"
    return SuspensionClosed(msg)


def _as_asked(value: object, answer: Any, space: Space, message: Message) -> object:
    """Return an answer as the turn wants it; raises `SuspensionExpired` if nobody gave one."""
    if isinstance(value, SuspensionExpired):
        raise SuspensionExpired(*value.args, space=space.handle, message=message)
    if isinstance(value, JsonAnswer):
        from spaceactors._codec_json import from_json  # only where answers come from the command line

        return from_json(value.value, answer)
    return value
