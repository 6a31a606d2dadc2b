"""Conformance: the history of a space is append-only, has positions, and is read by pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spaceactors.testing._conformance_actors import Brief, Clerk
from spaceactors.testing._conformance_scene import expect, expect_between, expect_that

if TYPE_CHECKING:
    from spaceactors.testing._conformance_scene import Scene


async def pages_of_a_history_follow_each_other(scene: Scene) -> None:
    """Pages show every entry once, oldest first, with positions from 1."""
    async with scene.open(Clerk) as runtime:
        ann = runtime.space("ann")
        for number in range(0, 25, 5):
            await ann.ask(Clerk.log, *range(number, number + 5))
        pages: list[list[tuple[int, int]]] = [[(0, 0)]]
        for _ in range(4):
            read = await ann.history.read(after=pages[-1][-1][0], limit=10)
            pages.append([(entry.position, entry.value) for entry in read] or pages[-1])
        expect([len(page) for page in pages[1:4]], [10, 10, 5], "the sizes of the pages")
        expect(pages[4], pages[3], "the last page once more, for there is none behind it")
        found = [entry for page in pages[1:4] for entry in page]
        expect(found, [(number + 1, number) for number in range(25)], "positions and values")
        expect(len(ann.history), 25, "the length")


async def a_page_is_a_hundred_entries_unless_told(scene: Scene) -> None:
    """`read()` without a limit returns a hundred entries."""
    async with scene.open(Clerk) as runtime:
        ann = runtime.space("ann")
        await ann.ask(Clerk.log, *range(101))
        expect(len(await ann.history.read()), 100, "the entries of a page")


async def the_last_entries_come_oldest_first(scene: Scene) -> None:
    """`recent(n)` returns the last n entries, fewer if there are fewer, oldest first."""
    async with scene.open(Clerk) as runtime:
        ann = runtime.space("ann")
        await ann.ask(Clerk.log, "a", "b", "c", "d")
        expect(await ann.history.recent(3), ["b", "c", "d"], "the last three")
        expect(await ann.history.recent(0), [], "the last none")
        expect(await ann.history.recent(99), ["a", "b", "c", "d"], "the last 99")


async def entries_have_the_dates_of_their_turns(scene: Scene) -> None:
    """An entry tells when it was appended."""
    async with scene.open(Clerk) as runtime:
        ann = runtime.space("ann")
        began = scene.now()
        await ann.ask(Clerk.log, "a")
        await scene.pass_time(3600)
        await ann.ask(Clerk.log, "b")
        first, second = await ann.history.read()
        expect_that(began <= first.at <= scene.now(), f"the first date is that of its turn, not {first.at}")
        expect_between(3600, (second.at - first.at).total_seconds(), 3700, "seconds between the entries")


async def a_turn_reads_what_it_has_appended(scene: Scene) -> None:
    """Inside a turn the history has the turn's own entries, at the positions that they will have."""
    async with scene.open(Clerk) as runtime:
        ann = runtime.space("ann")
        await ann.ask(Clerk.log, "a", "b")
        length, last, positions = await ann.ask(Clerk.log, "c")
        expect((length, last, positions), (3, ["b", "c"], [1, 2, 3]), "length, last two and positions in the turn")
        expect([entry.position for entry in await ann.history.read()], [1, 2, 3], "the positions afterwards")


async def only_the_newest_entries_are_kept_where_it_was_asked_for(scene: Scene) -> None:
    """With `max_history_entries` the oldest entries go; positions go on and are never used again."""
    async with scene.open(Brief) as runtime:
        ann = runtime.space("ann")
        for number in range(1, 6):
            await ann.ask(Brief.log, number)
        found = [(entry.position, entry.value) for entry in await ann.history.read()]
        expect(found, [(3, 3), (4, 4), (5, 5)], "positions and values")
        expect(len(ann.history), 3, "the length")
        await ann.ask(Brief.log, 6, 7, 8, 9)
        found = [(entry.position, entry.value) for entry in await ann.history.read(after=1)]
        expect(found, [(7, 7), (8, 8), (9, 9)], "positions and values after four at once")


async def histories_do_not_mix(scene: Scene) -> None:
    """Each space has its own entries and its own positions."""
    async with scene.open(Clerk, Brief) as runtime:
        spaces = [runtime.space("ann", Clerk), runtime.space("ann2", Clerk), runtime.space("ann", Brief)]
        for number, space in enumerate(spaces):
            await space.ask(Clerk.log, f"of {number}")
        for number, space in enumerate(spaces):
            found = [(entry.position, entry.value) for entry in await space.history.read()]
            expect(found, [(1, f"of {number}")], f"the history of {space}")
