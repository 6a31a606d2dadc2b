"""One instance of an `InstancePool`: a context manager that is entered and left in a task of its own.

Cancel scopes and nurseries inside a context manager have to be left by the task that entered them; who uses the
instance is another one each time.
"""

from __future__ import annotations

from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager
from enum import Enum
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import trio
from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Broken = type[BaseException] | tuple[type[BaseException], ...] | Callable[[BaseException], bool]

T = TypeVar("T")

# As everywhere here: what has not ended a second after its cancellation cannot be stopped.
PATIENCE = 1.0


@frozen
class InstanceStatistics:
    """An instance pool at one moment, and what it has done since it was opened.

    Attributes:
        size: how many instances there may be at once.
        open: how many there are, those included that are being opened or closed.
        in_use: how many are in use, or made ready for it.
        idle: how many wait for the next use.
        waiting: how many requests stand in line.
        created: how many were opened.
        replaced: how many were not used again because they were broken, not healthy, or had ended by themselves.
        failed: how many could not be opened.
        close_failed: how many raised, or had to be cancelled, when they were closed.

    """

    size: int
    open: int
    in_use: int
    idle: int
    waiting: int
    created: int
    replaced: int
    failed: int
    close_failed: int


def _checked(block: AbstractAsyncContextManager[T]) -> AbstractAsyncContextManager[T]:
    if isinstance(cast("object", block), AbstractAsyncContextManager):
        return block
    if isinstance(cast("object", block), Coroutine):
        cast("Coroutine[object, object, object]", block).close()
    msg = f"the factory must give an async context manager (write @asynccontextmanager above it), not {block!r}"
    raise TypeError(msg)


class Stage(Enum):
    """Where an instance is in its life."""

    OPENING = "opening"
    OPEN = "open"
    CLOSING = "closing"
    ENDED = "ended"


def is_broken_by(error: BaseException, broken: Broken) -> bool:
    """Tell whether an error, or one of those in a group, means that an instance is not to be used again."""
    if isinstance(broken, (type, tuple)):
        return any(isinstance(one, broken) for one in _errors_in(error))
    return any(broken(one) for one in _errors_in(error))


def _errors_in(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for one in cast("BaseExceptionGroup[BaseException]", error).exceptions:
            yield from _errors_in(one)
    else:
        yield error


class Instance(Generic[T]):
    """One opened context manager."""

    def __init__(self, close_timeout: float) -> None:
        self.stage = Stage.OPENING
        self.opened = False
        # Whether it ended because it was not needed any more.
        self.asked = False
        self.client: Any = None
        # Why it ended, if not because it was asked to.
        self.error: BaseException | None = None
        # Set when it is open, or has ended before.
        self.settled = trio.Event()
        self._close_timeout = close_timeout
        # Ends its time between opening and closing: in an orderly way, by leaving its block.
        self._life = trio.CancelScope()
        # Nothing outside the pool cuts it short; this ends an opening that nobody wants, and a closing that takes long.
        self._guard = trio.CancelScope(shield=True)

    @property
    def usable(self) -> bool:
        """Whether it is open, and will be."""
        return self.stage is Stage.OPEN and not self._life.cancel_called and not self._guard.cancel_called

    @property
    def given_up_at(self) -> float:
        """When it is counted no more, however long its closing takes."""
        return self._guard.deadline + PATIENCE

    @property
    def cut(self) -> bool:
        """Whether its closing was cancelled."""
        return self.opened and self._guard.cancelled_caught

    def expire_at(self, deadline: float) -> None:
        """Have it close at a time; infinity takes that back."""
        self._life.deadline = deadline

    def close(self) -> None:
        """Begin to close it."""
        if self.stage is Stage.OPENING:
            self._guard.deadline = trio.current_time()
            self._guard.cancel()
        elif self.stage is Stage.OPEN:
            self._begin_closing()
            self._life.cancel()

    def _begin_closing(self) -> None:
        if self.stage is Stage.OPEN:
            self.stage = Stage.CLOSING
            self._guard.deadline = trio.current_time() + self._close_timeout

    async def live(self, factory: Callable[[], AbstractAsyncContextManager[T]]) -> None:
        """Be open until it is told to close, or ends by itself."""
        try:
            with self._guard:
                if self._guard.cancel_called:
                    return  # nobody wants it any more: an opening that has no checkpoint would not notice
                async with _checked(factory()) as self.client:
                    self.stage = Stage.OPEN
                    self.opened = True
                    self.settled.set()
                    try:
                        with self._life:
                            await trio.sleep_forever()
                    finally:
                        self.asked = self._life.cancel_called
                        self._begin_closing()
        except BaseException as error:  # told to whoever asked for it
            self.error = error
        finally:
            self.client = None
            self.stage = Stage.ENDED
            self.settled.set()
