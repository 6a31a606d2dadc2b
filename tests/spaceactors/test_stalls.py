"""A turn that makes no progress is told with its stack and left alone; one that waits for somebody else is none."""

from __future__ import annotations

import gc
import math
import weakref
from decimal import Decimal
from functools import partial

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from spaceactors import (
    Actor,
    Limit,
    Outcome,
    RestartLimit,
    RuntimeConfig,
    SpaceOptions,
    SpaceRevived,
    TurnStalled,
    TurnWentOn,
    WhenBusy,
    handler,
)
from spaceactors._stall_rule import LOOKS, SHORTEST, Seen, Sight, Turn, Waiting, look, pause
from tests.spaceactors.scenes import opened, outcome_of, settled

AFTER = 8.0  # looks each 2 s: a turn that begins at 0 is first seen at 2, and told at 10
FIRST = 10.0


class Desk(Actor[int], kind="desk"):
    """Does what it is given to do; those of ids such as `a-1` share the lane `a`."""

    options = SpaceOptions(
        stalled_after=AFTER, backoff=None, mailbox_capacity=1, restart_limit=RestartLimit(1000, 1.0), max_attempts=9
    )

    @classmethod
    def group_of(cls, space_id: str, /) -> str | None:
        return space_id.split("-", maxsplit=1)[0] if "-" in space_id else None

    @handler
    async def do(self, act):
        return await act(self)

    @handler(limit="scarce")
    async def do_alone(self, act):
        return await act(self)

    @handler
    async def talk(self, act):
        async for item in act(self):
            yield item


class Listener:
    """Reads the events of a runtime that are about stalls."""

    def __init__(self):
        self.told = []

    async def listen(self, runtime, *, task_status):
        async with runtime.events() as events:
            task_status.started()
            async for event in events:
                if isinstance(event, TurnStalled | TurnWentOn):
                    self.told.append(event)

    @property
    def stalled(self):
        return [event for event in self.told if isinstance(event, TurnStalled)]

    @property
    def times(self):
        return [(type(event).__name__, event.at) for event in self.told]


class Office:
    """An open runtime of desks with somebody who listens."""

    def __init__(self, runtime, nursery, listener):
        self.runtime, self.nursery, self.listener = runtime, nursery, listener

    def begin(self, act, space="a", method=Desk.do):
        self.nursery.start_soon(outcome_of, self.runtime.space(space).ask, method, act)

    @property
    def told(self):
        return self.listener.told

    @property
    def stalls(self):
        return self.runtime._hub.stalls


class open_office:  # noqa: N801 (a context manager)
    """Open an office; what still runs at the end of the block is cancelled."""

    def __init__(self, *actors, **options):
        self._open = opened(*(actors or (Desk,)), limits=[Limit("scarce", 1)], **options)

    async def __aenter__(self):
        runtime = await self._open.__aenter__()
        self._nursery = trio.open_nursery()
        nursery = await self._nursery.__aenter__()
        listener = Listener()
        await nursery.start(listener.listen, runtime)
        self.office = Office(runtime, nursery, listener)
        return self.office

    async def __aexit__(self, kind, error, trace):
        try:
            with trio.CancelScope(shield=True):
                for space in tuple(self.office.runtime._hub.live.values()):
                    await space.handle.kill()
            self.office.nursery.cancel_scope.cancel()
            await self._nursery.__aexit__(kind, error, trace)
        finally:
            await self._open.__aexit__(None, None, None)


def hang_on(event):
    async def hang(desk):
        await event.wait()  # the line where it hangs
        return "done"

    return hang


async def for_ever(desk):
    await trio.sleep_forever()


async def until(seconds):
    await trio.sleep_until(seconds)
    await settled()


# ---- what is told


async def test_O4_a_turn_without_progress_is_told_with_its_stack_and_left_alone():
    async with open_office() as office:
        release = trio.Event()
        handle = office.runtime.space("a")
        message_id = await handle.send(Desk.do, hang_on(release))
        await until(FIRST - 0.1)
        assert office.told == []
        await until(FIRST)
        (stalled,) = office.told
        assert (stalled.kind, stalled.space, stalled.incarnation) == ("desk", "a", 1)
        assert (stalled.message_id, stalled.call, stalled.seconds) == (message_id, "do", AFTER)
        text = "\n".join(stalled.stack)
        assert "the line where it hangs" in text
        assert "in do\n" in text
        assert "_worker.py" not in text
        assert "_async_yield" not in text
        release.set()
        await settled()
        snapshot = await office.runtime.snapshot()
        assert snapshot.ledger.outcomes[Outcome.HANDLED] == 1
        assert snapshot.restarts == 0


async def test_O4_a_stall_is_told_again_when_it_has_lasted_twice_as_long():
    async with open_office() as office:
        office.begin(for_ever)
        await until(250)
        assert len(office.told) == 5
        assert [event.at - event.seconds for event in office.told] == [2] * 5  # since the first look
        for number, event in enumerate(office.told):
            assert AFTER * 2**number <= event.seconds <= AFTER * 2**number * (1 + 1 / LOOKS)


async def test_O4_its_end_is_told_once():
    async with open_office() as office:
        release = trio.Event()
        office.begin(hang_on(release))
        await until(11)
        release.set()
        await until(40)
        assert office.listener.times == [("TurnStalled", 10), ("TurnWentOn", 12)]
        assert office.told[1].call == "do"
        assert office.told[1].message_id == office.told[0].message_id


async def test_O4_a_turn_that_goes_on_and_stalls_again_is_told_again():
    async def twice(desk):
        await trio.sleep(11)
        desk.state = 1
        await trio.sleep_forever()

    async with open_office() as office:
        office.begin(twice)
        await until(21)
        assert office.listener.times == [("TurnStalled", 10), ("TurnWentOn", 12), ("TurnStalled", 20)]
        assert (await office.runtime.snapshot()).stalls == 2


async def test_O4_the_end_of_a_killed_turn_is_told_too():
    async with open_office() as office:
        await office.runtime.space("a").send(Desk.do, for_ever)
        await until(11)
        office.nursery.start_soon(office.runtime.space("a").kill)
        await until(30)
        names = [name for name, _ in office.listener.times]
        assert names in (["TurnStalled", "TurnWentOn"], ["TurnStalled"])  # its space may have left before the look


async def test_O4_a_stalled_turn_shows_in_the_snapshot_while_it_lasts():
    async with open_office() as office:
        release = trio.Event()
        office.begin(hang_on(release))
        office.begin(for_ever, "b")
        await until(9)
        snapshot = await office.runtime.snapshot()
        assert [one.stalled for one in snapshot.spaces] == [None, None]
        assert snapshot.stalls == 0
        await until(15)
        snapshot = await office.runtime.snapshot()
        assert {one.id: one.stalled for one in snapshot.spaces} == {"a": 13, "b": 13}
        assert snapshot.stalls == 2
        release.set()
        await until(30)
        snapshot = await office.runtime.snapshot()
        assert {one.id: one.stalled for one in snapshot.spaces} == {"a": None, "b": 28}
        assert snapshot.stalls == 2


async def test_O4_the_log_tells_it_without_any_setting(caplog):
    async with opened(Desk, limits=[Limit("scarce", 1)]) as runtime:
        release = trio.Event()
        await runtime.space("a").send(Desk.do, hang_on(release))
        await until(FIRST)
        assert "a: do has made no progress for 8 s" in caplog.text
        assert "the line where it hangs" in caplog.text
        release.set()
        await until(20)
        assert "a: do goes on after 10 s without progress" in caplog.text


async def test_O4_the_stack_is_that_of_the_deepest_child():
    async def lookout(event):
        await event.wait()  # a child that is not as deep

    async def dig(depth):
        if not depth:
            await trio.sleep_forever()  # the deepest line
        async with trio.open_nursery() as nursery:
            nursery.start_soon(dig, depth - 1, name=f"dig {depth}")
            nursery.start_soon(lookout, trio.Event())

    async with open_office() as office:
        office.begin(lambda desk: dig(9))
        await until(FIRST)
        text = "\n".join(office.told[0].stack)
        assert "the deepest line" in text
        assert "in the task 'dig 1', which it has started:" in text
        assert "a child that is not as deep" not in text
        assert len(office.told[0].stack) < 60


async def test_O4_a_hook_that_hangs_is_told_without_a_message():
    class Slow(Actor[int], kind="slow"):
        options = SpaceOptions(stalled_after=AFTER)

        async def on_start(self):
            await trio.sleep(25)  # the slow start

        @handler
        async def go(self):
            pass

    async with open_office(Slow) as office:
        await office.runtime.space("a").send(Slow.go)
        await until(24)
        stalled = office.told[0]
        assert (stalled.at, stalled.message_id, stalled.call) == (10, None, None)
        assert "the slow start" in "\n".join(stalled.stack)
        await until(30)
        name, at = office.listener.times[-1]
        assert name == "TurnWentOn"
        assert at <= 25 + 23 / LOOKS  # it was seen standing for 23 s


async def test_O4_of_several_turns_at_once_the_one_that_hangs_is_told():
    class Crowd(Actor, kind="crowd"):
        options = SpaceOptions(stalled_after=AFTER, concurrency=3)

        @handler
        async def do(self, act):
            await act(self)

    async def brief(desk):
        await trio.sleep(0.5)

    async with open_office(Crowd) as office:
        handle = office.runtime.space("a")
        hanging = await handle.send(Crowd.do, for_ever)
        for _ in range(40):
            await handle.ask(Crowd.do, brief)
        assert {event.message_id for event in office.told} == {hanging}


# ---- what is progress


def steady(progress):
    """Do something each three seconds, for long."""

    async def work(desk):
        for number in range(1, 20):
            await trio.sleep(3)
            await progress(desk, number)

    return work


async def assign(desk, number):
    desk.state = number


async def append(desk, number):
    desk.history.append(number)


async def emit(desk, number):
    desk.emit(number)


async def emit_now(desk, number):
    desk.emit(number, now=True)


async def add_up(desk, number):
    desk.count("done", 1)


async def add_up_oddly(desk, number):
    desk.count("whole", 1.5)
    desk.count("odd", Decimal(number))  # cannot be added to the other


async def send(desk, number):
    await desk.space("other").send(Desk.do, nothing)


async def ask(desk, number):
    await desk.space("other").ask(Desk.do, nothing)


async def schedule(desk, number):
    desk.schedule(str(number), Desk.do, nothing, after=1e6)


async def step(desk, number):
    await desk.step(f"step {number}", partial(nothing, desk))


async def hold(desk, number):
    async with desk.limits.hold("scarce"):
        pass


async def read(desk, number):
    if number == 1:
        async with desk.space("other").stream(Desk.talk, count_slowly) as items:
            async for _ in items:
                await trio.sleep(1)


async def nothing(desk=None, number=0):
    await trio.lowlevel.checkpoint()


async def flood(desk):
    for number in range(50):
        yield number


async def count_slowly(desk):
    for number in range(10):
        await trio.sleep(4)
        yield number


@pytest.mark.parametrize(
    "progress",
    [assign, append, emit, emit_now, add_up, add_up_oddly, send, ask, schedule, step, hold],
    ids=lambda one: one.__name__,
)
async def test_O4_a_turn_that_does_something_is_not_stalled(progress):
    async with open_office() as office:
        await office.runtime.space("a").ask(Desk.do, steady(progress))
        assert office.told == []


async def test_O4_a_turn_that_only_sleeps_now_and_then_is_stalled():
    async with open_office() as office:
        await office.runtime.space("a").ask(Desk.do, steady(nothing))
        assert len(office.listener.stalled) >= 1


@pytest.mark.parametrize("reader", [True, False])
async def test_O4_a_turn_that_streams_items_is_not_stalled(reader):
    async with open_office() as office:
        handle = office.runtime.space("a")
        if reader:
            async with handle.stream(Desk.talk, count_slowly) as items:
                assert [item async for item in items] == list(range(10))
        else:
            await handle.send(Desk.talk, count_slowly)
            await until(60)
        assert office.told == []


async def test_O4_a_turn_that_reads_a_stream_is_not_stalled():
    async with open_office() as office:
        await office.runtime.space("a").ask(Desk.do, lambda desk: read(desk, 1))
        assert office.told == []


async def test_O4_a_turn_that_works_on_items_that_are_there_is_not_stalled():
    async def work_on(desk):
        async with desk.space("other").stream(Desk.talk, flood) as items:
            async for _ in items:
                await trio.sleep(3)

    async with open_office() as office:
        await office.runtime.space("a").ask(Desk.do, work_on)
        assert office.told == []


async def test_O4_a_turn_that_hangs_over_an_item_of_a_stream_is_stalled():
    async def hang(desk):
        async with desk.space("other").stream(Desk.talk, count_slowly) as items:
            await anext(items)
            await trio.sleep_forever()

    async with open_office() as office:
        office.begin(hang)
        await until(30)
        assert [event.space for event in office.listener.stalled][:1] == ["a"]


async def test_O4_a_try_is_not_taken_for_the_one_before():
    tries = []

    async def fail(desk):
        tries.append(trio.current_time())
        await trio.sleep(6)
        if len(tries) < 8:
            raise ValueError

    async with open_office() as office:
        await office.runtime.space("a").ask(Desk.do, fail)
        assert len(tries) == 8
        assert office.told == []


async def test_O4_a_hook_is_not_taken_for_the_one_before():
    class Weak(Actor[int], kind="weak"):
        options = SpaceOptions(stalled_after=AFTER, backoff=None, restart_limit=RestartLimit(5, 1000), revive_after=1.0)

        async def on_start(self):
            await trio.sleep(6)
            raise ValueError

        @handler
        async def go(self):
            pass

    async with open_office(Weak) as office:
        async with office.runtime.events() as events:
            await office.runtime.space("a").send(Weak.go)
            async for event in events:
                if isinstance(event, SpaceRevived):
                    break
        assert trio.current_time() > 3 * AFTER
        assert office.told == []


async def test_O4_one_message_after_the_other_is_progress():
    async def brief(desk):
        await trio.sleep(1.9)

    async with open_office() as office:
        for _ in range(20):
            await office.runtime.space("a").send(Desk.do, brief)  # never idle
        await until(40)
        assert office.told == []


async def test_O4_states_are_compared_as_objects():
    class Hostile:
        def __eq__(self, other):
            raise AssertionError

        __hash__ = None

    class Odd(Actor[object], kind="odd", state_version=1):
        options = SpaceOptions(stalled_after=AFTER)

        def initial_state(self):
            return Hostile()

        @handler
        async def go(self):
            for _ in range(10):
                await trio.sleep(3)
                self.state = Hostile()

    async with open_office(Odd) as office:
        await office.runtime.space("a").ask(Odd.go)
        assert office.told == []


# ---- who waits for somebody else


async def hold_scarce(office, seconds):
    async with office.runtime.limits.hold("scarce"):
        await trio.sleep(seconds)


async def waits_for_token(desk):
    async with desk.limits.hold("scarce"):
        await trio.sleep_forever()


async def waits_in_step(desk):
    async def stand():
        await trio.sleep_forever()

    await desk.step("s", stand, limit="scarce")


@pytest.mark.parametrize(
    ("method", "act"),
    [(Desk.do, waits_for_token), (Desk.do, waits_in_step), (Desk.do_alone, for_ever)],
    ids=["hold", "step", "handler"],
)
async def test_C4_waiting_for_a_token_does_not_count_as_a_stalled_turn(method, act):
    async with open_office() as office:
        office.nursery.start_soon(hold_scarce, office, 101)
        await settled()
        await office.runtime.space("a").send(method, act)
        await until(101)
        assert office.told == []
        # From the moment at which it has its token it may stall as any other.
        await until(101 + AFTER - 0.1)
        assert office.told == []
        await until(101 + 2 * AFTER)
        assert len(office.listener.stalled) == 1


async def test_C4_a_turn_that_has_its_token_and_hangs_is_stalled_though_others_wait():
    async with open_office() as office:
        await office.runtime.space("a").send(Desk.do, waits_for_token)
        await settled()
        await office.runtime.space("b").send(Desk.do, waits_for_token)
        await until(50)
        assert {event.space for event in office.told} == {"a"}


async def test_O4_waiting_for_an_answer_is_no_stall():
    async with open_office() as office:
        release = trio.Event()

        async def wait_then_hang(desk):
            await desk.space("b").ask(Desk.do, hang_on(release))
            await trio.sleep_forever()

        office.begin(wait_then_hang)
        await until(61)
        assert {event.space for event in office.told} == {"b"}  # whom it waits for
        release.set()
        await until(61 + 2 * AFTER)
        assert {event.space for event in office.listener.stalled} == {"a", "b"}


async def test_O4_waiting_for_a_place_is_no_stall():
    async with open_office() as office:
        for _ in range(2):  # one has its turn, one the only place
            await office.runtime.space("b").send(Desk.do, for_ever)

        async def ask_in_line(desk):
            await desk.space("b").ask(Desk.do, nothing)

        async def stream_in_line(desk):
            async with desk.space("b").stream(Desk.talk, count_slowly):
                pass

        office.begin(ask_in_line)
        office.begin(stream_in_line, "c")
        await until(60)
        assert {event.space for event in office.told} == {"b"}


@pytest.mark.parametrize("seconds", [0.5, 5])  # before the first look, and after it
async def test_O4_waiting_for_the_lane_is_no_stall(seconds):
    async def ask_for_a_while(desk):
        with trio.move_on_after(seconds):
            await desk.space("a-2").ask(Desk.do, for_ever)

    async def ask(desk):
        await desk.space("x").ask(Desk.do, ask_for_a_while)

    async with open_office() as office:
        office.begin(ask, "a-1")  # lends its lane to a-2, and has its answer long before a-2 is through
        await until(60)
        assert {event.space for event in office.told} == {"a-2"}


async def sleep_for(seconds, desk):
    await trio.sleep(seconds)


async def test_O4_waiting_for_its_reader_is_no_stall():
    async with open_office() as office, office.runtime.space("a").stream(Desk.talk, flood) as items:
        await anext(items)
        await until(60)
        assert office.told == []
        assert [item async for item in items] == list(range(1, 50))


async def test_O4_waiting_for_a_human_is_no_stall():
    async def doubt(desk):
        return await desk.suspend("sure", "sure?", answer=str)

    async with open_office() as office:
        await office.runtime.space("a").send(Desk.do, doubt)
        await until(60)
        assert len(await office.runtime.suspensions.list()) == 1
        assert office.told == []


async def test_O4_waiting_for_the_end_of_another_space_is_no_stall():
    async def stop_other(desk):
        await desk.space("b").drain()

    async with open_office() as office:
        await office.runtime.space("b").send(Desk.do, partial(sleep_for, 60))
        office.begin(stop_other)
        await until(50)
        assert {event.space for event in office.told} == {"b"}


# ---- what it costs


async def test_O4_nobody_looks_at_spaces_that_rest():
    async with open_office() as office:
        for number in range(1200):
            await office.runtime.space(str(number)).send(Desk.do, nothing)
        await settled()
        assert len(office.stalls._awake) == 1200
        await until(3)
        assert office.stalls._awake == {}
        assert office.stalls._alarm is None
        assert office.runtime._hub.keeper._waking_at == math.inf


async def test_O4_who_works_again_is_looked_at_again():
    async with open_office() as office:
        await office.runtime.space("a").ask(Desk.do, nothing)
        await until(50)
        office.begin(for_ever)
        await until(50 + FIRST)
        assert office.listener.times == [("TurnStalled", 60)]


async def test_O4_all_of_many_are_looked_at():
    async with open_office(config=RuntimeConfig(max_live_spaces=5000)) as office:
        for number in range(1234):
            await office.runtime.space(str(number)).send(Desk.do, for_ever)
        await until(1.0)
        late = office.runtime.space("late")
        await late.send(Desk.do, for_ever)
        await until(2.005)  # in the middle of the first look around
        await office.runtime.space("later").send(Desk.do, for_ever)
        await until(16)
        assert (await office.runtime.snapshot()).stalls == 1236


async def test_O4_who_begins_while_others_are_looked_at_is_looked_at_later():
    async with open_office() as office:
        for number in range(700):
            await office.runtime.space(str(number)).send(Desk.do, nothing)
        await until(2.005)  # some of them are still to be looked at, and then nobody is left
        await office.runtime.space("late").send(Desk.do, for_ever)
        await until(20)
        assert [event.space for event in office.told] == ["late"]


async def test_O4_who_only_waits_for_tokens_is_not_looked_at_again_and_again():
    async with open_office() as office:
        office.nursery.start_soon(hold_scarce, office, 1e5)
        await settled()
        for number in range(10):
            await office.runtime.space(str(number)).send(Desk.do, waits_for_token)
        await until(10)
        assert office.runtime._hub.keeper._waking_at == math.inf
        assert len(office.stalls.token_waits) == 10


async def test_O4_a_stall_that_lasts_is_looked_at_ever_more_rarely():
    looks = []
    async with open_office() as office:
        once = type(office.stalls)._look

        def counted(self):
            looks.append(trio.current_time())
            once(self)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(office.stalls), "_look", counted)
            office.begin(for_ever)
            await until(1e6)
        assert len(looks) < 100


async def test_O4_turns_of_many_beginnings_are_looked_at_together():
    rounds = set()
    async with open_office() as office:
        for number in range(50):
            await office.runtime.space(str(number)).send(Desk.do, for_ever)
            await trio.sleep(0.3)
            rounds.add(office.stalls._looked_at)
        for number in range(500):
            await until(15 + number / 10)
            rounds.add(office.stalls._looked_at)
        assert len(rounds) <= 65 / pause(AFTER) + 1


async def test_O4_a_space_that_left_memory_is_not_kept():
    class Brief(Actor[int], kind="brief"):
        options = SpaceOptions(idle_timeout=0.5, stalled_after=1000.0)

        @handler
        async def go(self):
            pass

    async with open_office(Brief) as office:
        await office.runtime.space("a").ask(Brief.go)
        space = weakref.ref(office.runtime._hub.live["brief", "a"])
        await until(5)
        assert office.stalls._awake == {}
        gc.collect()
        assert space() is None


async def test_O4_infinity_switches_it_off():
    class Patient(Desk, kind="patient"):
        options = SpaceOptions(stalled_after=math.inf)

    async with open_office(Patient) as office:
        await office.runtime.space("a").send(Patient.do, for_ever)
        await until(1e6)
        assert office.told == []
        assert office.stalls._awake == {}


async def test_O4_each_class_has_its_own_patience():
    class Hasty(Desk, kind="hasty"):
        options = SpaceOptions(stalled_after=0.0, when_busy=WhenBusy.ENQUEUE)

    async with open_office(Desk, Hasty) as office:
        await office.runtime.space("a", Desk).send(Desk.do, for_ever)
        await office.runtime.space("b", Hasty).send(Hasty.do, for_ever)
        await until(AFTER - 0.1)
        assert {event.space for event in office.told} == {"b"}
        assert office.told[0].at <= 3 * SHORTEST
        await until(FIRST + 0.1)
        assert {event.space for event in office.told} == {"a", "b"}


async def test_O4_a_drain_does_not_wait_for_looks():
    async with opened(Desk, limits=[Limit("scarce", 1)]) as runtime:
        await runtime.space("a").send(Desk.do, partial(sleep_for, 3))
        report = await runtime.drain()
        assert report.clean
        assert trio.current_time() == 3


# ---- the rule


def turn(done=0):
    return Turn(None, None, (done,), (None,))


@given(
    st.lists(st.tuples(st.floats(0.01, 100), st.sampled_from(Waiting), st.booleans()), max_size=60),
    st.floats(0.1, 100),
)
def test_O4_the_rule_tells_only_of_turns_that_stood_for_long_enough_and_of_each_end_once(looks, after):
    sight, now, done = None, 0.0, 0
    since, told, last = 0.0, False, 0.0  # what an honest observer would note
    for seconds, waiting, works in looks:
        now += seconds
        done += works
        before = sight
        sight, seen = look(before, turn(done), now, waiting, after)
        moved = before is None or works or waiting is not Waiting.NO or before.turn is None
        if moved:
            assert seen is (Seen.WENT_ON if told else Seen.QUIET)
            since, told, last = now, False, 0.0
        elif now - since >= (2 * last or after):
            assert seen is Seen.STALLED
            told, last = True, now - since
        else:
            assert seen is Seen.QUIET
        assert sight.look_at > now
        assert sight.since == since
        if not told and waiting is Waiting.NO:
            assert sight.look_at <= now + pause(after)


def test_O4_a_stall_is_found_a_quarter_late_at_most():
    sight, now = None, 0.0
    while True:
        sight, seen = look(sight, turn(), now, Waiting.NO, AFTER)
        if seen is Seen.STALLED:
            break
        now = sight.look_at
    assert now <= AFTER * (1 + 1 / LOOKS)


def test_O4_a_wait_whose_end_is_told_needs_no_look():
    sight, _ = look(Sight(turn(), 1.0, 2.0), None, 5.0, Waiting.NOTED, AFTER)
    assert sight.look_at == math.inf


@pytest.mark.parametrize(
    "other",
    [
        Turn(None, object(), (0,), (None,)),
        Turn(None, None, (1,), (None,)),
        Turn(None, None, (0,), (object(),)),
        Turn(None, None, (0,), (None, None)),
        None,
    ],
)
def test_O4_another_try_or_something_done_is_not_the_same(other):
    assert turn().same_as(turn())
    assert not turn().same_as(other)


@pytest.mark.parametrize("waiting", [Waiting.NO, Waiting.SEEN])
def test_O4_what_lasts_is_looked_at_ever_more_rarely(waiting):
    sight, now, looks = None, 0.0, 0
    while now < 1e6:
        sight, _ = look(sight, turn(), now, waiting, AFTER)
        now = sight.look_at
        looks += 1
    assert looks < 100
    told = Sight(turn(), 0.0, 0.0, told=500.0)
    assert look(told, turn(), 1000.0, Waiting.NO, AFTER)[0].look_at == 1250
