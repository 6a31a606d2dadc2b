"""How most turns end where the store is durable: settled when the store says that they are kept.

The worker sleeps on meanwhile, and then as one that is parked: a message costs it one step, not two. What sends
something, or must wait for its row, ends the long way (`_settle.commit`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from outcome import Error
from trio.lowlevel import Abort, reschedule

from spaceactors import _outcomes as outcomes
from spaceactors._receipt import another
from spaceactors._settle import commit_of, commit_to_keep, publish
from spaceactors._space import HANDLED

if TYPE_CHECKING:
    from collections.abc import Callable

    from spaceactors._message import Message
    from spaceactors._receipt import Receipt
    from spaceactors._store import Commit, Row
    from spaceactors._worker import Worker


@final
class Keeping:
    """The commits of one worker, of which at most one is on its way to the disk."""

    __slots__ = ("_cancelled", "_known", "_made", "_reply", "_row", "_worker", "under_way")

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        # Bound once.
        self._known: Callable[[Receipt[None]], None] = self._become_known
        # What is on its way, and what is answered with it.
        self._row: Row | None = None
        self._made: Commit | None = None
        self._reply: object = None
        # Whether the worker waits for it, and cannot be cancelled.
        self.under_way = False
        # Whether the worker was cancelled meanwhile, which it hears when this turn is over.
        self._cancelled = False

    def begin(self, message: Message, reply: object) -> bool:
        """Have the commit of the open turn written, if it concerns nothing but its own row; tell whether it does.

        Raises `VersionLost`, or what the store raises.
        """
        worker = self._worker
        space, record = worker.space, worker.maybe_record
        row, durable, extra = space.row, space.runtime.durable, message.extra
        if row.held or durable is None or extra is None or extra.journal or (record is not None and record.outbox):
            return False
        if record is None and not extra.identified and extra.timer is None:
            made = commit_of(space, None, message)
            made.plain = True
        else:
            made = commit_to_keep(space, record, message, reply)
        row.held = True
        try:
            write = durable.write_commit(row, made)
        except BaseException:
            durable.free(row)
            raise
        if write is None:
            durable.free(row)
            return False
        if write.done:
            self._settle(row, made, reply, write.error)
        else:
            self._row, self._made, self._reply = row, made, reply
            self.under_way = True
            write.then(self._known)
        return True

    def not_now(self) -> Abort:
        """Refuse to be cancelled: the turn has returned. The worker hears of it when the turn is settled."""
        self._cancelled = True
        return Abort.FAILED

    def _become_known(self, write: Receipt[None]) -> None:
        """Settle the turn; the worker sleeps on if there is nothing else to do."""
        worker, row, made, reply = self._worker, self._row, self._made, self._reply
        self._row = self._made = self._reply = None
        if row is None or made is None:
            raise AssertionError
        try:
            self._settle(row, made, reply, write.error)
        except Exception as error:
            self.under_way = False
            reschedule(worker.task, Error(error))
            return
        self.under_way = False
        space = worker.space
        runtime = space.runtime
        if (
            space.mailbox
            or space.attention
            or self._cancelled
            or space.looks_up
            or runtime.draining
            or runtime.places.wanted
        ):
            self._cancelled = False
            reschedule(worker.task)
        else:
            space.idle_at = space.clock.now
            space.parked.append(worker.task)

    def _settle(self, row: Row, made: Commit, reply: object, error: Exception | None) -> None:
        """Make visible what was kept. Raises what was refused."""
        worker = self._worker
        space = worker.space
        durable, message = space.runtime.durable, worker.message
        if durable is None:
            raise AssertionError
        if error is None:
            durable.committed(row, made)
        durable.free(row)
        if error is not None:
            raise another(error)
        if message is None:
            return  # the turn was taken from its worker, as a kill takes it (tests)
        record = worker.maybe_record
        if record is not None:
            publish(space, record)
        space.took(worker.began)
        outcomes.settle(space, message, HANDLED, reply=reply)
        worker.close()
