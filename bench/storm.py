"""10,000 nodes with 10 stores each report one network change within one second, over gRPC from another process.

All must be answered; starts must stay within the global bound, and the order must be fair: once all have reported, no
node gets a second turn while others wait for their first. Then the cost of a decision in the core alone, as the number
of nodes grows. Latencies are those that the clients' process sees, its own queueing included.
"""

from __future__ import annotations

import asyncio
import os
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import grpc
from gossipcontrol.server.core.engine import Engine
from gossipcontrol.server.core.event import NetworkChanged, NodeAttached
from gossipcontrol.server.core.parameter import Parameters
from gossipcontrol.v1 import attach_pb2, decision_pb2, gossip_control_pb2, gossip_control_pb2_grpc

from bench.report import Figure, arguments, at_least, at_most, show

STORES = 10
CHANNELS = 8
"""Connections over which the clients of the storm are spread."""
WATCHED = 1.5
"""Seconds beyond the storm for which starts are followed."""


class Fleet:
    """Agents that attach and note every command; none carries it out, so nothing but the service is measured."""

    def __init__(self, target: str, nodes: int) -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]
        self._channels = [grpc.aio.insecure_channel(target, options=options) for _ in range(CHANNELS)]
        self.stubs: list[gossip_control_pb2_grpc.GossipControlAsyncStub] = [
            gossip_control_pb2_grpc.GossipControlStub(channel) for channel in self._channels
        ]
        self.nodes = nodes
        self.commands: list[tuple[float, int]] = []
        self._readers: list[asyncio.Task[None]] = []

    async def attach(self) -> None:
        """Attach every node, a few hundred at a time."""
        gate = asyncio.Semaphore(200)
        await asyncio.gather(*(self._attach(number, gate) for number in range(self.nodes)))

    async def _attach(self, number: int, gate: asyncio.Semaphore) -> None:
        async with gate:
            call = self.stubs[number % CHANNELS].Attach()
            register = attach_pb2.Register(
                node_id=f"n{number}", host_id=f"h{number}", store_ids=[f"s{store}" for store in range(STORES)]
            )
            await call.write(attach_pb2.AttachRequest(register=register))
            await call.read()
            self._readers.append(asyncio.create_task(self._read(number, call)))

    async def _read(
        self, number: int, call: grpc.aio.StreamStreamCall[attach_pb2.AttachRequest, attach_pb2.AttachResponse]
    ) -> None:
        while isinstance(frame := await call.read(), attach_pb2.AttachResponse):
            if frame.HasField("rejoin"):
                self.commands.append((time.monotonic(), number))

    async def storm(self) -> tuple[list[float], Counter[int], float]:
        """Every host reports within one second; returns latencies, decisions by kind, and when it began."""
        kinds: Counter[int] = Counter()
        latencies: list[float] = []
        began = time.monotonic()

        async def report(number: int) -> None:
            await asyncio.sleep(max(0.0, began + number / self.nodes - time.monotonic()))
            request = gossip_control_pb2.ReportNetworkChangeRequest(
                host_id=f"h{number}", kind=gossip_control_pb2.NETWORK_CHANGE_KIND_CHANGED, boot_id="b", generation=1
            )
            sent = time.monotonic()
            response = await self.stubs[number % CHANNELS].ReportNetworkChange(request, timeout=60)
            latencies.append(time.monotonic() - sent)
            kinds.update(decision.kind for decision in response.decisions)

        await asyncio.gather(*(report(number) for number in range(self.nodes)))
        return latencies, kinds, began

    async def close(self) -> None:
        """End every stream."""
        for reader in self._readers:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)
        for channel in self._channels:
            await channel.close(None)


async def over_grpc(nodes: int) -> dict[str, Figure]:
    """The storm against the real service in a process of its own."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "s.sock"
        environment = {
            **os.environ, "GOSSIPCONTROL_LISTEN_SOCKET": str(path), "GOSSIPCONTROL_LISTEN_TCP": "",
            "GOSSIPCONTROL_METRICS_ADDRESS": "", "GOSSIPCONTROL_LOG_LEVEL": "error",
            "GOSSIPCONTROL_DECIDING_QUEUE_LIMIT": str(nodes * STORES),
        }  # fmt: skip
        service = await asyncio.create_subprocess_exec(sys.executable, "-m", "gossipcontrol.server", env=environment)
        try:
            while not path.exists():  # noqa: ASYNC110 - another process makes it
                await asyncio.sleep(0.02)
            return await _measure(f"unix:{path}", nodes, service.pid)
        finally:
            service.send_signal(signal.SIGTERM)
            await service.wait()


async def _measure(target: str, nodes: int, pid: int) -> dict[str, Figure]:
    fleet = Fleet(target, nodes)
    try:
        began = time.monotonic()
        await fleet.attach()
        attached, before = time.monotonic() - began, _memory(pid)
        latencies, kinds, began = await fleet.storm()
        took = time.monotonic() - began
        await asyncio.sleep(WATCHED)
        seconds = time.monotonic() - began
        commands, limits = list(fleet.commands), Parameters()
    finally:
        await fleet.close()
    decided, per_node = sum(kinds.values()), Counter(number for _, number in commands)
    allowed = limits.burst + limits.rate * seconds
    ranked = sorted(latencies)
    return {
        "reports answered": at_least(len(latencies), "reports", nodes),
        "decisions": at_least(decided, "decisions", nodes * STORES),
        "storm": Figure(took, "s"),
        "reports": Figure(nodes / took, "1/s"),
        "latency, p50": Figure(statistics.median(ranked) * 1000, "ms"),
        "latency, p99": Figure(ranked[int(len(ranked) * 0.99)] * 1000, "ms"),
        "latency, maximum": Figure(ranked[-1] * 1000, "ms"),
        "attaching": Figure(attached, "s"),
        "memory, attached": Figure(before, "MB"),
        "memory, after the storm": Figure(_memory(pid), "MB"),
        "started at once": Figure(kinds[decision_pb2.DECISION_KIND_STARTED], "rejoins"),
        f"starts in {seconds:.1f} s": at_most(len(commands), "rejoins", allowed),
        "most turns of a node after the storm": at_most(_turns(commands, began + took), "turns", 1),
        "nodes served": Figure(len(per_node), "nodes"),
    }


def _turns(commands: list[tuple[float, int]], since: float) -> int:
    """The most turns that the queue gave one node, once all had reported: one, while others still wait for theirs."""
    return max(Counter(number for at, number in commands if at > since).values(), default=0)


def _memory(pid: int) -> float:
    """Resident memory of a process in MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def core_cost(nodes: int) -> float:
    """Microseconds that the core takes per (node, store) decided, with so many nodes known; the best of three."""
    best = float("inf")
    for _ in range(3):
        engine = Engine(Parameters(queue_limit=nodes * STORES + 1))
        stores = tuple(f"s{store}" for store in range(STORES))
        for number in range(nodes):
            engine.handle(NodeAttached(f"n{number}", "s", stores, f"h{number}"), 0.0)
        events = [NetworkChanged(f"h{number}", boot_id="b", generation=1) for number in range(nodes)]
        began = time.perf_counter()
        for number, event in enumerate(events):
            engine.handle(event, 1.0 + number / nodes)
        best = min(best, (time.perf_counter() - began) / (nodes * STORES) * 1e6)
    return best


def main() -> None:
    chosen = arguments(__doc__).parse_args()
    sizes = (100, 1000) if chosen.quick else (100, 1000, 10_000)
    costs = {nodes: core_cost(nodes) for nodes in sizes}
    figures = asyncio.run(over_grpc(sizes[-1]))
    figures |= {f"core per decision, {nodes:,} nodes": Figure(cost, "us") for nodes, cost in costs.items()}
    figures["growth of that"] = Figure(costs[sizes[-1]] / costs[sizes[0]], "times", "about 1: it should not grow")
    show("storm", figures, chosen.as_json)


if __name__ == "__main__":
    main()
