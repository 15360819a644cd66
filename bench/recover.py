"""How soon a store is steady again after its nodes could not report for a while, and how many were wrongly accused.

One store over real gRPC. Each node reports six others of a ring in unary batches of a hundred, by the interval that the
service asks for, one batch in flight; with --streams each on an Attach stream of its own, one report in flight. Then
nobody reports for a while, though the nodes go on hearing each other, and then all report at once. Steady: for one
interval all are ONLINE, and every batch is answered within one.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import grpc
from gossipcontrol.client.channel import open_channel
from gossipcontrol.v1 import attach_pb2, gossip_control_pb2, gossip_control_pb2_grpc, liveness_pb2

from bench.h2load import process_seconds
from bench.report import Figure, arguments, at_most, show
from tests.kit.process import service

STORE = "notes"
BATCH = 100
"""Nodes of one unary report."""
CONNECTIONS = 4
REACH = 3
"""Neighbours on each side of a node in the ring."""
SPOKE = 0.3
"""Seconds since a node heard its neighbours, whenever it reports."""
WATCHED = 8
"""Intervals within which a store must be steady, or it counts as never; at least ``LEAST`` seconds."""
LEAST = 60.0
POLL = 0.5
"""Seconds between two looks at the counts of states."""
TIMEOUT = 30.0
"""Seconds that a batch waits for its answer."""
WARMED = 10.0
"""Seconds of steady reports before the first cut, and at least three intervals."""
Stub: TypeAlias = "gossip_control_pb2_grpc.GossipControlAsyncStub"
SUSPECT, OFFLINE = liveness_pb2.PEER_STATE_SUSPECT, liveness_pb2.PEER_STATE_OFFLINE
ONLINE = liveness_pb2.PEER_STATE_ONLINE


@dataclass(slots=True)
class Batch:
    """A hundred nodes that report together."""

    first: int
    versions: list[int]
    """By node, the version of the view that it has."""
    interval: float = 2.0
    answered: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    """When each answer came, and after how long."""
    sent_at: float = 0.0
    failures: int = 0


class Fleet:
    """The nodes of one store."""

    def __init__(self, nodes: int, stubs: list[Stub], *, streams: bool = False) -> None:
        self.nodes = nodes
        self.streams = streams
        size = 1 if streams else BATCH
        self.batches = [Batch(first, [0] * min(size, nodes - first)) for first in range(0, nodes, size)]
        self.open = asyncio.Event()
        self._stubs = stubs
        self._names = [f"{number:064x}" for number in range(nodes)]
        self._began = time.monotonic()

    @property
    def interval(self) -> float:
        """The longest interval that the service asks for."""
        return max(batch.interval for batch in self.batches)

    @property
    def reports(self) -> int:
        """Reports answered so far."""
        return sum(len(batch.answered) * len(batch.versions) for batch in self.batches)

    @property
    def failures(self) -> int:
        """Batches that were refused or not answered in time."""
        return sum(batch.failures for batch in self.batches)

    async def report(self, number: int) -> None:
        """Report one batch for ever, by its interval, while the fleet is open."""
        batch, stub = self.batches[number], self._stubs[number % len(self._stubs)]
        if self.streams:
            await self._report_on_streams(batch, stub)
        else:
            await self._report_in_calls(batch, stub)

    async def _report_on_streams(self, batch: Batch, stub: Stub) -> None:
        """On one Attach stream after the other."""
        while True:
            await self.open.wait()
            with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError, TimeoutError):
                await self._report_on(stub.Attach(), batch)
            batch.failures += 1
            batch.sent_at = 0.0
            await asyncio.sleep(batch.interval)

    async def _report_on(self, call: Any, batch: Batch) -> None:
        """On this stream until it ends."""
        register = attach_pb2.Register(node_id=self._names[batch.first], store_ids=[STORE])
        await call.write(attach_pb2.AttachRequest(register=register))
        batch.versions = [0]
        while True:
            await self.open.wait()
            batch.sent_at = time.monotonic()
            report = self._one(batch.first, batch.versions[0], self._spoken())
            report.node_id = ""
            await call.write(attach_pb2.AttachRequest(liveness=report))
            answer = await asyncio.wait_for(self._ack(call), TIMEOUT)
            if answer is None:
                return
            self._take(batch, [answer.view], answer.next_report_ms)
            await asyncio.sleep(max(0.0, batch.sent_at + batch.interval - time.monotonic()))

    async def _ack(self, call: Any) -> attach_pb2.LivenessAck | None:
        """The answer to a report, past all other frames; None when the stream has ended."""
        while (frame := await call.read()) is not grpc.aio.EOF:
            if frame.WhichOneof("frame") == "ack":
                ack: attach_pb2.LivenessAck = frame.ack
                return ack
        return None

    async def _report_in_calls(self, batch: Batch, stub: Stub) -> None:
        """In unary calls."""
        while True:
            await self.open.wait()
            batch.sent_at = time.monotonic()
            with suppress(grpc.aio.AioRpcError):
                answer = await stub.PeerLiveness(self._request(batch), timeout=TIMEOUT)
                self._take(batch, answer.views, answer.next_report_ms)
                await asyncio.sleep(max(0.0, batch.sent_at + batch.interval - time.monotonic()))
                continue
            batch.failures += 1
            batch.sent_at = 0.0
            await asyncio.sleep(batch.interval)

    def is_served(self, since: float) -> bool:
        """Whether every batch was answered since an instant, the last time within its interval, and is not overdue."""
        now = time.monotonic()
        return all(
            batch.answered
            and batch.answered[-1][0] >= since
            and batch.answered[-1][1] <= batch.interval
            and now - batch.answered[-1][0] <= 2 * batch.interval
            for batch in self.batches
        )

    def slowest(self, since: float) -> float:
        """The longest wait for an answer that came since an instant."""
        return max((took for batch in self.batches for at, took in batch.answered if at >= since), default=math.inf)

    def _request(self, batch: Batch) -> gossip_control_pb2.PeerLivenessRequest:
        spoken = self._spoken()
        reports = [self._one(batch.first + place, version, spoken) for place, version in enumerate(batch.versions)]
        return gossip_control_pb2.PeerLivenessRequest(reports=reports)

    def _spoken(self) -> int:
        """Messages of each node so far."""
        return int((time.monotonic() - self._began) * 2) + 1

    def _one(self, node: int, version: int, spoken: int) -> liveness_pb2.LivenessReport:
        away = [step for step in range(-REACH, REACH + 1) if step]
        peers = [self._names[(node + step) % self.nodes] for step in away]
        heard = liveness_pb2.PeersHeard(
            peer_ids=peers,
            heard_ages_ms=[int(SPOKE * 1000)] * len(peers),
            heard_counts=[spoken] * len(peers),
            direct=range(len(peers)),
        )
        neighbors = [liveness_pb2.Neighbor(peer_id=peer, up_age_ms=60_000) for peer in peers]
        return liveness_pb2.LivenessReport(
            node_id=self._names[node], store_id=STORE, heard=heard, neighbors=neighbors, broadcast_count=spoken,
            known_version=version,
        )  # fmt: skip

    def _take(self, batch: Batch, views: Iterable[liveness_pb2.StoreView], next_report_ms: int) -> None:
        now = time.monotonic()
        batch.answered.append((now, now - batch.sent_at))
        batch.interval = next_report_ms / 1000
        for view in views:  # one of the store, whatever the number of its nodes that report
            batch.versions = [view.version] * len(batch.versions)


@dataclass(slots=True)
class Watch:
    """What the counts of states said from an instant on."""

    suspect: int = 0
    offline: int = 0
    steady_after: float | None = None
    """Seconds; None: not while it was watched."""


async def watch(fleet: Fleet, stub: Stub, within: float) -> Watch:
    """Look at the counts until the store was steady for an interval."""
    seen, began, steady_since = Watch(), time.monotonic(), None
    while time.monotonic() - began < within:
        counts = await count(stub)
        now = time.monotonic()
        seen.suspect = max(seen.suspect, counts.get(SUSPECT, 0))
        seen.offline = max(seen.offline, counts.get(OFFLINE, 0))
        if counts.get(ONLINE, 0) < fleet.nodes or not fleet.is_served(began):
            steady_since = None
        elif steady_since is None:
            steady_since = now
        if steady_since is not None and now - steady_since >= fleet.interval:
            seen.steady_after = steady_since - began
            return seen
        await asyncio.sleep(POLL)
    return seen


async def count(stub: Stub) -> dict[int, int]:
    """The number of the store's peers by state."""
    with suppress(grpc.aio.AioRpcError):
        listed = await stub.ListStores(gossip_control_pb2.ListStoresRequest(page_size=1), timeout=TIMEOUT)
        return {int(entry.state): entry.count for entry in listed.stores[0].peer_counts} if listed.stores else {}
    return {}


async def measure(nodes: int, cuts: tuple[float, ...], *, streams: bool) -> dict[str, Figure]:
    """The figures of one size."""
    with tempfile.TemporaryDirectory(prefix="gossipcontrol-") as made:
        directory = Path(made)
        settings = {"log_level": "error", "state_backend": "memory", "deciding_node_limit": str(nodes + 1000)}
        settings["liveness_peers_per_store"] = str(nodes + 1000)
        async with service(None, directory, log_to=directory / "log", **settings) as serving:
            address = f"unix:{directory}/gossipcontrol.sock"
            channels = [open_channel(address) for _ in range(CONNECTIONS + 1)]
            try:
                await asyncio.wait_for(channels[-1].channel_ready(), TIMEOUT)
                stubs: list[Stub] = [gossip_control_pb2_grpc.GossipControlStub(channel) for channel in channels]
                fleet = Fleet(nodes, stubs[:-1], streams=streams)
                return await _cuts(fleet, stubs[-1], serving.pid, cuts)
            finally:
                await asyncio.gather(*(channel.close() for channel in channels))


async def _cuts(fleet: Fleet, stub: Stub, pid: int, cuts: tuple[float, ...]) -> dict[str, Figure]:
    name, figures = f"{fleet.nodes:,} nodes{' on streams' if fleet.streams else ''}", dict[str, Figure]()
    fleet.open.set()
    tasks = [asyncio.create_task(fleet.report(number)) for number in range(len(fleet.batches))]
    try:
        warm = await watch(fleet, stub, 4 * LEAST)
        figures[f"{name}: steady after the start"] = Figure(warm.steady_after, "s")
        figures[f"{name}: CPU per report before"] = Figure(
            await _cost(fleet, pid, max(WARMED, 3 * fleet.interval)), "us"
        )
        figures[f"{name}: interval before"] = Figure(fleet.interval, "s")
        for cut in cuts:
            interval = fleet.interval
            fleet.open.clear()
            await asyncio.sleep(cut)
            began, used, failed = time.monotonic(), process_seconds(pid), fleet.failures
            served = fleet.reports
            fleet.open.set()
            seen = await watch(fleet, stub, max(LEAST, WATCHED * interval))
            cost = (process_seconds(pid) - used) * 1e6 / max(1, fleet.reports - served)
            after = f"{name}, {cut:g} s of nothing"
            intervals = None if seen.steady_after is None else seen.steady_after / interval
            figures |= {
                f"{after}: steady after": Figure(seen.steady_after, "s"),
                f"{after}: in intervals": at_most(intervals, "intervals", 3),
                f"{after}: OFFLINE at once, at most": at_most(seen.offline, "peers", 0),
                f"{after}: SUSPECT at once, at most": Figure(seen.suspect, "peers"),
                f"{after}: slowest answer": Figure(fleet.slowest(began), "s"),
                f"{after}: batches that failed": Figure(fleet.failures - failed, "batches"),
                f"{after}: CPU per report": Figure(cost, "us"),
                f"{after}: interval after": Figure(fleet.interval, "s"),
            }
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return figures


async def _cost(fleet: Fleet, pid: int, seconds: float) -> float:
    """Microseconds of the service's CPU per report over some seconds."""
    used, reports = process_seconds(pid), fleet.reports
    await asyncio.sleep(seconds)
    return (process_seconds(pid) - used) * 1e6 / max(1, fleet.reports - reports)


def _parser() -> argparse.ArgumentParser:
    parser = arguments(__doc__)
    parser.add_argument("--nodes", type=int, nargs="+", help="nodes in the store (1000 6000 20000)")
    parser.add_argument("--cuts", type=float, nargs="+", help="seconds of nothing (12 120)")
    parser.add_argument("--streams", action="store_true", help="an Attach stream for each node instead of calls")
    return parser


def main() -> None:
    chosen = _parser().parse_args()
    sizes = chosen.nodes or ([1000] if chosen.quick else [1000, 6000, 20_000])
    cuts = tuple(chosen.cuts or ([12.0] if chosen.quick else [12.0, 120.0]))
    figures: dict[str, Figure] = {}
    for nodes in sizes:
        figures |= asyncio.run(measure(nodes, cuts, streams=chosen.streams))
    show("recover", figures, chosen.as_json)


if __name__ == "__main__":
    main()
