"""How a turn ends that did not end well: tried again, rejected, failed, cut off."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spaceactors import _halts as halts
from spaceactors import _landing as landing
from spaceactors import _life as life
from spaceactors import _outcomes as outcomes
from spaceactors._decide import Judgement, judge, only_leaf
from spaceactors._errors import ActorCrashed, ConcurrentModification, Reject, Rejected
from spaceactors._message import short
from spaceactors._options import DiscardReason
from spaceactors._space import FAILED, REJECTED
from spaceactors._store import EpochLost
from spaceactors._suspensions import part
from spaceactors._turn import Cut
from supervisors import Preempted

if TYPE_CHECKING:
    from spaceactors._errors import StoreError, TurnTimeout
    from spaceactors._message import Message
    from spaceactors._space import Space
    from spaceactors._worker import Worker


def failed(worker: Worker, message: Message | None, error: BaseException) -> None:
    """Decide how a turn ends that raised."""
    space = worker.space
    if message is None:
        worker.close()
        life.failed(space, error, None)
        return
    if worker.cut is not None:
        cut_off(worker, error)  # raised on the way out: the cancellation stands
        return
    if isinstance(error, EpochLost):
        fenced(worker)
        return
    if isinstance(only_leaf(error), Preempted) and not _streamed(message):
        again(worker, message, counted=False)  # its limit was needed more elsewhere: no fault of its own
        return
    attempts = message.attempts = max(message.attempts, 1)
    most = attempts if _streamed(message) else message.handler.max_attempts
    verdict = judge(error, message.handler.throws, attempts=attempts, most=most)
    if verdict.again:
        life.told_retry(space, message, error)
        again(worker, message, counted=True)
    else:
        _settle_failed(worker, message, error, rejected=verdict is Judgement.REJECTED)
    if verdict.crash:
        life.failed(space, error, message)


def again(worker: Worker, message: Message | None, *, counted: bool) -> None:
    """Put the message back in its place for another try."""
    if message is not None and not landing.is_lost(worker.space, message):
        message.attempts = max(message.attempts - (not counted), 0)
        message.rare()  # tried again: no longer an ordinary message, whose tries are not counted
        worker.space.put_back(message)
        durable = worker.space.runtime.durable
        if counted and durable is not None:
            message.rare().tried = message.attempts
            durable.put_back(worker.space.row, message)
    worker.close()
    worker.space.attention = True


def overtaken(worker: Worker, message: Message) -> None:
    """Run a turn again whose state somebody else has changed meanwhile, if nobody has seen anything of it."""
    if not _streamed(message):
        again(worker, message, counted=False)
        return
    name = worker.space.name
    text = f"the state of {name} was changed after items of {message!r} were handed over: ask for the stream again"
    failed(worker, message, ConcurrentModification(text, space=worker.space.handle, message=message))


def unkept(worker: Worker, message: Message, error: StoreError) -> None:
    """End a turn that the store could not keep: what was accepted stays, and is tried again when the store can write.

    An ask that was never written is refused instead: its asker may send it again.
    """
    space, extra = worker.space, message.extra
    asked = extra is not None and (message.waiter is not None or extra.joined or extra.reader is not None)
    written = extra is not None and (extra.row or extra.landing is not None or extra.insist or extra.timer is not None)
    if space.runtime.durable is not None and asked and not written:
        worker.close()
        outcomes.refuse_after_all(space, message, error)
        space.attention = True
        return
    again(worker, message, counted=False)
    halts.wait_for_store(space)


def fenced(worker: Worker) -> None:
    """End the activation of a space that a later opening of the store owns now; its messages go on there."""
    space, message = worker.space, worker.message
    worker.close()
    if message is not None:
        outcomes.abandon(space, message, f"{space.name} is owned by a later opening of the store")
    life.lose(space)


def _settle_failed(worker: Worker, message: Message, error: BaseException, *, rejected: bool) -> None:
    space = worker.space
    if rejected:
        leaf = only_leaf(error)
        refused = Rejected(leaf.reason if isinstance(leaf, Reject) else leaf, space=space.handle, message=message)
        refused.__cause__ = error
        outcomes.settle(space, message, REJECTED, error=refused)
        worker.close()
        return
    crashed = ActorCrashed(
        f"{space.name} failed at {message!r}: {short(error, 300)}", space=space.handle, message=message
    )
    crashed.__cause__ = error
    outcomes.settle(space, message, FAILED, error=crashed, letter=error)
    worker.close()


def cut_off(worker: Worker, error: BaseException | None) -> None:
    """End a turn that was cancelled; what it raised on its way out is told, or is a reason to end everything."""
    space, message, cut = worker.space, worker.message, worker.cut
    question, error = part(error)
    if question is not None and error is None and cut is None and message is not None:
        try:
            space.runtime.suspensions.suspended(message, question.asked)
        except Exception as unfit:  # a question that the store cannot keep
            failed(worker, message, unfit)
            return
        worker.close()
        space.runtime.look_whether_quiet(space)
        return
    fatal = error is not None and not isinstance(error, Exception)
    if cut is None and not fatal:
        beside = None if question is None else error
        failed(worker, message, beside or _timed_out(space, message, error))
        return
    worker.close()
    space.attention = True
    if message is not None:
        _settle_cut(worker, message, cut)
    if fatal and error is not None:
        raise error
    if error is not None:
        life.told_failure(space, error)


def _timed_out(space: Space, message: Message | None, error: BaseException | None) -> TurnTimeout:
    seconds = None if message is None else message.handler.timeout
    what = "a turn" if message is None else f"{message!r}"
    timeout = life.out_of_time(space, what, seconds, "@handler(timeout=...) or SpaceOptions(turn_timeout=...)")
    timeout.__cause__ = error
    return timeout


def _settle_cut(worker: Worker, message: Message, cut: Cut | None) -> None:
    space = worker.space
    message.attempts = max(message.attempts, 1)
    if cut in {Cut.INTERRUPTED, Cut.ABANDONED}:
        outcomes.discard(space, message, DiscardReason.INTERRUPTED)
        return
    space.finished = False
    if space.keeps:
        outcomes.leave_pending(space, message)
    else:
        outcomes.give_back(space, message)


def _streamed(message: Message) -> bool:
    """Tell whether items of a stream were handed over already: then there is no second try."""
    return message.extra is not None and message.extra.reader is not None and message.extra.reader.started
