"""What an actor class may be, and what its code may do where."""

from __future__ import annotations

import dataclasses
import math
import pickle
from contextlib import asynccontextmanager
from datetime import datetime
from enum import Enum
from typing import Any, Generic, NamedTuple, TypeVar

import attrs
import pytest
import trio

from spaceactors import (
    Actor,
    BadCall,
    OutsideTurn,
    Priority,
    RestartLimit,
    SpaceOptions,
    UnknownSpaceKind,
    WhenBusy,
    handler,
    handlers_of,
    open_runtime,
)
from spaceactors._handlers import Handler, HandlerOptions, _arity
from spaceactors._values import mutable_part
from tests.spaceactors.scenes import opened, outcome_of, settled

pytestmark = pytest.mark.usefixtures("autojump_clock")

T = TypeVar("T")


@attrs.frozen
class Frozen:
    x: int = 0


@attrs.define
class Mutable:
    x: int = 0


@dataclasses.dataclass(frozen=True)
class FrozenData:
    x: int = 0


@dataclasses.dataclass
class MutableData:
    x: int = 0


class Point(NamedTuple):
    x: int = 0


class Mood(Enum):
    FINE = 1


class Plain:
    pass


# ---- states


@pytest.mark.parametrize(
    "state",
    [Frozen, FrozenData, Point, int, str, float, bool, bytes, tuple[int, ...], frozenset[str], None, Mood, datetime],
)
def test_an_immutable_class_is_a_state(state):
    make_class("Some", Actor[state])


@pytest.mark.parametrize(
    "state", [list, dict, set, bytearray, list[int], dict[str, int], Mutable, MutableData, Plain, int | list[int]]
)
def test_a_mutable_class_is_refused_where_the_class_is_written(state):
    with pytest.raises(TypeError, match=r"the state of Some must be immutable"):
        make_class("Some", Actor[state])


def make_class(name, base, **namespace):
    """Make a class as a `class` statement does."""
    import types

    return types.new_class(name, (base,), exec_body=lambda body: body.update(namespace))


@pytest.mark.parametrize("value", [[], {}, set()])
async def test_a_mutable_value_is_refused_where_it_is_assigned(value):
    class Loose(Actor[Any]):
        def initial_state(self) -> Any:
            return None

        @handler(throws=(TypeError,))
        async def assign(self) -> None:
            self.state = value

    async with opened(Loose) as runtime:
        error = await outcome_of(runtime.space("x").ask, Loose.assign)
        assert "must be immutable" in str(error.__cause__)


async def test_assigning_a_state_that_an_actor_does_not_have_is_refused():
    class Stateless(Actor):
        @handler(throws=(TypeError,))
        async def assign(self) -> None:
            self.state = 1

    async with opened(Stateless) as runtime:
        error = await outcome_of(runtime.space("x").ask, Stateless.assign)
        assert "has no state" in str(error.__cause__)


async def test_the_first_state_is_the_type_called_without_arguments():
    class One(Actor[Frozen]):
        @handler
        async def look(self) -> Frozen:
            return self.state

    async with opened(One) as runtime:
        assert await runtime.space("x").ask(One.look) == Frozen(0)


async def test_initial_state_may_be_a_method_that_knows_the_id():
    class Named(Actor[str]):
        def initial_state(self) -> str:
            return f"I am {self.id}"

        @handler
        async def look(self) -> str:
            return self.state

    async with opened(Named) as runtime:
        assert await runtime.space("x").ask(Named.look) == await runtime.space("x").state() == "I am x"


async def test_a_state_that_cannot_be_made_is_told_to_the_sender():
    @attrs.frozen
    class Needy:
        x: int

    class Wrong(Actor[Needy]):
        @handler
        async def hello(self) -> None:
            pass

    async with opened(Wrong) as runtime:
        error = await outcome_of(runtime.space("x").ask, Wrong.hello)
        assert "needs an `initial_state`" in str(error)


async def test_a_generic_actor_takes_the_state_that_a_subclass_gives():
    class Box(Actor[tuple[T, ...]], Generic[T]):
        @handler
        async def put(self, item: T) -> int:
            self.state = (*self.state, item)
            return len(self.state)

    class IntBox(Box[int]):
        pass

    async with opened(IntBox) as runtime:
        assert await runtime.space("x").ask(IntBox.put, 1) == 1
        assert await runtime.space("x").state() == (1,)


def test_a_generic_actors_mutable_state_is_refused_in_the_subclass_that_gives_it():
    class Holder(Actor[T], Generic[T]):
        pass

    with pytest.raises(TypeError, match="must be immutable"):
        make_class("Bad", Holder[list[int]])


@pytest.mark.parametrize(
    ("annotation", "culprit"),
    [
        (int, None),
        (Any, None),
        (T, None),
        (list[int], list),
        (int | set[int], set),
        (Frozen | None, None),
        (Mutable, Mutable),
    ],
)
def test_the_mutable_part_of_an_annotation_is_found(annotation, culprit):
    assert mutable_part(annotation) is culprit


# ---- the class


@pytest.mark.parametrize(
    "name",
    ["state", "history", "space", "handle", "id", "emit", "message", "schedule", "step", "suspend", "limits", "count"],
)
def test_shadowing_a_name_of_actor_is_refused_where_the_class_is_written(name):
    with pytest.raises(TypeError, match=f"Shady.{name} hides Actor.{name}"):
        make_class("Shady", Actor, **{name: 1})


def test_an_annotation_alone_shadows_too():
    with pytest.raises(TypeError, match="hides"):
        make_class("Shady", Actor, __annotations__={"state": int})


@pytest.mark.parametrize("hook", ["on_start", "on_restart", "on_idle", "on_stop"])
def test_a_hook_that_is_not_async_is_refused(hook):
    with pytest.raises(TypeError, match="must be an `async def`"):
        make_class("Hooked", Actor, **{hook: lambda self, *args: None})


def test_a_handler_that_is_not_async_is_refused():
    with pytest.raises(TypeError, match="must be an `async def`"):

        @handler
        def hello(self) -> None: ...


def test_options_that_are_none_are_refused():
    with pytest.raises(TypeError, match=r"must be SpaceOptions\(\.\.\.\)"):
        make_class("Wrong", Actor, options={"mailbox_capacity": 1})


def test_several_turns_at_once_are_for_stateless_actors():
    with pytest.raises(TypeError, match="only a stateless actor"):
        make_class("Wide", Actor[int], options=SpaceOptions(concurrency=2))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("mailbox_capacity", 0),
        ("mailbox_capacity", 1.5),
        ("mailbox_capacity", True),
        ("overflow", "wait"),
        ("when_busy", None),
        ("concurrency", 0),
        ("idle_timeout", -1),
        ("turn_timeout", float("nan")),
        ("restart_limit", (5, 60)),
        ("backoff", 3),
        ("throws", [ValueError]),
        ("throws", (BaseException,)),
        ("max_attempts", 0),
        ("feed_size", 0),
        ("shutdown", -1),
        ("dedupe_limit", -1),
    ],
)
def test_L2_a_wrong_option_is_refused_by_name_where_it_is_written(option, value):
    with pytest.raises(ValueError, match=option):
        SpaceOptions(**{option: value})


@pytest.mark.parametrize(
    ("option", "value"), [("when_busy", "refuse"), ("timeout", -1), ("max_attempts", 0), ("throws", ValueError)]
)
def test_L2_a_wrong_option_of_a_handler_is_refused_by_name(option, value):
    with pytest.raises(ValueError, match=option):
        handler(**{option: value})


def test_L3_an_unknown_option_is_refused():
    with pytest.raises(TypeError, match="mailbox_size"):
        SpaceOptions(mailbox_size=1)


async def test_kind_is_the_class_name_or_what_the_keyword_says():
    class One(Actor):
        pass

    class Other(Actor, kind="the other"):
        pass

    async with opened(One, Other) as runtime:
        assert dict(runtime.kinds) == {"One": One, "the other": Other}
        assert runtime.space("x", Other).kind == "the other"


async def test_a_subclass_has_a_kind_of_its_own():
    class One(Actor, kind="one"):
        pass

    class Two(One):
        pass

    async with opened(One, Two) as runtime:
        assert set(runtime.kinds) == {"one", "Two"}


def test_two_classes_of_one_kind_are_refused():
    one, two = make_class("Same", Actor), make_class("Same", Actor)
    with pytest.raises(TypeError, match="both of the kind 'Same'"):
        open_runtime(one, two)


@pytest.mark.parametrize("wrong", [int, Actor, None, "Barista"])
def test_what_is_no_actor_class_is_refused(wrong):
    with pytest.raises(TypeError, match="an actor class is wanted"):
        open_runtime(wrong)


async def test_a_class_that_was_not_given_is_unknown():
    class One(Actor):
        pass

    class Two(Actor):
        pass

    async with opened(One) as runtime:
        with pytest.raises(UnknownSpaceKind, match="there are: One"):
            runtime.space("x", Two)


async def test_with_several_kinds_the_class_must_be_named():
    class One(Actor):
        pass

    class Two(Actor):
        pass

    async with opened(One, Two) as runtime:
        with pytest.raises(BadCall, match="several kinds"):
            runtime.space("x")


@pytest.mark.parametrize("slots", [True, False])
async def test_an_attrs_actor_works(slots):
    @attrs.define(slots=slots)
    class Cafe(Actor[int], kind="cafe"):
        deps: str
        served: int = 0

        @handler
        async def serve(self) -> tuple[str, int, int]:
            self.served += 1
            self.state += 1
            return self.deps, self.served, self.state

    async with opened(Cafe, deps="tea") as runtime:
        assert await runtime.space("x").ask(Cafe.serve) == ("tea", 1, 1)
        assert set(runtime.kinds) == {"cafe"}


async def test_an_override_runs_under_the_bases_name():
    class Base(Actor):
        @handler
        async def hello(self) -> str:
            return "base"

    class Sub(Base):
        async def hello(self) -> str:
            return "sub"

    async with opened(Sub) as runtime:
        assert await runtime.space("x").ask(Base.hello) == "sub"


def test_the_handlers_of_a_class_are_data():
    class Some(Actor):
        @handler
        async def one(self) -> None: ...

        @handler(name="zwei")
        async def two(self):
            yield 1

        async def helper(self) -> None: ...

    found = handlers_of(Some)
    assert {name: one.streams for name, one in found.items()} == {"one": False, "zwei": True}


def test_two_handlers_of_one_name_are_refused():
    with pytest.raises(TypeError, match="have the same name 'a'"):
        handlers_of(
            make_class("Twice", Actor, a=handler(_a), b=handler(name="a")(_b)),
        )


async def _a(self): ...


async def _b(self): ...


# ---- which arguments fit


async def fits(self, a, b=1, *, c=2): ...
async def needs_keyword(self, a, *, c): ...
async def takes_all(self, *args, **kwargs): ...
async def nothing(self): ...


@pytest.mark.parametrize(("function", "expected"), [(fits, (1, 2)), (takes_all, (0, 1_000_000)), (nothing, (0, 0))])
def test_the_number_of_arguments_that_fit_without_keywords_is_known(function, expected):
    import inspect

    assert _arity(inspect.signature(function)) == expected


def test_nothing_fits_without_keywords_where_one_is_needed():
    import inspect

    least, most = _arity(inspect.signature(needs_keyword))
    assert least > most


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "text"),
    [
        (fits, (), {}, "missing a required argument: 'a'"),
        (fits, (1, 2, 3), {}, "too many positional arguments"),
        (fits, (1,), {"d": 1}, "unexpected keyword argument 'd'"),
        (needs_keyword, (1,), {}, "missing a required.* argument: 'c'"),
        (fits, (1,), {"c": 3}, None),
        (takes_all, (1, 2), {"x": 3}, None),
    ],
)
def test_what_does_not_fit_is_said_with_the_signature(function, args, kwargs, text):
    import re

    found = Handler("call", function, HandlerOptions(), SpaceOptions()).misfit(args, kwargs)
    assert (found is None) if text is None else re.search(rf"^call\(.*\): .*{text}", found)


# ---- dependencies


class NoDeps(Actor):
    @handler
    async def deps(self) -> object:
        return None


class OneDep(Actor):
    def __init__(self, dep: object) -> None:
        self.dep = dep

    @handler
    async def deps(self) -> object:
        return self.dep


class MaybeDep(Actor):
    def __init__(self, dep: object = "none") -> None:
        self.dep = dep

    @handler
    async def deps(self) -> object:
        return self.dep


@pytest.mark.parametrize(
    ("actor", "options", "expected"),
    [
        (NoDeps, {}, None),
        (NoDeps, {"deps": 5}, None),
        (OneDep, {"deps": 5}, 5),
        (OneDep, {"deps": None}, None),
        (MaybeDep, {}, "none"),
        (MaybeDep, {"deps": 5}, 5),
        (OneDep, {"deps": int}, int),
    ],
)
async def test_an_actor_is_made_with_the_dependencies_it_takes(actor, options, expected):
    async with opened(actor, **options) as runtime:
        assert await runtime.space("x").ask(actor.deps) is expected


def test_missing_dependencies_are_told_at_once():
    with pytest.raises(TypeError, match=r"open_runtime\(OneDep, deps=\.\.\.\)"):
        open_runtime(OneDep)


def test_an_init_of_two_arguments_is_refused():
    class Two(Actor):
        def __init__(self, a: int, b: int) -> None: ...

    with pytest.raises(TypeError, match="put them in one object"):
        open_runtime(Two, deps=1)


async def test_opened_dependencies_live_exactly_as_long_as_the_runtime():
    trace = []

    @asynccontextmanager
    async def open_deps():
        trace.append("open")
        yield "db"
        trace.append("close")

    class User(OneDep, kind="user"):
        async def on_stop(self) -> None:
            trace.append(f"stop with {self.dep}")

    async with opened(User, deps=open_deps) as runtime:
        assert await runtime.space("x").ask(OneDep.deps) == "db"
    assert trace == ["open", "stop with db", "close"]


async def test_R30_each_incarnation_is_made_anew():
    made = []

    class Fresh(Actor):
        options = SpaceOptions(restart_limit=RestartLimit(100, 1.0), backoff=None)

        def __init__(self) -> None:
            made.append(self)

        @handler
        async def crash(self) -> None:
            raise ValueError

        @handler
        async def hello(self) -> None:
            pass

    async with opened(Fresh) as runtime:
        for _ in range(3):
            await outcome_of(runtime.space("x").ask, Fresh.crash)
        await runtime.space("x").ask(Fresh.hello)
        assert len(made) == 4


# ---- O8: outside a turn


class Wanderer(Actor[int], kind="wanderer"):
    """Tries things in places where they do not belong."""

    options = SpaceOptions(backoff=None)

    def attempt(self, what):
        match what:
            case "assign":
                self.state = 7
            case "append":
                self.history.append("x")
            case "emit":
                self.emit("x")
            case "count":
                self.count("x")
            case "schedule":
                self.schedule("x", Wanderer.hello, after=1.0)
            case "cancel_schedule":
                self.cancel_schedule("x")
            case "message":
                return self.message
            case "until_interrupted":
                with self.until_interrupted():
                    pass
        return None

    async def attempt_and_note(self, what):
        try:
            match what:
                case "step":
                    await self.step("x", trio.lowlevel.checkpoint)
                case "suspend":
                    await self.suspend("x", None, answer=str)
                case _:
                    self.attempt(what)
        except BaseException as error:
            errors.append(type(error))
        else:
            errors.append(None)

    @handler
    async def hello(self) -> None:
        pass

    @handler
    async def in_background(self, what: str) -> None:
        self.start_soon(self.attempt_and_note, what)

    @handler
    async def in_foreign_nursery(self, what: str) -> None:
        foreign[0].start_soon(self.attempt_and_note, what)
        await settled()

    @handler
    async def after_the_turn(self, what: str) -> None:
        async def later():
            await released[0].wait()
            await self.attempt_and_note(what)

        foreign[0].start_soon(later)

    @handler
    async def in_thread(self, what: str) -> None:
        def run():
            try:
                self.attempt(what)
            except BaseException as error:
                errors.append(type(error))
            else:
                errors.append(None)

        clock = trio.lowlevel.current_clock()
        clock.autojump_threshold = math.inf  # a thread takes real time
        await trio.to_thread.run_sync(run)
        clock.autojump_threshold = 0

    @handler
    async def in_own_nursery(self, what: str) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.attempt_and_note, what)

    @handler
    async def give_yourself(self) -> object:
        return self


errors: list[type | None] = []
foreign: list[trio.Nursery] = []
released: list[trio.Event] = []

SYNC = ["assign", "append", "emit", "count", "schedule", "cancel_schedule", "message", "until_interrupted"]


@pytest.fixture
async def runtime():
    errors.clear()
    released[:] = [trio.Event()]
    async with opened(Wanderer) as runtime, trio.open_nursery() as nursery:
        foreign[:] = [nursery]
        yield runtime
        released[0].set()


@pytest.mark.parametrize("what", [*SYNC, "step", "suspend"])
@pytest.mark.parametrize("place", ["in_background", "in_foreign_nursery"])
async def test_O8_what_belongs_to_a_turn_is_refused_elsewhere(runtime, place, what):
    await runtime.space("x").ask(getattr(Wanderer, place), what)
    await settled()
    assert errors == [OutsideTurn]


@pytest.mark.parametrize("what", [*SYNC, "step", "suspend"])
async def test_O8_it_is_refused_after_the_turn_also_while_the_next_one_runs(runtime, what):
    await runtime.space("x").ask(Wanderer.after_the_turn, what)
    released[0].set()
    await runtime.space("x").ask(Wanderer.hello)
    await settled()
    assert errors == [OutsideTurn]


@pytest.mark.parametrize("what", SYNC)
async def test_O8_it_is_refused_in_a_thread(runtime, what):
    await runtime.space("x").ask(Wanderer.in_thread, what)
    assert errors == [OutsideTurn]


@pytest.mark.parametrize("what", SYNC)
async def test_O8_it_is_refused_to_who_got_hold_of_the_actor(runtime, what):
    actor = await runtime.space("x").ask(Wanderer.give_yourself)
    with pytest.raises(OutsideTurn, match="send the space a message"):
        actor.attempt(what)


@pytest.mark.parametrize("what", [*SYNC, "step"])
async def test_O8_tasks_of_the_turns_own_nursery_belong_to_it(runtime, what):
    await runtime.space("x").ask(Wanderer.in_own_nursery, what)
    assert errors == [None]


async def test_O8_the_error_names_the_space(runtime):
    actor = await runtime.space("x").ask(Wanderer.give_yourself)
    with pytest.raises(OutsideTurn) as caught:
        actor.attempt("assign")
    assert caught.value.space == runtime.space("x")


async def test_O8_one_actors_turn_is_not_anothers(runtime):
    class Thief(Actor):
        @handler(throws=(OutsideTurn,))
        async def steal(self, other: object) -> None:
            other.state = 9

    actor = await runtime.space("x").ask(Wanderer.give_yourself)
    async with opened(Thief) as second:
        error = await outcome_of(second.space("y").ask, Thief.steal, actor)
    assert isinstance(error.__cause__, OutsideTurn)
    assert await runtime.space("x").state() == 0


async def test_background_work_reads_the_last_committed_state():
    class Watcher(Actor[int]):
        @handler
        async def start(self) -> None:
            self.start_soon(self.watch)

        async def watch(self) -> None:
            while len(seen) < 5:
                seen.append(self.state)
                await trio.sleep(1)

        @handler
        async def work(self) -> None:
            self.state = 1
            await trio.sleep(2)

    seen = []
    async with opened(Watcher) as runtime:
        await runtime.space("x").ask(Watcher.start)
        await trio.sleep(0.5)
        await runtime.space("x").send(Watcher.work)
        await trio.sleep(10)
        assert seen == [0, 0, 0, 1, 1]


async def test_hooks_are_turns_without_a_message():
    class Hooked(Actor[int]):
        async def on_start(self) -> None:
            self.state = 5
            try:
                _ = self.message
            except OutsideTurn as error:
                found.append(str(error))

        @handler
        async def hello(self) -> int:
            return self.state

    found = []
    async with opened(Hooked) as runtime:
        assert await runtime.space("x").ask(Hooked.hello) == 5
        assert found == ["a hook of x is a turn without a message"]


# ---- handles


class Friend(Actor[int], kind="friend"):
    @handler
    async def hello(self, *others: object) -> int:
        self.state += 1
        return self.state

    @handler
    async def greet(self, other: object) -> int:
        return await other.ask(Friend.hello)

    @handler
    async def seen(self) -> tuple[object, ...]:
        message = self.message
        return message.sender, message.correlation_id, dict(message.headers), message.priority, message.id

    @handler
    async def pass_on(self, how: str, other: str) -> object:
        target = self.space(other)
        if how == "ask":
            return await target.ask(Friend.seen)
        if how == "stream":
            async with target.stream(Friend.stream_seen) as items:
                return [item async for item in items][0]  # noqa: RUF015
        await target.send(Friend.note_seen)
        return None

    @handler
    async def stream_seen(self):
        yield self.message.sender, self.message.correlation_id

    @handler
    async def note_seen(self) -> None:
        self.history.append((self.message.sender, self.message.correlation_id))


async def test_handles_are_values():
    async with opened(Friend) as runtime:
        one, same, other = runtime.space("x"), runtime.space("x"), runtime.space("y")
        assert one == same
        assert hash(one) == hash(same)
        assert one != other
        assert one != "x"
        assert len({one, same, other}) == 2


async def test_an_unpickled_handle_is_the_same_and_is_bound_where_it_is_used():
    async with opened(Friend) as runtime:
        handle = pickle.loads(pickle.dumps(runtime.space("x")))
        assert handle == runtime.space("x")
        assert await handle.ask(Friend.hello) == 1


async def test_an_unpickled_handle_is_bound_by_the_runtime_that_receives_it():
    async with opened(Friend) as one, opened(Friend) as other:
        await other.space("y").ask(Friend.hello)
        handle = pickle.loads(pickle.dumps(one.space("y")))
        assert await other.space("x").ask(Friend.greet, handle) == 2
        assert await one.space("y").state() == 0


def test_an_unpickled_handle_is_of_no_use_outside_a_runtime():
    async def main():
        async with opened(Friend) as runtime:
            data = pickle.dumps(runtime.space("x"))
        return await outcome_of(pickle.loads(data).send, Friend.hello)

    assert isinstance(trio.run(main), BadCall)


async def test_a_handle_stays_valid_over_stop_and_passivation():
    async with opened(Friend) as runtime:
        friend = runtime.space("x")
        await friend.ask(Friend.hello)
        await friend.stop()
        assert await friend.ask(Friend.hello) == 2


@pytest.mark.parametrize("wrong", ["", None, 5])
async def test_an_id_is_a_text_that_is_not_empty(wrong):
    async with opened(Friend) as runtime:
        with pytest.raises(BadCall, match="a space id"):
            runtime.space(wrong)


async def test_a_message_shows_what_it_was_sent_with():
    async with opened(Friend) as runtime:
        friend = runtime.space("x").with_options(
            correlation_id="c", headers={"a": "b"}, priority=Priority.HIGH, message_id="m"
        )
        assert await friend.ask(Friend.seen) == (None, "c", {"a": "b"}, Priority.HIGH, "m")


async def test_with_options_adds_to_earlier_ones():
    async with opened(Friend) as runtime:
        friend = runtime.space("x").with_options(correlation_id="c").with_options(headers={"a": "b"})
        assert (await friend.ask(Friend.seen))[1:3] == ("c", {"a": "b"})


async def test_headers_are_a_copy():
    async with opened(Friend) as runtime:
        headers = {"a": "b"}
        friend = runtime.space("x").with_options(headers=headers)
        headers["a"] = "c"
        assert (await friend.ask(Friend.seen))[2] == {"a": "b"}


@pytest.mark.parametrize("how", ["ask", "stream", "send"])
async def test_what_a_turn_sends_carries_its_sender_and_its_correlation_id(how):
    async with opened(Friend) as runtime:
        found = await runtime.space("x").with_options(correlation_id="c").ask(Friend.pass_on, how, "y")
        if how == "send":
            await trio.sleep(1)
            found = (await runtime.space("y").history.recent(1))[0]
        assert found[:2] == (runtime.space("x"), "c")


@pytest.mark.parametrize(("option", "value"), [("message_id", ""), ("message_id", 5), ("expires_after", -1)])
async def test_wrong_options_are_refused_by_name(option, value):
    async with opened(Friend) as runtime:
        with pytest.raises(ValueError, match=option):
            runtime.space("x").with_options(**{option: value})


async def test_when_busy_of_a_handler_overrules_the_spaces():
    class Busy(Actor):
        options = SpaceOptions(when_busy=WhenBusy.REFUSE)

        @handler(when_busy=WhenBusy.ENQUEUE)
        async def wait(self) -> None:
            await trio.sleep(1)

    async with opened(Busy) as runtime:
        for _ in range(3):
            await runtime.space("x").send(Busy.wait)
        assert (await runtime.snapshot()).ledger.accepted == 3
