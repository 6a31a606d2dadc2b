"""Conformance: states that are changed from outside an actor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from spaceactors._errors import ConcurrentModification
from spaceactors.testing._conformance_actors import Clerk, Counter
from spaceactors.testing._conformance_looks import writing
from spaceactors.testing._conformance_scene import expect, expect_lines, refused

if TYPE_CHECKING:
    from spaceactors.testing._conformance_scene import Scene


def _plus_five(number: int) -> int:
    return number + 5


def _failing(_: Any) -> Any:
    raise KeyError("no change")


async def an_update_changes_the_state(scene: Scene) -> None:
    """`update` puts a new state in the place of the old and returns the new version; the actor goes on from it."""
    async with scene.open(Clerk) as runtime:
        ann = runtime.space("ann")
        await ann.ask(Clerk.add, "a")
        expect(await scene.store.update(ann, writing("b")), 2, "the version")
        await expect_lines(ann, "a", "b")
        expect(await ann.ask(Clerk.add, "c"), 3, "the actor's answer")
        await expect_lines(ann, "a", "b", "c")


async def an_update_of_an_unknown_space_begins_it(scene: Scene) -> None:
    """The first update of a space gets the class's first state."""
    async with scene.open(Clerk) as runtime:
        ann = runtime.space("ann")
        expect(await scene.store.update(ann, writing("a")), 1, "the version")
        expect([one.id for one in await runtime.spaces(actor=Clerk)], ["ann"], "the known spaces")
        expect(await ann.ask(Clerk.add, "b"), 2, "the actor's answer")


async def a_change_that_fails_changes_nothing(scene: Scene) -> None:
    """What the change raises comes out of `update`, and state and version stay."""
    async with scene.open(Clerk) as runtime:
        ann = runtime.space("ann")
        await ann.ask(Clerk.add, "a")
        await refused(KeyError, scene.store.update, ann, _failing)
        await expect_lines(ann, "a")
        expect(await scene.store.version(ann), 1, "the version")


async def updates_at_once_add_up(scene: Scene) -> None:
    """Of many updates of one space at the same time, beside its turns, none is lost."""
    async with scene.open(Counter) as runtime:
        ann = runtime.space("ann")

        async def update() -> None:
            await scene.store.update(ann, lambda number: number + 1)

        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(update)
                nursery.start_soon(ann.ask, Counter.add, 100)
        expect(await ann.state(), 2020, "the sum")


async def a_turn_runs_again_on_what_an_update_left(scene: Scene) -> None:
    """A turn that read an older version is rolled back and runs again; that counts as no attempt."""
    scene.world.close_gate()
    async with scene.open(Clerk) as runtime:
        ann = runtime.space("ann")
        await ann.send(Clerk.read_behind_gate, "b")
        await scene.until_seen("read by b 1")
        await scene.store.update(ann, writing("a"))
        scene.world.open_gate()
        await scene.until_lines(ann, "a", "b")
        expect(scene.world.seen, ["read by b 1", "read by b 1"], "the tries")


async def versions_count_states(scene: Scene) -> None:
    """A space that is unknown has version 0, and each turn that assigns a state adds one."""
    async with scene.open(Clerk) as runtime:
        ann = runtime.space("ann")
        expect(await scene.store.version(ann), 0, "the version of an unknown space")
        for number in (1, 2):
            await ann.ask(Clerk.add, "a")
            expect(await scene.store.version(ann), number, f"the version after {number} turns")


async def an_update_of_the_right_version_is_made(scene: Scene) -> None:
    """`update_if` changes a state that has the version its caller has seen."""
    async with scene.open(Clerk) as runtime:
        ann = runtime.space("ann")
        expect(await scene.store.update_if(ann, 0, writing("a")), 1, "the version of a new space")
        await ann.ask(Clerk.add, "b")
        expect(await scene.store.update_if(ann, 2, writing("c")), 3, "the version")
        await expect_lines(ann, "a", "b", "c")


async def an_update_of_another_version_is_refused(scene: Scene) -> None:
    """`update_if` of a version that is over, or not yet, raises `ConcurrentModification` and changes nothing."""
    async with scene.open(Clerk) as runtime:
        ann = runtime.space("ann")
        await ann.ask(Clerk.add, "a")
        for version in (0, 2):
            await refused(ConcurrentModification, scene.store.update_if, ann, version, writing("b"))
        await refused(ConcurrentModification, scene.store.update_if, runtime.space("new"), 1, writing("b"))
        await expect_lines(ann, "a")
        expect(await scene.store.version(ann), 1, "the version")


async def of_two_updates_of_one_version_one_is_made(scene: Scene) -> None:
    """Two callers who saw the same version cannot both change it."""
    refusals: list[str] = []
    async with scene.open(Clerk) as runtime:
        ann = runtime.space("ann")
        await ann.ask(Clerk.add, "a")

        async def change(text: str) -> None:
            try:
                await scene.store.update_if(ann, 1, writing(text))
            except ConcurrentModification:
                refusals.append(text)

        async with trio.open_nursery() as nursery:
            for text in "bcd":
                nursery.start_soon(change, text)
        expect(len(refusals), 2, "the refused updates")
        [made] = {*"bcd"} - {*refusals}
        await expect_lines(ann, "a", made)


async def several_spaces_are_updated_together(scene: Scene) -> None:
    """`update_many` changes all its spaces, of several kinds, and returns their versions."""
    async with scene.open(Clerk, Counter) as runtime:
        ann, sum_ = runtime.space("ann", Clerk), runtime.space("sum", Counter)
        await ann.ask(Clerk.add, "a")
        changes: dict[Any, Any] = {ann: writing("b"), sum_: _plus_five}
        expect(dict(await scene.store.update_many(changes)), {ann: 2, sum_: 1}, "the versions")
        await expect_lines(ann, "a", "b")
        expect(await sum_.ask(Counter.add, 1), 6, "the answer of the other")


async def of_several_updates_none_is_made_if_one_fails(scene: Scene) -> None:
    """`update_many` makes all its changes or none."""
    async with scene.open(Clerk, Counter) as runtime:
        ann, sum_, ben = runtime.space("ann", Clerk), runtime.space("sum", Counter), runtime.space("ben", Clerk)
        await ann.ask(Clerk.add, "a")
        changes: dict[Any, Any] = {ann: writing("b"), sum_: _failing, ben: writing("b")}
        await refused(KeyError, scene.store.update_many, changes)
        await expect_lines(ann, "a")
        await expect_lines(ben)
        expect(await scene.store.version(ann), 1, "the version")
        expect(await ann.ask(Clerk.look), ("a",), "what the actor sees")
