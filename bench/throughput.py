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
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import limits
import throttled
from gossipcontrol.agent import Agent
from gossipcontrol.cli.message_client import MessageClient
from gossipcontrol.client import decode
from gossipcontrol.client.call import Call
from gossipcontrol.server.core.core import Core
from gossipcontrol.server.core.event import NodeAttached, RejoinRequested
from gossipcontrol.server.runtime.collector import Collector
from gossipcontrol.v1 import gossip_control_pb2
from gossipcontrol.v1.gossip_control_pb2_grpc import GossipControlStub
from pyrate_limiter import InMemoryBucket, Limiter, Rate

from bench import h2load
from bench.echo import METHOD
from bench.echo_process import echo_server
from bench.hub import TOKEN, found, hub
from bench.report import Figure, arguments, at_least, show
from tests.kit.ports import free_ports
from tests.kit.process import service
from tests.kit.silent_node import SilentNode

IN_FLIGHT = (1, 32, 128)
CHANGE = "/gossipcontrol.v1.GossipControl/ReportNetworkChange"
CORE = "core, ten stores per trigger"
STORES = 10
"""Stores of a node; a network change takes one decision for each."""
KEYS = 1000
"""Nodes, or keys of a library, that share the decisions."""


async def measure_service(turns: int, calls: int) -> dict[str, Figure]:
    """Measure the service, with and without a log line per decision, and the bare server, in turns."""
    request = gossip_control_pb2.ReportNetworkChangeRequest(
        host_id="0123456789abcdef0123456789abcdef", kind=gossip_control_pb2.NETWORK_CHANGE_KIND_CHANGED,
        platform=gossip_control_pb2.PLATFORM_LINUX, detail="eth0 via 192.0.2.1; 192.0.2.77",
    )  # fmt: skip
    ports = free_ports(3)
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        pids: list[int] = []
        answer_bytes = 0
        for port, level in zip(ports, ("info", "warning"), strict=False):
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gossipcontrol-")))
            # The log goes to a file, as under systemd: reading it here would take CPU time from the load.
            serving = await enter(
                service(None, directory, log_to=directory / "log", listen_tcp=f"127.0.0.1:{port}", log_level=level)
            )
            pids.append(serving.pid)
            client = await enter(MessageClient(f"127.0.0.1:{port}", timeout=30))
            await client.serving()
            agent = Agent(SilentNode(["notes"]), f"127.0.0.1:{port}", host_id=request.host_id)
            stack.callback(asyncio.create_task(agent.run()).cancel)
            await agent.attached.wait()
            call = Call(GossipControlStub, "ReportNetworkChange", request, decode.trigger_result)
            answer_bytes = (await client.message(call)).ByteSize()
        echo = await enter(echo_server(ports[2], answer_bytes))
        await echo.wait_for("serving", 30)
        targets = [(CHANGE, ports[0], pids[0]), (CHANGE, ports[1], pids[1]), (METHOD, ports[2], echo.pid)]
        return await asyncio.to_thread(_in_turns, targets, request.SerializeToString(), turns, calls)


async def measure_over_tls(turns: int, calls: int) -> dict[str, Figure]:
    """Measure a hub and the bare server, both over TLS and without, in turns; the hub's callers show a token."""
    request = gossip_control_pb2.ReportNetworkChangeRequest(
        host_id="0123456789abcdef0123456789abcdef", kind=gossip_control_pb2.NETWORK_CHANGE_KIND_CHANGED,
        platform=gossip_control_pb2.PLATFORM_LINUX, detail="eth0 via 192.0.2.1; 192.0.2.77",
    )  # fmt: skip
    plain, tokens, bare, bare_tls = ports = free_ports(4)
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gossipcontrol-")))
        files = found(directory)
        where = {"listen_tcp": f"127.0.0.1:{plain}", "listen_tls_tokens": f"127.0.0.1:{tokens}"}
        serving = await enter(hub(directory, files, **where))
        client = await enter(MessageClient(f"127.0.0.1:{plain}", timeout=30))
        await client.serving()
        agent = Agent(SilentNode(["notes"]), f"127.0.0.1:{plain}", host_id=request.host_id)
        stack.callback(asyncio.create_task(agent.run()).cancel)
        await agent.attached.wait()
        call = Call(GossipControlStub, "ReportNetworkChange", request, decode.trigger_result)
        size = (await client.message(call)).ByteSize()
        echoes = [await enter(echo_server(bare, size)), await enter(echo_server(bare_tls, size, pair=files.pair))]
        for echo in echoes:
            await echo.wait_for("serving", 30)
        methods, pids = (CHANGE, CHANGE, METHOD, METHOD), (serving.pid, serving.pid, *(one.pid for one in echoes))
        targets = list(zip(methods, ports, pids, ("", TOKEN, "", TOKEN), strict=True))
        return await asyncio.to_thread(_ratios, targets, request.SerializeToString(), turns, calls)


def _ratios(targets: Sequence[tuple[str, int, int, str]], message: bytes, turns: int, calls: int) -> dict[str, Figure]:
    """The hub against the bare server, without TLS and over it, by calls and by CPU time."""
    shown: dict[str, Figure] = {}
    for in_flight in IN_FLIGHT[1:]:
        seen: list[list[h2load.Load]] = []
        for turn in range(turns + 1):
            loads = [
                h2load.run(port, method, message, calls=calls, in_flight=in_flight, server_pid=pid, token=token)
                for method, port, pid, token in targets
            ]
            seen += [loads] if turn else []  # the first turn warms up
        plain, tls, bare, bare_tls = ([loads[index] for loads in seen] for index in range(4))
        for what, ours, theirs in (("no TLS", plain, bare), ("TLS", tls, bare_tls)):
            shown[f"ratio, hub, {what}, {in_flight} in flight"] = Figure(_ratio(ours, theirs), "%")
            for name, runs in (("hub", ours), ("bare server", theirs)):
                cpu = statistics.median(one.server_us for one in runs)
                shown[f"CPU per call, {name}, {what}, {in_flight} in flight"] = Figure(cpu, "us")
    return shown


def _in_turns(targets: Sequence[tuple[str, int, int]], message: bytes, turns: int, calls: int) -> dict[str, Figure]:
    """Load the service, the service that logs no decision, and the bare server."""
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
        ours, silent, bare = ([loads[index] for loads in seen] for index in range(3))
        what = f"{in_flight} in flight"
        shown[f"service, {what}"] = Figure(statistics.median(one.rate for one in ours), "calls/s")
        shown[f"bare server, {what}"] = Figure(statistics.median(one.rate for one in bare), "calls/s")
        shown[f"ratio, {what}"] = at_least(_ratio(ours, bare), "%", 70)
        shown[f"ratio without a line per decision, {what}"] = Figure(_ratio(silent, bare), "%")
        for name, runs in (("service", ours), ("service without a line per decision", silent), ("bare server", bare)):
            shown[f"CPU per call, {name}, {what}"] = Figure(statistics.median(one.server_us for one in runs), "us")
        shown[f"load generator, {what}"] = Figure(max(one.client_share for one in bare) * 100, "% of one core")
        shown[f"bare server's use, {what}"] = Figure(min(one.server_share for one in bare) * 100, "% of one core")
    return shown


def _ratio(ours: Sequence[h2load.Load], bare: Sequence[h2load.Load]) -> float:
    return statistics.median(a.rate / b.rate for a, b in zip(ours, bare, strict=True)) * 100


def measure_core(turns: int, decisions: int) -> dict[str, Figure]:
    """Measure the core and rate-limiting libraries in turns, over as many keys, in CPU time."""
    Collector().tune()  # as in the service, and for the libraries too
    rates: dict[str, list[float]] = {}
    for _ in range(turns):
        for name, make, each in (
            (CORE, partial(_core, STORES), STORES), ("core, one store per trigger", partial(_core, 1), 1),
            ("limits", _limits, 1), ("throttled-py", _throttled, 1), ("pyrate-limiter", _pyrate, 1),
        ):  # fmt: skip
            decide = make()
            started_at = time.thread_time()
            for number in range(decisions // each):
                decide(number % (KEYS // each))
            rates.setdefault(name, []).append(decisions / (time.thread_time() - started_at))
    medians = {name: statistics.median(seen) for name, seen in rates.items()}
    shown = {f"decisions, {name}": Figure(rate, "1/s of CPU time") for name, rate in medians.items()}
    best = max(rate for name, rate in medians.items() if not name.startswith("core"))
    shown["core against the best library"] = at_least(medians[CORE] / best, "times", 1)
    return shown


def _core(stores: int) -> Callable[[int], object]:
    """Triggers for a thousand slots, one decision per 0.1 ms of service time.

    So windows end, rejoins start, wait for the limiter, and time out during the measurement.
    """
    core, names = Core(), [f"node-{number}" for number in range(KEYS // stores)]
    for name in names:
        core.handle(NodeAttached(name, "session", tuple(f"store-{number}" for number in range(stores))), 0.0)
    now = iter(range(1 << 62))
    return lambda number: core.handle(RejoinRequested(names[number]), next(now) * 1e-4 * stores)


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
    # One bucket: each limiter starts a thread, and a thousand threads would be measured instead.
    limiter = Limiter(InMemoryBucket([Rate(1, 6000)]))
    return lambda number: limiter.try_acquire(str(number), blocking=False)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--tls", action="store_true", help="only the hub beside the bare server over TLS")
    chosen = parser.parse_args()
    if missing := h2load.what_is_missing():
        sys.exit(missing)
    turns, calls, decisions = (1, 2_000, 20_000) if chosen.quick else (7, 20_000, 200_000)
    figures = {} if chosen.tls else asyncio.run(measure_service(turns, calls))
    figures |= asyncio.run(measure_over_tls(turns, calls))
    figures |= {} if chosen.tls else measure_core(turns, decisions)
    show("throughput", figures, chosen.as_json)


if __name__ == "__main__":
    main()
