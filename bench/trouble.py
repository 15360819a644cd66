"""How soon all nodes hear each other again after troubles of every kind, one after another at random.

Real iroh-gossip nodes on hosts of their own, in each shape in turn: as a hub, where every host has a watcher, every
node an agent, all report to one service, and a cable connects two bridges; and as a sidecar, where only the first host
has them and only that host has troubles. A trouble is over when every node has received a message of every other since
its cause was removed, and each kind has its bound for that. The seed decides which troubles come, on which host, and
for how long; every kind comes once before any comes twice.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gossipcontrol.client import UnreachableError

from bench.report import Figure, arguments, at_most, run, show
from tests.kit.cluster import Cluster
from tests.kit.fleet import Fleet
from tests.kit.network import what_is_missing
from tests.kit.process import Line
from tests.kit.swarm import Swarm
from tests.kit.trouble import TROUBLES, Act, Scene, Shape, Trouble

SIZES = (2, 3, 6)
SHAPES = tuple((shape, nodes) for nodes in SIZES for shape in Shape)
QUICK_SHAPES = ((Shape.HUB, 3), (Shape.SIDECAR, 2))
QUICK_LONGEST = 6.0
"""Seconds to which the causes of a quick run are cut."""
GIVEN_UP = 120.0
"""Seconds after which a trouble is not waited for any more; the next ones happen to a new cluster."""
CALLED_LOOKS = 20
"""Looks, half a second apart, until the last of which somebody who is heard may be called asleep or offline."""
SETTLED = 8.0
"""Seconds in which an overlay mixes, at the start and after a second uplink was plugged in."""
REMEMBERED = 300.0
"""Seconds for which the lines of the processes are kept."""
ROUTINE = ("heard", "presence", "observed")
"""Events that are left out of the account of a trouble."""


@dataclass(slots=True)
class Record:
    """What happened, of all shapes."""

    took: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    """Seconds by kind and shape."""
    late: list[str] = field(default_factory=list[str])
    """Troubles that were not over within their bounds."""
    called_away: list[str] = field(default_factory=list[str])
    """Troubles after which somebody who was heard stayed asleep or offline."""
    error_count: int = 0


def deck(shape: Shape, kinds: Sequence[str], chance: random.Random) -> Iterator[str]:
    """Every kind of this shape once in random order, then again."""
    fitting = [name for name in kinds if shape in TROUBLES[name].shapes]
    while fitting:
        yield from chance.sample(fitting, len(fitting))


def cluster(shape: Shape, nodes: int, directory: Path) -> Fleet | Swarm:
    """A cluster of a shape; half of a hub's nodes are beyond the cable."""
    if shape is Shape.SIDECAR:
        return Swarm(directory, hosts=nodes)
    return Fleet(directory, near=nodes - nodes // 2, beyond=nodes // 2, watched=True)


class Run:
    """Troubles in one shape."""

    def __init__(self, shape: Shape, nodes: int, record: Record, account: Path | None) -> None:
        self._shape = shape
        self._nodes = nodes
        self._record = record
        self._account = account
        self._title = f"{shape.value} of {nodes}"

    async def run(self, names: Iterator[str], chance: random.Random, longest: float, ends_at: float) -> None:
        """Let troubles happen until an instant (monotonic)."""
        while time.monotonic() < ends_at:
            with tempfile.TemporaryDirectory(prefix="gossipcontrol-") as made:
                async with cluster(self._shape, self._nodes, Path(made)) as group:
                    await asyncio.sleep(SETTLED)
                    while time.monotonic() < ends_at and (name := next(names, "")):
                        number = 0 if self._shape is Shape.SIDECAR else chance.randrange(self._nodes)
                        seconds = min(TROUBLES[name].length(chance), longest)
                        if not await self._trouble(name, Scene(group, number, seconds, chance)):
                            break

    async def _trouble(self, name: str, scene: Scene) -> bool:
        """One trouble, and the change that restores the cluster; returns whether it was ever over."""
        trouble, over = TROUBLES[name], True
        if trouble.prepare is not None:
            await trouble.prepare(scene)
            await asyncio.sleep(SETTLED)
        for what, act in ((name, trouble.happen), (f"{name}, restored", trouble.tidy)):
            if act is not None and over:
                over = await self._suffer(what, trouble, act, scene)
        return over

    async def _suffer(self, name: str, trouble: Trouble, act: Act, scene: Scene) -> bool:
        began_at = time.time()
        await act(scene)
        over_at = time.time()
        try:
            seconds = max(0.0, await scene.cluster.until_all_heard(over_at, GIVEN_UP) - over_at)
        except TimeoutError:
            seconds = GIVEN_UP
        said = f"{self._title}: {name}, host {scene.number + 1}, for {over_at - began_at:.1f} s"
        outcome = "not over" if seconds == GIVEN_UP else f"over after {seconds:.2f} s"
        self._record.took.setdefault(f"{name}, {self._shape.value}", []).append(seconds)
        if seconds > trouble.bound:
            self._record.late.append(said)
            outcome += f", but the bound is {trouble.bound:g} s"
        elif away := await _called_away(scene.cluster):
            self._record.called_away.append(said)
            outcome += f", but still called asleep or offline: {', '.join(away)}"
        print(f"{said}: {outcome}", file=sys.stderr, flush=True)
        if self._account is not None and "but" in outcome:
            _write(self._account, f"{said}: {outcome}", scene.cluster, began_at, over_at)
        self._count_errors(scene.cluster, began_at)
        return seconds < GIVEN_UP

    def _count_errors(self, group: Cluster, began_at: float) -> None:
        for process in group.processes:
            errors = [line for line in process.lines if line["ts"] > began_at and _is_error(line)]
            self._record.error_count += len(errors)
            print("".join(f"  {process.name}: {line}\n" for line in errors), file=sys.stderr, end="")
            process.forget(time.time() - REMEMBERED)


async def _called_away(group: Cluster) -> list[str]:
    away: list[str] = []
    for _ in range(CALLED_LOOKS):
        try:
            away = await group.called_away()
        except UnreachableError:
            away = ["everybody, for the service does not answer"]  # it may not listen yet after it was started again
        if not away:
            break
        await asyncio.sleep(0.5)  # between two looks
    return away


def _is_error(line: Line) -> bool:
    """Whether a line reports an error of the process itself."""
    return line["event"] == "error" or "Traceback" in str(line.get("text"))


def _write(account: Path, title: str, group: Cluster, began_at: float, over_at: float) -> None:
    """Append what the processes printed, in order; instants in seconds after the cause's end."""
    lines = sorted(
        (
            (line["ts"], process.name, line)
            for process in group.processes
            for line in process.lines
            if line["ts"] > began_at and line["event"] not in ROUTINE
        ),
        key=lambda each: each[0],
    )
    with account.open("a", encoding="utf-8") as to:
        to.write(f"{title}\nnodes: {' '.join(group.ids)}\n")
        to.writelines(f"{at - over_at:8.2f} {name:10} {json.dumps(line)}\n" for at, name, line in lines)


async def measure(chosen: argparse.Namespace) -> dict[str, Figure]:
    """Cause troubles for so many minutes, in each shape for its share of them."""
    record, chance = Record(), random.Random(chosen.seed)
    shapes = [
        (shape, nodes)
        for shape, nodes in (QUICK_SHAPES if chosen.quick else SHAPES)
        if chosen.shape in (None, shape.value)
    ]
    if chosen.nodes:
        shapes = [(shape, chosen.nodes) for shape in dict.fromkeys(shape for shape, _ in shapes)]
    share = (2.0 if chosen.quick else chosen.minutes) * 60 / len(shapes)
    longest = QUICK_LONGEST if chosen.quick else float("inf")
    decks = {shape: deck(shape, chosen.only or list(TROUBLES), chance) for shape in Shape}
    for shape, nodes in chance.sample(shapes, len(shapes)):
        run = Run(shape, nodes, record, chosen.account)
        await run.run(decks[shape], chance, longest, time.monotonic() + share)
    return _figures(record, chosen.seed)


def _figures(record: Record, seed: int) -> dict[str, Figure]:
    figures = {"seed": Figure(seed, ""), "troubles": Figure(sum(map(len, record.took.values())), "")}
    for name, seconds in sorted(record.took.items()):
        bound = TROUBLES[name.split(",")[0]].bound
        figures[f"{name}: median of {len(seconds)}"] = Figure(statistics.median(seconds), "s")
        figures[f"{name}: maximum"] = at_most(max(seconds), "s", bound)
    figures["not over within their bounds"] = at_most(len(record.late), "troubles", 0)
    figures["healthy nodes called asleep or offline after"] = at_most(len(record.called_away), "troubles", 0)
    figures["errors in the logs"] = Figure(record.error_count, "")
    return figures


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="how long, all shapes together (60)")
    parser.add_argument("--seed", type=int, default=1, help="of the troubles (1)")
    parser.add_argument("--shape", choices=[shape.value for shape in Shape], help="this shape only")
    parser.add_argument("--nodes", type=int, choices=SIZES, help="so many nodes only")
    parser.add_argument("--only", choices=TROUBLES, action="append", help="this trouble; may be given several times")
    parser.add_argument("--account", type=Path, help="append the events of every trouble that misses to this file")
    chosen = parser.parse_args()
    if missing := what_is_missing():
        sys.exit(missing)
    show("trouble", run(measure(chosen)), chosen.as_json)


if __name__ == "__main__":
    main()
