"""How long each call can occupy the service: the longest turn of its event loop, and an honest caller's wait beside it.

One row per RPC and timer, with the largest legal input that is known and full books: a host of 97 nodes with 1,000
stores each, 10,000 peers in one store, 1,900 chains of intentions. Each call is made three times, while an honest
client reports one node ten times a second over a connection of its own; its p99 counts from the instant when it was
due. Answers of the attacker are not parsed, which would hold up the honest client in the same process.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.message_factory import GetMessageClass
from gossipcontrol.client.channel import open_channel
from gossipcontrol.v1 import attach_pb2, gossip_control_pb2, liveness_pb2, peer_knowledge_pb2
from gossipcontrol.v1.gossip_control_pb2_grpc import GossipControlStub
from gossipcontrol.v1.peer_knowledge_pb2_grpc import PeerKnowledgeStub

from bench.report import Figure, arguments, at_most, show
from tests.kit.process import Process
from tests.kit.until import until

TURN, HONEST = 10.0, 50.0
"""Targets in ms: the longest turn, and p99 of the honest call."""
TIMES = 3
"""Calls of each kind."""
HONEST_EVERY = 0.1
"""Seconds between two honest calls."""
LIMIT = 60.0
"""Seconds that a call may take."""
STORE, HOST = "full", "host"
Attack: TypeAlias = Callable[[int], Awaitable[object]]
"""One call; its argument numbers it."""


class Unparsed:
    """A channel whose answers stay bytes; it keeps the longest request and answer."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self.begin()

    def begin(self) -> None:
        """Forget what was kept."""
        self._request, self._answer = ("", b""), ("", b"")

    def bare(self) -> tuple[float, float]:
        """CPU milliseconds that protobuf alone takes to parse the longest request, and to write the longest answer."""
        pool = descriptor_pool.Default()
        took = [0.0, 0.0]
        for place, (method, data) in enumerate((self._request, self._answer)):
            if data:
                found = pool.FindMethodByName(method.strip("/").replace("/", "."))
                kind: Any = GetMessageClass(found.output_type if place else found.input_type)
                act = kind.FromString(data).SerializeToString if place else partial(kind.FromString, data)
                took[place] = _quickest(act)
        return took[0], took[1]

    def __getattr__(self, kind: str) -> Callable[..., Any]:
        make = getattr(self._channel, kind)

        def make_unparsed(method: str, **options: Any) -> Any:
            serialize = options["request_serializer"]

            def keep_request(message: Any) -> bytes:
                data: bytes = serialize(message)
                self._request = max(self._request, (method, data), key=_length)
                return data

            def keep_answer(data: bytes) -> bytes:
                self._answer = max(self._answer, (method, data), key=_length)
                return data

            return make(method, **{**options, "request_serializer": keep_request, "response_deserializer": keep_answer})

        return make_unparsed


def _length(kept: tuple[str, bytes]) -> int:
    return len(kept[1])


def _quickest(act: Callable[[], object]) -> float:
    """Milliseconds of CPU that something takes, the least of five times."""
    took: list[float] = []
    for _ in range(5):
        began = time.thread_time()
        act()
        took.append(time.thread_time() - began)
    return min(took) * 1000


class Lab:
    """The measured service, and connections of an attacker and of an honest client."""

    def __init__(self, process: Process, result: Path, size: Size, attacker: Any, honest: Any) -> None:
        self.size = size
        self._unparsed = Unparsed(attacker)
        unparsed: Any = self._unparsed
        self.attack: Any = GossipControlStub(unparsed)
        self.knowledge: Any = PeerKnowledgeStub(unparsed)
        self._honest: Any = GossipControlStub(honest)
        self._process, self._result = process, result
        self._waits: list[float] = []

    async def longest(self) -> dict[str, Any]:
        """The longest turn since the last question."""
        self._result.unlink(missing_ok=True)
        os.kill(self._process.pid, signal.SIGUSR2)
        await until(self._result.exists, "the service told its longest turn", LIMIT)
        answer: dict[str, Any] = json.loads(self._result.read_text())
        return answer

    async def row(self, name: str, attack: Attack, times: int = TIMES) -> dict[str, Figure]:
        """Measure one kind of call."""
        await self.longest()
        self._waits.clear()
        self._unparsed.begin()
        honest = asyncio.create_task(self._report_honestly())
        wrong = ""
        try:
            for number in range(times):
                try:
                    await asyncio.wait_for(attack(number), LIMIT)
                except grpc.aio.AioRpcError as error:
                    wrong = f" ({error.code().name})"
            await asyncio.sleep(5 * HONEST_EVERY)
        finally:
            honest.cancel()
            await asyncio.gather(honest, return_exceptions=True)
        seen, waits = await self.longest(), sorted(self._waits)
        parse, write = self._unparsed.bare()
        where = f" in {seen['name']} ({seen['callback'] * 1000:.0f} ms)" if seen["longest"] * 1000 > TURN else ""
        return {
            f"{name}{wrong}: longest turn{where}": at_most(seen["longest"] * 1000, "ms of CPU", TURN),
            f"{name}: protobuf alone, the request": Figure(parse, "ms of CPU"),
            f"{name}: protobuf alone, the answer": Figure(write, "ms of CPU"),
            f"{name}: honest p99": at_most(waits[int(len(waits) * 0.99)] * 1000 if waits else None, "ms", HONEST),
        }

    async def _report_honestly(self) -> None:
        due = time.monotonic()
        pending: set[asyncio.Task[None]] = set()
        try:
            while True:
                pending.add(asyncio.create_task(self._one(due)))
                due += HONEST_EVERY
                await asyncio.sleep(max(0.0, due - time.monotonic()))
        finally:
            await asyncio.gather(*pending)

    async def _one(self, due: float) -> None:
        with suppress(grpc.aio.AioRpcError):
            await self._honest.PeerLiveness(reports(["honest"], ["honest"], ["p"]), timeout=LIMIT)
        self._waits.append(time.monotonic() - due)


class Size:
    """How full the books are."""

    def __init__(self, nodes: int, stores: int, peers: int, chains: int) -> None:
        self.nodes, self.peers, self.chains = nodes, peers, chains
        self.stores = [f"s{number}" for number in range(stores)]


def reports(nodes: Iterable[str], stores: Iterable[str], peers: list[str]) -> gossip_control_pb2.PeerLivenessRequest:
    """A report of each node in its store, which hears these peers."""
    heard = liveness_pb2.PeersHeard(peer_ids=peers, heard_ages_ms=[500] * len(peers), heard_counts=[1] * len(peers))
    made = [
        liveness_pb2.LivenessReport(node_id=node, store_id=store, heard=heard)
        for node, store in zip(nodes, stores, strict=True)
    ]
    return gossip_control_pb2.PeerLivenessRequest(reports=made)


def names(prefix: str, count: int) -> list[str]:
    """So many ids."""
    return [f"{prefix}{number}" for number in range(count)]


def intention(author: str, number: int, dependencies: Iterable[bytes] = ()) -> peer_knowledge_pb2.Intention:
    """The intention of this number in an author's chain."""
    before = digest(author, number - 1) if number else b""
    return peer_knowledge_pb2.Intention(
        author_id=author, hash=digest(author, number), store_prev=before, dependencies=dependencies
    )


def digest(author: str, number: int) -> bytes:
    """Its hash."""
    return uuid.uuid5(uuid.NAMESPACE_OID, f"{author}/{number}").bytes


async def record(lab: Lab, intentions: list[peer_knowledge_pb2.Intention]) -> object:
    """One message of RecordIntentions."""

    async def messages() -> AsyncIterator[peer_knowledge_pb2.RecordIntentionsRequest]:
        batch = peer_knowledge_pb2.IntentionBatch(store_id=STORE, intentions=intentions)
        yield peer_knowledge_pb2.RecordIntentionsRequest(batch=batch)

    return await lab.knowledge.RecordIntentions(messages(), timeout=LIMIT)


async def fill(lab: Lab) -> list[Any]:
    """Fill the books; returns the attached streams."""
    size, streams = lab.size, list[Any]()
    for number in range(size.nodes):
        streams.append(await attach(lab, f"n{number}", HOST, size.stores))
    for first in range(0, size.peers, 1000):
        await lab.attack.PeerLiveness(reports([f"o{first}"], [STORE], names(f"p{first}-", 1000)), timeout=LIMIT)
    member = peer_knowledge_pb2.Member(peer_id="ghost")
    authors = names("a", size.chains)
    for depth in range(5):
        for first in range(0, size.chains, 1000):
            part = authors[first : first + 1000]
            # Each follows its neighbour's last, so that no chain ends early in a walk.
            seen = [[digest(authors[(first + at + 1) % size.chains], depth - 1)] if depth else [] for at in range(1000)]
            made = [intention(author, depth, deps) for author, deps in zip(part, seen, strict=False)]
            await record(lab, made)
    await lab.knowledge.ChangeMembers(
        peer_knowledge_pb2.ChangeMembersRequest(store_id=STORE, added=[member]), timeout=LIMIT
    )
    return streams


async def attach(lab: Lab, node: str, host: str, stores: list[str]) -> Any:
    """An attached stream of this node."""
    call = lab.attack.Attach()
    register = attach_pb2.Register(node_id=node, host_id=host, store_ids=stores)
    await call.write(attach_pb2.AttachRequest(register=register))
    await asyncio.wait_for(call.read(), LIMIT)
    return call


def change(number: int, kind: str = "CHANGED", **who: Any) -> gossip_control_pb2.ReportNetworkChangeRequest:
    """A change of the network that was not reported before."""
    value = gossip_control_pb2.NetworkChangeKind.Value(f"NETWORK_CHANGE_KIND_{kind}")
    return gossip_control_pb2.ReportNetworkChangeRequest(
        kind=value, boot_id=uuid.uuid4().hex[:16], generation=number + 1, **who
    )


def triggers(lab: Lab) -> dict[str, Attack]:
    """The calls that decide about rejoins."""
    stub, size, request = lab.attack, lab.size, gossip_control_pb2
    parked = names("parked", min(97, size.nodes))

    async def park(number: int) -> None:
        rejoins = [request.RejoinRequest(node_id=node, store_ids=size.stores, park_unknown=True) for node in parked]
        for one in rejoins if number == 0 else []:
            await stub.Rejoin(one, timeout=LIMIT)
        await stub.ReportNetworkChange(change(number, node_ids=parked), timeout=LIMIT)

    everything = request.RejoinRequest(node_id="n0", store_ids=size.stores)
    past = request.PastTrigger(request_id=str(uuid.uuid4()))
    moved = [*size.stores[: len(size.stores) - 1], "other"]
    return {
        "ReportNetworkChange, a full host": lambda n: stub.ReportNetworkChange(change(n, host_id=HOST), timeout=LIMIT),
        "Explain, a full host": lambda n: stub.Explain(
            request.ExplainRequest(network_change=change(n, host_id=HOST)), timeout=LIMIT
        ),
        "ReportNetworkChange, SLEEPING": lambda n: stub.ReportNetworkChange(
            change(n, "SLEEPING", host_id=HOST), timeout=LIMIT
        ),
        "Rejoin, all stores of a node": lambda _: stub.Rejoin(everything, timeout=LIMIT),
        "Explain, all stores of a node": lambda _: stub.Explain(
            request.ExplainRequest(rejoin=everything), timeout=LIMIT
        ),
        "Attach, another host and store": lambda n: attach(lab, "n1", f"other{n}", moved),
        "Attach, one of a full host": lambda _: attach(lab, "n2", HOST, size.stores),
        "ReportNetworkChange, parked nodes": park,
        "Explain, an unknown request id": lambda _: stub.Explain(request.ExplainRequest(past=past), timeout=LIMIT),
        "ListRejoins": lambda _: stub.ListRejoins(request.ListRejoinsRequest(page_size=1000), timeout=LIMIT),
        "ListStores": lambda _: stub.ListStores(request.ListStoresRequest(page_size=1000), timeout=LIMIT),
    }


def presence(lab: Lab) -> dict[str, Attack]:
    """The calls about peers."""
    stub, size, request = lab.attack, lab.size, gossip_control_pb2
    hundred, some = size.stores[:100], names("new", 1000)
    known = names("p0-", 1000)

    def report(nodes: Iterable[str], stores: Iterable[str], peers: list[str]) -> Attack:
        message = reports(nodes, stores, peers)
        return lambda _: stub.PeerLiveness(message, timeout=LIMIT)

    many = reports(names("m", 100), [STORE] * 100, known)
    linked = [liveness_pb2.Neighbor(peer_id=peer, up_age_ms=1000) for peer in known]
    for one in many.reports[:40]:
        one.neighbors.extend(linked)

    async def watch(number: int) -> None:
        calls = [stub.WatchPeers(request.WatchPeersRequest(store_id=STORE)) for _ in range(100)]
        await asyncio.gather(*(asyncio.wait_for(call.read(), LIMIT) for call in calls))
        fresh = names(f"churn{number}-", 1000)
        await stub.PeerLiveness(reports(["o0"], [STORE], fresh), timeout=LIMIT)
        await asyncio.gather(*(asyncio.wait_for(call.read(), LIMIT) for call in calls))
        for call in calls:
            call.cancel()

    return {
        "PeerLiveness, 100 stores of 1,000 peers": report(["n0"] * len(hundred), hundred, some),
        "PeerLiveness, 100 of 1,000 heard in one store": report(names("m", 100), [STORE] * 100, known),
        "PeerLiveness, 40 of 1,000 heard and neighbours": lambda _: stub.PeerLiveness(
            request.PeerLivenessRequest(reports=many.reports[:40]), timeout=LIMIT
        ),
        "PeerLiveness, 100 empty reports": report(names("m", 100), [STORE] * 100, []),
        "ListPeers": lambda _: stub.ListPeers(request.ListPeersRequest(store_id=STORE, page_size=1000), timeout=LIMIT),
        "WatchPeers, 100 and 1,000 new peers": watch,
    }


def knowledge(lab: Lab) -> dict[str, Attack]:
    """The calls about what peers hold."""
    stub, size, request = lab.knowledge, lab.size, peer_knowledge_pb2
    authors = names("a", size.chains)

    def old(count: int, depth: int) -> list[bytes]:
        return [digest(author, depth) for author in authors[:: max(1, size.chains // count)]][:count]

    async def members(number: int) -> None:
        added = [request.Member(peer_id=name) for name in names(f"member{number}-", 990)]
        await stub.ChangeMembers(request.ChangeMembersRequest(store_id=STORE, added=added), timeout=LIMIT)

    return {
        "RecordIntentions, one with 20 old dependencies": lambda n: record(lab, [intention(f"x{n}", 0, old(20, 2))]),
        "RecordIntentions, 20 with 1,024 dependencies": lambda n: record(
            lab, [intention(f"y{n}-{one}", 0, old(1024, one % 4)) for one in range(20)]
        ),
        "GetStabilityFrontier": lambda _: stub.GetStabilityFrontier(
            request.GetStabilityFrontierRequest(store_id=STORE), timeout=LIMIT
        ),
        "GetKnowledge": lambda _: stub.GetKnowledge(
            request.GetKnowledgeRequest(store_id=STORE, page_size=1000), timeout=LIMIT
        ),
        "GetLag": lambda _: stub.GetLag(request.GetLagRequest(store_id=STORE, page_size=1000), timeout=LIMIT),
        "ChangeMembers, 990": members,
    }


def together(lab: Lab) -> dict[str, Attack]:
    """Five clients at once, each with calls that take long."""
    stub, request = lab.attack, gossip_control_pb2
    everything = request.RejoinRequest(node_id="n0", store_ids=lab.size.stores)
    calls: list[Attack] = [
        lambda _: stub.ListStores(request.ListStoresRequest(page_size=1000), timeout=LIMIT),
        lambda n: stub.Explain(request.ExplainRequest(network_change=change(n, host_id=HOST)), timeout=LIMIT),
        lambda _: stub.Explain(request.ExplainRequest(rejoin=everything), timeout=LIMIT),
        lambda _: stub.ListRejoins(request.ListRejoinsRequest(page_size=1000), timeout=LIMIT),
        lambda _: lab.knowledge.GetKnowledge(
            peer_knowledge_pb2.GetKnowledgeRequest(store_id=STORE, page_size=1000), timeout=LIMIT
        ),
    ]

    async def repeat(call: Attack) -> None:
        for number in range(10):
            await call(number)

    async def all_at_once(_: int) -> None:
        await asyncio.gather(*map(repeat, calls))

    return {"Five large calls at once": all_at_once}


async def measure(size: Size, only: str) -> dict[str, Figure]:
    """The rows whose names contain ``only``."""
    figures: dict[str, Figure] = {}
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gossipcontrol-")))
        lab = await _start(stack, directory, size)
        streams = await fill(lab)
        first: dict[str, Attack] = {"timers, books full": lambda _: asyncio.sleep(1.5)}
        last: dict[str, Attack] = {"timers, afterwards": lambda _: asyncio.sleep(1.5)}
        for name, attack in (first | presence(lab) | knowledge(lab) | triggers(lab) | together(lab) | last).items():
            if only.lower() in name.lower():
                print(f"measuring {name}", file=sys.stderr, flush=True)
                figures |= await lab.row(name, attack)
        for stream in streams:
            stream.cancel()
    return figures


async def _start(stack: AsyncExitStack, directory: Path, size: Size) -> Lab:
    result, socket = directory / "longest.json", directory / "gossipcontrol.sock"
    settings = {"LISTEN_SOCKET": str(socket), "LISTEN_TCP": "", "METRICS_ADDRESS": ""}
    settings["DECIDING_QUEUE_LIMIT"] = "300000"  # room for those of the parked nodes beside those of the host
    settings["STATE_PATH"] = str(directory / "state.db")
    command = f"exec {sys.executable} -m bench.measured_service {result} 2>>{directory}/log"
    environment = {f"GOSSIPCONTROL_{name}": value for name, value in settings.items()}
    process = await stack.enter_async_context(Process("service", "sh", "-c", command, environment=environment))
    await until(socket.exists, "the service listens", LIMIT)
    channels = [open_channel(f"unix:{socket}") for _ in range(2)]
    for channel in channels:
        stack.push_async_callback(channel.close)
        await asyncio.wait_for(channel.channel_ready(), LIMIT)
    return Lab(process, result, size, *channels)


def main() -> None:
    flags = arguments(__doc__)
    flags.add_argument("--only", default="", metavar="NAME", help="only the rows whose names contain NAME")
    chosen = flags.parse_args()
    size = Size(10, 200, 2000, 200) if chosen.quick else Size(97, 1000, 10_000, 1900)
    show("blocked", asyncio.run(measure(size, chosen.only)), chosen.as_json)


if __name__ == "__main__":
    main()
