"""SQLite engines with a fault each, and the cases of the conformance kit that must find it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from spaceactors.stores._engine import Loaded, Put
from spaceactors.stores._sqlite import SqliteEngine

# Each fault, and cases every one of which must fail at it.
FAULTS: dict[str, tuple[str, ...]] = {
    "forgets NEW_SPACE": ("the_group_is_fixed_for_ever", "ids_of_turns_that_change_nothing_are_remembered"),
    "forgets NEW_MESSAGE": ("an_accepted_message_is_not_lost", "messages_run_in_the_order_of_their_acceptance"),
    "forgets SAVE_SPACE": ("what_turns_have_kept_is_there", "updates_from_outside_are_kept"),
    "forgets MARK_SPACE": ("what_turns_have_kept_is_there",),
    "forgets MARK_MESSAGE": ("attempts_are_remembered",),
    "forgets ADD_ENTRY": ("pages_of_a_history_follow_each_other", "what_turns_have_kept_is_there"),
    "forgets TRIM_ENTRIES": ("only_the_newest_entries_are_kept_where_it_was_asked_for", "trimmed_entries_stay_away"),
    "forgets ADD_EVENT": ("what_turns_have_kept_is_there", "positions_go_on_after_passivation"),
    "forgets TRIM_EVENTS": ("what_is_gone_is_a_gap",),
    "forgets SET_TIMER": ("a_timer_that_came_due_meanwhile_fires_once", "a_timer_that_is_due_later_fires_in_time"),
    "forgets DROP_TIMER": ("replaced_and_cancelled_timers_do_not_come_back",),
    "forgets ADD_KNOWN": ("ids_are_remembered", "ids_of_sends_are_remembered"),
    "forgets DROP_KNOWN": ("only_so_many_ids_come_back",),
    "forgets ADD_STEP": ("finished_steps_do_not_run_in_another_life", "an_answer_is_kept_when_it_was_taken"),
    "forgets ASK": ("an_open_question_is_open_in_the_next_life", "a_drain_leaves_questions_open"),
    "forgets CLOSE_QUESTION": ("an_answer_is_kept_when_it_was_taken",),
    "forgets BURY": ("dead_letters_are_kept", "a_failed_message_is_a_dead_letter"),
    "forgets UNBURY": ("a_dead_letter_can_be_discarded", "a_dead_letter_can_be_sent_again"),
    "forgets DROP_MESSAGE": ("a_message_that_nobody_understands_is_parked", "a_returned_message_stays_returned"),
    "forgets DROP_PLAIN_MESSAGE": ("a_handled_message_stays_handled",),
    "forgets ERASE_SPACE": ("a_deleted_space_is_as_if_it_had_never_been", "a_deleted_space_stays_deleted"),
    "forgets flags": ("a_quarantine_is_kept",),
    "forgets groups": ("the_group_is_fixed_for_ever",),
    "forgets recoveries": ("a_message_that_always_ends_its_process_fails",),
    "forgets that messages expire": ("a_message_that_expired_meanwhile_does_not_run",),
    "forgets message ids": ("who_asks_again_gets_the_answer_of_the_one_turn",),
    "forgets counters": ("what_turns_have_kept_is_there",),
    "forgets the periods of timers": ("a_repeated_timer_skips_what_it_missed",),
    "forgets the last of a batch": ("what_turns_have_kept_is_there",),
    "takes up messages in the wrong order": ("messages_run_in_the_order_of_their_acceptance",),
    "takes up half the messages": ("messages_run_in_the_order_of_their_acceptance",),
    "takes up every message once more": ("the_end_of_a_process_is_no_attempt",),
    "lists a page behind the wrong id": ("known_spaces_are_listed",),
    "lists spaces of all kinds": ("known_spaces_are_listed",),
    "reads pages without a limit": ("pages_of_a_history_follow_each_other", "a_page_is_a_hundred_entries_unless_told"),
    "reads a page too early": ("pages_of_a_history_follow_each_other",),
    "reads the last entries the wrong way round": ("the_last_entries_come_oldest_first",),
    "reads events that were seen": ("a_late_subscriber_reads_what_it_missed_and_goes_on",),
    "sees nothing that is due": (
        "a_timer_that_came_due_meanwhile_fires_once",
        "a_timer_wakes_a_space_that_left_memory",
    ),
    "wakes spaces of all kinds": ("kinds_that_are_not_opened_are_left_alone",),
    "confuses upper and lower case": ("names_are_taken_to_the_letter",),
    "lets two owners in": ("of_two_owners_the_older_cannot_write",),
    "deletes all spaces that begin alike": ("deleting_leaves_the_neighbours_alone",),
}

_GUARDED = (Put.SAVE_SPACE, Put.MARK_SPACE)

# Where the values stand that are forgotten: see `Put`.
_VALUES: dict[str, dict[Put, dict[int, Any]]] = {
    "forgets flags": {Put.SAVE_SPACE: {10: 0, 11: None}, Put.MARK_SPACE: {9: 0, 10: None}},
    "forgets groups": {Put.NEW_SPACE: {2: None}},
    "forgets that messages expire": {Put.NEW_MESSAGE: {6: None}},
    "forgets message ids": {Put.NEW_MESSAGE: {3: None}},
    "forgets counters": {Put.SAVE_SPACE: {9: None}, Put.MARK_SPACE: {8: None}},
    "forgets the periods of timers": {Put.SET_TIMER: {4: None}},
}


class FaultyEngine:
    """Does what the SQLite engine does, but for its fault."""

    def __init__(self, place: Path, fault: str) -> None:
        self._inner = SqliteEngine(place, synchronous="NORMAL")
        self._fault = fault
        self.name = f"{fault}: {self._inner.name}"

    def __getattr__(self, name: str) -> Any:
        """Look up everything that has no fault."""
        call = getattr(self._inner, name)
        spoil: Callable[..., Any] | None = _READING.get((self._fault, name))
        return call if spoil is None else lambda *args: spoil(call, *args)

    def open(self) -> int:
        if self._fault != "lets two owners in":
            return self._inner.open()
        self._inner._lock.take = lambda: None  # type: ignore[method-assign]
        self._inner.open()
        return 1

    # ---- writing

    def write(self, writes: Any) -> Any:
        return self._inner.write([self._written(write) for write in writes])

    def _written(self, write: Any) -> Any:
        if self._fault == "forgets the last of a batch":
            return sorted(write)[:-1] if len(write) > 1 else write
        if self._fault == "deletes all spaces that begin alike" and write[0][0] is Put.ERASE_SPACE:
            kind, id_ = write[0][1]
            return [
                (Put.ERASE_SPACE, (kind, one.id)) for one in self._inner.spaces(kind, "", 99) if one.id[:2] == id_[:2]
            ]
        if self._fault == "confuses upper and lower case":
            return [(put, (values[0], values[1].lower(), *values[2:])) for put, values in write]
        forgotten = self._fault.removeprefix("forgets ")
        if forgotten == "NEW_SPACE" and any(put in _GUARDED for put, _ in write):
            return write  # without it these would be refused, and tried again without end
        return [
            (put, _changed(values, _VALUES.get(self._fault, {}).get(put, {})))
            for put, values in write
            if put.name != forgotten
        ]

    # ---- reading

    def load(self, keys: Any, epoch: int) -> Any:
        if self._fault == "confuses upper and lower case":
            keys = [(kind, id_.lower()) for kind, id_ in keys]
        return [None if one is None else self._loaded(one) for one in self._inner.load(keys, epoch)]

    def _loaded(self, loaded: Loaded) -> Loaded:
        messages = list(loaded.messages)
        match self._fault:
            case "takes up messages in the wrong order":
                messages.reverse()
            case "takes up half the messages":
                del messages[::2]
            case "takes up every message once more":
                messages += [one._replace(number=one.number + 1000) for one in messages]
        return loaded._replace(messages=messages)


def _changed(values: tuple[Any, ...], changes: dict[int, Any]) -> tuple[Any, ...]:
    return tuple(changes.get(number, value) for number, value in enumerate(values))


def _all_kinds(call: Callable[..., Any], kinds: Any, *args: Any) -> Any:
    return call([*kinds, "clerk"], *args)


_READING: dict[tuple[str, str], Callable[..., Any]] = {
    ("forgets recoveries", "count_recoveries"): lambda _, kinds: None,
    ("lists a page behind the wrong id", "spaces"): lambda call, kind, after, limit: call(kind, after[:-1], limit),
    ("lists spaces of all kinds", "spaces"): lambda call, kind, *args: [*call(kind, *args), *call("counter", *args)],
    ("reads pages without a limit", "entries"): lambda call, key, after, limit: call(key, after, limit * 100),
    ("reads a page too early", "entries"): lambda call, key, after, limit: call(key, max(after - 1, 0), limit),
    ("reads the last entries the wrong way round", "recent"): lambda call, *args: call(*args)[::-1],
    ("reads events that were seen", "events"): lambda call, key, after: call(key, max(after - 1, 0)),
    ("sees nothing that is due", "due"): lambda call, *args: [],
    ("wakes spaces of all kinds", "waiting"): _all_kinds,
}
