"""Whose turn it is, against a model that compares everybody with everybody."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from supervisors._lock_names import Claim, conflicts
from supervisors._lock_table import STALE_ENDS, Ends, LockTable, Request

NAMES = ["dir:.", "dir:a", "dir:a/b", "file:a/b", "file:a/b/c", "file:a/d", "file:e", "dir:/", "file:/a", "x", "y"]

CLAIMS = st.dictionaries(st.sampled_from(NAMES), st.booleans(), min_size=1, max_size=3).map(
    lambda wanted: tuple(Claim(name, shared) for name, shared in sorted(wanted.items()))
)
STEPS = st.lists(st.tuples(st.sampled_from(["ask", "ask", "leave", "quit"]), st.integers(0, 9), CLAIMS), max_size=60)


def exclude(one, other):
    return any(conflicts(first, second) for first in one.claims for second in other.claims)


class Pairwise:
    """What the table does, said plainly: the line is one list, and everybody looks at everybody."""

    def __init__(self):
        self.held = []
        self.line = []

    def blockers(self, request):
        before = self.line[: self.line.index(request)] if request in self.line else self.line
        return [other for other in (*self.held, *before) if exclude(request, other)]

    def waits_for(self, request, owner):
        """Whether it waits, over however many others, for something of an owner."""
        known, todo = {request}, [request]
        while todo:
            for other in self.blockers(todo.pop()):
                if other.owner == owner:
                    return True
                held = other in self.held
                waits = [one for one in self.line if one.owner == other.owner] if held else [other]
                todo += [one for one in waits if one not in known]
                known.update(waits)
        return False

    def ask(self, request):
        self.line.append(request)
        if self.blockers(request) and any(other.owner == request.owner for other in self.held):
            before = [other for other in self.line if other is not request and exclude(other, request)]
            first = next((other for other in before if self.waits_for(other, request.owner)), None)
            if first is not None:
                self.line.remove(request)
                self.line.insert(self.line.index(first), request)
        if not self.blockers(request):
            self.line.remove(request)
            self.held.append(request)
            return "granted"
        if any(other.owner == request.owner for other in self.held) and self.waits_for(request, request.owner):
            self.line.remove(request)
            return "ring"
        return "waits"

    def leave(self, request):
        (self.held if request in self.held else self.line).remove(request)
        granted = [other for other in self.line if not self.blockers(other)]
        self.line = [other for other in self.line if other not in granted]
        self.held += granted
        return granted


def ask(table, request):
    if table.ask(request):
        return "granted"
    return "ring" if table.enter(request) else "waits"


@settings(max_examples=400)
@given(STEPS, st.booleans())
def test_C7_the_table_does_what_comparing_all_with_all_would_do(steps, nested):
    table, model, count = LockTable(), Pairwise(), 0
    for step, which, claims in steps:
        if step == "ask":
            count += 1
            owner = which if nested else count
            if any(other.owner == owner for other in model.line):
                continue  # it waits already, and can do nothing else
            request = Request(claims, owner)
            assert ask(table, request) == model.ask(request)
        else:
            there = model.held if step == "leave" else model.line
            if there:
                request = there[which % len(there)]
                assert table.leave(request) == model.leave(request)
                assert table.leave(request) == []
        assert list(table.held) == model.held
        assert table.in_line() == model.line
        for request in model.line:
            assert dict.fromkeys(table.blockers(request)).keys() == dict.fromkeys(model.blockers(request)).keys()
            assert not model.waits_for(request, request.owner)
        assert not any(exclude(one, other) for one in model.held for other in model.held if one is not other)
    # Everybody gets what it waits for when those before it go, and nothing is left of any.
    for _ in range(count):
        if table.held:
            table.leave(next(iter(table.held)))
    assert [*table.held, *table.waiting, *table._places, *table._holding, *table._waits] == []


def test_an_acquire_looks_at_few_however_many_locks_there_are():
    """Counted in places looked at, not in time."""
    table = LockTable()
    for number in range(2000):
        assert table.ask(Request((Claim(f"file:src/d{number % 10}/f{number}"),), number))
    looked = 0

    class Counting(dict):
        def get(self, key, default=None):
            nonlocal looked
            looked += 1
            return super().get(key, default)

    table._places = Counting(table._places)
    assert table.ask(Request((Claim("file:src/d1/new"),), "new"))
    assert not table.ask(Request((Claim("dir:src/d1"),), "other"))
    assert looked <= 20


def test_who_leaves_a_long_line_disturbs_nobody():
    """Counted in comparisons: a release looks at the next in line, not at all."""
    table, line = LockTable(), [Request((Claim("file:src/hot"),), number) for number in range(3000)]
    assert [ask(table, request) for request in line[:2]] == ["granted", "waits"]
    for request in line[2:]:
        ask(table, request)
    looked = 0
    free = table._free

    def counting(request):
        nonlocal looked
        looked += 1
        return free(request)

    table._free = counting
    for request, following in pairwise(line):
        assert table.leave(request) == [following]
    assert looked == len(line) - 1


def test_a_writer_who_waits_is_not_overtaken_by_readers():
    table = LockTable()
    reader, writer, late = (Request((Claim("x", shared),), n) for n, shared in enumerate((True, False, True)))
    assert [ask(table, request) for request in (reader, writer, late)] == ["granted", "waits", "waits"]
    assert table.leave(reader) == [writer]
    assert table.leave(writer) == [late]


def test_readers_behind_a_writer_begin_together():
    table = LockTable()
    writer, *readers = (Request((Claim("x", shared),), n) for n, shared in enumerate((False, True, True, True)))
    assert [ask(table, request) for request in (writer, *readers)] == ["granted", "waits", "waits", "waits"]
    assert table.leave(writer) == readers


def test_one_who_waits_for_several_reserves_those_that_are_free():
    table = LockTable()
    a, both, b = Request((Claim("a"),), 0), Request((Claim("a"), Claim("b")), 1), Request((Claim("b"),), 2)
    assert [ask(table, request) for request in (a, both, b)] == ["granted", "waits", "waits"]
    assert table.leave(a) == [both]
    assert table.leave(both) == [b]


def test_who_holds_what_others_wait_for_goes_before_them():
    table = LockTable()
    a, both, more = Request((Claim("a"),), "T"), Request((Claim("a"), Claim("b")), "U"), Request((Claim("b"),), "T")
    assert [ask(table, request) for request in (a, both, more)] == ["granted", "waits", "granted"]


def test_but_not_before_those_who_do_not_wait_for_it():
    table = LockTable()
    b, a = Request((Claim("b"),), "B"), Request((Claim("a"),), "T")
    first, both, more = Request((Claim("b"),), "F"), Request((Claim("a"), Claim("b")), "U"), Request((Claim("b"),), "T")
    assert [ask(table, one) for one in (b, a, first, both, more)] == ["granted", "granted", "waits", "waits", "waits"]
    assert table.leave(b) == [first]
    assert table.leave(first) == [more]
    assert table.leave(more) == []
    assert table.leave(a) == [both]


def test_a_reader_who_reads_again_does_not_wait_for_a_writer_who_waits_for_it():
    table = LockTable()
    reader, writer, again = (Request((Claim("x", s),), who) for who, s in (("T", True), ("W", False), ("T", True)))
    assert [ask(table, request) for request in (reader, writer, again)] == ["granted", "waits", "granted"]


def test_a_ring_is_told_from_its_last_to_its_first():
    table = LockTable()
    held = [Request((Claim(name),), name) for name in "abc"]
    wants = [Request((Claim(name),), owner) for owner, name in ("ab", "bc", "ca")]
    assert [ask(table, request) for request in (*held, *wants[:2])] == ["granted"] * 3 + ["waits"] * 2
    assert not table.ask(wants[2])
    assert [request.owner for request in table.enter(wants[2])] == ["c", "a", "b", "c"]
    assert list(table.waiting) == wants[:2]


def test_ends_come_in_order_and_what_was_extended_or_given_back_does_not():
    table, ends = LockTable(), Ends()
    leases = [Request((Claim(str(n)),), n) for n in range(4)]
    for lease, at in zip(leases, (3.0, 1.0, 2.0, float("inf")), strict=True):
        table.ask(lease)
        lease.over_at = at
        ends.note(lease, table.held)
    leases[1].over_at = 9.0
    ends.note(leases[1], table.held)
    table.leave(leases[2])
    assert (ends.next(), ends.take()) == (3.0, leases[0])
    assert (ends.next(), ends.take()) == (9.0, leases[1])
    assert ends.next() == float("inf")


def test_ends_forget_leases_that_were_given_back():
    table, ends = LockTable(), Ends()
    for number in range(10 * STALE_ENDS):
        lease = Request((Claim("x"),), number)
        assert table.ask(lease)
        lease.over_at = 1e9 + number
        ends.note(lease, table.held)
        table.leave(lease)
    assert len(ends._heap) <= 2 * STALE_ENDS
