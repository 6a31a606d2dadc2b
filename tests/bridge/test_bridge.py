"""The bridge with real threads and a real asyncio loop: nothing sleeps, everything waits for events."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from spaceactors import (
    Actor,
    ActorCrashed,
    BadCall,
    Emitted,
    Reject,
    Rejected,
    RuntimeClosed,
    WhenAbandoned,
    handler,
    open_runtime,
)
from spaceactors.bridge import open_bridge
from spaceactors.bridge._engine import Call, Engine

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.timeout(240)
PATIENCE = 100.0  # seconds in which everything happens, on any machine


class World:
    """Where actor and test meet; `threading` on both sides, as they live in different threads."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.ended = threading.Event()
        self.made = 0
        self.thread: threading.Thread | None = None


class Clerk(Actor[tuple[str, ...]]):
    def __init__(self, world: World) -> None:
        self.world = world
        world.thread = threading.current_thread()

    @handler
    async def say(self, text: str, again: int = 1) -> str:
        self.state += (text,) * again
        self.history.append(text)
        self.emit(text)
        return text.upper()

    @handler
    async def refuse(self) -> None:
        raise Reject("no")

    @handler
    async def crash(self) -> None:
        raise ValueError("broken")

    @handler(when_abandoned=WhenAbandoned.CANCEL)
    async def hang(self) -> None:
        self.world.begun.set()
        try:
            await trio.sleep_forever()
        finally:
            self.world.ended.set()

    @handler
    async def leave(self) -> None:
        raise SystemExit(3)

    @handler(when_abandoned=WhenAbandoned.CANCEL)
    async def numbers(self, most: int) -> AsyncIterator[int]:
        try:
            for number in range(most):
                self.world.made += 1
                yield number
        finally:
            self.world.ended.set()


class Greeter(Actor):
    @handler
    async def greet(self, whom: str) -> str:
        return f"hello {whom}"


# ---- threads


def test_a_thread_asks_sends_and_looks() -> None:
    with open_bridge(Clerk, deps=World()) as bridge:
        alice = bridge.space("alice")
        assert alice.ask(Clerk.say, "a") == "A"
        assert alice.ask(Clerk.say, "b", again=2) == "B"
        assert isinstance(alice.send(Clerk.say, "c"), str)
        assert alice.ask(Clerk.say, "d") == "D"
        assert (alice.id, alice.state()) == ("alice", ("a", "b", "b", "c", "d"))
        assert (len(alice.history), alice.history.recent(2)) == (4, ["c", "d"])
        assert [one.value for one in alice.history.read(after=1, limit=2)] == ["b", "c"]
        assert (alice.info().id, alice.info().depth) == ("alice", 0)


def test_the_actor_lives_in_another_thread_that_ends_with_the_block() -> None:
    world = World()
    with open_bridge(Clerk, deps=world) as bridge:
        bridge.space("a").ask(Clerk.say, "x")
        assert world.thread is not None
        assert world.thread is not threading.current_thread()
        assert world.thread.is_alive()
    assert not world.thread.is_alive()


def test_many_threads_use_one_handle() -> None:
    with open_bridge(Clerk, deps=World()) as bridge, ThreadPoolExecutor(8) as pool:
        alice = bridge.space("alice")
        replies = list(pool.map(lambda number: alice.ask(Clerk.say, f"t{number}"), range(100)))
        assert replies == [f"T{number}" for number in range(100)]
        assert len(alice.state()) == 100


def test_errors_come_out_as_of_any_handle() -> None:
    with open_bridge(Clerk, deps=World()) as bridge:
        with pytest.raises(Rejected, match="no"):
            bridge.space("a").ask(Clerk.refuse)
        with pytest.raises(ActorCrashed) as crash:
            bridge.space("b").ask(Clerk.crash)
        assert isinstance(crash.value.__cause__, ValueError)
        with pytest.raises(BadCall):
            bridge.space("c").ask(Clerk.say)  # type: ignore[call-overload]


def test_a_timeout_ends_the_wait_and_abandons_the_turn() -> None:
    world = World()
    timeout = 0.01
    with open_bridge(Clerk, deps=world) as bridge:
        while not world.begun.is_set():  # else it was abandoned before its turn
            timeout *= 2
            with pytest.raises(TimeoutError, match=f"{timeout:g} s"):
                bridge.space("a").with_options(timeout=timeout).ask(Clerk.hang)
        assert world.ended.wait(PATIENCE)


def test_a_timeout_stays_when_other_options_come() -> None:
    with open_bridge(Clerk, deps=World()) as bridge, pytest.raises(TimeoutError):
        bridge.space("a").with_options(timeout=0.01).with_options(message_id="m").ask(Clerk.hang)


def test_options_go_with_the_call() -> None:
    with open_bridge(Clerk, deps=World()) as bridge:
        alice = bridge.space("a").with_options(message_id="m", timeout=PATIENCE)
        assert alice.send(Clerk.say, "x") == "m"
        assert alice.with_options(correlation_id="c").ask(Clerk.say, "x") == "X"
        assert alice.state() == ("x",)


@pytest.mark.parametrize("timeout", [-1, float("nan")])
def test_a_timeout_that_is_none_is_refused(timeout: float) -> None:
    with open_bridge(Clerk, deps=World()) as bridge, pytest.raises(ValueError, match="timeout"):
        bridge.space("a").with_options(timeout=timeout)


def test_a_stream_is_read_to_its_end() -> None:
    with open_bridge(Clerk, deps=World()) as bridge, bridge.space("a").stream(Clerk.numbers, 5) as items:
        assert list(items) == [0, 1, 2, 3, 4]


def test_a_stream_goes_at_the_readers_pace_and_can_be_left() -> None:
    world = World()
    with open_bridge(Clerk, deps=world) as bridge:
        with bridge.space("a").stream(Clerk.numbers, 1_000_000) as items:
            assert [next(items), next(items)] == [0, 1]
        assert world.ended.wait(PATIENCE)
        assert world.made < 100


def test_a_feed_is_read_with_positions() -> None:
    with open_bridge(Clerk, deps=World()) as bridge:
        alice = bridge.space("a")
        alice.ask(Clerk.say, "x")
        with alice.subscribe(after=0) as feed:
            assert next(feed) == Emitted("x", 1)
            alice.ask(Clerk.say, "y")
            assert next(feed) == Emitted("y", 2)


def test_leaving_drains_what_was_accepted() -> None:
    with open_bridge(Clerk, deps=World()) as bridge:
        assert bridge.report is None
        for number in range(50):
            bridge.space("a").send(Clerk.say, str(number))
    assert bridge.report is not None
    assert (bridge.report.clean, bridge.report.finished) == (True, ("a",))


def test_after_the_block_a_call_says_so() -> None:
    with open_bridge(Clerk, deps=World()) as bridge:
        alice = bridge.space("a")
    with pytest.raises(RuntimeClosed, match="bridge is closed"):
        alice.ask(Clerk.say, "x")


def test_a_call_that_waits_at_the_end_is_answered() -> None:
    world = World()
    bridge = open_bridge(Clerk, deps=world)
    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(KeyboardInterrupt), bridge as open_one:
            waiting = pool.submit(open_one.space("a").ask, Clerk.hang)
            assert world.begun.wait(PATIENCE)
            raise KeyboardInterrupt  # no time for a drain
        with pytest.raises(Exception, match=r"returned|closed"):
            waiting.result(PATIENCE)


def test_nothing_that_is_on_its_way_at_the_end_hangs() -> None:
    with open_bridge(Clerk, deps=World()) as bridge:
        on_its_way = Call(bridge._engine, trio.sleep_forever)
        bridge._engine.submit(on_its_way)
    with pytest.raises(RuntimeClosed):
        on_its_way.future.result(PATIENCE)


def test_an_end_that_is_wanted_before_the_beginning_comes() -> None:
    engine = Engine(open_runtime(Clerk, deps=World()))
    engine.leave(cut=True)
    engine.start()
    engine.ended.result(PATIENCE)
    with pytest.raises(RuntimeClosed):
        engine.opened.result(PATIENCE)


def test_several_kinds_are_told_apart() -> None:
    with open_bridge(Clerk, Greeter, deps=World()) as bridge:
        assert bridge.space("a", Greeter).ask(Greeter.greet, "ann") == "hello ann"
        with pytest.raises(BadCall, match="several kinds"):
            bridge.space("a")


def test_what_fails_while_dependencies_open_comes_out_at_the_door() -> None:
    @asynccontextmanager
    async def open_deps() -> AsyncIterator[World]:
        raise OSError("no database")
        yield World()

    with pytest.raises(OSError, match="no database"), open_bridge(Clerk, deps=open_deps):
        pytest.fail("the block was entered")


def test_dependencies_are_opened_and_closed_in_the_runtimes_thread() -> None:
    threads: list[threading.Thread] = []

    @asynccontextmanager
    async def open_deps() -> AsyncIterator[World]:
        threads.append(threading.current_thread())
        yield World()
        threads.append(threading.current_thread())

    with open_bridge(Clerk, deps=open_deps) as bridge:
        assert bridge.space("a").ask(Clerk.say, "x") == "X"
    assert threads[0] is threads[1] is not threading.current_thread()


def test_missing_dependencies_are_told_at_once() -> None:
    with pytest.raises(TypeError, match="deps"):
        open_bridge(Clerk)  # type: ignore[call-overload]


async def test_a_trio_task_is_told_to_use_what_is_made_for_it() -> None:
    with pytest.raises(RuntimeError, match="open_runtime"):
        open_bridge(Clerk, deps=World()).__enter__()

    def in_thread() -> None:
        with open_bridge(Clerk, deps=World()) as bridge:
            handles.append(bridge.space("a"))
            entered.set()
            leave.wait(PATIENCE)

    handles, entered, leave = [], threading.Event(), threading.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, in_thread)
        await trio.to_thread.run_sync(entered.wait, PATIENCE)
        with pytest.raises(RuntimeError, match="to_thread"):
            handles[0].ask(Clerk.say, "x")
        assert await trio.to_thread.run_sync(handles[0].ask, Clerk.say, "x") == "X"
        leave.set()


def test_a_bridge_is_entered_once() -> None:
    bridge = open_bridge(Clerk, deps=World())
    with bridge:
        pass
    with pytest.raises(RuntimeError, match="open_bridge"):
        bridge.__enter__()


def test_why_the_runtime_ended_by_itself_comes_out_of_the_block() -> None:
    with pytest.raises(SystemExit), open_bridge(Clerk, deps=World()) as bridge:
        with pytest.raises(Exception, match=r"returned|closed"):
            bridge.space("a").ask(Clerk.leave)
        bridge._engine.ended.result(PATIENCE)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_ctrl_c_ends_the_wait_and_the_call_and_no_more() -> None:
    world = World()

    def interrupt() -> None:
        assert world.begun.wait(PATIENCE)
        signal.pthread_kill(main.ident, signal.SIGINT)

    main = threading.main_thread()
    interrupter = threading.Thread(target=interrupt)
    interrupter.start()
    with open_bridge(Clerk, deps=world) as bridge:
        with pytest.raises(KeyboardInterrupt):
            bridge.space("a").ask(Clerk.hang)
        assert world.ended.wait(PATIENCE)
        assert bridge.space("a").ask(Clerk.say, "x") == "X"
    interrupter.join()


# ---- asyncio


def test_asyncio_tasks_ask_send_and_look() -> None:
    async def main() -> None:
        async with open_bridge(Clerk, deps=World()) as bridge:
            alice = bridge.space("alice")
            assert await alice.ask(Clerk.say, "a") == "A"
            await alice.send(Clerk.say, "b", again=2)
            assert await alice.with_options(message_id="m").ask(Clerk.say, "c") == "C"
            assert (alice.id, await alice.state()) == ("alice", ("a", "b", "b", "c"))
            assert (len(alice.history), await alice.history.recent(1)) == (3, ["c"])
            assert [one.value for one in await alice.history.read(after=2)] == ["c"]
            assert (await alice.info()).kind == "Clerk"
            assert bridge.report is None
        assert bridge.report is not None
        assert bridge.report.clean

    asyncio.run(main())


def test_the_loop_goes_on_while_many_ask() -> None:
    async def main() -> None:
        world = World()
        async with open_bridge(Clerk, deps=world) as bridge:
            hanging = asyncio.create_task(bridge.space("slow").ask(Clerk.hang))
            replies = await asyncio.gather(*(bridge.space(f"s{n % 5}").ask(Clerk.say, f"t{n}") for n in range(50)))
            assert replies == [f"T{number}" for number in range(50)]
            hanging.cancel()
            with pytest.raises(asyncio.CancelledError):
                await hanging

    asyncio.run(main())


def test_cancelling_in_asyncio_cancels_in_trio() -> None:
    async def main() -> None:
        world = World()
        async with open_bridge(Clerk, deps=world) as bridge:
            hanging = asyncio.create_task(bridge.space("a").ask(Clerk.hang))
            assert await asyncio.to_thread(world.begun.wait, PATIENCE)
            hanging.cancel()
            assert await asyncio.to_thread(world.ended.wait, PATIENCE)
            assert await bridge.space("a").ask(Clerk.say, "x") == "X"

    asyncio.run(main())


def test_timeouts_of_asyncio_work() -> None:
    async def main() -> None:
        async with open_bridge(Clerk, deps=World()) as bridge:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await bridge.space("a").ask(Clerk.hang)

    asyncio.run(main())


def test_errors_come_out_in_asyncio_as_of_any_handle() -> None:
    async def main() -> None:
        async with open_bridge(Clerk, deps=World()) as bridge:
            with pytest.raises(Rejected, match="no"):
                await bridge.space("a").ask(Clerk.refuse)

    asyncio.run(main())


def test_asyncio_reads_streams_with_back_pressure_and_leaves_early() -> None:
    async def main() -> None:
        world = World()
        async with open_bridge(Clerk, deps=world) as bridge:
            async with bridge.space("a").stream(Clerk.numbers, 3) as items:
                assert [number async for number in items] == [0, 1, 2]
            world.ended.clear()
            world.made = 0
            async with bridge.space("b").stream(Clerk.numbers, 1_000_000) as items:
                assert await anext(items) == 0
            assert await asyncio.to_thread(world.ended.wait, PATIENCE)
            assert world.made < 100

    asyncio.run(main())


def test_asyncio_reads_feeds() -> None:
    async def main() -> None:
        async with open_bridge(Clerk, deps=World()) as bridge, bridge.space("a").subscribe() as feed:
            await bridge.space("a").ask(Clerk.say, "x")
            assert await anext(feed) == Emitted("x", 1)

    asyncio.run(main())


def test_a_stream_is_closed_though_its_reader_was_cancelled() -> None:
    async def main() -> None:
        world = World()
        async with open_bridge(Clerk, deps=world) as bridge:
            reading = asyncio.Event()

            async def read() -> None:
                async with bridge.space("a").stream(Clerk.numbers, 1_000_000) as items:
                    await anext(items)
                    reading.set()
                    await asyncio.Event().wait()

            task = asyncio.create_task(read())
            await reading.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await asyncio.to_thread(world.ended.wait, PATIENCE)

    asyncio.run(main())


def test_a_cancelled_block_leaves_no_time_and_nothing_behind() -> None:
    async def main() -> None:
        world = World()

        async def hold() -> None:
            async with open_bridge(Clerk, deps=world) as bridge:
                bridges.append(bridge)
                await bridge.space("a").send(Clerk.hang)
                await asyncio.Event().wait()

        bridges = []
        task = asyncio.create_task(hold())
        assert await asyncio.to_thread(world.begun.wait, PATIENCE)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert world.ended.is_set()
        assert world.thread is not None
        assert not world.thread.is_alive()
        assert bridges[0].report.cancelled == ("a",)

    asyncio.run(main())


def test_what_fails_while_dependencies_open_comes_out_at_asyncios_door() -> None:
    @asynccontextmanager
    async def open_deps() -> AsyncIterator[World]:
        raise OSError("no database")
        yield World()

    async def main() -> None:
        async with open_bridge(Clerk, deps=open_deps):
            pytest.fail("the block was entered")

    with pytest.raises(OSError, match="no database"):
        asyncio.run(main())


def test_opening_can_be_cancelled() -> None:
    world = World()

    @asynccontextmanager
    async def open_deps() -> AsyncIterator[World]:
        world.begun.set()
        try:
            await trio.sleep_forever()
        finally:
            world.ended.set()
        yield world

    async def main() -> None:
        async def enter() -> None:
            async with open_bridge(Clerk, deps=open_deps):
                pytest.fail("the block was entered")

        task = asyncio.create_task(enter())
        assert await asyncio.to_thread(world.begun.wait, PATIENCE)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert world.ended.is_set()

    asyncio.run(main())


def test_importing_the_bridge_loads_no_asyncio_and_spaceactors_loads_no_bridge() -> None:
    code = (
        "import sys, spaceactors; assert 'spaceactors.bridge' not in sys.modules\n"
        "import spaceactors.bridge; assert 'asyncio' not in sys.modules"
    )
    plain = {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], check=True, env=plain)
