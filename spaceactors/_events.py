"""What happens in a runtime, as frozen values: `runtime.events()` passes them on, the log reads the same ones.

A message that is handled makes no event; every other end of a message does, so nothing disappears unseen.
"""

from __future__ import annotations

from typing import final

from spaceactors._options import DiscardReason, LoadPart, Outcome  # noqa: TC001 (tools resolve the fields' types)
from supervisors import DrainReport  # noqa: TC001 (as above)
from supervisors._record import Record


class RuntimeEvent(Record):
    """Base class of all events; `at` is in seconds of Trio's clock."""

    at: float


class SpaceEvent(RuntimeEvent):
    """Base class of the events of one space; incarnations are counted from 1 in each activation."""

    kind: str
    space: str
    incarnation: int


@final
class SpaceStarted(SpaceEvent):
    """An incarnation of the actor began its life."""


@final
class SpaceCrashed(SpaceEvent):
    """The actor crashed, at a message or (None) in a hook or in background work; it starts again after `delay` seconds.

    The crash is the `restarts`-th that counts against the budget.
    """

    error: BaseException
    message_id: str | None
    delay: float
    restarts: int


@final
class SpaceInQuarantine(SpaceEvent):
    """The actor crashed over its budget: messages stay, nothing runs until it is revived."""

    error: BaseException
    message_id: str | None
    history: tuple[float, ...]


@final
class SpaceRevived(SpaceEvent):
    """A quarantined space starts again with a fresh budget."""


@final
class SpacePaused(SpaceEvent):
    """The space accepts and runs nothing."""


@final
class SpaceResumed(SpaceEvent):
    """The space runs again."""


@final
class SpacePassivated(SpaceEvent):
    """The space left memory in good order; its next message brings it back."""


@final
class SpaceEnded(SpaceEvent):
    """An activation ended as it was asked to (`how`: drain, stop, kill or delete)."""

    how: str
    returned: int


@final
class SpaceUnstoppable(SpaceEvent):
    """A turn or background work was cancelled `seconds` ago and has not ended; told again each second."""

    seconds: float


@final
class TurnStalled(SpaceEvent):
    """A turn has made no progress for at least `seconds`, and goes on; told again when it has lasted twice as long.

    `stack` says where it stands, innermost last. A hook has no message: `message_id` and `call` are None.
    """

    message_id: str | None
    call: str | None
    seconds: float
    stack: tuple[str, ...]


@final
class TurnWentOn(SpaceEvent):
    """A turn that was told as stalled, at least `seconds` ago, has made progress, waits for somebody else, or ended."""

    message_id: str | None
    call: str | None
    seconds: float


@final
class WorkFailed(SpaceEvent):
    """Something failed that ends no actor: clean-up while stopping, or a refused call of background work."""

    error: BaseException


@final
class MessageSettled(SpaceEvent):
    """A message ended otherwise than handled; `attempts` were begun."""

    message_id: str
    call: str
    outcome: Outcome
    attempts: int
    why: DiscardReason | None = None
    error: BaseException | None = None


@final
class MessageRetried(SpaceEvent):
    """A message failed and keeps its place for another try."""

    message_id: str
    call: str
    attempts: int
    error: BaseException


@final
class StepsUnused(SpaceEvent):
    """A turn was handled whose earlier tries had recorded `steps` that its program asks for no more."""

    message_id: str
    call: str
    steps: tuple[str, ...]


@final
class RowUnreadable(SpaceEvent):
    """Something that the store has of a space cannot be read by this program: it is set aside, and stays stored."""

    what: str
    error: BaseException


@final
class SpaceLost(SpaceEvent):
    """A later opening of the store owns the space now: `left` messages go on there."""

    left: int


@final
class StoreFailing(RuntimeEvent):
    """The store cannot write: senders are refused, and turns wait until it can."""

    error: BaseException


@final
class StoreHealed(RuntimeEvent):
    """The store writes again."""


@final
class SheddingBegan(RuntimeEvent):
    """The load is over `shed_above`: LOW messages to spaces that are not live are refused, from 1.0 on NORMAL ones."""

    load: float
    cause: LoadPart | None


@final
class MessagesShed(RuntimeEvent):
    """So many messages were refused because of the load since this was last told; told once at each look."""

    refused: int
    load: float
    cause: LoadPart | None


@final
class SheddingEnded(RuntimeEvent):
    """The load is under `relax_below` again; so long it lasted, and so many messages were refused."""

    seconds: float
    refused: int


@final
class DeadLettersDropped(RuntimeEvent):
    """The bound on dead letters pushed out the oldest ones."""

    dropped: int


@final
class LoopWasBlocked(RuntimeEvent):
    """Synchronous code has blocked the whole loop for `seconds` of real time; the log told of it meanwhile.

    `task` is the name of the task, `kind`, `space` and `call` say whose turn it was, where it was one; `file`, `line`
    and `function` are the innermost line of the program's own code, `stack` how it got there.
    """

    kind: str | None
    space: str | None
    call: str | None
    task: str | None
    seconds: float
    file: str
    line: int
    function: str
    stack: tuple[str, ...]


@final
class RuntimeDraining(RuntimeEvent):
    """The runtime takes nothing new from outside and finishes what it has."""


@final
class RuntimeDrained(RuntimeEvent):
    """The drain is over."""

    report: DrainReport
