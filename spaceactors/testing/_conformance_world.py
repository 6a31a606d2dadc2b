"""The world that the actors of the conformance kit act upon."""

from __future__ import annotations

import trio
from attrs import define, field


def _open_gate() -> trio.Event:
    gate = trio.Event()
    gate.set()
    return gate


@define(eq=False)
class World:
    """What the actors of one case do to the world, and what in it holds them up. It outlives every runtime."""

    # What happened, in its order.
    seen: list[str] = field(factory=list[str])
    # What `Clerk.pass_gate` and gated steps wait for; open at first.
    gate: trio.Event = field(factory=_open_gate)
    # How many of the next steps and `Clerk.stumble` fail.
    failures: int = 0

    def close_gate(self) -> None:
        """Hold up from now on whoever comes to the gate."""
        self.gate = trio.Event()

    def open_gate(self) -> None:
        """Let through who waits at the gate, and who comes later."""
        self.gate.set()

    def fail_if_told(self) -> None:
        """Fail as often as `failures` says."""
        if self.failures:
            self.failures -= 1
            raise ConnectionError("the world is away")

    async def charge(self, what: str) -> str:
        """Do something that must not be done twice."""
        self.fail_if_told()
        self.seen.append(f"charged {what}")
        return f"receipt for {what}"

    async def charge_behind_gate(self, what: str) -> str:
        """Do the same, but begin to wait before it."""
        self.seen.append(f"at the gate with {what}")
        await self.gate.wait()
        return await self.charge(what)
