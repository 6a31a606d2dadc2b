"""Where tasks run: slots, and the way of a task into one and out of it.

What may start next is decided in `_plan.py`. Here it gets a slot, and in the same step, without waiting, its locks and
its tokens; so who has a slot needs nothing more. If somebody else has a lock or a token, the task gives its slot back
and stands in that line without one.

Nothing is held for long while something else is waited for: a task that has had its turn in one line waits for the
rest for a moment (`PATIENCE`), then it gives back what it has. So there is no ring of waits that would not end,
whatever tasks and others do inside and in which order. Where two have what the other lacks, one gives up first: if
both did so at the same moment, they would change places, and meet again as they were.
"""

from __future__ import annotations

from contextlib import ExitStack, nullcontext
from math import inf
from typing import TYPE_CHECKING, Any, cast, final

import trio
from trio.lowlevel import enable_ki_protection

from spaceactors.tasks._current import current_voice, set_current_voice
from spaceactors.tasks._figures import WaitsFor
from spaceactors.tasks._hearing import Hearing
from spaceactors.tasks._job import Job, Stage
from spaceactors.tasks._performing import Outcome, cancelled, failed, perform
from spaceactors.tasks._plan import Board, Ready
from supervisors import CapacityRefused
from supervisors._block import is_fatal, without_cancellation
from supervisors._drain import set_current_signal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractAsyncContextManager

    from spaceactors.tasks._ledger import Ledger
    from spaceactors.tasks._stalls import StallWatch
    from supervisors import Limits, Locks
    from supervisors._drain import DrainSignal

# Seconds for which a task keeps what it got in one line while it waits for the rest. Long enough for a slot to come
# free among tasks of usual length, so that it need not stand in line again; short enough for others to bear. Shorter
# with tokens than with locks: of tasks of two managers one of which has these and one those, only one is to give up.
PATIENCE = {WaitsFor.LOCKS: 1.0, WaitsFor.LIMITS: 0.5}


@final
class Floor:
    """The slots of one manager, and all its tasks that have not ended."""

    def __init__(
        self,
        slots: int,
        ageing: float,
        locks: Locks,
        limits: Limits,
        ledger: Ledger,
        launch: Callable[[str, Callable[[Job], Any], Job], object],
    ) -> None:
        self.jobs = dict[str, Job]()
        self.running = dict[Job, None]()
        self.closed = False
        self.stalls: StallWatch | None = None
        # The request to finish that tasks hear: that of the child around the manager.
        self.signal: DrainSignal | None = None
        self.board = Board()
        # For each group: who is about to take tokens or permits, or stands in line for them. Those behind wait until
        # it has them: they would have to stand behind it.
        self.in_line = dict[tuple[str, ...], dict[Job, None]]()
        self._slots = slots
        self._ageing = ageing
        self._locks = locks
        self._limits = limits
        self._ledger = ledger
        self._launch = launch
        self._launched = 0
        self._ready = Ready(self.board)
        self._taken = 0
        # Who has everything but a slot, first come first.
        self._complete = dict[Job, None]()
        self._idle: trio.Event | None = None

    @property
    def waiting(self) -> int:
        """How many tasks do not run."""
        return len(self.jobs) - self._taken

    # ---- coming and going

    @enable_ki_protection
    def accept(self, jobs: Iterable[Job]) -> None:
        """Take tasks, and start what can start."""
        now = trio.current_time()
        for job in jobs:
            job.enter_line(now, self._ageing)
            self._ledger.queued(job, first=not self.jobs)
            self.jobs[job.id] = job
            self.board.enter(job)
            self._consider(job)
        self.fill()

    @enable_ki_protection
    def cancel(self, jobs: list[Job], why: str) -> None:
        """Have tasks end; those of which nothing runs have ended when this returns."""
        for job in jobs:
            self._cancel(job, why)

    def _cancel(self, job: Job, why: str) -> None:
        job.why_cancelled = why
        if job.stage is Stage.WAITING:
            self._end(job, cancelled(why))
        elif job.scope is not None:
            job.scope.cancel(why)

    @enable_ki_protection
    def close(self, why: str) -> None:
        """Start nothing any more, and end what waits; what runs is ended by its pool."""
        self.closed = True
        for job in tuple(self.jobs.values()):
            if job.stage is Stage.WAITING:
                self._cancel(job, why)

    async def wait_ended(self, jobs: Iterable[Job]) -> None:
        """Wait until tasks have ended."""
        await trio.lowlevel.checkpoint()
        for job in jobs:
            if job.stage is not Stage.ENDED:
                if job.gone is None:
                    job.gone = trio.Event()
                await job.gone.wait()

    async def wait_idle(self) -> None:
        """Wait until there is no task."""
        await trio.lowlevel.checkpoint()
        while self.jobs:
            if self._idle is None:
                self._idle = trio.Event()
            await self._idle.wait()

    def _end(self, job: Job, outcome: Outcome) -> None:
        freed = self.board.leave(job)
        del self.jobs[job.id]
        self.running.pop(job, None)
        self._leave_line(job)
        if job.in_slot:
            job.in_slot = False
            self._taken -= 1
        result = job.end(outcome.status, outcome.value, outcome.error, trio.current_time())
        self._ledger.ended(job, result)
        job.on_end(result)
        if job.gone is not None:
            job.gone.set()
        if self._idle is not None and not self.jobs:
            self._idle.set()
            self._idle = None
        for other in freed:
            self._consider(cast("Job", other))
        self.fill()

    # ---- slots

    def _consider(self, job: Job) -> None:
        # Who stands in a line, or starts already, finds out by itself.
        if job.stage is Stage.WAITING and self.board.is_free(job):
            self._ready.put(job)

    def fill(self) -> None:
        """Give all slots that are free to those who come first."""
        while self._taken < self._slots and not self.closed:
            job = next(filter(self.board.is_free, self._complete), None)
            if job is not None:
                self._give_slot(job)
                continue
            job = cast("Job | None", self._ready.take(self.in_line))
            if job is None:
                return
            self._give_slot(job)
            self._enter_line(job)
            job.stage = Stage.STARTING
            self._launched += 1
            self._launch(f"{self._launched}: {job.id}", self._live, job)

    def _give_slot(self, job: Job) -> None:
        self._taken += 1
        job.in_slot = True
        if job in self._complete:
            del self._complete[job]
            if job.slot is not None:
                job.slot.set()

    def _slot_now(self, job: Job) -> bool:
        free = self._taken < self._slots and not self.closed and self.board.is_free(job)
        if free:
            self._give_slot(job)
        return free

    async def _slot(self, job: Job) -> None:
        """Wait for a slot, before all others that have not everything else."""
        if self._slot_now(job):
            return
        job.slot = trio.Event()
        self._complete[job] = None
        try:
            await job.slot.wait()
        finally:
            self._complete.pop(job, None)
            job.slot = None

    def _leave_slot(self, job: Job) -> None:
        if job.in_slot:
            job.in_slot = False
            self._taken -= 1
            self.fill()

    # ---- the way of one task

    @enable_ki_protection
    async def _live(self, job: Job) -> None:
        """Be the child that runs a task, or brings it back to where it waits for a slot.

        Ctrl-C may reach the function of the task, and nothing of ours: nobody waits for one that is half ended.
        """
        job.scope = trio.CancelScope()
        outcome: Outcome | None = None
        try:
            with job.scope:
                if job.why_cancelled is None:
                    outcome = await self._attend(job)
        except Exception as error:  # a limit refused, or took its token away
            outcome = failed(error)
        except BaseException as error:
            self._cut_off(job, error)
            raise
        if job.scope.cancelled_caught or (outcome is None and (self.closed or job.why_cancelled is not None)):
            outcome = cancelled(job.why_cancelled)
        if outcome is None:
            self._put_back(job)
        else:
            self._end(job, outcome)

    def _cut_off(self, job: Job, error: BaseException) -> None:
        if is_fatal(error):
            self.close("the program ends")
        rest = without_cancellation(error)
        self._end(job, failed(rest) if isinstance(rest, Exception) else cancelled(job.why_cancelled))

    def _put_back(self, job: Job) -> None:
        job.scope = None
        job.stage = Stage.WAITING
        self._consider(job)
        self._leave_line(job)
        self._leave_slot(job)
        self.fill()

    async def _attend(self, job: Job) -> Outcome | None:
        """Run a task that has a slot; None if it has none any more, and is to wait for one again."""
        if not self.board.is_free(job):
            return None  # one came that goes before it
        got = await self._at_once(job)
        while got is WaitsFor.LOCKS or got is WaitsFor.LIMITS:
            job.stage, job.lacks = Stage.IN_LINE, got
            if got is WaitsFor.LIMITS:
                self._enter_line(job)
            else:
                self._leave_line(job)
            self._leave_slot(job)
            got = await self._in_turn(job, got)
        return got if isinstance(got, Outcome) else None

    def _enter_line(self, job: Job) -> None:
        if job.group:
            self.in_line.setdefault(job.group, {})[job] = None

    def _leave_line(self, job: Job) -> None:
        line = self.in_line.get(job.group)
        if line is None or job not in line:
            return
        del line[job]
        if not line:
            del self.in_line[job.group]
        # The next of its group may try now.
        self.fill()

    async def _at_once(self, job: Job) -> Outcome | WaitsFor:
        """Run a task that has a slot, if everything else is to be had now; or tell what is not."""
        if job.permits or (job.tokens and not self._limits.free(*job.tokens)):
            return WaitsFor.LIMITS
        if not job.claims:
            return await self._with_tokens(job)
        with ExitStack() as held:
            try:
                held.enter_context(self._locks.hold_nowait(*job.alone, shared=job.shared, holder=job.id))
            except CapacityRefused:
                return WaitsFor.LOCKS
            return await self._with_tokens(job)

    async def _with_tokens(self, job: Job) -> Outcome:
        """Run a task whose tokens are to be had now."""
        if not job.tokens:
            return await self._run(job)
        async with self._hold(job, WaitsFor.LIMITS):
            return await self._run(job)

    async def _in_turn(self, job: Job, lacks: WaitsFor) -> Outcome | WaitsFor:
        """Stand in line for what a task lacks, and run it in its turn if the rest is to be had soon; it has no slot."""
        if job.permits:
            # What is spent does not come back, so it is not asked for again.
            async with self._limits.hold(*job.permits, priority=job.priority, fair_key=job.agent):
                job.permits = ()
            return await self._at_once(job) if self._slot_now(job) else WaitsFor.SLOT
        async with self._hold(job, lacks):
            with trio.CancelScope(deadline=trio.current_time() + PATIENCE[lacks]) as patience:
                job.lacks = WaitsFor.LIMITS if lacks is WaitsFor.LOCKS else WaitsFor.LOCKS
                async with self._hold(job, job.lacks):
                    job.lacks = WaitsFor.SLOT
                    await self._slot(job)
                    patience.deadline = inf
                    if not patience.cancel_called:
                        return await self._run(job)
                    self._leave_slot(job)
        return job.lacks

    def _hold(self, job: Job, what: WaitsFor) -> AbstractAsyncContextManager[object, bool | None]:
        if what is WaitsFor.LOCKS and job.claims:
            return self._locks.hold(*job.alone, shared=job.shared, holder=job.id)
        if what is WaitsFor.LIMITS and job.tokens:
            return self._limits.hold(*job.tokens, priority=job.priority, fair_key=job.agent)
        return nullcontext()

    async def _run(self, job: Job) -> Outcome:
        """Run a task that has everything."""
        self.board.start(job)
        self._ledger.started(job)
        self.running[job] = None
        self._leave_line(job)
        if self.stalls is not None:
            self.stalls.look_again()
        # Both are for this child alone, which has a context of its own and does nothing afterwards.
        set_current_voice(Hearing(self, current_voice(), job, self._ledger))
        set_current_signal(self.signal)
        return await perform(job, self._retried)

    def _retried(self, job: Job, error: Exception, delay: float) -> None:
        self._ledger.retried(job, error, delay)
        if self.stalls is not None:
            self.stalls.look_again()
