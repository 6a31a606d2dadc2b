"""The load of a running runtime: looked at now and then, and at the door for each message that would make a space live.

What load is and whom it keeps out is decided in `_load.py`; here it is measured, counted and told.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, final

import trio
from attrs import evolve
from trio.lowlevel import enable_ki_protection

from spaceactors._errors import Overloaded
from spaceactors._events import MessagesShed, SheddingBegan, SheddingEnded
from spaceactors._load import (
    LEAST_WAIT,
    LoadSample,
    LoadStatistics,
    admits,
    limits_of,
    rate_of,
    recommended,
    retry_after,
    score,
    sheds,
    smoothed,
)
from spaceactors._options import LoadPart
from spaceactors._probe import LoadReading, ProcessProbe
from supervisors import Priority

if TYPE_CHECKING:
    from spaceactors._handle import SpaceHandle
    from spaceactors._hub import Hub
    from spaceactors._load import Load, LoadOptions
    from spaceactors._message import Message
    from spaceactors._probe import LoadProbe


@final
class LoadManager:
    """Knows how loaded a runtime is: `runtime.load`, where `RuntimeConfig(load=LoadOptions())` has switched it on.

    Ask it before you begin something that can wait (`should_throttle`), or how many turns the machine can take
    (`recommended_concurrency`). New conversations are refused without asking.
    """

    __slots__ = (
        "_began",
        "_beginning",
        "_hub",
        "_limits",
        "_measured",
        "_options",
        "_peak",
        "_probe",
        "_refused",
        "_sample",
        "_seconds",
        "_seen",
        "_shedding",
        "_since",
        "_told",
    )

    def __init__(self, hub: Hub, options: LoadOptions) -> None:
        self._hub = hub
        self._options = options
        self._limits = limits_of(options, hub.config.max_turns, hub.config.max_waiting_turns)
        self._probe: LoadProbe = ProcessProbe() if options.probe is None else options.probe()
        # The last look, and the load of what was measured then: the line of those who wait is looked at anew each time.
        self._sample = LoadSample(hub.clock.now)
        self._measured = 0.0
        # How many spaces have become live whose workers have not run yet, or are in a hook before their first turn.
        self._beginning = 0
        # The longest line of those who wait that was seen since the last look.
        self._peak = 0
        # Whether load is shed, since when, and how many messages were refused by then.
        self._shedding = False
        self._since = 0.0
        self._began = 0
        # How many messages were refused by each priority, and how many of them were told as events.
        self._refused: dict[Priority, int] = {Priority.LOW: 0, Priority.NORMAL: 0}
        self._told = 0
        # How long turns took lately, and what was counted of them at the last look.
        self._seconds: float | None = None
        self._seen = (0, 0.0)

    # ---- for the user

    @property
    def sample(self) -> LoadSample:
        """What was measured at the last look, with the line of those who wait as of now."""
        return evolve(self._sample, waiting=self._waiting())

    @property
    def load(self) -> Load:
        """How loaded the runtime is now."""
        return score(self.sample, self._limits)

    def should_throttle(self, priority: Priority = Priority.LOW) -> bool:
        """Tell whether a message of this priority would be refused now if it began a conversation.

        Ask it where work begins that can as well wait: a batch, a crawl, a nightly report.
        """
        value = self._value(self._waiting())
        return not admits(value, priority, shedding=sheds(value, self._options, already=self._shedding))

    def recommended_concurrency(self, present: int | None = None, /) -> int:
        """Return how many turns should run at once: fewer under strain, more where spaces wait and there is none.

        A hint, which nothing follows by itself: `runtime.limits.resize("turns", hint)` does.

        Args:
            present: how many may now; by default what the limit `turns` says, or without one as many as are running.

        """
        if present is None:
            present = self._tokens()
        if present is None:
            present = sum(space.open_turns for space in self._hub.live.values())
        return recommended(self.load, max(present, 1), self._options)

    def statistics(self) -> LoadStatistics:
        """Return the load and what it has cost so far."""
        refused = MappingProxyType(dict(self._refused))
        return LoadStatistics(self.load, self.sample, self._shedding, refused)

    # ---- for the runtime

    def check(self, handle: SpaceHandle[Any], message: Message) -> None:
        """Refuse a message from outside that would make a space live while load is shed. Raises `Overloaded`."""
        self._peak = max(self._peak, waiting := self._waiting())
        value = self._value(waiting)
        # Here it begins; it ends with a look, for the line of those who wait is longer and shorter all the time.
        if not self._shedding and sheds(value, self._options, already=False):
            self._begin()
        if admits(value, message.priority, shedding=self._shedding):
            return
        self._refused[message.priority] += 1
        load = self.load
        after = retry_after(self._waiting(), self._rate(), least=self._least(load))
        msg = (
            f"the runtime sheds load ({load}): {handle.id} is not live, and its message has the priority"
            f" {message.priority.name}; try again in {after:.1f} s"
        )
        raise Overloaded(msg, space=handle, message=message, retry_after=after)

    def space_begins(self) -> None:
        """Take note of a space that will want a turn: it has become live, or begins its life with a hook."""
        self._beginning += 1

    def space_began(self) -> None:
        """Take note that its worker runs, or its hook is over: from here on it is in line, or has its turn."""
        self._beginning -= 1

    @enable_ki_protection
    async def run(self) -> None:
        """Look at clock, processor and memory, time and again."""
        while True:
            due = trio.current_time() + self._options.interval
            await trio.sleep_until(due)
            self._look(max(trio.current_time() - due, 0.0))

    def _look(self, lag: float) -> None:
        """Take a sample, and tell what has become of the load."""
        hub = self._hub
        try:
            reading = self._probe.read(lag)
        except Exception as error:  # a user's probe, or a file of the system that is gone
            hub.log.load_unread(error)
            reading = LoadReading(lag)
        late = self._sample.lag
        self._sample = LoadSample(
            hub.clock.now,
            lag=late if reading.lag is None else smoothed(late, reading.lag),
            pending=None if self._limits.pending is None else sum(len(one.mailbox) for one in hub.live.values()),
            cpu=reading.cpu,
            memory=reading.memory,
        )
        self._measured = score(self._sample, evolve(self._limits, waiting=None)).value
        self._note_turns()
        self._tell_refused()
        waiting = self._waiting()
        longest, self._peak = max(self._peak, waiting), 0
        if not self._shedding:
            if sheds(self._value(waiting), self._options, already=False):
                self._begin()
        elif not sheds(self._value(longest), self._options, already=True):
            self._end()

    def _note_turns(self) -> None:
        """Note how long the turns took that have ended since the last look."""
        watch = self._hub.handling_times
        count, total = watch.count - self._seen[0], watch.total - self._seen[1]
        self._seen = (watch.count, watch.total)
        if count > 0:
            self._seconds = total / count

    # ---- the load as of now, without making records

    def _value(self, waiting: int) -> float:
        most = self._limits.waiting
        return self._measured if most is None else max(self._measured, waiting / most)

    def _waiting(self) -> int:
        """Return how many spaces wait for a turn, or for a place to be live.

        Those that have just come in will be in line in a moment, but for as many as there are turns left.
        """
        places, turns = self._hub.places, self._hub.turns
        held_up, coming = len(places._held_back) + len(places._line), self._beginning
        if places.taken < places.bound:
            coming, held_up = coming + held_up, 0  # the store is bringing them
        if turns is None:
            return held_up
        free = max(turns.limit.tokens - turns.held, 0)
        return held_up + len(turns.waiting) + max(coming - free, 0)

    def _tokens(self) -> int | None:
        return None if self._hub.turns is None else self._hub.turns.limit.tokens

    def _rate(self) -> float | None:
        return rate_of(self._tokens(), self._seconds)

    def _least(self, load: Load) -> float:
        """Return when a refused sender may come again at the earliest: what is measured is not measured anew before."""
        return LEAST_WAIT if load.cause is LoadPart.WAITING else max(LEAST_WAIT, self._options.interval)

    # ---- shedding

    def _begin(self) -> None:
        hub, load = self._hub, self.load
        self._shedding = True
        self._since, self._began = hub.clock.now, sum(self._refused.values())
        hub.log.shedding(str(load))
        if hub.events.listened:
            hub.events.publish(SheddingBegan(hub.clock.now, load.value, load.cause))

    def _end(self) -> None:
        hub, now = self._hub, self._hub.clock.now
        self._shedding = False
        if hub.events.listened:
            refused = sum(self._refused.values()) - self._began
            hub.events.publish(SheddingEnded(now, now - self._since, refused))

    def _tell_refused(self) -> None:
        """Tell how many were refused since this was last told: one event a look, however many there are."""
        refused = sum(self._refused.values())
        more, self._told = refused - self._told, refused
        if more and self._hub.events.listened:
            load = self.load
            self._hub.events.publish(MessagesShed(self._hub.clock.now, more, load.value, load.cause))
