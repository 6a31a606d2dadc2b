"""The landing of one message: its row, unless something else has carried it onto the disk by then."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from spaceactors._errors import StoreError
from spaceactors.stores._desk import Write

if TYPE_CHECKING:
    from spaceactors._message import Message
    from spaceactors._receipt import Receipt
    from spaceactors._store import Row
    from spaceactors.stores._desk import Desk
    from spaceactors.stores._freeze import Freezer


@final
class Landing(Write):
    """A promise that a message will be on the disk; how is decided when it comes into a group.

    An ask that is running already lands when the same message is sent as well: then a step of its turn, or the commit,
    may be there first. A message that was discarded meanwhile needs no row any more.
    """

    def __init__(self, desk: Desk, freeze: Freezer, row: Row, message: Message, *, insist: bool) -> None:
        # As `Write` does, without the call: a message costs one of these.
        self.rows, self.key, self.insist = (), None, insist
        self._desk = desk
        self._freeze = freeze
        self._row = row
        self.about = message

    def ready(self) -> bool:
        """Make the row if it is needed; tell whether it is."""
        if self.rows:
            return True  # once more, after it could not be written: what its turn writes counts on it
        extra = self.about.rare()
        carrier = extra.carrier
        if carrier is not None and not carrier.done:
            carrier.then(self._carried)
            return False
        if extra.row or extra.ended:
            self.finish()
            return False
        self.rows = self._freeze.message(self._row, self.about)
        extra.carrier = self
        return True

    def _carried(self, carrier: Receipt[None]) -> None:
        """Land with what carried the message, or try again: by a turn that runs again, or by itself."""
        if carrier.error is None:
            self.finish()
        elif isinstance(carrier.error, StoreError) and not self.insist:
            self.finish(error=carrier.error)
        else:
            self._desk.put(self)
