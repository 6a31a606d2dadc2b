"""Ctrl-C and SIGTERM: the first drains, the second stops, the third is the system's own."""

from __future__ import annotations

import signal

import trio
from attrs import define, field


@define
class Stops:
    """How far the user has asked to stop, and the scopes that this ends."""

    asked: int = 0  # signals so far
    reading: trio.CancelScope = field(factory=trio.CancelScope)  # ends at the first: nothing more is sent
    running: trio.CancelScope = field(factory=trio.CancelScope)  # ends at the second: what runs is cancelled

    def ask(self) -> None:
        """One more signal has come."""
        self.asked += 1
        self.reading.cancel()
        if self.asked > 1:
            self.running.cancel()

    async def watch(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take the signals until the second has come; then they mean again what they mean without us."""
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            task_status.started()
            async for _ in signals:
                self.ask()
                if self.asked > 1:
                    return
