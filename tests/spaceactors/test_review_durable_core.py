"""What a reader of the durable core found: promises that broke where two things meet."""

from __future__ import annotations

import pytest
import trio

from spaceactors import (
    Actor,
    ActorCrashed,
    BadCall,
    Outcome,
    Reject,
    Rejected,
    RestartLimit,
    RuntimeClosed,
    SpaceOptions,
    SpaceQuarantined,
    SpaceStatus,
    StoreError,
    handler,
)
from spaceactors._decide import Ending
from spaceactors._life import begin_end
from spaceactors._store import VersionLost
from spaceactors.stores._engine import Put
from tests.spaceactors.disks import Disk, check_ledger, life, live

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def disk(tmp_path):
    return Disk(tmp_path / "spaces.db")


# ---- values that cannot be written, met where the turn is over


class Misfit(Actor[int], kind="misfit"):
    """Gives the store what it cannot keep."""

    options = SpaceOptions(backoff=None)

    @handler
    async def refuse(self) -> None:
        raise Reject(object())

    @handler
    async def go_on(self) -> str:
        try:
            await self.step("make", self._make)
        except TypeError:
            self.state += 1
        return "went on"

    @staticmethod
    async def _make() -> object:
        return object()

    @handler(max_attempts=2)
    async def wonder(self) -> str:
        return await self.suspend("wonder", object(), answer=str)


async def test_D3_a_reason_that_cannot_be_written_is_remembered_by_its_text(disk):
    async with life(disk, Misfit) as runtime:
        once = runtime.space("alice").with_options(message_id="once")
        with pytest.raises(Rejected):
            await once.ask(Misfit.refuse)
        ledger = await check_ledger(runtime)
        assert ledger.outcomes[Outcome.REJECTED] == 1
    async with life(disk, Misfit) as runtime:
        with pytest.raises(Rejected) as refused:
            await runtime.space("alice").with_options(message_id="once").ask(Misfit.refuse)
        assert str(refused.value.reason).startswith("<object object")


async def test_D5_a_turn_that_survives_a_result_which_cannot_be_written_commits_at_its_first_try(disk):
    async with life(disk, Misfit) as runtime:
        alice = runtime.space("alice")
        assert await alice.ask(Misfit.go_on) == "went on"
        assert await alice.state() == 1


async def test_H1_a_question_that_cannot_be_written_fails_its_message_and_nothing_else(disk):
    async with life(disk, Misfit) as runtime:
        alice = runtime.space("alice")
        with pytest.raises(ActorCrashed) as crashed:
            await alice.ask(Misfit.wonder)
        assert isinstance(crashed.value.__cause__, TypeError)
        [letter] = await runtime.dead_letters.list()
        assert letter.attempts == 2
        assert await alice.ask(Misfit.go_on) == "went on"
        await check_ledger(runtime)


# ---- the end of a runtime


class Clerk(Actor[tuple[str, ...]], kind="clerk"):
    """Writes down what it is told."""

    options = SpaceOptions(backoff=None)

    @handler
    async def note(self, what: str) -> None:
        self.state = (*self.state, what)


async def test_S14_what_was_sent_without_waiting_is_handled_though_its_space_is_still_being_loaded(disk):
    async with life(disk, Clerk) as runtime:
        runtime.space("alice").send_nowait(Clerk.note, "hello")
    assert runtime.report.finished == ("alice",)
    async with life(disk, Clerk) as runtime:
        assert await runtime.space("alice").state() == ("hello",)


async def test_S19_what_was_sent_without_waiting_to_a_space_that_cannot_be_loaded_is_told_at_the_deadline(disk):
    async with life(disk, Clerk) as runtime:
        disk.unreadable = True
        runtime.space("alice").send_nowait(Clerk.note, "hello")
        await runtime.drain(timeout=10)
    ledger = await check_ledger(runtime)
    assert (ledger.accepted, ledger.outcomes[Outcome.RETURNED]) == (1, 1)


# ---- rows that somebody holds while an activation comes and goes


class Asker(Actor[tuple[str, ...]], kind="asker"):
    """Asks its user."""

    options = SpaceOptions(backoff=None, idle_timeout=10)

    @handler
    async def wonder(self) -> str:
        answer = await self.suspend("wonder", "why?", answer=str)
        self.state = (*self.state, answer)
        return answer

    @handler
    async def note(self, what: str) -> None:
        self.state = (*self.state, what)


async def test_H6_a_suspended_space_that_leaves_while_its_row_is_held_is_suspended_when_it_comes_back(disk):
    async with life(disk, Asker) as runtime:
        alice = runtime.space("alice")
        await alice.send(Asker.wonder)
        await runtime.settle()
        [question] = await runtime.suspensions.list()
        async with runtime._hub.loading.held([alice]):  # as a turn does whose commit brings alice something
            await runtime.advance(11)
            assert await live(runtime) == 0
            await alice.send(Asker.note, "later")
            await runtime.settle()
        assert await alice.state() == ()
        await runtime.suspensions.answer(question.id, "because")
        await runtime.settle()
        assert await alice.state() == ("because", "later")
        await check_ledger(runtime)


async def test_S2_what_a_drained_space_leaves_is_taken_up_by_its_next_activation_though_its_row_is_held(disk):
    async with life(disk, Asker) as runtime:
        alice = runtime.space("alice")
        await alice.send(Asker.wonder)
        await alice.send(Asker.note, "first")
        await runtime.settle()
        [question] = await runtime.suspensions.list()
        async with runtime._hub.loading.held([alice]):
            await alice.drain()
            await alice.send(Asker.note, "second")
            await runtime.suspensions.answer(question.id, "because")
            await runtime.settle()
        assert await alice.state() == ("because", "first", "second")
        ledger = await check_ledger(runtime)
        assert (ledger.accepted, ledger.pending) == (3, 0)
    async with life(disk, Asker) as runtime:
        assert (await runtime.snapshot()).ledger.pending == 0


# ---- a version that is lost while nothing can be read


class Overtaken(Disk):
    """A disk on which somebody else has changed a space, as the next so many commits find out."""

    def __init__(self, path):
        super().__init__(path)
        self.overtaken = 0
        # How often the space cannot be read then.
        self.unseen = 0

    def write(self, writes):
        kept = []
        for rows in writes:
            lost = self.overtaken and any(put is Put.SAVE_SPACE for put, _ in rows)
            self.overtaken -= bool(lost)
            kept.append(VersionLost() if lost else super().write([rows])[0])
        return kept

    def space(self, key):
        if self.unseen:
            self.unseen -= 1
            raise StoreError("the disk cannot be read")
        return self._inner.space(key)


class Starter(Actor[int], kind="starter"):
    """Counts its starts, and what it is asked."""

    options = SpaceOptions(backoff=None)

    async def on_start(self) -> None:
        self.state += 100

    @handler
    async def add(self) -> int:
        self.state += 1
        return self.state


async def test_A1_a_turn_that_was_overtaken_while_nothing_can_be_read_runs_again_and_fails_nobody(tmp_path):
    disk = Overtaken(tmp_path / "spaces.db")
    async with life(disk, Starter) as runtime:
        alice = runtime.space("alice")
        await alice.ask(Starter.add)
        disk.overtaken, disk.unseen = 1, 1
        await alice.send(Starter.add)
        await runtime.advance(5)
        assert await alice.state() == 102
        assert not await runtime.dead_letters.list()
        await check_ledger(runtime)


async def test_A1_a_hook_that_was_overtaken_while_nothing_can_be_read_runs_again_and_ends_no_service(tmp_path):
    disk = Overtaken(tmp_path / "spaces.db")
    async with life(disk, Starter) as runtime:
        await runtime.space("bob").ask(Starter.add)
        disk.overtaken, disk.unseen = 1, 1
        alice = runtime.space("alice")
        assert await alice.ask(Starter.add) == 101
        assert (await alice.info()).restarts == 0
        assert await runtime.space("bob").ask(Starter.add) == 102


class Assigner(Actor[int], kind="assigner"):
    """Begins with a state of its own making."""

    options = SpaceOptions(backoff=None)

    def __init__(self) -> None:
        self.state += 100

    @handler
    async def add(self) -> int:
        self.state += 1
        return self.state


async def test_R28_an_actor_that_assigns_as_it_is_made_and_is_overtaken_is_made_again_and_has_not_crashed(tmp_path):
    disk = Overtaken(tmp_path / "spaces.db")
    async with life(disk, Assigner) as runtime:
        disk.overtaken = 1
        alice = runtime.space("alice")
        assert await alice.ask(Assigner.add) == 101
        assert (await alice.info()).restarts == 0


# ---- what the end of a space promises


def unsettled(disk):
    """How many messages that do not sleep a process would find that opened the disk now."""
    return len(disk.waiting(("asker",), 0, 100))


async def test_S2_when_stop_returns_nothing_of_what_it_gave_back_would_be_found_after_a_kill(disk):
    async with life(disk, Asker) as runtime:
        alice = runtime.space("alice")
        await alice.send(Asker.wonder)
        for number in range(5):
            await alice.send(Asker.note, str(number))
        assert unsettled(disk) == 5
        await alice.stop()
        assert unsettled(disk) == 0


async def test_D6_a_sender_who_is_told_that_a_message_was_not_accepted_does_not_find_it_handled_later(disk):
    async with life(disk, Asker) as runtime:
        alice = runtime.space("alice")
        await alice.send(Asker.wonder)
        await runtime.settle()
        [space] = runtime._hub.live.values()
        disk.full = True
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def _() -> None:
                with pytest.raises(StoreError):
                    await alice.send(Asker.note, "lost")
                disk.full = False

            while not space.mailbox:
                await trio.lowlevel.checkpoint()
            begin_end(space, Ending.KILL, by_runtime=True)
        await runtime.advance(10)
        assert unsettled(disk) == 0


# ---- names that no database takes


class Namer(Actor[int], kind="namer"):
    """Uses a name for everything that has one."""

    options = SpaceOptions(backoff=None)

    @handler
    async def add(self) -> int:
        self.state += 1
        return self.state

    @handler
    async def schedule_it(self, name: str) -> None:
        self.schedule(name, Namer.add, after=5)

    @handler
    async def step_it(self, name: str) -> None:
        await self.step(name, trio.lowlevel.checkpoint)

    @handler
    async def ask_it(self, name: str) -> None:
        await self.suspend(name, "why?", answer=str)


UNSTORABLE = ["\ud800", "a\0b"]


@pytest.mark.parametrize("name", UNSTORABLE)
async def test_D6_ids_that_no_database_takes_are_refused_at_the_door_and_stop_no_space(disk, name):
    async with life(disk, Namer) as runtime:
        alice = runtime.space("alice")
        with pytest.raises(BadCall, match="NUL"):
            alice.with_options(message_id=name).send_nowait(Namer.add)
        with pytest.raises(BadCall, match="NUL"):
            runtime.space(name)
        assert await alice.ask(Namer.add) == 1


@pytest.mark.parametrize("name", UNSTORABLE)
@pytest.mark.parametrize("method", [Namer.schedule_it, Namer.step_it, Namer.ask_it])
async def test_D6_a_turn_that_names_something_as_no_database_can_fails_and_is_not_taken_for_an_outage(
    disk, name, method
):
    async with life(disk, Namer) as runtime:
        alice = runtime.space("alice")
        await alice.send(method, name)
        with trio.fail_after(10):
            assert await alice.ask(Namer.add) == 1
        [letter] = await runtime.dead_letters.list()
        assert isinstance(letter.error, ValueError)
        await check_ledger(runtime)


# ---- quarantine


class Fragile(Actor[tuple[str, ...]], kind="fragile"):
    """Is quarantined with its first crash."""

    options = SpaceOptions(backoff=None, restart_limit=RestartLimit(0, 60))

    @handler
    async def crash(self) -> None:
        await trio.sleep(5)
        raise ValueError

    @handler
    async def later(self) -> None:
        self.schedule("tick", Fragile.note, "tick", after=2)

    @handler
    async def note(self, what: str) -> None:
        self.state = (*self.state, what)


async def test_T10_a_tick_that_waits_in_a_quarantined_space_comes_once_after_a_restart(disk):
    async with life(disk, Fragile) as runtime:
        alice = runtime.space("alice")
        await alice.ask(Fragile.later)
        await alice.send(Fragile.crash)
        await runtime.advance(10)
        assert (await alice.info()).status is SpaceStatus.QUARANTINED
        await runtime.reopen()
        await alice.revive()
        await runtime.advance(10)
        assert await alice.state() == ("tick",)
        await check_ledger(runtime)


async def test_A1_an_ask_that_a_quarantine_keeps_pending_is_written_in_the_end(disk):
    async with life(disk, Fragile) as runtime:
        alice = runtime.space("alice")
        await alice.send(Fragile.crash)
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def _() -> None:
                with pytest.raises(SpaceQuarantined):
                    await alice.ask(Fragile.note, "asked")

            await runtime.advance(4)
            disk.full = True
            await runtime.advance(3)
        disk.full = False
        await runtime.advance(10)
        await runtime.reopen()
        await alice.revive()
        await runtime.settle()
        assert await alice.state() == ("asked",)
        await check_ledger(runtime)


# ---- the same message, asked and sent


class Stepper(Actor[int], kind="stepper"):
    """Goes on when it is let."""

    def __init__(self, gate: trio.Event) -> None:
        self.gate = gate

    @handler
    async def work(self) -> str:
        await self.step("one", trio.lowlevel.checkpoint)
        await self.gate.wait()
        return "done"


async def test_D3_a_send_of_what_is_asked_already_returns_when_that_is_on_the_disk(disk):
    gate = trio.Event()
    async with life(disk, Stepper, deps=gate) as runtime:
        once = runtime.space("alice").with_options(message_id="once")
        async with trio.open_nursery() as nursery:
            disk.full = True
            nursery.start_soon(once.ask, Stepper.work)
            await runtime.advance(1)
            with trio.move_on_after(20) as patience:
                await once.send(Stepper.work)
            assert patience.cancelled_caught  # what carries the message, its first step, is not written yet
            disk.full = False
            await once.send(Stepper.work)
            assert len(disk.waiting(("stepper",), 0, 10)) == 1
            gate.set()


# ---- the order after a restart


class Queue(Actor[tuple[str, ...]], kind="queue"):
    """Takes a step in the middle of its work."""

    @handler
    async def work(self) -> None:
        await trio.sleep(1)
        await self.step("one", trio.lowlevel.checkpoint)
        await trio.sleep(5)
        self.state = (*self.state, "asked")

    @handler
    async def note(self) -> None:
        self.state = (*self.state, "sent")


async def test_M1_an_ask_that_was_accepted_first_goes_first_after_a_kill_though_it_was_written_later(disk):
    async with life(disk, Queue) as runtime:
        alice = runtime.space("alice")
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def _() -> None:
                with pytest.raises(RuntimeClosed):
                    await alice.ask(Queue.work)

            await runtime.settle()
            await alice.send(Queue.note)
            await runtime.advance(2)
            await runtime.reopen()
        await runtime.advance(20)
        assert await alice.state() == ("asked", "sent")


class Grouped(Actor[int], kind="grouped"):
    """Takes turns with whomever a text names that no database keeps."""

    @classmethod
    def group_of(cls, space_id: str, /) -> str:
        return f"{space_id}\x00"

    @handler
    async def work(self) -> None:
        self.state += 1


async def test_a_group_that_no_database_keeps_is_refused_in_the_sender(disk):
    async with life(disk, Grouped) as runtime:
        with pytest.raises(BadCall, match="no database keeps"):
            await runtime.space("alice").send(Grouped.work)
