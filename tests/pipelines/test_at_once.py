"""Functions at the same time, as one: which of their errors comes out."""

from __future__ import annotations

import pytest
import trio

from spaceactors.pipelines import Input, Pipeline, Stage
from spaceactors.pipelines._at_once import at_once

number = Input(int)


async def fail():
    raise LookupError("first")


def raising(error):
    async def untidy():
        try:
            await trio.sleep_forever()
        finally:
            raise error

    return untidy


async def test_the_first_error_comes_out_bare_with_a_note_of_the_others(autojump_clock):
    with pytest.raises(LookupError, match="first") as caught:
        await at_once([fail, raising(OSError("other"))])
    assert caught.value.__notes__ == ["something else failed too: OSError: other"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
async def test_what_concerns_the_whole_program_goes_before_an_earlier_error(autojump_clock, error):
    with pytest.raises(error):
        await at_once([fail, raising(error())])


async def test_the_end_of_the_program_is_not_lost_to_an_item_that_failed_before(autojump_clock):
    async def work(value: int) -> int:
        return await (raising(SystemExit(4))() if value else fail())

    with pytest.raises(SystemExit):
        await Pipeline("p", number, Stage(work, number, concurrency=2)).process([1, 0])


async def test_an_error_is_not_lost_to_a_cancellation_that_comes_while_others_end(autojump_clock):
    async def slow_to_end():
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(2)

    with pytest.raises(LookupError) as caught, trio.move_on_after(1):
        await at_once([fail, slow_to_end])
    assert caught.value.__context__ is None
