"""Pipelines as data that hypothesis draws: how they are built, and what calling their functions by hand gives."""

from __future__ import annotations

from collections import Counter

import trio
from attrs import frozen
from hypothesis import strategies as st

from spaceactors import Retry
from spaceactors.pipelines import Batch, Input, OnError, Pipeline, Producer, Sink, Stage


class Failed(Exception):
    """What stages raise; an item at which one fails by hand too."""


@frozen
class Value:
    """What a stage made of an item of the source, or of a batch of batches of them, and all that was done to it."""

    unit: int | tuple[object, ...]
    digest: int


@frozen
class StageSpec:
    """One stage: `inputs` are numbers of earlier ones, 0 is the source."""

    kind: str  # step, batch or nested
    inputs: tuple[int, ...]
    is_async: bool = True
    seconds: float = 0.0
    # It fails at values whose digest is a multiple of this (0: at none), in the first so many tries.
    fails_at: int = 0
    first_tries: int = 1
    tries: int = 1
    timeout: float | None = None
    fallback: bool = False
    skips: bool = True
    limit: str | None = None
    context: str | None = None
    concurrency: int = 1
    ordered: bool = True
    size: int = 2
    max_wait: float | None = None


@frozen
class Spec:
    """A whole pipeline; the last stage is the output."""

    stages: tuple[StageSpec, ...]
    source: str = "list"  # or generator, async, producer, async producer, sent
    sink: bool = False

    @property
    def is_ordered(self):
        return all(one.ordered or one.concurrency == 1 or one.kind == "batch" for one in self.stages)

    def weights(self):
        """Return of each stage how many items of the source one of its items is at most; the source's first."""
        found = [1]
        for one in self.stages:
            found.append(found[one.inputs[0]] * (one.size if one.kind == "batch" else 1))
        return found

    def unused(self):
        """Return the stages beside the output whose results nobody takes."""
        taken = {number for one in self.stages for number in one.inputs}
        return [number for number in range(1, len(self.stages)) if number not in taken]

    def most_inside(self, buffer):
        """Return how many items can be inside: in front of each place, in it, and behind the last."""
        weights = self.weights()
        # At the source and in the first stage, in the sink, and behind all.
        inside = 4 + buffer + (2 * buffer + 1) * weights[-1]
        for one in self.stages:
            before = weights[one.inputs[0]]
            # A batch gathers some, and holds some that it cannot send on.
            inside += before * (buffer + (one.size if one.kind == "batch" else one.concurrency))
        return inside


def unit_of(value):
    """Return of what a value was made, as `by_hand` takes it."""
    return value.unit if isinstance(value, Value) else tuple(map(unit_of, value))


def items_in(unit):
    """Return the items of the source in a unit, in order."""
    return (unit,) if isinstance(unit, int) else tuple(item for one in unit for item in items_in(one))


def digest_of(value):
    if isinstance(value, Value):
        return value.digest
    return hash(tuple(map(digest_of, value))) & 0xFFFFFF


def first(item):
    return Value(item, hash((item, 0)) & 0xFFFFFF)


def mixed(number, args, *, instead=False):
    """Return what a stage makes of its arguments; `instead`: what its fallback does."""
    return Value(unit_of(args[0]), hash((number, instead, *map(digest_of, args))) & 0xFFFFFF)


def nap(spec, args):
    return spec.seconds * (digest_of(args[0]) % 3)


def fails(number, spec, args):
    """Tell whether a stage fails at its arguments, in all its tries and with its fallback."""
    if spec.kind == "batch" or spec.fallback:
        return False
    if spec.timeout is not None and spec.is_async and nap(spec, args) > spec.timeout:
        return True
    return is_bad(spec, args) and spec.first_tries >= spec.tries


def is_bad(spec, args):
    return spec.fails_at > 0 and digest_of(args[0]) % spec.fails_at == 0


def by_hand(spec, number, unit):
    """Return what a stage gives for an item, or for a batch of units; raises `Failed` if it gives nothing."""
    if not number:
        return first(unit)
    own = spec.stages[number - 1]
    if own.kind == "batch":
        return tuple(by_hand(spec, own.inputs[0], one) for one in unit)
    args = tuple(by_hand(spec, one, unit) for one in own.inputs)
    if fails(number, own, args):
        raise Failed(number)
    late = own.timeout is not None and own.is_async and nap(own, args) > own.timeout
    instead = own.fallback and (late or (is_bad(own, args) and own.first_tries >= own.tries))
    return mixed(number, args, instead=instead)


class Built:
    """A pipeline made of a spec, and what its functions did."""

    def __init__(self, spec):
        self.spec = spec
        self.tries = Counter()
        self.sunk = []
        # What the producer gives; set by who opens it.
        self.given = iter(())
        source = Producer(lambda: self.given, name="source") if "producer" in spec.source else Input(int)
        self.stages = [Stage(first, source, name="first")]
        for number, own in enumerate(spec.stages, start=1):
            self.stages.append(self.stage(number, own))
        output = self.stages[-1]
        if spec.sink:
            output = Sink(self.sunk.append, output, name="sink")
        self.pipeline = Pipeline("random", source, output, beside=[self.stages[one] for one in spec.unused()])

    def stage(self, number, own):
        inputs = [self.stages[one] for one in own.inputs]
        if own.kind == "batch":
            return Batch(inputs[0], own.size, own.max_wait, name=f"s{number}")
        options = {
            "name": f"s{number}",
            "context": own.context,
            "concurrency": own.concurrency,
            "ordered": own.ordered,
            "on_error": OnError.SKIP if own.skips else OnError.RAISE,
            "fallback": (lambda *args: mixed(number, args, instead=True)) if own.fallback else None,
        }
        inner = {
            "retry": Retry(own.tries, on=Failed) if own.tries > 1 else None,
            "timeout": own.timeout,
            "limit": own.limit,
        }
        fn = self.function(number, own)
        if own.kind == "nested":
            options["context"] = None
            given = Input(object, name="given")
            fn = Pipeline(f"nested {number}", given, Stage(fn, given, name="inner", **inner))
            return Stage(fn, *inputs, **options)
        return Stage(fn, *inputs, **options, **inner)

    def function(self, number, own):
        def call(args):
            key = (number, args)
            self.tries[key] += 1
            if is_bad(own, args) and self.tries[key] <= own.first_tries:
                raise Failed(number)
            return mixed(number, args)

        async def later(*args):
            await trio.sleep(nap(own, args))
            return call(args)

        def at_once(*args):
            return call(args)

        return later if own.is_async else at_once


# ---- drawing


@st.composite
def stage_specs(draw, grains, number, *, batches, raises):
    """Draw a stage behind those whose grains are given."""
    kind = draw(st.sampled_from(["step", "step", "step", "nested", *(["batch"] if batches else [])]))
    first_input = draw(st.integers(max(0, number - 3), number - 1))
    inputs = [first_input]
    if kind == "step":
        alike = [one for one in range(number) if grains[one] == grains[first_input]]
        inputs += draw(st.lists(st.sampled_from(alike), max_size=2))
    if kind == "batch":
        max_wait = draw(st.sampled_from([None, 0.0, 0.5, 1.0]))
        return StageSpec(kind, tuple(inputs), size=draw(st.integers(1, 4)), max_wait=max_wait)
    is_async = draw(st.booleans())
    return StageSpec(
        kind,
        tuple(inputs),
        is_async=is_async,
        seconds=draw(st.sampled_from([0.0, 0.0, 0.5, 1.0])),
        fails_at=draw(st.sampled_from([0, 0, 2, 3, 5])),
        first_tries=draw(st.integers(1, 3)),
        tries=draw(st.integers(1, 3)),
        timeout=draw(st.sampled_from([None, None, 0.75, 1.25])) if is_async else None,
        fallback=draw(st.sampled_from([False, False, True])),
        skips=not raises or draw(st.integers(0, 3)) > 0,
        limit=draw(st.sampled_from([None, None, "scarce"])),
        context=draw(st.sampled_from([None, None, "inline"])),
        concurrency=draw(st.integers(1, 4)),
        ordered=draw(st.booleans()),
    )


@st.composite
def specs(draw, *, batches=True, raises=False):
    """Draw a pipeline of one to six stages."""
    grains = [0]
    stages = []
    for number in range(1, draw(st.integers(1, 6)) + 1):
        own = draw(stage_specs(grains, number, batches=batches, raises=raises))
        stages.append(own)
        grains.append(number if own.kind == "batch" else grains[own.inputs[0]])
    source = draw(st.sampled_from(["list", "generator", "async", "producer", "async producer", "sent"]))
    return Spec(tuple(stages), source, sink=draw(st.booleans()))
