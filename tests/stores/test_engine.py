"""What every engine does alike: rows in, rows out, each write whole or not at all."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spaceactors._errors import StoreError
from spaceactors._store import EpochLost, VersionLost
from spaceactors.stores._engine import (
    QUARANTINED,
    STOPPED,
    Engine,
    EntryRow,
    MessageRow,
    Put,
    SpaceRow,
    TimerRow,
)
from tests.stores.engine_cases import (
    KIND,
    A,
    B,
    Opened,
    asks,
    begins,
    buries,
    entry,
    event,
    known,
    marks,
    message,
    saves,
    settles,
    settles_plainly,
    sleeps,
    step,
    timer,
)

# ---- spaces


def test_a_space_begins_with_version_0_and_no_state(engine: Opened):
    engine.keep([begins(A, engine.epoch, grp="till")])
    assert engine.space() == SpaceRow(*A, "till", None, 0, engine.epoch, 0, 1, 0, None, 0, None)


def test_a_space_that_is_there_does_not_begin_again(engine: Opened):
    engine.keep([begins(A, engine.epoch)], [saves(A, engine.epoch, 0)])
    engine.keep([begins(A, engine.epoch, grp="other")])
    assert (engine.space().version, engine.space().grp) == (1, None)


def test_a_save_keeps_all_that_it_names(engine: Opened):
    engine.begin(A)
    others = {"length": 2, "next_entry": 5, "last_event": 7, "counters": b"c", "flags": STOPPED, "note": b"why"}
    engine.keep([saves(A, engine.epoch, 0, 3, state=b"s", **others), entry(A, 3), entry(A, 4)])
    assert engine.space() == SpaceRow(*A, None, b"s", 3, engine.epoch, 2, 5, 7, b"c", STOPPED, b"why")


def test_a_mark_leaves_the_state(engine: Opened):
    engine.begin(A)
    engine.keep([saves(A, engine.epoch, 0, state=b"s")])
    engine.keep([marks(A, engine.epoch, 1, 1, flags=QUARANTINED, note=b"boom")])
    assert engine.space() == SpaceRow(*A, None, b"s", 1, engine.epoch, 0, 1, 0, None, QUARANTINED, b"boom")


def test_an_unknown_space_is_none(engine: Opened):
    assert engine.engine.space(A) is None


def test_spaces_are_listed_by_id_and_page(engine: Opened):
    engine.begin(*((KIND, name) for name in "dbca"), ("other", "x"))
    pages = [[row.id for row in engine.engine.spaces(KIND, after, 2)] for after in ("", "b", "d")]
    assert pages == [["a", "b"], ["c", "d"], []]


def test_ids_are_ordered_by_their_characters_in_every_store(engine: Opened):
    ids = ["B", "a", "é", "Z", "z", "日", "a b", "ab", "\U0001f600"]
    engine.begin(*((KIND, name) for name in ids))
    assert [row.id for row in engine.engine.spaces(KIND, "", 100)] == sorted(ids)


def test_kinds_are_counted(engine: Opened):
    engine.begin(A, B, ("till", "1"))
    assert list(engine.engine.kinds()) == [(KIND, 2), ("till", 1)]


# ---- guards


def test_a_save_of_another_version_is_refused_and_changes_nothing(engine: Opened):
    engine.begin(A)
    engine.keep([message(A, 1)])
    (error,) = engine.engine.write([[saves(A, engine.epoch, 4), entry(A, 1), settles(A, 1)]])
    assert isinstance(error, VersionLost)
    assert (engine.space().version, engine.numbers(), engine.engine.recent(A, 9)) == (0, [1], [])


def test_D2_a_save_of_an_earlier_opening_is_refused(engine: Opened):
    engine.begin(A)
    engine.engine.load([A], engine.epoch + 1)
    (error,) = engine.engine.write([[saves(A, engine.epoch, 0)]])
    assert isinstance(error, EpochLost)
    assert engine.space().state is None


def test_D2_a_mark_of_an_earlier_opening_is_refused(engine: Opened):
    engine.begin(A)
    engine.engine.load([A], engine.epoch + 1)
    (error,) = engine.engine.write([[marks(A, engine.epoch, 0)]])
    assert isinstance(error, EpochLost)


def test_D2_a_message_for_an_earlier_opening_is_refused(engine: Opened):
    engine.begin(A)
    engine.engine.load([A], engine.epoch + 1)
    errors = engine.engine.write([[message(A, 1, epoch=engine.epoch)], [message(A, 2, epoch=engine.epoch + 1)]])
    assert [type(error) for error in errors] == [EpochLost, type(None)]
    assert engine.numbers() == [2]


def test_a_message_without_an_epoch_is_taken_whoever_owns_the_space(engine: Opened):
    engine.begin(A)
    engine.engine.load([A], engine.epoch + 1)
    engine.keep([message(A, 1)])
    assert engine.numbers() == [1]


def test_a_message_with_an_epoch_for_a_space_that_is_gone_is_refused(engine: Opened):
    assert isinstance(engine.engine.write([[message(A, 1, epoch=engine.epoch)]])[0], VersionLost)


def test_an_epoch_guards_single_messages_of_a_batch_with_and_without(engine: Opened):
    engine.begin(A, B)
    engine.engine.load([B], engine.epoch + 1)
    writes = [[message((A, B)[n % 2], n, epoch=engine.epoch if n % 3 else None)] for n in range(1, 20)]
    errors = engine.engine.write(writes)
    refused = [n for n, error in enumerate(errors, 1) if isinstance(error, EpochLost)]
    assert refused == [n for n in range(1, 20) if n % 2 and n % 3]
    assert engine.numbers(A) + engine.numbers(B) == [2, 4, 6, 8, 10, 12, 14, 16, 18, 3, 9, 15]


@pytest.mark.parametrize("settled", [settles, settles_plainly])
def test_a_settled_message_cannot_be_settled_again(engine: Opened, settled: Callable[..., Any]):
    engine.begin(A)
    engine.keep([message(A, 1), message(A, 2)])
    errors = engine.engine.write([[settled(A, 1)], [settled(A, 1)]])
    assert engine.numbers(A) == [2]
    assert [type(error) for error in errors] == [type(None), VersionLost]


@pytest.mark.parametrize("settled", [settles, settles_plainly])
def test_a_message_is_settled_only_in_its_own_space(engine: Opened, settled: Callable[..., Any]):
    engine.begin(A, B)
    engine.keep([message(A, 1)], [message(A, 2)])
    errors = engine.engine.write([[settled(B, 1)], [settled(B, 2)]])
    assert [type(error) for error in errors] == [VersionLost, VersionLost]


def test_a_question_is_closed_once(engine: Opened):
    engine.begin(A)
    engine.keep([message(A, 1), asks("q", A, 1)])
    errors = engine.engine.write([[(Put.CLOSE_QUESTION, ("q",))], [(Put.CLOSE_QUESTION, ("q",))]])
    assert [type(error) for error in errors] == [type(None), VersionLost]


def test_a_dead_letter_is_taken_out_once(engine: Opened):
    engine.keep([buries(A, "m")])
    number = engine.engine.letters(None, None, 0, 9)[0].number
    errors = engine.engine.write([[(Put.UNBURY, (number,))], [(Put.UNBURY, (number,))]])
    assert [type(error) for error in errors] == [type(None), VersionLost]


def test_a_refused_write_harms_no_other_of_its_batch(engine: Opened):
    engine.begin(*((KIND, str(n)) for n in range(20)))
    writes = [[saves((KIND, str(n)), engine.epoch, 9 if n in {3, 11} else 0)] for n in range(20)]
    errors = engine.engine.write(writes)
    assert [n for n, error in enumerate(errors) if isinstance(error, VersionLost)] == [3, 11]
    assert [int(row.id) for row in engine.engine.spaces(KIND, "", 99) if not row.version] == [11, 3]


def test_a_write_about_two_spaces_is_kept_whole_or_not_at_all(engine: Opened):
    engine.begin(A, B)
    engine.keep([message(A, 1)])
    turn = [saves(A, engine.epoch, 0), settles(A, 1), message(B, 2, epoch=engine.epoch + 5)]
    assert isinstance(engine.engine.write([turn, [message(B, 3)]])[0], VersionLost)
    assert (engine.space(A).version, engine.numbers(A), engine.numbers(B)) == (0, [1], [3])


def test_what_a_refused_write_did_before_its_guard_is_undone(engine: Opened):
    engine.begin(A, B)
    refused = [message(A, 1), message(B, 2), saves(A, engine.epoch, 7)]
    errors = engine.engine.write([refused, [message(A, 3)]])
    assert [type(error) for error in errors] == [VersionLost, type(None)]
    assert (engine.numbers(A), engine.numbers(B)) == ([3], [])


def test_D6_a_row_that_breaks_a_rule_of_the_database_is_refused_alone(engine: Opened):
    engine.begin(A)
    engine.keep([message(A, 1)])
    errors = engine.engine.write([[message(A, 1)], [message(A, 2)]])
    assert [type(error) for error in errors] == [StoreError, type(None)]
    assert engine.numbers() == [1, 2]


def test_D6_a_write_whose_last_row_breaks_a_rule_leaves_none_of_its_rows(engine: Opened):
    engine.begin(A)
    engine.keep([message(A, 1), entry(A, 3)])
    broken = [message(A, 2), entry(A, 1), entry(A, 2), entry(A, 3)]
    errors = engine.engine.write([broken, [message(A, 4)]])
    assert [type(error) for error in errors] == [StoreError, type(None)]
    assert (engine.numbers(), [row.position for row in engine.engine.recent(A, 9)]) == ([1, 4], [3])


def test_D6_a_value_that_the_database_cannot_keep_is_refused_alone(engine: Opened):
    engine.begin(A)
    errors = engine.engine.write([[message(A, 1, message_id="\ud800")], [message(A, 2)], [message(A, 1 << 70)]])
    assert [type(error) for error in errors] == [StoreError, type(None), StoreError]
    assert engine.numbers() == [2]


# ---- several turns of one space in one batch


def test_turns_of_a_space_that_follow_on_each_other_go_in_one_batch(engine: Opened):
    engine.begin(A)
    turns = [[saves(A, engine.epoch, n, state=b"%d" % n, length=n + 1), entry(A, n + 1)] for n in range(9)]
    engine.keep(*turns)
    assert (engine.space().state, engine.space().version, engine.space().length) == (b"8", 9, 9)


def test_a_state_is_kept_when_a_later_turn_of_the_batch_only_marks(engine: Opened):
    engine.begin(A)
    engine.keep([saves(A, engine.epoch, 0, state=b"new")], [marks(A, engine.epoch, 1, flags=STOPPED)])
    assert (engine.space().state, engine.space().version, engine.space().flags) == (b"new", 2, STOPPED)


def test_a_save_may_come_after_a_mark_in_a_batch(engine: Opened):
    engine.begin(A)
    engine.keep([marks(A, engine.epoch, 0, flags=STOPPED)], [saves(A, engine.epoch, 1, state=b"new", last_event=4)])
    space = engine.space()
    assert (space.state, space.version, space.flags, space.last_event) == (b"new", 2, 0, 4)


def test_a_turn_that_does_not_follow_is_refused_and_the_others_stand(engine: Opened):
    engine.begin(A)
    turns = [
        [saves(A, engine.epoch, 0, state=b"1")],
        [saves(A, engine.epoch, 0, state=b"x")],
        [marks(A, engine.epoch, 1)],
    ]
    errors = engine.engine.write(turns)
    assert [type(error) for error in errors] == [type(None), VersionLost, type(None)]
    assert (engine.space().state, engine.space().version) == (b"1", 2)


def test_D2_a_turn_of_an_earlier_opening_is_refused_beside_one_of_ours(engine: Opened):
    engine.begin(A)
    errors = engine.engine.write([[saves(A, engine.epoch, 0, state=b"1")], [saves(A, engine.epoch - 1, 1, state=b"x")]])
    assert [type(error) for error in errors] == [type(None), EpochLost]
    assert engine.space().state == b"1"


def test_what_a_batch_does_last_to_a_timer_counts(engine: Opened):
    engine.begin(A)
    drop = (Put.DROP_TIMER, (*A, "t"))
    engine.keep([timer(A, "t", 1.0)], [drop], [timer(A, "t", 2.0)], [timer(A, "u", 3.0)], [(Put.DROP_TIMER, (*A, "u"))])
    assert [(row.key, row.due) for row in engine.engine.timers(A)] == [("t", 2.0)]


def test_what_a_batch_does_last_to_a_known_id_counts(engine: Opened):
    engine.begin(A)
    drop = (Put.DROP_KNOWN, (*A, "m"))
    engine.keep(
        [known(A, "m", body=b"1")], [drop], [known(A, "m", body=b"2")], [known(A, "n")], [(Put.DROP_KNOWN, (*A, "n"))]
    )
    (loaded,) = engine.engine.load([A], engine.epoch)
    assert loaded is not None
    assert [(row.message_id, row.body) for row in loaded.known] == [("m", b"2")]


def test_what_a_batch_says_last_of_a_message_counts(engine: Opened):
    engine.begin(A)
    engine.keep([message(A, 1)])
    engine.keep([sleeps(A, 1, attempts=1)], [sleeps(A, 1, attempts=2, asleep=0)])
    (row,) = engine.engine.messages(A, 0, 9)
    assert (row.attempts, row.asleep) == (2, False)


@pytest.mark.parametrize("size", [1, 2, 3, 255, 256, 257, 1000])
def test_a_batch_of_any_size_is_kept(engine: Opened, size: int):
    keys = [(KIND, f"{n:04}") for n in range(size)]
    engine.keep(*([begins(key, engine.epoch), message(key, n, epoch=engine.epoch)] for n, key in enumerate(keys, 1)))
    engine.keep(
        *(
            [saves(key, engine.epoch, 0, state=key[1].encode(), length=1, next_entry=2), entry(key, 1), settles(key, n)]
            for n, key in enumerate(keys, 1)
        )
    )
    assert [row.state for row in engine.engine.spaces(KIND, "", 9999)] == [key[1].encode() for key in keys]
    assert list(engine.engine.waiting([KIND], 0, 9)) == []
    assert list(engine.engine.verify()) == []


# ---- the mailbox


def test_a_message_comes_back_as_it_was_written(engine: Opened):
    engine.begin(A)
    given = message(A, 7, message_id="m", body=b"\x00\xff", at=0.1, expires_at=1e10 + 0.25, attempts=2, recoveries=3)
    engine.keep([given])
    (row,) = engine.engine.messages(A, 0, 9)
    assert row == MessageRow(*A, 7, "m", b"\x00\xff", 0.1, 1e10 + 0.25, 2, 3, asleep=False)
    assert row.asleep is False


def test_messages_come_in_the_order_of_their_numbers_and_by_page(engine: Opened):
    engine.begin(A, B)
    engine.keep(*([message((A, B)[n % 2], n)] for n in (9, 2, 6, 4, 1, 8)))
    assert [[row.number for row in engine.engine.messages(A, after, 2)] for after in (0, 4, 8)] == [[2, 4], [6, 8], []]


def test_waiting_messages_of_all_spaces_come_in_one_order(engine: Opened):
    other = ("till", "1")
    unasked = ("spare", "1")
    engine.begin(A, B, other, unasked)
    engine.keep([message(B, 3)], [message(A, 5)], [message(other, 4)], [message(unasked, 1)], [message(A, 2)])
    engine.keep([sleeps(A, 5)])
    assert list(engine.engine.waiting([KIND, "till"], 0, 2)) == [(2, *A), (3, *B)]
    assert list(engine.engine.waiting([KIND, "till"], 3, 2)) == [(4, *other)]


def test_sleeping_messages_are_counted(engine: Opened):
    engine.begin(A, B)
    engine.keep([message(A, 1), sleeps(A, 1)], [message(B, 2), sleeps(B, 2)], [message(B, 3)])
    assert (engine.engine.asleep([KIND]), engine.engine.asleep(["till"]), engine.engine.asleep([])) == (2, 0, 0)


def test_a_settled_message_takes_its_steps_and_its_question_with_it(engine: Opened):
    engine.begin(A)
    engine.keep([message(A, n) for n in (1, 2)], [step(A, 1, "x"), step(A, 2, "x"), asks("p", A, 1), asks("q", A, 2)])
    engine.keep([settles(A, 1)])
    (loaded,) = engine.engine.load([A], engine.epoch)
    assert loaded is not None
    assert [row.number for row in loaded.steps] == [2]
    assert [row.question_id for row in loaded.questions] == ["q"]


def test_the_first_message_of_every_space_counts_a_recovery(engine: Opened):
    engine.begin(A, B, ("till", "1"))
    engine.keep([message(A, 1)], [message(A, 2)], [message(B, 3)], [message(("till", "1"), 4)])
    engine.engine.count_recoveries([KIND])
    engine.engine.count_recoveries([KIND])
    counted = [row.recoveries for key in (A, B, ("till", "1")) for row in engine.engine.messages(key, 0, 9)]
    assert counted == [2, 0, 2, 0]


def test_no_recovery_is_counted_where_the_first_message_sleeps(engine: Opened):
    engine.begin(A)
    engine.keep([message(A, 1), sleeps(A, 1)], [message(A, 2)])
    engine.engine.count_recoveries([KIND])
    assert [row.recoveries for row in engine.engine.messages(A, 0, 9)] == [0, 0]


def test_no_recovery_is_counted_in_a_quarantined_space(engine: Opened):
    engine.begin(A, B)
    engine.keep([message(A, 1), marks(A, engine.epoch, 0, flags=QUARANTINED | STOPPED)])
    engine.keep([message(B, 2), marks(B, engine.epoch, 0, flags=STOPPED)])
    engine.engine.count_recoveries([KIND])
    assert [engine.engine.messages(key, 0, 9)[0].recoveries for key in (A, B)] == [0, 1]


# ---- loading


def test_a_space_is_loaded_with_all_that_it_needs_in_memory(engine: Opened):
    engine.begin(A)
    engine.keep(
        [message(A, 1), message(A, 2), step(A, 1, "b", 2), step(A, 1, "a", 1), asks("q", A, 1, expires_at=9.0)],
        [timer(A, "late", 9.0, every=2.0), timer(A, "soon", 5.0), known(A, "m2", 7.0), known(A, "m1", 8.0)],
    )
    (loaded,) = engine.engine.load([A], engine.epoch)
    assert loaded is not None
    assert loaded.space == engine.space()
    assert list(loaded.messages) == list(engine.engine.messages(A, 0, 9))
    assert [(row.key, row.position, row.body) for row in loaded.steps] == [("a", 1, b"result"), ("b", 2, b"result")]
    assert list(loaded.questions) == [engine.engine.question("q")]
    assert list(loaded.timers) == [TimerRow("soon", 5.0, None, b"ring"), TimerRow("late", 9.0, 2.0, b"ring")]
    assert [row.message_id for row in loaded.known] == ["m2", "m1"]


def test_loading_many_spaces_gives_each_its_own_in_the_order_asked_for(engine: Opened):
    keys = [(KIND, f"{n:04}") for n in range(1100)]
    engine.keep(*([begins(key, engine.epoch), message(key, n)] for n, key in enumerate(keys, 1)))
    asked = [keys[900], (KIND, "none"), *keys[::-1], keys[900]]
    loaded = engine.engine.load(asked, engine.epoch + 1)
    assert [found and (found.space.kind, found.space.id) for found in loaded] == [
        None if key == (KIND, "none") else key for key in asked
    ]
    assert all(found is None or [row.id for row in found.messages] == [found.space.id] for found in loaded)
    assert {row.epoch for row in engine.engine.spaces(KIND, "", 9999)} == {engine.epoch + 1}


def test_loading_claims_a_space_for_the_epoch(engine: Opened):
    engine.begin(A)
    (loaded,) = engine.engine.load([A], engine.epoch + 3)
    assert loaded is not None
    assert loaded.space.epoch == engine.space().epoch == engine.epoch + 3


def test_D2_a_space_of_a_later_opening_cannot_be_loaded_and_no_other_is_claimed(engine: Opened):
    engine.begin(A, B)
    engine.engine.load([B], engine.epoch + 2)
    with pytest.raises(EpochLost, match="'b'"):
        engine.engine.load([A, B], engine.epoch + 1)
    assert (engine.space(A).epoch, engine.space(B).epoch) == (engine.epoch, engine.epoch + 2)


def test_loading_nothing_and_writing_nothing_is_allowed(engine: Opened):
    assert list(engine.engine.load([], engine.epoch)) == []
    assert list(engine.engine.write([])) == []
    assert list(engine.engine.write([[]])) == [None]


# ---- histories and events


def test_entries_are_read_by_page_oldest_first(engine: Opened):
    engine.begin(A, B)
    engine.keep([entry(A, n, b"%d" % n) for n in range(1, 6)], [entry(B, 1)])
    assert list(engine.engine.entries(A, 2, 2)) == [EntryRow(3, 103.0, b"3"), EntryRow(4, 104.0, b"4")]
    assert list(engine.engine.entries(A, 5, 2)) == []


def test_recent_entries_come_oldest_first(engine: Opened):
    engine.begin(A)
    engine.keep([entry(A, n) for n in range(1, 6)])
    assert [row.position for row in engine.engine.recent(A, 2)] == [4, 5]
    assert list(engine.engine.recent(A, 0)) == []


def test_old_entries_are_trimmed_in_their_space_only(engine: Opened):
    engine.begin(A, B)
    engine.keep([entry(key, n) for key in (A, B) for n in range(1, 6)])
    engine.keep([(Put.TRIM_ENTRIES, (*A, 2))], [(Put.TRIM_ENTRIES, (*A, 3))], [(Put.TRIM_ENTRIES, (*B, 1))])
    assert [[row.position for row in engine.engine.entries(key, 0, 9)] for key in (A, B)] == [[4, 5], [2, 3, 4, 5]]


def test_events_are_kept_and_trimmed_by_position(engine: Opened):
    engine.begin(A, B)
    engine.keep([event(key, n, b"%d" % n) for key in (A, B) for n in range(1, 6)])
    engine.keep([(Put.TRIM_EVENTS, (*A, 3))])
    assert list(engine.engine.events(A, 0)) == [(4, b"4"), (5, b"5")]
    assert [position for position, _ in engine.engine.events(B, 3)] == [4, 5]


# ---- timers and questions


def test_a_timer_takes_the_place_of_an_earlier_one_of_its_key(engine: Opened):
    engine.begin(A)
    engine.keep([timer(A, "t", 5.0, every=1.0)])
    engine.keep([timer(A, "t", 9.0, body=b"new")])
    assert list(engine.engine.timers(A)) == [TimerRow("t", 9.0, None, b"new")]


def test_a_timer_is_dropped_by_its_key(engine: Opened):
    engine.begin(A, B)
    engine.keep([timer(key, name, 5.0) for key in (A, B) for name in ("t", "u")])
    engine.keep([(Put.DROP_TIMER, (*A, "t"))], [(Put.DROP_TIMER, (*B, "u"))])
    assert [[row.key for row in engine.engine.timers(key)] for key in (A, B)] == [["u"], ["t"]]


def test_the_next_due_time_is_of_timers_and_questions(engine: Opened):
    engine.begin(A, B)
    engine.keep([timer(A, "t", 5.0), timer(B, "t", 9.0), message(A, 1), asks("q", A, 1, expires_at=7.0)])
    assert [engine.engine.next_due([KIND, "till"], after) for after in (0, 5.0, 7.0, 9.0)] == [5.0, 7.0, 9.0, None]
    assert engine.engine.next_due(["till"], 0) is None
    assert engine.engine.next_due([], 0) is None


def test_due_spaces_come_once_each(engine: Opened):
    c = (KIND, "c")
    engine.begin(A, B, c)
    engine.keep(
        [timer(A, "t", 5.0), timer(A, "u", 5.5), timer(B, "t", 9.0), message(c, 1), asks("q", c, 1, expires_at=3.0)]
    )
    assert sorted(engine.engine.due([KIND], 6.0, 9)) == [A, c]
    assert sorted(engine.engine.due([KIND], 9.0, 9)) == [A, B, c]
    assert len(engine.engine.due([KIND], 9.0, 2)) == 2
    assert list(engine.engine.due(["till"], 9.0, 9)) == []


def test_questions_are_listed_oldest_first(engine: Opened):
    other = ("till", "1")
    engine.begin(A, other)
    engine.keep([message(A, 1), message(other, 2)])
    engine.keep([asks("z", A, 1)])
    engine.keep([asks("m", other, 2)], [asks("a", A, 1)])
    assert [row.question_id for row in engine.engine.questions(None, 9)] == ["z", "m", "a"]
    assert [row.question_id for row in engine.engine.questions(KIND, 1)] == ["z"]


def test_a_closed_question_is_gone(engine: Opened):
    engine.begin(A)
    engine.keep([message(A, 1), asks("q", A, 1, expires_at=5.0)])
    found = engine.engine.question("q")
    assert found is not None
    assert found[:6] == ("q", *A, 1, "approve", 5.0)
    engine.keep([(Put.CLOSE_QUESTION, ("q",))])
    assert engine.engine.question("q") is None


# ---- ids that are remembered


def test_a_known_id_takes_the_place_of_an_earlier_one(engine: Opened):
    engine.begin(A)
    engine.keep([known(A, "m", 5.0, b"1")])
    engine.keep([known(A, "m", 6.0, b"2")])
    (loaded,) = engine.engine.load([A], engine.epoch)
    assert loaded is not None
    assert [tuple(row) for row in loaded.known] == [("m", 6.0, b"2")]


def test_a_known_id_is_dropped(engine: Opened):
    engine.begin(A)
    engine.keep([known(A, "m"), known(A, "n"), known(A, "o")])
    engine.keep([(Put.DROP_KNOWN, (*A, "m"))], [(Put.DROP_KNOWN, (*A, "o"))])
    (loaded,) = engine.engine.load([A], engine.epoch)
    assert loaded is not None
    assert [row.message_id for row in loaded.known] == ["n"]


# ---- dead letters


def test_dead_letters_are_numbered_in_the_order_of_their_burial(engine: Opened):
    engine.keep([buries(A, "x")], [buries(B, "y"), buries(A, "z")])
    letters = engine.engine.letters(None, None, 0, 9)
    assert [row.message_id for row in letters] == ["x", "y", "z"]
    assert [row.number for row in letters] == sorted({row.number for row in letters})
    assert letters[0][1:] == (*A, "x", 1, 100.0, b"body", b"error")


def test_a_dead_letters_number_never_comes_again(make_engine: Callable[[], Engine]):
    one = make_engine()
    one.open()
    one.write([[buries(A, "x")]])
    number = one.letters(None, None, 0, 9)[0].number
    one.write([[(Put.UNBURY, (number,))]])
    one.close()
    two = make_engine()
    two.open()
    two.write([[buries(A, "y")]])
    assert two.letters(None, None, 0, 9)[0].number > number


def test_dead_letters_are_filtered_and_paged(engine: Opened):
    engine.keep([buries(A, "1"), buries(B, "2"), buries(("till", "a"), "3"), buries(A, "4")])

    def found(kind: str | None, space: str | None, after: int = 0, limit: int = 9) -> list[str]:
        return [row.message_id for row in engine.engine.letters(kind, space, after, limit)]

    first = engine.engine.letters(None, None, 0, 1)[0].number
    assert found(KIND, None) == ["1", "2", "4"]
    assert found(KIND, "a") == ["1", "4"]
    assert found(None, "a") == ["1", "3", "4"]
    assert found(None, None, first, 2) == ["2", "3"]


def test_dead_letters_are_found_by_message_id(engine: Opened):
    engine.keep([buries(A, "x"), buries(B, "y"), buries(B, "x")])
    assert [(row.message_id, row.id) for row in engine.engine.letters_of(["x", "none", "x"])] == [
        ("x", "a"),
        ("x", "b"),
    ]
    assert [row.message_id for row in engine.engine.letters_of({"y", *map(str, range(2000))})] == ["y"]
    assert list(engine.engine.letters_of([])) == []


def test_dead_letters_of_many_ids_come_once_each_the_oldest_first(engine: Opened):
    engine.keep([buries(A, "z"), buries(A, "a"), buries(A, "z")])
    found = engine.engine.letters_of(["a", "z", *map(str, range(1000)), "z"])
    assert [row.message_id for row in found] == ["z", "a", "z"]


# ---- the end of a space


def fill(engine: Opened, key: tuple[str, str], number: int) -> None:
    engine.begin(key)
    engine.keep(
        [message(key, number), step(key, number, "s"), asks(f"q{number}", key, number, expires_at=5.0)],
        [saves(key, engine.epoch, 0, length=1, next_entry=2, last_event=1), entry(key, 1), event(key, 1)],
        [timer(key, "t", 4.0), known(key, "m"), buries(key, "m")],
    )


def everything_of(engine: Opened, key: tuple[str, str]) -> list[object]:
    reads = engine.engine
    return [
        *([row] if (row := reads.space(key)) else []),
        *reads.messages(key, 0, 9),
        *reads.recent(key, 9),
        *reads.events(key, 0),
        *reads.timers(key),
        *reads.letters(*key, 0, 9),
        *(row for row in reads.questions(None, 9) if row.id == key[1]),
    ]


def test_an_erased_space_leaves_nothing_and_others_stay(engine: Opened):
    fill(engine, A, 1)
    fill(engine, B, 2)
    engine.keep([(Put.ERASE_SPACE, A)])
    assert everything_of(engine, A) == []
    assert len(everything_of(engine, B)) == 7
    assert list(engine.engine.due([KIND], 99.0, 9)) == [B]
    # Steps and known ids are seen again only when the space begins again.
    engine.begin(A)
    (loaded,) = engine.engine.load([A], engine.epoch)
    assert loaded is not None
    assert (loaded.steps, loaded.known, loaded.space.version) == ([], [], 0)
    assert list(engine.engine.verify()) == []


# ---- opening, closing, caring


def test_every_opening_has_a_later_epoch(make_engine: Callable[[], Engine]):
    epochs: list[int] = []
    for _ in range(3):
        engine = make_engine()
        epochs.append(engine.open())
        engine.close()
    assert epochs == sorted(set(epochs))


def test_an_engine_can_be_closed_twice_and_opened_again(make_engine: Callable[[], Engine]):
    engine = make_engine()
    engine.close()
    first = engine.open()
    engine.close()
    engine.close()
    assert engine.open() > first


def test_what_was_written_is_there_after_a_new_opening(make_engine: Callable[[], Engine]):
    one = make_engine()
    epoch = one.open()
    one.write([[begins(A, epoch), saves(A, epoch, 0, state=b"kept"), message(A, 1)]])
    one.close()
    two = make_engine()
    (loaded,) = two.load([A], two.open())
    assert loaded is not None
    assert (loaded.space.state, [row.number for row in loaded.messages]) == (b"kept", [1])


def test_a_closed_engine_says_so(make_engine: Callable[[], Engine]):
    engine = make_engine()
    engine.open()
    engine.close()
    for call in (lambda: engine.write([]), lambda: engine.space(A), lambda: engine.load([A], 1), engine.verify):
        with pytest.raises(StoreError, match="closed"):
            call()


def test_a_sound_database_has_no_problems(engine: Opened):
    fill(engine, A, 1)
    assert list(engine.engine.verify()) == []


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        ([saves(A, 0, 0, length=3)], "history"),
        ([saves(A, 0, 0, length=1), entry(A, 4)], "entry 4"),
        ([event(A, 4)], "event 4"),
        ([step(A, 8, "s")], "message 8"),
        ([asks("q", A, 9)], "message 9"),
        ([saves(A, 0, 0, -1)], "below zero"),
        ([entry(B, 1)], "no space"),
        ([timer(B, "t", 1.0)], "no space"),
    ],
)
def test_verify_finds_rows_that_do_not_agree(
    engine: Opened, broken: list[tuple[Put, tuple[object, ...]]], sentence: str
):
    engine.begin(A)
    rows = [(put, (*v[:2], engine.epoch, *v[3:])) if put is Put.SAVE_SPACE else (put, v) for put, v in broken]
    engine.keep(rows)
    problems = engine.engine.verify()
    assert len(problems) == 1
    assert sentence in problems[0]


def test_vacuum_leaves_what_is_kept(engine: Opened):
    fill(engine, A, 1)
    before = everything_of(engine, A)
    engine.engine.vacuum()
    assert everything_of(engine, A) == before
    engine.keep([message(A, 2)])


def test_readers_see_what_was_committed_while_a_batch_is_written(engine: Opened):
    """Threads that read beside the writer see whole turns: as many entries as the version says."""
    engine.begin(A)
    torn: list[object] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            low, entries, high = engine.space().version, engine.engine.entries(A, 0, 9999), engine.space().version
            if not low <= len(entries) <= high:
                torn.append((low, len(entries), high))

    threads = [threading.Thread(target=read, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for n in range(60):
            engine.keep([saves(A, engine.epoch, n, length=n + 1, next_entry=n + 2), entry(A, n + 1)])
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert torn == []


# ---- any batch is what its writes are one by one; what is marked or settled was accepted by an earlier batch

turns = st.lists(
    st.lists(
        st.one_of(
            st.builds(
                lambda key, v, n: saves(key, 1, v, n, state=b"%d" % n),
                st.sampled_from([A, B]),
                *[st.integers(0, 2)] * 2,
            ),
            st.builds(
                lambda key, v, n: marks(key, 1, v, n, flags=n), st.sampled_from([A, B]), *[st.integers(0, 2)] * 2
            ),
            st.builds(timer, st.sampled_from([A, B]), st.sampled_from("tu"), st.sampled_from([1.0, 2.0])),
            st.builds(lambda key, name: (Put.DROP_TIMER, (*key, name)), st.sampled_from([A, B]), st.sampled_from("tu")),
            st.builds(lambda key, name: (Put.DROP_KNOWN, (*key, name)), st.sampled_from([A, B]), st.sampled_from("mn")),
            st.builds(known, st.sampled_from([A, B]), st.sampled_from("mn"), st.sampled_from([1.0, 2.0])),
            st.builds(message, st.sampled_from([A, B]), st.integers(7, 9), epoch=st.sampled_from([None, 1, 2])),
            st.builds(sleeps, st.just(A), st.integers(1, 3), attempts=st.integers(0, 1)),
            st.builds(settles, st.just(A), st.integers(1, 3)),
        ),
        min_size=1,
        max_size=3,
        unique_by=lambda row: (row[0] - (row[0] in {Put.MARK_SPACE, Put.DROP_TIMER, Put.DROP_KNOWN}), row[1][:3]),
    ).map(sorted),
    min_size=1,
    max_size=5,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(writes=turns)
def test_a_batch_that_is_taken_is_what_its_writes_are_one_by_one(
    engine: Opened, writes: list[list[tuple[Put, tuple[object, ...]]]]
):
    def fresh() -> None:
        engine.keep([(Put.ERASE_SPACE, A), (Put.ERASE_SPACE, B)])
        engine.keep([begins(A, 1), begins(B, 1)], [message(A, n) for n in (1, 2, 3)])

    def content() -> list[object]:
        return [everything_of(engine, key) for key in (A, B)]

    fresh()
    refused = [type(engine.engine.write([write])[0]) for write in writes]
    alone = content()
    fresh()
    together = [type(error) for error in engine.engine.write(writes)]
    if not any(error is not type(None) for error in (*refused, *together)):
        assert content() == alone
