"""The life of a space: start, crash, restart, quarantine, pause, passivation, end.

The sync half changes the state record and wakes the worker; the async half is what the worker then does.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

import trio

from spaceactors import _door as door
from spaceactors import _halts as halts
from spaceactors import _outcomes as outcomes
from spaceactors._actor import Failure
from spaceactors._decide import Ending, Step, next_step, only_leaf
from spaceactors._errors import StoreError, TurnTimeout
from spaceactors._events import (
    MessageRetried,
    SpaceCrashed,
    SpaceEnded,
    SpaceInQuarantine,
    SpaceLost,
    SpacePassivated,
    SpaceStarted,
    SpaceUnstoppable,
    WorkFailed,
)
from spaceactors._options import DiscardReason
from spaceactors._settle import commit, look_again
from spaceactors._space import Gate
from spaceactors._store import EpochLost, VersionLost
from spaceactors._turn import Cut
from supervisors import Preempted
from supervisors._budget import Budget, GiveUp
from supervisors._spec import backoff_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from spaceactors._message import Message
    from spaceactors._space import Space
    from spaceactors._worker import Worker


def decide(space: Space) -> Step:
    """Ask the pure rule what the space's worker does next."""
    return next_step(
        ending=space.ending,
        failed=space.failure is not None,
        stuck=space.quarantined or (space.asleep is not None and not leaves_asleep(space)),
        blocked=space.waits_for_store,
        started=space.actor is not None,
        hurried=space.hurried,
        backing_off=space.backing_off,
        halted=space.paused or bool(space.held_by),
        passivating=space.passivating,
        waiting=bool(space.mailbox),
        single=space.lane is not None or (space.passivating and space.options.concurrency == 1),
    )


def leaves_asleep(space: Space) -> bool:
    """Tell whether a space is to leave memory while its turn waits for an answer: the store keeps the question."""
    return space.passivating and not space.mailbox and space.runtime.durable is not None


def only_work(space: Space) -> bool:
    """Tell whether a follower may go on although something wanted attention: the leader has a turn, and cannot look."""
    return space.workers[0].message is not None and decide(space) is Step.WORK


# ---- start and restart


async def start(worker: Worker) -> None:
    """Make a new incarnation of the actor, and have it begin its life."""
    space = worker.space
    space.incarnation += 1
    last = space.last_failure
    space.last_failure = None

    if last is None and "on_start" not in space.kind.hooks:
        begun = await _only_make(worker)
    else:
        begun = await _begin_with_hooks(worker, last)
    if not begun:
        space.actor = None
        return
    space.runtime.publish(SpaceStarted, space)
    if space.budget is not None:
        space.budget.started(space.clock.now)


async def _begin_with_hooks(worker: Worker, last: Failure | None) -> bool:
    """Begin the life of an incarnation in a hook; meanwhile its space counts as one that will want a turn."""
    space, load = worker.space, worker.space.runtime.load
    if load is not None:
        load.space_begins()
    try:
        return await hook(worker, lambda: _begin(space, last))
    finally:
        if load is not None:
            load.space_began()


async def _begin(space: Space, last: Failure | None) -> None:
    if space.actor is not None:
        # The start is run again: what the first try made is nobody's.
        await space.runtime.background.stop(space, grace=0.0)
    space.actor = actor = space.runtime.make_actor(space)
    if "on_start" in space.kind.hooks:
        await actor.on_start()
    if last is not None and "on_restart" in space.kind.hooks:
        await actor.on_restart(last)


async def _only_make(worker: Worker) -> bool:
    """Make an actor without hooks: nothing to wait for, so nothing to cancel."""
    space = worker.space
    worker.in_hook = True
    try:
        space.actor = space.runtime.make_actor(space)
        if worker.touched:
            await commit(worker, None)
    except VersionLost:
        worker.close()
        await _look_again(worker)
        return False
    except EpochLost:
        worker.close()
        lose(space)
        return False
    except StoreError:
        worker.close()
        halts.wait_for_store(space)
        return False
    except Exception as error:
        worker.close()
        failed(space, error, None)
        return False
    worker.close()
    return True


async def _look_again(worker: Worker) -> bool:
    """Take over what somebody else has written, before a hook runs again; tell whether it could be read."""
    try:
        await look_again(worker.space)
    except StoreError:
        halts.wait_for_store(worker.space)
        return False
    return True


async def hook(worker: Worker, call: Callable[[], Awaitable[Any]]) -> bool:
    """Run a turn without a message; tell whether it was committed. A crash is noted as the space's failure."""
    while True:
        try:
            return await _try_hook(worker, call)
        except VersionLost:
            if worker.space.ending is Ending.KILL or not await _look_again(worker):
                return False
        except EpochLost:
            lose(worker.space)
            return False
        except StoreError:
            halts.wait_for_store(worker.space)
            return False
        except Exception as error:
            if not isinstance(only_leaf(error), Preempted):
                failed(worker.space, error, None)
                return False
            # Its limit was needed more elsewhere: no fault of its own, and it runs again.
            await trio.lowlevel.checkpoint()
            if worker.space.ending is Ending.KILL:
                return False


async def _try_hook(worker: Worker, call: Callable[[], Awaitable[Any]]) -> bool:
    """Run a hook once, and tell whether it was committed or was cut off."""
    space = worker.space
    seconds = space.options.turn_timeout
    worker.in_hook = True
    if not worker.noted:
        space.runtime.stalls.note(worker)
    done = False
    try:
        with trio.CancelScope() as worker.scope:
            if space.lane is not None:
                await space.lane.enter(worker)
            if seconds is not None:
                worker.scope.deadline = trio.current_time() + seconds
            await call()
            worker.returned = True
            worker.scope.deadline = inf
            await commit(worker, None)
            done = True
        if not done and worker.cut is None:
            raise out_of_time(space, "a hook", seconds, "SpaceOptions(turn_timeout=...)")
        return done
    finally:
        worker.close()
        worker.cut = None
        if space.lane is not None:
            space.lane.end(worker)


def out_of_time(space: Space, what: str, seconds: float | None, option: str) -> TurnTimeout:
    """Return the error for a turn that took longer than an option allows."""
    limit = "its time" if seconds is None else f"its {seconds:g} s"
    return TurnTimeout(f"{what} of {space.name} took longer than {limit}; {option} sets how long it may take")


def failed(space: Space, error: BaseException, message: Message | None) -> None:
    """Note that the actor crashed; the first of several crashes counts."""
    if space.failure is None:
        space.failure = (error, message)
    space.last_error = error
    space.wake()


async def recover(worker: Worker) -> None:
    """Take the crashed incarnation down, and decide by the budget: restart after a while, or quarantine."""
    space = worker.space
    if space.failure is None:
        return
    error, message = space.failure
    space.actor = None
    await space.runtime.background.stop(space, grace=0.0)
    space.failure = None
    if space.budget is None:
        space.budget = Budget(space.options.restart_limit, backoff_of(space.options.backoff))
    message_id = None if message is None else message.id
    decision = space.budget.after_crash(error, space.clock.now)
    if isinstance(decision, GiveUp):
        space.runtime.publish(SpaceInQuarantine, space, error, message_id, decision.history)
        halts.quarantine(space, error)
        return
    space.restarts += 1
    space.runtime.restarts += 1
    space.last_failure = Failure(error, message, space.restarts)
    space.runtime.publish(SpaceCrashed, space, error, message_id, decision.delay, decision.restarts)
    if decision.delay > 0 and not space.hurried:
        space.backing_off = True
        space.alarm = space.runtime.keeper.set(space.clock.now + decision.delay, lambda: end_backoff(space))


def end_backoff(space: Space) -> None:
    """Let the next incarnation start."""
    if space.alarm is not None:
        space.alarm.cancel()
        space.alarm = None
    space.backing_off = False
    space.wake()


def lose(space: Space) -> None:
    """End an activation at once: a later opening of the store owns the space, and its messages go on there."""
    if not space.fenced:
        space.fenced = True
        space.runtime.publish(SpaceLost, space, space.pending)
        begin_end(space, Ending.KILL)


# ---- passivation


def ask_to_passivate(space: Space) -> None:
    """Have an idle space leave memory."""
    space.passivating = space.looks_up = True
    space.wake()


async def _still_idle(worker: Worker) -> bool:
    """Run `on_idle` if it is due, and tell whether it left the space idle."""
    space = worker.space
    if space.actor is not None and space.idle_due() and "on_idle" in space.kind.hooks:
        await hook(worker, space.actor.on_idle)
    return space.idle


async def passivate(worker: Worker) -> bool:
    """Leave memory in good order; tell whether the space is gone, or a message came in between."""
    space = worker.space
    space.passivating = False
    if not (space.idle and await _still_idle(worker)):
        space.runtime.places.stayed(space)
        return False
    await space.runtime.background.stop(space, grace=space.options.shutdown)
    await _clean_up(worker)
    space.actor = None
    if space.mailbox or space.line or space.answering or space.failure is not None or space.ending is not None:
        space.runtime.places.stayed(space)
        return False  # its next activation begins here and now
    space.runtime.publish(SpacePassivated, space)
    space.runtime.forget(space)
    return True


# ---- the end


async def _clean_up(worker: Worker) -> None:
    """Have a living actor clean up; a failure there stops no stopping, but is told."""
    space = worker.space
    actor, crashed = space.actor, space.failure is not None
    if actor is None or crashed or "on_stop" not in space.kind.hooks:
        return
    if not await hook(worker, actor.on_stop):
        ended_badly(space, None if space.failure is None else space.failure[0])
        space.failure = None


_ORDERLY = frozenset({Ending.DRAIN, Ending.STOP, Ending.DELETE})
_HOW = {Ending.DRAIN: "drain", Ending.STOP: "stop", Ending.DELETE: "delete", Ending.KILL: "kill"}


def begin_end(space: Space, ending: Ending, *, by_runtime: bool = False) -> None:
    """Close the door and have the worker end the activation; a stronger ending overrules a weaker one."""
    space.looks_up = True
    if space.ending is None or ending > space.ending:
        # What a runtime ends, or a drain cannot finish, goes on in a later process; what a user stops comes back.
        space.keeps = space.runtime.durable is not None and (by_runtime or ending is Ending.DRAIN)
    killed = space.ending is Ending.KILL
    space.removing = space.removing or ending is Ending.DELETE
    if space.ending is None or ending > space.ending:
        space.ending = ending
    space.gate = Gate.DRAINING if space.ending is Ending.DRAIN else Gate.STOPPING
    door.turn_away_line(space)
    if space.ending is not Ending.DRAIN:
        give_back_waiting(space)
    if space.ending is Ending.KILL and not killed:
        kill_turns(space)
    if space.alarm is not None and not space.quarantined:
        end_backoff(space)
    if not space.workers:
        space.runtime.start_workers(space)
    space.wake()


def kill_turns(space: Space) -> None:
    """Cancel what runs, and tell each second of what will not end."""
    for worker in space.workers:
        worker.cancel(Cut.KILLED)
    for running in space.background:
        space.runtime.block.stopper.cancel(running)
    if space.open_turns:
        _watch_stuck(space, space.clock.now)


def _watch_stuck(space: Space, since: float) -> None:
    def tell() -> None:
        if not space.gone and space.open_turns:
            told_stuck(space, space.clock.exactly() - since)
            _watch_stuck(space, since)

    space.runtime.keeper.set(space.clock.exactly() + 1.0, tell)


def give_back_waiting(space: Space) -> None:
    """Return, or for a deletion discard, everything that waits."""
    waiting = list(space.mailbox)
    space.mailbox.clear()
    for message in waiting:
        end_unhandled(space, message)
    space.runtime.suspensions.drop(space)
    door.release_senders(space)


def end_unhandled(space: Space, message: Message) -> None:
    """End a message whose turn does not come in this activation."""
    if space.fenced:
        outcomes.abandon(space, message, f"{space.name} is owned by a later opening of the store")
    elif space.ending is Ending.DELETE:
        outcomes.discard(space, message, DiscardReason.DELETED)
    elif space.keeps:
        outcomes.leave_pending(space, message)
    else:
        outcomes.give_back(space, message)


def _is_answered(space: Space) -> bool:
    """Tell whether a drain has to wait for an answer that is being written: its turn can be finished then."""
    return space.ending is Ending.DRAIN and space.answering > 0


async def end(worker: Worker) -> None:
    """End the activation as it was asked for."""
    space = worker.space
    while space.open_turns:
        await worker.park()
    if _is_answered(space):
        await worker.park()
        return
    if space.ending is not None and space.ending is not Ending.KILL:
        grace = space.options.shutdown
        await space.runtime.background.stop(space, grace=grace, finish=space.ending is Ending.DRAIN)
    if space.ending in _ORDERLY:
        await _clean_up(worker)
    await space.runtime.background.stop(space, grace=0.0)
    space.actor = None
    if _is_answered(space):
        await worker.park()
        return
    give_back_waiting(space)
    how = space.ending or Ending.STOP
    if how is not Ending.DRAIN and not (space.keeps or space.fenced):
        space.row.stopped = True
        space.runtime.timers.cancel_all(space.row)
        if space.runtime.durable is not None and not space.removing:
            space.runtime.durable.note(space.row)
    if space.removing:
        try:
            await space.runtime.store.delete(space.kind.name, space.id)
            space.runtime.feeds.begin_anew(space)
        except StoreError as error:
            space.undeleted = error  # whoever asked for the deletion is told
    space.runtime.publish(SpaceEnded, space, _HOW[how], space.returned)
    space.runtime.forget(space)


# ---- what is told


def told_retry(space: Space, message: Message, error: BaseException) -> None:
    """Tell that a message is tried again."""
    space.runtime.publish(MessageRetried, space, message.id, message.call, message.attempts, error)


def told_failure(space: Space, error: BaseException) -> None:
    """Tell of a failure that changes nothing."""
    space.runtime.publish(WorkFailed, space, error)


def ended_badly(space: Space, error: BaseException | None) -> None:
    """Take note of clean-up that failed or was cut off: it stops no stopping, but the report is not clean."""
    if space.ending is not None or space.runtime.draining:
        space.finished = False
    if error is not None:
        told_failure(space, error)


def told_stuck(space: Space, seconds: float) -> None:
    """Tell that something of a space was cancelled and does not end; who waits for the space's end need not longer."""
    space.stuck = True
    space.runtime.publish(SpaceUnstoppable, space, seconds)
    if space.over is not None:
        space.over.set()
