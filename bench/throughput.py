"""How many network changes the service takes per second, and how many decisions the core alone makes.

The service is measured against the limit, a bare grpc.aio server that answers as many bytes, in turns in one run; the
core against rate limiters that decide less (one key each, no queue, no record, no reason), in turns in one thread.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import limits
import throttled
from gossipcontrol.agent.agent import Agent
from gossipcontrol.client.client import Client
from gossipcontrol.server.core.engine import Engine
from gossipcontrol.server.core.event import NodeAttached, RejoinRequested
from gossipcontrol.v1 import gossip_control_pb2
from pyrate_limiter import InMemoryBucket, Limiter, Rate

from bench.echo import METHOD
from bench.lab import h2load
from bench.lab.bare import echo_server, free_ports
from bench.lab.node import SilentNode
from bench.lab.process import service
from bench.report import Figure, arguments, at_least, show

IN_FLIGHT = (1, 32, 128)
CHANGE = "/gossipcontrol.v1.GossipControl/ReportNetworkChange"
KEYS = 1000
"""Nodes, or keys, that the decisions are spread over."""


async def measure_service(turns: int, calls: int) -> dict[str, Figure]:
    """The service and the bare server in turns."""
    request = gossip_control_pb2.ReportNetworkChangeRequest(
        host_id="0123456789abcdef0123456789abcdef", kind=gossip_control_pb2.NETWORK_CHANGE_KIND_CHANGED,
        platform=gossip_control_pb2.PLATFORM_LINUX, detail="eth0 via 192.0.2.1; 192.0.2.77",
    )  # fmt: skip
    ports = free_ports(2)
    with tempfile.TemporaryDirectory(prefix="gossipcontrol-") as name:
        directory = Path(name)
        serving = service(None, directory, listen_tcp=f"127.0.0.1:{ports[0]}")
        async with serving, Client(f"127.0.0.1:{ports[0]}") as client:
            await serving.wait_for("serving", 30)
            agent = Agent(SilentNode(["notes"]), f"127.0.0.1:{ports[0]}", host_id=request.host_id)
            attached = asyncio.create_task(agent.run())
            await agent.attached.wait()
            response = await client.report_network_change(request)
            request.ClearField("request_id")
            echo = echo_server(ports[1], response.ByteSize())
            async with echo:
                await echo.wait_for("serving", 30)
                targets = ((CHANGE, ports[0], serving.pid), (METHOD, ports[1], echo.pid))
                shown = await asyncio.to_thread(_in_turns, targets, request.SerializeToString(), turns, calls)
            attached.cancel()
    return shown


def _in_turns(targets: tuple[tuple[str, int, int], ...], message: bytes, turns: int, calls: int) -> dict[str, Figure]:
    shown: dict[str, Figure] = {}
    for in_flight in IN_FLIGHT:
        many = calls if in_flight > 1 else calls // 4
        seen: list[list[h2load.Load]] = []
        for turn in range(turns + 1):
            loads = [
                h2load.run(port, method, message, calls=many, in_flight=in_flight, server_pid=pid)
                for method, port, pid in targets
            ]
            seen += [loads] if turn else []  # the first turn warms up
        ours, bare = ([pair[index] for pair in seen] for index in (0, 1))
        what = f"{in_flight} in flight"
        shown[f"service, {what}"] = Figure(statistics.median(one.rate for one in ours), "calls/s")
        shown[f"bare server, {what}"] = Figure(statistics.median(one.rate for one in bare), "calls/s")
        ratio = statistics.median(a.rate / b.rate for a, b in seen)
        shown[f"ratio, {what}"] = at_least(ratio * 100, "%", 70)
        shown[f"load generator, {what}"] = Figure(max(one.client_share for one in bare) * 100, "% of one core")
        shown[f"bare server's use, {what}"] = Figure(min(one.server_share for one in bare) * 100, "% of one core")
    return shown


def measure_core(turns: int, decisions: int) -> dict[str, Figure]:
    """The core and its peers in turns, each over the same number of keys."""
    rates: dict[str, list[float]] = {}
    for _ in range(turns):
        for name, make in (
            ("core", _core), ("limits", _limits), ("throttled-py", _throttled), ("pyrate-limiter", _pyrate),
        ):  # fmt: skip
            decide = make()
            started_at = time.perf_counter()
            for number in range(decisions):
                decide(number % KEYS)
            rates.setdefault(name, []).append(decisions / (time.perf_counter() - started_at))
    medians = {name: statistics.median(seen) for name, seen in rates.items()}
    shown = {f"decisions, {name}": Figure(rate, "1/s") for name, rate in medians.items()}
    best = max(rate for name, rate in medians.items() if name != "core")
    shown["core against the best of them"] = at_least(medians["core"] / best, "times", 1)
    return shown


def _core() -> Callable[[int], object]:
    engine, names = Engine(), [f"node-{number}" for number in range(KEYS)]
    for name in names:
        engine.handle(NodeAttached(name, "session", ("notes",)), 0.0)
    now = iter(range(1 << 62))
    # A tenth of a millisecond between two triggers: windows end, rejoins start, wait for the limiter and go unproved.
    return lambda number: engine.handle(RejoinRequested(names[number], ("notes",)), next(now) * 1e-4)


def _limits() -> Callable[[int], object]:
    limiter = limits.strategies.FixedWindowRateLimiter(limits.storage.MemoryStorage())
    rule, names = limits.RateLimitItemPerSecond(1, 6), [f"node-{number}" for number in range(KEYS)]
    return lambda number: limiter.hit(rule, names[number])


def _throttled() -> Callable[[int], object]:
    quota = throttled.per_min(10)
    limiter = throttled.Throttled(using="gcra", quota=quota, store=throttled.MemoryStore())
    names = [f"node-{number}" for number in range(KEYS)]
    return lambda number: limiter.limit(names[number])


def _pyrate() -> Callable[[int], object]:
    limiters = [Limiter(InMemoryBucket([Rate(1, 6000)])) for _ in range(KEYS)]
    return lambda number: limiters[number].try_acquire(blocking=False)


def main() -> None:
    chosen = arguments(__doc__).parse_args()
    if missing := h2load.what_is_missing():
        sys.exit(missing)
    turns, calls, decisions = (1, 2_000, 20_000) if chosen.quick else (7, 20_000, 200_000)
    figures = asyncio.run(measure_service(turns, calls))
    show("throughput", {**figures, **measure_core(turns, decisions)}, chosen.as_json)


if __name__ == "__main__":
    main()
