"""The actors of the conformance kit."""

# No `from __future__ import annotations`: durable stores read the annotations of states and handlers.

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

from attrs import evolve, frozen

from spaceactors._actor import Actor
from spaceactors._errors import Reject
from spaceactors._handle import SpaceHandle
from spaceactors._handlers import handler
from spaceactors._options import Retry, SpaceOptions
from spaceactors.testing._conformance_world import World
from supervisors import RestartLimit


@frozen
class Book:
    """The state of a clerk."""

    lines: tuple[str, ...] = ()
    note: Any = None


@frozen
class Question:
    """What a clerk asks a human."""

    text: str
    cents: int


@frozen
class Verdict:
    """What the human answers."""

    good: bool
    by: str


@frozen
class Said:
    """An event."""

    text: str


@frozen
class Shouted:
    """Another event."""

    text: str


# More crashes than any case needs: a case that wants quarantine has its own class.
_STURDY = RestartLimit(1000, 60.0)


class Clerk(Actor[Book], kind="clerk"):
    """Writes lines into its book, and does on the way whatever a turn can do."""

    options = SpaceOptions(restart_limit=_STURDY, backoff=None, feed_size=5)

    def __init__(self, world: World) -> None:
        self.world = world

    def write(self, text: str) -> None:
        """Write a line."""
        self.state = evolve(self.state, lines=(*self.state.lines, text))

    def do_everything(self, text: str) -> None:
        """Leave one of everything that a turn can leave."""
        self.write(text)
        self.history.append(text)
        self.emit(Said(text))
        self.count("everything")
        self.schedule("everything", Clerk.add, f"tick of {text}", after=60.0)
        self.space(f"{self.id}-other").send_nowait(Clerk.add, f"sent with {text}")

    # ---- lines

    @handler
    async def add(self, text: str) -> int:
        """Write a line; answer how many there are."""
        self.write(text)
        return len(self.state.lines)

    @handler
    async def look(self) -> tuple[str, ...]:
        """Answer the lines; write none."""
        return self.state.lines

    @handler
    async def keep(self, note: Any) -> Any:
        """Keep any value in the state, the history and the answer."""
        self.state = evolve(self.state, note=note)
        self.history.append(note)
        return note

    @handler
    async def spoil(self, where: str) -> Any:
        """Leave something that nobody could write."""
        thing = object()
        match where:
            case "state":
                self.state = evolve(self.state, note=thing)
            case "history":
                self.history.append(thing)
            case "event":
                self.emit(thing)
            case _:
                return thing
        return None

    @handler
    async def touch(self) -> None:
        """Do nothing at all."""

    @handler
    async def pass_gate(self, text: str) -> int:
        """Write a line behind the world's gate."""
        self.world.seen.append(f"begin {text} {self.message.attempt}")
        await self.world.gate.wait()
        self.world.seen.append(f"end {text}")
        self.write(text)
        return len(self.state.lines)

    @handler
    async def everything_then_gate(self, text: str) -> None:
        """Leave one of everything, and wait before the end of the turn."""
        self.do_everything(text)
        self.world.seen.append(f"did {text}")
        await self.world.gate.wait()

    @handler
    async def stumble_to_gate(self, text: str) -> int:
        """Crash as often as the world says; then write a line behind the gate."""
        self.world.fail_if_told()
        return await self.pass_gate(text)

    @handler
    async def read_behind_gate(self, text: str) -> None:
        """Read the book, wait at the gate, and write what was read: two turns at once would lose a line."""
        lines = self.state.lines
        self.world.seen.append(f"read by {text} {self.message.attempt}")
        await self.world.gate.wait()
        self.state = evolve(self.state, lines=(*lines, text))

    # ---- ends of turns

    @handler
    async def everything(self, text: str) -> str:
        """Leave one of everything."""
        self.do_everything(text)
        return text

    @handler
    async def crash(self, text: str) -> None:
        """Leave one of everything, then crash."""
        self.do_everything(text)
        raise ValueError(text)

    @handler
    async def reject(self, text: str) -> None:
        """Leave one of everything, then reject."""
        self.do_everything(text)
        raise Reject({"because": text})

    @handler
    async def stumble(self, text: str) -> int:
        """Write a line; then crash, as often as the world says."""
        self.world.seen.append(f"tried {text}")
        self.write(text)
        self.history.append(text)
        self.world.fail_if_told()
        return len(self.state.lines)

    @handler
    async def talk(self, number: int) -> AsyncIterator[str]:
        """Stream words and write each; end behind the gate."""
        for one in range(number):
            self.write(f"word {one}")
            yield f"word {one}"
        await self.world.gate.wait()

    # ---- to others

    @handler
    async def send_on(self, target: str, *texts: str) -> None:
        """Send lines to another clerk."""
        for text in texts:
            await self.space(target).send(Clerk.add, text)

    @handler
    async def send_to_gate(self, target: str, *texts: str) -> None:
        """Send to another clerk's gate."""
        for text in texts:
            await self.space(target).send(Clerk.pass_gate, text)

    @handler
    async def ask_on(self, target: str, text: str) -> None:
        """Have another clerk write a line, wait at the gate, and write the answer."""
        number = await self.space(target).ask(Clerk.add, text)
        self.world.seen.append(f"{target} has {number}")
        await self.world.gate.wait()
        self.write(f"{target} has {number}")

    @handler
    async def introduce(self, friend: SpaceHandle[Any]) -> int:
        """Use a handle that came as an argument."""
        return await friend.ask(Clerk.add, f"greetings from {self.id}")

    # ---- history, events, counters

    @handler
    async def log(self, *values: Any) -> tuple[int, list[Any], list[int]]:
        """Append entries; answer what this turn then reads: length, last two values, positions."""
        for value in values:
            self.history.append(value)
        positions = [entry.position for entry in await self.history.read(limit=1000)]
        return len(self.history), await self.history.recent(2), positions

    @handler
    async def say(self, *texts: str) -> None:
        """Emit events with the commit."""
        for text in texts:
            self.emit(Said(text))

    @handler
    async def shout(self, text: str) -> None:
        """Emit one event at once, and one of the same class with the commit."""
        self.emit(Shouted(f"{text} now"), now=True)
        self.emit(Shouted(text))

    @handler
    async def tally(self, name: str, amount: float) -> None:
        """Count."""
        self.count(name, amount)

    # ---- timers

    @handler
    async def remind(self, key: str, text: str, after: float) -> None:
        """Write a line later."""
        self.schedule(key, Clerk.add, text, after=after)

    @handler
    async def remind_of_gate(self, key: str, text: str, after: float) -> None:
        """Write a line later, behind the gate."""
        self.schedule(key, Clerk.pass_gate, text, after=after)

    @handler
    async def remind_at(self, key: str, text: str, at: datetime) -> None:
        """Write a line at a date."""
        self.schedule(key, Clerk.add, text, at=at)

    @handler
    async def remind_every(self, key: str, text: str, every: float) -> None:
        """Write a line again and again."""
        self.schedule(key, Clerk.add, text, every=every)

    @handler
    async def forget(self, key: str) -> bool:
        """Cancel a timer."""
        return self.cancel_schedule(key)

    @handler
    async def forget_and_crash(self, key: str) -> None:
        """Cancel a timer in a turn that is rolled back."""
        self.cancel_schedule(key)
        raise ValueError(key)

    # ---- steps and questions

    @handler
    async def buy(self, *things: str) -> tuple[str, ...]:
        """Charge for things, each in a step, with a gate between the steps and the end of the turn."""
        receipts = [await self.step(f"charge {thing}", self.world.charge, thing) for thing in things]
        self.world.seen.append("charged all")
        await self.world.gate.wait()
        self.state = evolve(self.state, lines=(*self.state.lines, *receipts))
        return tuple(receipts)

    @handler
    async def buy_and_tell(self, thing: str) -> None:
        """Charge in a step, and tell at the gate which attempt this is."""
        await self.step("charge", self.world.charge, thing)
        await self.pass_gate(thing)

    @handler
    async def buy_patiently(self, thing: str) -> str:
        """Charge in a step that tries three times."""
        return await self.step("charge", self.world.charge, thing, retry=Retry(3))

    @handler
    async def buy_slowly(self, thing: str) -> str:
        """Charge in a step that is held up before it has any effect."""
        return await self.step("charge", self.world.charge_behind_gate, thing)

    @handler
    async def approve(self, text: str, timeout: float | None = None) -> str:
        """Charge for a form, ask a human, charge for the rest; fail when nobody answers."""
        await self.step("form", self.world.charge, f"form of {text}")
        verdict = await self.suspend("approve", Question(text, 900), answer=Verdict, timeout=timeout)
        return await self._decide(text, verdict)

    @handler
    async def approve_or_not(self, text: str, timeout: float) -> str:
        """Do the same, and take silence for a no."""
        await self.step("form", self.world.charge, f"form of {text}")
        silence = Verdict(good=False, by="nobody")
        question = Question(text, 900)
        verdict = await self.suspend("approve", question, answer=Verdict, timeout=timeout, default=silence)
        return await self._decide(text, verdict)

    async def _decide(self, text: str, verdict: Verdict) -> str:
        if not verdict.good:
            raise Reject(f"refused by {verdict.by}")
        self.world.seen.append("decided")
        await self.world.gate.wait()
        receipt = await self.step("pay", self.world.charge, text)
        self.write(f"{text} approved by {verdict.by}")
        return receipt


class Tryer(Clerk, kind="tryer"):
    """A clerk that has three tries for each message."""

    options = SpaceOptions(restart_limit=_STURDY, backoff=None, max_attempts=3)


class Brief(Clerk, kind="brief"):
    """A clerk that keeps three entries of its history."""

    options = SpaceOptions(restart_limit=_STURDY, backoff=None, max_history_entries=3)


class Forgetful(Clerk, kind="forgetful"):
    """A clerk that remembers two ids for an hour."""

    options = SpaceOptions(restart_limit=_STURDY, backoff=None, dedupe_window=3600.0, dedupe_limit=2)


class Fragile(Clerk, kind="fragile"):
    """A clerk whose first crash is one too many."""

    options = SpaceOptions(restart_limit=RestartLimit(0, 60.0), backoff=None)


class Sleepy(Clerk, kind="sleepy"):
    """A clerk that leaves memory after ten idle minutes."""

    options = SpaceOptions(restart_limit=_STURDY, backoff=None, idle_timeout=600.0)


class Doomed(Clerk, kind="doomed"):
    """A clerk whose messages may be found unfinished once."""

    options = SpaceOptions(restart_limit=_STURDY, backoff=None, max_recoveries=1)


class Teller(Clerk, kind="teller"):
    """A clerk that shares a lane with all whose ids begin with the same letter."""

    @classmethod
    def group_of(cls, space_id: str, /) -> str | None:
        """Return the first letter."""
        return space_id[:1]


class Counter(Actor[int], kind="counter"):
    """A number."""

    @handler
    async def add(self, amount: int) -> int:
        """Add to it."""
        self.state += amount
        return self.state


@frozen
class OldFolder:
    """What a folder was in the first version."""

    names: str = ""


class OldFiler(Actor[OldFolder], kind="filer"):
    """The first version of an actor class, with a handler that the second has no more."""

    options = SpaceOptions(restart_limit=_STURDY, backoff=None)

    def __init__(self, world: World) -> None:
        self.world = world

    @handler
    async def file(self, name: str) -> str:
        """Add a name."""
        self.state = OldFolder(f"{self.state.names} {name}".strip())
        return self.state.names

    @handler
    async def shred(self, name: str) -> None:
        """Wait at the gate."""
        await self.world.gate.wait()
        self.world.seen.append(f"shredded {name}")


@frozen
class Folder:
    """What a folder is in the second version."""

    names: tuple[str, ...] = ()


class Filer(Actor[Folder], kind="filer", state_version=2):
    """The second version."""

    options = SpaceOptions(restart_limit=_STURDY, backoff=None)

    def __init__(self, world: World) -> None:
        self.world = world

    @classmethod
    def upgrade_state(cls, old: dict[str, Any], version: int, /) -> dict[str, Any]:
        """Part the names."""
        return {"names": tuple(old["names"].split())} if version == 1 else old

    @handler
    async def file(self, name: str) -> tuple[str, ...]:
        """Add a name."""
        self.state = Folder((*self.state.names, name))
        return self.state.names
