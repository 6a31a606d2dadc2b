"""What calls wait for, and what a call in a turn does: leave with its commit, ask under a lasting id, close no ring."""

from __future__ import annotations

from contextlib import asynccontextmanager
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from attrs import evolve
from trio.lowlevel import Abort, checkpoint_if_cancelled, current_task, enable_ki_protection, wait_task_rescheduled

from spaceactors import _calling as calling
from spaceactors import _door as door
from spaceactors._errors import AskCycle, BadCall
from spaceactors._lane import look_at_lanes
from spaceactors._pace import lent
from spaceactors._space import Source
from spaceactors._stream import Reader
from spaceactors._turn import here
from spaceactors._waits import Wait, needed, ring

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

    from trio.lowlevel import Task

    from spaceactors._handle import SpaceHandle
    from spaceactors._message import Message
    from spaceactors._space import Space
    from spaceactors._turn import Place
    from spaceactors._worker import Worker


def post(handle: SpaceHandle[Any], place: Place, message: Message) -> str:
    """Put a message of a turn into what leaves with its commit."""
    sender = place.space
    if sender.runtime is not handle._runtime:
        msg = f"{handle!r} belongs to another runtime: nothing of a turn can leave with its commit to there"
        raise BadCall(msg, space=handle, message=message)
    if handle.runtime.durable is None:
        handle.runtime.row_of(handle)  # here, so that nothing can be wrong with the target after the commit
    extra = message.rare()
    extra.sender = sender.handle
    worker = sender.worker_of(place)
    _inherit(message, worker)
    worker.record.post(handle, message)
    return message.id


def _inherit(message: Message, worker: Worker) -> None:
    current = worker.message
    if current is not None and current.correlation_id is not None and message.correlation_id is None:
        message.options = evolve(message.options, correlation_id=current.correlation_id)


async def ask_in_turn(handle: SpaceHandle[Any], place: Place, message: Message, task: Task) -> Any:
    """Ask from a turn: under an id that a second try repeats, and never into a ring."""
    space = place.space
    worker = space.worker_of(place)
    _check_runtime(handle, space, message)
    message.rare().sender = space.handle
    _inherit(message, worker)
    _give_question_id(handle, worker, message)
    if handle.runtime.loading.is_here(handle.key):
        return await _ask_live(handle, worker, message, task, handle.runtime.space_waited_for(handle))
    # Lent to the end: in a wait for the token between the two the space could leave memory again.
    async with lent(worker):
        return await _ask_live(handle, worker, message, task, await handle.runtime.loading.wake(handle))


async def _ask_live(handle: SpaceHandle[Any], worker: Worker, message: Message, task: Task, target: Space) -> Any:
    async with waiting(handle, worker, target, message):
        door.offer(target, message, Source.INSIDE, None, may_wait=True)
        return await wait_for_answer(handle, message, task)


async def _target(handle: SpaceHandle[Any]) -> Space:
    """Return the live space for which a turn is going to wait."""
    runtime = handle.runtime
    if runtime.loading.is_here(handle.key):
        return runtime.space_waited_for(handle)
    return await runtime.loading.wake(handle)


def _check_runtime(handle: SpaceHandle[Any], space: Space, message: Message) -> None:
    if space.runtime is not handle._runtime:
        msg = f"{handle!r} belongs to another runtime: ask it from outside turns"
        raise BadCall(msg, space=handle, message=message)


def _give_question_id(handle: SpaceHandle[Any], worker: Worker, message: Message) -> None:
    """Give a question the id under which a second try of the turn asks it again, and gets the same answer.

    It is the same question if its arguments show the same `repr`: those of numbers, texts, tuples, attrs classes and
    dataclasses repeat. One that shows an object's address repeats as long as it is the same object, and one that cannot
    be shown at all counts by its type; so does the order of equal calls in the turn.
    """
    current = worker.message
    if current is None or message.options.message_id is not None:
        return
    shown = [*map(_shown, message.args), *(f"{key}={_shown(message.kwargs[key])}" for key in sorted(message.kwargs))]
    call = f"{handle._kind_name}/{handle._id}/{message.call}({', '.join(shown)})"
    number = worker.record.ask_again(call)
    digest = blake2b(f"{current.id}|{call}|{number}".encode(), digest_size=12).hexdigest()
    message.options = evolve(message.options, message_id=f"ask-{digest}")
    message.made_id = None  # it may have been given another by then
    message.rare().identified = True
    if handle.runtime.durable is not None:
        handle.runtime.durable.pack(message, handle.kind)


def _shown(value: object) -> str:
    try:
        return repr(value)
    except Exception:  # a user's class
        return f"<{type(value).__qualname__}>"


@asynccontextmanager
async def waiting(
    handle: SpaceHandle[Any], worker: Worker, target: Space, message: Message | None
) -> AsyncGenerator[None]:
    """Have an open turn wait for `target`: refused if that would wait for the turn itself; its lane is lent."""
    _refuse_ring(handle, worker, target, message)
    wait = Wait(target, message, target.clock.now)
    worker.waits.append(wait)
    lane = worker.space.lane
    # Who reads a stream does something with each item: its token is lent while it waits for one, in `Reader`.
    pace = None if wait.streams else worker.pace
    if pace is not None:
        pace.lend()
    if lane is not None:
        lane.lend(worker)
    if handle.runtime.has_lanes:
        look_at_lanes(needed(worker))
    try:
        yield
    finally:
        worker.waits.remove(wait)
        try:
            if lane is not None:
                # Without its token, which who has the lane may need; one that does not stream has lent it already.
                async with lent(worker if wait.streams else None):
                    await lane.resume(worker)
            if pace is not None:
                await pace.resume()
        finally:
            handle.runtime.stalls.progressed(worker)


def _refuse_ring(handle: SpaceHandle[Any], worker: Worker, target: Space, message: Message | None) -> None:
    """Raise `AskCycle` where a wait would close a ring; one that only holds a sender back is let go instead."""
    path = ring(target, worker)
    while path is not None:
        held = next((one for one in path if one.held_by), None)
        if held is None:
            names = " → ".join(one.name for one in (worker.space, *path))
            msg = f"waiting here would wait for ever: {names}; use `send`, or ask from background work"
            raise AskCycle(msg, space=handle, message=message)
        held.held_by = ()
        held.wake()
        path = ring(target, worker)


async def wait_for_answer(handle: SpaceHandle[Any], message: Message, task: Task) -> Any:
    def abort(_: object) -> Abort:
        if message.waiter is None:
            return Abort.FAILED  # the call was answered at the door, before it began to wait
        _leave(handle, message, task)
        return Abort.SUCCEEDED

    return await wait_task_rescheduled(abort)


async def wait_for_place(handle: SpaceHandle[Any], message: Message, task: Task) -> None:
    def abort(_: object) -> Abort:
        _leave(handle, message, task)
        return Abort.SUCCEEDED

    await wait_task_rescheduled(abort)


def _leave(handle: SpaceHandle[Any], message: Message, task: Task) -> None:
    """Take back what waits for a place, and the wish for an answer."""
    if message.waiter is task:
        message.waiter = None
        if message.extra is not None:
            message.extra.left = True
    runtime = handle.runtime
    if runtime.places.leave_line(handle, message):
        return
    space = runtime.live.get(handle.key)
    if space is None or door.leave_line(space, message):
        return
    first = _leave_joined(space, message)
    for worker in space.workers:
        worker.abandon(first)


def _leave_joined(space: Space, message: Message) -> Message:
    """Take back the wish for the answer to an earlier message, and return it if nobody else wants it either."""
    first = space.asked.get(message.id) if message.extra is not None and message.extra.identified else None
    if first is None or first.extra is None or message not in first.extra.joined:
        return message
    first.extra.joined = tuple(one for one in first.extra.joined if one is not message)
    # A message that was sent has no asker who could have left: it runs to its end.
    return first if first.extra.left else message


@asynccontextmanager
@enable_ki_protection
async def stream(
    handle: SpaceHandle[Any], method: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> AsyncGenerator[AsyncIterator[Any]]:
    await checkpoint_if_cancelled()
    message = calling.make_message(handle, method, args, kwargs, None)
    if not message.handler.streams:
        msg = f"{message.call} gives one answer: use `await handle.ask(...)`"
        raise BadCall(msg, space=handle, message=message)
    if message.options.message_id is not None:
        msg = "a stream takes no message_id: its items cannot be given twice"
        raise BadCall(msg, space=handle, message=message)
    reader = message.rare().reader = Reader(lambda: _abandon(handle, message))
    place = here.get()
    try:
        if place is not None and place.in_turn():
            async with _streaming_in_turn(handle, place, message, reader):
                yield reader
            return
        task = current_task()
        if not calling.offer(handle, message, task, place, may_wait=True):
            await wait_for_place(handle, message, task)
        yield reader
    finally:
        reader.leave()


@asynccontextmanager
async def _streaming_in_turn(
    handle: SpaceHandle[Any], place: Place, message: Message, reader: Reader
) -> AsyncGenerator[None]:
    space = place.space
    _check_runtime(handle, space, message)
    message.rare().sender = space.handle
    worker = space.worker_of(place)
    _inherit(message, worker)
    target = await _target(handle)
    async with waiting(handle, worker, target, message):
        task = current_task()
        if not door.offer(target, message, Source.INSIDE, task, may_wait=True):
            async with lent(worker):
                await wait_for_place(handle, message, task)
        reader.pace = worker.pace
        try:
            yield
        finally:
            reader.leave()  # now: the lane may come back only when the turn that streams is over


def _abandon(handle: SpaceHandle[Any], message: Message) -> None:
    space = handle.runtime.live.get(handle.key)
    for worker in space.workers if space is not None else ():
        worker.abandon(message)
