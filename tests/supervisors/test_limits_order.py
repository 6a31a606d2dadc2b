"""The order of a line and the choice of victims, without Trio: compared with models that are slow and plain."""

from __future__ import annotations

import math
from itertools import count

import pytest
from attrs import define, frozen
from hypothesis import given
from hypothesis import strategies as st

from supervisors import Priority, WaitTimes
from supervisors._capacity import wait_times
from supervisors._fair import FairQueue, choose, precedence
from supervisors._held import Holders


@define(eq=False)
class Who:
    priority: Priority = Priority.NORMAL
    fair_key: str | None = None
    since: float = 0.0


def queue_of(*several, ageing=10.0):
    queue = FairQueue(ageing)
    for who in several:
        queue.enter(who)
    return queue


def served(queue):
    return [queue.serve() for _ in range(len(queue.waiting))]


def keys(several):
    return [who.fair_key for who in several]


# ---- between priorities


@pytest.mark.parametrize("priority", [Priority.LOW, Priority.NORMAL, Priority.HIGH])
def test_C9_so_many_seconds_longer_are_worth_a_step_of_priority(priority):
    above = Priority(priority + 1)
    low, high = Who(priority, since=0.0), Who(above, since=10.5)
    assert choose([high, low], 10.0) is low
    assert choose([high, low], 11.0) is high


def test_C9_a_tie_goes_to_the_higher_priority():
    urgent, low = Who(Priority.URGENT, since=30.0), Who(Priority.LOW, since=0.0)
    assert choose([low, urgent], 10.0) is urgent


def test_C9_without_ageing_nobody_makes_up_for_priority():
    low, high = Who(Priority.LOW, since=-1e12), Who(Priority.HIGH, since=0.0)
    assert choose([low, high], math.inf) is high
    assert choose([low, Who(Priority.NORMAL, since=0.0)], math.inf).priority is Priority.NORMAL


def test_with_ageing_of_nothing_only_time_counts():
    low, high = Who(Priority.LOW, since=0.0), Who(Priority.HIGH, since=0.1)
    assert choose([high, low], 0.0) is low
    assert choose([low, Who(Priority.HIGH, since=0.0)], 0.0).priority is Priority.HIGH


@given(st.sampled_from(Priority), st.floats(0, 100), st.sampled_from(Priority), st.floats(0, 100), st.floats(0, 1e6))
def test_time_does_not_change_who_comes_before_whom(one, since, other, other_since, later):
    # What is compared has no "now" in it: shifting both by the same time is the only way in which time could count.
    ageing = 8.0
    before = since - other_since < (one - other) * ageing
    if abs((since - other_since) - (one - other) * ageing) > 1e-6:
        shifted = precedence(one, since + later, ageing) < precedence(other, other_since + later, ageing)
        assert shifted == before


# ---- inside a priority


def test_C2_keys_take_turns():
    queue = queue_of(*(Who(fair_key=key) for key in "aaabbc"))
    assert keys(served(queue)) == list("abcaba")


def test_C2_nobody_in_particular_is_a_key_too():
    queue = queue_of(*(Who(fair_key=key) for key in (None, None, "a")))
    assert keys(served(queue)) == [None, "a", None]


def test_C2_a_key_that_was_served_comes_behind_those_that_were_not():
    queue = queue_of(Who(fair_key="a"), Who(fair_key="a"), Who(fair_key="b"))
    assert queue.serve().fair_key == "a"
    queue.enter(Who(fair_key="c"))
    queue.enter(Who(fair_key="a"))
    assert keys(served(queue)) == ["b", "a", "c", "a"]


def test_inside_a_key_who_came_first_is_first():
    several = [Who(fair_key="a") for _ in range(5)]
    assert served(queue_of(*several)) == several


def test_who_goes_on_comes_before_everybody_in_the_order_of_coming():
    urgent, first, second = Who(Priority.URGENT), Who(Priority.LOW), Who(Priority.NORMAL)
    queue = queue_of(urgent)
    queue.enter(first, first=True)
    queue.enter(second, first=True)
    assert list(queue.in_order()) == [first, second, urgent]
    assert served(queue) == [first, second, urgent]


class Model:
    """The same rules, looking at everybody each time."""

    def __init__(self, ageing):
        self.ageing = ageing
        self.first = []
        self.keys = {priority: [] for priority in Priority}  # each key with those who wait in it
        self.came = []

    def enter(self, who, *, first=False):
        self.came.append(who)
        if first:
            self.first.append(who)
            return
        for key, members in self.keys[who.priority]:
            if key == who.fair_key:
                members.append(who)
                return
        self.keys[who.priority].append((who.fair_key, [who]))

    def leave(self, who):
        self.came.remove(who)
        if who in self.first:
            self.first.remove(who)
            return
        for _, members in self.keys[who.priority]:
            if who in members:
                members.remove(who)
        self.keys[who.priority] = [pair for pair in self.keys[who.priority] if pair[1]]

    def serve(self):
        if self.first:
            who = self.first[0]
            self.leave(who)
            return who
        best = None
        for priority in sorted(Priority, reverse=True):
            if not self.keys[priority]:
                continue
            head = self.keys[priority][0][1][0]
            # How much longer it has to have waited than who is best so far.
            if best is None or best.since - head.since > (best.priority - head.priority) * self.ageing:
                best = head
        turn = self.keys[best.priority].pop(0)
        self.keys[best.priority].append(turn)
        self.leave(best)
        return best


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["enter", "enter", "enter", "first", "leave", "serve"]),
            st.sampled_from(Priority),
            st.sampled_from([None, "a", "b", "c"]),
            st.integers(0, 40),
        ),
        max_size=60,
    ),
    st.sampled_from([0.0, 1.0, 8.0, math.inf]),
)
def test_a_line_is_served_as_the_rules_say_and_shows_it_beforehand(steps, ageing):
    queue, model, now = FairQueue(ageing), Model(ageing), 0
    for step, priority, key, number in steps:
        now += number % 5  # whole numbers, so that ties are ties on both sides
        if step in {"enter", "first"}:
            who = Who(priority, key, float(now))
            queue.enter(who, first=step == "first")
            model.enter(who, first=step == "first")
        elif model.came and step == "leave":
            who = model.came[number % len(model.came)]
            queue.leave(who)
            model.leave(who)
        elif model.came:
            assert queue.serve() is model.serve()
        assert list(queue.waiting) == model.came
        assert queue.oldest() is (model.came[0] if model.came else None)
    shown = list(queue.in_order())
    assert shown == served(queue) == [model.serve() for _ in shown]
    assert not queue.waiting
    assert not any(queue._rotations)


# ---- victims


@frozen(eq=False)
class Held:
    priority: Priority

    def take_away(self, limit, by):
        raise AssertionError("the choice only chooses")


def test_a_victim_is_of_the_lowest_priority_and_among_those_the_last():
    holders = Holders()
    several = [Held(priority) for priority in (Priority.NORMAL, Priority.LOW, Priority.LOW, Priority.HIGH)]
    for holder in several:
        holders.add(holder)
    chosen = []
    while (victim := holders.next_victim(Priority.URGENT)) is not None:
        holders.take_from(victim, "somebody")
        chosen.append(victim)
    assert chosen == [several[2], several[1], several[0], several[3]]


def test_nobody_is_the_victim_of_an_equal():
    holders = Holders()
    holders.add(Held(Priority.URGENT))
    assert holders.next_victim(Priority.URGENT) is None


@given(st.lists(st.tuples(st.sampled_from(["add", "take", "remove"]), st.sampled_from(Priority), st.integers(0, 9))))
def test_victims_are_chosen_as_the_rule_says_whatever_came_before(steps):
    holders, there, taken, numbers = Holders(), [], {}, count()
    for step, priority, number in steps:
        if step == "add":
            holder = Held(priority)
            holders.add(holder)
            there.append(holder)
        elif step == "take" and (victim := holders.next_victim(Priority.URGENT)) is not None:
            taken[victim] = next(numbers)
            holders.take_from(victim, taken[victim])
        elif step == "remove" and there:
            gone = there.pop(number % len(there))
            assert holders.remove(gone) == taken.pop(gone, None)
        free = [holder for holder in there if holder not in taken and holder.priority < Priority.URGENT]
        lowest = min((holder.priority for holder in free), default=None)
        expected = [holder for holder in free if holder.priority == lowest]
        assert holders.next_victim(Priority.URGENT) is (expected[-1] if expected else None)


# ---- figures


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ([], WaitTimes(0.0, 0.0, 0.0)),
        ([3.0], WaitTimes(3.0, 3.0, 3.0)),
        ([1.0, 2.0], WaitTimes(1.0, 2.0, 2.0)),
        ([2.0, 1.0, 3.0], WaitTimes(2.0, 3.0, 3.0)),
        (range(100, 0, -1), WaitTimes(50, 95, 99)),
        (range(1000), WaitTimes(499, 949, 989)),
    ],
)
def test_percentiles_are_waits_that_were(seconds, expected):
    assert wait_times(seconds) == expected
