"""Acknowledged triggers per second: SQLite against memory over real gRPC, and a bare group-commit loop as the limit.

The load comes from h2load, a generator in C. The services take turns, so a noisy machine affects both alike.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median

from gossipcontrol.agent import Agent
from gossipcontrol.client import Client
from gossipcontrol.v1 import gossip_control_pb2

from bench import h2load
from bench.report import Figure, arguments, at_least, show
from tests.kit.ports import free_ports
from tests.kit.process import service
from tests.kit.silent_node import SilentNode

BACKENDS = ("memory", "sqlite")
IN_FLIGHT = (1, 32, 256)
LEAST_IN_FLIGHT = 32
"""From here on many triggers share a commit, and the target applies."""
METHOD = "/gossipcontrol.v1.GossipControl/Rejoin"
NODE = "n" * 64
ROW = f'{{"node_id":"{NODE}","store_ids":[],"cause":1}}'
BARE_TIME = 0.5
"""Seconds of each turn of the bare loop."""


def bare(path: Path, in_flight: int) -> float:
    """Rows per second when each transaction commits ``in_flight`` rows."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.executescript(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; CREATE TABLE IF NOT EXISTS log (x)"
    )
    rows, started_at = 0, time.perf_counter()
    while time.perf_counter() < started_at + BARE_TIME:
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO log VALUES (?)", [(ROW,)] * in_flight)
        connection.execute("COMMIT")
        rows += in_flight
    rate = rows / (time.perf_counter() - started_at)
    connection.close()
    return rate


async def measure(directory: Path, calls: int, rounds: int) -> dict[str, Figure]:
    """Measure both backends."""
    targets: dict[str, tuple[int, int]] = {}
    async with AsyncExitStack() as stack:
        for backend, port in zip(BACKENDS, free_ports(len(BACKENDS)), strict=True):
            place = directory / backend
            place.mkdir()
            serving = await stack.enter_async_context(
                service(None, place, state_backend=backend, log_level="warning", listen_tcp=f"127.0.0.1:{port}")
            )
            client = await stack.enter_async_context(Client(f"127.0.0.1:{port}", timeout=30))
            await client.serving()
            agent = Agent(SilentNode(["notes"], NODE), f"127.0.0.1:{port}")
            stack.callback(asyncio.create_task(agent.run()).cancel)
            await agent.attached.wait()
            targets[backend] = (port, serving.pid)
        return await asyncio.to_thread(in_turns, directory, targets, calls, rounds)


def in_turns(directory: Path, targets: Mapping[str, tuple[int, int]], calls: int, rounds: int) -> dict[str, Figure]:
    """Load both services and the bare loop in turns; the first round warms up."""
    message = gossip_control_pb2.RejoinRequest(node_id=NODE).SerializeToString()
    rates: defaultdict[tuple[str, int], list[float]] = defaultdict(list)
    busiest = 0.0
    for turn in range(rounds + 1):
        for in_flight in IN_FLIGHT:
            many = calls if in_flight > 1 else calls // 5
            for backend, (port, pid) in targets.items():
                load = h2load.run(port, METHOD, message, calls=many, in_flight=in_flight, server_pid=pid)
                busiest = max(busiest, load.client_share)
                rates[backend, in_flight] += [load.rate] if turn else []
            limit = bare(directory / "bare.db", in_flight)
            rates["bare", in_flight] += [limit] if turn else []
    return {**figures(rates), "load generator": Figure(busiest * 100, "% of one core")}


def figures(rates: Mapping[tuple[str, int], list[float]]) -> dict[str, Figure]:
    """Medians of the rates and of the ratios per round."""
    shown: dict[str, Figure] = {}
    for in_flight in IN_FLIGHT:
        memory, kept, limit = (rates[name, in_flight] for name in (*BACKENDS, "bare"))
        what = f"{in_flight} in flight"
        shown[f"memory, {what}"] = Figure(median(memory), "triggers/s")
        shown[f"sqlite, {what}"] = Figure(median(kept), "triggers/s")
        ratio = median(a / b for a, b in zip(kept, memory, strict=True))
        is_target = in_flight >= LEAST_IN_FLIGHT
        shown[f"sqlite/memory, {what}"] = at_least(ratio, "times", 0.5) if is_target else Figure(ratio, "times")
        shown[f"bare SQLite loop, {what}"] = Figure(median(limit), "rows/s")
        shown[f"sqlite/bare loop, {what}"] = Figure(median(a / b for a, b in zip(kept, limit, strict=True)), "times")
    return shown


def main() -> None:
    flags = arguments(__doc__).parse_args()
    if missing := h2load.what_is_missing():
        sys.exit(missing)
    calls, rounds = (2_000, 2) if flags.quick else (6_000, 7)
    with tempfile.TemporaryDirectory() as directory:
        shown = asyncio.run(measure(Path(directory), calls, rounds))
    show("durability", shown, flags.as_json)


if __name__ == "__main__":
    main()
