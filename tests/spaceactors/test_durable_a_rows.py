"""From memory to rows and back: what a store gives a later life is what it was given."""

from __future__ import annotations

import pytest
from attrs import frozen
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spaceactors import Actor, Outcome, Priority, RestartLimit, SpaceOptions, handler
from spaceactors._message import MessageOptions, new_message
from spaceactors._store import Commit, Entry, Known, Recorded, Row
from spaceactors._suspensions import JsonAnswer
from spaceactors._timers import Call, Timer
from spaceactors.stores._freeze import length_after, stale_ids, summed
from tests.spaceactors.conftest import run_in_virtual_time
from tests.spaceactors.services import SlowDisk, service


@frozen
class Note:
    text: str = ""
    parts: tuple[int, ...] = ()


class Keeper(Actor[Note], kind="keeper"):
    options = SpaceOptions(restart_limit=RestartLimit(0, 60.0))

    @handler
    async def note(self, what: object, *, also: object = None) -> object: ...


@pytest.fixture
def disk(tmp_path):
    return SlowDisk(tmp_path / "spaces.db")


def message_of(runtime, args, kwargs=None, *, sender=None, **options):
    hub = runtime._hub
    message = new_message(
        hub.by_name["keeper"].handlers["note"], args, MessageOptions(clock=hub.clock, **options), hub.clock.now
    )
    if kwargs:
        message.rare().kwargs = kwargs
    message.rare().identified = options.get("message_id") is not None
    message.rare().sender = sender
    runtime.store.pack(message, "keeper")
    return message


def commit_of(row, *, state=None, message=None, changed=False, **more):
    commit = Commit(row.version, row.state if state is None else state, message, changed=changed)
    commit.feed_size, commit.dedupe_limit, commit.dedupe_window = 100, 100, 1000.0
    for name, value in more.items():
        setattr(commit, name, value)
    return commit


async def loaded(runtime, name="a"):
    """Read a space as a later life would."""
    store = runtime.store
    store._rows.pop(("keeper", name), None)
    return await store.load("keeper", name).wait()


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text() | st.binary() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(
    calls=st.lists(
        st.tuples(
            VALUES,
            VALUES,
            st.none() | TEXTS,
            st.sampled_from(Priority),
            st.none() | TEXTS,
            st.dictionaries(TEXTS, TEXTS, max_size=3),
        ),
        min_size=1,
        max_size=5,
        unique_by=lambda call: call[2] or object(),
    )
)
def test_a_message_comes_back_with_all_that_it_was_sent_with(tmp_path_factory, calls):
    disk = SlowDisk(tmp_path_factory.mktemp("rows") / "spaces.db")

    async def main():
        async with service(disk, Keeper) as runtime:
            row = runtime.store.create("keeper", "a", Note(), "some group")
            sent = []
            for what, also, message_id, priority, correlation, headers in calls:
                message = message_of(
                    runtime,
                    (what,),
                    {"also": also},
                    sender=runtime.space("sender"),
                    message_id=message_id,
                    priority=priority,
                    correlation_id=correlation,
                    headers=headers,
                )
                await runtime.store.accept(row, message).wait()
                sent.append(message)
            back = await loaded(runtime)
            assert back.group == "some group"
            for one, other in zip(sent, back.found.messages, strict=True):
                assert other.args == one.args
                assert other.kwargs == one.kwargs
                assert (other.id, other.call, other.priority) == (one.id, one.call, one.priority)
                assert (other.correlation_id or None) == (one.correlation_id or None)
                assert dict(other.headers) == dict(one.headers)
                assert (other.sender, other.rare().row) == (one.sender, one.rare().row)
                assert other.rare().identified == one.rare().identified
                assert abs(other.at - one.at) < 1e-3
            back.found.messages.clear()
            await runtime.store.delete("keeper", "a")

    run_in_virtual_time(main)


async def test_tries_recoveries_and_steps_of_a_message_come_back(disk):
    async with service(disk, Keeper) as runtime:
        store = runtime.store
        row = store.create("keeper", "a", Note(), None)
        message = message_of(runtime, ("x",))
        await store.accept(row, message).wait()
        message.attempts = message.rare().tried = 3
        store.put_back(row, message)
        await store.record(row, message, "one", Recorded(0, alone=True, value=Note("result", (1,)))).wait()
        await store.record(row, message, "two", Recorded(-1, alone=False, value=None)).wait()
        await store.count_recoveries()
        (back,) = (await loaded(runtime)).found.messages
        assert (back.attempts, back.rare().recoveries) == (3, 1)
        steps = {key: (one.position, one.alone, one.value) for key, one in back.rare().journal.items()}
        assert steps == {"one": (0, True, Note("result", (1,))), "two": (-1, False, None)}
        await store.delete("keeper", "a")


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(
    commits=st.lists(
        st.tuples(
            st.none() | st.builds(Note, TEXTS, st.lists(st.integers(-9, 9), max_size=3).map(tuple)),
            st.lists(TEXTS, max_size=4),
            st.lists(TEXTS, max_size=4),
            st.dictionaries(st.sampled_from("xyz"), st.integers(-3, 3), max_size=2),
        ),
        min_size=1,
        max_size=6,
    ),
    most=st.sampled_from([None, 1, 3]),
)
def test_what_commits_made_of_a_space_is_what_a_later_life_reads(tmp_path_factory, commits, most):
    disk = SlowDisk(tmp_path_factory.mktemp("rows") / "spaces.db")

    async def main():
        async with service(disk, Keeper) as runtime:
            store, row = runtime.store, None
            row = store.create("keeper", "a", Note(), None)
            values, events, sums, version = [], [], {}, 0
            for state, entries, emitted, counts in commits:
                at = runtime._hub.clock.date(0.0)
                made = [Entry(row.next_position + number, at, value) for number, value in enumerate(entries)]
                changed = state is not None
                await store.commit(
                    row,
                    commit_of(
                        row,
                        state=state,
                        changed=changed,
                        entries=made,
                        emitted=emitted,
                        counts=counts,
                        max_entries=most,
                        feed_size=3,
                    ),
                )
                version += changed
                values += entries
                events += emitted
                sums = summed(sums, counts)
            if any(one[0] or any(one[1:]) for one in commits):
                back = await loaded(runtime)
                assert (back.state, back.version) == (row.state, version)
                assert (back.length, back.next_position) == (len(values[-most:] if most else values), len(values) + 1)
                assert back.last_event == row.last_event == len(events)
                assert back.counters == sums
                assert await store.recent("keeper", "a", 1000) == (values[-most:] if most else values)
                read = await store.entries("keeper", "a", 0, 1000)
                assert [one.position for one in read] == list(range(len(values) - len(read) + 1, len(values) + 1))
                replayed = await store.replay("keeper", "a", 0)
                assert [one.value for one in replayed if hasattr(one, "value")] == events[-3:]

    run_in_virtual_time(main)


async def test_timers_come_back_with_their_times_and_calls(disk):
    async with service(disk, Keeper) as runtime:
        store, hub = runtime.store, runtime._hub
        row = store.create("keeper", "a", Note(), None)
        note = hub.by_name["keeper"].handlers["note"]
        timers = {
            "once": Timer("once", Call(note, ("x",)), 1e6, None, hub.clock),
            "often": Timer("often", Call(note, (Note("y"),)), 2e6, 60.0, hub.clock),
            "gone": Timer("gone", Call(note, ("z",)), 3e6, None, hub.clock),
        }
        await store.commit(row, commit_of(row, timers=timers))
        await store.commit(row, commit_of(row, timers={"gone": None}))
        back = await loaded(runtime)
        found = {key: (one.call.args, round(one.due, 3), one.every) for key, one in back.timers.items()}
        assert found == {"once": (("x",), 1e6, None), "often": ((Note("y"),), 2e6, 60.0)}
        await store.delete("keeper", "a")


async def test_why_a_space_is_quarantined_comes_back_as_the_error_it_was(disk):
    async with service(disk, Keeper) as runtime:
        row = runtime.store.create("keeper", "a", Note(), None)
        row.quarantined, row.stopped = ValueError("too much"), True
        runtime.store.note(row)
        back = await loaded(runtime)
        assert (type(back.quarantined).__name__, str(back.quarantined)) == ("ValueError", "too much")
        assert back.stopped
        row = back
        row.quarantined, row.stopped = None, False
        runtime.store.note(row)
        back = await loaded(runtime)
        assert (back.quarantined, back.stopped) == (None, False)


async def test_a_remembered_id_comes_back_with_its_call_and_reply(disk):
    async with service(disk, Keeper) as runtime:
        store = runtime.store
        row = store.create("keeper", "a", Note(), None)
        message = message_of(runtime, (Note("x"),), message_id="id")
        await store.commit(row, commit_of(row, message=message, reply=Note("reply")))
        back = await loaded(runtime)
        known = back.known["id"]
        store.read_known(back, known)
        assert (known.outcome, known.result) == (Outcome.HANDLED, Note("reply"))
        assert (known.message.call, known.message.args) == ("note", (Note("x"),))


@pytest.mark.parametrize("answer", [Note("yes"), None, 5, JsonAnswer({"text": "yes"})])
async def test_an_answer_comes_back_as_it_was_given(disk, answer):
    async with service(disk, Keeper) as runtime:
        codec = runtime.store._freeze._codec
        step = Recorded(0, alone=True, value=answer)
        how, value = (1, answer.value) if isinstance(answer, JsonAnswer) else (0, answer)
        body = codec.encode((step.alone, how, value), "the answer")
        from spaceactors.stores._engine import StepRow

        assert runtime.store._thaw.recorded(StepRow(1, "?q#1", 0, body)).value == answer


# ---- the small rules beside


def row_knowing(*ages):
    row = Row("keeper", "a", None)
    for number, age in enumerate(ages):
        row.own_known()[str(number)] = Known(None, Outcome.HANDLED, None, 100.0 - age)
    return row


@pytest.mark.parametrize(
    ("ages", "limit", "window", "stale"),
    [
        ((), 3, 10.0, []),
        ((5, 4, 3), 4, 10.0, []),
        ((5, 4, 3), 3, 10.0, ["0"]),
        ((50, 40, 3), 100, 10.0, ["0", "1"]),
        ((50, 4, 3), 2, 10.0, ["0", "1"]),
        ((5, 4, 3), 0, 10.0, ["0", "1", "2"]),
    ],
)
def test_ids_are_forgotten_by_number_and_by_age(ages, limit, window, stale):
    assert stale_ids(row_knowing(*ages), limit, window, 100.0) == stale


@pytest.mark.parametrize(
    ("kept", "added", "most", "after"), [(0, 2, None, 2), (5, 2, None, 7), (5, 2, 6, 6), (2, 2, 6, 4), (9, 0, 6, 9)]
)
def test_the_length_of_a_history_is_bounded_when_something_is_added(kept, added, most, after):
    row = Row("keeper", "a", None)
    row.length = kept
    assert length_after(row, commit_of(row, entries=[None] * added, max_entries=most)) == after
