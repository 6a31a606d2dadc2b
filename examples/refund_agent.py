"""A refund agent: looks a sale up, asks a person if it was much, and pays. Kill it when you like: money moves once.

    python examples/refund_agent.py start 250             # order 250, of 250 dollars: somebody has to agree
    python examples/refund_agent.py status
    python examples/refund_agent.py approve 250 --by ann

Every command takes up what earlier ones, ended or killed, have left undone. `--slow 5` gives you time to kill one.
"""

import argparse
import json
from pathlib import Path

import trio
from attrs import frozen

from spaceactors import (
    Actor,
    Limit,
    Retry,
    Runtime,
    SpaceOptions,
    SqliteStore,
    SuspensionClosed,
    handler,
    open_runtime,
)

ASK_FROM = 10_000  # cents: from here on a person has to agree
DAYS = 86_400


@frozen
class Sale:
    """What a customer paid."""

    order: str
    cents: int

    def __str__(self) -> str:
        return f"order {self.order}, ${self.cents / 100:.2f}"


@frozen
class Verdict:
    """What somebody says to a refund."""

    ok: bool
    by: str


@frozen
class Case:
    """How a refund ended; empty while it has not."""

    ending: str = ""


class ProviderDown(Exception):
    """The payment provider cannot be reached: worth another try."""


class Shop:
    """Where sales are looked up. In this one, order 250 cost 250 dollars."""

    async def find(self, order: str) -> Sale:
        """Return the sale of an order."""
        return Sale(order, int(order) * 100)


class Provider:
    """The payment provider, played by a file. It is somebody else's, and knows nothing of our processes and stores.

    As real ones do, it takes a key with each payment, and moves money once for each key.
    """

    def __init__(self, books: Path, seconds: float = 0.0) -> None:
        self.books = books
        self.seconds = seconds

    async def pay_back(self, sale: Sale, key: str) -> str:
        """Give a customer the money back; return the receipt, the same for the same key."""
        await trio.sleep(self.seconds)
        receipt = self._enter(sale, key)
        await trio.sleep(self.seconds)
        return receipt

    def _enter(self, sale: Sale, key: str) -> str:
        entries = self.read_books()
        paid = next((one for one in entries if one["key"] == key), None)
        receipt = f"R{len(entries) + 1}" if paid is None else paid["receipt"]
        moved = sale.cents if paid is None else 0
        with self.books.open("a", encoding="utf-8") as books:
            books.write(json.dumps({"key": key, "receipt": receipt, "moved": moved}) + "\n")
        return receipt

    def read_books(self) -> list[dict[str, str]]:
        """Return what the provider was asked, and what it moved each time."""
        if not self.books.exists():
            return []
        return [json.loads(line) for line in self.books.read_text(encoding="utf-8").splitlines()]


@frozen
class World:
    """What the agent needs from outside."""

    shop: Shop
    provider: Provider


class Refunds(Actor[Case], kind="refund"):
    """One space is one refund."""

    # Whoever kills its process for fun is no reason to give a refund up.
    options = SpaceOptions(max_attempts=3, max_recoveries=100)

    def __init__(self, world: World) -> None:
        self.world = world

    @handler
    async def refund(self, order: str) -> str:
        """Pay an order back, if nobody minds."""
        sale = await self.step("find", self.world.shop.find, order, timeout=10)
        if sale.cents >= ASK_FROM:
            verdict = await self.suspend(
                "approve", sale, answer=Verdict, timeout=3 * DAYS, default=Verdict(ok=False, by="nobody in three days")
            )
            self.history.append(verdict)
            if not verdict.ok:
                self.state = Case(f"refused by {verdict.by}")
                return self.state.ending
        # The id of the message is the same in every try and every process, so the provider knows a second try.
        key = f"{self.message.id}/pay"
        again = Retry(5, on=ProviderDown)
        receipt = await self.step(
            "pay", self.world.provider.pay_back, sale, key, retry=again, limit="payments", timeout=20
        )
        self.state = Case(f"paid back, receipt {receipt}")
        return self.state.ending


async def decide(runtime: Runtime[Refunds], order: str, verdict: Verdict) -> None:
    """Answer the question about an order."""
    asked = [one for one in await runtime.suspensions.list(actor=Refunds) if one.space.id == order]
    try:
        for one in asked:
            await runtime.suspensions.answer(one.id, verdict)
    except SuspensionClosed:
        asked = []  # somebody was faster
    if not asked:
        print(f"nobody asks about order {order}")


async def show(runtime: Runtime[Refunds]) -> None:
    """Print where every refund stands."""
    asked = {one.space.id: one for one in await runtime.suspensions.list(actor=Refunds)}
    for space in await runtime.spaces(actor=Refunds):
        case = await space.state()
        if space.id in asked:
            print(f"{asked[space.id].question}: approve or refuse?")
        else:
            print(f"order {space.id}: {case.ending or 'not done yet'}")


async def main(command: str, order: str, by: str, folder: Path, seconds: float = 0.0) -> None:
    """Carry out one command."""
    world = World(Shop(), Provider(folder / "provider.jsonl", seconds))
    store, limits = SqliteStore(folder / "refunds.db"), [Limit("payments", 2)]
    async with open_runtime(Refunds, deps=world, store=store, limits=limits) as runtime:
        match command:
            case "start":
                # The id says which refund it is, not which click: a second one changes nothing.
                await runtime.space(order).with_options(message_id=f"refund-{order}").send(Refunds.refund, order)
            case "approve" | "refuse":
                await decide(runtime, order, Verdict(ok=command == "approve", by=by))
            case _:
                pass
        await runtime.drain()  # until all is done that can be: what a person has to decide stays in the store
        await show(runtime)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description="Pays orders back. Kill it when you like: money moves once.")
    arguments.add_argument("command", choices=["start", "approve", "refuse", "status"])
    arguments.add_argument("order", nargs="?", type=int, default=250, help="the number of the order")
    arguments.add_argument("--by", default="somebody", help="who approves or refuses")
    arguments.add_argument("--folder", type=Path, default=Path("build/refunds"), help="where the files are")
    arguments.add_argument("--slow", type=float, default=0.0, help="seconds a payment takes, before and after")
    given = arguments.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    trio.run(main, given.command, str(given.order), given.by, given.folder, given.slow)
