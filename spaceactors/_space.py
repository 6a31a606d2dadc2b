"""A live space: its mailbox, its ledger, and everything that is known of its actor, in one state record.

All of it is sync: whoever calls reads and writes without an await in between. The worker (`_worker.py`) does the
waiting; what happens to the life of a space is in `_life.py`.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast, final

from attrs import frozen
from trio.lowlevel import reschedule

from spaceactors._decide import Ending
from spaceactors._errors import (
    RuntimeClosed,
    SpaceDraining,
    SpaceQuarantined,
    SpaceStopped,
)
from spaceactors._message import new_id
from spaceactors._options import Outcome
from spaceactors._weighed import Weighed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import trio
    from trio.lowlevel import Task

    from spaceactors._actor import Actor, Failure
    from spaceactors._errors import StoreError
    from spaceactors._handle import SpaceHandle
    from spaceactors._hub import Hub
    from spaceactors._keeper import Alarm
    from spaceactors._kind import Kind
    from spaceactors._lane import Lane
    from spaceactors._message import Message
    from spaceactors._receipt import Receipt
    from spaceactors._store import Row
    from spaceactors._turn import Place
    from spaceactors._worker import Worker
    from supervisors._budget import Budget
    from supervisors._running import Running

_NO_MESSAGES: Mapping[str, Message] = MappingProxyType({})
_NO_WORK: Mapping[Running, None] = MappingProxyType({})
OUTCOMES = tuple(Outcome)
HANDLED, REJECTED, FAILED, EXPIRED, DISCARDED, RETURNED = range(len(OUTCOMES))


@final
class Gate(Enum):
    """Why a space takes nothing new from outside; the value is the error its senders get."""

    DRAINING = SpaceDraining
    STOPPING = SpaceStopped
    QUARANTINED = SpaceQuarantined
    CLOSING = RuntimeClosed


@final
class Source(Enum):
    """Where a message comes from, which decides whether gates and busy rules concern it."""

    OUTSIDE = "outside"
    # An ask of a turn; during a runtime's drain part of what was accepted.
    INSIDE = "inside"
    # A call of background work: no turn, but accepted work too.
    BACKGROUND = "background"
    # A send that leaves with its turn's commit.
    TURN = "turn"
    TIMER = "timer"


@final
@frozen
class Waiter:
    """Who stands in the line for a place."""

    message: Message
    # The task to wake when the message gets its place; None: a task waits for its answer, or nobody does.
    task: Task | None
    # Where it comes from: a gate that is closed meanwhile may let it pass.
    source: Source


def _weighed(runtime: Hub, kind: Kind) -> Weighed | None:
    """Return a mailbox that is bounded in bytes, if that is asked for."""
    most = kind.options.max_mailbox_bytes
    return None if most is None else Weighed(most, lambda message: runtime.sizes.call(kind, message))


# The gates of spaces that still work: a runtime that closes lets accepted work go on.
_OPEN = (None, Gate.CLOSING)


@final
class Space:
    """One activation of a space."""

    __slots__ = (
        "__weakref__",
        "_gate",
        "_handle",
        "accepted",
        "actor",
        "alarm",
        "answering",
        "asked",
        "asleep",
        "attention",
        "background",
        "backing_off",
        "budget",
        "calls",
        "capacity",
        "clock",
        "crowded",
        "ending",
        "failure",
        "fenced",
        "finished",
        "gone",
        "has_place",
        "held_by",
        "holds",
        "id",
        "idle_alarm",
        "idle_at",
        "in_line",
        "incarnation",
        "keeps",
        "kind",
        "lane",
        "last_error",
        "last_failure",
        "left",
        "line",
        "looks_up",
        "mailbox",
        "on_landed",
        "options",
        "outcomes",
        "over",
        "parked",
        "passivating",
        "paused",
        "progress_at",
        "quarantined",
        "quick",
        "removing",
        "restarts",
        "returned",
        "row",
        "runtime",
        "stuck",
        "tag",
        "undeleted",
        "version",
        "waits_for_store",
        "weighed",
        "workers",
        "working",
    )

    def __init__(  # noqa: PLR0915 (one record, each field explained where it is declared)
        self, runtime: Hub, kind: Kind, space_id: str, row: Row
    ) -> None:
        self.runtime = runtime
        self.kind = kind
        self.id = space_id
        self.row = row
        self.options = kind.options
        self.clock = runtime.clock
        self._handle: SpaceHandle[Any] | None = None

        # ---- the mailbox: waiting messages in acceptance order, and senders that wait for a place
        # The mailbox again, if it is bounded in bytes too.
        self.weighed: Weighed | None = _weighed(runtime, kind)
        self.mailbox: deque[Message] = deque() if self.weighed is None else self.weighed
        self.capacity = kind.options.mailbox_capacity
        self.line: deque[Waiter] | None = None
        # Pending messages whose ids their senders gave.
        self.asked: Mapping[str, Message] = _NO_MESSAGES
        # Why nothing is taken from outside; None: everything is.
        self._gate: Gate | None = None
        # Whether an ordinary message needs nothing but a place: no gate, no lane, nothing durable, no bytes, not gone.
        self.quick = runtime.plain and self.weighed is None
        # Whether anybody waits for a place here: senders from outside, or spaces whose turns have sent too much.
        self.crowded = False
        # What the ids of its ordinary messages begin with; the count of accepted messages ends them.
        self.tag = f"{new_id()}-"
        # The way from a method to its handler; the kind's own.
        self.calls = kind.calls

        # ---- the ledger: what was accepted, and what it ended in, in the order of `Outcome`
        self.accepted = 0
        self.outcomes = [0, 0, 0, 0, 0, 0]

        # ---- the workers: one task, or `concurrency` of them; those that are parked
        self.workers: list[Worker] = []
        self.parked: list[Task] = []
        # Whether a worker must look around before it takes the next message.
        self.attention = True

        # ---- the actor and its life
        self.actor: Actor[Any] | None = None
        # Counted from 1 in this activation.
        self.incarnation = 0
        self.restarts = 0
        self.last_error: BaseException | None = None
        # The crash that nobody has decided about yet, with the message it happened at.
        self.failure: tuple[BaseException, Message | None] | None = None
        # What the next incarnation is told of the crash before it.
        self.last_failure: Failure | None = None
        # Made with the first crash.
        self.budget: Budget | None = None
        self.backing_off = False
        self.quarantined = False
        # The message whose turn waits for an answer from outside.
        self.asleep: Message | None = None
        # What is called when a message has landed; made with the first that does.
        self.on_landed: Callable[[Receipt[None]], None] | None = None
        # How many answers to it are on their way to the store.
        self.answering = 0
        self.paused = False
        # Whether a turn could not be kept: nothing runs until the store can write again.
        self.waits_for_store = False
        # Ends the backoff or the quarantine.
        self.alarm: Alarm | None = None
        # What `start_soon` started and still runs, in that order.
        self.background: Mapping[Running, None] = _NO_WORK

        # ---- the turn's state: what the running turn sees, and the version on which it builds
        self.working = row.state
        self.version = row.version

        # ---- capacity: targets of the last turn that are over capacity, and spaces that wait for this one
        self.held_by: tuple[Space, ...] = ()
        self.holds: tuple[Space, ...] = ()

        # ---- the lane of its group, and the number under which it is in the lane's line
        self.lane: Lane | None = None
        self.in_line: int | None = None

        # ---- idleness and the end
        self.has_place = False
        self.idle_at = 0.0
        self.idle_alarm: Alarm | None = None
        # Whether its worker must look around before it parks: for an idle time, or an end that waits.
        self.looks_up = kind.options.idle_timeout is not None
        self.passivating = False
        self.ending: Ending | None = None
        # Whether its messages stay pending in the store when it ends: the runtime ends, not the space.
        self.keeps = False
        # Whether a later opening of the store owns the space now.
        self.fenced = False
        # Whether the end is to remove what the store keeps, whatever else overrules the deletion.
        self.removing = False
        # Why the store could not remove it, if it could not.
        self.undeleted: StoreError | None = None
        # Whether the last turn ended, or was cut off, at the end.
        self.finished = True
        # Whether a cancelled turn would not end.
        self.stuck = False
        # How many messages the end gave back.
        self.returned = 0
        # How many it left pending in the store that could have been handled with more time.
        self.left = 0
        # Set when the activation is over; made by who waits.
        self.over: trio.Event | None = None
        # Out of the runtime: handles must look the space up anew.
        self.gone = False
        # When a turn last ended.
        self.progress_at = self.clock.now

    # ---- who it is

    @property
    def handle(self) -> SpaceHandle[Any]:
        """The handle under which everybody knows the space."""
        if self._handle is None:
            self._handle = self.runtime.handle(self.kind, self.id)
        return self._handle

    @property
    def name(self) -> str:
        """How errors and reports name the space."""
        return self.runtime.name_of(self.kind, self.id)

    # ---- what it is doing

    @property
    def open_turns(self) -> int:
        """How many turns are running, hooks included."""
        return sum(worker.open for worker in self.workers)

    @property
    def busy(self) -> bool:
        """Whether anything is accepted and not settled."""
        return (
            bool(self.mailbox) or self.asleep is not None or any(worker.message is not None for worker in self.workers)
        )

    @property
    def pending(self) -> int:
        """How many messages are accepted and not settled, counted where they are."""
        return (
            len(self.mailbox) + (self.asleep is not None) + sum(worker.message is not None for worker in self.workers)
        )

    @property
    def idle(self) -> bool:
        """Whether the space may leave memory: nothing to do, nothing to wait for, nothing uncommitted."""
        return not (
            self.mailbox
            or self.line
            or self.gate not in _OPEN
            or self.paused
            or self.held_by
            or self.failure
            or self.backing_off
            or self.waits_for_store
            or (self.asleep is not None and self.runtime.durable is None)
            or self.answering
            # One that came back only for its question need not begin its life to leave again.
            or (self.actor is None and self.asleep is None)
            or self.open_turns
        )

    def idle_due(self) -> bool:
        """Tell whether the space has been idle as long as its options allow."""
        after = self.options.idle_timeout
        return after is not None and self.clock.now - self.idle_at >= after

    def worker_of(self, place: Place) -> Worker:
        """Return the worker that a place of this space is, if it is no background work."""
        return cast("Worker", place)

    def can_run(self) -> bool:
        """Tell whether a turn could begin now, its lane apart."""
        halted = bool(self.paused or self.held_by or self.backing_off) and not self.hurried
        stuck = self.gone or self.quarantined or self.asleep is not None or self.failure is not None
        stuck = stuck or self.waits_for_store
        return bool(self.workers) and not (halted or stuck or self.open_turns)

    @property
    def hurried(self) -> bool:
        """Whether a drain is on: backoffs are skipped, a pause is over."""
        return self.ending is Ending.DRAIN or self.runtime.draining

    def next_number(self) -> int:
        """Return the place of the next message among those of its lane."""
        return self.mailbox[0].rare().number if self.mailbox else 0

    # ---- its place among others

    @property
    def gate(self) -> Gate | None:
        """Why nothing is taken from outside; None: everything is."""
        return self._gate

    @gate.setter
    def gate(self, gate: Gate | None) -> None:
        self._gate = gate
        self._look_whether_quick()

    def join(self, lane: Lane) -> None:
        """Take turns in a lane that other spaces share."""
        self.lane = lane
        self._look_whether_quick()

    def leave(self) -> None:
        """Be out of the runtime for good."""
        self.gone = True
        self._look_whether_quick()

    def _look_whether_quick(self) -> None:
        self.quick = not (self._gate or self.lane or self.gone) and self.runtime.plain and self.weighed is None

    # ---- background work

    def began(self, running: Running) -> None:
        """Note background work that was started."""
        if not isinstance(self.background, dict):
            self.background = {}
        self.background[running] = None

    def ended(self, running: Running) -> None:
        """Forget background work that has ended."""
        if isinstance(self.background, dict):
            del self.background[running]
            self.background = self.background or _NO_WORK

    # ---- waking

    def wake(self) -> None:
        """Have the workers look around."""
        self.attention = True
        for task in self.parked:
            reschedule(task)
        self.parked.clear()
        if self.runtime.turns is not None:
            for worker in self.workers:
                if worker.pace is not None:
                    worker.pace.look()

    # ---- the door

    def take_quickly(self, message: Message) -> None:
        """Accept an ordinary message of a quick space that has a place."""
        self.mailbox.append(message)
        self.accepted += 1
        if self.parked:
            reschedule(self.parked.pop())

    # ---- the running of messages

    def put_back(self, message: Message) -> None:
        """Give a message its old place back, before all others."""
        self.mailbox.appendleft(message)

    # ---- ids

    def own_asked(self) -> dict[str, Message]:
        if not isinstance(self.asked, dict):
            self.asked = {}
        return self.asked

    # ---- the clock

    def took(self, began: float) -> None:
        """Note how long a turn took that ended in another scheduler tick than it began."""
        now = self.clock.now
        self.progress_at = now
        if now is not began:
            self.runtime.handling_times.note(now - began)
