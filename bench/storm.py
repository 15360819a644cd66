"""10,000 nodes with 10 stores each report one network change within one second, over gRPC from another process.

Targets: every report is answered, starts stay within the global bound, and the order is fair: once all have reported,
no node gets a second turn while others wait for their first. Then the cost of a decision in the core alone, as the
number of nodes grows. A latency counts from the instant at which its report was due.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

from gossipcontrol.client import Client
from gossipcontrol.server.core.core import Core, CoreParameters
from gossipcontrol.server.core.deciding.parameter import Parameters
from gossipcontrol.server.core.event import NetworkChanged, NodeAttached
from gossipcontrol.server.runtime.collector import Collector
from gossipcontrol.server.state.recovery import take_snapshot_slices
from gossipcontrol.v1 import attach_pb2, decision_pb2, gossip_control_pb2

from bench.h2load import process_seconds
from bench.memory import resident
from bench.report import Figure, arguments, at_least, at_most, show
from tests.kit.http2_client import Http2Client, header_block
from tests.kit.process import service

SERVICE = "/gossipcontrol.v1.GossipControl"
STORES = 10
CONNECTIONS = 8
"""Connections over which the nodes and their hosts are spread."""
ATTACHING = 200
"""Nodes that attach at once."""
WATCHED = 1.5
"""Seconds after the storm in which starts still count."""


class StormAgents:
    """Agents that attach and record every command; none carries it out, so only the service is measured."""

    def __init__(self, nodes: int) -> None:
        self.nodes = nodes
        self.commands: list[tuple[float, int]] = []
        """When each command arrived, and for which node."""
        self.answers: dict[int, tuple[float, bytes]] = {}
        """By node, when its report was answered, and the answer."""
        self._clients: list[Http2Client] = []
        self._registered = 0
        self._news = asyncio.Event()
        self._agents: list[dict[int, int]] = [{} for _ in range(CONNECTIONS)]
        self._reports: list[dict[int, int]] = [{} for _ in range(CONNECTIONS)]

    async def connect(self, path: Path) -> None:
        """Open the connections."""
        loop = asyncio.get_running_loop()
        for number in range(CONNECTIONS):
            make = partial(Http2Client, partial(self._on_message, number), partial(self._on_end, number))
            _, client = await loop.create_unix_connection(make, str(path))
            self._clients.append(client)

    async def attach(self) -> None:
        """Attach every node, some hundreds at once."""
        headers, stores = header_block(f"{SERVICE}/Attach"), [f"s{store}" for store in range(STORES)]
        for node in range(self.nodes):
            register = attach_pb2.Register(node_id=f"n{node}", host_id=f"h{node}", store_ids=stores)
            message = attach_pb2.AttachRequest(register=register).SerializeToString()
            connection = node % CONNECTIONS
            self._agents[connection][self._clients[connection].call(headers, message, last=False)] = node
            if node % ATTACHING == 0:
                await self._until(partial(self._has_registered, node - ATTACHING), 60)
        await self._until(partial(self._has_registered, self.nodes), 60)

    async def storm(self) -> float:
        """Every host reports within one second; returns the start (monotonic)."""
        headers = header_block(f"{SERVICE}/ReportNetworkChange")
        changed = gossip_control_pb2.NETWORK_CHANGE_KIND_CHANGED
        messages = [
            gossip_control_pb2.ReportNetworkChangeRequest(
                host_id=f"h{node}", kind=changed, boot_id="b", generation=1
            ).SerializeToString()
            for node in range(self.nodes)
        ]
        began = time.monotonic()
        for node, message in enumerate(messages):
            if (early := began + node / self.nodes - time.monotonic()) > 0:
                await asyncio.sleep(early)
            connection = node % CONNECTIONS
            self._reports[connection][self._clients[connection].call(headers, message, last=True)] = node
        await self._until(lambda: not any(self._reports), 120)
        return began

    def close(self) -> None:
        """End every stream."""
        for client in self._clients:
            client.close()

    def _has_registered(self, count: int) -> bool:
        return self._registered >= count

    async def _until(self, is_met: Callable[[], bool], within: float) -> None:
        """Wait for messages until a condition holds. Polling would take a part of the core that is measured."""
        async with asyncio.timeout(within):
            while not is_met():
                self._news.clear()
                await self._news.wait()

    def _on_message(self, connection: int, call: int, message: bytes) -> None:
        now, agent = time.monotonic(), self._agents[connection].get(call)
        if agent is None:
            self.answers[self._reports[connection][call]] = (now, message)
            return
        frame = attach_pb2.AttachResponse.FromString(message)
        if frame.HasField("rejoin"):
            self.commands.append((now, agent))
        elif frame.HasField("registered"):
            self._registered += 1
            self._news.set()

    def _on_end(self, connection: int, call: int) -> None:
        del self._reports[connection][call]
        self._news.set()


async def over_grpc(nodes: int) -> dict[str, Figure]:
    """The storm against the real service in a process of its own."""
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        serving = service(
            None, place, log_to=place / "log", log_level="error", deciding_queue_limit=str(nodes * STORES)
        )
        async with serving:
            async with Client(f"unix:{place}/gossipcontrol.sock", timeout=30) as client:
                await client.serving()
            return await _measure(place / "gossipcontrol.sock", nodes, serving.pid)


async def _measure(path: Path, nodes: int, pid: int) -> dict[str, Figure]:
    agents = StormAgents(nodes)
    await agents.connect(path)
    try:
        began = time.monotonic()
        await agents.attach()
        attached, before = time.monotonic() - began, resident(pid) / 1e6
        used, own = process_seconds(pid), time.process_time()
        began = await agents.storm()
        took = time.monotonic() - began
        used, own = process_seconds(pid) - used, time.process_time() - own
        await asyncio.sleep(WATCHED)
        seconds = time.monotonic() - began
        commands, limits = list(agents.commands), Parameters()
    finally:
        agents.close()
    responses = [
        gossip_control_pb2.ReportNetworkChangeResponse.FromString(message) for _, message in agents.answers.values()
    ]
    kinds = Counter(decision.kind for response in responses for decision in response.decisions)
    decided, per_node = sum(kinds.values()), Counter(node for _, node in commands)
    latencies = sorted(at - (began + node / nodes) for node, (at, _) in agents.answers.items())
    allowed = limits.burst + limits.rate * seconds
    return {
        "reports answered": at_least(len(latencies), "reports", nodes),
        "decisions": at_least(decided, "decisions", nodes * STORES),
        "storm": Figure(took, "s"),
        "reports": Figure(nodes / took, "1/s"),
        "latency, p50": Figure(statistics.median(latencies) * 1000, "ms"),
        "latency, p99": Figure(latencies[int(len(latencies) * 0.99)] * 1000, "ms"),
        "latency, maximum": Figure(latencies[-1] * 1000, "ms"),
        "the service's time per report": Figure(used / nodes * 1e6, "us"),
        "the service's use": Figure(used / took * 100, "% of one core"),
        "the agents' use": Figure(own / took * 100, "% of one core"),
        "attaching": Figure(attached, "s"),
        "memory, attached": Figure(before, "MB"),
        "memory, after the storm": Figure(resident(pid) / 1e6, "MB"),
        "started at once": Figure(kinds[decision_pb2.DECISION_KIND_STARTED], "rejoins"),
        f"starts in {seconds:.1f} s": at_most(len(commands), "rejoins", allowed),
        "most turns of a node after the storm": at_most(_turns(commands, began + took), "turns", 1),
        "nodes served": Figure(len(per_node), "nodes"),
    }


def _turns(commands: list[tuple[float, int]], since: float) -> int:
    """The most turns of one node after all had reported: one, as long as others wait for theirs."""
    return max(Counter(number for at, number in commands if at > since).values(), default=0)


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU time of the core; the best of three runs."""

    decision: float
    """Microseconds per (node, store) decided."""
    collector: float
    """Of that, the part of Python's garbage collector."""
    snapshot: float
    """Milliseconds for which a snapshot of everything blocks the event loop at a time."""


def core_cost(nodes: int) -> Cost:
    """With so many nodes known."""
    return min((_core_cost(nodes) for _ in range(3)), key=lambda cost: cost.decision)


def _core_cost(nodes: int) -> Cost:
    parameters = Parameters(queue_limit=nodes * STORES + 1)
    core = Core(CoreParameters(deciding=parameters))
    stores = tuple(f"s{store}" for store in range(STORES))
    for number in range(nodes):
        core.handle(NodeAttached(f"n{number}", "s", stores, f"h{number}"), 0.0)
    events = [NetworkChanged(f"h{number}", boot_id="b", generation=1) for number in range(nodes)]
    with CollectorWatch() as collector:
        began = time.process_time()
        for number, event in enumerate(events):
            core.handle(event, 1.0 + number / nodes)
        took = time.process_time() - began
    snapshot, began = 0.0, time.process_time()
    for _ in take_snapshot_slices(core):
        snapshot = max(snapshot, time.process_time() - began)
        began = time.process_time()
    each = 1e6 / (nodes * STORES)
    return Cost(took * each, collector.seconds * each, snapshot * 1e3)


class CollectorWatch:
    """Measures the CPU seconds of Python's garbage collector inside a ``with`` block."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._began = 0.0

    def __enter__(self) -> Self:
        gc.callbacks.append(self._on_collection)
        return self

    def __exit__(self, *_: object) -> None:
        gc.callbacks.remove(self._on_collection)

    def _on_collection(self, phase: str, _info: dict[str, int]) -> None:
        if phase == "start":
            self._began = time.process_time()
        else:
            self.seconds += time.process_time() - self._began


def figures_of_core(sizes: Sequence[int]) -> dict[str, Figure]:
    """Cost by number of nodes, with the service's collector settings and with Python's."""
    pythons_own = gc.get_threshold()
    untuned = core_cost(sizes[-1])
    Collector().tune()
    costs = {nodes: core_cost(nodes) for nodes in sizes}
    gc.set_threshold(*pythons_own)
    shown = {f"core per decision, {nodes:,} nodes": Figure(cost.decision, "us") for nodes, cost in costs.items()}
    growth = costs[sizes[-1]].decision / costs[sizes[0]].decision
    return shown | {
        "growth of that": Figure(growth, "times", "about 1"),
        "the collector's part of it": Figure(costs[sizes[-1]].collector, "us"),
        "the same with Python's thresholds": Figure(untuned.decision, "us"),
        "the collector's part of that": Figure(untuned.collector, "us"),
        "longest slice of a snapshot": Figure(costs[sizes[-1]].snapshot, "ms"),
    }


def main() -> None:
    chosen = arguments(__doc__).parse_args()
    sizes = (100, 1000) if chosen.quick else (100, 1000, 10_000)
    figures = figures_of_core(sizes)
    figures |= asyncio.run(over_grpc(sizes[-1]))
    show("storm", figures, chosen.as_json)


if __name__ == "__main__":
    main()
