"""A place in which stages of a stream run, and what they do there with an item."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, final

from attrs import frozen

from spaceactors.pipelines._at_once import at_once
from spaceactors.pipelines._call import INLINE, Note, called
from spaceactors.pipelines._chain import run_chain
from spaceactors.pipelines._context import ContextKind
from spaceactors.pipelines._flow import Exits
from spaceactors.pipelines._functions import Wait
from spaceactors.pipelines._items import StageCount
from spaceactors.pipelines._options import OnError
from spaceactors.pipelines._stage import StageKind
from spaceactors.pipelines._straight import Stretch, go_straight

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from spaceactors.pipelines._call import StageCall
    from spaceactors.pipelines._flow import Flow
    from spaceactors.pipelines._items import Item


@final
@frozen
class Step:
    """One function of several that are called one after the other, with nothing between."""

    number: int
    fn: Callable[..., Any]
    wait: Wait
    count: StageCount


@final
class Place:
    """What the stages of one place do with an item, and where it goes then."""

    def __init__(self, flow: Flow, members: tuple[int, ...]) -> None:
        self.flow = flow
        self.members = members
        self.exits = Exits(flow, members)
        # Without the source, which nobody calls.
        self.working = tuple(number for number in members if number)
        self._beside = {number: flow.beside(number) for number in members}
        # How each is called.
        self._calls = {number: call for number in self.working if (call := flow.calls[number]) is not None}
        # The functions to call one after the other, if that is all there is to do, here or together elsewhere.
        self._steps: tuple[Step, ...] | None = None
        self._chain: tuple[tuple[Callable[..., Any], str], ...] | None = None
        if all(len(takers) <= 1 for takers in self._beside.values()) and all(call.bare for call in self._chained()):
            self._plan_chain()
        # Which results of a chain somebody elsewhere takes; the others need not come back.
        output = flow.graph.output
        self._wanted = tuple(bool(flow.next_of(number)) or number == output for number in self.working)

    def _chained(self) -> list[StageCall]:
        return [self._calls[number] for number in self.working]

    def _plan_chain(self) -> None:
        calls = self._chained()
        if all(call.context == INLINE for call in calls):
            counts = self.flow.count.stages
            self._steps = tuple(
                Step(number, call.stage._fn, call.stage._wait, counts[number]) for number, call in self._calls.items()
            )
        elif len(calls) > 1 and self._is_away() and all(call.stage._wait is not Wait.ALWAYS for call in calls):
            self._chain = tuple((call.stage._fn, call.where) for call in calls)

    def _is_away(self) -> bool:
        """Tell whether it is not in the program's own event loop, whatever a pool calls its contexts."""
        contexts = self.flow.world.contexts
        return contexts is not None and contexts.kind_of(self._chained()[0].context) is not ContextKind.INLINE

    @property
    def name(self) -> str:
        """What it is called in the tree."""
        return " → ".join(self.flow.graph.stages[number].name for number in self.members)

    # ---- working on items

    async def work(self, item: Item) -> list[int]:
        """Do what is to be done here with an item; return the stages that have a result for it."""
        if self._steps is not None:
            await self._go_straight(item, self._steps)
            return [*self.working]
        if self._chain is not None:
            await self._go_whole(item, self._chain)
            return [*self.working]
        done: list[int] = []
        await self._follow(self.working[0], item, done)
        return sorted(done)

    async def _go_straight(self, item: Item, steps: tuple[Step, ...]) -> None:
        args = self.flow.args(self.working[0], item) if steps else ()
        for step in steps:
            step.count.taken += 1
            try:
                if step.wait is Wait.ALWAYS:
                    value = await step.fn(*args)
                else:
                    value = step.fn(*args) if step.wait is Wait.NEVER else await called(step.fn, args)
            except Exception as error:
                self._calls[step.number].mark(error)
                raise
            step.count.done += 1
            item.values[step.number] = value
            args = (value,)

    async def _go_whole(self, item: Item, chain: tuple[tuple[Callable[..., Any], str], ...]) -> None:
        self._count(taken=1)
        first = self._calls[self.working[0]]
        args = self.flow.args(self.working[0], item)
        try:
            values = await self.flow.world.run_in(first.context, run_chain, (chain, args, self._wanted))
        except Exception as error:
            self._mark_somewhere(error)
            raise
        for number, value in zip(self.working, values, strict=True):
            item.values[number] = value
        self._count(done=1)

    def _mark_somewhere(self, error: Exception) -> None:
        """Have an error tell that it was raised in one of the stages, if it does not tell in which."""
        notes = getattr(error, "__notes__", ())
        if not any(call.where in notes for call in self._chained()):
            names = ", ".join(repr(call.stage.name) for call in self._chained())
            error.add_note(f"in one of the stages {names} of pipeline {self.flow.graph.name!r}")

    def _count(self, *, taken: int = 0, done: int = 0) -> None:
        for number in self.working:
            count = self.flow.count.stages[number]
            count.taken += taken
            count.done += done

    async def _follow(self, number: int, item: Item, done: list[int]) -> None:
        """Run a stage, and those beside it that take its result: at the same time, if they are several."""
        while await self._attempt(number, item):
            done.append(number)
            beside = self._beside[number]
            if len(beside) != 1:
                if beside:
                    await at_once([partial(self._follow, one, item, done) for one in beside])
                return
            number = beside[0]

    async def _attempt(self, number: int, item: Item) -> bool:
        """Run one stage for an item; tell whether it has a result."""
        flow, call = self.flow, self._calls[number]
        count = flow.count.stages[number]
        count.taken += 1
        try:
            item.values[number] = await call(flow.world, flow.args(number, item), Note())
        except Exception as error:
            if call.stage._rules.on_error is not OnError.SKIP:
                raise
            flow.skip(number, item, error)
            return False
        count.done += 1
        return True

    # ---- the straight way: all of a stream in one place

    @property
    def is_straight(self) -> bool:
        """Whether items need nothing but the functions called one after the other, and nobody behind takes them."""
        return self._steps is not None and self.exits.is_end

    async def run_straight(self, values: Iterator[Any], stretch: Stretch) -> None:
        """Take items and call the functions for each."""
        steps, whole = self._steps or (), self.flow.count
        # All stages have the same figures as long as nothing fails.
        shared = StageCount()
        for step in steps:
            whole.stages[step.number] = shared

        def count(done: int) -> None:
            shared.taken += done
            shared.done += done
            whole.taken += done
            whole.delivered += done

        try:
            await go_straight(values, [step.fn for step in steps], [step.wait for step in steps], stretch, count)
        except BaseException as error:
            if stretch.at is not None:
                self._cut_off(steps, stretch.at, shared)
            if isinstance(error, Exception):
                self._mark_straight(error, steps, stretch.at)
            raise

    def _mark_straight(self, error: Exception, steps: tuple[Step, ...], at: int | None) -> None:
        if at is None:
            self.mark_source(error)
        else:
            self._calls[steps[at].number].mark(error)

    def _cut_off(self, steps: tuple[Step, ...], at: int, shared: StageCount) -> None:
        """Count an item that one of the stages was not done with."""
        self.flow.count.taken += 1
        for place, step in enumerate(steps):
            own = StageCount(shared.taken + (place <= at), shared.done + (place < at))
            self.flow.count.stages[step.number] = own

    def mark_source(self, error: BaseException) -> None:
        """Have an error tell that it was raised in the source."""
        error.add_note(f"in the source of pipeline {self.flow.graph.name!r}")


def places_of(flow: Flow, groups: Iterable[tuple[int, ...]]) -> list[Place]:
    """Return the places in which stages run, the source's first."""
    places = [Place(flow, group) for group in groups]
    if flow.graph.source.kind is StageKind.INPUT:
        places.insert(0, Place(flow, (0,)))
    for channels in flow.inboxes.values():
        channels[0].close()  # only clones are left: a place ends when those before it have
    flow.results[0].close()
    return places
