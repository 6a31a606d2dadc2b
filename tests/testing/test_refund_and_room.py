"""Users' actors under test, as users would write it: no clock fixture, no sleeping, faults where they are wanted."""

from __future__ import annotations

import pytest
from attrs import evolve, frozen

from spaceactors import Actor, MemoryStore, Reject, Rejected, Retry, SpaceOptions, handler
from spaceactors.testing import open_test_runtime

DAY = 86_400.0


@frozen
class Verdict:
    ok: bool
    by: str


@frozen
class Claim:
    receipt: str = ""


class Bank:
    """The world outside: remembers under which keys it was asked to pay."""

    def __init__(self, cents: int) -> None:
        self.cents = cents
        self.paid: list[str] = []

    async def price_of(self, order: str) -> int:
        return self.cents

    async def pay_back(self, order: str, key: str) -> str:
        self.paid.append(key)
        return f"receipt of {order}"


class Refunds(Actor[Claim]):
    options = SpaceOptions(max_attempts=3)

    def __init__(self, bank: Bank) -> None:
        self.bank = bank

    @handler
    async def claim(self, order: str) -> str:
        cents = await self.step("price", self.bank.price_of, order)
        if cents > 10_000:
            verdict = await self.suspend(
                "allow", cents, answer=Verdict, timeout=3 * DAY, default=Verdict(False, "nobody")
            )
            if not verdict.ok:
                raise Reject(f"refused by {verdict.by}")
        key = f"{self.message.id}/pay"
        receipt = await self.step("pay", self.bank.pay_back, order, key, retry=Retry(5), limit="payments", timeout=20)
        self.state = evolve(self.state, receipt=receipt)
        return receipt


class Room(Actor[frozenset[str]]):
    @handler
    async def join(self, who: str) -> None:
        self.state |= {who}
        self.schedule(f"away:{who}", Room.leave, who, after=900)

    @handler
    async def leave(self, who: str) -> None:
        self.state -= {who}

    @handler
    async def post(self, who: str, text: str) -> None:
        if who not in self.state:
            raise Reject("join first")
        self.schedule(f"away:{who}", Room.leave, who, after=900)


async def test_a_small_refund_needs_nobody() -> None:
    async with open_test_runtime(Refunds, deps=Bank(500)) as runtime:
        claim = runtime.space("77")
        assert await claim.ask(Refunds.claim, "77") == "receipt of 77"
        assert await claim.state() == Claim("receipt of 77")


async def test_money_moves_once_though_the_process_dies_and_the_commit_fails() -> None:
    bank = Bank(20_000)
    async with open_test_runtime(Refunds, deps=bank, store=MemoryStore(check_encoding=True)) as runtime:
        claim = runtime.space("77").with_options(message_id="m")
        await claim.send(Refunds.claim, "77")
        await runtime.settle()
        [asked] = await runtime.suspensions.list(actor=Refunds)
        assert asked.question == 20_000
        await runtime.reopen()
        with runtime.fault("before_commit"):
            await runtime.suspensions.answer(asked.id, Verdict(True, "ann"))
            assert await claim.ask(Refunds.claim, "77") == "receipt of 77"
        assert bank.paid == ["m/pay"]


async def test_H4_nobody_answers_for_three_days() -> None:
    async with open_test_runtime(Refunds, deps=Bank(20_000)) as runtime:
        claim = runtime.space("77").with_options(message_id="m")
        await claim.send(Refunds.claim, "77")
        await runtime.advance(3 * DAY)
        with pytest.raises(Rejected, match="refused by nobody"):
            await claim.ask(Refunds.claim, "77")


async def test_a_silent_member_leaves_after_a_quarter_of_an_hour() -> None:
    async with open_test_runtime(Room) as runtime:
        lobby = runtime.space("lobby")
        await lobby.ask(Room.join, "ann")
        await runtime.advance(900)
        assert await lobby.state() == frozenset()
        with pytest.raises(Rejected, match="join first"):
            await lobby.ask(Room.post, "ann", "hello?")
