"""Message ids (D3 in memory, and what handles promise of them): a known id is the same message."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from spaceactors import (
    ActorCrashed,
    BadCall,
    MessageReturned,
    Rejected,
    RestartLimit,
    SpaceQuarantined,
)
from tests.spaceactors.clerks import Boom, Clerk, open_office


def named(space, message_id="m1"):
    return space.with_options(message_id=message_id)


async def test_D3_an_id_sent_twice_is_one_turn():
    async with open_office() as office:
        assert await named(office.space()).send(Clerk.note, "x") == "m1"
        assert await named(office.space()).send(Clerk.note, "x") == "m1"
        assert await named(office.space()).ask(Clerk.note, "x") == "X"
        assert named(office.space()).send_nowait(Clerk.note, "x") == "m1"
        await office.settled()
        assert office.diary == ["x"]
        assert await office.ledger() == {"handled": 1}


async def test_D3_all_who_ask_with_one_pending_id_get_the_one_reply():
    async with open_office() as office:
        for key in "abc":
            office.asking(named(office.space()), Clerk.note, "x", 2.0, key=key)
        await trio.sleep(3)
        assert office.answers == {"a": "X", "b": "X", "c": "X"}
        assert office.diary == ["x"]


async def test_D3_a_settled_id_gives_its_recorded_reply():
    async with open_office() as office:
        assert await named(office.space()).ask(Clerk.note, "x") == "X"
        await office.space().ask(Clerk.note, "y")
        assert await named(office.space()).ask(Clerk.note, "x") == "X"
        assert office.diary == ["x", "y"]


async def test_D3_a_recorded_rejection_is_given_again():
    async with open_office() as office:
        for _ in range(2):
            with pytest.raises(Rejected) as caught:
                await named(office.space()).ask(Clerk.refuse, "no")
            assert caught.value.reason == "no"
        assert office.diary == ["no"]
        assert await office.ledger() == {"rejected": 1}


async def test_D3_all_who_ask_with_a_pending_id_that_fails_get_errors_of_their_own():
    async with open_office() as office:
        for key in "ab":
            office.asking(named(office.space()), Clerk.crash, "x", 1.0, key=key)
        await trio.sleep(2)
        first, second = office.answers["a"], office.answers["b"]
        assert isinstance(first, ActorCrashed)
        assert isinstance(second, ActorCrashed)
        assert first is not second
        assert isinstance(first.__cause__, Boom)
        assert isinstance(second.__cause__, Boom)


@pytest.mark.parametrize("state", ["pending", "settled"])
async def test_D3_a_known_id_with_another_call_is_a_bad_call(state):
    async with open_office() as office:
        await office.begin(named(office.space()), Clerk.note, "x", 5.0)
        await trio.sleep(6 if state == "settled" else 0)
        for method, args in ((Clerk.note, ("y",)), (Clerk.note, ("x",)), (Clerk.refuse, ("x",))):
            with pytest.raises(BadCall, match="m1"):
                await named(office.space()).send(method, *args)
        assert len(office.diary) == 1


async def test_D3_the_same_id_in_another_space_is_another_message():
    async with open_office() as office:
        for name in "ab":
            await named(office.space(name)).ask(Clerk.note, "x")
        assert office.diary == ["x", "x"]


async def test_D3_a_failed_message_frees_its_id():
    async with open_office() as office:
        for _ in range(2):
            with pytest.raises(ActorCrashed):
                await named(office.space()).ask(Clerk.crash, "x")
        assert office.diary == ["x", "x"]
        assert await office.ledger() == {"failed": 2}


async def test_D3_a_returned_message_frees_its_id():
    async with open_office() as office:
        await office.begin(named(office.space()), Clerk.note, "x", 5.0)
        await office.space().kill()
        assert await named(office.space()).ask(Clerk.note, "x", 5.0) == "X"
        assert await office.ledger() == {"returned": 1, "handled": 1}


async def test_D3_an_expired_message_frees_its_id():
    async with open_office() as office:
        await office.begin(office.space(), Clerk.note, "run", 5.0)
        await named(office.space()).with_options(expires_after=1.0).send(Clerk.note, "x")
        await trio.sleep(2)
        assert await named(office.space()).ask(Clerk.note, "x") == "X"


async def test_D3_ids_are_kept_through_passivation():
    async with open_office(idle_timeout=1.0) as office:
        await named(office.space()).ask(Clerk.note, "x")
        await trio.sleep(5)
        assert await named(office.space()).ask(Clerk.note, "x") == "X"
        assert office.diary == ["x"]


@pytest.mark.parametrize(("seconds", "turns"), [(10.0, 1), (10.1, 2)])
async def test_D3_an_id_is_known_until_the_window_is_over(seconds, turns):
    async with open_office(dedupe_window=10.0) as office:
        await named(office.space()).ask(Clerk.note, "x")
        await trio.sleep(seconds)
        await named(office.space()).ask(Clerk.note, "x")
        assert len(office.diary) == turns


async def test_D3_the_window_begins_when_the_message_is_handled():
    async with open_office(dedupe_window=10.0) as office:
        await named(office.space()).ask(Clerk.note, "x", 8.0)
        await trio.sleep(8)
        await named(office.space()).ask(Clerk.note, "x", 8.0)
        assert len(office.diary) == 1


async def test_D3_at_most_so_many_ids_are_known_and_the_oldest_is_forgotten_first():
    async with open_office(dedupe_limit=3) as office:
        for number in range(4):
            await named(office.space(), f"m{number}").ask(Clerk.note, str(number))
        await named(office.space(), "m3").ask(Clerk.note, "3")
        await named(office.space(), "m1").ask(Clerk.note, "1")
        assert office.diary == ["0", "1", "2", "3"]
        await named(office.space(), "m0").ask(Clerk.note, "0")
        assert office.diary[-1] == "0"


async def test_D3_with_a_limit_of_none_only_pending_ids_are_known():
    async with open_office(dedupe_limit=0) as office:
        for key in "ab":
            office.asking(named(office.space()), Clerk.note, "x", 1.0, key=key)
        await trio.sleep(2)
        assert office.diary == ["x"]
        await named(office.space()).ask(Clerk.note, "x", 1.0)
        assert office.diary == ["x", "x"]


async def test_D3_two_senders_in_line_with_one_id_make_one_turn():
    async with open_office(mailbox_capacity=1) as office:
        space = office.space()
        await office.begin(space, Clerk.note, "run", 1.0)
        await space.send(Clerk.note, "w0")
        for key in "ab":
            office.asking(named(space), Clerk.note, "x", key=key)
            await wait_all_tasks_blocked()
        await trio.sleep(2)
        assert office.diary == ["run", "w0", "x"]
        assert office.answers == {"a": "X", "b": "X"}
        assert await office.ledger() == {"handled": 3}


async def test_D3_a_sender_in_line_whose_id_was_meanwhile_used_otherwise_gets_a_bad_call():
    async with open_office(mailbox_capacity=1) as office:
        space = office.space()
        await office.begin(space, Clerk.note, "run", 1.0)
        await space.send(Clerk.note, "w0")
        office.asking(named(space), Clerk.note, "x", key="a")
        await wait_all_tasks_blocked()
        office.asking(named(space), Clerk.note, "y", key="b")
        await trio.sleep(2)
        assert office.answers["a"] == "X"
        assert isinstance(office.answers["b"], BadCall)


async def test_D3_a_waiting_message_with_a_known_id_is_refused_at_a_quarantined_space():
    """The earlier message waits there, and nobody is left without an answer."""
    async with open_office(restart_limit=RestartLimit(0, 1.0)) as office:
        space = office.space()
        await office.begin(space, Clerk.crash, "crash", 1.0)
        await named(space).send(Clerk.note, "x")
        await trio.sleep(2)
        with trio.fail_after(1), pytest.raises(SpaceQuarantined):
            await named(space).ask(Clerk.note, "x")
        await space.revive()
        assert await named(space).ask(Clerk.note, "x") == "X"


async def test_D3_a_bad_call_of_a_turn_with_a_used_id_leaves_the_earlier_message_known():
    async with open_office() as office:
        await office.begin(office.space("b"), Clerk.note, "run", 5.0)
        await named(office.space("b")).send(Clerk.note, "x")

        sender = office.space("a")
        await sender.ask(Clerk.send_named, "b", "m1", "other")
        assert await office.ledger() == {"handled": 1, "returned": 1, "pending": 2}
        await named(office.space("b")).send(Clerk.note, "x")
        await trio.sleep(6)
        assert office.diary.count("x") == 1


async def test_M15_an_asker_with_a_known_id_that_is_cancelled_in_the_same_moment_is_answered_or_cancelled():
    async with open_office() as office:
        await named(office.space()).ask(Clerk.note, "x")
        answers = []
        for _ in range(20):
            async with trio.open_nursery() as nursery:
                scope = trio.CancelScope()

                async def ask(scope=scope):
                    with scope:
                        answers.append(await named(office.space()).ask(Clerk.note, "x"))

                async def cancel(scope=scope):
                    scope.cancel()

                nursery.start_soon(ask)
                nursery.start_soon(cancel)
        assert set(answers) <= {"X"}
        assert office.diary == ["x"]


async def test_A5_the_first_of_two_askers_leaves_and_the_other_still_gets_the_reply_under_cancel():
    from spaceactors import WhenAbandoned

    async with open_office(when_abandoned=WhenAbandoned.CANCEL) as office:
        first = office.asking(named(office.space()), Clerk.note, "x", 2.0, key="a")
        await office.settled()
        second = office.asking(named(office.space()), Clerk.note, "x", 2.0, key="b")
        await office.settled()
        first.cancel()
        await trio.sleep(3)
        assert office.answers == {"b": "X"}
        assert second.cancel_called is False


async def test_D3_stream_takes_no_id():
    async with open_office() as office:
        with pytest.raises(BadCall, match="message_id"):
            async with named(office.space()).stream(Clerk.count_up, "x"):
                raise AssertionError
        assert await office.ledger() == {}


@pytest.mark.parametrize("wrong", ["", 7, b"m"])
async def test_D3_an_id_is_a_text_that_is_not_empty(wrong):
    async with open_office() as office:
        with pytest.raises(ValueError, match="message_id"):
            office.space().with_options(message_id=wrong)


async def test_D3_a_handler_sees_the_id_that_was_given():
    async with open_office() as office:
        assert await named(office.space(), "mine").ask(Clerk.own_id) == "mine"


async def test_D3_ids_made_by_the_runtime_are_never_the_same():
    async with open_office() as office:
        ids = [await office.space().send(Clerk.note, "x") for _ in range(50)]
        assert len(set(ids)) == 50


async def test_D3_a_stopped_space_returns_the_reply_of_a_known_id_to_nobody_but_runs_returned_ones_anew():
    async with open_office() as office:
        space = office.space()
        await office.begin(space, Clerk.note, "run", 1.0)
        office.asking(named(space), Clerk.note, "x", key="a")
        await office.settled()
        await space.stop()
        await office.settled()
        assert isinstance(office.answers["a"], MessageReturned)
        assert await named(space).ask(Clerk.note, "x") == "X"


async def test_H5_questions_of_two_spaces_under_one_message_id_are_two_questions():
    """A message id belongs to its space."""
    async with open_office() as office:
        for name in "ab":
            office.asking(named(office.space(name)), Clerk.question, "x", key=name)
        await office.settled()
        for question in await office.runtime.suspensions.list():
            await office.runtime.suspensions.answer(question.id, f"for {question.space.id}")
        await office.settled()
        assert office.answers == {"a": "for a", "b": "for b"}
