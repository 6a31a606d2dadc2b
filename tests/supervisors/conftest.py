"""What the behaviour tests share: virtual time without asking, a guard against hanging, and obedient children."""

from __future__ import annotations

import inspect
from collections import deque
from functools import partial
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from supervisors import ChildSpec, until_drain

HERE = Path(__file__).parent
HANGING_AFTER = 1e7  # virtual seconds: nothing here waits as long, so whoever does waits for ever


class Boom(Exception):
    """What a child dies of. Two are never equal, so tests can ask for identity."""


def run_in_virtual_time(main, *, clock=None, instruments=()):
    async def guarded():
        with trio.fail_after(HANGING_AFTER):
            return await main()

    return trio.run(guarded, clock=clock or MockClock(autojump_threshold=0), instruments=instruments)


def pytest_collection_modifyitems(items):
    """Each behaviour test runs on its own virtual clock from 0.0; 120 real seconds mean a loop or a shielded hang."""
    for item in items:
        if item.path.parent != HERE or not item.path.name.startswith("test_behaviour"):
            continue
        if not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(120))
        if inspect.iscoroutinefunction(getattr(item, "obj", None)):
            item.add_marker(pytest.mark.trio(run=run_in_virtual_time))


class Trace(list):
    """What happened, in order: `+a` began, `-a` is gone, `~a` was asked to drain, `=a` has finished its work."""

    def take(self):
        """What happened since the last look, as one line."""
        line = " ".join(self)
        self.clear()
        return line


class Puppet:
    """A child that does as it is told and notes what happens to it in the trace. Its value counts its starts."""

    def __init__(self, name, trace, **traits):
        self.name = name
        self.trace = trace
        self.started_at = []  # one time per start, successful or not
        self.args = ()  # those of the last start
        self.alive = 0  # incarnations that run, clean-up included
        self.overlapped = False  # two of them did at once, which must never be
        self.fails = deque()  # what the next starts raise before they are ready
        self.start_seconds = 0.0
        self.dying_seconds = 0.0  # shielded clean-up, whatever ended it
        self.dying_error = None  # what its clean-up raises
        self.work_seconds = None  # listens for the drain when set, and then works on for so long
        self.on_start = None  # async, called once it is ready
        self.on_dying = None  # async, called in its clean-up, shielded
        self._arrival = trio.Event()  # of the next start
        self._orders = None
        for trait, value in traits.items():
            if not hasattr(self, trait):
                raise TypeError(trait)
            setattr(self, trait, deque(value) if trait == "fails" else value)

    @property
    def starts(self):
        return len(self.started_at)

    def spec(self, *args, **options):
        return ChildSpec(self.name, self.run, *args, **options)

    async def run(self, *args, task_status=trio.TASK_STATUS_IGNORED):
        self.started_at.append(trio.current_time())
        self._arrival.set()
        self._arrival = trio.Event()
        self.args = args
        self.alive += 1
        self.overlapped |= self.alive > 1
        self.trace.append(f"+{self.name}")
        try:
            await self._live(task_status)
        finally:
            with trio.CancelScope(shield=True):
                if self.on_dying:
                    await self.on_dying()
                if self.dying_seconds:
                    await trio.sleep(self.dying_seconds)
            self._orders = None
            self.alive -= 1
            self.trace.append(f"-{self.name}")
            if self.dying_error:
                raise self.dying_error

    async def _live(self, task_status):
        if self.start_seconds:
            await trio.sleep(self.start_seconds)
        if self.fails:
            raise self.fails.popleft()
        self._orders = orders = Orders()
        task_status.started(self.starts)
        if self.on_start:
            await self.on_start()
        if self.work_seconds is None:
            await orders.follow()
            return
        with until_drain() as asked:
            await orders.follow()
        if not asked.cancelled_caught:
            return
        self.trace.append(f"~{self.name}")
        await trio.sleep(self.work_seconds)
        self.trace.append(f"={self.name}")

    def tell(self, error=None):
        """End, or raise `error`; it happens when the child runs next."""
        assert self._orders, f"{self.name} is not running"
        self._orders.error = error
        self._orders.came.set()

    async def ends(self):
        self.tell()
        await wait_all_tasks_blocked()

    async def starts_again(self):
        await self._arrival.wait()
        await wait_all_tasks_blocked()

    async def crashes(self, error=None):
        error = error or Boom(self.name)
        self.tell(error)
        await wait_all_tasks_blocked()
        return error


class Orders:
    """What one incarnation is told to do next."""

    def __init__(self):
        self.came = trio.Event()
        self.error = None

    async def follow(self):
        await self.came.wait()
        if self.error:
            raise self.error


@pytest.fixture
def trace():
    return Trace()


@pytest.fixture
def puppet(trace):
    """`puppet("a", work_seconds=2.0)` makes one child, `puppet.cast("a b c")` several. None may outlive its test."""
    made = []

    def make(name, **traits):
        made.append(Puppet(name, trace, **traits))
        return made[-1]

    make.cast = lambda names, **traits: [make(name, **traits) for name in names.split()]
    yield make
    assert not [child.name for child in made if child.alive or child.overlapped]


@pytest.fixture
def boom():
    """Makes an error that nothing else raises."""
    return Boom


@pytest.fixture
def in_virtual_time():
    """Runs an async function from a sync test, as the async tests run."""
    return partial(run_in_virtual_time)
