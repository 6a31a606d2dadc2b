"""What a task says of itself: functions that find the task in which they are called."""

from __future__ import annotations

import math
from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol

import trio

from spaceactors.tasks._errors import OutsideTask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Voice(Protocol):
    """How a running task is heard by its manager."""

    @property
    def manager(self) -> object:
        """Whose task it is; told apart by identity."""
        ...

    @property
    def job(self) -> object:
        """What its manager has of it; told apart by identity."""
        ...

    @property
    def around(self) -> Voice | None:
        """The task in which this one's manager was opened, if it was in one."""
        ...

    @property
    def ended(self) -> bool:
        """Whether it has ended, while something that it started has not."""
        ...

    def waits_for_caller(self) -> bool:
        """Tell whether it can end only after the running Trio task, as far as that can be seen."""
        ...

    def progress(self, done: float, note: str) -> None:
        """Hear how far it is."""

    def heartbeat(self) -> None:
        """Hear that it lives."""

    def confidence(self, share: float) -> None:
        """Hear how sure it is."""

    def evidence(self, items: tuple[object, ...]) -> None:
        """Hear on what it relies."""


_current: ContextVar[Voice | None] = ContextVar("spaceactors.tasks", default=None)


def current_voice() -> Voice | None:
    """Return that of the surrounding task; None outside of one."""
    return _current.get()


def voices() -> Iterator[Voice]:
    """Return that of the surrounding task, and those of the tasks around it."""
    voice = current_voice()
    while voice is not None:
        yield voice
        voice = voice.around


def set_current_voice(voice: Voice) -> None:
    """Make a task the current one for the rest of this Trio task, and for those it starts from now on."""
    _current.set(voice)


def progress(done: float, note: str = "", /) -> None:
    """Tell how far the surrounding task is: 0 to 1, and in words. Counts as a heartbeat.

    From it `status()` and the events tell how long it will still take. Works in a thread too that the task has started
    by `trio.to_thread.run_sync`.

    Raises:
        OutsideTask: it is called in no task, or after its end.
        TypeError, ValueError: `done` is no number from 0 to 1.

    """
    _check_share("progress", done)
    if not isinstance(note, str):
        raise TypeError(f"the note of a progress must be a text, not {note!r}")
    _tell("progress", lambda voice: voice.progress(float(done), note))


def heartbeat() -> None:
    """Tell that the surrounding task lives, though it cannot say how far it is. Raises `OutsideTask`.

    A task from which nothing was heard for the manager's `stalled_after` is told as stalled.
    """
    _tell("heartbeat", lambda voice: voice.heartbeat())


def confidence(share: float, /) -> None:
    """Tell how sure the surrounding task is of its result, 0 to 1; the last word counts. Raises as `progress`."""
    _check_share("confidence", share)
    _tell("confidence", lambda voice: voice.confidence(float(share)))


def evidence(*items: object) -> None:
    """Add to what the result of the surrounding task relies on: names of files, quotes, anything. Raises `OutsideTask`.

    What was added before a failure is in the result of the failure.
    """
    _tell("evidence", lambda voice: voice.evidence(items))


def _tell(what: str, tell: Callable[[Voice], None]) -> None:
    voice = _current.get()
    if voice is None:
        raise OutsideTask(f"{what}() speaks of the task that calls it: call it in the function of a Task, as it runs")
    if trio.lowlevel.in_trio_run():
        _tell_now(what, voice, tell)
    else:
        trio.from_thread.run_sync(_tell_now, what, voice, tell)


def _tell_now(what: str, voice: Voice, tell: Callable[[Voice], None]) -> None:
    if voice.ended:
        raise OutsideTask(f"{what}() was called after the end of its task, by something that it left behind")
    tell(voice)


def _check_share(what: str, share: object) -> None:
    if not isinstance(share, int | float) or isinstance(share, bool) or math.isnan(share):
        raise TypeError(f"{what} must be a number from 0 to 1 such as 0.5, not {share!r}")
    if not 0 <= share <= 1:
        raise ValueError(f"{what} must be from 0 to 1, such as done / total, not {share!r}")
