"""What children run that are no function of the user's: resources and supervisors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from supervisors._drain import wait_drain

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from supervisors._spec import Plan


async def hold_open(
    open_it: Callable[..., AbstractAsyncContextManager[object]],
    *args: object,
    task_status: trio.TaskStatus[object] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Open a resource, pass its value on, and close it when this child is asked to drain."""
    async with open_it(*args) as value:
        task_status.started(value)
        await wait_drain()


async def run_plan(plan: Plan, *, task_status: trio.TaskStatus[object] = trio.TASK_STATUS_IGNORED) -> None:
    """Run a child supervisor until it is drained, cancelled, or ends itself."""
    from supervisors._supervise import open_plan

    async with open_plan(plan) as supervisor:
        task_status.started(supervisor)
        await trio.sleep_forever()
