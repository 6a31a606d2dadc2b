"""What somebody is told who names limits wrongly in an actor: at the class, at the opening, or in the turn."""

from __future__ import annotations

import pytest
import trio

from spaceactors import Actor, ActorCrashed, Limit, RuntimeConfig, SpaceStatus, handler, open_runtime
from supervisors import CapacityRefused, RateLimit, UnknownLimit


def some_limits():
    return [Limit("llm", 5), RateLimit("llm-rpm", 60, per=60)]


async def work():
    return "done"


class Slips(Actor, kind="slips"):
    @handler
    async def hold(self, *names):
        async with self.limits.hold(*names):
            return "held"

    @handler
    async def without_async(self):
        with self.limits.hold("llm"):
            return "held"

    @handler
    async def step_with(self, limit):
        return await self.step("work", work, limit=limit)

    @handler
    async def in_the_background(self):
        self.start_soon(self.hold_turns)

    async def hold_turns(self):
        async with self.limits.hold("turns"):
            self.done = True

    @handler
    async def looks(self):
        return self.done


async def cause_of(call, *args, config=None):
    """The error that ends a turn, and how the space is afterwards."""
    async with open_runtime(Slips, limits=some_limits(), config=config) as runtime:
        with pytest.raises(ActorCrashed) as crashed:
            await runtime.space("a").ask(call, *args)
        return crashed.value.__cause__, (await runtime.space("a").info()).status


@pytest.mark.parametrize("wrong", [5, None, Limit("llm", 5), ["llm", 5]])
async def test_what_is_no_name_is_refused_at_the_class_and_in_a_step(wrong):
    with pytest.raises(TypeError, match="limit names limits of the runtime, such as limit='llm'"):
        handler(limit=wrong)
    cause, _ = await cause_of(Slips.step_with, wrong)
    assert isinstance(cause, TypeError)
    assert "such as limit='llm' or limit=('llm', 'gpu')" in str(cause)


def test_a_handler_that_names_no_limit_of_the_runtime_is_refused_at_the_opening():
    class Typo(Actor):
        @handler(limit="lllm")
        async def say(self): ...

    with pytest.raises(UnknownLimit, match=r"no limit 'lllm' \(there are: 'llm', 'llm-rpm'\)"):
        open_runtime(Typo, limits=some_limits())


@pytest.mark.parametrize("limits", [Limit("llm", 5), None, {"llm": 5}, "llm"])
def test_limits_that_are_no_list_of_limits_are_refused_at_the_opening(limits):
    with pytest.raises(TypeError, match=r"such as (\[Limit|Limit\('llm', 5\))"):
        open_runtime(Slips, limits=limits)


async def test_a_name_that_is_wrong_in_a_turn_fails_the_message_and_not_the_actor():
    cause, status = await cause_of(Slips.hold, "lllm")
    assert isinstance(cause, UnknownLimit)
    assert "'llm'" in str(cause)
    assert status is SpaceStatus.LIVE


@pytest.mark.parametrize(("names", "told"), [((), "name the limits to hold"), ((["llm"],), "one by one")])
async def test_a_hold_that_makes_no_sense_says_what_to_write(names, told):
    cause, _ = await cause_of(Slips.hold, *names)
    assert told in str(cause)


async def test_who_forgets_async_in_a_turn_is_told_to_write_it():
    cause, _ = await cause_of(Slips.without_async)
    assert isinstance(cause, TypeError)
    assert "write `async with`, not `with`" in str(cause)


@pytest.mark.parametrize("tokens", [1, 3])
async def test_C7_a_turn_cannot_hold_the_limit_turns_for_which_it_would_wait_for_ever(tokens):
    with trio.fail_after(10):
        cause, status = await cause_of(Slips.hold, "llm", "turns", config=RuntimeConfig(max_turns=tokens))
    assert isinstance(cause, CapacityRefused)
    assert "held by each turn as it runs" in str(cause)
    assert status is SpaceStatus.LIVE


async def test_background_work_may_take_its_turn_by_the_limit_turns():
    async with open_runtime(Slips, config=RuntimeConfig(max_turns=1)) as runtime:
        await runtime.space("a").ask(Slips.in_the_background)
        await trio.sleep(1)
        assert await runtime.space("a").ask(Slips.looks)
        assert runtime.limits.statistics()["turns"].held == 0


async def test_limits_and_rates_are_held_together_in_a_turn():
    llm, rate = some_limits()
    async with open_runtime(Slips, limits=[llm, rate]) as runtime:
        assert await runtime.space("a").ask(Slips.hold, "llm", "llm-rpm") == "held"
        assert rate.available == 59
