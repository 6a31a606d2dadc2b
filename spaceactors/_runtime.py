"""The runtime as its users hold it, and how it is opened."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, overload

import trio
from typing_extensions import TypeVar

from spaceactors import _listing as listing
from spaceactors._actor import Actor, kind_of
from spaceactors._clock import TickClock
from spaceactors._closing import Closing
from spaceactors._config import RuntimeConfig
from spaceactors._errors import AskCycle, BadCall
from spaceactors._hub import Hub
from spaceactors._memory import MemoryStore
from spaceactors._open_hubs import open_hubs
from spaceactors._own_limits import refuse_own_names
from spaceactors._turn import here
from supervisors import Limits

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping

    from spaceactors._dead_letters import DeadLetters
    from spaceactors._events import RuntimeEvent
    from spaceactors._handle import SpaceHandle
    from spaceactors._kind import Kind
    from spaceactors._options import SpaceStatus
    from spaceactors._port import Store
    from spaceactors._shedding import LoadManager
    from spaceactors._snapshot import Snapshot
    from spaceactors._suspensions import Suspensions
    from spaceactors._waiting import Waits
    from supervisors import DrainReport, Limit, RateLimit, Tree
    from supervisors._events import EventsMissed

D = TypeVar("D")
A = TypeVar("A", bound=Actor[Any])
B = TypeVar("B", bound=Actor[Any])
A_co = TypeVar("A_co", bound=Actor[Any], covariant=True)

# Dependencies: a value, or a function that opens them with the runtime.
Dep: TypeAlias = "D | Callable[[], AbstractAsyncContextManager[D]]"


class Runtime(Generic[A_co]):
    """A running set of spaces: what `open_runtime` yields."""

    def __init__(self, hub: Hub, closing: Closing) -> None:
        self._hub = hub
        self._closing = closing

    @overload
    def space(self, space_id: str, /, *, group: str | None = None) -> SpaceHandle[A_co]: ...
    @overload
    def space(self, space_id: str, actor: type[B], /, *, group: str | None = None) -> SpaceHandle[B]: ...
    def space(self, space_id: str, actor: type[Any] | None = None, /, *, group: str | None = None) -> SpaceHandle[Any]:
        """Return the handle of a space; naming one starts nothing.

        Args:
            space_id: which conversation.
            actor: which kind of actor, where the runtime has several.
            group: the concurrency group: its spaces take turns one at a time. The first message fixes it.

        """
        if actor is None and len(self._hub.kinds) > 1:
            msg = f"this runtime has several kinds of actors: write runtime.space({space_id!r}, ActorClass)"
            raise BadCall(msg)
        kind = next(iter(self._hub.kinds.values())) if actor is None else self._hub.kind_of(actor)
        return self._hub.handle(kind, space_id, group)

    async def spaces(
        self, *, actor: type[B], status: SpaceStatus | None = None, after: str = "", limit: int = 100
    ) -> list[SpaceHandle[B]]:
        """Return known spaces in the order of their ids, up to `limit` behind the id `after`."""
        await trio.lowlevel.checkpoint()
        kind = self._hub.kind_of(actor)
        found = await listing.known(self._hub, kind, status, after, limit)
        return [self._hub.handle(kind, space_id) for space_id in found]

    @property
    def kinds(self) -> Mapping[str, type[Actor[Any]]]:
        """The actor classes, by kind."""
        return {kind.name: kind.cls for kind in self._hub.kinds.values()}

    async def snapshot(self) -> Snapshot:
        """Return what the runtime is doing, as of one moment."""
        from spaceactors import _snapshot as snapshots  # figures, imported with the first wish for them

        await trio.lowlevel.checkpoint()
        return snapshots.take(self._hub)

    def tree(self) -> Tree:
        """Return the runtime, its live spaces and their background work as data; `str()` of it is a picture.

        A supervisor that holds the runtime as a resource shows it as part of its own tree.
        """
        from spaceactors import _snapshot as snapshots  # as above

        return snapshots.tree_of(self._hub, self._closing.block.stage.value)

    def waits(self) -> Waits:
        """Return who waits for whom: turns for answers, tokens, lanes; spaces and senders for places; as of one moment.

        For when something seems to stand still; `str()` of it has a line for each wait. Not in it are waits that the
        runtime does not see: of code outside for its answers, and of turns for things of the program's own.
        """
        from spaceactors import _waiting as waiting  # as above

        return waiting.take(self._hub)

    def events(self) -> AbstractAsyncContextManager[AsyncIterator[RuntimeEvent | EventsMissed]]:
        """Read what happens from now on: `async with runtime.events() as events: async for event in events`.

        A reader that is more than 1,024 events behind loses the oldest, and is told how many.
        """
        return self._hub.events.subscribe()

    async def drain(self, timeout: float | None = None) -> DrainReport:
        """Take nothing new from outside, finish what was accepted and what that sends, end all spaces, and report.

        The report comes after `timeout` seconds (`RuntimeConfig.drain_timeout`) at the latest; what is not finished
        then is cancelled. A second caller waits for the same report.
        """
        if timeout is None:
            timeout = self._hub.config.drain_timeout
        self._refuse_in_turn(lambda: self._closing.block.begin_closing(cancel_body=False))
        return await self._closing.block.drain(timeout)

    async def wait_closed(self) -> DrainReport:
        """Wait until the runtime was drained, by whomever, and return the report."""
        self._refuse_in_turn(lambda: None)
        return await self._closing.block.wait_closed()

    def _refuse_in_turn(self, first: Callable[[], object]) -> None:
        place = here.get()
        if place is not None and place.in_turn() and place.space.runtime is self._hub:
            first()
            msg = f"the end of the runtime waits for this turn of {place.space.name}: a turn cannot wait for it"
            raise AskCycle(msg, space=place.space.handle)

    @property
    def report(self) -> DrainReport | None:
        """What the drain achieved; None until it has ended."""
        return self._closing.block.report

    async def revive(self, *, actor: type[Actor[Any]] | None = None) -> int:
        """Revive all quarantined spaces, of one class or of all; return how many there were."""
        await trio.lowlevel.checkpoint()
        return await listing.revive_all(self._hub, None if actor is None else self._hub.kind_of(actor))

    @property
    def limits(self) -> Limits:
        """The limits given to `open_runtime`, and the runtime's own: `spaces`, and `turns` if `max_turns` is set."""
        return self._hub.limits

    @property
    def load(self) -> LoadManager:
        """How loaded the runtime is.

        Raises:
            RuntimeError: the load is not watched; `RuntimeConfig(load=LoadOptions())` switches it on.

        """
        if self._hub.load is None:
            msg = "the load is not watched: open_runtime(..., config=RuntimeConfig(load=LoadOptions())) switches it on"
            raise RuntimeError(msg)
        return self._hub.load

    @property
    def suspensions(self) -> Suspensions:
        """The open questions of turns that wait for somebody outside."""
        return self._hub.suspensions

    @property
    def dead_letters(self) -> DeadLetters:
        """The messages that nobody handled."""
        return self._hub.dead_letters


def kinds_of(actors: Iterable[type[Any]], *, deps_given: bool) -> list[Kind]:
    kinds = [kind_of(actor) for actor in actors]
    if not kinds:
        msg = "open_runtime needs an actor class: open_runtime(Barista)"
        raise TypeError(msg)
    names: dict[str, type[Any]] = {}
    for kind in kinds:
        if names.setdefault(kind.name, kind.cls) is not kind.cls:
            msg = (
                f"{kind.cls.__qualname__} and {names[kind.name].__qualname__} are both of the kind {kind.name!r}:"
                " write class Name(Actor, kind=...)"
            )
            raise TypeError(msg)
        if kind.takes_deps and not deps_given:
            msg = f"{kind.cls.__name__} takes its dependencies: open_runtime({kind.cls.__name__}, deps=...)"
            raise TypeError(msg)
    return kinds


class _Nothing:
    """The mark for dependencies that were not given."""


NOTHING = _Nothing()


@overload
def open_runtime(
    actor: Callable[[], A],
    /,
    *,
    store: Store | None = None,
    limits: Limits | Iterable[Limit | RateLimit] = (),
    config: RuntimeConfig | None = None,
    one_lane: bool = False,
    handle_signals: bool = False,
) -> AbstractAsyncContextManager[Runtime[A]]: ...
@overload
def open_runtime(
    actor: Callable[[D], A],
    /,
    *,
    deps: Dep[D],
    store: Store | None = None,
    limits: Limits | Iterable[Limit | RateLimit] = (),
    config: RuntimeConfig | None = None,
    one_lane: bool = False,
    handle_signals: bool = False,
) -> AbstractAsyncContextManager[Runtime[A]]: ...
@overload
def open_runtime(
    actor: Callable[[], Actor[Any]],
    other: Callable[[], Actor[Any]],
    /,
    *more: Callable[[], Actor[Any]],
    store: Store | None = None,
    limits: Limits | Iterable[Limit | RateLimit] = (),
    config: RuntimeConfig | None = None,
    one_lane: bool = False,
    handle_signals: bool = False,
) -> AbstractAsyncContextManager[Runtime[Actor[Any]]]: ...
@overload
def open_runtime(
    actor: Callable[[D], Actor[Any]] | Callable[[], Actor[Any]],
    other: Callable[[D], Actor[Any]] | Callable[[], Actor[Any]],
    /,
    *more: Callable[[D], Actor[Any]] | Callable[[], Actor[Any]],
    deps: Dep[D],
    store: Store | None = None,
    limits: Limits | Iterable[Limit | RateLimit] = (),
    config: RuntimeConfig | None = None,
    one_lane: bool = False,
    handle_signals: bool = False,
) -> AbstractAsyncContextManager[Runtime[Actor[Any]]]: ...
def open_runtime(
    *actors: Any,
    deps: Any = NOTHING,
    store: Store | None = None,
    limits: Limits | Iterable[Limit | RateLimit] = (),
    config: RuntimeConfig | None = None,
    one_lane: bool = False,
    handle_signals: bool = False,
) -> AbstractAsyncContextManager[Runtime[Any]]:
    """Open a runtime for one or more actor classes.

    Write `async with open_runtime(Barista) as runtime: ...`; leaving the block drains it. Inside a supervised child it
    listens for that child's drain.

    Args:
        *actors: the actor classes.
        deps: what their `__init__` gets: a value, or a function without arguments that gives an async context manager,
            opened with the runtime and closed after its drain.
        store: where spaces are kept; a `MemoryStore()` by default.
        limits: named limits and rates, for handlers, steps and `self.limits.hold`; as `Limits`, or in a list.
        config: the bounds of the runtime.
        one_lane: handle everything one after another, as in one conversation.
        handle_signals: the first SIGTERM or SIGINT drains, the second stops, the third kills; main thread only.

    Raises:
        TypeError: at once, for something that is no actor class, two classes of one kind, dependencies that are
            missing, or limits that are none.
        ValueError: two limits have one name, or one is named as the runtime's own (`spaces`, `turns`).
        UnknownLimit: a handler names a limit that is not there.

    """
    kinds = kinds_of(actors, deps_given=deps is not NOTHING)
    named = limits if isinstance(limits, Limits) else Limits(limits)
    refuse_own_names(named)
    for kind in kinds:
        for one in kind.handlers.values():
            for name in one.limit:
                named.waiting(name)  # raises UnknownLimit
    return open_hub(
        Runtime,
        kinds,
        None if deps is NOTHING else deps,
        store=MemoryStore() if store is None else store,
        limits=named,
        config=config or RuntimeConfig(),
        one_lane=one_lane,
        handle_signals=handle_signals,
    )


@asynccontextmanager
async def open_hub(
    face: Callable[[Hub, Closing], Any],
    kinds: list[Kind],
    deps: Any,
    *,
    store: Store,
    limits: Limits,
    config: RuntimeConfig,
    one_lane: bool = False,
    handle_signals: bool = False,
    clock: Callable[[], TickClock] = TickClock,
) -> AsyncGenerator[Any]:
    """Open the inside of a runtime, and yield its public face."""
    async with AsyncExitStack() as stack:
        value = await stack.enter_async_context(deps()) if _opens(deps) else deps
        hub = Hub(
            kinds,
            value,
            store=store,
            limits=limits,
            config=config,
            clock=clock(),
            one_lane=one_lane,
        )
        if config.blocked_after is not None:
            from spaceactors._blocking import watching  # threads and stacks, for who watches

            await stack.enter_async_context(watching(hub, config.blocked_after))
        closing = Closing(hub, handle_signals=handle_signals)
        earlier = open_hubs.get()
        open_hubs.set((*earlier, hub))
        try:
            async with closing.block.hold(face(hub, closing), closing.start) as runtime:
                try:
                    yield runtime
                except Exception:
                    closing.stop()
                    raise
        finally:
            await closing.close_store()
            open_hubs.set(tuple(one for one in open_hubs.get() if one is not hub))


def _opens(deps: Any) -> bool:
    """Tell whether dependencies are a function that opens them, and no value that can be called."""
    import inspect

    if not callable(deps) or isinstance(deps, type):
        return False
    try:
        signature = inspect.signature(deps)
    except (TypeError, ValueError):
        return False
    if any(
        one.default is one.empty and one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)
        for one in signature.parameters.values()
    ):
        return False
    return inspect.isfunction(deps) or inspect.ismethod(deps) or hasattr(deps, "func")
