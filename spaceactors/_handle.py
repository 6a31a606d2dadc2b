"""Handles: what everyone else holds of a space. A value that names it, and the calls."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeAlias, TypeVarTuple, final, overload

from attrs import evolve
from trio.lowlevel import (
    checkpoint,
    checkpoint_if_cancelled,
    current_task,
    enable_ki_protection,
    reschedule,
)
from typing_extensions import TypeVar

from spaceactors import _asking as asking
from spaceactors import _calling as calling
from spaceactors import _landing as landing
from spaceactors import _listing as listing
from spaceactors._control import Control
from spaceactors._errors import BadCall, StoreError
from spaceactors._feed import Emitted, Gap  # noqa: TC001 (the alias `Feed` names them)
from spaceactors._history import CommittedHistory, HistoryReader
from spaceactors._message import Message, MessageOptions, new_message
from spaceactors._turn import here
from supervisors import Priority

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
    from contextlib import AbstractAsyncContextManager

    from trio.lowlevel import Task

    from spaceactors._actor import Actor
    from spaceactors._hub import Hub
    from spaceactors._kind import Kind
    from spaceactors._snapshot import SpaceInfo
    from spaceactors._space import Space
    from spaceactors._store import Row
    from supervisors import DrainReport

S = TypeVar("S", default=None)
E = TypeVar("E")
R = TypeVar("R")
P = ParamSpec("P")
Ts = TypeVarTuple("Ts")
A_co = TypeVar("A_co", bound="Actor[Any]", covariant=True)

_DEFAULT = MessageOptions()

# What `subscribe` gives: the values with their positions, and gaps where some are gone.
Feed: TypeAlias = "AsyncIterator[Emitted[E] | Gap]"

# A caller lets others run at least once in so many calls: law 8.
_CALLS_AT_A_STRETCH = 64


@final
class SpaceHandle(Generic[A_co]):
    """The name of a space with its calls. Cheap, hashable, comparable, picklable; naming a space starts nothing.

    A call names a method of the actor class and its arguments: `await alice.ask(Barista.say, "a latte")`.
    """

    __slots__ = ("_group", "_id", "_kind", "_kind_name", "_options", "_plain", "_runtime", "_space")

    def __init__(
        self,
        runtime: Hub | None,
        kind: Kind | None,
        kind_name: str,
        space_id: str,
        group: str | None = None,
        options: MessageOptions = _DEFAULT,
    ) -> None:
        self._runtime = runtime
        self._kind = kind
        self._kind_name = kind_name
        self._id = space_id
        # The group that was asked for; None: as the class says.
        self._group = group
        self._options = options
        # Whether an ordinary message of this handle needs no second look.
        self._plain = group is None and options.message_id is None and options.expires_after is None
        # The live space as of the last call, for the hot path; only where messages need no second look.
        self._space: Space | None = None

    # ---- the value

    @property
    def id(self) -> str:
        """The space's id."""
        return self._id

    @property
    def kind(self) -> str:
        """The name of its kind of actor."""
        return self._kind_name

    @property
    def key(self) -> tuple[str, str]:
        """The identity: kind and id."""
        return (self._kind_name, self._id)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SpaceHandle):
            return NotImplemented
        return (self._id, self._kind_name) == (other.id, other.kind)

    def __hash__(self) -> int:
        return hash((self._kind_name, self._id))

    def __lt__(self, other: SpaceHandle[Any]) -> bool:
        return self.key < other.key

    def __repr__(self) -> str:
        return f"<SpaceHandle {self._kind_name}/{self._id}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return (_unbound, (self._kind_name, self._id))

    def with_options(
        self,
        *,
        message_id: str | None = None,
        priority: Priority | None = None,
        expires_after: float | None = None,
        correlation_id: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> SpaceHandle[A_co]:
        """Return the same handle whose calls carry options.

        Args:
            message_id: the message's identity: a known one is the same message, with one turn and one reply.
            priority: who goes first when turns are scarce; the order inside a space stays.
            expires_after: seconds from the call until the turn must have begun.
            correlation_id: what ties the messages of one request together.
            headers: anything that is to travel with the message.

        """
        changes: dict[str, Any] = {
            "message_id": message_id,
            "priority": None if priority is None else Priority(priority),
            "expires_after": expires_after,
            "correlation_id": correlation_id,
            "headers": None if headers is None else MappingProxyType(dict(headers)),
        }
        chosen = {name: value for name, value in changes.items() if value is not None}
        if not _is_message_id(message_id):
            msg = f"message_id must be a text that is not empty, not {message_id!r}"
            raise ValueError(msg)
        if expires_after is not None and not expires_after >= 0:
            msg = f"expires_after must be at least 0 seconds, not {expires_after!r}"
            raise ValueError(msg)
        options = evolve(self._options, **chosen)
        return SpaceHandle(self._runtime, self._kind, self._kind_name, self._id, self._group, options)

    # ---- send

    @overload
    async def send(
        self, method: Callable[[A_co, *Ts], Coroutine[Any, Any, object] | AsyncIterator[object]], /, *args: *Ts
    ) -> str: ...
    @overload
    async def send(
        self,
        method: Callable[Concatenate[A_co, P], Coroutine[Any, Any, object] | AsyncIterator[object]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> str: ...
    @enable_ki_protection  # type: ignore[misc]
    async def send(self, method: Callable[..., Any], /, *args: Any, **kwargs: Any) -> str:
        """Send a message; return its id when it is accepted.

        On a full mailbox it waits for a place (or what `Overflow` says). In a turn it leaves with the turn's commit and
        returns at once. Raises a `NotAccepted`: nothing is counted then, and sending again is safe.
        """
        runtime = self._runtime or self.runtime
        runtime.calls += 1
        if runtime.calls % _CALLS_AT_A_STRETCH:
            await checkpoint_if_cancelled()
        else:
            await checkpoint()
        if not kwargs and here.get() is None:
            message_id = self._send_quickly(method, args)
            if message_id is not None:
                return message_id
            message = None if runtime.durable is None else calling.stored_quickly(self, runtime.durable, method, args)
            if message is not None:
                await landing.wait_landed(self, message)
                return message.id
        message = calling.make_message(self, method, args, kwargs, None)
        place = here.get()
        if place is not None and place.in_turn():
            return asking.post(self, place, message)
        task = current_task()
        if not calling.offer(self, message, task, place, may_wait=True):
            await asking.wait_for_place(self, message, task)
        if runtime.durable is not None:
            await landing.wait_landed(self, message)
        return message.id

    @overload
    def send_nowait(
        self, method: Callable[[A_co, *Ts], Coroutine[Any, Any, object] | AsyncIterator[object]], /, *args: *Ts
    ) -> str: ...
    @overload
    def send_nowait(
        self,
        method: Callable[Concatenate[A_co, P], Coroutine[Any, Any, object] | AsyncIterator[object]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> str: ...
    @enable_ki_protection  # type: ignore[misc]
    def send_nowait(self, method: Callable[..., Any], /, *args: Any, **kwargs: Any) -> str:
        """Send a message without ever waiting; where `send` would wait, it raises `MailboxFull`."""
        # `_send_quickly` once more, without its call: a twentieth of what a message costs.
        space = self._space
        if space is not None and space.quick and here.get() is None and not kwargs:
            handler = space.calls.get(method)
            if handler is not None and len(args) == handler.exact and len(space.mailbox) < space.capacity:
                message = Message()
                message.handler = handler
                message.args = args
                message.options = self._options
                message.at = space.clock.now
                message.waiter = message.extra = None
                space.accepted = number = space.accepted + 1
                message.made_id = message_id = f"{space.tag}{number}"
                space.mailbox.append(message)
                if space.parked:
                    reschedule(space.parked.pop())
                return message_id
        message = calling.make_message(self, method, args, kwargs, None)
        place = here.get()
        if place is not None and place.in_turn():
            return asking.post(self, place, message)
        if message.extra is not None:
            message.extra.insist = True  # nobody waits to be told that the disk is full
        calling.offer(self, message, None, place, may_wait=False)
        return message.id

    def _send_quickly(self, method: Callable[..., Any], args: tuple[Any, ...]) -> str | None:
        """Have an ordinary call accepted, if it needs nothing but a place, and return its id: the senders' hot path."""
        space = self._space
        if space is None or not space.quick:
            return None
        handler = space.calls.get(method)
        if handler is None or len(args) != handler.exact or len(space.mailbox) >= space.capacity:
            return None
        space.accepted = number = space.accepted + 1
        message = Message()
        message.handler = handler
        message.args = args
        message.options = self._options
        message.at = space.clock.now
        message.waiter = message.extra = None
        message.made_id = message_id = f"{space.tag}{number}"
        space.mailbox.append(message)
        if space.parked:
            reschedule(space.parked.pop())
        return message_id

    # ---- ask

    @overload
    async def ask(self, method: Callable[[A_co, *Ts], Coroutine[Any, Any, R]], /, *args: *Ts) -> R: ...
    @overload
    async def ask(
        self, method: Callable[Concatenate[A_co, P], Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> R: ...
    @enable_ki_protection  # type: ignore[misc]
    async def ask(self, method: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Send a message and wait for the handler's answer.

        Raises a `NotAccepted` (sending again is safe), or the `NotHandled` of its outcome: `Rejected`, `ActorCrashed`
        (with what the handler raised as its cause), `MessageExpired`, `MessageDiscarded`, `MessageReturned`. In a turn,
        `AskCycle` names a ring of turns that would wait for each other.
        """
        await checkpoint_if_cancelled()
        task = current_task()
        message = self._quick_message(method, args, task) if not kwargs and here.get() is None else None
        if message is not None:
            return await asking.wait_for_answer(self, message, task)
        message = calling.make_message(self, method, args, kwargs, task)
        if message.handler.streams:
            msg = f"{message.call} streams its answer: use `async with handle.stream(...)`, or send it"
            raise BadCall(msg, space=self, message=message)
        place = here.get()
        if place is not None and place.in_turn():
            return await asking.ask_in_turn(self, place, message, task)
        calling.offer(self, message, None, place, may_wait=True)
        return await asking.wait_for_answer(self, message, task)

    # ---- stream

    def stream(
        self, method: Callable[Concatenate[A_co, P], AsyncIterator[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> AbstractAsyncContextManager[AsyncIterator[R]]:
        """Send a message and read the items that its handler yields: `async with alice.stream(...) as items`.

        Entering waits until the message is accepted. The turn goes at the reader's pace; leaving the block early is as
        `WhenAbandoned` says. What an `ask` raises comes out of the iteration.
        """
        return asking.stream(self, method, args, kwargs)

    # ---- the way in

    @property
    def runtime(self) -> Hub:
        """The runtime that the handle belongs to; an unpickled one is bound by the first that uses it."""
        if self._runtime is None:
            calling.bind(self)
        return self._runtime  # type: ignore[return-value]

    def _quick_message(self, method: Callable[..., Any], args: tuple[Any, ...], waiter: Task | None) -> Message | None:
        """Have an ordinary call accepted, if it is one that needs nothing but a place: the hot path of all senders."""
        space = self._space
        if space is None or not space.quick:
            return None
        handler = space.calls.get(method)
        if handler is None or len(args) != handler.exact or len(space.mailbox) >= space.capacity:
            return None
        message = new_message(handler, args, self._options, space.clock.now, waiter)
        space.mailbox.append(message)
        space.accepted += 1
        if space.parked:
            reschedule(space.parked.pop())
        return message

    def check_group(self, space: Space) -> None:
        """Refuse a group that is not the space's: its first message fixed it."""
        if self._group is not None and self._group != space.row.group:
            msg = (
                f"{space.name} belongs to the group {space.row.group!r} since its first message, not to {self._group!r}"
            )
            raise BadCall(msg, space=self)

    @property
    def group(self) -> str | None:
        """The group that was asked for with the handle."""
        return self._group

    # ---- looking

    def _row(self) -> Row:
        """Return the space's row, begun now if need be."""
        return self.runtime.row_of(self)

    def _state_replaced(self) -> None:
        """Have a live space go on with the state that was put into its row."""
        self.runtime.state_replaced(self)

    async def state(self: SpaceHandle[Actor[S]]) -> S:
        """Return the committed state; waits for no turn, and starts nothing."""
        await checkpoint()
        row = await self.runtime.store.peek(self.kind, self.id)
        if row is not None and row.unreadable:
            msg = f"the state of {self.id} cannot be read: {row.quarantined}"
            raise StoreError(msg, space=self) from row.quarantined
        value: S = self.runtime.by_name[self._kind_name].first_state(self._id) if row is None else row.state
        return value

    @property
    def history(self) -> HistoryReader:
        """The committed history."""
        return CommittedHistory(self.runtime.store, self.kind, self.id)

    @overload
    def subscribe(
        self, /, *, after: int | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[Emitted[Any] | Gap]]: ...
    @overload
    def subscribe(
        self, event: type[E], /, *, after: int | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[Emitted[E] | Gap]]: ...
    def subscribe(self, event: type[Any] | None = None, /, *, after: int | None = None) -> Any:
        """Read what the actor emits, from now on, or from behind the position `after`: `async with ... as feed`.

        Yields `Emitted(value, position)`, and `Gap(missed)` where events are gone: this reader was more than
        `feed_size` behind, or asked for older ones than are kept.
        """
        return self.runtime.feeds.subscribe(self, event, after)

    async def info(self) -> SpaceInfo:
        """Return what the space is doing."""
        await checkpoint()
        return await listing.info(self.runtime, self)

    # ---- control

    async def resend(self, message: Message, /) -> str:
        """Send a message that came back with an error again, under its old id; return when it is accepted."""
        method = message.handler.function
        options = calling.options_again(self, message)
        again: SpaceHandle[Any] = SpaceHandle(
            self._runtime, self._kind, self._kind_name, self._id, self._group, options
        )
        return await again.send(method, *message.args, **message.kwargs)

    def _control(self) -> Control:
        return Control(self)

    async def drain(self, timeout: float | None = None) -> DrainReport:
        """Finish what was accepted, within `timeout` seconds, and end the activation; the next message starts anew."""
        return await self._control().drain(timeout)

    async def stop(self) -> DrainReport:
        """Finish the running turn, return what waits, and end the activation."""
        return await self._control().stop()

    async def kill(self) -> DrainReport:
        """Cancel the running turn, return it and what waits, and end the activation."""
        return await self._control().kill()

    async def revive(self) -> None:
        """Start a quarantined space again, with a fresh budget."""
        await self._control().revive()

    async def pause(self) -> None:
        """Accept and run nothing until `resume`; the running turn finishes."""
        await self._control().pause()

    async def resume(self) -> None:
        """Run again after a pause."""
        await self._control().resume()

    async def delete(self) -> None:
        """End the activation, and remove all that the store keeps of the space; what waits is discarded."""
        await self._control().delete()


def _is_message_id(value: object) -> bool:
    return value is None or (isinstance(value, str) and bool(value))


def _unbound(kind: str, space_id: str) -> SpaceHandle[Any]:
    """Make a handle that no runtime has bound yet."""
    return SpaceHandle(None, None, kind, space_id)
