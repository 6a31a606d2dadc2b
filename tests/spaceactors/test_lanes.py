"""Law 1 in lanes: the spaces of a group take turns one at a time, the earliest accepted message first."""

from __future__ import annotations

from functools import partial

import pytest
import trio
import trio.lowlevel
from hypothesis import given, settings
from hypothesis import strategies as st

from spaceactors import (
    Actor,
    ActorCrashed,
    AskCycle,
    BadCall,
    Outcome,
    RestartLimit,
    RuntimeConfig,
    SpaceOptions,
    SpaceStatus,
    handler,
)
from tests.spaceactors.scenes import opened, outcome_of, run_seeded, settled


class Floor:
    """Sees who runs in which lane, and what happened in which order."""

    def __init__(self):
        self.running = {}
        self.crowded = []
        self.trace = []

    def enter(self, group, turn):
        """A turn's code runs from here on; another one of its lane must not."""
        inside = self.running.setdefault(group, set())
        inside.add(turn)
        if len(inside) > 1:
            self.crowded.append((group, sorted(inside)))

    def leave(self, group, turn):
        self.running[group].discard(turn)


class Player(Actor[int], kind="player"):
    """Runs little programs; those of ids such as `a-1` belong to the group `a`, ids without a dash to none."""

    options = SpaceOptions(restart_limit=RestartLimit(1000, 1.0), backoff=None, mailbox_capacity=100)

    def __init__(self, floor: Floor) -> None:
        self.floor = floor

    @classmethod
    def group_of(cls, space_id: str, /) -> str | None:
        return space_id.split("-", maxsplit=1)[0] if "-" in space_id else None

    @handler
    async def play(self, *program: tuple[object, ...]) -> str:
        lane = type(self).group_of(self.id) or self.id
        turn = (self.id, id(self.message))
        self.floor.enter(lane, turn)
        self.floor.trace.append(f"+{self.id}")
        try:
            for verb, *args in program:
                await getattr(self, f"do_{verb}")(lane, turn, *args)
        finally:
            self.floor.leave(lane, turn)
        self.floor.trace.append(f"-{self.id}")
        self.state += 1
        return self.id

    async def do_sleep(self, lane, turn, seconds):
        await trio.sleep(seconds)

    async def do_crash(self, lane, turn):
        raise ValueError

    async def do_send(self, lane, turn, target, *program):
        await self.space(target).send(Player.play, *program)

    async def do_ask(self, lane, turn, target, *program):
        self.floor.leave(lane, turn)
        try:
            await self.space(target).ask(Player.play, *program)
        except (AskCycle, ActorCrashed) as error:
            self.floor.trace.append(type(error).__name__)
        self.floor.enter(lane, turn)
        self.floor.trace.append(f"~{self.id}")

    async def do_ask_briefly(self, lane, turn, seconds, target, *program):
        self.floor.leave(lane, turn)
        with trio.move_on_after(seconds):
            await self.space(target).ask(Player.play, *program)
        self.floor.enter(lane, turn)
        self.floor.trace.append(f"~{self.id}")

    async def do_together(self, lane, turn, *asks):
        """Ask several at once; the code behind each answer runs in the lane."""
        self.floor.leave(lane, turn)

        async def one(number, target, *program):
            try:
                await self.space(target).ask(Player.play, *program)
            except AskCycle:
                return  # refused at once: it never gave the lane away
            except ActorCrashed:
                pass
            part = (*turn, number)
            # All of these are one turn: as long as one of them runs code, the lane is taken.
            others = {inside for inside in self.floor.running.get(lane, ()) if inside[:2] != turn}
            if others:
                self.floor.crowded.append((lane, others))
            self.floor.running[lane].add(part)
            await trio.sleep(0.25)
            self.floor.running[lane].discard(part)

        async with trio.open_nursery() as nursery:
            for number, ask in enumerate(asks):
                nursery.start_soon(one, number, *ask)
        self.floor.enter(lane, turn)

    @handler
    async def suspends(self) -> str:
        return await self.suspend("what", None, answer=str)


def floor_of():
    floor = Floor()
    return floor, partial(opened, Player, deps=floor)


async def play_all(runtime, *calls):
    """Send programs to spaces in this order, in one moment."""
    for target, *program in calls:
        await runtime.space(target).send(Player.play, *program)


pytestmark = pytest.mark.usefixtures("autojump_clock")


async def test_spaces_of_one_group_take_turns_one_at_a_time():
    floor, opening = floor_of()
    async with opening() as runtime:
        await play_all(runtime, *[(f"a-{number}", ("sleep", 1)) for number in range(5)])
        await trio.sleep(4.5)
        assert (len(floor.trace), floor.crowded) == (9, [])


async def test_spaces_of_different_groups_run_at_the_same_time():
    floor, opening = floor_of()
    async with opening() as runtime:
        await play_all(runtime, ("a-1", ("sleep", 1)), ("b-1", ("sleep", 1)), ("c", ("sleep", 1)))
        await trio.sleep(1.1)
        assert len(floor.trace) == 6


@pytest.mark.parametrize("seed", range(8))
def test_the_earliest_accepted_message_goes_first_whatever_the_schedule(seed):
    async def main():
        floor, opening = floor_of()
        async with opening() as runtime:
            names = ["a-3", "a-1", "a-2", "a-1", "a-4", "a-3", "a-5"]
            await play_all(runtime, *[(name, ("sleep", 0.1)) for name in names])
            await trio.sleep(10)
            assert [one for one in floor.trace if one[0] == "+"] == [f"+{name}" for name in names]

    run_seeded(main, seed)


@pytest.mark.parametrize("seed", range(8))
def test_the_earliest_goes_first_in_a_lane_that_was_idle_too(seed):
    async def main():
        floor, opening = floor_of()
        async with opening() as runtime:
            await play_all(runtime, ("a-1",), ("a-2",), ("a-3",))
            await settled()
            floor.trace.clear()
            await play_all(runtime, ("a-2",), ("a-3",), ("a-1",))
            await settled()
            assert floor.trace == ["+a-2", "-a-2", "+a-3", "-a-3", "+a-1", "-a-1"]

    run_seeded(main, seed)


async def test_one_lane_puts_all_spaces_in_one():
    floor, opening = floor_of()
    async with opening(one_lane=True) as runtime:
        await play_all(runtime, ("a-1", ("sleep", 1)), ("b-1", ("sleep", 1)), ("c", ("sleep", 1)))
        await trio.sleep(5)
        assert floor.trace == ["+a-1", "-a-1", "+b-1", "-b-1", "+c", "-c"]


async def test_a_lane_and_concurrency_together_are_one_turn_at_a_time():
    most, running = [], set()

    class Wide(Actor):
        options = SpaceOptions(concurrency=4)

        @handler
        async def work(self) -> None:
            running.add(self.message.id)
            most.append(len(running))
            await trio.sleep(1)
            running.discard(self.message.id)

    async with opened(Wide, one_lane=True) as runtime:
        for _ in range(6):
            await runtime.space("x").send(Wide.work)
        await trio.sleep(10)
        assert (len(most), max(most)) == (6, 1)


# ---- asks


async def test_M14_an_ask_inside_ones_own_lane_works():
    floor, opening = floor_of()
    async with opening() as runtime:
        await runtime.space("a-1").ask(Player.play, ("ask", "a-2", ("sleep", 1)))
        assert floor.trace == ["+a-1", "+a-2", "-a-2", "~a-1", "-a-1"]


async def test_M14_the_lane_is_lent_only_to_what_the_answer_needs():
    floor, opening = floor_of()
    async with opening() as runtime:
        await play_all(runtime, ("a-1", ("ask", "a-2", ("sleep", 1))), ("a-3",), ("a-3",))
        await trio.sleep(10)
        assert floor.trace == ["+a-1", "+a-2", "-a-2", "~a-1", "-a-1", "+a-3", "-a-3", "+a-3", "-a-3"]


@pytest.mark.parametrize("seed", range(6))
def test_M14_a_turn_whose_answer_is_there_goes_on_before_any_that_has_not_begun(seed):
    async def main():
        floor, opening = floor_of()
        async with opening() as runtime:
            await play_all(runtime, ("a-1", ("ask", "a-2", ("sleep", 1))))
            await trio.sleep(0.5)
            await play_all(runtime, ("a-2",), ("a-2",))
            await trio.sleep(10)
            assert floor.trace[:5] == ["+a-1", "+a-2", "-a-2", "~a-1", "-a-1"]

    run_seeded(main, seed)


@pytest.mark.parametrize("seed", range(6))
def test_M14_it_goes_on_too_before_what_an_outer_turn_of_the_lane_needs(seed):
    """a-0 needs a-1 and, over x, a-3; the answer of a-2 lets a-1 go on before a-3 begins."""

    async def main():
        floor, opening = floor_of()
        async with opening() as runtime:
            parts = (("a-1", ("ask", "a-2", ("sleep", 2))), ("x", ("sleep", 1), ("ask", "a-3")))
            await runtime.space("a-0").ask(Player.play, ("together", *parts))
            order = [one for one in floor.trace if one in ("-a-2", "~a-1", "-a-1", "+a-3")]
            assert order == ["-a-2", "~a-1", "-a-1", "+a-3"]

    run_seeded(main, seed)


async def test_M14_a_chain_within_the_lane_works():
    floor, opening = floor_of()
    chain = ("sleep", 0)
    for number in range(20, 1, -1):
        chain = ("ask", f"a-{number}", chain)
    async with opening() as runtime:
        await runtime.space("a-1").ask(Player.play, chain)
        assert (len(floor.trace), floor.crowded) == (59, [])


async def test_M14_a_chain_through_a_space_of_no_lane_works():
    floor, opening = floor_of()
    async with opening() as runtime:
        program = ("ask", "x", ("ask", "a-2", ("ask", "y", ("ask", "a-3"))))
        await runtime.space("a-1").ask(Player.play, program)
        assert floor.crowded == []


async def test_M14_a_chain_works_where_the_one_that_is_needed_has_earlier_messages():
    floor, opening = floor_of()
    async with opening() as runtime:
        await play_all(runtime, ("a-1", ("sleep", 1), ("ask", "x", ("ask", "a-2"))), ("a-2",), ("a-2",))
        await trio.sleep(10)
        assert floor.trace.count("-a-2") == 3
        assert "-a-1" in floor.trace


async def test_M14_a_chain_works_through_a_full_mailbox():
    class Small(Player, kind="small"):
        options = SpaceOptions(mailbox_capacity=1, backoff=None)

    floor = Floor()
    async with opened(Small, deps=floor) as runtime:
        await runtime.space("a-1").send(Player.play, ("sleep", 1), ("ask", "x", ("ask", "a-2")))
        await trio.sleep(0.5)
        await runtime.space("a-2").send(Player.play)
        await trio.sleep(10)
        assert floor.trace.count("-a-2") == 2
        assert "-a-1" in floor.trace


async def test_M14_two_lanes_whose_turns_need_each_other_lend_both():
    """a-1 waits for b-2, whose lane is b-1's, which waits for a-2, whose lane is a-1's."""
    floor, opening = floor_of()
    async with opening() as runtime:
        await play_all(
            runtime,
            ("a-1", ("sleep", 1), ("ask", "b-2", ("sleep", 1))),
            ("b-1", ("sleep", 1), ("ask", "a-2", ("sleep", 1))),
        )
        await trio.sleep(20)
        assert sorted(one for one in floor.trace if one[0] == "-") == ["-a-1", "-a-2", "-b-1", "-b-2"]
        assert floor.crowded == []


async def test_M14_a_wait_that_begins_later_lends_the_lane_too():
    """x is already waiting for y when y begins to need the lane."""
    floor, opening = floor_of()
    async with opening() as runtime:
        await play_all(
            runtime,
            ("a-1", ("sleep", 1), ("ask", "x", ("ask", "y", ("sleep", 2), ("ask", "a-2")))),
            ("a-2",),
            ("a-3",),
        )
        await trio.sleep(20)
        order = [one for one in floor.trace if one[0] == "-"]
        assert order == ["-a-2", "-a-2", "-y", "-x", "-a-1", "-a-3"]


async def test_M14_a_ring_through_a_lane_is_named():
    floor, opening = floor_of()
    async with opening() as runtime:
        await runtime.space("a-1").ask(Player.play, ("ask", "a-2", ("ask", "x", ("ask", "a-1"))))
        assert floor.trace.count("AskCycle") == 1


async def test_M14_the_error_of_a_ring_names_the_chain():
    class Ring(Actor):
        @classmethod
        def group_of(cls, space_id: str, /) -> str | None:
            return "all"

        @handler
        async def pass_on(self, *names: str) -> str:
            try:
                return await self.space(names[0]).ask(Ring.pass_on, *names[1:])
            except AskCycle as error:
                return str(error)

    async with opened(Ring) as runtime:
        text = await runtime.space("ann").ask(Ring.pass_on, "bob", "cid", "ann")
        assert "cid → ann → bob → cid" in text


async def test_M14_parallel_asks_of_one_turn_work():
    floor, opening = floor_of()
    async with opening() as runtime:
        program = ("together", ("a-2", ("sleep", 1)), ("a-3", ("sleep", 1)), ("x", ("sleep", 0.5)))
        await runtime.space("a-1").ask(Player.play, program, ("sleep", 1))
        assert floor.crowded == []


async def test_M14_a_part_of_a_turn_whose_answer_is_there_takes_no_lane_that_another_part_needs():
    """The answer of x comes while a-2 waits for a-3: the lane stays lent until both are there."""
    floor, opening = floor_of()
    async with opening() as runtime:
        program = ("together", ("x",), ("a-2", ("ask", "y", ("sleep", 1)), ("ask", "a-3", ("sleep", 1))))
        with trio.fail_after(100):
            await runtime.space("a-1").ask(Player.play, program)
        assert floor.crowded == []


async def test_M14_a_turn_that_gives_up_waiting_goes_on_when_the_lane_is_free_again():
    floor, opening = floor_of()
    async with opening() as runtime:
        await runtime.space("a-1").ask(Player.play, ("ask_briefly", 1, "a-2", ("sleep", 5)), ("sleep", 1))
        assert (floor.crowded, floor.trace) == ([], ["+a-1", "+a-2", "-a-2", "~a-1", "-a-1"])


async def test_M14_a_turn_that_gives_up_waiting_for_somebody_elses_lane_goes_on_at_once():
    _, opening = floor_of()
    async with opening() as runtime:
        await runtime.space("a-1").ask(Player.play, ("ask_briefly", 1, "x", ("sleep", 5)))
        assert trio.current_time() == 1.0


async def test_S3_a_turn_that_waits_for_its_lane_can_be_killed_at_once():
    _, opening = floor_of()
    async with opening() as runtime:
        await play_all(runtime, ("a-1", ("ask_briefly", 1, "a-2", ("sleep", 50))))
        await trio.sleep(5)
        await runtime.space("a-1").kill()
        assert trio.current_time() == 5.0


async def test_a_stream_of_the_own_lane_can_be_read_in_a_turn():
    class Teller(Actor):
        @handler
        async def tell(self, number: int):
            for item in range(number):
                yield item
                await trio.lowlevel.checkpoint()

        @handler
        async def hello(self) -> str:
            return self.id

        @handler
        async def listen(self) -> tuple[int, str]:
            found = []
            async with self.space("other").stream(Teller.tell, 100) as items:
                async for item in items:
                    found.append(item)
                    last = await self.space("third").ask(Teller.hello)
            return len(found), last

    async with opened(Teller, one_lane=True) as runtime:
        with trio.fail_after(100):
            assert await runtime.space("x").ask(Teller.listen) == (100, "third")


# ---- what must not hold up a lane


@pytest.mark.parametrize("backoff", [None, lambda _state: 5.0])
async def test_a_crash_in_a_lane_holds_up_nobody(backoff):
    class Weak(Player, kind="weak"):
        options = SpaceOptions(restart_limit=RestartLimit(100, 1.0), backoff=backoff)

    floor = Floor()
    async with opened(Weak, deps=floor) as runtime:
        await play_all(runtime, ("a-1", ("crash",)), ("a-1",), ("a-2",))
        await trio.sleep(1)
        assert "-a-2" in floor.trace
        await trio.sleep(10)
        assert "-a-1" in floor.trace


async def test_a_space_in_backoff_does_not_block_its_lane_and_comes_first_again_when_it_can():
    class Weak(Player, kind="weak"):
        options = SpaceOptions(restart_limit=RestartLimit(100, 1.0), backoff=lambda _state: 5.0)

    floor = Floor()
    async with opened(Weak, deps=floor) as runtime:
        await play_all(runtime, ("a-1", ("crash",)), ("a-1",))
        await play_all(runtime, *[(f"a-{number}", ("sleep", 2)) for number in (2, 3, 4, 5, 6)])
        await trio.sleep(50)
        order = [one for one in floor.trace if one[0] == "-"]
        assert order == ["-a-2", "-a-3", "-a-4", "-a-1", "-a-5", "-a-6"]


@pytest.mark.parametrize("ailment", ["paused", "quarantined", "suspended", "stopped", "killed"])
async def test_a_space_that_cannot_run_does_not_block_its_lane(ailment):
    class Weak(Player, kind="weak"):
        options = SpaceOptions(restart_limit=RestartLimit(0, 1.0))

    floor = Floor()
    async with opened(Weak, deps=floor) as runtime:
        ill = runtime.space("a-1")
        match ailment:
            case "paused":
                await ill.pause()
                await ill.send(Player.play)
            case "quarantined":
                await outcome_of(ill.ask, Player.play, ("crash",))
            case "suspended":
                await ill.send(Player.suspends)
            case "stopped":
                await ill.send(Player.play, ("sleep", 1))
                await ill.stop()
            case "killed":
                await ill.send(Player.play, ("sleep", 1000))
                await trio.sleep(1)
                await ill.kill()
        with trio.fail_after(10):
            assert await runtime.space("a-2").ask(Player.play) == "a-2"


async def test_a_space_that_waits_for_a_place_among_the_live_ones_does_not_block_its_lane():
    floor, opening = floor_of()
    async with opening(config=RuntimeConfig(max_live_spaces=1)) as runtime:
        with trio.fail_after(100):
            await runtime.space("a-1").ask(Player.play, ("sleep", 1), ("send", "a-2"), ("send", "a-1"))
            await trio.sleep(50)
        assert [one for one in floor.trace if one[0] == "-"] == ["-a-1", "-a-1", "-a-2"] or floor.trace.count(
            "-a-1"
        ) == 2
        assert "-a-2" in floor.trace


async def test_a_resumed_space_of_a_lane_goes_on():
    floor, opening = floor_of()
    async with opening() as runtime:
        await runtime.space("a-1").pause()
        await play_all(runtime, ("a-1",), ("a-2",))
        await trio.sleep(1)
        await runtime.space("a-1").resume()
        await trio.sleep(1)
        assert floor.trace == ["+a-2", "-a-2", "+a-1", "-a-1"]


async def test_a_drain_finishes_a_lane():
    floor, opening = floor_of()
    async with opening() as runtime:
        await play_all(runtime, *[(f"a-{number % 3}", ("sleep", 1)) for number in range(9)])
        report = await runtime.drain(100)
        assert (report.clean, len(floor.trace), floor.crowded) == (True, 18, [])


@pytest.mark.parametrize("hook", ["on_start", "on_idle", "on_stop"])
async def test_hooks_take_their_turn_in_the_lane(hook):
    class Hooked(Player, kind="hooked"):
        options = SpaceOptions(idle_timeout=3.5)

    async def work(self):
        lane, turn = "a", (self.id, hook)
        self.floor.enter(lane, turn)
        await trio.sleep(2)
        self.floor.leave(lane, turn)
        self.floor.trace.append(hook)

    hooked = type("Hooked", (Hooked,), {hook: work})
    floor = Floor()
    async with opened(hooked, deps=floor) as runtime:
        for number in range(20):
            await play_all(runtime, (f"a-{number % 4}", ("sleep", 1)))
            await trio.sleep(1.5)
        await trio.sleep(50)
        assert floor.crowded == []
        assert floor.trace.count(hook) >= 4
        assert floor.trace.count("-a-1") == 5


async def test_a_space_of_a_lane_can_be_stopped_by_a_turn_of_the_lane():
    class Polite(Player, kind="polite"):
        async def on_stop(self) -> None:
            await trio.sleep(1)
            self.floor.trace.append(f"bye {self.id}")

        @handler
        async def end(self, name: str) -> None:
            await self.space(name).stop()

    floor = Floor()
    async with opened(Polite, deps=floor) as runtime:
        await runtime.space("a-2").ask(Player.play)
        with trio.fail_after(100):
            await runtime.space("a-1").ask(Polite.end, "a-2")
        assert floor.trace == ["+a-2", "-a-2", "bye a-2"]


# ---- groups


class Plain(Actor[int], kind="plain"):
    @handler
    async def hello(self) -> None:
        await trio.sleep(1)
        self.state += 1


async def test_the_group_can_be_given_with_the_handle():
    async with opened(Plain) as runtime, trio.open_nursery() as nursery:
        for name in ("x", "y", "z"):
            nursery.start_soon(runtime.space(name, group="g").send, Plain.hello)
        await trio.sleep(1.5)
        assert sum([await runtime.space(name).state() for name in "xyz"]) == 1


@pytest.mark.parametrize("first", [None, "g"])
async def test_another_group_than_the_first_messages_is_a_bad_call(first):
    async with opened(Plain) as runtime:
        await runtime.space("x", group=first).ask(Plain.hello)
        error = await outcome_of(runtime.space("x", group="other").ask, Plain.hello)
        assert isinstance(error, BadCall)
        assert (await runtime.snapshot()).ledger.accepted == 1


async def test_a_handle_without_a_group_takes_the_spaces_own():
    async with opened(Plain) as runtime:
        await runtime.space("x", group="g").ask(Plain.hello)
        await runtime.space("x").ask(Plain.hello)
        assert await runtime.space("x").state() == 2


async def test_the_group_stays_through_passivation():
    class Idle(Plain, kind="idle"):
        options = SpaceOptions(idle_timeout=1.0)

    async with opened(Idle) as runtime:
        await runtime.space("x", group="g").ask(Plain.hello)
        await trio.sleep(10)
        assert (await runtime.space("x").info()).status is SpaceStatus.PASSIVE
        error = await outcome_of(runtime.space("x", group="other").ask, Plain.hello)
        assert isinstance(error, BadCall)


# ---- at random

NAMES = [f"{group}-{number}" for group in "ab" for number in range(3)] + ["x", "y"]


def programs(depth):
    steps = [
        st.tuples(st.just("sleep"), st.sampled_from([0, 0.5, 1])),
        st.tuples(st.just("send"), st.sampled_from(NAMES)),
        st.just(("crash",)),
    ]
    if depth:
        call = st.tuples(st.sampled_from(NAMES), *[st.deferred(lambda: st.one_of(*programs(depth - 1)))] * 2)
        steps += [
            call.map(lambda one: ("ask", *one)),
            call.map(lambda one: ("ask", *one)),
            st.tuples(st.sampled_from([0.3, 2]), call).map(lambda one: ("ask_briefly", one[0], *one[1])),
            st.lists(call, min_size=2, max_size=3).map(lambda some: ("together", *some)),
        ]
    return steps


calls = st.lists(
    st.tuples(st.sampled_from(NAMES), st.lists(st.one_of(*programs(2)), max_size=3)), min_size=1, max_size=8
)


@settings(max_examples=150)
@given(calls=calls, seed=st.integers(0, 2**32), one_lane=st.booleans())
def test_law_1_in_any_web_of_asks_one_turn_at_a_time_runs_in_a_lane_and_all_end(calls, seed, one_lane):
    async def main():
        floor, opening = floor_of()
        async with opening(one_lane=one_lane) as runtime:
            await play_all(runtime, *[(name, *program) for name, program in calls])
            await trio.sleep(10_000)
            ledger = (await runtime.snapshot()).ledger
            assert ledger.pending == 0
            assert ledger.accepted == sum(ledger.outcomes.values())
            assert set(ledger.outcomes) == set(Outcome)
            assert floor.crowded == []

    run_seeded(main, seed)


class Sleeper(Actor):
    @classmethod
    def group_of(cls, space_id: str, /) -> str | None:
        return "dormitory"

    @handler
    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)


async def test_S1_a_drain_that_finds_turns_in_a_lane_lasts_as_long_as_they_do():
    """And no longer: when the last turn has given its lane back, nothing is left to wait for."""
    async with opened(Sleeper) as runtime:
        for name in "abc":
            await runtime.space(name).send(Sleeper.sleep, 1.0)
    assert (runtime.report.seconds, runtime.report.clean) == (3.0, True)
