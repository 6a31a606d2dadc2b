"""The process context: a process of its own for each, started when it is first needed, killed when it has to be."""

from __future__ import annotations

import multiprocessing
import os
import signal
from importlib import import_module
from math import inf
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, final

import trio
from attrs import frozen

from spaceactors._log import logger
from spaceactors.pipelines._context import ContextKind, ContextUnavailable, WorkerLost
from spaceactors.pipelines._context_base import WorkerContext
from spaceactors.pipelines._context_send import name_of, pack, unpack
from spaceactors.pipelines._context_worker import work

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

R = TypeVar("R")

# Seconds that an idle process has to end by itself; then it is killed.
GRACE = 4.0
_KILL = 9  # Windows has no such signal


class _Workers(Protocol):
    """What we use of `trio_parallel.WorkerContext`, which has no types."""

    async def run_sync(
        self, fn: Callable[..., R], *args: object, kill_on_cancel: bool, limiter: trio.CapacityLimiter
    ) -> R: ...

    def statistics(self) -> Any: ...


@final
class ProcessContext(WorkerContext):
    """Runs functions in one process after the other: it is replaced when it was killed or has died.

    Processes are spawned: a fork server starts them hardly faster once they import this library (by a tenth), and is
    itself a process that stays for as long as the program runs.
    """

    def __init__(self, name: str) -> None:
        super().__init__(ContextKind.PROCESS, name)
        try:
            self._library = import_module("trio_parallel")
        except ImportError as error:
            msg = f"the context {name!r} needs trio-parallel: pip install 'spaceactors[process]'"
            raise ContextUnavailable(msg) from error
        # The worker, with the way to end it, once there was a call.
        self._workers: _Workers | None = None
        self._block: AbstractAsyncContextManager[_Workers] | None = None
        # Of trio-parallel's own limiter, as many run at once in the whole program as there are processors.
        self._limiter = trio.CapacityLimiter(1)
        self._pid: int | None = None
        self._killed = False

    async def _call(self, fn: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        call = pack(self._kind, fn, args)
        workers = await self._ready()
        answer = await self._attempt(workers, work, call)
        if isinstance(answer, _Failure):  # what the function raised is inside of the answer
            raise WorkerLost(_lost(self._name, fn, answer)) from answer.cause
        return unpack(self._kind, fn, answer)

    async def _ready(self) -> _Workers:
        """Return the worker after a first call to a new one, so that what cannot start is told from what dies."""
        if self._workers is None:
            # Idle for as long as the pool wants it.
            block: AbstractAsyncContextManager[_Workers]
            block = self._block = self._library.open_worker_context(idle_timeout=inf, grace_period=GRACE)
            self._workers = await block.__aenter__()
        if not self._workers.statistics().idle_workers:
            self._pid = None
            pid = await self._attempt(self._workers, os.getpid)
            if isinstance(pid, _Failure):
                raise ContextUnavailable(_not_started(self._name, pid)) from pid.cause
            self._pid = pid
        return self._workers

    async def _attempt(self, workers: _Workers, fn: Callable[..., R], *args: object) -> R | _Failure:
        try:
            return await workers.run_sync(fn, *args, kill_on_cancel=True, limiter=self._limiter)
        except Exception as error:  # of many types: a dead worker, no more processes, no memory, no files
            return _failure(error)

    async def _stop(self) -> None:
        block, self._block = self._block, None
        if block is None:
            return
        self._workers = None  # its files are closed when nobody holds it
        try:
            await block.__aexit__(None, None, None)
        except self._library.BrokenWorkerError as error:
            if not self._killed:
                text = "the idle process of the context %r had to be killed, or had died: %s"
                logger.warning(text, self._name, error)

    def _kill(self) -> None:
        if self._pid is None or self.calls:
            return  # a call that is cancelled kills it
        for process in multiprocessing.active_children():
            if process.pid == self._pid:
                self._killed = True
                process.kill()


@frozen
class _Failure:
    """How a worker failed."""

    how: str
    cause: Exception | None


def _failure(error: Exception) -> _Failure:
    """Return how a worker failed, without what keeps the files of a process open: its frames, and the process."""
    process = error.args[-1] if error.args else None
    if isinstance(process, BaseProcess):
        return _Failure(_end_of(process), None)
    error.__context__ = None
    return _Failure(f"{type(error).__name__}: {error}", error.with_traceback(None))


def _end_of(process: BaseProcess) -> str:
    code = process.exitcode
    if code is None or code >= 0:
        return f"its exit code was {code}"
    return f"it was killed by {_signal_named(-code)}" + (" (short of memory?)" if -code == _KILL else "")


def _signal_named(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _lost(name: str, fn: object, failure: _Failure) -> str:
    text = f"the process of the context {name!r} died under {name_of(fn)}: {failure.how}"
    return f"{text}; how far it came is not known, and the next call gets a new process"


def _not_started(name: str, failure: _Failure) -> str:
    text = f"no process could be started for the context {name!r}: {failure.how}"
    return (
        f"{text}; if it ended by itself its standard error says why: a program that starts itself again there"
        " has to begin under `if __name__ == '__main__':`"
    )
