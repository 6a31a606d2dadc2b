"""One property over everything: whatever happens, in any schedule, what was started ends, once and in order."""

from __future__ import annotations

import math
from contextlib import suppress
from functools import partial

import pytest
import trio
from attrs import define, field
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from supervisors import (
    ChildSpec,
    ChildStartError,
    ChildStatus,
    OnLimit,
    Pool,
    Restart,
    RestartLimit,
    RestartLimitExceeded,
    Strategy,
    SupervisorError,
    open_pool,
    open_supervisor,
    until_drain,
)
from supervisors.testing import seed_schedule

SOON = st.sampled_from([0.0, 0.0, 0.1, 0.5, 1.0, 3.0])


ACTIVE = {ChildStatus.STARTING, ChildStatus.RUNNING, ChildStatus.STOPPING}


class BodyError(Exception):
    pass


class ChildError(Exception):
    pass


class Interrupt(BaseException):
    """Stands for KeyboardInterrupt, which would end the test run itself if it got lost."""


# ---- what is drawn


@define(eq=False)
class Leaf:
    """A child that lives for a while, ends in its own way, and takes its time to die."""

    name: str
    start: float
    life: float
    end: str
    listens: float | None
    dying: float
    failing_clean_up: bool
    restart: Restart
    shutdown: float
    alive: int = 0
    dying_since: float = math.inf  # of this incarnation
    stopped_by_hand: bool = False
    ordered: bool = False  # under a static supervisor: `later` may live no more when this one is cancelled
    later: list[Leaf] = field(factory=list)


@define(eq=False)
class Branch:
    name: str
    kind: str
    children: list[Leaf | Branch]
    strategy: Strategy
    limit: RestartLimit
    backoff: float
    restart: Restart


@define
class Story:
    """What the body does with the tree, and when somebody cancels it all from outside."""

    calls: list[tuple[float, str, int]]
    ending: str
    ends_at: float
    cancelled_at: float
    seed: int


LEAVES = st.builds(
    Leaf,
    name=st.just("leaf"),
    start=st.sampled_from([0.0, 0.0, 0.0, 0.2, 1.0]),
    life=st.sampled_from([0.0, 0.1, 0.5, 2.0, math.inf, math.inf]),
    end=st.sampled_from(["crash", "crash", "crash", "return", "return", "fail to start", "interrupt"]),
    listens=st.sampled_from([None, None, 0.3, 2.0, 50.0]),
    dying=st.sampled_from([0.0, 0.0, 0.3, 2.5]),
    failing_clean_up=st.booleans(),
    restart=st.sampled_from(Restart),
    shutdown=st.sampled_from([0.0, 1.0, 5.0]),
)


def branches(children):
    return st.builds(
        Branch,
        name=st.just("branch"),
        kind=st.sampled_from(["tree", "tree", "pool", "embedded"]),
        children=st.lists(children, max_size=4),
        strategy=st.sampled_from(Strategy),
        limit=st.builds(RestartLimit, st.integers(0, 3), st.just(5.0)),
        backoff=st.sampled_from([0.0, 0.0, 0.7]),
        restart=st.sampled_from(Restart),
    )


TREES = branches(st.recursive(LEAVES, branches, max_leaves=6))
STORIES = st.builds(
    Story,
    calls=st.lists(
        st.tuples(
            SOON,
            st.sampled_from(["look", "look", "stop", "restart or revive", "delete", "start", "drain"]),
            st.integers(0, 5),
        ),
        max_size=6,
    ),
    ending=st.sampled_from(["leave", "raise", "drain", "drain in time", "stay"]),
    ends_at=SOON,
    cancelled_at=st.sampled_from([0.1, 0.4, 1.0, 4.0, 30.0, 30.0, 30.0]),
    seed=st.integers(0, 2**32),
)


# ---- the world in which it runs


@define(eq=False)
class World:
    """Watches the leaves while they run; `faults` says in words what must never be."""

    faults: list[str] = field(factory=list)
    leaves: list[Leaf] = field(factory=list)
    closing_since: float = math.inf
    time_is_up: float = (
        math.inf
    )  # the deadline of a drain: all are cancelled, whether the younger ones have gone or not
    interrupted: bool = False

    def spec(self, node, position=0, *, top=False):
        node.name = f"{node.name}{position}-{len(self.leaves)}"
        if isinstance(node, Leaf):
            self.leaves.append(node)
            return ChildSpec(node.name, self.live, node, top, restart=node.restart, shutdown=node.shutdown)
        specs = self.specs(node)
        options = {"restart": node.restart}
        if node.kind == "tree":
            return ChildSpec.supervisor(
                node.name, specs, strategy=node.strategy, limit=node.limit, backoff=wait_of(node), **options
            )
        run = self.pool if node.kind == "pool" else self.embedded
        return ChildSpec(node.name, run, node, specs, shutdown=20, **options)

    def specs(self, branch, *, top=False):
        specs = [self.spec(child, position, top=top) for position, child in enumerate(branch.children)]
        if branch.kind != "pool":
            leaves = [child for child in branch.children if isinstance(child, Leaf)]
            for position, leaf in enumerate(leaves):
                leaf.ordered, leaf.later = True, leaves[position + 1 :]
        return specs

    async def pool(self, branch, specs, *, task_status):
        async with open_pool(limit=branch.limit, backoff=wait_of(branch), on_limit=on_limit_of(branch)) as pool:
            for spec in specs:
                await pool.start_child(
                    spec.run, *spec.args, name=spec.name, restart=spec.restart, shutdown=min(spec.shutdown, 9)
                )
            task_status.started()
            await trio.sleep_forever()

    async def embedded(self, branch, specs, *, task_status):
        async with open_supervisor(specs, strategy=branch.strategy, limit=branch.limit, backoff=wait_of(branch)):
            task_status.started()
            await trio.sleep_forever()

    async def live(self, leaf, top, *, task_status):
        leaf.alive += 1
        leaf.dying_since = math.inf
        if leaf.alive > 1:
            self.faults.append(f"{leaf.name} runs twice")
        if top and trio.current_time() > self.closing_since:
            self.faults.append(f"{leaf.name} started {trio.current_time() - self.closing_since} s after the end began")
        try:
            await self.work(leaf, task_status)
        except trio.Cancelled:
            self.check_order(leaf)
            raise
        finally:
            leaf.dying_since = min(leaf.dying_since, trio.current_time())
            with trio.CancelScope(shield=True):
                await trio.sleep(leaf.dying)
            leaf.alive -= 1
            if leaf.failing_clean_up and leaf.end != "interrupt":
                raise ChildError(leaf.name)

    async def work(self, leaf, task_status):
        await trio.sleep(leaf.start)
        if leaf.end == "fail to start" and trio.current_time() > 0:
            raise ChildError(leaf.name)
        task_status.started(leaf.name)
        if leaf.listens is None:
            await trio.sleep(leaf.life)
        else:
            with until_drain() as asked:
                await trio.sleep(leaf.life)
            if asked.cancelled_caught:
                await trio.sleep(leaf.listens)
                return
        if leaf.end == "crash":
            raise ChildError(leaf.name)
        if leaf.end == "interrupt":
            self.interrupted = True
            raise Interrupt(leaf.name)

    def check_order(self, leaf):
        leaf.dying_since = trio.current_time()
        if not leaf.ordered or leaf.stopped_by_hand or leaf.dying_since >= self.time_is_up - 0.001:
            return
        for other in leaf.later:
            if other.alive and other.dying_since > leaf.dying_since - 0.999:
                self.faults.append(f"{leaf.name} was cancelled while {other.name} lived")

    def check_listing(self, supervisor):
        """What the listing says of a child is so, and who should run does, or will."""
        leaves = {leaf.name: leaf for leaf in self.leaves}
        for info in supervisor.children():
            leaf = leaves.get(info.name)
            if leaf is None:
                continue
            expected = {ChildStatus.RUNNING: {1}, ChildStatus.STARTING: {0, 1}, ChildStatus.STOPPING: {0, 1}}
            if leaf.alive not in expected.get(info.status, {0}):
                self.faults.append(f"{leaf.name} shows as {info.status}, alive: {leaf.alive}")
            kept = leaf.restart is Restart.PERMANENT and not leaf.stopped_by_hand and supervisor.tree().status == "open"
            if kept and info.status not in ACTIVE | {ChildStatus.BACKING_OFF, ChildStatus.QUARANTINED}:
                self.faults.append(f"{leaf.name} is forgotten: {info.status}")


def on_limit_of(branch):
    return OnLimit.ESCALATE if branch.strategy is Strategy.ONE_FOR_ALL else OnLimit.QUARANTINE


def wait_of(branch):
    return (lambda _state: branch.backoff) if branch.backoff else None


async def call(keeper, world, at, what, which):
    await trio.sleep_until(at)
    names = [info.name for info in keeper.children()] or ["nobody"]
    name = names[which % len(names)]
    for leaf in world.leaves:
        leaf.stopped_by_hand |= leaf.name == name and what in {"stop", "restart or revive"}
    with suppress(SupervisorError):
        match what:
            case "look":
                world.check_listing(keeper)
            case "stop":
                await keeper.stop_child(name)
            case "drain":
                await drain(keeper, world, float(which))
            case _ if isinstance(keeper, Pool):
                await call_pool(keeper, what, name, which)
            case _:
                await call_supervisor(keeper, what, name, which)


async def call_pool(pool, what, name, which):
    match what:
        case "restart or revive":
            await pool.revive_child(name)
        case "start":
            await pool.start_child(trio.sleep, 0.3, name=f"extra{which}")


async def call_supervisor(supervisor, what, name, which):
    match what:
        case "restart or revive":
            await supervisor.restart_child(name)
        case "delete":
            supervisor.delete_child(name)
        case "start":
            await supervisor.start_child(ChildSpec(f"extra{which}", trio.sleep, 0.3, restart=Restart.TRANSIENT))


async def drain(supervisor, world, timeout):
    world.closing_since = min(world.closing_since, trio.current_time())
    world.time_is_up = min(world.time_is_up, trio.current_time() + timeout)
    await supervisor.drain(timeout)


async def body(supervisor, story, world, *first):
    async with trio.open_nursery() as nursery:
        for start in first:
            nursery.start_soon(start)
        for at, what, which in story.calls:
            nursery.start_soon(call, supervisor, world, at, what, which)
        await trio.sleep_until(story.ends_at)
        if story.ending == "stay":
            await trio.sleep_forever()
        if story.ending.startswith("drain"):
            await drain(supervisor, world, 2.0 if story.ending == "drain in time" else math.inf)
        nursery.cancel_scope.cancel()
    world.closing_since = min(world.closing_since, trio.current_time())
    if story.ending == "raise":
        raise BodyError


async def start_in_pool(pool, spec):
    with suppress(SupervisorError):
        await pool.start_child(
            spec.run, *spec.args, name=spec.name, restart=spec.restart, shutdown=min(spec.shutdown, 20)
        )


async def tell_of_a_tree(root, story, world):
    specs = world.specs(root, top=True)
    with trio.move_on_after(story.cancelled_at):
        async with open_supervisor(
            specs, strategy=root.strategy, limit=root.limit, backoff=wait_of(root)
        ) as supervisor:
            await body(supervisor, story, world)


async def tell_of_a_pool(root, story, world):
    root.kind = "pool"
    specs = world.specs(root, top=True)
    with trio.move_on_after(story.cancelled_at):
        async with open_pool(limit=root.limit, backoff=wait_of(root), on_limit=on_limit_of(root)) as pool:
            await body(pool, story, world, *(partial(start_in_pool, pool, spec) for spec in specs))


def allowed(error, story, world):
    if world.interrupted:
        return isinstance(error, Interrupt)
    match error:
        case None | RestartLimitExceeded() | ChildStartError():
            return True
        case BodyError():
            return story.ending == "raise"
        case ExceptionGroup(exceptions=[_, _] as both):
            return {type(one) for one in both} == {BodyError, RestartLimitExceeded}
        case _:
            return False


@pytest.mark.timeout(900)
@settings(
    max_examples=500, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], print_blob=False
)
@given(root=TREES, story=STORIES, tell=st.sampled_from([tell_of_a_tree, tell_of_a_tree, tell_of_a_pool]))
def test_R25_R26_S23_hygiene_everything_started_ends_once_and_in_order(root, story, tell):
    world = World()

    async def main():
        with trio.fail_after(1e6):
            await tell(root, story, world)

    error = None
    try:
        with seed_schedule(story.seed):
            trio.run(main, clock=MockClock(autojump_threshold=0))
    except (Exception, Interrupt) as raised:
        error = raised
    assert not [leaf.name for leaf in world.leaves if leaf.alive]
    assert not world.faults
    if not allowed(error, story, world):
        raise error
