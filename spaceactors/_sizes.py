"""How many bytes states and calls are: as a durable store would write them, in every store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

from spaceactors._codec import Codec
from spaceactors._errors import BadCall, StateTooLarge

if TYPE_CHECKING:
    from spaceactors._handle import SpaceHandle
    from spaceactors._hub import Hub
    from spaceactors._kind import Kind
    from spaceactors._message import Message
    from spaceactors._space import Space


@final
class Sizes:
    """Measures for the bounds `max_state_bytes` and `max_mailbox_bytes`."""

    __slots__ = ("_codec",)

    def __init__(self, hub: Hub) -> None:
        by_name = hub.by_name
        self._codec = Codec(by_name.values(), lambda kind, space_id: hub.handle(by_name[kind], space_id))

    def state(self, space: Space, state: object) -> bytes:
        """Return the bytes of a turn's new state, for who is to write them. Raises `StateTooLarge`, `CannotEncode`."""
        encoded = self._codec.encode_state(space.kind, state)
        most = space.options.max_state_bytes
        if most is not None and len(encoded) > most:
            msg = (
                f"the new state of {space.name} has {len(encoded):,} bytes, and SpaceOptions(max_state_bytes={most:,})"
                " allows no more: the turn is rolled back; keep what grows in the history, or raise the bound"
            )
            raise StateTooLarge(msg, space=space.handle)
        return encoded

    def call(self, kind: Kind, message: Message) -> int:
        """Return how many bytes a call is with its arguments, measured once. Raises `CannotEncode`."""
        extra = message.rare()
        if not extra.size:
            encoded = extra.packed or self._codec.encode_call(
                kind, message.handler, message.args, extra.kwargs, (message.id,)
            )
            extra.size = len(encoded)
        return extra.size

    def fit(self, handle: SpaceHandle[Any], kind: Kind, message: Message) -> None:
        """Refuse a call that no mailbox of its kind could ever hold. Raises `BadCall`."""
        try:
            size = self.call(kind, message)
        except TypeError as error:
            msg = f"{message.call}: {error}; SpaceOptions(max_mailbox_bytes=...) has to know how large it is"
            raise BadCall(msg, space=handle, message=message) from error
        most = kind.options.max_mailbox_bytes
        if most is not None and size > most:
            msg = (
                f"{message.call} with its arguments has {size:,} bytes, and the whole mailbox of {handle.id} holds"
                f" {most:,}: send less at once, or raise SpaceOptions(max_mailbox_bytes=...)"
            )
            raise BadCall(msg, space=handle, message=message)
