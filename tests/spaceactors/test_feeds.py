"""Feeds: what actors emit, with positions, replayed from a bounded memory, for any number of readers."""

from __future__ import annotations

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from spaceactors import Actor, Emitted, Gap, SpaceOptions, handler
from spaceactors._feed import Feed, FeedReader
from tests.spaceactors.scenes import opened, outcome_of, settled, take

pytestmark = pytest.mark.usefixtures("autojump_clock")


class Radio(Actor, kind="radio"):
    options = SpaceOptions(feed_size=5, idle_timeout=10.0, backoff=None)

    @handler
    async def say(self, *words: object) -> None:
        for word in words:
            self.emit(word)

    @handler
    async def say_now(self, word: str, seconds: float = 0.0) -> None:
        self.emit(word, now=True)
        await trio.sleep(seconds)

    @handler
    async def say_and_crash(self, word: str) -> None:
        self.emit(word)
        self.emit(f"{word}!", now=True)
        raise ValueError


async def test_what_is_emitted_comes_with_its_position():
    async with opened(Radio) as runtime, runtime.space("x").subscribe() as feed:
        await runtime.space("x").ask(Radio.say, "a", "b")
        assert await take(feed, 2) == [("a", 1), ("b", 2)]


async def test_a_subscriber_sees_what_comes_from_now_on():
    async with opened(Radio) as runtime:
        await runtime.space("x").ask(Radio.say, "old")
        async with runtime.space("x").subscribe() as feed:
            await runtime.space("x").ask(Radio.say, "new")
            assert await take(feed, 1) == [("new", 2)]


@pytest.mark.parametrize(("after", "expected"), [(0, [("a", 1), ("b", 2), ("c", 3)]), (2, [("c", 3)])])
async def test_a_subscriber_reads_from_behind_a_position(after, expected):
    async with opened(Radio) as runtime:
        await runtime.space("x").ask(Radio.say, "a", "b", "c")
        async with runtime.space("x").subscribe(after=after) as feed:
            assert await take(feed, len(expected)) == expected


async def test_replay_goes_on_with_what_comes():
    async with opened(Radio) as runtime:
        await runtime.space("x").ask(Radio.say, "a")
        async with runtime.space("x").subscribe(after=0) as feed:
            await runtime.space("x").ask(Radio.say, "b")
            assert await take(feed, 2) == [("a", 1), ("b", 2)]


async def test_what_is_no_longer_kept_is_a_gap():
    async with opened(Radio) as runtime:
        await runtime.space("x").ask(Radio.say, *"abcdefgh")
        async with runtime.space("x").subscribe(after=1) as feed:
            assert await take(feed, 6) == [2, ("d", 4), ("e", 5), ("f", 6), ("g", 7), ("h", 8)]


async def test_a_slow_reader_is_told_how_much_it_missed():
    async with opened(Radio) as runtime, runtime.space("x").subscribe() as feed:
        await runtime.space("x").ask(Radio.say, *"abcdefgh")
        assert await take(feed, 3) == [3, ("d", 4), ("e", 5)]


async def test_a_slow_reader_holds_up_nobody():
    async with opened(Radio) as runtime, runtime.space("x").subscribe():
        with trio.fail_after(1):
            for _ in range(100):
                await runtime.space("x").ask(Radio.say, "a")


async def test_two_readers_each_see_everything():
    async with opened(Radio) as runtime:
        space = runtime.space("x")
        async with space.subscribe() as one, space.subscribe() as other:
            await space.ask(Radio.say, "a")
            assert await take(one, 1) == await take(other, 1) == [("a", 1)]


async def test_a_type_filters_what_comes():
    async with opened(Radio) as runtime:
        await runtime.space("x").ask(Radio.say, "a", 1)
        async with runtime.space("x").subscribe(int, after=0) as feed:
            await runtime.space("x").ask(Radio.say, "b", 2)
            assert await take(feed, 2) == [(1, 2), (2, 4)]


async def test_emit_now_goes_at_once_and_has_no_position():
    async with opened(Radio) as runtime, runtime.space("x").subscribe() as feed:
        await runtime.space("x").send(Radio.say_now, "a", 5.0)
        assert await take(feed, 1) == [("a", None)]
        assert trio.current_time() == 0


async def test_emit_now_is_never_replayed():
    async with opened(Radio) as runtime:
        await runtime.space("x").ask(Radio.say_now, "a")
        await runtime.space("x").ask(Radio.say, "b")
        async with runtime.space("x").subscribe(after=0) as feed:
            assert await take(feed, 1) == [("b", 1)]


async def test_law_3_what_a_failed_turn_emitted_is_not_seen_but_what_went_at_once_stands():
    async with opened(Radio) as runtime, runtime.space("x").subscribe() as feed:
        await outcome_of(runtime.space("x").ask, Radio.say_and_crash, "a")
        await runtime.space("x").ask(Radio.say, "b")
        assert await take(feed, 2) == [("a!", None), ("b", 1)]


async def test_positions_and_subscriptions_go_on_after_passivation():
    async with opened(Radio) as runtime, runtime.space("x").subscribe() as feed:
        await runtime.space("x").ask(Radio.say, "a")
        await trio.sleep(20)
        assert (await runtime.snapshot()).live == 0
        await runtime.space("x").ask(Radio.say, "b")
        assert await take(feed, 2) == [("a", 1), ("b", 2)]


async def test_a_passive_space_can_be_replayed_and_is_not_started_by_it():
    async with opened(Radio) as runtime:
        await runtime.space("x").ask(Radio.say, "a")
        await trio.sleep(20)
        async with runtime.space("x").subscribe(after=0) as feed:
            assert await take(feed, 1) == [("a", 1)]
            assert (await runtime.snapshot()).live == 0


async def test_hooks_may_emit():
    class Greeter(Actor):
        async def on_start(self) -> None:
            self.emit("here")

        @handler
        async def hello(self) -> None:
            pass

    async with opened(Greeter) as runtime, runtime.space("x").subscribe() as feed:
        await runtime.space("x").send(Greeter.hello)
        assert await take(feed, 1) == [("here", 1)]


async def test_a_feed_ends_with_the_runtime():
    ended = []
    async with trio.open_nursery() as nursery, opened(Radio) as runtime:

        async def read():
            async with runtime.space("x").subscribe() as feed:
                async for event in feed:
                    ended.append(event.value)  # noqa: PERF401 (it is looked at while the reader waits)
            ended.append("end")

        nursery.start_soon(read)
        await settled()
        await runtime.space("x").ask(Radio.say, "a")
    assert ended == ["a", "end"]


async def test_a_reader_that_leaves_is_forgotten():
    async with opened(Radio) as runtime:
        async with runtime.space("x").subscribe():
            pass
        assert not runtime._hub.feeds._readers


# ---- the pure part


def shown(events):
    return [one.missed if isinstance(one, Gap) else (one.value, one.position) for one in events]


@given(size=st.integers(1, 6), number=st.integers(0, 15), after=st.integers(0, 20))
def test_a_replay_and_its_gap_account_for_every_event_behind_the_position(size, number, after):
    feed = Feed(size)
    for value in range(1, number + 1):
        feed.add(value)
    found = feed.after(after)
    missed = sum(one.missed for one in found if isinstance(one, Gap))
    kept = [one.position for one in found if isinstance(one, Emitted)]
    assert missed + len(kept) == max(number - after, 0)
    assert kept == list(range(max(after, number - size) + 1, number + 1))


@given(size=st.integers(1, 4), moves=st.lists(st.booleans(), max_size=40))
def test_a_reader_accounts_for_every_event_in_order(size, moves):
    reader = FeedReader(None, size)
    put, got = 0, []

    async def main():
        nonlocal put
        for is_put in [*moves, *[False] * (size + 1)]:
            if is_put:
                put += 1
                reader.put(Emitted(put, put))
            elif reader._buffer or reader._missed:
                got.append(await anext(reader))

    trio.run(main)
    at = 0
    for event in got:
        at = at + event.missed if isinstance(event, Gap) else at + 1
        assert isinstance(event, Gap) or event.position == at
    assert at == put
