"""What is asked of a service that runs: read from its engine beside the writing, changed through the runtime itself."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from contextlib import aclosing
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, TypeVar, cast, final

import trio

from spaceactors._codec_json import from_json
from spaceactors._errors import SpaceError, SuspensionClosed
from spaceactors._options import SpaceStatus
from spaceactors._snapshot import ledger_now, status_of, times_of
from spaceactors._suspensions import JsonAnswer
from spaceactors.admin import _reading as reading
from spaceactors.admin import _telling as telling
from spaceactors.admin._changing import (
    GONE,
    answer_question,
    answered,
    check_json,
    chosen,
    no_question,
    not_found,
    told,
)
from spaceactors.admin._figures import service_figures
from spaceactors.admin._requests import (
    AdminError,
    AnswerQuestion,
    CountAll,
    DiscardLetters,
    ListSpaces,
    ResendLetters,
    ShowSpace,
    Vacuum,
    Verify,
)
from spaceactors.stores._engine import SpaceRow

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator

    from spaceactors._hub import Hub
    from spaceactors.admin._requests import Request, Row
    from spaceactors.stores._durable import DurableStore
    from spaceactors.stores._engine import LetterRow

T = TypeVar("T")

# Spaces that are looked at before others run.
AT_A_STRETCH = 1000
# Seconds that a letter waits for a place in a full mailbox.
PATIENCE = 10.0


@final
class RunningStore:
    """The store of a runtime, for those who look after it."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        store = cast("DurableStore", hub.store)
        self._store = store
        self._engine = store._engine
        self._desk = store._desk
        # A check reads the whole file: several at once would leave the service itself no reader.
        self._checking = trio.CapacityLimiter(1)

    async def ask(self, request: Request) -> AsyncGenerator[Row]:
        """Yield what answers a request. Raises `AdminError` and `StoreError`."""
        async with aclosing(self._rows(request)) as rows:
            async for row in rows:
                yield row

    def _rows(self, request: Request) -> AsyncGenerator[Row]:
        match request:
            case ListSpaces():
                return self._spaces(request)
            case ShowSpace():
                return self._space(request)
            case ResendLetters() | DiscardLetters():
                return self._letters(request)
            case AnswerQuestion():
                return self._answer(request)
            case CountAll():
                return self._count()
            case Verify():
                return self._verify()
            case Vacuum():
                return self._vacuum()
            case _:
                return self._read(lambda: reading.read(self._engine, request))

    async def _read(self, begin: Callable[[], Iterator[T]]) -> AsyncGenerator[T]:
        """Yield what a blocking iterator gives, which runs in worker threads, piece by piece."""
        rows = await self._desk.read(begin)

        def take() -> list[T]:
            return list(islice(rows, reading.PAGE))

        while piece := await self._desk.read(take):
            for row in piece:
                yield row

    # ---- spaces

    async def _spaces(self, request: ListSpaces) -> AsyncGenerator[Row]:
        """Yield stored spaces and live ones, in the order of kinds and ids; the live ones as they are now."""
        left = request.limit
        for kind in await self._desk.read(reading.kinds_to_list, self._engine, request):
            async with aclosing(self._spaces_of(kind, request.after)) as rows:
                async for row in rows:
                    if left == 0:
                        return
                    if request.status in {None, row["status"]}:
                        left -= 1
                        yield row

    async def _spaces_of(self, kind: str, after: str) -> AsyncGenerator[Row]:
        live = sorted(one for its, one in self._hub.live if its == kind and one > after)
        while True:
            page = await self._desk.read(reading.space_lines, self._engine, kind, after)
            stored = {str(row["space"]): row for row in page}
            last = max(stored) if len(page) == reading.PAGE else None
            end = len(live) if last is None else bisect_right(live, last)
            for space_id in sorted({*stored, *live[:end]}):
                row = self._as_it_is(kind, space_id, stored.get(space_id))
                if row is not None:
                    yield row
            if last is None:
                return
            after, live = last, live[end:]

    def _as_it_is(self, kind: str, space_id: str, stored: Row | None) -> Row | None:
        """Return what is stored of a space with what it is doing now, if it is live."""
        space = self._hub.live.get((kind, space_id))
        if space is None:
            return stored
        row = stored or telling.space_line(_unwritten(kind, space_id), 0, asleep=False)
        now = {"status": status_of(space).value, "pending": space.pending, "restarts": space.restarts}
        return {**row, **now, "group": space.row.group}

    async def _space(self, request: ShowSpace) -> AsyncGenerator[Row]:
        space = self._hub.live.get((request.kind, request.space))
        unwritten = None if space is None else _unwritten(request.kind, request.space)
        page = await self._desk.read(reading.space_page, self._engine, request, unwritten)
        yield self._as_it_is(request.kind, request.space, page) or page

    # ---- dead letters

    async def _letters(self, request: ResendLetters | DiscardLetters) -> AsyncGenerator[Row]:
        do = self._resend if isinstance(request, ResendLetters) else self._discard
        async with aclosing(self._read(lambda: chosen(self._engine, request))) as letters:
            async for one in letters:
                yield not_found(one) if isinstance(one, str) else told(one, await do(one))

    async def _resend(self, row: LetterRow) -> str | None:
        """Send a letter again; return why not, if not."""
        if row.kind not in self._hub.by_name:
            return f"this service runs no spaces of the kind {row.kind}: send it again while the one runs that does"
        found = await self._store.letters(row.kind, row.id, row.number - 1, 1)
        if not found or found[0].number != row.number:
            return GONE
        letter = found[0].letter
        with trio.move_on_after(PATIENCE) as patience:
            try:
                await letter.space.resend(letter.message)
            except SpaceError as refusal:
                return str(refusal) or type(refusal).__name__
        if patience.cancelled_caught:
            return f"its space took nothing for {PATIENCE:.0f} seconds: try again later"
        return await self._discard(row)

    async def _discard(self, row: LetterRow) -> str | None:
        return None if await self._store.unbury((row.number,)) else GONE

    # ---- questions

    async def _answer(self, request: AnswerQuestion) -> AsyncGenerator[Row]:
        value = check_json(request.answer)
        question = await self._desk.read(self._engine.question, request.question)
        if question is None:
            raise AdminError(no_question(request.question))
        if question.kind not in self._hub.by_name:
            # Nobody here waits for it.
            yield await self._desk.alone(answer_question, self._engine, request)
            return
        suspensions = self._hub.suspensions
        asked = suspensions._open.get(request.question) or await suspensions._found(request.question)
        try:
            # Where the class is not at hand, the turn that resumes knows it.
            given = JsonAnswer(value) if asked is None or asked.answer is object else from_json(value, asked.answer)
            await suspensions.answer(request.question, given)
        except (SuspensionClosed, TypeError) as refusal:
            raise AdminError(f"{refusal}") from None
        yield answered(question)

    # ---- the whole

    async def _count(self) -> AsyncGenerator[Row]:
        # As for a check.
        count = partial(reading.figures, self._engine)
        row = await trio.to_thread.run_sync(count, limiter=self._checking, abandon_on_cancel=True)
        yield {**row, "service": await self._figures()}

    async def _figures(self) -> Row:
        hub, statuses = self._hub, Counter[SpaceStatus]()
        for number, space in enumerate(tuple(hub.live.values())):
            statuses[status_of(space)] += 1
            if number % AT_A_STRETCH == 0:
                await trio.lowlevel.checkpoint()
        ledger = ledger_now(hub)
        settled = sum(ledger.outcomes.values())
        waiting, handling = (
            times_of(watch, max(settled - watch.count, 0)) for watch in (hub.waiting_times, hub.handling_times)
        )
        limits, restarts = hub.limits.statistics(), hub.restarts
        return service_figures(ledger, statuses, waiting, handling, limits, restarts=restarts, stalls=hub.stalls.count)

    async def _verify(self) -> AsyncGenerator[Row]:
        # Closing the engine cuts it short: a service that ends does not wait for it.
        check = self._engine.verify
        faults = await trio.to_thread.run_sync(check, limiter=self._checking, abandon_on_cancel=True)
        for fault in faults:
            yield {"fault": fault}

    async def _vacuum(self) -> AsyncGenerator[Row]:
        await self._desk.alone(self._engine.vacuum)
        yield {"done": True}


def _unwritten(kind: str, space_id: str) -> SpaceRow:
    """Return the row of a space that lives and is not written yet."""
    return SpaceRow(kind, space_id, None, None, 0, 0, 0, 1, 0, None, 0, None)
