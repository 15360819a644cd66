"""Memory that an attached node takes of the service, step by step: connection, stream, registration, reports.

Each node has a connection of its own over the Unix socket. Growth of resident memory by step, per node, in a service of
its own for each number of stores; others have gone all the way before. ``--beside`` measures another checkout by the
same interpreter in turns; its stubs must have been generated.
"""

from __future__ import annotations

import asyncio
import os
import resource
import statistics
import tempfile
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from gossipcontrol.client import Client

from bench.attached_fleet import Fleet, settled
from bench.report import Figure, arguments, show
from tests.kit.process import service

STORES = (1, 10)
WARM = 200
"""Nodes that are attached before, so that what is made once is made."""
REPORTS = 3
"""Reports of each store."""


async def measure(nodes: int, stores: int, tree: Path | None) -> dict[str, float]:
    """Bytes per node, by step, of the service of this checkout, or of another one."""
    paths = os.pathsep.join(str(tree / root) for root in ("proto", "server", "clients")) if tree else ""
    with tempfile.TemporaryDirectory(prefix="gossipcontrol-") as name:
        directory = Path(name)
        serving = service(None, directory, log_to=directory / "log", log_level="error")
        await serving.start(**({"PYTHONPATH": paths} if tree else {}))
        try:
            path = directory / "gossipcontrol.sock"
            async with Client(f"unix:{path}", timeout=30) as client:
                await client.serving()
            return await _steps(Fleet(WARM + nodes, stores, 1), path, serving.pid)
        finally:
            await serving.stop()


async def _steps(fleet: Fleet, path: Path, pid: int) -> dict[str, float]:
    everybody = range(len(fleet.shared))
    warm, measured = everybody[:WARM], everybody[WARM:]

    async def report() -> None:
        for _ in range(REPORTS):
            await fleet.report(measured)

    async def open_streams() -> None:
        fleet.open(measured)

    steps: dict[str, Callable[[], Awaitable[None]]] = {
        "connection": partial(fleet.connect, path, measured),
        "stream": open_streams,
        "registration": partial(fleet.register, measured),
        "reports": report,
    }
    await fleet.connect(path, warm)
    fleet.open(warm)
    await fleet.register(warm)
    await fleet.report(warm)
    before = first = await settled(pid)
    grown: dict[str, float] = {}
    for step, take in steps.items():
        await take()
        after = await settled(pid)
        grown[step], before = (after - before) / len(measured), after
    return {**grown, "all": (before - first) / len(measured)}


async def in_turns(nodes: int, rounds: int, trees: dict[str, Path | None]) -> dict[str, Figure]:
    """Medians of the rounds."""
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        for stores in STORES:
            for what, tree in trees.items():
                for step, each in (await measure(nodes, stores, tree)).items():
                    found.setdefault(f"{what}, {stores} stores each, {step}", []).append(each)
    return {name: Figure(statistics.median(values) / 1000, "kB per node") for name, values in found.items()}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--beside", type=Path, metavar="CHECKOUT", help="another checkout, measured in turns")
    chosen = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    nodes, rounds = (300, 1) if chosen.quick else (2000, 3)
    trees: dict[str, Path | None] = {"service": None}
    if chosen.beside:
        trees[chosen.beside.name] = chosen.beside
    show("attached_memory", asyncio.run(in_turns(nodes, rounds, trees)), chosen.as_json)


if __name__ == "__main__":
    main()
