"""Law 3: what a turn does becomes visible together when its handler returns, or not at all."""

from __future__ import annotations

import pytest
import trio
from attrs import evolve, frozen

from spaceactors import (
    Actor,
    ActorCrashed,
    MemoryStore,
    Outcome,
    Reject,
    Rejected,
    RestartLimit,
    SpaceOptions,
    handler,
)
from tests.spaceactors.scenes import opened, outcome_of, settled, take

pytestmark = pytest.mark.usefixtures("autojump_clock")

CALM = SpaceOptions(restart_limit=RestartLimit(1000, 1.0), backoff=None)


@frozen
class Cup:
    sips: int = 0
    notes: tuple[str, ...] = ()


class Log(Actor[tuple[str, ...]], kind="log"):
    options = CALM

    @handler
    async def note(self, text: str) -> None:
        self.state = (*self.state, text)


class Guest(Actor[Cup], kind="guest"):
    """Does one of everything in a turn, then ends it as told."""

    options = CALM
    seen: tuple[object, ...] = ()

    async def _everything(self) -> None:
        self.state = evolve(self.state, sips=self.state.sips + 1)
        self.history.append("sip")
        self.emit("sipped")
        self.count("sips")
        self.schedule("later", Guest.tick, after=5.0)
        await self.space("log", Log).send(Log.note, "sent")

    @handler
    async def well(self) -> int:
        await self._everything()
        return self.state.sips

    @handler
    async def slowly(self) -> int:
        await self._everything()
        await trio.sleep(1)
        return self.state.sips

    @handler
    async def reject(self) -> None:
        await self._everything()
        raise Reject("no")

    @handler
    async def crash(self) -> None:
        await self._everything()
        raise ValueError("spilled")

    @handler(timeout=1.0)
    async def too_slow(self) -> None:
        await self._everything()
        await trio.sleep_forever()

    @handler(max_attempts=2)
    async def second_time(self) -> int:
        await self._everything()
        if self.message.attempt == 1:
            raise ValueError("once")
        return self.state.sips

    @handler
    async def tick(self) -> None:
        self.state = evolve(self.state, notes=(*self.state.notes, "tick"))


async def everything_seen(runtime, feed):
    """Return all that a turn of `Guest` leaves where others can see it, an hour later."""
    guest = runtime.space("ann", Guest)
    await trio.sleep(3600)
    figures = {one.id: one for one in (await runtime.snapshot()).spaces}
    events = []
    with trio.move_on_after(0.1):
        events += await take(feed, 1)
    return (
        await guest.state(),
        await guest.history.recent(9),
        events,
        dict(figures["ann"].counters),
        await runtime.space("log", Log).state(),
    )


NOTHING = (Cup(), [], [], {}, ())
ALL = (Cup(1, ("tick",)), ["sip"], [("sipped", 1)], {"sips": 1}, ("sent",))


@pytest.mark.parametrize("call", [Guest.well, Guest.slowly])
async def test_law_3_a_turn_that_returns_leaves_all_it_did(call):
    async with opened(Guest, Log) as runtime, runtime.space("ann", Guest).subscribe() as feed:
        assert await runtime.space("ann", Guest).ask(call) == 1
        assert await everything_seen(runtime, feed) == ALL


@pytest.mark.parametrize(
    ("call", "error"), [(Guest.reject, Rejected), (Guest.crash, ActorCrashed), (Guest.too_slow, ActorCrashed)]
)
async def test_law_3_a_turn_that_does_not_return_leaves_nothing(call, error):
    async with opened(Guest, Log) as runtime, runtime.space("ann", Guest).subscribe() as feed:
        assert isinstance(await outcome_of(runtime.space("ann", Guest).ask, call), error)
        assert await everything_seen(runtime, feed) == NOTHING


async def test_law_3_a_second_try_begins_with_nothing_of_the_first():
    async with opened(Guest, Log) as runtime, runtime.space("ann", Guest).subscribe() as feed:
        assert await runtime.space("ann", Guest).ask(Guest.second_time) == 1
        assert await everything_seen(runtime, feed) == ALL


async def test_law_3_nothing_is_visible_before_the_handler_returns():
    async with opened(Guest, Log) as runtime, runtime.space("ann", Guest).subscribe() as feed:
        guest = runtime.space("ann", Guest)
        await guest.send(Guest.slowly)
        await trio.sleep(0.5)
        with trio.move_on_after(0.1) as waited:
            await take(feed, 1)
        seen = (await guest.state(), await guest.history.recent(9), len(guest.history))
        assert waited.cancelled_caught
        assert seen == (Cup(), [], 0)
        assert await runtime.space("log", Log).state() == ()


async def test_law_3_all_of_it_is_visible_in_the_moment_of_the_reply():
    async with opened(Guest, Log) as runtime:
        guest = runtime.space("ann", Guest)
        await guest.ask(Guest.slowly)
        figures = {one.id: one for one in (await runtime.snapshot()).spaces}
        assert (await guest.state()).sips == 1
        assert len(guest.history) == 1
        assert figures["ann"].counters == {"sips": 1}
        assert figures["log"].ledger.accepted == 1


async def test_law_3_a_turn_sees_what_it_has_done_so_far():
    class Diary(Actor[int]):
        @handler
        async def write(self) -> tuple[int, int, list[str]]:
            self.state = 7
            self.history.append("a")
            self.history.append("b")
            return self.state, len(self.history), await self.history.recent(1)

    async with opened(Diary) as runtime:
        assert await runtime.space("x").ask(Diary.write) == (7, 2, ["b"])


async def test_law_3_a_turn_that_has_returned_cannot_be_cancelled():
    """Killed in the moment between its return and the look at its outcome, a turn is handled."""

    class Quick(Actor[int]):
        options = CALM

        @handler
        async def work(self) -> int:
            self.state += 1
            killers.start_soon(self.handle.kill)
            return self.state

    async with opened(Quick) as runtime, trio.open_nursery() as killers:
        quick = runtime.space("x")
        assert await quick.ask(Quick.work) == 1
        assert await quick.state() == 1
        assert (await runtime.snapshot()).ledger.outcomes[Outcome.HANDLED] == 1


async def test_law_3_values_are_handed_over_and_not_copied():
    class Echo(Actor):
        @handler
        async def say(self, value: object) -> object:
            return value

    value = object()
    async with opened(Echo) as runtime:
        assert await runtime.space("x").ask(Echo.say, value) is value


async def test_law_3_scratch_is_not_rolled_back_and_is_lost_at_a_restart():
    class Scratch(Actor):
        options = CALM
        seen = 0

        @handler
        async def look(self) -> int:
            return self.seen

        @handler
        async def reject(self) -> None:
            self.seen += 1
            raise Reject

        @handler
        async def crash(self) -> None:
            raise ValueError

    async with opened(Scratch) as runtime:
        space = runtime.space("x")
        await outcome_of(space.ask, Scratch.reject)
        kept = await space.ask(Scratch.look)
        await outcome_of(space.ask, Scratch.crash)
        assert (kept, await space.ask(Scratch.look)) == (1, 0)


# ---- updates from outside


class Counter(Actor[int], kind="counter"):
    options = CALM

    @handler
    async def add_slowly(self, amount: int) -> tuple[int, int]:
        before = self.state
        await trio.sleep(1)
        self.state = before + amount
        return self.state, self.message.attempt

    @handler
    async def look_slowly(self) -> tuple[int, int]:
        before = self.state
        await trio.sleep(1)
        return before, self.message.attempt


async def test_an_update_from_outside_changes_the_committed_state():
    store = MemoryStore()
    async with opened(Counter, store=store) as runtime:
        space = runtime.space("x")
        versions = [await store.update(space, lambda old: old + 5), await store.update(space, lambda old: old + 5)]
        assert (await space.state(), versions) == (10, [1, 2])
        assert await space.ask(Counter.add_slowly, 1) == (11, 1)


@pytest.mark.parametrize("call", [(Counter.add_slowly, 0), (Counter.look_slowly,)])
@pytest.mark.parametrize("message_id", [None, "m"])
async def test_a_turn_that_lost_the_version_runs_again_and_no_attempt_is_counted(call, message_id):
    store = MemoryStore()
    async with opened(Counter, store=store) as runtime, trio.open_nursery() as nursery:
        space = runtime.space("x").with_options(message_id=message_id)
        replies = []

        async def ask():
            replies.append(await space.ask(*call))

        nursery.start_soon(ask)
        await trio.sleep(0.5)
        await store.update(space, lambda old: old + 5)
        await trio.sleep(1)
        assert replies == []
        await trio.sleep(1)
        assert replies == [(5, 1)]


async def test_a_turn_that_lost_the_version_leaves_nothing_of_its_first_run():
    class Noisy(Actor[int]):
        @handler
        async def work(self) -> None:
            self.emit("did")
            self.count("did")
            self.history.append("did")
            await trio.sleep(1)

    store = MemoryStore()
    async with opened(Noisy, store=store) as runtime, runtime.space("x").subscribe() as feed:
        space = runtime.space("x")
        await space.send(Noisy.work)
        await trio.sleep(0.5)
        await store.update(space, lambda old: old + 1)
        await trio.sleep(5)
        counters = (await runtime.snapshot()).spaces[0].counters
        assert (await space.history.recent(9), dict(counters), await take(feed, 1)) == (
            ["did"],
            {"did": 1},
            [("did", 1)],
        )


async def test_an_update_of_a_passive_space_is_seen_by_its_next_turn():
    store = MemoryStore()
    async with opened(Counter, store=store) as runtime:
        space = runtime.space("x")
        await store.update(space, lambda old: old + 5)
        assert (await runtime.snapshot()).live == 0
        assert await space.ask(Counter.look_slowly) == (5, 1)


# ---- history


class Diary(Actor, kind="diary"):
    options = SpaceOptions(backoff=None)

    @handler
    async def write(self, *entries: object) -> None:
        for entry in entries:
            self.history.append(entry)

    @handler
    async def read_all(self, new: str) -> tuple[list[object], list[int], int]:
        self.history.append(new)
        entries = await self.history.read()
        return [one.value for one in entries], [one.position for one in entries], len(self.history)


async def test_the_history_is_read_oldest_first():
    async with opened(Diary) as runtime:
        diary = runtime.space("x")
        await diary.ask(Diary.write, "a", "b", "c")
        assert await diary.history.recent(2) == ["b", "c"]


@pytest.mark.parametrize(
    ("n", "expected"), [(0, []), (-1, []), (1, ["c"]), (3, ["a", "b", "c"]), (99, ["a", "b", "c"])]
)
async def test_recent_gives_as_many_as_there_are(n, expected):
    async with opened(Diary) as runtime:
        await runtime.space("x").ask(Diary.write, "a", "b", "c")
        assert await runtime.space("x").history.recent(n) == expected


async def test_read_gives_entries_behind_a_position():
    async with opened(Diary) as runtime:
        diary = runtime.space("x")
        await diary.ask(Diary.write, *"abcde")
        page = await diary.history.read(after=2, limit=2)
        assert [(one.position, one.value) for one in page] == [(3, "c"), (4, "d")]


async def test_a_turn_reads_its_own_entries_behind_the_committed_ones():
    async with opened(Diary) as runtime:
        diary = runtime.space("x")
        await diary.ask(Diary.write, "a")
        assert await diary.ask(Diary.read_all, "b") == (["a", "b"], [1, 2], 2)


async def test_the_history_survives_a_stop():
    async with opened(Diary) as runtime:
        diary = runtime.space("x")
        await diary.ask(Diary.write, "a")
        await diary.stop()
        await diary.ask(Diary.write, "b")
        assert await diary.history.recent(9) == ["a", "b"]


async def test_positions_are_never_used_again_when_old_entries_go():
    class Short(Actor):
        options = SpaceOptions(max_history_entries=2)

        @handler
        async def write(self, entry: str) -> None:
            self.history.append(entry)

    async with opened(Short) as runtime:
        space = runtime.space("x")
        for entry in "abcdef":
            await space.ask(Short.write, entry)
        kept = await space.history.read()
        assert [(one.position, one.value) for one in kept] == [(5, "e"), (6, "f")]


async def test_the_history_of_a_space_that_never_was_is_empty():
    async with opened(Diary) as runtime:
        diary = runtime.space("nobody")
        assert (len(diary.history), await diary.history.recent(9), await diary.history.read()) == (0, [], [])


async def test_a_deleted_space_begins_anew():
    async with opened(Guest, Log) as runtime:
        guest = runtime.space("ann", Guest)
        await guest.ask(Guest.well)
        await guest.delete()
        assert (await guest.state(), len(guest.history)) == (Cup(), 0)
        assert await guest.ask(Guest.well) == 1


async def test_naming_a_space_and_asking_for_its_state_starts_nothing():
    async with opened(Counter) as runtime:
        assert await runtime.space("x").state() == 0
        assert (await runtime.snapshot()).live == 0
        await settled()
