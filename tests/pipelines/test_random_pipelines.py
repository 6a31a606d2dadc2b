"""D5, D6, D7, D9 and C8 under whatever happens: random pipelines on seeded schedules, against calling by hand."""

from __future__ import annotations

import gc
import threading
from functools import partial
from pathlib import Path

import pytest
import trio
from attrs import define, field, frozen
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from spaceactors.pipelines import OnError, Pipeline, Producer, Stage, StageSkipped, Stream, StreamClosed
from supervisors import ChildSpec, Limit, Limits, Restart, open_supervisor
from supervisors.testing import seed_schedule
from tests.pipelines import stream_jobs
from tests.pipelines.context_jobs import workers
from tests.pipelines.random_pipelines import Built, Failed, Spec, by_hand, fails, items_in, specs, unit_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

LONG = 1e6  # virtual seconds: a program that takes as long hangs
TIMES = st.sampled_from([0.0, 0.0, 0.5, 1.0, 1.0, 2.0, 3.0])
SEEDS = st.integers(0, 2**32)


class Outcry(Exception):
    """The body's own error."""


@frozen
class Use:
    """How a stream is used."""

    items: int
    buffer: int
    # read, process, leave, error, cancel, stop, drain, child
    end: str
    at: float
    timeout: float | None
    readers: int
    reading: float
    giving: float


USES = st.builds(
    Use,
    items=st.integers(0, 14),
    buffer=st.integers(1, 3),
    end=st.sampled_from(["read", "read", "process", "leave", "error", "cancel", "stop", "drain", "child"]),
    at=TIMES,
    timeout=st.sampled_from([None, 0.5, 2.0]),
    readers=st.integers(1, 2),
    reading=st.sampled_from([0.0, 0.0, 0.5, 1.0]),
    giving=st.sampled_from([0.0, 0.0, 0.5, 1.0]),
)


@define(eq=False)
class World(trio.abc.Instrument):
    """Uses a stream, and watches it at every step; `faults` says in words what must never be."""

    spec: Spec
    use: Use
    built: Built = field(init=False)
    stream: Stream | None = None
    results: list = field(factory=list)
    faults: list[str] = field(factory=list)
    failure: BaseException | None = None
    given: int = 0
    most: int = 0

    def __attrs_post_init__(self):
        self.built = Built(self.spec)

    def after_task_step(self, task):
        if self.stream is None:
            return
        count = self.stream._flow.count
        inside = count.taken - count.delivered - count.skipped
        self.most = max(self.most, inside)
        if inside < 0:
            self.faults.append(f"{inside} items are inside")
        for one in count.stages[1:]:
            if one.done + one.skipped > one.taken:
                self.faults.append(f"a stage was done with more than it took: {one}")

    # ---- the two ends

    def generate(self):
        for item in range(self.use.items):
            self.given += 1
            yield item

    async def generate_later(self):
        for item in range(self.use.items):
            await trio.sleep(self.use.giving)
            self.given += 1
            yield item

    def source(self):
        match self.spec.source:
            case "list":
                return list(range(self.use.items))
            case "generator":
                return self.generate()
            case "async":
                return self.generate_later()
            case "sent":
                return None
            case other:
                self.built.given = self.generate() if other == "producer" else self.generate_later()
                return None

    async def send(self, stream):
        for item in range(self.use.items):
            await trio.sleep(self.use.giving)
            try:
                await stream.send(item)
            except StreamClosed:
                return
            self.given += 1
        stream.stop_source()

    async def read(self, stream):
        async for result in stream:
            self.results.append(result)
            await trio.sleep(self.use.reading)

    # ---- what happens to it

    async def body(self, stream):
        use = self.use
        async with trio.open_nursery() as nursery:
            if self.spec.source == "sent":
                nursery.start_soon(self.send, stream)
            if use.end == "process" or (self.spec.sink and use.end in {"read", "child"}):
                await stream.wait_done()
                return
            for _ in range(use.readers):
                nursery.start_soon(self.read, stream)
            if use.end in {"read", "child"}:
                return
            await trio.sleep(use.at)
            match use.end:
                case "leave":
                    nursery.cancel_scope.cancel()
                case "error":
                    raise Outcry
                case "stop":
                    stream.stop_source()
                case "drain":
                    await stream.drain(use.timeout)

    async def open(self):
        try:
            await self.use_stream()
        except Exception as error:  # a supervisor that drains has no use for it
            self.failure = error

    async def use_stream(self):
        limits = Limits([Limit("scarce", 2)])
        async with self.built.pipeline.open(self.source(), buffer=self.use.buffer, limits=limits) as self.stream:
            await self.body(self.stream)

    async def run(self):
        match self.use.end:
            case "cancel":
                with trio.move_on_after(self.use.at):
                    await self.open()
            case "child":
                child = ChildSpec("child", self.open, restart=Restart.TEMPORARY, shutdown=self.use.timeout or LONG)
                async with open_supervisor([child]) as supervisor:
                    await trio.sleep(self.use.at)
                    await supervisor.drain()
            case _:
                await self.open()

    async def main(self):
        before = trio.lowlevel.current_statistics().tasks_living
        with trio.fail_after(LONG / 2):
            await self.run()
        assert trio.lowlevel.current_statistics().tasks_living == before

    # ---- what must be so in the end

    def check(self):
        assert self.faults == []
        self.check_failure()
        if self.stream is not None:
            self.check_values()
            self.check_report(self.stream.report)
            assert self.most <= self.spec.most_inside(self.use.buffer)

    def check_failure(self):
        errors = [self.failure] if self.failure is not None else []
        while errors:
            match errors.pop():
                case BaseExceptionGroup() as group:
                    errors.extend(group.exceptions)
                case Failed() | trio.TooSlowError() as error:
                    assert any("in stage 's" in note and "'random'" in note for note in error.__notes__)
                    assert not all(one.skips for one in self.spec.stages)
                case StreamClosed():
                    assert self.use.end == "child"
                case error:
                    assert isinstance(error, Outcry), error
                    assert self.use.end == "error"

    def check_values(self):
        """Each result is what calling the functions by hand gives, and each item is in one of them at most."""
        results = self.built.sunk if self.spec.sink else self.results
        units = [unit_of(result) for result in results]
        for unit, result in zip(units, results, strict=True):
            assert result == by_hand(self.spec, len(self.spec.stages), unit)
        items = [item for unit in units for item in items_in(unit)]
        assert len(items) == len(set(items))
        if self.spec.is_ordered and (self.use.readers == 1 or self.spec.sink):
            assert items == sorted(items)
        skipped = self.skipped_items()
        assert not skipped & set(items)
        report = self.stream.report
        if self.use.end in {"read", "process"} and self.failure is None:
            assert report.clean
            assert report.taken == self.use.items == self.given or self.spec.source == "list"
            if self.spec.sink or self.use.end == "read":
                assert skipped | set(items) == set(range(self.use.items))

    def skipped_items(self):
        """Return the items that were left out on their way to the output; each fails by hand too."""
        needed = {f"s{number}" for number in self.needed()}
        found = set()
        for one in self.stream.skipped:
            number = int(one.stage[1:])
            assert fails(number, self.spec.stages[number - 1], one.args)
            if one.stage in needed:
                found |= set(items_in(unit_of(one.args[0])))
        return found

    def needed(self):
        left, found = [len(self.spec.stages)], set()
        while left:
            number = left.pop()
            if number and number not in found:
                found.add(number)
                left.extend(self.spec.stages[number - 1].inputs)
        return found

    def check_report(self, report):
        assert report.taken == report.delivered + report.skipped + report.left
        assert report.skipped == len(self.skipped_items())
        if self.spec.source != "list" and self.failure is None:
            assert report.taken == self.given
        if self.spec.sink:
            assert report.unread == 0
            assert report.delivered <= sum(len(items_in(unit_of(one))) for one in self.built.sunk)
        else:
            assert report.delivered - report.unread == sum(len(items_in(unit_of(one))) for one in self.results)
        cut = {"error", "cancel"} | ({"drain", "child"} if self.use.timeout is not None else set())
        if self.failure is None and self.use.end not in cut:
            assert report.left == 0


def run(spec, use, seed):
    world = World(spec, use)
    with seed_schedule(seed):
        trio.run(world.main, clock=MockClock(autojump_threshold=0), instruments=[world])
    world.check()
    return world


@settings(max_examples=150)
@given(specs(), USES, SEEDS)
def test_D5_D6_D9_each_item_comes_out_once_or_is_skipped_by_rule_or_was_inside_at_a_cut(spec, use, seed):
    world = run(spec, use, seed)
    assert world.failure is None or use.end == "error" or isinstance(world.failure, StreamClosed)


@settings(max_examples=80)
@given(specs(raises=True), USES, SEEDS)
def test_D7_C8_the_same_where_stages_may_end_the_stream(spec, use, seed):
    run(spec, use, seed)


async def run_each(built, spec, items):
    limits = Limits([Limit("scarce", 2)])
    before = trio.lowlevel.current_statistics().tasks_living
    for item in range(items):
        unit = item
        for number in reversed(chain_of(spec)):
            unit = (unit,) if spec.stages[number - 1].kind == "batch" else unit
        try:
            wanted = by_hand(spec, len(spec.stages), unit)
        except Failed:
            wanted = None
        try:
            found = (await built.pipeline.run(item, limits=limits)).value
        except StageSkipped:
            found = None
        assert found == wanted
    assert trio.lowlevel.current_statistics().tasks_living == before


def chain_of(spec):
    """Return the output, its first input, and so on."""
    number, found = len(spec.stages), []
    while number:
        found.append(number)
        number = spec.stages[number - 1].inputs[0]
    return found


@settings(max_examples=60)
@given(specs(), st.integers(1, 6), SEEDS)
def test_D6_one_request_for_each_item_gives_the_same_values(spec, items, seed):
    spec = Spec(spec.stages, "list")
    with seed_schedule(seed):
        trio.run(partial(run_each, Built(spec), spec, items), clock=MockClock(autojump_threshold=0))


# ---- in real threads and processes, over real files


@frozen
class RealStage:
    context: str | None
    fn: str
    concurrency: int
    ordered: bool


REAL = st.lists(
    st.builds(
        RealStage,
        context=st.sampled_from([None, None, "thread", "thread", "process", "inline"]),
        fn=st.sampled_from(["increment", "double", "odd_only", "nap"]),
        concurrency=st.integers(1, 3),
        ordered=st.booleans(),
    ),
    min_size=1,
    max_size=4,
)


def by_hand_of(stages, value):
    try:
        for one in stages:
            value = getattr(stream_jobs, one.fn)(value)
    except stream_jobs.Odd:
        return None
    return value


def real_pipeline(stages, path, *, threaded):
    def lines():
        with path.open() as file:
            yield from file

    source = Producer(lines, context="thread" if threaded else None)
    stage = Stage(int, source, name="parsed", context="inline")
    for place, one in enumerate(stages):
        options = {"context": one.context, "concurrency": one.concurrency, "ordered": one.ordered}
        stage = Stage(getattr(stream_jobs, one.fn), stage, name=f"s{place}", on_error=OnError.SKIP, **options)
    return Pipeline("real", source, stage)


async def use_real(stages, path, end, *, threaded):
    results = []
    pipeline = real_pipeline(stages, path, threaded=threaded)
    with trio.CancelScope() as scope:
        try:
            async with pipeline.open(buffer=2) as stream:
                async for result in stream:
                    results.append(result)
                    if len(results) < 3 or end == "read":
                        continue
                    match end:
                        case "leave":
                            break
                        case "error":
                            raise Outcry
                        case "cancel":
                            scope.cancel()
                        case "stop":
                            stream.stop_source()
        except Outcry:
            pass
    return results, stream.report


def what_runs():
    """Return what must not become more: busy threads, processes, open files."""
    gc.collect()  # what was cut off keeps its frames, and those a process's pipes, until then
    threads = {one for one in threading.enumerate() if not one.name.startswith("Trio thread")}
    return threads, set(workers()), len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """What starts once in a program has started; a file to read."""
    path = tmp_path_factory.mktemp("lines") / "numbers"
    path.write_text("".join(f"{number}\n" for number in range(12)))
    stages = [RealStage("thread", "increment", 1, True), RealStage("process", "increment", 1, True)]
    trio.run(partial(use_real, stages, path, "read", threaded=True))
    return path


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(REAL, st.sampled_from(["read", "leave", "error", "cancel", "stop"]), st.booleans())
def test_D7_no_task_thread_process_or_file_is_left_whatever_a_stream_did(started, stages, end, threaded):
    threads, processes, files = what_runs()
    results, report = trio.run(partial(use_real, stages, started, end, threaded=threaded))
    wanted = [value for number in range(12) if (value := by_hand_of(stages, number)) is not None]
    assert len(set(results)) == len(results)
    assert set(results) <= set(wanted)
    if end == "read":
        assert sorted(results) == sorted(wanted)
        assert report.clean
    now = what_runs()
    assert now[0] <= threads
    assert now[1] <= processes
    assert now[2] <= files
