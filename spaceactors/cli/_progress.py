"""A line that tells how far a run has come."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

from spaceactors.cli._report import plural
from spaceactors.cli._results import HANDLED

if TYPE_CHECKING:
    from rich.console import Console

    from spaceactors.cli._session import Session

EVERY = 0.1  # seconds between two looks: fast enough to look alive, slow enough to cost nothing


async def show_progress(session: Session, console: Console) -> None:
    """Show the line until cancelled, and then take it away."""
    columns = (SpinnerColumn(), BarColumn(20), TextColumn("{task.description}"))
    with Progress(*columns, console=console, auto_refresh=False, transient=True) as progress:
        task = progress.add_task("opening …", total=session.source.size)
        began = trio.current_time()
        while True:
            told = _told(session, trio.current_time() - began)
            progress.update(task, completed=session.source.read, description=told)
            progress.refresh()
            await trio.sleep(EVERY)


def _told(session: Session, seconds: float) -> str:
    outcomes = session.statistics.outcomes
    answered = outcomes.total()
    others = answered - outcomes[HANDLED]
    parts = [
        plural(answered, "message"),
        plural(session.spaces, "space"),
        f"{answered / seconds:,.0f} per second" if seconds > 0 else "",
        f"[red]{others:,} not handled[/]" if others else "",
        "[yellow]draining, Ctrl-C again to stop[/]" if session.stops.asked else "",
    ]
    return " · ".join(filter(None, parts))
