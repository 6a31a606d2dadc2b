"""Progress of a stream as a bar in a terminal, over rich."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from spaceactors.pipelines._items import StreamProgress
    from spaceactors.pipelines._stream import Stream

REFRESH = 0.1  # seconds


async def show_progress(stream: Stream[Any, Any], /, *, console: Console | None = None) -> None:
    """Show how far a stream is, until it is over: a bar for the whole, and a line for each stage.

    Start it in a nursery around the stream. It draws nothing where there is no terminal. It needs the extra `cli`.

        async with trio.open_nursery() as nursery, answer.open(questions) as answers:
            nursery.start_soon(show_progress, answers)
            async for one in answers:
                ...

    Args:
        stream: what to show.
        console: where to show it; None: standard error.

    """
    from rich.console import Console as RichConsole
    from rich.progress import BarColumn, Progress, TextColumn

    if console is None:
        console = RichConsole(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[told]}", markup=False),
    )
    with Progress(
        *columns, console=console, disable=not console.is_terminal, transient=True, auto_refresh=False
    ) as bar:
        tasks = [bar.add_task(name, total=None, told="") for name in (stream.name, *stream.progress().stages)]
        while not stream.is_over:
            _draw(bar, tasks, stream.progress())
            with trio.move_on_after(REFRESH):
                await stream.wait_over()
        _draw(bar, tasks, stream.progress())


def _draw(bar: Progress, tasks: list[TaskID], now: StreamProgress) -> None:
    whole, *stages = tasks
    total = now.taken if now.total is None else now.total
    bar.update(whole, completed=now.finished, total=now.total, told=_told(now, total))
    for task, one in zip(stages, now.stages.values(), strict=True):
        waiting = f", {one.waiting} waiting" if one.waiting else ""
        bar.update(task, completed=one.done + one.skipped, total=one.taken or None, told=f"{one.done}{waiting}")
    bar.refresh()


def _told(now: StreamProgress, total: int) -> str:
    skipped = f", {now.skipped} skipped" if now.skipped else ""
    remaining = "" if now.remaining is None else f", {now.remaining:.0f} s left"
    return f"{now.finished}/{total}{skipped}, {now.rate:.0f} a second{remaining}"
