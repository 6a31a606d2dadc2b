"""Runs the refund agent, and kills its process at one moment: `python refund_killed.py MOMENT LOG COMMAND ...`.

The log gets a line for each call of the world outside, whichever process makes it. MOMENTS are those at which a kill
means something else than at the one before.
"""

from __future__ import annotations

import builtins
import os
import runpy
import signal
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from spaceactors import Actor, SpaceHandle, Suspensions  # noqa: E402

MOMENTS = (
    "sent",  # the message is on disk, its sender knows
    "find done",  # not recorded yet
    "find recorded",
    "suspend called",  # the question is not asked yet
    "told",  # before the first line of output: the question is open, or all is done
    "answered",  # the answer is recorded, the turn has not gone on
    "pay called",
    "pay done",  # the money has moved, and only the provider knows
    "pay recorded",  # nothing is committed yet
    "never",
)


def reach(moment: str) -> None:
    """Die, if this is the moment."""
    if moment == deadly:
        os.kill(os.getpid(), signal.SIGKILL)


def note(call: str) -> None:
    """Log a call, so that it is known after this process has gone."""
    with log.open("a", encoding="utf-8") as lines:
        lines.write(f"{call}\n")


def around(owner: Any, name: str, *, before: str = "", after: str = "") -> None:
    """Have an async method reach a moment before it begins, and one after it has ended."""
    real = getattr(owner, name)

    async def wrapped(*args: Any, **options: Any) -> Any:
        reach(before)
        result = await real(*args, **options)
        reach(after)
        return result

    setattr(owner, name, wrapped)


def watch_steps() -> None:
    """Have each step reach its moments, and its function log that it was called."""
    real = Actor.step

    async def step(self: Any, name: str, fn: Any, *args: Any, **options: Any) -> Any:
        async def logged(*its_args: Any) -> Any:
            note(name)
            reach(f"{name} called")
            result = await fn(*its_args)
            reach(f"{name} done")
            return result

        result = await real(self, name, logged, *args, **options)
        reach(f"{name} recorded")
        return result

    Actor.step = step  # type: ignore[method-assign]


def tell(*args: Any) -> None:
    """Print, if that moment is not the last."""
    reach("told")
    real_print(*args, flush=True)


if __name__ == "__main__":
    deadly, log = sys.argv[1], Path(sys.argv[2])
    real_print, builtins.print = print, tell  # type: ignore[assignment]
    around(SpaceHandle, "send", after="sent")
    around(Suspensions, "answer", after="answered")
    around(Actor, "suspend", before="suspend called")
    watch_steps()
    sys.argv[:3] = [str(ROOT / "examples" / "refund_agent.py")]
    runpy.run_path(sys.argv[0], run_name="__main__")
