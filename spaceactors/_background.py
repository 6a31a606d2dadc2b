"""Background work of actors: what `start_soon` starts, ended with its incarnation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

from trio.lowlevel import enable_ki_protection

from spaceactors import _life as life
from spaceactors._decide import of_calls
from spaceactors._turn import here
from supervisors._decide import ExitKind
from supervisors._running import Running

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from spaceactors._hub import Hub
    from spaceactors._space import Space
    from supervisors._decide import Exit


@final
class BackgroundPlace:
    """Where background work runs: beside the turns of its space."""

    __slots__ = ("space",)

    background = True

    def __init__(self, space: Space) -> None:
        self.space = space

    def in_turn(self) -> bool:
        """Background work is no turn."""
        return False


@final
class Background:
    """Starts and stops the background work of all spaces of a runtime."""

    __slots__ = ("_runtime",)

    def __init__(self, runtime: Hub) -> None:
        self._runtime = runtime

    def start(
        self, space: Space, fn: Callable[..., Awaitable[object]], args: tuple[Any, ...], name: str | None
    ) -> None:
        """Start a task of the space's present incarnation."""
        running = Running(self._runtime.block.signal, space)
        space.began(running)
        self._runtime.block.start_soon(self._run, space, running, fn, args, name=name)

    async def _run(
        self, space: Space, running: Running, fn: Callable[..., Awaitable[object]], args: tuple[Any, ...]
    ) -> None:
        here.set(BackgroundPlace(space))
        ended = await running.run(fn, lambda: args, lambda: self._begun(space, running))
        self._ended(space, running, ended)

    @enable_ki_protection
    def _ended(self, space: Space, running: Running, ended: Exit) -> None:
        space.ended(running)
        self._runtime.block.stopper.ended(running)
        running.end()
        if ended.kind is ExitKind.FATAL and ended.error is not None:
            self._runtime.block.die(ended.error)
        if ended.kind in {ExitKind.CRASHED, ExitKind.FAILED_START} and ended.error is not None:
            self._failed(space, ended.error)
        elif ended.kind is ExitKind.STOPPED and (ended.error is not None or ended.cut):
            life.ended_badly(space, ended.error)
        self._runtime.look_whether_quiet(space)

    def _begun(self, space: Space, running: Running) -> None:
        if space.hurried:
            self._ask(space, running)

    def ask_to_finish(self, space: Space) -> None:
        """Give all background work of a space its seconds, whether it listens or not: it was accepted."""
        for running in space.background:
            self._ask(space, running)

    def _ask(self, space: Space, running: Running) -> None:
        # What was accepted and has not begun is asked when it begins.
        if running.ready:
            running.signal.listen()
            self._runtime.block.stopper.stop(running, space.options.shutdown)

    @staticmethod
    def _failed(space: Space, error: BaseException) -> None:
        """A failed call is told, anything else crashes the actor whose work it was."""
        if space.actor is None or of_calls(error):
            life.told_failure(space, error)
        else:
            life.failed(space, error, None)

    async def stop(self, space: Space, *, grace: float, finish: bool = False) -> None:
        """Stop all background work of a space, and wait until it has ended.

        Args:
            space: whose work.
            grace: seconds between asking and cancelling, for work that listens.
            finish: give `options.shutdown` seconds to all, as a drain does.

        """
        if finish:
            self.ask_to_finish(space)
        else:
            for running in space.background:
                self._runtime.block.stopper.stop(running, grace)
        for running in tuple(space.background):
            await running.wait_ended()
