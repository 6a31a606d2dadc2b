"""Where the spaces of a runtime meet: who is live, who becomes it, and what passes between them.

All of it is sync; the runtime's public face is in `_runtime.py`, its end in `_closing.py`.
"""

from __future__ import annotations

from contextvars import copy_context
from functools import cached_property
from itertools import count
from typing import TYPE_CHECKING, Any, cast, final
from weakref import WeakValueDictionary

from spaceactors import _door as door
from spaceactors import _outcomes as outcomes
from spaceactors import _recovery as recovery
from spaceactors._actor import kind_of
from spaceactors._background import Background
from spaceactors._dead_letters import DeadLetter, DeadLetters
from spaceactors._decide import Overload
from spaceactors._errors import BadCall, MailboxFull, RuntimeClosed, UnknownSpaceKind
from spaceactors._events import (
    DeadLettersDropped,
    RuntimeEvent,
    SpaceEvent,
    SpacePassivated,
)
from spaceactors._feeds import Feeds
from spaceactors._handle import SpaceHandle
from spaceactors._keeper import Keeper
from spaceactors._lane import Lane
from spaceactors._loading import Loading
from spaceactors._log import Log
from spaceactors._message import MessageOptions
from spaceactors._own_limits import turns_line, with_own
from spaceactors._places import Places
from spaceactors._space import Gate, Source, Space
from spaceactors._stalls import Stalls
from spaceactors._stopwatch import Stopwatch
from spaceactors._suspensions import Suspensions
from spaceactors._ticking import Ticking
from spaceactors._turn import here, works_in
from spaceactors._values import is_storable
from spaceactors._worker import Worker
from supervisors._drain import set_current_signal
from supervisors._events import Broadcast

if TYPE_CHECKING:
    from collections.abc import Iterable

    import trio
    from trio.lowlevel import Task

    from spaceactors._actor import Actor
    from spaceactors._clock import TickClock
    from spaceactors._config import RuntimeConfig
    from spaceactors._kind import Kind
    from spaceactors._message import Message
    from spaceactors._port import DurablePort, Store
    from spaceactors._shedding import LoadManager
    from spaceactors._sizes import Sizes
    from spaceactors._store import Row
    from supervisors import Limits
    from supervisors._block import Block

_CLOSED = "the runtime is closing: it takes nothing new"


@final
class Hub:
    """The inside of one runtime."""

    def __init__(
        self,
        kinds: Iterable[Kind],
        deps: object,
        *,
        store: Store,
        limits: Limits,
        config: RuntimeConfig,
        clock: TickClock,
        one_lane: bool,
    ) -> None:
        self.kinds: dict[type[Any], Kind] = {kind.cls: kind for kind in kinds}
        self.by_name: dict[str, Kind] = {kind.name: kind for kind in self.kinds.values()}
        self._deps = deps
        self.store = store
        # The same store, if it outlives the process; None: everything is in memory.
        self.durable: DurablePort | None = cast("DurablePort", store) if store.durable else None
        self._named_limits = limits
        self.config = config
        self.clock = clock
        self._one_lane = one_lane
        # Set by `_closing.py`, which makes it.
        self.block: Block
        self.nursery: trio.Nursery | None = None
        # Actors run in the context in which the runtime was opened, whoever sends the first message.
        self._context = copy_context()
        # A turn finishes what was accepted: a drain of what surrounds the runtime must not cut its inner blocks.
        self._context.run(set_current_signal, None)
        # What messages are sent with, unless a handle says more.
        self.options = MessageOptions(clock=clock)
        # Who listens stays, whatever becomes of the spaces.
        self.events: Broadcast[RuntimeEvent] = Broadcast()
        self.begin()

    def begin(self) -> None:
        """Begin with nothing in memory: at the opening, and in tests after everything was lost."""
        # Whether an ordinary call needs no look at the store, neither before it is accepted nor when it ends.
        self.plain = not self.store.durable and self.store.check is None

        # ---- the spaces that are in memory, the oldest activation first
        self.live: dict[tuple[str, str], Space] = {}
        self._lanes: WeakValueDictionary[str, Lane] = WeakValueDictionary()
        # Numbers accepted messages where spaces share lanes.
        self._numbers = count(1)
        # How many calls were made, to let others run now and then.
        self.calls = 0

        # ---- the ledger of spaces that have left memory
        self.folded_accepted = 0
        self.folded_outcomes = [0, 0, 0, 0, 0, 0]
        # Messages that are pending in the store, and in no live space: their turns sleep, or come in a later process.
        self.stored_pending = 0
        # Of these, by space, what waited in activations that were drained: their next ones take it up.
        self.left_waiting: dict[tuple[str, str], int] = {}
        # Restarts of actors after crashes.
        self.restarts = 0
        # Messages whose waiting or handling took longer than a scheduler tick.
        self.waiting_times = Stopwatch()
        self.handling_times = Stopwatch()

        # ---- the end
        self.draining = False
        self.closed = False
        # While a drain is on: spaces that still have something to do; set when there are none.
        self.restless: set[Space] = set()
        self.quiet: trio.Event | None = None
        # Names of spaces that ended well, were cut off, or gave messages back, in the order of their ends.
        self.ended: dict[str, bool] = {}
        self.left: dict[str, int] = {}

        # ---- its parts
        self.keeper = Keeper(self.clock)
        self.stalls = Stalls(self)
        self.places = Places(self, self.config.max_live_spaces)
        # The bound on turns; None: there is none.
        self.turns = turns_line(self.config.max_turns)
        self.limits = with_own(self._named_limits, self.places, self.turns)
        self.timers = Ticking(self)
        self.feeds = Feeds(self)
        self.loading = Loading(self)
        self.suspensions = Suspensions(self)
        self.background = Background(self)
        self.dead_letters = DeadLetters(self)
        self.log = Log(self.keeper, self.clock)
        # What keeps new conversations out when there is too much to do; None: nothing does.
        self.load: LoadManager | None = self._load_manager()

    def _load_manager(self) -> LoadManager | None:
        if self.config.load is None:
            return None
        from spaceactors._shedding import LoadManager  # only who watches the load needs it

        return LoadManager(self, self.config.load)

    @cached_property
    def sizes(self) -> Sizes:
        """What tells how many bytes states and calls are, where a bound wants to know."""
        from spaceactors._sizes import Sizes  # it loads msgspec

        return Sizes(self)

    # ---- names

    def kind_of(self, actor: type[Actor[Any]]) -> Kind:
        """Return what is known of an actor class that was given to this runtime. Raises `UnknownSpaceKind`."""
        kind = self.kinds.get(actor)
        if kind is None:
            known = ", ".join(one.__name__ for one in self.kinds)
            msg = f"{kind_of(actor).cls.__name__} was not given to open_runtime; there are: {known}"
            raise UnknownSpaceKind(msg)
        return kind

    def named_kind(self, name: str) -> Kind:
        """Return a kind by its name. Raises `UnknownSpaceKind`."""
        kind = self.by_name.get(name)
        if kind is None:
            msg = f"there is no kind {name!r} in this runtime; there are: {', '.join(self.by_name)}"
            raise UnknownSpaceKind(msg)
        return kind

    def name_of(self, kind: Kind, space_id: str) -> str:
        """Return how errors and reports name a space: by its id, and where there are several kinds by both."""
        return space_id if len(self.by_name) == 1 else f"{kind.name}/{space_id}"

    def handle(self, kind: Kind, space_id: Any, group: str | None = None) -> SpaceHandle[Any]:
        """Return a handle. Raises `BadCall` for an id that is none."""
        if not isinstance(space_id, str) or not space_id:
            msg = f"a space id is a text that is not empty, not {space_id!r}"
            raise BadCall(msg)
        if self.durable is not None and not is_storable(space_id):
            msg = f"a space id must be a text that UTF-8 can write, without NUL, not {space_id!r}"
            raise BadCall(msg)
        return SpaceHandle(self, kind, kind.name, space_id, group, self.options)

    # ---- rows

    def row_of(self, handle: SpaceHandle[Any]) -> Row:
        """Return a space's row, begun now if need be. Raises `BadCall` if the class cannot say how it begins."""
        return self.store.find(handle.kind, handle.id) or self.begin_row(handle)

    def begin_row(self, handle: SpaceHandle[Any]) -> Row:
        """Begin a space's row. Raises `BadCall` if the class cannot say how it begins."""
        cls = self.by_name[handle.kind].cls
        try:
            group = handle.group or cls.group_of(handle.id)
            state = self.by_name[handle.kind].first_state(handle.id)
        except Exception as error:
            msg = f"{cls.__name__} cannot begin the space {handle.id!r}: group_of or initial_state raised {error!r}"
            raise BadCall(msg, space=handle) from error
        if group is not None and self.durable is not None and not is_storable(group):
            msg = f"the group {group!r} of the space {handle.id!r} has a character that no database keeps"
            raise BadCall(msg, space=handle)
        return self.store.create(handle.kind, handle.id, state, group)

    def state_replaced(self, handle: SpaceHandle[Any]) -> None:
        """Have a live space go on with a state that was written from outside; a running turn is run again."""
        space = self.live.get(handle.key)
        if space is None:
            return
        if space.open_turns:
            for worker in space.workers:
                worker.touched = True  # so that its commit compares versions
        else:
            space.working, space.version = space.row.state, space.row.version

    # ---- live spaces

    def space_or_none(self, handle: SpaceHandle[Any], message: Message) -> Space | None:
        """Return the live space of a handle, made now if there is a place for it."""
        space = self.live.get(handle.key)
        if space is not None:
            return space
        self.check_open(handle, message)
        if self.load is not None and not works_in(self, here.get()):
            self.load.check(handle, message)
        return self.space_for(handle) if self.loading.ready(handle) and self.places.free() else None

    def space_for(self, handle: SpaceHandle[Any]) -> Space:
        """Return the live space of a handle, made now; without a place its activation is held back."""
        space = self.live.get(handle.key)
        if space is None:
            space = self._make(handle)
            self.places.take(space)
            self.places.arrived(space)
        return space

    def space_waited_for(self, handle: SpaceHandle[Any]) -> Space:
        """Return the live space of a handle for which an open turn waits: the bound does not hold it back."""
        space = self.live.get(handle.key)
        if space is None:
            space = self._make(handle)
            self.places.take_over_bound(space)
            self.places.arrived(space)
        elif not (space.has_place or space.quarantined):
            self.places.take_over_bound(space)
        return space

    def _make(self, handle: SpaceHandle[Any]) -> Space:
        kind = self.by_name[handle.kind]
        row = self.row_of(handle)
        row.stopped = False
        space = self.live[handle.key] = Space(self, kind, handle.id, row)
        group = "" if self._one_lane else row.group
        if group is not None:
            space.join(self._lanes.setdefault(group, Lane()))
        if self.draining:
            space.gate = Gate.CLOSING
        if self.durable is not None:
            recovery.take_up(space)
        return space

    def start_workers(self, space: Space) -> None:
        """Start the tasks of a live space."""
        if self.nursery is None:
            return
        if self.load is not None:
            self.load.space_begins()
        # In a lane there is one turn at a time, so one worker is enough.
        for number in range(1 if space.lane is not None else space.options.concurrency):
            worker = Worker(space, leads=number == 0)
            space.workers.append(worker)
            start: Any = self.nursery.start_soon
            self._context.run(start, worker.run, name=space.id)

    def make_actor(self, space: Space) -> Actor[Any]:
        """Make a new incarnation's actor."""
        cls: Any = space.kind.cls
        actor: Actor[Any] = cls.__new__(cls)
        object.__setattr__(actor, "_space", space)
        if space.kind.takes_deps or (space.kind.takes_deps is None and self._deps is not None):
            cls.__init__(actor, self._deps)
        else:
            cls.__init__(actor)
        return actor

    def passivated(self, space: Space) -> None:
        """Let an idle space go that has nothing to clean up."""
        self.publish(SpacePassivated, space)
        self.forget(space)

    def forget(self, space: Space) -> None:
        """Take a space out of memory: its figures go into the totals."""
        if space.gone:
            return
        space.leave()
        space.actor = None  # a handle may know the space for long
        for worker in space.workers:
            self.stalls.leave(worker)
        self.live.pop((space.kind.name, space.id), None)
        self.folded_accepted += space.accepted
        for number, settled in enumerate(space.outcomes):
            self.folded_outcomes[number] += settled
        if space.idle_alarm is not None:
            space.idle_alarm.cancel()
        if space.alarm is not None:
            space.alarm.cancel()
        if space.lane is not None:
            space.lane.give_back(space)
        self._note_end(space)
        if space.over is not None:
            space.over.set()
        space.wake()
        self.places.leave(space)
        self.timers.left(space.row)
        if self.durable is not None:
            self.stored_pending += space.asleep is not None
            self.suspensions.leave(space)
            self.loading.let_go(space.row)

    def _note_end(self, space: Space) -> None:
        if self.draining:
            self.ended[space.name] = self.ended.get(space.name, True) and space.finished
            if space.returned + space.left:
                self.left[space.name] = self.left.get(space.name, 0) + space.returned + space.left
            self.look_whether_quiet(space)

    async def remove(self, handle: SpaceHandle[Any]) -> None:
        """Remove what the store keeps of a space that is not live."""
        if handle.key in self.live:
            return
        row = self.store.find(handle.kind, handle.id)
        if row is not None:
            self.timers.cancel_all(row)
        if row is not None or self.durable is not None:
            await self.store.delete(handle.kind, handle.id)

    # ---- messages

    @property
    def has_lanes(self) -> bool:
        """Whether any live spaces take turns in a lane."""
        return bool(self._lanes)

    def next_number(self) -> int:
        """Number an accepted message among all that share lanes."""
        return next(self._numbers)

    def check_open(self, handle: SpaceHandle[Any], message: Message | None = None) -> None:
        """Refuse what comes from outside once the runtime drains; what accepted work does goes on."""
        if self.closed or (self.draining and not works_in(self, here.get())):
            raise RuntimeClosed(_CLOSED, space=handle, message=message)

    def line_up(self, handle: SpaceHandle[Any], message: Message, waiting: Task | None, *, may_wait: bool) -> bool:
        """Have a message wait outside until there is a place for its space."""
        if not may_wait and not (self.durable is not None and self.places.holds_back(handle, message)):
            msg = (
                f"there is no place for one more live space ({self.config.max_live_spaces} are busy):"
                " use `await handle.send(...)`"
            )
            raise MailboxFull(msg, space=handle, message=message)
        if self.durable is None:
            self.row_of(handle)  # what the class has to say to it concerns the sender, not who makes a place free
        self.places.line_up(handle, message, waiting)
        return False

    def deliver(self, handle: SpaceHandle[Any], message: Message, sender: Space) -> tuple[Space, Overload]:
        """Bring what a turn sent to its target, in the same moment as the turn's commit."""
        space = self.space_for(handle)
        group_is_wrong = handle.group is not None and handle.group != space.row.group
        own = space is sender and space.gate is Gate.DRAINING
        if group_is_wrong or not (own or door.passes(space, Source.TURN)):
            reason = (
                BadCall(f"{space.name} belongs to another group") if group_is_wrong else door.refusal(space, message)
            )
            outcomes.return_at_once(space, message, reason)
            return space, Overload.RETURN
        verdict = door.accept_from_turn(space, message)
        self.disturb(space)
        return space, verdict

    def bury(self, space: Space, message: Message, error: BaseException) -> None:
        """Keep a message that nobody handled as a dead letter, and log it."""
        dropped = self.store.bury(DeadLetter(space.handle, message, error, message.attempts))
        self.log.dead_letter(space.name, message, error)
        if dropped and self.events.listened:
            self.events.publish(DeadLettersDropped(self.clock.now, dropped))

    # ---- quiet

    def disturb(self, space: Space) -> None:
        """Take note, while a drain is on, that a space has something to do."""
        if self.draining and not space.gone:
            self.restless.add(space)

    def look_whether_quiet(self, space: Space) -> None:
        """Take note, while a drain is on, that a space may have nothing more to do."""
        if self.draining and (space.gone or is_quiet(space)):
            self.restless.discard(space)
            self.look_whether_calm()

    def look_whether_calm(self) -> None:
        """Take note, while a drain is on, that nothing may be left to do."""
        if not self.restless and self.quiet is not None:
            self.quiet.set()

    # ---- what is told

    def publish(self, event: type[SpaceEvent], space: Space, *values: Any) -> None:
        """Tell an event of a space to who listens, and to the log what it wants to know."""
        self.log.tell(event, space, values)
        if self.events.listened:
            self.events.publish(event(self.clock.now, space.kind.name, space.id, space.incarnation, *values))


def is_quiet(space: Space) -> bool:
    """Tell whether a drain need not wait for a space. Pure.

    Messages of quarantined and suspended spaces cannot be finished, so they hold nothing up.
    """
    if space.open_turns or space.background or space.failure is not None or space.passivating:
        return False
    return space.quarantined or space.asleep is not None or not space.mailbox
