"""What is promised in figures is measured by `make bench`; nothing is timed here."""

from __future__ import annotations

import pytest

from benchmarks import pipelines
from spaceactors.pipelines import ContextKind


def test_D8_each_kind_of_context_is_measured():
    assert {f"create-{kind.value}" for kind in ContextKind} == pipelines.CREATING.keys()


def test_D8_what_is_measured_is_the_creation_of_a_context_and_its_first_call():
    result = pipelines.CREATING["create-inline"]()
    assert result.unit == " µs"
    assert not result.at_least
    assert result.value > 0


@pytest.mark.parametrize("context", [None, "inline"])
async def test_D8_what_is_compared_is_one_chain_colocated_and_independent(context):
    chain = pipelines.chain(10, context, *pipelines.ASYNC)
    assert len(chain.plan.groups()) == (1 if context is None else 4)
    assert (await chain.process()).delivered == 10
