"""Runs the benchmarks, each in a process of its own, prints the table and keeps the figures."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import time
from pathlib import Path

import trio
from attrs import asdict

from . import capacity, crowd, durable, messages, million, pipelines
from ._measure import RESULTS, Result, pin

BENCHMARKS = {
    "send-nowait": messages.send_nowait,
    "send": messages.send,
    "ask": messages.ask,
    "start": messages.start,
    "each": messages.each,
    "busy": crowd.busy,
    "memory": crowd.memory,
    "idle": crowd.idle,
    "hold": capacity.hold,
    "limit-line": capacity.line,
    "colocated": pipelines.colocated,
    "by-hand": pipelines.hand,
    "by-hand-sync": pipelines.hand_sync,
}
# These and the next run on all cores.
DURABLE = {
    "durable-send": durable.send,
    "durable-send-nowait": durable.send_nowait,
    "durable-busy": durable.busy,
    "durable-ask": durable.ask,
    "durable-conversation": durable.conversation,
    "million-opening": million.opening,
    "million-memory": million.memory,
}
PIPELINES = {
    "agents": pipelines.agents,
    "task-batch": pipelines.batch,
    "processes": pipelines.processes,
    **pipelines.CREATING,
    "million-items": pipelines.million,
}
ALL = BENCHMARKS | DURABLE | PIPELINES


def in_own_process(name: str) -> Result:
    """Run one benchmark where no other has left its traces."""
    command = (sys.executable, "-m", "benchmarks", "--one", name)
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return Result(**json.loads(output))


def row(result: Result) -> str:
    """One line of the table."""
    relation = "≥" if result.at_least else "≤"
    verdict = "reached" if result.reached else "FALLS SHORT"
    value, target = f"{result.value:.2f}{result.unit}", f"{relation} {result.target:g}{result.unit}"
    return f"{result.name:<52}{value:>12}{target:>12}  {verdict:<13}{result.detail}"


def save(results: dict[str, Result]) -> Path:
    """Keep the figures with what they were measured on."""
    RESULTS.mkdir(exist_ok=True)
    machine = {"python": platform.python_version(), "trio": trio.__version__, "machine": platform.machine()}
    figures = {name: asdict(result) | {"reached": result.reached} for name, result in results.items()}
    path = RESULTS / f"{time.strftime('%Y%m%d-%H%M%S')}.json"
    path.write_text(json.dumps({**machine, "results": figures}, indent=2) + "\n", encoding="utf-8")
    return path


def main(arguments: list[str]) -> None:
    """`--one NAME` measures here and prints JSON; names choose benchmarks, none chooses all."""
    if arguments[:1] == ["--one"]:
        if arguments[1] in BENCHMARKS:
            pin()
        sys.stdout.write(json.dumps(asdict(ALL[arguments[1]]())))
        return
    if unknown := set(arguments) - set(ALL):
        sys.exit(f"No such benchmark: {', '.join(sorted(unknown))}. There are: {', '.join(ALL)}.")
    results: dict[str, Result] = {}
    print(f"{'':<52}{'measured':>12}{'target':>12}")
    for name in arguments or ALL:
        results[name] = in_own_process(name)
        print(row(results[name]), flush=True)
    reached = sum(result.reached for result in results.values())
    print(f"\n{reached} of {len(results)} targets reached; figures in {save(results).relative_to(Path.cwd())}")


main(sys.argv[1:])
