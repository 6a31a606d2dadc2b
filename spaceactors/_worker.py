"""The worker of a space: takes messages, runs turns, and brings the actor through its life. The async shell.

What to do next is decided in `_decide.py`, what a failure means too; the state is the space's. One cancel scope serves
many turns, because one per turn costs more than the rest of the turn, and is renewed after it was cancelled.
"""

from __future__ import annotations

from math import inf
from types import MethodType
from typing import TYPE_CHECKING, Any, final

import trio
from outcome import Value
from trio.lowlevel import Abort, checkpoint, current_task, enable_ki_protection, reschedule, wait_task_rescheduled

from spaceactors import _door as door
from spaceactors import _handling as handling
from spaceactors import _landing as landing
from spaceactors import _life as life
from spaceactors import _verdict as verdict
from spaceactors._decide import Step
from spaceactors._keeping import Keeping
from spaceactors._options import WhenAbandoned, WhenInterrupted
from spaceactors._pace import Pace
from spaceactors._space import HANDLED
from spaceactors._turn import Cut, TurnRecord, descends, here
from supervisors._block import without_cancellation

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from spaceactors._handlers import Handler
    from spaceactors._lane import Lane
    from spaceactors._message import Message
    from spaceactors._space import Space
    from spaceactors._waits import Wait

# A busy worker lets others run after so many turns: law 8.
TURNS_AT_A_STRETCH = 64


@final
class Worker:
    """One task that runs turns of a space; a space with `concurrency=n` has n, of which the first leads the life."""

    __slots__ = (
        *(
            "_record",
            "background",
            "began",
            "cut",
            "in_hook",
            "keeping",
            "leads",
            "message",
            "noted",
            "pace",
            "returned",
        ),
        *("scope", "space", "task", "touched", "waits"),
    )

    def __init__(self, space: Space, *, leads: bool) -> None:
        self.space = space
        self.leads = leads
        self.background = False  # its code is a turn
        self.task: trio.lowlevel.Task  # set when it runs, before anybody looks
        # The message of the running turn; a hook has none.
        self.message: Message | None = None
        self.in_hook = False  # whether the running turn is a hook
        # Whether its handler has returned: then nothing cancels it.
        self.returned = False
        # Whether it must commit more than its outcome.
        self.touched = False
        # When the running turn began, in seconds of Trio's clock.
        self.began = 0.0
        # What the running turn has done so far; None: nothing that must be kept.
        self._record: TurnRecord | None = None
        self.noted = False  # whether its turns are looked after, in case they stall
        # The waits of the running turn.
        self.waits: list[Wait] = []
        # The scope of the running turns, made with the first and renewed after it was cancelled.
        self.scope: trio.CancelScope | None = None
        # Why the scope was cancelled, if somebody did; None: its deadline.
        self.cut: Cut | None = None
        # Its token where at most so many turns run at once; None: there is no bound.
        turns = space.runtime.turns
        self.pace = None if turns is None else Pace(turns, self, life.decide)
        # How its turns are settled where the store is durable; made with the first.
        self.keeping: Keeping | None = None

    # ---- the turn, as the code inside sees it

    def in_turn(self) -> bool:
        """Whether the calling task belongs to the open turn of this worker."""
        if self.returned or (self.message is None and not self.in_hook):
            return False
        try:
            task = current_task()
        except RuntimeError:
            return False  # a thread that the turn has started
        return task is self.task or descends(task, self.task)

    @property
    def open(self) -> bool:
        """Whether a turn is running."""
        return self.message is not None or self.in_hook

    @property
    def record(self) -> TurnRecord:
        """What the running turn has done, made now if need be."""
        if self._record is None:
            self._record = TurnRecord()
            self.touched = True
        return self._record

    @property
    def maybe_record(self) -> TurnRecord | None:
        """What the running turn has done, if anything."""
        return self._record

    # ---- calls from elsewhere, all sync

    def interrupt(self) -> None:
        """End the running turn by its handler's rule."""
        message = self.message
        if message is None or self.returned:
            return
        if message.handler.when_interrupted is WhenInterrupted.ROLL_BACK:
            self.cancel(Cut.INTERRUPTED)
            return
        self.record.interrupted = True
        for scope in self.record.scopes:
            scope.cancel()

    def abandon(self, message: Message) -> None:
        """Act on an asker or reader that left while its turn runs, unless others wait for the same answer."""
        wanted = message.extra is not None and message.extra.joined
        if message is self.message and not wanted and message.handler.when_abandoned is WhenAbandoned.CANCEL:
            self.cancel(Cut.ABANDONED)

    def cancel(self, cut: Cut) -> None:
        """Cancel the running turn, unless it has returned."""
        if self.open and not self.returned and self.cut is None:
            self.cut = cut
            self.space.attention = self.touched = True  # though it may return: then its closing ends the scope
            if self.scope is not None:
                self.scope.cancel()
            if self.space.lane is not None:
                self.space.lane.let_go(self)
            if self.pace is not None:
                self.pace.let_go()

    # ---- life

    @enable_ki_protection
    async def run(self) -> None:
        """Work until the activation is over."""
        self.task = current_task()
        here.set(self)
        if self.leads and self.space.runtime.load is not None:
            self.space.runtime.load.space_began()
        try:
            await (self._lead() if self.leads else self._follow())
        except BaseException as error:
            if without_cancellation(error) is None:  # alone, or in the group that a handler's nursery made of it
                raise
            # KeyboardInterrupt and its like concern the whole program.
            self.space.runtime.block.die(error)
            if self.leads:
                await life.end(self)  # killed by now, like all others

    async def _lead(self) -> None:
        """Do what comes next, until nothing does."""
        space = self.space
        while not space.gone:
            step = life.decide(space)
            if space.lane is not None and not self._lane_ready(space.lane, step):
                await self.park()
                continue
            match step:
                case Step.WORK:
                    await self._work()
                case Step.TURN:
                    await self._work(single=True)
                case Step.WAIT:
                    await self.park()
                case Step.START:
                    await self._alone(life.start)
                case Step.RECOVER:
                    await self._alone(life.recover)
                case Step.PASSIVATE:
                    await life.passivate(self)
                case Step.END | Step.CUT:
                    await life.end(self)

    async def _follow(self) -> None:
        """Run turns while the leader keeps an actor alive."""
        space = self.space
        while not space.gone:
            if space.attention and life.only_work(space):
                self._clear_attention()
            ready = space.mailbox and not space.attention
            await (self._work() if ready else self.park())
            if ready and space.attention:
                space.wake()  # the leader waits until no turn is open

    async def _alone(self, act: Callable[[Worker], Coroutine[Any, Any, object]]) -> None:
        """Do something that no turn may run beside."""
        if self.space.open_turns:
            await self.park()
        else:
            await act(self)

    def _lane_ready(self, lane: Lane, step: Step) -> bool:
        """See to it that this space has its lane for what comes next."""
        if step in {Step.TURN, Step.START}:
            return lane.want(self.space)
        lane.give_back(self.space)
        return True

    async def park(self) -> None:
        """Sleep until somebody wakes the space."""
        space = self.space
        if space.runtime.draining:
            # Only now is the last turn over: the lane had it until a moment ago.
            space.runtime.look_whether_quiet(space)
        if not space.mailbox:
            leaving = space.runtime.places.resting(space)
            if space.gone or (leaving and self.leads):
                return
        space.parked.append(self.task)
        await wait_task_rescheduled(self._unpark)

    def _unpark(self, _: object) -> Abort:
        if self.keeping is not None and self.keeping.under_way:
            return self.keeping.not_now()
        if self.task in self.space.parked:
            self.space.parked.remove(self.task)
        return Abort.SUCCEEDED

    # ---- turns

    async def _work(self, *, single: bool = False) -> None:
        """Handle messages until something else wants attention, or a single one."""
        if self.leads and not single:
            self._clear_attention()
        try:
            with trio.CancelScope() as self.scope:
                if single:
                    await self._one_turn()
                elif self.pace is None:
                    await self._turns()
                else:
                    await self._paced_turns(self.pace)
        except BaseException as error:
            if not self.open:
                raise
            verdict.cut_off(self, error)
        else:
            if self.open:
                verdict.cut_off(self, None)
        self.cut = None

    def _clear_attention(self) -> None:
        """Go back to plain work, and have the followers do so too."""
        space = self.space
        space.attention = False
        if space.mailbox and space.parked:
            for task in space.parked:
                reschedule(task)
            space.parked.clear()

    async def _turns(self) -> None:  # noqa: C901, PLR0912, PLR0915 (one loop on purpose)
        """Handle what comes. This loop is the hot path: a turn without effects costs one call and its count."""
        space = self.space
        mailbox, outcomes, actor, clock = space.mailbox, space.outcomes, space.actor, space.clock
        tick: float | None = None
        handler: Handler | None = None
        call: Callable[..., Any] = checkpoint  # until the first message
        while not space.attention:
            if not self.noted:
                space.runtime.stalls.note(self)
            for _ in range(TURNS_AT_A_STRETCH):
                if space.attention or not mailbox:  # type: ignore[redundant-expr]  # turns raise the flag
                    break
                message = mailbox.popleft()
                if space.crowded:
                    door.place_freed(space)
                if message.extra is not None:
                    turn = self._turn(message)
                    message = None  # type: ignore[assignment]  # it may sleep on there, as below
                    await turn
                    continue
                self.message = message
                began = clock.now
                # Within one scheduler tick the clock's value is one and the same object.
                if began is not tick:
                    tick = began
                    space.runtime.waiting_times.note(began - message.at)
                if message.handler is not handler:
                    handler = message.handler
                    # Bound once: calling it needs no new tuple of the actor and the arguments each time.
                    call = MethodType(handler.function, actor)
                try:
                    reply = await call(*message.args)
                except Exception as error:
                    verdict.failed(self, message, error)
                    continue
                if self.touched:
                    self.began = began
                    await handling.finish(self, message, reply)
                    continue
                outcomes[HANDLED] += 1
                if clock.now is not began:
                    space.took(began)
                waiter = message.waiter
                if waiter is not None:
                    message.waiter = None
                    reschedule(waiter, Value(reply))
            self.message = None
            if mailbox:
                await checkpoint()
            elif not space.attention:
                # A space may rest for days: it keeps nothing of its last message.
                message = reply = waiter = None  # type: ignore[assignment]
                if space.looks_up or space.runtime.draining or space.runtime.places.wanted:
                    await self._rest()
                else:
                    # `park` once more, without its calls: waking and parking is what a message to an idle space costs.
                    space.idle_at = clock.now
                    space.parked.append(self.task)
                    await wait_task_rescheduled(self._unpark)

    async def _rest(self) -> None:
        """Park, unless the activation or the runtime waits for this very moment."""
        space = self.space
        if space.ending is not None or space.passivating:
            space.attention = True
            return
        await self.park()

    async def _paced_turns(self, pace: Pace) -> None:
        """Handle what comes, each message with a token."""
        space = self.space
        while not self.space.attention:
            if not space.mailbox:
                await self._rest()
            elif await pace.begin():
                try:
                    if space.attention and life.decide(space) is Step.WORK:
                        self._clear_attention()  # it has kept its place in line instead: see `Pace.look`
                    if space.mailbox and not space.attention:  # either may have changed while it waited
                        message = space.mailbox.popleft()
                        door.place_freed(space)
                        turn = self._turn(message)
                        message = None  # type: ignore[assignment]  # it may sleep on there
                        await turn
                finally:
                    pace.end()

    async def _one_turn(self) -> None:
        space = self.space
        if self.pace is not None and not await self.pace.begin():
            return
        if space.lane is not None:
            space.lane.begin(self)
        try:
            if space.mailbox:
                message = space.mailbox.popleft()
                door.place_freed(space)
                await self._turn(message)
                if self.pace is not None:
                    self.pace.end()
                await checkpoint()
        finally:
            if self.pace is not None:
                self.pace.end()
            if space.lane is not None:
                space.lane.end(self)

    async def _turn(self, message: Message) -> None:  # noqa: C901, PLR0912 (one way through on purpose)
        """Run one message with everything that it may need."""
        space = self.space
        extra = message.extra
        if extra is None:
            extra = message.rare()
        elif (extra.expiry is not None or extra.timer is not None) and not handling.still_wanted(space, message):
            return
        self.message = message
        if not self.noted:
            space.runtime.stalls.note(self)
        if extra.landing is not None and not await landing.began(space, message, extra):
            self.close()
            return
        extra.attempts += 1
        self.began = space.clock.now
        space.runtime.waiting_times.note(self.began - message.at)
        handler = message.handler
        try:
            if handler.watched:
                reply = await handling.call(self, message)
            elif extra.kwargs:
                reply = await handler.function(space.actor, *message.args, **extra.kwargs)
            else:
                reply = await handler.function(space.actor, *message.args)
        except Exception as error:
            verdict.failed(self, message, error)
            return
        self.returned = True
        if space.runtime.durable is None:
            await handling.finish(self, message, reply)
            return
        if self.pace is not None:
            self.pace.end()
        self.end_timeout()
        if self.keeping is None:
            self.keeping = Keeping(self)
        try:
            if not self.keeping.begin(message, reply):
                await handling.finish(self, message, reply)
                return
            # It may sleep on for days when the turn is settled, and keeps nothing of it.
            message = extra = handler = reply = None  # type: ignore[assignment]
            if self.keeping.under_way:
                await wait_task_rescheduled(self._unpark)
        except Exception as error:
            if self.message is not None:
                await handling.not_kept(self, self.message, error)

    def end_timeout(self) -> None:
        if self.scope is not None and self.scope.deadline != inf:
            # A scope whose time ran out as the handler returned is of no further use.
            self.space.attention = self.space.attention or self.scope.cancel_called
            self.scope.deadline = inf

    # ---- how turns end otherwise

    def close(self) -> None:
        """Forget the turn: what it has not committed is as if it had never been."""
        space = self.space
        self._record = None
        self.message = None
        self.in_hook = self.returned = self.touched = False
        self.end_timeout()
        space.working = space.row.state
        space.version = space.row.version
        if self.cut is not None:
            space.attention = True
