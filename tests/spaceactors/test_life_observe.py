"""What is told of life and death (O1, O2, P5): one event each, with ids and cause; few log lines, and bounded ones."""

from __future__ import annotations

import logging

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from spaceactors import (
    ActorCrashed,
    CapacityError,
    DeadLettersDropped,
    DiscardReason,
    EventsMissed,
    MessageRetried,
    MessageSettled,
    Outcome,
    Overflow,
    RestartLimit,
    SpaceCrashed,
    SpaceEnded,
    SpaceInQuarantine,
    SpacePassivated,
    SpacePaused,
    SpaceResumed,
    SpaceRevived,
    SpaceStarted,
    WorkFailed,
    open_runtime,
)
from tests.spaceactors.lives import Boom, Doer, World, gathering, with_options


async def events_of(kind, act, *kinds):
    """Run `act(runtime, space)` and return the events of some classes."""
    async with open_runtime(kind, deps=World()) as runtime, gathering(runtime, *kinds) as seen:
        await act(runtime, runtime.space("a"))
        await wait_all_tasks_blocked()
        return list(seen)


async def test_O1_a_restart_is_one_event_with_its_space_incarnation_message_and_cause():
    boom = Boom()

    async def act(runtime, space):
        await space.ask(Doer.note, "x")
        await trio.sleep(3)
        act.message_id = await space.send(Doer.crash, boom)

    (event,) = await events_of(with_options(backoff=lambda _: 7.0), act, SpaceCrashed)
    assert (event.at, event.kind, event.space, event.incarnation) == (3, "Doer", "a", 1)
    assert (event.error, event.message_id, event.delay, event.restarts) == (boom, act.message_id, 7, 1)


async def test_O1_each_incarnation_is_one_event_and_counted():
    async def act(runtime, space):
        await space.send(Doer.crash)
        await space.send(Doer.crash)
        await space.ask(Doer.note, "x")

    seen = await events_of(Doer, act, SpaceStarted)
    assert [event.incarnation for event in seen] == [1, 2, 3]


async def test_O1_a_crash_of_background_work_names_no_message():
    async def beside():
        raise Boom

    async def begin(actor):
        actor.start_soon(beside)

    async def act(runtime, space):
        await space.ask(Doer.do, begin)

    (event,) = await events_of(Doer, act, SpaceCrashed)
    assert event.message_id is None
    assert isinstance(event.error, Boom)


async def test_O1_a_refused_call_of_background_work_is_an_event_and_no_crash():
    async def beside():
        raise CapacityError("none left")

    async def begin(actor):
        actor.start_soon(beside)

    async def act(runtime, space):
        await space.ask(Doer.do, begin)
        await wait_all_tasks_blocked()
        assert (await space.info()).restarts == 0

    (event,) = await events_of(Doer, act, WorkFailed, SpaceCrashed)
    assert isinstance(event, WorkFailed)
    assert isinstance(event.error, CapacityError)


async def test_O1_a_quarantine_and_a_revival_are_one_event_each():
    async def act(runtime, space):
        await space.send(Doer.crash)
        await trio.sleep(2)
        act.message_id = await space.send(Doer.crash)
        await wait_all_tasks_blocked()
        await space.revive()
        await space.revive()

    kind = with_options(restart_limit=RestartLimit(1, 60))
    first, second = await events_of(kind, act, SpaceInQuarantine, SpaceRevived)
    assert isinstance(first, SpaceInQuarantine)
    assert (first.space, first.message_id, first.history) == ("a", act.message_id, (0, 2))
    assert isinstance(first.error, Boom)
    assert isinstance(second, SpaceRevived)


async def test_O1_a_dead_letter_is_one_event_with_its_tries_and_cause():
    async def act(runtime, space):
        act.message_id = await space.send(Doer.crash)

    (event,) = await events_of(with_options(max_attempts=3), act, MessageSettled)
    assert (event.message_id, event.call, event.outcome, event.attempts) == (act.message_id, "crash", Outcome.FAILED, 3)
    assert isinstance(event.error, Boom)


async def test_O1_a_second_try_is_one_event_each():
    async def act(runtime, space):
        await space.send(Doer.crash)

    seen = await events_of(with_options(max_attempts=3), act, MessageRetried)
    assert [event.attempts for event in seen] == [1, 2]


@pytest.mark.parametrize(("overflow", "dropped"), [(Overflow.DROP_OLDEST, [0, 1]), (Overflow.DROP_NEWEST, [1, 2])])
async def test_O1_each_drop_is_one_event_with_the_messages_id(overflow, dropped):
    ids = []

    async def act(runtime, space):
        await space.pause()
        ids.extend([await space.send(Doer.note, what) for what in "xyz"])

    seen = await events_of(with_options(mailbox_capacity=1, overflow=overflow), act, MessageSettled)
    assert [(event.message_id, event.outcome, event.why) for event in seen] == [
        (ids[number], Outcome.DISCARDED, DiscardReason.OVERFLOW) for number in dropped
    ]


@pytest.mark.parametrize("how", ["drain", "stop", "kill", "delete"])
async def test_O1_an_end_is_one_event_that_says_how_and_what_came_back(how):
    async def act(runtime, space):
        await space.ask(Doer.note, "x")
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(getattr(space, how))

    (event,) = await events_of(Doer, act, SpaceEnded)
    assert (event.space, event.how, event.returned) == ("a", how, 0)


async def test_O1_each_returned_message_is_one_event():
    async def act(runtime, space):
        await space.pause()
        for what in "xyz":
            await space.send(Doer.note, what)
        await space.stop()

    *settled, ended = await events_of(Doer, act, MessageSettled, SpaceEnded)
    assert [event.outcome for event in settled] == [Outcome.RETURNED] * 3
    assert ended.returned == 3


async def test_O1_pause_resume_and_leaving_memory_are_one_event_each():
    async def act(runtime, space):
        await space.ask(Doer.note, "x")
        await space.pause()
        await space.pause()
        await space.resume()
        await space.resume()
        await trio.sleep(10)

    seen = await events_of(with_options(idle_timeout=5), act, SpacePaused, SpaceResumed, SpacePassivated)
    assert [type(event) for event in seen] == [SpacePaused, SpaceResumed, SpacePassivated]


async def test_O1_a_handled_message_makes_no_event():
    async def act(runtime, space):
        await space.ask(Doer.note, "x")

    assert await events_of(Doer, act, MessageSettled) == []


async def test_O1_dead_letters_pushed_out_by_newer_ones_are_told(monkeypatch):
    async def act(runtime, space):
        for _ in range(4):
            await space.send(Doer.crash)

    from spaceactors import _memory

    bound = next(name for name, value in vars(_memory).items() if value == 10_000)
    monkeypatch.setattr(_memory, bound, 3)
    seen = await events_of(Doer, act, DeadLettersDropped)
    assert sum(event.dropped for event in seen) == 1


# ---- O2, P5: the log


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.DEBUG, logger="spaceactors")
    return caplog


async def test_O2_a_dead_letter_is_visible_without_any_setting(lines):
    async with open_runtime(Doer, deps=World()) as runtime:
        await runtime.space("alice").send(Doer.crash)
        await wait_all_tasks_blocked()
    (line,) = [record for record in lines.records if "dead letter" in record.getMessage()]
    assert line.levelno == logging.WARNING
    assert line.name == "spaceactors"
    assert "alice" in line.getMessage()
    assert "Boom" in line.getMessage()


async def test_O2_a_quarantine_is_an_error_line(lines):
    async with open_runtime(with_options(restart_limit=RestartLimit(0, 5)), deps=World()) as runtime:
        await runtime.space("alice").send(Doer.crash)
        await wait_all_tasks_blocked()
    assert [record.levelno for record in lines.records if "quarantined" in record.getMessage()] == [logging.ERROR]


async def test_O2_a_burst_is_cut_after_ten_lines_of_a_sort_and_summed_up(lines):
    async with open_runtime(with_options(backoff=None, restart_limit=RestartLimit(1000, 60)), deps=World()) as runtime:
        for number in range(100):
            await runtime.space(f"s{number}").send(Doer.crash)
        await trio.sleep(9)
        letters = [record for record in lines.records if "dead letter" in record.getMessage()]
        assert len(letters) == 10
        await trio.sleep(2)
        (summary,) = [
            record
            for record in lines.records
            if "90 more" in record.getMessage() and "dead letter" in record.getMessage()
        ]
        assert summary.levelno == logging.WARNING


async def test_O2_what_was_cut_is_summed_up_at_the_latest_when_the_runtime_closes(lines):
    async with open_runtime(with_options(restart_limit=RestartLimit(1000, 60)), deps=World()) as runtime:
        for _ in range(15):
            await runtime.space("a").send(Doer.crash)
    assert [record.getMessage()[:6] for record in lines.records if "more like" in record.getMessage()] == ["5 more"] * 2


async def test_O2_after_a_quiet_period_lines_are_written_again(lines):
    async with open_runtime(with_options(restart_limit=RestartLimit(1000, 60)), deps=World()) as runtime:
        for _ in range(2):
            for _ in range(12):
                await runtime.space("a").send(Doer.crash)
            await trio.sleep(11)
    assert len([record for record in lines.records if record.getMessage().startswith("dead letter")]) == 20


async def test_O2_one_sort_of_line_does_not_use_up_anothers(lines):
    async with open_runtime(with_options(restart_limit=RestartLimit(20, 60)), deps=World()) as runtime:
        for _ in range(21):
            await runtime.space("a").send(Doer.crash)
        await wait_all_tasks_blocked()
    assert len([record for record in lines.records if "quarantined" in record.getMessage()]) == 1


async def test_P5_log_lines_are_bounded_whatever_the_message_holds(lines):
    async with open_runtime(Doer, deps=World()) as runtime:
        await runtime.space("a").send(Doer.crash, Boom("x" * 1_000_000))
        await wait_all_tasks_blocked()
    assert lines.records
    assert all(len(record.getMessage()) < 1000 for record in lines.records)


async def test_P5_the_text_of_an_error_about_a_message_is_bounded():
    async with open_runtime(Doer, deps=World()) as runtime:
        with pytest.raises(ActorCrashed) as caught:
            await runtime.space("a").ask(Doer.crash, Boom("x" * 1_000_000))
    assert len(str(caught.value)) < 2000


async def test_P5_an_events_reader_that_is_behind_is_told_how_many_it_missed():
    kind = with_options(restart_limit=RestartLimit(10_000, 60))
    async with open_runtime(kind, deps=World()) as runtime, runtime.events() as events:
        for _ in range(1200):
            await runtime.space("a").send(Doer.crash)
        await wait_all_tasks_blocked()
        assert isinstance(await anext(events), EventsMissed)


async def test_P5_R20_values_that_cannot_be_shown_harm_nobody(lines):
    class Shy(Exception):
        def __repr__(self):
            raise Boom

    async with open_runtime(Doer, deps=World()) as runtime:
        with pytest.raises(ActorCrashed):
            await runtime.space("a").ask(Doer.crash, Shy())
        await runtime.space("a").ask(Doer.note, "x")
    assert any("cannot be shown" in record.getMessage() for record in lines.records)
