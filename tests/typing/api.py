"""How the library is used, as the type checkers see it.

Each line with the mark E must be refused by `mypy --strict` and by pyright in strict mode, and no other line may be:
tests/project/test_typing.py holds both directions. Nothing here runs.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, assert_type

import trio
from attrs import evolve, frozen
from spaceactors import (
    Actor,
    DeadLetter,
    DrainReport,
    Emitted,
    Entry,
    Gap,
    MemoryStore,
    Outcome,
    Overflow,
    PostgresLocks,
    Priority,
    Reject,
    RestartLimit,
    Retry,
    Runtime,
    RuntimeConfig,
    SpaceHandle,
    SpaceInfo,
    SpaceOptions,
    SpaceStatus,
    WhenBusy,
    WhenInterrupted,
    handler,
    open_runtime,
)
from spaceactors.pipelines import (
    Batch,
    Cache,
    ExecutionPlan,
    Input,
    OnError,
    Pipeline,
    PipelineResult,
    Producer,
    Router,
    Sink,
    Stage,
    StageResult,
    open_context_pool,
)
from spaceactors.testing import VirtualRuntime, open_test_runtime
from spaceactors.tasks import (
    Resources,
    Task,
    TaskEnded,
    TaskManager,
    TaskPlan,
    TaskResult,
    TaskStatus,
    open_task_manager,
    plan_of,
    progress,
)
from supervisors import (
    Limit,
    AutoShutdown,
    Backoff,
    ChildCounts,
    ChildInfo,
    ChildSpec,
    ChildStatus,
    InstancePool,
    Lease,
    Limits,
    LockPort,
    Locks,
    OnLimit,
    Restart,
    Strategy,
    draining,
    open_pool,
    open_supervisor,
    until_drain,
    value_of,
    wait_drain,
)
from tenacity import wait_exponential


@frozen
class Board:
    moves: tuple[int, ...] = ()


@frozen
class Moved:
    square: int


class Clock:
    def now(self) -> float:
        return 0.0


async def look_up(opening: str, depth: int) -> float:
    return 0.5


def depth_of(level: int) -> int:
    return 2 * level


# ---- actors ------------------------------------------------------------------------------------------------------------


class Game(Actor[Board], kind="game", state_version=2):
    options = SpaceOptions(
        mailbox_capacity=8,
        overflow=Overflow.REFUSE,
        when_interrupted=WhenInterrupted.COMMIT,
        restart_limit=RestartLimit(2, 10.0),
        throws=(ValueError,),
    )

    @handler
    async def play(self, square: int, *, note: str = "") -> bool:
        assert_type(self.state, Board)
        assert_type(self.id, str)
        self.state = evolve(self.state, moves=(*self.state.moves, square))
        self.history.append({"square": square, "note": note})
        self.emit(Moved(square))
        self.emit(Moved(square), now=True)
        self.count("moves")
        return True

    @handler(when_busy=WhenBusy.LATEST, timeout=2.0, max_attempts=3)
    async def think(self, depth: int = 1) -> AsyncIterator[float]:
        for level in range(depth):
            yield float(level)

    @handler(name="surrender")
    async def give_up(self) -> None:
        self.schedule("clean-up", Game.play, 9, after=60.0)
        self.schedule("clean-up", Game.play, 9, at=datetime(2030, 1, 1))
        assert_type(self.cancel_schedule("clean-up"), bool)
        self.start_soon(trio.sleep, 1.0)
        self.start_soon(self.handle.send, Game.play, 1)
        other: SpaceHandle[Game] = self.space("rematch")
        assert_type(await other.ask(Game.play, 1), bool)
        assert_type(await self.space("x", Referee).ask(Referee.whistle, 2), tuple[int, str])
        assert_type(self.message.sender, SpaceHandle[Any] | None)
        assert_type(await self.step("look up", look_up, "e4", depth_of(3), timeout=1.0), float)
        assert_type(await self.suspend("draw?", "A draw?", answer=bool, timeout=60.0, default=False), bool)
        raise Reject({"why": "surrendered"})

    @handler
    async def wrong(self) -> None:
        self.state = (1, 2)  # E  not a Board
        self.history = []  # E  the history is appended to, never replaced
        self.schedule("k", Game.play, "nine", after=1.0)  # E  a square is a number
        self.schedule("k", Game.play, 9)  # E  when?
        self.schedule("k", Game.play, 9, every=1.0, at=datetime(2030, 1, 1))  # E  one time, not two
        self.schedule("k", Referee.whistle, 1, after=1.0)  # E  timers are for one's own handlers
        self.start_soon(trio.sleep, "soon")  # E
        await self.step("look up", look_up, 4, 1)  # E  an opening is a text
        await self.suspend("draw?", "A draw?")  # E  an answer of which kind?
        self.emit(Moved(1), True)  # E  a bare True says nothing
        self.count(3)  # E  counters have names
        await self.space("x", Referee).ask(Game.play, 1)  # E  a referee does not play


class Referee(Actor):
    """Without a type argument an actor has no state."""

    options = SpaceOptions(concurrency=4)

    @handler
    async def whistle(self, times: int, /) -> tuple[int, str]:
        assert_type(self.state, None)
        return times, "!"


class Timed(Actor[int]):
    """Takes dependencies, and makes its first state itself."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def initial_state(self) -> int:
        return len(self.id)

    @handler
    async def now(self) -> float:
        return self.clock.now()


class FastGame(Game):
    @handler
    async def play(self, square: int, *, note: str = "", fast: bool = True) -> bool:
        return await super().play(square, note=note) and fast


class Narrowed(Game):
    @handler
    async def play(self, square: bool, *, note: str = "") -> bool:  # E  takes less than what it stands in for
        return square


class Blocking(Actor):
    @handler  # E  a handler is `async def`
    def plain(self) -> int:
        return 1


class Unfitting(Actor[Board]):
    initial_state = str  # E  makes no Board


# ---- handles -----------------------------------------------------------------------------------------------------------


async def through_a_handle(game: SpaceHandle[Game], fast: SpaceHandle[FastGame], timed: SpaceHandle[Timed]) -> None:
    assert_type(await game.ask(Game.play, 4), bool)
    assert_type(await game.ask(Game.play, square=4, note="centre"), bool)
    assert_type(await fast.ask(Game.play, 4), bool)
    assert_type(await fast.ask(FastGame.play, 4, fast=False), bool)
    assert_type(await game.ask(Game.give_up), None)
    assert_type(await game.send(Game.play, 4), str)
    assert_type(await game.send(Game.think, depth=3), str)
    assert_type(game.send_nowait(Game.play, 4, note="n"), str)
    assert_type(await timed.state(), int)
    assert_type(await game.state(), Board)
    assert_type(await game.info(), SpaceInfo)
    assert_type(await game.drain(1.0), DrainReport)
    assert_type(await game.history.read(after=3), list[Entry])
    urgent = game.with_options(message_id="m1", priority=Priority.HIGH, expires_after=2.0, headers={"user": "u1"})
    assert_type(urgent, SpaceHandle[Game])
    async with game.stream(Game.think, 2) as levels:
        async for level in levels:
            assert_type(level, float)
    async with game.subscribe(Moved, after=0) as feed:
        async for item in feed:
            match item:
                case Emitted(value=moved, position=position):
                    assert_type(moved, Moved)
                    assert_type(position, int | None)
                case Gap(missed=missed):
                    assert_type(missed, int)
    wide: SpaceHandle[Game] = fast
    assert_type(wide.kind, str)
    await game.ask(Game.play)  # E  which square?
    await game.ask(Game.play, "4")  # E
    await game.ask(Game.play, 4, "centre")  # E  note goes by keyword
    await game.ask(Game.play, 4, comment="centre")  # E
    await game.ask(Game.think, 1)  # E  a stream is read with `stream`
    game.stream(Game.play, 4)  # E  one reply is no stream
    await game.ask(FastGame.play, 4)  # E  not every game is a fast one
    await game.ask(Timed.now)  # E
    await game.send(Game.play, "4")  # E
    game.send_nowait(Game.play)  # E
    game.with_options(priority="high")  # E
    game.id = "renamed"  # E  a name is for life
    narrow: SpaceHandle[FastGame] = game  # E
    text: str = await game.ask(Game.play, 4)  # E


async def handed_on(game: SpaceHandle[Game], nursery: trio.Nursery) -> None:
    """A verb with its arguments goes wherever Trio takes a function with its arguments."""
    nursery.start_soon(game.ask, Game.play, 4)
    nursery.start_soon(game.send, Game.play, 4)
    nursery.start_soon(game.stop)
    assert_type(trio.from_thread.run(game.ask, Game.play, 4), bool)
    assert_type(trio.from_thread.run_sync(game.send_nowait, Game.play, 4), str)
    nursery.start_soon(game.ask, Game.play, "4")  # E


# ---- runtimes ----------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def open_clock() -> AsyncGenerator[Clock]:
    yield Clock()


async def runtimes() -> None:
    async with open_runtime(Game, store=MemoryStore(), config=RuntimeConfig(max_live_spaces=10)) as games:
        assert_type(games, Runtime[Game])
        assert_type(games.space("g1"), SpaceHandle[Game])
        assert_type(await games.space("g1", group="table 3").ask(Game.play, 1), bool)
        assert_type(await games.spaces(actor=Game, status=SpaceStatus.QUARANTINED), list[SpaceHandle[Game]])
        assert_type((await games.snapshot()).ledger.outcomes[Outcome.HANDLED], int)
        assert_type(await games.dead_letters.list(), list[DeadLetter])
        assert_type(await games.drain(), DrainReport)
        assert_type(games.report, DrainReport | None)
        await games.space("g1").ask(Timed.now)  # E
    async with open_runtime(Timed, deps=Clock(), one_lane=True, handle_signals=True) as timed:
        assert_type(timed, Runtime[Timed])
    async with open_runtime(Timed, deps=open_clock) as timed_too:
        assert_type(await timed_too.space("t").ask(Timed.now), float)
    async with open_runtime(Game, Referee) as both:
        assert_type(both.space("r", Referee), SpaceHandle[Referee])
        await both.space("r").ask(Referee.whistle, 1)  # E  of which kind?
    async with open_test_runtime(Timed, deps=Clock(), seed=3) as virtual:
        assert_type(virtual, VirtualRuntime[Timed])
        await virtual.advance(1.5)
        await virtual.settle()
    open_runtime(Timed)  # E  its clock is missing
    open_runtime(Timed, deps="noon")  # E
    open_runtime(Game, Timed)  # E  one of them wants a clock
    open_runtime(Game, store="memory")  # E


# ---- supervisors -------------------------------------------------------------------------------------------------------


class Connection: ...


@asynccontextmanager
async def connect(address: str, port: int = 5432) -> AsyncGenerator[Connection]:
    yield Connection()


async def worker(connection: Connection, queue: str) -> None:
    with until_drain() as scope:
        assert_type(scope, trio.CancelScope)
        await wait_drain()
    assert_type(draining(), bool)


async def listen(port: int, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED) -> None:
    task_status.started(port)


async def trees(pick: Callable[[], int]) -> None:
    children = [
        ChildSpec.resource("db", connect, "localhost"),
        ChildSpec("worker", worker, value_of("db", Connection), "jobs", restart=Restart.TRANSIENT, shutdown=10),
        ChildSpec.supervisor("doors", [ChildSpec("door", listen, 80)], strategy=Strategy.ONE_FOR_ALL),
        ChildSpec("worker", worker, "db", "jobs"),  # E  a name is not a connection: value_of
        ChildSpec("worker", worker, value_of("db", Connection)),  # E  which queue?
        ChildSpec("door", listen, "80"),  # E
        ChildSpec("door", listen, 80, restart="permanent"),  # E
        ChildSpec.resource("db", connect),  # E
        ChildSpec("pick", pick),  # E  a child is an async function
    ]
    wait = Backoff(wait_exponential(max=5), reset_after=60.0)
    async with open_supervisor(children, backoff=wait, auto_shutdown=AutoShutdown.ANY_SIGNIFICANT) as supervisor:
        assert_type(await supervisor.start_child(ChildSpec("late", listen, 81)), ChildInfo)
        assert_type(supervisor.child("late").status, ChildStatus)
        assert_type(supervisor.children(), tuple[ChildInfo, ...])
        assert_type(supervisor.counts(), ChildCounts)
        assert_type(await supervisor.drain(timeout=3), DrainReport)
        assert_type(supervisor.report, DrainReport | None)
        await supervisor.start_child(listen, 81)  # E  a static tree wants a spec
    async with open_pool(max_children=3, on_limit=OnLimit.ESCALATE, backoff=None) as pool:
        assert_type((await pool.start_child(listen, 1, name="one")).name, str)
        await pool.start_child(listen)  # E
        await pool.start_child(listen, "1")  # E
    open_supervisor(children, strategy="one_for_one")  # E


async def what_is_shared() -> None:
    port: LockPort = Locks(grace=0.5)
    port = PostgresLocks("dbname=cafe")
    async with port.hold("order:7", ttl=30.0, timeout=5.0) as lease:
        assert_type(lease, Lease)
        assert_type(lease.token, int)
        await lease.extend(30.0)
    port.hold("order:7")  # E  not everybody keeps locks that never end
    port.hold("a", shared=("b",), ttl=30.0)  # E  nor locks that are shared
    locks = Locks()
    async with locks.hold("file:a", shared=("service:db",)) as lease:
        assert_type(lease, Lease)
    with locks.hold_nowait("file:a", ttl=1.0) as lease:
        assert_type(lease, Lease)
    locks.hold(7)  # E
    async with InstancePool(lambda: connect("localhost"), 5, idle_timeout=60.0, broken=OSError) as clients:
        async with clients.use(priority=Priority.HIGH) as client:
            assert_type(client, Connection)
    InstancePool(connect, 5)  # E  a factory takes nothing


# ---- pipelines


async def recall(question: str) -> list[str]:
    return [question]


async def reason(question: str, memories: list[str], score: float) -> int:
    return 42


def rate(question: str) -> float:
    return 0.5


def shout(number: int) -> str:
    return f"{number}!"


async def rows() -> AsyncGenerator[str]:
    yield "a row"


def declared(table: Callable[[], list[str]]) -> None:
    question = Input(str)
    assert_type(question, Stage[str])
    memories = Stage(recall, question, timeout=2, retry=Retry(3), limit="llm", cache=Cache(ttl=60.0))
    assert_type(memories, Stage[list[str]])
    score = Stage(rate, question, context="thread", concurrency=4, ordered=False)
    assert_type(score, Stage[float])
    reply = Stage(reason, question, memories, score, on_error=OnError.SKIP, fallback=reason)
    assert_type(reply, Stage[int])
    assert_type(Pipeline("answer", question, reply), Pipeline[str, int])
    assert_type(Pipeline("answer", question, reply, beside=[score]).plan, ExecutionPlan)
    nested = Stage(Pipeline("answer", question, reply), question)
    assert_type(nested, Stage[int])
    assert_type(Stage(shout, nested), Stage[str])
    some = Batch(memories, 10, max_wait=0.5)
    assert_type(some, Stage[tuple[list[str], ...]])
    assert_type(Producer(rows), Stage[str])
    lines = Producer(table, context="thread")
    assert_type(lines, Stage[str])
    assert_type(Pipeline("import", lines, Sink(print, lines, concurrency=2)), Pipeline[str, None])
    assert_type(memories.name, str)

    Stage(recall, nested)  # E  recall takes a text, and this gives a number
    Stage(reason, question, memories)  # E  and the score?
    Stage(reason, memories, question, score)  # E  in another order
    Stage(shout, some)  # E  a batch is a tuple
    Stage(recall, question, timeout="2")  # E
    Stage(recall, question, retries=3)  # E  no such option
    Stage(recall, question, on_error="skip")  # E
    Stage(recall, question, fallback=reason)  # E  other arguments
    Stage(recall, question, cache=60.0)  # E
    Stage(recall, "a constant")  # E  that is what functools.partial is for
    Stage(Pipeline("answer", question, reply), nested)  # E  the pipeline inside takes a text
    Sink(shout, question)  # E
    Sink(print, question, size=3)  # E
    Batch(memories, "10")  # E
    Producer(recall)  # E  a producer takes nothing
    Pipeline("answer", "question", reply)  # E
    Pipeline("answer", question, recall)  # E  a function is no stage
    Input()  # E


async def requested(answer: Pipeline[str, int], other: Pipeline[str, str], reply: Stage[int], limits: Limits) -> None:
    result = await answer.run("why?", sequential=True, limits=limits)
    assert_type(result, PipelineResult[int])
    assert_type(result.value, int)
    assert_type(result[reply], StageResult[int])
    assert_type(result[reply].value, int)
    assert_type(result[reply].error, BaseException | None)
    assert_type(answer.statistics().stages["reply"].average, float)
    router = Router({"quick": answer, "deep": answer}, choose=lambda text: "quick", default="deep")
    assert_type(router, Router[str, int])
    assert_type((await router.run("why?")).value, int)
    async with open_context_pool() as contexts:
        await answer.run("why?", contexts=contexts)
    wide: Pipeline[str, object] = answer  # what gives a number gives an object

    await answer.run(7)  # E
    await answer.run("why?", parallel=True)  # E
    await answer.run()  # E
    result["reply"]  # E  by stage; by name it is result.stages()["reply"]
    narrow: Pipeline[str, bool] = answer  # E
    Router([answer], choose=lambda text: "quick")  # E  by name
    Router({"quick": answer}, choose=7)  # E
    Router({"quick": answer})  # E  who chooses?


class Thinker(Actor[Board]):
    @handler
    async def think(self, text: str, answer: Pipeline[str, int], router: Router[str, int]) -> int:
        result = await self.run_pipeline(answer, text)
        assert_type(result, PipelineResult[int])
        assert_type(await self.run_pipeline(router, text), PipelineResult[int])
        await self.run_pipeline(answer, 7)  # E
        await self.run_pipeline(recall, text)  # E  a function is no pipeline
        return result.value


# ---- batches of tasks


async def size(path: str, factor: int) -> int:
    return factor


async def title(path: str) -> str:
    return path


def measure(path: str) -> float:
    return 1.0


def needs(task: Task[object]) -> Resources:
    return Resources(f"file:{task.args[0]}", shared="service:db")


def tasks() -> None:
    """A task is typed by its function, and so is its result."""
    assert_type(Task(size, "a", 2, resources="file:a", shared=["service:db"], limits=("llm",)), Task[int])
    assert_type(Task(title, "a", agent="reviewer", id="t", timeout=5, priority=Priority.HIGH), Task[str])
    assert_type(Task(trio.to_thread.run_sync, measure, "a"), Task[float])
    wide: Task[object] = Task(size, "a", 2)
    assert_type(plan_of([wide, Task(title, "a")], resources=needs), TaskPlan)
    progress(0.5, "half")
    Task(size, "a")  # E  which factor?
    Task(size, "a", "b")  # E
    Task(measure, "a")  # E  not async
    Task(size("a", 2))  # E  a call of it
    Task(size, "a", 2, priority="high")  # E
    Task(size, "a", 2, resources=5)  # E
    Task(size, "a", 2, retry=3)  # E
    narrow: Task[int] = Task(title, "a")  # E
    progress("half")  # E


async def managed(manager: TaskManager) -> None:
    results = await manager.run([Task(size, "a", 2), Task(size, "b", 3)])
    assert_type(results, list[TaskResult[int]])
    assert_type(results[0].value, int | None)
    assert_type(results[0].unwrap(), int)
    assert_type(results[0].error, Exception | None)
    assert_type(results[0].status, TaskStatus)
    assert_type(await manager.run_batches([Task(title, "a")], 2), list[list[TaskResult[str]]])
    async with manager.as_completed([Task(title, "a")]) as coming:
        async for result in coming:
            assert_type(result, TaskResult[str])
    async with manager.events() as events:
        async for event in events:
            if isinstance(event, TaskEnded):
                assert_type(event.result.success, bool)
    assert_type(await manager.cancel(agent_ids=["a"], task_ids="t"), int)
    assert_type(await manager.wait_all(5.0), bool)
    mixed: list[Task[object]] = [Task(size, "a", 2), Task(title, "a")]
    assert_type(await manager.run(mixed), list[TaskResult[object]])
    await manager.run(Task(size, "a", 2))  # E  a list of them
    await manager.run([size])  # E
    await manager.cancel("a")  # E  agents or tasks?
    results[0].value = 3  # E


async def opened() -> None:
    async with open_task_manager(5, locks=Locks(), limits=[Limit("llm", 5)], resources=needs) as manager:
        assert_type(manager, TaskManager)
    open_task_manager("5")  # E
    open_task_manager(limits=5)  # E
    with open_task_manager() as manager:  # E  it is async
        pass
