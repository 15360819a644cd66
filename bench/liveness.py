"""How many observations the service handles per second, and the cost of a tracked peer and of a tick.

Reports of 100 peers each come over real gRPC from a load generator in C, in turns in one run: to the service, to a bare
grpc.aio server that parses the same messages and answers as many bytes, and to one that reads their fields too, the
limit of any service in Python. Each turn reports for another node of the store. Memory and ticks are measured in
processes of their own, with the core alone.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from gossipcontrol.cli.message_client import MessageClient
from gossipcontrol.client import LivenessResult, decode
from gossipcontrol.client.call import Call
from gossipcontrol.server.core.event import LivenessReported, TimePassed
from gossipcontrol.server.core.liveness import Liveness
from gossipcontrol.server.core.presence.parameter import LivenessParameters
from gossipcontrol.server.runtime.collector import Collector
from gossipcontrol.v1 import gossip_control_pb2, liveness_pb2
from gossipcontrol.v1.gossip_control_pb2_grpc import GossipControlStub

from bench import h2load
from bench.echo import COLUMNS
from bench.echo_process import echo_server
from bench.memory import resident
from bench.report import Figure, arguments, at_least, at_most, show
from tests.kit.ports import free_ports
from tests.kit.process import service

METHOD = "/gossipcontrol.v1.GossipControl/PeerLiveness"
PARSERS = {
    "bare server that parses": "gossipcontrol.v1.gossip_control_pb2:PeerLivenessRequest",
    "bare server that reads the fields": COLUMNS,
}
BATCH = 100
"""Observations per message."""
IN_FLIGHT = 32
MILLION = 1_000_000
SHAPES = {"1,000 stores of 1,000, 10,000 nodes": (1000, 1000, 10_000), "every id another": (1000, 1000, 10_000_000)}
"""Stores, peers in each, and distinct ids of 64 characters."""
OBSERVERS = 3
"""Nodes of each store that report all its peers."""
CHANGING = 100


def request(turn: int, version: int) -> gossip_control_pb2.PeerLivenessRequest:
    """A report of one node about all its peers, five of them neighbours; it has the view of this version."""
    peers = range(BATCH)
    report = liveness_pb2.LivenessReport(
        node_id=peer_id(turn),
        store_id="notes",
        heard=liveness_pb2.PeersHeard(
            peer_ids=[peer_id(1000 + number) for number in peers],
            heard_ages_ms=[40 + number * 17 for number in peers],
            heard_counts=[500 + number for number in peers],
            direct=range(5),
        ),
        neighbors=[liveness_pb2.Neighbor(peer_id=peer_id(1000 + number), up_age_ms=60_000) for number in range(5)],
        broadcast_count=100 + turn,
        known_version=version,
    )
    return gossip_control_pb2.PeerLivenessRequest(reports=[report])


def peer_id(number: int) -> str:
    """An id of 64 characters, as iroh's."""
    return hashlib.sha256(str(number).encode()).hexdigest()


def reporting(
    message: gossip_control_pb2.PeerLivenessRequest,
) -> Call[gossip_control_pb2.PeerLivenessResponse, LivenessResult]:
    """The call with this message."""
    return Call(GossipControlStub, "PeerLiveness", message, decode.liveness_result)


async def measure_service(turns: int, calls: int) -> dict[str, Figure]:
    """Measure the service and the bare servers in turns."""
    ports = free_ports(1 + len(PARSERS))
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gossipcontrol-")))
        serving = await enter(service(None, directory, log_to=directory / "log", listen_tcp=f"127.0.0.1:{ports[0]}"))
        client = await enter(MessageClient(f"127.0.0.1:{ports[0]}", timeout=30))
        await client.serving()
        answer = None
        for turn in range(turns + 1):
            # Every node is known before the measurement, and has the newest view.
            answer = await client.message(reporting(request(turn, 0)))
        assert answer is not None
        version = answer.views[0].version
        size = (await client.message(reporting(request(0, version)))).ByteSize()
        targets = {"service": (ports[0], serving.pid)}
        for port, (name, parser) in zip(ports[1:], PARSERS.items(), strict=True):
            bare = await enter(echo_server(port, size, METHOD, parser))
            await bare.wait_for("serving", 30)
            targets[name] = (port, bare.pid)
        messages = [request(turn, version).SerializeToString() for turn in range(turns + 1)]
        return await asyncio.to_thread(_in_turns, targets, messages, calls)


def _in_turns(targets: Mapping[str, tuple[int, int]], messages: Sequence[bytes], calls: int) -> dict[str, Figure]:
    seen: list[dict[str, h2load.Load]] = []
    for turn, message in enumerate(messages):
        loads = {
            name: h2load.run(port, METHOD, message, calls=calls, in_flight=IN_FLIGHT, server_pid=pid)
            for name, (port, pid) in targets.items()
        }
        seen += [loads] if turn else []  # the first turn warms up

    def share(name: str, of: str) -> float:
        return statistics.median(loads[name].rate / loads[of].rate for loads in seen) * 100

    parses, reads = PARSERS
    by_use = statistics.median(
        (ours.rate / ours.server_share) / (bare.rate / bare.server_share)
        for ours, bare in ((loads["service"], loads[parses]) for loads in seen)
    )
    return {
        **{
            name: Figure(statistics.median(loads[name].rate for loads in seen) * BATCH, "observations/s")
            for name in targets
        },
        **{
            f"CPU per call, {name}": Figure(statistics.median(loads[name].server_us for loads in seen), "us")
            for name in targets
        },
        "service to the one that parses": at_least(share("service", parses), "%", 60),
        "the same per CPU second": Figure(by_use * 100, "%"),
        "service to the one that reads": Figure(share("service", reads), "%"),
        "the one that reads to the one that parses": Figure(share(reads, parses), "%"),
        "load generator": Figure(max(loads[parses].client_share for loads in seen) * 100, "% of one core"),
    }


def fill(stores: int, peers: int, ids: int) -> tuple[Liveness, float]:
    """A Liveness with so many peers online, and its service time."""
    liveness, now = Liveness(LivenessParameters(peer_limit=2 * MILLION)), 1e9
    for store in range(stores):
        names = [peer_id((store * peers * 31 + number) % ids) for number in range(peers)]
        for observer in names[:OBSERVERS]:
            now += 1e-3
            heard = {name: now - 1 - number % 1000 / 1000 for number, name in enumerate(names)}
            liveness.handle(LivenessReported(observer, f"store-{store}", heard), now)
    return liveness, now


def memory(stores: int, peers: int, ids: int) -> float:
    """Bytes per tracked (store, peer), by the growth of resident memory."""
    Collector().tune()
    Liveness()
    gc.collect()
    before = resident()
    liveness, _ = fill(stores, peers, ids)
    gc.collect()
    return (resident() - before) / liveness.peer_total


def tick(stores: int, peers: int) -> tuple[float, float]:
    """CPU milliseconds of a tick in which 100 peers change, and of one in which none does."""
    Collector().tune()
    liveness, now = fill(stores, peers, 10_000)
    # Every peer goes offline first, so none is due for hours.
    while (deadline := liveness.next_deadline()) is not None and deadline < now + 3600:
        liveness.handle(TimePassed(), deadline)
    now += 3600
    gc.collect()
    gc.freeze()
    changing, idle = list[float](), list[float]()
    for number in range(20):
        names = [peer_id((number * peers * 31 + one) % 10_000) for one in range(CHANGING)]
        heard = dict.fromkeys(names, now)
        liveness.handle(LivenessReported("somebody", f"store-{number % stores}", heard), now)
        while (deadline := liveness.next_deadline()) is not None:
            before = liveness.counts()
            now = max(now, deadline)
            started_at = time.thread_time()
            liveness.handle(TimePassed(), now)
            took = (time.thread_time() - started_at) * 1000
            if liveness.counts() == before:
                idle.append(took)
            else:
                changing.append(took)
                break
        now += 3600
        liveness.handle(TimePassed(), now)
    return statistics.median(changing), statistics.median(idle or [0.0])


def _apart(*what: str) -> list[float]:
    """Run one part of this measurement in a process of its own."""
    command = (sys.executable, "-m", "bench.liveness", "--part", *what)
    found: list[float] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return found


def _part(what: Sequence[str]) -> None:
    numbers = [int(one) for one in what[1:]]
    print(json.dumps([memory(*numbers)] if what[0] == "memory" else list(tick(*numbers))))


def measure_core(scale: int) -> dict[str, Figure]:
    """Measure memory and ticks; ``scale`` divides the number of stores."""
    figures: dict[str, Figure] = {}
    for name, (stores, peers, ids) in SHAPES.items():
        [used] = _apart("memory", str(stores // scale), str(peers), str(ids))
        figures[f"memory per (store, peer), {name}"] = at_most(used, "bytes", 300)
    changing, idle = _apart("tick", str(1000 // scale), "1000")
    figures[f"tick, {MILLION // scale:,} tracked, {CHANGING} changing"] = Figure(changing, "ms of CPU")
    figures["tick, nothing changing"] = Figure(idle, "ms of CPU")
    return figures


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--part", nargs="+", default=(), help="internal: run one part in this process")
    chosen = parser.parse_args()
    if chosen.part:
        _part(chosen.part)
        return
    if missing := h2load.what_is_missing():
        sys.exit(missing)
    turns, calls, scale = (1, 1_000, 20) if chosen.quick else (7, 8_000, 1)
    figures = asyncio.run(measure_service(turns, calls))
    show("liveness", {**figures, **measure_core(scale)}, chosen.as_json)


if __name__ == "__main__":
    main()
