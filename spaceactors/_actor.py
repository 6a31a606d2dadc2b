"""Actors: what a user writes. One class is one kind of conversation, one instance one incarnation of one space."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, Self, TypeVarTuple, cast, final, overload

import trio
from attrs import frozen
from typing_extensions import TypeVar

from spaceactors import _acting as acting
from spaceactors._errors import OutsideTurn
from spaceactors._kind import HOOKS, Kind, check_class, state_type
from spaceactors._options import Retry, SpaceOptions
from spaceactors._turn import inside

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime

    from spaceactors._handle import SpaceHandle
    from spaceactors._handlers import HandlerInfo
    from spaceactors._history import History
    from spaceactors._message import Message
    from spaceactors._space import Space
    from supervisors import Limits, Priority

S = TypeVar("S", default=None)
B = TypeVar("B", bound="Actor[Any]")
R = TypeVar("R")
T = TypeVar("T")
I = TypeVar("I")  # noqa: E741  (what a pipeline is given)
I_contra = TypeVar("I_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)
Ts = TypeVarTuple("Ts")


class Runnable(Protocol[I_contra, R_co]):
    """What `run_pipeline` runs: a `Pipeline`, or a `Router`."""

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    async def run_in_turn(
        self,
        value: I_contra,
        step: Callable[[str, Callable[[], Awaitable[Any]]], Awaitable[Any]],
        name: str,
        /,
        *,
        limits: Limits | None,
        contexts: Any,
    ) -> R_co:
        """Run it, each stage as a step whose name begins with `name`."""
        ...


@final
@frozen
class Failure:
    """Why an incarnation is a new one: the error, the message at which it came (None: a hook or background work)."""

    error: BaseException
    message: Message | None
    restarts: int


@final
class TurnLimits:
    """The runtime's limits, as a turn uses them: `async with self.limits.hold("llm"): ...`."""

    __slots__ = ("_space",)

    def __init__(self, space: Space) -> None:
        self._space = space

    def hold(self, *names: str, priority: Priority | None = None) -> AbstractAsyncContextManager[None]:
        """Hold one token of each limit while the block runs, and spend one permit of each rate; waits its turn.

        The spaces of one priority take turns. While it waits, the turn lends its token of the limit `turns`.

        Args:
            names: limits and rates of the runtime, in any order.
            priority: how urgent it is; None: as the message is.

        Raises:
            CapacityRefused, CapacityQueueFull, CapacityTimeout: by the limits' rules; nothing is held then. The limit
                `turns` of the runtime is always refused to a turn, and `spaces` to all.
            Preempted: somebody urgent took the token of a `preemptible` limit. A turn that lets this out is rolled
                back and runs again later.
            UnknownLimit: no limit has that name.

        """
        return acting.TurnHold(acting.hold(self._space, names, priority))


class Actor(Generic[S]):
    """Base class of all actors: subclass it, give it a state type, mark methods with `@handler`.

    ```python
    class Barista(Actor[Order]):
        @handler
        async def say(self, text: str) -> str: ...
    ```

    The state is any immutable value; a turn assigns `self.state`, and what it assigned becomes visible when the handler
    returns, or not at all. `Actor` without a type argument has no state. Other attributes are scratch of the
    incarnation: a restart loses them, and nothing rolls them back. `__init__` takes nothing, or the runtime's
    dependencies.

    Class keywords: `kind`, the name in stores and listings (the class name), and `state_version` (see `upgrade_state`,
    `upgrade_call`).
    """

    __slots__ = ("_space",)

    options: ClassVar[SpaceOptions] = SpaceOptions()
    _space: Space

    def __init_subclass__(cls, *, kind: str | None = None, state_version: int = 1) -> None:
        """Check the class where it is written."""
        super().__init_subclass__()
        # A class decorator such as attrs' `define` makes the class anew, without its keywords: they stay in its dict.
        if kind is not None:
            cls.__spaceactors_kind__ = kind
        if "__spaceactors_version__" not in vars(cls) or state_version != 1:
            cls.__spaceactors_version__ = state_version
        check_class(cls, Actor, _RESERVED)

    __spaceactors_kind__: ClassVar[str]
    __spaceactors_version__: ClassVar[int] = 1

    if TYPE_CHECKING:
        initial_state: Callable[[], S]
    else:

        def initial_state(self) -> S:
            """Return a space's first state: the type argument, called without arguments."""
            kind = state_type(type(self), Actor)
            if kind is None:
                return None
            try:
                return kind()
            except TypeError as error:
                msg = f"{type(self).__name__} needs an `initial_state`: {kind!r} cannot be called without arguments"
                raise TypeError(msg) from error

    @classmethod
    def group_of(cls, space_id: str, /) -> str | None:  # noqa: ARG003
        """Return the concurrency group of a space, None for a lane of its own. Override it to share lanes."""
        return None

    @classmethod
    def upgrade_state(cls, old: dict[str, Any], version: int, /) -> dict[str, Any]:  # noqa: ARG003
        """Return the fields of a state that was stored by an older `state_version`, brought up to date."""
        return old

    @classmethod
    def upgrade_call(
        cls,
        call: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        version: int,  # noqa: ARG003
        /,
    ) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
        """Return a message that was stored by an older `state_version` as a call of today: name, arguments, keywords.

        Objects of classes that are gone or have changed come as dicts of their fields; leave them dicts where the
        handler's annotation names today's class.
        """
        return call, args, kwargs

    # ---- who and what

    @property
    def id(self) -> str:
        """The space's id."""
        return self._space.id

    @property
    def handle(self) -> SpaceHandle[Self]:
        """The handle of this space, to pass on."""
        return self._space.handle

    @property
    def state(self) -> S:
        """The state: in a turn what it has assigned so far, elsewhere what was last committed."""
        space = self._space
        value: S = space.working if inside(space) else space.row.state
        return value

    @state.setter
    def state(self, value: S) -> None:
        acting.assign(self._space, value)

    @property
    def history(self) -> History:
        """The append-only log of the space."""
        return acting.history(self._space)

    @property
    def message(self) -> Message:
        """The message of this turn. Raises `OutsideTurn` in hooks and outside."""
        return acting.message(self._space)

    @property
    def limits(self) -> TurnLimits:
        """The runtime's limits."""
        return TurnLimits(self._space)

    # ---- what a turn may do

    @overload
    def space(self, space_id: str, /) -> SpaceHandle[Self]: ...
    @overload
    def space(self, space_id: str, actor: type[B], /) -> SpaceHandle[B]: ...
    def space(self, space_id: str, actor: type[Any] | None = None, /) -> SpaceHandle[Any]:
        """Return the handle of another space, of this kind or of the class given."""
        runtime = self._space.runtime
        return runtime.handle(self._space.kind if actor is None else runtime.kind_of(actor), space_id)

    def emit(self, event: object, /, *, now: bool = False) -> None:
        """Give an event to the subscribers: with the turn's commit, or (`now`) at once and never replayed."""
        acting.emit(self._space, event, now=now)

    def count(self, name: str, amount: float = 1, /) -> None:
        """Add to a counter of the space; counted with the turn's commit."""
        acting.count(self._space, name, amount)

    def start_soon(self, fn: Callable[[*Ts], Awaitable[object]], /, *args: *Ts, name: str | None = None) -> None:
        """Start background work of this incarnation: it ends with it, and a drain waits for it within `shutdown`.

        It sees the last committed state and may send and ask, but not assign, append, schedule, step or suspend.
        """
        acting.start_soon(self._space, fn, args, name)

    @overload
    def schedule(
        self, key: str, method: Callable[[Self, *Ts], Awaitable[object]], /, *args: *Ts, after: float
    ) -> None: ...
    @overload
    def schedule(
        self, key: str, method: Callable[[Self, *Ts], Awaitable[object]], /, *args: *Ts, at: datetime
    ) -> None: ...
    @overload
    def schedule(
        self, key: str, method: Callable[[Self, *Ts], Awaitable[object]], /, *args: *Ts, every: float
    ) -> None: ...
    def schedule(  # type: ignore[misc]
        self,
        key: str,
        method: Callable[..., Any],
        /,
        *args: Any,
        after: float | None = None,
        at: datetime | None = None,
        every: float | None = None,
    ) -> None:
        """Have this space sent a message: once `after` seconds, once `at` a date, or `every` so many seconds.

        The timer belongs to the space and survives restarts and passivation. The same `key` replaces, and a tick of the
        old one that is still on its way is dropped. It starts with the turn's commit.
        """
        acting.schedule(self._space, key, method, args, after=after, at=at, every=every)

    def cancel_schedule(self, key: str, /) -> bool:
        """Cancel a timer with the turn's commit; tell whether there is one."""
        return acting.cancel_schedule(self._space, key)

    async def step(
        self,
        name: str,
        fn: Callable[[*Ts], Awaitable[R]],
        /,
        *args: *Ts,
        retry: Retry | None = None,
        limit: str | Sequence[str] = (),
        timeout: float | None = None,
    ) -> R:
        """Run a piece of work that a second try of this message must not run again; its result is recorded at once.

        Args:
            name: what it is called in the journal; the same name again in one turn is another step, told apart by the
                order in which they begin. Steps in several tasks of a turn need names of their own.
            fn: the async function.
            *args: its arguments.
            retry: how often to try it (once).
            limit: limits of the runtime held while it runs.
            timeout: seconds for one try; over it `trio.TooSlowError` is raised in it.

        """
        result: R = await acting.step(self._space, name, fn, args, retry=retry, limit=limit, timeout=timeout)
        return result

    async def run_pipeline(
        self,
        pipeline: Runnable[I, R],
        value: I,
        /,
        *,
        name: str | None = None,
        limits: Limits | None = None,
        contexts: Any = None,
    ) -> R:
        """Run a pipeline, or what a router chooses, for one request; each stage is a step of this turn.

        So a second try of this message, also in another process, runs no stage again that had a result; what stages
        give is recorded, and must be what the store can keep. What is recorded is the value alone: there the stage is
        DONE, also where its fallback had answered. A stage that was skipped had none, and runs again. A pipeline inside
        records its own stages, unless it has a `retry`, `fallback` or `cache`: then it is one step.

        Args:
            pipeline: a `Pipeline` or a `Router` of `spaceactors.pipelines`.
            value: what it is run for.
            name: what this run is called in the journal; None: as the pipeline is, and by which run of it this is. Two
                tasks of a turn that run the same one need names, for which of them is the first is chance.
            limits: those that stages may name; None: the runtime's.
            contexts: an open `ContextPool`, where stages run in contexts.

        Raises:
            OutsideTurn: this is no turn, or one of a hook, which has no message.
            ValueError: another task of this turn has run it under the same name.
            Exception: what a stage raised that is not to be skipped; see `Pipeline.run`.

        """

        async def step(name: str, work: Callable[[], Awaitable[Any]]) -> Any:
            return await acting.step(self._space, name, work, (), retry=None, limit=(), timeout=None)

        if not hasattr(pipeline, "run_in_turn"):
            msg = f"run_pipeline(...) runs a Pipeline or a Router of spaceactors.pipelines, not {pipeline!r}"
            raise TypeError(msg)
        turn = acting.worker(self._space, "run_pipeline")
        if turn.message is None:
            msg = f"a hook of {self._space.name} is a turn without a message, nothing is tried again: call run(...)"
            raise OutsideTurn(msg, space=self.handle)
        # Counted by runs: what one of them skips, another one of the same pipeline may come to.
        run = acting.run_name(turn, pipeline.name if name is None else name)
        return await pipeline.run_in_turn(value, step, run, limits=limits, contexts=contexts)

    @overload
    async def suspend(self, name: str, question: object, /, *, answer: type[T], timeout: float | None = None) -> T: ...
    @overload
    async def suspend(self, name: str, question: object, /, *, answer: type[T], timeout: float, default: T) -> T: ...
    async def suspend(
        self,
        name: str,
        question: object,
        /,
        *,
        answer: type[T],
        timeout: float | None = None,
        default: Any = acting.MISSING,
    ) -> T:
        """Ask somebody outside, and go on with the answer whenever it comes; the space waits and holds nothing."""
        value: T = await acting.suspend(self._space, name, question, answer=answer, timeout=timeout, default=default)
        return value

    @contextmanager
    def until_interrupted(self) -> Generator[trio.CancelScope]:
        """Run the block until the turn is interrupted: what was done so far can then be committed.

        For handlers with `when_interrupted=WhenInterrupted.COMMIT`: a long answer that keeps its first half.
        """
        record = acting.record(self._space, "until_interrupted()")
        with trio.CancelScope() as scope:
            record.scopes = (*record.scopes, scope)
            if record.interrupted:
                scope.cancel()
            try:
                yield scope
            finally:
                record.scopes = tuple(one for one in record.scopes if one is not scope)

    # ---- hooks: each is a turn without a message

    async def on_start(self) -> None:
        """Begin an incarnation's life; runs before its first message."""

    async def on_restart(self, failure: Failure, /) -> None:
        """Begin after a crash; runs after `on_start` of the new incarnation."""

    async def on_idle(self) -> None:
        """Act on `idle_timeout`, before the space leaves memory."""

    async def on_stop(self) -> None:
        """Clean up at an orderly end: passivation, drain, stop; never after a crash or a kill."""


_FREE = frozenset({"options", "initial_state", "group_of", "upgrade_state", "upgrade_call", *HOOKS})
_RESERVED = frozenset(name for name in vars(Actor) if not name.startswith("__")) - _FREE


def kind_of(cls: Any) -> Kind:
    """Return what is known of an actor class. Raises `TypeError` for anything else."""
    if not _is_actor(cls):
        msg = f"an actor class is wanted (class Name(Actor): ...), not {cls!r}"
        raise TypeError(msg)
    kind: Kind | None = vars(cast("type", cls)).get("__spaceactors_info__")
    if kind is None:
        kind = cls.__spaceactors_info__ = Kind(cls, Actor)
    return kind


def _is_actor(cls: object) -> bool:
    return isinstance(cls, type) and issubclass(cls, Actor) and cls is not Actor


def handlers_of(actor: type[Actor[Any]], /) -> Mapping[str, HandlerInfo]:
    """Return the handlers of an actor class by name: for tools that list or check calls."""
    return kind_of(actor).infos()
