"""From a call on a handle to a message at its space: what is called is checked, and the space found or made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import evolve

from spaceactors import _door as door
from spaceactors import _landing as landing
from spaceactors._errors import BadCall
from spaceactors._message import Message, MessageOptions, new_message
from spaceactors._space import Source
from spaceactors._turn import works_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio.lowlevel import Task

    from spaceactors._handle import SpaceHandle
    from spaceactors._handlers import Handler
    from spaceactors._kind import Kind
    from spaceactors._port import DurablePort
    from spaceactors._turn import Place


def bind(handle: SpaceHandle[Any]) -> None:
    """Give an unpickled handle its runtime: that of the calling actor, or the only one that is open."""
    from spaceactors._open_hubs import runtime_here

    runtime = runtime_here()
    if runtime is None:
        msg = f"{handle!r} was unpickled outside a runtime: write runtime.space({handle.id!r}) to name it there"
        raise BadCall(msg, space=handle)
    handle._runtime = runtime
    handle._kind = runtime.named_kind(handle.kind)
    handle._options = evolve(handle._options, clock=runtime.clock)


def make_message(
    handle: SpaceHandle[Any],
    method: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    waiter: Task | None,
) -> Message:
    """Make the message of a call, or raise `BadCall`."""
    runtime = handle.runtime
    kind: Kind = handle._kind  # type: ignore[assignment]
    handler = kind.calls.get(method) or _handler(handle, kind, method)
    if kwargs or not handler.least <= len(args) <= handler.most:
        misfit = handler.misfit(args, kwargs)
        if misfit is not None:
            raise BadCall(misfit, space=handle)
    if not runtime.plain and runtime.store.check is not None:
        _check_arguments(handle, (args, kwargs))
    options = handle._options
    # Its time runs from the call, and not from the beginning of a tick in which something computed for long.
    now = runtime.clock.now if options.expires_after is None else runtime.clock.exactly()
    message = new_message(handler, args, options, now, waiter)
    if kwargs:
        message.rare().kwargs = kwargs
    if options.message_id is not None or options.expires_after is not None:
        message.rare().identified = options.message_id is not None
    if runtime.durable is not None:
        pack(runtime.durable, handle, message)
    if kind.options.max_mailbox_bytes is not None:
        runtime.sizes.fit(handle, kind, message)
    return message


def stored_quickly(
    handle: SpaceHandle[Any], durable: DurablePort, method: Callable[..., Any], args: tuple[Any, ...]
) -> Message | None:
    """Have an ordinary call accepted by a live space of a durable store, if it needs nothing but a place."""
    space = handle._space
    if space is None or space.gone or space.gate is not None or space.weighed is not None:
        return None
    handler = space.calls.get(method)
    if handler is None or len(args) != handler.exact or len(space.mailbox) >= space.capacity:
        return None
    message = new_message(handler, args, handle._options, space.clock.now)
    try:
        durable.pack(message, space.kind.name)
    except BadCall as error:
        raise BadCall(*error.args, space=handle, message=message) from error.__cause__
    if space.lane is not None:
        door.accept(space, message)
        return message
    # `door.accept` once more, without what a plain message does not need.
    extra = message.rare()
    durable.number(message)
    landing.land(space, message, extra)
    space.mailbox.append(message)
    space.accepted += 1
    return message


def pack(durable: DurablePort, handle: SpaceHandle[Any], message: Message) -> None:
    """Have a message prepared to be written. Raises `BadCall`."""
    try:
        durable.pack(message, handle.kind)
    except BadCall as error:
        raise BadCall(*error.args, space=handle, message=message) from error.__cause__


def _handler(handle: SpaceHandle[Any], kind: Kind, method: Callable[..., Any]) -> Handler:
    try:
        return kind.handler(method)
    except BadCall as error:
        raise BadCall(*error.args, space=handle) from None


def _check_arguments(handle: SpaceHandle[Any], arguments: object) -> None:
    check = handle.runtime.store.check
    if check is not None:
        try:
            check(arguments)
        except BadCall as error:
            raise BadCall(*error.args, space=handle) from error.__cause__


def offer(
    handle: SpaceHandle[Any], message: Message, waiting: Task | None, place: Place | None, *, may_wait: bool
) -> bool:
    """Bring a message to its space, live or not; tell whether it was accepted."""
    space = handle._space
    if space is None or space.gone:
        space = handle.runtime.space_or_none(handle, message)
        if space is None:
            return handle.runtime.line_up(handle, message, waiting, may_wait=may_wait)
        if handle._plain:
            handle._space = space
    handle.check_group(space)
    source = Source.BACKGROUND if works_in(handle.runtime, place) else Source.OUTSIDE
    return door.offer(space, message, source, waiting, may_wait=may_wait)


def options_again(handle: SpaceHandle[Any], message: Message) -> MessageOptions:
    """Return the options with which a message that came back is the same message again; its time has run out once."""
    return MessageOptions(
        clock=handle.runtime.clock,
        message_id=message.id,
        priority=message.options.priority,
        correlation_id=message.options.correlation_id,
        headers=message.options.headers,
    )
