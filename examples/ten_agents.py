"""Ten agents rework one tree of files, and some want the same files. Takes five seconds, and needs no model.

    python examples/ten_agents.py

Each agent has a job of a few tasks: some read, some change one file, one tidies a whole directory, and one does not get
through. Nobody says in which order; what conflicts is seen from what each task names. While they work a line is printed
now and then, and at the end who has done what, with the figures of each agent.
"""

from collections import Counter
from itertools import count

import trio
from attrs import define, field

from spaceactors import Limit, Limits, Priority, Retry
from spaceactors.tasks import (
    Resources,
    Task,
    TaskManager,
    TaskPlan,
    TaskResult,
    confidence,
    evidence,
    open_task_manager,
    plan_of,
    progress,
)

AGENTS = ("ann", "bob", "cid", "dora", "eve", "fay", "gus", "hal", "ida", "jon")
FILES = tuple(f"src/{part}/{name}.py" for part in ("web", "core", "store") for name in ("api", "model", "text"))
AT_ONCE = 10
MODEL_CALLS = 6


class Overworked(Exception):
    """The model has no time now."""


@define
class Workshop:
    """The files, and who is at work on which: two who change one at the same time would spoil it."""

    # How often each file was changed.
    changes: Counter[str] = field(factory=Counter[str])
    # Who changes it now, and how many read it.
    changed_by: dict[str, str] = field(factory=dict[str, str])
    readers: Counter[str] = field(factory=Counter[str])
    # What went wrong because two were at work on one file.
    spoilt: list[str] = field(factory=list[str])
    # The most tasks at once.
    at_work: int = 0
    peak: int = 0
    tries: int = 0

    def begin(self, agent: str, files: tuple[str, ...], *, changing: bool) -> None:
        """Have an agent sit down before files."""
        self.at_work += 1
        self.peak = max(self.peak, self.at_work)
        for file in files:
            if file in self.changed_by or (changing and self.readers[file]):
                self.spoilt.append(f"{agent}: {file}")
            if changing:
                self.changed_by[file] = agent
            else:
                self.readers[file] += 1

    def end(self, files: tuple[str, ...], *, changing: bool) -> None:
        """Have the agent get up again."""
        self.at_work -= 1
        for file in files:
            if changing:
                del self.changed_by[file]
                self.changes[file] += 1
            else:
                self.readers[file] -= 1

    async def work(self, agent: str, files: tuple[str, ...], seconds: float, *, changing: bool) -> None:
        """Be at work on files, and tell how it goes."""
        self.begin(agent, files, changing=changing)
        try:
            for step in range(4):
                await trio.sleep(seconds / 4)
                progress((step + 1) / 4, f"{step + 1} of 4")
        finally:
            self.end(files, changing=changing)


async def review(shop: Workshop, agent: str, part: str) -> str:
    """Read all files of a directory."""
    files = tuple(file for file in FILES if file.startswith(part))
    await shop.work(agent, files, 1.0, changing=False)
    evidence(*files)
    confidence(0.9)
    return f"{len(files)} files of {part} read"


async def change(shop: Workshop, agent: str, file: str) -> str:
    """Change one file."""
    await shop.work(agent, (file,), 0.5, changing=True)
    evidence(file)
    confidence(0.7)
    return f"{file} changed"


async def tidy(shop: Workshop, agent: str, part: str) -> str:
    """Change all files of a directory."""
    files = tuple(file for file in FILES if file.startswith(part))
    await shop.work(agent, files, 1.0, changing=True)
    return f"{len(files)} files of {part} tidied"


async def ask_model(shop: Workshop) -> str:
    """Ask a model that is too busy at the first try."""
    shop.tries += 1
    if shop.tries == 1:
        raise Overworked
    await trio.sleep(0.5)
    return "an idea"


async def give_up() -> None:
    """Find that there is nothing to be found."""
    await trio.sleep(0.3)
    raise FileNotFoundError("src/cli")


def needs(task: Task[object]) -> Resources:
    """Tell what a task locks, from its function and arguments: the rule of the manager."""
    if task.fn is change:
        return Resources(f"file:{task.args[2]}")
    if task.fn is tidy:
        return Resources(f"dir:{task.args[2]}")
    return Resources(shared=f"dir:{task.args[2]}") if task.fn is review else Resources()


def jobs(shop: Workshop) -> list[Task[object]]:
    """Return what ten agents have to do."""
    tasks: list[Task[object]] = []
    for number, agent in enumerate(AGENTS):
        part = ("src/web/", "src/core/", "src/store/")[number % 3]
        tasks.append(Task(review, shop, agent, part, agent=agent, id=f"{agent}: review"))
    for step in range(3):
        for number, agent in enumerate(AGENTS):
            file = FILES[(number + 4 * step) % len(FILES)]
            tasks.append(Task(change, shop, agent, file, agent=agent, id=f"{agent}: change {step + 1}", limits="model"))
    tasks += [
        Task(tidy, shop, "ida", "src/", agent="ida", id="ida: tidy", priority=Priority.LOW),
        Task(ask_model, shop, agent="jon", id="jon: ask", retry=Retry(3, wait=lambda _: 0.2), limits="model"),
        Task(give_up, agent="hal", id="hal: look", priority=Priority.HIGH),
        Task(trio.sleep, 60, agent="gus", id="gus: dream", timeout=2.0),
    ]
    return tasks


async def show(manager: TaskManager) -> None:
    """Print a line twice a second."""
    began = trio.current_time()
    print(f"{'second':>6} {'done':>6} {'left':>7} {'run':>4} {'wait':>5}  the first that waits")
    for tick in count(1):
        await trio.sleep_until(began + tick / 2 - 0.05)
        status, all_ = manager.status(), manager.progress()
        left = "?" if all_.seconds_left is None else f"{all_.seconds_left:.1f} s"
        first = status.waiting[0] if status.waiting else None
        why = "" if first is None else f"{first.id}, for {first.waits_for.value} {', '.join(first.behind[:2])}"
        print(
            f"{tick / 2:>6.1f} {all_.done:>6.0%} {left:>7} {status.running_count:>4} {status.waiting_count:>5}  {why}"
        )


def summary(manager: TaskManager) -> str:
    """Return the figures of each agent."""
    lines = [f"{'agent':<6} {'tasks':>6} {'well':>6} {'failed':>7} {'timed out':>10} {'ran':>8} {'waited':>8}"]
    for agent, now in sorted(manager.metrics().agents.items()):
        lines.append(
            f"{agent:<6} {now.total:>6} {now.succeeded:>6} {now.failed:>7} {now.timed_out:>10}"
            f" {now.mean_seconds:>6.2f} s {now.mean_waited:>6.2f} s"
        )
    return "\n".join(lines)


@define
class Result:
    """What a run has shown."""

    shop: Workshop
    plan: TaskPlan
    limits: Limits
    seconds: float = 0.0
    results: list[TaskResult[object]] = field(factory=list[TaskResult[object]])


async def main() -> Result:
    """Let ten agents work until all is done."""
    shop = Workshop()
    tasks = jobs(shop)
    shown = Result(shop, plan_of(tasks, resources=needs), Limits([Limit("model", MODEL_CALLS)]))
    print(f"{len(tasks)} tasks, of which so many do not conflict: {[len(wave) for wave in shown.plan.waves]}\n")
    began = trio.current_time()
    async with open_task_manager(AT_ONCE, limits=shown.limits, resources=needs) as manager:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(show, manager)
            shown.results = await manager.run(tasks)
            nursery.cancel_scope.cancel()
        shown.seconds = trio.current_time() - began
        print(f"\n{summary(manager)}\n")
    for result in shown.results:
        if not result.success:
            print(f"{result.id}: {result.status.value}, {result.error!r}")
    print(f"all done in {shown.seconds:.1f} s, at most {shop.peak} at once, {len(shop.spoilt)} files spoilt")
    return shown


if __name__ == "__main__":
    trio.run(main)
