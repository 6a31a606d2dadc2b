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

    Start it in a nursery beside what reads the stream. It draws nothing where there is no terminal. It needs the extra
    `cli`.

    Args:
        stream: what to show.
        console: where to show it; None: standard error.

    """
    from rich.console import Console as RichConsole
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    if console is None:
        console = RichConsole(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[told]}"), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        tasks = [bar.add_task(name, total=None, told="") for name in (stream.name, *stream.progress().stages)]
        while not stream.is_over:
            _draw(bar, tasks, stream.progress())
            with trio.move_on_after(REFRESH):
                await stream.wait_over()
        _draw(bar, tasks, stream.progress())


def _draw(bar: Progress, tasks: list[TaskID], now: StreamProgress) -> None:
    whole, *stages = tasks
    skipped = f", {now.skipped} skipped" if now.skipped else ""
    total = now.taken if now.total is None else now.total
    told = f"{now.finished}/{total}{skipped}, {now.rate:.0f} a second"
    bar.update(whole, completed=now.finished, total=now.total, told=told)
    for task, one in zip(stages, now.stages.values(), strict=True):
        waiting = f", {one.waiting} waiting" if one.waiting else ""
        bar.update(task, completed=one.done + one.skipped, total=one.taken or None, told=f"{one.done}{waiting}")
