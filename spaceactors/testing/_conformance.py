"""The conformance kit: what every store must do, as cases that anybody can run on theirs."""

from __future__ import annotations

from importlib import import_module
from inspect import getdoc, iscoroutinefunction
from typing import TYPE_CHECKING, Any, final
from unittest import SkipTest

import trio
from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping
    from types import ModuleType

    from spaceactors._port import Store

# The modules of the cases. Every public async function in one of them, in the order of writing, is a case.
_ON_EVERY_STORE = ("turns", "history", "ids", "timers", "feeds", "letters", "spaces", "outside", "questions")
_ON_DURABLE_STORES = ("kept", "resumed", "asked", "late", "owners")


@final
@frozen
class StoreCase:
    """One thing that a store must do, as a program over the public API; `store_conformance()` gives them all.

    `str(case)` is its name, to be the id of a test.
    """

    name: str
    # What must hold, in a sentence.
    claim: str
    # Whether only a store that outlives its process must do it.
    durable: bool
    _play: Callable[[Any], Awaitable[None]]

    def __str__(self) -> str:
        return self.name

    def run(self, make: Callable[[], Store], /) -> None:
        """Run the case, in a Trio run of its own.

        Args:
            make: makes a store on a place that was empty before this case. It is called again for each reopening, and
                must then make another store on the same place; for the last case (two owners) while the first is open.

        Raises:
            AssertionError: the store does not do what the case claims; the text says what was wanted and what found.
            unittest.SkipTest: the case is about what outlives the process, and the store is not `durable`. Test runners
                count it as skipped.

        """
        store = make()
        if self.durable and not store.durable:
            raise SkipTest(f"{type(store).__name__} does not outlive its process: store.durable is False")
        from trio.testing import MockClock

        clock = MockClock(rate=1.0)
        trio.run(self._guarded, make, store, clock, clock=clock)

    async def _guarded(self, make: Callable[[], Store], store: Store, clock: Any) -> None:
        from spaceactors.testing._conformance_scene import HANGING_AFTER, Scene

        with trio.move_on_after(HANGING_AFTER) as guard:
            await self._play(Scene(make, store, clock, guard))
        if guard.cancelled_caught:
            raise AssertionError(f"after {HANGING_AFTER:g} s the case had not ended: something waits for ever")


def store_conformance() -> tuple[StoreCase, ...]:
    """Return all that a store must do, as cases to run on yours.

    In a file of your pytest suite:

    ```python
    @pytest.mark.parametrize("case", store_conformance(), ids=str)
    def test_my_store(case, tmp_path):
        case.run(lambda: MyStore(tmp_path / "spaces.db"))
    ```

    The kit itself needs no pytest; any other runner calls `case.run` likewise.
    """
    return tuple(
        StoreCase(name, getdoc(play) or "", durable, play)
        for names, durable in ((_ON_EVERY_STORE, False), (_ON_DURABLE_STORES, True))
        for module in names
        for name, play in _cases_of(import_module(f"{__package__}._conformance_{module}"))
    )


def _cases_of(module: ModuleType) -> Iterator[tuple[str, Any]]:
    shown: Mapping[str, Any] = vars(module)
    for name, one in shown.items():
        if iscoroutinefunction(one) and one.__module__ == module.__name__ and not name.startswith("_"):
            yield name, one
