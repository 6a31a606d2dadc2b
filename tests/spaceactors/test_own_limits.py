"""The runtime's own limits, `spaces` and `turns`, beside those of the user."""

from __future__ import annotations

import pytest
import trio

from spaceactors import (
    Actor,
    CapacityError,
    Limit,
    Limits,
    RuntimeConfig,
    SpaceOptions,
    UnknownLimit,
    handler,
    open_runtime,
)
from supervisors import CapacityRefused, RateLimit
from tests.spaceactors.scenes import opened, outcome_of, settled


class Clerk(Actor[int], kind="clerk"):
    """Does what it is given to do."""

    options = SpaceOptions(backoff=None)

    @handler
    async def do(self, act):
        return await act(self)


def works(seconds):
    async def work(clerk):
        await trio.sleep(seconds)
        return clerk.id

    return work


def open_few(spaces=2, turns=None, **options):
    return opened(Clerk, config=RuntimeConfig(max_live_spaces=spaces, max_turns=turns), **options)


def spaces_of(runtime):
    figures = runtime.limits.statistics()["spaces"]
    return figures.tokens, figures.held, figures.waiting


async def ask_all(runtime, nursery, names, seconds):
    for name in names:
        nursery.start_soon(outcome_of, runtime.space(name).ask, Clerk.do, works(seconds))
        await settled()


async def test_live_spaces_are_figures_of_a_limit():
    async with open_few() as runtime, trio.open_nursery() as nursery:
        assert spaces_of(runtime) == (2, 0, 0)
        await ask_all(runtime, nursery, "abcd", 10)
        await trio.sleep(3)
        assert spaces_of(runtime) == (2, 2, 2)
        assert runtime.limits.statistics()["spaces"].oldest_wait == 3
        line = runtime.limits.waiting("spaces")
        assert [(one.limit, one.fair_key, one.position, one.since) for one in line] == [
            ("spaces", "c", 1, 0.0),
            ("spaces", "d", 2, 0.0),
        ]
        await trio.sleep(8)
        assert spaces_of(runtime) == (2, 2, 0)
        assert runtime.limits.waiting("spaces") == ()


async def test_a_space_that_a_turn_has_sent_to_waits_as_one():
    async def send(clerk):
        await clerk.space("late").send(Clerk.do, works(1))

    async with open_few(spaces=2) as runtime, trio.open_nursery() as nursery:
        await ask_all(runtime, nursery, "a", 10)
        await runtime.space("b").ask(Clerk.do, send)
        await ask_all(runtime, nursery, "c", 10)
        await settled()
        assert {one.fair_key for one in runtime.limits.waiting("spaces")} <= {"late", "c"}
        assert spaces_of(runtime)[2] == len(runtime.limits.waiting("spaces")) > 0


async def test_C5_with_more_places_those_who_wait_get_in():
    async with open_few() as runtime, trio.open_nursery() as nursery:
        await ask_all(runtime, nursery, "abcde", 10)
        runtime.limits.resize("spaces", 4)
        assert spaces_of(runtime) == (4, 4, 1)
        await settled()
        assert {one.id for one in (await runtime.snapshot()).spaces} == {"a", "b", "c", "d"}


async def test_C5_with_fewer_places_idle_spaces_leave_and_running_ones_stay():
    async with open_few(spaces=10) as runtime, trio.open_nursery() as nursery:
        for name in "abc":
            await runtime.space(name).ask(Clerk.do, works(0))
        await ask_all(runtime, nursery, "xyz", 10)
        assert spaces_of(runtime) == (10, 6, 0)
        runtime.limits.resize("spaces", 4)
        await settled()
        # Those go that were idle longest.
        assert {one.id for one in (await runtime.snapshot()).spaces} == {"c", "x", "y", "z"}
        runtime.limits.resize("spaces", 1)
        await settled()
        assert spaces_of(runtime) == (1, 3, 0)
        await ask_all(runtime, nursery, "w", 1)
        assert spaces_of(runtime) == (1, 3, 1)
        await trio.sleep(12)
        assert spaces_of(runtime) == (1, 1, 0)
        assert [one.id for one in (await runtime.snapshot()).spaces] == ["w"]


async def test_a_place_that_is_resized_away_and_back_is_given_to_who_waits():
    async with open_few(spaces=1) as runtime:
        runtime.limits.resize("spaces", 0)
        answers = []

        async def ask():
            answers.append(await runtime.space("a").ask(Clerk.do, works(0)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await trio.sleep(5)
            assert answers == []
            assert spaces_of(runtime) == (0, 0, 1)
            runtime.limits.resize("spaces", 1)
        assert answers == ["a"]


@pytest.mark.parametrize("name", ["spaces", "turns"])
@pytest.mark.parametrize(("size", "error"), [(-1, ValueError), (2.5, TypeError), ("3", TypeError), (True, TypeError)])
async def test_a_wrong_size_is_refused_and_changes_nothing(name, size, error):
    async with open_few(turns=3) as runtime:
        before = runtime.limits.statistics()[name]
        with pytest.raises(error, match=f"the tokens of limit '{name}' must be "):
            runtime.limits.resize(name, size)
        assert runtime.limits.statistics()[name] == before


async def test_a_place_can_be_held_by_nobody_but_spaces():
    async def hold(clerk):
        async with clerk.limits.hold("spaces"):
            pass

    async with open_few() as runtime:
        with pytest.raises(CapacityRefused, match="'spaces' is held by live spaces alone"):
            async with runtime.limits.hold("spaces"):
                pass
        with (
            pytest.raises(CapacityRefused, match="'spaces' is held by live spaces alone"),
            runtime.limits.hold_nowait("spaces"),
        ):
            pass
        answer = await outcome_of(runtime.space("a").ask, Clerk.do, hold)
        assert "'spaces' is held by live spaces alone" in str(answer.__cause__)
        assert isinstance(answer.__cause__, CapacityError)
        assert spaces_of(runtime) == (2, 1, 0)


async def test_a_turn_cannot_hold_a_second_token_of_turns():
    async def hold(clerk):
        async with clerk.limits.hold("turns"):
            pass

    async with open_few(turns=1) as runtime:
        with trio.fail_after(100):
            answer = await outcome_of(runtime.space("a").ask, Clerk.do, hold)
        assert isinstance(answer.__cause__, CapacityRefused)
        assert runtime.limits.statistics()["turns"].held == 0


async def test_work_outside_of_turns_can_hold_a_token_of_turns():
    async with open_few(turns=1) as runtime, trio.open_nursery() as nursery:
        async with runtime.limits.hold("turns"):
            await ask_all(runtime, nursery, "a", 1)
            assert runtime.limits.statistics()["turns"].waiting == 1
        await trio.sleep(1.5)
        assert runtime.limits.statistics()["turns"].held == 0


async def test_without_a_bound_there_is_no_limit_on_turns():
    async with open_few() as runtime:
        assert set(runtime.limits.statistics()) == {"spaces"}
        with pytest.raises(UnknownLimit):
            runtime.limits.resize("turns", 5)


@pytest.mark.parametrize(("name", "key"), [("spaces", "max_live_spaces"), ("turns", "max_turns")])
@pytest.mark.parametrize("kind", ["list", "rate", "limits"])
def test_the_names_of_the_runtimes_own_limits_are_taken(name, key, kind):
    limits = {"list": [Limit(name, 5)], "rate": [RateLimit(name, 5, per=1)], "limits": Limits([Limit(name, 5)])}[kind]
    text = f"the limit '{name}' is the runtime's own: give yours another name, or set RuntimeConfig\\({key}=...\\)"
    with pytest.raises(ValueError, match=text):
        open_runtime(Clerk, limits=limits)


async def test_the_users_limits_are_the_runtimes():
    limits = Limits([Limit("llm", 1)])
    async with open_few(turns=1, limits=limits) as runtime:
        assert set(runtime.limits.statistics()) == {"llm", "spaces", "turns"}
        assert set(limits.statistics()) == {"llm"}
        limits.resize("llm", 3)
        assert runtime.limits.statistics()["llm"].tokens == 3
        async with limits.hold("llm"):
            assert runtime.limits.statistics()["llm"].held == 1
        runtime.limits.resize("llm", 5)
        assert limits.statistics()["llm"].tokens == 5


async def test_two_runtimes_share_the_users_limits_and_have_their_own():
    async def hold(clerk):
        async with clerk.limits.hold("llm"):
            await trio.sleep(1)

    limits = Limits([Limit("llm", 1)])
    async with open_few(turns=1, limits=limits) as one, open_few(turns=2, limits=limits) as other:
        assert [runtime.limits.statistics()["turns"].tokens for runtime in (one, other)] == [1, 2]
        async with trio.open_nursery() as nursery:
            for runtime in (one, other):
                nursery.start_soon(runtime.space("a").ask, Clerk.do, hold)
        assert trio.current_time() == 2
    async with open_few(turns=1, limits=limits) as runtime:
        await runtime.space("a").ask(Clerk.do, hold)
        assert runtime.limits.statistics()["llm"].held == 0
    assert limits.statistics()["llm"].held == 0
