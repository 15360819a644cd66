"""What one hostile client can take: memory and places, kind by kind, while an honest client is served.

Each kind goes on for a while (60 s, 5 s with --quick) over one connection, then it ends and the service is looked at
again. Resident memory must stay below ``limits.memory`` + 100 MB (where the service has no such setting, below a limit
of 512 MB + 100 MB). An honest client reports and asks for a rejoin of its attached node throughout; after each kind a
newcomer attaches and watches, and the rows in the books must be what they were. Each kind has a service of its own.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, TypeAlias

import grpc
from gossipcontrol.client.channel import open_channel
from gossipcontrol.server.config import Limits
from gossipcontrol.server.core.deciding.parameter import Parameters
from gossipcontrol.v1 import attach_pb2, gossip_control_pb2, liveness_pb2
from gossipcontrol.v1.gossip_control_pb2_grpc import GossipControlStub
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bench.memory import resident
from bench.ping_flood import PING, PREFACE
from bench.report import Figure, arguments, at_least, at_most, show
from tests.kit.http import fetch
from tests.kit.ports import free_ports
from tests.kit.process import Process, service
from tests.kit.until import until

LIMIT = 512
"""MB of ``limits.memory`` in the measured service."""
ROOM = 100
"""MB beside it: the interpreter, gRPC, and what the allocator keeps."""
IN_FLIGHT = 8
"""Calls of the attacker under way at once."""
TIMEOUT = 10.0
"""Seconds after which an honest call counts as not served."""
HONEST_EVERY = 0.2
"""Seconds between two honest calls."""
FORGOTTEN = 3.0
"""Seconds after which idle nodes and parked rejoins are forgotten in this service; by default a day and 10 minutes."""
SETTLED = 60.0
"""Most seconds after the attack until the books and descriptors are what they were."""
FEW_FILES = 4
"""Descriptors that may stay open."""
BOOKS = ("nodes", "stores", "known_peers", "agents_attached", "rejoins_parked")
"""Gauges of the metrics page whose sum must come back, without the prefix of their names."""


class Target:
    """The service under attack."""

    def __init__(self, path: Path, port: int, metrics: int, pid: int, channel: grpc.aio.Channel) -> None:
        self.path, self.port, self.metrics, self.pid = path, port, metrics, pid
        self.stub: Any = GossipControlStub(channel)
        self.health: Any = health_pb2_grpc.HealthStub(channel)
        self.held: list[Any] = []
        """Streams and sockets that the attacker keeps open."""
        self.outcomes: Counter[str] = Counter()
        """How the attacker's calls ended."""


Attack: TypeAlias = Callable[[Target, int], Awaitable[object]]
"""One step; its argument numbers it."""


def _name() -> str:
    return uuid.uuid4().hex * 4  # 128 bytes, the longest id


async def _unknown_stores(target: Target, _number: int) -> None:
    """Unary reports of invented nodes about invented stores (A5, A7)."""
    made = [liveness_pb2.LivenessReport(node_id=_name(), store_id=_name()) for _ in range(100)]
    await target.stub.PeerLiveness(gossip_control_pb2.PeerLivenessRequest(reports=made), timeout=TIMEOUT)


async def _unknown_peers(target: Target, _number: int) -> None:
    """Reports that name a thousand invented peers, in invented stores (A5, A14)."""
    heard = liveness_pb2.PeersHeard(peer_ids=[_name() for _ in range(1000)], heard_ages_ms=[1] * 1000)
    made = [liveness_pb2.LivenessReport(node_id=_name(), store_id=_name(), heard=heard) for _ in range(10)]
    await target.stub.PeerLiveness(gossip_control_pb2.PeerLivenessRequest(reports=made), timeout=TIMEOUT)


async def _parked(target: Target, _number: int) -> None:
    """Rejoins of invented nodes in 1,024 stores (A8)."""
    request = gossip_control_pb2.RejoinRequest(
        node_id=_name(), store_ids=[f"s{one}" for one in range(1024)], park_unknown=True
    )
    await target.stub.Rejoin(request, timeout=TIMEOUT)


async def _replaced(target: Target, _number: int) -> None:
    """Streams of one node that replace each other and read nothing but the first frame (A6)."""
    call = target.stub.Attach()
    target.held.append(call)
    register = attach_pb2.Register(node_id="replaced", host_id="replaced", store_ids=[f"s{n}" for n in range(1000)])
    await call.write(attach_pb2.AttachRequest(register=register))
    await asyncio.wait_for(call.read(), TIMEOUT)
    changed = gossip_control_pb2.NETWORK_CHANGE_KIND_CHANGED
    report = gossip_control_pb2.ReportNetworkChangeRequest(
        host_id="replaced", kind=changed, boot_id=_name()[:32], generation=1
    )
    await target.stub.ReportNetworkChange(report, timeout=TIMEOUT)


async def _never_registers(target: Target, _number: int) -> None:
    """Attach streams without a registration (A5)."""
    call = target.stub.Attach()
    target.held.append(call)
    await asyncio.wait_for(call.wait_for_connection(), 0.1)


async def _health_watches(target: Target, _number: int) -> None:
    """Health.Watch of services that do not exist (A5)."""
    call = target.health.Watch(health_pb2.HealthCheckRequest(service=_name()))
    target.held.append(call)
    await asyncio.wait_for(call.read(), TIMEOUT)


async def _watches(target: Target, _number: int) -> None:
    """WatchPeers of a store that does not exist (A17)."""
    call = target.stub.WatchPeers(gossip_control_pb2.WatchPeersRequest(store_id="nowhere"))
    target.held.append(call)
    await asyncio.wait_for(call.read(), TIMEOUT)


async def _idle_connections(target: Target, _number: int) -> None:
    """TCP connections that say nothing (A13)."""
    await _connect(target, target.port, b"")


async def _half_scrapes(target: Target, _number: int) -> None:
    """Requests to the metrics page that never end (A5)."""
    await _connect(target, target.metrics, b"GET /metrics HTTP/1.1\r\nHost: ")


async def _pings(target: Target, _number: int) -> None:
    """HTTP/2 PINGs whose answers are not read (A3)."""
    await _connect(target, target.port, PREFACE + PING * 40_000)


async def _resets(target: Target, _number: int) -> None:
    """Calls that are reset as soon as they begin."""
    for _ in range(100):
        target.stub.PeerLiveness(gossip_control_pb2.PeerLivenessRequest()).cancel()
    await asyncio.sleep(0)


async def _connect(target: Target, port: int, first: bytes) -> None:
    if len(target.held) > 5_000:
        await asyncio.sleep(0.1)
        return
    loop, one = asyncio.get_running_loop(), socket.socket()
    one.setblocking(False)
    # Reset at the end, so that no thousand sockets stay behind in TIME_WAIT.
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    target.held.append(one)
    await asyncio.wait_for(loop.sock_connect(one, ("127.0.0.1", port)), 1)
    if first:
        await asyncio.wait_for(loop.sock_sendall(one, first), 1)


ATTACKS: dict[str, Attack] = {
    "reports of unknown nodes": _unknown_stores,
    "reports of unknown peers": _unknown_peers,
    "rejoins of unknown nodes": _parked,
    "replaced streams": _replaced,
    "streams that never register": _never_registers,
    "Health.Watch": _health_watches,
    "WatchPeers": _watches,
    "idle connections": _idle_connections,
    "half-sent scrapes": _half_scrapes,
    "PINGs": _pings,
    "resets": _resets,
}


class Honest:
    """A client with one attached node; it reports, and asks for rejoins."""

    def __init__(self, channel: grpc.aio.Channel, timeout: float = TIMEOUT) -> None:
        self._timeout = timeout
        self.waits: list[float] = []
        self.failures: Counter[str] = Counter()
        self._stub: Any = GossipControlStub(channel)
        self._call: Any = None
        self.rows = 0
        """Rows that the attached node has in the books: as a node, as an agent and as a peer."""

    async def attach(self, node: str = "honest") -> str:
        """Attach a node; returns what was wrong, or nothing."""
        self._call = self._stub.Attach()
        register = attach_pb2.Register(node_id=node, host_id=node, store_ids=["mine"])
        wrong = await _wrong(self._first_frame(attach_pb2.AttachRequest(register=register)))
        self.rows = 0 if wrong else 3
        return wrong

    async def watch(self) -> str:
        """Watch the peers of a store; returns what was wrong, or nothing."""
        call = self._stub.WatchPeers(gossip_control_pb2.WatchPeersRequest(store_id="mine"))
        return await _wrong(asyncio.wait_for(call.read(), TIMEOUT))

    async def go_on(self) -> None:
        """Call for ever."""
        report = liveness_pb2.LivenessReport(node_id="honest", store_id="mine")
        reports = gossip_control_pb2.PeerLivenessRequest(reports=[report])
        rejoin = gossip_control_pb2.RejoinRequest(node_id="honest", store_ids=["mine"])
        while True:
            for call, request in ((self._stub.PeerLiveness, reports), (self._stub.Rejoin, rejoin)):
                began = time.monotonic()
                if wrong := await _wrong(call(request, timeout=self._timeout)):
                    self.failures[wrong] += 1
                self.waits.append(time.monotonic() - began)
            await asyncio.sleep(HONEST_EVERY)

    async def _first_frame(self, request: attach_pb2.AttachRequest) -> None:
        await self._call.write(request)
        await asyncio.wait_for(self._call.read(), TIMEOUT)


async def _wrong(call: Awaitable[object]) -> str:
    try:
        answer = await call
    except grpc.aio.AioRpcError as error:
        return error.code().name
    except (TimeoutError, asyncio.InvalidStateError) as error:
        return type(error).__name__
    return "ended" if answer is grpc.aio.EOF else ""


async def measure(name: str, attack: Attack, seconds: float) -> dict[str, Figure]:
    """One kind of attack on a service of its own."""
    port, metrics = free_ports(2)
    settings = {"listen_tcp": f"127.0.0.1:{port}", "metrics_address": f"127.0.0.1:{metrics}", "log_level": "warning"}
    if hasattr(Limits(), "memory"):
        settings["limits_memory"] = str(LIMIT << 20)
    if hasattr(Parameters(), "idle_age"):
        settings |= {"deciding_idle_age": str(FORGOTTEN), "deciding_park_time": str(FORGOTTEN)}
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gossipcontrol-")))
        async with service(None, directory, log_to=directory / "log", **settings) as serving:
            return await _attack(serving, directory, (port, metrics), (name, attack), seconds)


async def _attack(
    serving: Process, directory: Path, ports: tuple[int, int], kind: tuple[str, Attack], seconds: float
) -> dict[str, Figure]:
    name, attack = kind
    address = f"unix:{directory}/gossipcontrol.sock"
    hostile, honest, late = (open_channel(one) for one in (f"127.0.0.1:{ports[0]}", address, address))
    try:
        await asyncio.wait_for(honest.channel_ready(), TIMEOUT)
        target, client = Target(directory, *ports, serving.pid, hostile), Honest(honest)
        await client.attach()
        calls = asyncio.create_task(client.go_on())
        await until(lambda: len(client.waits) >= 2, "the honest client was served", TIMEOUT)
        before, files, books = resident(serving.pid) / 1e6, _open_files(serving.pid), await _books(ports[1])
        highest = await _go_on(target, attack, seconds)
        calls.cancel()
        newcomer, began = Honest(late), time.monotonic()
        refused = await _wrong(asyncio.wait_for(late.channel_ready(), TIMEOUT))
        connected = time.monotonic() - began
        refused = " ".join(filter(None, [refused, await newcomer.attach("newcomer"), await newcomer.watch()]))
        let_go(target)
        took, files, kept = await _settle(serving.pid, ports[1], files, books + newcomer.rows)
        after = resident(serving.pid) / 1e6
    finally:
        await asyncio.gather(*(channel.close() for channel in (hostile, honest, late)))
    waits, failed = sorted(client.waits), client.failures.total()
    why = f" ({', '.join(client.failures)})" if failed else ""
    served = 100 * (1 - failed / max(1, len(waits)))
    return {
        f"{name}: resident memory": at_most(highest, "MB", LIMIT + ROOM),
        f"{name}: gained": Figure(highest - before, "MB"),
        f"{name}: kept afterwards": Figure(after - before, "MB"),
        f"{name}: newcomer connected after": Figure(connected, "s"),
        f"{name}: as before after": Figure(took, "s"),
        f"{name}: open files kept afterwards": at_most(max(0, files), "files", FEW_FILES),
        f"{name}: rows kept in the books": at_most(max(0, kept), "rows", 0),
        f"{name}: honest calls served{why}": at_least(served, "%", 100),
        f"{name}: honest calls, p99": Figure(waits[int(len(waits) * 0.99)] * 1000 if waits else None, "ms"),
        f"{name}: newcomer refused{f' ({refused})' if refused else ''}": at_most(float(bool(refused)), "calls", 0),
        f"{name}: steps ({_most(target.outcomes)})": Figure(target.outcomes.total(), "steps"),
    }


async def _settle(pid: int, port: int, files: int, books: int) -> tuple[float, int, int]:
    """Wait until descriptors and books are what they were; returns after how long, and what is kept beyond them."""
    began = time.monotonic()
    while True:
        more, kept = _open_files(pid) - files, await _books(port) - books
        took = time.monotonic() - began
        if (more <= FEW_FILES and kept <= 0) or took > SETTLED:
            return took, more, kept
        await asyncio.sleep(0.1)


async def carry_out(attack: Attack, target: Target, number: int) -> bool:
    """One step, and how it ended in ``target.outcomes``; returns whether it was carried out, or refused by a call."""
    try:
        await attack(target, number)
        target.outcomes["OK"] += 1
    except grpc.aio.AioRpcError as error:
        target.outcomes[error.code().name] += 1
    except (OSError, TimeoutError, asyncio.InvalidStateError) as error:
        target.outcomes[type(error).__name__] += 1
        return False
    return True


async def _go_on(target: Target, attack: Attack, seconds: float) -> float:
    """Attack for some seconds; returns the highest resident memory in MB."""
    ends, highest, number = time.monotonic() + seconds, 0.0, 0

    async def repeat() -> None:
        nonlocal number
        while time.monotonic() < ends:
            number += 1
            with suppress(asyncio.CancelledError):
                if not await carry_out(attack, target, number):
                    await asyncio.sleep(0.01)

    tasks = [asyncio.create_task(repeat()) for _ in range(IN_FLIGHT)]
    while not all(task.done() for task in tasks):
        highest = max(highest, resident(target.pid) / 1e6)
        await asyncio.wait(tasks, timeout=0.1)
        if time.monotonic() > ends + TIMEOUT:
            break
    for task in tasks:
        task.cancel()
    return max(highest, resident(target.pid) / 1e6)


def let_go(target: Target) -> None:
    """End every stream and socket that the attacker holds."""
    for one in target.held:
        one.close() if isinstance(one, socket.socket) else one.cancel()
    target.held.clear()


def _most(outcomes: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in outcomes.most_common(3))


async def _books(port: int) -> int:
    """The rows in the service's books."""
    page = await asyncio.to_thread(fetch, f"http://127.0.0.1:{port}/metrics", TIMEOUT)
    named = tuple(f"gossipcontrol_{name} " for name in BOOKS)
    return sum(int(float(line.rpartition(" ")[2])) for line in page.splitlines() if line.startswith(named))


def _open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--only", choices=ATTACKS, help="one kind of attack")
    parser.add_argument("--seconds", type=float, help="seconds of each kind (60)")
    chosen = parser.parse_args()
    seconds = chosen.seconds or (5.0 if chosen.quick else 60.0)
    figures: dict[str, Figure] = {}
    for name, attack in ATTACKS.items():
        if chosen.only in (None, name):
            figures |= asyncio.run(measure(name, attack, seconds))
    show("hostile", figures, chosen.as_json)


if __name__ == "__main__":
    main()
