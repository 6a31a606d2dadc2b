"""The actors of a kill run. Their states and histories tell, without anything kept elsewhere, what took effect."""

from __future__ import annotations

import os
from itertools import count

import trio
from attrs import evolve, frozen

from spaceactors import Actor, Reject, RestartLimit, SpaceOptions, handler
from tests.durable.plan import TICKS, Said, conversations, digest, kitchen_of
from tests.durable.points import reach
from tests.durable.site import Site

_tokens = count()


def token() -> str:
    """Return what no other call returns, in this life or another."""
    return f"{os.getpid()}.{next(_tokens)}"


@frozen
class Tab:
    """What a conversation remembers."""

    # How many lines took effect, and their running digest.
    count: int = 0
    digest: str = ""
    # What steps, the kitchen and the people outside have returned, in order.
    brewed: tuple[str, ...] = ()
    tickets: tuple[int, ...] = ()
    answers: tuple[str, ...] = ()
    # The index of the line whose timer fired, once for each time.
    reminded: tuple[int, ...] = ()
    ticked: tuple[int, ...] = ()
    # What was put in from outside the actor.
    touched: tuple[str, ...] = ()


@frozen
class Board:
    """What a kitchen remembers."""

    orders: int = 0
    tickets: int = 0


@frozen
class Heard:
    """Emitted for each line that took effect."""

    index: int


# A killed process is no fault of a message: no bound on recoveries here. Tries are for a database that is cut off.
OPTIONS = SpaceOptions(
    mailbox_capacity=1000,
    idle_timeout=0.03,
    restart_limit=RestartLimit(1000, 1.0),
    backoff=None,
    max_recoveries=1_000_000,
    max_attempts=1000,
)


class Kitchen(Actor[Board], kind="kitchen"):
    """Counts what it is sent and asked for, and writes it into its history."""

    options = OPTIONS

    def __init__(self, site: Site) -> None:
        self.site = site

    @handler
    async def order(self, key: str) -> None:
        self.history.append(f"order {key}")
        self.state = evolve(self.state, orders=self.state.orders + 1)
        reach("kitchen turn done")

    @handler
    async def ticket(self, key: str) -> int:
        self.history.append(f"ticket {key}")
        self.state = evolve(self.state, tickets=self.state.tickets + 1)
        reach("kitchen turn done")
        return self.state.tickets


class Customer(Actor[Tab], kind="customer"):
    """Takes what one customer says, and does with it what the plan says."""

    options = OPTIONS

    def __init__(self, site: Site) -> None:
        self.site = site

    @handler
    async def say(self, index: int, text: str) -> str:
        said = conversations(self.site.first, self.site.spaces)[self.id][index]
        reach("turn begun")
        if said.rejected:
            self._refuse(said)
        if said.lingers:
            await trio.sleep(0.002)
        kitchen = self.space(kitchen_of(self.id, self.site.kitchens), Kitchen)
        brewed = [await self._brew(said.key)] if said.brews else []
        tickets = [await kitchen.ask(Kitchen.ticket, said.key)] if said.tickets else []
        reach("kitchen asked")
        answers = [await self.suspend("confirm", said.key, answer=str)] if said.confirms else []
        if answers:
            reach("question answered")
            if said.brews:
                brewed.append(await self._brew(f"{said.key}/served"))
        if said.orders:
            await kitchen.send(Kitchen.order, said.key)
        if said.reminds:
            self.schedule(f"remind {index}", Customer.remind, index, after=0.02)
        if said.ticks:
            self.schedule(f"tick {index}", Customer.tick, index, every=0.01)
        self.history.append(f"{index} {text}")
        self.emit(Heard(index))
        self.count("heard")
        self.state = evolve(
            self.state,
            count=self.state.count + 1,
            digest=digest(self.state.digest, text),
            brewed=(*self.state.brewed, *brewed),
            tickets=(*self.state.tickets, *tickets),
            answers=(*self.state.answers, *answers),
        )
        reach("turn done")
        return f"{self.state.count} {self.state.digest} {brewed} {tickets} {answers}"

    def _refuse(self, said: Said) -> None:
        """Do all that a turn can do and refuse: nothing of it may stay."""
        self.history.append(f"refused {said.key}")
        self.emit(Heard(said.index))
        self.count("heard")
        self.schedule(f"refused {said.index}", Customer.remind, said.index, after=0.0)
        self.space(kitchen_of(self.id, self.site.kitchens), Kitchen).send_nowait(Kitchen.order, f"refused {said.key}")
        self.state = evolve(self.state, count=self.state.count + 1000)
        raise Reject(f"not {said.key}")

    async def _brew(self, key: str) -> str:
        async def brew() -> str:
            effect = token()
            self.site.effects.add("+", key, effect)
            reach("effect made")
            return effect

        result = await self.step("brew", brew)
        self.site.effects.add("=", key, result)
        reach("step returned")
        return result

    @handler
    async def remind(self, index: int) -> None:
        self.state = evolve(self.state, reminded=(*self.state.reminded, index))
        reach("reminded")

    @handler
    async def tick(self, index: int) -> None:
        ticked = (*self.state.ticked, index)
        self.state = evolve(self.state, ticked=ticked)
        if ticked.count(index) >= TICKS:
            self.cancel_schedule(f"tick {index}")
        reach("reminded")
