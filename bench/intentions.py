"""Acknowledged intentions per second over real gRPC, by client streams in batches of 1000: SQLite against memory."""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import grpc
from gossipcontrol.client.channel import open_blocking_channel
from gossipcontrol.v1 import peer_knowledge_pb2 as pb

from bench.knowledge import BATCH, write
from bench.report import Figure, arguments, at_least, show
from tests.kit.process import service

METHOD = "/gossipcontrol.v1.PeerKnowledge/RecordIntentions"
AUTHORS = 100


def prepare(number: int, store_id: str) -> list[bytes]:
    """Serialize the requests, so that the client costs next to nothing during the measurement."""
    source = write(number, AUTHORS, "steady", random.Random(store_id))
    requests: list[bytes] = []
    while batch := tuple(islice(source, BATCH)):
        intentions = [
            pb.Intention(
                author_id=one.author_id, hash=one.hash, store_prev=one.store_prev, dependencies=one.dependencies,
                acknowledgement=one.acknowledgement,
            )
            for one in batch
        ]  # fmt: skip
        message = pb.IntentionBatch(store_id=store_id, intentions=intentions)
        request = pb.RecordIntentionsRequest(batch=message, sender_id=store_id, sequence=len(requests) + 1)
        requests.append(request.SerializeToString())
    return requests


def send(address: str, requests: list[bytes]) -> float:
    """Send one stream; returns the seconds until it was acknowledged."""
    with open_blocking_channel(address) as channel:
        grpc.channel_ready_future(channel).result(20)
        untyped: Any = channel
        call = untyped.stream_unary(METHOD, None, pb.RecordIntentionsResponse.FromString)
        started_at = time.perf_counter()
        answer: pb.RecordIntentionsResponse = call(iter(requests), timeout=300)
        took = time.perf_counter() - started_at
    assert answer.last_sequence == len(requests)
    return took


async def measure(directory: Path, number: int, rounds: int) -> dict[str, Figure]:
    """Measure both backends in turns, so that a noisy machine affects both alike."""
    rates: dict[str, list[float]] = {"memory": [], "sqlite": []}
    for backend in rates:
        (directory / backend).mkdir()
    async with (
        service(None, directory / "memory", state_backend="memory", log_level="warning"),
        service(None, directory / "sqlite", state_backend="sqlite", log_level="warning") as kept,
    ):
        for turn in range(rounds):
            requests = prepare(number, f"store-{turn}")
            # The first of a turn runs with cold caches, so the order alternates.
            for backend, found in list(rates.items())[:: 1 if turn % 2 else -1]:
                address = f"unix:{directory / backend}/gossipcontrol.sock"
                found.append(number / await asyncio.to_thread(send, address, requests))
        size = sum(path.stat().st_size for path in (directory / "sqlite").glob("state.db*"))
        await kept.stop()
        started_at = time.perf_counter()
        await kept.start()
        address = f"unix:{directory / 'sqlite'}/gossipcontrol.sock"
        await asyncio.to_thread(ready, address)
        restart = time.perf_counter() - started_at
    memory, sqlite = median(rates["memory"]), median(rates["sqlite"])
    return {
        "memory": Figure(memory, "intentions/s"),
        "sqlite": Figure(sqlite, "intentions/s"),
        "ratio": at_least(sqlite / memory, "sqlite/memory", 0.5),
        "file": Figure(size / 1e6, "MB"),
        f"restart with {number * rounds:,} recorded": Figure(restart, "s"),
    }


def ready(address: str) -> None:
    """Wait until the service accepts connections."""
    with open_blocking_channel(address) as channel:
        grpc.channel_ready_future(channel).result(120)


def main() -> None:
    flags = arguments(__doc__).parse_args()
    number, rounds = (50_000, 4) if flags.quick else (200_000, 5)
    with tempfile.TemporaryDirectory() as directory:
        figures = asyncio.run(measure(Path(directory), number, rounds))
    show("intentions", figures, flags.as_json)


if __name__ == "__main__":
    main()
