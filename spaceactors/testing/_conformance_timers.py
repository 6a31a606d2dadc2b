"""Conformance: timers belong to their space and are due when they say."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from spaceactors._errors import ActorCrashed
from spaceactors.testing._conformance_actors import Clerk, Sleepy
from spaceactors.testing._conformance_scene import expect, expect_lines, refused

if TYPE_CHECKING:
    from spaceactors.testing._conformance_scene import Scene

_DAY = 86_400.0


async def a_timer_fires_once_at_its_time(scene: Scene) -> None:
    """`after=` fires when so many seconds are over, not before, and not again."""
    async with scene.open(Clerk) as runtime:
        ann = runtime.space("ann")
        await ann.ask(Clerk.remind, "k", "rang", 3600)
        await scene.pass_time(3500)
        await expect_lines(ann)
        await scene.pass_time(101)
        await scene.until_lines(ann, "rang")
        await scene.pass_time(_DAY)
        await expect_lines(ann, "rang")


async def a_timer_fires_at_its_date(scene: Scene) -> None:
    """`at=` fires when that date has come, at once if it is over."""
    async with scene.open(Clerk) as runtime:
        ann = runtime.space("ann")
        await ann.ask(Clerk.remind_at, "k", "rang", scene.now() + timedelta(days=3))
        await ann.ask(Clerk.remind_at, "late", "was over", scene.now() - timedelta(days=3))
        await scene.until_lines(ann, "was over")
        await scene.pass_time(3 * _DAY - 100)
        await expect_lines(ann, "was over")
        await scene.pass_time(101)
        await scene.until_lines(ann, "was over", "rang")


async def a_repeated_timer_keeps_its_grid(scene: Scene) -> None:
    """`every=` fires once for each period; of several that have passed it fires for one, on its grid."""
    async with scene.open(Clerk) as runtime:
        ann = runtime.space("ann")
        await ann.ask(Clerk.remind_every, "k", "rang", 3600)
        await scene.pass_time(3610)
        await scene.until_lines(ann, "rang")
        await scene.pass_time(2 * 3600 + 1800)  # 3 h 30 min
        await scene.until_lines(ann, "rang", "rang")
        await scene.pass_time(1700)
        await expect_lines(ann, "rang", "rang")
        await scene.pass_time(200)  # a little over 4 h
        await scene.until_lines(ann, "rang", "rang", "rang")


async def a_timer_of_the_same_key_replaces_the_earlier(scene: Scene) -> None:
    """Of two timers of one key only the later fires; other keys and other spaces are left alone."""
    async with scene.open(Clerk) as runtime:
        ann, ben = runtime.space("ann"), runtime.space("ben")
        await ben.ask(Clerk.remind, "k", "of ben", 100)
        await ann.ask(Clerk.remind, "k", "earlier", 100)
        await ann.ask(Clerk.remind, "other", "other", 200)
        await ann.ask(Clerk.remind, "k", "later", 300)
        await scene.pass_time(150)
        await scene.until_lines(ben, "of ben")
        await expect_lines(ann)
        await scene.pass_time(100)
        await scene.until_lines(ann, "other")
        await scene.pass_time(100)
        await scene.until_lines(ann, "other", "later")


async def a_cancelled_timer_never_fires(scene: Scene) -> None:
    """`cancel_schedule` tells whether there is such a timer, and it fires no more."""
    async with scene.open(Clerk) as runtime:
        ann = runtime.space("ann")
        await ann.ask(Clerk.remind_every, "k", "rang", 3600)
        found = [await ann.ask(Clerk.forget, key) for key in ("other", "k", "k")]
        expect(found, [False, True, False], "whether there was a timer: of another key, of this, of this again")
        await scene.pass_time(_DAY)
        await expect_lines(ann)


async def a_timer_that_a_crashed_turn_cancelled_fires(scene: Scene) -> None:
    """What a turn does to timers is rolled back with it."""
    async with scene.open(Clerk) as runtime:
        ann = runtime.space("ann")
        await ann.ask(Clerk.remind, "k", "rang", 3600)
        await refused(ActorCrashed, ann.ask, Clerk.forget_and_crash, "k")
        await scene.pass_time(3601)
        await scene.until_lines(ann, "rang")


async def a_timer_wakes_a_space_that_left_memory(scene: Scene) -> None:
    """Timers go on while their space is passive."""
    async with scene.open(Sleepy) as runtime:
        ann = runtime.space("ann")
        await ann.ask(Sleepy.remind, "k", "rang", 3600)
        await scene.pass_time(700)
        expect((await runtime.snapshot()).live, 0, "the live spaces after idle minutes")
        await scene.pass_time(3000)
        await scene.until_lines(ann, "rang")


async def timers_end_with_a_stop(scene: Scene) -> None:
    """A space that was stopped has no timers any more."""
    async with scene.open(Clerk) as runtime:
        ann = runtime.space("ann")
        await ann.ask(Clerk.remind, "k", "rang", 3600)
        await ann.stop()
        await ann.ask(Clerk.touch)
        await scene.pass_time(_DAY)
        await expect_lines(ann)
