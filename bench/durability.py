"""Acknowledged triggers per second: SQLite against memory over real gRPC, and a bare group-commit loop as the limit."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
import time
from pathlib import Path
from statistics import median

import grpc
from gossipcontrol.v1 import gossip_control_pb2, gossip_control_pb2_grpc

from bench.lab.process import service
from bench.report import Figure, arguments, at_least, show

IN_FLIGHT = (1, 32, 256)
NODES = 1000
ROW = '{"node_id":"n123","store_ids":[],"cause":1}'


async def ask(stub: gossip_control_pb2_grpc.GossipControlAsyncStub, in_flight: int, seconds: float) -> float:
    """Acknowledged triggers per second."""
    acknowledged = 0
    until = time.perf_counter() + seconds

    async def client(number: int) -> None:
        nonlocal acknowledged
        while time.perf_counter() < until:
            await stub.Rejoin(gossip_control_pb2.RejoinRequest(node_id=f"n{number % NODES}"))
            number += in_flight
            acknowledged += 1

    started_at = time.perf_counter()
    await asyncio.gather(*(client(number) for number in range(in_flight)))
    return acknowledged / (time.perf_counter() - started_at)


def bare(path: Path, in_flight: int, seconds: float) -> float:
    """Rows per second when each transaction keeps what ``in_flight`` callers wait for."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.executescript(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; CREATE TABLE IF NOT EXISTS log (x)"
    )
    rows, started_at = 0, time.perf_counter()
    while time.perf_counter() < started_at + seconds:
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO log VALUES (?)", [(ROW,)] * in_flight)
        connection.execute("COMMIT")
        rows += in_flight
    rate = rows / (time.perf_counter() - started_at)
    connection.close()
    return rate


async def measure(directory: Path, seconds: float, rounds: int) -> dict[str, Figure]:
    """All figures; the backends take turns, so that a noisy machine is noisy for both."""
    rates: dict[tuple[str, int], list[float]] = {}
    places = {backend: directory / backend for backend in ("memory", "sqlite")}
    for place in places.values():
        place.mkdir()
    async with (
        service(None, places["memory"], state_backend="memory", log_level="warning"),
        service(None, places["sqlite"], state_backend="sqlite", log_level="warning"),
    ):
        for _ in range(rounds):
            for in_flight in IN_FLIGHT:
                for backend, place in places.items():
                    async with grpc.aio.insecure_channel(f"unix:{place}/gossipcontrol.sock") as channel:
                        await asyncio.wait_for(channel.channel_ready(), 20)
                        rate = await ask(gossip_control_pb2_grpc.GossipControlStub(channel), in_flight, seconds)
                        rates.setdefault((backend, in_flight), []).append(rate)
    figures: dict[str, Figure] = {}
    for in_flight in IN_FLIGHT:
        memory, kept = median(rates["memory", in_flight]), median(rates["sqlite", in_flight])
        ratio = kept / memory
        unit = "sqlite/memory"
        figures[f"memory_{in_flight}"] = Figure(memory, "triggers/s")
        figures[f"sqlite_{in_flight}"] = Figure(kept, "triggers/s")
        figures[f"ratio_{in_flight}"] = at_least(ratio, unit, 0.5) if in_flight >= 32 else Figure(ratio, unit)
        limit = await asyncio.to_thread(bare, directory / "bare.db", in_flight, seconds / 2)
        figures[f"bare_sqlite_{in_flight}"] = Figure(limit, "rows/s")
    return figures


def main() -> None:
    flags = arguments(__doc__).parse_args()
    seconds, rounds = (0.7, 2) if flags.quick else (2.0, 5)
    with tempfile.TemporaryDirectory() as directory:
        figures = asyncio.run(measure(Path(directory), seconds, rounds))
    show("durability", figures, flags.as_json)


if __name__ == "__main__":
    main()
