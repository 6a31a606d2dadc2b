"""What waits in a mailbox may be bounded in bytes, by the same rules as in messages."""

from __future__ import annotations

import re

import pytest
import trio

from spaceactors import (
    Actor,
    BadCall,
    DiscardReason,
    MailboxFull,
    MessageDiscarded,
    MessageSettled,
    Outcome,
    Overflow,
    SpaceOptions,
    SqliteStore,
    WhenBusy,
    handler,
)
from spaceactors._weighed import Weighed
from tests.spaceactors.scenes import opened, outcome_of, settled
from tests.spaceactors.services import watching

pytestmark = pytest.mark.usefixtures("autojump_clock")

MOST = 1000


class Reader(Actor[tuple[str, ...]], kind="reader"):
    options = SpaceOptions(mailbox_capacity=50, max_mailbox_bytes=MOST)

    @handler
    async def read(self, text: str, seconds: float = 0.0) -> None:
        await trio.sleep(seconds)
        self.state = (*self.state, text[:1])

    @handler
    async def hold(self) -> None:
        await trio.sleep(100)

    @handler
    async def tell(self, other: str, letter: str, length: int, times: int) -> None:
        for _ in range(times):
            await self.space(other).send(Reader.read, letter * length)

    @handler(when_busy=WhenBusy.LATEST)
    async def newest(self, text: str) -> None:
        self.state = (*self.state, text[:1])

    @handler
    async def later(self, text: str) -> None:
        self.schedule("tick", Reader.read, text, after=10)


class Refusing(Reader, kind="refusing"):
    options = SpaceOptions(max_mailbox_bytes=MOST, overflow=Overflow.REFUSE)


class Newest(Reader, kind="newest"):
    options = SpaceOptions(max_mailbox_bytes=MOST, overflow=Overflow.DROP_OLDEST)


class Oldest(Reader, kind="oldest"):
    options = SpaceOptions(max_mailbox_bytes=MOST, overflow=Overflow.DROP_NEWEST)


@pytest.fixture(params=["memory", "sqlite"])
def store(request, tmp_path):
    if request.param == "memory":
        return None
    disk = SqliteStore(tmp_path / "reader.db")
    disk.inline = True
    return disk


def live(runtime, name="a"):
    return next(space for space in runtime._hub.live.values() if space.id == name)


def check(space):
    """What is counted is what waits."""
    assert isinstance(space.mailbox, Weighed)
    assert space.mailbox.bytes == sum(message.extra.size for message in space.mailbox)
    return space.mailbox.bytes


async def held(runtime, name="a", cls=None):
    """Return a handle of a space that works for a hundred seconds."""
    handle = runtime.space(name)
    await handle.send(Reader.hold)
    await settled()
    return handle


# ---- overflow rules


async def test_a_mailbox_full_of_bytes_lets_senders_wait_until_there_is_room(store):
    async with opened(Reader, store=store) as runtime, trio.open_nursery() as nursery:
        reader = await held(runtime)
        for letter in "abcd":
            nursery.start_soon(reader.send, Reader.read, letter * 400, 10.0)
            await settled()
        space = live(runtime)
        assert (len(space.mailbox), len(space.line)) == (2, 2)
        assert 800 < check(space) <= MOST
        await trio.sleep(101)  # a runs, b and c wait
        assert ([one.args[0][0] for one in space.mailbox], len(space.line)) == (["b", "c"], 1)
        check(space)
        await trio.sleep(50)
        assert await reader.state() == ("a", "b", "c", "d")
        assert check(space) == 0


async def test_M3_a_small_message_does_not_overtake_a_large_one_that_waits(store):
    async with opened(Reader, store=store) as runtime, trio.open_nursery() as nursery:
        reader = await held(runtime)
        await reader.send(Reader.read, "a" * 600)
        nursery.start_soon(reader.send, Reader.read, "b" * 600)
        await settled()
        nursery.start_soon(reader.send, Reader.read, "c")
        await settled()
        assert [one.message.args[0][0] for one in live(runtime).line] == ["b", "c"]
        with pytest.raises(MailboxFull):
            reader.send_nowait(Reader.read, "d")
        await trio.sleep(101)
        assert await reader.state() == ("a", "b", "c")


@pytest.mark.parametrize("verb", ["send", "ask"])
async def test_refusing_says_how_many_bytes_there_are(store, verb):
    async with opened(Refusing, store=store) as runtime:
        reader = await held(runtime)
        await reader.send(Reader.read, "a" * 800)
        refused = await outcome_of(getattr(reader, verb), Reader.read, "b" * 800)
        assert isinstance(refused, MailboxFull)
        assert re.search(r"full \(8\d\d of 1,000 bytes wait, and this message has 8\d\d\)", str(refused))
        assert "SpaceOptions(max_mailbox_bytes=" in str(refused)
        await reader.send(Reader.read, "c")  # a small one has room
        assert check(live(runtime)) < MOST
        await trio.sleep(101)
        await reader.resend(refused.message)
        await settled()
        assert await reader.state() == ("a", "c", "b")
        assert (await runtime.snapshot()).ledger.accepted == 4


async def test_send_nowait_is_refused_where_send_would_wait(store):
    async with opened(Reader, store=store) as runtime:
        reader = await held(runtime)
        reader.send_nowait(Reader.read, "a" * 800)
        with pytest.raises(MailboxFull, match="bytes wait"):
            reader.send_nowait(Reader.read, "b" * 800)
        await trio.sleep(101)
        reader.send_nowait(Reader.read, "b" * 800)


async def test_as_many_of_the_oldest_are_dropped_as_make_room(store):
    async with opened(Newest, store=store) as runtime, watching(runtime, MessageSettled) as ends:
        reader = await held(runtime)
        for letter in "abcd":
            await reader.send(Reader.read, letter * 150)
        await reader.send(Reader.read, "e" * 700)  # a, b and c leave room
        await settled()
        assert [one.args[0][0] for one in live(runtime).mailbox] == ["d", "e"]
        assert [(one.outcome, one.why) for one in ends] == [(Outcome.DISCARDED, DiscardReason.OVERFLOW)] * 3
        check(live(runtime))
        await trio.sleep(101)
        assert await reader.state() == ("d", "e")


async def test_the_newest_is_dropped_if_it_has_no_room(store):
    async with opened(Oldest, store=store) as runtime:
        reader = await held(runtime)
        await reader.send(Reader.read, "a" * 800)
        await reader.send(Reader.read, "b" * 800)
        assert isinstance(await outcome_of(reader.ask, Reader.read, "c" * 800), MessageDiscarded)
        check(live(runtime))
        await trio.sleep(101)
        assert await reader.state() == ("a",)


# ---- what never fits


@pytest.mark.parametrize("cls", [Reader, Refusing, Newest, Oldest])
async def test_what_no_mailbox_could_ever_hold_is_a_bad_call(store, cls):
    async with opened(cls, store=store) as runtime:
        reader = runtime.space("a")
        for call in (reader.send, reader.ask):
            refused = await outcome_of(call, Reader.read, "a" * 1000)
            assert isinstance(refused, BadCall)
            assert "read with its arguments has 1,0" in str(refused)
            assert "the whole mailbox of a holds 1,000" in str(refused)
        with pytest.raises(BadCall):
            reader.send_nowait(Reader.read, "a" * 1000)
        snapshot = await runtime.snapshot()
        assert (snapshot.live, snapshot.ledger.accepted) == (0, 0)


async def test_what_cannot_be_written_cannot_be_measured():
    async with opened(Reader) as runtime:
        refused = await outcome_of(runtime.space("a").send, Reader.read, object())
        assert isinstance(refused, BadCall)
        assert "max_mailbox_bytes" in str(refused)


async def test_a_turn_that_sends_it_fails_and_the_actor_lives(store):
    async with opened(Reader, store=store) as runtime:
        failed = await outcome_of(runtime.space("a").ask, Reader.tell, "b", "x", 1000, 1)
        assert isinstance(failed.__cause__, BadCall)
        assert (await runtime.snapshot()).restarts == 0
        await runtime.space("a").ask(Reader.tell, "b", "x", 100, 1)
        await settled()
        assert await runtime.space("b").state() == ("x",)


async def test_a_tick_that_is_larger_than_the_mailbox_comes_alone(store):
    async with opened(Reader, store=store) as runtime:
        reader = runtime.space("a")
        await reader.ask(Reader.later, "t" * 900)
        space = live(runtime)
        space.mailbox.most = 500  # as with a bound that was lowered meanwhile
        await reader.send(Reader.hold)
        await reader.send(Reader.read, "a")
        await trio.sleep(50)
        assert (len(space.mailbox), len(space.line)) == (1, 1)
        await trio.sleep(60)
        assert await reader.state() == ("a", "t")
        assert check(space) == 0


# ---- sends of turns


async def test_what_turns_send_comes_in_over_the_bound_and_holds_the_sender_back(store):
    async with opened(Reader, store=store) as runtime:
        target, sender = await held(runtime, "b"), runtime.space("a")
        await target.send(Reader.read, "x" * 600)
        await sender.ask(Reader.tell, "b", "y", 600, 1)
        assert check(live(runtime, "b")) > MOST
        await sender.send(Reader.read, "z")
        await settled()
        assert await sender.state() == ()  # begins no turn before its target is within its bound
        await trio.sleep(101)
        assert await sender.state() == ("z",)
        assert await target.state() == ("x", "y")
        assert check(live(runtime, "b")) == 0


async def test_at_twice_the_bound_it_is_returned(store):
    async with opened(Reader, store=store) as runtime:
        await held(runtime, "b")
        await runtime.space("a").ask(Reader.tell, "b", "y", 450, 6)
        ledger = (await runtime.snapshot()).ledger
        assert ledger.outcomes[Outcome.RETURNED] == 2
        assert len(live(runtime, "b").mailbox) == 4
        assert MOST < check(live(runtime, "b")) <= 2 * MOST


# ---- nothing is counted wrong


async def test_what_leaves_the_mailbox_in_other_ways_is_not_counted_any_more(store):
    async with opened(Reader, store=store) as runtime, trio.open_nursery() as nursery:
        reader = await held(runtime)
        space = live(runtime)
        await reader.with_options(expires_after=5).send(Reader.read, "a" * 300)
        assert check(space) > 300
        await trio.sleep(6)
        assert check(space) == 0
        await reader.send(Reader.read, "b" * 300)
        await reader.send(Reader.read, "c" * 300)
        await reader.send(Reader.newest, "d" * 300)  # b and c are superseded
        assert len(space.mailbox) == 1
        assert 300 < check(space) < 400
        nursery.start_soon(reader.stop)
        await settled()
        assert check(space) == 0


async def test_a_message_that_is_tried_again_is_counted_again(store):
    class Stubborn(Reader, kind="stubborn"):
        @handler(max_attempts=3)
        async def fail(self, text: str) -> None:
            await trio.sleep(10)
            raise ValueError

    async with opened(Stubborn, store=store) as runtime:
        stubborn = runtime.space("a")
        await stubborn.send(Stubborn.fail, "x" * 500)
        await trio.sleep(5)
        assert check(live(runtime)) == 0
        await trio.sleep(5.5)
        assert check(live(runtime)) > 500  # in its place, while the actor backs off
        await trio.sleep(100)
        assert check(live(runtime)) == 0


async def test_what_an_earlier_process_left_is_counted(tmp_path):
    disk = SqliteStore(tmp_path / "reader.db")
    disk.inline = True
    from spaceactors.testing import open_test_runtime

    async with open_test_runtime(Reader, store=disk) as runtime:
        reader = await held(runtime)
        await reader.send(Reader.read, "a" * 400)
        await reader.send(Reader.read, "b" * 400)
        before = check(live(runtime))
        await runtime.reopen()
        await runtime.settle()
        assert check(live(runtime)) == before
        with pytest.raises(MailboxFull):
            reader.send_nowait(Reader.read, "c" * 400)


def test_a_space_uses_no_call_of_its_mailbox_that_is_not_counted():
    """Each way in and out that is used anywhere is overridden."""
    from pathlib import Path

    import spaceactors

    used = set()
    for path in Path(spaceactors.__file__).parent.rglob("*.py"):
        used |= set(re.findall(r"\bmailbox\.(\w+)\(", path.read_text(encoding="utf-8")))
    assert used <= {name for name in vars(Weighed) if not name.startswith("_")}
    assert used == {"append", "appendleft", "clear", "popleft", "remove"}


async def test_without_the_option_a_mailbox_is_as_it_was():
    class Free(Reader, kind="free"):
        options = SpaceOptions()

    async with opened(Free) as runtime:
        await held(runtime)
        assert type(live(runtime).mailbox) is not Weighed
        assert live(runtime).quick
        assert "sizes" not in vars(runtime._hub)
