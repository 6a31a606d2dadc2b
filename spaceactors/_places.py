"""Places for live spaces: how many there are, who gets the next one, and which idle space leaves for it.

Sync: a space that comes to rest, ends or is created calls in, and what follows happens at once.
"""

from __future__ import annotations

from collections import OrderedDict
from heapq import heapify, heappop
from typing import TYPE_CHECKING, Any, TypeAlias, final

from outcome import Error
from trio.lowlevel import reschedule

from spaceactors import _door as door
from spaceactors import _life as life
from spaceactors._errors import BadCall, NotAccepted, RuntimeClosed, SpaceError, StoreError
from spaceactors._outcomes import expired, return_at_once, returned_elsewhere
from spaceactors._receipt import another
from spaceactors._space import Source

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trio.lowlevel import Task

    from spaceactors._handle import SpaceHandle
    from spaceactors._hub import Hub
    from spaceactors._message import Message
    from spaceactors._space import Space

    # Messages that wait outside for one space, with the handles they came by and the senders to wake.
    _Entries: TypeAlias = OrderedDict[Message, tuple[SpaceHandle[Any], Task | None]]

_NOBODY: _Entries = OrderedDict()


@final
class Places:
    """The bound on live spaces. Quarantined spaces have no place: they run nothing."""

    __slots__ = (
        "_admitting",
        "_candidates",
        "_held_back",
        "_leaving",
        "_line",
        "_none_idle",
        "_ready",
        "_runtime",
        "_taken",
        "bound",
    )

    def __init__(self, runtime: Hub, bound: int) -> None:
        self._runtime = runtime
        self.bound = bound
        self._taken = 0
        # Spaces with accepted messages whose activation waits for a place, in the order of arrival.
        self._held_back: OrderedDict[Space, None] = OrderedDict()
        # Messages that wait outside for a place for their space, by space, in the order of arrival.
        self._line: OrderedDict[tuple[str, str], _Entries] = OrderedDict()
        # Those of them whose rows the store has brought.
        self._ready: OrderedDict[tuple[str, str], None] = OrderedDict()
        # Idle spaces by the time since when, as of the last look; entries may be out of date.
        self._candidates: list[tuple[float, int, Space]] = []
        # Nothing came to rest since a look around found nothing idle: another look would find nothing either.
        self._none_idle = False
        # Free places are being given away: what becomes free meanwhile is given away there too.
        self._admitting = False
        # Spaces that were asked to leave for somebody who waits, and have something to clean up first.
        self._leaving: set[Space] = set()

    @property
    def wanted(self) -> bool:
        """Whether a space that comes to rest must say so: its place is wanted, or was the last time there was none."""
        return self._none_idle or bool(self._held_back or self._line) or self._taken > self.bound

    @property
    def lined_up(self) -> bool:
        """Whether messages wait for a place for their space."""
        return bool(self._line)

    @property
    def taken(self) -> int:
        """How many places are taken."""
        return self._taken

    def waiting(self) -> Iterator[Message]:
        """Return the messages that wait for a place for their space, by space, in the order of arrival."""
        return (message for entries in self._line.values() for message in entries)

    @property
    def now(self) -> float:
        """The time, in seconds of Trio's clock."""
        return self._runtime.clock.now

    def in_line(self) -> list[tuple[str, float]]:
        """Return the spaces that wait for a place, who is next first: each name, with since when."""
        name_of = self._runtime.name_of
        held_back = [(space.name, space.mailbox[0].at if space.mailbox else self.now) for space in self._held_back]
        outside = ((next(iter(entries)), next(iter(entries.values()))[0]) for entries in self._line.values())
        return held_back + [
            (name_of(self._runtime.by_name[handle.kind], handle.id), message.at) for message, handle in outside
        ]

    def resize(self, bound: int) -> None:
        """Change how many spaces may be live: who waits gets in, or idle ones leave."""
        self.bound = bound
        self._admit()

    def free(self) -> bool:
        """Tell whether there is a place, after letting the longest idle space go if need be."""
        if self._taken >= self.bound and not (self._held_back or self._line):
            self._evict()
        return self._taken < self.bound

    def take(self, space: Space) -> None:
        """Give a new space its place and start it, or hold it back until there is one."""
        if self.free():
            self.take_over_bound(space)
        else:
            self._held_back[space] = None
            self._make_room()

    def take_over_bound(self, space: Space) -> None:
        """Give a space a place whether there is one or not: an open turn waits for it, or somebody revived it."""
        self._held_back.pop(space, None)
        if not space.has_place:
            space.has_place = True
            self._taken += 1
        if not space.workers and not space.gone:
            self._runtime.start_workers(space)
        self._make_room()

    def leave(self, space: Space) -> None:
        """Take the place back."""
        self._leaving.discard(space)
        self._held_back.pop(space, None)
        if space.has_place:
            space.has_place = False
            self._taken -= 1
        self._admit()

    def stayed(self, space: Space) -> None:
        """Take note that a space did not leave after all: another one must, if somebody counts on its place."""
        if space in self._leaving:
            self._leaving.remove(space)
            self._make_room()

    # ---- the line outside

    def line_up(self, handle: SpaceHandle[Any], message: Message, task: Task | None) -> None:
        """Have a message wait until there is a place for its space."""
        after = message.options.expires_after
        if after is not None:
            at = message.at + after
            message.rare().expiry = self._runtime.keeper.set(at, lambda: self._expire(handle, message, task))
        self._line.setdefault(handle.key, OrderedDict())[message] = (handle, task)
        if self._runtime.loading.is_here(handle.key):
            self._ready[handle.key] = None
        self._make_room()

    def holds_back(self, handle: SpaceHandle[Any], message: Message) -> bool:
        """Tell whether a message may wait here of which nobody is to be told: while the store brings its space.

        As many may as its mailbox takes.
        """
        entries = self._line.get(handle.key, _NOBODY)
        capacity = self._runtime.by_name[handle.kind].options.mailbox_capacity
        return message.rare().insist and not self._runtime.loading.is_here(handle.key) and len(entries) < capacity

    def awaits(self, key: tuple[str, str]) -> bool:
        """Tell whether somebody waits for a space."""
        return key in self._line

    def loaded(self, handle: SpaceHandle[Any]) -> None:
        """Make a space live whose row has come from the store, if somebody waits for it and there is a place."""
        if handle.key in self._line:
            self._ready[handle.key] = None
            self._make_room()
            self._admit()

    def refuse(self, key: tuple[str, str], error: Exception) -> bool:
        """Tell all who wait for a space that it cannot be had; tell whether messages stay of which nobody can be."""
        stay: _Entries = OrderedDict()
        for message, (handle, task) in self._line.pop(key, _NOBODY).items():
            if message.extra is not None and message.extra.insist and isinstance(error, StoreError):
                stay[message] = (handle, task)
            else:
                told = another(error) if isinstance(error, SpaceError) else error
                told._space, told._message = handle, message  # type: ignore[attr-defined]
                _wake(message, task, told)  # type: ignore[arg-type]
        if stay:
            self._line[key] = stay
        self._runtime.look_whether_calm()
        return bool(stay)

    def leave_line(self, handle: SpaceHandle[Any], message: Message) -> bool:
        """Take a message out of the line; tell whether it was there."""
        entries = self._line.get(handle.key)
        if entries is None or entries.pop(message, None) is None:
            return False
        if message.extra is not None:
            message.extra.forget_expiry()
        if not entries:
            del self._line[handle.key]
            row = None if self._runtime.durable is None else self._runtime.store.find(*handle.key)
            if row is not None:
                self._runtime.loading.let_go(row)
            self._runtime.look_whether_calm()
        return True

    def _expire(self, handle: SpaceHandle[Any], message: Message, task: Task | None) -> None:
        if self.leave_line(handle, message):
            _wake(message, task, expired(message, handle))

    def turn_away(self, refusal: type[NotAccepted], text: str) -> None:
        """Refuse all who wait and can be told so: the runtime closes. What else waits was accepted, and gets in."""
        for key, entries in tuple(self._line.items()):
            for message, (handle, task) in tuple(entries.items()):
                if not (message.extra is not None and message.extra.insist):
                    del entries[message]
                    _wake(message, task, refusal(text, space=handle, message=message))
            if not entries:
                del self._line[key]

    def give_up(self, text: str) -> None:
        """Tell, at the deadline of a drain, of messages for which the store has not brought their spaces."""
        line, self._line = self._line, OrderedDict()
        for entries in line.values():
            for message, (handle, task) in entries.items():
                error = RuntimeClosed(text, space=handle, message=message)
                _wake(message, task, error)
                returned_elsewhere(self._runtime, handle, message, error)

    def arrived(self, space: Space) -> None:
        """Let those in who waited for a space that is there now."""
        for message, (handle, task) in self._line.pop((space.kind.name, space.id), _NOBODY).items():
            source = Source.OUTSIDE
            if message.extra is not None:
                message.extra.forget_expiry()  # the space watches it from here on
                if message.extra.insist and self._runtime.draining:
                    source = Source.BACKGROUND  # it was here before the gate was closed
            try:
                handle.check_group(space)
                accepted = door.offer(space, message, source, task, may_wait=True)
            except NotAccepted as error:
                if message.extra is not None and message.extra.insist:
                    return_at_once(space, message, error)
                else:
                    _wake(message, task, error)
            else:
                if accepted and task is not None:
                    reschedule(task)

    # ---- idle spaces

    def resting(self, space: Space) -> bool:
        """Take note that a space has nothing to do; it goes if its place is wanted, or later if it stays idle.

        Tell whether it was asked to clean up and go, which is something to do.
        """
        space.idle_at = space.clock.now
        self._none_idle = False
        self._leaving.discard(space)
        after = space.options.idle_timeout
        if after is not None and space.idle_alarm is None:
            space.idle_alarm = self._runtime.keeper.set(space.idle_at + after, lambda: self._idle_due(space))
        if self._short() and space.idle:
            self._let_go(space)
        return space in self._leaving

    def _idle_due(self, space: Space) -> None:
        space.idle_alarm = None
        after = space.options.idle_timeout
        if space.gone or after is None or not space.idle:
            return  # it comes to rest again, and is noted then
        # As exactly as the keeper looks: an alarm set for a moment that is over for it would ring without end.
        if space.idle_at + after > space.clock.exactly():
            space.idle_alarm = self._runtime.keeper.set(space.idle_at + after, lambda: self._idle_due(space))
        else:
            life.ask_to_passivate(space)

    def _short(self) -> bool:
        """Tell whether more places are wanted, or taken over the bound, than are about to come free."""
        return len(self._held_back) + len(self._line) + self._taken - self.bound > len(self._leaving)

    def _make_room(self) -> None:
        """Let idle spaces go for those who wait, and while there are more than the bound allows."""
        while self._short() and self._evict():
            pass

    def _evict(self) -> bool:
        """Let the longest idle space go; tell whether there was one."""
        if self._none_idle:
            return False
        for _ in range(2):
            while self._candidates:
                idle_at, _, space = heappop(self._candidates)
                if not space.gone and space.has_place and self._may_go(space) and space.idle_at == idle_at:
                    self._let_go(space)
                    return True
            idle = (one for one in self._runtime.live.values() if one.has_place and self._may_go(one))
            self._candidates = [(space.idle_at, number, space) for number, space in enumerate(idle)]
            heapify(self._candidates)
        self._none_idle = True
        return False

    def _may_go(self, space: Space) -> bool:
        return bool(space.idle and space.parked) and space not in self._leaving

    def _let_go(self, space: Space) -> None:
        """Have an idle space leave; its place is free when it has cleaned up."""
        if "on_stop" in space.kind.hooks or space.background:
            self._leaving.add(space)
            life.ask_to_passivate(space)
        else:
            self._runtime.passivated(space)

    def _admit(self) -> None:
        """Give free places to those who wait: accepted messages first."""
        if self._admitting:
            return
        self._admitting = True
        try:
            while self._taken < self.bound and (self._held_back or self._line):
                if self._held_back:
                    self.take_over_bound(next(iter(self._held_back)))
                elif not self._let_first_in():
                    break
        finally:
            self._admitting = False
        self._make_room()

    def _let_first_in(self) -> bool:
        """Make the space live for which somebody has waited longest; those who wait for it come in with that.

        Tell whether there was one: the store may not have answered yet for any of them.
        """
        key = next(iter(self._line), None) if self._runtime.durable is None else self._first_ready()
        if key is None:
            return False
        try:
            self._runtime.space_for(next(iter(self._line[key].values()))[0])
        except BadCall as error:  # its row was there when they came, and has been deleted since
            for message, (_, task) in self._line.pop(key).items():
                _wake(message, task, error)
            self._runtime.look_whether_calm()
        return True

    def _first_ready(self) -> tuple[str, str] | None:
        """Return the space whose row has come first of those for which somebody still waits."""
        while self._ready:
            key, _ = self._ready.popitem(last=False)
            if key in self._line and self._runtime.loading.is_here(key):
                return key
        return None


def _wake(message: Message, task: Task | None, error: SpaceError) -> None:
    """Tell a refusal to whoever waits with a message."""
    if message.extra is not None:
        message.extra.forget_expiry()
    waiter = task or message.waiter
    message.waiter = None
    if waiter is not None:
        reschedule(waiter, Error(error))
